//! The statistics of one scene over one batch, kept beside its cube file, so that tables are made without reading pixels.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, StringArray};
use arrow::datatypes::{DataType, SchemaRef};

use super::extract::Observed;
use super::{SceneFacts, View};
use crate::columnar::{self, Profile, Reader, column, field};
use crate::error::{Error, Result};
use crate::imagery::mask::Class;
use crate::zonal::ZonalStats;

const STATISTICS: [&str; 11] =
    ["clear_pixels", "mean", "stddev", "min", "max", "p10", "p25", "median", "p75", "p90", "n_kish"];

fn values(s: &ZonalStats) -> [f64; 11] {
    [s.clear_pixels, s.mean, s.stddev, s.min, s.max, s.p10, s.p25, s.median, s.p75, s.p90, s.n_kish]
}

fn schema() -> SchemaRef {
    let mut fields = vec![
        field("parcel_id", DataType::Utf8, false, "1", "parcel"),
        field("footprint_key", DataType::Utf8, false, "1", "footprint"),
        field("index", DataType::Utf8, false, "1", "spectral index"),
        field("pixels", DataType::Float64, false, "pixel", "sum of coverage fractions within the raster"),
        field(
            "measured_px",
            DataType::Float64,
            false,
            "pixel",
            "sum of coverage fractions where anything was measured",
        ),
    ];
    fields.extend(STATISTICS.map(|s| field(s, DataType::Float64, true, "1", "null when nothing was clear")));
    columnar::schema(fields)
}

/// Footprint pixels by class name, classes that occur only.
pub fn by_class(class: &[u8]) -> BTreeMap<String, u64> {
    let mut counts = [0u64; 256];
    class.iter().for_each(|c| counts[usize::from(*c)] += 1);
    Class::ALL.iter().map(|c| (c.name(), counts[*c as usize])).filter(|(_, n)| *n > 0).collect()
}

/// Writes the statistics of one scene over one view.
///
/// # Errors
/// The file system's answer.
pub fn write(
    path: &Path,
    view: &View,
    indices: &[String],
    observed: &[Observed],
    facts: &SceneFacts,
    classes: &BTreeMap<String, u64>,
) -> Result<()> {
    let parcels = &view.batch.parcels;
    let schema = schema();
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(observed.iter().map(|o| &parcels[o.parcel].id))),
        Arc::new(StringArray::from_iter_values(observed.iter().map(|o| parcels[o.parcel].key.to_string()))),
        Arc::new(StringArray::from_iter_values(observed.iter().map(|o| &indices[o.index]))),
        Arc::new(Float64Array::from_iter_values(observed.iter().map(|o| o.pixels))),
        Arc::new(Float64Array::from_iter_values(observed.iter().map(|o| o.measured_px))),
    ];
    for i in 0..STATISTICS.len() {
        let column = observed.iter().map(|o| o.stats.as_ref().map(|s| values(s)[i]));
        columns.push(Arc::new(Float64Array::from_iter(column)));
    }
    let json = |v: serde_json::Result<String>| v.map_err(|e| Error::Internal(format!("statistics metadata: {e}")));
    let metadata = [
        ("lintan.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("lintan.scene", json(serde_json::to_string(facts))?),
        ("lintan.pixels_by_class", json(serde_json::to_string(classes))?),
    ];
    columnar::write(path, &schema, [columnar::batch(&schema, columns)], &metadata, Profile::Table)?;
    Ok(())
}

/// One row of a part.
pub struct PartRow<'a> {
    /// Parcel.
    pub parcel_id: &'a str,
    /// Footprint.
    pub footprint_key: &'a str,
    /// Index.
    pub index: &'a str,
    /// Sum of the coverage fractions within the scene's raster.
    pub pixels: f64,
    /// Of these, where anything was measured.
    pub measured_px: f64,
    /// Statistics; `None` when nothing was clear.
    pub stats: Option<ZonalStats>,
}

/// Calls `take` for every row of a part.
///
/// # Errors
/// A damaged file.
pub fn for_each_row(path: &Path, mut take: impl FnMut(PartRow)) -> Result<()> {
    for batch in Reader::open(path)?.read(None, None)? {
        let ids: &StringArray = column(&batch, "parcel_id", path)?;
        let keys: &StringArray = column(&batch, "footprint_key", path)?;
        let names: &StringArray = column(&batch, "index", path)?;
        let pixels: &Float64Array = column(&batch, "pixels", path)?;
        let measured: &Float64Array = column(&batch, "measured_px", path)?;
        let statistics = STATISTICS.iter().map(|s| column(&batch, s, path)).collect::<Result<Vec<&Float64Array>>>()?;
        for i in 0..batch.num_rows() {
            let v = |k: usize| statistics[k].value(i);
            let stats = (!statistics[1].is_null(i)).then(|| ZonalStats {
                clear_pixels: v(0),
                mean: v(1),
                stddev: v(2),
                min: v(3),
                max: v(4),
                p10: v(5),
                p25: v(6),
                median: v(7),
                p75: v(8),
                p90: v(9),
                n_kish: v(10),
            });
            take(PartRow {
                parcel_id: ids.value(i),
                footprint_key: keys.value(i),
                index: names.value(i),
                pixels: pixels.value(i),
                measured_px: measured.value(i),
                stats,
            });
        }
    }
    Ok(())
}

/// Footprint pixels by class of a part.
///
/// # Errors
/// A damaged file.
pub fn read_by_class(path: &Path) -> Result<BTreeMap<String, u64>> {
    let metadata = Reader::open(path)?.metadata();
    Ok(metadata.get("lintan.pixels_by_class").and_then(|t| serde_json::from_str(t).ok()).unwrap_or_default())
}
