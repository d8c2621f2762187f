//! Running again: only what is new is done, and whatever happened before, the tables are those of an undisturbed run.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use crate::support::{
    CONFIG, DATES, Files, Outcome, Parcel, Project, assert_same, files, leftovers, lintan, romanian_parcels,
};

/// Tables that a run from nothing makes of the same inputs.
fn from_nothing(project: &Project) -> Files {
    let out = project.path("fresh");
    if out.exists() {
        fs::remove_dir_all(&out).unwrap();
    }
    project.run(&["--out", out.to_str().unwrap()]);
    crate::support::tables(&out)
}

/// Cube files and when they were written.
fn cube(project: &Project) -> BTreeMap<String, SystemTime> {
    let folder = project.out().join("cube");
    files(&folder)
        .into_keys()
        .filter(|f| f.ends_with(".parquet"))
        .map(|f| {
            let time = fs::metadata(folder.join(&f)).unwrap().modified().unwrap();
            (f, time)
        })
        .collect()
}

/// Every file of `before` is still there and was not written again; returns the new ones.
#[track_caller]
fn untouched(before: &BTreeMap<String, SystemTime>, after: &BTreeMap<String, SystemTime>) -> Vec<String> {
    for (file, time) in before {
        assert_eq!(after.get(file), Some(time), "{file} was written again or removed");
    }
    after.keys().filter(|f| !before.contains_key(*f)).cloned().collect()
}

/// Runs again and expects this many scenes to be worked on, with or without decoding.
#[track_caller]
fn again(project: &Project, tasks: u64, decodes: bool) {
    project.run(&[]);
    assert_eq!(project.count("tasks"), tasks);
    assert_eq!(project.count("blocks_decoded") > 0, decodes, "blocks decoded: {}", project.count("blocks_decoded"));
}

#[test]
fn a_second_run_decodes_nothing_and_changes_nothing() {
    let project = Project::romania(CONFIG, &DATES[..3]);
    again(&project, 3, true);
    let (tables, cubes) = (project.tables(), cube(&project));
    again(&project, 0, false);
    assert_same(&project.tables(), &tables, "second run");
    assert_eq!(untouched(&cubes, &cube(&project)), [""; 0]);
    let runs = fs::read_dir(project.out().join("runs")).unwrap().count();
    assert_eq!(runs, 2, "each run has its record");
    // New times of the same content are no change either.
    for file in files(&project.path("scenes")).keys() {
        let file = File::options().append(true).open(project.path("scenes").join(file)).unwrap();
        file.set_modified(SystemTime::now()).unwrap();
    }
    again(&project, 0, false);
    assert_same(&project.tables(), &tables, "touched inputs");
}

#[test]
fn a_new_scene_costs_one_scene() {
    let project = Project::romania(CONFIG, &DATES[..4]);
    project.run(&[]);
    let cubes = cube(&project);
    project.add_scene(DATES[4]);
    again(&project, 1, true);
    let new = untouched(&cubes, &cube(&project));
    assert!(!new.is_empty() && new.iter().all(|f| f.contains("20200710")), "{new:?}");
    assert_same(&project.tables(), &from_nothing(&project), "one scene more");
    // And one less.
    fs::remove_dir_all(project.path("scenes").join(DATES[0])).unwrap();
    again(&project, 0, false);
    assert_same(&project.tables(), &from_nothing(&project), "one scene less");
}

#[test]
fn a_changed_scene_is_decoded_again() {
    let project = Project::romania(CONFIG, &DATES[..3]);
    project.run(&[]);
    let before = project.tables();
    // The image of another day under the name of this one.
    let name = |date: &str| format!("scenes/{date}/{date}_B04_10m.tif");
    fs::copy(project.path(&name(DATES[1])), project.path(&name(DATES[0]))).unwrap();
    again(&project, 1, true);
    assert_ne!(project.tables()["series.parquet"], before["series.parquet"]);
    assert_same(&project.tables(), &from_nothing(&project), "a changed band");
}

