//! How does the index run between and through noisy observations? The Whittaker smoother with second differences.
//!
//! Eilers 2003, Analytical Chemistry 75:3631, "A perfect smoother": z minimises `sum w (y - z)^2 + lambda sum (D2
//! z)^2`, so `(W + lambda D'D) z = W y`. A step without observation has w = 0 and is interpolated by the penalty alone.
//! The matrix has two bands beside the diagonal: its LDL' factor, the solution and the diagonal of its inverse (the
//! recursion of Takahashi, Fagan and Chin 1973) each cost O(n).
//!
//! Standard error: `se_k = sqrt(sigma2 [(W + lambda D'D)^-1]_kk)` with `sigma2 = sum w (y - z)^2 / (m - edf)`, m steps
//! observed and `edf = trace((W + lambda D'D)^-1 W)`: the posterior of a smoothing spline (Wahba 1983, JRSS B 45:133).
//! It grows inside gaps. It assumes errors that are independent between steps; a sensor's bias is not in it.
//!
//! lambda is a parameter, or chosen for each parcel and index by the V-curve (Frasso and Eilers 2015, Statistical Modelling
//! 15:91-111): with `omega = log sum w (y - z)^2` and `theta = log sum (D2 z)^2` at each lambda of a grid, the lambda between the
//! two neighbours whose points (omega, theta) lie closest, `v = sqrt(d omega^2 + d theta^2) / d log lambda`. Errors that go
//! together in time, as those of an index do, mislead cross-validation, and this choice less. The standard error does not
//! contain the choice.
//!
//! What it does not do: reject outliers, or fit an upper envelope, which raises the index by design and would hide a loss.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Length of one step, 1 to 366 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct StepDays(pub(super) u32);

impl TryFrom<u32> for StepDays {
    type Error = String;
    fn try_from(days: u32) -> Result<Self, String> {
        if (1..=366).contains(&days) { Ok(Self(days)) } else { Err(format!("step_days is {days}, expected 1 to 366")) }
    }
}

impl From<StepDays> for u32 {
    fn from(days: StepDays) -> u32 {
        days.0
    }
}

/// Weight of the roughness penalty, above 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Lambda(pub(super) f64);

impl TryFrom<f64> for Lambda {
    type Error = String;
    fn try_from(lambda: f64) -> Result<Self, String> {
        if LAMBDA_RANGE.contains(&lambda) {
            Ok(Self(lambda))
        } else {
            Err(format!(
                "lambda is {lambda}, expected a number from {:e} to {:e}",
                LAMBDA_RANGE.start(),
                LAMBDA_RANGE.end()
            ))
        }
    }
}

impl From<Lambda> for f64 {
    fn from(lambda: Lambda) -> f64 {
        lambda.0
    }
}

/// How lambda is found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Smoothness {
    /// It is given.
    Fixed(Lambda),
    /// By the V-curve, for each parcel and index.
    VCurve,
}

const V_CURVE: &str = "v-curve";

impl Serialize for Smoothness {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Smoothness::Fixed(lambda) => serializer.serialize_f64(lambda.0),
            Smoothness::VCurve => serializer.serialize_str(V_CURVE),
        }
    }
}

impl<'de> Deserialize<'de> for Smoothness {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Smoothness;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                write!(f, "a number or \"{V_CURVE}\"")
            }

            fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Smoothness, E> {
                Lambda::try_from(v).map(Smoothness::Fixed).map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<Smoothness, E> {
                self.visit_f64(v as f64)
            }

            fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<Smoothness, E> {
                self.visit_f64(v as f64)
            }

            fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<Smoothness, E> {
                if v == V_CURVE {
                    Ok(Smoothness::VCurve)
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Str(v), &self))
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Beyond these the curve is the data itself or a straight line, and double precision has nothing left to say.
const LAMBDA_RANGE: std::ops::RangeInclusive<f64> = 1e-9..=1e9;

/// Error variance of one fully clear observation, or `None` when the curve has used up the data.
pub(super) fn residual_variance(y: &[f64], w: &[f64], smoothed: &Smoothed) -> Option<f64> {
    let (mut rss, mut observed) = (0.0, 0.0);
    for ((&y, &w), &z) in y.iter().zip(w).zip(&smoothed.z) {
        if w > 0.0 {
            rss += w * (y - z).powi(2);
            observed += 1.0;
        }
    }
    let dof = observed - smoothed.effective_dof;
    // Below this the difference is rounding, not a degree of freedom.
    (dof > 1e-6).then(|| rss / dof)
}

/// A smoothed sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Smoothed {
    /// The smooth values, one per input value.
    pub z: Vec<f64>,
    /// `diag((W + lambda D'D)^-1)`: times the error variance, the variance of z.
    pub inverse_diagonal: Vec<f64>,
    /// `trace((W + lambda D'D)^-1 W)`: how many free parameters the curve amounts to.
    pub effective_dof: f64,
}

