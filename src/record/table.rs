//! The tables: one row type each, its Arrow schema with unit and description on every field, and rows to batches. Column
//! names and types are a promise to other programs.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Float64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
    TimestampMillisecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use geo::MultiPolygon;
use jiff::civil::Date;

use super::geoparquet::{self, Extent};
use crate::carbon::Flag;
use crate::carbon::chain::Part;
use crate::carbon::delta::{Controlled, Delta, relative_uncertainty_percent};
use crate::carbon::monte_carlo::Spread;
use crate::carbon::stock::Stock;
use crate::carbon::totals::{Quantity, Total};
use crate::columnar::{self, field};
use crate::detect::control::Control;
use crate::error::{Quarantine, Result};
use crate::units::{CO2_PER_C, days};
use crate::zonal::ZonalStats;

const INDEX_UNIT: &str = "1";

fn text(name: &str, description: &str) -> Field {
    field(name, DataType::Utf8, false, "1", description)
}

fn number(name: &str, unit: &str, description: &str) -> Field {
    field(name, DataType::Float64, false, unit, description)
}

fn maybe(name: &str, unit: &str, description: &str) -> Field {
    field(name, DataType::Float64, true, unit, description)
}

fn day(name: &str, description: &str) -> Field {
    field(name, DataType::Date32, false, "days since 1970-01-01", description)
}

fn flags_field() -> Field {
    let item = field("item", DataType::Utf8, false, "1", "remark");
    field("flags", DataType::List(Arc::new(item)), false, "1", "remarks that limit the use of the row, sorted")
}

fn strings<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn floats(values: impl Iterator<Item = f64>) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(values))
}

fn optional(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(Float64Array::from_iter(values))
}

fn dates(values: impl Iterator<Item = Date>) -> ArrayRef {
    Arc::new(Date32Array::from_iter_values(values.map(days)))
}

fn lists<'a>(rows: impl Iterator<Item = &'a [String]>) -> ArrayRef {
    let item = field("item", DataType::Utf8, false, "1", "remark");
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(item);
    for row in rows {
        row.iter().for_each(|flag| builder.values().append_value(flag));
        builder.append(true);
    }
    Arc::new(builder.finish())
}

/// Metadata that every table carries.
pub fn metadata(config_sha256: &str) -> Vec<(&'static str, String)> {
    vec![("lintan.version", env!("CARGO_PKG_VERSION").to_owned()), ("lintan.config_sha256", config_sha256.to_owned())]
}

/// Statistics of one index over one parcel in one scene.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservationRow {
    /// Parcel.
    pub parcel_id: Arc<str>,
    /// Scene.
    pub scene_id: Arc<str>,
    /// Milliseconds since 1970-01-01 UTC.
    pub acquired_ms: i64,
    /// Sensor.
    pub sensor: Arc<str>,
    /// Grid.
    pub grid_id: Arc<str>,
    /// Index.
    pub index: Arc<str>,
    /// Sum of coverage fractions.
    pub pixels: f64,
    /// Area of the whole parcel in pixels, also where the scene holds only a part of it. No column: it is the parcel's.
    pub whole_px: f64,
    /// Statistics; `None` when nothing was clear.
    pub stats: Option<ZonalStats>,
}

impl ObservationRow {
    /// Clear share of the whole parcel: what an assessment goes by, since a corner in view says little of the rest.
    pub fn seen_share(&self) -> f64 {
        self.stats.as_ref().map_or(0.0, |s| s.clear_pixels / self.whole_px)
    }

    /// Clear share of what the scene holds of the parcel.
    pub fn clear_fraction(&self) -> f64 {
        self.stats.as_ref().map_or(0.0, |s| s.clear_pixels / self.pixels)
    }

    /// Order of the table.
    pub fn key(&self) -> (&str, &str, i64, &str) {
        (&self.parcel_id, &self.index, self.acquired_ms, &self.scene_id)
    }
}

