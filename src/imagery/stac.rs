//! STAC Items, ItemCollections, Collections and Catalogs on disk: JSON to [`Scene`].
//!
//! Bands are recognised by asset key, by band name and by common name, since catalogs differ; scale, offset and nodata come
//! from the raster extension (1.x `raster:bands` or the band objects of STAC 1.1). An asset with the role `index` is used
//! as that index. Where an item leaves open how digital numbers become reflectance, the scene is refused with what is
//! missing, unless a setting says what holds: a guess here is a step in every series.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::angles::{self, Angles, Direction, Geometry};
use super::sensor::{MaskLayout, SensorSpec, Sensors};
use super::{Asset, Band, Calibration, Layer, OffsetSource, Scene, Stated, hls, landsat, sentinel2};
use crate::error::{Reason, SceneFault};
use crate::files::Trace;
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

/// What holds for Sentinel-2 items that leave open whether their digital numbers carry the offset of baseline 04.00, or that
/// contradict themselves. Items that say one thing are believed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OffsetState {
    /// Nothing: such scenes are refused.
    #[default]
    Metadata,
    /// They carry it: reflectance is the scaled number and the item's offset, or -0.1 where it states none.
    InDn,
    /// The catalog has taken it out of the numbers, or there never was one.
    AlreadyApplied,
}

/// What an item is read with.
pub struct Around<'a> {
    /// The JSON file: relative hrefs are relative to its folder.
    pub file: &'a Path,
    /// The file as records name it.
    pub source: &'a str,
    /// Read assets on servers where they are.
    pub remote: bool,
    /// What holds where the item leaves the offset open.
    pub offset_state: OffsetState,
    /// Sensors.
    pub sensors: &'a Sensors,
    /// Files that are read.
    pub trace: &'a Trace,
}

/// Reads one item.
///
/// # Errors
/// The item lacks what a scene needs.
pub fn read(item: &Value, around: &Around) -> Result<Scene, SceneFault> {
    let item = Item::of(item)?;
    let (spec, sensor) = item.sensor(around)?;
    let (when, acquired_at) = item.acquired_at()?;
    let rasters = item.rasters(&spec, around)?;
    let (acquisition, tile, baseline) = item.acquisition(&spec, &sensor, when, acquired_at);
    let generated = ["s2:generation_time", "processing:datetime", "updated", "created"];
    Ok(Scene {
        acquisition,
        tile,
        part: item.text("s2:datastrip_id").and_then(sentinel2::datastrip_start),
        stated: item.stated(),
        angles: item.angles(&spec),
        sun: item.sun().and_then(Direction::checked_sun).map_err(|why| format!("properties: {why}")),
        offset_from: rasters.offset_from,
        id: item.id.to_owned(),
        sensor,
        // HLS's indices are not masked; elsewhere an index without a mask is taken as its provider delivers it.
        masked_by_provider: rasters.index_only && spec.mask.layout != MaskLayout::Fmask,
        spec,
        acquired_at,
        baseline,
        generated: generated.iter().find_map(|k| item.text(k)).map(str::to_owned),
        assets: rasters.assets,
        metadata: vec![around.file.to_path_buf()],
        source: around.source.to_owned(),
    })
}

type Object = serde_json::Map<String, Value>;

/// The parts of an item that every scene needs.
struct Item<'a> {
    id: &'a str,
    properties: &'a Object,
    assets: &'a Object,
    /// HLS names the satellite as the satellite's own products do: the collection, or the id, decides what the product is.
    hls: Option<&'static str>,
}

/// Rasters of an item.
struct Rasters {
    assets: BTreeMap<Layer, Vec<Asset>>,
    /// No band among them whose values the item describes.
    index_only: bool,
    offset_from: OffsetSource,
}

fn bad(message: impl Into<String>) -> SceneFault {
    SceneFault::new(Reason::BadMetadata, message)
}

impl<'a> Item<'a> {
    fn of(item: &'a Value) -> Result<Self, SceneFault> {
        let id = id(item).ok_or_else(|| bad("found an item without an id, expected one"))?;
        let object = |key: &str| item.get(key).and_then(Value::as_object);
        let collection = item.get("collection").and_then(Value::as_str).unwrap_or_default();
        Ok(Item {
            id,
            properties: object("properties").ok_or_else(|| bad("found no properties"))?,
            assets: object("assets").ok_or_else(|| bad("found no assets, expected some"))?,
            hls: hls::family(collection).or_else(|| hls::family(id)),
        })
    }

