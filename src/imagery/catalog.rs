//! Which scenes are there: folders, archives and STAC files, searched recursively, read by their metadata.
//!
//! Whatever looks like a product and cannot be read is kept with its reason. One acquisition that is found more than once
//! is used once: the newest processing baseline, then the newest processing time. The choice is recorded. An acquisition
//! that was delivered in parts (two datastrips of one tile) keeps all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::archive::{self, Archive, Place};
use super::known::{self, Known, Line};
use super::sensor::Sensors;
use super::stac::OffsetState;
use super::{BadScene, Layer, Scene, hls, landsat, sentinel2, stac};
use crate::error::{Error, Reason, Result, SceneFault};
use crate::files::Trace;

/// `[scenes]`: where to look and which days count.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
    /// Read rasters of STAC Items from servers (http, https, s3); without, such scenes are set aside.
    #[serde(default)]
    pub remote: bool,
    /// What holds for Sentinel-2 STAC Items that leave open whether digital numbers carry the offset.
    #[serde(default)]
    pub offset_state: OffsetState,
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
    Landsat(PathBuf, String),
    Hls(PathBuf, String, Vec<(String, String)>),
    Archive(PathBuf),
    Json(PathBuf),
    Unread(PathBuf, SceneFault),
}

impl Candidate {
    /// The folder or file.
    fn path(&self) -> &Path {
        match self {
            Candidate::Safe(path)
            | Candidate::Landsat(path, _)
            | Candidate::Hls(path, ..)
            | Candidate::Archive(path)
            | Candidate::Json(path)
            | Candidate::Unread(path, _) => path,
        }
    }

    /// Under which name it is remembered: everything that tells it from others, its files apart.
    fn name(&self) -> Option<String> {
        let path = self.path().to_str()?;
        match self {
            Candidate::Safe(_) => Some(known::name(&["safe", path])),
            Candidate::Landsat(_, mtl) => Some(known::name(&["landsat", path, mtl])),
            Candidate::Hls(_, id, files) => {
                let files = files.iter().flat_map(|(band, name)| [band.as_str(), name.as_str()]);
                Some(known::name(&["hls", path, id].into_iter().chain(files).collect::<Vec<_>>()))
            }
            Candidate::Archive(_) => Some(known::name(&["archive", path])),
            Candidate::Json(_) => Some(known::name(&["json", path])),
            Candidate::Unread(..) => None,
        }
    }
}

/// What candidates are read with.
struct Reading<'a> {
    params: &'a Params,
    sensors: &'a Sensors,
    /// A path as records name it.
    source: &'a (dyn Fn(&Path) -> String + Sync),
    known: &'a Known,
    about: &'a str,
    with_angles: bool,
}

/// What came of a candidate: scenes, more JSON files to look into, and what to remember.
#[derive(Default)]
struct Read {
    scenes: Vec<std::result::Result<Scene, BadScene>>,
    linked: Vec<PathBuf>,
    line: Option<Line>,
}

/// Searches the configured paths; relative ones are relative to `base`.
///
/// # Errors
/// A configured path does not exist or cannot be listed, or nothing at all looks like a scene.
pub fn read(params: &Params, base: &Path, sensors: &Sensors) -> Result<Catalog> {
    read_again(params, base, sensors, &Known::default(), false)
}

/// As [`read`], without parsing again what is known and has not changed; `known` learns what there is now. `with_angles` reads
/// where sun and satellite stood from products that keep it in a file of its own.
///
/// # Errors
/// As [`read`].
pub fn read_again(
    params: &Params,
    base: &Path,
    sensors: &Sensors,
    known: &Known,
    with_angles: bool,
) -> Result<Catalog> {
    let mut candidates = Vec::new();
    for path in &params.paths {
        let full = base.join(path);
        if !full.exists() {
            return Err(Error::Input {
                path: full,
                what: "scene path".into(),
                found: "no such file or folder".into(),
                expected: "a folder of scenes, an archive, or a STAC file".into(),
                help: "correct `paths` under [scenes]; relative paths are relative to the configuration file".into(),
            });
        }
        search(&full, &mut candidates)?;
    }
    // However the configuration spells its paths, and from wherever it is called.
    let absolute = |p: &Path| std::path::absolute(p).unwrap_or_else(|_| p.to_path_buf());
    let root = absolute(base);
    let source = |p: &Path| {
        let p = absolute(p);
        p.strip_prefix(&root).unwrap_or(&p).to_string_lossy().into_owned()
    };
    let about = Known::about(&(params.remote, params.offset_state, with_angles), sensors)?;
    let reading = Reading { params, sensors, source: &source, known, about: &about, with_angles };
    let read = read_all(candidates, &reading);

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
            expected:
                "Sentinel-2 L2A .SAFE folders or zips, Landsat Collection 2 Level-2 folders or tars, HLS v2 folders, \
                       or STAC Items (JSON)"
                    .into(),
            help: "correct `paths` under [scenes]".into(),
        });
    }
    for (_, same) in acquisitions {
        choose(same, &mut catalog);
    }
    catalog.scenes.sort_by(|a, b| (a.acquired_at, &a.id).cmp(&(b.acquired_at, &b.id)));
    let mut seen = BTreeSet::new();
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

