//! Scenes to cube files and statistics: runs the tasks of a plan within the memory budget. A scene that cannot be decoded is
//! set aside whole; storage that refuses stops the run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::plan::{Plan, PlannedScene, Task, bytes_per_pixel};
use super::terrain::{self, undigested};
use super::{Event, Progress, local};
use crate::config::Settings;
use crate::cube::extract::{Effort, MaskRule, Observed, Stop, Targets, extract, observe, split};
use crate::cube::layout::LayerRaster;
use crate::cube::{self, Factors, View, part};
use crate::digest::Sha256;
use crate::error::{Error, Quarantine, Result, SceneFault, Stage};
use crate::geo::grid::Window;
use crate::imagery::mask::MaskTable;
use crate::imagery::{Band, Layer, Scene};

/// A grid, the raster's window on it, and the views that a scene is extracted for.
type TargetKey = (String, Window, Vec<Sha256>);

/// What one scene's pixels say of the parcels of a view.
struct Found {
    observed: Vec<Observed>,
    by_class: BTreeMap<String, u64>,
}

/// Targets that are kept for the next scene. Sentinel-2 tiles always cover the same window; Landsat scenes seldom do, and
/// theirs must not pile up.
const TARGETS_KEPT: usize = 16;

/// Bytes that the light on a pixel takes, and a layer's value with it.
const LIT_BYTES: u64 = 16;

/// The extraction of all pending scenes.
pub struct Extraction<'a> {
    settings: &'a Settings,
    plan: &'a Plan,
    root: &'a Path,
    cancel: &'a AtomicBool,
    progress: Progress<'a>,
    /// Footprints of a grid and a set of batches, shared by the scenes that need them.
    targets: Mutex<BTreeMap<TargetKey, Arc<Targets>>>,
    faults: Mutex<Vec<Quarantine>>,
    decoded: AtomicU64,
    spared: AtomicU64,
}

impl<'a> Extraction<'a> {
    /// Prepares the extraction of a plan into the store at `root`.
    pub fn new(
        settings: &'a Settings,
        plan: &'a Plan,
        root: &'a Path,
        cancel: &'a AtomicBool,
        progress: Progress<'a>,
    ) -> Self {
        Extraction {
            settings,
            plan,
            root,
            cancel,
            progress,
            targets: Mutex::default(),
            faults: Mutex::default(),
            decoded: AtomicU64::new(0),
            spared: AtomicU64::new(0),
        }
    }

    /// Does every task. Memory: footprints of all grids stay, each scene in flight adds its pixels.
    ///
    /// # Errors
    /// Storage or interruption; a scene that cannot be used is set aside.
    pub fn all(&self, pool: &rayon::ThreadPool) -> Result<()> {
        let tasks = self.within_budget();
        let budget = self.settings.options.engine.memory_gib * f64::from(1 << 30) * 0.5;
        let largest = tasks.iter().map(|t| self.bytes(t)).max().unwrap_or(0).max(1);
        let in_flight = ((budget / largest as f64) as usize).max(1);
        (self.progress)(Event::Begin("extract", "scenes", tasks.len() as u64));
        let result = local::for_each(tasks.len(), in_flight, pool, |i, threads| {
            self.one(&tasks[i], threads)?;
            (self.progress)(Event::Advance(1));
            Ok(())
        });
        (self.progress)(Event::End);
        result?;
        self.correct(pool)
    }

