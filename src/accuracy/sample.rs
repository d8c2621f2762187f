//! An error matrix of reference points over the maps of a run.
//!
//! A run's change method writes two rasters a grid: `METHOD_break_date.tif` (days since 1970-01-01, nodata where nothing
//! broke) and `METHOD_magnitude.tif` (nothing where a pixel was not judged or lies outside every parcel). A pixel with a date
//! is `disturbed`, one with a magnitude alone is `stable`; anything else is no part of the map. A point belongs to the pixel
//! that it lies in.
//!
//! The area of a class is the sum of its pixels' areas on the WGS 84 ellipsoid, not in the plane of the grid, which a
//! transverse Mercator projection scales by -0.08 % to +0.2 %. Each window of 64 x 64 pixels has its own factor, the
//! geodesic area of its outline over its number of pixels; a pixel of 10 m is off by less than 5e-6 of its area, one of 30 m by
//! less than 2e-5. Pixels count whole, also at the edge of a parcel: the areas are those of the map that the sample judges.
//!
//! Where the grids of a run overlap (two zones, two pixel sizes), a place counts once: the map of the smaller pixels speaks,
//! then the one whose grid id comes first. A pixel of another map whose centre lies there is left out, of its area as of the
//! points.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use geo::{Coord, LineString, MultiPolygon, Polygon};
use serde::Serialize;

use super::ErrorMatrix;
use super::csv::{Csv, bad};
use super::matrix::refused;
use crate::error::{Error, Result, SceneFault};
use crate::gdal_io::{self, Blocks, LayerFault, Raster};
use crate::geo::area::geodesic_area_m2;
use crate::geo::crs::{Crs, LON_LAT, Transform};
use crate::geo::grid::{Grid, Window};
use crate::units::M2_PER_HA;

const BREAK_DATE: &str = "_break_date.tif";
const MAGNITUDE: &str = "_magnitude.tif";
/// Field that states a point's map class, where it has one. It must be that of the map: the class that decides the stratum, and
/// with it the weight of the point, cannot be another than the one whose area is weighed.
const MAP_CLASS: &str = "map_class";
/// Pixels on a side of the windows that have one area factor.
const WINDOW: u32 = 64;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Folder `maps` of a run: a folder a grid, with its rasters.
    pub maps: &'a Path,
    /// The map, by its method; needed where there are several.
    pub map: Option<&'a str>,
    /// CSV, GeoPackage or GeoJSON file of the points.
    pub reference: &'a Path,
    /// Field with the reference class, `stable` or `disturbed`.
    pub field: &'a str,
}

/// Why a point is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outside {
    /// No map covers the place.
    OutsideMaps,
    /// A map covers the place and says nothing there: outside every parcel, or never judged.
    NotJudged,
}

/// A point that is not used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LeftOut {
    /// Line of the CSV file, or number of the feature from 1.
    pub point: usize,
    /// First coordinate, as the file has it.
    pub x: f64,
    /// Second coordinate, as the file has it.
    pub y: f64,
    /// Why.
    pub reason: Outside,
}

/// How the points met the maps.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sampled {
    /// Method of the map.
    pub map: String,
    /// Grids that the map is made of, in the order in which they speak.
    pub grids: Vec<String>,
    /// Points in the file.
    pub points: usize,
    /// Points that count.
    pub used: usize,
    /// Points outside every map that lie within one when their coordinates change places.
    pub swapped: usize,
    /// Points that do not count.
    pub left_out: Vec<LeftOut>,
}

/// Class of a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Disturbed,
    Stable,
}

impl Class {
    const ALL: [Class; 2] = [Class::Disturbed, Class::Stable];

    fn name(self) -> &'static str {
        match self {
            Class::Disturbed => "disturbed",
            Class::Stable => "stable",
        }
    }

    fn parse(text: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|c| c.name() == text)
    }
}

