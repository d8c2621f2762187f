//! Default density of the forest type times vegetation cover: the stock of a parcel nobody has measured. Screening only.
//!
//! IPCC 2006 Vol 4 Ch 2, Eq 2.8 with the biomass density in place of the volume, times the vegetation cover:
//! ```text
//! aboveground = D c CF          D  biomass of full cover, t d.m./ha      c   cover fraction ([`super::biomass`])
//! belowground = D c CF R        CF carbon fraction                       R   root-to-shoot ratio
//! ```
//! D, CF and R are parameters of the set: one draw for all dates, and for all parcels of a forest type. The cover is the
//! parcel's own, with an error of its own at each epoch (other dates, other acquisitions).
//!
//! What it does not do: dead wood, litter and soil have no default here and are refused; endmembers (`index_bare`,
//! `index_full`) that are wrong scale all covers alike and are not in the error.

use super::ParameterSet;
use super::biomass::{self, CoverError, Tier1Cover, cover_at, method_flags};
use super::chain::{Assessed, Chain, Epoch, Evidence, Factor, Part, Refusal, Term};
use crate::error::Reason;
use crate::units::{AgbDensity, Estimate, Fraction};

/// Name of the method in tables.
pub const METHOD: &str = "tier1_cover";

/// The parameters of one forest type, each with its standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factors {
    /// Biomass of full cover, t d.m./ha.
    pub aboveground: Estimate<AgbDensity>,
    /// Carbon per dry matter.
    pub carbon_fraction: Estimate<Fraction>,
    /// Root biomass per aboveground biomass, where a value exists.
    pub root_to_shoot: Option<Estimate<f64>>,
}

