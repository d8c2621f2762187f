//! Continuous change detection: a seasonal model per band, carried on until several observations in a row leave it.
//!
//! Zhu and Woodcock 2014, Remote Sensing of Environment 144:152-171, with the screening of Zhu and Woodcock 2014, Remote
//! Sensing of Environment 152:217-234 (T-mask), and the parameters and the order of steps of the USGS implementation for
//! LCMAP (lcmap-pyccd 2021.7.19, public domain; Brown et al. 2020, Remote Sensing of Environment 238:111356), to which the
//! results are held equal.
//!
//! # Model
//! Per band, with t in days since 0001-01-01 = 1 and w = 2 pi / 365.2425,
//! `y(t) = a0 + a1 t + a2 cos wt + a3 sin wt + a4 cos 2wt + a5 sin 2wt + a6 cos 3wt + a7 sin 3wt`, cut to 4 (6, 8)
//! coefficients below 18 (24) observations. The fit minimises `|y - Xa|^2 / (2n) + alpha (|a1| + .. + |a7|)` (LASSO) with
//! alpha = 1 on reflectance x 10000: values come in as 0..1 and are scaled, since the penalty depends on the scale. RMSE
//! has n minus the number of coefficients in its denominator.
//!
//! # Steps
//! 1. An observation counts where every band is finite and within 0..1 (both excluded); of equal days the first one.
//! 2. `v`: per band the median of |difference| of observations a lag apart, the lag being the first one whose most common
//!    distance is more than 30 days, over pairs more than 30 days apart; lag 1 where no lag is that long.
//! 3. Where dates lie closer than 16 days (median), the number of observations in a row grows from 6 to 6 x 16 / distance,
//!    and the probability of the limit falls to `1 - 0.01^(6 / number)`.
//! 4. Start: a window of 12 observations and 365 days at least. T-mask takes out what is more than 4.89 v from a robust fit
//!    (bisquare, 5 rounds) in green or SWIR1. The window is stable if the sum over bands of
//!    `((|a1 (t_last - t_first)| + |first residual| + |last residual|) / max(v, RMSE))^2` is below the chi-square quantile
//!    0.99; otherwise it moves on by one.
//! 5. Backwards over what the start passed by, with the same tests as forwards.
//! 6. Forwards: the sum over bands of `(residual / max(v, RMSE))^2` of each of the next observations in a row above the
//!    quantile is a break; the first one alone above the quantile 1 - 1e-6 is an outlier and goes. From 25 observations on,
//!    RMSE is that of the 24 residuals nearest in the season (8 degrees of freedom less). The model is fitted anew at each
//!    observation below 24, then when its span has grown by a third.
//! 7. What is left before the first model and after the last one gets a model of 4 coefficients (`curve_qa` 14 and 24).
//!
//! # How equal
//! The LASSO solver is cyclic coordinate descent from zero with the stopping rule of scikit-learn 1.2 (tolerance 1e-4 of the
//! duality gap, 1000 rounds at most), which stops short of the minimum: another solver would give other coefficients. This one
//! takes the same rounds, on X'X and X'y instead of residuals and for all bands at once, so that results differ by rounding
//! alone. On 2841 series (2500 pixels of a Sentinel-2 stack, 5 of Landsat, 336 simulated) days, counts and codes of all
//! segments are equal but for (a), and so are coefficients, RMSE and magnitudes: they differ by 5e-13 of the RMSE in the
//! median and by 3e-11 at most; a test prints the distribution. Two places are not determined by the rules: (a) a T-mask
//! window of exactly 365 days, in which its two cycles are one and the same: the reference inverts a singular matrix, and
//! its leverages are rounding noise. Here the second cycle drops out. 14 of those 2500 pixels come out otherwise for that (13
//! with other days or counts of segments, one with other coefficients alone), none with another break; with the leverages of
//! the distinct columns put into the reference, these 14 are equal, too. (b) Of observations equally near in the season the
//! earliest come first here; there a sorting algorithm decides.
//!
//! # Not here
//! The procedures for permanent snow and for too few clear observations choose by classes of pixels; values that come here are
//! clear already, so the standard procedure is the only one. The median filter on green that belongs to the latter can be
//! switched on (`green_above_median`). Statistics are taken over all dates, not over those before 2018.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{PixelBreak, Unjudged, Want};
use crate::imagery::Band;
use crate::index::{self, IndexSpec};

/// Reflectance to the unit in which the LASSO penalty is 1.
const SCALE: f64 = 10_000.0;
/// Days since 0001-01-01 = 1 of 1970-01-01: phases of the harmonics are counted from there.
const ORDINAL_1970: i32 = 719_163;
const DAYS_PER_YEAR: f64 = 365.2425;
/// Length of the year in the search for the nearest season.
const DAYS_PER_SEASON_YEAR: f64 = 365.25;
const LASSO_ALPHA: f64 = 1.0;
const LASSO_TOLERANCE: f64 = 1e-4;
const LASSO_ROUNDS: usize = 1000;
/// Observations per coefficient.
const OBSERVATIONS_PER_COEFFICIENT: usize = 3;
/// Below this number of observations each new one means a new fit; residuals that make the seasonal RMSE.
const WELL_FITTED: usize = 24;
/// Growth of the span that means a new fit.
const REFIT_GROWTH: f64 = 1.33;
/// Distance of dates for which the number of observations in a row was made.
const USUAL_DISTANCE_DAYS: f64 = 16.0;
/// Shortest distance of dates in the variogram: nearer ones are alike because they are near.
const VARIOGRAM_DAYS: i32 = 30;
const BISQUARE: f64 = 4.685;
const MAD_TO_SIGMA: f64 = 0.6745;
/// Weighted fits of the T-mask.
const ROBUST_ROUNDS: usize = 4;
const ROBUST_TOLERANCE: f64 = 1e-8;
/// Residuals that the robust scale leaves out: the fit has put them near zero.
const ROBUST_SKIP: usize = 4;
/// A pivot smaller than this share of its diagonal is none: the column is a copy of others.
const SMALLEST_PIVOT: f64 = 1e-11;
/// Coefficients without the intercept.
const TERMS: usize = 7;
/// Bands at most.
pub const MAX_BANDS: usize = 8;

/// Bands of an index at most.
const INDEX_BANDS: usize = 3;

/// `curve_qa` of what lies before the first model.
pub const CURVE_START: u8 = 14;
/// `curve_qa` of what lies after the last model.
pub const CURVE_END: u8 = 24;

/// `[change.ccdc]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Index whose change is reported as magnitude: one of the index table that `bands` allow, or one of `bands`.
    pub index: String,
    /// Bands in which change is looked for, at most [`MAX_BANDS`].
    pub bands: Vec<String>,
    /// Bands of the T-mask, among `bands`; none: no T-mask.
    pub tmask_bands: Vec<String>,
    /// Observations of the first window at least.
    pub min_observations: usize,
    /// Days of the first window at least.
    pub min_days: i32,
    /// Observations in a row that make a break.
    pub consecutive: usize,
    /// Whether denser dates ask for more observations in a row.
    pub adjust_consecutive: bool,
    /// Chi-square probability above which an observation has left the model.
    pub change_probability: f64,
    /// Chi-square probability above which a single observation is an outlier.
    pub outlier_probability: f64,
    /// Distance from the robust fit, in units of the variogram, that the T-mask allows.
    pub tmask_factor: f64,
    /// Leaves out observations with green at least this much (reflectance) above the median of green.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub green_above_median: Option<f64>,
}

impl Default for Params {
    fn default() -> Self {
        let names = |list: &[&str]| list.iter().map(|b| (*b).to_owned()).collect();
        Params {
            index: "nbr".into(),
            bands: names(&["green", "red", "nir", "swir1", "swir2"]),
            tmask_bands: names(&["green", "swir1"]),
            min_observations: 12,
            min_days: 365,
            consecutive: 6,
            adjust_consecutive: true,
            change_probability: 0.99,
            outlier_probability: 1.0 - 1e-6,
            tmask_factor: 4.89,
            green_above_median: None,
        }
    }
}

