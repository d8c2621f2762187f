//! Single pixels as the reader sees them: reflectance, index and mask of whole rasters, against values computed with
//! rasterio and numpy (scripts/make_reference_values.py) and, where larger products are at hand, between two processing
//! baselines of one acquisition.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use geo::{MultiPolygon, polygon};
use lintan::cube::extract::{Effort, MaskRule, Targets, extract};
use lintan::cube::layout::{Bandpasses, Layout, Source, Wanted, lay_out};
use lintan::cube::{Batch, BatchParcel, Pixels, View};
use lintan::digest::Sha256;
use lintan::geo::{Lattice, lattice_footprint};
use lintan::imagery::mask::MaskTable;
use lintan::imagery::sensor::Sensors;
use lintan::imagery::{Scene, catalog};

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// Larger data that is not part of the project; `None`, said plainly, where it is not there.
fn shared_data(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    if !folder.exists() {
        eprintln!("skipped: {name} is not there");
        return None;
    }
    Some(folder)
}

fn scenes(paths: Vec<PathBuf>) -> Vec<Scene> {
    lintan::run::start();
    let sensors = Sensors::builtin().expect("sensors");
    let params = catalog::Params { paths, ..Default::default() };
    catalog::read(&params, &testdata(), &sensors).expect("catalog").scenes
}

/// Every pixel of the scene, in row order.
fn whole(scene: &Scene, indices: &[&str], pixel_m: u32) -> (Layout, Pixels) {
    let indices = indices.iter().map(|i| (*i).to_owned()).collect();
    let layout =
        lay_out(scene, &Wanted { indices, pixel_m, bandpass: Bandpasses::default(), bands: vec![] }).expect("layout");
    let [x0, y0, x1, y1] = layout.grid.bounds();
    let all = MultiPolygon(vec![polygon![(x: x0, y: y0), (x: x1, y: y0), (x: x1, y: y1), (x: x0, y: y1)]]);
    let lattice = Lattice::of(&layout.grid);
    let window = lattice.window(&layout.grid).expect("inside");
    let footprint = lattice_footprint(&all, &lattice).expect("valid").expect("pixels");
    let batch = Arc::new(Batch::new(vec![BatchParcel::new("all".into(), Sha256::of(b"all"), footprint)]));
    let view = View::new(&batch, &window, |_| true);
    assert_eq!(view.pixels(), (layout.grid.rows * layout.grid.cols) as usize);
    let targets = Targets::new(vec![Arc::new(view)], window);
    let rule = MaskRule {
        table: MaskTable::new(&scene.spec.mask, &[4, 5, 6]),
        dilate_m: 0.0,
        occlusion_bit: scene.spec.mask.occlusion_bit,
    };
    let cancel = AtomicBool::new(false);
    let one = extract(&layout, &targets, &rule, &Effort { threads: 1, cancel: &cancel }).expect("one thread");
    let two = extract(&layout, &targets, &rule, &Effort { threads: 3, cancel: &cancel }).expect("three threads");
    assert_eq!((&one.0.class, &one.1), (&two.0.class, &two.1), "the mask does not depend on threads");
    for ((_, a), (_, b)) in one.0.layers.iter().zip(&two.0.layers) {
        assert_eq!(a, b, "pixels do not depend on threads");
    }
    (layout, one.0)
}

fn physical(pixels: &Pixels, layer: &str) -> Vec<f64> {
    let (layer, samples) = pixels.layers.iter().find(|(l, _)| l.name == layer).expect("layer");
    let mut out = Vec::new();
    samples.physical(0..pixels.class.len(), &pixels.class, layer, &mut out);
    out
}

fn ndvi(layout: &Layout, pixels: &Pixels) -> Vec<f64> {
    let (_, source) = layout.indices.iter().find(|(i, _)| i == "ndvi").expect("ndvi");
    let Source::Computed(spec, layers) = source else { panic!("computed") };
    let bands: Vec<Vec<f64>> = layers.iter().map(|l| physical(pixels, &pixels.layers[*l].0.name)).collect();
    let slices: Vec<&[f64]> = bands.iter().map(Vec::as_slice).collect();
    let mut out = vec![0.0; pixels.class.len()];
    spec.compute(&slices, &mut out);
    out
}

