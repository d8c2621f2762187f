//! LandTrendr: a pixel's yearly values as a chain of straight segments; a segment that falls is a loss.
//!
//! After Kennedy, Yang and Cohen 2010, Remote Sensing of Environment 114:2897-2910; parameters as in Earth Engine's
//! `TemporalSegmentation.LandTrendr` (Kennedy et al. 2018, Remote Sensing 10:691). Inside, the index is turned round so that
//! loss is positive; all that comes out is in the index's own direction, loss negative. Years without a value take no part.
//!
//! 1. **Spikes.** Spikiness of an inner point: `1 - |left - right| / max(|point - left|, |point - right|)`. While the largest
//!    exceeds `spike_threshold`, that point moves towards the mean of its neighbours by its spikiness.
//! 2. **Vertices.** Starting with the two ends, the segment with the largest mean squared residual about its least-squares
//!    line is split where the residual is largest, until there are `max_segments + 1 + vertex_count_overshoot` vertices, or
//!    two fewer than values. The last but one value becomes a vertex only if the last step is a loss: a lone recovery at the
//!    end is not trusted.
//! 3. **Culling** to `max_segments + 1`: the vertex with the smallest importance goes. Importance is the larger of the two
//!    absolute slopes beside it, as angles with the values scaled to the years' range, times `1 + 2 d`, with `d` the part of
//!    the range lost in the segment after it (0 if none).
//! 4. **Fit**, from left to right: the first segment is a least-squares line, each further one a line through the end of the
//!    one before; where the straight connection of the values at the vertices has the smaller sum of squares, it is taken.
//! 5. **Simpler models**, one vertex fewer at a time, down to one segment. If a segment recovers faster than
//!    `recovery_threshold` of the fitted range a year, the vertex at the end of the fastest goes, unless it is
//!    the last. Otherwise the vertex goes whose removal costs least (squared residuals about the straight bridge, by years).
//!    In the variant `idl` the value at the vertex taken out for its recovery is replaced by the line between its neighbours,
//!    and the last value by the one before it if the fastest recovery ends there.
//! 6. **Choice.** p of the F test with `2 (v - 1)` and `n - 2 (v - 1) - 1` degrees of freedom for `v` vertices, from the
//!    incomplete beta function. A model with a forbidden recovery has p = 1. The one with most vertices among those with
//!    `p <= (2 - best_model_proportion) p_min` is taken. As the original computes in single precision, every p below 3e-8 is
//!    zero, and such models count as equally good; this is kept. It also takes a mean square of the regression below 1e-5 as
//!    nothing.
//! 7. If that p exceeds `pval_threshold`, steps 4 to 6 run once more with the joint least-squares fit of all segments (the
//!    original uses Levenberg-Marquardt for this linear problem) and bridges alone; if its p exceeds the threshold too, the
//!    pixel is one flat segment.
//!
//! Where implementations differ. Earth Engine dampens a spike only while it exceeds the threshold; the original program and
//! its ports dampen once more after that. Earth Engine's published fits are also met only if no value is replaced in step 5,
//! as the original does. `variant` chooses. With one-year recoveries prevented a port changes nothing; here a recovery of one
//! year is a forbidden recovery, as the parameter is documented. `best_model_proportion` above 1 makes the bound of step 6
//! lie below the smallest p; the model with the smallest p is then taken. A recovery that is exactly as fast as allowed, but
//! for rounding, is allowed.
//!
//! Dates are no finer than a year: an event lies between the composite of the vertex before it and the next one.

use serde::{Deserialize, Serialize};

use super::composite::{self, Composite, Season, Windows};
use super::{PixelBreak, Unjudged};
use crate::imagery::Band;

/// Weight of a following loss in the importance of a vertex.
const DISTURBANCE_WEIGHT: f64 = 2.0;
/// Mean square of the regression below which a model counts as saying nothing.
const MIN_MEAN_SQUARE: f64 = 1e-5;
/// Room for rounding where a recovery is exactly as fast as allowed.
const ROUNDING: f64 = 1e-9;

/// Which program to follow where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// Earth Engine: only spikes above the threshold are dampened, and no value changes after that.
    #[default]
    Gee,
    /// The original IDL program and its ports: one more spike is dampened after the last above the threshold, and the value at
    /// a vertex taken out for its recovery is replaced.
    Idl,
}

