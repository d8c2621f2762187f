//! Products and disks that fail: the scene is set aside with its reason, the rest goes on as if the scene were not there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use gdal::DriverManager;
use gdal::raster::Buffer;
use gdal::spatial_ref::SpatialRef;

use crate::support::{
    CONFIG, DATES, Files, LANDSAT_7, PLAIN, Project, SAFE_NEW, assert_same, copy, files, leftovers, quarantine,
    read_table, testdata,
};

/// Short config: indices that all products here can give.
fn config() -> String {
    PLAIN.replace("nbr", "ndmi")
}

/// Files of one product that the faults are about.
const SAFE_10M: &str = "GRANULE/L2A_T34TFR_A018318_20200908T092031/IMG_DATA/R10m/T34TFR_20200908T092031";
const SAFE_20M: &str = "GRANULE/L2A_T34TFR_A018318_20200908T092031/IMG_DATA/R20m/T34TFR_20200908T092031";

/// A sound scene and, under `scenes/bad`, a sound copy of another one that the test will damage.
#[derive(Clone, Copy)]
enum Fixture {
    Safe,
    Stac,
    Landsat,
}

impl Fixture {
    /// The sound scene alone.
    fn sound(self) -> Project {
        match self {
            Fixture::Safe | Fixture::Stac => Project::romania(&config(), &DATES[..1]),
            Fixture::Landsat => {
                let project = Project::products(&config(), &[LANDSAT_7]);
                // The same image, under another day and another id.
                let mtl = format!("scenes/{LANDSAT_7}/{LANDSAT_7}_MTL.txt");
                project.edit(&mtl, "DATE_ACQUIRED = 2011-09-07", "DATE_ACQUIRED = 2011-10-09");
                project.edit(&mtl, &format!("\"{LANDSAT_7}\""), "\"LE07_L2SP_023028_20111009_20200909_02_T1\"");
                project
            }
        }
    }

    fn add(self, project: &Project) {
        let from = match self {
            Fixture::Safe => testdata("products").join(SAFE_NEW),
            Fixture::Stac => testdata("romania/scenes").join(DATES[1]),
            Fixture::Landsat => testdata("products").join(LANDSAT_7),
        };
        copy(&from, &project.path("scenes/bad"));
    }

    /// Tables of the sound scene alone; the quarantine is another matter.
    fn expected(self) -> &'static Files {
        static TABLES: [OnceLock<Files>; 2] = [OnceLock::new(), OnceLock::new()];
        let which = match self {
            Fixture::Safe | Fixture::Stac => 0,
            Fixture::Landsat => 1,
        };
        TABLES[which].get_or_init(|| {
            let project = self.sound();
            project.run(&[]).expect(0, &[]);
            files(&project.out().join("tables"))
        })
    }
}

/// Damages the scene and expects one row of quarantine and the tables of a run without the scene.
#[track_caller]
fn sets_aside(fixture: Fixture, damage: impl Fn(&Project), stage: &str, reason: &str, parts: &[&str]) {
    let project = fixture.sound();
    fixture.add(&project);
    damage(&project);
    let outcome = project.lintan("run", &[]);
    outcome.expect(3, &["quarantined (1)", &format!("[{reason} at {stage}]")]).expect(3, parts);
    let aside = quarantine(&project.out());
    let [a] = &aside[..] else { panic!("{aside:?}") };
    assert_eq!([a.subject.as_str(), &a.stage, &a.reason], ["scene", stage, reason], "{a:?}");
    assert!(a.path.starts_with("scenes/bad"), "{a:?}");
    assert!(!a.message.contains(project.path("").to_str().unwrap()), "a path of this machine: {a:?}");
    assert_same(&files(&project.out().join("tables")), fixture.expected(), "tables of the rest");
    assert_eq!(leftovers(&project.out()), [""; 0]);
    assert_eq!(project.count("scenes"), 1);

    // What only decoding tells is told the second time, too. A mended scene comes in.
    if stage == "extract" {
        project.lintan("run", &[]).expect(3, &[&format!("[{reason} at {stage}]")]);
        assert_same(&files(&project.out().join("tables")), fixture.expected(), "second run");
    }
    let bad = project.path("scenes/bad");
    if bad.is_dir() {
        fs::remove_dir_all(bad).unwrap()
    } else {
        fs::remove_file(bad).unwrap()
    }
    fixture.add(&project);
    project.lintan("run", &[]).expect(0, &[]);
    assert_eq!(project.count("scenes"), 2, "the mended scene is used");
}

