//! An external biomass raster with its error raster: the stock of a parcel by its footprint on the raster's own grid.
//!
//! Aboveground biomass of a parcel is the mean over the pixels it touches, weighted by the exact fractions it covers, in
//! the raster's own CRS: nothing is resampled. Errors of neighbouring pixels are not independent, so
//! ```text
//! se^2 = sum_ij w_i w_j s_i s_j exp(-d_ij / error_range_m),   w = coverage share, s = error of a pixel
//! ```
//! with the range stated by the user, who has it from the map's own documentation: there is no default for it. Many pixels
//! are first put together into cells that err as one, which can only widen the result.
//!
//! Several maps of different dates are one series of errors if the user states how they correlate; the correlation of a
//! change hangs on nothing else, so that has no default either. An epoch takes the newest map that is not younger than it,
//! times what the change methods saw left standing since; growth since is not seen.
//!
//! Carbon fraction and roots come from the parameter set, the same class of roots at all epochs. Without a validation in
//! the region the numbers are for screening: a map made for a continent may be far off in one county.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use geo::{Centroid, MultiPolygon};
use jiff::civil::Date;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::biomass::method_flags;
use super::chain::{Assessed, Chain, Epoch, Evidence, Factor, Part, Refusal, Shape, Term};
use super::{Flag, Pool, Status};
use crate::error::{Error, Reason, Result};
use crate::gdal_io::{Blocks, Raster};
use crate::geo::coverage::footprint;
use crate::geo::crs::{Crs, Transform};
use crate::geo::grid::Grid;
use crate::parcel::Parcel;
use crate::units::AgbDensity;

/// Name of the method in tables.
pub const METHOD: &str = "agb_map";
/// More than any forest holds, t d.m./ha: the unit or the scale is wrong.
const IMPOSSIBLE_T_PER_HA: f64 = 3000.0;
/// More than all but the densest forests of the world hold, t d.m./ha.
const DOUBTFUL_T_PER_HA: f64 = 600.0;
/// Pixels, or cells of them, whose errors are paired one by one.
const PAIRED_AT_MOST: usize = 1024;
/// Length of a degree of latitude, metres: for distances within a parcel, to a percent.
const METRES_PER_DEGREE: f64 = 111_320.0;

/// Unit of a biomass raster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Tonnes of dry matter per hectare.
    #[serde(rename = "t d.m./ha", alias = "Mg/ha", alias = "t/ha", alias = "Mg ha-1")]
    DryMatterTPerHa,
    /// Kilograms of dry matter per square metre.
    #[serde(rename = "kg d.m./m2", alias = "kg/m2")]
    DryMatterKgPerM2,
    /// Tonnes of carbon per hectare.
    #[serde(rename = "t C/ha", alias = "Mg C/ha")]
    CarbonTPerHa,
}

impl Unit {
    /// As it is written in the configuration.
    fn name(self) -> &'static str {
        match self {
            Unit::DryMatterTPerHa => "t d.m./ha",
            Unit::DryMatterKgPerM2 => "kg d.m./m2",
            Unit::CarbonTPerHa => "t C/ha",
        }
    }

    /// Times this, tonnes per hectare.
    fn factor(self) -> f64 {
        match self {
            Unit::DryMatterTPerHa | Unit::CarbonTPerHa => 1.0,
            Unit::DryMatterKgPerM2 => 10.0,
        }
    }

    /// What a raster says of its own unit, if we know the words.
    fn parse(text: &str) -> Option<Unit> {
        let tidy: String = text.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
        match tidy.as_str() {
            "tha" | "mgha" | "tha1" | "mgha1" | "tdmha" | "mgdmha" | "tonnesha" => Some(Unit::DryMatterTPerHa),
            "kgm2" | "kgdmm2" => Some(Unit::DryMatterKgPerM2),
            "tcha" | "mgcha" | "tcha1" | "mgcha1" => Some(Unit::CarbonTPerHa),
            _ => None,
        }
    }
}

/// One map with its error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Map {
    /// Raster of aboveground biomass, relative to the configuration.
    pub path: PathBuf,
    /// Raster of its standard error, on the same grid, in the same unit.
    pub error_path: PathBuf,
    /// Day that the map is for.
    pub date: Date,
}

