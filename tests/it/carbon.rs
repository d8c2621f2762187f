//! Carbon through the whole program: biomass maps, and what must hold of any method.

use std::fs;
use std::path::Path;

use gdal::DriverManager;
use gdal::raster::Buffer;
use gdal::spatial_ref::{AxisMappingStrategy, SpatialRef};

use crate::support::{CONFIG, DATES, Parcel, Project, quarantine, read_table, romanian_parcels, tables};

/// Writes a raster in degrees over the Romanian parcels: what a function of longitude and latitude says at pixel centres.
fn map(path: &Path, corner: (f64, f64), pixel: f64, (cols, rows): (usize, usize), value: impl Fn(f64, f64) -> f32) {
    let driver = DriverManager::get_driver_by_name("GTiff").unwrap();
    let mut target = driver.create_with_band_type::<f32, _>(path, cols, rows, 1).unwrap();
    target.set_geo_transform(&[corner.0, pixel, 0.0, corner.1, 0.0, -pixel]).unwrap();
    let mut srs = SpatialRef::from_epsg(4326).unwrap();
    srs.set_axis_mapping_strategy(AxisMappingStrategy::TraditionalGisOrder);
    target.set_spatial_ref(&srs).unwrap();
    let at = |i: usize| (corner.0 + ((i % cols) as f64 + 0.5) * pixel, corner.1 - ((i / cols) as f64 + 0.5) * pixel);
    let values: Vec<f32> = (0..cols * rows).map(|i| value(at(i).0, at(i).1)).collect();
    let mut band = target.rasterband(1).unwrap();
    band.set_no_data_value(Some(-9999.0)).unwrap();
    band.write((0, 0), (cols, rows), &mut Buffer::new((cols, rows), values)).unwrap();
}

/// The corner and size of a map over all Romanian parcels, pixels of about 10 m.
const CORNER: (f64, f64) = (22.13, 45.22);
const PIXEL: f64 = 0.0001;
const SIZE: (usize, usize) = (400, 300);

fn project() -> Project {
    let project = Project::romania(CONFIG, &DATES);
    let text = fs::read_to_string(project.path("project.toml")).unwrap();
    let (head, rest) = text.split_once("[biomass.tier1_cover]").unwrap();
    let (_, tail) = rest.split_once("[account]").unwrap();
    let biomass = "[biomass.agb_map]\nunit = \"t d.m./ha\"\nerror_range_m = 300\necological_zone = \"temperate_mountain\"\n\
                   [[biomass.agb_map.maps]]\npath = \"agb.tif\"\nerror_path = \"agb_se.tif\"\ndate = \"2018-07-15\"\n\n";
    project.write("project.toml", &format!("{head}{biomass}[account]{tail}"));
    // A plane: its mean over a parcel is its value at the parcel's centre.
    map(&project.path("agb.tif"), CORNER, PIXEL, SIZE, |lon, _| (100.0 + 2000.0 * (lon - 22.15)) as f32);
    map(&project.path("agb_se.tif"), CORNER, PIXEL, SIZE, |_, _| 30.0);
    project
}

fn column<'a>(head: &[String], rows: &'a [Vec<String>], name: &str) -> Vec<&'a str> {
    let at = head.iter().position(|h| h == name).unwrap_or_else(|| panic!("no {name} in {head:?}"));
    rows.iter().map(|r| r[at].as_str()).collect()
}

