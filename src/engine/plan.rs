//! What is to be done: parcels and scenes in, tasks out. A task is left out when its result is in the store already.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use geo::{BoundingRect, MultiPolygon};
use rayon::prelude::*;
use serde::Serialize;

use super::lacking::lacking;
use super::terrain::{self, Terrain};
use super::{Event, Progress};
use crate::config::Settings;
use crate::cube::layout::{Layout, Wanted, lay_out};
use crate::cube::relief::{Relief, told};
use crate::cube::{self, Batch, CUBE_VERSION, CubeLayer, SceneFacts, View, footprint_key};
use crate::digest::Sha256;
use crate::error::{Error, Quarantine, Reason, Result, Stage, Subject};
use crate::gdal_io;
use crate::geo::area::planar_area_m2;
use crate::geo::coverage::lattice_footprint;
use crate::geo::crs::{Crs, Transform, share};
use crate::geo::grid::Window;
use crate::geo::lattice::Lattice;
use crate::imagery::angles::Angles;
use crate::imagery::calendar::{self, Track};
use crate::imagery::catalog::{self, Duplicate};
use crate::imagery::sensor::{MaskLayout, Sensors};
use crate::imagery::terrain::Correction;
use crate::imagery::{Layer, OffsetSource, Scene, archive, dark};
use crate::parcel::{self, Note, ParcelSet};
use crate::record::manifest::Input;
use crate::record::store::{self, Inputs};

/// Raise when the statistics change for the same cube.
pub const OBSERVATION_VERSION: u32 = 2;

/// A scene that will be observed.
pub struct PlannedScene {
    /// The scene.
    pub scene: Scene,
    /// Its rasters on its grid.
    pub layout: Arc<Layout>,
    /// The part of the lattice that its rasters cover.
    pub window: Window,
    /// Facts for the cube file.
    pub facts: SceneFacts,
    /// Everything that its pixels depend on; `None` when a file's digest is not known yet and was not to be made.
    pub key: Option<Sha256>,
    /// Files that it is read from.
    pub inputs: Vec<Input>,
    /// True where its reflectance is brought to a view from straight above.
    pub nbar: bool,
    /// Where reflectance is corrected for how the sun lights slopes.
    pub terrain: Option<Terrain>,
    /// What it sees of each batch, in batch order.
    pub views: Vec<Arc<View>>,
}

impl PlannedScene {
    /// Cube file of a view.
    pub fn cube_path(&self, root: &Path, view: &View) -> Option<PathBuf> {
        let key = Sha256::of(format!("{}/{}", self.key?, view.digest).as_bytes());
        Some(self.folder(root).join(format!("{}.parquet", key.short())))
    }

    /// Statistics of a view.
    pub fn observations_path(&self, root: &Path, view: &View) -> Option<PathBuf> {
        let mut indices: Vec<&str> = self.layout.indices.iter().map(|(id, _)| id.as_str()).collect();
        indices.sort_unstable();
        let what = format!("{}/{}/{OBSERVATION_VERSION}/{}", self.identity()?, view.digest, indices.join(","));
        let key = Sha256::of(what.as_bytes());
        Some(self.folder(root).join(format!("observations-{}.parquet", key.short())))
    }

    /// Where C of each layer is kept.
    pub fn fit_path(&self, root: &Path) -> Option<PathBuf> {
        Some(self.folder(root).join(format!("terrain-{}.json", self.identity()?.short())))
    }

    /// Everything that its observations depend on: its pixels, and the correction of slopes.
    pub fn identity(&self) -> Option<Sha256> {
        match &self.terrain {
            Some(terrain) => Some(Sha256::of(format!("{}/{}", self.key?, terrain.id()?).as_bytes())),
            None => self.key,
        }
    }

    /// True when everything that is made of a view is in the store.
    fn has(&self, root: &Path, view: &View) -> bool {
        let there = |path: Option<PathBuf>| path.is_some_and(|p| p.exists());
        let fitted = self.terrain.is_none() || there(self.fit_path(root));
        fitted && there(self.observations_path(root, view)) && self.has_pixels(root, view)
    }

    /// True when the pixels of a view are in the store.
    pub fn has_pixels(&self, root: &Path, view: &View) -> bool {
        self.cube_path(root, view).is_some_and(|p| p.exists())
    }

    fn folder(&self, root: &Path) -> PathBuf {
        store::scene_folder(root, &self.facts.grid_id, &self.scene.id)
    }
}