/// Puts the points on the maps and counts; areas are those of the maps.
///
/// # Errors
/// No map, several and none named, a damaged one; a file of points that cannot be read, lacks a field or a CRS, has an unknown
/// class or a point without a place; no point on the map; what [`ErrorMatrix::new`] refuses.
pub fn read(request: &Request) -> Result<(ErrorMatrix, Sampled)> {
    let (name, folders) = choose(request)?;
    let mut maps = Vec::with_capacity(folders.len());
    for (grid_id, folder) in folders {
        maps.push(Map::open(grid_id, &folder, &name)?);
    }
    maps.sort_by(|a, b| {
        a.grid.pixel_area_m2().total_cmp(&b.grid.pixel_area_m2()).then_with(|| a.grid_id.cmp(&b.grid_id))
    });
    let points = points(request.reference, request.field)?;
    let mut sampled = Sampled {
        map: name,
        grids: maps.iter().map(|m| m.grid_id.clone()).collect(),
        points: points.len(),
        used: 0,
        swapped: 0,
        left_out: Vec::new(),
    };
    let mut counts = vec![vec![0; Class::ALL.len()]; Class::ALL.len()];
    let mut transforms = BTreeMap::new();
    let mut contradictions = Vec::new();
    for p in &points {
        match look_up(p, &maps, &mut transforms)? {
            Ok(on_map) => {
                contradictions.extend(p.stated.filter(|stated| *stated != on_map).map(|stated| (p, stated, on_map)));
                sampled.used += 1;
                counts[on_map as usize][p.reference as usize] += 1;
            }
            Err(reason) => {
                let turned = Point { x: p.y, y: p.x, crs: p.crs.clone(), ..*p };
                sampled.swapped +=
                    usize::from(reason == Outside::OutsideMaps && covered(&turned, &maps, &mut transforms));
                sampled.left_out.push(LeftOut { point: p.number, x: p.x, y: p.y, reason });
            }
        }
    }
    if let Some((p, stated, on_map)) = contradictions.first() {
        let more = match contradictions.len() - 1 {
            0 => String::new(),
            1 => ", and 1 more point like it".to_owned(),
            n => format!(", and {n} more points like it"),
        };
        let found = format!("`{}` at {}, {}{more}", stated.name(), p.x, p.y);
        let expected = format!("`{}`, the class of {}'s map there", on_map.name(), sampled.map);
        let help = "take the field out, so that the map's own class counts; if the sample was drawn on another map, give that \
                    map's run, or its error matrix by --matrix";
        return Err(bad(request.reference, &p.place(MAP_CLASS), found, &expected, help));
    }
    if sampled.used == 0 {
        let outside = sampled.left_out.iter().filter(|l| l.reason == Outside::OutsideMaps).count();
        let found = format!(
            "{} points, of which {outside} lie outside every map and {} where the map judges nothing",
            points.len(),
            sampled.left_out.len() - outside
        );
        let help = if sampled.swapped > 0 {
            format!(
                "with their two coordinates swapped, {} of them lie on a map: check which is which",
                sampled.swapped
            )
        } else {
            "check the points' CRS and that they were drawn within the parcels of this run".to_owned()
        };
        return Err(bad(request.reference, "points", found, "points on judged pixels of the map", &help));
    }
    let areas_ha = areas_ha(&maps)?;
    let classes = Class::ALL.iter().map(|c| c.name().to_owned()).collect();
    let matrix = ErrorMatrix::new(classes, counts, areas_ha).map_err(|f| refused(request.reference, f))?;
    Ok((matrix, sampled))
}

/// The map's name and the folders that hold it, by grid id.
fn choose(request: &Request) -> Result<(String, BTreeMap<String, PathBuf>)> {
    let mut found: BTreeMap<String, BTreeMap<String, PathBuf>> = BTreeMap::new();
    let list = |folder: &Path| -> Vec<(String, PathBuf)> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|e| (e.file_name().to_string_lossy().into_owned(), e.path())).collect()
    };
    for (grid_id, folder) in list(request.maps) {
        for (file, _) in list(&folder) {
            if let Some(name) = file.strip_suffix(BREAK_DATE) {
                found.entry(name.to_owned()).or_default().insert(grid_id.clone(), folder.clone());
            }
        }
    }
    let names = found.keys().cloned().collect::<Vec<_>>().join(", ");
    if found.is_empty() {
        let help = "set `maps = [\"break_date\", \"magnitude\"]` under [output], and run";
        let expected = format!("a file METHOD{BREAK_DATE} in a grid's folder");
        return Err(bad(request.maps, "maps", "none".into(), &expected, help));
    }
    match request.map {
        Some(name) => match found.remove(name) {
            Some(folders) => Ok((name.to_owned(), folders)),
            None => Err(bad(request.maps, "maps", format!("no map `{name}`"), &names, "correct --map")),
        },
        None if found.len() > 1 => {
            Err(bad(request.maps, "maps", format!("several ({names})"), "one", "choose one with --map"))
        }
        None => found.pop_first().ok_or_else(|| Error::Internal("a map that is there and not".into())),
    }
}

