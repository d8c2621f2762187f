//! How much carbon does a parcel hold by its forest inventory, at dates that the inventory did not visit? Method
//! `inventory`.
//!
//! Growing stock V (m3/ha) at the survey date, grown to the epoch, times the factors of a parameter set, times what the
//! satellite saw left standing:
//! ```text
//! V(t)        = V(s) + increment x (t - s)        or V(s) y(age at t) / y(age at s) of a yield table y
//! aboveground = V BCEF                            IPCC 2006 Vol 4 Eq 2.8, ipcc-2006
//!             = V D BEF                           AR-CM-001-V01, cn-ar-cm-001
//!             = (a V + b) / (1 + R)               Fang et al. 2001, Science 292:2320: a V + b has the roots in it
//! belowground = aboveground R                     so with a V + b both together are a V + b
//! density     = biomass x CF x transfer x retained, t C/ha
//! ```
//! One row of each factor table holds for all epochs of a parcel: that of the mean volume over them (for one period, of
//! both dates). Looked up at each date, growth from 39 to 41 m3/ha of pine would lose a fifth of its biomass, because BCEF
//! falls from 1.0 to 0.75 at 40 ([`Expanded::change`] refuses such a difference). The root-to-shoot ratio is that of the
//! aboveground biomass at the mean volume. An epoch that alone would fall into another row carries `class_held`.
//!
//! `retained` is the share of the surveyed stand that stands at the epoch: 1 less the share lost since the survey, or, for
//! an epoch before it, 1 over 1 less the share lost until it (refused where more than half was lost: what is left then says
//! little of what stood). Losses add up over time, and so do their errors: two epochs without a loss between them share
//! one. With `cover`, the index at the epoch relative to that at the survey, cut at 1, is a second witness, and the smaller
//! share counts; not before the survey where the change method saw a loss: a cleared stand was there once.
//!
//! Errors: transfer, BCEF, a, b, D, BEF, R and CF are [`Part::Allometry`], one draw over all parcels, the transfer error
//! one for each group of the set; the increment is [`Part::Model`]; volume and retention are [`Part::Residual`], the
//! parcel's own. An error that nobody states is not made up: without `volume_cv`, or with growth but without
//! `increment_cv`, results are for screening only.
//!
//! Litter, dead wood and soil are those of the set, the same at every epoch: they cancel in a change and are not lost with
//! the trees. Gain and loss (Eq 2.7, 2.9, 2.10, 2.14) stand beside the stock difference where the stand grows: gain = area
//! standing at the end x increment x factors of the increment, loss = share lost x biomass at mid-period.
//!
//! What it does not do: judge whether an inventory is true, or grow a stand by a model of its own.

mod allometry;
mod attributes;
mod notes;
mod retained;
mod stand;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Span;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::biomass::Tier1Cover;
use super::chain::{Assessed, Chain, Epoch, Evidence, Part, Refusal, Term};
use super::{Climate, Flag, ParameterError, ParameterSet, Pool, Status, VolumeGroup};
use crate::error::Reason;
use allometry::{Allometry, one, times};
use attributes::*;
use retained::retained;
use stand::{Growth, Stand, stand, years};

pub use allometry::{ClassJump, Expanded};
pub use notes::notes;

/// Name of the method.
pub const METHOD: &str = "inventory";

/// Attributes of a parcel that this method reads, by our names.
pub const ATTRIBUTES: [&str; 11] = [
    SPECIES,
    FOREST_TYPE,
    VOLUME,
    VOLUME_PER_MU,
    VOLUME_CV,
    PLANTED_ON,
    SURVEYED_ON,
    INCREMENT,
    INCREMENT_CV,
    ECOLOGICAL_ZONE,
    SOIL_TYPE,
];

