//! One value a year (or a season) from all observations of a pixel: median or medoid of a growing season.
//!
//! - **Median**: of the clear values of one layer; the mean of the middle two for an even count.
//! - **Medoid**: the observation whose bands lie nearest to the band medians, by the sum of squared differences over the
//!   bands; the earliest of equals. All bands of a pixel then come from one real observation. The rule is that of LT-GEE
//!   (Kennedy et al. 2018, Remote Sensing 10:691); after Flood 2013, Remote Sensing 5:6481-6500, who used the sum of
//!   distances to all other observations.
//!
//! Years without a clear observation stay empty; nothing is interpolated. Functions take buffers and allocate nothing once
//! these have grown.

use std::fmt;
use std::ops::Range;

use jiff::ToSpan;
use jiff::civil::{Date, date};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How the observations of a season become one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Composite {
    /// Median of the layer.
    Median,
    /// Value of the observation nearest to the medians of several bands.
    Medoid,
}

/// First and last day of a season, both within; in files `["06-01", "09-30"]`. A season whose first day comes after its last
/// in the calendar runs over the turn of the year and belongs to the year in which it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Season {
    /// Month and day.
    first: (i8, i8),
    /// Month and day.
    last: (i8, i8),
}

impl Season {
    /// 10 June to 20 September, the default of the LT-GEE interface.
    pub const LT_GEE: Season = Season { first: (6, 10), last: (9, 20) };

    /// Season from texts such as `06-01`.
    ///
    /// # Errors
    /// A text that is no day of a leap year in the form MM-DD.
    pub fn new(first: &str, last: &str) -> Result<Season, String> {
        Ok(Season { first: month_day(first)?, last: month_day(last)? })
    }

    /// Year of the season that a day falls into.
    pub fn year(&self, day: Date) -> Option<i32> {
        let at = (day.month(), day.day());
        let year = i32::from(day.year());
        if self.first <= self.last {
            return (self.first <= at && at <= self.last).then_some(year);
        }
        if at >= self.first {
            Some(year + 1)
        } else if at <= self.last {
            Some(year)
        } else {
            None
        }
    }

    /// First day of the season of a year. 29 February is 28 February where there is none.
    pub fn start(&self, year: i32) -> Option<Date> {
        let year = if self.first <= self.last { year } else { year - 1 };
        let year = i16::try_from(year).ok()?;
        let (month, day) = self.first;
        Date::new(year, month, day).or_else(|_| Date::new(year, month, day - 1)).ok()
    }
}

fn month_day(text: &str) -> Result<(i8, i8), String> {
    let parsed = text.split_once('-').and_then(|(m, d)| {
        let plain = |s: &str| s.len() == 2 && s.bytes().all(|b| b.is_ascii_digit());
        if !plain(m) || !plain(d) {
            return None;
        }
        let (m, d) = (m.parse().ok()?, d.parse().ok()?);
        // 2000 is a leap year: 02-29 is a day.
        Date::new(2000, m, d).ok().map(|_| (m, d))
    });
    parsed.ok_or_else(|| format!("{text:?} is no day of the year; expected month and day as \"06-01\""))
}

impl fmt::Display for Season {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}-{:02} to {:02}-{:02}", self.first.0, self.first.1, self.last.0, self.last.1)
    }
}

impl Serialize for Season {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = |(m, d): (i8, i8)| format!("{m:02}-{d:02}");
        [text(self.first), text(self.last)].serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Season {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Season, D::Error> {
        let [first, last] = <[String; 2]>::deserialize(deserializer)?;
        Season::new(&first, &last).map_err(serde::de::Error::custom)
    }
}

/// Which observations belong to the season of which year.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// Every year from the first with an observation in season to the last, gaps included; ascending.
    pub years: Vec<i32>,
    /// Positions of each year's observations; empty for a year without any.
    pub positions: Vec<Range<usize>>,
}

impl Windows {
    /// Sorts days (since 1970-01-01, ascending) into seasons.
    pub fn new(days: &[i32], season: &Season) -> Windows {
        let epoch = date(1970, 1, 1);
        let mut windows = Windows { years: Vec::new(), positions: Vec::new() };
        for (i, &day) in days.iter().enumerate() {
            // A day beyond the calendar belongs to no season.
            let Some(year) = epoch.checked_add(i64::from(day).days()).ok().and_then(|d| season.year(d)) else {
                continue;
            };
            match windows.years.last() {
                Some(&last) if last == year => {}
                Some(&last) => {
                    // Years between have no observation: an empty range keeps the row.
                    for missing in last + 1..=year {
                        windows.years.push(missing);
                        windows.positions.push(i..i);
                    }
                }
                None => {
                    windows.years.push(year);
                    windows.positions.push(i..i);
                }
            }
            if let Some(range) = windows.positions.last_mut() {
                range.end = i + 1;
            }
        }
        windows
    }
}

/// Composite of one pixel and window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pick {
    /// The value.
    pub value: f64,
    /// Position of the first clear observation of the window.
    pub first: usize,
    /// Position of the last clear observation of the window.
    pub last: usize,
}

/// Reused buffer.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    sorted: Vec<f64>,
    medians: Vec<f64>,
}

/// Median of the finite values of one layer at `positions`; `None` where there is none.
pub fn median(layer: &[f64], positions: Range<usize>, scratch: &mut Scratch) -> Option<Pick> {
    let clear = |i: &usize| layer[*i].is_finite();
    let first = positions.clone().find(clear)?;
    let last = positions.clone().rev().find(clear)?;
    scratch.sorted.clear();
    scratch.sorted.extend(layer[positions].iter().filter(|v| v.is_finite()));
    Some(Pick { value: middle(&mut scratch.sorted)?, first, last })
}

