//! How far the north of a map grid lies from true north: a slope's aspect is measured on the grid, the sun's azimuth is not.

use geographiclib_rs::{Geodesic, InverseGeodesic};

use super::crs::{Crs, LON_LAT, Transform};

/// Step along the grid's north, metres. Over it, north turns by less than a ten-thousandth of a degree.
const STEP_M: f64 = 100.0;

/// Directions of a projected CRS's north. Not shared between threads, as [`Transform`] is not.
pub struct North {
    to_lon_lat: Transform,
    wgs84: Geodesic,
}

impl North {
    /// Of a projected CRS in metres.
    ///
    /// # Errors
    /// PROJ does not know it.
    pub fn of(crs: &Crs) -> Result<Self, String> {
        Ok(North { to_lon_lat: Transform::new(crs, &Crs(LON_LAT.to_owned()))?, wgs84: Geodesic::wgs84() })
    }

    /// Azimuth of grid north at a place (x, y), clockwise from true north, degrees within (-180, 180]: what is added to a
    /// direction on the grid. NaN outside the projection's domain.
    pub fn convergence_deg(&self, (x, y): (f64, f64)) -> f64 {
        let mut ends = [(x, y - STEP_M / 2.0), (x, y + STEP_M / 2.0)];
        self.to_lon_lat.points(&mut ends);
        let [(lon_a, lat_a), (lon_b, lat_b)] = ends;
        let (azimuth, _, _): (f64, f64, f64) = self.wgs84.inverse(lat_a, lon_a, lat_b, lon_b);
        azimuth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the closed form of the transverse Mercator on a sphere, `tan g = tan(lon - lon0) sin lat`, which the ellipsoid
    /// changes by less than a thousandth of a degree within a zone; places by the cs2cs program.
    #[test]
    fn convergence_of_utm_zones() {
        for (code, x, y, lon_from_centre, lat) in [
            (32652, 500_000.0, 4_705_293.079_788, 0.0, 42.5_f64),
            (32634, 745_277.254_855, 5_100_214.746_673, 3.168_35_f64, 46.011_57),
        ] {
            let north = North::of(&Crs(format!("EPSG:{code}"))).unwrap();
            let expected = (lon_from_centre.to_radians().tan() * lat.to_radians().sin()).atan().to_degrees();
            let found = north.convergence_deg((x, y));
            assert!((found - expected).abs() < 2e-3, "EPSG:{code}: {found}, expected {expected}");
        }
        // West of the centre grid north is west of true north.
        assert!(North::of(&Crs("EPSG:32634".into())).unwrap().convergence_deg((250_000.0, 5.1e6)) < -2.0);
        assert!(North::of(&Crs("EPSG:32634".into())).unwrap().convergence_deg((f64::NAN, 5.1e6)).is_nan());
    }
}
