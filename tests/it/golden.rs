//! Small runs whose tables, printed as text, equal stored files. `LINTAN_BLESS=1` writes the stored files anew: look at the
//! difference before it is committed.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{
    CONFIG, DATES, LANDSAT_7, PLAIN, Project, SAFE_NEW, SAFE_OLD, read_table, record, romanian_parcels,
};

const TABLES: [&str; 6] = ["observations", "series", "disturbances", "stocks", "deltas", "totals"];

/// The files of a table, in order.
fn parts(out: &Path, table: &str) -> Vec<PathBuf> {
    let single = out.join("tables").join(format!("{table}.parquet"));
    if single.exists() {
        return vec![single];
    }
    let mut parts: Vec<PathBuf> = walkdir::WalkDir::new(out.join("tables").join(table))
        .into_iter()
        .map(|e| e.unwrap().into_path())
        .filter(|p| p.is_file())
        .collect();
    parts.sort();
    parts
}

fn print(out: &Path, table: &str) -> String {
    let mut text = String::new();
    for (i, part) in parts(out, table).iter().enumerate() {
        let (head, rows) = read_table(part);
        if i == 0 {
            let _ = writeln!(text, "{}", head.join("|"));
        }
        for row in rows {
            let _ = writeln!(text, "{}", row.join("|"));
        }
    }
    text
}

/// Compares with the stored text, or stores it.
#[track_caller]
fn same_as_stored(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden").join(name);
    if std::env::var_os("LINTAN_BLESS").is_some() {
        fs::write(&path, found).unwrap();
        return;
    }
    let stored = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let differs = found.lines().zip(stored.lines()).position(|(f, s)| f != s);
    if let Some(line) = differs {
        let at = |text: &str| text.lines().nth(line).unwrap_or_default().to_owned();
        panic!("{name}:{}\n found  {}\n stored {}", line + 1, at(found), at(&stored));
    }
    assert_eq!(found.lines().count(), stored.lines().count(), "{name}: number of lines");
}

/// Every stage on six dates. The parcels: the two that the parameter set has no value for, some that lost forest, some of
/// each kind.
#[test]
fn romania() {
    let project = Project::romania(CONFIG, &DATES);
    let wanted = ["RO-001", "RO-004", "RO-011", "RO-013", "RO-022", "RO-030", "RO-038", "RO-041", "RO-044", "RO-045"];
    let parcels: Vec<_> =
        romanian_parcels().into_iter().filter(|p| wanted.contains(&p.id.as_deref().unwrap_or_default())).collect();
    assert_eq!(parcels.len(), wanted.len());
    project.parcels(&parcels);
    project.edit("project.toml", "step_days = 10", "step_days = 60");
    let outcome = project.run(&[]);
    outcome.expect(3, &["quarantined (2)", "parcel RO-004, RO-011 [out_of_model_domain at account]"]);
    for table in TABLES {
        same_as_stored(&format!("romania-{table}.txt"), &print(&project.out(), table));
    }
}

/// One Landsat 7 product: its own 30 m, its own scale and offset, its own mask.
#[test]
fn landsat() {
    let project = Project::products(PLAIN, &[LANDSAT_7]);
    project.run(&[]).expect(0, &[]);
    same_as_stored("landsat-observations.txt", &print(&project.out(), "observations"));
}

/// Both baselines hold the same reflectance, one with an offset and one without: the same observations, to the last bit.
#[test]
fn both_baselines_give_the_same_observations() {
    let observed = |names: &[&str]| {
        let project = Project::products(&PLAIN.replace("nbr", "ndmi"), names);
        project.run(&[]).expect(0, &[]);
        (print(&project.out(), "observations"), record(&project.out()))
    };
    let (new, _) = observed(&[SAFE_NEW]);
    let (old, _) = observed(&[SAFE_OLD]);
    let id = |name: &str| name.trim_end_matches(".SAFE").to_owned();
    assert!(new.contains(&id(SAFE_NEW)) && new.lines().count() == 1 + 2 * 45, "{new}");
    assert_eq!(old.replace(&id(SAFE_OLD), &id(SAFE_NEW)), new);
    same_as_stored("safe-observations.txt", &new);

    let (both, record) = observed(&[SAFE_OLD, SAFE_NEW]);
    assert_eq!(both, new, "the newer of the two is used, once");
    assert_eq!(record["counts"]["duplicates"], 1);
    let duplicate = &record["duplicates"][0];
    assert_eq!(duplicate["kept"], id(SAFE_NEW));
    assert_eq!(duplicate["dropped"], id(SAFE_OLD));
    assert_eq!(duplicate["source"], format!("scenes/{SAFE_OLD}"));
    assert!(duplicate["rule"].as_str().is_some_and(|r| r.contains("baseline")), "{duplicate}");
}

/// The run record lists what went in and what came out, with digests that hold.
#[test]
fn the_record_lists_inputs_and_tables() {
    use sha2::{Digest, Sha256};
    let project = Project::romania(CONFIG, &DATES[..2]);
    project.edit("project.toml", "[account]\nperiods = [[\"2018-07-15\", \"2020-07-15\"]]\n", "");
    project.run(&[]);
    let record = project.record();
    let sha = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (bytes.len() as u64, Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect::<String>())
    };
    for (list, folder) in [("inputs", project.path(".")), ("tables", project.out())] {
        let entries = record[list].as_array().unwrap();
        for entry in entries {
            let (size, digest) = sha(folder.join(entry["path"].as_str().unwrap()));
            assert_eq!(
                (entry["size"].as_u64(), entry["sha256"].as_str()),
                (Some(size), Some(digest.as_str())),
                "{entry}"
            );
        }
    }
    let listed = |list: &str| -> Vec<String> {
        record[list].as_array().unwrap().iter().map(|e| e["path"].as_str().unwrap().to_owned()).collect()
    };
    let inputs = listed("inputs");
    // Two dates: an item, red, near infrared in both sizes, short-wave infrared, scene classes; the layer, the configuration.
    for name in
        ["project.toml", "parcels.gpkg", "_B04_10m.tif", "_B11_20m.tif", "_SCL_20m.tif", "S2_ROMANIA_20180721.json"]
    {
        assert!(inputs.iter().any(|i| i.ends_with(name)), "{name}: {inputs:?}");
    }
    assert!(!inputs.iter().any(|i| i.ends_with("B02_10m.tif")), "blue is not read for these indices: {inputs:?}");
    let mut tables: Vec<String> = project.tables().into_keys().collect();
    tables = tables.into_iter().map(|t| if t == "quarantine.parquet" { t } else { format!("tables/{t}") }).collect();
    let mut listed = listed("tables");
    tables.sort();
    listed.sort();
    assert_eq!(listed, tables);
    assert_eq!(record["parameter_set"]["name"], "ipcc-2006");
    let copy = project.out().join("runs").join(format!("{}.json", record["run_id"].as_str().unwrap()));
    assert_eq!(fs::read(copy).unwrap(), fs::read(project.out().join("run.json")).unwrap());
}
