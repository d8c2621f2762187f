//! Does a catalog's word on the offset of a Sentinel-2 scene agree with its pixels?
//!
//! From baseline 04.00 on, digital numbers carry 1000 more than reflectance in ten-thousandths. Catalogs copy such scenes
//! with and without it, and some tell the wrong story. Vegetation is dark in the visible: its red lies between 0.01 and
//! 0.08, so that numbers around 300 carry no offset and numbers around 1300 do. Only pixels that the scene classification
//! calls vegetation or bare ground are asked; a scene of cloud, snow or sea alone proves nothing. Thin haze brightens
//! vegetation as an offset does: whether an offset is there that nobody told of is judged only where the
//! classification was sure of the ground, and the short-wave infrared, which sees through haze, must agree.
//!
//! Pixels of a few small windows are read, of one raster a band, not the whole scene, and no more than settle the question.

use std::path::Path;

use super::{Asset, Band, Layer, OffsetSource, Scene};
use crate::error::{Reason, SceneFault};
use crate::gdal_io::{Blocks, Raster};
use crate::geo::grid::Grid;

/// Windows in each direction, and their size in pixels of the scene classification. Few and large: each costs the decoding
/// of the block it lies in.
const WINDOWS: usize = 2;
const WINDOW_PX: usize = 64;

/// Fewer pixels of a class than this prove nothing.
const MIN_PIXELS: usize = 100;

/// In digital numbers of 1e-4: vegetation and ground of which half lies below carry no offset (their reflectance would be
/// below -0.01); vegetation of which 99 % lie above do.
const WITHOUT_BELOW: f64 = 900.0;
const WITH_ABOVE: f64 = 950.0;

/// Share of unclassified pixels and cirrus among these and ground, above which haze may be about.
const HAZE_SHARE: f64 = 0.1;

/// Unclassified, thin cirrus.
const HAZE: [u16; 2] = [7, 10];

/// Dark area, vegetation, bare ground, water, snow.
const GROUND: [u16; 5] = [2, 4, 5, 6, 11];

const VEGETATION: u16 = 4;
const BARE: u16 = 5;

/// Compares. Whatever cannot be read here is left to those who need it.
///
/// # Errors
/// The pixels contradict the item; the figures are in the message.
pub fn check(scene: &Scene) -> Result<(), SceneFault> {
    let band = |band: Band| coarsest(scene, &Layer::Band(band));
    let Some(red) = band(Band::Red).filter(|_| scene.offset_from != OffsetSource::Product) else { return Ok(()) };
    // What the item says, in digital numbers of 1e-4.
    let unit = red.calibration.scale / 1e-4;
    let carried = (-red.calibration.pre - red.calibration.post / red.calibration.scale) * unit;
    let (says_with, says_without) = (carried >= WITHOUT_BELOW, carried.abs() < 1.0);
    if !says_with && !says_without {
        return Ok(());
    }
    let Some(classes) = coarsest(scene, &Layer::Mask).and_then(Classes::look) else { return Ok(()) };
    let (teller, help) = if scene.offset_from == OffsetSource::Setting {
        (
            "an item that leaves the offset open and `offset_state` under [scenes] that says",
            "expected the two to agree; correct `offset_state`, or take the scene from another provider",
        )
    } else {
        (
            "an item that says",
            "expected the two to agree; correct the item's raster:bands offset, or take the scene from another provider",
        )
    };
    let story = |says: &str| format!("found {teller} {says}, contradicted by its dark pixels: ");
    let fault = |message: String| Err(SceneFault::new(Reason::UnknownCalibration, message));
    if says_with {
        let above = |values: &[f64]| values.iter().filter(|v| **v >= WITHOUT_BELOW).count();
        let settled = |values: &[f64], most: usize| most < MIN_PIXELS || above(values) >= most.div_ceil(2);
        // Of the visible: in the short-wave infrared ground is as bright as an offset.
        for (n, asset) in [Band::Red, Band::Green, Band::Blue].into_iter().filter_map(band).enumerate() {
            let Some(ground) = classes.values(asset, unit, &[VEGETATION, BARE], settled) else {
                // Without red nothing is judged.
                if n == 0 {
                    return Ok(());
                }
                continue;
            };
            if ground.len() >= MIN_PIXELS && ground[ground.len() / 2] < WITHOUT_BELOW {
                let below = ground.partition_point(|v| *v < WITHOUT_BELOW);
                let share = 100.0 * below as f64 / ground.len() as f64;
                return fault(format!(
                    "{}of {} sampled pixels of vegetation and ground in {}, {share:.1} % lie below {WITHOUT_BELOW} and half \
                     below {}; {help}",
                    story(&format!("that digital numbers carry an offset of {carried:.0}")),
                    ground.len(),
                    asset.name,
                    ground[ground.len() / 2]
                ));
            }
        }
        return Ok(());
    }
    let below = |values: &[f64]| values.iter().filter(|v| **v < WITH_ABOVE).count();
    let settled = |values: &[f64], most: usize| most < MIN_PIXELS || below(values) > most / 100;
    let bands = [Band::Red, Band::Green, Band::Blue, Band::Swir1, Band::Swir2];
    let mut lowest = Vec::new();
    for (n, asset) in bands.into_iter().filter_map(band).enumerate() {
        let Some(plants) = classes.values(asset, unit, &[VEGETATION], settled) else {
            if n == 0 {
                return Ok(());
            }
            continue;
        };
        if plants.len() < MIN_PIXELS || plants[plants.len() / 100] < WITH_ABOVE {
            return Ok(());
        }
        lowest.push(format!("{} in {}", plants[plants.len() / 100], asset.name));
    }
    let count = |of: &[u16]| classes.values(red, unit, of, |_, _| false).map_or(0, |v| v.len()) as f64;
    let (haze, ground) = (count(&HAZE), count(&GROUND));
    if haze > HAZE_SHARE * (haze + ground) {
        return Ok(());
    }
    fault(format!(
        "{}99 % of the sampled vegetation lies above {}, as with an offset of 1000; {help}",
        story("that digital numbers carry no offset"),
        lowest.join(", ")
    ))
}

