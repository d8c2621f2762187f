//! Monitor: the default method. Learns how a parcel's pixels look through the year, then watches for losses that last.
//!
//! Made for seasonal forest under snow and cloud, where the mask misses thin cloud edges and melting snow, and where spring
//! and autumn are steep. There each single observation can lie; what a loss does and they do not is to stay, in the season
//! in which canopy is seen. The pieces are known ones, put together:
//!
//! 1. **Expectation.** Per pixel, `y = a + b t + sum over k of [c_k cos(2 pi k t) + s_k sin(2 pi k t)]` on the clear
//!    observations before monitoring begins, by iteratively reweighted least squares with Tukey's bisquare (Beaton and Tukey
//!    1974, Technometrics 16, 147-185; 4.685 times the residuals' scale), so that unmasked cloud and snow do not enter. The
//!    number of harmonics is the largest, up to `order`, for which there are two clear observations a coefficient. The
//!    coefficients have zero-mean normal priors (ridge; Hoerl and Kennard 1970, Technometrics 12, 55-67) that hardly move a
//!    well observed pixel, and keep a trend over two years from being drawn far ahead.
//! 2. **Noise**, pooled over the pixels of the parcel: the leave-one-out residuals within 20 days of the day of the year give
//!    the scale of honest observations and the share of outliers below three scales. Steep weeks and cloudy ones so get a
//!    larger noise, seasons of bad masks a larger share of outliers. Both are drawn a little to the mean of the year, since
//!    few dates tell little. The variance of a prediction is the noise times (1 + leverage).
//! 3. **Evidence** of one observation, r below its expectation: the logarithm of the ratio of two likelihoods, for a loss of
//!    the share `loss_share` of what stands above bare ground, or more, and for none. Both hold the outlier share, spread
//!    evenly over `OUTLIER_SPAN`; so one observation can say only so much, whatever its value (a bounded score; Huber 1981,
//!    Robust Statistics, chapter 10).
//! 4. **Decision** by a cumulative sum that does not fall below zero (Page 1954, Biometrika 41, 100-115): a pixel is lost
//!    once it reaches `evidence`, with at least `min_votes` clear observations of other days that spoke for a loss, over
//!    `min_span_days` or more. Observations of the season in which canopy hardly shows (expected height above bare ground
//!    below `min_visibility` of the pixel's best) can speak against a loss but not for it: snow lasts as long as a loss does.
//! 5. **Dates** from the profile of the evidence over the possible positions of the change, for half the loss found: all
//!    positions within `DATE_SUPPORT` of the best are possible (a likelihood interval; Hudson 1971, Biometrics 27, 853-865).
//!    The leafless season says nothing here either: a thinning does not show then, so a loss of that time has a wide interval.
//!    `before` is the last clear observation before the first of them, `after` the last of them. Half the loss, so that a
//!    slow beginning is within.
//! 6. After a loss the expectation is lowered by the share found, and the pixel is watched for a further loss; and for a
//!    return to the full expectation, by the same sum with the signs turned, which is told as a break with a positive
//!    magnitude.
//!
//! `magnitude` is the mean of (observed - expected) from the beginning of the sum to the decision; `probability` the
//! posterior probability for one pixel-loss expected in [`PRIOR_ODDS`] pixels, with observations taken as independent given
//! the outlier shares; `break_day` the day of `after`.
//!
//! A [`State`] holds all that later observations need: [`Model::start`] reads the history, [`Model::advance`] takes new
//! observations, and [`State::verdict`] tells what is found so far. Starting from nothing does the same steps, so it gives
//! the same state to the byte. A parcel's pixels are read together, and nothing but they is read.

use jiff::civil::Date;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{PixelBreak, Unjudged};
use crate::units;

