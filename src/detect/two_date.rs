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
use serde::{Deserialize, Serialize};

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

/// Clear values of one parcel's pixels in the two windows, pixel by pixel.
#[derive(Debug, Clone, Default)]
pub struct WindowValues {
    /// Values before, one list a pixel.
    pub before: Vec<Vec<f64>>,
    /// Values after, one list a pixel.
    pub after: Vec<Vec<f64>>,
}

/// What the rule says of a parcel.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    /// Which pixels are disturbed.
    pub disturbed: Vec<bool>,
    /// Mean fall over the disturbed pixels, by coverage; negative.
    pub magnitude: f64,
    /// Sum of the coverage fractions of the disturbed pixels.
    pub pixels: f64,
    /// Standard error of `pixels`; `None` where no pixel has two values in a window to judge the noise by.
    pub pixels_se: Option<f64>,
    /// Mean probability that a disturbed pixel really fell by the drop, by coverage; `None` like `pixels_se`.
    pub probability: Option<f64>,
}

/// Applies the rule. `weights` are the coverage fractions, one a pixel. `None`: no pixel is disturbed.
pub fn detect(values: &WindowValues, weights: &[f64], params: &Params) -> Option<Loss> {
    let mut residuals = Vec::new();
    let mut scratch = Vec::new();
    let mut centre = |v: &[f64], residuals: &mut Vec<f64>| {
        scratch.clear();
        scratch.extend_from_slice(v);
        let m = median(&mut scratch)?;
        if v.len() > 1 {
            residuals.extend(v.iter().map(|x| (x - m).abs()));
        }
        Some(m)
    };
    let falls: Vec<Option<f64>> = values
        .before
        .iter()
        .zip(&values.after)
        .map(|(b, a)| {
            let (b, a) = (centre(b, &mut residuals), centre(a, &mut residuals));
            Some(a? - b?)
        })
        .collect();
    let disturbed: Vec<bool> = falls.iter().map(|f| f.is_some_and(|f| f <= -params.min_drop)).collect();
    let pixels: f64 = weights.iter().zip(&disturbed).filter(|(_, d)| **d).map(|(w, _)| w).sum();
    if pixels <= 0.0 {
        return None;
    }
    let fall: f64 = weights
        .iter()
        .zip(&disturbed)
        .zip(&falls)
        .filter(|((_, d), _)| **d)
        .map(|((w, _), f)| w * f.unwrap_or(0.0))
        .sum();
    let sigma = median(&mut residuals).map(|m| m * MAD_TO_SIGMA).filter(|s| *s > 0.0);
    let (mut pixels_se, mut probability) = (None, None);
    if let Some(sigma) = sigma {
        let (mut variance, mut chance) = (0.0, 0.0);
        for (i, fall) in falls.iter().enumerate() {
            let Some(fall) = fall else { continue };
            let n = |v: &[f64]| 1.0 / v.len() as f64;
            let se = MEDIAN_SE_FACTOR * sigma * (n(&values.before[i]) + n(&values.after[i])).sqrt();
            let p = normal_cdf((-params.min_drop - fall) / se);
            variance += weights[i] * weights[i] * p * (1.0 - p);
            chance += if disturbed[i] { weights[i] * p } else { 0.0 };
        }
        pixels_se = Some(variance.sqrt());
        probability = Some(chance / pixels);
    }
    Some(Loss { disturbed, magnitude: fall / pixels, pixels, pixels_se, probability })
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

    #[test]
    fn a_planted_loss_is_found_with_its_size() {
        // Four pixels: stable, lost, lost but covered by half, never seen after.
        let values = WindowValues {
            before: vec![vec![0.80, 0.82, 0.81], vec![0.80, 0.81], vec![0.79, 0.80], vec![0.8]],
            after: vec![vec![0.80, 0.79], vec![0.40, 0.42], vec![0.30], vec![]],
        };
        let loss = detect(&values, &[1.0, 1.0, 0.5, 1.0], &params()).expect("loss");
        assert_eq!(loss.disturbed, [false, true, true, false]);
        assert!((loss.pixels - 1.5).abs() < 1e-12);
        // (1 x (0.41 - 0.805) + 0.5 x (0.30 - 0.795)) / 1.5
        assert!((loss.magnitude - (-0.395 + 0.5 * -0.495) / 1.5).abs() < 1e-12);
        assert!(loss.probability.is_some_and(|p| p > 0.99));
        assert!(loss.pixels_se.is_some_and(|s| s < 0.1));
    }

    #[test]
    fn nothing_lost_is_none_and_one_value_a_window_has_no_error() {
        let stable = WindowValues { before: vec![vec![0.8]], after: vec![vec![0.7]] };
        assert!(detect(&stable, &[1.0], &params()).is_none());
        let lost = WindowValues { before: vec![vec![0.8]], after: vec![vec![0.2]] };
        let loss = detect(&lost, &[1.0], &params()).expect("loss");
        assert_eq!((loss.pixels_se, loss.probability), (None, None));
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