/// `[change.landtrendr]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Index to segment; one that falls with loss, such as ndvi or nbr.
    pub index: String,
    /// Smallest fall of a segment that counts as loss, positive. No default: it depends on index and forest type.
    pub min_magnitude: f64,
    /// First and last day of the growing season. Default 06-10 to 09-20, as in LT-GEE: northern temperate forest.
    #[serde(default = "default_season")]
    pub season: Season,
    /// How a season's observations become one value.
    #[serde(default = "default_composite")]
    pub composite: Composite,
    /// Bands of the medoid; empty for the median.
    #[serde(default)]
    pub medoid_bands: Vec<String>,
    /// Most segments of a fit. Earth Engine has no default; 6 as in the running example of the LT-GEE guide.
    #[serde(default = "default_max_segments")]
    pub max_segments: usize,
    /// Spikiness above which a point is dampened; 1 for none. Default 0.9 (Earth Engine).
    #[serde(default = "default_spike_threshold")]
    pub spike_threshold: f64,
    /// Which program to follow where they differ. Default "gee".
    #[serde(default)]
    pub variant: Variant,
    /// Vertices found beyond `max_segments + 1` and culled again. Default 3 (Earth Engine).
    #[serde(default = "default_overshoot")]
    pub vertex_count_overshoot: usize,
    /// Forbid recovery segments of one year. Default false (Earth Engine).
    #[serde(default)]
    pub prevent_one_year_recovery: bool,
    /// Fastest recovery allowed, as part of the fitted range a year. Default 0.25 (Earth Engine).
    #[serde(default = "default_recovery_threshold")]
    pub recovery_threshold: f64,
    /// Largest p of a model that is not taken for flat. Default 0.1 (Earth Engine).
    #[serde(default = "default_pval_threshold")]
    pub pval_threshold: f64,
    /// 1 takes the model with the smallest p; 0.75 also one with more vertices whose p is at most 1.25 times that. Default
    /// 0.75 as in the LT-GEE guide; Earth Engine's own default, 1.25, acts like 1.
    #[serde(default = "default_best_model_proportion")]
    pub best_model_proportion: f64,
    /// Fewest years with a value. Default 6 (Earth Engine).
    #[serde(default = "default_min_observations")]
    pub min_observations_needed: usize,
}

fn default_season() -> Season {
    Season::LT_GEE
}
fn default_composite() -> Composite {
    Composite::Median
}
fn default_max_segments() -> usize {
    6
}
fn default_spike_threshold() -> f64 {
    0.9
}
fn default_overshoot() -> usize {
    3
}
fn default_recovery_threshold() -> f64 {
    0.25
}
fn default_pval_threshold() -> f64 {
    0.1
}
fn default_best_model_proportion() -> f64 {
    0.75
}
fn default_min_observations() -> usize {
    6
}

impl Params {
    /// Parameters with every default, for an index and the smallest fall that counts.
    pub fn new(index: &str, min_magnitude: f64) -> Params {
        Params {
            index: index.into(),
            min_magnitude,
            season: default_season(),
            composite: default_composite(),
            medoid_bands: Vec::new(),
            max_segments: default_max_segments(),
            spike_threshold: default_spike_threshold(),
            variant: Variant::default(),
            vertex_count_overshoot: default_overshoot(),
            prevent_one_year_recovery: false,
            recovery_threshold: default_recovery_threshold(),
            pval_threshold: default_pval_threshold(),
            best_model_proportion: default_best_model_proportion(),
            min_observations_needed: default_min_observations(),
        }
    }

    /// Bands of the medoid, or the name that is none.
    ///
    /// # Errors
    /// A name that is no band.
    pub fn bands(&self) -> Result<Vec<Band>, &str> {
        super::bands_of(&self.medoid_bands)
    }

    /// Field, what was found, what is expected.
    ///
    /// # Errors
    /// A value outside its range; a medoid without bands, or bands without a medoid.
    pub fn validate(&self) -> Result<(), (&'static str, String, &'static str)> {
        let bad = |field, found: &dyn std::fmt::Debug, expected| Err((field, format!("{found:?}"), expected));
        if self.index.is_empty() {
            return bad("index", &self.index, "the name of an index");
        }
        if !(self.min_magnitude > 0.0 && self.min_magnitude.is_finite()) {
            return bad("min_magnitude", &self.min_magnitude, "a number above 0");
        }
        if (self.composite == Composite::Medoid) == self.medoid_bands.is_empty() {
            return bad("medoid_bands", &self.medoid_bands, "bands if composite is \"medoid\", and only then");
        }
        if !(1..=30).contains(&self.max_segments) {
            return bad("max_segments", &self.max_segments, "1 to 30");
        }
        if !(0.0..=1.0).contains(&self.spike_threshold) {
            return bad("spike_threshold", &self.spike_threshold, "a number from 0 to 1");
        }
        if self.vertex_count_overshoot > 30 {
            return bad("vertex_count_overshoot", &self.vertex_count_overshoot, "0 to 30");
        }
        if !(self.recovery_threshold > 0.0 && self.recovery_threshold.is_finite()) {
            return bad("recovery_threshold", &self.recovery_threshold, "a number above 0; 1 and more for no limit");
        }
        if !(self.pval_threshold > 0.0 && self.pval_threshold <= 1.0) {
            return bad("pval_threshold", &self.pval_threshold, "a number above 0, at most 1");
        }
        if !(0.0..=2.0).contains(&self.best_model_proportion) {
            return bad("best_model_proportion", &self.best_model_proportion, "a number from 0 to 2");
        }
        if self.min_observations_needed < 5 {
            return bad("min_observations_needed", &self.min_observations_needed, "at least 5");
        }
        Ok(())
    }
}

/// A corner of the fitted chain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vertex {
    /// Position in the years given.
    pub position: usize,
    /// Year.
    pub year: i32,
    /// Fitted value.
    pub value: f64,
}

/// One straight piece between two vertices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Segment {
    /// Where it starts: the last year before a loss, for a loss.
    pub start: Vertex,
    /// Where it ends.
    pub end: Vertex,
}

