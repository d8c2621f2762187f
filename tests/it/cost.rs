//! What a run must not do: decode what no parcel touches, or hold on to scenes that are done.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use gdal::DriverManager;
use gdal::raster::{Buffer, RasterCreationOptions};
use gdal::spatial_ref::SpatialRef;
use serde_json::json;

use crate::support::{PLAIN, Parcel, Project, write_parcels};

const CORNER: (f64, f64) = (500_000.0, 5_000_000.0);

/// A project with one set of rasters of `size` x `size` pixels of 10 m, in blocks, all of it clear vegetation.
fn project(size: usize, block: usize, parcels: &[Parcel]) -> Project {
    let project = Project::new(&PLAIN.replace("[\"ndvi\", \"nbr\"]", "[\"ndvi\"]"));
    fs::create_dir_all(project.path("scenes")).unwrap();
    write_parcels(&project.path("parcels.gpkg"), Some(32652), parcels);
    for (name, value) in [("B04", 300u16), ("B08", 2500), ("SCL", 4)] {
        let blocks = [format!("BLOCKXSIZE={block}"), format!("BLOCKYSIZE={block}")];
        let options = ["TILED=YES", "COMPRESS=DEFLATE", &blocks[0], &blocks[1]];
        let options = RasterCreationOptions::from_iter(options);
        let driver = DriverManager::get_driver_by_name("GTiff").unwrap();
        let path = project.path(&format!("scenes/{name}.tif"));
        let mut target = driver.create_with_band_type_with_options::<u16, _>(path, size, size, 1, &options).unwrap();
        target.set_geo_transform(&[CORNER.0, 10.0, 0.0, CORNER.1, 0.0, -10.0]).unwrap();
        target.set_spatial_ref(&SpatialRef::from_epsg(32652).unwrap()).unwrap();
        // Not constant: equal samples would hide a pixel that landed elsewhere.
        let values = (0..size * size).map(|i| if value == 4 { 4 } else { value + (i % 97) as u16 }).collect();
        let mut buffer = Buffer::new((size, size), values);
        target.rasterband(1).unwrap().write((0, 0), (size, size), &mut buffer).unwrap();
    }
    project
}

/// Items of many days that share the rasters.
fn add_items(project: &Project, n: usize) {
    let asset = |name: &str, common: &str| {
        json!({"href": format!("./{name}.tif"), "eo:bands": [{"name": name, "common_name": common}],
               "raster:bands": [{"nodata": 0, "scale": 0.0001, "offset": 0.0}]})
    };
    for day in 0..n {
        let date = format!("{}-{:02}-{:02}", 2000 + day / 336, day / 28 % 12 + 1, day % 28 + 1);
        let item = json!({
            "type": "Feature", "stac_version": "1.0.0", "id": format!("S2A_{date}"), "collection": "sentinel-2-l2a",
            "geometry": null, "links": [],
            "properties": {"datetime": format!("{date}T02:30:00Z"), "platform": "sentinel-2a", "proj:epsg": 32652},
            "assets": {"B04": asset("B04", "red"), "B08": asset("B08", "nir"),
                       "SCL": {"href": "./SCL.tif", "raster:bands": [{"nodata": 0}]}},
        });
        fs::write(project.path(&format!("scenes/{date}.json")), item.to_string()).unwrap();
    }
}

/// A square: metres to the right of and below the corner.
fn square(right: f64, below: f64, side: f64) -> String {
    let (x0, y0) = (CORNER.0 + right, CORNER.1 - below);
    let (x1, y1) = (x0 + side, y0 - side);
    format!("(({x0} {y0},{x1} {y0},{x1} {y1},{x0} {y1},{x0} {y0}))")
}

#[test]
fn a_parcel_in_far_corners_decodes_the_blocks_of_its_parts_alone() {
    let parts = [square(15.0, 15.0, 40.0), square(4_945.0, 4_945.0, 40.0)];
    let parcel = Parcel::new("apart", &format!("MULTIPOLYGON ({})", parts.join(",")));
    let project = project(512, 32, &[parcel]);
    add_items(&project, 1);
    project.run(&[]).expect(0, &[]);
    // Two blocks of each of three rasters; its box has 256 in each.
    assert_eq!(project.count("blocks_decoded"), 6);
    assert_eq!(project.count("blocks_spared"), 0);
}

/// Highest resident memory of a run, MiB.
fn peak_mib(project: &Project) -> f64 {
    let mut child = project.command("run", &["-q"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0;
    let code = loop {
        // The system keeps the highest value, so that only the last moment is missed.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kib = line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
        peak = kib.unwrap_or(0.0).max(peak);
        if let Some(code) = child.try_wait().unwrap() {
            break code;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(code.success(), "{told}");
    peak / 1024.0
}

#[test]
fn memory_does_not_grow_with_the_number_of_scenes() {
    if !fs::exists("/proc/self/status").unwrap_or(false) {
        eprintln!("skipped: this system does not tell how much memory a process used");
        return;
    }
    let whole = Parcel::new("whole", &format!("POLYGON {}", square(0.0, 0.0, 2_560.0)));
    let peak = |scenes: usize| {
        let project = project(256, 256, std::slice::from_ref(&whole));
        project.write(
            "project.toml",
            &(fs::read_to_string(project.path("project.toml")).unwrap() + "\n[engine]\nthreads = 2\n"),
        );
        add_items(&project, scenes);
        let peak = peak_mib(&project);
        assert_eq!(project.count("observations"), scenes as u64);
        peak
    };
    let (few, many) = (peak(10), peak(210));
    // A scene has 65,536 footprint pixels of 5 bytes and decoded blocks of 384 KiB: kept, 200 more would be 140 MiB.
    assert!(many - few < 30.0, "{few:.0} MiB with 10 scenes, {many:.0} MiB with 210");
}
