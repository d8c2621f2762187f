//! BFAST Monitor: a season-trend model of a stable history, and a test that says when new observations leave it.
//!
//! Verbesselt, Zeileis and Herold 2012, Remote Sensing of Environment 123, 98-108; the tests are those of Chu, Stinchcombe
//! and White 1996, Econometrica 64, 1045-1065 (CUSUM) and Leisch, Hornik and Kuan 2000, Econometric Theory 16, 835-854
//! (MOSUM), in the form of Zeileis et al. 2005, J. Applied Econometrics 20, 99-121. For each pixel:
//!
//! 1. **History**: the clear observations before `monitor_start`. With `history = "roc"` it is cut where it stops being
//!    stable: the recursive residuals w (see [`super::harmonic`]) of the reversed history give the process
//!    `S_j = sum of w_1..w_j / (s sqrt(m))`, s their standard deviation, m their number. If the largest
//!    `|S_j| / (1 + 2 j / m)` is significant at `level` (Brown, Durbin and Evans 1975), the history begins after the first j
//!    at which it is above 0.9479, the border at 5 % whatever the level.
//! 2. **Model**: least squares on the n history observations with p coefficients; `sigma = sqrt(RSS / (n - p))`.
//! 3. **Process** over the residuals e, at each clear observation k = n + 1, n + 2, ... from `monitor_start` on:
//!    `ols-mosum`: `sum of the last floor(h n) residuals / (sigma sqrt(n))`, history included, against
//!    `c sqrt(2 log+(k / n))`, `log+(x) = 1` up to e, then `ln x`.
//!    `ols-cusum`: `sum of all residuals / (sigma sqrt(n))` against `sqrt(x (x - 1) (a^2 + ln(x / (x - 1))))`, x = k / n,
//!    a^2 the chi-square quantile with 3 degrees of freedom.
//! 4. **Break**: the first k where the process is beyond its border. **Magnitude**: median of (observed - predicted) over
//!    all clear observations of the monitoring period, with or without a break.
//!
//! Time runs on the calendar of R's `bfastts`: years of 365 days, 29 February counts as 1 March ([`Axis::calendar_365`]).
//! Two observations of one such day are two observations (R refuses them). Only clear observations enter, as in R.
//!
//! The critical values c are tabulated by simulation for h, period and level (R package strucchange), so only tabulated
//! settings are accepted. `period` is the length for which `level` holds, in lengths of the history, counted from its
//! beginning; monitoring goes on after it, as in the reference.
//!
//! **What differs from the reference, knowingly.** Where the first reversed observations nearly determine each other (many
//! dates within a few weeks and three harmonics), R's recursion breaks down to NaN and the whole history is taken; here the
//! recursion is stable and the cut is made. Where R fits a perfect or underdetermined model and goes on with a noise of
//! rounding errors or none, the pixel is [`Unjudged`].
//!
//! **Probability** of a break: 1 - p, p interpolated (its logarithm, linearly) between the critical values of the levels
//! 0.05, 0.025, 0.01 and 0.001 at the largest process so far; never outside 0.95..0.999. It is the probability of no such
//! excursion in the whole monitoring period of one undisturbed pixel: among many pixels some excursions are certain.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::harmonic::{Axis, Design, Fit, MAX_COLUMNS, MAX_ORDER, recursive_residuals, step_365};
use super::{PixelBreak, Unjudged};
use crate::units::days as day_number;

/// Levels with tabulated critical values.
const LEVELS: [f64; 4] = [0.05, 0.025, 0.01, 0.001];
/// Window shares with tabulated critical values.
const WINDOWS: [f64; 3] = [0.25, 0.5, 1.0];
/// Monitoring lengths with tabulated critical values.
const PERIODS: [f64; 5] = [2.0, 4.0, 6.0, 8.0, 10.0];
/// Critical values of the OLS-MOSUM monitoring process by level, window and period (strucchange 1.5-3).
const MOSUM_CRITICAL: [[[f64; 5]; 3]; 4] = [
    [
        [1.22762665817831, 1.33623105388957, 1.34108685187662, 1.34165681503561, 1.34182451007628],
        [1.68732328328598, 1.8863309010041, 1.8995844505951, 1.90129850983572, 1.90200317899371],
        [2.22408818231127, 2.70443676308234, 2.73714807589866, 2.74287924359951, 2.74592761324742],
    ],
    [
        [1.32335166269351, 1.42022026752427, 1.42362459481656, 1.42380433491698, 1.4238186195231],
        [1.84186416555787, 2.03402198587187, 2.04266224216936, 2.04423035024309, 2.04438785665452],
        [2.48305431089417, 2.95537968710744, 2.97653791054636, 2.97934036146678, 2.98001396428591],
    ],
    [
        [1.4332629474243, 1.51983679278537, 1.52159988186384, 1.52162850629023, 1.52164497279622],
        [2.03146339358619, 2.20116995886405, 2.20853516508261, 2.20875377365514, 2.20907282819197],
        [2.79961591720564, 3.2528296362616, 3.27400632880909, 3.27485973776243, 3.27693245691716],
    ],
    [
        [1.67397676536158, 1.74550948894458, 1.74550948894458, 1.74550948894458, 1.74550948894458],
        [2.43457585062277, 2.56886151964252, 2.57025529149703, 2.57025529149703, 2.57025529149703],
        [3.45472681303725, 3.93535696186154, 3.94102916093653, 3.94102916093653, 3.94102916093653],
    ],
];
/// `a` of the OLS-CUSUM border by level: square root of the chi-square quantile with 3 degrees of freedom.
const CUSUM_CRITICAL: [f64; 4] = [2.795483482915, 3.057515920563, 3.368214175219, 4.033142223656];
/// Critical values of the recursive CUSUM test by level: roots of the formula of Brown, Durbin and Evans (1975).
const ROC_CRITICAL: [f64; 4] = [0.947898234042, 1.036513183962, 1.142973566022, 1.373925472565];
/// A history whose noise is below this share of its largest value is rounding, not noise.
const PERFECT_FIT: f64 = 1e-10;
/// A residual beyond so many standard deviations may belong to the change.
const OUTLYING_SIGMA: f64 = 2.0;

