//! Change methods over a store: dates, maps and states that go on from one run to the next.

use std::fs;

use gdal::raster::Buffer;
use gdal::{Dataset, Metadata};

use crate::support::{Project, assert_same, copy, files, testdata};

/// Two years of history and one that is monitored, on the 54 dates of the Romanian image.
const MONITOR: &str = r#"[project]
name = "test"

[parcels]
path = "parcels.gpkg"
id = "parcel_id"
kind = "kind"

[scenes]
paths = ["scenes"]

[observe]
indices = ["ndmi"]
scl_clear = [4, 5, 7]
min_clear_fraction = 0.5

[change.bfast_monitor]
index = "ndmi"
order = 1
trend = false
history = "all"
monitor_start = "2020-01-01"

[output]
dir = "out"
maps = ["break_date", "magnitude", "probability"]
"#;

fn romania(days: &[String]) -> Project {
    let days: Vec<&str> = days.iter().map(String::as_str).collect();
    Project::romania(MONITOR, &days)
}

fn all_days() -> Vec<String> {
    let names = fs::read_dir(testdata("romania/scenes")).unwrap().map(|e| e.unwrap().file_name());
    let mut days: Vec<String> = names.map(|n| n.to_string_lossy().into_owned()).collect();
    days.sort();
    days
}

/// Tables and maps that a run from nothing makes of the same inputs.
fn assert_as_from_nothing(project: &Project, what: &str) {
    let out = project.path("fresh");
    let _ = fs::remove_dir_all(&out);
    project.run(&["--out", out.to_str().unwrap()]);
    assert_same(&project.tables(), &crate::support::tables(&out), what);
    let maps = files(&project.out().join("maps"));
    assert_eq!(maps.len(), 3);
    assert_same(&maps, &files(&out.join("maps")), what);
}

/// Files of the store's cube whose name passes.
fn cube(project: &Project, wanted: impl Fn(&str) -> bool) -> Vec<std::path::PathBuf> {
    let root = project.out().join("cube");
    let name = |f: &str| f.rsplit('/').next().unwrap().to_owned();
    files(&root).into_keys().filter(|f| wanted(&name(f))).map(|f| root.join(f)).collect()
}

/// States of the monitor.
fn states(project: &Project) -> Vec<std::path::PathBuf> {
    cube(project, |name| name.starts_with("state-"))
}

#[test]
fn a_new_scene_goes_on_from_the_states_and_gives_what_a_run_from_nothing_gives() {
    let days = all_days();
    let (old, new) = days.split_at(days.len() - 3);
    let project = romania(old);
    project.run(&[]);
    assert_eq!(states(&project).len(), 1);
    // What was taken in is not read again: pixels of old scenes that cannot be read any more do not matter.
    let pixels = |name: &str| name.len() == "0123456789abcdef.parquet".len() && name.ends_with(".parquet");
    let old_pixels = cube(&project, pixels);
    assert!(old_pixels.len() >= old.len());
    for file in old_pixels {
        fs::write(&file, b"not a cube file").unwrap();
    }
    for day in new {
        project.add_scene(day);
    }
    project.run(&[]);
    assert_as_from_nothing(&project, "three new scenes");
}

#[test]
fn a_scene_that_arrives_late_and_damaged_states_begin_from_nothing() {
    let mut days = all_days();
    let late = days.remove(days.len() - 4);
    let project = romania(&days);
    project.run(&[]);
    project.add_scene(&late);
    project.run(&[]);
    assert_as_from_nothing(&project, "a late scene");
    let state = states(&project).pop().unwrap();
    let bytes = fs::read(&state).unwrap();
    fs::write(&state, &bytes[..bytes.len() / 2]).unwrap();
    // Other settings of the series: the tables are made again.
    project.edit("project.toml", "[output]", "[series]\nstep_days = 11\n\n[output]");
    project.run(&[]);
    assert_as_from_nothing(&project, "damaged states");
}

#[test]
fn maps_show_what_the_table_says_and_only_parcel_pixels() {
    let project = romania(&all_days());
    project.run(&[]);
    let grid = fs::read_dir(project.out().join("maps")).unwrap().next().unwrap().unwrap().path();
    let open = |kind: &str| {
        let dataset = Dataset::open(grid.join(format!("bfast_monitor_{kind}.tif"))).unwrap();
        let layout = dataset.metadata_item("LAYOUT", "IMAGE_STRUCTURE");
        assert_eq!(layout.as_deref(), Some("COG"));
        let data: Buffer<f64> = dataset.rasterband(1).unwrap().read_band_as().unwrap();
        data.data().to_vec()
    };
    let (days, magnitude, probability) = (open("break_date"), open("magnitude"), open("probability"));
    let from = 18_262.0; // 2020-01-01
    let broken: Vec<usize> = (0..days.len()).filter(|i| days[*i] != f64::from(i32::MIN)).collect();
    assert!(broken.len() > 100, "{}", broken.len());
    for i in &broken {
        assert!((from..from + 366.0).contains(&days[*i]), "{}", days[*i]);
        assert!(magnitude[*i].is_finite() && (0.9499..0.9991).contains(&probability[*i]));
    }
    let judged = magnitude.iter().filter(|m| m.is_finite()).count();
    assert!(judged > broken.len() && judged < magnitude.len(), "{judged} of {}", magnitude.len());
    // Losses of the table are the breaks of the map with a negative magnitude, pixel for pixel where parcels do not overlap.
    assert!(project.count("disturbances") > 0);
}

