//! What is remembered of product metadata changes no result: changed, mended, added and removed products are noticed, and a
//! damaged memory is none. And what the setting for open offsets does, and which dates have no scene.

use std::fs;
use std::path::{Path, PathBuf};

use lintan::imagery::Scene;
use lintan::imagery::catalog::{self, Catalog, Params};
use lintan::imagery::known::Known;
use lintan::imagery::sensor::Sensors;
use lintan::imagery::stac::OffsetState;
use serde_json::{Value, json};

use crate::support::{
    DATES, LANDSAT_7, PLAIN, Project, SAFE_NEW, SAFE_OLD, assert_same, copy, files, quarantine, read_table, testdata,
};

/// One acquisition twice, a Landsat product, two items.
struct Folder {
    folder: tempfile::TempDir,
    offset_state: OffsetState,
}

impl Folder {
    fn new() -> Self {
        lintan::run::start();
        let own = Folder { folder: tempfile::tempdir().unwrap(), offset_state: OffsetState::Metadata };
        for product in [SAFE_NEW, SAFE_OLD, LANDSAT_7] {
            copy(&testdata("products").join(product), &own.scenes().join(product));
        }
        for date in &DATES[..2] {
            copy(&testdata("romania/scenes").join(date), &own.scenes().join(date));
        }
        own
    }

    fn scenes(&self) -> PathBuf {
        self.folder.path().join("scenes")
    }

    fn memory(&self) -> PathBuf {
        self.folder.path().join("products.txt")
    }

    fn read(&self, known: &Known) -> Catalog {
        let params = Params { paths: vec!["scenes".into()], offset_state: self.offset_state, ..Default::default() };
        catalog::read_again(&params, self.folder.path(), &Sensors::builtin().unwrap(), known, true).unwrap()
    }

    /// With what is remembered, and remembers.
    fn again(&self) -> Catalog {
        let known = Known::load(&self.memory());
        let found = self.read(&known);
        known.save().unwrap();
        found
    }

    /// With what is remembered; the same as from nothing.
    #[track_caller]
    fn checked(&self) -> Catalog {
        let (found, fresh) = (self.again(), self.read(&Known::default()));
        assert_eq!(format!("{found:#?}"), format!("{fresh:#?}"));
        found
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.scenes().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} lacks {from}");
        fs::write(&path, text.replace(from, to)).unwrap();
    }
}

fn scene<'a>(catalog: &'a Catalog, start: &str) -> &'a Scene {
    catalog.scenes.iter().find(|s| s.id.starts_with(start)).unwrap_or_else(|| panic!("no {start}"))
}

/// Rewrites a memory as if the Sentinel-2B products had named another satellite; with the right checksums or the old ones.
fn forge(memory: &Path, right: bool) {
    let text = fs::read_to_string(memory).unwrap();
    let mut lines = text.lines();
    let mut forged = format!("{}\n", lines.next().unwrap());
    for line in lines {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, sum, body] = fields[..] else { panic!("{line}") };
        let body = body.replace("\"sensor\":\"S2B\"", "\"sensor\":\"S2X\"");
        let mut crc = flate2::Crc::new();
        crc.update(name.as_bytes());
        crc.update(body.as_bytes());
        let sum = if right { format!("{:08x}", crc.sum()) } else { sum.to_owned() };
        forged += &format!("{name}\t{sum}\t{body}\n");
    }
    assert_ne!(forged, text);
    fs::write(memory, forged).unwrap();
}

#[test]
fn what_is_remembered_is_used_and_is_what_was_read() {
    let folder = Folder::new();
    let first = folder.checked();
    assert_eq!((first.scenes.len(), first.duplicates.len(), first.bad.len()), (4, 1, 0));
    let written = fs::read(folder.memory()).unwrap();
    let second = folder.checked();
    assert_eq!(second.duplicates, first.duplicates, "the same choice among copies");
    assert_eq!(fs::read(folder.memory()).unwrap(), written);
    // It is really used: a lie with a right checksum is believed, which with another checksum is not.
    forge(&folder.memory(), true);
    assert_eq!(scene(&folder.read(&Known::load(&folder.memory())), "S2B").sensor, "S2X");
    fs::write(folder.memory(), &written).unwrap();
    forge(&folder.memory(), false);
    assert_eq!(scene(&folder.checked(), "S2B").sensor, "S2B");
    assert_eq!(fs::read(folder.memory()).unwrap(), written, "what was damaged is remade");
}

