//! Which pixels of a grid does a parcel touch, and what exact fraction of each does it cover?
//!
//! Every edge of every ring leaves, in each pixel it passes, the height it spans there (signed by its direction) and
//! the area between itself and the pixel's left side. Swept along a row, the sum of the heights met so far is the
//! coverage of the pixels between two boundary pixels, and the areas correct the boundary pixels themselves:
//! signed-area accumulation, as analytic font rasterisers do it, in `f64` and without sampling. The cost is that of the
//! boundary: pixels passed, sorted, plus one run per stretch of interior. The bounding box is never visited.
//!
//! Invariants:
//! - The fractions times the pixel area sum to the planar area of the polygon clipped to the grid, within the noise
//!   below.
//! - The direction and the first vertex of a ring do not matter: exteriors count positive, holes negative.
//! - An edge counts the same in both directions, so parts that share an edge leave no seam.
//! - Coordinates are taken relative to a pixel corner near the polygon, and each crossing of a grid line is computed
//!   from the two end points of its edge, so nothing drifts along a ring.
//!
//! Noise: fractions below 1e-10 are dropped and those above 1 - 1e-10 are full. A pixel covered beyond 1 or below 0 by
//! up to 1e-6 is full or dropped as well, since reprojected neighbours disagree by that much; beyond it the parts of
//! the polygon overlap, a hole leaves its exterior or a ring crosses itself, and the answer is an error. That is a net,
//! not a validity check: it sees only what changes a pixel.

use std::fmt;

use geo::{BoundingRect, LineString, MultiPolygon};

use crate::geo::grid::{Grid, Window};
use crate::geo::lattice::Lattice;

/// Fractions this close to 0 or 1 are rounding noise, in pixels.
const NOISE_PX: f64 = 1e-10;
/// Coverage outside [0, 1] by more than this is an invalid polygon, in pixels.
const OVERLAP_PX: f64 = 1e-6;
/// Vertices farther than this from the grid are refused, in pixels: their squares must stay finite.
const FARTHEST_PX: f64 = 1e100;

/// A stretch of neighbouring touched pixels in one row: columns `col` to `col + len - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Row of the pixels.
    pub row: u32,
    /// First column.
    pub col: u32,
    /// Number of pixels.
    pub len: u32,
}

/// The pixels of one grid that one parcel touches, and the exact fraction of each that it covers.
///
/// Pixels are ordered by row, then column; the ordinal of a pixel in that order is its place in every array of
/// footprint values. A footprint has at least one pixel.
#[derive(Debug, Clone, PartialEq)]
pub struct Footprint {
    /// Sorted by (row, col) and maximal: two spans of a row do not touch.
    spans: Vec<Span>,
    /// Ordinal and fraction of the pixels covered in part, ascending; every other pixel is covered wholly.
    partial: Vec<(u32, f64)>,
    pixels: u32,
    coverage_px: f64,
}

/// Why a polygon has no footprint on a grid.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum CoverageError {
    /// A coordinate is NaN, infinite or absurdly far away.
    Coordinate {
        /// Easting as found.
        x: f64,
        /// Northing as found.
        y: f64,
    },
    /// The grid's corner or pixel size is not a usable number.
    Grid {
        /// Western edge.
        x_min: f64,
        /// Northern edge.
        y_max: f64,
        /// Pixel width.
        pixel_x_m: f64,
        /// Pixel height.
        pixel_y_m: f64,
    },
    /// The coverage of a pixel lies outside [0, 1].
    Overlap {
        /// Row of the pixel.
        row: u32,
        /// Column of the pixel.
        col: u32,
        /// Covered share of it, outside 0 to 1.
        fraction: f64,
    },
    /// More pixels than the ordinals of a footprint can count.
    TooManyPixels {
        /// Pixels touched.
        pixels: u64,
    },
}

impl fmt::Display for CoverageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coordinate { x, y } => {
                write!(
                    f,
                    "vertex ({x}, {y}) cannot be placed on the grid: expected finite coordinates in the grid's CRS"
                )
            }
            Self::Grid { x_min, y_max, pixel_x_m, pixel_y_m } => write!(
                f,
                "grid with corner ({x_min}, {y_max}) and pixel {pixel_x_m} x {pixel_y_m}: \
                 expected finite numbers and a positive pixel size"
            ),
            Self::Overlap { row, col, fraction } => write!(
                f,
                "polygon covers pixel (row {row}, col {col}) {fraction} times, expected 0 to 1: \
                 its parts overlap, a hole leaves its exterior or a ring crosses itself; repair the geometry"
            ),
            Self::TooManyPixels { pixels } => {
                write!(
                    f,
                    "polygon touches {pixels} pixels, expected at most {}: split it or use a coarser grid",
                    u32::MAX
                )
            }
        }
    }
}

impl std::error::Error for CoverageError {}

impl Footprint {
    /// Touched pixels as runs, sorted by (row, col), maximal.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Ordinal and fraction in (0, 1) of every pixel covered in part, by ascending ordinal. All others have fraction 1.
    #[must_use]
    pub fn partial(&self) -> &[(u32, f64)] {
        &self.partial
    }

    /// Number of touched pixels, at least 1.
    #[must_use]
    pub fn pixels(&self) -> u32 {
        self.pixels
    }

    /// Sum of the fractions, in pixels: times the pixel area, the planar area of the parcel within the grid.
    #[must_use]
    pub fn coverage_px(&self) -> f64 {
        self.coverage_px
    }

    /// The smallest window that holds every touched pixel.
    #[must_use]
    pub fn window(&self) -> Window {
        let (first, last) = (self.spans[0], self.spans[self.spans.len() - 1]);
        let (col, end) = self
            .spans
            .iter()
            .fold((first.col, first.col + first.len), |(col, end), s| (col.min(s.col), end.max(s.col + s.len)));
        Window { row: first.row, col, rows: last.row - first.row + 1, cols: end - col }
    }

