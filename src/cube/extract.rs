//! One scene to its pixels: every raster block that a footprint touches is decoded once, its pixels are scattered to the
//! footprints, and statistics are made of them.
//!
//! The mask comes first: band blocks that hold no clear parcel pixel are never decoded. A scene either comes out whole or
//! not at all. The result does not depend on how many threads share the work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::layout::{LayerRaster, Layout, Source};
use super::{CubeLayer, Factors, Lighting, Pixels, Samples, View};
use crate::error::{Reason, SceneFault};
use crate::gdal_io::{Blocks, Readable, SampleType};
use crate::geo::coverage::Footprint;
use crate::geo::grid::Window;
use crate::imagery::mask::{Class, MaskTable, Neighbourhood};
use crate::zonal::{Scratch, ZonalStats, reduce};

/// Why a scene did not come out.
#[derive(Debug)]
pub enum Stop {
    /// The scene cannot be used.
    Fault(SceneFault),
    /// Somebody asked to stop.
    Cancelled,
}

impl From<SceneFault> for Stop {
    fn from(fault: SceneFault) -> Self {
        Stop::Fault(fault)
    }
}

/// A run of grid pixels inside one raster block.
#[derive(Debug, Clone, Copy)]
struct Segment {
    /// Row of the raster pixel within the block.
    row: u32,
    /// First grid column, counted from the block's left edge in grid pixels.
    col: u32,
    /// Grid pixels.
    len: u32,
    /// Position of the first pixel among all footprint pixels.
    first: u32,
}

/// Which footprint pixels lie in which block of a raster.
pub struct BlockIndex {
    /// (column, row) of each touched block, in row order.
    blocks: Vec<(u32, u32)>,
    /// Segments of block i are `segments[starts[i]..starts[i + 1]]`.
    starts: Vec<u32>,
    segments: Vec<Segment>,
}

/// Shape of a raster as far as the index depends on it: size, block size, ratio.
type Shape = ((usize, usize), (usize, usize), u32);

/// What a scene is extracted for: the views of several batches, one after the other, and where on the lattice the scene's
/// raster lies.
pub struct Targets {
    views: Vec<Arc<View>>,
    window: Window,
    /// First pixel of each view, and the total at the end.
    offsets: Vec<usize>,
    indices: Mutex<BTreeMap<Shape, Arc<BlockIndex>>>,
}

impl Targets {
    /// Targets of these views, in this order, for rasters that cover `window` of the lattice.
    pub fn new(views: Vec<Arc<View>>, window: Window) -> Self {
        let mut offsets = vec![0];
        for view in &views {
            offsets.push(offsets[offsets.len() - 1] + view.pixels());
        }
        Targets { views, window, offsets, indices: Mutex::new(BTreeMap::new()) }
    }

    /// Pixels of all footprints.
    pub fn pixels(&self) -> usize {
        self.offsets[self.offsets.len() - 1]
    }

    /// The views.
    pub fn views(&self) -> &[Arc<View>] {
        &self.views
    }

    /// The index for a raster of this shape: built once, shared by all scenes of the window.
    fn index(&self, raster: &LayerRaster) -> Arc<BlockIndex> {
        let shape = (raster.size, raster.block, raster.ratio);
        let known = |m: &BTreeMap<Shape, Arc<BlockIndex>>| m.get(&shape).cloned();
        if let Some(index) = self.indices.lock().ok().and_then(|m| known(&m)) {
            return index;
        }
        let built = Arc::new(self.build(shape));
        if let Ok(mut map) = self.indices.lock() {
            return map.entry(shape).or_insert(built).clone();
        }
        built
    }

    /// The parts of all spans that lie within the raster, in its own columns and rows: `take(row, col, len, first)`.
    fn clipped(&self, mut take: impl FnMut(u32, u32, u32, u32)) {
        let w = &self.window;
        let mut first = 0u32;
        for (_, parcel) in self.views.iter().flat_map(|v| v.parcels()) {
            for span in parcel.footprint.spans() {
                let (start, end) = (span.col.max(w.col), (span.col + span.len).min(w.col + w.cols));
                if (w.row..w.row + w.rows).contains(&span.row) && start < end {
                    take(span.row - w.row, start - w.col, end - start, first + (start - span.col));
                }
                first += span.len;
            }
        }
    }

