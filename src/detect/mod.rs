//! What happened to the pixels of a parcel: from values through time to dated losses.
//!
//! [`PixelStack`] holds the values of many pixels through time. Each method is one file with its parameters, formulas and
//! sources; all of them answer with [`PixelBreak`]s or say with [`Unjudged`] why a pixel cannot be judged.

pub mod bfast_monitor;
pub mod ccdc;
pub mod composite;
pub mod control;
pub mod events;
pub mod harmonic;
pub mod landtrendr;
pub mod monitor;
pub mod two_date;

use ndarray::{Array3, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::imagery::{Band, Layer};
use crate::units::{date_of, days as days_of};

/// Values of many pixels through time. NaN: not clear (or not finite in the source).
#[derive(Debug, Clone, PartialEq)]
pub struct PixelStack {
    /// Days since 1970-01-01, one an observation, ascending (equal days are possible, and must be survived).
    pub days: Vec<i32>,
    /// Names of the layers (indices or bands), reflectance bands as 0..1.
    pub layers: Vec<String>,
    /// Shape (layer, pixel, time).
    pub values: Array3<f64>,
    /// Position of the first observation whose raster reaches the parcel, clear or not.
    pub first_look: usize,
    /// Area of the whole parcel, hectares.
    pub area_ha: f64,
}

impl PixelStack {
    /// Number of pixels.
    pub fn pixels(&self) -> usize {
        self.values.len_of(Axis(1))
    }

    /// Values of a layer, pixel by pixel through time.
    fn layer(&self, layer: usize) -> &[f64] {
        let size = self.pixels() * self.days.len();
        self.values.as_slice().and_then(|all| all.get(layer * size..(layer + 1) * size)).unwrap_or_default()
    }
}

/// One break of one pixel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelBreak {
    /// Position (in `days`) of the last clear observation before the change.
    pub before: usize,
    /// Position of the first clear observation after the change.
    pub after: usize,
    /// Position of the observation at which the method decided (= `after` or later).
    pub detected: usize,
    /// Change of the index; negative is loss. As the reference implementation defines it.
    pub magnitude: f64,
    /// Probability in 0..1 that the change is real, as the method can tell (documented per method).
    pub probability: f64,
    /// Date of the break as the reference implementation defines it, in days since 1970-01-01 (fractional allowed).
    pub break_day: f64,
}

/// Why a pixel could not be judged: a reason for people, never a panic or a silent zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unjudged {
    /// Fewer clear history observations than the model needs.
    TooFewObservations,
    /// All values of the history are equal, or the fit is perfect: no noise to judge by.
    ConstantHistory,
    /// Dates do not span what the model needs (all equal, singular design).
    SingularDesign,
    /// No clear observation in the period to be judged.
    NoMonitoring,
    /// No part of the series is stable enough to begin with.
    NoStableHistory,
}

impl std::fmt::Display for Unjudged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Unjudged::TooFewObservations => "fewer clear observations in the history than the model needs",
            Unjudged::ConstantHistory => "the history has no noise to judge by: its values are equal or fit perfectly",
            Unjudged::SingularDesign => "the dates of the history do not span what the model needs",
            Unjudged::NoMonitoring => "no clear observation in the period to be judged",
            Unjudged::NoStableHistory => "no part of the series is stable enough to begin with",
        })
    }
}

/// What a method says of one pixel.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Its breaks, by time.
    pub breaks: Vec<PixelBreak>,
    /// Change of the index whether or not it counts as a break, as the method defines it; NaN where there is none.
    pub magnitude: f64,
    /// Why it could not be judged.
    pub unjudged: Option<Unjudged>,
}

impl Verdict {
    /// A pixel that was judged; `otherwise` is its magnitude without a break.
    fn of(breaks: &[PixelBreak], otherwise: f64) -> Self {
        let magnitude = breaks.first().map_or(otherwise, |b| b.magnitude);
        Verdict { breaks: breaks.to_vec(), magnitude, unjudged: None }
    }

    /// A pixel that could not be judged.
    pub fn unjudged(why: Unjudged) -> Self {
        Verdict { breaks: Vec::new(), magnitude: f64::NAN, unjudged: Some(why) }
    }
}

/// One layer that a method reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// A spectral index.
    Index(String),
    /// Reflectance of a band.
    Band(Band),
}

impl Want {
    /// Name of the layer.
    pub fn name(&self) -> String {
        match self {
            Want::Index(id) => id.clone(),
            Want::Band(band) => Layer::Band(*band).name(),
        }
    }
}

