//! Which carbon, and by whose numbers? Pools, methods' standing, and named parameter sets.
//!
//! A number of the science enters a calculation only through a [`ParameterSet`]: a TOML text with a name and version in
//! which every value carries its unit, source and confidence, and which a person approves by name and date. The set's
//! name and SHA-256 go with every result. A value whose confidence is "?" is refused when the set is read: it must be
//! given by the user, never defaulted.
//!
//! Formulas: IPCC 2006 Guidelines Vol 4. [`biomass`] turns an index into cover, [`stock`] cover into tonnes of carbon
//! with their uncertainty, [`delta`] two epochs into a change, [`deduction`] a change into what may be credited.
//!
//! What it does not do: judge which set is right for a jurisdiction, or approve one.

pub mod agb_map;
pub mod biomass;
pub mod chain;
pub mod deduction;
pub mod delta;
pub mod draw;
pub mod index_model;
pub mod invariants;
pub mod monte_carlo;
pub mod path;
pub mod stock;
pub mod tier1_cover;
pub mod totals;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::units::{AgbDensity, Estimate, Fraction, OutOfRange};
use tier1_cover::Factors;

/// A carbon pool of IPCC 2006 Vol 4, or their sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// Living biomass above the soil.
    Aboveground,
    /// Living roots.
    Belowground,
    /// Dead wood.
    DeadWood,
    /// Litter.
    Litter,
    /// Soil organic carbon.
    Soil,
    /// The sum of the pools that were asked for.
    Total,
}

impl Pool {
    /// The name used in configuration and tables.
    pub fn name(self) -> &'static str {
        match self {
            Pool::Aboveground => "aboveground",
            Pool::Belowground => "belowground",
            Pool::DeadWood => "dead_wood",
            Pool::Litter => "litter",
            Pool::Soil => "soil",
            Pool::Total => "total",
        }
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a number may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Good enough to be issued, if a rule and a person say so.
    Issuable,
    /// To rank and detect only; nothing may be credited from it.
    ScreeningOnly,
}

impl Status {
    /// The name used in tables.
    pub fn name(self) -> &'static str {
        match self {
            Status::Issuable => "issuable",
            Status::ScreeningOnly => "screening_only",
        }
    }
}

/// A remark on a stock or delta that its reader must see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// Made with default densities.
    Tier1,
    /// Fewer dates than asked for.
    FewObservations,
    /// No one has approved the parameter set.
    UnapprovedParameters,
    /// The index lies above its full-cover value: cover was cut at 1 and growth beyond it is invisible.
    Saturated,
    /// The index lies below its bare-ground value: cover was cut at 0.
    Extrapolated,
    /// The uncertainty is beyond what the deduction scheme accepts: nothing is credited until there are more plots.
    MorePlotsNeeded,
    /// Two halves of the draws disagree: the interval needs more draws.
    NotConverged,
    /// No boundary error was stated: the area counts as exact.
    AreaErrorNotStated,
    /// Shares ground with another parcel; totals count it once.
    Overlapping,
    /// A biomass map that nobody has validated in the region.
    NotValidatedLocally,
    /// No change method could say what was lost since the survey or the map: everything counts as standing.
    RetentionNotObserved,
    /// No growth was stated since the survey or the map: what stood then counts as grown no further.
    GrowthNotStated,
    /// No one has approved the biomass model.
    UnapprovedModel,
    /// The biomass model was fitted to too few plots for numbers that are issued.
    FewPlots,
    /// The parcel lies outside the area of the plots that the biomass model was fitted to.
    OutsideCalibrationArea,
}

