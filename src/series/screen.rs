//! Which observations are probably residual cloud? Single drops below what was seen before and after.
//!
//! Cloud that a mask missed lowers vegetation indices for a date or two, and a loss of forest lowers them until something
//! grows. So an observation is screened where it lies below both sides: below the median of the (up to three) observations
//! before it and below that of the three after it, each within `window_days`, by more than `drop_se` times the noise and
//! `min_drop`. Up to one neighbour of three may itself be cloudy. The first and the last observation are never screened,
//! nor is a drop that lasts, nor a decline into autumn: one side is low there.
//!
//! Noise is the median of |y_(i+1) - y_i| over 0.6745 sqrt(2), the robust form of von Neumann's (1941) successive differences;
//! it contains some of the season, which makes the screen careful. The rule is a one-sided Hampel filter (Hampel 1974, JASA
//! 69:383-393) with sides kept apart. All observations are judged against all others at once, so their order does not
//! matter.
//!
//! A true loss that is seen once and gone at the next look is screened as well. The observations table keeps everything;
//! only the series leaves screened observations out, and counts them.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::Observation;

/// Neighbours that speak for a side.
const SIDE: usize = 3;
/// Fewer observations have no noise to speak of.
const MIN_OBSERVATIONS: usize = 5;
/// Median of |e| of a standard normal e.
const MEDIAN_ABS_NORMAL: f64 = 0.674_489_750_196_081_7;

/// `[series.screen]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Days to either side within which neighbours count, 1 to 366. Default 45.
    pub window_days: u32,
    /// A drop counts from this many standard deviations of the noise on, above 0. Default 3, as is usual for Hampel's filter.
    pub drop_se: f64,
    /// And from this size on, index units, 0 to 2. Default 0.05, an engineering default.
    pub min_drop: f64,
}

impl Default for Params {
    fn default() -> Self {
        Params { window_days: 45, drop_se: 3.0, min_drop: 0.05 }
    }
}

impl Params {
    /// Key, value found and values expected of the first parameter that cannot be used.
    ///
    /// # Errors
    /// A value out of range.
    pub fn validate(&self) -> Result<(), (&'static str, String, &'static str)> {
        if !(1..=366).contains(&self.window_days) {
            return Err(("window_days", self.window_days.to_string(), "1 to 366 days"));
        }
        if !(self.drop_se > 0.0 && self.drop_se <= 100.0) {
            return Err(("drop_se", self.drop_se.to_string(), "above 0, at most 100"));
        }
        if !(0.0..=2.0).contains(&self.min_drop) {
            return Err(("min_drop", self.min_drop.to_string(), "0 to 2 index units"));
        }
        Ok(())
    }
}

/// Whether each observation is screened; they may come in any order, and none may be unusable.
pub fn screened(observations: &[&Observation], params: &Params) -> Vec<bool> {
    let mut out = vec![false; observations.len()];
    if observations.len() < MIN_OBSERVATIONS {
        return out;
    }
    let mut order: Vec<usize> = (0..observations.len()).collect();
    // By value within a day, so that the noise does not depend on the order of the input.
    order.sort_by(|&a, &b| {
        let (a, b) = (observations[a], observations[b]);
        a.date.cmp(&b.date).then(a.mean.total_cmp(&b.mean)).then(a.clear_fraction.total_cmp(&b.clear_fraction))
    });
    let sorted: Vec<(Date, f64)> = order.iter().map(|&i| (observations[i].date, observations[i].mean)).collect();
    let steps = sorted.windows(2).map(|w| (w[1].1 - w[0].1).abs()).collect();
    let noise = median(steps).map_or(0.0, |m| m / (MEDIAN_ABS_NORMAL * std::f64::consts::SQRT_2));
    let needed = (params.drop_se * noise).max(params.min_drop);
    let within = |a: Date, b: Date| {
        let days = (a.duration_since(b).as_hours() / 24).unsigned_abs();
        days > 0 && days <= u64::from(params.window_days)
    };
    for (position, &i) in order.iter().enumerate() {
        let (date, value) = sorted[position];
        let before: Vec<f64> =
            sorted[..position].iter().rev().filter(|o| within(o.0, date)).take(SIDE).map(|o| o.1).collect();
        let after: Vec<f64> = sorted[position..].iter().filter(|o| within(o.0, date)).take(SIDE).map(|o| o.1).collect();
        if let (Some(before), Some(after)) = (median(before), median(after)) {
            out[i] = before.min(after) - value > needed;
        }
    }
    out
}