impl Segment {
    /// Fitted change over the segment; negative is loss.
    pub fn magnitude(&self) -> f64 {
        self.end.value - self.start.value
    }

    /// Length, years.
    pub fn duration_years(&self) -> i32 {
        self.end.year - self.start.year
    }

    /// Fitted change a year.
    pub fn rate(&self) -> f64 {
        self.magnitude() / f64::from(self.duration_years())
    }

    /// Fitted value before the change.
    pub fn value_before(&self) -> f64 {
        self.start.value
    }
}

/// The fit of one pixel, kept in the scratch that made it.
#[derive(Debug, Clone, Default)]
pub struct Fit {
    /// Corners, at least two.
    pub vertices: Vec<Vertex>,
    /// Fitted value of every year from the first to the last with a value, years without one included; NaN outside.
    pub fitted: Vec<f64>,
    /// p of the F test of the chosen model in single precision, so 0 below 3e-8. Above `pval_threshold`: flat.
    pub p_value: f64,
    /// Residual error, spikes included: root of the sum of squares of value less fitted value by `n - v`, for `n` years with a
    /// value and `v` vertices.
    pub rmse: f64,
}

impl Fit {
    /// Segments in order.
    pub fn segments(&self) -> impl Iterator<Item = Segment> {
        self.vertices.windows(2).map(|w| Segment { start: w[0], end: w[1] })
    }
}

/// Buffers of one thread, reused from pixel to pixel.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    composite: composite::Scratch,
    yearly: Vec<f64>,
    picked: Vec<(usize, usize)>,
    /// Years with a value: position, years since the first, value (loss positive), the same without spikes.
    position: Vec<usize>,
    x: Vec<f64>,
    y: Vec<f64>,
    line: Vec<f64>,
    /// Segments while vertices are sought: mean squared residual, and where to split.
    split: Vec<(f64, usize)>,
    vertices: Vec<usize>,
    found: Vec<usize>,
    at: Vec<f64>,
    /// All models of a run, one after the other: vertices, and values there.
    models: Vec<(usize, usize, f64)>,
    model_vertices: Vec<usize>,
    model_values: Vec<f64>,
    diagonal: Vec<f64>,
    beside: Vec<f64>,
    right: Vec<f64>,
    fit: Fit,
}

/// LandTrendr prepared for a list of days.
#[derive(Debug, Clone)]
pub struct Model {
    params: Params,
    windows: Windows,
    /// First day of the season of each year.
    season_start: Vec<f64>,
    /// Position of the last observation.
    last: usize,
}

impl Model {
    /// Sorts the days (since 1970-01-01, ascending) into seasons.
    ///
    /// # Errors
    /// Fewer seasons with an observation than a fit needs.
    pub fn new(params: &Params, days: &[i32]) -> Result<Model, Unjudged> {
        let windows = Windows::new(days, &params.season);
        let seen = windows.positions.iter().filter(|p| !p.is_empty()).count();
        if seen < params.min_observations_needed {
            return Err(Unjudged::TooFewObservations);
        }
        let epoch = jiff::civil::date(1970, 1, 1);
        let season_start = windows
            .years
            .iter()
            .map(|&y| params.season.start(y).map_or(f64::NAN, |d| f64::from((d - epoch).get_days())))
            .collect();
        Ok(Model { params: params.clone(), windows, season_start, last: days.len() - 1 })
    }

    /// One pixel: `index` and, for a medoid, `bands`, as long as the days. `out` is cleared, then gets every falling segment
    /// of at least `min_magnitude`.
    ///
    /// `before` is the last clear observation of the season at the start of the segment, `after` the first of the next season
    /// with a value, `detected` the last observation of the last season, since all of them enter the fit. `magnitude` is that of the
    /// segment, which may last several years. `break_day` is the first day of the season after the segment's start: the year
    /// LT-GEE reports. `probability` is 1 less the p of the F test of the whole model: that the chain says more than a flat
    /// line, not that this one segment is real.
    ///
    /// # Errors
    /// Too few years with a value, or all values equal.
    pub fn detect(
        &self,
        index: &[f64],
        bands: &[&[f64]],
        scratch: &mut Scratch,
        out: &mut Vec<PixelBreak>,
    ) -> Result<(), Unjudged> {
        out.clear();
        let Scratch { composite, yearly, picked, .. } = &mut *scratch;
        yearly.clear();
        picked.clear();
        for positions in &self.windows.positions {
            let pick = match self.params.composite {
                Composite::Median => composite::median(index, positions.clone(), composite),
                Composite::Medoid => composite::medoid(index, bands, positions.clone(), composite),
            };
            yearly.push(pick.map_or(f64::NAN, |p| p.value));
            picked.push(pick.map_or((0, 0), |p| (p.first, p.last)));
        }
        let values = std::mem::take(&mut scratch.yearly);
        let result = segment(&self.params, &self.windows.years, &values, scratch).map(|_| ());
        scratch.yearly = values;
        result?;
        let fit = &scratch.fit;
        if fit.p_value > self.params.pval_threshold {
            return Ok(());
        }
        // All years enter the fit, so that it stands with the last observation of the last of them.
        let last = (0..scratch.yearly.len())
            .rfind(|&k| scratch.yearly[k].is_finite())
            .map_or(self.last, |k| scratch.picked[k].1);
        for s in fit.segments().filter(|s| s.magnitude() <= -self.params.min_magnitude) {
            let start = s.start.position;
            let Some(next) = (start + 1..scratch.yearly.len()).find(|&k| scratch.yearly[k].is_finite()) else {
                continue;
            };
            out.push(PixelBreak {
                before: scratch.picked[start].1,
                after: scratch.picked[next].0,
                detected: last,
                magnitude: s.magnitude(),
                probability: 1.0 - fit.p_value,
                break_day: self.season_start[next],
            });
        }
        Ok(())
    }
}

