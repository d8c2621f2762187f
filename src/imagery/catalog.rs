//! Which scenes are there: folders and STAC files, searched recursively, read by their metadata.
//!
//! Whatever looks like a product and cannot be read is kept with its reason. One acquisition that is found more than once
//! is used once: the newest processing baseline, then the newest processing time. The choice is recorded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::sensor::Sensors;
use super::{BadScene, Scene, landsat, sentinel2, stac};
use crate::error::{Error, Reason, Result, SceneFault};

/// `[scenes]`: where to look and which days count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Folders or files, searched recursively.
    pub paths: Vec<PathBuf>,
    /// First day of acquisition, UTC, inclusive.
    #[serde(default)]
    pub start: Option<Date>,
    /// Last day of acquisition, UTC, inclusive.
    #[serde(default)]
    pub end: Option<Date>,
}

/// One acquisition found more than once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Duplicate {
    /// Scene that is used.
    pub kept: String,
    /// Scene that is not.
    pub dropped: String,
    /// Where the latter was found.
    pub source: String,
    /// Why.
    pub rule: String,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Sorted by time of acquisition, then id; ids are unique.
    pub scenes: Vec<Scene>,
    /// What should be a scene and cannot be read.
    pub bad: Vec<BadScene>,
    /// Acquisitions found more than once.
    pub duplicates: Vec<Duplicate>,
    /// Scenes outside the configured days.
    pub outside_dates: usize,
}

/// A place that may hold a scene.
enum Candidate {
    Safe(PathBuf),
    Landsat(PathBuf),
    Json(PathBuf),
    Unread(PathBuf, SceneFault),
}

/// Searches the configured paths; relative ones are relative to `base`.
///
/// # Errors
/// A configured path does not exist or cannot be listed, or nothing at all looks like a scene.
pub fn read(params: &Params, base: &Path, sensors: &Sensors) -> Result<Catalog> {
    let mut candidates = Vec::new();
    for path in &params.paths {
        let full = base.join(path);
        if !full.exists() {
            return Err(Error::Input {
                path: full,
                what: "scene path".into(),
                found: "no such file or folder".into(),
                expected: "a folder of scenes, or a STAC Item".into(),
                help: "correct `paths` under [scenes]; relative paths are relative to the configuration file".into(),
            });
        }
        search(&full, &mut candidates)?;
    }
    let source = |p: &Path| p.strip_prefix(base).unwrap_or(p).to_string_lossy().into_owned();
    let read: Vec<std::result::Result<Scene, BadScene>> =
        candidates.par_iter().flat_map_iter(|c| read_candidate(c, &source, sensors)).collect();

    let mut catalog = Catalog::default();
    let mut acquisitions: BTreeMap<String, Vec<Scene>> = BTreeMap::new();
    for result in read {
        match result {
            Ok(scene) => {
                let date = scene.date();
                if params.start.is_some_and(|s| date < s) || params.end.is_some_and(|e| date > e) {
                    catalog.outside_dates += 1;
                } else {
                    acquisitions.entry(scene.acquisition.clone()).or_default().push(scene);
                }
            }
            Err(bad) => catalog.bad.push(bad),
        }
    }
    if acquisitions.is_empty() && catalog.bad.is_empty() && catalog.outside_dates == 0 {
        let searched: Vec<String> = params.paths.iter().map(|p| p.display().to_string()).collect();
        return Err(Error::Input {
            path: base.to_path_buf(),
            what: "scenes".into(),
            found: format!("no scene below {}", searched.join(", ")),
            expected: "Sentinel-2 .SAFE folders, Landsat Collection 2 Level-2 folders, or STAC Items (JSON)".into(),
            help: "correct `paths` under [scenes]".into(),
        });
    }
    for (_, mut same) in acquisitions {
        // Newest first; the source breaks ties, so that the choice does not depend on the order of a folder listing.
        same.sort_by(|a, b| {
            let number = |s: &Scene| s.baseline.as_deref().and_then(|b| b.parse::<f64>().ok()).unwrap_or(0.0);
            number(b)
                .total_cmp(&number(a))
                .then_with(|| b.generated.cmp(&a.generated))
                .then_with(|| a.source.cmp(&b.source))
        });
        let mut same = same.into_iter();
        let Some(kept) = same.next() else { continue };
        catalog.duplicates.extend(same.map(|dropped| Duplicate {
            kept: kept.id.clone(),
            dropped: dropped.id,
            source: dropped.source,
            rule: "newest processing baseline, then newest processing time".into(),
        }));
        catalog.scenes.push(kept);
    }
    catalog.scenes.sort_by(|a, b| (a.acquired_at, &a.id).cmp(&(b.acquired_at, &b.id)));
    let mut seen = std::collections::BTreeSet::new();
    let (unique, repeated): (Vec<Scene>, Vec<Scene>) =
        std::mem::take(&mut catalog.scenes).into_iter().partition(|s| seen.insert(s.id.clone()));
    catalog.scenes = unique;
    catalog.bad.extend(repeated.into_iter().map(|s| BadScene {
        fault: SceneFault::new(
            Reason::BadMetadata,
            format!("found the id {} a second time for another acquisition, expected unique ids", s.id),
        ),
        id: s.id,
        source: s.source,
    }));
    catalog.bad.sort_by(|a, b| (&a.source, &a.id).cmp(&(&b.source, &b.id)));
    catalog.duplicates.sort();
    Ok(catalog)
}

