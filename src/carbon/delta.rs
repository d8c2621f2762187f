//! How much did a parcel's carbon change between two epochs, and what of it may be credited?
//!
//! Stock difference on one polygon (IPCC 2006 Vol 4 Eq 2.5). Both epochs share the draws of area, factors and model, so
//! that the correlation of the two stocks is that of the draws and nobody has to guess it: with no change, an uncertain
//! factor hardly matters. Where attributes allow it the change is computed a second time, by gain and loss (Eq 2.4), and
//! stands beside the difference.
//!
//! Intervals are percentiles of the draws: a change may have either sign. Years are days / 365.25. Growth is positive, loss
//! negative. A growth that begins or ends where the index is blind is never credited, and one that nobody watched is for
//! screening only.
//!
//! What it does not do: a change of the polygon or of forest type between the epochs.

use jiff::civil::Date;
use thiserror::Error;

use super::chain::{Chain, Part};
use super::deduction::{Deduction, credit};
use super::monte_carlo::{Simulated, Spread, Tonnes};
use super::stock::flags;
use super::{Flag, Pool, Status};
use crate::units::{CO2_PER_C, Hectares};

/// Days in a year, by which annual rates are stated.
pub const DAYS_PER_YEAR: f64 = 365.25;

/// The change of one parcel over one period: the numbers of a row of the deltas table.
#[derive(Debug, Clone, PartialEq)]
pub struct Delta {
    /// First epoch.
    pub period_start: Date,
    /// Second epoch.
    pub period_end: Date,
    /// Area of the polygon, ha.
    pub area_ha: f64,
    /// Stock at the first epoch, t C, over the pools asked for.
    pub stock_start_t_c: f64,
    /// Stock at the second epoch, t C.
    pub stock_end_t_c: f64,
    /// Change, t C; negative is loss.
    pub delta_t_c: f64,
    /// Change, t CO2e.
    pub delta_t_co2e: f64,
    /// Standard error of the change, t CO2e.
    pub delta_se_t_co2e: f64,
    /// Median of the draws, t CO2e.
    pub median_t_co2e: f64,
    /// 90 % interval, t CO2e.
    pub ci90_t_co2e: (f64, f64),
    /// 95 % interval, t CO2e.
    pub ci95_t_co2e: (f64, f64),
    /// 90 % half-width in percent of the size of the change; `None` when there is no change to relate it to.
    pub relative_uncertainty_percent: Option<f64>,
    /// Deduction of the chosen scheme.
    pub deduction_percent: Option<f64>,
    /// What may be credited; `None` when no scheme was chosen, 0 when the status is for screening.
    pub creditable_t_co2e: Option<f64>,
    /// Change per hectare and year, t CO2e.
    pub annual_t_co2e_per_ha: f64,
    /// Share of each part of [`Part::ALL`] in the variance.
    pub variance_shares: Option<[f64; Part::ALL.len()]>,
    /// The change by gain and loss with its standard error, t CO2e.
    pub gain_loss_t_co2e: Option<(f64, f64)>,
    /// The change beyond that of undisturbed reference parcels.
    pub controlled: Option<Controlled>,
    /// What the numbers may be used for.
    pub status: Status,
    /// Remarks of both epochs and of the deduction, sorted, each once.
    pub flags: Vec<Flag>,
}

impl Delta {
    /// The period, and the share of the change over it that may be credited, where anything may be.
    pub fn credited_part(&self) -> Option<((Date, Date), f64)> {
        let credited = self.creditable_t_co2e.filter(|t| *t > 0.0)?;
        Some(((self.period_start, self.period_end), credited / self.delta_t_co2e))
    }

    /// Takes the change out of what may be issued, and says why.
    pub fn restrict(&mut self, why: Flag) {
        self.status = Status::ScreeningOnly;
        self.creditable_t_co2e = self.creditable_t_co2e.map(|_| 0.0);
        self.flags.push(why);
        self.flags.sort();
        self.flags.dedup();
    }
}

/// Difference in differences: a parcel's change less that of its reference parcels, scaled to its area.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Controlled {
    /// Reference parcels.
    pub references: usize,
    /// Their mean change, t CO2e per ha over the period.
    pub reference_t_co2e_per_ha: f64,
    /// The parcel's change beyond it, t CO2e.
    pub did_t_co2e: f64,
    /// Its standard error, t CO2e.
    pub did_se_t_co2e: f64,
    /// Its 90 % interval, t CO2e.
    pub did_ci90_t_co2e: (f64, f64),
}