    /// Fits the correction of slopes to every scene that has work to do, now that all of its pixels are in the store, and makes
    /// the statistics that waited for it.
    fn correct(&self, pool: &rayon::ThreadPool) -> Result<()> {
        let failed: BTreeSet<String> =
            self.faults.lock().map_or_else(|_| BTreeSet::new(), |f| f.iter().map(|q| q.id.clone()).collect());
        let concerned = self.plan.tasks.iter().map(|t| &self.plan.scenes[t.scene]);
        let scenes: Vec<&PlannedScene> =
            concerned.filter(|s| s.terrain.is_some() && !failed.contains(&s.scene.id)).collect();
        if scenes.is_empty() {
            return Ok(());
        }
        let budget = self.settings.options.engine.memory_gib * f64::from(1 << 30) * 0.5;
        let bytes = |s: &&PlannedScene| {
            let pixels = s.views.iter().map(|v| v.pixels()).max().unwrap_or(0) as u64;
            pixels * (bytes_per_pixel(&s.layout) + LIT_BYTES)
        };
        let in_flight = ((budget / scenes.iter().map(bytes).max().unwrap_or(0).max(1) as f64) as usize).max(1);
        (self.progress)(Event::Begin("terrain", "scenes", scenes.len() as u64));
        let result = local::for_each(scenes.len(), in_flight, pool, |i, threads| {
            let scene = scenes[i];
            match terrain::fit(self.plan, scene, self.root, self.cancel)? {
                Some(fault) => self.set_aside(scene, fault),
                None => {
                    let done = |v: &View| scene.observations_path(self.root, v).is_some_and(|p| p.exists());
                    for view in scene.views.iter().filter(|v| v.pixels() > 0 && !done(v)) {
                        let pixels = terrain::read(self.plan, scene, self.root, view, None)?;
                        self.keep(scene, view, &self.observe(scene, view, &pixels, threads))?;
                    }
                }
            }
            (self.progress)(Event::Advance(1));
            Ok(())
        });
        (self.progress)(Event::End);
        result
    }

    fn set_aside(&self, scene: &PlannedScene, fault: SceneFault) {
        tracing::warn!(scene = scene.scene.id, "{}", fault.message);
        let q = Quarantine::scene(&scene.scene.id, Stage::Extract, fault.reason, &scene.scene.source, fault.message);
        if let Ok(mut faults) = self.faults.lock() {
            faults.push(q);
        }
    }

    /// Tasks whose pixels fit half of the budget each; larger ones are cut by batch.
    fn within_budget(&self) -> Vec<Task> {
        let budget = (self.settings.options.engine.memory_gib * f64::from(1 << 30) * 0.5) as u64;
        let mut tasks = Vec::new();
        for task in &self.plan.tasks {
            let mut open = Task { scene: task.scene, batches: Vec::new() };
            for batch in &task.batches {
                open.batches.push(*batch);
                if self.bytes(&open) > budget && open.batches.len() > 1 {
                    open.batches.pop();
                    tasks.push(std::mem::replace(&mut open, Task { scene: task.scene, batches: vec![*batch] }));
                }
            }
            tasks.push(open);
        }
        tasks
    }

    fn bytes(&self, task: &Task) -> u64 {
        let scene = &self.plan.scenes[task.scene];
        let views = &scene.views;
        let pixels: usize = task.batches.iter().map(|b| views[*b].pixels()).sum();
        let dense = match &scene.layout.mask {
            Some(m) if self.settings.options.observe.mask_dilate_m > 0.0 => 3 * (m.size.0 * m.size.1) as u64,
            _ => 0,
        };
        pixels as u64 * bytes_per_pixel(&scene.layout) + dense
    }

    fn targets(&self, scene: &PlannedScene, batches: &[usize]) -> Arc<Targets> {
        let views = || batches.iter().map(|b| &scene.views[*b]);
        let key = (scene.facts.grid_id.clone(), scene.window, views().map(|v| v.digest).collect());
        let make = || Arc::new(Targets::new(views().cloned().collect(), scene.window));
        match self.targets.lock() {
            Ok(mut map) => {
                if map.len() >= TARGETS_KEPT && !map.contains_key(&key) {
                    map.clear();
                }
                map.entry(key).or_insert_with(make).clone()
            }
            Err(_) => make(),
        }
    }

