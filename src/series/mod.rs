//! What did the index of one parcel do, on a regular calendar? Observations in, series out.
//!
//! Observations come at irregular dates, several on one day or none for months. A series has one point per step of
//! `step_days`, from the first to the last step in which the parcel was seen. The value of a point is smoothed
//! ([`smooth`]), or that of a harmonic curve ([`harmonic`]); the observations stay the evidence. Probable residual cloud can be
//! left out ([`screen`]). Smoothed values serve display and phenology,
//! and are never the sole basis of a damage or carbon delta.
//!
//! Invariants: dates ascend by exactly one step; the span depends on this parcel's observations alone, so another
//! parcel or a later scene elsewhere changes nothing here.

pub mod harmonic;
pub mod screen;
pub mod seasons;
pub mod smooth;

use std::collections::BTreeMap;

use jiff::SignedDuration;
use jiff::civil::{Date, date};
use serde::{Deserialize, Serialize};

use harmonic::Harmonic;
use smooth::{Lambda, Smoothness, StepDays, lambda_grid, residual_variance, v_curve, whittaker};

/// Steps that must be observed before a smoothed value is given: two fix a line and leave nothing to judge it by.
const MIN_OBSERVED_STEPS: usize = 3;

/// Steps that must be observed before the V-curve is asked; with fewer the default lambda is used.
const MIN_V_CURVE_STEPS: usize = 10;
/// Default smoothness, for steps of any length.
const DEFAULT_LAMBDA: Lambda = Lambda(10.0);

/// How the values of a series are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The Whittaker smoother.
    Whittaker,
    /// Robust harmonic regression.
    Harmonic,
}

/// Harmonics of the year, 1 to 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Harmonics(u32);

impl TryFrom<u32> for Harmonics {
    type Error = String;
    fn try_from(n: u32) -> Result<Self, String> {
        if (1..=3).contains(&n) { Ok(Self(n)) } else { Err(format!("harmonics is {n}, expected 1 to 3")) }
    }
}

impl From<Harmonics> for u32 {
    fn from(n: Harmonics) -> u32 {
        n.0
    }
}

/// `[series]` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Days in a step, 1 to 366. Default 10.
    pub step_days: StepDays,
    /// How values are found. Default `whittaker`.
    pub method: Method,
    /// Smoothness of `whittaker`, or `v-curve`. Default 10, an engineering default: with steps of 10 days it follows a season
    /// and damps single dates. It stands in the table; results with another lambda are other results.
    pub lambda: Smoothness,
    /// Most harmonics of `harmonic`, 1 to 3. Default 3; fewer where there are fewer than three observations a coefficient.
    pub harmonics: Harmonics,
    /// Leave out probable residual cloud; absent: use every observation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screen: Option<screen::Params>,
    /// Describe the seasons of every year; absent: do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seasons: Option<seasons::Params>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            step_days: StepDays(10),
            method: Method::Whittaker,
            lambda: Smoothness::Fixed(DEFAULT_LAMBDA),
            harmonics: Harmonics(3),
            screen: None,
            seasons: None,
        }
    }
}

impl Params {
    /// Key, value found and values expected of the first parameter that cannot be used.
    ///
    /// # Errors
    /// A value out of range.
    pub fn validate(&self) -> Result<(), (String, String, &'static str)> {
        let below = |section: &'static str| move |(key, found, expected)| (format!("{section}.{key}"), found, expected);
        self.screen.map_or(Ok(()), |p| p.validate().map_err(below("screen")))?;
        self.seasons.map_or(Ok(()), |p| p.validate().map_err(below("seasons")))
    }
}

/// One index over one parcel in one acquisition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// Day of the acquisition, UTC.
    pub date: Date,
    /// Coverage-weighted mean of the index over the clear pixels; NaN when none was clear.
    pub mean: f64,
    /// Share of the parcel that was clear, 0 to 1.
    pub clear_fraction: f64,
}

impl Observation {
    /// Whether the observation says anything: a finite mean over some clear part of the parcel.
    pub fn is_usable(&self) -> bool {
        self.mean.is_finite() && self.clear_fraction.is_finite() && self.clear_fraction > 0.0
    }
}

/// One step of a regular series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeriesPoint {
    /// First day of the step.
    pub date: Date,
    /// Index of the curve; `None` when the parcel was seen in too few steps, or where no observation supports a curve.
    pub value: Option<f64>,
    /// Standard error of `value`; `None` where no degree of freedom is left to estimate it.
    pub value_se: Option<f64>,
    /// Observations used within the step.
    pub observations: u32,
    /// Observations within the step that the screen left out.
    pub screened: u32,
}

/// A regular series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// Its steps.
    pub points: Vec<SeriesPoint>,
    /// Smoothness that was used; `None` without values, and of a harmonic curve.
    pub lambda: Option<f64>,
}

