//! Do the intervals of the carbon figures hold the truth as often as they say, and what do they cost?
//!
//! `cargo bench --bench carbon -- --trials 1000 --parcels 5000 --draws 10000 --seed 1 --plots 60 --tract 1`
//!
//! For each method 1,000 forests are made whose truth is known; what the method would be given is made from the truth with
//! the errors that it is told of; the method answers; and it is counted how often its 90 % interval holds the truth, of a
//! stock and of a change. 1,000 trials of 90 % are 88.1 to 91.9 % in 19 of 20 cases; behind each row stands whether both lie
//! in 88 to 92 %.
//!
//! The factors of a parameter set are one draw of their published spread; what they are published with is taken at its word.
//! A biomass model by indices is no such draw: its truth is fixed, and the whole calibration is done again in every trial.
//! Each law of it has a second row, where the model is told one thing more: how alike the residuals of two pixels of a parcel
//! are. What differs between the two rows comes from plots that lie too far apart to tell. `--plots` and `--tract` give other
//! plots: how many, and how many of them stand together, at the corners of a square.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use common::{Random, arguments};
use jiff::civil::{Date, date};
use lintan::calibrate::fit::{self, Fitted, Sample, as_linear, covariance, cross, ranges, residual_variance};
use lintan::carbon::agb_map::{self, AgbMap, Pixel, Reading};
use lintan::carbon::biomass::Tier1Cover;
use lintan::carbon::chain::{Assessed, Evidence, Factor, Part, Shape};
use lintan::carbon::draw::{Draws, normal_quantile};
use lintan::carbon::index_model::{
    self, Calibration, Correction, Form, IndexModel, Model, ModelFile, Seen, UNIT, Validation, Variogram, cholesky,
};
use lintan::carbon::inventory::{self, Inventory};
use lintan::carbon::monte_carlo::{MonteCarlo, Spread};
use lintan::carbon::{ParameterSet, Pool, VolumeModel, tier1_cover};
use lintan::detect::composite::Season;
use lintan::series::Observation;
use lintan::units::{Estimate, Hectares, days};
use rayon::prelude::*;

const START: Date = date(2018, 7, 15);
const END: Date = date(2022, 7, 15);
const AREA_HA: f64 = 8.0;
/// Shares of the trials that an interval of 90 % may hold the truth in.
const EXPECTED: (f64, f64) = (0.88, 0.92);
const POOLS: [Pool; 2] = [Pool::Aboveground, Pool::Belowground];

/// Standard normal.
fn normal(random: &mut Random) -> f64 {
    normal_quantile(random.uniform(1e-15, 1.0))
}

/// A lognormal of a mean and a coefficient of variation.
fn lognormal(random: &mut Random, mean: f64, cv: f64) -> f64 {
    let variance = (cv * cv).ln_1p();
    mean * (variance.sqrt() * normal(random) - variance / 2.0).exp()
}

/// One draw of a published factor.
fn drawn(random: &mut Random, factor: &Factor) -> f64 {
    let variance: f64 = factor.sources.iter().map(|(_, w)| w * w).sum();
    if variance == 0.0 {
        return factor.value;
    }
    match &factor.shape {
        Shape::Lognormal => factor.value * (variance.sqrt() * normal(random) - variance / 2.0).exp(),
        Shape::Normal => factor.value + variance.sqrt() * normal(random),
        Shape::Triangular { min, max } => {
            // By rejection, which needs no quantiles.
            let height = |x: f64| {
                if x < factor.value { (x - min) / (factor.value - min) } else { (max - x) / (max - factor.value) }
            };
            loop {
                let x = random.uniform(*min, *max);
                if random.uniform(0.0, 1.0) < height(x) {
                    return x;
                }
            }
        }
        Shape::Uniform { min, max } => random.uniform(*min, *max),
        Shape::Members(_) => unreachable!("a parameter is no ensemble"),
    }
}

/// A field with variance 1 and correlation `exp(-d / range)` at some places.
struct Field(Vec<Vec<f64>>);

