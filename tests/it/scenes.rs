//! Scenes as they come: archives, three spellings of an MTL, HLS granules, STAC catalogs, servers, copies, parts, and
//! metadata that tells of other rasters. Small copies of the test products, packed and bent here.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use gdal::raster::Buffer;
use gdal::spatial_ref::SpatialRef;
use gdal::{DriverManager, Metadata};
use lintan::cube::layout::{Bandpasses, Layout, Wanted, lay_out};
use lintan::error::{Reason, SceneFault};
use lintan::gdal_io::{Blocks, Raster};
use lintan::imagery::catalog::{self, Catalog};
use lintan::imagery::known::Known;
use lintan::imagery::sensor::Sensors;
use lintan::imagery::{Scene, dark};
use serde_json::{Value, json};

const SAFE_0214: &str = "S2B_MSIL2A_20200908T092031_N0214_R093_T34TFR_20200908T122407.SAFE";
const SAFE_0500: &str = "S2B_MSIL2A_20200908T092031_N0500_R093_T34TFR_20230507T031422.SAFE";
const LANDSAT_7: &str = "LE07_L2SP_023028_20110907_20200909_02_T1";
const LANDSAT_8: &str = "LC08_L2SP_008059_20191201_20200825_02_T1";

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

fn product(name: &str) -> PathBuf {
    testdata().join("products").join(name)
}

fn temp() -> tempfile::TempDir {
    lintan::run::start();
    tempfile::tempdir().expect("tempdir")
}

fn find_with(base: &Path, remote: bool) -> Catalog {
    let params = catalog::Params { paths: vec![base.to_path_buf()], remote, ..Default::default() };
    catalog::read(&params, base, &Sensors::builtin().expect("sensors")).expect("catalog")
}

fn find(base: &Path) -> Catalog {
    find_with(base, false)
}

fn only(catalog: Catalog) -> Scene {
    assert!(catalog.bad.is_empty(), "{:?}", catalog.bad);
    let [scene] = <[Scene; 1]>::try_from(catalog.scenes).expect("one scene");
    scene
}

fn try_lay_out(scene: &Scene, index: &str) -> Result<Layout, SceneFault> {
    lay_out(scene, &Wanted { indices: vec![index.into()], pixel_m: 10, bandpass: Bandpasses::default(), bands: vec![] })
}

/// Every raster of the layout: how it is calibrated, and its samples.
fn pixels(layout: &Layout) -> Vec<(f64, f64, f64, Vec<f32>)> {
    let rasters = layout.values.iter().chain(&layout.mask).chain(&layout.saturation);
    rasters
        .map(|r| {
            let mut samples: Vec<f32> = Vec::new();
            Blocks::open(&r.asset.path).expect("open").look((0, 0), r.size, &mut samples).expect("read");
            let c = r.asset.calibration;
            (c.pre, c.scale, c.post, samples)
        })
        .collect()
}

fn files(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).expect("list") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push((path.strip_prefix(folder).expect("below").to_string_lossy().into_owned(), path));
            }
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for (name, path) in files(from) {
        let target = to.join(name);
        fs::create_dir_all(target.parent().expect("parent")).expect("folder");
        fs::copy(path, target).expect("copy");
    }
}

fn edit(file: &Path, change: impl Fn(String) -> String) {
    let text = fs::read_to_string(file).expect("text");
    let changed = change(text.clone());
    assert_ne!(text, changed, "the test must change something");
    fs::write(file, changed).expect("write");
}

fn write_zip(folder: &Path, inside: &str, deflate: bool, out: &Path) {
    let mut zip = zip::ZipWriter::new(fs::File::create(out).expect("zip"));
    let method = if deflate { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, path) in files(folder) {
        zip.start_file(format!("{inside}{name}"), options).expect("entry");
        zip.write_all(&fs::read(path).expect("file")).expect("write");
    }
    zip.finish().expect("zip");
}

fn write_tar(folder: &Path, inside: &str, gz: bool, out: &Path) {
    let file = fs::File::create(out).expect("tar");
    let sink: Box<dyn Write> =
        if gz { Box::new(flate2::write::GzEncoder::new(file, flate2::Compression::fast())) } else { Box::new(file) };
    let mut tar = tar::Builder::new(sink);
    for (name, path) in files(folder) {
        tar.append_path_with_name(path, format!("{inside}{name}")).expect("entry");
    }
    tar.into_inner().expect("tar").flush().expect("flush");
}

