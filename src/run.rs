//! The job: plan, extract, analyse, account, commit. Everything that takes time can be interrupted and goes on where it
//! stopped; tables and the run record are written last.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use rayon::prelude::*;

use crate::account::{self, Made, Tables, agb_rasters};
use crate::carbon::ParameterSet;
use crate::carbon::index_model::Model;
use crate::config::{BiomassMethod, Settings};
use crate::cube::part;
use crate::detect::events::FalseAlarms;
use crate::digest::Sha256;
use crate::engine::Progress;
use crate::engine::extraction::Extraction;
use crate::engine::plan::{OBSERVATION_VERSION, Plan, plan};
use crate::engine::terrain;
use crate::error::{Error, Quarantine, Result, Stage, Subject};
use crate::gdal_io;
use crate::imagery::brdf;
use crate::imagery::terrain::{CITATION, Correction};
use crate::index;
use crate::parcel::{Note, Topic};
use crate::record::manifest::{self, Manifest, ParcelSummary, SceneRecord};
use crate::record::store::{self, Inputs, Store};
use crate::traced;

/// GDAL's block cache, MiB: blocks are decoded once, so it only has to hold those being read.
const GDAL_CACHE_MIB: usize = 64;

/// Raise when tables or summary change for the same observations.
const TABLES_VERSION: u32 = 9;

/// How a run behaves besides its configuration.
pub struct Behaviour<'a> {
    /// Wait for another run on the same folder instead of refusing.
    pub wait: bool,
    /// Set to stop.
    pub cancel: &'a AtomicBool,
    /// Told of everything.
    pub progress: Progress<'a>,
}

/// What a run did, for people.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Summary {
    /// Identity of the run.
    pub run_id: String,
    /// Output folder.
    pub out: PathBuf,
    /// Counts as in the run record.
    pub counts: BTreeMap<&'static str, u64>,
    /// Tables as in the run record.
    pub tables: Vec<manifest::Table>,
    /// Maps as in the run record.
    pub maps: Vec<manifest::Table>,
    /// Alarms at parcels of kind `reference`, by change method.
    pub reference_alarms: BTreeMap<String, FalseAlarms>,
    /// What was set aside.
    pub quarantined: Vec<Quarantine>,
    /// What is to be known about the parcel layer and the scenes.
    pub notes: Vec<Note>,
    /// The first parcels.
    pub parcels: Vec<ParcelSummary>,
    /// Seconds in all.
    pub seconds: f64,
}

/// Starts GDAL; call once before anything else.
pub fn start() {
    gdal_io::start(GDAL_CACHE_MIB);
}

/// A pool of the configured threads.
///
/// # Errors
/// The system gives no threads.
pub fn pool(settings: &Settings) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(settings.threads())
        .build()
        .map_err(|e| Error::Internal(format!("cannot start {} threads: {e}", settings.threads())))
}

/// Plans without writing: what `check` and `status` show.
///
/// # Errors
/// As [`plan`].
pub fn look(settings: &Settings, progress: Progress, cancel: &AtomicBool) -> Result<Plan> {
    start();
    let inputs = Inputs::load(&settings.out);
    biomass_files(settings, &inputs)?;
    biomass_model(settings)?;
    pool(settings)?.install(|| plan(settings, &inputs, false, progress, cancel))
}