/// Position of the medoid of several bands at `positions`, with `value` taken from `layer` there. Only observations that are
/// finite in every band and in `layer` take part.
pub fn medoid(layer: &[f64], bands: &[&[f64]], positions: Range<usize>, scratch: &mut Scratch) -> Option<Pick> {
    let clear = |i: &usize| layer[*i].is_finite() && bands.iter().all(|b| b[*i].is_finite());
    let first = positions.clone().find(clear)?;
    let last = positions.clone().rev().find(clear)?;
    scratch.medians.clear();
    for band in bands {
        scratch.sorted.clear();
        scratch.sorted.extend(positions.clone().filter(clear).map(|i| band[i]));
        scratch.medians.push(middle(&mut scratch.sorted)?);
    }
    let mut nearest = (f64::INFINITY, first);
    for i in positions.filter(clear) {
        let distance: f64 = bands.iter().zip(&scratch.medians).map(|(b, m)| (b[i] - m) * (b[i] - m)).sum();
        if distance < nearest.0 {
            nearest = (distance, i);
        }
    }
    Some(Pick { value: layer[nearest.1], first, last })
}

/// Median by selection; the mean of the middle two for an even count.
fn middle(v: &mut [f64]) -> Option<f64> {
    if v.is_empty() {
        return None;
    }
    let half = v.len() / 2;
    let odd = v.len() % 2 == 1;
    let (below, &mut upper, _) = v.select_nth_unstable_by(half, f64::total_cmp);
    if odd {
        return Some(upper);
    }
    let lower = below.iter().copied().max_by(f64::total_cmp)?;
    Some(0.5 * (lower + upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> i32 {
        let d: Date = text.parse().expect("date");
        (d - date(1970, 1, 1)).get_days()
    }

    #[test]
    fn seasons_within_a_year_and_over_its_turn() {
        let summer = Season::new("06-01", "09-30").expect("season");
        let at = |s: &str| s.parse::<Date>().expect("date");
        assert_eq!(summer.year(at("2020-05-31")), None);
        assert_eq!(summer.year(at("2020-06-01")), Some(2020));
        assert_eq!(summer.year(at("2020-09-30")), Some(2020));
        assert_eq!(summer.start(2020), Some(at("2020-06-01")));
        let south = Season::new("11-15", "02-29").expect("season");
        assert_eq!(south.year(at("2019-11-15")), Some(2020));
        assert_eq!(south.year(at("2020-02-29")), Some(2020));
        assert_eq!(south.year(at("2020-03-01")), None);
        assert_eq!(south.start(2020), Some(at("2019-11-15")));
        let leap = Season::new("02-29", "04-01").expect("season");
        assert_eq!(leap.start(2021), Some(at("2021-02-28")));
    }

    #[test]
    fn a_season_that_is_none_is_refused_by_name() {
        for bad in ["6-1", "13-01", "02-30", "", "06-01x", "0a-01", "+6-01"] {
            assert!(Season::new(bad, "09-30").expect_err(bad).contains(&format!("{bad:?}")), "{bad}");
        }
        let season: Season = serde_json::from_str(r#"["06-01", "09-30"]"#).expect("season");
        assert_eq!(serde_json::to_string(&season).expect("text"), r#"["06-01","09-30"]"#);
        assert!(serde_json::from_str::<Season>(r#"["06-01"]"#).is_err());
    }

    #[test]
    fn years_without_an_observation_keep_their_row() {
        let days = [day("2018-07-01"), day("2018-12-01"), day("2020-06-01"), day("2020-06-01"), day("2020-10-01")];
        let w = Windows::new(&days, &Season::new("06-01", "09-30").expect("season"));
        assert_eq!(w.years, [2018, 2019, 2020]);
        assert_eq!(w.positions, [0..1, 2..2, 2..4]);
        assert!(Windows::new(&[], &Season::new("06-01", "09-30").expect("season")).years.is_empty());
    }

    #[test]
    fn median_of_clear_values_and_the_span_they_cover() {
        let mut s = Scratch::default();
        let v = [f64::NAN, 0.2, 0.9, f64::INFINITY, 0.4, 0.6, f64::NAN];
        assert_eq!(median(&v, 0..7, &mut s), Some(Pick { value: 0.5, first: 1, last: 5 }));
        assert_eq!(median(&v, 1..5, &mut s), Some(Pick { value: 0.4, first: 1, last: 4 }));
        assert_eq!(median(&v, 3..4, &mut s), None);
        assert_eq!(median(&v, 3..3, &mut s), None);
    }

    #[test]
    fn medoid_is_one_real_observation_and_the_earliest_of_equals() {
        let mut s = Scratch::default();
        // Medians 0.3 and 0.5: the third observation is (0.3, 0.5) itself, the second nearer in one band only.
        let red = [0.1, 0.3, 0.3, 0.9, 0.35];
        let nir = [0.5, 0.9, 0.5, 0.1, 0.6];
        let index = [1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(medoid(&index, &[&red, &nir], 0..5, &mut s).map(|p| p.value), Some(3.0));
        // Two observations are equally far from their mean in every band.
        assert_eq!(medoid(&index, &[&red, &nir], 3..5, &mut s).map(|p| p.value), Some(4.0));
        // A band that is missing takes the observation out.
        let holed = [0.1, 0.3, f64::NAN, 0.9, 0.35];
        let p = medoid(&index, &[&holed, &nir], 1..5, &mut s).expect("pick");
        assert_ne!(p.value, 3.0);
        assert_eq!((p.first, p.last), (1, 4));
    }
}
