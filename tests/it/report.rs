//! `lintan report`: what the page says is what the tables hold, it needs nothing from outside, and it never tells of tables
//! that are not those of the run.

use std::fs;
use std::path::Path;

use crate::carbon::{INVENTORY, inventory};
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
fn ends(text: &str) -> (&str, &str) {
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or_else(|| panic!("{text}"));
    inner.split_once("; ").unwrap()
}

/// Columns of a table by name, row by row.
fn columns(path: &Path, names: &[&str]) -> Vec<Vec<String>> {
    let (head, rows) = read_table(path);
    let at: Vec<usize> = names.iter().map(|n| head.iter().position(|h| h == n).unwrap()).collect();
    rows.into_iter().map(|r| at.iter().map(|i| r[*i].clone()).collect()).collect()
}

/// Decimals of a number as it is shown.
fn decimals(text: &str) -> usize {
    text.split_once('.').map_or(0, |(_, rest)| rest.len())
}

/// The cell shows the value, to half a unit of its last digit.
#[track_caller]
fn shows(cell: &str, value: &str, what: &str) {
    let value: f64 = value.parse().unwrap();
    let unit = 10f64.powi(-i32::try_from(decimals(cell)).unwrap());
    assert!((number(cell) - value).abs() <= 0.500_001 * unit, "{what}: shown {cell}, in the table {value}");
}

#[track_caller]
fn shows_interval(cell: &str, low: &str, high: &str) {
    let (shown_low, shown_high) = ends(cell);
    shows(shown_low, low, "lower end");
    shows(shown_high, high, "upper end");
}

/// A run of an inventory under a deduction scheme, by these species, kinds and volumes.
fn credited(set: &str, scheme: &str, stands: &[(&str, &str, &str, &str)]) -> Project {
    let project = Project::romania(INVENTORY, &DATES);
    let text = INVENTORY
        .replace(
            "[biomass.inventory]\n",
            "[change.two_date]\nindex = \"ndvi\"\nbefore = [\"2018-06-01\", \"2018-09-30\"]\nafter = [\"2020-06-01\", \
             \"2020-09-30\"]\nmin_drop = 0.5\n[biomass.inventory]\nsurveyed_on = \"2018-07-01\"\nvolume_cv = 0.05\n\
             increment_m3_per_ha_a = 6.0\nincrement_cv = 0.05\necological_zone = \"temperate\"\n",
        )
        .replace("ipcc-2006", set)
        .replace("[account]\n", &format!("[account]\ndeduction = \"{scheme}\"\n"));
    project.write("project.toml", &text);
    inventory(&project, &stands.iter().map(|(id, _, species, volume)| (*id, *species, *volume)).collect::<Vec<_>>());
    let mut layer: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(project.path("stands.geojson")).unwrap()).unwrap();
    for (feature, stand) in layer["features"].as_array_mut().unwrap().iter_mut().zip(stands) {
        feature["properties"]["kind"] = stand.1.into();
    }
    project.write("stands.geojson", &layer.to_string());
    project.run(&[]).expect(0, &[]);
    project
}

const STANDS: [(&str, &str, &str, &str); 4] = [
    ("S1", "reserve", "杨树", "85"),
    ("S2", "compensation_base", "杨树", "60"),
    ("S3", "reference", "杨树", "70"),
    ("S4", "damaged", "杨树", "75"),
];

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
        shows(&row[2], &delta[1], "area");
        shows(&row[3], &delta[2], "change");
        shows_interval(&row[4], &delta[3], &delta[4]);
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
        shows(&row[5], &stock[3], "stock");
        shows_interval(&row[6], &stock[4], &stock[5]);
        seen += 1;
    }
    assert_eq!(seen, 10);
    let totals = columns(
        &tables.join("totals.parquet"),
        &["group", "quantity", "sum_t_co2e", "ci90_lower_t_co2e", "ci90_upper_t_co2e"],
    );
    let all = totals.iter().find(|t| t[0] == "all" && t[1] == "delta").unwrap();
    let row = rows.iter().find(|r| r[0].contains("all parcels") && r[1].contains("change")).unwrap();
    shows(&row[8], &all[2], "total");
    shows_interval(&row[9], &all[3], &all[4]);

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