/// Segments one pixel's yearly values. `years` ascend; a value that is not finite is no value.
///
/// # Errors
/// Fewer years with a value than `min_observations_needed`; all values equal; years that do not ascend.
pub fn segment<'s>(
    params: &Params,
    years: &[i32],
    values: &[f64],
    scratch: &'s mut Scratch,
) -> Result<&'s Fit, Unjudged> {
    let s = &mut *scratch;
    s.position.clear();
    s.x.clear();
    s.y.clear();
    for (i, (&year, &value)) in years.iter().zip(values).enumerate().filter(|(_, (_, v))| v.is_finite()) {
        let first = s.position.first().map_or(year, |&p| years[p]);
        let x = f64::from(year) - f64::from(first);
        if s.x.last().is_some_and(|&before| x <= before) {
            return Err(Unjudged::SingularDesign);
        }
        s.position.push(i);
        s.x.push(x);
        s.y.push(-value);
    }
    // Two vertices fewer than values, and at least one inner value, are needed at any setting.
    if s.y.len() < params.min_observations_needed.max(4) {
        return Err(Unjudged::TooFewObservations);
    }
    if s.y.iter().all(|v| *v == s.y[0]) {
        return Err(Unjudged::ConstantHistory);
    }
    s.line.clone_from(&s.y);
    dampen_spikes(&mut s.line, params);
    find_vertices(s, params.max_segments + 1 + params.vertex_count_overshoot);
    cull(s, params.max_segments + 1);
    s.found.clone_from(&s.vertices);

    let mut best = run(s, params, false);
    let mut flat = f64::NAN;
    if s.models[best].2 > params.pval_threshold {
        flat = s.line.iter().sum::<f64>() / s.line.len() as f64;
        s.vertices.clone_from(&s.found);
        best = run(s, params, true);
    }
    let (start, end, p_value) = s.models[best];
    let n = s.x.len();
    if p_value > params.pval_threshold {
        s.vertices.clear();
        s.vertices.extend([0, n - 1]);
        s.at.clear();
        s.at.extend([flat, flat]);
    } else {
        s.vertices.clear();
        s.vertices.extend_from_slice(&s.model_vertices[start..end]);
        s.at.clear();
        s.at.extend_from_slice(&s.model_values[start..end]);
    }
    report(s, years, values, p_value);
    Ok(&scratch.fit)
}

/// Step 1.
fn dampen_spikes(y: &mut [f64], params: &Params) {
    let n = y.len();
    // Each pass takes the largest spike nearer to its neighbours; the bound only guards against endless rounding.
    for _ in 0..4 * n {
        let (mut worst, mut at) = (0.0, 0);
        for i in 1..n - 1 {
            let size = (y[i] - y[i - 1]).abs().max((y[i] - y[i + 1]).abs());
            if size > 0.0 {
                let spikiness = 1.0 - (y[i - 1] - y[i + 1]).abs() / size;
                if spikiness > worst {
                    (worst, at) = (spikiness, i);
                }
            }
        }
        let above = worst > params.spike_threshold;
        let last_pass = params.variant == Variant::Idl && params.spike_threshold < 1.0;
        if at > 0 && (above || last_pass) {
            y[at] += worst * (0.5 * (y[at - 1] + y[at + 1]) - y[at]);
        }
        if !above {
            return;
        }
    }
}

/// Least-squares line: value at the first point, slope.
fn line_of(x: &[f64], y: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let (mx, my) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let (mut xy, mut xx) = (0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        xy += (x - mx) * (y - my);
        xx += (x - mx) * (x - mx);
    }
    let slope = if xx > 0.0 { xy / xx } else { 0.0 };
    (my + slope * (x[0] - mx), slope)
}

/// Mean squared residual of a segment about its line and where it is best split; zero where it cannot be.
fn split_of(x: &[f64], y: &[f64], a: usize, b: usize) -> (f64, usize) {
    let last = y.len() - 1;
    let (start, slope) = line_of(&x[a..=b], &y[a..=b]);
    let (mut squares, mut largest, mut at) = (0.0, -1.0, usize::MAX);
    for i in a..=b {
        let residual = (y[i] - start - slope * (x[i] - x[a])).abs();
        squares += residual * residual;
        let lone_recovery = i + 1 == last && y[last] <= y[i];
        if i > a && i < b && residual > largest && !lone_recovery {
            (largest, at) = (residual, i);
        }
    }
    if at == usize::MAX { (0.0, at) } else { (squares / (b - a + 1) as f64, at) }
}