/// `[biomass.agb_map]` of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgbMap {
    /// Unit of all rasters. No default: nobody can tell it from the numbers.
    pub unit: Unit,
    /// Distance over which the correlation of two pixels' errors falls to 1/e, metres. No default.
    pub error_range_m: f64,
    /// Correlation of the errors of two maps at one place, 0 to 1. No default; needed with more than one map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_correlation_between_dates: Option<f64>,
    /// Coefficient of variation of an error that the whole map shares, where its documentation tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub systematic_cv: Option<f64>,
    /// Least share of a parcel that the map must have values for. Default 0.9, an engineering default.
    #[serde(default = "default_min_covered")]
    pub min_covered: f64,
    /// Where the map was validated in this region (report, date): without one its numbers are for screening.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validated_by: Option<String>,
    /// Forest type of parcels without the attribute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forest_type: Option<String>,
    /// Ecological zone, for forest types that are given as a kind or species only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ecological_zone: Option<String>,
    /// The maps, in any order.
    pub maps: Vec<Map>,
}

fn default_min_covered() -> f64 {
    0.9
}

impl AgbMap {
    /// Field, what was found, what is expected.
    ///
    /// # Errors
    /// A number out of its range, no map, two of one date, several without their correlation.
    pub fn validate(&self) -> std::result::Result<(), (&'static str, String, &'static str)> {
        if !(self.error_range_m >= 0.0 && self.error_range_m.is_finite()) {
            return Err(("error_range_m", self.error_range_m.to_string(), "0 or more metres"));
        }
        if !(0.0..=1.0).contains(&self.min_covered) {
            return Err(("min_covered", self.min_covered.to_string(), "0 to 1"));
        }
        if let Some(cv) = self.systematic_cv
            && !(cv >= 0.0 && cv.is_finite())
        {
            return Err(("systematic_cv", cv.to_string(), "0 or more"));
        }
        if let Some(r) = self.error_correlation_between_dates
            && !(0.0..=1.0).contains(&r)
        {
            return Err(("error_correlation_between_dates", r.to_string(), "0 to 1"));
        }
        if self.maps.is_empty() {
            return Err(("maps", "none".into(), "one [[biomass.agb_map.maps]] or more"));
        }
        for (i, map) in self.maps.iter().enumerate() {
            if self.maps[..i].iter().any(|m| m.date == map.date) {
                return Err(("maps", format!("two maps of {}", map.date), "different dates"));
            }
        }
        if self.maps.len() > 1 && self.error_correlation_between_dates.is_none() {
            let expected = "0 to 1, from the maps' documentation: how the errors of two dates at one place correlate";
            return Err(("error_correlation_between_dates", "nothing, with several maps".into(), expected));
        }
        Ok(())
    }

    /// Opens every raster and looks at its grid and unit; no values are read.
    ///
    /// # Errors
    /// [`Fault`]: a raster that is not there or cannot be opened, has no CRS, is of another unit than stated, or does not lie on
    /// its error's grid.
    pub fn open(&self, base: &Path) -> std::result::Result<Rasters, Fault> {
        let open = |(i, map)| Source::open(i, map, base, self);
        self.maps.iter().enumerate().map(open).collect::<std::result::Result<_, _>>().map(Rasters)
    }

    /// The rasters, relative to the configuration.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.maps.iter().flat_map(|m| [m.path.as_path(), m.error_path.as_path()])
    }
}

/// What a map says of a parcel, in the map's quantity (dry matter or carbon), t/ha.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Mean over the parcel.
    pub density_t_per_ha: f64,
    /// Its standard error.
    pub se_t_per_ha: f64,
    /// Share of the parcel that has values.
    pub covered: f64,
}

/// Readings of one parcel by the date of the map; or why there is none.
pub type Readings = BTreeMap<Date, std::result::Result<Reading, String>>;

/// Why a raster cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key below `[biomass.agb_map]` that names the raster: `maps[0].error_path`.
    pub key: String,
    /// What was found.
    pub found: String,
    /// What is expected.
    pub expected: String,
    /// What to do.
    pub help: &'static str,
}

/// Rasters that can be used, one with its error for each map.
pub struct Rasters(Vec<Source>);