fn truncate(project: &Project, file: &str, percent: usize) {
    let path = project.path("scenes/bad").join(file);
    let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    fs::write(&path, &bytes[..bytes.len() * percent / 100]).unwrap();
}

fn remove(project: &Project, file: &str) {
    fs::remove_file(project.path("scenes/bad").join(file)).unwrap();
}

fn edit(project: &Project, file: &str, from: &str, to: &str) {
    project.edit(&format!("scenes/bad/{file}"), from, to);
}

/// Writes a raster of one value in the place of another.
fn raster<T: gdal::raster::GdalType + Copy>(path: &Path, epsg: u32, size: usize, pixel: f64, value: T) {
    let _ = fs::remove_file(path);
    let driver = DriverManager::get_driver_by_name("GTiff").unwrap();
    let mut dataset = driver.create_with_band_type::<T, _>(path, size, size, 1).unwrap();
    dataset.set_spatial_ref(&SpatialRef::from_epsg(epsg).unwrap()).unwrap();
    dataset.set_geo_transform(&[5_271_982.576_551_932, pixel, 0.0, 2_533_004.214_915_185_7, 0.0, -pixel]).unwrap();
    let mut values = Buffer::new((size, size), vec![value; size * size]);
    dataset.rasterband(1).unwrap().write((0, 0), (size, size), &mut values).unwrap();
}

#[test]
fn a_truncated_jpeg_2000() {
    for percent in [20, 90] {
        let damage = |p: &Project| truncate(p, &format!("{SAFE_10M}_B04_10m.jp2"), percent);
        sets_aside(Fixture::Safe, damage, "extract", "unreadable_asset", &["B04_10m.jp2", "fetch it again"]);
    }
}

/// These files keep their directory at the end, so it shows on opening.
#[test]
fn a_truncated_tiff() {
    for file in ["2018-07-21_B04_10m.tif", "2018-07-21_SCL_20m.tif"] {
        let parts = [file, "cannot be opened"];
        sets_aside(Fixture::Stac, |p| truncate(p, file, 60), "catalog", "unreadable_asset", &parts);
    }
}

/// A file that opens well and whose compressed pixels are damaged: the first bytes of the first block are wrong.
#[test]
fn a_damaged_tiff() {
    for (fixture, file) in
        [(Fixture::Stac, "2018-07-21_B11_20m.tif".to_owned()), (Fixture::Landsat, format!("{LANDSAT_7}_QA_PIXEL.TIF"))]
    {
        let damage = |p: &Project| {
            let path = p.path("scenes/bad").join(&file);
            let mut bytes = fs::read(&path).unwrap();
            let zlib = |w: &[u8]| w[0] == 0x78 && [0x01, 0x5e, 0x9c, 0xda].contains(&w[1]);
            let start = bytes.windows(2).position(zlib).expect("a deflated block");
            bytes[start..start + 8].fill(0xff);
            fs::write(&path, bytes).unwrap();
        };
        let parts = [file.as_str(), "the block at column 0, row 0", "cannot be decoded", "fetch it again"];
        sets_aside(fixture, damage, "extract", "unreadable_asset", &parts);
    }
}

#[test]
fn an_empty_file() {
    let file = "2018-07-21_B08_10m.tif";
    sets_aside(Fixture::Stac, |p| truncate(p, file, 0), "catalog", "unreadable_asset", &[file]);
}

#[test]
fn a_missing_band() {
    let damage = |p: &Project| remove(p, &format!("{SAFE_10M}_B08_10m.jp2"));
    sets_aside(Fixture::Safe, damage, "catalog", "unreadable_asset", &["B08_10m.jp2", "does not exist"]);
    let file = format!("{LANDSAT_7}_SR_B4.TIF");
    let damage = |p: &Project| remove(p, &file);
    sets_aside(Fixture::Landsat, damage, "catalog", "unreadable_asset", &[&file, "does not exist"]);
}

