//! Slopes that face the sun look brighter: sun-canopy-sensor correction with the C term (SCS+C), Soenen, Peddle and Coburn
//! 2005, IEEE Transactions on Geoscience and Remote Sensing 43:2148-2159.
//!
//! ```text
//! cos i   = cos ts cos a + sin ts sin a cos(phi_s - aspect)
//! rho     = m cos i + b over clear parcel pixels of one scene and band;  C = b / m
//! rho_cor = rho (cos a cos ts + C) / (cos i + C)
//! ```
//!
//! `ts` and `phi_s` are zenith and azimuth of the sun, `a` the slope. Directions are kept as parts of unit vectors: then
//! `cos i` is their product, level ground needs no aspect, and azimuths have no step at north.

use serde::{Deserialize, Serialize};

use super::angles::Direction;

/// Where it comes from.
pub const CITATION: &str =
    "Soenen, Peddle and Coburn 2005, IEEE Transactions on Geoscience and Remote Sensing 43:2148-2159";

/// Slopes up to this are left as they are, degrees.
pub const FLAT_DEG: f64 = 2.0;
/// Below this cosine of the incidence angle a pixel is in its own shadow, and there is nothing to correct.
pub const SHADED_COS: f64 = 0.1;
/// Fewest pixels that C is fitted to. Our own choice: with fewer, one bright stand decides over the slope of the line.
pub const FEWEST_PIXELS: u64 = 100;

/// Whether and how slopes are corrected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Correction {
    /// Reflectance as measured.
    #[default]
    None,
    /// Sun-canopy-sensor with the C term.
    ScsC,
}

/// Upward unit vector of the ground, by its parts to the true east and north; NaN where nobody knows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normal {
    /// To the east.
    pub east: f32,
    /// To the true north.
    pub north: f32,
}

impl Normal {
    /// Of ground that nobody knows.
    pub const UNKNOWN: Normal = Normal { east: f32::NAN, north: f32::NAN };

    /// Of a slope and its downhill direction, clockwise from true north, degrees.
    pub fn of(slope_deg: f64, aspect_deg: f64) -> Normal {
        let (a, aspect) = (slope_deg.to_radians(), aspect_deg.to_radians());
        Normal { east: (a.sin() * aspect.sin()) as f32, north: (a.sin() * aspect.cos()) as f32 }
    }

    /// Of elevations in metres around a pixel by rows from the north, left to right (Horn 1981, Proceedings of the IEEE
    /// 69:14-47), on a grid whose north lies `convergence_deg` clockwise from true north.
    pub fn of_elevations(around: &[f64; 9], (pixel_x_m, pixel_y_m): (f64, f64), convergence_deg: f64) -> Normal {
        let [a, b, c, d, _, f, g, h, i] = *around;
        let rise_east = ((c + 2.0 * f + i) - (a + 2.0 * d + g)) / (8.0 * pixel_x_m);
        let rise_north = ((a + 2.0 * b + c) - (g + 2.0 * h + i)) / (8.0 * pixel_y_m);
        let length = (1.0 + rise_east * rise_east + rise_north * rise_north).sqrt();
        let (east, north) = (-rise_east / length, -rise_north / length);
        let (sin, cos) = convergence_deg.to_radians().sin_cos();
        // The pixel's own elevation counts for nothing but being known.
        if around[4].is_nan() {
            return Normal::UNKNOWN;
        }
        Normal { east: (east * cos + north * sin) as f32, north: (north * cos - east * sin) as f32 }
    }

    /// True where the ground is known.
    pub fn is_known(self) -> bool {
        self.east.is_finite() && self.north.is_finite()
    }

    fn parts(self) -> [f64; 3] {
        let (east, north) = (f64::from(self.east), f64::from(self.north));
        [east, north, (1.0 - east * east - north * north).max(0.0).sqrt()]
    }
}

/// How the sun lights a pixel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Light {
    /// Level enough to be left as it is.
    Level,
    /// On a slope.
    Slope(Lit),
    /// In its own shadow.
    Shaded,
    /// The ground is not known.
    Unknown,
}

