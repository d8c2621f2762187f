//! Which carbon, and by whose numbers? Pools, methods' standing, and named parameter sets.
//!
//! A number of the science enters a calculation only through a [`ParameterSet`]: a TOML text with a name and version in
//! which every value carries its unit, source and confidence, and which a person approves by name and date. The set's
//! name and SHA-256 go with every result, and the SHA-256 of the table of names that leads from a layer's words to its values. A value whose confidence is "?" is refused when the set is read: it must be
//! given by the user, never defaulted.
//!
//! Formulas: IPCC 2006 Guidelines Vol 4. A method ([`inventory`], [`tier1_cover`], [`agb_map`]) says what a parcel holds,
//! [`monte_carlo`] with what uncertainty; [`stock`] and [`delta`] make tonnes and changes of it, [`deduction`] says what of a
//! change may be credited.
//!
//! What it does not do: judge which set is right for a jurisdiction, or approve one.

pub mod agb_map;
pub mod biomass;
pub mod chain;
pub mod deduction;
pub mod delta;
pub mod draw;
pub mod index_model;
pub mod invariants;
pub mod inventory;
pub mod layer;
pub mod monte_carlo;
mod names;
mod parameters;
pub mod path;
pub mod stock;
pub mod tier1_cover;
pub mod totals;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use parameters::{
    Class, Climate, Confidence, Distribution, ForestType, Leaf, Origin, Parameter, ParameterError, ParameterSet,
    VolumeGroup, VolumeModel,
};

/// A carbon pool of IPCC 2006 Vol 4, or their sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// Living biomass above the soil.
    Aboveground,
    /// Living roots.
    Belowground,
    /// Dead wood.
    DeadWood,
    /// Litter.
    Litter,
    /// Soil organic carbon.
    Soil,
    /// The sum of the pools that were asked for.
    Total,
}

impl Pool {
    /// The name used in configuration and tables.
    pub fn name(self) -> &'static str {
        match self {
            Pool::Aboveground => "aboveground",
            Pool::Belowground => "belowground",
            Pool::DeadWood => "dead_wood",
            Pool::Litter => "litter",
            Pool::Soil => "soil",
            Pool::Total => "total",
        }
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a number may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Good enough to be issued, if a rule and a person say so.
    Issuable,
    /// To rank and detect only; nothing may be credited from it.
    ScreeningOnly,
}

impl Status {
    /// The name used in tables.
    pub fn name(self) -> &'static str {
        match self {
            Status::Issuable => "issuable",
            Status::ScreeningOnly => "screening_only",
        }
    }
}

/// A remark on a stock or delta that its reader must see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// Made with default densities.
    Tier1,
    /// Fewer dates than asked for.
    FewObservations,
    /// No one has approved the parameter set.
    UnapprovedParameters,
    /// The index lies above its full-cover value: cover was cut at 1 and growth beyond it is invisible.
    Saturated,
    /// The index lies below its bare-ground value: cover was cut at 0.
    Extrapolated,
    /// The uncertainty is beyond what the deduction scheme accepts: nothing is credited until there are more plots.
    MorePlotsNeeded,
    /// Two halves of the draws disagree: the interval needs more draws.
    NotConverged,
    /// No boundary error was stated: the area counts as exact.
    AreaErrorNotStated,
    /// Shares ground with another parcel; totals count it once.
    Overlapping,
    /// A biomass map that nobody has validated in the region.
    NotValidatedLocally,
    /// No change method could say what was lost since the survey or the map: everything counts as standing.
    RetentionNotObserved,
    /// No growth was stated since the survey or the map: what stood then counts as grown no further.
    GrowthNotStated,
    /// The date of the inventory is not stated: its volume was taken as that of the first epoch.
    SurveyDateNotStated,
    /// The error of the increment is not stated, so the interval does not hold it.
    GrowthErrorNotStated,
    /// The error of the volume is not stated, so the interval does not hold it.
    VolumeErrorNotStated,
    /// At this epoch alone another row of a factor table would hold; the row of all epochs was kept.
    ClassHeld,
    /// The volume does not fit the age of the stand.
    VolumeDoubtful,
    /// Another change method saw clearly more loss in the period than the one that counts.
    MethodsDisagree,
    /// A loss lies somewhere between a date within the period and one beyond it, and was not counted.
    LossDateUncertain,
    /// More biomass than forests hold, or an error of nothing: the unit may be wrong.
    BiomassDoubtful,
    /// No one has approved the biomass model.
    UnapprovedModel,
    /// The biomass model was fitted to too few plots for numbers that are issued.
    FewPlots,
    /// The parcel lies outside the area of the plots that the biomass model was fitted to.
    OutsideCalibrationArea,
    /// On plots that it was not fitted to the biomass model does no better than their mean, or worse than was asked for.
    WeakModel,
}

