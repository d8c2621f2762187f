//! Everything that touches GDAL: opening rasters, decoding blocks, reading vector layers. The only file that names
//! `gdal::`. Paths are named in every message, since GDAL's own text for a missing file is empty.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Once;

use gdal::raster::{Buffer, GdalDataType, RasterCreationOptions};
use gdal::spatial_ref::{AxisMappingStrategy, SpatialRef};
use gdal::vector::{LayerAccess, LayerCaps, ToGdal};
use gdal::{Dataset, DatasetOptions, DriverManager, GdalOpenFlags, Metadata};
use geo::{Geometry, MultiPolygon};

use crate::error::{Error, Reason, SceneFault};
use crate::files::Staging;
use crate::geo::crs::Crs;
use crate::geo::grid::Grid;

static START: Once = Once::new();

thread_local! {
    /// Last message of GDAL's own error handler in this thread, for texts that its return values lack.
    static LAST_MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Sets the process up once: one thread inside GDAL (parallelism is ours), a small block cache (each block is decoded
/// once, so a large one only costs memory), no side files, messages into the log and not on the screen.
pub fn start(cache_mib: usize) {
    START.call_once(|| {
        let options = [
            ("GDAL_NUM_THREADS", "1"),
            ("OPJ_NUM_THREADS", "1"),
            ("GDAL_DISABLE_READDIR_ON_OPEN", "EMPTY_DIR"),
            ("GDAL_PAM_ENABLED", "NO"),
            ("OGR_GEOJSON_MAX_OBJ_SIZE", "0"),
            // Nothing is written beside an input; a server that does not answer must not hold a run up for ever.
            ("CPL_VSIL_GZIP_WRITE_PROPERTIES", "NO"),
            ("GDAL_HTTP_CONNECTTIMEOUT", "10"),
            ("GDAL_HTTP_TIMEOUT", "120"),
            ("GDAL_HTTP_MAX_RETRY", "2"),
            ("GDAL_HTTP_RETRY_DELAY", "1"),
        ];
        for (key, value) in options {
            if let Err(e) = gdal::config::set_config_option(key, value) {
                tracing::warn!("GDAL refuses the option {key}: {e}");
            }
        }
        let _ = gdal::config::set_config_option("GDAL_CACHEMAX", &format!("{cache_mib}MB"));
        gdal::config::set_error_handler(|class, number, message| {
            tracing::debug!(?class, number, message, "gdal");
            LAST_MESSAGE.with_borrow_mut(|last| message.clone_into(last));
        });
    });
}

/// Version of the GDAL this process runs on, `3.6.2`.
pub fn version() -> String {
    gdal::version::VersionInfo::release_name()
}

fn crs_of(srs: &SpatialRef) -> Result<Crs, String> {
    // GeoPackage's two placeholders for "nobody knows" come back as systems of these names.
    let name = srs.name().unwrap_or_default();
    if name.starts_with("Undefined") || srs.is_local() {
        return Err(format!("an undefined CRS (\"{name}\")"));
    }
    if let Ok(authority) = srs.authority() {
        return Ok(Crs(authority.to_uppercase()));
    }
    let mut identified = srs.clone();
    if identified.auto_identify_epsg().is_ok()
        && let Ok(authority) = identified.authority()
    {
        return Ok(Crs(authority.to_uppercase()));
    }
    srs.to_wkt().map(Crs).map_err(|e| format!("a CRS that GDAL cannot write down: {e}"))
}

/// How a raster's samples are held in memory and in the cube.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SampleType {
    /// 8- and 16-bit unsigned.
    U16,
    /// 16-bit signed.
    I16,
    /// Everything else, as 32-bit float.
    F32,
}

/// Sample types that a block can be decoded to.
pub trait Readable: Copy + Default + Send + From<u8> + gdal::raster::GdalType {}
impl Readable for u16 {}
impl Readable for i16 {}
impl Readable for f32 {}

/// How a file says its samples are packed; `None` where it says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Packing {
    /// Value of one digital number.
    pub scale: Option<f64>,
    /// Added to the scaled value.
    pub offset: Option<f64>,
    /// Digital number that means: nothing was measured.
    pub nodata: Option<f64>,
}

impl Packing {
    fn of(dataset: &Dataset) -> Packing {
        let number = |key: &str| tag(dataset, key).and_then(|v| v.parse::<f64>().ok());
        let band = dataset.rasterband(1).ok();
        // GDAL answers 1 and 0 where nothing is stated, so these two say nothing.
        let scale = band.as_ref().and_then(|b| b.scale()).filter(|s| *s != 1.0);
        let offset = band.as_ref().and_then(|b| b.offset()).filter(|o| *o != 0.0 || scale.is_some());
        Packing {
            scale: number("scale_factor").or(scale),
            offset: number("add_offset").or(offset),
            nodata: band.as_ref().and_then(|b| b.no_data_value()).or_else(|| number("_FillValue")),
        }
    }
}

