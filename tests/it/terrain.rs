//! `terrain = "scs_c"`: slopes as if they were level, through the whole program. Expected values are made here, by angles and
//! in two passes, of the elevations and the pixels that were written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gdal::DriverManager;
use gdal::raster::Buffer;
use gdal::spatial_ref::{AxisMappingStrategy, CoordTransform, SpatialRef};
use lintan::config::Settings;
use lintan::cube::relief::Relief;
use lintan::cube::{Batch, BatchParcel, Pixels, View};
use lintan::digest::Sha256;
use lintan::engine::plan::plan;
use lintan::engine::terrain;
use lintan::geo::lattice::Lattice;
use lintan::geo::{Crs, Footprint, Grid, Span};
use lintan::imagery::Band;
use lintan::imagery::angles::{AngleGrid, Angles};
use lintan::imagery::brdf::c_factor;
use lintan::record::store::Inputs;
use serde_json::{Value, json};

use crate::support::{
    LANDSAT_7, PLAIN, Parcel, Project, SAFE_NEW, assert_same, files, quarantine, read_table, tables, write_parcels,
};

const SIZE: usize = 100;
const PIXEL_M: f64 = 20.0;
/// Pixels that the elevations reach beyond the scene.
const MARGIN: usize = 5;
const ORIGIN: (f64, f64) = (5_271_982.576_551_932, 2_533_004.214_915_185_7);
const SUN_ELEVATION_DEG: f64 = 35.0;

fn config(more: &str) -> String {
    PLAIN
        .replace("[\"ndvi\", \"nbr\"]", "[\"ndvi\", \"evi2\"]")
        .replace("[output]", &format!("pixel_m = 20\nterrain = \"scs_c\"\ndem = \"dem.tif\"\n{more}\n\n[output]"))
}

fn srs(code: u32) -> SpatialRef {
    let mut srs = SpatialRef::from_epsg(code).unwrap();
    srs.set_axis_mapping_strategy(AxisMappingStrategy::TraditionalGisOrder);
    srs
}

fn write<T: gdal::raster::GdalType + Copy>(
    path: &Path,
    origin: (f64, f64),
    pixel: f64,
    size: (usize, usize),
    epsg: Option<u32>,
    data: Vec<T>,
) {
    let driver = DriverManager::get_driver_by_name("GTiff").unwrap();
    let mut dataset = driver.create_with_band_type::<T, _>(path, size.0, size.1, 1).unwrap();
    dataset.rasterband(1).unwrap().write((0, 0), size, &mut Buffer::new(size, data)).unwrap();
    if let Some(code) = epsg {
        dataset.set_spatial_ref(&srs(code)).unwrap();
    }
    dataset.set_geo_transform(&[origin.0, pixel, 0.0, origin.1, 0.0, -pixel]).unwrap();
}

/// Hills with slopes up to some 40 degrees in the west, a plain in the east; columns and rows of the scene.
fn hills(col: isize, row: isize) -> f32 {
    let (x, y) = (col as f64 * PIXEL_M, row as f64 * PIXEL_M);
    let share = ((85.0 - col as f64) / 20.0).clamp(0.0, 1.0);
    (500.0 + share * (70.0 * (x / 130.0).sin() + 90.0 * (y / 170.0 + 0.3).cos() + 0.05 * x)) as f32
}

/// Elevations over columns `from` to the eastern margin.
fn write_dem(path: &Path, from: isize, height: impl Fn(isize, isize) -> f32) {
    let (margin, size) = (MARGIN as isize, (SIZE + MARGIN) as isize);
    let data = (-margin..size).flat_map(|r| (from..size).map(move |c| (c, r))).map(|(c, r)| height(c, r)).collect();
    let origin = (ORIGIN.0 + from as f64 * PIXEL_M, ORIGIN.1 + margin as f64 * PIXEL_M);
    write(path, origin, PIXEL_M, ((size - from) as usize, (size + margin) as usize), Some(3035), data);
}

/// Slope and aspect from true north, degrees, of a pixel.
struct Slopes {
    to_lon_lat: CoordTransform,
}

impl Slopes {
    fn new(epsg: u32) -> Self {
        Slopes { to_lon_lat: CoordTransform::new(&srs(epsg), &srs(4326)).unwrap() }
    }

    /// Grid north, clockwise from true north: a short step on the ellipsoid, by its radii of curvature.
    fn north(&self, x: f64, y: f64) -> f64 {
        let (mut xs, mut ys) = ([x, x], [y, y + 20.0]);
        self.to_lon_lat.transform_coords(&mut xs, &mut ys, &mut []).unwrap();
        let (a, e2): (f64, f64) = (6_378_137.0, 0.006_694_379_990_14);
        let lat = ys[0].to_radians();
        let w = 1.0 - e2 * lat.sin().powi(2);
        let (east, north) =
            ((xs[1] - xs[0]) * lat.cos() * a / w.sqrt(), (ys[1] - ys[0]) * a * (1.0 - e2) / w.powf(1.5));
        east.atan2(north).to_degrees()
    }

