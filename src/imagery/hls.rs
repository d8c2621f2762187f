//! Harmonized Landsat Sentinel-2 (HLS) v2 granules: one GeoTIFF a band, described by their own tags.
//!
//! File names serve to find what belongs together and as the granule's id. When it was sensed, by which satellite, and when
//! it was processed come from the tags of one band; scale, offset and nodata from each raster when it is opened.

use std::collections::BTreeMap;
use std::path::Path;

use super::angles::{Angles, Direction};
use super::archive::Place;
use super::sensor::{SensorSpec, Sensors};
use super::{Asset, Calibration, Layer, OffsetSource, Scene};
use crate::error::{Reason, SceneFault};
use crate::gdal_io;

/// Files of granules among `names`: granule id -> (band, name). `HLS.S30.T50RLV.2020123T024551.v2.0.B04.tif`.
pub fn granules<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<String, Vec<(String, String)>> {
    let mut found: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for name in names {
        let base = name.rsplit('/').next().unwrap_or(name);
        let Some(stem) = base.strip_suffix(".tif").or_else(|| base.strip_suffix(".TIF")) else { continue };
        let Some((granule, band)) = stem.rsplit_once('.') else { continue };
        if family(granule).is_some() && granule.split('.').count() >= 5 {
            found.entry(granule.to_owned()).or_default().push((band.to_owned(), name.to_owned()));
        }
    }
    found
}

/// Sensor family of a granule id or a STAC collection: `HLS.S30....`, `HLSS30.v2.0`, `HLSS30_VI`, `hls2-s30`.
pub fn family(name: &str) -> Option<&'static str> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).take(10).collect::<String>().to_uppercase();
    let rest = plain.strip_prefix("HLS")?;
    let rest = rest.strip_prefix("VI").or_else(|| rest.strip_prefix('2')).unwrap_or(rest);
    match rest.get(..3)? {
        "S30" => Some("hls-s30"),
        "L30" => Some("hls-l30"),
        _ => None,
    }
}

/// The granule without its version, and the version: what one acquisition has in common, and which of two is newer. The
/// index product of a granule is the same acquisition.
pub fn acquisition(granule: &str) -> (String, Option<String>) {
    let granule = granule.replacen("HLS-VI.", "HLS.", 1);
    match granule.rsplit_once(".v") {
        Some((acquisition, version)) => (acquisition.to_owned(), Some(version.to_owned())),
        None => (granule, None),
    }
}

/// What the tags of one raster say of the whole granule.
pub struct Tags {
    platform: Option<String>,
    sensed_at: Option<String>,
    processed_at: Option<String>,
    /// Zenith and azimuth.
    sun: [Option<String>; 2],
}

impl Tags {
    /// Reads them.
    ///
    /// # Errors
    /// The raster cannot be opened.
    pub fn read(path: &Path) -> Result<Tags, SceneFault> {
        let keys = [
            "SPACECRAFT_NAME",
            "PRODUCT_URI",
            "LANDSAT_PRODUCT_ID",
            "TILE_ID",
            "SENSING_TIME",
            "HLS_PROCESSING_TIME",
            "MEAN_SUN_ZENITH_ANGLE",
            "MEAN_SUN_AZIMUTH_ANGLE",
        ];
        let [spacecraft, uri, landsat, tile, sensed, processed, zenith, azimuth] = gdal_io::tags(path, keys)?;
        // Where two source products were joined, values are joined as well: "a; b" or "a + b".
        let first = |value: Option<String>| {
            value.and_then(|v| v.split([';', ',', '+']).next().map(|p| p.trim().to_owned())).filter(|v| !v.is_empty())
        };
        let by_product = || {
            let source = first(uri).or_else(|| first(landsat)).or_else(|| first(tile))?;
            let unit = source.chars().nth(2).filter(|c| c.is_ascii_alphabetic());
            match (source.get(..2)?, source.get(2..4)?) {
                ("S2", _) => Some(format!("sentinel-2{}", unit?.to_ascii_lowercase())),
                ("LC" | "LO", number) => Some(format!("landsat-{}", number.trim_start_matches('0'))),
                _ => None,
            }
        };
        Ok(Tags {
            platform: first(spacecraft).or_else(by_product),
            sensed_at: first(sensed),
            processed_at: first(processed),
            sun: [first(zenith), first(azimuth)],
        })
    }

    /// Sensor family and unit. Without a platform, S30 is of an untold Sentinel-2; L30 is refused, since Landsat 8 and 9
    /// are told apart in every table.
    ///
    /// # Errors
    /// The platform is not known to the family.
    pub fn sensor(
        platform: Option<&str>,
        family: &str,
        sensors: &Sensors,
    ) -> Result<(std::sync::Arc<SensorSpec>, String), SceneFault> {
        let platform = platform.or((family == "hls-s30").then_some("sentinel-2"));
        let known = platform.and_then(|p| sensors.in_family(family, p));
        known.ok_or_else(|| {
            SceneFault::new(
                Reason::Unsupported,
                format!(
                    "SPACECRAFT_NAME, LANDSAT_PRODUCT_ID: found {}, expected a satellite of {family}",
                    platform.unwrap_or("neither")
                ),
            )
        })
    }