/// Most harmonics.
const MAX_ORDER: usize = 4;
/// Most coefficients: level, trend, cosine and sine of each harmonic.
const MAX_COLUMNS: usize = 2 + 2 * MAX_ORDER;
/// Packed lower triangle of a matrix of so many columns.
const MAX_PACKED: usize = MAX_COLUMNS * (MAX_COLUMNS + 1) / 2;
/// Smallest event that is told, hectares: smaller patches are often a coincidence of cloud edges.
pub const MIN_PATCH_HA: f64 = 0.1;
/// Fewest clear observations of a history.
pub const MIN_OBSERVATIONS: usize = 12;
/// Clear observations for each coefficient.
const OBSERVATIONS_A_COEFFICIENT: usize = 2;
/// A history that spans fewer days does not know the year.
const MIN_SPAN_HISTORY_DAYS: i32 = 300;
/// Mean length of a year, days.
const YEAR_DAYS: f64 = 365.25;
/// Times of the year at which noise is kept.
const BINS: usize = 73;
/// Half width of the season whose residuals are pooled, days.
const POOL_DAYS: f64 = 20.0;
/// Bisquare constant: 95 % efficiency for normal noise.
const BISQUARE: f64 = 4.685;
/// Consistency factor of the median absolute deviation for normal noise.
const MAD_TO_SIGMA: f64 = 1.4826;
/// Rounds of reweighting.
const ROUNDS: usize = 8;
/// Prior standard deviations in index units: level, trend a year, harmonics 1 to 4. Forest grows slowly; leaves come fast.
const PRIOR_LEVEL: f64 = 10.0;
const PRIOR_TREND: f64 = 0.01;
const PRIOR_HARMONICS: [f64; MAX_ORDER] = [0.5, 0.2, 0.12, 0.08];
/// Noise for which the priors are weighed.
const PRIOR_SIGMA: f64 = 0.03;
/// Smallest scale of residuals while fitting.
const MIN_FIT_SIGMA: f64 = 0.005;
/// Smallest noise of a prediction.
const MIN_SIGMA: f64 = 0.012;
/// The noise is not smaller than this quantile of the residuals, taken as normal, says: the lower tail is what alarms.
const TAIL: f64 = 0.1;
const TAIL_TO_SIGMA: f64 = 1.0 / 1.2816;
/// A residual below minus so many scales is an outlier.
const OUTLIER_SCALES: f64 = 3.0;
/// Outlier share expected before any residual is seen, and the number of dates that this expectation is worth.
const OUTLIER_PRIOR: f64 = 0.05;
const OUTLIER_PRIOR_DATES: f64 = 10.0;
/// Dates that the mean of the year is worth in the noise of a season.
const NOISE_PRIOR_DATES: f64 = 2.0;
/// Outliers are spread evenly over so much of the index.
const OUTLIER_SPAN: f64 = 0.5;
/// Smallest height above bare ground that is reckoned with.
const MIN_HEIGHT: f64 = 0.03;
/// Strongest evidence of one observation against a loss.
const MAX_AGAINST: f64 = 5.0;
/// Evidence of an observation that counts as a vote.
const VOTE: f64 = 1.0;
/// Evidence for a return to the full expectation.
const RECOVERY_EVIDENCE: f64 = 8.0;
/// Positions of the change within this of the best are possible.
const DATE_SUPPORT: f64 = 3.0;
/// Share of the loss found for which the position of the change is sought.
const DATE_SHARE: f64 = 0.5;
/// Share of the best height from which an observation has a say in the date. Leafless crowns hide a thinning.
const DATE_VISIBILITY: f64 = 0.6;
/// Positions so far below the best are not followed further back.
const DATE_GIVE_UP: f64 = 30.0;
/// One pixel in so many is expected to be lost.
const PRIOR_ODDS: f64 = 200.0;
/// What stands after a loss, at least, as a share of what stood before.
const MIN_LEFT: f64 = 0.05;
/// Clear observations that a state remembers for dating.
const REMEMBERED: usize = 32;

/// `[change.monitor]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Index to monitor.
    pub index: String,
    /// First day that is monitored. Without it, monitoring begins `history_years` after the first observation.
    #[serde(default)]
    pub monitor_start: Option<Date>,
    /// Years to learn from where `monitor_start` is not given.
    #[serde(default = "defaults::history_years")]
    pub history_years: f64,
    /// Value of the index over ground without canopy. Known for ndvi, evi, evi2, savi, nbr and ndmi; needed for others.
    #[serde(default)]
    pub bare: Option<f64>,
    /// Most harmonics, 1 to 4.
    #[serde(default = "defaults::order")]
    pub order: usize,
    /// Share of what stands above bare ground whose loss is looked for, 0.1 to 1.
    #[serde(default = "defaults::loss_share")]
    pub loss_share: f64,
    /// Evidence for a decision (logarithm of a likelihood ratio).
    #[serde(default = "defaults::evidence")]
    pub evidence: f64,
    /// Clear observations of other days that must speak for a loss.
    #[serde(default = "defaults::min_votes")]
    pub min_votes: u32,
    /// Days from the first observation of a loss to the decision, at least.
    #[serde(default = "defaults::min_span_days")]
    pub min_span_days: i32,
    /// Share of a pixel's best height above bare ground that must be expected for an observation to speak for a loss.
    #[serde(default = "defaults::min_visibility")]
    pub min_visibility: f64,
}

mod defaults {
    pub fn history_years() -> f64 {
        2.0
    }
    pub fn order() -> usize {
        super::MAX_ORDER
    }
    pub fn loss_share() -> f64 {
        0.35
    }
    pub fn evidence() -> f64 {
        6.0
    }
    pub fn min_votes() -> u32 {
        3
    }
    pub fn min_span_days() -> i32 {
        20
    }
    pub fn min_visibility() -> f64 {
        0.7
    }
}

/// Index values over ground without canopy (litter, stumps, dry grass), for want of better ones: by name. A value too low
/// makes the method slower, one too high more eager.
const BARE: [(&str, f64); 6] =
    [("ndvi", 0.2), ("evi", 0.1), ("evi2", 0.1), ("savi", 0.1), ("nbr", 0.0), ("ndmi", -0.1)];

impl Params {
    /// The defaults for an index.
    pub fn new(index: &str) -> Params {
        Params {
            index: index.to_owned(),
            monitor_start: None,
            history_years: defaults::history_years(),
            bare: None,
            order: defaults::order(),
            loss_share: defaults::loss_share(),
            evidence: defaults::evidence(),
            min_votes: defaults::min_votes(),
            min_span_days: defaults::min_span_days(),
            min_visibility: defaults::min_visibility(),
        }
    }