    /// Fraction of every touched pixel, in (0, 1], in footprint order.
    pub fn weights(&self) -> impl Iterator<Item = f64> + '_ {
        let mut partial = self.partial.iter().peekable();
        (0..self.pixels).map(move |i| partial.next_if(|p| p.0 == i).map_or(1.0, |p| p.1))
    }

    /// Builds a footprint from stored parts.
    ///
    /// # Errors
    /// Names the first span or fraction that breaks the order or the range that [`Footprint`] promises.
    pub fn from_parts(spans: Vec<Span>, partial: Vec<(u32, f64)>) -> Result<Self, String> {
        if spans.is_empty() {
            return Err("footprint has no spans, expected at least one".into());
        }
        let mut pixels = 0u64;
        for (i, s) in spans.iter().enumerate() {
            if s.len == 0 || s.col.checked_add(s.len).is_none() || s.row == u32::MAX {
                return Err(format!("span {i} ({s:?}) is empty or runs past the largest column or row"));
            }
            if let Some(before) = i.checked_sub(1).map(|j| spans[j]) {
                let follows = before.row < s.row || (before.row == s.row && before.col + before.len < s.col);
                if !follows {
                    return Err(format!("span {i} ({s:?}) does not follow {before:?} with a gap or in a later row"));
                }
            }
            pixels += u64::from(s.len);
        }
        let pixels =
            u32::try_from(pixels).map_err(|_| format!("footprint has {pixels} pixels, more than a u32 counts"))?;
        let mut next = 0u64;
        let mut partial_px = 0.0;
        for &(ordinal, fraction) in &partial {
            if u64::from(ordinal) < next || ordinal >= pixels {
                return Err(format!("partial pixel {ordinal} is out of order or not below {pixels} pixels"));
            }
            if !(fraction > 0.0 && fraction < 1.0) {
                return Err(format!("fraction {fraction} of pixel {ordinal} is not between 0 and 1"));
            }
            next = u64::from(ordinal) + 1;
            partial_px += fraction;
        }
        let coverage_px = f64::from(pixels - partial.len() as u32) + partial_px;
        Ok(Self { spans, partial, pixels, coverage_px })
    }
}

/// The footprint of a polygon on a grid, or `None` when it covers no part of any pixel.
///
/// Coordinates are in the grid's CRS. What lies outside the grid is cut off. Empty and unclosed rings, repeated
/// vertices and rings of either direction are fine.
///
/// # Errors
/// A coordinate that is not finite, an unusable grid, a pixel covered more than once or less than zero times, or more
/// than `u32::MAX` pixels.
pub fn footprint(polygon: &MultiPolygon<f64>, grid: &Grid) -> Result<Option<Footprint>, CoverageError> {
    let Some(mut boundary) = Boundary::new(polygon, grid)? else {
        return Ok(None);
    };
    for part in polygon {
        boundary.add_ring(part.exterior(), 1.0);
        for hole in part.interiors() {
            boundary.add_ring(hole, -1.0);
        }
    }
    boundary.sweep()
}

/// The footprint of a whole polygon on a lattice, in the lattice's rows and columns. Computed on the part of the lattice
/// around the polygon, so that no digits are lost to a distant origin.
///
/// # Errors
/// As [`footprint`], and a polygon beyond the lattice's reach.
pub fn lattice_footprint(polygon: &MultiPolygon<f64>, lattice: &Lattice) -> Result<Option<Footprint>, CoverageError> {
    let Some(bounds) = polygon.bounding_rect() else { return Ok(None) };
    let (min, max) = (bounds.min(), bounds.max());
    let window =
        lattice.window_around([min.x, min.y, max.x, max.y]).ok_or(CoverageError::Coordinate { x: max.x, y: max.y })?;
    let found = footprint(polygon, &lattice.grid(&window))?;
    Ok(found.map(|mut f| {
        for span in &mut f.spans {
            span.row += window.row;
            span.col += window.col;
        }
        f
    }))
}

/// A point in local pixel coordinates: columns eastwards, rows downwards, from a pixel corner near the polygon.
#[derive(Clone, Copy, PartialEq)]
struct Point {
    u: f64,
    v: f64,
}

/// What the boundary leaves in one pixel.
struct Cell {
    /// Row in the upper half, column in the lower: one comparison sorts by row, then column.
    key: u64,
    /// Height spanned by edges in this pixel, signed: the change of coverage for every pixel to the right.
    cover: f64,
    /// The part of that height times width which lies left of the edges, within this pixel.
    area: f64,
}

impl Cell {
    fn row(&self) -> u32 {
        (self.key >> 32) as u32
    }

    fn col(&self) -> u32 {
        self.key as u32
    }
}

/// From `row` on, edges left of the grid cover whole rows by this much more (or less).
struct Step {
    row: u32,
    by: f64,
}

/// The boundary of a polygon as it accumulates, in a local frame whose pixel (0, 0) is `first` on the grid.
struct Boundary {
    first_row: u32,
    first_col: u32,
    /// Corner of the local frame in the CRS.
    x0: f64,
    y0: f64,
    pixel_x_m: f64,
    pixel_y_m: f64,
    /// Size of the local frame, which ends where the grid ends.
    rows: u32,
    cols: u32,
    cells: Vec<Cell>,
    steps: Vec<Step>,
}

impl Boundary {
    /// The local frame, or `None` when the bounding boxes of polygon and grid do not meet.
    fn new(polygon: &MultiPolygon<f64>, grid: &Grid) -> Result<Option<Self>, CoverageError> {
        let &Grid { x_min, y_max, pixel_x_m, pixel_y_m, .. } = grid;
        let usable = x_min.is_finite()
            && y_max.is_finite()
            && pixel_x_m.is_finite()
            && pixel_y_m.is_finite()
            && pixel_x_m > 0.0
            && pixel_y_m > 0.0;
        if !usable {
            return Err(CoverageError::Grid { x_min, y_max, pixel_x_m, pixel_y_m });
        }
        let (mut u_min, mut v_min) = (f64::INFINITY, f64::INFINITY);
        let (mut u_max, mut v_max) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        let rings = polygon.iter().flat_map(|p| std::iter::once(p.exterior()).chain(p.interiors()));
        for c in rings.flat_map(|ring| &ring.0) {
            let (u, v) = grid.to_pixel(c.x, c.y);
            // Written so that NaN fails too.
            if !(u.abs() <= FARTHEST_PX && v.abs() <= FARTHEST_PX) {
                return Err(CoverageError::Coordinate { x: c.x, y: c.y });
            }
            (u_min, v_min, u_max, v_max) = (u_min.min(u), v_min.min(v), u_max.max(u), v_max.max(v));
        }
        let meets = u_min < f64::from(grid.cols) && v_min < f64::from(grid.rows) && u_max > 0.0 && v_max > 0.0;
        if !meets {
            return Ok(None);
        }
        // Both are below the grid's size, since the boxes meet.
        let (first_row, first_col) = (v_min.max(0.0) as u32, u_min.max(0.0) as u32);
        Ok(Some(Self {
            first_row,
            first_col,
            x0: x_min + f64::from(first_col) * pixel_x_m,
            y0: y_max - f64::from(first_row) * pixel_y_m,
            pixel_x_m,
            pixel_y_m,
            rows: grid.rows - first_row,
            cols: grid.cols - first_col,
            cells: Vec::new(),
            steps: Vec::new(),
        }))
    }

