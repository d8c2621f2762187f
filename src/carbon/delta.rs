//! How much did a parcel's carbon change between two epochs?
//!
//! Stock difference on one polygon (IPCC 2006 Vol 4 Eq 2.5). Both epochs share area, density, carbon fraction and
//! root-to-shoot ratio, which are one draw and not two: with K the carbon of full cover and c the cover,
//! ```text
//! delta      = K (c2 - c1)
//! Var(delta) = K^2 Var(dc) + dc^2 Var(K) + Var(K) Var(dc),   Var(dc) = Var(c1) + Var(c2)
//! ```
//! exactly, for K independent of the covers and the covers independent of each other (other dates, other acquisitions).
//! So with no change the uncertainty of K hardly matters, and the two stocks' errors are not added in quadrature.
//!
//! The interval is normal, ±1.645 se: a change may have either sign. Years are days / 365.25. Growth is positive, loss
//! negative.
//!
//! What it does not do: endmembers (`index_bare`, `index_full`) that are wrong scale both covers alike and are not in
//! the error; nor is a change of area or of forest type between the epochs.

use jiff::civil::Date;
use thiserror::Error;

use super::biomass::CoverEstimate;
use super::deduction::{Deduction, credit};
use super::stock::{Factors, StockError, full_cover_density, pool_factor, product};
use super::{Flag, Pool, Status};
use crate::units::{CarbonMass, Co2eMass, Estimate, Hectares, OutOfRange};

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
    /// Lower end of the 90 % interval, t CO2e.
    pub ci90_lower_t_co2e: f64,
    /// Upper end of the 90 % interval, t CO2e.
    pub ci90_upper_t_co2e: f64,
    /// 90 % half-width in percent of the size of the change; `None` when there is no change to relate it to.
    pub relative_uncertainty_percent: Option<f64>,
    /// Deduction of the chosen scheme.
    pub deduction_percent: Option<f64>,
    /// What may be credited; `None` when no scheme was chosen, 0 when the status is for screening.
    pub creditable_t_co2e: Option<f64>,
    /// Change per hectare and year, t CO2e.
    pub annual_t_co2e_per_ha: f64,
    /// What the numbers may be used for.
    pub status: Status,
    /// Remarks of both epochs and of the deduction, sorted, each once.
    pub flags: Vec<Flag>,
}

/// What a delta is made of besides its two epochs.
#[derive(Debug, Clone, Copy)]
pub struct Basis<'a> {
    /// The polygon's area, the same at both epochs.
    pub area: Hectares,
    /// The forest type's factors, the same at both epochs.
    pub factors: &'a Factors,
    /// Pools to sum.
    pub pools: &'a [Pool],
    /// What numbers made this way may be used for.
    pub status: Status,
    /// The chosen scheme, if any.
    pub deduction: Option<Deduction>,
    /// Remarks that hold for the method as a whole, such as [`Flag::Tier1`].
    pub flags: &'a [Flag],
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
    /// A pool that cannot be given.
    #[error(transparent)]
    Stock(#[from] StockError),
    /// Numbers beyond any forest.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
}

