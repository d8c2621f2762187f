//! When did the season of a year begin, peak and end, and how much was there of it? From a regular series.
//!
//! Within a calendar year the peak is the highest value. The bases are the lowest values of the year before and after it;
//! the season begins where the curve last rises through base + threshold x (peak - base) before the peak, and ends
//! where it first falls through the same share after it, by straight lines between steps (Jönsson and Eklundh 2004,
//! Computers & Geosciences 30:833-845, TIMESAT). Amplitude is the peak above the mean of the two bases; the integral is that of
//! the curve from begin to end, over 0, in index units times days (the large integral of TIMESAT).
//!
//! A series that begins or ends within the year (a month or more from its turn) must have left its base there: where its first
//! value is the lowest before the peak, or its last the lowest after it, nobody knows how far down the base lies.
//!
//! A step without a value (no observation supports the curve there) cuts the year like an end of the series: within the season
//! it is a gap, beside the lowest value on its side nobody knows how far down the base lies.
//!
//! A year without enough looks has no metrics, and says why. The curve is smoothed, so these are descriptions and no evidence.
//! A season that runs across the turn of the year, as in the southern hemisphere, is not described by calendar years.

use jiff::SignedDuration;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::SeriesPoint;

/// `[series.seasons]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Share of the amplitude at which a season begins and ends, above 0, below 1. Default 0.5.
    pub threshold: f64,
    /// Observations that the year needs, 3 or more. Default 10, an engineering default.
    pub min_observations: u32,
    /// Longest time without an observation between begin and end, days, 1 to 366. Default 60, an engineering default.
    pub max_gap_days: u32,
    /// A smaller amplitude is no season (evergreen forest, bare ground), index units, 0 to 2. Default 0.1, an engineering
    /// default.
    pub min_amplitude: f64,
}

impl Default for Params {
    fn default() -> Self {
        Params { threshold: 0.5, min_observations: 10, max_gap_days: 60, min_amplitude: 0.1 }
    }
}

impl Params {
    /// Key, value found and values expected of the first parameter that cannot be used.
    ///
    /// # Errors
    /// A value out of range.
    pub fn validate(&self) -> Result<(), (&'static str, String, &'static str)> {
        if !(self.threshold > 0.0 && self.threshold < 1.0) {
            return Err(("threshold", self.threshold.to_string(), "above 0, below 1"));
        }
        if self.min_observations < 3 {
            return Err(("min_observations", self.min_observations.to_string(), "3 or more"));
        }
        if !(1..=366).contains(&self.max_gap_days) {
            return Err(("max_gap_days", self.max_gap_days.to_string(), "1 to 366 days"));
        }
        if !(0.0..=2.0).contains(&self.min_amplitude) {
            return Err(("min_amplitude", self.min_amplitude.to_string(), "0 to 2 index units"));
        }
        Ok(())
    }
}

/// Whether a year has metrics, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It has.
    Ok,
    /// Fewer observations than `min_observations`, or a series without values.
    FewObservations,
    /// The year was not seen on both sides of the season: its begin or end lies beyond the series, or beyond the year.
    Incomplete,
    /// No observation for more than `max_gap_days` within the season.
    Gap,
    /// Amplitude below `min_amplitude`.
    NoSeason,
}

impl Status {
    /// The table's spelling.
    pub fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::FewObservations => "few_observations",
            Status::Incomplete => "incomplete",
            Status::Gap => "gap",
            Status::NoSeason => "no_season",
        }
    }
}

/// One year.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Season {
    /// Calendar year.
    pub year: i16,
    /// Observations used in the year's steps.
    pub observations: u32,
    /// Whether there are metrics.
    pub status: Status,
    /// They; present where the status is ok.
    pub metrics: Option<Metrics>,
}

/// Metrics of a season.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metrics {
    /// Day on which the curve rises through the threshold, rounded.
    pub start: Date,
    /// Day of the highest step.
    pub peak: Date,
    /// Day on which the curve falls through the threshold, rounded.
    pub end: Date,
    /// Index at the peak.
    pub peak_value: f64,
    /// Mean of the bases before and after the peak.
    pub base_value: f64,
    /// peak_value - base_value.
    pub amplitude: f64,
    /// Integral of the curve from start to end, index units x days.
    pub integral_index_d: f64,
}

/// A series that is there within so many days of the turn of the year holds the year's winter.
const EDGE_DAYS: i16 = 31;

/// Metrics of every calendar year that a series touches. A step's value stands for its middle, `step_days / 2` after its date.
pub fn seasons(points: &[SeriesPoint], step_days: u32, params: &Params) -> Vec<Season> {
    points
        .chunk_by(|a, b| a.date.year() == b.date.year())
        .map(|year| {
            let observations = year.iter().map(|p| p.observations).sum();
            let found = metrics(year, observations, step_days, params);
            Season {
                year: year[0].date.year(),
                observations,
                status: found.err().unwrap_or(Status::Ok),
                metrics: found.ok(),
            }
        })
        .collect()
}

