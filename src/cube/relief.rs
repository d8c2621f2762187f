//! How the ground lies under the pixels of a batch: slope and aspect as normals, made once of a raster of elevations and kept
//! beside the footprints, in `relief-HASH.parquet`.
//!
//! Elevations are brought to the lattice in cells of fixed place with a pixel around (bilinear, [`Dem`]), so that a pixel's
//! normal does not depend on which parcels are looked at; slope and aspect are Horn's over three by three pixels. Aspects are
//! turned from the grid's north to true north ([`North`]): at the edge of a map zone the two lie up to two degrees apart.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{ArrayRef, BinaryArray, StringArray};
use arrow::datatypes::{DataType, SchemaRef};
use rayon::prelude::*;

use super::{Batch, Lighting, Pixels, View};
use crate::columnar::{self, Profile, Reader, column, field};
use crate::digest::Sha256;
use crate::error::{Error, Result};
use crate::gdal_io::{Dem, LayerFault};
use crate::geo::grid::Window;
use crate::geo::lattice::Lattice;
use crate::geo::north::North;
use crate::imagery::angles::Sky;
use crate::imagery::mask::Class;
use crate::imagery::terrain::{Light, Lit, Normal, light};

/// Raise when normals change for the same elevations and lattice.
pub const RELIEF_VERSION: u32 = 1;
/// Width and height of a cell, pixels.
const CELL: u32 = 256;

/// Normals of a batch.
pub struct Relief {
    /// Of all pixels, footprints one after the other in batch order.
    normals: Vec<Normal>,
    /// First pixel of each parcel, and the total at the end.
    starts: Vec<usize>,
}

/// A run of pixels within a cell: row and column of the lattice, pixels, position of the first among those of the batch.
struct Run {
    row: u32,
    col: u32,
    len: u32,
    first: usize,
}

impl Relief {
    /// File of a batch and a raster of elevations of this digest.
    pub fn file(folder: &Path, batch: &Batch, dem: &Sha256) -> PathBuf {
        let key = Sha256::of(format!("relief/{RELIEF_VERSION}/{}/{dem}", batch.digest).as_bytes());
        folder.join(format!("relief-{}.parquet", key.short()))
    }

    /// Makes the normals of a batch.
    ///
    /// # Errors
    /// The raster cannot be read, or interruption.
    pub fn of(batch: &Batch, lattice: &Lattice, dem: &Path, cancel: &AtomicBool) -> Result<Relief> {
        let starts = starts(batch);
        let mut cells: BTreeMap<(u32, u32), Vec<Run>> = BTreeMap::new();
        for (parcel, start) in batch.parcels.iter().zip(&starts) {
            let mut first = *start;
            for span in parcel.footprint.spans() {
                let (mut col, end) = (span.col, span.col + span.len);
                while col < end {
                    let stop = end.min((col / CELL).saturating_add(1).saturating_mul(CELL));
                    let run = Run { row: span.row, col, len: stop - col, first };
                    cells.entry((span.row / CELL, col / CELL)).or_default().push(run);
                    first += (stop - col) as usize;
                    col = stop;
                }
            }
        }
        let cells: Vec<((u32, u32), Vec<Run>)> = cells.into_iter().collect();
        // GDAL's handles and PROJ's contexts are of one thread each, and cost some time to make.
        let share = cells.len().div_ceil(2 * rayon::current_num_threads()).max(1);
        let parts: Vec<Vec<(usize, Vec<Normal>)>> = cells
            .par_chunks(share)
            .map(|cells| {
                let fault = |f: LayerFault| told(dem, f);
                let north = North::of(&lattice.crs).map_err(Error::Internal)?;
                let open = Dem::open(dem).map_err(fault)?;
                let mut found = Vec::new();
                for (cell, runs) in cells {
                    if cancel.load(Ordering::Relaxed) {
                        return Err(Error::Interrupted);
                    }
                    cell_normals(*cell, runs, lattice, &open, &north, &mut found).map_err(fault)?;
                }
                Ok(found)
            })
            .collect::<Result<_>>()?;
        let mut normals = vec![Normal::UNKNOWN; starts.last().copied().unwrap_or(0)];
        for (first, run) in parts.into_iter().flatten() {
            normals[first..first + run.len()].copy_from_slice(&run);
        }
        Ok(Relief { normals, starts })
    }

