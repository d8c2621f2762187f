//! From predictors and biomass of plots to a fitted model, its errors, and how well it does where it has seen no plot.
//!
//! Forms in logarithms are ordinary least squares on ln AGB, by an orthogonal decomposition. Metrics are on the scale of the
//! biomass. Predictions are compared as the model makes them, without the cut at the 95th percentile that a run makes.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::forest;
use crate::carbon::index_model::{Correction, Form, Linear, Metrics, Range, Tree, Variogram, mean_of};

/// Nearest pairs of plots whose mean distance is the shortest that a calibration has seen anything of.
const NEAREST_PAIRS: usize = 10;
/// Fewest plots that a variogram is fitted to.
const VARIOGRAM_PLOTS: usize = 20;
/// Ranges, evenly in the logarithm, and shares of the nugget that are tried before the best of them is refined.
const TRIED: (usize, usize) = (10, 6);
/// Steps of the refinement, each half of the one before; the first is half of the distance of those that are tried.
const HALVINGS: usize = 5;
/// Most plots whose residuals are looked at together.
const TOGETHER: usize = 200;
/// Share of the sill below which residuals count as independent of distance.
const STRUCTURED: f64 = 0.05;
/// Distance in ranges at which the correlation has fallen to 5 %.
const EFFECTIVE: f64 = 3.0;
/// Folds of plots at random.
const RANDOM_FOLDS: usize = 10;
/// Blocks below which a model is not said to have been tried where it has seen no plot.
const LEAST_BLOCKS: usize = 3;
/// Blocks along the longer side of the plots' extent where no variogram tells their size, and at most where one does.
const BLOCKS_ACROSS: (f64, f64) = (5.0, 10.0);

/// A plot that can be fitted to.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Predictors.
    pub x: Vec<f64>,
    /// Biomass, t d.m./ha; above 0 for the forms in logarithms.
    pub y: f64,
    /// Place in a plane, metres.
    pub at_m: [f64; 2],
}

/// A fit that predicts.
#[derive(Debug, Clone, PartialEq)]
pub enum Fitted {
    /// In logarithms.
    Linear(LinearFit),
    /// Trees.
    Forest(Vec<Tree>),
}

/// A fit in logarithms.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearFit {
    form: Form,
    /// Of the regressors, the intercept first.
    pub coefficients: Vec<f64>,
    /// Inverse of the normal matrix: times s2 it is the covariance for independent residuals.
    pub inverse: Vec<Vec<f64>>,
    /// Of ln AGB.
    pub residuals: Vec<f64>,
    /// Sum of squared residuals over degrees of freedom.
    pub s2: f64,
    /// Plots minus coefficients.
    pub degrees_of_freedom: usize,
    /// Corrections of the bias of the logarithm, and which one counts.
    pub corrections: Corrections,
}

/// Corrections of the bias of a fit in logarithms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Corrections {
    /// The one that counts.
    pub chosen: Correction,
    /// exp(s2 / 2).
    pub baskerville: f64,
    /// Mean of the exponentials of the residuals.
    pub duan: f64,
    /// Ratio of the means.
    pub snowdon: f64,
    /// Coefficient of variation, from the spread of the residuals' exponentials, without what they share with the residuals:
    /// residuals sum to 0 and that part of their error is the intercept's.
    pub cv: f64,
}

impl Corrections {
    fn factor(&self) -> f64 {
        match self.chosen {
            Correction::Duan => self.duan,
            Correction::Baskerville => self.baskerville,
            Correction::Snowdon => self.snowdon,
        }
    }

    /// Largest difference between two of them, as a share of the smallest.
    pub fn spread(&self) -> f64 {
        let all = [self.baskerville, self.duan, self.snowdon];
        let (least, most) = all.iter().fold((f64::INFINITY, 0.0), |(l, m): (f64, f64), c| (l.min(*c), m.max(*c)));
        most / least - 1.0
    }
}

impl Fitted {
    /// The prediction, t d.m./ha.
    pub fn predict(&self, x: &[f64]) -> f64 {
        match self {
            Fitted::Linear(fit) => {
                let mut regressors = Vec::new();
                fit.form.regressors(x, &mut regressors);
                let eta: f64 = regressors.iter().zip(&fit.coefficients).map(|(x, b)| x * b).sum();
                fit.corrections.factor() * eta.exp()
            }
            Fitted::Forest(trees) => mean_of(trees, x),
        }
    }
}

/// How a model is fitted.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// Shape.
    pub form: Form,
    /// Correction that counts.
    pub correction: Correction,
    /// Of a forest and of random folds.
    pub seed: u64,
}

/// Fits; the error says what is wrong with the plots.
///
/// # Errors
/// Predictors that do not vary or say the same, too few plots.
pub fn fit(method: &Method, samples: &[&Sample]) -> Result<Fitted, String> {
    match method.form {
        Form::RandomForest => forest::grow(samples, forest::TREES_OF_A_FIT, method.seed).map(Fitted::Forest),
        _ => linear(method, samples).map(Fitted::Linear),
    }
}

