//! `nbar = true`: reflectance as seen from straight above, through the whole program. Expected values are made here of the
//! pixels that were written, with the factors of the worked example (numpy, from the published formulas and weights).

use std::fs;
use std::path::Path;

use gdal::DriverManager;
use gdal::raster::Buffer;
use gdal::spatial_ref::SpatialRef;
use lintan::imagery::Band;
use lintan::imagery::brdf::c_factor;
use serde_json::{Value, json};

use crate::support::{LANDSAT_7, PLAIN, Parcel, Project, SAFE_NEW, assert_same, files, quarantine, read_table};

/// Sun at zenith 35; the satellite at zenith 8, 120 and 30 degrees away from it. Red and near infrared.
const AWAY: (f64, f64) = (1.024_458_786_4, 1.024_336_672_3);
const TOWARDS: (f64, f64) = (0.961_642_995_2, 0.960_784_316_0);

fn config(nbar: bool) -> String {
    PLAIN
        .replace("[\"ndvi\", \"nbr\"]", "[\"ndvi\", \"evi2\"]")
        .replace("[output]", &format!("nbar = {nbar}\n\n[output]"))
}

/// Digital numbers of a pixel: red and near infrared.
fn dn(col: usize, row: usize) -> (u16, u16) {
    let (a, b) = ((col * 13 + row * 29) % 50, (col * 31 + row * 17) % 60);
    (400 + 7 * u16::try_from(a).unwrap(), 2500 + 11 * u16::try_from(b).unwrap())
}

fn write_raster(path: &Path, value: impl Fn(usize, usize) -> u16) {
    let driver = DriverManager::get_driver_by_name("GTiff").unwrap();
    let mut dataset = driver.create_with_band_type::<u16, _>(path, 100, 100, 1).unwrap();
    let data: Vec<u16> = (0..10_000).map(|i| value(i % 100, i / 100)).collect();
    dataset.rasterband(1).unwrap().write((0, 0), (100, 100), &mut Buffer::new((100, 100), data)).unwrap();
    dataset.set_spatial_ref(&SpatialRef::from_epsg(3035).unwrap()).unwrap();
    dataset.set_geo_transform(&[5_271_982.576_551_932, 10.0, 0.0, 2_533_004.214_915_185_7, 0.0, -10.0]).unwrap();
}

/// A scene with an Item; where `sees` says no, nothing was measured.
fn add_scene(project: &Project, id: &str, datetime: &str, angles: &Value, sees: impl Fn(usize) -> bool) {
    let folder = project.path("scenes").join(id);
    fs::create_dir_all(&folder).unwrap();
    let only = |v: u16, col: usize| if sees(col) { v } else { 0 };
    write_raster(&folder.join("B04.tif"), |c, r| only(dn(c, r).0, c));
    write_raster(&folder.join("B08.tif"), |c, r| only(dn(c, r).1, c));
    write_raster(&folder.join("SCL.tif"), |c, _| only(4, c));
    let band = |name: &str| {
        json!({"href": format!("{name}.tif"), "eo:bands": [{"name": name}],
            "raster:bands": [{"scale": 1e-4, "offset": 0, "nodata": 0, "spatial_resolution": 10}]})
    };
    let mut item = json!({"type": "Feature", "stac_version": "1.0.0", "id": id,
        "properties": {"datetime": datetime, "platform": "sentinel-2a", "s2:processing_baseline": "02.00"},
        "assets": {"B04": band("B04"), "B08": band("B08"), "SCL": {"href": "SCL.tif"}}});
    item["properties"].as_object_mut().unwrap().extend(angles.as_object().unwrap().clone());
    fs::write(folder.join("item.json"), item.to_string()).unwrap();
}

fn angles(view_azimuth: f64) -> Value {
    json!({"view:sun_elevation": 55, "view:sun_azimuth": 150, "view:incidence_angle": 8, "view:azimuth": view_azimuth})
}

