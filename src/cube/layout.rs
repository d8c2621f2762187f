//! How the rasters of one scene lie on one grid, and which indices they can give.
//!
//! The grid is that of the finest raster needed, and no finer than the user asked for. Coarser rasters of the scene must
//! nest in it: their pixels are replicated, never resampled. Sizes and positions come from the rasters themselves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Reason, SceneFault};
use crate::gdal_io::{self, Raster, SampleType};
use crate::geo::crs::Crs;
use crate::geo::grid::Grid;
use crate::imagery::sensor::MaskLayout;
use crate::imagery::{Asset, Band, Calibration, Layer, Scene, Stated};
use crate::index::{self, IndexSpec};

/// `[observe]` as far as it shapes the rasters to read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Wanted {
    /// Index names, in the order of the configuration.
    pub indices: Vec<String>,
    /// Pixel size for sensors that offer a choice, metres.
    pub pixel_m: u32,
    /// Bring sensors to a common bandpass.
    pub bandpass: Bandpasses,
    /// Bands to keep besides those that the indices need, where a scene has them.
    pub bands: Vec<Band>,
}

/// Adjustment of reflectance to a common bandpass, by the coefficients in the sensor files. Sensors without coefficients
/// of the set are the reference or are left as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Bandpass {
    /// Sentinel-2 to Landsat 8, by the coefficients of NASA's Harmonized Landsat Sentinel-2.
    #[serde(rename = "hls")]
    Hls,
    /// Landsat 5 and 7 to Landsat 8, by the reduced major axis regression of Roy et al. 2016.
    #[serde(rename = "roy2016-rma")]
    Roy2016Rma,
}

impl Bandpass {
    /// Name in the configuration and in the sensor files.
    pub fn name(self) -> &'static str {
        match self {
            Bandpass::Hls => "hls",
            Bandpass::Roy2016Rma => "roy2016-rma",
        }
    }

    /// Where it comes from.
    pub fn citation(self) -> &'static str {
        match self {
            Bandpass::Hls => "Claverie et al. 2018, Remote Sensing of Environment 219:145-161",
            Bandpass::Roy2016Rma => "Roy et al. 2016, Remote Sensing of Environment 185:57-70, Table 2",
        }
    }
}

/// The adjustments to be made: `"none"`, one, or a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BandpassText", into = "BandpassText")]
pub struct Bandpasses(Vec<Bandpass>);

/// What the configuration says.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum BandpassText {
    One(String),
    Several(Vec<String>),
}

impl TryFrom<BandpassText> for Bandpasses {
    type Error = String;

    fn try_from(text: BandpassText) -> Result<Self, String> {
        let names = match text {
            BandpassText::One(name) if name == "none" => Vec::new(),
            BandpassText::One(name) => vec![name],
            BandpassText::Several(names) => names,
        };
        let known = [Bandpass::Hls, Bandpass::Roy2016Rma];
        let parse = |name: &String| {
            let found = known.iter().find(|k| k.name() == name).copied();
            found.ok_or_else(|| format!("\"{name}\", expected \"none\", \"hls\", \"roy2016-rma\" or a list of these"))
        };
        let mut sets = names.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        sets.sort_unstable();
        sets.dedup();
        Ok(Bandpasses(sets))
    }
}

impl From<Bandpasses> for BandpassText {
    fn from(sets: Bandpasses) -> BandpassText {
        match sets.0.as_slice() {
            [] => BandpassText::One("none".into()),
            [one] => BandpassText::One(one.name().into()),
            more => BandpassText::Several(more.iter().map(|b| b.name().to_owned()).collect()),
        }
    }
}

impl Bandpasses {
    /// The adjustments, in a fixed order.
    pub fn sets(&self) -> &[Bandpass] {
        &self.0
    }