#[test]
fn a_product_in_an_archive_is_the_product() {
    let folder = temp();
    let plain = only(find(&product(SAFE_0500)));
    let expected = pixels(&try_lay_out(&plain, "ndvi").expect("layout"));
    for (deflate, inside) in [(true, format!("{SAFE_0500}/")), (false, "deliveries/2020/renamed folder/".into())] {
        let zip = folder.path().join("a {b} 林.zip");
        write_zip(&product(SAFE_0500), &inside, deflate, &zip);
        let scene = only(find(folder.path()));
        assert_eq!((&scene.id, &scene.acquisition, &scene.baseline), (&plain.id, &plain.acquisition, &plain.baseline));
        assert_eq!(scene.metadata, [zip]);
        assert_eq!(scene.stated, plain.stated);
        let layout = try_lay_out(&scene, "ndvi").expect("layout");
        assert!(layout.values[0].asset.path.starts_with("/vsizip"));
        assert_eq!(pixels(&layout), expected);
    }
    let plain = only(find(&product(LANDSAT_7)));
    let expected = pixels(&try_lay_out(&plain, "ndvi").expect("layout"));
    for (name, inside) in [("a.tar", ""), ("a.tar.gz", "./"), ("a.TGZ", "some/folder/")] {
        let folder = temp();
        write_tar(&product(LANDSAT_7), inside, !name.ends_with("tar"), &folder.path().join(name));
        let scene = only(find(folder.path()));
        assert_eq!((&scene.id, &scene.acquisition), (&plain.id, &plain.acquisition));
        assert_eq!(pixels(&try_lay_out(&scene, "ndvi").expect(name)), expected);
        let left: Vec<_> = files(folder.path()).into_iter().map(|(n, _)| n).collect();
        assert_eq!(left, [name], "nothing is written beside an input");
    }
}

#[test]
fn an_archive_that_is_no_product_says_what_it_holds() {
    let folder = temp();
    let other = folder.path().join("x");
    fs::create_dir(&other).expect("folder");
    fs::write(other.join("parcels.shp"), b"x").expect("write");
    fs::write(other.join("parcels.dbf"), b"y").expect("write");
    let scenes = folder.path().join("scenes");
    fs::create_dir(&scenes).expect("folder");
    write_zip(&other, "", true, &scenes.join("parcels.zip"));
    write_tar(&other, "", false, &scenes.join("parcels.tar"));
    fs::rename(other.join("parcels.shp"), other.join("MTD_MSIL1C.xml")).expect("rename");
    write_zip(&other, "A.SAFE/", true, &scenes.join("level1.zip"));
    fs::write(scenes.join("no.zip"), b"<html>please log in</html>").expect("write");
    fs::write(scenes.join("empty.tar.gz"), b"").expect("write");
    // Half of a download.
    write_zip(&product(SAFE_0214), "a/", false, &scenes.join("half.zip"));
    write_tar(&product(LANDSAT_8), "", false, &scenes.join("half.tar"));
    for half in ["half.zip", "half.tar"] {
        let whole = fs::read(scenes.join(half)).expect("read");
        fs::write(scenes.join(half), &whole[..whole.len() * 9 / 10]).expect("write");
    }
    let found = find(&scenes);
    assert!(found.scenes.is_empty());
    let told: BTreeMap<&str, (Reason, &str)> =
        found.bad.iter().map(|b| (b.source.as_str(), (b.fault.reason, b.fault.message.as_str()))).collect();
    assert_eq!(told.len(), 7);
    for (source, reason, words) in [
        ("parcels.zip", Reason::Unsupported, "2 files (parcels.dbf, parcels.shp)"),
        ("parcels.tar", Reason::Unsupported, "2 files (parcels.dbf, parcels.shp)"),
        ("level1.zip", Reason::Unsupported, "Level-1C"),
        ("no.zip", Reason::BadMetadata, "zip archive that cannot be read"),
        ("half.zip", Reason::BadMetadata, "fetch it again"),
        ("half.tar", Reason::BadMetadata, "fetch it again"),
        ("empty.tar.gz", Reason::BadMetadata, "tar archive that cannot be read"),
    ] {
        assert_eq!(told[source].0, reason, "{source}: {}", told[source].1);
        assert!(told[source].1.contains(words), "{source}: {}", told[source].1);
        assert!(!told[source].1.contains(&*folder.path().to_string_lossy()), "{}", told[source].1);
    }
}