#[test]
fn a_damaged_memory_is_none() {
    let folder = Folder::new();
    folder.again();
    let written = fs::read(folder.memory()).unwrap();
    let half = &written[..written.len() / 2];
    let mut flipped = written.clone();
    flipped[written.len() / 3] ^= 1;
    for damaged in [&b""[..], b"\xff\xfe\n\x00", b"another\nline\n", half, &flipped] {
        fs::write(folder.memory(), damaged).unwrap();
        folder.checked();
        assert_eq!(fs::read(folder.memory()).unwrap(), written);
    }
}

#[test]
fn changed_metadata_are_noticed() {
    let folder = Folder::new();
    folder.again();
    let xml = format!("{SAFE_NEW}/MTD_MSIL2A.xml");
    let scale = |c: &Catalog| {
        scene(c, "S2B").assets.values().flatten().map(|a| a.calibration.scale).fold(f64::INFINITY, f64::min)
    };
    assert_eq!(scale(&folder.checked()), 1e-4);
    // Another value of the same length, and the old time of change.
    let path = folder.scenes().join(&xml);
    let then = fs::metadata(&path).unwrap().modified().unwrap();
    folder.edit(&xml, ">10000<", ">20000<");
    fs::File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
    assert_eq!(scale(&folder.checked()), 5e-5);
    // What the second file of a product says, and that it is gone.
    let tile = format!("{SAFE_NEW}/GRANULE/L2A_T34TFR_A018318_20200908T092031/MTD_TL.xml");
    assert!(scene(&folder.checked(), "S2B").stated.is_some());
    let kept = fs::read(folder.scenes().join(&tile)).unwrap();
    fs::remove_file(folder.scenes().join(&tile)).unwrap();
    assert!(scene(&folder.checked(), "S2B").stated.is_none());
    fs::write(folder.scenes().join(&tile), kept).unwrap();
    assert!(scene(&folder.checked(), "S2B").stated.is_some());
}

#[test]
fn products_come_and_go_and_take_each_others_place() {
    let folder = Folder::new();
    folder.again();
    let lines = || fs::read_to_string(folder.memory()).unwrap().lines().count();
    let all = lines();
    fs::remove_dir_all(folder.scenes().join(SAFE_NEW)).unwrap();
    let found = folder.checked();
    assert!(scene(&found, "S2B").id.contains("N0214") && found.duplicates.is_empty());
    assert_eq!(lines(), all - 1, "what is gone is forgotten");
    copy(&testdata("products").join(SAFE_NEW), &folder.scenes().join(SAFE_NEW));
    assert!(scene(&folder.checked(), "S2B").id.contains("N0500"));
    // Another product under the name of the first.
    let (old, new) = (folder.scenes().join(SAFE_OLD), folder.scenes().join(SAFE_NEW));
    fs::remove_dir_all(&new).unwrap();
    fs::rename(&old, &new).unwrap();
    assert!(scene(&folder.checked(), "S2B").id.contains("N0214"));
}

#[test]
fn what_is_set_aside_is_looked_at_again_until_it_is_mended() {
    let folder = Folder::new();
    folder.again();
    let xml = format!("{SAFE_NEW}/MTD_MSIL2A.xml");
    folder.edit(&xml, "BOA_ADD_OFFSET", "OTHER");
    for _ in 0..2 {
        assert_eq!(folder.checked().bad.len(), 1);
    }
    let remembered = fs::read_to_string(folder.memory()).unwrap();
    assert!(!remembered.contains(SAFE_NEW), "a fault is not remembered");
    folder.edit(&xml, "OTHER", "BOA_ADD_OFFSET");
    let found = folder.checked();
    assert!(found.bad.is_empty() && scene(&found, "S2B").id.contains("N0500"));
    // A link to an item that is fetched later.
    let links =
        json!({"type": "Catalog", "stac_version": "1.0.0", "links": [{"rel": "item", "href": "../later.json"}]});
    fs::create_dir(folder.scenes().join("links")).unwrap();
    fs::write(folder.scenes().join("links/catalog.json"), links.to_string()).unwrap();
    assert_eq!(folder.checked().bad.len(), 1);
    let item = testdata("romania/scenes").join(DATES[3]);
    let item =
        fs::read_dir(item).unwrap().map(|e| e.unwrap().path()).find(|p| p.extension().unwrap() == "json").unwrap();
    copy(&item, &folder.scenes().join("later.json"));
    assert_eq!(folder.checked().scenes.len(), 5);
}

