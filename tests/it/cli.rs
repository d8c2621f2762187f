//! The command line: help, exit codes, messages that name file, line and field, and machine-readable output.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{
    Aside, DATES, Files, LANDSAT_7, Outcome, PLAIN, Parcel, Project, files, lintan, quarantine, romanian_parcels,
    write_parcels,
};

fn bare(arguments: &[&str]) -> Outcome {
    let mut command = lintan();
    command.args(arguments);
    Outcome::of(command)
}

/// One clear date and the parcels given.
fn with_parcels(parcels: &[Parcel]) -> Project {
    let project = Project::new(PLAIN);
    project.add_scene(DATES[0]);
    project.edit("project.toml", "\"nbr\"", "\"ndmi\"");
    project.parcels(parcels);
    project
}

/// What is where, and when it was last changed.
fn listing(folder: &Path) -> Vec<(String, u64, std::time::SystemTime)> {
    walkdir::WalkDir::new(folder)
        .sort_by_file_name()
        .into_iter()
        .map(Result::unwrap)
        .map(|e| {
            let m = e.metadata().unwrap();
            (e.path().to_string_lossy().into_owned(), m.len(), m.modified().unwrap())
        })
        .collect()
}

#[test]
fn help_and_version() {
    let outcome = bare(&["--version"]);
    assert_eq!((outcome.code, outcome.out.trim()), (0, concat!("lintan ", env!("CARGO_PKG_VERSION"))));
    let outcome = bare(&["--help"]);
    assert_eq!(outcome.code, 0);
    for part in ["check", "run", "status", "Exit codes", "--log-format", "--quiet", "--verbose"] {
        assert!(outcome.out.contains(part), "{part}: {}", outcome.out);
    }
    for command in ["check", "run", "status"] {
        let outcome = bare(&[command, "--help"]);
        assert_eq!(outcome.code, 0);
        for part in ["Example", &format!("lintan {command} "), "--out", "--threads", "--format"] {
            assert!(outcome.out.contains(part), "{command} --help lacks {part}: {}", outcome.out);
        }
    }
    assert!(bare(&["run", "--help"]).out.contains("--allow-quarantine"));
    let calibrate = bare(&["calibrate", "--help"]).out;
    for part in ["Example", "--plots", "--layer", "--agb", "--crs", "--out", "[biomass.index_model]", "plot_id,lon,lat"]
    {
        assert!(calibrate.contains(part), "calibrate --help lacks {part}: {calibrate}");
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    assert_eq!(bare(&[]).code, 2);
    bare(&["fell"]).expect(2, &["fell", "Usage"]);
    bare(&["run"]).expect(2, &["CONFIG"]);
    bare(&["check", "x.toml", "--threads", "many"]).expect(2, &["--threads", "many"]);
}

#[test]
fn a_configuration_that_is_not_there() {
    let project = Project::new(PLAIN);
    fs::remove_file(project.path("project.toml")).unwrap();
    for command in ["check", "run", "status"] {
        project
            .lintan(command, &[])
            .expect(2, &["project.toml", "configuration file", "expected a TOML file", "help:"]);
    }
}

#[test]
fn an_unknown_key_names_file_line_and_remedy() {
    let project = Project::new(PLAIN);
    project.edit("project.toml", "indices =", "indizes =");
    project.lintan("check", &[]).expect(
        2,
        &[
            "project.toml:13: `observe.indizes`",
            "found an unknown key",
            "expected",
            "pixel_m",
            "help: did you mean `indices`?",
        ],
    );
}

#[test]
fn a_bad_value_names_file_line_field_found_and_expected() {
    for (from, to, parts) in [
        (
            "indices = [\"ndvi\", \"nbr\"]",
            "indices = [\"ndvi\", \"nvdi\"]",
            &["project.toml:13: `observe.indices`", "found `nvdi`", "expected", "ndmi", "help: correct the name"][..],
        ),
        (
            "indices = [\"ndvi\", \"nbr\"]",
            "pixel_m = 15",
            &["project.toml:13: `observe.pixel_m`", "found 15", "expected 10 or 20", "help:"],
        ),
        (
            "indices = [\"ndvi\", \"nbr\"]",
            "min_clear_fraction = \"most\"",
            &["project.toml:13: `observe.min_clear_fraction`", "\"most\"", "expected f64"],
        ),
        ("id = \"parcel_id\"\n", "", &["project.toml:4: `parcels.id`", "found nothing", "help: add `id`"]),
        ("[observe]", "[observe", &["project.toml:12"]),
        (
            "paths = [\"scenes\"]",
            "paths = [\"scenes\"]\nstart = \"2020-02-30\"",
            &["project.toml:11: `scenes.start`", "found \"2020-02-30\"", "`2020-02`"],
        ),
        (
            "paths = [\"scenes\"]",
            "paths = [\"scenes\"]\nstart = \"2020-03-01\"\nend = \"2020-02-01\"",
            &["project.toml:12: `scenes.end`", "found 2020-02-01", "expected 2020-03-01 or later"],
        ),
    ] {
        let project = Project::new(PLAIN);
        project.edit("project.toml", from, to);
        project.lintan("check", &[]).expect(2, parts);
    }
}

#[test]
fn a_parcel_layer_that_cannot_be_used() {
    let project = with_parcels(&[]);
    project.lintan("run", &[]).expect(2, &["parcels.gpkg", "0 features", "expected at least one valid parcel"]);
    project.edit("project.toml", "id = \"parcel_id\"", "id = \"di_kuai\"");
    project.lintan("run", &[]).expect(
        2,
        &[
            "parcels.gpkg: field for `id`: found no field `di_kuai`",
            "expected one of: parcel_id, kind, lin_xing",
            "help:",
        ],
    );
    project.edit("project.toml", "path = \"parcels.gpkg\"", "path = \"parcels.gpkg\"\nlayer = \"xiaoban\"");
    project.lintan("run", &[]).expect(2, &["layer: found no layer `xiaoban`", "expected one of: parcels", "help:"]);
    project.write("parcels.gpkg", "no database");
    project.lintan("run", &[]).expect(2, &["parcels.gpkg: parcel layer", "cannot be read", "help:"]);
    fs::remove_file(project.path("parcels.gpkg")).unwrap();
    project.lintan("run", &[]).expect(2, &["parcels.gpkg: parcel layer: found no such file", "help: correct `path`"]);
    assert!(!project.out().join("run.json").exists());
}

#[test]
fn a_layer_without_crs_is_refused() {
    let project = with_parcels(&[]);
    let expected = ["CRS: found ", "expected a coordinate reference system", "help:", "-a_srs", "never guessed"];
    write_parcels(&project.path("parcels.gpkg"), None, &romanian_parcels()[..2]);
    project.lintan("check", &[]).expect(2, &[&expected[..], &["parcels.gpkg"]].concat());
    assert!(!project.out().exists());
}

#[test]
fn scene_folders_that_cannot_be_used() {
    let project = Project::romania(PLAIN, &[]);
    project
        .lintan("run", &[])
        .expect(2, &["scenes: scene path: found no such file or folder", "help: correct `paths`"]);
    fs::create_dir(project.path("scenes")).unwrap();
    project.write("scenes/readme.txt", "nothing here");
    project.lintan("run", &[]).expect(2, &["found no scene below scenes", "expected", ".SAFE", "STAC", "help:"]);
}

#[test]
fn parcels_outside_every_scene_are_quarantined() {
    let project = with_parcels(&[Parcel::square("in", 100.0, 100.0, 200.0), Parcel::square("out", 9e5, 0.0, 200.0)]);
    project
        .lintan("run", &[])
        .expect(3, &["quarantined (1)", "parcel out [outside_imagery at extract]", "expected one"]);
    let aside = quarantine(&project.out());
    let [Aside { subject, id, stage, reason, .. }] = &aside[..] else { panic!("{aside:?}") };
    assert_eq!([subject, id, stage, reason], ["parcel", "out", "extract", "outside_imagery"]);
    assert_eq!(project.count("observations"), 2);

    project.parcels(&[Parcel::square("out", 9e5, 0.0, 200.0)]);
    project.lintan("run", &[]).expect(1, &["outside_imagery", "nothing was observed"]);
}

/// Runs one date over a good parcel and the others, and returns what was said of the others.
#[track_caller]
fn set_aside(others: &[Parcel], reason: &str, parts: &[&str]) -> Vec<Aside> {
    let mut all = vec![Parcel::square("good", 100.0, 100.0, 200.0)];
    all.extend_from_slice(others);
    let project = with_parcels(&all);
    let outcome = project.lintan("run", &[]);
    outcome.expect(3, &[&format!("[{reason} at parcels]")]).expect(3, parts);
    assert_eq!(project.count("parcels"), 1);
    assert_eq!(project.count("observations"), 2, "only the good parcel is observed");
    let aside = quarantine(&project.out());
    assert!(aside.iter().all(|a| (a.subject.as_str(), a.reason.as_str()) == ("parcel", reason)), "{aside:?}");
    aside
}

#[test]
fn a_repeated_id_sets_both_features_aside() {
    let twice = [Parcel::square("A", 400.0, 100.0, 200.0), Parcel::square("A", 700.0, 100.0, 200.0)];
    let aside = set_aside(&twice, "duplicate_id", &["parcel A", "features 2, 3", "none of them is used"]);
    assert_eq!(aside.len(), 1);
}

#[test]
fn an_invalid_polygon_is_set_aside_with_its_reason() {
    let bow_tie = "POLYGON ((5272100 2532900, 5272300 2532700, 5272300 2532900, 5272100 2532700, 5272100 2532900))";
    set_aside(&[Parcel::new("bow", bow_tie)], "invalid_geometry", &["parcel bow", "feature 2", "an invalid polygon: "]);
    let line = "LINESTRING (5272100 2532900, 5272300 2532700)";
    set_aside(&[Parcel::new("line", line)], "invalid_geometry", &["a LINESTRING, expected POLYGON or MULTIPOLYGON"]);
    set_aside(&[Parcel::new("none", "POLYGON EMPTY")], "invalid_geometry", &["an empty geometry"]);
}

#[test]
fn attributes_that_nobody_knows_are_set_aside() {
    let mut parcel = Parcel::square("A", 400.0, 100.0, 200.0);
    parcel.kind = Some("果园".into());
    set_aside(&[parcel.clone()], "bad_attribute", &["field `kind`: found `果园`", "damaged, reserve", "kind_values"]);
    parcel.kind = None;
    set_aside(&[parcel.clone()], "bad_attribute", &["field `kind`: found nothing"]);
    parcel.kind = Some("储备林".into());
    parcel.id = Some("  ".into());
    let aside = set_aside(&[parcel.clone()], "bad_attribute", &["field `parcel_id`: found nothing", "feature 2"]);
    assert_eq!(aside[0].id, "feature 2");
}

#[test]
fn words_of_the_layer_are_mapped_to_kinds() {
    let mut parcel = Parcel::square("A", 400.0, 100.0, 200.0);
    parcel.kind = Some("果园".into());
    let project = with_parcels(&[parcel]);
    project.edit("project.toml", "kind = \"kind\"", "kind = \"kind\"\nkind_values = { \"果园\" = \"reference\" }");
    let outcome = project.lintan("run", &["--format", "json"]);
    assert_eq!(outcome.expect(0, &[]).json()["parcels"][0]["kind"], "reference");
}

#[test]
fn results_as_json() {
    let project = with_parcels(&[Parcel::square("in", 100.0, 100.0, 200.0), Parcel::square("out", 9e5, 0.0, 200.0)]);
    let json = project.lintan("check", &["--format", "json"]).expect(3, &[]).json();
    assert_eq!(json["configuration"]["observe"]["pixel_m"], 10, "defaults are filled in");
    assert_eq!(json["plan"]["scenes_pending"], 1);
    assert_eq!(json["plan"]["grids"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["plan"]["quarantined"][0]["reason"], "outside_imagery");

    let json = project.lintan("run", &["--format", "json"]).expect(3, &[]).json();
    assert_eq!(json["counts"]["observations"], 2);
    assert_eq!(json["run_id"], project.record()["run_id"]);
    assert_eq!(json["quarantined"][0]["id"], "out");
    assert_eq!(json["parcels"][0]["parcel_id"], "in");

    let json = project.lintan("status", &["--format", "json"]).expect(3, &[]).json();
    assert_eq!(json["scenes_pending"], 0);
    assert_eq!(json["pending"], Value::Array(Vec::new()));
    assert_eq!(json["last_run"]["counts"]["observations"], 2);
    assert_eq!(json["quarantined"].as_array().map(Vec::len), Some(1), "the same thing is not told twice");
}

#[test]
fn results_as_text() {
    let project = with_parcels(&[Parcel::square("in", 100.0, 100.0, 200.0)]);
    let outcome = project.lintan("check", &[]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    for part in ["pixel_m = 10", "step_days = 10", "1 of 1 features, 4.0", "to do           1 of 1 scenes"] {
        assert!(outcome.out.contains(part), "{part}: {outcome:?}");
    }
    let outcome = project.run(&[]);
    for part in ["1 parcels, 1 scenes (1 extracted now", "tables/series.parquet", "parcel", "in  "] {
        assert!(outcome.out.contains(part), "{part}: {outcome:?}");
    }
    assert_eq!(outcome.err, "", "nothing to complain about");
    let outcome = project.lintan("status", &[]);
    for part in ["to do           0 of 1 scenes", "quarantined     0", "last run        20"] {
        assert!(outcome.out.contains(part), "{part}: {outcome:?}");
    }
}

/// A program that reads the log finds one object a line and in it what a person would read.
#[test]
fn an_error_as_json() {
    let project = Project::new(PLAIN);
    project.edit("project.toml", "indices =", "indizes =");
    let outcome = project.lintan("run", &["--log-format", "json"]);
    outcome.expect(2, &[]);
    let e: Value = serde_json::from_str(&outcome.err).unwrap_or_else(|e| panic!("{e}: {}", outcome.err));
    assert_eq!(e["line"], 13);
    assert_eq!(e["field"], "observe.indizes");
    assert_eq!(e["kind"], "config");
    assert_eq!(e["level"], "ERROR");
    assert_eq!(e["help"], "did you mean `indices`?");
    assert!(e["file"].as_str().is_some_and(|f| f.ends_with("project.toml")), "{e}");
    assert!(e["found"].as_str().is_some_and(|f| f.contains("unknown key")), "{e}");
    assert!(e["message"].as_str().is_some_and(|f| f.contains("indizes")), "{e}");
}

#[test]
fn check_and_status_write_nothing() {
    let project = Project::romania(PLAIN, &DATES[..1]);
    project.edit("project.toml", "\"nbr\"", "\"ndmi\"");
    let fresh = listing(&project.path("."));
    project.lintan("check", &[]).expect(0, &[]);
    project.lintan("status", &[]).expect(0, &[]);
    assert_eq!(listing(&project.path(".")), fresh, "before the first run");
    project.run(&[]);
    let done = (listing(&project.path(".")), files(&project.out()));
    project.lintan("check", &[]).expect(0, &[]);
    project.lintan("status", &["--format", "json"]).expect(0, &[]);
    assert_eq!(listing(&project.path(".")), done.0, "after a run");
    let now: Files = files(&project.out());
    assert!(now == done.1);
}

#[test]
fn quarantine_can_be_allowed() {
    let parcels = [Parcel::square("in", 100.0, 100.0, 200.0), Parcel::square("out", 9e5, 0.0, 200.0)];
    let project = with_parcels(&parcels);
    project.lintan("run", &["--allow-quarantine"]).expect(0, &["parcel out [outside_imagery"]);
    project.lintan("run", &[]).expect(3, &["parcel out [outside_imagery"]);
    // What is allowed is a part, not all.
    project.parcels(&parcels[1..]);
    project.lintan("run", &["--allow-quarantine"]).expect(1, &["nothing was observed"]);
}

#[test]
fn the_output_folder_can_be_given() {
    let project = Project::products(PLAIN, &[LANDSAT_7]);
    let elsewhere = project.path("elsewhere");
    project.lintan("run", &["--out", elsewhere.to_str().unwrap(), "--threads", "1"]).expect(0, &[]);
    assert!(elsewhere.join("run.json").exists());
    assert!(!project.out().exists());
}

#[test]
fn an_index_that_no_scene_can_give_is_set_aside_and_one_that_some_cannot_is_noted() {
    let project = Project::romania(PLAIN, &DATES[..2]);
    project.edit("project.toml", "\"nbr\"", "\"ndre\"");
    let said =
        ["layer ndre [missing_bands at catalog]: found none in 2 scenes, which lack red_edge1", "[observe] indices"];
    project.lintan("check", &[]).expect(3, &said);
    project.lintan("run", &[]).expect(3, &said);
    let aside = quarantine(&project.out());
    let [Aside { subject, id, reason, .. }] = &aside[..] else { panic!("{aside:?}") };
    assert_eq!([subject, id, reason], ["layer", "ndre", "missing_bands"]);
    // One scene of two without the short wave.
    project.edit("project.toml", "\"ndre\"", "\"ndmi\"");
    let (folder, day) = (format!("scenes/{}", DATES[1]), DATES[1].replace('-', ""));
    let item = format!("{folder}/S2_ROMANIA_{day}.json");
    project.edit(&item, "\"eo:bands\":[{\"name\":\"B11\",\"common_name\":\"swir16\"}]", "\"title\":\"?\"");
    project.edit(&item, "\"B11\":{", "\"other\":{");
    let note = format!("note: ndmi: 1 of 2 scenes cannot give it, for want of swir1: S2_ROMANIA_{day}");
    project.lintan("check", &[]).expect(0, &[&note]);
    project.lintan("run", &[]).expect(0, &[&note]);
    assert!(project.record()["notes"].to_string().contains("\"imagery\""), "{}", project.record()["notes"]);
}

#[test]
fn a_monitor_that_begins_after_the_last_scene_is_told_by_check() {
    let project = Project::romania(PLAIN, &DATES);
    project.edit("project.toml", "\"nbr\"", "\"ndmi\"");
    let with = |start: &str| {
        let text = fs::read_to_string(project.path("project.toml")).unwrap();
        let plain = text.split("[change.monitor]").next().unwrap().to_owned();
        project.write("project.toml", &format!("{plain}[change.monitor]\nindex = \"ndmi\"\n{start}"));
        project.lintan("check", &[])
    };
    with("monitor_start = \"2031-05-01\"\n").expect(
        0,
        &[
            "note: change.monitor: found 6 scenes with what it reads",
            "expected one on 2031-05-01 or later",
            "no parcel can be",
        ],
    );
    with("monitor_start = \"2018-05-04\"\n").expect(0, &["before 2018-05-04, when monitoring begins"]);
    with("history_years = 9.0\n").expect(0, &["or later, when monitoring begins"]);
}

#[test]
fn a_parcel_outside_all_imagery_has_one_row_whatever_reads_it() {
    let project = with_parcels(&[Parcel::square("in", 100.0, 100.0, 200.0), Parcel::square("out", 9e5, 0.0, 200.0)]);
    let text = fs::read_to_string(project.path("project.toml")).unwrap();
    let methods = "[change.monitor]\nindex = \"ndmi\"\n[change.two_date]\nindex = \"ndvi\"\n\
                   before = [\"2018-05-01\", \"2018-05-30\"]\nafter = [\"2020-05-01\", \"2020-05-30\"]\nmin_drop = 0.2\n";
    project.write("project.toml", &format!("{text}{methods}"));
    project.lintan("run", &[]).expect(3, &["parcel out [outside_imagery at extract]"]);
    let of = |name: &str| quarantine(&project.out()).into_iter().filter(|a| a.id == name).count();
    assert_eq!((of("out"), of("in")), (1, 2), "{:?}", quarantine(&project.out()));
}

#[test]
fn check_says_where_the_rest_stands() {
    let mut parcels = vec![Parcel::square("in", 100.0, 100.0, 200.0)];
    parcels.extend((0..32).map(|i| Parcel::square(&format!("out{i:02}"), 9e5, 300.0 * f64::from(i), 200.0)));
    let project = with_parcels(&parcels);
    let outcome = project.lintan("check", &[]);
    // One reason, told once.
    let ids: Vec<String> = (0..10).map(|i| format!("out{i:02}")).collect();
    let line = format!("parcel {} and 22 more [outside_imagery at extract]: ", ids.join(", "));
    outcome.expect(3, &["quarantined (32)", &line, "every one stands in check --format json"]);
    assert_eq!(outcome.err.matches("[outside_imagery").count(), 1, "{}", outcome.err);
    assert!(!outcome.err.contains("quarantine.parquet"), "{}", outcome.err);
    project.lintan("run", &[]).expect(3, &["every one stands in quarantine.parquet"]);
}

/// Our names are checked by the configuration, the layer's by the layer.
#[test]
fn attributes_that_nobody_knows_are_refused() {
    let project = with_parcels(&romanian_parcels()[..1]);
    project.edit(
        "project.toml",
        "kind = \"kind\"\n",
        "kind = \"kind\"\nattributes = { volume_per_ha = \"lin_xing\" }\n",
    );
    for command in ["check", "run"] {
        project.lintan(command, &[]).expect(
            2,
            &["project.toml:8: `parcels.attributes.volume_per_ha`", "did you mean `volume_m3_per_ha`?", "planted_on"],
        );
    }
    project.edit("project.toml", "volume_per_ha = \"lin_xing\"", "volume_m3_per_ha = \"xu_ji\"");
    for command in ["check", "run"] {
        let parts = ["parcels.gpkg", "`volume_m3_per_ha`", "no field `xu_ji`", "parcel_id, kind, lin_xing"];
        project.lintan(command, &[]).expect(2, &parts);
    }
}

#[test]
fn an_unknown_section_is_named_once() {
    for (section, field) in [
        ("[change.bfast]\nindex = \"ndvi\"", "`change.bfast`: found an unknown key `bfast`"),
        ("[change.bfast.more]\nindex = \"ndvi\"", "`change.bfast`"),
        ("[chagne]\nindex = 1", "`chagne`"),
    ] {
        let project = Project::new(&format!("{PLAIN}\n{section}\n"));
        let outcome = project.lintan("check", &[]);
        outcome.expect(2, &[field, "help:"]);
        assert!(!outcome.err.contains("bfast.bfast"), "{}", outcome.err);
    }
}