fn indices((red, nir): (u16, u16), factors: (f64, f64)) -> [f64; 2] {
    let (r, n) = (f64::from(red) * 1e-4 * factors.0, f64::from(nir) * 1e-4 * factors.1);
    [(n - r) / (n + r), 2.5 * (n - r) / (n + 2.4 * r + 1.0)]
}

/// Mean of NDVI and of EVI2 over a square of pixels.
fn by_hand(
    cols: std::ops::Range<usize>,
    rows: std::ops::Range<usize>,
    factors: impl Fn(usize) -> (f64, f64),
) -> [f64; 2] {
    let n = (cols.len() * rows.len()) as f64;
    let all = rows.flat_map(|r| cols.clone().map(move |c| (c, r)));
    let sum = all.map(|(c, r)| indices(dn(c, r), factors(c))).fold([0.0; 2], |s, v| [s[0] + v[0], s[1] + v[1]]);
    sum.map(|s| s / n)
}

/// Means of a parcel in observations: NDVI and EVI2 a row each; of the only scene, or pass.
fn means(project: &Project, parcel: &str) -> [f64; 2] {
    let tables = project.out().join("tables");
    let file = files(&tables).into_keys().find(|f| f.starts_with("observations")).unwrap();
    let (head, rows) = read_table(&tables.join(file));
    let at = |name: &str| head.iter().position(|h| h == name).unwrap();
    let of = |index: &str| -> f64 {
        let found: Vec<&Vec<String>> =
            rows.iter().filter(|r| r[at("parcel_id")] == parcel && r[at("index")] == index).collect();
        assert_eq!(found.len(), 1, "{parcel} {index}: {rows:?}");
        found[0][at("mean")].parse().unwrap()
    };
    [of("ndvi"), of("evi2")]
}

#[track_caller]
fn near(found: [f64; 2], expected: [f64; 2], bound: f64) {
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() < bound, "{found:?}, expected {expected:?}");
    }
}

#[test]
fn means_are_those_of_the_worked_example() {
    let project = Project::new(&config(true));
    project.parcels(&[Parcel::square("p", 100.0, 200.0, 80.0)]);
    add_scene(&project, "one", "2018-07-01T09:20:00Z", &angles(270.0), |_| true);
    project.run(&[]);
    let expected = by_hand(10..18, 20..28, |_| AWAY);
    near(means(&project, "p"), expected, 2e-9);
    // The factors are seen: without them, and with those of the other side, it would be another value.
    let plain = by_hand(10..18, 20..28, |_| (1.0, 1.0));
    assert!((plain[1] - expected[1]).abs() > 1e-3 && (plain[0] - expected[0]).abs() > 1e-6, "{plain:?} {expected:?}");

    let record = project.record();
    assert_eq!(record["configuration"]["observe"]["nbar"], true);
    let told = &record["scenes"][0]["angles"];
    assert_eq!(told["told_by"], "scene", "{told}");
    assert_eq!((told["sun"]["zenith_deg"].as_f64(), told["view"]["azimuth_deg"].as_f64()), (Some(35.0), Some(270.0)));
    let citations = record["citations"].to_string();
    assert!(citations.contains("nbar: Roy et al. 2016, Remote Sensing of Environment 176:255-271"), "{citations}");
}

/// Two scenes of one pass, each with half of the parcel and its own angles: each pixel has the factor of its own scene.
#[test]
fn scenes_that_complete_each_other_keep_their_own_factors() {
    let project = Project::new(&config(true));
    project.parcels(&[Parcel::square("p", 400.0, 200.0, 200.0), Parcel::square("left", 100.0, 200.0, 50.0)]);
    add_scene(&project, "a", "2018-07-01T09:20:00Z", &angles(270.0), |col| col < 50);
    add_scene(&project, "b", "2018-07-01T09:20:01Z", &angles(180.0), |col| col >= 50);
    project.run(&[]);
    let own = |col: usize| if col < 50 { AWAY } else { TOWARDS };
    near(means(&project, "p"), by_hand(40..60, 20..40, own), 2e-9);
    near(means(&project, "left"), by_hand(10..15, 20..25, own), 2e-9);
    assert_eq!(project.record()["passes"]["rows_merged"], 2);
}

