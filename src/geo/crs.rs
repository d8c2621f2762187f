//! Coordinate reference systems: names, and moving polygons from one to another. The only file that names `proj::`.
//!
//! Coordinates are always x east, y north (longitude before latitude), whatever the authority's axis order. Polygons are
//! moved vertex by vertex, as GeoPandas and GDAL do: an edge is straight in the target system.

use geo::{Coord, CoordsIter, LineString, MultiPolygon, Polygon};
use proj::Proj;
use serde::{Deserialize, Serialize};

/// A coordinate reference system, by authority code (`EPSG:32631`) where it has one, else as WKT.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Crs(pub String);

/// Longitude and latitude in degrees on WGS 84: the CRS of every geometry in a table.
pub const LON_LAT: &str = "EPSG:4326";

/// Geographic systems in degrees whose coordinates serve as longitude and latitude as they are. CGCS2000 (4490) and
/// WGS 84 differ by less than any parcel boundary can show.
const LON_LAT_ALIASES: [&str; 4] = ["EPSG:4326", "OGC:CRS84", "EPSG:4979", "EPSG:4490"];

/// Ballpark operations that are none: PROJ's database states no transformation, because the datums agree within a metre.
const SAME_AS_WGS84: [&str; 2] = [
    "offset from China Geodetic Coordinate System 2000 to WGS 84",
    "offset from WGS 84 to China Geodetic Coordinate System 2000",
];

impl Crs {
    /// True where coordinates are longitude and latitude in degrees already.
    pub fn is_lon_lat(&self) -> bool {
        LON_LAT_ALIASES.contains(&self.0.as_str())
    }

    /// The name for messages: the authority code, or the name that begins the WKT.
    pub fn short(&self) -> &str {
        // PROJCRS["name",...: what stands between the first quotes.
        let quoted = self.0.contains('[').then(|| self.0.split('"').nth(1)).flatten();
        quoted.unwrap_or(&self.0)
    }

    /// Short name for file and folder names: `epsg32631`, or `crs-` and a digest of the WKT.
    pub fn slug(&self) -> String {
        match self.0.split_once(':') {
            Some((authority, code)) if code.chars().all(|c| c.is_ascii_alphanumeric()) => {
                format!("{}{code}", authority.to_ascii_lowercase())
            }
            _ => format!("crs-{}", &crate::digest::Sha256::of(self.0.as_bytes()).short()[..8]),
        }
    }
}

/// Moves polygons from one system to another. Not shared between threads: PROJ contexts are per thread.
pub struct Transform {
    proj: Option<Proj>,
}

impl Transform {
    /// Prepares `from` to `to`; the identity where both are the same.
    ///
    /// # Errors
    /// PROJ does not know one of the systems, or no operation joins them.
    pub fn new(from: &Crs, to: &Crs) -> Result<Self, String> {
        if from == to || (from.is_lon_lat() && to.is_lon_lat()) {
            return Ok(Transform { proj: None });
        }
        let proj = Proj::new_known_crs(&from.0, &to.0, None)
            .map_err(|e| format!("no coordinate operation from {} to {}: {e}", from.0, to.0))?;
        Ok(Transform { proj: Some(proj) })
    }

    /// The operation that moved the last vertex, where PROJ could only pretend that both datums are one: its database has
    /// no transformation between them for that place, and positions may be wrong by tens of metres or more.
    pub fn ballpark(&self) -> Option<String> {
        let told = self.proj.as_ref()?.proj_info().description?;
        (told.contains("Ballpark") && !SAME_AS_WGS84.iter().any(|d| told.contains(d))).then_some(told)
    }

    /// Moves points (x, y). One that the operation cannot take becomes NaN.
    pub fn points(&self, points: &mut [(f64, f64)]) {
        let Some(proj) = &self.proj else { return };
        for point in points {
            *point = match proj.convert(*point) {
                Ok((x, y)) if x.is_finite() && y.is_finite() => (x, y),
                _ => (f64::NAN, f64::NAN),
            };
        }
    }

