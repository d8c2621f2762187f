//! Predicted against observed biomass, as one SVG that needs nothing else.

use std::fmt::Write as _;

const SIDE: f64 = 480.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 56.0;
const WIDTH: f64 = 580.0;
const HEIGHT: f64 = 620.0;

/// What stands in the picture.
pub struct Picture<'a> {
    /// First line.
    pub title: &'a str,
    /// Second line.
    pub subtitle: &'a str,
    /// Where the predictions come from.
    pub legend: &'a str,
    /// Observed and predicted, t d.m./ha.
    pub points: &'a [(f64, f64)],
}

/// A step of 1, 2 or 5 times a power of ten, of which `top` has about five.
fn step(top: f64) -> f64 {
    let raw = top / 5.0;
    let power = 10f64.powf(raw.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|s| s * power).find(|s| *s >= raw * 0.999).unwrap_or(10.0 * power)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The SVG's text. Both axes have one scale, from 0; the line is where prediction and observation agree.
pub fn svg(picture: &Picture) -> String {
    let largest = picture.points.iter().flat_map(|(a, b)| [*a, *b]).filter(|v| v.is_finite()).fold(1e-6, f64::max);
    let step = step(largest);
    let ticks = (largest / step).ceil().max(1.0);
    let top = ticks * step;
    let (x, y) = (|v: f64| LEFT + SIDE * v / top, |v: f64| TOP + SIDE * (1.0 - v / top));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<title>{title}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"16\" fill=\"#111\">{title}</text>\n\
         <text x=\"{LEFT}\" y=\"42\" fill=\"#444\">{}</text>\n",
        escaped(picture.subtitle),
        title = escaped(picture.title)
    );
    // Writing into a String cannot fail.
    for i in 0..=ticks as u32 {
        let v = f64::from(i) * step;
        let label = format!("{:.*}", usize::from(step < 1.0), v);
        let _ = writeln!(
            out,
            "<path d=\"M{x:.1} {bottom:.1}V{TOP:.1}M{LEFT:.1} {y:.1}H{right:.1}\" stroke=\"#ddd\"/>\n\
             <text x=\"{x:.1}\" y=\"{below:.1}\" text-anchor=\"middle\" fill=\"#444\">{label}</text>\n\
             <text x=\"{beside:.1}\" y=\"{middle:.1}\" text-anchor=\"end\" fill=\"#444\">{label}</text>",
            x = x(v),
            y = y(v),
            bottom = TOP + SIDE,
            right = LEFT + SIDE,
            below = TOP + SIDE + 18.0,
            beside = LEFT - 8.0,
            middle = y(v) + 4.5,
        );
    }
    let _ = writeln!(
        out,
        "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke=\"#555\" stroke-dasharray=\"6 4\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555\">1:1</text>",
        x(0.0),
        y(0.0),
        x(top),
        y(top),
        x(top) - 8.0,
        y(top) + 26.0
    );
    for (observed, predicted) in picture.points.iter().filter(|(a, b)| a.is_finite() && b.is_finite()) {
        let (cx, cy) = (x(*observed), y(predicted.clamp(0.0, top)));
        let _ = writeln!(
            out,
            "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"4\" fill=\"#1b7837\" fill-opacity=\"0.55\" stroke=\"#0b4d1f\"/>"
        );
    }
    let middle = TOP + SIDE / 2.0;
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#111\">observed 实测, t d.m./ha</text>\n\
         <text transform=\"translate(20 {middle:.1}) rotate(-90)\" text-anchor=\"middle\" fill=\"#111\">predicted 预测, \
         t d.m./ha</text>\n\
         <text x=\"{LEFT}\" y=\"{:.1}\" fill=\"#444\">{}</text>\n</svg>",
        LEFT + SIDE / 2.0,
        TOP + SIDE + 40.0,
        TOP + SIDE + 66.0,
        escaped(picture.legend)
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_numbers() {
        for (top, expected) in [(100.0, 20.0), (98.0, 20.0), (251.0, 100.0), (0.9, 0.2), (1200.0, 500.0)] {
            assert!((step(top) / expected - 1.0).abs() < 1e-9, "{top}: {}", step(top));
        }
    }

    #[test]
    fn a_point_where_both_agree_lies_on_the_line() {
        let points = [(50.0, 50.0), (100.0, 80.0), (20.0, f64::NAN)];
        let picture = Picture { title: "a < b & c", subtitle: "", legend: "", points: &points };
        let text = svg(&picture);
        assert!(text.contains("<title>a &lt; b &amp; c</title>"));
        assert_eq!(text.matches("<circle").count(), 2, "what is no number is left out");
        // 50 of 0 to 100: the middle of the square.
        assert!(text.contains(&format!("cx=\"{:.1}\" cy=\"{:.1}\"", LEFT + SIDE / 2.0, TOP + SIDE / 2.0)), "{text}");
    }
}
