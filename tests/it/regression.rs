//! One test a bug that was found, with its input.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{
    CONFIG, DATES, Outcome, PLAIN, Parcel, Project, SAFE_NEW, assert_same, copy, lintan, quarantine, testdata,
};

fn plain() -> String {
    PLAIN.replace("nbr", "ndmi")
}

#[test]
fn a_parcel_that_is_named_like_a_scene_does_not_drop_the_scene() {
    let project = Project::romania(&plain(), &DATES[..2]);
    project
        .parcels(&[Parcel::square("in", 100.0, 100.0, 200.0), Parcel::square("S2_ROMANIA_20180701", 9e5, 0.0, 200.0)]);
    project.lintan("run", &[]).expect(3, &["outside_imagery"]);
    assert_eq!(project.count("scenes"), 2);
}

#[test]
fn a_parcel_that_is_gone_cannot_spoil_a_scene() {
    let project = Project::romania(&plain(), &DATES[..1]);
    copy(&testdata("products").join(SAFE_NEW), &project.path("scenes/bad"));
    let band = "scenes/bad/GRANULE/L2A_T34TFR_A018318_20200908T092031/IMG_DATA/R10m/T34TFR_20200908T092031_B04_10m.jp2";
    let bytes = fs::read(project.path(band)).unwrap();
    fs::write(project.path(band), &bytes[..bytes.len() * 85 / 100]).unwrap();
    // The first lies in a block that is whole, the second in one that is cut off.
    let parcels = [Parcel::square("A", 100.0, 100.0, 100.0), Parcel::square("B", 800.0, 800.0, 100.0)];
    project.parcels(&parcels);
    project.lintan("run", &[]).expect(3, &["unreadable_asset at extract"]);
    project.parcels(&parcels[..1]);
    let fresh = project.path("fresh");
    project.run(&["--out", fresh.to_str().unwrap()]).expect(0, &[]);
    project.run(&[]);
    assert_same(&project.tables(), &crate::support::tables(&fresh), "A alone");
}

#[test]
fn a_run_that_observes_nothing_keeps_the_tables() {
    let project = Project::romania(&plain(), &DATES[..1]);
    project.run(&[]);
    let before = project.tables();
    project.edit("project.toml", "paths = [\"scenes\"]", "paths = [\"scenes\"]\nstart = \"2030-01-01\"");
    assert!([1, 2].contains(&project.lintan("run", &[]).code));
    assert_same(&project.tables(), &before, "no scene in the range");
}

#[test]
fn the_order_of_indices_costs_no_decoding() {
    let project = Project::romania(&plain(), &DATES[..2]);
    project.run(&[]);
    project.edit("project.toml", "[\"ndvi\", \"ndmi\"]", "[\"ndmi\", \"ndvi\"]");
    project.run(&[]);
    assert_eq!(project.count("blocks_decoded"), 0);
}

/// The same project by a relative and by an absolute path of its configuration, which names its scenes absolutely.
#[test]
fn the_spelling_of_paths_changes_no_table() {
    let project = Project::romania(&plain(), &DATES[..1]);
    fs::write(project.path("scenes/a.zip"), "PK").unwrap();
    let scenes = project.path("scenes").to_string_lossy().into_owned();
    project.edit("project.toml", "paths = [\"scenes\"]", &format!("paths = [\"{scenes}\"]"));
    project.run(&[]);
    let mut command = lintan();
    command.current_dir(project.path(".")).args(["run", "project.toml", "--out", "other"]);
    assert_eq!(Outcome::of(command).code, 3);
    assert_eq!(quarantine(&project.path("other")), quarantine(&project.out()));
}

#[test]
fn ctrl_c_ends_the_wait_for_another_run() {
    let project = Project::romania(&plain(), &DATES[..1]);
    fs::create_dir_all(project.out()).unwrap();
    let held = fs::File::create(project.out().join(".lock")).unwrap();
    held.lock().unwrap();
    let mut child = project.command("run", &["--wait"]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(Command::new("sh").arg("-c").arg(format!("kill -INT {}", child.id())).status().unwrap().success());
    let asked = Instant::now();
    while child.try_wait().unwrap().is_none() && asked.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let ended = child.try_wait().unwrap().is_some();
    drop(held);
    let outcome = Outcome::wait(child);
    assert!(ended, "it went on waiting: {outcome:?}");
    outcome.expect(1, &["stopped on request"]);
}

/// Every line that a run writes to standard error, as its log format says.
#[test]
fn every_line_of_a_json_log_is_json() {
    let project = Project::romania(&plain(), &DATES[..1]);
    fs::write(project.path("scenes/a.zip"), "PK").unwrap();
    let outcome = project.lintan("run", &["--log-format", "json"]);
    outcome.expect(3, &["a.zip"]);
    for line in outcome.err.lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    }
}

