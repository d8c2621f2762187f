//! A parcel on the line between two UTM zones is seen in both. One row counts, in the zone that the rule names; the other zone
//! is its witness, and the run record tells how far the two lie apart.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::support::{Parcel, Project, read_table, write_parcels};
use crate::synthetic::{Frame, Ground, VEGETATION};

/// On the line between zones 34 and 35.
const PLACE: (f64, f64) = (24.0, 45.2);
const DATES: [&str; 3] = ["2023-06-01", "2023-07-01", "2023-08-05"];
/// Metres of a degree of longitude at the place, nearly.
const DEGREE_M: f64 = 78_600.0;

const CONFIG: &str = r#"[project]
name = "test"

[parcels]
path = "parcels.gpkg"
id = "parcel_id"

[scenes]
paths = ["scenes"]

[observe]
indices = ["ndvi", "evi2"]
min_clear_fraction = 0.8

[output]
dir = "out"
"#;

/// Smooth forest: a pixel less or more moves a parcel's mean little.
fn ground(lon: f64, lat: f64) -> Ground {
    let (x, y) = ((lon - PLACE.0) * DEGREE_M, (lat - PLACE.1) * 111_000.0);
    (0.05 + 0.01 * (x / 500.0).sin(), 0.35 + 0.05 * (y / 700.0).cos() + x / 50_000.0, VEGETATION)
}

