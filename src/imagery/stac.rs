//! STAC Items and ItemCollections on disk: JSON to [`Scene`].
//!
//! Bands are recognised by asset key, by band name and by common name, since catalogs differ; scale, offset and nodata come
//! from the raster extension (1.x `raster:bands` or the band objects of STAC 1.1). An asset with the role `index` is used
//! as that index. Where an item leaves open how digital numbers become reflectance, the scene is refused with what is
//! missing: a guess here is a step in every series.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::sensor::{SensorSpec, Sensors};
use super::{Asset, Band, Calibration, Layer, Scene};
use crate::error::{Reason, SceneFault};

/// What a JSON file is to us.
pub enum Kind {
    /// Items to read.
    Items(Vec<Value>),
    /// Valid JSON that is no STAC Item: catalogs, manifests, parcel layers. Not an error.
    Other,
}

/// Tells Items and ItemCollections from other JSON.
///
/// # Errors
/// Not JSON at all.
pub fn sort_out(content: &str) -> Result<Kind, String> {
    let value: Value = serde_json::from_str(content).map_err(|e| format!("no well-formed JSON: {e}"))?;
    let is_item =
        |v: &Value| v.get("type").and_then(Value::as_str) == Some("Feature") && v.get("stac_version").is_some();
    if is_item(&value) {
        return Ok(Kind::Items(vec![value]));
    }
    match value.get("features").and_then(Value::as_array) {
        Some(features) if !features.is_empty() && features.iter().all(is_item) => Ok(Kind::Items(features.clone())),
        _ => Ok(Kind::Other),
    }
}

/// The item's id, where it has one.
pub fn id(item: &Value) -> Option<&str> {
    item.get("id").and_then(Value::as_str).filter(|id| !id.is_empty())
}

/// Reads one item. `file` is the JSON file: relative hrefs are relative to its folder.
///
/// # Errors
/// The item lacks what a scene needs.
pub fn read(item: &Value, file: &Path, source: &str, sensors: &Sensors) -> Result<Scene, SceneFault> {
    let bad = |message: String| SceneFault::new(Reason::BadMetadata, message);
    let id = id(item).ok_or_else(|| bad("found an item without an id, expected one".into()))?.to_owned();
    let properties =
        item.get("properties").and_then(Value::as_object).ok_or_else(|| bad("found no properties".into()))?;
    let string = |key: &str| properties.get(key).and_then(Value::as_str);
    let platform = string("platform").or_else(|| string("constellation")).ok_or_else(|| {
        bad("properties.platform: found nothing, expected for example sentinel-2b or landsat-8".into())
    })?;
    let (spec, sensor) = sensors.by_platform(platform).ok_or_else(|| {
        SceneFault::new(
            Reason::Unsupported,
            format!("properties.platform: found {platform}, expected one of {}", sensors.platforms()),
        )
    })?;
    let when = string("datetime")
        .or_else(|| string("start_datetime"))
        .ok_or_else(|| bad("properties.datetime: found nothing, expected the UTC time of acquisition".into()))?;
    let acquired_at = when.parse::<jiff::Timestamp>().map_err(|e| {
        bad(format!("properties.datetime: found {when}, expected a UTC time such as 2020-07-15T02:31:05Z: {e}"))
    })?;
    let baseline = string("s2:processing_baseline").or_else(|| string("processing:version")).map(str::to_owned);
    let offset_applied =
        properties.iter().find(|(key, _)| key.ends_with("boa_offset_applied")).and_then(|(_, value)| value.as_bool());

    let folder = file.parent().unwrap_or(Path::new("."));
    let entries =
        item.get("assets").and_then(Value::as_object).ok_or_else(|| bad("found no assets, expected some".into()))?;
    let mut assets: BTreeMap<Layer, Vec<Asset>> = BTreeMap::new();
    let mut index_only = true;
    for (key, value) in entries {
        let Some(layer) = layer_of(key, value, &spec) else { continue };
        let href = value
            .get("href")
            .and_then(Value::as_str)
            .ok_or_else(|| bad(format!("assets.{key}: found no href, expected a path")))?;
        let facts = RasterFacts::of(value);
        let calibration = match &layer {
            Layer::Mask | Layer::Saturation => Calibration::IDENTITY,
            Layer::Index(_) => {
                Calibration { pre: 0.0, scale: facts.scale.unwrap_or(1.0), post: facts.offset.unwrap_or(0.0) }
            }
            Layer::Band(_) => {
                index_only = false;
                let state = OffsetState { baseline: baseline.as_deref(), applied: offset_applied };
                reflectance(key, &facts, &spec, &state)?
            }
        };
        let mut invalid_dn: Vec<f64> = facts.nodata.into_iter().collect();
        if matches!(layer, Layer::Band(_)) && !facts.is_float {
            invalid_dn.extend([Some(spec.nodata_dn), spec.saturated_dn].into_iter().flatten());
        }
        invalid_dn.dedup();
        let saturation_bit = match &layer {
            Layer::Band(band) => spec.bands.iter().find(|b| b.band == *band).and_then(|b| b.saturation_bit),
            _ => None,
        };
        let asset = Asset {
            path: resolve(href, folder),
            name: key.clone(),
            pixel_m: facts.pixel_m.or_else(|| suffix_pixel_m(key)),
            calibration,
            invalid_dn,
            saturation_bit,
        };
        assets.entry(layer).or_default().push(asset);
    }
    if !assets.keys().any(|l| matches!(l, Layer::Band(_) | Layer::Index(_))) {
        let keys: Vec<&str> = entries.keys().map(String::as_str).collect();
        return Err(SceneFault::new(
            Reason::MissingBands,
            format!(
                "assets: found {}, expected bands of {} or an asset with the role `index`",
                keys.join(", "),
                spec.title
            ),
        ));
    }
    let tile = string("s2:mgrs_tile").or_else(|| string("grid:code"));
    let acquisition = match tile {
        Some(tile) => format!("{sensor}/{when}/{}", tile.trim_start_matches("MGRS-").trim_start_matches('T')),
        None => format!("stac/{id}"),
    };
    Ok(Scene {
        acquisition,
        id,
        sensor,
        spec,
        acquired_at,
        baseline,
        generated: string("updated").or_else(|| string("created")).map(str::to_owned),
        assets,
        metadata: vec![file.to_path_buf()],
        source: source.to_owned(),
        masked_by_provider: index_only,
    })
}

