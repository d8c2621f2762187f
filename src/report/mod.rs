//! What did a run find, for people who have never heard of it? One HTML file in Chinese and English that holds everything
//! it shows: no script, no font, picture or style from elsewhere.
//!
//! It reads the output folder alone, and only tables whose SHA-256 is that of the record. The same folder gives the same
//! bytes: the only times in it are those of the record.

mod charts;
mod number;
mod origin;
mod page;
mod read;
mod svg;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::civil::Date;

use crate::digest::Sha256;
use crate::error::{Error, Result};
use crate::files::write_bytes;
use crate::units::Z90;
use charts::{MapEvent, MapParcel, ShareLine, Step, StockLine};
use number::{column_decimals, count, decimals, fixed, half_width, interval, plain, signed};
use page::{Head, Look, Page};
use read::{Delta, Event, Run, Shares, Stock};
use text::{Both, fill, words};

/// From here on a relative uncertainty only says that the estimate is about 0, percent.
const MEANINGLESS_PERCENT: f64 = 10_000.0;

/// Rows of a table of parcels or disturbances; beyond, the largest are shown.
const TABLE_ROWS: usize = 200;
/// Parcels in a picture with a row each: what an A4 page holds.
const PICTURE_ROWS: usize = 45;
/// Periods that are shown.
const PERIODS: usize = 6;
/// Parcels or scenes set aside, and input files, that are listed.
const LISTED: usize = 30;
/// Dates in the picture of the stocks.
const EPOCHS: usize = 4;

/// What was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// Size of the file.
    pub bytes: u64,
    /// The run that it tells of.
    pub run_id: String,
    /// Digest of the settings of that run.
    pub config_sha256: Sha256,
}

/// Writes the report of the run in the output folder `root` to `to`. `config` is the configuration that an error message
/// tells the reader to run.
///
/// # Errors
/// No finished run, a table that was changed since, a name that is no HTML file's, the file system's answer.
pub fn write(root: &Path, config: &Path, to: &Path) -> Result<Written> {
    // The name of a table or of the record, given by mistake, would be the end of it.
    if !to.extension().is_some_and(|e| e.eq_ignore_ascii_case("html") || e.eq_ignore_ascii_case("htm")) {
        return Err(Error::Input {
            path: to.to_path_buf(),
            what: "file to write".to_owned(),
            found: "another kind of name".to_owned(),
            expected: "a name that ends in .html".to_owned(),
            help: "give --out a name such as report.html".to_owned(),
        });
    }
    let run = Run::open(root, config)?;
    let html = html(&run);
    write_bytes(to, html.as_bytes())?;
    Ok(Written { bytes: html.len() as u64, run_id: run.record.run_id.clone(), config_sha256: run.record.config_sha256 })
}

fn html(run: &Run) -> String {
    let mut page = Page::new(text::TITLE, run.configured("/project/name").unwrap_or("–"));
    page.paragraph(text::LEAD, &[]);
    page.paragraph(text::SIGN, &[]);
    let marks = Marks::of(run);
    what_was_run(&mut page, run);
    status(&mut page, run);
    totals(&mut page, run);
    deltas(&mut page, run, &marks);
    stocks(&mut page, run, &marks);
    events(&mut page, run);
    set_aside(&mut page, run);
    invariants(&mut page, run);
    errors(&mut page, run);
    origin::section(&mut page, run);
    marks.explain(&mut page);
    page.section(text::CITATIONS);
    page.list(run.record.citations.iter().map(String::as_str));
    files(&mut page, run);
    page.section(text::LIMITS);
    let methods: BTreeSet<&str> = run.stocks.iter().map(|s| s.method.as_str()).collect();
    let own = methods.into_iter().filter_map(text::method_limit);
    page.bilingual_list(text::GENERAL_LIMITS.iter().copied().chain(own));
    let version = run.record.software.get("lintan").map_or("–", String::as_str);
    page.finish(&format!("lintan {version} · {} · {}", run.record.run_id, run.record.finished_at))
}

/// A phrase with its values, both languages in one line.
fn both(phrase: Both, values: &[&str]) -> String {
    format!("{} · {}", fill(phrase.zh, values), fill(phrase.en, values))
}

fn period_text(period: (Date, Date)) -> [String; 2] {
    [period.0.to_string(), period.1.to_string()]
}

/// Periods of the changes, in order.
fn periods(run: &Run) -> Vec<(Date, Date)> {
    run.deltas.iter().map(|d| d.period).collect::<BTreeSet<_>>().into_iter().collect()
}

