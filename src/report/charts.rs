//! The pictures of the report. Each takes plain figures and gives one inline SVG; which rows it shows is the page's choice.
//! Colours are those of ColorBrewer's RdBu and Okabe and Ito (2008), which colour-blind readers tell apart.

use geo::{BoundingRect, Coord, MultiPolygon};

use super::number::{column_decimals, decimals, fixed, half_width, interval, signed};
use super::svg::{Anchor, Axis, GRID, INK, PALE, Svg, escape, round_step, shorten, text_width};
use super::text::{self, Both, fill};

const WIDTH: f64 = 760.0;
const SIZE: f64 = 11.5;
const ROW: f64 = 17.0;
const GAIN: &str = "#2166ac";
const LOSS: &str = "#b2182b";
/// From the largest loss to the largest gain.
const CLASSES: [&str; 7] = ["#b2182b", "#ef8a62", "#fddbc7", "#f7f7f7", "#d1e5f0", "#67a9cf", "#2166ac"];
/// Series that are told apart: dates of a stock.
const SERIES: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];
/// Outlines on the map, by method.
const OUTLINES: [&str; 3] = ["#000000", "#7a0177", "#00441b"];

/// An estimate with the ends of its 90 % interval.
pub type Bar = (f64, (f64, f64));

/// Rows with a name on the left, a picture along an axis, and figures on the right.
struct Rows {
    svg: Svg,
    axis: Axis,
    /// Room for the names.
    names: f64,
    top: f64,
}

impl Rows {
    /// Draws the axis for `heights` of rows; `values` decide its range.
    fn new<'a>(
        names: impl Iterator<Item = &'a str>,
        figures: f64,
        values: impl Iterator<Item = f64>,
        (rows, row): (usize, f64),
        title: &str,
    ) -> Rows {
        let names = names.map(|n| text_width(n, SIZE)).fold(40.0, f64::max).min(170.0) + 10.0;
        let (top, bottom) = (40.0, 40.0 + row * rows as f64);
        let axis = Axis::over(values, (names, WIDTH - figures - 10.0));
        let mut svg = Svg::new(WIDTH, bottom + 24.0);
        let middle = f64::midpoint(axis.ends.0, axis.ends.1);
        svg.text((middle, 12.0), Anchor::Middle, SIZE, INK, false, title);
        let (ticks, step) = axis.ticks(8);
        for tick in ticks {
            let x = axis.at(tick);
            svg.line((x, top - 4.0), (x, bottom + 4.0), if tick == 0.0 { PALE } else { GRID }, 1.0);
            let label = if step >= 1.0 { fixed(tick, 0) } else { fixed(tick, decimals(step) - 2) };
            svg.text((x, top - 9.0), Anchor::Middle, SIZE - 1.0, PALE, false, &label);
            svg.text((x, bottom + 16.0), Anchor::Middle, SIZE - 1.0, PALE, false, &label);
        }
        Rows { svg, axis, names, top }
    }

    fn name(&mut self, y: f64, bold: bool, name: &str) {
        let shown = shorten(name, SIZE, self.names - 10.0);
        self.svg.text((self.names - 8.0, y + 4.0), Anchor::End, SIZE, INK, bold, &shown);
    }

    fn figure(&mut self, y: f64, bold: bool, text: &str) {
        self.svg.text((WIDTH - 4.0, y + 4.0), Anchor::End, SIZE - 0.5, INK, bold, text);
    }
}

/// Room for figures on the right.
fn room<'a>(texts: impl Iterator<Item = &'a String>) -> f64 {
    texts.map(|t| text_width(t, SIZE - 0.5)).fold(60.0, f64::max) + 6.0
}

/// One parcel's stock at each of some dates.
pub struct StockLine<'a> {
    /// The parcel.
    pub parcel_id: &'a str,
    /// t C, in the order of the dates.
    pub at: Vec<Option<Bar>>,
}

