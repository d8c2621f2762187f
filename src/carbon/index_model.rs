//! Biomass from spectral indices by a model that was fitted to field plots ([`Model`], a TOML file that `lintan calibrate`
//! writes).
//!
//! Per pixel, with X the medians of the indices over a growing season:
//! ```text
//! power         AGB = k a X^b                  a = exp(b0)
//! exponential   AGB = k a exp(b X)             k  correction for the bias of a fit in logarithms
//! log_linear    ln AGB = b0 + sum b_i X_i + ln k
//! random_forest AGB = mean over the trees of all members
//! ```
//! and per parcel the mean over its pixels, weighted by the share of each that lies within it.
//!
//! A closed canopy stops changing an index while it grows on, so X is cut at the calibration's 95th percentile on the side
//! where biomass is high, and at the end of the calibration's range on the other side. What lies beyond adds nothing; where
//! more than `beyond_share` of a parcel lies there the epoch counts as saturated, and a growth that ends there is worth
//! nothing.
//!
//! Errors, and which dates and parcels share them:
//! - The coefficients: one joint draw for all pixels, dates and parcels. The logarithm of a parcel's mean is linear in them
//!   to first order, with the gradient `g = sum w f x / sum w f` (x the pixel's regressors, f its prediction, w its weight),
//!   so the draw is a lognormal factor with loadings `L' g`, `L L'` being the covariance. For a single pixel that is exact.
//!   For a forest: one of its members, which are fitted to resampled blocks of plots.
//! - What the model does not explain of a parcel: lognormal with the residual variance of the plots times the mean
//!   correlation of the variogram over the pairs of its pixels; 1 where the range is not known. Pixels are not
//!   independent: averaging over hundreds of them would make this error vanish. The part of it that lasts from date to date
//!   is a property of the stand that nobody has measured; unless `residual_correlation` states it the dates are
//!   independent, which overstates the error of a change.
//! - Both are scaled by the variance `n / (n - 2)` of Student's distribution with the `n` degrees of freedom of the residual
//!   variance, which is itself an estimate: what is predicted with an estimated variance varies that much more (Handcock and
//!   Stein 1993, Technometrics 35:403).
//! - Saturation: between the mean of the cut and that of the uncut predictions, evenly; one draw for all.
//! - Carbon fraction and roots from the parameter set; `plot_agb_cv` for the biomass of the plots themselves, which comes
//!   from equations of its own.
//!
//! What it does not do: correct for the change of support. A model fitted to means of 3 x 3 pixels is applied to single
//! pixels; where it is strongly curved and a parcel very uneven, its mean is off by half the curvature times the variance.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::chain::{Assessed, Chain, Epoch, Evidence, Factor, Part, Refusal, Shape, Term};
use super::{Flag, ParameterError, Status};
use crate::detect::composite::Season;
use crate::digest::Sha256;
use crate::error::{Error, Reason, Result};

/// Name of the method in tables.
pub const METHOD: &str = "index_model";

/// Fewest plots of a model whose numbers may be issued.
pub const ISSUABLE_PLOTS: usize = 30;

/// Unit of what a model predicts.
pub const UNIT: &str = "t d.m./ha";

/// Version of the model file's format.
const FORMAT: u32 = 1;

/// Key of the model file that holds the digest of the rest.
const CONTENTS: &str = "contents_sha256";

/// Pixels whose pairs are looked at for the mean correlation; of larger parcels this many, evenly in order.
const PAIRS_OF: usize = 400;

/// Kilometres in a degree of latitude, for margins.
const KM_PER_DEGREE: f64 = 111.2;

/// Shape of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// `a X^b` of one index.
    Power,
    /// `a exp(b X)` of one index.
    Exponential,
    /// `exp(b0 + sum b_i X_i)`.
    LogLinear,
    /// Mean of regression trees.
    RandomForest,
}

impl Form {
    /// The name used in files.
    pub fn name(self) -> &'static str {
        match self {
            Form::Power => "power",
            Form::Exponential => "exponential",
            Form::LogLinear => "log_linear",
            Form::RandomForest => "random_forest",
        }
    }

    /// True for the forms that are fitted in logarithms.
    pub fn is_linear(self) -> bool {
        self != Form::RandomForest
    }

    /// Regressors of a pixel or plot, the intercept first; empty for a forest.
    pub fn regressors(self, x: &[f64], out: &mut Vec<f64>) {
        out.clear();
        match self {
            Form::Power => out.extend(std::iter::once(1.0).chain(x.iter().map(|x| x.ln()))),
            Form::Exponential | Form::LogLinear => out.extend(std::iter::once(1.0).chain(x.iter().copied())),
            Form::RandomForest => {}
        }
    }
}

/// Correction for the bias of a fit in logarithms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Correction {
    /// Mean of the exponentials of the residuals (Duan 1983, Journal of the American Statistical Association 78:605).
    #[default]
    Duan,
    /// `exp(s2 / 2)` (Baskerville 1972, Canadian Journal of Forest Research 2:49).
    Baskerville,
    /// Ratio of the means (Snowdon 1991, Canadian Journal of Forest Research 21:720).
    Snowdon,
}

/// `[biomass.index_model]` of the configuration, for `calibrate` and `run` alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexModel {
    /// The model file, relative to the configuration: `calibrate` writes it, `run` reads it.
    pub model: PathBuf,
    /// Shape of the model.
    pub form: Form,
    /// Indices that it predicts from; one for power and exponential.
    pub predictors: Vec<String>,
    /// First and last day of the growing season whose median counts. No default: it depends on the place.
    pub season: Season,
    /// Years before and after the epoch's that count as well, 0 to 2. Default 0.
    #[serde(default)]
    pub years: u32,
    /// Clear dates a pixel below which the estimate carries `few_observations`, at least 1. Default 3.
    #[serde(default = "three")]
    pub min_observations: u32,
    /// Share of a parcel, or plot, that must have a value, 0 to 1. Default 0.7.
    #[serde(default = "most")]
    pub min_seen_share: f64,
    /// Share of a parcel beyond the calibration's range from which on it counts as saturated, or extrapolated. Default 0.1,
    /// an engineering default: twice the share of the calibration plots that lie beyond their 95th percentile.
    #[serde(default = "tenth")]
    pub beyond_share: f64,
    /// Correlation of a parcel's residual between two dates, 0 to 1. Default 0, which overstates the error of a change.
    #[serde(default)]
    pub residual_correlation: f64,
    /// Coefficient of variation that the plots' biomass has in common, from the equations it was computed by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plot_agb_cv: Option<f64>,
    /// Forest type of parcels without the attribute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forest_type: Option<String>,
    /// Ecological zone, for forest types that are given as a kind or species only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ecological_zone: Option<String>,
    /// Kilometres around the rectangle of the plots within which a parcel may be issued. Default 0.
    #[serde(default)]
    pub area_margin_km: f64,
    /// Correction for the bias of a fit in logarithms. Default duan.
    #[serde(default)]
    pub correction: Correction,
    /// Side of the blocks of the cross-validation, metres. Default: where the residuals' correlation has fallen to 5 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_m: Option<f64>,
    /// Cross-validated R2 below which the model's numbers are for screening only, 0 to 1. No default; at 0 or less they are
    /// so in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_r2: Option<f64>,
    /// Seed of the forest and of the random folds. Default 1.
    #[serde(default = "one")]
    pub seed: u64,
}

fn three() -> u32 {
    3
}

fn most() -> f64 {
    0.7
}

fn tenth() -> f64 {
    0.1
}

fn one() -> u64 {
    1
}

impl IndexModel {
    /// What the types alone cannot see: key, what was found, what is expected.
    ///
    /// # Errors
    /// The first value that cannot be used.
    pub fn validate(&self) -> std::result::Result<(), (&'static str, String, &'static str)> {
        let single = matches!(self.form, Form::Power | Form::Exponential);
        if self.predictors.is_empty() || (single && self.predictors.len() != 1) {
            let expected = if single { "one index, or form log_linear" } else { "one index or more" };
            return Err(("predictors", format!("{:?}", self.predictors), expected));
        }
        if let Some(twice) = (1..self.predictors.len()).find(|i| self.predictors[..*i].contains(&self.predictors[*i])) {
            return Err(("predictors", format!("`{}` twice", self.predictors[twice]), "each index once"));
        }
        let within = |key, value: f64, low: f64, high: f64, expected| {
            if value >= low && value <= high { Ok(()) } else { Err((key, value.to_string(), expected)) }
        };
        within("years", self.years.into(), 0.0, 2.0, "0 to 2")?;
        within("min_observations", self.min_observations.into(), 1.0, 1000.0, "1 or more")?;
        within("min_seen_share", self.min_seen_share, 0.0, 1.0, "0 to 1")?;
        within("beyond_share", self.beyond_share, 0.0, 1.0, "0 to 1")?;
        within("residual_correlation", self.residual_correlation, 0.0, 1.0, "0 to 1")?;
        within("plot_agb_cv", self.plot_agb_cv.unwrap_or(0.0), 0.0, 2.0, "0 to 2")?;
        within("area_margin_km", self.area_margin_km, 0.0, 1000.0, "0 to 1000 kilometres")?;
        within("block_m", self.block_m.unwrap_or(1.0), 1.0, 1e7, "metres, 1 or more")?;
        within("min_r2", self.min_r2.unwrap_or(0.0), 0.0, 1.0, "0 to 1")?;
        // TOML has no larger integer.
        within("seed", self.seed as f64, 0.0, i64::MAX as f64, "0 to 9223372036854775807")
    }
}

