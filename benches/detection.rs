//! What the change methods find and what they invent: undisturbed parcels of 0.5 to 30 ha give the false alarms a parcel and
//! year, planted losses of 0.05 to 5 ha, in parcels of a few times their size and in parcels of 30 ha, the share found, and how
//! far dates and areas are off.
//!
//! `cargo bench --bench detection -- --parcels 150 --losses 60 --seed 1 --peers 0`
//!
//! The simulated parcels are hard on purpose. NDVI of evergreen, deciduous and mixed forest with a steep spring and autumn
//! that shift by some days from year to year; good and bad years; haze; clouds as discs whose thin edges of 100 m the mask
//! misses; shadows of clouds; winters with snow whose mask is at 20 m and so misses half of its edge; noise of 3 % in each
//! band. Losses are clear-cuts, fires, thinnings and slow declines with regrowth, with a wavy outline through pixels.
//! Images are every ten days from 2019-01-01, 180 of them; monitoring begins after two years and a half, losses at the latest
//! a year before the end.

mod common;

use std::f64::consts::TAU;

use common::{Random, arguments, median};
use lintan::detect::events::{Event, EventRule, FalseAlarms, Place, events};
use lintan::detect::{Method, PixelStack, Verdict, bfast_monitor, monitor};
use ndarray::Array3;

/// 2019-01-01.
const FIRST_DAY: i32 = 17_897;
const STEP_DAYS: i32 = 10;
const DATES: usize = 180;
const MONITOR_START: &str = "2021-07-01";
/// Metres of a pixel, and its parts when it is cut by an outline.
const PIXEL_M: f64 = 10.0;
const PARTS: usize = 8;
const HA_PER_PIXEL: f64 = PIXEL_M * PIXEL_M / 1e4;
/// Areas of undisturbed parcels, hectares.
const PARCELS_HA: [f64; 4] = [0.5, 2.0, 8.0, 30.0];
/// Areas of losses and of the parcels they lie in, hectares; without one, a parcel of 1.5 to 6 times the loss.
const LOSSES_HA: [(f64, Option<f64>); 11] = [
    (0.05, None),
    (0.1, None),
    (0.2, None),
    (0.5, None),
    (1.0, None),
    (2.0, None),
    (5.0, None),
    (0.2, Some(30.0)),
    (0.5, Some(30.0)),
    (1.0, Some(30.0)),
    (5.0, Some(30.0)),
];
/// What is left of NDVI and of the near infrared after a clear-cut, a fire, a thinning, a slow decline.
const KINDS: [(f64, f64); 4] = [(0.22, 0.72), (0.12, 0.45), (0.55, 0.88), (0.40, 0.80)];

/// A method and its name.
fn methods(peers: bool) -> Vec<(&'static str, Method)> {
    let start = MONITOR_START.parse().expect("a date");
    let monitor = monitor::Params { monitor_start: Some(start), ..monitor::Params::new("ndvi") };
    let bfast = bfast_monitor::Params { order: 2, ..bfast_monitor::Params::new("ndvi", start) };
    let strict = bfast_monitor::Params { level: 0.001, ..bfast.clone() };
    let mut all = vec![("monitor", Method::Monitor(monitor))];
    if peers {
        all.push(("bfast_monitor 0.05", Method::BfastMonitor(bfast)));
        all.push(("bfast_monitor 0.001", Method::BfastMonitor(strict)));
    }
    all
}

/// A wavy disc.
struct Blob {
    x: f64,
    y: f64,
    radius: f64,
    waves: Vec<(f64, f64, f64)>,
}

impl Blob {
    fn new(random: &mut Random, (x, y): (f64, f64), area_m2: f64) -> Blob {
        let waves = (2..6).map(|k| (f64::from(k), random.uniform(0.0, 0.3 / f64::from(k)), random.uniform(0.0, TAU)));
        let mut blob = Blob { x, y, radius: 1.0, waves: waves.collect() };
        let steps = 720;
        let unit: f64 = (0..steps).map(|i| blob.reach(TAU * f64::from(i) / f64::from(steps)).powi(2)).sum::<f64>()
            * TAU
            / f64::from(2 * steps);
        blob.radius = (area_m2 / unit).sqrt();
        blob
    }

    fn reach(&self, angle: f64) -> f64 {
        self.radius
            * (1.0 + self.waves.iter().map(|(k, height, phase)| height * (k * angle + phase).cos()).sum::<f64>())
    }

    fn holds(&self, x: f64, y: f64) -> bool {
        let (dx, dy) = (x - self.x, y - self.y);
        dx.hypot(dy) <= self.reach(dy.atan2(dx))
    }

