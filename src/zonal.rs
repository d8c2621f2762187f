//! What are the statistics of one raster over the clear pixels of one parcel?
//!
//! With c_i the coverage fraction and v_i the value of pixel i, over clear pixels only:
//!
//! ```text
//! W        = sum c_i
//! mean     = sum c_i v_i / W
//! stddev^2 = sum c_i (v_i - mean)^2 / W                (population)
//! n_kish   = W^2 / sum c_i^2                           (effective count; Kish, Survey Sampling, 1965)
//! quantile = smallest v whose cumulative coverage, in ascending order of v, reaches q W
//! ```
//!
//! The quantile is always a value that occurs. Cumulative coverage is a rounded sum, so it counts as having reached q W
//! when it reaches (q - 1e-9) W: four whole pixels have the first value at q = 0.25, and two halves of a parcel that
//! were cut at a rounded coordinate are halves.
//!
//! Invariants: sums run in footprint order, in `f64`, so the same input gives the same bits; quantiles are selected,
//! not summed, and do not depend on how the selection goes. Pixels of one parcel are not independent: `n_kish` accounts
//! for unequal weights, not for spatial correlation.

use crate::geo::coverage::Footprint;

/// By how much, as a share of W, cumulative coverage may fall short of a quantile and still count as having reached it.
const QUANTILE_SLACK: f64 = 1e-9;
/// The quantiles reported: p10, p25, median, p75, p90. Ascending.
const QUANTILES: [f64; 5] = [0.10, 0.25, 0.50, 0.75, 0.90];
/// Below this many values a plain sort beats selection.
const SORT_BELOW: usize = 128;

/// Coverage-weighted statistics of the clear pixels of one footprint. All but the two counts are in the unit of the
/// values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ZonalStats {
    /// W, the sum of coverage fractions over clear pixels, in pixels.
    pub clear_pixels: f64,
    /// Mean.
    pub mean: f64,
    /// Population standard deviation.
    pub stddev: f64,
    /// Minimum.
    pub min: f64,
    /// Maximum.
    pub max: f64,
    /// 10th percentile.
    pub p10: f64,
    /// 25th percentile.
    pub p25: f64,
    /// Median.
    pub median: f64,
    /// 75th percentile.
    pub p75: f64,
    /// 90th percentile.
    pub p90: f64,
    /// Kish's effective count W^2 / sum c_i^2, in pixels; at least `clear_pixels`.
    pub n_kish: f64,
}

/// Buffers that [`reduce`] reuses from call to call. Carries no state between calls.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Sort keys of clear pixels with weight 1.
    whole: Vec<i64>,
    /// Clear pixels with a weight below 1.
    partial: Vec<Weighted>,
}

/// Sort key of a value, and its weight; after sorting, the sum of the weights up to and including it.
#[derive(Debug, Clone, Copy)]
struct Weighted {
    key: i64,
    weight: f64,
}

/// Statistics of `values` over a footprint, or `None` when no pixel is clear.
///
/// `values` holds one value per touched pixel, in footprint order; NaN marks a pixel that is not clear, all others are
/// finite.
///
/// # Panics
/// If `values` does not have one value per pixel of the footprint.
pub fn reduce(values: &[f64], footprint: &Footprint, scratch: &mut Scratch) -> Option<ZonalStats> {
    assert_eq!(values.len(), footprint.pixels() as usize, "invariant: one value per footprint pixel");
    scratch.whole.clear();
    scratch.partial.clear();
    // Deviations from a value of the data: no digits are lost to a large offset, and constant data have exactly that
    // mean.
    let origin = *values.iter().find(|v| !v.is_nan())?;

    let (mut w, mut w_dev, mut w2) = (0.0, 0.0, 0.0);
    let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
    for_each_clear(values, footprint.partial(), |v, weight| {
        w += weight;
        w_dev += weight * (v - origin);
        w2 += weight * weight;
        min = if v < min { v } else { min };
        max = if v > max { v } else { max };
        if weight == 1.0 {
            scratch.whole.push(key(v));
        } else {
            scratch.partial.push(Weighted { key: key(v), weight });
        }
    });
    // The mean of numbers lies between them; rounding must not say otherwise.
    let mean = (origin + w_dev / w).clamp(min, max);

    let mut w_square = 0.0;
    for_each_clear(values, footprint.partial(), |v, weight| w_square += weight * (v - mean) * (v - mean));

    let [p10, p25, median, p75, p90] = quantiles(scratch, w);
    Some(ZonalStats {
        clear_pixels: w,
        mean,
        stddev: (w_square / w).sqrt(),
        min,
        max,
        p10,
        p25,
        median,
        p75,
        p90,
        n_kish: w * w / w2,
    })
}