#[test]
fn an_input_error_as_json_carries_its_parts() {
    let project = Project::romania(&plain(), &DATES[..1]);
    project.edit("project.toml", "id = \"parcel_id\"", "id = \"di_kuai\"");
    let outcome = project.lintan("run", &["--log-format", "json"]);
    let e: Value = serde_json::from_str(&outcome.expect(2, &[]).err).unwrap();
    assert!(e["file"].as_str().is_some_and(|f| f.ends_with("parcels.gpkg")), "{e}");
    assert!(e["found"].as_str().is_some_and(|f| f.contains("di_kuai")), "{e}");
    assert!(e["expected"].as_str().is_some_and(|f| f.contains("parcel_id")), "{e}");
}

#[test]
fn log_lines_in_a_file_have_no_colours() {
    let project = Project::romania(CONFIG, &DATES[..1]);
    project.edit("project.toml", "[account]\nperiods = [[\"2018-07-15\", \"2020-07-15\"]]\n", "");
    let outcome = project.lintan("run", &["-vv"]);
    assert!(outcome.err.contains("INFO") || outcome.err.contains("DEBUG"), "{}", outcome.err);
    assert!(!outcome.err.contains('\u{1b}'), "{:?}", outcome.err);
}

#[test]
fn status_forgets_what_was_mended() {
    let project = Project::romania(&plain(), &DATES[..1]);
    fs::write(project.path("scenes/a.zip"), "PK").unwrap();
    project.lintan("run", &[]).expect(3, &[]);
    fs::remove_file(project.path("scenes/a.zip")).unwrap();
    project.lintan("status", &[]).expect(0, &[]);
}

#[test]
fn a_wrong_date_is_quoted() {
    let project = Project::new(&PLAIN.replace("[\"scenes\"]", "[\"scenes\"]\nstart = \"2020-02-30\""));
    project.lintan("check", &[]).expect(2, &["project.toml:11: `scenes.start`", "2020-02-30"]);
}

/// A folder of bulk downloads holds the files of several Landsat products side by side.
#[test]
fn landsat_products_side_by_side_are_all_read() {
    let folder = tempfile::tempdir().unwrap();
    for product in fs::read_dir(testdata("products")).unwrap().map(|e| e.unwrap().path()) {
        if product.is_dir() && product.file_name().unwrap().to_string_lossy().starts_with('L') {
            for file in fs::read_dir(product).unwrap().map(|e| e.unwrap().path()) {
                fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
            }
        }
    }
    let found = catalog(folder.path());
    assert_eq!(found.scenes.len(), 2, "{:?}", found.bad);
}

/// Products of 2017 write their name as PRODUCT_URI_2A.
#[test]
fn the_first_level_2a_products_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let old = testdata("products/S2B_MSIL2A_20200908T092031_N0214_R093_T34TFR_20200908T122407.SAFE");
    copy(&old, &folder.path().join("a.SAFE"));
    let metadata = folder.path().join("a.SAFE/MTD_MSIL2A.xml");
    let text = fs::read_to_string(&metadata).unwrap().replace("PRODUCT_URI>", "PRODUCT_URI_2A>");
    fs::write(&metadata, text).unwrap();
    assert_eq!(catalog(folder.path()).scenes.len(), 1);
}

/// One bad entry does not hide the items beside it.
#[test]
fn an_item_collection_with_a_stranger_keeps_its_items() {
    let project = Project::romania(&plain(), &DATES[..2]);
    let mut features = Vec::new();
    let mut folders: Vec<_> = fs::read_dir(project.path("scenes")).unwrap().map(|e| e.unwrap().path()).collect();
    folders.sort();
    for folder in folders {
        for item in fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()) {
            if item.extension().is_some_and(|e| e == "json") {
                let text = fs::read_to_string(&item).unwrap();
                let mut value: Value = serde_json::from_str(&text).unwrap();
                let day = folder.file_name().unwrap().to_string_lossy().into_owned();
                for asset in value["assets"].as_object_mut().unwrap().values_mut() {
                    let href = asset["href"].as_str().unwrap().trim_start_matches("./").to_owned();
                    asset["href"] = format!("{day}/{href}").into();
                }
                features.push(value);
                fs::remove_file(&item).unwrap();
            }
        }
    }
    features.push(serde_json::json!({"type": "Feature", "id": "stranger", "properties": {}, "geometry": null}));
    let collection = serde_json::json!({"type": "FeatureCollection", "features": features});
    fs::write(project.path("scenes/all.json"), collection.to_string()).unwrap();
    project.lintan("run", &[]).expect(3, &["stranger"]);
    assert_eq!(project.count("scenes"), 2);
}