/// Range of a predictor over the plots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The index.
    pub predictor: String,
    /// Smallest value.
    pub min: f64,
    /// 5th percentile.
    pub p5: f64,
    /// 95th percentile.
    pub p95: f64,
    /// Largest value.
    pub max: f64,
    /// Whether biomass rises with it: saturation is beyond p95 then, below p5 otherwise.
    pub rises: bool,
}

/// Where a value lies to the calibration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Within,
    Saturated,
    Beyond,
}

impl Range {
    /// A value cut to the range, and the same without a cut where biomass is high.
    fn cut(&self, x: f64) -> (f64, f64, Side) {
        if self.rises {
            let open = x.max(self.min);
            let side = match x {
                x if x > self.p95 => Side::Saturated,
                x if x < self.min => Side::Beyond,
                _ => Side::Within,
            };
            (open.min(self.p95), open, side)
        } else {
            let open = x.min(self.max);
            let side = match x {
                x if x < self.p5 => Side::Saturated,
                x if x > self.max => Side::Beyond,
                _ => Side::Within,
            };
            (open.max(self.p5), open, side)
        }
    }
}

/// How well predictions meet what was measured, on the scale of the biomass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Predictions that were compared.
    pub plots: usize,
    /// Groups of plots that were left out in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folds: Option<usize>,
    /// Side of the blocks, metres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_m: Option<f64>,
    /// Root of the mean squared error.
    pub rmse_t_per_ha: f64,
    /// The same in percent of the mean.
    pub rmse_percent: f64,
    /// Mean of prediction minus measurement.
    pub bias_t_per_ha: f64,
    /// Mean of the absolute errors.
    pub mae_t_per_ha: f64,
    /// 1 - sum of squared errors / sum of squared deviations from the mean.
    pub r2: f64,
    /// Total relative error 总体相对误差: 100 sum(y - yhat) / sum(yhat).
    pub tre_percent: f64,
    /// Mean prediction error 平均预估误差: 100 t (SEE / mean) / sqrt(n), t at 95 %.
    pub mpe_percent: f64,
}

/// What the coefficients are, and how well they are known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// Of the regressors, the intercept first, for ln AGB.
    pub coefficients: Vec<f64>,
    /// Their covariance.
    pub covariance: Vec<Vec<f64>>,
    /// How the covariance was made: `ols`, or `spatial` where the residuals' variogram is in it.
    pub covariance_kind: String,
    /// The correction that counts.
    pub correction: Correction,
    /// exp(s2 / 2).
    pub baskerville: f64,
    /// Mean of the exponentials of the residuals.
    pub duan: f64,
    /// Ratio of the means.
    pub snowdon: f64,
    /// Coefficient of variation of the correction.
    pub correction_cv: f64,
}

impl Linear {
    /// The factor that predictions are multiplied with.
    pub fn correction_factor(&self) -> f64 {
        match self.correction {
            Correction::Duan => self.duan,
            Correction::Baskerville => self.baskerville,
            Correction::Snowdon => self.snowdon,
        }
    }
}

/// Members of a forest; each tree a text of its nodes in order, the root first: `=V` a leaf that says V, `I<T:A:B` a branch
/// to node A where predictor I (from 0) is at most T, and to node B otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forest {
    /// Trees by member.
    pub members: Vec<Vec<String>>,
}

/// Exponential variogram of the residuals of ln AGB: `nugget + sill (1 - exp(-d / range_m))`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variogram {
    /// Variance at distance 0.
    pub nugget: f64,
    /// Variance that distance adds.
    pub sill: f64,
    /// Distance at which the correlation has fallen to 1/e; to 5 % at three times that.
    pub range_m: f64,
    /// Longest range that the nearest pairs of plots allow for what the nugget holds, which may vary within any shorter
    /// distance. Absent: as `range_m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nugget_range_m: Option<f64>,
    /// Pairs of plots that it was fitted to.
    pub pairs: usize,
    /// True where nothing depends on distance: the range is then the longest that the nearest pairs allow.
    pub pure_nugget: bool,
}

impl Variogram {
    /// Correlation of the residuals of two pixels at a distance, metres. The nugget is what varies within the distance of the
    /// nearest plots, so it is no noise of single pixels: it is taken as alike as far as those plots allow, since averaging
    /// over hundreds of pixels would make it vanish otherwise.
    pub fn correlation(&self, distance_m: f64) -> f64 {
        let far = (-distance_m / self.range_m).exp();
        let near = self.nugget_range_m.map_or(far, |range| (-distance_m / range).exp());
        let nugget = self.nugget / (self.nugget + self.sill);
        if nugget.is_finite() { nugget * near + (1.0 - nugget) * far } else { far }
    }
}

/// What the model was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// SHA-256 of the file of plots.
    pub plots_sha256: String,
    /// Plots that were used.
    pub plots: usize,
    /// Plots that were not.
    pub refused: usize,
    /// First and last year of the plots.
    pub years: (i16, i16),
    /// Longitude and latitude of the plots: west, south, east, north.
    pub area: [f64; 4],
    /// Families of sensors that the predictors come from.
    pub sensors: Vec<String>,
    /// Size of their pixels, metres.
    pub pixel_m: f64,
    /// Settings under [observe] that the predictors depend on, as JSON.
    pub observe: BTreeMap<String, String>,
    /// Mean and largest biomass of the plots.
    pub mean_t_per_ha: f64,
    /// Largest.
    pub max_t_per_ha: f64,
}

/// How well the model does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validation {
    /// Blocks of land left out in turn: what the model does where it has seen no plot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spatial: Option<Metrics>,
    /// Plots at random left out in turn, for comparison: optimistic where neighbours are alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<Metrics>,
    /// On the plots that it was fitted to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fitted: Option<Metrics>,
}

impl Validation {
    /// What the model does on plots that it was not fitted to: of blocks of land where there are, else of plots at random.
    pub fn held_out(&self) -> Option<&Metrics> {
        self.spatial.as_ref().or(self.random.as_ref())
    }

    /// True where the cross-validation shows the model to be no better than the plots' mean (R2 of 0 or less), or worse than
    /// `min_r2`, which a model without cross-validation never reaches.
    pub fn is_weak(&self, min_r2: Option<f64>) -> bool {
        match (self.held_out(), min_r2) {
            (Some(m), least) => m.r2.is_nan() || m.r2 <= 0.0 || least.is_some_and(|least| m.r2 < least),
            (None, least) => least.is_some(),
        }
    }
}

/// The model file, but for the digest of its contents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Version of this format.
    pub format: u32,
    /// Name of the model.
    pub name: String,
    /// Who takes responsibility; empty until a person fills it in.
    pub approved_by: String,
    /// Since when, as 2024-06-30.
    pub approved_on: String,
    /// Unit of the prediction.
    pub unit: String,
    /// Shape.
    pub form: Form,
    /// Indices.
    pub predictors: Vec<String>,
    /// Season whose median they are.
    pub season: Season,
    /// Years to either side that count.
    pub years: u32,
    /// Variance of the residuals of ln AGB.
    pub s2: f64,
    /// Degrees of freedom of it: fewer than plots minus coefficients where residuals are correlated.
    pub degrees_of_freedom: usize,
    /// By predictor.
    pub ranges: Vec<Range>,
    /// Source.
    pub calibration: Calibration,
    /// Quality.
    pub validation: Validation,
    /// Where residuals are correlated; absent where the plots do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variogram: Option<Variogram>,
    /// Coefficients of the forms in logarithms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linear: Option<Linear>,
    /// Trees of a forest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forest: Option<Forest>,
}

/// A model as the record of a run tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// SHA-256 of its file, hex.
    pub sha256: String,
    /// Trees of a forest, which the record leaves out.
    pub trees: usize,
    /// What stands in the file.
    pub file: ModelFile,
}

/// A node of a tree.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Node {
    Leaf(f64),
    Branch { predictor: usize, at_most: f64, then: usize, otherwise: usize },
}

/// A regression tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree(Vec<Node>);