/// Largest growing stock that is taken for one, m3/ha: the densest stands known hold about this much.
const MAX_VOLUME_M3_PER_HA: f64 = 2000.0;
/// From this age on the lowest class of a table is doubtful, years: the IPCC's bound between young and old forest.
const YOUNG_UNTIL_A: f64 = 20.0;
/// Less than this at that age is doubtful, m3/ha: the bound of the lowest class of the IPCC's table.
const LITTLE_M3_PER_HA: f64 = 20.0;

/// `[biomass.inventory]` of the configuration. Attributes of a parcel come before what stands here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// Species or forest type of parcels without either attribute.
    #[serde(default)]
    pub species: Option<String>,
    /// Ecological zone, for sets whose factors depend on it: with ipcc-2006 `temperate`, `temperate_continental`,
    /// `temperate_mountain`, `boreal`, `boreal_coniferous`.
    #[serde(default)]
    pub ecological_zone: Option<String>,
    /// Date of the inventory. Without it the volume is taken as that of the first epoch (flag `survey_date_not_stated`).
    #[serde(default)]
    pub surveyed_on: Option<Date>,
    /// Standard error of the volume as a share of it, above 0, at most 1. No default: without it results are for screening
    /// only.
    #[serde(default)]
    pub volume_cv: Option<f64>,
    /// Net annual increment, m3/ha/a, 0 to 100. Without it and a yield table the stand is taken as not growing.
    #[serde(default)]
    pub increment_m3_per_ha_a: Option<f64>,
    /// Standard error of the increment, or of the growth by the yield table, as a share of it, above 0, at most 2. No
    /// default: without it growth is taken as exact, and results are for screening only.
    #[serde(default)]
    pub increment_cv: Option<f64>,
    /// Volume by age, in place of an increment; needs `planted_on`.
    #[serde(default)]
    pub yield_table: Option<YieldTable>,
    /// Climate of litter and soil, for these pools: an id of `[climates]` in the set.
    #[serde(default)]
    pub climate_zone: Option<String>,
    /// Soil type, for the pool soil: with ipcc-2006 `hac`, `lac` or `sandy`.
    #[serde(default)]
    pub soil_type: Option<String>,
    /// Smallest volume that is used, m3/ha, at least 0. Default: that of the parameter set's group, or none.
    #[serde(default)]
    pub min_volume_m3_per_ha: Option<f64>,
    /// Largest volume that is taken for a growing stock, m3/ha. Default 2000.
    #[serde(default = "max_volume")]
    pub max_volume_m3_per_ha: f64,
    /// Cover as a second witness of what is left standing.
    #[serde(default)]
    pub cover: Option<Cover>,
}

fn max_volume() -> f64 {
    MAX_VOLUME_M3_PER_HA
}

impl Default for Inventory {
    fn default() -> Self {
        Inventory {
            species: None,
            ecological_zone: None,
            surveyed_on: None,
            volume_cv: None,
            increment_m3_per_ha_a: None,
            increment_cv: None,
            yield_table: None,
            climate_zone: None,
            soil_type: None,
            min_volume_m3_per_ha: None,
            max_volume_m3_per_ha: MAX_VOLUME_M3_PER_HA,
            cover: None,
        }
    }
}

/// `[biomass.inventory.cover]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cover {
    /// Index that stands for cover. Default `ndvi`.
    #[serde(default = "default_index")]
    pub index: String,
    /// Index of bare ground at the site. No default.
    pub index_bare: f64,
    /// Index of full cover at the site. No default.
    pub index_full: f64,
    /// Half-width of the window around a date, within its calendar year, 0 to 182 days. Default 45.
    #[serde(default = "default_window_days")]
    pub window_days: u32,
    /// Standard error of one date's parcel mean, index units, above 0; needed to use a single date.
    #[serde(default)]
    pub index_se: Option<f64>,
}

fn default_index() -> String {
    "ndvi".to_owned()
}

fn default_window_days() -> u32 {
    45
}

impl Cover {
    fn params(&self) -> Tier1Cover {
        Tier1Cover {
            index: self.index.clone(),
            index_bare: self.index_bare,
            index_full: self.index_full,
            window_days: self.window_days,
            min_observations: 3,
            index_se: self.index_se,
            forest_type: None,
            ecological_zone: None,
        }
    }
}