/// Schema of the observations.
pub fn observations_schema() -> SchemaRef {
    let statistic = |name: &str, what: &str| {
        maybe(name, INDEX_UNIT, &format!("{what} of the index over clear pixels, weighted by coverage"))
    };
    columnar::schema(vec![
        text("parcel_id", "parcel"),
        text("scene_id", "scene, the product's own id"),
        field(
            "acquired_at",
            DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            false,
            "milliseconds since 1970-01-01T00:00:00Z",
            "time of acquisition",
        ),
        text("sensor", "sensor: S2A, S2B, S2C, S2 (unit not told), L5, L7, L8, L9"),
        text("grid_id", "raster grid the pixels lie on"),
        text("index", "spectral index"),
        number("pixels", "pixel", "sum of the coverage fractions of the parcel's pixels within the scene"),
        number("clear_pixels", "pixel", "sum of the coverage fractions of clear pixels with a value of the index"),
        number("clear_fraction", "1", "clear_pixels / pixels"),
        statistic("mean", "mean"),
        statistic("stddev", "population standard deviation"),
        statistic("min", "minimum"),
        statistic("max", "maximum"),
        statistic("p10", "10th percentile"),
        statistic("p25", "25th percentile"),
        statistic("median", "median"),
        statistic("p75", "75th percentile"),
        statistic("p90", "90th percentile"),
        maybe("n_kish", "1", "effective number of pixels, (sum of weights)^2 / sum of squared weights"),
    ])
}

/// Rows to a batch.
///
/// # Errors
/// Only by a mistake of ours.
pub fn observations(rows: &[ObservationRow]) -> Result<RecordBatch> {
    let stat = |f: fn(&ZonalStats) -> f64| optional(rows.iter().map(|r| r.stats.as_ref().map(f)));
    let times = TimestampMillisecondArray::from_iter_values(rows.iter().map(|r| r.acquired_ms)).with_timezone("UTC");
    columnar::batch(
        &observations_schema(),
        vec![
            strings(rows.iter().map(|r| &*r.parcel_id)),
            strings(rows.iter().map(|r| &*r.scene_id)),
            Arc::new(times),
            strings(rows.iter().map(|r| &*r.sensor)),
            strings(rows.iter().map(|r| &*r.grid_id)),
            strings(rows.iter().map(|r| &*r.index)),
            floats(rows.iter().map(|r| r.pixels)),
            floats(rows.iter().map(|r| r.stats.as_ref().map_or(0.0, |s| s.clear_pixels))),
            floats(rows.iter().map(ObservationRow::clear_fraction)),
            stat(|s| s.mean),
            stat(|s| s.stddev),
            stat(|s| s.min),
            stat(|s| s.max),
            stat(|s| s.p10),
            stat(|s| s.p25),
            stat(|s| s.median),
            stat(|s| s.p75),
            stat(|s| s.p90),
            stat(|s| s.n_kish),
        ],
    )
}

/// One step of a regular series.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesRow {
    /// Parcel.
    pub parcel_id: Arc<str>,
    /// Index.
    pub index: Arc<str>,
    /// The step.
    pub point: crate::series::SeriesPoint,
    /// Smoothness of the series.
    pub lambda: Option<f64>,
}

/// Schema of the series.
pub fn series_schema() -> SchemaRef {
    columnar::schema(vec![
        text("parcel_id", "parcel"),
        text("index", "spectral index"),
        day("date", "first day of the step"),
        maybe("value", INDEX_UNIT, "index of the smoothed or harmonic curve; never evidence by itself"),
        maybe("value_se", INDEX_UNIT, "standard error of value"),
        field("observations", DataType::UInt32, false, "1", "observations used within the step"),
        field("screened", DataType::UInt32, false, "1", "observations within the step that the screen left out"),
        maybe(
            "lambda",
            "1",
            "smoothness of the parcel's series of the index; null of a harmonic curve or without values",
        ),
    ])
}

/// Rows to a batch.
///
/// # Errors
/// Only by a mistake of ours.
pub fn series(rows: &[SeriesRow]) -> Result<RecordBatch> {
    columnar::batch(
        &series_schema(),
        vec![
            strings(rows.iter().map(|r| &*r.parcel_id)),
            strings(rows.iter().map(|r| &*r.index)),
            dates(rows.iter().map(|r| r.point.date)),
            optional(rows.iter().map(|r| r.point.value)),
            optional(rows.iter().map(|r| r.point.value_se)),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|r| r.point.observations))),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|r| r.point.screened))),
            optional(rows.iter().map(|r| r.lambda)),
        ],
    )
}