/// The two rasters of a grid.
struct Map {
    grid_id: String,
    grid: Grid,
    breaks: Band,
    magnitude: Band,
    to_lon_lat: Transform,
    path: PathBuf,
}

struct Band {
    blocks: Blocks,
    nodata: Option<f32>,
}

impl Band {
    fn says(&self, v: f32) -> bool {
        !v.is_nan() && self.nodata != Some(v)
    }
}

/// A raster's fault as an error of its file.
fn unusable(path: &Path) -> impl Fn(SceneFault) -> Error + use<> {
    let path = path.to_path_buf();
    move |fault| bad(&path, "map", fault.message, "a map as a run writes it", "remove it and run again")
}

impl Map {
    fn open(grid_id: String, folder: &Path, name: &str) -> Result<Map> {
        let open = |path: &Path| -> Result<(Grid, Band)> {
            let raster = Raster::open(path).map_err(unusable(path))?;
            // The dates are whole days, which 32-bit floats hold exactly; so is the usual nodata, -2^31.
            let nodata = raster.packing().nodata.map(|v| v as f32);
            let blocks = Blocks::open(path).map_err(unusable(path))?;
            Ok((raster.grid().clone(), Band { blocks, nodata }))
        };
        let path = folder.join(format!("{name}{BREAK_DATE}"));
        let (grid, breaks) = open(&path)?;
        if breaks.nodata.is_none() {
            let help = "without it a pixel that never broke cannot be told from one that did; make the map anew";
            return Err(bad(&path, "nodata", "none stated".into(), "a nodata value", help));
        }
        let other = folder.join(format!("{name}{MAGNITUDE}"));
        let (magnitude_grid, magnitude) = open(&other)?;
        if magnitude_grid != grid {
            let found = format!("{magnitude_grid:?}");
            return Err(bad(
                &other,
                "grid",
                found,
                &format!("that of the break dates, {grid:?}"),
                "make both maps anew",
            ));
        }
        let to_lon_lat = Transform::new(&grid.crs, &Crs(LON_LAT.to_owned()))
            .map_err(|e| bad(&path, "CRS", e, "one that PROJ can bring to longitude and latitude", ""))?;
        Ok(Map { grid_id, grid, breaks, magnitude, to_lon_lat, path })
    }

    /// Classes of the pixels of a window, row by row.
    fn classes(&self, w: &Window) -> Result<Vec<Option<Class>>> {
        let (at, size) = ((w.col as usize, w.row as usize), (w.cols as usize, w.rows as usize));
        let (mut breaks, mut magnitude) = (Vec::<f32>::new(), Vec::<f32>::new());
        self.breaks.blocks.look(at, size, &mut breaks).map_err(unusable(&self.path))?;
        self.magnitude.blocks.look(at, size, &mut magnitude).map_err(unusable(&self.path))?;
        let class = |(b, m): (f32, f32)| {
            // A break with a gain is no disturbance.
            let lost = self.breaks.says(b) && (m.is_nan() || m < 0.0);
            if lost { Some(Class::Disturbed) } else { self.magnitude.says(m).then_some(Class::Stable) }
        };
        Ok(breaks.into_iter().zip(magnitude).map(class).collect())
    }