#[test]
fn parcels_come_go_and_change() {
    let project = Project::romania(CONFIG, &DATES[..3]);
    let all = romanian_parcels();
    project.parcels(&all[..20]);
    project.run(&[]);

    let cubes = cube(&project);
    project.parcels(&all[..22]);
    again(&project, 3, true);
    let blocks = project.count("blocks_decoded");
    // A footprint file, and for each of the three scenes its pixels and its statistics.
    let new = untouched(&cubes, &cube(&project));
    assert_eq!(new.len(), 7, "{new:?}");
    assert_eq!(project.count("parcels"), 22);
    assert_same(&project.tables(), &from_nothing(&project), "two parcels more");
    assert!(blocks <= 3 * 5, "{blocks} blocks: more than each raster once");

    project.parcels(&all[2..22]);
    again(&project, 0, false);
    assert_same(&project.tables(), &from_nothing(&project), "two parcels less");

    let mut changed = all[2..22].to_vec();
    changed[3] = Parcel { wkb: Parcel::square("x", 400.0, 400.0, 155.0).wkb, ..changed[3].clone() };
    project.parcels(&changed);
    again(&project, 3, true);
    assert_same(&project.tables(), &from_nothing(&project), "one parcel redrawn");

    changed[5].kind = Some("damaged".into());
    changed[5].forest_type = Some("落叶松".into());
    project.parcels(&changed);
    again(&project, 0, false);
    assert_same(&project.tables(), &from_nothing(&project), "attributes changed");
}

#[test]
fn settings_after_the_cube_decode_nothing() {
    let project = Project::romania(CONFIG, &DATES[1..5]);
    project.run(&[]);
    for (from, to) in [
        ("min_clear_fraction = 0.9", "min_clear_fraction = 0.999"),
        ("step_days = 10", "step_days = 16\nlambda = 3.0"),
        ("index_bare = 0.20", "index_bare = 0.15"),
        ("min_drop = 0.15", "min_drop = 0.10"),
        ("[account]", "[account]\ndeduction = \"tool14\""),
    ] {
        let before = project.tables();
        project.edit("project.toml", from, to);
        again(&project, 0, false);
        let now = project.tables();
        let tables = ["series.parquet", "disturbances.parquet", "stocks.parquet", "deltas.parquet"];
        assert!(tables.iter().any(|t| now[*t].len() != before[*t].len()), "{to} changes no table");
    }
    assert_same(&project.tables(), &from_nothing(&project), "five settings changed");
}

#[test]
fn an_index_costs_a_decoding_only_where_a_band_is_new() {
    let project = Project::romania(CONFIG, &DATES[1..3]);
    project.run(&[]);
    let cubes = cube(&project);
    // From bands that are in the cube: its statistics are new files, its pixels are read from the old ones.
    project.edit("project.toml", "[\"ndvi\", \"ndmi\"]", "[\"ndvi\", \"ndmi\", \"evi2\"]");
    again(&project, 2, false);
    let new = untouched(&cubes, &cube(&project));
    assert!(new.len() == 2 && new.iter().all(|f| f.contains("observations-")), "{new:?}");
    assert_eq!(project.count("observations"), 2 * 45 * 3);
    assert_same(&project.tables(), &from_nothing(&project), "another index");
    project.edit("project.toml", "\"evi2\"", "\"evi\"");
    again(&project, 2, true);
    assert_same(&project.tables(), &from_nothing(&project), "another band");
}

#[test]
fn settings_of_the_mask_decode_again() {
    let project = Project::romania(CONFIG, &[DATES[0], DATES[5]]);
    project.run(&[]);
    for (from, to) in [
        ("min_clear_fraction", "mask_dilate_m = 40\nmin_clear_fraction"),
        ("min_clear_fraction", "scl_clear = [4, 5, 6, 7, 8]\nmin_clear_fraction"),
    ] {
        let before = project.tables()["observations/year=2020/part-0.parquet"].len();
        project.edit("project.toml", from, to);
        again(&project, 2, true);
        assert_ne!(project.tables()["observations/year=2020/part-0.parquet"].len(), before, "{to} has no effect");
    }
    assert_same(&project.tables(), &from_nothing(&project), "two settings changed");
}

#[test]
fn years_without_scenes_leave_no_partition() {
    let project = Project::romania(CONFIG, &DATES);
    project.run(&[]);
    let years = || -> Vec<String> { project.tables().into_keys().filter(|f| f.starts_with("observations/")).collect() };
    assert_eq!(years(), ["observations/year=2018/part-0.parquet", "observations/year=2020/part-0.parquet"]);
    project.edit("project.toml", "paths = [\"scenes\"]", "paths = [\"scenes\"]\nstart = \"2020-01-01\"");
    again(&project, 0, false);
    assert_eq!(years(), ["observations/year=2020/part-0.parquet"]);
    assert_eq!(project.count("scenes_outside_dates"), 3);
    assert_same(&project.tables(), &from_nothing(&project), "2020 alone");
    project.edit("project.toml", "start = \"2020-01-01\"", "end = \"2020-07-05\"");
    again(&project, 0, false);
    assert_eq!(project.count("scenes"), 4, "the last day belongs to the range");
    assert_same(&project.tables(), &from_nothing(&project), "until a day");
}

