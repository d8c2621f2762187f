//! The random numbers of the error propagation: fixed, named, and the same whoever else is in the run.
//!
//! Each independent source of error has a name (a parameter of a set, the residual of a parcel). Its draws depend on the
//! seed and that name alone: not on the number of threads, nor on the other parcels of a run, nor on their order. Two
//! results that name the same source share its error draw by draw; that is how stocks of two dates, or of two parcels,
//! are correlated.
//!
//! Draws are stratified (median Latin hypercube: McKay, Beckman and Conover 1979, Technometrics 21:239): the normal
//! distribution is cut into strata of equal probability, each stratum is drawn once by its median, and only the order is
//! random. So means and spreads of single sources are exact and far fewer draws are wasted on noise. There are two such
//! halves, independent of each other, so that comparing them tells whether there were enough ([`Draws::half`]).
//!
//! To do it again elsewhere: quantiles are `qnorm((k - 0.5) / h)`, `k = 1..h`, `h` draws a half, by AS 241 (Wichura 1988,
//! Applied Statistics 37:477, as in R). The order of a half is Fisher and Yates' from the last place to the second, the
//! partner of place `i` (from 0) being `(r (i + 1)) >> 32` with `r` the upper 32 bits of the next output of PCG XSL RR
//! 128/64 (O'Neill 2014, as in NumPy's PCG64). The key is SHA-256 of `lintan draws 1`, the seed as 8 bytes little endian,
//! and the source's name; its last 16 bytes, little endian and with the lowest bit set, are the generator's increment, and
//! its state is one step on from the sum of the first 16 bytes and the increment. The two halves come from the same stream,
//! one after the other. A test holds the result of doing so in NumPy and SciPy.

use std::sync::Arc;

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use sha2::{Digest, Sha256};

/// The algorithm, as it stands in run records.
pub const ALGORITHM: &str =
    "median Latin hypercube in two halves, AS 241 quantiles, PCG64 shuffles, SHA-256 keys, version 1";

/// A source of error: the name of one independent standard normal.
pub type Source = Arc<str>;

/// Draws of any source.
#[derive(Debug, Clone)]
pub struct Draws {
    seed: u64,
    quantiles: Arc<[f64]>,
}

impl Draws {
    /// `n` draws a source, rounded up to an even number of at least 2.
    pub fn new(seed: u64, n: usize) -> Self {
        let half = n.div_ceil(2).max(1);
        let quantiles = (0..half).map(|k| normal_quantile((k as f64 + 0.5) / half as f64)).collect();
        Draws { seed, quantiles }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Draws a source.
    pub fn count(&self) -> usize {
        2 * self.half()
    }

    /// Draws in each of the two independent halves.
    pub fn half(&self) -> usize {
        self.quantiles.len()
    }

    /// The draws of a source: standard normals, the first half in `out[..half]`.
    pub fn fill(&self, source: &str, out: &mut Vec<f64>) {
        let mut hash = Sha256::new();
        hash.update(b"lintan draws 1");
        hash.update(self.seed.to_le_bytes());
        hash.update(source.as_bytes());
        let key: [u8; 32] = hash.finalize().into();
        let mut random = Pcg64::from_seed(key);
        out.clear();
        for _ in 0..2 {
            let start = out.len();
            out.extend_from_slice(&self.quantiles);
            let half = &mut out[start..];
            for i in (1..half.len()).rev() {
                let r = random.next_u64() >> 32;
                half.swap(i, ((r * (i as u64 + 1)) >> 32) as usize);
            }
        }
    }
}

/// Quantile of the standard normal distribution, for `p` between 0 and 1, to about 16 digits: AS 241, PPND16.
pub fn normal_quantile(p: f64) -> f64 {
    let poly = |c: &[f64; 8], x: f64| c.iter().rev().fold(0.0, |sum, c| sum * x + c);
    const A: [f64; 8] = [
        3.387_132_872_796_366_5,
        133.141_667_891_784_38,
        1_971.590_950_306_551_3,
        13_731.693_765_509_46,
        45_921.953_931_549_87,
        67_265.770_927_008_7,
        33_430.575_583_588_13,
        2_509.080_928_730_122_7,
    ];
    const B: [f64; 8] = [
        1.0,
        42.313_330_701_600_91,
        687.187_007_492_057_9,
        5_394.196_021_424_751,
        21_213.794_301_586_597,
        39_307.895_800_092_71,
        28_729.085_735_721_943,
        5_226.495_278_852_545,
    ];
    const C: [f64; 8] = [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        0.241_780_725_177_450_6,
        0.022_723_844_989_269_184,
        7.745_450_142_783_414e-4,
    ];
    const D: [f64; 8] = [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        0.689_767_334_985_1,
        0.148_103_976_427_480_08,
        0.015_198_666_563_616_457,
        5.475_938_084_995_345e-4,
        1.050_750_071_644_416_9e-9,
    ];
    const E: [f64; 8] = [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        0.296_560_571_828_504_87,
        0.026_532_189_526_576_124,
        0.001_242_660_947_388_078_4,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288_1e-7,
    ];
    const F: [f64; 8] = [
        1.0,
        0.599_832_206_555_887_9,
        0.136_929_880_922_735_8,
        0.014_875_361_290_850_615,
        7.868_691_311_456_133e-4,
        1.846_318_317_510_054_8e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_8e-15,
    ];
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        return q * poly(&A, r) / poly(&B, r);
    }
    let r = (-(if q < 0.0 { p } else { 1.0 - p }).ln()).sqrt();
    let x = if r <= 5.0 { poly(&C, r - 1.6) / poly(&D, r - 1.6) } else { poly(&E, r - 5.0) / poly(&F, r - 5.0) };
    if q < 0.0 { -x } else { x }
}