    /// Field, what was found, what is expected.
    ///
    /// # Errors
    /// A value out of its range; an index whose bare value is neither known nor given.
    pub fn validate(&self) -> Result<(), (&'static str, String, &'static str)> {
        let within = |field, value: f64, low: f64, high: f64, expected| {
            if (low..=high).contains(&value) { Ok(()) } else { Err((field, value.to_string(), expected)) }
        };
        within("history_years", self.history_years, 1.0, 20.0, "a number of years from 1 to 20")?;
        within("order", self.order as f64, 1.0, MAX_ORDER as f64, "a number of harmonics from 1 to 4")?;
        within("loss_share", self.loss_share, 0.1, 1.0, "a share from 0.1 to 1")?;
        within("evidence", self.evidence, 2.0, 100.0, "a number from 2 to 100")?;
        within("min_votes", f64::from(self.min_votes), 1.0, 20.0, "a number of observations from 1 to 20")?;
        within("min_span_days", f64::from(self.min_span_days), 0.0, 365.0, "a number of days from 0 to 365")?;
        within("min_visibility", self.min_visibility, 0.0, 1.0, "a share from 0 to 1")?;
        match self.bare {
            Some(bare) => within("bare", bare, -1.0, 1.0, "an index value from -1 to 1"),
            None if self.known_bare().is_none() => {
                Err(("bare", "no value".to_owned(), "the value of this index over ground without canopy"))
            }
            None => Ok(()),
        }
    }

    /// First day that is monitored, for observations on these days.
    pub fn first_monitored(&self, days: &[i32]) -> i32 {
        let learned = || days.first().map_or(0, |first| first.saturating_add((self.history_years * YEAR_DAYS) as i32));
        self.monitor_start.map_or_else(learned, units::days)
    }

    fn known_bare(&self) -> Option<f64> {
        self.bare.or_else(|| BARE.iter().find(|(name, _)| *name == self.index).map(|(_, value)| *value))
    }
}

/// Everything that depends on dates and parameters alone.
#[derive(Debug, Clone)]
pub struct Model {
    params: Params,
    bare: f64,
    days: Vec<i32>,
    /// One an observation.
    rows: Vec<[f64; MAX_COLUMNS]>,
    /// Time of the year of each observation.
    bins: Vec<u8>,
    history: usize,
}

/// Room for work, used again and again.
#[derive(Debug, Default)]
struct Scratch {
    at: Vec<usize>,
    y: Vec<f64>,
    weight: Vec<f64>,
    residual: Vec<f64>,
    sorted: Vec<f64>,
}

/// Noise of a parcel by the time of the year.
#[derive(Debug, Clone, PartialEq)]
struct Noise {
    variance: [f64; BINS],
    outliers: [f64; BINS],
}

/// One pixel under watch.
#[derive(Debug, Clone, PartialEq)]
struct Pixel {
    columns: usize,
    coefficients: [f64; MAX_COLUMNS],
    /// Covariance of the coefficients in units of the noise, packed by rows of the lower triangle.
    covariance: [f64; MAX_PACKED],
    /// Largest expected height above bare ground in a year.
    best_height: f64,
    /// Last clear observations: position and value, oldest first.
    recent: Vec<(u32, f64)>,
    /// Clear observations that were monitored, and the sum of (observed - expected) over them.
    monitored: u32,
    departure: f64,
    /// What is left of the height after the losses so far: 1 undisturbed.
    left: f64,
    /// Evidence for a loss, where it began, and the votes.
    loss: Sum,
    /// Evidence for a return.
    recovery: Sum,
    /// First position at which a change may be looked for.
    from: u32,
    breaks: Vec<PixelBreak>,
}

/// A cumulative sum of evidence.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sum {
    value: f64,
    since: u32,
    votes: u32,
}

impl Sum {
    fn add(&mut self, evidence: f64, position: u32) {
        if self.value <= 0.0 && evidence > 0.0 {
            *self = Sum { value: 0.0, since: position, votes: 0 };
        }
        self.votes += u32::from(evidence > VOTE);
        self.value = (self.value + evidence).max(0.0);
    }
}

/// Where monitoring of one parcel stands.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    observations: usize,
    noise: Noise,
    pixels: Vec<Result<Pixel, Unjudged>>,
}

/// What one observation of one pixel means.
struct Reading {
    /// Observed minus expected.
    residual: f64,
    /// Expected height above bare ground.
    height: f64,
    variance: f64,
    outliers: f64,
}

impl Reading {
    /// Evidence that `share` of the height is lost where `left` stood.
    fn evidence(&self, left: f64, share: f64) -> f64 {
        log_ratio(self.below(left), share * left * self.height, self.variance, self.outliers)
    }

    /// Observed minus expected where `left` stands.
    fn below(&self, left: f64) -> f64 {
        self.residual + (1.0 - left) * self.height
    }
}

/// Logarithm of the likelihood ratio of a fall by `fall` or more and of no fall, at residual `r`.
fn log_ratio(r: f64, fall: f64, variance: f64, outliers: f64) -> f64 {
    let r = r.max(-fall);
    let honest = (1.0 - outliers) / (std::f64::consts::TAU * variance).sqrt();
    let other = outliers / OUTLIER_SPAN;
    let density = |x: f64| honest * (-x * x / (2.0 * variance)).exp() + other;
    (density(r + fall) / density(r)).ln()
}

