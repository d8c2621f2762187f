//! Landsat Collection 2 Level-2 products, in folders or tars: the MTL to [`Scene`].
//!
//! The MTL is read as groups. The names REFLECTANCE_MULT_BAND_n and REFLECTANCE_ADD_BAND_n occur twice in a real file, for
//! Level-1 and for surface reflectance, so a flat list of keys gives wrong numbers; only the group
//! LEVEL2_SURFACE_REFLECTANCE_PARAMETERS counts. Sizes come from the rasters, not from the MTL.

use std::collections::BTreeMap;

use super::angles::{Angles, Direction};
use super::archive::Place;
use super::sensor::Sensors;
use super::{Asset, Calibration, Layer, OffsetSource, Scene, Stated};
use crate::error::{Reason, SceneFault};
use crate::geo::crs::Crs;

/// Key -> value, within group -> ...
type Groups = BTreeMap<String, BTreeMap<String, String>>;

fn bad(message: String) -> SceneFault {
    SceneFault::new(Reason::BadMetadata, message)
}

/// A Landsat scene is seen from up to 7.5 degrees aside, from the left on one edge and from the right on the other: what is
/// told of its centre says nothing of a parcel.
pub const NO_VIEW: &str = "found the sun's angles alone for the whole scene, expected those of the satellite over each parcel, \
                           which a Landsat product does not tell; use HLS, which is as seen from straight above";

const SUFFIXES: [&str; 3] = ["_MTL.txt", "_MTL.json", "_MTL.xml"];

/// The metadata file of each product, in name order: its `*_MTL.txt`, else `.json`, else `.xml`. A folder may hold several
/// products.
pub fn metadata_files<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Vec<&'a str> {
    let mut by_product: BTreeMap<&str, &str> = BTreeMap::new();
    for suffix in SUFFIXES {
        for name in names.clone() {
            if let Some(product) = name.strip_suffix(suffix) {
                by_product.entry(product).or_insert(name);
            }
        }
    }
    by_product.into_values().collect()
}

