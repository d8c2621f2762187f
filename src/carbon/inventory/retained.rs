//! Which share of the surveyed stand stands at an epoch, by the change method and by cover.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::{Cover, refusal};
use crate::carbon::Flag;
use crate::carbon::biomass::cover_at;
use crate::carbon::chain::{Evidence, Factor, Part, Refusal, Shape};
use crate::carbon::draw::Source;
use crate::error::Reason;
use crate::units::Estimate;

/// Share lost between an epoch and a later survey beyond which the survey says too little of the epoch.
const MAX_LOST_BEFORE_SURVEY: f64 = 0.5;

/// What is left standing at an epoch.
pub(super) struct Retained {
    /// Share of the surveyed stand.
    pub factor: Factor,
    /// Remarks of the cover.
    pub flags: Vec<Flag>,
}

/// Share of the surveyed stand at each epoch, or why it cannot be told.
pub(super) fn retained(
    evidence: &Evidence,
    cover: Option<&Cover>,
    surveyed_on: Date,
    epochs: &[Date],
) -> Result<BTreeMap<Date, Result<Retained, Refusal>>, Refusal> {
    let mut by_change: BTreeMap<Date, Result<Factor, Refusal>> = BTreeMap::new();
    if let Some(lost) = evidence.lost {
        // Away from the survey in both directions, so that errors add up as losses do.
        let after = epochs.iter().copied().filter(|e| *e >= surveyed_on).collect();
        let before = epochs.iter().rev().copied().filter(|e| *e < surveyed_on).collect();
        for (way, forward) in [(after, true), (before, false)] {
            let way: Vec<Date> = way;
            let mut sources: Vec<(Source, f64)> = Vec::new();
            for epoch in way {
                let (a, b) = if forward { (surveyed_on, epoch) } else { (epoch, surveyed_on) };
                let share = if a == b { Estimate { value: 0.0, se: 0.0 } } else { lost(a, b) };
                if !(share.value.is_finite() && share.se.is_finite()) {
                    let message = format!(
                        "epoch {epoch}: the share lost between it and the survey of {surveyed_on} is no number"
                    );
                    by_change.insert(epoch, Err(refusal(Some(epoch), Reason::OutOfModelDomain, message)));
                    continue;
                }
                let value = share.value.clamp(0.0, 1.0);
                let known: f64 = sources.iter().map(|(_, w)| w * w).sum();
                let added = share.se * share.se - known;
                if added > 0.0 {
                    sources.push((evidence.own(&format!("retained/{epoch}")), added.sqrt()));
                }
                by_change.insert(epoch, change_share(value, &sources, forward, epoch, surveyed_on));
            }
        }
    }
    let Some(cover) = cover else {
        let all = epochs.iter().map(|e| {
            let found =
                by_change.remove(e).unwrap_or_else(|| Ok(Factor { part: Part::Residual, ..Factor::exact(1.0) }));
            (*e, found.map(|factor| Retained { factor, flags: Vec::new() }))
        });
        return Ok(all.collect());
    };
    let params = cover.params();
    let observations = evidence.observations.get(cover.index.as_str()).map_or(&[][..], Vec::as_slice);
    let at_survey = cover_at(surveyed_on, observations, &params).map_err(|e| {
        let message = format!(
            "cover at the survey date {surveyed_on}: {e}; state surveyed_on within the scenes, or remove \
             [biomass.inventory.cover]"
        );
        refusal(None, Reason::NoClearObservation, message)
    })?;
    let (at, at_se) = (at_survey.cover.value.get(), at_survey.cover.se.get());
    if at <= 0.0 {
        let message = format!(
            "cover at the survey date {surveyed_on}: found bare ground ({} at or below index_bare), expected the surveyed \
             stand; check surveyed_on and index_bare",
            cover.index
        );
        return Err(refusal(None, Reason::OutOfModelDomain, message));
    }
    let mut all = BTreeMap::new();
    for epoch in epochs {
        let seen = match cover_at(*epoch, observations, &params) {
            Ok(seen) => seen,
            Err(e) => {
                let message = format!("cover at epoch {epoch}: {e}");
                all.insert(*epoch, Err(refusal(Some(*epoch), Reason::NoClearObservation, message)));
                continue;
            }
        };
        let ratio = seen.cover.value.get() / at;
        let sources = if *epoch == surveyed_on {
            Vec::new()
        } else {
            vec![
                (evidence.own(&format!("cover/{epoch}")), seen.cover.se.get() / at),
                (evidence.own(&format!("cover/{surveyed_on}")), -ratio * at_se / at),
            ]
        };
        let by_cover = Factor { value: ratio.min(1.0), part: Part::Residual, shape: Shape::Normal, sources };
        let factor = match by_change.remove(epoch) {
            None => by_cover,
            Some(Err(e)) => {
                all.insert(*epoch, Err(e));
                continue;
            }
            Some(Ok(change)) if change.value <= by_cover.value || change.value > 1.0 => change,
            Some(Ok(_)) => by_cover,
        };
        let flags = seen.flags.into_iter().filter(|f| *f == Flag::FewObservations).collect();
        all.insert(*epoch, Ok(Retained { factor, flags }));
    }
    Ok(all)
}

/// What stands at an epoch relative to the survey, from the share lost between them.
pub(super) fn change_share(
    lost: f64,
    sources: &[(Source, f64)],
    forward: bool,
    epoch: Date,
    surveyed_on: Date,
) -> Result<Factor, Refusal> {
    let left = 1.0 - lost;
    if !forward && lost > MAX_LOST_BEFORE_SURVEY {
        let message = format!(
            "epoch {epoch}: {:.0} % of the parcel was lost between it and the survey of {surveyed_on}, expected at most \
             50 %: what was surveyed says too little of what stood before; use an inventory of before the loss",
            lost * 100.0
        );
        return Err(refusal(Some(epoch), Reason::OutOfModelDomain, message));
    }
    let (value, slope) = if forward { (left, -1.0) } else { (1.0 / left, 1.0 / (left * left)) };
    let sources = sources.iter().map(|(source, w)| (source.clone(), slope * w)).collect();
    Ok(Factor { value, part: Part::Residual, shape: Shape::Normal, sources })
}
