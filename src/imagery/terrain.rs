//! Slopes that face the sun look brighter: sun-canopy-sensor correction with the C term (SCS+C), Soenen, Peddle and Coburn
//! 2005, IEEE Transactions on Geoscience and Remote Sensing 43:2148-2159.
//!
//! ```text
//! cos i   = cos ts cos a + sin ts sin a cos(phi_s - aspect)
//! rho     = m cos i + b over forest pixels of one scene and band;  C = b / m
//! rho_cor = rho (cos a cos ts + C) / (cos i + C)
//! ```

/// Slopes up to this are left as they are, degrees.
pub const FLAT_DEG: f64 = 2.0;
/// Below this cosine of the incidence angle a pixel is in its own shadow, and there is nothing to correct.
pub const SHADED_COS: f64 = 0.1;

/// Where the sun stands, degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sun {
    /// From the vertical.
    pub zenith_deg: f64,
    /// Clockwise from north.
    pub azimuth_deg: f64,
}

/// How the ground lies, degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ground {
    /// From the horizontal.
    pub slope_deg: f64,
    /// Downhill direction, clockwise from north.
    pub aspect_deg: f64,
}

/// Cosine of the angle between the sun and the ground's normal.
pub fn cos_incidence(sun: Sun, ground: Ground) -> f64 {
    let (ts, a) = (sun.zenith_deg.to_radians(), ground.slope_deg.to_radians());
    ts.cos() * a.cos() + ts.sin() * a.sin() * (sun.azimuth_deg - ground.aspect_deg).to_radians().cos()
}

/// Factor of a pixel's reflectance; NaN for a pixel in its own shadow.
pub fn factor(sun: Sun, ground: Ground, c: f64) -> f64 {
    if ground.slope_deg <= FLAT_DEG {
        return 1.0;
    }
    let cos_i = cos_incidence(sun, ground);
    if cos_i < SHADED_COS {
        return f64::NAN;
    }
    let flat = ground.slope_deg.to_radians().cos() * sun.zenith_deg.to_radians().cos();
    (flat + c) / (cos_i + c)
}

/// `C` of one scene and band by least squares of reflectance on the cosine of the incidence angle, over pixels that are not
/// flat; sums, so that pixels can be added one by one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Regression {
    n: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
}

impl Regression {
    /// Takes in a pixel.
    pub fn add(&mut self, cos_i: f64, reflectance: f64) {
        self.n += 1.0;
        self.x += cos_i;
        self.y += reflectance;
        self.xx += cos_i * cos_i;
        self.xy += cos_i * reflectance;
    }

    /// Pixels taken in.
    pub fn pixels(&self) -> f64 {
        self.n
    }

    /// `C = b / m`; `None` where reflectance does not rise with the light: then there is nothing to correct by it.
    pub fn c(&self) -> Option<f64> {
        let spread = self.n * self.xx - self.x * self.x;
        let m = (self.n * self.xy - self.x * self.y) / spread;
        let b = (self.y - m * self.x) / self.n;
        (spread > 1e-9 * self.n * self.n && m > 0.0 && b / m > 0.0).then_some(b / m)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_away_from_the_sun_is_brightened_as_computed_by_hand() {
        let sun = Sun { zenith_deg: 40.0, azimuth_deg: 150.0 };
        let ground = Ground { slope_deg: 25.0, aspect_deg: 330.0 };
        assert!((cos_incidence(sun, ground) - 0.422_618_261_7).abs() < 1e-10);
        assert!((factor(sun, ground, 0.35) - 1.351_601_555_0).abs() < 1e-9);
        assert!((0.12 * factor(sun, ground, 0.35) - 0.162_192_186_7).abs() < 1e-10);
    }

    #[test]
    fn flat_ground_stays_and_own_shadow_is_nothing() {
        let sun = Sun { zenith_deg: 60.0, azimuth_deg: 150.0 };
        assert_eq!(factor(sun, Ground { slope_deg: 2.0, aspect_deg: 0.0 }, 0.3), 1.0);
        assert!(factor(sun, Ground { slope_deg: 40.0, aspect_deg: 330.0 }, 0.3).is_nan());
    }

    #[test]
    fn a_scene_lit_by_the_model_becomes_even() {
        let sun = Sun { zenith_deg: 45.0, azimuth_deg: 160.0 };
        let grounds: Vec<Ground> = (0..200)
            .map(|k| Ground { slope_deg: 3.0 + f64::from(k % 30), aspect_deg: f64::from(k * 37 % 360) })
            .collect();
        let seen = |g: &Ground| 0.2 * cos_incidence(sun, *g) + 0.06;
        let mut regression = Regression::default();
        grounds.iter().filter(|g| cos_incidence(sun, **g) >= SHADED_COS).for_each(|g| {
            regression.add(cos_incidence(sun, *g), seen(g));
        });
        let c = regression.c().expect("brighter with the light");
        assert!((c - 0.3).abs() < 1e-9);
        for g in grounds.iter().filter(|g| cos_incidence(sun, **g) >= SHADED_COS) {
            // What remains is the canopy's own geometry, cos a cos ts + C: no aspect in it.
            let expected = 0.2 * (g.slope_deg.to_radians().cos() * sun.zenith_deg.to_radians().cos() + 0.3);
            assert!((seen(g) * factor(sun, *g, c) - expected).abs() < 1e-9);
        }
    }

    #[test]
    fn no_regression_without_spread_or_against_the_light() {
        let mut flat = Regression::default();
        (0..10).for_each(|_| flat.add(0.5, 0.2));
        assert_eq!(flat.c(), None);
        let mut against = Regression::default();
        (0..10).for_each(|k| against.add(0.3 + 0.05 * f64::from(k), 0.3 - 0.01 * f64::from(k)));
        assert_eq!(against.c(), None);
    }
}