/// Stock by parcel, with intervals: a point and a line for each date.
pub fn stocks(dates: &[String], lines: &[StockLine]) -> String {
    let last = || lines.iter().map(|l| l.at.iter().rev().flatten().next());
    let d = column_decimals(last().flatten().map(|(_, ci)| half_width(*ci)));
    let write = |(v, ci): &Bar| format!("{} {}", fixed(*v, d), interval(*ci, d, fixed));
    let figures: Vec<String> = last().map(|bar| bar.map_or(String::new(), write)).collect();
    let row = ROW.max(5.5 * dates.len() as f64 + 6.0);
    let values = lines.iter().flat_map(|l| l.at.iter().flatten()).flat_map(|(v, ci)| [*v, ci.0, ci.1]);
    let mut rows = Rows::new(
        lines.iter().map(|l| l.parcel_id),
        room(figures.iter()),
        values.chain([0.0]),
        (lines.len(), row),
        &text::AXIS_STOCK.joined(),
    );
    for (i, (line, figure)) in lines.iter().zip(&figures).enumerate() {
        let y = rows.top + row * (i as f64 + 0.5);
        rows.svg.open(line.parcel_id);
        rows.name(y, false, line.parcel_id);
        for (k, (v, ci)) in line.at.iter().enumerate().filter_map(|(k, b)| b.map(|b| (k, b))) {
            let y = y + 5.5 * (k as f64 - (dates.len() as f64 - 1.0) / 2.0);
            let colour = SERIES[k % SERIES.len()];
            rows.svg.whisker(y, rows.axis.at(ci.0), rows.axis.at(ci.1), colour);
            rows.svg.disc((rows.axis.at(v), y), 2.6, if k == 0 { "#fff" } else { colour }, colour);
        }
        rows.figure(y, false, figure);
        rows.svg.close();
    }
    rows.svg.finish(&text::PICTURE_STOCKS.joined())
}

/// Legend of [`stocks`]: the mark of each date.
pub fn stocks_legend(dates: &[String]) -> String {
    let marks = dates.iter().enumerate().map(|(k, date)| {
        let mut svg = Svg::new(30.0, 12.0);
        let colour = SERIES[k % SERIES.len()];
        svg.whisker(6.0, 2.0, 28.0, colour);
        svg.disc((15.0, 6.0), 2.6, if k == 0 { "#fff" } else { colour }, colour);
        (svg, date.clone())
    });
    legend(marks)
}

/// One step of a waterfall.
pub struct Step {
    /// The parcel, or what else is added.
    pub name: String,
    /// What it adds, t CO2e.
    pub delta: f64,
    /// Its 90 % interval.
    pub ci90: Option<(f64, f64)>,
}

