//! Named parameter sets: where a number of the science comes from, and which numbers a forest's name means.
//!
//! A set is checked as a whole when it is read: every value has unit, source and confidence, every reference leads to a
//! value of the right unit, and nothing is certain that is tagged "?".

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::chain::{Factor, Part, Shape};
use super::names::{Names, nearest, normalised};
use super::tier1_cover::Factors;
use crate::units::{AgbDensity, Estimate, Fraction, OutOfRange};

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

    /// The number as a factor whose error has this source. Without a distribution: lognormal where it is above 0, else
    /// normal. Without range and cv it is exact.
    pub fn factor(&self, part: Part, source: String) -> Factor {
        let value = self.value;
        match (self.distribution, self.range, self.cv()) {
            (Some(Distribution::Triangular), Some((min, max)), _) if self.cv.is_none() && min < max => {
                Factor { value, part, shape: Shape::Triangular { min, max }, sources: vec![(source.into(), 1.0)] }
            }
            (_, _, None) => Factor { part, ..Factor::exact(value) },
            (_, _, Some(0.0)) => Factor { part, ..Factor::exact(value) },
            (Some(Distribution::Normal), _, Some(cv)) => Factor::normal(part, source, value, value * cv),
            (_, _, Some(cv)) if value > 0.0 => Factor::lognormal(part, source, value, cv),
            (_, _, Some(cv)) => Factor::normal(part, source, value, (value * cv).abs()),
        }
    }
}

/// One row of a table that is entered by aboveground biomass or by volume; without a bound it is the row for everything
/// below.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// The row holds from this biomass (t d.m./ha) or volume (m3/ha) on.
    pub at_least: Option<f64>,
    /// The row holds above this biomass (t d.m./ha) or volume (m3/ha).
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
    /// Kinds of forest (taxa of the table of names: conifer, broadleaf, ...) that this type stands for in its zone.
    pub kinds: Vec<String>,
    /// Id of the biomass of full cover, t d.m./ha.
    pub aboveground: String,
    /// Id of the carbon fraction, t C/t d.m.
    pub carbon_fraction: String,
    /// Id of the classes of the root-to-shoot ratio.
    pub root_to_shoot: Option<String>,
}

/// How growing stock becomes biomass; each field is the id of a value or of a table in `[volume_classes]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "snake_case", deny_unknown_fields)]
pub enum VolumeModel {
    /// Aboveground = V x BCEF (IPCC 2006 Vol 4 Eq 2.8), BCEF by class of volume.
    Expansion {
        /// Classes of BCEF of the stock.
        stock: String,
        /// Classes of BCEF of the increment (Eq 2.10).
        increment: Option<String>,
        /// Classes of BCEF of removals (Eq 2.12).
        removals: Option<String>,
    },
    /// Biomass with roots = a V + b (Fang et al. 2001, Science 292:2320).
    Linear {
        /// Id of a, t d.m./m3.
        slope: String,
        /// Id of b, t d.m./ha.
        intercept: String,
    },
    /// Aboveground = V D BEF.
    Density {
        /// Id of the basic wood density D, t d.m./m3.
        density: String,
        /// Id of the biomass expansion factor BEF.
        expansion: String,
    },
}

/// Leaf of a forest, which litter is told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leaf {
    /// Broad-leaved.
    Broadleaf,
    /// Conifers.
    Needleleaf,
}

/// A group of species that shares its factors from growing stock to carbon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeGroup {
    /// Chinese name.
    pub name_zh: String,
    /// English name.
    pub name_en: String,
    /// Ecological zones that it holds in; none: everywhere.
    #[serde(default)]
    pub zones: Vec<String>,
    /// Taxa of the table of names that it stands for.
    pub taxa: Vec<String>,
    /// Leaf; none for mixed forest.
    pub leaf: Option<Leaf>,
    /// From volume to biomass.
    pub model: VolumeModel,
    /// Root-to-shoot ratio: id of a value, or of a table in `[classes]`.
    pub root_to_shoot: String,
    /// Id of the carbon fraction, t C/t d.m.
    pub carbon_fraction: String,
    /// Id of what the model may be off by in another place: a factor with mean 1.
    pub transfer_error: Option<String>,
    /// Id of the smallest volume that the model holds for, m3/ha.
    pub min_volume: Option<String>,
    /// Id of the litter of this group in any climate, t C/ha.
    pub litter: Option<String>,
    /// Id of its dead wood, t C/ha.
    pub dead_wood: Option<String>,
}