#[test]
fn reflectance_ndvi_and_mask_of_single_pixels() {
    let text = std::fs::read_to_string(testdata().join("reference/products.json")).expect("reference");
    let reference: serde_json::Value = serde_json::from_str(&text).expect("json");
    // Each product by itself: together, the older baseline of an acquisition is left out.
    let mut found = Vec::new();
    for entry in std::fs::read_dir(testdata().join("products")).expect("products") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            found.extend(scenes(vec![path]));
        }
    }
    found.extend(scenes(vec![testdata().join("romania/scenes")]));
    let mut compared = 0;
    for product in reference["products"].as_array().expect("products") {
        let Some(samples) = product.get("samples") else { continue };
        let id = product["scene_id"].as_str().expect("id");
        let scene = found.iter().find(|s| s.id == id).unwrap_or_else(|| panic!("{id} is not in the catalog"));
        let (layout, pixels) = whole(scene, &["ndvi", "evi", "ndmi", "nbr"], 10);
        assert_eq!(layout.grid.crs.0, format!("EPSG:{}", product["epsg"]), "{id}");
        let names: Vec<&str> =
            samples["reflectance_bands"].as_array().expect("bands").iter().filter_map(|b| b.as_str()).collect();
        let index = ndvi(&layout, &pixels);
        for row in samples["rows"].as_array().expect("rows") {
            let at =
                (row[0].as_u64().expect("row") * u64::from(layout.grid.cols) + row[1].as_u64().expect("col")) as usize;
            let clear = row[5].as_bool().expect("clear");
            assert_eq!(pixels.class[at] == 0, clear, "{id} pixel {row}");
            if !clear {
                continue;
            }
            for (name, expected) in names.iter().zip(row[3].as_array().expect("reflectance")) {
                let ours = match *name {
                    "green" => continue, // no index here needs it
                    "nir" if scene.sensor.starts_with('S') => "nir_broad",
                    other => other,
                };
                let value = physical(&pixels, ours)[at];
                match expected.as_f64() {
                    Some(expected) => assert!((value - expected).abs() < 1e-12, "{id} {name} {row}: {value}"),
                    None => assert!(value.is_nan(), "{id} {name} {row}: {value}"),
                }
                compared += 1;
            }
            match row[4].as_f64() {
                Some(expected) => assert!((index[at] - expected).abs() < 1e-9, "{id} ndvi {row}: {}", index[at]),
                None => assert!(index[at].is_nan(), "{id} ndvi {row}"),
            }
        }
    }
    assert!(compared > 1000, "only {compared} values compared");
}

/// Two baselines of one acquisition, one with the offset in its digital numbers: the same bits in every pixel.
#[test]
fn baselines_of_one_acquisition_agree_in_every_pixel() {
    let mut pairs = vec![(testdata().join("products"), "N0214", "N0500", vec!["ndvi", "evi", "ndmi"])];
    if let Some(folder) = shared_data("products") {
        pairs.push((folder, "N0208", "N0500", vec!["ndvi", "evi", "ndmi", "nbr", "ndre"]));
    }
    for (folder, old, new, indices) in pairs {
        let folders: Vec<PathBuf> =
            std::fs::read_dir(&folder).expect("folder").map(|e| e.expect("entry").path()).collect();
        let named = |part: &str| folders.iter().find(|f| f.to_string_lossy().contains(part)).cloned().expect(part);
        let old = named(old);
        let day = old.file_name().expect("name").to_string_lossy().split('_').nth(2).expect("time").to_owned();
        let new = folders
            .iter()
            .find(|f| f.to_string_lossy().contains(new) && f.to_string_lossy().contains(&day))
            .cloned()
            .expect("pair");
        for pixel_m in [10, 20] {
            let wanted: Vec<&str> = if pixel_m == 10 { indices.clone() } else { vec!["ndmi"] };
            let (_, a) = whole(&scenes(vec![old.clone()])[0], &wanted, pixel_m);
            let (_, b) = whole(&scenes(vec![new.clone()])[0], &wanted, pixel_m);
            assert_eq!(a.class, b.class);
            for (layer, _) in &a.layers {
                let same = physical(&a, &layer.name)
                    .iter()
                    .zip(physical(&b, &layer.name))
                    .all(|(x, y)| x.to_bits() == y.to_bits());
                assert!(same, "{} at {pixel_m} m of {}", layer.name, old.display());
            }
        }
        let both = scenes(vec![old, new.clone()]);
        assert_eq!(both.len(), 1, "one acquisition is used once");
        assert!(new.to_string_lossy().contains(&both[0].id), "the newer baseline");
    }
}

