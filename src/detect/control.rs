//! Stable-reference control: what happened to undisturbed forest nearby over the same time. The difference of the two
//! (difference in differences) is free of what concerned all of them: sensor, season, drought.
//!
//! Controls of a parcel are the parcels of kind `reference` with the same forest type (where both say one) between two
//! distances. Each gives the mean change of its pixels without a break, by coverage; the control is their mean, weighted by
//! coverage, and its standard error comes from the scatter between them: pixels of one parcel are no independent samples.

use std::ops::RangeInclusive;

use geo::{Distance, Haversine, Point};
use serde::{Deserialize, Serialize};

/// `[change.control]`: which reference parcels a parcel is compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControlRule {
    /// Nearest reference parcel, kilometres between centroids: nearer ones may be hit by the same event.
    pub min_km: f64,
    /// Farthest reference parcel, kilometres.
    pub max_km: f64,
    /// Fewest undisturbed pixels over all reference parcels.
    pub min_pixels: f64,
}

impl Default for ControlRule {
    fn default() -> Self {
        ControlRule { min_km: 0.5, max_km: 10.0, min_pixels: 30.0 }
    }
}

impl ControlRule {
    /// Field, what was found, what is expected.
    ///
    /// # Errors
    /// Distances that are reversed, or a number that is none.
    pub fn validate(&self) -> Result<(), (&'static str, String, &'static str)> {
        if !(self.min_km >= 0.0 && self.min_km.is_finite()) {
            return Err(("min_km", self.min_km.to_string(), "0 or more kilometres"));
        }
        if self.max_km.is_nan() || self.max_km <= self.min_km {
            return Err(("max_km", self.max_km.to_string(), "more than min_km"));
        }
        if self.min_pixels.is_nan() || self.min_pixels <= 0.0 {
            return Err(("min_pixels", self.min_pixels.to_string(), "more than 0 pixels"));
        }
        Ok(())
    }
}

/// Whether a reference parcel at some distance, perhaps of another forest type, may stand for a parcel.
pub fn comparable(
    km: RangeInclusive<f64>,
    (centre, forest_type): (Point<f64>, Option<&str>),
    (reference, of_reference): (Point<f64>, Option<&str>),
) -> bool {
    let alike = match (forest_type, of_reference) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    };
    alike && km.contains(&(Haversine.distance(centre, reference) / 1000.0))
}

/// What a reference parcel showed.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// Centre, longitude and latitude.
    pub centre: Point<f64>,
    /// Forest type, where the layer says one.
    pub forest_type: Option<String>,
    /// Mean change of the pixels without a break, by coverage.
    pub change: f64,
    /// Sum of their coverage fractions.
    pub pixels: f64,
}

/// What the controls of a parcel showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Control {
    /// Mean change.
    pub change: f64,
    /// Its standard error; `None` with a single reference parcel.
    pub se: Option<f64>,
    /// Sum of coverage fractions.
    pub pixels: f64,
}

/// The control of a parcel at `centre`; `None` where there are too few reference pixels.
pub fn control(
    centre: Point<f64>,
    forest_type: Option<&str>,
    references: &[Reference],
    rule: &ControlRule,
) -> Option<Control> {
    let near: Vec<&Reference> = references
        .iter()
        .filter(|r| {
            let of_reference = (r.centre, r.forest_type.as_deref());
            comparable(rule.min_km..=rule.max_km, (centre, forest_type), of_reference)
        })
        .collect();
    let pixels = near.iter().fold(0.0, |sum, r| sum + r.pixels);
    if near.is_empty() || pixels < rule.min_pixels {
        return None;
    }
    let change = near.iter().fold(0.0, |sum, r| sum + r.pixels * r.change) / pixels;
    // Variance of a weighted mean of independent values with weights known: sum w^2 (x - mean)^2 * n / (n - 1).
    let n = near.len() as f64;
    let squares = near.iter().fold(0.0, |sum, r| sum + (r.pixels / pixels * (r.change - change)).powi(2));
    let se = (near.len() > 1).then(|| (squares * n / (n - 1.0)).sqrt());
    Some(Control { change, se, pixels })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(east_km: f64, forest_type: &str, change: f64, pixels: f64) -> Reference {
        let centre = Point::new(129.0 + east_km / (111.195 * 42.5_f64.to_radians().cos()), 42.5);
        Reference { centre, forest_type: Some(forest_type.into()), change, pixels }
    }

    #[test]
    fn near_parcels_of_the_same_type_count_by_coverage() {
        let references = [
            reference(1.0, "larch", -0.10, 30.0),
            reference(3.0, "larch", -0.02, 10.0),
            reference(0.2, "larch", -0.9, 100.0),
            reference(20.0, "larch", -0.9, 100.0),
            reference(2.0, "oak", -0.9, 100.0),
        ];
        let here = Point::new(129.0, 42.5);
        let found = control(here, Some("larch"), &references, &ControlRule::default()).expect("control");
        assert!((found.change - -0.08).abs() < 1e-12 && (found.pixels - 40.0).abs() < 1e-12);
        // Shares 0.75 and 0.25, deviations -0.02 and 0.06: 2 x ((0.015)^2 + (0.015)^2), by hand.
        assert!((found.se.expect("two parcels") - (2.0 * 2.0 * 0.015_f64.powi(2)).sqrt()).abs() < 1e-12);
        let rule = ControlRule { min_pixels: 41.0, ..ControlRule::default() };
        assert_eq!(control(here, Some("larch"), &references, &rule), None);
        let rule = ControlRule { min_pixels: 1.0, max_km: 1.5, ..ControlRule::default() };
        assert_eq!(control(here, Some("larch"), &references, &rule).expect("one parcel").se, None);
    }
}