/// Takes the best of one acquisition, of each part where there are several.
fn choose(mut same: Vec<Scene>, catalog: &mut Catalog) {
    // Best first; the source breaks ties, so that the choice does not depend on the order of a folder listing.
    same.sort_by(|a, b| {
        // 99.99 marks a test product, not the newest.
        let known = |n: &f64| *n < 90.0;
        let number = |s: &Scene| s.baseline.as_deref().and_then(|b| b.parse().ok()).filter(known).unwrap_or(0.0);
        // Of one processing, the bands rather than indices made of them; and the product's own word before a catalog's.
        let bands = |s: &Scene| s.assets.keys().any(|l| matches!(l, Layer::Band(_)));
        let first_hand = |s: &Scene| !s.metadata.iter().any(|m| m.extension().is_some_and(is_json));
        number(b)
            .total_cmp(&number(a))
            .then_with(|| (bands(b), first_hand(b)).cmp(&(bands(a), first_hand(a))))
            .then_with(|| b.generated.cmp(&a.generated))
            .then_with(|| a.source.cmp(&b.source))
    });
    let parts: BTreeSet<String> = same.iter().filter_map(|s| s.part.clone()).collect();
    let several = parts.len() > 1;
    if several {
        // A scene that does not tell its part may be a copy of any: it comes last, and is used only where none tells.
        same.sort_by_key(|s| s.part.is_none());
    }
    let mut kept: Vec<Scene> = Vec::new();
    for scene in same {
        // Where only one part is known, a scene that does not tell its part is a copy of it.
        match kept.iter().find(|k| !several || scene.part.is_none() || k.part == scene.part) {
            None => kept.push(scene),
            Some(best) => catalog.duplicates.push(Duplicate {
                kept: best.id.clone(),
                dropped: scene.id,
                source: scene.source,
                rule: "newest processing baseline, then newest processing time".into(),
            }),
        }
    }
    if let [first, _, ..] = kept.as_slice() {
        let ids: Vec<&str> = kept.iter().map(|s| s.id.as_str()).collect();
        tracing::info!(acquisition = first.acquisition, "parts of one acquisition: {}", ids.join(", "));
    }
    catalog.scenes.extend(kept);
}

fn is_json(extension: &std::ffi::OsStr) -> bool {
    extension.eq_ignore_ascii_case("json") || extension.eq_ignore_ascii_case("geojson")
}

/// Reads candidates in parallel, and what STAC catalogs among them lead to, each JSON file once.
fn read_all(mut candidates: Vec<Candidate>, reading: &Reading) -> Vec<std::result::Result<Scene, BadScene>> {
    let real = |p: &Path| p.canonicalize().unwrap_or_else(|_| p.to_path_buf());
    let mut seen: BTreeSet<PathBuf> = BTreeSet::new();
    let mut scenes = Vec::new();
    let mut lines = Vec::new();
    while !candidates.is_empty() {
        // The same file may be found by search, by path and by link; a catalog may link to its own parent.
        candidates.retain(|c| match c {
            Candidate::Json(file) => seen.insert(real(file)),
            _ => true,
        });
        let read: Vec<Read> = candidates.par_iter().map(|c| reading.recall_or_read(c)).collect();
        candidates.clear();
        for one in read {
            scenes.extend(one.scenes);
            candidates.extend(one.linked.into_iter().map(Candidate::Json));
            lines.extend(one.line);
        }
    }
    reading.known.replace(reading.about.to_owned(), lines);
    scenes
}

