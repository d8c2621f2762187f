//! The parcel cube: for every scene, the values of the footprint pixels alone. Decoded once, kept for good.
//!
//! A **batch** is a set of parcels on one lattice ([`crate::geo::Lattice`]) with their footprints, kept in
//! `footprint-HASH.parquet`; it is what a cube file is about. A **view** is the part of a batch that a scene's raster
//! touches. A **cube file** holds, for one scene and one batch, one row a parcel of the view: its pixels in footprint order (by
//! row, then column) as little-endian blobs, digital numbers as they were read, and a clear-sky class a pixel. Digital
//! numbers of pixels that are not clear are the filler: blocks without a clear parcel pixel are never decoded. The file's
//! metadata says how digital numbers become reflectance.
//!
//! Where slopes are corrected, a **relief** file ([`relief`]) beside the footprints holds how the ground lies under each of
//! their pixels, and a JSON file of the scene the C of each layer. Cube files do not depend on these two: other elevations or
//! other parcels decode nothing again.
//!
//! Names are digests of everything the content depends on, so a file that is there is right.

pub mod extract;
pub mod layout;
pub mod part;
pub mod relief;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, BinaryBuilder, RecordBatch, StringArray, UInt32Array};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::columnar::{self, Profile, Reader, column, field};
use crate::digest::Sha256;
use crate::error::{Error, Result};
use crate::gdal_io::SampleType;
use crate::geo::coverage::{Footprint, Span};
use crate::geo::grid::Window;
use crate::imagery::Calibration;
use crate::imagery::terrain::Lit;
use layout::LayerRaster;

/// Raise when footprints change for the same parcel and grid.
const FOOTPRINT_VERSION: u32 = 2;
/// Raise when a cube file changes for the same inputs.
pub const CUBE_VERSION: u32 = 2;
/// Pixels a row group holds at least, except the last: the unit in which pixels are read through time.
const ROW_GROUP_PIXELS: usize = 1 << 18;

/// Pixels a new batch holds at most, give or take one parcel: what one scene needs in memory follows from it.
const BATCH_PIXELS: usize = 1 << 24;

/// What identifies a parcel's footprint on a grid.
pub fn footprint_key(parcel: &Sha256, grid_id: &str) -> Sha256 {
    Sha256::of(format!("footprint/{FOOTPRINT_VERSION}/{parcel}/{grid_id}").as_bytes())
}

/// One parcel of a batch.
#[derive(Debug, Clone)]
pub struct BatchParcel {
    /// Parcel id.
    pub id: String,
    /// Identity of the footprint.
    pub key: Sha256,
    /// All of its pixels, in rows and columns of the lattice.
    pub footprint: Footprint,
    /// Rectangle around them.
    pub window: Window,
}

impl BatchParcel {
    /// A parcel with its footprint.
    pub fn new(id: String, key: Sha256, footprint: Footprint) -> Self {
        let window = footprint.window();
        BatchParcel { id, key, footprint, window }
    }
}

/// Parcels on one lattice.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Identity: the footprints it holds.
    pub digest: Sha256,
    /// Sorted by id, then key.
    pub parcels: Vec<BatchParcel>,
}

/// The parcels of a batch that a raster touches, and their pixels one parcel after the other, those beyond the raster
/// included.
#[derive(Debug, Clone)]
pub struct View {
    /// The batch.
    pub batch: Arc<Batch>,
    /// Identity: the footprints it holds.
    pub digest: Sha256,
    /// Positions in the batch, ascending.
    members: Vec<u32>,
    /// Pixels of all members.
    pixels: usize,
}

impl View {
    /// The parcels of a batch that have a pixel within a window of the lattice and that `wants` takes.
    pub fn new(batch: &Arc<Batch>, window: &Window, wants: impl Fn(&BatchParcel) -> bool) -> Self {
        let touches = |p: &BatchParcel| {
            let row = |s: &Span| Window { row: s.row, col: s.col, rows: 1, cols: s.len };
            p.window.meets(window) && p.footprint.spans().iter().any(|s| row(s).meets(window))
        };
        let found = batch.parcels.iter().zip(0u32..).filter(|(p, _)| wants(p) && touches(p));
        let members: Vec<u32> = found.map(|(_, i)| i).collect();
        let parcels = || members.iter().map(|m| &batch.parcels[*m as usize]);
        let pixels = parcels().map(|p| p.footprint.pixels() as usize).sum();
        let digest = Sha256::of(parcels().map(|p| p.key.to_string()).collect::<String>().as_bytes());
        View { batch: batch.clone(), digest, members, pixels }
    }

