//! From the store's parts to the tables: observations by year, and per parcel series, disturbances, stocks and deltas.
//! Memory does not grow with the number of scenes: parcels are taken in ranges, pixels in row groups.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use crate::analyse::Predictions;
use crate::analyse::{Accounting, Assessment, ParcelChanges, Reference, assess, date_of_ms, settled};
use crate::carbon::agb_map::{self, AgbMap, Fault, Rasters};
use crate::carbon::chain::{Factor, Part};
use crate::carbon::draw::{ALGORITHM, Draws};
use crate::carbon::index_model::{IndexModel, Model};
use crate::carbon::invariants::Invariants;
use crate::carbon::monte_carlo::MonteCarlo;
use crate::carbon::totals::Totals;
use crate::change::{Changes, Found};
use crate::columnar::{self, Profile, Writer};
use crate::config::{BiomassMethod, Settings};
use crate::detect::events::FalseAlarms;
use crate::engine::plan::Plan;
use crate::engine::{Event, Progress};
use crate::error::{Error, Quarantine, Reason, Result, Stage, Subject};
use crate::gather::Gather;
use crate::parcel::Kind;
use crate::predict::{self, Cube};
use crate::record::geoparquet::Extent;
use crate::record::manifest::{self, DrawRecord, ParcelSummary, PassAccount};
use crate::record::store::table_path;
use crate::record::table::{self, DisturbanceRow, ObservationRow};

/// Observation rows held at once.
const ROWS_AT_ONCE: usize = 1 << 20;
/// Parcels whose draws are held at once.
const DRAWN_AT_ONCE: usize = 64;
/// Parcels in the summary that is kept in the run record.
const SUMMARY_PARCELS: usize = 20;

/// What the tables were made into.
pub struct Made {
    /// Files.
    pub tables: Vec<manifest::Table>,
    /// Maps; their rows are the pixels of parcels.
    pub maps: Vec<manifest::Table>,
    /// Alarms at parcels of kind `reference`, by method.
    pub alarms: BTreeMap<String, FalseAlarms>,
    /// Everything that was set aside, sorted.
    pub quarantined: Vec<Quarantine>,
    /// The first parcels.
    pub summary: Vec<ParcelSummary>,
    /// What became of parcels that several scenes of one pass saw.
    pub passes: PassAccount,
    /// What must hold of the carbon figures, and whether it did.
    pub invariants: Invariants,
    /// How errors were drawn, where they were.
    pub draws: Option<DrawRecord>,
}

/// The rasters of a biomass map, opened.
///
/// # Errors
/// One that cannot be used, with the line that names it.
pub fn agb_rasters(settings: &Settings, maps: &AgbMap) -> Result<Rasters> {
    let told = |f: Fault| settings.error(&format!("biomass.agb_map.{}", f.key), f.found, &f.expected, f.help);
    maps.open(&settings.base).map_err(told)
}