/// The MTL as text, JSON and XML say the same, with the surface reflectance's gains and not the Level-1 ones of the same
/// names.
#[test]
fn every_spelling_of_an_mtl_gives_the_same_scene() {
    let mut products = vec![product(LANDSAT_7), product(LANDSAT_8)];
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    for more in ["products/LE07_L2SP_170055_20010205_20200917_02_T1", &format!("products_real_landsat_c2/{LANDSAT_8}")]
    {
        products.extend(Some(shared.join(more)).filter(|p| p.exists()));
    }
    for product in products {
        let mut scenes = Vec::new();
        for spelling in ["txt", "json", "xml"] {
            let folder = temp();
            let mut found = false;
            for (name, path) in files(&product) {
                if !name.contains("_MTL.") || name.ends_with(spelling) {
                    found |= name.contains("_MTL.");
                    fs::copy(path, folder.path().join(name)).expect("copy");
                }
            }
            if found {
                let scene = only(find(folder.path()));
                for (layer, assets) in &scene.assets {
                    if let lintan::imagery::Layer::Band(_) = layer {
                        let c = assets[0].calibration;
                        assert_eq!((c.pre, c.scale, c.post), (0.0, 2.75e-5, -0.2), "{layer:?}");
                    }
                }
                let mut stated = scene.stated.clone().expect("stated");
                stated.file.clear();
                let calibrations: Vec<_> = scene.assets.iter().map(|(l, a)| (l.clone(), a[0].calibration)).collect();
                let layout = try_lay_out(&scene, "ndvi").expect("layout");
                scenes.push((scene.id, scene.sensor, scene.acquired_at, scene.acquisition, calibrations, stated));
                assert_eq!(layout.indices.len(), 1);
            }
        }
        assert!(scenes.len() >= 2, "{}", product.display());
        assert!(scenes.windows(2).all(|w| w[0] == w[1]), "{scenes:?}");
    }
}

/// A GeoTIFF of 20 x 20 pixels of 30 m, with tags.
fn write_tiff(path: &Path, values: &[i16], tags: &[(&str, &str)]) {
    let driver = DriverManager::get_driver_by_name("GTiff").expect("driver");
    let mut dataset = if values.iter().all(|v| (0..256).contains(v)) && path.to_string_lossy().contains("Fmask") {
        let mut d = driver.create_with_band_type::<u8, _>(path, 20, 20, 1).expect("create");
        let data: Vec<u8> = values.iter().map(|v| u8::try_from(*v).expect("byte")).collect();
        d.rasterband(1).expect("band").write((0, 0), (20, 20), &mut Buffer::new((20, 20), data)).expect("write");
        d.set_metadata_item("AREA_OR_POINT", "Area", "").expect("tag");
        d
    } else {
        let d = driver.create_with_band_type::<i16, _>(path, 20, 20, 1).expect("create");
        d.rasterband(1)
            .expect("band")
            .write((0, 0), (20, 20), &mut Buffer::new((20, 20), values.to_vec()))
            .expect("write");
        d
    };
    dataset.set_spatial_ref(&SpatialRef::from_epsg(32650).expect("crs")).expect("crs");
    dataset.set_geo_transform(&[600_000.0, 30.0, 0.0, 4_000_020.0, 0.0, -30.0]).expect("transform");
    for (key, value) in tags {
        dataset.set_metadata_item(key, value, "").expect("tag");
    }
    dataset.flush_cache().expect("flush");
}

/// A GeoTIFF on a grid.
fn write_raster(path: &Path, grid: &lintan::geo::Grid, values: &[i16]) {
    let (cols, rows) = (grid.cols as usize, grid.rows as usize);
    let driver = DriverManager::get_driver_by_name("GTiff").expect("driver");
    let mut dataset = driver.create_with_band_type::<i16, _>(path, cols, rows, 1).expect("create");
    let mut buffer = Buffer::new((cols, rows), values.to_vec());
    dataset.rasterband(1).expect("band").write((0, 0), (cols, rows), &mut buffer).expect("write");
    dataset.set_spatial_ref(&SpatialRef::from_definition(&grid.crs.0).expect("crs")).expect("crs");
    let t = [grid.x_min, grid.pixel_x_m, 0.0, grid.y_max, 0.0, -grid.pixel_y_m];
    dataset.set_geo_transform(&t).expect("transform");
}

const PACKED: [(&str, &str); 3] = [("scale_factor", "0.0001"), ("add_offset", "0"), ("_FillValue", "-9999")];

fn write_granule(folder: &Path, granule: &str, bands: &[&str], about: &[(&str, &str)]) {
    fs::create_dir_all(folder).expect("folder");
    for (i, band) in bands.iter().enumerate() {
        let mut values = vec![i16::try_from(400 + 1500 * i).expect("small"); 400];
        values[0] = -9999;
        let tags: Vec<_> = about.iter().chain(&PACKED).copied().collect();
        write_tiff(&folder.join(format!("{granule}.{band}.tif")), &values, &tags);
    }
    let mut mask = vec![64i16; 400];
    mask[..4].copy_from_slice(&[255, 2, 8, 32]);
    write_tiff(&folder.join(format!("{granule}.Fmask.tif")), &mask, about);
}

