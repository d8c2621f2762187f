//! Rings put in order without moving their outline: repeated vertices, zero-width spikes, parts and holes without area,
//! the direction in which rings run.
//!
//! What would change the area is no repair: [`same_area`] is the test that every repair has to pass. Areas here are planar,
//! in the polygon's own coordinates, ring by ring as they stand (exterior minus holes), so that a bow tie, a doubled loop
//! or overlapping parts never come out equal to what they might have meant.

use geo::{Coord, LineString, MultiPolygon, Polygon};

use super::area::planar_area_m2;

/// Largest relative change of the area that leaves no doubt about what was meant.
pub const UNAMBIGUOUS: f64 = 1e-6;

/// What was put in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Vertices equal to the one before.
    pub repeated: usize,
    /// Vertices at the tip of a spike of no width.
    pub spikes: usize,
    /// Rings with fewer than three different vertices left.
    pub collapsed: usize,
}

/// True when the area of `after` differs from `before` by no more than [`UNAMBIGUOUS`].
pub fn same_area(before: &MultiPolygon<f64>, after: &MultiPolygon<f64>) -> bool {
    let (a, b) = (planar_area_m2(before), planar_area_m2(after));
    (a - b).abs() <= UNAMBIGUOUS * a.abs()
}

/// The polygon without repeated vertices and, where `spikes` is set, without spikes; rings of no area are left out.
pub fn tidy(polygon: &MultiPolygon<f64>, spikes: bool) -> (MultiPolygon<f64>, Tidied) {
    let mut done = Tidied::default();
    let mut ring = |line: &LineString<f64>| -> Option<LineString<f64>> {
        let mut points = cleaned(line, spikes, &mut done);
        if points.len() < 3 {
            done.collapsed += 1;
            return None;
        }
        points.push(points[0]);
        Some(LineString(points))
    };
    let parts = polygon.iter().filter_map(|part| {
        let exterior = ring(part.exterior())?;
        Some(Polygon::new(exterior, part.interiors().iter().filter_map(&mut ring).collect()))
    });
    (MultiPolygon(parts.collect()), done)
}

/// The ring's vertices without the closing one.
fn cleaned(line: &LineString<f64>, spikes: bool, done: &mut Tidied) -> Vec<Coord<f64>> {
    let closed = line.0.len() > 1 && line.0.first() == line.0.last();
    let points = &line.0[..line.0.len() - usize::from(closed)];
    let mut out: Vec<Coord<f64>> = Vec::with_capacity(points.len() + 1);
    for p in points {
        out.push(*p);
        while let [.., a, b] = out[..] {
            if a == b {
                done.repeated += 1;
                out.pop();
            } else if let Some(before) = out.len().checked_sub(3).map(|i| out[i])
                && spikes
                && is_spike(before, a, b)
            {
                done.spikes += 1;
                out.truncate(out.len() - 2);
                // There and back to the same vertex: it stands there already.
                if before != b {
                    out.push(b);
                }
            } else {
                break;
            }
        }
    }
    // The same across the seam.
    while out.len() >= 3 {
        let n = out.len();
        if out[0] == out[n - 1] {
            done.repeated += 1;
            out.pop();
        } else if spikes && is_spike(out[n - 2], out[n - 1], out[0]) {
            done.spikes += 1;
            out.pop();
        } else if spikes && is_spike(out[n - 1], out[0], out[1]) {
            done.spikes += 1;
            out.remove(0);
        } else {
            break;
        }
    }
    out
}

/// True where the way from `b` leads back along the way from `a`, up to the rounding of coordinates.
fn is_spike(a: Coord<f64>, b: Coord<f64>, c: Coord<f64>) -> bool {
    let (u, v) = (b - a, c - b);
    let cross = u.x * v.y - u.y * v.x;
    let dot = u.x * v.x + u.y * v.y;
    dot < 0.0 && cross.abs() <= 1e-9 * -dot
}

