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
//! **Support.** Between observations a curve of waves swings free: through a winter that nobody saw an NDVI of 1.4 is as good
//! a fit as any. A day has a value only where
//! - observations of any year lie on both sides of it in the calendar, no further apart than half a period of the highest
//!   harmonic (`365.25 / 2K` days: 183, 91 and 61 for K = 1, 2, 3), which is what it takes to see such a wave at all;
//! - the observations before and after it are at most `GAP_DAYS` (183) apart: what other years looked like is no look;
//! - the value lies within the range of the observations, widened by a tenth on both sides, and not beyond -1 or 1 unless an
//!   observation does.
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
/// Longest time without an observation within which the curve is told, days: half a year.
const GAP_DAYS: f64 = 183.0;
/// How far beyond the range of the observations a value may lie, as a share of that range.
const BEYOND: f64 = 0.1;
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
    support: Support,
}

/// Where observations hold a curve.
#[derive(Debug, Clone, PartialEq)]
struct Support {
    /// Days of the observations, ascending.
    days: Vec<f64>,
    /// Their days of the year, ascending.
    phases: Vec<f64>,
    /// Longest time between neighbours among the phases, days.
    apart: f64,
    /// Lowest and highest value.
    values: (f64, f64),
}

impl Support {
    fn new(days: &[f64], values: &[f64], harmonics: usize) -> Support {
        let sorted = |mut list: Vec<f64>| {
            list.sort_by(f64::total_cmp);
            list
        };
        let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // At least what rounding moves a constant by.
        let reach = (BEYOND * (highest - lowest)).max(EXACT * lowest.abs().max(highest.abs()));
        Support {
            days: sorted(days.to_vec()),
            phases: sorted(days.iter().map(|d| d.rem_euclid(DAYS_PER_YEAR)).collect()),
            apart: DAYS_PER_YEAR / (2 * harmonics) as f64,
            values: ((lowest - reach).max(lowest.min(-1.0)), (highest + reach).min(highest.max(1.0))),
        }
    }