    fn build(&self, ((cols, _), (block_cols, block_rows), ratio): Shape) -> BlockIndex {
        let across = cols.div_ceil(block_cols.max(1)) as u32;
        let (width, height) = (block_cols.max(1) as u32 * ratio, block_rows.max(1) as u32 * ratio);
        let mut found: Vec<(u32, Segment)> = Vec::new();
        self.clipped(|row, start, len, mut first| {
            let (mut col, end) = (start, start + len);
            while col < end {
                let block = col / width;
                let stop = end.min((block + 1) * width);
                let segment = Segment { row: (row % height) / ratio, col: col - block * width, len: stop - col, first };
                found.push(((row / height) * across + block, segment));
                first += stop - col;
                col = stop;
            }
        });
        // Stable: within a block, footprint order.
        found.sort_by_key(|(block, _)| *block);
        let mut index =
            BlockIndex { blocks: Vec::new(), starts: Vec::new(), segments: Vec::with_capacity(found.len()) };
        let mut last = None;
        for (block, segment) in found {
            if last != Some(block) {
                index.blocks.push((block % across, block / across));
                index.starts.push(index.segments.len() as u32);
                last = Some(block);
            }
            index.segments.push(segment);
        }
        index.starts.push(index.segments.len() as u32);
        index
    }
}

impl BlockIndex {
    fn segments(&self, block: usize) -> &[Segment] {
        &self.segments[self.starts[block] as usize..self.starts[block + 1] as usize]
    }
}

/// How masks are to be read.
pub struct MaskRule {
    /// Value to class.
    pub table: MaskTable,
    /// Pixels within this distance of cloud, cirrus or shadow are masked as well; 0 for none.
    pub dilate_m: f64,
    /// Bit of the saturation raster that says: hidden by terrain.
    pub occlusion_bit: Option<u8>,
}

/// What one extraction did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Account {
    /// Footprint pixels by clear-sky class, in class order (a pixel that two parcels touch counts twice).
    pub by_class: Vec<u64>,
    /// Blocks decoded, over all rasters.
    pub blocks_decoded: u64,
    /// Band blocks that were touched but held no clear pixel and were not decoded.
    pub blocks_spared: u64,
}

/// Threads inside one scene: 1 when scenes run side by side, more when there are fewer scenes than threads.
pub struct Effort<'a> {
    /// Block groups decoded side by side.
    pub threads: usize,
    /// Set when somebody asked to stop.
    pub cancel: &'a AtomicBool,
}