/// What the item says about offsets of the whole scene.
struct OffsetState<'a> {
    baseline: Option<&'a str>,
    applied: Option<bool>,
}

/// How a reflectance asset is calibrated, or why nobody can know.
fn reflectance(
    key: &str,
    facts: &RasterFacts,
    spec: &SensorSpec,
    state: &OffsetState,
) -> Result<Calibration, SceneFault> {
    let unknown = |message: String| Err(SceneFault::new(Reason::UnknownCalibration, message));
    let Some(scale) = facts.scale else {
        if facts.is_float {
            return Ok(Calibration::IDENTITY);
        }
        return unknown(format!(
            "assets.{key}: found no scale in raster:bands, expected one (for example 0.0001); without it digital numbers \
             mean nothing"
        ));
    };
    // Only Sentinel-2 has products with and without an offset in the digital numbers.
    if spec.id != "sentinel-2" {
        let Some(offset) = facts.offset else {
            return unknown(format!("assets.{key}: found no offset in raster:bands, expected one (for example -0.2)"));
        };
        return Ok(Calibration { pre: 0.0, scale, post: offset });
    }
    let offset = match (facts.offset, state.applied) {
        (Some(offset), Some(true)) if offset != 0.0 => {
            return unknown(format!(
                "assets.{key}: found offset {offset} in raster:bands while the item says that the offset is applied \
                 (boa_offset_applied = true); expected one of the two, correct the item"
            ));
        }
        (Some(offset), _) => offset,
        (None, Some(true)) => 0.0,
        (None, _) => match state.baseline.and_then(|b| b.parse::<f64>().ok()) {
            Some(number) if number < 4.0 => 0.0,
            found => {
                return unknown(format!(
                    "assets.{key}: found no offset in raster:bands, no boa_offset_applied and baseline {found:?}; expected \
                     one of: an offset, boa_offset_applied = true, or a baseline below 04.00"
                ));
            }
        },
    };
    // Kept in digital numbers, so that an offset of -1000 gives the same bits as a product without one.
    let pre = (offset / scale).round();
    if ((pre * scale) - offset).abs() < 1e-9 {
        return Ok(Calibration { pre, scale, post: 0.0 });
    }
    Ok(Calibration { pre: 0.0, scale, post: offset })
}

