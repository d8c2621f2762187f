//! The command line: arguments in, exit code out. Results go to standard output, everything else to standard error.

mod accuracy;
mod calibrate;
mod check;
mod log;
mod progress;
mod report;
mod run;
mod status;
mod text;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Parser, Subcommand, ValueEnum};
use lintan::config::Settings;
use lintan::error::{Error, Quarantine, Reason, Stage, Subject};
use lintan::parcel::Note;

const AFTER: &str = "Exit codes: 0 done; 1 failed; 2 wrong usage, configuration or input; 3 done, but some scenes, parcels or indices \
                     were quarantined (they are listed with reasons).";

/// Forest carbon evidence per parcel from Sentinel-2 and Landsat.
#[derive(Parser)]
#[command(name = "lintan", version, about, long_about = None, after_help = AFTER, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Say only what went wrong.
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Say more; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Format of log lines and errors on standard error.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

/// Format of the log.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Format of results.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What every command takes.
#[derive(Args)]
struct Common {
    /// Configuration file (TOML); configs/example.toml explains the keys, and names the examples of the other methods.
    config: PathBuf,
    /// Output folder, in place of the configuration's [output] dir.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Worker threads, in place of the configuration's [engine] threads; 0 takes every core.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Format of the result on standard output.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Common {
    fn settings(&self) -> lintan::error::Result<Settings> {
        let mut settings = Settings::load(&self.config)?;
        if let Some(out) = &self.out {
            settings.out.clone_from(out);
        }
        if let Some(threads) = self.threads {
            settings.options.engine.threads = threads;
        }
        Ok(settings)
    }
}

/// How `run` behaves besides the configuration.
struct Manners {
    wait: bool,
    allow_quarantine: bool,
    log: LogFormat,
}

#[derive(Subcommand)]
enum Command {
    /// Validate configuration and inputs and print the work plan; write nothing.
    #[command(after_help = "Example:\n  lintan check configs/demo-romania.toml")]
    Check(Common),
    /// Do the work: scenes to parcel cube, observations, series, disturbances, stocks, deltas.
    #[command(
        after_help = "Examples:\n  lintan run configs/demo-romania.toml\n  lintan run project.toml --threads 8 --format json"
    )]
    Run {
        #[command(flatten)]
        common: Common,
        /// Wait for another run on the same output folder instead of refusing.
        #[arg(long)]
        wait: bool,
        /// Exit with 0 although scenes or parcels were quarantined.
        #[arg(long)]
        allow_quarantine: bool,
    },
    /// Show what is done, what is pending and what is quarantined, and why; write nothing.
    #[command(after_help = "Example:\n  lintan status configs/demo-romania.toml --format json")]
    Status(Common),
    /// Judge a map by a reference sample: areas adjusted for its errors, and its accuracy, with 95 % intervals.
    #[command(
        after_help = "Examples:\n  lintan accuracy project.toml --reference points.csv\n  lintan accuracy project.toml \
                      --reference points.gpkg --field truth --map bfast_monitor --format json\n  lintan accuracy --matrix \
                      matrix.csv\n\nA matrix:\n  map_class,disturbed,stable,mapped_area_ha\n  disturbed,44,6,180\n  \
                      stable,3,97,2820\n\nPoints:\n  lon,lat,reference_class\n  129.0012,42.5031,disturbed"
    )]
    Accuracy(accuracy::Arguments),
    /// Fit a biomass model to field plots, with cross-validated error; `run` reads the model file.
    #[command(
        after_help = "Examples:\n  lintan calibrate project.toml --plots plots.csv\n  lintan calibrate project.toml --plots \
                      plots.gpkg --layer plots --agb agb_t_ha --out models/larch.toml --format json\n\nPlots (aboveground \
                      biomass in t of dry matter a hectare):\n  plot_id,lon,lat,agb_t_per_ha,date\n  P001,129.0012,42.5031,\
                      118.4,2019-08-02\n\nConfiguration:\n  [biomass.index_model]\n  model = \"models/agb.toml\"\n  form = \
                      \"power\"\n  predictors = [\"ndvi\"]\n  season = [\"06-01\", \"09-15\"]"
    )]
    Calibrate(calibrate::Arguments),
    /// Sum up a finished run for people, in Chinese and English: one HTML file that needs no network and no script.
    #[command(
        after_help = "Examples:\n  lintan report configs/demo-romania.toml --out report.html\n  lintan report project.toml \
                      --from out/last-year --out last-year.html\n\nExit codes: 0 written; 1 the system refused; 2 wrong \
                      usage or configuration, no finished run, or tables that were changed after it."
    )]
    Report(report::Arguments),
}