    /// Adds a ring that contributes `sign` to what it encloses, whatever its direction.
    fn add_ring(&mut self, ring: &LineString<f64>, sign: f64) {
        let (x0, y0, pixel_x_m, pixel_y_m) = (self.x0, self.y0, self.pixel_x_m, self.pixel_y_m);
        let mut points = ring.0.iter().map(|c| Point { u: (c.x - x0) / pixel_x_m, v: (y0 - c.y) / pixel_y_m });
        let Some(first) = points.next() else { return };
        // Twice the signed area, from the first vertex so that a small ring far away keeps its digits.
        let mut twice_area = 0.0;
        let mut last = first;
        for p in points.clone() {
            twice_area += (last.u - first.u) * (p.v - first.v) - (p.u - first.u) * (last.v - first.v);
            last = p;
        }
        // With rows downwards, an edge going down lies left of what it encloses when the signed area is negative.
        let sign = if twice_area > 0.0 { -sign } else { sign };
        let mut last = first;
        for p in points {
            self.add_edge(last, p, sign);
            last = p;
        }
        self.add_edge(last, first, sign);
    }

    /// Adds an edge, cut to the rows of the frame. Left of the frame it still covers whole rows; right of it nothing is
    /// left to cover.
    fn add_edge(&mut self, from: Point, to: Point, sign: f64) {
        // Always downwards, so that an edge walked both ways cancels exactly.
        let (a, b, sign) = if from.v < to.v { (from, to, sign) } else { (to, from, -sign) };
        let (rows, cols) = (f64::from(self.rows), f64::from(self.cols));
        let (top, bottom) = (a.v.max(0.0), b.v.min(rows));
        // Level edges span no height.
        if a.v == b.v || top >= bottom || (a.u >= cols && b.u >= cols) {
            return;
        }
        if a.u <= 0.0 && b.u <= 0.0 {
            self.add_left_of_frame(top, bottom, sign);
            return;
        }
        let edge = Edge::new(a, b);
        let within = |v: f64| v.max(top).min(bottom);
        let (mut enter, mut leave) = (top, bottom);
        if a.u < 0.0 {
            enter = within(edge.v_at(0.0));
            self.add_left_of_frame(top, enter, sign);
        } else if a.u > cols {
            enter = within(edge.v_at(cols));
        }
        if b.u < 0.0 {
            leave = within(edge.v_at(0.0)).max(enter);
            self.add_left_of_frame(leave, bottom, sign);
        } else if b.u > cols {
            leave = within(edge.v_at(cols)).max(enter);
        }
        let u_at = |v: f64| edge.u_at(v).max(0.0).min(cols);
        let mut v = enter;
        let mut u = u_at(v);
        let mut row = v as u32;
        while v < leave {
            let v_next = (f64::from(row) + 1.0).min(leave);
            let u_next = u_at(v_next);
            self.add_row_piece(&edge, row, (u, v), (u_next, v_next), sign);
            (u, v) = (u_next, v_next);
            row += 1;
        }
    }

    /// Adds the piece of an edge that lies in one row and within the frame, downwards from `upper` to `lower`.
    fn add_row_piece(&mut self, edge: &Edge, row: u32, upper: (f64, f64), lower: (f64, f64), sign: f64) {
        let ((left_u, left_v), (right_u, right_v)) = if upper.0 <= lower.0 { (upper, lower) } else { (lower, upper) };
        let (mut u, mut v) = (left_u, left_v);
        let mut col = left_u as u32;
        loop {
            let right_side = f64::from(col) + 1.0;
            let last = right_u <= right_side;
            let (u_next, v_next) =
                if last { (right_u, right_v) } else { (right_side, edge.v_at(right_side).max(upper.1).min(lower.1)) };
            let cover = sign * (v_next - v).abs();
            self.add_cell(row, col, cover, cover * ((u - f64::from(col)) + (u_next - f64::from(col))) * 0.5);
            if last {
                return;
            }
            (u, v) = (u_next, v_next);
            col += 1;
        }
    }

    /// Adds what an edge left of the frame covers: from row coordinate `top` to `bottom`, all columns.
    fn add_left_of_frame(&mut self, top: f64, bottom: f64, sign: f64) {
        if top >= bottom {
            return;
        }
        let (first, last) = (top as u32, bottom as u32);
        if first == last {
            self.add_cell(first, 0, sign * (bottom - top), 0.0);
            return;
        }
        self.add_cell(first, 0, sign * (f64::from(first) + 1.0 - top), 0.0);
        self.add_cell(last, 0, sign * (bottom - f64::from(last)), 0.0);
        // The whole rows between them would each need a cell; two steps say the same at once.
        if first + 1 < last {
            self.steps.push(Step { row: first + 1, by: sign });
            self.steps.push(Step { row: last, by: -sign });
        }
    }

    fn add_cell(&mut self, row: u32, col: u32, cover: f64, area: f64) {
        // On the right or lower side of the frame exactly: nothing of the frame is beyond it.
        if cover == 0.0 || col >= self.cols || row >= self.rows {
            return;
        }
        let key = u64::from(row) << 32 | u64::from(col);
        // Dense rings leave many edges in a pixel in sequence.
        match self.cells.last_mut() {
            Some(cell) if cell.key == key => {
                cell.cover += cover;
                cell.area += area;
            }
            _ => self.cells.push(Cell { key, cover, area }),
        }
    }

    /// Turns the accumulated boundary into the footprint, row by row.
    fn sweep(mut self) -> Result<Option<Footprint>, CoverageError> {
        self.cells.sort_unstable_by_key(|c| c.key);
        self.steps.sort_unstable_by_key(|s| s.row);
        let mut out = Runs { first_row: self.first_row, first_col: self.first_col, ..Runs::default() };
        let mut cells = self.cells.iter().peekable();
        let mut steps = self.steps.iter().peekable();
        // Coverage of the row's first pixel by edges left of the frame; a sum of signed ones, hence exact.
        let mut entering = 0.0;
        let mut row = 0;
        loop {
            if entering == 0.0 {
                // Nothing covers the rows up to the next cell or step.
                row = match (cells.peek(), steps.peek()) {
                    (Some(c), Some(s)) => c.row().min(s.row),
                    (Some(c), None) => c.row(),
                    (None, Some(s)) => s.row,
                    (None, None) => break,
                };
            }
            while let Some(s) = steps.next_if(|s| s.row == row) {
                entering += s.by;
            }
            let mut cover = entering;
            let mut col = 0;
            while let Some(first) = cells.next_if(|c| c.row() == row) {
                out.add(row, col, first.col() - col, cover)?;
                let (mut height, mut area) = (first.cover, first.area);
                while let Some(same) = cells.next_if(|c| c.key == first.key) {
                    height += same.cover;
                    area += same.area;
                }
                cover += height;
                out.add(row, first.col(), 1, cover - area)?;
                col = first.col() + 1;
            }
            out.add(row, col, self.cols - col, cover)?;
            row += 1;
        }
        out.finish()
    }
}

/// An edge that goes downwards, and where it crosses a column or a row.
struct Edge {
    a: Point,
    b: Point,
    dv_du: f64,
    du_dv: f64,
}

impl Edge {
    fn new(a: Point, b: Point) -> Self {
        let (du, dv) = (b.u - a.u, b.v - a.v);
        Self { a, b, dv_du: dv / du, du_dv: du / dv }
    }

