//! How much carbon does a parcel hold at an epoch, per pool, and how well is it known? Rows of the stocks table, from the
//! simulated tonnes of a parcel.
//!
//! The stock is the best estimate; its standard error and intervals are those of the draws. A stock is positive, so an
//! interval of draws that cross 0 ends there.

use jiff::civil::Date;

use super::chain::{Chain, Part};
use super::monte_carlo::Tonnes;
use super::{Flag, Pool, Status};
use crate::units::Hectares;

/// Carbon of one pool of one parcel at one epoch: a row of the stocks table.
#[derive(Debug, Clone, PartialEq)]
pub struct Stock {
    /// The epoch.
    pub epoch: Date,
    /// The pool, or the total of the pools asked for.
    pub pool: Pool,
    /// t C per ha of parcel.
    pub density_t_c_per_ha: f64,
    /// t C.
    pub stock_t_c: f64,
    /// Standard error, t C.
    pub stock_se_t_c: f64,
    /// Median of the draws, t C.
    pub median_t_c: f64,
    /// 90 % interval, t C.
    pub ci90_t_c: (f64, f64),
    /// 95 % interval, t C.
    pub ci95_t_c: (f64, f64),
    /// Share of each part of [`Part::ALL`] in the variance.
    pub variance_shares: Option<[f64; Part::ALL.len()]>,
    /// What the number may be used for.
    pub status: Status,
    /// Remarks, sorted, each once.
    pub flags: Vec<Flag>,
}

/// Stocks of a parcel by epoch and pool, in the order of the table (epoch, then the pool's name).
pub fn stocks(chain: &Chain, tonnes: &Tonnes, area: Hectares) -> Vec<Stock> {
    let positive = |(low, high): (f64, f64)| (low.max(0.0), high.max(0.0));
    let mut rows: Vec<Stock> = tonnes
        .stocks
        .iter()
        .map(|((epoch, pool), simulated)| {
            let spread = &simulated.spread;
            let of_epoch = chain.epochs.get(epoch).map_or(&[][..], |e| &e.flags);
            Stock {
                epoch: *epoch,
                pool: *pool,
                density_t_c_per_ha: spread.estimate / area.get(),
                stock_t_c: spread.estimate,
                stock_se_t_c: spread.se,
                median_t_c: spread.median.max(0.0),
                ci90_t_c: positive(spread.ci90),
                ci95_t_c: positive(spread.ci95),
                variance_shares: simulated.shares(),
                status: if of_epoch.contains(&Flag::RetentionNotObserved) {
                    Status::ScreeningOnly
                } else {
                    chain.status
                },
                flags: flags(&[&chain.flags, of_epoch], spread.converged),
            }
        })
        .collect();
    rows.sort_by(|a, b| (a.epoch, a.pool.name()).cmp(&(b.epoch, b.pool.name())));
    rows
}

/// Remarks of several origins, sorted, each once.
pub(super) fn flags(origins: &[&[Flag]], converged: bool) -> Vec<Flag> {
    let mut flags = origins.concat();
    flags.extend((!converged).then_some(Flag::NotConverged));
    flags.sort();
    flags.dedup();
    flags
}
