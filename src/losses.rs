//! From the pixels of a parcel through time to its disturbances: reads the cube for the scenes of both windows of the two-date
//! rule, stacks them on their common lattice, and turns disturbed pixels into dated rows with an outline.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use ndarray::Array2;
use rayon::prelude::*;

use crate::analyse::ParcelLosses;
use crate::cube::{self, BatchParcel};
use crate::detect::two_date::{Params, WindowValues, detect};
use crate::engine::extraction::undigested;
use crate::engine::plan::{GridPlan, Member, Plan};
use crate::error::{Error, Result};
use crate::gather::index_values;
use crate::geo::crs::{Crs, LON_LAT, Transform};
use crate::geo::outline::outline;
use crate::record::table::DisturbanceRow;

/// Pixels that are stacked at once, give or take a parcel.
const PIXELS_AT_ONCE: usize = 1 << 17;

/// Looks for losses.
pub struct Losses<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Positions of the scenes that came out.
    pub used: &'a [usize],
    /// Output folder.
    pub root: &'a Path,
    /// Set to stop.
    pub cancel: &'a AtomicBool,
    /// The rule.
    pub params: &'a Params,
}

/// A scene of one of the windows: its position, and 0 for before, 1 for after.
type Dated = (usize, usize);

/// Where a parcel's changes are looked for: lattice and position of the batch.
type Place<'a> = (&'a str, usize);
/// Order of preference: pixel area, then minus the number of scenes.
type Rank = (f64, i64);

/// Parcels of one batch that are stacked together.
struct Block<'a> {
    grid: &'a GridPlan,
    batch: usize,
    /// Positions in the batch, ascending.
    parcels: Vec<usize>,
    scenes: &'a [Dated],
}

