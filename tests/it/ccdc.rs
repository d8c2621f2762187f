//! Continuous change detection against lcmap-pyccd, series by series, and on input that it cannot judge.

use std::path::{Path, PathBuf};

use gdal::Dataset;
use lintan::detect::ccdc::{CURVE_END, CURVE_START, Model, Params, Scratch, Segment};
use lintan::detect::{Method, PixelBreak, PixelStack, Unjudged, Want};
use serde_json::Value;

use crate::support::testdata;

/// Start, end and break day since 1970-01-01, observations, probability, curve quality.
type Dates = (i32, i32, i32, usize, f64, u8);

struct Series {
    name: String,
    params: Params,
    days: Vec<i32>,
    /// Reflectance, a list a band.
    values: Vec<Vec<f64>>,
    expected: Vec<Value>,
}

impl Series {
    fn slices(&self) -> Vec<&[f64]> {
        self.values.iter().map(Vec::as_slice).collect()
    }

    fn segments(&self) -> Vec<Segment> {
        let model = Model::new(&self.params, &self.days).unwrap();
        model.segments(&self.slices(), &mut Scratch::default()).unwrap().to_vec()
    }

    fn breaks(&self) -> Vec<PixelBreak> {
        let (mut scratch, mut out) = (Scratch::default(), Vec::new());
        Model::new(&self.params, &self.days).unwrap().detect(&self.slices(), &mut scratch, &mut out).unwrap();
        out
    }
}

fn reference() -> Vec<Series> {
    let text = std::fs::read_to_string(testdata("reference/ccdc.json")).unwrap();
    let root: Value = serde_json::from_str(&text).unwrap();
    let names = |v: &Value| v.as_array().unwrap().iter().map(|b| b.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    root["series"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| Series {
            name: s["name"].as_str().unwrap().to_owned(),
            params: Params {
                index: "red".into(),
                bands: names(&s["bands"]),
                tmask_bands: names(&s["tmask_bands"]),
                ..Params::default()
            },
            days: s["days"].as_array().unwrap().iter().map(|d| d.as_i64().unwrap() as i32).collect(),
            values: s["values"]
                .as_array()
                .unwrap()
                .iter()
                .map(|b| b.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() / 1e4).collect())
                .collect(),
            expected: s["segments"].as_array().unwrap().clone(),
        })
        .collect()
}

fn dates(segments: &[Segment], days: &[i32]) -> Vec<Dates> {
    let one =
        |s: &Segment| (days[s.start], days[s.end], days[s.after], s.observations, s.change_probability, s.curve_qa);
    segments.iter().map(one).collect()
}

fn expected_dates(segments: &[Value]) -> Vec<Dates> {
    let int = |s: &Value, key: &str| s[key].as_i64().unwrap() as i32;
    let one = |s: &Value| {
        (
            int(s, "start_day"),
            int(s, "end_day"),
            int(s, "break_day"),
            int(s, "observations") as usize,
            s["probability"].as_f64().unwrap(),
            int(s, "curve_qa") as u8,
        )
    };
    segments.iter().map(one).collect()
}

