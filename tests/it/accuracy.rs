//! `lintan accuracy`: a finished matrix, and reference points over maps, against an independent implementation.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use gdal::DriverManager;
use gdal::spatial_ref::{AxisMappingStrategy, SpatialRef};
use gdal::vector::{Feature, FieldDefn, Geometry, LayerAccess, LayerOptions, OGRFieldType, OGRwkbGeometryType};
use serde_json::Value;

use crate::support::{CONFIG, DATES, Outcome, PLAIN, Project, lintan};

const EXAMPLE: &str = "map_class,change,stable,mapped_area_ha\nchange,44,6,180\nstable,3,97,2820\n";

fn of_matrix(text: &str, more: &[&str]) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("matrix.csv");
    fs::write(&path, text).unwrap();
    let mut command = lintan();
    command.args(["accuracy", "--matrix"]).arg(&path).args(more);
    Outcome::of(command)
}

#[track_caller]
fn near(found: &Value, expected: f64, tolerance: f64) {
    let found = found.as_f64().unwrap_or_else(|| panic!("{found} is no number"));
    assert!((found - expected).abs() <= tolerance, "found {found}, expected {expected}");
}

#[test]
fn the_worked_example_of_change() {
    let json = of_matrix(EXAMPLE, &["--format", "json"]).expect(0, &[]).json();
    near(&json["overall_accuracy"], 0.9646, 1e-12);
    let change = &json["classes"][0];
    assert_eq!(change["class"], "change");
    near(&change["area_ha"], 243.0, 1e-9);
    near(&change["area_ci95_ha"], 96.1669, 5e-5);
    near(&change["users_accuracy"], 0.88, 1e-12);
    near(&change["producers_accuracy"], 0.651_851_9, 5e-8);
    assert_eq!(json["matrix"]["counts"], serde_json::json!([[44, 6], [3, 97]]));
    assert_eq!(json["sample"], Value::Null);
    let text = of_matrix(EXAMPLE, &[]);
    text.expect(0, &[]);
    for part in ["243.00 ± 96.17", "0.8800 ± 0.0910", "overall accuracy 0.9646 ± 0.0321", "150 samples"] {
        assert!(text.out.contains(part), "{part}: {}", text.out);
    }
}

/// Values of scripts/make_accuracy_values.py, from single samples and checked with the R package survey.
#[test]
fn matrices_agree_with_an_independent_implementation() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/reference/accuracy.json");
    let cases: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let cases = cases["cases"].as_array().unwrap();
    assert!(cases.len() >= 5);
    for case in cases {
        let list = |v: &Value| v.as_array().unwrap().clone();
        let classes: Vec<String> = list(&case["classes"]).iter().map(|c| c.as_str().unwrap().to_owned()).collect();
        let mut text = format!("map_class,{},mapped_area_ha\n", classes.join(","));
        for ((class, row), area) in classes.iter().zip(list(&case["counts"])).zip(list(&case["mapped_area_ha"])) {
            let row: Vec<String> = list(&row).iter().map(Value::to_string).collect();
            writeln!(text, "{class},{},{area}", row.join(",")).unwrap();
        }
        let json = of_matrix(&text, &["--format", "json"]).json();
        let close = |found: &Value, expected: &Value| {
            let expected = expected.as_f64().unwrap();
            near(found, expected, 1e-9 * expected.abs().max(1e-3));
        };
        close(&json["overall_accuracy"], &case["overall_accuracy"]);
        close(&json["overall_accuracy_ci95"], &case["overall_accuracy_ci95"]);
        for (i, class) in classes.iter().enumerate() {
            assert_eq!(json["classes"][i]["class"], class.as_str());
            for key in [
                "area_ha",
                "area_ci95_ha",
                "users_accuracy",
                "users_accuracy_ci95",
                "producers_accuracy",
                "producers_accuracy_ci95",
            ] {
                close(&json["classes"][i][key], &case[key][i]);
            }
        }
    }
}

