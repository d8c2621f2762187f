//! How uncertain are stocks and changes? Errors of a [`Chain`] by simulation.
//!
//! In each draw every source of error has one value ([`super::draw`]), so parameters are the same over all dates and
//! parcels of a draw, and a difference of two dates, or a sum over parcels, has the right correlation by construction. The
//! estimate is made of the best estimates; standard errors are the standard deviation of the draws, intervals their
//! percentiles (the smallest draw that the share p of all reaches). Two independent halves of the draws must agree, their
//! means within 1 % and the widths of their 90 % intervals within 10 %.
//!
//! The variance is told by part as well: that of the draws where only the factors of one part vary and all others stand at
//! their best estimate. Products interact, so the parts need not add up to the whole.
//!
//! What it costs: the draws of shared sources are made once a run; a parcel costs one shuffle for each source of its own,
//! one multiplication a draw and factor, and selections for the percentiles.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::civil::Date;

use super::Pool;
use super::chain::{Chain, Factor, PARCEL_PREFIX, Part, Shape, Term};
use super::draw::{Draws, normal_probability};

/// Two half-runs agree when their means differ by at most this share of the mean (or of the standard deviation, where that
/// is larger: a change may be near 0).
const MEANS_WITHIN: f64 = 0.01;
/// And the widths of their 90 % intervals by at most this share. Widths rather than standard deviations: those of skewed
/// products hang on a few draws that no interval depends on.
const WIDTHS_WITHIN: f64 = 0.1;

/// An estimate and the spread of its draws, in the unit of the estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// From the best estimates.
    pub estimate: f64,
    /// Standard deviation of the draws.
    pub se: f64,
    /// Median of the draws.
    pub median: f64,
    /// 5th and 95th percentile.
    pub ci90: (f64, f64),
    /// 2.5th and 97.5th percentile.
    pub ci95: (f64, f64),
    /// Whether the two half-runs agree.
    pub converged: bool,
}

impl Spread {
    /// Of these draws; `draws` holds two halves that are independent of each other.
    pub fn of(estimate: f64, draws: &[f64]) -> Self {
        let (_, se) = moments(draws);
        let (a, b) = draws.split_at(draws.len() / 2);
        let ((mean_a, _), (mean_b, _)) = (moments(a), moments(b));
        let size = (mean_a + mean_b).abs() / 2.0;
        let [p2_5, p5, median, p95, p97_5] = percentiles(draws);
        let width = |half: &[f64]| {
            let [_, low, _, high, _] = percentiles(half);
            high - low
        };
        let converged = (mean_a - mean_b).abs() <= MEANS_WITHIN * size.max(se)
            && (width(a) - width(b)).abs() <= WIDTHS_WITHIN * (p95 - p5);
        Spread { estimate, se, median, ci90: (p5, p95), ci95: (p2_5, p97_5), converged }
    }
}

/// Mean and standard deviation (n - 1), in order.
fn moments(draws: &[f64]) -> (f64, f64) {
    let n = draws.len() as f64;
    let mean = draws.iter().sum::<f64>() / n;
    let squares: f64 = draws.iter().map(|d| (d - mean) * (d - mean)).sum();
    (mean, (squares / (n - 1.0).max(1.0)).sqrt())
}

/// The 2.5th, 5th, 50th, 95th and 97.5th percentile.
fn percentiles(draws: &[f64]) -> [f64; 5] {
    let mut values = draws.to_vec();
    let n = values.len();
    if n == 0 {
        return [f64::NAN; 5];
    }
    let at = |p: f64| ((p * n as f64).ceil() as usize).clamp(1, n) - 1;
    let mut below = |end: usize, p: f64| *values[..end].select_nth_unstable_by(at(p), f64::total_cmp).1;
    // Each selection leaves what is smaller in front of it.
    let p97_5 = below(n, 0.975);
    let p95 = below(at(0.975) + 1, 0.95);
    let p50 = below(at(0.95) + 1, 0.5);
    let p5 = below(at(0.5) + 1, 0.05);
    let p2_5 = below(at(0.05) + 1, 0.025);
    [p2_5, p5, p50, p95, p97_5]
}

