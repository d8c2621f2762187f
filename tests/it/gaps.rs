//! Landsat 7 since May 2003: the scan line corrector is off, and wedges of fill widen from the middle of a scene to its edges.
//! A real product with such wedges burnt in; the expected figures are counted here, pixel by pixel.

use std::fs;
use std::path::Path;

use gdal::Dataset;
use gdal::raster::Buffer;

use crate::support::{LANDSAT_7, PLAIN, Parcel, Project, read_table, testdata, write_parcels};

const COLS: usize = 258;
/// Lines between two gaps.
const PERIOD: usize = 33;

/// Whether a pixel lies in a gap: slanted, 14 lines high at the right edge and nothing at the left. In the near infrared the
/// gaps are a line higher, since bands are not recorded at the same moment.
fn in_gap(row: usize, col: usize, band: &str) -> bool {
    let height = 14 * col / COLS + usize::from(band == "B4" && col > 20);
    (row + col / 5) % PERIOD < height
}

fn read(path: &Path) -> (Vec<u16>, usize) {
    let dataset = Dataset::open(path).unwrap();
    let (cols, rows) = dataset.raster_size();
    let band = dataset.rasterband(1).unwrap();
    (band.read_as::<u16>((0, 0), (cols, rows), (cols, rows), None).unwrap().data().to_vec(), cols)
}

/// Copies a raster with fill in its gaps: 0, and bit 0 in the quality raster.
fn burn(from: &Path, to: &Path, band: &str) {
    let (mut values, cols) = read(from);
    for (i, v) in values.iter_mut().enumerate() {
        if in_gap(i / cols, i % cols, band) {
            *v = u16::from(band == "QA_PIXEL");
        }
    }
    let source = Dataset::open(from).unwrap();
    let rows = values.len() / cols;
    let driver = gdal::DriverManager::get_driver_by_name("GTiff").unwrap();
    let mut target = driver.create_with_band_type::<u16, _>(to, cols, rows, 1).unwrap();
    target.set_geo_transform(&source.geo_transform().unwrap()).unwrap();
    target.set_spatial_ref(&source.spatial_ref().unwrap()).unwrap();
    target.rasterband(1).unwrap().write((0, 0), (cols, rows), &mut Buffer::new((cols, rows), values)).unwrap();
}

/// Whole pixels: row, column, rows, columns.
type Block = (usize, usize, usize, usize);

/// A block of pixels that lies in a gap of every band with all it has.
fn wholly_in_a_gap() -> Block {
    let whole = |r: usize| (r..r + 4).all(|row| (240..246).all(|col| in_gap(row, col, "QA_PIXEL")));
    ((40..).find(|r| whole(*r)).unwrap(), 240, 4, 6)
}

