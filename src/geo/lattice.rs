//! Which rasters can share pixels: the endless lattice that a grid is a window of.
//!
//! Landsat scenes of one path and row start at other pixels every time, and neighbouring Sentinel-2 tiles overlap. On their
//! common lattice a parcel has one footprint, and its pixels can be stacked through time and completed across tiles.

use serde::{Deserialize, Serialize};

use super::crs::Crs;
use super::grid::{Grid, Window};

/// Row and column of the pixel at the origin of the CRS, so that coordinates of either sign have a number.
const ZERO: u32 = 1 << 31;
/// Corners that differ by less than this within a pixel are one lattice, metres: the last digit of a coordinate.
const PHASE_M: f64 = 1e-9;

/// Pixels of one size and alignment, everywhere in a CRS. North-up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lattice {
    /// System of the coordinates.
    pub crs: Crs,
    /// Width of a pixel.
    pub pixel_x_m: f64,
    /// Height of a pixel.
    pub pixel_y_m: f64,
    /// Easting of the first pixel edge at or after 0.
    phase_x_m: f64,
    /// Northing of the first pixel edge at or after 0.
    phase_y_m: f64,
}

impl Lattice {
    /// The lattice of a grid.
    #[must_use]
    pub fn of(grid: &Grid) -> Self {
        let phase = |at: f64, pixel: f64| {
            let phase = (at.rem_euclid(pixel) / PHASE_M).round() * PHASE_M;
            if pixel - phase < 2.0 * PHASE_M || phase < 2.0 * PHASE_M { 0.0 } else { phase }
        };
        Lattice {
            crs: grid.crs.clone(),
            pixel_x_m: grid.pixel_x_m,
            pixel_y_m: grid.pixel_y_m,
            phase_x_m: phase(grid.x_min, grid.pixel_x_m),
            phase_y_m: phase(grid.y_max, grid.pixel_y_m),
        }
    }

    /// Pixel coordinates (column, row) of a point, as real numbers; integers are pixel edges.
    fn pixel_of(&self, x: f64, y: f64) -> (f64, f64) {
        let zero = f64::from(ZERO);
        (zero + (x - self.phase_x_m) / self.pixel_x_m, zero + (self.phase_y_m - y) / self.pixel_y_m)
    }

    /// The pixels that a grid of this lattice holds; `None` beyond the numbers' reach.
    #[must_use]
    pub fn window(&self, grid: &Grid) -> Option<Window> {
        let (col, row) = self.pixel_of(grid.x_min, grid.y_max);
        Self::checked(row.round(), col.round(), f64::from(grid.rows), f64::from(grid.cols))
    }

    /// The pixels around a rectangle `[x_min, y_min, x_max, y_max]`, with one to spare on each side; `None` beyond the
    /// numbers' reach.
    #[must_use]
    pub fn window_around(&self, [x_min, y_min, x_max, y_max]: [f64; 4]) -> Option<Window> {
        let ((left, top), (right, bottom)) = (self.pixel_of(x_min, y_max), self.pixel_of(x_max, y_min));
        let (col, row) = (left.floor() - 1.0, top.floor() - 1.0);
        Self::checked(row, col, bottom.ceil() + 1.0 - row, right.ceil() + 1.0 - col)
    }

    fn checked(row: f64, col: f64, rows: f64, cols: f64) -> Option<Window> {
        let fits = |at: f64, n: f64| at >= 0.0 && n >= 1.0 && at + n < f64::from(u32::MAX);
        if !(fits(row, rows) && fits(col, cols)) {
            return None;
        }
        Some(Window { row: row as u32, col: col as u32, rows: rows as u32, cols: cols as u32 })
    }

    /// The grid of a window. Edges come from the lattice's phase by one multiplication, so they are those of the raster to
    /// the last digit.
    #[must_use]
    pub fn grid(&self, window: &Window) -> Grid {
        let steps = |at: u32| f64::from(at) - f64::from(ZERO);
        Grid {
            crs: self.crs.clone(),
            x_min: self.phase_x_m + steps(window.col) * self.pixel_x_m,
            y_max: self.phase_y_m - steps(window.row) * self.pixel_y_m,
            pixel_x_m: self.pixel_x_m,
            pixel_y_m: self.pixel_y_m,
            rows: window.rows,
            cols: window.cols,
        }
    }

    /// Area of a pixel, square metres.
    #[must_use]
    pub fn pixel_area_m2(&self) -> f64 {
        self.pixel_x_m * self.pixel_y_m
    }

    /// Name: CRS, pixel size, and the phase where it is not 0.
    #[must_use]
    pub fn id(&self) -> String {
        let number = |v: f64| {
            let text = format!("{v:.9}");
            text.trim_end_matches('0').trim_end_matches('.').replace('.', "_")
        };
        let size = if self.pixel_x_m == self.pixel_y_m {
            number(self.pixel_x_m)
        } else {
            format!("{}x{}", number(self.pixel_x_m), number(self.pixel_y_m))
        };
        let (x, y) = (self.phase_x_m, self.phase_y_m);
        let phase = if x == 0.0 && y == 0.0 { String::new() } else { format!("-{}-{}", number(x), number(y)) };
        format!("{}-{size}m{phase}", self.crs.slug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(x_min: f64, y_max: f64, pixel_m: f64, rows: u32, cols: u32) -> Grid {
        Grid { crs: Crs("EPSG:32652".into()), x_min, y_max, pixel_x_m: pixel_m, pixel_y_m: pixel_m, rows, cols }
    }

    #[test]
    fn scenes_that_start_at_different_pixels_share_a_lattice() {
        let a = grid(498_765.0, 5_088_435.0, 30.0, 100, 100);
        let b = grid(498_765.0 + 30.0 * 17.0, 5_088_435.0 - 30.0 * 5.0, 30.0, 80, 90);
        let lattice = Lattice::of(&a);
        assert_eq!(lattice, Lattice::of(&b));
        assert_eq!(lattice.id(), "epsg32652-30m-15-15");
        let (wa, wb) = (lattice.window(&a).unwrap(), lattice.window(&b).unwrap());
        assert_eq!((wb.row - wa.row, wb.col - wa.col), (5, 17));
        assert!(wa.meets(&wb) && !wa.meets(&Window { row: wa.row + 100, ..wa }));
        assert_eq!(lattice.grid(&wb), b);
        // Half a pixel beside is another lattice.
        assert_ne!(Lattice::of(&Grid { x_min: a.x_min + 15.0, ..a.clone() }).id(), lattice.id());
        assert_eq!(Lattice::of(&grid(399_960.0, 4_700_040.0, 10.0, 9, 9)).id(), "epsg32652-10m");
    }

    /// An origin with many digits comes back to a billionth of a pixel, so edges on grid lines stay on them.
    #[test]
    fn odd_origins_come_back() {
        for (x, y) in
            [(5_271_982.576_551_932, 2_533_004.214_915_185_7), (-123.456_789_012, -0.000_000_000_4), (0.0, 1e-12)]
        {
            let g = grid(x, y, 10.0, 100, 100);
            let lattice = Lattice::of(&g);
            let back = lattice.grid(&lattice.window(&g).unwrap());
            assert!((back.x_min - x).abs() < 2e-9 && (back.y_max - y).abs() < 2e-9, "{back:?}");
        }
        assert!(Lattice::of(&grid(0.0, 0.0, 10.0, 1, 1)).window(&grid(1e12, 0.0, 10.0, 1, 1)).is_none());
    }
}
