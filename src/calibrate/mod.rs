//! From field plots to a biomass model that a run can use.
//!
//! Plots are treated as parcels: a point becomes a square of 3 x 3 pixels, whose exact coverage weights the pixels; their
//! cube is a store of its own under the output folder, so that a second calibration decodes nothing. Predictors are the
//! seasonal medians that a run uses ([`crate::predict`]), of the year of the plot, or the year before or after it where that
//! has none. Then a model is fitted ([`fit`], [`forest`]), tried on blocks of land that it has not seen, and written down.
//!
//! What it does not do: judge whether the plots were drawn at random, or approve the model.

pub mod fit;
pub mod forest;
pub mod picture;
pub mod plots;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use geo::{Centroid, LineString, MultiPolygon, Polygon};
use jiff::civil::Date;
use serde::Serialize;

use crate::accuracy::csv::bad;
use crate::analyse::date_of_ms;
use crate::carbon::index_model::{
    Calibration, Form, ISSUABLE_PLOTS, IndexModel, Linear, Model, ModelFile, Range, UNIT, Validation, Variogram,
};
use crate::config::{Change, Settings, example_of};
use crate::engine::extraction::Extraction;
use crate::engine::plan::{Plan, plan};
use crate::error::{ConfigError, Error, Quarantine, Reason, Result, Subject};
use crate::files::write_bytes;
use crate::imagery::catalog;
use crate::imagery::sensor::Sensors;
use crate::imagery::terrain::Correction;
use crate::parcel;
use crate::predict::{Cube, Pixels, Predictors, each, observe_settings};
use crate::record::store::{self, Inputs, Store};
use crate::run::{self, Behaviour, used_scenes};
use fit::{
    Crossed, Fitted, Method, Sample, as_linear, covariance, cross, log_errors, metrics, ranges, residual_variance,
};
use plots::{At, Fields, Plot, Plots, Refused};

/// Folder of the plots' store within the output folder.
const FOLDER: &str = "calibration";
/// Plots a coefficient, at least.
const PLOTS_A_COEFFICIENT: usize = 3;
/// Plots of a forest, at least.
const FOREST_PLOTS: usize = 12;
/// Corrections that differ by more are to be looked into.
const CORRECTIONS_DIFFER: f64 = 0.05;
/// Pixels along a side of the square that a point becomes.
const SQUARE_PX: f64 = 3.0;
/// Mean radius of the Earth, metres, for squares and distances between plots.
const EARTH_M: f64 = 6_371_008.8;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// File of the plots.
    pub plots: &'a Path,
    /// Where things stand in it.
    pub fields: Fields<'a>,
    /// Model file, in place of the configured one.
    pub model: Option<&'a Path>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The model file.
    pub model: PathBuf,
    /// Its SHA-256.
    pub model_sha256: String,
    /// Picture of predicted against observed.
    pub picture: PathBuf,
    /// Shape.
    pub form: Form,
    /// Indices.
    pub predictors: Vec<String>,
    /// Plots in the file.
    pub plots: usize,
    /// Plots that were used.
    pub used: usize,
    /// Of these, those whose predictors are of the year before or after.
    pub other_year: usize,
    /// Plots that were not used.
    pub refused: Vec<Refused>,
    /// Scenes that could not be used.
    pub quarantined: Vec<Quarantine>,
    /// Ranges of the predictors.
    pub ranges: Vec<Range>,
    /// Variance of the residuals of ln AGB.
    pub s2: f64,
    /// Coefficients and corrections, where the form has them.
    pub linear: Option<Linear>,
    /// Where residuals are alike.
    pub variogram: Option<Variogram>,
    /// How well it does.
    pub validation: Validation,
    /// What is to be known.
    pub notes: Vec<String>,
    /// Raster blocks that were decoded.
    pub blocks_decoded: u64,
}

/// A plot with its predictors.
struct Matched {
    plot: Plot,
    sample: Sample,
    lon_lat: [f64; 2],
    other_year: bool,
}