fn what_was_run(page: &mut Page, run: &Run) {
    page.section(text::RUN);
    let record = &run.record;
    let with_change = run.deltas.iter().map(|d| d.parcel_id.as_str()).collect::<BTreeSet<_>>().len();
    let day = |time: &str| time.get(..10).unwrap_or(time).to_owned();
    let second = |time: &str| time.get(..19).map_or(time.to_owned(), |t| format!("{t}Z"));
    let seen = |scenes: &[&read::Scene]| {
        let mut days: Vec<String> = scenes.iter().map(|s| day(&s.acquired_at)).collect();
        days.sort();
        (days.first().cloned().unwrap_or_default(), days.last().cloned().unwrap_or_default())
    };
    let all: Vec<&read::Scene> = record.scenes.iter().collect();
    let (first, last) = seen(&all);
    let periods = periods(run);
    let period_list =
        periods.iter().map(|p| both(text::FROM_TO, &[&p.0.to_string(), &p.1.to_string()])).collect::<Vec<_>>();
    let listed = |names: BTreeSet<String>| {
        if names.is_empty() { text::NONE.joined() } else { names.into_iter().collect::<Vec<_>>().join(", ") }
    };
    let change = record.reference_alarms.keys().cloned().chain(run.events.iter().map(|e| e.method.clone()));
    let carbon = run.stocks.iter().map(|s| s.method.clone());
    let parcels = [count(run.count("features")), count(run.count("parcels")), count(with_change as u64)];
    let mut facts = vec![
        (text::PROJECT, run.configured("/project/name").unwrap_or("–").to_owned()),
        (text::PERIODS, if periods.is_empty() { text::NONE.joined() } else { period_list.join("; ") }),
        (text::PARCEL_LAYER, run.configured("/parcels/path").unwrap_or("–").to_owned()),
        (text::PARCELS, both(text::PARCELS_READ, &[&parcels[0], &parcels[1], &parcels[2]])),
        (
            text::SCENES,
            if record.scenes.is_empty() {
                text::NO_SCENES.joined()
            } else {
                both(text::SCENES_USED, &[&count(record.scenes.len() as u64), &first, &last])
            },
        ),
        (text::CHANGE_METHODS, listed(change.collect())),
        (text::BIOMASS_METHODS, listed(carbon.collect())),
    ];
    match &record.parameter_set {
        Some(p) => {
            facts.push((
                text::PARAMETER_SET,
                format!("{} · {} {} · {}", p.name, text::VERSION.joined(), p.version, p.title),
            ));
            let approved = match (&p.approved_by, &p.approved_on) {
                (Some(by), Some(on)) => both(text::APPROVED_BY, &[by, on]),
                _ => text::NOT_APPROVED.joined(),
            };
            facts.push((text::APPROVED, approved));
            facts.push((text::SET_DIGEST, p.sha256.clone()));
        }
        None => facts.push((text::PARAMETER_SET, text::NONE.joined())),
    }
    let software: Vec<String> = record.software.iter().rev().map(|(name, v)| format!("{name} {v}")).collect();
    facts.extend([
        (text::SOFTWARE, software.join(", ")),
        (text::RUN_ID, record.run_id.clone()),
        (text::TIMES, format!("{} – {}", second(&record.started_at), second(&record.finished_at))),
        (text::SETTINGS_DIGEST, record.config_sha256.to_string()),
        (text::RECORD_DIGEST, run.sha256.to_string()),
    ]);
    page.facts(&facts);
    let mut by_sensor: BTreeMap<&str, Vec<&read::Scene>> = BTreeMap::new();
    for scene in &record.scenes {
        by_sensor.entry(&scene.sensor).or_default().push(scene);
    }
    let heads = [
        Head::new(text::SENSOR, "", Look::Key),
        Head::new(text::SCENES, "", Look::Number),
        Head::new(text::FIRST, "", Look::Key),
        Head::new(text::LAST, "", Look::Key),
    ];
    let rows: Vec<_> = by_sensor
        .iter()
        .map(|(sensor, scenes)| {
            let (first, last) = seen(scenes);
            [(*sensor).to_owned(), count(scenes.len() as u64), first, last].map(Some).to_vec()
        })
        .collect();
    page.table(&heads, &rows);
}

fn status(page: &mut Page, run: &Run) {
    page.section(text::STATUS);
    if run.deltas.is_empty() && run.stocks.is_empty() {
        page.open_box(false);
        page.strong(text::NO_CARBON, &[]);
        page.close_box();
        return;
    }
    let issuable = |statuses: &mut dyn Iterator<Item = &String>| statuses.filter(|s| *s == "issuable").count() as u64;
    let deltas = (run.deltas.len() as u64, issuable(&mut run.deltas.iter().map(|d| &d.status)));
    let stocks = (run.stocks.len() as u64, issuable(&mut run.stocks.iter().map(|s| &s.status)));
    let unapproved = run.record.parameter_set.as_ref().is_some_and(|p| p.approved_by.is_none());
    page.open_box(deltas.1 == 0);
    if deltas.1 == 0 && stocks.1 == 0 {
        page.strong(text::COUNT_ALL_SCREENING, &[&count(deltas.0), &count(stocks.0)]);
    } else {
        let of = |n: (u64, u64)| [count(n.0), count(n.1), count(n.0 - n.1)];
        let (d, s) = (of(deltas), of(stocks));
        page.strong(text::COUNT_STATUS, &[&d[0], &d[1], &d[2], &s[0], &s[1], &s[2]]);
        page.paragraph(text::MEANS_ISSUABLE, &[]);
    }
    page.paragraph(text::MEANS_SCREENING, &[]);
    if unapproved {
        page.paragraph(text::UNAPPROVED_SET, &[]);
    }
    if deltas.0 > 0 {
        let unsure = run.deltas.iter().filter(|d| d.may_be_zero()).count() as u64;
        page.paragraph(text::CONTAINS_ZERO, &[&count(deltas.0), &count(unsure)]);
    }
    match run.configured("/account/deduction") {
        Some(scheme) => page.paragraph(text::DEDUCTION, &[scheme]),
        None => page.paragraph(text::NO_DEDUCTION, &[]),
    }
    page.close_box();
}

