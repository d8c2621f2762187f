//! From the observations of one parcel to series, stocks and deltas. Pure: no files, no clock; a parcel that cannot be
//! assessed comes back with a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use geo::Centroid;
use jiff::civil::Date;

use crate::carbon::chain::{Evidence, Factor, PARCEL_PREFIX, Part};
use crate::carbon::delta::{Controlled, Delta, ReferenceChange, controlled, deltas};
use crate::carbon::index_model::{Model, Prediction};
use crate::carbon::monte_carlo::{MonteCarlo, Simulated, Tonnes};
use crate::carbon::stock::stocks;
use crate::carbon::{Flag, ParameterSet, agb_map, index_model, inventory, tier1_cover};
use crate::config::{BiomassMethod, Options, Settings};
use crate::detect::control::comparable;
use crate::detect::{Method, Unjudged};
use crate::error::{Quarantine, Reason, Stage};
use crate::geo::area::geodesic_perimeter_m;
use crate::parcel::Parcel;
use crate::record::table::{DeltaRow, DisturbanceRow, ObservationRow, SeasonRow, SeriesRow, StockRow};
use crate::series::seasons::seasons;
use crate::series::{Observation, regular_series};
use crate::units::{Estimate, Hectares, M2_PER_HA};

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
    /// The draws behind stocks and changes.
    pub tonnes: Tonnes,
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

impl ParcelLosses {
    /// The same as a share of the parcel's area, with the standard error of the events' areas; of events without one, half a
    /// pixel's worth each is not made up: they count as exact.
    pub fn lost_share(&self, area: Hectares, counts: impl Fn(Date) -> bool) -> Estimate<f64> {
        let losses = self.rows.iter().filter(|row| row.magnitude < 0.0 && counts(row.date_upper));
        let variance = losses.filter_map(|row| row.area_se_ha).fold(0.0, |sum, se| sum + se * se);
        let share = |ha: f64| (ha / area.get()).min(1.0);
        Estimate { value: share(self.lost_ha(&counts)), se: share(variance.sqrt()) }
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
    accounting: Option<&Accounting>,
    settings: &Settings,
) -> Assessment {
    let options = &settings.options;
    let mut by_index: BTreeMap<Arc<str>, Vec<Observation>> = BTreeMap::new();
    for row in rows {
        let observation = Observation {
            date: date_of_ms(row.acquired_ms),
            mean: row.stats.as_ref().map_or(f64::NAN, |s| s.mean),
            clear_fraction: row.seen_share(),
        };
        if observation.is_usable() && observation.clear_fraction >= options.observe.min_clear_fraction {
            by_index.entry(row.index.clone()).or_default().push(observation);
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
                index: index.clone(),
                season,
            }));
        }
        out.series.extend(series.points.into_iter().map(|point| SeriesRow {
            parcel_id: parcel_id.clone(),
            index: index.clone(),
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
    if let Some(accounting) = accounting {
        let losses = changes.and_then(|c| settled(c, options));
        carbon(parcel, &by_index, (losses, changes), accounting, settings, &mut out);
    }
    out
}

/// What a model says of each parcel at each epoch.
pub type Predictions = BTreeMap<String, BTreeMap<Date, Prediction>>;

/// What the carbon figures of all parcels of a run share.
pub struct Accounting<'a> {
    /// Draws of errors.
    pub monte_carlo: MonteCarlo,
    /// Where numbers come from.
    pub parameters: &'a ParameterSet,
    /// What became of reference parcels.
    pub references: Vec<Reference>,
    /// What biomass maps say of each parcel, where they are the method.
    pub readings: BTreeMap<String, agb_map::Readings>,
    /// The biomass model and what it says of each parcel, where that is the method.
    pub model: Option<(Model, Predictions)>,
    /// True area over mapped area of what is lost, where a reference sample tells it.
    pub lost_area: Option<Factor>,
    /// Share of a parcel's ground that no earlier parcel has, where it is less than all.
    pub own_share: BTreeMap<String, f64>,
}

/// The carbon change of a reference parcel.
pub struct Reference {
    /// The parcel.
    pub parcel_id: String,
    /// Its centre, longitude and latitude.
    pub centre: geo::Point<f64>,
    /// Forest type, where the layer says one.
    pub forest_type: Option<String>,
    /// Changes by period, t C per ha.
    pub changes: BTreeMap<(Date, Date), ReferenceChange>,
}

impl Reference {
    /// Of what a parcel of kind `reference` came to, if it came to anything.
    pub fn of(parcel: &Parcel, tonnes: &Tonnes) -> Option<Self> {
        let density = |simulated: &Simulated| ReferenceChange {
            estimate: simulated.spread.estimate / parcel.area_ha,
            draws: simulated.draws.iter().map(|d| d / parcel.area_ha).collect(),
        };
        let changes: BTreeMap<_, _> = tonnes.deltas.iter().map(|(p, s)| (*p, density(s))).collect();
        (!changes.is_empty()).then_some(Reference {
            parcel_id: parcel.id.clone(),
            centre: parcel.lon_lat.centroid()?,
            forest_type: parcel.attributes.get("forest_type").cloned(),
            changes,
        })
    }
}

impl Accounting<'_> {
    fn controlled(&self, parcel: &Parcel, tonnes: &Tonnes, delta: &Delta, settings: &Settings) -> Option<Controlled> {
        let rule = &settings.options.account.control;
        let centre = parcel.lon_lat.centroid()?;
        let forest_type = parcel.attributes.get("forest_type").map(String::as_str);
        let period = (delta.period_start, delta.period_end);
        let near: Vec<&ReferenceChange> = self
            .references
            .iter()
            .filter(|r| {
                let of_reference = (r.centre, r.forest_type.as_deref());
                r.parcel_id != parcel.id && comparable(rule.min_km..=rule.max_km, (centre, forest_type), of_reference)
            })
            .filter_map(|r| r.changes.get(&period))
            .collect();
        if near.len() < rule.min_references {
            return None;
        }
        let mut control = Vec::new();
        let source = format!("{PARCEL_PREFIX}{}/control/{}/{}", parcel.id, period.0, period.1);
        self.monte_carlo.draws().fill(&source, &mut control);
        controlled(tonnes.deltas.get(&period)?, &near, Hectares::new(parcel.area_ha).ok()?, &control)
    }
}