fn metrics(year: &[SeriesPoint], observations: u32, step_days: u32, params: &Params) -> Result<Metrics, Status> {
    if observations < params.min_observations {
        return Err(Status::FewObservations);
    }
    let valued = |p: &SeriesPoint| p.value.is_some();
    let first = year.iter().position(valued).ok_or(Status::FewObservations)?;
    let last = year.iter().rposition(valued).ok_or(Status::FewObservations)?;
    let year = &year[first..=last];
    // NaN where the curve has no value: no comparison holds there.
    let values: Vec<f64> = year.iter().map(|p| p.value.unwrap_or(f64::NAN)).collect();
    let known = |i: &usize| values[*i].is_finite();
    // The first of equals, as a fold from the left finds it.
    let highest = |best: usize, i: usize| if values[i] > values[best] { i } else { best };
    let peak = (0..values.len()).filter(known).reduce(highest).ok_or(Status::FewObservations)?;
    let lowest = |side: std::ops::Range<usize>| side.map(|i| values[i]).fold(f64::INFINITY, f64::min);
    let (base_before, base_after) = (lowest(0..peak + 1), lowest(peak..values.len()));
    let peak_value = values[peak];
    let base_value = (base_before + base_after) / 2.0;
    let amplitude = peak_value - base_value;
    if amplitude < params.min_amplitude {
        return Err(Status::NoSeason);
    }
    let level = |base: f64| base + params.threshold * (peak_value - base);
    // Positions in steps, with a fraction. A side without a rise has its base at the peak, and no crossing.
    let rise = level(base_before);
    let crossed = |i: &usize, level: f64| values[*i] < level || !known(i);
    let start = (0..peak).rev().find(|i| crossed(i, rise));
    let fall = level(base_after);
    let end = (peak + 1..values.len()).find(|i| crossed(i, fall));
    let (Some(start), Some(end)) = (start, end) else { return Err(Status::Incomplete) };
    if !known(&start) || !known(&end) {
        return Err(Status::Gap);
    }
    let start = at(start, rise, values[start], values[start + 1]);
    let end = at(end - 1, fall, values[end - 1], values[end]);
    let (first, last) = (year[0].date, year[year.len() - 1].date);
    let end_of_last = i64::from(last.day_of_year()) + i64::from(step_days);
    let begins_late = first.day_of_year() > EDGE_DAYS;
    let ends_early = end_of_last + i64::from(EDGE_DAYS) <= i64::from(last.days_in_year());
    let beside_unknown = |i: &usize| (i.saturating_sub(1)..=i + 1).any(|j| j < values.len() && !known(&j));
    let hidden = (0..=peak).filter(|i| values[*i] <= base_before).any(|i| beside_unknown(&i))
        || (peak..values.len()).filter(|i| values[*i] <= base_after).any(|i| beside_unknown(&i));
    let cut = (begins_late && values[0] <= base_before) || (ends_early && values[values.len() - 1] <= base_after);
    if hidden || cut {
        return Err(Status::Incomplete);
    }
    // From the last look at or before the begin to the first at or after the end.
    let seen: Vec<usize> = (0..year.len()).filter(|&i| year[i].observations > 0).collect();
    let open = seen.first().is_none_or(|&i| i as f64 > start) || seen.last().is_none_or(|&i| (i as f64) < end);
    if open {
        return Err(Status::Incomplete);
    }
    let longest = seen
        .windows(2)
        .filter(|w| (w[1] as f64) > start && (w[0] as f64) < end)
        .map(|w| (w[1] - w[0]) as u64 * u64::from(step_days))
        .max();
    if longest.is_some_and(|days| days > u64::from(params.max_gap_days)) {
        return Err(Status::Gap);
    }
    let day = |position: f64| {
        let days = (position + 0.5) * f64::from(step_days);
        year[0].date.saturating_add(SignedDuration::from_hours(24 * days.floor() as i64))
    };
    Ok(Metrics {
        start: day(start),
        peak: day(peak as f64),
        end: day(end),
        peak_value,
        base_value,
        amplitude,
        integral_index_d: integral(&values, start, end) * f64::from(step_days),
    })
}

/// Position between steps i and i + 1 at which a straight line has a value.
fn at(i: usize, level: f64, left: f64, right: f64) -> f64 {
    i as f64 + (level - left) / (right - left)
}