fn tag(dataset: &Dataset, key: &str) -> Option<String> {
    dataset.metadata_item(key, "").map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
}

/// Items of a raster's own metadata, in the order of the keys; `None` where it has none of that name.
///
/// # Errors
/// The file cannot be opened.
pub fn tags<const N: usize>(path: &Path, keys: [&str; N]) -> Result<[Option<String>; N], SceneFault> {
    let dataset = Dataset::open_ex(path, raster_options()).map_err(|e| {
        let message = format!("{}: cannot be opened: {}", short_name(path), told_of(&e, path));
        SceneFault::new(Reason::UnreadableAsset, message)
    })?;
    Ok(keys.map(|key| tag(&dataset, key)))
}

/// True where two names mean one system.
pub fn same_crs(a: &Crs, b: &Crs) -> bool {
    let parse = |c: &Crs| SpatialRef::from_definition(&c.0).ok();
    a == b || matches!((parse(a), parse(b)), (Some(a), Some(b)) if a == b)
}

/// True for a path that GDAL fetches from a server.
pub fn is_remote(path: &Path) -> bool {
    path.starts_with("/vsicurl") || path.starts_with("/vsis3")
}

/// What a raster says of itself.
pub struct Raster {
    grid: Grid,
    block: (usize, usize),
    sample: SampleType,
    packing: Packing,
    metres: bool,
    unit: Option<String>,
}

impl Raster {
    /// Opens the first band of a north-up raster.
    ///
    /// # Errors
    /// The file is absent, unreadable, has no CRS or one without metres, or is rotated.
    pub fn open(path: &Path) -> Result<Raster, SceneFault> {
        let raster = Raster::open_in_any_crs(path)?;
        // Distances (dilation, pixel areas) are in metres everywhere.
        if !raster.metres {
            let (name, crs) = (short_name(path), &raster.grid.crs.0);
            return Err(SceneFault::new(
                Reason::Unsupported,
                format!("{name}: found the CRS {crs}, expected a projected CRS in metres; warp the scene to UTM"),
            ));
        }
        Ok(raster)
    }

    /// The same for a raster whose pixels need not be metres: the grid is in units of its CRS.
    ///
    /// # Errors
    /// The file is absent, unreadable, has no CRS, or is rotated.
    pub fn open_in_any_crs(path: &Path) -> Result<Raster, SceneFault> {
        let name = short_name(path);
        let unreadable = |what: String| SceneFault::new(Reason::UnreadableAsset, format!("{name}: {what}"));
        // Members of archives and remote files are GDAL's to find.
        if !path.starts_with("/vsizip") && !path.starts_with("/vsitar") && !is_remote(path) && !path.exists() {
            return Err(unreadable("the file does not exist".into()));
        }
        LAST_MESSAGE.with_borrow_mut(String::clear);
        let dataset = Dataset::open_ex(path, raster_options())
            .map_err(|e| unreadable(format!("cannot be opened: {}", told_of(&e, path))))?;
        let band = dataset.rasterband(1).map_err(|e| unreadable(format!("has no band: {}", told_of(&e, path))))?;
        let block = band.block_size();
        let sample = match band.band_type() {
            GdalDataType::UInt8 | GdalDataType::UInt16 => SampleType::U16,
            GdalDataType::Int16 => SampleType::I16,
            _ => SampleType::F32,
        };
        let t =
            dataset.geo_transform().map_err(|e| unreadable(format!("is not georeferenced: {}", told_of(&e, path))))?;
        if t[2] != 0.0 || t[4] != 0.0 || t[1] <= 0.0 || t[5] >= 0.0 {
            return Err(SceneFault::new(
                Reason::MisalignedGrid,
                format!("{name}: found a rotated or flipped raster (geotransform {t:?}), expected north-up"),
            ));
        }
        let srs = dataset.spatial_ref().map_err(|_| unreadable("has no CRS".into()))?;
        let crs = crs_of(&srs).map_err(|e| unreadable(format!("has {e}")))?;
        let metres = srs.is_projected() && (srs.linear_units() - 1.0).abs() <= 1e-9;
        let (cols, rows) = dataset.raster_size();
        let (Ok(cols), Ok(rows)) = (u32::try_from(cols), u32::try_from(rows)) else {
            return Err(unreadable(format!("is {cols} x {rows} pixels, too large")));
        };
        let grid = Grid { crs, x_min: t[0], y_max: t[3], pixel_x_m: t[1], pixel_y_m: -t[5], rows, cols };
        let packing = Packing::of(&dataset);
        let unit = Some(band.unit()).filter(|u| !u.trim().is_empty());
        Ok(Raster { grid, block, sample, packing, metres, unit })
    }

