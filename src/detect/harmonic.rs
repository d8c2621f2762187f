//! Season-trend regression, shared by the methods that model a pixel as a trend with a yearly cycle:
//!
//! `y = a + b t + sum over k = 1..order of [c_k cos(2 pi k t) + s_k sin(2 pi k t)] + e`, t in years.
//!
//! Rows of the design are computed once for a list of dates ([`Design`]) and used for every pixel. A pixel's fit is a
//! triangular factor that takes one row at a time ([`Fit`]): plane rotations without square roots (Gentleman 1973, J. Inst.
//! Maths Applics 12, 329-336; Applied Statistics algorithm AS 75, 1974), which never form the normal equations and so keep
//! the precision of a QR decomposition. What is left of a row after its rotations is its recursive residual (Brown, Durbin
//! and Evans 1975, J. R. Statist. Soc. B 37, 149-192), so that one pass gives both. Nothing is allocated.

use std::f64::consts::TAU;

/// Most harmonics of a design.
pub const MAX_ORDER: usize = 3;
/// Most columns of a design: intercept, trend, cosine and sine of each harmonic.
pub const MAX_COLUMNS: usize = 2 + 2 * MAX_ORDER;
/// A column counts as a combination of those before it when less than this share of its length is left without them. The
/// share that R's `lm` uses, so that the same series count as singular.
const RANK_TOLERANCE: f64 = 1e-7;

/// Dates as whole steps of a year of fixed length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    steps: Vec<i64>,
    per_year: u32,
}

impl Axis {
    /// Days of years that all have 365 days: 29 February counts as 1 March, so that a day of the year has the same phase
    /// in every year. Step = 365 x year + day of the year - 1.
    pub fn calendar_365(days: &[i32]) -> Axis {
        Axis { steps: days.iter().map(|d| step_365(*d)).collect(), per_year: 365 }
    }

    /// Steps counted by the caller, for instance 23 a year for composites of 16 days: step = `per_year` x year + number
    /// within the year, from 0. A year of no steps is taken as a year of one.
    pub fn regular(steps: Vec<i64>, per_year: u32) -> Axis {
        Axis { steps, per_year: per_year.max(1) }
    }

    /// Steps, one an observation.
    pub fn steps(&self) -> &[i64] {
        &self.steps
    }

    /// Decimal year of an observation.
    pub fn year(&self, position: usize) -> f64 {
        self.steps[position] as f64 / f64::from(self.per_year)
    }
}

/// Step of a day (days since 1970-01-01) on the calendar of 365 days a year.
pub fn step_365(day: i32) -> i64 {
    // Days to a civil date in the proleptic Gregorian calendar, with years that begin on 1 March: leap days come last.
    let from_march = i64::from(day) + 719_468;
    let era = from_march.div_euclid(146_097);
    let of_era = from_march.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let year = year_of_era + era * 400;
    // 0 is 1 March, 365 is 29 February.
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    match day_of_year {
        365 => (year + 1) * 365 + 59,
        306.. => (year + 1) * 365 + day_of_year - 306,
        _ => year * 365 + day_of_year + 59,
    }
}

/// Rows of the regression for a list of dates. Columns in this order: intercept, trend (when wanted), cosines of the
/// harmonics 1.., sines of the harmonics 1... The trend column runs from -1 to 1 over the dates that the model is fitted
/// to, so that all columns are of one size.
#[derive(Debug, Clone, PartialEq)]
pub struct Design {
    rows: Vec<f64>,
    columns: usize,
    trend: Option<Trend>,
}

/// How the trend column follows from the steps.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Trend {
    first: f64,
    centre: f64,
    half_span: f64,
    per_year: f64,
}

impl Design {
    /// Rows of all dates of the axis. `order` is held within 1..=[`MAX_ORDER`]; the first `fitted` dates are those that the
    /// model may be fitted to. Rows of dates do not change when later dates are added.
    pub fn new(axis: &Axis, order: usize, trend: bool, fitted: usize) -> Design {
        let order = order.clamp(1, MAX_ORDER);
        let fitted = &axis.steps[..fitted.min(axis.steps.len())];
        let (low, high) = match (fitted.iter().min(), fitted.iter().max()) {
            (Some(low), Some(high)) => (*low as f64, *high as f64),
            _ => (0.0, 0.0),
        };
        let trend = trend.then(|| Trend {
            first: axis.steps.first().map_or(0.0, |s| *s as f64),
            centre: 0.5 * (low + high),
            half_span: (0.5 * (high - low)).max(1.0),
            per_year: f64::from(axis.per_year),
        });
        let columns = 1 + usize::from(trend.is_some()) + 2 * order;
        let mut rows = Vec::with_capacity(columns * axis.steps.len());
        for step in &axis.steps {
            rows.push(1.0);
            if let Some(t) = trend {
                rows.push((*step as f64 - t.centre) / t.half_span);
            }
            // The phase within the year, exact for every year.
            let phase = step.rem_euclid(i64::from(axis.per_year)) as f64 / f64::from(axis.per_year);
            rows.extend((1..=order).map(|k| (TAU * k as f64 * phase).cos()));
            rows.extend((1..=order).map(|k| (TAU * k as f64 * phase).sin()));
        }
        Design { rows, columns, trend }
    }