/// Reads a scene's footprint pixels.
///
/// # Errors
/// [`Stop::Fault`] when a raster cannot be decoded, [`Stop::Cancelled`] when `effort.cancel` is set.
pub fn extract(
    layout: &Layout,
    targets: &Targets,
    rule: &MaskRule,
    effort: &Effort,
) -> Result<(Pixels, Account), Stop> {
    let n = targets.pixels();
    let mut account = Account { by_class: vec![0; Class::ALL.len()], ..Account::default() };
    let mut class = match &layout.mask {
        Some(mask) => read_mask(mask, targets, rule, effort, &mut account)?,
        None => {
            let mut class = vec![Class::Outside as u8; n];
            targets.clipped(|_, _, len, first| class[first as usize..(first + len) as usize].fill(Class::Clear as u8));
            class
        }
    };
    let wanted_bits = layout.values.iter().filter_map(|v| v.asset.saturation_bit).fold(0u16, |bits, b| bits | 1 << b)
        | rule.occlusion_bit.map_or(0, |b| 1 << b);
    let mut saturation = None;
    if let (Some(raster), true) = (&layout.saturation, wanted_bits != 0) {
        let Samples::U16(bits) = read_layer(raster, SampleType::U16, 0.0, targets, &class, effort, &mut account)?
        else {
            let message = format!("{}: found samples that are no bits, expected whole numbers", raster.asset.name);
            return Err(SceneFault::new(Reason::UnreadableAsset, message).into());
        };
        if let Some(bit) = rule.occlusion_bit {
            for (class, value) in class.iter_mut().zip(&bits) {
                if *class == Class::Clear as u8 && value >> bit & 1 == 1 {
                    *class = Class::Occluded as u8;
                }
            }
        }
        if bits.iter().any(|b| b & wanted_bits != 0) {
            saturation = Some(bits);
        }
    }
    let mut layers = Vec::with_capacity(layout.values.len());
    for raster in &layout.values {
        let filler = raster.filler();
        let mut samples = read_layer(raster, raster.sample, filler, targets, &class, effort, &mut account)?;
        if let (Some(bits), Some(bit)) = (&saturation, raster.asset.saturation_bit)
            && let Samples::U16(values) = &mut samples
        {
            for (value, bits) in values.iter_mut().zip(bits) {
                if bits >> bit & 1 == 1 {
                    *value = filler as u16;
                }
            }
        }
        layers.push((CubeLayer::of(raster), samples));
    }
    for class in &class {
        account.by_class[usize::from(*class)] += 1;
    }
    Ok((Pixels { class, layers, factors: Factors::default(), lighting: Lighting::default() }, account))
}

/// Part of a block list for one worker, with its own handle on the raster.
fn chunks(blocks: &[usize], threads: usize) -> impl IndexedParallelIterator<Item = &[usize]> {
    // A few chunks a thread even out blocks of unequal cost; each opens the raster once.
    blocks.par_chunks(blocks.len().div_ceil(threads.max(1) * 2).max(1))
}

fn window(raster: &LayerRaster, (col, row): (u32, u32)) -> ((usize, usize), (usize, usize)) {
    let at = (col as usize * raster.block.0, row as usize * raster.block.1);
    (at, ((raster.size.0 - at.0).min(raster.block.0), (raster.size.1 - at.1).min(raster.block.1)))
}

fn check(effort: &Effort) -> Result<(), Stop> {
    if effort.cancel.load(Ordering::Relaxed) { Err(Stop::Cancelled) } else { Ok(()) }
}

/// Decodes blocks and hands each, with its width, to `take`: one at a time, in no order. Copying is nothing beside decoding,
/// so threads that wait for each other there lose little.
fn for_blocks<T: Readable>(
    raster: &LayerRaster,
    blocks: &[usize],
    index: &BlockIndex,
    effort: &Effort,
    take: impl FnMut(usize, &[T], usize) + Send,
) -> Result<(), Stop> {
    let take = Mutex::new(take);
    let decode = |blocks: &[usize]| -> Result<(), Stop> {
        let handle = Blocks::open(&raster.asset.path)?;
        let mut buffer: Vec<T> = Vec::new();
        for block in blocks {
            check(effort)?;
            let (col, row) = index.blocks[*block];
            let (_, size) = window(raster, (col, row));
            handle.read((col as usize, row as usize), size, &mut buffer)?;
            let mut take = take.lock().unwrap_or_else(PoisonError::into_inner);
            take(*block, &buffer, size.0);
        }
        Ok(())
    };
    if blocks.is_empty() {
        return Ok(());
    }
    if effort.threads <= 1 || blocks.len() < 2 {
        return decode(blocks);
    }
    // All are tried, so that the fault that is told is the first in block order however the work was shared.
    let done: Vec<Result<(), Stop>> = chunks(blocks, effort.threads).map(decode).collect();
    done.into_iter().collect()
}