#[test]
fn another_setting_asks_again() {
    let mut folder = Folder::new();
    for date in &DATES[..2] {
        let mut item = fs::read_dir(folder.scenes().join(date)).unwrap().map(|e| e.unwrap().path());
        let item = item.find(|p| p.extension().is_some_and(|e| e == "json")).unwrap();
        let name = item.strip_prefix(folder.scenes()).unwrap().to_str().unwrap().to_owned();
        folder.edit(&name, ",\"offset\":0}", "}");
        folder.edit(&name, "\"02.00\"", "\"05.09\"");
    }
    let pre =
        |c: &Catalog| scene(c, "S2_ROMANIA").assets.values().flatten().map(|a| a.calibration.pre).fold(0.0, f64::min);
    assert_eq!(folder.checked().bad.len(), 2);
    for (state, expected) in
        [(OffsetState::InDn, -1000.0), (OffsetState::AlreadyApplied, 0.0), (OffsetState::InDn, -1000.0)]
    {
        folder.offset_state = state;
        assert_eq!(pre(&folder.checked()), expected, "{state:?}");
    }
    folder.offset_state = OffsetState::Metadata;
    assert_eq!(folder.checked().bad.len(), 2);
}

/// The whole program: the same tables with, without and with a damaged memory; `check` and `status` read it and write nothing.
#[test]
fn the_tables_are_the_same_whatever_is_remembered() {
    let project = Project::products(&PLAIN.replace("nbr", "ndmi"), &[SAFE_NEW, SAFE_OLD]);
    project.run(&[]);
    let memory = project.path("out/cube/products.txt");
    let written = fs::read(&memory).unwrap();
    let (tables, scenes) = (project.tables(), project.record()["scenes"].clone());
    assert_eq!(project.count("duplicates"), 1);
    for damaged in [None, Some(&b"nonsense"[..]), Some(&written[..written.len() - 9])] {
        match damaged {
            None => fs::remove_file(&memory).unwrap(),
            Some(bytes) => fs::write(&memory, bytes).unwrap(),
        }
        let before = files(&project.out());
        for command in ["check", "status"] {
            project.lintan(command, &[]).expect(0, &[]);
            assert_same(&files(&project.out()), &before, command);
        }
        project.run(&[]).expect(0, &[]);
        assert_same(&project.tables(), &tables, "tables");
        assert_eq!(project.record()["scenes"], scenes);
        assert_eq!(fs::read(&memory).unwrap(), written);
    }
    // A fault that metadata gain later is noticed by `status`, from which it is not hidden by what is remembered.
    let xml = format!("scenes/{SAFE_NEW}/MTD_MSIL2A.xml");
    project.edit(&xml, "Sentinel-2B", "Sentinel-2E");
    project.lintan("status", &[]).expect(3, &["found Sentinel-2E, expected one of"]);
}

/// An item over the rasters of a product that carry the offset: means by parcel of its observations.
fn means(project: &Project) -> Vec<(String, String)> {
    let folder = project.path("out/tables/observations/year=2020");
    let path = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).next().unwrap();
    let (head, rows) = read_table(&path);
    let at = |name: &str| head.iter().position(|h| h == name).unwrap();
    let (parcel, mean) = (at("parcel_id"), at("mean"));
    rows.into_iter().map(|r| (r[parcel].clone(), r[mean].clone())).collect()
}

#[test]
fn an_open_offset_is_settled_by_the_setting_and_held_against_the_pixels() {
    let config = PLAIN.replace("\"nbr\"", "\"ndmi\"").replace("[observe]\n", "[observe]\npixel_m = 20\n");
    let product = Project::products(&config, &[SAFE_NEW]);
    product.run(&[]);
    let project = Project::products(&config, &[SAFE_NEW]);
    fs::rename(project.path("scenes"), project.path("products")).unwrap();
    fs::create_dir(project.path("scenes")).unwrap();
    let granule = format!(
        "../products/{SAFE_NEW}/GRANULE/L2A_T34TFR_A018318_20200908T092031/IMG_DATA/R20m/T34TFR_20200908T092031"
    );
    let asset = |band: &str| {
        json!({"href": format!("{granule}_{band}_20m.jp2"),
            "raster:bands": [{"scale": 1e-4, "offset": -0.1, "spatial_resolution": 20}]})
    };
    let item = json!({"type": "Feature", "stac_version": "1.0.0", "id": "open",
        "properties": {"datetime": "2020-09-08T09:20:31Z", "platform": "sentinel-2b",
            "earthsearch:boa_offset_applied": true, "s2:processing_baseline": "05.00"},
        "assets": {"red": asset("B04"), "nir08": asset("B8A"), "swir16": asset("B11"), "scl": asset("SCL")}});
    project.write("scenes/open.json", &item.to_string());
    let state = |from: &str, to: &str| project.edit("project.toml", from, to);

    // Nobody knows: refused, and the way out is named.
    project
        .lintan("run", &[])
        .expect(1, &["the item says that the offset is applied", "`offset_state` under [scenes]"]);
    // What is true of these pixels: the statistics of the product itself, and the record says who decided.
    state("paths = [\"scenes\"]", "paths = [\"scenes\"]\noffset_state = \"in_dn\"");
    project.run(&[]).expect(0, &[]);
    assert_eq!(means(&project), means(&product));
    assert!(means(&project).iter().any(|(_, mean)| mean != "-"));
    let record = project.record();
    assert_eq!(record["scenes"][0]["offset_from"], "setting");
    assert_eq!(record["configuration"]["scenes"]["offset_state"], "in_dn");
    assert_eq!(product.record()["scenes"][0]["offset_from"], "product");
    // What is not: nothing of the first answer is used for the second, and the dark pixels tell.
    state("\"in_dn\"", "\"already_applied\"");
    project
        .lintan("run", &[])
        .expect(1, &["`offset_state` under [scenes] that says that digital numbers carry no offset"]);
    state("\"already_applied\"", "\"guess\"");
    project.lintan("check", &[]).expect(2, &["offset_state", "already_applied"]);
}