/// Red, near infrared and NDVI of every clear pixel, read a second time with GDAL alone and scaled by hand.
#[test]
fn whole_products_agree_with_a_plain_gdal_reading() {
    let mut folders = vec![testdata().join("products")];
    folders.extend(shared_data("products"));
    folders.extend(shared_data("products_real_landsat_c2"));
    let mut products = 0;
    for folder in folders {
        for scene in scenes(vec![folder]) {
            let (layout, pixels) = whole(&scene, &["ndvi"], 10);
            let plain = |name: &str| -> Vec<f64> {
                let raster = layout.values.iter().find(|v| v.layer.name() == name).expect("raster");
                let dataset = gdal::Dataset::open(&raster.asset.path).expect("open");
                let samples = dataset.rasterband(1).expect("band").read_band_as::<u16>().expect("read");
                // By hand: Sentinel-2 baselines from 04.00 on carry 1000, Landsat Collection 2 has one scale and offset.
                let number = scene.baseline.as_deref().map(|b| b.parse::<f64>().expect("baseline"));
                let reflectance = |dn: u16| match number {
                    _ if dn == 0 => f64::NAN,
                    Some(n) if n >= 4.0 => (f64::from(dn) - 1000.0) / 10_000.0,
                    Some(_) => f64::from(dn) / 10_000.0,
                    None => f64::from(dn) * 0.000_027_5 - 0.2,
                };
                samples.data().iter().map(|dn| reflectance(*dn)).collect()
            };
            let nir = if scene.sensor.starts_with('S') { "nir_broad" } else { "nir" };
            let (red_ours, nir_ours, ndvi_ours) =
                (physical(&pixels, "red"), physical(&pixels, nir), ndvi(&layout, &pixels));
            let (red, nir) = (plain("red"), plain(nir));
            let mut clear = 0;
            for i in (0..red.len()).filter(|i| pixels.class[*i] == 0) {
                for (ours, theirs) in [(red_ours[i], red[i]), (nir_ours[i], nir[i])] {
                    assert!(
                        (ours - theirs).abs() < 1e-12 || (ours.is_nan() && theirs.is_nan()),
                        "{} pixel {i}",
                        scene.id
                    );
                }
                let expected = (nir[i] - red[i]) / (nir[i] + red[i]);
                assert!(
                    (ndvi_ours[i] - expected).abs() < 1e-9
                        || (ndvi_ours[i].is_nan() && (expected.is_nan() || expected.abs() > 1.0)),
                    "{} pixel {i}: {} {expected}",
                    scene.id,
                    ndvi_ours[i]
                );
                clear += 1;
            }
            assert!(clear > 100, "{}: {clear} clear pixels", scene.id);
            products += 1;
        }
    }
    assert!(products >= 3, "only {products} products");
}

/// The near infrared of a grid is B08 at 10 m and B8A at 20 m.
#[test]
fn near_infrared_follows_the_pixel_size() {
    let safe = scenes(vec![testdata().join("products")]).into_iter().find(|s| s.sensor == "S2B").expect("SAFE");
    for (pixel_m, name, ratio) in [(10, "nir_broad", 2), (20, "nir", 1)] {
        let wanted = Wanted { indices: vec!["ndmi".into()], pixel_m, bandpass: Bandpasses::default(), bands: vec![] };
        let layout = lay_out(&safe, &wanted).expect("layout");
        assert_eq!(layout.values[0].layer.name(), name);
        assert_eq!(layout.values[1].ratio, ratio, "B11 is 20 m");
        assert_eq!(layout.grid.pixel_x_m, f64::from(pixel_m));
    }
}