#[test]
fn damaged_and_missing_tables_are_made_anew() {
    let project = Project::romania(CONFIG, &DATES[..3]);
    project.run(&[]);
    let expected = project.tables();
    for file in ["tables/series.parquet", "tables/observations/year=2018/part-0.parquet", "quarantine.parquet"] {
        let path = project.out().join(file);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x40;
        fs::write(&path, bytes).unwrap();
        again(&project, 0, false);
        assert_same(&project.tables(), &expected, &format!("a flipped byte in {file}"));
        fs::remove_file(&path).unwrap();
        again(&project, 0, false);
        assert_same(&project.tables(), &expected, &format!("{file} was gone"));
    }
    fs::write(project.out().join("run.json"), "{").unwrap();
    again(&project, 0, false);
    assert_same(&project.tables(), &expected, "a damaged record");
    fs::write(project.out().join("cube/inputs.json"), "[").unwrap();
    again(&project, 0, false);
    assert_same(&project.tables(), &expected, "a damaged memory of inputs");
}

/// A cube file that somebody damaged is named, and made anew once it is gone.
#[test]
fn a_damaged_cube_file_is_named() {
    let project = Project::romania(CONFIG, &DATES[..3]);
    project.run(&[]);
    let expected = project.tables();
    let names: Vec<String> = cube(&project).into_keys().collect();
    for part in ["observations-", "footprint-"] {
        let name = names.iter().find(|n| n.contains(part)).unwrap();
        let path = project.out().join("cube").join(name);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        fs::remove_file(project.out().join("run.json")).unwrap();
        let file = path.file_name().unwrap().to_str().unwrap();
        project.lintan("run", &[]).expect(1, &[file, "help: remove the file and run again"]);
        fs::remove_file(&path).unwrap();
        project.run(&[]);
        assert_same(&project.tables(), &expected, name);
    }
}

#[test]
fn killed_at_any_moment_the_next_run_completes() {
    let project = Project::romania(CONFIG, &DATES);
    let clock = Instant::now();
    let expected = from_nothing(&project);
    let whole = clock.elapsed();
    let mut killed = 0;
    for round in 0..2 {
        if project.out().exists() {
            fs::remove_dir_all(project.out()).unwrap();
        }
        for step in 1..=4 {
            let mut child = project.command("run", &["--threads", "2"]).spawn().unwrap();
            std::thread::sleep(whole * (2 * step - round) / 8);
            child.kill().unwrap();
            let status = child.wait().unwrap();
            killed += u32::from(status.code().is_none());
            let half: Vec<String> = files(&project.out()).into_keys().filter(|f| f.ends_with(".parquet")).collect();
            for file in half.iter().filter(|f| !f.contains(".staging-")) {
                let bytes = fs::read(project.out().join(file)).unwrap();
                assert!(bytes.ends_with(b"PAR1"), "{file} is not complete");
            }
        }
        project.run(&[]);
        assert_same(&project.tables(), &expected, &format!("round {round}"));
        assert_eq!(leftovers(&project.out()), [""; 0]);
    }
    assert!(killed >= 1, "no run was killed before its end");
}

/// What a kill leaves half written does not stay.
#[test]
fn staged_files_of_a_killed_run_are_removed() {
    let project = Project::romania(CONFIG, &DATES[..1]);
    for folder in ["tables/observations/year=2018", "cube/grid/scene"] {
        fs::create_dir_all(project.out().join(folder)).unwrap();
        fs::write(project.out().join(folder).join(".staging-1-part-0.parquet"), "half").unwrap();
    }
    assert_eq!(leftovers(&project.out()).len(), 2);
    project.edit("project.toml", "[account]\nperiods = [[\"2018-07-15\", \"2020-07-15\"]]\n", "");
    project.run(&[]);
    assert_eq!(leftovers(&project.out()), [""; 0]);
}

