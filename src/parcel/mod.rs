//! Which polygons are assessed: reading the parcel layer, and setting aside what is no parcel.
//!
//! A layer without a CRS or without the id field stops the run (nothing could be trusted). A single bad feature does not:
//! it becomes a quarantine row with its reason. A repeated id sets aside every feature that carries it, since nobody can
//! tell which one is meant.
//!
//! Geometry is repaired where that leaves no doubt (the area stays the same to a part in a million), and every repair is
//! told in a [`Note`]; anything else sets the parcel aside. What is odd and yet usable (an old datum, a sliver, parcels on
//! each other) is told and left as it is.

mod encoding;
mod geoparquet;
mod overlap;

pub use overlap::own_shares;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use geo::{CoordsIter, MultiPolygon};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::error::{Error, Quarantine, Reason, Result, Stage};
use crate::gdal_io::{self, Feature, LayerFault};
use crate::geo::area::{geodesic_area_m2, geodesic_perimeter_m, planar_area_m2};
use crate::geo::crs::{Crs, LON_LAT, Transform, share};
use crate::geo::datum::DatumShift;
use crate::geo::repair;
use crate::geo::zone::{self, Zone};
use crate::units::{M2_PER_HA, M2_PER_MU};

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

    /// Whether growth of such a parcel may be credited: a control is what others are compared with, and on damaged land
    /// growth makes good a loss.
    pub fn is_creditable(self) -> bool {
        matches!(self, Kind::CompensationBase | Kind::Reserve)
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
    /// GeoPackage, GeoJSON, Shapefile, FlatGeobuf or GeoParquet file.
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
    /// How a Shapefile's text is stored, where it does not say so itself: `GBK`, `UTF-8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Offset of the web map that the parcels were traced on, to be undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datum_shift: Option<DatumShift>,
}

/// One parcel.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// Its id, unique in the layer.
    pub id: String,
    /// What it is for, where the layer says so.
    pub kind: Option<Kind>,
    /// In [`ParcelSet::crs`].
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
    /// CRS of the parcels' geometry: that of the layer, or longitude and latitude where an offset was undone.
    pub crs: Crs,
    /// Sorted by id.
    pub parcels: Vec<Parcel>,
    /// Set aside.
    pub quarantined: Vec<Quarantine>,
    /// What was repaired, and what is odd and yet used.
    pub notes: Vec<Note>,
    /// Features in the layer.
    pub features: usize,
}

/// What a note is about. Codes are stable: they are written to the run record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// How the layer's text is encoded.
    Encoding,
    /// Where the layer's coordinates are: an approximate transformation, an offset undone.
    Datum,
    /// Geometry that was put in order.
    Repair,
    /// A parcel too small or too narrow to be one.
    Sliver,
    /// Parcels on the same ground.
    Overlap,
    /// Parcels that seem to lie beside their forest.
    Offset,
    /// What the scenes cannot give of what was asked for.
    Imagery,
    /// Parcels that reach beyond the known elevations.
    Elevation,
    /// What the layer's attributes mean to the biomass method.
    Attribute,
}

/// Something to know about the layer, a parcel or the scenes, which are used all the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Note {
    /// What it is about.
    pub topic: Topic,
    /// Parcels that are meant; empty where the layer is, or the scenes are.
    pub parcels: Vec<String>,
    /// In words.
    pub message: String,
}

impl Note {
    /// A note on some parcels, or on the layer where none is named.
    pub fn new(topic: Topic, parcels: &[&str], message: impl Into<String>) -> Note {
        Note { topic, parcels: parcels.iter().map(|&p| p.to_owned()).collect(), message: message.into() }
    }
}

/// Pairs of overlapping parcels that are listed one by one, the largest first; all are counted.
const PAIRS_LISTED: usize = 1000;
/// A parcel below either is flagged: square metres, and metres of width (twice the area over the perimeter).
const SLIVER_M2: f64 = 1.0;
const SLIVER_WIDTH_M: f64 = 0.1;

