//! Were the parcels traced on a shifted web map, and nobody said so?
//!
//! Then they all lie some hundred metres beside their forest, in the direction that the map's offset has there. In a clear
//! scene the ground where a parcel would lie without the offset is then greener than the ground where it lies, and greener
//! than the ground equally far away in the three other directions: the latter tells a shifted parcel from a felled one, which
//! is darker than its whole neighbourhood. Both are asked of each parcel and judged over all by the sign test (Dixon and Mood
//! 1946, Journal of the American Statistical Association 41:557-566). Neighbouring parcels are no independent witnesses, so
//! this is a suspicion, told and never acted upon.
//!
//! One scene a grid is looked at, the one with the most clear parcel pixels, in a few blocks with many parcels.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use geo::{BoundingRect, Centroid, MapCoords, MultiPolygon};

use crate::config::Settings;
use crate::cube::extract::{Effort, Stop, Targets, extract, observe};
use crate::cube::layout::{Bandpasses, Layout, Wanted, lay_out};
use crate::cube::{Batch, BatchParcel, View, part};
use crate::digest::Sha256;
use crate::engine::extraction::mask_rule;
use crate::engine::plan::{GridPlan, Plan, PlannedScene};
use crate::error::{Error, Result};
use crate::geo::coverage::lattice_footprint;
use crate::geo::crs::{Crs, LON_LAT, Transform};
use crate::geo::datum::{self, DatumShift};
use crate::parcel::{Note, Topic};

/// Parcels that must have been compared.
const MIN_PARCELS: usize = 20;
/// Chance that as many parcels or more are greener by accident, at most.
const MAX_CHANCE: f64 = 1e-3;
/// Mean gain in NDVI, at least. Our own choice: an open edge against a stand is some tenths, neighbouring stands of one forest
/// some hundredths.
const MIN_GAIN: f64 = 0.05;
/// Share of each place that must be clear.
const MIN_CLEAR: f64 = 0.9;

/// Cells of a raster that are looked at: those with the most parcels.
const CELLS: usize = 4;
/// Smallest width and height of a cell, pixels; else it is a block of the raster.
const CELL_PX: u32 = 512;
/// Parcels looked at in a cell.
const CELL_PARCELS: usize = 32;
/// Pixels of parcels looked at in a cell: a larger parcel is not looked at.
const CELL_PIXELS: u64 = 50_000;
/// No offset is larger than this, metres.
const FARTHEST_M: f64 = 1500.0;

const SHIFTS: [DatumShift; 2] = [DatumShift::Gcj02, DatumShift::Bd09];
/// Where a parcel is, and for each shift where it would be and the places in the three other directions.
const PLACES: usize = 1 + 4 * SHIFTS.len();

/// A parcel under one suspicion: NDVI there less NDVI where it is, and less that of the other directions.
#[derive(Debug, Clone, Copy)]
struct Gain {
    own: f64,
    around: f64,
}

/// What was seen of one grid.
struct Seen {
    scene: String,
    /// Parcels by shift.
    gains: [Vec<Gain>; SHIFTS.len()],
}

/// Looks at the parcels of a plan; a note where they look shifted. What cannot be read here is left to those who need it.
///
/// # Errors
/// A damaged store file, or interruption.
pub fn suspect(
    settings: &Settings,
    plan: &Plan,
    used: &[usize],
    root: &Path,
    cancel: &AtomicBool,
) -> Result<Option<Note>> {
    if settings.options.parcels.datum_shift.is_some() {
        return Ok(None);
    }
    let mut seen = Vec::new();
    for (id, grid) in &plan.grids {
        if !grid.wanted.values().any(|m| is_shiftable(plan, m.position)) {
            continue;
        }
        let Some(scene) = clearest(plan, used, id, root)? else { continue };
        seen.extend(look(settings, plan, grid, scene, cancel)?);
    }
    Ok(judge(&seen))
}