    /// Adjusts the calibration of a scene's bands.
    fn adjust(&self, scene: &Scene, values: &mut [LayerRaster]) -> Result<(), SceneFault> {
        for set in self.0.iter().map(|b| b.name()).filter(|set| scene.spec.bandpass.contains_key(*set)) {
            for raster in values.iter_mut() {
                let Layer::Band(band) = raster.layer else { continue };
                let Some(coefficients) = scene.spec.bandpass(set, &scene.sensor, band) else {
                    return Err(SceneFault::new(
                        Reason::UnknownCalibration,
                        format!(
                            "found {} of sensor {}, expected a band and sensor unit with {set} bandpass coefficients; take \
                             another index, or leave {set} out of `bandpass` under [observe]",
                            raster.asset.name, scene.sensor
                        ),
                    ));
                };
                raster.asset.calibration = raster.asset.calibration.then(coefficients);
            }
        }
        Ok(())
    }
}

/// One raster of the scene on the grid.
#[derive(Debug, Clone)]
pub struct LayerRaster {
    /// What it holds.
    pub layer: Layer,
    /// The file and its calibration.
    pub asset: Asset,
    /// How many grid pixels one raster pixel spans in each direction.
    pub ratio: u32,
    /// Raster size, (columns, rows).
    pub size: (usize, usize),
    /// Block size, (columns, rows).
    pub block: (usize, usize),
    /// Sample type.
    pub sample: SampleType,
    /// Size of a pixel, (x, y) metres.
    pub pixel_m: (f64, f64),
}

impl LayerRaster {
    /// The sample that stands where nothing was measured.
    pub fn filler(&self) -> f64 {
        self.asset.invalid_dn.first().copied().unwrap_or(0.0)
    }
}

