//! How much of a parcel does vegetation cover at an epoch? The predictor of method `tier1_cover`.
//!
//! The linear dimidiate-pixel model, in the form of Gutman and Ignatov 1998 (International Journal of Remote Sensing
//! 19:1533): `cover = (index - index_bare) / (index_full - index_bare)`, cut to 0..1. Times the default biomass of the
//! forest type it makes a stock ([`super::stock`]). `index_bare` and `index_full` are properties of the site and the
//! season and have no default: take them from bare and from closed reference parcels.
//!
//! Only observations are used, never the smoothed series, and only those within `window_days` of the epoch and in its
//! calendar year, so that two epochs compare the same season. Observations of one day are one date. The standard error
//! is the spread between dates over the square root of their (effective) number; it holds noise and phenology within
//! the window. With one date there is no spread, and no error may be made up: the parcel is refused, unless the user
//! states `index_se`, the error of one date's parcel mean, which is also a floor below the spread (two dates may agree
//! by chance).
//!
//! What it does not do: see biomass. A closed canopy stops changing the index while it goes on growing (flag
//! `saturated`), a meadow is as green as a young stand. Results are for screening: [`STATUS`].

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, Serialize, de};
use thiserror::Error;

use super::{Flag, ParameterSet, Status};
use crate::series::Observation;
use crate::units::{Estimate, Fraction, OutOfRange};

/// The standing of every number of this method: without plots it may rank and detect, and must not issue.
pub const STATUS: Status = Status::ScreeningOnly;

/// `[biomass.tier1_cover]` of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier1Cover {
    /// Index that stands for cover. Default `ndvi`.
    #[serde(default = "default_index")]
    pub index: String,
    /// Index of bare ground at the site. No default.
    #[serde(deserialize_with = "finite")]
    pub index_bare: f64,
    /// Index of full cover at the site. No default.
    #[serde(deserialize_with = "finite")]
    pub index_full: f64,
    /// Half-width of the window around the epoch, 0 to 182 days. Default 45, an engineering default: one season.
    #[serde(default = "default_window_days", deserialize_with = "half_a_year")]
    pub window_days: u32,
    /// Dates below which the estimate carries `few_observations`, at least 1. Default 3, an engineering default.
    #[serde(default = "default_min_observations", deserialize_with = "at_least_one")]
    pub min_observations: u32,
    /// Standard error of one date's parcel mean, index units, above 0. No default; needed to use a single date.
    #[serde(default, deserialize_with = "positive")]
    pub index_se: Option<f64>,
    /// Forest type of parcels without the attribute.
    #[serde(default)]
    pub forest_type: Option<String>,
    /// Ecological zone, for forest types that are given as a kind or species only (针叶林, 落叶松).
    #[serde(default)]
    pub ecological_zone: Option<String>,
}

fn default_index() -> String {
    "ndvi".to_owned()
}

fn default_window_days() -> u32 {
    45
}

fn default_min_observations() -> u32 {
    3
}

fn checked<'de, D, T>(deserializer: D, allowed: fn(&T) -> bool, expected: &str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + std::fmt::Display,
{
    let value = T::deserialize(deserializer)?;
    if allowed(&value) { Ok(value) } else { Err(de::Error::custom(format!("found {value}, expected {expected}"))) }
}

fn finite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    checked(deserializer, |v: &f64| v.is_finite(), "a finite number")
}

fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    checked(deserializer, |v: &f64| v.is_finite() && *v > 0.0, "a number above 0").map(Some)
}

fn half_a_year<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    checked(deserializer, |v: &u32| *v <= 182, "0 to 182 days")
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    checked(deserializer, |v: &u32| *v >= 1, "at least 1")
}

impl Tier1Cover {
    /// What serde cannot see: that bare ground and full cover differ.
    ///
    /// # Errors
    /// [`CoverError::Endmembers`].
    pub fn validate(&self) -> Result<(), CoverError> {
        let span = self.index_full - self.index_bare;
        if span.is_finite() && span != 0.0 {
            Ok(())
        } else {
            Err(CoverError::Endmembers { index_bare: self.index_bare, index_full: self.index_full })
        }
    }
}

