//! Does a catalog's word on the offset of a Sentinel-2 scene agree with its pixels?
//!
//! From baseline 04.00 on, digital numbers carry 1000 more than reflectance in ten-thousandths. Catalogs copy such scenes
//! with and without it, and some tell the wrong story. Vegetation is dark in the visible: its red lies between 0.01 and
//! 0.08, so that numbers around 300 carry no offset and numbers around 1300 do. Only pixels that the scene classification
//! calls vegetation or bare ground are asked; a scene of cloud, snow or sea alone proves nothing. Thin haze brightens
//! vegetation as an offset does: whether an offset is there that nobody told of is judged only where the
//! classification was sure of the ground, and the short-wave infrared, which sees through haze, must agree.
//!
//! Pixels of a few small windows are read, of one raster a band, not the whole scene.

use std::path::Path;

use super::{Asset, Band, Layer, OffsetSource, Scene};
use crate::error::{Reason, SceneFault};
use crate::gdal_io::{Blocks, Raster};

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
    if scene.offset_from == OffsetSource::Product {
        return Ok(());
    }
    let bands: Vec<(&Asset, Vec<(u16, f64)>)> = [Band::Red, Band::Green, Band::Blue, Band::Swir1, Band::Swir2]
        .into_iter()
        .filter_map(|band| {
            let asset = coarsest(scene, &Layer::Band(band))?;
            Some((asset, sample(coarsest(scene, &Layer::Mask)?, asset)?))
        })
        .collect();
    let Some((red, samples)) = bands.first() else { return Ok(()) };
    if coarsest(scene, &Layer::Band(Band::Red)).is_none_or(|asset| asset != *red) {
        return Ok(());
    }
    let count = |classes: &[u16]| samples.iter().filter(|(class, _)| classes.contains(class)).count() as f64;
    let (haze, ground) = (count(&HAZE), count(&GROUND));
    let clear = haze <= HAZE_SHARE * (haze + ground);
    let visible = |asset: &Asset| {
        [Band::Red, Band::Green, Band::Blue]
            .iter()
            .any(|b| scene.assets.get(&Layer::Band(*b)).is_some_and(|l| l.contains(asset)))
    };
    // What the item says, in digital numbers of 1e-4.
    let unit = red.calibration.scale / 1e-4;
    let carried = (-red.calibration.pre - red.calibration.post / red.calibration.scale) * unit;
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
    if carried >= WITHOUT_BELOW {
        // Of the visible: in the short-wave infrared ground is as bright as an offset.
        for (asset, samples) in bands.iter().filter(|(a, _)| visible(a)) {
            let ground = sorted(samples, unit, &[VEGETATION, BARE]);
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
    } else if carried.abs() < 1.0 && clear {
        let mut lowest = Vec::new();
        for (asset, samples) in &bands {
            let plants = sorted(samples, unit, &[VEGETATION]);
            if plants.len() < MIN_PIXELS || plants[plants.len() / 100] < WITH_ABOVE {
                return Ok(());
            }
            lowest.push(format!("{} in {}", plants[plants.len() / 100], asset.name));
        }
        return fault(format!(
            "{}99 % of the sampled vegetation lies above {}, as with an offset of 1000; {help}",
            story("that digital numbers carry no offset"),
            lowest.join(", ")
        ));
    }
    Ok(())
}

/// Values of some classes, ascending.
fn sorted(samples: &[(u16, f64)], unit: f64, classes: &[u16]) -> Vec<f64> {
    let mut values: Vec<f64> = samples.iter().filter(|(c, _)| classes.contains(c)).map(|(_, v)| v * unit).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn coarsest<'a>(scene: &'a Scene, layer: &Layer) -> Option<&'a Asset> {
    let size = |a: &Asset| a.pixel_m.unwrap_or(0.0);
    // 60 m pixels mix too much.
    let fine = scene.assets.get(layer)?.iter().filter(|a| size(a) <= 20.0);
    fine.max_by(|a, b| size(a).total_cmp(&size(b)))
}

/// Scene class and digital number at pixels spread over the scene; `None` where they cannot be read.
fn sample(mask: &Asset, band: &Asset) -> Option<Vec<(u16, f64)>> {
    if [&mask.path, &band.path].iter().any(|p: &&std::path::PathBuf| is_url(p)) {
        return None;
    }
    let (mask_raster, band_raster) = (Raster::open(&mask.path).ok()?, Raster::open(&band.path).ok()?);
    let (from, to) = (mask_raster.grid(), band_raster.grid());
    if from.crs != to.crs {
        return None;
    }
    let (cols, rows) = (from.cols as usize, from.rows as usize);
    let (w, h) = (WINDOW_PX.min(cols / WINDOWS), WINDOW_PX.min(rows / WINDOWS));
    if w == 0 || h == 0 {
        return None;
    }
    let (classes, values) = (Blocks::open(&mask.path).ok()?, Blocks::open(&band.path).ok()?);
    let mut out = Vec::with_capacity(WINDOWS * WINDOWS * w * h);
    let (mut class, mut value): (Vec<u16>, Vec<f32>) = (Vec::new(), Vec::new());
    for window in 0..WINDOWS * WINDOWS {
        // Centres at 0.3 and 0.7: at a quarter they would lie on the borders of blocks, and each cost four.
        let corner = |i: usize, n: usize, size: usize| ((4 * i + 3) * n / 10).saturating_sub(size / 2).min(n - size);
        let (c0, r0) = (corner(window % WINDOWS, cols, w), corner(window / WINDOWS, rows, h));
        // Where the centres of the class's pixels lie in the band's raster.
        let at = |c: usize, r: usize| {
            let x = from.x_min + (c as f64 + 0.5) * from.pixel_x_m;
            let y = from.y_max - (r as f64 + 0.5) * from.pixel_y_m;
            let (col, row) = to.to_pixel(x, y);
            let within = col >= 0.0 && row >= 0.0 && col < f64::from(to.cols) && row < f64::from(to.rows);
            within.then_some((col as usize, row as usize))
        };
        let (Some(first), Some(last)) = (at(c0, r0), at(c0 + w - 1, r0 + h - 1)) else { continue };
        let (width, height) = (last.0 - first.0 + 1, last.1 - first.1 + 1);
        classes.look((c0, r0), (w, h), &mut class).ok()?;
        values.look(first, (width, height), &mut value).ok()?;
        for r in 0..h {
            for c in 0..w {
                let Some((col, row)) = at(c0 + c, r0 + r) else { continue };
                let dn = f64::from(value[(row - first.1) * width + (col - first.0)]);
                if dn.is_finite() && !band.invalid_dn.contains(&dn) {
                    out.push((class[r * w + c], dn));
                }
            }
        }
    }
    Some(out)
}

fn is_url(path: &Path) -> bool {
    path.to_string_lossy().contains("://") && !crate::gdal_io::is_remote(path)
}