impl Flag {
    /// The name used in tables.
    pub fn name(self) -> &'static str {
        match self {
            Flag::Tier1 => "tier1",
            Flag::FewObservations => "few_observations",
            Flag::UnapprovedParameters => "unapproved_parameters",
            Flag::Saturated => "saturated",
            Flag::Extrapolated => "extrapolated",
            Flag::MorePlotsNeeded => "more_plots_needed",
            Flag::NotConverged => "not_converged",
            Flag::AreaErrorNotStated => "area_error_not_stated",
            Flag::Overlapping => "overlapping",
            Flag::NotValidatedLocally => "not_validated_locally",
            Flag::RetentionNotObserved => "retention_not_observed",
            Flag::GrowthNotStated => "growth_not_stated",
            Flag::UnapprovedModel => "unapproved_model",
            Flag::FewPlots => "few_plots",
            Flag::OutsideCalibrationArea => "outside_calibration_area",
        }
    }
}

/// How sure we are of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Confidence {
    /// Seen in the source that is named.
    #[serde(rename = "V")]
    Verified,
    /// Well known, recalled from the publication that is named.
    #[serde(rename = "K")]
    Known,
    /// Not certain: the set that holds it is refused.
    #[serde(rename = "?")]
    Unsure,
}

/// The shape of a value's uncertainty. The closed forms of [`stock`] use mean and cv alone; drawing needs the shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Positive and skewed.
    Lognormal,
    /// Symmetric.
    Normal,
    /// Over the range, peak at the value.
    Triangular,
}

/// One number of a set, with all that makes it traceable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// The publication, and where it was seen.
    pub source: String,
    /// How sure we are of the number.
    pub confidence: Confidence,
    /// Lowest and highest published value, read as a 95 % interval.
    pub range: Option<(f64, f64)>,
    /// How sure we are of the range; the value's own confidence when absent.
    pub range_confidence: Option<Confidence>,
    /// Coefficient of variation, where it is known better than by the range.
    pub cv: Option<f64>,
    /// Shape of the uncertainty.
    pub distribution: Option<Distribution>,
}

impl Parameter {
    /// Coefficient of variation: as given, or `(max - min) / (2 x 1.96 x value)` of the range.
    pub fn cv(&self) -> Option<f64> {
        self.cv.or_else(|| self.range.map(|(min, max)| (max - min) / (2.0 * 1.96 * self.value)))
    }
}

/// One row of a table that is entered by aboveground biomass; without a bound it is the row for everything below.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// The row holds from this biomass on, t d.m./ha.
    pub at_least: Option<f64>,
    /// The row holds above this biomass, t d.m./ha.
    pub more_than: Option<f64>,
    /// Id of the value.
    pub value: String,
}

/// A forest type: where it grows, and the ids of its values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForestType {
    /// Chinese name.
    pub name_zh: String,
    /// English name.
    pub name_en: String,
    /// Ecological zone.
    pub zone: String,
    /// Kinds of forest (conifer, broadleaf, ...) that this type stands for in its zone.
    pub kinds: Vec<String>,
    /// Id of the biomass of full cover, t d.m./ha.
    pub aboveground: String,
    /// Id of the carbon fraction, t C/t d.m.
    pub carbon_fraction: String,
    /// Id of the classes of the root-to-shoot ratio.
    pub root_to_shoot: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    version: String,
    title: String,
    approved_by: Option<String>,
    approved_on: Option<String>,
    values: BTreeMap<String, Parameter>,
    #[serde(default)]
    classes: BTreeMap<String, Vec<Class>>,
    #[serde(default)]
    forest_types: BTreeMap<String, ForestType>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
}

/// A named, versioned, sourced set of numbers. See `configs/parameters/`.
#[derive(Debug, Clone)]
pub struct ParameterSet {
    file: File,
    approved_on: Option<Date>,
    sha256: String,
}

