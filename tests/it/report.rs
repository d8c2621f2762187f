//! `lintan report`: what the page says is what the tables hold, it needs nothing from outside, and it never tells of tables
//! that are not those of the run.

use std::fs;
use std::path::Path;

use crate::support::{CONFIG, DATES, Outcome, Parcel, Project, files, read_table, romanian_parcels};

/// A finished run of every stage over a few parcels, RO-004 set aside.
fn finished(change: impl Fn(&mut Vec<Parcel>)) -> Project {
    let project = Project::romania(CONFIG, &DATES);
    let wanted = ["RO-001", "RO-004", "RO-030", "RO-038", "RO-041", "RO-045"];
    let mut parcels: Vec<_> =
        romanian_parcels().into_iter().filter(|p| wanted.contains(&p.id.as_deref().unwrap_or_default())).collect();
    change(&mut parcels);
    project.parcels(&parcels);
    project.edit("project.toml", "step_days = 10", "step_days = 60");
    project.run(&[]);
    project
}

fn report(project: &Project, to: &str) -> Outcome {
    project.lintan("report", &["--out", project.path(to).to_str().unwrap()])
}

fn page(project: &Project) -> String {
    report(project, "r.html").expect(0, &[]);
    fs::read_to_string(project.path("r.html")).unwrap()
}

/// Parses the page as XML, which leaves no room for an unclosed or unescaped thing.
fn parse(html: &str) -> roxmltree::Document<'_> {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    roxmltree::Document::parse_with_options(html, options).unwrap_or_else(|e| panic!("{e}"))
}

fn text_of(node: roxmltree::Node) -> String {
    node.descendants().filter(|n| n.is_text()).filter_map(|n| n.text()).collect()
}

/// Rows of every table of the page as the texts of their cells.
fn cells(html: &str) -> Vec<Vec<String>> {
    let document = parse(html);
    let rows = document.descendants().filter(|n| n.has_tag_name("tr"));
    rows.map(|r| r.children().filter(roxmltree::Node::is_element).map(text_of).collect()).collect()
}