impl Losses<'_> {
    /// Losses by parcel id. Parcels that no pair of windows saw are not in it.
    ///
    /// # Errors
    /// A damaged cube file, or interruption.
    pub fn all(&self) -> Result<BTreeMap<String, ParcelLosses>> {
        let scenes: BTreeMap<&str, Vec<Dated>> =
            self.plan.grids.keys().map(|id| (id.as_str(), self.scenes_on(id))).collect();
        let chosen = self.lattice_of_parcels(&scenes);
        let mut blocks: Vec<Block> = Vec::new();
        for (id, grid) in &self.plan.grids {
            for (b, batch) in grid.batches.iter().enumerate() {
                let mut open = Vec::new();
                let mut pixels = 0;
                for (ordinal, parcel) in batch.parcels.iter().enumerate() {
                    let member = grid.wanted.get(&parcel.key);
                    if member.and_then(|m| chosen.get(&m.position)) != Some(&(id.as_str(), b)) {
                        continue;
                    }
                    open.push(ordinal);
                    pixels += parcel.footprint.pixels() as usize;
                    if pixels >= PIXELS_AT_ONCE {
                        let parcels = std::mem::take(&mut open);
                        blocks.push(Block { grid, batch: b, parcels, scenes: &scenes[id.as_str()] });
                        pixels = 0;
                    }
                }
                if !open.is_empty() {
                    blocks.push(Block { grid, batch: b, parcels: open, scenes: &scenes[id.as_str()] });
                }
            }
        }
        let found: Vec<Vec<(String, ParcelLosses)>> =
            blocks.par_iter().map(|b| self.block(b)).collect::<Result<_>>()?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Scenes of both windows that can give the index, on one lattice, by time.
    fn scenes_on(&self, grid_id: &str) -> Vec<Dated> {
        let here = self.used.iter().map(|s| (*s, &self.plan.scenes[*s])).filter(|(_, s)| s.facts.grid_id == grid_id);
        here.filter(|(_, s)| s.layout.indices.iter().any(|(i, _)| *i == self.params.index))
            .filter_map(|(n, s)| Some((n, self.params.window(s.scene.date())?)))
            .collect()
    }

    /// Which lattice and batch a parcel's changes are looked for on. It must have scenes in both windows that see the parcel;
    /// of these the finest pixels, then the most scenes, then the first by name.
    fn lattice_of_parcels(&self, scenes: &BTreeMap<&str, Vec<Dated>>) -> BTreeMap<usize, Place<'_>> {
        let mut best: BTreeMap<usize, (Rank, Place)> = BTreeMap::new();
        for (id, grid) in &self.plan.grids {
            // Scenes before and after by (batch, position in the batch).
            let mut seen: BTreeMap<(usize, usize), [i64; 2]> = BTreeMap::new();
            for (s, window) in &scenes[id.as_str()] {
                for (b, view) in self.plan.scenes[*s].views.iter().enumerate() {
                    view.parcels().for_each(|(ordinal, _)| seen.entry((b, ordinal)).or_default()[*window] += 1);
                }
            }
            for ((b, ordinal), [before, after]) in seen {
                let parcel = &grid.batches[b].parcels[ordinal];
                let Some(Member { position, .. }) = grid.wanted.get(&parcel.key) else { continue };
                let rank = (grid.lattice.pixel_area_m2(), -(before + after));
                let better = best.get(position).is_none_or(|(known, _)| rank < *known);
                if before > 0 && after > 0 && better {
                    best.insert(*position, (rank, (id.as_str(), b)));
                }
            }
        }
        best.into_iter().map(|(position, (_, place))| (position, place)).collect()
    }

    /// Losses of the parcels of one block.
    fn block(&self, block: &Block) -> Result<Vec<(String, ParcelLosses)>> {
        let batch = &block.grid.batches[block.batch];
        // First pixel of each parcel in the stack.
        let mut first = BTreeMap::new();
        let mut total = 0;
        for ordinal in &block.parcels {
            first.insert(*ordinal, total);
            total += batch.parcels[*ordinal].footprint.pixels() as usize;
        }
        // One row a scene: the index of every pixel of the block, NaN where not clear.
        let mut stack = Array2::from_elem((block.scenes.len(), total), f64::NAN);
        for (k, (s, _)) in block.scenes.iter().enumerate() {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let scene = &self.plan.scenes[*s];
            let Some((_, source)) = scene.layout.indices.iter().find(|(i, _)| *i == self.params.index) else {
                continue;
            };
            let view = &scene.views[block.batch];
            let members: Vec<(usize, &BatchParcel)> = view.parcels().collect();
            for (group, range) in view.row_groups().into_iter().enumerate() {
                let members = &members[range];
                if !members.iter().any(|(ordinal, _)| first.contains_key(ordinal)) {
                    continue;
                }
                let path = scene.cube_path(self.root, view).ok_or_else(|| undigested(scene))?;
                let (pixels, _) = cube::read(&path, Some(group))?;
                let values = index_values(&pixels, source);
                let mut at = 0;
                for (ordinal, parcel) in members {
                    let n = parcel.footprint.pixels() as usize;
                    if let Some(to) = first.get(ordinal) {
                        let row = values[at..at + n].iter().enumerate();
                        row.for_each(|(i, v)| stack[(k, to + i)] = *v);
                    }
                    at += n;
                }
            }
        }
        let to_lon_lat = Transform::new(&block.grid.lattice.crs, &Crs(LON_LAT.to_owned())).map_err(Error::Internal)?;
        block
            .parcels
            .iter()
            .map(|ordinal| {
                let parcel = &batch.parcels[*ordinal];
                let losses = self.parcel(block, parcel, &stack, first[ordinal], &to_lon_lat)?;
                Ok((parcel.id.clone(), losses))
            })
            .collect()
    }

    /// Losses of one parcel, whose pixels begin at column `first` of the stack.
    fn parcel(
        &self,
        block: &Block,
        parcel: &BatchParcel,
        stack: &Array2<f64>,
        first: usize,
        to_lon_lat: &Transform,
    ) -> Result<ParcelLosses> {
        let footprint = &parcel.footprint;
        let columns = || first..first + footprint.pixels() as usize;
        let pick = |window: usize, column: usize| -> Vec<f64> {
            let of_window = block.scenes.iter().enumerate().filter(|(_, (_, w))| *w == window);
            of_window.map(|(k, _)| stack[(k, column)]).filter(|v| v.is_finite()).collect()
        };
        let values = WindowValues {
            before: columns().map(|c| pick(0, c)).collect(),
            after: columns().map(|c| pick(1, c)).collect(),
        };
        let Some(member) = block.grid.wanted.get(&parcel.key) else { return Ok(ParcelLosses::default()) };
        let weights: Vec<f64> = footprint.weights().collect();
        let seen =
            weights.iter().enumerate().filter(|(i, _)| !values.before[*i].is_empty() && !values.after[*i].is_empty());
        let seen_px = seen.fold(0.0, |sum, (_, w)| sum + w);
        let mut out = ParcelLosses { seen_share: seen_px / member.whole_px, rows: Vec::new() };
        let Some(loss) = detect(&values, &weights, self.params) else { return Ok(out) };
        let saw = |k: usize| columns().zip(&loss.disturbed).any(|(c, d)| *d && stack[(k, c)].is_finite());
        let dated = || block.scenes.iter().enumerate();
        let before = dated().rev().find(|(k, (_, w))| *w == 0 && saw(*k));
        let after = dated().find(|(k, (_, w))| *w == 1 && saw(*k));
        let (Some((_, (before, _))), Some((_, (after, _)))) = (before, after) else { return Ok(out) };
        let (before, after) = (&self.plan.scenes[*before].scene, &self.plan.scenes[*after].scene);
        // Pixels to hectares by the parcel's geodesic area: a projection's pixels are not hectares.
        let ha_per_pixel = self.plan.parcels.parcels[member.position].area_ha / member.whole_px;
        let w = parcel.window;
        let pixels = footprint.spans().iter().flat_map(|s| (s.col..s.col + s.len).map(|c| (s.row - w.row, c - w.col)));
        let lost: Vec<(u32, u32)> = pixels.zip(&loss.disturbed).filter(|(_, d)| **d).map(|(p, _)| p).collect();
        let outline = outline(&lost, &block.grid.lattice.grid(&w));
        out.rows.push(DisturbanceRow {
            parcel_id: parcel.id.as_str().into(),
            event_id: format!("two_date-{}-{}", self.params.index, after.date()),
            index: self.params.index.clone(),
            method: "two_date",
            detected_on: after.date(),
            date_lower: before.date(),
            date_upper: after.date(),
            magnitude: loss.magnitude,
            area_ha: loss.pixels * ha_per_pixel,
            area_se_ha: loss.pixels_se.map(|p| p * ha_per_pixel),
            pixels: loss.pixels,
            probability: loss.probability,
            before_scene_id: before.id.clone(),
            after_scene_id: after.id.clone(),
            geometry: to_lon_lat.polygon(&outline).map_err(Error::Internal)?,
        });
        Ok(out)
    }
}