    /// Its parcels, with their positions in the batch.
    pub fn parcels(&self) -> impl Iterator<Item = (usize, &BatchParcel)> {
        self.members.iter().map(|m| (*m as usize, &self.batch.parcels[*m as usize]))
    }

    /// Pixels of all its parcels.
    pub fn pixels(&self) -> usize {
        self.pixels
    }

    /// How its parcels are cut into row groups, as ranges of its own order: the unit in which pixels are read back.
    pub fn row_groups(&self) -> Vec<std::ops::Range<usize>> {
        let mut groups = Vec::new();
        let (mut start, mut size) = (0, 0);
        for (n, (_, parcel)) in self.parcels().enumerate() {
            size += parcel.footprint.pixels() as usize;
            if size >= ROW_GROUP_PIXELS {
                groups.push(start..n + 1);
                (start, size) = (n + 1, 0);
            }
        }
        if self.members.len() > start {
            groups.push(start..self.members.len());
        }
        groups
    }
}

impl Batch {
    /// A batch of these parcels.
    pub fn new(mut parcels: Vec<BatchParcel>) -> Self {
        parcels.sort_by(|a, b| (&a.id, a.key).cmp(&(&b.id, b.key)));
        let keys: String = parcels.iter().map(|p| p.key.to_string()).collect();
        Batch { digest: Sha256::of(keys.as_bytes()), parcels }
    }

    /// File name.
    pub fn file_name(&self) -> String {
        format!("footprint-{}.parquet", self.digest.short())
    }

    fn schema() -> SchemaRef {
        columnar::schema(vec![
            field("parcel_id", DataType::Utf8, false, "1", "parcel"),
            field("key", DataType::Utf8, false, "1", "digest of parcel, grid and algorithm"),
            field("coverage_px", DataType::Float64, false, "pixel", "sum of coverage fractions"),
            field(
                "spans",
                DataType::Binary,
                false,
                "1",
                "runs of touched pixels: row, column, length as little-endian u32",
            ),
            field(
                "partial",
                DataType::Binary,
                false,
                "1",
                "pixels covered in part: position in the footprint as little-endian u32, fraction as f64; all others are 1",
            ),
        ])
    }

    /// Writes the footprints to the grid's folder.
    ///
    /// # Errors
    /// The file system's answer.
    pub fn write(&self, folder: &Path, grid_id: &str) -> Result<PathBuf> {
        let path = folder.join(self.file_name());
        let (mut spans, mut partial) = (BinaryBuilder::new(), BinaryBuilder::new());
        let mut coverage = Vec::with_capacity(self.parcels.len());
        for parcel in &self.parcels {
            let (mut s, mut p) = (Vec::new(), Vec::new());
            for span in parcel.footprint.spans() {
                s.extend([span.row, span.col, span.len].iter().flat_map(|v| v.to_le_bytes()));
            }
            for (position, fraction) in parcel.footprint.partial() {
                p.extend(position.to_le_bytes());
                p.extend(fraction.to_le_bytes());
            }
            coverage.push(parcel.footprint.coverage_px());
            spans.append_value(s);
            partial.append_value(p);
        }
        let schema = Self::schema();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(self.parcels.iter().map(|p| &p.id))),
            Arc::new(StringArray::from_iter_values(self.parcels.iter().map(|p| p.key.to_string()))),
            Arc::new(arrow::array::Float64Array::from(coverage)),
            Arc::new(spans.finish()),
            Arc::new(partial.finish()),
        ];
        let batch = columnar::batch(&schema, columns);
        let metadata =
            [("lintan.version", env!("CARGO_PKG_VERSION").to_owned()), ("lintan.grid_id", grid_id.to_owned())];
        columnar::write(&path, &schema, [batch], &metadata, Profile::Table)?;
        Ok(path)
    }

    /// Reads a batch back.
    ///
    /// # Errors
    /// A damaged file.
    pub fn read(path: &Path) -> Result<Self> {
        let damaged =
            |found: String| Error::Integrity { path: path.to_path_buf(), found, expected: "a footprint".into() };
        let mut parcels = Vec::new();
        for batch in Reader::open(path)?.read(None, None)? {
            let ids: &StringArray = column(&batch, "parcel_id", path)?;
            let keys: &StringArray = column(&batch, "key", path)?;
            let spans: &BinaryArray = column(&batch, "spans", path)?;
            let partial: &BinaryArray = column(&batch, "partial", path)?;
            for i in 0..batch.num_rows() {
                let u32_at = |b: &[u8]| b.try_into().map(u32::from_le_bytes).unwrap_or_default();
                let s: Vec<Span> = spans
                    .value(i)
                    .chunks_exact(12)
                    .map(|c| Span { row: u32_at(&c[..4]), col: u32_at(&c[4..8]), len: u32_at(&c[8..]) })
                    .collect();
                let p: Vec<(u32, f64)> = partial
                    .value(i)
                    .chunks_exact(12)
                    .map(|c| (u32_at(&c[..4]), c[4..].try_into().map(f64::from_le_bytes).unwrap_or(f64::NAN)))
                    .collect();
                let footprint = Footprint::from_parts(s, p).map_err(damaged)?;
                let key = serde_json::from_value(serde_json::Value::String(keys.value(i).to_owned()))
                    .map_err(|e| damaged(e.to_string()))?;
                parcels.push(BatchParcel::new(ids.value(i).to_owned(), key, footprint));
            }
        }
        Ok(Batch::new(parcels))
    }
}