impl Field {
    fn new(places_m: &[[f64; 2]], range_m: f64) -> Self {
        let distance = |p: &[f64; 2], q: &[f64; 2]| (p[0] - q[0]).hypot(p[1] - q[1]);
        let row = |p| places_m.iter().map(|q| (-distance(p, q) / range_m).exp()).collect();
        let matrix: Vec<Vec<f64>> = places_m.iter().map(row).collect();
        Field(cholesky(&matrix).expect("a correlation"))
    }

    fn draw(&self, random: &mut Random) -> Vec<f64> {
        let z: Vec<f64> = self.0.iter().map(|_| normal(random)).collect();
        self.0.iter().map(|row| row.iter().zip(&z).map(|(l, z)| l * z).sum()).collect()
    }
}

/// What is true, and what a method makes of what it is given: stock at the start, change.
struct Trial {
    truth_t_c: [f64; 2],
    found: [Spread; 2],
}

/// Share of a parcel lost between two dates.
type Lost = dyn Fn(Date, Date) -> Estimate<f64>;

/// What all methods are given alike.
struct Given {
    attributes: BTreeMap<String, String>,
    observations: BTreeMap<Arc<str>, Vec<Observation>>,
    lost: Option<Box<Lost>>,
}

impl Given {
    fn new(attributes: &[(&str, &str)]) -> Self {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Given { attributes, observations: BTreeMap::new(), lost: None }
    }

    fn assess(&self, set: &ParameterSet, draws: usize, chain: impl Fn(&Evidence) -> Assessed) -> [Spread; 2] {
        let epochs = BTreeSet::from([START, END]);
        let evidence = Evidence {
            parcel_id: "p",
            area: Hectares::new(AREA_HA).expect("an area"),
            attributes: &self.attributes,
            epochs: &epochs,
            observations: &self.observations,
            lost: self.lost.as_deref(),
            lost_area: None,
            seen: None,
            pools: &POOLS,
            parameters: set,
        };
        let (chain, refused) = chain(&evidence).expect("a chain");
        assert!(refused.is_empty(), "{refused:?}");
        let monte_carlo = MonteCarlo::new(Draws::new(1, draws));
        let tonnes = monte_carlo.tonnes(&chain, &Factor::exact(AREA_HA), &[[START, END]]);
        [tonnes.stocks[&(START, Pool::Total)].spread, tonnes.deltas[&(START, END)].spread]
    }
}

/// Default density x cover: the forest's own density, carbon fraction and roots are one draw of the published spread; its
/// cover is seen on some dates, with noise.
fn tier1(random: &mut Random, set: &ParameterSet, draws: usize) -> Trial {
    let params: Tier1Cover =
        toml::from_str("index_bare = 0.1\nindex_full = 0.9\necological_zone = \"temperate_continental\"")
            .expect("params");
    let (_, forest_type) = set.forest_type("针叶林", Some("temperate_continental")).expect("a type");
    let factors = set.factors(forest_type).expect("factors");
    let cv = |value: f64, se: f64| se / value;
    let (d, cf, r) = (factors.aboveground, factors.carbon_fraction, factors.root_to_shoot.expect("roots"));
    let d = lognormal(random, d.value.get(), cv(d.value.get(), d.se.get()));
    let cf = lognormal(random, cf.value.get(), cv(cf.value.get(), cf.se.get()));
    let r = lognormal(random, r.value, cv(r.value, r.se));
    let mut given = Given::new(&[("forest_type", "针叶林")]);
    let mut rows = Vec::new();
    let covers = [0.3 + 0.5 * random.uniform(0.0, 1.0), 0.3 + 0.5 * random.uniform(0.0, 1.0)];
    for (cover, epoch) in covers.iter().zip([START, END]) {
        let dates = 4 + (random.uniform(0.0, 1.0) * 8.0) as i8;
        for i in 0..dates {
            let day = epoch.saturating_add(jiff::Span::new().days(i64::from(i) * 4 - 20));
            let mean = 0.1 + 0.8 * (cover + 0.06 * normal(random));
            rows.push(Observation { date: day, mean, clear_fraction: 1.0 });
        }
    }
    given.observations.insert("ndvi".into(), rows);
    let full = d * cf * (1.0 + r) * AREA_HA;
    let found = given.assess(set, draws, |e| tier1_cover::chain(e, &params));
    Trial { truth_t_c: [full * covers[0], full * (covers[1] - covers[0])], found }
}

