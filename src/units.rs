//! Which number is which: quantities with their unit in the type.
//!
//! Each type wraps one `f64` that its constructor has checked: finite, and inside the range that is physically
//! possible. Only arithmetic with a physical meaning exists (a density times an area is a mass; two densities are never
//! multiplied). In files a quantity is the plain number; its unit stands in the field's name.
//!
//! What it does not do: convert between unit systems. Everything is hectares and tonnes (t = Mg).

use std::ops::{Mul, Sub};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Mass of CO2 per mass of carbon, 44/12: molar masses 44 and 12 g/mol as rounded by IPCC 2006 Vol 4.
pub const CO2_PER_C: f64 = 44.0 / 12.0;

/// Square metres in a hectare, by definition.
pub const M2_PER_HA: f64 = 10_000.0;

/// Square metres in a mu (亩), by definition: 15 mu = 1 ha.
pub const M2_PER_MU: f64 = 2000.0 / 3.0;

/// The 95th percentile of the standard normal distribution: half-width of a two-sided 90 % interval in standard errors.
pub const Z90: f64 = 1.644_853_626_951_472_2;

/// Days since 1970-01-01.
pub fn days(date: Date) -> i32 {
    let epoch = Date::constant(1970, 1, 1);
    i32::try_from(date.duration_since(epoch).as_hours() / 24).unwrap_or(i32::MAX)
}

/// Date of a number of days since 1970-01-01.
pub fn date_of(days: i32) -> Date {
    Date::constant(1970, 1, 1).saturating_add(jiff::Span::new().days(days))
}

/// A number that its unit does not allow.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{quantity} is {found}, expected {expected}")]
pub struct OutOfRange {
    /// The quantity, with its unit.
    pub quantity: &'static str,
    /// The value that was given.
    pub found: f64,
    /// The values that are allowed, in words.
    pub expected: &'static str,
}

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $what:literal, $expected:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(f64);

        impl $name {
            /// Checks the value; NaN and infinities are always refused.
            ///
            /// # Errors
            /// [`OutOfRange`] with the value found and what is allowed.
            pub fn new(value: f64) -> Result<Self, OutOfRange> {
                let allowed: fn(f64) -> bool = $allowed;
                if value.is_finite() && allowed(value) {
                    Ok(Self(value))
                } else {
                    Err(OutOfRange { quantity: $what, found: value, expected: $expected })
                }
            }

            /// The number alone, in the unit of the type.
            pub fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = OutOfRange;
            fn try_from(value: f64) -> Result<Self, OutOfRange> {
                Self::new(value)
            }
        }

        impl From<$name> for f64 {
            fn from(value: $name) -> f64 {
                value.0
            }
        }
    };
}

quantity!(
    /// Area, ha. A parcel without area is not a parcel, so 0 is refused.
    Hectares, "area (ha)", "a number above 0", |v| v > 0.0
);
quantity!(
    /// A share of a whole, 0 to 1.
    Fraction, "fraction", "a number from 0 to 1", |v| (0.0..=1.0).contains(&v)
);
quantity!(
    /// Aboveground biomass, t dry matter per ha.
    AgbDensity, "biomass density (t d.m./ha)", "a number of at least 0", |v| v >= 0.0
);
quantity!(
    /// Carbon of a pool, t C per ha.
    CarbonDensity, "carbon density (t C/ha)", "a number of at least 0", |v| v >= 0.0
);
quantity!(
    /// Carbon, t C. Signed: a loss is negative.
    CarbonMass, "carbon (t C)", "a finite number", |_| true
);
quantity!(
    /// Carbon as carbon dioxide, t CO2e. Signed: a loss is negative.
    Co2eMass, "carbon dioxide equivalent (t CO2e)", "a finite number", |_| true
);

impl Hectares {
    /// From square metres.
    ///
    /// # Errors
    /// [`OutOfRange`] when not above 0.
    pub fn from_m2(area_m2: f64) -> Result<Self, OutOfRange> {
        Self::new(area_m2 / M2_PER_HA)
    }

    /// The area in mu (亩), the unit of Chinese forestry papers.
    pub fn to_mu(self) -> f64 {
        self.0 * M2_PER_HA / M2_PER_MU
    }
}

impl AgbDensity {
    /// Carbon of this biomass, given the carbon fraction of dry matter.
    pub fn to_carbon(self, carbon_fraction: Fraction) -> CarbonDensity {
        CarbonDensity(self.0 * carbon_fraction.0)
    }
}

impl Mul<Fraction> for AgbDensity {
    type Output = AgbDensity;
    fn mul(self, share: Fraction) -> AgbDensity {
        AgbDensity(self.0 * share.0)
    }
}

