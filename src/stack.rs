//! Pixels of parcels through time, from the cube: one value a pixel and pass of a sensor, however many scenes of the pass saw
//! it. Parcels are read in blocks that fit into memory; what a block holds never changes a result.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::civil::Date;
use ndarray::Array3;
use rayon::prelude::*;

use crate::cube::{self, BatchParcel, Pixels};
use crate::detect::{PixelStack, Want};
use crate::engine::plan::{GridPlan, Member, Plan, PlannedScene};
use crate::engine::terrain;
use crate::error::{Error, Result};
use crate::gather::index_values;
use crate::imagery::mask::Class;
use crate::mosaic;
use crate::units::days;

/// Fewest and most pixels read at once, give or take a parcel. The most is a row group of a cube file.
const BLOCK_PIXELS: (usize, usize) = (1 << 14, 1 << 18);
/// Share of the memory budget that the values of a block may take.
const BUDGET_SHARE: f64 = 0.4;

/// Pixels that are turned from time-major to pixel-major at once.
const TILE_PIXELS: usize = 16;

/// One pass of a sensor over one lattice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Day of the first of its scenes.
    pub date: Date,
    /// Positions of its scenes, by id.
    pub scenes: Vec<usize>,
}

/// Parcels of one batch that are read together.
pub struct Block<'a> {
    /// Name of the lattice.
    pub grid_id: &'a str,
    /// The lattice.
    pub grid: &'a GridPlan,
    /// Position of the batch.
    pub batch: usize,
    /// Positions in the batch, ascending.
    pub parcels: Vec<usize>,
    /// Its time axis.
    pub looks: &'a [Look],
}

/// Where the pixels of parcels through time are.
pub struct Stacks<'a> {
    plan: &'a Plan,
    root: &'a Path,
    cancel: &'a AtomicBool,
    wants: Vec<Want>,
    /// Passes of each lattice that can give every layer, by time.
    looks: BTreeMap<&'a str, Vec<Look>>,
}

/// Order of preference of a lattice for a parcel: too few looks, not whole in any raster, pixel area, minus the number of
/// looks.
type Rank = (bool, bool, f64, i64);

impl<'a> Stacks<'a> {
    /// Over the scenes that came out (`used`, positions in the plan), for these layers.
    pub fn new(plan: &'a Plan, used: &[usize], root: &'a Path, cancel: &'a AtomicBool, wants: Vec<Want>) -> Self {
        let mut by_grid: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for s in used {
            let scene = &plan.scenes[*s];
            if wants.iter().all(|w| has(&scene.layout, w)) {
                by_grid.entry(scene.facts.grid_id.as_str()).or_default().push(*s);
            }
        }
        let looks = by_grid
            .into_iter()
            .map(|(grid, scenes)| {
                let family = |s: &usize| {
                    let scene = &plan.scenes[*s].scene;
                    format!("{}/{}", scene.spec.id, scene.sensor)
                };
                let families: Vec<String> = scenes.iter().map(family).collect();
                let times: Vec<(&str, i64)> = families
                    .iter()
                    .zip(&scenes)
                    .map(|(f, s)| (f.as_str(), plan.scenes[*s].facts.acquired_ms))
                    .collect();
                let mut passes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
                for (pass, s) in mosaic::passes(&times).into_iter().zip(&scenes) {
                    passes.entry(pass).or_default().push(*s);
                }
                let mut looks: Vec<(i64, Look)> = passes
                    .into_values()
                    .map(|mut scenes| {
                        scenes.sort_by(|a, b| plan.scenes[*a].scene.id.cmp(&plan.scenes[*b].scene.id));
                        let first = scenes.iter().min_by_key(|s| plan.scenes[**s].facts.acquired_ms);
                        let ms = first.map_or(0, |s| plan.scenes[*s].facts.acquired_ms);
                        let date = crate::analyse::date_of_ms(ms);
                        (ms, Look { date, scenes })
                    })
                    .collect();
                let id = |l: &Look| l.scenes.first().map(|s| plan.scenes[*s].scene.id.as_str());
                looks.sort_by(|(a, l), (b, m)| a.cmp(b).then_with(|| id(l).cmp(&id(m))));
                (grid, looks.into_iter().map(|(_, look)| look).collect())
            })
            .collect();
        Stacks { plan, root, cancel, wants, looks }
    }