    /// Share of a pixel within.
    fn share(&self, row: usize, col: usize) -> f64 {
        let at = |i: usize, part: usize| PIXEL_M * (i as f64 + (part as f64 + 0.5) / PARTS as f64);
        let parts = (0..PARTS * PARTS).filter(|p| self.holds(at(col, p % PARTS), at(row, p / PARTS)));
        parts.count() as f64 / (PARTS * PARTS) as f64
    }
}

/// Smooth noise: a sum of waves in all directions, variance about 1.
struct Field(Vec<(f64, f64, f64)>);

impl Field {
    fn new(random: &mut Random, scale_m: f64) -> Field {
        Field((0..12).map(|_| wave(random, scale_m)).collect())
    }

    fn at(&self, x: f64, y: f64) -> f64 {
        self.0.iter().map(|(kx, ky, phase)| (kx * x + ky * y + phase).sin()).sum::<f64>() * (2.0 / 12.0f64).sqrt()
    }
}

fn wave(random: &mut Random, scale_m: f64) -> (f64, f64, f64) {
    let (angle, length) = (random.uniform(0.0, TAU), scale_m * random.uniform(0.7, 2.0));
    (TAU / length * angle.cos(), TAU / length * angle.sin(), random.uniform(0.0, TAU))
}

/// A loss that was planted.
struct Loss {
    day: i32,
    /// Within the parcel.
    area_ha: f64,
}

/// A parcel and its series.
struct Scene {
    places: Vec<Place>,
    stack: PixelStack,
    loss: Option<Loss>,
}