#[test]
fn hls_granules_are_told_by_their_tags() {
    let folder = temp();
    let s30 = "HLS.S30.T50RLV.2020123T024551.v2.0";
    let l30 = "HLS.L30.T50RLV.2021124T025512.v2.0";
    let about_s30 = [
        ("SENSING_TIME", "2020-05-02T02:58:01.123456Z"),
        ("PRODUCT_URI", "S2B_MSIL1C_20200502T024551_N0209_R132_T50RLV_20200502T044551.SAFE"),
        ("HLS_PROCESSING_TIME", "2022-03-01T00:00:00Z"),
        ("MEAN_SUN_ZENITH_ANGLE", "31.5"),
        ("MEAN_SUN_AZIMUTH_ANGLE", "141.25"),
    ];
    let about_l30 = [
        ("SENSING_TIME", "2021-05-04T02:55:12.5; 2021-05-04T02:55:36.4"),
        ("LANDSAT_PRODUCT_ID", "LC09_L1TP_121039_20210504_20210504_02_T1; LC09_L1TP_121040_20210504_20210504_02_T1"),
    ];
    // All granules of a search in one folder, as they are downloaded, with the Item that points to a server.
    write_granule(folder.path(), s30, &["B04", "B08", "B8A", "B11"], &about_s30);
    write_granule(folder.path(), l30, &["B04", "B05", "B06"], &about_l30);
    fs::write(
        folder.path().join(format!("{s30}_stac.json")),
        json!({"type": "Feature", "stac_version": "1.0.0", "id": s30, "properties": {}, "assets": {}}).to_string(),
    )
    .expect("write");
    let found = find(folder.path());
    assert!(found.bad.is_empty() && found.duplicates.is_empty(), "{:?}", found.bad);
    let [s, l] = found.scenes.as_slice() else { panic!("{} scenes", found.scenes.len()) };
    assert_eq!((s.id.as_str(), s.sensor.as_str(), s.spec.id.as_str()), (s30, "S2B", "hls-s30"));
    assert_eq!((l.id.as_str(), l.sensor.as_str(), l.spec.id.as_str()), (l30, "L9", "hls-l30"));
    assert_eq!(s.acquired_at.to_string(), "2020-05-02T02:58:01.123456Z");
    assert_eq!(s.sun.clone().map(|d| (d.zenith_deg, d.azimuth_deg)), Ok((31.5, 141.25)));
    assert!(l.sun.as_ref().is_err_and(|why| why.contains("MEAN_SUN_ZENITH_ANGLE")), "{:?}", l.sun);
    assert_eq!((s.baseline.as_deref(), l.baseline.as_deref()), (Some("2.0"), Some("2.0")));
    for (scene, nir) in [(s, "B8A"), (l, "B05")] {
        let layout = try_lay_out(scene, "ndvi").expect("layout");
        assert_eq!(layout.grid.pixel_x_m, 30.0, "HLS keeps its grid");
        let names: Vec<&str> = layout.values.iter().map(|v| v.asset.name.as_str()).collect();
        assert_eq!(names, ["B04", nir], "the narrow near infrared");
        assert!(layout.values.iter().all(|v| v.asset.calibration.scale == 1e-4 && v.asset.invalid_dn == [-9999.0]));
        assert!(layout.mask.is_some());
    }
    // A raster that does not say how it is packed, and a granule without a time.
    let bare = folder.path().join(format!("{s30}.B04.tif"));
    fs::remove_file(&bare).expect("remove");
    write_tiff(&bare, &[500; 400], &about_s30);
    fs::remove_file(folder.path().join(format!("{l30}.B04.tif"))).expect("remove");
    write_tiff(&folder.path().join(format!("{l30}.B04.tif")), &[500; 400], &PACKED);
    let found = find(folder.path());
    assert_eq!(
        try_lay_out(&found.scenes[0], "ndvi").map(|_| ()).map_err(|f| f.reason),
        Err(Reason::UnknownCalibration)
    );
    let fault = &found.bad[0].fault;
    assert_eq!(
        (fault.reason, fault.message.contains("SPACECRAFT_NAME")),
        (Reason::Unsupported, true),
        "{}",
        fault.message
    );
}