    /// Column coordinate at row coordinate `v`, between those of the end points.
    fn u_at(&self, v: f64) -> f64 {
        if v == self.b.v {
            return self.b.u;
        }
        // `max` and `min` rather than `clamp`: a slope that overflowed gives NaN, which they turn into an end point.
        (self.a.u + (v - self.a.v) * self.du_dv).max(self.a.u.min(self.b.u)).min(self.a.u.max(self.b.u))
    }

    /// Row coordinate at column coordinate `u`, unbounded. The edge is not vertical.
    fn v_at(&self, u: f64) -> f64 {
        self.a.v + (u - self.a.u) * self.dv_du
    }
}

/// Footprint under construction: runs of pixels arrive in order.
#[derive(Default)]
struct Runs {
    first_row: u32,
    first_col: u32,
    spans: Vec<Span>,
    partial: Vec<(u32, f64)>,
    pixels: u64,
}

impl Runs {
    /// Appends `len` pixels of one row, given in the local frame, all with the same coverage.
    fn add(&mut self, row: u32, col: u32, len: u32, fraction: f64) -> Result<(), CoverageError> {
        let (row, col) = (row + self.first_row, col + self.first_col);
        if len == 0 || (-OVERLAP_PX..NOISE_PX).contains(&fraction) {
            return Ok(());
        }
        if !(0.0..=1.0 + OVERLAP_PX).contains(&fraction) {
            return Err(CoverageError::Overlap { row, col, fraction });
        }
        let first = self.pixels;
        self.pixels += u64::from(len);
        if fraction <= 1.0 - NOISE_PX {
            // Checked before the loop, which would otherwise fill the memory first.
            if self.pixels > u64::from(u32::MAX) {
                return Err(CoverageError::TooManyPixels { pixels: self.pixels });
            }
            self.partial.extend((first..self.pixels).map(|ordinal| (ordinal as u32, fraction)));
        }
        match self.spans.last_mut() {
            Some(s) if s.row == row && s.col + s.len == col => s.len += len,
            _ => self.spans.push(Span { row, col, len }),
        }
        Ok(())
    }

