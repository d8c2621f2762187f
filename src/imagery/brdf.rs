//! Reflectance as seen from straight above: the c-factor of Roy et al. 2016.
//!
//! A forest looks darker or brighter with the angle it is seen at, some 2 to 4 % over the field of view of Sentinel-2: as much
//! as a year of growth. `rho_nadir = rho c`, `c = P(0, theta_n) / P(theta_v, theta_s, phi)`,
//! `P = f_iso + f_vol K_vol + f_geo K_geo` (Ross-thick, Li-sparse-reciprocal; b/r = 1, h/b = 2; angles in radians):
//!
//! ```text
//! cos xi = cos ts cos tv + sin ts sin tv cos phi
//! K_vol  = ((pi/2 - xi) cos xi + sin xi) / (cos ts + cos tv) - pi/4
//! D^2    = tan^2 ts + tan^2 tv - 2 tan ts tan tv cos phi
//! cos t  = 2 sqrt(D^2 + (tan ts tan tv sin phi)^2) / (sec ts + sec tv)
//! O      = (t - sin t cos t) (sec ts + sec tv) / pi
//! K_geo  = O - sec ts - sec tv + (1 + cos xi) sec ts sec tv / 2
//! ```
//!
//! Roy et al. 2016, Remote Sensing of Environment 176:255-271 (six Landsat bands); Roy et al. 2017, Remote Sensing of
//! Environment 199:25-38 (red edge). One set of weights for all land: it takes out the view angle, not the season.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, PI};

use super::Band;

/// Where it comes from.
pub const CITATION: &str = "Roy et al. 2016, Remote Sensing of Environment 176:255-271; red edge: Roy et al. 2017, Remote Sensing \
                            of Environment 199:25-38";

/// Weights of a band: isotropic, volumetric, geometric.
pub fn weights(band: Band) -> (f64, f64, f64) {
    match band {
        Band::Blue => (0.0774, 0.0372, 0.0079),
        Band::Green => (0.1306, 0.0580, 0.0178),
        Band::Red => (0.1690, 0.0574, 0.0227),
        Band::RedEdge1 => (0.2085, 0.0845, 0.0256),
        Band::RedEdge2 => (0.2316, 0.1003, 0.0273),
        Band::RedEdge3 => (0.2599, 0.1197, 0.0294),
        Band::Nir | Band::NirBroad => (0.3093, 0.1535, 0.0330),
        Band::Swir1 => (0.3430, 0.1154, 0.0453),
        Band::Swir2 => (0.2658, 0.0639, 0.0387),
    }
}

/// Volumetric and geometric kernel. Sun and view zenith and relative azimuth in degrees.
pub fn kernels(sun_zenith_deg: f64, view_zenith_deg: f64, relative_azimuth_deg: f64) -> (f64, f64) {
    let [ts, tv, phi] = [sun_zenith_deg, view_zenith_deg, relative_azimuth_deg].map(f64::to_radians);
    let cos_xi = (ts.cos() * tv.cos() + ts.sin() * tv.sin() * phi.cos()).clamp(-1.0, 1.0);
    let xi = cos_xi.acos();
    let volumetric = ((FRAC_PI_2 - xi) * cos_xi + xi.sin()) / (ts.cos() + tv.cos()) - FRAC_PI_4;
    let (tan_s, tan_v, sec_s, sec_v) = (ts.tan(), tv.tan(), ts.cos().recip(), tv.cos().recip());
    let d2 = (tan_s * tan_s + tan_v * tan_v - 2.0 * tan_s * tan_v * phi.cos()).max(0.0);
    let cos_t = (2.0 * (d2 + (tan_s * tan_v * phi.sin()).powi(2)).sqrt() / (sec_s + sec_v)).clamp(-1.0, 1.0);
    let t = cos_t.acos();
    let overlap = (t - t.sin() * cos_t) * (sec_s + sec_v) / PI;
    let geometric = overlap - sec_s - sec_v + 0.5 * (1.0 + cos_xi) * sec_s * sec_v;
    (volumetric, geometric)
}

/// Factor that brings reflectance to a view from straight above, the sun left where it is. Angles in degrees.
pub fn c_factor(band: Band, sun_zenith_deg: f64, view_zenith_deg: f64, relative_azimuth_deg: f64) -> f64 {
    let (isotropic, volumetric, geometric) = weights(band);
    let reflectance = |(k_vol, k_geo): (f64, f64)| isotropic + volumetric * k_vol + geometric * k_geo;
    reflectance(kernels(sun_zenith_deg, 0.0, 0.0))
        / reflectance(kernels(sun_zenith_deg, view_zenith_deg, relative_azimuth_deg))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 5e-11, "{a}, expected {b}");
    }

    /// Values computed with numpy from the published formulas and weights.
    #[test]
    fn kernels_and_factors_of_a_worked_example() {
        let (v, g) = kernels(35.0, 0.0, 0.0);
        near(v, -0.037_848_801_5);
        near(g, -0.828_293_746_7);
        let (v, g) = kernels(35.0, 8.0, 120.0);
        near(v, -0.058_167_250_0);
        near(g, -0.932_602_064_6);
        let (v, g) = kernels(35.0, 8.0, 30.0);
        near(v, 0.000_526_553_5);
        near(g, -0.665_230_812_4);
        near(c_factor(Band::Red, 35.0, 8.0, 120.0), 1.024_458_786_4);
        near(c_factor(Band::Nir, 35.0, 8.0, 120.0), 1.024_336_672_3);
        near(c_factor(Band::Red, 35.0, 8.0, 30.0), 0.961_642_995_2);
        near(c_factor(Band::Nir, 35.0, 8.0, 30.0), 0.960_784_316_0);
    }

    #[test]
    fn straight_above_nothing_changes_and_the_azimuth_has_no_sign() {
        let (v, g) = kernels(0.0, 0.0, 0.0);
        assert!(v.abs() < 1e-15 && g.abs() < 1e-15);
        for band in [Band::Blue, Band::NirBroad, Band::Swir2] {
            assert!((c_factor(band, 42.0, 0.0, 77.0) - 1.0).abs() < 1e-15);
            let (a, b) = (c_factor(band, 42.0, 9.0, 130.0), c_factor(band, 42.0, 9.0, -130.0));
            assert!((a - b).abs() < 1e-14);
            assert!((c_factor(band, 42.0, 9.0, 230.0) - a).abs() < 1e-14);
        }
    }
}