#[test]
fn hls_items_are_hls_and_not_counted_twice() {
    let folder = temp();
    let id = "HLS.S30.T50RLV.2020123T024551.v2.0";
    let about = [("SENSING_TIME", "2020-05-02T02:58:01Z"), ("SPACECRAFT_NAME", "Sentinel-2A")];
    write_granule(&folder.path().join("g"), id, &["B04", "B8A"], &about);
    let item = |id: &str, collection: &str, keys: &[&str]| {
        let assets: serde_json::Map<String, Value> =
            keys.iter().map(|k| ((*k).to_owned(), json!({"href": format!("../g/HLS.S30.T50RLV.2020123T024551.v2.0.{}.tif", if *k == "NDVI" { "B04" } else { k })}))).collect();
        json!({"type": "Feature", "stac_version": "1.0.0", "id": id, "collection": collection,
            "properties": {"datetime": "2020-05-02T02:58:01Z", "platform": "sentinel-2a"}, "assets": assets})
    };
    let items = folder.path().join("items");
    fs::create_dir(&items).expect("folder");
    let vi = "HLS-VI.S30.T50RLV.2020123T024551.v2.0";
    fs::write(items.join("a.json"), item(id, "HLSS30.v2.0", &["B04", "B8A", "Fmask"]).to_string()).expect("write");
    fs::write(items.join("b.json"), item(vi, "HLSS30_VI.v2.0", &["NDVI", "Fmask"]).to_string()).expect("write");
    let alone = only(find(&items.join("a.json")));
    assert_eq!((alone.spec.id.as_str(), alone.sensor.as_str()), ("hls-s30", "S2A"));
    assert_eq!(try_lay_out(&alone, "ndvi").expect("layout").values[0].asset.calibration.scale, 1e-4);
    let index = only(find(&items.join("b.json")));
    let layout = try_lay_out(&index, "ndvi").expect("layout");
    assert_eq!((layout.values.len(), layout.values[0].asset.calibration.scale), (1, 1e-4));
    assert!(layout.mask.is_some());
    let mut unmasked = index.clone();
    unmasked.assets.remove(&lintan::imagery::Layer::Mask);
    assert_eq!(try_lay_out(&unmasked, "ndvi").map(|_| ()).map_err(|f| f.reason), Err(Reason::MissingMask));
    // The folder, the item and the indices of one granule are one scene.
    let found = find(folder.path());
    assert_eq!((found.scenes.len(), found.duplicates.len()), (1, 2));
    assert_eq!((found.scenes[0].id.as_str(), found.scenes[0].source.as_str()), (id, "g"));
}

#[test]
fn catalogs_are_followed_once_and_round() {
    let folder = temp();
    let data = testdata().join("romania/scenes/2019-04-07");
    copy(&data, &folder.path().join("far/items"));
    let item = "S2_ROMANIA_20190407.json";
    let link = |rel: &str, href: &str| json!({"rel": rel, "href": href});
    let write = |name: &str, kind: &str, links: Value| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        let id = name.replace('/', "-");
        fs::write(path, json!({"type": kind, "stac_version": "1.0.0", "id": id, "links": links}).to_string())
            .expect("write");
    };
    write(
        "start/catalog.json",
        "Catalog",
        json!([link("child", "../far/collection.json"), link("self", "https://x/y")]),
    );
    let up_and_down = json!([
        link("parent", "../start/catalog.json"),
        link("child", "../start/catalog.json"),
        link("item", &format!("./items/{item}")),
        link("item", &format!("items/../items/{item}")),
    ]);
    write("far/collection.json", "Collection", up_and_down);
    let scene = only(find(&folder.path().join("start/catalog.json")));
    assert_eq!(scene.id, "S2_ROMANIA_20190407");
    try_lay_out(&scene, "ndvi").expect("hrefs are relative to the item");
    let all = find(folder.path());
    assert_eq!((all.scenes.len(), all.duplicates.len(), all.bad.len()), (1, 0, 0), "found by search and by link");
    write("start/catalog.json", "Catalog", json!([link("item", "gone.json"), link("item", "https://x/y.json")]));
    let found = find(&folder.path().join("start/catalog.json"));
    let told: Vec<_> = found.bad.iter().map(|b| (b.fault.reason, b.fault.message.as_str())).collect();
    assert!(told.iter().any(|(r, m)| *r == Reason::Unsupported && m.contains("https://x/y.json")), "{told:?}");
    assert!(told.iter().any(|(r, m)| *r == Reason::BadMetadata && m.contains("gone.json")), "{told:?}");
}