#[test]
fn a_history_that_is_too_short_is_a_reason_and_not_an_empty_map() {
    let days: Vec<String> = all_days().into_iter().filter(|d| d.as_str() >= "2019-12-01").collect();
    let project = romania(&days);
    let outcome = project.run(&[]);
    outcome.expect(3, &["fewer clear observations in the history than the model needs"]);
    assert_eq!(project.count("disturbances"), 0);
}

#[test]
fn settings_without_a_critical_value_and_maps_without_a_method_are_refused() {
    for (old, new, told) in [
        ("order = 1", "order = 4", "1, 2 or 3"),
        ("order = 1", "h = 0.3", "0.25, 0.5 or 1"),
        ("order = 1", "level = 0.1", "0.05, 0.025, 0.01 or 0.001"),
        ("history = \"all\"", "history = \"2021-01-01\"", "a day before `monitor_start`"),
        ("history = \"all\"", "history = \"some\"", "a date like"),
        ("maps = [\"break_date\", \"magnitude\", \"probability\"]", "maps = [\"dates\"]", "break_date"),
    ] {
        let project = Project::romania(&MONITOR.replace(old, new), &["2018-07-01"]);
        project.lintan("check", &[]).expect(2, &[told]);
    }
}

/// Every pixel of the published run of bfastSpatial on the Tura stack, through the whole program.
#[test]
fn the_published_break_dates_of_tura_come_out_pixel_for_pixel() {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/landsat_tura_ndvi");
    if !source.exists() {
        println!("skipped: {} is not there", source.display());
        return;
    }
    let project = Project::new(
        "[project]\nname = \"tura\"\n[parcels]\npath = \"all.geojson\"\nid = \"id\"\n[scenes]\npaths = [\"scenes\"]\n\
         [change.bfast_monitor]\nindex = \"ndvi\"\norder = 1\nmonitor_start = \"2009-01-01\"\n\
         [output]\ndir = \"out\"\nmaps = [\"break_date\", \"magnitude\"]\n",
    );
    let folder = project.path("scenes");
    copy(&source.join("ndvi"), &folder);
    for entry in fs::read_dir(source.join("ndvi")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let Some(stem) = name.strip_suffix("_NDVI.tif") else { continue };
        let (date, sensor) = stem.split_once('_').unwrap();
        let platform = if sensor == "LE7" { "landsat-7" } else { "landsat-5" };
        let item = serde_json::json!({
            "type": "Feature", "stac_version": "1.0.0", "id": stem, "collection": "landsat",
            "properties": {"datetime": format!("{date}T07:30:00Z"), "platform": platform},
            "links": [], "geometry": null, "bbox": null,
            "assets": {"ndvi": {"href": name, "roles": ["index"],
                "raster:bands": [{"data_type": "int16", "nodata": -32768, "scale": 0.0001, "offset": 0.0}]}},
        });
        fs::write(folder.join(format!("{stem}.json")), item.to_string()).unwrap();
    }
    let ring = [[819_105, 827_745], [823_395, 827_745], [823_395, 832_185], [819_105, 832_185], [819_105, 827_745]];
    let layer = serde_json::json!({
        "type": "FeatureCollection", "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32636"}},
        "features": [{"type": "Feature", "properties": {"id": "all"}, "geometry": {"type": "Polygon", "coordinates": [ring]}}],
    });
    project.write("all.geojson", &layer.to_string());
    project.run(&[]);
    let read = |path: &std::path::Path| -> Vec<f64> {
        let dataset = Dataset::open(path).unwrap();
        let data: Buffer<f64> = dataset.rasterband(1).unwrap().read_band_as().unwrap();
        data.data().to_vec()
    };
    let maps = project.out().join("maps/epsg32636-30m-15-15");
    let ours = [read(&maps.join("bfast_monitor_break_date.tif")), read(&maps.join("bfast_monitor_magnitude.tif"))];
    let published = source.join("reference_bfastmonitor");
    let theirs = [
        read(&published.join("published_start2009_breakpoint_decimal_year.tif")),
        read(&published.join("published_start2009_magnitude_ndvi_x10000.tif")),
    ];
    assert_eq!(ours[0].len(), 21_164);
    assert_eq!(theirs[0].len(), 21_164);
    let mut breaks = 0;
    for i in 0..ours[0].len() {
        let year = (ours[0][i] > f64::from(i32::MIN)).then(|| {
            let date = lintan::units::date_of(ours[0][i] as i32);
            // The calendar of bfastts has 365 days; 29 February counts as 1 March.
            let late = date.in_leap_year() && date.day_of_year() > 60;
            f64::from(date.year()) + (f64::from(date.day_of_year() - i16::from(late)) - 1.0) / 365.0
        });
        match year {
            Some(year) => {
                breaks += 1;
                assert!((year - theirs[0][i]).abs() < 1e-9, "pixel {i}: {year}, published {}", theirs[0][i]);
            }
            None => assert!(theirs[0][i].is_nan(), "pixel {i}: no break, published {}", theirs[0][i]),
        }
        // The map holds 32-bit floats.
        let magnitude = (ours[1][i] * 1e4 - theirs[1][i]).abs();
        assert!(
            magnitude <= 1e-6 * theirs[1][i].abs().max(100.0),
            "pixel {i}: {} and {}",
            ours[1][i] * 1e4,
            theirs[1][i]
        );
    }
    assert_eq!(breaks, 15_337);
}