/// Spread of a quantity, what each part contributes to it, and its draws.
#[derive(Debug, Clone, PartialEq)]
pub struct Simulated {
    /// All parts together.
    pub spread: Spread,
    /// Variance with one part alone varying, by [`Part::ALL`].
    pub parts: [f64; 5],
    /// The draws.
    pub draws: Vec<f64>,
}

impl Simulated {
    fn of(estimate: f64, draws: Vec<f64>) -> Self {
        Simulated { spread: Spread::of(estimate, &draws), parts: [0.0; 5], draws }
    }

    /// Share of each part in the variance; `None` where there is no variance.
    pub fn shares(&self) -> Option<[f64; 5]> {
        let variance = self.spread.se * self.spread.se;
        (variance > 0.0).then(|| self.parts.map(|p| p / variance))
    }
}

/// Everything about one parcel, in tonnes of carbon.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tonnes {
    /// Stock by epoch and pool; [`Pool::Total`] is the sum over the chain's pools.
    pub stocks: BTreeMap<(Date, Pool), Simulated>,
    /// Change by period (start, end), of the total.
    pub deltas: BTreeMap<(Date, Date), Simulated>,
    /// The same by gain and loss, where the chain has it.
    pub gain_loss: BTreeMap<(Date, Date), Simulated>,
}

/// Draws errors. One for a whole run, shared by its threads.
#[derive(Debug)]
pub struct MonteCarlo {
    draws: Draws,
    /// Draws of sources that parcels share. Threads fill it in any order; its values do not depend on it.
    shared: RwLock<BTreeMap<Arc<str>, Arc<[f64]>>>,
}

/// A factor and its draws, where it varies.
struct Drawn<'a> {
    factor: &'a Factor,
    values: Option<Vec<f64>>,
}

impl MonteCarlo {
    /// With these draws.
    pub fn new(draws: Draws) -> Self {
        MonteCarlo { draws, shared: RwLock::default() }
    }

    /// The draws.
    pub fn draws(&self) -> &Draws {
        &self.draws
    }

    /// Stocks and changes of one parcel of `area` hectares, over those periods whose ends the chain has.
    ///
    /// # Units
    /// Result in t C; the chain's densities in t C/ha, the area in ha.
    pub fn tonnes(&self, chain: &Chain, area: &Factor, periods: &[[Date; 2]]) -> Tonnes {
        let mut factors: Vec<Drawn> = chain.factors.iter().map(|f| self.draw(f)).collect();
        factors.push(self.draw(area));
        let mut sums = Sums { n: self.draws.count(), factors, product: Vec::new() };
        let mut tonnes = Tonnes::default();
        let periods: Vec<(Date, Date)> = periods
            .iter()
            .map(|[a, b]| (*a, *b))
            .filter(|(a, b)| chain.epochs.contains_key(a) && chain.epochs.contains_key(b))
            .collect();
        let mut totals: BTreeMap<Date, Vec<f64>> = BTreeMap::new();
        let mut part_of = |sums: &mut Sums, tonnes: &mut Tonnes, only: Option<(usize, Part)>| {
            totals.clear();
            for (date, epoch) in &chain.epochs {
                let total = totals.entry(*date).or_insert_with(|| vec![0.0; sums.n]);
                let mut estimate = 0.0;
                for (pool, terms) in &epoch.densities {
                    let draws = sums.of(terms, only.map(|(_, p)| p));
                    total.iter_mut().zip(&draws).for_each(|(t, d)| *t += d);
                    let of_pool = chain.estimate(terms) * area.value;
                    estimate += of_pool;
                    put(&mut tonnes.stocks, (*date, *pool), of_pool, draws, only);
                }
                put(&mut tonnes.stocks, (*date, Pool::Total), estimate, total.clone(), only);
            }
            for (a, b) in &periods {
                let draws = totals[b].iter().zip(&totals[a]).map(|(b, a)| b - a).collect();
                let of = |date| tonnes.stocks[&(date, Pool::Total)].spread.estimate;
                let estimate = of(*b) - of(*a);
                put(&mut tonnes.deltas, (*a, *b), estimate, draws, only);
            }
            for (period, terms) in &chain.gain_loss {
                let draws = sums.of(terms, only.map(|(_, p)| p));
                put(&mut tonnes.gain_loss, *period, chain.estimate(terms) * area.value, draws, only);
            }
        };
        part_of(&mut sums, &mut tonnes, None);
        for (i, part) in Part::ALL.into_iter().enumerate() {
            if sums.factors.iter().any(|f| f.factor.part == part && f.values.is_some()) {
                part_of(&mut sums, &mut tonnes, Some((i, part)));
            }
        }
        tonnes
    }

