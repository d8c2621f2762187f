//! Growing stock of a stand through time: the survey, and growth by an increment or a yield table.

use jiff::civil::Date;

use super::attributes::{
    Attributes, INCREMENT, INCREMENT_CV, INCREMENT_CV_EXPECTED, INCREMENT_EXPECTED, PLANTED_ON, VOLUME_CV,
    VOLUME_CV_EXPECTED, is_increment, is_increment_cv, is_volume_cv,
};
use super::{InvalidKey, Inventory, refusal};
use crate::carbon::chain::{Chain, Evidence, Factor, Part, Refusal, Term};
use crate::carbon::draw::Source;
use crate::carbon::{Flag, Status};
use crate::error::Reason;

/// Days in a year of the Julian calendar, for ages and increments.
const DAYS_PER_YEAR: f64 = 365.25;

/// Years from one date to another, negative backwards.
pub(super) fn years(from: Date, to: Date) -> f64 {
    f64::from(crate::units::days(to) - crate::units::days(from)) / DAYS_PER_YEAR
}

/// How the stand grows.
pub(super) enum Growth {
    None,
    /// The factor of the increment, m3/ha/a.
    Increment {
        factor: usize,
    },
    /// Ages and volumes, the age at the survey and the volume of the table there, and the factor of the growth's error.
    Table {
        rows: Vec<(f64, f64)>,
        planted: Date,
        at_survey: f64,
        factor: usize,
    },
}

/// Volume of a table at an age, by linear interpolation.
pub(super) fn interpolated(rows: &[(f64, f64)], age: f64) -> Option<f64> {
    let at = rows.partition_point(|r| r.0 < age);
    let upper = rows.get(at)?;
    if upper.0 == age {
        return Some(upper.1);
    }
    let lower = rows.get(at.checked_sub(1)?)?;
    Some(lower.1 + (upper.1 - lower.1) * (age - lower.0) / (upper.0 - lower.0))
}

/// Growing stock through time: sums of terms over the chain's factors.
pub(super) struct Stand {
    pub surveyed_on: Date,
    /// m3/ha on that day.
    pub volume: f64,
    /// Factor of the volume at the survey.
    factor: usize,
    pub growth: Growth,
}

impl Stand {
    /// What was added since the survey, m3/ha, as terms, or what is wrong.
    pub fn growth(&self, to: Date) -> Result<Vec<Term>, String> {
        Ok(match &self.growth {
            Growth::None => Vec::new(),
            _ if to == self.surveyed_on => Vec::new(),
            Growth::Increment { factor } => {
                vec![Term { coefficient: years(self.surveyed_on, to), factors: vec![*factor] }]
            }
            Growth::Table { rows, planted, at_survey, factor } => {
                let age = years(*planted, to);
                let volume = interpolated(rows, age).ok_or_else(|| outside(rows, age, to))?;
                vec![Term { coefficient: volume / at_survey - 1.0, factors: vec![self.factor, *factor] }]
            }
        })
    }

    /// Terms of the volume, m3/ha.
    pub fn terms(&self, to: Date) -> Result<Vec<Term>, String> {
        let mut terms = vec![Term { coefficient: 1.0, factors: vec![self.factor] }];
        terms.extend(self.growth(to)?);
        Ok(terms)
    }

    pub fn value(&self, chain: &Chain, to: Date) -> Result<f64, String> {
        Ok(chain.estimate(&self.terms(to)?))
    }
}

pub(super) fn outside(rows: &[(f64, f64)], age: f64, date: Date) -> String {
    let (first, last) = (rows.first().map_or(0.0, |r| r.0), rows.last().map_or(0.0, |r| r.0));
    format!(
        "the stand is {age:.1} years old on {date} by planted_on, expected {first} to {last}, the ages of yield_table; \
         extend the table"
    )
}

/// Volume and growth as factors of the chain, with flags and standing.
pub(super) fn stand(
    chain: &mut Chain,
    evidence: &Evidence,
    params: &Inventory,
    planted: Option<Date>,
    surveyed_on: Date,
    volume: f64,
) -> Result<Stand, Refusal> {
    let attributes = Attributes(evidence.attributes);
    let volume_cv = attributes.number(VOLUME_CV, is_volume_cv, VOLUME_CV_EXPECTED)?.or(params.volume_cv);
    let factor = match volume_cv {
        Some(cv) => Factor::lognormal(Part::Residual, evidence.own("volume"), volume, cv),
        None => {
            chain.flags.push(Flag::VolumeErrorNotStated);
            chain.status = Status::ScreeningOnly;
            Factor { part: Part::Residual, ..Factor::exact(volume) }
        }
    };
    let factor = chain.factor(factor);
    let own = attributes.number(INCREMENT, is_increment, INCREMENT_EXPECTED)?;
    let cv = attributes.number(INCREMENT_CV, is_increment_cv, INCREMENT_CV_EXPECTED)?.or(params.increment_cv);
    let grows = evidence.epochs.iter().any(|e| *e != surveyed_on);
    let error = |chain: &mut Chain, value: f64, source: Source| {
        if cv.is_none() && grows && value > 0.0 {
            chain.flags.push(Flag::GrowthErrorNotStated);
            chain.status = Status::ScreeningOnly;
        }
        chain.factor(match cv {
            Some(cv) => Factor::lognormal(Part::Model, source, value, cv),
            None => Factor::exact(value),
        })
    };
    let growth = match (own.or(params.increment_m3_per_ha_a), &params.yield_table) {
        (Some(per_year), _) => {
            // One number for all parcels is off for all of them alike.
            let source = if own.is_some() { evidence.own("increment") } else { "inventory/increment".into() };
            Growth::Increment { factor: error(chain, per_year, source) }
        }
        (None, Some(table)) => {
            let invalid = |e: InvalidKey| refusal(None, Reason::BadAttribute, format!("[biomass.inventory] {e}"));
            let rows = table.rows().map_err(invalid)?;
            let Some(planted) = planted else {
                let message = format!(
                    "attribute {PLANTED_ON}: found nothing, expected a date, which yield_table is entered by; map the layer's \
                     field under [parcels] attributes"
                );
                return Err(refusal(None, Reason::BadAttribute, message));
            };
            let age = years(planted, surveyed_on);
            let at_survey = interpolated(&rows, age)
                .ok_or_else(|| refusal(None, Reason::OutOfModelDomain, outside(&rows, age, surveyed_on)))?;
            Growth::Table { rows, planted, at_survey, factor: error(chain, 1.0, "inventory/yield_table".into()) }
        }
        (None, None) => {
            if grows {
                chain.flags.push(Flag::GrowthNotStated);
            }
            Growth::None
        }
    };
    Ok(Stand { surveyed_on, volume, factor, growth })
}
