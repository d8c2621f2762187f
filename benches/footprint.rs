//! Exact footprints of seeded parcels on a 10 m grid, on one thread, by size of the parcel.
//!
//! `cargo bench --bench footprint -- --parcels 2000 --runs 7`

mod common;

use common::{Random, arguments, median_seconds, peak_rss_mib, stars, vertices};
use lintan::geo::coverage::footprint;
use lintan::geo::crs::Crs;
use lintan::geo::grid::Grid;

fn main() {
    let given = arguments([("parcels", 2000), ("runs", 7)]);
    let (n, runs) = (given["parcels"], given["runs"]);
    let grid = Grid {
        crs: Crs("EPSG:32652".into()),
        x_min: 399_960.0,
        y_max: 5_100_000.0,
        pixel_x_m: 10.0,
        pixel_y_m: 10.0,
        rows: 10_980,
        cols: 10_980,
    };
    println!("footprints of {n} parcels in each class, median of {runs} runs, one thread");
    println!(
        "{:>10} {:>9} {:>9} {:>10} {:>10} {:>12} {:>12}",
        "ha", "vertices", "pixels", "partial", "us/parcel", "Mpixels/s", "Mvertices/s"
    );
    for (class, hectares) in [(0.5, 2.0), (2.0, 10.0), (10.0, 60.0), (0.5, 60.0)].into_iter().enumerate() {
        let mut random = Random::new(class as u64);
        let polygons = stars(&mut random, n, hectares, (grid.x_min, grid.y_max), 109_800.0);
        let corners: usize = polygons.iter().map(vertices).sum();
        let (mut pixels, mut partial) = (0u64, 0u64);
        let seconds = median_seconds(runs, || {
            (pixels, partial) = (0, 0);
            for polygon in &polygons {
                let made = footprint(polygon, &grid).expect("stars are valid").expect("stars lie on the grid");
                pixels += u64::from(made.pixels());
                partial += made.partial().len() as u64;
            }
        });
        println!(
            "{:>10} {:>9.1} {:>9.1} {:>9.1}% {:>10.2} {:>12.1} {:>12.2}",
            format!("{}-{}", hectares.0, hectares.1),
            corners as f64 / n as f64,
            pixels as f64 / n as f64,
            100.0 * partial as f64 / pixels as f64,
            1e6 * seconds / n as f64,
            1e-6 * pixels as f64 / seconds,
            1e-6 * corners as f64 / seconds
        );
    }
    println!("peak memory {:.0} MiB", peak_rss_mib());
}