#[test]
fn switching_decodes_again_and_switching_back_does_not() {
    let project = Project::new(&config(false));
    project.parcels(&[Parcel::square("p", 100.0, 200.0, 80.0), Parcel::square("q", 500.0, 500.0, 333.0)]);
    add_scene(&project, "one", "2018-07-01T09:20:00Z", &angles(270.0), |_| true);
    add_scene(&project, "two", "2018-07-11T09:20:00Z", &angles(180.0), |_| true);
    let run = |nbar: bool, decodes: bool| {
        project.write("project.toml", &config(nbar));
        project.run(&[]);
        assert_eq!(project.count("blocks_decoded") > 0, decodes);
        project.tables()
    };
    let plain = run(false, true);
    let cubes = files(&project.out().join("cube"));
    let record = project.record();
    assert!(
        record["scenes"][0].get("angles").is_none() && !record["citations"].to_string().contains("nbar"),
        "{record}"
    );
    let nadir = run(true, true);
    assert_ne!(nadir, plain);
    let now = files(&project.out().join("cube"));
    for (file, content) in cubes.iter().filter(|(file, _)| file.ends_with(".parquet")) {
        assert!(now.get(file) == Some(content), "{file} was written again or removed");
    }
    assert_same(&run(false, false), &plain, "switched back");
    assert_same(&run(true, false), &nadir, "and on again");
    // Other statistics of the same pixels: from the cube, with its factors.
    project.edit("project.toml", "\"evi2\"]", "\"evi2\", \"savi\"]");
    project.run(&[]);
    assert_eq!(project.count("blocks_decoded"), 0);
    project.edit("project.toml", ", \"savi\"]", "]");
    for threads in ["1", "4"] {
        let out = project.path(threads);
        project.run(&["--out", out.to_str().unwrap(), "--threads", threads]);
        assert_same(&crate::support::tables(&out), &nadir, threads);
    }
    // Other angles are other pixels.
    project.edit("scenes/one/item.json", "270.0", "180.0");
    assert_ne!(run(true, true), nadir);
}

#[test]
fn scenes_without_angles_are_set_aside() {
    let none = json!({"view:sun_elevation": 55, "view:sun_azimuth": 150});
    // As some catalogs write it for every scene.
    let zero = json!({"view:sun_elevation": 55, "view:sun_azimuth": 150, "view:off_nadir": 0});
    let project = Project::new(&config(true));
    project.parcels(&[Parcel::square("p", 100.0, 200.0, 80.0)]);
    add_scene(&project, "good", "2018-07-01T09:20:00Z", &angles(270.0), |_| true);
    add_scene(&project, "none", "2018-07-11T09:20:00Z", &none, |_| true);
    add_scene(&project, "zero", "2018-07-21T09:20:00Z", &zero, |_| true);
    project.lintan("run", &[]).expect(3, &[]);
    let aside = quarantine(&project.out());
    let ids: Vec<&str> = aside.iter().map(|a| a.id.as_str()).collect();
    assert_eq!(ids, ["none", "zero"]);
    for a in &aside {
        assert_eq!((a.stage.as_str(), a.reason.as_str()), ("catalog", "bad_metadata"));
        for part in ["found no angles of the satellite", "view:azimuth", "`nbar = false` under [observe]"] {
            assert!(a.message.contains(part), "{}", a.message);
        }
    }
    near(means(&project, "p"), by_hand(10..18, 20..28, |_| AWAY), 2e-9);
    // The way out.
    project.write("project.toml", &config(false));
    project.lintan("run", &[]).expect(0, &[]);
    assert_eq!(project.count("observations"), 6);

    let landsat = Project::products(&config(true), &[LANDSAT_7]);
    let outcome = landsat.lintan("run", &[]);
    outcome.expect(1, &["nothing was observed", "a Landsat product does not tell", "use HLS"]);
}