fn totals(page: &mut Page, run: &Run) {
    page.section(text::TOTALS);
    if run.totals.is_empty() {
        page.paragraph(text::NO_CARBON, &[]);
        return;
    }
    let heads = [
        Head::new(text::GROUP, "", Look::Short),
        Head::new(text::QUANTITY, "", Look::Short),
        Head::new(text::DATES, "", Look::Key),
        Head::new(text::POOL, "", Look::Short),
        Head::new(text::PARCELS, "", Look::Number),
        Head::new(text::AREA, "ha", Look::Number),
        Head::new(text::TOTAL, "t C", Look::Number),
        Head::new(text::CI90, "t C", Look::Number),
        Head::new(text::TOTAL, "t CO₂e", Look::Number),
        Head::new(text::CI90, "t CO₂e", Look::Number),
        Head::new(text::RELATIVE, "%", Look::Number),
    ];
    let in_c = column_decimals(run.totals.iter().map(|t| half_width(t.ci90_t_c)));
    let in_co2e = column_decimals(run.totals.iter().map(|t| half_width(t.ci90_t_co2e)));
    let rows: Vec<_> = run
        .totals
        .iter()
        .map(|t| {
            let write = if t.quantity == "stock" { fixed } else { signed };
            let (c, ci_c) = (write(t.sum_t_c, in_c), interval(t.ci90_t_c, in_c, write));
            let (co2e, ci_co2e) = (write(t.sum_t_co2e, in_co2e), interval(t.ci90_t_co2e, in_co2e, write));
            let dates = t.period_start.map_or(t.period_end.to_string(), |s| format!("{s} – {}", t.period_end));
            vec![
                Some(words(&t.group)),
                Some(words(&t.quantity)),
                Some(dates),
                Some(words(&t.pool)),
                Some(count(t.parcels.into())),
                Some(fixed(t.area_ha, 2)),
                Some(c),
                Some(ci_c),
                Some(co2e),
                Some(ci_co2e),
                t.relative_uncertainty_percent.filter(|v| *v < MEANINGLESS_PERCENT).map(|v| fixed(v, 1)),
            ]
        })
        .collect();
    page.table(&heads, &rows);
    page.paragraph(text::TOTALS_NOTE, &[]);
    creditable(page, run);
}

/// What may be credited of all parcels together, by period. The sum with its interval is a row of the totals, which the
/// draws of all parcels made: intervals of parcels are never added up here.
fn creditable(page: &mut Page, run: &Run) {
    let Some(scheme) = run.configured("/account/deduction") else { return };
    page.open_box(false);
    for period in periods(run) {
        let [start, end] = period_text(period);
        let of_period = || run.deltas.iter().filter(|d| d.period == period && d.not_creditable().is_none());
        let parcels = of_period().filter(|d| d.creditable_t_co2e.is_some_and(|t| t > 0.0)).count();
        let total = run.totals.iter().find(|t| {
            t.group == "all"
                && t.quantity == "creditable"
                && (t.period_start, t.period_end) == (Some(period.0), period.1)
        });
        match total {
            Some(t) => {
                let d = column_decimals(std::iter::once(half_width(t.ci90_t_co2e)));
                let (v, ci) = (fixed(t.sum_t_co2e, d), interval(t.ci90_t_co2e, d, fixed));
                let [n, of] = [u64::from(t.parcels), of_period().count() as u64].map(count);
                page.strong(text::CREDITABLE_TOTAL, &[&start, &end, scheme, &n, &of, &v, &ci]);
            }
            None if parcels == 0 => page.strong(text::CREDITABLE_NOTHING, &[&start, &end, scheme]),
            None => page.strong(text::CREDITABLE_LACKING, &[&start, &end]),
        }
    }
    page.paragraph(text::CREDITABLE_NOTE, &[]);
    page.close_box();
}

/// The `n` parcels with the largest gains and the largest losses, by change from the largest gain down.
fn largest<'a>(deltas: &[&'a Delta], n: usize) -> Vec<&'a Delta> {
    let mut sorted = deltas.to_vec();
    sorted.sort_by(|a, b| b.delta_t_co2e.total_cmp(&a.delta_t_co2e).then_with(|| a.parcel_id.cmp(&b.parcel_id)));
    if sorted.len() <= n {
        return sorted;
    }
    let losses = sorted.iter().filter(|d| d.delta_t_co2e < 0.0).count();
    let gains = sorted.len() - losses;
    // Half of the places each; what one side does not need is the other's.
    let top = gains.min((n / 2).max(n.saturating_sub(losses)));
    let bottom = n - top;
    let tail = sorted.split_off(sorted.len() - bottom);
    sorted.truncate(top);
    sorted.extend(tail);
    sorted
}