/// Fits a model to plots and writes it.
///
/// # Errors
/// No `[biomass.index_model]`, a file of plots that cannot be used, too few plots that can, storage, interruption.
pub fn calibrate(settings: &Settings, request: &Request, behaviour: &Behaviour) -> Result<Outcome> {
    run::start();
    let index_model = settings.options.biomass.index_model.as_ref().ok_or_else(|| {
        Error::from(ConfigError {
            path: settings.path.clone(),
            line: None,
            field: "biomass.index_model".into(),
            found: "nothing".into(),
            expected: "what the model is to be".into(),
            help: format!(
                "add [biomass.index_model] with model, form, predictors and season; {} shows them",
                example_of("biomass.index_model")
            ),
        })
    })?;
    let read = plots::read(request.plots, &request.fields)?;
    let total = read.plots.len() + read.refused.len();
    let pool = run::pool(settings)?;
    let found = observe(settings, index_model, &read, &pool, behaviour)?;
    let mut refused: Vec<Refused> = read.refused.iter().cloned().chain(found.refused).collect();
    refused.sort_by(|a, b| (a.number, &a.message).cmp(&(b.number, &b.message)));
    enough(request.plots, index_model, &found.matched, &refused, total)?;

    let samples: Vec<&Sample> = found.matched.iter().map(|m| &m.sample).collect();
    let method = Method { form: index_model.form, correction: index_model.correction, seed: index_model.seed };
    let unfit = |why: String| {
        let help = "choose other predictors, another season, or plots that differ more";
        bad(request.plots, "plots", why, "plots that a model can be fitted to", help)
    };
    let mut notes = read.notes.clone();
    notes.extend(found.notes);
    let (fitted, crossed) = pool
        .install(|| -> std::result::Result<_, String> {
            let fitted = fit::fit(&method, &samples)?;
            let crossed = cross(&method, &samples, &fitted, index_model.block_m);
            Ok((fitted, crossed))
        })
        .map_err(unfit)?;
    let fitted_y: Vec<f64> = samples.iter().map(|s| fitted.predict(&s.x)).collect();
    let mut file = describe(settings, index_model, request, &found.matched, &fitted, &crossed, &fitted_y);
    file.calibration.plots_sha256 = read.sha256.to_string();
    file.calibration.refused = refused.len();
    file.calibration.sensors = vec![found.sensor];
    file.calibration.pixel_m = found.pixel_m;
    match &fitted {
        Fitted::Linear(linear) => {
            let (covariance, kind) = covariance(linear, &samples, crossed.variogram.as_ref());
            file.linear = Some(as_linear(linear, covariance, kind));
            if linear.corrections.spread() > CORRECTIONS_DIFFER {
                notes.push(format!(
                    "the corrections for the bias of the logarithm differ by {:.1} % (Duan {:.4}, Baskerville {:.4}, Snowdon \
                     {:.4}): look for outliers, or for residuals that are not normal",
                    100.0 * linear.corrections.spread(),
                    linear.corrections.duan,
                    linear.corrections.baskerville,
                    linear.corrections.snowdon
                ));
            }
        }
        Fitted::Forest(_) => {
            let each_its_own: Vec<usize> = (0..samples.len()).collect();
            let groups = if crossed.spatial.is_some() { &crossed.groups } else { &each_its_own };
            file.forest = Some(pool.install(|| forest::ensemble(&samples, groups, index_model.seed)).map_err(unfit)?);
        }
    }
    notes.extend(crossed.notes.iter().cloned());
    if samples.len() < ISSUABLE_PLOTS {
        notes.push(format!(
            "{} plots: what is made from the model is for screening only; {ISSUABLE_PLOTS} or more are needed to issue",
            samples.len()
        ));
    }
    if file.validation.is_weak(index_model.min_r2) {
        let r2 = file.validation.held_out().map(|m| m.r2);
        let why = match (r2, index_model.min_r2) {
            (Some(r2), Some(least)) if r2 > 0.0 => format!("cross-validated R2 is {r2:.3}, less than min_r2 = {least}"),
            (Some(r2), _) => {
                format!("cross-validated R2 is {r2:.3}: the mean of the plots predicts as well as the model")
            }
            (None, _) => "there is no cross-validated R2 to compare with min_r2".to_owned(),
        };
        notes.push(format!(
            "{why}; what is made from the model is for screening only (flag weak_model). Choose other predictors, or check \
             the plots' coordinates and years"
        ));
    }
    let other_year = found.matched.iter().filter(|m| m.other_year).count();
    if other_year > 0 {
        notes.push(format!(
            "{other_year} plots were not clear in the season of their year; that of the year before or \
                            after was taken"
        ));
    }

    let text = file.to_toml()?;
    // What is written must be what can be read.
    let model = Model::parse(&text).map_err(|e| Error::Internal(format!("the model that was fitted: {e}")))?;
    let path = request.model.map_or_else(|| settings.base.join(&index_model.model), Path::to_path_buf);
    let picture = path.with_extension("svg");
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
    }
    write_bytes(&path, text.as_bytes())?;
    write_bytes(&picture, draw(&file, &samples, &crossed, &fitted_y).as_bytes())?;
    Ok(Outcome {
        model: path,
        model_sha256: model.sha256().to_owned(),
        picture,
        form: file.form,
        predictors: file.predictors,
        plots: total,
        used: samples.len(),
        other_year,
        refused,
        quarantined: found.quarantined,
        ranges: file.ranges,
        s2: file.s2,
        linear: file.linear,
        variogram: file.variogram,
        validation: file.validation,
        notes,
        blocks_decoded: found.decoded,
    })
}

