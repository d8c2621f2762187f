//! BFAST Monitor against R: published and stored results on real series, and R strucchange on simulated ones.

use std::fs;
use std::path::{Path, PathBuf};

use gdal::Dataset;
use jiff::civil::Date;
use lintan::detect::Unjudged;
use lintan::detect::bfast_monitor::{History, Model, Params, Scratch, Verdict};
use lintan::detect::harmonic::Axis;
use lintan::units::days as day_number;
use serde_json::Value;

/// A folder of the shared data, or nothing with a word about it.
fn shared(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    if !folder.is_dir() {
        println!("skipped: {} is not here", folder.display());
        return None;
    }
    Some(folder)
}

fn raster(path: &Path) -> Vec<f64> {
    let band = Dataset::open(path).unwrap();
    let band = band.rasterband(1).unwrap();
    band.read_band_as::<f64>().unwrap().data().to_vec()
}

/// Files of a folder that end so, by name; their names begin with a date.
fn dated(folder: &Path, ending: &str) -> Vec<(i32, PathBuf)> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap().path())
        .filter(|f| f.to_str().unwrap().ends_with(ending))
        .collect();
    files.sort();
    let day = |f: &Path| day_number(f.file_name().unwrap().to_str().unwrap()[..10].parse().unwrap());
    files.into_iter().map(|f| (day(&f), f)).collect()
}

fn judge(model: &Model, values: &[f64], scratch: &mut Scratch) -> Result<Verdict, Unjudged> {
    let mut state = model.start(values, scratch)?;
    model.advance(&mut state, 0, values);
    model.verdict(&state, scratch, &mut Vec::new())
}

fn close(a: f64, b: f64, relative: f64) -> bool {
    (a - b).abs() <= relative * b.abs()
}

/// Every pixel of a stack against rasters of break (decimal year, NaN: none) and magnitude. Returns the number of breaks.
/// `scale`: the reference magnitude of 1.
fn compare_rasters(
    params: &Params,
    days: &[i32],
    layers: &[Vec<f64>],
    (breaks, magnitudes, scale): (&[f64], &[f64], f64),
) -> usize {
    let model = Model::new(params, days).unwrap();
    let axis = Axis::calendar_365(days);
    let mut scratch = Scratch::default();
    let (mut found, mut unjudged, mut faults, mut largest) = (0, 0, Vec::new(), 0.0f64);
    for pixel in 0..breaks.len() {
        let values: Vec<f64> = layers.iter().map(|l| l[pixel]).collect();
        let Ok(verdict) = judge(&model, &values, &mut scratch) else {
            unjudged += 1;
            if !breaks[pixel].is_nan() || !magnitudes[pixel].is_nan() {
                faults.push((pixel, breaks[pixel], f64::NAN));
            }
            continue;
        };
        let (ours, theirs) = (verdict.found.map_or(f64::NAN, |b| axis.year(b.detected)), breaks[pixel]);
        if ours.is_nan() != theirs.is_nan() || (ours - theirs).abs() > 1e-6 {
            faults.push((pixel, theirs, ours));
        }
        if !close(scale * verdict.magnitude, magnitudes[pixel], 1e-6) {
            faults.push((pixel, magnitudes[pixel], scale * verdict.magnitude));
        }
        largest = largest.max((scale * verdict.magnitude / magnitudes[pixel] - 1.0).abs());
        found += usize::from(verdict.found.is_some());
    }
    println!("{} pixels, {found} breaks, {unjudged} not judged, magnitudes within {largest:.1e}", breaks.len());
    assert!(faults.is_empty(), "{} differ: {:?}", faults.len(), &faults[..faults.len().min(10)]);
    found
}

#[test]
fn every_pixel_of_the_published_tura_raster_is_equal() {
    let Some(folder) = shared("landsat_tura_ndvi") else { return };
    let files = dated(&folder.join("ndvi"), "_NDVI.tif");
    let days: Vec<i32> = files.iter().map(|(day, _)| *day).collect();
    let scaled = |v: f64| if v == -32768.0 { f64::NAN } else { v / 10_000.0 };
    let layers: Vec<Vec<f64>> = files.iter().map(|(_, f)| raster(f).into_iter().map(scaled).collect()).collect();
    let mut params = Params::new("ndvi", "2009-01-01".parse().unwrap());
    params.order = 1;
    let reference = folder.join("reference_bfastmonitor");
    let breaks = raster(&reference.join("published_start2009_breakpoint_decimal_year.tif"));
    let magnitudes = raster(&reference.join("published_start2009_magnitude_ndvi_x10000.tif"));
    assert_eq!(breaks.len(), 21_164);
    let found = compare_rasters(&params, &days, &layers, (&breaks, &magnitudes, 10_000.0));
    assert_eq!(found, 15_337);
}