const BAND_NAMES: &str = "blue, green, red, red_edge1, red_edge2, red_edge3, nir, nir_broad, swir1 or swir2";

/// Bands of these names, or the name that is none.
fn bands_of(names: &[String]) -> Result<Vec<Band>, &str> {
    names.iter().map(|name| Band::of_name(name).ok_or(name.as_str())).collect()
}

/// A configured method. A new one is an arm here and a file beside this.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// `[change.bfast_monitor]`.
    BfastMonitor(bfast_monitor::Params),
    /// `[change.ccdc]`.
    Ccdc(ccdc::Params),
    /// `[change.landtrendr]`.
    Landtrendr(landtrendr::Params),
    /// `[change.monitor]`.
    Monitor(monitor::Params),
    /// `[change.two_date]`.
    TwoDate(two_date::Params),
}

impl Method {
    /// First and last day of what the method can tell losses of, where its parameters bound it.
    pub fn watches(&self) -> (Option<jiff::civil::Date>, Option<jiff::civil::Date>) {
        match self {
            Method::Monitor(p) => (p.monitor_start, None),
            Method::BfastMonitor(p) => (Some(p.monitor_start), None),
            Method::TwoDate(p) => (Some(p.before[0]), Some(p.after[1])),
            Method::Ccdc(_) | Method::Landtrendr(_) => (None, None),
        }
    }

