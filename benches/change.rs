//! Change methods pixel by pixel on simulated series, one thread: cost per pixel at several lengths of the series, so that
//! growth that is not linear shows.
//!
//! `cargo bench --bench change -- --pixels 65536 --dates 180`

mod common;

use std::f64::consts::TAU;

use common::{Random, arguments, cost, peak_rss_mib};
use lintan::detect::bfast_monitor::{self, Process};
use lintan::detect::{ccdc, landtrendr};

/// First day of the series (2019-01-01), a date every ten days, and the day of the losses: two thirds through.
const FIRST_DAY: i32 = 17_897;
const STEP_DAYS: i32 = 10;

/// A method that says how many breaks it found in these pixels.
type Run = fn(&Series) -> usize;

/// A row of the table: name, run, and of how many pixels it takes one.
const METHODS: &[(&str, Run, usize)] = &[
    ("bfast-monitor", |series| bfast(series, Process::OlsMosum, 2), 1),
    ("bfast-monitor order 3", |series| bfast(series, Process::OlsMosum, 3), 1),
    ("bfast-monitor cusum", |series| bfast(series, Process::OlsCusum, 2), 1),
    ("ccdc, 2 bands", ccdc, CCDC_STEP),
    ("landtrendr", landtrendr, 1),
];

/// Values of an index through time, pixel by pixel; NaN where cloudy.
struct Series {
    days: Vec<i32>,
    values: Vec<f64>,
}

impl Series {
    /// Half of the values clear; a twentieth of the pixels loses forest two thirds through.
    fn simulate(pixels: usize, dates: usize) -> Series {
        let mut random = Random::new(1);
        let days: Vec<i32> = (0..dates).map(|i| FIRST_DAY + STEP_DAYS * i as i32).collect();
        let lost_from = days[2 * dates / 3];
        let mut values = Vec::with_capacity(pixels * dates);
        for _ in 0..pixels {
            let (mean, swing, phase) = (random.uniform(0.4, 0.8), random.uniform(0.02, 0.25), random.uniform(1.0, 1.6));
            let loss = if random.uniform(0.0, 1.0) < 0.05 { random.uniform(0.1, 0.4) } else { 0.0 };
            for day in &days {
                let season = mean + swing * (TAU * f64::from(*day) / 365.25 - phase).sin();
                let lost = if *day >= lost_from { loss } else { 0.0 };
                let clear = random.uniform(0.0, 1.0) < 0.5;
                values.push(if clear { season - lost + 0.03 * random.normal() } else { f64::NAN });
            }
        }
        Series { days, values }
    }

    fn pixels(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.days.len())
    }
}

/// Half of the series is history.
fn bfast(series: &Series, process: Process, order: usize) -> usize {
    let half = i64::from(series.days[series.days.len() / 2]);
    let start = jiff::civil::date(1970, 1, 1) + jiff::Span::new().days(half);
    let params = bfast_monitor::Params { order, process, ..bfast_monitor::Params::new("ndvi", start) };
    let model = bfast_monitor::Model::new(&params, &series.days).expect("settings");
    let (mut scratch, mut out, mut found) = (bfast_monitor::Scratch::default(), Vec::new(), 0);
    for pixel in series.pixels() {
        if model.detect(pixel, &mut scratch, &mut out).is_ok() {
            found += out.len();
        }
    }
    found
}

/// The series as red and near infrared with its index, so that both bands move with it.
fn ccdc(series: &Series) -> usize {
    let params = ccdc::Params {
        index: "ndvi".into(),
        bands: vec!["red".into(), "nir".into()],
        tmask_bands: Vec::new(),
        ..ccdc::Params::default()
    };
    let model = ccdc::Model::new(&params, &series.days).expect("settings");
    let (mut scratch, mut out, mut found) = (ccdc::Scratch::default(), Vec::new(), 0);
    let (mut red, mut nir) = (Vec::new(), Vec::new());
    // A pixel costs as much as some hundred of the others.
    for pixel in series.pixels().step_by(CCDC_STEP) {
        red.clear();
        red.extend(pixel.iter().map(|v| 0.3 * (1.0 - v) / 2.0));
        nir.clear();
        nir.extend(pixel.iter().map(|v| 0.3 * (1.0 + v) / 2.0));
        if model.detect(&[&red, &nir], &mut scratch, &mut out).is_ok() {
            found += out.len();
        }
    }
    found
}

/// Of a method that costs much one pixel in so many is taken, and the cost counted so many times.
const CCDC_STEP: usize = 16;

/// Yearly medians of the whole year; short series are judged all the same, to see the cost.
fn landtrendr(series: &Series) -> usize {
    let mut params = landtrendr::Params::new("ndvi", 0.1);
    params.min_observations_needed = 3;
    let Ok(model) = landtrendr::Model::new(&params, &series.days) else { return 0 };
    let (mut scratch, mut out, mut found) = (landtrendr::Scratch::default(), Vec::new(), 0);
    for pixel in series.pixels() {
        if model.detect(pixel, &[], &mut scratch, &mut out).is_ok() {
            found += out.len();
        }
    }
    found
}

fn main() {
    let given = arguments([("pixels", 65_536), ("dates", 180), ("runs", 3)]);
    let (pixels, dates, runs) = (given["pixels"], given["dates"].max(12), given["runs"].max(1));
    println!(
        "{:>24} {:>8} {:>7} {:>9} {:>10} {:>13} {:>9}",
        "", "pixels", "dates", "CPU s", "us/pixel", "ns/value", "breaks"
    );
    for (pixels, dates) in [(pixels, dates), (pixels / 2, dates), (pixels, dates / 2), (pixels, dates * 2)] {
        let series = Series::simulate(pixels, dates);
        for (name, run, step) in METHODS {
            let mut least = f64::INFINITY;
            let mut breaks = 0;
            for _ in 0..runs {
                let (found, spent) = cost(|| run(&series));
                (least, breaks) = (least.min(spent.cpu_s * *step as f64), found);
            }
            println!(
                "{name:>24} {pixels:>8} {dates:>7} {least:>9.2} {:>10.2} {:>13.1} {breaks:>9}",
                1e6 * least / pixels as f64,
                1e9 * least / (pixels * dates) as f64,
            );
        }
    }
    println!("peak memory {:.0} MiB", peak_rss_mib());
}
