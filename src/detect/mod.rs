//! What happened to the pixels of a parcel: from values through time to dated losses.
//!
//! [`PixelStack`] holds the values of many pixels through time. Each method is one file with its parameters, formulas and
//! sources; all of them answer with [`PixelBreak`]s or say with [`Unjudged`] why a pixel cannot be judged.

pub mod bfast_monitor;
pub mod ccdc;
pub mod control;
pub mod events;
pub mod harmonic;
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
}

impl PixelStack {
    /// Number of pixels.
    pub fn pixels(&self) -> usize {
        self.values.len_of(Axis(1))
    }

    /// A layer's values of each pixel through time.
    fn series(&self, layer: usize) -> impl IndexedParallelIterator<Item = &[f64]> {
        let times = self.days.len();
        let all = self.values.as_slice().unwrap_or_default();
        let size = self.pixels() * times;
        let layer = all.get(layer * size..(layer + 1) * size).unwrap_or_default();
        layer.par_chunks_exact(times.max(1))
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
    /// No stretch of the history on which a model is stable.
    NoStableHistory,
}

impl std::fmt::Display for Unjudged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Unjudged::TooFewObservations => "fewer clear observations in the history than the model needs",
            Unjudged::ConstantHistory => "the history has no noise to judge by: its values are equal or fit perfectly",
            Unjudged::SingularDesign => "the dates of the history do not span what the model needs",
            Unjudged::NoStableHistory => "no stretch of the history on which a model is stable",
            Unjudged::NoMonitoring => "no clear observation in the period to be judged",
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

/// A configured method. A new one is an arm here and a file beside this.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// `[change.bfast_monitor]`.
    BfastMonitor(bfast_monitor::Params),
    /// `[change.two_date]`.
    TwoDate(two_date::Params),
}

impl Method {
    /// Name in configuration and tables.
    pub fn name(&self) -> &'static str {
        match self {
            Method::BfastMonitor(_) => "bfast_monitor",
            Method::TwoDate(_) => "two_date",
        }
    }

    /// Field, what was found, what is expected.
    ///
    /// # Errors
    /// A parameter that cannot be used.
    pub fn validate(&self) -> Result<(), (&'static str, String, &'static str)> {
        match self {
            Method::BfastMonitor(p) => p.validate(),
            Method::TwoDate(p) => p.validate(),
        }
    }

    /// Index whose change is reported.
    pub fn index(&self) -> &str {
        match self {
            Method::BfastMonitor(p) => &p.index,
            Method::TwoDate(p) => &p.index,
        }
    }

    /// Layers of the stack that it judges.
    pub fn wants(&self) -> Vec<Want> {
        vec![Want::Index(self.index().to_owned())]
    }

    /// True where observations on these days may suffice for a verdict.
    pub fn enough(&self, days: &[i32]) -> bool {
        match self {
            Method::BfastMonitor(p) => {
                let start = days_of(p.monitor_start);
                days.iter().filter(|d| **d < start).count() > 2 + 2 * p.order && days.last() >= Some(&start)
            }
            Method::TwoDate(p) => {
                let seen = |window| days.iter().any(|d| p.window(date_of(*d)) == Some(window));
                seen(0) && seen(1)
            }
        }
    }

    /// True for a method that keeps a state of each pixel, and goes on from it.
    pub fn is_monitor(&self) -> bool {
        match self {
            Method::BfastMonitor(_) => true,
            Method::TwoDate(_) => false,
        }
    }

    /// Judges the pixels of one parcel, in the order of the stack. A monitoring method goes on from `before` (one state a
    /// pixel, which has taken in the first `known` observations) where it is not empty, and gives the states to keep once
    /// monitoring has begun. `None`: the states are none of this method, begin from nothing.
    pub fn judge(&self, stack: &PixelStack, known: usize, before: &[PixelState]) -> Option<Judgement> {
        match self {
            Method::BfastMonitor(p) => match bfast_monitor::Model::new(p, &stack.days) {
                Ok(model) => monitor(stack, known, before, &model),
                // The parameters were checked when the configuration was read.
                Err(_) => Some((vec![Verdict::unjudged(Unjudged::SingularDesign); stack.pixels()], None)),
            },
            Method::TwoDate(p) => Some((two_date::judge(stack, p), None)),
        }
    }
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
pub const STATE_VERSION: u32 = 1;

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
            Ok(v) => Verdict { breaks: scratch.1.clone(), magnitude: v.magnitude, unjudged: None },
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

/// Judges layer 0 by a monitoring method.
fn monitor<M: Monitor>(stack: &PixelStack, known: usize, before: &[PixelState], model: &M) -> Option<Judgement> {
    let judged: Option<Vec<(Verdict, PixelState)>> = stack
        .series(0)
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