/// What an asset says of its values.
struct RasterFacts {
    scale: Option<f64>,
    offset: Option<f64>,
    nodata: Option<f64>,
    pixel_m: Option<f64>,
    is_float: bool,
}

impl RasterFacts {
    fn of(asset: &Value) -> Self {
        // STAC 1.1 band objects, 1.0 raster:bands, then the asset itself.
        let places: Vec<&Value> =
            [asset.pointer("/raster:bands/0"), asset.pointer("/bands/0"), Some(asset)].into_iter().flatten().collect();
        let find = |keys: &[&str]| places.iter().find_map(|p| keys.iter().find_map(|k| p.get(*k)));
        let number = |keys: &[&str]| find(keys).and_then(as_number);
        RasterFacts {
            scale: number(&["scale", "raster:scale"]),
            offset: number(&["offset", "raster:offset"]),
            nodata: number(&["nodata", "raster:nodata"]),
            pixel_m: number(&["spatial_resolution", "raster:spatial_resolution"])
                .or_else(|| asset.pointer("/proj:transform/0").and_then(Value::as_f64))
                .or_else(|| asset.get("gsd").and_then(Value::as_f64)),
            is_float: find(&["data_type"]).and_then(Value::as_str).is_some_and(|t| t.starts_with("float")),
        }
    }
}

/// Numbers, also those that JSON has no literal for (nodata "nan").
fn as_number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str().and_then(|s| s.parse().ok()))
}

/// `B04_10m` -> 10.
fn suffix_pixel_m(key: &str) -> Option<f64> {
    key.rsplit_once('_').and_then(|(_, size)| size.strip_suffix('m')).and_then(|n| n.parse().ok())
}

/// Which layer an asset is, by role, key, band name and common name.
fn layer_of(key: &str, asset: &Value, spec: &SensorSpec) -> Option<Layer> {
    let roles: Vec<&str> =
        asset.get("roles").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let base = match suffix_pixel_m(key) {
        Some(_) => key.rsplit_once('_').map_or(key, |(base, _)| base),
        None => key,
    }
    .to_lowercase();
    if roles.contains(&"index") {
        return Some(Layer::Index(base));
    }
    if roles.iter().any(|r| ["thumbnail", "overview", "metadata", "visual"].contains(r)) {
        return None;
    }
    if spec.mask.keys.contains(&base) {
        return Some(Layer::Mask);
    }
    if spec.mask.saturation_keys.contains(&base) {
        return Some(Layer::Saturation);
    }
    let by_name = |name: &str| -> Option<Band> {
        let lower = name.to_lowercase();
        spec.bands.iter().find(|b| b.name.to_lowercase() == lower).map(|b| b.band)
    };
    let by_common = |name: &str| spec.bands.iter().find(|b| b.common.iter().any(|c| c == name)).map(|b| b.band);
    let bands = ["/eo:bands", "/bands"].iter().find_map(|p| asset.pointer(p)).and_then(Value::as_array);
    // A colour image holds several bands and is not one of them.
    if bands.is_some_and(|b| b.len() > 1) {
        return None;
    }
    let inner = bands.and_then(|b| b.first());
    let field = |name: &str| inner.and_then(|b| b.get(name)).and_then(Value::as_str);
    let is_raster = asset.get("type").and_then(Value::as_str).is_none_or(|t| !t.contains("json") && !t.contains("xml"));
    by_name(&base)
        .or_else(|| field("name").and_then(by_name))
        .or_else(|| by_common(&base))
        .or_else(|| field("common_name").or_else(|| field("eo:common_name")).and_then(by_common))
        .filter(|_| is_raster)
        .map(Layer::Band)
}

