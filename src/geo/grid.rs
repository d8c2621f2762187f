//! Where the pixels of a raster lie: a north-up grid of equal pixels, and whether one grid nests in another.
//!
//! Rows count downwards from the north, columns eastwards; pixel (0, 0) has its upper-left corner at (`x_min`,
//! `y_max`). Pixel coordinates are real numbers in which pixel (row, col) spans [col, col + 1] x [row, row + 1].
//! Rotated grids do not exist here.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::geo::crs::Crs;

/// How far, in fine pixels, two grids may disagree on any corner and still count as nested.
const ALIGNMENT_TOLERANCE_PX: f64 = 1e-6;

/// A north-up raster grid. Lengths are in units of the CRS: metres, unless the grid is geographic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// System of the coordinates.
    pub crs: Crs,
    /// Western edge of column 0.
    pub x_min: f64,
    /// Northern edge of row 0.
    pub y_max: f64,
    /// Width of a pixel, positive.
    pub pixel_x_m: f64,
    /// Height of a pixel, positive.
    pub pixel_y_m: f64,
    /// Number of rows.
    pub rows: u32,
    /// Number of columns.
    pub cols: u32,
}

/// A rectangle of pixels within a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// First row.
    pub row: u32,
    /// First column.
    pub col: u32,
    /// Number of rows.
    pub rows: u32,
    /// Number of columns.
    pub cols: u32,
}

impl Grid {
    /// Area of one pixel, in square units of the CRS (square metres on a projected grid).
    #[must_use]
    pub fn pixel_area_m2(&self) -> f64 {
        self.pixel_x_m * self.pixel_y_m
    }

    /// Outer edges as `[x_min, y_min, x_max, y_max]`, in units of the CRS.
    #[must_use]
    pub fn bounds(&self) -> [f64; 4] {
        [
            self.x_min,
            self.y_max - f64::from(self.rows) * self.pixel_y_m,
            self.x_min + f64::from(self.cols) * self.pixel_x_m,
            self.y_max,
        ]
    }

    /// Pixel coordinates `(col, row)` of a point given in the grid's CRS. Integers are pixel edges; the point may lie
    /// outside the grid.
    #[must_use]
    pub fn to_pixel(&self, x: f64, y: f64) -> (f64, f64) {
        ((x - self.x_min) / self.pixel_x_m, (self.y_max - y) / self.pixel_y_m)
    }

    /// Edges of one pixel as `[x_min, y_min, x_max, y_max]`, in units of the CRS.
    #[must_use]
    pub fn pixel_bounds(&self, row: u32, col: u32) -> [f64; 4] {
        let (row, col) = (f64::from(row), f64::from(col));
        [
            self.x_min + col * self.pixel_x_m,
            self.y_max - (row + 1.0) * self.pixel_y_m,
            self.x_min + (col + 1.0) * self.pixel_x_m,
            self.y_max - row * self.pixel_y_m,
        ]
    }

    /// The integer factor `k` by which this grid is coarser than `finer`, if every pixel of `finer` lies in exactly one
    /// pixel of this grid: same CRS, same upper-left corner, pixels `k` times as large in both directions, and just
    /// enough of them (rows and columns are those of `finer` divided by `k` and rounded up). `Some(1)` is the same
    /// grid.
    ///
    /// A coarse grid that ends before the fine one does is refused: its last fine rows would have no value.
    #[must_use]
    pub fn nesting(&self, finer: &Grid) -> Option<u32> {
        let ratio = (self.pixel_x_m / finer.pixel_x_m).round();
        if self.crs != finer.crs || !(1.0..=f64::from(u32::MAX)).contains(&ratio) {
            return None;
        }
        let k = ratio as u32;
        if self.rows != finer.rows.div_ceil(k) || self.cols != finer.cols.div_ceil(k) {
            return None;
        }
        let near = |coarse: f64, fine: f64, pixel: f64| (coarse - fine).abs() <= ALIGNMENT_TOLERANCE_PX * pixel;
        // The drift of a slightly wrong pixel size is judged where it is largest, at the far corner.
        let aligned = near(self.x_min, finer.x_min, finer.pixel_x_m)
            && near(self.y_max, finer.y_max, finer.pixel_y_m)
            && near(
                f64::from(self.cols) * self.pixel_x_m,
                f64::from(self.cols) * ratio * finer.pixel_x_m,
                finer.pixel_x_m,
            )
            && near(
                f64::from(self.rows) * self.pixel_y_m,
                f64::from(self.rows) * ratio * finer.pixel_y_m,
                finer.pixel_y_m,
            );
        aligned.then_some(k)
    }
}

