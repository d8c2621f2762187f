//! Events: pixel breaks of one parcel that touch and fall together in time, as one dated disturbance with an area.
//!
//! A single pixel's alarm means little: a parcel of 400 pixels has 400 chances to be wrong. Every method therefore reports
//! through this rule, which depends on nothing but the parcel's own pixels.
//!
//! **Membership.** Breaks of one sign are joined when their pixels touch (8 neighbours, or one pixel with itself) and the
//! intervals from the last clear observation before to the first after are no further apart than `window_days`. What is so
//! joined, directly or through others, is an event, so that a felling that goes on for months is one event. A pixel counts
//! once, with its earliest break in the event. The event is told when its pixels cover at least `min_patch_ha` and at least
//! `min_share` of the parcel's judged pixels, and its mean magnitude is at least `min_magnitude`.
//!
//! **Dates.** `before` is the coverage-weighted median of the members' last clear observation before the change, `after` that
//! of the first after it. Each pixel's before lies before its after, hence the medians too. `detected` is the first
//! observation by which the members decided so far cover the smallest patch: when an alarm could have been raised.
//!
//! **Area.** The sum of the members' coverage fractions. Its standard error is not that of independent pixels: where the
//! line is drawn, and which pixels of a thin loss are seen, is common to many of them. It has three parts, added as
//! variances:
//! - the outline, shifted as a whole: `OUTLINE_SHIFT` x coverage of the members at the edge (one of their 4 neighbours is a
//!   pixel of the parcel and no member);
//! - pixels wrongly in or out one by one: `sqrt(sum of coverage^2 p (1 - p))` with the members' probabilities p;
//! - pixels that could not be judged and touch a member: half their coverage is expected to be lost, uniformly between none
//!   and all, so `sum of coverage / sqrt(12)`. They are not added to the area.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{PixelBreak, Verdict};

/// Standard deviation of an event's outline, pixels. Measured on the planted losses of the `detection` benchmark, whose table
/// prints in how many of them the 90 % interval holds the true area.
const OUTLINE_SHIFT: f64 = 0.25;

/// `[change.events]`: when breaks of pixels make an event of a parcel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventRule {
    /// Breaks of touching pixels belong together when their intervals are at most this many days apart.
    pub window_days: i32,
    /// Smallest event, hectares; not given: the method's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_patch_ha: Option<f64>,
    /// Smallest event, share of the parcel's judged pixels by coverage.
    pub min_share: f64,
    /// Smallest mean magnitude, index units.
    pub min_magnitude: f64,
    /// Gains as well as losses.
    pub gains: bool,
}

impl Default for EventRule {
    fn default() -> Self {
        EventRule { window_days: 30, min_patch_ha: None, min_share: 0.0, min_magnitude: 0.0, gains: false }
    }
}

impl EventRule {
    /// Field, what was found, what is expected.
    ///
    /// # Errors
    /// A value out of its range.
    pub fn validate(&self) -> Result<(), (&'static str, String, &'static str)> {
        if self.window_days < 0 {
            return Err(("window_days", self.window_days.to_string(), "0 or more days"));
        }
        if let Some(ha) = self.min_patch_ha
            && !(ha >= 0.0 && ha.is_finite())
        {
            return Err(("min_patch_ha", ha.to_string(), "0 or more hectares"));
        }
        if !(0.0..=1.0).contains(&self.min_share) {
            return Err(("min_share", self.min_share.to_string(), "a share from 0 to 1"));
        }
        if !(0.0..=2.0).contains(&self.min_magnitude) {
            return Err(("min_magnitude", self.min_magnitude.to_string(), "an index difference from 0 to 2"));
        }
        Ok(())
    }
}

/// A pixel of a parcel: where it is, and the fraction of it that the parcel covers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Row.
    pub row: u32,
    /// Column.
    pub col: u32,
    /// Coverage fraction.
    pub weight: f64,
}