/// Every segment of every series: days, counts and codes equal; coefficients, RMSE and magnitudes to 1e-9 of the RMSE.
/// Run with `--nocapture` for the distribution of the differences.
#[test]
fn segments_equal_those_of_pyccd() {
    let (mut rmse, mut magnitude, mut slope, mut harmonic) = (vec![], vec![], vec![], vec![]);
    let (mut breaks, mut plain) = (0, 0);
    for series in reference() {
        let found = series.segments();
        assert_eq!(dates(&found, &series.days), expected_dates(&series.expected), "{}", series.name);
        for (segment, expected) in found.iter().zip(&series.expected) {
            breaks += usize::from(segment.change_probability > 0.0);
            plain += usize::from([CURVE_START, CURVE_END].contains(&segment.curve_qa));
            let fits = expected["fits"].as_array().unwrap();
            assert_eq!(segment.fits().len(), fits.len());
            for (b, (fit, expected)) in segment.fits().iter().zip(fits).enumerate() {
                let number = |v: &Value| v.as_f64().unwrap() / 1e4;
                let unit = number(&expected["rmse"]);
                rmse.push((fit.rmse - unit).abs() / unit);
                magnitude.push((fit.magnitude - number(&expected["magnitude"])).abs() / unit);
                let coefficients: Vec<f64> = expected["coefficients"].as_array().unwrap().iter().map(number).collect();
                // A slope counts by what it makes of a year.
                slope.push((fit.coefficients[0] - coefficients[0]).abs() * 365.0 / unit);
                harmonic.extend(fit.coefficients.iter().zip(&coefficients).skip(1).map(|(a, e)| (a - e).abs() / unit));
                // The intercept lies two thousand years away: what counts is the value in the segment.
                let day = series.days[segment.start];
                let t = f64::from(day + 719_163);
                let angle = std::f64::consts::TAU / 365.2425 * t;
                let mut value = number(&expected["intercept"]) + coefficients[0] * t;
                for k in 1..4 {
                    let (s, c) = (k as f64 * angle).sin_cos();
                    value += coefficients[2 * k - 1] * c + coefficients[2 * k] * s;
                }
                // Its stored digits are 12, of a number that may be thousands of reflectances.
                let digits = number(&expected["intercept"]).abs() * 1e-11 / unit;
                let difference = (segment.predict(b, day).unwrap() - value).abs() / unit;
                assert!(difference < 1e-9 + digits, "{}: prediction {difference:e}", series.name);
            }
        }
    }
    println!("{breaks} breaks; difference from pyccd in units of the RMSE:");
    for (name, list) in
        [("RMSE", &mut rmse), ("magnitude", &mut magnitude), ("slope x 365", &mut slope), ("harmonics", &mut harmonic)]
    {
        list.sort_by(f64::total_cmp);
        let at = |p: f64| list[((list.len() - 1) as f64 * p) as usize];
        println!(
            "{name:12} n {:5}  50 % {:.1e}  90 % {:.1e}  99 % {:.1e}  most {:.1e}",
            list.len(),
            at(0.5),
            at(0.9),
            at(0.99),
            at(1.0)
        );
        assert!(at(1.0) < 1e-9, "{name}: {:e}", at(1.0));
    }
    // The series are worth something: breaks, stretches without a model, all three lengths of the model.
    assert!(breaks >= 15 && plain >= 10, "{breaks} {plain}");
}

/// COLD, a sister method, finds one break in this pixel, on the ordinal 735040; its segments are in the data's README.
#[test]
fn a_sister_method_breaks_on_the_same_day() {
    let series = reference().into_iter().find(|s| s.name == "cold_336_3980").unwrap();
    let breaks = series.breaks();
    assert_eq!(breaks.iter().map(|b| b.break_day + 719_163.0).collect::<Vec<_>>(), [735_040.0]);
}

/// Google Earth Engine's own fits of a forest pixel in Maine, cut in 2001: NBR alone, with other parameters than ours.
#[test]
fn earth_engine_breaks_in_the_same_months() {
    let Some(path) = shared("pixel_series/gee_landtrendr_ccdc/ME-USA_ccdc_nbr.csv") else { return };
    let text = std::fs::read_to_string(path).unwrap();
    let (mut days, mut values) = (vec![], vec![]);
    for line in text.lines().skip(1) {
        let mut cells = line.split(',');
        let date: jiff::civil::Date = cells.next().unwrap().parse().unwrap();
        if let Ok(value) = cells.next().unwrap().parse::<f64>() {
            days.push(day_number(date));
            values.push(value);
        }
    }
    let params =
        Params { index: "nbr".into(), bands: vec!["nbr".into()], tmask_bands: vec!["nbr".into()], ..Params::default() };
    let series = Series { name: "Maine".into(), params, days, values: vec![values], expected: vec![] };
    let breaks = series.breaks();
    // Its second model ends on 2001-09-23, the third begins on 2001-10-16. (Its next break, of 2015, we date 2014: longer
    // models and a stronger penalty there.)
    let lost = breaks.first().unwrap();
    let day = f64::from(day_number("2001-09-30".parse().unwrap()));
    assert!(lost.magnitude < -0.3 && (lost.break_day - day).abs() <= 16.0, "{breaks:?}");
}