/// Step 2; leaves the vertices in the scratch.
fn find_vertices(s: &mut Scratch, wanted: usize) {
    let (x, y) = (&s.x[..], &s.line[..]);
    let n = x.len();
    s.vertices.clear();
    s.vertices.extend([0, n - 1]);
    s.split.clear();
    s.split.push(split_of(x, y, 0, n - 1));
    while s.vertices.len() < wanted.min(n - 2) {
        let mut worst = (0.0, usize::MAX);
        for (k, &(mse, _)) in s.split.iter().enumerate() {
            if mse > worst.0 {
                worst = (mse, k);
            }
        }
        let k = worst.1;
        if k == usize::MAX {
            return;
        }
        let (a, at, b) = (s.vertices[k], s.split[k].1, s.vertices[k + 1]);
        s.vertices.insert(k + 1, at);
        s.split[k] = split_of(x, y, a, at);
        s.split.insert(k + 1, split_of(x, y, at, b));
    }
}

/// Step 3.
fn cull(s: &mut Scratch, keep: usize) {
    let (x, y) = (&s.x[..], &s.line[..]);
    let years = x[x.len() - 1] - x[0];
    let range = range_of(y);
    if range == 0.0 {
        return;
    }
    while s.vertices.len() > keep {
        let mut least = (f64::INFINITY, 0);
        for (k, v) in s.vertices.windows(3).enumerate() {
            let angle = |a: usize, b: usize| ((y[b] - y[a]) / range * years / (x[b] - x[a])).atan().abs();
            let loss = ((y[v[2]] - y[v[1]]) / range).max(0.0);
            let importance = angle(v[0], v[1]).max(angle(v[1], v[2])) * (1.0 + DISTURBANCE_WEIGHT * loss);
            if importance < least.0 {
                least = (importance, k + 1);
            }
        }
        s.vertices.remove(least.1);
    }
}

fn range_of(y: &[f64]) -> f64 {
    let (low, high) = y.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    high - low
}

/// Steps 4 to 6 from the vertices in the scratch; returns the chosen model's number.
fn run(s: &mut Scratch, params: &Params, joint: bool) -> usize {
    let n = s.x.len();
    s.models.clear();
    s.model_vertices.clear();
    s.model_values.clear();
    loop {
        if joint {
            fit_jointly(s);
        } else {
            fit_anchored(s);
        }
        let range = range_of(&s.at);
        let (fastest, forbidden) = fastest_recovery(s, params, range);
        let p = if forbidden { 1.0 } else { p_of(s) };
        let start = s.model_vertices.len();
        s.model_vertices.extend_from_slice(&s.vertices);
        s.model_values.extend_from_slice(&s.at);
        s.models.push((start, s.model_vertices.len(), p));
        let last = s.vertices.len() - 1;
        if last == 1 {
            break;
        }
        let idl = params.variant == Variant::Idl;
        match fastest.filter(|_| !joint) {
            Some(k) if k < last => {
                let v = s.vertices[k];
                if idl {
                    let (x, y) = (&s.x, &mut s.line);
                    y[v] = y[v - 1] + (y[v + 1] - y[v - 1]) * (x[v] - x[v - 1]) / (x[v + 1] - x[v - 1]);
                }
                s.vertices.remove(k);
            }
            ends_here => {
                let k = weakest(s);
                s.vertices.remove(k);
                if idl && ends_here.is_some() {
                    s.line[n - 1] = s.line[n - 2];
                }
            }
        }
    }
    let least = s.models.iter().map(|m| m.2).fold(f64::INFINITY, f64::min);
    let bound = ((2.0 - params.best_model_proportion) * least).max(least);
    s.models.iter().position(|m| m.2 <= bound).unwrap_or(0)
}

/// Number of the vertex that ends the fastest forbidden recovery, and whether there is one.
fn fastest_recovery(s: &Scratch, params: &Params, range: f64) -> (Option<usize>, bool) {
    let (mut fastest, mut vertex) = (params.recovery_threshold * (1.0 + ROUNDING), None);
    let mut one_year = None;
    for k in 1..s.vertices.len() {
        let years = s.x[s.vertices[k]] - s.x[s.vertices[k - 1]];
        let speed = (s.at[k - 1] - s.at[k]) / years / range;
        if speed > fastest {
            (fastest, vertex) = (speed, Some(k));
        }
        if params.prevent_one_year_recovery && years == 1.0 && speed > 0.0 && one_year.is_none() {
            one_year = Some(k);
        }
    }
    let found = vertex.or(one_year);
    (found, found.is_some())
}

/// Inner vertex whose removal costs least.
fn weakest(s: &Scratch) -> usize {
    let mut least = (f64::INFINITY, 1);
    for k in 1..s.vertices.len() - 1 {
        let (a, b) = (s.vertices[k - 1], s.vertices[k + 1]);
        let years = s.x[b] - s.x[a];
        let (from, slope) = (s.at[k - 1], (s.at[k + 1] - s.at[k - 1]) / years);
        let squares: f64 = (a..=b).map(|i| (s.line[i] - from - slope * (s.x[i] - s.x[a])).powi(2)).sum();
        if squares / years < least.0 {
            least = (squares / years, k);
        }
    }
    least.1
}

