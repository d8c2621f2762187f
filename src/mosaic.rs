//! One look at one parcel is one observation. Tiles overlap, a parcel may lie across a tile border or in two map zones, and
//! one acquisition may come as two products of a tile: each pixel of a parcel must count once.
//!
//! Scenes of one sensor and product family that follow each other within [`PASS_SECONDS`] are one **pass**: a place is seen
//! at most once in it. Of the scenes of a pass that see a parcel, the best is chosen by a rule that does not depend on the
//! date: the finest pixels, then the largest share of the parcel, then the parcel deepest inside the raster, then by name.
//! Where the best holds the whole parcel, its observation stands alone. Otherwise the others on an aligned grid of the same
//! CRS complete it pixel by pixel: in order of preference, the first that measured anything there. Grids of another zone
//! complete nothing, since that would take resampling.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::geo::coverage::{Footprint, Span};
use crate::geo::grid::Grid;
use crate::imagery::mask::Class;

/// Longest pause within a pass. Neighbouring tiles are seconds apart, the next orbit an hour and a half.
const PASS_SECONDS: i64 = 600;
/// Share of a parcel from which a scene counts as holding it whole.
const WHOLE: f64 = 1.0 - 1e-6;

/// Pass of each scene, given family and sensor, and milliseconds since 1970; scenes need not be sorted.
pub fn passes(scenes: &[(&str, i64)]) -> Vec<usize> {
    let mut by_sensor: BTreeMap<&str, Vec<(i64, usize)>> = BTreeMap::new();
    for (i, (sensor, ms)) in scenes.iter().enumerate() {
        by_sensor.entry(sensor).or_default().push((*ms, i));
    }
    let mut pass = vec![0; scenes.len()];
    let mut next = 0;
    for list in by_sensor.values_mut() {
        list.sort_unstable();
        let mut last = None;
        for (ms, i) in list {
            if last.is_some_and(|l| *ms - l > PASS_SECONDS * 1000) {
                next += 1;
            }
            pass[*i] = next;
            last = Some(*ms);
        }
        next += 1;
    }
    pass
}

/// One scene's view of a parcel.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The scene's grid.
    pub grid: &'a Grid,
    /// Name of the grid.
    pub grid_id: &'a str,
    /// Share of the parcel that lies on the grid.
    pub share: f64,
    /// Centre of the parcel's footprint on the grid, (column, row).
    pub centre: (f64, f64),
    /// Name of the scene.
    pub scene_id: &'a str,
}

impl View<'_> {
    /// Smallest distance of the parcel's centre from an edge of the raster, as a share of its size.
    fn depth(&self) -> f64 {
        let along = |at: f64, size: u32| (at / f64::from(size)).min(1.0 - at / f64::from(size));
        along(self.centre.0, self.grid.cols).min(along(self.centre.1, self.grid.rows))
    }

    fn is_whole(&self) -> bool {
        self.share >= WHOLE
    }

    /// Preferred first.
    fn order(&self, other: &View) -> Ordering {
        let share = |v: &View| if v.is_whole() { 1.0 } else { v.share };
        (self.grid.pixel_area_m2().total_cmp(&other.grid.pixel_area_m2()))
            .then(share(other).total_cmp(&share(self)))
            .then(other.depth().total_cmp(&self.depth()))
            .then(self.grid_id.cmp(other.grid_id))
            .then(self.scene_id.cmp(other.scene_id))
    }
}

/// Which of several views of one pass make the observation: positions, preferred first. One position: it stands alone.
pub fn choose(views: &[View]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..views.len()).collect();
    order.sort_by(|a, b| views[*a].order(&views[*b]));
    let Some(best) = order.first().map(|b| views[*b]) else { return Vec::new() };
    // Two products of one tile may each hold a part of the swath, so neither stands alone.
    let split = order.iter().filter(|v| views[**v].grid_id == best.grid_id).count() > 1;
    if best.is_whole() && !split {
        order.truncate(1);
        return order;
    }
    order.retain(|v| {
        offset(best.grid, views[*v].grid).is_some() && (!best.is_whole() || views[*v].grid_id == best.grid_id)
    });
    order
}

/// Rows and columns from the origin of `base` to that of `other`, where the grids share CRS and pixels.
fn offset(base: &Grid, other: &Grid) -> Option<(i64, i64)> {
    let same = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs();
    if base.crs != other.crs || !same(base.pixel_x_m, other.pixel_x_m) || !same(base.pixel_y_m, other.pixel_y_m) {
        return None;
    }
    let (cols, rows) = base.to_pixel(other.x_min, other.y_max);
    let aligned = (cols - cols.round()).abs() < 1e-6 && (rows - rows.round()).abs() < 1e-6;
    aligned.then_some((rows.round() as i64, cols.round() as i64))
}

/// Pixels of one view.
pub struct Part<'a> {
    /// Its grid.
    pub grid: &'a Grid,
    /// The parcel on it.
    pub footprint: &'a Footprint,
    /// Clear-sky class of each pixel.
    pub class: &'a [u8],
    /// Index of each pixel, NaN where not clear.
    pub values: &'a [f64],
}

