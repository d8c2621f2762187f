//! One change method over a stack of pixels that is read from files, one thread: what `scripts/compare_change.py` sets beside
//! other programs. Prints a line of JSON: processor seconds, peak memory, pixels judged, breaks. With `--out` the breaks are
//! written, so that results can be compared, too.
//!
//! `cargo bench --bench change_stack -- --stack FOLDER --method ccdc --settings '{"bands": ["red", "nir"], "index": "ndvi"}'`
//!
//! The folder holds `stack.json`: `days` (since 1970-01-01), `side` (pixels of the square) and `layers`, by name the `file`, its
//! `type` (`f32`, missing NaN, or `i16`, missing -32768, in units of 1e-4). Files are little endian, time by row by column.
//! `--every 3` takes every third date, `--keep 2` with it two of three, `--row --col --side` a square within the stack, `--per-year 36`
//! gives bfast_monitor a time axis of so many equal steps a year in place of the calendar. `--block` is the number of pixels
//! judged at once, for methods that pool over a parcel the parcel.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{cost, peak_rss_mib, reset_peak};
use lintan::detect::harmonic::Axis;
use lintan::detect::{Judge, Method, PixelStack, bfast_monitor, ccdc, landtrendr, monitor, two_date};
use ndarray::Array3;
use serde_json::{Value, json};

/// Values of a pixel in the output: pixels that could not be judged have [`UNJUDGED`] in the first, what is left over is 0.
const COLUMNS: usize = 8;
const UNJUDGED: f64 = -1.0;
/// Pixels that are turned from time-major to pixel-major at once.
const TILE_PIXELS: usize = 16;
/// Hectares of a pixel of 10 m.
const HA_PER_PIXEL: f64 = 0.01;

enum Cells {
    Float(Vec<f32>),
    Small(Vec<i16>),
}

impl Cells {
    fn at(&self, i: usize) -> f64 {
        match self {
            Cells::Float(v) => f64::from(v[i]),
            Cells::Small(v) if v[i] == i16::MIN => f64::NAN,
            Cells::Small(v) => f64::from(v[i]) / 1e4,
        }
    }
}

/// The square that was asked for, of the layers that the method reads; time by pixel.
struct Stack {
    days: Vec<i32>,
    pixels: usize,
    layers: Vec<(String, Cells)>,
}

impl Stack {
    fn read(folder: &Path, names: &[String], number: &impl Fn(&str, usize) -> usize) -> Stack {
        let text = std::fs::read_to_string(folder.join("stack.json")).expect("stack.json in the folder of --stack");
        let head: Value = serde_json::from_str(&text).expect("stack.json is JSON");
        let all: Vec<i32> = serde_json::from_value(head["days"].clone()).expect("days in stack.json");
        let whole = head["side"].as_u64().expect("side in stack.json") as usize;
        let (side, row, col) = (number("side", whole), number("row", 0), number("col", 0));
        let (every, keep) = (number("every", 1).max(1), number("keep", 1));
        let chosen: Vec<usize> = (0..all.len()).filter(|t| t % every < keep).collect();
        let layer = |name: &String| {
            let entry = &head["layers"][name.as_str()];
            let file = entry["file"].as_str().unwrap_or_else(|| panic!("stack.json has no layer {name}"));
            let bytes = std::fs::read(folder.join(file)).expect(file);
            let cells = || {
                let starts = chosen.iter().flat_map(|t| (row..row + side).map(move |y| (t * whole + y) * whole + col));
                starts.flat_map(|start| start..start + side)
            };
            let cells = match entry["type"].as_str() {
                Some("f32") => {
                    let (values, _) = bytes.as_chunks::<4>();
                    Cells::Float(cells().map(|i| f32::from_le_bytes(values[i])).collect())
                }
                Some("i16") => {
                    let (values, _) = bytes.as_chunks::<2>();
                    Cells::Small(cells().map(|i| i16::from_le_bytes(values[i])).collect())
                }
                other => panic!("layer {name}: found type {other:?}, expected f32 or i16"),
            };
            (name.clone(), cells)
        };
        let days = chosen.iter().map(|t| all[*t]).collect();
        Stack { days, pixels: side * side, layers: names.iter().map(layer).collect() }
    }

