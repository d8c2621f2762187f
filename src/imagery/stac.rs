//! STAC Items, ItemCollections, Collections and Catalogs on disk: JSON to [`Scene`].
//!
//! Bands are recognised by asset key, by band name and by common name, since catalogs differ; scale, offset and nodata come
//! from the raster extension (1.x `raster:bands` or the band objects of STAC 1.1). An asset with the role `index` is used
//! as that index. Where an item leaves open how digital numbers become reflectance, the scene is refused with what is
//! missing: a guess here is a step in every series.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::sensor::{MaskLayout, SensorSpec, Sensors};
use super::{Asset, Band, Calibration, Layer, Scene, Stated, hls, landsat, sentinel2};
use crate::error::{Reason, SceneFault};
use crate::geo::crs::Crs;

/// The only family whose products come with and without an offset in their digital numbers.
const SENTINEL2: &str = "sentinel-2";

/// What a JSON file is to us.
pub enum Kind {
    /// Items to read.
    Items(Vec<Value>),
    /// A Catalog or Collection: where its children and items are.
    Links(Vec<String>),
    /// Valid JSON that is no STAC: manifests, parcel layers. Not an error.
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
    let kind = value.get("type").and_then(Value::as_str);
    if matches!(kind, Some("Catalog" | "Collection")) && value.get("stac_version").is_some() {
        let links = value.get("links").and_then(Value::as_array).into_iter().flatten();
        let down = links.filter(|l| matches!(l.get("rel").and_then(Value::as_str), Some("child" | "item" | "items")));
        return Ok(Kind::Links(down.filter_map(|l| l.get("href")?.as_str().map(str::to_owned)).collect()));
    }
    match value.get("features").and_then(Value::as_array) {
        Some(features) if !features.is_empty() && features.iter().any(is_item) => Ok(Kind::Items(features.clone())),
        _ => Ok(Kind::Other),
    }
}

/// The item's id, where it has one.
pub fn id(item: &Value) -> Option<&str> {
    item.get("id").and_then(Value::as_str).filter(|id| !id.is_empty())
}