    fn at(&self, col: usize, row: usize, height: impl Fn(isize, isize) -> f32) -> (f64, f64) {
        let z = |dc: isize, dr: isize| f64::from(height(col as isize + dc, row as isize + dr));
        let east = ((z(1, -1) + 2.0 * z(1, 0) + z(1, 1)) - (z(-1, -1) + 2.0 * z(-1, 0) + z(-1, 1))) / (8.0 * PIXEL_M);
        let north = ((z(-1, -1) + 2.0 * z(0, -1) + z(1, -1)) - (z(-1, 1) + 2.0 * z(0, 1) + z(1, 1))) / (8.0 * PIXEL_M);
        let (x, y) = (ORIGIN.0 + (col as f64 + 0.5) * PIXEL_M, ORIGIN.1 - (row as f64 + 0.5) * PIXEL_M);
        (east.hypot(north).atan().to_degrees(), (-east).atan2(-north).to_degrees() + self.north(x, y))
    }
}

/// Light on every pixel of the scene: slope and cosine of the incidence angle.
fn lights(sun_azimuth_deg: f64, height: impl Fn(isize, isize) -> f32 + Copy) -> Vec<(f64, f64)> {
    let slopes = Slopes::new(3035);
    let (ts, phi) = ((90.0 - SUN_ELEVATION_DEG).to_radians(), sun_azimuth_deg.to_radians());
    (0..SIZE * SIZE)
        .map(|i| {
            let (slope, aspect) = slopes.at(i % SIZE, i / SIZE, height);
            let (a, aspect) = (slope.to_radians(), aspect.to_radians());
            (slope, ts.cos() * a.cos() + ts.sin() * a.sin() * (phi - aspect).cos())
        })
        .collect()
}

/// Digital numbers of 1e-5, red and near infrared, of one and the same canopy: C of 0.5 and 0.7.
fn canopy(cos_i: f64) -> (u16, u16) {
    let dn = |a: f64, c: f64| (1e5 * a * (cos_i.max(0.0) + c)).round() as u16;
    (dn(0.08, 0.5), dn(0.25, 0.7))
}

fn properties(sun_azimuth_deg: f64) -> Value {
    json!({"view:sun_elevation": SUN_ELEVATION_DEG, "view:sun_azimuth": sun_azimuth_deg,
        "view:incidence_angle": 8, "view:azimuth": sun_azimuth_deg + 120.0})
}

fn add_scene(project: &Project, id: &str, day: &str, properties: &Value, dn: impl Fn(usize) -> (u16, u16)) {
    let folder = project.path("scenes").join(id);
    fs::create_dir_all(&folder).unwrap();
    let raster = |name: &str, value: &dyn Fn(usize) -> u16| {
        let data: Vec<u16> = (0..SIZE * SIZE).map(value).collect();
        write(&folder.join(name), ORIGIN, PIXEL_M, (SIZE, SIZE), Some(3035), data);
    };
    raster("B04.tif", &|i| dn(i).0);
    raster("B8A.tif", &|i| dn(i).1);
    raster("SCL.tif", &|i| if dn(i).0 == 0 { 0 } else { 4 });
    let band = |name: &str| {
        json!({"href": format!("{name}.tif"), "eo:bands": [{"name": name}],
            "raster:bands": [{"scale": 1e-5, "offset": 0, "nodata": 0, "spatial_resolution": 20}]})
    };
    let mut item = json!({"type": "Feature", "stac_version": "1.0.0", "id": id,
        "properties": {"datetime": day, "platform": "sentinel-2a", "s2:processing_baseline": "02.00"},
        "assets": {"B04": band("B04"), "B8A": band("B8A"), "SCL": {"href": "SCL.tif"}}});
    item["properties"].as_object_mut().unwrap().extend(properties.as_object().unwrap().clone());
    fs::write(folder.join("item.json"), item.to_string()).unwrap();
}

/// Parcels of whole pixels: name, first column and row, pixels a side.
fn squares() -> Vec<(String, usize, usize, usize)> {
    let mut all = vec![("big".to_owned(), 5, 5, 70), ("plain".to_owned(), 90, 30, 8)];
    all.extend((0..30).map(|k| (format!("one{k:02}"), 6 + (k * 17) % 67, 8 + (k * 29) % 63, 1)));
    all
}

fn square((name, col, row, size): &(String, usize, usize, usize)) -> Parcel {
    Parcel::square(name, *col as f64 * PIXEL_M, *row as f64 * PIXEL_M, *size as f64 * PIXEL_M)
}

fn pixels((_, col, row, size): &(String, usize, usize, usize)) -> Vec<usize> {
    (*row..row + size).flat_map(|r| (*col..col + size).map(move |c| r * SIZE + c)).collect()
}

/// A project with hills under one canopy, two scenes with the sun on two sides.
fn project(more: &str) -> Project {
    let project = Project::new(&config(more));
    project.parcels(&squares().iter().map(square).collect::<Vec<_>>());
    write_dem(&project.path("dem.tif"), -(MARGIN as isize), hills);
    for (id, day, azimuth) in [("a", "2018-07-01T09:20:00Z", 140.0), ("b", "2020-07-05T09:20:00Z", 210.0)] {
        let light = lights(azimuth, hills);
        add_scene(&project, id, day, &properties(azimuth), |i| canopy(light[i].1));
    }
    project
}

