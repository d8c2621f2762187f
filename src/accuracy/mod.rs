//! How far can a map be trusted, and how large is what it shows? Areas and accuracies from a stratified reference sample.
//!
//! Olofsson et al. 2014, Remote Sensing of Environment 148:42-57, "Good practices for estimating area and assessing
//! accuracy of land change". Rows i are map classes (the strata) with the share W_i of the mapped area, columns j are
//! reference classes, n_ij counts samples:
//!
//! ```text
//! p_ij = W_i n_ij / n_i.         A_j = A p_.j,   p_.j = sum_i p_ij                                (Eq. 4, 8, 9)
//! S(p_.j)^2 = sum_i (W_i p_ij - p_ij^2) / (n_i. - 1)                                              (Eq. 10, 11)
//! O = sum_j p_jj                 V(O)   = sum_i W_i^2 U_i (1 - U_i) / (n_i. - 1)                  (Eq. 1, 5)
//! U_i = p_ii / p_i.              V(U_i) = U_i (1 - U_i) / (n_i. - 1)                              (Eq. 2, 6)
//! P_j = p_jj / p_.j              V(P_j) = 1 / A_j^2 [ A_j.^2 (1 - P_j)^2 U_j (1 - U_j) / (n_j. - 1)
//!                                         + P_j^2 sum_(i != j) A_i.^2 n_ij/n_i. (1 - n_ij/n_i.) / (n_i. - 1) ]   (Eq. 3, 7)
//! ```
//!
//! The paper counts pixels where this module has areas; both cancel. Half widths of 95 % intervals are 1.96 standard errors,
//! as in the paper. They hold for a random sample within each map class: where points were put by other means, no formula
//! makes the figures hold.
//!
//! [`matrix`] reads a finished error matrix, [`sample`] makes one of points over the maps of a run.

pub mod csv;
pub mod matrix;
pub mod sample;

use serde::Serialize;

/// Standard errors in half a 95 % interval, as Olofsson et al. 2014 take it.
pub const Z95: f64 = 1.96;

/// Why an error matrix says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixFault {
    /// The row or class that is meant.
    pub what: String,
    /// What was found.
    pub found: String,
    /// What is expected.
    pub expected: String,
    /// What to do.
    pub help: String,
}

impl MatrixFault {
    fn new(what: impl Into<String>, found: impl Into<String>, expected: impl Into<String>, help: &str) -> Self {
        MatrixFault { what: what.into(), found: found.into(), expected: expected.into(), help: help.to_owned() }
    }
}

/// Samples by map class and reference class, with the mapped area of each class. Map and reference have the same classes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ErrorMatrix {
    classes: Vec<String>,
    counts: Vec<Vec<u64>>,
    mapped_area_ha: Vec<f64>,
}

impl ErrorMatrix {
    /// A matrix with `counts[i][j]` samples of map class i and reference class j; areas in hectares.
    ///
    /// A class that covers nothing on the map may stand in it, without samples: its area is then estimated from what the
    /// other classes hide.
    ///
    /// # Errors
    /// Repeated classes, a matrix that is not square, an area that is negative or not finite or zero with samples, no area at
    /// all, a mapped class that was never sampled.
    pub fn new(classes: Vec<String>, counts: Vec<Vec<u64>>, mapped_area_ha: Vec<f64>) -> Result<Self, MatrixFault> {
        let n = classes.len();
        if let Some(twice) = classes.iter().enumerate().find_map(|(i, c)| classes[..i].contains(c).then_some(c)) {
            let help = "add the rows of one class up, or give them different names";
            return Err(MatrixFault::new(format!("class `{twice}`"), "the class twice", "each class once", help));
        }
        if n == 0 || counts.len() != n || mapped_area_ha.len() != n || counts.iter().any(|row| row.len() != n) {
            let found = format!("{n} classes, {} rows of counts, {} areas", counts.len(), mapped_area_ha.len());
            return Err(MatrixFault::new("matrix", found, "as many rows and columns as classes, at least one", ""));
        }
        for (class, &area) in classes.iter().zip(&mapped_area_ha) {
            if !(area.is_finite() && area >= 0.0) {
                let what = format!("class `{class}`, mapped_area_ha");
                return Err(MatrixFault::new(what, area.to_string(), "hectares, 0 or more", "correct the area"));
            }
        }
        let matrix = ErrorMatrix { classes, counts, mapped_area_ha };
        for i in 0..n {
            let (samples, area) = (matrix.row_samples(i), matrix.mapped_area_ha[i]);
            let what = format!("map class `{}`", matrix.classes[i]);
            if samples > 0 && area <= 0.0 {
                let help = "give the area that the class covers on the map, whether sampled or not";
                return Err(MatrixFault::new(what, format!("{samples} samples on 0 ha"), "an area above 0", help));
            }
            if samples == 0 && area > 0.0 {
                let help = "sample every class of the map (50 points or more is common), or map the area otherwise; nothing \
                            can be said about an area that nobody looked at";
                return Err(MatrixFault::new(what, format!("no sample on {area} ha"), "2 samples or more", help));
            }
        }
        if matrix.total_area_ha() <= 0.0 {
            let help = "give the areas that the classes cover on the map";
            return Err(MatrixFault::new("mapped_area_ha", "0 ha in all", "an area above 0", help));
        }
        Ok(matrix)
    }

