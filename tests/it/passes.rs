//! One look at one parcel is one row: overlapping tiles, a parcel across a tile border, an acquisition in two parts, rasters
//! whose corners differ. The expected rows are those of the uncut scenes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use gdal::raster::Buffer;
use serde_json::Value;

use crate::support::{PLAIN, Project, read_table};

const DATES: [&str; 4] = ["2018-07-01", "2018-07-21", "2020-07-05", "2020-07-30"];

fn config() -> String {
    PLAIN.replace("nbr", "ndmi")
}

/// Columns (of 10 m) of a piece, or which columns keep their values.
#[derive(Clone, Copy)]
enum Cut {
    /// The raster holds these columns only.
    Crop(usize, usize),
    /// The raster is whole; outside these columns nothing was measured.
    Keep(usize, usize),
}

/// Puts a piece of a scene into a folder of its own, as a scene with its own id and time.
fn piece(project: &Project, date: &str, name: &str, cut: Cut, second: u32) {
    let from = project.path("whole").join(date);
    let to = project.path("scenes").join(format!("{date}-{name}"));
    fs::create_dir_all(&to).unwrap();
    for file in fs::read_dir(from).unwrap().map(|e| e.unwrap().path()) {
        let target = to.join(file.file_name().unwrap());
        if file.extension().is_some_and(|e| e == "tif") {
            cut_raster(&file, &target, cut);
            continue;
        }
        let mut item: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        item["id"] = format!("{}-{name}", item["id"].as_str().unwrap()).into();
        item["properties"]["datetime"] = format!("{date}T09:20:{second:02}Z").into();
        for asset in item["assets"].as_object_mut().unwrap().values_mut() {
            for stated in ["proj:shape", "proj:transform"] {
                asset.as_object_mut().unwrap().remove(stated);
            }
        }
        fs::write(target, item.to_string()).unwrap();
    }
}

fn cut_raster(from: &Path, to: &Path, cut: Cut) {
    let source = gdal::Dataset::open(from).unwrap();
    let (cols, rows) = source.raster_size();
    let scale = 100 / cols;
    let (first, last) = match cut {
        Cut::Crop(a, b) => (a / scale, b / scale),
        Cut::Keep(..) => (0, cols),
    };
    let width = last - first;
    let band = source.rasterband(1).unwrap();
    let mut values = band
        .read_as::<u16>((isize::try_from(first).unwrap(), 0), (width, rows), (width, rows), None)
        .unwrap()
        .data()
        .to_vec();
    if let Cut::Keep(a, b) = cut {
        for (i, v) in values.iter_mut().enumerate() {
            if !(a / scale..b / scale).contains(&(i % width)) {
                *v = 0;
            }
        }
    }
    let driver = gdal::DriverManager::get_driver_by_name("GTiff").unwrap();
    let mut target = driver.create_with_band_type::<u16, _>(to, width, rows, 1).unwrap();
    let mut t = source.geo_transform().unwrap();
    t[0] += first as f64 * t[1];
    target.set_geo_transform(&t).unwrap();
    target.set_spatial_ref(&source.spatial_ref().unwrap()).unwrap();
    let mut buffer = Buffer::new((width, rows), values);
    target.rasterband(1).unwrap().write((0, 0), (width, rows), &mut buffer).unwrap();
}

/// Observations by parcel, index and day, without what names the scene, and the shares as they are.
fn observations(project: &Project) -> BTreeMap<(String, String, String), Vec<String>> {
    let mut all = BTreeMap::new();
    for year in ["2018", "2020"] {
        let path = project.out().join(format!("tables/observations/year={year}/part-0.parquet"));
        let (head, rows) = read_table(&path);
        let at = |name: &str| head.iter().position(|h| h == name).unwrap();
        for row in rows {
            let key = (row[at("parcel_id")].clone(), row[at("index")].clone(), row[at("acquired_at")][..10].to_owned());
            let values = row[at("pixels")..].to_vec();
            assert!(all.insert(key.clone(), values).is_none(), "two rows for {key:?}");
        }
    }
    all
}

/// Rows of the uncut scenes and of the pieces, and the record of the latter.
fn compare(pieces: &[(&str, Cut, u32)]) -> Value {
    let whole = Project::romania(&config(), &DATES);
    whole.run(&[]);
    let cut = Project::romania(&config(), &DATES);
    fs::rename(cut.path("scenes"), cut.path("whole")).unwrap();
    for date in DATES {
        for (name, how, second) in pieces {
            piece(&cut, date, name, *how, *second);
        }
    }
    cut.run(&[]);
    let (expected, found) = (observations(&whole), observations(&cut));
    assert_eq!(expected.len(), found.len());
    for (key, row) in &expected {
        assert_eq!(&found[key], row, "{key:?}");
    }
    cut.record()["passes"].clone()
}

#[test]
fn overlapping_tiles_and_parcels_across_their_border() {
    let passes = compare(&[("west", Cut::Crop(0, 52), 0), ("east", Cut::Crop(46, 100), 7)]);
    assert!(passes["rows_left_out"].as_u64() > Some(0) && passes["rows_merged"].as_u64() > Some(0), "{passes}");
}

#[test]
fn an_acquisition_in_two_parts() {
    let passes = compare(&[("a", Cut::Keep(0, 50), 0), ("b", Cut::Keep(50, 100), 0)]);
    assert!(passes["rows_merged"].as_u64() > Some(0), "{passes}");
}

/// Rasters whose corners differ from date to date, as Landsat's do, stack to the same disturbances (of parcels that lie in all
/// of them).
#[test]
fn rasters_with_different_corners_are_stacked() {
    let rule = "\n[change.two_date]\nindex = \"ndmi\"\nbefore = [\"2018-06-01\", \"2018-09-30\"]\n\
                after = [\"2020-06-01\", \"2020-09-30\"]\nmin_drop = 0.15\n";
    let whole = Project::romania(&format!("{}{rule}", config()), &DATES);
    whole.run(&[]);
    let cut = Project::romania(&format!("{}{rule}", config()), &DATES);
    fs::rename(cut.path("scenes"), cut.path("whole")).unwrap();
    for (i, date) in DATES.iter().enumerate() {
        piece(&cut, date, "x", Cut::Crop(2 * i, 100 - 2 * i), 0);
    }
    cut.lintan("run", &[]);
    let of = |project: &Project, parcel: &str| -> Vec<String> {
        let (head, rows) = read_table(&project.out().join("tables/disturbances.parquet"));
        // Reference parcels lose pixels to the cuts, so the control is another one.
        let other = |h: &str| h.ends_with("scene_id") || h.starts_with("control_") || h.starts_with("did_");
        let row = rows.into_iter().find(|r| r[0] == parcel).unwrap_or_default();
        row.into_iter().zip(head).filter(|(_, h)| !other(h)).map(|(v, _)| v).collect()
    };
    for parcel in ["RO-033", "RO-024"] {
        let expected = of(&whole, parcel);
        assert!(!expected.is_empty(), "{parcel} is disturbed");
        assert_eq!(of(&cut, parcel), expected);
    }
}