/// Means in observations, by parcel, scene and index.
fn means(project: &Project) -> BTreeMap<(String, String, String), f64> {
    let folder = project.out().join("tables");
    let mut all = BTreeMap::new();
    for file in files(&folder).into_keys().filter(|f| f.starts_with("observations")) {
        let (head, rows) = read_table(&folder.join(file));
        let at = |name: &str| head.iter().position(|h| h == name).unwrap();
        for r in rows {
            let key = [at("parcel_id"), at("scene_id"), at("index")].map(|c| r[c].clone());
            all.insert(key.into(), r[at("mean")].parse().unwrap_or(f64::NAN));
        }
    }
    all
}

/// Straight line by two passes: C.
fn c_of(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (mx, my) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let (xy, xx) = points.iter().fold((0.0, 0.0), |(a, b), p| (a + (p.0 - mx) * (p.1 - my), b + (p.0 - mx).powi(2)));
    let m = xy / xx;
    (my - m * mx) / m
}

/// What the tables must hold for a scene, given what comes before the correction: red and near infrared of a pixel.
fn expected(light: &[(f64, f64)], before: impl Fn(usize) -> [f64; 2]) -> (BTreeMap<String, [f64; 2]>, [f64; 2], usize) {
    let all: Vec<usize> = squares().iter().flat_map(pixels).collect();
    let lit: Vec<usize> = all.iter().copied().filter(|i| light[*i].0 > 2.0 && light[*i].1 >= 0.1).collect();
    let c = [0, 1].map(|b| c_of(&lit.iter().map(|i| (light[*i].1, before(*i)[b])).collect::<Vec<_>>()));
    let ts = (90.0 - SUN_ELEVATION_DEG).to_radians();
    let corrected = |i: usize| -> Option<[f64; 2]> {
        let (slope, cos_i) = light[i];
        let factor = |b: usize| (slope.to_radians().cos() * ts.cos() + c[b]) / (cos_i + c[b]);
        match slope {
            s if s <= 2.0 => Some(before(i)),
            _ if cos_i < 0.1 => None,
            _ => Some([0, 1].map(|b| before(i)[b] * factor(b))),
        }
    };
    let index = |[r, n]: [f64; 2]| [(n - r) / (n + r), 2.5 * (n - r) / (n + 2.4 * r + 1.0)];
    let mean = |s: &(String, usize, usize, usize)| {
        let values: Vec<[f64; 2]> = pixels(s).into_iter().filter_map(corrected).map(index).collect();
        let mean = |k: usize| values.iter().map(|v| v[k]).sum::<f64>() / values.len() as f64;
        (s.0.clone(), [mean(0), mean(1)])
    };
    let shaded = all.iter().filter(|i| light[**i].0 > 2.0 && light[**i].1 < 0.1).count();
    (squares().iter().map(mean).collect(), c, shaded)
}

fn check(project: &Project, scene: &str, azimuth: f64, before: impl Fn((u16, u16)) -> [f64; 2]) -> [f64; 2] {
    let light = lights(azimuth, hills);
    let (expected, c, shaded) = expected(&light, |i| before(canopy(light[i].1)));
    let found = means(project);
    for (parcel, values) in &expected {
        for (index, value) in ["ndvi", "evi2"].into_iter().zip(values) {
            let found = found[&(parcel.clone(), scene.to_owned(), index.to_owned())];
            assert!(
                (found - value).abs() < 2e-6 || (found.is_nan() && value.is_nan()),
                "{parcel} {scene} {index}: {found}, expected {value}"
            );
        }
    }
    assert!(expected["big"].iter().all(|v| v.is_finite()) && expected.values().filter(|v| v[0].is_nan()).count() < 10);
    let record = project.record();
    let told = record["scenes"].as_array().unwrap().iter().find(|s| s["scene_id"] == scene).unwrap();
    assert!(shaded > 20);
    assert_eq!(told["pixels_by_class"]["shaded"].as_u64(), Some(shaded as u64));
    for (layer, c) in ["red", "nir"].into_iter().zip(c) {
        let layers = told["terrain"]["layers"].as_array().unwrap();
        let told = layers.iter().find(|l| l["layer"] == layer).unwrap();
        assert!((told["c"].as_f64().unwrap() - c).abs() < 2e-5, "{told}, expected {c}");
        assert!(told["pixels"].as_u64().unwrap() > 4000 && told["r2"].as_f64().unwrap() > 0.9999, "{told}");
    }
    assert_eq!(told["terrain"]["told_by"], "scene");
    c
}

