//! From the pixels of parcels through time to their disturbances and maps: for each configured method, stacks are read from
//! the cube ([`crate::stack`]), pixels judged ([`crate::detect`]), and breaks made into events with dates, area and outline.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use geo::Centroid;
use rayon::prelude::*;

use crate::analyse::{ParcelChanges, ParcelLosses};
use crate::config::Settings;
use crate::detect::control::{Reference, control};
use crate::detect::events::{Event, FalseAlarms, Place, events};
use crate::detect::{Judge, Method, PixelState, Unjudged, Verdict};
use crate::engine::plan::Plan;
use crate::engine::{self, Progress};
use crate::error::{Error, Result};
use crate::geo::crs::{Crs, LON_LAT, Transform};
use crate::geo::outline::outline;
use crate::parcel::Kind;
use crate::record::manifest;
use crate::record::maps::Maps;
use crate::record::table::DisturbanceRow;
use crate::stack::{Block, Stacks, Values};
use crate::state::{self, Kept, ParcelState};

/// Attribute that says what grows on a parcel.
const FOREST_TYPE: &str = "forest_type";

/// Looks for changes.
pub struct Changes<'a> {
    /// Settings.
    pub settings: &'a Settings,
    /// The plan.
    pub plan: &'a Plan,
    /// Positions of the scenes that came out.
    pub used: &'a [usize],
    /// Output folder.
    pub root: &'a Path,
    /// Set to stop.
    pub cancel: &'a AtomicBool,
    /// Told of progress.
    pub progress: Progress<'a>,
}

/// What the methods found.
#[derive(Default)]
pub struct Found {
    /// By parcel id, then method. Parcels that no scene saw are not in it.
    pub parcels: BTreeMap<String, ParcelChanges>,
    /// Maps that were written.
    pub maps: Vec<manifest::Table>,
    /// Alarms at parcels of kind `reference`, by method.
    pub alarms: BTreeMap<String, FalseAlarms>,
}

/// One parcel's outcome.
struct Outcome {
    /// Position in the batch.
    ordinal: usize,
    /// Position of the parcel.
    position: usize,
    places: Vec<Place>,
    verdicts: Vec<Verdict>,
    /// What a monitoring method keeps of the pixels.
    states: Option<Vec<PixelState>>,
    /// Share of the whole parcel that could be judged.
    judged_share: f64,
    ha_per_pixel: f64,
    /// Years over which the method could alarm here.
    watched_years: f64,
    events: Vec<Event>,
}

