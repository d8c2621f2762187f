//! Correction of slopes ([`crate::imagery::terrain`]) through a run: the relief of every batch, C of every scene, and pixels of
//! the cube with light on them.
//!
//! C is fitted to the clear pixels of all of this run's parcels that a scene sees on its lattice: those on slopes above
//! [`terrain::FLAT_DEG`] that are not in their own shadow. It comes after the scene was decoded and before its statistics.
//! Sums are made a footprint and joined in the order of footprint keys, so that neither threads nor the batches of earlier
//! runs change a digit. A band without such a pixel has nothing to correct; a band that has some and no usable line sets the
//! scene aside, since a series of corrected and uncorrected scenes would show changes that are none.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::plan::{DemFile, GridPlan, Plan, PlannedScene};
use super::{Event, Progress};
use crate::cube::relief::{RELIEF_VERSION, Relief};
use crate::cube::{self, Pixels, View};
use crate::digest::Sha256;
use crate::error::{Error, Quarantine, Reason, Result, SceneFault, Stage};
use crate::files::write_bytes;
use crate::imagery::angles::Sky;
use crate::imagery::terrain::{self, Lit, Regression};
use crate::imagery::{Layer, Scene};
use crate::parcel::{Note, Topic};
use crate::record::store;

/// Raise when corrected values change for the same pixels, relief and sun.
const TERRAIN_VERSION: u32 = 1;

/// What the correction of one scene needs.
pub struct Terrain {
    sky: Sky,
    /// Everything that it depends on besides the scene's own pixels; `None` while the digest of the elevations is not known.
    id: Option<Sha256>,
    fit: OnceLock<Fit>,
}

/// C of each layer of a scene.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    layers: Vec<LayerFit>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct LayerFit {
    layer: String,
    /// As text that comes back to the last digit; none where there was nothing to correct.
    c: Option<String>,
    /// Pixels that it was fitted to.
    pixels: u64,
    /// Share of their variance that the line explains.
    r2: Option<f64>,
}

impl Terrain {
    /// For a scene with bands; `None` where slopes have nothing to do with its layers.
    ///
    /// # Errors
    /// The scene does not tell where the sun stood.
    pub fn of(scene: &Scene, layers: &[&Layer]) -> std::result::Result<Option<Terrain>, SceneFault> {
        if !layers.iter().any(|l| matches!(l, Layer::Band(_))) {
            return Ok(None);
        }
        match scene.angles.sky(&scene.sun) {
            Ok(sky) => Ok(Some(Terrain { sky, id: None, fit: OnceLock::new() })),
            Err(why) => Err(SceneFault::new(
                Reason::BadMetadata,
                format!(
                    "{why}; without the sun slopes cannot be corrected: complete the metadata, or set `terrain = \"none\"` \
                     under [observe] for all scenes"
                ),
            )),
        }
    }

    /// Makes it known by the elevations and the footprints that C is fitted to.
    ///
    /// # Errors
    /// Only by a mistake of ours.
    pub fn identify(&mut self, dem: Option<Sha256>, members: &Sha256) -> Result<()> {
        let constants = (terrain::FLAT_DEG, terrain::SHADED_COS, terrain::FEWEST_PIXELS);
        self.id = match dem {
            Some(dem) => Some(Sha256::of_json(&(TERRAIN_VERSION, RELIEF_VERSION, constants, dem, &self.sky, members))?),
            None => None,
        };
        Ok(())
    }

    /// Identity, where it is known.
    pub fn id(&self) -> Option<Sha256> {
        self.id
    }
}

impl Fit {
    /// C of each layer as a number.
    fn c(&self) -> Vec<Option<f64>> {
        self.layers.iter().map(|l| l.c.as_ref()?.parse().ok()).collect()
    }

    /// For the record of a run.
    fn record(&self) -> Vec<serde_json::Value> {
        let c = self.c();
        let one = |(l, c): (&LayerFit, &Option<f64>)| serde_json::json!({ "layer": l.layer, "c": c, "pixels": l.pixels, "r2": l.r2 });
        self.layers.iter().zip(&c).map(one).collect()
    }
}

/// Digest of a set of footprints.
pub fn members(mut keys: Vec<Sha256>) -> Sha256 {
    keys.sort_unstable();
    keys.dedup();
    Sha256::of(keys.iter().map(Sha256::to_string).collect::<String>().as_bytes())
}