/// Observations of one parcel and index to a regular series.
///
/// Step k covers `[anchor + k step, anchor + (k + 1) step)` and is dated by its first day; without an anchor the steps
/// count from 1970-01-01. The series runs from the first to the last step with a usable observation; unusable ones (no
/// clear pixel) are passed over. Order of the input does not matter, down to the last bit.
///
/// `whittaker`: a step's y is the mean of its observations weighted by `clear_fraction`, and its weight the sum of these
/// fractions: then smoothing the steps and smoothing the single observations minimise the same sum, and nothing is lost by
/// binning. With fewer than three observed steps every `value` is `None`: two points make a line and no statement about it.
///
/// `harmonic`: the curve is fitted to the single observations, weighted by `clear_fraction`, and read in the middle of each
/// step, or at the first or last observation where the middle lies beyond it: the curve says nothing outside what was seen.
/// With fewer than 12 observations every `value` is `None`; so is each that no observation supports ([`harmonic`]).
pub fn regular_series(observations: &[Observation], anchor: Option<Date>, params: &Params) -> Series {
    let anchor = anchor.unwrap_or(date(1970, 1, 1));
    let step = i64::from(params.step_days.0);
    let day = |o: &Observation| o.date.duration_since(anchor).as_hours() / 24;

    let mut usable: Vec<&Observation> = observations.iter().filter(|o| o.is_usable()).collect();
    // One order for every sum, so that the input's cannot show.
    usable.sort_by(|a, b| {
        a.date.cmp(&b.date).then(a.mean.total_cmp(&b.mean)).then(a.clear_fraction.total_cmp(&b.clear_fraction))
    });
    let left_out = params.screen.map_or_else(|| vec![false; usable.len()], |p| screen::screened(&usable, &p));
    let mut steps: BTreeMap<i64, (Vec<&Observation>, u32)> = BTreeMap::new();
    let mut kept = Vec::with_capacity(usable.len());
    for (o, out) in usable.iter().zip(left_out) {
        let entry = steps.entry(day(o).div_euclid(step)).or_default();
        if out {
            entry.1 += 1;
        } else {
            entry.0.push(o);
            kept.push(*o);
        }
    }
    let (Some((&first, _)), Some((&last, _))) = (steps.first_key_value(), steps.last_key_value()) else {
        return Series::default();
    };

    let mut points = Vec::new();
    let (mut y, mut w) = (Vec::new(), Vec::new());
    for k in first..=last {
        let (seen, screened) = steps.get(&k).map_or((&[][..], 0), |(seen, screened)| (seen.as_slice(), *screened));
        let (mean, weight) = combine(seen);
        y.push(mean);
        w.push(weight);
        points.push(SeriesPoint {
            date: anchor.saturating_add(SignedDuration::from_hours(24 * k * step)),
            value: None,
            value_se: None,
            observations: u32::try_from(seen.len()).unwrap_or(u32::MAX),
            screened,
        });
    }
    let lambda = match params.method {
        Method::Whittaker => smoothed(&y, &w, params, &mut points),
        Method::Harmonic => {
            let days: Vec<f64> = kept.iter().map(|o| day(o) as f64).collect();
            let middle = |k: i64| (k as f64 + 0.5) * step as f64;
            harmonic_values(&days, &kept, params, (first..=last).map(middle), &mut points);
            None
        }
    };
    Series { points, lambda }
}

/// Whittaker values and lambda.
fn smoothed(y: &[f64], w: &[f64], params: &Params, points: &mut [SeriesPoint]) -> Option<f64> {
    let observed = w.iter().filter(|w| **w > 0.0).count();
    if observed < MIN_OBSERVED_STEPS {
        return None;
    }
    let lambda = match params.lambda {
        Smoothness::Fixed(lambda) => lambda.0,
        Smoothness::VCurve if observed < MIN_V_CURVE_STEPS => DEFAULT_LAMBDA.0,
        Smoothness::VCurve => v_curve(y, w, &lambda_grid(params.step_days)).unwrap_or(DEFAULT_LAMBDA.0),
    };
    // Cannot fail: weights are positive where y is finite, and there are three of them. Were it to, no value is given.
    let smoothed = whittaker(y, w, lambda).ok()?;
    let sigma2 = residual_variance(y, w, &smoothed);
    for (k, point) in points.iter_mut().enumerate() {
        point.value = Some(smoothed.z[k]);
        point.value_se = sigma2.map(|s| (s * smoothed.inverse_diagonal[k]).sqrt());
    }
    Some(lambda)
}

/// Values of a harmonic curve at the middles of the steps, never beyond the first and the last day.
fn harmonic_values(
    days: &[f64],
    kept: &[&Observation],
    params: &Params,
    middles: impl Iterator<Item = f64>,
    points: &mut [SeriesPoint],
) {
    let values: Vec<f64> = kept.iter().map(|o| o.mean).collect();
    let weights: Vec<f64> = kept.iter().map(|o| o.clear_fraction).collect();
    let Some(curve) = Harmonic::fit(days, &values, &weights, params.harmonics.0 as usize) else { return };
    let (Some(&first), Some(&last)) = (days.first(), days.last()) else { return };
    for (point, middle) in points.iter_mut().zip(middles) {
        if let Some((value, se)) = curve.at(middle.clamp(first, last)) {
            (point.value, point.value_se) = (Some(value), se);
        }
    }
}

/// Weighted mean and sum of weights; NaN and 0 of nothing.
fn combine(seen: &[&Observation]) -> (f64, f64) {
    let mut by_value = seen.to_vec();
    by_value.sort_by(|a, b| a.mean.total_cmp(&b.mean).then(a.clear_fraction.total_cmp(&b.clear_fraction)));
    let weight = by_value.iter().fold(0.0, |sum, o| sum + o.clear_fraction);
    let sum: f64 = by_value.iter().map(|o| o.clear_fraction * o.mean).sum();
    (if weight > 0.0 { sum / weight } else { f64::NAN }, weight)
}