/// Degrees are no metres.
#[test]
fn a_raster_in_degrees_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tif");
    let driver = gdal::DriverManager::get_driver_by_name("GTiff").unwrap();
    let mut dataset = driver.create_with_band_type::<u16, _>(&path, 4, 4, 1).unwrap();
    dataset.set_geo_transform(&[129.0, 0.001, 0.0, 43.0, 0.0, -0.001]).unwrap();
    dataset.set_spatial_ref(&gdal::spatial_ref::SpatialRef::from_epsg(4326).unwrap()).unwrap();
    drop(dataset);
    let refused = lintan::gdal_io::Raster::open(&path).err().unwrap();
    assert!(refused.message.contains("projected CRS in metres"), "{}", refused.message);
}

/// An index in whole numbers whose scale nobody states means nothing; a scale in the raster counts.
#[test]
fn an_index_in_whole_numbers_needs_its_scale() {
    for (scale, scenes) in [(None, 0), (Some(1e-4), 1)] {
        let folder = tempfile::tempdir().unwrap();
        let driver = gdal::DriverManager::get_driver_by_name("GTiff").unwrap();
        let mut dataset = driver.create_with_band_type::<i16, _>(&folder.path().join("n.tif"), 4, 4, 1).unwrap();
        dataset.set_geo_transform(&[5_271_982.0, 10.0, 0.0, 2_533_004.0, 0.0, -10.0]).unwrap();
        dataset.set_spatial_ref(&gdal::spatial_ref::SpatialRef::from_epsg(3035).unwrap()).unwrap();
        if let Some(scale) = scale {
            dataset.rasterband(1).unwrap().set_scale(scale).unwrap();
        }
        drop(dataset);
        let item = serde_json::json!({
            "type": "Feature", "stac_version": "1.0.0", "id": "n",
            "properties": {"platform": "landsat-8", "datetime": "2020-07-15T00:00:00Z"},
            "assets": {"NDVI": {"href": "n.tif", "roles": ["index"]}},
        });
        fs::write(folder.path().join("n.json"), item.to_string()).unwrap();
        let found = catalog(folder.path());
        let wanted = lintan::cube::layout::Wanted {
            indices: vec!["ndvi".into()],
            pixel_m: 10,
            bandpass: lintan::cube::layout::Bandpasses::default(),
            bands: vec![],
        };
        let told: Vec<_> = found.scenes.iter().map(|s| lintan::cube::layout::lay_out(s, &wanted).map(|_| ())).collect();
        let usable = told.iter().filter(|t| t.is_ok()).count();
        assert_eq!(usable, scenes, "scale {scale:?}: {told:?} {:?}", found.bad);
    }
}

fn catalog(folder: &std::path::Path) -> lintan::imagery::catalog::Catalog {
    lintan::run::start();
    let params = lintan::imagery::catalog::Params { paths: vec![folder.to_path_buf()], ..Default::default() };
    let sensors = lintan::imagery::sensor::Sensors::builtin().unwrap();
    lintan::imagery::catalog::read(&params, folder, &sensors).unwrap()
}

/// A damaged page in the middle of a GeoPackage must not pass for the end of the layer.
#[test]
fn a_layer_that_breaks_off_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("parcels.gpkg");
    let whole = fs::read(testdata("romania/parcels.gpkg")).unwrap();
    let params = lintan::parcel::Params {
        path: path.clone(),
        id: "parcel_id".into(),
        ..toml::from_str("path = ''\nid = ''").unwrap()
    };
    lintan::run::start();
    let mut refused = 0;
    for page in 1..whole.len() / 4096 {
        let mut bytes = whole.clone();
        bytes[page * 4096..page * 4096 + 64].fill(0xff);
        fs::write(&path, bytes).unwrap();
        // Whole, or refused; never less without a word.
        match lintan::parcel::read(&params, folder.path()) {
            Ok(set) => assert_eq!(set.features, 45, "page {page}"),
            Err(e) => {
                assert_eq!(e.exit_code(), 2, "page {page}: {e}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0);
}