/// Batches that together hold every wanted footprint.
pub struct Found {
    /// From the store, in name order.
    pub known: Vec<Batch>,
    /// To be written.
    pub new: Vec<Batch>,
    /// Footprints that cannot be made, and why.
    pub failed: Vec<(Sha256, String)>,
}

/// Finds or makes every wanted footprint of a lattice: the batches in the folder that hold some, then new batches of what is
/// left. `wanted` maps keys to parcel ids; `compute` makes the footprint of a key.
///
/// # Errors
/// A damaged batch file.
pub fn batches(
    folder: &Path,
    wanted: &BTreeMap<Sha256, String>,
    compute: impl Fn(&Sha256) -> std::result::Result<Footprint, String> + Sync,
) -> Result<Found> {
    use rayon::prelude::*;
    let mut files: Vec<PathBuf> = match std::fs::read_dir(folder) {
        Ok(entries) => entries.filter_map(|e| e.ok().map(|e| e.path())).collect(),
        Err(_) => Vec::new(),
    };
    files.retain(|f| {
        let name = f.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with("footprint-") && name.ends_with(".parquet")
    });
    files.sort();
    let mut left: BTreeSet<Sha256> = wanted.keys().copied().collect();
    let mut known = Vec::new();
    for file in files {
        let batch = Batch::read(&file)?;
        let before = left.len();
        for parcel in &batch.parcels {
            left.remove(&parcel.key);
        }
        if left.len() < before {
            known.push(batch);
        }
    }
    let mut left: Vec<(&String, Sha256)> = left.iter().map(|key| (&wanted[key], *key)).collect();
    left.sort();
    let computed: Vec<(String, Sha256, std::result::Result<Footprint, String>)> =
        left.par_iter().map(|(id, key)| ((*id).clone(), *key, compute(key))).collect();
    let (mut new, mut failed, mut parcels, mut pixels) = (Vec::new(), Vec::new(), Vec::new(), 0usize);
    for (id, key, result) in computed {
        match result {
            Ok(footprint) => {
                pixels += footprint.pixels() as usize;
                parcels.push(BatchParcel::new(id, key, footprint));
                if pixels >= BATCH_PIXELS {
                    new.push(Batch::new(std::mem::take(&mut parcels)));
                    pixels = 0;
                }
            }
            Err(why) => failed.push((key, why)),
        }
    }
    if !parcels.is_empty() {
        new.push(Batch::new(parcels));
    }
    Ok(Found { known, new, failed })
}

/// How the samples of one layer of a cube file are to be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CubeLayer {
    /// Column name.
    pub name: String,
    /// The provider's name of the raster.
    pub asset: String,
    /// Sample type of the blob.
    pub sample: SampleType,
    /// Samples to physical values.
    pub calibration: Calibration,
    /// Samples that are no measurement.
    pub invalid_dn: Vec<f64>,
}

impl CubeLayer {
    /// Description of a raster's samples.
    pub fn of(raster: &LayerRaster) -> Self {
        // A float code is compared as the float that a sample is; what is not finite is no measurement anyway, and JSON
        // has no word for it.
        let code = |c: &f64| if raster.sample == SampleType::F32 { f64::from(*c as f32) } else { *c };
        CubeLayer {
            name: raster.layer.name(),
            asset: raster.asset.name.clone(),
            sample: raster.sample,
            calibration: raster.asset.calibration,
            invalid_dn: raster.asset.invalid_dn.iter().map(code).filter(|c| c.is_finite()).collect(),
        }
    }
}