#[test]
fn every_method_runs_side_by_side_and_says_why_it_cannot_judge() {
    let methods = "\
        [change.ccdc]\nindex = \"ndmi\"\nbands = [\"red\", \"nir\", \"swir1\"]\ntmask_bands = []\n\
        [change.landtrendr]\nindex = \"ndmi\"\nmin_magnitude = 0.1\n\
        [change.two_date]\nindex = \"ndmi\"\nbefore = [\"2018-06-01\", \"2018-09-30\"]\n\
        after = [\"2020-06-01\", \"2020-09-30\"]\nmin_drop = 0.15\n\n[output]";
    let project = romania(&all_days());
    project.edit("project.toml", "[output]", methods);
    let outcome = project.run(&[]);
    // Three years are too few for yearly segments; that is a reason for every parcel, and the others are not touched by it.
    outcome.expect(3, &["landtrendr: found 0.0 % of the parcel that could be judged"]);
    let (head, rows) = crate::support::read_table(&project.out().join("tables/disturbances.parquet"));
    let at = |name: &str| head.iter().position(|h| h == name).unwrap();
    let of = |method: &str| rows.iter().filter(|r| r[at("method")] == method).count();
    assert!(of("bfast_monitor") > 0 && of("ccdc") > 0 && of("two_date") > 0, "{}", rows.len());
    assert_eq!(of("landtrendr"), 0);
    for row in &rows {
        let (lower, upper, detected) = (&row[at("date_lower")], &row[at("date_upper")], &row[at("detected_on")]);
        assert!(lower < upper && upper <= detected, "{row:?}");
        assert!(row[at("magnitude")].starts_with('-') && row[at("event_id")].starts_with(row[at("method")].as_str()));
    }
    let mut keys: Vec<(&String, &String)> = rows.iter().map(|r| (&r[at("parcel_id")], &r[at("event_id")])).collect();
    assert!(keys.is_sorted());
    keys.dedup();
    assert_eq!(keys.len(), rows.len(), "event ids are unique within a parcel");
}

#[test]
fn bands_that_are_none_and_methods_that_lack_a_number_are_refused() {
    for (table, told) in [
        ("[change.ccdc]\nbands = [\"read\", \"nir\"]\n", "swir1"),
        (
            "[change.ccdc]\nindex = \"nbr\"\nbands = [\"red\", \"nir\"]\ntmask_bands = []\n",
            "an index all of whose bands",
        ),
        ("[change.landtrendr]\nindex = \"ndmi\"\n", "min_magnitude"),
        ("[change.landtrendr]\nindex = \"ndmi\"\nmin_magnitude = 0.1\nseason = [\"02-30\", \"09-01\"]\n", "season"),
        ("[change.landtrendr]\nindex = \"nbr\"\nmin_magnitude = 0.1\n", "add it to `indices`"),
        ("[change.events]\nmin_patch_ha = -1\n", "0 or more"),
        ("[change.control]\nmin_km = 5\nmax_km = 1\n", "more than min_km"),
    ] {
        let project = Project::romania(MONITOR, &["2018-07-01"]);
        project.edit("project.toml", "[output]", &format!("{table}\n[output]"));
        let outcome = project.lintan("check", &[]);
        assert_eq!(outcome.code, 2, "{table}: {}", outcome.err);
        let text = format!("{}{}", outcome.err, outcome.out);
        assert!(text.contains(told), "{table}: {text}");
    }
}

