//! How was each carbon figure made, and by whose numbers? Formula and source of the method, every value of the parameter set
//! that it used, the biomass model with its validation, the rule of deduction worked through for one parcel.

use std::collections::{BTreeMap, BTreeSet};

use super::number::{count, fixed, signed};
use super::page::{Head, Look, Page};
use super::read::{Delta, Run};
use super::text::{self, Both, words};
use crate::carbon::deduction::Deduction;
use crate::carbon::index_model::{Form, Metrics, ModelRecord};
use crate::carbon::{Confidence, Origin, Parameter};

/// Coefficients of a model, decimals.
const COEFFICIENT: usize = 6;
/// Values of an index, decimals.
const INDEX: usize = 4;
/// Tonnes in arithmetic that a reader is to repeat, decimals.
const WORKED: usize = 3;

/// Writes the section.
pub fn section(page: &mut Page, run: &Run) {
    page.section(text::ORIGINS);
    if run.stocks.is_empty() {
        page.paragraph(text::NO_CARBON, &[]);
        return;
    }
    let used = used(run);
    methods(page, run, &used);
    if let Some(model) = &run.record.biomass_model {
        biomass_model(page, run, model);
    }
    parameters(page, run, &used);
    page.part(text::ORIGIN_CHANGE, &[]);
    page.paragraph(text::FORMULA_CHANGE, &[]);
    if run.deltas.iter().any(|d| d.gain_loss_t_co2e.is_some()) {
        page.paragraph(text::FORMULA_GAIN_LOSS, &[]);
    }
    if run.deltas.iter().any(|d| d.did_t_co2e.is_some()) {
        page.paragraph(text::FORMULA_CONTROL, &[]);
    }
    deduction(page, run);
    if let Some(draws) = &run.record.monte_carlo {
        page.part(text::ORIGIN_ERRORS, &[]);
        let (n, seed) = (count(draws.draws), draws.seed.to_string());
        page.paragraph(text::FORMULA_ERRORS, &[&n, &seed, &draws.algorithm]);
    }
}

/// What the stocks of a method were made with: its name, and the forest type or group with its id.
type Used<'a> = Vec<(&'a str, &'a str, Option<&'a Origin>)>;

fn used(run: &Run) -> Used<'_> {
    let origins = run.record.parameter_set.as_ref().map(|s| &s.origins);
    let of = |method: &str, id: &str| {
        let table = if method == "inventory" { "groups" } else { "forest_types" };
        origins.and_then(|o| o.get(&format!("{table}/{id}")))
    };
    let ids = run.stocks.iter().map(|s| (s.method.as_str(), s.model_id.rsplit('/').next().unwrap_or_default()));
    ids.collect::<BTreeSet<_>>().into_iter().map(|(method, id)| (method, id, of(method, id))).collect()
}

fn methods(page: &mut Page, run: &Run, used: &Used) {
    page.part(text::ORIGIN_STOCK, &[]);
    let forms: BTreeSet<(&str, &str)> = used.iter().map(|(m, _, o)| (*m, o.map_or("", |o| o.form.as_str()))).collect();
    for (method, form) in forms {
        page.paragraph(text::formula(method, form), &[]);
        let settings = run.record.configuration.pointer(&format!("/biomass/{method}"));
        if let Some(settings) = settings.and_then(|s| s.as_object()).filter(|s| !s.is_empty()) {
            page.paragraph(text::METHOD_SETTINGS, &[method]);
            let lines: Vec<String> =
                settings.iter().filter(|(_, v)| !v.is_null()).map(|(key, v)| format!("{key} = {v}")).collect();
            page.code(&lines.join("; "));
        }
    }
}

/// A model in one line, with its coefficients.
fn formula_of(model: &ModelRecord) -> String {
    let file = &model.file;
    let Some(linear) = &file.linear else {
        return format!("AGB = mean of {} trees of {}", count(model.trees as u64), file.predictors.join(", "));
    };
    let k = fixed(linear.correction_factor(), COEFFICIENT);
    let b = |i: usize| linear.coefficients.get(i).map_or("–".to_owned(), |b| fixed(*b, COEFFICIENT));
    let x = |i: usize| file.predictors.get(i).cloned().unwrap_or_default();
    match file.form {
        Form::Power => format!("AGB = {k} × exp({}) × {}^({})", b(0), x(0), b(1)),
        Form::Exponential => format!("AGB = {k} × exp({}) × exp({} × {})", b(0), b(1), x(0)),
        Form::LogLinear | Form::RandomForest => {
            let terms: Vec<String> =
                (1..linear.coefficients.len()).map(|i| format!("{} × {}", b(i), x(i - 1))).collect();
            format!("AGB = {k} × exp({} + {})", b(0), terms.join(" + "))
        }
    }
}