    /// Pixels from one on, as the program has them: pixel by pixel.
    fn block(&self, from: usize, pixels: usize) -> PixelStack {
        let n = self.days.len();
        let mut values = vec![f64::NAN; self.layers.len() * pixels * n];
        for ((_, cells), layer) in self.layers.iter().zip(values.chunks_exact_mut(pixels * n)) {
            // A few pixels at once: whole cache lines are read, and few are written to.
            for (k, tile) in layer.chunks_mut(TILE_PIXELS * n).enumerate() {
                for t in 0..n {
                    let start = t * self.pixels + from + k * TILE_PIXELS;
                    (0..tile.len() / n).for_each(|i| tile[i * n + t] = cells.at(start + i));
                }
            }
        }
        PixelStack {
            days: self.days.clone(),
            layers: self.layers.iter().map(|(name, _)| name.clone()).collect(),
            values: Array3::from_shape_vec((self.layers.len(), pixels, n), values).expect("shape"),
            first_look: 0,
            area_ha: HA_PER_PIXEL * pixels as f64,
        }
    }
}

fn method(name: &str, settings: &str) -> Method {
    fn of<P: serde::de::DeserializeOwned>(settings: &str) -> P {
        serde_json::from_str(settings).unwrap_or_else(|e| panic!("--settings: {e}"))
    }
    match name {
        "bfast_monitor" => Method::BfastMonitor(of::<bfast_monitor::Params>(settings)),
        "ccdc" => Method::Ccdc(of::<ccdc::Params>(settings)),
        "landtrendr" => Method::Landtrendr(of::<landtrendr::Params>(settings)),
        "monitor" => Method::Monitor(of::<monitor::Params>(settings)),
        "two_date" => Method::TwoDate(of::<two_date::Params>(settings)),
        other => panic!("found --method {other}, expected one of {:?}", Method::NAMES),
    }
}

/// The method for these days; bfast_monitor on steps of equal length where that was asked for.
fn judge(method: &Method, days: &[i32], per_year: usize) -> Judge {
    let Method::BfastMonitor(params) = method else { return method.prepare(days).expect("settings") };
    if per_year == 0 {
        return method.prepare(days).expect("settings");
    }
    let start = (params.monitor_start - jiff::civil::date(1970, 1, 1)).get_days();
    let axis = Axis::regular((0..days.len() as i64).collect(), per_year as u32);
    let from = days.partition_point(|d| *d < start) as i64;
    Judge::BfastMonitor(bfast_monitor::Model::on_axis(params, &axis, days, None, from).expect("settings"))
}

fn main() {
    let given: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let options: BTreeMap<&str, &str> =
        given.chunks_exact(2).filter_map(|p| Some((p[0].strip_prefix("--")?, p[1].as_str()))).collect();
    let Some(folder) = options.get("stack") else {
        println!("not measured: no --stack FOLDER; scripts/compare_change.py makes one and runs this on it");
        return;
    };
    let number = |name: &str, default: usize| options.get(name).map_or(default, |v| v.parse().expect("a number"));
    let method = method(options.get("method").copied().unwrap_or("monitor"), options.get("settings").unwrap_or(&"{}"));
    if let Err((field, found, expected)) = method.validate() {
        panic!("--settings {field}: found {found}, expected {expected}");
    }
    let names: Vec<String> = method.wants().iter().map(|w| w.name()).collect();
    let stack = Stack::read(Path::new(folder), &names, &number);
    let size = number("block", 1 << 14).max(1);
    reset_peak();
    let before = peak_rss_mib();
    let (verdicts, spent) = cost(|| {
        let judge = judge(&method, &stack.days, number("per-year", 0));
        let starts = (0..stack.pixels).step_by(size);
        let blocks = starts.map(|from| stack.block(from, size.min(stack.pixels - from)));
        blocks.flat_map(|block| judge.pixels(&block, 0, &[]).expect("no states were given").0).collect::<Vec<_>>()
    });
    if let Some(out) = options.get("out") {
        let mut table = vec![0.0; COLUMNS * stack.pixels];
        for (row, verdict) in table.chunks_exact_mut(COLUMNS).zip(&verdicts) {
            row.iter_mut().zip(&verdict.breaks).for_each(|(cell, b)| *cell = b.break_day);
            if verdict.unjudged.is_some() {
                row[0] = UNJUDGED;
            }
            if let Method::BfastMonitor(_) = method {
                row[1] = verdict.magnitude;
            }
        }
        let bytes: Vec<u8> = table.iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(out, bytes).expect("a place for --out");
    }
    let line = json!({
        "cpu_s": spent.cpu_s,
        "wall_s": spent.wall_s,
        "peak_rss_mb": peak_rss_mib() * 1.048_576,
        "input_rss_mb": before * 1.048_576,
        "pixels": stack.pixels,
        "dates": stack.days.len(),
        "judged": verdicts.iter().filter(|v| v.unjudged.is_none()).count(),
        "breaks": verdicts.iter().map(|v| v.breaks.len()).sum::<usize>(),
    });
    println!("{line}");
}
