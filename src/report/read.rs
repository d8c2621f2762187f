//! A finished run as its output folder tells it: the record, and the tables whose digests are those of the record.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{Array, BinaryArray, Date32Array, Float64Array, ListArray, RecordBatch, StringArray, UInt32Array};
use geo::MultiPolygon;
use jiff::civil::Date;
use serde::Deserialize;

use crate::carbon::index_model::ModelRecord;
use crate::carbon::invariants::Check;
use crate::carbon::{Origin, Parameter};
use crate::columnar::{Reader, column};
use crate::detect::events::FalseAlarms;
use crate::digest::Sha256;
use crate::error::{Error, Result};
use crate::gdal_io::outline_from_wkb;
use crate::record::manifest::{DrawRecord, Input, Table};
use crate::units::date_of;

use super::text::{self, Both};

/// What the report needs of the record. Reasons and topics are text, so that a record with one more of them can be read.
#[derive(Debug, Deserialize)]
pub struct Record {
    pub run_id: String,
    pub software: BTreeMap<String, String>,
    pub started_at: String,
    pub finished_at: String,
    pub configuration: serde_json::Value,
    pub config_sha256: Sha256,
    pub parameter_set: Option<ParameterSet>,
    #[serde(default)]
    pub biomass_model: Option<ModelRecord>,
    pub citations: Vec<String>,
    pub inputs: Vec<Input>,
    pub scenes: Vec<Scene>,
    pub quarantined: Vec<Aside>,
    pub notes: Vec<Note>,
    pub tables: Vec<Table>,
    pub reference_alarms: BTreeMap<String, FalseAlarms>,
    pub counts: BTreeMap<String, u64>,
    #[serde(default)]
    pub invariants: BTreeMap<String, Check>,
    #[serde(default)]
    pub monte_carlo: Option<DrawRecord>,
}

#[derive(Debug, Deserialize)]
pub struct ParameterSet {
    pub name: String,
    pub version: String,
    pub title: String,
    pub sha256: String,
    pub approved_by: Option<String>,
    pub approved_on: Option<String>,
    /// Digest of the table that says which forest a name means.
    #[serde(default)]
    pub names_sha256: Option<String>,
    /// Which values make the figures of what; of an earlier version, none.
    #[serde(default)]
    pub origins: BTreeMap<String, Origin>,
    #[serde(default)]
    pub values: BTreeMap<String, Parameter>,
}

#[derive(Debug, Deserialize)]
pub struct Scene {
    pub sensor: String,
    pub acquired_at: String,
}

#[derive(Debug, Deserialize)]
pub struct Aside {
    pub subject: String,
    pub id: String,
    pub stage: String,
    pub reason: String,
    pub message: String,
}

#[derive(Debug, Deserialize)]
pub struct Note {
    pub parcels: Vec<String>,
    pub message: String,
}

/// A run.
#[derive(Debug)]
pub struct Run {
    pub record: Record,
    /// Digest of `run.json` itself.
    pub sha256: Sha256,
    pub totals: Vec<Total>,
    pub deltas: Vec<Delta>,
    pub stocks: Vec<Stock>,
    pub events: Vec<Event>,
}

#[derive(Debug)]
pub struct Total {
    pub group: String,
    pub quantity: String,
    pub period_start: Option<Date>,
    pub period_end: Date,
    pub pool: String,
    pub parcels: u32,
    pub area_ha: f64,
    pub sum_t_c: f64,
    pub ci90_t_c: (f64, f64),
    pub sum_t_co2e: f64,
    pub ci90_t_co2e: (f64, f64),
    pub relative_uncertainty_percent: Option<f64>,
}

/// Shares of the variance by the name of their part.
pub type Shares = Vec<(String, Option<f64>)>;

#[derive(Debug)]
pub struct Delta {
    pub parcel_id: String,
    pub kind: Option<String>,
    pub period: (Date, Date),
    pub area_ha: f64,
    pub stock_t_c: (f64, f64),
    pub delta_t_c: f64,
    pub delta_t_co2e: f64,
    pub ci90_t_co2e: (f64, f64),
    pub relative_uncertainty_percent: Option<f64>,
    pub deduction_percent: Option<f64>,
    pub creditable_t_co2e: Option<f64>,
    pub annual_t_co2e_per_ha: f64,
    pub disturbed_area_ha: Option<f64>,
    /// The change beyond that of the reference parcels, and its 90 % interval.
    pub did_t_co2e: Option<(f64, (f64, f64))>,
    /// The change by gain and loss.
    pub gain_loss_t_co2e: Option<f64>,
    pub shares: Shares,
    pub status: String,
    pub flags: Vec<String>,
    pub outline: MultiPolygon<f64>,
}