impl Tree {
    /// Reads the text of [`Forest`].
    ///
    /// # Errors
    /// A node that is none, or that leads back or nowhere.
    pub fn parse(text: &str, predictors: usize) -> std::result::Result<Tree, String> {
        let node = |(i, token): (usize, &str)| -> Option<Node> {
            if let Some(value) = token.strip_prefix('=') {
                return value.parse().ok().filter(|v: &f64| v.is_finite()).map(Node::Leaf);
            }
            let (predictor, rest) = token.split_once('<')?;
            let mut parts = rest.split(':');
            let predictor = predictor.parse().ok().filter(|p| *p < predictors)?;
            let at_most = parts.next()?.parse().ok().filter(|v: &f64| v.is_finite())?;
            // Children stand behind their parent, so that every way ends.
            let mut child = || parts.next()?.parse().ok().filter(|c: &usize| *c > i);
            let (then, otherwise) = (child()?, child()?);
            parts.next().is_none().then_some(Node::Branch { predictor, at_most, then, otherwise })
        };
        let tokens = || text.split(' ').enumerate();
        let nodes: Vec<Node> = tokens()
            .map(|t| node(t).ok_or_else(|| format!("node {} of a tree is `{}`", t.0, t.1)))
            .collect::<std::result::Result<_, _>>()?;
        let last =
            nodes.iter().map(|n| if let Node::Branch { then, otherwise, .. } = n { *then.max(otherwise) } else { 0 });
        match last.max() {
            Some(last) if last < nodes.len() => Ok(Tree(nodes)),
            _ => Err("a tree without the node that a branch leads to".to_owned()),
        }
    }

    /// The prediction.
    pub fn predict(&self, x: &[f64]) -> f64 {
        let mut at = 0;
        loop {
            match self.0[at] {
                Node::Leaf(value) => return value,
                Node::Branch { predictor, at_most, then, otherwise } => {
                    at = if x[predictor] <= at_most { then } else { otherwise };
                }
            }
        }
    }
}

/// Mean of the trees.
pub fn mean_of(trees: &[Tree], x: &[f64]) -> f64 {
    trees.iter().map(|t| t.predict(x)).sum::<f64>() / trees.len() as f64
}

/// A checked model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    file: ModelFile,
    sha256: String,
    /// First digits of [`ModelFile::contents`], which the draws of its errors are named by.
    identity: String,
    /// Lower triangle with the covariance as its square; empty for a forest.
    cholesky: Vec<Vec<f64>>,
    members: Vec<Vec<Tree>>,
}

impl ModelFile {
    /// Digest of all but the approval: who approves a model changes no number.
    fn contents(&self) -> Result<Sha256> {
        Sha256::of_json(&ModelFile { approved_by: String::new(), approved_on: String::new(), ..self.clone() })
    }

    /// The text of the file. The same model gives the same text.
    ///
    /// # Errors
    /// Only by a mistake of ours.
    pub fn to_toml(&self) -> Result<String> {
        let text = toml::to_string(self).map_err(|e| Error::Internal(format!("model file: {e}")))?;
        Ok(format!(
            "# Biomass model of `lintan calibrate`. Whoever takes responsibility enters approved_by and approved_on\n\
             # (2024-06-30). After any other change it is refused: contents_sha256 is the digest of the rest.\n\
             {CONTENTS} = \"{}\"\n{text}",
            self.contents()?
        ))
    }
}

impl Model {
    /// Reads a model file.
    ///
    /// # Errors
    /// The file cannot be read, or is no model.
    pub fn load(path: &Path) -> Result<Model> {
        let bad = |found: String, help: &str| Error::Input {
            path: path.to_path_buf(),
            what: "biomass model".into(),
            found,
            expected: "a model file of `lintan calibrate`".into(),
            help: help.to_owned(),
        };
        let text = std::fs::read_to_string(path).map_err(|e| {
            bad(format!("a file that cannot be read ({e})"), "make it by `lintan calibrate CONFIG --plots FILE`")
        })?;
        Model::parse(&text)
            .map_err(|found| bad(found, "make it anew by `lintan calibrate CONFIG --plots FILE`, then approve it"))
    }