#[test]
fn a_bad_matrix_names_line_column_and_remedy() {
    for (text, parts) in [
        ("", &["head", "an empty file"][..]),
        ("map_class,a,mapped_area_ha\n", &["rows: found none"]),
        ("class,a,mapped_area_ha\na,1,2\n", &["found the columns class, a, mapped_area_ha", "a column `map_class`"]),
        ("map_class,a\na,1\n", &["a column `mapped_area_ha`"]),
        ("map_class,a,a,mapped_area_ha\na,1,2,3\n", &["the column `a` twice"]),
        ("map_class,a,b,mapped_area_ha\na,5,1,10\na,5,1,10\n", &["line 3, map_class", "`a` again"]),
        ("map_class,a,b,mapped_area_ha\na,5,1,10\n", &["the reference class `b`, which no row has", "expected a"]),
        ("map_class,a,mapped_area_ha\na,5,10\nb,4,10\n", &["line 3", "the map class `b`, which no column has"]),
        ("map_class,a,b,mapped_area_ha\na,-5,1,10\nb,1,5,10\n", &["line 2, column `a`: found `-5`", "whole number"]),
        ("map_class,a,b,mapped_area_ha\na,5.5,1,10\nb,1,5,10\n", &["line 2, column `a`: found `5.5`"]),
        ("map_class,a,b,mapped_area_ha\na,5,,10\nb,1,5,10\n", &["line 2, column `b`: found nothing"]),
        ("map_class,a,b,mapped_area_ha\na,5,1\nb,1,5,10\n", &["line 2: found 3 cells, expected 4"]),
        ("map_class,a,b,mapped_area_ha\na,5,1,many\nb,1,5,10\n", &["line 2, mapped_area_ha: found `many`"]),
        ("map_class,a,b,mapped_area_ha\na,5,1,-1\nb,1,5,10\n", &["line 2, mapped_area_ha: found `-1`"]),
        ("map_class,a,b,mapped_area_ha\na,5,1,0\nb,1,5,10\n", &["map class `a`: found 6 samples on 0 ha"]),
        ("map_class,a,b,mapped_area_ha\na,5,1,0\nb,1,5,0\n", &["6 samples on 0 ha"]),
        ("map_class,a,b,mapped_area_ha\na,0,0,7\nb,1,5,10\n", &["map class `a`: found no sample on 7 ha"]),
        ("map_class,a,b,mapped_area_ha\n,1,1,7\nb,1,5,10\n", &["line 2, map_class: found nothing"]),
        ("map_class,\"a,b,mapped_area_ha\na,1,1,7\n", &["a quoted cell that does not end"]),
    ] {
        of_matrix(text, &[]).expect(2, &["matrix.csv: ", "help: "]).expect(2, parts);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gbk.csv");
    fs::write(&path, b"map_class,a,mapped_area_ha\n\xb1\xe4,1,2\n").unwrap();
    let mut command = lintan();
    command.args(["accuracy", "--matrix"]).arg(&path);
    Outcome::of(command).expect(2, &["line 2", "not UTF-8", "iconv"]);
}

#[test]
fn one_sample_in_a_row_has_null_intervals_and_a_note() {
    let text = "map_class,a,b,mapped_area_ha\na,1,0,10\nb,2,8,90\n";
    let outcome = of_matrix(text, &["--format", "json"]);
    outcome.expect(0, &["note: map class `a` has 1 sample"]);
    let json = outcome.json();
    near(&json["classes"][0]["area_ha"], 28.0, 1e-9);
    for key in ["area_ci95_ha", "users_accuracy_ci95", "producers_accuracy_ci95"] {
        assert_eq!(json["classes"][0][key], Value::Null, "{key}");
    }
    assert_eq!(json["overall_accuracy_ci95"], Value::Null);
    assert!(json["classes"][1]["users_accuracy_ci95"].is_f64());
    assert!(of_matrix(text, &[]).out.contains("28.00 ± ?"));
}

#[test]
fn usage() {
    let bare = |arguments: &[&str]| {
        let mut command = lintan();
        command.arg("accuracy").args(arguments);
        Outcome::of(command)
    };
    let help = bare(&["--help"]);
    assert_eq!(help.code, 0);
    for part in ["Example", "lintan accuracy --matrix", "--reference", "--field", "--map", "map_class,disturbed"] {
        assert!(help.out.contains(part), "{part}: {}", help.out);
    }
    bare(&[]).expect(2, &["Usage"]);
    bare(&["project.toml"]).expect(2, &["--reference"]);
    bare(&["project.toml", "--matrix", "m.csv"]).expect(2, &["cannot be used with"]);
    bare(&["--matrix", "/nowhere/m.csv"]).expect(2, &["/nowhere/m.csv", "cannot be read"]);
}

const NONE: i32 = i32::MIN;
/// Northern hemisphere, zone 34; far from the central meridian, so that grid and ellipsoid differ.
const X0: f64 = 700_000.0;
const Y0: f64 = 5_000_000.0;

/// Writes `METHOD_break_date.tif` and `METHOD_magnitude.tif`: `d` disturbed, `s` stable, `.` nothing.
fn write_map(project: &Project, grid_id: &str, method: &str, epsg: u32, corner: (f64, f64), pixel: f64, rows: &[&str]) {
    let folder = project.out().join("maps").join(grid_id);
    fs::create_dir_all(&folder).unwrap();
    let head = format!(
        "ncols {}\nnrows {}\nxllcorner {}\nyllcorner {}\ncellsize {pixel}\n",
        rows[0].len(),
        rows.len(),
        corner.0,
        corner.1 - pixel * rows.len() as f64,
    );
    let grid = |value: &dyn Fn(char) -> String| {
        let lines = rows.iter().map(|r| r.chars().map(value).collect::<Vec<_>>().join(" "));
        lines.collect::<Vec<_>>().join("\n")
    };
    let breaks = grid(&|c| if c == 'd' { "18500".into() } else { NONE.to_string() });
    let magnitude = grid(&|c| match c {
        'd' => "-0.31".into(),
        's' => "0.02".into(),
        _ => "nan".into(),
    });
    for (name, type_name, nodata, cells) in [
        ("break_date", "Int32", Some(NONE.to_string()), breaks),
        ("magnitude", "Float32", Some("nan".to_owned()), magnitude),
    ] {
        let ascii = folder.join(format!("{name}.asc"));
        let no_data = nodata.as_ref().map_or(String::new(), |n| format!("NODATA_value {n}\n"));
        fs::write(&ascii, format!("{head}{no_data}{cells}\n")).unwrap();
        let tif = folder.join(format!("{method}_{name}.tif"));
        let mut command = Command::new("gdal_translate");
        command.args(["-q", "-of", "GTiff", "-ot", type_name, "-a_srs", &format!("EPSG:{epsg}")]);
        command.args(["-a_nodata", nodata.as_deref().unwrap_or("none")]).arg(&ascii).arg(&tif);
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        fs::remove_file(ascii).unwrap();
    }
}

/// A map of 600 x 4 pixels of 10 m, ten windows wide: the first 20 columns disturbed, the last ten not judged.
fn project() -> Project {
    let project = Project::new(PLAIN);
    let row = format!("{}{}{}", "d".repeat(20), "s".repeat(570), ".".repeat(10));
    write_map(&project, "epsg32634-10m", "bfast_monitor", 32634, (X0, Y0), 10.0, &[row.as_str(); 4]);
    project
}

/// Points in the middle of pixels (column, row) with their class; x, y and crs.
fn csv(points: &[(u32, u32, &str)]) -> String {
    let mut text = "x,y,crs,reference_class\n".to_owned();
    for (col, row, class) in points {
        let (x, y) = (X0 + 10.0 * f64::from(*col) + 5.0, Y0 - 10.0 * f64::from(*row) - 5.0);
        writeln!(text, "{x},{y},EPSG:32634,{class}").unwrap();
    }
    text
}

const POINTS: [(u32, u32, &str); 8] = [
    (0, 0, "disturbed"),
    (7, 1, "disturbed"),
    (19, 3, "stable"),
    (20, 0, "stable"),
    (300, 1, "disturbed"),
    (301, 1, "stable"),
    (400, 2, "stable"),
    (589, 3, "stable"),
];

fn points(project: &Project, file: &str, more: &[&str]) -> Outcome {
    let path = project.path(file);
    let mut arguments = vec!["--reference", path.to_str().unwrap()];
    arguments.extend(more);
    project.lintan("accuracy", &arguments)
}

#[test]
fn points_over_a_map_count_by_the_pixel_they_lie_in() {
    let project = project();
    project.write("points.csv", &csv(&POINTS));
    let json = points(&project, "points.csv", &["--format", "json"]).expect(0, &[]).json();
    assert_eq!(json["matrix"]["classes"], serde_json::json!(["disturbed", "stable"]));
    assert_eq!(json["matrix"]["counts"], serde_json::json!([[2, 1], [1, 4]]));
    assert_eq!(json["sample"]["used"], 8);
    assert_eq!(json["sample"]["map"], "bfast_monitor");
    // 80 pixels of 100 m2 on the grid are 0.8 ha; on the ellipsoid, by pyproj (Geod) over the densified outline of
    // columns 0 to 20 and of 20 to 590: the grid is 0.02 % too large here.
    near(&json["classes"][0]["mapped_area_ha"], DISTURBED_HA, 5e-6 * DISTURBED_HA);
    near(&json["classes"][1]["mapped_area_ha"], STABLE_HA, 5e-6 * STABLE_HA);
    assert!((0.8 / DISTURBED_HA - 1.0).abs() > 1e-4, "the grid's own area would pass, too");
    // Areas as by a matrix of the same counts.
    let text = format!(
        "map_class,disturbed,stable,mapped_area_ha\ndisturbed,2,1,{}\nstable,1,4,{}\n",
        { json["classes"][0]["mapped_area_ha"].as_f64().unwrap() },
        { json["classes"][1]["mapped_area_ha"].as_f64().unwrap() }
    );
    let same = of_matrix(&text, &["--format", "json"]).json();
    assert_eq!(same["classes"], json["classes"]);
}

const DISTURBED_HA: f64 = 0.799_852_258_578;
const STABLE_HA: f64 = 22.795_121_102_881;

#[test]
fn points_in_degrees_and_in_layers_say_the_same() {
    let project = project();
    project.write("points.csv", &csv(&POINTS));
    let expected = points(&project, "points.csv", &["--format", "json"]).expect(0, &[]).json();
    let srs = |code: u32| {
        let mut srs = SpatialRef::from_epsg(code).unwrap();
        srs.set_axis_mapping_strategy(AxisMappingStrategy::TraditionalGisOrder);
        srs
    };
    let (utm, lon_lat) = (srs(32634), srs(4326));
    let moved = gdal::spatial_ref::CoordTransform::new(&utm, &lon_lat).unwrap();
    let mut text = "\u{feff}lat,lon,truth,map_class\r\n".to_owned();
    for extension in ["gpkg", "geojson"] {
        let path = project.path(&format!("points.{extension}"));
        let driver = if extension == "gpkg" { "GPKG" } else { "GeoJSON" };
        let mut dataset = DriverManager::get_driver_by_name(driver).unwrap().create_vector_only(&path).unwrap();
        let srs = if extension == "gpkg" { &utm } else { &lon_lat };
        let layer = dataset
            .create_layer(LayerOptions {
                name: "points",
                srs: Some(srs),
                ty: OGRwkbGeometryType::wkbUnknown,
                options: None,
            })
            .unwrap();
        FieldDefn::new("truth", OGRFieldType::OFTString).unwrap().add_to_layer(&layer).unwrap();
        for (col, row, class) in POINTS {
            let (mut x, mut y) = ([X0 + 10.0 * f64::from(col) + 5.0], [Y0 - 10.0 * f64::from(row) - 5.0]);
            if extension == "geojson" {
                moved.transform_coords(&mut x, &mut y, &mut []).unwrap();
                writeln!(text, "{:.8},{:.8},{class},\r", y[0], x[0]).unwrap();
            }
            let mut feature = Feature::new(layer.defn()).unwrap();
            feature.set_field_string(0, class).unwrap();
            feature.set_geometry(Geometry::from_wkt(&format!("POINT ({:.9} {:.9})", x[0], y[0])).unwrap()).unwrap();
            feature.create(&layer).unwrap();
        }
    }
    project.write("degrees.csv", &text);
    for file in ["points.gpkg", "points.geojson", "degrees.csv"] {
        let json = points(&project, file, &["--field", "truth", "--format", "json"]).expect(0, &[]).json();
        assert_eq!(json, expected, "{file}");
    }
    points(&project, "points.gpkg", &[]).expect(2, &["no field `reference_class`", "truth", "--field"]);
}

#[test]
fn points_off_the_map_are_listed_and_do_not_count() {
    let project = project();
    let mut text = csv(&POINTS);
    text.push_str(&csv(&[(595, 0, "stable"), (900, 0, "stable")]).lines().skip(1).collect::<Vec<_>>().join("\n"));
    project.write("points.csv", &text);
    let outcome = points(&project, "points.csv", &["--format", "json"]);
    outcome.expect(
        0,
        &[
            "left out (2 of 10 points)",
            "line or feature 10",
            "judges nothing there",
            "line or feature 11",
            "outside every map",
        ],
    );
    let json = outcome.json();
    assert_eq!((json["sample"]["points"].as_u64(), json["sample"]["used"].as_u64()), (Some(10), Some(8)));
    assert_eq!(json["sample"]["left_out"][0]["reason"], "not_judged");
    assert_eq!(json["sample"]["left_out"][1]["reason"], "outside_maps");
    project.write("points.csv", &csv(&[(595, 0, "stable"), (900, 0, "stable")]));
    points(&project, "points.csv", &[])
        .expect(2, &["2 points, of which 1 lie outside every map and 1 where the map judges nothing"]);
}

#[test]
fn a_stated_map_class_must_be_that_of_the_map() {
    let project = project();
    let with = |stated: [&str; 8]| {
        let mut text = "x,y,crs,reference_class,map_class\n".to_owned();
        for (line, class) in csv(&POINTS).lines().skip(1).zip(stated) {
            writeln!(text, "{line},{class}").unwrap();
        }
        project.write("points.csv", &text);
        points(&project, "points.csv", &["--format", "json"])
    };
    // Stated where the map says the same, or not at all: counts are those of the map.
    let json = with(["disturbed", "", "disturbed", "stable", "stable", "", "", "stable"]).expect(0, &[]).json();
    assert_eq!(json["matrix"]["counts"], serde_json::json!([[2, 1], [1, 4]]));
    let one = with(["", "", "", "", "disturbed", "", "", ""]);
    one.expect(
        2,
        &["points.csv", "line 6, column `map_class`: found `disturbed` at", "expected `stable`, the class of"],
    );
    one.expect(2, &["take the field out"]);
    assert!(!one.err.contains("more point"), "{}", one.err);
    with(["stable", "", "stable", "", "disturbed", "", "", ""])
        .expect(2, &["line 2, column", ", and 2 more points like it"]);
}

#[test]
fn swapped_coordinates_are_told() {
    let project = project();
    let swapped = |text: &str| {
        let turn = |line: &str| {
            let cells: Vec<&str> = line.split(',').collect();
            format!("{},{},{}\n", cells[1], cells[0], cells[2..].join(","))
        };
        text.lines().skip(1).map(turn).collect::<String>()
    };
    let all = csv(&POINTS);
    project.write("points.csv", &format!("x,y,crs,reference_class\n{}", swapped(&all)));
    points(&project, "points.csv", &[]).expect(2, &["with their two coordinates swapped, 8 of them lie on a map"]);
    // Two of ten are swapped, one is far away: the others count, and a note says so.
    let far = csv(&[(9000, 0, "stable")]).lines().nth(1).unwrap().to_owned();
    let two = all.lines().take(3).collect::<Vec<_>>().join("\n");
    project.write("points.csv", &format!("{all}{}{far}\n", swapped(&two)));
    let outcome = points(&project, "points.csv", &["--format", "json"]);
    outcome.expect(0, &["2 of the points outside every map lie on one when their two coordinates are swapped"]);
    assert_eq!(outcome.json()["sample"]["swapped"], 2);
    assert_eq!(outcome.json()["sample"]["used"], 8);
    // Beyond the poles it shows at once.
    project.write("points.csv", "lon,lat,reference_class\n45.1,103.5,stable\n");
    points(&project, "points.csv", &[]).expect(2, &["line 2: found longitude 45.1, latitude 103.5", "look swapped"]);
}

#[test]
fn overlapping_maps_count_a_place_once() {
    let project = project();
    let alone = {
        project.write("points.csv", &csv(&POINTS));
        points(&project, "points.csv", &["--format", "json"]).json()
    };
    // 30 m, in the neighbouring zone: rotated against the other, over all of it and well beyond.
    let lon_lat = (23.54, 45.14);
    let mut at = ([lon_lat.0], [lon_lat.1]);
    let srs = |code: u32| {
        let mut srs = SpatialRef::from_epsg(code).unwrap();
        srs.set_axis_mapping_strategy(AxisMappingStrategy::TraditionalGisOrder);
        srs
    };
    let there = gdal::spatial_ref::CoordTransform::new(&srs(4326), &srs(32635)).unwrap();
    there.transform_coords(&mut at.0, &mut at.1, &mut []).unwrap();
    let rows = vec!["s".repeat(300); 80];
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    write_map(&project, "epsg32635-30m", "bfast_monitor", 32635, (at.0[0], at.1[0]), 30.0, &rows);
    let json = points(&project, "points.csv", &["--format", "json"]).expect(0, &[]).json();
    assert_eq!(json["sample"]["grids"], serde_json::json!(["epsg32634-10m", "epsg32635-30m"]));
    assert_eq!(json["matrix"]["counts"], alone["matrix"]["counts"]);
    let area = |json: &Value, i: usize| json["classes"][i]["mapped_area_ha"].as_f64().unwrap();
    assert_eq!(area(&json, 0), area(&alone, 0), "the fine map's losses are not doubled");
    let all_of_coarse = 300.0 * 80.0 * 0.09;
    let total = area(&json, 0) + area(&json, 1);
    // A strip of 5900 m x 40 m is in both; edges cost up to a pixel of the coarse grid.
    assert!((total / all_of_coarse - 1.0).abs() < 5e-3, "{total} against {all_of_coarse}");
    assert!(total < area(&alone, 0) + area(&alone, 1) + all_of_coarse - 20.0, "{total}");
    // What the fine map does not judge, the coarse one does.
    project
        .write("points.csv", &csv(&[(0, 0, "disturbed"), (1, 0, "disturbed"), (40, 0, "stable"), (595, 0, "stable")]));
    let json = points(&project, "points.csv", &["--format", "json"]).expect(0, &[]).json();
    assert_eq!(json["matrix"]["counts"], serde_json::json!([[2, 0], [0, 2]]));
}

#[test]
fn bad_points_and_maps_are_named() {
    let project = project();
    let bad = |text: &str, parts: &[&str]| {
        project.write("points.csv", text);
        points(&project, "points.csv", &[]).expect(2, &["points.csv", "help:"]).expect(2, parts);
    };
    bad("lon,lat\n1,2\n", &["a column `reference_class`", "--field"]);
    bad("lon,reference_class\n1,stable\n", &["a column `x`", "lon and lat"]);
    bad("lon,lat,reference_class\n", &["points: found none"]);
    bad("lon,lat,reference_class\n23.5,45.1,felled\n", &["line 2, column `reference_class`: found `felled`"]);
    bad("lon,lat,reference_class\n23.5,45.1,\n", &["line 2, column `reference_class`: found nothing"]);
    bad("lon,lat,reference_class,map_class\n23.5,45.1,stable,no\n", &["line 2, column `map_class`: found `no`"]);
    bad("lon,lat,reference_class\n23.5,east,stable\n", &["line 2, column `lat`: found `east`"]);
    bad("lon,lat,reference_class\n700000,5000000,stable\n", &["longitude 700000", "x, y and crs"]);
    bad("x,y,crs,reference_class\n1,2,EPSG:999999,stable\n", &["line 2, column `crs`", "EPSG:999999"]);
    // Only the stable class is sampled.
    bad(&csv(&POINTS[3..]), &["map class `disturbed`: found no sample on"]);
    project.write(
        "points.geojson",
        r#"{"type":"FeatureCollection","features":[{"type":"Feature","properties":
        {"reference_class":"stable"},"geometry":{"type":"LineString","coordinates":[[23.5,45.1],[23.6,45.1]]}}]}"#,
    );
    points(&project, "points.geojson", &[]).expect(2, &["feature 1", "a LINESTRING, expected POINT"]);
    points(&project, "nothing.gpkg", &[]).expect(2, &["nothing.gpkg", "no such file", "GeoPackage"]);

    project.write("points.csv", &csv(&POINTS));
    points(&project, "points.csv", &["--map", "ccdc"]).expect(2, &["no map `ccdc`", "bfast_monitor", "--map"]);
    write_map(&project, "epsg32634-10m", "ccdc", 32634, (X0, Y0), 10.0, &["ds"]);
    points(&project, "points.csv", &[]).expect(2, &["several (bfast_monitor, ccdc)", "--map"]);
    points(&project, "points.csv", &["--map", "bfast_monitor"]).expect(0, &[]);
    let magnitude = project.out().join("maps/epsg32634-10m/bfast_monitor_magnitude.tif");
    fs::copy(project.out().join("maps/epsg32634-10m/ccdc_magnitude.tif"), &magnitude).unwrap();
    points(&project, "points.csv", &["--map", "bfast_monitor"]).expect(2, &["bfast_monitor_magnitude.tif: grid"]);
    fs::remove_file(&magnitude).unwrap();
    points(&project, "points.csv", &["--map", "bfast_monitor"])
        .expect(2, &["bfast_monitor_magnitude.tif", "does not exist", "run again"]);
    fs::remove_dir_all(project.out()).unwrap();
    points(&project, "points.csv", &[]).expect(2, &["maps: found none", "[output]"]);
}