/// `[change.bfast_monitor]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Index to monitor.
    pub index: String,
    /// Number of harmonics, 1 to 3.
    #[serde(default = "defaults::order")]
    pub order: usize,
    /// Whether the model has a linear trend.
    #[serde(default = "defaults::trend")]
    pub trend: bool,
    /// Monitoring process.
    #[serde(default = "defaults::process")]
    pub process: Process,
    /// Window of the MOSUM as a share of the history: 0.25, 0.5 or 1.
    #[serde(default = "defaults::h")]
    pub h: f64,
    /// Length for which the level holds, in lengths of the history: 2, 4, 6, 8 or 10.
    #[serde(default = "defaults::period")]
    pub period: f64,
    /// Significance level, of the history test too: 0.05, 0.025, 0.01 or 0.001.
    #[serde(default = "defaults::level")]
    pub level: f64,
    /// Which observations before `monitor_start` are the history.
    #[serde(default = "defaults::history")]
    pub history: History,
    /// First day that is monitored.
    pub monitor_start: Date,
}

mod defaults {
    use super::{History, Process};

    pub fn order() -> usize {
        3
    }
    pub fn trend() -> bool {
        true
    }
    pub fn process() -> Process {
        Process::OlsMosum
    }
    pub fn h() -> f64 {
        0.25
    }
    pub fn period() -> f64 {
        10.0
    }
    pub fn level() -> f64 {
        0.05
    }
    pub fn history() -> History {
        History::Roc
    }
}

/// The process that is compared with a border.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Process {
    /// Moving sums of residuals.
    OlsMosum,
    /// Sums of all residuals.
    OlsCusum,
}

/// Which observations before the monitoring period are the history: `"roc"`, `"all"` or its first day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum History {
    /// From the end of the last instability on, found by the reverse-ordered CUSUM test.
    Roc,
    /// All of them.
    All,
    /// From a day on.
    Since(Date),
}

impl TryFrom<String> for History {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "roc" => Ok(History::Roc),
            "all" => Ok(History::All),
            other => other
                .parse()
                .map(History::Since)
                .map_err(|_| format!("{other:?}, expected \"roc\", \"all\" or a date like \"2018-01-01\"")),
        }
    }
}

impl From<History> for String {
    fn from(history: History) -> String {
        match history {
            History::Roc => "roc".into(),
            History::All => "all".into(),
            History::Since(day) => day.to_string(),
        }
    }
}

fn position_of(value: f64, table: &[f64]) -> Option<usize> {
    table.iter().position(|t| (t - value).abs() < 1e-12)
}

impl Params {
    /// Stock settings of the method.
    pub fn new(index: impl Into<String>, monitor_start: Date) -> Params {
        Params {
            index: index.into(),
            order: defaults::order(),
            trend: defaults::trend(),
            process: defaults::process(),
            h: defaults::h(),
            period: defaults::period(),
            level: defaults::level(),
            history: defaults::history(),
            monitor_start,
        }
    }

    /// Field, what was found, what is expected.
    ///
    /// # Errors
    /// A setting without a tabulated critical value; a history that begins after it ends.
    pub fn validate(&self) -> Result<(), (&'static str, String, &'static str)> {
        if !(1..=MAX_ORDER).contains(&self.order) {
            return Err(("order", self.order.to_string(), "1, 2 or 3"));
        }
        if position_of(self.h, &WINDOWS).is_none() {
            return Err(("h", self.h.to_string(), "0.25, 0.5 or 1"));
        }
        if position_of(self.period, &PERIODS).is_none() {
            return Err(("period", self.period.to_string(), "2, 4, 6, 8 or 10"));
        }
        if position_of(self.level, &LEVELS).is_none() {
            return Err(("level", self.level.to_string(), "0.05, 0.025, 0.01 or 0.001"));
        }
        match self.history {
            History::Since(day) if day >= self.monitor_start => {
                Err(("history", day.to_string(), "a day before `monitor_start`"))
            }
            _ => Ok(()),
        }
    }
}

/// The method prepared for a list of days.
#[derive(Debug, Clone)]
pub struct Model {
    design: Design,
    days: Vec<i32>,
    /// Positions of the first observation that may be history, and of the first monitored one.
    history_from: usize,
    monitor_from: usize,
    /// Critical value of the reversed CUSUM test; `None` without the test.
    roc: Option<f64>,
    process: Process,
    h: f64,
    /// Critical values at [`LEVELS`], and the one that was asked for.
    criticals: [f64; 4],
    critical: f64,
}

