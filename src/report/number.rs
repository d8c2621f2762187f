//! Numbers for the eye: as many decimals as the uncertainty deserves, thousands apart, a real minus sign.

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

/// A number with three digits.
pub fn plain(v: f64) -> String {
    fixed(v, decimals(v))
}

/// A count.
pub fn count(n: u64) -> String {
    fixed(n as f64, 0)
}

/// An estimate and its interval, with the decimals that the width of the interval deserves.
pub fn with_interval(v: f64, (low, high): (f64, f64), write: fn(f64, usize) -> String) -> (String, String) {
    let width = (high - low) / 2.0;
    let d = decimals(if width > 0.0 { width } else { v });
    (write(v, d), format!("[{}; {}]", write(low, d), write(high, d)))
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
        assert_eq!(with_interval(1.256, (-16.62, 21.13), signed), ("+1.3".to_owned(), "[−16.6; +21.1]".to_owned()));
        assert_eq!(with_interval(2.0, (2.0, 2.0), fixed), ("2.00".to_owned(), "[2.00; 2.00]".to_owned()));
        assert_eq!(fixed(f64::NAN, 1), "–");
    }
}