    /// Cuts the parcels into blocks. Each parcel is on one lattice: of those whose days are `enough`, one that shows it whole,
    /// then the finest, then the one with the most looks, then the first by name; where none is enough, the same of all. `memory_bytes` bounds what a block
    /// takes, give or take one parcel.
    pub fn blocks(&self, enough: impl Fn(&[i32]) -> bool, memory_bytes: f64) -> Vec<Block<'_>> {
        let chosen = self.lattice_of_parcels(enough);
        let mut blocks = Vec::new();
        for (grid_id, looks) in &self.looks {
            let Some(grid) = self.plan.grids.get(*grid_id) else { continue };
            let bytes_a_pixel = (8 * looks.len().max(1) * self.wants.len()) as f64;
            let at_once = (BUDGET_SHARE * memory_bytes / bytes_a_pixel) as usize;
            let at_once = at_once.clamp(BLOCK_PIXELS.0, BLOCK_PIXELS.1);
            for (b, batch) in grid.batches.iter().enumerate() {
                let block = |parcels| Block { grid_id, grid, batch: b, parcels, looks };
                let (mut open, mut pixels) = (Vec::new(), 0);
                for (ordinal, parcel) in batch.parcels.iter().enumerate() {
                    let position = grid.wanted.get(&parcel.key).map(|m| m.position);
                    if position.and_then(|p| chosen.get(&p)) != Some(&(*grid_id, b)) {
                        continue;
                    }
                    open.push(ordinal);
                    pixels += parcel.footprint.pixels() as usize;
                    // Closed as row groups of cube files are, so that with memory for it each is read once.
                    if pixels >= at_once {
                        blocks.push(block(std::mem::take(&mut open)));
                        pixels = 0;
                    }
                }
                if !open.is_empty() {
                    blocks.push(block(open));
                }
            }
        }
        blocks
    }

    /// Lattice and batch of each parcel, by position of the parcel. The first batch that holds a footprint speaks for it.
    fn lattice_of_parcels(&self, enough: impl Fn(&[i32]) -> bool) -> BTreeMap<usize, (&'a str, usize)> {
        let mut best: BTreeMap<usize, (Rank, (&str, usize))> = BTreeMap::new();
        for (grid_id, looks) in &self.looks {
            let Some(grid) = self.plan.grids.get(*grid_id) else { continue };
            // Days on which a parcel is in view, and whether any raster holds all of it.
            let mut seen: BTreeMap<(usize, usize), (Vec<i32>, bool)> = BTreeMap::new();
            for look in looks {
                let day = days(look.date);
                for s in &look.scenes {
                    let scene = &self.plan.scenes[*s];
                    for (b, view) in scene.views.iter().enumerate() {
                        for (ordinal, parcel) in view.parcels() {
                            let (list, whole) = seen.entry((b, ordinal)).or_default();
                            if list.last() != Some(&day) {
                                list.push(day);
                            }
                            *whole |= scene.window.holds(&parcel.window);
                        }
                    }
                }
            }
            for ((b, ordinal), (list, whole)) in seen {
                let parcel = &grid.batches[b].parcels[ordinal];
                let Some(Member { position, .. }) = grid.wanted.get(&parcel.key) else { continue };
                let rank = (!enough(&list), !whole, grid.lattice.pixel_area_m2(), -(list.len() as i64));
                if best.get(position).is_none_or(|(known, _)| rank < *known) {
                    best.insert(*position, (rank, (*grid_id, b)));
                }
            }
        }
        best.into_iter().map(|(position, (_, place))| (position, place)).collect()
    }

    /// Reads a block from the look of number `from` on.
    ///
    /// # Errors
    /// A damaged cube file, or interruption.
    pub fn read(&self, block: &Block, from: usize) -> Result<Values> {
        let batch = &block.grid.batches[block.batch];
        let mut first = BTreeMap::new();
        let mut total = 0;
        for ordinal in &block.parcels {
            first.insert(*ordinal, total);
            total += batch.parcels[*ordinal].footprint.pixels() as usize;
        }
        let looks = &block.looks[from.min(block.looks.len())..];
        let layers = self.wants.len();
        let mut data = vec![f64::NAN; looks.len() * layers * total];
        let rows = data.par_chunks_mut((layers * total).max(1)).zip(looks);
        rows.map(|(row, look)| self.look(block, look, &first, total, row)).collect::<Result<()>>()?;
        let shown = self.first_looks(block);
        let names = self.wants.iter().map(Want::name).collect();
        let dates: Vec<Date> = block.looks.iter().map(|l| l.date).collect();
        Ok(Values { first, total, layers: names, from, dates, data, shown })
    }

    /// The first look of each parcel of a block whose raster reaches it, by position in the batch.
    fn first_looks(&self, block: &Block) -> BTreeMap<usize, usize> {
        let mut left: BTreeSet<usize> = block.parcels.iter().copied().collect();
        let mut shown = BTreeMap::new();
        for (l, look) in block.looks.iter().enumerate() {
            if left.is_empty() {
                break;
            }
            let views = look.scenes.iter().map(|s| &self.plan.scenes[*s].views[block.batch]);
            for (ordinal, _) in views.flat_map(|v| v.parcels()) {
                if left.remove(&ordinal) {
                    shown.insert(ordinal, l);
                }
            }
        }
        shown
    }

    /// One pass: `row` is (layer, pixel). The first of its scenes that measured anything at a place has the say there, cloud
    /// included, as in [`mosaic::merge`].
    fn look(
        &self,
        block: &Block,
        look: &Look,
        first: &BTreeMap<usize, usize>,
        total: usize,
        row: &mut [f64],
    ) -> Result<()> {
        let several = look.scenes.len() > 1;
        let mut decided = vec![false; if several { total } else { 0 }];
        for s in &look.scenes {
            let scene = &self.plan.scenes[*s];
            self.pixels(
                scene,
                block.batch,
                |ordinal| first.contains_key(&ordinal),
                |ordinal, at, n, pixels, layers| {
                    let Some(to) = first.get(&ordinal) else { return };
                    for i in 0..n {
                        if several {
                            if decided[to + i] || !Class::was_measured(pixels.class[at + i]) {
                                continue;
                            }
                            decided[to + i] = true;
                        }
                        // A pixel counts with every layer or with none.
                        if layers.iter().all(|l| l[at + i].is_finite()) {
                            for (l, values) in layers.iter().enumerate() {
                                row[l * total + to + i] = values[at + i];
                            }
                        }
                    }
                },
            )?;
        }
        Ok(())
    }

    /// Visits the parcels of a scene that `wanted` takes: position in the batch, first pixel and number of pixels within the
    /// row group, the group, and its layers.
    fn pixels(
        &self,
        scene: &PlannedScene,
        batch: usize,
        wanted: impl Fn(usize) -> bool,
        mut visit: impl FnMut(usize, usize, usize, &Pixels, &[Vec<f64>]),
    ) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let view = &scene.views[batch];
        let members: Vec<(usize, &BatchParcel)> = view.parcels().collect();
        for (group, range) in view.row_groups().into_iter().enumerate() {
            let members = &members[range];
            if !members.iter().any(|(ordinal, _)| wanted(*ordinal)) {
                continue;
            }
            let pixels = terrain::read(self.plan, scene, self.root, view, Some(group))?;
            let layers: Vec<Vec<f64>> = self.wants.iter().map(|w| values_of(&pixels, &scene.layout, w)).collect();
            let mut at = 0;
            for (ordinal, parcel) in members {
                let n = parcel.footprint.pixels() as usize;
                if wanted(*ordinal) {
                    visit(*ordinal, at, n, &pixels, &layers);
                }
                at += n;
            }
        }
        Ok(())
    }

    /// The scene of a look that shows these pixels of a parcel: of those whose raster reaches the parcel, the one in which most
    /// of them are clear; of equals the first by id.
    ///
    /// # Errors
    /// A damaged cube file, or interruption.
    pub fn scene(&self, block: &Block, look: usize, ordinal: usize, members: &[usize]) -> Result<Option<usize>> {
        let Some(look) = block.looks.get(look) else { return Ok(None) };
        let shows = |s: &&usize| self.plan.scenes[**s].views[block.batch].parcels().any(|(o, _)| o == ordinal);
        let candidates: Vec<usize> = look.scenes.iter().filter(shows).copied().collect();
        if candidates.len() < 2 {
            return Ok(candidates.first().copied());
        }
        let mut best: Option<(usize, usize)> = None;
        for s in candidates {
            let mut clear = 0;
            self.pixels(
                &self.plan.scenes[s],
                block.batch,
                |o| o == ordinal,
                |_, at, _, pixels, _| {
                    clear = members.iter().filter(|m| pixels.class[at + **m] == 0).count();
                },
            )?;
            if best.is_none_or(|(most, _)| clear > most) {
                best = Some((clear, s));
            }
        }
        Ok(best.map(|(_, s)| s))
    }
}

