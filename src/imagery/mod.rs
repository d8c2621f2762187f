//! What a scene is: one sensor's product of one acquisition, its bands and masks as files, and how their digital numbers
//! become reflectance. Readers of the formats fill a [`Scene`]; nothing after them knows the formats.

pub mod angles;
pub mod archive;
pub mod brdf;
pub mod calendar;
pub mod catalog;
pub mod dark;
pub mod hls;
pub mod known;
pub mod landsat;
pub mod mask;
pub mod sensor;
pub mod sentinel2;
pub mod stac;
pub mod terrain;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::SceneFault;
use crate::geo::crs::Crs;
use angles::{Angles, Direction};
use sensor::SensorSpec;

/// A spectral band by what it measures, so that sensors compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Band {
    /// About 0.49 um.
    Blue,
    /// About 0.56 um.
    Green,
    /// About 0.66 um.
    Red,
    /// About 0.70 um (Sentinel-2 B05).
    #[serde(rename = "red_edge1")]
    RedEdge1,
    /// About 0.74 um (Sentinel-2 B06).
    #[serde(rename = "red_edge2")]
    RedEdge2,
    /// About 0.78 um (Sentinel-2 B07).
    #[serde(rename = "red_edge3")]
    RedEdge3,
    /// About 0.865 um, narrow (Sentinel-2 B8A, Landsat OLI 5, TM 4).
    Nir,
    /// About 0.83 um, broad (Sentinel-2 B08, 10 m).
    NirBroad,
    /// About 1.6 um.
    #[serde(rename = "swir1")]
    Swir1,
    /// About 2.2 um.
    #[serde(rename = "swir2")]
    Swir2,
}

impl Band {
    /// The band of a name as in the configuration: `red`, `swir1`.
    pub fn of_name(name: &str) -> Option<Band> {
        serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
    }
}

/// What one raster of a scene holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Reflectance of a band.
    Band(Band),
    /// An index somebody computed already, by its lower-case name.
    Index(String),
    /// Scene classes or quality bits.
    Mask,
    /// Saturation bits.
    Saturation,
}

impl Layer {
    /// Column name in the cube: `red`, `index_ndvi`, `mask`.
    pub fn name(&self) -> String {
        match self {
            Layer::Band(band) => match serde_json::to_value(band) {
                Ok(serde_json::Value::String(s)) => s,
                _ => String::new(),
            },
            Layer::Index(name) => format!("index_{name}"),
            Layer::Mask => "mask".into(),
            Layer::Saturation => "saturation".into(),
        }
    }
}

/// How a digital number becomes a physical value: `(dn + pre) * scale + post`.
///
/// Two additive terms, because Sentinel-2's offset is in digital numbers and Landsat's in reflectance: so a product that
/// was reprocessed with an offset gives bit for bit the reflectance of the one without.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Added to the digital number.
    pub pre: f64,
    /// Reflectance per digital number.
    pub scale: f64,
    /// Added to the scaled value.
    pub post: f64,
}

impl Calibration {
    /// Values that are physical already.
    pub const IDENTITY: Calibration = Calibration { pre: 0.0, scale: 1.0, post: 0.0 };

    /// This calibration followed by `slope * value + offset`.
    #[must_use]
    pub fn then(&self, (slope, offset): (f64, f64)) -> Calibration {
        Calibration { pre: self.pre, scale: slope * self.scale, post: slope * self.post + offset }
    }

    /// Physical value of a digital number.
    #[inline]
    pub fn apply(&self, dn: f64) -> f64 {
        (dn + self.pre) * self.scale + self.post
    }
}

/// One raster file of a scene.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asset {
    /// Where it is.
    pub path: PathBuf,
    /// The provider's name of the band, for messages and records.
    pub name: String,
    /// Pixel size that the metadata states, metres; `None` where it does not.
    pub pixel_m: Option<f64>,
    /// How digital numbers become physical values.
    pub calibration: Calibration,
    /// Digital numbers that are no measurement.
    pub invalid_dn: Vec<f64>,
    /// Bit of the saturation raster that speaks of this band.
    pub saturation_bit: Option<u8>,
    /// True where scale, offset and nodata are stated in the raster itself: they are taken when it is opened.
    pub packing_in_raster: bool,
}

impl Asset {
    /// A raster of codes (classes, bits), used as they are.
    pub fn codes(path: PathBuf, name: &str, pixel_m: Option<f64>) -> Asset {
        Asset {
            path,
            name: name.to_owned(),
            pixel_m,
            calibration: Calibration::IDENTITY,
            invalid_dn: Vec::new(),
            saturation_bit: None,
            packing_in_raster: false,
        }
    }
}

/// Where the metadata says that the rasters lie; a raster that lies elsewhere is not the one that is described.
#[derive(Debug, Clone, PartialEq)]
pub struct Stated {
    /// File that says so.
    pub file: String,
    /// Reference system.
    pub crs: Option<Crs>,
    /// Upper left corner, (x, y).
    pub origin: Option<(f64, f64)>,
    /// Width and height in units of the system.
    pub extent: Option<(f64, f64)>,
}

/// Who says whether a scene's digital numbers carry an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OffsetSource {
    /// The product's own metadata, or the family has no two ways.
    Product,
    /// A catalog's item.
    Item,
    /// `offset_state` under `[scenes]`, since the item leaves it open or contradicts itself.
    Setting,
}

/// One sensor's product of one acquisition.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The product's own id, from its metadata.
    pub id: String,
    /// `S2A`, `L8`, ...
    pub sensor: String,
    /// The sensor family's description.
    pub spec: Arc<SensorSpec>,
    /// When it was acquired, UTC.
    pub acquired_at: Timestamp,
    /// Processing baseline or version, where there is one.
    pub baseline: Option<String>,
    /// When it was processed, as the metadata writes it.
    pub generated: Option<String>,
    /// What one acquisition of one tile has in common, however often it was processed.
    pub acquisition: String,
    /// Sentinel-2's or HLS's tile, Landsat's path and row, where they are told.
    pub tile: Option<String>,
    /// Part of the acquisition that this is, where a product is one of several: Sentinel-2's datastrip by its start.
    /// Scenes with one `acquisition` and different parts complement each other.
    pub part: Option<String>,
    /// Where the metadata says that the rasters lie.
    pub stated: Option<Stated>,
    /// Where the sun and the satellite stood.
    pub angles: Angles,
    /// Where the sun stood over the whole scene, where `angles` do not tell; else what was found, and what was expected.
    pub sun: Result<Direction, String>,
    /// Who says whether digital numbers carry an offset; what the product does not say is compared with the pixels.
    pub offset_from: OffsetSource,
    /// Rasters: several resolutions of a band may be there.
    pub assets: BTreeMap<Layer, Vec<Asset>>,
    /// Files the metadata was read from.
    pub metadata: Vec<PathBuf>,
    /// Folder or file it was found as, relative to the configured path.
    pub source: String,
    /// True where the provider masked the data, so that no mask raster is needed.
    pub masked_by_provider: bool,
}

impl Scene {
    /// UTC day of acquisition.
    pub fn date(&self) -> jiff::civil::Date {
        self.acquired_at.to_zoned(jiff::tz::TimeZone::UTC).date()
    }
}

/// A folder or file that should be a scene and is none, with its name.
#[derive(Debug, Clone)]
pub struct BadScene {
    /// Id where it could be read, else the name of the folder or file.
    pub id: String,
    /// Folder or file, relative to the configured path.
    pub source: String,
    /// Why.
    pub fault: SceneFault,
}
