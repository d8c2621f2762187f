//! From the store's parts to the tables: observations by year, and per parcel series, disturbances, stocks and deltas.
//! Memory does not grow with the number of scenes: parcels are taken in ranges, pixels in row groups.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use ndarray::Array2;
use rayon::prelude::*;

use crate::analyse::{Assessment, assess, date_of_ms};
use crate::columnar::{self, Profile, Writer};
use crate::config::Settings;
use crate::cube::{self, Batch, row_groups};
use crate::detect::two_date;
use crate::engine::extraction::undigested;
use crate::engine::plan::{GridPlan, Member, Plan};
use crate::engine::{Event, Progress};
use crate::error::{Error, Quarantine, Result};
use crate::gather::{Gather, index_values};
use crate::geo::coverage::Footprint;
use crate::geo::crs::{Crs, LON_LAT, Transform};
use crate::geo::outline::outline;
use crate::record::geoparquet::Extent;
use crate::record::manifest::{self, ParcelSummary, PassAccount};
use crate::record::store::table_path;
use crate::record::table::{self, DisturbanceRow, ObservationRow};

/// Observation rows held at once.
const ROWS_AT_ONCE: usize = 1 << 20;
/// Parcels in the summary that is kept in the run record.
const SUMMARY_PARCELS: usize = 20;

/// Where a parcel's changes are looked for: grid id and position of the batch.
type Place<'a> = (&'a str, usize);
/// Order of preference: pixel area, then minus the covered area.
type Rank = (f64, f64);

/// What the tables were made into.
pub struct Made {
    /// Files.
    pub tables: Vec<manifest::Table>,
    /// Everything that was set aside, sorted.
    pub quarantined: Vec<Quarantine>,
    /// The first parcels.
    pub summary: Vec<ParcelSummary>,
    /// What became of parcels that several scenes of one pass saw.
    pub passes: PassAccount,
}

/// From the store's parts to the tables.
pub struct Tables<'a> {
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

