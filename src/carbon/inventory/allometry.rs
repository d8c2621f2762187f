//! From growing stock to carbon of living biomass by the factors of a group, through one row of each table.

use crate::carbon::chain::{Chain, Factor, Part, Shape, Term};
use crate::carbon::{ParameterError, ParameterSet, Pool, VolumeGroup, VolumeModel};

/// A volume as aboveground biomass, through one row of a factor table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expanded<'a> {
    /// Aboveground biomass, t d.m./ha.
    pub agb_t_per_ha: f64,
    /// Id of the factor; of a model without classes, of its only one.
    pub row: &'a str,
    /// Whether it is the lowest class of its table.
    pub lowest: bool,
}

/// Two biomasses that no difference may be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "one date was expanded by {start:?} and the other by {end:?}: their difference is that of the factors, not of the forest"
)]
pub struct ClassJump {
    /// Factor of the first date.
    pub start: String,
    /// Factor of the second date.
    pub end: String,
}

impl<'a> Expanded<'a> {
    /// Biomass of a volume through the row that it falls into.
    ///
    /// # Units
    /// Volume m3/ha, result t d.m./ha aboveground.
    ///
    /// # Errors
    /// [`ParameterError`] where a table has no such row, or the root-to-shoot ratio that splits biomass with roots has none.
    pub fn of(set: &'a ParameterSet, group: &'a VolumeGroup, volume_m3_per_ha: f64) -> Result<Self, ParameterError> {
        let v = volume_m3_per_ha;
        let value = |id| set.factor(id, Part::Allometry).map(|f| f.value);
        Ok(match &group.model {
            VolumeModel::Expansion { stock, .. } => {
                let (row, lowest) = set.volume_class(stock, v)?;
                Expanded { agb_t_per_ha: v * value(row)?, row, lowest }
            }
            VolumeModel::Density { density, expansion } => {
                Expanded { agb_t_per_ha: v * value(density)? * value(expansion)?, row: density, lowest: false }
            }
            VolumeModel::Linear { slope, intercept } => {
                // Where R is a table, the row of the biomass with roots: a little high, and it only splits the total.
                let with_roots = value(slope)? * v + value(intercept)?;
                let ratio = value(set.root_to_shoot(&group.root_to_shoot, with_roots)?)?;
                Expanded { agb_t_per_ha: with_roots / (1.0 + ratio), row: slope, lowest: false }
            }
        })
    }

    /// Change of aboveground biomass to a later date, t d.m./ha.
    ///
    /// # Errors
    /// [`ClassJump`] where the two come from different rows.
    pub fn change(&self, later: &Expanded) -> Result<f64, ClassJump> {
        if self.row == later.row {
            Ok(later.agb_t_per_ha - self.agb_t_per_ha)
        } else {
            Err(ClassJump { start: self.row.to_owned(), end: later.row.to_owned() })
        }
    }
}

/// Sum of products of two sums.
pub(super) fn times(a: &[Term], b: &[Term]) -> Vec<Term> {
    let product = |x: &Term, y: &Term| Term {
        coefficient: x.coefficient * y.coefficient,
        factors: x.factors.iter().chain(&y.factors).copied().collect(),
    };
    a.iter().flat_map(|x| b.iter().map(move |y| product(x, y))).collect()
}

pub(super) fn one(factor: usize) -> Vec<Term> {
    vec![Term { coefficient: 1.0, factors: vec![factor] }]
}

/// The factors of a group, from volume to carbon of a pool.
pub(super) struct Allometry {
    /// t C/ha of biomass for 1 m3/ha: aboveground, but of [`VolumeModel::Linear`] with roots.
    per_volume: Vec<Term>,
    /// The same for any volume.
    constant: Vec<Term>,
    /// The same of the increment, where the set has factors of its own.
    pub per_increment: Vec<Term>,
    /// What of that biomass is aboveground.
    aboveground: Vec<Term>,
    /// And belowground, for 1 of that biomass.
    belowground: Vec<Term>,
}

