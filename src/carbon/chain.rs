//! What a biomass method says of one parcel, in a form that can be drawn: factors with their errors, and per epoch and pool
//! the products of them that make t C per hectare.
//!
//! Every method, whatever its science, comes down to sums of products: cover x full density x carbon fraction, or (volume +
//! increment x years) x expansion x (1 + roots) x carbon fraction x what is left standing. A method builds a [`Chain`];
//! [`super::monte_carlo`] propagates its errors and knows no method.
//!
//! Two factors are correlated through the independent sources that they name. A parameter of a set names itself, so it is
//! one draw over all pixels, dates and parcels; what is a parcel's own names the parcel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::draw::Source;
use super::{Flag, ForestType, ParameterError, ParameterSet, Pool, Status};
use crate::error::Reason;
use crate::series::Observation;
use crate::units::{Estimate, Hectares, days};

/// Which part of the variance an error belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Parameters of the biomass model: coefficients, densities of full cover, increments.
    Model,
    /// From volume or aboveground biomass to carbon: expansion, wood density, roots, carbon fraction.
    Allometry,
    /// What the model does not explain of this parcel, and errors of its own measurements.
    Residual,
    /// Boundary of the polygon, and adjustment of mapped areas.
    Area,
    /// What the index cannot see beyond its range.
    Saturation,
}

impl Part {
    /// All of them, in the order of the tables.
    pub const ALL: [Part; 5] = [Part::Model, Part::Allometry, Part::Residual, Part::Area, Part::Saturation];

    /// The name used in tables.
    pub fn name(self) -> &'static str {
        match self {
            Part::Model => "model",
            Part::Allometry => "allometry",
            Part::Residual => "residual",
            Part::Area => "area",
            Part::Saturation => "saturation",
        }
    }
}

/// How a factor varies with its sources; `s` is the sum of loading x standard normal over them.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// `value exp(s - var(s)/2)`: positive, with mean `value`.
    Lognormal,
    /// `value + s`.
    Normal,
    /// Between two ends with the peak at `value`; loadings are ranks only, so give one source with loading 1.
    Triangular {
        /// Lowest.
        min: f64,
        /// Highest.
        max: f64,
    },
    /// Evenly between two ends; one source with loading 1.
    Uniform {
        /// Lowest.
        min: f64,
        /// Highest.
        max: f64,
    },
    /// One of these values, each as likely: the answers of the members of an ensemble; one source with loading 1.
    Members(Arc<[f64]>),
}

/// A number with its error.
#[derive(Debug, Clone, PartialEq)]
pub struct Factor {
    /// Best estimate, which the estimate of the stock is made of.
    pub value: f64,
    /// Which part of the variance its error is.
    pub part: Part,
    /// How it varies.
    pub shape: Shape,
    /// Its sources with their loadings. None: it is exact.
    pub sources: Vec<(Source, f64)>,
}

impl Factor {
    /// A number without error.
    pub fn exact(value: f64) -> Self {
        Factor { value, part: Part::Model, shape: Shape::Normal, sources: Vec::new() }
    }

    /// Positive, with this mean and coefficient of variation.
    pub fn lognormal(part: Part, source: impl Into<Source>, mean: f64, cv: f64) -> Self {
        let sigma = (cv * cv).ln_1p().sqrt();
        Factor { value: mean, part, shape: Shape::Lognormal, sources: vec![(source.into(), sigma)] }
    }

    /// Of either sign, with this mean and standard error.
    pub fn normal(part: Part, source: impl Into<Source>, mean: f64, se: f64) -> Self {
        Factor { value: mean, part, shape: Shape::Normal, sources: vec![(source.into(), se)] }
    }
}

/// A product of factors of a chain (positions in [`Chain::factors`]) and a number.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// The number.
    pub coefficient: f64,
    /// Positions of the factors.
    pub factors: Vec<usize>,
}

/// What a method says of one epoch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Epoch {
    /// Remarks on this epoch.
    pub flags: Vec<Flag>,
    /// t C per hectare of every pool that was asked for, as the sum of its terms; never [`Pool::Total`].
    pub densities: BTreeMap<Pool, Vec<Term>>,
    /// Why a growth that ends here must not be credited, if it must not: the index was beyond its range.
    pub saturated: bool,
}

/// Names of sources that begin so belong to one parcel alone.
pub const PARCEL_PREFIX: &str = "parcel/";

/// What a method says of one parcel.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    /// Identity of the model: method, parameter set or model file, type.
    pub model_id: String,
    /// What its numbers may be used for.
    pub status: Status,
    /// Remarks on the parcel as a whole.
    pub flags: Vec<Flag>,
    /// The factors.
    pub factors: Vec<Factor>,
    /// By epoch; an epoch that could not be assessed is absent, and its reason was told elsewhere.
    pub epochs: BTreeMap<Date, Epoch>,
    /// Change by gain and loss over a period (start, end), t C per hectare over the whole period, where attributes allow it.
    pub gain_loss: BTreeMap<(Date, Date), Vec<Term>>,
}

