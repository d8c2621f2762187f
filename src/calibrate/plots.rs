//! Field plots: where, how much, when. A plot that cannot be used is set aside with its line and the reason; the rest is used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use geo::MultiPolygon;
use jiff::civil::Date;
use serde::Serialize;

use crate::accuracy::csv::{Csv, bad};
use crate::carbon::index_model::UNIT;
use crate::digest::Sha256;
use crate::error::{Error, Reason, Result};
use crate::gdal_io::{self, Place};
use crate::geo::crs::{Crs, LON_LAT, Transform};

/// Names understood for each field where none is given, lower case; in a vector layer upper case as well.
const ID: [&str; 5] = ["plot_id", "plot", "id", "样地号", "样地编号"];
const AGB: [&str; 6] = ["agb_t_per_ha", "agb_t_ha", "agb", "agb_mg_per_ha", "biomass_t_per_ha", "地上生物量"];
const DATE: [&str; 8] = ["date", "measured_on", "survey_date", "year", "survey_year", "调查日期", "调查年份", "年份"];

/// Parts of a field's name that state another unit than tonnes of dry matter a hectare.
const OTHER_UNITS: [&str; 8] = ["per_mu", "/mu", "_mu", "亩", "kg", "_c_", "carbon", "co2"];

/// More than any forest that has been measured, t d.m./ha.
const ABSURD_T_PER_HA: f64 = 2000.0;
/// A median below this hints at another unit.
const LOW_MEDIAN_T_PER_HA: f64 = 5.0;
/// The first year with images of a sensor that can be read here.
const FIRST_YEAR: i16 = 1984;

/// Where things stand in the file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields<'a> {
    /// Layer, where a file has several.
    pub layer: Option<&'a str>,
    /// Field of the plot's id.
    pub id: Option<&'a str>,
    /// Field of the aboveground biomass, t d.m./ha.
    pub agb: Option<&'a str>,
    /// Field of the date or year.
    pub date: Option<&'a str>,
    /// System of x and y in a CSV file.
    pub crs: Option<&'a str>,
}

/// Where a plot is, in degrees.
#[derive(Debug, Clone, PartialEq)]
pub enum At {
    /// Its centre.
    Point(f64, f64),
    /// Its outline.
    Outline(MultiPolygon<f64>),
}

/// A plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    /// Line of the file, or number of the feature, from 1.
    pub number: usize,
    /// Its id.
    pub id: String,
    /// Aboveground biomass, t d.m./ha.
    pub agb_t_per_ha: f64,
    /// Year of the measurement.
    pub year: i16,
    /// Where.
    pub at: At,
}

/// A plot that is not used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Refused {
    /// Line of the file, or number of the feature, from 1.
    pub number: usize,
    /// Its id, as far as it has one.
    pub plot_id: String,
    /// Class of the reason.
    pub reason: Reason,
    /// What was found, what is expected, what to do.
    pub message: String,
}

/// What a file says.
#[derive(Debug, Clone)]
pub struct Plots {
    /// The file.
    pub path: PathBuf,
    /// Plots that can be used, by id.
    pub plots: Vec<Plot>,
    /// The others, in the order of the file.
    pub refused: Vec<Refused>,
    /// What [`Plot::number`] counts: lines, or features.
    pub numbered: &'static str,
    /// SHA-256 of the file.
    pub sha256: Sha256,
    /// What is to be known about the file.
    pub notes: Vec<String>,
}

/// A row before it is understood.
struct Row {
    number: usize,
    id: Option<String>,
    agb: Option<String>,
    date: Option<String>,
    at: std::result::Result<At, (Reason, String)>,
}

