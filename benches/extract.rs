//! A whole run against its floor: the time it takes merely to decode the blocks that the run decodes, with the same GDAL and
//! the same number of threads. Scenes and parcels are written by a seeded generator into a temporary folder.
//!
//! `cargo bench --bench extract -- --dates 12 --size 2048 --parcels 300 --threads 0 --runs 3`

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::{Cost, Random, arguments, cost, median, peak_rss_mib, reset_peak, stars};
use gdal::DriverManager;
use gdal::raster::{Buffer, GdalType, RasterCreationOptions};
use gdal::spatial_ref::SpatialRef;
use geo::MultiPolygon;
use lintan::config::Settings;
use lintan::gdal_io::{self, Raster, Readable};
use lintan::geo::coverage::footprint;
use lintan::run::Behaviour;
use rayon::prelude::*;
use serde_json::json;

const CORNER: (f64, f64) = (399_960.0, 5_100_000.0);
const BANDS: [(&str, f64); 2] = [("B04", 1350.0), ("B08", 3800.0)];
const CLOUD: u16 = 9;
const VEGETATION: u16 = 4;
const BLOCK: usize = 512;

fn main() {
    let given = arguments([("dates", 12), ("size", 2048), ("parcels", 300), ("threads", 0), ("runs", 3)]);
    let (dates, size, parcels, runs) = (given["dates"], given["size"], given["parcels"], given["runs"].max(1));
    assert!(size > 0 && size.is_multiple_of(2), "the size must be even: the mask has pixels twice as large");
    let folder = tempfile::tempdir().expect("temporary folder");
    let root = folder.path();
    lintan::run::start();

    let side_m = 10.0 * size as f64;
    let polygons = stars(&mut Random::new(1), parcels, (0.5, 60.0), CORNER, side_m);
    write_parcels(&root.join("parcels.geojson"), &polygons);
    let scenes: Vec<PathBuf> = (0..dates).map(|date| root.join(format!("scenes/{date:04}"))).collect();
    let (_, written) = cost(|| scenes.par_iter().enumerate().for_each(|(date, at)| write_scene(at, date, size)));
    let settings = settings(root, given["threads"]);
    let threads = settings.threads();
    let blocks: Vec<Blocks> = scenes.par_iter().map(|scene| Blocks::of(scene, &polygons)).collect();
    let pixels: usize = blocks.iter().map(|b| b.footprint_pixels).sum();
    let decoded: usize = blocks.iter().map(|b| b.mask.len() + BANDS.len() * b.clear.len()).sum();
    println!(
        "{dates} dates of {size} x {size} pixels (written in {:.1} s), {parcels} parcels with {} pixels, {threads} threads; \
         the median of {runs} runs",
        written.wall_s,
        pixels / dates.max(1),
    );

    reset_peak();
    let mut costs: [Vec<Cost>; 4] = Default::default();
    let mut peak = f64::NAN;
    for _ in 0..runs {
        costs[0].push(cost(|| decode(&scenes, &blocks, 1)).1);
        costs[1].push(cost(|| decode(&scenes, &blocks, threads)).1);
        let _ = std::fs::remove_dir_all(&settings.out);
        costs[2].push(cost(|| run(&settings, dates, parcels, decoded)).1);
        peak = peak_rss_mib();
        costs[3].push(cost(|| run(&settings, dates, parcels, 0)).1);
    }

    println!("{:>28} {:>9} {:>9} {:>12} {:>16}", "", "wall s", "cpu s", "Mpixels/s", "parcel-scenes/s");
    let names = ["decoding, one thread", "decoding", "run", "run, nothing to do"];
    for (name, costs) in names.iter().zip(&costs) {
        let (wall, cpu) =
            (median(costs.iter().map(|c| c.wall_s).collect()), median(costs.iter().map(|c| c.cpu_s).collect()));
        let rates = match name.starts_with("run") {
            true => format!(" {:>12.2} {:>16.0}", 1e-6 * pixels as f64 / wall, (dates * parcels) as f64 / wall),
            false => String::new(),
        };
        println!("{name:>28} {wall:>9.3} {cpu:>9.2}{rates}");
    }
    let ratio =
        |of: fn(&Cost) -> f64| median(costs[2].iter().zip(&costs[1]).map(|(run, floor)| of(run) / of(floor)).collect());
    println!(
        "run / decoding: cpu {:.2}, wall {:.2}; {decoded} blocks decoded, {} spared; peak memory {peak:.0} MiB",
        ratio(|c| c.cpu_s),
        ratio(|c| c.wall_s),
        blocks.iter().map(|b| BANDS.len() * (b.touched - b.clear.len())).sum::<usize>(),
    );
    println!("(Mpixels: pixels of footprints, once a scene)");
}