/// Why a parameter set, or something asked of it, is refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ParameterError {
    /// Not TOML, an unknown key, or a wrong type; the message shows the line.
    #[error("parameter set cannot be read: {0}")]
    Toml(#[from] toml::de::Error),
    /// No built-in set of that name.
    #[error("no parameter set named {name:?}, expected one of {}, or the path of a file", known.join(", "))]
    UnknownSet {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// A value that is not certain.
    #[error(
        "value {id:?} of parameter set {set:?} has confidence \"?\": it is not certain and has no default; \
         put in your own value with its source, and confidence \"V\" or \"K\""
    )]
    Unsure {
        /// The set.
        set: String,
        /// The value.
        id: String,
    },
    /// An entry that contradicts itself or its unit.
    #[error("{id:?} of parameter set {set:?}: {found}, expected {expected}")]
    Invalid {
        /// The set.
        set: String,
        /// The entry.
        id: String,
        /// What stands there.
        found: String,
        /// What should stand there.
        expected: String,
    },
    /// A forest type that the set does not know, or that the name does not single out.
    #[error("forest type {name:?} {} in parameter set {set:?}, expected {accepted}", zone_words(zone.as_deref()))]
    UnknownForestType {
        /// The set.
        set: String,
        /// The name asked for.
        name: String,
        /// The zone that was configured.
        zone: Option<String>,
        /// What would be understood.
        accepted: String,
    },
    /// A table has no row for this biomass.
    #[error("{classes:?} of parameter set {set:?} has no row for {agb} t d.m./ha aboveground")]
    NoClass {
        /// The set.
        set: String,
        /// The classes.
        classes: String,
        /// The biomass that was looked up.
        agb: f64,
    },
}

fn zone_words(zone: Option<&str>) -> String {
    match zone {
        None => "without an ecological zone is unknown or ambiguous".to_owned(),
        Some(zone) => format!("in ecological zone {zone:?} is unknown or ambiguous"),
    }
}

/// The sets that come with the program: name and text.
const BUILTIN: &[(&str, &str)] = &[("ipcc-2006", include_str!("../../configs/parameters/ipcc-2006.toml"))];

const AGB_UNIT: &str = "t d.m./ha";
const CARBON_FRACTION_UNIT: &str = "t C/t d.m.";
const RATIO_UNIT: &str = "t d.m./t d.m.";

impl ParameterSet {
    /// Reads a set and checks it as a whole, so that a set that loads is a set that works.
    ///
    /// # Errors
    /// [`ParameterError`]: unknown keys, a "?" value, a missing reference, an impossible number.
    pub fn load(text: &str) -> Result<Self, ParameterError> {
        let file: File = toml::from_str(text)?;
        let approved_on = match file.approved_on.as_deref() {
            None => None,
            Some(text) => Some(text.parse::<Date>().map_err(|_| ParameterError::Invalid {
                set: file.name.clone(),
                id: "approved_on".to_owned(),
                found: format!("found {text:?}"),
                expected: "a date such as \"2024-06-30\"".to_owned(),
            })?),
        };
        let sha256 = Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        let set = Self { file, approved_on, sha256 };
        set.check()?;
        Ok(set)
    }