/// One lattice and its footprints. Scenes whose rasters are windows of it share them.
pub struct GridPlan {
    /// The lattice.
    pub lattice: Lattice,
    /// Batches in order; those from `known` on are new and not written yet.
    pub batches: Vec<Arc<Batch>>,
    /// How many batches were in the store.
    pub known: usize,
    /// The footprints of this run's parcels.
    pub wanted: BTreeMap<Sha256, Member>,
    /// How the ground lies under each batch, by the batch's digest; empty where slopes are left as they are.
    pub relief: BTreeMap<Sha256, Relief>,
    /// What a raster of each occurring window sees of each batch: all of it, and of this run's parcels.
    views: BTreeMap<Window, Vec<[Arc<View>; 2]>>,
}

/// A parcel of this run on a grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Member {
    /// Position of the parcel.
    pub position: usize,
    /// Area of the whole parcel in pixels of the grid, also where the grid holds only a part of it.
    pub whole_px: f64,
}

/// One scene and the batches it has no result for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Position of the scene.
    pub scene: usize,
    /// Positions of the batches in the grid's list.
    pub batches: Vec<usize>,
}

/// The raster of elevations.
#[derive(Debug, Clone)]
pub struct DemFile {
    /// Where it is.
    pub path: PathBuf,
    /// Digest; `None` when it is not known yet and was not to be made.
    pub sha256: Option<Sha256>,
}

/// Everything that is to be done.
pub struct Plan {
    /// Parcels.
    pub parcels: ParcelSet,
    /// Scenes, by time.
    pub scenes: Vec<PlannedScene>,
    /// Grids by id.
    pub grids: BTreeMap<String, GridPlan>,
    /// Elevations, where slopes are corrected.
    pub dem: Option<DemFile>,
    /// Work to do, in scene order.
    pub tasks: Vec<Task>,
    /// Acquisitions found more than once.
    pub duplicates: Vec<Duplicate>,
    /// Scenes outside the configured days.
    pub outside_dates: usize,
    /// Which dates of each satellite's calendar have no scene.
    pub calendar: Vec<Track>,
    /// Scenes, parcels and layers set aside.
    pub quarantined: Vec<Quarantine>,
    /// What is to be known about the parcel layer and the scenes.
    pub notes: Vec<Note>,
}