    /// Names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Samples by map class (outer) and reference class.
    pub fn counts(&self) -> &[Vec<u64>] {
        &self.counts
    }

    fn total_area_ha(&self) -> f64 {
        self.mapped_area_ha.iter().sum()
    }

    fn row_samples(&self, i: usize) -> u64 {
        self.counts[i].iter().sum()
    }
}

/// What a reference sample says about one class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassEstimate {
    /// The class.
    pub class: String,
    /// Area on the map, hectares: biased by the map's errors.
    pub mapped_area_ha: f64,
    /// Samples that lie in the class on the map.
    pub map_samples: u64,
    /// Samples that are of the class by the reference.
    pub reference_samples: u64,
    /// Area adjusted for the map's errors, hectares.
    pub area_ha: f64,
    /// Half width of its 95 % interval, hectares.
    pub area_ci95_ha: Option<f64>,
    /// Share of the mapped class that is of the class; `None` where the map has none of it.
    pub users_accuracy: Option<f64>,
    /// Half width of its 95 % interval.
    pub users_accuracy_ci95: Option<f64>,
    /// Share of the class that the map shows; `None` where the reference has none of it.
    pub producers_accuracy: Option<f64>,
    /// Half width of its 95 % interval.
    pub producers_accuracy_ci95: Option<f64>,
}

/// What a reference sample says about a map. Half widths are `None` where a class has a single sample, since one sample has
/// no variance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimates {
    /// Mapped area of all classes, hectares.
    pub total_area_ha: f64,
    /// Samples in all.
    pub samples: u64,
    /// Share of the area that the map has right.
    pub overall_accuracy: f64,
    /// Half width of its 95 % interval.
    pub overall_accuracy_ci95: Option<f64>,
    /// One entry a class, in the order of the matrix.
    pub classes: Vec<ClassEstimate>,
    /// p_ij: share of the area that is class i on the map and class j in truth.
    pub proportions: Vec<Vec<f64>>,
    /// What limits the figures.
    pub notes: Vec<String>,
}