/// Two biomass maps whose errors correlate in space (exponentially, over 300 m) and between the dates.
fn agb(random: &mut Random, set: &ParameterSet, draws: usize) -> Trial {
    const SIDE: usize = 9;
    const STEP_M: f64 = 100.0;
    const RANGE_M: f64 = 300.0;
    const BETWEEN: f64 = 0.6;
    let text = format!(
        "unit = \"t d.m./ha\"\nerror_range_m = {RANGE_M}\nerror_correlation_between_dates = {BETWEEN}\nvalidated_by = \"here\"\n\
         ecological_zone = \"temperate_continental\"\n[[maps]]\npath = \"a\"\nerror_path = \"b\"\ndate = \"{START}\"\n[[maps]]\n\
         path = \"c\"\nerror_path = \"d\"\ndate = \"{END}\""
    );
    let params: AgbMap = toml::from_str(&text).expect("params");
    // Errors with the stated covariance, by the Cholesky factor of the pixels' correlation.
    let n = SIDE * SIDE;
    let at = |i: usize| ((i % SIDE) as f64 * STEP_M, (i / SIDE) as f64 * STEP_M);
    let distance = |i: usize, j: usize| (at(i).0 - at(j).0).hypot(at(i).1 - at(j).1);
    let mut factor = vec![vec![0.0; n]; n];
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| factor[i][k] * factor[j][k]).sum();
            let rest = (-distance(i, j) / RANGE_M).exp() - dot;
            factor[i][j] = if i == j { rest.max(0.0).sqrt() } else { rest / factor[j][j] };
        }
    }
    let field = |random: &mut Random| -> Vec<f64> {
        let z: Vec<f64> = (0..n).map(|_| normal(random)).collect();
        (0..n).map(|i| (0..=i).map(|k| factor[i][k] * z[k]).sum()).collect()
    };
    let (common, own) = (field(random), [field(random), field(random)]);
    let mut readings = agb_map::Readings::new();
    let mut true_means = [0.0; 2];
    for (e, epoch) in [START, END].into_iter().enumerate() {
        let mut pixels = Vec::with_capacity(n);
        for i in 0..n {
            let truth = 90.0 + 12.0 * e as f64 + 30.0 * random.uniform(0.0, 1.0);
            let error = 20.0;
            let noise = error * (BETWEEN.sqrt() * common[i] + (1.0 - BETWEEN).sqrt() * own[e][i]);
            true_means[e] += truth / n as f64;
            pixels.push(Pixel { weight: 1.0, value: truth + noise, error, x_m: at(i).0, y_m: at(i).1 });
        }
        readings.insert(epoch, Ok(Reading::of(&pixels, RANGE_M, 1.0)));
    }
    let (_, forest_type) = set.forest_type("针叶林", Some("temperate_continental")).expect("a type");
    let factors = set.factors(forest_type).expect("factors");
    let (cf, r) = (factors.carbon_fraction, factors.root_to_shoot.expect("roots"));
    let cf = lognormal(random, cf.value.get(), cf.se.get() / cf.value.get());
    let r = lognormal(random, r.value, r.se / r.value);
    let found = Given::new(&[("forest_type", "针叶林")]).assess(set, draws, |e| agb_map::chain(e, &params, &readings));
    let full = cf * (1.0 + r) * AREA_HA;
    Trial { truth_t_c: [full * true_means[0], full * (true_means[1] - true_means[0])], found }
}

