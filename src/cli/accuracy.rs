//! `lintan accuracy`.

use std::path::PathBuf;

use clap::Args;
use lintan::accuracy::sample::{self, Outside, Request, Sampled};
use lintan::accuracy::{ErrorMatrix, Estimates, estimate, matrix};
use lintan::config::Settings;
use lintan::error::{Error, Result};

use super::{Format, LogFormat, print_json, text};

/// What `accuracy` takes.
#[derive(Args)]
pub struct Arguments {
    /// Configuration of the run whose maps the reference points judge.
    #[arg(required_unless_present = "matrix", requires = "reference")]
    config: Option<PathBuf>,
    /// Reference points: CSV with lon and lat (or x, y and crs), GeoPackage or GeoJSON.
    #[arg(long, value_name = "FILE", requires = "config")]
    reference: Option<PathBuf>,
    /// Field with the reference class, `stable` or `disturbed`. A field `map_class` must agree with
    /// the map.
    #[arg(long, value_name = "NAME", default_value = "reference_class")]
    field: String,
    /// The map by its method, where the run has several: `bfast_monitor`.
    #[arg(long, value_name = "NAME", requires = "reference")]
    map: Option<String>,
    /// Output folder, in place of the configuration's [output] dir.
    #[arg(long, value_name = "DIR", requires = "reference")]
    out: Option<PathBuf>,
    /// A finished error matrix in place of points: CSV with map_class, a column of counts for each reference class,
    /// mapped_area_ha.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "reference"])]
    matrix: Option<PathBuf>,
    /// Format of the result on standard output.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Estimates and prints.
pub fn accuracy(arguments: &Arguments, log: LogFormat) -> Result<u8> {
    let (matrix, sampled) = match (&arguments.matrix, &arguments.config, &arguments.reference) {
        (Some(path), ..) => (matrix::read(path)?, None),
        (None, Some(config), Some(reference)) => {
            let mut settings = Settings::load(config)?;
            if let Some(out) = &arguments.out {
                settings.out.clone_from(out);
            }
            lintan::run::start();
            let maps = settings.out.join("maps");
            let map = arguments.map.as_deref();
            let request = Request { maps: &maps, map, reference, field: &arguments.field };
            let (matrix, sampled) = sample::read(&request)?;
            (matrix, Some(sampled))
        }
        // The parser lets no other combination through.
        _ => return Err(Error::Internal("neither a matrix nor a configuration with points".into())),
    };
    let estimates = estimate(&matrix);
    match arguments.format {
        Format::Json => {
            let internal = |e: serde_json::Error| Error::Internal(e.to_string());
            let mut value = serde_json::to_value(&estimates).map_err(internal)?;
            if let Some(object) = value.as_object_mut() {
                object.insert("matrix".into(), serde_json::to_value(&matrix).map_err(internal)?);
                object.insert("sample".into(), serde_json::to_value(&sampled).map_err(internal)?);
            }
            print_json(&value)?;
        }
        Format::Text => print(&matrix, &estimates, sampled.as_ref())?,
    }
    tell(&estimates, sampled.as_ref(), log);
    Ok(0)
}

fn print(matrix: &ErrorMatrix, e: &Estimates, sampled: Option<&Sampled>) -> Result<()> {
    if let Some(s) = sampled {
        text::line(&format!("map             {} on {}", s.map, s.grids.join(", ")))?;
        text::line(&format!("points          {} of {} lie on the map", s.used, s.points))?;
        text::line("")?;
    }
    let mut rows = vec![
        ["class", ">mapped ha", ">samples", ">area ha", ">user's accuracy", ">producer's accuracy"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let plus_minus = |value: Option<f64>, half: Option<f64>, digits: usize| match (value, half) {
        (Some(v), Some(h)) => format!("{v:.digits$} ± {h:.digits$}"),
        (Some(v), None) => format!("{v:.digits$} ± ?"),
        (None, _) => "-".to_owned(),
    };
    for c in &e.classes {
        rows.push(vec![
            c.class.clone(),
            format!("{:.2}", c.mapped_area_ha),
            c.map_samples.to_string(),
            plus_minus(Some(c.area_ha), c.area_ci95_ha, 2),
            plus_minus(c.users_accuracy, c.users_accuracy_ci95, 4),
            plus_minus(c.producers_accuracy, c.producers_accuracy_ci95, 4),
        ]);
    }
    text::table(&rows)?;
    text::line("")?;
    let overall = plus_minus(Some(e.overall_accuracy), e.overall_accuracy_ci95, 4);
    text::line(&format!("overall accuracy {overall} over {:.2} ha, {} samples", e.total_area_ha, e.samples))?;
    text::line("")?;
    let mut head = vec!["map class".to_owned()];
    head.extend(matrix.classes().iter().map(|c| format!(">{c}")));
    let mut rows = vec![head];
    for (class, counts) in matrix.classes().iter().zip(matrix.counts()) {
        rows.push(std::iter::once(class.clone()).chain(counts.iter().map(u64::to_string)).collect());
    }
    text::table(&rows)?;
    text::line("")?;
    text::line(
        "area: adjusted for the map's errors (Olofsson et al. 2014); ±: half of the 95 % interval, for a random sample within \
         each map class; ?: undefined; columns of the last table: class by the reference",
    )
}

fn swapped_note(points: usize) -> String {
    format!(
        "{points} of the points outside every map lie on one when their two coordinates are swapped: check lon and lat (or x and y)"
    )
}

/// Notes and points that do not count, on standard error.
fn tell(e: &Estimates, sampled: Option<&Sampled>, log: LogFormat) {
    const SHOWN: usize = 30;
    let left_out = sampled.map_or(&[][..], |s| &s.left_out);
    let swapped = sampled.map(|s| s.swapped).filter(|n| *n > 0);
    if log == LogFormat::Json {
        for note in &e.notes {
            eprintln!("{}", serde_json::json!({ "level": "WARN", "kind": "note", "message": note }));
        }
        if let Some(n) = swapped {
            eprintln!("{}", serde_json::json!({ "level": "WARN", "kind": "note", "message": swapped_note(n) }));
        }
        for l in left_out {
            let mut line = serde_json::to_value(l).unwrap_or_default();
            if let Some(object) = line.as_object_mut() {
                object.insert("level".into(), "WARN".into());
                object.insert("kind".into(), "left_out".into());
            }
            eprintln!("{line}");
        }
        return;
    }
    for note in &e.notes {
        eprintln!("note: {note}");
    }
    if let Some(n) = swapped {
        eprintln!("note: {}", swapped_note(n));
    }
    if !left_out.is_empty() {
        eprintln!("left out ({} of {} points):", left_out.len(), sampled.map_or(0, |s| s.points));
    }
    for l in left_out.iter().take(SHOWN) {
        let why = match l.reason {
            Outside::OutsideMaps => "outside every map",
            Outside::NotJudged => "the map judges nothing there: outside every parcel, or never clear enough",
        };
        eprintln!("  line or feature {} at {}, {}: {why}", l.point, l.x, l.y);
    }
    if left_out.len() > SHOWN {
        eprintln!("  ... and {} more; --format json lists all", left_out.len() - SHOWN);
    }
}