/// Least squares of ln AGB.
///
/// # Errors
/// As [`fit`].
pub fn linear(method: &Method, samples: &[&Sample]) -> Result<LinearFit, String> {
    let n = samples.len();
    let mut row = Vec::new();
    let mut columns: Vec<Vec<f64>> = Vec::new();
    for s in samples {
        method.form.regressors(&s.x, &mut row);
        columns.resize(row.len(), Vec::new());
        columns.iter_mut().zip(&row).for_each(|(c, v)| c.push(*v));
    }
    let p = columns.len();
    if n <= p {
        return Err(format!("{n} plots for {p} coefficients"));
    }
    let logs: Vec<f64> = samples.iter().map(|s| s.y.ln()).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    // Gram-Schmidt, each column against those before it twice: orthogonal to the last bit.
    let mut q: Vec<Vec<f64>> = Vec::with_capacity(p);
    let mut r = vec![vec![0.0; p]; p];
    for (j, column) in columns.iter().enumerate() {
        let size = dot(column, column).sqrt();
        let mut rest = column.clone();
        for _ in 0..2 {
            for (i, basis) in q.iter().enumerate() {
                let along = dot(basis, &rest);
                r[i][j] += along;
                rest.iter_mut().zip(basis).for_each(|(v, b)| *v -= along * b);
            }
        }
        let left = dot(&rest, &rest).sqrt();
        if left <= 1e-9 * size || !left.is_finite() {
            let which = if j == 1 && p == 2 { "the predictor" } else { "a predictor" };
            return Err(format!(
                "{which} has the same value at every plot, or is a mixture of the others, so nothing can be fitted to it"
            ));
        }
        r[j][j] = left;
        rest.iter_mut().for_each(|v| *v /= left);
        q.push(rest);
    }
    let projected: Vec<f64> = q.iter().map(|basis| dot(basis, &logs)).collect();
    let mut coefficients = vec![0.0; p];
    for i in (0..p).rev() {
        let above: f64 = (i + 1..p).map(|j| r[i][j] * coefficients[j]).sum();
        coefficients[i] = (projected[i] - above) / r[i][i];
    }
    // Columns of the inverse of the triangle; their products are the inverse of the normal matrix.
    let column_of = |j: usize| {
        let mut column = vec![0.0; p];
        for i in (0..=j).rev() {
            let unit = if i == j { 1.0 } else { 0.0 };
            let above: f64 = (i + 1..=j).map(|k| r[i][k] * column[k]).sum();
            column[i] = (unit - above) / r[i][i];
        }
        column
    };
    let triangle: Vec<Vec<f64>> = (0..p).map(column_of).collect();
    let product = |a: usize, b: usize| triangle.iter().map(|c| c[a] * c[b]).sum::<f64>();
    let inverse = (0..p).map(|a| (0..p).map(|b| product(a, b)).collect()).collect();
    let fitted = |i: usize| (0..p).map(|j| columns[j][i] * coefficients[j]).sum::<f64>();
    let residuals: Vec<f64> = logs.iter().enumerate().map(|(i, y)| y - fitted(i)).collect();
    let degrees_of_freedom = n - p;
    let s2 = dot(&residuals, &residuals) / degrees_of_freedom as f64;
    let smears: Vec<f64> = residuals.iter().map(|e| e.exp()).collect();
    let duan = smears.iter().sum::<f64>() / n as f64;
    // A residual moves the coefficients as well, whose covariance has it already; left is what the exponential adds to that.
    let own = |(smear, e): (&f64, &f64)| (smear / duan - 1.0 - e).powi(2);
    let spread = smears.iter().zip(&residuals).map(own).sum::<f64>() / (n - 1) as f64;
    let naive: f64 = (0..n).map(|i| fitted(i).exp()).sum();
    let corrections = Corrections {
        chosen: method.correction,
        baskerville: (s2 / 2.0).exp(),
        duan,
        snowdon: samples.iter().map(|s| s.y).sum::<f64>() / naive,
        cv: (spread / n as f64).sqrt(),
    };
    Ok(LinearFit { form: method.form, coefficients, inverse, residuals, s2, degrees_of_freedom, corrections })
}

/// Variance of the residuals where they are correlated over distance, and its degrees of freedom: their sum of squares over
/// `tr(M R)`, `M` being what least squares leaves of the plots and `R` their correlation by the variogram, and
/// `tr(M R)^2 / tr(M R M R)` (Satterthwaite 1946, Biometrics Bulletin 2:110). Without correlation that is `s2` and plots minus
/// coefficients; with it a fit takes a part of what neighbours share for its own, so that `s2` is too small, and neighbours
/// tell less of the variance than as many plots far apart.
pub fn residual_variance(fit: &LinearFit, samples: &[&Sample], variogram: Option<&Variogram>) -> (f64, usize) {
    let plain = (fit.s2, fit.degrees_of_freedom);
    let Some(v) = variogram.filter(|v| !v.pure_nugget) else { return plain };
    let structured = v.sill / (v.nugget + v.sill);
    let p = fit.coefficients.len();
    let rows: Vec<Vec<f64>> = samples
        .iter()
        .map(|s| {
            let mut row = Vec::with_capacity(p);
            fit.form.regressors(&s.x, &mut row);
            row
        })
        .collect();
    // R X, and the trace of R R.
    let mut correlated = rows.clone();
    let mut squares = samples.len() as f64;
    for (i, one) in samples.iter().enumerate() {
        for (j, other) in samples[..i].iter().enumerate() {
            let alike = structured * (-distance(one, other) / v.range_m).exp();
            squares += 2.0 * alike * alike;
            for k in 0..p {
                correlated[i][k] += alike * rows[j][k];
                correlated[j][k] += alike * rows[i][k];
            }
        }
    }
    // (X'X)^-1 times X' R X, and times X' R R X.
    let times = |left: &[Vec<f64>]| -> Vec<Vec<f64>> {
        let sum = |k: usize, l: usize| left.iter().zip(&correlated).map(|(a, b)| a[k] * b[l]).sum::<f64>();
        let inner: Vec<Vec<f64>> = (0..p).map(|k| (0..p).map(|l| sum(k, l)).collect()).collect();
        let product = |k: usize, l: usize| (0..p).map(|m| fit.inverse[k][m] * inner[m][l]).sum::<f64>();
        (0..p).map(|k| (0..p).map(|l| product(k, l)).collect()).collect()
    };
    let (once, twice) = (times(&rows), times(&correlated));
    let left = samples.len() as f64 - (0..p).map(|k| once[k][k]).sum::<f64>();
    let of_squares = squares - 2.0 * (0..p).map(|k| twice[k][k]).sum::<f64>()
        + (0..p).flat_map(|k| (0..p).map(move |l| (k, l))).map(|(k, l)| once[k][l] * once[l][k]).sum::<f64>();
    let free = fit.degrees_of_freedom as f64;
    if left <= 0.0 || of_squares <= 0.0 {
        return plain;
    }
    (fit.s2 * free / left, ((left * left / of_squares) as usize).clamp(1, fit.degrees_of_freedom))
}