#[test]
fn every_pixel_of_the_romania_reference_is_equal() {
    let Some(folder) = shared("s2_romania_nrt") else { return };
    let bands = folder.join("bands_20m");
    let scl = dated(&bands, "_SCL_20m.tif");
    let days: Vec<i32> = scl.iter().map(|(day, _)| *day).collect();
    let layers: Vec<Vec<f64>> = scl
        .iter()
        .map(|(_, file)| {
            let sibling =
                |band: &str| raster(Path::new(&file.to_str().unwrap().replace("_SCL_", &format!("_{band}_"))));
            let (class, nir, swir) = (raster(file), sibling("B8A"), sibling("B11"));
            let value = |i: usize| {
                let clear = [4.0, 5.0, 7.0].contains(&class[i]) && nir[i] > 0.0 && swir[i] > 0.0;
                // The reference was made from NDMI in single precision.
                if clear { f64::from(((nir[i] - swir[i]) / (nir[i] + swir[i])) as f32) } else { f64::NAN }
            };
            (0..class.len()).map(value).collect()
        })
        .collect();
    let mut params = Params::new("ndmi", "2019-01-01".parse().unwrap());
    params.order = 2;
    params.trend = false;
    params.history = History::All;
    let reference = folder.join("reference_bfastmonitor");
    let breaks = raster(&reference.join("ndmi20_start2019_breakpoint_decimal_year.tif"));
    let magnitudes = raster(&reference.join("ndmi20_start2019_magnitude.tif"));
    let found = compare_rasters(&params, &days, &layers, (&breaks, &magnitudes, 1.0));
    assert_eq!((breaks.len(), found), (2500, 802));
}

#[test]
fn modis_series_of_the_reference_package_are_equal() {
    let Some(folder) = shared("pixel_series/bfast_modis") else { return };
    let text = fs::read_to_string(folder.join("som.csv")).unwrap();
    let rows: Vec<Vec<f64>> =
        text.lines().skip(1).map(|l| l.split(',').map(|v| v.parse().unwrap_or(f64::NAN)).collect()).collect();
    let steps: Vec<i64> = rows.iter().map(|r| (r[0] * 23.0).round() as i64).collect();
    let days: Vec<i32> = rows.iter().map(|r| ((r[0] - 1970.0) * 365.25) as i32).collect();
    let axis = Axis::regular(steps.clone(), 23);
    let params = Params::new("ndvi", "2010-01-01".parse().unwrap());
    let reference = fs::read_to_string(folder.join("reference_bfastmonitor_som.txt")).unwrap();
    let mut compared = 0;
    let mut lines = reference.lines().peekable();
    while let Some(line) = lines.next() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [
            "series",
            series,
            "start",
            year,
            step,
            "breakpoint",
            expected,
            "magnitude",
            magnitude,
            "history",
            from,
            to,
        ] = words[..]
        else {
            continue;
        };
        let number = |s: &str| s.parse::<f64>().unwrap_or(f64::NAN);
        // Coefficients: lines of names and of numbers; the reference sorts them by name.
        let (mut names, mut numbers) = (Vec::new(), Vec::new());
        while let Some(more) = lines.next_if(|l| !l.starts_with("series")) {
            for word in more.split_whitespace() {
                match word.parse::<f64>() {
                    Ok(v) => numbers.push(v),
                    Err(_) => names.push(word),
                }
            }
        }
        let column = if series == "NDVI.b" { 1 } else { 2 };
        let values: Vec<f64> = rows.iter().map(|r| r[column]).collect();
        let start = number(year) as i64 * 23 + number(step) as i64 - 1;
        let model = Model::on_axis(&params, &axis, &days, None, start).unwrap();
        let mut scratch = Scratch::default();
        let mut state = model.start(&values, &mut scratch).unwrap();
        model.advance(&mut state, 0, &values);
        let verdict = model.verdict(&state, &mut scratch, &mut Vec::new()).unwrap();
        let ours = verdict.found.map_or(f64::NAN, |b| axis.year(b.detected));
        assert!(close(ours, number(expected), 1e-12) || (ours.is_nan() && number(expected).is_nan()), "{line}: {ours}");
        assert!(close(verdict.magnitude, number(magnitude), 1e-6), "{line}: {}", verdict.magnitude);
        assert!((axis.year(verdict.history_first) - number(from)).abs() < 1e-9, "{line}: history");
        assert!(axis.year(start as usize - steps[0] as usize - 1) - number(to) < 1e-9, "{line}: history");
        let coefficients = model.coefficients(&state);
        let (intercept, trend) = model.design().intercept_and_trend(coefficients);
        assert_eq!((names.len(), numbers.len()), (8, 8));
        for (name, theirs) in names.iter().zip(&numbers) {
            // The reference counts the trend in steps, from 1.
            let ours = match *name {
                "(Intercept)" => intercept - trend / 23.0,
                "trend" => trend / 23.0,
                "harmoncos1" => coefficients[2],
                "harmoncos2" => coefficients[3],
                "harmoncos3" => coefficients[4],
                "harmonsin1" => coefficients[5],
                "harmonsin2" => coefficients[6],
                "harmonsin3" => coefficients[7],
                other => panic!("{other}"),
            };
            assert!((ours - theirs).abs() < 1e-9, "{line}: {name} {ours} {theirs}");
        }
        compared += 1;
    }
    assert_eq!(compared, 4);
}