/// A climate and the ids of what its forest holds besides living biomass, t C/ha.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Climate {
    /// Chinese name.
    pub name_zh: String,
    /// English name.
    pub name_en: String,
    /// Litter by leaf.
    #[serde(default)]
    pub litter: BTreeMap<Leaf, String>,
    /// Dead wood by leaf.
    #[serde(default)]
    pub dead_wood: BTreeMap<Leaf, String>,
    /// Soil organic carbon by soil type.
    #[serde(default)]
    pub soil: BTreeMap<String, String>,
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
    volume_classes: BTreeMap<String, Vec<Class>>,
    #[serde(default)]
    forest_types: BTreeMap<String, ForestType>,
    #[serde(default)]
    groups: BTreeMap<String, VolumeGroup>,
    #[serde(default)]
    climates: BTreeMap<String, Climate>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
}

/// A named, versioned, sourced set of numbers. See `configs/parameters/`.
#[derive(Debug, Clone)]
pub struct ParameterSet {
    file: File,
    approved_on: Option<Date>,
    sha256: String,
    names: Names,
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
    /// A name that the set knows values for in several ecological zones, and no zone.
    #[error(
        "found {name:?} without an ecological zone, expected one with it, since parameter set {set:?} has several values for \
         it; give ecological_zone"
    )]
    ZoneNeeded {
        /// The set.
        set: String,
        /// The name asked for.
        name: String,
    },
    /// An ecological zone that the set has no values for growing stock in.
    #[error(
        "found {name:?}: parameter set {set:?} has no factors for growing stock in ecological zone {zone:?}; correct \
         ecological_zone, or use another set"
    )]
    UnknownZone {
        /// The set.
        set: String,
        /// The name asked for.
        name: String,
        /// The zone.
        zone: String,
    },
    /// A forest type that the set does not know, or that the name does not single out.
    #[error("found {name:?}, which is unknown or ambiguous in parameter set {set:?}{}, expected {accepted}", within(zone.as_deref()))]
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
    #[error("{classes:?} of parameter set {set:?} has no row for {found} {unit}")]
    NoClass {
        /// The set.
        set: String,
        /// The classes.
        classes: String,
        /// What was looked up.
        found: f64,
        /// Its unit.
        unit: &'static str,
    },
    /// The table of names that comes with the program.
    #[error("table of species names: {0}")]
    Names(String),
    /// A species or forest type whose growing stock the set has no factors for, or that is ambiguous.
    #[error("found {name:?}: {why}; {help}")]
    UnknownSpecies {
        /// The name asked for.
        name: String,
        /// Why it is refused.
        why: String,
        /// What would be understood, what to do.
        help: String,
    },
}

fn within(zone: Option<&str>) -> String {
    zone.map_or_else(String::new, |zone| format!(" within ecological zone {zone:?}"))
}

/// The sets that come with the program: name and text.
const BUILTIN: &[(&str, &str)] = &[
    ("ipcc-2006", include_str!("../../configs/parameters/ipcc-2006.toml")),
    ("fang-2001", include_str!("../../configs/parameters/fang-2001.toml")),
    ("cn-ar-cm-001", include_str!("../../configs/parameters/cn-ar-cm-001.toml")),
];

const AGB_UNIT: &str = "t d.m./ha";
const CARBON_FRACTION_UNIT: &str = "t C/t d.m.";
const RATIO_UNIT: &str = "t d.m./t d.m.";
const PER_VOLUME_UNIT: &str = "t d.m./m3";
const VOLUME_UNIT: &str = "m3/ha";
const CARBON_UNIT: &str = "t C/ha";
const PURE_UNIT: &str = "1";

/// What the figures of a forest type, group of species or climate are made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Chinese name.
    pub name_zh: String,
    /// English name.
    pub name_en: String,
    /// How aboveground biomass is made: `cover`, a form of [`VolumeModel`], or `pools` of a climate.
    pub form: String,
    /// Ids of the values of that; of a table by class, all its rows.
    pub biomass: Vec<String>,
    /// Ids of the others: carbon fraction, roots, transfer error, litter, dead wood, soil.
    pub others: Vec<String>,
}

/// Nearest names that the message of a parcel shows before it says how many more there are.
const SHOWN: usize = 5;

/// Position and row of a table that a number falls into.
fn row(rows: &[Class], x: f64) -> Option<(usize, &Class)> {
    let met = |c: &Class| c.at_least.is_none_or(|b| x >= b) && c.more_than.is_none_or(|b| x > b);
    rows.iter().enumerate().rfind(|(_, c)| met(c))
}

fn list(words: BTreeSet<&str>) -> String {
    words.into_iter().collect::<Vec<_>>().join(", ")
}

impl ParameterSet {
    /// Every value, by id.
    pub fn values(&self) -> &BTreeMap<String, Parameter> {
        &self.file.values
    }