/// Covariance of the coefficients: for independent residuals, or, where they are correlated over distance, with the
/// variogram between plots, `(X'X)^-1 X' V X (X'X)^-1`. What neighbours share is the intercept's for the most part; a slope can
/// be known better than from independent residuals, where neighbours differ in the predictor.
pub fn covariance(
    fit: &LinearFit,
    samples: &[&Sample],
    variogram: Option<&Variogram>,
) -> (Vec<Vec<f64>>, &'static str) {
    let p = fit.coefficients.len();
    let Some(v) = variogram.filter(|v| !v.pure_nugget) else {
        return (fit.inverse.iter().map(|r| r.iter().map(|v| v * fit.s2).collect()).collect(), "ols");
    };
    let (s2, _) = residual_variance(fit, samples, variogram);
    let structured = s2 * v.sill / (v.nugget + v.sill);
    let mut regressors = Vec::new();
    let influence: Vec<Vec<f64>> = samples
        .iter()
        .map(|s| {
            fit.form.regressors(&s.x, &mut regressors);
            (0..p).map(|a| fit.inverse[a].iter().zip(&regressors).map(|(i, x)| i * x).sum()).collect()
        })
        .collect();
    let mut spatial: Vec<Vec<f64>> = fit.inverse.iter().map(|r| r.iter().map(|v| v * s2).collect()).collect();
    for (i, a) in samples.iter().enumerate() {
        for (j, b) in samples[..i].iter().enumerate() {
            let shared = structured * (-distance(a, b) / v.range_m).exp();
            for k in 0..p {
                for l in 0..p {
                    spatial[k][l] += shared * (influence[i][k] * influence[j][l] + influence[j][k] * influence[i][l]);
                }
            }
        }
    }
    (spatial, "spatial")
}

fn distance(a: &Sample, b: &Sample) -> f64 {
    (a.at_m[0] - b.at_m[0]).hypot(a.at_m[1] - b.at_m[1])
}

/// The model file's part of a fit in logarithms.
pub fn as_linear(fit: &LinearFit, covariance: Vec<Vec<f64>>, kind: &str) -> Linear {
    Linear {
        coefficients: fit.coefficients.clone(),
        covariance,
        covariance_kind: kind.to_owned(),
        correction: fit.corrections.chosen,
        baskerville: fit.corrections.baskerville,
        duan: fit.corrections.duan,
        snowdon: fit.corrections.snowdon,
        correction_cv: fit.corrections.cv,
    }
}

/// Quantile of sorted values, linear between them (type 7 of Hyndman and Fan 1996).
fn quantile(sorted: &[f64], p: f64) -> f64 {
    let at = p * (sorted.len() - 1) as f64;
    let (low, part) = (at.floor() as usize, at.fract());
    let next = sorted[(low + 1).min(sorted.len() - 1)];
    sorted[low] + part * (next - sorted[low])
}

/// Ranges of the predictors, and whether biomass rises with them: by the sign of the coefficient, or of the correlation.
pub fn ranges(names: &[String], samples: &[&Sample], fitted: &Fitted) -> Vec<Range> {
    let y_mean = samples.iter().map(|s| s.y).sum::<f64>() / samples.len() as f64;
    let of = |(i, name): (usize, &String)| {
        let mut x: Vec<f64> = samples.iter().map(|s| s.x[i]).collect();
        x.sort_by(f64::total_cmp);
        let rises = match fitted {
            Fitted::Linear(fit) => fit.coefficients[i + 1] >= 0.0,
            Fitted::Forest(_) => samples.iter().map(|s| s.x[i] * (s.y - y_mean)).sum::<f64>() >= 0.0,
        };
        let (min, max) = (x[0], x[x.len() - 1]);
        Range { predictor: name.clone(), min, p5: quantile(&x, 0.05), p95: quantile(&x, 0.95), max, rises }
    };
    names.iter().enumerate().map(of).collect()
}

/// How well predictions meet what was measured; `p` coefficients. Needs values that differ.
pub fn metrics(y: &[f64], predicted: &[f64], p: usize) -> Metrics {
    let n = y.len() as f64;
    let mean = y.iter().sum::<f64>() / n;
    let errors = || y.iter().zip(predicted).map(|(y, f)| f - y);
    let squares: f64 = errors().map(|e| e * e).sum();
    let deviations: f64 = y.iter().map(|y| (y - mean) * (y - mean)).sum();
    let rmse = (squares / n).sqrt();
    let free = (y.len().saturating_sub(p)).max(1) as f64;
    let see = (squares / free).sqrt();
    Metrics {
        plots: y.len(),
        folds: None,
        block_m: None,
        rmse_t_per_ha: rmse,
        rmse_percent: 100.0 * rmse / mean,
        bias_t_per_ha: errors().sum::<f64>() / n,
        mae_t_per_ha: errors().map(f64::abs).sum::<f64>() / n,
        r2: 1.0 - squares / deviations,
        tre_percent: -100.0 * errors().sum::<f64>() / predicted.iter().sum::<f64>(),
        mpe_percent: 100.0 * student_quantile(0.975, free) * (see / mean) / n.sqrt(),
    }
}

/// Predictions for every plot by fits that have not seen its group; `None` where a fit fails.
fn held_out(method: &Method, samples: &[&Sample], groups: &[usize]) -> Option<Vec<f64>> {
    let mut predicted = vec![0.0; samples.len()];
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, group) in groups.iter().enumerate() {
        members.entry(*group).or_default().push(i);
    }
    if members.len() < 2 {
        return None;
    }
    let folds: Vec<(&usize, &Vec<usize>)> = members.iter().collect();
    let without = |(group, of_group): &(&usize, &Vec<usize>)| {
        let rest: Vec<&Sample> = samples.iter().zip(groups).filter(|(_, g)| *g != *group).map(|(s, _)| *s).collect();
        let fitted = fit(method, &rest).ok()?;
        Some(of_group.iter().map(|i| (*i, fitted.predict(&samples[*i].x))).collect::<Vec<_>>())
    };
    for (i, f) in folds.par_iter().map(without).collect::<Option<Vec<_>>>()?.into_iter().flatten() {
        predicted[i] = f;
    }
    predicted.iter().all(|p| p.is_finite()).then_some(predicted)
}