/// Whether the plots that are left can carry a model.
fn enough(path: &Path, model: &IndexModel, matched: &[Matched], refused: &[Refused], total: usize) -> Result<()> {
    let least = PLOTS_A_COEFFICIENT * (model.predictors.len() + 1);
    let least = if model.form.is_linear() { least } else { least.max(FOREST_PLOTS) };
    if matched.len() < least {
        let first = refused.first().map_or(String::new(), |r| format!("; the first that cannot: {}", r.message));
        let found = format!("{} of {total} plots that can be used{first}", matched.len());
        let expected =
            format!("{least} or more for form {} of {} predictors", model.form.name(), model.predictors.len());
        return Err(bad(path, "plots", found, &expected, "add plots, scenes of their years, or correct the file"));
    }
    let y = || matched.iter().map(|m| m.sample.y);
    let (low, high) = (y().fold(f64::INFINITY, f64::min), y().fold(f64::NEG_INFINITY, f64::max));
    if low == high {
        let found = format!("{low} {UNIT} at every plot");
        return Err(bad(path, "plots", found, "biomass that differs", "a model needs poor and rich stands"));
    }
    Ok(())
}

/// The model file without what only the caller knows.
fn describe(
    settings: &Settings,
    index_model: &IndexModel,
    request: &Request,
    matched: &[Matched],
    fitted: &Fitted,
    crossed: &Crossed,
    fitted_y: &[f64],
) -> ModelFile {
    let samples: Vec<&Sample> = matched.iter().map(|m| &m.sample).collect();
    let y: Vec<f64> = samples.iter().map(|s| s.y).collect();
    let held_out = crossed.spatial.as_ref().or(crossed.random.as_ref());
    let (s2, degrees_of_freedom) = match fitted {
        Fitted::Linear(fit) => residual_variance(fit, &samples, crossed.variogram.as_ref()),
        Fitted::Forest(_) => {
            let errors = log_errors(&y, held_out.map_or(fitted_y, |(_, f)| f));
            (errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64, errors.len())
        }
    };
    let at = |d: usize| matched.iter().map(move |m| m.lon_lat[d]);
    let (low, high) = (|d| at(d).fold(f64::INFINITY, f64::min), |d| at(d).fold(f64::NEG_INFINITY, f64::max));
    let years = || matched.iter().map(|m| m.plot.year);
    let path = request.model.unwrap_or(&index_model.model);
    ModelFile {
        format: 1,
        name: path.file_stem().map_or_else(|| "model".into(), |s| s.to_string_lossy().into_owned()),
        approved_by: String::new(),
        approved_on: String::new(),
        unit: UNIT.to_owned(),
        form: index_model.form,
        predictors: index_model.predictors.clone(),
        season: index_model.season,
        years: index_model.years,
        s2,
        degrees_of_freedom,
        ranges: ranges(&index_model.predictors, &samples, fitted),
        calibration: Calibration {
            plots_sha256: String::new(),
            plots: samples.len(),
            refused: 0,
            years: (years().min().unwrap_or_default(), years().max().unwrap_or_default()),
            area: [low(0), low(1), high(0), high(1)],
            sensors: Vec::new(),
            pixel_m: 0.0,
            observe: observe_settings(&settings.options.observe),
            mean_t_per_ha: y.iter().sum::<f64>() / y.len() as f64,
            max_t_per_ha: y.iter().copied().fold(0.0, f64::max),
        },
        validation: Validation {
            spatial: crossed.spatial.as_ref().map(|(m, _)| m.clone()),
            random: crossed.random.as_ref().map(|(m, _)| m.clone()),
            fitted: Some(metrics(&y, fitted_y, index_model.predictors.len() + 1)),
        },
        variogram: crossed.variogram.clone(),
        linear: None,
        forest: None,
    }
}

