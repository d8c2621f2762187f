//! Sentinel-2 scenes of a made-up landscape: what is on the ground is a function of longitude and latitude, so that rasters in
//! any map zone show the same place, and the expected values are known without a raster.

use std::fs;
use std::path::Path;

use gdal::DriverManager;
use gdal::raster::Buffer;
use gdal::spatial_ref::{AxisMappingStrategy, CoordTransform, SpatialRef};
use serde_json::json;

/// Reflectance of red and near infrared, and scene class.
pub type Ground = (f64, f64, u8);

pub const VEGETATION: u8 = 4;

/// A raster's place: EPSG code of its CRS, upper left corner and size in pixels of 10 m; both even.
#[derive(Clone, Copy)]
pub struct Frame {
    pub epsg: u32,
    pub corner: (f64, f64),
    pub cols: usize,
    pub rows: usize,
}

fn srs(epsg: u32) -> SpatialRef {
    let mut srs = SpatialRef::from_epsg(epsg).unwrap();
    srs.set_axis_mapping_strategy(AxisMappingStrategy::TraditionalGisOrder);
    srs
}

/// From one CRS to another, x before y and longitude before latitude.
pub fn transform(from: u32, to: u32, points: &mut [(f64, f64)]) {
    let t = CoordTransform::new(&srs(from), &srs(to)).unwrap();
    let (mut x, mut y): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    t.transform_coords(&mut x, &mut y, &mut []).unwrap();
    points.iter_mut().zip(x.into_iter().zip(y)).for_each(|(p, q)| *p = q);
}

impl Frame {
    /// A frame whose upper left corner is so far (east, north, metres) of a place, on the pixel lattice of Sentinel-2.
    pub fn near(epsg: u32, place: (f64, f64), offset: (f64, f64), cols: usize, rows: usize) -> Frame {
        let mut p = [place];
        transform(4326, epsg, &mut p);
        let snap = |v: f64| (v / 20.0).round() * 20.0;
        Frame { epsg, corner: (snap(p[0].0 + offset.0), snap(p[0].1 + offset.1)), cols, rows }
    }

    /// Longitude and latitude of pixel centres, pixels of `size` times 10 m.
    fn centres(&self, size: usize) -> Vec<(f64, f64)> {
        let m = 10.0 * size as f64;
        let (cols, rows) = (self.cols / size, self.rows / size);
        let centre =
            |i: usize| (self.corner.0 + ((i % cols) as f64 + 0.5) * m, self.corner.1 - ((i / cols) as f64 + 0.5) * m);
        let mut points: Vec<(f64, f64)> = (0..cols * rows).map(centre).collect();
        transform(self.epsg, 4326, &mut points);
        points
    }

    fn write<T: gdal::raster::GdalType + Copy>(&self, path: &Path, size: usize, values: Vec<T>) {
        let (cols, rows) = (self.cols / size, self.rows / size);
        let driver = DriverManager::get_driver_by_name("GTiff").unwrap();
        let mut target = driver.create_with_band_type::<T, _>(path, cols, rows, 1).unwrap();
        let m = 10.0 * size as f64;
        target.set_geo_transform(&[self.corner.0, m, 0.0, self.corner.1, 0.0, -m]).unwrap();
        target.set_spatial_ref(&srs(self.epsg)).unwrap();
        let mut buffer = Buffer::new((cols, rows), values);
        target.rasterband(1).unwrap().write((0, 0), (cols, rows), &mut buffer).unwrap();
    }

    /// Writes a scene as a STAC Item with B04, B08 (10 m) and SCL (20 m) into a folder of its id.
    pub fn scene(&self, scenes: &Path, id: &str, datetime: &str, ground: impl Fn(f64, f64) -> Ground) {
        let folder = scenes.join(id);
        fs::create_dir_all(&folder).unwrap();
        let fine: Vec<Ground> = self.centres(1).into_iter().map(|(lon, lat)| ground(lon, lat)).collect();
        let dn = |v: f64| (v * 1e4).round() as u16;
        self.write(&folder.join("B04.tif"), 1, fine.iter().map(|g| dn(g.0)).collect());
        self.write(&folder.join("B08.tif"), 1, fine.iter().map(|g| dn(g.1)).collect());
        let classes = self.centres(2).into_iter().map(|(lon, lat)| ground(lon, lat).2).collect();
        self.write::<u8>(&folder.join("SCL.tif"), 2, classes);
        let band = |name: &str| json!({ "href": format!("./{name}.tif"), "raster:bands": [{ "nodata": 0, "scale": 1e-4, "offset": 0 }] });
        let item = json!({
            "type": "Feature", "stac_version": "1.0.0", "id": id, "geometry": null, "links": [],
            "properties": { "datetime": datetime, "platform": "sentinel-2a" },
            "assets": { "B04": band("B04"), "B08": band("B08"), "SCL": { "href": "./SCL.tif" } },
        });
        fs::write(folder.join("item.json"), item.to_string()).unwrap();
    }
}
