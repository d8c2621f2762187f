//! Gauss-Kruger zones of China 高斯-克吕格分带: which zone an EPSG code means, and whether coordinates can belong to it.
//!
//! The three datums have four series each: zones of 6 or 3 degrees of longitude, with the zone's number in front of the
//! easting (42,512,345 m) or without (512,345 m). Zones of 6 degrees are numbered 13 to 23 (central meridian 6 n - 3),
//! those of 3 degrees 25 to 45 (3 n), so a number in an easting tells its width too. PROJ projects points far outside a
//! zone without a word; a wrong zone moves a parcel by hundreds of kilometres. Codes and central meridians: EPSG registry.

use super::crs::Crs;

/// Degrees beyond the edge of a zone that are tolerated: counties on an edge are often kept in one zone.
const TOLERANCE_DEG: f64 = 1.0;

/// A national datum with the codes of its systems.
#[derive(Debug, PartialEq)]
struct Datum {
    name: &'static str,
    geographic: u32,
    /// First code of the series: 6 degrees with and without number, 3 degrees with and without.
    six: [u32; 2],
    three: [u32; 2],
}

const DATUMS: [Datum; 3] = [
    Datum { name: "CGCS2000", geographic: 4490, six: [4491, 4502], three: [4513, 4534] },
    Datum { name: "Xian 1980", geographic: 4610, six: [2327, 2338], three: [2349, 2370] },
    Datum { name: "Beijing 1954", geographic: 4214, six: [21413, 21453], three: [2401, 2422] },
];

/// Zone numbers of a width.
fn numbers(width_deg: u32) -> std::ops::RangeInclusive<u32> {
    if width_deg == 6 { 13..=23 } else { 25..=45 }
}

/// The width that zones of this number have.
fn width_of(number: u32) -> Option<u32> {
    [6, 3].into_iter().find(|w| numbers(*w).contains(&number))
}

/// A zone, as its code names it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Zone {
    datum: &'static Datum,
    width_deg: u32,
    number: u32,
    /// The easting begins with the number.
    numbered: bool,
}

impl Zone {
    /// The zone of a CRS, if it is one.
    pub fn of(crs: &Crs) -> Option<Zone> {
        let code: u32 = crs.0.strip_prefix("EPSG:")?.parse().ok()?;
        for datum in &DATUMS {
            for (width_deg, series) in [(6, datum.six), (3, datum.three)] {
                for (first, numbered) in series.into_iter().zip([true, false]) {
                    let number = numbers(width_deg).start() + code.checked_sub(first).unwrap_or(u32::MAX / 2);
                    if numbers(width_deg).contains(&number) {
                        return Some(Zone { datum, width_deg, number, numbered });
                    }
                }
            }
        }
        None
    }

    fn code(&self) -> u32 {
        let series = if self.width_deg == 6 { self.datum.six } else { self.datum.three };
        series[usize::from(!self.numbered)] + self.number - numbers(self.width_deg).start()
    }

    /// Degrees east.
    pub fn central_meridian(&self) -> f64 {
        f64::from(if self.width_deg == 6 { 6 * self.number - 3 } else { 3 * self.number })
    }

    /// Name with code, `EPSG:4530 (CGCS2000, 3-degree zone 42, central meridian 126 E, zone number in the easting)`.
    fn described(&self) -> String {
        format!(
            "EPSG:{} ({}, {}-degree zone {}, central meridian {} E, {} zone number in the easting)",
            self.code(),
            self.datum.name,
            self.width_deg,
            self.number,
            self.central_meridian(),
            if self.numbered { "with the" } else { "without a" }
        )
    }

    /// What is wrong with a coordinate of the layer, and which CRS it probably has.
    pub fn misfit(&self, x: f64, y: f64) -> Option<String> {
        if x.abs() <= 180.0 && y.abs() <= 90.0 {
            return Some(format!(
                "found ({x}, {y}), which are degrees, expected metres of {}; the coordinates are probably those of \
                 EPSG:{}",
                self.described(),
                self.datum.geographic
            ));
        }
        let probably = |zone: Zone, found: String, expected: &str| {
            format!(
                "found {found}, expected {expected} of {}; the coordinates are probably those of {}",
                self.described(),
                zone.described()
            )
        };
        let number = number_in(x);
        match number.and_then(|n| Some((n, width_of(n)?))) {
            Some((number, _)) if self.numbered && number == self.number => None,
            Some((number, width_deg)) => {
                let zone = Zone { datum: self.datum, width_deg, number, numbered: true };
                let expected = if self.numbered {
                    format!("one that begins with {}, as those", self.number)
                } else {
                    "one without a zone number, as those".to_owned()
                };
                let found =
                    format!("the easting {x:.1}, which begins with the number {number} of a {width_deg}-degree zone");
                Some(probably(zone, found, &expected))
            }
            None if (1_000_000.0..1e7).contains(&x) && is_easting(y) => Some(format!(
                "found easting {x:.1} and northing {y:.1}, expected the coordinates of {}; they are probably swapped: \
                 in this file the easting has to come first",
                self.described()
            )),
            None if self.numbered && (0.0..1_000_000.0).contains(&x) => {
                let zone = Zone { numbered: false, ..*self };
                let expected = format!("one that begins with {}, as those", self.number);
                Some(probably(zone, format!("the easting {x:.1} without a zone number"), &expected))
            }
            None => None,
        }
    }