/// Makes or reads the relief of every batch that a scene needs, and tells which parcels lie beyond the elevations.
///
/// # Errors
/// The elevations cannot be read, storage, or interruption.
pub fn prepare(plan: &mut Plan, root: &Path, progress: Progress, cancel: &AtomicBool) -> Result<()> {
    let Some(DemFile { path: dem, sha256: Some(sha256) }) = plan.dem.clone() else { return Ok(()) };
    let mut beyond: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
    progress(Event::Begin("relief", "grids", plan.grids.len() as u64));
    for (id, grid) in &mut plan.grids {
        if plan.scenes.iter().any(|s| s.terrain.is_some() && s.facts.grid_id == *id) {
            let folder = store::grid_folder(root, id);
            for batch in &grid.batches {
                if cancel.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                let file = Relief::file(&folder, batch, &sha256);
                let relief = if file.exists() {
                    Relief::read(&file, batch)?
                } else {
                    let relief = Relief::of(batch, &grid.lattice, &dem, cancel)?;
                    relief.write(&file, batch, &sha256)?;
                    relief
                };
                for (ordinal, parcel) in batch.parcels.iter().enumerate() {
                    let Some(member) = grid.wanted.get(&parcel.key) else { continue };
                    let normals = relief.parcel(ordinal);
                    let unknown = normals.iter().filter(|n| !n.is_known()).count() as u64;
                    let worst = beyond.entry(member.position).or_default();
                    *worst = (*worst).max((unknown, normals.len() as u64));
                }
                grid.relief.insert(batch.digest, relief);
            }
        }
        progress(Event::Advance(1));
    }
    progress(Event::End);
    let mut partly: Vec<&str> = Vec::new();
    for (position, (unknown, all)) in beyond {
        let parcel = &plan.parcels.parcels[position];
        if unknown == all {
            let message = format!(
                "found no elevations under any of its {all} pixels, expected a slope under each; no pixel of it is used: give \
                 a raster that reaches 2 pixels beyond the parcels as `dem` under [observe]"
            );
            plan.quarantined.push(Quarantine::parcel(&parcel.id, Stage::Extract, Reason::OutsideDem, message));
        } else if unknown > 0 {
            partly.push(&parcel.id);
        }
    }
    if !partly.is_empty() {
        let message = "some of their pixels have no elevations around them and are not used (`no_elevation` in \
                       pixels_by_class): `dem` under [observe] has a hole or ends there";
        plan.notes.push(Note::new(Topic::Elevation, &partly, message));
    }
    plan.quarantined.sort();
    Ok(())
}

/// Pixels of a scene over a view: one row group, or all; corrected where slopes are.
///
/// # Errors
/// A damaged store file.
pub fn read(plan: &Plan, scene: &PlannedScene, root: &Path, view: &View, group: Option<usize>) -> Result<Pixels> {
    let mut pixels = lit(plan, scene, root, view, group)?;
    if let Some(terrain) = &scene.terrain {
        pixels.lighting.c = stored(terrain, scene, root)?.c();
    }
    Ok(pixels)
}

/// Pixels with light on them, not corrected yet.
fn lit(plan: &Plan, scene: &PlannedScene, root: &Path, view: &View, group: Option<usize>) -> Result<Pixels> {
    let path = scene.cube_path(root, view).ok_or_else(|| undigested(scene))?;
    let (mut pixels, _) = cube::read(&path, group)?;
    if let Some(terrain) = &scene.terrain {
        let members: Range<usize> = match group {
            Some(group) => view.row_groups().get(group).cloned().unwrap_or_default(),
            None => 0..view.parcels().count(),
        };
        let grid = grid_of(plan, scene)?;
        let relief = grid.relief.get(&view.batch.digest);
        let relief = relief.ok_or_else(|| Error::Internal(format!("no relief for scene {}", scene.scene.id)))?;
        relief.shine(&mut pixels, view, members, &grid.lattice, &terrain.sky);
    }
    Ok(pixels)
}

fn grid_of<'a>(plan: &'a Plan, scene: &PlannedScene) -> Result<&'a GridPlan> {
    let grid = plan.grids.get(&scene.facts.grid_id);
    grid.ok_or_else(|| Error::Internal(format!("no grid {} in the plan", scene.facts.grid_id)))
}

/// A planned scene must have been digested before its files are named.
pub fn undigested(scene: &PlannedScene) -> Error {
    Error::Internal(format!("scene {} was planned without a digest", scene.scene.id))
}

fn path(scene: &PlannedScene, root: &Path) -> Result<PathBuf> {
    scene.fit_path(root).ok_or_else(|| undigested(scene))
}

/// C as it is kept; also right after it was fitted, so that every run reads the same.
fn stored<'a>(terrain: &'a Terrain, scene: &PlannedScene, root: &Path) -> Result<&'a Fit> {
    if let Some(fit) = terrain.fit.get() {
        return Ok(fit);
    }
    let path = path(scene, root)?;
    let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
    let damaged = |found: String| Error::Integrity { path: path.clone(), found, expected: "C of each layer".into() };
    let fit: Fit = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
    if fit.layers.len() != scene.layout.values.len()
        || fit.layers.iter().zip(fit.c()).any(|(l, c)| l.c.is_some() != c.is_some())
    {
        return Err(damaged("other layers".into()));
    }
    Ok(terrain.fit.get_or_init(|| fit))
}