    /// CRS, geotransform and size, as the raster itself states them.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// How the file says its samples are packed.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// Unit of the values, where the file states one.
    pub fn unit(&self) -> Option<&str> {
        self.unit.as_deref()
    }

    /// Natural block size, (columns, rows).
    pub fn block(&self) -> (usize, usize) {
        self.block
    }

    /// In-memory type of the samples.
    pub fn sample(&self) -> SampleType {
        self.sample
    }
}

/// A raster opened for decoding blocks alone, by one thread: GDAL handles must not be shared. What [`Raster::open`] checked is not checked again.
pub struct Blocks {
    dataset: Dataset,
    path: PathBuf,
    block: (usize, usize),
    band_type: GdalDataType,
}

impl Blocks {
    /// Opens the first band.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path) -> Result<Blocks, SceneFault> {
        let unreadable = |e: gdal::errors::GdalError| {
            let message = format!("{}: cannot be opened: {}", short_name(path), told_of(&e, path));
            SceneFault::new(Reason::UnreadableAsset, message)
        };
        let dataset = Dataset::open_ex(path, raster_options()).map_err(unreadable)?;
        let band = dataset.rasterband(1).map_err(unreadable)?;
        let (block, band_type) = (band.block_size(), band.band_type());
        Ok(Blocks { dataset, path: path.to_path_buf(), block, band_type })
    }

    /// Decodes the block of a number, (column, row), of which `size` pixels (columns, rows) lie within the raster. `out` gets
    /// these, row by row. Goes past GDAL's block cache, since no block is read twice.
    ///
    /// # Errors
    /// The block cannot be decoded: a truncated or damaged file opens well and fails here.
    pub fn read<T: Readable>(
        &self,
        (col, row): (usize, usize),
        size: (usize, usize),
        out: &mut Vec<T>,
    ) -> Result<(), SceneFault> {
        self.decode((col, row), size, out).map_err(|e| {
            let message = format!(
                "{}: the block at column {}, row {} ({} x {}) cannot be decoded: {}; the file is truncated or damaged, fetch \
                 it again",
                short_name(&self.path),
                col * self.block.0,
                row * self.block.1,
                size.0,
                size.1,
                told_of(&e, &self.path)
            );
            SceneFault::new(Reason::UnreadableAsset, message)
        })
    }

    /// Decodes any window, for a look at a few pixels: (column, row) of its corner, (columns, rows).
    ///
    /// # Errors
    /// A block cannot be decoded.
    pub fn look<T: Readable>(
        &self,
        (col, row): (usize, usize),
        size: (usize, usize),
        out: &mut Vec<T>,
    ) -> Result<(), SceneFault> {
        out.resize(size.0 * size.1, T::default());
        let at = |n: usize| isize::try_from(n).unwrap_or(isize::MAX);
        let read = |band: gdal::raster::RasterBand| band.read_into_slice((at(col), at(row)), size, size, out, None);
        self.dataset.rasterband(1).and_then(read).map_err(|e| {
            let message = format!("{}: cannot be decoded: {}", short_name(&self.path), told_of(&e, &self.path));
            SceneFault::new(Reason::UnreadableAsset, message)
        })
    }

    fn decode<T: Readable>(
        &self,
        number: (usize, usize),
        size: (usize, usize),
        out: &mut Vec<T>,
    ) -> gdal::errors::Result<()> {
        let band = self.dataset.rasterband(1)?;
        if self.band_type as u32 == T::gdal_ordinal() {
            let block = band.read_block::<T>(number)?;
            if size == self.block {
                *out = block.into_shape_and_vec().1;
            } else {
                out.clear();
                block.data().chunks_exact(self.block.0).take(size.1).for_each(|l| out.extend_from_slice(&l[..size.0]));
            }
        } else if self.band_type == GdalDataType::UInt8 {
            let block = band.read_block::<u8>(number)?;
            out.clear();
            for line in block.data().chunks_exact(self.block.0).take(size.1) {
                out.extend(line[..size.0].iter().map(|v| T::from(*v)));
            }
        } else {
            // Another type: GDAL converts on the way through its cache.
            out.resize(size.0 * size.1, T::default());
            let at = |n: usize, block: usize| isize::try_from(n * block).unwrap_or(isize::MAX);
            let from = (at(number.0, self.block.0), at(number.1, self.block.1));
            band.read_into_slice(from, size, size, out, None)?;
        }
        Ok(())
    }
}

