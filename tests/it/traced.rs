//! Parcels that were traced on a shifted web map lie beside their forest; the run says so, names the setting, and moves nothing.

use lintan::geo::datum::DatumShift;

use crate::support::{Parcel, Project, write_parcels};
use crate::synthetic::{Frame, Ground, VEGETATION, transform};

/// In Hunan, in UTM zone 49.
const PLACE: (f64, f64) = (113.2, 27.4);
const UTM: u32 = 32649;
const SIDE: usize = 6;

const CONFIG: &str = r#"[project]
name = "test"

[parcels]
path = "parcels.gpkg"
id = "parcel_id"

[scenes]
paths = ["scenes"]

[observe]
indices = ["evi2"]

[output]
dir = "out"
"#;

/// Centres of the patches, metres in the zone: in rows and columns, none exactly.
fn patches() -> Vec<(f64, f64)> {
    let mut origin = [PLACE];
    transform(4326, UTM, &mut origin);
    let jitter = |i: usize| ((i * 7919) % 101) as f64 - 50.0;
    (0..SIDE * SIDE)
        .map(|i| {
            let step = |k: usize| 340.0 * (k as f64 - 0.5 * (SIDE as f64 - 1.0));
            (origin[0].0 + step(i % SIDE) + jitter(i), origin[0].1 + step(i / SIDE) + jitter(i + 50))
        })
        .collect()
}

fn dot(nir: f64, texture: f64) -> Ground {
    (0.05, nir + 0.02 * texture.sin(), VEGETATION)
}

/// A project with a clear scene and one half under cloud, patches unlike the land around them, and a parcel on each patch as a
/// layer with this offset has it.
fn project(patch_nir: f64, around_nir: f64, drawn_on: Option<DatumShift>) -> Project {
    let project = Project::new(CONFIG);
    // Around the layer, and large enough for the longest offset in every direction.
    let middle = shifted(PLACE, drawn_on);
    let frame = Frame::near(UTM, middle, (-2560.0, 2560.0), 512, 512);
    let centres = patches();
    // Degrees to metres well enough over 5 km, and much faster than PROJ pixel by pixel.
    let metres = |lon: f64, lat: f64| ((lon - PLACE.0) * 98_900.0, (lat - PLACE.1) * 110_800.0);
    let local: Vec<(f64, f64)> = {
        let mut degrees = centres.clone();
        transform(UTM, 4326, &mut degrees);
        degrees.into_iter().map(|(lon, lat)| metres(lon, lat)).collect()
    };
    let land = |lon: f64, lat: f64| {
        let (x, y) = metres(lon, lat);
        let in_patch = local.iter().any(|c| (c.0 - x).hypot(c.1 - y) < 85.0);
        dot(if in_patch { patch_nir } else { around_nir }, x / 37.0 + y / 53.0)
    };
    let clouded = |lon: f64, lat: f64| {
        let (red, nir, class) = land(lon, lat);
        (red, nir, if lon > PLACE.0 { 9 } else { class })
    };
    frame.scene(&project.path("scenes"), "clouded", "2022-06-01T03:00:00Z", clouded);
    frame.scene(&project.path("scenes"), "clear", "2022-07-01T03:00:00Z", land);

    let parcels: Vec<Parcel> = centres
        .iter()
        .enumerate()
        .map(|(i, (x, y))| {
            let mut ring: Vec<(f64, f64)> = (0..=12)
                .map(|k| {
                    let a = std::f64::consts::TAU * f64::from(k % 12) / 12.0;
                    (x + 60.0 * a.cos(), y + 60.0 * a.sin())
                })
                .collect();
            transform(UTM, 4326, &mut ring);
            let text: Vec<String> =
                ring.into_iter().map(|p| shifted(p, drawn_on)).map(|(x, y)| format!("{x} {y}")).collect();
            Parcel::new(&format!("P{i:02}"), &format!("POLYGON (({}))", text.join(", ")))
        })
        .collect();
    write_parcels(&project.path("parcels.gpkg"), Some(4326), &parcels);
    project
}

/// A vertex as a shifted map has it: the point that the offset's undoing brings back to it.
fn shifted(point: (f64, f64), drawn_on: Option<DatumShift>) -> (f64, f64) {
    let target = geo::Coord { x: point.0, y: point.1 };
    let mut found = target;
    if let Some(shift) = drawn_on {
        for _ in 0..20 {
            found = found + target - shift.undo(found);
        }
    }
    (found.x, found.y)
}

/// Notes on an offset in the run record.
fn suspicions(project: &Project) -> Vec<String> {
    let record = project.record();
    let notes = record["notes"].as_array().unwrap();
    notes.iter().filter(|n| n["topic"] == "offset").map(|n| n["message"].as_str().unwrap().to_owned()).collect()
}

const FOREST: f64 = 0.45;
const FIELD: f64 = 0.15;

#[test]
fn parcels_of_a_shifted_map_are_suspected() {
    for (shift, key) in [(DatumShift::Gcj02, "gcj02"), (DatumShift::Bd09, "bd09")] {
        let project = project(FOREST, FIELD, Some(shift));
        let outcome = project.run(&[]);
        let found = suspicions(&project);
        let [note] = &found[..] else { panic!("{key}: {found:?}") };
        for part in [shift.name(), &format!("datum_shift = \"{key}\""), "in clear,", "32 of 32 parcels"] {
            assert!(note.contains(part), "{part}: {note}");
        }
        assert!(outcome.err.contains(&format!("datum_shift = \"{key}\"")), "{outcome:?}");
        // A run that has nothing to do still says it.
        project.run(&[]);
        assert_eq!(suspicions(&project), found);
        // Doing what the note says ends it, and brings the parcels into their forest.
        project.edit("project.toml", "id = \"parcel_id\"", &format!("id = \"parcel_id\"\ndatum_shift = \"{key}\""));
        let before = mean(&project);
        project.run(&[]);
        assert!(suspicions(&project).is_empty());
        assert!(mean(&project) > before + 0.2);
    }
}

/// Mean of the observations of all parcels.
fn mean(project: &Project) -> f64 {
    let (head, rows) = crate::support::read_table(&project.out().join("tables/observations/year=2022/part-0.parquet"));
    let at = head.iter().position(|h| h == "mean").unwrap();
    let values: Vec<f64> = rows.iter().filter_map(|r| r[at].parse().ok()).collect();
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn parcels_in_their_forest_and_felled_ones_are_not() {
    // In their forest; felled within forest, so that every other place is greener; forest everywhere.
    for (patch, around) in [(FOREST, FIELD), (FIELD, FOREST), (FOREST, FOREST)] {
        let project = project(patch, around, None);
        project.run(&[]);
        assert_eq!(suspicions(&project), [""; 0], "{patch} in {around}");
    }
    // Shifted, but nothing to tell it by.
    let project = project(FOREST, FOREST, Some(DatumShift::Gcj02));
    project.run(&[]);
    assert_eq!(suspicions(&project), [""; 0]);
}