/// True for a metadata file of a product.
pub fn is_metadata(name: &str) -> bool {
    SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// What one acquisition of one path and row has in common, wherever it is told; `023` is `23`.
pub fn acquisition(sensor: &str, date: &str, path: &str, row: &str) -> String {
    format!("{sensor}/{date}/{}/{}", path.trim_start_matches('0'), row.trim_start_matches('0'))
}

/// Reads a product by its metadata file.
///
/// # Errors
/// Metadata that cannot be read or lacks a gain or offset of a band that is there.
pub fn read(place: &Place, file: &str, source: &str, sensors: &Sensors) -> Result<Scene, SceneFault> {
    let content = place.text(file).map_err(|e| bad(format!("{file}: cannot be read: {e}")))?;
    let groups = if file.ends_with(".json") {
        parse_json(&content)
    } else if file.ends_with(".xml") {
        parse_xml(&content)
    } else {
        parse_odl(&content)
    }
    .map_err(|e| bad(format!("{file}: {e}")))?;
    let get = |group: &str, key: &str| groups.get(group).and_then(|g| g.get(key)).map(String::as_str);
    let need = |group: &str, key: &str| {
        get(group, key)
            .ok_or_else(|| bad(format!("{file}: group {group}: found no {key}, expected one; fetch the product again")))
    };

    let contents = "PRODUCT_CONTENTS";
    let image = "IMAGE_ATTRIBUTES";
    let level = need(contents, "PROCESSING_LEVEL")?;
    let collection = need(contents, "COLLECTION_NUMBER")?;
    if !level.starts_with("L2") || collection.trim_start_matches('0') != "2" {
        return Err(SceneFault::new(
            Reason::Unsupported,
            format!(
                "{file}: found collection {collection}, level {level}, expected Collection 2 Level-2 (L2SP or L2SR)"
            ),
        ));
    }
    let platform = need(image, "SPACECRAFT_ID")?;
    let (spec, sensor) = sensors.by_platform(platform).ok_or_else(|| {
        SceneFault::new(
            Reason::Unsupported,
            format!("{file}: SPACECRAFT_ID: found {platform}, expected one of {}", sensors.platforms()),
        )
    })?;
    let id = need(contents, "LANDSAT_PRODUCT_ID")?.to_owned();
    let when = format!("{}T{}", need(image, "DATE_ACQUIRED")?, need(image, "SCENE_CENTER_TIME")?);
    let acquired_at = when.parse::<jiff::Timestamp>().map_err(|e| {
        bad(format!("{file}: DATE_ACQUIRED and SCENE_CENTER_TIME: found {when}, expected a UTC time: {e}"))
    })?;
    let pixel_m = get("PROJECTION_ATTRIBUTES", "GRID_CELL_SIZE_REFLECTIVE").and_then(|v| v.parse().ok());

    let mut assets: BTreeMap<Layer, Vec<Asset>> = BTreeMap::new();
    let parameters = "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS";
    for band in &spec.bands {
        let n = &band.physical;
        let Some(name) = get(contents, &format!("FILE_NAME_BAND_{n}")) else { continue };
        let number = |key: String| -> Result<f64, SceneFault> {
            let found = get(parameters, &key).ok_or_else(|| {
                SceneFault::new(
                    Reason::UnknownCalibration,
                    format!("{file}: group {parameters}: found no {key}, expected one; without it digital numbers of {name} mean nothing"),
                )
            })?;
            found.parse().map_err(|_| bad(format!("{file}: {key}: found {found}, expected a number")))
        };
        let calibration = Calibration {
            pre: 0.0,
            scale: number(format!("REFLECTANCE_MULT_BAND_{n}"))?,
            post: number(format!("REFLECTANCE_ADD_BAND_{n}"))?,
        };
        let asset = Asset {
            path: place.raster(name),
            name: band.name.clone(),
            pixel_m,
            calibration,
            invalid_dn: vec![spec.nodata_dn],
            saturation_bit: band.saturation_bit,
            packing_in_raster: false,
        };
        assets.insert(Layer::Band(band.band), vec![asset]);
    }
    for (layer, key, name) in [
        (Layer::Mask, "FILE_NAME_QUALITY_L1_PIXEL", "QA_PIXEL"),
        (Layer::Saturation, "FILE_NAME_QUALITY_L1_RADIOMETRIC_SATURATION", "QA_RADSAT"),
    ] {
        let raster = need(contents, key)?;
        assets.insert(layer, vec![Asset::codes(place.raster(raster), name, pixel_m)]);
    }
    let sun = || -> Result<Direction, String> {
        let number = |key: &str| {
            let found = get(image, key).ok_or_else(|| format!("found no {key}, expected one"))?;
            found.parse::<f64>().map_err(|_| format!("{key}: found {found}, expected a number"))
        };
        let (elevation_deg, azimuth_deg) = (number("SUN_ELEVATION")?, number("SUN_AZIMUTH")?);
        Direction { zenith_deg: 90.0 - elevation_deg, azimuth_deg }.checked_sun()
    };
    Ok(Scene {
        acquisition: acquisition(
            &sensor,
            need(image, "DATE_ACQUIRED")?,
            need(image, "WRS_PATH")?,
            need(image, "WRS_ROW")?,
        ),
        tile: Some(format!("{}/{}", need(image, "WRS_PATH")?, need(image, "WRS_ROW")?)),
        id,
        sensor,
        spec,
        acquired_at,
        baseline: None,
        generated: get("LEVEL2_PROCESSING_RECORD", "DATE_PRODUCT_GENERATED").map(str::to_owned),
        assets,
        metadata: vec![place.file(file)],
        part: None,
        stated: Some(stated(file, &groups)),
        angles: Angles::Unknown(format!("{file}: {NO_VIEW}")),
        sun: sun().map_err(|why| format!("{file}: group {image}: {why}")),
        offset_from: OffsetSource::Product,
        source: source.to_owned(),
        masked_by_provider: false,
    })
}

/// Where the product lies. Corners are pixel centres; UTM zones are counted from the equator north, also in the south.
fn stated(file: &str, groups: &Groups) -> Stated {
    let get = |key: &str| groups.get("PROJECTION_ATTRIBUTES").and_then(|g| g.get(key)).map(String::as_str);
    let number = |key: &str| get(key).and_then(|v| v.parse::<f64>().ok());
    let zone = get("MAP_PROJECTION")
        .filter(|p| *p == "UTM")
        .and_then(|_| get("UTM_ZONE"))
        .and_then(|z| z.parse::<u32>().ok())
        .filter(|z| (1..=60).contains(z));
    let half = number("GRID_CELL_SIZE_REFLECTIVE").unwrap_or(0.0) / 2.0;
    let corner = |which: &str, axis: &str| number(&format!("CORNER_{which}_PROJECTION_{axis}_PRODUCT"));
    let size = |axis: &str| Some((corner("UL", axis)? - corner("LR", axis)?).abs() + 2.0 * half);
    Stated {
        file: file.to_owned(),
        crs: zone.map(|z| Crs(format!("EPSG:{}", 32600 + z))),
        origin: corner("UL", "X").map(|x| x - half).zip(corner("UL", "Y").map(|y| y + half)),
        extent: size("X").zip(size("Y")),
    }
}

/// `KEY = VALUE` within `GROUP = NAME` ... `END_GROUP = NAME`.
fn parse_odl(content: &str) -> Result<Groups, String> {
    let mut groups = Groups::new();
    let mut open: Vec<String> = Vec::new();
    for (i, line) in content.lines().enumerate() {
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim(), value.trim().trim_matches('"'));
        match key {
            "GROUP" => open.push(value.to_owned()),
            "END_GROUP" => match open.pop() {
                Some(name) if name == value => {}
                other => return Err(format!("line {}: found END_GROUP = {value}, expected {other:?} to end", i + 1)),
            },
            _ => {
                let group = open.last().cloned().unwrap_or_default();
                groups.entry(group).or_default().insert(key.to_owned(), value.to_owned());
            }
        }
    }
    if !open.is_empty() || groups.is_empty() {
        return Err(format!("found an end inside the group {open:?}, expected a whole file; fetch it again"));
    }
    Ok(groups)
}

