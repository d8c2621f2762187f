//! From the store's parts to the observations of parcels: one row for each parcel, index and pass, however many scenes of the
//! pass saw it ([`crate::mosaic`]).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use crate::config::Settings;
use crate::cube::layout::Source;
use crate::cube::{self, Batch, part};
use crate::engine::extraction::undigested;
use crate::engine::plan::{Plan, PlannedScene};
use crate::error::{Error, Result};
use crate::geo::coverage::Footprint;
use crate::mosaic::{self, Part, View};
use crate::record::manifest::PassAccount;
use crate::record::table::ObservationRow;
use crate::zonal::{Scratch, reduce};

/// Where a parcel's pixels are on a grid.
#[derive(Debug, Clone, Copy)]
struct Placement {
    /// Position of the batch that speaks for it.
    batch: usize,
    /// Position among the touching parcels of the batch.
    ordinal: usize,
    /// Position of the parcel.
    position: usize,
    /// Area of the whole parcel in pixels.
    whole_px: f64,
    /// Share of the parcel that lies on the grid.
    share: f64,
    /// Centre of the footprint, (column, row).
    centre: (f64, f64),
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
}

/// One observation and the scene it came from.
struct Found {
    scene: usize,
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
        Gather { settings, plan, used, root, passes, left_out: AtomicU64::new(0), merged: AtomicU64::new(0) }
    }

    /// What became of parcels that several scenes of one pass saw.
    pub fn account(&self) -> PassAccount {
        PassAccount {
            rows_left_out: self.left_out.load(Ordering::Relaxed),
            rows_merged: self.merged.load(Ordering::Relaxed),
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
        let parts: Vec<Vec<(usize, Found)>> = self
            .used
            .par_iter()
            .map(|s| {
                let scene = &self.plan.scenes[*s];
                let placed = &placements[scene.facts.grid_id.as_str()];
                let shared: [Arc<str>; 3] =
                    [&scene.scene.id, &scene.scene.sensor, &scene.facts.grid_id].map(|t| t.as_str().into());
                let mut found = Vec::new();
                for (b, batch) in self.plan.grids[&scene.facts.grid_id].batches.iter().enumerate() {
                    if batch.pixels() == 0 || !placed.values().any(|p| p.batch == b) {
                        continue;
                    }
                    let path = scene.observations_path(self.root, batch).ok_or_else(|| undigested(scene))?;
                    part::for_each_row(&path, |row| {
                        let Some(place) = placed.get(row.footprint_key).filter(|p| p.batch == b) else { return };
                        let Some(index) = names.get(row.index) else { return };
                        let local = place.position - range.start;
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
                        found.push((local, Found { scene: *s, row }));
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
            for (ordinal, (parcel, footprint)) in batch.touching().enumerate() {
                let Some(member) = grid.wanted.get(&parcel.key).filter(|m| range.contains(&m.position)) else {
                    continue;
                };
                let window = footprint.window();
                let middle = |first: u32, n: u32| f64::from(first) + 0.5 * f64::from(n);
                placed.entry(parcel.key.to_string()).or_insert(Placement {
                    batch: b,
                    ordinal,
                    position: member.position,
                    whole_px: member.whole_px,
                    share: footprint.coverage_px() / member.whole_px,
                    centre: (middle(window.col, window.cols), middle(window.row, window.rows)),
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
                    let grid = &self.plan.grids[&*f.row.grid_id].grid;
                    let p = place(f);
                    View { grid, grid_id: &f.row.grid_id, share: p.share, centre: p.centre, scene_id: &f.row.scene_id }
                })
                .collect();
            let chosen = mosaic::choose(&views);
            self.left_out.fetch_add((group.len() - chosen.len()) as u64, Ordering::Relaxed);
            let Some(best) = chosen.first() else { continue };
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

    /// Statistics of an index over the pixels of several scenes, each place once.
    fn merge(&self, members: &[(usize, Placement)], index: &str) -> Result<(f64, Option<crate::zonal::ZonalStats>)> {
        let mut read = Vec::with_capacity(members.len());
        for (s, place) in members {
            let scene = &self.plan.scenes[*s];
            let batch = &self.plan.grids[&scene.facts.grid_id].batches[place.batch];
            let (footprint, class, values) = self.parcel_pixels(scene, batch, place.ordinal, index)?;
            read.push((&scene.layout.grid, footprint, class, values));
        }
        let parts: Vec<Part> =
            read.iter().map(|(grid, footprint, class, values)| Part { grid, footprint, class, values }).collect();
        let (footprint, values) =
            mosaic::merge(&parts).ok_or_else(|| Error::Internal("scenes of one pass do not merge".into()))?;
        Ok((footprint.coverage_px(), reduce(&values, &footprint, &mut Scratch::default())))
    }

    /// Footprint, classes and index of one parcel in one scene, from the cube.
    fn parcel_pixels<'b>(
        &self,
        scene: &PlannedScene,
        batch: &'b Batch,
        ordinal: usize,
        index: &str,
    ) -> Result<(&'b Footprint, Vec<u8>, Vec<f64>)> {
        let path = scene.cube_path(self.root, batch).ok_or_else(|| undigested(scene))?;
        let lost = || Error::Internal(format!("parcel {ordinal} is not in {}", path.display()));
        let groups = cube::row_groups(batch);
        let group = groups.iter().position(|g| g.contains(&ordinal)).ok_or_else(lost)?;
        let (_, footprint) = batch.touching().nth(ordinal).ok_or_else(lost)?;
        let before = batch.touching().skip(groups[group].start).take(ordinal - groups[group].start);
        let first: usize = before.map(|(_, f)| f.pixels() as usize).sum();
        let range = first..first + footprint.pixels() as usize;
        let (pixels, _) = cube::read(&path, Some(group))?;
        let (_, source) = scene.layout.indices.iter().find(|(i, _)| i == index).ok_or_else(lost)?;
        let values = index_values(&pixels, source)[range.clone()].to_vec();
        Ok((footprint, pixels.class[range].to_vec(), values))
    }
}

/// An index over all pixels of a cube file; NaN where not clear.
pub fn index_values(pixels: &cube::Pixels, source: &Source) -> Vec<f64> {
    let n = pixels.class.len();
    let physical = |layer: &usize| {
        let (layer, samples) = &pixels.layers[*layer];
        let mut out = Vec::new();
        samples.physical(0..n, &pixels.class, layer, &mut out);
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