impl Flag {
    /// Every flag.
    pub const ALL: [Flag; 24] = [
        Flag::Tier1,
        Flag::FewObservations,
        Flag::UnapprovedParameters,
        Flag::Saturated,
        Flag::Extrapolated,
        Flag::MorePlotsNeeded,
        Flag::NotConverged,
        Flag::AreaErrorNotStated,
        Flag::Overlapping,
        Flag::NotValidatedLocally,
        Flag::RetentionNotObserved,
        Flag::GrowthNotStated,
        Flag::SurveyDateNotStated,
        Flag::GrowthErrorNotStated,
        Flag::VolumeErrorNotStated,
        Flag::ClassHeld,
        Flag::VolumeDoubtful,
        Flag::MethodsDisagree,
        Flag::LossDateUncertain,
        Flag::BiomassDoubtful,
        Flag::UnapprovedModel,
        Flag::FewPlots,
        Flag::OutsideCalibrationArea,
        Flag::WeakModel,
    ];

    /// The name used in tables.
    pub fn name(self) -> &'static str {
        match self {
            Flag::Tier1 => "tier1",
            Flag::FewObservations => "few_observations",
            Flag::UnapprovedParameters => "unapproved_parameters",
            Flag::Saturated => "saturated",
            Flag::Extrapolated => "extrapolated",
            Flag::MorePlotsNeeded => "more_plots_needed",
            Flag::NotConverged => "not_converged",
            Flag::AreaErrorNotStated => "area_error_not_stated",
            Flag::Overlapping => "overlapping",
            Flag::NotValidatedLocally => "not_validated_locally",
            Flag::RetentionNotObserved => "retention_not_observed",
            Flag::GrowthNotStated => "growth_not_stated",
            Flag::SurveyDateNotStated => "survey_date_not_stated",
            Flag::GrowthErrorNotStated => "growth_error_not_stated",
            Flag::VolumeErrorNotStated => "volume_error_not_stated",
            Flag::ClassHeld => "class_held",
            Flag::VolumeDoubtful => "volume_doubtful",
            Flag::MethodsDisagree => "methods_disagree",
            Flag::LossDateUncertain => "loss_date_uncertain",
            Flag::BiomassDoubtful => "biomass_doubtful",
            Flag::UnapprovedModel => "unapproved_model",
            Flag::FewPlots => "few_plots",
            Flag::OutsideCalibrationArea => "outside_calibration_area",
            Flag::WeakModel => "weak_model",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_files_and_messages_are_the_same() {
        for pool in [Pool::Aboveground, Pool::Belowground, Pool::DeadWood, Pool::Litter, Pool::Soil, Pool::Total] {
            assert_eq!(serde_json::to_string(&pool).unwrap(), format!("\"{pool}\""));
        }
        for flag in Flag::ALL {
            assert_eq!(serde_json::to_string(&flag).unwrap(), format!("\"{}\"", flag.name()));
        }
        for status in [Status::Issuable, Status::ScreeningOnly] {
            assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{}\"", status.name()));
        }
    }
}
