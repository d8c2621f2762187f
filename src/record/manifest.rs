//! The record of a run: what went in, what came out, with which settings and which software. Wall-clock times stand here
//! and nowhere else.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::carbon::index_model::ModelRecord;
use crate::carbon::invariants::Invariants;
use crate::detect::events::FalseAlarms;
use crate::detect::{MapKind, Method};
use crate::digest::Sha256;
use crate::error::{Error, Quarantine, Result};
use crate::files::write_bytes;
use crate::imagery::OffsetSource;
use crate::imagery::calendar::Track;
use crate::imagery::catalog::Duplicate;
use crate::parcel::Note;

/// One input file.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct Input {
    /// Path, relative to the configuration where it lies below it.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Digest.
    pub sha256: Sha256,
}

/// One output table.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Table {
    /// Path within the output folder.
    pub path: String,
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub size: u64,
    /// Digest.
    pub sha256: Sha256,
}

/// One scene: where it came from and what became of its pixels.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct SceneRecord {
    /// Scene id.
    pub scene_id: String,
    /// Where it was found.
    pub source: String,
    /// Sensor.
    pub sensor: String,
    /// Time of acquisition, UTC.
    pub acquired_at: String,
    /// Who says whether digital numbers carry an offset.
    pub offset_from: OffsetSource,
    /// Processing baseline.
    pub baseline: Option<String>,
    /// Grid.
    pub grid_id: String,
    /// Rasters that were read: our name, the provider's name, how digital numbers become physical values.
    pub layers: Vec<serde_json::Value>,
    /// Where sun and satellite stood, where reflectance was to be brought to a view from straight above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub angles: Option<serde_json::Value>,
    /// Where slopes were corrected: the sun, and C of each layer with its pixels and the share of variance it explains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terrain: Option<serde_json::Value>,
    /// Requested indices that its bands cannot give, and bands for change methods that it lacks.
    pub indices_missing: Vec<String>,
    /// Footprint pixels by clear-sky class.
    pub pixels_by_class: BTreeMap<String, u64>,
}

/// Maps that some run wrote below an output folder: files named `METHOD_KIND.tif` in the folder of a grid.
pub fn maps_below(root: &Path) -> impl Iterator<Item = std::path::PathBuf> + use<> {
    let is_map = |f: &std::path::PathBuf| {
        let name = f.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let kind = MapKind::ALL.iter().any(|k| name.ends_with(&format!("_{}.tif", k.name())));
        kind && Method::NAMES.iter().any(|m| name.starts_with(&format!("{m}_")))
    };
    files_below(&root.join("maps")).filter(is_map)
}

/// Files below a folder; none where there is no folder.
pub fn files_below(folder: &Path) -> impl Iterator<Item = std::path::PathBuf> + use<> {
    let all = walkdir::WalkDir::new(folder).into_iter().filter_map(std::result::Result::ok);
    all.filter(|f| f.file_type().is_file()).map(walkdir::DirEntry::into_path)
}

/// The whole record.
#[derive(Debug, Clone, Serialize)]
pub struct Manifest {
    /// Identity of the run: when it began, and its settings.
    pub run_id: String,
    /// `lintan` and its version, GDAL's version.
    pub software: BTreeMap<&'static str, String>,
    /// When it began, UTC.
    pub started_at: String,
    /// When it ended, UTC.
    pub finished_at: String,
    /// Effective configuration.
    pub configuration: serde_json::Value,
    /// Digest of the settings that can change a table.
    pub config_sha256: Sha256,
    /// Parameter set of the carbon figures.
    pub parameter_set: Option<serde_json::Value>,
    /// The biomass model, where one is the method: what its file says, without the trees of a forest.
    pub biomass_model: Option<ModelRecord>,
    /// Works that describe the methods that ran.
    pub citations: Vec<String>,
    /// Everything that was read.
    pub inputs: Vec<Input>,
    /// Scenes that were used.
    pub scenes: Vec<SceneRecord>,
    /// Acquisitions found more than once.
    pub duplicates: Vec<Duplicate>,
    /// Which dates of each satellite's calendar have no scene.
    pub calendar: Vec<Track>,
    /// What was set aside.
    pub quarantined: Vec<Quarantine>,
    /// What is to be known about the parcel layer: repairs, slivers, overlaps, datum, encoding.
    pub notes: Vec<Note>,
    /// Everything that was written.
    pub tables: Vec<Table>,
    /// Maps, with their parcel pixels as rows.
    pub maps: Vec<Table>,
    /// Alarms at parcels of kind `reference`, by change method.
    pub reference_alarms: BTreeMap<String, FalseAlarms>,
    /// Counts of parcels, scenes, tasks, blocks, rows.
    pub counts: BTreeMap<&'static str, u64>,
    /// Seconds of each stage.
    pub seconds: BTreeMap<&'static str, f64>,
    /// Identity of everything the tables depend on: a later run that finds the same keeps them.
    pub results_key: Sha256,
    /// The most disturbed parcels in a few figures.
    pub summary: Vec<ParcelSummary>,
    /// What became of parcels that several scenes of one pass saw.
    pub passes: PassAccount,
    /// What must hold of the carbon figures, and whether it did.
    pub invariants: Invariants,
    /// How the errors of the carbon figures were drawn.
    pub monte_carlo: Option<DrawRecord>,
}