/// Memory that is used again for each pixel.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    positions: Vec<usize>,
    recursive: Vec<f64>,
    sorted: Vec<f64>,
    state: State,
}

/// What is kept of a pixel between scenes: the model, and the residuals since (`floor(h n)` before them).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    coefficients: [f64; MAX_COLUMNS],
    sigma: f64,
    /// Observations of the history, and the position of the first.
    history: usize,
    history_first: usize,
    /// Length of the moving window; 0 for sums of all residuals.
    window: usize,
    /// The last `window` residuals of the history, then those of the monitoring period.
    residuals: Vec<f64>,
    /// Sum of the residuals in the window.
    sum: f64,
    /// Largest process so far, on the scale of the critical value.
    statistic: f64,
    /// Observations up to here are taken in.
    seen: usize,
    last_clear: usize,
    /// The run of outlying residuals that ends at the last clear observation: its sign, the positions before and at its begin.
    run: (i8, usize, usize),
    /// Positions before, after and at the detection of the break.
    found: Option<[usize; 3]>,
}

/// What the method says of a pixel, with or without a break.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// The break, if there is one.
    pub found: Option<PixelBreak>,
    /// Median of (observed - predicted) over the monitoring period.
    pub magnitude: f64,
    /// The process at the newest observation.
    pub process: f64,
    /// The border at the newest observation, positive.
    pub border: f64,
    /// Largest process in the monitoring period on the scale of the critical value: its ratio to the border times `critical`.
    pub statistic: f64,
    /// The critical value that `statistic` is compared with.
    pub critical: f64,
    /// Standard deviation of the residuals of the history.
    pub sigma: f64,
    /// Clear observations of the history.
    pub history: usize,
    /// Position of the first observation of the history.
    pub history_first: usize,
    /// Clear observations of the monitoring period.
    pub monitored: usize,
}

/// Calls a function of a constant number of columns.
macro_rules! with_columns {
    ($columns:expr, $call:ident $arguments:tt) => {
        match $columns {
            3 => with_columns!(@ 3 $call $arguments),
            4 => with_columns!(@ 4 $call $arguments),
            5 => with_columns!(@ 5 $call $arguments),
            6 => with_columns!(@ 6 $call $arguments),
            7 => with_columns!(@ 7 $call $arguments),
            _ => with_columns!(@ 8 $call $arguments),
        }
    };
    (@ $p:literal $call:ident ($self:ident $(, $argument:expr)*)) => { $self.$call::<$p>($($argument),*) };
}

impl Model {
    /// Prepares the method for observations of these days (days since 1970-01-01, ascending).
    ///
    /// # Errors
    /// Settings that [`Params::validate`] refuses: field, what was found, what is expected.
    pub fn new(params: &Params, days: &[i32]) -> Result<Model, (&'static str, String, &'static str)> {
        let step = |date: Date| step_365(day_number(date));
        let history = match params.history {
            History::Since(day) => Some(step(day)),
            _ => None,
        };
        Model::on_axis(params, &Axis::calendar_365(days), days, history, step(params.monitor_start))
    }

    /// Like [`Model::new`], on any axis: the history begins at the step `history_start` (or with the first observation), the
    /// monitoring period at `monitor_start`. The dates of `params` are not used.
    ///
    /// # Errors
    /// Settings that [`Params::validate`] refuses: field, what was found, what is expected.
    pub fn on_axis(
        params: &Params,
        axis: &Axis,
        days: &[i32],
        history_start: Option<i64>,
        monitor_start: i64,
    ) -> Result<Model, (&'static str, String, &'static str)> {
        params.validate()?;
        let at = |value: f64, table: &[f64]| position_of(value, table).unwrap_or(0);
        let (level, window, period) = (at(params.level, &LEVELS), at(params.h, &WINDOWS), at(params.period, &PERIODS));
        let criticals = match params.process {
            Process::OlsMosum => MOSUM_CRITICAL.map(|by_window| by_window[window][period]),
            Process::OlsCusum => CUSUM_CRITICAL,
        };
        let steps = axis.steps();
        let monitor_from = steps.partition_point(|s| *s < monitor_start);
        let history_from = history_start.map_or(0, |from| steps.partition_point(|s| *s < from)).min(monitor_from);
        Ok(Model {
            design: Design::new(axis, params.order, params.trend, monitor_from),
            days: days.to_vec(),
            history_from,
            monitor_from,
            roc: (params.history == History::Roc).then_some(ROC_CRITICAL[level]),
            process: params.process,
            h: params.h,
            criticals,
            critical: criticals[level],
        })
    }

    /// True once there is an observation in the monitoring period: the history is complete then.
    pub fn has_begun(&self) -> bool {
        self.monitor_from < self.days.len()
    }

    /// The design of the regression.
    pub fn design(&self) -> &Design {
        &self.design
    }

    /// One pixel; `values` are as long as the days, NaN where not clear. `out` is cleared, then filled.
    ///
    /// # Errors
    /// Why the pixel cannot be judged.
    pub fn detect(&self, values: &[f64], scratch: &mut Scratch, out: &mut Vec<PixelBreak>) -> Result<(), Unjudged> {
        let mut state = std::mem::take(&mut scratch.state);
        let verdict = self.start_in(values, scratch, &mut state).and_then(|()| {
            self.advance(&mut state, 0, values);
            self.verdict(&state, scratch, out)
        });
        scratch.state = state;
        if verdict.is_err() {
            out.clear();
        }
        verdict.map(|_| ())
    }