#[test]
fn gaps_of_landsat_7_are_fill() {
    let project = Project::new(&PLAIN.replace("\"ndvi\", \"nbr\"", "\"ndvi\""));
    let (from, to) = (testdata("products").join(LANDSAT_7), project.path("scenes").join(LANDSAT_7));
    fs::create_dir_all(&to).unwrap();
    for file in fs::read_dir(&from).unwrap().map(|e| e.unwrap().path()) {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        match name.strip_suffix(".TIF").map(|n| n[LANDSAT_7.len() + 1..].trim_start_matches("SR_").to_owned()) {
            Some(band) if band != "QA_RADSAT" => burn(&file, &to.join(&name), &band),
            _ => drop(fs::copy(&file, to.join(&name)).unwrap()),
        }
    }
    let blocks: [(&str, Block); 4] = [
        // Left of where the gaps begin.
        ("none", (100, 2, 12, 10)),
        ("some", (60, 100, 40, 30)),
        ("many", (110, 215, 50, 38)),
        ("all", wholly_in_a_gap()),
    ];
    let raster = |name: &str| read(&from.join(format!("{LANDSAT_7}_{name}.TIF"))).0;
    let t = Dataset::open(from.join(format!("{LANDSAT_7}_SR_B3.TIF"))).unwrap().geo_transform().unwrap();
    let parcels: Vec<Parcel> = blocks
        .iter()
        .map(|(id, (row, col, rows, cols))| {
            let at = |c: usize, r: usize| format!("{} {}", t[0] + 30.0 * c as f64, t[3] - 30.0 * r as f64);
            let ring = [(0, 0), (*cols, 0), (*cols, *rows), (0, *rows), (0, 0)].map(|(c, r)| at(col + c, row + r));
            Parcel::new(id, &format!("POLYGON (({}))", ring.join(", ")))
        })
        .collect();
    write_parcels(&project.path("parcels.gpkg"), Some(32616), &parcels);
    project.run(&[]);

    let (head, rows) = read_table(&project.out().join("tables/observations/year=2011/part-0.parquet"));
    let at = |name: &str| head.iter().position(|h| h == name).unwrap();
    let (red, nir, quality) = (raster("SR_B3"), raster("SR_B4"), raster("QA_PIXEL"));
    let mut fill = 0;
    for (id, (row, col, n_rows, n_cols)) in blocks {
        let found: Vec<&Vec<String>> = rows.iter().filter(|r| r[at("parcel_id")] == id).collect();
        let [found] = found[..] else { panic!("{id}: {} rows", found.len()) };
        let number = |name: &str| found[at(name)].parse::<f64>().unwrap();
        let mut values = Vec::new();
        for (r, c) in (row..row + n_rows).flat_map(|r| (col..col + n_cols).map(move |c| (r, c))) {
            let i = r * COLS + c;
            fill += u64::from(in_gap(r, c, "QA_PIXEL"));
            let measured = !in_gap(r, c, "QA_PIXEL") && !in_gap(r, c, "B4") && red[i] != 0 && nir[i] != 0;
            // Fill, dilated cloud, cirrus, cloud, shadow, snow.
            if measured && quality[i] & 0b11_1111 == 0 {
                let [red, nir] = [red[i], nir[i]].map(|dn| f64::from(dn) * 0.000_027_5 - 0.2);
                values.push((nir - red) / (nir + red));
            }
        }
        let (all, clear) = ((n_rows * n_cols) as f64, values.len() as f64);
        assert!((number("pixels") - all).abs() < 1e-6, "{id}: {found:?}");
        assert!((number("clear_pixels") - clear).abs() < 1e-6, "{id}: expected {clear}, found {found:?}");
        assert!((number("clear_fraction") - clear / all).abs() < 1e-8, "{id}: {found:?}");
        let statistics = ["mean", "stddev", "min", "max", "p10", "p25", "median", "p75", "p90", "n_kish"];
        if values.is_empty() {
            assert_eq!(id, "all");
            assert!(statistics.iter().all(|s| found[at(s)] == "-"), "{found:?}");
        } else {
            let mean = values.iter().sum::<f64>() / clear;
            assert!((number("mean") - mean).abs() < 1e-7, "{id}: expected {mean}, found {found:?}");
            assert!(statistics.iter().all(|s| found[at(s)] != "-"), "{found:?}");
        }
        match id {
            "none" => assert_eq!(clear, all, "the test needs a clear parcel"),
            "all" => assert_eq!(clear, 0.0),
            _ => assert!(clear > 0.3 * all && clear < 0.95 * all, "{id}: {clear} of {all}"),
        }
    }
    // Every pixel in and out is accounted for, by the quality raster: what one band lacks beyond it is not clear in the
    // indices of that band, as counted above.
    let classes = &project.record()["scenes"][0]["pixels_by_class"];
    assert_eq!(classes["nodata"], fill, "{classes}");
    let all: u64 = blocks.iter().map(|(_, b)| (b.2 * b.3) as u64).sum();
    let sum: u64 = classes.as_object().unwrap().values().map(|v| v.as_u64().unwrap()).sum();
    assert_eq!(sum, all, "{classes}");
    let (_, series) = read_table(&project.out().join("tables/series.parquet"));
    assert!(series.iter().any(|r| r[0] == "none") && series.iter().all(|r| r[0] != "all"), "{series:?}");
}