/// Files that the layer is made of.
pub fn files(params: &Params, base: &Path) -> Vec<PathBuf> {
    let path = base.join(&params.path);
    if encoding::is_shapefile(&path) { encoding::files(&path) } else { vec![path] }
}

/// Reads the parcel layer. `base` is the folder that relative paths are relative to.
///
/// # Errors
/// The file, layer or a mapped field does not exist, or the layer has no CRS.
pub fn read(params: &Params, base: &Path) -> Result<ParcelSet> {
    let path = base.join(&params.path);
    let mut notes = Vec::new();
    let (layer_crs, features) = read_layer(params, &path, &mut notes).map_err(|f| Error::Input {
        path: path.clone(),
        what: f.what,
        found: f.found,
        expected: f.expected,
        help: f.help,
    })?;
    Transform::new(&layer_crs, &Crs(LON_LAT.to_owned())).map_err(|found| Error::Input {
        path: path.clone(),
        what: "CRS".into(),
        found,
        expected: "a CRS that PROJ can bring to longitude and latitude".into(),
        help: "write a standard CRS into the file, for example EPSG:4490".into(),
    })?;

    let count = features.len();
    let mut quarantined = Vec::new();
    let single = with_one_id(params, features, &mut quarantined);
    let reader = Reader { params, zone: Zone::of(&layer_crs), crs: &layer_crs };
    let read: Vec<std::result::Result<Accepted, Quarantine>> = single
        .par_chunks(share(single.len()))
        .flat_map_iter(|chunk| {
            // PROJ contexts are per thread, so each chunk makes its own.
            let to_lon_lat = Transform::new(&layer_crs, &Crs(LON_LAT.to_owned()));
            chunk
                .iter()
                .map(|(id, feature)| {
                    let aside = |(reason, message): (Reason, String)| {
                        let message = format!("feature {}: {message}", feature.number);
                        Quarantine::parcel(id, Stage::Parcels, reason, message)
                    };
                    let to_lon_lat = to_lon_lat.as_ref().map_err(|e| aside((Reason::BadCoordinates, e.clone())))?;
                    reader.parcel(id, feature, to_lon_lat).map_err(aside)
                })
                .collect::<Vec<_>>()
        })
        .collect();

    let mut parcels = Vec::with_capacity(read.len());
    let (mut turned, mut ballpark) = (0, Vec::new());
    for result in read {
        match result {
            Ok(accepted) => {
                turned += usize::from(accepted.turned);
                ballpark.extend(accepted.ballpark);
                notes.extend(accepted.notes);
                parcels.push(accepted.parcel);
            }
            Err(q) => quarantined.push(q),
        }
    }
    if turned > 0 {
        let message = format!(
            "{turned} parcels have rings that run against each other (a hole as its outline, a part unlike another); \
             turned, no area changes"
        );
        notes.push(Note::new(Topic::Repair, &[], message));
    }
    if let Some(operation) = ballpark.first() {
        let message = format!(
            "{} of {} parcels: PROJ knows no transformation from the datum of {} to WGS 84 (it used \"{operation}\"); \
             positions may be wrong by tens of metres or more. Bring the layer to CGCS2000 (EPSG:4490) with the \
             parameters of your surveying authority 测绘主管部门",
            ballpark.len(),
            parcels.len(),
            layer_crs.0
        );
        notes.push(Note::new(Topic::Datum, &[], message));
    }
    let crs = match params.datum_shift {
        None => layer_crs,
        Some(shift) => {
            let message =
                format!("the offset of {} was undone by the publicly known formulas, as configured", shift.name());
            notes.push(Note::new(Topic::Datum, &[], message));
            Crs(LON_LAT.to_owned())
        }
    };
    notes.extend(overlap_notes(&parcels));
    notes.sort_by_key(|n| n.topic);
    Ok(ParcelSet { crs, parcels, quarantined, notes, features: count })
}