/// Parses, runs, reports.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let bars = progress::Bars::new(cli.quiet, cli.log_format == LogFormat::Json);
    log::start(cli.quiet, cli.verbose, cli.log_format == LogFormat::Json, bars.clone());
    let cancel = Arc::new(AtomicBool::new(false));
    let asked = cancel.clone();
    let handler = ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::SeqCst) {
            // The second time somebody means it: files are atomic, so nothing breaks.
            std::process::exit(1);
        }
        eprintln!("stopping; finished work is kept (press Ctrl-C again to stop at once)");
    });
    if let Err(e) = handler {
        tracing::warn!("Ctrl-C will stop at once: {e}");
    }
    let result = match &cli.command {
        Command::Check(common) => check::check(common, cli.log_format, &bars, &cancel),
        Command::Run { common, wait, allow_quarantine } => run::run(
            common,
            Manners { wait: *wait, allow_quarantine: *allow_quarantine, log: cli.log_format },
            &bars,
            &cancel,
        ),
        Command::Status(common) => status::status(common, cli.log_format, &bars, &cancel),
        Command::Accuracy(arguments) => accuracy::accuracy(arguments, cli.log_format),
        Command::Calibrate(arguments) => calibrate::run(arguments, cli.log_format, &bars, &cancel),
        Command::Report(arguments) => report::report(arguments, cli.log_format),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            if let Error::NothingObserved { quarantined, .. } = &e {
                list_quarantined(quarantined, "--log-format json", cli.log_format);
            }
            tell(&e, cli.log_format == LogFormat::Json);
            ExitCode::from(e.exit_code())
        }
    }
}

/// Says what went wrong, and what to do.
fn tell(e: &Error, json: bool) {
    if json {
        let mut fields =
            serde_json::json!({ "level": "ERROR", "kind": e.kind(), "message": e.to_string(), "help": e.help() });
        if let (Error::Config(c), Some(object)) = (e, fields.as_object_mut()) {
            object.insert("file".into(), c.path.display().to_string().into());
            object.insert("line".into(), c.line.into());
            object.insert("field".into(), c.field.clone().into());
            object.insert("found".into(), c.found.clone().into());
            object.insert("expected".into(), c.expected.clone().into());
        }
        if let (Error::Input { path, what, found, expected, .. }, Some(object)) = (e, fields.as_object_mut()) {
            object.insert("file".into(), path.display().to_string().into());
            object.insert("field".into(), what.clone().into());
            object.insert("found".into(), found.clone().into());
            object.insert("expected".into(), expected.clone().into());
        }
        eprintln!("{fields}");
        return;
    }
    eprintln!("error: {e}");
    if let Some(help) = e.help() {
        eprintln!("  help: {help}");
    }
}

/// Lists what was set aside, on standard error. `all` says where the rest stands.
fn list_quarantined(quarantined: &[Quarantine], all: &str, format: LogFormat) {
    const SHOWN: usize = 30;
    const IDS_SHOWN: usize = 10;
    if format == LogFormat::Json {
        for q in quarantined {
            let mut line = serde_json::to_value(q).unwrap_or_default();
            if let Some(object) = line.as_object_mut() {
                object.insert("level".into(), "WARN".into());
                object.insert("kind".into(), "quarantined".into());
            }
            eprintln!("{line}");
        }
        return;
    }
    if quarantined.is_empty() {
        return;
    }
    eprintln!("quarantined ({}):", quarantined.len());
    // What is said alike of several is said once, where the first of them stands.
    let mut groups: Vec<Vec<&Quarantine>> = Vec::new();
    let mut at: HashMap<(Subject, Stage, Reason, &str, &str), usize> = HashMap::new();
    for q in quarantined {
        let said = (q.subject, q.stage, q.reason, q.message.as_str(), q.path.as_str());
        let i = *at.entry(said).or_insert(groups.len());
        match groups.get_mut(i) {
            Some(group) => group.push(q),
            None => groups.push(vec![q]),
        }
    }
    let (mut told, mut cut) = (0, false);
    for group in groups.iter().take(SHOWN) {
        let ids: Vec<&str> = group.iter().take(IDS_SHOWN).map(|q| q.id.as_str()).collect();
        let more = group.len() - ids.len();
        told += group.len();
        cut |= more > 0;
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let q = group[0];
        let (subject, stage, reason) = (q.subject.name(), q.stage.name(), q.reason.name());
        eprintln!("  {subject} {}{more} [{reason} at {stage}]: {}", ids.join(", "), q.message);
    }
    if told < quarantined.len() {
        eprintln!("  ... and {} more, all in {all}", quarantined.len() - told);
    } else if cut {
        eprintln!("  every one stands in {all}");
    }
}

/// Names what is to be known about the parcel layer and the scenes: a few notes of each topic. `all` says where the rest stands.
fn list_notes(notes: &[Note], all: &str, format: LogFormat) {
    const SHOWN: usize = 10;
    if format == LogFormat::Json {
        for note in notes {
            let mut line = serde_json::to_value(note).unwrap_or_default();
            if let Some(object) = line.as_object_mut() {
                object.insert("level".into(), "WARN".into());
                object.insert("kind".into(), "note".into());
            }
            eprintln!("{line}");
        }
        return;
    }
    for same in notes.chunk_by(|a, b| a.topic == b.topic) {
        for note in same.iter().take(SHOWN) {
            match note.parcels.as_slice() {
                [] => eprintln!("note: {}", note.message),
                ids => eprintln!("note: parcel {}: {}", ids.join(", "), note.message),
            }
        }
        if same.len() > SHOWN {
            eprintln!("note: ... and {} more of this kind, all in {all}", same.len() - SHOWN);
        }
    }
}

/// Prints a result as JSON.
fn print_json(value: &serde_json::Value) -> lintan::error::Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::Internal(e.to_string()))?;
    text::line(&text)
}