/// An event of a parcel.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Positions of its pixels, ascending.
    pub members: Vec<usize>,
    /// Position of the last clear observation before.
    pub before: usize,
    /// Position of the first clear observation after.
    pub after: usize,
    /// Position of the observation by which it could be told.
    pub detected: usize,
    /// Mean change over the members, by coverage.
    pub magnitude: f64,
    /// Sum of coverage fractions.
    pub pixels: f64,
    /// Standard error of `pixels`; `None` where the noise cannot be judged.
    pub pixels_se: Option<f64>,
    /// Mean probability of the members, by coverage.
    pub probability: Option<f64>,
}

/// A pixel and one of its breaks.
type Node<'a> = (usize, &'a PixelBreak);

/// Events of one parcel, by date. `verdicts` are in the order of `places`; `ha_per_pixel` turns coverage into hectares;
/// `min_patch_ha` is the method's own smallest event, where the rule has none.
pub fn events(
    places: &[Place],
    verdicts: &[Verdict],
    days: &[i32],
    rule: &EventRule,
    min_patch_ha: f64,
    ha_per_pixel: f64,
) -> Vec<Event> {
    let mut nodes: Vec<Node> = Vec::new();
    // Nodes of each pixel: pixels stand in the order of `places`, so those of one are neighbours.
    let mut of_place: BTreeMap<(u32, u32), std::ops::Range<usize>> = BTreeMap::new();
    for (p, (place, verdict)) in places.iter().zip(verdicts).enumerate() {
        let first = nodes.len();
        let known = |b: &&PixelBreak| b.before.max(b.after).max(b.detected) < days.len();
        let wanted = |b: &&PixelBreak| b.magnitude < 0.0 || (rule.gains && b.magnitude > 0.0);
        if place.weight > 0.0 {
            nodes.extend(verdict.breaks.iter().filter(known).filter(wanted).map(|b| (p, b)));
        }
        of_place.insert((place.row, place.col), first..nodes.len());
    }
    let together = |a: &PixelBreak, b: &PixelBreak| {
        let gap = days[a.before].max(days[b.before]) - days[a.after].min(days[b.after]);
        gap <= rule.window_days && (a.magnitude < 0.0) == (b.magnitude < 0.0)
    };
    let judged = places.iter().zip(verdicts).filter(|(_, v)| v.unjudged.is_none());
    let judged = judged.fold(0.0, |sum, (p, _)| sum + p.weight);
    let smallest = (rule.min_patch_ha.unwrap_or(min_patch_ha) / ha_per_pixel).max(rule.min_share * judged);
    let mut taken = vec![false; nodes.len()];
    let mut out = Vec::new();
    for seed in 0..nodes.len() {
        if std::mem::replace(&mut taken[seed], true) {
            continue;
        }
        let (mut open, mut members) = (vec![seed], Vec::new());
        while let Some(n) = open.pop() {
            members.push(n);
            for m in around(&places[nodes[n].0], true).filter_map(|at| of_place.get(&at)).flat_map(Clone::clone) {
                if !taken[m] && together(nodes[n].1, nodes[m].1) {
                    taken[m] = true;
                    open.push(m);
                }
            }
        }
        members.sort_unstable();
        // One break a pixel: the earliest.
        members.dedup_by_key(|n| nodes[*n].0);
        let members: Vec<Node> = members.into_iter().map(|n| nodes[n]).collect();
        out.extend(event(places, verdicts, &of_place, &members, smallest, rule));
    }
    out.sort_by_key(|e| (e.after, e.before, e.members.first().copied()));
    out
}

/// Places around a pixel: 8 neighbours and itself, or its 4 neighbours.
fn around(place: &Place, all: bool) -> impl Iterator<Item = (u32, u32)> + use<> {
    let (row, col) = (place.row, place.col);
    let steps = (-1i32..=1).flat_map(|dr| (-1i32..=1).map(move |dc| (dr, dc)));
    let steps = steps.filter(move |(dr, dc)| all || dr.abs() + dc.abs() == 1);
    steps.filter_map(move |(dr, dc)| Some((row.checked_add_signed(dr)?, col.checked_add_signed(dc)?)))
}