#[test]
fn a_missing_mask() {
    let damage = |p: &Project| remove(p, &format!("{SAFE_20M}_SCL_20m.jp2"));
    sets_aside(Fixture::Safe, damage, "catalog", "unreadable_asset", &["SCL_20m.jp2", "does not exist"]);
    let damage = |p: &Project| remove(p, &format!("{LANDSAT_7}_QA_PIXEL.TIF"));
    sets_aside(Fixture::Landsat, damage, "catalog", "unreadable_asset", &["QA_PIXEL.TIF", "does not exist"]);
    let damage = |p: &Project| edit(p, "S2_ROMANIA_20180721.json", "\"SCL\"", "\"classes\"");
    sets_aside(Fixture::Stac, damage, "catalog", "missing_mask", &["found no SCL raster", "forest from cloud"]);
}

#[test]
fn a_band_on_another_grid() {
    let file = "2018-07-21_B08_10m.tif";
    let path = |p: &Project| p.path("scenes/bad").join(file);
    let parts = ["expected a grid that nests in", "never resampled"];
    let other_crs = |p: &Project| raster(&path(p), 32634, 100, 10.0, 3000u16);
    sets_aside(Fixture::Stac, other_crs, "catalog", "misaligned_grid", &parts);
    let other_size = |p: &Project| raster(&path(p), 3035, 90, 10.0, 3000u16);
    sets_aside(Fixture::Stac, other_size, "catalog", "misaligned_grid", &parts);
}

#[test]
fn an_item_that_leaves_things_open() {
    let item = "S2_ROMANIA_20180721.json";
    let no_scale = |p: &Project| edit(p, item, "\"scale\":0.0001,", "");
    sets_aside(Fixture::Stac, no_scale, "catalog", "unknown_calibration", &["found no scale in raster:bands"]);
    let no_offset = |p: &Project| {
        edit(p, item, ",\"offset\":0}", "}");
        edit(p, item, "\"s2:processing_baseline\":\"02.00\"", "\"s2:processing_baseline\":\"05.09\"");
    };
    sets_aside(Fixture::Stac, no_offset, "catalog", "unknown_calibration", &["found no offset", "5.09"]);
    let no_time = |p: &Project| edit(p, item, "2018-07-21T09:20:00Z", "last summer");
    sets_aside(Fixture::Stac, no_time, "catalog", "bad_metadata", &["found last summer, expected a UTC time"]);
    let other_platform = |p: &Project| edit(p, item, "\"platform\":\"sentinel-2\"", "\"platform\":\"gaofen-1\"");
    sets_aside(
        Fixture::Stac,
        other_platform,
        "catalog",
        "unsupported",
        &["found gaofen-1, expected one of", "landsat"],
    );
    let no_band = |p: &Project| {
        for (key, band) in [("B04", "red"), ("B11", "swir16")] {
            let from = format!("\"eo:bands\":[{{\"name\":\"{key}\",\"common_name\":\"{band}\"}}]");
            edit(p, item, &from, "\"title\":\"?\"");
            edit(p, item, &format!("\"{key}\":{{"), "\"other\":{");
        }
    };
    sets_aside(
        Fixture::Stac,
        no_band,
        "catalog",
        "missing_bands",
        &["expected the bands of at least one of the indices"],
    );
}

#[test]
fn metadata_that_is_cut_off() {
    let item = "S2_ROMANIA_20180721.json";
    let parts = [item, "no well-formed JSON"];
    sets_aside(Fixture::Stac, |p| truncate(p, item, 50), "catalog", "bad_metadata", &parts[1..]);
    let parts = ["MTD_MSIL2A.xml", "no well-formed XML"];
    sets_aside(Fixture::Safe, |p| truncate(p, parts[0], 50), "catalog", "bad_metadata", &parts);
    let mtl = format!("{LANDSAT_7}_MTL.txt");
    let parts = [mtl.as_str(), "expected a whole file; fetch it again"];
    sets_aside(Fixture::Landsat, |p| truncate(p, &mtl, 50), "catalog", "bad_metadata", &parts);
}