/// Why a sequence cannot be smoothed.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum SmoothError {
    /// Not one weight per value.
    #[error("{values} values but {weights} weights, expected as many")]
    Length {
        /// Number of values.
        values: usize,
        /// Number of weights.
        weights: usize,
    },
    /// lambda is not a positive number.
    #[error("lambda is {0}, expected a finite number above 0")]
    Lambda(f64),
    /// A weight that is negative or not finite, or a weighted value that is not finite.
    #[error(
        "value {value} with weight {weight} at position {position}, expected a finite value and a weight of at least 0"
    )]
    Value {
        /// Index of the value.
        position: usize,
        /// The value.
        value: f64,
        /// Its weight.
        weight: f64,
    },
    /// The observed values do not determine the curve.
    #[error("{found} values with a weight above 0, expected at least {needed}")]
    TooFew {
        /// Values with weight.
        found: usize,
        /// Values needed.
        needed: usize,
    },
    /// Gaps too long for this lambda and precision.
    #[error("the smoothing system is too ill-conditioned at position {position}: gaps too long for this lambda")]
    IllConditioned {
        /// Where the factorisation lost its precision.
        position: usize,
    },
}

/// Whittaker smoother of order 2. A NaN with weight 0 is a missing value.
///
/// # Errors
/// [`SmoothError`]; a NaN never enters or leaves silently.
pub fn whittaker(y: &[f64], w: &[f64], lambda: f64) -> Result<Smoothed, SmoothError> {
    let n = y.len();
    if w.len() != n {
        return Err(SmoothError::Length { values: n, weights: w.len() });
    }
    if !(lambda.is_finite() && lambda > 0.0) {
        return Err(SmoothError::Lambda(lambda));
    }
    for (position, (&value, &weight)) in y.iter().zip(w).enumerate() {
        let good = weight.is_finite() && weight >= 0.0 && (weight == 0.0 || value.is_finite());
        if !good {
            return Err(SmoothError::Value { position, value, weight });
        }
    }
    let found = w.iter().filter(|&&w| w > 0.0).count();
    // The penalty leaves a straight line free, which takes two values; below three there is no penalty at all.
    let needed = n.clamp(1, 2);
    if found < needed {
        return Err(SmoothError::TooFew { found, needed });
    }

    let system = Banded::new(w, lambda);
    let factor = system.factor()?;
    let rhs: Vec<f64> = y.iter().zip(w).map(|(&y, &w)| if w > 0.0 { w * y } else { 0.0 }).collect();
    let mut z = factor.solve(&rhs);
    // Refinement: in a long gap the factor alone loses digits that one or two residuals bring back.
    for _ in 0..2 {
        let correction = factor.solve(&system.residual(&rhs, &z));
        for (z, c) in z.iter_mut().zip(&correction) {
            *z += c;
        }
    }
    let inverse_diagonal = factor.inverse_diagonal();
    for position in 0..n {
        if !(z[position].is_finite() && inverse_diagonal[position].is_finite() && inverse_diagonal[position] > 0.0) {
            return Err(SmoothError::IllConditioned { position });
        }
    }
    let effective_dof = w.iter().zip(&inverse_diagonal).map(|(w, d)| w * d).sum();
    Ok(Smoothed { z, inverse_diagonal, effective_dof })
}