impl Model {
    /// Prepares a list of days (since 1970-01-01, ascending). Later days may follow in a later model: positions and history
    /// stay as they are.
    ///
    /// # Errors
    /// What [`Params::validate`] refuses.
    pub fn new(params: &Params, days: &[i32]) -> Result<Model, (&'static str, String, &'static str)> {
        params.validate()?;
        let start = params.first_monitored(days);
        let row = |day: &i32| {
            let t = (f64::from(*day) - f64::from(start)) / YEAR_DAYS;
            let mut row = [0.0; MAX_COLUMNS];
            (row[0], row[1]) = (1.0, t);
            for k in 1..=MAX_ORDER {
                let angle = std::f64::consts::TAU * k as f64 * f64::from(*day) / YEAR_DAYS;
                (row[2 * k], row[2 * k + 1]) = (angle.cos(), angle.sin());
            }
            row
        };
        Ok(Model {
            params: params.clone(),
            bare: params.known_bare().unwrap_or(0.0),
            days: days.to_vec(),
            rows: days.iter().map(row).collect(),
            bins: days.iter().map(|d| bin(*d)).collect(),
            history: days.partition_point(|d| *d < start),
        })
    }

    /// Number of observations before monitoring begins.
    pub fn history(&self) -> usize {
        self.history
    }

    /// True once a day to be monitored is there: before that, the history may still grow.
    pub fn has_begun(&self) -> bool {
        self.history < self.days.len()
    }

    /// Reads the history of a parcel. `values`: one row a pixel, one value a day of the model; not finite where not clear.
    pub fn start(&self, values: &[f64]) -> State {
        let times = self.days.len().max(1);
        let count = values.len() / times;
        // Leave-one-out residuals: (pixel, history observation).
        let mut pooled = vec![f64::NAN; count * self.history];
        let rows = values.par_chunks_exact(times);
        let pixels = if self.history == 0 {
            vec![Err(Unjudged::TooFewObservations); count]
        } else {
            let both = rows.zip(pooled.par_chunks_exact_mut(self.history));
            both.map_init(Scratch::default, |scratch, (row, residuals)| self.learn(row, residuals, scratch)).collect()
        };
        let noise = self.noise(&pooled);
        State { observations: self.history, noise, pixels }
    }

    /// Takes in the observations that the state has not seen. `values` as in [`Model::start`], for as many pixels; those
    /// already seen are not looked at.
    pub fn advance(&self, state: &mut State, values: &[f64]) {
        let State { observations, noise, pixels } = state;
        let rows = values.par_chunks_exact(self.days.len().max(1));
        pixels.par_iter_mut().zip(rows).for_each(|(pixel, row)| {
            let Ok(pixel) = pixel else { return };
            for (t, y) in row.iter().enumerate().skip(*observations).filter(|(_, y)| y.is_finite()) {
                self.watch(pixel, noise, t, *y);
            }
        });
        *observations = (*observations).max(self.days.len());
    }

    /// From nothing: history, then all observations.
    pub fn detect(&self, values: &[f64]) -> State {
        let mut state = self.start(values);
        self.advance(&mut state, values);
        state
    }

