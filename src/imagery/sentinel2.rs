//! Sentinel-2 L2A `.SAFE` folders: product metadata to [`Scene`].
//!
//! Everything comes from `MTD_MSIL2A.xml`: quantification, the offset of each band, special values, the list of images.
//! Whether an offset applies is read, never inferred from the date; a baseline that must have one and has none is refused.
//! Element names as in the Sentinel-2 Products Specification Document.

use std::collections::BTreeMap;
use std::path::Path;

use roxmltree::{Document, Node};

use super::sensor::Sensors;
use super::{Asset, Calibration, Layer, Scene};
use crate::error::{Reason, SceneFault};

/// The file that makes a folder a product.
pub const METADATA: &str = "MTD_MSIL2A.xml";

/// First baseline whose digital numbers carry an offset.
const OFFSET_BASELINE: f64 = 4.0;

/// Physical bands in the order of `band_id` 0..12 (Products Specification Document).
const BAND_ORDER: [&str; 13] = ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12"];

fn bad(message: String) -> SceneFault {
    SceneFault::new(Reason::BadMetadata, message)
}

fn find<'a>(root: Node<'a, 'a>, names: &[&str]) -> Option<Node<'a, 'a>> {
    root.descendants().find(|n| names.contains(&n.tag_name().name()))
}

fn text<'a>(root: Node<'a, 'a>, name: &str) -> Option<&'a str> {
    find(root, &[name]).and_then(|n| n.text()).map(str::trim).filter(|t| !t.is_empty())
}

/// Reads a product folder.
///
/// # Errors
/// Metadata that cannot be read, or that leaves open how digital numbers become reflectance.
pub fn read(folder: &Path, source: &str, sensors: &Sensors) -> Result<Scene, SceneFault> {
    let path = folder.join(METADATA);
    let content = std::fs::read_to_string(&path).map_err(|e| bad(format!("{METADATA}: cannot be read: {e}")))?;
    let document = Document::parse(&content).map_err(|e| bad(format!("{METADATA}: no well-formed XML: {e}")))?;
    let root = document.root_element();
    let need = |name: &str| {
        text(root, name)
            .ok_or_else(|| bad(format!("{METADATA}: found no {name}, expected one; fetch the product again")))
    };

    let level = need("PROCESSING_LEVEL")?;
    if !level.to_lowercase().contains("2a") {
        return Err(SceneFault::new(
            Reason::Unsupported,
            format!("{METADATA}: PROCESSING_LEVEL: found {level}, expected Level-2A (surface reflectance)"),
        ));
    }
    let platform = need("SPACECRAFT_NAME")?;
    let (spec, sensor) = sensors.by_platform(platform).ok_or_else(|| {
        SceneFault::new(
            Reason::Unsupported,
            format!("{METADATA}: SPACECRAFT_NAME: found {platform}, expected one of {}", sensors.platforms()),
        )
    })?;
    let id = need("PRODUCT_URI")?.trim_end_matches(".SAFE").to_owned();
    let start = need("PRODUCT_START_TIME")?;
    let acquired_at = start
        .parse::<jiff::Timestamp>()
        .map_err(|e| bad(format!("{METADATA}: PRODUCT_START_TIME: found {start}, expected a UTC time: {e}")))?;
    let baseline = need("PROCESSING_BASELINE")?.to_owned();
    let number: f64 = baseline.parse().map_err(|_| {
        bad(format!("{METADATA}: PROCESSING_BASELINE: found {baseline}, expected a number such as 05.00"))
    })?;

    let quantification = find(root, &["BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE"])
        .and_then(|n| n.text())
        .ok_or_else(|| {
            SceneFault::new(
                Reason::UnknownCalibration,
                format!("{METADATA}: found no BOA_QUANTIFICATION_VALUE, expected one; fetch the product again"),
            )
        })?;
    let quantification: f64 = match quantification.trim().parse() {
        Ok(q) if q > 0.0 => q,
        _ => {
            return Err(bad(format!(
                "{METADATA}: BOA_QUANTIFICATION_VALUE: found {quantification}, expected a number > 0"
            )));
        }
    };
    let offsets = offsets(root)?;
    if offsets.is_empty() && number >= OFFSET_BASELINE {
        return Err(SceneFault::new(
            Reason::UnknownCalibration,
            format!(
                "{METADATA}: found baseline {baseline} without a BOA_ADD_OFFSET list, expected one offset a band from \
                 baseline 04.00 on; fetch the product again"
            ),
        ));
    }
    let invalid_dn = special_values(root, spec.nodata_dn, spec.saturated_dn);

    let mut assets: BTreeMap<Layer, Vec<Asset>> = BTreeMap::new();
    let mut tile = None;
    for node in root.descendants().filter(|n| ["IMAGE_FILE", "IMAGE_FILE_2A"].contains(&n.tag_name().name())) {
        let Some(listed) = node.text().map(str::trim) else { continue };
        let file = Path::new(listed).file_name().map(|f| f.to_string_lossy().into_owned()).unwrap_or_default();
        // Names are fixed by the format: T31TCJ_20180708T105031_B04_10m, in a list that is metadata.
        let mut parts = file.rsplitn(3, '_');
        let (Some(size), Some(name), Some(front)) = (parts.next(), parts.next(), parts.next()) else { continue };
        tile = tile.or_else(|| front.split('_').find(|p| p.len() == 6 && p.starts_with('T')).map(str::to_owned));
        let pixel_m = size.trim_end_matches('m').parse::<f64>().ok();
        let path = folder.join(format!("{listed}.jp2"));
        if spec.mask.keys.iter().any(|k| k.eq_ignore_ascii_case(name)) {
            let asset = Asset {
                path,
                name: name.to_owned(),
                pixel_m,
                calibration: Calibration::IDENTITY,
                invalid_dn: Vec::new(),
                saturation_bit: None,
            };
            assets.entry(Layer::Mask).or_default().push(asset);
        } else if let Some(band) = spec.bands.iter().find(|b| b.name == name) {
            let pre = match offsets.get(band.physical.as_str()) {
                Some(offset) => *offset,
                None if offsets.is_empty() => 0.0,
                None => {
                    return Err(SceneFault::new(
                        Reason::UnknownCalibration,
                        format!(
                            "{METADATA}: found no BOA_ADD_OFFSET for band {}, expected one for every band",
                            band.name
                        ),
                    ));
                }
            };
            let asset = Asset {
                path,
                name: name.to_owned(),
                pixel_m,
                calibration: Calibration { pre, scale: 1.0 / quantification, post: 0.0 },
                invalid_dn: invalid_dn.clone(),
                saturation_bit: None,
            };
            assets.entry(Layer::Band(band.band)).or_default().push(asset);
        }
    }
    if assets.is_empty() {
        return Err(bad(format!("{METADATA}: found no IMAGE_FILE of a known band, expected the list of images")));
    }
    let tile = tile.unwrap_or_else(|| id.clone());
    let datatake = text(root, "DATATAKE_SENSING_START").unwrap_or(start);
    Ok(Scene {
        acquisition: format!("{sensor}/{datatake}/{tile}"),
        id,
        sensor,
        spec,
        acquired_at,
        baseline: Some(baseline),
        generated: text(root, "GENERATION_TIME").map(str::to_owned),
        assets,
        metadata: vec![path],
        source: source.to_owned(),
        masked_by_provider: false,
    })
}