impl Changes<'_> {
    /// Runs every configured method.
    ///
    /// # Errors
    /// A damaged cube file, storage, or interruption.
    pub fn all(&self) -> Result<Found> {
        let mut found = Found::default();
        for method in self.settings.options.change.methods() {
            self.method(&method, &mut found)?;
        }
        Ok(found)
    }

    fn method(&self, method: &Method, found: &mut Found) -> Result<()> {
        let stacks = Stacks::new(self.plan, self.used, self.root, self.cancel, method.wants());
        let memory_bytes = self.settings.options.engine.memory_gib * f64::from(1 << 30);
        let blocks = stacks.blocks(|days| method.enough(days), memory_bytes);
        let parcels = blocks.iter().map(|b| b.parcels.len() as u64).sum();
        (self.progress)(engine::Event::Begin(method.name(), "parcels", parcels));
        let mut maps = Maps::new(method.name(), &self.settings.options.output.maps);
        let (mut parcels, mut references) = (Vec::new(), Vec::new());
        let mut alarms = FalseAlarms::default();
        for block in &blocks {
            let (values, outcomes) = self.block(method, &stacks, block)?;
            let to_lon_lat =
                Transform::new(&block.grid.lattice.crs, &Crs(LON_LAT.to_owned())).map_err(Error::Internal)?;
            for outcome in &outcomes {
                maps.add(outcome.position, block.grid_id, &block.grid.lattice, &outcome.places, &outcome.verdicts);
                let rows = self.rows(method, &stacks, block, &values, outcome, &to_lon_lat)?;
                let members = outcome.events.iter().map(|e| e.members.clone()).collect();
                let pixel_ha = outcome.places.iter().map(|p| p.weight * outcome.ha_per_pixel).collect();
                let why = reasons(&outcome.verdicts);
                let losses = ParcelLosses { judged_share: outcome.judged_share, why, rows, members, pixel_ha };
                references.extend(self.reference(outcome).map(|r| (outcome.position, r)));
                if self.plan.parcels.parcels[outcome.position].kind == Some(Kind::Reference)
                    && outcome.judged_share >= self.settings.options.observe.min_clear_fraction
                {
                    alarms.add(&outcome.events, outcome.watched_years);
                }
                parcels.push((outcome.position, losses));
            }
            (self.progress)(engine::Event::Advance(block.parcels.len() as u64));
        }
        (self.progress)(engine::Event::End);
        // In the order of the parcels, whatever batches the store holds them in: sums must not depend on it.
        references.sort_by_key(|(position, _)| *position);
        let references: Vec<Reference> = references.into_iter().map(|(_, r)| r).collect();
        let rule = &self.settings.options.change.control;
        let rate = alarms.rate().zip(alarms.rate_upper95());
        found.alarms.insert(method.name().to_owned(), alarms);
        for (position, mut losses) in parcels {
            let parcel = &self.plan.parcels.parcels[position];
            losses.rows.iter_mut().for_each(|row| row.false_alarms = rate);
            if !losses.rows.is_empty()
                && let Some(centre) = parcel.lon_lat.centroid()
            {
                let forest_type = parcel.attributes.get(FOREST_TYPE).map(String::as_str);
                let control = control(centre, forest_type, &references, rule);
                losses.rows.iter_mut().for_each(|row| row.control = control);
            }
            found.parcels.entry(parcel.id.clone()).or_default().insert(method.name(), losses);
        }
        found.maps.extend(maps.write(self.root)?);
        Ok(())
    }

    /// What a parcel shows as a reference, if it is one.
    fn reference(&self, outcome: &Outcome) -> Option<Reference> {
        let parcel = &self.plan.parcels.parcels[outcome.position];
        if parcel.kind != Some(Kind::Reference) {
            return None;
        }
        let stable = || {
            let all = outcome.places.iter().zip(&outcome.verdicts);
            all.filter(|(_, v)| v.breaks.is_empty() && v.magnitude.is_finite())
        };
        let pixels = stable().fold(0.0, |sum, (p, _)| sum + p.weight);
        let change = stable().fold(0.0, |sum, (p, v)| sum + p.weight * v.magnitude) / pixels;
        let forest_type = parcel.attributes.get(FOREST_TYPE).cloned();
        (pixels > 0.0).then_some(Reference { centre: parcel.lon_lat.centroid()?, forest_type, change, pixels })
    }

    /// Judges the parcels of a block. A monitoring method goes on from the states that are kept, and leaves new ones.
    fn block(&self, method: &Method, stacks: &Stacks, block: &Block) -> Result<(Values, Vec<Outcome>)> {
        let monitor = match state::identities(self.plan, block.looks).filter(|_| method.is_monitor()) {
            Some(identities) => Some((state::path(self.root, method, block)?, identities)),
            None => None,
        };
        let kept = monitor.as_ref().and_then(|(path, identities)| state::load(path, block, identities));
        let mut kept = kept.unwrap_or_default();
        let judge = method.prepare(&block.days()).map_err(Error::Internal)?;
        let (values, mut outcomes) = loop {
            let values = stacks.read(block, kept.looks)?;
            let judged = block
                .parcels
                .par_iter()
                .map(|ordinal| self.parcel(method, &judge, block, &values, *ordinal, &kept))
                .collect::<Result<Option<Vec<_>>>>()?;
            match judged {
                Some(outcomes) => break (values, outcomes),
                None if kept.looks == 0 => {
                    return Err(Error::Internal(format!("{} asks for states it never gave", method.name())));
                }
                None => kept = Kept::default(),
            }
        };
        if let Some((path, identities)) = monitor
            && kept.looks < block.looks.len()
        {
            let made = outcomes.iter_mut().map(|o| {
                let states = o.states.take()?;
                Some((o.ordinal, ParcelState { states }))
            });
            // Without a single pass to be judged the history may still grow, and there is nothing to keep.
            if let Some(parcels) = made.collect::<Option<BTreeMap<_, _>>>() {
                state::save(&path, block, &identities, &parcels)?;
            }
        }
        Ok((values, outcomes))
    }

    /// Judges one parcel's pixels and groups their breaks; `None` where the kept states cannot be used.
    fn parcel(
        &self,
        method: &Method,
        judge: &Judge,
        block: &Block,
        values: &Values,
        ordinal: usize,
        kept: &Kept,
    ) -> Result<Option<Outcome>> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let parcel = &block.grid.batches[block.batch].parcels[ordinal];
        let stranger = || Error::Internal(format!("parcel {} is not of this run", parcel.id));
        let member = block.grid.wanted.get(&parcel.key).ok_or_else(stranger)?;
        let footprint = &parcel.footprint;
        let at = footprint.spans().iter().flat_map(|s| (s.col..s.col + s.len).map(|c| (s.row, c)));
        let places: Vec<Place> =
            at.zip(footprint.weights()).map(|((row, col), weight)| Place { row, col, weight }).collect();
        let area_ha = self.plan.parcels.parcels[member.position].area_ha;
        let stack = values.parcel(ordinal, places.len(), area_ha);
        let before = kept.parcels.get(&ordinal).map_or(&[][..], |k| &k.states);
        let Some((verdicts, states)) = judge.pixels(&stack, kept.looks, before) else { return Ok(None) };
        let judged = places.iter().zip(&verdicts).filter(|(_, v)| v.unjudged.is_none());
        let judged_px = judged.fold(0.0, |sum, (p, _)| sum + p.weight);
        // Pixels to hectares by the parcel's geodesic area: a projection's pixels are not hectares.
        let ha_per_pixel = area_ha / member.whole_px;
        let rule = &self.settings.options.change.events;
        let events = events(&places, &verdicts, &stack.days, rule, method.min_patch_ha(), ha_per_pixel);
        let judged_share = judged_px / member.whole_px;
        let position = member.position;
        let watched_years = method.watched_years(&stack.days[stack.first_look.min(stack.days.len())..]);
        Ok(Some(Outcome {
            ordinal,
            position,
            places,
            verdicts,
            states,
            judged_share,
            ha_per_pixel,
            watched_years,
            events,
        }))
    }

    /// Rows of a parcel's events.
    fn rows(
        &self,
        method: &Method,
        stacks: &Stacks,
        block: &Block,
        values: &Values,
        outcome: &Outcome,
        to_lon_lat: &Transform,
    ) -> Result<Vec<DisturbanceRow>> {
        let parcel = &block.grid.batches[block.batch].parcels[outcome.ordinal];
        let mut of_day: BTreeMap<String, usize> = BTreeMap::new();
        let mut rows = Vec::new();
        for event in &outcome.events {
            let date = |look: usize| values.dates()[look];
            let number = of_day.entry(date(event.after).to_string()).or_default();
            *number += 1;
            let scene = |look: usize| -> Result<String> {
                let scene = stacks.scene(block, look, outcome.ordinal, &event.members)?;
                Ok(scene.map_or_else(String::new, |s| self.plan.scenes[s].scene.id.clone()))
            };
            let w = parcel.window;
            let at = |m: &usize| (outcome.places[*m].row - w.row, outcome.places[*m].col - w.col);
            let members: Vec<(u32, u32)> = event.members.iter().map(at).collect();
            let shape = outline(&members, &block.grid.lattice.grid(&w));
            rows.push(DisturbanceRow {
                parcel_id: parcel.id.as_str().into(),
                event_id: format!("{}-{}-{}-{number:03}", method.name(), method.index(), date(event.after)),
                index: method.index().to_owned(),
                method: method.name(),
                detected_on: date(event.detected),
                date_lower: date(event.before),
                date_upper: date(event.after),
                magnitude: event.magnitude,
                area_ha: event.pixels * outcome.ha_per_pixel,
                area_se_ha: event.pixels_se.map(|p| p * outcome.ha_per_pixel),
                pixels: event.pixels,
                probability: event.probability,
                before_scene_id: scene(event.before)?,
                after_scene_id: scene(event.after)?,
                control: None,
                false_alarms: None,
                geometry: to_lon_lat.polygon(&shape).map_err(Error::Internal)?,
            });
        }
        Ok(rows)
    }
}

/// How many pixels could not be judged, by reason.
fn reasons(verdicts: &[Verdict]) -> BTreeMap<Unjudged, usize> {
    let mut why = BTreeMap::new();
    for reason in verdicts.iter().filter_map(|v| v.unjudged) {
        *why.entry(reason).or_default() += 1;
    }
    why
}