impl Params {
    /// Field, what was found, what is expected.
    ///
    /// # Errors
    /// Bands that are missing, double or too many; an index that the bands do not allow; numbers without a meaning.
    pub fn validate(&self) -> Result<(), (&'static str, String, &'static str)> {
        if self.bands.is_empty() || self.bands.len() > MAX_BANDS {
            return Err(("bands", self.bands.len().to_string(), "1 to 8 bands"));
        }
        if let Some((_, b)) = self.bands.iter().enumerate().find(|(i, b)| self.bands[..*i].contains(b)) {
            return Err(("bands", b.clone(), "each band once"));
        }
        if let Some(b) = self.bands.iter().find(|b| Band::of_name(b).is_none() && index::by_id(b).is_none()) {
            return Err(("bands", b.clone(), "names of bands, as green or swir1"));
        }
        if let Some(b) = self.tmask_bands.iter().find(|b| !self.bands.contains(b)) {
            return Err(("tmask_bands", b.clone(), "names out of `bands`; an empty list to do without the T-mask"));
        }
        if Reported::of(&self.index, &self.bands).is_none() {
            let expected = "an index all of whose bands are in `bands`, or one of `bands`";
            return Err(("index", self.index.clone(), expected));
        }
        if self.min_observations < 6 {
            return Err(("min_observations", self.min_observations.to_string(), "6 or more"));
        }
        if self.min_days < 1 {
            return Err(("min_days", self.min_days.to_string(), "1 or more days"));
        }
        if !(2..=100).contains(&self.consecutive) {
            return Err(("consecutive", self.consecutive.to_string(), "2 to 100"));
        }
        let probability = |p: f64| p > 0.0 && p < 1.0;
        if !probability(self.change_probability) {
            return Err(("change_probability", self.change_probability.to_string(), "a number between 0 and 1"));
        }
        if !(probability(self.outlier_probability) && self.outlier_probability >= self.change_probability) {
            let expected = "a number below 1, at least `change_probability`";
            return Err(("outlier_probability", self.outlier_probability.to_string(), expected));
        }
        if !(self.tmask_factor > 0.0 && self.tmask_factor.is_finite()) {
            return Err(("tmask_factor", self.tmask_factor.to_string(), "a number above 0"));
        }
        if let Some(g) = self.green_above_median {
            if !(g > 0.0 && g.is_finite()) {
                return Err(("green_above_median", g.to_string(), "a reflectance above 0"));
            }
            if !self.bands.iter().any(|b| b == "green") {
                return Err(("green_above_median", g.to_string(), "no value where `bands` has no green"));
            }
        }
        Ok(())
    }

    /// Layers of the stack that the method reads.
    pub fn wants(&self) -> Vec<Want> {
        self.bands.iter().map(|b| Band::of_name(b).map_or_else(|| Want::Index(b.clone()), Want::Band)).collect()
    }
}

/// What the magnitude of a break is measured in.
#[derive(Clone)]
enum Reported {
    /// A band, by position.
    Band(usize),
    /// An index, with the positions of its bands.
    Index(&'static IndexSpec, Vec<usize>),
}

impl Reported {
    fn of(name: &str, bands: &[String]) -> Option<Self> {
        if let Some(at) = bands.iter().position(|b| b == name) {
            return Some(Reported::Band(at));
        }
        let spec = index::by_id(name)?;
        let known: Vec<Option<Band>> = bands.iter().map(|b| Band::of_name(b)).collect();
        // The table's near infrared is that of the grid, broad or narrow.
        let place = |band: Band| {
            let of = |wanted: Band| known.iter().position(|k| *k == Some(wanted));
            of(band).or_else(|| if band == Band::Nir { of(Band::NirBroad) } else { None })
        };
        let places: Vec<usize> = spec.bands.iter().map(|b| place(*b)).collect::<Option<_>>()?;
        (places.len() <= INDEX_BANDS).then_some(Reported::Index(spec, places))
    }
}

/// Model of one band in one segment, in reflectance; t is the day since 0001-01-01 = 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BandFit {
    /// Median of |observed - predicted| over the observations in a row after the segment; 0 where nothing was tested.
    pub magnitude: f64,
    /// Root mean square error, by degrees of freedom.
    pub rmse: f64,
    /// a0.
    pub intercept: f64,
    /// a1 (a day) to a7; 0 beyond the number of coefficients.
    pub coefficients: [f64; TERMS],
}

/// A stretch of time with one model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Segment {
    /// Position of its first observation.
    pub start: usize,
    /// Position of its last observation.
    pub end: usize,
    /// Position of the first observation after the break; the last one of the segment where there is no break.
    pub after: usize,
    /// Observations of the segment.
    pub observations: usize,
    /// 1 where the segment ends with a break, otherwise 0.
    pub change_probability: f64,
    /// 4, 6, 8: coefficients; [`CURVE_START`], [`CURVE_END`]: a plain fit where no stable model was found.
    pub curve_qa: u8,
    bands: usize,
    fits: [BandFit; MAX_BANDS],
}

impl Segment {
    /// Models in the order of `bands`.
    pub fn fits(&self) -> &[BandFit] {
        &self.fits[..self.bands]
    }

    /// Predicted reflectance of a band on a day since 1970-01-01. `None`: no such band.
    pub fn predict(&self, band: usize, day: i32) -> Option<f64> {
        let fit = self.fits().get(band)?;
        let terms = terms(day);
        Some(fit.intercept + fit.coefficients.iter().zip(&terms).map(|(a, x)| a * x).sum::<f64>())
    }
}

/// Columns of the design of a day since 1970-01-01, without the intercept.
fn terms(day: i32) -> [f64; TERMS] {
    let t = f64::from(day) + f64::from(ORDINAL_1970);
    let angle = std::f64::consts::TAU / DAYS_PER_YEAR * t;
    let (s1, c1) = angle.sin_cos();
    let (s2, c2) = (2.0 * angle).sin_cos();
    let (s3, c3) = (3.0 * angle).sin_cos();
    [t, c1, s1, c2, s2, c3, s3]
}

/// What depends on the days alone.
pub struct Model {
    params: Params,
    days: Vec<i32>,
    reported: Reported,
    tmask: Vec<usize>,
    green: Option<usize>,
    /// Terms of each day; time counted from `origin`, so that sums of squares keep their digits.
    design: Vec<[f64; TERMS]>,
    origin: f64,
    /// T-mask: cosine and sine of the cycle over 1, 2, .. years, each for all days.
    cycles: Vec<[f64; 2]>,
    /// For each day the earlier ones, nearest in the season first; row j begins at j (j - 1) / 2.
    near: Vec<u16>,
    /// Chi-square limits for `consecutive`, `consecutive` + 1, .. observations in a row.
    limits: Vec<f64>,
    outlier_limit: f64,
}

/// Buffers of [`Model::detect`], reused from pixel to pixel.
#[derive(Default)]
pub struct Scratch {
    kept: Vec<u16>,
    values: Vec<f64>,
    residuals: Vec<f64>,
    in_fit: Vec<bool>,
    outlier: Vec<bool>,
    counts: Vec<u32>,
    keys: Vec<u64>,
    distances: Vec<i32>,
    rows: Vec<RobustRow>,
    peeked: Vec<u16>,
    compared: Compared,
    segments: Vec<Segment>,
    breaks: Vec<PixelBreak>,
}

/// Bands and index of the observations after a break, as observed and as predicted.
#[derive(Default)]
struct Compared {
    observed: [Vec<f64>; INDEX_BANDS],
    predicted: [Vec<f64>; INDEX_BANDS],
    after: Vec<f64>,
    before: Vec<f64>,
}

/// An observation of the robust fit of two bands.
#[derive(Clone, Copy)]
struct RobustRow {
    x: [f64; 5],
    y: [f64; 2],
    /// 1 / sqrt(1 - leverage).
    adjust: f64,
}