/// Elevations below and above these are none: codes for missing ground that nobody declared, or another unit, metres.
const ELEVATIONS_M: std::ops::RangeInclusive<f64> = -500.0..=9000.0;

/// A raster of elevations, for use by one thread.
pub struct Dem {
    dataset: Dataset,
    path: PathBuf,
    scale: f64,
    offset: f64,
}

impl Dem {
    /// Opens the first band of a raster in any CRS.
    ///
    /// # Errors
    /// The file is absent or unreadable, has no CRS, refers to other files, or states another unit than metres.
    pub fn open(path: &Path) -> Result<Dem, LayerFault> {
        const RASTER: &str = "a raster of elevations in metres, such as a GeoTIFF";
        let fault = |found: String, expected: &str, help: &str| LayerFault::new("observe.dem", found, expected, help);
        if !path.is_file() {
            return Err(fault("no such file".into(), RASTER, "correct `dem` under [observe]"));
        }
        LAST_MESSAGE.with_borrow_mut(String::clear);
        let unreadable = |e: gdal::errors::GdalError| {
            fault(format!("a file that cannot be read ({})", told(&e)), RASTER, "correct `dem` under [observe]")
        };
        let dataset = Dataset::open_ex(path, raster_options()).map_err(unreadable)?;
        // Its digest would say nothing of what it refers to.
        if dataset.driver().short_name() == "VRT" {
            let help = "join the pieces into one file (for example: gdal_translate dem.vrt dem.tif)";
            return Err(fault("a virtual raster, which only refers to other files".into(), RASTER, help));
        }
        let band = dataset.rasterband(1).map_err(unreadable)?;
        let unit = band.unit().trim().to_lowercase();
        if !["", "m", "metre", "metres", "meter", "meters"].contains(&unit.as_str()) {
            let help = "convert the elevations to metres (for example: gdal_calc.py)";
            return Err(fault(format!("elevations in \"{unit}\""), "metres", help));
        }
        if dataset.geo_transform().is_err() {
            let help = "write where it lies into the file (for example: gdal_translate -a_ullr)";
            return Err(fault("a raster that is not georeferenced".into(), RASTER, help));
        }
        let srs = dataset.spatial_ref().map_err(|_| "a raster without a CRS".to_owned());
        srs.and_then(|srs| crs_of(&srs)).map_err(|found| {
            let help = "write the CRS into the file (for example: gdal_translate -a_srs EPSG:4326 in.tif out.tif); it is never guessed";
            fault(found, "a coordinate reference system", help)
        })?;
        let packing = Packing::of(&dataset);
        let (scale, offset) = (packing.scale.unwrap_or(1.0), packing.offset.unwrap_or(0.0));
        Ok(Dem { dataset, path: path.to_path_buf(), scale, offset })
    }

    /// Elevations in metres on a grid, row by row; NaN where there is none. Bilinear, over as many pixels as the grid's are
    /// wide where those of the raster are finer; next to a hole or the edge, of those that are there.
    ///
    /// # Errors
    /// The raster cannot be decoded there, or holds what is no elevation.
    pub fn elevations_m(&self, grid: &Grid) -> Result<Vec<f64>, LayerFault> {
        let fault = |found: String, help: &str| LayerFault::new("observe.dem", found, "elevations in metres", help);
        let values = self.warp(grid).map_err(|e| {
            let place = format!("around ({}, {}) of {}", grid.x_min, grid.y_max, grid.crs.0);
            let found =
                format!("a raster that cannot be brought to the scenes' grid {place} ({})", told_of(&e, &self.path));
            fault(found, "the file is truncated or damaged, fetch it again")
        })?;
        let elevations: Vec<f64> = values.iter().map(|v| v * self.scale + self.offset).collect();
        match elevations.iter().find(|e| !e.is_nan() && !ELEVATIONS_M.contains(e)) {
            Some(strange) => {
                let help =
                    "declare the value that means: none (for example: gdal_edit.py -a_nodata), or convert to metres";
                Err(fault(format!("{strange}, which is no elevation"), help))
            }
            None => Ok(elevations),
        }
    }

