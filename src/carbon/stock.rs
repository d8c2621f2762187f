//! How much carbon does a parcel hold at an epoch, per pool, and how well is it known?
//!
//! IPCC 2006 Vol 4 Ch 2, Eq 2.8 with the biomass density in place of the volume, times the vegetation cover:
//! ```text
//! aboveground = A D c CF          D  biomass of full cover, t d.m./ha      A  area, ha
//! belowground = A D c CF R        c  cover fraction                        CF carbon fraction
//! total       = A D c CF T        T  1, R or 1 + R by the pools asked for  R  root-to-shoot ratio
//! ```
//! The factors are taken as independent of each other; then the product's cv is exact, `cv^2 = prod (1 + cv_i^2) - 1`
//! (worked example 14 in the tests). D, c and CF are one and the same draw in both pools, so the total is a product with
//! the factor T, whose standard error is that of R. Adding the pools' errors in quadrature would treat the shared
//! factors as independent and understate it.
//!
//! The 90 % interval of a stock is that of the lognormal with the same mean and standard deviation: a stock is
//! positive.
//!
//! What it does not do: dead wood, litter and soil have no default here and are refused; the error of the area is not
//! in it (the polygon is taken as given).

use thiserror::Error;

use super::Pool;
use crate::units::{AgbDensity, CarbonDensity, CarbonMass, Estimate, Fraction, Hectares};

/// The parameters of one forest type, each with its standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factors {
    /// Biomass of full cover, t d.m./ha.
    pub aboveground: Estimate<AgbDensity>,
    /// Carbon per dry matter.
    pub carbon_fraction: Estimate<Fraction>,
    /// Root biomass per aboveground biomass, where a value exists.
    pub root_to_shoot: Option<Estimate<f64>>,
}

/// Carbon of one pool of one parcel at one epoch: a row of the stocks table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stock {
    /// The pool, or the total of the pools asked for.
    pub pool: Pool,
    /// t C per ha of parcel.
    pub density_t_c_per_ha: f64,
    /// t C.
    pub stock_t_c: f64,
    /// Standard error, t C.
    pub stock_se_t_c: f64,
    /// Lower end of the 90 % interval, t C.
    pub ci90_lower_t_c: f64,
    /// Upper end of the 90 % interval, t C.
    pub ci90_upper_t_c: f64,
}

/// Why stocks cannot be given.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum StockError {
    /// No pool, or one of them twice, or the total, which is always given.
    #[error("pools are [{}], expected one or more pools, each once, without total", names(.0))]
    Pools(Vec<Pool>),
    /// A pool that default biomass says nothing about.
    #[error("pool {0} has no default value; leave it out, or account for it with measured data")]
    NotAvailable(Pool),
    /// The forest type has no root-to-shoot ratio.
    #[error("pool belowground needs a root-to-shoot ratio, which the forest type does not have in this parameter set")]
    NoRootToShoot,
    /// The numbers overflow or are out of their physical range.
    #[error(transparent)]
    OutOfRange(#[from] crate::units::OutOfRange),
}

fn names(pools: &[Pool]) -> String {
    pools.iter().map(|p| p.name()).collect::<Vec<_>>().join(", ")
}

/// Stocks of the pools in the order asked for, then their total.
///
/// # Units
/// `area` ha, result t C. `factors` in their types' units.
///
/// # Errors
/// [`StockError`] when a pool is not available; a pool is never left out silently.
pub fn stocks(
    area: Hectares,
    cover: Estimate<Fraction>,
    factors: &Factors,
    pools: &[Pool],
) -> Result<Vec<Stock>, StockError> {
    let mut rows = Vec::with_capacity(pools.len() + 1);
    let total = pool_factor(factors, pools)?;
    for &pool in pools {
        rows.push(row(pool, area, cover, factors, pool_factor(factors, &[pool])?)?);
    }
    rows.push(row(Pool::Total, area, cover, factors, total)?);
    Ok(rows)
}

