//! `lintan report`.

use std::path::PathBuf;

use clap::Args;
use lintan::config::Settings;
use lintan::error::Result;
use lintan::report;

use super::{LogFormat, text};

/// What `report` takes.
#[derive(Args)]
pub struct Arguments {
    /// Configuration of the run.
    config: PathBuf,
    /// HTML file to write; `report.html` in the output folder when not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Output folder of the run, in place of the configuration's [output] dir.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
}

/// Writes the report and says where.
pub fn report(arguments: &Arguments, log: LogFormat) -> Result<u8> {
    let settings = Settings::load(&arguments.config)?;
    let folder = arguments.from.clone().unwrap_or_else(|| settings.out.clone());
    let to = arguments.out.clone().unwrap_or_else(|| folder.join("report.html"));
    let written = report::write(&folder, &arguments.config, &to)?;
    if written.config_sha256 != settings.science {
        let message =
            "the configuration has changed since this run, or the program has; the report tells of the run as it was";
        match log {
            LogFormat::Json => {
                eprintln!("{}", serde_json::json!({ "level": "WARN", "kind": "note", "message": message }));
            }
            LogFormat::Text => eprintln!("note: {message}"),
        }
    }
    text::line(&format!("report          {}", text::path(&to)))?;
    text::line(&format!("run             {}", written.run_id))?;
    text::line(&format!("size            {} kB", written.bytes.div_ceil(1000)))?;
    Ok(0)
}
