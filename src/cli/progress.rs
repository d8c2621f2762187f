//! Progress: a bar with rate and time left when standard error is a terminal, spaced log lines when it is not.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use lintan::engine::Event;

/// Work shorter than this shows nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// First interval between log lines; it grows by half each time.
const INTERVAL: Duration = Duration::from_secs(5);

/// Shows progress. Cheap to clone.
#[derive(Clone)]
pub struct Bars {
    inner: Arc<Inner>,
}

struct Inner {
    mode: Mode,
    multi: MultiProgress,
    stage: Mutex<Option<Stage>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Bar,
    Lines,
    JsonLines,
    Silent,
}

struct Stage {
    name: String,
    unit: String,
    total: u64,
    done: u64,
    began: Instant,
    bar: Option<ProgressBar>,
    next_line: Duration,
    interval: Duration,
}

impl Bars {
    /// The fitting kind for this terminal.
    pub fn new(quiet: bool, json: bool) -> Self {
        let mode = match (quiet, json) {
            (true, _) => Mode::Silent,
            (_, true) => Mode::JsonLines,
            _ if std::io::stderr().is_terminal() => Mode::Bar,
            _ => Mode::Lines,
        };
        Bars { inner: Arc::new(Inner { mode, multi: MultiProgress::new(), stage: Mutex::new(None) }) }
    }

    /// Writes while the bar is out of the way.
    pub fn above<T>(&self, write: impl FnOnce() -> T) -> T {
        if self.inner.mode == Mode::Bar { self.inner.multi.suspend(write) } else { write() }
    }

    /// Takes an event.
    pub fn event(&self, event: Event) {
        let Ok(mut current) = self.inner.stage.lock() else { return };
        match event {
            Event::Begin(name, unit, total) => {
                *current = Some(Stage {
                    name: name.to_owned(),
                    unit: unit.to_owned(),
                    total,
                    done: 0,
                    began: Instant::now(),
                    bar: None,
                    next_line: INTERVAL,
                    interval: INTERVAL,
                });
            }
            Event::Advance(n) => {
                if let Some(stage) = current.as_mut() {
                    stage.done += n;
                    self.show(stage);
                }
            }
            Event::End => {
                let Some(stage) = current.take() else { return };
                if let Some(bar) = stage.bar {
                    bar.finish_and_clear();
                }
                if stage.began.elapsed() > PATIENCE && self.inner.mode != Mode::Silent {
                    self.say(&stage.name, stage.done, stage.total, &stage.unit, stage.began.elapsed(), true);
                }
            }
        }
    }

    fn show(&self, stage: &mut Stage) {
        let elapsed = stage.began.elapsed();
        match self.inner.mode {
            Mode::Silent => {}
            Mode::Bar => {
                if stage.bar.is_none() && elapsed > PATIENCE {
                    let bar = self.inner.multi.add(ProgressBar::new(stage.total));
                    let style = "{prefix} {wide_bar} {pos}/{len} {msg} ({per_sec}, {eta} left)";
                    bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
                    bar.set_prefix(stage.name.clone());
                    bar.set_message(stage.unit.clone());
                    bar.reset_eta();
                    stage.bar = Some(bar.with_elapsed(elapsed));
                }
                if let Some(bar) = &stage.bar {
                    bar.set_position(stage.done);
                }
            }
            Mode::Lines | Mode::JsonLines => {
                if elapsed >= stage.next_line {
                    stage.interval = stage.interval.mul_f64(1.5).min(Duration::from_secs(60));
                    stage.next_line = elapsed + stage.interval;
                    self.say(&stage.name, stage.done, stage.total, &stage.unit, elapsed, false);
                }
            }
        }
    }

    fn say(&self, name: &str, done: u64, total: u64, unit: &str, elapsed: Duration, end: bool) {
        let seconds = elapsed.as_secs_f64();
        let rate = done as f64 / seconds.max(1e-9);
        let left = if rate > 0.0 { total.saturating_sub(done) as f64 / rate } else { f64::INFINITY };
        if self.inner.mode == Mode::JsonLines {
            let line = serde_json::json!({
                "level": "INFO", "stage": name, "done": done, "total": total, "unit": unit,
                "seconds": seconds, "per_second": rate, "seconds_left": if left.is_finite() { Some(left) } else { None },
            });
            eprintln!("{line}");
        } else if end {
            self.above(|| eprintln!("{name}: {done} {unit} in {seconds:.1} s ({rate:.1}/s)"));
        } else {
            eprintln!("{name}: {done} of {total} {unit}, {rate:.1}/s, {left:.0} s left");
        }
    }
}
