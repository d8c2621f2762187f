//! One look at one parcel is one observation. Tiles overlap, a parcel may lie across a tile border or in two map zones, and
//! one acquisition may come as two products of a tile: each pixel of a parcel must count once.
//!
//! Scenes of one sensor and product family that follow each other within [`PASS_SECONDS`] are one **pass**: a place is seen
//! at most once in it. Of the scenes of a pass that see a parcel, the best is the one with the finest pixels, then the one
//! that measured the largest share of the parcel, then the one with the parcel deepest inside its raster, then the first by
//! name. Where the best measured the whole parcel, its observation stands alone. Otherwise the others on the same lattice
//! complete it pixel by pixel: in order of preference, the first that measured anything there. Scenes of another lattice
//! (the neighbouring map zone) complete nothing, since that would take resampling; where they measured the whole parcel too,
//! they are witnesses: the run record tells how far their means lie from those that were used.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::geo::grid::Window;
use crate::imagery::mask::Class;

/// Longest pause within a pass. Neighbouring tiles are seconds apart, the next orbit an hour and a half.
const PASS_SECONDS: i64 = 600;
/// Share of a parcel from which it counts as measured whole.
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
    /// Area of a pixel, square metres.
    pub pixel_m2: f64,
    /// Share of the parcel where the scene measured anything, cloud included.
    pub measured: f64,
    /// Rectangle around the parcel on the lattice.
    pub parcel: Window,
    /// Rectangle of the scene's raster on the lattice.
    pub raster: Window,
    /// Name of the lattice.
    pub grid_id: &'a str,
    /// Name of the scene.
    pub scene_id: &'a str,
}

impl View<'_> {
    /// Smallest distance of the parcel's centre from an edge of the raster, as a share of its size.
    fn depth(&self) -> f64 {
        let along = |at: u32, n: u32, from: u32, size: u32| {
            let at = (f64::from(at) + 0.5 * f64::from(n) - f64::from(from)) / f64::from(size);
            at.min(1.0 - at)
        };
        let (p, r) = (&self.parcel, &self.raster);
        along(p.col, p.cols, r.col, r.cols).min(along(p.row, p.rows, r.row, r.rows))
    }

    fn is_whole(&self) -> bool {
        self.measured >= WHOLE
    }

    /// Preferred first.
    fn order(&self, other: &View) -> Ordering {
        let share = |v: &View| if v.is_whole() { 1.0 } else { v.measured };
        (self.pixel_m2.total_cmp(&other.pixel_m2))
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
    if best.is_whole() {
        order.truncate(1);
    }
    // What measured nothing has nothing to add, but the best stays even then: the parcel was in view.
    order.retain(|v| views[*v].grid_id == best.grid_id);
    let mut kept = order.split_off(1);
    kept.retain(|v| views[*v].measured > 0.0);
    order.extend(kept);
    order
}

/// Views of other lattices that the one that stands alone can be compared with: of each lattice the preferred view, where
/// both measured the whole parcel. They add nothing to the observation; two resamplings of one look ought to agree.
pub fn witnesses(views: &[View]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..views.len()).filter(|v| views[*v].is_whole()).collect();
    order.sort_by(|a, b| views[*a].order(&views[*b]));
    // A view of coarser pixels may be the only whole one: then nothing stands alone.
    let Some(best) = choose(views).first().copied().filter(|b| order.contains(b)) else { return Vec::new() };
    let mut lattices = BTreeSet::from([views[best].grid_id]);
    order.retain(|v| lattices.insert(views[*v].grid_id));
    order
}

/// One scene's pixels of a parcel, in footprint order.
pub struct Part {
    /// Clear-sky class of each pixel.
    pub class: Vec<u8>,
    /// Index of each pixel, NaN where not clear.
    pub values: Vec<f64>,
}

/// Completes the first part with the others, pixel by pixel; all are of one footprint.
pub fn merge(parts: Vec<Part>) -> Part {
    let mut parts = parts.into_iter();
    let Some(mut whole) = parts.next() else { return Part { class: Vec::new(), values: Vec::new() } };
    for part in parts {
        let places = whole.class.iter_mut().zip(&mut whole.values);
        for ((class, value), (other, theirs)) in places.zip(part.class.into_iter().zip(part.values)) {
            // Anything measured beats nothing measured, and nothing measured beats beyond the raster.
            let known = Class::was_measured(*class);
            if !known && (Class::was_measured(other) || *class == Class::Outside as u8) {
                (*class, *value) = (other, theirs);
            }
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODATA: u8 = Class::Nodata as u8;
    const OUTSIDE: u8 = Class::Outside as u8;

    fn view<'a>(col: u32, cols: u32, grid_id: &'a str, scene_id: &'a str, measured: f64) -> View<'a> {
        let parcel = Window { row: 40, col: 90, rows: 10, cols: 20 };
        View { pixel_m2: 100.0, measured, parcel, raster: Window { row: 0, col, rows: 100, cols }, grid_id, scene_id }
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
    fn the_scene_that_measured_the_whole_stands_alone() {
        // Both whole: the one with the parcel in its middle.
        assert_eq!(choose(&[view(80, 100, "z", "edge", 1.0), view(50, 100, "z", "middle", 1.0)]), [1]);
        // Deep inside a raster, but in its empty corner: the one that measured it.
        assert_eq!(choose(&[view(50, 100, "z", "middle", 0.0), view(80, 100, "z", "edge", 1.0)]), [1]);
        // None whole: scenes of one lattice complete each other, those of another zone do not.
        let views = [view(0, 100, "z", "west", 0.5), view(95, 100, "y", "zone", 0.4), view(100, 100, "z", "east", 0.6)];
        assert_eq!(choose(&views), [2, 0]);
        // Nothing measured anywhere: still one view.
        assert_eq!(choose(&[view(0, 100, "z", "a", 0.0), view(0, 100, "z", "b", 0.0)]), [0]);
    }

    #[test]
    fn whole_views_of_other_lattices_are_witnesses() {
        let own = view(50, 100, "z", "middle", 1.0);
        let views =
            [view(80, 100, "y", "edge", 1.0), own, view(60, 100, "y", "inner", 1.0), view(60, 100, "z", "b", 1.0)];
        assert_eq!(choose(&views), [1]);
        assert_eq!(witnesses(&views), [2], "one of a lattice, none of the own");
        assert!(witnesses(&[own, view(60, 100, "y", "part", 0.9)]).is_empty(), "a part is no witness");
        let part = view(50, 100, "z", "middle", 0.5);
        let coarse = View { pixel_m2: 900.0, ..view(60, 100, "y", "coarse", 1.0) };
        assert!(witnesses(&[part, coarse]).is_empty(), "a part needs none");
    }

    #[test]
    fn each_place_counts_once_and_what_was_measured_wins() {
        let nan = f64::NAN;
        let merged = merge(vec![
            Part { class: vec![0, NODATA, OUTSIDE, OUTSIDE, 3, OUTSIDE], values: vec![0.1, nan, nan, nan, nan, nan] },
            Part { class: vec![0, 0, 0, NODATA, 0, OUTSIDE], values: vec![0.9, 0.2, 0.3, nan, 0.5, nan] },
        ]);
        // The cloud of the preferred scene stays: the other looked at the same moment and was masked less well.
        assert_eq!(merged.class, [0, 0, 0, NODATA, 3, OUTSIDE]);
        assert_eq!(&merged.values[..3], &[0.1, 0.2, 0.3]);
        assert!(merged.values[3..].iter().all(|v| v.is_nan()));
    }
}