fn biomass_model(page: &mut Page, run: &Run, model: &ModelRecord) {
    let (file, validation) = (&model.file, &model.file.validation);
    page.part(text::ORIGIN_MODEL, &[]);
    let approved = match (file.approved_by.trim(), file.approved_on.as_str()) {
        ("", _) | (_, "") => text::NOT_APPROVED.joined(),
        (by, on) => super::both(text::APPROVED_BY, &[by, on]),
    };
    let calibration = &file.calibration;
    let plots = [calibration.plots, calibration.refused].map(|n| count(n as u64));
    let years = [calibration.years.0, calibration.years.1].map(|y| y.to_string());
    let mut facts = vec![
        (text::MODEL_NAME, file.name.clone()),
        (text::MODEL_FILE, run.configured("/biomass/index_model/model").unwrap_or("–").to_owned()),
        (text::MODEL_DIGEST, model.sha256.clone()),
        (text::MODEL_APPROVED, approved),
        (text::MODEL_FORM, format!("{}: {} ({})", file.form.name(), formula_of(model), file.unit)),
        (text::MODEL_SEASON, file.season.to_string()),
        (text::MODEL_PLOTS, super::both(text::PLOTS_USED, &[&plots[0], &plots[1], &years[0], &years[1]])),
        (text::MODEL_PLOTS_DIGEST, calibration.plots_sha256.clone()),
        (text::MODEL_SENSORS, format!("{}, {} m", calibration.sensors.join(", "), fixed(calibration.pixel_m, 0))),
        (text::MODEL_AREA, calibration.area.map(|v| fixed(v, 5)).join(", ")),
        (
            text::MODEL_BIOMASS,
            format!("{} / {} t d.m./ha", fixed(calibration.mean_t_per_ha, 1), fixed(calibration.max_t_per_ha, 1)),
        ),
        (text::MODEL_S2, fixed(file.s2, COEFFICIENT)),
    ];
    if let Some(linear) = &file.linear {
        let error = |i: usize| linear.covariance.get(i).and_then(|r| r.get(i)).map_or(f64::NAN, |v| v.max(0.0).sqrt());
        let terms = linear.coefficients.iter().enumerate();
        let terms = terms.map(|(i, b)| format!("b{i} = {} ± {}", fixed(*b, COEFFICIENT), fixed(error(i), COEFFICIENT)));
        facts.push((text::MODEL_COEFFICIENTS, terms.collect::<Vec<_>>().join(", ")));
        let correction = serde_json::to_value(linear.correction).ok();
        let correction = correction.as_ref().and_then(|v| v.as_str()).unwrap_or("–").to_owned();
        facts
            .push((text::MODEL_CORRECTION, format!("{correction} {}", fixed(linear.correction_factor(), COEFFICIENT))));
    }
    page.facts(&facts);

    page.paragraph(text::VALIDATION_NOTE, &[]);
    let heads = [
        Head::new(text::VALIDATION, "", Look::Words),
        Head::new(text::MODEL_N, "", Look::Number),
        Head::new(text::FOLDS, "", Look::Number),
        Head::new(text::BLOCK, "m", Look::Number),
        Head::new(text::R2, "1", Look::Number),
        Head::new(text::RMSE, "t/ha", Look::Number),
        Head::new(text::RMSE, "%", Look::Number),
        Head::new(text::BIAS, "t/ha", Look::Number),
        Head::new(text::MAE, "t/ha", Look::Number),
        Head::new(text::TRE, "%", Look::Number),
        Head::new(text::MPE, "%", Look::Number),
    ];
    let row = |name: Both, m: &Metrics| {
        vec![
            Some(name.joined()),
            Some(count(m.plots as u64)),
            m.folds.map(|n| count(n as u64)),
            m.block_m.map(|side| fixed(side, 0)),
            Some(fixed(m.r2, 3)),
            Some(fixed(m.rmse_t_per_ha, 2)),
            Some(fixed(m.rmse_percent, 1)),
            Some(signed(m.bias_t_per_ha, 2)),
            Some(fixed(m.mae_t_per_ha, 2)),
            Some(signed(m.tre_percent, 2)),
            Some(fixed(m.mpe_percent, 2)),
        ]
    };
    let kinds = [
        (text::CROSS_SPATIAL, &validation.spatial),
        (text::CROSS_RANDOM, &validation.random),
        (text::CROSS_FITTED, &validation.fitted),
    ];
    let rows: Vec<_> = kinds.iter().filter_map(|(name, m)| Some(row(*name, m.as_ref()?))).collect();
    page.table(&heads, &rows);
    if validation.held_out().is_none() {
        page.strong(text::NO_CROSS_VALIDATION, &[]);
    }

    page.paragraph(text::RANGES_NOTE, &[]);
    let heads = [text::PREDICTOR, text::MIN, text::P5, text::P95, text::MAX];
    let heads = heads.map(|h| Head::new(h, "", if h.en == text::PREDICTOR.en { Look::Key } else { Look::Number }));
    let rows: Vec<_> = file
        .ranges
        .iter()
        .map(|r| {
            let numbers = [r.min, r.p5, r.p95, r.max].map(|v| Some(fixed(v, INDEX)));
            std::iter::once(Some(r.predictor.clone())).chain(numbers).collect()
        })
        .collect();
    page.table(&heads, &rows);
}