fn is_shiftable(plan: &Plan, position: usize) -> bool {
    let rect = plan.parcels.parcels[position].lon_lat.bounding_rect();
    rect.is_some_and(|r| datum::is_shifted_there(r.center()))
}

/// The scene of a grid with the most clear parcel pixels, of several the first.
fn clearest<'a>(plan: &'a Plan, used: &[usize], grid_id: &str, root: &Path) -> Result<Option<&'a PlannedScene>> {
    let mut best: Option<(u64, &PlannedScene)> = None;
    for scene in used.iter().map(|s| &plan.scenes[*s]).filter(|s| s.facts.grid_id == grid_id) {
        let mut clear = 0;
        for view in &scene.views {
            let Some(path) = scene.observations_path(root, view).filter(|p| p.exists()) else { continue };
            clear += part::read_by_class(&path)?.get("clear").copied().unwrap_or(0);
        }
        if clear > best.map_or(0, |(most, _)| most) {
            best = Some((clear, scene));
        }
    }
    Ok(best.map(|(_, scene)| scene))
}

/// NDVI at every place of the chosen parcels; `None` where the scene cannot tell.
fn look(
    settings: &Settings,
    plan: &Plan,
    grid: &GridPlan,
    scene: &PlannedScene,
    cancel: &AtomicBool,
) -> Result<Option<Seen>> {
    let wanted = Wanted {
        indices: vec!["ndvi".into()],
        pixel_m: settings.options.observe.pixel_m,
        bandpass: Bandpasses::default(),
        bands: Vec::new(),
    };
    let (Ok(layout), Ok(to_grid)) =
        (lay_out(&scene.scene, &wanted), Transform::new(&Crs(LON_LAT.to_owned()), &grid.lattice.crs))
    else {
        return Ok(None);
    };
    // With other bands than those of the observations the grid may be another; then nothing fits.
    if grid.lattice.window(&layout.grid) != Some(scene.window) {
        return Ok(None);
    }
    let mut members = Vec::new();
    for position in choose(plan, grid, scene, &layout) {
        let Some(places) = places(&plan.parcels.parcels[position].lon_lat, &to_grid) else { continue };
        let footprints: Option<Vec<_>> =
            places.iter().map(|place| lattice_footprint(place, &grid.lattice).ok().flatten()).collect();
        for footprint in footprints.into_iter().flatten() {
            // In the order of their names they stand in the batch.
            let name = format!("{:08}", members.len());
            members.push(BatchParcel::new(name.clone(), Sha256::of(name.as_bytes()), footprint));
        }
    }
    let view = Arc::new(View::new(&Arc::new(Batch::new(members)), &scene.window, |_| true));
    if view.pixels() == 0 {
        return Ok(None);
    }
    let targets = Targets::new(vec![view.clone()], scene.window);
    let rule = mask_rule(settings, &scene.scene);
    let pixels = match extract(&layout, &targets, &rule, &Effort { threads: 1, cancel }) {
        Ok((pixels, _)) => pixels,
        Err(Stop::Cancelled) => return Err(Error::Interrupted),
        Err(Stop::Fault(fault)) => {
            tracing::debug!(scene = scene.scene.id, "not looked at for shifted parcels: {}", fault.message);
            return Ok(None);
        }
    };
    let mut means: BTreeMap<usize, f64> = BTreeMap::new();
    for found in observe(&view, &pixels, &layout.indices, 1) {
        if let Some(stats) = found.stats.filter(|s| s.clear_pixels >= MIN_CLEAR * found.pixels) {
            means.insert(found.parcel, stats.mean);
        }
    }
    let mut gains: [Vec<Gain>; SHIFTS.len()] = Default::default();
    for first in (0..view.batch.parcels.len()).step_by(PLACES) {
        let at = |place: usize| means.get(&(first + place)).copied();
        for (s, gains) in gains.iter_mut().enumerate() {
            let [there, a, b, c] = [1, 2, 3, 4].map(|place| at(4 * s + place));
            if let (Some(here), Some(there), Some(a), Some(b), Some(c)) = (at(0), there, a, b, c) {
                gains.push(Gain { own: there - here, around: there - (a + b + c) / 3.0 });
            }
        }
    }
    Ok(Some(Seen { scene: scene.scene.id.clone(), gains }))
}