    /// Reads the text of a model file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> std::result::Result<Model, String> {
        let mut table: toml::Table = toml::from_str(text).map_err(|e| e.to_string())?;
        let stated = table.remove(CONTENTS);
        let file = ModelFile::deserialize(table).map_err(|e| e.to_string())?;
        if file.format != FORMAT {
            return Err(format!("format {}, expected {FORMAT}", file.format));
        }
        // Without this a coefficient that somebody changed would stand beside a validation and errors that are not its own.
        let contents = file.contents().map_err(|e| e.to_string())?;
        match stated.as_ref().and_then(toml::Value::as_str) {
            Some(stated) if stated == contents.to_string() => {}
            Some(stated) => {
                return Err(format!(
                    "{CONTENTS} {stated}, but contents of {contents}: the file was changed after the calibration (only \
                     approved_by and approved_on may be)"
                ));
            }
            // Leaving the line out must not be a way around it.
            None => {
                return Err(format!(
                    "no {CONTENTS}, so nothing tells whether the file is as it was calibrated (it is of an earlier version, \
                     or the line was taken out)"
                ));
            }
        }
        if file.unit != UNIT {
            return Err(format!("unit {:?}, expected {UNIT:?}", file.unit));
        }
        if !file.approved_on.is_empty() && file.approved_on.parse::<Date>().is_err() {
            return Err(format!("approved_on {:?}, expected a date such as 2024-06-30", file.approved_on));
        }
        if file.ranges.iter().map(|r| &r.predictor).ne(&file.predictors) || file.predictors.is_empty() {
            return Err("ranges that are not those of the predictors".into());
        }
        let ordered =
            |r: &Range| r.min <= r.p5 && r.p5 <= r.p95 && r.p95 <= r.max && r.min.is_finite() && r.max.is_finite();
        if let Some(r) = file.ranges.iter().find(|r| !ordered(r) || (file.form == Form::Power && r.min <= 0.0)) {
            return Err(format!("a range of {} that is none ({} to {})", r.predictor, r.min, r.max));
        }
        if !(file.s2.is_finite() && file.s2 >= 0.0) {
            return Err(format!("s2 {}", file.s2));
        }
        if let Some(v) = &file.variogram
            && let Some(range) =
                [Some(v.range_m), v.nugget_range_m].into_iter().flatten().find(|r| !(r.is_finite() && *r > 0.0))
        {
            return Err(format!("a variogram of range {range} m"));
        }
        if let Some(v) = &file.variogram
            && let Some(part) = [v.nugget, v.sill].into_iter().find(|v| !(v.is_finite() && *v >= 0.0))
        {
            return Err(format!("a variogram with a variance of {part}"));
        }
        let (cholesky, members) = match (file.form.is_linear(), &file.linear, &file.forest) {
            (true, Some(linear), None) => {
                let n = file.predictors.len() + 1;
                let square = linear.covariance.len() == n && linear.covariance.iter().all(|r| r.len() == n);
                let numbers = linear.coefficients.iter().chain(linear.covariance.iter().flatten());
                if linear.coefficients.len() != n || !square || !numbers.clone().all(|v| v.is_finite()) {
                    return Err(format!("coefficients and covariance that are not {n} and {n} x {n} numbers"));
                }
                let (factor, cv) = (linear.correction_factor(), linear.correction_cv);
                if !(factor.is_finite() && factor > 0.0 && cv.is_finite() && cv >= 0.0) {
                    return Err(format!("a correction of {factor} with cv {cv}"));
                }
                (cholesky(&linear.covariance).ok_or("a covariance that is none")?, Vec::new())
            }
            (false, None, Some(forest)) => {
                let parse = |trees: &Vec<String>| trees.iter().map(|t| Tree::parse(t, file.predictors.len())).collect();
                let members = forest.members.iter().map(parse).collect::<std::result::Result<Vec<Vec<Tree>>, _>>()?;
                if members.is_empty() || members.iter().any(Vec::is_empty) {
                    return Err("a forest without trees".into());
                }
                (Vec::new(), members)
            }
            _ => return Err(format!("form {} with the numbers of another", file.form.name())),
        };
        let sha256 = Sha256::of(text.as_bytes()).to_string();
        let identity = contents.short();
        Ok(Model { file, sha256, identity, cholesky, members })
    }

    /// What a run keeps of it.
    pub fn record(&self) -> ModelRecord {
        let trees = self.members.iter().map(Vec::len).sum();
        ModelRecord { sha256: self.sha256.clone(), trees, file: ModelFile { forest: None, ..self.file.clone() } }
    }

    /// What stands in the file.
    pub fn file(&self) -> &ModelFile {
        &self.file
    }

    /// SHA-256 of the file, hex.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Who took responsibility and when, if anybody did.
    pub fn approval(&self) -> Option<(&str, Date)> {
        let by = Some(self.file.approved_by.trim()).filter(|by| !by.is_empty())?;
        Some((by, self.file.approved_on.parse().ok()?))
    }

    /// Whether the model is the one that these settings ask for: what differs, what the model has, what the settings say.
    ///
    /// # Errors
    /// The first difference. `observe` are the settings that predictors depend on, as in [`Calibration::observe`].
    pub fn agrees(
        &self,
        settings: &IndexModel,
        observe: &BTreeMap<String, String>,
    ) -> std::result::Result<(), (String, String, String)> {
        let file = &self.file;
        let differ = |key: &str, theirs: String, ours: String| {
            if theirs == ours { Ok(()) } else { Err((key.to_owned(), theirs, ours)) }
        };
        differ("biomass.index_model.form", file.form.name().into(), settings.form.name().into())?;
        differ("biomass.index_model.predictors", file.predictors.join(", "), settings.predictors.join(", "))?;
        differ("biomass.index_model.season", file.season.to_string(), settings.season.to_string())?;
        differ("biomass.index_model.years", file.years.to_string(), settings.years.to_string())?;
        for (key, ours) in observe {
            let theirs = file.calibration.observe.get(key).cloned().unwrap_or_default();
            differ(&format!("observe.{key}"), theirs, ours.clone())?;
        }
        Ok(())
    }

    /// True for a place within the rectangle of the plots and the margin around it.
    pub fn is_near_plots(&self, lon: f64, lat: f64, margin_km: f64) -> bool {
        let [west, south, east, north] = self.file.calibration.area;
        let up = margin_km / KM_PER_DEGREE;
        let across = up / lat.to_radians().cos().max(1e-6);
        lon >= west - across && lon <= east + across && lat >= south - up && lat <= north + up
    }

    /// The prediction for one place with these predictors as they are, nothing cut, t d.m./ha.
    pub fn plain(&self, x: &[f64]) -> f64 {
        match &self.file.linear {
            Some(linear) => {
                let mut regressors = Vec::new();
                self.file.form.regressors(x, &mut regressors);
                linear.correction_factor() * dot(&linear.coefficients, &regressors).exp()
            }
            None => self.members.iter().map(|m| mean_of(m, x)).sum::<f64>() / self.members.len() as f64,
        }
    }

    /// What the model says of a parcel; `None` where no pixel of it has a value.
    pub fn predict(&self, seen: &Seen) -> Option<Prediction> {
        let (n, k) = (seen.weights.len(), self.file.predictors.len());
        let weight: f64 = seen.weights.iter().sum();
        if n == 0 || weight <= 0.0 {
            return None;
        }
        let (mut cut, mut open, mut regressors) = (vec![0.0; k], vec![0.0; k], Vec::new());
        let (mut mean, mut uncut, mut saturated, mut beyond) = (0.0, 0.0, 0.0, 0.0);
        let mut gradient = vec![0.0; self.cholesky.len()];
        let mut members = vec![0.0; self.members.len()];
        let mut shares = Vec::with_capacity(n);
        for (w, x) in seen.weights.iter().zip(seen.values.chunks_exact(k)) {
            let (mut is_saturated, mut is_beyond) = (false, false);
            for (i, range) in self.file.ranges.iter().enumerate() {
                let side;
                (cut[i], open[i], side) = range.cut(x[i]);
                is_saturated |= side == Side::Saturated;
                is_beyond |= side == Side::Beyond;
            }
            saturated += if is_saturated { *w } else { 0.0 };
            beyond += if is_beyond { *w } else { 0.0 };
            let f = match &self.file.linear {
                Some(linear) => {
                    self.file.form.regressors(&cut, &mut regressors);
                    let f = linear.correction_factor() * dot(&linear.coefficients, &regressors).exp();
                    gradient.iter_mut().zip(&regressors).for_each(|(g, x)| *g += w * f * x);
                    f
                }
                None => {
                    let each = members.iter_mut().zip(&self.members);
                    let sum: f64 = each
                        .map(|(sum, trees)| {
                            let f = mean_of(trees, &cut);
                            *sum += w * f;
                            f
                        })
                        .sum();
                    sum / self.members.len() as f64
                }
            };
            mean += w * f;
            uncut += w * if is_saturated { self.plain(&open) } else { f };
            shares.push(w * f);
        }
        // Of nothing but zeros the gradient is that of the mean regressors; a forest alone can say 0.
        gradient.iter_mut().for_each(|g| *g /= mean);
        members.iter_mut().for_each(|m| *m /= weight);
        let observations =
            seen.weights.iter().zip(&seen.observations).map(|(w, n)| w * f64::from(*n)).sum::<f64>() / weight;
        Some(Prediction {
            agb_t_per_ha: mean / weight,
            uncut_agb_t_per_ha: uncut / weight,
            gradient,
            members,
            saturated_share: saturated / weight,
            beyond_share: beyond / weight,
            seen_share: weight / seen.whole_px,
            observations,
            pair_correlation: self
                .file
                .variogram
                .as_ref()
                .map_or(1.0, |v| pair_correlation(&shares, &seen.places_m, |d| v.correlation(d))),
            near_plots: true,
        })
    }
}

/// What is seen of a parcel in the season of an epoch: its pixels that have every predictor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// Area of the whole parcel in pixels.
    pub whole_px: f64,
    /// Share of each pixel that lies within.
    pub weights: Vec<f64>,
    /// Its place in the plane of the grid, metres from anywhere.
    pub places_m: Vec<[f64; 2]>,
    /// Its clear dates.
    pub observations: Vec<u32>,
    /// Its predictors, pixel by pixel.
    pub values: Vec<f64>,
}

impl Seen {
    /// Mean of the predictors, weighted by the pixels' shares; `None` where there is no pixel.
    pub fn mean(&self, predictors: usize) -> Option<Vec<f64>> {
        let weight: f64 = self.weights.iter().sum();
        let of = |i: usize| self.values.iter().skip(i).step_by(predictors).zip(&self.weights);
        let mean = |i| of(i).map(|(v, w)| v * w).sum::<f64>() / weight;
        (weight > 0.0).then(|| (0..predictors).map(mean).collect())
    }

    /// Share of the parcel.
    pub fn share(&self) -> f64 {
        self.weights.iter().sum::<f64>() / self.whole_px
    }
}

/// What the model says of a parcel at an epoch: few numbers, whatever the number of its pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Mean, with the predictors cut, t d.m./ha.
    pub agb_t_per_ha: f64,
    /// Mean without the cut where biomass is high.
    pub uncut_agb_t_per_ha: f64,
    /// Of the logarithm of the mean, by coefficient.
    pub gradient: Vec<f64>,
    /// Mean by member of a forest.
    pub members: Vec<f64>,
    /// Share of the seen pixels where the index is saturated.
    pub saturated_share: f64,
    /// Share of the seen pixels beyond the other end of the calibration.
    pub beyond_share: f64,
    /// Share of the parcel that has predictors.
    pub seen_share: f64,
    /// Mean number of clear dates a pixel.
    pub observations: f64,
    /// Mean correlation of the residuals over all pairs of pixels, each with itself included.
    pub pair_correlation: f64,
    /// Whether the parcel lies within the area of the plots.
    pub near_plots: bool,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Lower triangle L with `L L'` the matrix; a direction without variance is a column of zeros. `None` for a matrix that is no
/// covariance.
pub fn cholesky(matrix: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let n = matrix.len();
    let mut l = vec![vec![0.0; n]; n];
    for j in 0..n {
        let rest = matrix[j][j] - l[j][..j].iter().map(|v| v * v).sum::<f64>();
        if rest < -1e-9 * matrix[j][j].abs() || !rest.is_finite() {
            return None;
        }
        let pivot = rest.max(0.0).sqrt();
        l[j][j] = pivot;
        for i in j + 1..n {
            if (matrix[i][j] - matrix[j][i]).abs() > 1e-9 * (matrix[i][i] * matrix[j][j]).abs().sqrt() {
                return None;
            }
            let above = matrix[i][j] - dot(&l[i][..j], &l[j][..j]);
            l[i][j] = if pivot > 0.0 { above / pivot } else { 0.0 };
        }
    }
    Some(l)
}

/// Mean correlation over all pairs of places, weighted by the product of their shares.
fn pair_correlation(shares: &[f64], places_m: &[[f64; 2]], of: impl Fn(f64) -> f64) -> f64 {
    let n = shares.len();
    let taken = n.min(PAIRS_OF);
    let members: Vec<(f64, [f64; 2])> = (0..taken).map(|k| k * n / taken).map(|i| (shares[i], places_m[i])).collect();
    let total: f64 = members.iter().map(|m| m.0).sum();
    if total <= 0.0 {
        return 1.0;
    }
    let mut sum = 0.0;
    for (i, (a, p)) in members.iter().enumerate() {
        sum += a * a;
        for (b, q) in &members[..i] {
            sum += 2.0 * a * b * of((p[0] - q[0]).hypot(p[1] - q[1]));
        }
    }
    sum / (total * total)
}

