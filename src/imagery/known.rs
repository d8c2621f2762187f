//! What earlier runs read in the metadata of products, so that ten thousand of them are not parsed again.
//!
//! A text file with one line for each product folder, archive or JSON file: checksum, name, and what was read. A line holds
//! as long as every file that it was read from has the [`Stamp`] that it had then, and no longer than the program, its
//! sensors and the settings that shape a scene stay as they are. A damaged line is none. Only what could be read is kept:
//! a fault is looked at again by every run, so that whatever mends it is noticed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::angles::{AngleGrid, Angles, Direction, Geometry};
use super::sensor::Sensors;
use super::{Asset, Calibration, Layer, OffsetSource, Scene, Stated};
use crate::digest::Sha256;
use crate::error::{Error, Result};
use crate::files::{Stamp, write_bytes};

/// Raise when a reader of metadata makes another scene of the same files.
const VERSION: u32 = 3;

/// What is remembered, and what this run found.
#[derive(Debug, Default)]
pub struct Known {
    file: PathBuf,
    before: Lines,
    now: Mutex<Option<Lines>>,
}

#[derive(Debug, Default, PartialEq)]
struct Lines {
    /// What all lines depend on.
    about: String,
    /// Name -> what was read. Parsed when it is asked for.
    by_name: BTreeMap<String, String>,
}

/// A name and what was read under it, as they stand in the file.
pub type Line = (String, String);

impl Known {
    /// What earlier runs left; nothing where there is none or it is damaged.
    pub fn load(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let mut lines = text.lines();
        let about = lines.next().unwrap_or_default().to_owned();
        let by_name = lines
            .filter_map(|line| line.split_once('\t'))
            .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
            .collect();
        Known { file: file.to_path_buf(), before: Lines { about, by_name }, now: Mutex::default() }
    }

    /// Everything that a scene depends on besides its files.
    ///
    /// # Errors
    /// Only by a mistake of ours.
    pub fn about(settings: &impl Serialize, sensors: &Sensors) -> Result<String> {
        let all = (env!("CARGO_PKG_VERSION"), VERSION, sensors.digests(), settings);
        Ok(format!("what product metadata said; {}", Sha256::of_json(&all)?))
    }

    /// The scenes of a place, if its files are as they were.
    pub fn recall(&self, about: &str, name: &str, source: &str, sensors: &Sensors) -> Option<(Line, Vec<Scene>)> {
        let rest = self.before.by_name.get(name).filter(|_| self.before.about == about)?;
        let (sum, body) = rest.split_once('\t')?;
        if sum != checksum(name, body) {
            return None;
        }
        let entry: Entry = serde_json::from_str(body).ok()?;
        if !entry.files.iter().all(|(path, stamp)| Stamp::at(path) == *stamp) {
            return None;
        }
        let scenes: Option<Vec<Scene>> = entry.scenes.into_iter().map(|s| s.unpack(source, sensors)).collect();
        Some(((name.to_owned(), rest.clone()), scenes?))
    }

    /// The line for what was just read; `None` for what cannot be written down, such as a path that is no text.
    pub fn line(name: &str, files: Vec<(PathBuf, Option<Stamp>)>, scenes: &[Scene]) -> Option<Line> {
        let scenes = scenes.iter().map(Packed::of).collect::<Option<_>>()?;
        let body = serde_json::to_string(&Entry { files, scenes }).ok()?;
        Some((name.to_owned(), format!("{}\t{body}", checksum(name, &body))))
    }

    /// Takes what this run found in place of what was known, so that what is gone is forgotten.
    pub fn replace(&self, about: String, lines: Vec<Line>) {
        if let Ok(mut now) = self.now.lock() {
            *now = Some(Lines { about, by_name: lines.into_iter().collect() });
        }
    }

    /// Writes what this run found, where it differs from what was known.
    ///
    /// # Errors
    /// The file system's answer.
    pub fn save(&self) -> Result<()> {
        let now = self.now.lock().map_err(|_| Error::Internal("product memory is poisoned".into()))?;
        let Some(now) = now.as_ref().filter(|now| **now != self.before) else { return Ok(()) };
        let mut text = format!("{}\n", now.about);
        for (name, rest) in &now.by_name {
            text.extend([name.as_str(), "\t", rest.as_str(), "\n"]);
        }
        write_bytes(&self.file, text.as_bytes())
    }
}

/// A name that is one field of a line: JSON writes tabs and line ends as escapes.
pub fn name(parts: &[&str]) -> String {
    serde_json::json!(parts).to_string()
}

fn checksum(name: &str, body: &str) -> String {
    let mut crc = flate2::Crc::new();
    crc.update(name.as_bytes());
    crc.update(body.as_bytes());
    format!("{:08x}", crc.sum())
}