/// Where an index comes from.
#[derive(Clone)]
pub enum Source {
    /// Computed from value layers, by position, in the order of the formula.
    Computed(&'static IndexSpec, Vec<usize>),
    /// A layer that is the index already.
    Given(usize),
}

/// The rasters of one scene on one grid.
#[derive(Clone)]
pub struct Layout {
    /// The grid.
    pub grid: Grid,
    /// Bands and given indices.
    pub values: Vec<LayerRaster>,
    /// Scene classes or quality bits.
    pub mask: Option<LayerRaster>,
    /// Saturation bits.
    pub saturation: Option<LayerRaster>,
    /// Indices that can be made, with where they come from.
    pub indices: Vec<(String, Source)>,
    /// Bands that were asked for and are there, with the value layer that holds each.
    pub bands: Vec<(Band, usize)>,
    /// Requested indices that cannot be made of this scene's bands, and bands that it lacks.
    pub missing: Vec<String>,
}

impl Layout {
    /// The value layer of a band that was asked for.
    pub fn band(&self, band: Band) -> Option<usize> {
        self.bands.iter().find(|(b, _)| *b == band).map(|(_, layer)| *layer)
    }
}

/// Lays out a scene.
///
/// # Errors
/// No index can be made, the mask is absent, a raster cannot be opened, or rasters do not nest.
pub fn lay_out(scene: &Scene, wanted: &Wanted) -> Result<Layout, SceneFault> {
    let choosable = !scene.spec.pixel_m.is_empty();
    // Where the choice goes by pixel size and the metadata does not state it, the rasters are asked.
    let unsized_asset = |a: &&mut Asset| a.pixel_m.is_none();
    let mut measured = scene.clone();
    if choosable {
        for asset in measured.assets.values_mut().flatten().filter(unsized_asset) {
            asset.pixel_m = Raster::open(&asset.path).ok().map(|r| r.grid().pixel_x_m);
        }
    }
    let scene = &measured;
    // Which layers each index needs; for the near infrared of the grid, both candidates.
    let mut needs: Vec<(String, Vec<Vec<Layer>>)> = Vec::new();
    let mut missing = Vec::new();
    for id in &wanted.indices {
        let given = Layer::Index(id.clone());
        let alternatives: Vec<Vec<Layer>> = if scene.assets.contains_key(&given) {
            vec![vec![given]]
        } else {
            let bands = index::by_id(id).map_or(&[][..], |spec| spec.bands);
            bands.iter().map(|b| candidates(*b, scene)).collect()
        };
        if alternatives.is_empty() || alternatives.iter().any(Vec::is_empty) {
            missing.push(id.clone());
        } else {
            needs.push((id.clone(), alternatives));
        }
    }
    if needs.is_empty() {
        let has: Vec<String> = scene.assets.keys().map(Layer::name).collect();
        return Err(SceneFault::new(
            Reason::MissingBands,
            format!(
                "found {}, expected the bands of at least one of the indices {}",
                has.join(", "),
                wanted.indices.join(", ")
            ),
        ));
    }
    // The grid is no finer than the finest raster that is needed: detail is never invented.
    let smallest = |layers: &[Layer]| {
        let sizes = layers.iter().filter_map(|l| scene.assets.get(l)).flatten().filter_map(|a| a.pixel_m);
        sizes.fold(f64::INFINITY, f64::min)
    };
    let finest = needs.iter().flat_map(|(_, n)| n).map(|n| smallest(n)).fold(f64::INFINITY, f64::min);
    let target_m =
        if choosable { f64::from(wanted.pixel_m).max(if finest.is_finite() { finest } else { 0.0 }) } else { 0.0 };

    let mut values: Vec<LayerRaster> = Vec::new();
    let mut grids: Vec<Grid> = Vec::new();
    let mut positions: BTreeMap<Layer, usize> = BTreeMap::new();
    // Position of a layer among the values; opened the first time.
    let mut keep = |layer: Layer, asset: Asset| -> Result<usize, SceneFault> {
        if let Some(position) = positions.get(&layer) {
            return Ok(*position);
        }
        let (raster, grid) = open(layer.clone(), asset)?;
        values.push(raster);
        grids.push(grid);
        positions.insert(layer, values.len() - 1);
        Ok(values.len() - 1)
    };
    let mut indices: Vec<(String, Vec<usize>)> = Vec::new();
    for (id, alternatives) in needs {
        let mut layers = Vec::new();
        for candidates in alternatives {
            let (layer, asset) = choose(scene, &candidates, target_m)?;
            layers.push(keep(layer, asset)?);
        }
        indices.push((id, layers));
    }
    let mut bands = Vec::new();
    for band in &wanted.bands {
        let Ok((layer, asset)) = choose(scene, &candidates(*band, scene), target_m) else {
            missing.push(Layer::Band(*band).name());
            continue;
        };
        bands.push((*band, keep(layer, asset)?));
    }
    let source = |id: &str, layers: Vec<usize>| match index::by_id(id) {
        Some(spec) if !matches!(values[layers[0]].layer, Layer::Index(_)) => Source::Computed(spec, layers),
        _ => Source::Given(layers[0]),
    };
    let mut indices: Vec<(String, Source)> = indices
        .into_iter()
        .map(|(id, layers)| {
            let source = source(&id, layers);
            (id, source)
        })
        .collect();
    // Layers in their own order, so that the order of the indices does not make other files.
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].layer.cmp(&values[*b].layer));
    let place = |old: usize| order.iter().position(|o| *o == old).unwrap_or(old);
    for (_, source) in &mut indices {
        match source {
            Source::Computed(_, layers) => layers.iter_mut().for_each(|l| *l = place(*l)),
            Source::Given(layer) => *layer = place(*layer),
        }
    }
    bands.iter_mut().for_each(|(_, layer)| *layer = place(*layer));
    let mut values: Vec<LayerRaster> = order.iter().map(|o| values[*o].clone()).collect();
    let grids: Vec<Grid> = order.iter().map(|o| grids[*o].clone()).collect();
    let base = grids
        .iter()
        .min_by(|a, b| a.pixel_x_m.total_cmp(&b.pixel_x_m))
        .cloned()
        .ok_or_else(|| SceneFault::new(Reason::MissingBands, "found no raster"))?;
    for (raster, grid) in values.iter_mut().zip(&grids) {
        raster.ratio = nest(grid, &base, &raster.asset)?;
    }

    if let Some(stated) = &scene.stated {
        compare_with_metadata(stated, &base)?;
    }
    let quality = |layer: Layer| -> Result<Option<LayerRaster>, SceneFault> {
        if !scene.assets.contains_key(&layer) {
            return Ok(None);
        }
        let (layer, asset) = choose(scene, &[layer], if choosable { base.pixel_x_m } else { 0.0 })?;
        let (mut raster, grid) = open(layer, asset)?;
        raster.ratio = nest(&grid, &base, &raster.asset)?;
        Ok(Some(raster))
    };
    let mask = quality(Layer::Mask)?;
    let computed = indices.iter().any(|(_, s)| matches!(s, Source::Computed(..)));
    let unmasked = computed || scene.spec.mask.layout == MaskLayout::Fmask;
    if mask.is_none() && unmasked && !scene.masked_by_provider {
        return Err(SceneFault::new(
            Reason::MissingMask,
            format!(
                "found no {} raster, expected one; without it nobody can tell forest from cloud",
                scene.spec.mask.keys.join(" or ").to_uppercase()
            ),
        ));
    }
    let saturation = quality(Layer::Saturation)?;
    wanted.bandpass.adjust(scene, &mut values)?;
    Ok(Layout { grid: base, values, mask, saturation, indices, bands, missing })
}