#[test]
fn one_canopy_looks_alike_on_every_slope() {
    let project = project("");
    project.run(&[]);
    for (scene, azimuth) in [("a", 140.0), ("b", 210.0)] {
        let c = check(&project, scene, azimuth, |(r, n)| [f64::from(r) * 1e-5, f64::from(n) * 1e-5]);
        assert!((c[0] - 0.5).abs() < 1e-3 && (c[1] - 0.7).abs() < 1e-3, "what the canopy was made with: {c:?}");
    }
    // A pixel on a slope, under two suns: the same, and not so without the correction. What is left is the rounding of 1e-5.
    let corrected = means(&project);
    project.edit("project.toml", "\"scs_c\"", "\"none\"");
    project.run(&[]);
    let plain = means(&project);
    let apart = |all: &BTreeMap<(String, String, String), f64>| {
        let of = |k: usize, s: &str| all[&(format!("one{k:02}"), s.to_owned(), "evi2".to_owned())];
        (0..30).map(|k| (of(k, "a") - of(k, "b")).abs()).filter(|d| d.is_finite()).fold(0.0, f64::max)
    };
    assert!(apart(&plain) > 0.05 && apart(&corrected) < 1e-3, "{} {}", apart(&plain), apart(&corrected));
    assert!(project.record()["scenes"][0].get("terrain").is_none());
    let plain_of = |s: &str| ("plain".to_owned(), s.to_owned(), "evi2".to_owned());
    assert_eq!(plain[&plain_of("a")], corrected[&plain_of("a")], "level ground stays as it is");
}

/// First bandpass, then view angle, then slopes: C is that of the values that it corrects.
#[test]
fn it_comes_after_bandpass_and_view_angle() {
    let project = project("bandpass = \"hls\"\nnbar = true");
    project.run(&[]);
    let factor = |band| c_factor(band, 90.0 - SUN_ELEVATION_DEG, 8.0, 120.0);
    for (scene, azimuth) in [("a", 140.0), ("b", 210.0)] {
        check(&project, scene, azimuth, |(r, n)| {
            let (r, n) = (f64::from(r) * 1e-5, f64::from(n) * 1e-5);
            [(r * 0.9765 + 0.0009) * factor(Band::Red), (n * 0.9983 - 0.0001) * factor(Band::Nir)]
        });
    }
    let record = project.record();
    let citations = record["citations"].to_string();
    assert!(citations.contains("terrain scs_c: Soenen, Peddle and Coburn 2005, IEEE"), "{citations}");
    assert!(record["inputs"].to_string().contains("dem.tif"));
}

/// Two scenes of one pass complete each other pixel by pixel, from the cube; change methods read pixels through time.
#[test]
fn merged_observations_and_pixels_through_time_are_corrected() {
    let whole = project("");
    whole.run(&[]);
    let expected = means(&whole)[&("big".to_owned(), "a".to_owned(), "evi2".to_owned())];
    let halves = project("");
    fs::remove_dir_all(halves.path("scenes/a")).unwrap();
    let light = lights(140.0, hills);
    for (id, second, west) in [("a", 0, true), ("c", 1, false)] {
        let day = format!("2018-07-01T09:20:0{second}Z");
        let dn = |i: usize| if (i % SIZE < 40) == west { canopy(light[i].1) } else { (0, 0) };
        add_scene(&halves, id, &day, &properties(140.0), dn);
    }
    halves.run(&[]);
    let found: Vec<f64> = means(&halves)
        .into_iter()
        .filter(|((p, s, i), _)| p == "big" && s != "b" && i == "evi2")
        .map(|(_, v)| v)
        .collect();
    // Each half has a C of its own, nearly the same.
    assert!(found.len() == 1 && (found[0] - expected).abs() < 1e-4, "{found:?}, expected {expected}");

    let change = "[change.two_date]\nindex = \"evi2\"\nbefore = [\"2018-06-01\", \"2018-09-30\"]\n\
                  after = [\"2020-06-01\", \"2020-09-30\"]\nmin_drop = 0.02\n\n[output]";
    whole.edit("project.toml", "[output]", change);
    whole.run(&[]);
    assert_eq!(whole.count("disturbances"), 0);
    whole.edit("project.toml", "\"scs_c\"", "\"none\"");
    whole.run(&[]);
    assert!(whole.count("disturbances") > 0, "light that moved looks like loss");
}

#[test]
fn other_elevations_and_other_parcels_fit_again_and_decode_nothing() {
    let project = project("");
    let (first, rest) = (squares()[..20].to_vec(), squares());
    project.parcels(&first.iter().map(square).collect::<Vec<_>>());
    project.run(&[]);
    let few = project.tables();
    let decoded = |project: &Project| project.count("blocks_decoded");
    assert!(decoded(&project) > 0);
    project.run(&[]);
    assert_eq!(project.count("tasks"), 0);

    write_dem(&project.path("dem.tif"), -(MARGIN as isize), |c, r| 0.8 * hills(c, r));
    project.run(&[]);
    assert_eq!((project.count("tasks"), decoded(&project)), (2, 0));
    let lower = project.tables();
    assert_ne!(lower, few);
    write_dem(&project.path("dem.tif"), -(MARGIN as isize), hills);
    project.run(&[]);
    assert_eq!(
        (project.count("tasks"), decoded(&project)),
        (0, 0),
        "what was made of the first elevations is still there"
    );
    assert_same(&project.tables(), &few, "the first elevations again");
    // Where they lie is no matter.
    fs::copy(project.path("dem.tif"), project.path("moved.tif")).unwrap();
    project.edit("project.toml", "dem.tif", "moved.tif");
    project.run(&[]);
    assert_eq!(project.count("tasks"), 0);

    // More parcels, on the store and from nothing, with one thread and with four.
    project.parcels(&rest.iter().map(square).collect::<Vec<_>>());
    project.run(&[]);
    let more = project.tables();
    for threads in ["1", "4"] {
        let out = project.path(threads);
        project.run(&["--out", out.to_str().unwrap(), "--threads", threads]);
        assert_same(&tables(&out), &more, threads);
    }
    // Fewer again: those that are gone count for nothing.
    project.parcels(&first.iter().map(square).collect::<Vec<_>>());
    project.run(&[]);
    assert_eq!(decoded(&project), 0);
    assert_same(&project.tables(), &few, "fewer again");
}