    /// Name in configuration and tables.
    pub fn name(&self) -> &'static str {
        match self {
            Method::BfastMonitor(_) => "bfast_monitor",
            Method::Ccdc(_) => "ccdc",
            Method::Landtrendr(_) => "landtrendr",
            Method::Monitor(_) => "monitor",
            Method::TwoDate(_) => "two_date",
        }
    }

    /// Names of all methods.
    pub const NAMES: [&str; 5] = ["monitor", "bfast_monitor", "ccdc", "landtrendr", "two_date"];

    /// Where it comes from.
    pub fn citation(&self) -> &'static str {
        match self {
            Method::BfastMonitor(_) => "Verbesselt et al. 2012, Remote Sensing of Environment 123:98-108",
            Method::Ccdc(_) => "Zhu and Woodcock 2014, Remote Sensing of Environment 144:152-171",
            Method::Landtrendr(_) => "Kennedy et al. 2010, Remote Sensing of Environment 114:2897-2910",
            Method::Monitor(_) => {
                "Page 1954, Biometrika 41:100-115 (cumulative sums); Beaton and Tukey 1974, Technometrics 16:147-185 (robust fit)"
            }
            Method::TwoDate(_) => {
                "Key and Benson 2006, USDA General Technical Report RMRS-GTR-164-CD, LA-1 (two dates)"
            }
        }
    }

    /// Field, what was found, what is expected.
    ///
    /// # Errors
    /// A parameter that cannot be used.
    pub fn validate(&self) -> Result<(), (&'static str, String, &'static str)> {
        match self {
            Method::BfastMonitor(p) => p.validate(),
            Method::Ccdc(p) => p.validate(),
            Method::Landtrendr(p) => {
                p.bands().map_err(|name| ("medoid_bands", name.to_owned(), BAND_NAMES))?;
                p.validate()
            }
            Method::Monitor(p) => p.validate(),
            Method::TwoDate(p) => p.validate(),
        }
    }

    /// Index whose change is reported.
    pub fn index(&self) -> &str {
        match self {
            Method::BfastMonitor(p) => &p.index,
            Method::Ccdc(p) => &p.index,
            Method::Landtrendr(p) => &p.index,
            Method::Monitor(p) => &p.index,
            Method::TwoDate(p) => &p.index,
        }
    }

    /// Layers of the stack that it judges.
    pub fn wants(&self) -> Vec<Want> {
        match self {
            Method::Ccdc(p) => p.wants(),
            Method::Landtrendr(p) => {
                let bands = p.bands().unwrap_or_default().into_iter().map(Want::Band);
                std::iter::once(Want::Index(p.index.clone())).chain(bands).collect()
            }
            Method::BfastMonitor(_) | Method::Monitor(_) | Method::TwoDate(_) => {
                vec![Want::Index(self.index().to_owned())]
            }
        }
    }

    /// True where observations on these days may suffice for a verdict.
    pub fn enough(&self, days: &[i32]) -> bool {
        match self {
            Method::BfastMonitor(p) => {
                let start = days_of(p.monitor_start);
                days.iter().filter(|d| **d < start).count() > 2 + 2 * p.order && days.last() >= Some(&start)
            }
            Method::Ccdc(p) => days.len() >= p.min_observations,
            Method::Landtrendr(p) => landtrendr::Model::new(p, days).is_ok(),
            Method::Monitor(p) => {
                let start = p.first_monitored(days);
                days.iter().filter(|d| **d < start).count() >= monitor::MIN_OBSERVATIONS && days.last() >= Some(&start)
            }
            Method::TwoDate(p) => {
                let seen = |window| days.iter().any(|d| p.window(date_of(*d)) == Some(window));
                seen(0) && seen(1)
            }
        }
    }

    /// Why scenes on these days (ascending) give no verdict; `None` where they may.
    pub fn lacks(&self, days: &[i32]) -> Option<String> {
        if self.enough(days) {
            return None;
        }
        let start = match self {
            Method::BfastMonitor(p) => Some(days_of(p.monitor_start)),
            Method::Monitor(p) => Some(p.first_monitored(days)),
            Method::Ccdc(_) | Method::Landtrendr(_) | Method::TwoDate(_) => None,
        };
        Some(match (self, start) {
            (_, Some(start)) if days.last().is_some_and(|last| *last < start) => {
                format!("expected one on {} or later, when monitoring begins", date_of(start))
            }
            (_, Some(start)) => {
                let before = days.iter().filter(|d| **d < start).count();
                format!("expected more than {before} before {}, when monitoring begins", date_of(start))
            }
            (Method::TwoDate(p), _) => {
                let [a, b] = p.before;
                let [c, d] = p.after;
                format!("expected one or more in each of {a} to {b} and {c} to {d}")
            }
            _ => "expected more of them, over more years".to_owned(),
        })
    }

    /// Years over which it can alarm, given the days it sees.
    pub fn watched_years(&self, days: &[i32]) -> f64 {
        let (Some(first), Some(last)) = (days.first(), days.last()) else { return 0.0 };
        let from = match self {
            Method::BfastMonitor(p) => days_of(p.monitor_start),
            Method::Ccdc(p) => first + p.min_days,
            Method::Landtrendr(_) => *first,
            Method::Monitor(p) => p.first_monitored(days),
            Method::TwoDate(p) => days_of(p.before[1]),
        };
        let to = if let Method::TwoDate(p) = self { days_of(p.after[1]) } else { *last };
        f64::from((to - from).max(0)) / 365.25
    }

    /// True for a method that keeps a state of each pixel, and goes on from it.
    pub fn is_monitor(&self) -> bool {
        match self {
            Method::BfastMonitor(_) | Method::Monitor(_) => true,
            Method::Ccdc(_) | Method::Landtrendr(_) | Method::TwoDate(_) => false,
        }
    }

    /// Smallest event that is told where no rule says otherwise, hectares.
    pub fn min_patch_ha(&self) -> f64 {
        match self {
            Method::Monitor(_) => monitor::MIN_PATCH_HA,
            Method::BfastMonitor(_) | Method::Ccdc(_) | Method::Landtrendr(_) | Method::TwoDate(_) => 0.0,
        }
    }

    /// Prepares the method for a list of days.
    ///
    /// # Errors
    /// Only what [`Method::validate`] refuses, or days that are no time axis.
    pub fn prepare(&self, days: &[i32]) -> Result<Judge, String> {
        let told = |(field, found, expected): (&str, String, &str)| {
            format!("{} {field}: found {found}, expected {expected}", self.name())
        };
        Ok(match self {
            Method::BfastMonitor(p) => Judge::BfastMonitor(bfast_monitor::Model::new(p, days).map_err(told)?),
            Method::Ccdc(p) => Judge::Ccdc(Box::new(ccdc::Model::new(p, days).map_err(told)?)),
            Method::Landtrendr(p) => Judge::Landtrendr(landtrendr::Model::new(p, days)),
            Method::Monitor(p) => Judge::Monitor(Box::new(monitor::Model::new(p, days).map_err(told)?)),
            Method::TwoDate(p) => Judge::TwoDate(p.clone()),
        })
    }
}

/// A method that is ready for stacks of certain days.
pub enum Judge {
    /// See [`bfast_monitor`].
    BfastMonitor(bfast_monitor::Model),
    /// See [`ccdc`].
    Ccdc(Box<ccdc::Model>),
    /// See [`landtrendr`]; or why no pixel can be judged.
    Landtrendr(Result<landtrendr::Model, Unjudged>),
    /// See [`monitor`](mod@monitor).
    Monitor(Box<monitor::Model>),
    /// See [`two_date`].
    TwoDate(two_date::Params),
}