/// The season of one index over one parcel in one year.
#[derive(Debug, Clone, PartialEq)]
pub struct SeasonRow {
    /// Parcel.
    pub parcel_id: Arc<str>,
    /// Index.
    pub index: Arc<str>,
    /// The season.
    pub season: crate::series::seasons::Season,
}

/// Schema of the seasons.
pub fn seasons_schema() -> SchemaRef {
    let maybe_day = |name: &str, description: &str| field(name, DataType::Date32, true, "d", description);
    columnar::schema(vec![
        text("parcel_id", "parcel"),
        text("index", "spectral index"),
        field("year", DataType::UInt32, false, "year", "calendar year"),
        field("observations", DataType::UInt32, false, "1", "observations used within the year"),
        text("status", "ok, or why there are no metrics: few_observations, incomplete, gap, no_season"),
        maybe_day("season_start", "day on which the curve rises through the threshold before the peak"),
        maybe_day("season_peak", "middle of the step with the highest value"),
        maybe_day("season_end", "day on which the curve falls through the threshold after the peak"),
        maybe("peak_value", INDEX_UNIT, "index at the peak"),
        maybe("base_value", INDEX_UNIT, "mean of the lowest values before and after the peak"),
        maybe("amplitude", INDEX_UNIT, "peak_value - base_value"),
        maybe("integral_index_d", "d", "integral of the curve from start to end, over 0: index units times days"),
    ])
}

/// Rows to a batch.
///
/// # Errors
/// Only by a mistake of ours.
pub fn seasons(rows: &[SeasonRow]) -> Result<RecordBatch> {
    use crate::series::seasons::Metrics;
    let value = |f: fn(&Metrics) -> f64| optional(rows.iter().map(|r| r.season.metrics.as_ref().map(f)));
    let date = |f: fn(&Metrics) -> Date| -> ArrayRef {
        Arc::new(Date32Array::from_iter(rows.iter().map(|r| r.season.metrics.as_ref().map(|m| days(f(m))))))
    };
    columnar::batch(
        &seasons_schema(),
        vec![
            strings(rows.iter().map(|r| &*r.parcel_id)),
            strings(rows.iter().map(|r| &*r.index)),
            Arc::new(UInt32Array::from_iter_values(
                rows.iter().map(|r| u32::try_from(r.season.year).unwrap_or_default()),
            )),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|r| r.season.observations))),
            strings(rows.iter().map(|r| r.season.status.name())),
            date(|m| m.start),
            date(|m| m.peak),
            date(|m| m.end),
            value(|m| m.peak_value),
            value(|m| m.base_value),
            value(|m| m.amplitude),
            value(|m| m.integral_index_d),
        ],
    )
}

/// One disturbance.
#[derive(Debug, Clone, PartialEq)]
pub struct DisturbanceRow {
    /// Parcel.
    pub parcel_id: Arc<str>,
    /// Event, unique within the parcel.
    pub event_id: String,
    /// Index it was seen in.
    pub index: String,
    /// Method.
    pub method: &'static str,
    /// First date it was seen.
    pub detected_on: Date,
    /// Last clear date before.
    pub date_lower: Date,
    /// First clear date after.
    pub date_upper: Date,
    /// Mean change of the index over the disturbed pixels; negative is loss.
    pub magnitude: f64,
    /// Hectares.
    pub area_ha: f64,
    /// Standard error, hectares.
    pub area_se_ha: Option<f64>,
    /// Sum of coverage fractions.
    pub pixels: f64,
    /// Probability that the loss is one.
    pub probability: Option<f64>,
    /// Scene of `date_lower`.
    pub before_scene_id: String,
    /// Scene of `date_upper`.
    pub after_scene_id: String,
    /// What undisturbed reference parcels nearby showed.
    pub control: Option<Control>,
    /// Alarms a parcel and year at the run's reference parcels, and the upper end of the 95 % interval.
    pub false_alarms: Option<(f64, f64)>,
    /// Outline, longitude and latitude.
    pub geometry: MultiPolygon<f64>,
}