/// Trapezoids between two positions, in index units times steps.
fn integral(values: &[f64], start: f64, end: f64) -> f64 {
    let value = |position: f64| {
        let i = (position.floor() as usize).min(values.len() - 2);
        values[i] + (position - i as f64) * (values[i + 1] - values[i])
    };
    let inner = (start.floor() as usize + 1..=end.ceil() as usize - 1).map(|i| i as f64);
    let nodes: Vec<f64> = std::iter::once(start).chain(inner).chain([end]).collect();
    nodes.windows(2).map(|w| (w[1] - w[0]) * (value(w[0]) + value(w[1])) / 2.0).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    /// Steps of 10 days from the first of January, all observed.
    fn year(values: &[f64]) -> Vec<SeriesPoint> {
        from_step(0, values)
    }

    fn from_step(first: usize, values: &[f64]) -> Vec<SeriesPoint> {
        let at = |i: usize| date(2020, 1, 1).saturating_add(SignedDuration::from_hours(240 * (first + i) as i64));
        let point = |(i, v): (usize, &f64)| SeriesPoint {
            date: at(i),
            value: Some(*v),
            value_se: Some(0.01),
            observations: 1,
            screened: 0,
        };
        values.iter().enumerate().map(point).collect()
    }

    /// A tent: 0.2 until step 8, up to 0.8 at step 14, 0.8 until 20, down to 0.4 at step 30.
    fn tent() -> Vec<f64> {
        (0..36)
            .map(|i| match i {
                0..=8 => 0.2,
                9..=14 => 0.2 + 0.1 * f64::from(i - 8),
                15..=20 => 0.8,
                21..=30 => 0.8 - 0.04 * f64::from(i - 20),
                _ => 0.4,
            })
            .collect()
    }

    #[test]
    fn a_tent_by_hand() {
        let all = seasons(&year(&tent()), 10, &Params::default());
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].year, all[0].observations, all[0].status), (2020, 36, Status::Ok));
        let m = all[0].metrics.unwrap();
        // Rises through 0.5 at step 11, falls through 0.6 at step 25; middles of steps are 5 days later.
        assert_eq!(m.start, date(2020, 1, 1).saturating_add(SignedDuration::from_hours(24 * 115)));
        assert_eq!(m.peak, date(2020, 1, 1).saturating_add(SignedDuration::from_hours(24 * 145)));
        assert_eq!(m.end, date(2020, 1, 1).saturating_add(SignedDuration::from_hours(24 * 255)));
        for (found, expected) in [
            (m.peak_value, 0.8),
            (m.base_value, 0.3),
            (m.amplitude, 0.5),
            // 3 steps at a mean of 0.65, 6 at 0.8, 5 at 0.7.
            (m.integral_index_d, 10.0 * (3.0 * 0.65 + 6.0 * 0.8 + 5.0 * 0.7)),
        ] {
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
    }

    #[test]
    fn years_that_say_nothing_say_why() {
        let status = |points: &[SeriesPoint]| {
            let s = seasons(points, 10, &Params::default())[0];
            assert_eq!(s.metrics.is_some(), s.status == Status::Ok);
            s.status
        };
        let mut few = year(&tent());
        few.iter_mut().step_by(4).for_each(|p| p.observations = 0);
        assert_eq!(status(&few), Status::Ok);
        few.iter_mut().enumerate().filter(|(i, _)| i % 4 != 1).for_each(|(_, p)| p.observations = 0);
        assert_eq!(status(&few), Status::FewObservations);
        let without = |steps: &[usize]| {
            let mut points = year(&tent());
            steps.iter().for_each(|i| points[*i].value = None);
            status(&points)
        };
        assert_eq!(without(&(0..36).collect::<Vec<_>>()), Status::FewObservations);
        assert_eq!(without(&[0, 1, 2]), Status::Ok, "as a series that begins late in January");
        assert_eq!(without(&[0, 1, 2, 3, 4]), Status::Incomplete, "as a series that begins in February");
        assert_eq!(without(&[3]), Status::Incomplete, "the base may lie lower");
        assert_eq!(without(&[23]), Status::Gap, "within the season");
        assert_eq!(without(&[27]), Status::Ok, "after the season, where the base comes later");
        let flat: Vec<f64> = tent().iter().map(|v| 0.7 + 0.1 * v).collect();
        assert_eq!(status(&year(&flat)), Status::NoSeason);
        assert_eq!(status(&from_step(12, &tent()[12..])), Status::Incomplete, "the begin is not seen");
        assert_eq!(status(&from_step(4, &tent()[4..])), Status::Incomplete, "the base may lie lower");
        let mut rising = tent();
        rising[5] = 0.19;
        assert_eq!(status(&from_step(4, &rising[4..])), Status::Ok, "the base was seen");
        assert_eq!(status(&year(&tent()[..29])), Status::Incomplete, "still falling");
        assert_eq!(status(&year(&tent()[..18])), Status::Incomplete, "the end is not seen");
        let mut gap = year(&tent());
        gap[14..20].iter_mut().for_each(|p| p.observations = 0);
        assert_eq!(status(&gap), Status::Gap);
        let mut winter = year(&tent());
        winter[..9].iter_mut().for_each(|p| p.observations = 0);
        assert_eq!(status(&winter), Status::Ok, "a gap outside the season is none");
    }

    #[test]
    fn years_are_parted_and_short_ones_are_no_panic() {
        let mut points = year(&tent());
        points.extend(year(&[0.3]).iter().map(|p| SeriesPoint { date: date(2021, 1, 5), observations: 40, ..*p }));
        let all = seasons(&points, 10, &Params::default());
        assert_eq!(all.iter().map(|s| s.year).collect::<Vec<_>>(), [2020, 2021]);
        assert_eq!(all[1].status, Status::NoSeason);
        assert!(seasons(&[], 10, &Params::default()).is_empty());
    }
}