/// Exteriors anticlockwise, holes clockwise; and whether the rings disagreed: all of them the other way is the rule of
/// Shapefiles and no fault.
pub fn orient(polygon: MultiPolygon<f64>) -> (MultiPolygon<f64>, bool) {
    let rings: usize = polygon.iter().map(|part| 1 + part.interiors().len()).sum();
    let mut turned = 0;
    let mut run = |mut line: LineString<f64>, anticlockwise: bool| {
        if (signed_area(&line) > 0.0) != anticlockwise {
            line.0.reverse();
            turned += 1;
        }
        line
    };
    let parts = polygon.into_iter().map(|part| {
        let (exterior, holes) = part.into_inner();
        let exterior = run(exterior, true);
        Polygon::new(exterior, holes.into_iter().map(|hole| run(hole, false)).collect())
    });
    let oriented = MultiPolygon(parts.collect());
    (oriented, turned > 0 && turned < rings)
}

fn signed_area(line: &LineString<f64>) -> f64 {
    let Some(&origin) = line.0.first() else { return 0.0 };
    line.lines().map(|e| (e.start - origin, e.end - origin)).map(|(a, b)| a.x * b.y - b.x * a.y).sum::<f64>() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use geo::polygon;

    fn square(points: &[(f64, f64)]) -> MultiPolygon<f64> {
        MultiPolygon(vec![Polygon::new(LineString::from(points.to_vec()), vec![])])
    }

    #[test]
    fn repeated_vertices_and_spikes_go() {
        let plain = square(&[(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)]);
        let repeated = square(&[(0.0, 0.0), (0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (4.0, 4.0), (4.0, 4.0), (0.0, 4.0)]);
        let (p, done) = tidy(&repeated, false);
        assert_eq!((p, done), (plain.clone(), Tidied { repeated: 3, ..Tidied::default() }));
        // A spike outwards from a vertex, one along an edge, one at the seam.
        for spiky in [
            vec![(0.0, 0.0), (4.0, 0.0), (9.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)],
            vec![(0.0, 0.0), (5.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)],
            vec![(0.0, -3.0), (0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)],
            vec![(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0), (0.0, -3.0)],
        ] {
            let spiky = square(&spiky);
            let (kept, _) = tidy(&spiky, false);
            assert_eq!(kept, spiky);
            let (p, done) = tidy(&spiky, true);
            assert_eq!(done, Tidied { spikes: 1, ..Tidied::default() });
            assert!(same_area(&spiky, &p) && p.0[0].exterior().0.len() == 5, "{p:?}");
        }
    }

    #[test]
    fn collapsed_rings_are_left_out() {
        let p = MultiPolygon(vec![
            polygon!(exterior: [(x: 0.0, y: 0.0), (x: 9.0, y: 0.0), (x: 9.0, y: 9.0)], interiors: [[(x: 5.0, y: 1.0), (x: 6.0, y: 1.0)]]),
            polygon![(x: 20.0, y: 0.0), (x: 21.0, y: 0.0), (x: 20.0, y: 0.0)],
        ]);
        let (tidied, done) = tidy(&p, false);
        assert_eq!((tidied.0.len(), tidied.0[0].interiors().len(), done.collapsed), (1, 0, 2));
    }

    #[test]
    fn rings_are_turned() {
        let (p, disagreed) = orient(square(&[(0.0, 0.0), (0.0, 4.0), (4.0, 4.0), (4.0, 0.0)]));
        assert!(signed_area(p.0[0].exterior()) > 0.0 && !disagreed);
        // A hole that runs as its exterior does.
        let p = polygon!(exterior: [(x: 0.0, y: 0.0), (x: 4.0, y: 0.0), (x: 4.0, y: 4.0)], interiors: [[(x: 1.0, y: 1.0), (x: 2.0, y: 1.0), (x: 2.0, y: 2.0)]]);
        let (p, disagreed) = orient(MultiPolygon(vec![p]));
        assert!(signed_area(&p.0[0].interiors()[0]) < 0.0 && disagreed);
        assert!(!orient(p).1);
    }

    #[test]
    fn a_bow_tie_is_not_its_lobes() {
        let bow_tie = square(&[(0.0, 0.0), (4.0, 4.0), (4.0, 0.0), (0.0, 4.0)]);
        let lobes = MultiPolygon(vec![
            polygon![(x: 0.0, y: 0.0), (x: 2.0, y: 2.0), (x: 0.0, y: 4.0)],
            polygon![(x: 4.0, y: 0.0), (x: 4.0, y: 4.0), (x: 2.0, y: 2.0)],
        ]);
        assert!(!same_area(&bow_tie, &lobes));
    }
}