fn draw(file: &ModelFile, samples: &[&Sample], crossed: &Crossed, fitted_y: &[f64]) -> String {
    let (legend, metrics, predicted) = match (&crossed.spatial, &crossed.random) {
        (Some((m, f)), _) => {
            (format!("{} blocks of land left out in turn 空间交叉验证", m.folds.unwrap_or(0)), Some(m), f.as_slice())
        }
        (None, Some((m, f))) => ("plots left out at random 随机交叉验证: optimistic".to_owned(), Some(m), f.as_slice()),
        (None, None) => {
            ("the plots that were fitted to: optimistic".to_owned(), file.validation.fitted.as_ref(), fitted_y)
        }
    };
    let subtitle = metrics.map_or_else(String::new, |m| {
        format!(
            "n {}   RMSE {:.1} t/ha ({:.0} %)   bias {:+.1} t/ha   R² {:.2}",
            m.plots, m.rmse_t_per_ha, m.rmse_percent, m.bias_t_per_ha, m.r2
        )
    });
    let title = format!("{}: {} of {}", file.name, file.form.name(), file.predictors.join(", "));
    let points: Vec<(f64, f64)> = samples.iter().zip(predicted).map(|(s, f)| (s.y, *f)).collect();
    picture::svg(&picture::Picture { title: &title, subtitle: &subtitle, legend: &legend, points: &points })
}

/// Year and predictors by position of the plot.
type Seasons = BTreeMap<usize, (i32, Vec<f64>)>;

/// What was seen of the plots.
struct Found {
    /// By id.
    matched: Vec<Matched>,
    refused: Vec<Refused>,
    quarantined: Vec<Quarantine>,
    sensor: String,
    pixel_m: f64,
    notes: Vec<String>,
    decoded: u64,
}

