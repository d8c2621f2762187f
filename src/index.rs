//! Spectral indices: one table. A new index is one row: its bands, its formula, where it comes from.
//!
//! Formulas work on whole slices of reflectance, so that a parcel's pixels are done in one call. Not-a-number is the only
//! nodata: in, where a band is invalid; out, where the formula has no meaning.

use crate::imagery::Band;

/// A denominator smaller than this is no denominator.
const MIN_DENOMINATOR: f64 = 1e-6;
/// The EVI denominator passes zero over bright cloud; below this the index is noise.
const MIN_EVI_DENOMINATOR: f64 = 0.1;

/// One index.
pub struct IndexSpec {
    /// Name in configuration and tables.
    pub id: &'static str,
    /// Bands in the order of the formula. `Nir` stands for the near infrared of the grid: Sentinel-2 B08 at 10 m, B8A at
    /// 20 m, the one NIR band of the others.
    pub bands: &'static [Band],
    eval: fn(&[&[f64]], &mut [f64]),
    /// Formula, for people.
    pub formula: &'static str,
    /// Where it comes from.
    pub citation: &'static str,
}

impl IndexSpec {
    /// Computes the index of each pixel. `bands` are reflectance slices of one length, in the order of [`IndexSpec::bands`];
    /// `out` has that length.
    pub fn compute(&self, bands: &[&[f64]], out: &mut [f64]) {
        (self.eval)(bands, out);
    }
}

fn normalized_difference(a: f64, b: f64) -> f64 {
    ratio(a - b, a + b, MIN_DENOMINATOR)
}

/// NDVI outside -1..1 has a negative reflectance in it, an artefact of atmospheric correction, and is nodata. The other
/// normalised differences are kept as they come: over water they leave the range without being wrong.
fn ndvi_of(n: f64, r: f64) -> f64 {
    let value = normalized_difference(n, r);
    if (-1.0..=1.0).contains(&value) { value } else { f64::NAN }
}

fn ratio(numerator: f64, denominator: f64, smallest: f64) -> f64 {
    if denominator.abs() < smallest { f64::NAN } else { numerator / denominator }
}

fn two(bands: &[&[f64]], out: &mut [f64], f: impl Fn(f64, f64) -> f64) {
    for ((o, a), b) in out.iter_mut().zip(bands[0]).zip(bands[1]) {
        *o = f(*a, *b);
    }
}

fn nd(bands: &[&[f64]], out: &mut [f64]) {
    two(bands, out, normalized_difference);
}

fn ndvi(bands: &[&[f64]], out: &mut [f64]) {
    two(bands, out, ndvi_of);
}

fn evi(bands: &[&[f64]], out: &mut [f64]) {
    for (((o, n), r), b) in out.iter_mut().zip(bands[0]).zip(bands[1]).zip(bands[2]) {
        let denominator = n + 6.0 * r - 7.5 * b + 1.0;
        *o = if denominator > MIN_EVI_DENOMINATOR { 2.5 * (n - r) / denominator } else { f64::NAN };
    }
}

fn evi2(bands: &[&[f64]], out: &mut [f64]) {
    two(bands, out, |n, r| {
        let denominator = n + 2.4 * r + 1.0;
        if denominator > MIN_EVI_DENOMINATOR { 2.5 * (n - r) / denominator } else { f64::NAN }
    });
}

fn savi(bands: &[&[f64]], out: &mut [f64]) {
    two(bands, out, |n, r| ratio(1.5 * (n - r), n + r + 0.5, MIN_DENOMINATOR));
}

fn kndvi(bands: &[&[f64]], out: &mut [f64]) {
    two(bands, out, |n, r| {
        let ndvi = ndvi_of(n, r);
        // The kernel index is even in NDVI and would turn water into vegetation.
        if ndvi < 0.0 { f64::NAN } else { (ndvi * ndvi).tanh() }
    });
}

