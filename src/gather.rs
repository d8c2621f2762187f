//! From the store's parts to the observations of parcels: one row for each parcel, index and pass, however many scenes of the
//! pass saw it ([`crate::mosaic`]).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rayon::prelude::*;

use crate::config::Settings;
use crate::cube::extract::{coverage_where, snapped};
use crate::cube::layout::Source;
use crate::cube::{self, part};
use crate::engine::plan::{Plan, PlannedScene};
use crate::engine::terrain;
use crate::error::{Error, Result};
use crate::imagery::mask::Class;
use crate::mosaic::{self, Part, View};
use crate::record::manifest::{CrossCheck, CrossPair, PassAccount};
use crate::record::table::ObservationRow;
use crate::zonal::{Scratch, reduce};

/// Where a parcel's pixels are on a lattice.
#[derive(Debug, Clone, Copy)]
struct Placement {
    /// Position of the batch that speaks for it.
    batch: usize,
    /// Position in the batch.
    ordinal: usize,
    /// Position of the parcel.
    position: usize,
    /// Area of the whole parcel in pixels.
    whole_px: f64,
}

/// Gathers observations.
pub struct Gather<'a> {
    settings: &'a Settings,
    plan: &'a Plan,
    used: &'a [usize],
    root: &'a Path,
    /// Pass of each used scene, by position of the scene.
    passes: BTreeMap<usize, usize>,
    left_out: AtomicU64,
    merged: AtomicU64,
    cross: Mutex<BTreeMap<Arc<str>, Differences>>,
}

/// Differences of one index between two lattices. Neither part depends on the order in which pairs come, and neither grows
/// with their number.
#[derive(Default)]
struct Differences {
    /// Pairs by absolute difference in ten-thousandths, rounded up.
    counts: BTreeMap<u64, u64>,
    largest: Option<CrossPair>,
}

impl Differences {
    const STEP: f64 = 1e-4;

    fn add(&mut self, pair: CrossPair) {
        *self.counts.entry((pair.difference.abs() / Self::STEP).ceil() as u64).or_default() += 1;
        let before = |a: &CrossPair, b: &CrossPair| {
            let names = |p: &CrossPair| (p.parcel_id.clone(), p.scene_id.clone(), p.other_scene_id.clone());
            (b.difference.abs().total_cmp(&a.difference.abs())).then_with(|| names(a).cmp(&names(b))).is_lt()
        };
        if self.largest.as_ref().is_none_or(|l| before(&pair, l)) {
            self.largest = Some(pair);
        }
    }

    fn summary(&self) -> Option<CrossCheck> {
        let pairs: u64 = self.counts.values().sum();
        let mut seen = 0;
        let median = self.counts.iter().find(|(_, n)| {
            seen += **n;
            2 * seen >= pairs
        });
        let median_difference = *median?.0 as f64 * Self::STEP;
        Some(CrossCheck { pairs, median_difference, largest: self.largest.clone()? })
    }
}

/// One observation and the scene it came from.
struct Found {
    scene: usize,
    measured_px: f64,
    row: ObservationRow,
}

impl<'a> Gather<'a> {
    /// Prepares for the scenes that came out.
    pub fn new(settings: &'a Settings, plan: &'a Plan, used: &'a [usize], root: &'a Path) -> Self {
        let families: Vec<String> =
            used.iter().map(|s| &plan.scenes[*s].scene).map(|s| format!("{}/{}", s.spec.id, s.sensor)).collect();
        let times: Vec<(&str, i64)> =
            families.iter().zip(used).map(|(f, s)| (f.as_str(), plan.scenes[*s].facts.acquired_ms)).collect();
        let passes = used.iter().copied().zip(mosaic::passes(&times)).collect();
        let (left_out, merged) = (AtomicU64::new(0), AtomicU64::new(0));
        Gather { settings, plan, used, root, passes, left_out, merged, cross: Mutex::default() }
    }

    /// What became of parcels that several scenes of one pass saw.
    pub fn account(&self) -> PassAccount {
        PassAccount {
            rows_left_out: self.left_out.load(Ordering::Relaxed),
            rows_merged: self.merged.load(Ordering::Relaxed),
            cross_checks: self.cross.lock().map_or_else(
                |_| BTreeMap::new(),
                |cross| cross.iter().filter_map(|(index, d)| Some((index.to_string(), d.summary()?))).collect(),
            ),
        }
    }

