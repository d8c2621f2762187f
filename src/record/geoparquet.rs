//! Geometry columns by GeoParquet 1.1: WKB in longitude and latitude (CRS84, the default, so no CRS is written), with a
//! bounding-box covering column.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryBuilder, Float64Array, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use geo::{BoundingRect, MultiPolygon, Rect};
use serde_json::json;

use crate::columnar::field;
use crate::error::{Error, Result};
use crate::gdal_io::wkb;

const CORNERS: [&str; 4] = ["xmin", "ymin", "xmax", "ymax"];

fn box_fields() -> Fields {
    CORNERS.iter().map(|c| field(c, DataType::Float64, false, "degree", "corner of the bounding box")).collect()
}

/// The geometry column and its covering.
pub fn fields(description: &str) -> Vec<Field> {
    vec![
        field(
            "geometry",
            DataType::Binary,
            false,
            "degree",
            &format!("{description}; WKB, longitude and latitude on WGS 84"),
        ),
        field("bbox", DataType::Struct(box_fields()), false, "degree", "bounding box of the geometry"),
    ]
}

/// What the file's `geo` metadata needs to know of all rows.
#[derive(Debug, Default)]
pub struct Extent {
    types: BTreeSet<&'static str>,
    bounds: Option<[f64; 4]>,
}

impl Extent {
    /// Columns of these geometries; remembers their types and extent.
    ///
    /// # Errors
    /// A geometry that cannot be encoded.
    pub fn columns<'a>(&mut self, geometries: impl Iterator<Item = &'a MultiPolygon<f64>>) -> Result<Vec<ArrayRef>> {
        let mut blobs = BinaryBuilder::new();
        let mut corners: [Vec<f64>; 4] = Default::default();
        for geometry in geometries {
            blobs.append_value(wkb(geometry).map_err(|e| Error::Internal(format!("geometry: {e}")))?);
            self.types.insert(if geometry.0.len() == 1 { "Polygon" } else { "MultiPolygon" });
            let rect = geometry.bounding_rect().unwrap_or_else(|| Rect::new((0.0, 0.0), (0.0, 0.0)));
            let values = [rect.min().x, rect.min().y, rect.max().x, rect.max().y];
            corners.iter_mut().zip(values).for_each(|(c, v)| c.push(v));
            let all = self.bounds.get_or_insert(values);
            *all = [all[0].min(values[0]), all[1].min(values[1]), all[2].max(values[2]), all[3].max(values[3])];
        }
        let corners = corners.map(|c| Arc::new(Float64Array::from(c)) as ArrayRef).to_vec();
        let boxes = StructArray::try_new(box_fields(), corners, None).map_err(|e| Error::Internal(e.to_string()))?;
        Ok(vec![Arc::new(blobs.finish()), Arc::new(boxes)])
    }

    /// The `geo` metadata.
    pub fn metadata(&self) -> (&'static str, String) {
        let covering: serde_json::Map<String, serde_json::Value> =
            CORNERS.iter().map(|c| ((*c).to_owned(), json!(["bbox", c]))).collect();
        let mut column = json!({
            "encoding": "WKB",
            "geometry_types": self.types,
            "edges": "planar",
            "covering": { "bbox": covering },
        });
        if let (Some(bounds), Some(object)) = (self.bounds, column.as_object_mut()) {
            object.insert("bbox".into(), json!(bounds));
        }
        let geo = json!({ "version": "1.1.0", "primary_column": "geometry", "columns": { "geometry": column } });
        ("geo", geo.to_string())
    }
}