    /// Fits the history. `values` need not reach beyond it.
    ///
    /// # Errors
    /// Why the pixel cannot be judged.
    pub fn start(&self, values: &[f64], scratch: &mut Scratch) -> Result<State, Unjudged> {
        let mut state = State::default();
        self.start_in(values, scratch, &mut state)?;
        Ok(state)
    }

    /// Takes in the observations from position `from` on to the end of `values` (which begin with the first day). What was
    /// taken in before is not taken in again.
    pub fn advance(&self, state: &mut State, from: usize, values: &[f64]) {
        with_columns!(self.design.columns(), advance_by(self, state, from, values));
    }

    /// What is known by now. `out` is cleared and gets the break, if there is one.
    ///
    /// # Errors
    /// [`Unjudged::NoMonitoring`] before the first clear observation of the monitoring period.
    pub fn verdict(
        &self,
        state: &State,
        scratch: &mut Scratch,
        out: &mut Vec<PixelBreak>,
    ) -> Result<Verdict, Unjudged> {
        out.clear();
        let monitored = state.residuals.get(state.window..).unwrap_or_default();
        scratch.sorted.clear();
        scratch.sorted.extend_from_slice(monitored);
        let magnitude = median(&mut scratch.sorted).ok_or(Unjudged::NoMonitoring)?;
        let process = state.sum / (state.sigma * (state.history as f64).sqrt());
        let found = state.found.map(|[before, after, detected]| PixelBreak {
            before,
            after,
            detected,
            magnitude,
            probability: 1.0 - self.p_value(state.statistic),
            break_day: self.days.get(detected).map_or(f64::NAN, |d| f64::from(*d)),
        });
        out.extend(found);
        Ok(Verdict {
            found,
            magnitude,
            process,
            border: self.border(state, process).0,
            statistic: state.statistic,
            critical: self.critical,
            sigma: state.sigma,
            history: state.history,
            history_first: state.history_first,
            monitored: monitored.len(),
        })
    }