/// Collects candidates below `path` in name order. A product folder is one candidate and is not searched further.
fn search(path: &Path, out: &mut Vec<Candidate>) -> Result<()> {
    if path.is_file() {
        out.extend(file_candidate(path));
        return Ok(());
    }
    let mut entries: Vec<(String, PathBuf, bool)> = Vec::new();
    for entry in std::fs::read_dir(path).map_err(Error::io("list", path))? {
        let entry = entry.map_err(Error::io("list", path))?;
        let kind = entry.file_type().map_err(Error::io("list", path))?;
        let full = entry.path();
        let is_folder = if kind.is_symlink() { full.is_dir() } else { kind.is_dir() };
        entries.push((entry.file_name().to_string_lossy().into_owned(), full, is_folder));
    }
    entries.sort();
    let names = || entries.iter().map(|(name, ..)| name.as_str());
    if names().any(|n| n == sentinel2::METADATA) {
        out.push(Candidate::Safe(path.to_path_buf()));
        return Ok(());
    }
    let products = landsat::metadata_files(names());
    if !products.is_empty() {
        out.extend(products.into_iter().map(|mtl| Candidate::Landsat(path.to_path_buf(), mtl.to_owned())));
        return Ok(());
    }
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("SAFE")) {
        let level_1 = names().any(|n| n == LEVEL_1);
        let what = if level_1 { "a Level-1C .SAFE folder" } else { "a .SAFE folder without MTD_MSIL2A.xml" };
        out.push(Candidate::Unread(path.to_path_buf(), no_level_2a(what, level_1)));
        return Ok(());
    }
    let granules = hls::granules(names());
    for (name, full, is_folder) in &entries {
        if *is_folder {
            search(full, out)?;
        } else if !granules.keys().any(|g| name.starts_with(g.as_str())) {
            // A granule comes with a STAC Item of its own, which points to a server.
            out.extend(file_candidate(full));
        }
    }
    out.extend(granules.into_iter().map(|(id, files)| Candidate::Hls(path.to_path_buf(), id, files)));
    Ok(())
}

const LEVEL_1: &str = "MTD_MSIL1C.xml";

fn no_level_2a(found: &str, level_1: bool) -> SceneFault {
    let (reason, help) = if level_1 {
        (Reason::Unsupported, "fetch the L2A product, or make it with Sen2Cor")
    } else {
        (Reason::BadMetadata, "fetch it again")
    };
    SceneFault::new(reason, format!("found {found}, expected a Sentinel-2 Level-2A product; {help}"))
}

fn file_candidate(path: &Path) -> Option<Candidate> {
    let name = path.file_name()?.to_string_lossy();
    if path.extension().is_some_and(is_json) {
        return Some(Candidate::Json(path.to_path_buf()));
    }
    archive::is_archive(&name).then(|| Candidate::Archive(path.to_path_buf()))
}