/// A run from an empty or a full store.
fn run(settings: &Settings, dates: usize, parcels: usize, decoded: usize) {
    let cancel = AtomicBool::new(false);
    let behaviour = Behaviour { wait: false, cancel: &cancel, progress: &|_| () };
    let summary = lintan::run::run(settings, &behaviour).expect("the run succeeds");
    assert_eq!(summary.counts["observations"], (dates * parcels) as u64, "a row for each parcel and scene");
    assert_eq!(summary.counts["blocks_decoded"], decoded as u64, "the floor decodes the same blocks");
}

fn settings(root: &Path, threads: usize) -> Settings {
    let path = root.join("lintan.toml");
    let text = format!(
        "[project]\nname = \"bench\"\n[parcels]\npath = \"parcels.geojson\"\nid = \"parcel_id\"\n\
         [scenes]\npaths = [\"scenes\"]\n[observe]\nindices = [\"ndvi\"]\n[engine]\nthreads = {threads}\n"
    );
    std::fs::write(&path, text).expect("configuration");
    Settings::load(&path).expect("the configuration is right")
}

/// Blocks of one scene that have to be decoded, by (column, row).
struct Blocks {
    /// Of the mask.
    mask: BTreeSet<(usize, usize)>,
    /// Of a band: those with a clear pixel.
    clear: BTreeSet<(usize, usize)>,
    /// Blocks of a band that footprints touch.
    touched: usize,
    footprint_pixels: usize,
}

impl Blocks {
    fn of(scene: &Path, polygons: &[MultiPolygon<f64>]) -> Blocks {
        let mask = gdal::Dataset::open(scene.join("SCL.tif")).expect("mask");
        let grid = Raster::open(&scene.join("B04.tif")).expect("band").grid().clone();
        let width = mask.raster_size().0;
        let classes = mask.rasterband(1).expect("mask").read_band_as::<u16>().expect("mask");
        let classes = classes.data();
        let mut found = Blocks { mask: BTreeSet::new(), clear: BTreeSet::new(), touched: 0, footprint_pixels: 0 };
        let mut touched = BTreeSet::new();
        for polygon in polygons {
            let made = footprint(polygon, &grid).expect("stars are valid").expect("stars lie on the grid");
            found.footprint_pixels += made.pixels() as usize;
            for span in made.spans() {
                let row = span.row as usize;
                for col in span.col as usize..(span.col + span.len) as usize {
                    let block = (col / BLOCK, row / BLOCK);
                    touched.insert(block);
                    found.mask.insert((col / 2 / BLOCK, row / 2 / BLOCK));
                    if classes[row / 2 * width + col / 2] == VEGETATION {
                        found.clear.insert(block);
                    }
                }
            }
        }
        found.touched = touched.len();
        found
    }
}

/// The floor: every block that the run decodes, and nothing else.
fn decode(scenes: &[PathBuf], blocks: &[Blocks], threads: usize) {
    fn all<T: Readable>(path: &Path, blocks: &BTreeSet<(usize, usize)>) {
        let grid = Raster::open(path).expect("raster").grid().clone();
        let raster = gdal_io::Blocks::open(path).expect("raster");
        let mut buffer: Vec<T> = Vec::new();
        for (col, row) in blocks {
            let left = (grid.cols as usize - col * BLOCK, grid.rows as usize - row * BLOCK);
            raster.read((*col, *row), (left.0.min(BLOCK), left.1.min(BLOCK)), &mut buffer).expect("block");
            std::hint::black_box(&buffer);
        }
    }
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(scene), Some(blocks)) = (scenes.get(i), blocks.get(i)) else { return };
                    all::<u16>(&scene.join("SCL.tif"), &blocks.mask);
                    for (band, _) in BANDS.iter().filter(|_| !blocks.clear.is_empty()) {
                        all::<u16>(&scene.join(format!("{band}.tif")), &blocks.clear);
                    }
                }
            });
        }
    });
}

fn write_parcels(path: &Path, polygons: &[MultiPolygon<f64>]) {
    let ring = |ring: &geo::LineString<f64>| ring.0.iter().map(|c| [c.x, c.y]).collect::<Vec<_>>();
    let features: Vec<_> = polygons
        .iter()
        .enumerate()
        .map(|(i, polygon)| {
            let parts: Vec<Vec<_>> = polygon
                .iter()
                .map(|part| std::iter::once(part.exterior()).chain(part.interiors()).map(ring).collect())
                .collect();
            json!({
                "type": "Feature", "properties": { "parcel_id": format!("P{i:06}") },
                "geometry": { "type": "MultiPolygon", "coordinates": parts },
            })
        })
        .collect();
    let layer = json!({
        "type": "FeatureCollection", "crs": { "type": "name", "properties": { "name": "urn:ogc:def:crs:EPSG::32652" } },
        "features": features,
    });
    std::fs::write(path, layer.to_string()).expect("parcels");
}

