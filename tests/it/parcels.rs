//! Parcel layers as they come: formats, encodings, systems, defects. Files are made here, in a folder of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

use gdal::spatial_ref::{AxisMappingStrategy, SpatialRef};
use gdal::vector::{FieldDefn, LayerAccess, LayerOptions, OGRFieldType};
use gdal::{Dataset, DriverManager};
use lintan::error::{Error, Reason};
use lintan::geo::datum::DatumShift;
use lintan::parcel::{Params, ParcelSet, Topic, files, read};

/// A square of about 100 m in the forest of Jilin, longitude 129: the central meridian of its Gauss-Kruger zone.
const SQUARE: &str = "[[129.0,42.5],[129.001,42.5],[129.001,42.501],[129.0,42.501],[129.0,42.5]]";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        lintan::run::start();
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A GeoJSON layer in a CRS, one feature a geometry, ids p0, p1 ...
    fn geojson(&self, epsg: u32, geometries: &[String]) -> Params {
        let features: Vec<String> = geometries
            .iter()
            .enumerate()
            .map(|(i, g)| format!(r#"{{"type":"Feature","properties":{{"id":"p{i}"}},"geometry":{g}}}"#))
            .collect();
        let crs = format!(r#"{{"type":"name","properties":{{"name":"urn:ogc:def:crs:EPSG::{epsg}"}}}}"#);
        let text = format!(r#"{{"type":"FeatureCollection","crs":{crs},"features":[{}]}}"#, features.join(","));
        std::fs::write(self.path("p.geojson"), text).unwrap();
        params("p.geojson")
    }

    fn read(&self, params: &Params) -> Result<ParcelSet, Error> {
        read(params, self.0.path())
    }
}

fn params(path: &str) -> Params {
    toml::from_str(&format!("path = \"{path}\"\nid = \"id\"")).unwrap()
}

fn polygon(rings: &str) -> String {
    format!(r#"{{"type":"Polygon","coordinates":[{rings}]}}"#)
}

/// A closed ring of coordinates in the text of GeoJSON.
fn ring(points: &[(f64, f64)]) -> String {
    let points: Vec<String> = points.iter().chain(points.first()).map(|(x, y)| format!("[{x},{y}]")).collect();
    format!("[{}]", points.join(","))
}

/// A square of a side, by its lower left corner.
fn square(x: f64, y: f64, side: f64) -> String {
    polygon(&ring(&[(x, y), (x + side, y), (x + side, y + side), (x, y + side)]))
}

fn srs(epsg: u32) -> SpatialRef {
    let mut srs = SpatialRef::from_epsg(epsg).unwrap();
    srs.set_axis_mapping_strategy(AxisMappingStrategy::TraditionalGisOrder);
    srs
}

/// Writes a layer: text fields, one row a geometry in GeoJSON.
fn write(path: &Path, driver: &str, options: &[&str], epsg: u32, fields: &[&str], rows: &[(String, Vec<&str>)]) {
    let driver = DriverManager::get_driver_by_name(driver).unwrap();
    let mut dataset = driver.create_vector_only(path).unwrap();
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let srs = srs(epsg);
    let options = LayerOptions { name: &name, srs: Some(&srs), ty: 3, options: Some(options) };
    let layer = dataset.create_layer(options).unwrap();
    for field in fields {
        FieldDefn::new(field, OGRFieldType::OFTString).unwrap().add_to_layer(&layer).unwrap();
    }
    for (geometry, values) in rows {
        let mut feature = gdal::vector::Feature::new(layer.defn()).unwrap();
        feature.set_geometry(gdal::vector::Geometry::from_geojson(geometry).unwrap()).unwrap();
        for (i, value) in values.iter().enumerate() {
            feature.set_field_string(i, value).unwrap();
        }
        feature.create(&layer).unwrap();
    }
    dataset.close().unwrap();
}

/// A Shapefile with Chinese fields and values.
fn chinese_shapefile(path: &Path, encoding: &str) -> Params {
    let rows = vec![
        (polygon(SQUARE), vec!["一号小班", "落叶松", "毁林地"]),
        (square(129.01, 42.5, 0.001), vec!["二号小班", "针阔混交林", "储备林"]),
    ];
    let option = format!("ENCODING={encoding}");
    write(path, "ESRI Shapefile", &[&option], 4490, &["小班号", "林种", "类型"], &rows);
    toml::from_str(&format!(
        "path = \"{}\"\nid = \"小班号\"\nkind = \"类型\"\nkind_values = {{ \"毁林地\" = \"damaged\" }}\n\
         attributes = {{ forest_type = \"林种\" }}",
        path.display()
    ))
    .unwrap()
}

fn assert_chinese(set: &ParcelSet) {
    let found: Vec<_> = set.parcels.iter().map(|p| (p.id.as_str(), p.attributes["forest_type"].as_str())).collect();
    assert_eq!(found, [("一号小班", "落叶松"), ("二号小班", "针阔混交林")]);
    assert_eq!(set.parcels[0].kind.unwrap().name(), "damaged");
    assert_eq!(set.crs.0, "EPSG:4490");
}

/// Sets the language byte of a .dbf.
fn set_language(dbf: &Path, language: u8) {
    let mut bytes = std::fs::read(dbf).unwrap();
    bytes[29] = language;
    std::fs::write(dbf, bytes).unwrap();
}

#[test]
fn chinese_text_of_shapefiles_is_read_however_it_is_declared() {
    let folder = Folder::new();
    for (stored, cpg, language, noted) in [
        ("GBK", Some("GBK"), 0u8, false),
        ("GBK", None, 0x4D, false),
        ("GBK", None, 0, true),
        ("GBK", None, 0x57, true),
        ("GBK", Some("UTF-8"), 0, true),
        ("UTF-8", Some("UTF-8"), 0, false),
        ("UTF-8", None, 0, true),
        ("UTF-8", None, 0x4D, true),
    ] {
        let case = format!("{stored} {cpg:?} {language}");
        let path = folder.path("小班.shp");
        let params = chinese_shapefile(&path, stored);
        std::fs::remove_file(path.with_extension("cpg")).unwrap();
        set_language(&path.with_extension("dbf"), language);
        if let Some(text) = cpg {
            std::fs::write(path.with_extension("cpg"), text).unwrap();
        }
        let set = folder.read(&params).unwrap_or_else(|e| panic!("{case}: {e}"));
        assert_chinese(&set);
        assert_eq!(set.notes.iter().any(|n| n.topic == Topic::Encoding), noted, "{case}: {:?}", set.notes);
        assert!(set.notes.iter().all(|n| n.topic == Topic::Encoding), "{case}: {:?}", set.notes);
        assert_eq!(files(&params, folder.0.path()).len(), 4 + usize::from(cpg.is_some()));
        for extension in ["shp", "shx", "dbf", "prj"] {
            std::fs::remove_file(path.with_extension(extension)).unwrap();
        }
        let _ = std::fs::remove_file(path.with_extension("cpg"));
    }
}

#[test]
fn a_configured_encoding_decides() {
    let folder = Folder::new();
    let path = folder.path("a.shp");
    let mut params = chinese_shapefile(&path, "GBK");
    std::fs::write(path.with_extension("cpg"), "ISO-8859-1").unwrap();
    assert!(folder.read(&params).unwrap_err().to_string().contains("no field `小班号`"));
    params.encoding = Some("GBK".into());
    let set = folder.read(&params).unwrap();
    assert_chinese(&set);
    assert!(set.notes.is_empty(), "{:?}", set.notes);
    params.encoding = Some("no-such-code".into());
    let e = folder.read(&params).unwrap_err();
    assert!(e.exit_code() == 2 && e.to_string().contains("encoding"), "{e}");
}

#[test]
fn what_a_shapefile_lacks_is_named() {
    let folder = Folder::new();
    for (extension, expected) in [("dbf", "no file `a.dbf`"), ("shx", "no file `a.shx`"), ("prj", "never guessed")] {
        let path = folder.path("a.shp");
        let params = chinese_shapefile(&path, "UTF-8");
        std::fs::remove_file(path.with_extension(extension)).unwrap();
        let e = folder.read(&params).unwrap_err();
        assert!(e.exit_code() == 2 && e.to_string().contains(expected), "{e}");
        for extension in ["shp", "shx", "dbf", "prj", "cpg"] {
            let _ = std::fs::remove_file(path.with_extension(extension));
        }
    }
    let e = folder.read(&params("missing.shp")).unwrap_err();
    assert!(e.to_string().contains("no such file"), "{e}");
    std::fs::write(folder.path("a.zip"), "PK").unwrap();
    let e = folder.read(&params("a.zip")).unwrap_err();
    assert!(e.help().unwrap().contains("unpack"), "{e}");
}

#[test]
fn esri_projection_files_are_identified() {
    let folder = Folder::new();
    let geographic = r#"GEOGCS["GCS_China_Geodetic_Coordinate_System_2000",DATUM["D_China_2000",SPHEROID["CGCS2000",6378137.0,298.257222101]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]]"#;
    let projected = |name: &str, easting: u32, middle: u32| {
        format!(
            r#"PROJCS["{name}",{geographic},PROJECTION["Gauss_Kruger"],PARAMETER["False_Easting",{easting}.0],PARAMETER["False_Northing",0.0],PARAMETER["Central_Meridian",{middle}.0],PARAMETER["Scale_Factor",1.0],PARAMETER["Latitude_Of_Origin",0.0],UNIT["Meter",1.0]]"#
        )
    };
    for (prj, x, epsg) in [
        (geographic.to_owned(), 129.0, 4490),
        (projected("CGCS2000_3_Degree_GK_CM_129E", 500_000, 129), 500_000.0, 4552),
        (projected("CGCS2000_3_Degree_GK_Zone_43", 43_500_000, 129), 43_500_000.0, 4531),
        (projected("CGCS2000_GK_CM_129E", 500_000, 129), 500_000.0, 4511),
        (projected("CGCS2000_GK_Zone_22", 22_500_000, 129), 22_500_000.0, 4500),
    ] {
        let path = folder.path(&format!("p{epsg}.shp"));
        let (y, side) = if x == 129.0 { (42.5, 0.001) } else { (4.707e6, 100.0) };
        write(&path, "ESRI Shapefile", &[], epsg, &["id"], &[(square(x, y, side), vec!["a"])]);
        std::fs::write(path.with_extension("prj"), prj).unwrap();
        let set = folder.read(&params(&format!("p{epsg}.shp"))).unwrap();
        assert_eq!(set.crs.0, format!("EPSG:{epsg}"));
        assert!(set.quarantined.is_empty() && set.notes.is_empty(), "{:?} {:?}", set.quarantined, set.notes);
        let c = set.parcels[0].lon_lat.0[0].exterior().0[0];
        assert!((c.x - 129.0).abs() < 0.01 && (c.y - 42.5).abs() < 0.02, "{c:?}");
    }
}

#[test]
fn flatgeobuf_and_geopackage_give_the_same_parcels() {
    let folder = Folder::new();
    let rows = vec![(polygon(SQUARE), vec!["a", "落叶松"])];
    let mut digests = Vec::new();
    let utf8: &[&str] = &["ENCODING=UTF-8"];
    for (name, driver, options) in
        [("p.fgb", "FlatGeobuf", &[][..]), ("p.gpkg", "GPKG", &[]), ("p.shp", "ESRI Shapefile", utf8)]
    {
        write(&folder.path(name), driver, options, 4490, &["id", "林种"], &rows);
        let mut params = params(name);
        params.attributes = [("forest_type".to_owned(), "林种".to_owned())].into();
        let set = folder.read(&params).unwrap();
        assert_eq!(set.parcels[0].attributes["forest_type"], "落叶松");
        digests.push(set.parcels[0].digest);
    }
    assert!(digests.windows(2).all(|d| d[0] == d[1]), "one outline, one digest, whichever way its ring runs");
}

/// A GeoParquet file with one square, written by the arrow and parquet crates.
fn geoparquet(path: &Path, geo: Option<serde_json::Value>, wkt: &str) {
    use arrow::array::{ArrayRef, BinaryArray, Float64Array, RecordBatch, StringArray};
    use parquet::basic::Compression;
    use parquet::file::properties::WriterProperties;
    use std::sync::Arc;
    let wkb = gdal::vector::Geometry::from_wkt(wkt).unwrap().wkb().unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Float64Array::from(vec![101.0, 102.0]))),
        ("geometry", Arc::new(BinaryArray::from_opt_vec(vec![Some(&wkb[..]), None]))),
        ("林种", Arc::new(StringArray::from(vec![Some("落叶松"), None]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    if let Some(geo) = geo {
        let geo = parquet::file::metadata::KeyValue::new("geo".into(), geo.to_string());
        writer.append_key_value_metadata(geo);
    }
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn geoparquet_says_its_crs_or_means_longitude_and_latitude() {
    let folder = Folder::new();
    let degrees = "POLYGON ((129 42.5,129.001 42.5,129.001 42.501,129 42.501,129 42.5))";
    let metres = "POLYGON ((500000 4707000,500100 4707000,500100 4707100,500000 4707100,500000 4707000))";
    let projjson: serde_json::Value = serde_json::from_str(&srs(4552).to_projjson().unwrap()).unwrap();
    let column = |crs: Option<serde_json::Value>| {
        let mut column = serde_json::json!({ "encoding": "WKB", "geometry_types": ["Polygon"] });
        if let Some(crs) = crs {
            column["crs"] = crs;
        }
        Some(serde_json::json!({ "version": "1.1.0", "primary_column": "geometry", "columns": { "geometry": column } }))
    };
    let crs84 = serde_json::json!({ "id": { "authority": "OGC", "code": "CRS84" } });
    let mut params = params("p.parquet");
    params.attributes = [("forest_type".to_owned(), "林种".to_owned())].into();
    for (crs, wkt, expected) in
        [(None, degrees, "OGC:CRS84"), (Some(crs84), degrees, "OGC:CRS84"), (Some(projjson), metres, "EPSG:4552")]
    {
        geoparquet(&folder.path("p.parquet"), column(crs), wkt);
        let set = folder.read(&params).unwrap();
        assert_eq!((set.crs.0.as_str(), set.features), (expected, 2));
        assert_eq!((set.parcels[0].id.as_str(), set.parcels[0].attributes["forest_type"].as_str()), ("101", "落叶松"));
        assert_eq!((set.quarantined[0].id.as_str(), set.quarantined[0].reason), ("102", Reason::InvalidGeometry));
    }
    let mut native = column(None).unwrap();
    native["columns"]["geometry"]["encoding"] = "polygon".into();
    for (geo, expected) in [
        (column(Some(serde_json::Value::Null)), "without a CRS"),
        (None, "without GeoParquet metadata"),
        (Some(native), "expected WKB"),
    ] {
        geoparquet(&folder.path("p.parquet"), geo, degrees);
        let e = folder.read(&params).unwrap_err();
        assert!(e.exit_code() == 2 && e.to_string().contains(expected), "{e}");
    }
    std::fs::write(folder.path("p.parquet"), "PAR1 and no more").unwrap();
    assert!(folder.read(&params).unwrap_err().to_string().contains("cannot be read"));
}

#[test]
fn coordinates_of_another_zone_are_set_aside_with_the_code_that_fits() {
    let folder = Folder::new();
    for (epsg, x, y, expected) in [
        (4552, 43_500_000.0, 4_707_000.0, "EPSG:4531 "),
        (4531, 500_000.0, 4_707_000.0, "EPSG:4552 "),
        (4531, 42_500_000.0, 4_707_000.0, "EPSG:4530 "),
        (4531, 22_500_000.0, 4_707_000.0, "EPSG:4500 "),
        (4552, 4_707_000.0, 500_000.0, "swapped"),
        (4552, 129.0, 42.5, "EPSG:4490"),
        // 250 km from the central meridian at 42.5 N: more than 2.5 degrees.
        (4551, 250_000.0, 4_707_000.0, "EPSG:4550 "),
        (4552, 750_000.0, 4_707_000.0, "EPSG:4511 "),
        (4490, 43_500_000.0, 4_707_000.0, "EPSG:4531 "),
        (4610, 22_500_000.0, 4_707_000.0, "EPSG:2336 "),
    ] {
        let set = folder.read(&folder.geojson(epsg, &[square(x, y, 0.5)])).unwrap();
        let [q] = &set.quarantined[..] else { panic!("EPSG:{epsg} ({x}, {y}): {:?}", set.parcels) };
        assert_eq!(q.reason, Reason::BadCoordinates);
        assert!(q.message.contains(expected), "EPSG:{epsg} ({x}, {y}): {}", q.message);
    }
    // All systems of one place agree.
    let reference = folder.read(&folder.geojson(4490, &[polygon(SQUARE)])).unwrap().parcels[0].area_ha;
    for (epsg, x) in [(4552, 500_000.0), (4531, 43_500_000.0), (4511, 500_000.0), (4500, 22_500_000.0)] {
        // 82.18 m x 111.08 m, the square's sides.
        let points = [(x, 4_707_000.0), (x + 82.18, 4_707_000.0), (x + 82.18, 4_707_111.08), (x, 4_707_111.08)];
        let set = folder.read(&folder.geojson(epsg, &[polygon(&ring(&points))])).unwrap();
        let area = set.parcels[0].area_ha;
        assert!((area / reference - 1.0).abs() < 2e-3, "EPSG:{epsg}: {area} ha, expected about {reference}");
    }
}

#[test]
fn old_datums_are_used_with_a_warning() {
    let folder = Folder::new();
    for (epsg, x, y, warned) in [
        (4610, 129.0, 42.5, true),
        (4214, 129.0, 42.5, true),
        (2388, 500_000.0, 4_707_000.0, true),
        (2419, 43_500_000.0, 4_707_000.0, true),
        (4490, 129.0, 42.5, false),
        (4552, 500_000.0, 4_707_000.0, false),
        (32652, 500_000.0, 4_707_000.0, false),
    ] {
        let set = folder.read(&folder.geojson(epsg, &[square(x, y, if x < 180.0 { 0.001 } else { 100.0 })])).unwrap();
        assert_eq!(set.parcels.len(), 1, "{:?}", set.quarantined);
        let datum: Vec<_> = set.notes.iter().filter(|n| n.topic == Topic::Datum).collect();
        assert_eq!(datum.len(), usize::from(warned), "EPSG:{epsg}: {:?}", set.notes);
        assert!(datum.iter().all(|n| n.message.contains(&format!("EPSG:{epsg}"))), "{datum:?}");
    }
}

#[test]
fn web_map_offsets_are_undone_on_request() {
    let folder = Folder::new();
    // 116.404, 39.915 on WGS 84 is 116.4102444992, 39.9164042815 on GCJ-02 and, from there, 116.4166272438, 39.9226995522
    // on BD-09 (published example of the library coordtransform).
    for (shift, x, y) in [
        (DatumShift::Gcj02, 116.410_244_499_169_38, 39.916_404_281_501_64),
        (DatumShift::Bd09, 116.416_627_243_787_33, 39.922_699_552_216_22),
    ] {
        let mut params = folder.geojson(4490, &[square(x, y, 0.001)]);
        let plain = folder.read(&params).unwrap();
        params.datum_shift = Some(shift);
        let set = folder.read(&params).unwrap();
        let c = set.parcels[0].geometry.0[0].exterior().0[0];
        assert!((c.x - 116.404).abs() < 1e-9 && (c.y - 39.915).abs() < 1e-9, "{c:?}");
        assert_eq!((set.crs.0.as_str(), &set.parcels[0].geometry), ("EPSG:4326", &set.parcels[0].lon_lat));
        assert!(set.notes.iter().any(|n| n.topic == Topic::Datum && n.message.contains(shift.name())));
        assert_ne!(set.parcels[0].digest, plain.parcels[0].digest);
    }
    assert!(toml::from_str::<Params>("path = \"p\"\nid = \"id\"\ndatum_shift = \"gcj03\"").is_err());
}

#[test]
fn geometry_is_repaired_where_its_area_stays() {
    let folder = Folder::new();
    let (x, y) = (500_000.0, 4_707_000.0);
    let at = |points: &[(f64, f64)]| points.iter().map(|(a, b)| (x + a, y + b)).collect::<Vec<_>>();
    let cases = [
        (
            polygon(
                &ring(&at(&[(0.0, 0.0), (100.0, 0.0), (100.0, 100.0), (0.0, 100.0)]))
                    .replace(&format!(",[{x},{y}]]"), "]"),
            ),
            "1 ring closed",
        ),
        (
            polygon(&ring(&at(&[(0.0, 0.0), (100.0, 0.0), (100.0, 0.0), (100.0, 100.0), (0.0, 100.0)]))),
            "1 repeated vertex removed",
        ),
        (
            polygon(&ring(&at(&[(0.0, 0.0), (100.0, 0.0), (130.0, 0.0), (100.0, 0.0), (100.0, 100.0), (0.0, 100.0)]))),
            "1 spike of no width removed",
        ),
        // Two squares that touch at a corner, as one ring.
        (
            polygon(&ring(&at(&[
                (0.0, 0.0),
                (50.0, 0.0),
                (50.0, 100.0),
                (100.0, 100.0),
                (100.0, 200.0),
                (50.0, 200.0),
                (50.0, 100.0),
                (0.0, 100.0),
            ]))),
            "touch",
        ),
        // A loop of 10 mm where a ring was closed by hand.
        (
            polygon(&ring(&at(&[(0.0, 0.0), (100.0, 0.0), (100.0, 100.0), (0.0, 100.0), (0.01, -0.01), (-0.01, 0.0)]))),
            "Self-intersection",
        ),
        // A hole drawn twice as wide as nothing.
        (
            polygon(&format!(
                "{},{}",
                ring(&at(&[(0.0, 0.0), (100.0, 0.0), (100.0, 100.0), (0.0, 100.0)])),
                ring(&at(&[(10.0, 10.0), (20.0, 20.0)]))
            )),
            "without area left out",
        ),
    ];
    for (geometry, expected) in cases {
        let set = folder.read(&folder.geojson(4552, &[geometry])).unwrap();
        assert!(set.quarantined.is_empty(), "{expected}: {:?}", set.quarantined);
        let note = set.notes.iter().find(|n| n.topic == Topic::Repair && n.parcels == ["p0"]).expect(expected);
        assert!(note.message.contains(expected) && note.message.contains("mu)"), "{expected}: {}", note.message);
        assert!(lintan::gdal_io::validity(&set.parcels[0].geometry).is_ok());
        assert!((0.99..1.51).contains(&set.parcels[0].area_ha), "{expected}: {}", set.parcels[0].area_ha);
    }
}

#[test]
fn rings_that_disagree_are_turned() {
    let folder = Folder::new();
    let outer = ring(&[(129.0, 42.5), (129.01, 42.5), (129.01, 42.51), (129.0, 42.51)]);
    let hole = [(129.002, 42.502), (129.004, 42.502), (129.004, 42.504)];
    let same = polygon(&format!("{outer},{}", ring(&hole)));
    let against = polygon(&format!("{outer},{}", ring(&hole.iter().rev().copied().collect::<Vec<_>>())));
    let (same, against) = (folder.read(&folder.geojson(4490, &[same])), folder.read(&folder.geojson(4490, &[against])));
    let (same, against) = (same.unwrap(), against.unwrap());
    assert!((same.parcels[0].area_ha - against.parcels[0].area_ha).abs() < 1e-9);
    assert!(same.notes.iter().any(|n| n.message.starts_with("1 parcels have rings")), "{:?}", same.notes);
    assert!(against.notes.is_empty(), "{:?}", against.notes);
}

#[test]
fn what_could_mean_two_things_is_set_aside_with_its_place() {
    let folder = Folder::new();
    let (x, y) = (500_000.0, 4_707_000.0);
    let at = |points: &[(f64, f64)]| ring(&points.iter().map(|(a, b)| (x + a, y + b)).collect::<Vec<_>>());
    let big = at(&[(0.0, 0.0), (100.0, 0.0), (100.0, 100.0), (0.0, 100.0)]);
    let parts = |a: &str, b: &str| format!(r#"{{"type":"MultiPolygon","coordinates":[[{a}],[{b}]]}}"#);
    for (geometry, expected) in [
        // The crossing is at (50, 50).
        (polygon(&at(&[(0.0, 0.0), (100.0, 100.0), (100.0, 0.0), (0.0, 100.0)])), "500050 4707050"),
        (parts(&big, &at(&[(50.0, 0.0), (150.0, 0.0), (150.0, 100.0), (50.0, 100.0)])), "50"),
        (polygon(&format!("{big},{}", at(&[(200.0, 0.0), (210.0, 0.0), (210.0, 10.0)]))), "ole lies outside"),
        (parts(&big, &big), "invalid polygon"),
        (polygon(&at(&[(0.0, 0.0), (100.0, 0.0), (50.0, 0.0)])), "without area"),
        (polygon(&at(&[(0.0, 0.0), (100.0, 0.0)])), "without area"),
        (r#"{"type":"Polygon","coordinates":[]}"#.to_owned(), "empty geometry"),
        ("null".to_owned(), "an empty geometry"),
        (format!(r#"{{"type":"Point","coordinates":[{x},{y}]}}"#), "POINT, expected POLYGON"),
    ] {
        let set = folder.read(&folder.geojson(4552, std::slice::from_ref(&geometry))).unwrap();
        let [q] = &set.quarantined[..] else { panic!("{geometry} is accepted: {:?}", set.notes) };
        assert_eq!(q.reason, Reason::InvalidGeometry);
        assert!(q.message.contains(expected), "{geometry}: {}", q.message);
    }
}

#[test]
fn slivers_and_overlaps_are_told_and_kept() {
    let folder = Folder::new();
    let (x, y) = (500_000.0, 4_707_000.0);
    let strip = polygon(&ring(&[(x, y + 900.0), (x + 500.0, y + 900.0), (x + 500.0, y + 900.05), (x, y + 900.05)]));
    let set = folder
        .read(&folder.geojson(
            4552,
            &[
                square(x, y, 100.0),
                // Half over the first.
                square(x + 50.0, y, 100.0),
                // Beside the second: no overlap.
                square(x + 150.0, y, 100.0),
                // A hand's breadth into the third: 0.5 m2.
                square(x + 249.995, y, 100.0),
                square(x, y + 500.0, 0.5),
                strip,
            ],
        ))
        .unwrap();
    assert_eq!(set.parcels.len(), 6);
    let of = |topic: Topic| set.notes.iter().filter(|n| n.topic == topic).collect::<Vec<_>>();
    let overlaps = of(Topic::Overlap);
    assert_eq!(overlaps.len(), 2, "{overlaps:?}");
    assert!(overlaps[0].message.starts_with("1 pairs") && overlaps[1].parcels == ["p0", "p1"], "{overlaps:?}");
    // 50 m x 100 m is 0.5 ha or 7.5 mu.
    assert!(overlaps[1].message.contains("overlap by 0.5000 ha (7.500 mu), 50.0"), "{overlaps:?}");
    let slivers: Vec<_> = of(Topic::Sliver).iter().map(|n| n.parcels[0].clone()).collect();
    assert_eq!(slivers, ["p4", "p5"]);
}

fn lintan(config: &Path, command: &[&str]) -> (Option<i32>, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_lintan")).args(command).arg(config).output().unwrap();
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}

/// The Romanian parcels as a Chinese bureau would send them: a GBK Shapefile that does not say so, with one parcel drawn
/// over another.
#[test]
fn a_chinese_shapefile_goes_through_a_run() {
    let folder = Folder::new();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/romania");
    let source = Dataset::open(data.join("parcels.gpkg")).unwrap();
    let mut layer = source.layer(0).unwrap();
    let rows: Vec<(String, String, f64)> = layer
        .features()
        .take(5)
        .enumerate()
        .map(|(i, f)| {
            let g = f.geometry().unwrap();
            (g.json().unwrap(), format!("第{}小班", i + 1), g.area())
        })
        .collect();
    let types = ["针叶林", "阔叶林", "落叶松", "混交林", "针叶林"];
    let mut features: Vec<(String, Vec<&str>)> =
        rows.iter().zip(types).map(|((g, id, _), t)| (g.clone(), vec![id.as_str(), t])).collect();
    features.push((rows[0].0.clone(), vec!["重叠小班", "针叶林"]));
    let path = folder.path("小班.shp");
    let epsg = u32::try_from(layer.spatial_ref().unwrap().auth_code().unwrap()).unwrap();
    write(&path, "ESRI Shapefile", &["ENCODING=GBK"], epsg, &["小班号", "林种"], &features);
    std::fs::remove_file(path.with_extension("cpg")).unwrap();
    set_language(&path.with_extension("dbf"), 0);

    let scenes: Vec<String> =
        ["2018-08-05", "2018-08-15"].iter().map(|d| format!("\"{}\"", data.join("scenes").join(d).display())).collect();
    let config = folder.path("forest.toml");
    let text = format!(
        "[project]\nname = \"forest\"\n[parcels]\npath = \"小班.shp\"\nid = \"小班号\"\n\
         attributes = {{ forest_type = \"林种\" }}\n[scenes]\npaths = [{}]\n",
        scenes.join(", ")
    );
    std::fs::write(&config, text).unwrap();

    let (code, stdout, stderr) = lintan(&config, &["check", "--format", "json"]);
    assert_eq!(code, Some(0), "{stderr}");
    let plan: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let parcels = plan["parcels"].as_array().unwrap();
    assert_eq!(parcels.len(), 6);
    for p in parcels {
        let (ha, mu) = (p["area_ha"].as_f64().unwrap(), p["area_mu"].as_f64().unwrap());
        assert!(ha > 0.0 && (mu / ha - 15.0).abs() < 1e-9);
    }

    let (code, stdout, stderr) = lintan(&config, &["run"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("第1小班"), "{stdout}");
    assert!(stderr.contains("read as GBK") && stderr.contains("重叠小班"), "{stderr}");
    let record = std::fs::read_to_string(folder.path("out/forest/run.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let topics: Vec<&str> = record["notes"].as_array().unwrap().iter().map(|n| n["topic"].as_str().unwrap()).collect();
    assert_eq!(topics, ["encoding", "overlap", "overlap"]);
    let inputs: Vec<&str> = record["inputs"].as_array().unwrap().iter().map(|i| i["path"].as_str().unwrap()).collect();
    for name in ["小班.shp", "小班.shx", "小班.dbf", "小班.prj"] {
        assert!(inputs.contains(&name), "{inputs:?}");
    }
    assert_eq!(record["counts"]["observations"], 12);
}