/// How errors were drawn: all that is needed to draw them again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrawRecord {
    /// The algorithm.
    pub algorithm: String,
    /// Its seed.
    pub seed: u64,
    /// Draws a source.
    pub draws: u64,
}

/// What became of parcels that several scenes of one pass saw.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PassAccount {
    /// Rows of scenes that the preferred scene made superfluous.
    pub rows_left_out: u64,
    /// Rows whose pixels completed those of the preferred scene.
    pub rows_merged: u64,
    /// By index: how rows that were left out agree with those that were used, where both are of one pass, on two lattices
    /// (neighbouring map zones), whole, and as clear as an observation must be to count.
    pub cross_checks: BTreeMap<String, CrossCheck>,
}

/// Means of the same parcels in the same passes on two lattices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrossCheck {
    /// Pairs that were compared.
    pub pairs: u64,
    /// Half of the absolute differences of the mean are not above this; rounded up to a ten-thousandth.
    pub median_difference: f64,
    /// The pair with the largest.
    pub largest: CrossPair,
}

/// One pair of a cross-check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrossPair {
    /// Mean on the other lattice less the mean that was used.
    pub difference: f64,
    /// Parcel.
    pub parcel_id: String,
    /// Scene of the row that was used.
    pub scene_id: String,
    /// Its lattice.
    pub grid_id: String,
    /// Scene of the row that was left out.
    pub other_scene_id: String,
    /// Its lattice.
    pub other_grid_id: String,
}

/// One parcel in a few figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParcelSummary {
    /// Parcel.
    pub parcel_id: String,
    /// Kind.
    pub kind: Option<String>,
    /// Hectares.
    pub area_ha: f64,
    /// Scenes that saw it.
    pub scenes: u64,
    /// Scenes that saw enough of it, by the first configured index.
    pub clear_scenes: u64,
    /// Last of these: day, and mean of the first configured index.
    pub last_clear: Option<(String, f64)>,
    /// First period: delta and half of its 90 % interval, t CO2e.
    pub delta_t_co2e: Option<(f64, f64)>,
    /// Disturbed area and its standard error, hectares.
    pub disturbed_ha: Option<(f64, Option<f64>)>,
    /// Use of the delta.
    pub status: Option<String>,
}

impl Manifest {
    /// Writes `run.json` and keeps a copy under `runs/`.
    ///
    /// # Errors
    /// The file system's answer.
    pub fn write(&self, root: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(|e| Error::Internal(format!("run record: {e}")))?;
        write_bytes(&root.join("runs").join(format!("{}.json", self.run_id)), &text)?;
        write_bytes(&root.join("run.json"), &text)
    }
}

/// Size, digest and rows of a file just written, as the manifest lists it.
///
/// # Errors
/// The file cannot be read back.
pub fn table(root: &Path, path: &Path, rows: u64) -> Result<Table> {
    let (sha256, size) = Sha256::of_file(path)?;
    let relative = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
    Ok(Table { path: relative, rows, size, sha256 })
}