    /// Fits a pixel's history, and leaves its leave-one-out residuals in `residuals`.
    fn learn(&self, values: &[f64], residuals: &mut [f64], scratch: &mut Scratch) -> Result<Pixel, Unjudged> {
        let Scratch { at, y, weight, residual, sorted } = scratch;
        at.clear();
        y.clear();
        for (t, value) in values[..self.history].iter().enumerate().filter(|(_, v)| v.is_finite()) {
            at.push(t);
            y.push(*value);
        }
        let n = at.len();
        if n < MIN_OBSERVATIONS {
            return Err(Unjudged::TooFewObservations);
        }
        let order = (1..=self.params.order.min(MAX_ORDER)).rev();
        let order = order.into_iter().find(|k| n >= OBSERVATIONS_A_COEFFICIENT * (2 * k + 2));
        let order = order.ok_or(Unjudged::TooFewObservations)?;
        let columns = 2 * order + 2;
        let distinct = 1 + at.windows(2).filter(|w| self.days[w[0]] != self.days[w[1]]).count();
        let span = self.days[at[n - 1]] - self.days[at[0]];
        if distinct < columns || span < MIN_SPAN_HISTORY_DAYS {
            return Err(Unjudged::SingularDesign);
        }
        if y.iter().all(|v| *v == y[0]) {
            return Err(Unjudged::ConstantHistory);
        }
        weight.clear();
        weight.resize(n, 1.0);
        residual.clear();
        residual.resize(n, 0.0);
        let mut prior = [0.0; MAX_COLUMNS];
        for (j, p) in prior.iter_mut().enumerate().take(columns) {
            let sd = [PRIOR_LEVEL, PRIOR_TREND].get(j).copied().unwrap_or_else(|| PRIOR_HARMONICS[j / 2 - 1]);
            *p = (PRIOR_SIGMA / sd).powi(2);
        }
        let (mut coefficients, mut covariance) = ([0.0; MAX_COLUMNS], [0.0; MAX_PACKED]);
        for round in 0..ROUNDS {
            let mut matrix = [0.0; MAX_PACKED];
            let mut right = [0.0; MAX_COLUMNS];
            for ((t, y), w) in at.iter().zip(y.iter()).zip(weight.iter()).filter(|(_, w)| **w > 0.0) {
                let row = &self.rows[*t];
                let mut k = 0;
                for i in 0..columns {
                    let wx = w * row[i];
                    right[i] += wx * y;
                    for x in &row[..=i] {
                        matrix[k] += wx * x;
                        k += 1;
                    }
                }
            }
            for j in 0..columns {
                matrix[packed(j, j)] += prior[j];
            }
            let factor = cholesky(&matrix, columns).ok_or(Unjudged::SingularDesign)?;
            coefficients = solve(&factor, &right, columns);
            for ((r, y), t) in residual.iter_mut().zip(y.iter()).zip(at.iter()) {
                *r = y - dot(&self.rows[*t], &coefficients, columns);
            }
            if round + 1 == ROUNDS {
                covariance = inverse(&factor, columns);
                break;
            }
            sorted.clear();
            sorted.extend(residual.iter().map(|r| r.abs()));
            let spread = MAD_TO_SIGMA * median(sorted) * (n as f64 / (n - columns) as f64).sqrt();
            let reach = BISQUARE * spread.max(MIN_FIT_SIGMA);
            for (w, r) in weight.iter_mut().zip(residual.iter()) {
                let u = r / reach;
                *w = if u.abs() < 1.0 { (1.0 - u * u).powi(2) } else { 0.0 };
            }
        }
        for ((t, w), r) in at.iter().zip(weight.iter()).zip(residual.iter()) {
            let leverage = (w * quadratic(&covariance, &self.rows[*t], columns)).min(0.9);
            residuals[*t] = r / (1.0 - leverage);
        }
        let mut best_height = MIN_HEIGHT;
        for b in 0..BINS {
            let mut row = [0.0; MAX_COLUMNS];
            row[0] = 1.0;
            let angle = std::f64::consts::TAU * (b as f64 + 0.5) / BINS as f64;
            for k in 1..=order {
                (row[2 * k], row[2 * k + 1]) = ((k as f64 * angle).cos(), (k as f64 * angle).sin());
            }
            best_height = f64::max(best_height, dot(&row, &coefficients, columns) - self.bare);
        }
        let oldest = n.saturating_sub(REMEMBERED);
        Ok(Pixel {
            columns,
            coefficients,
            covariance,
            best_height,
            recent: at[oldest..].iter().zip(&y[oldest..]).map(|(t, y)| (*t as u32, *y)).collect(),
            monitored: 0,
            departure: 0.0,
            left: 1.0,
            loss: Sum::default(),
            recovery: Sum::default(),
            from: 0,
            breaks: Vec::new(),
        })
    }

    /// Noise of a parcel from its residuals, (pixel, history observation).
    fn noise(&self, pooled: &[f64]) -> Noise {
        let mut noise = Noise { variance: [MIN_SIGMA * MIN_SIGMA; BINS], outliers: [OUTLIER_PRIOR; BINS] };
        let mut all: Vec<f64> = pooled.iter().copied().filter(|r| r.is_finite()).collect();
        let Some(year) = scale(&mut all).map(|s| s * s) else { return noise };
        let of_date = |t: usize| pooled.iter().skip(t).step_by(self.history).copied().filter(|r| r.is_finite());
        let of_season = |b: usize| {
            let centre = (b as f64 + 0.5) * YEAR_DAYS / BINS as f64;
            let near = |t: &usize| {
                let apart = (f64::from(self.days[*t]).rem_euclid(YEAR_DAYS) - centre).abs();
                apart.min(YEAR_DAYS - apart) <= POOL_DAYS
            };
            let dates: Vec<usize> = (0..self.history).filter(near).filter(|t| of_date(*t).next().is_some()).collect();
            let number = dates.len() as f64;
            let mut residuals: Vec<f64> = dates.iter().flat_map(|t| of_date(*t)).collect();
            let here = scale(&mut residuals).map_or(year, |s| s * s);
            let variance = (NOISE_PRIOR_DATES * year + number * here) / (NOISE_PRIOR_DATES + number);
            let limit = -OUTLIER_SCALES * variance.sqrt();
            let share = |t: &usize| {
                let out = of_date(*t).filter(|r| *r < limit).count();
                out as f64 / of_date(*t).count() as f64
            };
            let shares: f64 = dates.iter().map(share).sum();
            (variance, (OUTLIER_PRIOR * OUTLIER_PRIOR_DATES + shares) / (OUTLIER_PRIOR_DATES + number))
        };
        let seasons: Vec<(f64, f64)> = (0..BINS).into_par_iter().map(of_season).collect();
        for (b, (variance, outliers)) in seasons.into_iter().enumerate() {
            (noise.variance[b], noise.outliers[b]) = (variance, outliers);
        }
        noise
    }

    fn read(&self, pixel: &Pixel, noise: &Noise, t: usize, y: f64) -> Reading {
        let row = &self.rows[t];
        let expected = dot(row, &pixel.coefficients, pixel.columns);
        let b = usize::from(self.bins[t]);
        Reading {
            residual: y - expected,
            height: (expected - self.bare).max(MIN_HEIGHT),
            variance: noise.variance[b] * (1.0 + quadratic(&pixel.covariance, row, pixel.columns)),
            outliers: noise.outliers[b],
        }
    }