/// What the correction of a lit slope is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lit {
    /// Cosine of the incidence angle.
    pub cos_i: f32,
    /// Cosine of the slope times cosine of the sun's zenith angle: trees stand upright on slopes.
    pub upright: f32,
}

impl Lit {
    /// Light of a pixel that stays as it is, whatever C is.
    pub const UNCHANGED: Lit = Lit { cos_i: 1.0, upright: 1.0 };

    /// Factor of the pixel's reflectance.
    #[inline]
    pub fn factor(self, c: f64) -> f64 {
        (f64::from(self.upright) + c) / (f64::from(self.cos_i) + c)
    }
}

/// The sun's direction as east, north and upward part of a unit vector.
pub fn sun_vector(sun: Direction) -> [f64; 3] {
    let [east, north] = sun.parts();
    [east, north, sun.zenith_deg.to_radians().cos()]
}

/// How ground is lit by the sun of [`sun_vector`].
pub fn light(sun: [f64; 3], ground: Normal) -> Light {
    if !ground.is_known() {
        return Light::Unknown;
    }
    let [east, north, up] = ground.parts();
    let flat = FLAT_DEG.to_radians().sin();
    // The last digit of a single float is not to make a slope of exactly two degrees steep.
    if east * east + north * north <= flat * flat * (1.0 + 1e-6) {
        return Light::Level;
    }
    let cos_i = sun[0] * east + sun[1] * north + sun[2] * up;
    if cos_i < SHADED_COS {
        return Light::Shaded;
    }
    Light::Slope(Lit { cos_i: cos_i as f32, upright: (up * sun[2]) as f32 })
}

/// Least squares of reflectance on the cosine of the incidence angle, as sums: pixels are added one by one, and groups of
/// pixels to each other.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Regression {
    pixels: u64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
    yy: f64,
}

/// The line through the pixels of one scene and band.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Slope.
    pub m: f64,
    /// Reflectance without direct light.
    pub b: f64,
    /// Share of the variance that the line explains.
    pub r2: f64,
}

impl Regression {
    /// Takes in a pixel.
    pub fn add(&mut self, cos_i: f64, reflectance: f64) {
        self.pixels += 1;
        self.x += cos_i;
        self.y += reflectance;
        self.xx += cos_i * cos_i;
        self.xy += cos_i * reflectance;
        self.yy += reflectance * reflectance;
    }

    /// Takes in other pixels.
    pub fn merge(&mut self, other: &Regression) {
        self.pixels += other.pixels;
        self.x += other.x;
        self.y += other.y;
        self.xx += other.xx;
        self.xy += other.xy;
        self.yy += other.yy;
    }

    /// Pixels taken in.
    pub fn pixels(&self) -> u64 {
        self.pixels
    }

    /// The line; `None` where all pixels are lit alike.
    pub fn line(&self) -> Option<Line> {
        let n = self.pixels as f64;
        let spread = n * self.xx - self.x * self.x;
        let m = (n * self.xy - self.x * self.y) / spread;
        let b = (self.y - m * self.x) / n;
        let variance = n * self.yy - self.y * self.y;
        let r2 = if variance > 0.0 { (m * m * spread / variance).min(1.0) } else { 0.0 };
        (spread > 1e-9 * n * n).then_some(Line { m, b, r2 })
    }
}