/// Samples of one layer over the pixels of many footprints.
#[derive(Debug, Clone, PartialEq)]
pub enum Samples {
    /// 8- and 16-bit unsigned.
    U16(Vec<u16>),
    /// 16-bit signed.
    I16(Vec<i16>),
    /// Others.
    F32(Vec<f32>),
}

impl Samples {
    /// `n` fillers.
    pub fn filled(sample: SampleType, filler: f64, n: usize) -> Self {
        match sample {
            SampleType::U16 => Samples::U16(vec![filler as u16; n]),
            SampleType::I16 => Samples::I16(vec![filler as i16; n]),
            SampleType::F32 => Samples::F32(vec![filler as f32; n]),
        }
    }

    /// Little-endian bytes, and how many a sample has. Nothing is copied.
    fn into_bytes(self) -> (Buffer, usize) {
        #[cfg(target_endian = "big")]
        compile_error!("cube blobs are little endian; this machine would need a byte swap here");
        match self {
            Samples::U16(v) => (Buffer::from_vec(v), 2),
            Samples::I16(v) => (Buffer::from_vec(v), 2),
            Samples::F32(v) => (Buffer::from_vec(v), 4),
        }
    }

    /// From little-endian bytes.
    pub fn from_bytes(sample: SampleType, bytes: &[u8]) -> Self {
        match sample {
            SampleType::U16 => Samples::U16(bytes.as_chunks::<2>().0.iter().map(|c| u16::from_le_bytes(*c)).collect()),
            SampleType::I16 => Samples::I16(bytes.as_chunks::<2>().0.iter().map(|c| i16::from_le_bytes(*c)).collect()),
            SampleType::F32 => Samples::F32(bytes.as_chunks::<4>().0.iter().map(|c| f32::from_le_bytes(*c)).collect()),
        }
    }

    /// Physical values of a range into `out`: NaN where the class is not clear (0) or the sample is no measurement.
    pub fn physical(&self, range: std::ops::Range<usize>, class: &[u8], layer: &CubeLayer, out: &mut Vec<f64>) {
        fn go<T: Copy + Into<f64>>(v: &[T], class: &[u8], layer: &CubeLayer, out: &mut Vec<f64>) {
            out.clear();
            // The usual cases, nothing, one or two codes, without a loop over codes in the inner loop.
            let a = layer.invalid_dn.first().copied().unwrap_or(f64::NAN);
            let b = layer.invalid_dn.get(1).copied().unwrap_or(f64::NAN);
            out.extend(v.iter().zip(class).map(|(dn, class)| {
                let dn: f64 = (*dn).into();
                if *class != 0 || dn == a || dn == b || !dn.is_finite() {
                    f64::NAN
                } else {
                    layer.calibration.apply(dn)
                }
            }));
            for code in layer.invalid_dn.iter().skip(2) {
                for (o, dn) in out.iter_mut().zip(v) {
                    if (*dn).into() == *code {
                        *o = f64::NAN;
                    }
                }
            }
        }
        match self {
            Samples::U16(v) => go(&v[range], class, layer, out),
            Samples::I16(v) => go(&v[range], class, layer, out),
            Samples::F32(v) => go(&v[range], class, layer, out),
        }
    }
}

/// What the physical values of each parcel are multiplied with, after calibration: nothing, or one factor a layer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Factors {
    /// Where the pixels of each parcel end, and its factors in layer order.
    parcels: Vec<(usize, Vec<f64>)>,
}

impl Factors {
    /// Adds the next parcel, of so many pixels.
    pub fn push(&mut self, pixels: usize, factors: Vec<f64>) {
        let start = self.parcels.last().map_or(0, |(end, _)| *end);
        self.parcels.push((start + pixels, factors));
    }

    /// Multiplies the values of one layer over a range of pixels.
    fn apply(&self, range: std::ops::Range<usize>, layer: usize, values: &mut [f64]) {
        let first = self.parcels.partition_point(|(end, _)| *end <= range.start);
        let mut at = range.start;
        for (end, factors) in &self.parcels[first..] {
            let stop = (*end).min(range.end);
            if at >= stop {
                break;
            }
            values[at - range.start..stop - range.start].iter_mut().for_each(|v| *v *= factors[layer]);
            at = stop;
        }
    }
}