/// A column of numbers has one number of decimals, in every table but that of the parameters, which are shown as they are.
#[test]
fn a_column_has_one_number_of_decimals() {
    let check = |html: &str| {
        let document = parse(html);
        let (mut columns, mut longest) = (0, 0);
        for table in document.descendants().filter(|n| n.has_tag_name("table")) {
            let rows: Vec<Vec<String>> = table
                .descendants()
                .filter(|n| n.has_tag_name("tr"))
                .map(|r| r.children().filter(roxmltree::Node::is_element).map(text_of).collect())
                .collect();
            if rows[0][0].contains("编号") {
                continue;
            }
            for c in 0..rows[0].len() {
                let is_number = |t: &&str| t.bytes().any(|b| b.is_ascii_digit()) && !t.contains(['e', '-', ':']);
                let parts = rows[1..].iter().flat_map(|r| r[c].split([' ', ';', '[', ']', '(', ')', '±', '≤']));
                let numbers = || {
                    parts
                        .clone()
                        .filter(is_number)
                        .filter(|t| t.replace(['+', '−', ',', '.'], "").bytes().all(|b| b.is_ascii_digit()))
                };
                // An estimate and what stands with it in the cell are of one column.
                let found: std::collections::BTreeSet<usize> = numbers().map(decimals).collect();
                assert!(found.len() <= 1, "column {}: {found:?} {:?}", rows[0][c], numbers().collect::<Vec<_>>());
                columns += usize::from(!found.is_empty());
                longest = longest.max(rows.len());
            }
        }
        assert!(columns > 20 && longest > 5, "{columns} {longest}");
    };
    check(&page(&finished(|_| ())));
    // Parcels of very different size.
    let stands = [("S1", "reserve", "杨树", "400"), ("S2", "reserve", "杨树", "4"), ("S3", "damaged", "杨树", "0.3")];
    check(&page(&credited("cn-ar-cm-001", "art_trees", &stands)));
}

/// What may be credited: the total of the tables with its interval, and nothing of controls and damaged parcels.
#[test]
fn what_may_be_credited_is_totalled_and_not_of_controls_and_losses() {
    let project = credited("cn-ar-cm-001", "tool14", &STANDS);
    let tables = project.out().join("tables");
    let names = [
        "parcel_id",
        "status",
        "delta_t_co2e",
        "creditable_t_co2e",
        "deduction_percent",
        "ci90_lower_t_co2e",
        "ci90_upper_t_co2e",
    ];
    let deltas = columns(&tables.join("deltas.parquet"), &names);
    let value = |row: usize, column: usize| deltas[row][column].parse::<f64>().unwrap();
    assert!((0..4).all(|i| deltas[i][1] == "issuable" && value(i, 2) > 0.0), "{deltas:?}");
    // The rule's arithmetic knows no kinds; what is added up does.
    assert!((0..4).all(|i| value(i, 3) > 0.0), "{deltas:?}");
    let names = ["group", "quantity", "parcels", "sum_t_co2e", "ci90_lower_t_co2e", "ci90_upper_t_co2e"];
    let totals = columns(&tables.join("totals.parquet"), &names);
    let of = |group: &str| totals.iter().find(|t| t[0] == group && t[1] == "creditable");
    let all = of("all").unwrap();
    let sum: f64 = all[3].parse().unwrap();
    assert!(all[2] == "2" && (sum / (value(0, 3) + value(1, 3)) - 1.0).abs() < 1e-7, "{all:?}");
    assert!(of("reserve").is_some() && of("reference").is_none() && of("damaged").is_none());
    // Both parcels have the wood density, expansion and roots of one species: half-widths nearly add up, and no more.
    let half = |low: f64, high: f64| (high - low) / 2.0;
    let whole = half(all[4].parse().unwrap(), all[5].parse().unwrap());
    let parts: Vec<f64> = (0..2).map(|i| half(value(i, 5), value(i, 6)) * value(i, 3) / value(i, 2)).collect();
    let (added, independent) = (parts[0] + parts[1], parts[0].hypot(parts[1]));
    assert!(whole > 1.1 * independent && whole <= 1.02 * added, "{whole} {independent} {added}");

    let html = page(&project);
    let document = parse(&html);
    let text = text_of(document.root_element());
    let from = text.split_once("Creditable in total, 2018-07-15 to 2020-07-15 (deduction scheme tool14): ").unwrap().1;
    let from = from.strip_prefix("2 parcels of 2 whose kind may be credited, ").unwrap();
    let (shown, rest) = from.split_once(" t CO₂e, 90 % interval ").unwrap();
    shows(shown, &all[3], "total");
    shows_interval(&rest[..=rest.find(']').unwrap()], &all[4], &all[5]);
    assert!(text.contains("可计入量合计（扣减规则 tool14）：可计入的 2 个地块"));
    let rows = cells(&html);
    let row = |id: &str| rows.iter().find(|r| r[0] == id && r.len() > 8 && !r[1].starts_with("20")).unwrap();
    assert!(row("S3").contains(&"– 对照 control".to_owned()) && row("S4").contains(&"– 受损 loss".to_owned()));
    assert!(
        !row("S1").iter().any(|c| c.starts_with("– ")) && text.contains("growth on damaged land makes good a loss")
    );

    // A totals table of an earlier version has no such sum: the page says so and adds no intervals up.
    let with = fs::read(tables.join("totals.parquet")).unwrap();
    project.edit("project.toml", "deduction = \"tool14\"\n", "");
    project.run(&[]);
    assert!(!page(&project).contains("Creditable in total"), "no scheme, nothing to credit");
    let without = fs::read(tables.join("totals.parquet")).unwrap();
    assert_ne!(with, without);
    project.edit("project.toml", "[account]\n", "[account]\ndeduction = \"tool14\"\n");
    project.run(&[]);
    assert_eq!(fs::read(tables.join("totals.parquet")).unwrap(), with);
    fs::write(tables.join("totals.parquet"), &without).unwrap();
    let record = fs::read_to_string(project.out().join("run.json")).unwrap();
    let [old, new] = [&with, &without].map(|bytes| lintan::digest::Sha256::of(bytes).to_string());
    fs::write(project.out().join("run.json"), record.replace(&old, &new)).unwrap();
    let html = page(&project);
    assert!(html.contains("has no total of what is creditable") && !html.contains("Creditable in total"));
}