/// The number that a cell shows.
fn number(text: &str) -> f64 {
    let plain = text.replace('−', "-").replace(['+', ','], "");
    plain.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// The ends of an interval.
fn ends(text: &str) -> (f64, f64) {
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or_else(|| panic!("{text}"));
    let (low, high) = inner.split_once("; ").unwrap();
    (number(low), number(high))
}

/// Columns of a table by name, row by row.
fn columns(path: &Path, names: &[&str]) -> Vec<Vec<String>> {
    let (head, rows) = read_table(path);
    let at: Vec<usize> = names.iter().map(|n| head.iter().position(|h| h == n).unwrap()).collect();
    rows.into_iter().map(|r| at.iter().map(|i| r[*i].clone()).collect()).collect()
}

#[track_caller]
fn shows(shown: f64, value: &str, what: &str) {
    let value: f64 = value.parse().unwrap();
    assert!((shown - value).abs() <= 0.0051 * value.abs().max(10.0), "{what}: shown {shown}, in the table {value}");
}

/// Every parcel, total and loss of the tables stands on the page with its numbers, units and both languages.
#[test]
fn the_page_shows_the_numbers_of_the_tables() {
    let project = finished(|_| ());
    let html = page(&project);
    let rows = cells(&html);
    let tables = project.out().join("tables");

    let deltas = columns(
        &tables.join("deltas.parquet"),
        &["parcel_id", "area_ha", "delta_t_co2e", "ci90_lower_t_co2e", "ci90_upper_t_co2e"],
    );
    assert_eq!(deltas.len(), 5);
    for delta in &deltas {
        // The table of changes has the kind of parcel second, that of the stocks a date.
        let row = rows.iter().find(|r| r[0] == delta[0] && r.len() > 8 && !r[1].starts_with("20")).unwrap();
        shows(number(&row[2]), &delta[1], "area");
        shows(number(&row[3]), &delta[2], "change");
        let (low, high) = ends(&row[4]);
        shows(low, &delta[3], "lower end");
        shows(high, &delta[4], "upper end");
        assert!(row.iter().any(|c| c.contains("screening_only")), "{row:?}");
    }
    let stocks = columns(
        &tables.join("stocks.parquet"),
        &["parcel_id", "epoch", "pool", "stock_t_c", "ci90_lower_t_c", "ci90_upper_t_c"],
    );
    let mut seen = 0;
    for stock in stocks.iter().filter(|s| s[2] == "total") {
        let row = rows.iter().find(|r| r[0] == stock[0] && r[1] == stock[1]).unwrap();
        // After parcel, date, area and the two pools.
        shows(number(&row[5]), &stock[3], "stock");
        let (low, high) = ends(&row[6]);
        shows(low, &stock[4], "lower end");
        shows(high, &stock[5], "upper end");
        seen += 1;
    }
    assert_eq!(seen, 10);
    let totals = columns(
        &tables.join("totals.parquet"),
        &["group", "quantity", "sum_t_co2e", "ci90_lower_t_co2e", "ci90_upper_t_co2e"],
    );
    let all = totals.iter().find(|t| t[0] == "all" && t[1] == "delta").unwrap();
    let row = rows.iter().find(|r| r[0].contains("all parcels") && r[1].contains("change")).unwrap();
    shows(number(&row[8]), &all[2], "total");
    let (low, high) = ends(&row[9]);
    shows(low, &all[3], "lower end");
    shows(high, &all[4], "upper end");

    let losses = columns(&tables.join("disturbances.parquet"), &["parcel_id", "date_lower", "date_upper", "area_ha"]);
    assert!(!losses.is_empty());
    for loss in &losses {
        let between = format!("{} – {}", loss[1], loss[2]);
        let area: f64 = loss[3].parse().unwrap();
        let found = |r: &Vec<String>| r[0] == loss[0] && r[2] == between && r[4].starts_with(&format!("{area:.3}"));
        assert!(rows.iter().any(|r| r.len() > 5 && found(r)), "{loss:?}");
    }

    // The one set aside, with its reason; the record; the languages; the units.
    assert!(rows.iter().any(|r| r.len() == 4 && r[1] == "RO-004" && r[2] == "out_of_model_domain"));
    let record = project.record();
    for text in [
        record["run_id"].as_str().unwrap(),
        record["config_sha256"].as_str().unwrap(),
        record["parameter_set"]["sha256"].as_str().unwrap(),
        record["monte_carlo"]["algorithm"].as_str().unwrap(),
        record["citations"][0].as_str().unwrap(),
        "未批准 not approved",
        "仅供筛查",
        "growth is positive and loss negative",
        "90 % interval",
        "t CO₂e",
        "t C/ha",
        "unapproved_parameters",
    ] {
        assert!(html.contains(&text.replace('\'', "&#39;")), "the page lacks {text}");
    }
    assert_eq!(html.matches("growth is positive and loss negative").count(), 1, "said once");
    assert!(!html.contains("not explained in this report"), "a remark or reason has no explanation");
    // Waterfall, map, variance, stocks; each with the parcels that it is about.
    let document = parse(&html);
    let pictures: Vec<_> = document.descendants().filter(|n| n.has_tag_name("figure")).collect();
    assert_eq!(pictures.len(), 4);
    for (picture, about) in pictures.iter().zip(["RO-041", "RO-041", "残差", "RO-041"]) {
        assert!(text_of(*picture).contains(about), "{about}");
    }
}

/// Nothing on the page leads to another file: no address, script, font, picture or style from elsewhere.
#[test]
fn the_page_stands_alone() {
    let project = finished(|_| ());
    let html = page(&project);
    let document = parse(&html);
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        let name = node.tag_name().name();
        assert!(!["script", "link", "img", "iframe", "object", "embed", "image", "use", "base", "a"].contains(&name));
        for attribute in node.attributes() {
            assert!(!["src", "href", "srcset", "action"].contains(&attribute.name()), "{attribute:?}");
            assert!(!attribute.name().starts_with("on"), "{attribute:?}");
            let outside = attribute.value().replace("url(#", "");
            assert!(!outside.contains("url(") && !outside.contains("://"), "{attribute:?}");
        }
    }
    let style: String = document.descendants().filter(|n| n.has_tag_name("style")).map(text_of).collect();
    assert!(style.len() > 500 && !style.contains("url(") && !style.contains("@import"), "{style}");
    // Names that pictures use are there, once.
    let ids: Vec<&str> = document.descendants().filter_map(|n| n.attribute("id")).collect();
    let unique: std::collections::BTreeSet<&&str> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len(), "{ids:?}");
    for (at, prefix) in html.match_indices("url(#") {
        let id = html[at + prefix.len()..].split(')').next().unwrap();
        assert!(ids.contains(&id), "{id}");
    }
}