/// Volume of a stand by its age: `{ "10" = 35.0, "20" = 90.0 }`, or the path of a CSV file of two columns, age in years and
/// volume in m3/ha, relative to the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum YieldTable {
    /// A file that is not read yet.
    Path(PathBuf),
    /// Age in years to m3/ha.
    Inline(BTreeMap<String, f64>),
}

/// A key of `[biomass.inventory]` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: found {found}, expected {expected}")]
pub struct InvalidKey {
    /// The key, below the section.
    pub key: &'static str,
    /// What stands there.
    pub found: String,
    /// What may stand there.
    pub expected: &'static str,
}

impl YieldTable {
    /// Ages (years) and volumes (m3/ha), ages ascending.
    fn rows(&self) -> Result<Vec<(f64, f64)>, InvalidKey> {
        let expected = "ages in years with volumes in m3/ha above 0, two or more: { \"10\" = 35.0, \"20\" = 90.0 }";
        let fail = |found: String| InvalidKey { key: "yield_table", found, expected };
        let YieldTable::Inline(table) = self else { return Err(fail("a file that was not read".into())) };
        let mut rows = Vec::with_capacity(table.len());
        for (age, volume) in table {
            let years: f64 = age.trim().parse().map_err(|_| fail(format!("age {age:?}")))?;
            if !(years.is_finite() && years > 0.0 && volume.is_finite() && *volume > 0.0) {
                return Err(fail(format!("{volume} m3/ha at age {age:?}")));
            }
            rows.push((years, *volume));
        }
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        if rows.len() < 2 || rows.windows(2).any(|r| r[0].0 == r[1].0) {
            return Err(fail(format!("{} ages, or one twice", rows.len())));
        }
        Ok(rows)
    }

    /// Of the text of a CSV file; a first line that is no numbers is a header.
    fn from_csv(text: &str) -> Result<Self, InvalidKey> {
        let mut table = BTreeMap::new();
        for (n, line) in text.trim_start_matches('\u{feff}').lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
            let cells: Vec<&str> = line.split([',', ';', '\t']).map(str::trim).collect();
            let numbers: Vec<f64> = cells.iter().filter_map(|c| c.parse().ok()).collect();
            let twice = match (cells.len(), numbers.as_slice()) {
                (2, [_, volume]) => table.insert(cells[0].to_owned(), *volume).is_some(),
                _ if n == 0 => false,
                _ => true,
            };
            if twice {
                return Err(InvalidKey {
                    key: "yield_table",
                    found: format!("line {}: {line:?}", n + 1),
                    expected: "two numbers, age in years and volume in m3/ha, each age once",
                });
            }
        }
        Ok(YieldTable::Inline(table))
    }
}

impl Inventory {
    /// Reads the yield table where it is a file, so that what follows does not depend on files. `base` is the folder that
    /// a relative path starts from.
    ///
    /// # Errors
    /// [`InvalidKey`].
    pub fn read_files(&mut self, base: &Path) -> Result<(), InvalidKey> {
        if let Some(YieldTable::Path(path)) = &self.yield_table {
            let at = base.join(path);
            let text = std::fs::read_to_string(&at).map_err(|e| InvalidKey {
                key: "yield_table",
                found: format!("{}: {e}", at.display()),
                expected: "a CSV file with two columns, age in years and volume in m3/ha",
            })?;
            self.yield_table = Some(YieldTable::from_csv(&text)?);
        }
        Ok(())
    }

