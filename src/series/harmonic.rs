//! How does the index run through the year, and with which error? Harmonic regression with a trend, fitted robustly.
//!
//! `y = a + b t + sum_(k = 1..K) [c_k cos(2 pi k t) + s_k sin(2 pi k t)] + e`, t in years of 365.25 days. K falls until three
//! observations stand against each coefficient (12, 18 and 24 for K = 1, 2, 3), the rule of CCDC (Zhu and Woodcock 2014, RSE
//! 144:152-171). Fit: iteratively reweighted least squares from the ordinary solution, Tukey's bisquare with c = 4.685, scale
//! the median of |r| over 0.6745 (Holland and Welsch 1977, Communications in Statistics A6:813-827). A weighted observation is
//! a row scaled by the root of its weight.
//!
//! Standard error of the curve: `sqrt(x' C x)` with Huber's covariance of the coefficients,
//! `C = k^2 [sum psi(r/s)^2 s^2 / (n - p)] / [mean psi'(r/s)]^2 (X'X)^-1`, `k = 1 + p/n var(psi') / mean(psi')^2`
//! (Huber 1981, Robust Statistics, Eq. 6.5 of chapter 7). It grows in a season without observations. It assumes independent
//! errors and holds for the curve, not for a single new observation.
//!
//! What it does not do: follow a break. A loss bends the trend and widens the error; that is for the change methods.

use std::f64::consts::TAU;

/// Days in a year of the regression.
const DAYS_PER_YEAR: f64 = 365.25;
/// Tukey's constant: 95 % efficiency under normal errors.
const BISQUARE_C: f64 = 4.685;
/// Median of |e| of a standard normal e.
const MEDIAN_ABS_NORMAL: f64 = 0.674_489_750_196_081_7;
/// Observations that must stand against a coefficient.
const PER_COEFFICIENT: usize = 3;
/// Largest change of a coefficient, in units of the index, at which the reweighting has settled, and how often it is tried.
const SETTLED: f64 = 1e-10;
const ROUNDS: usize = 100;
/// Residuals below this share of the largest value are rounding: the curve runs through the data.
const EXACT: f64 = 1e-12;
/// A column of which less than this is left beside the others is one of them.
const RANK_TOLERANCE: f64 = 1e-9;

/// A fitted curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Harmonic {
    origin_days: f64,
    harmonics: usize,
    coefficients: Vec<f64>,
    /// Upper triangle R of the design, by row; `None` covariance factor where the error is undefined.
    triangle: Vec<Vec<f64>>,
    variance: Option<f64>,
}

impl Harmonic {
    /// Fits values at days (any origin) with weights above 0, all finite, with up to `most` harmonics. `None` with fewer
    /// than 12 observations, or where their dates do not determine the curve.
    pub fn fit(days: &[f64], values: &[f64], weights: &[f64], most: usize) -> Option<Harmonic> {
        let n = days.len();
        let harmonics = (1..=most).rev().find(|k| PER_COEFFICIENT * (2 + 2 * k) <= n)?;
        let p = 2 + 2 * harmonics;
        // From the middle, so that trend and level do not cancel.
        let origin_days = days.iter().sum::<f64>() / n as f64;
        let roots: Vec<f64> = weights.iter().map(|w| w.sqrt()).collect();
        let design: Vec<Vec<f64>> = days
            .iter()
            .zip(&roots)
            .map(|(d, w)| row(d - origin_days, harmonics).into_iter().map(|v| w * v).collect())
            .collect();
        let target: Vec<f64> = values.iter().zip(&roots).map(|(y, w)| w * y).collect();

        let (mut coefficients, triangle) = least_squares(&design, &target, &vec![1.0; n])?;
        let largest = target.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        let residuals = |c: &[f64]| -> Vec<f64> { design.iter().zip(&target).map(|(x, y)| y - dot(x, c)).collect() };
        let mut r = residuals(&coefficients);
        let mut scale = median_abs(&r) / MEDIAN_ABS_NORMAL;
        for _ in 0..ROUNDS {
            if scale <= EXACT * largest {
                break;
            }
            let robust: Vec<f64> = r.iter().map(|r| bisquare_weight(r / scale)).collect();
            // Too many outliers to determine the curve without them: the last one stands.
            let Some((next, _)) = least_squares(&design, &target, &robust) else { break };
            let moved = coefficients.iter().zip(&next).fold(0.0, |m: f64, (a, b)| m.max((a - b).abs()));
            coefficients = next;
            r = residuals(&coefficients);
            scale = median_abs(&r) / MEDIAN_ABS_NORMAL;
            if moved <= SETTLED {
                break;
            }
        }
        let variance = if scale <= EXACT * largest { Some(0.0) } else { huber_variance(&r, scale, p) };
        Some(Harmonic { origin_days, harmonics, coefficients, triangle, variance })
    }