/// Completes the first part with the others, pixel by pixel. Returns the footprint over all of them and the values in its
/// order; `None` when a part does not fit (our own mistake).
pub fn merge(parts: &[Part]) -> Option<(Footprint, Vec<f64>)> {
    let base = parts.first()?.grid;
    // (row, column, preference, fraction, measured, value), sorted: the pixels of one place stand together.
    let mut pixels: Vec<(i64, i64, usize, f64, bool, f64)> = Vec::new();
    for (preference, part) in parts.iter().enumerate() {
        let (rows, cols) = offset(base, part.grid)?;
        let places = part.footprint.spans().iter().flat_map(|s| (s.col..s.col + s.len).map(|c| (s.row, c)));
        let facts = part.footprint.weights().zip(part.class).zip(part.values);
        for ((row, col), ((fraction, class), value)) in places.zip(facts) {
            let measured = *class != Class::Nodata as u8;
            pixels.push((i64::from(row) + rows, i64::from(col) + cols, preference, fraction, measured, *value));
        }
    }
    pixels.sort_by_key(|p| (p.0, p.1, !p.4, p.2));
    pixels.dedup_by_key(|p| (p.0, p.1));
    let top = pixels.iter().map(|p| p.0).min()?;
    let left = pixels.iter().map(|p| p.1).min()?;
    let mut spans: Vec<Span> = Vec::new();
    let mut partial = Vec::new();
    let mut values = Vec::with_capacity(pixels.len());
    for (i, (row, col, _, fraction, _, value)) in pixels.iter().enumerate() {
        let (row, col) = (u32::try_from(row - top).ok()?, u32::try_from(col - left).ok()?);
        match spans.last_mut() {
            Some(span) if span.row == row && span.col + span.len == col => span.len += 1,
            _ => spans.push(Span { row, col, len: 1 }),
        }
        if *fraction < 1.0 {
            partial.push((u32::try_from(i).ok()?, *fraction));
        }
        values.push(*value);
    }
    Some((Footprint::from_parts(spans, partial).ok()?, values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::{Crs, footprint};
    use crate::zonal::{Scratch, reduce};
    use geo::{MultiPolygon, polygon};

    fn grid(crs: &str, x_min: f64, cols: u32) -> Grid {
        Grid { crs: Crs(crs.into()), x_min, y_max: 100.0, pixel_x_m: 10.0, pixel_y_m: 10.0, rows: 10, cols }
    }

    fn view<'a>(grid: &'a Grid, grid_id: &'a str, share: f64, col: f64) -> View<'a> {
        View { grid, grid_id, share, centre: (col, 5.0), scene_id: grid_id }
    }

    #[test]
    fn a_pass_is_one_sensor_within_minutes() {
        let minute = 60_000;
        let scenes = [("S2A", 0), ("S2A", 100 * minute), ("S2B", 0), ("S2A", 8 * minute), ("S2A", minute)];
        let p = passes(&scenes);
        assert!(p[0] == p[4] && p[4] == p[3], "a chain of tiles along the swath");
        assert!(p[0] != p[1] && p[0] != p[2] && p[1] != p[2]);
    }

    #[test]
    fn the_scene_that_holds_the_parcel_stands_alone() {
        let (a, b, c) = (grid("EPSG:32652", 0.0, 10), grid("EPSG:32652", 50.0, 10), grid("EPSG:32651", 7.0, 10));
        // Deep inside a beats the edge of b; both hold it whole.
        assert_eq!(choose(&[view(&b, "b", 1.0, 1.0), view(&a, "a", 1.0, 5.0)]), [1]);
        // None holds it whole: aligned neighbours complete each other, another zone does not.
        assert_eq!(choose(&[view(&a, "a", 0.4, 9.0), view(&c, "c", 0.5, 1.0), view(&b, "b", 0.7, 4.0)]), [2, 0]);
        // Two products of one tile.
        assert_eq!(choose(&[view(&a, "a", 1.0, 5.0), view(&a, "a", 1.0, 5.0)]).len(), 2);
    }

    /// A parcel across two overlapping tiles has the statistics of the whole, each pixel once.
    #[test]
    fn tiles_merge_to_the_whole() {
        let whole = grid("EPSG:32652", 0.0, 20);
        let (west, east) = (grid("EPSG:32652", 0.0, 12), grid("EPSG:32652", 70.0, 13));
        let parcel = MultiPolygon(vec![
            polygon![(x: 13.0, y: 12.0), (x: 187.0, y: 31.0), (x: 150.0, y: 88.0), (x: 22.0, y: 71.0)],
        ]);
        let value = |row: u32, col: u32| f64::from((row * 37 + col * 101) % 97);
        let on = |grid: &Grid, first_col: u32| {
            let f = footprint(&parcel, grid).unwrap().unwrap();
            let v: Vec<f64> = f
                .spans()
                .iter()
                .flat_map(|s| (s.col..s.col + s.len).map(move |c| value(s.row, c + first_col)))
                .collect();
            (f, v)
        };
        let (all, expected) = on(&whole, 0);
        let ((w, wv), (e, ev)) = (on(&west, 0), on(&east, 7));
        let (wc, ec) = (vec![0u8; wv.len()], vec![0u8; ev.len()]);
        let parts = [
            Part { grid: &west, footprint: &w, class: &wc, values: &wv },
            Part { grid: &east, footprint: &e, class: &ec, values: &ev },
        ];
        let (merged, values) = merge(&parts).unwrap();
        assert!((merged.coverage_px() - all.coverage_px()).abs() < 1e-9);
        let mut scratch = Scratch::default();
        let (a, b) = (reduce(&expected, &all, &mut scratch).unwrap(), reduce(&values, &merged, &mut scratch).unwrap());
        assert!((a.mean - b.mean).abs() < 1e-9 && (a.stddev - b.stddev).abs() < 1e-9 && a.median == b.median);

        // What the preferred scene did not measure comes from the other, where it did.
        let gap = vec![Class::Nodata as u8; wv.len()];
        let none = vec![f64::NAN; wv.len()];
        let parts = [
            Part { grid: &west, footprint: &w, class: &gap, values: &none },
            Part { grid: &west, footprint: &w, class: &wc, values: &wv },
        ];
        assert_eq!(merge(&parts).unwrap().1, wv);
    }
}