#[test]
fn scenes_that_cannot_be_corrected_are_set_aside() {
    let project = project("");
    let light = lights(140.0, hills);
    let day = |n: u32| format!("2018-07-{n:02}T09:20:00Z");
    add_scene(&project, "against", &day(5), &properties(140.0), |i| canopy(1.2 - light[i].1));
    add_scene(&project, "black", &day(6), &properties(140.0), |i| {
        let dn = |a: f64| (1e5 * a * (light[i].1 - 0.05)).max(1.0) as u16;
        (dn(0.08), dn(0.25))
    });
    let none = json!({"view:incidence_angle": 8, "view:azimuth": 100});
    add_scene(&project, "sunless", &day(7), &none, |i| canopy(light[i].1));
    // 60 pixels on slopes, and the plain.
    let few = |i: usize| if i % SIZE > 85 || (i / SIZE == 20 && i % SIZE < 65) { canopy(light[i].1) } else { (0, 0) };
    add_scene(&project, "few", &day(8), &properties(140.0), few);
    // The plain alone: nothing to correct.
    let level = |i: usize| if i % SIZE > 86 { canopy(light[i].1) } else { (0, 0) };
    add_scene(&project, "level", &day(9), &properties(140.0), level);
    for _ in 0..2 {
        project.lintan("run", &[]).expect(3, &[]);
        let aside = quarantine(&project.out());
        let told: Vec<[&str; 3]> = aside.iter().map(|a| [&*a.id, &*a.stage, &*a.reason]).collect();
        let unusable = |id| [id, "extract", "unusable_terrain"];
        assert_eq!(
            told,
            [unusable("against"), unusable("black"), unusable("few"), ["sunless", "catalog", "bad_metadata"]]
        );
        for (a, part) in
            aside.iter().zip(["found reflectance -", "+ -0.0", "found 60 clear pixels", "view:sun_elevation"])
        {
            assert!(a.message.contains(part) && a.message.contains("`terrain = \"none\"`"), "{}", a.message);
        }
    }
    let found = means(&project);
    assert!(found[&("plain".to_owned(), "level".to_owned(), "ndvi".to_owned())].is_finite());
    let record = project.record();
    let level = record["scenes"].as_array().unwrap().iter().find(|s| s["scene_id"] == "level").unwrap();
    assert_eq!(level["terrain"]["layers"][0]["pixels"], 0, "{level}");
    assert!(!found.keys().any(|(_, scene, _)| ["against", "black", "few", "sunless"].contains(&&**scene)));
}

#[test]
fn parcels_beyond_the_elevations_are_told_and_not_used() {
    let project = project("");
    // From column 30 on: the first slope is that of column 31.
    write_dem(&project.path("dem.tif"), 30, hills);
    project.parcels(&[Parcel::square("west", 200.0, 200.0, 300.0), square(&("across".to_owned(), 20, 20, 50))]);
    project
        .lintan("run", &[])
        .expect(3, &["parcel west [outside_dem", "found no elevations under any of its 225 pixels"]);
    let record = project.record();
    assert_eq!(record["scenes"][0]["pixels_by_class"]["no_elevation"], 225 + 50 * 11, "{}", record["scenes"][0]);
    let notes = record["notes"].as_array().unwrap();
    assert!(notes.iter().any(|n| n["topic"] == "elevation" && n["parcels"] == json!(["across"])), "{notes:?}");
    let found = means(&project);
    let of = |parcel: &str| found[&(parcel.to_owned(), "a".to_owned(), "ndvi".to_owned())];
    assert!(of("west").is_nan() && of("across").is_finite());
    // A hole that is declared is one; the next run says the same.
    let first = project.tables();
    project.lintan("run", &[]).expect(3, &["parcel west [outside_dem"]);
    assert_same(&project.tables(), &first, "again");
    assert_eq!(project.record()["notes"], record["notes"]);
}