/// Reads every map for every parcel, whose geometry is in `crs`; the result stands in the order of the parcels.
///
/// # Errors
/// Interruption. A single parcel that a map cannot tell of is no error; its reading says why.
pub fn read(
    params: &AgbMap,
    rasters: &Rasters,
    crs: &Crs,
    parcels: &[Parcel],
    cancel: &AtomicBool,
) -> Result<Vec<Readings>> {
    let mut all: Vec<Readings> = vec![Readings::new(); parcels.len()];
    for source in &rasters.0 {
        let found: Vec<_> = parcels
            .par_iter()
            .map_init(
                || source.reader(crs),
                |reader, parcel| {
                    if cancel.load(Ordering::Relaxed) {
                        return Err("interrupted".to_owned());
                    }
                    reader.as_ref().map_err(Clone::clone)?.parcel(parcel, params)
                },
            )
            .collect();
        if cancel.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        for (readings, found) in all.iter_mut().zip(found) {
            readings.insert(source.date, found);
        }
    }
    Ok(all)
}

/// A map and its error raster.
struct Source {
    date: Date,
    path: PathBuf,
    error_path: PathBuf,
    grid: Grid,
    values: Scaling,
    errors: Scaling,
}

/// How samples become tonnes per hectare.
#[derive(Debug, Clone, Copy)]
struct Scaling {
    scale: f64,
    offset: f64,
    nodata: Option<f64>,
}

impl Scaling {
    fn of(raster: &Raster, unit: Unit) -> Scaling {
        let packing = raster.packing();
        let factor = unit.factor();
        Scaling {
            scale: packing.scale.unwrap_or(1.0) * factor,
            offset: packing.offset.unwrap_or(0.0) * factor,
            nodata: packing.nodata,
        }
    }

    fn value(self, sample: f32) -> f64 {
        // Samples are read as 32-bit floats, and so is what stands for nothing.
        if self.nodata.is_some_and(|n| n as f32 == sample) {
            f64::NAN
        } else {
            f64::from(sample) * self.scale + self.offset
        }
    }
}

impl Source {
    /// Opens map number `i`.
    fn open(i: usize, map: &Map, base: &Path, params: &AgbMap) -> std::result::Result<Source, Fault> {
        let fault = |key: &str, found: String, expected: &str, help| -> Fault {
            Fault { key: format!("maps[{i}].{key}"), found, expected: expected.to_owned(), help }
        };
        let open = |key: &str, path: &Path| -> std::result::Result<(PathBuf, Raster), Fault> {
            let at = base.join(path);
            if !at.is_file() {
                let expected =
                    if key == "path" { "a biomass raster" } else { "the raster of the map's standard error" };
                let help = "correct the path; it is relative to the configuration";
                return Err(fault(key, format!("no file {}", at.display()), expected, help));
            }
            let raster = Raster::open_in_any_crs(&at).map_err(|scene| {
                let help = "name another file, or write what is missing into this one";
                fault(key, scene.message, "a north-up raster with a CRS", help)
            })?;
            if let Some(stated) = raster.unit()
                && let Some(unit) = Unit::parse(stated)
                && unit != params.unit
            {
                let found = format!("{stated:?}, the unit that {} states", at.display());
                let expected = format!("{:?} as by `unit` under [biomass.agb_map]", params.unit.name());
                return Err(fault(key, found, &expected, "correct `unit`, or name the right raster"));
            }
            Ok((at, raster))
        };
        let ((path, values), (error_path, errors)) = (open("path", &map.path)?, open("error_path", &map.error_path)?);
        if values.grid() != errors.grid() {
            let found = format!("{} on the grid {}", error_path.display(), errors.grid());
            let expected = format!("the grid of {}, {}", path.display(), values.grid());
            let help = "both must have the same CRS, pixel size, corner and number of pixels; resample the error raster (as with \
                        gdalwarp -te ... -tr ...)";
            return Err(fault("error_path", found, &expected, help));
        }
        let (scaling, error_scaling) = (Scaling::of(&values, params.unit), Scaling::of(&errors, params.unit));
        let grid = values.grid().clone();
        Ok(Source { date: map.date, path, error_path, grid, values: scaling, errors: error_scaling })
    }

