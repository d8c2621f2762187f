//! `lintan run`.

use std::sync::atomic::AtomicBool;

use lintan::error::Result;
use lintan::run::{Behaviour, Summary};

use super::progress::Bars;
use super::{Common, Format, Manners, list_notes, list_quarantined, print_json, text};

/// Does the work and prints what came of it.
pub fn run(common: &Common, manners: Manners, bars: &Bars, cancel: &AtomicBool) -> Result<u8> {
    let settings = common.settings()?;
    let progress = |e: lintan::engine::Event| bars.event(e);
    let behaviour = Behaviour { wait: manners.wait, cancel, progress: &progress };
    let summary = lintan::run::run(&settings, &behaviour)?;
    match common.format {
        Format::Json => print_json(&serde_json::to_value(&summary).unwrap_or_default())?,
        Format::Text => print(&summary, &settings.options.observe.indices[0])?,
    }
    list_notes(&summary.notes, "run.json", manners.log);
    list_quarantined(&summary.quarantined, "quarantine.parquet", manners.log);
    Ok(if summary.quarantined.is_empty() || manners.allow_quarantine { 0 } else { 3 })
}

fn print(s: &Summary, index: &str) -> Result<()> {
    let count = |name: &str| s.counts.get(name).copied().unwrap_or(0);
    text::line(&format!(
        "{} parcels, {} scenes ({} extracted now, {} raster blocks decoded, {} spared), {:.1} s",
        count("parcels"),
        count("scenes"),
        count("tasks"),
        count("blocks_decoded"),
        count("blocks_spared"),
        s.seconds
    ))?;
    text::line(&format!("results in {}", text::path(&s.out)))?;
    for t in &s.tables {
        text::line(&format!("  {:<44} {:>9} rows", t.path, t.rows))?;
    }
    for map in &s.maps {
        text::line(&format!("  {:<44} {:>9} pixels", map.path, map.rows))?;
    }
    if s.parcels.is_empty() {
        return Ok(());
    }
    text::line("")?;
    let mut rows = vec![
        [
            "parcel",
            "kind",
            ">area ha",
            ">scenes",
            ">clear",
            "last clear",
            &format!(">{index}"),
            ">lost ha",
            ">delta t CO2e",
            "use",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let dash = || "-".to_owned();
    let with_error = |(value, error): &(f64, f64)| format!("{value:.1} ± {error:.1}");
    for p in &s.parcels {
        rows.push(vec![
            p.parcel_id.clone(),
            p.kind.clone().unwrap_or_else(dash),
            format!("{:.2}", p.area_ha),
            p.scenes.to_string(),
            p.clear_scenes.to_string(),
            p.last_clear.as_ref().map_or_else(dash, |(day, _)| day.clone()),
            p.last_clear.as_ref().map_or_else(dash, |(_, mean)| format!("{mean:.3}")),
            p.disturbed_ha.map_or_else(dash, |(ha, se)| match se {
                Some(se) if ha > 0.0 => format!("{ha:.2} ± {:.2}", 1.645 * se),
                _ => format!("{ha:.2}"),
            }),
            p.delta_t_co2e.as_ref().map_or_else(dash, with_error),
            p.status.clone().unwrap_or_else(dash),
        ]);
    }
    text::table(&rows)?;
    let more = count("parcels").saturating_sub(s.parcels.len() as u64);
    if more > 0 {
        text::line(&format!("... and {more} more parcels in the tables"))?;
    }
    for (method, alarms) in &s.reference_alarms {
        text::line(&match alarms.rate_upper95() {
            Some(upper) => format!(
                "{method}: {} alarms at {} undisturbed reference parcels in {:.1} parcel years; false alarms at most {upper:.2} \
                 a parcel and year (95 %)",
                alarms.events, alarms.parcels, alarms.parcel_years
            ),
            None => format!("{method}: no parcel of kind reference, so the rate of false alarms here is not known"),
        })?;
    }
    text::line(
        "most disturbed first; ± is half of the 90 % interval; `lost` is by the first configured change method over all its time, \
         `delta` over the last of [account] periods; `-`: not computed",
    )
}
