//! From the observations of one parcel to series, stocks and deltas. Pure: no files, no clock; a parcel that cannot be
//! assessed comes back with a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::Date;

use crate::carbon::biomass::{self, CoverEstimate, cover_at};
use crate::carbon::delta::{Basis, delta};
use crate::carbon::stock::stocks;
use crate::carbon::{Flag, ParameterSet};
use crate::config::{Options, Settings};
use crate::detect::Unjudged;
use crate::error::{Quarantine, Reason, Stage};
use crate::parcel::Parcel;
use crate::record::table::{DeltaRow, DisturbanceRow, ObservationRow, SeasonRow, SeriesRow, StockRow};
use crate::series::seasons::seasons;
use crate::series::{Observation, regular_series};
use crate::units::Hectares;

const METHOD: &str = "tier1_cover";

/// Everything that was found out about one parcel.
#[derive(Debug, Default)]
pub struct Assessment {
    /// Regular series of every index.
    pub series: Vec<SeriesRow>,
    /// Seasons of every index and year, where they were asked for.
    pub seasons: Vec<SeasonRow>,
    /// Stocks at the ends of the periods.
    pub stocks: Vec<StockRow>,
    /// Changes over the periods.
    pub deltas: Vec<DeltaRow>,
    /// What could not be assessed.
    pub quarantined: Vec<Quarantine>,
}

/// What a change method found in one parcel.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ParcelLosses {
    /// Share of the parcel that could be judged.
    pub judged_share: f64,
    /// Pixels that could not be judged, by reason.
    pub why: BTreeMap<Unjudged, usize>,
    /// Disturbances.
    pub rows: Vec<DisturbanceRow>,
    /// Pixels of each, as positions in `pixel_ha`.
    pub members: Vec<Vec<usize>>,
    /// Hectares of each pixel of the parcel that lie within it.
    pub pixel_ha: Vec<f64>,
}

impl ParcelLosses {
    /// Area of the losses whose first clear date after (`date_upper`) passes, hectares: a pixel that was lost twice counts
    /// once, a gain not at all. Of nothing it is 0, not the -0 of a float sum.
    pub fn lost_ha(&self, counts: impl Fn(Date) -> bool) -> f64 {
        let losses =
            self.rows.iter().zip(&self.members).filter(|(row, _)| row.magnitude < 0.0 && counts(row.date_upper));
        let pixels: BTreeSet<usize> = losses.flat_map(|(_, members)| members.iter().copied()).collect();
        pixels.into_iter().filter_map(|p| self.pixel_ha.get(p)).fold(0.0, |sum, ha| sum + ha)
    }
}

/// What each method found in one parcel, by its name.
pub type ParcelChanges = BTreeMap<&'static str, ParcelLosses>;

/// What counts for areas: the first configured method, where it could judge enough of the parcel.
pub fn settled<'a>(changes: &'a ParcelChanges, options: &Options) -> Option<&'a ParcelLosses> {
    let first = options.change.methods().into_iter().next()?;
    changes.get(first.name()).filter(|l| l.judged_share >= options.observe.min_clear_fraction)
}

/// Why a method's word on a parcel does not count, if it does not.
fn too_little_judged(method: &str, found: Option<&ParcelLosses>, least: f64) -> Option<String> {
    let Some(found) = found else {
        return Some(format!(
            "{method}: found no scene that shows the parcel and has what the method reads, expected scenes throughout its \
             period; add scenes"
        ));
    };
    if found.judged_share >= least {
        return None;
    }
    let why: Vec<String> = found.why.iter().map(|(reason, n)| format!("{n} pixels: {reason}")).collect();
    Some(format!(
        "{method}: found {:.1} % of the parcel that could be judged ({}), expected at least {:.1} % ([observe] \
         min_clear_fraction); add scenes, or change the method's period",
        100.0 * found.judged_share,
        why.join("; "),
        100.0 * least
    ))
}

/// Assesses one parcel. `rows` are its observations in table order; `changes` what the change methods found, `None` when
/// none ran.
pub fn assess(
    parcel: &Parcel,
    rows: &[ObservationRow],
    changes: Option<&ParcelChanges>,
    settings: &Settings,
) -> Assessment {
    let options = &settings.options;
    let mut by_index: BTreeMap<&Arc<str>, Vec<Observation>> = BTreeMap::new();
    for row in rows {
        let observation = Observation {
            date: date_of_ms(row.acquired_ms),
            mean: row.stats.as_ref().map_or(f64::NAN, |s| s.mean),
            clear_fraction: row.seen_share(),
        };
        if observation.is_usable() && observation.clear_fraction >= options.observe.min_clear_fraction {
            by_index.entry(&row.index).or_default().push(observation);
        }
    }
    let mut out = Assessment::default();
    let parcel_id: Arc<str> = parcel.id.as_str().into();
    for (index, observations) in &by_index {
        let series = regular_series(observations, options.scenes.start, &options.series);
        if let Some(params) = &options.series.seasons {
            let of_years = seasons(&series.points, options.series.step_days.into(), params);
            out.seasons.extend(of_years.into_iter().map(|season| SeasonRow {
                parcel_id: parcel_id.clone(),
                index: (*index).clone(),
                season,
            }));
        }
        out.series.extend(series.points.into_iter().map(|point| SeriesRow {
            parcel_id: parcel_id.clone(),
            index: (*index).clone(),
            point,
            lambda: series.lambda,
        }));
    }
    // What could not be judged is no loss of 0 hectares.
    for method in changes.iter().flat_map(|_| options.change.methods()) {
        let found = changes.and_then(|c| c.get(method.name()));
        if let Some(message) = too_little_judged(method.name(), found, options.observe.min_clear_fraction) {
            out.quarantined.push(Quarantine::parcel(&parcel.id, Stage::Account, Reason::NoClearObservation, message));
        }
    }
    let losses = changes.and_then(|c| settled(c, options));
    if let (Some(tier1), Some(parameters)) = (&options.biomass.tier1_cover, &settings.parameters) {
        let none = Vec::new();
        let observations = by_index.iter().find(|(i, _)| i.as_ref() == tier1.index.as_str()).map_or(&none, |(_, o)| o);
        carbon(parcel, &parcel_id, observations, losses, tier1, parameters, settings, &mut out);
    }
    out
}