    /// Observations of a range of parcels, one list a parcel, in table order.
    ///
    /// # Errors
    /// A damaged part or cube file.
    pub fn rows(&self, range: std::ops::Range<usize>) -> Result<Vec<Vec<ObservationRow>>> {
        let parcels = &self.plan.parcels.parcels;
        let ids: Vec<Arc<str>> = parcels[range.clone()].iter().map(|p| p.id.as_str().into()).collect();
        let names: BTreeMap<&str, Arc<str>> =
            self.settings.options.observe.indices.iter().map(|i| (i.as_str(), i.as_str().into())).collect();
        let placements: BTreeMap<&str, BTreeMap<String, Placement>> =
            self.plan.grids.keys().map(|id| (id.as_str(), self.placements(id, &range))).collect();
        // Batches that hold a parcel of the range, by grid.
        let concerned: BTreeMap<&str, BTreeSet<usize>> =
            placements.iter().map(|(id, placed)| (*id, placed.values().map(|p| p.batch).collect())).collect();
        let parts: Vec<Vec<(usize, Found)>> = self
            .used
            .par_iter()
            .map(|s| {
                let scene = &self.plan.scenes[*s];
                let placed = &placements[scene.facts.grid_id.as_str()];
                let shared: [Arc<str>; 3] =
                    [&scene.scene.id, &scene.scene.sensor, &scene.facts.grid_id].map(|t| t.as_str().into());
                let mut found = Vec::new();
                for (b, view) in scene.views.iter().enumerate() {
                    if view.pixels() == 0 || !concerned[scene.facts.grid_id.as_str()].contains(&b) {
                        continue;
                    }
                    let path = scene.observations_path(self.root, view).ok_or_else(|| terrain::undigested(scene))?;
                    part::for_each_row(&path, |row| {
                        let Some(place) = placed.get(row.footprint_key).filter(|p| p.batch == b) else { return };
                        let Some(index) = names.get(row.index) else { return };
                        let local = place.position - range.start;
                        let measured_px = row.measured_px;
                        let row = ObservationRow {
                            parcel_id: ids[local].clone(),
                            scene_id: shared[0].clone(),
                            acquired_ms: scene.facts.acquired_ms,
                            sensor: shared[1].clone(),
                            grid_id: shared[2].clone(),
                            index: index.clone(),
                            pixels: row.pixels,
                            whole_px: place.whole_px,
                            stats: row.stats,
                        };
                        found.push((local, Found { scene: *s, measured_px, row }));
                    })?;
                }
                Ok(found)
            })
            .collect::<Result<_>>()?;
        let mut found: Vec<Vec<Found>> = (0..range.len()).map(|_| Vec::new()).collect();
        for (local, one) in parts.into_iter().flatten() {
            found[local].push(one);
        }
        // Placements again by parcel, for those that several scenes of a pass saw.
        let mut by_parcel: BTreeMap<(usize, &str), Placement> = BTreeMap::new();
        for (grid, placed) in &placements {
            by_parcel.extend(placed.values().map(|p| ((p.position, *grid), *p)));
        }
        found
            .into_par_iter()
            .enumerate()
            .map(|(local, rows)| {
                let mut rows = self.one_a_pass(range.start + local, rows, &by_parcel)?;
                rows.sort_by(|a, b| a.key().cmp(&b.key()));
                Ok(rows)
            })
            .collect()
    }

    /// Where the parcels of a range are on a grid, by footprint key. The first batch that holds a footprint speaks for it.
    fn placements(&self, grid_id: &str, range: &std::ops::Range<usize>) -> BTreeMap<String, Placement> {
        let grid = &self.plan.grids[grid_id];
        let mut placed = BTreeMap::new();
        for (b, batch) in grid.batches.iter().enumerate() {
            for (ordinal, parcel) in batch.parcels.iter().enumerate() {
                let Some(member) = grid.wanted.get(&parcel.key).filter(|m| range.contains(&m.position)) else {
                    continue;
                };
                placed.entry(parcel.key.to_string()).or_insert(Placement {
                    batch: b,
                    ordinal,
                    position: member.position,
                    whole_px: member.whole_px,
                });
            }
        }
        placed
    }