/// Schema of the disturbances.
pub fn disturbances_schema() -> SchemaRef {
    let mut fields = vec![
        text("parcel_id", "parcel"),
        text("event_id", "event, unique within the parcel"),
        text("index", "spectral index"),
        text("method", "method of detection"),
        day("detected_on", "date on which the method decided"),
        day("date_lower", "last clear date before the loss"),
        day("date_upper", "first clear date after the loss"),
        number("magnitude", INDEX_UNIT, "mean change of the index over the disturbed pixels; negative is loss"),
        number("area_ha", "ha", "disturbed area: share of the footprint times the parcel's geodesic area"),
        maybe("area_se_ha", "ha", "standard error of area_ha; null where the noise could not be judged"),
        number("pixels", "pixel", "sum of the coverage fractions of the disturbed pixels"),
        maybe(
            "probability",
            "1",
            "mean over the disturbed pixels of the probability that the change is real, as the method can tell; see its documentation",
        ),
        text("before_scene_id", "scene of date_lower"),
        text("after_scene_id", "scene of date_upper"),
        maybe(
            "control_change",
            INDEX_UNIT,
            "mean change of undisturbed reference pixels nearby; null without enough of them",
        ),
        maybe("control_se", INDEX_UNIT, "standard error of control_change from the scatter between reference parcels"),
        maybe("control_pixels", "pixel", "sum of the coverage fractions of the reference pixels"),
        maybe(
            "false_alarms_per_parcel_year",
            "year-1",
            "alarms of the method a parcel and year at the run's reference parcels; null without any",
        ),
        maybe("false_alarms_upper95_per_parcel_year", "year-1", "upper end of its one-sided 95 % interval (Poisson)"),
        maybe("did_magnitude", INDEX_UNIT, "magnitude minus control_change (difference in differences)"),
    ];
    fields.extend(geoparquet::fields(
        "outline of the disturbed pixels, whole ones also where they reach beyond the parcel",
    ));
    columnar::schema(fields)
}

/// Rows to a batch.
///
/// # Errors
/// A geometry that cannot be encoded.
pub fn disturbances(rows: &[DisturbanceRow], extent: &mut Extent) -> Result<RecordBatch> {
    let mut columns = vec![
        strings(rows.iter().map(|r| &*r.parcel_id)),
        strings(rows.iter().map(|r| r.event_id.as_str())),
        strings(rows.iter().map(|r| r.index.as_str())),
        strings(rows.iter().map(|r| r.method)),
        dates(rows.iter().map(|r| r.detected_on)),
        dates(rows.iter().map(|r| r.date_lower)),
        dates(rows.iter().map(|r| r.date_upper)),
        floats(rows.iter().map(|r| r.magnitude)),
        floats(rows.iter().map(|r| r.area_ha)),
        optional(rows.iter().map(|r| r.area_se_ha)),
        floats(rows.iter().map(|r| r.pixels)),
        optional(rows.iter().map(|r| r.probability)),
        strings(rows.iter().map(|r| r.before_scene_id.as_str())),
        strings(rows.iter().map(|r| r.after_scene_id.as_str())),
        optional(rows.iter().map(|r| r.control.map(|c| c.change))),
        optional(rows.iter().map(|r| r.control.and_then(|c| c.se))),
        optional(rows.iter().map(|r| r.control.map(|c| c.pixels))),
        optional(rows.iter().map(|r| r.false_alarms.map(|f| f.0))),
        optional(rows.iter().map(|r| r.false_alarms.map(|f| f.1))),
        optional(rows.iter().map(|r| r.control.map(|c| r.magnitude - c.change))),
    ];
    columns.extend(extent.columns(rows.iter().map(|r| &r.geometry))?);
    columnar::batch(&disturbances_schema(), columns)
}

/// Carbon of one pool of one parcel at one epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct StockRow {
    /// Parcel.
    pub parcel_id: Arc<str>,
    /// Method.
    pub method: &'static str,
    /// Model within the method: parameter set and forest type.
    pub model_id: String,
    /// Hectares.
    pub area_ha: f64,
    /// The stock.
    pub stock: Stock,
    /// Parameter set.
    pub parameter_set: String,
}