    /// Which values make the figures of what: by `forest_types/ID`, `groups/ID` and `climates/ID`.
    pub fn origins(&self) -> BTreeMap<String, Origin> {
        let file = &self.file;
        // An id is that of a value or of a table of them.
        let rows = |id: &String| -> Vec<String> {
            let table = file.classes.get(id).or_else(|| file.volume_classes.get(id));
            table.map_or_else(|| vec![id.clone()], |rows| rows.iter().map(|c| c.value.clone()).collect())
        };
        let all = |ids: &[Option<&String>]| ids.iter().flatten().flat_map(|id| rows(id)).collect::<Vec<_>>();
        let mut origins = BTreeMap::new();
        for (id, t) in &file.forest_types {
            let origin = Origin {
                name_zh: t.name_zh.clone(),
                name_en: t.name_en.clone(),
                form: "cover".into(),
                biomass: all(&[Some(&t.aboveground)]),
                others: all(&[Some(&t.carbon_fraction), t.root_to_shoot.as_ref()]),
            };
            origins.insert(format!("forest_types/{id}"), origin);
        }
        for (id, g) in &file.groups {
            let (form, biomass) = match &g.model {
                VolumeModel::Expansion { stock, increment, removals } => {
                    ("expansion", all(&[Some(stock), increment.as_ref(), removals.as_ref()]))
                }
                VolumeModel::Linear { slope, intercept } => ("linear", all(&[Some(slope), Some(intercept)])),
                VolumeModel::Density { density, expansion } => ("density", all(&[Some(density), Some(expansion)])),
            };
            let roots = Some(&g.root_to_shoot);
            let own = [g.transfer_error.as_ref(), g.min_volume.as_ref(), g.litter.as_ref(), g.dead_wood.as_ref()];
            let origin = Origin {
                name_zh: g.name_zh.clone(),
                name_en: g.name_en.clone(),
                form: form.into(),
                biomass,
                others: [all(&[Some(&g.carbon_fraction), roots]), all(&own)].concat(),
            };
            origins.insert(format!("groups/{id}"), origin);
        }
        for (id, c) in &file.climates {
            let others = c.litter.values().chain(c.dead_wood.values()).chain(c.soil.values()).cloned().collect();
            let (name_zh, name_en) = (c.name_zh.clone(), c.name_en.clone());
            let origin = Origin { name_zh, name_en, form: "pools".into(), biomass: Vec::new(), others };
            origins.insert(format!("climates/{id}"), origin);
        }
        origins
    }

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
        let names = Names::load().map_err(ParameterError::Names)?;
        let set = Self { file, approved_on, sha256, names };
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

    /// SHA-256 of the table of names, hex: it says which of the set's values a word of a layer means.
    pub fn names_sha256(&self) -> &str {
        self.names.sha256()
    }

    /// Name, version, and the digests of the set and of the table of names, as they stand in tables.
    pub fn stamp(&self) -> String {
        let short = |digest: &str| digest.chars().take(16).collect::<String>();
        let (set, names) = (short(&self.sha256), short(self.names_sha256()));
        format!("{} {} sha256:{set} names:{names}", self.name(), self.version())
    }

    /// The ecological zones and the words of growing stock that the set has values for, for a message.
    pub fn known_groups(&self) -> (String, String) {
        let groups = || self.file.groups.values();
        let zones: BTreeSet<&str> = groups().flat_map(|g| &g.zones).map(String::as_str).collect();
        let names: BTreeSet<&str> = groups().map(|g| g.name_zh.as_str()).collect();
        let names = if names.is_empty() { "no growing stock at all".to_owned() } else { list(names) };
        (list(zones), names)
    }

    /// The ecological zones, and the forest types with the kinds they stand for, that the set has values for, for a message.
    pub fn known_types(&self) -> (String, String) {
        let types = &self.file.forest_types;
        let zones: BTreeSet<&str> = types.values().map(|t| t.zone.as_str()).collect();
        let kinds: BTreeSet<&str> = types.values().flat_map(|t| &t.kinds).map(String::as_str).collect();
        let ids: BTreeSet<&str> = types.keys().map(String::as_str).collect();
        if ids.is_empty() {
            return (list(zones), "no forest type at all, as ipcc-2006 does".to_owned());
        }
        (list(zones), format!("{}; with an ecological zone {}", list(ids), list(kinds)))
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
        let id = self.root_to_shoot(classes, agb.get())?;
        self.value(id).ok_or_else(|| self.no_class(classes, agb.get(), "t d.m./ha aboveground"))
    }

    /// Id of a root-to-shoot ratio: of a value itself, or of the row of a table that this biomass (t d.m./ha) falls into.
    ///
    /// # Errors
    /// [`ParameterError::NoClass`] where the table has no such row.
    pub fn root_to_shoot<'a>(&'a self, id: &'a str, agb_t_per_ha: f64) -> Result<&'a str, ParameterError> {
        match self.file.classes.get(id) {
            None if self.file.values.contains_key(id) => Ok(id),
            rows => rows
                .and_then(|rows| row(rows, agb_t_per_ha))
                .map(|(_, row)| row.value.as_str())
                .ok_or_else(|| self.no_class(id, agb_t_per_ha, "t d.m./ha aboveground")),
        }
    }