fn coarsest<'a>(scene: &'a Scene, layer: &Layer) -> Option<&'a Asset> {
    let size = |a: &Asset| a.pixel_m.unwrap_or(0.0);
    // 60 m pixels mix too much.
    let fine = scene.assets.get(layer)?.iter().filter(|a| size(a) <= 20.0);
    fine.max_by(|a, b| size(a).total_cmp(&size(b)))
}

/// The scene classification in windows spread over the scene.
struct Classes {
    grid: Grid,
    /// Columns and rows of a window.
    size: (usize, usize),
    /// Corner (column, row) and classes, row by row.
    windows: Vec<((usize, usize), Vec<u16>)>,
}

impl Classes {
    /// `None` where they cannot be read.
    fn look(mask: &Asset) -> Option<Classes> {
        if is_url(&mask.path) {
            return None;
        }
        let grid = Raster::open(&mask.path).ok()?.grid().clone();
        let (cols, rows) = (grid.cols as usize, grid.rows as usize);
        let size = (WINDOW_PX.min(cols / WINDOWS), WINDOW_PX.min(rows / WINDOWS));
        if size.0 == 0 || size.1 == 0 {
            return None;
        }
        // Centres at 0.3 and 0.7: at a quarter they would lie on the borders of blocks, and each cost four.
        let corner = |i: usize, n: usize, size: usize| ((4 * i + 3) * n / 10).saturating_sub(size / 2).min(n - size);
        let blocks = Blocks::open(&mask.path).ok()?;
        let mut windows = Vec::with_capacity(WINDOWS * WINDOWS);
        for window in 0..WINDOWS * WINDOWS {
            let at = (corner(window % WINDOWS, cols, size.0), corner(window / WINDOWS, rows, size.1));
            let mut classes = Vec::new();
            blocks.look(at, size, &mut classes).ok()?;
            windows.push((at, classes));
        }
        Some(Classes { grid, size, windows })
    }

    /// Numbers of a band, times `unit` and ascending, where the class is one of `wanted`; `None` where they cannot be read.
    /// Each window costs the decoding of a block, so those without a wanted pixel are left out, and so is the rest once
    /// `settled` says that it cannot change the answer: it gets the numbers so far and how many there are at most in the
    /// end.
    fn values(
        &self,
        band: &Asset,
        unit: f64,
        wanted: &[u16],
        settled: impl Fn(&[f64], usize) -> bool,
    ) -> Option<Vec<f64>> {
        if is_url(&band.path) {
            return None;
        }
        let raster = Raster::open(&band.path).ok()?;
        let (from, to) = (&self.grid, raster.grid());
        if from.crs != to.crs {
            return None;
        }
        let count = |classes: &[u16]| classes.iter().filter(|c| wanted.contains(c)).count();
        let mut windows: Vec<_> = self.windows.iter().map(|(at, classes)| (count(classes), *at, classes)).collect();
        windows.sort_by_key(|(n, ..)| std::cmp::Reverse(*n));
        let mut left: usize = windows.iter().map(|(n, ..)| n).sum();
        let (mut out, mut value): (Vec<f64>, Vec<f32>) = (Vec::with_capacity(left), Vec::new());
        let mut blocks = None;
        for (n, (c0, r0), classes) in windows {
            if n == 0 || settled(&out, out.len() + left) {
                break;
            }
            left -= n;
            // Where the centres of the class's pixels lie in the band's raster.
            let at = |c: usize, r: usize| {
                let x = from.x_min + (c as f64 + 0.5) * from.pixel_x_m;
                let y = from.y_max - (r as f64 + 0.5) * from.pixel_y_m;
                let (col, row) = to.to_pixel(x, y);
                let within = col >= 0.0 && row >= 0.0 && col < f64::from(to.cols) && row < f64::from(to.rows);
                within.then_some((col as usize, row as usize))
            };
            let (w, h) = self.size;
            let (Some(first), Some(last)) = (at(c0, r0), at(c0 + w - 1, r0 + h - 1)) else { continue };
            let (width, height) = (last.0 - first.0 + 1, last.1 - first.1 + 1);
            if blocks.is_none() {
                blocks = Some(Blocks::open(&band.path).ok()?);
            }
            blocks.as_ref()?.look(first, (width, height), &mut value).ok()?;
            for (i, _) in classes.iter().enumerate().filter(|(_, class)| wanted.contains(class)) {
                let Some((col, row)) = at(c0 + i % w, r0 + i / w) else { continue };
                let dn = f64::from(value[(row - first.1) * width + (col - first.0)]);
                if dn.is_finite() && !band.invalid_dn.contains(&dn) {
                    out.push(dn * unit);
                }
            }
        }
        out.sort_by(f64::total_cmp);
        Some(out)
    }
}

fn is_url(path: &Path) -> bool {
    path.to_string_lossy().contains("://") && !crate::gdal_io::is_remote(path)
}