    /// Of one parcel, by its position in the batch.
    pub fn parcel(&self, ordinal: usize) -> &[Normal] {
        &self.normals[self.starts[ordinal]..self.starts[ordinal + 1]]
    }

    /// Puts light on the pixels of some parcels of a view: `members` of its own order, of which `pixels` holds the pixels.
    /// Clear pixels in their own shadow and those whose ground is not known are clear no more.
    pub fn shine(
        &self,
        pixels: &mut Pixels,
        view: &View,
        members: std::ops::Range<usize>,
        lattice: &Lattice,
        sky: &Sky,
    ) {
        let mut lits = Vec::with_capacity(pixels.class.len());
        for (ordinal, parcel) in view.parcels().skip(members.start).take(members.len()) {
            let grid = lattice.grid(&parcel.window);
            let everywhere = if let Sky::Scene(_) = sky { Some(sky.at((0.0, 0.0))) } else { None };
            let places = parcel.footprint.spans().iter().flat_map(|s| (s.col..s.col + s.len).map(|col| (s.row, col)));
            for ((row, col), normal) in places.zip(self.parcel(ordinal)) {
                let sun = everywhere.unwrap_or_else(|| {
                    let along = |at: u32, from: u32, pixel: f64| (f64::from(at - from) + 0.5) * pixel;
                    let x = grid.x_min + along(col, parcel.window.col, grid.pixel_x_m);
                    sky.at((x, grid.y_max - along(row, parcel.window.row, grid.pixel_y_m)))
                });
                let class = &mut pixels.class[lits.len()];
                let mut darken = |to: Class| {
                    if *class == Class::Clear as u8 {
                        *class = to as u8;
                    }
                    Lit::UNCHANGED
                };
                lits.push(match light(sun, *normal) {
                    Light::Slope(lit) => lit,
                    Light::Level => Lit::UNCHANGED,
                    Light::Shaded => darken(Class::Shaded),
                    Light::Unknown => darken(Class::NoElevation),
                });
            }
        }
        pixels.lighting = Lighting { lits, c: Vec::new() };
    }

    fn schema() -> SchemaRef {
        let description = "unit vector of the ground's normal at each pixel of the footprint, in its order: parts to the true \
                           east and north as little-endian f32, NaN where unknown";
        columnar::schema(vec![
            field("parcel_id", DataType::Utf8, false, "1", "parcel"),
            field("footprint_key", DataType::Utf8, false, "1", "footprint whose pixels follow, in its order"),
            field("normals", DataType::Binary, false, "1", description),
        ])
    }

