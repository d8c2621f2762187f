//! Carbon through the whole program: biomass maps, and what must hold of any method.

use std::fs;
use std::path::Path;

use gdal::DriverManager;
use gdal::raster::Buffer;
use gdal::spatial_ref::{AxisMappingStrategy, SpatialRef};

use crate::support::{CONFIG, DATES, Parcel, Project, quarantine, read_table, romanian_parcels, tables};

/// Writes a raster in degrees over the Romanian parcels: what a function of longitude and latitude says at pixel centres.
fn map(path: &Path, corner: (f64, f64), pixel: f64, (cols, rows): (usize, usize), value: impl Fn(f64, f64) -> f32) {
    let driver = DriverManager::get_driver_by_name("GTiff").unwrap();
    let mut target = driver.create_with_band_type::<f32, _>(path, cols, rows, 1).unwrap();
    target.set_geo_transform(&[corner.0, pixel, 0.0, corner.1, 0.0, -pixel]).unwrap();
    let mut srs = SpatialRef::from_epsg(4326).unwrap();
    srs.set_axis_mapping_strategy(AxisMappingStrategy::TraditionalGisOrder);
    target.set_spatial_ref(&srs).unwrap();
    let at = |i: usize| (corner.0 + ((i % cols) as f64 + 0.5) * pixel, corner.1 - ((i / cols) as f64 + 0.5) * pixel);
    let values: Vec<f32> = (0..cols * rows).map(|i| value(at(i).0, at(i).1)).collect();
    let mut band = target.rasterband(1).unwrap();
    band.set_no_data_value(Some(-9999.0)).unwrap();
    band.write((0, 0), (cols, rows), &mut Buffer::new((cols, rows), values)).unwrap();
}

/// The corner and size of a map over all Romanian parcels, pixels of about 10 m.
const CORNER: (f64, f64) = (22.13, 45.22);
const PIXEL: f64 = 0.0001;
const SIZE: (usize, usize) = (400, 300);

fn project() -> Project {
    let project = Project::romania(CONFIG, &DATES);
    let text = fs::read_to_string(project.path("project.toml")).unwrap();
    let (head, rest) = text.split_once("[biomass.tier1_cover]").unwrap();
    let (_, tail) = rest.split_once("[account]").unwrap();
    let biomass = "[biomass.agb_map]\nunit = \"t d.m./ha\"\nerror_range_m = 300\necological_zone = \"temperate_mountain\"\n\
                   [[biomass.agb_map.maps]]\npath = \"agb.tif\"\nerror_path = \"agb_se.tif\"\ndate = \"2018-07-15\"\n\n";
    project.write("project.toml", &format!("{head}{biomass}[account]{tail}"));
    // A plane: its mean over a parcel is its value at the parcel's centre.
    map(&project.path("agb.tif"), CORNER, PIXEL, SIZE, |lon, _| (100.0 + 2000.0 * (lon - 22.15)) as f32);
    map(&project.path("agb_se.tif"), CORNER, PIXEL, SIZE, |_, _| 30.0);
    project
}

fn column<'a>(head: &[String], rows: &'a [Vec<String>], name: &str) -> Vec<&'a str> {
    let at = head.iter().position(|h| h == name).unwrap_or_else(|| panic!("no {name} in {head:?}"));
    rows.iter().map(|r| r[at].as_str()).collect()
}

#[test]
fn a_biomass_map_is_read_by_footprint() {
    let project = project();
    project.run(&[]).expect(3, &["RO-004"]);
    let (head, rows) = read_table(&project.out().join("tables/stocks.parquet"));
    let of = |name| column(&head, &rows, name);
    let deltas = read_table(&project.out().join("tables/deltas.parquet"));
    let mut seen = 0;
    for i in 0..rows.len() {
        if (of("pool")[i], of("epoch")[i]) != ("aboveground", "2018-07-15") {
            continue;
        }
        seen += 1;
        let parcel = of("parcel_id")[i];
        // The box of the parcel stands in the deltas; squares and near-squares have their centre in its middle.
        let at = column(&deltas.0, &deltas.1, "parcel_id").iter().position(|p| *p == parcel).unwrap();
        let corners = column(&deltas.0, &deltas.1, "bbox")[at];
        let numbers: Vec<f64> = corners.trim_matches(['(', ')']).split(' ').map(|n| n.parse().unwrap()).collect();
        let plane = |lon: f64| 100.0 + 2000.0 * (lon - 22.15);
        let density: f64 = of("density_t_c_per_ha")[i].parse().unwrap();
        let cf = density / plane((numbers[0] + numbers[2]) / 2.0);
        // 0.48 of broadleaf; parcels are no exact boxes.
        assert!((cf / 0.48 - 1.0).abs() < 0.02, "{parcel}: {cf}");
        assert_eq!(of("status")[i], "screening_only");
        assert!(of("flags")[i].contains("not_validated_locally"), "{}", of("flags")[i]);
        // The error of the mean is smaller than that of a pixel (30 t/ha) and larger than without correlation.
        let area: f64 = of("area_ha")[i].parse().unwrap();
        let se: f64 = of("stock_se_t_c")[i].parse().unwrap();
        let of_map = se / area / 0.48;
        assert!(of_map < 32.0 && of_map > 3.0 * 30.0 / (area * 1e4 / 86.0).sqrt(), "{parcel}: {of_map}");
    }
    assert!(seen > 30, "{seen}");
    // At the later epoch the same map counts, less what two_date saw lost.
    let delta = |name: &str| column(&deltas.0, &deltas.1, name);
    let lost = delta("disturbed_area_ha").iter().filter(|l| **l != "0").count();
    assert!(lost > 5);
    for i in 0..deltas.1.len() {
        let n = |name: &str| -> f64 { delta(name)[i].parse().unwrap() };
        let expected = -n("stock_start_t_c") * n("disturbed_area_ha") / n("area_ha");
        assert!((n("delta_t_c") - expected).abs() < 1e-6 * n("stock_start_t_c"), "{}", delta("parcel_id")[i]);
        assert!(delta("flags")[i].contains("growth_not_stated"));
    }
    let inputs = project.record()["inputs"].to_string();
    assert!(inputs.contains("agb.tif") && inputs.contains("agb_se.tif"));
}