    fn finish(self) -> Result<Option<Footprint>, CoverageError> {
        if self.pixels == 0 {
            return Ok(None);
        }
        let pixels = u32::try_from(self.pixels).map_err(|_| CoverageError::TooManyPixels { pixels: self.pixels })?;
        let full = self.pixels - self.partial.len() as u64;
        let coverage_px = full as f64 + self.partial.iter().map(|p| p.1).sum::<f64>();
        Ok(Some(Footprint { spans: self.spans, partial: self.partial, pixels, coverage_px }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::crs::Crs;
    use geo::{Coord, MapCoords, Polygon};
    use proptest::prelude::*;

    /// A grid of 1 x 1 pixels in which x is the column and -y the row.
    fn unit_grid(rows: u32, cols: u32) -> Grid {
        Grid { crs: Crs("local".into()), x_min: 0.0, y_max: 0.0, pixel_x_m: 1.0, pixel_y_m: 1.0, rows, cols }
    }

    /// A ring from (column, row) pairs on the unit grid.
    fn ring(points: &[(f64, f64)]) -> LineString<f64> {
        LineString(points.iter().map(|&(col, row)| Coord { x: col, y: -row }).collect())
    }

    fn polygon(points: &[(f64, f64)]) -> MultiPolygon<f64> {
        MultiPolygon(vec![Polygon::new(ring(points), vec![])])
    }

    fn square(col: f64, row: f64, size: f64) -> [(f64, f64); 4] {
        [(col, row), (col + size, row), (col + size, row + size), (col, row + size)]
    }

    fn parts(squares: &[[(f64, f64); 4]]) -> MultiPolygon<f64> {
        MultiPolygon(squares.iter().map(|s| Polygon::new(ring(s), vec![])).collect())
    }

    /// (row, col, fraction) of every touched pixel.
    fn pixels(f: &Footprint) -> Vec<(u32, u32, f64)> {
        let places = f.spans().iter().flat_map(|s| (s.col..s.col + s.len).map(|col| (s.row, col)));
        places.zip(f.weights()).map(|((row, col), fraction)| (row, col, fraction)).collect()
    }

    /// All fractions of the grid, row by row.
    fn dense(f: Option<&Footprint>, grid: &Grid) -> Vec<f64> {
        let mut out = vec![0.0; (grid.rows * grid.cols) as usize];
        for (row, col, fraction) in f.map(pixels).unwrap_or_default() {
            out[(row * grid.cols + col) as usize] = fraction;
        }
        out
    }

    /// All fractions on a 3 x 3 grid, row by row.
    fn on_3x3(p: &MultiPolygon<f64>) -> Vec<f64> {
        let grid = unit_grid(3, 3);
        dense(footprint(p, &grid).unwrap().as_ref(), &grid)
    }

    fn assert_fractions(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (i, (f, e)) in found.iter().zip(expected).enumerate() {
            assert!((f - e).abs() < 1e-12, "pixel {i}: found {f}, expected {e} in {found:?}");
        }
    }

    #[test]
    fn half_pixels_all_round() {
        assert_fractions(&on_3x3(&polygon(&square(0.5, 0.5, 2.0))), &[0.25, 0.5, 0.25, 0.5, 1.0, 0.5, 0.25, 0.5, 0.25]);
    }

    #[test]
    fn follows_grid_lines() {
        let f = footprint(&polygon(&square(1.0, 1.0, 2.0)), &unit_grid(3, 3)).unwrap().unwrap();
        assert_eq!(f.spans(), [Span { row: 1, col: 1, len: 2 }, Span { row: 2, col: 1, len: 2 }]);
        assert!(f.partial().is_empty());
        assert_eq!((f.pixels(), f.coverage_px()), (4, 4.0));
        assert_eq!(f.window(), Window { row: 1, col: 1, rows: 2, cols: 2 });
    }

    #[test]
    fn on_the_outline_of_the_grid_and_far_around_it() {
        for p in [square(0.0, 0.0, 3.0), square(-1e9, -1e9, 3e9), square(-1e99, -1e99, 3e99)] {
            let f = footprint(&polygon(&p), &unit_grid(3, 3)).unwrap().unwrap();
            assert_eq!(f.spans(), [0, 1, 2].map(|row| Span { row, col: 0, len: 3 }));
            assert!(f.partial().is_empty());
        }
    }

    #[test]
    fn vertices_on_pixel_corners() {
        // A diamond from corner to corner: its edges are diagonals of pixels.
        let p = polygon(&[(0.0, 1.0), (1.0, 0.0), (2.0, 1.0), (1.0, 2.0)]);
        assert_fractions(&on_3x3(&p), &[0.5, 0.5, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn triangle_with_a_shallow_edge() {
        // Under the line from (0, 0) to (3, 1): 1/6, 3/6 and 5/6 of the pixels of row 0, and nothing else.
        let p = polygon(&[(0.0, 0.0), (3.0, 1.0), (0.0, 1.0)]);
        assert_fractions(&on_3x3(&p), &[5.0 / 6.0, 0.5, 1.0 / 6.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn inside_one_pixel() {
        let mut expected = [0.0; 9];
        expected[5] = 0.08;
        assert_fractions(&on_3x3(&polygon(&[(2.2, 1.2), (2.6, 1.2), (2.6, 1.6)])), &expected);
    }

    #[test]
    fn touching_the_sides_of_one_pixel_from_inside_or_outside() {
        let inside = polygon(&[(1.0, 1.5), (1.5, 1.0), (2.0, 1.5), (1.5, 2.0)]);
        let mut expected = [0.0; 9];
        expected[4] = 0.5;
        assert_fractions(&on_3x3(&inside), &expected);
        // All of row 0 but its lower right corner; rows below touch in an edge only, which is no area.
        let above =
            footprint(&polygon(&[(0.0, 0.0), (3.0, 0.0), (3.0, 0.5), (2.5, 1.0), (0.0, 1.0)]), &unit_grid(3, 3));
        assert_eq!(above.unwrap().unwrap().partial(), [(2, 0.875)]);
    }

    #[test]
    fn hole_on_grid_lines_splits_a_row_into_two_spans() {
        let p = MultiPolygon(vec![Polygon::new(ring(&square(0.0, 0.0, 3.0)), vec![ring(&square(1.0, 1.0, 1.0))])]);
        let f = footprint(&p, &unit_grid(3, 3)).unwrap().unwrap();
        let spans = [(0, 0, 3), (1, 0, 1), (1, 2, 1), (2, 0, 3)].map(|(row, col, len)| Span { row, col, len });
        assert_eq!((f.spans(), f.pixels()), (&spans[..], 8));
    }

    #[test]
    fn holes_that_touch_each_other_and_the_exterior() {
        let holes = vec![
            ring(&square(0.0, 0.0, 1.5)),
            ring(&square(1.5, 1.5, 0.5)),
            ring(&[(2.5, 0.5), (3.0, 0.0), (3.0, 1.0)]),
        ];
        let p = MultiPolygon(vec![Polygon::new(ring(&square(0.0, 0.0, 3.0)), holes)]);
        assert_fractions(&on_3x3(&p), &[0.0, 0.5, 0.75, 0.5, 0.5, 1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn island_in_a_hole() {
        let p = MultiPolygon(vec![
            Polygon::new(ring(&square(0.0, 0.0, 3.0)), vec![ring(&square(0.5, 0.5, 2.0))]),
            Polygon::new(ring(&square(1.25, 1.25, 0.5)), vec![]),
        ]);
        assert_fractions(&on_3x3(&p), &[0.75, 0.5, 0.75, 0.5, 0.25, 0.5, 0.75, 0.5, 0.75]);
    }

    #[test]
    fn parts_that_share_an_edge_leave_no_seam() {
        // The edge is slanted and hits nothing exactly; one part has an extra vertex on a neighbouring side.
        let (top, bottom) = ((1.1, 0.0), (2.3, 3.0));
        let p = MultiPolygon(vec![
            Polygon::new(ring(&[(0.0, 0.0), top, bottom, (0.0, 3.0)]), vec![]),
            Polygon::new(ring(&[top, (2.0, 0.0), (3.0, 0.0), (3.0, 3.0), bottom]), vec![]),
        ]);
        let f = footprint(&p, &unit_grid(3, 3)).unwrap().unwrap();
        assert_eq!((f.pixels(), f.partial().len()), (9, 0));
    }

    #[test]
    fn outside_on_each_side() {
        // The same square of side 2, half a pixel over each corner of the grid.
        let corner = |col, row| on_3x3(&polygon(&square(col, row, 2.0)));
        assert_fractions(&corner(-1.5, -1.5), &[0.25, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_fractions(&corner(2.5, -1.5), &[0.0, 0.0, 0.5 * 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_fractions(&corner(-1.5, 0.5), &[0.25, 0.0, 0.0, 0.5, 0.0, 0.0, 0.25, 0.0, 0.0]);
        assert_fractions(&corner(2.5, 2.5), &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.25]);
    }

    #[test]
    fn slanted_edges_that_enter_and_leave_through_every_side() {
        // A diamond of radius 2.5 about the grid's centre cuts a triangle with legs of 1/2 off each corner.
        let p = polygon(&[(-1.0, 1.5), (1.5, -1.0), (4.0, 1.5), (1.5, 4.0)]);
        assert_fractions(&on_3x3(&p), &[0.875, 1.0, 0.875, 1.0, 1.0, 1.0, 0.875, 1.0, 0.875]);
    }

    #[test]
    fn beside_the_grid_is_no_footprint() {
        let grid = unit_grid(3, 3);
        for p in [square(-2.0, 0.0, 2.0), square(3.0, 0.0, 2.0), square(0.0, -2.0, 2.0), square(0.0, 3.0, 2.0)] {
            assert_eq!(footprint(&polygon(&p), &grid), Ok(None));
        }
        // Its bounding box meets the grid, but it goes round the corner.
        assert_eq!(footprint(&polygon(&[(-9.0, 1.0), (2.0, -9.0), (-9.0, -9.0)]), &grid), Ok(None));
        assert_eq!(footprint(&polygon(&square(0.0, 0.0, 1.0)), &unit_grid(0, 3)), Ok(None));
    }

    #[test]
    fn empty_rings_points_and_lines_are_no_footprint() {
        let grid = unit_grid(3, 3);
        assert_eq!(footprint(&MultiPolygon(vec![]), &grid), Ok(None));
        for p in [&[][..], &[(1.5, 1.5)], &[(0.5, 0.5), (2.5, 2.2)], &[(0.5, 1.0), (2.5, 1.0), (0.5, 1.0)]] {
            assert_eq!(footprint(&polygon(p), &grid), Ok(None));
        }
        let p = MultiPolygon(vec![Polygon::new(ring(&square(0.0, 0.0, 1.0)), vec![ring(&[])])]);
        assert_eq!(footprint(&p, &grid).unwrap().unwrap().pixels(), 1);
    }

    #[test]
    fn repeated_vertices_change_nothing() {
        let p = [(0.3, 0.2), (0.3, 0.2), (2.7, 0.9), (2.7, 0.9), (2.7, 0.9), (1.1, 2.8), (0.3, 0.2), (0.3, 0.2)];
        let once = [(0.3, 0.2), (2.7, 0.9), (1.1, 2.8)];
        assert_fractions(&on_3x3(&polygon(&p)), &on_3x3(&polygon(&once)));
    }

    #[test]
    fn repeated_vertices_on_pixel_corners() {
        // exactextract 0.3.0 gives one pixel 2.5 and the others nothing.
        let p = [
            (2., 1.),
            (2., 1.),
            (1., 0.),
            (1., 0.),
            (1., 1.),
            (0., 1.),
            (0., 1.),
            (0., 2.),
            (1., 2.),
            (1., 2.),
            (2., 2.),
        ];
        assert_fractions(&on_3x3(&polygon(&p)), &[0.0, 0.5, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn noise_at_grid_lines_is_dropped_or_filled() {
        let e = 1e-11;
        let f = footprint(&polygon(&square(1.0 - e, 1.0 - e, 1.0 + 2.0 * e)), &unit_grid(3, 3)).unwrap().unwrap();
        assert_eq!((f.spans(), f.partial()), (&[Span { row: 1, col: 1, len: 1 }][..], &[][..]));
        let f = footprint(&polygon(&square(1.0 + e, 1.0 + e, 1.0 - 2.0 * e)), &unit_grid(3, 3)).unwrap().unwrap();
        assert!(f.partial().is_empty());
        // Ten times more is a fraction.
        let f = footprint(&polygon(&square(1.0, 1.0, 1.0 + 1e-9)), &unit_grid(3, 3)).unwrap().unwrap();
        assert_eq!((f.pixels(), f.partial().len()), (3, 2));
    }

    #[test]
    fn overlapping_parts_and_strayed_holes_are_errors() {
        let overlap = footprint(&parts(&[square(0.0, 0.0, 2.0), square(1.0, 1.0, 2.0)]), &unit_grid(3, 3));
        assert_eq!(overlap, Err(CoverageError::Overlap { row: 1, col: 1, fraction: 2.0 }));
        let strayed = Polygon::new(ring(&square(0.0, 0.0, 1.0)), vec![ring(&square(2.0, 2.0, 1.0))]);
        let strayed = footprint(&MultiPolygon(vec![strayed]), &unit_grid(3, 3));
        assert_eq!(strayed, Err(CoverageError::Overlap { row: 2, col: 2, fraction: -1.0 }));
        let text = strayed.unwrap_err().to_string();
        assert!(text.starts_with("polygon covers pixel (row 2, col 2) -1 times"), "{text}");
        // A bow tie: one lobe is negative, whichever way the ring is read.
        assert!(footprint(&polygon(&[(0.0, 0.0), (3.0, 3.0), (3.0, 0.0), (0.0, 3.0)]), &unit_grid(3, 3)).is_err());
    }

    #[test]
    fn overlap_within_the_tolerance_is_full() {
        let f = footprint(&parts(&[square(0.0, 0.0, 1.0 + 1e-8), square(1.0, 0.0, 1.0)]), &unit_grid(3, 3));
        assert_eq!(f.unwrap().unwrap().coverage_px(), 2.0 + 1e-8);
    }

    #[test]
    fn coordinates_that_cannot_be_placed_are_errors() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -f64::MAX] {
            for (x, y) in [(bad, 1.0), (1.0, bad)] {
                let result = footprint(&polygon(&[(0.0, 0.0), (2.0, 0.0), (x, y)]), &unit_grid(3, 3));
                assert!(matches!(result, Err(CoverageError::Coordinate { .. })), "{x} {y}: {result:?}");
            }
        }
        for bad in [f64::NAN, 0.0, -1.0, f64::INFINITY] {
            let result = footprint(&polygon(&square(0.0, 0.0, 1.0)), &Grid { pixel_y_m: bad, ..unit_grid(3, 3) });
            assert!(matches!(result, Err(CoverageError::Grid { .. })));
        }
    }

    #[test]
    fn slopes_that_overflow_do_no_harm() {
        // From far left to far right within a tiny height, and a vertex so close to a line that its slope is infinite.
        for p in [
            [(-1e99, 1.0), (1e99, 1.0 + 1e-15), (0.0, 2.0)],
            [(-5e-324, 0.0), (5e-324, 2.0), (-1.0, 2.0)],
            [(0.0, 5e-324), (2.0, -5e-324), (1.0, 2.0)],
            [(f64::MIN_POSITIVE, 0.5), (-f64::MIN_POSITIVE, 0.5 + f64::EPSILON), (2.0, 2.0)],
        ] {
            let f = footprint(&polygon(&p), &unit_grid(3, 3)).unwrap();
            assert!(f.is_none_or(|f| f.coverage_px().is_finite() && f.coverage_px() <= 9.0));
        }
    }

    #[test]
    fn cost_follows_the_boundary_not_the_box() {
        let most = unit_grid(u32::MAX, u32::MAX);
        let far = f64::from(u32::MAX) - 1.0;
        let f = footprint(&parts(&[square(0.0, 0.0, 1.0), square(far, far, 1.0)]), &most).unwrap().unwrap();
        let last = u32::MAX - 1;
        assert_eq!(f.spans(), [Span { row: 0, col: 0, len: 1 }, Span { row: last, col: last, len: 1 }]);
        // A sliver 1 px wide and 1e5 long on the diagonal.
        let f = footprint(&polygon(&[(0.0, 0.0), (1e5, 1e5), (1e5 + 1.0, 1e5)]), &most).unwrap().unwrap();
        assert!((f.coverage_px() - 0.5e5).abs() < 1e-4);
        assert!(f.pixels() < 300_000);
    }

    #[test]
    fn long_edges_left_of_the_grid_cost_no_rows() {
        // 100,001 edges left of the grid, each over all of its 10,980 rows: a cell per edge and row would fill the
        // memory.
        let mut p: Vec<_> =
            (0..100_001).map(|i| (-5.0 - f64::from(i), if i % 2 == 0 { -7.0 } else { 20_000.0 })).collect();
        p.extend([(-2e5, -7.0), (-2e5, -8.0), (5.0, -8.0), (5.0, 20_000.0), (-1.0, 20_000.0)]);
        let grid = unit_grid(10_980, 10_980);
        let f = footprint(&polygon(&p), &grid).unwrap().unwrap();
        assert_eq!((f.pixels(), f.partial().len()), (5 * 10_980, 0));
    }

    #[test]
    fn more_pixels_than_ordinals_is_an_error() {
        let grid = unit_grid(70_000, 70_000);
        let result = footprint(&polygon(&square(0.0, 0.0, 70_000.0)), &grid);
        assert_eq!(result, Err(CoverageError::TooManyPixels { pixels: 4_900_000_000 }));
    }

    #[test]
    fn ring_of_100_000_vertices_has_the_area_of_its_shoelace() {
        let n = 100_000;
        let points: Vec<_> = (0..n)
            .map(|i| {
                let a = f64::from(i) * std::f64::consts::TAU / f64::from(n);
                let r = 300.0 + 40.0 * (17.0 * a).sin() + 0.01 * (9973.0 * a).sin();
                (400.0 + r * a.cos(), 400.0 + r * a.sin())
            })
            .collect();
        let p = polygon(&points);
        let f = footprint(&p, &unit_grid(800, 800)).unwrap().unwrap();
        let area = crate::geo::area::planar_area_m2(&p);
        assert!((f.coverage_px() - area).abs() < 1e-9 * area, "{} {area}", f.coverage_px());
    }

    #[test]
    fn from_parts_refuses_what_a_footprint_never_is() {
        let span = |row, col, len| Span { row, col, len };
        let ok =
            |spans: &[Span], partial: &[(u32, f64)]| Footprint::from_parts(spans.to_vec(), partial.to_vec()).is_ok();
        assert!(ok(&[span(0, 1, 2), span(0, 4, 1), span(1, 0, 9)], &[(0, 0.5), (11, 0.1)]));
        assert!(!ok(&[], &[]));
        assert!(!ok(&[span(0, 0, 0)], &[]));
        assert!(!ok(&[span(0, 1, 2), span(0, 3, 1)], &[]), "neighbouring spans are one span");
        assert!(!ok(&[span(0, 1, 2), span(0, 2, 1)], &[]), "overlapping spans");
        assert!(!ok(&[span(1, 0, 1), span(0, 4, 1)], &[]), "rows out of order");
        assert!(!ok(&[span(0, u32::MAX, 1)], &[]));
        assert!(!ok(&[span(0, 0, u32::MAX), span(1, 0, 1)], &[]), "too many pixels");
        assert!(!ok(&[span(0, 0, 3)], &[(3, 0.5)]), "ordinal beyond the pixels");
        assert!(!ok(&[span(0, 0, 3)], &[(1, 0.5), (1, 0.5)]), "ordinal twice");
        for fraction in [0.0, 1.0, -0.1, 1.1, f64::NAN] {
            assert!(!ok(&[span(0, 0, 3)], &[(1, fraction)]));
        }
    }

    // Brute force: the polygon clipped to a rectangle side by side (Sutherland and Hodgman), and its shoelace. The
    // clipped ring may have bridges along the rectangle's sides, which enclose nothing.

    type Ring = Vec<(f64, f64)>;

    /// The part of a ring where `a x + b y + c >= 0`.
    fn clip_half_plane(ring: &Ring, (a, b, c): (f64, f64, f64)) -> Ring {
        let side = |p: (f64, f64)| a * p.0 + b * p.1 + c;
        let mut out = vec![];
        for (i, &q) in ring.iter().enumerate() {
            let p = ring[(i + ring.len() - 1) % ring.len()];
            let (s, t) = (side(p), side(q));
            if (s < 0.0) != (t < 0.0) {
                let f = s / (s - t);
                out.push((p.0 + f * (q.0 - p.0), p.1 + f * (q.1 - p.1)));
            }
            if t >= 0.0 {
                out.push(q);
            }
        }
        out
    }

    fn clip(ring: &Ring, [x_min, y_min, x_max, y_max]: [f64; 4]) -> Ring {
        [(1.0, 0.0, -x_min), (-1.0, 0.0, x_max), (0.0, 1.0, -y_min), (0.0, -1.0, y_max)]
            .into_iter()
            .fold(ring.clone(), |r, half_plane| clip_half_plane(&r, half_plane))
    }

    fn shoelace(ring: &Ring) -> f64 {
        let Some(&o) = ring.first() else { return 0.0 };
        let cross = |p: (f64, f64), q: (f64, f64)| (p.0 - o.0) * (q.1 - o.1) - (q.0 - o.0) * (p.1 - o.1);
        ring.iter().enumerate().map(|(i, &q)| cross(ring[(i + ring.len() - 1) % ring.len()], q)).sum::<f64>() / 2.0
    }

    /// Area of the polygon within a rectangle, as rings count: exteriors positive, holes negative.
    fn area_within(p: &MultiPolygon<f64>, bounds: [f64; 4]) -> f64 {
        let signed = |ring: &LineString<f64>| {
            let ring: Ring = ring.0.iter().map(|c| (c.x, c.y)).collect();
            shoelace(&clip(&ring, bounds)) * shoelace(&ring).signum()
        };
        p.iter().map(|p| signed(p.exterior()) - p.interiors().iter().map(signed).sum::<f64>()).sum()
    }

    /// An oblong grid with an offset, on which nothing is round.
    fn oblong_grid() -> Grid {
        Grid {
            crs: Crs("EPSG:32652".into()),
            x_min: 400_003.7,
            y_max: 4_700_001.3,
            pixel_x_m: 10.0,
            pixel_y_m: 30.0,
            rows: 9,
            cols: 12,
        }
    }

    /// Vertices at rising angles about a centre, in pixel coordinates of a grid of 9 rows and 12 columns: no edge
    /// crosses another. Some centres and many vertices lie outside. `snap`, when given, rounds to that part of a pixel,
    /// which may fold a thin ring over itself.
    fn star(snap: Option<f64>) -> impl Strategy<Value = Vec<(f64, f64)>> {
        let vertices = prop::collection::vec((0.05..1.0f64, 0.0..0.99f64), 3..40);
        (-2.0..14.0f64, -2.0..11.0f64, 0.05..9.0f64, vertices).prop_map(move |(col, row, radius, vertices)| {
            let n = vertices.len() as f64;
            let vertex = |(i, &(r, jitter)): (usize, &(f64, f64))| {
                let a = (i as f64 + jitter) * std::f64::consts::TAU / n;
                let (c, r) = (col + radius * r * a.cos(), row + radius * r * a.sin());
                snap.map_or((c, r), |s| ((c / s).round() * s, (r / s).round() * s))
            };
            vertices.iter().enumerate().map(vertex).collect()
        })
    }

    /// From pixel coordinates to the CRS of a grid.
    fn on_grid(p: &MultiPolygon<f64>, grid: &Grid) -> MultiPolygon<f64> {
        p.map_coords(|c| Coord { x: grid.x_min + c.x * grid.pixel_x_m, y: grid.y_max + c.y * grid.pixel_y_m })
    }

    /// Every pixel against brute force. Rings that fold over themselves must fail where a pixel says so.
    fn check_by_clipping(p: &MultiPolygon<f64>, grid: &Grid) -> Result<(), TestCaseError> {
        let expected: Vec<f64> = (0..grid.rows * grid.cols)
            .map(|i| area_within(p, grid.pixel_bounds(i / grid.cols, i % grid.cols)) / grid.pixel_area_m2())
            .collect();
        match footprint(p, grid) {
            Ok(f) => {
                for (i, (found, expected)) in dense(f.as_ref(), grid).iter().zip(&expected).enumerate() {
                    // What is let pass outside [0, 1] is dropped or full.
                    prop_assert!((-2e-6..1.0 + 2e-6).contains(expected), "pixel {}: {}", i, expected);
                    prop_assert!(
                        (found - expected.clamp(0.0, 1.0)).abs() < 2e-9,
                        "pixel {}: {} {}",
                        i,
                        found,
                        expected
                    );
                }
            }
            Err(e) => prop_assert!(expected.iter().any(|f| *f < -1e-7 || *f > 1.0 + 1e-7), "{}", e),
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn every_pixel_agrees_with_clipping(p in star(None)) {
            let grid = oblong_grid();
            check_by_clipping(&on_grid(&polygon(&p), &grid), &grid)?;
        }

        #[test]
        fn every_pixel_agrees_with_clipping_on_corners_and_lines(p in prop_oneof![star(Some(0.5)), star(Some(1.0))]) {
            for grid in [unit_grid(9, 12), oblong_grid()] {
                check_by_clipping(&on_grid(&polygon(&p), &grid), &grid)?;
            }
        }

        #[test]
        fn holes_agree_with_clipping(p in star(None), scale in 0.01..0.99f64) {
            // A star shrunk towards the mean of its vertices mostly lies within itself; elsewhere it is refused.
            let grid = oblong_grid();
            let n = p.len() as f64;
            let (col, row) = p.iter().fold((0.0, 0.0), |c, p| (c.0 + p.0 / n, c.1 + p.1 / n));
            let hole: Vec<_> = p.iter().map(|p| (col + scale * (p.0 - col), row + scale * (p.1 - row))).collect();
            let p = MultiPolygon(vec![Polygon::new(ring(&p), vec![ring(&hole)])]);
            check_by_clipping(&on_grid(&p, &grid), &grid)?;
        }

        #[test]
        fn fractions_sum_to_the_clipped_area(p in star(None)) {
            let grid = oblong_grid();
            let p = on_grid(&polygon(&p), &grid);
            let area = area_within(&p, grid.bounds());
            let found = footprint(&p, &grid).unwrap().map_or(0.0, |f| f.coverage_px() * grid.pixel_area_m2());
            // Relative, and absolute for polygons of some square centimetres: a coordinate has 1e-9 m.
            prop_assert!((found - area).abs() <= 1e-9 * area + 1e-6, "{} {}", found, area);
        }

        #[test]
        fn shift_by_whole_pixels_changes_nothing(
            p in star(Some(1.0 / 1024.0)),
            rows in 0u32..5000,
            cols in 0u32..5000,
        ) {
            let grid = unit_grid(30_000, 30_000);
            let p: Vec<_> = p.iter().map(|p| (p.0 + 20.0, p.1 + 20.0)).collect();
            let shifted: Vec<_> = p.iter().map(|p| (p.0 + f64::from(cols), p.1 + f64::from(rows))).collect();
            // A rounded star may fold over itself; the outcome is the same then, too.
            match (footprint(&polygon(&p), &grid), footprint(&polygon(&shifted), &grid)) {
                (Ok(Some(a)), Ok(Some(b))) => {
                    let back = b.spans().iter().map(|s| Span { row: s.row - rows, col: s.col - cols, len: s.len });
                    prop_assert_eq!(a.spans(), &back.collect::<Vec<_>>()[..]);
                    prop_assert_eq!(a.partial().len(), b.partial().len());
                    for (x, y) in a.partial().iter().zip(b.partial()) {
                        prop_assert!(x.0 == y.0 && (x.1 - y.1).abs() < 1e-12);
                    }
                }
                (a, b) => prop_assert_eq!(a.is_err(), b.is_err()),
            }
        }

        #[test]
        fn a_cut_adds_up(p in star(None), angle in 0.0..6.3f64, col in 0.0..12.0f64, row in 0.0..9.0f64) {
            let grid = unit_grid(9, 12);
            let half_plane = (angle.cos(), angle.sin(), -(col * angle.cos() + row * angle.sin()));
            let other = (-half_plane.0, -half_plane.1, -half_plane.2);
            let cover = |p: &Ring| dense(footprint(&polygon(p), &grid).unwrap().as_ref(), &grid);
            let (a, b) = (cover(&clip_half_plane(&p, half_plane)), cover(&clip_half_plane(&p, other)));
            let whole = cover(&p);
            for i in 0..whole.len() {
                prop_assert!((whole[i] - a[i] - b[i]).abs() < 1e-9, "pixel {}: {} {} {}", i, whole[i], a[i], b[i]);
            }
        }

        #[test]
        fn direction_and_first_vertex_do_not_matter(p in star(None), start in 0usize..40) {
            let grid = unit_grid(9, 12);
            let cover = |p: &Ring| dense(footprint(&polygon(p), &grid).unwrap().as_ref(), &grid);
            let mut other = p.clone();
            other.rotate_left(start % p.len());
            let rotated = cover(&other);
            other.reverse();
            let (expected, reversed) = (cover(&p), cover(&other));
            for (i, e) in expected.iter().enumerate() {
                prop_assert!((e - rotated[i]).abs() < 1e-12 && (e - reversed[i]).abs() < 1e-12, "pixel {}", i);
            }
        }

        #[test]
        fn parts_add_up(a in star(None), b in star(None)) {
            // The second star in the lower half of a grid twice as high, beyond the reach of the first.
            let grid = unit_grid(50, 12);
            let b: Vec<_> = b.iter().map(|p| (p.0, p.1 + 30.0)).collect();
            let both = MultiPolygon(vec![polygon(&a).0.remove(0), polygon(&b).0.remove(0)]);
            let cover = |p: &MultiPolygon<f64>| dense(footprint(p, &grid).unwrap().as_ref(), &grid);
            let (both, a, b) = (cover(&both), cover(&polygon(&a)), cover(&polygon(&b)));
            for i in 0..both.len() {
                prop_assert!((both[i] - a[i] - b[i]).abs() < 1e-12);
            }
        }

        #[test]
        fn parts_are_read_back(p in star(None)) {
            if let Some(f) = footprint(&polygon(&p), &unit_grid(9, 12)).unwrap() {
                let read = Footprint::from_parts(f.spans().to_vec(), f.partial().to_vec());
                prop_assert_eq!(read, Ok(f.clone()));
                prop_assert_eq!(f.weights().count(), f.pixels() as usize);
                prop_assert!((f.weights().sum::<f64>() - f.coverage_px()).abs() < 1e-9);
                let w = f.window();
                let rows = w.row..w.row + w.rows;
                let cols = w.col..w.col + w.cols;
                prop_assert!(pixels(&f).iter().all(|(r, c, _)| rows.contains(r) && cols.contains(c)));
            }
        }

        #[test]
        fn any_numbers_return(p in prop::collection::vec((any::<f64>(), any::<f64>()), 0..8), scale in -300i32..300) {
            let scale = 10f64.powi(scale);
            let scaled: Vec<_> = p.iter().map(|p| (p.0 % scale, p.1 % scale)).collect();
            for p in [p, scaled] {
                if let Ok(Some(f)) = footprint(&polygon(&p), &unit_grid(9, 12)) {
                    prop_assert!(f.coverage_px() > 0.0 && f.coverage_px() <= 108.0);
                }
            }
        }
    }
}
