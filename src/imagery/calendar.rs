//! Which dates of a satellite's own calendar have no scene.
//!
//! A satellite on a repeating orbit passes over a tile every so many days: 10 for each Sentinel-2 (Drusch et al. 2012, Remote
//! Sensing of Environment 120:25-36), 16 for each Landsat 5, 7, 8 and 9 (Landsat Collection 2 data format documents). Where
//! several orbits see a tile, each has its own count. Between the first and the last date that are there, every further one
//! is expected; what lies before and after nobody can know. A date without a scene was not acquired, not published, or not
//! fetched: the scenes alone cannot tell which.

use std::collections::{BTreeMap, BTreeSet};

use jiff::ToSpan;
use jiff::civil::{Date, date};
use serde::Serialize;

use super::Scene;

/// Fewer dates than this are no calendar.
const MIN_DATES: usize = 3;

/// Dates of one satellite over one tile from one orbit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Track {
    /// Satellite.
    pub sensor: String,
    /// Tile, or path and row.
    pub tile: String,
    /// Days from one pass to the next.
    pub repeat_days: u32,
    /// First date with a scene.
    pub first: Date,
    /// Last date with a scene.
    pub last: Date,
    /// Dates of the calendar from first to last.
    pub expected: usize,
    /// Those without a scene.
    pub missing: Vec<Date>,
}

/// Days from one pass to the next of one satellite; unknown for a satellite that is not told.
fn repeat_days(sensor: &str) -> Option<u32> {
    match sensor {
        "S2A" | "S2B" | "S2C" | "S2D" => Some(10),
        "L5" | "L7" | "L8" | "L9" => Some(16),
        _ => None,
    }
}

/// The calendars of scenes that tell their satellite and tile, by satellite, tile and first date; complete ones as well.
pub fn tracks<'a>(scenes: impl Iterator<Item = &'a Scene>) -> Vec<Track> {
    let told = scenes.filter_map(|s| Some((s.sensor.as_str(), s.tile.as_deref()?, s.date())));
    let mut by_orbit: BTreeMap<(&str, &str, i32), BTreeSet<Date>> = BTreeMap::new();
    for (sensor, tile, on) in told {
        let Some(repeat) = repeat_days(sensor) else { continue };
        let days = (on - date(1970, 1, 1)).get_days();
        by_orbit.entry((sensor, tile, days.rem_euclid(repeat.cast_signed()))).or_default().insert(on);
    }
    let mut tracks = Vec::new();
    for ((sensor, tile, _), dates) in by_orbit {
        let (Some(repeat), Some(first), Some(last)) = (repeat_days(sensor), dates.first(), dates.last()) else {
            continue;
        };
        if dates.len() < MIN_DATES {
            continue;
        }
        let calendar: Vec<Date> = first.series(i64::from(repeat).days()).take_while(|d| d <= last).collect();
        tracks.push(Track {
            sensor: sensor.to_owned(),
            tile: tile.to_owned(),
            repeat_days: repeat,
            first: *first,
            last: *last,
            expected: calendar.len(),
            missing: calendar.into_iter().filter(|d| !dates.contains(d)).collect(),
        });
    }
    tracks.sort_by(|a, b| (&a.sensor, &a.tile, a.first).cmp(&(&b.sensor, &b.tile, b.first)));
    tracks
}

#[cfg(test)]
mod tests {
    use super::super::sensor::Sensors;
    use super::super::{OffsetSource, Scene};
    use super::*;

    fn scene(sensor: &str, tile: Option<&str>, on: &str) -> Scene {
        let (spec, _) = Sensors::builtin().expect("sensors").by_platform("sentinel-2a").expect("known");
        Scene {
            id: format!("{sensor}{on}"),
            sensor: sensor.into(),
            spec,
            acquired_at: format!("{on}T02:31:05Z").parse().expect("time"),
            baseline: None,
            generated: None,
            acquisition: String::new(),
            tile: tile.map(str::to_owned),
            part: None,
            stated: None,
            angles: crate::imagery::angles::Angles::Nadir,
            sun: Err(String::new()),
            offset_from: OffsetSource::Product,
            assets: BTreeMap::new(),
            metadata: Vec::new(),
            source: String::new(),
            masked_by_provider: false,
        }
    }

    /// Two orbits over one tile, 3 days apart, one with a hole of two passes; another satellite; scenes that tell too little.
    #[test]
    fn dates_between_the_first_and_the_last_are_expected() {
        let on = |sensor: &'static str, dates: &[&str]| -> Vec<Scene> {
            dates.iter().map(|d| scene(sensor, Some("T34TFR"), d)).collect()
        };
        let mut scenes = on("S2A", &["2020-02-20", "2020-03-01", "2020-03-31"]);
        scenes.extend(on("S2A", &["2020-02-23", "2020-03-04", "2020-03-14"]));
        scenes.extend(on("L8", &["2019-12-20", "2020-01-05", "2020-01-21"]));
        scenes.extend(on("S2", &["2020-01-01", "2020-01-11", "2020-02-11"]));
        scenes.extend(["2020-01-01", "2020-01-11", "2020-02-10"].map(|d| scene("S2B", None, d)));
        scenes.extend(on("S2B", &["2020-01-01", "2020-02-10"]));
        let found: Vec<(String, usize, Vec<String>)> = tracks(scenes.iter())
            .into_iter()
            .map(|t| (t.sensor, t.expected, t.missing.iter().map(Date::to_string).collect()))
            .collect();
        let missing = |dates: &[&str]| dates.iter().map(|d| (*d).to_owned()).collect::<Vec<_>>();
        // 2020 is a leap year: ten days after 20 February is 1 March.
        let expected =
            [("L8", 3, missing(&[])), ("S2A", 5, missing(&["2020-03-11", "2020-03-21"])), ("S2A", 3, missing(&[]))];
        assert_eq!(found, expected.map(|(s, n, m)| (s.to_owned(), n, m)));
    }
}