fn day_number(date: jiff::civil::Date) -> i32 {
    jiff::civil::date(1970, 1, 1).until(date).unwrap().get_days()
}

fn shared(relative: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(relative);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

/// Segments of every pixel of the Romanian stack at 20 m. In 13 of 2500 a window of exactly 365 days makes a matrix of the T-mask
/// singular, and pyccd's result hangs on rounding; these equal pyccd with the leverages of the columns that differ.
#[test]
fn romania_equals_pyccd_pixel_by_pixel() {
    let Some(folder) = shared("s2_romania_nrt/bands_20m") else { return };
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().to_str()?.strip_suffix("_SCL_20m.tif").map(str::to_owned))
        .collect();
    names.sort();
    let days: Vec<i32> = names.iter().map(|d| day_number(d.parse().unwrap())).collect();
    let read = |date: &str, band: &str| -> Vec<f64> {
        let dataset = Dataset::open(folder.join(format!("{date}_{band}_20m.tif"))).unwrap();
        dataset.rasterband(1).unwrap().read_band_as::<f64>().unwrap().data().to_vec()
    };
    let clear: Vec<Vec<f64>> = names.iter().map(|d| read(d, "SCL")).collect();
    let bands: Vec<Vec<Vec<f64>>> =
        ["B03", "B04", "B8A", "B11"].iter().map(|b| names.iter().map(|d| read(d, b)).collect()).collect();
    let params = Params {
        index: "ndmi".into(),
        bands: ["green", "red", "nir", "swir1"].map(str::to_owned).to_vec(),
        ..Params::default()
    };
    let model = Model::new(&params, &days).unwrap();
    let mut scratch = Scratch::default();
    let expected = std::fs::read_to_string(testdata("reference/ccdc_romania.csv")).unwrap();
    let (mut pixels, mut rounding, mut breaks) = (0, 0, 0);
    for line in expected.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let pixel = cells[0].parse::<usize>().unwrap() * 50 + cells[1].parse::<usize>().unwrap();
        // Not clear: nothing.
        let values: Vec<Vec<f64>> = bands
            .iter()
            .map(|b| {
                let value = |(date, scl): (&Vec<f64>, &Vec<f64>)| {
                    if [4.0, 5.0, 7.0].contains(&scl[pixel]) { date[pixel] / 1e4 } else { f64::NAN }
                };
                b.iter().zip(&clear).map(value).collect()
            })
            .collect();
        let slices: Vec<&[f64]> = values.iter().map(Vec::as_slice).collect();
        let found = model.segments(&slices, &mut scratch).map(<[Segment]>::to_vec).unwrap_or_default();
        let found: Vec<String> = dates(&found, &days)
            .iter()
            .map(|(start, end, after, n, p, qa)| format!("{start}:{end}:{after}:{n}:{p}:{qa}"))
            .collect();
        let found = found.join(";");
        pixels += 1;
        breaks += found.matches(":1:").count();
        if cells[3].is_empty() {
            assert_eq!(found, cells[2], "pixel {} {}", cells[0], cells[1]);
        } else {
            rounding += 1;
            assert_eq!(found, cells[3], "pixel {} {}, leverages of distinct columns", cells[0], cells[1]);
        }
    }
    println!("{pixels} pixels, {breaks} breaks, all equal; {rounding} of them where pyccd inverts a singular matrix");
    assert_eq!((pixels, rounding), (2500, 13));
    assert!(breaks > 200);
}