/// Cover of a parcel at an epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct CoverEstimate {
    /// Cover with its standard error. The error is that of the uncut cover: cutting hides variation, not ignorance.
    pub cover: Estimate<Fraction>,
    /// Dates used.
    pub observations: u32,
    /// [`Flag::FewObservations`], [`Flag::Saturated`], [`Flag::Extrapolated`], as they apply.
    pub flags: Vec<Flag>,
}

/// Why a parcel has no cover at an epoch. All but `Endmembers` are reasons for quarantine.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum CoverError {
    /// Bare ground and full cover are the same.
    #[error("index_bare is {index_bare} and index_full is {index_full}, expected two different finite numbers")]
    Endmembers {
        /// As configured.
        index_bare: f64,
        /// As configured.
        index_full: f64,
    },
    /// Nothing was seen near the epoch.
    #[error(
        "no clear observation within {window_days} days of {epoch} in the same year; widen window_days or add scenes"
    )]
    NoClearObservation {
        /// The epoch.
        epoch: Date,
        /// Half-width of the window.
        window_days: u32,
    },
    /// One date, which has no spread.
    #[error(
        "one clear date within {window_days} days of {epoch}, expected at least 2 to know the error; \
         widen window_days, add scenes, or state index_se"
    )]
    SingleDate {
        /// The epoch.
        epoch: Date,
        /// Half-width of the window.
        window_days: u32,
    },
    /// Index values so large that their mean is no number.
    #[error("cover cannot be computed from the index values near the epoch: {0}")]
    OutOfRange(#[from] OutOfRange),
}

/// Vegetation cover at an epoch from the observations around it.
///
/// Dates weigh by their `clear_fraction` w: mean `m = sum w x / sum w`, spread `s^2 = sum w (x - m)^2 / (W - sum w^2 /
/// W)`, effective number `W^2 / sum w^2` (Kish); with equal weights these are the usual mean, variance and n. Covers
/// are averaged before they are cut to 0..1, so that noise around full cover does not turn into a loss.
///
/// # Errors
/// [`CoverError`]: why the parcel cannot be assessed at this epoch.
pub fn cover_at(epoch: Date, observations: &[Observation], p: &Tier1Cover) -> Result<CoverEstimate, CoverError> {
    p.validate()?;
    let window_days = p.window_days;
    let in_window = |o: &&Observation| {
        let days = o.date.duration_since(epoch).as_hours().abs() / 24;
        o.is_usable() && o.date.year() == epoch.year() && days <= i64::from(window_days)
    };
    let mut by_date: BTreeMap<Date, Vec<&Observation>> = BTreeMap::new();
    for observation in observations.iter().filter(in_window) {
        by_date.entry(observation.date).or_default().push(observation);
    }
    let dates: Vec<(f64, f64)> = by_date.into_values().map(|day| one_date(day, p)).collect();
    if dates.is_empty() {
        return Err(CoverError::NoClearObservation { epoch, window_days });
    }

    let weight: f64 = dates.iter().map(|(_, w)| w).sum();
    let weight_squared: f64 = dates.iter().map(|(_, w)| w * w).sum();
    let mean = dates.iter().map(|(x, w)| w * x).sum::<f64>() / weight;
    let effective = weight * weight / weight_squared;
    let spread = if dates.len() >= 2 {
        let squares: f64 = dates.iter().map(|(x, w)| w * (x - mean).powi(2)).sum();
        Some((squares / (weight - weight_squared / weight)).sqrt())
    } else {
        None
    };
    let stated = p.index_se.map(|se| (se / (p.index_full - p.index_bare)).abs());
    let deviation = match (spread, stated) {
        (Some(spread), Some(stated)) => spread.max(stated),
        (Some(spread), None) => spread,
        (None, Some(stated)) => stated,
        (None, None) => return Err(CoverError::SingleDate { epoch, window_days }),
    };

    let observations = u32::try_from(dates.len()).unwrap_or(u32::MAX);
    let mut flags = Vec::new();
    if observations < p.min_observations {
        flags.push(Flag::FewObservations);
    }
    if mean > 1.0 {
        flags.push(Flag::Saturated);
    }
    if mean < 0.0 {
        flags.push(Flag::Extrapolated);
    }
    let cut = |v: f64| Fraction::new(v.clamp(0.0, 1.0));
    let cover = Estimate { value: cut(mean)?, se: cut(deviation / effective.sqrt())? };
    Ok(CoverEstimate { cover, observations, flags })
}

