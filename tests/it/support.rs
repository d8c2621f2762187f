//! A project in a temporary folder, the built program on it, and what it left behind.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use arrow::record_batch::RecordBatch;
use gdal::spatial_ref::{AxisMappingStrategy, SpatialRef};
use gdal::vector::{Feature, FieldDefn, Geometry, LayerAccess, LayerOptions, OGRFieldType, OGRwkbGeometryType};
use gdal::{Dataset, DriverManager};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use tempfile::TempDir;

/// Two summers, clear but for the last date, which is half under cloud.
pub const DATES: [&str; 6] = ["2018-07-01", "2018-07-21", "2018-08-15", "2020-07-05", "2020-07-10", "2020-07-30"];

pub const SAFE_NEW: &str = "S2B_MSIL2A_20200908T092031_N0500_R093_T34TFR_20230507T031422.SAFE";
pub const SAFE_OLD: &str = "S2B_MSIL2A_20200908T092031_N0214_R093_T34TFR_20200908T122407.SAFE";
pub const LANDSAT_7: &str = "LE07_L2SP_023028_20110907_20200909_02_T1";

/// Every stage that this program has: series, losses, stocks and deltas.
pub const CONFIG: &str = r#"[project]
name = "test"

[parcels]
path = "parcels.gpkg"
id = "parcel_id"
kind = "kind"
attributes = { forest_type = "lin_xing" }

[scenes]
paths = ["scenes"]

[observe]
indices = ["ndvi", "ndmi"]
min_clear_fraction = 0.9

[series]
step_days = 10

[change.two_date]
index = "ndmi"
before = ["2018-06-01", "2018-09-30"]
after = ["2020-06-01", "2020-09-30"]
min_drop = 0.15

[biomass.tier1_cover]
index = "ndvi"
index_bare = 0.20
index_full = 0.88
ecological_zone = "temperate_mountain"

[account]
periods = [["2018-07-15", "2020-07-15"]]

[output]
dir = "out"
"#;

/// Only observations and series.
pub const PLAIN: &str = r#"[project]
name = "test"

[parcels]
path = "parcels.gpkg"
id = "parcel_id"
kind = "kind"

[scenes]
paths = ["scenes"]

[observe]
indices = ["ndvi", "nbr"]

[output]
dir = "out"
"#;

pub fn testdata(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(relative)
}

pub fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    }
}

/// One parcel of a layer; coordinates in the layer's CRS.
#[derive(Clone)]
pub struct Parcel {
    pub id: Option<String>,
    pub kind: Option<String>,
    pub forest_type: Option<String>,
    pub wkb: Vec<u8>,
}

impl Parcel {
    /// A parcel of well-known text.
    pub fn new(id: &str, wkt: &str) -> Self {
        Parcel {
            id: Some(id.to_owned()),
            kind: Some("reserve".to_owned()),
            forest_type: Some("阔叶林".to_owned()),
            wkb: Geometry::from_wkt(wkt).unwrap().wkb().unwrap(),
        }
    }

    /// A square in the Romanian image: metres to the right of and below its upper left corner.
    pub fn square(id: &str, right: f64, below: f64, size: f64) -> Self {
        let (x0, y0) = (5_271_982.576_551_932 + right, 2_533_004.214_915_185_7 - below);
        let (x1, y1) = (x0 + size, y0 - size);
        Self::new(id, &format!("POLYGON (({x0} {y0}, {x1} {y0}, {x1} {y1}, {x0} {y1}, {x0} {y0}))"))
    }
}

/// The 45 parcels of the Romanian layer, coordinates to the last bit.
pub fn romanian_parcels() -> Vec<Parcel> {
    // A copy: the driver may leave files beside a layer that it opens.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("parcels.gpkg");
    copy(&testdata("romania/parcels.gpkg"), &path);
    let dataset = Dataset::open(&path).unwrap();
    let mut layer = dataset.layer(0).unwrap();
    let names: Vec<String> = layer.defn().fields().map(|f| f.name()).collect();
    let at = |name: &str| names.iter().position(|n| n == name).unwrap();
    let (id, kind, forest_type) = (at("parcel_id"), at("kind"), at("lin_xing"));
    layer
        .features()
        .map(|f| Parcel {
            id: f.field_as_string(id).unwrap(),
            kind: f.field_as_string(kind).unwrap(),
            forest_type: f.field_as_string(forest_type).unwrap(),
            wkb: f.geometry().unwrap().wkb().unwrap(),
        })
        .collect()
}