/// A parcel at all of its places, in the grid's system. Over a parcel the offset is one vector, to the metre.
fn places(lon_lat: &MultiPolygon<f64>, to_grid: &Transform) -> Option<Vec<MultiPolygon<f64>>> {
    let here = to_grid.polygon(lon_lat).ok()?;
    let centre = here.centroid()?.0;
    let mut all = vec![here.clone()];
    for shift in SHIFTS {
        let moved = to_grid.polygon(&shift.undo_polygon(lon_lat)).ok()?.centroid()?.0 - centre;
        // There, and the same distance a quarter, a half and three quarters of a turn away.
        for (x, y) in [(moved.x, moved.y), (-moved.y, moved.x), (-moved.x, -moved.y), (moved.y, -moved.x)] {
            all.push(here.map_coords(|c| geo::Coord { x: c.x + x, y: c.y + y }));
        }
    }
    Some(all)
}

/// Positions of parcels that lie with all of their places in one cell, of the cells with the most. By the rectangles around
/// footprints that are there already: a layer may hold very many parcels, and few are looked at.
fn choose(plan: &Plan, grid: &GridPlan, scene: &PlannedScene, layout: &Layout) -> Vec<usize> {
    let finest = layout.values.iter().find(|v| v.ratio == 1).map_or((0, 0), |v| v.block);
    let size = |block: usize| u32::try_from(block).unwrap_or(u32::MAX).max(CELL_PX);
    let (wide, high) = (size(finest.0), size(finest.1));
    let far = |pixel_m: f64| (FARTHEST_M / pixel_m).ceil() as u32;
    let (far_x, far_y) = (far(grid.lattice.pixel_x_m), far(grid.lattice.pixel_y_m));
    // Number of the cell that holds a stretch and what is near it, along one axis of the raster.
    let along = |from: u32, n: u32, far: u32, (first, length): (u32, u32), cell: u32| {
        let begin = from.checked_sub(far)?.checked_sub(first)?;
        let end = from.checked_add(n)?.checked_add(far)?.checked_sub(first)?;
        (end <= length && begin / cell == (end - 1) / cell).then_some(begin / cell)
    };
    let raster = &scene.window;
    let mut known = BTreeSet::new();
    let mut cells: BTreeMap<(u32, u32), Vec<(usize, u64)>> = BTreeMap::new();
    for parcel in grid.batches.iter().flat_map(|b| &b.parcels) {
        let Some(member) = grid.wanted.get(&parcel.key).filter(|m| known.insert(m.position)) else { continue };
        let w = &parcel.window;
        let row = along(w.row, w.rows, far_y, (raster.row, raster.rows), high);
        let col = along(w.col, w.cols, far_x, (raster.col, raster.cols), wide);
        if let (Some(row), Some(col), true) = (row, col, is_shiftable(plan, member.position)) {
            cells.entry((row, col)).or_default().push((member.position, u64::from(parcel.footprint.pixels())));
        }
    }
    let mut cells: Vec<Vec<(usize, u64)>> = cells.into_values().collect();
    cells.sort_by_key(|parcels| std::cmp::Reverse(parcels.len()));
    cells.truncate(CELLS);
    let mut chosen = Vec::new();
    for mut parcels in cells {
        // Batches differ from store to store, the answer must not.
        parcels.sort_unstable();
        let (count, mut pixels) = (parcels.len().min(CELL_PARCELS), 0);
        for (position, n) in (0..count).map(|k| parcels[k * parcels.len() / count]) {
            if pixels + n <= CELL_PIXELS {
                pixels += n;
                chosen.push(position);
            }
        }
    }
    chosen
}