    /// One clear observation of one pixel.
    fn watch(&self, pixel: &mut Pixel, noise: &Noise, t: usize, y: f64) {
        // The same place twice on one day (overlapping tiles) is one look at it.
        if pixel.recent.last().is_some_and(|(last, _)| self.days[*last as usize] == self.days[t]) {
            return;
        }
        let at = t as u32;
        pixel.monitored += 1;
        if pixel.recent.len() == REMEMBERED {
            pixel.recent.remove(0);
        }
        pixel.recent.push((at, y));
        let reading = self.read(pixel, noise, t, y);
        pixel.departure += reading.residual;
        if pixel.left < 1.0 {
            let back = -reading.evidence(1.0, 1.0 - pixel.left);
            pixel.recovery.add(back.max(-MAX_AGAINST), at);
            if pixel.recovery.value >= RECOVERY_EVIDENCE {
                self.close(pixel, noise, t);
                return;
            }
        }
        let mut evidence = reading.evidence(pixel.left, self.params.loss_share).max(-MAX_AGAINST);
        if !self.visible(pixel, &reading) {
            evidence = evidence.min(0.0);
        }
        pixel.loss.add(evidence, at);
        let sum = pixel.loss;
        if sum.value >= self.params.evidence
            && sum.votes >= self.params.min_votes
            && self.days[t] - self.days[sum.since as usize] >= self.params.min_span_days
        {
            self.open(pixel, noise, t);
        }
    }

    /// Whether canopy shows at this time of the year.
    fn visible(&self, pixel: &Pixel, reading: &Reading) -> bool {
        reading.height >= self.params.min_visibility * pixel.best_height
    }

    /// A loss is decided: its share, its dates; the expectation is lowered.
    fn open(&self, pixel: &mut Pixel, noise: &Noise, t: usize) {
        let left = pixel.left;
        let (mut above, mut below, mut fall, mut count) = (0.0, 0.0, 0.0, 0.0);
        for (u, y) in pixel.recent.iter().filter(|(u, _)| *u >= pixel.loss.since) {
            let reading = self.read(pixel, noise, *u as usize, *y);
            let (height, r) = (left * reading.height, reading.below(left));
            above -= height * r / reading.variance;
            below += height * height / reading.variance;
            fall += r;
            count += 1.0;
        }
        let share = (above / below).clamp(0.01, 1.0);
        let (before, after, best) = self.position(pixel, noise, |r| r.evidence(left, DATE_SHARE * share));
        pixel.breaks.push(PixelBreak {
            before,
            after,
            detected: t,
            magnitude: fall / count,
            probability: 1.0 / (1.0 + PRIOR_ODDS * (-best.min(100.0)).exp()),
            break_day: f64::from(self.days[after]),
        });
        pixel.left = (left * (1.0 - share)).max(MIN_LEFT);
        pixel.from = after as u32;
        (pixel.loss, pixel.recovery) = (Sum::default(), Sum::default());
    }

    /// A lost pixel is back at its full expectation.
    fn close(&self, pixel: &mut Pixel, noise: &Noise, t: usize) {
        let left = pixel.left;
        let (mut rise, mut count) = (0.0, 0.0);
        for (u, y) in pixel.recent.iter().filter(|(u, _)| *u >= pixel.recovery.since) {
            rise += self.read(pixel, noise, *u as usize, *y).below(left);
            count += 1.0;
        }
        let (before, after, best) = self.position(pixel, noise, |r| -r.evidence(1.0, 1.0 - left));
        pixel.breaks.push(PixelBreak {
            before,
            after,
            detected: t,
            magnitude: rise / count,
            probability: 1.0 / (1.0 + PRIOR_ODDS * (-best.min(100.0)).exp()),
            break_day: f64::from(self.days[after]),
        });
        pixel.left = 1.0;
        pixel.from = after as u32;
        (pixel.loss, pixel.recovery) = (Sum::default(), Sum::default());
    }

    /// Positions of the last clear observation before the change and of the first after it, and the best evidence.
    fn position(&self, pixel: &Pixel, noise: &Noise, evidence: impl Fn(&Reading) -> f64) -> (usize, usize, f64) {
        let back = || {
            let mut sum = 0.0;
            let seen = pixel.recent.iter().rev().take_while(|(u, _)| *u >= pixel.from);
            seen.map(move |(u, y)| (*u, y)).map({
                let evidence = &evidence;
                move |(u, y)| {
                    let reading = self.read(pixel, noise, u as usize, *y);
                    sum += if reading.height >= DATE_VISIBILITY * pixel.best_height { evidence(&reading) } else { 0.0 };
                    (u, sum)
                }
            })
        };
        let mut best = f64::NEG_INFINITY;
        for (_, sum) in back() {
            best = best.max(sum);
            if sum < best - DATE_GIVE_UP {
                break;
            }
        }
        let newest = pixel.recent.last().map_or(0, |(u, _)| *u);
        let (mut after, mut first) = (None, newest);
        for (u, sum) in back() {
            if sum >= best - DATE_SUPPORT {
                after = after.or(Some(u));
                first = u;
            }
            if sum < best - DATE_GIVE_UP {
                break;
            }
        }
        let after = after.unwrap_or(newest);
        // Where even the oldest remembered observation may be after the change, it stands for the one before.
        let mut earlier = pixel.recent.iter().rev().map(|(u, _)| *u).filter(|u| *u < first);
        let before = earlier.next().or(pixel.recent.first().map(|(u, _)| *u)).unwrap_or(first);
        (before.min(after.saturating_sub(1)) as usize, after as usize, best)
    }
}