impl Reading<'_> {
    fn recall_or_read(&self, candidate: &Candidate) -> Read {
        let source = (self.source)(candidate.path());
        let Some(name) = candidate.name() else { return self.read(candidate, &source, &Trace::default()) };
        if let Some((line, scenes)) = self.known.recall(self.about, &name, &source, self.sensors) {
            return Read { scenes: scenes.into_iter().map(Ok).collect(), linked: Vec::new(), line: Some(line) };
        }
        let trace = Trace::default();
        let mut read = self.read(candidate, &source, &trace);
        let good: Vec<Scene> = read.scenes.iter().filter_map(|s| s.as_ref().ok().cloned()).collect();
        // Links lead to files that come and go, and faults may be mended where no stamp tells.
        if good.len() == read.scenes.len() && read.linked.is_empty() {
            read.line = trace.whole().and_then(|files| Known::line(&name, files, &good));
        }
        read
    }

    fn read(&self, candidate: &Candidate, source: &str, trace: &Trace) -> Read {
        let sensors = self.sensors;
        let name = |p: &Path| {
            p.file_name().map(|n| n.to_string_lossy().trim_end_matches(".SAFE").to_owned()).unwrap_or_default()
        };
        let bad = |p: &Path, fault: SceneFault| BadScene { id: name(p), source: source.to_owned(), fault };
        let scenes = match candidate {
            Candidate::Safe(folder) => {
                let place = Place::folder(folder, trace);
                vec![sentinel2::read(&place, source, sensors, self.with_angles).map_err(|f| bad(folder, f))]
            }
            Candidate::Landsat(folder, mtl) => {
                let place = Place::folder(folder, trace);
                vec![landsat::read(&place, mtl, source, sensors).map_err(|f| bad(folder, f))]
            }
            Candidate::Hls(folder, id, files) => {
                let place = Place::folder(folder, trace);
                let scene = hls::read(&place, id, files, source, sensors);
                vec![scene.map_err(|fault| BadScene { id: id.clone(), source: source.to_owned(), fault })]
            }
            Candidate::Archive(file) => read_archive(file, source, sensors, trace, self.with_angles)
                .unwrap_or_else(|fault| vec![Err(fault)])
                .into_iter()
                .map(|scene| scene.map_err(|fault| bad(file, fault)))
                .collect(),
            Candidate::Json(file) => return self.read_json(file, &name(file), source, trace),
            Candidate::Unread(path, fault) => vec![Err(bad(path, fault.clone()))],
        };
        Read { scenes, ..Read::default() }
    }

    fn read_json(&self, file: &Path, name: &str, source: &str, trace: &Trace) -> Read {
        let bad = |reason: Reason, message: String| {
            Err(BadScene { id: name.to_owned(), source: source.to_owned(), fault: SceneFault::new(reason, message) })
        };
        let none = |scenes| Read { scenes, ..Read::default() };
        trace.note(file);
        let around = stac::Around {
            file,
            source,
            remote: self.params.remote,
            offset_state: self.params.offset_state,
            sensors: self.sensors,
            trace,
        };
        let content = match std::fs::read_to_string(file) {
            Ok(content) => content,
            Err(e) => return none(vec![bad(Reason::BadMetadata, format!("cannot be read: {e}"))]),
        };
        match stac::sort_out(&content) {
            Ok(stac::Kind::Other) => Read::default(),
            Ok(stac::Kind::Items(items)) => none(
                items
                    .iter()
                    .map(|item| {
                        stac::read(item, &around).map_err(|fault| BadScene {
                            id: stac::id(item).map_or_else(|| name.to_owned(), str::to_owned),
                            source: source.to_owned(),
                            fault,
                        })
                    })
                    .collect(),
            ),
            Ok(stac::Kind::Links(links)) => {
                let folder = file.parent().unwrap_or(Path::new("."));
                let (on_server, local): (Vec<&String>, Vec<&String>) =
                    links.iter().partition(|l| l.contains("://") && !l.starts_with("file://"));
                let mut read = Read::default();
                if let Some(first) = on_server.first() {
                    read.scenes.push(bad(
                        Reason::Unsupported,
                        format!(
                            "found {} links to items on a server, expected files; save the items to disk (the first: {first})",
                            on_server.len()
                        ),
                    ));
                }
                for link in local {
                    let target = folder.join(link.strip_prefix("file://").unwrap_or(link));
                    if target.is_file() {
                        read.linked.push(target);
                    } else {
                        read.scenes.push(bad(
                            Reason::BadMetadata,
                            format!("found a link to {link}, where no file is; correct the link or fetch the file"),
                        ));
                    }
                }
                read
            }
            Err(e) => none(vec![bad(Reason::BadMetadata, format!("found {e}, expected a STAC Item"))]),
        }
    }
}

/// Every product in an archive, whatever the folders around it are called.
fn read_archive(
    file: &Path,
    source: &str,
    sensors: &Sensors,
    trace: &Trace,
    with_angles: bool,
) -> std::result::Result<Vec<std::result::Result<Scene, SceneFault>>, SceneFault> {
    let is_metadata = |name: &str| {
        let base = name.rsplit('/').next().unwrap_or(name);
        base == sentinel2::METADATA || base == sentinel2::TILE_METADATA || landsat::is_metadata(base)
    };
    trace.note(file);
    let archive = std::sync::Arc::new(Archive::open(file, is_metadata)?);
    // Files by the folder inside the archive.
    let mut folders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in &archive.names {
        let (folder, base) = name.split_at(name.rfind('/').map_or(0, |i| i + 1));
        folders.entry(folder).or_default().push(base);
    }
    let mut scenes = Vec::new();
    for (folder, names) in &folders {
        let place = Place::archive(archive.clone(), folder, trace);
        if names.contains(&sentinel2::METADATA) {
            scenes.push(sentinel2::read(&place, source, sensors, with_angles));
        } else {
            let products = landsat::metadata_files(names.iter().copied());
            scenes.extend(products.into_iter().map(|mtl| landsat::read(&place, mtl, source, sensors)));
        }
        for (id, files) in hls::granules(names.iter().copied()) {
            scenes.push(hls::read(&place, &id, &files, source, sensors));
        }
    }
    if scenes.is_empty() {
        let level_1 = archive.names.iter().any(|n| n.ends_with(LEVEL_1));
        if level_1 {
            return Err(no_level_2a("an archive of a Level-1C product", true));
        }
        return Err(SceneFault::new(
            Reason::Unsupported,
            format!(
                "found an archive of {}, expected a Sentinel-2 L2A .SAFE (with {}), a Landsat Collection 2 Level-2 product \
                 (with an MTL file) or HLS granules; remove it from the scene folders if it is none",
                archive.tell(),
                sentinel2::METADATA
            ),
        ));
    }
    Ok(scenes)
}