#[test]
fn calibration_that_is_missing() {
    let xml = "MTD_MSIL2A.xml";
    let no_offsets = |p: &Project| edit(p, xml, "BOA_ADD_OFFSET", "OTHER");
    let parts = [xml, "found baseline 05.00 without a BOA_ADD_OFFSET list"];
    sets_aside(Fixture::Safe, no_offsets, "catalog", "unknown_calibration", &parts);
    let one_less = |p: &Project| edit(p, xml, "<BOA_ADD_OFFSET band_id=\"3\">-1000</BOA_ADD_OFFSET>", "");
    sets_aside(Fixture::Safe, one_less, "catalog", "unknown_calibration", &["no BOA_ADD_OFFSET for band B04"]);
    let mtl = format!("{LANDSAT_7}_MTL.txt");
    let no_gain = |p: &Project| edit(p, &mtl, "    REFLECTANCE_MULT_BAND_4 = 2.75e-05\n", "");
    // The Level-1 group of the same file has a key of that name; it must not be taken.
    let parts = ["group LEVEL2_SURFACE_REFLECTANCE_PARAMETERS: found no REFLECTANCE_MULT_BAND_4"];
    sets_aside(Fixture::Landsat, no_gain, "catalog", "unknown_calibration", &parts);
}

#[test]
fn products_of_another_level() {
    let xml = "MTD_MSIL2A.xml";
    let level = |p: &Project| edit(p, xml, "Level-2A</PROCESSING_LEVEL>", "Level-1C</PROCESSING_LEVEL>");
    sets_aside(Fixture::Safe, level, "catalog", "unsupported", &["found Level-1C, expected Level-2A"]);
    let mtl = format!("{LANDSAT_7}_MTL.txt");
    let level = |p: &Project| edit(p, &mtl, "PROCESSING_LEVEL = \"L2SP\"", "PROCESSING_LEVEL = \"L1TP\"");
    sets_aside(Fixture::Landsat, level, "catalog", "unsupported", &["level L1TP, expected Collection 2 Level-2"]);
}

/// Folders and archives that look like products are named, not passed over.
#[test]
fn what_looks_like_a_product_and_is_not_read() {
    let name = "S2B_MSIL1C_20180721T092029_N0206_R093_T34TFR_20180721T112523";
    let project = Fixture::Stac.sound();
    fs::create_dir(project.path("scenes").join(format!("{name}.SAFE"))).unwrap();
    project.write(&format!("scenes/{name}.SAFE/MTD_MSIL1C.xml"), "<Level-1C_User_Product/>");
    fs::write(project.path("scenes").join("S2B_MSIL2A_20190101.SAFE.zip"), "PK").unwrap();
    fs::write(project.path("scenes").join("LC08_L2SP_1.tar"), "").unwrap();
    project.lintan("run", &[]).expect(
        3,
        &["quarantined (3)", "found a Level-1C .SAFE folder", "tar archive without a file", "zip archive that cannot"],
    );
    let found: Vec<(String, String)> = quarantine(&project.out()).into_iter().map(|a| (a.id, a.reason)).collect();
    let expected =
        [("LC08_L2SP_1.tar", "bad_metadata"), (name, "unsupported"), ("S2B_MSIL2A_20190101.SAFE.zip", "bad_metadata")];
    assert_eq!(found, expected.map(|(id, reason)| (id.to_owned(), reason.to_owned())));
    assert_same(&files(&project.out().join("tables")), Fixture::Stac.expected(), "tables of the rest");
}

/// JSON that is no STAC Item may lie around.
#[test]
fn other_json_is_passed_over() {
    let project = Fixture::Stac.sound();
    copy(&testdata("products/parcels_michigan.geojson"), &project.path("scenes/parcels.geojson"));
    project.write("scenes/catalog.json", "{\"type\":\"Catalog\",\"stac_version\":\"1.0.0\",\"id\":\"x\",\"links\":[]}");
    project.lintan("run", &[]).expect(0, &[]);
    assert_same(&files(&project.out().join("tables")), Fixture::Stac.expected(), "tables");
}

/// The same item twice in the folder is one acquisition, used once.
#[test]
fn a_copied_folder_is_a_duplicate() {
    let project = Fixture::Safe.sound();
    copy(&project.path("scenes").join(DATES[0]), &project.path("scenes/zz-copy"));
    project.lintan("run", &[]).expect(0, &[]);
    assert_eq!(project.count("duplicates"), 1);
    assert_same(&files(&project.out().join("tables")), Fixture::Safe.expected(), "tables");
}