/// Group of each plot by blocks of land with this side.
pub fn blocks(samples: &[&Sample], side_m: f64) -> Vec<usize> {
    let cell = |s: &Sample| ((s.at_m[0] / side_m).floor() as i64, (s.at_m[1] / side_m).floor() as i64);
    let mut numbers: BTreeMap<(i64, i64), usize> = BTreeMap::new();
    for s in samples {
        let next = numbers.len();
        numbers.entry(cell(s)).or_insert(next);
    }
    samples.iter().map(|s| numbers[&cell(s)]).collect()
}

fn count(groups: &[usize]) -> usize {
    groups.iter().max().map_or(0, |m| m + 1)
}

/// What the cross-validations say.
#[derive(Debug, Clone, PartialEq)]
pub struct Crossed {
    /// Leave one block out.
    pub spatial: Option<(Metrics, Vec<f64>)>,
    /// Random folds.
    pub random: Option<(Metrics, Vec<f64>)>,
    /// Correlation of the residuals over distance.
    pub variogram: Option<Variogram>,
    /// Blocks of the spatial one, by plot.
    pub groups: Vec<usize>,
    /// What is to be known about them.
    pub notes: Vec<String>,
}

/// Cross-validates. Blocks are at least as large as the distance over which residuals are alike, and as a tenth of the plots'
/// extent, unless `block_m` is given.
pub fn cross(method: &Method, samples: &[&Sample], fitted: &Fitted, block_m: Option<f64>) -> Crossed {
    let p = samples[0].x.len() + 1;
    let y: Vec<f64> = samples.iter().map(|s| s.y).collect();
    let mut notes = Vec::new();
    let folds = RANDOM_FOLDS.min(samples.len());
    let at_random = held_out(method, samples, &forest::random_groups(samples.len(), folds, method.seed));
    let random = at_random.map(|f| (Metrics { folds: Some(folds), ..metrics(&y, &f, p) }, f));
    let residuals: Option<Vec<f64>> = match (fitted, &random) {
        (Fitted::Linear(fit), _) => Some(fit.residuals.clone()),
        (Fitted::Forest(_), Some((_, f))) => Some(log_errors(&y, f)),
        (Fitted::Forest(_), None) => None,
    };
    // A forest's errors are those of plots that it has not seen; only their mean can be its doing.
    let regressors: Vec<Vec<f64>> = samples
        .iter()
        .map(|s| {
            let mut row = vec![1.0];
            if let Fitted::Linear(fit) = fitted {
                fit.form.regressors(&s.x, &mut row);
            }
            row
        })
        .collect();
    let variogram = residuals.and_then(|r| variogram(samples, &r, &regressors));
    let extent = (0..2)
        .map(|d| {
            let at = || samples.iter().map(|s| s.at_m[d]);
            at().fold(f64::NEG_INFINITY, f64::max) - at().fold(f64::INFINITY, f64::min)
        })
        .fold(1.0, f64::max);
    let mut side = block_m.unwrap_or_else(|| match &variogram {
        Some(v) => (EFFECTIVE * v.range_m).max(extent / BLOCKS_ACROSS.1),
        None => extent / BLOCKS_ACROSS.0,
    });
    let mut groups = blocks(samples, side);
    if block_m.is_none() && count(&groups) < LEAST_BLOCKS {
        let found = side;
        while count(&groups) < LEAST_BLOCKS && side > extent / BLOCKS_ACROSS.0 {
            side /= 2.0;
            groups = blocks(samples, side);
        }
        notes.push(format!(
            "residuals are alike over {found:.0} m, which leaves fewer than {LEAST_BLOCKS} blocks of plots; blocks of \
             {side:.0} m were taken, so the cross-validation is optimistic. Plots farther apart would tell"
        ));
    }
    let spatial = if count(&groups) < LEAST_BLOCKS {
        notes.push(format!(
            "the plots lie in {} blocks of {side:.0} m: no spatial cross-validation; give a smaller block_m, or plots \
             farther apart",
            count(&groups)
        ));
        None
    } else {
        let held = held_out(method, samples, &groups);
        if held.is_none() {
            notes.push("without one of the blocks nothing can be fitted: no spatial cross-validation".to_owned());
        }
        held.map(|f| (Metrics { folds: Some(count(&groups)), block_m: Some(side), ..metrics(&y, &f, p) }, f))
    };
    Crossed { spatial, random, variogram, groups, notes }
}

/// Measured over predicted, in logarithms; 0 where one of them is not above 0.
pub fn log_errors(y: &[f64], predicted: &[f64]) -> Vec<f64> {
    y.iter().zip(predicted).map(|(y, f)| if *y > 0.0 && *f > 0.0 { (y / f).ln() } else { 0.0 }).collect()
}