/// Predictors of the plots from the scenes.
fn observe(
    settings: &Settings,
    index_model: &IndexModel,
    read: &Plots,
    pool: &rayon::ThreadPool,
    behaviour: &Behaviour,
) -> Result<Found> {
    let nothing = |refused, quarantined| Found {
        matched: Vec::new(),
        refused,
        quarantined,
        sensor: String::new(),
        pixel_m: 0.0,
        notes: Vec::new(),
        decoded: 0,
    };
    if read.plots.is_empty() {
        return Ok(nothing(Vec::new(), Vec::new()));
    }
    let root = std::path::absolute(settings.out.join(FOLDER)).map_err(Error::io("find", &settings.out))?;
    let ours = as_parcels(settings, index_model, read, &root);
    let store = Store::open(&ours.out, behaviour.wait.then_some(behaviour.cancel))?;
    let inputs = Inputs::load(store.root());
    let seen_years = years_of_scenes(settings, index_model, read, &inputs)?;
    // The first guess of the pixels may be wrong: only the scenes tell.
    let mut pixel_m = f64::from(ours.options.observe.pixel_m);
    let mut plan = pool.install(|| planned(&ours, read, pixel_m, &inputs, behaviour))?;
    let finest = plan.grids.values().map(|g| g.lattice.pixel_area_m2().sqrt()).fold(f64::INFINITY, f64::min);
    if finest.is_finite() && finest != pixel_m {
        pixel_m = finest;
        plan = pool.install(|| planned(&ours, read, pixel_m, &inputs, behaviour))?;
    }
    let plot_at: BTreeMap<&str, &Plot> = read.plots.iter().map(|p| (p.id.as_str(), p)).collect();
    let of_position: Vec<Option<&Plot>> =
        plan.parcels.parcels.iter().map(|p| plot_at.get(p.id.as_str()).copied()).collect();
    let years = |position: usize| -> BTreeSet<i32> {
        of_position.get(position).copied().flatten().map(candidates).into_iter().flatten().collect()
    };
    let all: BTreeSet<i32> = (0..of_position.len()).flat_map(years).collect();
    let predictors = Predictors {
        indices: &index_model.predictors,
        season: index_model.season,
        widen: index_model.years,
        sensors: &[],
    };
    // What no plot needs is not decoded.
    let day = |plan: &Plan, s: usize| date_of_ms(plan.scenes[s].facts.acquired_ms);
    let needed: Vec<bool> = (0..plan.scenes.len()).map(|s| predictors.counts(day(&plan, s), &all)).collect();
    plan.tasks.retain(|t| needed[t.scene]);
    for (id, grid) in &plan.grids {
        for batch in &grid.batches[grid.known..] {
            batch.write(&store::grid_folder(store.root(), id), id)?;
        }
    }
    let extraction = Extraction::new(&ours, &plan, store.root(), behaviour.cancel, behaviour.progress);
    extraction.all(pool)?;
    let (faults, decoded, _) = extraction.finish();
    let set_aside: Vec<Quarantine> = plan.quarantined.iter().cloned().chain(faults).collect();
    let used: Vec<usize> = used_scenes(&plan, &set_aside).into_iter().filter(|s| needed[*s]).collect();

    // One family of sensors makes a model: indices of two are not the same numbers.
    let families: BTreeSet<&str> = used.iter().map(|s| plan.scenes[*s].scene.spec.id.as_str()).collect();
    let cube = Cube {
        plan: &plan,
        used: &used,
        root: store.root(),
        cancel: behaviour.cancel,
        memory_gib: settings.options.engine.memory_gib,
    };
    let k = index_model.predictors.len();
    let mut best: Option<(usize, f64, &str, Seasons)> = None;
    for family in &families {
        let sensors = [(*family).to_owned()];
        let predictors = Predictors { sensors: &sensors, ..predictors };
        let of_plot = |position: usize, pixels: &Pixels| {
            let plot = of_position.get(position).copied().flatten()?;
            candidates(plot).into_iter().find_map(|year| {
                let seen = pixels.season(year);
                let share = seen.share();
                seen.mean(k).filter(|_| share >= index_model.min_seen_share).map(|x| (year, x))
            })
        };
        let seen = pool.install(|| each(&cube, &predictors, years, of_plot))?;
        let seen: Seasons = seen.into_iter().filter_map(|(p, x)| Some((p, x?))).collect();
        let of_family = used.iter().filter(|s| plan.scenes[**s].scene.spec.id == *family);
        let areas = of_family.filter_map(|s| plan.grids.get(&plan.scenes[*s].facts.grid_id));
        let size = areas.map(|g| g.lattice.pixel_area_m2().sqrt()).fold(f64::INFINITY, f64::min);
        let better = best.as_ref().is_none_or(|b| seen.len() > b.0 || (seen.len() == b.0 && size < b.1));
        if better {
            best = Some((seen.len(), size, family, seen));
        }
    }
    inputs.save()?;
    let quarantined: Vec<Quarantine> = set_aside.iter().filter(|q| q.subject == Subject::Scene).cloned().collect();
    let Some((_, size, sensor, mut seen)) = best else {
        let refused = read.plots.iter().map(|p| unseen(read, p, index_model, &set_aside, &seen_years)).collect();
        return Ok(nothing(refused, quarantined));
    };
    let mut found = nothing(Vec::new(), quarantined);
    (found.sensor, found.pixel_m, found.decoded) = (sensor.to_owned(), size, decoded);
    if families.len() > 1 {
        let all: Vec<&str> = families.iter().copied().collect();
        found.notes.push(format!(
            "scenes of {} were found; predictors are those of {sensor}, which sees the most plots, and plots that only \
             others see are not used",
            all.join(", ")
        ));
    }
    let centre = |position: usize| plan.parcels.parcels[position].lon_lat.centroid();
    let position_of: BTreeMap<&str, usize> =
        plan.parcels.parcels.iter().enumerate().map(|(i, p)| (p.id.as_str(), i)).collect();
    for plot in &read.plots {
        let position = position_of.get(plot.id.as_str()).copied();
        let Some((position, (year, x))) = position.and_then(|p| Some((p, seen.remove(&p)?))) else {
            found.refused.push(unseen(read, plot, index_model, &set_aside, &seen_years));
            continue;
        };
        if let Some(message) = outside_the_form(index_model, plot, &x) {
            found.refused.push(refusal(read, plot, Reason::OutOfModelDomain, message));
            continue;
        }
        let Some(c) = centre(position) else { continue };
        found.matched.push(Matched {
            plot: plot.clone(),
            sample: Sample { x, y: plot.agb_t_per_ha, at_m: [0.0; 2] },
            lon_lat: [c.x(), c.y()],
            other_year: year != i32::from(plot.year),
        });
    }
    // Distances in the plane that touches the middle of the plots: within 1 % over some 300 km.
    let n = found.matched.len().max(1) as f64;
    let middle = found.matched.iter().map(|m| m.lon_lat[1]).sum::<f64>() / n;
    for m in &mut found.matched {
        let across = m.lon_lat[0].to_radians() * middle.to_radians().cos();
        m.sample.at_m = [EARTH_M * across, EARTH_M * m.lon_lat[1].to_radians()];
    }
    Ok(found)
}