/// The remarks that hold for every stock and delta of this method with this parameter set.
pub fn method_flags(set: &ParameterSet) -> Vec<Flag> {
    let mut flags = vec![Flag::Tier1];
    if !set.approved() {
        flags.push(Flag::UnapprovedParameters);
    }
    flags
}

/// Uncut cover and weight of one day, whatever the order its scenes came in. Two scenes of a day see the same clouds
/// and the same phenology, so together they weigh at most as one full view.
fn one_date(mut day: Vec<&Observation>, p: &Tier1Cover) -> (f64, f64) {
    day.sort_by(|a, b| a.mean.total_cmp(&b.mean).then(a.clear_fraction.total_cmp(&b.clear_fraction)));
    let weight: f64 = day.iter().map(|o| o.clear_fraction).sum();
    let index = day.iter().map(|o| o.clear_fraction * o.mean).sum::<f64>() / weight;
    ((index - p.index_bare) / (p.index_full - p.index_bare), weight.min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;

    fn params() -> Tier1Cover {
        toml::from_str("index_bare = 0.1\nindex_full = 0.9").unwrap()
    }

    fn seen(date: Date, mean: f64) -> Observation {
        Observation { date, mean, clear_fraction: 1.0 }
    }

    const EPOCH: Date = date(2020, 7, 15);

    // Covers 0.5, 0.625, 0.75: mean 0.625, variance 0.015625, se = 0.125 / sqrt(3).
    #[test]
    fn cover_is_the_mean_of_the_dates_with_their_spread() {
        let rows = [seen(date(2020, 7, 1), 0.5), seen(date(2020, 7, 15), 0.6), seen(date(2020, 8, 1), 0.7)];
        let c = cover_at(EPOCH, &rows, &params()).unwrap();
        assert!((c.cover.value.get() - 0.625).abs() < 1e-12);
        assert!((c.cover.se.get() - 0.125 / 3f64.sqrt()).abs() < 1e-12);
        assert_eq!((c.observations, c.flags), (3, vec![]));
    }

    #[test]
    fn only_dates_of_the_same_season_and_year_count() {
        let rows = [
            seen(date(2020, 5, 31), 0.5), // 45 days before
            seen(date(2020, 8, 29), 0.6), // 45 days after
            seen(date(2020, 8, 30), 9.0), // 46 days after
            seen(date(2019, 7, 15), 9.0), // another year
            seen(date(2020, 7, 15), f64::NAN),
        ];
        let c = cover_at(EPOCH, &rows, &params()).unwrap();
        assert_eq!((c.observations, c.flags), (2, vec![Flag::FewObservations]));
        let new_year = [seen(date(2019, 12, 31), 0.5), seen(date(2020, 1, 2), 0.5), seen(date(2020, 1, 3), 0.5)];
        assert_eq!(cover_at(date(2020, 1, 1), &new_year, &params()).unwrap().observations, 2);
    }

    #[test]
    fn the_clear_share_weighs_and_a_day_is_one_date() {
        // Day one: (0.5 x 0.5 + 0.5 x 0.7) / 1.0 = 0.6; day two 0.4 with weight 0.25. Mean (0.6 + 0.1) / 1.25 = 0.56.
        let half = |date, mean, clear_fraction| Observation { date, mean, clear_fraction };
        let rows =
            [half(date(2020, 7, 1), 0.5, 0.5), half(date(2020, 7, 1), 0.7, 0.5), half(date(2020, 7, 20), 0.4, 0.25)];
        let c = cover_at(EPOCH, &rows, &params()).unwrap();
        assert_eq!(c.observations, 2);
        assert!((c.cover.value.get() - (0.56 - 0.1) / 0.8).abs() < 1e-12);
    }

    #[test]
    fn one_date_needs_a_stated_error() {
        let rows = [seen(date(2020, 7, 1), 0.5)];
        let message = cover_at(EPOCH, &rows, &params()).unwrap_err().to_string();
        assert!(message.starts_with("one clear date within 45 days of 2020-07-15, expected at least 2"));
        let p = Tier1Cover { index_se: Some(0.04), ..params() };
        let c = cover_at(EPOCH, &rows, &p).unwrap();
        assert!((c.cover.se.get() - 0.05).abs() < 1e-12);
        assert_eq!(c.flags, [Flag::FewObservations]);
        // Two dates that agree: the stated error is the floor.
        let rows = [seen(date(2020, 7, 1), 0.5), seen(date(2020, 7, 2), 0.5)];
        assert_eq!(cover_at(EPOCH, &rows, &params()).unwrap().cover.se.get(), 0.0);
        assert!((cover_at(EPOCH, &rows, &p).unwrap().cover.se.get() - 0.05 / 2f64.sqrt()).abs() < 1e-12);
        assert!(matches!(cover_at(EPOCH, &[], &p), Err(CoverError::NoClearObservation { .. })));
    }

    #[test]
    fn covers_beyond_the_endmembers_are_cut_and_flagged() {
        let at = |index: f64| {
            let rows: Vec<_> = (1..=4).map(|d| seen(date(2020, 7, d), index + 0.01 * f64::from(d))).collect();
            cover_at(EPOCH, &rows, &params()).unwrap()
        };
        let (high, low) = (at(0.95), at(0.0));
        assert_eq!((high.cover.value.get(), high.flags), (1.0, vec![Flag::Saturated]));
        assert_eq!((low.cover.value.get(), low.flags), (0.0, vec![Flag::Extrapolated]));
        assert!(high.cover.se.get() > 0.0 && low.cover.se.get() > 0.0);
    }

    #[test]
    fn parameters_are_checked_where_they_are_read() {
        let read = |text: &str| toml::from_str::<Tier1Cover>(text).map_err(|e| e.to_string());
        assert!(read("index_full = 0.9").unwrap_err().contains("missing field `index_bare`"));
        let both = "index_bare = 0.1\nindex_full = 0.9\n";
        assert!(read(&format!("{both}window_days = 183")).unwrap_err().contains("found 183, expected 0 to 182 days"));
        assert!(read(&format!("{both}min_observations = 0")).unwrap_err().contains("expected at least 1"));
        assert!(read(&format!("{both}index_se = 0.0")).unwrap_err().contains("expected a number above 0"));
        assert!(read(&format!("{both}windw_days = 3")).unwrap_err().contains("unknown field"));
        assert!(read("index_bare = nan\nindex_full = 0.9").is_err());
        let same = Tier1Cover { index_full: 0.1, ..params() };
        assert!(cover_at(EPOCH, &[], &same).unwrap_err().to_string().contains("expected two different"));
        let p = params();
        assert_eq!((p.index.as_str(), p.window_days, p.min_observations, p.index_se), ("ndvi", 45, 3, None));
    }

    #[test]
    fn an_unapproved_set_is_said_so() {
        let set = ParameterSet::builtin("ipcc-2006").unwrap();
        assert_eq!(method_flags(&set), [Flag::Tier1, Flag::UnapprovedParameters]);
    }

    proptest! {
        #[test]
        fn order_does_not_matter_and_cover_stays_within_bounds(
            rows in prop::collection::vec((0i8..40, -1.0..1.5f64, 0.01..1.0f64), 2..30),
        ) {
            let observations: Vec<Observation> = rows
                .iter()
                .map(|(d, mean, clear)| Observation {
                    date: date(2020, 7, 1).saturating_add(jiff::Span::new().days(*d)),
                    mean: *mean,
                    clear_fraction: *clear,
                })
                .collect();
            let reversed: Vec<Observation> = observations.iter().rev().copied().collect();
            let (a, b) = (cover_at(EPOCH, &observations, &params()), cover_at(EPOCH, &reversed, &params()));
            prop_assert_eq!(&a, &b);
            if let Ok(c) = a {
                prop_assert!(c.cover.se.get().is_finite());
            }
        }
    }
}