    fn warp(&self, grid: &Grid) -> gdal::errors::Result<Vec<f64>> {
        let size = (grid.cols as usize, grid.rows as usize);
        let mut target =
            DriverManager::get_driver_by_name("MEM")?.create_with_band_type::<f64, _>("", size.0, size.1, 1)?;
        target.set_geo_transform(&[grid.x_min, grid.pixel_x_m, 0.0, grid.y_max, 0.0, -grid.pixel_y_m])?;
        let mut srs = SpatialRef::from_definition(&grid.crs.0)?;
        srs.set_axis_mapping_strategy(AxisMappingStrategy::TraditionalGisOrder);
        target.set_spatial_ref(&srs)?;
        let mut band = target.rasterband(1)?;
        band.set_no_data_value(Some(f64::NAN))?;
        band.write((0, 0), size, &mut Buffer::new(size, vec![f64::NAN; size.0 * size.1]))?;
        gdal::raster::reproject(&self.dataset, &target)?;
        Ok(target.rasterband(1)?.read_as::<f64>((0, 0), size, size, None)?.into_shape_and_vec().1)
    }
}

/// Size of the blocks of a raster that is written.
const COG_BLOCK: usize = 512;

/// Writes pixels into a Cloud Optimized GeoTIFF, `nodata` everywhere else. `pixels` are ((row, column), value), sorted; what
/// they mean goes into the band's description. Memory holds one row of blocks.
///
/// # Errors
/// The file system's or GDAL's answer.
pub fn write_cog<T: Copy + gdal::raster::GdalType + Into<f64>>(
    path: &Path,
    grid: &Grid,
    nodata: T,
    description: &str,
    pixels: impl Iterator<Item = ((usize, usize), T)>,
) -> Result<(), Error> {
    let failed = |e: gdal::errors::GdalError| Error::io("write", path)(std::io::Error::other(told_of(&e, path)));
    let staging = Staging::new(path)?;
    let plain = staging.beside("plain");
    let options = RasterCreationOptions::from_iter([
        "TILED=YES",
        &format!("BLOCKXSIZE={COG_BLOCK}"),
        &format!("BLOCKYSIZE={COG_BLOCK}"),
        "SPARSE_OK=TRUE",
        "BIGTIFF=IF_SAFER",
    ]);
    let (rows, cols) = (grid.rows as usize, grid.cols as usize);
    {
        let driver = DriverManager::get_driver_by_name("GTiff").map_err(failed)?;
        let mut dataset =
            driver.create_with_band_type_with_options::<T, _>(&plain, cols, rows, 1, &options).map_err(failed)?;
        let transform = [grid.x_min, grid.pixel_x_m, 0.0, grid.y_max, 0.0, -grid.pixel_y_m];
        dataset.set_geo_transform(&transform).map_err(failed)?;
        dataset.set_spatial_ref(&SpatialRef::from_definition(&grid.crs.0).map_err(failed)?).map_err(failed)?;
        let mut band = dataset.rasterband(1).map_err(failed)?;
        band.set_no_data_value(Some(nodata.into())).map_err(failed)?;
        band.set_description(description).map_err(failed)?;
        let mut pixels = pixels.peekable();
        let mut blocks: BTreeMap<usize, Vec<T>> = BTreeMap::new();
        while let Some(((first, _), _)) = pixels.peek() {
            let strip = first / COG_BLOCK;
            while let Some(((row, col), value)) = pixels.next_if(|((row, _), _)| row / COG_BLOCK == strip) {
                let block = blocks.entry(col / COG_BLOCK).or_insert_with(|| vec![nodata; COG_BLOCK * COG_BLOCK]);
                block[(row % COG_BLOCK) * COG_BLOCK + col % COG_BLOCK] = value;
            }
            for (number, block) in std::mem::take(&mut blocks) {
                let mut buffer = Buffer::new((COG_BLOCK, COG_BLOCK), block);
                band.write_block((number, strip), &mut buffer).map_err(failed)?;
            }
        }
        dataset.flush_cache().map_err(failed)?;
    }
    let options = RasterCreationOptions::from_iter([
        "COMPRESS=DEFLATE",
        "PREDICTOR=YES",
        &format!("BLOCKSIZE={COG_BLOCK}"),
        "RESAMPLING=NEAREST",
        "SPARSE_OK=TRUE",
        "BIGTIFF=IF_SAFER",
    ]);
    let dataset = Dataset::open_ex(&plain, raster_options()).map_err(failed)?;
    let driver = DriverManager::get_driver_by_name("COG").map_err(failed)?;
    dataset.create_copy(&driver, staging.aside(), &options).map_err(failed)?.close().map_err(failed)?;
    drop(dataset);
    staging.commit()
}

fn raster_options() -> DatasetOptions<'static> {
    DatasetOptions { open_flags: GdalOpenFlags::GDAL_OF_READONLY | GdalOpenFlags::GDAL_OF_RASTER, ..Default::default() }
}

/// The file's name alone: messages about scenes end up in tables, which must not depend on where a folder lies. What
/// follows a question mark in an address may be a key, and is left out.
fn short_name(path: &Path) -> String {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if is_remote(path) { name.split('?').next().unwrap_or_default().to_owned() } else { name }
}

