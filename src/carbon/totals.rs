//! What do all parcels of a kind hold together, and how well is the sum known? Draws are summed parcel by parcel, so errors
//! that parcels share (parameters, models) add up in full and those of their own average out.
//!
//! Ground that two parcels share counts once: the later one (by id) enters with the share of its area that no earlier one
//! has.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::Pool;
use super::monte_carlo::{Simulated, Spread, Tonnes};

/// The group of all parcels.
pub const ALL: &str = "all";

/// What is summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantity {
    /// Stock of a pool at an epoch.
    Stock(Date, Pool),
    /// Change of the total over a period.
    Delta(Date, Date),
}

/// One sum, t C.
#[derive(Debug, Clone, PartialEq)]
pub struct Total {
    /// [`ALL`], or a kind of parcel.
    pub group: String,
    /// What was summed.
    pub quantity: Quantity,
    /// Parcels that entered.
    pub parcels: usize,
    /// Their area, ground that is shared counted once, ha.
    pub area_ha: f64,
    /// The sum and its error, t C.
    pub spread: Spread,
}

#[derive(Debug, Clone)]
struct Sum {
    parcels: usize,
    area_ha: f64,
    estimate: f64,
    draws: Vec<f64>,
}

/// Sums under way. Parcels must come in a fixed order, since float sums depend on it.
#[derive(Debug, Default)]
pub struct Totals {
    sums: BTreeMap<(String, Quantity), Sum>,
}

impl Totals {
    /// Adds a parcel. `share` of its ground is no earlier parcel's.
    pub fn add(&mut self, kind: Option<&str>, area_ha: f64, share: f64, tonnes: &Tonnes) {
        let stocks = tonnes.stocks.iter().map(|((date, pool), s)| (Quantity::Stock(*date, *pool), s));
        let deltas = tonnes.deltas.iter().map(|((start, end), s)| (Quantity::Delta(*start, *end), s));
        for (quantity, simulated) in stocks.chain(deltas) {
            for group in std::iter::once(ALL).chain(kind) {
                self.enter(group, quantity, area_ha, share, simulated);
            }
        }
    }

    fn enter(&mut self, group: &str, quantity: Quantity, area_ha: f64, share: f64, simulated: &Simulated) {
        let sum = self.sums.entry((group.to_owned(), quantity)).or_insert_with(|| Sum {
            parcels: 0,
            area_ha: 0.0,
            estimate: 0.0,
            draws: vec![0.0; simulated.draws.len()],
        });
        sum.parcels += 1;
        sum.area_ha += share * area_ha;
        sum.estimate += share * simulated.spread.estimate;
        sum.draws.iter_mut().zip(&simulated.draws).for_each(|(s, d)| *s += share * d);
    }

    /// The sums, in the order of the table: group, delta before stock, dates, pool by name.
    pub fn finish(self) -> Vec<Total> {
        let order = |q: &Quantity| match q {
            Quantity::Delta(start, end) => (0, Some(*start), *end, Pool::Total.name()),
            Quantity::Stock(epoch, pool) => (1, None, *epoch, pool.name()),
        };
        let mut totals: Vec<Total> = self
            .sums
            .into_iter()
            .map(|((group, quantity), sum)| Total {
                group,
                quantity,
                parcels: sum.parcels,
                area_ha: sum.area_ha,
                spread: Spread::of(sum.estimate, &sum.draws),
            })
            .collect();
        totals.sort_by(|a, b| (&a.group, order(&a.quantity)).cmp(&(&b.group, order(&b.quantity))));
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::super::chain::{Chain, Epoch, Factor, Part, Term};
    use super::super::draw::Draws;
    use super::super::monte_carlo::MonteCarlo;
    use super::*;
    use jiff::civil::date;

    // Two parcels of 10 ha at 100 t C/ha: a shared factor of 30 % gives 2000 (600), errors of their own of 20 % each
    // 200 sqrt(2). Of the second one a quarter of the ground is the first one's.
    #[test]
    fn shared_errors_add_up_and_shared_ground_counts_once() {
        let epoch = date(2020, 7, 1);
        let monte_carlo = MonteCarlo::new(Draws::new(1, 20_000));
        let tonnes = |id: &str, shared: f64, own: f64| {
            let mut chain = Chain::new("test", Status::Issuable);
            chain.factor(Factor::normal(Part::Model, "parameter/d", 100.0, 100.0 * shared));
            chain.factor(Factor::normal(Part::Residual, format!("parcel/{id}/x"), 1.0, own));
            let terms = vec![Term { coefficient: 1.0, factors: vec![0, 1] }];
            let densities = [(Pool::Aboveground, terms)].into();
            chain.epochs.insert(epoch, Epoch { densities, ..Epoch::default() });
            monte_carlo.tonnes(&chain, &Factor::exact(10.0), &[])
        };
        for (shared, own, share, sum, se) in [
            (0.3, 0.0, 1.0, 2000.0, 600.0),
            (0.0, 0.2, 1.0, 2000.0, 200.0 * 2f64.sqrt()),
            (0.3, 0.0, 0.75, 1750.0, 525.0),
        ] {
            let mut totals = Totals::default();
            totals.add(Some("reserve"), 10.0, 1.0, &tonnes("a", shared, own));
            totals.add(Some("damaged"), 10.0, share, &tonnes("b", shared, own));
            let rows = totals.finish();
            assert_eq!(rows.len(), 6, "all, reserve and damaged, each with one pool and the total");
            let all =
                rows.iter().find(|r| r.group == ALL && r.quantity == Quantity::Stock(epoch, Pool::Total)).unwrap();
            assert_eq!((all.parcels, all.area_ha), (2, 10.0 + 10.0 * share));
            assert!((all.spread.estimate - sum).abs() < 1e-9);
            assert!((all.spread.se / se - 1.0).abs() < 0.01, "{} {se}", all.spread.se);
        }
    }
}