    /// What serde cannot see: ranges, and keys that exclude each other. After [`Inventory::read_files`].
    ///
    /// # Errors
    /// [`InvalidKey`], the first.
    pub fn validate(&self) -> Result<(), InvalidKey> {
        let check = |key, value: Option<f64>, ok: fn(f64) -> bool, expected| match value {
            Some(v) if !ok(v) => Err(InvalidKey { key, found: v.to_string(), expected }),
            _ => Ok(()),
        };
        check(VOLUME_CV, self.volume_cv, is_volume_cv, VOLUME_CV_EXPECTED)?;
        check(INCREMENT, self.increment_m3_per_ha_a, is_increment, INCREMENT_EXPECTED)?;
        check(INCREMENT_CV, self.increment_cv, is_increment_cv, INCREMENT_CV_EXPECTED)?;
        let at_least_0 = |v: f64| v.is_finite() && v >= 0.0;
        check("min_volume_m3_per_ha", self.min_volume_m3_per_ha, at_least_0, "m3/ha, 0 or more")?;
        let positive = |v: f64| v.is_finite() && v > 0.0;
        check("max_volume_m3_per_ha", Some(self.max_volume_m3_per_ha), positive, "m3/ha, above 0")?;
        if let Some(table) = &self.yield_table {
            table.rows()?;
            if self.increment_m3_per_ha_a.is_some() {
                let found = "increment_m3_per_ha_a as well".to_owned();
                return Err(InvalidKey { key: "yield_table", found, expected: "one of the two" });
            }
        }
        if let Some(cover) = &self.cover {
            if let Err(e) = cover.params().validate() {
                return Err(InvalidKey { key: "cover", found: e.to_string(), expected: "usable values" });
            }
            let days = Some(f64::from(cover.window_days));
            check("cover.window_days", days, |v| v <= 182.0, "0 to 182 days")?;
            check("cover.index_se", cover.index_se, positive, "index units, above 0")?;
        }
        Ok(())
    }
}

fn refusal(epoch: Option<Date>, reason: Reason, message: impl Into<String>) -> Refusal {
    Refusal { epoch, reason, message: message.into() }
}