fn parameters(page: &mut Page, run: &Run, used: &Used) {
    let Some(set) = &run.record.parameter_set else { return };
    page.part(text::ORIGIN_PARAMETERS, &[]);
    let approved = match (&set.approved_by, &set.approved_on) {
        (Some(by), Some(on)) => super::both(text::APPROVED_BY, &[by, on]),
        _ => text::NOT_APPROVED.joined(),
    };
    page.facts(&[
        (text::PARAMETER_SET, format!("{} · {} {} · {}", set.name, text::VERSION.joined(), set.version, set.title)),
        (text::APPROVED, approved),
        (text::SET_DIGEST, set.sha256.clone()),
        (text::NAMES_DIGEST, set.names_sha256.clone().unwrap_or_else(|| "–".to_owned())),
    ]);
    // By value, what it is used for.
    let mut uses: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (method, _, origin) in used {
        let Some(origin) = origin else { continue };
        // A model and a map bring the biomass themselves.
        let own = if ["index_model", "agb_map"].contains(method) { &[][..] } else { &origin.biomass[..] };
        let name = format!("{} {}", origin.name_zh, origin.name_en);
        for value in own.iter().chain(&origin.others) {
            uses.entry(value).or_default().insert(name.clone());
        }
    }
    let climate =
        run.configured("/biomass/inventory/climate_zone").and_then(|id| set.origins.get(&format!("climates/{id}")));
    for (origin, value) in climate.into_iter().flat_map(|o| o.others.iter().map(move |v| (o, v))) {
        uses.entry(value).or_default().insert(format!("{} {}", origin.name_zh, origin.name_en));
    }
    if uses.is_empty() {
        page.paragraph(text::PARAMETERS_LACKING, &[]);
        return;
    }
    page.paragraph(text::PARAMETERS_NOTE, &[]);
    let heads = [
        Head::new(text::VALUE_ID, "", Look::Key),
        Head::new(text::VALUE, "", Look::Number),
        Head::new(text::UNIT, "", Look::Key),
        Head::new(text::SPREAD, "", Look::Short),
        Head::new(text::SOURCE, "", Look::Words),
        Head::new(text::CONFIDENCE, "", Look::Key),
        Head::new(text::USED_FOR, "", Look::Words),
    ];
    let rows: Vec<_> = uses
        .iter()
        .filter_map(|(id, names)| {
            let p = set.values.get(*id)?;
            let confidence = match p.confidence {
                Confidence::Verified => "V",
                Confidence::Known => "K",
                Confidence::Unsure => "?",
            };
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            Some(vec![
                Some((*id).to_owned()),
                // As it stands in the set: to round it would be to change it.
                Some(p.value.to_string().replace('-', "−")),
                Some(p.unit.clone()),
                Some(spread(p)),
                Some(p.source.clone()),
                Some(confidence.to_owned()),
                Some(names.join("; ")),
            ])
        })
        .collect();
    page.table(&heads, &rows);
}

