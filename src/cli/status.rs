//! `lintan status`.

use std::sync::atomic::AtomicBool;

use lintan::error::{Quarantine, Result, Stage, Subject};
use lintan::run::look;

use super::progress::Bars;
use super::{Common, Format, LogFormat, check, list_quarantined, print_json, text};

/// Shows what is done, pending and quarantined.
pub fn status(common: &Common, log: LogFormat, bars: &Bars, cancel: &AtomicBool) -> Result<u8> {
    let settings = common.settings()?;
    let plan = look(&settings, &|e| bars.event(e), cancel)?;
    let last: Option<serde_json::Value> =
        std::fs::read(settings.out.join("run.json")).ok().and_then(|b| serde_json::from_slice(&b).ok());
    // What only decoding and assessing can tell is known from the last run.
    let mut quarantined = plan.quarantined.clone();
    let before = last.as_ref().and_then(|l| serde_json::from_value::<Vec<Quarantine>>(l["quarantined"].clone()).ok());
    if let Some(before) = before {
        let later = |q: &Quarantine| match q.stage {
            Stage::Account => true,
            Stage::Extract => q.subject == Subject::Scene,
            Stage::Catalog | Stage::Parcels => false,
        };
        quarantined.extend(before.into_iter().filter(later));
        quarantined.sort();
        quarantined.dedup();
    }
    let pending: Vec<&str> = plan.tasks.iter().map(|t| plan.scenes[t.scene].scene.id.as_str()).collect();
    match common.format {
        Format::Json => {
            let mut value = check::facts(&plan);
            if let Some(object) = value.as_object_mut() {
                object.insert("pending".into(), serde_json::json!(pending));
                object.insert("quarantined".into(), serde_json::json!(quarantined));
                object.insert("last_run".into(), last.map_or(serde_json::Value::Null, |l| {
                    serde_json::json!({ "run_id": l["run_id"], "finished_at": l["finished_at"], "counts": l["counts"], "tables": l["tables"] })
                }));
            }
            print_json(&value)?;
        }
        Format::Text => {
            text::line(&format!("output folder   {}", text::path(&settings.out)))?;
            match &last {
                Some(l) => text::line(&format!(
                    "last run        {}, ended {}",
                    l["run_id"].as_str().unwrap_or("?"),
                    l["finished_at"].as_str().unwrap_or("?")
                ))?,
                None => text::line("last run        none yet")?,
            }
            check::describe(&plan)?;
            for id in pending.iter().take(10) {
                text::line(&format!("pending         {id}"))?;
            }
            if pending.len() > 10 {
                text::line(&format!("pending         ... and {} more", pending.len() - 10))?;
            }
            text::line(&format!("quarantined     {}", quarantined.len()))?;
        }
    }
    list_quarantined(&quarantined, "status --format json", log);
    Ok(if quarantined.is_empty() { 0 } else { 3 })
}