/// The suspicion with the larger gain, where one holds.
fn judge(seen: &[Seen]) -> Option<Note> {
    let judged = (0..SHIFTS.len()).filter_map(|s| {
        let gains: Vec<Gain> = seen.iter().flat_map(|g| &g.gains[s]).copied().collect();
        let own: Vec<f64> = gains.iter().map(|g| g.own).collect();
        let around: Vec<f64> = gains.iter().map(|g| g.around).collect();
        (gains.len() >= MIN_PARCELS && is_gain(&own) && is_gain(&around)).then(|| (SHIFTS[s], own, around))
    });
    let (shift, own, around) = judged.max_by(|a, b| mean(&a.1).total_cmp(&mean(&b.1)))?;
    let scenes: Vec<&str> = seen.iter().map(|g| g.scene.as_str()).collect();
    let greener = own.iter().filter(|g| **g > 0.0).count();
    let (key, maps) = match shift {
        DatumShift::Gcj02 => ("gcj02", "高德, 腾讯"),
        DatumShift::Bd09 => ("bd09", "百度"),
    };
    let message = format!(
        "the parcels may lie beside their forest, as if they had been traced on a map in {} ({maps}): in {}, the ground where \
         they would lie without that offset is greener for {greener} of {} parcels looked at, by {:.3} in NDVI in the mean, and \
         by {:.3} than the ground equally far away in other directions. Nothing was moved; look at some parcels on the image, \
         and if they are shifted, set `datum_shift = \"{key}\"` under [parcels]",
        shift.name(),
        scenes.join(", "),
        own.len(),
        mean(&own),
        mean(&around)
    );
    Some(Note::new(Topic::Offset, &[], message))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Large enough in the mean, and of one sign too often for an accident.
fn is_gain(gains: &[f64]) -> bool {
    let up = gains.iter().filter(|g| **g > 0.0).count();
    let down = gains.iter().filter(|g| **g < 0.0).count();
    mean(gains) >= MIN_GAIN && chance(up + down, up) < MAX_CHANCE
}

/// Probability of `k` heads or more in `n` throws of a fair coin.
fn chance(n: usize, k: usize) -> f64 {
    // Binomial coefficients by their logarithms: 2^-n itself would vanish.
    let (mut ln_choose, mut sum) = (0.0, 0.0);
    for heads in 0..=n {
        if heads > 0 {
            ln_choose += ((n - heads + 1) as f64 / heads as f64).ln();
        }
        if heads >= k {
            sum += (ln_choose - n as f64 * std::f64::consts::LN_2).exp();
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sign_test_is_the_binomial_tail() {
        assert!((chance(10, 0) - 1.0).abs() < 1e-12);
        assert!((chance(10, 9) - 11.0 / 1024.0).abs() < 1e-12);
        assert!((chance(20, 17) - 1351.0 / 1_048_576.0).abs() < 1e-12);
        assert!(chance(3000, 1500) > 0.5 && chance(3000, 1700) < 1e-10);
    }

    fn seen(n: usize, gain: impl Fn(usize) -> Gain) -> Vec<Seen> {
        vec![Seen { scene: "s".into(), gains: [(0..n).map(gain).collect(), Vec::new()] }]
    }

    #[test]
    fn many_parcels_must_agree_in_both_ways() {
        let both = |own: f64, around: f64| move |_: usize| Gain { own, around };
        let note = judge(&seen(20, both(0.2, 0.1))).expect("a note");
        assert!(note.message.contains("datum_shift = \"gcj02\"") && note.message.contains("20 of 20"), "{note:?}");
        assert!(judge(&seen(19, both(0.2, 0.1))).is_none(), "too few");
        assert!(judge(&seen(50, both(0.04, 0.1))).is_none(), "too little");
        assert!(judge(&seen(50, both(0.2, 0.01))).is_none(), "felled parcels: greener whichever way one goes");
        let mixed = |i: usize| {
            if i.is_multiple_of(3) { Gain { own: -0.2, around: -0.2 } } else { Gain { own: 0.4, around: 0.4 } }
        };
        assert!(judge(&seen(24, mixed)).is_none(), "16 of 24 is no rule");
    }
}