impl Mul<Hectares> for CarbonDensity {
    type Output = CarbonMass;
    fn mul(self, area: Hectares) -> CarbonMass {
        CarbonMass(self.0 * area.0)
    }
}

impl CarbonMass {
    /// The carbon dioxide that this carbon makes: times 44/12.
    pub fn to_co2e(self) -> Co2eMass {
        Co2eMass(self.0 * CO2_PER_C)
    }
}

impl Sub for CarbonMass {
    type Output = CarbonMass;
    fn sub(self, other: CarbonMass) -> CarbonMass {
        CarbonMass(self.0 - other.0)
    }
}

/// A value with its standard error, in the same unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate<Q> {
    /// The mean.
    pub value: Q,
    /// Its standard error, at least 0.
    pub se: Q,
}

impl<Q: Copy + Into<f64>> Estimate<Q> {
    /// The 90 % interval of a quantity of either sign: mean ± 1.645 se (normal).
    ///
    /// The ends are plain numbers in the unit of `Q`, because they may leave its physical range.
    pub fn ci90_normal(&self) -> (f64, f64) {
        let (mean, half) = (self.value.into(), Z90 * self.se.into());
        (mean - half, mean + half)
    }

    /// The 90 % interval of a quantity that cannot be negative: the lognormal with this mean and standard deviation,
    /// `sigma^2 = ln(1 + cv^2)`, ends `mean exp(-sigma^2/2 ± 1.645 sigma)`. A mean of 0 has no lognormal: `[0, 1.645
    /// se]`.
    pub fn ci90_lognormal(&self) -> (f64, f64) {
        let (mean, se) = (self.value.into(), self.se.into());
        if mean <= 0.0 {
            return (0.0, Z90 * se);
        }
        let variance = (se / mean).powi(2).ln_1p();
        let sigma = variance.sqrt();
        (mean * (-variance / 2.0 - Z90 * sigma).exp(), mean * (-variance / 2.0 + Z90 * sigma).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constructors_refuse_what_the_unit_does_not_allow() {
        assert!(Hectares::new(0.0).is_err());
        assert!(Fraction::new(1.000_001).is_err());
        assert!(AgbDensity::new(-1.0).is_err());
        assert!(CarbonDensity::new(f64::NAN).is_err());
        assert!(CarbonMass::new(f64::INFINITY).is_err());
        assert_eq!(CarbonMass::new(-3.0).map(CarbonMass::get), Ok(-3.0));
        let message = Fraction::new(2.0).unwrap_err().to_string();
        assert_eq!(message, "fraction is 2, expected a number from 0 to 1");
    }

    #[test]
    fn quantities_are_plain_numbers_in_files() {
        assert_eq!(serde_json::to_string(&Hectares::new(12.5).unwrap()).unwrap(), "12.5");
        assert!(serde_json::from_str::<Fraction>("1.5").is_err());
    }

    // Worked example 8: 63.75 t/ha, R 0.29, CF 0.51, 12.6 ha.
    #[test]
    fn example_8_volume_chain() {
        let total = AgbDensity::new(63.75 * 1.29).unwrap();
        let carbon = total.to_carbon(Fraction::new(0.51).unwrap());
        assert!((carbon.get() - 41.941_125).abs() < 1e-9);
        let co2e = (carbon * Hectares::new(12.6).unwrap()).to_co2e();
        assert!((co2e.get() - 1_937.679_98).abs() < 1e-5);
    }

    #[test]
    fn mu_and_hectares() {
        let area = Hectares::from_m2(10_000.0).unwrap();
        assert!((area.to_mu() - 15.0).abs() < 1e-12);
    }

    // Example 14: mean 74.01375, CV 0.2611313355 -> 46.93713 / 109.25969.
    #[test]
    fn lognormal_interval_of_example_14() {
        let e = Estimate { value: 74.013_75, se: 74.013_75 * 0.261_131_335_5 };
        let (low, high) = e.ci90_lognormal();
        assert!((low - 46.937_13).abs() < 1e-5, "{low}");
        assert!((high - 109.259_69).abs() < 1e-5, "{high}");
        assert_eq!(Estimate { value: 0.0, se: 1.0 }.ci90_lognormal(), (0.0, Z90));
    }

    #[test]
    fn days_and_dates_go_both_ways() {
        let date: Date = "2020-07-15".parse().expect("date");
        assert_eq!(days(date), 18458);
        assert_eq!(date_of(18458), date);
        assert_eq!(days("1969-12-31".parse().expect("date")), -1);
    }
}