/// Columns that tell which part of the variance is whose.
fn variance_fields() -> impl Iterator<Item = Field> {
    Part::ALL.into_iter().map(|part| {
        let what = match part {
            Part::Model => "parameters of the biomass model",
            Part::Allometry => "expansion to carbon: wood density, expansion factors, roots, carbon fraction",
            Part::Residual => "what the model does not explain of the parcel, and errors of its own measurements",
            Part::Area => "boundary of the polygon and adjustment of mapped areas",
            Part::Saturation => "what the index cannot see beyond its range",
        };
        let description = format!(
            "share of the variance when only this varies ({what}); products interact, so the shares need not add up to 1; null \
             without a variance"
        );
        maybe(&format!("variance_share_{}", part.name()), "1", &description)
    })
}

fn variance_columns<'a>(shares: impl Iterator<Item = Option<[f64; 5]>> + Clone + 'a) -> impl Iterator<Item = ArrayRef> {
    (0..Part::ALL.len()).map(move |i| optional(shares.clone().map(|s| s.map(|s| s[i]))))
}

fn flag_names<'a>(rows: impl Iterator<Item = &'a [Flag]>) -> Vec<Vec<String>> {
    rows.map(|flags| flags.iter().map(|f| f.name().to_owned()).collect()).collect()
}

/// Schema of the stocks.
pub fn stocks_schema() -> SchemaRef {
    let mut fields = vec![
        text("parcel_id", "parcel"),
        day("epoch", "day the stock is for"),
        text("pool", "carbon pool; total is the sum of the configured pools"),
        text("method", "method of the estimate"),
        text("model_id", "method, parameter set or model file, and type of forest"),
        number("area_ha", "ha", "geodesic area of the parcel on the WGS 84 ellipsoid"),
        number("density_t_c_per_ha", "t ha-1", "tonnes of carbon per hectare"),
        number("stock_t_c", "t", "tonnes of carbon"),
        number("stock_se_t_c", "t", "standard error of stock_t_c"),
        number("ci90_lower_t_c", "t", "lower end of the 90 % interval"),
        number("ci90_upper_t_c", "t", "upper end of the 90 % interval"),
        number("ci95_lower_t_c", "t", "lower end of the 95 % interval"),
        number("ci95_upper_t_c", "t", "upper end of the 95 % interval"),
        number("median_t_c", "t", "median of the draws"),
    ];
    fields.extend(variance_fields());
    fields.extend([
        text("parameter_set", "name, version and digest of the parameter set, and digest of the table of names"),
        text("status", "issuable or screening_only"),
        flags_field(),
    ]);
    columnar::schema(fields)
}

/// Rows to a batch.
///
/// # Errors
/// Only by a mistake of ours.
pub fn stocks(rows: &[StockRow]) -> Result<RecordBatch> {
    let value = |f: fn(&Stock) -> f64| floats(rows.iter().map(|r| f(&r.stock)));
    let flags = flag_names(rows.iter().map(|r| r.stock.flags.as_slice()));
    let mut columns = vec![
        strings(rows.iter().map(|r| &*r.parcel_id)),
        dates(rows.iter().map(|r| r.stock.epoch)),
        strings(rows.iter().map(|r| r.stock.pool.name())),
        strings(rows.iter().map(|r| r.method)),
        strings(rows.iter().map(|r| r.model_id.as_str())),
        floats(rows.iter().map(|r| r.area_ha)),
        value(|s| s.density_t_c_per_ha),
        value(|s| s.stock_t_c),
        value(|s| s.stock_se_t_c),
        value(|s| s.ci90_t_c.0),
        value(|s| s.ci90_t_c.1),
        value(|s| s.ci95_t_c.0),
        value(|s| s.ci95_t_c.1),
        value(|s| s.median_t_c),
    ];
    columns.extend(variance_columns(rows.iter().map(|r| r.stock.variance_shares)));
    columns.extend([
        strings(rows.iter().map(|r| r.parameter_set.as_str())),
        strings(rows.iter().map(|r| r.stock.status.name())),
        lists(flags.iter().map(Vec::as_slice)),
    ]);
    columnar::batch(&stocks_schema(), columns)
}