/// Serves a folder over HTTP, byte ranges included, until the test ends.
fn serve(folder: PathBuf) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
    let address = format!("http://{}", listener.local_addr().expect("address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = Vec::new();
            let mut byte = [0u8; 1];
            while !request.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                request.push(byte[0]);
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let target = request.split(' ').nth(1).unwrap_or("/").split('?').next().unwrap_or("/").to_owned();
            let head = request.starts_with("HEAD");
            let Ok(content) = fs::read(folder.join(target.trim_start_matches('/'))) else {
                let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                continue;
            };
            let range = request.to_lowercase().lines().find_map(|l| {
                let (from, to) = l.strip_prefix("range: bytes=")?.trim().split_once('-')?;
                let last = content.len() - 1;
                Some((from.parse::<usize>().ok()?.min(last), to.parse::<usize>().unwrap_or(last).min(last)))
            });
            let total = content.len();
            let (status, part, extra) = match range {
                Some((a, b)) => {
                    ("206 Partial Content", &content[a..=b], format!("Content-Range: bytes {a}-{b}/{total}\r\n"))
                }
                None => ("200 OK", &content[..], String::new()),
            };
            let header = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nAccept-Ranges: bytes\r\n{extra}Connection: close\r\n\r\n",
                part.len()
            );
            let _ = stream.write_all(header.as_bytes());
            if !head {
                let _ = stream.write_all(part);
            }
        }
    });
    address
}

#[test]
fn assets_on_a_server_are_read_when_allowed() {
    let folder = temp();
    let data = testdata().join("romania/scenes/2019-04-07");
    let address = serve(data.clone());
    let item = fs::read_to_string(data.join("S2_ROMANIA_20190407.json")).expect("item");
    fs::write(
        folder.path().join("item.json"),
        item.replace("\"./", &format!("\"{address}/")).replace(".tif\"", ".tif?key=secret\""),
    )
    .expect("write");
    let refused = try_lay_out(&only(find(folder.path())), "ndvi").map(|_| ()).expect_err("not allowed");
    assert!(refused.message.contains("remote = true") && !refused.message.contains("secret"), "{}", refused.message);
    let near = try_lay_out(&only(find(&data)), "ndvi").expect("layout");
    let far = try_lay_out(&only(find_with(folder.path(), true)), "ndvi").expect("layout");
    assert_eq!(pixels(&far), pixels(&near));
    edit(&folder.path().join("item.json"), |t| t.replace("2019-04-07_B04_10m", "gone"));
    let gone = try_lay_out(&only(find_with(folder.path(), true)), "ndvi").map(|_| ()).expect_err("not there");
    assert_eq!(gone.reason, Reason::UnreadableAsset);
    assert!(gone.message.starts_with("gone.tif") && !gone.message.contains("secret"), "{}", gone.message);
}

/// One acquisition as two baselines, a zip, and an item of a catalog that writes its times differently: one scene.
#[test]
fn copies_of_an_acquisition_are_one_scene() {
    let folder = temp();
    copy(&product(SAFE_0214), &folder.path().join(SAFE_0214));
    copy(&product(SAFE_0500), &folder.path().join(SAFE_0500));
    write_zip(&product(SAFE_0500), "a/", true, &folder.path().join("a.zip"));
    let granule =
        format!("{SAFE_0500}/GRANULE/L2A_T34TFR_A018318_20200908T092031/IMG_DATA/R20m/T34TFR_20200908T092031");
    let asset = |band: &str| json!({"href": format!("{granule}_{band}_20m.jp2"), "raster:bands": [{"scale": 1e-4, "offset": -0.1, "spatial_resolution": 20}]});
    let item = json!({"type": "Feature", "stac_version": "1.0.0", "id": "S2B_34TFR_20200908_0_L2A",
        "properties": {"datetime": "2020-09-08T09:29:55.311Z", "platform": "sentinel-2b", "grid:code": "MGRS-34TFR",
            "s2:processing_baseline": "05.00", "s2:datatake_id": "GS2B_20200908T092031_018318_N05.00",
            "created": "2024-01-01T00:00:00Z"},
        "assets": {"red": asset("B04"), "nir08": asset("B8A"), "scl": asset("SCL")}});
    fs::write(folder.path().join("item.json"), item.to_string()).expect("write");
    let found = find(folder.path());
    assert!(found.bad.is_empty(), "{:?}", found.bad);
    assert_eq!((found.scenes.len(), found.duplicates.len()), (1, 3), "{:?}", found.duplicates);
    assert_eq!(found.scenes[0].source, SAFE_0500);
    let dropped: Vec<&str> = found.duplicates.iter().map(|d| d.source.as_str()).collect();
    assert_eq!(dropped.len(), 3);
    assert!([SAFE_0214, "a.zip", "item.json"].iter().all(|s| dropped.contains(s)), "{dropped:?}");
}