    /// Id of the value of a table by volume, and whether it is the table's lowest class.
    ///
    /// # Errors
    /// [`ParameterError::NoClass`] where the table has no such row.
    pub fn volume_class(&self, classes: &str, volume_m3_per_ha: f64) -> Result<(&str, bool), ParameterError> {
        let found = self.file.volume_classes.get(classes).and_then(|rows| row(rows, volume_m3_per_ha));
        let (at, row) = found.ok_or_else(|| self.no_class(classes, volume_m3_per_ha, "m3/ha"))?;
        Ok((&row.value, at == 0))
    }

    fn no_class(&self, classes: &str, found: f64, unit: &'static str) -> ParameterError {
        ParameterError::NoClass { set: self.file.name.clone(), classes: classes.to_owned(), found, unit }
    }

    /// A value as a factor; its source of error is the value, so it is one draw over all dates and parcels.
    ///
    /// # Errors
    /// [`ParameterError::Invalid`] where there is no such value.
    pub fn factor(&self, id: &str, part: Part) -> Result<Factor, ParameterError> {
        let parameter = self.value(id).ok_or_else(|| self.invalid(id, "no such value", "the id of a value"))?;
        Ok(parameter.factor(part, format!("parameter/{}/{id}", self.file.name)))
    }

    /// A climate by its id.
    ///
    /// # Errors
    /// The climates there are, for a message.
    pub fn climate(&self, id: &str) -> Result<&Climate, String> {
        self.file.climates.get(id).ok_or_else(|| {
            let known: Vec<&str> = self.file.climates.keys().map(String::as_str).collect();
            if known.is_empty() {
                return format!("parameter set {:?} has no climates", self.file.name);
            }
            format!("expected one of {}", known.join(", "))
        })
    }

    /// The id and entry of the forest type that a parcel's attribute means.
    ///
    /// The attribute is a type's id, Chinese or English name; or, when the ecological zone is configured, a kind of
    /// forest (`conifer`) or a name of one or of a species (针叶林, 落叶松, larch). Upper and lower case are the same.
    ///
    /// # Errors
    /// [`ParameterError::UnknownForestType`], listing what would be understood.
    pub fn forest_type(&self, name: &str, zone: Option<&str>) -> Result<(&str, &ForestType), ParameterError> {
        if let Some(found) = self.named_type(name) {
            return Ok(found);
        }
        let in_zone = self.taxon(name).and_then(|taxon| {
            self.names.lineage(taxon).find_map(|taxon| {
                let mut types = self.file.forest_types.iter();
                types.find(|(_, t)| Some(t.zone.as_str()) == zone && t.kinds.iter().any(|k| k == taxon))
            })
        });
        match in_zone {
            Some((id, found)) => Ok((id, found)),
            None if zone.is_none() && self.taxon(name).is_some_and(|taxon| self.is_of_a_type(taxon)) => {
                Err(ParameterError::ZoneNeeded { set: self.file.name.clone(), name: name.to_owned() })
            }
            None => Err(self.unknown_forest_type(name, zone)),
        }
    }

    /// Whether some type of any zone stands for the taxon.
    fn is_of_a_type(&self, taxon: &str) -> bool {
        let kinds = || self.file.forest_types.values().flat_map(|t| &t.kinds);
        self.names.lineage(taxon).any(|taxon| kinds().any(|kind| kind == taxon))
    }

    /// The forest type of which this is the id or name: it names its zone as well.
    pub fn named_type(&self, name: &str) -> Option<(&str, &ForestType)> {
        let wanted = normalised(name);
        let is = |n: &str| normalised(n) == wanted;
        let mut types = self.file.forest_types.iter();
        types.find(|(id, t)| is(id) || is(&t.name_zh) || is(&t.name_en)).map(|(id, t)| (id.as_str(), t))
    }