/// Step 4; values at the vertices into the scratch.
fn fit_anchored(s: &mut Scratch) {
    let (x, y) = (&s.x[..], &s.line[..]);
    s.at.clear();
    s.at.extend(s.vertices.iter().map(|&v| y[v]));
    for k in 0..s.vertices.len() - 1 {
        let (a, b) = (s.vertices[k], s.vertices[k + 1]);
        let anchor = s.at[k];
        let (start, slope) = if k == 0 {
            line_of(&x[a..=b], &y[a..=b])
        } else {
            let (mut xy, mut xx) = (0.0, 0.0);
            for i in a..=b {
                let dx = x[i] - x[a];
                xy += dx * (y[i] - anchor);
                xx += dx * dx;
            }
            (anchor, xy / xx)
        };
        let years = x[b] - x[a];
        let straight = (s.at[k + 1] - anchor) / years;
        let (mut by_line, mut by_points) = (0.0, 0.0);
        for i in a..=b {
            let dx = x[i] - x[a];
            by_line += (y[i] - start - slope * dx).powi(2);
            by_points += (y[i] - anchor - straight * dx).powi(2);
        }
        if by_line < by_points {
            s.at[k] = start;
            s.at[k + 1] = start + slope * years;
        }
    }
}

/// Joint least squares of all vertex values: hat functions on the vertices, a tridiagonal system.
fn fit_jointly(s: &mut Scratch) {
    let m = s.vertices.len();
    for buffer in [&mut s.diagonal, &mut s.beside, &mut s.right, &mut s.at] {
        buffer.clear();
        buffer.resize(m, 0.0);
    }
    for k in 0..m - 1 {
        let (a, b) = (s.vertices[k], s.vertices[k + 1]);
        // A vertex shared by two segments is counted in the second.
        let end = if k + 2 == m { b + 1 } else { b };
        for i in a..end {
            let t = (s.x[i] - s.x[a]) / (s.x[b] - s.x[a]);
            s.diagonal[k] += (1.0 - t) * (1.0 - t);
            s.diagonal[k + 1] += t * t;
            s.beside[k] += t * (1.0 - t);
            s.right[k] += (1.0 - t) * s.line[i];
            s.right[k + 1] += t * s.line[i];
        }
    }
    for k in 1..m {
        let f = s.beside[k - 1] / s.diagonal[k - 1];
        s.diagonal[k] -= f * s.beside[k - 1];
        s.right[k] -= f * s.right[k - 1];
    }
    s.at[m - 1] = s.right[m - 1] / s.diagonal[m - 1];
    for k in (0..m - 1).rev() {
        s.at[k] = (s.right[k] - s.beside[k] * s.at[k + 1]) / s.diagonal[k];
    }
}

/// p of the F test of the fit in the scratch, in single precision as the original has it.
fn p_of(s: &Scratch) -> f64 {
    let n = s.x.len() as f64;
    let mean = s.line.iter().sum::<f64>() / n;
    let total: f64 = s.line.iter().map(|v| (v - mean) * (v - mean)).sum();
    let mut residual = 0.0;
    for k in 0..s.vertices.len() - 1 {
        let (a, b) = (s.vertices[k], s.vertices[k + 1]);
        let slope = (s.at[k + 1] - s.at[k]) / (s.x[b] - s.x[a]);
        // A vertex shared by two segments is counted in the second.
        let end = if k + 2 == s.vertices.len() { b + 1 } else { b };
        for i in a..end {
            residual += (s.line[i] - s.at[k] - slope * (s.x[i] - s.x[a])).powi(2);
        }
    }
    let segments = s.vertices.len() - 1;
    let residual = residual.min(total);
    if s.x.len() < 2 * segments + 2 || (total - residual) / (2 * segments) as f64 <= MIN_MEAN_SQUARE {
        return 1.0;
    }
    let p = f_upper_tail(residual / total, segments, s.x.len() - 2 * segments - 1);
    f64::from(1.0 - (1.0 - p) as f32)
}

/// Upper tail of the F distribution with `2 half` and `residual_df` degrees of freedom, where `share` is the residual's part
/// of the total sum of squares: the incomplete beta function `I_share(residual_df / 2, half)`, a finite sum as `half` is whole
/// (Abramowitz and Stegun 26.5.6 by 26.6.2).
fn f_upper_tail(share: f64, half: usize, residual_df: usize) -> f64 {
    let a = residual_df as f64 / 2.0;
    let (mut term, mut sum) = (1.0, 1.0);
    for i in 1..half {
        let i = i as f64;
        term *= (a + i - 1.0) / i * (1.0 - share);
        sum += term;
    }
    (share.powf(a) * sum).min(1.0)
}