impl Tables<'_> {
    /// Makes every table. `quarantined` is what was set aside before.
    ///
    /// # Errors
    /// Storage or interruption.
    pub fn make(&self, mut quarantined: Vec<Quarantine>) -> Result<Made> {
        let parcels = &self.plan.parcels.parcels;
        let config = self.settings.science.to_string();
        let metadata = table::metadata(&config);
        let progress = self.progress;
        let losses = self.losses()?;

        let gather = Gather::new(self.settings, self.plan, self.used, self.root);
        let new = |name: &str, schema| Writer::create(&table_path(self.root, name), &schema, &metadata, Profile::Table);
        let mut years: BTreeMap<i16, Writer> = BTreeMap::new();
        let mut series = new("series", table::series_schema())?;
        let mut stocks = new("stocks", table::stocks_schema())?;
        // Geometry tables say in their head what they hold, so their rows are collected first.
        let mut deltas = Vec::new();
        let mut summary = Vec::new();

        // Parcels in ranges whose observations fit in memory. The bound is fixed, so that tables do not depend on it.
        let per_parcel = (self.used.len() * self.settings.options.observe.indices.len()).max(1);
        let range = (ROWS_AT_ONCE / per_parcel).max(1);
        progress(Event::Begin("tables", "parcels", parcels.len() as u64));
        for (n, members) in parcels.chunks(range).enumerate() {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let first = n * range;
            let rows = gather.rows(first..first + members.len())?;
            let assessments: Vec<Assessment> = members
                .par_iter()
                .zip(&rows)
                .map(|(parcel, rows)| {
                    let losses = losses.as_ref().map(|l| l.get(&parcel.id).map_or(&[][..], Vec::as_slice));
                    assess(parcel, rows, losses, self.settings)
                })
                .collect();
            for ((parcel, rows), assessment) in members.iter().zip(&rows).zip(&assessments) {
                let losses = losses.as_ref().map(|l| l.get(&parcel.id).map_or(&[][..], Vec::as_slice));
                summary.push(self.summary(parcel, rows, assessment, losses));
            }
            // The most disturbed first; stable, so the rest stays in order of id.
            let lost = |p: &ParcelSummary| p.disturbed_ha.map_or(0.0, |(ha, _)| ha);
            summary.sort_by(|a: &ParcelSummary, b| lost(b).total_cmp(&lost(a)));
            summary.truncate(SUMMARY_PARCELS);
            let mut by_year: BTreeMap<i16, Vec<ObservationRow>> = BTreeMap::new();
            for row in rows.into_iter().flatten() {
                by_year.entry(date_of_ms(row.acquired_ms).year()).or_default().push(row);
            }
            for (year, rows) in by_year {
                let writer = match years.entry(year) {
                    std::collections::btree_map::Entry::Occupied(e) => e.into_mut(),
                    std::collections::btree_map::Entry::Vacant(e) => {
                        let path = self.year_path(year);
                        e.insert(Writer::create(&path, &table::observations_schema(), &metadata, Profile::Table)?)
                    }
                };
                writer.write(&table::observations(&rows)?)?;
            }
            let flat = |f: fn(&Assessment) -> usize| assessments.iter().map(f).sum::<usize>();
            let mut all = Assessment::default();
            all.series.reserve(flat(|a| a.series.len()));
            for a in assessments {
                all.series.extend(a.series);
                all.stocks.extend(a.stocks);
                all.deltas.extend(a.deltas);
                quarantined.extend(a.quarantined);
            }
            series.write(&table::series(&all.series)?)?;
            stocks.write(&table::stocks(&all.stocks)?)?;
            deltas.extend(all.deltas);
            progress(Event::Advance(members.len() as u64));
        }
        progress(Event::End);

        let mut tables = Vec::new();
        let keep: BTreeSet<PathBuf> = years.keys().map(|y| self.year_path(*y)).collect();
        for (year, writer) in years {
            let rows = writer.finish()?;
            tables.push(manifest::table(self.root, &self.year_path(year), rows)?);
        }
        self.remove_other_years(&keep)?;
        for (name, rows) in [("series", series.finish()?), ("stocks", stocks.finish()?)] {
            tables.push(manifest::table(self.root, &table_path(self.root, name), rows)?);
        }
        let lost: Vec<DisturbanceRow> = losses.unwrap_or_default().into_values().flatten().collect();
        let mut extent = Extent::default();
        let batch = table::disturbances(&lost, &mut extent)?;
        tables.push(self.geometry_table("disturbances", &table::disturbances_schema(), batch, &extent, &metadata)?);
        let mut extent = Extent::default();
        let batch = table::deltas(&deltas, &mut extent)?;
        tables.push(self.geometry_table("deltas", &table::deltas_schema(), batch, &extent, &metadata)?);
        quarantined.sort();
        quarantined.dedup();
        let path = self.root.join("quarantine.parquet");
        let rows = columnar::write(
            &path,
            &table::quarantine_schema(),
            [table::quarantine(&quarantined)],
            &metadata,
            Profile::Table,
        )?;
        tables.push(manifest::table(self.root, &path, rows)?);
        Ok(Made { tables, quarantined, summary, passes: gather.account() })
    }

    fn geometry_table(
        &self,
        name: &str,
        schema: &arrow::datatypes::SchemaRef,
        batch: arrow::array::RecordBatch,
        extent: &Extent,
        metadata: &[(&'static str, String)],
    ) -> Result<manifest::Table> {
        let path = table_path(self.root, name);
        let metadata = [metadata, &[extent.metadata()]].concat();
        let rows = columnar::write(&path, schema, [Ok(batch)], &metadata, Profile::Table)?;
        manifest::table(self.root, &path, rows)
    }

    fn year_path(&self, year: i16) -> PathBuf {
        self.root.join("tables/observations").join(format!("year={year:04}")).join("part-0.parquet")
    }

    /// Partitions of years that have no row any more.
    fn remove_other_years(&self, keep: &BTreeSet<PathBuf>) -> Result<()> {
        let folder = self.root.join("tables/observations");
        for entry in std::fs::read_dir(&folder).into_iter().flatten().filter_map(std::result::Result::ok) {
            if !keep.iter().any(|k| k.starts_with(entry.path())) {
                std::fs::remove_dir_all(entry.path()).map_err(Error::io("remove", &entry.path()))?;
            }
        }
        Ok(())
    }

    fn summary(
        &self,
        parcel: &crate::parcel::Parcel,
        rows: &[ObservationRow],
        assessment: &Assessment,
        losses: Option<&[DisturbanceRow]>,
    ) -> ParcelSummary {
        let first = &self.settings.options.observe.indices[0];
        let least = self.settings.options.observe.min_clear_fraction;
        let clear = || rows.iter().filter(|r| *r.index == **first && r.stats.is_some() && r.seen_share() >= least);
        let scenes: BTreeSet<&str> = rows.iter().map(|r| &*r.scene_id).collect();
        ParcelSummary {
            parcel_id: parcel.id.clone(),
            kind: parcel.kind.map(|k| k.name().to_owned()),
            area_ha: parcel.area_ha,
            scenes: scenes.len() as u64,
            clear_scenes: clear().count() as u64,
            last_clear: clear()
                .next_back()
                .and_then(|r| Some((date_of_ms(r.acquired_ms).to_string(), r.stats.as_ref()?.mean))),
            delta_t_co2e: assessment
                .deltas
                .first()
                .map(|d| (d.delta.delta_t_co2e, 0.5 * (d.delta.ci90_upper_t_co2e - d.delta.ci90_lower_t_co2e))),
            disturbed_ha: losses.map(|l| {
                let se = l.iter().try_fold(0.0, |sum, d| d.area_se_ha.map(|s| sum + s * s)).map(f64::sqrt);
                (total(l.iter().map(|d| d.area_ha)), se)
            }),
            status: assessment.deltas.first().map(|d| d.delta.status.name().to_owned()),
        }
    }

    /// Disturbances by parcel; `None` when no change method is configured.
    fn losses(&self) -> Result<Option<BTreeMap<String, Vec<DisturbanceRow>>>> {
        let Some(params) = &self.settings.options.change.two_date else { return Ok(None) };
        let chosen = self.grid_of_parcels();
        let mut blocks = Vec::new();
        for (id, grid) in &self.plan.grids {
            let scenes: Vec<(usize, usize)> = self
                .used
                .iter()
                .filter(|s| self.plan.scenes[**s].facts.grid_id == *id)
                .filter_map(|s| Some((*s, params.window(self.plan.scenes[*s].scene.date())?)))
                .filter(|(s, _)| self.plan.scenes[*s].layout.indices.iter().any(|(i, _)| *i == params.index))
                .collect();
            for (b, batch) in grid.batches.iter().enumerate() {
                blocks.extend(
                    row_groups(batch)
                        .into_iter()
                        .enumerate()
                        .map(|(g, members)| (id, grid, b, g, members, scenes.clone())),
                );
            }
        }
        let found: Vec<Vec<DisturbanceRow>> = blocks
            .par_iter()
            .map(|(id, grid, b, group, members, scenes)| {
                if self.cancel.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                let batch = &grid.batches[*b];
                let parcels: Vec<(&cube::BatchParcel, &Footprint)> =
                    batch.touching().skip(members.start).take(members.len()).collect();
                let mine = |p: &cube::BatchParcel| {
                    grid.wanted.get(&p.key).is_some_and(|m| chosen.get(&m.position) == Some(&(id.as_str(), *b)))
                };
                if scenes.is_empty() || !parcels.iter().any(|(p, _)| mine(p)) {
                    return Ok(Vec::new());
                }
                self.block_losses(params, grid, batch, *group, &parcels, &mine, scenes)
            })
            .collect::<Result<_>>()?;
        let mut by_parcel: BTreeMap<String, Vec<DisturbanceRow>> = BTreeMap::new();
        for row in found.into_iter().flatten() {
            by_parcel.entry(row.parcel_id.to_string()).or_default().push(row);
        }
        Ok(Some(by_parcel))
    }

    /// Which grid and batch a parcel's changes are looked for on: the finest pixels, then the most of the parcel, then the
    /// first by name.
    fn grid_of_parcels(&self) -> BTreeMap<usize, Place<'_>> {
        let mut best: BTreeMap<usize, (Rank, Place)> = BTreeMap::new();
        for (id, grid) in &self.plan.grids {
            for (b, batch) in grid.batches.iter().enumerate() {
                for (parcel, footprint) in batch.touching() {
                    let Some(Member { position, .. }) = grid.wanted.get(&parcel.key) else { continue };
                    let pixel = grid.grid.pixel_area_m2();
                    let rank = (pixel, -footprint.coverage_px() * pixel);
                    let better = best
                        .get(position)
                        .is_none_or(|(known, _)| rank.partial_cmp(known) == Some(std::cmp::Ordering::Less));
                    if better {
                        best.insert(*position, (rank, (id.as_str(), b)));
                    }
                }
            }
        }
        best.into_iter().map(|(position, (_, place))| (position, place)).collect()
    }

    /// Losses of the parcels of one row group: its pixels through the scenes of both windows.
    #[expect(clippy::too_many_arguments, reason = "one caller, all of it borrowed context")]
    fn block_losses(
        &self,
        params: &two_date::Params,
        grid: &GridPlan,
        batch: &Batch,
        group: usize,
        parcels: &[(&cube::BatchParcel, &Footprint)],
        mine: &dyn Fn(&cube::BatchParcel) -> bool,
        scenes: &[(usize, usize)],
    ) -> Result<Vec<DisturbanceRow>> {
        let total: usize = parcels.iter().map(|(_, f)| f.pixels() as usize).sum();
        // One row a scene: index of every pixel of the block.
        let mut stack = Array2::from_elem((scenes.len(), total), f64::NAN);
        for (k, (s, _)) in scenes.iter().enumerate() {
            let scene = &self.plan.scenes[*s];
            let path = scene.cube_path(self.root, batch).ok_or_else(|| undigested(scene))?;
            let (pixels, _) = cube::read(&path, Some(group))?;
            let Some((_, source)) = scene.layout.indices.iter().find(|(i, _)| *i == params.index) else { continue };
            let values = index_values(&pixels, source);
            stack.row_mut(k).iter_mut().zip(values).for_each(|(o, v)| *o = v);
        }
        let to_lon_lat = Transform::new(&grid.grid.crs, &Crs(LON_LAT.to_owned())).map_err(Error::Internal)?;
        let mut rows = Vec::new();
        let mut first = 0;
        for (parcel, footprint) in parcels {
            let n = footprint.pixels() as usize;
            let range = first..first + n;
            first += n;
            if !mine(parcel) {
                continue;
            }
            let pick = |window: usize, pixel: usize| -> Vec<f64> {
                let of_window = scenes.iter().enumerate().filter(|(_, (_, w))| *w == window);
                of_window.map(|(k, _)| stack[(k, pixel)]).filter(|v| v.is_finite()).collect()
            };
            let values = two_date::WindowValues {
                before: range.clone().map(|p| pick(0, p)).collect(),
                after: range.clone().map(|p| pick(1, p)).collect(),
            };
            let weights: Vec<f64> = footprint.weights().collect();
            let Some(loss) = two_date::detect(&values, &weights, params) else { continue };
            let seen = |k: usize| range.clone().zip(&loss.disturbed).any(|(p, d)| *d && stack[(k, p)].is_finite());
            let last_before = scenes.iter().enumerate().rev().find(|(k, (_, w))| *w == 0 && seen(*k));
            let first_after = scenes.iter().enumerate().find(|(k, (_, w))| *w == 1 && seen(*k));
            let (Some((_, (before, _))), Some((_, (after, _)))) = (last_before, first_after) else { continue };
            let (before, after) = (&self.plan.scenes[*before].scene, &self.plan.scenes[*after].scene);
            let Some(member) = grid.wanted.get(&parcel.key) else { continue };
            // Pixels to hectares by the parcel's geodesic area: a projection's pixels are not hectares. The whole parcel
            // counts, also where the scene holds only a part of it.
            let ha_per_pixel = self.plan.parcels.parcels[member.position].area_ha / member.whole_px;
            let pixels = footprint.spans().iter().flat_map(|s| (s.col..s.col + s.len).map(|c| (s.row, c)));
            let lost: Vec<(u32, u32)> = pixels.zip(&loss.disturbed).filter(|(_, d)| **d).map(|(p, _)| p).collect();
            let geometry = to_lon_lat.polygon(&outline(&lost, &grid.grid)).map_err(Error::Internal)?;
            rows.push(DisturbanceRow {
                parcel_id: parcel.id.as_str().into(),
                event_id: format!("two_date-{}-{}", params.index, after.date()),
                index: params.index.clone(),
                method: "two_date",
                detected_on: after.date(),
                date_lower: before.date(),
                date_upper: after.date(),
                magnitude: loss.magnitude,
                area_ha: loss.pixels * ha_per_pixel,
                area_se_ha: loss.pixels_se.map(|p| p * ha_per_pixel),
                pixels: loss.pixels,
                probability: loss.probability,
                before_scene_id: before.id.clone(),
                after_scene_id: after.id.clone(),
                geometry,
            });
        }
        Ok(rows)
    }
}

/// Sum in order; of nothing it is 0, not the -0 of a float sum.
fn total(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |sum, v| sum + v)
}