impl Model {
    /// Prepares the days of a stack.
    ///
    /// # Errors
    /// Field, what was found, what is expected: what [`Params::validate`] refuses; days that descend, or more than 65535.
    pub fn new(params: &Params, days: &[i32]) -> Result<Model, (&'static str, String, &'static str)> {
        params.validate()?;
        if let Some(w) = days.windows(2).find(|w| w[0] > w[1]) {
            return Err(("days", format!("{} before {}", w[0], w[1]), "ascending days"));
        }
        if days.len() > usize::from(u16::MAX) {
            return Err(("days", days.len().to_string(), "at most 65535 observations"));
        }
        let Some(reported) = Reported::of(&params.index, &params.bands) else {
            return Err(("index", params.index.clone(), "an index that `bands` allow"));
        };
        let (first, last) = (days.first().copied().unwrap_or(0), days.last().copied().unwrap_or(0));
        let origin = (f64::from(first) + f64::from(last)) / 2.0 + f64::from(ORDINAL_1970);
        let design = days
            .iter()
            .map(|d| {
                let mut x = terms(*d);
                x[0] -= origin;
                x
            })
            .collect();
        let years = ((f64::from(last) - f64::from(first)) / DAYS_PER_YEAR).ceil().max(1.0) as usize;
        let mut cycles = Vec::with_capacity(years * days.len());
        for cycle in 1..=years {
            let w = std::f64::consts::TAU / DAYS_PER_YEAR / cycle as f64;
            cycles.extend(days.iter().map(|d| {
                let (s, c) = (w * (f64::from(*d) + f64::from(ORDINAL_1970))).sin_cos();
                [c, s]
            }));
        }
        let mut near: Vec<u16> = Vec::with_capacity(days.len() * days.len().saturating_sub(1) / 2);
        let mut row: Vec<(f64, u16)> = Vec::new();
        for (j, day) in days.iter().enumerate() {
            row.clear();
            row.extend(days[..j].iter().zip(0_u16..).map(|(d, i)| {
                let distance = f64::from(*d) - f64::from(*day);
                let years = (distance / DAYS_PER_SEASON_YEAR).round_ties_even();
                ((years * DAYS_PER_SEASON_YEAR - distance).abs(), i)
            }));
            row.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            near.extend(row.iter().map(|(_, i)| *i));
        }
        let bands = params.bands.len();
        // Distances of days are 1 at least.
        let most = if params.adjust_consecutive { params.consecutive * USUAL_DISTANCE_DAYS as usize } else { 0 };
        let limits = (params.consecutive..=most.max(params.consecutive))
            .map(|number| {
                let power = params.consecutive as f64 / number as f64;
                chi_square_quantile(1.0 - (1.0 - params.change_probability).powf(power), bands)
            })
            .collect();
        let place = |name: &str| params.bands.iter().position(|b| b == name);
        Ok(Model {
            tmask: params.tmask_bands.iter().filter_map(|b| place(b)).collect(),
            green: place("green"),
            outlier_limit: chi_square_quantile(params.outlier_probability, bands),
            params: params.clone(),
            days: days.to_vec(),
            reported,
            design,
            origin,
            cycles,
            near,
            limits,
        })
    }

    /// Breaks of one pixel: `values` is one slice of reflectance a band, in the order of `bands`, each as long as `days`.
    /// `out` is cleared, then filled.
    ///
    /// `before`, `after` and `detected` are the last observation of a segment, the first and the last of the observations in
    /// a row after it; `break_day` is the day of `after`. `magnitude` is the median over these observations of the index as
    /// observed less the index as predicted (prediction cut to 0.0001..0.9999); NaN where the index has no value on any of
    /// them. `probability` is the chi-square probability of the one among them that is least far from the model.
    ///
    /// # Errors
    /// Too few observations, one day or less than `min_days` among them, a band that never changes, or no stable start.
    pub fn detect(&self, values: &[&[f64]], scratch: &mut Scratch, out: &mut Vec<PixelBreak>) -> Result<(), Unjudged> {
        out.clear();
        self.segments(values, scratch)?;
        if scratch.segments.iter().all(|s| s.curve_qa == CURVE_START || s.curve_qa == CURVE_END) {
            let span = match (scratch.kept.first(), scratch.kept.last()) {
                (Some(a), Some(b)) => self.day(*b) - self.day(*a),
                _ => 0,
            };
            return Err(if span < self.params.min_days { Unjudged::SingularDesign } else { Unjudged::NoStableHistory });
        }
        out.extend_from_slice(&scratch.breaks);
        Ok(())
    }

    /// Segments of one pixel, by time; `values` as for [`Model::detect`]. Where no stable start is found, there is one segment
    /// with [`CURVE_END`] at most.
    ///
    /// # Errors
    /// Too few observations, one day, or a band that never changes.
    pub fn segments<'s>(&self, values: &[&[f64]], scratch: &'s mut Scratch) -> Result<&'s [Segment], Unjudged> {
        scratch.segments.clear();
        scratch.breaks.clear();
        scratch.kept.clear();
        if values.len() != self.params.bands.len() || values.iter().any(|v| v.len() != self.days.len()) {
            // Nothing was observed in a band that is not there.
            return Err(Unjudged::TooFewObservations);
        }
        match values.len() {
            1 | 2 => self.pixel::<2>(values, scratch)?,
            3 | 4 => self.pixel::<4>(values, scratch)?,
            5 | 6 => self.pixel::<6>(values, scratch)?,
            _ => self.pixel::<8>(values, scratch)?,
        }
        Ok(&scratch.segments)
    }

    fn day(&self, at: u16) -> i32 {
        self.days[usize::from(at)]
    }

    /// Step 1, and the frame of the others. `L` is the number of bands, rounded up to even: bands are computed side by side.
    fn pixel<const L: usize>(&self, values: &[&[f64]], scratch: &mut Scratch) -> Result<(), Unjudged> {
        let Scratch { kept, values: flat, residuals, in_fit, outlier, .. } = scratch;
        let n = self.days.len();
        flat.clear();
        flat.resize(n * L, 0.0);
        let rows = flat.as_chunks_mut::<L>().0;
        for (i, row) in rows.iter_mut().enumerate() {
            let mut valid = true;
            for (cell, band) in row.iter_mut().zip(values) {
                *cell = band[i] * SCALE;
                valid &= *cell > 0.0 && *cell < SCALE;
            }
            if valid {
                kept.push(i as u16);
            }
        }
        if let (Some(above), Some(green)) = (self.params.green_above_median, self.green) {
            scratch.keys.clear();
            scratch.keys.extend(kept.iter().map(|i| rows[usize::from(*i)][green].to_bits()));
            if let Some(median) = median_of_keys(&mut scratch.keys, 0) {
                kept.retain(|i| rows[usize::from(*i)][green] < median + above * SCALE);
            }
        }
        let with_equal_days = kept.len();
        kept.dedup_by_key(|i| self.days[usize::from(*i)]);
        if kept.len() <= self.params.min_observations {
            let equal = with_equal_days > self.params.min_observations;
            return Err(if equal { Unjudged::SingularDesign } else { Unjudged::TooFewObservations });
        }
        let first = rows[usize::from(kept[0])];
        if (0..values.len()).any(|b| kept.iter().all(|i| rows[usize::from(*i)][b] == first[b])) {
            return Err(Unjudged::ConstantHistory);
        }
        residuals.clear();
        residuals.resize(n * L, 0.0);
        in_fit.clear();
        in_fit.resize(n, false);
        outlier.clear();
        outlier.resize(n, false);
        let mut pixel = Pixel::<L> {
            model: self,
            bands: values.len(),
            kept,
            values: flat.as_chunks::<L>().0,
            residuals: residuals.as_chunks_mut::<L>().0,
            in_fit,
            outlier,
            counts: &mut scratch.counts,
            keys: &mut scratch.keys,
            distances: &mut scratch.distances,
            rows: &mut scratch.rows,
            peeked: &mut scratch.peeked,
            compared: &mut scratch.compared,
            segments: &mut scratch.segments,
            breaks: &mut scratch.breaks,
            variogram: [f64::INFINITY; L],
            peek: self.params.consecutive,
            limit: 0.0,
        };
        pixel.run();
        Ok(())
    }
}