#[test]
fn the_same_run_gives_the_same_bytes_and_is_not_touched() {
    let project = finished(|_| ());
    let before = files(&project.out());
    let first = page(&project);
    std::thread::sleep(std::time::Duration::from_millis(20));
    report(&project, "again/r.html").expect(0, &[]);
    assert_eq!(fs::read_to_string(project.path("again/r.html")).unwrap(), first);
    assert_eq!(files(&project.out()).keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    // Without --out it lies beside the record, and the run goes on as if it were not there.
    project.lintan("report", &[]).expect(0, &[]);
    assert_eq!(fs::read_to_string(project.out().join("report.html")).unwrap(), first);
    let tables = project.tables();
    project.run(&[]);
    assert_eq!(project.tables(), tables);
}

/// Ids are data: markup in them is text, in the tables and in the pictures.
#[test]
fn text_from_outside_is_escaped() {
    let evil = "<script>alert('1')</script> & \"x\"";
    let project = finished(|parcels| {
        parcels.iter_mut().for_each(|p| {
            if p.id.as_deref() == Some("RO-041") {
                p.id = Some(evil.to_owned());
            }
        })
    });
    let html = page(&project);
    assert!(!html.contains("<script"));
    let document = parse(&html);
    let texts: Vec<String> = document
        .descendants()
        .filter(|n| ["td", "title", "text"].contains(&n.tag_name().name()))
        .map(text_of)
        .collect();
    assert!(texts.iter().filter(|t| *t == evil).count() >= 3, "{texts:?}");
}

#[test]
fn no_run_or_a_changed_table_is_refused() {
    let project = Project::romania(CONFIG, &DATES[..1]);
    let run = "lintan run";
    report(&project, "r.html").expect(2, &["run.json", "no such file", "run it first", run, "project.toml"]);
    assert!(!project.path("r.html").exists());

    let project = finished(|_| ());
    let table = project.out().join("tables/deltas.parquet");
    let good = fs::read(&table).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    fs::write(&table, &bad).unwrap();
    report(&project, "r.html").expect(2, &["tables/deltas.parquet", "changed after the run", "SHA-256", run]);
    fs::remove_file(&table).unwrap();
    report(&project, "r.html").expect(2, &["tables/deltas.parquet", run]);
    assert!(!project.path("r.html").exists());
    fs::write(&table, &good).unwrap();

    // A name that is no page's could be that of a table.
    let record = project.out().join("run.json");
    let before = fs::read(&record).unwrap();
    project.lintan("report", &["--out", record.to_str().unwrap()]).expect(2, &["ends in .html"]);
    assert_eq!(fs::read(&record).unwrap(), before);

    fs::write(&record, b"{}").unwrap();
    report(&project, "r.html").expect(2, &["run.json", "missing field", run]);
}

/// Observations and series alone are a run as well; a configuration that has changed since is told.
#[test]
fn a_run_without_carbon_has_a_report() {
    let project = Project::romania(crate::support::PLAIN, &DATES[..2]);
    project.edit("project.toml", "\"nbr\"", "\"ndmi\"");
    project.run(&[]);
    let html = page(&project);
    parse(&html);
    assert!(html.contains("computed no carbon stocks") && html.contains("No disturbances"));
    project.edit("project.toml", "\"ndvi\", ", "");
    report(&project, "r.html").expect(0, &["note: the configuration has changed since this run"]);
    assert_eq!(fs::read_to_string(project.path("r.html")).unwrap(), html, "the report is of the run, not of the file");
}