fn simulate(random: &mut Random, parcel_ha: f64, loss_ha: Option<f64>) -> Scene {
    let half = 1.5 * (parcel_ha * 1e4 / TAU * 2.0).sqrt();
    let side = (2.0 * half / PIXEL_M) as usize + 2;
    let middle = 0.5 * side as f64 * PIXEL_M;
    let parcel = Blob::new(random, (middle, middle), parcel_ha * 1e4);
    let days: Vec<i32> = (0..DATES).map(|i| FIRST_DAY + STEP_DAYS * i as i32).collect();
    let mut places = Vec::new();
    for row in 0..side {
        for col in 0..side {
            let weight = parcel.share(row, col);
            if weight > 0.0 {
                places.push(Place { row: row as u32, col: col as u32, weight });
            }
        }
    }
    let (first, last) = (FIRST_DAY + 912, days[DATES - 1] - 365);
    let day = random.uniform(f64::from(first + 1), f64::from(last)) as i32;
    let (kind, severity) = (random.uniform(0.0, 4.0) as usize, random.uniform(0.5, 1.0));
    let spot = |random: &mut Random| middle + random.uniform(-0.25, 0.25) * half;
    let centre = (spot(random), spot(random));
    let blob = loss_ha.map(|ha| Blob::new(random, centre, ha * 1e4));
    let lost: Vec<f64> = match &blob {
        Some(b) => places.iter().map(|p| b.share(p.row as usize, p.col as usize)).collect(),
        None => vec![0.0; places.len()],
    };
    // What a pixel is of.
    let (evergreen, texture, shift) = (random.uniform(-0.2, 1.2), Field::new(random, 90.0), Field::new(random, 1500.0));
    let mixture = Field::new(random, 400.0);
    let years: Vec<(f64, f64)> = (0..8).map(|_| (4.0 * random.normal(), 0.015 * random.normal())).collect();
    let metre = |p: &Place| ((f64::from(p.col) + 0.5) * PIXEL_M, (f64::from(p.row) + 0.5) * PIXEL_M);
    let trees: Vec<(f64, f64)> = places
        .iter()
        .map(|p| {
            let (x, y) = metre(p);
            ((evergreen + 0.15 * mixture.at(x, y)).clamp(0.0, 1.0), texture.at(x, y))
        })
        .collect();
    let mut values = Array3::from_elem((1, places.len(), DATES), f64::NAN);
    for (t, today) in days.iter().enumerate() {
        let since_new_year = f64::from(*today - FIRST_DAY);
        let (year, doy) = ((since_new_year / 365.25) as usize, since_new_year.rem_euclid(365.25));
        // Clouds: discs around, each with its shadow.
        let cover = random.uniform(0.0, 1.0).powf(0.7);
        let clouds: Vec<(f64, f64, f64)> = (0..(cover * 14.0) as usize)
            .map(|_| {
                let place = |random: &mut Random| middle + random.uniform(-2500.0, 2500.0);
                (place(random), place(random), random.uniform(200.0, 1300.0))
            })
            .collect();
        let away = random.uniform(0.0, 1.0) < 0.1;
        let haze = 0.006 * random.normal().abs();
        let winter = !(85.0..=325.0).contains(&doy);
        let snow_depth = if winter { random.uniform(0.2, 0.9) } else { 0.0 };
        let snowy = |x: f64, y: f64, e: f64, tex: f64| {
            winter && e < 0.55 && 0.25 * tex + 0.2 * shift.at(x, y) + snow_depth > 0.55
        };
        let f = if *today < day {
            0.0
        } else {
            let after = f64::from(*today - day) / 365.25;
            severity * if kind == 3 { (0.15 + 0.6 * after).min(1.0) } else { (-after / [6.0, 6.0, 3.0][kind]).exp() }
        };
        for (i, p) in places.iter().enumerate() {
            let (x, y) = metre(p);
            let edge = clouds.iter().map(|(cx, cy, r)| (x - cx).hypot(y - cy) - r).fold(f64::MAX, f64::min);
            let shade = clouds.iter().any(|(cx, cy, r)| (x - cx - 170.0).hypot(y - cy + 170.0) < r - 20.0);
            let (e, tex) = trees[i];
            // The mask is that of the 20 m cell's first pixel.
            let (fx, fy) = (x - f64::from(p.col % 2) * PIXEL_M, y - f64::from(p.row % 2) * PIXEL_M);
            let (noise_red, noise_nir) = (random.normal(), random.normal());
            if away || edge < 0.0 || shade || snowy(fx, fy, e, tex) {
                continue;
            }
            let (days_late, good) = years[year.min(7)];
            let turn = |middle: f64, width: f64| {
                1.0 / (1.0 + (-(doy - middle - days_late - 2.0 * shift.at(x, y)) / width).exp())
            };
            let leaf = turn(128.0, 9.0) - turn(277.0, 10.0);
            let mut ndvi = 0.36 + 0.29 * e + (0.52 - 0.33 * e + good) * leaf + 0.025 * tex;
            let mut nir = 0.185 + 0.03 * e + (0.17 - 0.09 * e) * leaf + 0.018 * tex;
            let mix = f * lost[i];
            let (target, darker) = KINDS[kind];
            ndvi = ndvi * (1.0 - mix) + target.min(ndvi) * mix;
            nir *= 1.0 - mix * (1.0 - darker);
            let mut red = nir * (1.0 - ndvi) / (1.0 + ndvi);
            if snowy(x, y, e, tex) {
                (red, nir) = (0.55, 0.50);
            }
            let thin = 0.05 * (1.0 - edge / 100.0).max(0.0);
            red = (red + haze + thin) * (1.0 + 0.03 * noise_red);
            nir = (nir + 0.6 * haze + 0.8 * thin) * (1.0 + 0.03 * noise_nir);
            values[[0, i, t]] = (nir - red) / (nir + red);
        }
    }
    let area_ha = places.iter().zip(&lost).map(|(p, l)| p.weight.min(*l)).sum::<f64>() * HA_PER_PIXEL;
    let loss = blob.map(|_| Loss { day, area_ha });
    let whole_ha = places.iter().map(|p| p.weight).sum::<f64>() * HA_PER_PIXEL;
    let stack = PixelStack { days, layers: vec!["ndvi".to_owned()], values, first_look: 0, area_ha: whole_ha };
    Scene { places, stack, loss }
}

fn judge(method: &Method, scene: &Scene) -> Vec<Event> {
    let judge = method.prepare(&scene.stack.days).expect("settings");
    let (verdicts, _): (Vec<Verdict>, _) = judge.pixels(&scene.stack, 0, &[]).expect("from nothing");
    // One rule for all, so that they can be compared.
    let rule = EventRule::default();
    events(&scene.places, &verdicts, &scene.stack.days, &rule, monitor::MIN_PATCH_HA, HA_PER_PIXEL)
}

/// How one planted loss came out.
struct Hit {
    inside: bool,
    width_days: f64,
    off_days: f64,
    delay_days: f64,
    area_ratio: f64,
    area_inside: bool,
}