/// Schema of the totals.
pub fn totals_schema() -> SchemaRef {
    let maybe_day =
        |name: &str, description: &str| field(name, DataType::Date32, true, "days since 1970-01-01", description);
    columnar::schema(vec![
        text("group", "all, or a kind of parcel"),
        text(
            "quantity",
            "stock, delta, or creditable: what the named rule allows of the deltas, over the parcels of which it allows anything, without kinds reference and damaged",
        ),
        maybe_day("period_start", "first day of the period of a delta or of what is creditable; null for a stock"),
        day("period_end", "last day of that period; the epoch of a stock"),
        text("pool", "carbon pool; total is the sum of the configured pools"),
        field("parcels", DataType::UInt32, false, "1", "parcels that entered"),
        number("area_ha", "ha", "their area, ground that parcels share counted once"),
        number("sum_t_c", "t", "tonnes of carbon"),
        number("se_t_c", "t", "standard error of sum_t_c, with the correlation of the parcels"),
        number("ci90_lower_t_c", "t", "lower end of the 90 % interval"),
        number("ci90_upper_t_c", "t", "upper end of the 90 % interval"),
        number("ci95_lower_t_c", "t", "lower end of the 95 % interval"),
        number("ci95_upper_t_c", "t", "upper end of the 95 % interval"),
        number("sum_t_co2e", "t", "tonnes of CO2 equivalent (44/12 of carbon); of a delta, growth is positive"),
        number("se_t_co2e", "t", "standard error of sum_t_co2e"),
        number("ci90_lower_t_co2e", "t", "lower end of the 90 % interval"),
        number("ci90_upper_t_co2e", "t", "upper end of the 90 % interval"),
        maybe("relative_uncertainty_percent", "percent", "half of the 90 % interval over the size of the sum"),
    ])
}

/// Rows to a batch.
///
/// # Errors
/// Only by a mistake of ours.
pub fn totals(rows: &[Total]) -> Result<RecordBatch> {
    let c = |f: fn(&Spread) -> f64| floats(rows.iter().map(|r| f(&r.spread)));
    let co2e = |f: fn(&Spread) -> f64| floats(rows.iter().map(|r| f(&r.spread) * CO2_PER_C));
    let start = |r: &Total| match r.quantity {
        Quantity::Stock(..) => None,
        Quantity::Delta(start, _) | Quantity::Creditable(start, _) => Some(days(start)),
    };
    let end = |r: &Total| match r.quantity {
        Quantity::Stock(epoch, _) => epoch,
        Quantity::Delta(_, end) | Quantity::Creditable(_, end) => end,
    };
    let parcels = rows.iter().map(|r| u32::try_from(r.parcels).unwrap_or(u32::MAX));
    columnar::batch(
        &totals_schema(),
        vec![
            strings(rows.iter().map(|r| r.group.as_str())),
            strings(rows.iter().map(|r| r.quantity.name())),
            Arc::new(Date32Array::from_iter(rows.iter().map(start))),
            dates(rows.iter().map(end)),
            strings(rows.iter().map(|r| if let Quantity::Stock(_, pool) = r.quantity { pool.name() } else { "total" })),
            Arc::new(UInt32Array::from_iter_values(parcels)),
            floats(rows.iter().map(|r| r.area_ha)),
            c(|s| s.estimate),
            c(|s| s.se),
            c(|s| s.ci90.0),
            c(|s| s.ci90.1),
            c(|s| s.ci95.0),
            c(|s| s.ci95.1),
            co2e(|s| s.estimate),
            co2e(|s| s.se),
            co2e(|s| s.ci90.0),
            co2e(|s| s.ci90.1),
            optional(rows.iter().map(|r| relative_uncertainty_percent(&r.spread))),
        ],
    )
}

/// Change of one parcel's carbon over one period.
#[derive(Debug, Clone, PartialEq)]
pub struct DeltaRow {
    /// Parcel.
    pub parcel_id: Arc<str>,
    /// Kind of parcel.
    pub kind: Option<&'static str>,
    /// The change.
    pub delta: Delta,
    /// Disturbed within the period, hectares; `None` when no change method ran.
    pub disturbed_area_ha: Option<f64>,
    /// Parameter set.
    pub parameter_set: String,
    /// Outline, longitude and latitude.
    pub geometry: MultiPolygon<f64>,
}