fn read_layer(
    params: &Params,
    path: &Path,
    notes: &mut Vec<Note>,
) -> std::result::Result<(Crs, Vec<Feature>), LayerFault> {
    let mut fields = vec![("id", params.id.as_str())];
    fields.extend(params.kind.as_deref().map(|theirs| ("kind", theirs)));
    fields.extend(params.attributes.iter().map(|(ours, theirs)| (ours.as_str(), theirs.as_str())));
    if encoding::is_shapefile(path) {
        let (encoding, note) = encoding::of_shapefile(path, params.encoding.as_deref())?;
        notes.extend(note.map(|message| Note::new(Topic::Encoding, &[], message)));
        return gdal_io::read_layer(path, params.layer.as_deref(), encoding.as_deref(), &fields);
    }
    if let Some(encoding) = &params.encoding {
        let help = "remove `encoding` under [parcels]";
        return Err(LayerFault::new("encoding", format!("`{encoding}`"), "none: only a Shapefile needs one", help));
    }
    if geoparquet::is_parquet(path) {
        if let Some(layer) = &params.layer {
            let help = "remove `layer` under [parcels]";
            return Err(LayerFault::new("layer", format!("`{layer}`"), "none: a Parquet file is one layer", help));
        }
        return geoparquet::read_layer(path, &fields);
    }
    gdal_io::read_layer(path, params.layer.as_deref(), None, &fields)
}

/// The features whose id stands in the layer once, by id; the others are set aside.
fn with_one_id(params: &Params, features: Vec<Feature>, quarantined: &mut Vec<Quarantine>) -> Vec<(String, Feature)> {
    let mut by_id: BTreeMap<String, Vec<Feature>> = BTreeMap::new();
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
    let mut single = Vec::with_capacity(by_id.len());
    for (id, mut same) in by_id {
        if same.len() > 1 {
            let numbers: Vec<String> = same.iter().map(|f| f.number.to_string()).collect();
            let message = format!(
                "field `{}`: found the id `{id}` {} times (features {}), expected it once; none of them is used, \
                 give each its own id",
                params.id,
                numbers.len(),
                numbers.join(", ")
            );
            quarantined.push(Quarantine::parcel(&id, Stage::Parcels, Reason::DuplicateId, message));
        } else {
            single.extend(same.pop().map(|feature| (id, feature)));
        }
    }
    single
}

/// Hectares and mu, in words.
fn area_text(area_ha: f64) -> String {
    format!("{area_ha:.4} ha ({:.3} mu)", area_ha * M2_PER_HA / M2_PER_MU)
}

fn overlap_notes(parcels: &[Parcel]) -> Vec<Note> {
    let found = overlap::overlaps(parcels);
    let mut notes = Vec::new();
    if found.is_empty() {
        return notes;
    }
    let total: f64 = found.iter().map(|o| o.area_ha).sum();
    let message = format!(
        "{} pairs of parcels lie on each other, {} in all; each parcel is assessed as it is, so sums over parcels count \
         that ground twice",
        found.len(),
        area_text(total)
    );
    notes.push(Note::new(Topic::Overlap, &[], message));
    for o in found.iter().take(PAIRS_LISTED) {
        let (a, b) = (&parcels[o.pair.0], &parcels[o.pair.1]);
        let percent = 100.0 * o.area_ha / a.area_ha.min(b.area_ha);
        let message = format!("overlap by {}, {percent:.4} % of the smaller", area_text(o.area_ha));
        notes.push(Note::new(Topic::Overlap, &[&a.id, &b.id], message));
    }
    notes
}

/// A parcel and what there is to say about it.
struct Accepted {
    parcel: Parcel,
    notes: Vec<Note>,
    turned: bool,
    ballpark: Option<String>,
}

/// Kind and attributes.
type Described = (Option<Kind>, BTreeMap<String, String>);

/// What is needed to make parcels of features.
struct Reader<'a> {
    params: &'a Params,
    crs: &'a Crs,
    zone: Option<Zone>,
}