impl Chain {
    /// Nothing yet.
    pub fn new(model_id: impl Into<String>, status: Status) -> Self {
        Chain {
            model_id: model_id.into(),
            status,
            flags: Vec::new(),
            factors: Vec::new(),
            epochs: BTreeMap::new(),
            gain_loss: BTreeMap::new(),
        }
    }

    /// Adds a factor; its position.
    pub fn factor(&mut self, factor: Factor) -> usize {
        self.factors.push(factor);
        self.factors.len() - 1
    }

    /// What is left standing, as a sum of terms, from the share that is (`left`). With `lost_area`, what a map says is lost is
    /// first brought to its true area: `1 - lost_area x lost`, never below nothing.
    pub fn left(&mut self, left: Factor, lost_area: Option<&Factor>) -> Vec<Term> {
        let one = |factor| vec![Term { coefficient: 1.0, factors: vec![factor] }];
        let Some(adjustment) = lost_area.filter(|_| left.value < 1.0) else { return one(self.factor(left)) };
        let lost = (1.0 - left.value).min(1.0 / adjustment.value);
        let sources = left.sources.into_iter().map(|(source, w)| (source, -w)).collect();
        let lost = self.factor(Factor { value: lost, sources, ..left });
        // One factor for all epochs: its draws are those of one source in any case.
        let adjustment = self.factor(adjustment.clone());
        vec![
            Term { coefficient: 1.0, factors: Vec::new() },
            Term { coefficient: -1.0, factors: vec![lost, adjustment] },
        ]
    }

    /// The best estimate of a sum of terms.
    pub fn estimate(&self, terms: &[Term]) -> f64 {
        let product = |t: &Term| t.factors.iter().fold(t.coefficient, |p, f| p * self.factors[*f].value);
        terms.iter().map(product).sum()
    }
}

/// What is known of a parcel before any biomass method.
pub struct Evidence<'a> {
    /// Its id, which its own sources of error are named by.
    pub parcel_id: &'a str,
    /// Its area.
    pub area: Hectares,
    /// What the layer says of it, by our names.
    pub attributes: &'a BTreeMap<String, String>,
    /// Dates that stocks are asked for.
    pub epochs: &'a BTreeSet<Date>,
    /// Usable observations by index, clear enough and in order of time.
    pub observations: &'a BTreeMap<Arc<str>, Vec<Observation>>,
    /// Share of the parcel lost after the first date and up to the second, with its standard error; absent when no change
    /// method could judge the parcel.
    pub lost: Option<&'a dyn Fn(Date, Date) -> Estimate<f64>>,
    /// True area of what the change map says is lost, over its mapped area, where a reference sample tells it; shared by all
    /// parcels.
    pub lost_area: Option<&'a Factor>,
    /// First and last day of what was watched for losses: clear scenes of the parcel, within what the change method can tell.
    pub seen: Option<(Date, Date)>,
    /// Pools that are asked for.
    pub pools: &'a [Pool],
    /// Where numbers come from.
    pub parameters: &'a ParameterSet,
}

/// Days beyond the first and last look at a parcel for which these may still speak: half a year, an engineering default.
const UNSEEN_DAYS: i32 = 183;

