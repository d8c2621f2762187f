//! `lintan calibrate`: plots whose biomass is simulated (a known function of what the real image shows there, with known
//! noise) give the function back; bad plots are told and left out; and what the model says of parcels is what the function says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::sync::atomic::AtomicBool;

use lintan::carbon::draw::Draws;
use lintan::carbon::index_model::Model;
use lintan::config::Settings;
use lintan::engine::plan::plan;
use lintan::predict::{Cube, observe_settings, predictions};
use lintan::record::store::Inputs;
use serde_json::Value;

use crate::support::{Outcome, Parcel, Project, files, read_table, write_parcels};

/// Two clear dates a summer: the median of two is their mean, so the seasonal median of a parcel is the mean of its two
/// observations, which `lintan run` gives by another way.
const DATES: [&str; 4] = ["2018-07-01", "2018-07-21", "2020-07-05", "2020-07-10"];

const CONFIG: &str = r#"[project]
name = "test"

[parcels]
path = "parcels.gpkg"
id = "parcel_id"
attributes = { forest_type = "lin_xing" }

[scenes]
paths = ["scenes"]

[observe]
indices = ["ndvi", "ndmi"]

[biomass.index_model]
model = "models/agb.toml"
form = "exponential"
predictors = ["ndmi"]
season = ["06-01", "09-15"]
ecological_zone = "temperate_mountain"

[output]
dir = "out"
"#;

/// ln a and b of the simulated biomass.
const TRUTH: (f64, f64) = (2.2, 6.0);

/// Plots of 30 m in 8 rows and columns.
fn squares() -> Vec<Parcel> {
    let place = |i: u32| 20.0 + 120.0 * f64::from(i);
    (0..64).map(|i| Parcel::square(&format!("P{i:02}"), place(i % 8), place(i / 8), 30.0)).collect()
}

/// Mean of the summer's two observations of every parcel, by year.
fn seasonal(project: &Project, index: &str) -> BTreeMap<(String, i16), f64> {
    clear_seasons(project, index, 0.0)
}

/// The same of those that were clear to this share on both days.
fn clear_seasons(project: &Project, index: &str, least: f64) -> BTreeMap<(String, i16), f64> {
    let mut sums: BTreeMap<(String, i16), Vec<f64>> = BTreeMap::new();
    for year in [2018, 2020] {
        let path = project.out().join(format!("tables/observations/year={year}/part-0.parquet"));
        let (head, rows) = read_table(&path);
        let at = |name: &str| head.iter().position(|h| h == name).unwrap();
        let (id, name, mean, clear) = (at("parcel_id"), at("index"), at("mean"), at("clear_fraction"));
        let is_clear = |r: &&Vec<String>| r[clear].parse::<f64>().unwrap() >= least;
        for row in rows.iter().filter(|r| r[name] == index).filter(is_clear) {
            sums.entry((row[id].clone(), year)).or_default().push(row[mean].parse().unwrap());
        }
    }
    let both = sums.into_iter().filter(|(_, values)| values.len() == 2);
    both.map(|(key, values)| (key, values.iter().sum::<f64>() / 2.0)).collect()
}

/// A project whose parcels are the plots, run once, and what each plot's summers show.
fn observed() -> (Project, Vec<Parcel>, BTreeMap<(String, i16), f64>) {
    let project = Project::new(CONFIG);
    DATES.iter().for_each(|date| project.add_scene(date));
    let plots = squares();
    project.parcels(&plots);
    observe(&project);
    let seen = seasonal(&project, "ndmi");
    (project, plots, seen)
}

/// Observations alone: a run with the model needs the model.
fn observe(project: &Project) {
    project.write("project.toml", &without_model());
    project.run(&[]);
    project.write("project.toml", CONFIG);
}

/// The configuration without the biomass method.
fn without_model() -> String {
    let section = CONFIG.find("[biomass").unwrap()..CONFIG.find("[output]").unwrap();
    CONFIG.replace(&CONFIG[section], "")
}

/// Year of a plot, by its number.
fn year(i: usize) -> i16 {
    if i.is_multiple_of(2) { 2018 } else { 2020 }
}

/// Number of a plot.
fn number(p: &Parcel) -> usize {
    p.id.as_ref().unwrap()[1..].parse().unwrap()
}

/// Standard normals, one a plot.
fn noise(n: usize) -> Vec<f64> {
    let mut z = Vec::new();
    Draws::new(4, n).fill("noise", &mut z);
    z
}