/// Offset of each physical band, by the product's own list of bands where it has one.
fn offsets(root: Node) -> Result<BTreeMap<String, f64>, SceneFault> {
    let names: BTreeMap<&str, &str> = root
        .descendants()
        .filter(|n| n.has_tag_name("Spectral_Information"))
        .filter_map(|n| Some((n.attribute("bandId")?, n.attribute("physicalBand")?)))
        .collect();
    let mut offsets = BTreeMap::new();
    for node in root.descendants().filter(|n| n.has_tag_name("BOA_ADD_OFFSET")) {
        let id = node.attribute("band_id").unwrap_or_default();
        let value = node.text().unwrap_or_default().trim();
        let order = id.parse::<usize>().ok().and_then(|i| BAND_ORDER.get(i).copied());
        let band = names.get(id).copied().or(order);
        match (band, value.parse::<f64>()) {
            (Some(band), Ok(value)) => offsets.insert(band.to_owned(), value),
            _ => {
                return Err(SceneFault::new(
                    Reason::UnknownCalibration,
                    format!(
                        "{METADATA}: BOA_ADD_OFFSET band_id=\"{id}\": found `{value}`, expected a number for a band 0 to 12"
                    ),
                ));
            }
        };
    }
    Ok(offsets)
}

/// Digital numbers that are no measurement, from the product or else from the sensor file.
fn special_values(root: Node, nodata_dn: f64, saturated_dn: Option<f64>) -> Vec<f64> {
    let mut values = vec![nodata_dn];
    values.extend(saturated_dn);
    for node in root.descendants().filter(|n| n.has_tag_name("Special_Values")) {
        let wanted = matches!(text(node, "SPECIAL_VALUE_TEXT"), Some("NODATA" | "SATURATED"));
        let value = text(node, "SPECIAL_VALUE_INDEX").and_then(|v| v.parse::<f64>().ok());
        if let (true, Some(value)) = (wanted, value)
            && !values.contains(&value)
        {
            values.push(value);
        }
    }
    values
}