/// Smooth noise: normal numbers on a coarse lattice, bilinear in between.
struct Field {
    lattice: Vec<f64>,
    across: usize,
    step: f64,
}

impl Field {
    fn new(random: &mut Random, size: usize, step: f64) -> Field {
        let across = (size as f64 / step) as usize + 3;
        Field { lattice: (0..across * across).map(|_| random.normal()).collect(), across, step }
    }

    fn at(&self, row: usize, col: usize) -> f64 {
        let (y, x) = (row as f64 / self.step, col as f64 / self.step);
        let (r, c) = (y as usize, x as usize);
        let (fy, fx) = (y - r as f64, x - c as f64);
        let line =
            |r: usize| self.lattice[r * self.across + c] * (1.0 - fx) + self.lattice[r * self.across + c + 1] * fx;
        line(r) * (1.0 - fy) + line(r + 1) * fy
    }
}

/// Two bands, scene classes and the item of one date. Between none and all of it is under cloud.
fn write_scene(folder: &Path, date: usize, size: usize) {
    std::fs::create_dir_all(folder).expect("scene folder");
    let mut random = Random::new(1000 + date as u64);
    let clouds = Field::new(&mut random, size, 140.0);
    let threshold = random.uniform(-2.5, 1.5);
    let cloudy = |row: usize, col: usize| clouds.at(row / 2 * 2, col / 2 * 2) > threshold;
    // The same ground on every date.
    let mut ground = Random::new(2);
    let (stands, texture) = (Field::new(&mut ground, size, 130.0), Field::new(&mut ground, size, 9.0));
    for (name, mean) in BANDS {
        let mut samples: Vec<u16> = Vec::with_capacity(size * size);
        for row in 0..size {
            for col in 0..size {
                let land =
                    mean * (1.0 + 0.15 * stands.at(row, col) + 0.06 * texture.at(row, col) + 0.03 * random.normal());
                let value = if cloudy(row, col) { 0.3 * land + 6000.0 } else { land };
                samples.push(value.clamp(1.0, 20_000.0) as u16);
            }
        }
        write_raster(&folder.join(format!("{name}.tif")), (size, 10.0), samples);
    }
    let half = size / 2;
    let classes = (0..half * half).map(|i| if cloudy(i / half * 2, i % half * 2) { CLOUD } else { VEGETATION } as u8);
    write_raster(&folder.join("SCL.tif"), (half, 20.0), classes.collect());

    let asset = |name: &str, size: usize, pixel_m: f64| {
        json!({
            "href": format!("{name}.tif"), "roles": ["data"],
            "proj:shape": [size, size], "proj:transform": [pixel_m, 0.0, CORNER.0, 0.0, -pixel_m, CORNER.1],
            "raster:bands": [{ "nodata": 0, "spatial_resolution": pixel_m, "scale": 0.0001, "offset": -0.1 }],
        })
    };
    let item = json!({
        "type": "Feature", "stac_version": "1.0.0", "id": format!("S2B_{date:04}"), "geometry": null,
        "properties": {
            "datetime": format!("{}-{:02}-{:02}T02:31:05Z", 2020 + date / 336, date / 28 % 12 + 1, date % 28 + 1),
            "platform": "sentinel-2b", "proj:code": "EPSG:32652", "s2:processing_baseline": "05.00",
        },
        "links": [],
        "assets": { "B04": asset("B04", size, 10.0), "B08": asset("B08", size, 10.0), "SCL": asset("SCL", half, 20.0) },
    });
    std::fs::write(folder.join("item.json"), item.to_string()).expect("item");
}

fn write_raster<T: GdalType + Copy>(path: &Path, (size, pixel_m): (usize, f64), samples: Vec<T>) {
    let (width, height) = (format!("BLOCKXSIZE={BLOCK}"), format!("BLOCKYSIZE={BLOCK}"));
    let options = ["TILED=YES", &width, &height, "COMPRESS=DEFLATE", "PREDICTOR=2"];
    let options = RasterCreationOptions::from_iter(options);
    let driver = DriverManager::get_driver_by_name("GTiff").expect("GTiff");
    let mut raster = driver.create_with_band_type_with_options::<T, _>(path, size, size, 1, &options).expect("raster");
    raster.set_geo_transform(&[CORNER.0, pixel_m, 0.0, CORNER.1, 0.0, -pixel_m]).expect("geotransform");
    raster.set_spatial_ref(&SpatialRef::from_epsg(32652).expect("EPSG")).expect("CRS");
    let mut band = raster.rasterband(1).expect("band");
    band.write((0, 0), (size, size), &mut Buffer::new((size, size), samples)).expect("samples");
}