    /// Value and standard error of the curve on a day of the same origin; no error where too many observations are outliers.
    pub fn at(&self, day: f64) -> (f64, Option<f64>) {
        let x = row(day - self.origin_days, self.harmonics);
        // x' (R'R)^-1 x = |R'^-1 x|^2, by forward substitution.
        let mut z: Vec<f64> = Vec::with_capacity(x.len());
        for (i, &v) in x.iter().enumerate() {
            let known: f64 = (0..i).map(|k| self.triangle[k][i] * z[k]).sum();
            z.push((v - known) / self.triangle[i][i]);
        }
        (dot(&x, &self.coefficients), self.variance.map(|v| (v * dot(&z, &z)).sqrt()))
    }

    /// Harmonics of the curve.
    pub fn harmonics(&self) -> usize {
        self.harmonics
    }
}

/// Regressors on a day: 1, t, cosine and sine of each harmonic.
fn row(day: f64, harmonics: usize) -> Vec<f64> {
    let t = day / DAYS_PER_YEAR;
    let mut x = vec![1.0, t];
    for k in 1..=harmonics {
        let (sin, cos) = (TAU * k as f64 * t).sin_cos();
        x.extend([cos, sin]);
    }
    x
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn bisquare_weight(u: f64) -> f64 {
    let v = u / BISQUARE_C;
    if v.abs() < 1.0 { (1.0 - v * v).powi(2) } else { 0.0 }
}

/// The middle of |r|, of an even number the mean of the two in the middle.
fn median_abs(r: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = r.iter().map(|r| r.abs()).collect();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    if n % 2 == 1 { sorted[n / 2] } else { (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0 }
}

/// What the covariance has beside `(X'X)^-1`; `None` where the residuals leave no slope of psi.
fn huber_variance(r: &[f64], scale: f64, p: usize) -> Option<f64> {
    let n = r.len() as f64;
    let slopes: Vec<f64> = r
        .iter()
        .map(|r| {
            let v = (r / scale / BISQUARE_C).powi(2);
            if v < 1.0 { (1.0 - v) * (1.0 - 5.0 * v) } else { 0.0 }
        })
        .collect();
    let psi2: f64 = r.iter().map(|r| (r / scale * bisquare_weight(r / scale)).powi(2)).sum();
    let mean = slopes.iter().sum::<f64>() / n;
    if mean <= 0.0 {
        return None;
    }
    let spread = slopes.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / n;
    let k = 1.0 + p as f64 / n * spread / (mean * mean);
    Some(k * k * psi2 * scale * scale / (n - p as f64) / (mean * mean))
}

/// Weighted least squares by Householder reflections: coefficients and R. `None` where the rows do not determine them.
fn least_squares(design: &[Vec<f64>], target: &[f64], weights: &[f64]) -> Option<(Vec<f64>, Vec<Vec<f64>>)> {
    let p = design.first()?.len();
    let mut a: Vec<Vec<f64>> = design
        .iter()
        .zip(target)
        .zip(weights)
        .map(|((x, y), w)| x.iter().chain([y]).map(|v| w.sqrt() * v).collect())
        .collect();
    if a.len() < p {
        return None;
    }
    for j in 0..p {
        let whole = a.iter().map(|row| row[j] * row[j]).sum::<f64>().sqrt();
        let norm = a[j..].iter().map(|row| row[j] * row[j]).sum::<f64>().sqrt();
        if norm.is_nan() || norm <= RANK_TOLERANCE * whole {
            return None;
        }
        let alpha = if a[j][j] > 0.0 { -norm } else { norm };
        let mut v: Vec<f64> = a[j..].iter().map(|row| row[j]).collect();
        v[0] -= alpha;
        let vv = dot(&v, &v);
        for c in j..=p {
            let projected: f64 = a[j..].iter().zip(&v).map(|(row, v)| row[c] * v).sum::<f64>() * 2.0 / vv;
            for (row, v) in a[j..].iter_mut().zip(&v) {
                row[c] -= projected * v;
            }
        }
    }
    let mut coefficients = vec![0.0; p];
    for i in (0..p).rev() {
        let known: f64 = (i + 1..p).map(|k| a[i][k] * coefficients[k]).sum();
        coefficients[i] = (a[i][p] - known) / a[i][i];
    }
    a.truncate(p);
    Some((coefficients, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(n: usize) -> Vec<f64> {
        (0..n).map(|i| 18_000.0 + 16.0 * i as f64).collect()
    }

    fn truth(day: f64) -> f64 {
        let t = day / DAYS_PER_YEAR;
        0.5 + 0.01 * t + 0.2 * (TAU * t).cos() - 0.1 * (TAU * t).sin() + 0.05 * (2.0 * TAU * t).cos()
    }

    #[test]
    fn a_curve_of_the_model_comes_back_and_outliers_do_not_bend_it() {
        let days = days(60);
        let exact: Vec<f64> = days.iter().map(|d| truth(*d)).collect();
        let fit = Harmonic::fit(&days, &exact, &[1.0; 60], 3).unwrap();
        let off = |fit: &Harmonic| days.iter().map(|d| (fit.at(*d).0 - truth(*d)).abs()).fold(0.0, f64::max);
        assert!(off(&fit) < 1e-12, "{}", off(&fit));
        // Small noise, and every ninth value under a cloud.
        let noisy: Vec<f64> =
            exact.iter().enumerate().map(|(i, y)| y + 0.004 * ((i * 37 % 11) as f64 - 5.0) / 5.0).collect();
        let mut cloudy = noisy.clone();
        cloudy.iter_mut().step_by(9).for_each(|y| *y -= 0.4);
        let (clean, robust) =
            (Harmonic::fit(&days, &noisy, &[1.0; 60], 3), Harmonic::fit(&days, &cloudy, &[1.0; 60], 3));
        assert!(off(&clean.unwrap()) < 0.004);
        assert!(off(&robust.unwrap()) < 0.004);
    }

    #[test]
    fn harmonics_fall_with_the_observations() {
        let k = |n: usize| {
            let days: Vec<f64> = (0..n).map(|i| 40.0 * i as f64 + (i * i % 7) as f64).collect();
            let y: Vec<f64> = days.iter().map(|d| truth(*d) + (d * 0.37).sin() * 0.01).collect();
            Harmonic::fit(&days, &y, &vec![1.0; n], 3).map(|f| f.harmonics())
        };
        assert_eq!([11, 12, 17, 18, 23, 24].map(k), [None, Some(1), Some(1), Some(2), Some(2), Some(3)]);
        let d = days(30);
        assert_eq!(Harmonic::fit(&d, &d, &[1.0; 30], 1).unwrap().harmonics(), 1);
        assert_eq!(Harmonic::fit(&[5.0; 30], &[0.3; 30], &[1.0; 30], 3), None, "one date says nothing of a season");
    }

    #[test]
    fn a_constant_series_is_itself_without_error() {
        let fit = Harmonic::fit(&days(30), &[0.4; 30], &[1.0; 30], 3).unwrap();
        let (value, se) = fit.at(18_100.0);
        assert!((value - 0.4).abs() < 1e-12 && se == Some(0.0), "{value} {se:?}");
    }

    #[test]
    fn weights_count_as_repetitions() {
        let days = days(40);
        let y: Vec<f64> = days.iter().enumerate().map(|(i, d)| truth(*d) + 0.01 * (i as f64 * 1.7).sin()).collect();
        let single = Harmonic::fit(&days, &y, &[0.25; 40], 2).unwrap();
        let plain = Harmonic::fit(&days, &y, &[1.0; 40], 2).unwrap();
        let (a, b) = (single.at(18_333.0), plain.at(18_333.0));
        assert!((a.0 - b.0).abs() < 1e-9 && (a.1.unwrap() - b.1.unwrap()).abs() < 1e-9, "a common weight is no matter");
    }
}