fn deltas(page: &mut Page, run: &Run, marks: &Marks) {
    page.section(text::DELTAS);
    let periods = periods(run);
    if periods.is_empty() {
        page.paragraph(text::NO_CARBON, &[]);
        event_map(page, run);
        return;
    }
    if periods.len() > PERIODS {
        page.paragraph(text::LEFT_OUT_PERIODS, &[&count(periods.len() as u64), &count(PERIODS as u64)]);
    }
    for (number, period) in periods.iter().take(PERIODS).enumerate() {
        let of_period: Vec<&Delta> = run.deltas.iter().filter(|d| d.period == *period).collect();
        let [start, end] = period_text(*period);
        page.part(text::PERIOD, &[&start, &end]);
        waterfall(page, run, &of_period, *period);
        delta_map(page, run, &of_period, *period, number);
        delta_table(page, &of_period, marks);
    }
    variance(page, run);
}

fn waterfall(page: &mut Page, run: &Run, deltas: &[&Delta], period: (Date, Date)) {
    let shown = largest(deltas, PICTURE_ROWS);
    let step = |d: &&Delta| Step { name: d.parcel_id.clone(), delta: d.delta_t_co2e, ci90: Some(d.ci90_t_co2e) };
    let mut steps: Vec<Step> = shown.iter().map(step).collect();
    let sum: f64 = deltas.iter().map(|d| d.delta_t_co2e).sum();
    let [start, end] = period_text(period);
    if shown.len() < deltas.len() {
        let [here, rest] = [shown.len(), deltas.len() - shown.len()].map(|n| count(n as u64));
        let not_drawn = sum - shown.iter().map(|d| d.delta_t_co2e).sum::<f64>();
        page.paragraph(text::LEFT_OUT_PICTURE, &[&here, &rest, &signed(not_drawn, decimals(not_drawn))]);
        let svg = charts::waterfall(&steps, None);
        page.figure(&svg, &charts::waterfall_legend(), text::CAPTION_LARGEST, &[&start, &end]);
        return;
    }
    let total = run.totals.iter().find(|t| {
        t.group == "all" && t.quantity == "delta" && t.period_start == Some(period.0) && t.period_end == period.1
    });
    if let Some(total) = total {
        let shared = total.sum_t_co2e - sum;
        if shared.abs() > 1e-6 * sum.abs().max(1.0) {
            steps.push(Step { name: text::SHARED_GROUND.zh.to_owned(), delta: shared, ci90: None });
        }
    }
    let svg = charts::waterfall(&steps, total.map(|t| (t.sum_t_co2e, t.ci90_t_co2e)));
    page.figure(&svg, &charts::waterfall_legend(), text::CAPTION_WATERFALL, &[&start, &end]);
}

/// Losses and their methods, in the order of names.
fn losses<'a>(events: impl Iterator<Item = &'a Event>) -> (Vec<MapEvent<'a>>, Vec<&'a str>) {
    let losses: Vec<&Event> = events.filter(|e| e.magnitude < 0.0).collect();
    let methods: Vec<&str> = losses.iter().map(|e| e.method.as_str()).collect::<BTreeSet<_>>().into_iter().collect();
    let shapes = losses.iter().map(|e| MapEvent {
        method: methods.iter().position(|m| *m == e.method).unwrap_or_default(),
        title: format!("{} {} {} – {} {} ha", e.parcel_id, e.method, e.between.0, e.between.1, plain(e.area_ha)),
        outline: &e.outline,
    });
    (shapes.collect(), methods.clone())
}

fn delta_map(page: &mut Page, run: &Run, deltas: &[&Delta], period: (Date, Date), number: usize) {
    let parcels: Vec<MapParcel> = deltas
        .iter()
        .map(|d| MapParcel {
            parcel_id: &d.parcel_id,
            per_ha: d.delta_t_co2e / d.area_ha,
            ci90_per_ha: (d.ci90_t_co2e.0 / d.area_ha, d.ci90_t_co2e.1 / d.area_ha),
            outline: &d.outline,
        })
        .collect();
    let (events, methods) = losses(run.events.iter().filter(|e| e.between.1 > period.0 && e.between.1 <= period.1));
    let name = number.to_string();
    if let Some(svg) = charts::map(&name, &parcels, &events) {
        let [start, end] = period_text(period);
        let legend = charts::map_legend(&name, &parcels, &methods);
        page.figure(&svg, &legend, text::CAPTION_MAP, &[&start, &end]);
    }
}

/// Where there is no change of carbon to colour parcels by, the losses alone.
fn event_map(page: &mut Page, run: &Run) {
    let (events, methods) = losses(run.events.iter());
    if let Some(svg) = charts::map("events", &[], &events) {
        page.figure(&svg, &charts::map_legend("events", &[], &methods), text::CAPTION_EVENT_MAP, &[]);
    }
}