#[derive(Serialize, Deserialize)]
struct Entry {
    files: Vec<(PathBuf, Option<Stamp>)>,
    scenes: Vec<Packed>,
}

/// Numbers as their bits: decimal text loses the last digit, and has no word for NaN.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq)]
struct Bits(u64);

impl From<f64> for Bits {
    fn from(value: f64) -> Self {
        Bits(value.to_bits())
    }
}

impl Bits {
    fn value(self) -> f64 {
        f64::from_bits(self.0)
    }
}

/// A scene in few bytes: what its rasters have in common stands once.
#[derive(Serialize, Deserialize)]
struct Packed {
    id: String,
    sensor: String,
    spec: String,
    acquired_at: jiff::Timestamp,
    baseline: Option<String>,
    generated: Option<String>,
    acquisition: String,
    tile: Option<String>,
    part: Option<String>,
    stated: Option<PackedStated>,
    angles: PackedAngles,
    sun: std::result::Result<[Bits; 2], String>,
    offset_from: OffsetSource,
    metadata: Vec<PathBuf>,
    masked_by_provider: bool,
    /// How the paths of all rasters begin.
    folder: String,
    numbers: Vec<Numbers>,
    assets: Vec<(Layer, Vec<PackedAsset>)>,
}

#[derive(Serialize, Deserialize)]
struct PackedStated(String, Option<crate::geo::crs::Crs>, Option<[Bits; 2]>, Option<[Bits; 2]>);

/// Sun, then satellite: zenith and azimuth.
#[derive(Serialize, Deserialize)]
enum PackedAngles {
    Unknown(String),
    Nadir,
    Scene([Bits; 4]),
    Grid(Box<PackedGrid>),
}

/// Origin and step, nodes a row, the sun at the corners and the satellite at the nodes as hexadecimal text.
#[derive(Serialize, Deserialize)]
struct PackedGrid([Bits; 4], usize, String, String);

impl PackedAngles {
    fn of(angles: &Angles) -> PackedAngles {
        let both = |d: Direction| [d.zenith_deg, d.azimuth_deg].map(Bits::from);
        match angles {
            Angles::Unknown(why) => PackedAngles::Unknown(why.clone()),
            Angles::Nadir => PackedAngles::Nadir,
            Angles::Scene(Geometry { sun, view }) => {
                let ([a, b], [c, d]) = (both(*sun), both(*view));
                PackedAngles::Scene([a, b, c, d])
            }
            Angles::Grid(g) => {
                let place = [g.origin.0, g.origin.1, g.step.0, g.step.1].map(Bits::from);
                PackedAngles::Grid(Box::new(PackedGrid(place, g.cols, hex(&g.sun), hex(&g.view))))
            }
        }
    }

    fn unpack(self) -> Option<Angles> {
        let direction =
            |zenith: Bits, azimuth: Bits| Direction { zenith_deg: zenith.value(), azimuth_deg: azimuth.value() };
        Some(match self {
            PackedAngles::Unknown(why) => Angles::Unknown(why),
            PackedAngles::Nadir => Angles::Nadir,
            PackedAngles::Scene([a, b, c, d]) => {
                Angles::Scene(Geometry { sun: direction(a, b), view: direction(c, d) })
            }
            PackedAngles::Grid(grid) => {
                let PackedGrid(place, cols, sun, view) = *grid;
                let ([x, y, right, down], view) = (place.map(Bits::value), unhex(&view)?);
                if cols == 0 || view.is_empty() || !view.len().is_multiple_of(cols) {
                    return None;
                }
                let sun = unhex(&sun)?.try_into().ok()?;
                Angles::Grid(AngleGrid { origin: (x, y), step: (right, down), cols, sun, view })
            }
        })
    }
}

fn hex(nodes: &[[f32; 2]]) -> String {
    nodes.iter().flatten().map(|v| format!("{:08x}", v.to_bits())).collect()
}

fn unhex(text: &str) -> Option<Vec<[f32; 2]>> {
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let number = |w: &[u8; 8]| u32::from_str_radix(std::str::from_utf8(w).ok()?, 16).ok().map(f32::from_bits);
    let numbers: Vec<f32> = words.iter().map(number).collect::<Option<_>>()?;
    let (pairs, single) = numbers.as_chunks::<2>();
    (rest.is_empty() && single.is_empty()).then(|| pairs.to_vec())
}

/// Calibration, digital numbers that are no measurement, whether the raster itself states them.
#[derive(Serialize, Deserialize, PartialEq)]
struct Numbers([Bits; 3], Vec<Bits>, bool);