/// For messages: `EPSG:4326, pixel 0.0001 x 0.0001, upper-left corner (22.13, 45.22), 400 x 300 pixels`, in units of the CRS,
/// columns before rows.
impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Grid { crs, x_min, y_max, pixel_x_m, pixel_y_m, rows, cols } = self;
        write!(
            f,
            "{}, pixel {pixel_x_m} x {pixel_y_m}, upper-left corner ({x_min}, {y_max}), {cols} x {rows} pixels",
            crs.short()
        )
    }
}

impl Window {
    /// True when the two share a pixel.
    #[must_use]
    pub fn meets(&self, other: &Window) -> bool {
        let apart = |a: u32, n: u32, b: u32, m: u32| {
            u64::from(a) + u64::from(n) <= u64::from(b) || u64::from(b) + u64::from(m) <= u64::from(a)
        };
        !apart(self.row, self.rows, other.row, other.rows) && !apart(self.col, self.cols, other.col, other.cols)
    }

    /// True where every pixel of `other` is one of this.
    #[must_use]
    pub fn holds(&self, other: &Window) -> bool {
        let within = |at: u32, n: u32, from: u32, size: u32| {
            at >= from && u64::from(at) + u64::from(n) <= u64::from(from) + u64::from(size)
        };
        within(other.row, other.rows, self.row, self.rows) && within(other.col, other.cols, self.col, self.cols)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(pixel_m: f64, rows: u32, cols: u32) -> Grid {
        Grid {
            crs: Crs("EPSG:32652".into()),
            x_min: 399_960.0,
            y_max: 4_700_040.0,
            pixel_x_m: pixel_m,
            pixel_y_m: pixel_m,
            rows,
            cols,
        }
    }

    #[test]
    fn bounds_and_pixels_are_north_up() {
        let g = Grid { pixel_y_m: 20.0, ..grid(10.0, 3, 4) };
        assert_eq!(g.pixel_area_m2(), 200.0);
        assert_eq!(g.bounds(), [399_960.0, 4_699_980.0, 400_000.0, 4_700_040.0]);
        assert_eq!(g.pixel_bounds(2, 1), [399_970.0, 4_699_980.0, 399_980.0, 4_700_000.0]);
        assert_eq!(g.to_pixel(399_975.0, 4_700_030.0), (1.5, 0.5));
        assert_eq!(g.to_pixel(399_950.0, 4_700_060.0), (-1.0, -1.0));
    }

    #[test]
    fn a_grid_is_told_in_words() {
        let told = "EPSG:32652, pixel 10 x 20, upper-left corner (399960, 4700040), 4 x 3 pixels";
        assert_eq!(Grid { pixel_y_m: 20.0, ..grid(10.0, 3, 4) }.to_string(), told);
    }

    #[test]
    fn coarse_grid_nests_when_it_covers_the_fine_one() {
        assert_eq!(grid(20.0, 113, 123).nesting(&grid(10.0, 226, 246)), Some(2));
        assert_eq!(grid(20.0, 113, 123).nesting(&grid(10.0, 225, 245)), Some(2));
        assert_eq!(grid(60.0, 1830, 1830).nesting(&grid(10.0, 10_980, 10_980)), Some(6));
        assert_eq!(grid(10.0, 7, 9).nesting(&grid(10.0, 7, 9)), Some(1));
    }

    #[test]
    fn coarse_grid_that_ends_early_or_late_is_refused() {
        let fine = grid(10.0, 225, 245);
        assert_eq!(grid(20.0, 112, 123).nesting(&fine), None);
        assert_eq!(grid(20.0, 113, 122).nesting(&fine), None);
        assert_eq!(grid(20.0, 114, 123).nesting(&fine), None);
    }

    #[test]
    fn other_crs_origin_or_factor_is_refused() {
        let fine = grid(10.0, 226, 246);
        let coarse = grid(20.0, 113, 123);
        assert_eq!(Grid { crs: Crs("EPSG:32651".into()), ..coarse.clone() }.nesting(&fine), None);
        assert_eq!(Grid { x_min: coarse.x_min + 10.0, ..coarse.clone() }.nesting(&fine), None);
        assert_eq!(Grid { y_max: coarse.y_max - 0.001, ..coarse.clone() }.nesting(&fine), None);
        assert_eq!(Grid { y_max: coarse.y_max - 1e-6, ..coarse.clone() }.nesting(&fine), Some(2));
        assert_eq!(Grid { pixel_y_m: 30.0, ..coarse.clone() }.nesting(&fine), None);
        assert_eq!(Grid { pixel_x_m: 25.0, ..coarse.clone() }.nesting(&fine), None);
        // 1e-6 m a pixel is 1.2e-4 m over the grid, more than the 1e-5 m allowed.
        assert_eq!(Grid { pixel_x_m: 20.000_001, ..coarse.clone() }.nesting(&fine), None);
        assert_eq!(Grid { pixel_x_m: f64::NAN, ..coarse.clone() }.nesting(&fine), None);
        assert_eq!(fine.nesting(&coarse), None);
    }
}