impl Evidence<'_> {
    /// Id and entry of the parcel's forest type in the set: by its attribute, else by the `forest_type` of the method's section
    /// (`stated`), with its ecological zone where the name does not tell one.
    ///
    /// # Errors
    /// No name, or one that the set does not know.
    pub fn forest_type(
        &self,
        method: &str,
        stated: Option<&str>,
        zone: Option<&str>,
    ) -> Result<(&str, &ForestType), Refusal> {
        let refuse = |message| Refusal { epoch: None, reason: Reason::OutOfModelDomain, message };
        let named = self.attributes.get("forest_type").map(String::as_str).or(stated).ok_or_else(|| {
            refuse(format!(
                "attribute forest_type: found nothing, expected a forest type; map the layer's field under [parcels] \
                 attributes, or give `forest_type` under [biomass.{method}]"
            ))
        })?;
        self.parameters.forest_type(named, zone).map_err(|e| {
            let at = if matches!(e, ParameterError::ZoneNeeded { .. }) {
                format!(" under [biomass.{method}]")
            } else {
                String::new()
            };
            refuse(format!("attribute forest_type: {e}{at}"))
        })
    }

    /// Factors of each pool that is asked for, of a method that knows aboveground biomass alone: its carbon is the product of
    /// `above`; below ground it is that times the ratio of roots to shoots, a factor that `roots` makes where the set has one.
    ///
    /// # Errors
    /// A pool that neither says anything of.
    pub fn living_pools(
        &self,
        method: &str,
        type_id: &str,
        above: &[usize],
        mut roots: impl FnMut() -> Option<usize>,
    ) -> Result<Vec<(Pool, Vec<usize>)>, Refusal> {
        let of_pool = |pool: &Pool| {
            let unknown = match pool {
                Pool::Aboveground => return Ok((*pool, above.to_vec())),
                Pool::Belowground => match roots() {
                    Some(roots) => return Ok((*pool, [above, &[roots]].concat())),
                    None => format!(
                        "parameter set {:?} has no root-to-shoot ratio for forest type {type_id:?}; leave the pool out, or \
                         use a set that has one",
                        self.parameters.name()
                    ),
                },
                Pool::DeadWood | Pool::Litter | Pool::Soil | Pool::Total => {
                    format!("{method} says nothing of it; leave it out, or measure it")
                }
            };
            Err(Refusal { epoch: None, reason: Reason::OutOfModelDomain, message: format!("pool {pool}: {unknown}") })
        };
        self.pools.iter().map(of_pool).collect()
    }

    /// Whether what happened between two dates was watched: a change method judged the parcel, and clear scenes reach from
    /// one date to the other, give or take half a year.
    pub fn watched(&self, one: Date, other: Date) -> bool {
        let (first, last) = (days(one.min(other)), days(one.max(other)));
        let within = |(from, to): (Date, Date)| first >= days(from) - UNSEEN_DAYS && last <= days(to) + UNSEEN_DAYS;
        one == other || (self.lost.is_some() && self.seen.is_some_and(within))
    }

    /// The name of a source of error that is this parcel's own.
    pub fn own(&self, what: &str) -> Source {
        format!("{PARCEL_PREFIX}{}/{what}", self.parcel_id).into()
    }
}

/// Why a parcel, or one of its epochs, has no stock.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The epoch, where only that is refused.
    pub epoch: Option<Date>,
    /// Class of the reason.
    pub reason: Reason,
    /// What was found, what is expected, what to do.
    pub message: String,
}

/// A chain with the epochs that could be assessed, and why the others could not; or why there is none at all.
pub type Assessed = Result<(Chain, Vec<Refusal>), Refusal>;

#[cfg(test)]
mod tests {
    use super::super::draw::Draws;
    use super::super::monte_carlo::MonteCarlo;
    use super::*;
    use jiff::civil::date;

    // Worked example 10: 180 ha mapped, 243 ha adjusted, +- 96.1669 (95 %): 1.35 (0.2726). A tenth of a parcel of 10 ha at 100
    // t C/ha, mapped as lost with a standard error of a hundredth, leaves 1000 (1 - 0.135) = 865 t C; its variance is
    // 1000^2 (0.1^2 0.2726^2 + 1.35^2 0.01^2 + 0.01^2 0.2726^2).
    #[test]
    fn a_mapped_loss_is_brought_to_its_true_area() {
        let epoch = date(2020, 7, 1);
        let se = 96.166_9 / 1.959_964 / 180.0;
        let adjustment = Factor::lognormal(Part::Area, "area/lost", 1.35, se / 1.35);
        let tonnes = |adjustment: Option<&Factor>, left: f64| {
            let mut chain = Chain::new("test", Status::Issuable);
            let full = chain.factor(Factor::exact(100.0));
            let left = chain.left(Factor::normal(Part::Residual, "parcel/p/left", left, 0.01), adjustment);
            let with = |t: Term| Term { factors: [t.factors.as_slice(), &[full]].concat(), ..t };
            let densities = [(Pool::Aboveground, left.into_iter().map(with).collect())].into();
            chain.epochs.insert(epoch, Epoch { densities, ..Epoch::default() });
            let found = MonteCarlo::new(Draws::new(1, 20_000)).tonnes(&chain, &Factor::exact(10.0), &[]);
            found.stocks[&(epoch, Pool::Total)].clone()
        };
        let found = tonnes(Some(&adjustment), 0.9);
        assert!((found.spread.estimate - 865.0).abs() < 1e-9);
        let expected = 1000.0 * (0.01 * se * se + 1.35f64.powi(2) * 1e-4 + 1e-4 * se * se).sqrt();
        assert!((found.spread.se / expected - 1.0).abs() < 0.02, "{} {expected}", found.spread.se);
        let shares = found.shares().unwrap();
        assert!(shares[3] > 0.7 && shares[2] > 0.1, "area and residual: {shares:?}");
        assert!((tonnes(None, 0.9).spread.estimate - 900.0).abs() < 1e-9);
        assert_eq!(tonnes(Some(&adjustment), 1.0).spread.estimate, 1000.0, "nothing was lost");
        assert!(tonnes(Some(&adjustment), 0.1).spread.estimate.abs() < 1e-9, "no more than all of it");
    }
}