#[test]
fn a_biomass_map_is_read_by_footprint() {
    let project = project();
    project.run(&[]).expect(3, &["RO-004"]);
    let (head, rows) = read_table(&project.out().join("tables/stocks.parquet"));
    let of = |name| column(&head, &rows, name);
    let deltas = read_table(&project.out().join("tables/deltas.parquet"));
    let mut seen = 0;
    for i in 0..rows.len() {
        if (of("pool")[i], of("epoch")[i]) != ("aboveground", "2018-07-15") {
            continue;
        }
        seen += 1;
        let parcel = of("parcel_id")[i];
        // The box of the parcel stands in the deltas; squares and near-squares have their centre in its middle.
        let at = column(&deltas.0, &deltas.1, "parcel_id").iter().position(|p| *p == parcel).unwrap();
        let corners = column(&deltas.0, &deltas.1, "bbox")[at];
        let numbers: Vec<f64> = corners.trim_matches(['(', ')']).split(' ').map(|n| n.parse().unwrap()).collect();
        let plane = |lon: f64| 100.0 + 2000.0 * (lon - 22.15);
        let density: f64 = of("density_t_c_per_ha")[i].parse().unwrap();
        let cf = density / plane((numbers[0] + numbers[2]) / 2.0);
        // 0.48 of broadleaf; parcels are no exact boxes.
        assert!((cf / 0.48 - 1.0).abs() < 0.02, "{parcel}: {cf}");
        assert_eq!(of("status")[i], "screening_only");
        assert!(of("flags")[i].contains("not_validated_locally"), "{}", of("flags")[i]);
        // The error of the mean is smaller than that of a pixel (30 t/ha) and larger than without correlation.
        let area: f64 = of("area_ha")[i].parse().unwrap();
        let se: f64 = of("stock_se_t_c")[i].parse().unwrap();
        let of_map = se / area / 0.48;
        assert!(of_map < 32.0 && of_map > 3.0 * 30.0 / (area * 1e4 / 86.0).sqrt(), "{parcel}: {of_map}");
    }
    assert!(seen > 30, "{seen}");
    // At the later epoch the same map counts, less what two_date saw lost.
    let delta = |name: &str| column(&deltas.0, &deltas.1, name);
    let lost = delta("disturbed_area_ha").iter().filter(|l| **l != "0").count();
    assert!(lost > 5);
    for i in 0..deltas.1.len() {
        let n = |name: &str| -> f64 { delta(name)[i].parse().unwrap() };
        let expected = -n("stock_start_t_c") * n("disturbed_area_ha") / n("area_ha");
        assert!((n("delta_t_c") - expected).abs() < 1e-6 * n("stock_start_t_c"), "{}", delta("parcel_id")[i]);
        assert!(delta("flags")[i].contains("growth_not_stated"));
    }
    let inputs = project.record()["inputs"].to_string();
    assert!(inputs.contains("agb.tif") && inputs.contains("agb_se.tif"));
}

#[test]
fn what_is_wrong_with_a_biomass_map_is_told() {
    let project = project();
    let fails = |parts: &[&str]| {
        project.lintan("run", &[]).expect(2, parts);
        project.lintan("check", &[]).expect(2, parts);
    };
    map(&project.path("agb_se.tif"), CORNER, 2.0 * PIXEL, (200, 150), |_, _| 30.0);
    // In words, with the line that names the raster; before any scene is read.
    let text = fs::read_to_string(project.path("project.toml")).unwrap();
    let line = text.lines().position(|l| l.starts_with("error_path")).unwrap() + 1;
    let at = format!("project.toml:{line}: `biomass.agb_map.maps[0].error_path`: found ");
    fails(&[
        &at,
        "agb_se.tif on the grid EPSG:4326, pixel 0.0002 x 0.0002, upper-left corner (22.13, 45.22), 200 x 150 pixels",
        "agb.tif, EPSG:4326, pixel 0.0001 x 0.0001, upper-left corner (22.13, 45.22), 400 x 300 pixels",
    ]);
    fs::remove_file(project.path("agb_se.tif")).unwrap();
    fails(&[&format!("{at}no file"), "agb_se.tif", "relative to the configuration"]);
    let kept: Vec<String> = crate::support::files(&project.out().join("cube")).into_keys().collect();
    assert_eq!(kept, ["inputs.json", "products.txt"], "digests and metadata only");
    project.edit("project.toml", "unit = \"t d.m./ha\"", "unit = \"t/acre\"");
    fails(&["t/acre", "t d.m./ha"]);
    project.edit("project.toml", "unit = \"t/acre\"", "unit = \"t d.m./ha\"");

    // Values of another unit (kg per ha), half a map, and an epoch before it: reasons, and the rest finished.
    map(&project.path("agb.tif"), CORNER, PIXEL, (210, 300), |lon, _| if lon > 22.1495 { 120.0 } else { 120_000.0 });
    map(&project.path("agb_se.tif"), CORNER, PIXEL, (210, 300), |_, _| 30.0);
    project.edit("project.toml", "periods = [", "periods = [[\"2017-07-15\", \"2018-07-15\"], ");
    project.run(&[]).expect(3, &[]);
    let aside: Vec<String> = quarantine(&project.out()).into_iter().map(|q| q.message).collect();
    let some = |part: &str| assert!(aside.iter().any(|m| m.contains(part)), "{part}: {aside:#?}");
    some("check `unit`");
    some("% of the parcel, expected at least 90.0 %");
    some("epoch 2017-07-15: found the first map of 2018-07-15");
}