/// Rasters without a measurement: the rows are there and say that nothing was clear.
#[test]
fn a_scene_without_data() {
    for (classes, what) in [(0u8, "no data by the classes"), (4, "classes clear, bands without data")] {
        let project = Fixture::Stac.sound();
        Fixture::Stac.add(&project);
        let at = |name: &str| project.path("scenes/bad").join(format!("2018-07-21_{name}.tif"));
        for band in ["B04_10m", "B08_10m"] {
            raster(&at(band), 3035, 100, 10.0, 0u16);
        }
        for band in ["B8A_20m", "B11_20m"] {
            raster(&at(band), 3035, 50, 20.0, 0u16);
        }
        raster(&at("SCL_20m"), 3035, 50, 20.0, classes);
        project.lintan("run", &[]).expect(0, &[]);
        let (head, rows) = read_table(&project.out().join("tables/observations/year=2018/part-0.parquet"));
        let column = |name: &str| head.iter().position(|h| h == name).unwrap();
        let empty: Vec<_> = rows.iter().filter(|r| r[column("scene_id")] == "S2_ROMANIA_20180721").collect();
        assert_eq!((empty.len(), rows.len()), (45 * 2, 2 * 45 * 2), "{what}");
        for row in empty {
            assert_eq!([&row[column("clear_pixels")], &row[column("clear_fraction")]], ["0", "0"], "{what}: {row:?}");
            assert!(row[column("pixels")].parse::<f64>().unwrap() > 1.0);
            for name in ["mean", "stddev", "min", "max", "p10", "p25", "median", "p75", "p90", "n_kish"] {
                assert_eq!(row[column(name)], "-", "{what}: {name}");
            }
        }
        // The series is that of the scene with data alone.
        let series = "series.parquet";
        let used = |out: &Path| {
            let (head, rows) = read_table(&out.join("tables").join(series));
            let n = head.iter().position(|h| h == "observations").unwrap();
            rows.iter().map(|r| r[n].parse::<u32>().unwrap()).sum::<u32>()
        };
        assert_eq!(used(&project.out()), 45 * 2, "{what}");
    }
}

/// A file system of its own, taken away at the end.
struct Small(PathBuf);

impl Small {
    /// `None` where this process may not mount.
    fn mount(at: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let done =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&at).output();
        match done {
            Ok(o) if o.status.success() => Some(Small(at)),
            _ => None,
        }
    }

    fn resize(&self, size: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.0).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let project = Project::romania(CONFIG, &DATES);
    let fresh = project.path("fresh");
    project.run(&["--out", fresh.to_str().unwrap()]);
    let expected = crate::support::tables(&fresh);
    let needed: usize = files(&fresh).values().map(|f| f.len().next_multiple_of(4096)).sum();
    let Some(small) = Small::mount(project.out(), "16k") else {
        eprintln!("SKIPPED a_full_disk_loses_nothing: this process may not mount a small file system (needs root)");
        return;
    };
    // Full from the start, while scenes are extracted, while tables are written, while the record is written.
    for percent in [0, 10, 40, 70, 85, 95] {
        small.resize(&format!("{}", (needed * percent / 100).max(16 << 10)));
        let outcome = project.lintan("run", &[]);
        if outcome.code == 3 {
            assert!(percent >= 85, "the disk was not full at {percent} %");
            continue;
        }
        outcome.expect(1, &["error: cannot ", "No space left on device", "help: free some space and run again"]);
        assert!(!outcome.err.contains("internal error"), "{outcome:?}");
        assert_eq!(leftovers(&project.out()), [""; 0], "{percent} %");
        for (file, bytes) in files(&project.out()).iter().filter(|(f, _)| f.ends_with(".parquet")) {
            assert!(bytes.ends_with(b"PAR1"), "{file} is not complete");
        }
        assert!(!project.out().join("run.json").exists(), "{percent} %");
    }
    small.resize("64m");
    project.run(&[]);
    assert_same(&project.tables(), &expected, "after the disk was full");
}