/// Does the whole job.
///
/// # Errors
/// Configuration, storage, interruption. Scenes and parcels that cannot be used are no errors; they are in the summary.
pub fn run(settings: &Settings, behaviour: &Behaviour) -> Result<Summary> {
    start();
    let clock = Instant::now();
    let started_at = jiff::Timestamp::now();
    let store = Store::open(&settings.out, behaviour.wait.then_some(behaviour.cancel))?;
    let pool = pool(settings)?;
    let inputs = Inputs::load(store.root());
    let plan = pool.install(|| plan(settings, &inputs, true, behaviour.progress, behaviour.cancel));
    let biomass = biomass_files(settings, &inputs);
    // What was digested stays known even when the plan fails.
    inputs.save()?;
    let (mut plan, biomass) = (plan?, biomass?);
    // Before hours of decoding.
    let model = biomass_model(settings)?;
    let planned_s = clock.elapsed().as_secs_f64();

    for (id, grid) in &plan.grids {
        for batch in &grid.batches[grid.known..] {
            batch.write(&store::grid_folder(store.root(), id), id)?;
        }
    }
    pool.install(|| terrain::prepare(&mut plan, store.root(), behaviour.progress, behaviour.cancel))?;
    let extraction = Extraction::new(settings, &plan, store.root(), behaviour.cancel, behaviour.progress);
    extraction.all(&pool)?;
    let extracted_s = clock.elapsed().as_secs_f64();
    let (faults, decoded, spared) = extraction.finish();
    let set_aside: Vec<Quarantine> = plan.quarantined.iter().cloned().chain(faults).collect();

    let used = used_scenes(&plan, &set_aside);
    if !used.iter().any(|s| plan.scenes[*s].views.iter().any(|v| v.pixels() > 0)) {
        // Before anything is replaced: the tables of an earlier run stay.
        return Err(Error::NothingObserved { scenes: plan.scenes.len(), quarantined: set_aside });
    }
    let results = results_key(settings, &plan, &biomass, &used, &set_aside)?;
    let (made, suspicion) = match kept_tables(store.root(), &results) {
        Some(kept) => {
            tracing::info!("nothing has changed: the tables are kept as they are");
            kept
        }
        None => {
            let tables = Tables {
                settings,
                plan: &plan,
                used: &used,
                root: store.root(),
                cancel: behaviour.cancel,
                progress: behaviour.progress,
            };
            let suspicion = traced::suspect(settings, &plan, &used, store.root(), behaviour.cancel)?;
            (pool.install(|| tables.make(set_aside))?, suspicion.into_iter().collect())
        }
    };
    let notes: Vec<Note> = plan.notes.iter().cloned().chain(suspicion).collect();
    let finished_s = clock.elapsed().as_secs_f64();
    let quarantined = made.quarantined;

    let mut counts = BTreeMap::from([
        ("features", plan.parcels.features as u64),
        ("parcels", plan.parcels.parcels.len() as u64),
        ("scenes", used.len() as u64),
        ("scenes_outside_dates", plan.outside_dates as u64),
        ("duplicates", plan.duplicates.len() as u64),
        ("grids", plan.grids.len() as u64),
        ("tasks", plan.tasks.len() as u64),
        ("blocks_decoded", decoded),
        ("blocks_spared", spared),
        ("quarantined", quarantined.len() as u64),
    ]);
    for name in ["observations", "series", "seasons", "disturbances", "stocks", "deltas", "totals"] {
        let rows = made.tables.iter().filter(|t| t.path.starts_with(&format!("tables/{name}"))).map(|t| t.rows).sum();
        counts.insert(name, rows);
    }
    let run_id = format!("{}-{}", started_at.strftime("%Y%m%dT%H%M%S%3fZ"), &settings.science.short()[..8]);
    let manifest = Manifest {
        run_id: run_id.clone(),
        software: BTreeMap::from([("lintan", env!("CARGO_PKG_VERSION").to_owned()), ("gdal", gdal_io::version())]),
        started_at: started_at.to_string(),
        finished_at: jiff::Timestamp::now().to_string(),
        configuration: serde_json::to_value(&settings.options).map_err(|e| Error::Internal(e.to_string()))?,
        config_sha256: settings.science,
        parameter_set: settings.parameters.as_ref().map(|p| {
            serde_json::json!({
                "name": p.name(), "version": p.version(), "title": p.title(), "sha256": p.sha256(),
                "names_sha256": p.names_sha256(),
                "approved_by": p.approval().map(|(by, _)| by.to_owned()),
                "approved_on": p.approval().map(|(_, on)| on.to_string()),
                "origins": p.origins(), "values": p.values(),
            })
        }),
        biomass_model: model.map(|m| m.record()),
        citations: citations(settings),
        inputs: all_inputs(settings, &plan, &inputs)?,
        scenes: pool.install(|| scene_records(settings, &plan, &used, store.root()))?,
        duplicates: plan.duplicates.clone(),
        calendar: plan.calendar.clone(),
        quarantined: quarantined.clone(),
        notes: notes.clone(),
        tables: made.tables.clone(),
        maps: made.maps.clone(),
        reference_alarms: made.alarms.clone(),
        counts: counts.clone(),
        seconds: BTreeMap::from([
            ("plan", planned_s),
            ("extract", extracted_s - planned_s),
            ("tables", finished_s - extracted_s),
        ]),
        results_key: results,
        summary: made.summary.clone(),
        passes: made.passes,
        invariants: made.invariants,
        monte_carlo: made.draws,
    };
    manifest.write(store.root())?;
    Ok(Summary {
        run_id,
        out: settings.out.clone(),
        counts,
        tables: made.tables,
        maps: made.maps,
        reference_alarms: made.alarms,
        quarantined,
        notes,
        parcels: made.summary,
        seconds: clock.elapsed().as_secs_f64(),
    })
}