/// Steps between neighbours of the grid, and its ends, in log10 lambda for steps of 10 days.
const GRID_PER_DECADE: i32 = 10;
const GRID_DECADES: std::ops::RangeInclusive<i32> = -2..=4;
/// Sums of squares below this share of that of the data are rounding, and their logarithm is noise.
const ROUNDING: f64 = 1e-24;

/// Grid of lambda for the V-curve, ascending: 10^-2 to 10^4 in tenths of a decade for steps of 10 days, for others times
/// `(10 / step)^3`, which leaves the curve through the same observations as smooth in time.
pub fn lambda_grid(step: StepDays) -> Vec<f64> {
    let scale = 3.0 * (10.0 / f64::from(step.0)).log10();
    let (first, last) = (GRID_DECADES.start() * GRID_PER_DECADE, GRID_DECADES.end() * GRID_PER_DECADE);
    let at = |i: i32| 10_f64.powf(f64::from(i) / f64::from(GRID_PER_DECADE) + scale);
    (first..=last).map(at).filter(|l| LAMBDA_RANGE.contains(l)).collect()
}

/// lambda by the V-curve over an ascending grid: the geometric mean of two neighbours. Of a straight line, which every lambda
/// returns, the largest. `None` where no part of the grid can be judged, or the sequence cannot be smoothed.
pub fn v_curve(y: &[f64], w: &[f64], grid: &[f64]) -> Option<f64> {
    let size: f64 = y.iter().zip(w).filter(|(_, w)| **w > 0.0).map(|(y, w)| w * y * y).sum();
    let mut points = Vec::with_capacity(grid.len());
    let mut last_misfit = f64::INFINITY;
    for &lambda in grid {
        let z = whittaker(y, w, lambda).ok()?.z;
        let seen = y.iter().zip(w).zip(&z).filter(|((_, w), _)| **w > 0.0);
        let misfit: f64 = seen.map(|((y, w), z)| w * (y - z).powi(2)).sum();
        let bend: f64 = z.windows(3).map(|z| ((z[2] - z[1]) - (z[1] - z[0])).powi(2)).sum();
        let judged = misfit > ROUNDING * size && bend > ROUNDING * size;
        points.push(judged.then(|| (misfit.ln(), bend.ln())));
        last_misfit = misfit;
    }
    if last_misfit <= ROUNDING * size {
        return grid.last().copied();
    }
    let mut best: Option<(f64, f64)> = None;
    for (p, l) in points.windows(2).zip(grid.windows(2)) {
        let (Some(a), Some(b)) = (p[0], p[1]) else { continue };
        let v = (b.0 - a.0).hypot(b.1 - a.1) / (l[1] / l[0]).ln();
        if best.is_none_or(|(least, _)| v < least) {
            best = Some((v, (l[0] * l[1]).sqrt()));
        }
    }
    best.map(|(_, lambda)| lambda)
}

/// `W + lambda D'D`: symmetric with two bands beside the diagonal. The penalty is kept as an operator for residuals.
struct Banded<'a> {
    w: &'a [f64],
    lambda: f64,
}

impl<'a> Banded<'a> {
    fn new(w: &'a [f64], lambda: f64) -> Self {
        Self { w, lambda }
    }

    /// LDL' with unit lower L of bandwidth 2; fails when a pivot is lost to rounding.
    fn factor(&self) -> Result<Factor, SmoothError> {
        let n = self.w.len();
        let mut diagonal = self.w.to_vec();
        let (mut first, mut second) = (vec![0.0; n], vec![0.0; n]);
        for k in 0..n.saturating_sub(2) {
            diagonal[k] += self.lambda;
            diagonal[k + 1] += 4.0 * self.lambda;
            diagonal[k + 2] += self.lambda;
            first[k] -= 2.0 * self.lambda;
            first[k + 1] -= 2.0 * self.lambda;
            second[k] += self.lambda;
        }
        // Row i still lacks the terms of rows i-1 and i-2: subtract them when their pivots are known.
        for i in 0..n {
            let pivot = diagonal[i];
            if pivot.is_nan() || pivot <= 0.0 {
                return Err(SmoothError::IllConditioned { position: i });
            }
            let (a, b) = (first[i], second[i]);
            let (l1, l2) = (a / pivot, b / pivot);
            if i + 1 < n {
                diagonal[i + 1] -= l1 * a;
                first[i + 1] -= l1 * b;
            }
            if i + 2 < n {
                diagonal[i + 2] -= l2 * b;
            }
            (first[i], second[i]) = (l1, l2);
        }
        Ok(Factor { pivots: diagonal, first, second })
    }