/// A parcel's figures do not depend on which others are in the run, nor on the number of threads.
#[test]
fn figures_are_a_parcels_own() {
    let all = Project::romania(CONFIG, &DATES);
    all.run(&[]);
    let some = Project::romania(CONFIG, &DATES);
    let wanted = ["RO-011", "RO-030", "RO-041"];
    let parcels: Vec<Parcel> =
        romanian_parcels().into_iter().filter(|p| wanted.contains(&p.id.as_deref().unwrap_or_default())).collect();
    some.parcels(&parcels);
    some.run(&[]);
    for table in ["stocks", "deltas"] {
        let rows = |project: &Project| {
            let (head, rows) = read_table(&project.out().join(format!("tables/{table}.parquet")));
            // What reference parcels did is no figure of the parcel alone.
            let own = |name: &String| !name.starts_with("did_") && !name.starts_with("reference");
            let keep: Vec<usize> = (0..head.len()).filter(|i| own(&head[*i])).collect();
            let rows = rows.into_iter().filter(|r| wanted.contains(&r[0].as_str()));
            rows.map(|r| keep.iter().map(|i| r[*i].clone()).collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        assert_eq!(rows(&all), rows(&some), "{table}");
        assert!(rows(&some).len() >= 2);
    }
    let before = tables(&all.out());
    all.write(
        "project.toml",
        &format!("{}\n[engine]\nthreads = 1\n", fs::read_to_string(all.path("project.toml")).unwrap()),
    );
    fs::remove_dir_all(all.out()).unwrap();
    all.run(&[]);
    crate::support::assert_same(&tables(&all.out()), &before, "one thread");
}

/// Every run says that its figures add up.
#[test]
fn invariants_stand_in_the_record() {
    let project = Project::romania(CONFIG, &DATES);
    project.run(&[]);
    let record = project.record();
    for name in [
        "pools_sum_to_total",
        "stock_is_density_times_area",
        "delta_is_difference_of_stocks",
        "parcels_hold_no_more_than_their_ground",
    ] {
        let check = &record["invariants"][name];
        assert!(check["checked"].as_u64().unwrap() > 0, "{name}");
        assert_eq!(check["violated"], 0, "{name}");
    }
    assert_eq!(record["monte_carlo"]["draws"], 10_000);
    assert!(record["monte_carlo"]["algorithm"].as_str().unwrap().contains("PCG64"));
}

/// Squares in the Romanian image with what a forest inventory says of them, as GeoJSON in the layer's CRS.
pub fn inventory(project: &Project, stands: &[(&str, &str, &str)]) {
    let features: Vec<serde_json::Value> = stands
        .iter()
        .enumerate()
        .map(|(i, (id, species, volume))| {
            let (x0, y0) = (5_271_982.576_551_932 + 200.0 + 120.0 * i as f64, 2_533_004.214_915_185_7 - 300.0);
            let (x1, y1) = (x0 + 100.0, y0 - 100.0);
            serde_json::json!({
                "type": "Feature",
                "properties": { "id": id, "kind": "reserve", "shu_zhong": species, "xu_ji": volume, "zl": "1970-04-01" },
                "geometry": { "type": "Polygon", "coordinates": [[[x0, y0], [x0, y1], [x1, y1], [x1, y0], [x0, y0]]] },
            })
        })
        .collect();
    let crs = serde_json::json!({ "type": "name", "properties": { "name": "urn:ogc:def:crs:EPSG::3035" } });
    let layer = serde_json::json!({ "type": "FeatureCollection", "crs": crs, "features": features });
    project.write("stands.geojson", &layer.to_string());
}

pub const INVENTORY: &str = r#"[project]
name = "test"
[parcels]
path = "stands.geojson"
id = "id"
kind = "kind"
attributes = { species = "shu_zhong", volume_m3_per_ha = "xu_ji", planted_on = "zl" }
[scenes]
paths = ["scenes"]
[biomass.inventory]
[carbon]
parameter_set = "ipcc-2006"
[account]
periods = [["2018-07-15", "2020-07-15"]]
[output]
dir = "out"
"#;

/// Worked example 8 through the program: 85 m3/ha of temperate pine are 41.941125 t C/ha, larch by Fang 2001 42.811 and by the
/// Chinese set 37.2407657.
#[test]
fn volumes_become_tonnes() {
    let project = Project::romania(INVENTORY, &DATES);
    for (set, species, expected) in [
        ("ipcc-2006", "油松", 41.941_125),
        ("fang-2001", "落叶松", 85.622 * 0.5),
        ("cn-ar-cm-001", "Larix gmelinii", 37.240_765_7),
    ] {
        inventory(&project, &[("S1", species, "85")]);
        let zone = if set == "ipcc-2006" { "ecological_zone = \"temperate\"\n" } else { "" };
        let text = INVENTORY
            .replace("ipcc-2006", set)
            .replace("[biomass.inventory]\n", &format!("[biomass.inventory]\n{zone}"));
        project.write("project.toml", &text);
        project.run(&[]).expect(0, &[]);
        let (head, rows) = read_table(&project.out().join("tables/stocks.parquet"));
        let of = |name| column(&head, &rows, name);
        let total = (0..rows.len()).find(|i| of("pool")[*i] == "total").unwrap();
        let density: f64 = of("density_t_c_per_ha")[total].parse().unwrap();
        assert!((density / expected - 1.0).abs() < 1e-8, "{set}: {density}");
        assert!(
            of("stock_se_t_c")[total].parse::<f64>().unwrap() > 0.1 * expected,
            "{set}: an equation that is borrowed"
        );
        assert!(of("parameter_set")[total].starts_with(set));
        assert_eq!(of("status")[total], "screening_only", "nobody said how well the volume is known");
        for flag in ["volume_error_not_stated", "growth_not_stated", "unapproved_parameters"] {
            assert!(of("flags")[total].contains(flag), "{flag}");
        }
    }
}

/// With what the volume needs to be known, growth is issuable and the scheme deducts; what is wrong is told parcel by parcel.
#[test]
fn growth_of_an_inventory_is_credited_by_a_named_rule() {
    let project = Project::romania(INVENTORY, &DATES);
    let text = INVENTORY
        .replace(
            "[biomass.inventory]\n",
            "[change.two_date]\nindex = \"ndvi\"\nbefore = [\"2018-06-01\", \"2018-09-30\"]\nafter = [\"2020-06-01\", \
             \"2020-09-30\"]\nmin_drop = 0.15\n[biomass.inventory]\nsurveyed_on = \"2018-07-01\"\nvolume_cv = 0.1\n\
             increment_m3_per_ha_a = 6.0\nincrement_cv = 0.1\n",
        )
        .replace("ipcc-2006", "cn-ar-cm-001")
        .replace("[account]\n", "[account]\ndeduction = \"tool14\"\n");
    project.write("project.toml", &text);
    inventory(
        &project,
        &[
            ("S1", "杨树", "85"),
            ("S2", "龙脑香", "85"),
            ("S3", "杨树", "-3"),
            ("S4", "杨树", "12000"),
            ("S5", "杨树", "viel"),
        ],
    );
    project.run(&[]).expect(3, &["S2", "S3", "S4", "S5"]);
    let (head, rows) = read_table(&project.out().join("tables/deltas.parquet"));
    let of = |name: &str| column(&head, &rows, name)[0];
    let n = |name: &str| -> f64 { of(name).parse().unwrap() };
    assert_eq!((rows.len(), of("parcel_id"), of("status")), (1, "S1", "issuable"));
    // Two years of 6 m3/ha: D 0.378, BEF 1.446, 1 + R 1.227, CF 0.496; what two_date saw lost is taken off.
    let years = 731.0 / 365.25;
    let gain = 6.0 * years * 0.378 * 1.446 * 1.227 * 0.496 * n("area_ha");
    assert!(n("delta_t_c") <= gain * (1.0 + 1e-6) && n("delta_t_c") > 0.5 * gain, "{} {gain}", n("delta_t_c"));
    let u90 = n("relative_uncertainty_percent");
    let share = match u90 {
        u if u <= 10.0 => 0.0,
        u if u <= 15.0 => 0.25 * u,
        u if u <= 20.0 => 0.5 * u,
        u if u <= 30.0 => 0.75 * u,
        u => u,
    };
    assert!((n("deduction_percent") - share).abs() < 1e-6, "{u90} {share}");
    assert!((n("creditable_t_co2e") - n("delta_t_co2e") * (1.0 - share / 100.0)).abs() < 1e-6 * n("delta_t_co2e"));
    assert!((n("gain_loss_t_co2e") / n("delta_t_co2e") - 1.0).abs() < 0.05);
    let aside: Vec<(String, String)> = quarantine(&project.out()).into_iter().map(|q| (q.id, q.message)).collect();
    for (id, part) in [("S2", "龙脑香"), ("S3", "-3"), ("S4", "12000"), ("S5", "viel")] {
        assert!(aside.iter().any(|(i, m)| i == id && m.contains(part)), "{id}: {aside:#?}");
    }
}

/// What many parcels have in common is said once, by `check` as well; the row of each is short and names the layer's field.
#[test]
fn what_the_layer_s_words_lack_is_told_once() {
    let project = Project::romania(INVENTORY, &DATES[..1]);
    let ids: Vec<String> = (0..6).map(|i| format!("S{i:02}")).collect();
    let name = |i: usize| if i < 4 { "油松" } else { "龙脑香" };
    let stands: Vec<(&str, &str, &str)> =
        ids.iter().enumerate().map(|(i, id)| (id.as_str(), name(i), "８５")).collect();
    inventory(&project, &stands);
    let notes = [
        "note: 4 of 6 parcels name a forest and no ecological zone",
        "one of boreal, boreal_coniferous, temperate, temperate_continental, temperate_mountain",
        "note: 2 of 6 parcels name a forest that parameter set \"ipcc-2006\" has no values for: 龙脑香 (2)",
        "note: attribute volume_m3_per_ha: 6 of 6 parcels write it in full-width characters",
    ];
    project.lintan("check", &[]).expect(0, &notes);
    let outcome = project.lintan("run", &[]);
    outcome.expect(3, &notes);
    outcome.expect(3, &["parcel S04, S05 [out_of_model_domain at account]: attribute species (field `shu_zhong`): "]);
    assert_eq!(outcome.err.matches("[out_of_model_domain").count(), 2, "{}", outcome.err);
    let aside = quarantine(&project.out());
    assert_eq!(aside.len(), 6);
    assert!(aside.iter().all(|q| q.message.chars().count() < 300), "{aside:#?}");
    let noted = &project.record()["notes"];
    assert_eq!(noted.as_array().unwrap().iter().filter(|n| n["topic"] == "attribute").count(), 3, "{noted}");
}

/// The table of names leads to other values when it changes, so its digest stands beside the set's.
#[test]
fn the_table_of_names_stands_in_the_record() {
    let project = Project::romania(CONFIG, &DATES);
    project.run(&[]);
    let set = &project.record()["parameter_set"];
    let table = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/configs/parameters/species.toml")).unwrap();
    let digest = lintan::digest::Sha256::of(&table).to_string();
    assert_eq!(set["names_sha256"], digest);
    let (head, rows) = read_table(&project.out().join("tables/stocks.parquet"));
    let stamp = format!("sha256:{} names:{}", &set["sha256"].as_str().unwrap()[..16], &digest[..16]);
    assert!(!rows.is_empty() && column(&head, &rows, "parameter_set").iter().all(|s| s.ends_with(&stamp)), "{rows:?}");
}

/// An inventory whose volumes are in m3 per mu is refused by the set that cannot hold for them, and the message says how to
/// state the unit.
#[test]
fn volumes_per_mu_are_noticed_and_can_be_stated() {
    let project = Project::romania(INVENTORY, &DATES);
    project.edit("project.toml", "ipcc-2006", "fang-2001");
    inventory(&project, &[("S1", "落叶松", "5.667")]);
    // The parcel's age is known, so the layer as a whole is not in doubt.
    assert!(!project.lintan("check", &[]).err.contains("median"));
    let outcome = project.lintan("run", &[]);
    outcome.expect(3, &["volume_m3_per_mu"]);
    project.edit("project.toml", "volume_m3_per_ha", "volume_m3_per_mu");
    project.run(&[]).expect(0, &[]);
    let (head, rows) = read_table(&project.out().join("tables/stocks.parquet"));
    let densities = column(&head, &rows, "density_t_c_per_ha");
    let expected = (0.6096 * 5.667 * 15.0 + 33.806) * 0.5;
    assert!(densities.iter().any(|d| (d.parse::<f64>().unwrap() / expected - 1.0).abs() < 1e-8), "{densities:?}");
    // Without ages, under a set that takes any volume.
    project.edit("project.toml", "volume_m3_per_mu", "volume_m3_per_ha");
    project.edit("project.toml", ", planted_on = \"zl\"", "");
    project.edit("project.toml", "fang-2001", "cn-ar-cm-001");
    project
        .run(&[])
        .expect(0, &["note: volumes: the median of the 1 parcels without planted_on is 5.7 m3/ha", "volume_m3_per_mu"]);
}

/// Nothing was watched before the first scene: an epoch there carries a flag, and a method that needs scenes refuses it.
#[test]
fn a_period_before_the_first_scene_is_told() {
    let project = Project::romania(INVENTORY, &DATES);
    project.edit("project.toml", "2018-07-15", "2014-07-15");
    project.edit("project.toml", "[biomass.inventory]", "[biomass.inventory]\necological_zone = \"temperate\"");
    inventory(&project, &[("S1", "油松", "85")]);
    project.run(&[]).expect(0, &[]);
    let (head, rows) = read_table(&project.out().join("tables/deltas.parquet"));
    assert!(column(&head, &rows, "flags")[0].contains("retention_not_observed"));
    let tier1 = Project::romania(&CONFIG.replace("2018-07-15", "2014-07-15"), &DATES);
    tier1.run(&[]).expect(3, &["no clear observation within 45 days of 2014-07-15"]);
    assert!(read_table(&tier1.out().join("tables/deltas.parquet")).1.is_empty());
}

/// An error matrix of the change map widens what was lost from 180 ha mapped to 243 ha (worked example 10), so 1.35 times
/// what the map says leaves the stock; its error is the area's part of the variance.
#[test]
fn mapped_losses_are_brought_to_their_true_area() {
    let project = project();
    let loss = |project: &Project| {
        project.run(&[]);
        let (head, rows) = read_table(&project.out().join("tables/deltas.parquet"));
        let at = column(&head, &rows, "parcel_id").iter().position(|p| *p == "RO-038").unwrap();
        let n = |name: &str| -> f64 { column(&head, &rows, name)[at].parse().unwrap() };
        (n("delta_t_c"), n("variance_share_area"))
    };
    let (mapped, area) = loss(&project);
    assert!(mapped < 0.0 && area == 0.0);
    project.write("matrix.csv", "map_class,disturbed,stable,mapped_area_ha\ndisturbed,44,6,180\nstable,3,97,2820\n");
    project.edit("project.toml", "[account]", "[account.lost_area]\nmatrix = \"matrix.csv\"\n[account]");
    let (adjusted, area) = loss(&project);
    assert!((adjusted / mapped - 1.35).abs() < 1e-6, "{adjusted} {mapped}");
    assert!(area > 0.1, "{area}");
    project.edit("project.toml", "matrix = \"matrix.csv\"", "matrix = \"matrix.csv\"\nclass = \"burnt\"");
    project.lintan("run", &[]).expect(2, &["account.lost_area", "burnt", "disturbed or stable"]);
}