/// A deciduous forest every 16 days, cut at `cut`; five bands. Noise is a fixed sequence.
fn forest(n: usize, cut: usize) -> Series {
    let days: Vec<i32> = (0..n).map(|i| 15_000 + 16 * i as i32).collect();
    let looks =
        [(0.045, 0.01, 0.03), (0.035, -0.005, 0.06), (0.30, 0.08, -0.10), (0.15, 0.02, 0.09), (0.07, 0.01, 0.10)];
    let mut state = 1_u64;
    let mut noise = || {
        // Sum of four uniform numbers: near enough to normal.
        let mut sum = 0.0;
        for _ in 0..4 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            sum += (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5;
        }
        sum
    };
    let values = looks
        .iter()
        .map(|(mean, season, change)| {
            let value = |(i, day): (usize, &i32)| {
                let summer = (std::f64::consts::TAU * f64::from(*day) / 365.25).cos();
                let lost = if i >= cut { *change } else { 0.0 };
                mean + season * summer + lost + 0.05 * mean * noise()
            };
            days.iter().enumerate().map(value).collect()
        })
        .collect();
    Series { name: "forest".into(), params: Params::default(), days, values, expected: vec![] }
}

#[test]
fn a_cut_is_dated_and_measured() {
    let series = forest(160, 90);
    let breaks = series.breaks();
    let [found] = breaks.as_slice() else { panic!("{breaks:?}") };
    assert_eq!((found.before, found.after, found.detected), (89, 90, 95));
    assert_eq!(found.break_day, f64::from(series.days[90]));
    assert!(found.probability > 0.99, "{found:?}");
    // NBR from the means: (0.30 - 0.07) / 0.37 before; (0.20 - 0.17) / 0.37 after, up to the season.
    assert!((-0.70..-0.45).contains(&found.magnitude), "{found:?}");
    // The same change in a band of its own.
    let nir = Series { params: Params { index: "nir".into(), ..Params::default() }, ..forest(160, 90) };
    assert!((nir.breaks()[0].magnitude + 0.10).abs() < 0.02, "{:?}", nir.breaks());
    // Growth back is a gain.
    let mut back = forest(160, 90);
    for band in &mut back.values {
        band.reverse();
    }
    assert!(back.breaks()[0].magnitude > 0.3, "{:?}", back.breaks());
    assert!(forest(160, 160).breaks().is_empty(), "a forest that stands");
}

/// Cloud, whether NaN, infinite or out of range in one band or in all, is as if the date were not there.
#[test]
fn what_is_not_clear_changes_nothing() {
    let plain = forest(160, 90);
    let expected = plain.breaks();
    // Dates of their own and dates that are there already, these before the good ones.
    let mut rows: Vec<(i32, Vec<f64>)> = [150, 120, 95, 91, 90, 89, 40, 3, 0]
        .into_iter()
        .enumerate()
        .map(|(k, at)| {
            let bad = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, 1.0, -0.01][k % 6];
            let bands = (0..5).map(|b| if k % 2 == 0 || b == k % 5 { bad } else { 0.2 }).collect();
            (plain.days[at] + (k % 3) as i32 / 2, bands)
        })
        .collect();
    rows.extend(plain.days.iter().enumerate().map(|(i, d)| (*d, plain.values.iter().map(|b| b[i]).collect())));
    rows.sort_by_key(|r| r.0);
    let days = rows.iter().map(|r| r.0).collect();
    let values = (0..5).map(|b| rows.iter().map(|r| r.1[b]).collect()).collect();
    let cloudy = Series { days, values, ..plain };
    let found = cloudy.breaks();
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(&expected) {
        assert_eq!(
            (a.break_day, a.magnitude.to_bits(), a.probability.to_bits()),
            (b.break_day, b.magnitude.to_bits(), b.probability.to_bits())
        );
        assert_eq!(cloudy.days[a.before], forest(160, 90).days[b.before]);
    }
}

/// What the buffers held before does not matter.
#[test]
fn pixels_do_not_disturb_each_other() {
    let all = [forest(160, 90), forest(160, 160), forest(160, 60)];
    let model = Model::new(&Params::default(), &all[0].days).unwrap();
    let (mut scratch, mut out) = (Scratch::default(), vec![]);
    for series in all.iter().chain(all.iter().rev()) {
        model.detect(&series.slices(), &mut scratch, &mut out).unwrap();
        assert_eq!(out, series.breaks(), "a fresh buffer");
    }
}