    /// One row for each index and pass.
    fn one_a_pass(
        &self,
        position: usize,
        rows: Vec<Found>,
        placements: &BTreeMap<(usize, &str), Placement>,
    ) -> Result<Vec<ObservationRow>> {
        let mut groups: BTreeMap<(Arc<str>, usize), Vec<Found>> = BTreeMap::new();
        for found in rows {
            groups.entry((found.row.index.clone(), self.passes[&found.scene])).or_default().push(found);
        }
        let mut out = Vec::with_capacity(groups.len());
        for ((index, _), mut group) in groups {
            if group.len() == 1 {
                out.extend(group.pop().map(|f| f.row));
                continue;
            }
            let place = |f: &Found| placements[&(position, &*f.row.grid_id)];
            let views: Vec<View> = group
                .iter()
                .map(|f| {
                    let grid = &self.plan.grids[&*f.row.grid_id];
                    let p = place(f);
                    View {
                        pixel_m2: grid.lattice.pixel_area_m2(),
                        measured: f.measured_px / p.whole_px,
                        parcel: grid.batches[p.batch].parcels[p.ordinal].window,
                        raster: self.plan.scenes[f.scene].window,
                        grid_id: &f.row.grid_id,
                        scene_id: &f.row.scene_id,
                    }
                })
                .collect();
            let chosen = mosaic::choose(&views);
            self.left_out.fetch_add((group.len() - chosen.len()) as u64, Ordering::Relaxed);
            let Some(best) = chosen.first() else { continue };
            for witness in mosaic::witnesses(&views) {
                self.compare(&group[*best].row, &group[witness].row);
            }
            let mut row = group[*best].row.clone();
            if chosen.len() > 1 {
                self.merged.fetch_add(chosen.len() as u64 - 1, Ordering::Relaxed);
                let members: Vec<(usize, Placement)> =
                    chosen.iter().map(|c| (group[*c].scene, place(&group[*c]))).collect();
                (row.pixels, row.stats) = self.merge(&members, &index)?;
            }
            out.push(row);
        }
        Ok(out)
    }

    /// Notes how far the mean on another lattice lies from the one that is used.
    fn compare(&self, used: &ObservationRow, other: &ObservationRow) {
        let least = self.settings.options.observe.min_clear_fraction;
        let (Some(ours), Some(theirs)) = (&used.stats, &other.stats) else { return };
        if used.seen_share() < least || other.seen_share() < least {
            return;
        }
        let pair = CrossPair {
            difference: theirs.mean - ours.mean,
            parcel_id: used.parcel_id.to_string(),
            scene_id: used.scene_id.to_string(),
            grid_id: used.grid_id.to_string(),
            other_scene_id: other.scene_id.to_string(),
            other_grid_id: other.grid_id.to_string(),
        };
        if let Ok(mut cross) = self.cross.lock() {
            cross.entry(used.index.clone()).or_default().add(pair);
        }
    }

    /// Statistics of an index over the pixels of several scenes of one lattice, each place once.
    fn merge(&self, members: &[(usize, Placement)], index: &str) -> Result<(f64, Option<crate::zonal::ZonalStats>)> {
        let parts = members
            .iter()
            .map(|(s, place)| self.parcel_pixels(&self.plan.scenes[*s], place, index))
            .collect::<Result<Vec<Part>>>()?;
        let whole = mosaic::merge(parts);
        let Some((s, place)) = members.first() else { return Ok((0.0, None)) };
        let grid = &self.plan.grids[&self.plan.scenes[*s].facts.grid_id];
        let footprint = &grid.batches[place.batch].parcels[place.ordinal].footprint;
        let pixels = coverage_where(footprint, &whole.class, |c| c != Class::Outside as u8);
        let stats = reduce(&whole.values, footprint, &mut Scratch::default());
        Ok((pixels, snapped(stats, pixels)))
    }

    /// Classes and index of one parcel in one scene, from the cube.
    fn parcel_pixels(&self, scene: &PlannedScene, place: &Placement, index: &str) -> Result<Part> {
        let view = &scene.views[place.batch];
        let lost = || Error::Internal(format!("parcel {} is not in the cube of {}", place.position, scene.scene.id));
        let at = view.parcels().position(|(ordinal, _)| ordinal == place.ordinal).ok_or_else(lost)?;
        let groups = view.row_groups();
        let group = groups.iter().position(|g| g.contains(&at)).ok_or_else(lost)?;
        let size = |(_, p): (usize, &cube::BatchParcel)| p.footprint.pixels() as usize;
        let first: usize = view.parcels().skip(groups[group].start).take(at - groups[group].start).map(size).sum();
        let range = first..first + view.batch.parcels[place.ordinal].footprint.pixels() as usize;
        let pixels = terrain::read(self.plan, scene, self.root, view, Some(group))?;
        let (_, source) = scene.layout.indices.iter().find(|(i, _)| i == index).ok_or_else(lost)?;
        let values = index_values(&pixels, source)[range.clone()].to_vec();
        Ok(Part { class: pixels.class[range].to_vec(), values })
    }
}

/// An index over all pixels of a cube file; NaN where not clear.
pub fn index_values(pixels: &cube::Pixels, source: &Source) -> Vec<f64> {
    let n = pixels.class.len();
    let physical = |layer: &usize| {
        let mut out = Vec::new();
        pixels.physical(0..n, *layer, &mut out);
        out
    };
    match source {
        Source::Given(layer) => physical(layer),
        Source::Computed(spec, layers) => {
            let bands: Vec<Vec<f64>> = layers.iter().map(physical).collect();
            let slices: Vec<&[f64]> = bands.iter().map(Vec::as_slice).collect();
            let mut out = vec![0.0; n];
            spec.compute(&slices, &mut out);
            out
        }
    }
}