const TILE: &str = "GRANULE/L2A_T34TFR_A018318_20200908T092031/MTD_TL.xml";

/// A pixel of the product: red and near infrared as reflectance.
fn product_pixel(project: &Project, col: isize, row: isize) -> (f64, f64) {
    let read = |band: &str| {
        let folder = "GRANULE/L2A_T34TFR_A018318_20200908T092031/IMG_DATA/R10m/T34TFR_20200908T092031";
        let path = project.path("scenes").join(SAFE_NEW).join(format!("{folder}_{band}_10m.jp2"));
        let band = gdal::Dataset::open(path).unwrap();
        let found = band.rasterband(1).unwrap().read_as::<u16>((col, row), (1, 1), (1, 1), None).unwrap();
        (f64::from(found.data()[0]) - 1000.0) * 1e-4
    };
    (read("B04"), read("B08"))
}

/// A product's means where it has no grid of view angles; with one, each parcel has the angles of its own place.
#[test]
fn a_products_own_angles_are_used() {
    let project = Project::products(&config(true), &[SAFE_NEW]);
    let at = [("west", 12), ("east", 87)];
    project.parcels(&at.map(|(id, col)| Parcel::square(id, col as f64 * 10.0, 360.0, 10.0)));
    let expected = |col: isize, zenith: f64, azimuth: f64| {
        let (r, n) = product_pixel(&project, col, 36);
        let factor = |band| c_factor(band, 42.26, zenith, azimuth - 154.17);
        let (r, n) = (r * factor(Band::Red), n * factor(Band::NirBroad));
        [(n - r) / (n + r), 2.5 * (n - r) / (n + 2.4 * r + 1.0)]
    };
    project.run(&[]);
    for (id, col) in at {
        near(means(&project, id), expected(col, 5.2, 104.6), 1e-5);
    }
    let record = project.record();
    assert_eq!(record["scenes"][0]["angles"]["told_by"], "scene");
    assert!(record["inputs"].to_string().contains("MTD_TL.xml"), "the file of the angles is an input");

    // Nodes 500 m apart, from 2 to 10 degrees over the tile; the sun's grid has another shape, so that its mean counts.
    let kind = |name: &str, values: &str| {
        format!(
            "<{name}><COL_STEP>500</COL_STEP><ROW_STEP>500</ROW_STEP><Values_List>{}</Values_List></{name}>",
            format!("<VALUES>{values}</VALUES>").repeat(3)
        )
    };
    let grid = format!(
        "<Viewing_Incidence_Angles_Grids bandId=\"3\" detectorId=\"5\">{}{}</Viewing_Incidence_Angles_Grids>",
        kind("Zenith", "2 6 10"),
        kind("Azimuth", "285 285 285")
    );
    let file = format!("scenes/{SAFE_NEW}/{TILE}");
    project.edit(&file, "<Mean_Viewing_Incidence_Angle_List>", &format!("{grid}<Mean_Viewing_Incidence_Angle_List>"));
    project.run(&[]);
    for (id, col) in at {
        let zenith = 2.0 + 8.0 * (col as f64 * 10.0 + 5.0) / 1000.0;
        near(means(&project, id), expected(col, zenith, 285.0), 1e-5);
    }
    let record = project.record();
    let told = &record["scenes"][0]["angles"];
    assert_eq!(told["told_by"], "grid", "{told}");
    assert!((told["view"]["zenith_deg"].as_f64().unwrap() - 6.0).abs() < 1e-4, "{told}");
    // What is remembered of the product is what it says.
    let tables = project.tables();
    project.run(&[]);
    assert_eq!((project.count("tasks"), &project.record()["scenes"][0]["angles"]), (0, told));
    assert_same(&project.tables(), &tables, "remembered");

    // And where it says nothing.
    project.edit(&file, "Mean_Sun_Angle", "Sun_Mean_Angle");
    let outcome = project.lintan("run", &[]);
    outcome.expect(1, &["MTD_TL.xml: found no Mean_Sun_Angle", "set `nbar = false`"]);
}