/// The samples of a segment, each raster pixel as often as it spans grid pixels. `spread` is a buffer for these.
fn samples_of<'a, T: Readable>(
    s: &Segment,
    block: &'a [T],
    width: usize,
    ratio: u32,
    spread: &'a mut Vec<T>,
) -> &'a [T] {
    let row = &block[s.row as usize * width..][..width];
    let (start, n, ratio) = (s.col as usize, s.len as usize, ratio as usize);
    if ratio == 1 {
        return &row[start..start + n];
    }
    let pixels = &row[start / ratio..(start + n).div_ceil(ratio)];
    spread.resize(pixels.len() * ratio, T::default());
    if ratio == 2 {
        // The usual case, without an inner loop.
        spread.as_chunks_mut::<2>().0.iter_mut().zip(pixels).for_each(|(to, v)| *to = [*v; 2]);
    } else {
        spread.chunks_exact_mut(ratio).zip(pixels).for_each(|(to, v)| to.fill(*v));
    }
    &spread[start % ratio..][..n]
}

/// Samples of one raster over the footprint pixels; the filler where the class is not clear.
fn read_layer(
    raster: &LayerRaster,
    sample: SampleType,
    filler: f64,
    targets: &Targets,
    class: &[u8],
    effort: &Effort,
    account: &mut Account,
) -> Result<Samples, Stop> {
    fn go<T: Readable>(
        raster: &LayerRaster,
        targets: &Targets,
        class: &[u8],
        effort: &Effort,
        account: &mut Account,
        out: &mut [T],
    ) -> Result<(), Stop> {
        let index = targets.index(raster);
        let is_clear =
            |s: &Segment| class[s.first as usize..(s.first + s.len) as usize].contains(&(Class::Clear as u8));
        let blocks: Vec<usize> = (0..index.blocks.len()).filter(|b| index.segments(*b).iter().any(is_clear)).collect();
        account.blocks_decoded += blocks.len() as u64;
        account.blocks_spared += (index.blocks.len() - blocks.len()) as u64;
        let mut spread = Vec::new();
        for_blocks(raster, &blocks, &index, effort, |block, samples: &[T], width| {
            for s in index.segments(block) {
                let range = s.first as usize..(s.first + s.len) as usize;
                let values = samples_of(s, samples, width, raster.ratio, &mut spread);
                for ((o, v), c) in out[range.clone()].iter_mut().zip(values).zip(&class[range]) {
                    *o = if *c == Class::Clear as u8 { *v } else { *o };
                }
            }
        })
    }
    let mut samples = Samples::filled(sample, filler, targets.pixels());
    match &mut samples {
        Samples::U16(out) => go(raster, targets, class, effort, account, out)?,
        Samples::I16(out) => go(raster, targets, class, effort, account, out)?,
        Samples::F32(out) => go(raster, targets, class, effort, account, out)?,
    }
    Ok(samples)
}