fn hit(scene: &Scene, loss: &Loss, found: &[Event]) -> Option<Hit> {
    let days = &scene.stack.days;
    let told = found.iter().filter(|e| days[e.detected] >= loss.day);
    let event = told.max_by(|a, b| a.pixels.total_cmp(&b.pixels))?;
    let (lower, upper) = (days[event.before], days[event.after]);
    let area_ha = event.pixels * HA_PER_PIXEL;
    let reach = 1.644_853_6 * event.pixels_se.unwrap_or(0.0) * HA_PER_PIXEL;
    Some(Hit {
        inside: lower < loss.day && loss.day <= upper,
        width_days: f64::from(upper - lower),
        off_days: 0.5 * f64::from(lower + upper) - f64::from(loss.day),
        delay_days: f64::from(days[event.detected] - loss.day),
        area_ratio: area_ha / loss.area_ha,
        area_inside: (area_ha - loss.area_ha).abs() <= reach,
    })
}

fn main() {
    let given = arguments([("parcels", 150), ("losses", 60), ("seed", 1), ("peers", 0)]);
    let (parcels, losses, seed) = (given["parcels"], given["losses"], given["seed"] as u64);
    let methods = methods(given["peers"] > 0);
    println!("undisturbed parcels: false alarms a parcel and year (events / parcel years; 95 % upper end)");
    let mut total = vec![FalseAlarms::default(); methods.len()];
    for (class, ha) in PARCELS_HA.iter().enumerate() {
        let mut alarms = vec![FalseAlarms::default(); methods.len()];
        for i in 0..parcels {
            let mut random = Random::new(seed << 32 | (class as u64) << 24 | i as u64);
            let scene = simulate(&mut random, *ha, None);
            let days = &scene.stack.days;
            let years = f64::from(days[DATES - 1] - (FIRST_DAY + 912)) / 365.25;
            for (k, (_, method)) in methods.iter().enumerate() {
                let found = judge(method, &scene);
                alarms[k].add(&found, years);
                total[k].add(&found, years);
            }
        }
        print_alarms(&format!("{ha} ha"), &methods, &alarms);
    }
    print_alarms("all", &methods, &total);
    println!("planted losses, {losses} of each size:");
    println!(
        "{:>20} {:>10} {:>6} {:>9} {:>8} {:>9} {:>9} {:>8} {:>8} {:>9}",
        "", "ha", "found", "date in", "days", "off days", "delay", "area", "10..90%", "area in90"
    );
    for (class, (ha, parcel)) in LOSSES_HA.iter().enumerate() {
        let what = parcel.map_or(ha.to_string(), |parcel| format!("{ha} in {parcel}"));
        let mut hits: Vec<Vec<Hit>> = methods.iter().map(|_| Vec::new()).collect();
        for i in 0..losses {
            let mut random = Random::new(seed << 32 | 1 << 31 | (class as u64) << 24 | i as u64);
            let parcel_ha = parcel.unwrap_or_else(|| (ha * random.uniform(1.5, 6.0)).max(1.0));
            let scene = simulate(&mut random, parcel_ha, Some(*ha));
            let loss = scene.loss.as_ref().expect("planted");
            for (k, (_, method)) in methods.iter().enumerate() {
                hits[k].extend(hit(&scene, loss, &judge(method, &scene)));
            }
        }
        for ((name, _), hits) in methods.iter().zip(&hits) {
            let n = hits.len().max(1) as f64;
            let of = |f: fn(&Hit) -> f64| hits.iter().map(f).collect::<Vec<_>>();
            let middle = |f| if hits.is_empty() { f64::NAN } else { median(of(f)) };
            let rank = |q: f64| {
                let mut v = of(|h| h.area_ratio);
                v.sort_by(f64::total_cmp);
                v.get(((v.len() as f64 - 1.0).max(0.0) * q) as usize).copied().unwrap_or(f64::NAN)
            };
            println!(
                "{name:>20} {what:>10} {:>6.3} {:>9.3} {:>8.0} {:>9.0} {:>9.0} {:>8.2} {:>4.2}-{:>4.2} {:>9.3}",
                hits.len() as f64 / losses.max(1) as f64,
                hits.iter().filter(|h| h.inside).count() as f64 / n,
                middle(|h| h.width_days),
                middle(|h| h.off_days),
                middle(|h| h.delay_days),
                middle(|h| h.area_ratio),
                rank(0.1),
                rank(0.9),
                hits.iter().filter(|h| h.area_inside).count() as f64 / n,
            );
        }
    }
}

fn print_alarms(what: &str, methods: &[(&str, Method)], alarms: &[FalseAlarms]) {
    for ((name, _), a) in methods.iter().zip(alarms) {
        println!(
            "{name:>20} {what:>8} {:>8.4} ({} / {:.0}; {:.4})",
            a.rate().unwrap_or(f64::NAN),
            a.events,
            a.parcel_years,
            a.rate_upper95().unwrap_or(f64::NAN)
        );
    }
}