/// Area-adjusted estimates (formulas at the head of this module).
pub fn estimate(m: &ErrorMatrix) -> Estimates {
    let n = m.classes.len();
    let total = m.total_area_ha();
    let rows: Vec<u64> = (0..n).map(|i| m.row_samples(i)).collect();
    let weight: Vec<f64> = m.mapped_area_ha.iter().map(|a| a / total).collect();
    // Share of the samples of map class i that are class j by the reference; 0 in a class without area.
    let share = |i: usize, j: usize| if rows[i] == 0 { 0.0 } else { m.counts[i][j] as f64 / rows[i] as f64 };
    // s (1 - s) / (n_i. - 1): variance of a share; unknown from one sample, nothing where there is no area.
    let variance = |i: usize, j: usize| match rows[i] {
        0 => Some(0.0),
        1 => None,
        samples => Some(share(i, j) * (1.0 - share(i, j)) / (samples - 1) as f64),
    };
    let half_width = |variance: Option<f64>| variance.map(|v| Z95 * v.sqrt());
    let proportions: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| weight[i] * share(i, j)).collect()).collect();

    let overall: f64 = (0..n).map(|i| proportions[i][i]).sum();
    let overall_variance = (0..n).map(|i| Some(weight[i].powi(2) * variance(i, i)?)).sum::<Option<f64>>();
    let mut classes = Vec::with_capacity(n);
    for j in 0..n {
        let column: f64 = (0..n).map(|i| proportions[i][j]).sum();
        let column_variance = (0..n).map(|i| Some(weight[i].powi(2) * variance(i, j)?)).sum::<Option<f64>>();
        let producers = (column > 0.0).then(|| proportions[j][j] / column);
        let producers_variance = producers.and_then(|p| {
            let omitted =
                (0..n).filter(|&i| i != j).map(|i| Some(weight[i].powi(2) * variance(i, j)?)).sum::<Option<f64>>()?;
            let own = weight[j].powi(2) * variance(j, j)?;
            Some(((1.0 - p).powi(2) * own + p.powi(2) * omitted) / column.powi(2))
        });
        let mapped = rows[j] > 0;
        classes.push(ClassEstimate {
            class: m.classes[j].clone(),
            mapped_area_ha: m.mapped_area_ha[j],
            map_samples: rows[j],
            reference_samples: (0..n).map(|i| m.counts[i][j]).sum(),
            area_ha: total * column,
            area_ci95_ha: half_width(column_variance).map(|w| total * w),
            users_accuracy: mapped.then(|| share(j, j)),
            users_accuracy_ci95: half_width(variance(j, j)).filter(|_| mapped),
            producers_accuracy: producers,
            producers_accuracy_ci95: half_width(producers_variance),
        });
    }
    Estimates {
        total_area_ha: total,
        samples: rows.iter().sum(),
        overall_accuracy: overall,
        overall_accuracy_ci95: half_width(overall_variance),
        notes: notes(m, &rows),
        classes,
        proportions,
    }
}