impl State {
    /// Observations seen, those of the history included.
    pub fn observations(&self) -> usize {
        self.observations
    }

    /// Number of pixels.
    pub fn pixels(&self) -> usize {
        self.pixels.len()
    }

    /// What is known of a pixel: its breaks by time of decision, losses with a negative magnitude and returns with a
    /// positive one; and the mean of (observed - expected) over the monitored observations.
    ///
    /// # Errors
    /// Why the pixel could not be judged.
    pub fn verdict(&self, pixel: usize) -> Result<(&[PixelBreak], f64), Unjudged> {
        let pixel = self.pixels.get(pixel).ok_or(Unjudged::NoMonitoring)?.as_ref().map_err(|why| *why)?;
        if pixel.monitored == 0 {
            return Err(Unjudged::NoMonitoring);
        }
        Ok((&pixel.breaks, pixel.departure / f64::from(pixel.monitored)))
    }

    /// Little-endian bytes, one list a pixel, or why there is none; equal states give equal bytes. The noise, which all
    /// share, goes with the first pixel that is judged.
    pub fn save(&self) -> Vec<Result<Vec<u8>, Unjudged>> {
        let bearer = self.pixels.iter().position(Result::is_ok);
        let pixel = |(i, pixel): (usize, &Result<Pixel, Unjudged>)| {
            pixel.as_ref().map(|p| self.pixel_bytes(p, bearer == Some(i))).map_err(|why| *why)
        };
        self.pixels.iter().enumerate().map(pixel).collect()
    }

    fn pixel_bytes(&self, p: &Pixel, with_noise: bool) -> Vec<u8> {
        fn short(out: &mut Vec<u8>, values: &[u32]) {
            values.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
        }
        fn real(out: &mut Vec<u8>, values: &[f64]) {
            values.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
        }
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(&[u8::from(with_noise), p.columns as u8, p.recent.len() as u8]);
        if with_noise {
            real(&mut out, &self.noise.variance);
            real(&mut out, &self.noise.outliers);
        }
        short(&mut out, &[p.monitored, p.from, p.breaks.len() as u32]);
        real(&mut out, &p.coefficients[..p.columns]);
        real(&mut out, &p.covariance[..packed(p.columns, 0)]);
        real(&mut out, &[p.departure, p.best_height, p.left]);
        for sum in [&p.loss, &p.recovery] {
            real(&mut out, &[sum.value]);
            short(&mut out, &[sum.since, sum.votes]);
        }
        for (t, y) in &p.recent {
            short(&mut out, &[*t]);
            real(&mut out, &[*y]);
        }
        for b in &p.breaks {
            short(&mut out, &[b.before as u32, b.after as u32, b.detected as u32]);
            real(&mut out, &[b.magnitude, b.probability, b.break_day]);
        }
        out
    }

    /// Reads what [`State::save`] gave after `observations` observations. `None`: it is none of that, or damaged.
    pub fn restore<'a>(
        observations: usize,
        pixels: impl Iterator<Item = Option<Result<&'a [u8], Unjudged>>>,
    ) -> Option<State> {
        let mut noise = None;
        let read = |bytes: Option<Result<&'a [u8], Unjudged>>| {
            Some(match bytes? {
                Err(why) => Err(why),
                Ok(bytes) => {
                    let mut input = Reader(bytes);
                    let pixel = input.pixel(observations, &mut noise)?;
                    input.0.is_empty().then_some(Ok(pixel))?
                }
            })
        };
        let pixels: Vec<Result<Pixel, Unjudged>> = pixels.map(read).collect::<Option<_>>()?;
        // Without a judged pixel the noise is of no use.
        let none = || Noise { variance: [MIN_SIGMA * MIN_SIGMA; BINS], outliers: [OUTLIER_PRIOR; BINS] };
        let noise = if pixels.iter().any(Result::is_ok) { noise? } else { noise.unwrap_or_else(none) };
        Some(State { observations, noise, pixels })
    }
}

