//! Numbers for the eye: in a column as many decimals as its uncertainty deserves, thousands apart, a real minus sign.

use crate::units::Z90;

/// Decimals that show three digits of a size, one at least and six at most.
pub fn decimals(size: f64) -> usize {
    if !(size.is_finite() && size.abs() > 0.0) {
        return 1;
    }
    (2.0 - size.abs().log10().floor()).clamp(1.0, 6.0) as usize
}

/// A number with so many decimals.
pub fn fixed(v: f64, decimals: usize) -> String {
    if !v.is_finite() {
        return "–".to_owned();
    }
    let digits = format!("{:.decimals$}", v.abs());
    let (whole, rest) = digits.split_once('.').unwrap_or((&digits, ""));
    let mut out = String::new();
    // What rounds to nothing has no sign.
    if v < 0.0 && digits.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
        out.push('−');
    }
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    if !rest.is_empty() {
        out.push('.');
        out.push_str(rest);
    }
    out
}

/// The same with a plus before what is above zero.
pub fn signed(v: f64, decimals: usize) -> String {
    let text = fixed(v, decimals);
    let positive = v > 0.0 && text.bytes().any(|b| (b'1'..=b'9').contains(&b));
    if positive { format!("+{text}") } else { text }
}

/// Decimals of a whole column, from the half-widths of the 90 % intervals of what stands in it: two significant digits of the
/// median standard error and at least one of the smallest, four decimals at most. Without an error, two.
pub fn column_decimals(half_widths: impl Iterator<Item = f64>) -> usize {
    let mut errors: Vec<f64> = half_widths.map(|h| h.abs() / Z90).filter(|e| e.is_finite() && *e > 0.0).collect();
    errors.sort_by(f64::total_cmp);
    let digit = |e: f64| -e.log10().floor();
    match errors.first() {
        // Of the lower median, which has more decimals.
        Some(least) => (digit(errors[(errors.len() - 1) / 2]) + 1.0).max(digit(*least)).clamp(0.0, 4.0) as usize,
        None => 2,
    }
}

/// Half of an interval.
pub fn half_width((low, high): (f64, f64)) -> f64 {
    (high - low) / 2.0
}

/// A number with three digits.
pub fn plain(v: f64) -> String {
    fixed(v, decimals(v))
}

/// A count.
pub fn count(n: u64) -> String {
    fixed(n as f64, 0)
}

/// An interval with the decimals of its column.
pub fn interval((low, high): (f64, f64), decimals: usize, write: fn(f64, usize) -> String) -> String {
    format!("[{}; {}]", write(low, decimals), write(high, decimals))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_decimals_as_the_size_deserves() {
        assert_eq!([1234.0, 12.0, 1.2, 0.05, 0.0].map(decimals), [1, 1, 2, 4, 1]);
        assert_eq!(fixed(-1_234_567.89, 1), "−1,234,567.9");
        assert_eq!((fixed(-0.04, 1), signed(0.04, 1)), ("0.0".to_owned(), "0.0".to_owned()));
        assert_eq!((signed(3.0, 0), count(999), count(1000)), ("+3".to_owned(), "999".to_owned(), "1,000".to_owned()));
        assert_eq!(interval((-16.62, 21.13), 1, signed), "[−16.6; +21.1]");
        assert_eq!(fixed(f64::NAN, 1), "–");
    }

    #[test]
    fn a_column_has_the_decimals_of_its_standard_errors() {
        let of = |errors: &[f64]| column_decimals(errors.iter().map(|e| e * Z90));
        assert_eq!([of(&[350.0]), of(&[35.0]), of(&[3.5]), of(&[0.35]), of(&[0.035])], [0, 0, 1, 2, 3]);
        // The median decides, unless the smallest error would not show.
        assert_eq!([of(&[20.0, 30.0, 9.0]), of(&[20.0, 30.0, 0.4]), of(&[3.0, 3.0, 0.02])], [0, 1, 2]);
        assert_eq!([of(&[1e-9]), of(&[]), of(&[0.0, f64::NAN])], [4, 2, 2]);
    }
}