#[test]
fn maps_that_are_gone_or_no_longer_wanted() {
    let project = romania(&all_days());
    project.run(&[]);
    let maps = files(&project.out().join("maps"));
    let (name, _) = maps.first_key_value().unwrap();
    fs::remove_file(project.out().join("maps").join(name)).unwrap();
    project.run(&[]);
    assert_same(&files(&project.out().join("maps")), &maps, "a map that was removed is made again");
    assert_eq!(project.record()["maps"].as_array().unwrap().len(), 3);
    let tables = project.record()["tables"].as_array().unwrap().clone();
    assert!(tables.iter().all(|t| t["path"].as_str().unwrap().ends_with(".parquet")));
    project.edit("project.toml", "maps = [\"break_date\", \"magnitude\", \"probability\"]", "maps = [\"magnitude\"]");
    project.run(&[]);
    let left: Vec<String> = files(&project.out().join("maps")).into_keys().collect();
    assert!(left.len() == 1 && left[0].ends_with("bfast_monitor_magnitude.tif"), "{left:?}");
}

#[test]
fn the_monitor_goes_on_as_well_and_leaves_reference_parcels_alone() {
    let days = all_days();
    let (old, new) = days.split_at(days.len() - 2);
    let project = romania(old);
    let text = fs::read_to_string(project.path("project.toml")).unwrap();
    let (before, after) = (text.find("[change.bfast_monitor]").unwrap(), text.find("[output]").unwrap());
    let method = "[change.monitor]\nindex = \"ndmi\"\nmonitor_start = \"2020-01-01\"\n\n";
    project.write("project.toml", &format!("{}{method}{}", &text[..before], &text[after..]));
    project.run(&[]);
    assert_eq!(states(&project).len(), 1);
    for day in new {
        project.add_scene(day);
    }
    project.run(&[]);
    let out = project.path("fresh");
    project.run(&["--out", out.to_str().unwrap()]);
    assert_same(&project.tables(), &crate::support::tables(&out), "two new scenes");
    assert_same(&files(&project.out().join("maps")), &files(&out.join("maps")), "maps after two new scenes");
    let (head, rows) = crate::support::read_table(&project.out().join("tables/disturbances.parquet"));
    let id = head.iter().position(|h| h == "parcel_id").unwrap();
    let disturbed: std::collections::BTreeSet<&str> = rows.iter().map(|r| r[id].as_str()).collect();
    // RO-033 and RO-034 lost forest in 2020, as anyone can see in the images; RO-003 is of kind `reference`.
    assert!(
        disturbed.contains("RO-033") && disturbed.contains("RO-034") && !disturbed.contains("RO-003"),
        "{disturbed:?}"
    );
}

/// Adjoining periods add up to the whole, whatever the dates of the losses.
#[test]
fn lost_areas_of_adjoining_periods_add_up() {
    let periods = |list: &str| {
        let project = romania(&all_days());
        let more = format!(
            "[biomass.tier1_cover]\nindex = \"ndvi\"\nindex_bare = 0.2\nindex_full = 0.88\nforest_type = \"阔叶林\"\n\
             ecological_zone = \"temperate_mountain\"\nwindow_days = 120\nindex_se = 0.03\n[account]\nperiods = {list}\n[output]"
        );
        project.edit("project.toml", "[output]", &more);
        project.edit("project.toml", "indices = [\"ndmi\"]", "indices = [\"ndmi\", \"ndvi\"]");
        project.run(&[]);
        let (head, rows) = crate::support::read_table(&project.out().join("tables/deltas.parquet"));
        let at = |name: &str| head.iter().position(|h| h == name).unwrap();
        let mut lost = std::collections::BTreeMap::new();
        for row in rows {
            let ha: f64 = row[at("disturbed_area_ha")].parse().unwrap_or(f64::NAN);
            let area: f64 = row[at("area_ha")].parse().unwrap();
            assert!(ha.is_nan() || ha <= area * (1.0 + 1e-9), "{row:?}");
            lost.entry(row[at("parcel_id")].clone()).or_insert_with(Vec::new).push(ha);
        }
        lost
    };
    let parts = periods("[[\"2020-04-01\", \"2020-07-05\"], [\"2020-07-05\", \"2020-10-20\"]]");
    let whole = periods("[[\"2020-04-01\", \"2020-10-20\"]]");
    let mut compared = 0;
    for (parcel, whole) in &whole {
        let Some(parts) = parts.get(parcel).filter(|p| p.len() == 2 && whole[0] > 0.0) else { continue };
        // A pixel lost in both parts counts once in the whole; bfast_monitor gives one break a pixel, so there is none.
        assert!((parts[0] + parts[1] - whole[0]).abs() < 1e-9, "{parcel}: {parts:?} and {whole:?}");
        compared += usize::from(parts[0] > 0.0 && parts[1] > 0.0);
    }
    assert!(compared > 0, "no parcel lost forest in both parts");
}