    /// Number of columns, 3 to [`MAX_COLUMNS`].
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Rows, as many values each as the design has columns; `None` when `P` is not that number.
    pub fn rows<const P: usize>(&self) -> Option<&[[f64; P]]> {
        (P == self.columns).then(|| self.rows.as_chunks::<P>().0)
    }

    /// Coefficients as people read them: the intercept at the first date, the trend per year (0 without a trend).
    pub fn intercept_and_trend(&self, coefficients: &[f64]) -> (f64, f64) {
        match (self.trend, coefficients) {
            (Some(t), [intercept, slope, ..]) => {
                (intercept + slope * (t.first - t.centre) / t.half_span, slope * t.per_year / t.half_span)
            }
            (_, [intercept, ..]) => (*intercept, 0.0),
            _ => (f64::NAN, f64::NAN),
        }
    }
}

/// Least squares by one row at a time: `X = Q sqrt(D) R`, with a unit upper triangle R.
///
/// Of D the inverse is kept, and of the weight that Gentleman hands from column to column: then a column costs one division
/// that the next column does not wait for.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit<const P: usize> {
    /// Inverse of D; 0 where no row has met the column.
    inverse: [f64; P],
    r: [[f64; P]; P],
    theta: [f64; P],
    /// Sums of squares of the columns.
    squares: [f64; P],
}

impl<const P: usize> Default for Fit<P> {
    fn default() -> Self {
        Fit { inverse: [0.0; P], r: [[0.0; P]; P], theta: [0.0; P], squares: [0.0; P] }
    }
}

impl<const P: usize> Fit<P> {
    /// Takes a row. Returns its recursive residual: the error of predicting `y` from the rows before, divided by
    /// `sqrt(1 + x' (X'X)^-1 x)`; all of them have the variance of the noise. 0 while there were fewer rows than columns.
    #[inline]
    pub fn include(&mut self, row: &[f64; P], mut y: f64) -> f64 {
        let mut x = *row;
        // 1 + x' (X'X)^-1 x over the columns so far.
        let mut spread = 1.0;
        for (s, v) in self.squares.iter_mut().zip(row) {
            *s += v * v;
        }
        for i in 0..P {
            let xi = x[i];
            let square = xi * xi;
            let old = self.inverse[i];
            if old == 0.0 {
                // Nothing of this column is in the row, or too little to be squared.
                if square == 0.0 {
                    continue;
                }
                // The first row with something of this column is used up by it.
                self.inverse[i] = spread / square;
                self.r[i] = x.map(|v| v / xi);
                self.theta[i] = y / xi;
                return 0.0;
            }
            let wider = spread + square * old;
            let share = 1.0 / wider;
            let s = xi * old * share;
            self.inverse[i] = old * spread * share;
            spread = wider;
            // Whole rows, for the sake of vector instructions: left of the diagonal x and r are 0, on it r is 1.
            for (x, r) in x.iter_mut().zip(&mut self.r[i]) {
                *x -= xi * *r;
                *r += s * *x;
            }
            let rest = y - xi * self.theta[i];
            self.theta[i] += s * rest;
            y = rest;
        }
        y / spread.sqrt()
    }

    /// The first column that depends on those before it; columns of zeros that were left out on purpose do not count.
    fn dependent(&self) -> Option<usize> {
        (0..P).find(|i| {
            let (squares, inverse) = (self.squares[*i], self.inverse[*i]);
            // Left of the column: 1 / inverse.
            squares > 0.0 && (inverse == 0.0 || RANK_TOLERANCE * RANK_TOLERANCE * squares * inverse >= 1.0)
        })
    }

    /// True where every coefficient is determined.
    pub fn is_full_rank(&self) -> bool {
        self.dependent().is_none() && self.squares.iter().all(|s| *s > 0.0)
    }