/// Why a delta cannot be given.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum DeltaError {
    /// The period does not run forward.
    #[error("period is {start} to {end}, expected an end after the start")]
    Period {
        /// First epoch.
        start: Date,
        /// Second epoch.
        end: Date,
    },
    /// Numbers that overflow.
    #[error("change over {start} to {end} is {found} t C, expected a finite number")]
    NotFinite {
        /// First epoch.
        start: Date,
        /// Second epoch.
        end: Date,
        /// The change.
        found: f64,
    },
}

/// Changes of a parcel over the periods that `tonnes` has, in their order.
///
/// # Errors
/// Per period, [`DeltaError`].
pub fn deltas(
    chain: &Chain,
    tonnes: &Tonnes,
    area: Hectares,
    deduction: Option<Deduction>,
) -> Vec<Result<Delta, DeltaError>> {
    let mut rows = Vec::with_capacity(tonnes.deltas.len());
    for ((start, end), change) in &tonnes.deltas {
        rows.push(delta(chain, tonnes, (*start, *end), change, area, deduction));
    }
    rows
}

fn delta(
    chain: &Chain,
    tonnes: &Tonnes,
    (start, end): (Date, Date),
    change: &Simulated,
    area: Hectares,
    deduction: Option<Deduction>,
) -> Result<Delta, DeltaError> {
    if end <= start {
        return Err(DeltaError::Period { start, end });
    }
    let spread = &change.spread;
    if !(spread.estimate.is_finite() && spread.se.is_finite()) {
        return Err(DeltaError::NotFinite { start, end, found: spread.estimate });
    }
    let stock = |date: Date| tonnes.stocks.get(&(date, Pool::Total)).map_or(f64::NAN, |s| s.spread.estimate);
    let of_epoch = |date: Date| chain.epochs.get(&date).map_or(&[][..], |e| &e.flags);
    let co2e = |v: f64| v * CO2_PER_C;
    let pair = |(low, high): (f64, f64)| (co2e(low), co2e(high));
    let relative = relative_uncertainty_percent(spread);
    // Growth counts only where somebody watched that it stayed.
    let unwatched = [start, end].iter().any(|d| of_epoch(*d).contains(&Flag::RetentionNotObserved));
    let status = if unwatched { Status::ScreeningOnly } else { chain.status };
    let mut credit = credit(co2e(spread.estimate), relative, deduction, status);
    let saturated = |date: Date| chain.epochs.get(&date).is_some_and(|e| e.saturated);
    if spread.estimate > 0.0 && (saturated(start) || saturated(end)) {
        credit.creditable_t_co2e = credit.creditable_t_co2e.map(|_| 0.0);
    }
    let days = end.duration_since(start).as_hours() / 24;
    let years = days as f64 / DAYS_PER_YEAR;
    let remarks: &[&[Flag]] = &[&chain.flags, of_epoch(start), of_epoch(end), credit.flag.as_slice()];
    Ok(Delta {
        period_start: start,
        period_end: end,
        area_ha: area.get(),
        stock_start_t_c: stock(start),
        stock_end_t_c: stock(end),
        delta_t_c: spread.estimate,
        delta_t_co2e: co2e(spread.estimate),
        delta_se_t_co2e: co2e(spread.se),
        median_t_co2e: co2e(spread.median),
        ci90_t_co2e: pair(spread.ci90),
        ci95_t_co2e: pair(spread.ci95),
        relative_uncertainty_percent: relative,
        deduction_percent: credit.deduction_percent,
        creditable_t_co2e: credit.creditable_t_co2e,
        annual_t_co2e_per_ha: co2e(spread.estimate) / area.get() / years,
        variance_shares: change.shares(),
        gain_loss_t_co2e: tonnes.gain_loss.get(&(start, end)).map(|g| (co2e(g.spread.estimate), co2e(g.spread.se))),
        controlled: None,
        status,
        flags: flags(remarks, spread.converged),
    })
}

/// Half of the 90 % interval over the size of the estimate, percent.
pub fn relative_uncertainty_percent(spread: &Spread) -> Option<f64> {
    let size = spread.estimate.abs();
    (size > 0.0).then(|| 100.0 * (spread.ci90.1 - spread.ci90.0) / 2.0 / size)
}

/// The change of a reference parcel over one period.
#[derive(Debug, Clone)]
pub struct ReferenceChange {
    /// Best estimate, t C per ha.
    pub estimate: f64,
    /// Draws, t C per ha.
    pub draws: Vec<f64>,
}

