//! What a biomass model predicts from: per pixel and index, the median of the clear observations of a growing season. And what
//! a model says of every parcel at every epoch, as few numbers whatever the number of pixels.
//!
//! Only observations are used, never a smoothed series. Pixels are read from the cube in blocks that fit into memory
//! ([`crate::stack`]) and are forgotten when their parcel is done; results do not depend on blocks or threads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use geo::Centroid;
use jiff::civil::Date;
use rayon::prelude::*;

use crate::analyse::Predictions;
use crate::analyse::date_of_ms;
use crate::carbon::index_model::{IndexModel, Model, Prediction, Seen};
use crate::config::{Observe, Settings};
use crate::detect::composite::{Scratch, Season, median};
use crate::detect::{PixelStack, Want};
use crate::engine::plan::Plan;
use crate::error::{Error, Result};
use crate::stack::{Block, Stacks, Values};
use crate::units::date_of;

/// Where pixels are.
#[derive(Clone, Copy)]
pub struct Cube<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Positions of the scenes that came out.
    pub used: &'a [usize],
    /// Output folder.
    pub root: &'a Path,
    /// Set to stop.
    pub cancel: &'a AtomicBool,
    /// Memory that may be used, GiB.
    pub memory_gib: f64,
}

/// What is composited.
#[derive(Debug, Clone, Copy)]
pub struct Predictors<'a> {
    /// Indices.
    pub indices: &'a [String],
    /// Season.
    pub season: Season,
    /// Years to either side that count.
    pub widen: u32,
    /// Families of sensors that may be used.
    pub sensors: &'a [String],
}

impl Predictors<'_> {
    /// True for a day that counts for one of these years.
    pub fn counts(&self, day: Date, years: &BTreeSet<i32>) -> bool {
        let widen = i32::try_from(self.widen).unwrap_or(i32::MAX);
        let near = |y: i32| years.range(y.saturating_sub(widen)..=y.saturating_add(widen)).next().is_some();
        self.season.year(day).is_some_and(near)
    }
}

/// A parcel's pixels, to be composited for any of the years asked for.
pub struct Pixels<'a> {
    predictors: &'a Predictors<'a>,
    stack: PixelStack,
    years: Vec<i32>,
    weights: Vec<f64>,
    places_m: Vec<[f64; 2]>,
    whole_px: f64,
}

impl Pixels<'_> {
    /// Medians of the season of a year; pixels that were never clear then are left out.
    pub fn season(&self, year: i32) -> Seen {
        let widen = i32::try_from(self.predictors.widen).unwrap_or(i32::MAX);
        // Ascending, so the years asked for are one range.
        let from = self.years.partition_point(|y| *y < year.saturating_sub(widen));
        let to = self.years.partition_point(|y| *y <= year.saturating_add(widen));
        let mut seen = Seen { whole_px: self.whole_px, ..Seen::default() };
        let (layers, pixels, _) = self.stack.values.dim();
        let mut scratch = Scratch::default();
        let mut values = Vec::with_capacity(layers);
        for pixel in 0..pixels {
            values.clear();
            let mut clear = 0;
            for layer in 0..layers {
                let series = self.stack.values.slice(ndarray::s![layer, pixel, ..]);
                let Some(series) = series.as_slice() else { continue };
                let Some(pick) = median(series, from..to, &mut scratch) else { break };
                values.push(pick.value);
                // Every layer has the same clear dates.
                clear = series[from..to].iter().filter(|v| v.is_finite()).count();
            }
            if values.len() == layers && layers > 0 {
                seen.weights.push(self.weights[pixel]);
                seen.places_m.push(self.places_m[pixel]);
                seen.observations.push(u32::try_from(clear).unwrap_or(u32::MAX));
                seen.values.extend_from_slice(&values);
            }
        }
        seen
    }
}