    /// The least squares coefficients.
    pub fn coefficients(&self) -> [f64; P] {
        let mut b = self.theta;
        for i in (0..P).rev() {
            for k in i + 1..P {
                b[i] -= self.r[i][k] * b[k];
            }
        }
        b
    }

    /// `x' (X'X)^-1 x`: the variance of the fitted value at a row, in units of the noise variance. A prediction of a new
    /// value has 1 more. Infinite where the coefficients are not determined.
    pub fn leverage(&self, row: &[f64; P]) -> f64 {
        // Solve R' z = x from the top; then the sum of z^2 / D.
        let mut z = *row;
        let mut sum = 0.0;
        for i in 0..P {
            for k in i + 1..P {
                z[k] -= self.r[i][k] * z[i];
            }
            if z[i] != 0.0 {
                sum += if self.inverse[i] == 0.0 { f64::INFINITY } else { z[i] * z[i] * self.inverse[i] };
            }
        }
        sum
    }

    /// Standard errors of the coefficients, given the standard deviation of the noise.
    pub fn standard_errors(&self, sigma: f64) -> [f64; P] {
        std::array::from_fn(|i| {
            let mut unit = [0.0; P];
            unit[i] = 1.0;
            sigma * self.leverage(&unit).sqrt()
        })
    }
}

/// Recursive residuals of `values` at `rows`, both in the given order, into `out`: as many as rows beyond the first `P`.
/// Returns the fit to all rows.
///
/// Where the first rows do not determine all coefficients, a column that depends on those before it is left out until they
/// do (as R's `lm` leaves it out).
pub fn recursive_residuals<'a, const P: usize>(
    rows: impl ExactSizeIterator<Item = (&'a [f64; P], f64)> + Clone,
    out: &mut Vec<f64>,
) -> Fit<P> {
    out.clear();
    let mut fit = Fit::default();
    let mut rest = rows.clone();
    for (row, y) in rest.by_ref().take(P) {
        fit.include(row, y);
    }
    if !fit.is_full_rank() {
        for n in P..rows.len() {
            let (reduced, left_out) = reduced_fit(rows.clone().take(n));
            fit = reduced;
            if left_out == [false; P] {
                break;
            }
            if let Some((row, y)) = rest.next() {
                out.push(fit.include(&without(row, &left_out), y));
            }
        }
        if rest.len() == 0 {
            // The last row may have completed the rank; where it did not, the fit says so itself.
            fit = Fit::default();
            rows.for_each(|(row, y)| _ = fit.include(row, y));
            return fit;
        }
    }
    for (row, y) in rest {
        out.push(fit.include(row, y));
    }
    fit
}

fn without<const P: usize>(row: &[f64; P], left_out: &[bool; P]) -> [f64; P] {
    std::array::from_fn(|i| if left_out[i] { 0.0 } else { row[i] })
}