/// How the sun lights each pixel, and the C of each layer; nothing where slopes are left as they are
/// ([`crate::imagery::terrain`]).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lighting {
    /// Of each pixel.
    pub lits: Vec<Lit>,
    /// Of each layer; `None` where it is left as it is. Empty: none is known yet.
    pub c: Vec<Option<f64>>,
}

impl Lighting {
    /// Corrects the values of one layer over a range of pixels.
    fn apply(&self, range: std::ops::Range<usize>, layer: usize, values: &mut [f64]) {
        let Some(c) = self.c.get(layer).copied().flatten() else { return };
        values.iter_mut().zip(&self.lits[range]).for_each(|(v, lit)| *v *= lit.factor(c));
    }
}

/// Pixels of one scene over one batch. A physical value is calibrated (offset, scale, bandpass), then multiplied with the
/// factor of its parcel (view angle), then with that of its own slope.
#[derive(Debug, Clone)]
pub struct Pixels {
    /// Clear-sky class of each pixel, footprints one after the other in batch order.
    pub class: Vec<u8>,
    /// Samples of each layer, in the same order.
    pub layers: Vec<(CubeLayer, Samples)>,
    /// What physical values are multiplied with.
    pub factors: Factors,
    /// How the sun lights them; never in a cube file.
    pub lighting: Lighting,
}

impl Pixels {
    /// Physical values of a layer over a range of pixels into `out`: NaN where not clear or no measurement.
    pub fn physical(&self, range: std::ops::Range<usize>, layer: usize, out: &mut Vec<f64>) {
        let (description, samples) = &self.layers[layer];
        samples.physical(range.clone(), &self.class[range.clone()], description, out);
        self.factors.apply(range.clone(), layer, out);
        self.lighting.apply(range, layer, out);
    }
}

/// Facts about the scene that a cube file carries.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct SceneFacts {
    /// Scene id.
    pub scene_id: String,
    /// Sensor id.
    pub sensor: String,
    /// Milliseconds since 1970-01-01 UTC.
    pub acquired_ms: i64,
    /// Grid.
    pub grid_id: String,
}

/// Column of a cube file whose values are multiplied with factors.
const FACTORS: &str = "factors";

fn cube_schema(layers: &[CubeLayer], with_factors: bool) -> SchemaRef {
    let mut fields = vec![
        field("parcel_id", DataType::Utf8, false, "1", "parcel"),
        field("footprint_key", DataType::Utf8, false, "1", "footprint whose pixels follow, in its order"),
        field("pixels", DataType::UInt32, false, "pixel", "touched pixels"),
        field("class", DataType::Binary, false, "1", "clear-sky class of each pixel, one byte; 0 is clear"),
    ];
    for layer in layers {
        let description = format!("{}: digital numbers, little endian; see lintan.layers", layer.asset);
        fields.push(field(&layer.name, DataType::Binary, false, "1", &description));
    }
    if with_factors {
        let description =
            "what the physical values of each layer are multiplied with, little-endian f64, in layer order";
        fields.push(field(FACTORS, DataType::Binary, false, "1", description));
    }
    columnar::schema(fields)
}

/// One blob a parcel out of the bytes of all, from pixel `start` on; nothing is copied.
fn blobs((bytes, width): &(Buffer, usize), start: usize, parcels: &[&BatchParcel]) -> Result<ArrayRef> {
    let mut ends = vec![0i32];
    let mut end = 0usize;
    for parcel in parcels {
        end += parcel.footprint.pixels() as usize * width;
        ends.push(i32::try_from(end).map_err(|_| Error::Internal(format!("a row group of {end} bytes or more")))?);
    }
    let values = bytes.slice_with_length(start * width, end);
    let array = BinaryArray::try_new(OffsetBuffer::new(ends.into()), values, None);
    Ok(Arc::new(array.map_err(|e| Error::Internal(format!("pixels of a row group: {e}")))?))
}

