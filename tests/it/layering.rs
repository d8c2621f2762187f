//! The order of modules in `src/lib.rs`: a file uses only what stands above it. GDAL and PROJ each have one place.

use std::fs;
use std::path::{Path, PathBuf};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Modules in the order of `lib.rs`.
fn order() -> Vec<String> {
    let text = fs::read_to_string(source().join("lib.rs")).unwrap();
    text.lines()
        .filter_map(|l| l.trim().strip_prefix("pub mod ").or_else(|| l.trim().strip_prefix("mod ")))
        .map(|rest| rest.trim_end_matches(';').to_owned())
        .collect()
}

/// Every source file: path below `src`, text without line comments.
fn files() -> Vec<(String, String)> {
    walkdir::WalkDir::new(source())
        .sort_by_file_name()
        .into_iter()
        .map(Result::unwrap)
        .filter(|e| e.path().extension().is_some_and(|e| e == "rs"))
        .map(|e| {
            let name = e.path().strip_prefix(source()).unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(e.path()).unwrap();
            let code: Vec<&str> = text.lines().map(|l| l.split("//").next().unwrap_or_default()).collect();
            (name, code.join("\n"))
        })
        .collect()
}

/// `parcel.rs` and `imagery/stac.rs` belong to `parcel` and `imagery`.
fn module(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The first names after every `crate::`, those of a `crate::{a, b::{c, d}}` list among them.
fn uses(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        // `$crate::` is a path of the crate as well; `my_crate::` is none.
        if code[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            found.push(identifier(rest).to_owned());
            continue;
        };
        let (mut depth, mut expected) = (0, true);
        for (i, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => expected = true,
                c if expected && depth == 0 && !c.is_whitespace() => {
                    found.push(identifier(&list[i..]).to_owned());
                    expected = false;
                }
                _ => {}
            }
        }
    }
    found
}

/// Files that name a crate as a path.
fn naming(what: &str) -> Vec<String> {
    let path = format!("{what}::");
    let names = |code: &str| {
        code.match_indices(&path)
            .any(|(at, _)| !code[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_'))
    };
    files().into_iter().filter(|(_, code)| names(code)).map(|(file, _)| file).collect()
}

#[test]
fn a_file_uses_only_what_stands_above_it() {
    let order = order();
    assert!(order.len() > 10, "{order:?}");
    let position = |name: &str| order.iter().position(|m| m == name);
    let mut wrong = Vec::new();
    let mut uses_seen = 0;
    for (file, code) in files() {
        let own = module(&file);
        if ["lib", "main", "cli"].contains(&own) {
            continue;
        }
        let Some(at) = position(own) else {
            wrong.push(format!("{file}: module {own} is not listed in lib.rs"));
            continue;
        };
        for used in uses(&code) {
            uses_seen += 1;
            match position(&used) {
                Some(other) if other <= at => {}
                Some(_) => wrong.push(format!("{file}: {own} uses {used}, which stands below it")),
                None => wrong.push(format!("{file}: crate::{used} is no module of lib.rs")),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(uses_seen > 100, "only {uses_seen} uses were recognised");
}

#[test]
fn the_program_stands_outside_the_library() {
    for (file, code) in files() {
        if ["main", "cli"].contains(&module(&file)) {
            assert!(uses(&code).is_empty(), "{file} uses {:?}", uses(&code));
        } else {
            for binary_only in ["clap::", "indicatif::", "ctrlc::", "tracing_subscriber::"] {
                assert!(!code.contains(binary_only), "{file} names {binary_only}");
            }
        }
    }
}

#[test]
fn gdal_and_proj_have_one_place_each() {
    assert_eq!(naming("gdal"), ["gdal_io.rs"]);
    assert_eq!(naming("gdal_sys"), [""; 0]);
    assert_eq!(naming("proj"), ["geo/crs.rs"]);
    assert!(naming("proj_sys").iter().all(|f| f == "geo/crs.rs"));
}

#[test]
fn uses_are_recognised() {
    let code = "use crate::a::B;\nuse crate::{b, c::{self, d}, e};\nlet x = crate::f::g(); my_crate::h";
    assert_eq!(uses(code), ["a", "b", "c", "e", "f"]);
}