    /// One a thread: handles of rasters and projections must not be shared.
    fn reader(&self, crs: &Crs) -> std::result::Result<Reader<'_>, String> {
        Ok(Reader {
            source: self,
            to_map: Transform::new(crs, &self.grid.crs)?,
            values: Blocks::open(&self.path).map_err(|f| f.message)?,
            errors: Blocks::open(&self.error_path).map_err(|f| f.message)?,
        })
    }
}

struct Reader<'a> {
    source: &'a Source,
    to_map: Transform,
    values: Blocks,
    errors: Blocks,
}

impl Reader<'_> {
    fn parcel(&self, parcel: &Parcel, params: &AgbMap) -> std::result::Result<Reading, String> {
        let source = self.source;
        let name = source.path.file_name().unwrap_or_default().to_string_lossy();
        let polygon: MultiPolygon<f64> = self.to_map.polygon(&parcel.geometry)?;
        let outside = || format!("{name}: the parcel lies outside the map; use a map that covers it");
        let found = footprint(&polygon, &source.grid).map_err(|e| format!("{name}: {e}"))?.ok_or_else(outside)?;
        let window = found.window();
        let (at, size) = ((window.col as usize, window.row as usize), (window.cols as usize, window.rows as usize));
        let (mut values, mut errors) = (Vec::<f32>::new(), Vec::<f32>::new());
        self.values.look(at, size, &mut values).map_err(|f| f.message)?;
        self.errors.look(at, size, &mut errors).map_err(|f| f.message)?;
        let latitude = if source.grid.crs.is_lon_lat() { polygon.centroid().map_or(0.0, |c| c.y()) } else { 0.0 };
        let (x_m, y_m) = if source.grid.crs.is_lon_lat() {
            (
                source.grid.pixel_x_m * METRES_PER_DEGREE * latitude.to_radians().cos(),
                source.grid.pixel_y_m * METRES_PER_DEGREE,
            )
        } else {
            (source.grid.pixel_x_m, source.grid.pixel_y_m)
        };
        let mut pixels = Vec::with_capacity(found.pixels() as usize);
        let mut touched = 0.0;
        let places = found.spans().iter().flat_map(|s| (s.col..s.col + s.len).map(move |col| (s.row, col)));
        for ((row, col), weight) in places.zip(found.weights()) {
            touched += weight;
            let i = (row - window.row) as usize * size.0 + (col - window.col) as usize;
            let (value, error) = (source.values.value(values[i]), source.errors.value(errors[i]));
            if value.is_nan() || error.is_nan() {
                continue;
            }
            if !(0.0..=IMPOSSIBLE_T_PER_HA).contains(&value) || error < 0.0 {
                return Err(format!(
                    "{name}: found {value} t/ha with error {error} at row {row}, column {col}, expected 0 to \
                     {IMPOSSIBLE_T_PER_HA} t/ha and an error of at least 0; check `unit` and the rasters' scale and nodata"
                ));
            }
            pixels.push(Pixel { weight, value, error, x_m: f64::from(col) * x_m, y_m: f64::from(row) * y_m });
        }
        // What lies beyond the map's edge is not covered either.
        let whole = crate::geo::area::planar_area_m2(&polygon) / source.grid.pixel_area_m2();
        let covered = pixels.iter().map(|p| p.weight).sum::<f64>() / whole.max(touched);
        if pixels.is_empty() || covered < params.min_covered {
            return Err(format!(
                "{name}: found values for {:.1} % of the parcel, expected at least {:.1} % ([biomass.agb_map] min_covered)",
                100.0 * covered,
                100.0 * params.min_covered
            ));
        }
        Ok(Reading::of(&pixels, params.error_range_m, covered))
    }
}

/// A pixel of a footprint.
#[derive(Debug, Clone, Copy)]
pub struct Pixel {
    /// Share of it that the parcel covers.
    pub weight: f64,
    /// What the map says, t/ha.
    pub value: f64,
    /// Its standard error, t/ha.
    pub error: f64,
    /// Place eastwards, metres from anywhere.
    pub x_m: f64,
    /// Place southwards, metres from anywhere.
    pub y_m: f64,
}