    /// `rhs - (W + lambda D'D) z`, the penalty applied as second differences twice: a smooth z cancels inside D z,
    /// where it costs no precision, and not in the large entries of D'D.
    fn residual(&self, rhs: &[f64], z: &[f64]) -> Vec<f64> {
        let mut r: Vec<f64> = rhs.iter().zip(self.w).zip(z).map(|((r, w), z)| r - w * z).collect();
        for k in 0..z.len().saturating_sub(2) {
            let bend = self.lambda * ((z[k + 2] - z[k + 1]) - (z[k + 1] - z[k]));
            r[k] -= bend;
            r[k + 1] += 2.0 * bend;
            r[k + 2] -= bend;
        }
        r
    }
}

/// The LDL' factor: pivots D, and the two bands below the unit diagonal of L by column.
struct Factor {
    pivots: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
}

impl Factor {
    fn solve(&self, rhs: &[f64]) -> Vec<f64> {
        let n = rhs.len();
        let mut z = rhs.to_vec();
        for i in 0..n {
            if i + 1 < n {
                z[i + 1] -= self.first[i] * z[i];
            }
            if i + 2 < n {
                z[i + 2] -= self.second[i] * z[i];
            }
        }
        for i in (0..n).rev() {
            z[i] /= self.pivots[i];
            if i + 1 < n {
                z[i] -= self.first[i] * z[i + 1];
            }
            if i + 2 < n {
                z[i] -= self.second[i] * z[i + 2];
            }
        }
        z
    }