/// Reads plots.
///
/// # Errors
/// The file cannot be read, lacks a column or a CRS, or its biomass column states another unit.
pub fn read(path: &Path, fields: &Fields) -> Result<Plots> {
    if let Some(name) = fields.agb {
        unit_of(path, name)?;
    }
    let (sha256, _) = Sha256::of_file(path)?;
    let is_csv = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    let rows = if is_csv { of_csv(path, fields)? } else { of_layer(path, fields)? };
    let what = if is_csv { "line" } else { "feature" };
    let (mut plots, mut refused): (Vec<Plot>, Vec<Refused>) = (Vec::new(), Vec::new());
    for row in rows {
        let (number, id) = (row.number, row.id.clone().unwrap_or_default());
        match understood(row) {
            Ok(plot) => plots.push(plot),
            Err((reason, message)) => {
                refused.push(Refused { number, plot_id: id, reason, message: format!("{what} {number}: {message}") });
            }
        }
    }
    let mut by_id: BTreeMap<String, Vec<Plot>> = BTreeMap::new();
    plots.into_iter().for_each(|p| by_id.entry(p.id.clone()).or_default().push(p));
    let mut single = Vec::new();
    for (id, mut same) in by_id {
        if same.len() == 1 {
            single.append(&mut same);
            continue;
        }
        let numbers: Vec<String> = same.iter().map(|p| p.number.to_string()).collect();
        let message = format!(
            "found the id `{id}` {} times ({what}s {}), expected it once; none of them is used, give each its own id",
            same.len(),
            numbers.join(", ")
        );
        refused.extend(same.iter().map(|p| Refused {
            number: p.number,
            plot_id: id.clone(),
            reason: Reason::DuplicateId,
            message: message.clone(),
        }));
    }
    refused.sort_by_key(|r| r.number);
    let mut biomass: Vec<f64> = single.iter().map(|p| p.agb_t_per_ha).collect();
    biomass.sort_by(f64::total_cmp);
    let mut notes = Vec::new();
    if let Some(median) = biomass.get(biomass.len() / 2).filter(|m| **m < LOW_MEDIAN_T_PER_HA) {
        notes.push(format!(
            "half of the plots have {median} {UNIT} or less; if the file is in t/mu multiply by 15, in kg/m2 by 10"
        ));
    }
    Ok(Plots { path: path.to_path_buf(), plots: single, refused, numbered: what, sha256, notes })
}

/// Refuses a column whose name states another unit.
fn unit_of(path: &Path, name: &str) -> Result<()> {
    let lower = name.to_lowercase();
    match OTHER_UNITS.iter().find(|u| lower.contains(**u)) {
        None => Ok(()),
        Some(unit) => Err(bad(
            path,
            &format!("column `{name}`"),
            format!("a name with `{unit}` in it, which is another unit"),
            &format!("aboveground biomass in {UNIT}"),
            "convert it: t/mu x 15, kg/m2 x 10, kg/ha / 1000, t C/ha / carbon fraction; name the new column agb_t_per_ha",
        )),
    }
}

fn understood(row: Row) -> std::result::Result<Plot, (Reason, String)> {
    let attribute = |message: String| (Reason::BadAttribute, message);
    let id = row.id.ok_or_else(|| attribute("found no plot id, expected one; fill it in".into()))?;
    let text = row.agb.ok_or_else(|| attribute(format!("plot {id}: found no biomass, expected {UNIT}")))?;
    let agb_t_per_ha: f64 = text.parse().map_err(|_| {
        attribute(format!("plot {id}: found biomass `{text}`, expected a number in {UNIT}, with a decimal point"))
    })?;
    if !agb_t_per_ha.is_finite() {
        return Err(attribute(format!("plot {id}: found biomass {agb_t_per_ha}, expected a finite number in {UNIT}")));
    }
    if agb_t_per_ha < 0.0 {
        return Err(attribute(format!("plot {id}: found biomass {agb_t_per_ha}, expected 0 or more {UNIT}")));
    }
    if agb_t_per_ha > ABSURD_T_PER_HA {
        let message = format!(
            "plot {id}: found biomass {agb_t_per_ha}, expected {ABSURD_T_PER_HA} {UNIT} or less; is it in kg/ha?"
        );
        return Err(attribute(message));
    }
    let text = row.date.ok_or_else(|| attribute(format!("plot {id}: found no date, expected a date or year")))?;
    let year = year_of(&text).ok_or_else(|| {
        let message = format!("plot {id}: found date `{text}`, expected 2020-07-15 or 2020, from {FIRST_YEAR} on");
        attribute(message)
    })?;
    let at = row.at.map_err(|(reason, message)| (reason, format!("plot {id}: {message}")))?;
    Ok(Plot { number: row.number, id, agb_t_per_ha, year, at })
}