fn notes(m: &ErrorMatrix, rows: &[u64]) -> Vec<String> {
    let mut notes = Vec::new();
    for (i, (class, &samples)) in m.classes.iter().zip(rows).enumerate() {
        if samples == 0 {
            notes.push(format!(
                "map class `{class}` covers nothing and has no sample: its user's accuracy is undefined (null)"
            ));
        } else if samples == 1 {
            notes.push(format!(
                "map class `{class}` has 1 sample: one sample has no variance, so every half width that the class enters is \
                 undefined (null); take 2 samples or more"
            ));
        } else if m.counts[i].contains(&samples) {
            notes.push(format!(
                "all {samples} samples of map class `{class}` are of one reference class: it adds nothing to the half \
                 widths, which says that no disagreement was seen, not that there is none"
            ));
        }
        if (0..rows.len()).all(|r| m.counts[r][i] == 0) {
            notes.push(format!("no sample is `{class}` by the reference: its producer's accuracy is undefined (null)"));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(counts: &[&[u64]], areas: &[f64]) -> ErrorMatrix {
        let classes = (0..areas.len()).map(|i| format!("c{i}")).collect();
        ErrorMatrix::new(classes, counts.iter().map(|r| r.to_vec()).collect(), areas.to_vec()).unwrap()
    }

    fn near(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "found {found}, expected {expected}");
    }

    // Mapped 180 ha of change and 2820 ha stable; rows 44/6 and 3/97.
    #[test]
    fn two_classes_by_hand() {
        let m = matrix(&[&[44, 6], &[3, 97]], &[180.0, 2820.0]);
        let e = estimate(&m);
        for (found, expected) in e.proportions.iter().flatten().zip([0.0528, 0.0072, 0.0282, 0.9118]) {
            near(*found, expected, 1e-12);
        }
        let change = &e.classes[0];
        near(change.area_ha, 243.0, 1e-9);
        near(change.area_ci95_ha.unwrap(), 96.1669, 5e-5);
        near(change.area_ci95_ha.unwrap() / 1.96 / 3000.0, 0.016_354_91, 5e-9);
        near(change.users_accuracy.unwrap(), 0.88, 1e-12);
        near(change.producers_accuracy.unwrap(), 0.651_851_9, 5e-8);
        near(e.overall_accuracy, 0.9646, 1e-12);
        // V(U) = .88 x .12 / 49; V(O) = .06^2 V(U_1) + .94^2 x .97 x .03 / 99.
        near(change.users_accuracy_ci95.unwrap(), 1.96 * (0.1056_f64 / 49.0).sqrt(), 1e-12);
        let overall: f64 = 0.0036 * 0.1056 / 49.0 + 0.8836 * 0.0291 / 99.0;
        near(e.overall_accuracy_ci95.unwrap(), 1.96 * overall.sqrt(), 1e-12);
        // V(P) = [180^2 (1-P)^2 V(U_1) + P^2 2820^2 x .03 x .97 / 99] / 243^2.
        let p = 0.0528_f64 / 0.081;
        let v = (180.0_f64.powi(2) * (1.0 - p).powi(2) * 0.1056 / 49.0
            + p.powi(2) * 2820.0_f64.powi(2) * 0.0291 / 99.0)
            / 243.0_f64.powi(2);
        near(change.producers_accuracy_ci95.unwrap(), 1.96 * v.sqrt(), 1e-12);
        near(e.classes.iter().map(|c| c.area_ha).sum(), 3000.0, 1e-9);
        assert_eq!((change.map_samples, change.reference_samples, e.samples), (50, 47, 150));
        assert!(e.notes.is_empty(), "{:?}", e.notes);
    }

    // Olofsson et al. 2014, section 5.2: table 8 counts, mapped pixels of 30 m; areas and accuracies as printed there, the half
    // widths of the producer's accuracies by its equation 7, computed apart from this code with numpy.
    #[test]
    fn the_example_of_the_paper() {
        let pixels = [200_000.0, 150_000.0, 3_200_000.0, 6_450_000.0];
        let areas: Vec<f64> = pixels.iter().map(|p| p * 0.09).collect();
        let m = matrix(&[&[66, 0, 5, 4], &[0, 55, 8, 12], &[1, 0, 153, 11], &[2, 1, 9, 313]], &areas);
        let e = estimate(&m);
        near(e.classes[0].area_ha, 21_158.0, 0.5);
        near(e.classes[0].area_ci95_ha.unwrap(), 6_158.0, 0.5);
        near(e.classes[1].area_ha, 11_686.0, 0.5);
        near(e.classes[1].area_ci95_ha.unwrap(), 3_756.0, 0.5);
        near(e.classes[2].area_ha, 285_770.0, 0.5);
        near(e.classes[2].area_ci95_ha.unwrap(), 15_510.0, 0.5);
        near(e.classes[3].area_ha, 581_386.0, 0.5);
        near(e.classes[3].area_ci95_ha.unwrap(), 16_282.0, 0.5);
        let rounded = |v: Option<f64>| (v.unwrap() * 100.0).round() / 100.0;
        let users = [(0.88, 0.07), (0.73, 0.10), (0.93, 0.04), (0.96, 0.02)];
        let producers = [(0.75, 0.21), (0.85, 0.25), (0.93, 0.03), (0.96, 0.02)];
        for ((c, u), p) in e.classes.iter().zip(users).zip(producers) {
            assert_eq!((rounded(c.users_accuracy), rounded(c.users_accuracy_ci95)), u, "{}", c.class);
            assert_eq!((rounded(c.producers_accuracy), rounded(c.producers_accuracy_ci95)), p, "{}", c.class);
        }
        assert_eq!((rounded(Some(e.overall_accuracy)), rounded(e.overall_accuracy_ci95)), (0.95, 0.02));
    }

    #[test]
    fn one_sample_has_no_variance() {
        let e = estimate(&matrix(&[&[1, 0], &[3, 97]], &[180.0, 2820.0]));
        near(e.classes[0].area_ha, 180.0 + 2820.0 * 0.03, 1e-9);
        assert_eq!(e.classes[0].users_accuracy, Some(1.0));
        assert_eq!((e.classes[0].users_accuracy_ci95, e.classes[0].area_ci95_ha), (None, None));
        assert_eq!((e.classes[1].area_ci95_ha, e.classes[1].producers_accuracy_ci95), (None, None));
        assert!(e.classes[1].users_accuracy_ci95.is_some(), "the other row has its variance");
        assert_eq!(e.overall_accuracy_ci95, None);
        assert!(e.notes.iter().any(|n| n.contains("`c0` has 1 sample")), "{:?}", e.notes);
    }

    #[test]
    fn a_class_that_the_map_lacks_has_an_area_and_no_users_accuracy() {
        let e = estimate(&matrix(&[&[0, 0], &[5, 95]], &[0.0, 1000.0]));
        near(e.classes[0].area_ha, 50.0, 1e-9);
        assert_eq!((e.classes[0].users_accuracy, e.classes[0].users_accuracy_ci95), (None, None));
        assert_eq!(e.classes[0].producers_accuracy, Some(0.0));
        near(e.classes[0].area_ci95_ha.unwrap(), 1.96 * 1000.0 * (0.05_f64 * 0.95 / 99.0).sqrt(), 1e-9);
        let e = estimate(&matrix(&[&[10, 0], &[0, 0]], &[10.0, 0.0]));
        assert_eq!((e.classes[1].area_ha, e.classes[1].producers_accuracy), (0.0, None));
    }

    #[test]
    fn what_says_nothing_is_refused() {
        let names = |n: &[&str]| n.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let make = |n: &[&str], counts: &[&[u64]], areas: &[f64]| {
            ErrorMatrix::new(names(n), counts.iter().map(|r| r.to_vec()).collect(), areas.to_vec()).unwrap_err()
        };
        assert!(make(&["a", "a"], &[&[1, 1], &[1, 1]], &[1.0, 1.0]).found.contains("twice"));
        assert!(make(&["a", "b"], &[&[1, 1]], &[1.0, 1.0]).found.contains("1 rows"));
        assert!(make(&["a", "b"], &[&[1], &[1]], &[1.0, 1.0]).expected.contains("as many rows and columns"));
        assert!(make(&[], &[], &[]).expected.contains("at least one"));
        assert!(make(&["a"], &[&[1]], &[-1.0]).what.contains("mapped_area_ha"));
        assert!(make(&["a"], &[&[1]], &[f64::NAN]).found.contains("NaN"));
        assert!(make(&["a", "b"], &[&[2, 1], &[1, 1]], &[0.0, 1.0]).found.contains("3 samples on 0 ha"));
        assert!(make(&["a", "b"], &[&[0, 0], &[1, 1]], &[4.0, 1.0]).found.contains("no sample on 4 ha"));
        assert!(make(&["a"], &[&[0]], &[0.0]).found.contains("0 ha in all"));
    }

    proptest::proptest! {
        // Splitting nothing changes nothing: areas add up, shares stay in 0..1, and the order of classes is no matter.
        #[test]
        fn shares_add_up_and_order_is_no_matter(
            counts in proptest::collection::vec(proptest::collection::vec(0_u64..40, 3), 3),
            areas in proptest::collection::vec(0.01_f64..1e5, 3),
        ) {
            let mut counts = counts;
            for (i, row) in counts.iter_mut().enumerate() {
                row[i] += 2;
            }
            let names = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
            let e = estimate(&ErrorMatrix::new(names.clone(), counts.clone(), areas.clone()).unwrap());
            let total: f64 = areas.iter().sum();
            let sum: f64 = e.classes.iter().map(|c| c.area_ha).sum();
            proptest::prop_assert!((sum / total - 1.0).abs() < 1e-12);
            proptest::prop_assert!((0.0..=1.0 + 1e-12).contains(&e.overall_accuracy));
            let turned = ErrorMatrix::new(
                names.into_iter().rev().collect(),
                counts.iter().rev().map(|r| r.iter().rev().copied().collect()).collect(),
                areas.iter().rev().copied().collect(),
            ).unwrap();
            let t = estimate(&turned);
            for (a, b) in e.classes.iter().zip(t.classes.iter().rev()) {
                let same = |x: Option<f64>, y: Option<f64>| (x.unwrap() - y.unwrap()).abs() < 1e-9 * (1.0 + x.unwrap());
                proptest::prop_assert!(same(a.area_ci95_ha, b.area_ci95_ha));
                proptest::prop_assert!(same(a.producers_accuracy_ci95, b.producers_accuracy_ci95));
                proptest::prop_assert!(same(a.producers_accuracy, b.producers_accuracy));
            }
        }
    }
}