#[expect(clippy::too_many_arguments, reason = "one call, all of it borrowed context")]
fn carbon(
    parcel: &Parcel,
    parcel_id: &Arc<str>,
    observations: &[Observation],
    losses: Option<&ParcelLosses>,
    tier1: &biomass::Tier1Cover,
    parameters: &ParameterSet,
    settings: &Settings,
    out: &mut Assessment,
) {
    let options = &settings.options;
    let aside = |reason, message: String| Quarantine::parcel(&parcel.id, Stage::Account, reason, message);
    let named = parcel.attributes.get("forest_type").or(tier1.forest_type.as_ref());
    let Some(named) = named else {
        let message = "attribute forest_type: found nothing, expected a forest type; map the layer's field under [parcels] \
                       attributes, or give `forest_type` under [biomass.tier1_cover]";
        out.quarantined.push(aside(Reason::OutOfModelDomain, message.into()));
        return;
    };
    let found = parameters
        .forest_type(named, tier1.ecological_zone.as_deref())
        .and_then(|(id, forest_type)| Ok((id, parameters.factors(forest_type)?)));
    let (type_id, factors) = match found {
        Ok(found) => found,
        Err(e) => {
            out.quarantined.push(aside(Reason::OutOfModelDomain, format!("attribute forest_type: {e}")));
            return;
        }
    };
    let area = match Hectares::new(parcel.area_ha) {
        Ok(area) => area,
        Err(e) => {
            out.quarantined.push(aside(Reason::InvalidGeometry, e.to_string()));
            return;
        }
    };
    let pools = &options.carbon.pools;
    let flags = biomass::method_flags(parameters);
    let set = format!("{} {} sha256:{}", parameters.name(), parameters.version(), &parameters.sha256()[..16]);

    let epochs: BTreeSet<Date> = options.account.periods.iter().flatten().copied().collect();
    let mut covers: BTreeMap<Date, CoverEstimate> = BTreeMap::new();
    for epoch in epochs {
        match cover_at(epoch, observations, tier1) {
            Ok(cover) => {
                covers.insert(epoch, cover);
            }
            Err(e) => {
                let message = format!(
                    "epoch {epoch}: {e}; observations count from a clear share of {} on ([observe] min_clear_fraction)",
                    options.observe.min_clear_fraction
                );
                out.quarantined.push(aside(Reason::NoClearObservation, message));
            }
        }
    }
    for (epoch, cover) in &covers {
        match stocks(area, cover.cover, &factors, pools) {
            Ok(rows) => {
                let mut remarks: Vec<Flag> = flags.iter().chain(&cover.flags).copied().collect();
                remarks.sort();
                remarks.dedup();
                out.stocks.extend(rows.into_iter().map(|stock| StockRow {
                    parcel_id: parcel_id.clone(),
                    epoch: *epoch,
                    method: METHOD,
                    model_id: format!("{}/{}/{type_id}", METHOD, parameters.name()),
                    area_ha: parcel.area_ha,
                    stock,
                    parameter_set: set.clone(),
                    status: biomass::STATUS.name(),
                    flags: remarks.iter().map(|f| f.name().to_owned()).collect(),
                }));
            }
            Err(e) => out.quarantined.push(aside(Reason::OutOfModelDomain, format!("epoch {epoch}: {e}"))),
        }
    }
    let mut periods = options.account.periods.clone();
    periods.sort();
    for [start, end] in periods {
        let (Some(first), Some(last)) = (covers.get(&start), covers.get(&end)) else { continue };
        let basis = Basis {
            area,
            factors: &factors,
            pools,
            status: biomass::STATUS,
            deduction: options.account.deduction,
            flags: &flags,
        };
        match delta((start, first), (end, last), &basis) {
            Ok(delta) => {
                // One date decides, so that the periods of a year add up to the year.
                let within = |seen: Date| seen > start && seen <= end;
                out.deltas.push(DeltaRow {
                    parcel_id: parcel_id.clone(),
                    kind: parcel.kind.map(crate::parcel::Kind::name),
                    delta,
                    disturbed_area_ha: losses.map(|l| l.lost_ha(within)),
                    parameter_set: set.clone(),
                    geometry: parcel.lon_lat.clone(),
                });
            }
            Err(e) => out.quarantined.push(aside(Reason::OutOfModelDomain, format!("period {start} to {end}: {e}"))),
        }
    }
    // Pools are rows of the key, so they stand in the table's order.
    out.stocks.sort_by(|a, b| (a.epoch, a.stock.pool.name()).cmp(&(b.epoch, b.stock.pool.name())));
}

/// UTC day of a time.
pub fn date_of_ms(ms: i64) -> Date {
    crate::units::date_of(i32::try_from(ms.div_euclid(86_400_000)).unwrap_or(i32::MAX))
}
