//! What the documents say about configuration and tables is what the program does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use arrow::datatypes::{DataType, SchemaRef};
use lintan::config::Settings;
use lintan::record::table;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Dotted keys of a table, without the members of inline tables that hold the user's own names.
fn keys(table: &toml::Table, prefix: &str, out: &mut BTreeSet<String>) {
    for (key, value) in table {
        let name = format!("{prefix}{key}");
        match value {
            toml::Value::Table(inner) if !["kind_values", "attributes"].contains(&key.as_str()) => {
                keys(inner, &format!("{name}."), out);
            }
            _ => {
                out.insert(name);
            }
        }
    }
}

#[test]
fn the_example_configuration_is_valid_and_holds_every_key() {
    let path = root().join("configs/example.toml");
    let text = fs::read_to_string(&path).unwrap();
    let settings = Settings::load(&path).unwrap_or_else(|e| panic!("{e}, {:?}", e.help()));
    let mut written = BTreeSet::new();
    keys(&text.parse().unwrap(), "", &mut written);
    let mut effective = BTreeSet::new();
    keys(&settings.effective().unwrap().parse().unwrap(), "", &mut effective);
    let missing: Vec<&String> = effective.difference(&written).collect();
    assert!(missing.is_empty(), "configs/example.toml lacks {missing:?}");
}

/// A hint that sends somebody to an example must not send him to one that lacks the keys.
#[test]
fn the_example_of_a_method_holds_every_key_of_it() {
    for method in ["tier1_cover", "inventory", "agb_map", "index_model"] {
        let section = format!("biomass.{method}");
        let path = root().join(lintan::config::example_of(&section));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(&format!("[{section}]")), "{}: no [{section}]", path.display());
        // The parser lists the keys that it knows.
        let unknown = text.replace(&format!("[{section}]"), &format!("[{section}]\nqqqqqqqq = 1"));
        let lintan::error::Error::Config(e) = Settings::parse(&path, &unknown).unwrap_err() else { panic!("{method}") };
        let keys: Vec<&str> = e.expected.trim_start_matches("one of ").split(", ").collect();
        assert!(keys.len() > 4, "{e}");
        for key in keys {
            assert!(
                text.contains(&format!("{key} = "))
                    || text.contains(&format!("[{section}.{key}]"))
                    || text.contains(&format!("[[{section}.{key}]]")),
                "{}: no {key}",
                path.display()
            );
        }
    }
}

/// The example says "(# at the start of a line: optional, not set here)": such lines must be keys, too.
#[test]
fn what_the_example_has_commented_out_is_valid() {
    let path = root().join("configs/example.toml");
    let text = fs::read_to_string(&path).unwrap();
    let is_key = |l: &str| {
        let key = l.trim_start_matches("# ").split(" = ").next().unwrap_or_default();
        l.starts_with("# ") && l.contains(" = ") && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    let commented = text.lines().filter(|l| is_key(l)).count();
    assert!(commented >= 3, "found {commented} optional keys");
    let lines: Vec<&str> = text.lines().map(|l| if is_key(l) { &l[2..] } else { l }).collect();
    Settings::parse(&path, &lines.join("\n")).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn every_configuration_that_comes_with_the_program_is_valid() {
    let mut n = 0;
    for entry in fs::read_dir(root().join("configs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "toml") {
            Settings::load(&path).unwrap_or_else(|e| panic!("{e}"));
            n += 1;
        }
    }
    assert!(n >= 4, "{n}");
}

/// The text from `**name**` to the next table's head or heading.
fn section<'a>(readme: &'a str, name: &str) -> &'a str {
    let head = format!("**{name}**");
    let start = readme.find(&head).unwrap_or_else(|| panic!("README has no {head}")) + head.len();
    let rest = &readme[start..];
    let end = ["\n**", "\n## "].iter().filter_map(|stop| rest.find(stop)).min().unwrap_or(rest.len());
    &rest[..end]
}

/// Columns and their types by a README table: the first cell lists names, the second one type or as many as names.
fn documented(section: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for line in section.lines().filter(|l| l.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if cells[0] == "column" || cells[0].starts_with("---") {
            continue;
        }
        let split = |cell: &str| cell.split(", ").map(str::to_owned).collect::<Vec<String>>();
        let names = split(cells[0]);
        let types = if cells[1].contains('(') { vec![cells[1].to_owned()] } else { split(cells[1]) };
        assert!(types.len() == 1 || types.len() == names.len(), "{line}");
        found.extend(names.into_iter().enumerate().map(|(i, n)| (n, types[i.min(types.len() - 1)].clone())));
    }
    found
}

fn type_name(t: &DataType) -> &'static str {
    match t {
        DataType::Utf8 => "utf8",
        DataType::Float64 => "f64",
        DataType::UInt32 => "u32",
        DataType::Date32 => "date32",
        DataType::Timestamp(..) => "timestamp(ms, UTC)",
        DataType::List(_) => "list&lt;utf8&gt;",
        DataType::Binary => "binary",
        DataType::Struct(_) => "struct",
        other => panic!("no name for {other}"),
    }
}

#[test]
fn the_readme_lists_every_column_with_its_type_and_no_other() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let schemas: [(&str, SchemaRef); 7] = [
        ("observations", table::observations_schema()),
        ("series", table::series_schema()),
        ("seasons", table::seasons_schema()),
        ("disturbances", table::disturbances_schema()),
        ("stocks", table::stocks_schema()),
        ("deltas", table::deltas_schema()),
        ("totals", table::totals_schema()),
    ];
    for (name, schema) in schemas {
        let documented: BTreeSet<(String, String)> = documented(section(&readme, name)).into_iter().collect();
        let real: BTreeSet<(String, String)> =
            schema.fields().iter().map(|f| (f.name().clone(), type_name(f.data_type()).to_owned())).collect();
        assert_eq!(documented, real, "README, table {name} (left) and the program (right)");
    }
    let quarantine = section(&readme, "quarantine");
    for field in table::quarantine_schema().fields() {
        assert!(quarantine.contains(&format!("`{}`", field.name())), "README, quarantine: no `{}`", field.name());
    }
}

#[test]
fn every_field_carries_its_unit_and_description() {
    for schema in [
        table::observations_schema(),
        table::series_schema(),
        table::seasons_schema(),
        table::disturbances_schema(),
        table::stocks_schema(),
        table::deltas_schema(),
        table::quarantine_schema(),
    ] {
        for field in schema.fields() {
            for key in ["unit", "description"] {
                let value = field.metadata().get(key).map_or("", String::as_str);
                assert!(!value.is_empty(), "{}: no {key}", field.name());
            }
        }
    }
}

/// Paths that the README and the scripts name are there.
#[test]
fn files_that_the_readme_links_to_exist() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut n = 0;
    for (at, _) in readme.match_indices("](") {
        let target = readme[at + 2..].split(')').next().unwrap_or_default();
        if target.starts_with('#') || target.contains("://") {
            continue;
        }
        assert!(root().join(Path::new(target)).exists(), "README links to {target}");
        n += 1;
    }
    assert!(n > 0);
}