/// Two datastrips of one datatake meet in a tile: two products, neither of which is a copy of the other.
#[test]
fn parts_of_an_acquisition_are_all_kept() {
    let folder = temp();
    let second = "S2B_MSIL2A_20200908T092031_N0500_R093_T34TFR_20230507T040000.SAFE";
    for name in [SAFE_0500, second] {
        copy(&product(SAFE_0500), &folder.path().join(name));
    }
    copy(&product(SAFE_0214), &folder.path().join(SAFE_0214));
    edit(&folder.path().join(second).join("MTD_MSIL2A.xml"), |t| {
        t.replace("_S20200908T092031_", "_S20200908T092712_").replace("20230507T031422.SAFE", "20230507T040000.SAFE")
    });
    let found = find(folder.path());
    assert_eq!((found.scenes.len(), found.duplicates.len(), found.bad.len()), (2, 1, 0), "{:?}", found.duplicates);
    assert_eq!(found.scenes[0].acquisition, found.scenes[1].acquisition);
    assert_ne!(found.scenes[0].part, found.scenes[1].part);
    assert_eq!(found.duplicates[0].source, SAFE_0214, "the older baseline of the first part");
}

#[test]
fn rasters_of_another_place_are_refused_with_both_figures() {
    let folder = temp();
    let safe = folder.path().join(SAFE_0500);
    let tile = safe.join("GRANULE/L2A_T34TFR_A018318_20200908T092031/MTD_TL.xml");
    let refusal = || {
        let fault = try_lay_out(&only(find(&safe)), "ndvi").map(|_| ()).expect_err("contradiction");
        assert_eq!(fault.reason, Reason::BadMetadata);
        fault.message
    };
    copy(&product(SAFE_0500), &safe);
    edit(&tile, |t| t.replace("EPSG:3035", "EPSG:32634"));
    let message = refusal();
    assert!(
        message.contains("EPSG:3035") && message.contains("EPSG:32634") && message.contains("MTD_TL.xml"),
        "{message}"
    );
    copy(&product(SAFE_0500), &safe);
    edit(&tile, |t| t.replace("<ULY>2533004", "<ULY>2633004"));
    let message = refusal();
    assert!(message.contains("2533004.2") && message.contains("2633004.2"), "{message}");
    // A corrupt tile file is told when the scenes are listed.
    edit(&tile, |t| t[..1500].to_owned());
    assert_eq!(find(&safe).bad[0].fault.reason, Reason::BadMetadata);

    let landsat = folder.path().join(LANDSAT_7);
    copy(&product(LANDSAT_7), &landsat);
    let mtl = landsat.join(format!("{LANDSAT_7}_MTL.txt"));
    edit(&mtl, |t| t.replace("UTM_ZONE = 16", "UTM_ZONE = 17"));
    let fault = try_lay_out(&only(find(&landsat)), "ndvi").map(|_| ()).expect_err("contradiction");
    assert!(fault.message.contains("EPSG:32616") && fault.message.contains("EPSG:32617"), "{}", fault.message);
    // A preview of the whole scene has other pixels and lies where it should.
    try_lay_out(&only(find(&product(LANDSAT_8))), "ndvi").expect("decimated");
}

