//! The offsets of Chinese web maps, undone: GCJ-02 (Amap, Tencent) and BD-09 (Baidu) to WGS 84.
//!
//! Both systems shift longitude and latitude by some hundred metres, by formulas that are publicly known and reproduced by
//! many open libraries (no official text is published). The shift is defined from WGS 84 onwards; its inverse has no
//! closed form and is found by iteration. GCJ-02 leaves everything outside a box around China as it is. Accuracy is that of
//! the map the outline was traced on, metres at best.

use geo::{Coord, MapCoords, MultiPolygon};
use serde::{Deserialize, Serialize};

/// A web map's offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatumShift {
    /// 国测局坐标, 火星坐标
    Gcj02,
    /// 百度坐标
    Bd09,
}

impl DatumShift {
    /// The name people use.
    pub fn name(self) -> &'static str {
        match self {
            DatumShift::Gcj02 => "GCJ-02",
            DatumShift::Bd09 => "BD-09",
        }
    }

    /// Shifted degrees to WGS 84 degrees.
    pub fn undo(self, shifted: Coord<f64>) -> Coord<f64> {
        match self {
            DatumShift::Gcj02 => gcj02_to_wgs84(shifted),
            DatumShift::Bd09 => gcj02_to_wgs84(bd09_to_gcj02(shifted)),
        }
    }

    /// Every vertex of a polygon, shifted degrees to WGS 84 degrees.
    pub fn undo_polygon(self, shifted: &MultiPolygon<f64>) -> MultiPolygon<f64> {
        shifted.map_coords(|c| self.undo(c))
    }
}

use std::f64::consts::PI;

/// Semi-major axis of the Krasovsky ellipsoid, metres.
const A_M: f64 = 6_378_245.0;
/// Its first eccentricity squared, as the formula has it.
const E2: f64 = 0.006_693_421_622_965_943;
/// Steps of the inverse: each shrinks the error by about a thousand.
const STEPS: usize = 12;

/// Longitude and latitude range in which GCJ-02 shifts.
fn in_china(c: Coord<f64>) -> bool {
    (72.004..=137.8347).contains(&c.x) && (0.8293..=55.8271).contains(&c.y)
}

/// Whether the maps shift a place, longitude and latitude in degrees.
pub fn is_shifted_there(place: Coord<f64>) -> bool {
    in_china(place)
}

fn wgs84_to_gcj02(c: Coord<f64>) -> Coord<f64> {
    if !in_china(c) {
        return c;
    }
    let (x, y) = (c.x - 105.0, c.y - 35.0);
    let root = x.abs().sqrt();
    // Three waves of falling period along an axis.
    let waves = |v: f64, weights: [f64; 3], periods: [f64; 3]| -> f64 {
        weights.iter().zip(periods).map(|(w, p)| w * (v / p * PI).sin()).sum::<f64>() * 2.0 / 3.0
    };
    let common = (20.0 * (6.0 * x * PI).sin() + 20.0 * (2.0 * x * PI).sin()) * 2.0 / 3.0;
    let north_m = -100.0
        + 2.0 * x
        + 3.0 * y
        + 0.2 * y * y
        + 0.1 * x * y
        + 0.2 * root
        + common
        + waves(y, [20.0, 40.0, 0.0], [1.0, 3.0, 1.0])
        + waves(y, [160.0, 320.0, 0.0], [12.0, 30.0, 1.0]);
    let east_m = 300.0
        + x
        + 2.0 * y
        + 0.1 * x * x
        + 0.1 * x * y
        + 0.1 * root
        + common
        + waves(x, [20.0, 40.0, 0.0], [1.0, 3.0, 1.0])
        + waves(x, [150.0, 300.0, 0.0], [12.0, 30.0, 1.0]);
    let latitude = c.y.to_radians();
    let w = 1.0 - E2 * latitude.sin().powi(2);
    let metres_per_degree_north = A_M * (1.0 - E2) / (w * w.sqrt()) * PI / 180.0;
    let metres_per_degree_east = A_M / w.sqrt() * latitude.cos() * PI / 180.0;
    Coord { x: c.x + east_m / metres_per_degree_east, y: c.y + north_m / metres_per_degree_north }
}

fn gcj02_to_wgs84(shifted: Coord<f64>) -> Coord<f64> {
    if !in_china(shifted) {
        return shifted;
    }
    invert(shifted, wgs84_to_gcj02)
}

fn gcj02_to_bd09(c: Coord<f64>) -> Coord<f64> {
    let turn = PI * 3000.0 / 180.0;
    let radius = c.x.hypot(c.y) + 0.000_02 * (c.y * turn).sin();
    let angle = c.y.atan2(c.x) + 0.000_003 * (c.x * turn).cos();
    Coord { x: radius * angle.cos() + 0.0065, y: radius * angle.sin() + 0.006 }
}

fn bd09_to_gcj02(shifted: Coord<f64>) -> Coord<f64> {
    // Baidu's own shift knows no box; outside China its users get plain coordinates all the same.
    if !in_china(shifted) {
        return shifted;
    }
    invert(shifted, gcj02_to_bd09)
}

/// The point that `forward` brings to `target`, by adding what is missing until nothing is.
fn invert(target: Coord<f64>, forward: fn(Coord<f64>) -> Coord<f64>) -> Coord<f64> {
    let mut found = target;
    for _ in 0..STEPS {
        let missing = target - forward(found);
        found = found + missing;
        if missing.x.abs().max(missing.y.abs()) < 1e-12 {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(a: Coord<f64>, x: f64, y: f64, tolerance: f64) {
        assert!((a.x - x).abs() < tolerance && (a.y - y).abs() < tolerance, "{a:?}, expected {x}, {y}");
    }

    // The example of the library coordtransform, by which many others test themselves.
    #[test]
    fn published_points() {
        let p = Coord { x: 116.404, y: 39.915 };
        near(wgs84_to_gcj02(p), 116.410_244_499_169_38, 39.916_404_281_501_64, 1e-11);
        near(gcj02_to_bd09(p), 116.410_369_493_710_29, 39.921_336_993_510_21, 1e-11);
        near(DatumShift::Gcj02.undo(wgs84_to_gcj02(p)), p.x, p.y, 1e-11);
        near(DatumShift::Bd09.undo(gcj02_to_bd09(wgs84_to_gcj02(p))), p.x, p.y, 1e-11);
    }

    #[test]
    fn outside_china_nothing_moves() {
        for (x, y) in [(25.5, 45.5), (139.7, 35.7), (110.0, 0.5), (120.0, 56.0)] {
            for shift in [DatumShift::Gcj02, DatumShift::Bd09] {
                near(shift.undo(Coord { x, y }), x, y, 1e-15);
            }
        }
    }

    proptest! {
        #[test]
        fn there_and_back(x in 73.0f64..136.0, y in 3.0f64..54.0) {
            let p = Coord { x, y };
            let gcj = wgs84_to_gcj02(p);
            let back = DatumShift::Gcj02.undo(gcj);
            prop_assert!((back - p).x.abs() < 1e-9 && (back - p).y.abs() < 1e-9, "{:?} {:?}", p, back);
            let back = DatumShift::Bd09.undo(gcj02_to_bd09(gcj));
            prop_assert!((back - p).x.abs() < 1e-9 && (back - p).y.abs() < 1e-9, "{:?} {:?}", p, back);
        }
    }
}
