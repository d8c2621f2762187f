//! How large is a polygon: on the ellipsoid, which is the authority, and in the plane of a projection.
//!
//! Geodesic edges on the WGS 84 ellipsoid after Karney, "Algorithms for geodesics", Journal of Geodesy 87 (2013),
//! 43-55, through GeographicLib's polygon area. CGCS2000 differs from it by less than a part in 1e10 of any area. Holes
//! are subtracted and the direction of rings does not matter, so a ring must enclose less than half of the Earth.
//! Overlapping parts count twice: validity is checked where parcels are read.

use geo::{LineString, MultiPolygon, Polygon};
use geographiclib_rs::{Geodesic, PolygonArea, Winding};

/// Area of a polygon on the WGS 84 ellipsoid, in square metres. Coordinates are longitude and latitude in degrees;
/// edges are geodesics. NaN coordinates give NaN.
#[must_use]
pub fn geodesic_area_m2(polygon: &MultiPolygon<f64>) -> f64 {
    let wgs84 = Geodesic::wgs84();
    area_of_rings(polygon, |ring| measure(&wgs84, ring).0)
}

/// Length of all rings of a polygon, holes included, on the WGS 84 ellipsoid, in metres. Coordinates are longitude and
/// latitude in degrees; edges are geodesics. NaN coordinates give NaN.
#[must_use]
pub fn geodesic_perimeter_m(polygon: &MultiPolygon<f64>) -> f64 {
    let wgs84 = Geodesic::wgs84();
    polygon.iter().flat_map(rings).map(|ring| measure(&wgs84, ring).1).sum()
}

/// Area of a polygon in the plane of its coordinates, in their unit squared: square metres in a projected CRS.
#[must_use]
pub fn planar_area_m2(polygon: &MultiPolygon<f64>) -> f64 {
    area_of_rings(polygon, |ring| {
        // From the first vertex: the coordinates of a projection are millions of metres and a parcel is hundreds.
        let Some(&origin) = ring.0.first() else { return 0.0 };
        let twice: f64 =
            ring.lines().map(|edge| (edge.start - origin, edge.end - origin)).map(|(a, b)| a.x * b.y - b.x * a.y).sum();
        twice / 2.0
    })
}

/// Exteriors minus holes, given the signed area of one ring.
fn area_of_rings(polygon: &MultiPolygon<f64>, signed_area: impl Fn(&LineString<f64>) -> f64) -> f64 {
    let part = |p: &Polygon<f64>| {
        let holes: f64 = p.interiors().iter().map(|hole| signed_area(hole).abs()).sum();
        signed_area(p.exterior()).abs() - holes
    };
    // Not `sum()`, whose empty value is -0.
    polygon.iter().map(part).fold(0.0, |total, area| total + area)
}

fn rings(polygon: &Polygon<f64>) -> impl Iterator<Item = &LineString<f64>> {
    std::iter::once(polygon.exterior()).chain(polygon.interiors())
}

/// Signed area in square metres and perimeter in metres of one ring.
fn measure(wgs84: &Geodesic, ring: &LineString<f64>) -> (f64, f64) {
    // The ring is closed by the computation itself. Fewer than two vertices have no edge.
    let closed = ring.0.len() > 1 && ring.0.first() == ring.0.last();
    let points = &ring.0[..ring.0.len() - usize::from(closed)];
    if points.len() < 2 {
        return (0.0, 0.0);
    }
    let mut sum = PolygonArea::new(wgs84, Winding::CounterClockwise);
    for p in points {
        sum.add_point(p.y, p.x);
    }
    let (perimeter_m, area_m2, _) = sum.compute(true);
    (area_m2, perimeter_m)
}

#[cfg(test)]
mod tests {
    use super::*;
    use geo::{Coord, polygon};

    fn assert_near(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "found {found}, expected {expected}");
    }

    fn example_9() -> MultiPolygon<f64> {
        MultiPolygon(vec![
            polygon![(x: 129.00, y: 42.50), (x: 129.01, y: 42.50), (x: 129.01, y: 42.51), (x: 129.00, y: 42.51)],
        ])
    }

    fn reversed(p: &MultiPolygon<f64>) -> MultiPolygon<f64> {
        let reverse = |ring: &LineString<f64>| LineString(ring.0.iter().rev().copied().collect());
        MultiPolygon(
            p.iter()
                .map(|p| Polygon::new(reverse(p.exterior()), p.interiors().iter().map(reverse).collect()))
                .collect(),
        )
    }

    #[test]
    fn worked_example_9() {
        assert_near(geodesic_area_m2(&example_9()), 913_019.342, 0.0005);
        assert_near(geodesic_area_m2(&reversed(&example_9())), 913_019.342, 0.0005);
    }

    #[test]
    fn holes_are_subtracted_and_their_length_counts() {
        let outer = example_9().0.remove(0);
        let hole = polygon![(x: 129.002, y: 42.502), (x: 129.004, y: 42.502), (x: 129.004, y: 42.505)];
        let holed = MultiPolygon(vec![Polygon::new(outer.exterior().clone(), vec![hole.exterior().clone()])]);
        let alone = MultiPolygon(vec![hole]);
        for p in [&holed, &reversed(&holed)] {
            assert_near(geodesic_area_m2(p), 913_019.342 - geodesic_area_m2(&alone), 0.001);
            assert_near(
                geodesic_perimeter_m(p),
                geodesic_perimeter_m(&example_9()) + geodesic_perimeter_m(&alone),
                1e-6,
            );
        }
    }

    #[test]
    fn planar_area_keeps_its_digits_far_from_the_origin() {
        let far = |x: f64, y: f64| Coord { x: 500_000.0 + x, y: 4_700_000.0 + y };
        let square = |from: f64, to: f64| LineString(vec![far(from, from), far(to, from), far(to, to), far(from, to)]);
        let p = MultiPolygon(vec![
            Polygon::new(square(0.0, 0.5), vec![square(0.125, 0.25)]),
            Polygon::new(square(2.0, 3.0), vec![]),
        ]);
        assert_eq!(planar_area_m2(&p), 0.25 - 0.015625 + 1.0);
        assert_eq!(planar_area_m2(&reversed(&p)), planar_area_m2(&p));
    }

    #[test]
    fn empty_and_degenerate_polygons_have_no_area() {
        let empty = Polygon::new(LineString(vec![]), vec![]);
        let point = Polygon::new(LineString(vec![Coord { x: 1.0, y: 2.0 }]), vec![]);
        for p in [MultiPolygon(vec![]), MultiPolygon(vec![empty, point])] {
            for zero in [geodesic_area_m2(&p), geodesic_perimeter_m(&p), planar_area_m2(&p)] {
                assert_eq!(zero, 0.0);
            }
        }
        // There and back again: no area, twice the length.
        let line = MultiPolygon(vec![polygon![(x: 129.0, y: 42.5), (x: 129.0, y: 42.6)]]);
        assert_near(geodesic_area_m2(&line), 0.0, 1e-6);
        assert_near(geodesic_perimeter_m(&line), 2.0 * 11_108.7, 2.0);
    }
}
