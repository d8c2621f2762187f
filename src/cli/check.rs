//! `lintan check`.

use std::sync::atomic::AtomicBool;

use lintan::engine::plan::{GridPlan, Plan};
use lintan::error::Result;
use lintan::run::look;

use super::progress::Bars;
use super::{Common, Format, LogFormat, list_notes, list_quarantined, print_json, text};

/// Prints the effective configuration and the work plan.
pub fn check(common: &Common, log: LogFormat, bars: &Bars, cancel: &AtomicBool) -> Result<u8> {
    let settings = common.settings()?;
    let plan = look(&settings, &|e| bars.event(e), cancel)?;
    match common.format {
        Format::Json => {
            let configuration = serde_json::to_value(&settings.options).unwrap_or_default();
            let areas: Vec<_> = plan
                .parcels
                .parcels
                .iter()
                .map(|p| serde_json::json!({ "parcel_id": p.id, "area_ha": p.area_ha, "area_mu": p.area_ha * 15.0 }))
                .collect();
            print_json(&serde_json::json!({
                "configuration": configuration, "plan": facts(&plan), "parcels": areas, "notes": plan.notes,
            }))?;
        }
        Format::Text => {
            text::line("# effective configuration")?;
            text::line(settings.effective()?.trim_end())?;
            text::line("")?;
            text::line("# plan")?;
            text::line(&format!("output folder   {}", text::path(&settings.out)))?;
            describe(&plan)?;
        }
    }
    list_notes(&plan.notes, "check --format json", log);
    list_quarantined(&plan.quarantined, "check --format json", log);
    Ok(if plan.quarantined.is_empty() { 0 } else { 3 })
}

/// The plan in figures.
pub fn facts(plan: &Plan) -> serde_json::Value {
    let first = plan.scenes.first().map(|s| s.scene.date().to_string());
    let last = plan.scenes.last().map(|s| s.scene.date().to_string());
    let missing: std::collections::BTreeMap<&str, usize> =
        plan.scenes.iter().flat_map(|s| &s.layout.missing).fold(std::collections::BTreeMap::new(), |mut map, id| {
            *map.entry(id.as_str()).or_default() += 1;
            map
        });
    serde_json::json!({
        "features": plan.parcels.features,
        "parcels": plan.parcels.parcels.len(),
        "parcel_area_ha": plan.parcels.parcels.iter().map(|p| p.area_ha).sum::<f64>(),
        "scenes": plan.scenes.len(),
        "first_scene_on": first,
        "last_scene_on": last,
        "scenes_outside_dates": plan.outside_dates,
        "duplicates": plan.duplicates,
        "calendar": plan.calendar,
        "scenes_lacking_index": missing,
        "grids": plan.grids.iter().map(|(id, g)| serde_json::json!({
            "grid_id": id,
            "parcels": g.wanted.len(),
            "pixels": pixels(g),
        })).collect::<Vec<_>>(),
        "scenes_done": plan.scenes.len() - plan.tasks.len(),
        "scenes_pending": plan.tasks.len(),
        "quarantined": plan.quarantined,
    })
}

/// The plan in words.
pub fn describe(plan: &Plan) -> Result<()> {
    let area: f64 = plan.parcels.parcels.iter().map(|p| p.area_ha).sum();
    text::line(&format!(
        "parcels         {} of {} features, {area:.2} ha ({:.1} mu)",
        plan.parcels.parcels.len(),
        plan.parcels.features,
        area * 15.0
    ))?;
    let span = match (plan.scenes.first(), plan.scenes.last()) {
        (Some(a), Some(b)) => format!(", {} to {}", a.scene.date(), b.scene.date()),
        _ => String::new(),
    };
    text::line(&format!("scenes          {}{span}", plan.scenes.len()))?;
    if plan.outside_dates > 0 {
        text::line(&format!("outside dates   {}", plan.outside_dates))?;
    }
    for d in &plan.duplicates {
        text::line(&format!("duplicate       {} is used, {} is not ({})", d.kept, d.dropped, d.rule))?;
    }
    for track in plan.calendar.iter().filter(|t| !t.missing.is_empty()) {
        const SHOWN: usize = 5;
        let mut dates: Vec<String> = track.missing.iter().take(SHOWN).map(|d| d.to_string()).collect();
        if track.missing.len() > SHOWN {
            dates.push("...".into());
        }
        text::line(&format!(
            "no scene        {} of {} dates of {} over {} every {} days, {} to {}: {}",
            track.missing.len(),
            track.expected,
            track.sensor,
            track.tile,
            track.repeat_days,
            track.first,
            track.last,
            dates.join(", ")
        ))?;
    }
    let facts = facts(plan);
    if let Some(lacking) = facts["scenes_lacking_index"].as_object() {
        for (index, n) in lacking {
            text::line(&format!("without bands   {n} scenes cannot give {index}"))?;
        }
    }
    for (id, grid) in &plan.grids {
        let (parcels, pixels) = (grid.wanted.len(), pixels(grid));
        text::line(&format!("grid            {id}: {parcels} parcels, {pixels} pixels"))?;
    }
    text::line(&format!("to do           {} of {} scenes", plan.tasks.len(), plan.scenes.len()))
}

/// Pixels of the footprints of this run's parcels.
fn pixels(grid: &GridPlan) -> u64 {
    let parcels = grid.batches.iter().flat_map(|b| &b.parcels);
    parcels.filter(|p| grid.wanted.contains_key(&p.key)).map(|p| u64::from(p.footprint.pixels())).sum()
}