/// Writes a cube file.
///
/// # Errors
/// The file system's answer.
pub fn write(path: &Path, view: &View, pixels: Pixels, facts: &SceneFacts) -> Result<()> {
    let (layers, samples): (Vec<CubeLayer>, Vec<Samples>) = pixels.layers.into_iter().unzip();
    let class = (Buffer::from_vec(pixels.class), 1);
    let samples: Vec<(Buffer, usize)> = samples.into_iter().map(Samples::into_bytes).collect();
    let factors = pixels.factors.parcels;
    let schema = cube_schema(&layers, !factors.is_empty());
    let json = |v: serde_json::Result<String>| v.map_err(|e| Error::Internal(format!("cube metadata: {e}")));
    let metadata = [
        ("lintan.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("lintan.scene", json(serde_json::to_string(facts))?),
        ("lintan.layers", json(serde_json::to_string(&layers))?),
        ("lintan.view", view.digest.to_string()),
    ];
    let parcels: Vec<&BatchParcel> = view.parcels().map(|(_, p)| p).collect();
    let mut start = 0;
    let batches = view.row_groups().into_iter().map(|members| {
        let factors = factors.get(members.clone());
        let parcels = &parcels[members];
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(parcels.iter().map(|p| &p.id))),
            Arc::new(StringArray::from_iter_values(parcels.iter().map(|p| p.key.to_string()))),
            Arc::new(UInt32Array::from_iter_values(parcels.iter().map(|p| p.footprint.pixels()))),
        ];
        for column in std::iter::once(&class).chain(&samples) {
            arrays.push(blobs(column, start, parcels)?);
        }
        if let Some(factors) = factors.filter(|f| !f.is_empty()) {
            let bytes = |(_, f): &(usize, Vec<f64>)| f.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
            arrays.push(Arc::new(BinaryArray::from_iter_values(factors.iter().map(bytes))));
        }
        start += parcels.iter().map(|p| p.footprint.pixels() as usize).sum::<usize>();
        columnar::batch(&schema, arrays)
    });
    columnar::write(path, &schema, batches, &metadata, Profile::Pixels)?;
    Ok(())
}

/// Reads one row group of a cube file, or all of it.
///
/// # Errors
/// A damaged file.
pub fn read(path: &Path, group: Option<usize>) -> Result<(Pixels, SceneFacts)> {
    let damaged = |found: String| Error::Integrity { path: path.to_path_buf(), found, expected: "a cube file".into() };
    let reader = Reader::open(path)?;
    let metadata = reader.metadata();
    let get = |key: &str| metadata.get(key).cloned().ok_or_else(|| damaged(format!("no {key} in the metadata")));
    let layers: Vec<CubeLayer> = serde_json::from_str(&get("lintan.layers")?).map_err(|e| damaged(e.to_string()))?;
    let facts: SceneFacts = serde_json::from_str(&get("lintan.scene")?).map_err(|e| damaged(e.to_string()))?;
    let batches: Vec<RecordBatch> = reader.read(group.map(|g| vec![g]), None)?;
    let mut class = Vec::new();
    let mut blobs: Vec<Vec<u8>> = vec![Vec::new(); layers.len()];
    let mut factors = Factors::default();
    for batch in &batches {
        let counts: &UInt32Array = column(batch, "pixels", path)?;
        if batch.schema().column_with_name(FACTORS).is_some() {
            let c: &BinaryArray = column(batch, FACTORS, path)?;
            for i in 0..c.len() {
                let (numbers, rest) = c.value(i).as_chunks::<8>();
                if numbers.len() != layers.len() || !rest.is_empty() {
                    let found = c.value(i).len();
                    return Err(damaged(format!("{found} bytes of {FACTORS} in row {i} for {} layers", layers.len())));
                }
                factors.push(counts.value(i) as usize, numbers.iter().map(|b| f64::from_le_bytes(*b)).collect());
            }
        }
        // Every blob has a sample for every pixel, or what follows would be counted to the wrong parcel.
        let take = |name: &str, bytes: usize, blob: &mut Vec<u8>| -> Result<()> {
            let c: &BinaryArray = column(batch, name, path)?;
            for i in 0..c.len() {
                let (found, expected) = (c.value(i).len(), counts.value(i) as usize * bytes);
                if found != expected {
                    return Err(damaged(format!("{found} bytes of {name} in row {i}, where {expected} belong")));
                }
                blob.extend_from_slice(c.value(i));
            }
            Ok(())
        };
        take("class", 1, &mut class)?;
        for (layer, blob) in layers.iter().zip(&mut blobs) {
            take(&layer.name, if layer.sample == SampleType::F32 { 4 } else { 2 }, blob)?;
        }
    }
    let layers = layers
        .into_iter()
        .zip(blobs)
        .map(|(layer, blob)| {
            let samples = Samples::from_bytes(layer.sample, &blob);
            (layer, samples)
        })
        .collect();
    Ok((Pixels { class, layers, factors, lighting: Lighting::default() }, facts))
}
