//! What a monitoring method keeps of each pixel between runs, so that a new scene costs only itself. A file holds the states of
//! one block of parcels and the list of passes they have taken in; it counts only while that list is the beginning of the
//! present one. Anything else (a scene that arrived late, other settings, a damaged file) means to begin from nothing, which
//! gives the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, StringArray, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef};

use crate::columnar::{self, Profile, Reader, column, field};
use crate::detect::{Method, PixelState, STATE_VERSION};
use crate::digest::Sha256;
use crate::engine::plan::{OBSERVATION_VERSION, Plan};
use crate::error::{Error, Result};
use crate::record::store;
use crate::stack::{Block, Look};

/// What is kept of one parcel.
#[derive(Debug, Clone, PartialEq)]
pub struct ParcelState {
    /// One state a pixel, or one for all of them, as the method has it.
    pub states: Vec<PixelState>,
}

/// What is kept of a block.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// Passes taken in.
    pub looks: usize,
    /// By position in the batch.
    pub parcels: BTreeMap<usize, ParcelState>,
}

fn schema() -> SchemaRef {
    columnar::schema(vec![
        field("footprint_key", DataType::Utf8, false, "1", "footprint whose states follow"),
        field("states_held", DataType::UInt32, false, "1", "number of states: one a pixel, or one for the parcel"),
        field("states", DataType::Binary, false, "1", "each state: its length as little-endian u32, then its bytes"),
    ])
}

/// Where a block's states are: named by the method, its settings and the footprints.
pub fn path(root: &Path, method: &Method, block: &Block) -> Result<PathBuf> {
    let batch = &block.grid.batches[block.batch];
    let keys: Vec<Sha256> = block.parcels.iter().map(|p| batch.parcels[*p].key).collect();
    let what = (STATE_VERSION, OBSERVATION_VERSION, env!("CARGO_PKG_VERSION"), method, keys);
    let name = format!("state-{}-{}.parquet", method.name(), Sha256::of_json(&what)?.short());
    Ok(store::grid_folder(root, block.grid_id).join(name))
}

/// Identity of the passes, in order. `None` where a scene's digest is unknown.
pub fn identities(plan: &Plan, looks: &[Look]) -> Option<Vec<String>> {
    let identity = |look: &Look| -> Option<String> {
        let keys: Option<String> =
            look.scenes.iter().map(|s| plan.scenes[*s].identity().map(|k| k.to_string())).collect();
        Some(Sha256::of(keys?.as_bytes()).short().to_owned())
    };
    looks.iter().map(identity).collect()
}

/// The states of a block, if they are there, whole, and the beginning of what is to be done now.
pub fn load(path: &Path, block: &Block, identities: &[String]) -> Option<Kept> {
    if !path.exists() {
        return None;
    }
    match read(path, block, identities) {
        Ok(kept) => kept,
        Err(e) => {
            tracing::warn!("{}: {e}; the monitor begins from nothing", path.display());
            None
        }
    }
}

fn read(path: &Path, block: &Block, identities: &[String]) -> Result<Option<Kept>> {
    let damaged = |found: &str| Error::Integrity { path: path.into(), found: found.into(), expected: "states".into() };
    let reader = Reader::open(path)?;
    let text = reader.metadata().get("lintan.passes").cloned().ok_or_else(|| damaged("no list of passes"))?;
    let taken: Vec<String> = serde_json::from_str(&text).map_err(|e| damaged(&e.to_string()))?;
    if !identities.starts_with(&taken) {
        return Ok(None);
    }
    let batch = &block.grid.batches[block.batch];
    let by_key: BTreeMap<String, usize> =
        block.parcels.iter().map(|p| (batch.parcels[*p].key.to_string(), *p)).collect();
    let mut kept = Kept { looks: taken.len(), parcels: BTreeMap::new() };
    // A parcel at once: a column of all would be moved over and over while it grows.
    for rows in reader.batches(1)? {
        let rows = rows?;
        let keys: &StringArray = column(&rows, "footprint_key", path)?;
        let held: &UInt32Array = column(&rows, "states_held", path)?;
        let states: &BinaryArray = column(&rows, "states", path)?;
        for i in 0..rows.num_rows() {
            let Some(ordinal) = by_key.get(keys.value(i)) else { return Err(damaged("a footprint of another block")) };
            let mut left = states.value(i);
            let mut list = Vec::with_capacity(held.value(i) as usize);
            while let Some((size, rest)) = left.split_first_chunk::<4>() {
                let size = u32::from_le_bytes(*size) as usize;
                let state = rest.get(..size).ok_or_else(|| damaged("a state that is cut off"))?;
                list.push(PixelState::from(state.to_vec()));
                left = &rest[size..];
            }
            if list.len() != held.value(i) as usize || !left.is_empty() {
                return Err(damaged("another number of states or passes"));
            }
            kept.parcels.insert(*ordinal, ParcelState { states: list });
        }
    }
    if kept.parcels.len() != block.parcels.len() {
        return Err(damaged("states of some of the parcels"));
    }
    Ok(Some(kept))
}

/// Writes the states of a block.
///
/// # Errors
/// The file system's answer.
pub fn save(path: &Path, block: &Block, identities: &[String], parcels: &BTreeMap<usize, ParcelState>) -> Result<()> {
    let batch = &block.grid.batches[block.batch];
    let schema = schema();
    // A batch a parcel: what one holds is bounded by its format.
    let batches = parcels.iter().map(|(ordinal, parcel)| {
        let mut bytes = Vec::new();
        for state in &parcel.states {
            let state = state.bytes();
            bytes.extend(u32::try_from(state.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend(state);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values([batch.parcels[*ordinal].key.to_string()])),
            Arc::new(UInt32Array::from_iter_values([parcel.states.len() as u32])),
            Arc::new(BinaryArray::from_iter_values([bytes])),
        ];
        columnar::batch(&schema, columns)
    });
    let passes = serde_json::to_string(identities).map_err(|e| Error::Internal(format!("list of passes: {e}")))?;
    let metadata = [("lintan.version", env!("CARGO_PKG_VERSION").to_owned()), ("lintan.passes", passes)];
    columnar::write(path, &schema, batches, &metadata, Profile::Pixels)?;
    Ok(())
}