/// T of the module's formulas: the pools' biomass per aboveground biomass.
pub(super) fn pool_factor(factors: &Factors, pools: &[Pool]) -> Result<Estimate<f64>, StockError> {
    let twice = pools.iter().enumerate().any(|(i, pool)| pools[..i].contains(pool));
    if pools.is_empty() || twice || pools.contains(&Pool::Total) {
        return Err(StockError::Pools(pools.to_vec()));
    }
    let mut factor = Estimate { value: 0.0, se: 0.0 };
    for &pool in pools {
        match pool {
            Pool::Aboveground => factor.value += 1.0,
            Pool::Belowground => {
                let ratio = factors.root_to_shoot.ok_or(StockError::NoRootToShoot)?;
                factor.value += ratio.value;
                factor.se += ratio.se;
            }
            Pool::DeadWood | Pool::Litter | Pool::Soil | Pool::Total => return Err(StockError::NotAvailable(pool)),
        }
    }
    Ok(factor)
}

fn row(
    pool: Pool,
    area: Hectares,
    cover: Estimate<Fraction>,
    factors: &Factors,
    pool_factor: Estimate<f64>,
) -> Result<Stock, StockError> {
    let density = (factors.aboveground.value * cover.value).to_carbon(factors.carbon_fraction.value);
    let density = CarbonDensity::new(density.get() * pool_factor.value)?;
    let full = full_cover_density(factors, pool_factor);
    let se = product(&[full, Estimate { value: cover.value.get(), se: cover.se.get() }]).se * area.get();
    let stock = Estimate { value: density * area, se: CarbonMass::new(se)? };
    let (ci90_lower_t_c, ci90_upper_t_c) = stock.ci90_lognormal();
    Ok(Stock {
        pool,
        density_t_c_per_ha: density.get(),
        stock_t_c: stock.value.get(),
        stock_se_t_c: stock.se.get(),
        ci90_lower_t_c,
        ci90_upper_t_c,
    })
}

/// D CF T: carbon of full cover, t C/ha. All that two epochs of one parcel share.
pub(super) fn full_cover_density(factors: &Factors, pool_factor: Estimate<f64>) -> Estimate<f64> {
    let (agb, cf) = (factors.aboveground, factors.carbon_fraction);
    product(&[
        Estimate { value: agb.value.get(), se: agb.se.get() },
        Estimate { value: cf.value.get(), se: cf.se.get() },
        pool_factor,
    ])
}

