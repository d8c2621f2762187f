//! LandTrendr against two implementations that nobody here wrote: zeit-cdts, stored under testdata/reference by
//! scripts/make_reference_landtrendr.py, and Earth Engine's own, published for a pixel in Maine.
//! `LINTAN_COMPARE_LANDTRENDR=FILE` compares with another file of the script and prints what differs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lintan::detect::Unjudged;
use lintan::detect::landtrendr::{Params, Scratch, Variant, segment};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    settings: Vec<Settings>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Settings {
    max_segments: usize,
    spike_threshold: f64,
    vertex_count_overshoot: usize,
    recovery_threshold: f64,
    pval_threshold: f64,
    best_model_proportion: f64,
}

#[derive(Deserialize)]
struct Case {
    kind: String,
    setting: usize,
    first_year: i32,
    values: Vec<Option<f64>>,
    vertex_years: Vec<i32>,
    vertex_values: Vec<f64>,
    rmse: f64,
}

/// What was compared and what was equal.
#[derive(Default)]
struct Tally {
    cases: usize,
    same_years: usize,
    same_values: usize,
    /// Other vertices on the very same chain: without noise, rounding decides which points of a line become vertices.
    same_chain: usize,
    /// Both say flat, at slightly different heights.
    flat_height: usize,
    by_kind: BTreeMap<String, (usize, usize)>,
}

fn close(a: f64, b: f64) -> bool {
    // zeit-cdts gives single precision.
    (a - b).abs() <= 1e-6 * a.abs().max(b.abs()).max(0.01)
}

fn compare(path: &Path) -> Tally {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let reference: Reference = serde_json::from_str(&text).expect("reference");
    let mut tally = Tally::default();
    let mut scratch = Scratch::default();
    for case in &reference.cases {
        let s = &reference.settings[case.setting];
        let params = Params {
            max_segments: s.max_segments,
            spike_threshold: s.spike_threshold,
            variant: Variant::Idl,
            vertex_count_overshoot: s.vertex_count_overshoot,
            recovery_threshold: s.recovery_threshold,
            pval_threshold: s.pval_threshold,
            best_model_proportion: s.best_model_proportion,
            ..Params::new("ndvi", 0.1)
        };
        let values: Vec<f64> = case.values.iter().map(|v| v.unwrap_or(f64::NAN)).collect();
        let years: Vec<i32> = (case.first_year..).take(values.len()).collect();
        let constant = values.iter().flat_map(|v| (!v.is_nan()).then_some(*v)).all(|v| v == values[0]);
        let fit = match segment(&params, &years, &values, &mut scratch) {
            Err(Unjudged::ConstantHistory) if constant => continue,
            fit => fit.expect("judged"),
        };
        tally.cases += 1;
        let kind = tally.by_kind.entry(case.kind.clone()).or_default();
        kind.0 += 1;
        let found: Vec<i32> = fit.vertices.iter().map(|v| v.year).collect();
        if found != case.vertex_years {
            let chain = |year: i32| {
                let k = case.vertex_years.partition_point(|y| *y < year).clamp(1, case.vertex_years.len() - 1);
                let (from, to) = (case.vertex_years[k - 1], case.vertex_years[k]);
                let (a, b) = (case.vertex_values[k - 1], case.vertex_values[k]);
                a + (b - a) * f64::from(year - from) / f64::from(to - from)
            };
            if years.iter().zip(&fit.fitted).all(|(y, v)| close(chain(*y), *v)) {
                tally.same_chain += 1;
                kind.1 += 1;
            } else if std::env::var_os("LINTAN_COMPARE_LANDTRENDR").is_some() && tally.cases % 5 == 0 {
                println!("{} {found:?} not {:?}: {values:?}", case.kind, case.vertex_years);
            }
            continue;
        }
        tally.same_years += 1;
        if fit.vertices.iter().zip(&case.vertex_values).all(|(v, w)| close(v.value, *w)) {
            assert!(close(fit.rmse, case.rmse), "residual error {} for {}", fit.rmse, case.rmse);
            tally.same_values += 1;
            kind.1 += 1;
        } else if fit.p_value > params.pval_threshold {
            tally.flat_height += 1;
        }
    }
    tally
}

fn report(t: &Tally) {
    println!(
        "{} series: {} with the same vertices, {} also with the same values; {} more the same chain; {} flat at another height",
        t.cases, t.same_years, t.same_values, t.same_chain, t.flat_height
    );
    for (kind, (cases, same)) in &t.by_kind {
        println!("  {kind}: {same} of {cases}");
    }
}

#[test]
fn vertices_and_values_are_those_of_zeit_cdts() {
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/reference/landtrendr.json");
    let t = compare(&stored);
    report(&t);
    assert!(t.cases >= 300);
    // What differs: ties decided by single precision, and the height of some flat fits.
    assert!((t.same_years + t.same_chain) * 1000 >= t.cases * 985, "{} and {}", t.same_years, t.same_chain);
    assert!((t.same_values + t.same_chain) * 100 >= t.cases * 97, "{} and {}", t.same_values, t.same_chain);
    if let Ok(other) = std::env::var("LINTAN_COMPARE_LANDTRENDR") {
        report(&compare(&PathBuf::from(other)));
    }
}

#[test]
fn earth_engine_has_the_same_fit() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/pixel_series/gee_landtrendr_ccdc");
    let vertices: [(&str, &[i32]); 2] =
        [("nbr", &[1985, 2001, 2002, 2003, 2006, 2020]), ("ndvi", &[1985, 2001, 2002, 2020])];
    for (index, expected) in vertices {
        let path = folder.join(format!("ME-USA_lt_{index}.csv"));
        let Ok(text) = std::fs::read_to_string(&path) else {
            println!("SKIPPED: {} is not here", path.display());
            return;
        };
        let mut years = Vec::new();
        let mut values = Vec::new();
        let mut fitted = Vec::new();
        for line in text.lines().skip(1) {
            let mut fields = line.split(',');
            years.push(fields.next().and_then(|f| f.parse().ok()).expect("year"));
            let mut number = || fields.next().and_then(|f| f.parse::<f64>().ok()).expect("number") / 1000.0;
            values.push(number());
            fitted.push(number());
        }
        // The tool that made these results asks for eight segments; the rest is the default.
        let params = Params { max_segments: 8, ..Params::new(index, 0.1) };
        let mut scratch = Scratch::default();
        let worst = |params: &Params, scratch: &mut Scratch| {
            let fit = segment(params, &years, &values, scratch).expect("judged");
            assert_eq!(fit.vertices.iter().map(|v| v.year).collect::<Vec<_>>(), expected);
            fit.fitted.iter().zip(&fitted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
        };
        // Values and fits are published with three decimals after the multiplication by 1000.
        let difference = worst(&params, &mut scratch);
        println!("{index}: largest difference of fitted values to Earth Engine {difference:.1e}");
        assert!(difference <= 1e-6, "{index}: {difference}");
        // The original program's rules show on the same pixel.
        assert!(worst(&Params { variant: Variant::Idl, ..params }, &mut scratch) > 1e-3);
    }
}