/// Distribution function of the standard normal.
pub fn normal_probability(z: f64) -> f64 {
    0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    // From R's qnorm.
    #[test]
    fn quantiles_are_those_of_r() {
        for (p, z) in [
            (0.5, 0.0),
            (0.95, 1.644_853_626_951_472_2),
            (0.975, 1.959_963_984_540_054),
            (0.01, -2.326_347_874_040_841),
            (1e-5, -4.264_890_793_922_825),
            (1e-12, -7.034_483_825_301_131),
        ] {
            assert!((normal_quantile(p) - z).abs() <= 1e-14 * (1.0 + z.abs()), "{p}");
        }
        for z in [-3.0, -1.0, 0.0, 0.3, 1.644_853_626_951_472_2] {
            let p = normal_probability(z);
            assert!((normal_quantile(p) - z).abs() < 1e-13, "{z}");
        }
    }

    // The recipe of the module's head, done in NumPy (PCG64 with the state and increment of the key) and SciPy.
    #[test]
    fn draws_can_be_made_again_elsewhere() {
        let mut draws = Vec::new();
        Draws::new(1, 10).fill("parameter/ipcc-2006/cf_conifer", &mut draws);
        let (a, b) = (1.281_551_565_544_600_4, 0.524_400_512_708_040_9);
        let expected = [a, 0.0, -a, -b, b, -a, b, -b, 0.0, a];
        for (d, e) in draws.iter().zip(expected) {
            assert!((d - e).abs() < 1e-14, "{d} {e}");
        }
    }

    #[test]
    fn a_source_depends_on_seed_and_name_alone_and_halves_are_whole() {
        let of = |seed, name: &str| {
            let mut out = vec![9.0; 3];
            Draws::new(seed, 1000).fill(name, &mut out);
            out
        };
        assert_eq!(of(1, "a"), of(1, "a"));
        assert_ne!(of(1, "a"), of(2, "a"));
        assert_ne!(of(1, "a"), of(1, "b"));
        let draws = of(7, "parcel/1/residual");
        let sorted = |half: &[f64]| {
            let mut half = half.to_vec();
            half.sort_by(f64::total_cmp);
            half
        };
        assert_eq!(sorted(&draws[..500]), sorted(&draws[500..]));
        assert_ne!(draws[..500], draws[500..]);
    }

    // Two sources are independent: their correlation over 10,000 draws is within 4 standard errors of 0, for many pairs.
    #[test]
    fn sources_are_independent_of_each_other() {
        let draws = Draws::new(3, 10_000);
        let of = |name: String| {
            let mut out = Vec::new();
            draws.fill(&name, &mut out);
            out
        };
        let columns: Vec<Vec<f64>> = (0..20).map(|i| of(format!("parcel/{i}/x"))).collect();
        for (i, a) in columns.iter().enumerate() {
            for b in &columns[..i] {
                let r: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / 10_000.0;
                assert!(r.abs() < 0.04, "{r}");
            }
        }
    }
}