    /// Coefficients of a pixel's model, in the order of the design's columns.
    pub fn coefficients<'a>(&self, state: &'a State) -> &'a [f64] {
        &state.coefficients[..self.design.columns()]
    }

    fn start_in(&self, values: &[f64], scratch: &mut Scratch, state: &mut State) -> Result<(), Unjudged> {
        with_columns!(self.design.columns(), fit_history(self, values, scratch, state))
    }

    fn fit_history<const P: usize>(
        &self,
        values: &[f64],
        scratch: &mut Scratch,
        state: &mut State,
    ) -> Result<(), Unjudged> {
        let rows = self.design.rows::<P>().unwrap_or_default();
        let Scratch { positions, recursive, .. } = scratch;
        // Newest first: the order of the reversed test, and as good as any for the fit.
        positions.clear();
        let end = self.monitor_from.min(values.len()).min(rows.len());
        positions.extend((self.history_from..end).rev().filter(|i| values[*i].is_finite()));
        if positions.len() <= P {
            return Err(Unjudged::TooFewObservations);
        }
        let observed = |n: usize| positions[..n].iter().map(|i| (&rows[*i], values[*i]));
        let mut n = positions.len();
        let mut fit: Fit<P>;
        let mut cut = None;
        if let Some(critical) = self.roc {
            fit = recursive_residuals(observed(n), recursive);
            cut = stable_residuals(recursive, critical).map(|j| P + j);
        } else {
            fit = Fit::default();
            observed(n).for_each(|(row, y)| _ = fit.include(row, y));
        }
        if let Some(kept) = cut {
            n = kept;
            if n <= P {
                return Err(Unjudged::TooFewObservations);
            }
            fit = Fit::default();
            observed(n).for_each(|(row, y)| _ = fit.include(row, y));
        }
        if !fit.is_full_rank() {
            return Err(Unjudged::SingularDesign);
        }
        let coefficients = fit.coefficients();
        let window = match self.process {
            // As R: the whole part of h n.
            Process::OlsMosum => (self.h * n as f64) as usize,
            Process::OlsCusum => 0,
        };
        state.residuals.clear();
        let (mut rss, mut sum, mut largest) = (0.0, 0.0, 0.0f64);
        for (age, (row, y)) in observed(n).enumerate().rev() {
            let e = y - product(row, &coefficients);
            rss += e * e;
            largest = largest.max(y.abs());
            if age < window {
                state.residuals.push(e);
                sum += e;
            } else if self.process == Process::OlsCusum {
                sum += e;
            }
        }
        let sigma = (rss / (n - P) as f64).sqrt();
        if sigma <= PERFECT_FIT * largest {
            return Err(Unjudged::ConstantHistory);
        }
        state.coefficients = [0.0; MAX_COLUMNS];
        state.coefficients[..P].copy_from_slice(&coefficients);
        state.sigma = sigma;
        state.history = n;
        state.history_first = positions[n - 1];
        state.window = window;
        state.sum = sum;
        state.statistic = 0.0;
        state.seen = self.monitor_from;
        state.last_clear = positions[0];
        state.run = (0, 0, 0);
        state.found = None;
        Ok(())
    }

    fn advance_by<const P: usize>(&self, state: &mut State, from: usize, values: &[f64]) {
        let rows = self.design.rows::<P>().unwrap_or_default();
        let coefficients: [f64; P] = std::array::from_fn(|i| state.coefficients[i]);
        let scale = 1.0 / (state.sigma * (state.history as f64).sqrt());
        let end = values.len().min(rows.len());
        for i in from.max(state.seen)..end {
            let y = values[i];
            if !y.is_finite() {
                continue;
            }
            let e = y - product(&rows[i], &coefficients);
            state.residuals.push(e);
            state.sum += e;
            if self.process == Process::OlsMosum {
                state.sum -= state.residuals[state.residuals.len() - 1 - state.window];
            }
            let process = state.sum * scale;
            let (border, statistic) = self.border(state, process);
            state.statistic = state.statistic.max(statistic);
            let outlying = i8::from(e > OUTLYING_SIGMA * state.sigma) - i8::from(e < -OUTLYING_SIGMA * state.sigma);
            if outlying != state.run.0 {
                state.run = (outlying, state.last_clear, i);
            }
            if state.found.is_none() && process.abs() > border {
                let in_run = outlying != 0 && (outlying > 0) == (process > 0.0);
                let (before, after) = if in_run { (state.run.1, state.run.2) } else { (state.last_clear, i) };
                state.found = Some([before, after, i]);
            }
            state.last_clear = i;
        }
        state.seen = state.seen.max(end);
    }

    /// Border at the newest observation, and the process on the scale of the critical value.
    #[inline]
    fn border(&self, state: &State, process: f64) -> (f64, f64) {
        let k = state.history + state.residuals.len() - state.window;
        let x = k as f64 / state.history as f64;
        match self.process {
            Process::OlsMosum => {
                let log = if x <= std::f64::consts::E { 1.0 } else { x.ln() };
                let unit = (2.0 * log).sqrt();
                (self.critical * unit, process.abs() / unit)
            }
            Process::OlsCusum => {
                let (square, log) = (x * (x - 1.0), (x / (x - 1.0)).ln());
                let border = (square * (self.critical * self.critical + log)).sqrt();
                (border, (process * process / square - log).max(0.0).sqrt())
            }
        }
    }

    /// p of a statistic between the tabulated levels.
    fn p_value(&self, statistic: f64) -> f64 {
        for i in 1..LEVELS.len() {
            if statistic < self.criticals[i] {
                let share = (statistic - self.criticals[i - 1]) / (self.criticals[i] - self.criticals[i - 1]);
                return LEVELS[i - 1] * (LEVELS[i] / LEVELS[i - 1]).powf(share.max(0.0));
            }
        }
        LEVELS[LEVELS.len() - 1]
    }

    /// A state from the bytes of [`State::to_bytes`].
    ///
    /// # Errors
    /// The bytes are no state, or one of another design or a longer list of days.
    pub fn restore(&self, bytes: &[u8]) -> Result<State, String> {
        let (state, columns) = State::from_bytes(bytes)?;
        let (found, expected) = ((columns, state.seen), (self.design.columns(), self.days.len()));
        if found.0 != expected.0 || found.1 > expected.1 {
            return Err(format!(
                "state of a pixel: found {} coefficients and {} observations, expected {} and at most {}; it was made with \
                 other settings or dates",
                found.0, found.1, expected.0, expected.1
            ));
        }
        Ok(state)
    }

    /// A pixel's state as bytes: 71 + 8 x (coefficients + window + monitored observations), little endian.
    pub fn save(&self, state: &State) -> Vec<u8> {
        state.to_bytes(self.design.columns())
    }
}

/// First byte of a state: changes with its layout.
const STATE_VERSION: u8 = 1;
/// Stands for "no break" in a state.
const NOWHERE: u32 = u32::MAX;

impl State {
    /// Little endian: version, number of coefficients, sign of the run (one byte each); history, its first position, window,
    /// seen, last clear, run before and begin, break before, after and at (u32); number of residuals (u32); coefficients,
    /// sigma, sum, statistic, residuals (f64).
    fn to_bytes(&self, columns: usize) -> Vec<u8> {
        let [before, after, at] = self.found.map_or([NOWHERE; 3], |f| f.map(small));
        let (sign, run_before, run_begin) = self.run;
        let whole = [
            small(self.history),
            small(self.history_first),
            small(self.window),
            small(self.seen),
            small(self.last_clear),
            small(run_before),
            small(run_begin),
            before,
            after,
            at,
            small(self.residuals.len()),
        ];
        let mut bytes = vec![STATE_VERSION, columns as u8, sign.to_le_bytes()[0]];
        bytes.reserve_exact(4 * whole.len() + 8 * (columns + 3 + self.residuals.len()));
        whole.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
        let scalars = [self.sigma, self.sum, self.statistic];
        let numbers = self.coefficients[..columns].iter().chain(&scalars).chain(&self.residuals);
        numbers.for_each(|v| bytes.extend(v.to_le_bytes()));
        bytes
    }