/// Growing stock of a survey two years before, grown by an increment, less what was lost: the stock, the increment and the
/// losses are seen with the errors that are stated; the set's factors are one draw of their spread.
fn by_inventory(random: &mut Random, set: &ParameterSet, draws: usize) -> Trial {
    const SURVEY: Date = date(2016, 7, 15);
    const VOLUME_CV: f64 = 0.1;
    const INCREMENT_CV: f64 = 0.3;
    const LOST_SE: f64 = 0.03;
    let (species, zone) = ("落叶松", Some("temperate"));
    let (_, group) = set.volume_group(species, zone).expect("a group");
    // Within one class of volume, for sets that have classes: which row holds is no matter of chance.
    let (volume, increment) = (random.uniform(130.0, 145.0), random.uniform(2.0, 4.0));
    let (lost_before, lost_between) = (random.uniform(0.05, 0.15), random.uniform(0.0, 0.3));

    let factor = |random: &mut Random, id: &str| drawn(random, &set.factor(id, Part::Allometry).expect("a factor"));
    let at = |years: f64| volume + increment * years;
    let (from_survey_a, to_end_a) =
        ((days(START) - days(SURVEY)) as f64 / 365.25, (days(END) - days(SURVEY)) as f64 / 365.25);
    let per_volume = match &group.model {
        VolumeModel::Density { density, expansion } => factor(random, density) * factor(random, expansion),
        VolumeModel::Expansion { stock, .. } => factor(random, set.volume_class(stock, at(4.0)).expect("a class").0),
        VolumeModel::Linear { .. } => unreachable!("not of these sets"),
    };
    let transfer = group.transfer_error.as_ref().map_or(1.0, |id| factor(random, id));
    let agb = 0.5 * (at(from_survey_a) + at(to_end_a)) * per_volume;
    let roots = set.root_to_shoot(&group.root_to_shoot, agb).expect("roots").to_owned();
    let full =
        per_volume * transfer * factor(random, &group.carbon_fraction) * (1.0 + factor(random, &roots)) * AREA_HA;
    let truth =
        [full * at(from_survey_a) * (1.0 - lost_before), full * at(to_end_a) * (1.0 - lost_before - lost_between)];

    let seen_volume = lognormal(random, volume, VOLUME_CV).to_string();
    let seen_increment = lognormal(random, increment, INCREMENT_CV).to_string();
    let mut given = Given::new(&[
        ("species", species),
        ("volume_m3_per_ha", &seen_volume),
        ("increment_m3_per_ha_a", &seen_increment),
    ]);
    let before = lost_before + LOST_SE * normal(random);
    let between = lost_between + LOST_SE * normal(random);
    given.lost = Some(Box::new(move |_, to| match to {
        START => Estimate { value: before, se: LOST_SE },
        _ => Estimate { value: before + between, se: LOST_SE * 2f64.sqrt() },
    }));
    let params = Inventory {
        surveyed_on: Some(SURVEY),
        volume_cv: Some(VOLUME_CV),
        increment_cv: Some(INCREMENT_CV),
        ecological_zone: zone.map(str::to_owned),
        ..Inventory::default()
    };
    let found = given.assess(set, draws, |e| inventory::chain(e, &params, &[]));
    Trial { truth_t_c: [truth[0], truth[1] - truth[0]], found }
}

/// The law of a forest that a model by indices is calibrated in.
#[derive(Clone, Copy)]
struct Law {
    form: Form,
    range_m: f64,
    /// Share of the residual variance that is the pixel's own.
    nugget: f64,
}

/// What a model by indices is calibrated with.
#[derive(Clone, Copy)]
struct Survey {
    plots: usize,
    /// Plots that stand together.
    tract: usize,
    /// Whether the model is told the correlation of the residuals within a parcel.
    told: bool,
}