    fn one(&self, task: &Task, threads: usize) -> Result<()> {
        let scene = &self.plan.scenes[task.scene];
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        // Statistics of slopes wait for all pixels of the scene.
        let waits = scene.terrain.is_some();
        let batches: Vec<usize> = if waits {
            task.batches.iter().copied().filter(|b| !scene.has_pixels(self.root, &scene.views[*b])).collect()
        } else {
            task.batches.clone()
        };
        if batches.is_empty() {
            return Ok(());
        }
        let targets = self.targets(scene, &batches);
        if !waits && self.observe_stored(scene, &targets, threads)? {
            return Ok(());
        }
        let rule = mask_rule(self.settings, &scene.scene);
        let effort = Effort { threads, cancel: self.cancel };
        let (pixels, account) = match extract(&scene.layout, &targets, &rule, &effort) {
            Ok(done) => done,
            Err(Stop::Cancelled) => return Err(Error::Interrupted),
            Err(Stop::Fault(fault)) => {
                self.set_aside(scene, fault);
                return Ok(());
            }
        };
        self.decoded.fetch_add(account.blocks_decoded, Ordering::Relaxed);
        self.spared.fetch_add(account.blocks_spared, Ordering::Relaxed);
        for (view, mut pixels) in targets.views().iter().zip(split(pixels, &targets)) {
            pixels.factors = self.factors(scene, view);
            let path = scene.cube_path(self.root, view).ok_or_else(|| undigested(scene))?;
            let found = (!waits).then(|| self.observe(scene, view, &pixels, threads));
            cube::write(&path, view, pixels, &scene.facts)?;
            if let Some(found) = found {
                self.keep(scene, view, &found)?;
            }
        }
        Ok(())
    }

    /// Statistics from pixels that are in the store already. False: some are not, decode.
    fn observe_stored(&self, scene: &PlannedScene, targets: &Targets, threads: usize) -> Result<bool> {
        let paths: Vec<PathBuf> = targets.views().iter().filter_map(|v| scene.cube_path(self.root, v)).collect();
        if paths.len() < targets.views().len() || !paths.iter().all(|p| p.exists()) {
            return Ok(false);
        }
        for (view, path) in targets.views().iter().zip(&paths) {
            let (pixels, _) = cube::read(path, None)?;
            self.keep(scene, view, &self.observe(scene, view, &pixels, threads))?;
        }
        Ok(true)
    }

    /// What brings the parcels of a view to a view from straight above: the angles in the middle of the rectangle around each.
    fn factors(&self, scene: &PlannedScene, view: &View) -> Factors {
        let mut factors = Factors::default();
        let Some(grid) = self.plan.grids.get(&scene.facts.grid_id).filter(|_| scene.nbar) else { return factors };
        let band = |r: &LayerRaster| if let Layer::Band(band) = r.layer { Some(band) } else { None };
        let bands: Vec<Option<Band>> = scene.layout.values.iter().map(band).collect();
        for (_, parcel) in view.parcels() {
            let [x_min, y_min, x_max, y_max] = grid.lattice.grid(&parcel.window).bounds();
            let middle = (f64::midpoint(x_min, x_max), f64::midpoint(y_min, y_max));
            factors.push(parcel.footprint.pixels() as usize, scene.scene.angles.factors(middle, &bands));
        }
        factors
    }

    fn observe(&self, scene: &PlannedScene, view: &View, pixels: &cube::Pixels, threads: usize) -> Found {
        let observed = observe(view, pixels, &scene.layout.indices, threads);
        Found { observed, by_class: part::by_class(&pixels.class) }
    }

    fn keep(&self, scene: &PlannedScene, view: &View, found: &Found) -> Result<()> {
        let path = scene.observations_path(self.root, view).ok_or_else(|| undigested(scene))?;
        let names: Vec<String> = scene.layout.indices.iter().map(|(id, _)| id.clone()).collect();
        part::write(&path, view, &names, &found.observed, &scene.facts, &found.by_class)
    }

    /// Scenes that were set aside, blocks decoded, blocks spared.
    pub fn finish(self) -> (Vec<Quarantine>, u64, u64) {
        let mut faults = self.faults.into_inner().unwrap_or_default();
        faults.sort();
        faults.dedup();
        (faults, self.decoded.into_inner(), self.spared.into_inner())
    }
}

/// How the masks of a scene are read.
pub fn mask_rule(settings: &Settings, scene: &Scene) -> MaskRule {
    let options = &settings.options.observe;
    MaskRule {
        table: MaskTable::new(&scene.spec.mask, &options.scl_clear),
        dilate_m: options.mask_dilate_m,
        occlusion_bit: scene.spec.mask.occlusion_bit,
    }
}