/// A fitted model of all bands; time counted from the origin of the design.
#[derive(Clone, Copy)]
struct Fit<const L: usize> {
    intercept: [f64; L],
    slopes: [[f64; L]; TERMS],
    rmse: [f64; L],
}

impl<const L: usize> Fit<L> {
    fn predict(&self, x: &[f64; TERMS]) -> [f64; L] {
        let mut y = self.intercept;
        for (slope, x) in self.slopes.iter().zip(x) {
            for (y, s) in y.iter_mut().zip(slope) {
                *y += s * x;
            }
        }
        y
    }
}

/// One pixel under way. Windows are ranges of `kept`, which shrinks as outliers go.
struct Pixel<'a, const L: usize> {
    model: &'a Model,
    bands: usize,
    /// Positions of the observations that still count.
    kept: &'a mut Vec<u16>,
    /// By position; lanes beyond the bands are 0.
    values: &'a [[f64; L]],
    /// Of the last fit, by position.
    residuals: &'a mut [[f64; L]],
    /// Positions that the last forward fit was made of.
    in_fit: &'a mut [bool],
    /// Positions that the T-mask marks.
    outlier: &'a mut [bool],
    counts: &'a mut Vec<u32>,
    keys: &'a mut Vec<u64>,
    distances: &'a mut Vec<i32>,
    rows: &'a mut Vec<RobustRow>,
    peeked: &'a mut Vec<u16>,
    compared: &'a mut Compared,
    segments: &'a mut Vec<Segment>,
    breaks: &'a mut Vec<PixelBreak>,
    /// Infinite in lanes beyond the bands, so that these add nothing.
    variogram: [f64; L],
    peek: usize,
    limit: f64,
}