/// Ranges from that of the plots' spacing to a quarter of their extent.
const LAWS: [Law; 6] = [
    Law { form: Form::Exponential, range_m: 300.0, nugget: 0.2 },
    Law { form: Form::Exponential, range_m: 1000.0, nugget: 0.0 },
    Law { form: Form::Exponential, range_m: 1000.0, nugget: 0.2 },
    Law { form: Form::Exponential, range_m: 3000.0, nugget: 0.2 },
    Law { form: Form::Power, range_m: 1000.0, nugget: 0.2 },
    Law { form: Form::Power, range_m: 3000.0, nugget: 0.5 },
];

/// Side of a pixel, metres, and pixels along the side of the parcel.
const PIXEL_M: f64 = 20.0;
const SIDE_PX: usize = 14;
static PARCEL_M: LazyLock<Vec<[f64; 2]>> = LazyLock::new(|| {
    (0..SIDE_PX * SIDE_PX).map(|i| [PIXEL_M * (i % SIDE_PX) as f64, PIXEL_M * (i / SIDE_PX) as f64]).collect()
});

/// Plots of a known law, whose residuals correlate in space, are calibrated with; then the model is asked for a parcel
/// elsewhere, whose residuals follow the same law, anew at each date. What the parcel holds is the mean of its pixels,
/// residuals and all.
fn by_index(law: Law, survey: Survey, field: &Field, random: &mut Random, set: &ParameterSet, draws: usize) -> Trial {
    const EXTENT_M: f64 = 20_000.0;
    /// Sides of the square of a tract, as in several national inventories.
    const TRACT_M: f64 = 250.0;
    const VARIANCE: f64 = 0.09;
    let truth = |x: f64, e: f64| {
        let eta = if law.form == Form::Power { 5.3 + 2.6 * x.ln() } else { 0.8 + 4.9 * x };
        (eta + VARIANCE.sqrt() * e).exp()
    };
    let residuals = |random: &mut Random, field: &Field| -> Vec<f64> {
        let mut e = field.draw(random);
        e.iter_mut().for_each(|e| *e = (1.0 - law.nugget).sqrt() * *e + law.nugget.sqrt() * normal(random));
        e
    };
    let mut places: Vec<[f64; 2]> = Vec::with_capacity(survey.plots);
    while places.len() < survey.plots {
        let [x, y] = [random.uniform(0.0, EXTENT_M), random.uniform(0.0, EXTENT_M)];
        let corners = [[x, y], [x + TRACT_M, y], [x, y + TRACT_M], [x + TRACT_M, y + TRACT_M]];
        places.extend(corners.iter().take(survey.tract.min(survey.plots - places.len())));
    }
    let e = residuals(random, &Field::new(&places, law.range_m));
    let plot = |(at_m, e): (&[f64; 2], &f64)| {
        let x = random.uniform(0.3, 0.85);
        Sample { x: vec![x], y: truth(x, *e), at_m: *at_m }
    };
    let plots: Vec<Sample> = places.iter().zip(&e).map(plot).collect();
    let told = Variogram {
        nugget: law.nugget,
        sill: 1.0 - law.nugget,
        range_m: law.range_m,
        // So short that no two pixels share any.
        nugget_range_m: Some(PIXEL_M / 100.0),
        pairs: 0,
        pure_nugget: false,
    };
    let model = calibrated(law.form, &plots.iter().collect::<Vec<_>>(), survey.told.then_some(told));

    let settings: IndexModel = toml::from_str(&format!(
        "model = \"m.toml\"\nform = \"{}\"\npredictors = [\"ndvi\"]\nseason = [\"06-01\", \"09-15\"]\n\
         ecological_zone = \"temperate_continental\"",
        law.form.name()
    ))
    .expect("settings");
    let level = random.uniform(0.42, 0.72);
    let mut predictions = BTreeMap::new();
    let mut agb = [0.0; 2];
    for (i, epoch) in [START, END].into_iter().enumerate() {
        let n = PARCEL_M.len();
        let level = level + i as f64 * random.uniform(-0.08, 0.08);
        let values: Vec<f64> = (0..n).map(|_| level + 0.03 * normal(random)).collect();
        let e = residuals(random, field);
        agb[i] = values.iter().zip(&e).map(|(x, e)| truth(*x, *e)).sum::<f64>() / n as f64;
        let seen = Seen {
            whole_px: n as f64,
            weights: vec![1.0; n],
            places_m: PARCEL_M.clone(),
            observations: vec![5; n],
            values,
        };
        predictions.insert(epoch, model.predict(&seen).expect("a prediction"));
    }
    let (_, forest_type) = set.forest_type("针叶林", Some("temperate_continental")).expect("a type");
    let factors = set.factors(forest_type).expect("factors");
    let (cf, r) = (factors.carbon_fraction, factors.root_to_shoot.expect("roots"));
    let cf = lognormal(random, cf.value.get(), cf.se.get() / cf.value.get());
    let r = lognormal(random, r.value, r.se / r.value);
    let found = Given::new(&[("forest_type", "针叶林")])
        .assess(set, draws, |e| index_model::chain(e, &settings, &model, Some(&predictions)));
    let full = cf * (1.0 + r) * AREA_HA;
    Trial { truth_t_c: [full * agb[0], full * (agb[1] - agb[0])], found }
}