/// Schema of the deltas.
pub fn deltas_schema() -> SchemaRef {
    let mut fields = vec![
        text("parcel_id", "parcel"),
        field(
            "kind",
            DataType::Utf8,
            true,
            "1",
            "compensation_base, damaged, reserve or reference; null where the layer does not say",
        ),
        day("period_start", "first day of the period"),
        day("period_end", "last day of the period"),
        number("area_ha", "ha", "geodesic area of the parcel on the WGS 84 ellipsoid"),
        number("stock_start_t_c", "t", "tonnes of carbon at the start"),
        number("stock_end_t_c", "t", "tonnes of carbon at the end"),
        number("delta_t_c", "t", "tonnes of carbon gained; negative is loss"),
        number("delta_t_co2e", "t", "tonnes of CO2 equivalent gained (44/12 of carbon); negative is loss"),
        number("delta_se_t_co2e", "t", "standard error of delta_t_co2e"),
        number("ci90_lower_t_co2e", "t", "lower end of the 90 % interval"),
        number("ci90_upper_t_co2e", "t", "upper end of the 90 % interval"),
        number("ci95_lower_t_co2e", "t", "lower end of the 95 % interval"),
        number("ci95_upper_t_co2e", "t", "upper end of the 95 % interval"),
        number("median_t_co2e", "t", "median of the draws"),
        maybe(
            "relative_uncertainty_percent",
            "percent",
            "half of the 90 % interval over the size of the delta; null for no change",
        ),
        maybe("deduction_percent", "percent", "uncertainty deduction by the configured scheme; null without one"),
        maybe(
            "creditable_t_co2e",
            "t",
            "tonnes of CO2 equivalent that the scheme allows; null without a scheme, 0 for screening",
        ),
        number("annual_t_co2e_per_ha", "t ha-1 year-1", "delta_t_co2e per year of 365.25 days and hectare"),
        maybe(
            "disturbed_area_ha",
            "ha",
            "area lost by the first configured change method, by date_upper within the period; null when none ran or too little could be judged",
        ),
    ];
    fields.extend(variance_fields());
    fields.extend([
        maybe(
            "gain_loss_t_co2e",
            "t",
            "the change by gain and loss (increment less what was lost), beside the difference of stocks; null where the \
             attributes do not allow it",
        ),
        maybe("gain_loss_se_t_co2e", "t", "its standard error"),
        field("references", DataType::UInt32, true, "1", "reference parcels that the change is compared with; null without two"),
        maybe("reference_t_co2e_per_ha", "t ha-1", "mean change of the reference parcels over the period"),
        maybe("did_t_co2e", "t", "the change beyond that of the reference parcels (difference in differences)"),
        maybe("did_se_t_co2e", "t", "its standard error, with the scatter of the reference parcels"),
        maybe("did_ci90_lower_t_co2e", "t", "lower end of its 90 % interval"),
        maybe("did_ci90_upper_t_co2e", "t", "upper end of its 90 % interval"),
        text("parameter_set", "name, version and digest of the parameter set, and digest of the table of names"),
        text("status", "issuable or screening_only"),
        flags_field(),
    ]);
    fields.extend(geoparquet::fields("outline of the parcel"));
    columnar::schema(fields)
}