    /// What is wrong with the longitude that a coordinate comes out at, and which CRS it probably has.
    pub fn outside(&self, longitude: f64) -> Option<String> {
        let half = f64::from(self.width_deg) / 2.0;
        let middle = self.central_meridian();
        if (longitude - middle).abs() <= half + TOLERANCE_DEG {
            return None;
        }
        let beyond = format!(
            "found longitude {longitude:.4}, expected {} to {} (tolerated: {TOLERANCE_DEG} degree more) in {}",
            middle - half,
            middle + half,
            self.described()
        );
        // The 6-degree zone of the same central meridian has the very same coordinates.
        let twin = Zone { width_deg: 6, number: self.number.div_ceil(2), ..*self };
        if self.width_deg == 3
            && !self.numbered
            && self.number % 2 == 1
            && (longitude - middle).abs() <= 3.0 + TOLERANCE_DEG
        {
            return Some(format!("{beyond}; the coordinates are probably those of {}", twin.described()));
        }
        let steps = ((longitude - middle) / f64::from(self.width_deg)).round();
        let number = f64::from(self.number) + steps;
        let neighbour =
            numbers(self.width_deg).find(|n| f64::from(*n) == number).map(|number| Zone { number, ..*self });
        Some(match neighbour {
            Some(zone) => format!(
                "{beyond}; if the place is right, bring the layer to {}; if not, it carries the wrong CRS",
                zone.described()
            ),
            None => format!("{beyond}; this is not in China: the layer carries the wrong CRS"),
        })
    }
}

/// What a coordinate of a geographic system that is no longitude and latitude probably is.
pub fn of_easting(crs: &Crs, x: f64) -> Option<String> {
    let number = number_in(x)?;
    let datum = DATUMS.iter().find(|d| crs.0 == format!("EPSG:{}", d.geographic)).unwrap_or(&DATUMS[0]);
    Some(Zone { datum, width_deg: width_of(number)?, number, numbered: true }.described())
}

/// The zone number in front of an easting.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
fn number_in(x: f64) -> Option<u32> {
    (1e7..1e8).contains(&x).then(|| (x / 1e6) as u32)
}

fn is_easting(y: f64) -> bool {
    (0.0..1_000_000.0).contains(&y) || number_in(y).and_then(width_of).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(code: u32) -> Zone {
        Zone::of(&Crs(format!("EPSG:{code}"))).expect("a zone")
    }

    // From the EPSG registry.
    #[test]
    fn codes_mean_their_zones() {
        for (code, width_deg, middle, numbered) in [
            (4491, 6, 75.0, true),
            (4501, 6, 135.0, true),
            (4502, 6, 75.0, false),
            (4512, 6, 135.0, false),
            (4513, 3, 75.0, true),
            (4533, 3, 135.0, true),
            (4534, 3, 75.0, false),
            (4554, 3, 135.0, false),
            (2334, 6, 117.0, true),
            (2390, 3, 135.0, false),
            (21422, 6, 129.0, true),
            (21460, 6, 117.0, false),
            (2414, 3, 114.0, true),
            (2436, 3, 117.0, false),
        ] {
            let z = zone(code);
            assert_eq!((z.width_deg, z.central_meridian(), z.numbered, z.code()), (width_deg, middle, numbered, code));
        }
        for code in [4490, 4555, 32652, 4326, 2326, 2391, 21424] {
            assert_eq!(Zone::of(&Crs(format!("EPSG:{code}"))), None, "{code}");
        }
    }

    #[test]
    fn eastings_tell_their_zone() {
        // 3-degree zone 43: central meridian 129.
        assert_eq!(zone(4531).misfit(43_500_000.0, 4.7e6), None);
        assert_eq!(zone(4552).misfit(500_000.0, 4.7e6), None);
        let says = |code: u32, x: f64, y: f64, expected: &str| {
            let text = zone(code).misfit(x, y).expect("a misfit");
            assert!(text.contains(expected), "{text}");
        };
        says(4552, 43_500_000.0, 4.7e6, "probably those of EPSG:4531 ");
        says(4531, 500_000.0, 4.7e6, "probably those of EPSG:4552 ");
        says(4531, 42_500_000.0, 4.7e6, "probably those of EPSG:4530 ");
        says(4531, 22_500_000.0, 4.7e6, "probably those of EPSG:4500 ");
        says(2387, 22_500_000.0, 4.7e6, "probably those of EPSG:2336 ");
        says(4531, 129.0, 42.5, "EPSG:4490");
        says(4552, 4.7e6, 500_000.0, "swapped");
        says(4531, 4.7e6, 43_500_000.0, "swapped");
    }

    #[test]
    fn longitudes_tell_their_zone() {
        assert_eq!(zone(4552).outside(131.4), None);
        let text = zone(4552).outside(131.6).expect("outside");
        assert!(text.contains("EPSG:4511 "), "the 6-degree zone of the same meridian: {text}");
        let text = zone(4531).outside(126.1).expect("outside");
        assert!(text.contains("EPSG:4530 "), "{text}");
        let text = zone(4551).outside(123.1).expect("outside");
        assert!(text.contains("EPSG:4550 "), "{text}");
        let text = zone(4500).outside(140.0).expect("outside");
        assert!(text.contains("not in China") || text.contains("EPSG:"), "{text}");
    }

    #[test]
    fn eastings_in_degrees() {
        assert!(of_easting(&Crs("EPSG:4490".into()), 43_500_000.0).expect("a zone").starts_with("EPSG:4531 "));
        assert!(of_easting(&Crs("EPSG:4610".into()), 20_500_000.0).expect("a zone").starts_with("EPSG:2334 "));
        assert_eq!(of_easting(&Crs("EPSG:4490".into()), 500_000.0), None);
    }
}