/// The model of these plots, as `lintan calibrate` makes it, but for what it is told of the correlation within a parcel.
fn calibrated(form: Form, plots: &[&Sample], told: Option<Variogram>) -> Model {
    let method = fit::Method { form, correction: Correction::default(), seed: 1 };
    let fitted = fit::fit(&method, plots).expect("a fit");
    let crossed = cross(&method, plots, &fitted, None);
    let Fitted::Linear(linear) = &fitted else { unreachable!("a form in logarithms") };
    let (s2, degrees_of_freedom) = residual_variance(linear, plots, crossed.variogram.as_ref());
    let (matrix, kind) = covariance(linear, plots, crossed.variogram.as_ref());
    let file = ModelFile {
        format: 1,
        name: "simulated".into(),
        approved_by: String::new(),
        approved_on: String::new(),
        unit: UNIT.into(),
        form,
        predictors: vec!["ndvi".into()],
        season: Season::new("06-01", "09-15").expect("a season"),
        years: 0,
        s2,
        degrees_of_freedom,
        ranges: ranges(&["ndvi".into()], plots, &fitted),
        calibration: Calibration {
            plots_sha256: String::new(),
            plots: plots.len(),
            refused: 0,
            years: (2018, 2018),
            area: [25.0, 45.0, 26.0, 46.0],
            sensors: vec!["sentinel-2".into()],
            pixel_m: PIXEL_M,
            observe: BTreeMap::new(),
            mean_t_per_ha: plots.iter().map(|p| p.y).sum::<f64>() / plots.len() as f64,
            max_t_per_ha: plots.iter().map(|p| p.y).fold(0.0, f64::max),
        },
        validation: Validation::default(),
        variogram: told.or(crossed.variogram),
        linear: Some(as_linear(linear, matrix, kind)),
        forest: None,
    };
    Model::parse(&file.to_toml().expect("a text")).expect("a model")
}