/// What is left of the bytes of a state.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn short(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn real(&mut self) -> Option<f64> {
        Some(f64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn reals(&mut self, out: &mut [f64]) -> Option<()> {
        out.iter_mut().try_for_each(|v| {
            *v = self.real()?;
            Some(())
        })
    }

    fn sum(&mut self) -> Option<Sum> {
        Some(Sum { value: self.real()?, since: self.short()?, votes: self.short()? })
    }

    /// Position below the number of observations.
    fn position(&mut self, observations: usize) -> Option<u32> {
        self.short().filter(|t| (*t as usize) < observations)
    }

    fn pixel(&mut self, observations: usize, noise: &mut Option<Noise>) -> Option<Pixel> {
        let with_noise = self.byte()?;
        let columns = usize::from(self.byte()?);
        let remembered = self.byte()?;
        if with_noise == 1 {
            let mut read = Noise { variance: [0.0; BINS], outliers: [0.0; BINS] };
            self.reals(&mut read.variance)?;
            self.reals(&mut read.outliers)?;
            *noise = Some(read);
        }
        let (monitored, from, breaks) = (self.short()?, self.short()?, self.short()?);
        if !(4..=MAX_COLUMNS).contains(&columns) || usize::from(remembered) > REMEMBERED {
            return None;
        }
        let (mut coefficients, mut covariance) = ([0.0; MAX_COLUMNS], [0.0; MAX_PACKED]);
        self.reals(&mut coefficients[..columns])?;
        self.reals(&mut covariance[..packed(columns, 0)])?;
        let (departure, best_height, left) = (self.real()?, self.real()?, self.real()?);
        let (loss, recovery) = (self.sum()?, self.sum()?);
        let recent =
            (0..remembered).map(|_| Some((self.position(observations)?, self.real()?))).collect::<Option<_>>()?;
        let breaks = (0..breaks)
            .map(|_| {
                let mut position = || Some(self.position(observations)? as usize);
                let (before, after, detected) = (position()?, position()?, position()?);
                let (magnitude, probability, break_day) = (self.real()?, self.real()?, self.real()?);
                Some(PixelBreak { before, after, detected, magnitude, probability, break_day })
            })
            .collect::<Option<_>>()?;
        let counts = (loss.since as usize).max(recovery.since as usize).max(from as usize);
        (counts < observations.max(1)).then_some(Pixel {
            columns,
            coefficients,
            covariance,
            best_height,
            recent,
            monitored,
            departure,
            left,
            loss,
            recovery,
            from,
            breaks,
        })
    }
}

/// Time of the year of a day.
fn bin(day: i32) -> u8 {
    let share = f64::from(day).rem_euclid(YEAR_DAYS) / YEAR_DAYS;
    ((share * BINS as f64) as usize).min(BINS - 1) as u8
}

/// Place of row i, column j <= i in a packed lower triangle.
const fn packed(i: usize, j: usize) -> usize {
    i * (i + 1) / 2 + j
}

fn dot(row: &[f64; MAX_COLUMNS], coefficients: &[f64; MAX_COLUMNS], columns: usize) -> f64 {
    row[..columns].iter().zip(&coefficients[..columns]).map(|(x, c)| x * c).sum()
}

/// `x' M x` for a packed symmetric matrix.
fn quadratic(matrix: &[f64; MAX_PACKED], x: &[f64; MAX_COLUMNS], columns: usize) -> f64 {
    let (mut sum, mut k) = (0.0, 0);
    for i in 0..columns {
        let mut inner = 0.0;
        for xj in &x[..i] {
            inner += matrix[k] * xj;
            k += 1;
        }
        sum += x[i] * (2.0 * inner + matrix[k] * x[i]);
        k += 1;
    }
    sum
}

/// Lower factor of a positive definite matrix; `None` where it is not.
fn cholesky(matrix: &[f64; MAX_PACKED], columns: usize) -> Option<[f64; MAX_PACKED]> {
    let mut factor = [0.0; MAX_PACKED];
    for i in 0..columns {
        for j in 0..=i {
            let mut sum = matrix[packed(i, j)];
            for k in 0..j {
                sum -= factor[packed(i, k)] * factor[packed(j, k)];
            }
            if i == j {
                if !(sum > 1e-12) {
                    return None;
                }
                factor[packed(i, i)] = sum.sqrt();
            } else {
                factor[packed(i, j)] = sum / factor[packed(j, j)];
            }
        }
    }
    Some(factor)
}

/// Solves `L L' x = b`.
fn solve(factor: &[f64; MAX_PACKED], b: &[f64; MAX_COLUMNS], columns: usize) -> [f64; MAX_COLUMNS] {
    let mut x = *b;
    for i in 0..columns {
        for k in 0..i {
            x[i] -= factor[packed(i, k)] * x[k];
        }
        x[i] /= factor[packed(i, i)];
    }
    for i in (0..columns).rev() {
        for k in i + 1..columns {
            x[i] -= factor[packed(k, i)] * x[k];
        }
        x[i] /= factor[packed(i, i)];
    }
    x
}

/// Inverse of `L L'`, packed.
fn inverse(factor: &[f64; MAX_PACKED], columns: usize) -> [f64; MAX_PACKED] {
    let mut out = [0.0; MAX_PACKED];
    for j in 0..columns {
        let mut unit = [0.0; MAX_COLUMNS];
        unit[j] = 1.0;
        let x = solve(factor, &unit, columns);
        for i in j..columns {
            out[packed(i, j)] = x[i];
        }
    }
    out
}

/// Scale of residuals: by the median of their sizes, or by their lower tail where that is wider. `None` without any. Their
/// order and signs are lost.
fn scale(residuals: &mut [f64]) -> Option<f64> {
    let rank = (residuals.len().checked_sub(1)? as f64 * TAIL) as usize;
    let tail = -*residuals.select_nth_unstable_by(rank, f64::total_cmp).1 * TAIL_TO_SIGMA;
    residuals.iter_mut().for_each(|r| *r = r.abs());
    Some((MAD_TO_SIGMA * median(residuals)).max(tail).max(MIN_SIGMA))
}

/// Median of a list that is not empty, the upper one for an even count.
fn median(values: &mut [f64]) -> f64 {
    let half = values.len() / 2;
    *values.select_nth_unstable_by(half, f64::total_cmp).1
}