fn stored() -> (Value, Vec<i32>, Date) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/reference/bfast_monitor.json");
    let stored: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let days = stored["days"].as_array().unwrap().iter().map(|d| d.as_i64().unwrap() as i32).collect();
    let start = stored["monitor_start"].as_str().unwrap().parse().unwrap();
    (stored, days, start)
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap_or(f64::NAN)).collect()
}

/// Every tabulated setting in turn, on simulated series: R strucchange (scripts/make_reference_bfast_monitor.R).
#[test]
fn simulated_series_are_judged_as_strucchange_judges_them() {
    let (stored, days, start) = stored();
    let cases = stored["cases"].as_array().unwrap();
    let mut scratch = Scratch::default();
    let (mut breaks, mut cut, mut steps) = (0, 0, 0);
    for case in cases {
        let mut settings = case["settings"].clone();
        settings["index"] = "ndvi".into();
        settings["monitor_start"] = start.to_string().into();
        let params: Params = serde_json::from_value(settings).unwrap();
        let name = format!("{} {params:?}", case["series"]);
        let values = numbers(&stored["series"][case["series"].as_str().unwrap()]);
        let model = Model::new(&params, &days).unwrap();
        let mut state = model.start(&values, &mut scratch).unwrap();
        // The process, observation by observation.
        let expected = numbers(&case["process"]);
        let mut expected = expected.iter();
        let mut out = Vec::new();
        let mut verdict = None;
        for i in 0..values.len() {
            model.advance(&mut state, i, &values[..=i]);
            if days[i] >= day_number(start) && values[i].is_finite() {
                let now = model.verdict(&state, &mut scratch, &mut out).unwrap();
                let theirs = *expected.next().unwrap();
                // Relative to the border: the process itself passes through 0.
                assert!((now.process - theirs).abs() < 1e-8 * now.border, "{name} at {i}: {} {theirs}", now.process);
                verdict = Some(now);
                steps += 1;
            }
        }
        assert_eq!(expected.next(), None, "{name}");
        let verdict = verdict.unwrap();
        let number = |key: &str| case[key].as_f64().unwrap();
        assert_eq!(verdict.found.map(|b| b.detected as u64), case["detected"].as_u64(), "{name}");
        assert_eq!(
            (verdict.history_first as u64, verdict.history as u64),
            (number("history_first") as u64, number("history") as u64),
            "{name}"
        );
        assert!(close(verdict.sigma, number("sigma"), 1e-9), "{name}: sigma {}", verdict.sigma);
        assert!((verdict.magnitude - number("magnitude")).abs() < 1e-9, "{name}: magnitude {}", verdict.magnitude);
        breaks += usize::from(verdict.found.is_some());
        cut += usize::from(params.history == History::Roc && verdict.history_first > 5);
        for b in &out {
            assert!(
                b.before < b.after && b.after <= b.detected && (0.95..=0.999).contains(&b.probability),
                "{name}: {b:?}"
            );
        }
    }
    println!("{} cases, {breaks} breaks, {cut} histories cut, {steps} values of the process", cases.len());
    assert!(cases.len() > 100 && breaks > 50 && cut > 20);
}