/// The change from one epoch to another.
///
/// # Errors
/// [`DeltaError`]: a period that does not run forward, or pools that are not available.
pub fn delta(
    start: (Date, &CoverEstimate),
    end: (Date, &CoverEstimate),
    basis: &Basis<'_>,
) -> Result<Delta, DeltaError> {
    let ((period_start, first), (period_end, second)) = (start, end);
    if period_end <= period_start {
        return Err(DeltaError::Period { start: period_start, end: period_end });
    }
    let area_ha = basis.area.get();
    let full = full_cover_density(basis.factors, pool_factor(basis.factors, basis.pools)?);
    let stock = |cover: &CoverEstimate| CarbonMass::new(full.value * area_ha * cover.cover.value.get());
    let (stock_start, stock_end) = (stock(first)?, stock(second)?);

    let change = Estimate {
        value: second.cover.value.get() - first.cover.value.get(),
        se: first.cover.se.get().hypot(second.cover.se.get()),
    };
    let delta_t_c = stock_end - stock_start;
    let se = CarbonMass::new(product(&[full, change]).se * area_ha)?;
    let co2e = Estimate { value: delta_t_c.to_co2e(), se: se.to_co2e() };
    // A mass may be huge while its CO2e overflows; the constructor says so.
    Co2eMass::new(co2e.value.get())?;

    let (lower, upper) = co2e.ci90_normal();
    let size = co2e.value.get().abs();
    let relative = (size > 0.0).then(|| 100.0 * (upper - lower) / 2.0 / size);
    let credit = credit(co2e.value.get(), relative, basis.deduction, basis.status);

    let days = period_end.duration_since(period_start).as_hours() / 24;
    let years = days as f64 / DAYS_PER_YEAR;
    let mut flags: Vec<Flag> = [basis.flags, &first.flags, &second.flags].concat();
    flags.extend(credit.flag);
    flags.sort();
    flags.dedup();

    Ok(Delta {
        period_start,
        period_end,
        area_ha,
        stock_start_t_c: stock_start.get(),
        stock_end_t_c: stock_end.get(),
        delta_t_c: delta_t_c.get(),
        delta_t_co2e: co2e.value.get(),
        delta_se_t_co2e: co2e.se.get(),
        ci90_lower_t_co2e: lower,
        ci90_upper_t_co2e: upper,
        relative_uncertainty_percent: relative,
        deduction_percent: credit.deduction_percent,
        creditable_t_co2e: credit.creditable_t_co2e,
        annual_t_co2e_per_ha: co2e.value.get() / area_ha / years,
        status: basis.status,
        flags,
    })
}

#[cfg(test)]
mod tests {
    use super::super::stock::stocks;
    use super::super::stock::tests::{BOTH, factors, fraction, hectares};
    use super::*;
    use crate::units::Z90;
    use jiff::civil::date;
    use proptest::prelude::*;

    fn cover(value: f64, se: f64, flags: &[Flag]) -> CoverEstimate {
        CoverEstimate { cover: fraction(value, se), observations: 5, flags: flags.to_vec() }
    }