fn spread(p: &Parameter) -> String {
    match (p.range, p.cv()) {
        (Some((low, high)), Some(cv)) => format!("{low} – {high} (cv {} %)", fixed(100.0 * cv, 1)),
        (None, Some(cv)) => format!("cv {} %", fixed(100.0 * cv, 1)),
        _ => text::EXACT.joined(),
    }
}

fn deduction(page: &mut Page, run: &Run) {
    page.part(text::ORIGIN_DEDUCTION, &[]);
    let scheme = run.record.configuration.pointer("/account/deduction").cloned();
    let Some(scheme) = scheme.and_then(|v| serde_json::from_value::<Deduction>(v).ok()) else {
        page.paragraph(text::NO_DEDUCTION, &[]);
        return;
    };
    page.paragraph(text::DEDUCTION_RULE, &[scheme.name(), scheme.source()]);
    page.code(scheme.rule());
    page.paragraph(text::DEDUCTION_NOTE, &[]);
    let may = |d: &&Delta| d.creditable_t_co2e.is_some() && d.not_creditable().is_none();
    // The parcel of which the most is credited; where nothing is, the one that grew the most. Of equals the first by id.
    let order = |a: &&Delta, b: &&Delta| {
        let key = |d: &Delta| (d.creditable_t_co2e.unwrap_or(0.0), d.delta_t_co2e);
        let ((ca, da), (cb, db)) = (key(a), key(b));
        ca.total_cmp(&cb).then(da.total_cmp(&db)).then_with(|| (&b.parcel_id, b.period).cmp(&(&a.parcel_id, a.period)))
    };
    match run.deltas.iter().filter(may).max_by(order) {
        Some(delta) => worked(page, scheme, delta),
        None => page.paragraph(text::NOTHING_WORKED, &[]),
    }
}

/// The way from the stocks of one parcel to what may be credited, in numbers that a reader can check by hand.
fn worked(page: &mut Page, scheme: Deduction, d: &Delta) {
    let [start, end] = super::period_text(d.period);
    page.paragraph(text::WORKED, &[&d.parcel_id, &start, &end]);
    let t = |v: f64| fixed(v, WORKED);
    let (low, high) = d.ci90_t_co2e;
    let half = super::half_width(d.ci90_t_co2e);
    let credited = d.creditable_t_co2e.unwrap_or(0.0);
    let mut lines = vec![
        format!("ΔC = {} − {} = {} t C", t(d.stock_t_c.1), t(d.stock_t_c.0), signed(d.delta_t_c, WORKED)),
        format!("ΔC × 44/12 = {} t CO₂e", signed(d.delta_t_co2e, WORKED)),
    ];
    if let Some(u) = d.relative_uncertainty_percent {
        lines.push(format!(
            "U = 100 × ({} − {}) / 2 / {} = 100 × {} / {} = {} %",
            t(high),
            t(low),
            t(d.delta_t_co2e.abs()),
            t(half),
            t(d.delta_t_co2e.abs()),
            fixed(u, 2)
        ));
        lines.push(format!("{}: {}", scheme.name(), scheme.working(u)));
    }
    let why = match d.deduction_percent {
        Some(percent) if credited > 0.0 => {
            let rest = fixed(percent, 2);
            lines.push(format!("{} × (1 − {rest}/100) = {} t CO₂e", t(d.delta_t_co2e), t(credited)));
            None
        }
        _ if d.status == "screening_only" => Some(text::ZERO_SCREENING),
        _ if d.delta_t_co2e <= 0.0 => Some(text::ZERO_LOSS),
        None => Some(text::ZERO_UNCERTAIN),
        Some(_) if d.flags.iter().any(|f| f == "saturated") => Some(text::ZERO_SATURATED),
        Some(_) => Some(text::ZERO_DEDUCTED),
    };
    page.list(lines.iter().map(String::as_str));
    if let Some(why) = why {
        page.paragraph(why, &[&words(&d.status)]);
    }
}