fn delta_table(page: &mut Page, deltas: &[&Delta], marks: &Marks) {
    let shown = if deltas.len() > TABLE_ROWS { largest(deltas, TABLE_ROWS) } else { deltas.to_vec() };
    if shown.len() < deltas.len() {
        let [all, here, rest] = [deltas.len(), shown.len(), deltas.len() - shown.len()].map(|n| count(n as u64));
        page.paragraph(text::LEFT_OUT_DELTAS, &[&all, &here, &rest]);
    }
    let heads = [
        Head::new(text::PARCEL, "", Look::Key),
        Head::new(text::KIND, "", Look::Short),
        Head::new(text::AREA, "ha", Look::Number),
        Head::new(text::CHANGE, "t CO₂e", Look::Number),
        Head::new(text::CI90, "t CO₂e", Look::Number),
        Head::new(text::RELATIVE, "%", Look::Number),
        Head::new(text::ANNUAL, "t CO₂e/ha/a", Look::Number),
        Head::new(text::DISTURBED, "ha", Look::Number),
        Head::new(text::DID, "t CO₂e", Look::Number),
        Head::new(text::GAIN_LOSS, "t CO₂e", Look::Number),
        Head::new(text::DEDUCTED, "%", Look::Number),
        Head::new(text::CREDITABLE, "t CO₂e", Look::Number),
        Head::new(text::USE, "", Look::Short),
        Head::new(text::REMARKS, "", Look::Key),
    ];
    let in_change = column_decimals(shown.iter().map(|d| half_width(d.ci90_t_co2e)));
    let in_did = column_decimals(shown.iter().filter_map(|d| d.did_t_co2e).map(|(_, ci)| half_width(ci)));
    let rows: Vec<_> = shown
        .iter()
        .map(|d| {
            let credited = |t: f64| match d.not_creditable() {
                Some(why) => format!("– {}", why.joined()),
                None => fixed(t, in_change),
            };
            vec![
                Some(d.parcel_id.clone()),
                d.kind.as_deref().map(words),
                Some(fixed(d.area_ha, 2)),
                Some(signed(d.delta_t_co2e, in_change)),
                Some(interval(d.ci90_t_co2e, in_change, signed)),
                d.relative_uncertainty_percent.filter(|v| *v < MEANINGLESS_PERCENT).map(|v| fixed(v, 1)),
                Some(signed(d.annual_t_co2e_per_ha, 2)),
                d.disturbed_area_ha.map(|v| fixed(v, 2)),
                d.did_t_co2e.map(|(v, ci)| format!("{} {}", signed(v, in_did), interval(ci, in_did, signed))),
                d.gain_loss_t_co2e.map(|v| signed(v, in_change)),
                d.deduction_percent.filter(|_| d.not_creditable().is_none()).map(|v| fixed(v, 1)),
                d.creditable_t_co2e.map(credited),
                Some(words(&d.status)),
                marks.of_flags(&d.flags),
            ]
        })
        .collect();
    page.table(&heads, &rows);
    if shown.iter().any(|d| d.creditable_t_co2e.is_some() && d.not_creditable().is_some()) {
        page.paragraph(text::NOT_CREDITABLE_NOTE, &[]);
    }
}

/// Lowest, median and highest share of each part, over the rows that have one.
fn spread<'a>(rows: impl Iterator<Item = &'a Shares>) -> BTreeMap<String, [f64; 3]> {
    let mut parts: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (name, share) in rows.flatten() {
        parts.entry(name.clone()).or_default().extend(share.filter(|s| s.is_finite()));
    }
    parts
        .into_iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(name, mut values)| {
            values.sort_by(f64::total_cmp);
            let n = values.len();
            (name, [values[0], f64::midpoint(values[(n - 1) / 2], values[n / 2]), values[n - 1]])
        })
        .collect()
}

fn variance(page: &mut Page, run: &Run) {
    let stocks = spread(run.stocks.iter().filter(|s| s.pool == "total").map(|s| &s.shares));
    let deltas = spread(run.deltas.iter().map(|d| &d.shares));
    // In the order of the table's columns.
    let order = run.deltas.first().map(|d| &d.shares).into_iter().flatten().map(|(name, _)| name);
    let lines: Vec<ShareLine> = order
        .filter(|name| stocks.contains_key(*name) || deltas.contains_key(*name))
        .map(|name| ShareLine {
            name: charts::part_name(name),
            of: [stocks.get(name).copied(), deltas.get(name).copied()],
        })
        .collect();
    if !lines.is_empty() {
        page.figure(&charts::shares(&lines), &charts::shares_legend(), text::CAPTION_SHARES, &[]);
    }
}

