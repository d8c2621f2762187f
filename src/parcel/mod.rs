//! Which polygons are assessed: reading the parcel layer, and setting aside what is no parcel.
//!
//! A layer without a CRS or without the id field stops the run (nothing could be trusted). A single bad feature does not:
//! it becomes a quarantine row with its reason. A repeated id sets aside every feature that carries it, since nobody can
//! tell which one is meant.

use std::collections::BTreeMap;
use std::path::Path;

use geo::MultiPolygon;
use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::error::{Error, Quarantine, Reason, Result, Stage};
use crate::gdal_io;
use crate::geo::area::geodesic_area_m2;
use crate::geo::crs::{Crs, LON_LAT, Transform};
use crate::units::M2_PER_HA;

/// What a parcel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// 碳汇补偿林基地
    CompensationBase,
    /// 受损地块
    Damaged,
    /// 储备林
    Reserve,
    /// 对照
    Reference,
}

impl Kind {
    /// Names accepted in a layer beside the configured `kind_values`, English and Chinese.
    const NAMES: [(&'static str, Kind); 12] = [
        ("compensation_base", Kind::CompensationBase),
        ("compensation", Kind::CompensationBase),
        ("碳汇补偿林基地", Kind::CompensationBase),
        ("补偿林基地", Kind::CompensationBase),
        ("damaged", Kind::Damaged),
        ("受损地块", Kind::Damaged),
        ("受损", Kind::Damaged),
        ("reserve", Kind::Reserve),
        ("储备林", Kind::Reserve),
        ("reference", Kind::Reference),
        ("对照", Kind::Reference),
        ("对照地块", Kind::Reference),
    ];

    /// The table's spelling.
    pub fn name(self) -> &'static str {
        match self {
            Kind::CompensationBase => "compensation_base",
            Kind::Damaged => "damaged",
            Kind::Reserve => "reserve",
            Kind::Reference => "reference",
        }
    }

    fn parse(text: &str) -> Option<Kind> {
        let lower = text.to_lowercase();
        Kind::NAMES.iter().find(|(name, _)| *name == lower).map(|(_, kind)| *kind)
    }
}

/// `[parcels]`: where the parcels are and how the layer's own field names map to ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// GeoPackage or GeoJSON file.
    pub path: std::path::PathBuf,
    /// Layer name, needed where the file has several.
    #[serde(default)]
    pub layer: Option<String>,
    /// The layer's field that holds the parcel id.
    pub id: String,
    /// The layer's field that holds the kind.
    #[serde(default)]
    pub kind: Option<String>,
    /// The layer's own words for the kinds.
    #[serde(default)]
    pub kind_values: BTreeMap<String, Kind>,
    /// Our attribute names to the layer's field names.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// One parcel.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// Its id, unique in the layer.
    pub id: String,
    /// What it is for, where the layer says so.
    pub kind: Option<Kind>,
    /// In the layer's own CRS.
    pub geometry: MultiPolygon<f64>,
    /// In degrees, for tables.
    pub lon_lat: MultiPolygon<f64>,
    /// Geodesic area on the WGS 84 ellipsoid, hectares: the authority for every total.
    pub area_ha: f64,
    /// Attributes by our names; absent where the layer's field is empty.
    pub attributes: BTreeMap<String, String>,
    /// Digest of id, CRS and coordinates.
    pub digest: Sha256,
}

/// The parcels that can be assessed, sorted by id, and those that cannot.
#[derive(Debug, Clone)]
pub struct ParcelSet {
    /// CRS of the layer.
    pub crs: Crs,
    /// Sorted by id.
    pub parcels: Vec<Parcel>,
    /// Set aside.
    pub quarantined: Vec<Quarantine>,
    /// Features in the layer.
    pub features: usize,
}