/// Makes the plan. With `digest_all`, every input file is digested (a run needs that); without, only what is remembered is
/// used and nothing is written.
///
/// # Errors
/// The parcel layer or the scene folders cannot be used, or a store file is damaged.
pub fn plan(
    settings: &Settings,
    inputs: &Inputs,
    digest_all: bool,
    progress: Progress,
    cancel: &AtomicBool,
) -> Result<Plan> {
    let options = &settings.options;
    let parcels = parcel::read(&options.parcels, &settings.base)?;
    if parcels.parcels.is_empty() {
        return Err(Error::Input {
            path: settings.base.join(&options.parcels.path),
            what: "parcels".into(),
            found: format!(
                "{} features, none of which can be used{}",
                parcels.features,
                first_reason(&parcels.quarantined)
            ),
            expected: "at least one valid parcel".into(),
            help: "correct the layer".into(),
        });
    }
    let dem = elevations(settings, inputs, digest_all)?;
    let sensors = Sensors::builtin()?;
    let with_angles = options.observe.nbar || dem.is_some();
    let catalog = catalog::read_again(&options.scenes, &settings.base, &sensors, &inputs.products, with_angles)?;
    let mut quarantined = parcels.quarantined.clone();
    for bad in catalog.bad {
        quarantined.push(Quarantine::scene(&bad.id, Stage::Catalog, bad.fault.reason, &bad.source, bad.fault.message));
    }

    if catalog.scenes.is_empty() && quarantined.iter().all(|q| q.subject == Subject::Parcel) {
        let day = |d: Option<jiff::civil::Date>| d.map_or("the beginning".to_owned(), |d| d.to_string());
        return Err(Error::Input {
            path: settings.path.clone(),
            what: "scenes.start, scenes.end".into(),
            found: format!(
                "{} scenes, all of them outside {} to {}",
                catalog.outside_dates,
                day(options.scenes.start),
                options.scenes.end.map_or("today".to_owned(), |d| d.to_string())
            ),
            expected: "at least one scene within these days".into(),
            help: "correct `start` and `end` under [scenes]".into(),
        });
    }

    let wanted = Wanted {
        indices: options.observe.indices.clone(),
        pixel_m: options.observe.pixel_m,
        bandpass: options.observe.bandpass.clone(),
        bands: options.change.bands(),
    };
    let calendar = calendar::tracks(catalog.scenes.iter());
    progress(Event::Begin("catalog", "scenes", catalog.scenes.len() as u64));
    let planned: Vec<Result<std::result::Result<PlannedScene, Quarantine>>> = catalog
        .scenes
        .into_par_iter()
        .map(|scene| {
            if cancel.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let source = scene.source.clone();
            let id = scene.id.clone();
            let result = plan_scene(scene, &wanted, settings, inputs, digest_all);
            progress(Event::Advance(1));
            match result {
                Ok(planned) => Ok(Ok(planned)),
                Err(ScenePlanError::Fault(f)) => {
                    Ok(Err(Quarantine::scene(&id, Stage::Catalog, f.reason, &source, f.message)))
                }
                Err(ScenePlanError::Error(e)) => Err(e),
            }
        })
        .collect();
    progress(Event::End);
    let mut scenes = Vec::new();
    for result in planned {
        match result? {
            Ok(scene) => scenes.push(scene),
            Err(q) => quarantined.push(q),
        }
    }

    let (grids, touched) = plan_grids(settings, &parcels, &scenes, progress, cancel, &mut quarantined)?;
    if !scenes.is_empty() {
        let told: BTreeSet<String> =
            quarantined.iter().filter(|q| q.subject == Subject::Parcel).map(|q| q.id.clone()).collect();
        for (position, parcel) in parcels.parcels.iter().enumerate() {
            if !touched.contains(&position) && !told.contains(&parcel.id) {
                let message = "found no scene whose raster covers it, expected one; check the CRS of the layer and the \
                               scene folders";
                quarantined.push(Quarantine::parcel(&parcel.id, Stage::Extract, Reason::OutsideImagery, message));
            }
        }
    }
    let mut tasks = Vec::new();
    // The footprints that each window's correction rests on.
    let mut members: BTreeMap<(String, Window), Sha256> = BTreeMap::new();
    for (position, scene) in scenes.iter_mut().enumerate() {
        let Some(views) = grids.get(&scene.facts.grid_id).and_then(|g| g.views.get(&scene.window)) else { continue };
        if let Some(terrain) = &mut scene.terrain {
            let keys = || views.iter().flat_map(|[_, ours]| ours.parcels().map(|(_, p)| p.key)).collect();
            let place = (scene.facts.grid_id.clone(), scene.window);
            let members = members.entry(place).or_insert_with(|| terrain::members(keys()));
            terrain.identify(dem.as_ref().and_then(|d| d.sha256), members)?;
        }
        // A file that also holds parcels of earlier runs serves; a new one is made for this run's parcels alone, so that
        // a parcel that is gone cannot spoil a scene.
        let choose = |[all, wanted]: &[Arc<View>; 2]| {
            // Pixels do not depend on the relief: with them, statistics are made again without decoding.
            let serves =
                scene.has(&settings.out, all) || (scene.terrain.is_some() && scene.has_pixels(&settings.out, all));
            if serves { all.clone() } else { wanted.clone() }
        };
        let chosen: Vec<Arc<View>> = views.iter().map(choose).collect();
        let missing = |v: &View| v.pixels() > 0 && !scene.has(&settings.out, v);
        let pending: Vec<usize> = (0..chosen.len()).filter(|b| missing(&chosen[*b])).collect();
        scene.views = chosen;
        if !pending.is_empty() {
            tasks.push(Task { scene: position, batches: pending });
        }
    }
    let (lacking, none) = lacking(settings, &scenes);
    quarantined.extend(none);
    quarantined.sort();
    quarantined.dedup();
    let notes = parcels.notes.iter().cloned().chain(lacking).chain(settings.notes(&parcels.parcels)).collect();
    Ok(Plan {
        parcels,
        scenes,
        grids,
        dem,
        tasks,
        duplicates: catalog.duplicates,
        outside_dates: catalog.outside_dates,
        calendar,
        quarantined,
        notes,
    })
}

/// The raster of elevations, where slopes are corrected: it can be opened, and is digested where that is wanted.
fn elevations(settings: &Settings, inputs: &Inputs, digest_all: bool) -> Result<Option<DemFile>> {
    let observe = &settings.options.observe;
    let Some(path) = observe.dem.as_ref().filter(|_| observe.terrain == Correction::ScsC) else { return Ok(None) };
    let path = settings.base.join(path);
    gdal_io::Dem::open(&path).map_err(|f| told(&path, f))?;
    let file = if digest_all { Some(inputs.get(&path)?) } else { inputs.peek(&path) };
    Ok(Some(DemFile { path, sha256: file.map(|f| f.sha256) }))
}