    /// Row and column of the pixel that holds a point of the map's CRS; `None` outside.
    fn pixel(&self, (x, y): (f64, f64)) -> Option<(u32, u32)> {
        let (col, row) = self.grid.to_pixel(x, y);
        // Comparisons with NaN are false: a point that could not be moved is outside.
        let inside = col >= 0.0 && row >= 0.0 && col < f64::from(self.grid.cols) && row < f64::from(self.grid.rows);
        inside.then(|| (row.floor() as u32, col.floor() as u32))
    }

    /// Square metres of one pixel of a window, on the ellipsoid.
    fn pixel_area_m2(&self, w: &Window) -> Result<f64> {
        let [x0, _, _, y1] = self.grid.pixel_bounds(w.row, w.col);
        let [_, y0, x1, _] = self.grid.pixel_bounds(w.row + w.rows - 1, w.col + w.cols - 1);
        let corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)].map(|(x, y)| Coord { x, y });
        let outline = MultiPolygon(vec![Polygon::new(LineString(corners.to_vec()), Vec::new())]);
        let lon_lat = self.to_lon_lat.polygon(&outline).map_err(|e| {
            let help = "the map lies outside the domain of its own CRS; make it anew";
            bad(&self.path, "grid", e, "a grid within its CRS", help)
        })?;
        Ok(geodesic_area_m2(&lon_lat) / (f64::from(w.rows) * f64::from(w.cols)))
    }
}

/// Windows of a grid.
fn windows(grid: &Grid) -> impl Iterator<Item = Window> + use<> {
    let (rows, cols) = (grid.rows, grid.cols);
    let at = |n: u32| (0..n.div_ceil(WINDOW)).map(move |i| (i * WINDOW, WINDOW.min(n - i * WINDOW)));
    at(rows).flat_map(move |(row, rows)| at(cols).map(move |(col, cols)| Window { row, col, rows, cols }))
}

/// Area of each class, hectares. Maps stand in the order in which they speak.
fn areas_ha(maps: &[Map]) -> Result<Vec<f64>> {
    let mut areas = vec![0.0; Class::ALL.len()];
    for (i, map) in maps.iter().enumerate() {
        let mut before = Vec::new();
        for earlier in &maps[..i] {
            let there = Transform::new(&map.grid.crs, &earlier.grid.crs)
                .map_err(|e| bad(&map.path, "CRS", e, "one that PROJ can bring to that of the other maps", ""))?;
            before.push((earlier, there));
        }
        for w in windows(&map.grid) {
            let mut classes = map.classes(&w)?;
            for (earlier, there) in &before {
                leave_out_told(map, &w, &mut classes, earlier, there)?;
            }
            let counts = Class::ALL.map(|c| classes.iter().filter(|found| **found == Some(c)).count());
            if counts.iter().any(|n| *n > 0) {
                let pixel_ha = map.pixel_area_m2(&w)? / M2_PER_HA;
                for (area, n) in areas.iter_mut().zip(counts) {
                    *area += n as f64 * pixel_ha;
                }
            }
        }
    }
    Ok(areas)
}

/// Takes the pixels out of `classes` whose centre lies where an earlier map says something.
fn leave_out_told(
    map: &Map,
    w: &Window,
    classes: &mut [Option<Class>],
    earlier: &Map,
    there: &Transform,
) -> Result<()> {
    let judged: Vec<usize> = (0..classes.len()).filter(|&k| classes[k].is_some()).collect();
    let mut centres: Vec<(f64, f64)> = judged
        .iter()
        .map(|&k| {
            let (row, col) = (w.row + k as u32 / w.cols, w.col + k as u32 % w.cols);
            let [x0, y0, x1, y1] = map.grid.pixel_bounds(row, col);
            ((x0 + x1) / 2.0, (y0 + y1) / 2.0)
        })
        .collect();
    there.points(&mut centres);
    let pixels: Vec<Option<(u32, u32)>> = centres.into_iter().map(|c| earlier.pixel(c)).collect();
    let inside = || pixels.iter().flatten();
    let rows = inside().map(|p| p.0).min().zip(inside().map(|p| p.0).max());
    let cols = inside().map(|p| p.1).min().zip(inside().map(|p| p.1).max());
    let (Some((top, bottom)), Some((left, right))) = (rows, cols) else { return Ok(()) };
    let seen = Window { row: top, col: left, rows: bottom - top + 1, cols: right - left + 1 };
    let told = earlier.classes(&seen)?;
    for (&k, pixel) in judged.iter().zip(&pixels) {
        if let Some((row, col)) = pixel
            && told[((row - top) * seen.cols + (col - left)) as usize].is_some()
        {
            classes[k] = None;
        }
    }
    Ok(())
}