/// What the method says of a parcel. `predictions` are its own by epoch, as far as it was seen.
///
/// # Errors
/// A forest type that the set does not know, or a pool it has no value for.
pub fn chain(
    evidence: &Evidence,
    settings: &IndexModel,
    model: &Model,
    predictions: Option<&BTreeMap<Date, Prediction>>,
) -> Assessed {
    let refuse = |epoch, reason, message: String| Refusal { epoch, reason, message };
    let set = evidence.parameters;
    let (stated, zone) = (settings.forest_type.as_deref(), settings.ecological_zone.as_deref());
    let (type_id, forest_type) = evidence.forest_type(METHOD, stated, zone)?;
    let unknown = |e: ParameterError| refuse(None, Reason::OutOfModelDomain, format!("attribute forest_type: {e}"));
    let factors = set.factors(forest_type).map_err(unknown)?;

    let hash = &model.sha256[..16];
    let mut chain = Chain::new(format!("{METHOD}/{}/{hash}/{type_id}", model.file.name), Status::Issuable);
    if model.approval().is_none() {
        chain.flags.push(Flag::UnapprovedModel);
    }
    if !set.approved() {
        chain.flags.push(Flag::UnapprovedParameters);
    }
    if model.file.calibration.plots < ISSUABLE_PLOTS {
        chain.flags.push(Flag::FewPlots);
        chain.status = Status::ScreeningOnly;
    }
    if model.file.validation.is_weak(settings.min_r2) {
        chain.flags.push(Flag::WeakModel);
        chain.status = Status::ScreeningOnly;
    }
    let source = |what: &str| format!("{METHOD}/{}/{what}", model.identity);
    let parameter = |id: &str, value: f64, se: f64| {
        Factor::lognormal(Part::Allometry, format!("parameter/{}/{id}", set.name()), value, se / value)
    };
    let cf = factors.carbon_fraction;
    let mut carbon = vec![chain.factor(parameter(&forest_type.carbon_fraction, cf.value.get(), cf.se.get()))];
    if let Some(cv) = settings.plot_agb_cv.filter(|cv| *cv > 0.0) {
        carbon.push(chain.factor(Factor::lognormal(Part::Allometry, source("plot_agb"), 1.0, cv)));
    }
    let pools = evidence.living_pools(METHOD, type_id, &carbon, || {
        let (ratio, id) = factors.root_to_shoot.zip(forest_type.root_to_shoot.as_ref())?;
        Some(chain.factor(parameter(id, ratio.value, ratio.se)))
    })?;

    let mut refused = Vec::new();
    for epoch in evidence.epochs {
        let found = predictions.and_then(|p| p.get(epoch));
        let prediction = match found {
            Some(p) if p.seen_share >= settings.min_seen_share => p,
            _ => {
                let share = found.map_or(0.0, |p| p.seen_share);
                let message = format!(
                    "found clear observations of {:.1} % of the parcel in the season {} of that year, expected at least \
                     {:.1} % ([biomass.index_model] min_seen_share) from a sensor the model was calibrated with ({}); add \
                     scenes, or choose another epoch",
                    100.0 * share,
                    settings.season,
                    100.0 * settings.min_seen_share,
                    model.file.calibration.sensors.join(", ")
                );
                refused.push(refuse(Some(*epoch), Reason::NoClearObservation, message));
                continue;
            }
        };
        if !prediction.near_plots && !chain.flags.contains(&Flag::OutsideCalibrationArea) {
            chain.flags.push(Flag::OutsideCalibrationArea);
            chain.status = Status::ScreeningOnly;
        }
        let saturated = prediction.saturated_share > settings.beyond_share;
        let mut flags = Vec::new();
        if prediction.observations < f64::from(settings.min_observations) {
            flags.push(Flag::FewObservations);
        }
        if saturated {
            flags.push(Flag::Saturated);
        }
        if prediction.beyond_share > settings.beyond_share {
            flags.push(Flag::Extrapolated);
        }
        let own: Vec<usize> = biomass(evidence, settings, model, *epoch, prediction)
            .into_iter()
            .map(|factor| chain.factor(factor))
            .collect();
        let terms = |of_pool: &Vec<usize>| {
            vec![Term { coefficient: 1.0, factors: [of_pool.as_slice(), own.as_slice()].concat() }]
        };
        let densities = pools.iter().map(|(pool, of_pool)| (*pool, terms(of_pool))).collect();
        chain.epochs.insert(*epoch, Epoch { flags, densities, saturated });
    }
    Ok((chain, refused))
}

/// Variance of Student's distribution; of fewer than 3 degrees of freedom, where it has none, that of 3.
fn variance_of_student(degrees_of_freedom: usize) -> f64 {
    let n = degrees_of_freedom.max(3) as f64;
    n / (n - 2.0)
}

/// Factors whose product is the aboveground biomass at an epoch, t d.m./ha.
fn biomass(evidence: &Evidence, settings: &IndexModel, model: &Model, epoch: Date, p: &Prediction) -> Vec<Factor> {
    let source = |what: String| format!("{METHOD}/{}/{what}", model.identity).into();
    let value = p.agb_t_per_ha;
    let unsure = variance_of_student(model.file.degrees_of_freedom);
    let (shape, sources) = match &model.file.linear {
        Some(linear) => {
            let n = model.cholesky.len();
            let loading = |j: usize| (0..n).map(|i| model.cholesky[i][j] * p.gradient[i]).sum::<f64>() * unsure.sqrt();
            let mut sources: Vec<_> = (0..n).map(|j| (source(format!("coefficient/{j}")), loading(j))).collect();
            let correction = (linear.correction_cv * linear.correction_cv).ln_1p().sqrt();
            sources.push((source("correction".into()), correction));
            (Shape::Lognormal, sources)
        }
        None => (Shape::Members(p.members.as_slice().into()), vec![(source("member".into()), 1.0)]),
    };
    let mut factors = vec![Factor { value, part: Part::Model, shape, sources }];
    let deviation = (model.file.s2 * unsure * p.pair_correlation).sqrt();
    if deviation > 0.0 {
        let lasting = settings.residual_correlation;
        let sources = vec![
            (evidence.own("index_model/residual"), deviation * lasting.sqrt()),
            (evidence.own(&format!("index_model/residual/{epoch}")), deviation * (1.0 - lasting).sqrt()),
        ];
        factors.push(Factor { value: 1.0, part: Part::Residual, shape: Shape::Lognormal, sources });
    }
    let more = if value > 0.0 { p.uncut_agb_t_per_ha / value } else { 1.0 };
    if more.is_finite() && (more - 1.0).abs() > 1e-12 {
        let shape = Shape::Uniform { min: more.min(1.0), max: more.max(1.0) };
        let sources = vec![(source("saturation".into()), 1.0)];
        factors.push(Factor { value: 1.0, part: Part::Saturation, shape, sources });
    }
    factors
}

#[cfg(test)]
mod tests {
    use super::super::ParameterSet;
    use super::super::draw::Draws;
    use super::super::monte_carlo::{MonteCarlo, Tonnes};
    use super::*;
    use crate::carbon::Pool;
    use crate::units::Hectares;
    use jiff::civil::date;
    use std::collections::BTreeSet;

    const A: Date = date(2018, 7, 15);
    const B: Date = date(2023, 7, 15);

    fn range(predictor: &str, rises: bool) -> Range {
        Range { predictor: predictor.into(), min: 0.3, p5: 0.35, p95: 0.8, max: 0.85, rises }
    }

    fn file(form: Form, predictors: &[&str], coefficients: &[f64], covariance: &[&[f64]]) -> ModelFile {
        ModelFile {
            format: FORMAT,
            name: "test".into(),
            approved_by: String::new(),
            approved_on: String::new(),
            unit: UNIT.into(),
            form,
            predictors: predictors.iter().map(|p| (*p).to_owned()).collect(),
            season: Season::new("06-01", "09-15").unwrap(),
            years: 0,
            s2: 0.04,
            degrees_of_freedom: 58,
            ranges: predictors.iter().map(|p| range(p, true)).collect(),
            calibration: Calibration {
                plots_sha256: "0".into(),
                plots: 60,
                refused: 0,
                years: (2018, 2019),
                area: [25.0, 45.0, 26.0, 46.0],
                sensors: vec!["sentinel-2".into()],
                pixel_m: 10.0,
                observe: [("nbar".to_owned(), "false".to_owned())].into(),
                mean_t_per_ha: 80.0,
                max_t_per_ha: 200.0,
            },
            validation: Validation::default(),
            variogram: Some(Variogram {
                nugget: 0.01,
                sill: 0.03,
                range_m: 200.0,
                nugget_range_m: None,
                pairs: 500,
                pure_nugget: false,
            }),
            linear: form.is_linear().then(|| Linear {
                coefficients: coefficients.to_vec(),
                covariance: covariance.iter().map(|r| r.to_vec()).collect(),
                covariance_kind: "ols".into(),
                correction: Correction::Duan,
                baskerville: 1.02,
                duan: 1.0,
                snowdon: 1.01,
                correction_cv: 0.0,
            }),
            forest: None,
        }
    }