/// Rest of the path, name, pixel size, position of the numbers, saturation bit.
#[derive(Serialize, Deserialize)]
struct PackedAsset(String, String, Option<Bits>, usize, Option<u8>);

impl Packed {
    fn of(scene: &Scene) -> Option<Packed> {
        let all = scene.assets.values().flatten();
        let folder = all
            .map(|a| a.path.to_str().map(|p| &p[..p.rfind('/').map_or(0, |i| i + 1)]))
            .reduce(|a, b| Some(common(a?, b?)))??;
        let mut numbers: Vec<Numbers> = Vec::new();
        let mut assets = Vec::new();
        for (layer, list) in &scene.assets {
            let mut packed = Vec::new();
            for asset in list {
                let c = &asset.calibration;
                let own = Numbers(
                    [c.pre, c.scale, c.post].map(Bits::from),
                    asset.invalid_dn.iter().copied().map(Bits::from).collect(),
                    asset.packing_in_raster,
                );
                let position = numbers.iter().position(|n| *n == own).unwrap_or_else(|| {
                    numbers.push(own);
                    numbers.len() - 1
                });
                let rest = asset.path.to_str()?.get(folder.len()..)?.to_owned();
                let pixel_m = asset.pixel_m.map(Bits::from);
                packed.push(PackedAsset(rest, asset.name.clone(), pixel_m, position, asset.saturation_bit));
            }
            assets.push((layer.clone(), packed));
        }
        let pair = |p: Option<(f64, f64)>| p.map(|(x, y)| [x, y].map(Bits::from));
        Some(Packed {
            id: scene.id.clone(),
            sensor: scene.sensor.clone(),
            spec: scene.spec.id.clone(),
            acquired_at: scene.acquired_at,
            baseline: scene.baseline.clone(),
            generated: scene.generated.clone(),
            acquisition: scene.acquisition.clone(),
            tile: scene.tile.clone(),
            part: scene.part.clone(),
            stated: scene
                .stated
                .as_ref()
                .map(|s| PackedStated(s.file.clone(), s.crs.clone(), pair(s.origin), pair(s.extent))),
            angles: PackedAngles::of(&scene.angles),
            sun: scene.sun.clone().map(|d| [d.zenith_deg, d.azimuth_deg].map(Bits::from)),
            offset_from: scene.offset_from,
            metadata: scene.metadata.clone(),
            masked_by_provider: scene.masked_by_provider,
            folder: folder.to_owned(),
            numbers,
            assets,
        })
    }

    fn unpack(self, source: &str, sensors: &Sensors) -> Option<Scene> {
        let mut assets: BTreeMap<Layer, Vec<Asset>> = BTreeMap::new();
        for (layer, list) in self.assets {
            let mut unpacked = Vec::with_capacity(list.len());
            for PackedAsset(rest, name, pixel_m, position, saturation_bit) in list {
                let Numbers([pre, scale, post], invalid_dn, packing_in_raster) = self.numbers.get(position)?;
                unpacked.push(Asset {
                    path: PathBuf::from(format!("{}{rest}", self.folder)),
                    name,
                    pixel_m: pixel_m.map(Bits::value),
                    calibration: Calibration { pre: pre.value(), scale: scale.value(), post: post.value() },
                    invalid_dn: invalid_dn.iter().map(|b| b.value()).collect(),
                    saturation_bit,
                    packing_in_raster: *packing_in_raster,
                });
            }
            assets.insert(layer, unpacked);
        }
        let pair = |p: Option<[Bits; 2]>| p.map(|[x, y]| (x.value(), y.value()));
        Some(Scene {
            id: self.id,
            sensor: self.sensor,
            spec: sensors.by_id(&self.spec)?.clone(),
            acquired_at: self.acquired_at,
            baseline: self.baseline,
            generated: self.generated,
            acquisition: self.acquisition,
            tile: self.tile,
            part: self.part,
            stated: self.stated.map(|PackedStated(file, crs, origin, extent)| Stated {
                file,
                crs,
                origin: pair(origin),
                extent: pair(extent),
            }),
            angles: self.angles.unpack()?,
            sun: self
                .sun
                .map(|[zenith, azimuth]| Direction { zenith_deg: zenith.value(), azimuth_deg: azimuth.value() }),
            offset_from: self.offset_from,
            assets,
            metadata: self.metadata,
            source: source.to_owned(),
            masked_by_provider: self.masked_by_provider,
        })
    }
}

/// What two texts have in common at the beginning.
fn common<'a>(a: &'a str, b: &str) -> &'a str {
    let differ = a.char_indices().zip(b.chars()).find(|((_, x), y)| x != y).map(|((at, _), _)| at);
    &a[..differ.unwrap_or(a.len().min(b.len()))]
}