#[test]
fn what_is_wrong_with_a_biomass_map_is_told() {
    let project = project();
    let fails = |parts: &[&str]| {
        project.lintan("run", &[]).expect(2, parts);
        project.lintan("check", &[]).expect(2, parts);
    };
    map(&project.path("agb_se.tif"), CORNER, 2.0 * PIXEL, (200, 150), |_, _| 30.0);
    fails(&["agb_se.tif", "grid"]);
    fs::remove_file(project.path("agb_se.tif")).unwrap();
    fails(&["agb_se.tif", "relative to the configuration"]);
    project.edit("project.toml", "unit = \"t d.m./ha\"", "unit = \"t/acre\"");
    fails(&["t/acre", "t d.m./ha"]);
    project.edit("project.toml", "unit = \"t/acre\"", "unit = \"t d.m./ha\"");

    // Values of another unit (kg per ha), half a map, and an epoch before it: reasons, and the rest finished.
    map(&project.path("agb.tif"), CORNER, PIXEL, (210, 300), |lon, _| if lon > 22.1495 { 120.0 } else { 120_000.0 });
    map(&project.path("agb_se.tif"), CORNER, PIXEL, (210, 300), |_, _| 30.0);
    project.edit("project.toml", "periods = [", "periods = [[\"2017-07-15\", \"2018-07-15\"], ");
    project.run(&[]).expect(3, &[]);
    let aside: Vec<String> = quarantine(&project.out()).into_iter().map(|q| q.message).collect();
    let some = |part: &str| assert!(aside.iter().any(|m| m.contains(part)), "{part}: {aside:#?}");
    some("check `unit`");
    some("% of the parcel, expected at least 90.0 %");
    some("epoch 2017-07-15: found the first map of 2018-07-15");
}

/// A parcel's figures do not depend on which others are in the run, nor on the number of threads.
#[test]
fn figures_are_a_parcels_own() {
    let all = Project::romania(CONFIG, &DATES);
    all.run(&[]);
    let some = Project::romania(CONFIG, &DATES);
    let wanted = ["RO-011", "RO-030", "RO-041"];
    let parcels: Vec<Parcel> =
        romanian_parcels().into_iter().filter(|p| wanted.contains(&p.id.as_deref().unwrap_or_default())).collect();
    some.parcels(&parcels);
    some.run(&[]);
    for table in ["stocks", "deltas"] {
        let rows = |project: &Project| {
            let (head, rows) = read_table(&project.out().join(format!("tables/{table}.parquet")));
            // What reference parcels did is no figure of the parcel alone.
            let own = |name: &String| !name.starts_with("did_") && !name.starts_with("reference");
            let keep: Vec<usize> = (0..head.len()).filter(|i| own(&head[*i])).collect();
            let rows = rows.into_iter().filter(|r| wanted.contains(&r[0].as_str()));
            rows.map(|r| keep.iter().map(|i| r[*i].clone()).collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        assert_eq!(rows(&all), rows(&some), "{table}");
        assert!(rows(&some).len() >= 2);
    }
    let before = tables(&all.out());
    all.write(
        "project.toml",
        &format!("{}\n[engine]\nthreads = 1\n", fs::read_to_string(all.path("project.toml")).unwrap()),
    );
    fs::remove_dir_all(all.out()).unwrap();
    all.run(&[]);
    crate::support::assert_same(&tables(&all.out()), &before, "one thread");
}

/// Every run says that its figures add up.
#[test]
fn invariants_stand_in_the_record() {
    let project = Project::romania(CONFIG, &DATES);
    project.run(&[]);
    let record = project.record();
    for name in [
        "pools_sum_to_total",
        "stock_is_density_times_area",
        "delta_is_difference_of_stocks",
        "parcels_hold_no_more_than_their_ground",
    ] {
        let check = &record["invariants"][name];
        assert!(check["checked"].as_u64().unwrap() > 0, "{name}");
        assert_eq!(check["violated"], 0, "{name}");
    }
    assert_eq!(record["monte_carlo"]["draws"], 10_000);
    assert!(record["monte_carlo"]["algorithm"].as_str().unwrap().contains("PCG64"));
}
