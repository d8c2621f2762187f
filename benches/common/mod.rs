//! What the benchmarks share: seeded random parcels, clocks and counters of this process. The same seed gives the same data
//! on every machine.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::time::Instant;

use geo::{Coord, LineString, MultiPolygon, Polygon};

/// SplitMix64 (Steele, Lea and Flood 2014): small, and good enough for test data.
pub struct Random(u64);

impl Random {
    /// A generator; different seeds give unrelated streams.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [low, high).
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// About normal: mean 0, standard deviation 1.
    pub fn normal(&mut self) -> f64 {
        let (a, b) = (self.bits(), self.bits());
        let sum: u32 =
            [a, a >> 16, a >> 32, a >> 48, b, b >> 16, b >> 32, b >> 48].map(|v| v as u32 & 0xffff).iter().sum();
        (f64::from(sum) / 65536.0 - 4.0) / (8.0f64 / 12.0).sqrt()
    }
}

/// A star of about so many hectares around a point: a wavy outline, and in every tenth a hole.
pub fn star(random: &mut Random, centre: (f64, f64), hectares: f64) -> MultiPolygon<f64> {
    let radius = (hectares * 1e4 / TAU * 2.0).sqrt();
    let vertices = (radius / 12.0).clamp(12.0, 160.0) as usize;
    let waves: Vec<(f64, f64, f64)> =
        (2..7).map(f64::from).map(|k| (k, random.uniform(0.0, 0.35 / k), random.uniform(0.0, TAU))).collect();
    let mut ring = |share: f64, vertices: usize| -> LineString<f64> {
        let mut points: Vec<Coord<f64>> = (0..vertices)
            .map(|i| {
                let angle = TAU * (i as f64 + random.uniform(-0.3, 0.3)) / vertices as f64;
                let waves: f64 = waves.iter().map(|(k, height, phase)| height * (k * angle + phase).cos()).sum();
                let r = share * radius * (1.0 + waves + 0.03 * random.normal()).clamp(0.3, 2.0);
                Coord { x: centre.0 + r * angle.cos(), y: centre.1 + r * angle.sin() }
            })
            .collect();
        points.push(points[0]);
        LineString(points)
    };
    let outline = ring(1.0, vertices);
    let hole = ring(0.2, 12);
    let holes = if random.uniform(0.0, 1.0) < 0.1 { vec![hole] } else { Vec::new() };
    MultiPolygon(vec![Polygon::new(outline, holes)])
}

/// So many stars of `hectares` (log-uniform) within a square that starts at (`x`, `y`, the upper-left corner).
pub fn stars(
    random: &mut Random,
    n: usize,
    hectares: (f64, f64),
    (x, y): (f64, f64),
    side_m: f64,
) -> Vec<MultiPolygon<f64>> {
    (0..n)
        .map(|_| {
            let size = random.uniform(hectares.0.ln(), hectares.1.ln()).exp();
            let margin = (1.6 * (size * 1e4 / TAU * 2.0).sqrt()).min(side_m / 2.0);
            let mut place = || random.uniform(margin, side_m - margin);
            let (east, south) = (place(), place());
            star(random, (x + east, y - south), size)
        })
        .collect()
}

/// Vertices of a polygon, the closing ones not counted.
pub fn vertices(polygon: &MultiPolygon<f64>) -> usize {
    polygon.iter().map(|p| p.exterior().0.len() + p.interiors().iter().map(|r| r.0.len()).sum::<usize>()).sum::<usize>()
        - polygon.iter().map(|p| 1 + p.interiors().len()).sum::<usize>()
}

/// Seconds of wall clock and of processor time (all threads, user and system).
#[derive(Clone, Copy)]
pub struct Cost {
    /// Wall clock.
    pub wall_s: f64,
    /// Processor time.
    pub cpu_s: f64,
}

/// Does `work` and says what it cost. The system counts processor time in steps of 10 ms.
pub fn cost<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    let (clock, before) = (Instant::now(), cpu_seconds());
    let done = work();
    (done, Cost { wall_s: clock.elapsed().as_secs_f64(), cpu_s: cpu_seconds() - before })
}

/// Median seconds of `runs` calls, after one that is not counted.
pub fn median_seconds(runs: usize, mut work: impl FnMut()) -> f64 {
    work();
    let seconds = (0..runs.max(1)).map(|_| {
        let clock = Instant::now();
        work();
        clock.elapsed().as_secs_f64()
    });
    median(seconds.collect())
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Processor time of this process; NaN where `/proc` does not tell.
fn cpu_seconds() -> f64 {
    let ticks = || -> Option<f64> {
        let text = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The second field, the name, may hold blanks; it ends with the last parenthesis.
        let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
        let user: f64 = fields.next()?.parse().ok()?;
        let system: f64 = fields.next()?.parse().ok()?;
        Some(user + system)
    };
    // Linux shows ticks of 1/100 s to programs, whatever the kernel's own tick is.
    ticks().map_or(f64::NAN, |t| t / 100.0)
}

fn status_mib(key: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix(key)).unwrap_or_default();
    line.trim_start_matches(':')
        .split_whitespace()
        .next()
        .and_then(|kib| kib.parse::<f64>().ok())
        .map_or(f64::NAN, |kib| kib / 1024.0)
}

/// Highest resident memory since the start or the last [`reset_peak`], MiB.
pub fn peak_rss_mib() -> f64 {
    status_mib("VmHWM")
}

/// Forgets the highest resident memory, where the system allows that.
pub fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Numbers from the command line, `--name value`; names that are not listed end the program.
pub fn arguments<const N: usize>(defaults: [(&'static str, usize); N]) -> BTreeMap<&'static str, usize> {
    let mut values = BTreeMap::from(defaults);
    let given: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    for pair in given.chunks(2) {
        let known = defaults.iter().map(|(name, _)| *name).find(|name| pair[0].strip_prefix("--") == Some(name));
        match (known, pair.get(1).and_then(|v| v.parse().ok())) {
            (Some(name), Some(value)) => values.insert(name, value),
            _ => {
                let usage: Vec<String> = defaults.iter().map(|(name, value)| format!("[--{name} {value}]")).collect();
                eprintln!("found {}, expected {}", pair.join(" "), usage.join(" "));
                std::process::exit(2);
            }
        };
    }
    values
}