/// The biomass model of these settings.
///
/// # Errors
/// A file that cannot be read, is no model or was changed, or settings that are not those it was calibrated with.
pub fn model(settings: &Settings, params: &IndexModel) -> Result<Model> {
    let model = Model::load(&settings.base.join(&params.model))?;
    let observe = predict::observe_settings(&settings.options.observe);
    model.agrees(params, &observe).map_err(|(field, theirs, ours)| {
        let expected = format!("{theirs}, which the biomass model {} was calibrated with", params.model.display());
        settings.error(&field, ours, &expected, "use the settings of the model, or calibrate again")
    })?;
    Ok(model)
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
        let changes = if self.settings.options.change.methods().is_empty() {
            None
        } else {
            let Tables { settings, plan, used, root, cancel, progress } = *self;
            Some(Changes { settings, plan, used, root, cancel, progress }.all()?)
        };
        let unseen = ParcelChanges::default();
        let of = |id: &str| changes.as_ref().map(|c| c.parcels.get(id).unwrap_or(&unseen));

        let per_parcel = (self.used.len() * self.settings.options.observe.indices.len()).max(1);
        let range = (ROWS_AT_ONCE / per_parcel).max(1);
        let mut invariants = Invariants::default();
        let accounting = self.accounting(range, &of, &mut invariants)?;
        let accounting = accounting.as_ref();
        let mut totals = Totals::default();
        let gather = Gather::new(self.settings, self.plan, self.used, self.root);
        let new = |name: &str, schema| Writer::create(&table_path(self.root, name), &schema, &metadata, Profile::Table);
        let mut years: BTreeMap<i16, Writer> = BTreeMap::new();
        let mut series = new("series", table::series_schema())?;
        let mut seasons = new("seasons", table::seasons_schema())?;
        let mut stocks = new("stocks", table::stocks_schema())?;
        // Geometry tables say in their head what they hold, so their rows are collected first.
        let mut deltas = Vec::new();
        let mut summary = Vec::new();
        let outside: BTreeSet<String> =
            quarantined.iter().filter(|q| q.reason == Reason::OutsideImagery).map(|q| q.id.clone()).collect();
        let mut valued: BTreeSet<Arc<str>> = BTreeSet::new();

        // Parcels in ranges whose observations fit in memory. The bound is fixed, so that tables do not depend on it.
        progress(Event::Begin("tables", "parcels", parcels.len() as u64));
        for (n, members) in parcels.chunks(range).enumerate() {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let first = n * range;
            let rows = gather.rows(first..first + members.len())?;
            let mut assessments: Vec<Assessment> = Vec::with_capacity(members.len());
            // A parcel's draws are large, so only those of a few are held.
            for (members, rows) in members.chunks(DRAWN_AT_ONCE).zip(rows.chunks(DRAWN_AT_ONCE)) {
                let some: Vec<Assessment> = members
                    .par_iter()
                    .zip(rows)
                    .map(|(parcel, rows)| assess(parcel, rows, of(&parcel.id), accounting, self.settings))
                    .collect();
                for (parcel, mut assessment) in members.iter().zip(some) {
                    let tonnes = std::mem::take(&mut assessment.tonnes);
                    let share = accounting.and_then(|a| a.own_share.get(&parcel.id)).copied().unwrap_or(1.0);
                    // The column of the deltas is the rule's arithmetic; what may be added up hangs on what a parcel is for.
                    let creditable = parcel.kind.is_none_or(Kind::is_creditable);
                    let rows = assessment.deltas.iter().filter(|_| creditable);
                    let credited = rows.filter_map(|d| d.delta.credited_part()).collect();
                    totals.add(parcel.kind.map(Kind::name), parcel.area_ha, share, &tonnes, &credited);
                    let stocks: Vec<_> = assessment.stocks.iter().map(|r| &r.stock).collect();
                    let deltas: Vec<_> = assessment.deltas.iter().map(|r| &r.delta).collect();
                    invariants.check(&parcel.id, parcel.area_ha, &stocks, &deltas);
                    assessments.push(assessment);
                }
            }
            let measured = rows.iter().flatten().filter(|r| r.stats.is_some());
            valued.extend(measured.map(|r| r.index.clone()));
            for ((parcel, rows), assessment) in members.iter().zip(&rows).zip(&assessments) {
                summary.push(self.summary(parcel, rows, assessment, of(&parcel.id)));
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
                all.seasons.extend(a.seasons);
                all.stocks.extend(a.stocks);
                all.deltas.extend(a.deltas);
                // Of a parcel that no raster reaches everything else is a consequence.
                quarantined.extend(a.quarantined.into_iter().filter(|q| !outside.contains(&q.id)));
            }
            series.write(&table::series(&all.series)?)?;
            seasons.write(&table::seasons(&all.seasons)?)?;
            stocks.write(&table::stocks(&all.stocks)?)?;
            deltas.extend(all.deltas);
            progress(Event::Advance(members.len() as u64));
        }
        progress(Event::End);

        let told = |id: &str| quarantined.iter().any(|q| q.subject == Subject::Layer && q.id == id);
        let indices = self.settings.options.observe.indices.iter();
        let empty: Vec<&String> = indices.filter(|id| !valued.contains(id.as_str()) && !told(id)).collect();
        for id in empty {
            let message = "found no value in any parcel and scene, expected one; its pixels are clouded, filled or without \
                           meaning for the formula everywhere";
            quarantined.push(Quarantine::layer(id, Stage::Account, Reason::NoClearObservation, message));
        }

        let mut tables = Vec::new();
        let keep: BTreeSet<PathBuf> = years.keys().map(|y| self.year_path(*y)).collect();
        for (year, writer) in years {
            let rows = writer.finish()?;
            tables.push(manifest::table(self.root, &self.year_path(year), rows)?);
        }
        self.remove_other_years(&keep)?;
        for (name, rows) in [("series", series.finish()?), ("seasons", seasons.finish()?), ("stocks", stocks.finish()?)]
        {
            tables.push(manifest::table(self.root, &table_path(self.root, name), rows)?);
        }
        let draws = accounting.map(|a| {
            let draws = a.monte_carlo.draws();
            DrawRecord { algorithm: ALGORITHM.to_owned(), seed: draws.seed(), draws: draws.count() as u64 }
        });
        let totals = totals.finish();
        let path = table_path(self.root, "totals");
        let batch = table::totals(&totals)?;
        let rows = columnar::write(&path, &table::totals_schema(), [Ok(batch)], &metadata, Profile::Table)?;
        tables.push(manifest::table(self.root, &path, rows)?);
        for (name, check) in invariants.violated() {
            tracing::error!(
                "invariant {name} is broken in {} of {} cases, first at {}; do not use the carbon figures of this run, and tell \
                 the developers",
                check.violated,
                check.checked,
                check.first.as_deref().unwrap_or("?")
            );
        }
        let Found { parcels: changed, maps, alarms } = changes.unwrap_or_default();
        let mut lost: Vec<DisturbanceRow> =
            changed.into_values().flat_map(BTreeMap::into_values).flat_map(|l| l.rows).collect();
        lost.sort_by(|a, b| (&a.parcel_id, &a.event_id).cmp(&(&b.parcel_id, &b.event_id)));
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
        self.remove_other_maps(&maps)?;
        Ok(Made { tables, maps, alarms, quarantined, summary, passes: gather.account(), invariants, draws })
    }

    /// What the carbon figures of all parcels share, where a biomass method is configured.
    fn accounting<'b>(
        &'b self,
        range: usize,
        changes: &(impl Fn(&str) -> Option<&'b ParcelChanges> + Sync),
        invariants: &mut Invariants,
    ) -> Result<Option<Accounting<'b>>> {
        let Some(parameters) = &self.settings.parameters else { return Ok(None) };
        let parcels = &self.plan.parcels.parcels;
        let carbon = &self.settings.options.carbon;
        let (shares, covered_ha) = crate::parcel::own_shares(parcels);
        let counted_ha: f64 =
            parcels.iter().enumerate().map(|(i, p)| p.area_ha * shares.get(&i).copied().unwrap_or(1.0)).sum();
        invariants.ground(counted_ha, covered_ha);
        let mut readings = BTreeMap::new();
        if let Some(BiomassMethod::AgbMap(params)) = self.settings.options.biomass.method() {
            let rasters = agb_rasters(self.settings, params)?;
            let found = agb_map::read(params, &rasters, &self.plan.parcels.crs, parcels, self.cancel)?;
            readings = parcels.iter().map(|p| p.id.clone()).zip(found).collect();
        }
        let model = match self.settings.options.biomass.method() {
            Some(BiomassMethod::IndexModel(params)) => Some(self.modelled(params)?),
            _ => None,
        };
        let mut accounting = Accounting {
            monte_carlo: MonteCarlo::new(Draws::new(carbon.seed, carbon.draws)),
            parameters,
            lost_area: self
                .settings
                .lost_area
                .map(|a| Factor::lognormal(Part::Area, "area/lost", a.value, a.se / a.value)),
            references: Vec::new(),
            readings,
            model,
            own_share: shares.into_iter().map(|(i, share)| (parcels[i].id.clone(), share)).collect(),
        };
        // Reference parcels first: the others are compared with them.
        let gather = Gather::new(self.settings, self.plan, self.used, self.root);
        for (n, members) in parcels.chunks(range).enumerate() {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            if !members.iter().any(|p| p.kind == Some(Kind::Reference)) {
                continue;
            }
            let first = n * range;
            let rows = gather.rows(first..first + members.len())?;
            let found: Vec<Option<Reference>> = members
                .par_iter()
                .zip(&rows)
                .filter(|(parcel, _)| parcel.kind == Some(Kind::Reference))
                .map(|(parcel, rows)| {
                    let assessment = assess(parcel, rows, changes(&parcel.id), Some(&accounting), self.settings);
                    Reference::of(parcel, &assessment.tonnes)
                })
                .collect();
            accounting.references.extend(found.into_iter().flatten());
        }
        Ok(Some(accounting))
    }

    /// The biomass model and what it says of every parcel.
    fn modelled(&self, params: &IndexModel) -> Result<(Model, Predictions)> {
        let model = model(self.settings, params)?;
        let memory_gib = self.settings.options.engine.memory_gib;
        let cube = Cube { plan: self.plan, used: self.used, root: self.root, cancel: self.cancel, memory_gib };
        let predicted = predict::predictions(self.settings, params, &model, &cube)?;
        Ok((model, predicted))
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

    /// Maps of an earlier run that this one does not make. Files that are no maps of ours are left alone.
    fn remove_other_maps(&self, maps: &[manifest::Table]) -> Result<()> {
        let keep: BTreeSet<PathBuf> = maps.iter().map(|m| self.root.join(&m.path)).collect();
        for file in manifest::maps_below(self.root).filter(|f| !keep.contains(f)) {
            std::fs::remove_file(&file).map_err(Error::io("remove", &file))?;
        }
        Ok(())
    }

    fn summary(
        &self,
        parcel: &crate::parcel::Parcel,
        rows: &[ObservationRow],
        assessment: &Assessment,
        changes: Option<&ParcelChanges>,
    ) -> ParcelSummary {
        let first = &self.settings.options.observe.indices[0];
        let least = self.settings.options.observe.min_clear_fraction;
        let clear = || rows.iter().filter(|r| *r.index == **first && r.stats.is_some() && r.seen_share() >= least);
        // One period for all parcels: the last.
        let period = self.settings.options.account.periods.iter().max_by_key(|[start, end]| (*end, *start));
        let last = assessment.deltas.iter().find(|d| Some(&[d.delta.period_start, d.delta.period_end]) == period);
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
            delta_t_co2e: last
                .filter(|d| d.delta.delta_se_t_co2e > 0.0)
                .map(|d| (d.delta.delta_t_co2e, 0.5 * (d.delta.ci90_t_co2e.1 - d.delta.ci90_t_co2e.0))),
            disturbed_ha: changes.and_then(|c| settled(c, &self.settings.options)).map(|l| {
                let losses = || l.rows.iter().filter(|d| d.magnitude < 0.0);
                let se = losses().try_fold(0.0, |sum, d| d.area_se_ha.map(|s| sum + s * s)).map(f64::sqrt);
                (l.lost_ha(|_| true), se.filter(|_| losses().next().is_some()))
            }),
            status: last.map(|d| d.delta.status.name().to_owned()),
        }
    }
}
