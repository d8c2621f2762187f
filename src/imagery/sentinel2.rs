//! Sentinel-2 L2A `.SAFE` products, in folders or zips: product metadata to [`Scene`].
//!
//! Everything comes from `MTD_MSIL2A.xml`: quantification, the offset of each band, special values, the list of images.
//! Whether an offset applies is read, never inferred from the date; a baseline that must have one and has none is refused.
//! Element names as in the Sentinel-2 Products Specification Document.

use std::collections::BTreeMap;
use std::path::Path;

use roxmltree::{Document, Node};

use super::angles::{self, Angles};
use super::archive::Place;
use super::sensor::Sensors;
use super::{Asset, Calibration, Layer, OffsetSource, Scene, Stated};
use crate::error::{Reason, SceneFault};
use crate::geo::crs::Crs;

/// The file that makes a folder a product.
pub const METADATA: &str = "MTD_MSIL2A.xml";

/// The file that says where a tile lies.
pub const TILE_METADATA: &str = "MTD_TL.xml";

/// Its part on where the tile lies stands within this many bytes.
const TILE_GEOCODING_BYTES: usize = 1 << 16;

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

/// What one acquisition of one tile has in common, wherever it is told: the start of the datatake to the second, since
/// catalogs and products write it with different precision, and the tile.
pub fn acquisition(datatake_start: &str, tile: &str) -> String {
    let second = datatake_start.get(..19).unwrap_or(datatake_start);
    format!("sentinel-2/{second}/{}", tile.trim_start_matches("MGRS-").trim_start_matches('T'))
}

/// `20200908T092031` -> `2020-09-08T09:20:31`.
pub fn compact_time(text: &str) -> Option<String> {
    let digits = |r: std::ops::Range<usize>| text.get(r).filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
    if text.len() < 15 || text.as_bytes().get(8) != Some(&b'T') {
        return None;
    }
    let (y, mo, d) = (digits(0..4)?, digits(4..6)?, digits(6..8)?);
    Some(format!("{y}-{mo}-{d}T{}:{}:{}", digits(9..11)?, digits(11..13)?, digits(13..15)?))
}

/// Start of the datastrip in its identifier: `S2B_OPER_MSI_L2A_DS_..._S20200908T092031_N05.00` -> `S20200908T092031`.
pub fn datastrip_start(identifier: &str) -> Option<String> {
    identifier
        .split('_')
        .find(|p| p.strip_prefix('S').is_some_and(|t| t.len() == 15 && compact_time(t).is_some()))
        .map(str::to_owned)
}

/// Reads a product; its angles where they are wanted, since their file is large.
///
/// # Errors
/// Metadata that cannot be read, or that leaves open how digital numbers become reflectance.
pub fn read(place: &Place, source: &str, sensors: &Sensors, with_angles: bool) -> Result<Scene, SceneFault> {
    let content = place.text(METADATA).map_err(|e| bad(format!("{METADATA}: cannot be read: {e}")))?;
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
    // Products of 2017 and early 2018 (S2MSI2Ap) write it with the level.
    let uri = text(root, "PRODUCT_URI_2A").map_or_else(|| need("PRODUCT_URI"), Ok)?;
    let id = uri.trim_end_matches(".SAFE").to_owned();
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
    let mut granule = None;
    for node in root.descendants().filter(|n| ["IMAGE_FILE", "IMAGE_FILE_2A"].contains(&n.tag_name().name())) {
        let Some(listed) = node.text().map(str::trim) else { continue };
        let file = Path::new(listed).file_name().map(|f| f.to_string_lossy().into_owned()).unwrap_or_default();
        // Names are fixed by the format: T31TCJ_20180708T105031_B04_10m, in a list that is metadata.
        let mut parts = file.rsplitn(3, '_');
        let (Some(size), Some(name), Some(front)) = (parts.next(), parts.next(), parts.next()) else { continue };
        tile = tile.or_else(|| front.split('_').find(|p| p.len() == 6 && p.starts_with('T')).map(str::to_owned));
        let pixel_m = size.trim_end_matches('m').parse::<f64>().ok();
        granule = granule.or_else(|| listed.split_once("/IMG_DATA/").map(|(granule, _)| granule));
        let path = place.raster(&format!("{listed}.jp2"));
        if spec.mask.keys.iter().any(|k| k.eq_ignore_ascii_case(name)) {
            assets.entry(Layer::Mask).or_default().push(Asset::codes(path, name, pixel_m));
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
                packing_in_raster: false,
            };
            assets.entry(Layer::Band(band.band)).or_default().push(asset);
        }
    }
    if assets.is_empty() {
        return Err(bad(format!("{METADATA}: found no IMAGE_FILE of a known band, expected the list of images")));
    }
    let datatake = text(root, "DATATAKE_SENSING_START").unwrap_or(start);
    let part = root
        .descendants()
        .filter(|n| n.has_tag_name("Granule") || n.has_tag_name("Granules"))
        .find_map(|n| n.attribute("datastripIdentifier").and_then(datastrip_start));
    let tile_metadata = granule.map(|g| format!("{g}/{TILE_METADATA}"));
    let stated = match tile_metadata.as_ref().and_then(|file| place.head(file, TILE_GEOCODING_BYTES)) {
        Some(head) => Some(stated(&head)?),
        None => None,
    };
    let mut metadata = vec![place.file(METADATA)];
    let unknown = |why: String| (Angles::Unknown(why.clone()), Err(why));
    let (angles, sun) = match tile_metadata.filter(|_| with_angles) {
        None if with_angles => unknown(format!("found no {TILE_METADATA}, expected one")),
        None => (Angles::not_read(), Err("angles were not read".into())),
        Some(file) => match place.text(&file) {
            Ok(content) => {
                metadata.push(place.file(&file));
                let sun = angles::sun_of_sentinel2(TILE_METADATA, &content);
                (angles::of_sentinel2(TILE_METADATA, &content), sun)
            }
            Err(e) => unknown(format!("{TILE_METADATA}: cannot be read: {e}")),
        },
    };
    Ok(Scene {
        acquisition: acquisition(datatake, tile.as_deref().unwrap_or(&id)),
        tile,
        part,
        stated,
        angles,
        sun,
        offset_from: OffsetSource::Product,
        id,
        sensor,
        spec,
        acquired_at,
        baseline: Some(baseline),
        generated: text(root, "GENERATION_TIME").map(str::to_owned),
        assets,
        metadata,
        source: source.to_owned(),
        masked_by_provider: false,
    })
}