/// A reference point.
struct Point {
    number: usize,
    /// How the file counts: `line` and `column`, or `feature` and `field`.
    terms: (&'static str, &'static str),
    x: f64,
    y: f64,
    crs: Crs,
    reference: Class,
    stated: Option<Class>,
}

impl Point {
    /// Where a field of the point stands in its file.
    fn place(&self, field: &str) -> String {
        let (row, column) = self.terms;
        format!("{row} {}, {column} `{field}`", self.number)
    }
}

/// True where a map covers the place of a point, whatever it says there.
fn covered(p: &Point, maps: &[Map], transforms: &mut BTreeMap<(Crs, usize), Option<Transform>>) -> bool {
    maps.iter().enumerate().any(|(i, map)| {
        let mut at = [(p.x, p.y)];
        if let Some(t) = transform(p, i, map, transforms) {
            t.points(&mut at);
            map.pixel(at[0]).is_some()
        } else {
            false
        }
    })
}

/// From the system of a point to that of a map.
fn transform<'a>(
    p: &Point,
    i: usize,
    map: &Map,
    transforms: &'a mut BTreeMap<(Crs, usize), Option<Transform>>,
) -> Option<&'a Transform> {
    transforms.entry((p.crs.clone(), i)).or_insert_with(|| Transform::new(&p.crs, &map.grid.crs).ok()).as_ref()
}

/// The class that the maps give a point.
fn look_up(
    p: &Point,
    maps: &[Map],
    transforms: &mut BTreeMap<(Crs, usize), Option<Transform>>,
) -> Result<std::result::Result<Class, Outside>> {
    let mut reason = Outside::OutsideMaps;
    for (i, map) in maps.iter().enumerate() {
        let mut at = [(p.x, p.y)];
        match transform(p, i, map, transforms) {
            Some(t) => t.points(&mut at),
            None => continue,
        }
        let Some((row, col)) = map.pixel(at[0]) else { continue };
        if let Some(class) = map.classes(&Window { row, col, rows: 1, cols: 1 })?[0] {
            return Ok(Ok(class));
        }
        reason = Outside::NotJudged;
    }
    Ok(Err(reason))
}

fn points(path: &Path, field: &str) -> Result<Vec<Point>> {
    let is_csv = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    let points = if is_csv { points_of_csv(path, field)? } else { points_of_layer(path, field)? };
    if points.is_empty() {
        return Err(bad(path, "points", "none".into(), "reference points", "add points with their class"));
    }
    Ok(points)
}

fn class(path: &Path, what: &str, text: Option<&str>) -> Result<Class> {
    text.and_then(Class::parse).ok_or_else(|| {
        let found = text.filter(|t| !t.is_empty()).map_or("nothing".to_owned(), |t| format!("`{t}`"));
        let help = "the map has these two classes; name the field with --field if it is another";
        bad(path, what, found, "stable or disturbed", help)
    })
}

