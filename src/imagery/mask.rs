//! Is a pixel clear, and if not, why? Scene classes (SCL) and quality bits (QA_PIXEL, Fmask) become one small set of classes;
//! whatever is near a cloud or a shadow can be masked as well.
//!
//! Invariant: [`Class::Clear`] is the only class whose pixels are used.

use serde::{Deserialize, Serialize};

use super::sensor::{MaskLayout, MaskSpec};

/// Clear-sky class of a pixel. The numbers are those in the cube files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Class {
    /// Used.
    Clear = 0,
    /// Nothing was measured.
    Nodata = 1,
    /// Saturated or defective.
    Saturated = 2,
    /// Cloud.
    Cloud = 3,
    /// Thin cirrus.
    Cirrus = 4,
    /// Cloud shadow.
    Shadow = 5,
    /// Within the provider's own margin around cloud.
    CloudEdge = 6,
    /// Snow or ice.
    Snow = 7,
    /// Dark area, topographic shadow.
    Dark = 8,
    /// Not classified.
    Unclassified = 9,
    /// Vegetation that the configuration does not count as clear.
    Vegetation = 10,
    /// Bare ground that the configuration does not count as clear.
    Bare = 11,
    /// Water that the configuration does not count as clear.
    Water = 12,
    /// Hidden by terrain.
    Occluded = 13,
    /// Within the configured distance of cloud, cirrus or shadow.
    Dilated = 14,
    /// Beyond the edge of the scene's raster.
    Outside = 15,
    /// On a slope so far from the sun that there is nothing to correct ([`super::terrain`]). Never in a cube file.
    Shaded = 16,
    /// Clear, but its slope is not known ([`super::terrain`]). Never in a cube file.
    NoElevation = 17,
}

impl Class {
    /// All classes, by their number.
    pub const ALL: [Class; 18] = [
        Class::Clear,
        Class::Nodata,
        Class::Saturated,
        Class::Cloud,
        Class::Cirrus,
        Class::Shadow,
        Class::CloudEdge,
        Class::Snow,
        Class::Dark,
        Class::Unclassified,
        Class::Vegetation,
        Class::Bare,
        Class::Water,
        Class::Occluded,
        Class::Dilated,
        Class::Outside,
        Class::Shaded,
        Class::NoElevation,
    ];

    /// Name as in records.
    pub fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(s)) => s,
            _ => String::new(),
        }
    }

    /// Whether a class number says that the sensor measured anything there, cloud included.
    pub fn was_measured(class: u8) -> bool {
        class != Class::Nodata as u8 && class != Class::Outside as u8
    }

    /// Grows into its neighbourhood when dilation is asked for.
    fn spreads(self) -> bool {
        matches!(self, Class::Cloud | Class::Cirrus | Class::Shadow)
    }
}

/// Class of every possible mask value: one look-up a pixel.
pub struct MaskTable {
    classes: Vec<u8>,
}

impl MaskTable {
    /// The table of a sensor's mask, with the scene classes that the user counts as clear.
    pub fn new(spec: &MaskSpec, scl_clear: &[u8]) -> Self {
        let classes = match spec.layout {
            MaskLayout::Scl => {
                let mut table = vec![Class::Unclassified as u8; 1 << 16];
                for (value, class) in &spec.classes {
                    if let Ok(value) = value.parse::<u8>() {
                        let clear = scl_clear.contains(&value);
                        table[usize::from(value)] = if clear { Class::Clear } else { *class } as u8;
                    }
                }
                table
            }
            MaskLayout::QaPixel => (0..=u16::MAX)
                .map(|value| {
                    let set = spec.bits.iter().find(|b| value >> b.bit & 1 == 1);
                    set.map_or(Class::Clear, |b| b.class) as u8
                })
                .collect(),
            MaskLayout::Fmask => (0..=u16::MAX)
                .map(|value| match value {
                    0..=254 => {
                        spec.bits.iter().find(|b| value >> b.bit & 1 == 1).map_or(Class::Clear, |b| b.class) as u8
                    }
                    255 => Class::Nodata as u8,
                    _ => Class::Unclassified as u8,
                })
                .collect(),
        };
        MaskTable { classes }
    }

    /// Class number of a mask value.
    #[inline]
    pub fn class(&self, value: u16) -> u8 {
        self.classes[usize::from(value)]
    }
}

/// Mask classes over a rectangle of mask pixels, with what is needed to ask for neighbours.
pub struct Neighbourhood {
    cols: usize,
    rows: usize,
    /// For each pixel, how many pixels away in its own row the nearest spreading pixel is.
    row_distance: Vec<u16>,
}

