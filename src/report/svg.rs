//! Pictures as text: shapes of an inline SVG, axes with round ticks, and how wide a text will be. No style sheet and no
//! script, so a picture looks the same within a page and alone.

use std::fmt::Write as _;

/// Dark text and lines.
pub const INK: &str = "#1f2328";
/// Text and lines that stand back.
pub const PALE: &str = "#5b636b";
/// Lines of a grid.
pub const GRID: &str = "#dfe3e6";

/// Text that XML can hold: markup becomes entities, characters that XML 1.0 forbids become U+FFFD.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Width of a text, in the units of its size: a Chinese character is as wide as high, a Latin one about half of that.
pub fn text_width(text: &str, size: f64) -> f64 {
    size * text.chars().map(|c| if c >= '\u{2e80}' { 1.0 } else { 0.58 }).sum::<f64>()
}

/// A text cut in its middle where it is wider than the room for it.
pub fn shorten(text: &str, size: f64, room: f64) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    if text_width(text, size) <= room {
        return text.to_owned();
    }
    loop {
        let half = chars.len() / 2;
        let cut: String = chars[..half].iter().chain(&['…']).chain(&chars[half..]).collect();
        if chars.len() <= 2 || text_width(&cut, size) <= room {
            return cut;
        }
        chars.remove(half);
    }
}

/// A length for an attribute: a tenth of a unit is below what can be seen.
fn short(v: f64) -> String {
    let text = format!("{v:.1}");
    match text.strip_suffix(".0").unwrap_or(&text) {
        "-0" => "0".to_owned(),
        text => text.to_owned(),
    }
}

/// How a text stands to its point.
#[derive(Debug, Clone, Copy)]
pub enum Anchor {
    /// It begins there.
    Start,
    /// It is centred there.
    Middle,
    /// It ends there.
    End,
}

/// A picture under way.
pub struct Svg {
    body: String,
    width: f64,
    height: f64,
}

impl Svg {
    /// An empty picture of a width and height, in its own units.
    pub fn new(width: f64, height: f64) -> Self {
        Svg { body: String::new(), width, height }
    }