    fn draw<'a>(&self, factor: &'a Factor) -> Drawn<'a> {
        let sources: Vec<&(Arc<str>, f64)> = factor.sources.iter().filter(|(_, w)| *w != 0.0).collect();
        if sources.is_empty() {
            return Drawn { factor, values: None };
        }
        let mut values = vec![0.0; self.draws.count()];
        let mut own = Vec::new();
        for (source, loading) in sources {
            let shared = (!source.starts_with(PARCEL_PREFIX)).then(|| self.source(source));
            let z: &[f64] = match &shared {
                Some(z) => z,
                None => {
                    self.draws.fill(source, &mut own);
                    &own
                }
            };
            values.iter_mut().zip(z).for_each(|(v, z)| *v += loading * z);
        }
        let value = factor.value;
        let unit = |z: f64| normal_probability(z).clamp(0.0, 1.0);
        match &factor.shape {
            Shape::Normal => values.iter_mut().for_each(|v| *v += value),
            Shape::Lognormal => {
                let variance: f64 = factor.sources.iter().map(|(_, w)| w * w).sum();
                values.iter_mut().for_each(|v| *v = value * (*v - variance / 2.0).exp());
            }
            Shape::Triangular { min, max } => {
                let (width, peak) = (max - min, (value - min) / (max - min));
                values.iter_mut().for_each(|v| {
                    let u = unit(*v);
                    *v = if u < peak {
                        min + width * (u * peak).sqrt()
                    } else {
                        max - width * ((1.0 - u) * (1.0 - peak)).sqrt()
                    };
                });
            }
            Shape::Uniform { min, max } => values.iter_mut().for_each(|v| *v = min + (max - min) * unit(*v)),
            Shape::Members(members) => values.iter_mut().for_each(|v| {
                let at = (unit(*v) * members.len() as f64) as usize;
                *v = members.get(at.min(members.len().saturating_sub(1))).copied().unwrap_or(value);
            }),
        }
        Drawn { factor, values: Some(values) }
    }

    /// Draws of a source that parcels share.
    fn source(&self, source: &Arc<str>) -> Arc<[f64]> {
        // A poisoned lock holds whole entries all the same.
        if let Some(known) = self.shared.read().unwrap_or_else(PoisonError::into_inner).get(source) {
            return known.clone();
        }
        let mut values = Vec::new();
        self.draws.fill(source, &mut values);
        let values: Arc<[f64]> = values.into();
        self.shared.write().unwrap_or_else(PoisonError::into_inner).entry(source.clone()).or_insert(values).clone()
    }
}

/// Draws of a sum of terms, times the area, which is the last factor.
struct Sums<'a> {
    n: usize,
    factors: Vec<Drawn<'a>>,
    product: Vec<f64>,
}

impl Sums<'_> {
    fn of(&mut self, terms: &[Term], only: Option<Part>) -> Vec<f64> {
        let mut sum = vec![0.0; self.n];
        let area = self.factors.len() - 1;
        for term in terms {
            let mut constant = term.coefficient;
            self.product.clear();
            for at in term.factors.iter().copied().chain([area]) {
                let Drawn { factor, values } = &self.factors[at];
                match values {
                    Some(values) if only.is_none_or(|part| part == factor.part) => {
                        if self.product.is_empty() {
                            self.product.extend_from_slice(values);
                        } else {
                            self.product.iter_mut().zip(values).for_each(|(p, v)| *p *= v);
                        }
                    }
                    _ => constant *= factor.value,
                }
            }
            if self.product.is_empty() {
                sum.iter_mut().for_each(|s| *s += constant);
            } else {
                sum.iter_mut().zip(&self.product).for_each(|(s, p)| *s += constant * p);
            }
        }
        sum
    }
}