    /// The state and its number of coefficients.
    fn from_bytes(bytes: &[u8]) -> Result<(State, usize), String> {
        let broken = |what: String| format!("state of a pixel: {what}; it is damaged or of another version");
        let ([version, columns, sign], rest) = match bytes.split_first_chunk::<3>() {
            Some((head, rest)) => (*head, rest),
            None => return Err(broken(format!("found {} bytes, expected 47 or more", bytes.len()))),
        };
        if version != STATE_VERSION || !(3..=MAX_COLUMNS).contains(&usize::from(columns)) {
            return Err(broken(format!(
                "found version {version} with {columns} coefficients, expected version {STATE_VERSION} with 3 to {MAX_COLUMNS}"
            )));
        }
        let columns = usize::from(columns);
        let Some((whole, numbers)) = rest.split_first_chunk::<44>() else {
            return Err(broken(format!("found {} bytes, expected 47 or more", bytes.len())));
        };
        let mut whole = whole.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b));
        let mut next = || whole.next().unwrap_or(NOWHERE);
        let [history, history_first, window, seen, last_clear, run_before, run_begin] =
            std::array::from_fn(|_| next() as usize);
        let found: [u32; 3] = std::array::from_fn(|_| next());
        let residuals = next() as usize;
        let expected = residuals.checked_add(columns + 3).and_then(|n| n.checked_mul(8));
        if expected != Some(numbers.len()) || window > residuals || history == 0 {
            return Err(broken(format!(
                "found {} bytes for {residuals} residuals and a window of {window}",
                bytes.len()
            )));
        }
        let mut numbers = numbers.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b));
        let mut coefficients = [0.0; MAX_COLUMNS];
        coefficients[..columns].iter_mut().for_each(|c| *c = numbers.next().unwrap_or(f64::NAN));
        let [sigma, sum, statistic] = std::array::from_fn(|_| numbers.next().unwrap_or(f64::NAN));
        let state = State {
            coefficients,
            sigma,
            history,
            history_first,
            window,
            residuals: numbers.collect(),
            sum,
            statistic,
            seen,
            last_clear,
            run: (i8::from_le_bytes([sign]), run_before, run_begin),
            found: (found[0] != NOWHERE).then(|| found.map(|v| v as usize)),
        };
        Ok((state, columns))
    }
}

/// Positions and counts are far below 2^32: days of one pixel.
fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(NOWHERE)
}

fn product<const P: usize>(row: &[f64; P], coefficients: &[f64; P]) -> f64 {
    row.iter().zip(coefficients).map(|(x, b)| x * b).sum()
}

/// How many recursive residuals come before the one at which the CUSUM leaves its border at 5 %, if the test is significant.
fn stable_residuals(w: &[f64], critical: f64) -> Option<usize> {
    let m = w.len() as f64;
    if w.len() < 2 {
        return None;
    }
    let mean = w.iter().sum::<f64>() / m;
    let variance = w.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (m - 1.0);
    if variance <= 0.0 {
        return None;
    }
    let scale = 1.0 / (variance * m).sqrt();
    let (mut sum, mut largest, mut first) = (0.0f64, 0.0f64, None);
    for (j, v) in w.iter().enumerate() {
        sum += v;
        let ratio = (sum * scale).abs() / (1.0 + 2.0 * (j + 1) as f64 / m);
        largest = largest.max(ratio);
        if first.is_none() && ratio > ROC_CRITICAL[0] {
            first = Some(j);
        }
    }
    first.filter(|_| largest > critical)
}