type Method = Box<dyn Fn(&mut Random, usize) -> Trial + Sync>;
fn main() {
    let given =
        arguments([("trials", 1000), ("parcels", 5000), ("draws", 10_000), ("seed", 1), ("plots", 60), ("tract", 1)]);
    let [trials, parcels, draws, seed] = ["trials", "parcels", "draws", "seed"].map(|name| given[name]);
    let (plots, tract) = (given["plots"], given["tract"].clamp(1, 4));
    let set = ParameterSet::builtin("ipcc-2006").expect("the set");
    println!("{trials} forests a method: how often the 90 % interval holds the truth");
    println!("index_model: {plots} plots on 20 km x 20 km, {tract} together");
    println!("{:>56} {:>8} {:>8}", "method", "stock", "change");
    let with = |method: fn(&mut Random, &ParameterSet, usize) -> Trial, set: &str| -> Method {
        let set = ParameterSet::builtin(set).expect("the set");
        Box::new(move |random, draws| method(random, &set, draws))
    };
    let mut methods: Vec<(String, Method)> = vec![
        ("tier1_cover".into(), with(tier1, "ipcc-2006")),
        ("agb_map".into(), with(agb, "ipcc-2006")),
        ("inventory, cn-ar-cm-001".into(), with(by_inventory, "cn-ar-cm-001")),
        ("inventory, ipcc-2006".into(), with(by_inventory, "ipcc-2006")),
    ];
    for law in LAWS {
        let field = Arc::new(Field::new(&PARCEL_M, law.range_m));
        for told in [false, true] {
            let (set, field, survey) = (set.clone(), Arc::clone(&field), Survey { plots, tract, told });
            let name = match told {
                false => format!("index_model, {}, {} m, nugget {}", law.form.name(), law.range_m, law.nugget),
                true => "told how alike the pixels of a parcel are".to_owned(),
            };
            methods.push((name, Box::new(move |random, draws| by_index(law, survey, &field, random, &set, draws))));
        }
    }
    let (mut outside, rows) = (0, methods.len());
    for (name, method) in methods {
        let hits: Vec<[bool; 2]> = (0..trials)
            .into_par_iter()
            .map(|t| {
                let trial = method(&mut Random::new(seed as u64 * 1_000_003 + t as u64), 4000);
                [0, 1].map(|i| (trial.found[i].ci90.0..=trial.found[i].ci90.1).contains(&trial.truth_t_c[i]))
            })
            .collect();
        let share = |i: usize| hits.iter().filter(|h| h[i]).count() as f64 / trials as f64;
        let verdict = |share: f64| match share {
            s if s < EXPECTED.0 => "too narrow",
            s if s > EXPECTED.1 => "too wide",
            _ => "as stated",
        };
        let (stock, change) = (share(0), share(1));
        println!("{name:>56} {stock:>8.3} {change:>8.3}  {:<10} {}", verdict(stock), verdict(change));
        outside += [stock, change].iter().filter(|s| verdict(**s) != "as stated").count();
    }
    println!("{outside} of {} shares lie outside {} to {}", 2 * rows, EXPECTED.0, EXPECTED.1);

    let monte_carlo = MonteCarlo::new(Draws::new(seed as u64, draws));
    let params: Tier1Cover =
        toml::from_str("index_bare = 0.1\nindex_full = 0.9\necological_zone = \"temperate_continental\"")
            .expect("params");
    let clock = Instant::now();
    let sum: f64 = (0..parcels)
        .into_par_iter()
        .map(|p| {
            let mut given = Given::new(&[("forest_type", "针叶林")]);
            let rows = [START, END].iter().flat_map(|epoch| {
                (0..5).map(|i| Observation {
                    date: epoch.saturating_add(jiff::Span::new().days(i * 5 - 10)),
                    mean: 0.5 + 0.01 * i as f64,
                    clear_fraction: 1.0,
                })
            });
            given.observations.insert("ndvi".into(), rows.collect());
            let id = format!("parcel {p}");
            let epochs = BTreeSet::from([START, END]);
            let evidence = Evidence {
                parcel_id: &id,
                area: Hectares::new(AREA_HA).expect("an area"),
                attributes: &given.attributes,
                epochs: &epochs,
                observations: &given.observations,
                lost: None,
                lost_area: None,
                seen: None,
                pools: &POOLS,
                parameters: &set,
            };
            let (chain, _) = tier1_cover::chain(&evidence, &params).expect("a chain");
            let area = Factor::lognormal(lintan::carbon::chain::Part::Area, evidence.own("area"), AREA_HA, 0.02);
            monte_carlo.tonnes(&chain, &area, &[[START, END]]).deltas[&(START, END)].spread.se
        })
        .collect::<Vec<f64>>()
        .iter()
        .sum();
    let seconds = clock.elapsed().as_secs_f64();
    println!(
        "{parcels} parcels x {draws} draws, two epochs and a change: {seconds:.1} s (mean se {:.1} t C)",
        sum / parcels as f64
    );
}