/// Exponential variogram of residuals by restricted maximum likelihood (Patterson and Thompson 1971, Biometrika 58:545; for
/// variograms Kitanidis 1983, Water Resources Research 19:909): the range and the share of the nugget under which what the
/// regressors cannot explain is likeliest. Means of squared differences of residuals by classes of distance are biased where
/// the fit has taken a part of what neighbours share, and hang on the classes (Lark, Cullis and Welham 2006, European Journal
/// of Soil Science 57:787).
///
/// Ranges are tried from a third of the mean distance of the nearest pairs, as a shorter one would leave no trace in any of
/// them, to half the largest distance. Of many plots those of one part of the land are looked at together, and the parts'
/// likelihoods multiplied (Caragea and Smith 2007, Journal of Multivariate Analysis 98:1417).
///
/// `regressors` are the rows of the fit that left these residuals.
pub fn variogram(samples: &[&Sample], residuals: &[f64], regressors: &[Vec<f64>]) -> Option<Variogram> {
    if samples.len() < VARIOGRAM_PLOTS {
        return None;
    }
    let mut parts = Vec::new();
    split(samples, (0..samples.len()).collect(), &mut parts);
    let single = parts.len() == 1;
    let parts: Vec<Part> = parts
        .iter()
        .map(|members| Part {
            distances: members
                .iter()
                .enumerate()
                .map(|(k, i)| members[..k].iter().map(|j| distance(samples[*i], samples[*j])).collect())
                .collect(),
            // All plots' fit takes next to nothing of what the plots of one part of many share, but their mean.
            rows: members
                .iter()
                .map(|i| {
                    let mut row = if single { regressors[*i].clone() } else { vec![1.0] };
                    row.push(residuals[*i]);
                    row
                })
                .collect(),
        })
        .collect();
    let mut nearest: Vec<f64> =
        parts.iter().flat_map(|p| p.distances.iter().flatten().copied()).filter(|d| *d > 0.0).collect();
    let pairs = nearest.len();
    if pairs < NEAREST_PAIRS {
        return None;
    }
    nearest.sort_by(f64::total_cmp);
    let shortest = nearest[..NEAREST_PAIRS].iter().sum::<f64>() / NEAREST_PAIRS as f64 / EFFECTIVE;
    let longest = (0..samples.len())
        .flat_map(|i| (0..i).map(move |j| (i, j)))
        .map(|(i, j)| distance(samples[i], samples[j]))
        .fold(0.0, f64::max)
        / 2.0;

    // Where a search may be: log of the range, share of the nugget.
    let span = (longest / shortest).ln().max(0.0);
    let likelihood = |at: [f64; 2]| restricted(&parts, shortest * (span * at[0]).exp(), at[1]);
    let grid: Vec<[f64; 2]> = (0..TRIED.0)
        .flat_map(|k| (0..TRIED.1).map(move |l| [k as f64 / (TRIED.0 - 1) as f64, l as f64 / TRIED.1 as f64]))
        .collect();
    let tried: Vec<Option<f64>> = grid.par_iter().map(|at| likelihood(*at).map(|(l, _)| l)).collect();
    let mut best = ([0.0, 1.0], likelihood([0.0, 1.0])?.0);
    for (at, found) in grid.iter().zip(tried) {
        if let Some(found) = found.filter(|f| *f > best.1) {
            best = (*at, found);
        }
    }
    let mut step = [0.5 / (TRIED.0 - 1) as f64, 0.5 / TRIED.1 as f64];
    for _ in 0..HALVINGS {
        for (direction, sign) in [(0, 1.0), (0, -1.0), (1, 1.0), (1, -1.0)] {
            let mut at = best.0;
            at[direction] = (at[direction] + sign * step[direction]).clamp(0.0, 1.0);
            if let Some((found, _)) = likelihood(at).filter(|(found, _)| *found > best.1) {
                best = (at, found);
            }
        }
        step = step.map(|s| s / 2.0);
    }
    let ([along, share], _) = best;
    let (_, variance) = likelihood([along, share])?;
    let (nugget, sill) = (variance * share, variance * (1.0 - share));
    // A range below what the nearest pairs can show is not known to be that short.
    let pure_nugget = 1.0 - share <= STRUCTURED || along <= 0.0;
    let range_m = if pure_nugget { shortest } else { shortest * (span * along).exp() };
    let nugget_range_m = Some(shortest);
    (variance > 0.0).then_some(Variogram { nugget, sill, range_m, nugget_range_m, pairs, pure_nugget })
}

/// Parts of at most [`TOGETHER`] plots, by halving along the longer side.
fn split(samples: &[&Sample], mut members: Vec<usize>, parts: &mut Vec<Vec<usize>>) {
    if members.len() <= TOGETHER {
        parts.push(members);
        return;
    }
    let side = |d: usize| {
        let at = || members.iter().map(|i| samples[*i].at_m[d]);
        at().fold(f64::NEG_INFINITY, f64::max) - at().fold(f64::INFINITY, f64::min)
    };
    let d = usize::from(side(1) > side(0));
    members.sort_by(|i, j| samples[*i].at_m[d].total_cmp(&samples[*j].at_m[d]).then(i.cmp(j)));
    let rest = members.split_off(members.len() / 2);
    split(samples, members, parts);
    split(samples, rest, parts);
}

/// Plots that are looked at together.
struct Part {
    /// To those before it, by plot.
    distances: Vec<Vec<f64>>,
    /// Regressors and the residual, by plot.
    rows: Vec<Vec<f64>>,
}

/// Logarithm of the restricted likelihood at the variance that is best with this range and share of the nugget, but for a
/// constant, and that variance. `None` where the residuals' correlation is singular: two plots at one place without a nugget.
fn restricted(parts: &[Part], range_m: f64, nugget: f64) -> Option<(f64, f64)> {
    let (mut log_determinants, mut squares, mut free) = (0.0, 0.0, 0);
    for part in parts {
        let columns = part.rows.first()?.len();
        let mut triangle: Vec<Vec<f64>> = Vec::with_capacity(part.rows.len());
        let mut white: Vec<Vec<f64>> = vec![Vec::with_capacity(part.rows.len()); columns];
        for (distances, row) in part.distances.iter().zip(&part.rows) {
            let mut line: Vec<f64> = Vec::with_capacity(distances.len() + 1);
            for (d, above) in distances.iter().zip(&triangle) {
                let so_far: f64 = above.iter().zip(&line).map(|(a, b)| a * b).sum();
                line.push(((1.0 - nugget) * (-d / range_m).exp() - so_far) / above[line.len()]);
            }
            let rest = 1.0 - line.iter().map(|v| v * v).sum::<f64>();
            if rest <= 1e-12 {
                return None;
            }
            let pivot = rest.sqrt();
            log_determinants += pivot.ln();
            for (column, value) in white.iter_mut().zip(row) {
                let so_far: f64 = line.iter().zip(column.iter()).map(|(a, b)| a * b).sum();
                column.push((value - so_far) / pivot);
            }
            line.push(pivot);
            triangle.push(line);
        }
        // Each column loses what those before it have; the last, of the residuals, is left with what no regressor explains.
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        for j in 0..columns {
            let (before, rest) = white.split_at_mut(j);
            let column = &mut rest[0];
            for _ in 0..2 {
                for basis in before.iter() {
                    let along = dot(basis, column);
                    column.iter_mut().zip(basis).for_each(|(v, b)| *v -= along * b);
                }
            }
            let size = dot(column, column).sqrt();
            if j + 1 == columns {
                squares += size * size;
                break;
            }
            if size <= 0.0 {
                return None;
            }
            log_determinants += size.ln();
            column.iter_mut().for_each(|v| *v /= size);
        }
        free += part.rows.len() - (columns - 1);
    }
    let variance = squares / free as f64;
    (variance > 0.0).then(|| (-log_determinants - 0.5 * free as f64 * variance.ln(), variance))
}

