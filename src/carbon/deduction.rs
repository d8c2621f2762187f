//! How much of an uncertain removal may be credited? The deduction rules of four crediting schemes.
//!
//! Each rule maps U90, the 90 % half-width in percent of the estimate, to a deduction in percent of the estimate
//! (all recalled from the schemes' texts, so a person confirms the scheme before anything is
//! issued).
//!
//! Direction: a deduction makes a credited removal smaller. It never applies to a loss: damage is stated as its
//! estimate with its interval, neither cut (which favours the offender) nor raised (which prejudices the defendant).
//!
//! No scheme is chosen by default, and a non-permanence buffer is not applied here.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Flag, Status};

/// A scheme's rule for the discount of uncertainty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deduction {
    /// AR-CM-001-V01: 0, 6 or 11 % up to U90 10, 20 and below 30; from 30 on, more plots.
    #[serde(rename = "ar_cm_001")]
    ArCm001,
    /// CDM AR-TOOL14: 0, 25, 50, 75 or 100 % of U90, up to U90 10, 15, 20, 30 and above.
    Tool14,
    /// VCS Standard: the part of U90 above 10.
    Vcs,
    /// ART TREES 2.0: 0.524417 x U90 / 1.645006.
    ArtTrees,
}

impl Deduction {
    /// The name used in configuration.
    pub fn name(self) -> &'static str {
        match self {
            Deduction::ArCm001 => "ar_cm_001",
            Deduction::Tool14 => "tool14",
            Deduction::Vcs => "vcs",
            Deduction::ArtTrees => "art_trees",
        }
    }

    /// The scheme by its title, and where its rule stands.
    pub fn source(self) -> &'static str {
        match self {
            Deduction::ArCm001 => {
                "AR-CM-001-V01 碳汇造林项目方法学 (China, 2013), rule for the precision of the biomass estimate"
            }
            Deduction::Tool14 => {
                "CDM A/R Methodological Tool 14 (AR-TOOL14), Estimation of carbon stocks and change in carbon stocks of trees and \
                 shrubs in A/R CDM project activities, table of uncertainty discounts"
            }
            Deduction::Vcs => "Verra VCS Standard and VMD0017, Estimation of uncertainty for REDD+ project activities",
            Deduction::ArtTrees => "ART TREES 2.0, The REDD+ Environmental Excellence Standard, uncertainty deduction",
        }
    }

    /// The whole rule as formulas of U, the 90 % half-width in percent.
    pub fn rule(self) -> &'static str {
        match self {
            Deduction::ArCm001 => "U ≤ 10: 0 %; U ≤ 20: 6 %; U < 30: 11 %; U ≥ 30: —",
            Deduction::Tool14 => "U ≤ 10: 0 %; U ≤ 15: 0.25 U; U ≤ 20: 0.5 U; U ≤ 30: 0.75 U; U > 30: U; ≤ 100 %",
            Deduction::Vcs => "U ≤ 10: 0 %; U > 10: U − 10; ≤ 100 %",
            Deduction::ArtTrees => "0.524417 U / 1.645006; ≤ 100 %",
        }
    }

    /// The step of [`Deduction::rule`] that holds for this uncertainty, with its numbers put in.
    pub fn working(self, u90_percent: f64) -> String {
        let u = format!("{u90_percent:.2}");
        let Outcome::Deducted { percent } = self.deduction_percent(u90_percent) else {
            return format!("U = {u} ≥ 30: —");
        };
        let percent = format!("{percent:.2} %");
        let of = |low: &str, high: &str, part: &str| format!("{low} < U = {u} ≤ {high}: {part} × {u} = {percent}");
        match (self, u90_percent) {
            (Deduction::ArCm001 | Deduction::Tool14 | Deduction::Vcs, v) if v <= 10.0 => {
                format!("U = {u} ≤ 10: {percent}")
            }
            (Deduction::ArCm001, v) if v <= 20.0 => format!("10 < U = {u} ≤ 20: {percent}"),
            (Deduction::ArCm001, _) => format!("20 < U = {u} < 30: {percent}"),
            (Deduction::Tool14, v) if v <= 15.0 => of("10", "15", "0.25"),
            (Deduction::Tool14, v) if v <= 20.0 => of("15", "20", "0.5"),
            (Deduction::Tool14, v) if v <= 30.0 => of("20", "30", "0.75"),
            (Deduction::Tool14, v) if v > 100.0 => format!("U = {u} > 30: {u} %, ≤ 100 %: {percent}"),
            (Deduction::Tool14, _) => format!("U = {u} > 30: {percent}"),
            (Deduction::Vcs, v) if v > 110.0 => format!("U = {u} > 10: {u} − 10, ≤ 100 %: {percent}"),
            (Deduction::Vcs, _) => format!("U = {u} > 10: {u} − 10 = {percent}"),
            (Deduction::ArtTrees, _) => format!("0.524417 × {u} / 1.645006, ≤ 100 %: {percent}"),
        }
    }

    /// The deduction for this uncertainty.
    ///
    /// # Units
    /// `u90_percent`: half-width of the 90 % interval in percent of the estimate; never a 95 % half-width, which is
    /// 1.19 times as wide. A U90 that is not a number of at least 0 asks for more plots under every scheme.
    pub fn deduction_percent(self, u90_percent: f64) -> Outcome {
        let u = u90_percent;
        if u.is_nan() || u < 0.0 {
            return Outcome::NeedsMorePlots;
        }
        let percent = match self {
            Deduction::ArCm001 => match u {
                u if u <= 10.0 => 0.0,
                u if u <= 20.0 => 6.0,
                u if u < 30.0 => 11.0,
                _ => return Outcome::NeedsMorePlots,
            },
            Deduction::Tool14 => match u {
                u if u <= 10.0 => 0.0,
                u if u <= 15.0 => 0.25 * u,
                u if u <= 20.0 => 0.5 * u,
                u if u <= 30.0 => 0.75 * u,
                u => u,
            },
            Deduction::Vcs => (u - 10.0).max(0.0),
            Deduction::ArtTrees => 0.524_417 * u / 1.645_006,
        };
        // More than everything cannot be deducted.
        Outcome::Deducted { percent: percent.min(100.0) }
    }
}