/// The year of `2020`, `2020-07-15`, `2020/7/15`, or either with a time behind.
fn year_of(text: &str) -> Option<i16> {
    let day = text.split([' ', 'T']).next()?;
    let parts: Vec<i16> = day.split(['-', '/']).map(|p| p.parse().ok()).collect::<Option<_>>()?;
    let year = match parts.as_slice() {
        [year] => *year,
        [year, month, day] => Date::new(*year, i8::try_from(*month).ok()?, i8::try_from(*day).ok()?).ok()?.year(),
        _ => return None,
    };
    (FIRST_YEAR..=2100).contains(&year).then_some(year)
}

/// Position of the first known name among `columns`, or of the one that was given.
fn choose(path: &Path, columns: &[String], given: Option<&str>, known: &[&str], option: &str) -> Result<usize> {
    let lower: Vec<String> = columns.iter().map(|c| c.to_lowercase()).collect();
    let found = match given {
        Some(name) => columns.iter().position(|c| c == name),
        None => known.iter().find_map(|k| lower.iter().position(|c| c == k)),
    };
    found.ok_or_else(|| {
        let expected =
            given.map_or_else(|| format!("one of {}", known.join(", ")), |name| format!("a column `{name}`"));
        let unit = if option == "--agb" { format!(" (biomass must be in {UNIT})") } else { String::new() };
        bad(path, "columns", columns.join(", "), &expected, &format!("name the column by {option}{unit}"))
    })
}

fn of_csv(path: &Path, fields: &Fields) -> Result<Vec<Row>> {
    if let Some(layer) = fields.layer {
        return Err(bad(path, "--layer", format!("`{layer}`"), "none: a CSV file has no layers", "leave it out"));
    }
    let csv = Csv::read(path)?;
    let choose = |given, known: &[&str], option| choose(path, &csv.head, given, known, option);
    let id = choose(fields.id, &ID, "--id")?;
    let agb = choose(fields.agb, &AGB, "--agb")?;
    let date = choose(fields.date, &DATE, "--date")?;
    let column = |names: &[&str]| csv.head.iter().position(|h| names.contains(&h.to_lowercase().as_str()));
    let lon_lat = column(&["lon", "longitude", "经度"]).zip(column(&["lat", "latitude", "纬度"]));
    let x_y = column(&["x"]).zip(column(&["y"]));
    let (x, y, crs) = match (lon_lat, x_y, fields.crs) {
        (Some((lon, lat)), _, None) => (lon, lat, Crs(LON_LAT.to_owned())),
        (_, Some((x, y)), Some(text)) => {
            let crs = gdal_io::crs_from_text(text)
                .map_err(|e| bad(path, "--crs", format!("`{text}`: {e}"), "a CRS", "write its code: EPSG:4549"))?;
            (x, y, crs)
        }
        (_, Some(_), None) => {
            let help = "say what x and y are in, for example --crs EPSG:4549; it is never guessed";
            return Err(bad(path, "columns", "x and y without a CRS".into(), "a CRS, or lon and lat", help));
        }
        _ => {
            let help = "give lon and lat in degrees, or x and y with --crs";
            return Err(bad(path, "columns", csv.head.join(", "), "lon and lat, or x and y", help));
        }
    };
    let to_lon_lat = to_lon_lat(path, &crs)?;
    let cell = |text: &String| Some(text.clone()).filter(|t| !t.is_empty());
    let number = |text: &str| text.parse::<f64>().ok().filter(|v| v.is_finite());
    Ok(csv
        .records
        .iter()
        .map(|r| {
            let at = match (number(&r.cells[x]), number(&r.cells[y])) {
                (Some(x), Some(y)) => placed(&to_lon_lat, x, y),
                _ => Err((
                    Reason::BadCoordinates,
                    format!("found coordinates `{}`, `{}`, expected two numbers", r.cells[x], r.cells[y]),
                )),
            };
            let (id, agb, date) = (cell(&r.cells[id]), cell(&r.cells[agb]), cell(&r.cells[date]));
            Row { number: r.line, id, agb, date, at }
        })
        .collect())
}