impl Line {
    /// `C = b / m`; `None` where reflectance does not rise with the light, or would be nothing before it is dark: then
    /// there is nothing to correct by it.
    pub fn c(&self) -> Option<f64> {
        (self.m > 0.0 && self.b > 0.0).then_some(self.b / self.m)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sun(zenith_deg: f64, azimuth_deg: f64) -> [f64; 3] {
        sun_vector(Direction { zenith_deg, azimuth_deg })
    }

    fn slope(sun: [f64; 3], ground: Normal) -> Lit {
        match light(sun, ground) {
            Light::Slope(lit) => lit,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_slope_away_from_the_sun_is_brightened_as_computed_by_hand() {
        let lit = slope(sun(40.0, 150.0), Normal::of(25.0, 330.0));
        assert!((f64::from(lit.cos_i) - 0.422_618_261_7).abs() < 1e-7);
        assert!((lit.factor(0.35) - 1.351_601_555_0).abs() < 3e-7);
        assert!((0.12 * lit.factor(0.35) - 0.162_192_186_7).abs() < 5e-8);
    }

    #[test]
    fn flat_ground_stays_and_own_shadow_is_nothing() {
        let sun = sun(60.0, 150.0);
        for aspect in 0..360 {
            assert_eq!(light(sun, Normal::of(2.0, f64::from(aspect))), Light::Level);
            assert!(matches!(light(sun, Normal::of(2.01, f64::from(aspect))), Light::Slope(_)));
        }
        assert_eq!(light(sun, Normal::of(40.0, 330.0)), Light::Shaded);
        assert_eq!(light(sun, Normal::UNKNOWN), Light::Unknown);
        assert_eq!(Lit::UNCHANGED.factor(0.37), 1.0);
    }

    /// A plane that falls 30 m over 100 m to a grid azimuth of 120 degrees.
    #[test]
    fn elevations_of_a_plane_give_its_slope_and_true_aspect() {
        let (fall, towards) = (0.3_f64, 120_f64.to_radians());
        let at = |col: f64, row: f64| 500.0 - fall * (30.0 * col * towards.sin() - 20.0 * row * towards.cos());
        let around: [f64; 9] = std::array::from_fn(|i| at((i % 3) as f64, (i / 3) as f64));
        for convergence in [0.0, 1.7, -2.0] {
            let found = Normal::of_elevations(&around, (30.0, 20.0), convergence);
            let expected = Normal::of(fall.atan().to_degrees(), 120.0 + convergence);
            assert!((found.east - expected.east).abs() < 1e-6 && (found.north - expected.north).abs() < 1e-6);
        }
        for hole in 0..9 {
            let mut around = around;
            around[hole] = f64::NAN;
            assert!(!Normal::of_elevations(&around, (30.0, 20.0), 0.0).is_known(), "{hole}");
        }
    }

    #[test]
    fn a_scene_lit_by_the_model_becomes_even() {
        let sun = sun(45.0, 160.0);
        let lights = (0..200).map(|k| light(sun, Normal::of(3.0 + f64::from(k % 30), f64::from(k * 37 % 360))));
        let lits: Vec<Lit> = lights.filter_map(|l| if let Light::Slope(lit) = l { Some(lit) } else { None }).collect();
        assert!(lits.len() > 150);
        let seen = |l: &Lit| 0.2 * f64::from(l.cos_i) + 0.06;
        let (mut even, mut odd) = (Regression::default(), Regression::default());
        for (k, lit) in lits.iter().enumerate() {
            if k % 2 == 0 { &mut even } else { &mut odd }.add(f64::from(lit.cos_i), seen(lit));
        }
        even.merge(&odd);
        let line = even.line().expect("spread");
        let c = line.c().expect("brighter with the light");
        assert!((c - 0.3).abs() < 1e-9 && (line.r2 - 1.0).abs() < 1e-9 && even.pixels() == lits.len() as u64);
        for lit in &lits {
            // What remains is the canopy's own geometry, cos a cos ts + C: no aspect in it.
            let expected = 0.2 * (f64::from(lit.upright) + 0.3);
            assert!((seen(lit) * lit.factor(c) - expected).abs() < 1e-9);
        }
    }

    #[test]
    fn no_c_without_spread_or_against_the_light() {
        let mut flat = Regression::default();
        (0..10).for_each(|_| flat.add(0.5, 0.2));
        assert_eq!(flat.line(), None);
        assert_eq!(Regression::default().line(), None);
        let c = |b: f64, m: f64| {
            let mut sums = Regression::default();
            (0..10).for_each(|k| sums.add(0.3 + 0.05 * f64::from(k), b + m * (0.3 + 0.05 * f64::from(k))));
            sums.line().expect("spread").c()
        };
        assert_eq!((c(0.3, -0.2), c(-0.05, 0.4)), (None, None));
        assert!((c(0.1, 0.4).expect("usable") - 0.25).abs() < 1e-9);
    }
}
