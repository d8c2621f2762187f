//! Footprints, zonal statistics and areas against results of independent software, stored under testdata/reference by
//! scripts/make_reference.py. `LINTAN_COMPARE=FILE` compares with another file of its format and prints the worst
//! differences.

use std::collections::BTreeMap;
use std::path::Path;

use geo::{Coord, LineString, MultiPolygon, Polygon};
use lintan::geo::{Grid, footprint, geodesic_area_m2, geodesic_perimeter_m};
use lintan::zonal::{Scratch, reduce};
use serde::Deserialize;

type Rings = Vec<Vec<[f64; 2]>>;

#[derive(Deserialize)]
struct CoverageFile {
    cases: Vec<CoverageCase>,
}

#[derive(Deserialize)]
struct CoverageCase {
    name: String,
    grid: Grid,
    polygon: Vec<Rings>,
    stats: Stats,
    coverage_sum: f64,
    /// Cell number and fraction; absent for large polygons.
    coverage: Option<Vec<(u32, f64)>>,
}

/// As exactextract has them: `count` is the sum of fractions of pixels with a value.
#[derive(Deserialize)]
struct Stats {
    count: f64,
    sum: f64,
    mean: Option<f64>,
    stdev: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
}

#[derive(Deserialize)]
struct AreaFile {
    cases: Vec<AreaCase>,
}

#[derive(Deserialize)]
struct AreaCase {
    polygon: Rings,
    area_m2: f64,
    perimeter_m: f64,
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/reference").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn polygon(rings: &Rings) -> Polygon<f64> {
    let mut rings = rings.iter().map(|ring| LineString(ring.iter().map(|&[x, y]| Coord { x, y }).collect()));
    Polygon::new(rings.next().expect("a polygon has an exterior"), rings.collect())
}

/// The value of a pixel, by the formula of the script; NaN is nodata.
fn value(row: u32, col: u32) -> f64 {
    let v = (u64::from(row) * 7919 + u64::from(col) * 104_729) % 1000;
    if v.is_multiple_of(7) { f64::NAN } else { v as f64 }
}

/// Largest differences seen: fractions absolute, statistics relative.
#[derive(Debug, Default)]
struct Worst {
    fraction: f64,
    coverage_sum: f64,
    count: f64,
    sum: f64,
    mean: f64,
    stdev: f64,
    extremes: f64,
}

fn note(worst: &mut f64, found: f64, expected: f64, tolerance: f64, what: &str) {
    let difference = (found - expected).abs() / expected.abs().max(1.0);
    *worst = worst.max(difference);
    assert!(difference <= tolerance, "{what}: found {found}, expected {expected}");
}

fn compare(case: &CoverageCase, worst: &mut Worst) {
    let CoverageCase { name, grid, stats, .. } = case;
    let p = MultiPolygon(case.polygon.iter().map(polygon).collect());
    let footprint = footprint(&p, grid).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut cells = BTreeMap::new();
    let mut values = vec![];
    if let Some(f) = &footprint {
        let places = f.spans().iter().flat_map(|s| (s.col..s.col + s.len).map(|col| (s.row, col)));
        for ((row, col), fraction) in places.zip(f.weights()) {
            cells.insert(row * grid.cols + col, fraction);
            values.push(value(row, col));
        }
    }
    if let Some(coverage) = &case.coverage {
        let expected: BTreeMap<u32, f64> = coverage.iter().copied().collect();
        for cell in cells.keys().chain(expected.keys()) {
            let of = |map: &BTreeMap<u32, f64>| map.get(cell).copied().unwrap_or(0.0);
            note(&mut worst.fraction, of(&cells), of(&expected), 1e-6, &format!("{name}: cell {cell}"));
        }
    }
    let relative = |found: f64, expected: f64| 1.0 + (found - expected) / expected.abs().max(f64::MIN_POSITIVE);
    let found = footprint.as_ref().map_or(0.0, |f| f.coverage_px());
    note(&mut worst.coverage_sum, found, case.coverage_sum, 1e-6, &format!("{name}: sum of coverage"));

    let found = footprint.as_ref().and_then(|f| reduce(&values, f, &mut Scratch::default()));
    let (Some(found), Some(mean), Some(stdev), Some(min), Some(max)) =
        (found, stats.mean, stats.stdev, stats.min, stats.max)
    else {
        assert!(found.is_none() && stats.count == 0.0, "{name}: {found:?}, expected count {}", stats.count);
        return;
    };
    note(&mut worst.count, relative(found.clear_pixels, stats.count), 1.0, 1e-6, &format!("{name}: count"));
    note(&mut worst.sum, relative(found.mean * found.clear_pixels, stats.sum), 1.0, 1e-6, &format!("{name}: sum"));
    note(&mut worst.mean, relative(found.mean, mean), 1.0, 1e-6, &format!("{name}: mean"));
    // Relative to the values: the deviation of equal values is 0 on one side and rounding on the other.
    note(&mut worst.stdev, found.stddev / mean, stdev / mean, 1e-6, &format!("{name}: stdev"));
    note(&mut worst.extremes, found.min, min, 0.0, &format!("{name}: min"));
    note(&mut worst.extremes, found.max, max, 0.0, &format!("{name}: max"));
}

#[test]
fn footprints_and_statistics_agree_with_exactextract() {
    let text = match std::env::var_os("LINTAN_COMPARE") {
        Some(path) => std::fs::read_to_string(path).unwrap(),
        None => read("coverage.json"),
    };
    let file: CoverageFile = serde_json::from_str(&text).unwrap();
    assert!(!file.cases.is_empty());
    let mut worst = Worst::default();
    for case in &file.cases {
        compare(case, &mut worst);
    }
    println!("{} cases, {worst:?}", file.cases.len());
}

#[test]
fn areas_agree_with_geographiclib() {
    let file: AreaFile = serde_json::from_str(&read("geodesic_area.json")).unwrap();
    assert_eq!(file.cases.len(), 20);
    for case in &file.cases {
        let p = MultiPolygon(vec![polygon(&case.polygon)]);
        // An area of the Earth's size is summed and taken apart again: some square millimetres of rounding remain.
        let area = geodesic_area_m2(&p);
        assert!((area - case.area_m2).abs() <= 1e-9 * case.area_m2 + 0.01, "found {area}, expected {}", case.area_m2);
        let perimeter = geodesic_perimeter_m(&p);
        assert!((perimeter - case.perimeter_m).abs() <= 1e-9 * case.perimeter_m + 1e-6, "found {perimeter}");
    }
}
