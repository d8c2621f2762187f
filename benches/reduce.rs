//! From digital numbers in memory to the statistics of every parcel: mask, calibration, index, reduction; one thread.
//!
//! `cargo bench --bench reduce -- --parcels 500 --clear 70 --runs 7`

mod common;

use std::sync::Arc;

use common::{Random, arguments, median_seconds, peak_rss_mib, stars};
use lintan::cube::extract::observe;
use lintan::cube::layout::Source;
use lintan::cube::{Batch, BatchParcel, CubeLayer, Factors, Lighting, Pixels, Samples, View};
use lintan::digest::Sha256;
use lintan::gdal_io::SampleType;
use lintan::geo::{Crs, Grid, Lattice, lattice_footprint};
use lintan::imagery::mask::Class;
use lintan::imagery::{Band, Calibration, Layer};
use lintan::index::INDICES;

/// Bands with a plausible mean of their digital numbers over forest.
const BANDS: [(Band, f64); 6] = [
    (Band::Blue, 1300.0),
    (Band::Red, 1400.0),
    (Band::RedEdge1, 2000.0),
    (Band::Nir, 4000.0),
    (Band::Swir1, 2600.0),
    (Band::Swir2, 1800.0),
];

fn main() {
    let given = arguments([("parcels", 500), ("clear", 70), ("runs", 7)]);
    let (n, clear, runs) = (given["parcels"], given["clear"] as f64 / 100.0, given["runs"]);
    let mut random = Random::new(1);
    let view = view(&mut random, n);
    let pixels = pixels(&mut random, view.pixels(), clear);
    let total = view.pixels() as f64;
    println!(
        "{n} parcels, {total} pixels, {:.0} % of them clear, median of {runs} runs, one thread",
        100.0 * pixels.class.iter().filter(|c| **c == Class::Clear as u8).count() as f64 / total
    );
    println!("{:>14} {:>12} {:>14}", "", "Mpixels/s", "us/parcel");
    let print = |name: &str, pixels: &Pixels, indices: &[(String, Source)]| {
        let seconds = median_seconds(runs, || {
            let observed = observe(&view, pixels, indices, 1);
            assert_eq!(observed.len(), n * indices.len(), "a row for each parcel and index");
        });
        let each = seconds / indices.len() as f64;
        println!("{name:>14} {:>12.1} {:>14.2}", 1e-6 * total / each, 1e6 * each / n as f64);
    };
    let mut all = Vec::new();
    for spec in INDICES {
        let position = |band: &Band| BANDS.iter().position(|(b, _)| b == band).expect("every band is there");
        let layers: Vec<usize> = spec.bands.iter().map(position).collect();
        // Every layer that is there is calibrated, so an index by itself gets only its own.
        let own = Pixels {
            class: pixels.class.clone(),
            layers: layers.iter().map(|l| pixels.layers[*l].clone()).collect(),
            factors: pixels.factors.clone(),
            lighting: Lighting::default(),
        };
        print(spec.id, &own, &[(spec.id.to_owned(), Source::Computed(spec, (0..layers.len()).collect()))]);
        all.push((spec.id.to_owned(), Source::Computed(spec, layers)));
    }
    print("all, each", &pixels, &all);
    println!("peak memory {:.0} MiB", peak_rss_mib());
}

/// Parcels of one Sentinel-2 tile.
fn view(random: &mut Random, n: usize) -> View {
    let grid = Grid {
        crs: Crs("EPSG:32652".into()),
        x_min: 399_960.0,
        y_max: 5_100_000.0,
        pixel_x_m: 10.0,
        pixel_y_m: 10.0,
        rows: 10_980,
        cols: 10_980,
    };
    let polygons = stars(random, n, (0.5, 60.0), (grid.x_min, grid.y_max), 109_800.0);
    let lattice = Lattice::of(&grid);
    let parcels = polygons.iter().enumerate().map(|(i, polygon)| {
        let footprint = lattice_footprint(polygon, &lattice).expect("stars are valid").expect("stars have pixels");
        BatchParcel::new(format!("P{i:06}"), Sha256::of(&i.to_le_bytes()), footprint)
    });
    View::new(
        &Arc::new(Batch::new(parcels.collect())),
        &lattice.window(&grid).expect("a tile is on its lattice"),
        |_| true,
    )
}

/// Runs of clear and of cloudy pixels, as clouds make them; digital numbers with noise, a few of them nodata.
fn pixels(random: &mut Random, n: usize, clear: f64) -> Pixels {
    let mut class = Vec::with_capacity(n);
    while class.len() < n {
        let value = if random.uniform(0.0, 1.0) < clear { Class::Clear } else { Class::Cloud };
        let run = random.uniform(20.0, 2000.0) as usize;
        class.resize((class.len() + run).min(n), value as u8);
    }
    let layers = BANDS.map(|(band, mean)| {
        let layer = CubeLayer {
            name: Layer::Band(band).name(),
            asset: Layer::Band(band).name(),
            sample: SampleType::U16,
            calibration: Calibration { pre: -1000.0, scale: 1e-4, post: 0.0 },
            invalid_dn: vec![0.0, 65535.0],
        };
        let samples = (0..n).map(|_| {
            let valid = random.uniform(0.0, 1.0) > 0.001;
            if valid { (mean + 0.08 * mean * random.normal()) as u16 } else { 0 }
        });
        (layer, Samples::U16(samples.collect()))
    });
    Pixels { class, layers: layers.into(), factors: Factors::default(), lighting: Lighting::default() }
}