/// The program's own maps: points that repeat what they show find no error.
#[test]
fn the_maps_of_a_run_are_understood() {
    let project = Project::romania(&format!("{CONFIG}maps = [\"break_date\", \"magnitude\"]\n"), &DATES);
    project.run(&[]);
    let folders: Vec<_> = fs::read_dir(project.out().join("maps")).unwrap().map(|e| e.unwrap().path()).collect();
    let [folder] = folders.as_slice() else { panic!("{folders:?}") };
    let read = |kind: &str| {
        let dataset = gdal::Dataset::open(folder.join(format!("two_date_{kind}.tif"))).unwrap();
        let (size, transform) = (dataset.raster_size(), dataset.geo_transform().unwrap());
        let band = dataset.rasterband(1).unwrap();
        (band.read_as::<f64>((0, 0), size, size, None).unwrap().data().to_vec(), size.0, transform)
    };
    let (dates, cols, t) = read("break_date");
    let (magnitudes, ..) = read("magnitude");
    let (mut text, mut counts) = ("x,y,crs,reference_class\n".to_owned(), [0_u32; 2]);
    for (i, (date, magnitude)) in dates.iter().zip(&magnitudes).enumerate() {
        let class = match (*date == f64::from(NONE), magnitude.is_nan()) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => continue,
        };
        counts[class] += 1;
        if counts[class] <= 20 {
            let (x, y) = (t[0] + t[1] * ((i % cols) as f64 + 0.5), t[3] + t[5] * ((i / cols) as f64 + 0.5));
            writeln!(text, "{x},{y},EPSG:3035,{}", ["disturbed", "stable"][class]).unwrap();
        }
    }
    project.write("points.csv", &text);
    let json = points(&project, "points.csv", &["--format", "json"]).expect(0, &[]).json();
    assert_eq!(json["matrix"]["counts"], serde_json::json!([[20, 0], [0, 20]]));
    assert_eq!(json["overall_accuracy"], 1.0);
    for (i, n) in counts.into_iter().enumerate() {
        // The grid's projection keeps areas.
        near(&json["classes"][i]["mapped_area_ha"], f64::from(n) * t[1] * -t[5] / 1e4, 2e-5 * f64::from(n) * 0.01);
    }
}