/// Calls `f(value, weight)` for every value that is not NaN, in footprint order.
fn for_each_clear(values: &[f64], partial: &[(u32, f64)], mut f: impl FnMut(f64, f64)) {
    let mut start = 0;
    for &(ordinal, weight) in partial {
        let ordinal = ordinal as usize;
        values[start..ordinal].iter().filter(|v| !v.is_nan()).for_each(|&v| f(v, 1.0));
        if !values[ordinal].is_nan() {
            f(values[ordinal], weight);
        }
        start = ordinal + 1;
    }
    values[start..].iter().filter(|v| !v.is_nan()).for_each(|&v| f(v, 1.0));
}

/// An integer that orders as the value does. Its own inverse on the bits.
fn key(v: f64) -> i64 {
    let bits = v.to_bits() as i64;
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

fn value(key: i64) -> f64 {
    f64::from_bits((key ^ ((key >> 63) as u64 >> 1) as i64) as u64)
}

/// The values at [`QUANTILES`] of the clear pixels in `scratch`, whose weights sum to `w`.
///
/// Nearly all pixels are whole and need no weights: with S the total weight of partial pixels, the rank of quantile q
/// among the whole ones lies between q W - S and q W. Selection brings those ranks into place, only they are sorted,
/// and the partial pixels are merged in.
fn quantiles(scratch: &mut Scratch, w: f64) -> [f64; 5] {
    let Scratch { whole, partial } = scratch;
    // Weights as second key, for the same sums whatever order equal values came in.
    partial.sort_unstable_by(|a, b| a.key.cmp(&b.key).then(a.weight.total_cmp(&b.weight)));
    let mut total = 0.0;
    for p in partial.iter_mut() {
        total += p.weight;
        p.weight = total;
    }
    let targets = QUANTILES.map(|q| (q - QUANTILE_SLACK) * w);
    // `end` whole values reach the target by themselves. The first `first` of them do not, even with all partial ones;
    // the 2 rather than 1 is for rounding. The cast saturates at 0.
    let ranks = targets.map(|t| {
        let end = (t.ceil() as usize).min(whole.len());
        ((((t - total).ceil() - 2.0) as usize).min(end), end)
    });
    if whole.len() < SORT_BELOW {
        whole.sort_unstable();
    } else {
        let mut cuts = [0; 2 * QUANTILES.len()];
        for (pair, (first, end)) in cuts.chunks_exact_mut(2).zip(ranks) {
            pair.copy_from_slice(&[first, end]);
        }
        cuts.sort_unstable();
        partition_at(whole, 0, &cuts);
        let mut sorted = 0;
        for (first, end) in ranks {
            // Windows may overlap; what lies before `sorted` is in place already.
            let from = first.max(sorted).min(end);
            whole[from..end].sort_unstable();
            sorted = sorted.max(end);
        }
    }
    let mut out = [0.0; QUANTILES.len()];
    for ((out, target), (first, end)) in out.iter_mut().zip(targets).zip(ranks) {
        *out = value(first_reaching(target, &whole[..end], first, partial));
    }
    out
}

/// Rearranges `keys` so that for every cut no key before it is larger than one after it. `cuts` ascend and count from
/// `offset`, the position of `keys` in the whole.
fn partition_at(keys: &mut [i64], offset: usize, cuts: &[usize]) {
    let Some(&cut) = cuts.get(cuts.len() / 2) else { return };
    let at = cut - offset;
    if at < keys.len() {
        keys.select_nth_unstable(at);
    }
    let (before, after) = keys.split_at_mut(at);
    let (lower, rest) = cuts.split_at(cuts.len() / 2);
    partition_at(before, offset, lower);
    partition_at(after, cut, &rest[1..]);
}

/// The smallest key at which the cumulative weight of `whole` (1 each, sorted from `first` on) and `partial` (sorted,
/// with running sums) reaches `target`. The first `first` whole keys are known not to reach it.
fn first_reaching(target: f64, whole: &[i64], first: usize, partial: &[Weighted]) -> i64 {
    let (mut i, mut j) = (first, 0);
    let (mut last, mut partial_weight) = (i64::MIN, 0.0);
    // Ends at the latest with all pixels, whose weight is beyond every target.
    while i < whole.len() || j < partial.len() {
        let take_whole = j == partial.len() || (i < whole.len() && whole[i] <= partial[j].key);
        if take_whole {
            last = whole[i];
            i += 1;
        } else {
            last = partial[j].key;
            partial_weight = partial[j].weight;
            j += 1;
        }
        if i as f64 + partial_weight >= target {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::coverage::Span;
    use proptest::prelude::*;

    /// A footprint of one row with these fractions.
    fn row_of(weights: &[f64]) -> Footprint {
        let partial = (0u32..).zip(weights.iter().copied()).filter(|p| p.1 < 1.0).collect();
        Footprint::from_parts(vec![Span { row: 0, col: 0, len: weights.len() as u32 }], partial).unwrap()
    }

    fn stats(weights: &[f64], values: &[f64]) -> Option<ZonalStats> {
        reduce(values, &row_of(weights), &mut Scratch::default())
    }

    fn assert_close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-3), "found {found}, expected {expected}");
    }

    #[test]
    fn worked_example_6() {
        // The sixth pixel of the example has coverage 0: it is not touched, hence not in the footprint.
        let weights = [1.0, 1.0, 0.5, 0.25, 0.8];
        let s = stats(&weights, &[0.70, 0.62, 0.55, 0.80, f64::NAN]).unwrap();
        assert_close(s.clear_pixels, 2.75);
        assert_close(s.clear_pixels / row_of(&weights).coverage_px(), 0.774_647_887_323_943_7);
        assert!((s.mean - 0.652_727_272_7).abs() < 1e-10);
        assert!((s.stddev * s.stddev - 0.005_092_562_0).abs() < 1e-10);
        assert!((s.n_kish - 3.270_270_270_3).abs() < 1e-10);
        assert_eq!(s.median, 0.62);
        assert_eq!((s.min, s.max), (0.55, 0.80));
        // Cumulative weights by value: .55 0.5, .62 1.5, .70 2.5, .80 2.75; the targets are 0.275, 0.6875, 2.0625,
        // 2.475.
        assert_eq!((s.p10, s.p25, s.p75, s.p90), (0.55, 0.62, 0.70, 0.70));
    }

    #[test]
    fn nothing_clear_has_no_statistics() {
        assert_eq!(stats(&[1.0, 0.5], &[f64::NAN, f64::NAN]), None);
    }

    #[test]
    fn one_clear_pixel_is_every_statistic() {
        let s = stats(&[1.0, 0.25], &[f64::NAN, -0.3]).unwrap();
        for v in [s.mean, s.min, s.max, s.p10, s.p25, s.median, s.p75, s.p90] {
            assert_eq!(v, -0.3);
        }
        assert_eq!((s.clear_pixels, s.stddev, s.n_kish), (0.25, 0.0, 1.0));
    }

    #[test]
    fn a_share_met_exactly_is_reached() {
        // Four whole pixels: the first has a quarter of the weight, the second half, the third three quarters.
        let s = stats(&[1.0; 4], &[4.0, 3.0, 2.0, 1.0]).unwrap();
        assert_eq!((s.p10, s.p25, s.median, s.p75, s.p90), (1.0, 1.0, 2.0, 3.0, 4.0));
        // Ten times 0.1 sums to 0.9999999999999999, and its tenths are no more exact.
        let s = stats(&[0.1; 10], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]).unwrap();
        assert_eq!((s.p10, s.p25, s.median, s.p75, s.p90), (0.0, 2.0, 4.0, 7.0, 8.0));
    }

    #[test]
    fn constant_data_have_that_mean_and_no_spread() {
        let weights: Vec<f64> = (0..999).map(|i| if i % 3 == 0 { 1.0 } else { f64::from(i + 1) / 1001.0 }).collect();
        let s = stats(&weights, &[0.1; 999]).unwrap();
        assert_eq!((s.mean, s.stddev, s.p10, s.p90), (0.1, 0.0, 0.1, 0.1));
    }

    #[test]
    fn scratch_carries_nothing_over() {
        let mut scratch = Scratch::default();
        let weights = [1.0, 0.5, 1.0];
        let first = reduce(&[1.0, 2.0, 3.0], &row_of(&weights), &mut scratch);
        reduce(&[9.0; 400], &row_of(&[1.0; 400]), &mut scratch);
        assert_eq!(reduce(&[1.0, 2.0, 3.0], &row_of(&weights), &mut scratch), first);
    }

    /// The definition, by sorting everything.
    fn quantile_by_definition(pairs: &[(f64, f64)], q: f64) -> f64 {
        let mut pairs = pairs.to_vec();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let w: f64 = pairs.iter().map(|p| p.1).sum();
        let mut sum = 0.0;
        for (v, c) in &pairs {
            sum += c;
            if sum >= (q - 1e-9) * w {
                return *v;
            }
        }
        pairs[pairs.len() - 1].0
    }

    fn check_by_definition(weights: &[f64], values: &[f64]) -> Result<(), TestCaseError> {
        let pairs: Vec<(f64, f64)> =
            values.iter().copied().zip(weights.iter().copied()).filter(|p| !p.0.is_nan()).collect();
        let Some(s) = stats(weights, values) else {
            prop_assert!(pairs.is_empty());
            return Ok(());
        };
        for (q, found) in QUANTILES.into_iter().zip([s.p10, s.p25, s.median, s.p75, s.p90]) {
            prop_assert_eq!(found, quantile_by_definition(&pairs, q), "q = {}", q);
        }
        let w: f64 = pairs.iter().map(|p| p.1).sum();
        let mean = pairs.iter().map(|p| p.0 * p.1).sum::<f64>() / w;
        let var = pairs.iter().map(|p| p.1 * (p.0 - mean).powi(2)).sum::<f64>() / w;
        let scale = s.min.abs().max(s.max.abs()).max(1.0);
        prop_assert!((s.clear_pixels - w).abs() < 1e-9 * w);
        prop_assert!((s.mean - mean).abs() < 1e-12 * scale && (s.stddev.powi(2) - var).abs() < 1e-10 * scale * scale);
        prop_assert!(s.min <= s.p10 && s.p10 <= s.p25 && s.p25 <= s.median && s.median <= s.p75);
        prop_assert!(s.p75 <= s.p90 && s.p90 <= s.max && s.n_kish >= s.clear_pixels - 1e-9);
        Ok(())
    }

    /// Whole, partial and cloudy pixels, with few distinct values (ties) or many.
    fn pixels(most: usize) -> impl Strategy<Value = Vec<(f64, f64)>> {
        let weight = prop_oneof![6 => Just(1.0), 2 => 0.001..0.999, 1 => Just(0.5), 1 => Just(0.25)];
        let value = prop_oneof![3 => -1.0..1.0, 3 => (-3..4).prop_map(f64::from), 1 => Just(f64::NAN)];
        prop::collection::vec((weight, value), 1..most)
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pixels in pixels(400)) {
            let (weights, values): (Vec<f64>, Vec<f64>) = pixels.into_iter().unzip();
            check_by_definition(&weights, &values)?;
        }

        #[test]
        fn selection_agrees_with_the_definition(
            pixels in pixels(12),
            whole in prop::collection::vec(-9.0..9.0f64, 130..900),
        ) {
            // Many whole pixels and few partial ones: the windows are far apart.
            let (mut weights, mut values): (Vec<f64>, Vec<f64>) = pixels.into_iter().unzip();
            weights.resize(weights.len() + whole.len(), 1.0);
            values.extend(whole);
            check_by_definition(&weights, &values)?;
        }
    }
}
