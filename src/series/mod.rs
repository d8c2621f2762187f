//! What did the index of one parcel do, on a regular calendar? Observations in, series out.
//!
//! Observations come at irregular dates, several on one day or none for months. A series has one point per step of
//! `step_days`, from the first to the last step in which the parcel was seen. The value of a point is smoothed
//! ([`smooth`]); the observations stay the evidence. Smoothed values serve display and phenology,
//! and are never the sole basis of a damage or carbon delta.
//!
//! Invariants: dates ascend by exactly one step; the span depends on this parcel's observations alone, so another
//! parcel or a later scene elsewhere changes nothing here.

pub mod smooth;

use jiff::civil::Date;

pub use smooth::{Params, regular_series};

/// One index over one parcel in one acquisition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// Day of the acquisition, UTC.
    pub date: Date,
    /// Coverage-weighted mean of the index over the clear pixels; NaN when none was clear.
    pub mean: f64,
    /// Share of the parcel that was clear, 0 to 1.
    pub clear_fraction: f64,
}

impl Observation {
    /// Whether the observation says anything: a finite mean over some clear part of the parcel.
    pub fn is_usable(&self) -> bool {
        self.mean.is_finite() && self.clear_fraction.is_finite() && self.clear_fraction > 0.0
    }
}

/// One step of a regular series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeriesPoint {
    /// First day of the step.
    pub date: Date,
    /// Smoothed index; `None` when the parcel was seen in fewer than three steps.
    pub value: Option<f64>,
    /// Standard error of `value`; `None` where no degree of freedom is left to estimate it.
    pub value_se: Option<f64>,
    /// Observations used within the step.
    pub observations: u32,
}