/// Stocks of one parcel by its inventory, and gain and loss over `periods` (start, end).
///
/// # Errors
/// A [`Refusal`] of the parcel: species that the set does not know, volume that is none, no pool of that kind; of an epoch: a
/// volume out of the model's range there, or before the stand was planted.
pub fn chain(evidence: &Evidence, params: &Inventory, periods: &[[Date; 2]]) -> Assessed {
    let (set, attributes) = (evidence.parameters, Attributes(evidence.attributes));
    let (group_id, group) = group(&attributes, params, set)?;
    let volume = attributes.volume(params.max_volume_m3_per_ha)?;
    let planted = attributes.date(PLANTED_ON)?;
    let stated_survey = match attributes.date(SURVEYED_ON)? {
        None => params.surveyed_on,
        date => date,
    };
    let mut chain = Chain::new(format!("{METHOD}/{}/{group_id}", set.name()), Status::Issuable);
    let Some(surveyed_on) = stated_survey.or_else(|| evidence.epochs.first().copied()) else {
        return Ok((chain, Vec::new()));
    };
    if stated_survey.is_none() {
        chain.flags.push(Flag::SurveyDateNotStated);
    }
    if let Some(planted) = planted.filter(|p| *p > surveyed_on) {
        let message = format!(
            "attribute {PLANTED_ON}: found {planted}, expected a date before the survey of {surveyed_on}; state surveyed_on, or \
             correct one of them"
        );
        return Err(refusal(None, Reason::BadAttribute, message));
    }
    if !set.approved() {
        chain.flags.push(Flag::UnapprovedParameters);
    }

    let stand = stand(&mut chain, evidence, params, planted, surveyed_on, volume)?;
    let (volumes, mut refusals) = volumes(&chain, evidence, params, (set, group), planted, &stand);
    if volumes.is_empty() {
        // One message for the parcel; that of the first epoch tells what to do.
        return match refusals.into_iter().next() {
            Some(first) => Err(Refusal { epoch: None, ..first }),
            None => Ok((chain, Vec::new())),
        };
    }

    let mean = volumes.values().sum::<f64>() / volumes.len() as f64;
    let refused = |e: ParameterError| refusal(None, Reason::OutOfModelDomain, e.to_string());
    let allometry = Allometry::new(&mut chain, set, group_id, group, mean).map_err(refused)?;
    let held = Expanded::of(set, group, mean).map_err(refused)?;
    let held_ratio = set.root_to_shoot(&group.root_to_shoot, held.agb_t_per_ha).map_err(refused)?;
    // As little as a stand of this age never holds: a survey per mu, or of something else.
    let old = planted.is_some_and(|planted| years(planted, surveyed_on) > YOUNG_UNTIL_A);
    let lowest = Expanded::of(set, group, volume).is_ok_and(|at| at.lowest);
    if volume == 0.0 || (old && (lowest || volume < LITTLE_M3_PER_HA)) {
        chain.flags.push(Flag::VolumeDoubtful);
        chain.status = Status::ScreeningOnly;
    }

    let dates: Vec<Date> = volumes.keys().copied().collect();
    let mut left = BTreeMap::new();
    for (epoch, share) in retained(evidence, params.cover.as_ref(), surveyed_on, &dates)? {
        match share {
            Ok(share) => {
                // Cover is no map, and what was before the survey is no share of it.
                let adjusted = evidence.lost_area.filter(|_| params.cover.is_none() && epoch > surveyed_on);
                left.insert(epoch, (chain.left(share.factor, adjusted), share.flags));
            }
            Err(refusal) => refusals.push(refusal),
        }
    }
    let constant = constant_pools(&mut chain, evidence, params, group, &attributes)?;

    for (epoch, (share, flags)) in &left {
        let Ok(terms) = stand.terms(*epoch) else { continue };
        let mut at = Epoch { flags: flags.clone(), ..Epoch::default() };
        if params.cover.is_none() && !evidence.watched(surveyed_on, *epoch) {
            at.flags.push(Flag::RetentionNotObserved);
        }
        for pool in evidence.pools {
            let density = match constant.get(pool) {
                Some(factor) => one(*factor),
                None => times(&allometry.density(*pool, &terms), share),
            };
            at.densities.insert(*pool, density);
        }
        let alone = Expanded::of(set, group, volumes[epoch]).map_err(refused)?;
        let ratio = set.root_to_shoot(&group.root_to_shoot, alone.agb_t_per_ha);
        if held.change(&alone).is_err() || ratio.is_ok_and(|ratio| ratio != held_ratio) {
            at.flags.push(Flag::ClassHeld);
        }
        chain.epochs.insert(*epoch, at);
    }
    gain_loss(&mut chain, evidence, periods, &stand, &allometry, &left);
    chain.flags.sort();
    Ok((chain, refusals))
}

/// Why a parcel belongs to no group of a set.
enum NoGroup {
    /// It names neither species nor forest type.
    Unnamed,
    /// The set has no one group for what it names.
    Unknown {
        /// Where the name stands.
        from: String,
        /// The set's answer.
        why: Box<ParameterError>,
        /// What else would help.
        hint: &'static str,
    },
}

impl From<NoGroup> for Refusal {
    fn from(why: NoGroup) -> Self {
        match why {
            NoGroup::Unnamed => {
                let message = format!(
                    "attribute {SPECIES}: found nothing, and no {FOREST_TYPE}, expected a species or forest type; map the \
                     layer's field under [parcels] attributes, or give `species` under [biomass.inventory]"
                );
                refusal(None, Reason::BadAttribute, message)
            }
            NoGroup::Unknown { from, why, hint } => {
                refusal(None, Reason::OutOfModelDomain, format!("{from}: {why}{hint}"))
            }
        }
    }
}

