//! Series against an independent implementation, and the settings of `[series]` in a whole run.

use std::path::Path;

use jiff::SignedDuration;
use jiff::civil::{Date, date};
use lintan::series::{Observation, Params, regular_series};
use serde_json::Value;

use crate::support::{DATES, PLAIN, Project, read_table};

fn parameters(text: &str) -> Params {
    toml::from_str(text).unwrap()
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// Values of scripts/make_series_values.py: dense matrices and statsmodels; lambda as vam-whittaker finds it.
#[test]
fn curves_agree_with_an_independent_implementation() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/reference/series.json");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert!(cases.len() >= 6);
    let start = date(2015, 3, 1);
    for case in cases {
        let name = &case["name"];
        let observations: Vec<Observation> = numbers(&case["days"])
            .iter()
            .zip(numbers(&case["mean"]))
            .zip(numbers(&case["clear_fraction"]))
            .map(|((day, mean), clear_fraction)| Observation {
                date: start.saturating_add(SignedDuration::from_hours(24 * *day as i64)),
                mean,
                clear_fraction,
            })
            .collect();
        let compare = |what: &str, found: &[Option<f64>], expected: Vec<f64>, tolerance: f64| {
            assert_eq!(found.len(), expected.len(), "{name}, {what}");
            for (k, (f, e)) in found.iter().zip(expected).enumerate() {
                let f = f.unwrap_or_else(|| panic!("{name}, {what}: nothing at step {k}"));
                assert!((f - e).abs() <= tolerance * e.abs().max(1e-3), "{name}, {what}, step {k}: {f}, expected {e}");
            }
        };
        let smooth = regular_series(&observations, Some(start), &parameters("lambda = \"v-curve\""));
        let lambda = case["lambda"].as_f64().unwrap();
        assert!((smooth.lambda.unwrap() / lambda - 1.0).abs() < 1e-9, "{name}: lambda {:?}", smooth.lambda);
        let column = |s: &lintan::series::Series, se: bool| -> Vec<Option<f64>> {
            s.points.iter().map(|p| if se { p.value_se } else { p.value }).collect()
        };
        compare("smooth", &column(&smooth, false), numbers(&case["smooth"]), 1e-9);
        compare("smooth_se", &column(&smooth, true), numbers(&case["smooth_se"]), 1e-8);
        let text = format!("method = \"harmonic\"\nharmonics = {}", case["harmonics"]);
        let curve = regular_series(&observations, Some(start), &parameters(&text));
        assert_eq!(curve.lambda, None);
        compare("harmonic", &column(&curve, false), numbers(&case["harmonic"]), 1e-6);
        compare("harmonic_se", &column(&curve, true), numbers(&case["harmonic_se"]), 1e-5);
    }
}

fn every(days: i64, n: i64, value: impl Fn(i64) -> f64) -> Vec<Observation> {
    let at = |i: i64| date(2020, 1, 1).saturating_add(SignedDuration::from_hours(24 * days * i));
    (0..n).map(|i| Observation { date: at(i), mean: value(i), clear_fraction: 1.0 }).collect()
}

#[test]
fn the_v_curve_follows_the_data_and_has_a_rule_for_little_of_it() {
    let v_curve = parameters("lambda = \"v-curve\"");
    let wave = |i: i64| 0.5 + 0.2 * (i as f64 * 0.1).sin();
    let noise = |i: i64| f64::from(((i * 7919) % 101) as i32 - 50) / 50.0;
    let quiet = regular_series(&every(10, 150, |i| wave(i) + 0.002 * noise(i)), None, &v_curve).lambda.unwrap();
    let loud = regular_series(&every(10, 150, |i| wave(i) + 0.1 * noise(i)), None, &v_curve).lambda.unwrap();
    assert!(loud > 3.0 * quiet, "more noise, more smoothing: {quiet} and {loud}");
    // Nine steps are too few for a choice: the default.
    assert_eq!(regular_series(&every(10, 9, wave), None, &v_curve).lambda, Some(10.0));
    assert_eq!(regular_series(&every(10, 2, wave), None, &v_curve).lambda, None);
    // A straight line is any lambda's.
    let line = regular_series(&every(10, 40, |i| 0.3 + 0.001 * i as f64), None, &v_curve);
    assert!((line.lambda.unwrap() / 1e4 - 1.0).abs() < 1e-9, "{:?}", line.lambda);
    assert!(line.points.iter().all(|p| p.value.is_some()));
    // Half the step, eight times lambda: the same curve in time.
    let finer = regular_series(
        &every(10, 150, |i| wave(i) + 0.1 * noise(i)),
        None,
        &parameters("lambda = \"v-curve\"\nstep_days = 5"),
    );
    assert!((finer.lambda.unwrap() / (8.0 * loud)).ln().abs() < 0.5, "{:?} and {loud}", finer.lambda);
}