/// A satellite that nobody knows yet stops nobody's run.
#[test]
fn an_unknown_satellite_is_set_aside() {
    let project = Project::romania(&PLAIN.replace("nbr", "ndmi"), &DATES[..1]);
    copy(&testdata("products").join(SAFE_NEW), &project.path("scenes").join(SAFE_NEW));
    project.edit(&format!("scenes/{SAFE_NEW}/MTD_MSIL2A.xml"), "Sentinel-2B", "Sentinel-2E");
    project.lintan("run", &[]).expect(3, &["found Sentinel-2E, expected one of", "sentinel-2c"]);
    assert_eq!(project.count("scenes"), 1);
    let reasons: Vec<String> = quarantine(&project.out()).into_iter().map(|a| a.reason).collect();
    assert_eq!(reasons, ["unsupported"]);
}

/// Four passes of one satellite, of which one is not there.
#[test]
fn dates_without_a_scene_are_told() {
    let project = Project::romania(&PLAIN.replace("nbr", "ndmi"), &[]);
    for (date, on) in DATES.iter().zip(["2018-07-01", "2018-07-11", "2018-07-31"]) {
        project.add_scene(date);
        let folder = project.path("scenes").join(date);
        let mut item = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path());
        let item = item.find(|p| p.extension().is_some_and(|e| e == "json")).unwrap();
        let mut value: Value = serde_json::from_slice(&fs::read(&item).unwrap()).unwrap();
        value["properties"]["platform"] = json!("sentinel-2b");
        value["properties"]["grid:code"] = json!("MGRS-34TFR");
        value["properties"]["datetime"] = json!(format!("{on}T09:20:00Z"));
        fs::write(&item, value.to_string()).unwrap();
    }
    let told = "no scene        1 of 4 dates of S2B over T34TFR every 10 days, 2018-07-01 to 2018-07-31: 2018-07-21";
    for command in ["check", "status"] {
        let outcome = project.lintan(command, &[]);
        assert!(outcome.out.contains(told), "{}", outcome.out);
    }
    project.run(&[]);
    let calendar = &project.record()["calendar"];
    assert_eq!((&calendar[0]["missing"], &calendar[0]["expected"]), (&json!(["2018-07-21"]), &json!(4)));
}

/// Every footprint pixel of a scene is accounted for by its class, also when all of it is set aside by the mask.
#[test]
fn pixels_of_a_scene_are_accounted_for() {
    let project = Project::romania(&PLAIN.replace("nbr", "ndmi"), &DATES);
    let plan = project.lintan("check", &["--format", "json"]).json();
    let all = plan["plan"]["grids"][0]["pixels"].as_u64().unwrap();
    project.run(&[]);
    let scenes = project.record()["scenes"].as_array().unwrap().clone();
    assert_eq!(scenes.len(), DATES.len());
    let clear = |s: &Value| s["pixels_by_class"]["clear"].as_u64().unwrap_or(0);
    for scene in &scenes {
        let classes = scene["pixels_by_class"].as_object().unwrap();
        assert_eq!(classes.values().filter_map(Value::as_u64).sum::<u64>(), all, "{scene}");
    }
    // The last date is half under cloud.
    assert!(clear(&scenes[5]) < all * 3 / 4 && clear(&scenes[0]) > all * 3 / 4, "{scenes:?}");
}
