//! Reading a parcel layer from GeoParquet 1.0 and 1.1: WKB geometry, CRS from the file's `geo` metadata.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::gdal_io::{Feature, LayerFault, Outline, crs_from_text, outline_from_wkb};
use crate::geo::crs::Crs;

/// True for a Parquet file, whatever its name.
pub fn is_parquet(path: &Path) -> bool {
    let mut magic = [0u8; 4];
    File::open(path).and_then(|mut f| f.read_exact(&mut magic)).is_ok() && &magic == b"PAR1"
}

/// As [`crate::gdal_io::read_layer`] for a GeoParquet file.
///
/// # Errors
/// The file is damaged, has no `geo` metadata or another geometry encoding than WKB, has no CRS or lacks a field.
pub fn read_layer(path: &Path, fields: &[(&str, &str)]) -> Result<(Crs, Vec<Feature>), LayerFault> {
    let damaged = |e: String| {
        LayerFault::new(
            "parcel layer",
            format!("a Parquet file that cannot be read ({e})"),
            "a GeoParquet file",
            "copy it again",
        )
    };
    let file = File::open(path).map_err(|e| damaged(e.to_string()))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| damaged(e.to_string()))?;
    let pairs = builder.metadata().file_metadata().key_value_metadata();
    let geo = pairs.into_iter().flatten().find(|kv| kv.key == "geo").and_then(|kv| kv.value.as_deref());
    let plain = || {
        let help = "write it with GeoPandas, DuckDB or GDAL as GeoParquet, or use a GeoPackage";
        LayerFault::new("parcel layer", "a Parquet file without GeoParquet metadata (`geo`)", "a GeoParquet file", help)
    };
    let geo: Value = geo.and_then(|text| serde_json::from_str(text).ok()).ok_or_else(plain)?;
    let primary = geo["primary_column"].as_str().ok_or_else(plain)?;
    let column = geo["columns"].get(primary).ok_or_else(plain)?;
    if column["encoding"].as_str() != Some("WKB") {
        let found = format!("geometry encoding {}", column["encoding"]);
        let help = "write the file with WKB geometry (GeoPandas: geometry_encoding=\"WKB\"), or use a GeoPackage";
        return Err(LayerFault::new("geometry column", found, "WKB", help));
    }
    let crs = match column.get("crs") {
        // By the specification.
        None => Crs("OGC:CRS84".into()),
        Some(Value::Null) => return Err(LayerFault::without_crs("`crs: null`, a layer without a CRS")),
        Some(stated) => crs_of(stated).map_err(LayerFault::without_crs)?,
    };

    let schema = builder.schema().clone();
    let available: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
    let position = |name: &str| available.iter().position(|n| n == name);
    let geometry = position(primary).ok_or_else(plain)?;
    let mut wanted = Vec::with_capacity(fields.len());
    for (ours, theirs) in fields {
        let found = position(theirs).filter(|p| *p != geometry);
        wanted.push(found.ok_or_else(|| LayerFault::without_field(ours, theirs, &available))?);
    }
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.iter().copied().chain([geometry]));
    let reader = builder.with_projection(mask).build().map_err(|e| damaged(e.to_string()))?;
    let mut features = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|e| damaged(e.to_string()))?;
        let by_name =
            |p: usize| batch.column_by_name(&available[p]).ok_or_else(|| damaged("a column is missing".into()));
        let shapes = by_name(geometry)?;
        let columns = wanted.iter().map(|p| by_name(*p)).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let values = columns.iter().map(|c| text(c.as_ref(), row)).collect();
            features.push(Feature { number: features.len() + 1, values, geometry: outline(shapes.as_ref(), row) });
        }
    }
    Ok((crs, features))
}

fn crs_of(stated: &Value) -> Result<Crs, String> {
    let id = &stated["id"];
    // CRS84 has no number, so GDAL has no code for it.
    if id["authority"] == "OGC" && id["code"] == "CRS84" {
        return Ok(Crs("OGC:CRS84".into()));
    }
    match stated {
        Value::String(text) => crs_from_text(text),
        json => crs_from_text(&json.to_string()),
    }
}

fn outline(shapes: &dyn Array, row: usize) -> Result<Outline, String> {
    if shapes.is_null(row) {
        return Err("no geometry".into());
    }
    match shapes.data_type() {
        DataType::Binary => outline_from_wkb(shapes.as_binary::<i32>().value(row)),
        DataType::LargeBinary => outline_from_wkb(shapes.as_binary::<i64>().value(row)),
        DataType::BinaryView => outline_from_wkb(shapes.as_binary_view().value(row)),
        other => Err(format!("a geometry column of type {other}, expected binary")),
    }
}

/// A value as people write it: whole numbers without a decimal point, since ids often went through a float column.
fn text(column: &dyn Array, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    let text = match column.data_type() {
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).to_string(),
        DataType::Float32 => column.as_primitive::<Float32Type>().value(row).to_string(),
        _ => ArrayFormatter::try_new(column, &FormatOptions::default()).ok()?.value(row).to_string(),
    };
    let text = text.trim();
    (!text.is_empty() && text != "NaN").then(|| text.to_owned())
}