/// Mean and standard deviation of a product of independent factors, exactly.
///
/// `sd^2 = prod (m^2 + s^2) - prod m^2`; where every mean stands out of its error this is written with `ln(1 + cv^2)`,
/// so that small errors do not cancel, and where one does not, as it stands, so that a mean of 0 does not divide.
pub(super) fn product(factors: &[Estimate<f64>]) -> Estimate<f64> {
    let value: f64 = factors.iter().map(|f| f.value).product();
    if factors.iter().any(|f| f.value == 0.0 || f.value.abs() < 1e-3 * f.se) {
        let second_moment: f64 = factors.iter().map(|f| f.value.powi(2) + f.se.powi(2)).product();
        return Estimate { value, se: (second_moment - value.powi(2)).max(0.0).sqrt() };
    }
    let log: f64 = factors.iter().map(|f| (f.se / f.value).powi(2).ln_1p()).sum();
    Estimate { value, se: value.abs() * log.exp_m1().sqrt() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::units::Z90;
    use proptest::prelude::*;

    pub fn fraction(value: f64, se: f64) -> Estimate<Fraction> {
        Estimate { value: Fraction::new(value).unwrap(), se: Fraction::new(se).unwrap() }
    }

    pub fn factors(agb: f64, agb_se: f64, cf: f64, cf_se: f64, r: f64, r_se: f64) -> Factors {
        Factors {
            aboveground: Estimate { value: AgbDensity::new(agb).unwrap(), se: AgbDensity::new(agb_se).unwrap() },
            carbon_fraction: fraction(cf, cf_se),
            root_to_shoot: Some(Estimate { value: r, se: r_se }),
        }
    }

    pub fn hectares(area: f64) -> Hectares {
        Hectares::new(area).unwrap()
    }

    pub const BOTH: [Pool; 2] = [Pool::Aboveground, Pool::Belowground];

    // Example 14: 150 (12 %) x 0.75 (20 %) x 1.29 (10 %) x 0.51 (5 %). Here D = 150, c = 0.75, R = 0.29 with se 0.129.
    #[test]
    fn example_14_product_of_factors() {
        let f = factors(150.0, 18.0, 0.51, 0.0255, 0.29, 0.129);
        let rows = stocks(hectares(1.0), fraction(0.75, 0.15), &f, &BOTH).unwrap();
        let total = rows.last().unwrap();
        assert_eq!(total.pool, Pool::Total);
        assert!((total.stock_t_c / 74.013_75 - 1.0).abs() < 1e-12);
        assert!((total.stock_se_t_c / total.stock_t_c - 0.261_131_335_5).abs() < 1e-10);
        assert!((total.ci90_lower_t_c - 46.937_13).abs() < 1e-5);
        assert!((total.ci90_upper_t_c - 109.259_69).abs() < 1e-5);
    }

    // The total against its definition: Var(X + XR) = Var X + Var XR + 2 Cov(X, XR), X and R independent, where
    // Cov(X, XR) = E[R] Var X.
    #[test]
    fn the_total_carries_the_covariance_of_shared_factors() {
        let f = factors(120.0, 70.0, 0.48, 0.01, 0.23, 0.06);
        let rows = stocks(hectares(12.6), fraction(0.6, 0.05), &f, &BOTH).unwrap();
        let (above, below, total) = (rows[0], rows[1], rows[2]);
        let variance = above.stock_se_t_c.powi(2) * (1.0 + 2.0 * 0.23) + below.stock_se_t_c.powi(2);
        assert!((total.stock_se_t_c - variance.sqrt()).abs() < 1e-9);
        let quadrature = above.stock_se_t_c.hypot(below.stock_se_t_c);
        assert!(total.stock_se_t_c > 1.1 * quadrature);
    }

    #[test]
    fn bare_ground_has_no_carbon_and_an_honest_upper_end() {
        let f = factors(100.0, 40.0, 0.5, 0.02, 0.25, 0.05);
        let rows = stocks(hectares(2.0), fraction(0.0, 0.03), &f, &[Pool::Aboveground]).unwrap();
        // sd = 2 ha x 0.03 x sqrt((100^2 + 40^2)(0.5^2 + 0.02^2))
        let se = 2.0 * 0.03 * (11_600.0f64 * 0.2504).sqrt();
        for row in rows {
            assert_eq!((row.stock_t_c, row.ci90_lower_t_c), (0.0, 0.0));
            assert!((row.stock_se_t_c - se).abs() < 1e-12);
            assert!((row.ci90_upper_t_c - Z90 * se).abs() < 1e-12);
        }
    }

    #[test]
    fn a_pool_that_cannot_be_given_is_named() {
        let mut f = factors(100.0, 40.0, 0.5, 0.02, 0.25, 0.05);
        let ask =
            |f: &Factors, pools: &[Pool]| stocks(hectares(1.0), fraction(0.5, 0.1), f, pools).unwrap_err().to_string();
        assert!(ask(&f, &[Pool::Aboveground, Pool::Soil]).starts_with("pool soil has no default value"));
        assert_eq!(ask(&f, &[]), "pools are [], expected one or more pools, each once, without total");
        assert!(ask(&f, &[Pool::Litter, Pool::Total]).contains("[litter, total]"));
        assert!(ask(&f, &[Pool::Aboveground, Pool::Aboveground]).contains("each once"));
        f.root_to_shoot = None;
        assert!(ask(&f, &BOTH).contains("root-to-shoot"));
        assert!(stocks(hectares(1.0), fraction(0.5, 0.1), &f, &[Pool::Aboveground]).is_ok());
    }

    // The two ways of writing the variance meet where one takes over from the other.
    #[test]
    fn a_product_is_continuous_down_to_a_mean_of_zero() {
        let se = |mean: f64| product(&[Estimate { value: 60.0, se: 30.0 }, Estimate { value: mean, se: 0.05 }]).se;
        assert!((se(0.999_99e-3 * 0.05) / se(1.000_01e-3 * 0.05) - 1.0).abs() < 1e-8);
        assert!((se(0.0) - 0.05 * 4_500f64.sqrt()).abs() < 1e-12);
        assert!((se(1e-200) - se(0.0)).abs() < 1e-12);
    }

    // From the shipped set to tonnes: continental conifers at half cover, 10 ha. D 120 (cv 300/470.4), CF 0.51, R 0.29:
    // above 120 x 0.5 x 0.51 x 10 = 306 t C, below 88.74, total 394.74.
    #[test]
    fn the_shipped_set_gives_stocks() {
        let set = super::super::ParameterSet::builtin("ipcc-2006").unwrap();
        let (_, conifer) = set.forest_type("针叶林", Some("temperate_continental")).unwrap();
        let f = set.factors(conifer).unwrap();
        let rows = stocks(hectares(10.0), fraction(0.5, 0.02), &f, &BOTH).unwrap();
        for (row, expected) in rows.iter().zip([306.0, 88.74, 394.74]) {
            assert!((row.stock_t_c - expected).abs() < 1e-9);
        }
        let cv2 = [300.0 / 470.4, 0.08 / (3.92 * 0.51), 0.04, 0.26 / 3.92 / 1.29];
        let cv = (cv2.iter().map(|c: &f64| 1.0 + c * c).product::<f64>() - 1.0).sqrt();
        assert!((rows[2].stock_se_t_c / 394.74 - cv).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn pools_add_up_and_the_interval_holds_the_mean(
            agb in 1.0..600.0f64, agb_cv in 0.0..1.5f64, cf in 0.4..0.6f64, r in 0.05..1.0f64, r_cv in 0.0..0.6f64,
            cover in 0.0..1.0f64, cover_se in 0.0..0.3f64, area in 0.01..5000.0f64,
        ) {
            let f = factors(agb, agb * agb_cv, cf, 0.02, r, r * r_cv);
            let rows = stocks(hectares(area), fraction(cover, cover_se), &f, &BOTH).unwrap();
            let sum = rows[0].stock_t_c + rows[1].stock_t_c;
            prop_assert!((sum - rows[2].stock_t_c).abs() <= 1e-12 * sum);
            prop_assert!(rows[2].stock_se_t_c >= rows[0].stock_se_t_c.max(rows[1].stock_se_t_c));
            prop_assert!(rows[2].stock_se_t_c <= (rows[0].stock_se_t_c + rows[1].stock_se_t_c) * (1.0 + 1e-12));
            for row in rows {
                prop_assert!((row.density_t_c_per_ha * area - row.stock_t_c).abs() <= 1e-12 * row.stock_t_c);
                prop_assert!(row.ci90_lower_t_c >= 0.0 && row.ci90_lower_t_c <= row.stock_t_c * (1.0 + 1e-12));
                prop_assert!(row.ci90_lower_t_c <= row.ci90_upper_t_c);
            }
        }

        #[test]
        fn a_split_parcel_adds_up_in_the_mean(area in 0.1..100.0f64, share in 0.01..0.99f64, cover in 0.0..1.0f64) {
            let f = factors(120.0, 60.0, 0.48, 0.01, 0.23, 0.05);
            let total = |area: f64| {
                let rows = stocks(hectares(area), fraction(cover, 0.05), &f, &BOTH).unwrap();
                rows.last().unwrap().stock_t_c
            };
            let parts = total(area * share) + total(area * (1.0 - share));
            prop_assert!((parts - total(area)).abs() <= 1e-9 * parts.max(1.0));
        }
    }
}