impl Reader<'_> {
    fn parcel(
        &self,
        id: &str,
        feature: &Feature,
        to_lon_lat: &Transform,
    ) -> std::result::Result<Accepted, (Reason, String)> {
        let outline = feature
            .geometry
            .as_ref()
            .map_err(|found| (Reason::InvalidGeometry, format!("found {found}; correct the geometry in the layer")))?;
        self.place(&outline.polygon)?;
        let (polygon, done) = valid(outline).map_err(|message| (Reason::InvalidGeometry, message))?;
        let (polygon, turned) = repair::orient(polygon);
        let lon_lat = to_lon_lat.polygon(&polygon).map_err(|e| (Reason::BadCoordinates, e))?;
        let ballpark = to_lon_lat.ballpark();
        self.place_lon_lat(&lon_lat)?;
        let (geometry, lon_lat, crs) = match self.params.datum_shift {
            None => (polygon.clone(), lon_lat, self.crs.0.as_str()),
            Some(shift) => {
                let undone = shift.undo_polygon(&lon_lat);
                (undone.clone(), undone, LON_LAT)
            }
        };
        let area_ha = geodesic_area_m2(&lon_lat) / M2_PER_HA;
        if area_ha <= 0.0 || !area_ha.is_finite() {
            return Err((Reason::InvalidGeometry, "found a polygon without area".into()));
        }
        let (kind, attributes) = self.attributes(feature)?;
        let mut notes = Vec::new();
        if !done.is_empty() {
            let before_ha = area_ha * planar_area_m2(&outline.polygon) / planar_area_m2(&polygon);
            let message =
                format!("{}; area before {}, after {}", done.join(", "), area_text(before_ha), area_text(area_ha));
            notes.push(Note::new(Topic::Repair, &[id], message));
        }
        notes.extend(sliver(&lon_lat, area_ha * M2_PER_HA).map(|m| Note::new(Topic::Sliver, &[id], m)));
        let digest = digest(id, crs, &geometry);
        let parcel = Parcel { id: id.to_owned(), kind, geometry, lon_lat, area_ha, attributes, digest };
        Ok(Accepted { parcel, notes, turned, ballpark })
    }

    /// Whether the coordinates can belong to the layer's CRS.
    fn place(&self, polygon: &MultiPolygon<f64>) -> std::result::Result<(), (Reason, String)> {
        let Some(zone) = &self.zone else { return Ok(()) };
        let problem = polygon.coords_iter().find_map(|c| zone.misfit(c.x, c.y));
        problem.map_or(Ok(()), |found| Err((Reason::BadCoordinates, found)))
    }

    /// Whether the place they mean can be.
    fn place_lon_lat(&self, lon_lat: &MultiPolygon<f64>) -> std::result::Result<(), (Reason, String)> {
        let beyond = |c: &geo::Coord<f64>| !(-180.0..=180.0).contains(&c.x) || !(-90.0..=90.0).contains(&c.y);
        if let Some(c) = lon_lat.coords_iter().find(beyond) {
            let probably = zone::of_easting(self.crs, c.x)
                .map_or_else(String::new, |zone| format!("; the coordinates are probably those of {zone}"));
            let message = format!(
                "found longitude {}, latitude {}, expected -180 to 180 and -90 to 90; the layer's CRS ({}) does not fit \
                 its coordinates{probably}",
                c.x, c.y, self.crs.0
            );
            return Err((Reason::BadCoordinates, message));
        }
        let Some(zone) = &self.zone else { return Ok(()) };
        let problem = lon_lat.coords_iter().find_map(|c| zone.outside(c.x));
        problem.map_or(Ok(()), |found| Err((Reason::BadCoordinates, found)))
    }

    fn attributes(&self, feature: &Feature) -> std::result::Result<Described, (Reason, String)> {
        let params = self.params;
        let mut values = feature.values.iter().skip(1).cloned();
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
        Ok((kind, attributes))
    }
}