/// Enters draws of all parts, or the variance of one.
fn put<K: Ord>(into: &mut BTreeMap<K, Simulated>, key: K, estimate: f64, draws: Vec<f64>, only: Option<(usize, Part)>) {
    match only {
        None => {
            into.insert(key, Simulated::of(estimate, draws));
        }
        Some((i, _)) => {
            if let Some(simulated) = into.get_mut(&key) {
                let (_, se) = moments(&draws);
                simulated.parts[i] = se * se;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::super::chain::Epoch;
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;

    const A: Date = date(2015, 7, 1);
    const B: Date = date(2023, 7, 1);

    fn chain(factors: Vec<Factor>, epochs: &[(Date, Vec<Term>)]) -> Chain {
        let mut chain = Chain::new("test", Status::Issuable);
        chain.factors = factors;
        for (date, terms) in epochs {
            let densities = [(Pool::Aboveground, terms.clone())].into();
            chain.epochs.insert(*date, Epoch { densities, ..Epoch::default() });
        }
        chain
    }

    fn product(factors: &[usize]) -> Term {
        Term { coefficient: 1.0, factors: factors.to_vec() }
    }

    fn monte_carlo(n: usize) -> MonteCarlo {
        MonteCarlo::new(Draws::new(1, n))
    }

    // Worked example 14: 150 (12 %) x 0.75 (20 %) x 1.29 (10 %) x 0.51 (5 %).
    #[test]
    fn example_14_lognormal_product() {
        let factors = [(150.0, 0.12), (0.75, 0.2), (1.29, 0.1), (0.51, 0.05)];
        let factors = factors.iter().zip(["a", "b", "c", "d"]);
        let factors = factors.map(|((m, cv), s)| Factor::lognormal(Part::Allometry, s, *m, *cv)).collect();
        let chain = chain(factors, &[(A, vec![product(&[0, 1, 2, 3])])]);
        let tonnes = monte_carlo(100_000).tonnes(&chain, &Factor::exact(1.0), &[]);
        let spread = tonnes.stocks[&(A, Pool::Total)].spread;
        assert!((spread.estimate - 74.013_75).abs() < 1e-10);
        for (found, expected) in [
            (spread.se / spread.estimate, 0.261_131_335_5),
            (spread.median, 71.612_402),
            (spread.ci90.0, 46.937_13),
            (spread.ci90.1, 109.259_69),
            (spread.ci95.0, 43.288_07),
            (spread.ci95.1, 118.469_97),
        ] {
            assert!((found / expected - 1.0).abs() < 0.01, "{found} {expected}");
        }
        assert!(spread.converged);
    }

    // Worked example 7: 41.94 (4.2) and 58.30 (5.1) t C/ha over 8 years; the standard error of the change per year in
    // t CO2 by the correlation rho of the two, which comes from a source that both name.
    #[test]
    fn example_7_correlated_difference() {
        let at = |value: f64, s: f64, rho: f64, own: &str| Factor {
            value,
            part: Part::Residual,
            shape: Shape::Normal,
            sources: vec![("shared".into(), s * rho.sqrt()), (own.into(), s * (1.0 - rho).sqrt())],
        };
        for (rho, se, u90) in [(0.0, 6.606_814_7, 66.43), (0.7, 3.696_214_3, 37.16), (0.95, 1.718_138_5, 17.27)] {
            let factors = vec![at(41.94, 4.2, rho, "a"), at(58.30, 5.1, rho, "b")];
            let chain = chain(factors, &[(A, vec![product(&[0])]), (B, vec![product(&[1])])]);
            let tonnes = monte_carlo(40_000).tonnes(&chain, &Factor::exact(1.0), &[[A, B]]);
            let spread = tonnes.deltas[&(A, B)].spread;
            // The example's standard errors are of the change in t C/ha over the whole period.
            let per_year = spread.estimate / 8.0 * 44.0 / 12.0;
            assert!((per_year - 7.498_333_3).abs() < 1e-6);
            assert!((spread.se / se - 1.0).abs() < 0.02, "{rho}: {}", spread.se);
            let half = (spread.ci90.1 - spread.ci90.0) / 2.0 / spread.estimate * 100.0;
            assert!((half / u90 - 1.0).abs() < 0.03, "{rho}: {half}");
        }
    }

    // One source at two dates cancels to nothing where nothing changes; a parcel's own error of each date does not.
    #[test]
    fn shared_sources_cancel_and_parts_are_told_apart() {
        let factors = vec![
            Factor::lognormal(Part::Model, "parameter/d", 120.0, 0.6),
            Factor::normal(Part::Residual, "parcel/p/a", 0.5, 0.02),
            Factor::normal(Part::Residual, "parcel/p/b", 0.5, 0.02),
        ];
        let chain = chain(factors, &[(A, vec![product(&[0, 1])]), (B, vec![product(&[0, 2])])]);
        let area = Factor::normal(Part::Area, "parcel/p/area", 10.0, 0.5);
        let tonnes = monte_carlo(10_000).tonnes(&chain, &area, &[[A, B]]);
        let delta = &tonnes.deltas[&(A, B)];
        assert_eq!(delta.spread.estimate, 0.0);
        assert!(delta.spread.ci90.0 < 0.0 && delta.spread.ci90.1 > 0.0);
        assert_eq!(delta.parts[0], 0.0, "the density is one draw at both dates");
        assert_eq!(delta.parts[3], 0.0, "so is the area");
        assert!((delta.parts[2].sqrt() - 120.0 * 10.0 * 0.02 * 2f64.sqrt()).abs() < 0.5);
        let stock = &tonnes.stocks[&(A, Pool::Total)];
        let shares = stock.shares().unwrap();
        assert!(shares[0] > 0.9 && shares[2] < 0.01 && shares[3] < 0.01 && shares[1] == 0.0 && shares[4] == 0.0);
    }

    // Triangular and uniform by their textbook moments, an ensemble by its members.
    #[test]
    fn shapes_have_their_moments() {
        let shapes = [
            (Shape::Triangular { min: 1.0, max: 4.0 }, 2.0, 7.0 / 3.0, (7.0f64 / 18.0).sqrt()),
            (Shape::Uniform { min: -1.0, max: 2.0 }, 0.5, 0.5, 3.0 / 12f64.sqrt()),
            (Shape::Members([1.0, 1.0, 5.0, 9.0].into()), 4.0, 4.0, 11f64.sqrt()),
        ];
        for (shape, value, mean, sd) in shapes {
            let factor = Factor { value, part: Part::Model, shape, sources: vec![("s".into(), 1.0)] };
            let chain = chain(vec![factor], &[(A, vec![product(&[0])])]);
            let tonnes = monte_carlo(10_000).tonnes(&chain, &Factor::exact(1.0), &[]);
            let (m, s) = moments(&tonnes.stocks[&(A, Pool::Total)].draws);
            assert!((m - mean).abs() < 1e-3 && (s / sd - 1.0).abs() < 1e-3, "{m} {s}");
        }
    }

    #[test]
    fn percentiles_are_the_smallest_draw_that_the_share_reaches() {
        let draws: Vec<f64> = (1..=1000).rev().map(f64::from).collect();
        assert_eq!(percentiles(&draws), [25.0, 50.0, 500.0, 950.0, 975.0]);
        assert_eq!(percentiles(&[3.0]), [3.0; 5]);
        assert!(percentiles(&[]).iter().all(|p| p.is_nan()));
    }

    proptest! {
        // A sum over parcels has the variance of shared factors in full: the same chain twice is twice as uncertain, not 1.4.
        #[test]
        fn totals_add_shared_errors_in_full(cv in 0.05..0.6f64, area in 0.1..50.0f64) {
            let of = |own: &str| chain(
                vec![Factor::lognormal(Part::Model, "parameter/d", 100.0, cv), Factor::normal(Part::Residual, own, 0.5, 1e-6)],
                &[(A, vec![product(&[0, 1])])],
            );
            let mc = monte_carlo(2_000);
            let total = |own: &str| mc.tonnes(&of(own), &Factor::exact(area), &[]).stocks[&(A, Pool::Total)].clone();
            let (p, q) = (total("parcel/p/c"), total("parcel/q/c"));
            let sum: Vec<f64> = p.draws.iter().zip(&q.draws).map(|(p, q)| p + q).collect();
            let spread = Spread::of(p.spread.estimate + q.spread.estimate, &sum);
            prop_assert!((spread.se / (p.spread.se + q.spread.se) - 1.0).abs() < 1e-4);
        }
    }
}