/// Reads the parcel layer. `base` is the folder that relative paths are relative to.
///
/// # Errors
/// The file, layer or a mapped field does not exist, or the layer has no CRS.
pub fn read(params: &Params, base: &Path) -> Result<ParcelSet> {
    let path = base.join(&params.path);
    let mut fields = vec![("id", params.id.as_str())];
    fields.extend(params.kind.as_deref().map(|theirs| ("kind", theirs)));
    fields.extend(params.attributes.iter().map(|(ours, theirs)| (ours.as_str(), theirs.as_str())));
    let (crs, features) = gdal_io::read_layer(&path, params.layer.as_deref(), &fields).map_err(|f| Error::Input {
        path: path.clone(),
        what: f.what,
        found: f.found,
        expected: f.expected,
        help: f.help,
    })?;
    let to_lon_lat = Transform::new(&crs, &Crs(LON_LAT.to_owned())).map_err(|found| Error::Input {
        path: path.clone(),
        what: "CRS".into(),
        found,
        expected: "a CRS that PROJ can bring to longitude and latitude".into(),
        help: "write a standard CRS into the file, for example EPSG:4490".into(),
    })?;

    let count = features.len();
    let mut by_id: BTreeMap<String, Vec<gdal_io::Feature>> = BTreeMap::new();
    let mut quarantined = Vec::new();
    for feature in features {
        match feature.values.first().cloned().flatten() {
            Some(id) => by_id.entry(id).or_default().push(feature),
            None => quarantined.push(Quarantine::parcel(
                &format!("feature {}", feature.number),
                Stage::Parcels,
                Reason::BadAttribute,
                format!("field `{}`: found nothing, expected the parcel's id; fill it in", params.id),
            )),
        }
    }
    let mut parcels = Vec::with_capacity(by_id.len());
    for (id, mut same) in by_id {
        let feature = match same.pop() {
            Some(only) if same.is_empty() => only,
            Some(last) => {
                let mut numbers: Vec<String> = same.iter().map(|f| f.number.to_string()).collect();
                numbers.push(last.number.to_string());
                let message = format!(
                    "field `{}`: found the id `{id}` {} times (features {}), expected it once; none of them is used, \
                     give each its own id",
                    params.id,
                    numbers.len(),
                    numbers.join(", ")
                );
                quarantined.push(Quarantine::parcel(&id, Stage::Parcels, Reason::DuplicateId, message));
                continue;
            }
            None => continue,
        };
        match parcel(&id, feature, params, &crs, &to_lon_lat) {
            Ok(parcel) => parcels.push(parcel),
            Err((reason, message)) => quarantined.push(Quarantine::parcel(&id, Stage::Parcels, reason, message)),
        }
    }
    Ok(ParcelSet { crs, parcels, quarantined, features: count })
}

fn parcel(
    id: &str,
    feature: gdal_io::Feature,
    params: &Params,
    crs: &Crs,
    to_lon_lat: &Transform,
) -> std::result::Result<Parcel, (Reason, String)> {
    let number = feature.number;
    let geometry = feature.geometry.map_err(|found| {
        let message = format!("feature {number}: found {found}; correct the geometry in the layer");
        (Reason::InvalidGeometry, message)
    })?;
    let lon_lat =
        to_lon_lat.polygon(&geometry).map_err(|e| (Reason::BadCoordinates, format!("feature {number}: {e}")))?;
    let beyond = |c: &geo::Coord<f64>| !(-180.0..=180.0).contains(&c.x) || !(-90.0..=90.0).contains(&c.y);
    if let Some(c) = lon_lat.iter().flat_map(|p| p.exterior().0.iter()).find(|c| beyond(c)) {
        let message = format!(
            "feature {number}: found longitude {}, latitude {}, expected -180 to 180 and -90 to 90; the layer's CRS ({}) \
             does not fit its coordinates",
            c.x, c.y, crs.0
        );
        return Err((Reason::BadCoordinates, message));
    }
    let area_ha = geodesic_area_m2(&lon_lat) / M2_PER_HA;
    if area_ha <= 0.0 || !area_ha.is_finite() {
        return Err((Reason::InvalidGeometry, format!("feature {number}: found a polygon without area")));
    }
    let mut values = feature.values.into_iter().skip(1);
    let kind = match params.kind.as_ref().map(|field| (field, values.next().flatten())) {
        None => None,
        Some((field, None)) => {
            return Err((
                Reason::BadAttribute,
                format!("field `{field}`: found nothing, expected a kind ({})", kinds()),
            ));
        }
        Some((field, Some(text))) => {
            let known = params.kind_values.get(&text).copied().or_else(|| Kind::parse(&text));
            Some(known.ok_or_else(|| {
                let message = format!(
                    "field `{field}`: found `{text}`, expected one of {}, or say what it means with \
                     `kind_values = {{ \"{text}\" = \"reserve\" }}` under [parcels]",
                    kinds()
                );
                (Reason::BadAttribute, message)
            })?)
        }
    };
    let attributes =
        params.attributes.keys().cloned().zip(values).filter_map(|(key, value)| Some((key, value?))).collect();
    let mut bytes = format!("{id}\n{}\n", crs.0).into_bytes();
    for part in &geometry {
        for ring in std::iter::once(part.exterior()).chain(part.interiors()) {
            bytes.extend(ring.0.iter().flat_map(|c| [c.x.to_le_bytes(), c.y.to_le_bytes()]).flatten());
            // A separator that no coordinate pair can imitate, since it has an odd length.
            bytes.push(b'r');
        }
        bytes.push(b'p');
    }
    Ok(Parcel { id: id.to_owned(), kind, geometry, lon_lat, area_ha, attributes, digest: Sha256::of(&bytes) })
}

fn kinds() -> String {
    [Kind::CompensationBase, Kind::Damaged, Kind::Reserve, Kind::Reference].map(Kind::name).join(", ")
}