impl<const L: usize> Pixel<'_, L> {
    fn day(&self, at: usize) -> i32 {
        self.model.day(self.kept[at])
    }

    fn span(&self, window: &Range<usize>) -> i32 {
        self.day(window.end - 1) - self.day(window.start)
    }

    fn run(&mut self) {
        self.statistics();
        let least = self.model.params.min_observations;
        let mut window = 0..least;
        let mut previous_end = 0;
        while window.end + least <= self.kept.len() {
            let Some(fit) = self.start(&mut window) else { break };
            if window.start > previous_end {
                self.back(&mut window, &fit, previous_end);
            }
            if window.start - previous_end > self.peek && self.segments.is_empty() {
                self.plain(previous_end..window.start, CURVE_START);
            }
            if window.end + self.peek > self.kept.len() {
                break;
            }
            self.forward(&mut window);
            previous_end = window.end;
            window = window.end..window.end + least;
        }
        if previous_end + self.peek < self.kept.len() {
            self.plain(previous_end..self.kept.len(), CURVE_END);
        }
    }

    /// Steps 2 and 3.
    fn statistics(&mut self) {
        let params = &self.model.params;
        self.distances.clear();
        self.distances.extend(self.kept.windows(2).map(|w| self.model.day(w[1]) - self.model.day(w[0])));
        if params.adjust_consecutive {
            let half = self.distances.len() / 2;
            let even = self.distances.len().is_multiple_of(2);
            let (below, middle, _) = self.distances.select_nth_unstable(half);
            let upper = f64::from(*middle);
            let median = if even { (upper + f64::from(below.iter().copied().max().unwrap_or(0))) / 2.0 } else { upper };
            let number = (params.consecutive as f64 * USUAL_DISTANCE_DAYS / (median + 0.001)).round_ties_even();
            self.peek = params.consecutive.max(number as usize);
        }
        // The table ends where distances of one day end.
        let last = self.model.limits.len() - 1;
        self.limit = self.model.limits[(self.peek - params.consecutive).min(last)];

        let lag = (1..self.kept.len()).find(|lag| self.commonest_distance(*lag) > VARIOGRAM_DAYS);
        let (lag, nearest) = lag.map_or((1, i32::MIN), |lag| (lag, VARIOGRAM_DAYS));
        for band in 0..self.bands {
            self.keys.clear();
            for (a, b) in self.kept.iter().zip(&self.kept[lag..]) {
                if self.model.day(*b) - self.model.day(*a) > nearest {
                    let difference = self.values[usize::from(*b)][band] - self.values[usize::from(*a)][band];
                    self.keys.push(difference.abs().to_bits());
                }
            }
            self.variogram[band] = median_of_keys(self.keys, 0).unwrap_or(0.0);
        }
    }

    /// The most common distance of observations a lag apart; the shortest of equally common ones.
    fn commonest_distance(&mut self, lag: usize) -> i32 {
        let pairs = || self.kept.iter().zip(&self.kept[lag..]).map(|(a, b)| self.model.day(*b) - self.model.day(*a));
        let span = self.model.day(self.kept[self.kept.len() - 1]) - self.model.day(self.kept[0]);
        if self.counts.len() <= span as usize {
            self.counts.resize(span as usize + 1, 0);
        }
        let mut best = (0, 0);
        for d in pairs() {
            let count = self.counts[d as usize] + 1;
            self.counts[d as usize] = count;
            if count > best.0 || (count == best.0 && d < best.1) {
                best = (count, d);
            }
        }
        for d in pairs() {
            self.counts[d as usize] = 0;
        }
        best.1
    }

    /// Step 4: moves the window to a stable start.
    fn start(&mut self, window: &mut Range<usize>) -> Option<Fit<L>> {
        let params = &self.model.params;
        while window.end + params.min_observations < self.kept.len() {
            if self.span(window) < params.min_days {
                window.end += 1;
                continue;
            }
            let marked = self.tmask(window);
            let left = || self.kept[window.clone()].iter().filter(|i| !self.outlier[usize::from(**i)]);
            let span = match (left().next(), left().next_back()) {
                (Some(a), Some(b)) => self.model.day(*b) - self.model.day(*a),
                _ => -1,
            };
            if span < params.min_days || window.len() - marked < params.min_observations {
                window.end += 1;
                continue;
            }
            if marked > 0 {
                let (outlier, range) = (&*self.outlier, window.clone());
                let mut at = 0;
                self.kept.retain(|i| {
                    at += 1;
                    !(range.contains(&(at - 1)) && outlier[usize::from(*i)])
                });
                window.end -= marked;
            }
            let fit = self.fit::<3>(window);
            if self.stable(window, &fit) {
                return Some(fit);
            }
            window.start += 1;
            window.end += 1;
        }
        None
    }

    fn stable(&self, window: &Range<usize>, fit: &Fit<L>) -> bool {
        let first = &self.residuals[usize::from(self.kept[window.start])];
        let last = &self.residuals[usize::from(self.kept[window.end - 1])];
        let days = f64::from(self.span(window));
        let mut sum = 0.0;
        for b in 0..self.bands {
            let noise = self.variogram[b].max(fit.rmse[b]);
            let value = ((fit.slopes[0][b] * days).abs() + first[b].abs() + last[b].abs()) / noise;
            sum += value * value;
        }
        sum < self.limit
    }

    /// Sum over bands of the squared residual of an observation in units of the noise.
    fn distance(&self, at: u16, fit: &Fit<L>, noise: &[f64; L]) -> f64 {
        let predicted = fit.predict(&self.model.design[usize::from(at)]);
        let observed = &self.values[usize::from(at)];
        let mut sum = 0.0;
        for b in 0..L {
            let r = (observed[b] - predicted[b]) / noise[b];
            sum += r * r;
        }
        sum
    }

    /// The larger of variogram and RMSE.
    fn noise(&self, rmse: &[f64; L]) -> [f64; L] {
        let mut noise = self.variogram;
        for (n, r) in noise.iter_mut().zip(rmse) {
            *n = n.max(*r);
        }
        noise
    }

    /// Step 5: takes observations before the window into it, down to `previous_end`.
    fn back(&mut self, window: &mut Range<usize>, fit: &Fit<L>, previous_end: usize) {
        let noise = self.noise(&fit.rmse);
        while window.start > previous_end {
            let last = window.start - 1;
            // As the reference has it: one observation less than forwards, and near the beginning of the series all of
            // them, those of the segment before included.
            let first = if window.start - previous_end > self.peek {
                window.start + 1 - self.peek
            } else if window.start <= self.peek {
                0
            } else {
                previous_end
            };
            let nearest = self.distance(self.kept[last], fit, &noise);
            if nearest > self.limit {
                let all = (first..last).rev().all(|i| self.distance(self.kept[i], fit, &noise) > self.limit);
                if all {
                    break;
                }
                if nearest > self.model.outlier_limit {
                    self.kept.remove(last);
                    *window = window.start - 1..window.end - 1;
                    continue;
                }
            }
            window.start = last;
        }
    }

    /// Step 6: extends the window to a break or to the end.
    fn forward(&mut self, window: &mut Range<usize>) {
        let mut fit: Option<Fit<L>> = None;
        let mut fit_span = 0;
        let mut change = false;
        let mut coefficients = 4;
        let mut next = window.end;
        // Distance of the least distant observation in a row, where they make a break.
        let mut least = f64::INFINITY;
        self.peeked.clear();
        while window.end + self.peek <= self.kept.len() {
            coefficients = match window.len() / OBSERVATIONS_PER_COEFFICIENT {
                0..6 => 4,
                6..8 => 6,
                _ => 8,
            };
            next = window.end;
            let span = self.span(window);
            let current = match fit {
                Some(f) if window.len() >= WELL_FITTED && f64::from(span) < REFIT_GROWTH * f64::from(fit_span) => f,
                _ => {
                    fit_span = span;
                    let new = match coefficients {
                        4 => self.fit::<3>(window),
                        6 => self.fit::<5>(window),
                        _ => self.fit::<7>(window),
                    };
                    self.in_fit.fill(false);
                    for i in &self.kept[window.clone()] {
                        self.in_fit[usize::from(*i)] = true;
                    }
                    fit = Some(new);
                    new
                }
            };
            // The variogram alone gives the largest distance that can come out: most observations need no more.
            let largest = self.distance(self.kept[next], &current, &self.variogram);
            if largest > self.limit || largest.is_nan() {
                let rmse = if window.len() <= WELL_FITTED {
                    current.rmse
                } else {
                    self.seasonal_rmse(self.kept[next + self.peek - 1])
                };
                let noise = self.noise(&rmse);
                let nearest = self.distance(self.kept[next], &current, &noise);
                if nearest > self.limit {
                    least = nearest;
                    change = self.kept[next + 1..next + self.peek].iter().all(|i| {
                        let distance = self.distance(*i, &current, &noise);
                        least = least.min(distance);
                        distance > self.limit
                    });
                    if change {
                        break;
                    }
                    if nearest > self.model.outlier_limit {
                        // The last ones looked at, should this be the end.
                        self.peeked.clear();
                        self.peeked.extend_from_slice(&self.kept[next..next + self.peek]);
                        self.kept.remove(next);
                        continue;
                    }
                }
            }
            self.peeked.clear();
            window.end += 1;
        }
        let Some(fit) = fit else { return };
        if self.peeked.is_empty() || change {
            self.peeked.clear();
            self.peeked.extend_from_slice(&self.kept[next..next + self.peek]);
        }
        let mut segment = self.segment(window, &fit, coefficients, self.kept[next]);
        segment.change_probability = f64::from(u8::from(change));
        for b in 0..self.bands {
            self.keys.clear();
            for i in &*self.peeked {
                let i = usize::from(*i);
                let residual = self.values[i][b] - fit.predict(&self.model.design[i])[b];
                self.keys.push(residual.abs().to_bits());
            }
            segment.fits[b].magnitude = median_of_keys(self.keys, 0).unwrap_or(0.0) / SCALE;
        }
        if change {
            let magnitude = self.index_change(&fit);
            self.breaks.push(PixelBreak {
                before: segment.end,
                after: segment.after,
                detected: usize::from(self.kept[next + self.peek - 1]),
                magnitude,
                probability: chi_square_cdf(least, self.bands),
                break_day: f64::from(self.model.days[segment.after]),
            });
        }
        self.segments.push(segment);
    }

    /// Root mean square of the 24 residuals of the last fit that are nearest in the season.
    fn seasonal_rmse(&self, at: u16) -> [f64; L] {
        let j = usize::from(at);
        let from = j * j.saturating_sub(1) / 2;
        let mut sum = [0.0; L];
        let mut found = 0;
        for i in &self.model.near[from..from + j] {
            let i = usize::from(*i);
            if self.in_fit[i] {
                for (s, r) in sum.iter_mut().zip(&self.residuals[i]) {
                    *s += r * r;
                }
                found += 1;
                if found == WELL_FITTED {
                    break;
                }
            }
        }
        // Eight coefficients, whether there were 24 residuals or one less.
        sum.map(|s| s.sqrt() / ((WELL_FITTED - 8) as f64).sqrt())
    }

    /// Median difference of the index over `peeked`, observed less predicted.
    fn index_change(&mut self, fit: &Fit<L>) -> f64 {
        let Compared { observed, predicted, after, before } = &mut *self.compared;
        let places = match &self.model.reported {
            Reported::Band(b) => std::slice::from_ref(b),
            Reported::Index(_, places) => places.as_slice(),
        };
        for (b, (seen, said)) in places.iter().zip(observed.iter_mut().zip(predicted.iter_mut())) {
            seen.clear();
            said.clear();
            for i in &*self.peeked {
                let i = usize::from(*i);
                seen.push(self.values[i][*b] / SCALE);
                said.push((fit.predict(&self.model.design[i])[*b] / SCALE).clamp(1e-4, 1.0 - 1e-4));
            }
        }
        for (bands, out) in [(&*observed, &mut *after), (&*predicted, &mut *before)] {
            out.clear();
            match &self.model.reported {
                Reported::Band(_) => out.extend_from_slice(&bands[0]),
                Reported::Index(spec, _) => {
                    out.resize(self.peeked.len(), f64::NAN);
                    spec.compute(&bands.each_ref().map(Vec::as_slice)[..places.len()], out);
                }
            }
        }
        for (a, b) in after.iter_mut().zip(&*before) {
            *a -= b;
        }
        after.retain(|d| d.is_finite());
        after.sort_unstable_by(f64::total_cmp);
        let half = after.len() / 2;
        match after.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => after[half],
            _ => 0.5 * (after[half - 1] + after[half]),
        }
    }

    /// Step 7.
    fn plain(&mut self, window: Range<usize>, curve_qa: u8) {
        let fit = self.fit::<3>(&window);
        let after = self.kept[window.end.min(self.kept.len() - 1)];
        let segment = self.segment(&window, &fit, curve_qa, after);
        self.segments.push(segment);
    }

    fn segment(&self, window: &Range<usize>, fit: &Fit<L>, curve_qa: u8, after: u16) -> Segment {
        let mut fits = [BandFit::default(); MAX_BANDS];
        for (b, f) in fits.iter_mut().enumerate().take(self.bands) {
            f.rmse = fit.rmse[b] / SCALE;
            f.intercept = (fit.intercept[b] - fit.slopes[0][b] * self.model.origin) / SCALE;
            f.coefficients = fit.slopes.map(|s| s[b] / SCALE);
        }
        Segment {
            start: usize::from(self.kept[window.start]),
            end: usize::from(self.kept[window.end - 1]),
            after: usize::from(after),
            observations: window.len(),
            change_probability: 0.0,
            curve_qa,
            bands: self.bands,
            fits,
        }
    }

    /// Fits `K` terms and the intercept over a window, and leaves the residuals.
    #[allow(clippy::needless_range_loop, reason = "indices of matrices, in several arrays at once")]
    fn fit<const K: usize>(&mut self, window: &Range<usize>) -> Fit<L> {
        let observations = &self.kept[window.clone()];
        let n = observations.len() as f64;
        let mut x_mean = [0.0; K];
        let mut y_mean = [0.0; L];
        for i in observations {
            let (x, y) = (&self.model.design[usize::from(*i)], &self.values[usize::from(*i)]);
            for k in 0..K {
                x_mean[k] += x[k];
            }
            for l in 0..L {
                y_mean[l] += y[l];
            }
        }
        x_mean = x_mean.map(|m| m / n);
        y_mean = y_mean.map(|m| m / n);
        let mut gram = [[0.0; K]; K];
        let mut products = [[0.0; L]; K];
        let mut squares = [0.0; L];
        for i in observations {
            let (x, y) = (&self.model.design[usize::from(*i)], &self.values[usize::from(*i)]);
            let mut xc = [0.0; K];
            let mut yc = [0.0; L];
            for k in 0..K {
                xc[k] = x[k] - x_mean[k];
            }
            for l in 0..L {
                yc[l] = y[l] - y_mean[l];
                squares[l] += yc[l] * yc[l];
            }
            for k in 0..K {
                for j in 0..K {
                    gram[k][j] += xc[k] * xc[j];
                }
                for l in 0..L {
                    products[k][l] += xc[k] * yc[l];
                }
            }
        }
        let weights = lasso::<K, L>(&gram, &products, &squares, LASSO_ALPHA * n);
        let mut fit = Fit { intercept: y_mean, slopes: [[0.0; L]; TERMS], rmse: [0.0; L] };
        for k in 0..K {
            fit.slopes[k] = weights[k];
            for l in 0..L {
                fit.intercept[l] -= weights[k][l] * x_mean[k];
            }
        }
        let mut sum = [0.0; L];
        for i in observations {
            let i = usize::from(*i);
            let (x, y) = (&self.model.design[i], &self.values[i]);
            let mut r = [0.0; L];
            for l in 0..L {
                r[l] = y[l] - fit.intercept[l];
            }
            for k in 0..K {
                for l in 0..L {
                    r[l] -= weights[k][l] * x[k];
                }
            }
            for l in 0..L {
                sum[l] += r[l] * r[l];
            }
            self.residuals[i] = r;
        }
        // With as few observations as coefficients there is no error to speak of, and nothing is divided by zero.
        let freedom = (n - (K as f64 + 1.0)).max(1.0);
        fit.rmse = sum.map(|s| (s / freedom).sqrt());
        fit
    }

    /// Marks the observations of a window that a robust fit leaves out, and counts them.
    fn tmask(&mut self, window: &Range<usize>) -> usize {
        let years = (f64::from(self.span(window)) / DAYS_PER_YEAR).ceil().max(1.0) as usize;
        for i in &self.kept[window.clone()] {
            self.outlier[usize::from(*i)] = false;
        }
        for pair in self.model.tmask.chunks(2) {
            let bands = [pair[0], pair[pair.len() - 1]];
            self.robust_pair(window, years, bands);
        }
        self.kept[window.clone()].iter().filter(|i| self.outlier[usize::from(**i)]).count()
    }

    /// Robust fit of two bands: iteratively reweighted least squares with bisquare weights on residuals that are adjusted by
    /// their leverage.
    fn robust_pair(&mut self, window: &Range<usize>, years: usize, bands: [usize; 2]) {
        let n = self.model.days.len();
        let cycle = &self.model.cycles[(years - 1) * n..years * n];
        self.rows.clear();
        for i in &self.kept[window.clone()] {
            let i = usize::from(*i);
            let (x, y) = (&self.model.design[i], &self.values[i]);
            let x = [x[1], x[2], cycle[i][0], cycle[i][1], 1.0];
            self.rows.push(RobustRow { x, y: bands.map(|b| y[b]), adjust: 1.0 });
        }
        let factor = Factor::of(self.rows, |_| [1.0; 2]);
        let mut coefficients = factor.solve();
        for row in self.rows.iter_mut() {
            row.adjust = 1.0 / (1.0 - factor.leverage(&row.x).min(0.9999)).sqrt();
        }
        let residual = |row: &RobustRow, c: &[[f64; 2]; 5]| {
            let mut r = row.y;
            for (x, c) in row.x.iter().zip(c) {
                r[0] -= x * c[0];
                r[1] -= x * c[1];
            }
            r
        };
        let mut going = [true; 2];
        for (lane, going) in going.iter_mut().enumerate() {
            self.keys.clear();
            self.keys.extend(self.rows.iter().map(|row| residual(row, &coefficients)[lane].abs().to_bits()));
            *going = robust_scale(self.keys) >= f64::EPSILON;
        }
        for _ in 0..ROBUST_ROUNDS {
            if going == [false; 2] {
                break;
            }
            let mut scale = [0.0; 2];
            for (lane, scale) in scale.iter_mut().enumerate() {
                self.keys.clear();
                let adjusted = self.rows.iter().map(|row| residual(row, &coefficients)[lane].abs() * row.adjust);
                self.keys.extend(adjusted.map(f64::to_bits));
                let deviation = robust_scale(self.keys);
                *scale =
                    if deviation > 1e-9 { deviation } else { deviation.max(f64::EPSILON * spread(self.rows, lane)) };
            }
            let next = Factor::of(self.rows, |row| {
                let r = residual(row, &coefficients);
                let mut weight = [0.0; 2];
                for lane in 0..2 {
                    let u = r[lane] * row.adjust / (scale[lane] * BISQUARE);
                    let inside = 1.0 - u * u;
                    weight[lane] = if inside > 0.0 { inside * inside } else { 0.0 };
                }
                weight
            })
            .solve();
            for lane in 0..2 {
                if going[lane] {
                    // The reference looks at increases alone.
                    going[lane] = coefficients.iter().zip(&next).any(|(a, b)| b[lane] - a[lane] > ROBUST_TOLERANCE);
                    for (c, b) in coefficients.iter_mut().zip(&next) {
                        c[lane] = b[lane];
                    }
                }
            }
        }
        let allowed = bands.map(|b| self.variogram[b] * self.model.params.tmask_factor);
        for (i, row) in self.kept[window.clone()].iter().zip(&*self.rows) {
            let r = residual(row, &coefficients);
            self.outlier[usize::from(*i)] |= r[0].abs() > allowed[0] || r[1].abs() > allowed[1];
        }
    }
}