/// Path of an href. Remote ones are kept as they are; the layout says that they are not read.
fn resolve(href: &str, folder: &Path) -> PathBuf {
    match href.strip_prefix("file://") {
        Some(path) => PathBuf::from(path),
        None if href.contains("://") => PathBuf::from(href),
        None => folder.join(href),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn item(platform: &str, properties: Value, assets: Value) -> Value {
        let mut p = json!({"platform": platform, "datetime": "2022-06-01T02:31:05Z"});
        if let (Some(p), Some(more)) = (p.as_object_mut(), properties.as_object()) {
            p.extend(more.clone());
        }
        json!({"type": "Feature", "stac_version": "1.0.0", "id": "x", "properties": p, "assets": assets})
    }

    fn scene(item: &Value) -> Result<Scene, SceneFault> {
        read(item, Path::new("items/x.json"), "items/x.json", &Sensors::builtin().expect("sensors"))
    }

    fn red(raster: Value) -> Value {
        json!({"red": {"href": "../B04.tif", "roles": ["data"], "raster:bands": [raster]}})
    }

    #[test]
    fn offset_is_known_or_the_scene_is_refused() {
        let pre = |properties: Value, raster: Value| {
            scene(&item("sentinel-2b", properties, red(raster)))
                .map(|s| s.assets[&Layer::Band(Band::Red)][0].calibration.pre)
                .map_err(|f| f.reason)
        };
        let with = json!({"scale": 1e-4, "offset": -0.1});
        let without = json!({"scale": 1e-4});
        assert_eq!(pre(json!({}), with.clone()), Ok(-1000.0));
        assert_eq!(pre(json!({"earthsearch:boa_offset_applied": false}), with.clone()), Ok(-1000.0));
        assert_eq!(pre(json!({"earthsearch:boa_offset_applied": true}), with), Err(Reason::UnknownCalibration));
        assert_eq!(pre(json!({"earthsearch:boa_offset_applied": true}), without.clone()), Ok(0.0));
        assert_eq!(pre(json!({"s2:processing_baseline": "02.08"}), without.clone()), Ok(0.0));
        assert_eq!(pre(json!({"s2:processing_baseline": "05.10"}), without.clone()), Err(Reason::UnknownCalibration));
        assert_eq!(pre(json!({}), without), Err(Reason::UnknownCalibration));
        assert_eq!(pre(json!({}), json!({})), Err(Reason::UnknownCalibration));
    }

    #[test]
    fn assets_by_key_name_common_name_and_role() {
        let facts = json!([{"scale": 1e-4, "offset": 0.0, "nodata": 0}]);
        let assets = json!({
            "B04_10m": {"href": "a.tif", "raster:bands": facts},
            "nir": {"href": "b.tif", "raster:bands": facts},
            "x": {"href": "c.tif", "raster:bands": facts, "eo:bands": [{"name": "B11", "common_name": "swir16"}]},
            "y": {"href": "d.tif", "bands": [{"eo:common_name": "nir08", "raster:scale": 1e-4, "raster:offset": 0.0}]},
            "SCL": {"href": "e.tif"},
            "visual": {"href": "f.tif", "eo:bands": [{"common_name": "red"}, {"common_name": "green"}]},
            "NDVI": {"href": "g.tif", "roles": ["index"], "raster:bands": facts},
        });
        let s = scene(&item("sentinel-2", json!({}), assets)).expect("scene");
        let found: Vec<String> = s.assets.keys().map(Layer::name).collect();
        assert_eq!(found, ["red", "nir", "nir_broad", "swir1", "index_ndvi", "mask"]);
        assert_eq!(s.sensor, "S2");
        assert_eq!(s.assets[&Layer::Band(Band::Red)][0].pixel_m, Some(10.0));
        assert_eq!(s.assets[&Layer::Band(Band::Nir)][0].path, Path::new("items/d.tif"));
    }

    #[test]
    fn other_json_is_not_an_error() {
        assert!(matches!(sort_out("{\"type\": \"FeatureCollection\", \"features\": []}"), Ok(Kind::Other)));
        assert!(
            matches!(sort_out("{\"type\": \"Feature\", \"stac_version\": \"1.0.0\"}"), Ok(Kind::Items(v)) if v.len() == 1)
        );
        assert!(sort_out("{").is_err());
    }
}