use Band::{Blue, Nir, Red, RedEdge1, Swir1, Swir2};

/// Every index.
pub const INDICES: &[IndexSpec] = &[
    IndexSpec {
        id: "ndvi",
        bands: &[Nir, Red],
        eval: ndvi,
        formula: "(N-R)/(N+R)",
        citation: "Rouse et al. 1974, Monitoring vegetation systems in the Great Plains with ERTS, NASA SP-351",
    },
    IndexSpec {
        id: "evi",
        bands: &[Nir, Red, Blue],
        eval: evi,
        formula: "2.5 (N-R)/(N + 6R - 7.5B + 1)",
        citation: "Huete et al. 2002, Remote Sensing of Environment 83:195-213",
    },
    IndexSpec {
        id: "evi2",
        bands: &[Nir, Red],
        eval: evi2,
        formula: "2.5 (N-R)/(N + 2.4R + 1)",
        citation: "Jiang et al. 2008, Remote Sensing of Environment 112:3833-3845",
    },
    IndexSpec {
        id: "savi",
        bands: &[Nir, Red],
        eval: savi,
        formula: "1.5 (N-R)/(N+R+0.5)",
        citation: "Huete 1988, Remote Sensing of Environment 25:295-309 (L = 0.5)",
    },
    IndexSpec {
        id: "kndvi",
        bands: &[Nir, Red],
        eval: kndvi,
        formula: "tanh(NDVI^2), that is sigma = 0.5 (N+R)",
        citation: "Camps-Valls et al. 2021, Science Advances 7:eabc7447",
    },
    IndexSpec {
        id: "nbr",
        bands: &[Nir, Swir2],
        eval: nd,
        formula: "(N-S2)/(N+S2)",
        citation: "Key and Benson 2006, USDA Forest Service RMRS-GTR-164-CD",
    },
    IndexSpec {
        id: "nbr2",
        bands: &[Swir1, Swir2],
        eval: nd,
        formula: "(S1-S2)/(S1+S2)",
        citation: "USGS Landsat surface reflectance-derived spectral indices, product guide",
    },
    IndexSpec {
        id: "ndmi",
        bands: &[Nir, Swir1],
        eval: nd,
        formula: "(N-S1)/(N+S1)",
        citation: "Wilson and Sader 2002, Remote Sensing of Environment 80:385-396",
    },
    IndexSpec {
        id: "ndre",
        bands: &[Nir, RedEdge1],
        eval: nd,
        formula: "(N-RE1)/(N+RE1)",
        citation: "Gitelson and Merzlyak 1994, Journal of Plant Physiology 143:286-292",
    },
];

/// The index of a name.
pub fn by_id(id: &str) -> Option<&'static IndexSpec> {
    INDICES.iter().find(|i| i.id == id)
}