/// Loss that another method saw beyond the one that counts, as a share of the parcel, from which growth is not credited.
const DISAGREEMENT: f64 = 0.02;

/// Takes growth out of what may be issued where a loss within the period may have been missed: another method saw clearly more
/// of it, or one lies between a date within the period and one beyond.
fn doubt(
    delta: &mut Delta,
    losses: &ParcelLosses,
    changes: Option<&ParcelChanges>,
    area: Hectares,
    within: impl Fn(Date) -> bool,
) {
    let counted = losses.lost_ha(&within);
    let most = changes.iter().flat_map(|c| c.values()).map(|l| l.lost_ha(&within)).fold(0.0, f64::max);
    if most - counted > DISAGREEMENT * area.get() {
        delta.restrict(Flag::MethodsDisagree);
    }
    let straddles = |row: &DisturbanceRow| {
        row.magnitude < 0.0 && row.date_lower < delta.period_end && row.date_upper > delta.period_end
    };
    if losses.rows.iter().any(straddles) {
        delta.restrict(Flag::LossDateUncertain);
    }
}

/// A method knows attributes by our names; whoever must correct one looks for the layer's field.
fn with_field(message: String, fields: &BTreeMap<String, String>) -> String {
    let Some(rest) = message.strip_prefix("attribute ") else { return message };
    let field = rest.split_once(':').and_then(|(name, rest)| Some((name, fields.get(name)?, rest)));
    field.map_or(message.clone(), |(name, field, rest)| format!("attribute {name} (field `{field}`):{rest}"))
}