/// What a catalog says of the offset, against the pixels; and no false alarm in 54 real dates of snow, cloud and summer.
#[test]
fn a_catalog_that_is_wrong_about_the_offset_is_found_out() {
    lintan::run::start();
    let mut asked = 0;
    let scenes = find(&testdata().join("romania/scenes")).scenes;
    assert!(scenes.len() > 10);
    for scene in &scenes {
        dark::check(scene).unwrap_or_else(|f| panic!("{}: false alarm: {}", scene.id, f.message));
        let mut wrong = scene.clone();
        for asset in wrong.assets.values_mut().flatten() {
            asset.calibration.pre = -1000.0;
        }
        if let Err(fault) = dark::check(&wrong) {
            assert!(
                fault.message.contains("carry an offset of 1000") && fault.message.contains('%'),
                "{}",
                fault.message
            );
            asked += 1;
        }
    }
    assert!(asked * 10 > scenes.len() * 8, "{asked} of {}", scenes.len());
    // The other way round: the same pixels with 1000 more, and the same word.
    let folder = temp();
    let mut found_out = 0;
    for scene in &scenes {
        let mut shifted = scene.clone();
        for (layer, assets) in &mut shifted.assets {
            let lintan::imagery::Layer::Band(_) = layer else { continue };
            for asset in assets {
                let raster = Raster::open(&asset.path).expect("open");
                let size = (raster.grid().cols as usize, raster.grid().rows as usize);
                let mut samples: Vec<f32> = Vec::new();
                Blocks::open(&asset.path).expect("open").look((0, 0), size, &mut samples).expect("read");
                let more: Vec<i16> = samples.iter().map(|v| if *v == 0.0 { 0 } else { *v as i16 + 1000 }).collect();
                asset.path = folder.path().join(format!("{}-{}.tif", scene.id, asset.name));
                write_raster(&asset.path, raster.grid(), &more);
            }
        }
        found_out += usize::from(dark::check(&shifted).is_err());
    }
    assert!(found_out * 10 > scenes.len() * 5, "{found_out} of {}", scenes.len());
    eprintln!("of {} scenes, {asked} and {found_out} were found out", scenes.len());
    // Digital numbers with the offset, as the product has them, and an item that says there is none.
    let folder = temp();
    copy(&product(SAFE_0500), &folder.path().join("p"));
    let granule = "p/GRANULE/L2A_T34TFR_A018318_20200908T092031/IMG_DATA/R20m/T34TFR_20200908T092031";
    let item = |offset: f64| {
        let asset = |band: &str| json!({"href": format!("{granule}_{band}_20m.jp2"), "raster:bands": [{"scale": 1e-4, "offset": offset, "spatial_resolution": 20}]});
        json!({"type": "Feature", "stac_version": "1.0.0", "id": "x", "properties": {"datetime": "2020-09-08T09:20:31Z",
            "platform": "sentinel-2b"}, "assets": {"red": asset("B04"), "green": asset("B03"), "nir08": asset("B8A"), "scl": asset("SCL")}})
    };
    let file = folder.path().join("item.json");
    fs::write(&file, item(-0.1).to_string()).expect("write");
    dark::check(&only(find(&file))).expect("right");
    fs::write(&file, item(0.0).to_string()).expect("write");
    let fault = dark::check(&only(find(&file))).expect_err("wrong");
    assert_eq!(fault.reason, Reason::UnknownCalibration);
    assert!(fault.message.contains("carry no offset") && fault.message.contains("99 %"), "{}", fault.message);
    eprintln!("{}", fault.message);
}

/// The whole program on archives and on what is none: the rest is done, exit code 3, the archive is the input.
#[test]
fn a_run_on_archives_lists_the_archive_as_its_input() {
    let folder = temp();
    let scenes = folder.path().join("scenes");
    fs::create_dir(&scenes).expect("folder");
    write_tar(&product(LANDSAT_7), "", false, &scenes.join("l7.tar"));
    fs::write(scenes.join("broken.zip"), b"PK").expect("write");
    fs::copy(testdata().join("products/parcels_michigan.geojson"), folder.path().join("parcels.geojson"))
        .expect("copy");
    let config = "[project]\nname = \"a\"\n[parcels]\npath = \"parcels.geojson\"\nid = \"parcel_id\"\n[scenes]\npaths = [\"scenes\"]\n";
    fs::write(folder.path().join("a.toml"), config).expect("write");
    let run = || {
        let output = Command::new(env!("CARGO_BIN_EXE_lintan"))
            .arg("run")
            .arg(folder.path().join("a.toml"))
            .output()
            .expect("run");
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
        let text = fs::read_to_string(folder.path().join("out/a/run.json")).expect("record");
        serde_json::from_str::<Value>(&text).expect("JSON")
    };
    let first = run();
    let inputs: Vec<&str> =
        first["inputs"].as_array().expect("list").iter().filter_map(|i| i["path"].as_str()).collect();
    assert_eq!(inputs.iter().filter(|p| p.ends_with("l7.tar")).count(), 1, "{inputs:?}");
    assert!(!inputs.iter().any(|p| p.contains("vsi")), "{inputs:?}");
    assert_eq!(first["scenes"].as_array().map(Vec::len), Some(1));
    let again = run();
    assert_eq!(again["counts"]["blocks_decoded"].as_u64().unwrap_or(0), 0, "{}", again["counts"]);
    assert_eq!(first["tables"], again["tables"]);
}

/// How long it takes to read the metadata of many products, from nothing and with what is remembered:
/// `LINTAN_MANY=FOLDER cargo test many -- --nocapture`.
#[test]
fn many_products_are_listed_in_seconds() {
    let Some(folder) = std::env::var_os("LINTAN_MANY").map(PathBuf::from) else { return };
    let memory = temp();
    let sensors = Sensors::builtin().expect("sensors");
    let params = catalog::Params { paths: vec![folder.clone()], ..Default::default() };
    for time in ["first", "second"] {
        let begun = std::time::Instant::now();
        let known = Known::load(&memory.path().join("products.txt"));
        let found = catalog::read_again(&params, &folder, &sensors, &known, false).expect("catalog");
        known.save().expect("save");
        eprintln!("{time}: {} scenes, {} set aside, {:?}", found.scenes.len(), found.bad.len(), begun.elapsed());
    }
}