/// Scenes that did not fail, by position.
pub(crate) fn used_scenes(plan: &Plan, quarantined: &[Quarantine]) -> Vec<usize> {
    let failed: BTreeSet<&str> = quarantined
        .iter()
        .filter(|q| q.subject == Subject::Scene && q.stage == Stage::Extract)
        .map(|q| q.id.as_str())
        .collect();
    (0..plan.scenes.len()).filter(|s| !failed.contains(plan.scenes[*s].scene.id.as_str())).collect()
}

/// Identity of everything the tables depend on.
fn results_key(
    settings: &Settings,
    plan: &Plan,
    biomass: &[manifest::Input],
    used: &[usize],
    quarantined: &[Quarantine],
) -> Result<Sha256> {
    let files: Vec<Sha256> = biomass.iter().map(|i| i.sha256).collect();
    let scenes: Vec<(&str, Option<Sha256>)> =
        used.iter().map(|s| &plan.scenes[*s]).map(|s| (s.scene.id.as_str(), s.identity())).collect();
    let parcels: Vec<_> = plan.parcels.parcels.iter().map(|p| (p.digest, p.kind, &p.attributes)).collect();
    Sha256::of_json(&(TABLES_VERSION, OBSERVATION_VERSION, settings.science, files, scenes, parcels, quarantined))
}

/// What the last run left, if it is what this run would make again; and what it noted of the pixels.
fn kept_tables(root: &Path, results: &Sha256) -> Option<(Made, Vec<Note>)> {
    let text = std::fs::read(root.join("run.json")).ok()?;
    let record: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let get = |key: &str| record.get(key).cloned();
    let before: Sha256 = serde_json::from_value(get("results_key")?).ok()?;
    let tables: Vec<manifest::Table> = serde_json::from_value(get("tables")?).ok()?;
    let intact = |t: &manifest::Table| Sha256::of_file(&root.join(&t.path)).is_ok_and(|(sha, _)| sha == t.sha256);
    let maps: Vec<manifest::Table> = serde_json::from_value(get("maps")?).ok()?;
    // Nothing more than what is listed: a killed run may have left a partition that the next does not make.
    let listed: BTreeSet<PathBuf> = tables.iter().chain(&maps).map(|t| root.join(&t.path)).collect();
    let stranger =
        ["tables", "maps"].iter().any(|f| manifest::files_below(&root.join(f)).any(|f| !listed.contains(&f)));
    if before != *results || stranger || !tables.iter().chain(&maps).all(intact) {
        return None;
    }
    let mut notes: Vec<Note> = serde_json::from_value(get("notes")?).ok()?;
    notes.retain(|n| n.topic == Topic::Offset);
    let made = Made {
        tables,
        maps,
        alarms: serde_json::from_value(get("reference_alarms")?).ok()?,
        quarantined: serde_json::from_value(get("quarantined")?).ok()?,
        summary: serde_json::from_value(get("summary")?).ok()?,
        passes: serde_json::from_value(get("passes")?).ok()?,
        invariants: serde_json::from_value(get("invariants")?).ok()?,
        draws: serde_json::from_value(get("monte_carlo")?).ok()?,
    };
    Some((made, notes))
}