/// The group of the parcel's species, or else of its forest type.
fn group<'a>(
    attributes: &Attributes,
    params: &Inventory,
    set: &'a ParameterSet,
) -> Result<(&'a str, &'a VolumeGroup), NoGroup> {
    let forest_type = attributes.text(FOREST_TYPE);
    let (from, name) = match (attributes.text(SPECIES), forest_type, params.species.as_deref()) {
        (Some(name), _, _) => (format!("attribute {SPECIES}"), name),
        (None, Some(name), _) => (format!("attribute {FOREST_TYPE}"), name),
        (None, None, Some(name)) => ("[biomass.inventory] species".to_owned(), name),
        (None, None, None) => return Err(NoGroup::Unnamed),
    };
    // A forest type that names its zone says more of this parcel than the section, and stands for its kind.
    let named = forest_type.and_then(|t| set.named_type(t)).map(|(_, t)| t);
    let zone = named.map(|t| t.zone.as_str());
    let zone = zone.or_else(|| attributes.text_or(ECOLOGICAL_ZONE, &params.ecological_zone));
    let kind = named.filter(|_| attributes.text(SPECIES).is_none()).and_then(|t| match t.kinds.as_slice() {
        [kind] => Some(kind.as_str()),
        _ => None,
    });
    set.volume_group(kind.unwrap_or(name), zone).map_err(|why| {
        let from = if kind.is_some() { format!("{from}: {name:?} stands for its kind") } else { from };
        let hint = match &why {
            ParameterError::ZoneNeeded { .. } => " under [biomass.inventory] or as an attribute",
            _ if attributes.text(SPECIES).is_none() => "; an attribute species says more than the forest type",
            _ => "",
        };
        NoGroup::Unknown { from, why: Box::new(why), hint }
    })
}

/// Volume at each epoch that can be assessed, m3/ha, and why the others cannot.
fn volumes(
    chain: &Chain,
    evidence: &Evidence,
    params: &Inventory,
    (set, group): (&ParameterSet, &VolumeGroup),
    planted: Option<Date>,
    stand: &Stand,
) -> (BTreeMap<Date, f64>, Vec<Refusal>) {
    let of_set = group.min_volume.as_ref().and_then(|id| set.value(id));
    let min = params.min_volume_m3_per_ha.or(of_set.map(|p| p.value)).unwrap_or(0.0);
    let (mut volumes, mut refusals) = (BTreeMap::new(), Vec::new());
    for epoch in evidence.epochs {
        let mut refuse = |message| refusals.push(refusal(Some(*epoch), Reason::OutOfModelDomain, message));
        if let Some(planted) = planted.filter(|p| p > epoch) {
            refuse(format!(
                "epoch {epoch}: found a stand planted on {planted}, expected one that stood already; what grew there before is \
                 not in the inventory"
            ));
            continue;
        }
        let volume = match stand.value(chain, *epoch) {
            Ok(volume) => volume,
            Err(message) => {
                refuse(format!("epoch {epoch}: {message}"));
                continue;
            }
        };
        let grown = if *epoch == stand.surveyed_on || matches!(stand.growth, Growth::None) {
            String::new()
        } else {
            format!(", grown from {} m3/ha on {}", stand.volume, stand.surveyed_on)
        };
        if volume < 0.0 || volume > params.max_volume_m3_per_ha {
            refuse(format!(
                "epoch {epoch}: found {volume:.1} m3/ha{grown}, expected 0 to {}; check the increment and surveyed_on",
                params.max_volume_m3_per_ha
            ));
        } else if volume < min {
            refuse(format!(
                "epoch {epoch}: found {volume:.1} m3/ha{grown}, expected at least {min}, below which the model of parameter set \
                 {:?} does not hold (b t/ha would stand on bare land); {MU_HINT}; else use a set without this bound, or set \
                 min_volume_m3_per_ha under [biomass.inventory]",
                set.name()
            ));
        } else {
            volumes.insert(*epoch, volume);
        }
    }
    (volumes, refusals)
}