/// Digest of id, CRS and coordinates.
fn digest(id: &str, crs: &str, geometry: &MultiPolygon<f64>) -> Sha256 {
    let mut bytes = format!("{id}\n{crs}\n").into_bytes();
    for part in geometry {
        for ring in std::iter::once(part.exterior()).chain(part.interiors()) {
            bytes.extend(ring.0.iter().flat_map(|c| [c.x.to_le_bytes(), c.y.to_le_bytes()]).flatten());
            // A separator that no coordinate pair can imitate, since it has an odd length.
            bytes.push(b'r');
        }
        bytes.push(b'p');
    }
    Sha256::of(&bytes)
}

/// The valid polygon that an outline means, and what was done to get there; or why it is not clear what it means.
fn valid(outline: &gdal_io::Outline) -> std::result::Result<(MultiPolygon<f64>, Vec<String>), String> {
    let counted =
        |n: usize, what: &str, plural: &str| (n > 0).then(|| format!("{n} {}", if n == 1 { what } else { plural }));
    let mut done: Vec<String> = counted(outline.unclosed, "ring closed", "rings closed").into_iter().collect();
    let (tidied, first) = repair::tidy(&outline.polygon, false);
    let empty = || "found a polygon without area; draw it again".to_owned();
    if tidied.0.is_empty() {
        return Err(empty());
    }
    let problem = gdal_io::validity(&tidied).err();
    let told = problem.clone().unwrap_or_default();
    let (polygon, all) = if problem.is_none() { (tidied, first) } else { repair::tidy(&outline.polygon, true) };
    if polygon.0.is_empty() {
        return Err(empty());
    }
    let names = [
        counted(all.repeated, "repeated vertex removed", "repeated vertices removed"),
        counted(all.spikes, "spike of no width removed", "spikes of no width removed"),
        counted(all.collapsed, "ring without area left out", "rings without area left out"),
    ];
    done.extend(names.into_iter().flatten());
    let polygon = if problem.is_none() || gdal_io::validity(&polygon).is_ok() {
        polygon
    } else {
        let made = gdal_io::make_valid(&outline.polygon)
            .filter(|made| repair::same_area(&outline.polygon, made) && gdal_io::validity(made).is_ok());
        let made = made.ok_or_else(|| {
            format!("found an invalid polygon: {told}; no repair leaves its area as it is, so correct it in the layer")
        })?;
        done.push(format!("rings joined or parted where they touch or cross ({told})"));
        made
    };
    if repair::same_area(&outline.polygon, &polygon) {
        Ok((polygon, done))
    } else {
        Err(format!(
            "found a polygon whose repair ({}) would change its area; correct it in the layer",
            done.join(", ")
        ))
    }
}

/// Why the polygon is too small or too narrow to be a parcel, if it is.
fn sliver(lon_lat: &MultiPolygon<f64>, area_m2: f64) -> Option<String> {
    if area_m2 < SLIVER_M2 {
        return Some(format!(
            "{area_m2:.3} m2 ({:.5} mu): less than {SLIVER_M2} m2; used as it is",
            area_m2 / M2_PER_MU
        ));
    }
    // A generous perimeter in the plane spares the geodesic one for almost every parcel.
    let rings = lon_lat.iter().flat_map(|p| std::iter::once(p.exterior()).chain(p.interiors()));
    let edges = rings.flat_map(geo::LineString::lines);
    let at_most_m: f64 = edges.map(|e| e.delta().x.hypot(e.delta().y) * 111_700.0).sum();
    if 2.0 * area_m2 / at_most_m >= SLIVER_WIDTH_M {
        return None;
    }
    let width_m = 2.0 * area_m2 / geodesic_perimeter_m(lon_lat);
    (width_m < SLIVER_WIDTH_M).then(|| {
        format!("{width_m:.3} m wide (twice the area over the perimeter), less than {SLIVER_WIDTH_M} m; used as it is")
    })
}

fn kinds() -> String {
    [Kind::CompensationBase, Kind::Damaged, Kind::Reserve, Kind::Reference].map(Kind::name).join(", ")
}