impl Judge {
    /// Judges the pixels of one parcel, in the order of the stack. A monitoring method goes on from `before` (one state a
    /// pixel, which has taken in the first `known` observations) where it is not empty, and gives the states to keep once
    /// monitoring has begun. `None`: the states are none of this method, begin from nothing.
    pub fn pixels(&self, stack: &PixelStack, known: usize, before: &[PixelState]) -> Option<Judgement> {
        match self {
            Judge::BfastMonitor(model) => one_by_one(stack, known, before, model),
            Judge::Ccdc(model) => {
                let judge = |scratch: &mut (ccdc::Scratch, Vec<PixelBreak>), values: &[&[f64]]| match model.detect(
                    values,
                    &mut scratch.0,
                    &mut scratch.1,
                ) {
                    Ok(()) => Verdict::of(&scratch.1, f64::NAN),
                    Err(why) => Verdict::unjudged(why),
                };
                Some((each_pixel(stack, judge), None))
            }
            Judge::Landtrendr(Err(why)) => Some((vec![Verdict::unjudged(*why); stack.pixels()], None)),
            Judge::Landtrendr(Ok(model)) => {
                let judge = |scratch: &mut (landtrendr::Scratch, Vec<PixelBreak>), values: &[&[f64]]| {
                    let (index, bands) = values.split_at(1);
                    match model.detect(index[0], bands, &mut scratch.0, &mut scratch.1) {
                        Ok(()) => Verdict::of(&scratch.1, f64::NAN),
                        Err(why) => Verdict::unjudged(why),
                    }
                };
                Some((each_pixel(stack, judge), None))
            }
            Judge::Monitor(model) => pooled(stack, known, before, model),
            Judge::TwoDate(params) => Some((two_date::judge(stack, params), None)),
        }
    }
}

/// Judges each pixel by all layers.
fn each_pixel<S: Default>(stack: &PixelStack, judge: impl Fn(&mut S, &[&[f64]]) -> Verdict + Sync) -> Vec<Verdict> {
    let layers: Vec<&[f64]> = (0..stack.layers.len()).map(|l| stack.layer(l)).collect();
    let times = stack.days.len();
    (0..stack.pixels())
        .into_par_iter()
        .map_init(
            || (S::default(), Vec::with_capacity(layers.len())),
            |(scratch, values), i| {
                values.clear();
                values.extend(layers.iter().map(|l| &l[i * times..(i + 1) * times]));
                judge(scratch, values)
            },
        )
        .collect()
}

/// What a map shows of each pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MapKind {
    /// Day of the first break.
    BreakDate,
    /// Change of the index.
    Magnitude,
    /// Probability of the first break.
    Probability,
}

/// In the order of their tags in a [`PixelState`].
const UNJUDGED: [Unjudged; 5] = [
    Unjudged::TooFewObservations,
    Unjudged::ConstantHistory,
    Unjudged::SingularDesign,
    Unjudged::NoMonitoring,
    Unjudged::NoStableHistory,
];

/// Raise when states of pixels are made or written in another way.
pub const STATE_VERSION: u32 = 4;

/// What a monitoring method keeps of a pixel, as bytes; a pixel that cannot be judged keeps the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PixelState(Vec<u8>);

impl PixelState {
    fn of(state: Result<Vec<u8>, Unjudged>) -> Self {
        let (tag, mut bytes) = match state {
            Ok(bytes) => (0, bytes),
            Err(why) => (1 + UNJUDGED.iter().position(|u| *u == why).unwrap_or(0) as u8, Vec::new()),
        };
        bytes.insert(0, tag);
        PixelState(bytes)
    }

    /// The method's own bytes, or why there are none; `None` where these are no state.
    fn parse(&self) -> Option<Result<&[u8], Unjudged>> {
        match self.0.split_first()? {
            (0, bytes) => Some(Ok(bytes)),
            (tag, _) => UNJUDGED.get(usize::from(*tag) - 1).map(|why| Err(*why)),
        }
    }

    /// For a file.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for PixelState {
    fn from(bytes: Vec<u8>) -> Self {
        PixelState(bytes)
    }
}

