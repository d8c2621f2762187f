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
    let before = reached(|b| b.before, 0.5 * pixels)?.min(after.saturating_sub(1));
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

    /// Upper end of the one-sided 95 % interval of the rate, exact for a Poisson number (Garwood 1936, Biometrika 28,
    /// 437-442), by bisection.
    pub fn rate_upper95(&self) -> Option<f64> {
        let at_most = |mean: f64| {
            let mut term = (-mean).exp();
            let mut sum = term;
            for k in 1..=self.events {
                term *= mean / f64::from(k);
                sum += term;
            }
            sum
        };
        let (mut low, mut high) = (0.0, f64::from(self.events) + 10.0 * (f64::from(self.events) + 1.0).sqrt());
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if at_most(middle) > 0.05 { low = middle } else { high = middle }
        }
        (self.parcel_years > 0.0).then(|| high / self.parcel_years)
    }
}