fn carbon(
    parcel: &Parcel,
    observations: &BTreeMap<Arc<str>, Vec<Observation>>,
    (losses, changes): (Option<&ParcelLosses>, Option<&ParcelChanges>),
    accounting: &Accounting,
    settings: &Settings,
    out: &mut Assessment,
) {
    let options = &settings.options;
    let Some(method) = options.biomass.method() else { return };
    let aside = |reason, message: String| {
        let message = with_field(message, &options.parcels.attributes);
        Quarantine::parcel(&parcel.id, Stage::Account, reason, message)
    };
    let area = match Hectares::new(parcel.area_ha) {
        Ok(area) => area,
        Err(e) => {
            out.quarantined.push(aside(Reason::InvalidGeometry, e.to_string()));
            return;
        }
    };
    let epochs: BTreeSet<Date> = options.account.periods.iter().flatten().copied().collect();
    let lost = losses.map(|l| move |after: Date, until: Date| l.lost_share(area, |seen| seen > after && seen <= until));
    let dates = || observations.values().flatten().map(|o| o.date);
    let (from, to) = options.change.methods().first().map_or((None, None), Method::watches);
    let watched =
        dates().min().map(|d| from.map_or(d, |f| f.max(d))).zip(dates().max().map(|d| to.map_or(d, |t| t.min(d))));
    let evidence = Evidence {
        parcel_id: &parcel.id,
        area,
        attributes: &parcel.attributes,
        epochs: &epochs,
        observations,
        lost: lost.as_ref().map(|l| l as &dyn Fn(Date, Date) -> Estimate<f64>),
        lost_area: accounting.lost_area.as_ref(),
        seen: watched,
        pools: &options.carbon.pools,
        parameters: accounting.parameters,
    };
    let assessed = match method {
        BiomassMethod::Tier1Cover(params) => tier1_cover::chain(&evidence, params),
        BiomassMethod::Inventory(params) => inventory::chain(&evidence, params, &options.account.periods),
        BiomassMethod::AgbMap(params) => {
            agb_map::chain(&evidence, params, accounting.readings.get(&parcel.id).unwrap_or(&BTreeMap::new()))
        }
        BiomassMethod::IndexModel(params) => {
            let Some((model, predictions)) = &accounting.model else { return };
            index_model::chain(&evidence, params, model, predictions.get(&parcel.id))
        }
    };
    let (mut chain, refused) = match assessed {
        Ok(found) => found,
        Err(refusal) => {
            out.quarantined.push(aside(refusal.reason, refusal.message));
            return;
        }
    };
    for refusal in refused {
        // A message that names its epoch needs no second word of it.
        let named = refusal.epoch.filter(|epoch| !refusal.message.starts_with(&format!("epoch {epoch}")));
        let mut message = named.map_or(String::new(), |epoch| format!("epoch {epoch}: ")) + &refusal.message;
        // A model of indices looks at pixels, and tells its own share.
        if refusal.reason == Reason::NoClearObservation && accounting.model.is_none() {
            message.push_str(&format!(
                "; observations count from a clear share of {} on ([observe] min_clear_fraction)",
                options.observe.min_clear_fraction
            ));
        }
        out.quarantined.push(aside(refusal.reason, message));
    }
    if accounting.own_share.contains_key(&parcel.id) {
        chain.flags.push(Flag::Overlapping);
    }
    let boundary = (options.carbon.boundary_se_m, options.carbon.boundary_correlation);
    let area_factor = match boundary {
        (Some(se_m), Some(correlation)) => {
            let se_ha = geodesic_perimeter_m(&parcel.lon_lat) * se_m * correlation / M2_PER_HA;
            Factor::lognormal(Part::Area, evidence.own("area"), area.get(), se_ha / area.get())
        }
        _ => {
            chain.flags.push(Flag::AreaErrorNotStated);
            Factor::exact(area.get())
        }
    };
    let mut periods = options.account.periods.clone();
    periods.sort();
    let tonnes = accounting.monte_carlo.tonnes(&chain, &area_factor, &periods);
    let set = accounting.parameters.stamp();
    let parcel_id: Arc<str> = parcel.id.as_str().into();
    for stock in stocks(&chain, &tonnes, area) {
        out.stocks.push(StockRow {
            parcel_id: parcel_id.clone(),
            method: method.name(),
            model_id: chain.model_id.clone(),
            area_ha: parcel.area_ha,
            stock,
            parameter_set: set.clone(),
        });
    }
    for found in deltas(&chain, &tonnes, area, options.account.deduction) {
        match found {
            Ok(mut delta) => {
                delta.controlled = accounting.controlled(parcel, &tonnes, &delta, settings);
                let (start, end) = (delta.period_start, delta.period_end);
                // One date decides, so that the periods of a year add up to the year.
                let within = |seen: Date| seen > start && seen <= end;
                if delta.delta_t_c > 0.0
                    && let Some(losses) = losses
                {
                    doubt(&mut delta, losses, changes, area, within);
                }
                // A period that the method never watched has no loss of 0 hectares.
                let outside = watched.is_none_or(|(from, to)| end <= from || start >= to);
                out.deltas.push(DeltaRow {
                    parcel_id: parcel_id.clone(),
                    kind: parcel.kind.map(crate::parcel::Kind::name),
                    delta,
                    disturbed_area_ha: losses.filter(|_| !outside).map(|l| l.lost_ha(within)),
                    parameter_set: set.clone(),
                    geometry: parcel.lon_lat.clone(),
                });
            }
            Err(e) => out.quarantined.push(aside(Reason::OutOfModelDomain, e.to_string())),
        }
    }
    out.tonnes = tonnes;
}

/// UTC day of a time.
pub fn date_of_ms(ms: i64) -> Date {
    crate::units::date_of(i32::try_from(ms.div_euclid(86_400_000)).unwrap_or(i32::MAX))
}
