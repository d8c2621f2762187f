//! The same inputs give byte-identical tables, whatever the threads, the memory, the folder or the order of the layer.

use std::process::Command;
use std::sync::OnceLock;

use crate::support::{CONFIG, DATES, Files, Outcome, Project, SAFE_NEW, assert_same, lintan, romanian_parcels, tables};

fn dates() -> Project {
    Project::romania(CONFIG, &DATES)
}

/// Tables of an undisturbed run.
fn reference() -> &'static Files {
    static TABLES: OnceLock<Files> = OnceLock::new();
    TABLES.get_or_init(|| {
        let project = dates();
        project.run(&[]);
        for count in ["observations", "series", "disturbances", "stocks", "deltas", "quarantined"] {
            assert!(project.count(count) > 0, "no {count}: the comparison would be worth nothing");
        }
        project.tables()
    })
}

#[test]
fn threads_change_nothing() {
    for threads in ["1", "2", "5"] {
        let project = dates();
        project.run(&["--threads", threads]);
        assert_same(&project.tables(), reference(), &format!("{threads} threads"));
    }
}

#[test]
fn memory_changes_nothing() {
    let project = dates();
    project.edit("project.toml", "[output]", "[engine]\nmemory_gib = 0.1\n\n[output]");
    project.run(&[]);
    assert_same(&project.tables(), reference(), "0.1 GiB");
}

/// Other absolute paths, other spelling of the configuration's path, another place of the output.
#[test]
fn folders_change_nothing() {
    let project = dates();
    let mut command: Command = lintan();
    command.current_dir(project.path(".")).args(["run", "project.toml", "--out", "elsewhere/deep"]);
    let outcome = Outcome::of(command);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert_same(&tables(&project.path("elsewhere/deep")), reference(), "another folder");
}

#[test]
fn tables_hold_no_path_of_this_machine() {
    let project = dates();
    project.run(&[]);
    let folder = project.path("").to_string_lossy().into_owned();
    let name = folder.trim_end_matches('/').rsplit('/').next().unwrap().as_bytes().to_vec();
    for (file, bytes) in project.tables() {
        assert!(!bytes.windows(name.len()).any(|w| w == name), "{file} names {folder}");
    }
}

#[test]
fn the_order_of_the_layer_changes_nothing() {
    let project = dates();
    let mut parcels = romanian_parcels();
    // A fixed shuffle: 17 and 45 have no common divisor.
    parcels = (0..parcels.len()).map(|i| parcels[(i * 17 + 5) % parcels.len()].clone()).collect();
    assert_ne!(parcels[0].id.as_deref(), Some("RO-001"));
    project.parcels(&parcels);
    project.run(&[]);
    assert_same(&project.tables(), reference(), "shuffled layer");
}

/// One scene with several blocks a band, all threads inside it.
#[test]
fn threads_within_a_scene_change_nothing() {
    let run = |threads: &str| {
        let config = CONFIG.split("[change.two_date]").next().unwrap().to_owned() + "[output]\ndir = \"out\"\n";
        let project = Project::products(&config, &[SAFE_NEW]);
        project.edit("project.toml", "attributes = { forest_type = \"lin_xing\" }\n", "");
        project.run(&["--threads", threads]);
        assert!(project.count("blocks_decoded") >= 10, "several blocks a band");
        project.tables()
    };
    assert_same(&run("4"), &run("1"), "4 threads in one scene");
}