    /// Takahashi: from `S = D^-1 L^-1 + (I - L') S`, the band of the inverse S from its last row upwards.
    fn inverse_diagonal(&self) -> Vec<f64> {
        let n = self.pivots.len();
        let mut s = vec![0.0; n];
        // S(i+1, i+1), S(i+1, i+2), S(i+2, i+2) of the rows already done; beyond the end they are 0, as are L's bands.
        let (mut s11, mut s12, mut s22) = (0.0, 0.0, 0.0);
        for i in (0..n).rev() {
            let (l1, l2) = (self.first[i], self.second[i]);
            let s01 = -(l1 * s11 + l2 * s12);
            let s02 = -(l1 * s12 + l2 * s22);
            s[i] = 1.0 / self.pivots[i] - (l1 * s01 + l2 * s02);
            (s22, s12, s11) = (s11, s01, s[i]);
        }
        s
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{Observation, Params, SeriesPoint};
    use jiff::SignedDuration;
    use jiff::civil::{Date, date};
    use proptest::prelude::*;

    fn regular_series(observations: &[Observation], anchor: Option<Date>, params: &Params) -> Vec<SeriesPoint> {
        crate::series::regular_series(observations, anchor, params).points
    }

    // Worked example 16: a series with a gap, d = 2, lambda = 2.
    #[test]
    fn example_16() {
        let y = [0.2, 0.5, f64::NAN, 0.6, 0.1, 0.7, 0.65];
        let w = [1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0];
        let expected = [0.28805521, 0.37828703, 0.42449124, 0.44349673, 0.45213237, 0.54547868, 0.64254999];
        let s = whittaker(&y, &w, 2.0).unwrap();
        for (z, e) in s.z.iter().zip(expected) {
            assert!((z - e).abs() < 1e-8, "{z} {e}");
        }
    }

    /// Inverse by Gauss-Jordan with pivoting: slow, dense, and independent of the banded code.
    fn dense_inverse(w: &[f64], lambda: f64) -> Vec<Vec<f64>> {
        let n = w.len();
        let mut a = vec![vec![0.0; 2 * n]; n];
        for i in 0..n {
            a[i][i] = w[i];
            a[i][n + i] = 1.0;
        }
        for k in 0..n.saturating_sub(2) {
            let d = [1.0, -2.0, 1.0];
            for i in 0..3 {
                for j in 0..3 {
                    a[k + i][k + j] += lambda * d[i] * d[j];
                }
            }
        }
        for column in 0..n {
            let best = (column..n).max_by(|&i, &j| a[i][column].abs().total_cmp(&a[j][column].abs())).unwrap();
            a.swap(column, best);
            let row: Vec<f64> = a[column].iter().map(|v| v / a[column][column]).collect();
            for (i, other) in a.iter_mut().enumerate() {
                let factor = if i == column { 0.0 } else { other[column] };
                if i != column {
                    other.iter_mut().zip(&row).for_each(|(v, r)| *v -= factor * r);
                }
            }
            a[column] = row;
        }
        a.into_iter().map(|row| row[n..].to_vec()).collect()
    }

    fn weights(n: std::ops::Range<usize>) -> impl Strategy<Value = Vec<f64>> {
        let weight = prop_oneof![Just(0.0), 0.1..3.0f64];
        prop::collection::vec(weight, n).prop_filter("two observed", |w| w.iter().filter(|&&w| w > 0.0).count() >= 2)
    }

    fn max_difference(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    }

    proptest! {
        #[test]
        fn agrees_with_a_dense_inverse(w in weights(2..40), lambda in 0.01..100.0f64, seed in 0u64..1000) {
            let y: Vec<f64> = (0..w.len()).map(|i| ((seed + 1) as f64 * (i + 1) as f64).sin()).collect();
            let s = whittaker(&y, &w, lambda).unwrap();
            let inverse = dense_inverse(&w, lambda);
            let mut edf = 0.0;
            for i in 0..w.len() {
                let z: f64 = (0..w.len()).map(|j| inverse[i][j] * w[j] * y[j]).sum();
                prop_assert!((s.z[i] - z).abs() < 1e-6, "{} {}", s.z[i], z);
                prop_assert!((s.inverse_diagonal[i] / inverse[i][i] - 1.0).abs() < 1e-6);
                edf += inverse[i][i] * w[i];
            }
            prop_assert!((s.effective_dof - edf).abs() < 1e-6);
        }

        #[test]
        fn a_straight_line_is_returned(
            w in weights(2..200), lambda in 1e-3..1e6f64, a in -1.0..1.0f64, b in -0.1..0.1f64,
        ) {
            let y: Vec<f64> = (0..w.len()).map(|i| a + b * i as f64).collect();
            let s = whittaker(&y, &w, lambda).unwrap();
            prop_assert!(max_difference(&s.z, &y) < 1e-9);
        }

        #[test]
        fn scaling_and_shifting_the_values_scales_and_shifts_the_curve(w in weights(3..60), c in -5.0..5.0f64) {
            let y: Vec<f64> = (0..w.len()).map(|i| (i as f64).cos()).collect();
            let scaled: Vec<f64> = y.iter().map(|y| c * y + 0.3).collect();
            let (s, t) = (whittaker(&y, &w, 10.0).unwrap(), whittaker(&scaled, &w, 10.0).unwrap());
            let expected: Vec<f64> = s.z.iter().map(|z| c * z + 0.3).collect();
            prop_assert!(max_difference(&t.z, &expected) < 1e-7);
            prop_assert_eq!(s.inverse_diagonal, t.inverse_diagonal);
        }

        #[test]
        fn without_penalty_the_data_come_back(y in prop::collection::vec(-1.0..1.0f64, 3..50)) {
            let s = whittaker(&y, &vec![1.0; y.len()], 1e-12).unwrap();
            prop_assert!(max_difference(&s.z, &y) < 1e-9);
            prop_assert!((s.effective_dof - y.len() as f64).abs() < 1e-6);
        }

        #[test]
        fn order_of_observations_does_not_matter(
            rows in prop::collection::vec((0i64..400, 0.0..1.0f64, 0.0..1.0f64), 0..40).prop_shuffle(),
        ) {
            let start = date(2020, 1, 1);
            let make = |r: &(i64, f64, f64)| Observation {
                date: start.saturating_add(SignedDuration::from_hours(24 * r.0)), mean: r.1, clear_fraction: r.2,
            };
            let mut observations: Vec<Observation> = rows.iter().map(make).collect();
            let shuffled = regular_series(&observations, None, &Params::default());
            observations.sort_by_key(|o| o.date);
            prop_assert_eq!(&shuffled, &regular_series(&observations, None, &Params::default()));
            let used: u32 = shuffled.iter().map(|p| p.observations).sum();
            prop_assert_eq!(used as usize, observations.iter().filter(|o| o.is_usable()).count());
            prop_assert!(shuffled.windows(2).all(|p| p[1].date.duration_since(p[0].date).as_hours() == 240));
        }
    }

    // 20,000 days, seen every 16th with a year-long gap: the system must still be solved, and a line with three
    // observations in 55 years must still come back as that line.
    #[test]
    fn long_daily_series_stay_accurate() {
        let n = 20_000;
        let y: Vec<f64> = (0..n).map(|i| 0.5 + 0.3 * (i as f64 * std::f64::consts::TAU / 365.25).sin()).collect();
        let w: Vec<f64> = (0..n).map(|i| if i % 16 == 0 && !(7000..7400).contains(&i) { 0.9 } else { 0.0 }).collect();
        for lambda in [0.1, 10.0, 1e6] {
            let s = whittaker(&y, &w, lambda).unwrap();
            let rhs: Vec<f64> = y.iter().zip(&w).map(|(y, w)| y * w).collect();
            let residual = Banded::new(&w, lambda).residual(&rhs, &s.z);
            let worst = residual.iter().fold(0.0, |m: f64, r| m.max(r.abs()));
            assert!(worst < 1e-14 * (1.0 + 16.0 * lambda), "{lambda}: {worst:e}");
        }
        let mut w = vec![0.0; n];
        for i in [0, 10_000, n - 1] {
            w[i] = 1.0;
        }
        let line: Vec<f64> = (0..n).map(|i| 0.2 + 3e-5 * i as f64).collect();
        assert!(max_difference(&whittaker(&line, &w, 10.0).unwrap().z, &line) < 1e-9);
    }

    #[test]
    fn what_cannot_be_smoothed_is_refused() {
        let nan = f64::NAN;
        assert_eq!(whittaker(&[], &[], 1.0), Err(SmoothError::TooFew { found: 0, needed: 1 }));
        assert_eq!(whittaker(&[1.0; 3], &[0.0; 3], 1.0), Err(SmoothError::TooFew { found: 0, needed: 2 }));
        assert_eq!(whittaker(&[1.0; 3], &[1.0, 0.0, 0.0], 1.0), Err(SmoothError::TooFew { found: 1, needed: 2 }));
        assert_eq!(whittaker(&[1.0; 3], &[1.0; 2], 1.0), Err(SmoothError::Length { values: 3, weights: 2 }));
        assert_eq!(whittaker(&[1.0; 3], &[1.0; 3], 0.0), Err(SmoothError::Lambda(0.0)));
        assert!(matches!(whittaker(&[1.0; 3], &[1.0; 3], nan), Err(SmoothError::Lambda(_))));
        assert!(matches!(whittaker(&[1.0, nan, 1.0], &[1.0; 3], 1.0), Err(SmoothError::Value { position: 1, .. })));
        assert!(matches!(whittaker(&[1.0; 3], &[1.0, -1.0, 1.0], 1.0), Err(SmoothError::Value { position: 1, .. })));
        assert_eq!(whittaker(&[0.4], &[2.0], 1.0).unwrap().z, [0.4]);
        assert_eq!(whittaker(&[0.4, 0.6], &[2.0, 1.0], 1.0).unwrap().z, [0.4, 0.6]);
    }

    fn seen(date: Date, mean: f64, clear_fraction: f64) -> Observation {
        Observation { date, mean, clear_fraction }
    }

    // Steps of 10 days from 2020-01-01: days 0 and 9 share step 0, day 10 opens step 1, step 2 is empty, day 30 is step
    // 3.
    #[test]
    fn steps_are_counted_from_the_anchor() {
        let rows = [
            seen(date(2020, 1, 31), 0.7, 1.0),
            seen(date(2020, 1, 1), 0.4, 1.0),
            seen(date(2020, 1, 10), 0.6, 0.5),
            seen(date(2020, 1, 11), 0.5, 1.0),
            seen(date(2020, 3, 1), f64::NAN, 0.0),
        ];
        let series = regular_series(&rows, Some(date(2020, 1, 1)), &Params::default());
        let dates: Vec<Date> = series.iter().map(|p| p.date).collect();
        assert_eq!(dates, [date(2020, 1, 1), date(2020, 1, 11), date(2020, 1, 21), date(2020, 1, 31)]);
        assert_eq!(series.iter().map(|p| p.observations).collect::<Vec<_>>(), [2, 1, 0, 1]);
        // y of step 0 is (0.4 + 0.5 x 0.6) / 1.5 with weight 1.5.
        let s = whittaker(&[0.7 / 1.5, 0.5, f64::NAN, 0.7], &[1.5, 1.0, 0.0, 1.0], 10.0).unwrap();
        for (point, z) in series.iter().zip(&s.z) {
            assert!((point.value.unwrap() - z).abs() < 1e-12);
            assert!(point.value_se.unwrap() > 0.0);
        }
    }

    #[test]
    fn before_the_anchor_and_without_one() {
        let rows = [seen(date(2019, 12, 31), 0.5, 1.0)];
        let series = regular_series(&rows, Some(date(2020, 1, 1)), &Params::default());
        assert_eq!(series[0].date, date(2019, 12, 22));
        let series = regular_series(&[seen(date(1970, 1, 15), 0.5, 1.0)], None, &Params::default());
        assert_eq!(series[0].date, date(1970, 1, 11));
    }

    #[test]
    fn two_observed_steps_give_no_value() {
        let rows = [seen(date(2020, 1, 1), 0.5, 1.0), seen(date(2020, 2, 1), 0.6, 1.0)];
        let series = regular_series(&rows, Some(date(2020, 1, 1)), &Params::default());
        assert_eq!(series.len(), 4);
        assert!(series.iter().all(|p| p.value.is_none() && p.value_se.is_none()));
        assert!(regular_series(&[], None, &Params::default()).is_empty());
    }

    #[test]
    fn the_standard_error_grows_inside_a_gap() {
        let rows: Vec<Observation> = (0..60)
            .filter(|i| !(20..40).contains(i))
            .map(|i| {
                let day = date(2020, 1, 1).saturating_add(SignedDuration::from_hours(240 * i));
                seen(day, 0.5 + 0.01 * f64::from((i * 7 % 5) as i32), 1.0)
            })
            .collect();
        let series = regular_series(&rows, Some(date(2020, 1, 1)), &Params::default());
        assert!(series[30].value_se > series[19].value_se);
        assert!(series[30].value_se > series[5].value_se);
    }

    #[test]
    fn parameters_are_checked_where_they_are_read() {
        let read = |text: &str| toml::from_str::<Params>(text);
        assert_eq!(read("").unwrap(), Params::default());
        assert!(read("step_days = 0").unwrap_err().to_string().contains("expected 1 to 366"));
        assert!(read("step_days = 367").is_err());
        assert!(read("lambda = -1.0").is_err());
        assert!(read("lambda = nan").is_err());
        assert!(read("lamda = 3.0").is_err());
        assert_eq!(read("lambda = \"v-curve\"").unwrap().lambda, Smoothness::VCurve);
        assert!(read("lambda = \"vcurve\"").unwrap_err().to_string().contains("a number or \"v-curve\""));
        assert!(read("lambda = true").unwrap_err().to_string().contains("a number or \"v-curve\""));
        assert!(read("method = \"spline\"").is_err());
        assert!(read("harmonics = 4").unwrap_err().to_string().contains("expected 1 to 3"));
        let all = "lambda = \"v-curve\"\nmethod = \"harmonic\"\n[screen]\n[seasons]\nthreshold = 0.2\n";
        assert_eq!(read(&toml::to_string(&read(all).unwrap()).unwrap()).unwrap(), read(all).unwrap());
        let text = toml::to_string(&Params::default()).unwrap();
        assert_eq!(read(&text).unwrap(), Params::default());
    }
}