#[test]
fn screened_observations_leave_the_series_and_are_counted() {
    let drop = |i: i64| 0.8 - if i == 20 { 0.4 } else { 0.001 * (i % 3) as f64 };
    let rows = every(8, 40, drop);
    let plain = regular_series(&rows, None, &parameters(""));
    let screened = regular_series(&rows, None, &parameters("[screen]"));
    let sum = |s: &lintan::series::Series| {
        s.points.iter().fold((0, 0), |(used, out), p| (used + p.observations, out + p.screened))
    };
    assert_eq!((sum(&plain), sum(&screened)), ((40, 0), (39, 1)));
    let lowest = |s: &lintan::series::Series| s.points.iter().filter_map(|p| p.value).fold(1.0, f64::min);
    assert!(lowest(&plain) < 0.75 && lowest(&screened) > 0.79, "{} {}", lowest(&plain), lowest(&screened));
    let dates = |s: &lintan::series::Series| s.points.iter().map(|p| p.date).collect::<Vec<Date>>();
    assert_eq!(dates(&plain), dates(&screened));
}

#[test]
fn a_harmonic_series_ends_where_the_observations_end_and_needs_twelve() {
    let harmonic = parameters("method = \"harmonic\"");
    let rows = every(13, 60, |i| 0.5 + 0.2 * (i as f64 * 0.2).sin() + 0.001 * (i % 5) as f64);
    let series = regular_series(&rows, None, &harmonic);
    assert!(series.points.iter().all(|p| p.value.is_some() && p.value_se.is_some_and(|se| se > 0.0)));
    assert!(series.points.last().unwrap().date <= rows.last().unwrap().date);
    let few = regular_series(&rows[..11], None, &harmonic);
    assert!(few.points.iter().all(|p| p.value.is_none() && p.value_se.is_none()));
    assert_eq!(few.points.iter().map(|p| p.observations).sum::<u32>(), 11);
    assert!(regular_series(&rows[..12], None, &harmonic).points.iter().all(|p| p.value.is_some()));
    assert!(regular_series(&[], None, &harmonic).points.is_empty());
    // All on one day: counted, and no curve.
    let same: Vec<Observation> = rows[..20].iter().map(|o| Observation { date: rows[0].date, ..*o }).collect();
    let series = regular_series(&same, None, &harmonic);
    assert_eq!((series.points.len(), series.points[0].observations, series.points[0].value), (1, 20, None));
}

#[test]
fn a_run_with_every_setting_keeps_the_observations_and_writes_seasons() {
    let with = |series: &str| {
        let project = Project::romania(&format!("{PLAIN}\n{series}"), &DATES);
        project.edit("project.toml", "\"nbr\"", "\"ndmi\"");
        project.run(&[]);
        project
    };
    let plain = with("");
    let set = with("[series]\nlambda = \"v-curve\"\n[series.screen]\n[series.seasons]\nmin_observations = 3\n");
    let observations = |p: &Project| {
        let mut rows = Vec::new();
        for year in [2018, 2020] {
            rows.extend(read_table(&p.out().join(format!("tables/observations/year={year}/part-0.parquet"))).1);
        }
        rows
    };
    assert_eq!(observations(&plain), observations(&set), "raw observations are never replaced");
    let (head, rows) = read_table(&set.out().join("tables/seasons.parquet"));
    assert_eq!(&head[..5], ["parcel_id", "index", "year", "observations", "status"]);
    assert!(!rows.is_empty() && read_table(&plain.out().join("tables/seasons.parquet")).1.is_empty());
    // Six dates of two summers: no year was seen from spring to autumn.
    let known = ["few_observations", "incomplete", "gap", "no_season"];
    assert!(rows.iter().all(|r| known.contains(&r[4].as_str()) && r[5..].iter().all(|c| c == "-")), "{:?}", rows[0]);
    assert_eq!(set.count("seasons"), rows.len() as u64);
    let mut keys: Vec<&[String]> = rows.iter().map(|r| &r[..3]).collect();
    let sorted = keys.clone();
    keys.sort();
    keys.dedup();
    assert_eq!(keys, sorted, "sorted by a unique key");
}

#[test]
fn bad_settings_are_named() {
    for (text, parts) in [
        ("lambda = \"l-curve\"", &["series.lambda", "\"l-curve\"", "a number or \"v-curve\""][..]),
        ("method = \"spline\"", &["series.method", "spline", "harmonic"]),
        ("harmonics = 0", &["series.harmonics", "expected 1 to 3"]),
        ("[series.screen]\ndrop_se = 0", &["`series.screen.drop_se`: found 0", "above 0"]),
        ("[series.screen]\nwindow_days = 0", &["`series.screen.window_days`: found 0, expected 1 to 366"]),
        ("[series.seasons]\nthreshold = 1.0", &["`series.seasons.threshold`: found 1, expected above 0, below 1"]),
        ("[series.seasons]\nmin_observation = 5", &["did you mean `min_observations`?"]),
    ] {
        let project = Project::new(&format!("{PLAIN}\n[series]\n{text}\n"));
        project.lintan("check", &[]).expect(2, parts);
    }
}