fn stocks(page: &mut Page, run: &Run, marks: &Marks) {
    page.section(text::STOCKS);
    let mut parcels: BTreeMap<&str, Vec<&Stock>> = BTreeMap::new();
    for stock in &run.stocks {
        parcels.entry(&stock.parcel_id).or_default().push(stock);
    }
    if parcels.is_empty() {
        page.paragraph(text::NO_CARBON, &[]);
        return;
    }
    let total = |stocks: &[&Stock]| {
        stocks.iter().filter(|s| s.pool == "total").max_by_key(|s| s.epoch).map_or(0.0, |s| s.stock_t_c)
    };
    let mut by_size: Vec<&str> = parcels.keys().copied().collect();
    by_size.sort_by(|a, b| total(&parcels[b]).total_cmp(&total(&parcels[a])).then_with(|| a.cmp(b)));
    let (drawn, listed) = (parcels.len().min(PICTURE_ROWS), parcels.len().min(TABLE_ROWS));
    if drawn < parcels.len() {
        let n = [drawn, listed, parcels.len()].map(|n| count(n as u64));
        page.paragraph(text::LEFT_OUT_STOCKS, &[&n[0], &n[1], &n[2]]);
    }

    let epochs: Vec<Date> = run.stocks.iter().map(|s| s.epoch).collect::<BTreeSet<_>>().into_iter().collect();
    let shown = match (epochs.first(), epochs.last()) {
        (Some(first), Some(last)) if epochs.len() > EPOCHS => vec![*first, *last],
        _ => epochs,
    };
    let line = |id: &&'_ str| {
        let at = |date: &Date| {
            let found = parcels[*id].iter().find(|s| s.pool == "total" && s.epoch == *date);
            found.map(|s| (s.stock_t_c, s.ci90_t_c))
        };
        shown.iter().map(at).collect::<Vec<_>>()
    };
    let lines: Vec<StockLine> =
        by_size.iter().take(drawn).map(|id| StockLine { parcel_id: id, at: line(id) }).collect();
    let dates: Vec<String> = shown.iter().map(Date::to_string).collect();
    page.figure(&charts::stocks(&dates, &lines), &charts::stocks_legend(&dates), text::CAPTION_STOCKS, &[]);

    let listed: BTreeSet<&str> = by_size.into_iter().take(listed).collect();
    let pools: BTreeSet<&str> = run.stocks.iter().map(|s| s.pool.as_str()).filter(|p| *p != "total").collect();
    let mut heads = vec![
        Head::new(text::PARCEL, "", Look::Key),
        Head::new(text::DATE, "", Look::Key),
        Head::new(text::AREA, "ha", Look::Number),
    ];
    for pool in &pools {
        let name = text::word(pool).unwrap_or(text::POOL);
        heads.push(Head::new(name, "t C [90 %]", Look::Number));
    }
    heads.extend([
        Head::new(text::STOCK_TOTAL, "t C", Look::Number),
        Head::new(text::CI90, "t C", Look::Number),
        Head::new(text::DENSITY, "t C/ha", Look::Number),
        Head::new(text::METHOD, "", Look::Key),
        Head::new(text::USE, "", Look::Short),
        Head::new(text::REMARKS, "", Look::Key),
    ]);
    let of_listed = || listed.iter().flat_map(|id| &parcels[id]);
    let in_pool = |pool: &str| column_decimals(of_listed().filter(|s| s.pool == pool).map(|s| half_width(s.ci90_t_c)));
    let of_pools: Vec<(&str, usize)> = pools.iter().map(|pool| (*pool, in_pool(pool))).collect();
    let in_total = in_pool("total");
    let totals = || of_listed().filter(|s| s.pool == "total");
    let in_density = column_decimals(totals().map(|s| half_width(s.ci90_t_c) / s.area_ha));
    let mut rows = Vec::new();
    for stocks in listed.iter().map(|id| &parcels[id]) {
        let dates: BTreeSet<Date> = stocks.iter().map(|s| s.epoch).collect();
        for date in dates {
            let of = |pool: &str| stocks.iter().find(|s| s.epoch == date && s.pool == pool);
            let Some(any) = of("total").or_else(|| stocks.iter().find(|s| s.epoch == date)) else { continue };
            let mut row = vec![Some(any.parcel_id.clone()), Some(date.to_string()), Some(fixed(any.area_ha, 2))];
            row.extend(of_pools.iter().map(|(pool, d)| {
                of(pool).map(|s| format!("{} {}", fixed(s.stock_t_c, *d), interval(s.ci90_t_c, *d, fixed)))
            }));
            row.extend([
                of("total").map(|s| fixed(s.stock_t_c, in_total)),
                of("total").map(|s| interval(s.ci90_t_c, in_total, fixed)),
                of("total").map(|s| fixed(s.density_t_c_per_ha, in_density)),
                Some(any.method.clone()),
                Some(words(&any.status)),
                marks.of_flags(&any.flags),
            ]);
            rows.push(row);
        }
    }
    page.table(&heads, &rows);
}