impl Neighbourhood {
    /// Prepares a rectangle of classes, row by row.
    pub fn new(classes: &[u8], cols: usize) -> Self {
        let rows = classes.len().checked_div(cols).unwrap_or(0);
        let mut spreads = [false; 256];
        for class in Class::ALL {
            spreads[class as usize] = class.spreads();
        }
        let mut row_distance = vec![u16::MAX; classes.len()];
        for (line, distance) in classes.chunks_exact(cols.max(1)).zip(row_distance.chunks_exact_mut(cols.max(1))) {
            let mut nearest = u16::MAX;
            for (class, d) in line.iter().zip(distance.iter_mut()) {
                nearest = if spreads[usize::from(*class)] { 0 } else { nearest.saturating_add(1) };
                *d = nearest;
            }
            nearest = u16::MAX;
            for (class, d) in line.iter().zip(distance.iter_mut()).rev() {
                nearest = if spreads[usize::from(*class)] { 0 } else { nearest.saturating_add(1) };
                *d = nearest.min(*d);
            }
        }
        Neighbourhood { cols, rows, row_distance }
    }

    /// True when the centre of a spreading pixel lies within `radius_m` of the centre of pixel (row, col).
    /// `pixel_m` is the size of a mask pixel, (x, y).
    pub fn near(&self, row: usize, col: usize, radius_m: f64, pixel_m: (f64, f64)) -> bool {
        // A hair of slack, so that 60 m over 20 m pixels reaches exactly three pixels.
        let reach = radius_m + 1e-9 * pixel_m.1;
        let vertical = (reach / pixel_m.1) as usize;
        let (first, last) = (row.saturating_sub(vertical), (row + vertical).min(self.rows.saturating_sub(1)));
        (first..=last).any(|r| {
            let dy = r.abs_diff(row) as f64 * pixel_m.1;
            let half = (reach * reach - dy * dy).max(0.0).sqrt() / pixel_m.0;
            let d = self.row_distance[r * self.cols + col];
            d != u16::MAX && f64::from(d) <= half
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imagery::sensor::Sensors;

    fn class(platform: &str, value: u16) -> Class {
        let (spec, _) = Sensors::builtin().expect("sensors").by_platform(platform).expect("known");
        Class::ALL[usize::from(MaskTable::new(&spec.mask, &[4, 5, 6]).class(value))]
    }

    /// Worked QA_PIXEL values: clear, clear over water, cloud, a shadow whose "clear" bit is set, cirrus and cloud, snow
    /// with the "clear" bit set, fill.
    #[test]
    fn worked_example_2_qa_pixel() {
        for (value, expected) in [
            (21824, Class::Clear),
            (21952, Class::Clear),
            (22280, Class::Cloud),
            (23888, Class::Shadow),
            (55052, Class::Cloud),
            (30048, Class::Snow),
            (1, Class::Nodata),
        ] {
            assert_eq!(class("landsat-8", value), expected, "{value}");
        }
        assert_eq!(class("landsat-8", 0b100), Class::Cirrus);
        assert_eq!(class("landsat-7", 5440), Class::Clear);
        assert_eq!(class("landsat-7", 0b10), Class::CloudEdge);
    }

    /// Fmask of HLS v2: bit 1 cloud, 2 adjacent, 3 shadow, 4 snow, 5 water, 6 and 7 aerosol (both set: high), 255 fill.
    #[test]
    fn fmask_bits() {
        let sensors = Sensors::builtin().expect("sensors");
        let (spec, _) = sensors.in_family("hls-l30", "landsat-8").expect("known");
        let table = MaskTable::new(&spec.mask, &[]);
        for (value, expected) in [
            (0, Class::Clear),
            (64, Class::Clear),
            (192, Class::Clear),
            (32 + 64, Class::Clear),
            (1, Class::Clear),
            (2 + 192, Class::Cloud),
            (2 + 4 + 8, Class::Cloud),
            (8 + 64, Class::Shadow),
            (4 + 128, Class::CloudEdge),
            (16, Class::Snow),
            (255, Class::Nodata),
            (300, Class::Unclassified),
        ] {
            assert_eq!(Class::ALL[usize::from(table.class(value))], expected, "{value}");
        }
    }

    #[test]
    fn scl_classes_follow_the_configuration() {
        assert_eq!(class("sentinel-2a", 5), Class::Clear);
        assert_eq!(class("sentinel-2a", 7), Class::Unclassified);
        assert_eq!(class("sentinel-2a", 11), Class::Snow);
        assert_eq!(class("sentinel-2a", 200), Class::Unclassified);
        let (spec, _) = Sensors::builtin().expect("sensors").by_platform("sentinel-2a").expect("known");
        assert_eq!(MaskTable::new(&spec.mask, &[4]).class(5), Class::Bare as u8);
    }

    #[test]
    fn dilation_is_a_disc_in_metres() {
        // One cloud in the middle of 9 x 9 pixels of 20 m; 45 m reaches two pixels along the axes, and (1, 2) whose
        // distance is 44.7 m, but not (2, 2) at 56.6 m.
        let mut classes = vec![Class::Clear as u8; 81];
        classes[4 * 9 + 4] = Class::Cloud as u8;
        let n = Neighbourhood::new(&classes, 9);
        let near = |r, c| n.near(r, c, 45.0, (20.0, 20.0));
        assert!(near(4, 4) && near(4, 6) && near(2, 4) && near(3, 6) && near(6, 3));
        assert!(!near(2, 2) && !near(4, 7) && !near(1, 4));
        assert!(!Neighbourhood::new(&[Class::Snow as u8; 9], 3).near(1, 1, 100.0, (20.0, 20.0)));
    }
}