impl Reading {
    /// The mean of pixels by coverage and its standard error, where errors correlate over `error_range_m`.
    pub fn of(pixels: &[Pixel], error_range_m: f64, covered: f64) -> Self {
        let sum: f64 = pixels.iter().map(|p| p.weight).sum();
        let density_t_per_ha = pixels.iter().map(|p| p.weight * p.value).sum::<f64>() / sum;
        Reading { density_t_per_ha, se_t_per_ha: mean_se(pixels, error_range_m), covered }
    }
}

/// Standard error of the weighted mean of pixels whose errors correlate by `exp(-d / range_m)`.
fn mean_se(pixels: &[Pixel], range_m: f64) -> f64 {
    let sum: f64 = pixels.iter().map(|p| p.weight).sum();
    // Weight x error by place; beyond so many, cells of k x k steps that err as one.
    let mut cells: Vec<(f64, f64, f64)> = pixels.iter().map(|p| (p.weight * p.error, p.x_m, p.y_m)).collect();
    if cells.len() > PAIRED_AT_MOST {
        let k = (cells.len() as f64 / PAIRED_AT_MOST as f64).sqrt().ceil();
        let step = |values: &mut dyn Iterator<Item = f64>| {
            let mut sorted: Vec<f64> = values.collect();
            sorted.sort_by(f64::total_cmp);
            sorted.windows(2).map(|w| w[1] - w[0]).filter(|d| *d > 0.0).fold(f64::INFINITY, f64::min)
        };
        let (dx, dy) = (k * step(&mut cells.iter().map(|c| c.1)), k * step(&mut cells.iter().map(|c| c.2)));
        let mut grouped: BTreeMap<(i64, i64), (f64, f64, f64, f64)> = BTreeMap::new();
        for (ws, x, y) in cells {
            let cell = grouped.entry(((x / dx).floor() as i64, (y / dy).floor() as i64)).or_default();
            *cell = (cell.0 + ws, cell.1 + x, cell.2 + y, cell.3 + 1.0);
        }
        cells = grouped.into_values().map(|(ws, x, y, n)| (ws, x / n, y / n)).collect();
    }
    let mut variance = 0.0;
    for (i, a) in cells.iter().enumerate() {
        variance += a.0 * a.0;
        for b in &cells[..i] {
            let d = (a.1 - b.1).hypot(a.2 - b.2);
            // A range of 0 is independence, also for two cells of one place.
            let r = if range_m > 0.0 { (-d / range_m).exp() } else { 0.0 };
            variance += 2.0 * a.0 * b.0 * r;
        }
    }
    variance.max(0.0).sqrt() / sum
}