/// Calls `make` for every parcel that any scene in season of its years shows; by position of the parcel.
///
/// # Errors
/// A damaged cube file, or interruption.
pub fn each<T: Send>(
    cube: &Cube,
    predictors: &Predictors,
    years: impl Fn(usize) -> BTreeSet<i32> + Sync,
    make: impl Fn(usize, &Pixels) -> T + Sync,
) -> Result<BTreeMap<usize, T>> {
    let all: BTreeSet<i32> = (0..cube.plan.parcels.parcels.len()).flat_map(&years).collect();
    let wanted = |s: &usize| {
        let scene = &cube.plan.scenes[*s];
        predictors.sensors.contains(&scene.scene.spec.id)
            && predictors.counts(date_of_ms(scene.facts.acquired_ms), &all)
    };
    let used: Vec<usize> = cube.used.iter().copied().filter(wanted).collect();
    let wants = predictors.indices.iter().map(|i| Want::Index(i.clone())).collect();
    let stacks = Stacks::new(cube.plan, &used, cube.root, cube.cancel, wants);
    let blocks = stacks.blocks(|days| !days.is_empty(), cube.memory_gib * f64::from(1 << 30));
    let mut made = BTreeMap::new();
    for block in &blocks {
        let values = stacks.read(block, 0)?;
        let of_block = block
            .parcels
            .par_iter()
            .map(|ordinal| {
                if cube.cancel.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                let (position, pixels) = pixels(predictors, block, &values, *ordinal)?;
                Ok((position, make(position, &pixels)))
            })
            .collect::<Result<Vec<_>>>()?;
        made.extend(of_block);
    }
    Ok(made)
}

fn pixels<'a>(
    predictors: &'a Predictors,
    block: &Block,
    values: &Values,
    ordinal: usize,
) -> Result<(usize, Pixels<'a>)> {
    let parcel = &block.grid.batches[block.batch].parcels[ordinal];
    let stranger = || Error::Internal(format!("parcel {} is not of this run", parcel.id));
    let member = block.grid.wanted.get(&parcel.key).ok_or_else(stranger)?;
    let (dx, dy) = (block.grid.lattice.pixel_x_m, block.grid.lattice.pixel_y_m);
    let (row0, col0) = (parcel.window.row, parcel.window.col);
    let at = parcel.footprint.spans().iter().flat_map(|s| (s.col..s.col + s.len).map(|c| (s.row, c)));
    let places_m = at.map(|(r, c)| [f64::from(c - col0) * dx, f64::from(r - row0) * dy]).collect();
    let weights: Vec<f64> = parcel.footprint.weights().collect();
    // The area matters to change methods alone.
    let stack = values.parcel(ordinal, weights.len(), f64::NAN);
    // A season over the turn of the year has its own number; every look is in season.
    let years = stack.days.iter().map(|d| predictors.season.year(date_of(*d)).unwrap_or(i32::MIN)).collect();
    Ok((member.position, Pixels { predictors, stack, years, weights, places_m, whole_px: member.whole_px }))
}

/// Settings that predictors depend on, as a model file keeps them.
pub fn observe_settings(observe: &Observe) -> BTreeMap<String, String> {
    let mut all = serde_json::to_value(observe).unwrap_or_default();
    // Which indices a run has beside the predictors, and what of a parcel must be clear on one day, do not matter here.
    let object = all.as_object_mut();
    let kept =
        object.into_iter().flatten().filter(|(key, _)| !["indices", "min_clear_fraction"].contains(&key.as_str()));
    kept.map(|(key, value)| (key.clone(), value.to_string())).collect()
}

/// What the model says of every parcel at every epoch of the settings, by parcel id; a parcel or epoch that was not seen is
/// absent.
///
/// # Errors
/// A damaged cube file, or interruption.
pub fn predictions(settings: &Settings, index_model: &IndexModel, model: &Model, cube: &Cube) -> Result<Predictions> {
    let epochs: BTreeSet<Date> = settings.options.account.periods.iter().flatten().copied().collect();
    let years: BTreeSet<i32> = epochs.iter().map(|e| i32::from(e.year())).collect();
    let predictors = Predictors {
        indices: &index_model.predictors,
        season: index_model.season,
        widen: index_model.years,
        sensors: &model.file().calibration.sensors,
    };
    let parcels = &cube.plan.parcels.parcels;
    let made = each(
        cube,
        &predictors,
        |_| years.clone(),
        |position, pixels| {
            let centre = parcels[position].lon_lat.centroid();
            let near = centre.is_some_and(|c| model.is_near_plots(c.x(), c.y(), index_model.area_margin_km));
            let of_year = |year| model.predict(&pixels.season(year)).map(|p| Prediction { near_plots: near, ..p });
            let by_year: BTreeMap<i32, Prediction> = years.iter().filter_map(|y| Some((*y, of_year(*y)?))).collect();
            let at = |e: &Date| Some((*e, by_year.get(&i32::from(e.year()))?.clone()));
            epochs.iter().filter_map(at).collect::<BTreeMap<_, _>>()
        },
    )?;
    Ok(made.into_iter().map(|(position, found)| (parcels[position].id.clone(), found)).collect())
}