/// Quantile of Student's distribution, by bisection of its distribution function.
pub fn student_quantile(p: f64, free: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1e6);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        let beyond = 0.5 * incomplete_beta(free / (free + middle * middle), free / 2.0, 0.5);
        if 1.0 - beyond < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// Regularised incomplete beta function, by the continued fraction of Abramowitz and Stegun 1964, 26.5.8.
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let front = (a * x.ln() + b * (-x).ln_1p() + libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b)).exp() / a;
    // Lentz's way of summing it.
    let tiny = 1e-300;
    let away = |v: f64| if v.abs() < tiny { tiny } else { v };
    let (mut c, mut d) = (1.0, 1.0 / away(1.0 - (a + b) * x / (a + 1.0)));
    let mut f = d;
    for m in 1..500 {
        let m = f64::from(m);
        for step in [
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        ] {
            d = 1.0 / away(1.0 + step * d);
            c = away(1.0 + step / c);
            f *= d * c;
        }
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front * f
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(x: f64, y: f64) -> Sample {
        Sample { x: vec![x], y, at_m: [0.0, 0.0] }
    }

    fn method(form: Form) -> Method {
        Method { form, correction: Correction::Duan, seed: 1 }
    }

    // Worked example 15.
    #[test]
    fn example_15_smearing() {
        let x = [0.35, 0.42, 0.50, 0.55, 0.63, 0.70, 0.76, 0.81];
        let y = [12.0, 15.0, 31.0, 28.0, 55.0, 61.0, 110.0, 96.0];
        let samples: Vec<Sample> = x.iter().zip(y).map(|(x, y)| sample(*x, y)).collect();
        let samples: Vec<&Sample> = samples.iter().collect();
        let close = |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-6, "{found} {expected}");
        let near = |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-7, "{found} {expected}");
        let of = |correction| linear(&Method { form: Form::Exponential, correction, seed: 1 }, &samples).unwrap();
        let fit = of(Correction::Duan);
        near(fit.coefficients[0], 0.778_807_267_7);
        near(fit.coefficients[1], 4.896_552_125_2);
        close(fit.s2, 0.030_187_473_9);
        assert_eq!(fit.degrees_of_freedom, 6);
        near(fit.corrections.baskerville, 1.015_208_2);
        near(fit.corrections.duan, 1.011_523_2);
        near(fit.corrections.snowdon, 1.004_112_0);
        for (correction, expected) in
            [(Correction::Baskerville, 61.778_564), (Correction::Duan, 61.554_322), (Correction::Snowdon, 61.103_328)]
        {
            near(Fitted::Linear(of(correction)).predict(&[0.68]), expected);
        }
        let naive = (fit.coefficients[0] + 0.68 * fit.coefficients[1]).exp();
        near(naive, 60.853_097);
        assert!(fit.corrections.spread() < 0.05);
    }

    // Against the textbook formulas of a line: var(b1) = s2 / sxx, var(b0) = s2 (1/n + mean^2/sxx), cov = -s2 mean/sxx.
    #[test]
    fn the_covariance_is_that_of_a_line() {
        let samples: Vec<Sample> =
            (0..12).map(|i| sample(0.2 + 0.05 * f64::from(i), (1.0 + f64::from(i * i % 7)).exp())).collect();
        let samples: Vec<&Sample> = samples.iter().collect();
        let fit = linear(&method(Form::Exponential), &samples).unwrap();
        let (c, kind) = covariance(&fit, &samples, None);
        let mean = samples.iter().map(|s| s.x[0]).sum::<f64>() / 12.0;
        let sxx: f64 = samples.iter().map(|s| (s.x[0] - mean).powi(2)).sum();
        assert_eq!(kind, "ols");
        for (found, expected) in [
            (c[1][1], fit.s2 / sxx),
            (c[0][0], fit.s2 * (1.0 / 12.0 + mean * mean / sxx)),
            (c[0][1], -fit.s2 * mean / sxx),
            (c[1][0], c[0][1]),
        ] {
            assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
        }
    }

    #[test]
    fn a_power_law_and_several_predictors_are_found_again() {
        let x = |i: i32| 0.2 + 0.03 * f64::from(i);
        let samples: Vec<Sample> = (0..20).map(|i| sample(x(i), 150.0 * x(i).powf(2.5))).collect();
        let fit = linear(&method(Form::Power), &samples.iter().collect::<Vec<_>>()).unwrap();
        assert!((fit.coefficients[0].exp() - 150.0).abs() < 1e-9 && (fit.coefficients[1] - 2.5).abs() < 1e-12);
        let two = |i: i32| {
            let (a, b) = (x(i), 0.1 + 0.07 * f64::from(i * i % 11));
            Sample { x: vec![a, b], y: (1.5 + 3.0 * a - 2.0 * b).exp(), at_m: [0.0, 0.0] }
        };
        let samples: Vec<Sample> = (0..20).map(two).collect();
        let fit = linear(&method(Form::LogLinear), &samples.iter().collect::<Vec<_>>()).unwrap();
        for (found, expected) in fit.coefficients.iter().zip([1.5, 3.0, -2.0]) {
            assert!((found - expected).abs() < 1e-11);
        }
    }

    #[test]
    fn predictors_that_say_nothing_are_refused() {
        let same: Vec<Sample> = (1..10).map(|i| sample(0.5, f64::from(i))).collect();
        let why = linear(&method(Form::Exponential), &same.iter().collect::<Vec<_>>()).unwrap_err();
        assert!(why.contains("the same value at every plot"), "{why}");
        let twin = |i: i32| Sample { x: vec![0.1 * f64::from(i), 0.2 * f64::from(i)], y: 1.0, at_m: [0.0; 2] };
        let twins: Vec<Sample> = (1..10).map(twin).collect();
        assert!(linear(&method(Form::LogLinear), &twins.iter().collect::<Vec<_>>()).is_err());
        assert!(linear(&method(Form::Power), &same[..2].iter().collect::<Vec<_>>()).is_err());
    }

    // By hand: y 10, 20, 30; predictions 12, 18, 33: errors 2, -2, 3, sum 3, squares 17.
    #[test]
    fn metrics_by_hand() {
        let m = metrics(&[10.0, 20.0, 30.0], &[12.0, 18.0, 33.0], 1);
        for (found, expected) in [
            (m.rmse_t_per_ha, (17.0f64 / 3.0).sqrt()),
            (m.rmse_percent, 5.0 * (17.0f64 / 3.0).sqrt()),
            (m.bias_t_per_ha, 1.0),
            (m.mae_t_per_ha, 7.0 / 3.0),
            (m.r2, 1.0 - 17.0 / 200.0),
            (m.tre_percent, -100.0 * 3.0 / 63.0),
            (m.mpe_percent, 100.0 * 4.302_652_729_7 * (8.5f64.sqrt() / 20.0) / 3f64.sqrt()),
        ] {
            assert!((found / expected - 1.0).abs() < 1e-9, "{found} {expected}");
        }
    }

    // From R's qt.
    #[test]
    fn students_quantiles() {
        for (free, t) in [(1.0, 12.706_204_736), (2.0, 4.302_652_73), (10.0, 2.228_138_852), (58.0, 2.001_717_484)] {
            assert!((student_quantile(0.975, free) / t - 1.0).abs() < 1e-8, "{free}");
        }
        assert!((student_quantile(0.95, 1e7) - 1.644_854).abs() < 1e-4);
    }

    // A field of known range: sums of exponentially correlated steps along a line of plots.
    #[test]
    fn the_range_of_correlated_residuals_is_found() {
        let draws = crate::carbon::draw::Draws::new(5, 600);
        let mut z = Vec::new();
        draws.fill("steps", &mut z);
        let (step_m, range_m) = (100.0, 800.0f64);
        let r = (-step_m / range_m).exp();
        let mut field = vec![z[0]];
        for z in &z[1..] {
            let last = field[field.len() - 1];
            field.push(r * last + (1.0 - r * r).sqrt() * z);
        }
        let samples: Vec<Sample> =
            (0..600).map(|i| Sample { x: vec![0.0], y: 1.0, at_m: [step_m * f64::from(i), 0.0] }).collect();
        // The first classes must lie within the range, so only neighbours of up to 60 plots count.
        let near: Vec<&Sample> = samples.iter().take(120).collect();
        let mean = vec![vec![1.0]; 600];
        let found = variogram(&near, &field[..120], &mean[..120]).unwrap();
        assert!(!found.pure_nugget && found.range_m > 300.0 && found.range_m < 2500.0, "{found:?}");
        let independent = variogram(&samples.iter().take(200).collect::<Vec<_>>(), &z[..200], &mean[..200]).unwrap();
        assert!(independent.pure_nugget, "{independent:?}");
        // In three parts.
        let found = variogram(&samples.iter().collect::<Vec<_>>(), &field, &mean).unwrap();
        assert!(!found.pure_nugget && found.range_m > 500.0 && found.range_m < 1300.0, "{found:?}");
        assert!(variogram(&near[..10], &field[..10], &mean[..10]).is_none());
    }

    // Against the density of contrasts (an orthonormal basis of what is orthogonal to the regressors), by NumPy.
    #[test]
    fn the_restricted_likelihood_is_that_of_contrasts() {
        let at: [[f64; 2]; 7] =
            [[0.0, 0.0], [300.0, 0.0], [0.0, 400.0], [900.0, 100.0], [1000.0, 900.0], [200.0, 1500.0], [1600.0, 300.0]];
        let x = [0.3, 0.5, 0.4, 0.8, 0.6, 0.7, 0.35];
        let y = [0.1, 0.25, -0.2, 0.05, 0.3, -0.15, -0.1];
        let to = |i: usize, j: usize| (at[i][0] - at[j][0]).hypot(at[i][1] - at[j][1]);
        let part = Part {
            distances: (0..7).map(|i| (0..i).map(|j| to(i, j)).collect()).collect(),
            rows: (0..7).map(|i| vec![1.0, x[i], y[i]]).collect(),
        };
        let parts = [part];
        let [a, b, c] = [(300.0, 0.2), (1500.0, 0.0), (500.0, 1.0)]
            .map(|(range, nugget)| restricted(&parts, range, nugget).unwrap());
        assert!((a.0 - b.0 - (7.737795984333362 - 7.237277051046149)).abs() < 1e-10);
        assert!((a.0 - c.0 - (7.737795984333362 - 7.74530085913967)).abs() < 1e-10);
        for (found, expected) in [(a.1, 0.049130035710896115), (b.1, 0.13694011693626879), (c.1, 0.04513395904436861)] {
            assert!((found / expected - 1.0).abs() < 1e-10, "{found} {expected}");
        }
    }

    // Correlated residuals tell less: the mean of 30 pairs of twins is as uncertain as that of 30 plots, not 60.
    #[test]
    fn correlation_widens_the_covariance() {
        let place = |i: i32| [1e6 * f64::from(i / 2), 0.0];
        let samples: Vec<Sample> = (0..60)
            .map(|i| Sample {
                x: vec![0.3 + 0.01 * f64::from(i / 2)],
                y: (1.0 + 0.2 * f64::from((i / 2) % 5)).exp(),
                at_m: place(i),
            })
            .collect();
        let samples: Vec<&Sample> = samples.iter().collect();
        let fit = linear(&method(Form::Exponential), &samples).unwrap();
        let v =
            Variogram { nugget: 0.0, sill: 1.0, range_m: 1000.0, nugget_range_m: None, pairs: 100, pure_nugget: false };
        let (ols, _) = covariance(&fit, &samples, None);
        let (spatial, kind) = covariance(&fit, &samples, Some(&v));
        assert_eq!(kind, "spatial");
        // Half the squares of 60 over 28 degrees of freedom and half the spread of the predictor.
        assert!((spatial[1][1] / ols[1][1] - 58.0 / 28.0).abs() < 1e-9);
        // And 30 plots less 2 coefficients are what tells of the variance.
        let (s2, free) = residual_variance(&fit, &samples, Some(&v));
        assert!((s2 / fit.s2 - 58.0 / 56.0).abs() < 1e-9);
        assert!(free == 28 || free == 27, "{free}");
        assert_eq!(residual_variance(&fit, &samples, None), (fit.s2, 58));
    }

    // Neighbours that differ in the predictor: the slope is known better than from independent plots, the mean worse, and
    // both are told. Written out for pairs: X = (1, +-1), residuals of a pair with correlation r; var of the mean
    // s2 (1 + r) / n, of the slope s2 (1 - r) / n.
    #[test]
    fn a_better_slope_does_not_hide_a_worse_mean() {
        let place = |i: i32| [1e6 * f64::from(i / 2), 500.0 * f64::from(i % 2)];
        let samples: Vec<Sample> = (0..40)
            .map(|i| Sample {
                x: vec![f64::from(2 * (i % 2) - 1)],
                y: (2.0 + 0.3 * f64::from(i * i % 7)).exp(),
                at_m: place(i),
            })
            .collect();
        let samples: Vec<&Sample> = samples.iter().collect();
        let fit = linear(&method(Form::Exponential), &samples).unwrap();
        let v =
            Variogram { nugget: 0.2, sill: 0.8, range_m: 1000.0, nugget_range_m: None, pairs: 100, pure_nugget: false };
        let r = 0.8 * (-0.5f64).exp();
        let (found, kind) = covariance(&fit, &samples, Some(&v));
        // tr(M R) = 40 - (1 + r) - (1 - r); tr(M R M R) = 20 pairs of (1 + r)^2 + (1 - r)^2, less one of each.
        let (s2, free) = residual_variance(&fit, &samples, Some(&v));
        assert!((s2 / fit.s2 - 1.0).abs() < 1e-9);
        assert_eq!(free, (38.0 * 38.0 / (19.0 * (2.0 + 2.0 * r * r))) as usize);
        assert_eq!(kind, "spatial");
        for (found, expected) in [(found[0][0], 1.0 + r), (found[1][1], 1.0 - r)] {
            assert!((found / (s2 * expected / 40.0) - 1.0).abs() < 1e-9, "{found} {expected}");
        }
    }

    // For normal residuals the correction is exp(s2 / 2), and s2 has a standard error of s2 sqrt(2 / n). What moves all
    // residuals alike is the intercept's: with it the correction would look three times as uncertain here.
    #[test]
    fn the_error_of_the_correction_is_not_that_of_the_intercept() {
        let mut z = Vec::new();
        crate::carbon::draw::Draws::new(4, 400).fill("residuals", &mut z);
        let plot = |(i, z): (usize, &f64)| {
            let x = 0.3 + 0.05 * (i % 11) as f64;
            sample(x, (1.0 + 4.0 * x + 0.4 * z).exp())
        };
        let samples: Vec<Sample> = z.iter().enumerate().map(plot).collect();
        let fit = linear(&method(Form::Exponential), &samples.iter().collect::<Vec<_>>()).unwrap();
        let expected = fit.s2 / 2.0 * (2.0f64 / 400.0).sqrt();
        let found = fit.corrections.cv;
        assert!((found / expected - 1.0).abs() < 0.25, "{found} {expected}");
    }

    // Neighbours share what no predictor explains: leaving out single plots flatters the model, leaving out blocks does not.
    #[test]
    fn random_folds_are_more_flattering_than_blocks() {
        let draws = crate::carbon::draw::Draws::new(9, 100);
        let (mut shared, mut own) = (Vec::new(), Vec::new());
        draws.fill("block", &mut shared);
        draws.fill("own", &mut own);
        let samples: Vec<Sample> = (0..100)
            .map(|i| {
                let b = i / 10;
                // A predictor that names the block lets a tree learn the block's own level.
                let x = shared[b] + 0.01 * own[i];
                let at_m = [10_000.0 * b as f64 + 10.0 * (i % 10) as f64, 0.0];
                Sample { x: vec![x], y: (3.0 + 0.6 * shared[50 + b] + 0.05 * own[99 - i]).exp(), at_m }
            })
            .collect();
        let samples: Vec<&Sample> = samples.iter().collect();
        let method = method(Form::RandomForest);
        let fitted = fit(&method, &samples).unwrap();
        let crossed = cross(&method, &samples, &fitted, Some(5_000.0));
        let (spatial, random) = (crossed.spatial.unwrap().0, crossed.random.unwrap().0);
        assert_eq!((spatial.folds, random.folds), (Some(10), Some(10)));
        assert!(random.rmse_t_per_ha < 0.5 * spatial.rmse_t_per_ha, "{random:?} {spatial:?}");
    }

    #[test]
    fn quantiles_lie_between_values() {
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.25), 2.0);
        assert!((quantile(&[1.0, 2.0], 0.95) - 1.95).abs() < 1e-15);
        assert_eq!(quantile(&[7.0], 0.05), 7.0);
    }
}