/// Layers of the scene that can serve as a band. The near infrared is whichever fits the grid.
pub(crate) fn candidates(band: Band, scene: &Scene) -> Vec<Layer> {
    let all: &[Band] = if band == Band::Nir { &[Band::Nir, Band::NirBroad] } else { &[band] };
    all.iter().map(|b| Layer::Band(*b)).filter(|l| scene.assets.contains_key(l)).collect()
}

/// The raster of the wanted pixel size, else the finest coarser one.
fn choose(scene: &Scene, layers: &[Layer], target_m: f64) -> Result<(Layer, Asset), SceneFault> {
    let options = layers.iter().flat_map(|l| scene.assets.get(l).into_iter().flatten().map(move |a| (l, a)));
    let size = |a: &Asset| a.pixel_m.unwrap_or(target_m);
    let usable = options.clone().filter(|(_, a)| size(a) >= target_m - 1e-6);
    match usable.min_by(|(_, a), (_, b)| size(a).total_cmp(&size(b))) {
        Some((layer, asset)) => Ok((layer.clone(), asset.clone())),
        None => {
            let found: Vec<String> = options.map(|(_, a)| format!("{} at {} m", a.name, size(a))).collect();
            Err(SceneFault::new(
                Reason::MissingBands,
                format!(
                    "found {}, expected {target_m} m or coarser; set `pixel_m` under [observe] to the finer size",
                    found.join(", ")
                ),
            ))
        }
    }
}

fn open(layer: Layer, mut asset: Asset) -> Result<(LayerRaster, Grid), SceneFault> {
    if asset.path.to_string_lossy().contains("://") && !gdal_io::is_remote(&asset.path) {
        return Err(SceneFault::new(
            Reason::Unsupported,
            format!(
                "asset {}: found {}, expected a local file; fetch it, or allow http, https and s3 by `remote = true` under \
                 [scenes]",
                asset.name,
                asset.path.to_string_lossy().split('?').next().unwrap_or_default()
            ),
        ));
    }
    let raster = Raster::open(&asset.path)?;
    if asset.packing_in_raster {
        take_packing(&mut asset, &layer, &raster)?;
    } else if matches!(layer, Layer::Index(_)) && asset.invalid_dn.is_empty() {
        asset.invalid_dn.extend(raster.packing().nodata);
    }
    let grid = raster.grid().clone();
    let size = (grid.cols as usize, grid.rows as usize);
    let layer = LayerRaster {
        layer,
        asset,
        ratio: 1,
        size,
        block: raster.block(),
        sample: raster.sample(),
        pixel_m: (grid.pixel_x_m, grid.pixel_y_m),
    };
    Ok((layer, grid))
}