impl Allometry {
    /// Through the rows that hold at this volume and its aboveground biomass.
    pub fn new(
        chain: &mut Chain,
        set: &ParameterSet,
        id: &str,
        group: &VolumeGroup,
        mean: f64,
    ) -> Result<Self, ParameterError> {
        let part = Part::Allometry;
        let held = Expanded::of(set, group, mean)?;
        let mut common = vec![chain.factor(set.factor(&group.carbon_fraction, part)?)];
        if let Some(transfer) = &group.transfer_error {
            // Shared by the parcels of a group; another group is off by another amount.
            let mut factor = set.factor(transfer, part)?;
            for (source, _) in &mut factor.sources {
                *source = format!("{source}/{id}").into();
            }
            common.push(chain.factor(factor));
        }
        let common = vec![Term { coefficient: 1.0, factors: common }];
        let ratio = set.factor(set.root_to_shoot(&group.root_to_shoot, held.agb_t_per_ha)?, part)?;
        let unit = vec![Term { coefficient: 1.0, factors: Vec::new() }];
        Ok(match &group.model {
            VolumeModel::Expansion { increment, .. } => {
                let stock = chain.factor(set.factor(held.row, part)?);
                let per_increment = match increment {
                    None => stock,
                    Some(classes) => chain.factor(set.factor(set.volume_class(classes, mean)?.0, part)?),
                };
                let roots = chain.factor(ratio);
                Allometry {
                    per_volume: times(&common, &one(stock)),
                    constant: Vec::new(),
                    per_increment: times(&common, &one(per_increment)),
                    aboveground: unit,
                    belowground: one(roots),
                }
            }
            VolumeModel::Density { density, expansion } => {
                let density = chain.factor(set.factor(density, part)?);
                let expansion = chain.factor(set.factor(expansion, part)?);
                let roots = chain.factor(ratio);
                let per_volume = times(&times(&common, &one(density)), &one(expansion));
                Allometry {
                    per_increment: per_volume.clone(),
                    per_volume,
                    constant: Vec::new(),
                    aboveground: unit,
                    belowground: one(roots),
                }
            }
            VolumeModel::Linear { slope, intercept } => {
                let slope = chain.factor(set.factor(slope, part)?);
                let intercept = chain.factor(set.factor(intercept, part)?);
                let shoot = chain.factor(shoot_share(&ratio, set.value(&group.root_to_shoot).and_then(|p| p.cv())));
                let per_volume = times(&common, &one(slope));
                Allometry {
                    per_increment: per_volume.clone(),
                    per_volume,
                    constant: times(&common, &one(intercept)),
                    aboveground: one(shoot),
                    // The rest of the total, so that no error of the split enters it.
                    belowground: vec![unit[0].clone(), Term { coefficient: -1.0, factors: vec![shoot] }],
                }
            }
        })
    }

    pub fn share(&self, pool: Pool) -> &[Term] {
        match pool {
            Pool::Aboveground => &self.aboveground,
            Pool::Belowground => &self.belowground,
            _ => &[],
        }
    }

    /// t C/ha of a pool at a volume, on land that is fully stocked.
    pub fn density(&self, pool: Pool, volume: &[Term]) -> Vec<Term> {
        let mut biomass = times(&self.per_volume, volume);
        biomass.extend(self.constant.iter().cloned());
        times(&biomass, self.share(pool))
    }
}

/// 1 / (1 + R): the share of biomass that stands above the ground, with the error of R to first order.
pub(super) fn shoot_share(ratio: &Factor, cv: Option<f64>) -> Factor {
    let share = 1.0 / (1.0 + ratio.value);
    let se = ratio.value * cv.unwrap_or(0.0) * share * share;
    let sources = ratio.sources.iter().take(1).filter(|_| se > 0.0).map(|(source, _)| (source.clone(), -se)).collect();
    Factor { value: share, part: ratio.part, shape: Shape::Normal, sources }
}