    /// Moves every vertex.
    ///
    /// # Errors
    /// A vertex that the operation cannot take: outside the projection's domain, or not finite.
    pub fn polygon(&self, p: &MultiPolygon<f64>) -> Result<MultiPolygon<f64>, String> {
        let Some(proj) = &self.proj else { return Ok(p.clone()) };
        let ring = |line: &LineString<f64>| -> Result<LineString<f64>, String> {
            let mut points: Vec<(f64, f64)> = line.0.iter().map(|c| (c.x, c.y)).collect();
            if !points.is_empty() {
                proj.convert_array(&mut points).map_err(|e| format!("a vertex cannot be projected: {e}"))?;
            }
            match points.iter().zip(&line.0).find(|((x, y), _)| !x.is_finite() || !y.is_finite()) {
                Some((_, c)) => Err(format!("the vertex ({}, {}) cannot be projected", c.x, c.y)),
                None => Ok(LineString(points.into_iter().map(|(x, y)| Coord { x, y }).collect())),
            }
        };
        p.iter()
            .map(|part| {
                let holes = part.interiors().iter().map(ring).collect::<Result<Vec<_>, _>>()?;
                Ok(Polygon::new(ring(part.exterior())?, holes))
            })
            .collect::<Result<Vec<_>, String>>()
            .map(MultiPolygon)
    }
}

/// How many of `count` polygons one [`Transform`] should serve: making one takes PROJ some 50 ms, so each thread makes few.
pub fn share(count: usize) -> usize {
    count.div_ceil(2 * rayon::current_num_threads()).max(256)
}

/// True when every vertex is finite.
pub fn all_finite(p: &MultiPolygon<f64>) -> bool {
    p.coords_iter().all(|c| c.x.is_finite() && c.y.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use geo::polygon;

    fn crs(s: &str) -> Crs {
        Crs(s.to_owned())
    }

    #[test]
    fn longitude_comes_first_and_utm_agrees_with_gdal() {
        let p = MultiPolygon(vec![polygon![(x: 129.0, y: 42.5), (x: 129.01, y: 42.5), (x: 129.01, y: 42.51)]]);
        let t = Transform::new(&crs("EPSG:4326"), &crs("EPSG:32652")).expect("operation");
        let q = t.polygon(&p).expect("inside the zone");
        // The central meridian of zone 52 is 129 E: easting 500,000 m exactly. Northing by the cs2cs program.
        let first = q.0[0].exterior().0[0];
        assert!((first.x - 500_000.0).abs() < 1e-6, "{first:?}");
        assert!((first.y - 4_705_293.079_788).abs() < 1e-3, "{first:?}");
    }

    #[test]
    fn messages_name_a_system_shortly() {
        assert_eq!(crs("EPSG:4490").short(), "EPSG:4490");
        assert_eq!(crs("PROJCRS[\"own grid\",BASEGEOGCRS[\"WGS 84\"]]").short(), "own grid");
    }

    #[test]
    fn cgcs2000_gauss_kruger_and_unknown_codes() {
        assert!(Transform::new(&crs("EPSG:4549"), &crs("EPSG:32652")).is_ok());
        assert!(Transform::new(&crs("EPSG:999999"), &crs("EPSG:32652")).is_err());
        assert!(Transform::new(&crs("EPSG:4490"), &crs("EPSG:4326")).expect("identity").proj.is_none());
    }

    #[test]
    fn old_datums_are_ballpark_and_the_new_ones_are_not() {
        let p =
            MultiPolygon(vec![polygon![(x: 500_000.0, y: 4.7e6), (x: 500_100.0, y: 4.7e6), (x: 500_100.0, y: 4.71e6)]]);
        for (code, ballpark) in [(4552, false), (2388, true), (2440, true), (32652, false)] {
            let t = Transform::new(&crs(&format!("EPSG:{code}")), &crs(LON_LAT)).expect("operation");
            t.polygon(&p).expect("inside the zone");
            assert_eq!(t.ballpark().is_some(), ballpark, "EPSG:{code}: {:?}", t.ballpark());
        }
    }

    #[test]
    fn slugs_are_file_names() {
        assert_eq!(crs("EPSG:32631").slug(), "epsg32631");
        assert!(crs("PROJCRS[\"x:y\",...]").slug().starts_with("crs-"));
    }
}