fn points_of_csv(path: &Path, field: &str) -> Result<Vec<Point>> {
    let csv = Csv::read(path)?;
    let column = |name: &str, help: &str| {
        let found = || format!("the columns {}", csv.head.join(", "));
        csv.column(name).ok_or_else(|| bad(path, "head", found(), &format!("a column `{name}`"), help))
    };
    let reference = column(field, "name the column with the reference class by --field")?;
    let stated = csv.column(MAP_CLASS);
    let (x, y, crs) = match (csv.column("lon"), csv.column("lat")) {
        (Some(lon), Some(lat)) => (lon, lat, None),
        _ => {
            let help = "give lon and lat in degrees, or x, y and crs (for example EPSG:4549)";
            (column("x", help)?, column("y", help)?, Some(column("crs", help)?))
        }
    };
    let mut known: BTreeMap<String, Crs> = BTreeMap::new();
    let mut points = Vec::with_capacity(csv.records.len());
    for r in &csv.records {
        let number = |i: usize| {
            r.cells[i].parse::<f64>().ok().filter(|v| v.is_finite()).ok_or_else(|| {
                let what = format!("line {}, column `{}`", r.line, csv.head[i]);
                bad(path, &what, format!("`{}`", r.cells[i]), "a number", "correct the coordinate")
            })
        };
        let (px, py) = (number(x)?, number(y)?);
        let crs = match crs {
            None if (-180.0..=180.0).contains(&px) && (-90.0..=90.0).contains(&py) => Crs(LON_LAT.to_owned()),
            None => {
                let found = format!("longitude {px}, latitude {py}");
                let help = if (-180.0..=180.0).contains(&py) && (-90.0..=90.0).contains(&px) {
                    "the two look swapped: lon is the longitude, lat the latitude"
                } else {
                    "coordinates of a projection go into x, y and crs"
                };
                return Err(bad(path, &format!("line {}", r.line), found, "-180 to 180 and -90 to 90", help));
            }
            Some(i) => {
                let text = &r.cells[i];
                if !known.contains_key(text) {
                    let crs = gdal_io::crs_from_text(text).map_err(|e| {
                        let what = format!("line {}, column `crs`", r.line);
                        bad(path, &what, format!("`{text}`: {e}"), "a CRS", "write its code, for example EPSG:4549")
                    })?;
                    known.insert(text.clone(), crs);
                }
                known[text].clone()
            }
        };
        let reference = class(path, &format!("line {}, column `{field}`", r.line), Some(&r.cells[reference]))?;
        let stated = match stated.map(|i| r.cells[i].as_str()).filter(|s| !s.is_empty()) {
            Some(text) => Some(class(path, &format!("line {}, column `{MAP_CLASS}`", r.line), Some(text))?),
            None => None,
        };
        points.push(Point { number: r.line, terms: ("line", "column"), x: px, y: py, crs, reference, stated });
    }
    known_places(path, &points)?;
    Ok(points)
}

fn points_of_layer(path: &Path, field: &str) -> Result<Vec<Point>> {
    let (crs, features) =
        gdal_io::read_points(path, &[("reference class", field)], &[MAP_CLASS]).map_err(|f| of_layer(path, f))?;
    let mut points = Vec::with_capacity(features.len());
    for f in features {
        let [x, y] = f.geometry.map_err(|e| {
            let help = "give the feature a point, or take it out";
            bad(path, &format!("feature {}", f.number), e, "a point", help)
        })?;
        let what = |field: &str| format!("feature {}, field `{field}`", f.number);
        let reference = class(path, &what(field), f.values[0].as_deref())?;
        let stated = match &f.values[1] {
            Some(text) => Some(class(path, &what(MAP_CLASS), Some(text))?),
            None => None,
        };
        let terms = ("feature", "field");
        points.push(Point { number: f.number, terms, x, y, crs: crs.clone(), reference, stated });
    }
    known_places(path, &points)?;
    Ok(points)
}

/// Refuses systems that PROJ cannot place on the Earth, which would make every point a point outside.
fn known_places(path: &Path, points: &[Point]) -> Result<()> {
    for crs in points.iter().map(|p| &p.crs).collect::<BTreeSet<_>>() {
        Transform::new(crs, &Crs(LON_LAT.to_owned())).map_err(|e| {
            bad(path, "CRS", e, "a CRS that PROJ can bring to longitude and latitude", "for example EPSG:4490")
        })?;
    }
    Ok(())
}

/// The reader speaks of the parcel layer's settings; a file of points has its own.
fn of_layer(path: &Path, f: LayerFault) -> Error {
    let help = match f.what.as_str() {
        "CRS" => f.help.as_str(),
        "layer" => "put the points into a file of their own",
        "parcel layer" => "give points as CSV, GeoPackage or GeoJSON",
        _ => "name the field with the reference class by --field",
    };
    let what = if f.what == "parcel layer" { "points" } else { &f.what };
    bad(path, what, f.found, &f.expected, help)
}
