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