/// True where a scene can give a layer.
fn has(layout: &cube::layout::Layout, want: &Want) -> bool {
    match want {
        Want::Index(id) => layout.indices.iter().any(|(i, _)| i == id),
        Want::Band(band) => layout.band(*band).is_some(),
    }
}

/// A layer over all pixels of a cube file.
fn values_of(pixels: &Pixels, layout: &cube::layout::Layout, want: &Want) -> Vec<f64> {
    let source = match want {
        Want::Index(id) => layout.indices.iter().find(|(i, _)| i == id).map(|(_, source)| source.clone()),
        Want::Band(band) => layout.band(*band).map(cube::layout::Source::Given),
    };
    source.map_or_else(Vec::new, |s| index_values(pixels, &s))
}

/// Values of a block: time, layer, pixel.
pub struct Values {
    first: BTreeMap<usize, usize>,
    total: usize,
    layers: Vec<String>,
    from: usize,
    dates: Vec<Date>,
    data: Vec<f64>,
    /// First look of each parcel, by position in the batch.
    shown: BTreeMap<usize, usize>,
}

impl Block<'_> {
    /// Days since 1970-01-01 of its looks.
    pub fn days(&self) -> Vec<i32> {
        self.looks.iter().map(|l| days(l.date)).collect()
    }
}