/// A method that takes in one observation after the other.
trait Monitor: Sync {
    /// What it knows of a pixel.
    type State;
    /// Memory used again for each pixel.
    type Scratch: Default;
    /// True once there is something to be judged: before that, the history may still grow.
    fn has_begun(&self) -> bool;
    /// Learns from the history.
    fn learn(&self, values: &[f64], scratch: &mut Self::Scratch) -> Result<Self::State, Unjudged>;
    /// Takes in the observations from a position on.
    fn take_in(&self, state: &mut Self::State, from: usize, values: &[f64]);
    /// What is known by now.
    fn conclude(&self, state: &Self::State, scratch: &mut Self::Scratch) -> Verdict;
    /// State to bytes.
    fn save(&self, state: &Self::State) -> Vec<u8>;
    /// Bytes to state; `None` where they are none of this model.
    fn restore(&self, bytes: &[u8]) -> Option<Self::State>;
}

impl Monitor for bfast_monitor::Model {
    type State = bfast_monitor::State;
    type Scratch = (bfast_monitor::Scratch, Vec<PixelBreak>);

    fn has_begun(&self) -> bool {
        self.has_begun()
    }

    fn learn(&self, values: &[f64], scratch: &mut Self::Scratch) -> Result<Self::State, Unjudged> {
        self.start(values, &mut scratch.0)
    }

    fn take_in(&self, state: &mut Self::State, from: usize, values: &[f64]) {
        self.advance(state, from, values);
    }

    fn conclude(&self, state: &Self::State, scratch: &mut Self::Scratch) -> Verdict {
        match self.verdict(state, &mut scratch.0, &mut scratch.1) {
            Ok(v) => Verdict::of(&scratch.1, v.magnitude),
            Err(why) => Verdict::unjudged(why),
        }
    }

    fn save(&self, state: &Self::State) -> Vec<u8> {
        self.save(state)
    }

    fn restore(&self, bytes: &[u8]) -> Option<Self::State> {
        self.restore(bytes).ok()
    }
}

/// A verdict for each pixel, and the states to keep.
pub type Judgement = (Vec<Verdict>, Option<Vec<PixelState>>);

/// Judges layer 0 by a monitoring method that looks at each pixel for itself.
fn one_by_one<M: Monitor>(stack: &PixelStack, known: usize, before: &[PixelState], model: &M) -> Option<Judgement> {
    let judged: Option<Vec<(Verdict, PixelState)>> = stack
        .layer(0)
        .par_chunks_exact(stack.days.len().max(1))
        .enumerate()
        .map_init(M::Scratch::default, |scratch, (i, values)| {
            let state = if known == 0 {
                model.learn(values, scratch)
            } else {
                match before.get(i)?.parse()? {
                    Ok(bytes) => Ok(model.restore(bytes)?),
                    Err(why) => Err(why),
                }
            };
            let state = state.map(|mut state| {
                model.take_in(&mut state, known, values);
                state
            });
            Some(match state {
                Ok(state) => (model.conclude(&state, scratch), PixelState::of(Ok(model.save(&state)))),
                Err(why) => (Verdict::unjudged(why), PixelState::of(Err(why))),
            })
        })
        .collect();
    let (verdicts, states) = judged?.into_iter().unzip();
    Some((verdicts, model.has_begun().then_some(states)))
}

/// Judges layer 0 by the method that pools the noise of a parcel's pixels.
fn pooled(stack: &PixelStack, known: usize, before: &[PixelState], model: &monitor::Model) -> Option<Judgement> {
    let values = stack.layer(0);
    let own = (stack.first_look > 0 && model.counts_from_first_look()).then(|| model.first_seen(stack.first_look));
    let model = own.as_ref().unwrap_or(model);
    let mut state = if known == 0 {
        model.start(values)
    } else {
        monitor::State::restore(known, before.iter().map(PixelState::parse)).filter(|s| s.pixels() == stack.pixels())?
    };
    model.advance(&mut state, values, stack.area_ha);
    let verdict = |pixel| match state.verdict(pixel) {
        Ok((breaks, departure)) => Verdict::of(breaks, departure),
        Err(why) => Verdict::unjudged(why),
    };
    let verdicts = (0..state.pixels()).map(verdict).collect();
    let states = || state.save().into_iter().map(PixelState::of).collect();
    Some((verdicts, model.has_begun().then(states)))
}

impl MapKind {
    /// Every kind.
    pub const ALL: [MapKind; 3] = [MapKind::BreakDate, MapKind::Magnitude, MapKind::Probability];

    /// Name in configuration and files.
    pub fn name(self) -> &'static str {
        match self {
            MapKind::BreakDate => "break_date",
            MapKind::Magnitude => "magnitude",
            MapKind::Probability => "probability",
        }
    }
}