fn citations(settings: &Settings) -> Vec<String> {
    let options = &settings.options;
    let mut works: Vec<String> = options
        .observe
        .indices
        .iter()
        .filter_map(|id| index::by_id(id))
        .map(|i| format!("{}: {}", i.id, i.citation))
        .collect();
    let sets = options.observe.bandpass.sets();
    works.extend(sets.iter().map(|set| format!("bandpass {}: {}", set.name(), set.citation())));
    if options.observe.nbar {
        works.push(format!("nbar: {}", brdf::CITATION));
    }
    if options.observe.terrain == Correction::ScsC {
        works.push(format!("terrain scs_c: {CITATION}"));
        works.push("slope and aspect: Horn 1981, Proceedings of the IEEE 69:14-47".into());
    }
    works.extend(options.change.methods().iter().map(|m| format!("{}: {}", m.name(), m.citation())));
    works.push("series: Eilers 2003, Analytical Chemistry 75:3631-3636".into());
    works.push("area: Karney 2013, Journal of Geodesy 87:43-55".into());
    if options.biomass.method().is_some() {
        works.push("errors: IPCC 2006 Guidelines, Volume 1, Chapter 3 (Monte Carlo); McKay, Beckman and Conover 1979, Technometrics 21:239-245".into());
    }
    if options.biomass.method().is_some() {
        works.push("change of stock: IPCC 2006 Guidelines, Volume 4, Chapter 2, Equations 2.4 and 2.5".into());
    }
    if options.biomass.inventory.is_some() {
        let origins = settings.parameters.as_ref().map(ParameterSet::origins).unwrap_or_default();
        let forms: BTreeSet<&str> = origins.values().map(|o| o.form.as_str()).collect();
        for (form, work) in [
            ("expansion", "IPCC 2006 Guidelines, Volume 4, Chapter 2, Equation 2.8"),
            ("linear", "Fang et al. 2001, Science 292:2320-2322"),
            ("density", "AR-CM-001-V01 and Second National Communication of China"),
        ] {
            if forms.contains(form) {
                works.push(format!("inventory: {work}"));
            }
        }
    }
    if let Some(scheme) = options.account.deduction {
        works.push(format!("deduction {scheme}: {}", scheme.source()));
    }
    if options.biomass.index_model.is_some() {
        works.push("index_model: Duan 1983, Journal of the American Statistical Association 78:605-610".into());
    }
    if options.biomass.tier1_cover.is_some() {
        works.push("cover: Gutman and Ignatov 1998, International Journal of Remote Sensing 19:1533-1543".into());
        works.push("tier1: IPCC 2006 Guidelines, Volume 4, Chapters 2 and 4".into());
    }
    works
}

fn all_inputs(settings: &Settings, plan: &Plan, inputs: &Inputs) -> Result<Vec<manifest::Input>> {
    let mut all: BTreeSet<manifest::Input> = plan.scenes.iter().flat_map(|s| s.inputs.iter().cloned()).collect();
    let layer = crate::parcel::files(&settings.options.parcels, &settings.base);
    let dem = plan.dem.iter().map(|d| d.path.clone());
    for path in std::iter::once(settings.path.clone()).chain(layer).chain(dem) {
        let file = inputs.get(&path)?;
        let relative = path.strip_prefix(&settings.base).unwrap_or(&path).to_string_lossy().into_owned();
        all.insert(manifest::Input { path: relative, size: file.size, sha256: file.sha256 });
    }
    all.extend(biomass_files(settings, inputs)?);
    Ok(all.into_iter().collect())
}