/// Standard deviation (population) of a band of the robust fit.
fn spread(rows: &[RobustRow], lane: usize) -> f64 {
    let n = rows.len() as f64;
    let mean = rows.iter().map(|r| r.y[lane]).sum::<f64>() / n;
    (rows.iter().map(|r| (r.y[lane] - mean).powi(2)).sum::<f64>() / n).sqrt()
}

/// Median absolute residual, the smallest four left out, as a standard deviation.
fn robust_scale(keys: &mut [u64]) -> f64 {
    median_of_keys(keys, ROBUST_SKIP).unwrap_or(0.0) / MAD_TO_SIGMA
}

/// Median of numbers that are not negative, given by their bits, the smallest `skip` left out. Bits of such numbers are
/// ordered as the numbers are, and integers are quicker to select.
fn median_of_keys(keys: &mut [u64], skip: usize) -> Option<f64> {
    let n = keys.len().checked_sub(skip).filter(|n| *n > 0)?;
    let (below, middle, _) = keys.select_nth_unstable(skip + n / 2);
    let upper = f64::from_bits(*middle);
    if n % 2 == 1 {
        return Some(upper);
    }
    let lower = below.iter().max().map_or(upper, |b| f64::from_bits(*b));
    Some(0.5 * (lower + upper))
}

/// Cholesky factor of the normal equations of a robust fit of two bands, each with its weights.
struct Factor {
    lower: [[[f64; 2]; 5]; 5],
    /// One over the diagonal of `lower`; 0 where the column is no column of its own, which gives it the coefficient 0.
    inverse: [[f64; 2]; 5],
    right: [[f64; 2]; 5],
}