/// Changes one after another, each beginning where the one before ended, down to the total. Without a total they all begin
/// at zero: a picture of a few among many parcels, whose sum would dwarf them.
pub fn waterfall(steps: &[Step], total: Option<Bar>) -> String {
    let mut sum = 0.0;
    let mut placed = Vec::new();
    for step in steps {
        placed.push((step, sum, sum + step.delta));
        if total.is_some() {
            sum += step.delta;
        }
    }
    let errors = steps.iter().filter_map(|s| s.ci90).chain(total.map(|t| t.1));
    let d = column_decimals(errors.map(half_width));
    let write = |v: f64, ci: Option<(f64, f64)>| match ci {
        Some(ci) => format!("{} {}", signed(v, d), interval(ci, d, signed)),
        None => signed(v, d),
    };
    let mut figures: Vec<String> = steps.iter().map(|s| write(s.delta, s.ci90)).collect();
    figures.extend(total.map(|(v, ci)| write(v, Some(ci))));
    let values = placed
        .iter()
        .flat_map(|(s, from, to)| {
            let (low, high) = s.ci90.unwrap_or((s.delta, s.delta));
            [*from, *to, from + low, from + high]
        })
        .chain(total.into_iter().flat_map(|(v, (low, high))| [v, low, high]));
    let total_name = text::TOTAL.joined();
    let names = steps.iter().map(|s| s.name.as_str()).chain(total.map(|_| total_name.as_str()));
    let count = steps.len() + usize::from(total.is_some());
    let title = if total.is_some() { text::AXIS_DELTA } else { text::AXIS_DELTA_ALONE };
    let mut rows = Rows::new(names, room(figures.iter()), values.chain([0.0]), (count, ROW), &title.joined());
    let at = |v: f64, axis: &Axis| axis.at(v);
    for (i, (step, from, to)) in placed.iter().enumerate() {
        let y = rows.top + ROW * (i as f64 + 0.5);
        rows.svg.open(&step.name);
        rows.name(y, false, &step.name);
        let colour = if step.delta < 0.0 { LOSS } else { GAIN };
        let (a, mut b) = (at(*from, &rows.axis), at(*to, &rows.axis));
        if (a - b).abs() < 1.0 {
            b = a + if step.delta < 0.0 { -1.0 } else { 1.0 };
        }
        rows.svg.bar((a, y - 5.0), (b, y + 5.0), colour);
        if let Some((low, high)) = step.ci90 {
            rows.svg.whisker(y, at(from + low, &rows.axis), at(from + high, &rows.axis), INK);
        }
        if i + 1 < count && total.is_some() {
            let x = at(*to, &rows.axis);
            rows.svg.line((x, y + 5.0), (x, y + ROW - 5.0), PALE, 0.7);
        }
        rows.figure(y, false, &figures[i]);
        rows.svg.close();
    }
    if let (Some((v, ci)), Some(figure)) = (total, figures.last()) {
        let y = rows.top + ROW * (steps.len() as f64 + 0.5);
        rows.svg.line((4.0, y - ROW / 2.0), (WIDTH - 4.0, y - ROW / 2.0), PALE, 0.7);
        rows.name(y, true, &total_name);
        rows.svg.bar((at(0.0, &rows.axis), y - 5.0), (at(v, &rows.axis), y + 5.0), PALE);
        rows.svg.whisker(y, at(ci.0, &rows.axis), at(ci.1, &rows.axis), INK);
        rows.figure(y, true, figure);
    }
    rows.svg.finish(&text::PICTURE_WATERFALL.joined())
}

/// Legend of [`waterfall`].
pub fn waterfall_legend() -> String {
    let swatch = |colour: &str| {
        let mut svg = Svg::new(30.0, 12.0);
        svg.bar((4.0, 1.0), (26.0, 11.0), colour);
        svg
    };
    let mut interval = Svg::new(30.0, 12.0);
    interval.whisker(6.0, 2.0, 28.0, INK);
    legend(
        [(swatch(GAIN), text::GAIN.joined()), (swatch(LOSS), text::LOSS.joined()), (interval, text::INTERVAL.joined())]
            .into_iter(),
    )
}

/// Shares of one part of the variance over the parcels.
pub struct ShareLine {
    /// The part.
    pub name: String,
    /// Lowest, median and highest share of the stock and of the change, 1.
    pub of: [Option<[f64; 3]>; 2],
}

