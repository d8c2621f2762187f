//! Two dates: a pixel is lost where its index after is lower than before by a given drop.
//!
//! The plainest rule there is. Per pixel, the median of the clear values in each of two windows of days; the pixel counts
//! as disturbed when the median fell by at least `min_drop`. Both windows should lie in the same season, or phenology looks
//! like loss. The drop has no default: it depends on forest type and season.
//!
//! Uncertainty: the noise of single values is taken from their scatter about the pixel medians within each window, pooled
//! over the parcel (median absolute deviation times 1.4826); the standard error of a median of n values is 1.2533 sigma /
//! sqrt(n). From it follows the probability that a pixel fell by `min_drop` or more, and from these the standard error of
//! the disturbed area, with pixels taken as independent. What does not enter: misregistration, residual cloud, a boundary
//! drawn wrongly.

use jiff::civil::Date;
use ndarray::Axis;
use serde::{Deserialize, Serialize};

use super::{PixelBreak, PixelStack, Unjudged, Verdict};
use crate::units::date_of;

/// Consistency factor of the median absolute deviation for a normal distribution.
const MAD_TO_SIGMA: f64 = 1.4826;
/// Standard error of a median relative to that of a mean: sqrt(pi / 2).
const MEDIAN_SE_FACTOR: f64 = 1.2533;

/// `[change.two_date]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Index to compare.
    pub index: String,
    /// First and last day of the window before.
    pub before: [Date; 2],
    /// First and last day of the window after.
    pub after: [Date; 2],
    /// Smallest fall of the index that counts as loss, positive.
    pub min_drop: f64,
}

impl Params {
    /// Field, what was found, what is expected.
    ///
    /// # Errors
    /// Windows that overlap or are reversed; a drop that is not positive.
    pub fn validate(&self) -> Result<(), (&'static str, String, &'static str)> {
        if self.before[0] > self.before[1] {
            return Err(("before", format!("{:?}", self.before), "the first day before the last"));
        }
        if self.after[0] > self.after[1] || self.after[0] <= self.before[1] {
            return Err(("after", format!("{:?}", self.after), "a window that begins after `before` ends"));
        }
        if !(self.min_drop > 0.0 && self.min_drop <= 2.0) {
            return Err(("min_drop", self.min_drop.to_string(), "a number above 0, at most 2"));
        }
        Ok(())
    }

    /// Window of a day: 0 before, 1 after.
    pub fn window(&self, day: Date) -> Option<usize> {
        [self.before, self.after].iter().position(|[first, last]| (*first..=*last).contains(&day))
    }
}

/// Judges the pixels of one parcel, layer 0 of the stack. The noise is pooled over them, so they are judged together.
pub fn judge(stack: &PixelStack, params: &Params) -> Vec<Verdict> {
    let windows: Vec<Option<usize>> = stack.days.iter().map(|d| params.window(date_of(*d))).collect();
    let mut residuals = Vec::new();
    let mut scratch = Vec::new();
    let falls: Vec<Result<Fall, Unjudged>> = stack
        .values
        .index_axis(Axis(0), 0)
        .outer_iter()
        .map(|values| {
            // Median, number of values and the position next to the other window, of each window.
            let mut side = |window: usize| {
                let of = || values.iter().enumerate().filter(|(k, v)| windows[*k] == Some(window) && v.is_finite());
                scratch.clear();
                scratch.extend(of().map(|(_, v)| *v));
                let n = scratch.len();
                let middle = median(&mut scratch)?;
                if n > 1 {
                    residuals.extend(of().map(|(_, v)| (v - middle).abs()));
                }
                let at = if window == 0 { of().next_back() } else { of().next() };
                Some((middle, n as f64, at?.0))
            };
            let before = side(0).ok_or(Unjudged::TooFewObservations)?;
            let after = side(1).ok_or(Unjudged::NoMonitoring)?;
            Ok(Fall {
                change: after.0 - before.0,
                spread: (1.0 / before.1 + 1.0 / after.1).sqrt(),
                before: before.2,
                after: after.2,
            })
        })
        .collect();
    let sigma = median(&mut residuals).map(|m| m * MAD_TO_SIGMA).filter(|s| *s > 0.0);
    let verdict = |fall: Fall| {
        let probability = sigma.map_or(f64::NAN, |sigma| {
            normal_cdf((-params.min_drop - fall.change) / (MEDIAN_SE_FACTOR * sigma * fall.spread))
        });
        let found = PixelBreak {
            before: fall.before,
            after: fall.after,
            detected: fall.after,
            magnitude: fall.change,
            probability,
            break_day: f64::from(stack.days[fall.after]),
        };
        let breaks = if fall.change <= -params.min_drop { vec![found] } else { Vec::new() };
        Verdict { breaks, magnitude: fall.change, unjudged: None }
    };
    falls.into_iter().map(|f| f.map_or_else(Verdict::unjudged, verdict)).collect()
}