impl Delta {
    /// Why growth of such a parcel is never credited, if it is not.
    pub fn not_creditable(&self) -> Option<Both> {
        self.kind.as_deref().and_then(text::not_creditable)
    }

    /// Whether its 90 % interval holds zero: no change is shown then.
    pub fn may_be_zero(&self) -> bool {
        self.ci90_t_co2e.0 <= 0.0 && self.ci90_t_co2e.1 >= 0.0
    }
}

#[derive(Debug)]
pub struct Stock {
    pub parcel_id: String,
    pub epoch: Date,
    pub pool: String,
    pub method: String,
    /// Method, set or model, and forest type or group of species.
    pub model_id: String,
    pub area_ha: f64,
    pub density_t_c_per_ha: f64,
    pub stock_t_c: f64,
    pub ci90_t_c: (f64, f64),
    pub shares: Shares,
    pub status: String,
    pub flags: Vec<String>,
}

#[derive(Debug)]
pub struct Event {
    pub parcel_id: String,
    pub index: String,
    pub method: String,
    pub detected_on: Date,
    pub between: (Date, Date),
    pub magnitude: f64,
    pub area_ha: f64,
    pub area_se_ha: Option<f64>,
    pub probability: Option<f64>,
    pub control_change: Option<f64>,
    pub false_alarms: Option<f64>,
    pub false_alarms_upper95: Option<f64>,
    pub outline: MultiPolygon<f64>,
}

impl Run {
    /// Reads the run of an output folder. `config` is the configuration that a reader is told to run.
    ///
    /// # Errors
    /// No finished run, a record of another version, a table that is not the one of the record.
    pub fn open(root: &Path, config: &Path) -> Result<Run> {
        let path = root.join("run.json");
        let command = format!("`lintan run {}`", config.display());
        let refused = |what: &str, path: &Path, found: String, expected: &str, help: String| Error::Input {
            path: path.to_path_buf(),
            what: what.to_owned(),
            found,
            expected: expected.to_owned(),
            help,
        };
        let text = std::fs::read(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => refused(
                "run record",
                &path,
                "no such file".to_owned(),
                "the record of a finished run",
                format!("run it first: {command}"),
            ),
            _ => Error::io("read", &path)(e),
        })?;
        let record: Record = serde_json::from_slice(&text).map_err(|e| {
            let help = format!("run again with this version: {command}");
            refused("run record", &path, e.to_string(), "the record of a finished run of this version", help)
        })?;
        for table in &record.tables {
            let path = root.join(&table.path);
            let changed = |found: String| {
                let help = format!("make the tables anew, then report: {command}");
                refused("table", &path, found, &format!("SHA-256 {} as in run.json", table.sha256), help)
            };
            let (sha256, _) = Sha256::of_file(&path).map_err(|e| changed(e.to_string()))?;
            if sha256 != table.sha256 {
                return Err(changed(format!("SHA-256 {sha256}: the file was changed after the run")));
            }
        }
        let listed = |name: &str| record.tables.iter().any(|t| t.path == format!("tables/{name}.parquet"));
        let (mut totals, mut deltas, mut stocks, mut events) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        each_batch(root, "totals", listed("totals"), |b| b.totals(&mut totals))?;
        each_batch(root, "deltas", listed("deltas"), |b| b.deltas(&mut deltas))?;
        each_batch(root, "stocks", listed("stocks"), |b| b.stocks(&mut stocks))?;
        each_batch(root, "disturbances", listed("disturbances"), |b| b.events(&mut events))?;
        Ok(Run { sha256: Sha256::of(&text), record, totals, deltas, stocks, events })
    }

    /// A text of the configuration by its path, where it is one.
    pub fn configured(&self, pointer: &str) -> Option<&str> {
        self.record.configuration.pointer(pointer)?.as_str()
    }

    /// A count of the record; 0 where it is not kept.
    pub fn count(&self, name: &str) -> u64 {
        self.record.counts.get(name).copied().unwrap_or(0)
    }
}