/// What the method says of a parcel whose maps read `readings`.
///
/// # Errors
/// A forest type that the set does not know, or a pool it has no value for.
pub fn chain(evidence: &Evidence, params: &AgbMap, readings: &Readings) -> Assessed {
    let refuse = |epoch, message: String| Refusal { epoch, reason: Reason::OutOfModelDomain, message };
    let set = evidence.parameters;
    let (stated, zone) = (params.forest_type.as_deref(), params.ecological_zone.as_deref());
    let (type_id, forest_type) = evidence.forest_type(METHOD, stated, zone)?;
    let unknown = |e: super::ParameterError| refuse(None, format!("attribute forest_type: {e}"));

    let status = if params.validated_by.is_some() { Status::Issuable } else { Status::ScreeningOnly };
    let mut chain = Chain::new(format!("{METHOD}/{}/{type_id}", set.name()), status);
    chain.flags = method_flags(set).into_iter().filter(|f| *f != Flag::Tier1).collect();
    chain.flags.extend(params.validated_by.is_none().then_some(Flag::NotValidatedLocally));

    // Which map speaks for which epoch.
    let mut refused = Vec::new();
    let mut chosen: BTreeMap<Date, (Date, Reading)> = BTreeMap::new();
    for epoch in evidence.epochs {
        match readings.range(..=*epoch).next_back() {
            None => {
                let first = readings.keys().next().map_or("none".to_owned(), Date::to_string);
                let message = format!("found the first map of {first}, expected one of {epoch} or before; add a map");
                refused.push(refuse(Some(*epoch), message));
            }
            Some((_, Err(why))) => refused.push(refuse(Some(*epoch), why.clone())),
            Some((date, Ok(reading))) => {
                chosen.insert(*epoch, (*date, *reading));
            }
        }
    }
    if chosen.is_empty() {
        return Ok((chain, refused));
    }
    let lognormal = |part, id: &str, value: f64, cv: f64| {
        Factor::lognormal(part, format!("parameter/{}/{id}", set.name()), value, cv)
    };
    let factors = set.factors(forest_type).map_err(unknown)?;
    let cf = factors.carbon_fraction;
    let mut shared = Vec::new();
    if params.unit != Unit::CarbonTPerHa {
        let cv = cf.se.get() / cf.value.get();
        shared.push(chain.factor(lognormal(Part::Allometry, &forest_type.carbon_fraction, cf.value.get(), cv)));
    }
    if let Some(cv) = params.systematic_cv {
        shared.push(chain.factor(Factor::lognormal(Part::Model, "agb_map/systematic", 1.0, cv)));
    }
    // One class of roots for the parcel: that of the mean biomass over the epochs.
    let mean = chosen.values().map(|(_, r)| r.density_t_per_ha).sum::<f64>() / chosen.len().max(1) as f64;
    let mean_agb = if params.unit == Unit::CarbonTPerHa { mean / cf.value.get() } else { mean };
    let roots = match forest_type.root_to_shoot.as_ref().filter(|_| evidence.pools.contains(&Pool::Belowground)) {
        Some(classes) => {
            let agb = AgbDensity::new(mean_agb).map_err(|e| refuse(None, e.to_string()))?;
            Some((classes, set.class(classes, agb).map_err(|e| refuse(None, e.to_string()))?))
        }
        None => None,
    };
    let pools = evidence.living_pools(METHOD, type_id, &shared, || {
        let (classes, ratio) = roots?;
        let cv = ratio.cv().unwrap_or(0.0);
        Some(chain.factor(lognormal(Part::Allometry, classes, ratio.value, cv)))
    })?;
    if chosen.values().any(|(_, r)| r.density_t_per_ha > DOUBTFUL_T_PER_HA || r.se_t_per_ha == 0.0) {
        chain.flags.push(Flag::BiomassDoubtful);
        chain.status = Status::ScreeningOnly;
    }
    let share = params.error_correlation_between_dates.unwrap_or(1.0);
    let mut maps: BTreeMap<Date, usize> = BTreeMap::new();
    let whole = vec![Term { coefficient: 1.0, factors: Vec::new() }];
    for (epoch, (date, reading)) in chosen {
        let at = *maps.entry(date).or_insert_with(|| {
            let (value, se) = (reading.density_t_per_ha, reading.se_t_per_ha);
            let own = |what: &str| evidence.own(what);
            // Of nothing there is no share to err by.
            let (shape, spread) =
                if value > 0.0 { (Shape::Lognormal, (se / value).powi(2).ln_1p().sqrt()) } else { (Shape::Normal, se) };
            chain.factor(Factor {
                value,
                part: Part::Residual,
                shape,
                sources: vec![
                    (own("map"), spread * share.sqrt()),
                    (own(&format!("map/{date}")), spread * (1.0 - share).sqrt()),
                ],
            })
        });
        let mut flags = Vec::new();
        let left = match evidence.lost {
            Some(_) if epoch == date => whole.clone(),
            Some(lost) => {
                let lost = lost(date, epoch);
                let source = evidence.own(&format!("left/{date}/{epoch}"));
                let left = Factor::normal(Part::Residual, source, 1.0 - lost.value, lost.se);
                chain.left(left, evidence.lost_area)
            }
            None => whole.clone(),
        };
        flags.extend((!evidence.watched(date, epoch)).then_some(Flag::RetentionNotObserved));
        flags.extend((epoch != date).then_some(Flag::GrowthNotStated));
        let terms = |of_pool: &Vec<usize>| {
            let with = |t: &Term| Term { factors: [of_pool.as_slice(), &[at], &t.factors].concat(), ..t.clone() };
            left.iter().map(with).collect()
        };
        let densities = pools.iter().map(|(pool, of_pool)| (*pool, terms(of_pool))).collect();
        chain.epochs.insert(epoch, Epoch { flags, densities, saturated: false });
    }
    Ok((chain, refused))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(n: usize, step: f64, error: f64) -> Vec<Pixel> {
        let at = |i: usize| i as f64 * step;
        (0..n * n).map(|i| Pixel { weight: 1.0, value: 100.0, error, x_m: at(i % n), y_m: at(i / n) }).collect()
    }

    // Two pixels 100 m apart, range 100 m, errors 10 and 20, weights 1 and 3: by hand
    // (0.25 x 10)^2 + (0.75 x 20)^2 + 2 x 2.5 x 15 x exp(-1) = 6.25 + 225 + 27.5910 = 258.841.
    #[test]
    fn the_error_of_a_mean_holds_the_correlation() {
        let pixel = |weight, error, x_m| Pixel { weight, value: 1.0, error, x_m, y_m: 0.0 };
        let two = [pixel(1.0, 10.0, 0.0), pixel(3.0, 20.0, 100.0)];
        assert!((mean_se(&two, 100.0).powi(2) - (231.25 + 75.0 * (-1.0f64).exp())).abs() < 1e-9);
        // Without correlation the square root of n, with all of it none.
        assert!((mean_se(&grid(10, 30.0, 8.0), 0.0) - 0.8).abs() < 1e-12);
        assert!((mean_se(&grid(10, 30.0, 8.0), 1e12) - 8.0).abs() < 1e-6);
    }

    // Cells in place of 10,000 pixels: never narrower, and by less than a tenth wider at a range of a few pixels.
    #[test]
    fn many_pixels_are_judged_by_cells() {
        let pixels = grid(100, 30.0, 10.0);
        for range in [90.0, 300.0, 3000.0] {
            let mut exact = 0.0;
            for dx in -99i32..100 {
                for dy in -99i32..100 {
                    let pairs = f64::from((100 - dx.abs()) * (100 - dy.abs()));
                    exact += pairs * (-(f64::from(dx).hypot(f64::from(dy)) * 30.0) / range).exp();
                }
            }
            let exact = 10.0 * exact.sqrt() / 1e4;
            let found = mean_se(&pixels, range);
            assert!(found >= exact * 0.999 && found < exact * 1.1, "{range}: {found} {exact}");
        }
    }

    #[test]
    fn parameters_are_checked() {
        let base = "unit = \"t d.m./ha\"\nerror_range_m = 500\n";
        let map = |date: &str| format!("[[maps]]\npath = \"a.tif\"\nerror_path = \"b.tif\"\ndate = \"{date}\"\n");
        let read = |text: &str| toml::from_str::<AgbMap>(text);
        let one: AgbMap = read(&format!("{base}{}", map("2018-07-01"))).unwrap();
        assert_eq!(one.validate(), Ok(()));
        let two: AgbMap = read(&format!("{base}{}{}", map("2018-07-01"), map("2020-07-01"))).unwrap();
        assert_eq!(two.validate().unwrap_err().0, "error_correlation_between_dates");
        let same: AgbMap = read(&format!("{base}{}{}", map("2018-07-01"), map("2018-07-01"))).unwrap();
        assert_eq!(same.validate().unwrap_err().1, "two maps of 2018-07-01");
        assert!(read(&format!("error_range_m = 5\n{}", map("2018-07-01"))).unwrap_err().to_string().contains("unit"));
        assert!(
            read(&format!("unit = \"t d.m./ha\"\n{}", map("2018-07-01")))
                .unwrap_err()
                .to_string()
                .contains("error_range_m")
        );
        assert_eq!(AgbMap { error_range_m: -1.0, ..one.clone() }.validate().unwrap_err().0, "error_range_m");
        assert_eq!(AgbMap { maps: Vec::new(), ..one }.validate().unwrap_err().0, "maps");
    }

    #[test]
    fn a_raster_that_states_its_unit_is_understood() {
        for (text, unit) in [
            ("Mg/ha", Some(Unit::DryMatterTPerHa)),
            ("Mg ha-1", Some(Unit::DryMatterTPerHa)),
            ("kg/m^2", Some(Unit::DryMatterKgPerM2)),
            ("Mg C ha-1", Some(Unit::CarbonTPerHa)),
            ("m", None),
        ] {
            assert_eq!(Unit::parse(text), unit, "{text}");
        }
    }
}