impl Values {
    /// Dates of all looks.
    pub fn dates(&self) -> &[Date] {
        &self.dates
    }

    /// Days since 1970-01-01 of all looks.
    pub fn days(&self) -> Vec<i32> {
        self.dates.iter().map(|d| days(*d)).collect()
    }

    /// Stack of a parcel of `pixels` pixels and so many hectares over all looks; NaN before the look that was read first.
    pub fn parcel(&self, ordinal: usize, pixels: usize, area_ha: f64) -> PixelStack {
        let n = self.dates.len();
        let first = self.first.get(&ordinal).copied().unwrap_or(0);
        let mut values = vec![f64::NAN; self.layers.len() * pixels * n];
        let look = self.layers.len() * self.total;
        // From time-major to pixel-major, a few pixels at once: whole cache lines are read, and few are written to.
        for (l, layer) in values.chunks_exact_mut((pixels * n).max(1)).enumerate() {
            for (t, tile) in layer.chunks_mut(TILE_PIXELS * n.max(1)).enumerate() {
                let at = l * self.total + first + t * TILE_PIXELS;
                let wide = tile.len() / n.max(1);
                for k in 0..n.saturating_sub(self.from) {
                    let row = &self.data[k * look + at..][..wide];
                    row.iter().enumerate().for_each(|(i, v)| tile[i * n + self.from + k] = *v);
                }
            }
        }
        let values = Array3::from_shape_vec((self.layers.len(), pixels, n), values).unwrap_or_default();
        let first_look = self.shown.get(&ordinal).copied().unwrap_or(0);
        PixelStack { days: self.days(), layers: self.layers.clone(), values, first_look, area_ha }
    }
}