/// Zone 34 from 1600 m west to 500 m east of the line, zone 35 from 900 m west to 1600 m east: the line lies deeper in the
/// latter.
fn frames() -> [(&'static str, Frame); 2] {
    [
        ("west", Frame::near(32634, PLACE, (-1600.0, 1000.0), 210, 200)),
        ("east", Frame::near(32635, PLACE, (-900.0, 1000.0), 250, 200)),
    ]
}

/// A rectangle around a point so many metres east and north of the place, turned a little so that it follows no pixel row.
fn parcel(id: &str, east: f64, north: f64, half: f64) -> Parcel {
    let at = |dx: f64, dy: f64| {
        let (x, y) = (east + dx + 0.1 * dy, north + dy - 0.1 * dx);
        format!("{} {}", PLACE.0 + x / DEGREE_M, PLACE.1 + y / 111_000.0)
    };
    let ring = [at(-half, -half), at(half, -half), at(half, half), at(-half, half), at(-half, -half)];
    Parcel::new(id, &format!("POLYGON (({}))", ring.join(", ")))
}

fn project() -> Project {
    let project = Project::new(CONFIG);
    let parcels = [
        parcel("line", 20.0, 30.0, 120.0),
        parcel("line-small", -5.0, -400.0, 35.0),
        parcel("both-west", -300.0, 200.0, 90.0),
        parcel("west", -1250.0, 0.0, 110.0),
        parcel("east", 1200.0, 100.0, 130.0),
        // Zone 34 holds a part of it, zone 35 all.
        parcel("cut", 520.0, -100.0, 100.0),
    ];
    write_parcels(&project.path("parcels.gpkg"), Some(4326), &parcels);
    project
}

fn scene_id(date: &str, zone: &str) -> String {
    format!("{date}-{zone}")
}

/// Time of the scenes: the eastern tile some seconds later, and on the second date first.
fn time(date: &str, zone: &str) -> String {
    let second = if (zone == "east") == (date == DATES[1]) { 3 } else { 17 };
    format!("{date}T09:20:{second:02}Z")
}

fn add(project: &Project, zones: &[&str], ground: impl Fn(&str, &str, f64, f64) -> Ground) {
    for date in DATES {
        for (zone, frame) in frames().iter().filter(|(z, _)| zones.contains(z)) {
            let on_the_ground = |lon: f64, lat: f64| ground(date, zone, lon, lat);
            frame.scene(&project.path("scenes"), &scene_id(date, zone), &time(date, zone), on_the_ground);
        }
    }
}

/// Rows by parcel, index and day: zone, clear fraction, mean. Fails on a second row.
fn rows(project: &Project) -> BTreeMap<[String; 3], (String, f64, f64)> {
    let (head, rows) = read_table(&project.out().join("tables/observations/year=2023/part-0.parquet"));
    let at = |name: &str| head.iter().position(|h| h == name).unwrap();
    let mut all = BTreeMap::new();
    for row in rows {
        let key = [row[at("parcel_id")].clone(), row[at("index")].clone(), row[at("acquired_at")][..10].to_owned()];
        let number = |name: &str| row[at(name)].parse().unwrap_or(f64::NAN);
        let value = (row[at("grid_id")].clone(), number("clear_fraction"), number("mean"));
        assert!(all.insert(key.clone(), value).is_none(), "two rows for {key:?}");
    }
    all
}

fn is_zone(grid_id: &str, zone: &str) -> bool {
    grid_id.contains(if zone == "west" { "32634" } else { "32635" })
}

#[test]
fn a_parcel_on_the_line_is_observed_once_and_its_other_zone_is_compared() {
    let smooth = |_: &str, _: &str, lon: f64, lat: f64| ground(lon, lat);
    let both = project();
    add(&both, &["west", "east"], smooth);
    both.run(&[]);
    let found = rows(&both);
    assert_eq!(found.len(), 6 * 2 * DATES.len(), "six parcels, two indices, three dates");

    // Each zone by itself says what each would have observed.
    let alone = ["west", "east"].map(|zone| {
        let one = project();
        add(&one, &[zone], smooth);
        one.run(&[]);
        assert_eq!(one.record()["passes"]["cross_checks"], serde_json::json!({}));
        rows(&one)
    });
    let mut differences: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (key, (grid, clear, mean)) in &found {
        // By the rule: the zone that sees it whole, and of two the one in whose raster it lies deeper.
        let zone = if key[0] == "west" || key[0] == "both-west" { "west" } else { "east" };
        assert!(is_zone(grid, zone), "{key:?} in {grid}");
        let (own, other) = if zone == "west" { (&alone[0], &alone[1]) } else { (&alone[1], &alone[0]) };
        assert_eq!((*clear, *mean), (own[key].1, own[key].2), "{key:?}");
        if ["line", "line-small", "both-west"].contains(&key[0].as_str()) {
            differences.entry(&key[1]).or_default().push((other[key].2 - mean).abs());
        }
    }
    let checks = &both.record()["passes"]["cross_checks"];
    for (index, mut expected) in differences {
        expected.sort_by(f64::total_cmp);
        let check = &checks[index];
        assert_eq!(check["pairs"], expected.len(), "{checks}");
        let number = |v: &Value| v.as_f64().unwrap();
        let largest = number(&check["largest"]["difference"]).abs();
        assert!((largest - expected[expected.len() - 1]).abs() < 1e-8, "{check}, expected {expected:?}");
        let median = number(&check["median_difference"]);
        assert!((0.0..1.0001e-4).contains(&(median - expected[(expected.len() - 1) / 2])), "{check}, {expected:?}");
        // Two samplings of one smooth landscape.
        assert!(largest > 0.0 && largest < 0.01, "{check}");
    }

    // A run that has nothing to do keeps what the first one found.
    let record = both.record()["passes"].clone();
    both.run(&[]);
    assert_eq!(both.record()["passes"], record);
}

#[test]
fn a_zone_that_disagrees_is_named() {
    let project = project();
    add(&project, &["west", "east"], |date, zone, lon, lat| {
        let (red, nir, class) = ground(lon, lat);
        // One tile of one date is brighter in red.
        let red = if (date, zone) == (DATES[1], "west") { red + 0.03 } else { red };
        (red, nir, class)
    });
    // A cloud over the small parcel in one zone alone: such a pair says nothing about the zones.
    let clouded = |lon: f64, lat: f64| {
        let (red, nir, class) = ground(lon, lat);
        let near = (lon - PLACE.0).abs() * DEGREE_M < 60.0 && ((lat - PLACE.1) * 111_000.0 + 400.0).abs() < 60.0;
        (red, nir, if near { 9 } else { class })
    };
    let (_, west) = frames()[0];
    let id = scene_id(DATES[0], "west");
    fs::remove_dir_all(project.path("scenes").join(&id)).unwrap();
    west.scene(&project.path("scenes"), &id, &time(DATES[0], "west"), clouded);
    project.run(&[]);
    assert_eq!(rows(&project).len(), 6 * 2 * DATES.len());
    let check = project.record()["passes"]["cross_checks"]["ndvi"].clone();
    let largest = &check["largest"];
    assert_eq!(check["pairs"], 8, "nine less the clouded one: {check}");
    let pair = [&largest["scene_id"], &largest["other_scene_id"]].map(|v| v.as_str().unwrap());
    assert!(pair.contains(&scene_id(DATES[1], "west").as_str()), "{check}");
    assert!(pair.contains(&scene_id(DATES[1], "east").as_str()), "{check}");
    assert!(largest["difference"].as_f64().unwrap().abs() > 0.1, "{check}");
    assert!(check["median_difference"].as_f64().unwrap() < 0.01, "the other dates agree: {check}");
    let grids = [&largest["grid_id"], &largest["other_grid_id"]].map(|v| v.as_str().unwrap());
    assert!(grids.iter().any(|g| is_zone(g, "west")) && grids.iter().any(|g| is_zone(g, "east")), "{check}");
}