    fn exponential() -> ModelFile {
        file(Form::Exponential, &["ndvi"], &[0.8, 4.9], &[&[0.04, -0.06], &[-0.06, 0.1]])
    }

    fn model(file: &ModelFile) -> Model {
        Model::parse(&file.to_toml().unwrap()).unwrap_or_else(|e| panic!("{e}"))
    }

    fn seen(values: &[f64]) -> Seen {
        let n = values.len();
        Seen {
            whole_px: n as f64,
            weights: vec![1.0; n],
            places_m: (0..n).map(|i| [10.0 * (i % 10) as f64, 10.0 * (i / 10) as f64]).collect(),
            observations: vec![5; n],
            values: values.to_vec(),
        }
    }

    fn settings() -> IndexModel {
        toml::from_str(
            "model = \"m.toml\"\nform = \"exponential\"\npredictors = [\"ndvi\"]\nseason = [\"06-01\", \"09-15\"]\n\
             forest_type = \"temperate_mountain_conifer\"",
        )
        .unwrap()
    }

    fn assess(model: &Model, settings: &IndexModel, found: &BTreeMap<Date, Prediction>, pools: &[Pool]) -> Assessed {
        let parameters = ParameterSet::builtin("ipcc-2006").unwrap();
        let (attributes, observations) = (BTreeMap::new(), BTreeMap::new());
        let epochs: BTreeSet<Date> = [A, B].into();
        let evidence = Evidence {
            parcel_id: "p",
            area: Hectares::new(10.0).unwrap(),
            attributes: &attributes,
            epochs: &epochs,
            observations: &observations,
            lost: None,
            lost_area: None,
            seen: None,
            pools,
            parameters: &parameters,
        };
        chain(&evidence, settings, model, Some(found))
    }

    fn tonnes(model: &Model, settings: &IndexModel, at: [&Seen; 2], draws: usize) -> Tonnes {
        let found = [A, B].into_iter().zip(at).map(|(d, s)| (d, model.predict(s).unwrap())).collect();
        let (chain, refused) = assess(model, settings, &found, &[Pool::Aboveground]).unwrap();
        assert!(refused.is_empty());
        MonteCarlo::new(Draws::new(1, draws)).tonnes(&chain, &Factor::exact(1.0), &[[A, B]])
    }

    // One pixel by hand: exp(0.8 + 4.9 x 0.6) t d.m./ha; its ln variance from the coefficients is 0.04 - 2 x 0.06 x 0.6 +
    // 0.1 x 0.36 = 0.004, times 58 / 56 as it was estimated, so the cv of a lognormal is sqrt(exp(0.004 x 58 / 56) - 1).
    #[test]
    fn one_pixel_is_exact() {
        let model = model(&exponential());
        let one = seen(&[0.6]);
        let p = model.predict(&one).unwrap();
        assert!((p.agb_t_per_ha - (0.8f64 + 4.9 * 0.6).exp()).abs() < 1e-12);
        assert_eq!(p.gradient, [1.0, 0.6]);
        assert_eq!((p.pair_correlation, p.saturated_share, p.beyond_share, p.observations), (1.0, 0.0, 0.0, 5.0));
        let stock = &tonnes(&model, &settings(), [&one, &one], 20_000).stocks[&(A, Pool::Aboveground)];
        let expected = 0.51 * p.agb_t_per_ha;
        assert!((stock.spread.estimate / expected - 1.0).abs() < 1e-12);
        assert!((stock.parts[0].sqrt() / expected / (0.004f64 * 58.0 / 56.0).exp_m1().sqrt() - 1.0).abs() < 0.01);
        assert!((stock.parts[2].sqrt() / expected / (0.04f64 * 58.0 / 56.0).exp_m1().sqrt() - 1.0).abs() < 0.01);
    }

    // The one lognormal factor of an uneven parcel against the simulation of every pixel with every draw of the coefficients.
    #[test]
    fn the_gradient_stands_for_a_simulation_of_every_pixel() {
        let values: Vec<f64> = (0..200).map(|i| 0.32 + 0.47 * f64::from(i) / 200.0).collect();
        for (form, coefficients) in [(Form::Exponential, [0.8, 4.9]), (Form::Power, [5.5, 3.0])] {
            // What 30 plots over the range with a residual deviation of 0.35 tell: s2 (X'X)^-1 of a line.
            let x = |v: f64| if form == Form::Power { v.ln() } else { v };
            let plots: Vec<f64> = (0..30).map(|i| x(0.3 + 0.55 * f64::from(i) / 29.0)).collect();
            let mean = plots.iter().sum::<f64>() / 30.0;
            let sxx: f64 = plots.iter().map(|p| (p - mean) * (p - mean)).sum();
            let (v, cross) = (0.35f64.powi(2), -0.35f64.powi(2) * mean / sxx);
            let rows: [&[f64]; 2] = [&[v * (1.0 / 30.0 + mean * mean / sxx), cross], &[cross, v / sxx]];
            let model = model(&file(form, &["ndvi"], &coefficients, &rows));
            let all = seen(&values);
            let stock = tonnes(&model, &settings(), [&all, &all], 20_000).stocks[&(A, Pool::Aboveground)].clone();
            let draws = Draws::new(77, 20_000);
            let (mut z0, mut z1) = (Vec::new(), Vec::new());
            draws.fill("a", &mut z0);
            draws.fill("b", &mut z1);
            let l = &model.cholesky;
            let means: Vec<f64> = z0
                .iter()
                .zip(&z1)
                .map(|(a, b)| {
                    let (b0, b1) = (coefficients[0] + l[0][0] * a, coefficients[1] + l[1][0] * a + l[1][1] * b);
                    0.51 * values.iter().map(|v| (b0 + b1 * x(*v)).exp()).sum::<f64>() / 200.0
                })
                .collect();
            let mean = means.iter().sum::<f64>() / means.len() as f64;
            let se = (means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / (means.len() - 1) as f64).sqrt();
            // What is simulated here takes the covariance for known; the model has it from 58 degrees of freedom.
            let se = se * (58.0f64 / 56.0).sqrt();
            assert!((stock.parts[0].sqrt() / se - 1.0).abs() < 0.02, "{form:?}: {} {se}", stock.parts[0].sqrt());
            assert!((stock.spread.estimate / mean - 1.0).abs() < 0.01, "{form:?}");
        }
    }

    // Two dates of one parcel: the coefficients are one draw, so an unchanged parcel has no model error in its change; what
    // the model does not explain is the dates' own, unless it is said to last.
    #[test]
    fn the_change_of_an_unchanged_parcel_has_no_model_error() {
        let model = model(&exponential());
        let all = seen(&[0.5, 0.55, 0.6, 0.65]);
        let of = |lasting: f64| {
            let settings = IndexModel { residual_correlation: lasting, ..settings() };
            tonnes(&model, &settings, [&all, &all], 10_000).deltas[&(A, B)].clone()
        };
        let (own, half, whole) = (of(0.0), of(0.5), of(1.0));
        assert_eq!(own.spread.estimate, 0.0);
        assert!(own.spread.ci90.0 < 0.0 && own.spread.ci90.1 > 0.0);
        assert_eq!((own.parts[0], own.parts[1]), (0.0, 0.0), "coefficients and carbon fraction cancel");
        assert!((half.parts[2] / own.parts[2] - 0.5).abs() < 0.02, "{} {}", half.parts[2], own.parts[2]);
        assert!(whole.spread.se < 1e-9);
    }