/// Holds the output folder as another run would.
fn hold(out: &Path) -> File {
    fs::create_dir_all(out).unwrap();
    let mut file = File::options().create(true).truncate(true).write(true).open(out.join(".lock")).unwrap();
    file.write_all("process 4711 on 林业局\n".as_bytes()).unwrap();
    file.lock().unwrap();
    file
}

#[test]
fn a_second_run_on_the_same_folder_is_refused_or_waits() {
    let project = Project::romania(CONFIG, &DATES[..1]);
    let held = hold(&project.out());
    project.lintan("run", &[]).expect(1, &["in use by another run", "process 4711 on 林业局", "help:", "--wait"]);
    assert!(!project.out().join("run.json").exists());
    // Reading is not writing.
    project.lintan("check", &[]).expect(0, &[]);
    project.lintan("status", &[]).expect(0, &[]);

    let mut waiting = project.command("run", &["--wait"]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(waiting.try_wait().unwrap().is_none(), "it waits");
    assert!(!project.out().join("run.json").exists());
    drop(held);
    assert!([0, 3].contains(&Outcome::wait(waiting).code));
    assert!(project.out().join("run.json").exists());
}

fn interrupt(id: u32) {
    let status = Command::new("sh").arg("-c").arg(format!("kill -INT {id}")).status().unwrap();
    assert!(status.success());
}

/// Ctrl-C while the scenes are cataloged. A pipe in the place of an item keeps the program there for as long as the test
/// needs, so nothing depends on speed.
#[test]
fn ctrl_c_stops_and_the_next_run_completes() {
    let project = Project::romania(CONFIG, &DATES[..3]);
    let expected = from_nothing(&project);
    let item = project.path("scenes/2018-07-21/S2_ROMANIA_20180721.json");
    let text = fs::read(&item).unwrap();
    fs::remove_file(&item).unwrap();
    assert!(Command::new("mkfifo").arg(&item).status().unwrap().success());

    let mut child = project.command("run", &[]).spawn().unwrap();
    // Opens when the program does.
    let mut pipe = File::options().write(true).open(&item).unwrap();
    interrupt(child.id());
    let mut err = child.stderr.take().unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"\n") {
        let mut byte = [0];
        assert_eq!(err.read(&mut byte).unwrap(), 1, "ended before it said that it stops");
        said.push(byte[0]);
    }
    assert!(String::from_utf8_lossy(&said).contains("finished work is kept"));
    pipe.write_all(&text).unwrap();
    drop(pipe);
    let mut rest = String::new();
    err.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest}");
    assert!(rest.contains("error: stopped on request; finished work is kept, run again to go on"), "{rest}");
    assert!(!project.out().join("run.json").exists());

    fs::remove_file(&item).unwrap();
    fs::write(&item, &text).unwrap();
    project.run(&[]);
    assert_same(&project.tables(), &expected, "after Ctrl-C");
    assert_eq!(leftovers(&project.out()), [""; 0]);
}

/// Ctrl-C at whatever the program is doing then: it ends by itself, and nothing is lost.
#[test]
fn ctrl_c_while_working() {
    let project = Project::romania(CONFIG, &DATES);
    let clock = Instant::now();
    let expected = from_nothing(&project);
    let whole = clock.elapsed();
    let mut stopped = 0;
    for step in 1..=3 {
        let child = project.command("run", &["--threads", "1"]).spawn().unwrap();
        std::thread::sleep(whole * step / 4);
        interrupt(child.id());
        let outcome = Outcome::wait(child);
        // -1: before the program was ready for signals; 3: it had done everything by then.
        assert!([1, 3, -1].contains(&outcome.code), "{outcome:?}");
        if outcome.code == 1 {
            outcome.expect(1, &["stopped on request", "run again"]);
            stopped += 1;
        }
        assert_eq!(leftovers(&project.out()), [""; 0]);
    }
    println!("{stopped} of 3 runs were stopped in the middle");
    project.run(&[]);
    assert_same(&project.tables(), &expected, "after Ctrl-C");
}

/// Two projects by mistake in one folder: the tables are those of the last, nothing of the other is mixed in.
#[test]
fn a_run_with_other_inputs_replaces_the_tables() {
    let project = Project::romania(CONFIG, &DATES);
    project.run(&[]);
    let other = Project::romania(CONFIG, &DATES[3..]);
    let mut command = lintan();
    command.arg("run").arg(other.path("project.toml")).arg("--out").arg(project.out());
    assert_eq!(Outcome::of(command).code, 3);
    assert_same(&project.tables(), &from_nothing(&other), "another project");
}