    fn basis(factors: &Factors) -> Basis<'_> {
        Basis {
            area: hectares(12.6),
            factors,
            pools: &BOTH,
            status: Status::ScreeningOnly,
            deduction: None,
            flags: &[Flag::Tier1],
        }
    }

    // D 100 (40), CF 0.5 (0), R 0.25 (0): K = 62.5 t C/ha, sd 25. dc = 0.5 - 0.3 = 0.2, sd 0.05 = hypot(0.03, 0.04).
    // Var = 62.5^2 0.0025 + 0.04 x 625 + 625 x 0.0025 = 9.765625 + 25 + 1.5625 = 36.328125 (t C/ha)^2.
    #[test]
    fn shared_factors_are_fully_correlated() {
        let f = factors(100.0, 40.0, 0.5, 0.0, 0.25, 0.0);
        let (a, b) = (cover(0.3, 0.03, &[]), cover(0.5, 0.04, &[Flag::Saturated]));
        let d = delta((date(2020, 7, 15), &a), (date(2023, 7, 15), &b), &basis(&f)).unwrap();
        assert!((d.delta_t_c - 62.5 * 0.2 * 12.6).abs() < 1e-9);
        let se = 36.328_125f64.sqrt() * 12.6 * 44.0 / 12.0;
        assert!((d.delta_se_t_co2e - se).abs() < 1e-9);
        assert!((d.relative_uncertainty_percent.unwrap() - 100.0 * Z90 * se / d.delta_t_co2e).abs() < 1e-9);
        assert!((d.annual_t_co2e_per_ha - d.delta_t_co2e / 12.6 / (1095.0 / 365.25)).abs() < 1e-12);
        assert_eq!(d.flags, [Flag::Tier1, Flag::Saturated]);
        assert_eq!((d.deduction_percent, d.creditable_t_co2e), (None, None));
    }

    #[test]
    fn screening_credits_nothing_whatever_the_scheme() {
        let f = factors(100.0, 1.0, 0.5, 0.0, 0.25, 0.0);
        let (a, b) = (cover(0.3, 0.001, &[]), cover(0.5, 0.001, &[]));
        let mut basis = Basis { deduction: Some(Deduction::Vcs), ..basis(&f) };
        let ends = ((date(2020, 7, 15), &a), (date(2023, 7, 15), &b));
        assert_eq!(delta(ends.0, ends.1, &basis).unwrap().creditable_t_co2e, Some(0.0));
        basis.status = Status::Issuable;
        let d = delta(ends.0, ends.1, &basis).unwrap();
        assert_eq!(d.creditable_t_co2e, Some(d.delta_t_co2e));
    }

    #[test]
    fn the_period_must_run_forward() {
        let f = factors(100.0, 40.0, 0.5, 0.0, 0.25, 0.0);
        let a = cover(0.3, 0.03, &[]);
        let day = date(2020, 7, 15);
        let message = delta((day, &a), (day, &a), &basis(&f)).unwrap_err().to_string();
        assert_eq!(message, "period is 2020-07-15 to 2020-07-15, expected an end after the start");
    }

    proptest! {
        #[test]
        fn deltas_add_up_over_consecutive_periods(a in 0.0..1.0f64, b in 0.0..1.0f64, c in 0.0..1.0f64) {
            let f = factors(120.0, 70.0, 0.48, 0.01, 0.23, 0.05);
            let epochs = [date(2018, 7, 1), date(2020, 7, 1), date(2023, 7, 1)];
            let [a, b, c] = [a, b, c].map(|v| cover(v, 0.02, &[]));
            let of = |i: usize, x: &CoverEstimate, j: usize, y: &CoverEstimate| {
                delta((epochs[i], x), (epochs[j], y), &basis(&f)).unwrap().delta_t_co2e
            };
            let parts = of(0, &a, 1, &b) + of(1, &b, 2, &c);
            prop_assert!((of(0, &a, 2, &c) - parts).abs() < 1e-8);
        }

        #[test]
        fn no_change_is_inside_the_interval(v in 0.0..1.0f64, se in 0.0..0.2f64) {
            let f = factors(120.0, 70.0, 0.48, 0.01, 0.23, 0.05);
            let same = cover(v, se, &[]);
            let d = delta((date(2020, 7, 1), &same), (date(2023, 7, 1), &same), &basis(&f)).unwrap();
            prop_assert_eq!(d.delta_t_co2e, 0.0);
            prop_assert!(d.ci90_lower_t_co2e <= 0.0 && d.ci90_upper_t_co2e >= 0.0);
            prop_assert_eq!(d.relative_uncertainty_percent, None);
        }

        #[test]
        fn a_delta_is_the_difference_of_the_stock_rows(a in 0.0..1.0f64, b in 0.0..1.0f64, se in 0.001..0.1f64) {
            let f = factors(120.0, 70.0, 0.48, 0.01, 0.23, 0.05);
            let (x, y) = (cover(a, se, &[]), cover(b, se, &[]));
            let d = delta((date(2020, 7, 1), &x), (date(2023, 7, 1), &y), &basis(&f)).unwrap();
            let total = |c: &CoverEstimate| *stocks(hectares(12.6), c.cover, &f, &BOTH).unwrap().last().unwrap();
            let (first, last) = (total(&x), total(&y));
            prop_assert!((d.stock_start_t_c - first.stock_t_c).abs() < 1e-9);
            prop_assert!((d.delta_t_c - (last.stock_t_c - first.stock_t_c)).abs() < 1e-9);
            // Shared factors: never worse than adding the two stocks' errors in quadrature.
            let quadrature = first.stock_se_t_c.hypot(last.stock_se_t_c) * 44.0 / 12.0;
            prop_assert!(d.delta_se_t_co2e <= quadrature * (1.0 + 1e-12));
            let reversed = delta((date(2020, 7, 1), &y), (date(2023, 7, 1), &x), &basis(&f)).unwrap();
            prop_assert!((d.delta_t_co2e + reversed.delta_t_co2e).abs() < 1e-9);
        }
    }
}