    // Beyond the 95th percentile an index tells of no growth; the doubt that leaves is its own part, and the same at both
    // dates.
    #[test]
    fn saturated_growth_is_worth_nothing() {
        let model = model(&exponential());
        let (before, after) = (seen(&[0.80; 4]), seen(&[0.88; 4]));
        let (p, q) = (model.predict(&before).unwrap(), model.predict(&after).unwrap());
        assert_eq!(p.agb_t_per_ha, q.agb_t_per_ha);
        assert!((q.uncut_agb_t_per_ha / q.agb_t_per_ha - (4.9f64 * 0.08).exp()).abs() < 1e-12);
        assert_eq!((p.saturated_share, q.saturated_share), (0.0, 1.0));
        let found = [(A, p), (B, q)].into();
        let (chain, _) = assess(&model, &settings(), &found, &[Pool::Aboveground]).unwrap();
        assert!(!chain.epochs[&A].saturated && chain.epochs[&B].saturated);
        assert_eq!(chain.epochs[&B].flags, [Flag::Saturated]);
        let delta = tonnes(&model, &settings(), [&before, &after], 4_000).deltas[&(A, B)].clone();
        assert!(delta.spread.estimate.abs() < 1e-12 && delta.parts[4] > 0.0);
        let both = tonnes(&model, &settings(), [&after, &after], 4_000).deltas[&(A, B)].clone();
        assert_eq!(both.parts[4], 0.0, "one draw for both dates");
        // One of twenty pixels is less than the share that counts.
        let mostly: Vec<f64> = (0..20).map(|i| if i == 0 { 0.9 } else { 0.5 }).collect();
        let p = model.predict(&seen(&mostly)).unwrap();
        assert!((p.saturated_share - 0.05).abs() < 1e-12);
        let (chain, _) = assess(&model, &settings(), &[(A, p)].into(), &[Pool::Aboveground]).unwrap();
        assert!(!chain.epochs[&A].saturated && chain.epochs[&A].flags.is_empty());
    }

    #[test]
    fn an_index_that_falls_with_biomass_saturates_at_its_low_end() {
        let mut falling = file(Form::Exponential, &["swir"], &[6.0, -3.0], &[&[0.01, 0.0], &[0.0, 0.01]]);
        falling.ranges = vec![range("swir", false)];
        let model = model(&falling);
        let of = |x: f64| model.predict(&seen(&[x])).unwrap();
        assert_eq!((of(0.2).saturated_share, of(0.2).beyond_share), (1.0, 0.0));
        assert_eq!(of(0.2).agb_t_per_ha, of(0.35).agb_t_per_ha);
        assert!(of(0.2).uncut_agb_t_per_ha > of(0.2).agb_t_per_ha);
        assert_eq!((of(0.9).saturated_share, of(0.9).beyond_share), (0.0, 1.0));
        assert_eq!(of(0.9).agb_t_per_ha, of(0.85).agb_t_per_ha);
    }

    // Below the calibration the model says what it says at its lower end, and that it does not know better.
    #[test]
    fn below_the_range_is_extrapolated_and_cut() {
        let mut power = file(Form::Power, &["ndvi"], &[5.5, 3.0], &[&[0.01, 0.0], &[0.0, 0.01]]);
        power.s2 = 0.0;
        let model = model(&power);
        let p = model.predict(&seen(&[-0.1, 0.3])).unwrap();
        assert!((p.agb_t_per_ha - (5.5 + 3.0 * 0.3f64.ln()).exp()).abs() < 1e-9);
        assert_eq!((p.beyond_share, p.saturated_share), (0.5, 0.0));
        let (chain, _) = assess(&model, &settings(), &[(A, p)].into(), &[Pool::Aboveground]).unwrap();
        assert_eq!(chain.epochs[&A].flags, [Flag::Extrapolated]);
        assert!(model.predict(&seen(&[])).is_none());
    }

    // Two pixels at a distance of one range: (1 + 1 + 2/e) / 4. Unknown range: one error for all.
    #[test]
    fn pixels_are_not_independent() {
        let two = pair_correlation(&[1.0, 1.0], &[[0.0, 0.0], [0.0, 200.0]], |d| (-d / 200.0).exp());
        assert!((two - (2.0 + 2.0 * (-1.0f64).exp()) / 4.0).abs() < 1e-15);
        let n = 1600;
        let places: Vec<[f64; 2]> = (0..n).map(|i| [10.0 * f64::from(i % 40), 10.0 * f64::from(i / 40)]).collect();
        let taken = pair_correlation(&vec![1.0; n as usize], &places, |d| (-d / 150.0).exp());
        let mut whole = 0.0;
        for p in &places {
            whole += places.iter().map(|q| (-(p[0] - q[0]).hypot(p[1] - q[1]) / 150.0).exp()).sum::<f64>();
        }
        whole /= f64::from(n * n);
        assert!((taken / whole - 1.0).abs() < 0.02, "{taken} {whole}");
        // Three quarters over 200 m, and the nugget over 50 m, or, as nothing is said of it, over 200 m as well.
        let mut v = exponential().variogram.unwrap();
        assert!((v.correlation(100.0) - (-0.5f64).exp()).abs() < 1e-15);
        v.nugget_range_m = Some(50.0);
        assert!((v.correlation(100.0) - 0.75 * (-0.5f64).exp() - 0.25 * (-2.0f64).exp()).abs() < 1e-15);
        let mut unknown = exponential();
        unknown.variogram = None;
        assert_eq!(model(&unknown).predict(&seen(&[0.5; 100])).unwrap().pair_correlation, 1.0);
    }

    #[test]
    fn members_of_a_forest_are_drawn_as_a_whole() {
        let mut forest = file(Form::RandomForest, &["ndvi"], &[], &[]);
        forest.forest =
            Some(Forest { members: vec![vec!["0<0.5:1:2 =10 =50".into(), "=30".into()], vec!["=40".into()]] });
        forest.s2 = 0.0;
        let model = model(&forest);
        // Members say 20 and 40 on the left, 40 and 40 on the right.
        let (left, right) = (model.predict(&seen(&[0.4])).unwrap(), model.predict(&seen(&[0.6])).unwrap());
        assert_eq!((left.agb_t_per_ha, left.members.as_slice()), (30.0, [20.0, 40.0].as_slice()));
        assert_eq!(right.members, [40.0, 40.0]);
        let delta = tonnes(&model, &settings(), [&seen(&[0.4]), &seen(&[0.6])], 4_000).deltas[&(A, B)].clone();
        // 0.51 x (20 or 0): the same member at both dates.
        assert!((delta.spread.estimate - 5.1).abs() < 1e-12);
        assert!((delta.parts[0].sqrt() - 5.1).abs() < 0.01, "{}", delta.parts[0].sqrt());
    }