    /// The taxon that a name means: by the set's own aliases, by the table of names, or the id of a taxon itself.
    fn taxon<'a>(&'a self, name: &str) -> Option<&'a str> {
        let wanted = normalised(name);
        let alias = self.file.aliases.iter().find(|(alias, _)| normalised(alias) == wanted);
        alias.map(|(_, taxon)| taxon.as_str()).or_else(|| self.names.taxon(name)).or_else(|| {
            let kinds = self.file.forest_types.values().flat_map(|t| &t.kinds);
            kinds.chain(self.file.groups.values().flat_map(|g| &g.taxa)).find(|k| **k == wanted).map(String::as_str)
        })
    }

    /// The id and entry of the volume group that a species or forest type means.
    ///
    /// The name is a group's id, Chinese or English name, or a name of a species or forest type; of the groups that hold
    /// in the zone, the one with the nearest taxon is taken.
    ///
    /// # Errors
    /// [`ParameterError::UnknownSpecies`], listing what would be understood, the nearest names first.
    pub fn volume_group(&self, name: &str, zone: Option<&str>) -> Result<(&str, &VolumeGroup), ParameterError> {
        let set = &self.file.name;
        let refused = |why: String, help: String| ParameterError::UnknownSpecies { name: name.to_owned(), why, help };
        if self.file.groups.is_empty() {
            let sets: Vec<&str> = BUILTIN.iter().map(|(name, _)| *name).collect();
            let why = format!("parameter set {set:?} has no [groups], so no factors for growing stock");
            return Err(refused(why, format!("add them, or use one of {}", sets.join(", "))));
        }
        let holds = |g: &VolumeGroup| g.zones.is_empty() || zone.is_some_and(|zone| g.zones.iter().any(|z| z == zone));
        if let Some(zone) = zone
            && !self.file.groups.values().any(holds)
        {
            let (set, name, zone) = (set.clone(), name.to_owned(), zone.to_owned());
            return Err(ParameterError::UnknownZone { set, name, zone });
        }
        let wanted = normalised(name);
        let is = |n: &str| normalised(n) == wanted;
        let groups = || self.file.groups.iter().filter(|(_, g)| holds(g));
        if let Some((id, group)) = groups().find(|(id, g)| is(id) || is(&g.name_zh) || is(&g.name_en)) {
            return Ok((id, group));
        }
        let taxon = self.taxon(name);
        let found = taxon.and_then(|taxon| {
            let mut wider = self.names.lineage(taxon);
            wider.find_map(|taxon| groups().find(|(_, g)| g.taxa.iter().any(|t| t == taxon)))
        });
        if let Some((id, group)) = found {
            return Ok((id, group));
        }
        let reached = |taxon: &str, all: bool| {
            self.names
                .lineage(taxon)
                .any(|t| self.file.groups.values().any(|g| (all || holds(g)) && g.taxa.iter().any(|own| own == t)))
        };
        if let Some(taxon) = taxon
            && zone.is_none()
            && reached(taxon, true)
        {
            return Err(ParameterError::ZoneNeeded { set: set.clone(), name: name.to_owned() });
        }
        let why = match taxon {
            None => format!("no species or forest type of this name is known to parameter set {set:?}"),
            Some(taxon) => format!("parameter set {set:?} has no factors for growing stock of {taxon}"),
        };
        let own = groups().flat_map(|(_, g)| [g.name_zh.as_str(), g.name_en.as_str()]);
        let aliases = self.file.aliases.iter().map(|(name, taxon)| (name.as_str(), taxon.as_str()));
        let known = self.names.all().chain(aliases).filter(|(_, taxon)| reached(taxon, zone.is_none()));
        let help = format!(
            "expected one of {}; correct it, or put it under [aliases] into a copy of the set",
            nearest(name, own.chain(known.map(|(name, _)| name)), SHOWN)
        );
        Err(refused(why, help))
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
        self.quantify(id, self.in_unit(id, unit)?, unit)
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
        let types = &self.file.forest_types;
        let accepted = if types.is_empty() {
            "a set with [forest_types], such as ipcc-2006: this one has no biomass of full cover".to_owned()
        } else {
            let of_type = |taxon: &str| self.is_of_a_type(taxon);
            let known = self.names.all().filter(|(_, taxon)| of_type(taxon)).map(|(name, _)| name);
            let own = types.iter().flat_map(|(id, t)| [id.as_str(), &t.name_zh, &t.name_en]);
            let names = known.chain(self.file.aliases.keys().map(String::as_str)).chain(own);
            format!(
                "one of {}; correct it, or put it under [aliases] into a copy of the set",
                nearest(name, names, SHOWN)
            )
        };
        ParameterError::UnknownForestType {
            set: self.file.name.clone(),
            name: name.to_owned(),
            zone: zone.map(str::to_owned),
            accepted,
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
        let by_biomass = self.file.classes.iter().map(|entry| (entry, RATIO_UNIT));
        let by_volume = self.file.volume_classes.iter().map(|entry| (entry, PER_VOLUME_UNIT));
        for ((id, rows), unit) in by_biomass.chain(by_volume) {
            for row in rows {
                self.in_unit(&row.value, unit)?;
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
        for (id, group) in &self.file.groups {
            self.check_group(id, group)?;
        }
        for climate in self.file.climates.values() {
            let mut ids = climate.litter.values().chain(climate.dead_wood.values()).chain(climate.soil.values());
            ids.try_for_each(|id| self.above_0(id, CARBON_UNIT))?;
        }
        for (alias, taxon) in &self.file.aliases {
            let kinds = self.file.forest_types.values().flat_map(|t| &t.kinds);
            let taxa: BTreeSet<&String> = kinds.chain(self.file.groups.values().flat_map(|g| &g.taxa)).collect();
            if !self.names.lineage(taxon).any(|t| taxa.iter().any(|known| *known == t)) {
                let expected = "a kind of some forest type, a taxon of some group, or one within them";
                return Err(self.invalid(alias, format!("alias of {taxon:?}"), expected));
            }
        }
        Ok(())
    }

    fn check_group(&self, id: &str, group: &VolumeGroup) -> Result<(), ParameterError> {
        let classes = |classes: &String| match self.file.volume_classes.get(classes) {
            None => Err(self.invalid(id, format!("{classes:?}"), "the id of a table in [volume_classes]")),
            Some(rows) => rows.iter().try_for_each(|row| self.above_0(&row.value, PER_VOLUME_UNIT)),
        };
        match &group.model {
            VolumeModel::Expansion { stock, increment, removals } => {
                [Some(stock), increment.as_ref(), removals.as_ref()].into_iter().flatten().try_for_each(classes)
            }
            VolumeModel::Linear { slope, intercept } => {
                self.above_0(slope, PER_VOLUME_UNIT).and_then(|()| self.in_unit(intercept, AGB_UNIT).map(drop))
            }
            VolumeModel::Density { density, expansion } => {
                self.above_0(density, PER_VOLUME_UNIT).and_then(|()| self.above_0(expansion, RATIO_UNIT))
            }
        }?;
        match self.file.classes.get(&group.root_to_shoot) {
            Some(rows) => rows.iter().try_for_each(|row| self.above_0(&row.value, RATIO_UNIT))?,
            None => self.above_0(&group.root_to_shoot, RATIO_UNIT)?,
        }
        self.above_0(&group.carbon_fraction, CARBON_FRACTION_UNIT)?;
        let optional = [
            (&group.transfer_error, PURE_UNIT),
            (&group.min_volume, VOLUME_UNIT),
            (&group.litter, CARBON_UNIT),
            (&group.dead_wood, CARBON_UNIT),
        ];
        for (value, unit) in optional {
            value.as_ref().map_or(Ok(()), |value| self.above_0(value, unit))?;
        }
        let twins = self.file.groups.iter().find(|(other_id, other)| {
            let both = |a: &[String], b: &[String]| a.iter().any(|x| b.contains(x));
            let zones = other.zones.is_empty() || group.zones.is_empty() || both(&other.zones, &group.zones);
            *other_id != id && zones && both(&other.taxa, &group.taxa)
        });
        match twins {
            Some((other, _)) => {
                Err(self.invalid(id, format!("same taxon and zone as {other:?}"), "one group for each"))
            }
            None => Ok(()),
        }
    }

    /// That there is such a value in this unit.
    fn in_unit(&self, id: &str, unit: &str) -> Result<&Parameter, ParameterError> {
        let parameter = self.value(id).ok_or_else(|| self.invalid(id, "no such value", "the id of a value"))?;
        if parameter.unit != unit {
            return Err(self.invalid(id, format!("unit {:?}", parameter.unit), format!("{unit:?}")));
        }
        Ok(parameter)
    }

    /// That there is such a value in this unit, above 0.
    fn above_0(&self, id: &str, unit: &str) -> Result<(), ParameterError> {
        let value = self.in_unit(id, unit)?.value;
        if value > 0.0 { Ok(()) } else { Err(self.invalid(id, format!("value {value}"), "a value above 0")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipcc() -> ParameterSet {
        ParameterSet::builtin("ipcc-2006").unwrap()
    }

    // Every value of a set that anything is made with is reached, and none that is not there.
    #[test]
    fn origins_name_values_of_the_set() {
        for (name, _) in BUILTIN {
            let set = ParameterSet::builtin(name).unwrap();
            let origins = set.origins();
            let named: BTreeSet<&String> = origins.values().flat_map(|o| o.biomass.iter().chain(&o.others)).collect();
            let there: BTreeSet<&String> = set.values().keys().collect();
            assert!(!named.is_empty() && named.is_subset(&there), "{name}: {:?}", named.difference(&there));
        }
        let set = ParameterSet::builtin("cn-ar-cm-001").unwrap();
        let larch = &set.origins()["groups/larch"];
        assert_eq!(
            (larch.form.as_str(), larch.biomass.as_slice()),
            ("density", &["larch_d".to_owned(), "larch_bef".into()][..])
        );
        assert!(["larch_cf", "larch_r", "transfer_error"].iter().all(|id| larch.others.iter().any(|o| o == id)));
    }

    #[test]
    fn every_builtin_set_loads_under_its_own_name() {
        for (name, _) in BUILTIN {
            assert_eq!(ParameterSet::builtin(name).unwrap().name(), *name);
        }
        let message = ParameterSet::builtin("ipcc").unwrap_err().to_string();
        assert_eq!(
            message,
            "no parameter set named \"ipcc\", expected one of ipcc-2006, fang-2001, cn-ar-cm-001, or the path of a file"
        );
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
        assert!(message.starts_with("found \"混交林\", which is unknown or ambiguous in parameter set \"ipcc-2006\""));
        assert!(message.contains("within ecological zone \"temperate_continental\", expected one of "), "{message}");
        assert!(message.contains("针阔混交林") && message.chars().count() < 260, "{message}");
        let message = id("落叶松", None).unwrap_err().to_string();
        assert!(message.starts_with("found \"落叶松\" without an ecological zone") && message.len() < 200, "{message}");
        let (zones, names) = set.known_types();
        assert!(zones.contains("subtropical_humid") && names.contains("temperate_continental_mixed"));
        let fang = ParameterSet::builtin("fang-2001").unwrap();
        assert!(fang.known_types().1.contains("no forest type") && fang.known_groups().1.contains("落叶松"));
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
    fn the_stamp_holds_both_digests() {
        let set = ipcc();
        let table = include_bytes!("../../configs/parameters/species.toml");
        assert_eq!(set.names_sha256(), crate::digest::Sha256::of(table).to_string());
        assert_eq!(
            set.stamp(),
            format!("ipcc-2006 2 sha256:{} names:{}", &set.sha256()[..16], &set.names_sha256()[..16])
        );
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

    // Each name of the table leads to a group of the set, or is told that the set has no factors for its taxon; never to
    // "unknown". And which taxa each set knows is what its source has.
    #[test]
    fn every_name_means_something_to_every_set() {
        let names = Names::load().unwrap();
        let without = |set: &str, zone: &str| -> BTreeSet<String> {
            let set = ParameterSet::builtin(set).unwrap();
            let mut without = BTreeSet::new();
            for (name, taxon) in names.all() {
                match set.volume_group(name, Some(zone)) {
                    Ok((id, group)) => {
                        assert!(names.lineage(taxon).any(|t| group.taxa.iter().any(|own| own == t)), "{name}: {id}");
                    }
                    Err(e) => {
                        assert!(
                            e.to_string().contains(&format!("has no factors for growing stock of {taxon};")),
                            "{e}"
                        );
                        without.insert(taxon.to_owned());
                    }
                }
            }
            for (id, group) in &set.file.groups {
                for name in [id, &group.name_zh, &group.name_en].into_iter().chain(&group.taxa) {
                    let zone = group.zones.first().map(String::as_str);
                    assert_eq!(set.volume_group(name, zone).unwrap().0, id, "{name}");
                }
            }
            without
        };
        let taxa = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
        let nobody = ["bamboo", "conifer", "shrub"];
        assert_eq!(without("ipcc-2006", "temperate"), taxa(&[&nobody[..], &["mixed", "mixed_conifer"]].concat()));
        let boreal = ["cunninghamia", "cypress", "mixed", "mixed_conifer", "other_conifer"];
        assert_eq!(without("ipcc-2006", "boreal_coniferous"), taxa(&[&nobody[..], &boreal].concat()));
        let broad = ["alnus", "ash_walnut_cork", "broadleaf", "tilia"];
        let fang = ["hard_broadleaf", "mixed_broadleaf", "mixed_conifer", "pinus", "soft_broadleaf"];
        assert_eq!(without("fang-2001", "any"), taxa(&[&nobody[..], &broad, &fang].concat()));
        let cn = [
            "abies",
            "cypress",
            "evergreen_broadleaf",
            "fir_spruce",
            "other_conifer",
            "other_pine",
            "picea",
            "pinus",
            "pinus_armandii",
            "pinus_yunnanensis",
        ];
        assert_eq!(without("cn-ar-cm-001", "any"), taxa(&[&nobody[..], &broad, &cn].concat()));
    }

    // The numbers of Table 4.5 by another way than the file: as the rows of the table.
    #[test]
    fn bcef_of_the_ipcc_by_class() {
        let set = ipcc();
        let row = |classes: &str, volumes: &[f64]| -> Vec<f64> {
            let value = |v: &f64| set.value(set.volume_class(classes, *v).unwrap().0).unwrap().value;
            volumes.iter().map(value).collect()
        };
        let temperate = [0.0, 20.0, 20.5, 40.0, 100.0, 150.0, 200.0, 201.0];
        assert_eq!(row("bcef_s_temperate_pines", &temperate), [1.8, 1.8, 1.0, 1.0, 0.75, 0.7, 0.7, 0.7]);
        assert_eq!(row("bcef_i_temperate_hardwoods", &temperate), [1.5, 1.5, 1.3, 1.3, 0.9, 0.6, 0.6, 0.48]);
        let boreal = [20.0, 50.0, 100.0, 101.0];
        assert_eq!(row("bcef_s_boreal_larch", &boreal), [1.22, 0.78, 0.77, 0.77]);
        assert_eq!(row("bcef_r_boreal_pines", &boreal), [1.33, 0.75, 0.63, 0.55]);
        assert_eq!(set.volume_class("bcef_s_boreal_larch", 20.0).unwrap(), ("bcef_s_boreal_larch_up_to_20", true));
        let message = set.volume_class("bcef_s_boreal_larhc", 20.0).unwrap_err().to_string();
        assert_eq!(message, "\"bcef_s_boreal_larhc\" of parameter set \"ipcc-2006\" has no row for 20 m3/ha");
    }

    #[test]
    fn a_value_becomes_a_factor_by_its_distribution() {
        let parameter = |lines: &str| -> Parameter {
            let text = format!("value = 2.0\nunit = \"1\"\nsource = \"s\"\nconfidence = \"K\"\n{lines}");
            toml::from_str(&text).unwrap()
        };
        let factor = |lines: &str| parameter(lines).factor(Part::Allometry, "s".into());
        assert!(factor("").sources.is_empty() && factor("cv = 0.0").sources.is_empty());
        assert_eq!(factor("cv = 0.1"), Factor::lognormal(Part::Allometry, "s", 2.0, 0.1));
        assert_eq!(factor("cv = 0.1\ndistribution = \"normal\""), Factor::normal(Part::Allometry, "s", 2.0, 0.2));
        let triangular = factor("range = [1.0, 4.0]\ndistribution = \"triangular\"");
        assert_eq!(triangular.shape, Shape::Triangular { min: 1.0, max: 4.0 });
        let width = factor("range = [1.0, 4.0]").sources[0].1;
        assert!((width.powi(2).exp_m1().sqrt() - 3.0 / (2.0 * 1.96 * 2.0)).abs() < 1e-12);
        let negative = Parameter { value: -2.0, ..parameter("cv = 0.1") }.factor(Part::Model, "s".into());
        assert_eq!(negative, Factor::normal(Part::Model, "s", -2.0, 0.2));
    }

    #[test]
    fn groups_are_checked_when_a_set_is_read() {
        let fang = include_str!("../../configs/parameters/fang-2001.toml");
        let refused = |from: &str, to: &str| {
            assert!(fang.contains(from), "{from}");
            ParameterSet::load(&fang.replacen(from, to, 1)).unwrap_err().to_string()
        };
        let message = refused("confidence = \"K\"", "confidence = \"?\"");
        assert!(message.contains("has confidence \"?\": it is not certain and has no default"), "{message}");
        assert!(
            refused("slope = \"larch_a\"", "slope = \"larhc_a\"")
                .contains("\"larhc_a\" of parameter set \"fang-2001\": no such")
        );
        let message = refused("slope = \"larch_a\"", "slope = \"larch_b\"");
        assert!(message.contains("unit \"t d.m./ha\", expected \"t d.m./m3\""), "{message}");
        assert!(refused("intercept = \"larch_b\"", "intercpt = \"larch_b\"").contains("intercpt"));
        assert!(refused("form = \"linear\"", "form = \"cubic\"").contains("cubic"));
        assert!(refused("taxa = [\"larix\"]", "taxa = [\"betula\"]").contains("same taxon and zone as"));
        assert!(refused("value = 0.212", "value = 0.0").contains("value 0, expected a value above 0"));
        let alias = format!("{fang}\n[aliases]\n\"老头树\" = \"populuss\"\n");
        assert!(ParameterSet::load(&alias).unwrap_err().to_string().contains("alias of \"populuss\""));
        let alias = ParameterSet::load(&alias.replace("populuss", "populus")).unwrap();
        assert_eq!(alias.volume_group("老头树", None).unwrap().0, "poplar");
        let message = ParameterSet::load(SMALL).unwrap().volume_group("larch", None).unwrap_err().to_string();
        assert!(message.ends_with("add them, or use one of ipcc-2006, fang-2001, cn-ar-cm-001"), "{message}");
        let message = ParameterSet::load(fang).unwrap().forest_type("larch", None).unwrap_err().to_string();
        assert!(message.contains("this one has no biomass of full cover"), "{message}");
    }

    #[test]
    fn the_digest_is_that_of_the_text() {
        let (a, b) = (ParameterSet::load(SMALL).unwrap(), ParameterSet::load(&format!("{SMALL}\n")).unwrap());
        assert_eq!(a.sha256().len(), 64);
        assert_ne!(a.sha256(), b.sha256());
    }
}