/// Which part of the variance is whose: median over the parcels, and from the lowest to the highest.
pub fn shares(lines: &[ShareLine]) -> String {
    let percent = |v: f64| format!("{} %", fixed(100.0 * v, 0));
    let write = |l: &ShareLine| l.of.iter().flatten().map(|s| percent(s[1])).collect::<Vec<_>>().join(" / ");
    let figures: Vec<String> = lines.iter().map(write).collect();
    let row = 28.0;
    let values = lines.iter().flat_map(|l| l.of.iter().flatten().flatten()).map(|v| 100.0 * v);
    let mut rows = Rows::new(
        lines.iter().map(|l| l.name.as_str()),
        room(figures.iter()),
        values.chain([0.0, 100.0]),
        (lines.len(), row),
        &text::AXIS_SHARE.joined(),
    );
    for (i, (line, figure)) in lines.iter().zip(&figures).enumerate() {
        let y = rows.top + row * (i as f64 + 0.5);
        rows.name(y, false, &line.name);
        for (k, share) in line.of.iter().enumerate() {
            let Some([low, median, high]) = share.map(|s| s.map(|v| 100.0 * v)) else { continue };
            let y = y + 10.0 * (k as f64 - 0.5);
            rows.svg.bar((rows.axis.at(0.0), y - 4.0), (rows.axis.at(median), y + 4.0), SHADES[k]);
            rows.svg.whisker(y, rows.axis.at(low), rows.axis.at(high), INK);
        }
        rows.figure(y, false, figure);
    }
    rows.svg.finish(&text::PICTURE_SHARES.joined())
}

/// Stock and change in [`shares`].
const SHADES: [&str; 2] = ["#9aa5ae", "#56b4e9"];

/// Legend of [`shares`].
pub fn shares_legend() -> String {
    let marks = [text::OF_STOCK, text::OF_DELTA].into_iter().zip(SHADES).map(|(name, shade)| {
        let mut svg = Svg::new(30.0, 12.0);
        svg.bar((4.0, 1.0), (26.0, 11.0), shade);
        (svg, name.joined())
    });
    let mut range = Svg::new(30.0, 12.0);
    range.whisker(6.0, 2.0, 28.0, INK);
    legend(marks.chain([(range, text::RANGE_OVER_PARCELS.joined())]))
}

/// A parcel on the map.
pub struct MapParcel<'a> {
    /// The parcel.
    pub parcel_id: &'a str,
    /// Change per hectare over the period, t CO2e/ha.
    pub per_ha: f64,
    /// Its 90 % interval.
    pub ci90_per_ha: (f64, f64),
    /// Outline, longitude and latitude.
    pub outline: &'a MultiPolygon<f64>,
}

/// A disturbance on the map.
pub struct MapEvent<'a> {
    /// Number of its method.
    pub method: usize,
    /// What it is.
    pub title: String,
    /// Outline, longitude and latitude.
    pub outline: &'a MultiPolygon<f64>,
}

/// Longitude and latitude to the picture: at this size and extent a degree is a degree, shortened by the latitude.
struct Projection {
    west: f64,
    north: f64,
    /// Units of the picture a degree of longitude and of latitude.
    scale: (f64, f64),
    origin: (f64, f64),
}

impl Projection {
    fn at(&self, c: &Coord<f64>) -> (f64, f64) {
        (self.origin.0 + (c.x - self.west) * self.scale.0, self.origin.1 + (self.north - c.y) * self.scale.1)
    }

    fn rings(&self, outline: &MultiPolygon<f64>) -> Vec<Vec<(f64, f64)>> {
        let lines = outline.iter().flat_map(|p| std::iter::once(p.exterior()).chain(p.interiors()));
        // A ring repeats its first point, which closing it makes superfluous.
        lines.map(|l| l.0.iter().take(l.0.len().saturating_sub(1)).map(|c| self.at(c)).collect()).collect()
    }
}

/// Mean Earth radius times a degree, metres: enough for a scale bar.
const DEGREE_M: f64 = 111_195.0;

/// Width of a class of the map's colours: seven of them hold nine parcels of ten, and the outermost what lies beyond, so that
/// one extreme parcel does not make all others look alike.
fn class_width(parcels: &[MapParcel]) -> f64 {
    let mut sizes: Vec<f64> = parcels.iter().map(|p| p.per_ha.abs()).filter(|v| v.is_finite()).collect();
    sizes.sort_by(f64::total_cmp);
    let at = (0.9 * sizes.len() as f64).ceil() as usize;
    round_step(sizes.get(at.saturating_sub(1)).copied().unwrap_or(0.0) / 3.5)
}