    /// Where the sun stood over the granule (of two source products that were joined, the first).
    ///
    /// # Errors
    /// The tags do not tell, or what cannot be.
    pub fn sun(&self) -> Result<Direction, String> {
        let number = |text: &Option<String>| text.as_ref().and_then(|t| t.parse::<f64>().ok());
        let [Some(zenith_deg), Some(azimuth_deg)] = self.sun.each_ref().map(number) else {
            return Err(
                "found no tags MEAN_SUN_ZENITH_ANGLE and MEAN_SUN_AZIMUTH_ANGLE that are numbers, expected both"
                    .to_owned(),
            );
        };
        Direction { zenith_deg, azimuth_deg }.checked_sun()
    }

    /// The platform, as the tags write it.
    pub fn platform(&self) -> Option<&str> {
        self.platform.as_deref()
    }
}

/// Reads a granule by its files.
///
/// # Errors
/// The tags do not say what a scene needs, or no band is known.
pub fn read(
    place: &Place,
    granule: &str,
    files: &[(String, String)],
    source: &str,
    sensors: &Sensors,
) -> Result<Scene, SceneFault> {
    let bad = |message: String| SceneFault::new(Reason::BadMetadata, message);
    let family = family(granule).ok_or_else(|| bad(format!("found {granule}, expected an S30 or L30 granule")))?;
    // Any raster with the granule's tags will do; the mask has them as well, but a band is what is needed.
    let told_by = files.iter().find(|(band, _)| band == "B04").or_else(|| files.first());
    let (_, told_by) = told_by.ok_or_else(|| bad("found no raster, expected some".into()))?;
    place.note(told_by);
    let tags = Tags::read(&place.raster(told_by))?;
    let (spec, sensor) = Tags::sensor(tags.platform(), family, sensors)
        .map_err(|f| SceneFault::new(f.reason, format!("{told_by}: {}", f.message)))?;
    let sun = tags.sun().map_err(|why| format!("{told_by}: {why}"));
    let when = tags
        .sensed_at
        .ok_or_else(|| bad(format!("{told_by}: found no SENSING_TIME tag, expected the UTC time of acquisition")))?;
    let utc = if when.ends_with('Z') { when.clone() } else { format!("{when}Z") };
    let acquired_at = utc
        .parse::<jiff::Timestamp>()
        .map_err(|e| bad(format!("{told_by}: SENSING_TIME: found {when}, expected a UTC time: {e}")))?;
    let mut assets: BTreeMap<Layer, Vec<Asset>> = BTreeMap::new();
    for (name, file) in files {
        let lower = name.to_lowercase();
        let path = place.raster(file);
        let packed = |layer| {
            let asset = Asset {
                path: path.clone(),
                name: name.clone(),
                pixel_m: None,
                calibration: Calibration::IDENTITY,
                invalid_dn: Vec::new(),
                saturation_bit: None,
                packing_in_raster: true,
            };
            (layer, asset)
        };
        let (layer, asset) = if spec.mask.keys.contains(&lower) {
            (Layer::Mask, Asset::codes(path.clone(), name, None))
        } else if let Some(band) = spec.bands.iter().find(|b| b.name == *name) {
            packed(Layer::Band(band.band))
        } else if spec.given_indices.contains(&lower) {
            packed(Layer::Index(lower))
        } else {
            continue;
        };
        assets.insert(layer, vec![asset]);
    }
    if !assets.keys().any(|l| matches!(l, Layer::Band(_) | Layer::Index(_))) {
        let found: Vec<&str> = files.iter().map(|(band, _)| band.as_str()).collect();
        return Err(SceneFault::new(
            Reason::MissingBands,
            format!("found {}, expected bands of {}", found.join(", "), spec.title),
        ));
    }
    let (acquisition, version) = acquisition(granule);
    Ok(Scene {
        id: granule.to_owned(),
        sensor,
        spec,
        acquired_at,
        baseline: version,
        generated: tags.processed_at,
        tile: acquisition.split('.').nth(2).map(str::to_owned),
        acquisition,
        part: None,
        stated: None,
        // HLS v2 is brought to a view from straight above by its provider (Claverie et al. 2018).
        angles: Angles::Nadir,
        sun,
        offset_from: OffsetSource::Product,
        assets,
        metadata: vec![place.file(told_by)],
        source: source.to_owned(),
        masked_by_provider: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_granule_belong_together() {
        let names = [
            "a/HLS.S30.T50RLV.2020123T024551.v2.0.B04.tif",
            "a/HLS.S30.T50RLV.2020123T024551.v2.0.Fmask.tif",
            "HLS.L30.T50RLV.2020124T024551.v2.0.B05.tif",
            "HLS.S30.T50RLV.2020123T024551.v2.0.jpg",
            "other.tif",
        ];
        let found = granules(names.into_iter());
        assert_eq!(found.len(), 2);
        assert_eq!(found["HLS.S30.T50RLV.2020123T024551.v2.0"].len(), 2);
        assert_eq!(found["HLS.L30.T50RLV.2020124T024551.v2.0"][0].0, "B05");
    }

    #[test]
    fn families_by_granule_and_collection() {
        for (name, expected) in [
            ("HLSS30.v2.0", Some("hls-s30")),
            ("HLSL30_2.0", Some("hls-l30")),
            ("HLSS30_VI.v2.0", Some("hls-s30")),
            ("HLS-VI.L30.T50RLV", Some("hls-l30")),
            ("hls2-l30", Some("hls-l30")),
            ("sentinel-2-l2a", None),
            ("HLS", None),
        ] {
            assert_eq!(family(name), expected, "{name}");
        }
        let (same, version) = acquisition("HLS-VI.S30.T50RLV.2020123T024551.v2.0");
        assert_eq!((same.as_str(), version.as_deref()), ("HLS.S30.T50RLV.2020123T024551", Some("2.0")));
    }
}