/// Checks the biomass model, where one is the method, and says what makes its numbers unfit to be issued.
fn biomass_model(settings: &Settings) -> Result<Option<Model>> {
    let Some(BiomassMethod::IndexModel(params)) = settings.options.biomass.method() else { return Ok(None) };
    let model = account::model(settings, params)?;
    let validation = &model.file().validation;
    if validation.is_weak(params.min_r2) {
        let r2 = validation.held_out().map_or_else(|| "none".to_owned(), |m| format!("{:.3}", m.r2));
        let least = params.min_r2.map_or_else(|| "above 0".to_owned(), |least| format!("above 0 and {least} or more"));
        tracing::warn!(
            "biomass model {}: cross-validated R2 is {r2}, expected {least}; what it says is for screening only (weak_model)",
            params.model.display()
        );
    }
    Ok(Some(model))
}

/// Files that the biomass method reads, each of which must be there and usable as far as its head tells.
fn biomass_files(settings: &Settings, inputs: &Inputs) -> Result<Vec<manifest::Input>> {
    match settings.options.biomass.method() {
        Some(BiomassMethod::AgbMap(maps)) => drop(agb_rasters(settings, maps)?),
        Some(BiomassMethod::IndexModel(params)) => {
            let path = settings.base.join(&params.model);
            if !path.is_file() {
                let help =
                    "correct the path, which is relative to the configuration, or make the file: lintan calibrate";
                let (field, found) = ("biomass.index_model.model", format!("no file {}", path.display()));
                return Err(settings.error(field, found, "a model that lintan calibrate wrote", help));
            }
        }
        _ => {}
    }
    let files = settings.options.biomass.files().into_iter();
    files
        .map(|relative| {
            let file = inputs.get(&settings.base.join(relative))?;
            Ok(manifest::Input { path: relative.to_string_lossy().into_owned(), size: file.size, sha256: file.sha256 })
        })
        .collect()
}

fn scene_records(settings: &Settings, plan: &Plan, used: &[usize], root: &Path) -> Result<Vec<SceneRecord>> {
    used.par_iter()
        .map(|s| {
            let scene = &plan.scenes[*s];
            let mut classes: BTreeMap<String, u64> = BTreeMap::new();
            for view in &scene.views {
                let Some(path) = scene.observations_path(root, view).filter(|p| p.exists()) else { continue };
                for (class, n) in part::read_by_class(&path)? {
                    *classes.entry(class).or_default() += n;
                }
            }
            let rasters = scene.layout.values.iter().chain(&scene.layout.mask).chain(&scene.layout.saturation);
            let layers = rasters.map(|r| {
                serde_json::json!({
                    "layer": r.layer.name(), "asset": r.asset.name, "pixel_m": r.pixel_m.0,
                    "calibration": r.asset.calibration, "invalid_dn": r.asset.invalid_dn,
                })
            });
            Ok(SceneRecord {
                scene_id: scene.scene.id.clone(),
                source: scene.scene.source.clone(),
                sensor: scene.scene.sensor.clone(),
                acquired_at: scene.scene.acquired_at.to_string(),
                offset_from: scene.scene.offset_from,
                baseline: scene.scene.baseline.clone(),
                grid_id: scene.facts.grid_id.clone(),
                layers: layers.collect(),
                angles: settings.options.observe.nbar.then(|| scene.scene.angles.record()),
                terrain: terrain::record(scene, root)?,
                indices_missing: scene.layout.missing.clone(),
                pixels_by_class: classes,
            })
        })
        .collect()
}