fn class_of(v: f64, width: f64) -> usize {
    ((v / width).round().clamp(-3.0, 3.0) + 3.0) as usize
}

/// Parcels coloured by their change per hectare, hatched where the interval holds zero, with the disturbances over them.
/// `name` makes the picture's own names unique on the page.
pub fn map(name: &str, parcels: &[MapParcel], events: &[MapEvent]) -> Option<String> {
    let outlines = parcels.iter().map(|p| p.outline).chain(events.iter().map(|e| e.outline));
    let boxes = outlines.filter_map(BoundingRect::bounding_rect);
    let (min, max) = boxes.map(|b| (b.min(), b.max())).reduce(|a, b| {
        (Coord { x: a.0.x.min(b.0.x), y: a.0.y.min(b.0.y) }, Coord { x: a.1.x.max(b.1.x), y: a.1.y.max(b.1.y) })
    })?;
    let (left, top, right, tallest) = (62.0, 10.0, WIDTH - 12.0, 560.0);
    let squeeze = f64::midpoint(min.y, max.y).to_radians().cos().max(0.05);
    // One lonely point still has a neighbourhood.
    let (wide, high) = (((max.x - min.x) * squeeze).max(1e-6), (max.y - min.y).max(1e-6));
    let inner = (right - left - 24.0, tallest - 24.0);
    let unit = (inner.0 / wide).min(inner.1 / high);
    let drawn = (wide * unit, high * unit);
    let bottom = top + drawn.1 + 24.0;
    let projection = Projection {
        west: min.x,
        north: max.y,
        scale: (unit * squeeze, unit),
        origin: (left + 12.0 + (inner.0 - drawn.0) / 2.0, top + 12.0),
    };
    let mut svg = Svg::new(WIDTH, bottom + 52.0);
    svg.frame((left, top), (right, bottom), "#fff", PALE);
    graticule(&mut svg, &projection, (left, top, right, bottom));
    let hatch = format!("hatch-{name}");
    svg.hatch(&hatch, "#6b747c");

    // Many parcels are small ones: lines would hide them.
    let (thin, thick) = if parcels.len().max(events.len()) > 500 { (0.3, 0.6) } else { (0.7, 1.4) };
    let width = class_width(parcels);
    let mut labels: Vec<(f64, f64, f64, f64)> = Vec::new();
    let mut names = Vec::new();
    let d = column_decimals(parcels.iter().map(|p| half_width(p.ci90_per_ha)));
    for parcel in parcels {
        let rings = projection.rings(parcel.outline);
        let (v, ci) = (signed(parcel.per_ha, d), interval(parcel.ci90_per_ha, d, signed));
        let title = format!("{} {v} {ci} t CO₂e/ha", parcel.parcel_id);
        let colour = CLASSES[class_of(parcel.per_ha, width)];
        let (low, high) = extent(&rings);
        if high.0 - low.0 < 3.0 && high.1 - low.1 < 3.0 {
            // Too small to be seen as a shape.
            svg.open(&title);
            svg.disc((f64::midpoint(low.0, high.0), f64::midpoint(low.1, high.1)), 3.0, colour, INK);
            svg.close();
            continue;
        }
        let line = format!(r##" fill-rule="evenodd" stroke="#39424a" stroke-width="{thin}""##);
        let unsure = parcel.ci90_per_ha.0 <= 0.0 && parcel.ci90_per_ha.1 >= 0.0;
        svg.shape(rings.iter().map(Vec::as_slice), &format!(r#" fill="{colour}"{line}"#), Some(&title));
        if unsure {
            let more = format!(r#" fill="url(#{hatch})" fill-rule="evenodd" pointer-events="none""#);
            svg.shape(rings.iter().map(Vec::as_slice), &more, None);
        }
        let at = (f64::midpoint(low.0, high.0), f64::midpoint(low.1, high.1) + 3.0);
        let half = text_width(parcel.parcel_id, 9.0) / 2.0;
        let own = (at.0 - half, at.1 - 8.0, at.0 + half, at.1 + 2.0);
        let apart = |o: &(f64, f64, f64, f64)| own.2 < o.0 || own.0 > o.2 || own.3 < o.1 || own.1 > o.3;
        if 2.0 * half <= (high.0 - low.0) * 1.1 && high.1 - low.1 >= 10.0 && labels.iter().all(apart) {
            labels.push(own);
            names.push((at, parcel.parcel_id));
        }
    }
    for event in events {
        let rings = projection.rings(event.outline);
        let colour = OUTLINES[event.method.min(OUTLINES.len() - 1)];
        let more = format!(r#" fill="none" stroke="{colour}" stroke-width="{thick}""#);
        svg.shape(rings.iter().map(Vec::as_slice), &more, Some(&event.title));
    }
    for (at, name) in names {
        svg.halo(at, Anchor::Middle, 9.0, name);
    }
    scale_bar(&mut svg, unit / DEGREE_M, (left, bottom + 38.0));
    svg.text((right, bottom + 42.0), Anchor::End, SIZE, INK, false, &text::NORTH_UP.joined());
    Some(svg.finish(&text::PICTURE_MAP.joined()))
}

fn extent(rings: &[Vec<(f64, f64)>]) -> ((f64, f64), (f64, f64)) {
    rings
        .iter()
        .flatten()
        .fold(((f64::INFINITY, f64::INFINITY), (f64::NEG_INFINITY, f64::NEG_INFINITY)), |(l, h), p| {
            ((l.0.min(p.0), l.1.min(p.1)), (h.0.max(p.0), h.1.max(p.1)))
        })
}

/// Ticks of longitude below the frame and of latitude left of it.
fn graticule(svg: &mut Svg, p: &Projection, (left, top, right, bottom): (f64, f64, f64, f64)) {
    let longitude = Axis {
        ends: (left, right),
        values: (p.west + (left - p.origin.0) / p.scale.0, p.west + (right - p.origin.0) / p.scale.0),
    };
    let latitude = Axis {
        ends: (bottom, top),
        values: (p.north - (bottom - p.origin.1) / p.scale.1, p.north - (top - p.origin.1) / p.scale.1),
    };
    let label = |v: f64, step: f64, ends: [&str; 2]| {
        let digits = if step >= 1.0 { 0 } else { decimals(step) - 2 };
        format!("{}°{}", fixed(v.abs(), digits), if v < 0.0 { ends[1] } else { ends[0] })
    };
    let (ticks, step) = longitude.ticks(5);
    for tick in ticks {
        let x = longitude.at(tick);
        svg.line((x, bottom), (x, bottom + 4.0), PALE, 1.0);
        if x > left + 20.0 && x < right - 20.0 {
            svg.text((x, bottom + 15.0), Anchor::Middle, 10.0, PALE, false, &label(tick, step, ["E", "W"]));
        }
    }
    let (ticks, step) = latitude.ticks(5);
    for tick in ticks {
        let y = latitude.at(tick);
        svg.line((left - 4.0, y), (left, y), PALE, 1.0);
        svg.text((left - 6.0, y + 3.5), Anchor::End, 10.0, PALE, false, &label(tick, step, ["N", "S"]));
    }
}

/// A round length of about a fifth of the picture.
fn scale_bar(svg: &mut Svg, units_per_m: f64, at: (f64, f64)) {
    let metres = round_step(WIDTH / 8.0 / units_per_m);
    let to = (at.0 + metres * units_per_m, at.1);
    svg.line(at, to, INK, 2.0);
    for x in [at.0, to.0] {
        svg.line((x, at.1 - 4.0), (x, at.1 + 4.0), INK, 1.2);
    }
    let label =
        if metres >= 1000.0 { format!("{} km", fixed(metres / 1000.0, 0)) } else { format!("{} m", fixed(metres, 0)) };
    svg.text((to.0 + 8.0, at.1 + 4.0), Anchor::Start, SIZE, INK, false, &label);
}

/// Legend of [`map`]: classes, hatch, outlines of each method.
pub fn map_legend(name: &str, parcels: &[MapParcel], methods: &[&str]) -> String {
    let width = class_width(parcels);
    // Bounds are odd halves of a class: as many decimals as they have.
    let exact = |d: &usize| ((width / 2.0 * 10f64.powi(*d as i32)).fract()).abs() < 1e-6;
    let digits = (0..6).find(exact).unwrap_or(6);
    let bound = |k: f64| signed(k * width, digits);
    let classes = CLASSES.iter().enumerate().map(|(k, colour)| {
        let (low, high) = (k as f64 - 3.5, k as f64 - 2.5);
        let mut svg = Svg::new(30.0, 12.0);
        svg.frame((4.0, 1.0), (26.0, 11.0), colour, "#39424a");
        let label = match k {
            0 => format!("< {}", bound(high)),
            6 => format!("> {}", bound(low)),
            _ => format!("{} … {}", bound(low), bound(high)),
        };
        (svg, label)
    });
    let mut hatched = Svg::new(30.0, 12.0);
    let hatch = format!("hatch-legend-{name}");
    hatched.hatch(&hatch, "#6b747c");
    hatched.frame((4.0, 1.0), (26.0, 11.0), &format!("url(#{hatch})"), "#39424a");
    let outlines = methods.iter().enumerate().map(|(k, method)| {
        let mut svg = Svg::new(30.0, 12.0);
        svg.frame((4.0, 1.0), (26.0, 11.0), "#fff", OUTLINES[k.min(OUTLINES.len() - 1)]);
        (svg, fill(&text::OUTLINE_OF.joined(), &[method, method]))
    });
    let unit = format!("<li><b>{}</b></li>", escape(&text::PER_HECTARE.joined()));
    let first = if parcels.is_empty() { String::new() } else { unit };
    let marks: Vec<(Svg, String)> = if parcels.is_empty() {
        outlines.collect()
    } else {
        classes.chain([(hatched, text::HATCHED.joined())]).chain(outlines).collect()
    };
    legend(marks.into_iter()).replacen("<ul class=\"legend\">", &format!("<ul class=\"legend\">{first}"), 1)
}

/// Marks with what they stand for.
fn legend(marks: impl Iterator<Item = (Svg, String)>) -> String {
    let items: String = marks.map(|(svg, name)| format!("<li>{} {}</li>", svg.finish(&name), escape(&name))).collect();
    format!("<ul class=\"legend\">{items}</ul>")
}

/// Name of a part of the variance in both languages.
pub fn part_name(name: &str) -> String {
    let known: Option<Both> = text::part(name);
    known.map_or_else(|| name.to_owned(), Both::joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_the_map_hold_every_value_and_keep_signs_apart() {
        assert_eq!([-35.0, -6.0, -4.9, 0.0, 4.9, 5.1, 34.0].map(|v| class_of(v, 10.0)), [0, 2, 3, 3, 3, 4, 6]);
        let outline = MultiPolygon(Vec::new());
        let parcel = |per_ha: f64| MapParcel { parcel_id: "a", per_ha, ci90_per_ha: (0.0, 0.0), outline: &outline };
        for most in [0.03, 1.0, 6.9, 120.0] {
            let width = class_width(&[parcel(-most), parcel(most / 7.0)]);
            assert!(3.5 * width >= most * (1.0 - 1e-9) && width < most, "{most}: {width}");
        }
        // One parcel far out does not set the scale.
        let mut many: Vec<MapParcel> = (1..20).map(|i| parcel(f64::from(i))).collect();
        let without = class_width(&many);
        many.push(parcel(-350.0));
        assert_eq!(class_width(&many), without);
    }

    #[test]
    fn nothing_to_draw_is_no_map() {
        assert!(map("m", &[], &[]).is_none());
    }
}