/// Median; the mean of the middle two for an even count.
fn median(v: &mut [f64]) -> Option<f64> {
    if v.is_empty() {
        return None;
    }
    let half = v.len() / 2;
    let even = v.len().is_multiple_of(2);
    let (below, middle, _) = v.select_nth_unstable_by(half, f64::total_cmp);
    let middle = *middle;
    Some(match below.iter().copied().max_by(f64::total_cmp) {
        Some(lower) if even => 0.5 * (lower + middle),
        _ => middle,
    })
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    /// Every 9 days from 2017 on, a third of them cloudy, a loss in the middle of 2021.
    fn example(loss: f64) -> (Vec<i32>, Vec<f64>) {
        let days: Vec<i32> = (0..240).map(|i| 17_167 + 9 * i).collect();
        let mut seed = 7u64;
        let values = days.iter().map(|day| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let noise = (seed >> 40) as f64 / f64::from(1u32 << 24) - 0.5;
            let season = 0.6 + 0.2 * (TAU * f64::from(*day) / 365.25 - 1.0).sin();
            let lost = if *day >= 18_800 { loss } else { 0.0 };
            if (seed >> 20).is_multiple_of(3) { f64::NAN } else { season + 0.05 * noise + lost }
        });
        let values = values.collect();
        (days, values)
    }

    fn params() -> Params {
        Params::new("ndvi", "2021-01-01".parse().unwrap())
    }

    fn detect(params: &Params, days: &[i32], values: &[f64]) -> Result<Vec<PixelBreak>, Unjudged> {
        let mut out = Vec::new();
        Model::new(params, days).unwrap().detect(values, &mut Scratch::default(), &mut out).map(|()| out)
    }

    /// Worked example of the OLS-MOSUM test, its numbers made with another program.
    #[test]
    fn worked_example() {
        let mut x = 12_345u64;
        let y: Vec<f64> = (1..=100)
            .map(|t| {
                x = 16_807 * x % 2_147_483_647;
                let u = x as f64 / 2_147_483_647.0;
                let lost = if t >= 80 { 0.20 } else { 0.0 };
                0.55 + 0.25 * (TAU * f64::from(t) / 23.0 - 1.2).sin() + 0.06 * (u - 0.5) - lost
            })
            .collect();
        for (y, expected) in y.iter().zip([0.325868593, 0.418020426, 0.484026618]) {
            assert!((y - expected).abs() < 1e-9);
        }
        let params = Params { order: 1, history: History::All, ..params() };
        let days: Vec<i32> = (1..=100).collect();
        let model = Model::on_axis(&params, &Axis::regular((1..=100).collect(), 23), &days, None, 70).unwrap();
        let mut scratch = Scratch::default();
        let mut state = model.start(&y, &mut scratch).unwrap();
        let b = model.coefficients(&state).to_vec();
        let (intercept, trend) = model.design().intercept_and_trend(&b);
        let trend = trend / 23.0;
        for (ours, expected) in
            [intercept - trend, trend, b[2], b[3]].iter().zip([0.550999045, -0.000050265, -0.236367948, 0.092931035])
        {
            assert!((ours - expected).abs() < 1e-9, "{ours} {expected}");
        }
        let mut out = Vec::new();
        model.advance(&mut state, 0, &y[..80]);
        let before = model.verdict(&state, &mut scratch, &mut out).unwrap();
        assert!((before.process + 1.841023).abs() < 1e-6 && before.found.is_none());
        model.advance(&mut state, 0, &y[..81]);
        let at = model.verdict(&state, &mut scratch, &mut out).unwrap();
        assert!((at.process + 3.141292).abs() < 1e-6 && (at.border - 1.897626).abs() < 1e-6);
        model.advance(&mut state, 0, &y);
        let verdict = model.verdict(&state, &mut scratch, &mut out).unwrap();
        assert_eq!((state.window, verdict.history, verdict.monitored), (17, 69, 31));
        assert!((verdict.sigma - 0.0193091).abs() < 1e-7);
        assert!((verdict.magnitude + 0.1860503).abs() < 1e-7);
        // t = 80 is where the loss begins, t = 81 where it is detected.
        assert_eq!(out.iter().map(|b| (b.before, b.after, b.detected)).collect::<Vec<_>>(), [(78, 79, 80)]);
        assert_eq!(out[0].break_day, 81.0);
    }

    #[test]
    fn any_way_of_cutting_the_series_gives_the_same_bytes() {
        let (days, values) = example(-0.1);
        for (process, h) in [(Process::OlsMosum, 0.25), (Process::OlsMosum, 1.0), (Process::OlsCusum, 0.25)] {
            let params = Params { process, h, ..params() };
            let whole = Model::new(&params, &days).unwrap();
            let mut scratch = Scratch::default();
            let (mut expected, mut out) = (Vec::new(), Vec::new());
            let mut state = whole.start(&values, &mut scratch).unwrap();
            whole.advance(&mut state, 0, &values);
            let verdict = whole.verdict(&state, &mut scratch, &mut expected).unwrap();
            let bytes = whole.save(&state);
            assert_eq!(expected.len(), 1);
            let first = whole.monitor_from;
            for chunk in [1, 2, 7, 30, 1000] {
                // The day list grows as scenes come; between them the state is bytes.
                let known = Model::new(&params, &days[..first]).unwrap();
                let mut kept = known.save(&known.start(&values[..first], &mut scratch).unwrap());
                let mut from = first;
                while from < days.len() {
                    let to = (from + chunk).min(days.len());
                    let model = Model::new(&params, &days[..to]).unwrap();
                    let mut state = model.restore(&kept).unwrap();
                    model.advance(&mut state, from, &values[..to]);
                    // Once more: nothing is counted twice.
                    model.advance(&mut state, 0, &values[..to]);
                    kept = model.save(&state);
                    from = to;
                }
                assert_eq!(kept, bytes, "chunks of {chunk}");
                let restored = whole.restore(&kept).unwrap();
                assert_eq!(whole.verdict(&restored, &mut scratch, &mut out).unwrap(), verdict);
                assert_eq!(out, expected);
            }
            let mut out = vec![expected[0]; 3];
            whole.detect(&values, &mut scratch, &mut out).unwrap();
            assert_eq!(out, expected);
            let clear = values[first..].iter().filter(|v| v.is_finite()).count();
            assert_eq!(bytes.len(), 71 + 8 * (8 + state.window + clear));
        }
    }

    #[test]
    fn a_state_that_does_not_fit_is_refused() {
        let (days, values) = example(0.0);
        let model = Model::new(&params(), &days).unwrap();
        let bytes = model.save(&model.start(&values, &mut Scratch::default()).unwrap());
        assert!(model.restore(&bytes).is_ok());
        for cut in 0..bytes.len() {
            assert!(model.restore(&bytes[..cut]).is_err(), "{cut}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(model.restore(&longer).is_err());
        let mut version = bytes.clone();
        version[0] = 9;
        assert!(model.restore(&version).unwrap_err().contains("version"));
        let other = Model::new(&Params { order: 1, ..params() }, &days).unwrap();
        assert!(other.restore(&bytes).unwrap_err().contains("8 coefficients"));
        assert!(Model::new(&params(), &days[..20]).unwrap().restore(&bytes).is_err());
    }

    #[test]
    fn pixels_without_answer_have_a_reason() {
        let (days, values) = example(-0.3);
        let roc = params();
        let all = Params { history: History::All, ..params() };
        let first = Model::new(&roc, &days).unwrap().monitor_from;
        for params in [&roc, &all] {
            let none = vec![f64::NAN; days.len()];
            assert_eq!(detect(params, &days, &none), Err(Unjudged::TooFewObservations));
            let infinite: Vec<f64> = values.iter().map(|v| v / 0.0).collect();
            assert_eq!(detect(params, &days, &infinite), Err(Unjudged::TooFewObservations));
            let mut few = values.clone();
            let mut left = 8;
            few[..first].iter_mut().filter(|v| v.is_finite()).skip(left).for_each(|v| *v = f64::NAN);
            assert_eq!(detect(params, &days, &few), Err(Unjudged::TooFewObservations));
            left += 1;
            let mut enough = values.clone();
            enough[..first].iter_mut().filter(|v| v.is_finite()).skip(left).for_each(|v| *v = f64::NAN);
            assert_ne!(detect(params, &days, &enough), Err(Unjudged::NoMonitoring));
            for constant in [0.0, 0.7, -1.0e-3] {
                let flat: Vec<f64> = days.iter().map(|d| if *d >= 18_800 { 0.1 } else { constant }).collect();
                assert_eq!(detect(params, &days, &flat), Err(Unjudged::ConstantHistory), "{constant}");
            }
            let mut unwatched = values.clone();
            unwatched[first..].fill(f64::NAN);
            assert_eq!(detect(params, &days, &unwatched), Err(Unjudged::NoMonitoring));
            assert_eq!(detect(params, &days[..first], &values[..first]), Err(Unjudged::NoMonitoring));
            assert_eq!(detect(params, &vec![18_000; days.len()], &values), Err(Unjudged::SingularDesign));
            assert_eq!(detect(params, &[], &[]), Err(Unjudged::TooFewObservations));
            // Only observations of the monitoring period.
            assert_eq!(detect(params, &days[first..], &values[first..]), Err(Unjudged::TooFewObservations));
            // Single infinities and values of any size are survived.
            let mut odd = values.clone();
            odd[3] = f64::INFINITY;
            odd[first + 2] = f64::NEG_INFINITY;
            assert_eq!(detect(params, &days, &odd).unwrap().len(), 1);
            odd[5] = 1e300;
            odd[first + 3] = -1e300;
            let _ = detect(params, &days, &odd);
        }
        // The reason stays when memory was used before.
        let mut scratch = Scratch::default();
        let model = Model::new(&roc, &days).unwrap();
        let mut out = Vec::new();
        model.detect(&values, &mut scratch, &mut out).unwrap();
        assert_eq!(out.len(), 1);
        assert!(model.detect(&vec![f64::NAN; days.len()], &mut scratch, &mut out).is_err());
        assert!(out.is_empty());
    }

    #[test]
    fn a_loss_is_dated_by_the_observations_around_it() {
        let (days, values) = example(-0.3);
        let found = detect(&params(), &days, &values).unwrap()[0];
        assert!(days[found.before] < 18_800 && days[found.after] >= 18_800, "{found:?}");
        assert!(values[found.before + 1..found.after].iter().all(|v| v.is_nan()), "{found:?}");
        assert!((found.magnitude + 0.3).abs() < 0.1 && found.probability == 0.999);
        assert_eq!(found.break_day, f64::from(days[found.detected]));
        let (days, values) = example(0.0);
        assert_eq!(detect(&params(), &days, &values), Ok(vec![]));
    }

    #[test]
    fn probability_follows_the_critical_values() {
        let (days, _) = example(0.0);
        let model = Model::new(&params(), &days).unwrap();
        for (level, critical) in LEVELS.iter().zip(model.criticals) {
            assert!((model.p_value(critical) - level).abs() < 1e-12);
        }
        assert_eq!((model.p_value(0.0), model.p_value(99.0)), (0.05, 0.001));
        let between = model.p_value(1.5979711138);
        // The tabulated level of this value is 0.005.
        assert!((0.004..0.006).contains(&between), "{between}");
    }

    #[test]
    fn settings_are_read_and_checked() {
        let read = |value: serde_json::Value| serde_json::from_value::<Params>(value);
        let stock = read(serde_json::json!({"index": "ndvi", "monitor_start": "2021-01-01"})).unwrap();
        assert_eq!(stock, params());
        let dated =
            serde_json::json!({"index": "ndvi", "monitor_start": "2021-01-01", "history": "2018-06-01", "h": 1});
        let dated = read(dated).unwrap();
        assert_eq!(dated.history, History::Since("2018-06-01".parse().unwrap()));
        assert_eq!(serde_json::to_value(dated.history).unwrap(), "2018-06-01");
        assert!(dated.validate().is_ok());
        let wrong = serde_json::json!({"index": "ndvi", "monitor_start": "2021-01-01", "history": "bp"});
        assert!(read(wrong).unwrap_err().to_string().contains("\"roc\", \"all\" or a date"));
        assert!(read(serde_json::json!({"index": "ndvi", "monitor_start": "2021-01-01", "alpha": 0.05})).is_err());
        assert!(read(serde_json::json!({"index": "ndvi"})).is_err());
        let late = History::Since("2021-01-01".parse().unwrap());
        for (params, field) in [
            (Params { order: 0, ..params() }, "order"),
            (Params { order: 4, ..params() }, "order"),
            (Params { h: 0.3, ..params() }, "h"),
            (Params { period: 3.0, ..params() }, "period"),
            (Params { level: 0.03, ..params() }, "level"),
            (Params { level: f64::NAN, ..params() }, "level"),
            (Params { history: late, ..params() }, "history"),
        ] {
            assert_eq!(params.validate().unwrap_err().0, field);
            assert!(Model::new(&params, &[]).is_err());
        }
    }
}
