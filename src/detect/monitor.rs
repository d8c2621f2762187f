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
//!    Robust Statistics, chapter 10), and never more than `MAX_FOR`.
//! 4. **Decision** by a cumulative sum that does not fall below zero (Page 1954, Biometrika 41, 100-115): a pixel is lost
//!    once it reaches `evidence`, with at least `min_votes` clear observations of other days that spoke for a loss, over
//!    `min_span_days` or more. A large parcel has many places where cloud edges may coincide, each a chance for a false alarm;
//!    so that the alarms of a parcel, and not of a hectare, are few, the evidence needed grows by the logarithm of the number
//!    of places, the parcel's area over `PLACE_HA` (Bonferroni's bound, taken of a likelihood ratio).
//!    Observations of the season in which canopy hardly shows (expected height above bare ground
//!    below `min_visibility` of the pixel's upper quartile) can speak against a loss but not for it: snow lasts as long as a loss does.
//! 5. **Dates** from the profile of the evidence over the possible positions of the change, for half the loss found: all
//!    positions within `DATE_SUPPORT` of the best are possible (a likelihood interval; Hudson 1971, Biometrics 27, 853-865).
//!    The leafless season says nothing here either: a thinning does not show then, so a loss of that time has a wide interval.
//!    `before` is the last clear observation before the first of them, `after` the last of them. Half the loss, so that a
//!    slow beginning is within.
//! 6. After a loss the expectation is lowered by the share found, and the pixel is watched for a further loss; and for a
//!    return to the full expectation, by the same sum with the signs turned, which is told as a break with a positive
//!    magnitude.
//!
//! `magnitude` is the mean of (observed - expected) from the beginning of the sum to the decision, in the season of canopy; `break_day`
//! the day of `after`. `probability` is the posterior probability of the decision, from the very evidence that made it: of
//! decisions on so much evidence, the share that is right where one pixel in [`PRIOR_ODDS`] is lost, less the evidence
//! that a large parcel needs for its many chances, observations taken as independent given the outlier shares. With the default
//! `evidence` it is 0.67 or more for whatever is told; it grows with the size of a loss and not with its later confirmation.
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
/// Strongest evidence of one observation against a loss, and for one. The likelihoods take the outliers of different days for
/// independent, which clouds of one season are not; what a single look may say is bounded the closer.
const MAX_AGAINST: f64 = 5.0;
const MAX_FOR: f64 = 2.5;
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
/// Area that holds one chance for a coincidence of cloud edges, hectares: they are about 100 m wide.
const PLACE_HA: f64 = 0.5;
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
    /// First day that is monitored. Without it, monitoring begins `history_years` after the first look at the parcel.
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
    /// Evidence for a decision (logarithm of a likelihood ratio) in a parcel of up to 0.5 ha; larger ones need more.
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
        0.25
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
        0.6
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
    /// Expected height above bare ground in the season in which canopy shows: upper quartile over the history.
    best_height: f64,
    /// Last clear observations: position and value, oldest first.
    recent: Vec<(u32, f64)>,
    /// Position of the clear observation before the first of these, where there was one.
    forgotten: Option<u32>,
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
        Ok(Self::from_look(params, days, 0))
    }

    /// The same for a parcel that the look of this position shows first: where `monitor_start` is not given, its own years of
    /// history count from there.
    pub fn first_seen(&self, look: usize) -> Model {
        Self::from_look(&self.params, &self.days, look)
    }

    /// True where the first look at a parcel decides when its monitoring begins.
    pub fn counts_from_first_look(&self) -> bool {
        self.params.monitor_start.is_none()
    }

    fn from_look(params: &Params, days: &[i32], look: usize) -> Model {
        let start = params.first_monitored(&days[look.min(days.len())..]);
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
        Model {
            params: params.clone(),
            bare: params.known_bare().unwrap_or(0.0),
            days: days.to_vec(),
            rows: days.iter().map(row).collect(),
            bins: days.iter().map(|d| bin(*d)).collect(),
            history: days.partition_point(|d| *d < start),
        }
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
    /// already seen are not looked at. `area_ha` is the area of the parcel.
    pub fn advance(&self, state: &mut State, values: &[f64], area_ha: f64) {
        let State { observations, noise, pixels } = state;
        let needed = self.params.evidence + (area_ha / PLACE_HA).max(1.0).ln();
        let rows = values.par_chunks_exact(self.days.len().max(1));
        pixels.par_iter_mut().zip(rows).for_each(|(pixel, row)| {
            let Ok(pixel) = pixel else { return };
            for (t, y) in row.iter().enumerate().skip(*observations).filter(|(_, y)| y.is_finite()) {
                self.watch(pixel, noise, t, *y, needed);
            }
        });
        *observations = (*observations).max(self.days.len());
    }

    /// From nothing: history, then all observations.
    pub fn detect(&self, values: &[f64], area_ha: f64) -> State {
        let mut state = self.start(values);
        self.advance(&mut state, values, area_ha);
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
        // Not the top of the curve: where nothing was seen it may point anywhere, and snow lifts some indices.
        sorted.clear();
        let honest = at.iter().zip(weight.iter()).filter(|(_, w)| **w > 0.0);
        sorted.extend(honest.map(|(t, _)| dot(&self.rows[*t], &coefficients, columns) - self.bare));
        if sorted.is_empty() {
            return Err(Unjudged::SingularDesign);
        }
        let rank = sorted.len() * 3 / 4;
        let best_height = sorted.select_nth_unstable_by(rank, f64::total_cmp).1.max(MIN_HEIGHT);
        let oldest = n.saturating_sub(REMEMBERED);
        Ok(Pixel {
            columns,
            coefficients,
            covariance,
            best_height,
            recent: at[oldest..].iter().zip(&y[oldest..]).map(|(t, y)| (*t as u32, *y)).collect(),
            forgotten: oldest.checked_sub(1).map(|i| at[i] as u32),
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

    /// One clear observation of one pixel; `needed` is the evidence for a decision in its parcel.
    fn watch(&self, pixel: &mut Pixel, noise: &Noise, t: usize, y: f64, needed: f64) {
        // The same place twice on one day (overlapping tiles) is one look at it.
        if pixel.recent.last().is_some_and(|(last, _)| self.days[*last as usize] == self.days[t]) {
            return;
        }
        let at = t as u32;
        pixel.monitored += 1;
        if pixel.recent.len() == REMEMBERED {
            pixel.forgotten = Some(pixel.recent.remove(0).0);
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
        let mut evidence = reading.evidence(pixel.left, self.params.loss_share).clamp(-MAX_AGAINST, MAX_FOR);
        if !self.visible(pixel, &reading) {
            evidence = evidence.min(0.0);
        }
        pixel.loss.add(evidence, at);
        let sum = pixel.loss;
        if sum.value >= needed
            && sum.votes >= self.params.min_votes
            && self.days[t] - self.days[sum.since as usize] >= self.params.min_span_days
        {
            self.open(pixel, noise, t, needed);
        }
    }

    /// Whether canopy shows at this time of the year.
    fn visible(&self, pixel: &Pixel, reading: &Reading) -> bool {
        reading.height >= self.params.min_visibility * pixel.best_height
    }

    /// A loss is decided: its share, its dates; the expectation is lowered.
    fn open(&self, pixel: &mut Pixel, noise: &Noise, t: usize, needed: f64) {
        let left = pixel.left;
        let (mut above, mut below, mut fall, mut count) = (0.0, 0.0, 0.0, 0.0);
        for (u, y) in pixel.recent.iter().filter(|(u, _)| *u >= pixel.loss.since) {
            let reading = self.read(pixel, noise, *u as usize, *y);
            let (height, r) = (left * reading.height, reading.below(left));
            above -= height * r / reading.variance;
            below += height * height / reading.variance;
            if self.visible(pixel, &reading) {
                fall += r;
                count += 1.0;
            }
        }
        let share = (above / below).clamp(0.01, 1.0);
        let (before, after) = self.position(pixel, noise, |r| r.evidence(left, DATE_SHARE * share));
        pixel.breaks.push(PixelBreak {
            before,
            after,
            detected: t,
            // At least the votes were seen in the season of canopy.
            magnitude: fall / f64::max(count, 1.0),
            // Chances that need more evidence are odds against it, and take the same from it.
            probability: posterior(pixel.loss.value - (needed - self.params.evidence)),
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
        let (before, after) = self.position(pixel, noise, |r| -r.evidence(1.0, 1.0 - left));
        pixel.breaks.push(PixelBreak {
            before,
            after,
            detected: t,
            magnitude: rise / count,
            probability: posterior(pixel.recovery.value),
            break_day: f64::from(self.days[after]),
        });
        pixel.left = 1.0;
        pixel.from = after as u32;
        (pixel.loss, pixel.recovery) = (Sum::default(), Sum::default());
    }

    /// Positions of the last clear observation before the change and of the first after it.
    fn position(&self, pixel: &Pixel, noise: &Noise, evidence: impl Fn(&Reading) -> f64) -> (usize, usize) {
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
        let mut earlier = pixel.recent.iter().rev().map(|(u, _)| *u).filter(|u| *u < first);
        if let Some(before) = earlier.next().or(pixel.forgotten) {
            return (before as usize, after as usize);
        }
        // The very first observation of all cannot be after a change: it stands for the one before.
        let later = pixel.recent.iter().map(|(u, _)| *u).find(|u| *u > first);
        (first as usize, after.max(later.unwrap_or(first + 1)) as usize)
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
        out.push(u8::from(p.forgotten.is_some()));
        if with_noise {
            real(&mut out, &self.noise.variance);
            real(&mut out, &self.noise.outliers);
        }
        short(&mut out, &[p.monitored, p.from, p.breaks.len() as u32]);
        short(&mut out, p.forgotten.as_slice());
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
        let has_forgotten = self.byte()? == 1;
        if with_noise == 1 {
            let mut read = Noise { variance: [0.0; BINS], outliers: [0.0; BINS] };
            self.reals(&mut read.variance)?;
            self.reals(&mut read.outliers)?;
            *noise = Some(read);
        }
        let (monitored, from, breaks) = (self.short()?, self.short()?, self.short()?);
        let forgotten = if has_forgotten { Some(self.position(observations)?) } else { None };
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
            forgotten,
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

/// Posterior probability for evidence and [`PRIOR_ODDS`].
fn posterior(evidence: f64) -> f64 {
    1.0 / (1.0 + PRIOR_ODDS * (-evidence.min(100.0)).exp())
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
                if sum.is_nan() || sum <= 1e-12 {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: i32 = 17_897;

    /// SplitMix64, as normal numbers of mean 0 and standard deviation 1.
    struct Noise(u64);

    impl Noise {
        fn bits(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }

        fn next(&mut self) -> f64 {
            let unit = |b: u64| (b >> 11) as f64 / (1u64 << 53) as f64;
            (0..12).map(|_| unit(self.bits())).sum::<f64>() - 6.0
        }
    }

    fn days(n: usize) -> Vec<i32> {
        (0..n as i32).map(|i| FIRST + 10 * i).collect()
    }

    /// Deciduous forest: NDVI 0.4 in winter, 0.88 in summer.
    fn season(day: i32) -> f64 {
        let doy = f64::from(day - FIRST).rem_euclid(YEAR_DAYS);
        let turn = |middle: f64, width: f64| 1.0 / (1.0 + (-(doy - middle) / width).exp());
        0.4 + 0.48 * (turn(128.0, 9.0) - turn(277.0, 10.0))
    }

    /// So many pixels, every second value clear, noise 0.02.
    fn forest(pixels: usize, days: &[i32], seed: u64) -> Vec<f64> {
        let mut noise = Noise(seed);
        let mut values = Vec::new();
        for _ in 0..pixels {
            for day in days {
                let y = season(*day) + 0.02 * noise.next();
                values.push(if noise.bits().is_multiple_of(2) { y } else { f64::NAN });
            }
        }
        values
    }

    fn model(days: &[i32]) -> Model {
        Model::new(&Params::new("ndvi"), days).unwrap()
    }

    fn breaks(state: &State, pixel: usize) -> &[PixelBreak] {
        state.verdict(pixel).unwrap().0
    }

    #[test]
    fn a_loss_is_dated_between_clear_observations_and_stable_pixels_stay_quiet() {
        let days = days(150);
        let n = days.len();
        let mut values = forest(40, &days, 1);
        // Pixels 0..10 are cut between positions 94 (summer of the third year) and 95.
        for p in 0..10 {
            values[p * n + 95..(p + 1) * n].iter_mut().for_each(|y| *y = 0.25 + 0.2 * (*y - 0.25));
        }
        let state = model(&days).detect(&values, 0.5);
        for p in 0..40 {
            let found = breaks(&state, p);
            if p >= 10 {
                assert!(found.is_empty(), "pixel {p}: {found:?}");
                continue;
            }
            assert_eq!(found.len(), 1, "pixel {p}");
            let b = found[0];
            assert!(b.before < 95 && 95 <= b.after && b.after <= b.detected, "pixel {p}: {b:?}");
            assert!(values[p * n + b.before].is_finite() && values[p * n + b.after].is_finite());
            assert!(b.magnitude < -0.3 && b.magnitude > -0.6 && b.probability > 0.5, "pixel {p}: {b:?}");
            assert_eq!(b.break_day, f64::from(days[b.after]));
        }
    }

    #[test]
    fn snow_in_winter_and_short_runs_of_cloud_are_no_loss_and_a_return_is_told() {
        let days = days(150);
        let n = days.len();
        let winter = |d: i32| !(60.0..=330.0).contains(&f64::from(d - FIRST).rem_euclid(YEAR_DAYS));
        let mut values = forest(30, &days, 2);
        for p in 0..10 {
            // A third winter all under snow that the mask missed.
            for t in (73..150).filter(|t| winter(days[*t])) {
                values[p * n + t] = -0.05;
            }
            // Two clear observations in a row below thin cloud.
            let clear: Vec<usize> = (90..150).filter(|t| values[(10 + p) * n + t].is_finite()).take(2).collect();
            clear.iter().for_each(|t| values[(10 + p) * n + t] -= 0.3);
        }
        // Cut, and back to full height two years later.
        for p in 20..30 {
            values[p * n + 88..p * n + 125].iter_mut().for_each(|y| *y = 0.25 + 0.2 * (*y - 0.25));
        }
        let state = model(&days).detect(&values, 0.5);
        for p in 0..20 {
            assert!(breaks(&state, p).is_empty(), "pixel {p}: {:?}", breaks(&state, p));
        }
        for p in 20..30 {
            let found = breaks(&state, p);
            assert_eq!(found.len(), 2, "pixel {p}: {found:?}");
            assert!(found[0].magnitude < 0.0 && found[1].magnitude > 0.0);
            assert!(found[1].before < found[1].after && found[1].after >= 125, "pixel {p}: {found:?}");
        }
    }

    #[test]
    fn what_alarms_in_a_small_parcel_is_a_coincidence_in_a_large_one_and_a_loss_is_found_in_both() {
        let days = days(150);
        let n = days.len();
        let mut values = forest(30, &days, 11);
        for p in 0..20 {
            // Four clear looks of a summer under thin cloud: 10 of evidence at most.
            let clear: Vec<usize> = (88..150).filter(|t| values[p * n + t].is_finite()).take(4).collect();
            clear.iter().for_each(|t| values[p * n + t] -= 0.3);
        }
        for p in 20..30 {
            values[p * n + 88..(p + 1) * n].iter_mut().for_each(|y| *y = 0.25 + 0.2 * (*y - 0.25));
        }
        // 6 are needed in 0.5 ha, 6 + ln 600 = 12.4 in 300 ha.
        let (small, large) = (model(&days).detect(&values, 0.5), model(&days).detect(&values, 300.0));
        let alarmed = |state: &State| (0..20).filter(|p| !breaks(state, *p).is_empty()).count();
        assert!(alarmed(&small) > 10 && alarmed(&large) == 0, "{} and {}", alarmed(&small), alarmed(&large));
        for p in 20..30 {
            let (soon, late) = (breaks(&small, p)[0], breaks(&large, p)[0]);
            assert!(soon.detected < late.detected && soon.magnitude < -0.3 && late.magnitude < -0.3, "pixel {p}");
            // Told by 6 of evidence or more against 200 to 1, whatever the size of the parcel.
            assert!(soon.probability > 0.66 && late.probability > 0.66, "pixel {p}: {soon:?} {late:?}");
        }
    }

    #[test]
    fn history_counts_from_the_first_look_at_the_parcel() {
        let days = days(190);
        let n = days.len();
        let mut values = forest(4, &days, 12);
        values[..n].iter_mut().skip(140).for_each(|y| *y = 0.25 + 0.2 * (*y - 0.25));
        values.chunks_exact_mut(n).for_each(|row| row[..40].fill(f64::NAN));
        let late = model(&days).first_seen(40);
        assert_eq!(late.history(), 40 + model(&days[40..]).history());
        assert!(model(&days).history() < late.history());
        let cut: Vec<f64> = values.chunks_exact(n).flat_map(|row| row[40..].to_vec()).collect();
        let (whole, own) = (late.detect(&values, 0.5), model(&days[40..]).detect(&cut, 0.5));
        assert_eq!(breaks(&whole, 0).len(), 1);
        for p in 0..4 {
            let moved = |b: &PixelBreak| PixelBreak {
                before: b.before + 40,
                after: b.after + 40,
                detected: b.detected + 40,
                ..*b
            };
            let expected: Vec<PixelBreak> = breaks(&own, p).iter().map(moved).collect();
            assert_eq!(breaks(&whole, p), expected, "pixel {p}");
        }
        // A day that is given holds whatever is seen when.
        let start = Params { monitor_start: Some(units::date_of(FIRST + 900)), ..Params::new("ndvi") };
        let given = Model::new(&start, &days).unwrap();
        assert_eq!((given.history(), given.first_seen(40).history()), (90, 90));
    }

    #[test]
    fn pixels_that_cannot_be_judged_say_why() {
        let days = days(150);
        let n = days.len();
        let model = model(&days);
        let mut values = forest(6, &days, 3);
        let history = model.history();
        // 11 clear observations; all equal; infinite; none after the history.
        let clear: Vec<usize> = (0..history).filter(|t| values[*t].is_finite()).collect();
        clear.iter().skip(11).for_each(|t| values[*t] = f64::NAN);
        values[n..2 * n].fill(0.8);
        values[2 * n..3 * n].fill(f64::INFINITY);
        values[3 * n + history..4 * n].fill(f64::NEG_INFINITY);
        // Clear within three months only.
        values[4 * n..5 * n]
            .iter_mut()
            .enumerate()
            .for_each(|(t, y)| *y = if t < 20 { 0.5 + 0.01 * t as f64 } else { *y });
        values[4 * n + 20..4 * n + history].fill(f64::NAN);
        let state = model.detect(&values, 0.5);
        let why = |p: usize| state.verdict(p).unwrap_err();
        assert_eq!(why(0), Unjudged::TooFewObservations);
        assert_eq!(why(1), Unjudged::ConstantHistory);
        assert_eq!(why(2), Unjudged::TooFewObservations);
        assert_eq!(why(3), Unjudged::NoMonitoring);
        assert_eq!(why(4), Unjudged::SingularDesign);
        assert!(state.verdict(5).is_ok());
        // One day again and again, no days, nothing but history, nothing but monitoring.
        let same = Model::new(&Params::new("ndvi"), &[FIRST; 60]).unwrap();
        assert_eq!(same.detect(&forest(1, &[FIRST; 60], 4), 0.5).verdict(0), Err(Unjudged::SingularDesign));
        assert_eq!(Model::new(&Params::new("ndvi"), &[]).unwrap().detect(&[], 0.5).pixels(), 0);
        let short = &days[..60];
        let early = Model::new(&Params::new("ndvi"), short).unwrap();
        assert!(!early.has_begun());
        assert_eq!(early.detect(&forest(1, short, 5), 0.5).verdict(0), Err(Unjudged::NoMonitoring));
        let start = Params { monitor_start: Some(units::date_of(FIRST)), ..Params::new("ndvi") };
        let late = Model::new(&start, short).unwrap();
        assert_eq!(late.detect(&forest(1, short, 5), 0.5).verdict(0), Err(Unjudged::TooFewObservations));
    }

    #[test]
    fn two_looks_at_one_day_count_once() {
        let days = days(150);
        let n = days.len();
        let doubled: Vec<i32> = days.iter().flat_map(|d| [*d, *d]).collect();
        let values = forest(5, &days, 6);
        let twice: Vec<f64> = values.iter().flat_map(|y| [*y, *y]).collect();
        // One day with three looks below cloud is one vote.
        let model = Model::new(&Params::new("ndvi"), &doubled).unwrap();
        let state = model.detect(&twice, 0.5);
        assert!((0..5).all(|p| breaks(&state, p).is_empty()));
        assert_eq!(state.pixels.len() * n, values.len());
        let once = super::tests::model(&days).detect(&values, 0.5);
        let monitored = |s: &State| s.pixels[0].as_ref().unwrap().monitored;
        assert_eq!(monitored(&state), monitored(&once));
    }

    /// From nothing, and scene by scene through bytes.
    fn both_ways(values: &[f64], days: &[i32], steps: &[usize]) -> (State, State) {
        let n = days.len();
        let first = model(days).history() + 1;
        let cut = |until: usize| -> Vec<f64> { values.chunks_exact(n).flat_map(|row| row[..until].to_vec()).collect() };
        let mut state = model(&days[..first]).detect(&cut(first), 0.5);
        let mut until = first;
        for step in steps.iter().cycle() {
            let bytes = state.save();
            let parts = bytes.iter().map(|b| Some(b.as_deref().map_err(|why| *why)));
            state = State::restore(until, parts).unwrap();
            until = (until + step.max(&1)).min(n);
            // What was seen is not needed any more.
            let mut rest = cut(until);
            let seen = state.observations();
            rest.chunks_exact_mut(until).for_each(|row| row[..seen].fill(f64::NAN));
            model(&days[..until]).advance(&mut state, &rest, 0.5);
            if until == n {
                break;
            }
        }
        (model(days).detect(values, 0.5), state)
    }

    #[test]
    fn step_by_step_gives_the_same_bytes_as_from_nothing() {
        let days = days(150);
        let n = days.len();
        let mut values = forest(6, &days, 7);
        values[..n].fill(f64::NAN);
        for p in 2..5 {
            values[p * n + 90..p * n + 120].iter_mut().for_each(|y| *y = 0.25 + 0.2 * (*y - 0.25));
        }
        for steps in [&[1][..], &[3, 1, 7], &[1000]] {
            let (whole, stepped) = both_ways(&values, &days, steps);
            assert_eq!(whole, stepped);
            assert_eq!(whole.save(), stepped.save());
        }
    }

    #[test]
    fn damaged_states_are_refused_or_read_but_never_break() {
        let days = days(150);
        let values = forest(2, &days, 8);
        let bytes = model(&days).detect(&values, 0.5).save();
        let whole: Vec<Vec<u8>> = bytes.into_iter().map(Result::unwrap).collect();
        let restore = |first: &[u8]| State::restore(150, [Some(Ok(first)), Some(Ok(&whole[1][..]))].into_iter());
        assert!(restore(&whole[0]).is_some());
        for cut in 0..whole[0].len() {
            assert!(restore(&whole[0][..cut]).is_none(), "cut at {cut}");
        }
        for at in 0..whole[0].len() {
            let mut other = whole[0].clone();
            other[at] ^= 0xff;
            if let Some(mut state) = restore(&other) {
                let longer = super::tests::days(200);
                model(&longer).advance(&mut state, &forest(2, &longer, 9), 0.5);
            }
        }
        // Without the pixel that carries the noise.
        assert!(State::restore(150, [Some(Ok(&whole[1][..]))].into_iter()).is_none());
        assert!(State::restore(150, [None].into_iter()).is_none());
    }

    /// Solves a full system by Gauss-Jordan elimination with pivots; gives the inverse as well.
    fn gauss(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> (Vec<f64>, Vec<Vec<f64>>) {
        let n = b.len();
        let mut inverse: Vec<Vec<f64>> =
            (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
        for c in 0..n {
            let pivot = (c..n).max_by(|x, y| a[*x][c].abs().total_cmp(&a[*y][c].abs())).unwrap();
            a.swap(c, pivot);
            b.swap(c, pivot);
            inverse.swap(c, pivot);
            let by = a[c][c];
            a[c].iter_mut().chain(&mut inverse[c]).for_each(|v| *v /= by);
            b[c] /= by;
            for r in (0..n).filter(|r| *r != c) {
                let by = a[r][c];
                for j in 0..n {
                    a[r][j] -= by * a[c][j];
                    inverse[r][j] -= by * inverse[c][j];
                }
                b[r] -= by * b[c];
            }
        }
        (b, inverse)
    }

    #[test]
    fn the_fit_is_that_of_another_solver() {
        let days = days(150);
        let model = model(&days);
        let mut values = forest(1, &days, 10);
        // An outlier, so that the weights matter.
        let clear: Vec<usize> = (0..model.history()).filter(|t| values[*t].is_finite()).collect();
        values[clear[7]] -= 0.4;
        let mut left_out = vec![f64::NAN; model.history()];
        let pixel = model.learn(&values, &mut left_out, &mut Scratch::default()).unwrap();
        let p = pixel.columns;
        let row = |t: usize| {
            let at = (f64::from(days[t]) - f64::from(Params::new("ndvi").first_monitored(&days))) / YEAR_DAYS;
            let phase = std::f64::consts::TAU * f64::from(days[t]) / YEAR_DAYS;
            let waves = (1..=4).flat_map(|k| [(f64::from(k) * phase).cos(), (f64::from(k) * phase).sin()]);
            [1.0, at].into_iter().chain(waves).take(p).collect::<Vec<f64>>()
        };
        let sd = [10.0, 0.01, 0.5, 0.5, 0.2, 0.2, 0.12, 0.12, 0.08, 0.08];
        let mut weights = vec![1.0; clear.len()];
        for round in 0..8 {
            let mut a = vec![vec![0.0; p]; p];
            let mut b = vec![0.0; p];
            (0..p).for_each(|j| a[j][j] = (0.03f64 / sd[j]).powi(2));
            for (t, w) in clear.iter().zip(&weights) {
                let x = row(*t);
                for i in 0..p {
                    b[i] += w * x[i] * values[*t];
                    (0..p).for_each(|j| a[i][j] += w * x[i] * x[j]);
                }
            }
            let (coefficients, inverse) = gauss(a, b);
            let residual = |t: usize| values[t] - row(t).iter().zip(&coefficients).map(|(x, c)| x * c).sum::<f64>();
            if round == 7 {
                for (i, c) in coefficients.iter().enumerate() {
                    assert!((c - pixel.coefficients[i]).abs() < 1e-9, "coefficient {i}");
                    (0..=i).for_each(|j| assert!((inverse[i][j] - pixel.covariance[packed(i, j)]).abs() < 1e-9));
                }
                for (t, w) in clear.iter().zip(&weights) {
                    let x = row(*t);
                    let leverage: f64 = (0..p * p).map(|k| x[k / p] * inverse[k / p][k % p] * x[k % p]).sum();
                    assert!((left_out[*t] - residual(*t) / (1.0 - w * leverage)).abs() < 1e-9, "observation {t}");
                }
                assert_eq!(weights[7], 0.0);
            }
            let mut sizes: Vec<f64> = clear.iter().map(|t| residual(*t).abs()).collect();
            sizes.sort_by(f64::total_cmp);
            let n = sizes.len();
            let reach = 4.685 * (1.4826 * sizes[n / 2] * (n as f64 / (n - p) as f64).sqrt()).max(0.005);
            weights = clear.iter().map(|t| (1.0 - (residual(*t) / reach).powi(2)).max(0.0).powi(2)).collect();
        }
        assert!((0..model.history()).all(|t| values[t].is_finite() == left_out[t].is_finite()));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let bad = |change: fn(&mut Params)| {
            let mut p = Params::new("ndvi");
            change(&mut p);
            p.validate().unwrap_err().0
        };
        assert!(Params::new("ndvi").validate().is_ok());
        assert_eq!(bad(|p| p.history_years = 0.5), "history_years");
        assert_eq!(bad(|p| p.order = 5), "order");
        assert_eq!(bad(|p| p.loss_share = f64::NAN), "loss_share");
        assert_eq!(bad(|p| p.evidence = 0.0), "evidence");
        assert_eq!(bad(|p| p.min_votes = 0), "min_votes");
        assert_eq!(bad(|p| p.min_span_days = -1), "min_span_days");
        assert_eq!(bad(|p| p.min_visibility = 1.5), "min_visibility");
        assert_eq!(bad(|p| p.index = "tcw".into()), "bare");
        assert_eq!(bad(|p| p.bare = Some(3.0)), "bare");
    }

    proptest! {
        /// One observation can say only so much, and more the lower it lies.
        #[test]
        fn evidence_is_bounded_and_monotone(
            r in -2.0f64..2.0, lower in 0.0f64..1.0, fall in 0.01f64..0.8, sigma in 0.012f64..0.3, outliers in 0.01f64..0.5,
        ) {
            let at = |r| log_ratio(r, fall, sigma * sigma, outliers);
            let most = (1.0 + OUTLIER_SPAN / (outliers * sigma * std::f64::consts::TAU.sqrt())).ln();
            prop_assert!(at(r).abs() <= most + 1e-9);
            prop_assert!(at(-fall) >= at(r) - 1e-9);
            prop_assert!(at(-fall - lower) == at(-fall));
        }

        #[test]
        fn wild_values_never_break_it(values in proptest::collection::vec(
            prop_oneof![Just(f64::NAN), Just(f64::INFINITY), -1.0f64..1.0, Just(1e300), Just(0.0)], 300)) {
            let days = days(150);
            let state = model(&days).detect(&values, 0.5);
            for p in 0..2 {
                for b in state.verdict(p).map_or(&[][..], |v| v.0) {
                    prop_assert!(b.before < b.after && b.after <= b.detected && b.detected < 150);
                    // Both looks are of this pixel: one that does not show it cannot be named.
                    prop_assert!(values[p * 150 + b.before].is_finite() && values[p * 150 + b.after].is_finite());
                }
            }
        }
    }
}
