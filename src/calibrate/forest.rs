//! Random forests (Breiman 2001, Machine Learning 45:5), grown by the crate smartcore and kept as plain trees, so that a model
//! file says all there is to say and predictions do not depend on the crate.
//!
//! A model is an ensemble of members: each is a small forest that is grown on blocks of plots drawn with replacement, so that
//! their spread tells how much the model depends on which land happened to be measured.

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use rayon::prelude::*;
use sha2::Digest;
use smartcore::ensemble::random_forest_regressor::{RandomForestRegressor, RandomForestRegressorParameters};
use smartcore::linalg::basic::matrix::DenseMatrix;

use super::fit::Sample;
use crate::carbon::index_model::{Forest, Tree};

/// Members of a model.
pub const MEMBERS: usize = 40;
/// Trees of each.
const TREES_OF_A_MEMBER: usize = 20;
/// Trees of one fit of a cross-validation.
pub const TREES_OF_A_FIT: usize = 100;
/// Fewest plots in a leaf.
const LEAF: usize = 3;
/// Branches from root to leaf, at most.
const DEPTH: u16 = 8;

/// Trees grown on these plots.
///
/// # Errors
/// Too few plots.
pub fn grow(samples: &[&Sample], trees: usize, seed: u64) -> Result<Vec<Tree>, String> {
    let texts = grow_texts(samples, trees, seed)?;
    texts.iter().map(|t| Tree::parse(t, samples[0].x.len())).collect()
}

fn grow_texts(samples: &[&Sample], trees: usize, seed: u64) -> Result<Vec<String>, String> {
    if samples.len() < 2 * LEAF {
        return Err(format!("{} plots for a forest, expected {} or more", samples.len(), 2 * LEAF));
    }
    let rows: Vec<Vec<f64>> = samples.iter().map(|s| s.x.clone()).collect();
    let y: Vec<f64> = samples.iter().map(|s| s.y).collect();
    let x = DenseMatrix::from_2d_vec(&rows).map_err(|e| e.to_string())?;
    let parameters = RandomForestRegressorParameters {
        max_depth: Some(DEPTH),
        min_samples_leaf: LEAF,
        min_samples_split: 2 * LEAF,
        n_trees: trees,
        m: Some(rows[0].len().div_ceil(3)),
        keep_samples: false,
        seed,
    };
    let forest: RandomForestRegressor<f64, f64, DenseMatrix<f64>, Vec<f64>> =
        RandomForestRegressor::fit(&x, &y, parameters).map_err(|e| e.to_string())?;
    // The crate shows its trees only by what it would write.
    let value = serde_json::to_value(&forest).map_err(|e| e.to_string())?;
    let trees = value["forest_regressor"]["trees"].as_array().ok_or("a forest without trees")?;
    trees.iter().map(|t| text_of(t).ok_or_else(|| "a tree in a form that is not known".to_owned())).collect()
}

/// A tree as [`Forest`] writes it, children behind their parents.
fn text_of(tree: &serde_json::Value) -> Option<String> {
    let nodes = tree["nodes"].as_array()?;
    let children = |i: usize| -> Option<(usize, usize)> {
        let child = |key: &str| usize::try_from(nodes.get(i)?[key].as_u64()?).ok();
        Some((child("true_child")?, child("false_child")?))
    };
    let mut order = vec![0];
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(i) = order.get(at).copied() {
        let node = nodes.get(i)?;
        words.push(match children(i) {
            None => format!("={}", short(node["output"].as_f64()?)),
            Some((then, otherwise)) => {
                let next = order.len();
                order.extend([then, otherwise]);
                let (feature, value) = (node["split_feature"].as_u64()?, node["split_value"].as_f64()?);
                format!("{feature}<{value}:{next}:{}", next + 1)
            }
        });
        at += 1;
    }
    Some(words.join(" "))
}

/// Biomass to a millionth of itself: enough, and shorter to write.
fn short(value: f64) -> f64 {
    format!("{value:.6e}").parse().unwrap_or(value)
}