/// Clear-sky class of every footprint pixel.
fn read_mask(
    raster: &LayerRaster,
    targets: &Targets,
    rule: &MaskRule,
    effort: &Effort,
    account: &mut Account,
) -> Result<Vec<u8>, Stop> {
    let mut class = vec![Class::Outside as u8; targets.pixels()];
    let index = targets.index(raster);
    if rule.dilate_m <= 0.0 {
        let blocks: Vec<usize> = (0..index.blocks.len()).collect();
        account.blocks_decoded += blocks.len() as u64;
        let mut spread = Vec::new();
        for_blocks(raster, &blocks, &index, effort, |block, samples: &[u16], width| {
            for s in index.segments(block) {
                let values = samples_of(s, samples, width, raster.ratio, &mut spread);
                for (o, v) in class[s.first as usize..].iter_mut().zip(values) {
                    *o = rule.table.class(*v);
                }
            }
        })?;
        return Ok(class);
    }

    // Neighbours count: decode the touched blocks and those within reach, into one rectangle around them.
    let pixel_m = raster.pixel_m;
    let reach = ((rule.dilate_m / pixel_m.0).ceil() as usize, (rule.dilate_m / pixel_m.1).ceil() as usize);
    let around = BlockIndex::around(&index, raster, reach);
    if around.blocks.is_empty() {
        return Ok(class);
    }
    let (min_col, max_col) = around.blocks.iter().fold((u32::MAX, 0), |(a, b), (c, _)| (a.min(*c), b.max(*c)));
    let (min_row, max_row) = around.blocks.iter().fold((u32::MAX, 0), |(a, b), (_, r)| (a.min(*r), b.max(*r)));
    let (left, top) = (min_col as usize * raster.block.0, min_row as usize * raster.block.1);
    let cols = ((max_col as usize + 1) * raster.block.0).min(raster.size.0) - left;
    let rows = ((max_row as usize + 1) * raster.block.1).min(raster.size.1) - top;
    let mut dense = vec![Class::Nodata as u8; cols * rows];
    let blocks: Vec<usize> = (0..around.blocks.len()).collect();
    account.blocks_decoded += blocks.len() as u64;
    for_blocks(raster, &blocks, &around, effort, |block, samples: &[u16], width| {
        let (at, _) = window(raster, around.blocks[block]);
        for (r, line) in samples.chunks_exact(width).enumerate() {
            let to = &mut dense[(at.1 - top + r) * cols + at.0 - left..][..width];
            to.iter_mut().zip(line).for_each(|(o, v)| *o = rule.table.class(*v));
        }
    })?;
    check(effort)?;
    let neighbours = Neighbourhood::new(&dense, cols);
    for block in 0..index.blocks.len() {
        let (at, _) = window(raster, index.blocks[block]);
        for s in index.segments(block) {
            let row = at.1 + s.row as usize - top;
            for i in 0..s.len {
                let col = at.0 + ((s.col + i) / raster.ratio) as usize - left;
                let own = dense[row * cols + col];
                let masked = own == Class::Clear as u8 && neighbours.near(row, col, rule.dilate_m, pixel_m);
                class[(s.first + i) as usize] = if masked { Class::Dilated as u8 } else { own };
            }
        }
    }
    Ok(class)
}

impl BlockIndex {
    /// Blocks within `reach` pixels of the touched blocks, without segments.
    fn around(index: &BlockIndex, raster: &LayerRaster, reach: (usize, usize)) -> BlockIndex {
        let across = raster.size.0.div_ceil(raster.block.0) as u32;
        let down = raster.size.1.div_ceil(raster.block.1) as u32;
        let (dx, dy) = (reach.0.div_ceil(raster.block.0) as u32, reach.1.div_ceil(raster.block.1) as u32);
        let mut blocks: Vec<(u32, u32)> = Vec::new();
        for (col, row) in &index.blocks {
            for r in row.saturating_sub(dy)..=(row + dy).min(down - 1) {
                for c in col.saturating_sub(dx)..=(col + dx).min(across - 1) {
                    blocks.push((c, r));
                }
            }
        }
        blocks.sort_by_key(|(c, r)| (*r, *c));
        blocks.dedup();
        let starts = vec![0; blocks.len() + 1];
        BlockIndex { blocks, starts, segments: Vec::new() }
    }
}

/// Statistics of one index over one parcel in one scene.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Position of the parcel in its batch.
    pub parcel: usize,
    /// Position of the index in the layout.
    pub index: usize,
    /// Sum of the coverage fractions within the scene's raster.
    pub pixels: f64,
    /// Of these, where anything was measured, clear or not.
    pub measured_px: f64,
    /// Statistics; `None` when no pixel was clear.
    pub stats: Option<ZonalStats>,
}

/// Buffers that one thread reuses from parcel to parcel.
#[derive(Default)]
struct Buffers {
    bands: Vec<Vec<f64>>,
    index: Vec<f64>,
    scratch: Scratch,
}

