//! `lintan calibrate`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::Args;
use lintan::calibrate::plots::Fields;
use lintan::calibrate::{Outcome, Request, calibrate};
use lintan::carbon::index_model::Metrics;
use lintan::config::Settings;
use lintan::error::Result;
use lintan::run::Behaviour;

use super::progress::Bars;
use super::{Format, LogFormat, list_quarantined, print_json, text};

/// What `calibrate` takes.
#[derive(Args)]
pub struct Arguments {
    /// Configuration with [biomass.index_model]; its parcels are not needed.
    config: PathBuf,
    /// Field plots: CSV with lon and lat (or x and y with --crs), or a GeoPackage, GeoJSON or Shapefile of points or
    /// polygons.
    #[arg(long, value_name = "FILE")]
    plots: PathBuf,
    /// Layer of the plots, where the file has several.
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,
    /// Field of the plot's id; default: plot_id, plot, id, 样地号.
    #[arg(long, value_name = "NAME")]
    id: Option<String>,
    /// Field of the aboveground biomass in t of dry matter a hectare; default: agb_t_per_ha, agb, 地上生物量.
    #[arg(long, value_name = "NAME")]
    agb: Option<String>,
    /// Field of the date or year of the measurement; default: date, year, 调查日期, 调查年份.
    #[arg(long, value_name = "NAME")]
    date: Option<String>,
    /// Coordinate system of x and y in a CSV file, for example EPSG:4549.
    #[arg(long, value_name = "CRS")]
    crs: Option<String>,
    /// Model file, in place of the configured `model`. A picture, .svg, is written beside it.
    #[arg(long, value_name = "MODEL.toml")]
    out: Option<PathBuf>,
    /// Wait for another calibration on the same output folder instead of refusing.
    #[arg(long)]
    wait: bool,
    /// Worker threads, in place of the configuration's [engine] threads; 0 takes every core.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Format of the result on standard output.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Fits and prints.
pub fn run(arguments: &Arguments, log: LogFormat, bars: &Bars, cancel: &AtomicBool) -> Result<u8> {
    let mut settings = Settings::load(&arguments.config)?;
    if let Some(threads) = arguments.threads {
        settings.options.engine.threads = threads;
    }
    let request = Request {
        plots: &arguments.plots,
        fields: Fields {
            layer: arguments.layer.as_deref(),
            id: arguments.id.as_deref(),
            agb: arguments.agb.as_deref(),
            date: arguments.date.as_deref(),
            crs: arguments.crs.as_deref(),
        },
        model: arguments.out.as_deref(),
    };
    let progress = |e: lintan::engine::Event| bars.event(e);
    let outcome = calibrate(&settings, &request, &Behaviour { wait: arguments.wait, cancel, progress: &progress })?;
    match arguments.format {
        Format::Json => print_json(&serde_json::to_value(&outcome).unwrap_or_default())?,
        Format::Text => print(&outcome)?,
    }
    tell(&outcome, log);
    Ok(if outcome.refused.is_empty() && outcome.quarantined.is_empty() { 0 } else { 3 })
}

fn print(o: &Outcome) -> Result<()> {
    text::line(&format!("model    {} (sha256 {})", text::path(&o.model), &o.model_sha256[..16]))?;
    text::line(&format!("picture  {}", text::path(&o.picture)))?;
    text::line(&format!("plots    {} of {} used", o.used, o.plots))?;
    text::line("")?;
    text::line(&format!("{} of {}, residual variance of ln AGB {:.4}", o.form.name(), o.predictors.join(", "), o.s2))?;
    if let Some(l) = &o.linear {
        let error = |i: usize| l.covariance[i][i].max(0.0).sqrt();
        let terms = l.coefficients.iter().enumerate().map(|(i, b)| format!("b{i} {b:.5} ± {:.5}", error(i)));
        text::line(&terms.collect::<Vec<_>>().join("   "))?;
        text::line(&format!(
            "correction of the logarithm: Duan {:.5}   Baskerville {:.5}   Snowdon {:.5}   ({} counts)",
            l.duan,
            l.baskerville,
            l.snowdon,
            serde_json::to_value(l.correction).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
        ))?;
    }
    for r in &o.ranges {
        text::line(&format!("{} from {:.4} to {:.4}, 5 % {:.4}, 95 % {:.4}", r.predictor, r.min, r.max, r.p5, r.p95))?;
    }
    if let Some(v) = &o.variogram {
        let how = if v.pure_nugget { "not alike beyond" } else { "alike (5 %) up to" };
        text::line(&format!("residuals are {how} {:.0} m, by {} pairs of plots", 3.0 * v.range_m, v.pairs))?;
    }
    text::line("")?;
    let mut rows = vec![
        ["validation", ">folds", ">RMSE t/ha", ">RMSE %", ">bias t/ha", ">MAE t/ha", ">R2", ">TRE %", ">MPE %"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut row = |name: String, m: &Option<Metrics>| {
        if let Some(m) = m {
            rows.push(vec![
                name,
                m.folds.map_or_else(|| "-".to_owned(), |f| f.to_string()),
                format!("{:.2}", m.rmse_t_per_ha),
                format!("{:.1}", m.rmse_percent),
                format!("{:+.2}", m.bias_t_per_ha),
                format!("{:.2}", m.mae_t_per_ha),
                format!("{:.3}", m.r2),
                format!("{:+.2}", m.tre_percent),
                format!("{:.2}", m.mpe_percent),
            ]);
        }
    };
    let v = &o.validation;
    let side = v.spatial.as_ref().and_then(|m| m.block_m).unwrap_or_default();
    row(format!("blocks of {side:.0} m left out"), &v.spatial);
    row("plots at random left out".to_owned(), &v.random);
    row("plots fitted to".to_owned(), &v.fitted);
    text::table(&rows)?;
    text::line("")?;
    text::line("only the first row says what the model does where there is no plot; ±: standard error")?;
    text::line(
        "to use it: read the picture, then enter approved_by and approved_on in the model file, and `lintan run`",
    )
}

/// Notes and plots that were not used, on standard error.
fn tell(o: &Outcome, log: LogFormat) {
    const SHOWN: usize = 30;
    if log == LogFormat::Json {
        for note in &o.notes {
            eprintln!("{}", serde_json::json!({ "level": "WARN", "kind": "note", "message": note }));
        }
        for r in &o.refused {
            let mut line = serde_json::to_value(r).unwrap_or_default();
            if let Some(object) = line.as_object_mut() {
                object.insert("level".into(), "WARN".into());
                object.insert("kind".into(), "plot_refused".into());
            }
            eprintln!("{line}");
        }
    } else {
        for note in &o.notes {
            eprintln!("note: {note}");
        }
        if !o.refused.is_empty() {
            eprintln!("plots not used ({} of {}):", o.refused.len(), o.plots);
        }
        // Plots that share a fault, such as their id, share a message that names them all.
        let mut told = BTreeSet::new();
        let messages: Vec<_> = o.refused.iter().filter(|r| told.insert(&r.message)).collect();
        for r in messages.iter().take(SHOWN) {
            eprintln!("  [{}] {}", r.reason.name(), r.message);
        }
        if messages.len() > SHOWN {
            eprintln!("  ... and {} more; --format json lists all", messages.len() - SHOWN);
        }
    }
    list_quarantined(&o.quarantined, "the JSON result", log);
}