/// Gives the batches of a table, where the run wrote one.
fn each_batch(root: &Path, name: &str, there: bool, mut take: impl FnMut(&Batch) -> Result<()>) -> Result<()> {
    if !there {
        return Ok(());
    }
    let path = root.join("tables").join(format!("{name}.parquet"));
    for batch in Reader::open(&path)?.read(None, None)? {
        take(&Batch { batch, path: &path })?;
    }
    Ok(())
}

struct Batch<'a> {
    batch: RecordBatch,
    path: &'a Path,
}

impl Batch<'_> {
    fn rows(&self) -> std::ops::Range<usize> {
        0..self.batch.num_rows()
    }

    fn of<T: 'static>(&self, name: &str) -> Result<&T> {
        column(&self.batch, name, self.path)
    }

    /// Numbers of a column that may hold nulls, or that the table may lack.
    fn maybe(&self, name: &str) -> impl Fn(usize) -> Option<f64> + use<'_> {
        let column = self.batch.column_by_name(name).and_then(|c| c.as_any().downcast_ref::<Float64Array>());
        move |i| column.filter(|c| c.is_valid(i)).map(|c| c.value(i))
    }

    fn pair(&self, low: &str, high: &str) -> Result<impl Fn(usize) -> (f64, f64) + use<'_>> {
        let (low, high): (&Float64Array, &Float64Array) = (self.of(low)?, self.of(high)?);
        Ok(move |i| (low.value(i), high.value(i)))
    }

    /// Every column that tells a part of the variance, whichever there are.
    fn shares(&self, i: usize) -> Shares {
        let schema = self.batch.schema();
        let names = schema.fields().iter().filter_map(|f| f.name().strip_prefix("variance_share_"));
        names.map(|n| (n.to_owned(), self.maybe(&format!("variance_share_{n}"))(i))).collect()
    }

    fn flags(&self, i: usize) -> Result<Vec<String>> {
        let items = self.of::<ListArray>("flags")?.value(i);
        let items = items.as_any().downcast_ref::<StringArray>();
        Ok(items.into_iter().flat_map(|a| a.iter().flatten()).map(str::to_owned).collect())
    }

    fn outline(&self, i: usize) -> Result<MultiPolygon<f64>> {
        let outline = outline_from_wkb(self.of::<BinaryArray>("geometry")?.value(i));
        let outline = outline.map_err(|e| Error::Integrity {
            path: self.path.to_path_buf(),
            found: format!("row {i}: {e}"),
            expected: "polygons in WKB".to_owned(),
        })?;
        Ok(outline.polygon)
    }

    fn totals(&self, out: &mut Vec<Total>) -> Result<()> {
        let (group, quantity, pool): (&StringArray, &StringArray, &StringArray) =
            (self.of("group")?, self.of("quantity")?, self.of("pool")?);
        let (start, end): (&Date32Array, &Date32Array) = (self.of("period_start")?, self.of("period_end")?);
        let parcels: &UInt32Array = self.of("parcels")?;
        let number = |name: &str| self.of::<Float64Array>(name);
        let (area, c, co2e) = (number("area_ha")?, number("sum_t_c")?, number("sum_t_co2e")?);
        let ci_c = self.pair("ci90_lower_t_c", "ci90_upper_t_c")?;
        let ci_co2e = self.pair("ci90_lower_t_co2e", "ci90_upper_t_co2e")?;
        let relative = self.maybe("relative_uncertainty_percent");
        out.extend(self.rows().map(|i| Total {
            group: group.value(i).to_owned(),
            quantity: quantity.value(i).to_owned(),
            period_start: start.is_valid(i).then(|| date_of(start.value(i))),
            period_end: date_of(end.value(i)),
            pool: pool.value(i).to_owned(),
            parcels: parcels.value(i),
            area_ha: area.value(i),
            sum_t_c: c.value(i),
            ci90_t_c: ci_c(i),
            sum_t_co2e: co2e.value(i),
            ci90_t_co2e: ci_co2e(i),
            relative_uncertainty_percent: relative(i),
        }));
        Ok(())
    }

    fn deltas(&self, out: &mut Vec<Delta>) -> Result<()> {
        let text = |name: &str| self.of::<StringArray>(name);
        let number = |name: &str| self.of::<Float64Array>(name);
        let (id, kind, status) = (text("parcel_id")?, text("kind")?, text("status")?);
        let (start, end): (&Date32Array, &Date32Array) = (self.of("period_start")?, self.of("period_end")?);
        let (area, delta, annual) = (number("area_ha")?, number("delta_t_co2e")?, number("annual_t_co2e_per_ha")?);
        let ci = self.pair("ci90_lower_t_co2e", "ci90_upper_t_co2e")?;
        let (stock, delta_t_c) = (self.pair("stock_start_t_c", "stock_end_t_c")?, number("delta_t_c")?);
        let [did, did_low, did_high] =
            ["did_t_co2e", "did_ci90_lower_t_co2e", "did_ci90_upper_t_co2e"].map(|n| self.maybe(n));
        let [relative, deduction, creditable, disturbed, gain_loss] = [
            "relative_uncertainty_percent",
            "deduction_percent",
            "creditable_t_co2e",
            "disturbed_area_ha",
            "gain_loss_t_co2e",
        ]
        .map(|n| self.maybe(n));
        for i in self.rows() {
            out.push(Delta {
                parcel_id: id.value(i).to_owned(),
                kind: kind.is_valid(i).then(|| kind.value(i).to_owned()),
                period: (date_of(start.value(i)), date_of(end.value(i))),
                area_ha: area.value(i),
                stock_t_c: stock(i),
                delta_t_c: delta_t_c.value(i),
                delta_t_co2e: delta.value(i),
                ci90_t_co2e: ci(i),
                relative_uncertainty_percent: relative(i),
                deduction_percent: deduction(i),
                creditable_t_co2e: creditable(i),
                annual_t_co2e_per_ha: annual.value(i),
                disturbed_area_ha: disturbed(i),
                did_t_co2e: did(i).zip(did_low(i).zip(did_high(i))),
                gain_loss_t_co2e: gain_loss(i),
                shares: self.shares(i),
                status: status.value(i).to_owned(),
                flags: self.flags(i)?,
                outline: self.outline(i)?,
            });
        }
        Ok(())
    }

    fn stocks(&self, out: &mut Vec<Stock>) -> Result<()> {
        let text = |name: &str| self.of::<StringArray>(name);
        let number = |name: &str| self.of::<Float64Array>(name);
        let (id, pool, method, status) = (text("parcel_id")?, text("pool")?, text("method")?, text("status")?);
        let model_id = text("model_id")?;
        let epoch: &Date32Array = self.of("epoch")?;
        let (area, density, stock) = (number("area_ha")?, number("density_t_c_per_ha")?, number("stock_t_c")?);
        let ci = self.pair("ci90_lower_t_c", "ci90_upper_t_c")?;
        for i in self.rows() {
            out.push(Stock {
                parcel_id: id.value(i).to_owned(),
                epoch: date_of(epoch.value(i)),
                pool: pool.value(i).to_owned(),
                method: method.value(i).to_owned(),
                model_id: model_id.value(i).to_owned(),
                area_ha: area.value(i),
                density_t_c_per_ha: density.value(i),
                stock_t_c: stock.value(i),
                ci90_t_c: ci(i),
                shares: self.shares(i),
                status: status.value(i).to_owned(),
                flags: self.flags(i)?,
            });
        }
        Ok(())
    }

    fn events(&self, out: &mut Vec<Event>) -> Result<()> {
        let text = |name: &str| self.of::<StringArray>(name);
        let number = |name: &str| self.of::<Float64Array>(name);
        let day = |name: &str| self.of::<Date32Array>(name);
        let (id, index, method) = (text("parcel_id")?, text("index")?, text("method")?);
        let (detected, lower, upper) = (day("detected_on")?, day("date_lower")?, day("date_upper")?);
        let (magnitude, area) = (number("magnitude")?, number("area_ha")?);
        let [area_se, probability, control, alarms, alarms95] = [
            "area_se_ha",
            "probability",
            "control_change",
            "false_alarms_per_parcel_year",
            "false_alarms_upper95_per_parcel_year",
        ]
        .map(|n| self.maybe(n));
        for i in self.rows() {
            out.push(Event {
                parcel_id: id.value(i).to_owned(),
                index: index.value(i).to_owned(),
                method: method.value(i).to_owned(),
                detected_on: date_of(detected.value(i)),
                between: (date_of(lower.value(i)), date_of(upper.value(i))),
                magnitude: magnitude.value(i),
                area_ha: area.value(i),
                area_se_ha: area_se(i),
                probability: probability(i),
                control_change: control(i),
                false_alarms: alarms(i),
                false_alarms_upper95: alarms95(i),
                outline: self.outline(i)?,
            });
        }
        Ok(())
    }
}