/// Through a stack, with a pixel that cannot be judged.
#[test]
fn a_stack_gives_one_verdict_a_pixel() {
    let all = [forest(160, 90), forest(160, 160), forest(160, 60)];
    let params = Params::default();
    let layers: Vec<String> = params.wants().iter().map(Want::name).collect();
    assert_eq!(layers, ["green", "red", "nir", "swir1", "swir2"]);
    let mut values = ndarray::Array3::from_elem((5, 4, 160), f64::NAN);
    for (pixel, series) in all.iter().enumerate() {
        for band in 0..5 {
            let row = ndarray::ArrayView1::from(&series.values[band]);
            values.slice_mut(ndarray::s![band, pixel, ..]).assign(&row);
        }
    }
    let stack = PixelStack { days: all[0].days.clone(), layers, values, first_look: 0, area_ha: 1.0 };
    let judge = Method::Ccdc(params).prepare(&stack.days).unwrap();
    let (verdicts, states) = judge.pixels(&stack, 0, &[]).unwrap();
    assert!(states.is_none());
    assert_eq!(verdicts.len(), 4);
    for (verdict, series) in verdicts.iter().zip(&all) {
        assert_eq!((&verdict.breaks, verdict.unjudged), (&series.breaks(), None));
        assert_eq!(verdict.magnitude.is_nan(), verdict.breaks.is_empty());
    }
    assert_eq!(verdicts[3].unjudged, Some(Unjudged::TooFewObservations));
}

#[test]
fn green_far_above_its_median_is_left_out() {
    let mut series = forest(160, 160);
    // Haze on every ninth date, of one strength: too common for the T-mask to be certain of.
    for band in &mut series.values {
        for value in band.iter_mut().step_by(9) {
            *value += 0.06;
        }
    }
    let count = |s: &Series| s.segments().iter().map(|s| s.observations).sum::<usize>();
    let all = count(&series);
    series.params.green_above_median = Some(0.04);
    let found = series.segments();
    assert_eq!(found.len(), 1);
    // 18 hazy dates go; the last five are never taken in.
    assert_eq!(found[0].observations, 160 - 18 - 5, "{all}");
}

#[test]
fn what_cannot_be_judged_has_a_reason() {
    let judge = |change: &dyn Fn(&mut Series)| {
        let mut series = forest(60, 60);
        change(&mut series);
        let model = Model::new(&series.params, &series.days).unwrap();
        let mut out =
            vec![PixelBreak { before: 0, after: 0, detected: 0, magnitude: 0.0, probability: 0.0, break_day: 0.0 }];
        let verdict = model.detect(&series.slices(), &mut Scratch::default(), &mut out);
        assert!(out.is_empty(), "cleared first");
        verdict
    };
    let cut = |n: usize| {
        move |s: &mut Series| {
            s.days.truncate(n);
            s.values.iter_mut().for_each(|b| b.truncate(n));
        }
    };
    assert_eq!(judge(&|_| ()), Ok(()));
    assert_eq!(judge(&cut(0)), Err(Unjudged::TooFewObservations));
    assert_eq!(judge(&cut(12)), Err(Unjudged::TooFewObservations));
    // 20 dates in 304 days.
    assert_eq!(judge(&cut(20)), Err(Unjudged::SingularDesign));
    assert_eq!(judge(&|s| s.days.fill(15_000)), Err(Unjudged::SingularDesign));
    assert_eq!(judge(&|s| s.values[3].fill(0.2)), Err(Unjudged::ConstantHistory));
    assert_eq!(judge(&|s| s.values.iter_mut().for_each(|b| b.fill(0.2))), Err(Unjudged::ConstantHistory));
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, 1.0] {
        assert_eq!(judge(&|s| s.values[2].fill(bad)), Err(Unjudged::TooFewObservations), "{bad}");
    }
    assert_eq!(judge(&|s| s.values[2].truncate(59)), Err(Unjudged::TooFewObservations));
    assert_eq!(judge(&|s| s.values.truncate(4)), Err(Unjudged::TooFewObservations));
    // A steep fall from first to last: no window is stable.
    let falling = |s: &mut Series| {
        for (i, v) in s.values[2].iter_mut().enumerate() {
            *v = 0.9 - 0.012 * i as f64;
        }
    };
    assert_eq!(judge(&falling), Err(Unjudged::NoStableHistory));
}