    #[test]
    fn trees_that_lead_nowhere_are_refused() {
        for bad in
            ["", "=x", "0<0.5:1:2 =1", "0<0.5:0:1 =1", "1<0.5:1:2 =1 =2", "0<0.5:1 =1", "=nan", "0<0.5:1:2:3 =1 =1"]
        {
            assert!(Tree::parse(bad, 1).is_err(), "{bad}");
        }
        let tree = Tree::parse("0<0.5:1:2 =1 1<2:3:4 =2 =3", 2).unwrap();
        assert_eq!([[0.5, 9.0], [0.6, 2.0], [0.6, 2.1]].map(|x| tree.predict(&x)), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn what_may_be_issued_and_what_not() {
        let status = |file: &ModelFile, near: bool| {
            let model = model(file);
            let p = Prediction { near_plots: near, ..model.predict(&seen(&[0.6])).unwrap() };
            let (chain, _) = assess(&model, &settings(), &[(A, p)].into(), &[Pool::Aboveground]).unwrap();
            assert!(chain.model_id.starts_with(&format!("index_model/test/{}", &model.sha256()[..16])));
            (chain.status, chain.flags)
        };
        let unapproved = [Flag::UnapprovedModel, Flag::UnapprovedParameters];
        assert_eq!(status(&exponential(), true), (Status::Issuable, unapproved.to_vec()));
        let (is, flags) = status(&exponential(), false);
        assert_eq!((is, flags[2]), (Status::ScreeningOnly, Flag::OutsideCalibrationArea));
        let mut few = exponential();
        few.calibration.plots = 29;
        (few.approved_by, few.approved_on) = ("somebody".into(), "2024-06-30".into());
        assert_eq!(status(&few, true), (Status::ScreeningOnly, vec![Flag::UnapprovedParameters, Flag::FewPlots]));
        let m = model(&exponential());
        assert!(m.is_near_plots(25.5, 45.5, 0.0) && !m.is_near_plots(26.1, 45.5, 0.0));
        assert!(m.is_near_plots(26.1, 45.5, 10.0) && !m.is_near_plots(25.5, 46.1, 10.0));
    }

    // The mean of the plots has a cross-validated R2 of 0: a model that does no better says nothing of a parcel.
    #[test]
    fn a_model_no_better_than_the_mean_is_for_screening() {
        let metrics = |r2: f64| Metrics {
            plots: 60,
            folds: Some(10),
            block_m: Some(500.0),
            rmse_t_per_ha: 40.0,
            rmse_percent: 50.0,
            bias_t_per_ha: 0.0,
            mae_t_per_ha: 30.0,
            r2,
            tre_percent: 0.0,
            mpe_percent: 10.0,
        };
        let of = |spatial: Option<f64>, random: Option<f64>, min_r2: Option<f64>| {
            let mut file = exponential();
            file.validation =
                Validation { spatial: spatial.map(metrics), random: random.map(metrics), fitted: Some(metrics(0.9)) };
            let model = model(&file);
            let predictions = [(A, model.predict(&seen(&[0.6])).unwrap())].into();
            let settings = IndexModel { min_r2, ..settings() };
            let (chain, _) = assess(&model, &settings, &predictions, &[Pool::Aboveground]).unwrap();
            assert_eq!(chain.flags.contains(&Flag::WeakModel), chain.status == Status::ScreeningOnly);
            chain.status
        };
        for (spatial, random, min_r2, expected) in [
            (Some(0.01), Some(0.5), None, Status::Issuable),
            (Some(0.0), Some(0.5), None, Status::ScreeningOnly),
            (Some(-0.2), Some(0.5), None, Status::ScreeningOnly),
            (Some(f64::NAN), None, None, Status::ScreeningOnly),
            (None, Some(-0.1), None, Status::ScreeningOnly),
            (None, Some(0.1), None, Status::Issuable),
            (Some(0.49), None, Some(0.5), Status::ScreeningOnly),
            (Some(0.5), None, Some(0.5), Status::Issuable),
            (None, None, Some(0.5), Status::ScreeningOnly),
            (None, None, None, Status::Issuable),
        ] {
            assert_eq!(of(spatial, random, min_r2), expected, "{spatial:?} {random:?} {min_r2:?}");
        }
    }

    #[test]
    fn what_was_not_seen_is_refused_by_epoch_and_pools_by_name() {
        let model = model(&exponential());
        let p = model.predict(&seen(&[0.6])).unwrap();
        let little = Prediction { seen_share: 0.69, ..p.clone() };
        let (chain, refused) =
            assess(&model, &settings(), &[(A, p.clone()), (B, little)].into(), &[Pool::Aboveground]).unwrap();
        assert_eq!(chain.epochs.keys().collect::<Vec<_>>(), [&A]);
        assert_eq!((refused[0].epoch, refused[0].reason), (Some(B), Reason::NoClearObservation));
        assert!(refused[0].message.contains("69.0 % of the parcel in the season 06-01 to 09-15"), "{refused:?}");
        let soil = assess(&model, &settings(), &[(A, p.clone())].into(), &[Pool::Soil]).unwrap_err();
        assert!(soil.message.contains("pool soil"), "{soil:?}");
        let nameless = IndexModel { forest_type: None, ..settings() };
        assert!(assess(&model, &nameless, &[(A, p.clone())].into(), &[Pool::Soil]).is_err());
        // Roots are counted once, with the ratio of the set; plots' own error is one for all.
        let both = [Pool::Aboveground, Pool::Belowground];
        let sure = IndexModel { plot_agb_cv: Some(0.1), ..settings() };
        let (chain, _) = assess(&model, &sure, &[(A, p.clone())].into(), &both).unwrap();
        let of = |pool| chain.estimate(&chain.epochs[&A].densities[&pool]);
        assert!((of(Pool::Belowground) / of(Pool::Aboveground) - 0.29).abs() < 0.2);
        let plots = chain.factors.iter().find(|f| f.sources.iter().any(|(s, _)| s.ends_with("plot_agb"))).unwrap();
        assert_eq!((plots.part, plots.value), (Part::Allometry, 1.0));
        assert!(!plots.sources[0].0.starts_with("parcel/"));
    }

    #[test]
    fn a_model_file_comes_back_whole_and_approving_it_changes_no_draw() {
        let plain = model(&exponential());
        assert_eq!(plain.file(), &exponential());
        let approved = ModelFile { approved_by: "A".into(), approved_on: "2024-06-30".into(), ..exponential() };
        let approved = model(&approved);
        assert_eq!(approved.approval(), Some(("A", date(2024, 6, 30))));
        assert_ne!(plain.sha256(), approved.sha256());
        assert_eq!(plain.identity, approved.identity);
        let other = model(&ModelFile { s2: 0.05, ..exponential() });
        assert_ne!(plain.identity, other.identity);
    }

    #[test]
    fn what_is_wrong_with_a_model_file_is_said() {
        let refused = |change: &dyn Fn(&mut ModelFile)| {
            let mut file = exponential();
            change(&mut file);
            Model::parse(&file.to_toml().unwrap()).unwrap_err()
        };
        for (change, part) in [
            (&(|f: &mut ModelFile| f.format = 9) as &dyn Fn(&mut ModelFile), "format 9"),
            (&|f| f.unit = "t/mu".into(), "unit \"t/mu\""),
            (&|f| f.approved_on = "June".into(), "approved_on"),
            (&|f| f.ranges.clear(), "ranges"),
            (&|f| f.ranges[0].p5 = 0.9, "a range of ndvi"),
            (&|f| f.s2 = f64::NAN, "s2"),
            (&|f| f.linear = None, "numbers of another"),
            (&|f| f.linear.as_mut().unwrap().coefficients.push(1.0), "2 and 2 x 2"),
            (&|f| f.linear.as_mut().unwrap().covariance[0][0] = -1.0, "covariance"),
            (&|f| f.linear.as_mut().unwrap().covariance[0][1] = 5.0, "covariance"),
            (&|f| f.linear.as_mut().unwrap().duan = 0.0, "correction"),
            (&|f| f.variogram.as_mut().unwrap().range_m = 0.0, "variogram"),
        ] {
            let found = refused(change);
            assert!(found.contains(part), "{found}, {part}");
        }
        let text = exponential().to_toml().unwrap().replace("s2 =", "s3 =");
        assert!(Model::parse(&text).unwrap_err().contains("unknown field"));
    }

    #[test]
    fn a_file_that_was_changed_after_the_calibration_is_refused() {
        let text = exponential().to_toml().unwrap();
        for (from, to) in [
            ("4.9", "4.8"),
            ("p95 = 0.8", "p95 = 0.95"),
            ("plots = 60", "plots = 600"),
            ("name = \"test\"", "name = \"best\""),
            ("s2 = 0.04", "s2 = 0.01"),
        ] {
            let edited = text.replacen(from, to, 1);
            assert_ne!(edited, text, "{from}");
            let found = Model::parse(&edited).unwrap_err();
            assert!(found.contains("was changed after the calibration"), "{from}: {found}");
        }
        // How it is written does not matter, nor who approves it.
        for harmless in [
            text.replacen("4.9", "4.90", 1).replacen("\n[calibration]", "\n# plots of 2018\n[calibration]", 1),
            text.replacen("approved_by = \"\"", "approved_by = \"A\"", 1).replacen(
                "approved_on = \"\"",
                "approved_on = \"2024-06-30\"",
                1,
            ),
        ] {
            assert_ne!(harmless, text);
            assert_eq!(Model::parse(&harmless).unwrap().identity, model(&exponential()).identity);
        }
        let line = text.lines().find(|l| l.starts_with(CONTENTS)).unwrap();
        assert!(Model::parse(&text.replace(line, "")).unwrap_err().contains("no contents_sha256"));
    }

    #[test]
    fn settings_must_be_those_of_the_model() {
        let model = model(&exponential());
        let observe = |nbar: &str| [("nbar".to_owned(), nbar.to_owned())].into();
        assert_eq!(model.agrees(&settings(), &observe("false")), Ok(()));
        let (key, theirs, ours) = model.agrees(&settings(), &observe("true")).unwrap_err();
        assert_eq!((key.as_str(), theirs.as_str(), ours.as_str()), ("observe.nbar", "false", "true"));
        let other = IndexModel { season: Season::new("06-01", "09-30").unwrap(), ..settings() };
        assert!(model.agrees(&other, &observe("false")).unwrap_err().0.ends_with("season"));
    }

    #[test]
    fn settings_that_cannot_be_are_refused_by_key() {
        for (change, key) in [
            (&(|s: &mut IndexModel| s.predictors.clear()) as &dyn Fn(&mut IndexModel), "predictors"),
            (&|s| s.predictors.push("nbr".into()), "predictors"),
            (&|s| s.years = 3, "years"),
            (&|s| s.min_seen_share = f64::NAN, "min_seen_share"),
            (&|s| s.residual_correlation = 1.1, "residual_correlation"),
            (&|s| s.plot_agb_cv = Some(-0.1), "plot_agb_cv"),
            (&|s| s.block_m = Some(0.0), "block_m"),
            (&|s| s.min_r2 = Some(1.1), "min_r2"),
        ] {
            let mut changed = settings();
            change(&mut changed);
            assert_eq!(changed.validate().unwrap_err().0, key);
        }
        assert_eq!(settings().validate(), Ok(()));
    }
}