    /// A straight line.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(short);
        let _ = write!(
            self.body,
            r#"<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" stroke-width="{width}"/>"#
        );
    }

    /// A filled box from two corners.
    pub fn bar(&mut self, a: (f64, f64), b: (f64, f64), colour: &str) {
        let [x, y, w, h] = [a.0.min(b.0), a.1.min(b.1), (a.0 - b.0).abs(), (a.1 - b.1).abs()].map(short);
        let _ = write!(self.body, r#"<rect x="{x}" y="{y}" width="{w}" height="{h}" fill="{colour}"/>"#);
    }

    /// A box with a fill and a line around it.
    pub fn frame(&mut self, a: (f64, f64), b: (f64, f64), fill: &str, colour: &str) {
        let [x, y, w, h] = [a.0.min(b.0), a.1.min(b.1), (a.0 - b.0).abs(), (a.1 - b.1).abs()].map(short);
        let _ = write!(
            self.body,
            r#"<rect x="{x}" y="{y}" width="{w}" height="{h}" fill="{fill}" stroke="{colour}" stroke-width="0.8"/>"#
        );
    }

    /// A disc, filled or a ring.
    pub fn disc(&mut self, at: (f64, f64), radius: f64, fill: &str, colour: &str) {
        let [x, y, r] = [at.0, at.1, radius].map(short);
        let _ = write!(
            self.body,
            r#"<circle cx="{x}" cy="{y}" r="{r}" fill="{fill}" stroke="{colour}" stroke-width="1.3"/>"#
        );
    }

    /// An interval: a line with ends.
    pub fn whisker(&mut self, y: f64, from: f64, to: f64, colour: &str) {
        self.line((from, y), (to, y), colour, 1.2);
        for x in [from, to] {
            self.line((x, y - 2.5), (x, y + 2.5), colour, 1.2);
        }
    }

    /// A text; `halo` keeps it readable on a picture.
    pub fn text(&mut self, at: (f64, f64), anchor: Anchor, size: f64, colour: &str, bold: bool, text: &str) {
        self.label(at, anchor, size, colour, if bold { r#" font-weight="600""# } else { "" }, text);
    }

    /// A text with a white rim, for use on a map.
    pub fn halo(&mut self, at: (f64, f64), anchor: Anchor, size: f64, text: &str) {
        let rim = r##" stroke="#fff" stroke-width="2.4" paint-order="stroke" stroke-linejoin="round""##;
        self.label(at, anchor, size, INK, rim, text);
    }

    fn label(&mut self, at: (f64, f64), anchor: Anchor, size: f64, colour: &str, more: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let [x, y] = [at.0, at.1].map(short);
        let text = escape(text);
        let _ = write!(
            self.body,
            r#"<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"{more}>{text}</text>"#
        );
    }

    /// Closed rings as one shape with holes; points that fall on the one before are left out. `more` are attributes.
    pub fn shape<'a>(&mut self, rings: impl Iterator<Item = &'a [(f64, f64)]>, more: &str, title: Option<&str>) {
        let mut path = String::new();
        for ring in rings {
            let mut last: Option<[String; 2]> = None;
            for at in ring {
                let point = [at.0, at.1].map(short);
                if last.as_ref() != Some(&point) {
                    let _ = write!(path, "{}{} {}", if last.is_none() { "M" } else { "L" }, point[0], point[1]);
                    last = Some(point);
                }
            }
            path.push('Z');
        }
        let _ = match title {
            Some(t) => write!(self.body, r#"<path d="{path}"{more}><title>{}</title></path>"#, escape(t)),
            None => write!(self.body, r#"<path d="{path}"{more}/>"#),
        };
    }

    /// A fine hatch that shapes may be filled with, as `url(#NAME)`.
    pub fn hatch(&mut self, name: &str, colour: &str) {
        let _ = write!(
            self.body,
            r#"<defs><pattern id="{name}" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><line x1="0" y1="0" x2="0" y2="6" stroke="{colour}" stroke-width="1"/></pattern></defs>"#
        );
    }

    /// What follows is grouped; a reader who points at it sees the title.
    pub fn open(&mut self, title: &str) {
        let _ = write!(self.body, "<g><title>{}</title>", escape(title));
    }

    /// Ends the group.
    pub fn close(&mut self) {
        self.body.push_str("</g>");
    }

    /// The whole picture; `name` says what it shows to those who cannot see it.
    pub fn finish(self, name: &str) -> String {
        let [w, h] = [self.width, self.height].map(short);
        format!(
            r#"<svg viewBox="0 0 {w} {h}" role="img" aria-label="{}" font-family="inherit">{}</svg>"#,
            escape(name),
            self.body
        )
    }
}

/// Values along a line of the picture.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    /// Where the lowest and the highest value lie.
    pub ends: (f64, f64),
    /// The lowest and the highest value.
    pub values: (f64, f64),
}

impl Axis {
    /// Over all values that are numbers, with room at both ends; never empty.
    pub fn over(values: impl Iterator<Item = f64>, ends: (f64, f64)) -> Self {
        let finite = values.filter(|v| v.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = if low < high {
            (low, high)
        } else if low == high && low != 0.0 {
            (low - low.abs(), low + low.abs())
        } else {
            (0.0, 1.0)
        };
        let room = (high - low) * 0.03;
        // Room below zero would suggest that there can be less than nothing.
        Axis { ends, values: (if low == 0.0 { 0.0 } else { low - room }, if high == 0.0 { 0.0 } else { high + room }) }
    }

    /// Where a value lies.
    pub fn at(&self, v: f64) -> f64 {
        let ((a, b), (low, high)) = (self.ends, self.values);
        a + (v - low) / (high - low) * (b - a)
    }

    /// Round values along the axis, about `n` of them, and the step between.
    pub fn ticks(&self, n: usize) -> (Vec<f64>, f64) {
        let (low, high) = self.values;
        let step = round_step((high - low) / n.max(1) as f64);
        let first = (low / step).ceil() as i64;
        let last = (high / step).floor() as i64;
        ((first..=last).map(|i| i as f64 * step).collect(), step)
    }
}

/// The next of 1, 2, 5, 10 ... that is not below.
pub fn round_step(rough: f64) -> f64 {
    if !(rough.is_finite() && rough > 0.0) {
        return 1.0;
    }
    let power = 10f64.powi(rough.log10().floor() as i32);
    [1.0, 2.0, 5.0].into_iter().map(|m| m * power).find(|s| *s >= rough * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_forbidden_characters_do_not_get_through() {
        assert_eq!(escape("<a b=\"c\">'&\u{1}\u{ffff}\n林"), "&lt;a b=&quot;c&quot;&gt;&#39;&amp;\u{fffd}\u{fffd} 林");
    }

    #[test]
    fn ticks_are_round_and_lie_on_the_axis() {
        let axis = Axis { ends: (0.0, 100.0), values: (-37.0, 212.0) };
        let (ticks, step) = axis.ticks(5);
        assert_eq!((ticks, step), (vec![0.0, 50.0, 100.0, 150.0, 200.0], 50.0));
        assert_eq!(axis.at(212.0), 100.0);
        assert_eq!([0.011, 0.2, 3.1, 9.9].map(round_step), [0.02, 0.2, 5.0, 10.0]);
    }

    #[test]
    fn an_axis_over_nothing_or_one_value_can_still_be_drawn() {
        for values in [vec![], vec![0.0], vec![7.0, 7.0], vec![f64::NAN]] {
            let axis = Axis::over(values.iter().copied(), (0.0, 1.0));
            assert!(axis.values.0 < axis.values.1 && !axis.ticks(5).0.is_empty(), "{values:?}: {axis:?}");
        }
    }

    #[test]
    fn long_texts_are_cut_in_the_middle() {
        assert_eq!(shorten("RO-001", 10.0, 100.0), "RO-001");
        let cut = shorten("abcdefghijklmnopqrstuvwxyz", 10.0, 60.0);
        assert!(cut.starts_with("abc") && cut.ends_with("xyz") && cut.contains('…'), "{cut}");
        assert!(text_width(&cut, 10.0) <= 60.0);
    }
}