/// A fit with only the columns that do not depend on those before them, and which ones were left out.
fn reduced_fit<'a, const P: usize>(rows: impl Iterator<Item = (&'a [f64; P], f64)> + Clone) -> (Fit<P>, [bool; P]) {
    let mut left_out = [false; P];
    loop {
        let mut fit = Fit::default();
        for (row, y) in rows.clone() {
            fit.include(&without(row, &left_out), y);
        }
        match fit.dependent() {
            Some(column) => left_out[column] = true,
            None => {
                for (out, squares) in left_out.iter_mut().zip(&fit.squares) {
                    *out |= *squares == 0.0;
                }
                return (fit, left_out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: u32) -> f64 {
        f64::from(n.wrapping_mul(2_654_435_761) >> 8) / f64::from(1u32 << 24) - 0.5
    }

    #[test]
    fn days_fall_on_a_calendar_of_equal_years() {
        let step = |date: &str| step_365(crate::units::days(date.parse().unwrap()));
        assert_eq!(step("1970-01-01"), 1970 * 365);
        assert_eq!(step("2009-12-31"), 2010 * 365 - 1);
        assert_eq!(step("2012-02-28"), 2012 * 365 + 58);
        assert_eq!(step("2012-02-29"), step("2012-03-01"));
        assert_eq!(step("2013-03-01"), 2013 * 365 + 59);
        assert_eq!(step("2012-12-31") + 1, step("2013-01-01"));
        assert_eq!(step("1899-12-31") + 1, step("1900-01-01"));
        // Every day of four centuries is one step after the day before, but for leap days.
        let (from, to) = (step_365(-150_000), step_365(-150_000 + 146_097));
        assert_eq!(to - from, 400 * 365);
    }

    #[test]
    fn a_fit_solves_the_normal_equations_and_knows_its_errors() {
        let days: Vec<i32> = (0..60).map(|i| 17_000 + 23 * i + (i * i) % 7).collect();
        let axis = Axis::calendar_365(&days);
        let design = Design::new(&axis, 2, true, 60);
        let rows = design.rows::<6>().unwrap();
        let y: Vec<f64> = (0..60).map(|i| 0.5 + 0.1 * axis.year(i).sin() + 0.05 * noise(i as u32)).collect();
        let mut fit = Fit::<6>::default();
        let mut residuals = 0.0;
        for (row, y) in rows.iter().zip(&y) {
            residuals += fit.include(row, *y).powi(2);
        }
        let b = fit.coefficients();
        let error = |i: usize| y[i] - rows[i].iter().zip(&b).map(|(x, b)| x * b).sum::<f64>();
        // Residuals are orthogonal to every column, and recursive residuals have their sum of squares.
        let products = (0..60).fold([0.0; 6], |sums, i| std::array::from_fn(|c| sums[c] + rows[i][c] * error(i)));
        assert!(products.iter().all(|sum| sum.abs() < 1e-12), "{products:?}");
        let rss: f64 = (0..60).map(|i| error(i).powi(2)).sum();
        assert!((rss / residuals - 1.0).abs() < 1e-12);
        // The leverages of the rows sum to the number of columns; standard errors follow from those of unit vectors.
        let trace: f64 = rows.iter().map(|row| fit.leverage(row)).sum();
        assert!((trace - 6.0).abs() < 1e-10, "{trace}");
        let mean_only = {
            let mut fit = Fit::<1>::default();
            (0..25).for_each(|_| _ = fit.include(&[1.0], 1.0));
            fit.standard_errors(2.0)[0]
        };
        assert!((mean_only - 0.4).abs() < 1e-12);
        assert!(fit.is_full_rank());
    }

    #[test]
    fn a_recursive_residual_is_the_scaled_error_of_prediction() {
        let days: Vec<i32> = (0..30).map(|i| 17_000 + 31 * i).collect();
        let design = Design::new(&Axis::calendar_365(&days), 1, true, 30);
        let rows = design.rows::<4>().unwrap();
        let mut residuals = Vec::new();
        let all = rows.iter().enumerate().map(|(i, row)| (row, noise(i as u32)));
        recursive_residuals(all, &mut residuals);
        assert_eq!(residuals.len(), 26);
        for n in [4, 9, 29] {
            let mut fit = Fit::<4>::default();
            (0..n).for_each(|i| _ = fit.include(&rows[i], noise(i as u32)));
            let predicted: f64 = rows[n].iter().zip(fit.coefficients()).map(|(x, b)| x * b).sum();
            let expected = (noise(n as u32) - predicted) / (1.0 + fit.leverage(&rows[n])).sqrt();
            assert!((residuals[n - 4] - expected).abs() < 1e-10, "{n}");
        }
    }

    #[test]
    fn dates_that_do_not_determine_the_model_are_told() {
        // One day of the year again and again.
        let axis = Axis::regular((0..20).map(|i| 365 * i + 100).collect(), 365);
        let design = Design::new(&axis, 1, true, 20);
        let mut fit = Fit::<4>::default();
        design.rows::<4>().unwrap().iter().enumerate().for_each(|(i, row)| _ = fit.include(row, noise(i as u32)));
        assert!(!fit.is_full_rank());
        let mut residuals = Vec::new();
        let rows = design.rows::<4>().unwrap();
        let fit = recursive_residuals(rows.iter().map(|row| (row, 0.5)), &mut residuals);
        assert!(!fit.is_full_rank());
        assert_eq!(residuals.len(), 16);
        assert!(residuals.iter().all(|r| r.abs() < 1e-12));
    }

    #[test]
    fn later_dates_change_no_row() {
        let days: Vec<i32> = (0..50).map(|i| 17_000 + 12 * i).collect();
        let (short, long) = (Axis::calendar_365(&days[..40]), Axis::calendar_365(&days));
        let (short, long) = (Design::new(&short, 3, true, 30), Design::new(&long, 3, true, 30));
        assert_eq!(short.rows::<8>().unwrap(), &long.rows::<8>().unwrap()[..40]);
        assert_eq!(short.rows::<7>(), None);
    }
}