fn events(page: &mut Page, run: &Run) {
    page.section(text::EVENTS);
    page.paragraph(text::EVENTS_NOTE, &[]);
    for (method, alarms) in &run.record.reference_alarms {
        let rate = |v: Option<f64>| v.map_or("–".to_owned(), |v| fixed(v, 2));
        let [parcels, events] = [alarms.parcels, alarms.events].map(|n| count(n.into()));
        let years = fixed(alarms.parcel_years, 1);
        let (found, most) = (rate(alarms.rate()), rate(alarms.rate_upper95()));
        page.paragraph(text::ALARMS, &[method, &parcels, &years, &events, &found, &most]);
    }
    if run.events.is_empty() {
        page.paragraph(text::NO_EVENTS, &[]);
        return;
    }
    let mut shown: Vec<&Event> = run.events.iter().collect();
    if shown.len() > TABLE_ROWS {
        shown.sort_by(|a, b| b.area_ha.total_cmp(&a.area_ha));
        shown.truncate(TABLE_ROWS);
        page.paragraph(text::LEFT_OUT_EVENTS, &[&count(run.events.len() as u64), &count(TABLE_ROWS as u64)]);
    }
    let heads = [
        Head::new(text::PARCEL, "", Look::Key),
        Head::new(text::METHOD, "", Look::Key),
        Head::new(text::BETWEEN, "", Look::Key),
        Head::new(text::DECIDED, "", Look::Key),
        Head::new(text::AREA_HALF, "ha", Look::Number),
        Head::new(text::MAGNITUDE, "index", Look::Number),
        Head::new(text::CONTROL, "index", Look::Number),
        Head::new(text::PROBABILITY, "1", Look::Number),
        Head::new(text::FALSE_ALARMS, "1/parcel/a", Look::Number),
    ];
    let rows: Vec<_> = shown
        .iter()
        .map(|e| {
            let area = match e.area_se_ha {
                Some(se) => format!("{} ± {}", fixed(e.area_ha, 3), fixed(Z90 * se, 3)),
                None => fixed(e.area_ha, 3),
            };
            let alarms = e.false_alarms.map(|rate| {
                let most = e.false_alarms_upper95.map_or(String::new(), |v| format!(" (≤ {})", fixed(v, 2)));
                format!("{}{most}", fixed(rate, 2))
            });
            vec![
                Some(e.parcel_id.clone()),
                Some(e.method.clone()),
                Some(format!("{} – {}", e.between.0, e.between.1)),
                Some(e.detected_on.to_string()),
                Some(area),
                Some(format!("{} {}", signed(e.magnitude, 3), e.index.to_uppercase())),
                e.control_change.map(|v| signed(v, 3)),
                e.probability.map(|v| fixed(v, 3)),
                alarms,
            ]
        })
        .collect();
    page.table(&heads, &rows);
}

fn set_aside(page: &mut Page, run: &Run) {
    page.section(text::ASIDE);
    let aside = &run.record.quarantined;
    if aside.is_empty() {
        page.paragraph(text::NOTHING_ASIDE, &[]);
    } else {
        page.paragraph(text::ASIDE_NOTE, &[]);
        let mut reasons: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
        for a in aside {
            *reasons.entry((&a.subject, &a.stage, &a.reason)).or_default() += 1;
        }
        let heads = [
            Head::new(text::SUBJECT, "", Look::Short),
            Head::new(text::STAGE, "", Look::Short),
            Head::new(text::REASON, "", Look::Words),
            Head::new(text::NUMBER, "", Look::Number),
        ];
        let rows: Vec<_> = reasons
            .iter()
            .map(|((subject, stage, reason), n)| {
                let meaning = text::reason(reason).unwrap_or(text::UNKNOWN);
                let why = format!("{reason}: {} {}", meaning.zh, meaning.en);
                [words(subject), words(stage), why, count(*n)].map(Some).to_vec()
            })
            .collect();
        page.table(&heads, &rows);
        let shown = aside.len().min(LISTED);
        page.part(text::FIRST_ONES, &[&count(shown as u64), &count(aside.len() as u64)]);
        let heads = [
            Head::new(text::SUBJECT, "", Look::Short),
            Head::new(text::ID, "", Look::Words),
            Head::new(text::REASON, "", Look::Key),
            Head::new(text::MESSAGE, "", Look::Words),
        ];
        let rows: Vec<_> = aside
            .iter()
            .take(LISTED)
            .map(|a| [words(&a.subject), a.id.clone(), a.reason.clone(), a.message.clone()].map(Some).to_vec())
            .collect();
        page.table(&heads, &rows);
    }
    let notes = &run.record.notes;
    if !notes.is_empty() {
        page.part(text::NOTES, &[]);
        page.paragraph(text::FIRST_ONES, &[&count(notes.len().min(LISTED) as u64), &count(notes.len() as u64)]);
        let lines: Vec<String> = notes
            .iter()
            .take(LISTED)
            .map(|n| match n.parcels.as_slice() {
                [] => n.message.clone(),
                ids => format!("{}: {}", ids.join(", "), n.message),
            })
            .collect();
        page.list(lines.iter().map(String::as_str));
    }
}

fn invariants(page: &mut Page, run: &Run) {
    page.section(text::INVARIANTS);
    let checks = &run.record.invariants;
    let violated = checks.values().filter(|c| c.violated > 0).count();
    if checks.is_empty() {
        page.paragraph(text::NO_CHECKS, &[]);
        return;
    }
    if violated == 0 {
        page.paragraph(text::ALL_HOLD, &[]);
    } else {
        page.open_box(true);
        page.strong(text::SOME_FAIL, &[&count(violated as u64)]);
        page.close_box();
    }
    let heads = [
        Head::new(text::CHECK, "", Look::Words),
        Head::new(text::CHECKED, "", Look::Number),
        Head::new(text::VIOLATED, "", Look::Number),
        Head::new(text::WORST, "1", Look::Number),
        Head::new(text::PARCEL, "", Look::Key),
    ];
    let rows: Vec<_> = checks
        .iter()
        .map(|(name, c)| {
            let words = text::invariant(name).map_or_else(|| name.clone(), Both::joined);
            let worst = if c.worst == 0.0 { "0".to_owned() } else { format!("{:.1e}", c.worst).replace('-', "−") };
            vec![Some(words), Some(count(c.checked)), Some(count(c.violated)), Some(worst), c.first.clone()]
        })
        .collect();
    page.table(&heads, &rows);
}

