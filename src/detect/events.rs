//! From the breaks of a parcel's pixels to its events: breaks that touch and fall within a window of days are one event.

use serde::{Deserialize, Serialize};

use super::Verdict;

/// `[change.events]`: when breaks of pixels make an event of a parcel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventRule {
    /// Breaks of touching pixels belong together when they are at most this many days apart.
    pub window_days: i32,
    /// Smallest event, hectares.
    pub min_patch_ha: f64,
    /// Gains as well as losses.
    pub gains: bool,
}

impl Default for EventRule {
    fn default() -> Self {
        EventRule { window_days: 90, min_patch_ha: 0.0, gains: false }
    }
}

impl EventRule {
    /// Field, what was found, what is expected.
    ///
    /// # Errors
    /// A negative window or patch.
    pub fn validate(&self) -> Result<(), (&'static str, String, &'static str)> {
        if self.window_days < 0 {
            return Err(("window_days", self.window_days.to_string(), "0 or more days"));
        }
        if !(self.min_patch_ha >= 0.0 && self.min_patch_ha.is_finite()) {
            return Err(("min_patch_ha", self.min_patch_ha.to_string(), "0 or more hectares"));
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
    /// Position of the observation on which it was detected.
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

/// Events of one parcel. `verdicts` are in the order of `places`; `ha_per_pixel` turns coverage into hectares.
pub fn events(places: &[Place], verdicts: &[Verdict], days: &[i32], rule: &EventRule, ha_per_pixel: f64) -> Vec<Event> {
    // Every break is a node; nodes of touching pixels, near in time, belong together.
    let mut nodes: Vec<(usize, usize)> = Vec::new();
    let mut at: std::collections::BTreeMap<(u32, u32), Vec<usize>> = std::collections::BTreeMap::new();
    for (p, verdict) in verdicts.iter().enumerate() {
        for (b, found) in verdict.breaks.iter().enumerate() {
            if found.magnitude < 0.0 || rule.gains {
                at.entry((places[p].row, places[p].col)).or_default().push(nodes.len());
                nodes.push((p, b));
            }
        }
    }
    let found = |n: usize| &verdicts[nodes[n].0].breaks[nodes[n].1];
    let mut taken = vec![false; nodes.len()];
    let mut out = Vec::new();
    for seed in 0..nodes.len() {
        if std::mem::replace(&mut taken[seed], true) {
            continue;
        }
        let (mut open, mut members) = (vec![seed], vec![seed]);
        while let Some(n) = open.pop() {
            let place = places[nodes[n].0];
            let around = |v: u32| v.saturating_sub(1)..=v.saturating_add(1);
            for near in around(place.row).flat_map(|r| around(place.col).map(move |c| (r, c))) {
                for m in at.get(&near).into_iter().flatten() {
                    let apart = (days[found(n).after] - days[found(*m).after]).abs();
                    let same_sign = (found(n).magnitude < 0.0) == (found(*m).magnitude < 0.0);
                    if !taken[*m] && apart <= rule.window_days && same_sign {
                        taken[*m] = true;
                        open.push(*m);
                        members.push(*m);
                    }
                }
            }
        }
        members.sort_unstable();
        members.dedup_by_key(|n| nodes[*n].0);
        let weight = |n: &usize| places[nodes[*n].0].weight;
        let pixels = members.iter().fold(0.0, |sum, n| sum + weight(n));
        if pixels <= 0.0 || pixels * ha_per_pixel < rule.min_patch_ha {
            continue;
        }
        let mean = |f: &dyn Fn(usize) -> f64| members.iter().fold(0.0, |sum, n| sum + weight(n) * f(*n)) / pixels;
        let probability = Some(mean(&|n| found(n).probability)).filter(|p| p.is_finite());
        let variance = members.iter().fold(0.0, |sum, n| {
            let (w, p) = (weight(n), found(*n).probability);
            sum + w * w * p * (1.0 - p)
        });
        let median = |f: &dyn Fn(usize) -> usize| {
            let mut all: Vec<usize> = members.iter().map(|n| f(*n)).collect();
            all.sort_unstable();
            all[all.len() / 2]
        };
        let after = median(&|n| found(n).after);
        let before = median(&|n| found(n).before).min(after.saturating_sub(1));
        out.push(Event {
            before,
            after,
            detected: median(&|n| found(n).detected).max(after),
            magnitude: mean(&|n| found(n).magnitude),
            pixels,
            pixels_se: Some(variance.sqrt()).filter(|s| s.is_finite()),
            probability,
            members: members.iter().map(|n| nodes[*n].0).collect(),
        });
    }
    out.sort_by_key(|e| (e.after, e.members.first().copied()));
    out
}
