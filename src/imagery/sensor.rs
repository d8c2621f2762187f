//! Sensors are data: one file in `configs/sensors` per family says which bands it has under which names, which digital
//! numbers are no measurement, and how its mask is read. A new sensor is a new file and one line below.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::Band;
use super::mask::Class;
use crate::digest::Sha256;
use crate::error::{Error, Result};

const FILES: [(&str, &str); 5] = [
    ("sentinel-2", include_str!("../../configs/sensors/sentinel-2.toml")),
    ("landsat-oli", include_str!("../../configs/sensors/landsat-oli.toml")),
    ("landsat-tm", include_str!("../../configs/sensors/landsat-tm.toml")),
    ("hls-s30", include_str!("../../configs/sensors/hls-s30.toml")),
    ("hls-l30", include_str!("../../configs/sensors/hls-l30.toml")),
];

/// Slope and offset of reflectance for each band.
pub type BandAdjustments = BTreeMap<Band, (f64, f64)>;

/// One sensor family.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SensorSpec {
    /// Digest of the file: a changed description is another description.
    #[serde(skip, default = "no_digest")]
    pub digest: Sha256,
    /// Name of the file.
    pub id: String,
    /// For people.
    pub title: String,
    /// Pixel sizes the user may choose; empty where the family keeps its own.
    pub pixel_m: Vec<u32>,
    /// Digital number that means: nothing was measured.
    pub nodata_dn: f64,
    /// Digital number that means: too bright to measure.
    pub saturated_dn: Option<f64>,
    /// The metadata's platform name in lower case -> sensor id of the tables.
    pub platforms: BTreeMap<String, String>,
    /// How the mask raster is read.
    pub mask: MaskSpec,
    /// Bands.
    pub bands: Vec<BandSpec>,
    /// Indices that the provider delivers as rasters, lower case.
    #[serde(default)]
    pub given_indices: Vec<String>,
    /// Adjustments to another sensor's bandpass: set -> sensor id -> band -> (slope, offset) of reflectance.
    #[serde(default)]
    pub bandpass: BTreeMap<String, BTreeMap<String, BandAdjustments>>,
}

impl SensorSpec {
    /// Slope and offset that bring a band's reflectance to the reference sensor of a set; `None` where the set says
    /// nothing of this sensor or band.
    pub fn bandpass(&self, set: &str, sensor: &str, band: Band) -> Option<(f64, f64)> {
        self.bandpass.get(set)?.get(sensor)?.get(&band).copied()
    }
}

fn no_digest() -> Sha256 {
    Sha256::of(b"")
}

/// One band of a family.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BandSpec {
    /// The provider's name: `B04`, `SR_B4`.
    pub name: String,
    /// What it measures.
    pub band: Band,
    /// Name or number inside the product metadata: `B4` of the spectral list, `4` of an MTL.
    pub physical: String,
    /// STAC common names.
    pub common: Vec<String>,
    /// Bit of the saturation raster.
    pub saturation_bit: Option<u8>,
}

/// How a mask raster is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskLayout {
    /// One class a value.
    Scl,
    /// Quality bits.
    QaPixel,
    /// Quality bits in one byte, 255 where nothing was measured.
    Fmask,
}

/// Mask of a family.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskSpec {
    /// Classes or bits.
    pub layout: MaskLayout,
    /// Names of the mask raster, lower case.
    pub keys: Vec<String>,
    /// Names of the saturation raster, lower case.
    #[serde(default)]
    pub saturation_keys: Vec<String>,
    /// Bit of the saturation raster that says: hidden by terrain.
    pub occlusion_bit: Option<u8>,
    /// Value to class, for `scl`.
    #[serde(default)]
    pub classes: BTreeMap<String, Class>,
    /// Bits in order of precedence, for `qa_pixel` and `fmask`.
    #[serde(default)]
    pub bits: Vec<MaskBit>,
}

/// One quality bit.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskBit {
    /// Position, from 0.
    pub bit: u8,
    /// What it means when set.
    pub class: Class,
}