    /// Writes it.
    ///
    /// # Errors
    /// The file system's answer.
    pub fn write(&self, path: &Path, batch: &Batch, dem: &Sha256) -> Result<()> {
        let bytes = |(ordinal, _)| -> Vec<u8> {
            self.parcel(ordinal).iter().flat_map(|n| [n.east, n.north]).flat_map(f32::to_le_bytes).collect()
        };
        let schema = Self::schema();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(batch.parcels.iter().map(|p| &p.id))),
            Arc::new(StringArray::from_iter_values(batch.parcels.iter().map(|p| p.key.to_string()))),
            Arc::new(BinaryArray::from_iter_values(batch.parcels.iter().enumerate().map(bytes))),
        ];
        let metadata = [("lintan.version", env!("CARGO_PKG_VERSION").to_owned()), ("lintan.dem", dem.to_string())];
        columnar::write(path, &schema, [columnar::batch(&schema, columns)], &metadata, Profile::Pixels)?;
        Ok(())
    }

    /// Reads it back.
    ///
    /// # Errors
    /// A damaged file.
    pub fn read(path: &Path, batch: &Batch) -> Result<Relief> {
        let damaged = |found: String| Error::Integrity {
            path: path.to_path_buf(),
            found,
            expected: "the normals of a batch".into(),
        };
        let starts = starts(batch);
        let mut normals = Vec::with_capacity(starts.last().copied().unwrap_or(0));
        let mut parcels = batch.parcels.iter();
        for rows in Reader::open(path)?.read(None, None)? {
            let keys: &StringArray = column(&rows, "footprint_key", path)?;
            let blobs: &BinaryArray = column(&rows, "normals", path)?;
            for i in 0..rows.num_rows() {
                let (numbers, rest) = blobs.value(i).as_chunks::<8>();
                let fits = parcels.next().is_some_and(|p| {
                    p.key.to_string() == keys.value(i) && p.footprint.pixels() as usize == numbers.len()
                });
                if !fits || !rest.is_empty() {
                    return Err(damaged(format!("another footprint or {} bytes in row {i}", blobs.value(i).len())));
                }
                normals.extend(numbers.iter().map(|b| {
                    let [e0, e1, e2, e3, n0, n1, n2, n3] = *b;
                    let (east, north) = ([e0, e1, e2, e3], [n0, n1, n2, n3]);
                    Normal { east: f32::from_le_bytes(east), north: f32::from_le_bytes(north) }
                }));
            }
        }
        if parcels.next().is_some() {
            return Err(damaged(format!("{} of {} pixels", normals.len(), starts.last().copied().unwrap_or(0))));
        }
        Ok(Relief { normals, starts })
    }
}

/// The fault of a raster of elevations as what stops a run.
pub fn told(dem: &Path, fault: LayerFault) -> Error {
    let LayerFault { what, found, expected, help } = fault;
    Error::Input { path: dem.to_path_buf(), what, found, expected, help }
}

/// First pixel of each parcel of a batch, and the total at the end.
fn starts(batch: &Batch) -> Vec<usize> {
    let mut starts = vec![0];
    let mut end = 0;
    for parcel in &batch.parcels {
        end += parcel.footprint.pixels() as usize;
        starts.push(end);
    }
    starts
}

/// Adds the normals of the runs in one cell.
fn cell_normals(
    (down, across): (u32, u32),
    runs: &[Run],
    lattice: &Lattice,
    dem: &Dem,
    north: &North,
    found: &mut Vec<(usize, Vec<Normal>)>,
) -> std::result::Result<(), LayerFault> {
    // One pixel more on each side. Footprints lie far from where the lattice's numbers begin and end.
    let window = Window {
        row: (down * CELL).saturating_sub(1),
        col: (across * CELL).saturating_sub(1),
        rows: CELL + 2,
        cols: CELL + 2,
    };
    let grid = lattice.grid(&window);
    let elevations = dem.elevations_m(&grid)?;
    let [x_min, y_min, x_max, y_max] = grid.bounds();
    // North turns evenly over a few kilometres.
    let corners = [(x_min, y_max), (x_max, y_max), (x_min, y_min), (x_max, y_min)].map(|p| north.convergence_deg(p));
    let (width, size) = (window.cols as usize, f64::from(CELL + 2));
    for run in runs {
        let row = (run.row - window.row) as usize;
        let v = (row as f64 + 0.5) / size;
        let normal = |i: u32| {
            let col = (run.col + i - window.col) as usize;
            let u = (col as f64 + 0.5) / size;
            let turned =
                (corners[0] * (1.0 - u) + corners[1] * u) * (1.0 - v) + (corners[2] * (1.0 - u) + corners[3] * u) * v;
            let around = std::array::from_fn(|k| elevations[(row + k / 3 - 1) * width + col + k % 3 - 1]);
            Normal::of_elevations(&around, (grid.pixel_x_m, grid.pixel_y_m), turned)
        };
        found.push((run.first, (0..run.len).map(normal).collect()));
    }
    Ok(())
}
