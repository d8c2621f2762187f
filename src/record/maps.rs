//! Maps of what a change method says of each pixel, as Cloud Optimized GeoTIFFs: one a lattice and kind, over the rectangle of
//! the parcels, with data in parcel pixels alone.

use std::collections::BTreeMap;
use std::path::Path;

use super::manifest;
use crate::detect::events::Place;
use crate::detect::{MapKind, Verdict};
use crate::error::Result;
use crate::gdal_io;
use crate::geo::grid::Window;
use crate::geo::lattice::Lattice;

/// Day where there is no break, or nothing to judge.
pub const NO_DAY: i32 = i32::MIN;

/// What is known of one pixel.
#[derive(Debug, Clone, Copy)]
struct Cell {
    /// Position of the parcel that it was judged for.
    parcel: usize,
    day: i32,
    magnitude: f32,
    probability: f32,
}

/// By row and column.
type Cells = BTreeMap<(u32, u32), Cell>;

/// Maps of one method, being collected.
pub struct Maps<'a> {
    method: &'static str,
    kinds: &'a [MapKind],
    grids: BTreeMap<String, (Lattice, Cells)>,
}

impl<'a> Maps<'a> {
    /// Nothing yet.
    pub fn new(method: &'static str, kinds: &'a [MapKind]) -> Self {
        Maps { method, kinds, grids: BTreeMap::new() }
    }

    /// Adds the pixels of the parcel at a position. Of two parcels that share a pixel the one with the smaller position has the
    /// say, in whatever order they come.
    pub fn add(&mut self, parcel: usize, grid_id: &str, lattice: &Lattice, places: &[Place], verdicts: &[Verdict]) {
        if self.kinds.is_empty() {
            return;
        }
        let (_, cells) = self.grids.entry(grid_id.to_owned()).or_insert_with(|| (lattice.clone(), Cells::new()));
        for (place, verdict) in places.iter().zip(verdicts) {
            // The first loss; where there is none, the first gain.
            let loss = verdict.breaks.iter().find(|b| b.magnitude < 0.0);
            let first = loss.or(verdict.breaks.first());
            // A pixel that was judged and has neither break nor change of its own did not change.
            let still = if verdict.unjudged.is_none() && verdict.magnitude.is_nan() { 0.0 } else { verdict.magnitude };
            let change = first.map_or(still, |b| b.magnitude);
            let cell = Cell {
                parcel,
                day: first.map_or(NO_DAY, |b| b.break_day.floor() as i32),
                magnitude: change as f32,
                probability: if verdict.unjudged.is_some() {
                    f32::NAN
                } else {
                    first.map_or(0.0, |b| b.probability as f32)
                },
            };
            let known = cells.entry((place.row, place.col)).or_insert(cell);
            if parcel < known.parcel {
                *known = cell;
            }
        }
    }

    /// Writes what was asked for. The rows of a map in the run record are the parcels' pixels.
    ///
    /// # Errors
    /// The file system's or GDAL's answer.
    pub fn write(self, root: &Path) -> Result<Vec<manifest::Table>> {
        let mut written = Vec::new();
        for (grid_id, (lattice, cells)) in &self.grids {
            let Some(window) = around(cells.keys()) else { continue };
            let grid = lattice.grid(&window);
            for kind in self.kinds {
                let meaning = match kind {
                    MapKind::BreakDate => "first loss, else first gain, days since 1970-01-01",
                    MapKind::Magnitude => {
                        "its change of the index, negative is loss; without one the change of the whole period"
                    }
                    MapKind::Probability => "its probability, 0 without one",
                };
                let path = root.join("maps").join(grid_id).join(format!("{}_{}.tif", self.method, kind.name()));
                let at = |(row, col): &(u32, u32)| ((row - window.row) as usize, (col - window.col) as usize);
                match kind {
                    MapKind::BreakDate => {
                        gdal_io::write_cog(&path, &grid, NO_DAY, meaning, cells.iter().map(|(p, c)| (at(p), c.day)))
                    }
                    MapKind::Magnitude => gdal_io::write_cog(
                        &path,
                        &grid,
                        f32::NAN,
                        meaning,
                        cells.iter().map(|(p, c)| (at(p), c.magnitude)),
                    ),
                    MapKind::Probability => gdal_io::write_cog(
                        &path,
                        &grid,
                        f32::NAN,
                        meaning,
                        cells.iter().map(|(p, c)| (at(p), c.probability)),
                    ),
                }?;
                written.push(manifest::table(root, &path, cells.len() as u64)?);
            }
        }
        Ok(written)
    }
}

/// Rectangle around pixels.
fn around<'a>(pixels: impl Iterator<Item = &'a (u32, u32)>) -> Option<Window> {
    let mut bounds: Option<[u32; 4]> = None;
    for (row, col) in pixels {
        let b = bounds.get_or_insert([*row, *col, *row, *col]);
        *b = [b[0].min(*row), b[1].min(*col), b[2].max(*row), b[3].max(*col)];
    }
    bounds.map(|[top, left, bottom, right]| Window {
        row: top,
        col: left,
        rows: bottom - top + 1,
        cols: right - left + 1,
    })
}