    /// A set that comes with the program.
    ///
    /// # Errors
    /// [`ParameterError::UnknownSet`] with the names there are.
    pub fn builtin(name: &str) -> Result<Self, ParameterError> {
        match BUILTIN.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => Self::load(text),
            None => Err(ParameterError::UnknownSet {
                name: name.to_owned(),
                known: BUILTIN.iter().map(|(known, _)| *known).collect(),
            }),
        }
    }

    /// Name of the set, as it stands in tables.
    pub fn name(&self) -> &str {
        &self.file.name
    }

    /// Version of the set.
    pub fn version(&self) -> &str {
        &self.file.version
    }

    /// What the set is.
    pub fn title(&self) -> &str {
        &self.file.title
    }

    /// SHA-256 of the text, hex.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Who took responsibility and when, if anybody did: a name and a date, not one of them.
    pub fn approval(&self) -> Option<(&str, Date)> {
        let by = self.file.approved_by.as_deref().map(str::trim).filter(|by| !by.is_empty())?;
        Some((by, self.approved_on?))
    }

    /// Whether somebody took responsibility for the set.
    pub fn approved(&self) -> bool {
        self.approval().is_some()
    }

    /// A value by its id.
    pub fn value(&self, id: &str) -> Option<&Parameter> {
        self.file.values.get(id)
    }

    /// The value of the class that this biomass falls into.
    ///
    /// # Errors
    /// [`ParameterError::NoClass`] where the table has no such row.
    pub fn class(&self, classes: &str, agb: AgbDensity) -> Result<&Parameter, ParameterError> {
        let met = |c: &&Class| c.at_least.is_none_or(|b| agb.get() >= b) && c.more_than.is_none_or(|b| agb.get() > b);
        let row = self.file.classes.get(classes).and_then(|rows| rows.iter().rfind(met));
        row.and_then(|row| self.value(&row.value)).ok_or_else(|| ParameterError::NoClass {
            set: self.file.name.clone(),
            classes: classes.to_owned(),
            agb: agb.get(),
        })
    }

    /// The id and entry of the forest type that a parcel's attribute means.
    ///
    /// The attribute is a type's id, Chinese or English name; or, when the ecological zone is configured, a kind of
    /// forest (`conifer`) or one of the set's aliases for it (针叶林, 落叶松). Upper and lower case are the same.
    ///
    /// # Errors
    /// [`ParameterError::UnknownForestType`], listing what would be understood.
    pub fn forest_type(&self, name: &str, zone: Option<&str>) -> Result<(&str, &ForestType), ParameterError> {
        let wanted = name.trim().to_lowercase();
        let by_name = self.file.forest_types.iter().find(|(id, t)| {
            [id.as_str(), t.name_zh.as_str(), t.name_en.as_str()].iter().any(|n| n.to_lowercase() == wanted)
        });
        if let Some((id, found)) = by_name {
            return Ok((id, found));
        }
        let alias = self.file.aliases.iter().find(|(alias, _)| alias.to_lowercase() == wanted);
        let kind = alias.map_or(wanted, |(_, kind)| kind.clone());
        let in_zone =
            self.file.forest_types.iter().find(|(_, t)| Some(t.zone.as_str()) == zone && t.kinds.contains(&kind));
        match in_zone {
            Some((id, found)) => Ok((id, found)),
            None => Err(self.unknown_forest_type(name, zone)),
        }
    }

    /// The factors of a forest type's stock. The root-to-shoot ratio is that of the type's full-cover biomass, so it is
    /// the same at every epoch: looked up at each, a class boundary would turn growth into loss.
    ///
    /// # Errors
    /// [`ParameterError`]; for a type of this set, only when the type was changed after loading.
    pub fn factors(&self, forest_type: &ForestType) -> Result<Factors, ParameterError> {
        let (agb, agb_cv) = self.quantified(&forest_type.aboveground, AGB_UNIT)?;
        let (cf, cf_cv) = self.quantified(&forest_type.carbon_fraction, CARBON_FRACTION_UNIT)?;
        let checked = |id: &str, e: OutOfRange| self.invalid(id, e.to_string(), "a possible value with a possible cv");
        let (at, cf_id) = (forest_type.aboveground.as_str(), forest_type.carbon_fraction.as_str());
        let aboveground = Estimate {
            value: AgbDensity::new(agb).map_err(|e| checked(at, e))?,
            se: AgbDensity::new(agb * agb_cv).map_err(|e| checked(at, e))?,
        };
        let carbon_fraction = Estimate {
            value: Fraction::new(cf).map_err(|e| checked(cf_id, e))?,
            se: Fraction::new(cf * cf_cv).map_err(|e| checked(cf_id, e))?,
        };
        let root_to_shoot = match &forest_type.root_to_shoot {
            None => None,
            Some(classes) => {
                let ratio = self.class(classes, aboveground.value)?;
                self.quantify(classes, ratio, RATIO_UNIT).map(|(value, cv)| Some(Estimate { value, se: value * cv }))?
            }
        };
        Ok(Factors { aboveground, carbon_fraction, root_to_shoot })
    }

    fn quantified(&self, id: &str, unit: &str) -> Result<(f64, f64), ParameterError> {
        let parameter = self.value(id).ok_or_else(|| self.invalid(id, "no such value", "the id of a value"))?;
        self.quantify(id, parameter, unit)
    }

    /// Value and cv of a parameter that must have both, in the unit it must have.
    fn quantify(&self, id: &str, parameter: &Parameter, unit: &str) -> Result<(f64, f64), ParameterError> {
        if parameter.unit != unit {
            return Err(self.invalid(id, format!("unit {:?}", parameter.unit), format!("{unit:?}")));
        }
        let cv = parameter.cv().ok_or_else(|| self.invalid(id, "neither range nor cv", "one of them"))?;
        Ok((parameter.value, cv))
    }

    fn invalid(&self, id: &str, found: impl Into<String>, expected: impl Into<String>) -> ParameterError {
        ParameterError::Invalid {
            set: self.file.name.clone(),
            id: id.to_owned(),
            found: found.into(),
            expected: expected.into(),
        }
    }

    fn unknown_forest_type(&self, name: &str, zone: Option<&str>) -> ParameterError {
        let list = |ids: &mut dyn Iterator<Item = &String>| ids.map(String::as_str).collect::<Vec<_>>().join(", ");
        let zones: BTreeSet<&String> = self.file.forest_types.values().map(|t| &t.zone).collect();
        let kinds: BTreeSet<&String> = self.file.forest_types.values().flat_map(|t| &t.kinds).collect();
        ParameterError::UnknownForestType {
            set: self.file.name.clone(),
            name: name.to_owned(),
            zone: zone.map(str::to_owned),
            accepted: format!(
                "one of {}; or, with an ecological zone ({}), one of {}, {}",
                list(&mut self.file.forest_types.keys()),
                list(&mut zones.into_iter()),
                list(&mut kinds.into_iter()),
                list(&mut self.file.aliases.keys()),
            ),
        }
    }

    fn check(&self) -> Result<(), ParameterError> {
        for (id, p) in &self.file.values {
            if p.confidence == Confidence::Unsure || p.range_confidence == Some(Confidence::Unsure) {
                return Err(ParameterError::Unsure { set: self.file.name.clone(), id: id.clone() });
            }
            if !p.value.is_finite() {
                return Err(self.invalid(id, format!("value {}", p.value), "a finite number"));
            }
            if p.unit.trim().is_empty() || p.source.trim().is_empty() {
                return Err(self.invalid(id, "empty unit or source", "both (a pure number has unit \"1\")"));
            }
            if let Some((min, max)) = p.range
                && !(min.is_finite() && max.is_finite() && min <= p.value && p.value <= max)
            {
                return Err(self.invalid(id, format!("range {min} to {max}"), format!("one around {}", p.value)));
            }
            if let Some(cv) = p.cv()
                && !(cv.is_finite() && cv >= 0.0)
            {
                return Err(self.invalid(id, format!("cv {cv}"), "a finite cv of at least 0, so a value above 0"));
            }
        }
        for (id, rows) in &self.file.classes {
            for row in rows {
                self.quantified(&row.value, RATIO_UNIT)?;
                if row.at_least.is_some() && row.more_than.is_some() {
                    return Err(self.invalid(id, "both at_least and more_than in a row", "one of them"));
                }
            }
            let bounds: Vec<f64> =
                rows.iter().map(|r| r.at_least.or(r.more_than).unwrap_or(f64::NEG_INFINITY)).collect();
            if rows.is_empty() || !bounds.windows(2).all(|b| b[0] < b[1]) {
                return Err(self.invalid(id, format!("row bounds {bounds:?}"), "at least one row, bounds ascending"));
            }
        }
        for (id, forest_type) in &self.file.forest_types {
            if let Some(classes) = &forest_type.root_to_shoot
                && !self.file.classes.contains_key(classes)
            {
                return Err(self.invalid(id, format!("root_to_shoot {classes:?}"), "the id of a table in [classes]"));
            }
            self.factors(forest_type)?;
            let twins = self.file.forest_types.iter().find(|(other_id, other)| {
                *other_id != id
                    && other.zone == forest_type.zone
                    && other.kinds.iter().any(|k| forest_type.kinds.contains(k))
            });
            if let Some((other, _)) = twins {
                return Err(self.invalid(id, format!("same zone and kind as {other:?}"), "one type per zone and kind"));
            }
        }
        for (alias, kind) in &self.file.aliases {
            if !self.file.forest_types.values().any(|t| t.kinds.contains(kind)) {
                return Err(self.invalid(alias, format!("alias of {kind:?}"), "a kind of some forest type"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipcc() -> ParameterSet {
        ParameterSet::builtin("ipcc-2006").unwrap()
    }

    #[test]
    fn every_builtin_set_loads_under_its_own_name() {
        for (name, _) in BUILTIN {
            assert_eq!(ParameterSet::builtin(name).unwrap().name(), *name);
        }
        let message = ParameterSet::builtin("ipcc").unwrap_err().to_string();
        assert_eq!(message, "no parameter set named \"ipcc\", expected one of ipcc-2006, or the path of a file");
    }

    // Example 8: temperate conifers with 63.75 t/ha have R 0.29 and CF 0.51.
    #[test]
    fn example_8_lookups() {
        let set = ipcc();
        let r = set.class("r_temperate_conifer", AgbDensity::new(63.75).unwrap()).unwrap();
        assert_eq!(r.value, 0.29);
        let (_, conifer) = set.forest_type("针叶林", Some("temperate_continental")).unwrap();
        assert_eq!(set.factors(conifer).unwrap().carbon_fraction.value.get(), 0.51);
    }

    // Table 4.4: <50, 50-150, >150 and <75, 75-150, >150: the bounds themselves belong to the middle row.
    #[test]
    fn class_bounds_are_those_of_the_table() {
        let set = ipcc();
        let r = |classes: &str, agb: f64| set.class(classes, AgbDensity::new(agb).unwrap()).map(|p| p.value);
        for (agb, expected) in [(0.0, 0.40), (49.9, 0.40), (50.0, 0.29), (150.0, 0.29), (150.1, 0.20)] {
            assert_eq!(r("r_temperate_conifer", agb).unwrap(), expected, "{agb}");
        }
        for (agb, expected) in [(74.9, 0.46), (75.0, 0.23), (150.0, 0.23), (151.0, 0.24)] {
            assert_eq!(r("r_temperate_broadleaf", agb).unwrap(), expected, "{agb}");
        }
        let message = r("r_temperate_oak", 70.0).unwrap_err().to_string();
        assert_eq!(
            message,
            "\"r_temperate_oak\" of parameter set \"ipcc-2006\" has no row for 70 t d.m./ha aboveground"
        );
    }

    #[test]
    fn a_range_is_read_as_a_95_percent_interval() {
        let cf = ipcc().value("cf_conifer").cloned().unwrap();
        assert!((cf.cv().unwrap() - 0.08 / (3.92 * 0.51)).abs() < 1e-15);
        assert_eq!(Parameter { cv: Some(0.1), ..cf }.cv(), Some(0.1));
    }

    #[test]
    fn forest_types_are_found_by_what_a_layer_says() {
        let set = ipcc();
        let id = |name: &str, zone| set.forest_type(name, zone).map(|(id, _)| id.to_owned());
        let zone = Some("temperate_continental");
        assert_eq!(id("temperate_mountain_oak", None).unwrap(), "temperate_mountain_oak");
        assert_eq!(id("温带山地针叶林", None).unwrap(), "temperate_mountain_conifer");
        assert_eq!(id(" 落叶松 ", zone).unwrap(), "temperate_continental_conifer");
        assert_eq!(id("Broadleaf", zone).unwrap(), "temperate_continental_broadleaf");
        assert_eq!(id("针阔混交林", Some("subtropical_humid")).unwrap(), "subtropical_humid");
        assert!(id("落叶松", None).is_err(), "a species does not say where it grows");
        let message = id("混交林", zone).unwrap_err().to_string();
        assert!(message.starts_with("forest type \"混交林\" in ecological zone \"temperate_continental\" is unknown"));
        assert!(message.contains("针阔混交林") && message.contains("temperate_continental_mixed"));
    }

    const SMALL: &str = r#"
name = "own"
version = "1"
title = "t"
[values.a]
value = 100.0
unit = "t d.m./ha"
source = "plots"
confidence = "V"
cv = 0.1
[values.c]
value = 0.5
unit = "t C/t d.m."
source = "plots"
confidence = "K"
range = [0.45, 0.55]
[forest_types.x]
name_zh = "林"
name_en = "x"
zone = "z"
kinds = ["k"]
aboveground = "a"
carbon_fraction = "c"
"#;

    fn refused(from: &str, to: &str) -> String {
        assert!(SMALL.contains(from));
        ParameterSet::load(&SMALL.replacen(from, to, 1)).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_is_refused_when_read() {
        assert!(ParameterSet::load(SMALL).is_ok());
        assert_eq!(
            refused("\"V\"", "\"?\""),
            "value \"a\" of parameter set \"own\" has confidence \"?\": it is not certain and has no default; \
             put in your own value with its source, and confidence \"V\" or \"K\""
        );
        assert!(refused("cv = 0.1", "cvv = 0.1").contains("unknown field"));
        assert!(refused("cv = 0.1", "").contains("neither range nor cv"));
        assert!(refused("cv = 0.1", "cv = -0.1").contains("cv -0.1"));
        assert!(refused("t d.m./ha", "t C/ha").contains("unit \"t C/ha\", expected \"t d.m./ha\""));
        assert!(refused("[0.45, 0.55]", "[0.51, 0.55]").contains("range 0.51 to 0.55, expected one around 0.5"));
        assert!(refused("value = 0.5", "value = 1.5\ncv = 0.1").contains("range"));
        assert!(refused("aboveground = \"a\"", "aboveground = \"b\"").contains("no such value"));
        assert!(refused("value = 100.0", "value = nan").contains("expected a finite number"));
        assert!(refused("\"plots\"", "\"\"").contains("empty unit or source"));
        assert!(refused("title = \"t\"", "title = \"t\"\napproved_on = \"June\"").contains("approved_on"));
    }

    #[test]
    fn approval_takes_a_name_and_a_date() {
        let approved = |lines: &str| {
            let text = SMALL.replacen("title = \"t\"", &format!("title = \"t\"\n{lines}"), 1);
            ParameterSet::load(&text).unwrap().approved()
        };
        assert!(!ipcc().approved());
        assert!(!approved("approved_by = \"A\""));
        assert!(!approved("approved_by = \" \"\napproved_on = \"2024-01-01\""));
        assert!(approved("approved_by = \"A\"\napproved_on = \"2024-01-01\""));
    }

    #[test]
    fn the_digest_is_that_of_the_text() {
        let (a, b) = (ParameterSet::load(SMALL).unwrap(), ParameterSet::load(&format!("{SMALL}\n")).unwrap());
        assert_eq!(a.sha256().len(), 64);
        assert_ne!(a.sha256(), b.sha256());
    }

    #[test]
    fn names_in_files_and_messages_are_the_same() {
        for pool in [Pool::Aboveground, Pool::Belowground, Pool::DeadWood, Pool::Litter, Pool::Soil, Pool::Total] {
            assert_eq!(serde_json::to_string(&pool).unwrap(), format!("\"{pool}\""));
        }
        for flag in [
            Flag::Tier1,
            Flag::FewObservations,
            Flag::UnapprovedParameters,
            Flag::Saturated,
            Flag::Extrapolated,
            Flag::MorePlotsNeeded,
            Flag::NotConverged,
            Flag::AreaErrorNotStated,
            Flag::Overlapping,
            Flag::NotValidatedLocally,
            Flag::RetentionNotObserved,
            Flag::GrowthNotStated,
            Flag::UnapprovedModel,
            Flag::FewPlots,
            Flag::OutsideCalibrationArea,
        ] {
            assert_eq!(serde_json::to_string(&flag).unwrap(), format!("\"{}\"", flag.name()));
        }
        for status in [Status::Issuable, Status::ScreeningOnly] {
            assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{}\"", status.name()));
        }
    }
}