/// Writes the plots as a layer: biomass in the field `lin_xing`, the year in `kind`.
fn write_layer(project: &Project, plots: &[Parcel], agb: &[f64]) {
    let layer: Vec<Parcel> = plots
        .iter()
        .zip(agb)
        .map(|(p, y)| Parcel { kind: Some(year(number(p)).to_string()), forest_type: Some(y.to_string()), ..p.clone() })
        .collect();
    write_parcels(&project.path("plots.gpkg"), Some(3035), &layer);
}

fn calibrate(project: &Project, more: &[&str]) -> Outcome {
    let plots = project.path("plots.gpkg");
    let layer = ["--plots", plots.to_str().unwrap(), "--id", "parcel_id", "--agb", "lin_xing", "--date", "kind"];
    project.lintan("calibrate", &[&layer, more].concat())
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

// Simulated biomass without noise over the real image: the very function comes back, so each plot had the very predictor.
#[test]
fn a_known_function_comes_back_to_the_digits() {
    let (project, mut plots, _) = observed();
    // Where a pixel was clear on one day only its median is that day's value, which the table does not tell.
    let seen = clear_seasons(&project, "ndmi", 0.999_999);
    plots.retain(|p| seen.contains_key(&(p.id.clone().unwrap(), year(number(p)))));
    assert!(plots.len() >= 40, "{} plots are clear throughout", plots.len());
    let x = |p: &Parcel| seen[&(p.id.clone().unwrap(), year(number(p)))];
    let agb: Vec<f64> = plots.iter().map(|p| (TRUTH.0 + TRUTH.1 * x(p)).exp()).collect();
    write_layer(&project, &plots, &agb);
    let json = calibrate(&project, &["--format", "json"]).expect(0, &[]).json();
    let found = numbers(&json["linear"]["coefficients"]);
    // Plots go through longitude and latitude, which moves them by half a millimetre on this grid (PROJ's inverse of LAEA).
    assert!((found[0] - TRUTH.0).abs() < 1e-4 && (found[1] - TRUTH.1).abs() < 1e-4, "{found:?}");
    assert_eq!(json["used"].as_u64(), Some(plots.len() as u64));
    assert!(json["validation"]["spatial"]["r2"].as_f64().unwrap() > 0.999_999);

    // The cube is there: nothing is decoded again, and the same files come out, whatever the number of threads.
    assert!(json["blocks_decoded"].as_u64().unwrap() > 0);
    let before = files(&project.path("models"));
    assert_eq!(before.keys().collect::<Vec<_>>(), ["agb.svg", "agb.toml"]);
    let again = calibrate(&project, &["--format", "json", "--threads", "1"]).expect(0, &[]).json();
    assert_eq!(again["blocks_decoded"], 0);
    assert!(files(&project.path("models")) == before, "another model from the same plots");
}

// With noise of 0.2 in ln: the coefficients within 3 of the standard errors that the model states, the noise within 25 %.
#[test]
fn with_noise_it_comes_back_within_its_errors_for_every_form() {
    let (project, plots, seen) = observed();
    let z = noise(64);
    let x = |i: usize, p: &Parcel| seen[&(p.id.clone().unwrap(), year(i))];
    let agb: Vec<f64> =
        plots.iter().enumerate().map(|(i, p)| (TRUTH.0 + TRUTH.1 * x(i, p) + 0.2 * z[i]).exp()).collect();
    write_layer(&project, &plots, &agb);
    let json = calibrate(&project, &["--format", "json"]).expect(0, &[]).json();
    let (found, covariance) = (numbers(&json["linear"]["coefficients"]), &json["linear"]["covariance"]);
    for (i, truth) in [TRUTH.0, TRUTH.1].into_iter().enumerate() {
        let se = numbers(&covariance[i])[i].sqrt();
        assert!((found[i] - truth).abs() < 3.0 * se && se < 0.2 * truth, "{found:?} {se}");
    }
    let s2 = json["s2"].as_f64().unwrap();
    assert!((s2.sqrt() / 0.2 - 1.0).abs() < 0.25, "{s2}");
    let picture = fs::read_to_string(project.path("models/agb.svg")).unwrap();
    assert_eq!(picture.matches("<circle").count(), 64);
    assert!(picture.contains("1:1") && !picture.contains("href"), "self-contained, with the line");

    for (form, predictors) in
        [("power", "[\"ndmi\"]"), ("log_linear", "[\"ndvi\", \"ndmi\"]"), ("random_forest", "[\"ndvi\", \"ndmi\"]")]
    {
        project.write(
            "project.toml",
            &CONFIG
                .replace("\"exponential\"", &format!("\"{form}\""))
                .replace("[\"ndmi\"]\nseason", &format!("{predictors}\nseason")),
        );
        let json = calibrate(&project, &["--format", "json"]).expect(0, &[]).json();
        let spatial = &json["validation"]["spatial"];
        let spread = {
            let mean = agb.iter().sum::<f64>() / 64.0;
            (agb.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / 64.0).sqrt()
        };
        assert!(spatial["rmse_t_per_ha"].as_f64().unwrap() < spread, "{form}: {spatial}");
        Model::load(&project.path("models/agb.toml")).unwrap_or_else(|e| panic!("{form}: {e}"));
    }
}

// Points of a CSV file become squares of 3 x 3 pixels. They stand askew on this grid, so the predictor differs a little.
#[test]
fn points_of_a_table_serve_and_bad_ones_are_told() {
    let (project, plots, seen) = observed();
    let mut text = "plot_id,x,y,agb_t_per_ha,date\n".to_owned();
    for (i, p) in plots.iter().enumerate() {
        let (right, below) = (35.0 + 120.0 * (i % 8) as f64, 35.0 + 120.0 * (i / 8) as f64);
        let (x, y) = (5_271_982.576_551_932 + right, 2_533_004.214_915_185_7 - below);
        let agb = (TRUTH.0 + TRUTH.1 * seen[&(p.id.clone().unwrap(), year(i))]).exp();
        let _ = writeln!(text, "P{i:02},{x},{y},{agb},{}-08-01", year(i));
    }
    // 2019 has no scene: the summer before or after serves. 2016 has none near.
    text = text.replace("P01,", "Q01,").replacen("2018-08-01", "2019-08-01", 1);
    text += "out,6271982,2533004,80,2018\nneg,5272100,2532500,-4,2018\nold,5272100,2532500,40,2014\n\
             zero,5272100,2532500,0,2018\ntwice,5272100,2532500,50,2018\ntwice,5272100,2532500,50,2018\n";
    project.write("plots.csv", &text);
    let path = project.path("plots.csv");
    let arguments = ["--plots", path.to_str().unwrap(), "--crs", "EPSG:3035", "--format", "json"];
    let outcome = project.lintan("calibrate", &arguments);
    outcome.expect(
        3,
        &[
            "line 66: plot out: found no scene whose raster covers it",
            "line 67: plot neg: found biomass -4",
            "line 68: plot old: found its year 2014, expected one for which there are scenes",
            "scenes in the season 06-01 to 09-15 are of 2018 (2), 2020 (2)",
            "line 69: plot zero: found biomass 0, expected more for form exponential",
            "found the id `twice` 2 times (lines 70, 71)",
            "1 plots were not clear in the season of their year",
        ],
    );
    // Both plots of the id are listed where a program reads, and the message that names them stands once for people.
    assert_eq!(outcome.err.matches("found the id `twice`").count(), 1, "{}", outcome.err);
    let json = outcome.json();
    assert_eq!((json["used"].as_u64(), json["refused"].as_array().unwrap().len()), (Some(64), 6));
    assert!(json["validation"]["fitted"]["r2"].as_f64().unwrap() > 0.8, "{}", json["validation"]["fitted"]);
}

#[test]
fn what_cannot_be_fitted_says_why() {
    let project = Project::new(CONFIG);
    project.add_scene(DATES[0]);
    let run = |text: &str, more: &[&str]| {
        project.write("plots.csv", text);
        let path = project.path("plots.csv");
        project.lintan("calibrate", &[&["--plots", path.to_str().unwrap()], more].concat())
    };
    run("plot_id,lon,lat,year\na,22.15,45.2,2018\n", &[])
        .expect(2, &["expected one of agb_t_per_ha", "help:", "--agb"]);
    let few = "plot_id,lon,lat,agb,year\na,22.15,45.205,80,2018\nb,22.151,45.206,90,2018\nc,0,0,70,2018\n";
    run(few, &[]).expect(2, &["found 2 of 3 plots that can be used", "plot c: found no scene", "6 or more"]);
    run("plot_id,lon,lat,agb,year\n", &[]).expect(2, &["found 0 of 0 plots"]);
    let mut same = "plot_id,lon,lat,agb,year\n".to_owned();
    (0..9).for_each(|i| same += &format!("p{i},22.15,45.205,{},2018\n", 50 + i));
    run(&same, &[]).expect(2, &["the same value at every plot", "choose other predictors"]);
    let mut equal = "plot_id,lon,lat,agb,year\n".to_owned();
    (0..9).for_each(|i| equal += &format!("p{i},22.15{i},45.205,50,2018\n"));
    run(&equal, &[]).expect(2, &["50 t d.m./ha at every plot"]);
    run("plot_id,lon,lat,agb_kg_per_ha,year\n", &["--agb", "agb_kg_per_ha"]).expect(2, &["another unit"]);
    assert!(!project.path("models").exists(), "nothing is written where nothing was fitted");
    project.edit("project.toml", "season = [\"06-01\", \"09-15\"]", "season = [\"06-01\", \"09-31\"]");
    run(few, &[]).expect(2, &["09-31"]);
    project.write("project.toml", &without_model());
    run(few, &[]).expect(2, &["`biomass.index_model`: found nothing", "add [biomass.index_model]"]);
}

// Plots of other years than the scenes are no matter of [scenes] start and end, which nobody set.
#[test]
fn plots_of_other_years_than_the_scenes_are_told_with_both() {
    let project = Project::new(CONFIG);
    DATES.iter().for_each(|date| project.add_scene(date));
    let run = |years: [u32; 2]| {
        let mut text = "plot_id,lon,lat,agb,year\n".to_owned();
        (0..12).for_each(|i| {
            let _ = writeln!(text, "p{i},22.15{i},45.205,{},{}", 50 + i, years[i % 2]);
        });
        project.write("plots.csv", &text);
        let path = project.path("plots.csv");
        project.lintan("calibrate", &["--plots", path.to_str().unwrap()])
    };
    let apart = run([2010, 2012]);
    apart.expect(
        2,
        &[
            "plots.csv",
            "found plots of 2010 (6), 2012 (6)",
            "scenes in the season 06-01 to 09-15 are of 2018 (2), 2020 (2)",
            "expected scenes of the year of a plot, or of the year before or after it",
            "add scenes of the plots' years",
            "--date",
        ],
    );
    assert!(!apart.err.contains("correct `start` and `end`"), "{}", apart.err);
    // Where start and end do leave scenes out, that is said.
    project.edit("project.toml", "paths = [\"scenes\"]", "paths = [\"scenes\"]\nend = \"2018-12-31\"");
    run([2021, 2022]).expect(2, &["are of 2018 (2), 2 more are outside [scenes] start and end"]);
}

// A coefficient that somebody changed would stand beside errors and a validation that are not its own.
#[test]
fn a_model_that_was_edited_or_is_no_better_than_the_mean_is_not_passed_over() {
    let (project, plots, seen) = observed();
    let x = |i: usize, p: &Parcel| seen[&(p.id.clone().unwrap(), year(i))];
    let agb: Vec<f64> = plots.iter().enumerate().map(|(i, p)| (TRUTH.0 + TRUTH.1 * x(i, p)).exp()).collect();
    write_layer(&project, &plots, &agb);
    calibrate(&project, &[]).expect(0, &[]);
    project.parcels(&[Parcel::square("whole", 300.0, 400.0, 40.0)]);
    project.edit("project.toml", "[output]", "[account]\nperiods = [[\"2018-07-15\", \"2020-07-15\"]]\n\n[output]");
    let path = project.path("models/agb.toml");
    let good = fs::read_to_string(&path).unwrap();
    let status = || {
        let (head, rows) = read_table(&project.out().join("tables/stocks.parquet"));
        let at = |name: &str| head.iter().position(|h| h == name).unwrap();
        (rows[0][at("status")].clone(), rows[0][at("flags")].clone())
    };

    let line = good.lines().find(|l| l.starts_with("coefficients")).unwrap();
    fs::write(&path, good.replace(line, "coefficients = [2.5, 6.0]")).unwrap();
    for command in ["check", "run"] {
        project.lintan(command, &[]).expect(2, &["agb.toml", "was changed after the calibration", "lintan calibrate"]);
    }
    // Who approves it may write that down.
    let approved = good.replace("approved_by = \"\"", "approved_by = \"Li\"");
    fs::write(&path, approved.replace("approved_on = \"\"", "approved_on = \"2024-06-30\"")).unwrap();
    project.run(&[]);
    assert!(status().0 == "issuable" && !status().1.contains("model"), "{:?}", status());

    // The report tells how well it does, from the file: cross-validation first, range, digest, approval.
    project.lintan("report", &["--out", project.path("r.html").to_str().unwrap()]).expect(0, &[]);
    let html = fs::read_to_string(project.path("r.html")).unwrap();
    let model = Model::load(&path).unwrap();
    let (file, spatial) = (model.file(), model.file().validation.spatial.clone().unwrap());
    let linear = file.linear.as_ref().unwrap();
    for part in [
        model.sha256().to_owned(),
        "Li 于 2024-06-30 批准 · approved by Li on 2024-06-30".into(),
        format!(
            "AGB = {:.6} × exp({:.6}) × exp({:.6} × ndmi)",
            linear.duan, linear.coefficients[0], linear.coefficients[1]
        ),
        format!("<td class=\"n\">{}</td><td class=\"n\">{}</td>", spatial.plots, spatial.folds.unwrap()),
        format!("<td class=\"n\">{:.3}</td><td class=\"n\">{:.2}</td>", spatial.r2, spatial.rmse_t_per_ha),
        format!("<td class=\"n\">{:.4}</td><td class=\"n\">{:.4}</td>", file.ranges[0].min, file.ranges[0].p5),
        "空间交叉验证（依次留出空间区块） spatial cross-validation (blocks of land left out)".into(),
        file.calibration.plots_sha256.clone(),
    ] {
        assert!(html.contains(&part), "the report lacks {part}");
    }

    // More is asked than any model gives.
    project.edit("project.toml", "predictors = [\"ndmi\"]", "predictors = [\"ndmi\"]\nmin_r2 = 1.0");
    project.run(&[]).expect(0, &["cross-validated R2 is", "screening only"]);
    assert!(status().0 == "screening_only" && status().1.contains("weak_model"), "{:?}", status());
    project.edit("project.toml", "\nmin_r2 = 1.0", "");

    // Biomass that has nothing to do with the index.
    let z = noise(64);
    let agb: Vec<f64> = z.iter().map(|z| (4.0 + 0.5 * z).exp()).collect();
    write_layer(&project, &plots, &agb);
    let outcome = calibrate(&project, &["--format", "json"]);
    let r2 = outcome.json()["validation"]["spatial"]["r2"].as_f64().unwrap();
    assert!(r2 <= 0.0, "the noise of this test is to explain nothing: {r2}");
    outcome.expect(0, &["the mean of the plots predicts as well as the model", "screening only (flag weak_model)"]);
    project.run(&[]).expect(0, &["weak_model"]);
    assert!(status().0 == "screening_only" && status().1.contains("weak_model"), "{:?}", status());
}

// Parcels of a single pixel each, and one of many: what the model says is the function of what the table shows.
#[test]
fn predictions_of_parcels_are_the_function_of_their_pixels() {
    let (project, plots, seen) = observed();
    let x = |i: usize, p: &Parcel| seen[&(p.id.clone().unwrap(), year(i))];
    let agb: Vec<f64> = plots.iter().enumerate().map(|(i, p)| (TRUTH.0 + TRUTH.1 * x(i, p)).exp()).collect();
    write_layer(&project, &plots, &agb);
    calibrate(&project, &[]).expect(0, &[]);
    let model = Model::load(&project.path("models/agb.toml")).unwrap();

    // Pixels have 10 m and begin at the corner of the image.
    let pixel = |name: &str, col: u32, row: u32| {
        Parcel::square(name, 10.0 * f64::from(col) + 1.0, 10.0 * f64::from(row) + 1.0, 8.0)
    };
    let mut parcels: Vec<Parcel> = (0..16).map(|i| pixel(&format!("x{i:02}"), 30 + i % 4, 40 + i / 4)).collect();
    parcels.push(Parcel::square("whole", 300.0, 400.0, 40.0));
    project.parcels(&parcels);
    project.edit("project.toml", "[output]", "[account]\nperiods = [[\"2018-07-15\", \"2020-07-15\"]]\n\n[output]");
    let with_periods = fs::read_to_string(project.path("project.toml")).unwrap();
    observe(&project);
    let of_table = seasonal(&project, "ndmi");

    project.write("project.toml", &with_periods);
    let settings = Settings::load(&project.path("project.toml")).unwrap();
    let index_model = settings.options.biomass.index_model.clone().unwrap();
    assert_eq!(model.agrees(&index_model, &observe_settings(&settings.options.observe)), Ok(()));
    let cancel = AtomicBool::new(false);
    let inputs = Inputs::load(&settings.out);
    let plan = plan(&settings, &inputs, true, &|_| (), &cancel).unwrap();
    let used: Vec<usize> = (0..plan.scenes.len()).collect();
    let cube = Cube { plan: &plan, used: &used, root: &settings.out, cancel: &cancel, memory_gib: 0.5 };
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| predictions(&settings, &index_model, &model, &cube)).unwrap()
    };
    let found = on(4);
    assert!(found == on(1), "threads must not matter");
    assert_eq!(found.len(), 17);
    let p95 = model.file().ranges[0].p95;
    let mut sums = [0.0; 2];
    for (e, (epoch, year)) in [("2018-07-15", 2018), ("2020-07-15", 2020)].into_iter().enumerate() {
        let epoch = epoch.parse().unwrap();
        for i in 0..16 {
            let id = format!("x{i:02}");
            let p = &found[&id][&epoch];
            let x = of_table[&(id, year)];
            let expected = (TRUTH.0 + TRUTH.1 * x.min(p95)).exp();
            assert!((p.agb_t_per_ha / expected - 1.0).abs() < 1e-5, "{p:?} {expected}");
            assert_eq!((p.observations, p.near_plots, p.saturated_share > 0.0), (2.0, true, x > p95));
            assert!((p.seen_share - 1.0).abs() < 1e-6);
            sums[e] += p.agb_t_per_ha / 16.0;
        }
        let whole = &found["whole"][&epoch];
        assert!((whole.agb_t_per_ha / sums[e] - 1.0).abs() < 1e-6, "a mean of pixels, not the function of a mean");
    }

    // A run says the same: times the carbon fraction of broadleaf, 0.48.
    project.run(&[]);
    let (head, rows) = read_table(&project.out().join("tables/stocks.parquet"));
    let at = |name: &str| head.iter().position(|h| h == name).unwrap();
    let above: Vec<&Vec<String>> = rows.iter().filter(|r| r[at("pool")] == "aboveground").collect();
    assert_eq!(above.len(), 34);
    for row in above {
        let p = &found[&row[at("parcel_id")]][&row[at("epoch")].parse().unwrap()];
        let density: f64 = row[at("density_t_c_per_ha")].parse().unwrap();
        assert!((density / (0.48 * p.agb_t_per_ha) - 1.0).abs() < 1e-6, "{row:?} {p:?}");
        assert_eq!((row[at("method")].as_str(), row[at("status")].as_str()), ("index_model", "issuable"));
        assert!(row[at("model_id")].contains(&model.sha256()[..16]) && row[at("flags")].contains("unapproved_model"));
    }
    let (_, deltas) = read_table(&project.out().join("tables/deltas.parquet"));
    assert_eq!(deltas.len(), 17);

    // Settings that are not the model's, and a model that is not there, stop the run.
    project.edit("project.toml", "\"09-15\"", "\"09-30\"");
    project.lintan("run", &[]).expect(2, &["biomass.index_model.season", "found 06-01 to 09-30", "calibrate again"]);
    fs::remove_file(project.path("models/agb.toml")).unwrap();
    project.lintan("run", &[]).expect(2, &["agb.toml", "relative to the configuration"]);
}

/// The example's section is valid and holds every key, the optional ones commented out.
#[test]
fn the_example_shows_every_key_of_the_section() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/example-index-model.toml");
    let text = fs::read_to_string(&path).unwrap();
    let section = text.split_once("[biomass.index_model]\n").unwrap().1.split_once("\n[account]").unwrap().0;
    let is_key = |l: &str| {
        let key = l.split(" = ").next().unwrap_or_default();
        l.contains(" = ") && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    let body: String = section
        .lines()
        .map(|l| l.strip_prefix("# ").unwrap_or(l))
        .filter(|l| is_key(l))
        .fold(String::new(), |all, l| all + l + "\n");
    let shown: lintan::carbon::index_model::IndexModel =
        toml::from_str(&body).unwrap_or_else(|e| panic!("{e}\n{body}"));
    assert_eq!(shown.validate(), Ok(()));
    let keys = |t: &str| t.parse::<toml::Table>().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>();
    // Every optional key has a value, so that none is left out when it is written.
    assert_eq!(keys(&body), keys(&toml::to_string(&shown).unwrap()));
}