/// Statistics of every index over every parcel of a view. `pixels` holds this view alone.
pub fn observe(view: &View, pixels: &Pixels, indices: &[(String, Source)], threads: usize) -> Vec<Observed> {
    let mut start = 0;
    let parcels: Vec<(usize, &Footprint, usize)> = view
        .parcels()
        .map(|(position, parcel)| {
            let first = start;
            start += parcel.footprint.pixels() as usize;
            (position, &parcel.footprint, first)
        })
        .collect();
    let one = |buffers: &mut Buffers, (parcel, footprint, first): &(usize, &Footprint, usize)| {
        let range = *first..first + footprint.pixels() as usize;
        observe_parcel(*parcel, footprint, range, pixels, indices, buffers)
    };
    let found: Vec<Vec<Observed>> = if threads > 1 {
        parcels.par_iter().with_min_len(16).map_init(Buffers::default, one).collect()
    } else {
        let mut buffers = Buffers::default();
        parcels.iter().map(|p| one(&mut buffers, p)).collect()
    };
    found.into_iter().flatten().collect()
}

/// Sum of the coverage fractions of the pixels whose class passes; exactly the footprint's own when all do.
pub fn coverage_where(footprint: &Footprint, class: &[u8], passes: impl Fn(u8) -> bool) -> f64 {
    if class.iter().all(|c| passes(*c)) {
        return footprint.coverage_px();
    }
    footprint.weights().zip(class).filter(|(_, c)| passes(**c)).fold(0.0, |sum, (w, _)| sum + w)
}

/// Statistics with the count of clear pixels equal to the count of pixels where all of them are clear: the two sums are
/// made in different orders, and a share must not exceed 1 for that.
pub fn snapped(stats: Option<ZonalStats>, pixels: f64) -> Option<ZonalStats> {
    stats.map(|mut s| {
        if s.clear_pixels > pixels * (1.0 - 1e-12) {
            s.clear_pixels = pixels;
        }
        s
    })
}

fn observe_parcel(
    parcel: usize,
    footprint: &Footprint,
    range: std::ops::Range<usize>,
    pixels: &Pixels,
    indices: &[(String, Source)],
    buffers: &mut Buffers,
) -> Vec<Observed> {
    let class = &pixels.class[range.clone()];
    let in_raster = coverage_where(footprint, class, |c| c != Class::Outside as u8);
    let measured_px = coverage_where(footprint, class, Class::was_measured);
    let any_clear = class.contains(&(Class::Clear as u8));
    if any_clear {
        buffers.bands.resize_with(pixels.layers.len(), Vec::new);
        for (layer, band) in buffers.bands.iter_mut().enumerate() {
            pixels.physical(range.clone(), layer, band);
        }
    }
    let Buffers { bands, index, scratch } = buffers;
    indices
        .iter()
        .enumerate()
        .map(|(i, (_, source))| {
            let stats = any_clear
                .then(|| match source {
                    Source::Given(layer) => reduce(&bands[*layer], footprint, scratch),
                    Source::Computed(spec, layers) => {
                        let inputs: Vec<&[f64]> = layers.iter().map(|l| bands[*l].as_slice()).collect();
                        index.resize(range.len(), 0.0);
                        spec.compute(&inputs, index);
                        reduce(index, footprint, scratch)
                    }
                })
                .flatten();
            Observed { parcel, index: i, pixels: in_raster, measured_px, stats: snapped(stats, in_raster) }
        })
        .collect()
}

/// Splits the pixels of all targets into those of each view.
pub fn split(pixels: Pixels, targets: &Targets) -> Vec<Pixels> {
    if targets.views.len() == 1 {
        return vec![pixels];
    }
    targets
        .offsets
        .windows(2)
        .map(|w| Pixels {
            class: pixels.class[w[0]..w[1]].to_vec(),
            layers: pixels
                .layers
                .iter()
                .map(|(layer, samples)| {
                    let part = match samples {
                        Samples::U16(v) => Samples::U16(v[w[0]..w[1]].to_vec()),
                        Samples::I16(v) => Samples::I16(v[w[0]..w[1]].to_vec()),
                        Samples::F32(v) => Samples::F32(v[w[0]..w[1]].to_vec()),
                    };
                    (layer.clone(), part)
                })
                .collect(),
            // They come with the views.
            factors: Factors::default(),
            lighting: Lighting::default(),
        })
        .collect()
}