#[test]
fn elevations_that_cannot_be_used_stop_the_run() {
    let project = project("");
    let refuse = |parts: &[&str]| {
        for command in ["run", "check"] {
            project.lintan(command, &[]).expect(2, &[&["dem.tif", "observe.dem"], parts].concat());
        }
    };
    let dem = project.path("dem.tif");
    let whole = fs::read(&dem).unwrap();
    fs::remove_file(&dem).unwrap();
    refuse(&["no such file", "correct `dem`"]);
    fs::write(&dem, b"not a raster").unwrap();
    refuse(&["a file that cannot be read"]);
    let small = |epsg| write(&dem, ORIGIN, PIXEL_M, (9, 9), epsg, vec![1.0f32; 81]);
    small(None);
    refuse(&["a raster without a CRS", "gdal_translate -a_srs"]);
    let head = "<VRTDataset rasterXSize=\"2\" rasterYSize=\"2\"><SRS>EPSG:3035</SRS><GeoTransform>0,1,0,0,0,-1\
                </GeoTransform><VRTRasterBand dataType=\"Float32\" band=\"1\">";
    let virtual_raster = format!("{head}<UnitType>ft</UnitType></VRTRasterBand></VRTDataset>");
    project.write("feet.vrt", &virtual_raster);
    let driver = DriverManager::get_driver_by_name("GTiff").unwrap();
    let feet = gdal::Dataset::open(project.path("feet.vrt")).unwrap();
    feet.create_copy(&driver, &dem, &gdal::raster::RasterCreationOptions::default()).unwrap().close().unwrap();
    refuse(&["elevations in \"ft\"", "metres"]);
    fs::write(&dem, virtual_raster).unwrap();
    refuse(&["a virtual raster", "gdal_translate"]);

    // What only the pixels tell.
    fs::write(&dem, &whole[..whole.len() / 2]).unwrap();
    project.lintan("run", &[]).expect(2, &["dem.tif", "cannot be brought to the scenes' grid", "truncated"]);
    write_dem(&dem, -5, |c, r| if c == 40 && r == 40 { -32768.0 } else { hills(c, r) });
    project.lintan("run", &[]).expect(2, &["which is no elevation", "-a_nodata"]);
    let declared = gdal::Dataset::open_ex(
        &dem,
        gdal::DatasetOptions { open_flags: gdal::GdalOpenFlags::GDAL_OF_UPDATE, ..Default::default() },
    );
    declared.unwrap().rasterband(1).unwrap().set_no_data_value(Some(-32768.0)).unwrap();
    project.run(&[]);
    // The hole takes its neighbours' slopes along. The parcel is one, and the single pixels are not there.
    assert_eq!(project.record()["scenes"][0]["pixels_by_class"]["no_elevation"], 9);
    fs::write(&dem, &whole).unwrap();
    project.run(&[]);
}

/// Products tell the sun themselves: Sentinel-2 at the corners of the tile or in its mean, Landsat in its mean.
#[test]
fn the_sun_is_that_of_the_product() {
    let with = |project: &Project, epsg: u32| {
        // Level ground around, so that nothing is corrected, and only the sun is of interest.
        let data = vec![100.0f32; 4];
        let origin = if epsg == 4326 { (-180.0, 90.0) } else { ORIGIN };
        write(&project.path("dem.tif"), origin, 90.0, (4, 2), Some(epsg), [data.clone(), data].concat());
        project.edit("project.toml", "[output]", "terrain = \"scs_c\"\ndem = \"dem.tif\"\n\n[output]");
        project.run(&[]);
        let record = project.record();
        assert!(record["scenes"][0]["pixels_by_class"].get("no_elevation").is_none(), "{}", record["scenes"][0]);
        record["scenes"][0]["terrain"].clone()
    };
    let plain = PLAIN.replace("[\"ndvi\", \"nbr\"]", "[\"ndvi\"]");
    let found = with(&Project::products(&plain, &[SAFE_NEW]), 4326);
    assert_eq!((&found["told_by"], &found["layers"][0]["c"]), (&json!("scene"), &Value::Null));
    assert!((found["sun"]["zenith_deg"].as_f64().unwrap() - 42.26).abs() < 0.01, "{found}");
    let found = with(&Project::products(&plain, &[LANDSAT_7]), 4326);
    assert!((found["sun"]["zenith_deg"].as_f64().unwrap() - (90.0 - 46.263_004_1)).abs() < 1e-9, "{found}");
    assert!((found["sun"]["azimuth_deg"].as_f64().unwrap() - 148.298_487_79).abs() < 1e-9, "{found}");

    let gone = Project::products(&plain, &[LANDSAT_7]);
    gone.edit(&format!("scenes/{LANDSAT_7}/{LANDSAT_7}_MTL.txt"), "SUN_AZIMUTH", "SUN_AZIMUT");
    write(&gone.path("dem.tif"), (-180.0, 90.0), 90.0, (4, 2), Some(4326), vec![100.0f32; 8]);
    gone.edit("project.toml", "[output]", "terrain = \"scs_c\"\ndem = \"dem.tif\"\n\n[output]");
    gone.lintan("run", &[]).expect(1, &["found no SUN_AZIMUTH", "set `terrain = \"none\"`"]);
}