/// All names, for messages.
pub fn names() -> String {
    INDICES.iter().map(|i| i.id).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imagery::Calibration;

    fn value(id: &str, reflectance: &[(Band, f64)]) -> f64 {
        let spec = by_id(id).expect("known index");
        let bands: Vec<[f64; 1]> = spec
            .bands
            .iter()
            .map(|b| [reflectance.iter().find(|(name, _)| name == b).map_or(f64::NAN, |(_, v)| *v)])
            .collect();
        let slices: Vec<&[f64]> = bands.iter().map(|b| b.as_slice()).collect();
        let mut out = [0.0];
        spec.compute(&slices, &mut out);
        out[0]
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-9 * b.abs(), "{a} != {b}");
    }

    /// Worked numbers: digital numbers of a baseline 04.00 product and of Landsat Collection 2, every index of the table.
    #[test]
    fn worked_example_1_offsets_and_indices() {
        let s2 = Calibration { pre: -1000.0, scale: 1e-4, post: 0.0 };
        let (red, nir) = (s2.apply(1450.0), s2.apply(4200.0));
        close(red, 0.045);
        close(nir, 0.32);
        let pixel = [(Red, red), (Nir, nir), (Blue, 0.03), (Swir1, 0.16), (Swir2, 0.08), (RedEdge1, 0.11)];
        for (id, expected) in [
            ("ndvi", 0.7534246575),
            ("kndvi", 0.5136303909),
            ("evi", 0.5036630037),
            ("evi2", 0.4814425770),
            ("savi", 0.4768786127),
            ("nbr", 0.6),
            ("nbr2", 0.3333333333),
            ("ndmi", 0.3333333333),
            ("ndre", 0.4883720930),
        ] {
            close((value(id, &pixel) * 1e10).round(), (expected * 1e10_f64).round());
        }
        // Forgetting the offset gives another forest.
        let raw = Calibration { pre: 0.0, scale: 1e-4, post: 0.0 };
        close((value("ndvi", &[(Red, raw.apply(1450.0)), (Nir, raw.apply(4200.0))]) * 1e10).round(), 4867256637.0);
        let landsat = Calibration { pre: 0.0, scale: 2.75e-5, post: -0.2 };
        let (red, nir) = (landsat.apply(9000.0), landsat.apply(19000.0));
        close(red, 0.0475);
        close(nir, 0.3225);
        close((value("ndvi", &[(Red, red), (Nir, nir)]) * 1e10).round(), 7432432432.0);
    }

    /// The bandpass of S2A and S2B brought to Landsat 8's, by the coefficients in the sensor file.
    #[test]
    fn worked_example_3_bandpass() {
        let sensors = crate::imagery::sensor::Sensors::builtin().expect("sensors");
        let raw = Calibration { pre: -1000.0, scale: 1e-4, post: 0.0 };
        let adjusted = |platform: &str, band: Band, dn: f64| {
            let (spec, sensor) = sensors.by_platform(platform).expect("known");
            raw.then(spec.bandpass("hls", &sensor, band).expect("coefficients")).apply(dn)
        };
        for (platform, red, nir, ndvi) in
            [("sentinel-2a", 0.0448425, 0.319356, 7537469264.0), ("sentinel-2b", 0.0449245, 0.318912, 7530511645.0)]
        {
            let pixel = [(Red, adjusted(platform, Red, 1450.0)), (Nir, adjusted(platform, Nir, 4200.0))];
            close(pixel[0].1, red);
            close(pixel[1].1, nir);
            close((value("ndvi", &pixel) * 1e10).round(), ndvi);
        }
        let (spec, _) = sensors.by_platform("sentinel-2").expect("known");
        assert_eq!(spec.bandpass("hls", "S2", Red), None, "the unit must be known");
        assert_eq!(spec.bandpass("hls", "S2A", Band::NirBroad), None, "B08 is not harmonised");
    }

    #[test]
    fn nodata_rules() {
        assert!(value("ndvi", &[(Red, 0.0), (Nir, 0.0)]).is_nan(), "no denominator");
        assert!(value("ndvi", &[(Red, -0.01), (Nir, 0.3)]).is_nan(), "outside -1..1");
        assert!((value("ndmi", &[(Swir1, -0.01), (Nir, 0.03)]) - 2.0).abs() < 1e-12, "kept over water");
        assert!(value("kndvi", &[(Red, 0.3), (Nir, 0.1)]).is_nan(), "negative NDVI");
        assert!(value("evi", &[(Red, 0.1), (Nir, 0.1), (Blue, 0.3)]).is_nan(), "denominator below 0.1");
        for spec in INDICES {
            let bands = vec![[f64::NAN]; spec.bands.len()];
            let slices: Vec<&[f64]> = bands.iter().map(|b| b.as_slice()).collect();
            let mut out = [0.0];
            spec.compute(&slices, &mut out);
            assert!(out[0].is_nan(), "{}: nodata in, nodata out", spec.id);
        }
    }
}