impl Factor {
    #[allow(clippy::needless_range_loop, reason = "indices of matrices, in several arrays at once")]
    fn of(rows: &[RobustRow], weight: impl Fn(&RobustRow) -> [f64; 2]) -> Self {
        let mut gram = [[[0.0; 2]; 5]; 5];
        let mut right = [[0.0; 2]; 5];
        for row in rows {
            let w = weight(row);
            for a in 0..5 {
                let wx = [w[0] * row.x[a], w[1] * row.x[a]];
                for b in 0..=a {
                    gram[a][b][0] += wx[0] * row.x[b];
                    gram[a][b][1] += wx[1] * row.x[b];
                }
                right[a][0] += wx[0] * row.y[0];
                right[a][1] += wx[1] * row.y[1];
            }
        }
        let mut lower = gram;
        let mut inverse = [[0.0; 2]; 5];
        for c in 0..5 {
            for lane in 0..2 {
                let mut pivot = gram[c][c][lane];
                for k in 0..c {
                    pivot -= lower[c][k][lane] * lower[c][k][lane];
                }
                inverse[c][lane] = if pivot > SMALLEST_PIVOT * gram[c][c][lane] { 1.0 / pivot.sqrt() } else { 0.0 };
            }
            for r in c + 1..5 {
                for lane in 0..2 {
                    let mut s = gram[r][c][lane];
                    for k in 0..c {
                        s -= lower[r][k][lane] * lower[c][k][lane];
                    }
                    lower[r][c][lane] = s * inverse[c][lane];
                }
            }
        }
        Factor { lower, inverse, right }
    }

    #[allow(clippy::needless_range_loop, reason = "indices of matrices, in several arrays at once")]
    fn solve(&self) -> [[f64; 2]; 5] {
        let mut z = self.right;
        for r in 0..5 {
            for lane in 0..2 {
                for k in 0..r {
                    z[r][lane] -= self.lower[r][k][lane] * z[k][lane];
                }
                z[r][lane] *= self.inverse[r][lane];
            }
        }
        for r in (0..5).rev() {
            for lane in 0..2 {
                for k in r + 1..5 {
                    z[r][lane] -= self.lower[k][r][lane] * z[k][lane];
                }
                z[r][lane] *= self.inverse[r][lane];
            }
        }
        z
    }

    /// Diagonal element of the hat matrix, by the first band's weights.
    fn leverage(&self, x: &[f64; 5]) -> f64 {
        let mut z = *x;
        let mut sum = 0.0;
        for r in 0..5 {
            for k in 0..r {
                z[r] -= self.lower[r][k][0] * z[k];
            }
            z[r] *= self.inverse[r][0];
            sum += z[r] * z[r];
        }
        sum
    }
}

/// Cyclic coordinate descent from zero for `|y - Xw|^2 / 2 + alpha |w|_1` with the rounds and the stopping rule of
/// scikit-learn, `L` right-hand sides at once: each stands still when its own rule is met. `gram` is X'X, `products` X'y,
/// `squares` y'y, all of centred columns.
fn lasso<const K: usize, const L: usize>(
    gram: &[[f64; K]; K],
    products: &[[f64; L]; K],
    squares: &[f64; L],
    alpha: f64,
) -> [[f64; L]; K] {
    let mut w = [[0.0; L]; K];
    // X'(y - Xw), kept up to date.
    let mut gradient = *products;
    let inverse: [f64; K] = std::array::from_fn(|k| if gram[k][k] == 0.0 { 0.0 } else { 1.0 / gram[k][k] });
    let mut going = squares.map(|s| s > 0.0);
    for round in 0..LASSO_ROUNDS {
        if going == [false; L] {
            break;
        }
        let mut largest = [0.0; L];
        let mut largest_step = [0.0; L];
        for k in 0..K {
            let mut step = [0.0; L];
            for l in 0..L {
                let t = gradient[k][l] + gram[k][k] * w[k][l];
                let shrunk = t.abs() - alpha;
                let shrunk = if shrunk > 0.0 { shrunk } else { 0.0 };
                let new = shrunk.copysign(t) * inverse[k];
                let new = if going[l] { new } else { w[k][l] };
                step[l] = new - w[k][l];
                w[k][l] = new;
                let (s, a) = (step[l].abs(), new.abs());
                largest_step[l] = if s > largest_step[l] { s } else { largest_step[l] };
                largest[l] = if a > largest[l] { a } else { largest[l] };
            }
            for j in 0..K {
                for l in 0..L {
                    gradient[j][l] -= gram[k][j] * step[l];
                }
            }
        }
        for l in 0..L {
            let settled =
                largest_step[l] < LASSO_TOLERANCE * largest[l] || largest[l] == 0.0 || round + 1 == LASSO_ROUNDS;
            if going[l]
                && settled
                && duality_gap(&w, &gradient, products, squares[l], alpha, l) < LASSO_TOLERANCE * squares[l]
            {
                going[l] = false;
            }
        }
    }
    w
}

/// Distance between the primal and a dual value: no further than this from the minimum.
fn duality_gap<const K: usize, const L: usize>(
    w: &[[f64; L]; K],
    gradient: &[[f64; L]; K],
    products: &[[f64; L]; K],
    squares: f64,
    alpha: f64,
    l: usize,
) -> f64 {
    let (mut wg, mut wq, mut norm, mut steepest) = (0.0, 0.0, 0.0, 0.0);
    for k in 0..K {
        wg += w[k][l] * gradient[k][l];
        wq += w[k][l] * products[k][l];
        norm += w[k][l].abs();
        steepest = f64::max(steepest, gradient[k][l].abs());
    }
    // r = y - Xw: r'y and r'r from the sums.
    let ry = squares - wq;
    let rr = ry - wg;
    let (shrink, gap) = if steepest > alpha {
        let shrink = alpha / steepest;
        (shrink, 0.5 * (rr + rr * shrink * shrink))
    } else {
        (1.0, rr)
    };
    gap + alpha * norm - shrink * ry
}

/// Chi-square distribution function: regularised lower incomplete gamma function of `bands` / 2, series below the mean and
/// continued fraction above (Abramowitz and Stegun 6.5.29, 6.5.31).
fn chi_square_cdf(x: f64, bands: usize) -> f64 {
    if x.is_nan() || x <= 0.0 {
        return 0.0;
    }
    if x == f64::INFINITY {
        return 1.0;
    }
    let (a, x) = (bands as f64 / 2.0, x / 2.0);
    // Gamma(a) of a half integer.
    let (mut at, mut gamma) = if bands.is_multiple_of(2) { (1.0, 1.0) } else { (0.5, std::f64::consts::PI.sqrt()) };
    while at < a {
        gamma *= at;
        at += 1.0;
    }
    let front = (a * x.ln() - x).exp() / gamma;
    if x < a + 1.0 {
        let (mut term, mut sum, mut k) = (1.0 / a, 1.0 / a, a);
        while term > sum * 1e-17 {
            k += 1.0;
            term *= x / k;
            sum += term;
        }
        return (front * sum).min(1.0);
    }
    let mut b = x + 1.0 - a;
    let mut c = 1e300;
    let mut d = 1.0 / b;
    let mut h = d;
    for i in 1..500 {
        let i = f64::from(i);
        let an = -i * (i - a);
        b += 2.0;
        d = 1.0 / (an * d + b);
        c = b + an / c;
        let factor = d * c;
        h *= factor;
        if (factor - 1.0).abs() < 1e-16 {
            break;
        }
    }
    1.0 - front * h
}