/// GDAL's error, its own mention of the path shortened to the name.
fn told_of(e: &gdal::errors::GdalError, path: &Path) -> String {
    told(e).replace(&*path.to_string_lossy(), &short_name(path))
}

/// GDAL's error with the text of its handler where its own is empty.
fn told(e: &gdal::errors::GdalError) -> String {
    let text = match e {
        gdal::errors::GdalError::CplError { msg, .. } | gdal::errors::GdalError::NullPointer { msg, .. } => msg.clone(),
        other => other.to_string(),
    };
    if text.trim().is_empty() { LAST_MESSAGE.with_borrow(String::clone) } else { text }
}

/// One feature of a vector layer, its fields as text.
pub struct Feature<G = Outline> {
    /// Position in the layer, from 1, for messages.
    pub number: usize,
    /// Values of the fields asked for, in their order; `None` where the field is null.
    pub values: Vec<Option<String>>,
    /// Geometry, or why there is none.
    pub geometry: Result<G, String>,
}

/// A polygon as a layer has it: it may be invalid.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// In two dimensions, every ring closed, no empty part.
    pub polygon: MultiPolygon<f64>,
    /// Rings that the layer leaves open.
    pub unclosed: usize,
}

/// Why a layer cannot be read, in the terms of an input error.
#[derive(Debug)]
pub struct LayerFault {
    /// The part that is meant.
    pub what: String,
    /// What was found.
    pub found: String,
    /// What is expected.
    pub expected: String,
    /// What to do.
    pub help: String,
}

impl LayerFault {
    /// A fault in its four parts.
    pub fn new(what: &str, found: impl Into<String>, expected: impl Into<String>, help: &str) -> Self {
        LayerFault { what: what.to_owned(), found: found.into(), expected: expected.into(), help: help.to_owned() }
    }

    /// A layer that does not say where its coordinates are.
    pub fn without_crs(found: impl Into<String>) -> Self {
        let help =
            "write the CRS into the file (for example: ogr2ogr -a_srs EPSG:4490 out.gpkg in.gpkg); it is never guessed";
        LayerFault::new("CRS", found, "a coordinate reference system", help)
    }

    /// A mapped field that the layer does not have.
    pub fn without_field(ours: &str, theirs: &str, available: &[String]) -> Self {
        LayerFault::new(
            &format!("field for `{ours}`"),
            format!("no field `{theirs}`"),
            format!("one of: {}", available.join(", ")),
            &format!("correct `{ours}` under [parcels]"),
        )
    }
}

/// Reads a polygon layer: its CRS and, for each feature, the named fields and the geometry. `encoding` says how a
/// Shapefile's text is stored; without it GDAL's own rule holds.
///
/// # Errors
/// The file or layer is absent, the layer has no CRS or lacks a field, GDAL does not know the encoding.
pub fn read_layer(
    path: &Path,
    layer: Option<&str>,
    encoding: Option<&str>,
    fields: &[(&str, &str)],
) -> Result<(Crs, Vec<Feature>), LayerFault> {
    read_features(path, layer, encoding, fields, &[], outline_of)
}

/// CRS and features of a layer.
type Features<G> = (Crs, Vec<Feature<G>>);

/// Reads a layer of points, the only one of its file: its CRS and, for each feature, the named fields, then those that the
/// layer may lack (null where it does), and the point, x before y.
///
/// # Errors
/// As [`read_layer`].
pub fn read_points(path: &Path, fields: &[(&str, &str)], optional: &[&str]) -> Result<Features<[f64; 2]>, LayerFault> {
    read_features(path, None, None, fields, optional, point_of)
}

/// A point, x before y, or a polygon.
#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    /// A point.
    Point([f64; 2]),
    /// A polygon.
    Outline(Outline),
}

/// Reads a layer of points or polygons: its CRS and, for each feature, those of the fields that the layer has (null where it
/// does not), and its place.
///
/// # Errors
/// As [`read_layer`].
pub fn read_places(path: &Path, layer: Option<&str>, optional: &[&str]) -> Result<Features<Place>, LayerFault> {
    let place = |geometry: Option<&gdal::vector::Geometry>| match geometry.map(|g| g.geometry_name()) {
        Some(name) if name.contains("POINT") => point_of(geometry).map(Place::Point),
        _ => outline_of(geometry).map(Place::Outline),
    };
    read_features(path, layer, None, &[], optional, place)
}