/// Fills the fit, in the index's own direction.
fn report(s: &mut Scratch, years: &[i32], values: &[f64], p_value: f64) {
    let fit = &mut s.fit;
    fit.p_value = p_value;
    fit.vertices.clear();
    fit.fitted.clear();
    fit.fitted.resize(values.len(), f64::NAN);
    for (&v, &value) in s.vertices.iter().zip(&s.at) {
        let position = s.position[v];
        fit.vertices.push(Vertex { position, year: years[position], value: -value });
    }
    for w in fit.vertices.windows(2) {
        let (a, b) = (w[0], w[1]);
        let slope = (b.value - a.value) / f64::from(b.year - a.year);
        let span = a.position..=b.position;
        for (fitted, year) in fit.fitted[span.clone()].iter_mut().zip(&years[span]) {
            *fitted = a.value + slope * f64::from(year - a.year);
        }
        fit.fitted[b.position] = b.value;
    }
    let squares: f64 = s.position.iter().map(|&i| (values[i] - fit.fitted[i]).powi(2)).sum();
    fit.rmse = (squares / (s.position.len() - fit.vertices.len()) as f64).sqrt();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(params: &Params, values: &[f64]) -> Result<Fit, Unjudged> {
        let years: Vec<i32> = (2000..).take(values.len()).collect();
        segment(params, &years, values, &mut Scratch::default()).cloned()
    }

    /// A stable forest, felled between 2007 and 2008, growing back slowly.
    const FELLED: [f64; 16] =
        [0.80, 0.82, 0.79, 0.81, 0.80, 0.82, 0.80, 0.81, 0.31, 0.34, 0.35, 0.38, 0.40, 0.41, 0.45, 0.46];

    #[test]
    fn upper_tail_of_f_known_values() {
        // 95 % points of F(2, 10), F(4, 12) and F(6, 7) from tables, 4.103, 3.259 and 3.866.
        for (f, df1, df2) in [(4.1028, 2, 10), (3.2592, 4, 12), (3.8660, 6, 7)] {
            let share = f64::from(df2) / (f64::from(df2) + f64::from(df1) * f);
            let p = f_upper_tail(share, df1 as usize / 2, df2 as usize);
            assert!((p - 0.05).abs() < 1e-5, "F({df1}, {df2}): {p}");
        }
        assert_eq!((f_upper_tail(1.0, 3, 5), f_upper_tail(0.0, 3, 5)), (1.0, 0.0));
    }

    #[test]
    fn a_felling_is_one_segment_of_one_year_with_its_size() {
        let fit = fit(&Params::new("nbr", 0.1), &FELLED).expect("fit");
        let loss: Vec<Segment> = fit.segments().filter(|s| s.magnitude() < -0.1).collect();
        assert_eq!(loss.len(), 1);
        let loss = loss[0];
        assert_eq!((loss.start.year, loss.end.year, loss.duration_years()), (2007, 2008, 1));
        assert!((loss.magnitude() + 0.496).abs() < 0.01 && loss.rate() == loss.magnitude());
        assert!((loss.value_before() - 0.806).abs() < 0.01);
        assert!(fit.p_value < 1e-6 && fit.rmse < 0.02);
        // The chain is what its vertices say.
        assert_eq!(fit.fitted[8], loss.end.value);
        // The index turned round is a gain, not a loss.
        let gain: Vec<f64> = FELLED.iter().map(|v| -v).collect();
        let fit = self::fit(&Params { recovery_threshold: 1.0, ..Params::new("nbr", 0.1) }, &gain).expect("fit");
        assert!(fit.segments().all(|s| s.magnitude() > -0.2));
    }

    #[test]
    fn a_lone_spike_is_no_loss() {
        let mut values: Vec<f64> = (0..16).map(|i| 0.8 + 0.01 * f64::from(i % 3)).collect();
        values[7] = 0.2;
        let fit = fit(&Params::new("nbr", 0.1), &values).expect("fit");
        assert!(fit.segments().all(|s| s.magnitude().abs() < 0.1), "{:?}", fit.vertices);
        assert!((fit.fitted[7] - 0.81).abs() < 0.02);
        let dip = Params { spike_threshold: 1.0, recovery_threshold: 1.0, ..Params::new("nbr", 0.1) };
        assert!(self::fit(&dip, &values).expect("fit").segments().any(|s| s.magnitude() < -0.5));
        // The same dip, when recovery within one year is forbidden.
        let dip = Params { prevent_one_year_recovery: true, ..dip };
        let fit = self::fit(&dip, &values).expect("fit");
        assert!(fit.segments().all(|s| s.magnitude() <= 0.0 || s.duration_years() > 1), "{:?}", fit.vertices);
    }

    #[test]
    fn years_without_a_value_take_no_part() {
        let p = Params::new("nbr", 0.1);
        let mut gaps = FELLED.to_vec();
        gaps.splice(3..3, [f64::NAN, f64::INFINITY]);
        gaps.insert(0, f64::NAN);
        gaps.push(f64::NEG_INFINITY);
        let gappy = fit(&p, &gaps).expect("fit");
        assert!(gappy.fitted[0].is_nan() && gappy.fitted[19].is_nan());
        assert!(gappy.fitted[4].is_finite(), "a gap within is bridged");
        assert_eq!(gappy.vertices[0].position, 1);
        assert!(gappy.segments().any(|s| (s.start.year, s.end.year) == (2010, 2011) && s.magnitude() < -0.4));
    }

    #[test]
    fn what_cannot_be_judged_says_why() {
        let p = Params::new("nbr", 0.1);
        assert_eq!(fit(&p, &[0.8; 12]).expect_err("constant"), Unjudged::ConstantHistory);
        assert_eq!(fit(&p, &FELLED[..5]).expect_err("short"), Unjudged::TooFewObservations);
        assert_eq!(fit(&p, &[]).expect_err("empty"), Unjudged::TooFewObservations);
        assert_eq!(fit(&p, &[f64::NAN; 30]).expect_err("null"), Unjudged::TooFewObservations);
        let mut s = Scratch::default();
        for years in [vec![2000; 16], (0..16).map(|i| 2000 - i).collect()] {
            assert_eq!(segment(&p, &years, &FELLED, &mut s).expect_err("years"), Unjudged::SingularDesign);
        }
        assert_eq!(Model::new(&p, &[]).expect_err("no day"), Unjudged::TooFewObservations);
    }

    #[test]
    fn extreme_values_neither_panic_nor_leave_nan() {
        let p = Params::new("nbr", 0.1);
        for scale in [1e-300, 1e-30, 1e30, 1e150] {
            let values: Vec<f64> = FELLED.iter().map(|v| v * scale).collect();
            let fit = fit(&p, &values).expect("fit");
            assert!(fit.vertices.iter().all(|v| v.value.is_finite()), "{scale}");
        }
        for n in 6..12 {
            let step: Vec<f64> = (0..n).map(|i| if i < n / 2 { 0.8 } else { 0.2 }).collect();
            assert!(fit(&p, &step).expect("fit").rmse.is_finite());
        }
    }

    #[test]
    fn breaks_carry_the_observations_around_the_loss() {
        // Three observations a year: before the season, and two within.
        let mut days = Vec::new();
        let mut index = Vec::new();
        let epoch = jiff::civil::date(1970, 1, 1);
        for (i, v) in FELLED.iter().enumerate() {
            for (month, day, value) in [(3, 1, -9.0), (7, 1, v - 0.01), (8, 1, v + 0.01)] {
                days.push((jiff::civil::date(2000 + i as i16, month, day) - epoch).get_days());
                index.push(value);
            }
        }
        let p = Params::new("nbr", 0.1);
        let model = Model::new(&p, &days).expect("model");
        let (mut s, mut out) = (Scratch::default(), vec![]);
        model.detect(&index, &[], &mut s, &mut out).expect("judged");
        assert_eq!(out.len(), 1);
        let b = out[0];
        assert_eq!((b.before, b.after, b.detected), (7 * 3 + 2, 8 * 3 + 1, 47));
        assert_eq!(b.break_day, f64::from((jiff::civil::date(2008, 6, 10) - epoch).get_days()));
        assert!((b.magnitude + 0.496).abs() < 0.01 && b.probability > 0.999);
        // No season in 2008, and the last observation of 2007 under cloud: wider bounds, not other ones.
        index[25] = f64::NAN;
        index[26] = f64::NAN;
        index[23] = f64::NAN;
        model.detect(&index, &[], &mut s, &mut out).expect("judged");
        assert_eq!((out[0].before, out[0].after), (7 * 3 + 1, 9 * 3 + 1));
        // A buffer used before gives what a fresh one gives.
        let again = out.clone();
        model.detect(&index, &[], &mut Scratch::default(), &mut out).expect("judged");
        assert_eq!(out, again);
        // A fall below the smallest that counts is none.
        let model = Model::new(&Params::new("nbr", 0.6), &days).expect("model");
        model.detect(&index, &[], &mut s, &mut out).expect("judged");
        assert!(out.is_empty());
        // One band as its own medoid: of two observations a year the earlier.
        let medoid = Params { composite: Composite::Medoid, medoid_bands: vec!["nir".into()], ..p };
        Model::new(&medoid, &days).expect("model").detect(&index, &[&index], &mut s, &mut out).expect("judged");
        assert_eq!((out[0].before, out[0].after), (7 * 3 + 1, 9 * 3 + 1));
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        let good = Params::new("nbr", 0.1);
        assert_eq!(good.validate(), Ok(()));
        let read: Params = serde_json::from_str(r#"{"index": "nbr", "min_magnitude": 0.1}"#).expect("params");
        assert_eq!(read, good);
        assert!(serde_json::from_str::<Params>(r#"{"index": "nbr", "min_magnitude": 0.1, "max_segment": 3}"#).is_err());
        let wrong: [(&str, Params); 8] = [
            ("index", Params::new("", 0.1)),
            ("min_magnitude", Params::new("nbr", f64::NAN)),
            ("medoid_bands", Params { composite: Composite::Medoid, ..good.clone() }),
            ("max_segments", Params { max_segments: 0, ..good.clone() }),
            ("spike_threshold", Params { spike_threshold: 1.5, ..good.clone() }),
            ("recovery_threshold", Params { recovery_threshold: 0.0, ..good.clone() }),
            ("pval_threshold", Params { pval_threshold: f64::NAN, ..good.clone() }),
            ("min_observations_needed", Params { min_observations_needed: 2, ..good.clone() }),
        ];
        for (field, params) in wrong {
            assert_eq!(params.validate().expect_err(field).0, field);
        }
    }
}