/// Against the gdaldem program, which knows grid north alone: 3 degrees beside the centre of a zone the two norths lie two
/// degrees apart.
#[test]
fn slope_and_aspect_are_those_of_gdaldem() {
    if Command::new("gdaldem").arg("--version").output().is_err() {
        println!("skipped: gdaldem is not there");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dem = folder.path().join("dem.tif");
    let (size, origin) = (340usize, (738_000.0, 5_100_000.0));
    let data: Vec<f32> = (0..size * size).map(|i| hills((i % size) as isize % 65, (i / size) as isize)).collect();
    write(&dem, origin, PIXEL_M, (size, size), Some(32634), data);
    let made = ["slope", "aspect"].map(|what| {
        let path = folder.path().join(format!("{what}.tif"));
        let mut command = Command::new("gdaldem");
        command.arg(what).arg(&dem).arg(&path).arg("-q");
        assert!(command.status().unwrap().success());
        let dataset = gdal::Dataset::open(path).unwrap();
        dataset.rasterband(1).unwrap().read_as::<f32>((0, 0), (size, size), (size, size), None).unwrap()
    });
    let n = size as u32;
    let grid = Grid {
        crs: Crs("EPSG:32634".into()),
        x_min: origin.0,
        y_max: origin.1,
        pixel_x_m: PIXEL_M,
        pixel_y_m: PIXEL_M,
        rows: n,
        cols: n,
    };
    let lattice = Lattice::of(&grid);
    let w = lattice.window(&grid).unwrap();
    let spans = (0..n).map(|r| Span { row: w.row + r, col: w.col, len: n }).collect();
    let footprint = Footprint::from_parts(spans, Vec::new()).unwrap();
    let batch = Batch::new(vec![BatchParcel::new("p".into(), Sha256::of(b"p"), footprint)]);
    lintan::run::start();
    let relief = Relief::of(&batch, &lattice, &dem, &AtomicBool::new(false)).unwrap();
    // A sun at the corners of a tile is taken at each pixel's own place.
    let parts = |zenith: f64, azimuth: f64| {
        let (zenith, azimuth) = (zenith.to_radians(), azimuth.to_radians());
        [(zenith.sin() * azimuth.sin()) as f32, (zenith.sin() * azimuth.cos()) as f32]
    };
    let tile = AngleGrid {
        origin,
        step: (4000.0, 4000.0),
        cols: 2,
        sun: [parts(50.0, 150.0), parts(53.0, 152.0), parts(51.0, 160.0), parts(55.0, 165.0)],
        view: vec![[0.0, 0.0]; 4],
    };
    let angles = Angles::Grid(tile);
    let sky = angles.sky(&Err(String::new())).unwrap();
    let batch = Arc::new(batch);
    let view = View::new(&batch, &w, |_| true);
    let class = vec![0; size * size];
    let (factors, lighting) = (Default::default(), Default::default());
    let mut pixels = Pixels { class, layers: Vec::new(), factors, lighting };
    relief.shine(&mut pixels, &view, 0..1, &lattice, &sky);
    let mut lit = 0;
    for (i, normal) in relief.parcel(0).iter().enumerate() {
        let place = (origin.0 + ((i % size) as f64 + 0.5) * PIXEL_M, origin.1 - ((i / size) as f64 + 0.5) * PIXEL_M);
        let (sun, found) = (angles.at(place).unwrap().sun, pixels.lighting.lits[i]);
        let (ts, phi) = (sun.zenith_deg.to_radians(), sun.azimuth_deg.to_radians());
        let (east, north) = (f64::from(normal.east), f64::from(normal.north));
        let (a, aspect) = (east.hypot(north).asin(), east.atan2(north));
        let cos_i = ts.cos() * a.cos() + ts.sin() * a.sin() * (phi - aspect).cos();
        if pixels.class[i] == 0 && a.to_degrees() > 2.001 {
            assert!((f64::from(found.cos_i) - cos_i).abs() < 1e-6, "pixel {i}: {found:?}, expected {cos_i}");
            lit += 1;
        }
    }
    assert!(lit > 80_000, "{lit}");

    let slopes = Slopes::new(32634);
    let (mut compared, mut turned, mut worst): (usize, f64, [f64; 2]) = (0, 0.0, [0.0; 2]);
    for (i, normal) in relief.parcel(0).iter().enumerate() {
        let (col, row) = (i % size, i / size);
        let edge = [0, size - 1].contains(&col) || [0, size - 1].contains(&row);
        // Beyond the raster's edge there is nothing: no slope there, neither here nor with gdaldem.
        assert_eq!(normal.is_known(), !edge, "column {col}, row {row}");
        if edge {
            continue;
        }
        let (slope, aspect) = (f64::from(made[0][(row, col)]), f64::from(made[1][(row, col)]));
        let (east, north) = (f64::from(normal.east), f64::from(normal.north));
        worst[0] = worst[0].max((east.hypot(north).asin().to_degrees() - slope).abs());
        if slope > 2.0 {
            let (x, y) = (origin.0 + (col as f64 + 0.5) * PIXEL_M, origin.1 - (row as f64 + 0.5) * PIXEL_M);
            let convergence = slopes.north(x, y);
            let apart = east.atan2(north).to_degrees() - aspect - convergence;
            worst[1] = worst[1].max(((apart + 540.0).rem_euclid(360.0) - 180.0).abs());
            turned = turned.max(convergence);
            compared += 1;
        }
    }
    println!("slope within {:.1e}, aspect within {:.1e} degrees over {compared} pixels", worst[0], worst[1]);
    assert!(compared > 80_000 && turned > 2.0 && worst[0] < 1e-3 && worst[1] < 5e-3, "{compared} {turned} {worst:?}");
}

fn correlation(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (mx, my) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let sum = |f: &dyn Fn(f64, f64) -> f64| points.iter().map(|p| f(p.0 - mx, p.1 - my)).sum::<f64>();
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

/// Real hills (Costa Rica, Landsat 5 of 1986 and 2001, ASTER GDEM v2). The images come without sun angles: those here are
/// computed for the place and the usual hour of the pass, good to a few degrees. Where light and reflectance went together,
/// little of it is left.
#[test]
fn real_hills_lose_their_light() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/landsat_costarica_1986_2001");
    let tools = ["gdalbuildvrt", "gdal_translate"];
    if !data.exists() || tools.iter().any(|t| Command::new(t).arg("--version").output().is_err()) {
        println!("skipped: {} or one of {tools:?} is not there", data.display());
        return;
    }
    let text = PLAIN
        .replace("[\"ndvi\", \"nbr\"]", "[\"ndvi\"]")
        .replace("[output]", "terrain = \"scs_c\"\ndem = \"dem.tif\"\n\n[output]");
    let project = Project::new(&text);
    let run = |command: &mut Command| assert!(command.arg("-q").status().unwrap().success());
    let piece = |side: &str| data.join(format!("dem_aster_gdem_v2_{side}.tif"));
    run(Command::new("gdalbuildvrt").arg(project.path("dem.vrt")).args([piece("west"), piece("east")]));
    run(Command::new("gdal_translate").arg(project.path("dem.vrt")).arg(project.path("dem.tif")));
    let (left, top, width, height) = (826_245.0, 1_112_835.0, 213usize, 167usize);
    let (right, bottom) = (left + 30.0 * width as f64, top - 30.0 * height as f64);
    let wkt = format!("POLYGON (({left} {top}, {right} {top}, {right} {bottom}, {left} {bottom}, {left} {top}))");
    write_parcels(&project.path("parcels.gpkg"), Some(32616), &[Parcel::new("hills", &wkt)]);
    // The bands of the visible of 1986 are stored ten times as large as the file's notes say.
    for (day, visible, elevation, azimuth) in [("1986-02-06", 1e-5, 44.75, 124.43), ("2001-01-14", 1e-4, 45.49, 135.15)]
    {
        let folder = project.path("scenes").join(day);
        fs::create_dir_all(&folder).unwrap();
        for band in [3, 4] {
            fs::copy(data.join(format!("{day}_SR_B{band}.tif")), folder.join(format!("B{band}.tif"))).unwrap();
        }
        write(&folder.join("qa.tif"), (left, top), 30.0, (width, height), Some(32616), vec![5440u16; width * height]);
        let band = |n: u32, scale: f64| json!({"href": format!("B{n}.tif"), "raster:bands": [{"scale": scale, "offset": 0, "nodata": 0}]});
        let item = json!({"type": "Feature", "stac_version": "1.0.0", "id": day,
            "properties": {"datetime": format!("{day}T15:20:00Z"), "platform": "landsat-5",
                "view:sun_elevation": elevation, "view:sun_azimuth": azimuth},
            "assets": {"red": band(3, visible), "nir08": band(4, 1e-4), "qa_pixel": {"href": "qa.tif"}}});
        fs::write(folder.join("item.json"), item.to_string()).unwrap();
    }
    project.run(&[]);
    let record = project.record();
    let settings = Settings::load(&project.path("project.toml")).unwrap();
    lintan::run::start();
    let cancel = AtomicBool::new(false);
    let mut plan = plan(&settings, &Inputs::load(&settings.out), true, &|_| {}, &cancel).unwrap();
    terrain::prepare(&mut plan, &settings.out, &|_| {}, &cancel).unwrap();
    for (scene, expected) in plan.scenes.iter().zip(COSTA_RICA_C) {
        let view = &scene.views[0];
        let after = terrain::read(&plan, scene, &settings.out, view, None).unwrap();
        let mut before = after.clone();
        before.lighting.c.clear();
        let n = after.class.len();
        let told = record["scenes"].as_array().unwrap().iter().find(|s| s["scene_id"] == *scene.scene.id).unwrap();
        for layer in 0..2 {
            let of = |pixels: &lintan::cube::Pixels| -> Vec<(f64, f64)> {
                let mut values = Vec::new();
                pixels.physical(0..n, layer, &mut values);
                let lit = values.iter().zip(&after.lighting.lits);
                lit.filter(|(v, l)| v.is_finite() && l.cos_i < 1.0).map(|(v, l)| (f64::from(l.cos_i), *v)).collect()
            };
            let (name, c) = (&after.layers[layer].0.name, told["terrain"]["layers"][layer]["c"].as_f64().unwrap());
            let (before, after) = (correlation(&of(&before)), correlation(&of(&after)));
            println!(
                "{} {name}: C {c:.4}, correlation with cos i {before:.3} before, {after:.3} after",
                scene.scene.id
            );
            assert!(before > 0.2 && after < 0.3 * before, "{name}: {before} {after}");
            let position = usize::from(name == "nir");
            assert!((c / expected[position] - 1.0).abs() < 0.02, "{name}: {c}, expected {expected:?}");
        }
    }
}

/// C of red and near infrared of both dates by numpy and rasterio (rasterio.warp bilinear of both pieces, Horn, polyfit over all
/// pixels on slopes above 2 degrees with cos i of 0.1 and more).
const COSTA_RICA_C: [[f64; 2]; 2] = [[0.596_6, 0.697_0], [0.439_1, 0.671_0]];