fn read_features<G>(
    path: &Path,
    layer: Option<&str>,
    encoding: Option<&str>,
    fields: &[(&str, &str)],
    optional: &[&str],
    geometry_of: impl Fn(Option<&gdal::vector::Geometry>) -> Result<G, String>,
) -> Result<Features<G>, LayerFault> {
    let option = encoding.map(|e| format!("ENCODING={e}"));
    let open_options: Vec<&str> = option.as_deref().into_iter().collect();
    let options = DatasetOptions {
        open_flags: GdalOpenFlags::GDAL_OF_READONLY | GdalOpenFlags::GDAL_OF_VECTOR,
        open_options: Some(&open_options),
        ..Default::default()
    };
    let dataset = Dataset::open_ex(path, options).map_err(|e| {
        let found =
            if path.exists() { format!("a file that cannot be read ({})", told(&e)) } else { "no such file".into() };
        let expected = "a GeoPackage, GeoJSON, Shapefile (.shp), FlatGeobuf or GeoParquet file";
        let help = match path.extension().and_then(|e| e.to_str()).map(str::to_lowercase).as_deref() {
            Some("zip" | "rar" | "7z" | "gz" | "tar") => {
                "unpack the archive and give the file within as `path` under [parcels]"
            }
            _ => "correct `path` under [parcels]",
        };
        LayerFault::new("parcel layer", found, expected, help)
    })?;
    let names: Vec<String> = dataset.layers().map(|l| l.name()).collect();
    let listed = names.join(", ");
    let mut chosen = match layer {
        Some(name) => dataset.layer_by_name(name).map_err(|_| {
            let expected = format!("one of: {listed}");
            LayerFault::new("layer", format!("no layer `{name}`"), expected, "correct `layer` under [parcels]")
        })?,
        None if names.len() == 1 => {
            dataset.layer(0).map_err(|e| LayerFault::new("layer", told(&e), "a readable layer", ""))?
        }
        None => {
            let help = "name one with `layer = \"...\"` under [parcels]";
            return Err(LayerFault::new("layer", format!("{} layers ({listed})", names.len()), "one layer", help));
        }
    };
    if let Some(name) = encoding
        && !chosen.has_capability(LayerCaps::OLCStringsAsUTF8)
    {
        let found = format!("`{name}`, which this GDAL cannot decode");
        let help = "correct `encoding` under [parcels], or convert the layer to a GeoPackage";
        return Err(LayerFault::new("encoding", found, "a name such as GBK, GB18030 or UTF-8", help));
    }
    let srs = chosen.spatial_ref().ok_or_else(|| LayerFault::without_crs("a layer without a CRS"))?;
    let mut traditional = srs.clone();
    traditional.set_axis_mapping_strategy(AxisMappingStrategy::TraditionalGisOrder);
    let crs = crs_of(&traditional).map_err(LayerFault::without_crs)?;

    let defn = chosen.defn();
    let available: Vec<String> = defn.fields().map(|f| f.name()).collect();
    let mut positions = Vec::with_capacity(fields.len() + optional.len());
    for (ours, theirs) in fields {
        let position = available.iter().position(|name| name == theirs);
        positions.push(Some(position.ok_or_else(|| LayerFault::without_field(ours, theirs, &available))?));
    }
    positions.extend(optional.iter().map(|theirs| available.iter().position(|name| name == theirs)));
    let mut features = Vec::new();
    for (i, feature) in chosen.features().enumerate() {
        let values = positions
            .iter()
            .map(|p| match feature.field_as_string((*p)?) {
                Ok(Some(text)) if !text.trim().is_empty() => Some(text.trim().to_owned()),
                _ => None,
            })
            .collect();
        features.push(Feature { number: i + 1, values, geometry: geometry_of(feature.geometry()) });
    }
    // GDAL ends the list where a page of the file is damaged, and says so only in its log.
    let stated = chosen.feature_count();
    if stated != features.len() as u64 {
        let found = format!("{} features that can be read of {stated}", features.len());
        let help = "the file is damaged: restore it, or rebuild it (for example: ogr2ogr whole.gpkg damaged.gpkg)";
        return Err(LayerFault::new("parcel layer", found, "all of them", help));
    }
    Ok((crs, features))
}

/// The CRS that a text (WKT, PROJJSON, an authority code) defines.
///
/// # Errors
/// GDAL does not understand it.
pub fn crs_from_text(text: &str) -> Result<Crs, String> {
    let srs = SpatialRef::from_definition(text).map_err(|e| format!("a CRS that cannot be read ({})", told(&e)))?;
    crs_of(&srs)
}

/// The polygon in well-known binary.
///
/// # Errors
/// Why there is none.
pub fn outline_from_wkb(bytes: &[u8]) -> Result<Outline, String> {
    let geometry = gdal::vector::Geometry::from_wkb(bytes)
        .map_err(|e| format!("a geometry that cannot be read ({})", told(&e)))?;
    outline_of(Some(&geometry))
}