/// All families.
#[derive(Debug, Clone)]
pub struct Sensors(Vec<Arc<SensorSpec>>);

impl Sensors {
    /// The families that come with the program.
    ///
    /// # Errors
    /// A sensor file is malformed: a mistake of ours.
    pub fn builtin() -> Result<Self> {
        FILES
            .iter()
            .map(|(name, text)| {
                toml::from_str::<SensorSpec>(text)
                    .map(|spec| Arc::new(SensorSpec { digest: Sha256::of(text.as_bytes()), ..spec }))
                    .map_err(|e| Error::Internal(format!("sensor file {name}: {e}")))
            })
            .collect::<Result<_>>()
            .map(Sensors)
    }

    /// A family by the name of its file, and the sensor id of a platform within it.
    pub fn in_family(&self, id: &str, platform: &str) -> Option<(Arc<SensorSpec>, String)> {
        let key = platform.trim().to_lowercase();
        let spec = self.by_id(id)?;
        spec.platforms.get(&key).map(|sensor| (spec.clone(), sensor.clone()))
    }

    /// A family by the name of its file.
    pub fn by_id(&self, id: &str) -> Option<&Arc<SensorSpec>> {
        self.0.iter().find(|s| s.id == id)
    }

    /// Digests of all descriptions.
    pub fn digests(&self) -> Vec<Sha256> {
        self.0.iter().map(|s| s.digest).collect()
    }

    /// The family and sensor id of a platform, by the metadata's spelling. Products derived from several families' data
    /// (HLS) stand last in the list and are found by [`Sensors::in_family`].
    pub fn by_platform(&self, platform: &str) -> Option<(Arc<SensorSpec>, String)> {
        let key = platform.trim().to_lowercase();
        self.0.iter().find_map(|spec| spec.platforms.get(&key).map(|id| (spec.clone(), id.clone())))
    }

    /// Every platform that is known, for messages.
    pub fn platforms(&self) -> String {
        let all: std::collections::BTreeSet<&str> =
            self.0.iter().flat_map(|s| s.platforms.keys().map(String::as_str)).collect();
        all.into_iter().collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_read_and_names_are_unique() {
        let sensors = Sensors::builtin().expect("sensor files");
        for spec in &sensors.0 {
            let mut names: Vec<_> = spec.bands.iter().map(|b| &b.name).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), spec.bands.len(), "{}", spec.id);
        }
        assert_eq!(sensors.by_platform("Sentinel-2B").expect("known").1, "S2B");
        assert_eq!(sensors.by_platform("LANDSAT_9").expect("known").1, "L9");
        assert!(sensors.by_platform("aqua").is_none());
        assert_eq!(sensors.by_platform("sentinel-2a").expect("known").0.id, "sentinel-2", "HLS only when asked for");
        assert_eq!(sensors.in_family("hls-s30", "Sentinel-2A").expect("known").1, "S2A");
        assert!(sensors.in_family("hls-l30", "sentinel-2a").is_none());
    }

    #[test]
    fn landsat_7_comes_to_landsat_8_by_the_regression_of_roy_and_in_that_direction() {
        let (spec, sensor) = Sensors::builtin().expect("sensors").by_platform("landsat-7").expect("landsat 7");
        for (band, etm, oli) in
            [(Band::Red, 0.05, 0.046_925), (Band::Nir, 0.30, 0.300_09), (Band::Swir2, 0.1, 0.102_39)]
        {
            let (slope, offset) = spec.bandpass("roy2016-rma", &sensor, band).expect("coefficients");
            assert!((slope * etm + offset - oli).abs() < 1e-12, "{band:?}");
        }
        let (spec, sensor) = Sensors::builtin().expect("sensors").by_platform("landsat-8").expect("landsat 8");
        assert_eq!(spec.bandpass("roy2016-rma", &sensor, Band::Red), None, "the reference is left as it is");
    }
}