    /// A property that is text.
    fn text(&self, key: &str) -> Option<&'a str> {
        self.properties.get(key).and_then(Value::as_str)
    }

    /// The sensor family, and the unit's id.
    fn sensor(&self, around: &Around) -> Result<(Arc<SensorSpec>, String), SceneFault> {
        let platform = self.text("platform").or_else(|| self.text("constellation"));
        let sensors = around.sensors;
        let Some(family) = self.hls else {
            let platform = platform.ok_or_else(|| {
                bad("properties.platform: found nothing, expected for example sentinel-2b or landsat-8")
            })?;
            return sensors.by_platform(platform).ok_or_else(|| {
                SceneFault::new(
                    Reason::Unsupported,
                    format!("properties.platform: found {platform}, expected one of {}", sensors.platforms()),
                )
            });
        };
        let told_by_raster = || {
            let href = ["B04", "B05", "NDVI"].iter().find_map(|k| self.assets.get(*k)?.get("href")?.as_str())?;
            // May lie on a server or in an archive.
            around.trace.leave_open();
            let tags = hls::Tags::read(&resolve(href, around)).ok()?;
            tags.platform().map(str::to_owned)
        };
        let platform = platform.map(str::to_owned).or_else(told_by_raster);
        hls::Tags::sensor(platform.as_deref(), family, sensors)
            .map_err(|f| SceneFault::new(f.reason, format!("properties.platform, {}", f.message)))
    }

    /// Time of acquisition, as written and as understood.
    fn acquired_at(&self) -> Result<(&'a str, Timestamp), SceneFault> {
        let when = self
            .text("datetime")
            .or_else(|| self.text("start_datetime"))
            .ok_or_else(|| bad("properties.datetime: found nothing, expected the UTC time of acquisition"))?;
        let at = when.parse().map_err(|e| {
            bad(format!("properties.datetime: found {when}, expected a UTC time such as 2020-07-15T02:31:05Z: {e}"))
        })?;
        Ok((when, at))
    }

    fn baseline(&self) -> Option<&'a str> {
        self.text("s2:processing_baseline").or_else(|| self.text("processing:version"))
    }

    /// Every asset that is a layer, with what its values mean.
    fn rasters(&self, spec: &SensorSpec, around: &Around) -> Result<Rasters, SceneFault> {
        let flag = self.properties.iter().find(|(key, _)| key.ends_with("boa_offset_applied"));
        let offset = OffsetWord {
            baseline: self.baseline(),
            applied: flag.and_then(|(_, value)| value.as_bool()),
            setting: around.offset_state,
        };
        let mut assets: BTreeMap<Layer, Vec<Asset>> = BTreeMap::new();
        let mut index_only = true;
        let mut set = false;
        for (key, value) in self.assets {
            let Some(layer) = layer_of(key, value, spec) else { continue };
            let href = value
                .get("href")
                .and_then(Value::as_str)
                .ok_or_else(|| bad(format!("assets.{key}: found no href, expected a path")))?;
            let facts = RasterFacts::of(value);
            index_only &= !matches!(layer, Layer::Band(_));
            // Real HLS items leave scale and offset to the rasters, which state them. And an index is stored scaled more
            // often than not: what the item does not say, the raster must.
            let packing_in_raster = match layer {
                Layer::Band(_) => self.hls.is_some() && (facts.scale.is_none() || facts.offset.is_none()),
                Layer::Index(_) => facts.scale.is_none() && !facts.is_float,
                Layer::Mask | Layer::Saturation => false,
            };
            let calibration = match layer {
                _ if packing_in_raster => Calibration::IDENTITY,
                Layer::Mask | Layer::Saturation => Calibration::IDENTITY,
                Layer::Index(_) => {
                    Calibration { pre: 0.0, scale: facts.scale.unwrap_or(1.0), post: facts.offset.unwrap_or(0.0) }
                }
                Layer::Band(_) => {
                    let (calibration, by_setting) = reflectance(key, &facts, spec, &offset)?;
                    set |= by_setting;
                    calibration
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
                path: resolve(href, around),
                name: key.clone(),
                pixel_m: facts.pixel_m.or_else(|| split_size(key).1),
                calibration,
                invalid_dn,
                saturation_bit,
                packing_in_raster,
            };
            assets.entry(layer).or_default().push(asset);
        }
        let has_bands = assets.keys().any(|l| matches!(l, Layer::Band(_)));
        if !has_bands && !assets.keys().any(|l| matches!(l, Layer::Index(_))) {
            let keys: Vec<&str> = self.assets.keys().map(String::as_str).collect();
            return Err(SceneFault::new(
                Reason::MissingBands,
                format!(
                    "assets: found {}, expected bands of {} or an asset with the role `index`",
                    keys.join(", "),
                    spec.title
                ),
            ));
        }
        let offset_from = match (spec.id == SENTINEL2 && has_bands, set) {
            (false, _) => OffsetSource::Product,
            (true, false) => OffsetSource::Item,
            (true, true) => OffsetSource::Setting,
        };
        Ok(Rasters { assets, index_only, offset_from })
    }

    /// What this acquisition has in common with its copies, the tile, and the processing baseline.
    fn acquisition(
        &self,
        spec: &SensorSpec,
        sensor: &str,
        when: &str,
        at: Timestamp,
    ) -> (String, Option<String>, Option<String>) {
        let baseline = self.baseline().map(str::to_owned);
        if self.hls.is_some() && self.id.to_uppercase().starts_with("HLS") {
            let (acquisition, version) = hls::acquisition(self.id);
            let tile = acquisition.split('.').nth(2).map(str::to_owned);
            return (acquisition, tile, version.or(baseline));
        }
        let tile = self.text("s2:mgrs_tile").or_else(|| self.text("grid:code"));
        if let (true, Some(tile)) = (spec.id == SENTINEL2, tile) {
            // The datatake's start names the acquisition; an item's datetime is that of the tile in some catalogs.
            let datatake = ["s2:datatake_id", "s2:product_uri"]
                .iter()
                .find_map(|key| self.text(key)?.split('_').find_map(sentinel2::compact_time));
            let acquisition = sentinel2::acquisition(datatake.as_deref().unwrap_or(when), tile);
            // As products write it, whichever way the catalog does.
            let tile = acquisition.rsplit('/').next().map(|t| format!("T{t}"));
            return (acquisition, tile, baseline);
        }
        if let (Some(path), Some(row)) = (self.text("landsat:wrs_path"), self.text("landsat:wrs_row")) {
            let date = at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string();
            return (landsat::acquisition(sensor, &date, path, row), Some(format!("{path}/{row}")), None);
        }
        (format!("stac/{}", self.id), None, baseline)
    }

    /// Where the sun and the satellite stood (view extension), in the mean of a Sentinel-2 tile.
    fn angles(&self, spec: &SensorSpec) -> Angles {
        if self.hls.is_some() {
            return Angles::Nadir;
        }
        if spec.id != SENTINEL2 {
            return Angles::Unknown(landsat::NO_VIEW.into());
        }
        // Of the item; else, as older items tell it, the mean of its assets.
        let view = || {
            let assets = self.assets.values().filter_map(Value::as_object).filter_map(view_of);
            view_of(self.properties).or_else(|| angles::mean(&assets.collect::<Vec<_>>()))
        };
        let geometry = match (self.sun(), view()) {
            (Ok(sun), Some(view)) => Geometry::checked(sun, view),
            (Err(why), _) => Err(why),
            (_, None) => Err(
                "found no angles of the satellite, expected view:azimuth, and view:incidence_angle or view:off_nadir"
                    .into(),
            ),
        };
        geometry.map_or_else(|why| Angles::Unknown(format!("properties: {why}")), Angles::Scene)
    }

    /// Where the sun stood, in the mean of the scene.
    fn sun(&self) -> Result<Direction, String> {
        let number = |key: &str| self.properties.get(key).and_then(as_number);
        let zenith_deg = number("view:sun_elevation").map(|e| 90.0 - e).or_else(|| number("s2:mean_solar_zenith"));
        let azimuth_deg = number("view:sun_azimuth").or_else(|| number("s2:mean_solar_azimuth"));
        match (zenith_deg, azimuth_deg) {
            (Some(zenith_deg), Some(azimuth_deg)) => Ok(Direction { zenith_deg, azimuth_deg }),
            _ => Err("found no angles of the sun, expected view:sun_elevation and view:sun_azimuth".into()),
        }
    }

    /// Where the item says that its rasters lie (projection extension).
    fn stated(&self) -> Option<Stated> {
        let places = || std::iter::once(self.properties).chain(self.assets.values().filter_map(Value::as_object));
        let code = places().find_map(|p| match p.get("proj:code").or_else(|| p.get("proj:epsg"))? {
            Value::String(code) => Some(code.to_uppercase()),
            Value::Number(number) => Some(format!("EPSG:{number}")),
            _ => None,
        })?;
        let numbers =
            |p: &Object, key: &str| -> Option<Vec<f64>> { p.get(key)?.as_array()?.iter().map(Value::as_f64).collect() };
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
}

/// Where a Sentinel-2 item or asset says that the satellite stood, seen from the ground. Items are made of the product's
/// Mean_Viewing_Incidence_Angle: `view:azimuth` is from the ground to the satellite. `view:off_nadir` is the angle at the
/// satellite, which the earth's curve makes the smaller one; some catalogs write 0 for it without a word on the azimuth, which
/// is no measurement.
fn view_of(object: &Object) -> Option<Direction> {
    const EARTH_KM: f64 = 6371.0;
    const ORBIT_KM: f64 = 786.0;
    let number = |key: &str| object.get(key).and_then(as_number);
    let of_off_nadir = |angle: f64| ((1.0 + ORBIT_KM / EARTH_KM) * angle.to_radians().sin()).asin().to_degrees();
    let zenith_deg = number("view:incidence_angle").or_else(|| number("view:off_nadir").map(of_off_nadir))?;
    Some(Direction { zenith_deg, azimuth_deg: number("view:azimuth")? })
}

/// What is known about the offset of the whole scene.
struct OffsetWord<'a> {
    baseline: Option<&'a str>,
    applied: Option<bool>,
    setting: OffsetState,
}