/// Collects candidates below `path` in name order. A product folder is one candidate and is not searched further.
fn search(path: &Path, out: &mut Vec<Candidate>) -> Result<()> {
    if path.is_file() {
        out.extend(file_candidate(path));
        return Ok(());
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)
        .map_err(Error::io("list", path))?
        .map(|e| e.map(|e| e.path()).map_err(Error::io("list", path)))
        .collect::<Result<_>>()?;
    entries.sort();
    if entries.iter().any(|e| e.file_name().is_some_and(|n| n == sentinel2::METADATA)) {
        out.push(Candidate::Safe(path.to_path_buf()));
        return Ok(());
    }
    if let Some(mtl) = landsat::metadata_file(&entries) {
        out.push(Candidate::Landsat(mtl.clone()));
        return Ok(());
    }
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("SAFE")) {
        let fault = SceneFault::new(
            Reason::BadMetadata,
            format!(
                "found a .SAFE folder without {}, expected a Level-2A product; fetch it again",
                sentinel2::METADATA
            ),
        );
        out.push(Candidate::Unread(path.to_path_buf(), fault));
        return Ok(());
    }
    for entry in entries {
        if entry.is_dir() {
            search(&entry, out)?;
        } else {
            out.extend(file_candidate(&entry));
        }
    }
    Ok(())
}

fn file_candidate(path: &Path) -> Option<Candidate> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    if name.ends_with(".json") || name.ends_with(".geojson") {
        return Some(Candidate::Json(path.to_path_buf()));
    }
    if [".zip", ".tar", ".tar.gz", ".tgz"].iter().any(|e| name.ends_with(e)) {
        let fault = SceneFault::new(
            Reason::Unsupported,
            "found an archive, expected a folder; archives are not read by this version: unpack it",
        );
        return Some(Candidate::Unread(path.to_path_buf(), fault));
    }
    None
}

fn read_candidate(
    candidate: &Candidate,
    source: &(dyn Fn(&Path) -> String + Sync),
    sensors: &Sensors,
) -> Vec<std::result::Result<Scene, BadScene>> {
    let name =
        |p: &Path| p.file_name().map(|n| n.to_string_lossy().trim_end_matches(".SAFE").to_owned()).unwrap_or_default();
    let bad = |p: &Path, fault: SceneFault| Err(BadScene { id: name(p), source: source(p), fault });
    match candidate {
        Candidate::Safe(folder) => vec![sentinel2::read(folder, &source(folder), sensors).or_else(|f| bad(folder, f))],
        Candidate::Landsat(mtl) => {
            let folder = mtl.parent().unwrap_or(mtl);
            vec![landsat::read(mtl, &source(folder), sensors).or_else(|f| bad(folder, f))]
        }
        Candidate::Json(file) => {
            let content = match std::fs::read_to_string(file) {
                Ok(content) => content,
                Err(e) => return vec![bad(file, SceneFault::new(Reason::BadMetadata, format!("cannot be read: {e}")))],
            };
            match stac::sort_out(&content) {
                Ok(stac::Kind::Other) => Vec::new(),
                Ok(stac::Kind::Items(items)) => items
                    .iter()
                    .map(|item| {
                        stac::read(item, file, &source(file), sensors).map_err(|fault| BadScene {
                            id: stac::id(item).map_or_else(|| name(file), str::to_owned),
                            source: source(file),
                            fault,
                        })
                    })
                    .collect(),
                Err(e) => {
                    vec![bad(file, SceneFault::new(Reason::BadMetadata, format!("found {e}, expected a STAC Item")))]
                }
            }
        }
        Candidate::Unread(path, fault) => vec![bad(path, fault.clone())],
    }
}