fn first_reason(quarantined: &[Quarantine]) -> String {
    quarantined.first().map(|q| format!("; the first: {}: {}", q.id, q.message)).unwrap_or_default()
}

enum ScenePlanError {
    Fault(crate::error::SceneFault),
    Error(Error),
}

/// What a scene's pixels depend on.
#[derive(Serialize)]
struct SceneKey<'a> {
    version: u32,
    facts: &'a SceneFacts,
    window: Window,
    /// Digest of the sensor's description: what its mask values mean.
    sensor: Sha256,
    /// In layer order, whatever the order of the indices.
    layers: Vec<(CubeLayer, u32, Option<u8>, Sha256)>,
    mask: Option<(u32, Sha256, &'a [u8], f64)>,
    saturation: Option<(u32, Sha256)>,
    /// Where reflectance is brought to a view from straight above.
    #[serde(skip_serializing_if = "Option::is_none")]
    nbar: Option<(u32, &'a Angles)>,
}

/// Raise when the factors change for the same angles.
const NBAR_VERSION: u32 = 1;

/// True where a scene's reflectance is to be brought to a view from straight above: it is wanted, and there is something to
/// bring there. An index that somebody else computed is left as it is.
fn is_corrected(scene: &Scene, layout: &Layout, wanted: bool) -> std::result::Result<bool, crate::error::SceneFault> {
    if !wanted || !layout.values.iter().any(|v| matches!(v.layer, Layer::Band(_))) {
        return Ok(false);
    }
    match &scene.angles {
        Angles::Nadir => Ok(false),
        Angles::Scene(_) | Angles::Grid(_) => Ok(true),
        Angles::Unknown(why) => Err(crate::error::SceneFault::new(
            Reason::BadMetadata,
            format!(
                "{why}; without them reflectance cannot be brought to a view from straight above: complete the metadata, or \
                     set `nbar = false` under [observe] for all scenes"
            ),
        )),
    }
}

fn plan_scene(
    scene: Scene,
    wanted: &Wanted,
    settings: &Settings,
    inputs: &Inputs,
    digest_all: bool,
) -> std::result::Result<PlannedScene, ScenePlanError> {
    let layout = lay_out(&scene, wanted).map_err(ScenePlanError::Fault)?;
    let nbar = is_corrected(&scene, &layout, settings.options.observe.nbar).map_err(ScenePlanError::Fault)?;
    let terrain = match settings.options.observe.terrain {
        Correction::None => None,
        Correction::ScsC => {
            let layers: Vec<&Layer> = layout.values.iter().map(|v| &v.layer).collect();
            Terrain::of(&scene, &layers).map_err(ScenePlanError::Fault)?
        }
    };
    let lattice = Lattice::of(&layout.grid);
    let facts = SceneFacts {
        scene_id: scene.id.clone(),
        sensor: scene.sensor.clone(),
        acquired_ms: scene.acquired_at.as_millisecond(),
        grid_id: lattice.id(),
    };
    let window = lattice.window(&layout.grid).ok_or_else(|| {
        ScenePlanError::Fault(crate::error::SceneFault::new(
            Reason::MisalignedGrid,
            format!("found a raster at ({}, {}), expected projected coordinates", layout.grid.x_min, layout.grid.y_max),
        ))
    })?;
    let digest = |path: &Path| -> std::result::Result<Option<store::InputFile>, ScenePlanError> {
        if digest_all {
            return inputs.get(path).map(Some).map_err(|e| match e {
                // A raster that cannot be read is the scene's fault, not the store's.
                Error::Io { source, .. } => ScenePlanError::Fault(crate::error::SceneFault::new(
                    Reason::UnreadableAsset,
                    format!("{}: cannot be read: {source}", path.file_name().unwrap_or_default().to_string_lossy()),
                )),
                other => ScenePlanError::Error(other),
            });
        }
        Ok(inputs.peek(path))
    };
    let mut listed: Vec<Input> = Vec::new();
    let mut complete = true;
    let mut add = |path: String, size: u64, sha256: Sha256| {
        if !listed.iter().any(|i| i.path == path) {
            listed.push(Input { path, size, sha256 });
        }
        sha256
    };
    let mut list = |path: &Path| -> std::result::Result<Sha256, ScenePlanError> {
        // A member of an archive is known by the archive, listed once, and its name in there. What lies on a server is
        // known by its address and the item that names it: nobody vouches for the content.
        let remote = gdal_io::is_remote(path);
        let (on_disk, member) = match archive::inside(path) {
            Some((file, member)) => (file, Some(member)),
            None if remote => (scene.metadata.first().map_or(path, PathBuf::as_path), None),
            None => (path, None),
        };
        let Some(file) = digest(on_disk)? else {
            complete = false;
            return Ok(Sha256::of(b""));
        };
        if remote {
            let address = path.to_string_lossy();
            let address = address.trim_start_matches("/vsicurl/").replacen("/vsis3/", "s3://", 1);
            // What follows a question mark is a key that changes.
            let address = address.split('?').next().unwrap_or_default().to_owned();
            let sha256 = Sha256::of(format!("{address}\n{}", file.sha256).as_bytes());
            return Ok(add(format!("{address} (content not digested: SHA-256 of address and STAC Item)"), 0, sha256));
        }
        let relative = on_disk.strip_prefix(&settings.base).unwrap_or(on_disk).to_string_lossy().into_owned();
        let sha256 = add(relative, file.size, file.sha256);
        Ok(member.map_or(sha256, |m| Sha256::of(format!("{sha256}/{m}").as_bytes())))
    };
    for path in &scene.metadata {
        list(path)?;
    }
    let mut layers = Vec::new();
    for raster in &layout.values {
        let sha = list(&raster.asset.path)?;
        let bit = layout.saturation.as_ref().and(raster.asset.saturation_bit);
        layers.push((CubeLayer::of(raster), raster.ratio, bit, sha));
    }
    // Only what this scene's mask depends on: Landsat does not change with the Sentinel-2 classes.
    let clear: &[u8] = match scene.spec.mask.layout {
        MaskLayout::Scl => &settings.options.observe.scl_clear,
        MaskLayout::QaPixel | MaskLayout::Fmask => &[],
    };
    let mask = match &layout.mask {
        Some(raster) => Some((raster.ratio, list(&raster.asset.path)?, clear, settings.options.observe.mask_dilate_m)),
        None => None,
    };
    let saturation = match &layout.saturation {
        Some(raster) => Some((raster.ratio, list(&raster.asset.path)?)),
        None => None,
    };
    let sensor = scene.spec.digest;
    let key = SceneKey {
        version: CUBE_VERSION,
        facts: &facts,
        window,
        sensor,
        layers,
        mask,
        saturation,
        nbar: nbar.then_some((NBAR_VERSION, &scene.angles)),
    };
    let key = if complete { Some(Sha256::of_json(&key).map_err(ScenePlanError::Error)?) } else { None };
    // Pixels against the catalog's word: once for the same files and the same word.
    let agreed = key
        .filter(|_| scene.offset_from != OffsetSource::Product)
        .map(|key| format!("offset agrees with pixels: {key}"));
    if !agreed.as_ref().is_some_and(|fact| inputs.noted(fact)) {
        dark::check(&scene).map_err(ScenePlanError::Fault)?;
        if let Some(fact) = agreed {
            inputs.note(&fact);
        }
    }
    Ok(PlannedScene {
        layout: Arc::new(layout),
        window,
        facts,
        key,
        inputs: listed,
        nbar,
        terrain,
        views: Vec::new(),
        scene,
    })
}

/// Grids of the scenes, with the footprints of the parcels that touch them; and which parcels touch any.
fn plan_grids(
    settings: &Settings,
    parcels: &ParcelSet,
    scenes: &[PlannedScene],
    progress: Progress,
    cancel: &AtomicBool,
    quarantined: &mut Vec<Quarantine>,
) -> Result<(BTreeMap<String, GridPlan>, BTreeSet<usize>)> {
    let mut by_id: BTreeMap<&str, (Lattice, BTreeSet<Window>)> = BTreeMap::new();
    for scene in scenes {
        let lattice = || (Lattice::of(&scene.layout.grid), BTreeSet::new());
        by_id.entry(&scene.facts.grid_id).or_insert_with(lattice).1.insert(scene.window);
    }
    let mut projected: BTreeMap<Crs, Vec<std::result::Result<MultiPolygon<f64>, String>>> = BTreeMap::new();
    progress(Event::Begin("footprints", "grids", by_id.len() as u64));
    let mut grids = BTreeMap::new();
    let mut touched = BTreeSet::new();
    for (id, (lattice, windows)) in by_id {
        if cancel.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let polygons = projected.entry(lattice.crs.clone()).or_insert_with(|| project(parcels, &lattice.crs));
        let rasters: Vec<[f64; 4]> = windows.iter().map(|w| lattice.grid(w).bounds()).collect();
        let in_view = |r: geo::Rect<f64>| {
            rasters.iter().any(|b| r.max().x > b[0] && r.min().x < b[2] && r.max().y > b[1] && r.min().y < b[3])
        };
        let mut wanted = BTreeMap::new();
        for (position, (parcel, polygon)) in parcels.parcels.iter().zip(polygons.iter()).enumerate() {
            match polygon.as_ref().map(|p| p.bounding_rect()) {
                Ok(Some(r)) if in_view(r) => {
                    let whole_px = polygon.as_ref().map_or(f64::NAN, planar_area_m2) / lattice.pixel_area_m2();
                    wanted.insert(footprint_key(&parcel.digest, id), Member { position, whole_px });
                }
                Ok(_) => {}
                Err(e) => tracing::debug!(parcel = parcel.id, grid = id, "not projected: {e}"),
            }
        }
        let names: BTreeMap<Sha256, String> =
            wanted.iter().map(|(k, m)| (*k, parcels.parcels[m.position].id.clone())).collect();
        let folder = store::grid_folder(&settings.out, id);
        let compute = |key: &Sha256| match &polygons[wanted[key].position] {
            Ok(polygon) => match lattice_footprint(polygon, &lattice) {
                Ok(Some(footprint)) => Ok(footprint),
                Ok(None) => Err("found a polygon that covers no part of any pixel".to_owned()),
                Err(e) => Err(e.to_string()),
            },
            Err(e) => Err(e.clone()),
        };
        let found = cube::batches(&folder, &names, compute)?;
        for (key, why) in &found.failed {
            let parcel = &parcels.parcels[wanted[key].position];
            quarantined.push(Quarantine::parcel(&parcel.id, Stage::Extract, Reason::InvalidGeometry, why.clone()));
        }
        let known = found.known.len();
        let batches: Vec<Arc<Batch>> = found.known.into_iter().chain(found.new).map(Arc::new).collect();
        let views: BTreeMap<Window, Vec<[Arc<View>; 2]>> = windows
            .into_par_iter()
            .map(|w| {
                let both = |b: &Arc<Batch>| {
                    let all = Arc::new(View::new(b, &w, |_| true));
                    let ours = Arc::new(View::new(b, &w, |p| wanted.contains_key(&p.key)));
                    [all, ours]
                };
                (w, batches.iter().map(both).collect::<Vec<_>>())
            })
            .collect();
        for [_, view] in views.values().flatten() {
            touched.extend(view.parcels().filter_map(|(_, p)| Some(wanted.get(&p.key)?.position)));
        }
        grids.insert(id.to_owned(), GridPlan { lattice, batches, known, wanted, relief: BTreeMap::new(), views });
        progress(Event::Advance(1));
    }
    progress(Event::End);
    Ok((grids, touched))
}

/// Every parcel in a grid's CRS, or why it cannot be brought there.
fn project(parcels: &ParcelSet, crs: &Crs) -> Vec<std::result::Result<MultiPolygon<f64>, String>> {
    parcels
        .parcels
        .par_chunks(share(parcels.parcels.len()))
        .flat_map_iter(|chunk| {
            // PROJ contexts are per thread, so each chunk makes its own.
            let transform = Transform::new(&parcels.crs, crs);
            chunk
                .iter()
                .map(|parcel| match &transform {
                    Ok(t) => t.polygon(&parcel.geometry),
                    Err(e) => Err(e.clone()),
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Bytes that one footprint pixel of a scene needs while it is worked on: class, samples, and a layer of them again while
/// they are parted into views.
pub fn bytes_per_pixel(layout: &Layout) -> u64 {
    let samples: u64 =
        layout.values.iter().map(|v| if v.sample == crate::gdal_io::SampleType::F32 { 4 } else { 2 }).sum();
    let widest = layout.values.iter().map(|v| if matches!(v.layer, Layer::Mask) { 2 } else { 4 }).max().unwrap_or(4);
    1 + samples + widest + if layout.saturation.is_some() { 2 } else { 0 }
}