fn errors(page: &mut Page, run: &Run) {
    page.section(text::ERRORS);
    let Some(draws) = &run.record.monte_carlo else {
        page.paragraph(text::NO_ERRORS, &[]);
        return;
    };
    let (n, seed) = (count(draws.draws), draws.seed.to_string());
    page.paragraph(text::ERRORS_NOTE, &[&n, &seed]);
    page.facts(&[(text::ALGORITHM, draws.algorithm.clone()), (text::SEED, seed), (text::DRAWS, n)]);
}

fn files(page: &mut Page, run: &Run) {
    page.section(text::INPUTS);
    let inputs = &run.record.inputs;
    let bytes: u64 = inputs.iter().map(|i| i.size).sum();
    page.paragraph(text::INPUTS_NOTE, &[&count(inputs.len() as u64), &count(bytes)]);
    let list: String = inputs.iter().map(|i| format!("{}  {}\n", i.sha256, i.path)).collect();
    page.code(&Sha256::of(list.as_bytes()).to_string());
    let heads = [
        Head::new(text::PATH, "", Look::Words),
        Head::new(text::BYTES, "byte", Look::Number),
        Head::new(text::DIGEST, "", Look::Code),
    ];
    if inputs.len() > LISTED {
        page.paragraph(text::INPUTS_FIRST, &[&count(LISTED as u64)]);
    }
    let row =
        |i: &crate::record::manifest::Input| [i.path.clone(), count(i.size), i.sha256.to_string()].map(Some).to_vec();
    page.table(&heads, &inputs.iter().take(LISTED).map(row).collect::<Vec<_>>());
    page.paragraph(text::OUTPUTS, &[]);
    let tables = &run.record.tables;
    if tables.len() > LISTED {
        page.paragraph(text::OUTPUTS_FIRST, &[&count(LISTED as u64), &count(tables.len() as u64)]);
    }
    let heads = [
        Head::new(text::PATH, "", Look::Words),
        Head::new(text::ROWS, "", Look::Number),
        Head::new(text::BYTES, "byte", Look::Number),
        Head::new(text::DIGEST, "", Look::Code),
    ];
    let row = |t: &crate::record::manifest::Table| {
        [t.path.clone(), count(t.rows), count(t.size), t.sha256.to_string()].map(Some).to_vec()
    };
    page.table(&heads, &tables.iter().take(LISTED).map(row).collect::<Vec<_>>());
}

/// The mark of each remark, so that rows stay short, and how many rows of changes and of stocks carry it. A remark has the
/// same mark in every report; one that this version does not know stands with its name.
struct Marks(BTreeMap<String, (u64, u64)>);

impl Marks {
    fn of(run: &Run) -> Marks {
        let mut found: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        run.deltas.iter().flat_map(|d| &d.flags).for_each(|f| found.entry(f.clone()).or_default().0 += 1);
        run.stocks.iter().flat_map(|s| &s.flags).for_each(|f| found.entry(f.clone()).or_default().1 += 1);
        Marks(found)
    }

    fn of_flags(&self, flags: &[String]) -> Option<String> {
        let mut marks: Vec<&str> = flags.iter().map(|f| text::mark(f).unwrap_or(f)).collect();
        marks.sort_unstable();
        (!marks.is_empty()).then(|| marks.join(" "))
    }

    fn explain(&self, page: &mut Page) {
        page.section(text::FLAGS);
        if self.0.is_empty() {
            page.paragraph(text::NO_FLAGS, &[]);
            return;
        }
        page.paragraph(text::FLAGS_NOTE, &[]);
        let heads = [
            Head::new(text::LETTER, "", Look::Key),
            Head::new(text::FLAG, "", Look::Key),
            Head::new(text::MEANING, "", Look::Words),
            Head::new(text::IN_DELTAS, "", Look::Number),
            Head::new(text::IN_STOCKS, "", Look::Number),
        ];
        let mut found: Vec<(&str, &String, (u64, u64))> =
            self.0.iter().map(|(name, n)| (text::mark(name).unwrap_or("–"), name, *n)).collect();
        found.sort_unstable();
        let rows: Vec<_> = found
            .into_iter()
            .map(|(mark, name, (deltas, stocks))| {
                let meaning = text::flag(name).unwrap_or(text::UNKNOWN).joined();
                [mark.to_owned(), name.clone(), meaning, count(deltas), count(stocks)].map(Some).to_vec()
            })
            .collect();
        page.table(&heads, &rows);
    }
}