/// What the record of a run says of a scene; `None` where slopes are left as they are.
///
/// # Errors
/// A damaged store file.
pub fn record(scene: &PlannedScene, root: &Path) -> Result<Option<serde_json::Value>> {
    let Some(terrain) = &scene.terrain else { return Ok(None) };
    // A scene that sees no parcel was never fitted.
    let layers =
        if scene.views.iter().any(|v| v.pixels() > 0) { stored(terrain, scene, root)?.record() } else { Vec::new() };
    let (told_by, sun) = terrain.sky.record();
    Ok(Some(serde_json::json!({ "told_by": told_by, "sun": sun, "layers": layers })))
}

/// Fits C of each band of a scene whose pixels are in the store, and keeps it.
///
/// # Errors
/// A damaged store file or interruption; `Ok` of a fault where a band has no usable line.
pub fn fit(plan: &Plan, scene: &PlannedScene, root: &Path, cancel: &AtomicBool) -> Result<Option<SceneFault>> {
    let grid = grid_of(plan, scene)?;
    let layers: Vec<&Layer> = scene.layout.values.iter().map(|v| &v.layer).collect();
    let mut by_footprint: BTreeMap<Sha256, Vec<Regression>> = BTreeMap::new();
    let mut values = Vec::new();
    for view in scene.views.iter().filter(|v| v.pixels() > 0) {
        for (group, members) in view.row_groups().into_iter().enumerate() {
            if cancel.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let pixels = lit(plan, scene, root, view, Some(group))?;
            let mut end = 0;
            for (_, parcel) in view.parcels().skip(members.start).take(members.len()) {
                let range = end..end + parcel.footprint.pixels() as usize;
                end = range.end;
                // Parcels of earlier runs count for nothing, those in two batches once.
                if !grid.wanted.contains_key(&parcel.key) || by_footprint.contains_key(&parcel.key) {
                    continue;
                }
                let mut sums = vec![Regression::default(); layers.len()];
                for (layer, sum) in sums.iter_mut().enumerate().filter(|(l, _)| matches!(layers[*l], Layer::Band(_))) {
                    pixels.physical(range.clone(), layer, &mut values);
                    for (value, lit) in values.iter().zip(&pixels.lighting.lits[range.clone()]) {
                        if !value.is_nan() && *lit != Lit::UNCHANGED {
                            sum.add(f64::from(lit.cos_i), *value);
                        }
                    }
                }
                by_footprint.insert(parcel.key, sums);
            }
        }
    }
    let mut fit = Fit { layers: Vec::new() };
    for (l, layer) in layers.iter().enumerate() {
        let mut all = Regression::default();
        by_footprint.values().for_each(|sums| all.merge(&sums[l]));
        let (mut c, mut r2) = (None, None);
        if all.pixels() > 0 {
            match usable(&all) {
                Ok((found, share)) => (c, r2) = (Some(format!("{found:?}")), Some(share)),
                Err(why) => return Ok(Some(unusable(layer, &why))),
            }
        }
        fit.layers.push(LayerFit { layer: layer.name(), c, pixels: all.pixels(), r2 });
    }
    let path = path(scene, root)?;
    let text = serde_json::to_vec_pretty(&fit).map_err(|e| Error::Internal(format!("C of a scene: {e}")))?;
    write_bytes(&path, &text)?;
    Ok(None)
}

/// C and r2, or what is found and what is expected.
fn usable(sums: &Regression) -> std::result::Result<(f64, f64), String> {
    let n = sums.pixels();
    if n < terrain::FEWEST_PIXELS {
        let expected = terrain::FEWEST_PIXELS;
        return Err(format!("found {n} clear pixels on lit slopes, expected at least {expected} or none at all"));
    }
    let line = sums.line().ok_or_else(|| format!("found {n} pixels that are lit alike, expected several slopes"))?;
    line.c().map(|c| (c, line.r2)).ok_or_else(|| {
        format!(
            "found reflectance {:.5} cos i + {:.5} over {n} pixels, expected both above 0: brighter with the light, and not \
             black without",
            line.m, line.b
        )
    })
}

fn unusable(layer: &Layer, why: &str) -> SceneFault {
    let message = format!(
        "{}: {why}; slopes cannot be corrected, and left as they are they would look like change: the scene is left out, or set \
         `terrain = \"none\"` under [observe] for all scenes",
        layer.name()
    );
    SceneFault::new(Reason::UnusableTerrain, message)
}