/// The event of these breaks, one a pixel; `None` where it is too small.
fn event(
    places: &[Place],
    verdicts: &[Verdict],
    of_place: &BTreeMap<(u32, u32), std::ops::Range<usize>>,
    members: &[Node],
    smallest: f64,
    rule: &EventRule,
) -> Option<Event> {
    let sum = |f: &dyn Fn(&Node) -> f64| members.iter().fold(0.0, |sum, m| sum + f(m));
    let weight = |m: &Node| places[m.0].weight;
    let pixels = sum(&weight);
    // A patch of just the smallest size is one, whatever the rounding of its sum.
    let smallest = smallest * (1.0 - 1e-9);
    let magnitude = sum(&|m| weight(m) * m.1.magnitude) / pixels;
    if !(pixels > 0.0 && pixels >= smallest) || magnitude.abs() < rule.min_magnitude {
        return None;
    }
    // First position at which so much of the event is reached.
    let reached = |position: fn(&PixelBreak) -> usize, wanted: f64| {
        let mut list: Vec<(usize, f64)> = members.iter().map(|m| (position(m.1), weight(m))).collect();
        list.sort_by_key(|(at, _)| *at);
        let mut covered = 0.0;
        let found = list.iter().find(|(_, w)| {
            covered += w;
            covered >= wanted
        });
        found.or(list.last()).map(|(at, _)| *at)
    };
    let after = reached(|b| b.after, 0.5 * pixels)?;
    // Below the median after but for the rounding of sums; then the latest that is, so that a member was seen on it.
    let earlier = || members.iter().map(|m| m.1.before).filter(|b| *b < after).max();
    let before = reached(|b| b.before, 0.5 * pixels).filter(|b| *b < after).or_else(earlier);
    let before = before.unwrap_or(after.saturating_sub(1));
    let detected = reached(|b| b.detected, smallest)?.max(after);
    let inside: Vec<usize> = members.iter().map(|m| m.0).collect();
    let ground: BTreeSet<(u32, u32)> = inside.iter().map(|p| (places[*p].row, places[*p].col)).collect();
    let within = |at: &(u32, u32)| ground.contains(at);
    let at_edge = |p: &usize| around(&places[*p], false).any(|at| of_place.contains_key(&at) && !within(&at));
    let edge = inside.iter().filter(|p| at_edge(p)).fold(0.0, |sum, p| sum + places[*p].weight);
    let unseen = places.iter().zip(verdicts).filter(|(_, v)| v.unjudged.is_some());
    let unseen = unseen.filter(|(p, _)| around(p, true).any(|at| within(&at))).fold(0.0, |sum, (p, _)| sum + p.weight);
    let wrong = sum(&|m| weight(m).powi(2) * m.1.probability * (1.0 - m.1.probability));
    let variance = (OUTLINE_SHIFT * edge).powi(2) + wrong + unseen * unseen / 12.0;
    let probability = sum(&|m| weight(m) * m.1.probability) / pixels;
    Some(Event {
        before,
        after,
        detected,
        magnitude,
        pixels,
        pixels_se: Some(variance.sqrt()).filter(|s| s.is_finite()),
        probability: Some(probability).filter(|p| p.is_finite()),
        members: inside,
    })
}

/// How often parcels without a loss were alarmed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct FalseAlarms {
    /// Parcels.
    pub parcels: u32,
    /// Events of losses.
    pub events: u32,
    /// Parcels times years of monitoring.
    pub parcel_years: f64,
}

impl FalseAlarms {
    /// Adds a parcel that is known to be undisturbed.
    pub fn add(&mut self, events: &[Event], years: f64) {
        self.parcels += 1;
        self.events += events.iter().filter(|e| e.magnitude < 0.0).count() as u32;
        self.parcel_years += years.max(0.0);
    }

    /// Events a parcel and year; `None` where there is nothing to divide by.
    pub fn rate(&self) -> Option<f64> {
        (self.parcel_years > 0.0).then(|| f64::from(self.events) / self.parcel_years)
    }