impl fmt::Display for Deduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a scheme says to an uncertainty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// Credit the estimate less this share.
    Deducted {
        /// Percent of the estimate, 0 to 100.
        percent: f64,
    },
    /// Too uncertain for the scheme: measure more plots first.
    NeedsMorePlots,
}

/// What may be credited of a delta.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Credit {
    /// The deduction applied; `None` without a scheme, without a change, or when the scheme asks for more plots.
    pub deduction_percent: Option<f64>,
    /// t CO2e; `None` without a scheme.
    pub creditable_t_co2e: Option<f64>,
    /// [`Flag::MorePlotsNeeded`] when the scheme does not accept the uncertainty.
    pub flag: Option<Flag>,
}

/// What may be credited of a change of `delta_t_co2e`, by a rule that somebody named.
///
/// Without a scheme the answer is `None`: not zero, and not the estimate. What is only for screening credits 0, and so
/// does a loss, no change, or an uncertainty that the scheme answers with more plots.
pub fn credit(
    delta_t_co2e: f64,
    relative_uncertainty_percent: Option<f64>,
    scheme: Option<Deduction>,
    status: Status,
) -> Credit {
    let Some(scheme) = scheme else {
        return Credit { deduction_percent: None, creditable_t_co2e: None, flag: None };
    };
    let outcome = relative_uncertainty_percent.map(|u| scheme.deduction_percent(u));
    let (deduction_percent, flag) = match outcome {
        Some(Outcome::Deducted { percent }) => (Some(percent), None),
        Some(Outcome::NeedsMorePlots) => (None, Some(Flag::MorePlotsNeeded)),
        None => (None, None),
    };
    let creditable = match (status, deduction_percent) {
        (Status::Issuable, Some(percent)) => (delta_t_co2e * (1.0 - percent / 100.0)).max(0.0),
        (Status::Issuable, None) | (Status::ScreeningOnly, _) => 0.0,
    };
    Credit { deduction_percent, creditable_t_co2e: Some(creditable), flag }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Deduction; 4] = [Deduction::ArCm001, Deduction::Tool14, Deduction::Vcs, Deduction::ArtTrees];

    // Worked example 11: U90, then AR-CM-001, TOOL14, VCS, TREES.
    #[test]
    fn example_11() {
        let table = [
            (8.0, Some(0.0), 0.0, 0.0, 2.5503),
            (15.0, Some(6.0), 3.75, 5.0, 4.7819),
            (18.0, Some(6.0), 9.0, 8.0, 5.7383),
            (26.0, Some(11.0), 19.5, 16.0, 8.2886),
            (40.0, None, 40.0, 30.0, 12.7517),
        ];
        for (u, ar_cm, tool14, vcs, trees) in table {
            let expected = [ar_cm, Some(tool14), Some(vcs), Some(trees)];
            for (scheme, expected) in ALL.into_iter().zip(expected) {
                match (scheme.deduction_percent(u), expected) {
                    (Outcome::Deducted { percent }, Some(e)) => {
                        assert!((percent - e).abs() < 5e-5, "{scheme} {u}: {percent} {e}");
                    }
                    (Outcome::NeedsMorePlots, None) => {}
                    other => panic!("{scheme} {u}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn bounds_belong_to_the_milder_class_except_30_of_ar_cm_001() {
        let deducted = |percent| Outcome::Deducted { percent };
        assert_eq!(Deduction::ArCm001.deduction_percent(10.0), deducted(0.0));
        assert_eq!(Deduction::ArCm001.deduction_percent(20.0), deducted(6.0));
        assert_eq!(Deduction::ArCm001.deduction_percent(29.999), deducted(11.0));
        assert_eq!(Deduction::ArCm001.deduction_percent(30.0), Outcome::NeedsMorePlots);
        assert_eq!(Deduction::Tool14.deduction_percent(30.0), deducted(22.5));
        assert_eq!(Deduction::Tool14.deduction_percent(250.0), deducted(100.0));
        assert_eq!(Deduction::Vcs.deduction_percent(f64::INFINITY), deducted(100.0));
        assert_eq!(Deduction::ArtTrees.deduction_percent(f64::NAN), Outcome::NeedsMorePlots);
    }

    // The step that is shown is the step that was taken, at every bound of every rule.
    #[test]
    fn the_working_ends_with_the_deduction() {
        let bounds = [0.0, 8.0, 10.0, 12.0, 15.0, 18.0, 20.0, 26.0, 29.9, 30.0, 40.0, 100.0, 105.0, 120.0, 900.0];
        for (scheme, u) in ALL.into_iter().flat_map(|s| bounds.map(|u| (s, u))) {
            let working = scheme.working(u);
            let expected = match scheme.deduction_percent(u) {
                Outcome::Deducted { percent } => format!("{percent:.2} %"),
                Outcome::NeedsMorePlots => "—".to_owned(),
            };
            assert!(working.ends_with(&expected), "{scheme} {u}: {working}");
            assert!(working.contains(&format!("{u:.2}")), "{working}");
        }
        assert_eq!(Deduction::Tool14.working(18.0), "15 < U = 18.00 ≤ 20: 0.5 × 18.00 = 9.00 %");
        assert_eq!(Deduction::Vcs.working(18.0), "U = 18.00 > 10: 18.00 − 10 = 8.00 %");
        assert_eq!(Deduction::ArCm001.working(18.0), "10 < U = 18.00 ≤ 20: 6.00 %");
    }

    #[test]
    fn names_in_files_and_messages_are_the_same() {
        for scheme in ALL {
            assert_eq!(serde_json::to_string(&scheme).unwrap(), format!("\"{scheme}\""));
        }
        assert_eq!(serde_json::from_str::<Deduction>("\"ar_cm_001\"").unwrap(), Deduction::ArCm001);
    }

    #[test]
    fn nothing_is_credited_by_default() {
        let (ok, screening) = (Status::Issuable, Status::ScreeningOnly);
        let creditable = |delta, u, scheme, status| credit(delta, u, scheme, status).creditable_t_co2e;
        assert_eq!(creditable(100.0, Some(15.0), None, ok), None);
        assert_eq!(creditable(100.0, Some(15.0), Some(Deduction::Vcs), screening), Some(0.0));
        assert_eq!(creditable(100.0, Some(15.0), Some(Deduction::Vcs), ok), Some(95.0));
        assert_eq!(creditable(-100.0, Some(15.0), Some(Deduction::Vcs), ok), Some(0.0));
        assert_eq!(creditable(0.0, None, Some(Deduction::Vcs), ok), Some(0.0));
        let refused = credit(100.0, Some(45.0), Some(Deduction::ArCm001), ok);
        assert_eq!((refused.creditable_t_co2e, refused.flag), (Some(0.0), Some(Flag::MorePlotsNeeded)));
        assert_eq!(refused.deduction_percent, None);
    }

    proptest! {
        #[test]
        fn a_deduction_never_adds(delta in -1e6..1e6f64, u in 0.0..500.0f64) {
            for scheme in ALL {
                let c = credit(delta, Some(u), Some(scheme), Status::Issuable);
                let credited = c.creditable_t_co2e.unwrap();
                prop_assert!(credited >= 0.0 && credited <= delta.max(0.0));
            }
        }
    }
}