/// Rows to a batch.
///
/// # Errors
/// A geometry that cannot be encoded.
pub fn deltas(rows: &[DeltaRow], extent: &mut Extent) -> Result<RecordBatch> {
    let value = |f: fn(&Delta) -> f64| floats(rows.iter().map(|r| f(&r.delta)));
    let flags = flag_names(rows.iter().map(|r| r.delta.flags.as_slice()));
    let controlled = |f: fn(&Controlled) -> f64| optional(rows.iter().map(|r| r.delta.controlled.as_ref().map(f)));
    let references = rows.iter().map(|r| r.delta.controlled.and_then(|c| u32::try_from(c.references).ok()));
    let mut columns = vec![
        strings(rows.iter().map(|r| &*r.parcel_id)),
        Arc::new(StringArray::from_iter(rows.iter().map(|r| r.kind))) as ArrayRef,
        dates(rows.iter().map(|r| r.delta.period_start)),
        dates(rows.iter().map(|r| r.delta.period_end)),
        value(|d| d.area_ha),
        value(|d| d.stock_start_t_c),
        value(|d| d.stock_end_t_c),
        value(|d| d.delta_t_c),
        value(|d| d.delta_t_co2e),
        value(|d| d.delta_se_t_co2e),
        value(|d| d.ci90_t_co2e.0),
        value(|d| d.ci90_t_co2e.1),
        value(|d| d.ci95_t_co2e.0),
        value(|d| d.ci95_t_co2e.1),
        value(|d| d.median_t_co2e),
        optional(rows.iter().map(|r| r.delta.relative_uncertainty_percent)),
        optional(rows.iter().map(|r| r.delta.deduction_percent)),
        optional(rows.iter().map(|r| r.delta.creditable_t_co2e)),
        value(|d| d.annual_t_co2e_per_ha),
        optional(rows.iter().map(|r| r.disturbed_area_ha)),
    ];
    columns.extend(variance_columns(rows.iter().map(|r| r.delta.variance_shares)));
    columns.extend([
        optional(rows.iter().map(|r| r.delta.gain_loss_t_co2e.map(|g| g.0))),
        optional(rows.iter().map(|r| r.delta.gain_loss_t_co2e.map(|g| g.1))),
        Arc::new(UInt32Array::from_iter(references)) as ArrayRef,
        controlled(|c| c.reference_t_co2e_per_ha),
        controlled(|c| c.did_t_co2e),
        controlled(|c| c.did_se_t_co2e),
        controlled(|c| c.did_ci90_t_co2e.0),
        controlled(|c| c.did_ci90_t_co2e.1),
        strings(rows.iter().map(|r| r.parameter_set.as_str())),
        strings(rows.iter().map(|r| r.delta.status.name())),
        lists(flags.iter().map(Vec::as_slice)),
    ]);
    columns.extend(extent.columns(rows.iter().map(|r| &r.geometry))?);
    columnar::batch(&deltas_schema(), columns)
}

/// Schema of the quarantine.
pub fn quarantine_schema() -> SchemaRef {
    columnar::schema(vec![
        text("subject", "scene, parcel or layer (an index or band)"),
        text("id", "its id, or its name where no id could be read"),
        text("stage", "where in the work it was set aside: catalog, parcels, extract, account"),
        text("reason", "why, as a code"),
        text("message", "why, in words: what was found, what is expected, what to do"),
        text("path", "file or folder, relative to the configuration"),
    ])
}

/// Rows to a batch.
///
/// # Errors
/// Only by a mistake of ours.
pub fn quarantine(rows: &[Quarantine]) -> Result<RecordBatch> {
    let names: Vec<[String; 3]> = rows.iter().map(|q| [q.subject.name(), q.stage.name(), q.reason.name()]).collect();
    columnar::batch(
        &quarantine_schema(),
        vec![
            strings(names.iter().map(|n| n[0].as_str())),
            strings(rows.iter().map(|q| q.id.as_str())),
            strings(names.iter().map(|n| n[1].as_str())),
            strings(names.iter().map(|n| n[2].as_str())),
            strings(rows.iter().map(|q| q.message.as_str())),
            strings(rows.iter().map(|q| q.path.as_str())),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_every_table_has_a_unit_and_a_description() {
        fn check(table: &str, field: &Field) {
            for key in ["unit", "description"] {
                assert!(field.metadata().get(key).is_some_and(|v| !v.is_empty()), "{table}.{}: no {key}", field.name());
            }
            match field.data_type() {
                DataType::Struct(inner) => inner.iter().for_each(|f| check(table, f)),
                DataType::List(inner) => check(table, inner),
                _ => {}
            }
        }
        for (table, schema) in [
            ("observations", observations_schema()),
            ("series", series_schema()),
            ("seasons", seasons_schema()),
            ("disturbances", disturbances_schema()),
            ("stocks", stocks_schema()),
            ("deltas", deltas_schema()),
            ("quarantine", quarantine_schema()),
        ] {
            schema.fields().iter().for_each(|f| check(table, f));
        }
    }
}