/// Value below which the share `p` of a chi-square distribution lies, by bisection.
fn chi_square_quantile(p: f64, bands: usize) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while chi_square_cdf(high, bands) < p && high < 1e4 {
        high *= 2.0;
    }
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if chi_square_cdf(middle, bands) < p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of scipy.stats.chi2.
    #[test]
    fn chi_square_known_values() {
        for (p, bands, x) in [
            (0.99, 5, 15.086_272_469_388_987),
            (1.0 - 1e-6, 5, 35.888_186_879_610_42),
            (0.99, 1, 6.634_896_601_021_214),
            (0.99, 2, 9.210_340_371_976_18),
            (0.99, 4, 13.276_704_135_987_622),
            (0.5, 3, 2.365_973_884_375_338),
            (0.1, 8, 3.489_539_126_349_2),
        ] {
            let found = chi_square_quantile(p, bands);
            assert!((found - x).abs() < 1e-8 * x, "{p} {bands}: {found} != {x}");
            assert!((chi_square_cdf(x, bands) - p).abs() < 1e-10, "{p} {bands}");
        }
        assert!((chi_square_cdf(2.0, 2) - (1.0 - (-1.0_f64).exp())).abs() < 1e-15);
        assert_eq!(chi_square_cdf(f64::INFINITY, 5), 1.0);
        assert_eq!(chi_square_cdf(0.0, 5), 0.0);
    }

    /// With orthogonal columns the minimum is the shrunk projection; lanes do not disturb each other.
    #[test]
    fn lasso_of_orthogonal_columns_is_soft_thresholding() {
        let gram = [[4.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 16.0]];
        let products = [[8.0, 1.0], [-18.0, 30.0], [2.0, -64.0]];
        let w = lasso::<3, 2>(&gram, &products, &[200.0, 5000.0], 3.0);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-15, "{a} {b}");
        for (found, expected) in w.iter().zip([[5.0 / 4.0, 0.0], [-15.0 / 9.0, 27.0 / 9.0], [0.0, -61.0 / 16.0]]) {
            close(found[0], expected[0]);
            close(found[1], expected[1]);
        }
    }

    /// Columns that depend on each other, the gap computed from the vectors themselves: the rule of the solver holds, and
    /// one more penalty makes the coefficients smaller.
    #[test]
    fn lasso_stops_where_its_rule_says() {
        let n = 40;
        let x: Vec<[f64; 3]> = (0..n)
            .map(|i| {
                let t = f64::from(i);
                [t - 19.5, (t * 0.3).sin() + 0.02 * t, (t * 0.3).cos()]
            })
            .collect();
        let mean = |k: usize| x.iter().map(|r| r[k]).sum::<f64>() / f64::from(n);
        let means = [mean(0), mean(1), mean(2)];
        let x: Vec<[f64; 3]> = x.iter().map(|r| std::array::from_fn(|k| r[k] - means[k])).collect();
        let raw: Vec<f64> =
            x.iter().enumerate().map(|(i, r)| 3.0 * r[0] + 200.0 * r[1] + (i % 7) as f64 * 9.0).collect();
        let y_mean = raw.iter().sum::<f64>() / f64::from(n);
        let y: Vec<f64> = raw.iter().map(|v| v - y_mean).collect();
        let dot =
            |a: &dyn Fn(usize) -> f64, b: &dyn Fn(usize) -> f64| (0..n as usize).map(|i| a(i) * b(i)).sum::<f64>();
        let gram: [[f64; 3]; 3] = std::array::from_fn(|j| std::array::from_fn(|k| dot(&|i| x[i][j], &|i| x[i][k])));
        let products: [[f64; 2]; 3] = std::array::from_fn(|k| [dot(&|i| x[i][k], &|i| y[i]), 0.0]);
        let squares = dot(&|i| y[i], &|i| y[i]);
        let mut norm = f64::INFINITY;
        for alpha in [f64::from(n), 10.0 * f64::from(n)] {
            let w = lasso::<3, 2>(&gram, &products, &[squares, 0.0], alpha);
            let r = |i: usize| y[i] - (0..3).map(|k| w[k][0] * x[i][k]).sum::<f64>();
            let l1 = w.iter().map(|w| w[0].abs()).sum::<f64>();
            let steepest = (0..3).map(|k| dot(&|i| x[i][k], &r).abs()).fold(0.0, f64::max);
            let shrink = (alpha / steepest).min(1.0);
            let primal = 0.5 * dot(&r, &r) + alpha * l1;
            let dual = shrink * dot(&r, &|i| y[i]) - 0.5 * shrink * shrink * dot(&r, &r);
            assert!(primal - dual < LASSO_TOLERANCE * squares, "{} of {squares}", primal - dual);
            assert!(l1 < norm, "{l1} {norm}");
            norm = l1;
            assert_eq!([w[0][1], w[1][1], w[2][1]], [0.0; 3], "nothing to fit");
        }
    }

    #[test]
    fn medians_of_bits() {
        let median = |v: &[f64], skip| median_of_keys(&mut v.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), skip);
        assert_eq!(median(&[3.0, 1.0, 2.0], 0), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0], 0), Some(2.5));
        assert_eq!(median(&[9.0, 8.0, 7.0, 1.0, 2.0, 3.0], 4), Some(8.5));
        assert_eq!(median(&[9.0, 8.0, 7.0, 1.0, 2.0], 4), Some(9.0));
        assert_eq!(median(&[1.0], 1), None);
    }

    /// Leverages add up to the number of columns that are no copies.
    #[test]
    fn copies_of_columns_have_no_leverage() {
        let rows = |cycle: f64| -> Vec<RobustRow> {
            (0..30)
                .map(|i| {
                    let a = f64::from(i) * 0.21;
                    let x = [a.cos(), a.sin(), (a * cycle).cos(), (a * cycle).sin(), 1.0];
                    RobustRow { x, y: [2.0 + 3.0 * a.sin(), a], adjust: 1.0 }
                })
                .collect()
        };
        for (cycle, rank) in [(0.5, 5.0), (1.0, 3.0)] {
            let rows = rows(cycle);
            let factor = Factor::of(&rows, |_| [1.0; 2]);
            let sum: f64 = rows.iter().map(|r| factor.leverage(&r.x)).sum();
            assert!((sum - rank).abs() < 1e-9, "{sum}");
            let c = factor.solve();
            for row in &rows {
                let predicted: f64 = row.x.iter().zip(&c).map(|(x, c)| x * c[0]).sum();
                assert!((predicted - row.y[0]).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn parameters_that_cannot_be_used_are_named() {
        let field = |change: &dyn Fn(&mut Params)| {
            let mut p = Params::default();
            change(&mut p);
            p.validate().err().map(|(field, ..)| field)
        };
        assert_eq!(field(&|_| ()), None);
        assert_eq!(field(&|p| p.bands.clear()), Some("bands"));
        assert_eq!(field(&|p| p.bands.push("red".into())), Some("bands"));
        assert_eq!(field(&|p| p.bands.push("grene".into())), Some("bands"));
        assert_eq!(field(&|p| p.bands.retain(|b| b != "green")), Some("tmask_bands"));
        assert_eq!(field(&|p| p.bands.retain(|b| b != "swir2")), Some("index"), "nbr needs it");
        assert_eq!(field(&|p| p.index = "evi".into()), Some("index"), "no blue");
        assert_eq!(field(&|p| p.index = "red".into()), None);
        assert_eq!(field(&|p| p.min_observations = 5), Some("min_observations"));
        assert_eq!(field(&|p| p.min_days = 0), Some("min_days"));
        assert_eq!(field(&|p| p.consecutive = 1), Some("consecutive"));
        assert_eq!(field(&|p| p.change_probability = 1.0), Some("change_probability"));
        assert_eq!(field(&|p| p.outlier_probability = 0.5), Some("outlier_probability"));
        assert_eq!(field(&|p| p.tmask_factor = f64::NAN), Some("tmask_factor"));
        assert_eq!(field(&|p| p.green_above_median = Some(-1.0)), Some("green_above_median"));
        assert!(Model::new(&Params::default(), &[3, 2]).is_err_and(|e| e.0 == "days"));
        // The file form: a key that is unknown is refused, one left out is the default.
        let p: Params = serde_json::from_str(r#"{"consecutive": 4}"#).unwrap();
        assert_eq!(p, Params { consecutive: 4, ..Params::default() });
        assert!(serde_json::from_str::<Params>(r#"{"konsecutive": 4}"#).is_err());
    }
}
