//! What must hold of any run's carbon figures, whatever the method: checked on every run and told in its record. A figure
//! that breaks one is a mistake of ours, never of the user.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::Pool;
use super::delta::Delta;
use super::stock::Stock;

/// Largest difference, as a share of the larger of the figures and of 1 t C, that rounding explains.
const ROUNDING: f64 = 1e-9;

/// How often one of them was checked, and how far off the worst case was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Cases.
    pub checked: u64,
    /// Cases that broke it.
    pub violated: u64,
    /// Largest difference, as a share of the larger of the figures and of 1 t C.
    pub worst: f64,
    /// The parcel of the first violation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
}

/// All of them, by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Invariants(BTreeMap<String, Check>);

impl Invariants {
    /// Checks the figures of one parcel.
    pub fn check(&mut self, parcel_id: &str, area_ha: f64, stocks: &[&Stock], deltas: &[&Delta]) {
        let mut totals: BTreeMap<Date, (f64, f64)> = BTreeMap::new();
        for stock in stocks {
            let (sum, total) = totals.entry(stock.epoch).or_insert((0.0, 0.0));
            *(if stock.pool == Pool::Total { total } else { sum }) += stock.stock_t_c;
            self.equal("stock_is_density_times_area", parcel_id, stock.stock_t_c, stock.density_t_c_per_ha * area_ha);
        }
        for (sum, total) in totals.values() {
            self.equal("pools_sum_to_total", parcel_id, *sum, *total);
        }
        for delta in deltas {
            let of = |date: Date| totals.get(&date).map_or(f64::NAN, |(_, total)| *total);
            let difference = of(delta.period_end) - of(delta.period_start);
            self.equal("delta_is_difference_of_stocks", parcel_id, delta.delta_t_c, difference);
            if delta.delta_t_c == 0.0 {
                let (low, high) = delta.ci90_t_co2e;
                self.enter("no_change_contains_zero", parcel_id, low <= 0.0 && high >= 0.0, 0.0);
            }
            for next in deltas.iter().filter(|n| n.period_start == delta.period_end) {
                let whole = |d: &&&Delta| (d.period_start, d.period_end) == (delta.period_start, next.period_end);
                if let Some(whole) = deltas.iter().find(whole) {
                    let parts = delta.delta_t_c + next.delta_t_c;
                    self.equal("deltas_add_up_over_periods", parcel_id, whole.delta_t_c, parts);
                }
            }
        }
    }

    /// Checks that the ground which entered the totals is the ground that the parcels cover together.
    pub fn ground(&mut self, counted_ha: f64, covered_ha: f64) {
        let worst = (counted_ha - covered_ha).abs() / covered_ha.max(f64::MIN_POSITIVE);
        // Two ways of cutting polygons meet to a part in a million.
        self.enter("parcels_hold_no_more_than_their_ground", "all parcels", worst <= 1e-6, worst);
    }

    fn equal(&mut self, name: &str, parcel_id: &str, a: f64, b: f64) {
        let worst = (a - b).abs() / a.abs().max(b.abs()).max(1.0);
        self.enter(name, parcel_id, worst <= ROUNDING, worst);
    }

    fn enter(&mut self, name: &str, parcel_id: &str, holds: bool, worst: f64) {
        let check = self.0.entry(name.to_owned()).or_default();
        check.checked += 1;
        check.worst = check.worst.max(worst);
        if !holds {
            check.violated += 1;
            check.first.get_or_insert_with(|| parcel_id.to_owned());
        }
    }

    /// Names and checks that were broken.
    pub fn violated(&self) -> impl Iterator<Item = (&str, &Check)> {
        self.0.iter().filter(|(_, c)| c.violated > 0).map(|(name, c)| (name.as_str(), c))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::super::chain::{Chain, Epoch, Factor, Part, Term};
    use super::super::delta::deltas;
    use super::super::draw::Draws;
    use super::super::monte_carlo::MonteCarlo;
    use super::super::stock::stocks;
    use super::*;
    use crate::units::Hectares;
    use jiff::civil::date;

    #[test]
    fn sound_figures_pass_and_each_kind_of_damage_is_seen() {
        let (a, b, c) = (date(2018, 7, 1), date(2020, 7, 1), date(2022, 7, 1));
        let mut chain = Chain::new("test", Status::Issuable);
        for (date, cover) in [(a, 50.0), (b, 60.0), (c, 60.0)] {
            let at = chain.factor(Factor::normal(Part::Residual, format!("parcel/p/{date}"), cover, 5.0));
            let terms = |coefficient| vec![Term { coefficient, factors: vec![at] }];
            let densities = [(Pool::Aboveground, terms(1.0)), (Pool::Belowground, terms(0.3))].into();
            chain.epochs.insert(date, Epoch { densities, ..Epoch::default() });
        }
        let tonnes =
            MonteCarlo::new(Draws::new(1, 2_000)).tonnes(&chain, &Factor::exact(3.0), &[[a, b], [b, c], [a, c]]);
        let area = Hectares::new(3.0).unwrap();
        let (stocks, deltas) = (stocks(&chain, &tonnes, area), deltas(&chain, &tonnes, area, None));
        let deltas: Vec<Delta> = deltas.into_iter().map(Result::unwrap).collect();
        let broken = |damage: &dyn Fn(&mut Vec<Stock>, &mut Vec<Delta>)| {
            let (mut stocks, mut deltas) = (stocks.clone(), deltas.clone());
            damage(&mut stocks, &mut deltas);
            let mut found = Invariants::default();
            found.check("p", 3.0, &stocks.iter().collect::<Vec<_>>(), &deltas.iter().collect::<Vec<_>>());
            assert_eq!(found.0["no_change_contains_zero"].checked, 1);
            assert_eq!(found.0["deltas_add_up_over_periods"].checked, 1);
            found.violated().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
        };
        assert!(broken(&|_, _| ()).is_empty());
        assert_eq!(broken(&|s, _| s[0].density_t_c_per_ha += 1.0), ["stock_is_density_times_area"]);
        let pools = broken(&|s, _| {
            s[0].stock_t_c += 3.0;
            s[0].density_t_c_per_ha += 1.0;
        });
        assert_eq!(pools, ["pools_sum_to_total"]);
        let still = deltas.iter().position(|d| d.delta_t_c == 0.0).unwrap();
        assert_eq!(broken(&|_, d| d[still].ci90_t_co2e.0 = 0.1), ["no_change_contains_zero"]);
        let first = deltas.iter().position(|d| (d.period_start, d.period_end) == (a, c)).unwrap();
        let expected = ["delta_is_difference_of_stocks", "deltas_add_up_over_periods"];
        assert_eq!(broken(&|_, d| d[first].delta_t_c += 1.0), expected);
        let mut ground = Invariants::default();
        ground.ground(100.0, 100.0);
        assert_eq!(ground.violated().count(), 0);
        ground.ground(110.0, 100.0);
        assert_eq!(ground.violated().count(), 1);
    }
}
