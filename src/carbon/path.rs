//! How does a stock that was damaged come back to the one that would have been? Two paths of carbon per hectare through
//! time: what would have grown without the damage, and what is there.
//!
//! With B the baseline and C the actual path, the *stock loss* at the damage is `B(0) - C(0)`; the sequestration *forgone*
//! until t is `[B(t) - B(0)] - [C(t) - C(0)]`; their sum is the gap `B(t) - C(t)`, so a stand that recovers fully ends with
//! no net loss although one lasted for years. That is what the integral of the gap measures, in t C years: it is no mass and
//! has no price per tonne.

use thiserror::Error;

/// Carbon per hectare through time: straight between nodes, held beyond the last.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// Years since the damage, ascending from 0, and t C per ha.
    nodes: Vec<(f64, f64)>,
}

/// Why nodes are no path.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("a path of carbon has the nodes {found:?}, expected finite numbers, years ascending from 0")]
pub struct NoPath {
    found: Vec<(f64, f64)>,
}

impl Path {
    /// Through these nodes: years since the damage, t C per ha.
    ///
    /// # Errors
    /// [`NoPath`] where years do not ascend from 0 or a number is none.
    pub fn new(nodes: Vec<(f64, f64)>) -> Result<Self, NoPath> {
        let starts = nodes.first().is_some_and(|n| n.0 == 0.0);
        let ascending = nodes.windows(2).all(|w| w[0].0 < w[1].0);
        let finite = nodes.iter().all(|n| n.0.is_finite() && n.1.is_finite());
        if starts && ascending && finite { Ok(Path { nodes }) } else { Err(NoPath { found: nodes }) }
    }

    /// t C per ha after so many years.
    pub fn at(&self, years: f64) -> f64 {
        let after = self.nodes.iter().position(|n| n.0 >= years);
        match after {
            Some(0) => self.nodes[0].1,
            Some(i) => {
                let ((x0, y0), (x1, y1)) = (self.nodes[i - 1], self.nodes[i]);
                y0 + (y1 - y0) * (years - x0) / (x1 - x0)
            }
            None => self.nodes.last().map_or(f64::NAN, |n| n.1),
        }
    }
}

/// What lies between a baseline and what is there, until a horizon.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gap {
    /// Baseline less actual at the damage, t C per ha.
    pub stock_loss_t_c_per_ha: f64,
    /// Growth of the baseline less growth of what is there until the horizon, t C per ha; negative when it catches up.
    pub forgone_t_c_per_ha: f64,
    /// Baseline less actual at the horizon, t C per ha: the sum of the two.
    pub net_t_c_per_ha: f64,
    /// Integral of the gap over the years, t C years per ha.
    pub integral_t_c_year_per_ha: f64,
    /// Years until the actual path first meets the baseline, if it does by the horizon.
    pub meets_after_years: Option<f64>,
}

/// The gap between two paths until `horizon_years`.
pub fn gap(baseline: &Path, actual: &Path, horizon_years: f64) -> Gap {
    let at = |years: f64| baseline.at(years) - actual.at(years);
    let mut years: Vec<f64> = baseline.nodes.iter().chain(&actual.nodes).map(|n| n.0).collect();
    years.retain(|y| *y < horizon_years);
    years.push(horizon_years);
    years.sort_by(f64::total_cmp);
    years.dedup();
    let mut integral = 0.0;
    let mut meets = (at(0.0) <= 0.0).then_some(0.0);
    for w in years.windows(2) {
        // Both paths are straight here, and so is the gap.
        let (a, b) = (at(w[0]), at(w[1]));
        integral += (w[1] - w[0]) * (a + b) / 2.0;
        if meets.is_none() && b <= 0.0 {
            meets = Some(w[0] + (w[1] - w[0]) * a / (a - b));
        }
    }
    Gap {
        stock_loss_t_c_per_ha: at(0.0),
        forgone_t_c_per_ha: at(horizon_years) - at(0.0),
        net_t_c_per_ha: at(horizon_years),
        integral_t_c_year_per_ha: integral,
        meets_after_years: meets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(start: f64, per_year: f64, years: f64) -> Path {
        Path::new(vec![(0.0, start), (years, start + per_year * years)]).unwrap()
    }

    // Worked example 13: C_b = 60 + 1.2 t, C_a = 6 + 3.0 t t C/ha.
    #[test]
    fn example_13_paths_that_meet() {
        let found = gap(&line(60.0, 1.2, 60.0), &line(6.0, 3.0, 60.0), 30.0);
        assert!((found.stock_loss_t_c_per_ha - 54.0).abs() < 1e-12);
        assert!((found.integral_t_c_year_per_ha - 810.0).abs() < 1e-9);
        assert!(found.net_t_c_per_ha.abs() < 1e-12 && (found.forgone_t_c_per_ha + 54.0).abs() < 1e-12);
        assert!((found.meets_after_years.unwrap() - 30.0).abs() < 1e-9);
        let before = gap(&line(60.0, 1.2, 60.0), &line(6.0, 3.0, 60.0), 20.0);
        assert_eq!(before.meets_after_years, None);
        assert!((before.net_t_c_per_ha - 18.0).abs() < 1e-12);
    }

    #[test]
    fn nodes_must_run_forward_from_the_damage() {
        for nodes in [vec![], vec![(1.0, 2.0)], vec![(0.0, 1.0), (0.0, 2.0)], vec![(0.0, f64::NAN)]] {
            assert!(Path::new(nodes).unwrap_err().to_string().contains("years ascending from 0"));
        }
        let path = Path::new(vec![(0.0, 10.0), (5.0, 20.0)]).unwrap();
        assert_eq!([path.at(0.0), path.at(2.5), path.at(9.0)], [10.0, 15.0, 20.0]);
    }

    proptest! {
        #[test]
        fn loss_and_forgone_growth_add_up_to_the_gap(
            b in 0.0..200.0f64, bg in -2.0..5.0f64, a in 0.0..200.0f64, ag in -2.0..5.0f64, t in 1.0..60.0f64,
        ) {
            let found = gap(&line(b, bg, 80.0), &line(a, ag, 80.0), t);
            let sum = found.stock_loss_t_c_per_ha + found.forgone_t_c_per_ha;
            prop_assert!((sum - found.net_t_c_per_ha).abs() < 1e-9);
            // The integral of a straight gap is its mean times the years.
            let mean = (found.stock_loss_t_c_per_ha + found.net_t_c_per_ha) / 2.0;
            prop_assert!((found.integral_t_c_year_per_ha - mean * t).abs() < 1e-6);
        }
    }
}
