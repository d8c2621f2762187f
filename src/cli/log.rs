//! Log lines on standard error, above the progress bar where there is one.

use std::io::{IsTerminal, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::progress::Bars;

/// Sets up the log.
pub fn start(quiet: bool, verbose: u8, json: bool, bars: Bars) {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (_, 0) => "lintan=warn",
        (_, 1) => "lintan=info",
        (_, _) => "lintan=debug",
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_writer(AboveBars(bars))
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    let result = if json { builder.json().flatten_event(true).try_init() } else { builder.without_time().try_init() };
    if let Err(e) = result {
        eprintln!("no log: {e}");
    }
}

struct AboveBars(Bars);

impl<'a> MakeWriter<'a> for AboveBars {
    type Writer = Line<'a>;
    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

struct Line<'a>(&'a Bars);

impl Write for Line<'_> {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.above(|| std::io::stderr().write(text))
    }
    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}