fn parse_json(content: &str) -> Result<Groups, String> {
    let value: serde_json::Value = serde_json::from_str(content).map_err(|e| format!("no well-formed JSON: {e}"))?;
    let root = value.get("LANDSAT_METADATA_FILE").and_then(|v| v.as_object());
    let root = root.ok_or("found no LANDSAT_METADATA_FILE, expected one")?;
    Ok(root
        .iter()
        .filter_map(|(name, group)| {
            let entries = group.as_object()?.iter().filter_map(|(k, v)| {
                let text = v.as_str().map(str::to_owned).or_else(|| v.is_number().then(|| v.to_string()))?;
                Some((k.clone(), text))
            });
            Some((name.clone(), entries.collect()))
        })
        .collect())
}

fn parse_xml(content: &str) -> Result<Groups, String> {
    let document = roxmltree::Document::parse(content).map_err(|e| format!("no well-formed XML: {e}"))?;
    Ok(document
        .root_element()
        .children()
        .filter(|g| g.is_element())
        .map(|group| {
            let entries = group
                .children()
                .filter(|n| n.is_element())
                .map(|n| (n.tag_name().name().to_owned(), n.text().unwrap_or_default().trim().to_owned()));
            (group.tag_name().name().to_owned(), entries.collect())
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_in_two_groups_stays_apart() {
        let text = "GROUP = A\n  GROUP = B\n    K = \"1\"\n  END_GROUP = B\n  GROUP = C\n    K = 2\n  END_GROUP = C\nEND_GROUP = A\nEND\n";
        let groups = parse_odl(text).expect("whole");
        assert_eq!((groups["B"]["K"].as_str(), groups["C"]["K"].as_str()), ("1", "2"));
        assert!(parse_odl("GROUP = A\n K = 1\n").is_err(), "a truncated file is told");
    }
}
