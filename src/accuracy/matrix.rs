//! A finished error matrix from a CSV file: a row a map class, a column a reference class, and the mapped area.

use std::path::Path;

use super::csv::{Csv, bad};
use super::{ErrorMatrix, MatrixFault};
use crate::error::{Error, Result};

const CLASS: &str = "map_class";
const AREA: &str = "mapped_area_ha";

/// Reads column `map_class`, one column of counts for each reference class (named like the map classes), and column
/// `mapped_area_ha`. Classes keep the order of the rows.
///
/// # Errors
/// A missing or repeated column or class, a class that only the map or only the reference has, a count that is no whole number
/// of 0 or more, what [`ErrorMatrix::new`] refuses.
pub fn read(path: &Path) -> Result<ErrorMatrix> {
    let csv = Csv::read(path)?;
    let column = |name: &str| {
        csv.column(name).ok_or_else(|| {
            let found = format!("the columns {}", csv.head.join(", "));
            let help = "the file needs map_class, one column of counts for each reference class, and mapped_area_ha";
            bad(path, "head", found, &format!("a column `{name}`"), help)
        })
    };
    let (class, area) = (column(CLASS)?, column(AREA)?);
    if csv.records.is_empty() {
        return Err(bad(path, "rows", "none".into(), "a row for each map class", "add the counts"));
    }
    let mut classes: Vec<String> = Vec::new();
    for r in &csv.records {
        let name = &r.cells[class];
        let what = format!("line {}, {CLASS}", r.line);
        if name.is_empty() {
            return Err(bad(path, &what, "nothing".into(), "a class", "name the map class"));
        }
        if classes.contains(name) {
            let help = "add the rows of one class up";
            return Err(bad(path, &what, format!("`{name}` again"), "each class once", help));
        }
        classes.push(name.clone());
    }
    let references: Vec<&String> = csv.head.iter().filter(|h| ![CLASS, AREA].contains(&h.as_str())).collect();
    if let Some(lone) = references.iter().find(|r| !classes.contains(r)) {
        let found = format!("the reference class `{lone}`, which no row has");
        let help = "map and reference must have the same classes: add a row for it (0 ha and no samples where the map has \
                    none of it), join it to another class, or remove the column if it is none";
        return Err(bad(path, "head", found, &classes.join(", "), help));
    }
    let mut at = Vec::with_capacity(classes.len());
    for (name, r) in classes.iter().zip(&csv.records) {
        at.push(csv.column(name).ok_or_else(|| {
            let found = format!("the map class `{name}`, which no column has");
            let expected = references.iter().map(|r| r.as_str()).collect::<Vec<_>>().join(", ");
            let help = "map and reference must have the same classes: add a column of counts for it";
            bad(path, &format!("line {}, {CLASS}", r.line), found, &expected, help)
        })?);
    }
    let mut counts = Vec::with_capacity(classes.len());
    let mut areas = Vec::with_capacity(classes.len());
    for r in &csv.records {
        let mut row = Vec::with_capacity(classes.len());
        for (name, &i) in classes.iter().zip(&at) {
            row.push(r.cells[i].parse::<u32>().map(u64::from).map_err(|_| {
                let help = "write the number of samples; 0 where there is none";
                let what = format!("line {}, column `{name}`", r.line);
                bad(path, &what, quoted(&r.cells[i]), "a whole number, 0 or more", help)
            })?);
        }
        counts.push(row);
        areas.push(r.cells[area].parse::<f64>().ok().filter(|a| a.is_finite() && *a >= 0.0).ok_or_else(|| {
            let help = "write hectares with a decimal point and without thousands separators";
            bad(path, &format!("line {}, {AREA}", r.line), quoted(&r.cells[area]), "hectares, 0 or more", help)
        })?);
    }
    ErrorMatrix::new(classes, counts, areas).map_err(|f| refused(path, f))
}

fn quoted(cell: &str) -> String {
    if cell.is_empty() { "nothing".into() } else { format!("`{cell}`") }
}

/// A matrix that says nothing, as an error of the file it comes from.
pub fn refused(path: &Path, fault: MatrixFault) -> Error {
    bad(path, &fault.what, fault.found, &fault.expected, &fault.help)
}