/// Writes a GeoPackage, in the order given; without `epsg` the layer states no CRS.
pub fn write_parcels(path: &Path, epsg: Option<u32>, parcels: &[Parcel]) {
    let _ = fs::remove_file(path);
    let srs = epsg.map(|code| {
        let mut srs = SpatialRef::from_epsg(code).unwrap();
        srs.set_axis_mapping_strategy(AxisMappingStrategy::TraditionalGisOrder);
        srs
    });
    let mut dataset = DriverManager::get_driver_by_name("GPKG").unwrap().create_vector_only(path).unwrap();
    let options =
        LayerOptions { name: "parcels", srs: srs.as_ref(), ty: OGRwkbGeometryType::wkbUnknown, options: None };
    let layer = dataset.create_layer(options).unwrap();
    for name in ["parcel_id", "kind", "lin_xing"] {
        FieldDefn::new(name, OGRFieldType::OFTString).unwrap().add_to_layer(&layer).unwrap();
    }
    for parcel in parcels {
        let mut feature = Feature::new(layer.defn()).unwrap();
        for (i, value) in [&parcel.id, &parcel.kind, &parcel.forest_type].into_iter().enumerate() {
            if let Some(value) = value {
                feature.set_field_string(i, value).unwrap();
            }
        }
        feature.set_geometry(Geometry::from_wkb(&parcel.wkb).unwrap()).unwrap();
        feature.create(&layer).unwrap();
    }
}

/// A configuration with its inputs in a folder that goes with the value.
pub struct Project {
    folder: TempDir,
}

impl Project {
    /// Nothing but the configuration, `project.toml`.
    pub fn new(config: &str) -> Self {
        let project = Project { folder: tempfile::tempdir().unwrap() };
        project.write("project.toml", config);
        project
    }

    /// Dates of the Romanian image and its 45 parcels.
    pub fn romania(config: &str, dates: &[&str]) -> Self {
        let project = Self::new(config);
        copy(&testdata("romania/parcels.gpkg"), &project.path("parcels.gpkg"));
        for date in dates {
            project.add_scene(date);
        }
        project
    }

    /// Products, with the parcels that lie in them.
    pub fn products(config: &str, names: &[&str]) -> Self {
        let project = Self::new(config);
        if names.iter().any(|n| n.starts_with("S2")) {
            copy(&testdata("romania/parcels.gpkg"), &project.path("parcels.gpkg"));
        } else {
            copy(&testdata("products/parcels_michigan.geojson"), &project.path("parcels.geojson"));
            project.edit("project.toml", "parcels.gpkg", "parcels.geojson");
        }
        for name in names {
            copy(&testdata("products").join(name), &project.path("scenes").join(name));
        }
        project
    }

    pub fn add_scene(&self, date: &str) {
        copy(&testdata("romania/scenes").join(date), &self.path("scenes").join(date));
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    pub fn out(&self) -> PathBuf {
        self.path("out")
    }

    pub fn write(&self, relative: &str, text: &str) {
        fs::write(self.path(relative), text).unwrap();
    }

    /// Replaces text that must be there.
    pub fn edit(&self, relative: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(relative)).unwrap();
        assert!(text.contains(from), "{relative} does not contain {from}");
        self.write(relative, &text.replace(from, to));
    }

    pub fn parcels(&self, parcels: &[Parcel]) {
        write_parcels(&self.path("parcels.gpkg"), Some(3035), parcels);
    }

    /// The program on this project's configuration.
    pub fn command(&self, command: &str, more: &[&str]) -> Command {
        let mut c = lintan();
        c.arg(command).arg(self.path("project.toml")).args(more);
        c
    }

    pub fn lintan(&self, command: &str, more: &[&str]) -> Outcome {
        Outcome::of(self.command(command, more))
    }

    /// Runs, and expects one of the codes that mean: done.
    pub fn run(&self, more: &[&str]) -> Outcome {
        let outcome = self.lintan("run", more);
        assert!([0, 3].contains(&outcome.code), "{outcome:?}");
        outcome
    }

    pub fn record(&self) -> Value {
        record(&self.out())
    }

    /// A count of the last run.
    pub fn count(&self, name: &str) -> u64 {
        self.record()["counts"][name].as_u64().unwrap_or_else(|| panic!("no count {name}"))
    }

    pub fn tables(&self) -> Files {
        tables(&self.out())
    }
}

pub fn lintan() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lintan"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Outcome {
    pub fn of(mut command: Command) -> Self {
        Self::new(&command.output().unwrap())
    }

    pub fn wait(child: Child) -> Self {
        Self::new(&child.wait_with_output().unwrap())
    }

    fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Outcome { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Exit code, and parts that standard error must contain.
    #[track_caller]
    pub fn expect(&self, code: i32, parts: &[&str]) -> &Self {
        assert_eq!(self.code, code, "{}\n{}", self.err, self.out);
        for part in parts {
            assert!(self.err.contains(part), "standard error lacks `{part}`:\n{}", self.err);
        }
        self
    }
}

/// Relative path -> content.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Every file below a folder; none where there is no folder.
pub fn files(root: &Path) -> Files {
    if !root.exists() {
        return Files::new();
    }
    walkdir::WalkDir::new(root)
        .into_iter()
        .map(Result::unwrap)
        .filter(|e| e.file_type().is_file())
        .map(|e| {
            let relative = e.path().strip_prefix(root).unwrap().to_string_lossy().into_owned();
            (relative, fs::read(e.path()).unwrap())
        })
        .collect()
}