fn to_lon_lat(path: &Path, crs: &Crs) -> Result<Transform> {
    Transform::new(crs, &Crs(LON_LAT.to_owned())).map_err(|found| {
        let help = "use a standard CRS, for example EPSG:4490";
        bad(path, "CRS", found, "a CRS that PROJ can bring to longitude and latitude", help)
    })
}

fn placed(to_lon_lat: &Transform, x: f64, y: f64) -> std::result::Result<At, (Reason, String)> {
    let mut point = [(x, y)];
    to_lon_lat.points(&mut point);
    let (lon, lat) = point[0];
    if (-180.0..=180.0).contains(&lon) && (-85.0..=85.0).contains(&lat) {
        return Ok(At::Point(lon, lat));
    }
    let message = format!(
        "found {x}, {y}, expected longitude -180 to 180 and latitude -85 to 85, or coordinates of the stated CRS; are they \
         swapped?"
    );
    Err((Reason::BadCoordinates, message))
}

fn of_layer(path: &Path, fields: &Fields) -> Result<Vec<Row>> {
    if let Some(crs) = fields.crs {
        let help = "leave it out: the layer states its own";
        return Err(bad(path, "--crs", format!("`{crs}`"), "none: only x and y of a CSV file need one", help));
    }
    let mut wanted: Vec<String> =
        [fields.id, fields.agb, fields.date].into_iter().flatten().map(str::to_owned).collect();
    for name in ID.iter().chain(&AGB).chain(&DATE) {
        wanted.extend([(*name).to_owned(), name.to_uppercase()]);
    }
    wanted.sort_unstable();
    wanted.dedup();
    let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let (crs, features) = gdal_io::read_places(path, fields.layer, &names).map_err(|f| Error::Input {
        path: path.to_path_buf(),
        what: f.what.replace("parcel layer", "plots"),
        found: f.found,
        expected: f.expected,
        help: if f.what == "layer" { "name one by --layer".into() } else { f.help.replace(" under [parcels]", "") },
    })?;
    // A field that the layer lacks, and one that is empty throughout, look alike; both mean: not this one.
    let filled: Vec<usize> = (0..names.len()).filter(|i| features.iter().any(|f| f.values[*i].is_some())).collect();
    let columns: Vec<String> = filled.iter().map(|i| wanted[*i].clone()).collect();
    let position = |given, known: &[&str], option| choose(path, &columns, given, known, option).map(|i| filled[i]);
    let id = position(fields.id, &ID, "--id")?;
    let agb = position(fields.agb, &AGB, "--agb")?;
    let date = position(fields.date, &DATE, "--date")?;
    let to_lon_lat = to_lon_lat(path, &crs)?;
    Ok(features
        .into_iter()
        .map(|f| {
            let at = match f.geometry {
                Ok(Place::Point([x, y])) => placed(&to_lon_lat, x, y),
                Ok(Place::Outline(outline)) => {
                    to_lon_lat.polygon(&outline.polygon).map(At::Outline).map_err(|e| (Reason::BadCoordinates, e))
                }
                Err(found) => Err((Reason::InvalidGeometry, format!("found {found}, expected a point or a polygon"))),
            };
            let value = |i: usize| f.values[i].clone();
            Row { number: f.number, id: value(id), agb: value(agb), date: value(date), at }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plots(text: &str, fields: &Fields) -> Result<Plots> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plots.csv");
        std::fs::write(&path, text).unwrap();
        read(&path, fields)
    }

    #[test]
    fn what_is_wrong_with_a_plot_is_told_with_its_line_and_the_rest_is_used() {
        let text = "样地号,lon,lat,地上生物量,调查年份\n\
                    a,25.1,45.1,120.5,2019\n\
                    b,25.1,45.1,-3,2019\n\
                    c,25.1,45.1,nan,2019\n\
                    d,25.1,45.1,120500,2019\n\
                    e,25.1,45.1,,2019\n\
                    f,25.1,45.1,80,1919\n\
                    g,25.1,145.1,80,2019\n\
                    h,25.1,x,80,2019\n\
                    i,25.1,45.1,80,2019/7/15\n\
                    i,25.1,45.2,80,2019\n\
                    ,25.1,45.2,80,2019\n\
                    j,25.1,45.1,\"1,5\",2019\n\
                    k,25.2,45.2,0,2020-02-30\n\
                    l,25.2,45.2,0,2020-02-28 12:00\n";
        let found = plots(text, &Fields::default()).unwrap();
        let used: Vec<(&str, f64, i16)> = found.plots.iter().map(|p| (p.id.as_str(), p.agb_t_per_ha, p.year)).collect();
        assert_eq!(used, [("a", 120.5, 2019), ("l", 0.0, 2020)]);
        let expect = [
            (3, Reason::BadAttribute, "line 3: plot b: found biomass -3, expected 0 or more t d.m./ha"),
            (4, Reason::BadAttribute, "found biomass NaN"),
            (5, Reason::BadAttribute, "is it in kg/ha?"),
            (6, Reason::BadAttribute, "found no biomass"),
            (7, Reason::BadAttribute, "found date `1919`"),
            (8, Reason::BadCoordinates, "are they swapped?"),
            (9, Reason::BadCoordinates, "expected two numbers"),
            (10, Reason::DuplicateId, "2 times (lines 10, 11)"),
            (11, Reason::DuplicateId, "none of them is used"),
            (12, Reason::BadAttribute, "found no plot id"),
            (13, Reason::BadAttribute, "with a decimal point"),
            (14, Reason::BadAttribute, "found date `2020-02-30`"),
        ];
        assert_eq!(found.refused.len(), expect.len());
        for (refused, (line, reason, part)) in found.refused.iter().zip(expect) {
            assert_eq!((refused.number, refused.reason), (line, reason), "{refused:?}");
            assert!(refused.message.contains(part), "{refused:?}");
        }
    }

    #[test]
    fn columns_and_units_that_do_not_fit_are_named() {
        let failed = |text: &str, fields: &Fields| plots(text, fields).unwrap_err().to_string();
        let head = failed("plot_id,lon,lat,biomass,year\n", &Fields::default());
        assert!(head.contains("found plot_id, lon, lat, biomass, year, expected one of agb_t_per_ha"), "{head}");
        let unit = Fields { agb: Some("agb_t_per_mu"), ..Fields::default() };
        assert!(failed("plot_id,lon,lat,agb_t_per_mu,year\n", &unit).contains("another unit"));
        assert!(failed("plot_id,x,y,agb,year\na,1,2,3,2019\n", &Fields::default()).contains("without a CRS"));
        let crs = Fields { crs: Some("EPSG:none"), ..Fields::default() };
        assert!(failed("plot_id,x,y,agb,year\na,1,2,3,2019\n", &crs).contains("--crs"));
        assert!(failed("plot_id,agb,year\na,3,2019\n", &Fields::default()).contains("lon and lat, or x and y"));
    }

    #[test]
    fn x_and_y_are_brought_to_degrees_and_small_numbers_are_remarked() {
        // 500 km east, 5000 km north in UTM zone 35: on its central meridian, 27 degrees.
        let crs = Fields { crs: Some("EPSG:32635"), ..Fields::default() };
        let found = plots("id,x,y,agb,year\np,500000,5000000,0.8,2019\n", &crs).unwrap();
        let At::Point(lon, lat) = found.plots[0].at else { panic!("{found:?}") };
        assert!((lon - 27.0).abs() < 1e-9 && (lat - 45.15).abs() < 0.01, "{lon} {lat}");
        assert!(found.notes[0].contains("t/mu"), "{:?}", found.notes);
    }
}