/// The middle, of an even number the mean of the two in the middle; `None` of nothing.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    match n {
        0 => None,
        n if n % 2 == 1 => Some(values[n / 2]),
        _ => Some((values[n / 2 - 1] + values[n / 2]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;
    use jiff::civil::date;

    fn every_8_days(values: &[f64]) -> Vec<Observation> {
        let at = |i: usize| date(2020, 4, 1).saturating_add(SignedDuration::from_hours(24 * 8 * i as i64));
        values.iter().enumerate().map(|(i, v)| Observation { date: at(i), mean: *v, clear_fraction: 1.0 }).collect()
    }

    fn found(values: &[f64]) -> Vec<usize> {
        let observations = every_8_days(values);
        let all: Vec<&Observation> = observations.iter().collect();
        let flags = screened(&all, &Params::default());
        flags.iter().enumerate().filter_map(|(i, f)| f.then_some(i)).collect()
    }

    #[test]
    fn drops_of_a_date_or_two_go_and_lasting_ones_stay() {
        let flat = [0.80, 0.81, 0.79, 0.80, 0.82, 0.80, 0.81, 0.79, 0.80, 0.81];
        assert_eq!(found(&flat), [0_usize; 0]);
        let with = |at: &[usize]| {
            let mut v = flat;
            at.iter().for_each(|&i| v[i] -= 0.3);
            found(&v)
        };
        assert_eq!(with(&[4]), [4]);
        assert_eq!(with(&[4, 5]), [4, 5], "one neighbour of three may be cloudy");
        assert_eq!(with(&[2, 6]), [2, 6]);
        assert_eq!(with(&[6, 7, 8, 9]), [0_usize; 0], "a loss lasts");
        assert_eq!(with(&[0]), [0_usize; 0], "nothing was seen before");
        assert_eq!(with(&[9]), [0_usize; 0], "what comes after is not known yet");
        let mut peak = flat;
        peak[4] += 0.3;
        assert_eq!(found(&peak), [0_usize; 0], "cloud does not raise the index");
    }

    #[test]
    fn seasons_stay() {
        let curve: Vec<f64> =
            (0..46).map(|i| 0.5 - 0.3 * (std::f64::consts::TAU * f64::from(i) / 45.6).cos()).collect();
        assert_eq!(found(&curve), [0_usize; 0]);
        // A valley of one sharp point between steep sides is a season's minimum only where it is deeper than its sides.
        let mut dipped = curve;
        dipped[20] -= 0.25;
        assert_eq!(found(&dipped), [20]);
    }

    #[test]
    fn neighbours_out_of_reach_do_not_speak() {
        let mut o = every_8_days(&[0.8, 0.81, 0.4, 0.8, 0.79, 0.8]);
        for later in &mut o[3..] {
            later.date = later.date.saturating_add(SignedDuration::from_hours(24 * 60));
        }
        let all: Vec<&Observation> = o.iter().collect();
        assert!(!screened(&all, &Params::default()).contains(&true));
        let wide = Params { window_days: 120, ..Params::default() };
        assert!(screened(&all, &wide)[2]);
    }

    proptest::proptest! {
        #[test]
        fn order_does_not_matter(rows in proptest::collection::vec((0_i64..200, 0.0_f64..1.0), 5..40)) {
            let make = |r: &(i64, f64)| Observation {
                date: date(2020, 1, 1).saturating_add(SignedDuration::from_hours(24 * r.0)), mean: r.1, clear_fraction: 1.0,
            };
            let forward: Vec<Observation> = rows.iter().map(make).collect();
            let a: Vec<&Observation> = forward.iter().collect();
            let b: Vec<&Observation> = forward.iter().rev().collect();
            let mut reversed = screened(&b, &Params::default());
            reversed.reverse();
            proptest::prop_assert_eq!(screened(&a, &Params::default()), reversed);
        }
    }
}