/// What the promise of identical bytes is about: the tables and the quarantine.
pub fn tables(out: &Path) -> Files {
    let mut all = files(&out.join("tables"));
    all.insert("quarantine.parquet".into(), fs::read(out.join("quarantine.parquet")).unwrap());
    all
}

/// Fails with the names of the files that differ, and not with their bytes.
#[track_caller]
pub fn assert_same(found: &Files, expected: &Files, what: &str) {
    let names = |f: &Files| f.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected), "{what}: other files");
    let differ: Vec<&String> = found.keys().filter(|k| found[*k] != expected[*k]).collect();
    assert!(differ.is_empty(), "{what}: {differ:?} differ");
}

pub fn record(out: &Path) -> Value {
    serde_json::from_slice(&fs::read(out.join("run.json")).unwrap()).unwrap()
}

/// Files that a write left half done.
pub fn leftovers(root: &Path) -> Vec<String> {
    files(root).into_keys().filter(|f| f.contains(".staging-")).collect()
}

/// A quarantine row: subject, id, stage, reason, message.
#[derive(Debug, Clone, PartialEq)]
pub struct Aside {
    pub subject: String,
    pub id: String,
    pub stage: String,
    pub reason: String,
    pub message: String,
    pub path: String,
}

/// `quarantine.parquet` of an output folder.
pub fn quarantine(out: &Path) -> Vec<Aside> {
    let (head, rows) = read_table(&out.join("quarantine.parquet"));
    assert_eq!(head, ["subject", "id", "stage", "reason", "message", "path"]);
    rows.into_iter()
        .map(|row| {
            let [subject, id, stage, reason, message, path] = <[String; 6]>::try_from(row).unwrap();
            Aside { subject, id, stage, reason, message, path }
        })
        .collect()
}

fn batches(path: &Path) -> (Vec<String>, Vec<RecordBatch>) {
    let file = fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let head = builder.schema().fields().iter().map(|f| f.name().clone()).collect();
    (head, builder.build().unwrap().map(Result::unwrap).collect())
}

/// Head and rows of a table as text; numbers to 9 significant digits, missing values as `-`.
pub fn read_table(path: &Path) -> (Vec<String>, Vec<Vec<String>>) {
    use arrow::array::Array;
    let (head, batches) = batches(path);
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            rows.push(batch.columns().iter().map(|c| cell(&c.slice(row, 1))).collect());
        }
    }
    (head, rows)
}

/// The only value of an array as text.
fn cell(value: &arrow::array::ArrayRef) -> String {
    use arrow::array::{
        Array, BinaryArray, Date32Array, Float64Array, ListArray, StringArray, StructArray, TimestampMillisecondArray,
        UInt32Array,
    };
    if value.is_null(0) {
        return "-".into();
    }
    let any = value.as_any();
    if let Some(a) = any.downcast_ref::<StringArray>() {
        a.value(0).to_owned()
    } else if let Some(a) = any.downcast_ref::<Float64Array>() {
        number(a.value(0))
    } else if let Some(a) = any.downcast_ref::<UInt32Array>() {
        a.value(0).to_string()
    } else if let Some(a) = any.downcast_ref::<Date32Array>() {
        lintan::units::date_of(a.value(0)).to_string()
    } else if let Some(a) = any.downcast_ref::<TimestampMillisecondArray>() {
        jiff::Timestamp::from_millisecond(a.value(0)).unwrap().to_string()
    } else if let Some(a) = any.downcast_ref::<ListArray>() {
        let items = a.value(0);
        let texts: Vec<String> = (0..items.len()).map(|i| cell(&items.slice(i, 1))).collect();
        format!("[{}]", texts.join(" "))
    } else if let Some(a) = any.downcast_ref::<StructArray>() {
        let texts: Vec<String> = a.columns().iter().map(cell).collect();
        format!("({})", texts.join(" "))
    } else if let Some(a) = any.downcast_ref::<BinaryArray>() {
        outline(a.value(0))
    } else {
        panic!("no text for {}", value.data_type())
    }
}

/// 9 significant digits, without an exponent where that is short.
fn number(v: f64) -> String {
    let rounded: f64 = format!("{v:.8e}").parse().unwrap();
    // Sums that cancel leave -0 and dust.
    if rounded == 0.0 { "0".into() } else { format!("{rounded}") }
}

/// Well-known binary in a few figures.
fn outline(wkb: &[u8]) -> String {
    let geometry = Geometry::from_wkb(wkb).unwrap();
    let e = geometry.envelope();
    let mut text = geometry.geometry_name();
    // Few digits: an area in degrees is a small difference of large products.
    let _ = write!(text, "({:.3e}", geometry.area());
    for v in [e.MinX, e.MinY, e.MaxX, e.MaxY] {
        let _ = write!(text, " {}", number(v));
    }
    text.push(')');
    text
}