/// Reads one item. `file` is the JSON file: relative hrefs are relative to its folder. With `remote`, assets on servers
/// are read where they are.
///
/// # Errors
/// The item lacks what a scene needs.
pub fn read(item: &Value, file: &Path, source: &str, remote: bool, sensors: &Sensors) -> Result<Scene, SceneFault> {
    let bad = |message: String| SceneFault::new(Reason::BadMetadata, message);
    let id = id(item).ok_or_else(|| bad("found an item without an id, expected one".into()))?.to_owned();
    let properties =
        item.get("properties").and_then(Value::as_object).ok_or_else(|| bad("found no properties".into()))?;
    let string = |key: &str| properties.get(key).and_then(Value::as_str);
    let folder = file.parent().unwrap_or(Path::new("."));
    let entries =
        item.get("assets").and_then(Value::as_object).ok_or_else(|| bad("found no assets, expected some".into()))?;
    // HLS names the satellite as the satellite's own products do: the collection decides what the product is.
    let collection = item.get("collection").and_then(Value::as_str).unwrap_or_default();
    let family = hls::family(collection).or_else(|| hls::family(&id));
    let platform = string("platform").or_else(|| string("constellation"));
    let (spec, sensor) = match (family, platform) {
        (Some(family), platform) => {
            let raster = ["B04", "B05", "NDVI"].iter().find_map(|k| entries.get(*k)?.get("href")?.as_str());
            let told = || hls::Tags::read(&resolve(raster?, folder, remote)).ok()?.platform().map(str::to_owned);
            let platform = platform.map(str::to_owned).or_else(told);
            hls::Tags::sensor(platform.as_deref(), family, sensors)
                .map_err(|f| SceneFault::new(f.reason, format!("properties.platform, {}", f.message)))?
        }
        (None, Some(platform)) => sensors.by_platform(platform).ok_or_else(|| {
            SceneFault::new(
                Reason::Unsupported,
                format!("properties.platform: found {platform}, expected one of {}", sensors.platforms()),
            )
        })?,
        (None, None) => {
            let message = "properties.platform: found nothing, expected for example sentinel-2b or landsat-8";
            return Err(bad(message.into()));
        }
    };
    let when = string("datetime")
        .or_else(|| string("start_datetime"))
        .ok_or_else(|| bad("properties.datetime: found nothing, expected the UTC time of acquisition".into()))?;
    let acquired_at = when.parse::<jiff::Timestamp>().map_err(|e| {
        bad(format!("properties.datetime: found {when}, expected a UTC time such as 2020-07-15T02:31:05Z: {e}"))
    })?;
    let baseline = string("s2:processing_baseline").or_else(|| string("processing:version")).map(str::to_owned);
    let offset_applied =
        properties.iter().find(|(key, _)| key.ends_with("boa_offset_applied")).and_then(|(_, value)| value.as_bool());

    let mut assets: BTreeMap<Layer, Vec<Asset>> = BTreeMap::new();
    let mut index_only = true;
    for (key, value) in entries {
        let Some(layer) = layer_of(key, value, &spec) else { continue };
        let href = value
            .get("href")
            .and_then(Value::as_str)
            .ok_or_else(|| bad(format!("assets.{key}: found no href, expected a path")))?;
        let facts = RasterFacts::of(value);
        // Real HLS items leave scale and offset to the rasters, which state them.
        let left_open = facts.scale.is_none() || facts.offset.is_none();
        let packing_in_raster = match layer {
            Layer::Band(_) => family.is_some() && left_open,
            // An index is stored scaled more often than not: what the item does not say, the raster must.
            Layer::Index(_) => facts.scale.is_none() && !facts.is_float,
            Layer::Mask | Layer::Saturation => false,
        };
        let calibration = match &layer {
            _ if packing_in_raster => {
                index_only &= !matches!(layer, Layer::Band(_));
                Calibration::IDENTITY
            }
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
            path: resolve(href, folder, remote),
            name: key.clone(),
            pixel_m: facts.pixel_m.or_else(|| suffix_pixel_m(key)),
            calibration,
            invalid_dn,
            saturation_bit,
            packing_in_raster,
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
    let is_sentinel2 = spec.id == SENTINEL2;
    let (acquisition, baseline) = if family.is_some() && id.to_uppercase().starts_with("HLS") {
        let (acquisition, version) = hls::acquisition(&id);
        (acquisition, version.or(baseline))
    } else if let (true, Some(tile)) = (is_sentinel2, tile) {
        // The datatake's start names the acquisition; an item's datetime is that of the tile in some catalogs.
        let datatake = ["s2:datatake_id", "s2:product_uri"].iter().find_map(|key| {
            let parts = string(key)?.split('_');
            parts.into_iter().find_map(sentinel2::compact_time)
        });
        (sentinel2::acquisition(datatake.as_deref().unwrap_or(when), tile), baseline)
    } else if let (Some(path), Some(row)) = (string("landsat:wrs_path"), string("landsat:wrs_row")) {
        let date = acquired_at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string();
        (landsat::acquisition(&sensor, &date, path, row), None)
    } else {
        (format!("stac/{id}"), baseline)
    };
    let generated = ["s2:generation_time", "processing:datetime", "updated", "created"].iter().find_map(|k| string(k));
    let of_catalog = |l: &Layer| matches!(l, Layer::Band(_));
    Ok(Scene {
        acquisition,
        part: string("s2:datastrip_id").and_then(sentinel2::datastrip_start),
        stated: stated(item, entries),
        offset_by_catalog: is_sentinel2 && assets.keys().any(of_catalog),
        id,
        sensor,
        // HLS's indices are not masked; elsewhere an index without a mask is taken as its provider delivers it.
        masked_by_provider: index_only && spec.mask.layout != MaskLayout::Fmask,
        spec,
        acquired_at,
        baseline,
        generated: generated.map(str::to_owned),
        assets,
        metadata: vec![file.to_path_buf()],
        source: source.to_owned(),
    })
}

/// Where the item says that its rasters lie (projection extension).
fn stated(item: &Value, assets: &serde_json::Map<String, Value>) -> Option<Stated> {
    let properties = item.get("properties");
    let places = || properties.into_iter().chain(assets.values());
    let code = places().find_map(|p| match p.get("proj:code").or_else(|| p.get("proj:epsg"))? {
        Value::String(code) => Some(code.to_uppercase()),
        Value::Number(number) => Some(format!("EPSG:{number}")),
        _ => None,
    })?;
    let numbers =
        |p: &Value, key: &str| -> Option<Vec<f64>> { p.get(key)?.as_array()?.iter().map(Value::as_f64).collect() };
    let grid = places().find_map(|p| {
        let (t, shape) = (numbers(p, "proj:transform")?, numbers(p, "proj:shape")?);
        (t.len() >= 6 && shape.len() == 2).then(|| ((t[2], t[5]), (shape[1] * t[0].abs(), shape[0] * t[4].abs())))
    });
    Some(Stated {
        file: "the item".into(),
        crs: Some(Crs(code)),
        origin: grid.map(|(origin, _)| origin),
        extent: grid.map(|(_, extent)| extent),
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
    if spec.id != SENTINEL2 {
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
    if roles.contains(&"index") || spec.given_indices.contains(&base) {
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

/// Path of an href. Addresses on a server become GDAL's with `remote`, else they are kept: the layout says that they are
/// not read.
fn resolve(href: &str, folder: &Path, remote: bool) -> PathBuf {
    if let Some(path) = href.strip_prefix("file://") {
        return PathBuf::from(path);
    }
    match href.split_once("://") {
        Some(("http" | "https", _)) if remote => PathBuf::from(format!("/vsicurl/{href}")),
        Some(("s3", rest)) if remote => PathBuf::from(format!("/vsis3/{rest}")),
        Some(_) => PathBuf::from(href),
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
        read(item, Path::new("items/x.json"), "items/x.json", false, &Sensors::builtin().expect("sensors"))
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
        let catalog = json!({"type": "Catalog", "stac_version": "1.0.0", "links": [
            {"rel": "root", "href": "./catalog.json"}, {"rel": "child", "href": "a/collection.json"}]});
        assert!(matches!(sort_out(&catalog.to_string()), Ok(Kind::Links(l)) if l == ["a/collection.json"]));
    }

    #[test]
    fn an_hls_item_is_no_level_2a() {
        let assets = json!({"B04": {"href": "a.tif"}, "B8A": {"href": "b.tif"}, "Fmask": {"href": "c.tif"}});
        let mut hls = item("sentinel-2a", json!({}), assets.clone());
        hls["collection"] = json!("HLSS30.v2.0");
        let s = scene(&hls).expect("scene");
        assert_eq!((s.spec.id.as_str(), s.sensor.as_str()), ("hls-s30", "S2A"));
        let red = &s.assets[&Layer::Band(Band::Red)][0];
        assert!(red.packing_in_raster && red.invalid_dn.contains(&-9999.0));
        assert!(!s.offset_by_catalog);
        // The id tells as well, and a satellite of the other family is refused.
        let mut by_id = item("landsat-8", json!({}), assets);
        by_id["id"] = json!("HLS.L30.T50RLV.2020124T024551.v2.0");
        assert_eq!(scene(&by_id).expect("scene").acquisition, "HLS.L30.T50RLV.2020124T024551");
        by_id["properties"]["platform"] = json!("sentinel-2a");
        assert_eq!(scene(&by_id).map_err(|f| f.reason).err(), Some(Reason::Unsupported));
    }

    #[test]
    fn a_landsat_item_names_the_acquisition_as_the_product_does() {
        let facts = json!([{"scale": 2.75e-5, "offset": -0.2, "nodata": 0}]);
        let properties = json!({"landsat:wrs_path": "023", "landsat:wrs_row": "028"});
        let s = scene(&item("landsat-8", properties, json!({"red": {"href": "a.tif", "raster:bands": facts}})));
        assert_eq!(s.expect("scene").acquisition, landsat::acquisition("L8", "2022-06-01", "23", "28"));
    }

    #[test]
    fn a_server_is_asked_only_when_allowed() {
        let at = |href, remote| resolve(href, Path::new("d"), remote).to_string_lossy().into_owned();
        assert_eq!(at("https://x/a.tif", false), "https://x/a.tif");
        assert_eq!(at("https://x/a.tif", true), "/vsicurl/https://x/a.tif");
        assert_eq!(at("s3://b/a.tif", true), "/vsis3/b/a.tif");
        assert_eq!(at("a.tif", true), "d/a.tif");
    }
}