/// Every figure has its method and source by name, and one parcel's deduction is worked through.
#[test]
fn methods_sources_and_the_working_of_the_deduction_stand_on_the_page() {
    for (set, scheme, species, known) in [
        (
            "ipcc-2006",
            "vcs",
            "油松",
            ["Equation 2.8", "IPCC 2006 Vol 4 Table 4.5", "V(t) × BCEF × (1 + R) × CF", "VMD0017"],
        ),
        (
            "fang-2001",
            "art_trees",
            "落叶松",
            ["Fang et al. 2001, Science 292:2320", "0.6096", "(a V(t) + b) × CF", "TREES 2.0"],
        ),
        (
            "cn-ar-cm-001",
            "ar_cm_001",
            "杨树",
            ["AR-CM-001-V01", "0.378", "V(t) × D × BEF × (1 + R) × CF", "碳汇造林项目方法学"],
        ),
    ] {
        let project = credited(set, scheme, &[("S1", "reserve", species, "85"), ("S2", "reference", species, "85")]);
        let record = project.record();
        let html = page(&project);
        let document = parse(&html);
        let section = html.split_once("10. Method and source of the carbon figures").unwrap().1;
        let section = section.split_once("11. Remarks by letter").unwrap().0;
        for part in known.into_iter().chain([
            record["parameter_set"]["sha256"].as_str().unwrap(),
            record["parameter_set"]["title"].as_str().unwrap(),
            record["parameter_set"]["names_sha256"].as_str().unwrap(),
            "未批准 not approved",
            "Equation 2.5",
            "volume_cv = 0.05",
            "with 10,000 draws of each source of error, seed 1, algorithm",
            "储量差法",
        ]) {
            assert!(section.contains(part), "{set}: the page lacks {part}");
        }
        // The arithmetic of the page by its own numbers gives the tables' numbers.
        let names =
            ["delta_t_c", "delta_t_co2e", "relative_uncertainty_percent", "deduction_percent", "creditable_t_co2e"];
        let delta = &columns(&project.out().join("tables/deltas.parquet"), &names)[0];
        let items: Vec<String> = document.descendants().filter(|n| n.has_tag_name("li")).map(text_of).collect();
        let item =
            |start: &str| items.iter().find(|i| i.starts_with(start)).unwrap_or_else(|| panic!("{set}: {start}"));
        let last = |item: &str, unit: &str| item.rsplit(" = ").next().unwrap().strip_suffix(unit).unwrap().to_owned();
        shows(&last(item("ΔC = "), " t C"), &delta[0], "change");
        let (end, start) =
            item("ΔC = ").strip_prefix("ΔC = ").unwrap().split_once(" = ").unwrap().0.split_once(" − ").unwrap();
        assert!((number(end) - number(start) - delta[0].parse::<f64>().unwrap()).abs() < 0.002);
        shows(&last(item("ΔC × 44/12 = "), " t CO₂e"), &delta[1], "change in CO2e");
        shows(&last(item("U = 100 × ("), " %"), &delta[2], "uncertainty");
        let working = item(&format!("{scheme}: "));
        if delta[3].parse::<f64>().is_err() {
            assert!(working.ends_with('—') && section.contains("more uncertain than the rule accepts"), "{working}");
        } else {
            shows(working.trim_end_matches(" %").rsplit(' ').next().unwrap(), &delta[3], "deduction");
            let credited = items.iter().find(|i| i.contains(" × (1 − ")).unwrap();
            shows(&last(credited, " t CO₂e"), &delta[4], "creditable");
            let by_hand = delta[1].parse::<f64>().unwrap() * (1.0 - delta[3].parse::<f64>().unwrap() / 100.0);
            assert!((by_hand - delta[4].parse::<f64>().unwrap()).abs() < 1e-6);
        }
    }
}

/// A remark has the same letter whatever other remarks a report has.
#[test]
fn a_remark_has_the_same_letter_in_every_report() {
    let letter = |html: &str, flag: &str| {
        let found: Vec<String> =
            cells(html).into_iter().filter(|r| r.len() == 5 && r[1] == flag).map(|r| r[0].clone()).collect();
        assert_eq!(found.len(), 1, "{flag}");
        found[0].clone()
    };
    let few = page(&finished(|_| ()));
    let other = page(&credited("cn-ar-cm-001", "tool14", &STANDS[..1]));
    for (flag, expected) in [("unapproved_parameters", "C"), ("area_error_not_stated", "H")] {
        assert_eq!([letter(&few, flag), letter(&other, flag)], [expected, expected], "{flag}");
    }
    assert!(few.contains("tier1") && !other.contains("<td class=\"k\">tier1</td>"));
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