fn refusal(read: &Plots, plot: &Plot, reason: Reason, message: String) -> Refused {
    let message = format!("{} {}: plot {}: {message}", read.numbered, plot.number, plot.id);
    Refused { number: plot.number, plot_id: plot.id.clone(), reason, message }
}

/// Why a plot cannot enter a fit of this form, if it cannot.
fn outside_the_form(model: &IndexModel, plot: &Plot, x: &[f64]) -> Option<String> {
    if model.form.is_linear() && plot.agb_t_per_ha <= 0.0 {
        return Some(format!(
            "found biomass 0, expected more for form {}, which is fitted to logarithms",
            model.form.name()
        ));
    }
    let negative = x.iter().position(|x| *x <= 0.0).filter(|_| model.form == Form::Power)?;
    Some(format!("found {} {}, expected more than 0 for form power", model.predictors[negative], x[negative]))
}

/// Years whose season may serve a plot, the best first.
fn candidates(plot: &Plot) -> [i32; 3] {
    [plot.year, plot.year - 1, plot.year + 1].map(i32::from)
}

/// Scenes by the year of the season that they lie in, whatever the years of the plots.
///
/// # Errors
/// No scene lies in a season that any plot can use.
fn years_of_scenes(
    settings: &Settings,
    model: &IndexModel,
    read: &Plots,
    inputs: &Inputs,
) -> Result<BTreeMap<i32, usize>> {
    let scenes = &settings.options.scenes;
    let observe = &settings.options.observe;
    // As the plan reads them, so that what it knows of products stays known.
    let with_angles = observe.nbar || (observe.dem.is_some() && observe.terrain == Correction::ScsC);
    let found = catalog::read_again(scenes, &settings.base, &Sensors::builtin()?, &inputs.products, with_angles)?;
    let mut years: BTreeMap<i32, usize> = BTreeMap::new();
    for year in found.scenes.iter().filter_map(|s| model.season.year(s.date())) {
        *years.entry(year).or_default() += 1;
    }
    if found.scenes.is_empty() && !found.bad.is_empty() || read.plots.iter().any(|p| has_scenes(&years, model, p)) {
        return Ok(years);
    }
    let mut of_plots: BTreeMap<i32, usize> = BTreeMap::new();
    read.plots.iter().for_each(|p| *of_plots.entry(p.year.into()).or_default() += 1);
    let mut seen = match (found.scenes.len(), years.is_empty()) {
        (0, _) => "there is no scene".to_owned(),
        (n, true) => format!("none of {n} scenes lies in the season {}", model.season),
        (_, false) => format!("scenes in the season {} are of {}", model.season, counted(&years)),
    };
    if found.outside_dates > 0 {
        let _ = write!(seen, ", {} more are outside [scenes] start and end", found.outside_dates);
    }
    let found = format!("plots of {}; {seen}", counted(&of_plots));
    let expected = "scenes of the year of a plot, or of the year before or after it";
    let help = "add scenes of the plots' years below [scenes] paths (widen start and end where they leave them out), or give \
                plots of the scenes' years; check the column of the date (--date)";
    Err(bad(&read.path, "years", found, expected, help))
}

/// Whether any scene lies in a season that the plot can use.
fn has_scenes(years: &BTreeMap<i32, usize>, model: &IndexModel, plot: &Plot) -> bool {
    let widen = i32::try_from(model.years).unwrap_or(0);
    candidates(plot).iter().any(|y| years.range(y - widen..=y + widen).next().is_some())
}

/// Years with their numbers: `2018 (3), 2020 (1)`.
fn counted(years: &BTreeMap<i32, usize>) -> String {
    years.iter().map(|(year, n)| format!("{year} ({n})")).collect::<Vec<_>>().join(", ")
}