/// What the method says of a parcel.
///
/// # Errors
/// A forest type that the set does not know, or a pool it has no value for.
pub fn chain(evidence: &Evidence, params: &Tier1Cover) -> Assessed {
    let refuse = |epoch, reason, message: String| Refusal { epoch, reason, message };
    let set: &ParameterSet = evidence.parameters;
    let (stated, zone) = (params.forest_type.as_deref(), params.ecological_zone.as_deref());
    let (type_id, forest_type) = evidence.forest_type(METHOD, stated, zone)?;
    let unknown =
        |e: super::ParameterError| refuse(None, Reason::OutOfModelDomain, format!("attribute forest_type: {e}"));
    let factors = set.factors(forest_type).map_err(unknown)?;

    let mut chain = Chain::new(format!("{METHOD}/{}/{type_id}", set.name()), biomass::STATUS);
    chain.flags = method_flags(set);
    let lognormal = |part, id: &str, value: f64, se: f64| {
        Factor::lognormal(part, format!("parameter/{}/{id}", set.name()), value, se / value)
    };
    let (agb, cf) = (factors.aboveground, factors.carbon_fraction);
    let full = chain.factor(lognormal(Part::Model, &forest_type.aboveground, agb.value.get(), agb.se.get()));
    let carbon = chain.factor(lognormal(Part::Allometry, &forest_type.carbon_fraction, cf.value.get(), cf.se.get()));
    let pools = evidence.living_pools(METHOD, type_id, &[full, carbon], || {
        let (ratio, id) = factors.root_to_shoot.zip(forest_type.root_to_shoot.as_ref())?;
        Some(chain.factor(lognormal(Part::Allometry, id, ratio.value, ratio.se)))
    })?;

    let none = Vec::new();
    let observations = evidence.observations.iter().find(|(i, _)| ***i == *params.index).map_or(&none, |(_, o)| o);
    let mut refused = Vec::new();
    for epoch in evidence.epochs {
        match cover_at(*epoch, observations, params) {
            Ok(found) => {
                let (value, se) = (found.cover.value.get(), found.cover.se.get());
                let cover =
                    chain.factor(Factor::normal(Part::Residual, evidence.own(&format!("cover/{epoch}")), value, se));
                let terms = |of_pool: &Vec<usize>| {
                    vec![Term { coefficient: 1.0, factors: [of_pool.as_slice(), &[cover]].concat() }]
                };
                let densities = pools.iter().map(|(pool, of_pool)| (*pool, terms(of_pool))).collect();
                let saturated = found.flags.contains(&super::Flag::Saturated);
                chain.epochs.insert(*epoch, Epoch { flags: found.flags, densities, saturated });
            }
            Err(e) => {
                let reason = match e {
                    CoverError::NoClearObservation { .. } | CoverError::SingleDate { .. } => Reason::NoClearObservation,
                    CoverError::Endmembers { .. } | CoverError::OutOfRange(_) => Reason::OutOfModelDomain,
                };
                refused.push(refuse(Some(*epoch), reason, e.to_string()));
            }
        }
    }
    Ok((chain, refused))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use super::super::draw::Draws;
    use super::super::monte_carlo::MonteCarlo;
    use super::super::{Flag, Status};
    use super::*;
    use crate::carbon::Pool;
    use crate::series::Observation;
    use crate::units::Hectares;
    use jiff::civil::{Date, date};

    const EPOCH: Date = date(2020, 7, 15);

    fn params() -> Tier1Cover {
        toml::from_str("index_bare = 0.1\nindex_full = 0.9\necological_zone = \"temperate_continental\"").unwrap()
    }

    fn assessed(forest_type: Option<&str>, pools: &[Pool], params: &Tier1Cover, index: f64) -> Assessed {
        let set = ParameterSet::builtin("ipcc-2006").unwrap();
        let attributes: BTreeMap<String, String> =
            forest_type.map(|t| ("forest_type".to_owned(), t.to_owned())).into_iter().collect();
        let rows: Vec<Observation> = (1..=5)
            .map(|d| Observation {
                date: date(2020, 7, d),
                mean: index + 0.002 * f64::from(d - 3),
                clear_fraction: 1.0,
            })
            .collect();
        let observations = BTreeMap::from([(Arc::from("ndvi"), rows)]);
        let epochs = BTreeSet::from([EPOCH, date(2022, 7, 15)]);
        chain(
            &Evidence {
                parcel_id: "p",
                area: Hectares::new(10.0).unwrap(),
                attributes: &attributes,
                epochs: &epochs,
                observations: &observations,
                lost: None,
                lost_area: None,
                seen: None,
                pools,
                parameters: &set,
            },
            params,
        )
    }

    // Continental conifers at half cover, 10 ha. D 120 (cv 300/470.4), CF 0.51, R 0.29: above 120 x 0.5 x 0.51 x 10 =
    // 306 t C, below 88.74, total 394.74. Errors by the closed form for independent factors.
    #[test]
    fn the_shipped_set_gives_stocks() {
        let both = [Pool::Aboveground, Pool::Belowground];
        let (chain, refused) = assessed(Some("针叶林"), &both, &params(), 0.5).unwrap();
        let tonnes = MonteCarlo::new(Draws::new(1, 40_000)).tonnes(&chain, &Factor::exact(10.0), &[]);
        let stock = |pool| &tonnes.stocks[&(EPOCH, pool)].spread;
        for (pool, expected) in [(Pool::Aboveground, 306.0), (Pool::Belowground, 88.74), (Pool::Total, 394.74)] {
            assert!((stock(pool).estimate - expected).abs() < 1e-9);
        }
        let cover = chain.factors.last().unwrap();
        let cvs = [300.0 / 470.4, 0.08 / (3.92 * 0.51), cover.sources[0].1 / 0.5, 0.26 / 3.92 / 1.29];
        let cv = (cvs.iter().map(|c: &f64| 1.0 + c * c).product::<f64>() - 1.0).sqrt();
        assert!((stock(Pool::Total).se / 394.74 / cv - 1.0).abs() < 0.01);
        assert_eq!(
            (chain.status, &chain.flags[..]),
            (Status::ScreeningOnly, &[Flag::Tier1, Flag::UnapprovedParameters][..])
        );
        assert_eq!(chain.model_id, "tier1_cover/ipcc-2006/temperate_continental_conifer");
        // The other epoch has no scene near it.
        assert_eq!(refused.len(), 1);
        assert_eq!((refused[0].epoch, refused[0].reason), (Some(date(2022, 7, 15)), Reason::NoClearObservation));
    }

    #[test]
    fn what_cannot_be_given_is_named() {
        let message = |forest_type, pools: &[Pool], params: &Tier1Cover| {
            let refusal = assessed(forest_type, pools, params, 0.5).unwrap_err();
            assert_eq!(refusal.epoch, None);
            refusal.message
        };
        let above = [Pool::Aboveground];
        assert!(message(None, &above, &params()).starts_with("attribute forest_type: found nothing"));
        assert!(message(Some("moss"), &above, &params()).contains("\"moss\""));
        assert!(
            message(Some("针叶林"), &[Pool::Soil], &params()).starts_with("pool soil: tier1_cover says nothing of it")
        );
        let typed = Tier1Cover { forest_type: Some("temperate_mountain_oak".into()), ..params() };
        assert!(assessed(None, &above, &typed, 0.5).is_ok());
    }

    #[test]
    fn beyond_full_cover_growth_cannot_be_seen() {
        let (chain, _) = assessed(Some("针叶林"), &[Pool::Aboveground], &params(), 0.95).unwrap();
        assert!(chain.epochs[&EPOCH].saturated && chain.epochs[&EPOCH].flags.contains(&Flag::Saturated));
        let (chain, _) = assessed(Some("针叶林"), &[Pool::Aboveground], &params(), 0.5).unwrap();
        assert!(!chain.epochs[&EPOCH].saturated);
    }
}