fn point_of(geometry: Option<&gdal::vector::Geometry>) -> Result<[f64; 2], String> {
    let geometry = geometry.filter(|g| !g.is_empty()).ok_or("no geometry")?;
    let mut flat = geometry.clone();
    flat.flatten_to_2d();
    let point = match flat.geometry_name().as_str() {
        "POINT" => flat.get_point(0),
        "MULTIPOINT" if flat.geometry_count() == 1 => flat.get_geometry(0).get_point(0),
        "MULTIPOINT" => return Err(format!("a MULTIPOINT of {} points, expected one", flat.geometry_count())),
        name => return Err(format!("a {name}, expected POINT")),
    };
    if point.0.is_finite() && point.1.is_finite() {
        Ok([point.0, point.1])
    } else {
        Err("coordinates that are not finite".into())
    }
}

fn outline_of(geometry: Option<&gdal::vector::Geometry>) -> Result<Outline, String> {
    let geometry = geometry.ok_or("no geometry")?;
    if geometry.is_empty() {
        return Err("an empty geometry".into());
    }
    let mut flat = geometry.clone();
    flat.flatten_to_2d();
    let mut outline = Outline { polygon: MultiPolygon(Vec::new()), unclosed: 0 };
    match flat.geometry_name().as_str() {
        "POLYGON" => outline.add(&flat)?,
        "MULTIPOLYGON" => {
            for i in 0..flat.geometry_count() {
                outline.add(&flat.get_geometry(i))?;
            }
        }
        name => return Err(format!("a {name}, expected POLYGON or MULTIPOLYGON")),
    }
    if !crate::geo::crs::all_finite(&outline.polygon) {
        return Err("coordinates that are not finite".into());
    }
    Ok(outline)
}

impl Outline {
    fn add(&mut self, part: &gdal::vector::Geometry) -> Result<(), String> {
        if part.is_empty() {
            return Ok(());
        }
        for i in 0..part.geometry_count() {
            let ring = part.get_geometry(i);
            let last = i32::try_from(ring.point_count()).unwrap_or(i32::MAX) - 1;
            self.unclosed += usize::from(last > 0 && ring.get_point(0) != ring.get_point(last));
        }
        match part.to_geo() {
            Ok(Geometry::Polygon(p)) => self.polygon.0.push(p),
            Ok(_) => return Err("a part that is no polygon".into()),
            Err(e) => return Err(format!("a polygon that cannot be read: {}", told(&e))),
        }
        Ok(())
    }
}

/// Judges a polygon by GEOS; the reason names the coordinates of the problem.
///
/// # Errors
/// Why it is invalid.
pub fn validity(polygon: &MultiPolygon<f64>) -> Result<(), String> {
    LAST_MESSAGE.with_borrow_mut(String::clear);
    match as_gdal(polygon) {
        Ok(g) if g.is_valid() => Ok(()),
        Ok(_) => {
            use geo::Validation;
            let told = LAST_MESSAGE.with_borrow(String::clone);
            let reason = polygon.check_validation().err().map(|e| e.to_string());
            Err(if told.contains(" at ") { told } else { reason.unwrap_or(told) })
        }
        Err(e) => Err(e),
    }
}

/// The polygons that GEOS makes of an invalid one, from the same lines; `None` where it makes none.
pub fn make_valid(polygon: &MultiPolygon<f64>) -> Option<MultiPolygon<f64>> {
    let made = as_gdal(polygon).ok()?.make_valid(&gdal::cpl::CslStringList::new()).ok()?.to_geo().ok()?;
    let mut parts = Vec::new();
    let mut open = vec![made];
    while let Some(geometry) = open.pop() {
        match geometry {
            Geometry::Polygon(p) => parts.push(p),
            Geometry::MultiPolygon(p) => parts.extend(p),
            // Lines and points are what is left of spikes.
            Geometry::GeometryCollection(c) => open.extend(c),
            _ => {}
        }
    }
    (!parts.is_empty()).then_some(MultiPolygon(parts))
}

/// A single part stays a Polygon: what went in comes out.
fn as_gdal(p: &MultiPolygon<f64>) -> Result<gdal::vector::Geometry, String> {
    match p.0.as_slice() {
        [single] => single.to_gdal(),
        _ => p.to_gdal(),
    }
    .map_err(|e| told(&e))
}

/// The polygon as well-known binary (little endian, two dimensions), as GeoParquet wants it.
///
/// # Errors
/// GDAL refuses the geometry.
pub fn wkb(p: &MultiPolygon<f64>) -> Result<Vec<u8>, String> {
    as_gdal(p)?.wkb().map_err(|e| told(&e))
}