    /// Upper end of the one-sided 95 % interval of the rate: of a Poisson number, by the cube root of chi-square (Wilson and
    /// Hilferty 1931, Proc. Natl. Acad. Sci. 17, 684-688), within 1 %.
    pub fn rate_upper95(&self) -> Option<f64> {
        let k = f64::from(self.events) + 1.0;
        let upper = k * (1.0 - 1.0 / (9.0 * k) + 1.644_853_6 / (3.0 * k.sqrt())).powi(3);
        (self.parcel_years > 0.0).then(|| upper / self.parcel_years)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Unjudged;

    const DAYS: [i32; 8] = [0, 10, 20, 30, 100, 110, 200, 200];

    fn one(before: usize, after: usize, magnitude: f64) -> PixelBreak {
        PixelBreak { before, after, detected: after + 1, magnitude, probability: 0.8, break_day: 0.0 }
    }

    /// Pixels in a row of places with these weights; `None` could not be judged.
    fn row(pixels: &[(f64, Option<&[PixelBreak]>)]) -> (Vec<Place>, Vec<Verdict>) {
        let place = |(col, (weight, _)): (usize, &(f64, _))| Place { row: 5, col: col as u32, weight: *weight };
        let verdict = |(_, breaks): &(f64, Option<&[PixelBreak]>)| match breaks {
            Some(breaks) => Verdict { breaks: breaks.to_vec(), magnitude: 0.0, unjudged: None },
            None => Verdict::unjudged(Unjudged::TooFewObservations),
        };
        (pixels.iter().enumerate().map(place).collect(), pixels.iter().map(verdict).collect())
    }

    fn found(pixels: &[(f64, Option<&[PixelBreak]>)], rule: &EventRule) -> Vec<Event> {
        let (places, verdicts) = row(pixels);
        events(&places, &verdicts, &DAYS, rule, 0.0, 0.01)
    }

    #[test]
    fn an_event_has_the_medians_of_its_pixels_and_an_error_worked_by_hand() {
        let (early, late) = ([one(0, 1, -0.2)], [one(1, 3, -0.5)]);
        let pixels: [(f64, Option<&[PixelBreak]>); 6] = [
            (1.0, Some(&[])),
            (0.5, Some(&early)),
            (1.0, Some(&late)),
            (1.0, Some(&late)),
            (0.6, None),
            (1.0, Some(&[])),
        ];
        let all = found(&pixels, &EventRule::default());
        assert_eq!(all.len(), 1);
        let e = &all[0];
        assert_eq!(e.members, [1, 2, 3]);
        assert_eq!((e.before, e.after), (1, 3));
        assert!((e.pixels - 2.5).abs() < 1e-12);
        assert!((e.magnitude - (0.5 * -0.2 + 2.0 * -0.5) / 2.5).abs() < 1e-12);
        // Edge: the members beside others, 0.5 and 1. Wrong one by one: (0.25 + 1 + 1) x 0.8 x 0.2. Unjudged beside: 0.6.
        let variance = (0.25f64 * 1.5).powi(2) + 2.25 * 0.16 + 0.36 / 12.0;
        assert!((e.pixels_se.unwrap() - variance.sqrt()).abs() < 1e-12);
        assert!((e.probability.unwrap() - 0.8).abs() < 1e-12);
        // Told by the first member when nothing is too small; when 2 pixels are asked for, with the second.
        assert_eq!(e.detected, 3);
        let (rule, smaller) = (|ha| EventRule { min_patch_ha: Some(ha), ..EventRule::default() }, 0.025);
        assert_eq!(found(&pixels, &rule(smaller))[0].detected, 4);
        assert!(found(&pixels, &rule(0.0251)).is_empty());
    }

    #[test]
    fn what_does_not_touch_or_is_of_another_time_or_sign_is_another_event() {
        let (loss, later, gain) = ([one(0, 1, -0.2)], [one(5, 6, -0.2)], [one(0, 1, 0.2)]);
        let rule = EventRule::default();
        assert_eq!(found(&[(1.0, Some(&loss)), (1.0, Some(&[])), (1.0, Some(&loss))], &rule).len(), 2);
        assert_eq!(found(&[(1.0, Some(&loss)), (1.0, Some(&later))], &rule).len(), 2);
        assert_eq!(found(&[(1.0, Some(&loss)), (1.0, Some(&gain))], &rule).len(), 1);
        let gains = EventRule { gains: true, ..rule.clone() };
        assert_eq!(found(&[(1.0, Some(&loss)), (1.0, Some(&gain))], &gains).len(), 2);
        // 100 days between the intervals.
        let wide = EventRule { window_days: 100, ..rule.clone() };
        assert_eq!(found(&[(1.0, Some(&loss)), (1.0, Some(&later))], &wide).len(), 1);
        // Two losses of one pixel are two events, or one with the earlier break.
        let twice = [loss[0], later[0]];
        assert_eq!(found(&[(1.0, Some(&twice))], &rule).len(), 2);
        let together = found(&[(1.0, Some(&twice))], &wide);
        assert_eq!((together.len(), together[0].after, together[0].pixels), (1, 1, 1.0));
        // Corners touch.
        let (mut places, verdicts) = row(&[(1.0, Some(&loss)), (1.0, Some(&loss))]);
        places[1].row += 1;
        assert_eq!(events(&places, &verdicts, &DAYS, &rule, 0.0, 0.01).len(), 1);
        places[1].row += 1;
        assert_eq!(events(&places, &verdicts, &DAYS, &rule, 0.0, 0.01).len(), 2);
    }

    #[test]
    fn small_shares_and_changes_are_left_out_and_strange_breaks_do_no_harm() {
        let loss = [one(0, 1, -0.04)];
        let pixels: [(f64, Option<&[PixelBreak]>); 4] =
            [(1.0, Some(&loss)), (1.0, Some(&[])), (1.0, Some(&[])), (1.0, None)];
        let rule = EventRule::default();
        assert_eq!(found(&pixels, &rule).len(), 1);
        // A third of what was judged.
        assert!(found(&pixels, &EventRule { min_share: 0.34, ..rule.clone() }).is_empty());
        assert_eq!(found(&pixels, &EventRule { min_share: 0.33, ..rule.clone() }).len(), 1);
        assert!(found(&pixels, &EventRule { min_magnitude: 0.05, ..rule.clone() }).is_empty());
        let strange = [one(0, 99, -0.4), PixelBreak { magnitude: f64::NAN, ..one(0, 1, 0.0) }, one(3, 3, -0.4)];
        let all = found(&[(1.0, Some(&strange)), (0.0, Some(&loss))], &rule);
        assert_eq!(all.len(), 1);
        assert!(all[0].before < all[0].after && all[0].pixels == 1.0);
    }

    #[test]
    fn rules_out_of_range_are_named() {
        let bad = |rule: EventRule| rule.validate().unwrap_err().0;
        assert!(EventRule::default().validate().is_ok());
        assert_eq!(bad(EventRule { window_days: -1, ..EventRule::default() }), "window_days");
        assert_eq!(bad(EventRule { min_patch_ha: Some(f64::NAN), ..EventRule::default() }), "min_patch_ha");
        assert_eq!(bad(EventRule { min_share: 1.1, ..EventRule::default() }), "min_share");
        assert_eq!(bad(EventRule { min_magnitude: f64::NAN, ..EventRule::default() }), "min_magnitude");
    }

    #[test]
    fn false_alarms_have_a_rate_and_its_upper_end() {
        let mut alarms = FalseAlarms::default();
        assert_eq!(alarms.rate(), None);
        alarms.add(&[], 50.0);
        // -ln 0.05 = 2.9957 events.
        assert!((alarms.rate_upper95().unwrap() - 2.9957 / 50.0).abs() < 0.01 * 0.06);
        let loss = [one(0, 1, -0.2)];
        alarms.add(&found(&[(1.0, Some(&loss))], &EventRule::default()), 50.0);
        assert_eq!(alarms.rate(), Some(0.01));
        // Poisson tables: 4.744.
        assert!((alarms.rate_upper95().unwrap() - 0.04744).abs() < 0.0005);
    }
}
