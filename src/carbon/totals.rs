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
    /// What a named rule allows of the changes of a period, over the parcels of which it allows anything.
    Creditable(Date, Date),
}

impl Quantity {
    /// The name used in tables.
    pub fn name(self) -> &'static str {
        match self {
            Quantity::Stock(..) => "stock",
            Quantity::Delta(..) => "delta",
            Quantity::Creditable(..) => "creditable",
        }
    }
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
    /// Adds a parcel. `share` of its ground is no earlier parcel's. `credited` is the share of its change over each period
    /// that may be credited; periods of which nothing may be are left out. The deduction is a number that the rule made of
    /// the interval, so it scales the draws and has no error of its own.
    pub fn add(
        &mut self,
        kind: Option<&str>,
        area_ha: f64,
        share: f64,
        tonnes: &Tonnes,
        credited: &BTreeMap<(Date, Date), f64>,
    ) {
        let allowed = credited.iter().filter_map(|(period, part)| Some((period, part, tonnes.deltas.get(period)?)));
        for ((start, end), part, simulated) in allowed {
            for group in std::iter::once(ALL).chain(kind) {
                let quantity = Quantity::Creditable(*start, *end);
                self.enter(group, quantity, area_ha, (share, *part), simulated);
            }
        }
        let stocks = tonnes.stocks.iter().map(|((date, pool), s)| (Quantity::Stock(*date, *pool), s));
        let deltas = tonnes.deltas.iter().map(|((start, end), s)| (Quantity::Delta(*start, *end), s));
        for (quantity, simulated) in stocks.chain(deltas) {
            for group in std::iter::once(ALL).chain(kind) {
                self.enter(group, quantity, area_ha, (share, 1.0), simulated);
            }
        }
    }

    fn enter(
        &mut self,
        group: &str,
        quantity: Quantity,
        area_ha: f64,
        (share, part): (f64, f64),
        simulated: &Simulated,
    ) {
        let sum = self.sums.entry((group.to_owned(), quantity)).or_insert_with(|| Sum {
            parcels: 0,
            area_ha: 0.0,
            estimate: 0.0,
            draws: vec![0.0; simulated.draws.len()],
        });
        sum.parcels += 1;
        sum.area_ha += share * area_ha;
        let counts = share * part;
        sum.estimate += counts * simulated.spread.estimate;
        sum.draws.iter_mut().zip(&simulated.draws).for_each(|(s, d)| *s += counts * d);
    }

    /// The sums, in the order of the table: group, creditable before delta before stock, dates, pool by name.
    pub fn finish(self) -> Vec<Total> {
        let order = |q: &Quantity| match q {
            Quantity::Creditable(start, end) => (0, Some(*start), *end, Pool::Total.name()),
            Quantity::Delta(start, end) => (1, Some(*start), *end, Pool::Total.name()),
            Quantity::Stock(epoch, pool) => (2, None, *epoch, pool.name()),
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
            totals.add(Some("reserve"), 10.0, 1.0, &tonnes("a", shared, own), &BTreeMap::new());
            totals.add(Some("damaged"), 10.0, share, &tonnes("b", shared, own), &BTreeMap::new());
            let rows = totals.finish();
            assert_eq!(rows.len(), 6, "all, reserve and damaged, each with one pool and the total");
            let all =
                rows.iter().find(|r| r.group == ALL && r.quantity == Quantity::Stock(epoch, Pool::Total)).unwrap();
            assert_eq!((all.parcels, all.area_ha), (2, 10.0 + 10.0 * share));
            assert!((all.spread.estimate - sum).abs() < 1e-9);
            assert!((all.spread.se / se - 1.0).abs() < 0.01, "{} {se}", all.spread.se);
        }
    }

    // Two parcels of 10 ha that grow from 100 to 110 t C/ha by one shared factor of 20 %: 100 (20) t C each. The rule leaves
    // 94 % of the one and 89 % of the other; a third is not credited. Shared errors add up: 183 (36.6), not the root of the
    // sum of squares (25.9).
    #[test]
    fn what_may_be_credited_is_summed_with_the_correlation_of_the_parcels() {
        let (a, b) = (date(2018, 7, 1), date(2020, 7, 1));
        let monte_carlo = MonteCarlo::new(Draws::new(1, 20_000));
        let tonnes = || {
            let mut chain = Chain::new("test", Status::Issuable);
            chain.factor(Factor::normal(Part::Model, "parameter/d", 1.0, 0.2));
            for (epoch, density) in [(a, 100.0), (b, 110.0)] {
                let terms = vec![Term { coefficient: density, factors: vec![0] }];
                let densities = [(Pool::Aboveground, terms)].into();
                chain.epochs.insert(epoch, Epoch { densities, ..Epoch::default() });
            }
            monte_carlo.tonnes(&chain, &Factor::exact(10.0), &[[a, b]])
        };
        let mut totals = Totals::default();
        totals.add(Some("reserve"), 10.0, 1.0, &tonnes(), &[((a, b), 0.94)].into());
        totals.add(Some("reserve"), 10.0, 1.0, &tonnes(), &[((a, b), 0.89)].into());
        totals.add(Some("reference"), 10.0, 1.0, &tonnes(), &BTreeMap::new());
        let rows = totals.finish();
        let of = |group: &str| rows.iter().find(|r| r.group == group && r.quantity == Quantity::Creditable(a, b));
        let all = of(ALL).unwrap();
        assert_eq!((all.parcels, all.area_ha), (2, 20.0));
        assert!((all.spread.estimate - 183.0).abs() < 1e-9, "{}", all.spread.estimate);
        assert!((all.spread.se / 36.6 - 1.0).abs() < 0.01, "{}", all.spread.se);
        assert_eq!(of("reserve").unwrap().spread, all.spread);
        assert!(of("reference").is_none());
        let order: Vec<&str> = rows.iter().filter(|r| r.group == ALL).map(|r| r.quantity.name()).collect();
        assert!(order.is_sorted() && order[0] == "creditable", "{order:?}");
    }
}
