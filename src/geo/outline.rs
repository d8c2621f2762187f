//! Pixels to polygons: the outline of a set of pixels, as valid multipolygons with holes.
//!
//! Pixels that share a side belong together; pixels that touch at a corner only are separate parts. Where two pixels of one
//! part meet at a corner, the outline stays with the background there, so that no ring touches itself.

use std::collections::{BTreeMap, BTreeSet};

use geo::{Coord, LineString, MultiPolygon, Polygon};

use super::grid::Grid;

type Pixel = (u32, u32);
/// Corner of pixels: (row, column) of the upper-left corner of the pixel of that number.
type Corner = (u32, u32);

/// Outline in the grid's CRS of pixels given as (row, column). Parts are ordered by their first pixel; exterior rings run
/// anticlockwise, holes clockwise.
pub fn outline(pixels: &[Pixel], grid: &Grid) -> MultiPolygon<f64> {
    let mut left: BTreeSet<Pixel> = pixels.iter().copied().collect();
    let mut parts = Vec::new();
    while let Some(seed) = left.pop_first() {
        let mut part = BTreeSet::from([seed]);
        let mut open = vec![seed];
        while let Some((row, col)) = open.pop() {
            for near in neighbours(row, col).into_iter().flatten() {
                if left.remove(&near) {
                    part.insert(near);
                    open.push(near);
                }
            }
        }
        parts.push(polygon(&part, grid));
    }
    MultiPolygon(parts)
}

fn neighbours(row: u32, col: u32) -> [Option<Pixel>; 4] {
    [
        row.checked_sub(1).map(|r| (r, col)),
        Some((row, col + 1)),
        Some((row + 1, col)),
        col.checked_sub(1).map(|c| (row, c)),
    ]
}

/// One part. Each side without a neighbour is an edge with the part on its left; edges join to rings.
fn polygon(part: &BTreeSet<Pixel>, grid: &Grid) -> Polygon<f64> {
    // From a corner, the edges that leave it: to where.
    let mut edges: BTreeMap<Corner, Vec<Corner>> = BTreeMap::new();
    for &(row, col) in part {
        // North, east, south, west side, each anticlockwise around the pixel (rows grow southwards).
        let sides = [
            ((row, col + 1), (row, col)),
            ((row + 1, col + 1), (row, col + 1)),
            ((row + 1, col), (row + 1, col + 1)),
            ((row, col), (row + 1, col)),
        ];
        for (near, (from, to)) in neighbours(row, col).into_iter().zip(sides) {
            if near.is_none_or(|n| !part.contains(&n)) {
                edges.entry(from).or_default().push(to);
            }
        }
    }
    let mut exterior = LineString(Vec::new());
    let mut holes = Vec::new();
    while let Some((&start, _)) = edges.first_key_value() {
        let mut ring = vec![start];
        let mut at = start;
        let mut heading = (0i64, 0i64);
        while let Some(leaving) = edges.get_mut(&at) {
            let direction = |to: &Corner| (i64::from(to.0) - i64::from(at.0), i64::from(to.1) - i64::from(at.1));
            // Two ways out where pixels meet at a corner: turn right, which stays with the same background.
            let right = (heading.1, -heading.0);
            let choice = leaving.iter().position(|to| direction(to) == right).unwrap_or(0);
            let to = leaving.swap_remove(choice);
            if leaving.is_empty() {
                edges.remove(&at);
            }
            let next = (i64::from(to.0) - i64::from(at.0), i64::from(to.1) - i64::from(at.1));
            if next == heading {
                ring.pop();
            }
            heading = next;
            at = to;
            ring.push(at);
            if at == start {
                break;
            }
        }
        let line = LineString(
            ring.iter()
                .map(|(row, col)| {
                    let [x, _, _, y] = grid.pixel_bounds(*row, *col);
                    Coord { x, y }
                })
                .collect(),
        );
        // Twice the signed area in pixels, rows downwards: anticlockwise on the map is positive here.
        let signed: i64 = ring
            .windows(2)
            .map(|w| i64::from(w[0].0) * i64::from(w[1].1) - i64::from(w[1].0) * i64::from(w[0].1))
            .sum();
        if signed > 0 { exterior = line } else { holes.push(line) }
    }
    Polygon::new(exterior, holes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::Crs;
    use geo::{Area, Validation, Winding};
    use proptest::prelude::*;

    fn grid() -> Grid {
        let crs = Crs("EPSG:32652".into());
        Grid { crs, x_min: 0.0, y_max: 100.0, pixel_x_m: 10.0, pixel_y_m: 10.0, rows: 10, cols: 10 }
    }

    #[test]
    fn a_square_has_four_corners() {
        let m = outline(&[(0, 0), (0, 1), (1, 0), (1, 1)], &grid());
        assert_eq!(m.0.len(), 1);
        assert_eq!(m.0[0].exterior().0.len(), 5, "{m:?}");
        assert!(m.0[0].exterior().is_ccw());
        assert_eq!(m.unsigned_area(), 400.0);
    }

    #[test]
    fn holes_and_corners() {
        // A ring of eight pixels around one hole.
        let ring: Vec<Pixel> = (0..3).flat_map(|r| (0..3).map(move |c| (r, c))).filter(|p| *p != (1, 1)).collect();
        let m = outline(&ring, &grid());
        assert_eq!((m.0.len(), m.0[0].interiors().len(), m.unsigned_area()), (1, 1, 800.0));
        // Two pixels that touch at a corner are two parts.
        assert_eq!(outline(&[(0, 0), (1, 1)], &grid()).0.len(), 2);
    }

    proptest! {
        #[test]
        fn any_set_gives_a_valid_outline_of_its_area(set in proptest::collection::btree_set((0u32..7, 0u32..7), 1..40)) {
            let pixels: Vec<Pixel> = set.into_iter().collect();
            let m = outline(&pixels, &grid());
            prop_assert!(m.is_valid(), "{:?}", m);
            prop_assert!((m.unsigned_area() - 100.0 * pixels.len() as f64).abs() < 1e-9);
        }
    }
}