/// Offset of reflectance from baseline 04.00 on: BOA_ADD_OFFSET -1000 over the quantification value 10000 (Sentinel-2
/// Products Specification Document).
const BOA_OFFSET: f64 = -0.1;

/// How a reflectance asset is calibrated and whether the setting decided, or why nobody can know.
fn reflectance(
    key: &str,
    facts: &RasterFacts,
    spec: &SensorSpec,
    word: &OffsetWord,
) -> Result<(Calibration, bool), SceneFault> {
    let unknown = |message: String| Err(SceneFault::new(Reason::UnknownCalibration, message));
    let Some(scale) = facts.scale else {
        if facts.is_float {
            return Ok((Calibration::IDENTITY, false));
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
        return Ok((Calibration { pre: 0.0, scale, post: offset }, false));
    }
    let said = match (facts.offset, word.applied) {
        (Some(offset), Some(true)) if offset != 0.0 => None,
        (Some(offset), _) => Some(offset),
        (None, Some(true)) => Some(0.0),
        (None, _) => word.baseline.and_then(|b| b.parse::<f64>().ok()).filter(|number| *number < 4.0).map(|_| 0.0),
    };
    let offset = match (said, word.setting) {
        (Some(offset), _) => offset,
        (None, OffsetState::AlreadyApplied) => 0.0,
        (None, OffsetState::InDn) => facts.offset.unwrap_or(BOA_OFFSET),
        (None, OffsetState::Metadata) => {
            const HELP: &str = "or set `offset_state` under [scenes] to \"already_applied\" or \"in_dn\", whichever the \
                                provider confirms";
            return unknown(match facts.offset {
                Some(offset) => format!(
                    "assets.{key}: found offset {offset} in raster:bands while the item says that the offset is applied \
                     (boa_offset_applied = true); expected one of the two, correct the item, {HELP}"
                ),
                None => format!(
                    "assets.{key}: found no offset in raster:bands, no boa_offset_applied and baseline {}; expected one \
                     of: an offset, boa_offset_applied = true, or a baseline below 04.00; complete the item, {HELP}",
                    word.baseline.unwrap_or("not stated")
                ),
            });
        }
    };
    // Kept in digital numbers, so that an offset of -1000 gives the same bits as a product without one.
    let pre = (offset / scale).round();
    let calibration = if ((pre * scale) - offset).abs() < 1e-9 {
        Calibration { pre, scale, post: 0.0 }
    } else {
        Calibration { pre: 0.0, scale, post: offset }
    };
    Ok((calibration, said.is_none()))
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

/// `B04_10m` -> `B04` and 10.
fn split_size(key: &str) -> (&str, Option<f64>) {
    let split = key.rsplit_once('_').and_then(|(base, size)| Some((base, size.strip_suffix('m')?.parse().ok()?)));
    split.map_or((key, None), |(base, size)| (base, Some(size)))
}

/// Roles of what shows or describes the data and is none.
const NO_DATA_ROLES: [&str; 4] = ["thumbnail", "overview", "metadata", "visual"];

/// Which layer an asset is: by its roles and key, else the band that it holds.
fn layer_of(key: &str, asset: &Value, spec: &SensorSpec) -> Option<Layer> {
    let roles = asset.get("roles").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let has = |wanted: &[&str]| roles.clone().any(|role| wanted.contains(&role));
    let base = split_size(key).0.to_lowercase();
    if has(&["index"]) || spec.given_indices.contains(&base) {
        Some(Layer::Index(base))
    } else if has(&NO_DATA_ROLES) {
        None
    } else if spec.mask.keys.contains(&base) {
        Some(Layer::Mask)
    } else if spec.mask.saturation_keys.contains(&base) {
        Some(Layer::Saturation)
    } else {
        band_of(&base, asset, spec).map(Layer::Band)
    }
}

/// The band of an asset: by key and by the provider's band name first, then by common name.
fn band_of(base: &str, asset: &Value, spec: &SensorSpec) -> Option<Band> {
    let described = ["eo:bands", "bands"].iter().find_map(|k| asset.get(*k)).and_then(Value::as_array);
    // A colour image holds several bands and is not one of them.
    if described.is_some_and(|bands| bands.len() > 1) {
        return None;
    }
    let kind = asset.get("type").and_then(Value::as_str).unwrap_or_default();
    if kind.contains("json") || kind.contains("xml") {
        return None;
    }
    let inner = described.and_then(|bands| bands.first());
    let field = |name: &str| inner.and_then(|b| b.get(name)).and_then(Value::as_str);
    let by_name = |name: &str| spec.bands.iter().find(|b| b.name.eq_ignore_ascii_case(name));
    let by_common = |name: &str| spec.bands.iter().find(|b| b.common.iter().any(|c| c == name));
    by_name(base)
        .or_else(|| field("name").and_then(by_name))
        .or_else(|| by_common(base))
        .or_else(|| field("common_name").or_else(|| field("eo:common_name")).and_then(by_common))
        .map(|spec| spec.band)
}

/// Path of an href. Addresses on a server become GDAL's with `remote`, else they are kept: the layout says that they are
/// not read.
fn resolve(href: &str, around: &Around) -> PathBuf {
    let folder = around.file.parent().unwrap_or(Path::new("."));
    let remote = around.remote;
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

    fn read_with(item: &Value, offset_state: OffsetState) -> Result<Scene, SceneFault> {
        let sensors = Sensors::builtin().expect("sensors");
        let file = Path::new("items/x.json");
        read(
            item,
            &Around {
                file,
                source: "x.json",
                remote: false,
                offset_state,
                sensors: &sensors,
                trace: &Trace::default(),
            },
        )
    }

    fn scene(item: &Value) -> Result<Scene, SceneFault> {
        read_with(item, OffsetState::Metadata)
    }

    fn red(raster: Value) -> Value {
        json!({"red": {"href": "../B04.tif", "roles": ["data"], "raster:bands": [raster]}})
    }

    #[test]
    fn angles_of_the_item_or_the_mean_of_its_assets() {
        let told = |properties: Value, asset: Value| {
            let mut red = red(json!({"scale": 1e-4, "offset": 0.0}));
            red["red"].as_object_mut().expect("asset").extend(asset.as_object().expect("object").clone());
            scene(&item("sentinel-2b", properties, red)).expect("scene").angles
        };
        let both = |sun: (f64, f64), view: (f64, f64)| {
            let direction = |(zenith_deg, azimuth_deg)| Direction { zenith_deg, azimuth_deg };
            Angles::Scene(Geometry { sun: direction(sun), view: direction(view) })
        };
        let sun = || json!({"s2:mean_solar_zenith": 35.0, "s2:mean_solar_azimuth": 150.0});
        let view = || json!({"view:incidence_angle": 8.0, "view:azimuth": 270.0});
        assert_eq!(told(sun(), view()), both((35.0, 150.0), (8.0, 270.0)));
        let mut whole = view();
        whole.as_object_mut().expect("object").extend(
            json!({"view:sun_elevation": 60.0, "view:sun_azimuth": 140.0}).as_object().expect("object").clone(),
        );
        assert_eq!(
            told(whole, json!({"view:incidence_angle": 1.0, "view:azimuth": 1.0})),
            both((30.0, 140.0), (8.0, 270.0))
        );
        // Seen from the satellite the angle is smaller: (R + h) sin(off nadir) = R sin(zenith).
        let off_nadir = (8f64.to_radians().sin() * 6371.0 / 7157.0).asin().to_degrees();
        let Angles::Scene(found) = told(sun(), json!({"view:off_nadir": off_nadir, "view:azimuth": 270.0})) else {
            panic!("no angles")
        };
        assert!((found.view.zenith_deg - 8.0).abs() < 1e-9 && off_nadir < 7.2, "{found:?}");
        for (properties, asset, word) in [
            (sun(), json!({}), "view:incidence_angle"),
            (sun(), json!({"view:off_nadir": 0}), "view:azimuth"),
            (json!({}), view(), "view:sun_elevation"),
            (json!({"view:sun_elevation": 5, "view:sun_azimuth": 150}), view(), "zenith 85"),
        ] {
            let Angles::Unknown(why) = told(properties, asset) else { panic!("{word}: something is known") };
            assert!(why.contains(word), "{why}");
        }
        // A Landsat item's off-nadir angle is that of the satellite's pointing, nearly always 0.
        let mut landsat = item("landsat-8", sun(), red(json!({"scale": 2.75e-5, "offset": -0.2})));
        landsat["properties"]["view:off_nadir"] = json!(0);
        landsat["properties"]["view:azimuth"] = json!(0);
        assert_eq!(scene(&landsat).expect("scene").angles, Angles::Unknown(landsat::NO_VIEW.into()));
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

    /// Digital number that is reflectance 0, by what the item says and what is set.
    #[test]
    fn the_setting_settles_what_the_item_leaves_open_and_nothing_else() {
        use OffsetState::{AlreadyApplied, InDn, Metadata};
        let zero = |properties: Value, raster: Value, state: OffsetState| {
            read_with(&item("sentinel-2b", properties, red(raster)), state)
                .map(|s| (-s.assets[&Layer::Band(Band::Red)][0].calibration.pre, s.offset_from))
                .map_err(|f| f.message)
        };
        let applied = || json!({"earthsearch:boa_offset_applied": true});
        let (both, scale) = (|| json!({"scale": 1e-4, "offset": -0.1}), || json!({"scale": 1e-4}));
        // An item that contradicts itself, and one that says nothing: refused, and the message names the way out.
        for (properties, raster) in [(applied(), both()), (json!({"s2:processing_baseline": "05.10"}), scale())] {
            let message = zero(properties.clone(), raster.clone(), Metadata).expect_err("open");
            assert!(message.contains("`offset_state` under [scenes]"), "{message}");
            assert_eq!(zero(properties.clone(), raster.clone(), InDn), Ok((1000.0, OffsetSource::Setting)));
            assert_eq!(zero(properties, raster, AlreadyApplied), Ok((0.0, OffsetSource::Setting)));
        }
        // Items that say one thing are believed, whatever is set.
        for state in [Metadata, InDn, AlreadyApplied] {
            assert_eq!(zero(json!({}), both(), state), Ok((1000.0, OffsetSource::Item)), "{state:?}");
            assert_eq!(zero(applied(), scale(), state), Ok((0.0, OffsetSource::Item)), "{state:?}");
            let old = json!({"s2:processing_baseline": "02.08"});
            assert_eq!(zero(old, scale(), state), Ok((0.0, OffsetSource::Item)), "{state:?}");
            assert!(zero(json!({}), json!({}), state).is_err(), "no setting stands for a scale");
        }
        // Other families have one way only.
        let landsat = item("landsat-8", json!({}), red(scale()));
        assert!(read_with(&landsat, InDn).is_err());
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
        assert_eq!(s.offset_from, OffsetSource::Product);
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
        let sensors = Sensors::builtin().expect("sensors");
        let at = |href, remote| {
            let (file, trace) = (Path::new("d/x.json"), &Trace::default());
            let offset_state = OffsetState::Metadata;
            let around = Around { file, source: "x.json", remote, offset_state, sensors: &sensors, trace };
            resolve(href, &around).to_string_lossy().into_owned()
        };
        assert_eq!(at("https://x/a.tif", false), "https://x/a.tif");
        assert_eq!(at("https://x/a.tif", true), "/vsicurl/https://x/a.tif");
        assert_eq!(at("s3://b/a.tif", true), "/vsis3/b/a.tif");
        assert_eq!(at("a.tif", true), "d/a.tif");
    }
}