/// A parcel's change beyond that of reference parcels: `delta - area x mean(reference)`, draw by draw, so that what is
/// shared (parameters, model) counts once. To the draws comes the scatter between the reference parcels over the square
/// root of their number, by `control`, one standard normal a draw: how well a handful of parcels stands for the forest.
///
/// `None` with fewer than two reference parcels, whose scatter nobody knows.
///
/// # Units
/// `change` in t C, references in t C/ha, result in t CO2e.
pub fn controlled(
    change: &Simulated,
    references: &[&ReferenceChange],
    area: Hectares,
    control: &[f64],
) -> Option<Controlled> {
    if references.len() < 2 {
        return None;
    }
    let n = references.len() as f64;
    let mean = references.iter().map(|r| r.estimate).sum::<f64>() / n;
    let scatter = references.iter().map(|r| (r.estimate - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let se = (scatter / n).sqrt();
    let mut draws = change.draws.clone();
    for (m, draw) in draws.iter_mut().enumerate() {
        let of_references = references.iter().map(|r| r.draws[m]).sum::<f64>() / n;
        *draw -= area.get() * (of_references + se * control[m]);
    }
    let spread = Spread::of(change.spread.estimate - area.get() * mean, &draws);
    Some(Controlled {
        references: references.len(),
        reference_t_co2e_per_ha: mean * CO2_PER_C,
        did_t_co2e: spread.estimate * CO2_PER_C,
        did_se_t_co2e: spread.se * CO2_PER_C,
        did_ci90_t_co2e: (spread.ci90.0 * CO2_PER_C, spread.ci90.1 * CO2_PER_C),
    })
}

#[cfg(test)]
mod tests {
    use super::super::chain::{Epoch, Factor, Term};
    use super::super::draw::Draws;
    use super::super::monte_carlo::MonteCarlo;
    use super::super::stock::stocks;
    use super::*;
    use crate::units::Z90;
    use jiff::civil::date;
    use proptest::prelude::*;

    const A: Date = date(2018, 7, 15);
    const B: Date = date(2020, 7, 15);
    const C: Date = date(2023, 7, 15);

    fn hectares(area: f64) -> Hectares {
        Hectares::new(area).unwrap()
    }

    /// Full density `d` (cv), shared; a cover with its own error at each epoch; roots `r` (cv), shared.
    fn chain(d: (f64, f64), r: (f64, f64), covers: &[(Date, f64, f64)]) -> Chain {
        let mut chain = Chain::new("test", Status::Issuable);
        let full = chain.factor(Factor::lognormal(Part::Model, "parameter/d", d.0, d.1));
        let roots = chain.factor(Factor::lognormal(Part::Allometry, "parameter/r", r.0, r.1));
        for (date, cover, se) in covers {
            let cover = chain.factor(Factor::normal(Part::Residual, format!("parcel/p/{date}"), *cover, *se));
            let term = |factors: &[usize]| vec![Term { coefficient: 1.0, factors: factors.to_vec() }];
            let densities =
                [(Pool::Aboveground, term(&[full, cover])), (Pool::Belowground, term(&[full, roots, cover]))];
            chain.epochs.insert(*date, Epoch { densities: densities.into(), ..Epoch::default() });
        }
        chain
    }

    fn tonnes(chain: &Chain, area: f64, periods: &[[Date; 2]], n: usize) -> Tonnes {
        MonteCarlo::new(Draws::new(1, n)).tonnes(chain, &Factor::exact(area), periods)
    }

    fn only(chain: &Chain, tonnes: &Tonnes, deduction: Option<Deduction>) -> Delta {
        deltas(chain, tonnes, hectares(12.6), deduction).remove(0).unwrap()
    }

    // D 50 (40 %), T = 1 + R = 1.25 exactly: K = 62.5 t C/ha, sd 25. dc = 0.5 - 0.3 = 0.2, sd 0.05 = hypot(0.03, 0.04).
    // Var = 62.5^2 0.0025 + 0.04 x 625 + 625 x 0.0025 = 9.765625 + 25 + 1.5625 = 36.328125 (t C/ha)^2.
    #[test]
    fn shared_factors_are_fully_correlated() {
        let chain = chain((50.0, 0.4), (0.25, 0.0), &[(B, 0.3, 0.03), (C, 0.5, 0.04)]);
        let tonnes = tonnes(&chain, 12.6, &[[B, C]], 40_000);
        let d = only(&chain, &tonnes, None);
        assert!((d.delta_t_c - 62.5 * 0.2 * 12.6).abs() < 1e-9);
        let se = 36.328_125f64.sqrt() * 12.6 * 44.0 / 12.0;
        assert!((d.delta_se_t_co2e / se - 1.0).abs() < 0.01, "{}", d.delta_se_t_co2e);
        assert!((d.annual_t_co2e_per_ha - d.delta_t_co2e / 12.6 / (1095.0 / 365.25)).abs() < 1e-12);
        assert_eq!((d.deduction_percent, d.creditable_t_co2e), (None, None));
        let u90 = d.relative_uncertainty_percent.unwrap();
        assert!((u90 - 50.0 * (d.ci90_t_co2e.1 - d.ci90_t_co2e.0) / d.delta_t_co2e).abs() < 1e-9);
        let normal = 100.0 * Z90 * se / d.delta_t_co2e;
        assert!((u90 / normal - 1.0).abs() < 0.1, "not far from normal: {u90} {normal}");
        // 95 % lies outside 90 %.
        assert!(d.ci95_t_co2e.0 < d.ci90_t_co2e.0 && d.ci95_t_co2e.1 > d.ci90_t_co2e.1);
    }

    // A stock's total carries the covariance of its pools: Var(X + XR) = Var X (1 + 2 E R) + Var XR for X and R independent.
    #[test]
    fn the_total_carries_the_covariance_of_shared_factors() {
        let chain = chain((120.0, 0.5), (0.23, 0.25), &[(A, 0.6, 0.05)]);
        let tonnes = tonnes(&chain, 1.0, &[], 40_000);
        let se = |pool| tonnes.stocks[&(A, pool)].spread.se;
        let expected = (se(Pool::Aboveground).powi(2) * 1.46 + se(Pool::Belowground).powi(2)).sqrt();
        assert!((se(Pool::Total) / expected - 1.0).abs() < 0.005);
        assert!(se(Pool::Total) > 1.1 * se(Pool::Aboveground).hypot(se(Pool::Belowground)));
        // Against the closed form of a product of independent factors, with cv 0.5, 0.05 / 0.6 and 0.0575 / 1.23.
        let cvs = [0.5, 0.05 / 0.6, 0.25 * 0.23 / 1.23];
        let cv = (cvs.iter().map(|c: &f64| 1.0 + c * c).product::<f64>() - 1.0).sqrt();
        assert!((se(Pool::Total) / (120.0 * 0.6 * 1.23) / cv - 1.0).abs() < 0.01);
    }

    #[test]
    fn screening_and_blind_growth_credit_nothing_whatever_the_scheme() {
        let mut chain = chain((50.0, 0.01), (0.25, 0.0), &[(B, 0.3, 0.001), (C, 0.5, 0.001)]);
        let tonnes = tonnes(&chain, 12.6, &[[B, C]], 2_000);
        let whole = only(&chain, &tonnes, Some(Deduction::Vcs));
        assert_eq!(whole.creditable_t_co2e, Some(whole.delta_t_co2e));
        chain.epochs.get_mut(&C).unwrap().saturated = true;
        assert_eq!(only(&chain, &tonnes, Some(Deduction::Vcs)).creditable_t_co2e, Some(0.0));
        assert_eq!(only(&chain, &tonnes, None).creditable_t_co2e, None);
        chain.epochs.get_mut(&C).unwrap().saturated = false;
        chain.epochs.get_mut(&B).unwrap().saturated = true;
        assert_eq!(only(&chain, &tonnes, Some(Deduction::Vcs)).creditable_t_co2e, Some(0.0));
        chain.epochs.get_mut(&B).unwrap().saturated = false;
        chain.epochs.get_mut(&B).unwrap().flags.push(Flag::RetentionNotObserved);
        let unwatched = only(&chain, &tonnes, Some(Deduction::Vcs));
        assert_eq!((unwatched.creditable_t_co2e, unwatched.status), (Some(0.0), Status::ScreeningOnly));
        chain.epochs.get_mut(&B).unwrap().flags.clear();
        chain.status = Status::ScreeningOnly;
        assert_eq!(only(&chain, &tonnes, Some(Deduction::Vcs)).creditable_t_co2e, Some(0.0));
    }

    #[test]
    fn the_period_must_run_forward() {
        let chain = chain((50.0, 0.4), (0.25, 0.0), &[(B, 0.3, 0.03), (C, 0.5, 0.04)]);
        let tonnes = tonnes(&chain, 12.6, &[[C, B]], 2_000);
        let message = deltas(&chain, &tonnes, hectares(12.6), None).remove(0).unwrap_err().to_string();
        assert_eq!(message, "period is 2023-07-15 to 2020-07-15, expected an end after the start");
    }

    // Two references that grew 1 and 3 t C/ha: their mean 2 is taken off a parcel of 10 ha that grew 50 t C; the scatter of
    // the mean is sqrt(2 / 2) = 1 t C/ha.
    #[test]
    fn what_happened_to_the_references_is_taken_off() {
        let n = 10_000;
        let change = MonteCarlo::new(Draws::new(1, n)).tonnes(
            &chain((100.0, 0.0), (0.0, 0.0), &[(B, 0.30, 0.0), (C, 0.35, 0.0)]),
            &Factor::exact(10.0),
            &[[B, C]],
        );
        let change = &change.deltas[&(B, C)];
        let of = |estimate: f64| ReferenceChange { estimate, draws: vec![estimate; n] };
        let (one, two) = (of(1.0), of(3.0));
        let mut control = Vec::new();
        Draws::new(1, n).fill("control", &mut control);
        let found = controlled(change, &[&one, &two], hectares(10.0), &control).unwrap();
        assert_eq!(found.references, 2);
        assert!((found.did_t_co2e - (50.0 - 20.0) * 44.0 / 12.0).abs() < 1e-9);
        assert!((found.did_se_t_co2e / (10.0 * 44.0 / 12.0) - 1.0).abs() < 0.01, "{}", found.did_se_t_co2e);
        assert_eq!(controlled(change, &[&one], hectares(10.0), &control), None);
    }

    proptest! {
        #[test]
        fn deltas_add_up_over_consecutive_periods(a in 0.0..1.0f64, b in 0.0..1.0f64, c in 0.0..1.0f64) {
            let chain = chain((120.0, 0.6), (0.23, 0.2), &[(A, a, 0.02), (B, b, 0.02), (C, c, 0.02)]);
            let tonnes = tonnes(&chain, 12.6, &[[A, B], [B, C], [A, C]], 2_000);
            let of = |p| tonnes.deltas[&p].spread.estimate;
            prop_assert!((of((A, C)) - of((A, B)) - of((B, C))).abs() < 1e-8);
            let mean = |p| { let d: &Vec<f64> = &tonnes.deltas[&p].draws; d.iter().sum::<f64>() / d.len() as f64 };
            prop_assert!((mean((A, C)) - mean((A, B)) - mean((B, C))).abs() < 1e-8);
        }

        #[test]
        fn no_change_is_inside_the_interval(v in 0.0..1.0f64, se in 0.0..0.2f64) {
            let chain = chain((120.0, 0.6), (0.23, 0.2), &[(A, v, se), (B, v, se)]);
            let d = only(&chain, &tonnes(&chain, 12.6, &[[A, B]], 2_000), None);
            prop_assert_eq!(d.delta_t_co2e, 0.0);
            prop_assert!(d.ci90_t_co2e.0 <= 0.0 && d.ci90_t_co2e.1 >= 0.0);
            prop_assert_eq!(d.relative_uncertainty_percent, None);
        }

        #[test]
        fn pools_and_parts_of_a_parcel_add_up(cover in 0.0..1.0f64, share in 0.01..0.99f64, area in 0.1..500.0f64) {
            let chain = chain((120.0, 0.6), (0.23, 0.2), &[(A, cover, 0.05)]);
            let of = |area: f64| stocks(&chain, &tonnes(&chain, area, &[], 2_000), hectares(area));
            let (whole, one, two) = (of(area), of(area * share), of(area * (1.0 - share)));
            let total = |rows: &[super::super::stock::Stock]| rows.iter().find(|r| r.pool == Pool::Total).unwrap().clone();
            let sum: f64 = whole.iter().filter(|r| r.pool != Pool::Total).map(|r| r.stock_t_c).sum();
            prop_assert!((sum - total(&whole).stock_t_c).abs() <= 1e-9 * sum.max(1.0));
            let parts = total(&one).stock_t_c + total(&two).stock_t_c;
            prop_assert!((parts - total(&whole).stock_t_c).abs() <= 1e-9 * parts.max(1.0));
            for row in whole {
                prop_assert!(row.ci90_t_c.0 >= 0.0 && row.ci90_t_c.0 <= row.ci90_t_c.1);
            }
        }
    }
}