/// Factors of the pools that do not depend on the stand's volume, t C/ha.
fn constant_pools(
    chain: &mut Chain,
    evidence: &Evidence,
    params: &Inventory,
    group: &VolumeGroup,
    attributes: &Attributes,
) -> Result<BTreeMap<Pool, usize>, Refusal> {
    let set = evidence.parameters;
    let mut found = BTreeMap::new();
    for pool in evidence.pools {
        let refused = |why: String| {
            let message = format!(
                "pool {pool}: {why}; leave the pool out of [carbon] pools, or put a value with its source into a copy of the set"
            );
            refusal(None, Reason::OutOfModelDomain, message)
        };
        let climate = || -> Result<&Climate, Refusal> {
            let id = params.climate_zone.as_deref();
            let id = id.ok_or_else(|| refused("needs climate_zone under [biomass.inventory]".into()))?;
            set.climate(id).map_err(|known| refused(format!("climate_zone is {id:?}, {known}")))
        };
        let by_leaf = |own: &Option<String>, table: fn(&Climate) -> &BTreeMap<super::Leaf, String>| {
            if let Some(own) = own {
                return Ok(own.clone());
            }
            let Some(leaf) = group.leaf else {
                return Err(refused(format!("parameter set {:?} has no value for mixed forest", set.name())));
            };
            let no_value =
                || refused(format!("parameter set {:?} has no value for this forest and climate", set.name()));
            table(climate()?).get(&leaf).cloned().ok_or_else(no_value)
        };
        let id = match pool {
            Pool::Aboveground | Pool::Belowground | Pool::Total => continue,
            Pool::Litter => by_leaf(&group.litter, |c| &c.litter)?,
            Pool::DeadWood => match &group.dead_wood {
                None if set_has_no_dead_wood(params, set) => {
                    return Err(refused("it has no default value in any guideline".into()));
                }
                own => by_leaf(own, |c| &c.dead_wood)?,
            },
            Pool::Soil => {
                let soils = &climate()?.soil;
                let known = soils.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                let Some(soil) = attributes.text_or(SOIL_TYPE, &params.soil_type) else {
                    return Err(refused(format!("needs soil_type, one of {known}")));
                };
                let id = soils.get(&soil.to_lowercase()).cloned();
                id.ok_or_else(|| refused(format!("soil_type is {soil:?}, expected one of {known}")))?
            }
        };
        let factor = set.factor(&id, Part::Model).map_err(|e| refused(e.to_string()))?;
        found.insert(*pool, chain.factor(factor));
    }
    Ok(found)
}

fn set_has_no_dead_wood(params: &Inventory, set: &ParameterSet) -> bool {
    let climate = params.climate_zone.as_deref().and_then(|id| set.climate(id).ok());
    climate.is_none_or(|c| c.dead_wood.is_empty())
}

/// Gain and loss over the periods whose ends were assessed, where the stand grows by what was stated.
fn gain_loss(
    chain: &mut Chain,
    evidence: &Evidence,
    periods: &[[Date; 2]],
    stand: &Stand,
    allometry: &Allometry,
    left: &BTreeMap<Date, (Vec<Term>, Vec<Flag>)>,
) {
    if matches!(stand.growth, Growth::None) {
        return;
    }
    let minus = |terms: Vec<Term>| terms.into_iter().map(|t| Term { coefficient: -t.coefficient, ..t });
    for [start, end] in periods {
        let (Some((before, _)), Some((after, _))) = (left.get(start), left.get(end)) else { continue };
        let half = (crate::units::days(*end) - crate::units::days(*start)) / 2;
        let middle = start.saturating_add(Span::new().days(half));
        let (Ok(from), Ok(to), Ok(volume)) = (stand.growth(*start), stand.growth(*end), stand.terms(middle)) else {
            continue;
        };
        let mut grown = to;
        grown.extend(minus(from));
        let mut terms = Vec::new();
        for pool in evidence.pools {
            let share = allometry.share(*pool);
            terms.extend(times(&times(&times(&allometry.per_increment, &grown), share), after));
            // Only what was lost: a share that comes back is the stock difference's to tell.
            if chain.estimate(before) >= chain.estimate(after) {
                let mut lost = before.clone();
                lost.extend(minus(after.clone()));
                terms.extend(minus(times(&allometry.density(*pool, &volume), &lost)));
            }
        }
        chain.gain_loss.insert((*start, *end), terms);
    }
}