/// The ensemble: each member on blocks (`groups`, numbers from 0) drawn with replacement.
///
/// # Errors
/// As [`grow`].
pub fn ensemble(samples: &[&Sample], groups: &[usize], seed: u64) -> Result<Forest, String> {
    let blocks = groups.iter().max().map_or(0, |m| m + 1);
    let members = (0..MEMBERS)
        .into_par_iter()
        .map(|member| {
            let mut random = stream(seed, "member", member);
            let mut drawn = vec![0usize; blocks];
            // Blocks differ in size; a draw that holds too little is drawn again.
            let mut taken: Vec<&Sample> = Vec::new();
            while taken.len() < 2 * LEAF || taken.len() * 2 < samples.len() {
                drawn.iter_mut().for_each(|d| *d = 0);
                (0..blocks).for_each(|_| drawn[below(&mut random, blocks)] += 1);
                taken.clear();
                for (sample, group) in samples.iter().zip(groups) {
                    taken.extend(std::iter::repeat_n(*sample, drawn[*group]));
                }
            }
            grow_texts(&taken, TREES_OF_A_MEMBER, random.next_u64())
        })
        .collect::<Result<_, _>>()?;
    Ok(Forest { members })
}

/// Group of each of `n` plots, in `folds` groups of equal size.
pub fn random_groups(n: usize, folds: usize, seed: u64) -> Vec<usize> {
    let mut groups: Vec<usize> = (0..n).map(|i| i % folds).collect();
    let mut random = stream(seed, "folds", 0);
    for i in (1..n).rev() {
        groups.swap(i, below(&mut random, i + 1));
    }
    groups
}

fn stream(seed: u64, what: &str, number: usize) -> Pcg64 {
    let key = sha2::Sha256::digest(format!("lintan calibrate/{seed}/{what}/{number}").as_bytes());
    Pcg64::from_seed(key.into())
}

/// A number below `n`.
fn below(random: &mut Pcg64, n: usize) -> usize {
    (((random.next_u64() >> 32) * n as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carbon::index_model::mean_of;

    fn plots(n: usize) -> Vec<Sample> {
        let mut random = stream(3, "plots", 0);
        let mut unit = || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        (0..n)
            .map(|_| {
                let x = vec![unit(), unit()];
                let y = 200.0 * x[0] * x[0] * (0.5 + x[1]) + 10.0 * (unit() - 0.5);
                Sample { x, y, at_m: [10_000.0 * unit(), 10_000.0 * unit()] }
            })
            .collect()
    }

    // A known function with noise: what a forest says elsewhere explains most of it.
    #[test]
    fn a_known_function_is_found_again() {
        let all = plots(400);
        let train: Vec<&Sample> = all[..300].iter().collect();
        let trees = grow(&train, 100, 7).unwrap();
        let truth = |x: &[f64]| 200.0 * x[0] * x[0] * (0.5 + x[1]);
        let test = || all[300..].iter().map(|s| (truth(&s.x), mean_of(&trees, &s.x)));
        let mean = test().map(|t| t.0).sum::<f64>() / 100.0;
        let (errors, spread) = test().fold((0.0, 0.0), |(e, s), (t, f)| (e + (t - f).powi(2), s + (t - mean).powi(2)));
        assert!(1.0 - errors / spread > 0.95, "{}", 1.0 - errors / spread);
    }

    // Trees as they are written say what the crate's own forest says.
    #[test]
    fn written_trees_are_those_of_the_crate() {
        let all = plots(60);
        let samples: Vec<&Sample> = all.iter().collect();
        let rows: Vec<Vec<f64>> = samples.iter().map(|s| s.x.clone()).collect();
        let y: Vec<f64> = samples.iter().map(|s| s.y).collect();
        let x = DenseMatrix::from_2d_vec(&rows).unwrap();
        let parameters = RandomForestRegressorParameters {
            max_depth: Some(DEPTH),
            min_samples_leaf: LEAF,
            min_samples_split: 2 * LEAF,
            n_trees: 30,
            m: Some(1),
            keep_samples: false,
            seed: 11,
        };
        let theirs: RandomForestRegressor<f64, f64, DenseMatrix<f64>, Vec<f64>> =
            RandomForestRegressor::fit(&x, &y, parameters).unwrap();
        let theirs = theirs.predict(&x).unwrap();
        let ours = grow(&samples, 30, 11).unwrap();
        for (s, t) in samples.iter().zip(theirs) {
            assert!((mean_of(&ours, &s.x) / t - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_forest() {
        let all = plots(50);
        let samples: Vec<&Sample> = all.iter().collect();
        let groups: Vec<usize> = (0..50).map(|i| i / 5).collect();
        let of = |seed| ensemble(&samples, &groups, seed).unwrap();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert_eq!(of(1).members.len(), MEMBERS);
    }

    #[test]
    fn groups_are_of_equal_size() {
        let groups = random_groups(23, 5, 1);
        let sizes: Vec<usize> = (0..5).map(|g| groups.iter().filter(|x| **x == g).count()).collect();
        assert_eq!(sizes, [5, 5, 5, 4, 4]);
        assert_ne!(groups, random_groups(23, 5, 2));
    }
}