/// Why a plot has no predictors.
fn unseen(
    read: &Plots,
    plot: &Plot,
    model: &IndexModel,
    set_aside: &[Quarantine],
    years: &BTreeMap<i32, usize>,
) -> Refused {
    match set_aside.iter().find(|q| q.subject == Subject::Parcel && q.id == plot.id) {
        Some(q) => refusal(read, plot, q.reason, q.message.clone()),
        None if !has_scenes(years, model, plot) => {
            let message = format!(
                "found its year {}, expected one for which there are scenes, or the year before or after; scenes in the \
                 season {} are of {}; add scenes of its years, or leave it out",
                plot.year,
                model.season,
                counted(years)
            );
            refusal(read, plot, Reason::NoClearObservation, message)
        }
        None => {
            let message = format!(
                "found no clear observation of {:.0} % of it ([biomass.index_model] min_seen_share) in the season {} of {}, \
                 {} or {}, expected some; add scenes, or widen the season",
                100.0 * model.min_seen_share,
                model.season,
                plot.year - 1,
                plot.year,
                plot.year + 1
            );
            refusal(read, plot, Reason::NoClearObservation, message)
        }
    }
}

/// The settings with the plots in place of the parcels, and a store of their own.
fn as_parcels(settings: &Settings, index_model: &IndexModel, read: &Plots, root: &Path) -> Settings {
    let mut ours = settings.clone();
    ours.out = root.to_path_buf();
    ours.options.parcels = parcel::Params {
        path: layer_path(root),
        layer: None,
        id: "plot_id".into(),
        kind: None,
        kind_values: BTreeMap::new(),
        attributes: BTreeMap::new(),
        encoding: None,
        datum_shift: None,
    };
    ours.options.change = Change::default();
    ours.options.observe.indices.clone_from(&index_model.predictors);
    // Scenes of years that no plot can use are not even looked into.
    let margin = 1 + i16::try_from(index_model.years).unwrap_or(2);
    let years = || read.plots.iter().map(|p| p.year);
    let first = years().min().and_then(|y| Date::new(y - margin - 1, 1, 1).ok());
    let last = years().max().and_then(|y| Date::new(y + margin, 12, 31).ok());
    let scenes = &mut ours.options.scenes;
    scenes.start = scenes.start.max(first);
    scenes.end = match (scenes.end, last) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    ours
}

fn layer_path(root: &Path) -> PathBuf {
    root.join("plots.geojson")
}

/// Writes the plots as a layer and makes the plan.
fn planned(ours: &Settings, read: &Plots, pixel_m: f64, inputs: &Inputs, behaviour: &Behaviour) -> Result<Plan> {
    let ring = |line: &LineString<f64>| line.0.iter().map(|c| [c.x, c.y]).collect::<Vec<_>>();
    let coordinates = |p: &Polygon<f64>| -> Vec<Vec<[f64; 2]>> {
        std::iter::once(p.exterior()).chain(p.interiors()).map(ring).collect()
    };
    let features: Vec<serde_json::Value> = read
        .plots
        .iter()
        .map(|plot| {
            let outline = match &plot.at {
                At::Outline(outline) => outline.clone(),
                At::Point(lon, lat) => square(*lon, *lat, SQUARE_PX * pixel_m),
            };
            let parts: Vec<_> = outline.0.iter().map(coordinates).collect();
            serde_json::json!({
                "type": "Feature", "properties": { "plot_id": plot.id },
                "geometry": { "type": "MultiPolygon", "coordinates": parts },
            })
        })
        .collect();
    let layer = serde_json::json!({ "type": "FeatureCollection", "features": features });
    write_bytes(&layer_path(&ours.out), layer.to_string().as_bytes())?;
    plan(ours, inputs, true, behaviour.progress, behaviour.cancel)
}

/// A square in degrees with sides of `side_m` metres around a point.
fn square(lon: f64, lat: f64, side_m: f64) -> MultiPolygon<f64> {
    let up = (side_m / 2.0 / EARTH_M).to_degrees();
    let across = up / lat.to_radians().cos();
    let corners = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0)];
    let ring: Vec<(f64, f64)> = corners.iter().map(|(x, y)| (lon + x * across, lat + y * up)).collect();
    MultiPolygon(vec![Polygon::new(LineString::from(ring), Vec::new())])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::area::geodesic_area_m2;

    #[test]
    fn squares_have_their_area_everywhere() {
        for lat in [-45.0, 0.0, 30.0, 50.0, 65.0] {
            let area = geodesic_area_m2(&square(110.0, lat, 30.0));
            assert!((area / 900.0 - 1.0).abs() < 0.01, "{lat}: {area}");
        }
    }
}