/// Where the tile lies, from the beginning of its metadata.
fn stated(head: &str) -> Result<Stated, SceneFault> {
    const GROUP: &str = "Tile_Geocoding";
    let end = format!("</{GROUP}>");
    let part = head
        .find(&format!("<{GROUP}"))
        .and_then(|from| head[from..].find(&end).map(|to| &head[from..from + to + end.len()]))
        .ok_or_else(|| bad(format!("{TILE_METADATA}: found no {GROUP}, expected one; fetch the product again")))?;
    let document = Document::parse(part).map_err(|e| bad(format!("{TILE_METADATA}: no well-formed XML: {e}")))?;
    let root = document.root_element();
    let first = |name: &str| text(root, name).and_then(|t| t.parse::<f64>().ok());
    let size = || {
        let node = find(root, &["Size"])?;
        let resolution: f64 = node.attribute("resolution")?.parse().ok()?;
        let number = |name| text(node, name).and_then(|t| t.parse::<f64>().ok());
        Some((number("NCOLS")? * resolution, number("NROWS")? * resolution))
    };
    Ok(Stated {
        file: TILE_METADATA.into(),
        crs: text(root, "HORIZONTAL_CS_CODE").map(|c| Crs(c.to_uppercase())),
        origin: first("ULX").zip(first("ULY")),
        extent: size(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_acquisition_has_one_name() {
        let product = acquisition("2020-09-08T09:20:31.024Z", "T34TFR");
        assert_eq!(product, acquisition("2020-09-08T09:20:31Z", "MGRS-34TFR"));
        assert_eq!(compact_time("20200908T092031").as_deref(), Some("2020-09-08T09:20:31"));
        assert_eq!(compact_time("2020-09-08T09:20:31"), None);
        assert_eq!(
            datastrip_start("S2B_OPER_MSI_L2A_DS_2APS_20230507T031422_S20200908T092031_N05.00").as_deref(),
            Some("S20200908T092031")
        );
    }

    #[test]
    fn a_tile_is_where_its_metadata_says() {
        let head = "<x:Y xmlns:x=\"z\"><Tile_Geocoding a=\"b\"><HORIZONTAL_CS_CODE>EPSG:32631</HORIZONTAL_CS_CODE>\
            <Size resolution=\"20\"><NROWS>5</NROWS><NCOLS>7</NCOLS></Size>\
            <Geoposition resolution=\"20\"><ULX>300</ULX><ULY>-4.5</ULY></Geoposition></Tile_Geocoding><more>";
        let found = stated(head).expect("whole");
        assert_eq!(found.crs, Some(Crs("EPSG:32631".into())));
        assert_eq!((found.origin, found.extent), (Some((300.0, -4.5)), Some((140.0, 100.0))));
        assert!(stated("<x><Tile_Geocoding><ULX>3").is_err());
    }
}