/// Change of one pixel between the windows.
struct Fall {
    change: f64,
    /// Standard error of the change, in standard deviations of a single value.
    spread: f64,
    before: usize,
    after: usize,
}

/// Median; the mean of the middle two for an even count.
fn median(v: &mut [f64]) -> Option<f64> {
    if v.is_empty() {
        return None;
    }
    v.sort_unstable_by(f64::total_cmp);
    let half = v.len() / 2;
    Some(if v.len() % 2 == 1 { v[half] } else { 0.5 * (v[half - 1] + v[half]) })
}

/// Standard normal distribution function by Abramowitz and Stegun 7.1.26, absolute error below 1.5e-7: enough for a
/// probability that is itself an estimate.
fn normal_cdf(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let poly =
        t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let erf = 1.0 - poly * (-x * x).exp();
    if z >= 0.0 { 0.5 * (1.0 + erf) } else { 0.5 * (1.0 - erf) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> Params {
        let day = |s: &str| s.parse().expect("date");
        Params {
            index: "ndvi".into(),
            before: [day("2019-06-01"), day("2019-08-31")],
            after: [day("2020-06-01"), day("2020-08-31")],
            min_drop: 0.2,
        }
    }

    /// Pixels seen on three days of each summer.
    fn stack(pixels: &[[f64; 6]]) -> PixelStack {
        let day = |s: &str| crate::units::days(s.parse().expect("date"));
        let days = ["2019-06-10", "2019-07-10", "2019-08-10", "2020-06-10", "2020-07-10", "2020-08-10"].map(day);
        let values = pixels.iter().flatten().copied().collect();
        let values = ndarray::Array3::from_shape_vec((1, pixels.len(), 6), values).expect("shape");
        PixelStack { days: days.to_vec(), layers: vec!["ndvi".into()], values, first_look: 0, area_ha: 1.0 }
    }

    const NAN: f64 = f64::NAN;

    #[test]
    fn a_planted_loss_is_found_with_its_dates() {
        // Stable, lost, lost and seen late, never seen after, never seen before.
        let found = judge(
            &stack(&[
                [0.80, 0.82, 0.81, 0.80, 0.79, 0.80],
                [0.80, 0.81, NAN, 0.40, 0.42, NAN],
                [0.79, 0.80, 0.80, NAN, 0.30, NAN],
                [0.80, NAN, NAN, NAN, NAN, NAN],
                [NAN, NAN, NAN, 0.80, 0.80, 0.80],
            ]),
            &params(),
        );
        assert!(found[0].breaks.is_empty() && (found[0].magnitude - -0.01).abs() < 1e-12);
        let b = found[1].breaks[0];
        assert_eq!((b.before, b.after, b.detected), (1, 3, 3));
        assert!((b.magnitude - (0.41 - 0.805)).abs() < 1e-12);
        assert!(b.probability > 0.99);
        assert_eq!((found[2].breaks[0].before, found[2].breaks[0].after), (2, 4));
        assert_eq!(found[3].unjudged, Some(Unjudged::NoMonitoring));
        assert_eq!(found[4].unjudged, Some(Unjudged::TooFewObservations));
    }

    #[test]
    fn one_value_a_window_has_no_error() {
        let found = judge(&stack(&[[0.8, NAN, NAN, 0.2, NAN, NAN]]), &params());
        assert!(found[0].breaks[0].probability.is_nan());
    }

    #[test]
    fn windows_must_follow_each_other() {
        let mut p = params();
        assert!(p.validate().is_ok());
        assert_eq!(p.window("2020-07-01".parse().expect("date")), Some(1));
        assert_eq!(p.window("2020-01-01".parse().expect("date")), None);
        p.after[0] = p.before[0];
        assert_eq!(p.validate().expect_err("overlap").0, "after");
    }

    #[test]
    fn normal_cdf_known_values() {
        assert!((normal_cdf(0.0) - 0.5).abs() < 1e-7);
        assert!((normal_cdf(1.644_853_6) - 0.95).abs() < 2e-7);
        assert!((normal_cdf(-1.959_964) - 0.025).abs() < 2e-7);
    }
}