    fn holds(&self, day: f64, value: f64) -> bool {
        // Days from the neighbour before to the one after; of a cycle, across its turn.
        let gap = |list: &[f64], at: f64, cycle: Option<f64>| {
            let i = list.partition_point(|d| *d < at);
            if list.get(i) == Some(&at) {
                return 0.0;
            }
            let turn = |end: Option<&f64>, by: f64| end.zip(cycle).map(|(d, c)| d + by * c);
            let before = i.checked_sub(1).map(|i| list[i]).or(turn(list.last(), -1.0));
            let after = list.get(i).copied().or(turn(list.first(), 1.0));
            before.zip(after).map_or(f64::INFINITY, |(b, a)| a - b)
        };
        gap(&self.days, day, None) <= GAP_DAYS
            && gap(&self.phases, day.rem_euclid(DAYS_PER_YEAR), Some(DAYS_PER_YEAR)) <= self.apart
            && (self.values.0..=self.values.1).contains(&value)
    }
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
        let support = Support::new(days, values, harmonics);
        Some(Harmonic { origin_days, harmonics, coefficients, triangle, variance, support })
    }

    /// Value and standard error of the curve on a day of the same origin; `None` where no observation supports it, no error
    /// where too many observations are outliers.
    pub fn at(&self, day: f64) -> Option<(f64, Option<f64>)> {
        let x = row(day - self.origin_days, self.harmonics);
        // x' (R'R)^-1 x = |R'^-1 x|^2, by forward substitution.
        let mut z: Vec<f64> = Vec::with_capacity(x.len());
        for (i, &v) in x.iter().enumerate() {
            let known: f64 = (0..i).map(|k| self.triangle[k][i] * z[k]).sum();
            z.push((v - known) / self.triangle[i][i]);
        }
        let value = dot(&x, &self.coefficients);
        self.support.holds(day, value).then(|| (value, self.variance.map(|v| (v * dot(&z, &z)).sqrt())))
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
        let off = |fit: &Harmonic| days.iter().map(|d| (fit.at(*d).unwrap().0 - truth(*d)).abs()).fold(0.0, f64::max);
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
        let (value, se) = fit.at(18_100.0).unwrap();
        assert!((value - 0.4).abs() < 1e-12 && se == Some(0.0), "{value} {se:?}");
    }

    #[test]
    fn weights_count_as_repetitions() {
        let days = days(40);
        let y: Vec<f64> = days.iter().enumerate().map(|(i, d)| truth(*d) + 0.01 * (i as f64 * 1.7).sin()).collect();
        let single = Harmonic::fit(&days, &y, &[0.25; 40], 2).unwrap();
        let plain = Harmonic::fit(&days, &y, &[1.0; 40], 2).unwrap();
        let (a, b) = (single.at(18_333.0).unwrap(), plain.at(18_333.0).unwrap());
        assert!((a.0 - b.0).abs() < 1e-9 && (a.1.unwrap() - b.1.unwrap()).abs() < 1e-9, "a common weight is no matter");
    }

    #[test]
    fn what_no_observation_supports_is_not_told() {
        // Four years of every eighth day, with winters (days 330 to 60 of each year) that nobody saw.
        let seen = |d: &f64| (60.0..330.0).contains(&d.rem_euclid(DAYS_PER_YEAR));
        let all: Vec<f64> = (0..183).map(|i| 18_000.0 + 8.0 * f64::from(i)).collect();
        let days: Vec<f64> = all.iter().copied().filter(seen).collect();
        let noisy = |d: &f64| truth(*d) - 0.5 + 0.03 * (d * 1.3).sin();
        let values: Vec<f64> = days.iter().map(noisy).collect();
        let fit = Harmonic::fit(&days, &values, &vec![1.0; days.len()], 3).unwrap();
        let told = |d: &f64| fit.at(*d).is_some();
        assert!(days.iter().all(told) && all.iter().filter(|d| !seen(d)).all(|d| !told(d)));
        // One winter seen is enough for the season of the others; a gap of a year and more is not told, whatever the season.
        let one = |d: &f64| seen(d) || (18_600.0..18_800.0).contains(d);
        let gap = |d: &f64| !(18_900.0..19_200.0).contains(d);
        let days: Vec<f64> = all.iter().copied().filter(one).collect();
        let values: Vec<f64> = days.iter().map(noisy).collect();
        let fit = Harmonic::fit(&days, &values, &vec![1.0; days.len()], 3).unwrap();
        let ends = days[0]..=days[days.len() - 1];
        let within = |d: &&f64| ends.contains(*d);
        assert!(all.iter().filter(within).all(|d| fit.at(*d).is_some()));
        let days: Vec<f64> = days.into_iter().filter(gap).collect();
        let values: Vec<f64> = days.iter().map(noisy).collect();
        let fit = Harmonic::fit(&days, &values, &vec![1.0; days.len()], 3).unwrap();
        assert!(all.iter().filter(within).all(|d| fit.at(*d).is_some() == gap(d)));
    }

    #[test]
    fn a_value_far_beyond_the_observations_is_not_told() {
        let within = Support::new(&[0.0, 30.0, 60.0], &[0.2, 0.9, 0.6], 1);
        for (value, told) in [(0.2, true), (0.14, true), (0.12, false), (0.96, true), (0.98, false), (1.36, false)] {
            assert_eq!(within.holds(30.0, value), told, "{value}");
        }
        // A tenth more than 0.99 is beyond what an index of this kind can be; what was observed beyond 1 may be.
        assert!(!Support::new(&[0.0], &[-0.9, 0.99], 1).holds(0.0, 1.01));
        assert!(Support::new(&[0.0], &[0.3, 1.2], 1).holds(0.0, 1.2));
    }
}