/// Scale, offset and nodata as the raster itself states them.
fn take_packing(asset: &mut Asset, layer: &Layer, raster: &Raster) -> Result<(), SceneFault> {
    let packing = raster.packing();
    // An index without a stated offset has none; a band's offset is never assumed.
    let is_index = matches!(layer, Layer::Index(_));
    let (Some(scale), Some(offset)) = (packing.scale, packing.offset.or(is_index.then_some(0.0))) else {
        return Err(SceneFault::new(
            Reason::UnknownCalibration,
            format!(
                "{}: found {}, expected both in the raster's own tags; without them digital numbers mean nothing",
                asset.name,
                match (packing.scale, packing.offset) {
                    (None, None) => "neither scale_factor nor add_offset",
                    (None, _) => "no scale_factor",
                    _ => "no add_offset",
                }
            ),
        ));
    };
    asset.calibration = Calibration { pre: 0.0, scale, post: offset };
    if let Some(nodata) = packing.nodata {
        asset.invalid_dn.retain(|v| *v != nodata);
        asset.invalid_dn.insert(0, nodata);
    } else if asset.invalid_dn.is_empty() && !is_index {
        return Err(SceneFault::new(
            Reason::UnknownCalibration,
            format!("{}: found no nodata value, expected one in the raster's own tags", asset.name),
        ));
    }
    Ok(())
}

/// Refuses rasters that lie elsewhere than the metadata says. Sizes may differ (chips, previews): what counts is the
/// system, and a corner that is off by more than half of the extent.
fn compare_with_metadata(stated: &Stated, grid: &Grid) -> Result<(), SceneFault> {
    let refuse = |found: String, expected: String| {
        Err(SceneFault::new(
            Reason::BadMetadata,
            format!(
                "found rasters in {found}, expected {expected} as {} says; one of them belongs to another product, fetch it \
                 again",
                stated.file
            ),
        ))
    };
    // Landsat counts northings from the equator in both hemispheres; some copies are in the southern zone's system.
    let southern = |crs: &Crs| crs.0.strip_prefix("EPSG:326").map(|zone| Crs(format!("EPSG:327{zone}")));
    let mut shift = 0.0;
    if let Some(crs) = &stated.crs
        && !gdal_io::same_crs(crs, &grid.crs)
    {
        match southern(crs) {
            Some(south) if stated.origin.is_some_and(|o| o.1 <= 0.0) && gdal_io::same_crs(&south, &grid.crs) => {
                shift = 1e7;
            }
            _ => return refuse(grid.crs.0.clone(), crs.0.clone()),
        }
    }
    let Some((x, y)) = stated.origin.map(|(x, y)| (x, y + shift)) else { return Ok(()) };
    let [x_min, y_min, x_max, y_max] = grid.bounds();
    let (width, height) = stated.extent.unwrap_or((0.0, 0.0));
    let (half_x, half_y) = ((x_max - x_min).max(width) / 2.0, (y_max - y_min).max(height) / 2.0);
    if (x - x_min).abs() > half_x || (y - y_max).abs() > half_y {
        return refuse(format!("the upper left corner ({x_min}, {y_max})"), format!("({x}, {y})"));
    }
    Ok(())
}

fn nest(grid: &Grid, base: &Grid, asset: &Asset) -> Result<u32, SceneFault> {
    grid.nesting(base).ok_or_else(|| {
        let tell = |g: &Grid| {
            format!(
                "{} from ({}, {}), {} x {} pixels of {} x {}",
                g.crs.0, g.x_min, g.y_max, g.cols, g.rows, g.pixel_x_m, g.pixel_y_m
            )
        };
        SceneFault::new(
            Reason::MisalignedGrid,
            format!(
                "{}: found {}, expected a grid that nests in {}; rasters of one scene are never resampled",
                asset.name,
                tell(grid),
                tell(base)
            ),
        )
    })
}
