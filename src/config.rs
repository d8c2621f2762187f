//! The configuration file: TOML to checked settings, and errors that name file, line, key, what was found, what is expected
//! and what to do.
//!
//! Each algorithm owns its parameters; this file only puts them together and checks what concerns several of them. Unknown
//! keys are errors: a misspelt parameter must not pass silently for its default.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};

use crate::accuracy;
use crate::carbon::agb_map::AgbMap;
use crate::carbon::biomass::Tier1Cover;
use crate::carbon::deduction::Deduction;
use crate::carbon::index_model::IndexModel;
use crate::carbon::inventory::{self, Inventory};
use crate::carbon::layer::forest_type_notes;
use crate::carbon::{ParameterSet, Pool, agb_map, index_model, tier1_cover};
use crate::cube::layout::{Bandpass, Bandpasses};
use crate::detect::control::ControlRule;
use crate::detect::events::EventRule;
use crate::detect::{MapKind, Method, Want, bfast_monitor, ccdc, landtrendr, monitor, two_date};
use crate::digest::Sha256;
use crate::error::{ConfigError, Error, Result};
use crate::imagery::terrain::Correction;
use crate::imagery::{Band, catalog};
use crate::parcel::{Note, Parcel, Topic};
use crate::units::Estimate;
use crate::{index, parcel, series};

/// `[project]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// Short name, used for the default output folder.
    pub name: String,
}

/// `[observe]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Observe {
    /// Indices to compute.
    pub indices: Vec<String>,
    /// Pixel size for Sentinel-2, metres: 10 or 20. Landsat keeps its 30.
    pub pixel_m: u32,
    /// Sentinel-2 scene classes that count as clear.
    pub scl_clear: Vec<u8>,
    /// Pixels within this distance of cloud, cirrus or shadow are masked as well, metres.
    pub mask_dilate_m: f64,
    /// Bring Sentinel-2 ("hls") or Landsat 5 and 7 ("roy2016-rma") to Landsat 8's bandpass, or leave reflectance as measured
    /// ("none").
    pub bandpass: Bandpasses,
    /// Bring reflectance to a view from straight above, the sun left where it is; scenes that do not tell where the satellite
    /// stood are set aside.
    pub nbar: bool,
    /// Correct reflectance on slopes for how the sun lights them ("scs_c"), or leave it as measured ("none"); scenes that do
    /// not tell where the sun stood, or to which the correction cannot be fitted, are set aside.
    pub terrain: Correction,
    /// Raster of elevations in metres, for `terrain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dem: Option<PathBuf>,
    /// Observations that see a smaller share of the whole parcel are kept in the table, and enter neither series nor carbon.
    pub min_clear_fraction: f64,
}

impl Default for Observe {
    fn default() -> Self {
        Observe {
            indices: vec!["ndvi".into()],
            pixel_m: 10,
            scl_clear: vec![4, 5, 6],
            mask_dilate_m: 0.0,
            bandpass: Bandpasses::default(),
            nbar: false,
            terrain: Correction::None,
            dem: None,
            min_clear_fraction: 0.7,
        }
    }
}

/// `[change]`: one table a method.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    /// A season-trend model of the history, and moving sums of what leaves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bfast_monitor: Option<bfast_monitor::Params>,
    /// A seasonal model per band, carried on until several observations in a row leave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ccdc: Option<ccdc::Params>,
    /// Straight segments through one value a year.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landtrendr: Option<landtrendr::Params>,
    /// A robust yearly curve, and losses that last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor: Option<monitor::Params>,
    /// Before and after, a plain rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub two_date: Option<two_date::Params>,
    /// When breaks of pixels make an event of a parcel.
    pub events: EventRule,
    /// Which reference parcels a parcel is compared with.
    pub control: ControlRule,
}

impl Change {
    /// The configured methods. The first gives the disturbed area of a delta.
    pub fn methods(&self) -> Vec<Method> {
        let monitor = self.monitor.iter().cloned().map(Method::Monitor);
        let bfast_monitor = self.bfast_monitor.iter().cloned().map(Method::BfastMonitor);
        let two_date = self.two_date.iter().cloned().map(Method::TwoDate);
        let ccdc = self.ccdc.iter().cloned().map(Method::Ccdc);
        let landtrendr = self.landtrendr.iter().cloned().map(Method::Landtrendr);
        monitor.chain(bfast_monitor).chain(ccdc).chain(landtrendr).chain(two_date).collect()
    }

    /// Bands that the methods read.
    pub fn bands(&self) -> Vec<Band> {
        let wants = self.methods().into_iter().flat_map(|m| m.wants());
        let bands: BTreeSet<Band> = wants.filter_map(|w| if let Want::Band(b) = w { Some(b) } else { None }).collect();
        bands.into_iter().collect()
    }
}

/// `[biomass]`: one table a method.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Biomass {
    /// Default density of the forest type times cover: screening only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier1_cover: Option<Tier1Cover>,
    /// Growing stock of the forest inventory, times what the satellite saw left standing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Inventory>,
    /// An external biomass raster with its error raster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agb_map: Option<AgbMap>,
    /// A model of indices that was fitted to plots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index_model: Option<IndexModel>,
}

/// The biomass method of a run.
#[derive(Debug, Clone, Copy)]
pub enum BiomassMethod<'a> {
    /// `[biomass.tier1_cover]`
    Tier1Cover(&'a Tier1Cover),
    /// `[biomass.inventory]`
    Inventory(&'a Inventory),
    /// `[biomass.agb_map]`
    AgbMap(&'a AgbMap),
    /// `[biomass.index_model]`
    IndexModel(&'a IndexModel),
}

impl BiomassMethod<'_> {
    /// The name used in configuration and tables.
    pub fn name(self) -> &'static str {
        match self {
            BiomassMethod::Tier1Cover(_) => tier1_cover::METHOD,
            BiomassMethod::Inventory(_) => inventory::METHOD,
            BiomassMethod::AgbMap(_) => agb_map::METHOD,
            BiomassMethod::IndexModel(_) => index_model::METHOD,
        }
    }

    /// What is to be known about a layer's attributes before a scene is looked at.
    fn notes(self, set: &ParameterSet, parcels: &[Parcel]) -> Vec<Note> {
        let (stated, zone) = match self {
            BiomassMethod::Inventory(inventory) => return inventory::notes(inventory, set, parcels),
            BiomassMethod::Tier1Cover(params) => (&params.forest_type, &params.ecological_zone),
            BiomassMethod::AgbMap(params) => (&params.forest_type, &params.ecological_zone),
            BiomassMethod::IndexModel(params) => (&params.forest_type, &params.ecological_zone),
        };
        forest_type_notes(self.name(), set, parcels, (stated.as_deref(), zone.as_deref()))
    }
}

impl Biomass {
    /// The configured methods; a run has at most one.
    fn methods(&self) -> Vec<BiomassMethod<'_>> {
        let tier1_cover = self.tier1_cover.iter().map(BiomassMethod::Tier1Cover);
        let inventory = self.inventory.iter().map(BiomassMethod::Inventory);
        let agb_map = self.agb_map.iter().map(BiomassMethod::AgbMap);
        let index_model = self.index_model.iter().map(BiomassMethod::IndexModel);
        tier1_cover.chain(inventory).chain(agb_map).chain(index_model).collect()
    }

    /// Files that the method reads, relative to the configuration.
    pub fn files(&self) -> Vec<&Path> {
        let model = self.index_model.iter().map(|m| m.model.as_path());
        self.agb_map.iter().flat_map(AgbMap::files).chain(model).collect()
    }

    /// The configured method.
    pub fn method(&self) -> Option<BiomassMethod<'_>> {
        self.methods().into_iter().next()
    }
}

/// `[carbon]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Carbon {
    /// Name of a parameter set that comes with the program, or a TOML file.
    pub parameter_set: String,
    /// Pools that count.
    pub pools: Vec<Pool>,
    /// Draws of the error propagation, 2,000 or more; 10,000 is the least for numbers that are issued.
    pub draws: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// Standard error of the boundary's position, metres. No default: without it the area counts as exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boundary_se_m: Option<f64>,
    /// Share of the perimeter that errs together, 0 to 1: 1 when the whole boundary is too wide or too narrow at once, near
    /// 0 when every vertex errs on its own. Goes with `boundary_se_m`; the error of the area is perimeter x boundary_se_m x
    /// boundary_correlation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boundary_correlation: Option<f64>,
}

impl Default for Carbon {
    fn default() -> Self {
        Carbon {
            parameter_set: "ipcc-2006".into(),
            pools: vec![Pool::Aboveground, Pool::Belowground],
            draws: 10_000,
            seed: 1,
            boundary_se_m: None,
            boundary_correlation: None,
        }
    }
}

/// `[account]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Account {
    /// Start and end of each period.
    pub periods: Vec<[Date; 2]>,
    /// Rule for uncertainty deductions; without one nothing is creditable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deduction: Option<Deduction>,
    /// How much of what the change map says is lost is lost in truth, by a reference sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_area: Option<LostArea>,
    /// Which reference parcels a parcel's change is compared with.
    pub control: AccountControl,
}

/// `[account.lost_area]`: mapped losses are brought to their area-adjusted estimate (Olofsson et al. 2014) before they leave a
/// stock; its error is one for all parcels. For sums over a region: the boundary of one prosecuted parcel is better drawn by
/// hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LostArea {
    /// CSV file of a finished error matrix, as `lintan accuracy --matrix` reads it; relative to the configuration.
    pub matrix: PathBuf,
    /// Its class of what is lost. Default `disturbed`.
    #[serde(default = "disturbed")]
    pub class: String,
}

fn disturbed() -> String {
    "disturbed".to_owned()
}

/// `[account.control]`: parcels of kind `reference`, of the same forest type where both say one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccountControl {
    /// Nearest, kilometres between centroids: nearer ones may be hit by the same event.
    pub min_km: f64,
    /// Farthest, kilometres.
    pub max_km: f64,
    /// Fewest reference parcels, at least 2: one has no scatter, so nobody knows how well it stands for the forest.
    pub min_references: usize,
}

impl Default for AccountControl {
    fn default() -> Self {
        AccountControl { min_km: 0.5, max_km: 10.0, min_references: 2 }
    }
}

/// `[output]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Output {
    /// Folder for everything a run leaves; `out/<project name>` beside the configuration when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// Maps of what the change methods say of each pixel.
    pub maps: Vec<MapKind>,
}

/// `[engine]`: how the work is done; never changes a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Engine {
    /// Worker threads; 0 takes every core.
    pub threads: usize,
    /// Memory budget, GiB.
    pub memory_gib: f64,
}

impl Default for Engine {
    fn default() -> Self {
        Engine { threads: 0, memory_gib: 4.0 }
    }
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Who.
    pub project: Project,
    /// Where the parcels are.
    pub parcels: parcel::Params,
    /// Where the scenes are.
    pub scenes: catalog::Params,
    /// From scenes to observations.
    #[serde(default)]
    pub observe: Observe,
    /// From observations to series.
    #[serde(default)]
    pub series: series::Params,
    /// From pixels to disturbances.
    #[serde(default)]
    pub change: Change,
    /// From indices to biomass.
    #[serde(default)]
    pub biomass: Biomass,
    /// From biomass to carbon.
    #[serde(default)]
    pub carbon: Carbon,
    /// From stocks to deltas.
    #[serde(default)]
    pub account: Account,
    /// Where results go.
    #[serde(default)]
    pub output: Output,
    /// How the work is done.
    #[serde(default)]
    pub engine: Engine,
}

/// Checked settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The file.
    pub path: PathBuf,
    /// Folder that relative paths are relative to.
    pub base: PathBuf,
    /// Its values, defaults filled in.
    pub options: Options,
    /// The parameter set, when a biomass method is configured.
    pub parameters: Option<ParameterSet>,
    /// True area over mapped area of what is lost, with its standard error.
    pub lost_area: Option<Estimate<f64>>,
    /// Output folder.
    pub out: PathBuf,
    /// Digest of every setting that can change a table.
    pub science: Sha256,
    /// The file's text, which tells the line of a key.
    text: String,
}

impl Settings {
    /// What is to be known about the attributes of a layer before a scene is looked at.
    pub fn notes(&self, parcels: &[Parcel]) -> Vec<Note> {
        let mut notes = Vec::new();
        let unread: Vec<&str> = unread(&self.options).map(String::as_str).collect();
        if !unread.is_empty() {
            let message = format!(
                "[parcels] attributes: nobody reads {}; our name stands first, the layer's field second, and our names are {}",
                unread.join(", "),
                inventory::ATTRIBUTES.join(", ")
            );
            notes.push(Note::new(Topic::Attribute, &[], message));
        }
        if let (Some(method), Some(set)) = (self.options.biomass.method(), &self.parameters) {
            notes.extend(method.notes(set, parcels));
        }
        notes
    }

    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// The file cannot be read, or a value in it cannot be used.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Error::from(ConfigError {
                path: path.to_path_buf(),
                line: None,
                field: "configuration file".into(),
                found: format!("a file that cannot be read ({e})"),
                expected: "a TOML file".into(),
                help: "give the path of a configuration; configs/example.toml shows how one looks".into(),
            })
        })?;
        Self::parse(path, &text)
    }

    /// Checks the text of a configuration file that stands at `path`.
    ///
    /// # Errors
    /// A value that cannot be used.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let mut options: Options = toml::from_str(text).map_err(|e| syntax(path, text, &e))?;
        let base = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf();
        let check = Check { path, text };
        if let Some(inventory) = &mut options.biomass.inventory {
            inventory.read_files(&base).map_err(|e| check.inventory(&e))?;
        }
        check.values(&options)?;
        let parameters = match options.biomass.method() {
            Some(_) => Some(check.parameter_set(&options.carbon.parameter_set, &base)?),
            None => None,
        };
        let lost_area = match &options.account.lost_area {
            Some(lost) => Some(check.lost_area(lost, &base)?),
            None => None,
        };
        let dir = options.output.dir.clone().unwrap_or_else(|| Path::new("out").join(&options.project.name));
        // Where the elevations lie is no matter; what they are is known by their digest.
        let observe = Observe { dem: None, ..options.observe.clone() };
        let science = Sha256::of_json(&(
            env!("CARGO_PKG_VERSION"),
            (&options.parcels.id, &options.parcels.kind, &options.parcels.kind_values, &options.parcels.attributes),
            (&options.parcels.encoding, &options.parcels.datum_shift),
            (&options.scenes.start, &options.scenes.end, &options.scenes.offset_state),
            (&observe, &options.series, &options.change, &options.biomass),
            (
                &options.carbon,
                &options.account,
                &options.output.maps,
                parameters.as_ref().map(|p| (p.sha256().to_owned(), p.names_sha256().to_owned())),
                lost_area,
            ),
        ))?;
        let (path, out, text) = (path.to_path_buf(), base.join(dir), text.to_owned());
        Ok(Settings { path, out, base, options, parameters, lost_area, science, text })
    }

    /// A value of the file that cannot be used, as only its use could tell. `field` is a dotted key; a table of an array has
    /// its position, from 0: `biomass.agb_map.maps[0].path`.
    pub fn error(&self, field: &str, found: impl Into<String>, expected: &str, help: &str) -> Error {
        Check { path: &self.path, text: &self.text }.fail(field, found, expected, help)
    }

    /// The effective configuration, defaults filled in, as TOML.
    ///
    /// # Errors
    /// Only by a mistake of ours.
    pub fn effective(&self) -> Result<String> {
        toml::to_string_pretty(&self.options).map_err(|e| Error::Internal(format!("effective configuration: {e}")))
    }

    /// Worker threads.
    pub fn threads(&self) -> usize {
        match self.options.engine.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        }
    }
}

/// Line of a byte offset, from 1.
fn line_at(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

/// Line of a dotted key, whose parts may have a position in an array (`maps[0]`); none where it is not there.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut line = None;
    for part in key.split('.') {
        let (part, at) = match part.strip_suffix(']').and_then(|p| p.split_once('[')) {
            Some((part, at)) => (part, at.parse().ok()),
            None => (part, None::<usize>),
        };
        let (name, value) = table.iter().find(|(k, _)| k.get_ref().as_ref() == part)?;
        line = Some(line_at(text, name.span().start));
        let value = match (value.get_ref(), at) {
            (DeValue::Array(items), Some(at)) => items.get(at)?.get_ref(),
            (other, _) => other,
        };
        match value {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    line
}

/// The example that shows the keys of a section.
pub fn example_of(section: &str) -> &'static str {
    let named = |method: &str| section.strip_prefix("biomass.").is_some_and(|s| s.split('.').next() == Some(method));
    if named(inventory::METHOD) {
        "configs/example-inventory.toml"
    } else if named(agb_map::METHOD) {
        "configs/example-agb-map.toml"
    } else if named(index_model::METHOD) {
        "configs/example-index-model.toml"
    } else {
        "configs/example.toml"
    }
}

/// The known name that an unknown one was probably meant to be.
/// Names under `[parcels] attributes` that no method reads.
fn unread(options: &Options) -> impl Iterator<Item = &String> {
    options.parcels.attributes.keys().filter(|k| !inventory::ATTRIBUTES.contains(&k.as_str()))
}

fn close<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.map(|name| (strsim::osa_distance(unknown, name), name)).min();
    scored.filter(|(distance, name)| *distance <= 2.max(name.len() / 3)).map(|(_, name)| name)
}

/// The parser's error in our terms.
fn syntax(path: &Path, text: &str, e: &toml::de::Error) -> Error {
    let message = e.message().trim().to_owned();
    let line = e.span().map(|s| line_at(text, s.start));
    let quoted = |after: &str| -> Option<String> {
        let rest = &message[message.find(after)? + after.len()..];
        Some(rest.split('`').nth(1)?.to_owned())
    };
    let key_on_line = || -> Option<String> {
        let content = text.lines().nth(line?.checked_sub(1)?)?;
        Some(content.split('=').next()?.trim().trim_matches(['[', ']']).to_owned())
    };
    let header = |t: &&str| t.trim_start().starts_with('[');
    let section = line.and_then(|l| text.lines().take(l).filter(header).last());
    let section = section.map(|s| s.split('#').next().unwrap_or(s).trim().trim_matches(['[', ']']).to_owned());
    // A method may also be an inline table of [biomass].
    let within = [section.clone(), key_on_line()].into_iter().flatten().collect::<Vec<_>>().join(".");
    let example = example_of(&within);
    let (field, found, expected, help) = if let Some(unknown) = quoted("unknown field ") {
        let expected = message.split_once(", expected ").map_or("", |(_, e)| e).replace('`', "");
        let help = match close(&unknown, expected.trim_start_matches("one of ").split(", ").map(str::trim)) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("remove it, or see {example} for every key"),
        };
        (unknown.clone(), format!("an unknown key `{unknown}`"), expected, help)
    } else if let Some(missing) = quoted("missing field ") {
        let help = format!("add `{missing}`; {example} shows every key");
        (missing, "nothing".to_owned(), "a value".to_owned(), help)
    } else {
        let value = || -> Option<String> {
            let content = text.lines().nth(line?.checked_sub(1)?)?;
            Some(content.split_once('=')?.1.split('#').next()?.trim().to_owned())
        };
        let key = key_on_line().unwrap_or_default();
        let (found, expected) = match message.split_once(", expected ") {
            Some((found, expected)) => (found.to_owned(), expected.to_owned()),
            None if !key.is_empty() && value().is_some() => (
                format!("{} ({})", value().unwrap_or_default(), message.replace('\n', " ")),
                "a value that can be used".to_owned(),
            ),
            None => (message.clone(), format!("valid TOML with the keys of {example}")),
        };
        (key, found, expected, "correct that line".to_owned())
    };
    let section = section.filter(|s| *s != field);
    // The head of a section may be what is wrong: its own name up to the part that is meant.
    let on_header = line.and_then(|l| text.lines().nth(l.checked_sub(1)?)).is_some_and(|t| header(&t));
    let heading = section.clone().filter(|_| on_header).unwrap_or_default();
    let parts: Vec<&str> = heading.split('.').collect();
    let field = match section {
        _ if parts.contains(&field.as_str()) => {
            let until = parts.iter().position(|p| *p == field).unwrap_or(0);
            parts[..=until].join(".")
        }
        Some(section) if !field.is_empty() && !field.contains('.') => format!("{section}.{field}"),
        _ => field,
    };
    ConfigError { path: path.to_path_buf(), line, field, found, expected, help }.into()
}

/// Checks of values that the types alone cannot make.
struct Check<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Check<'_> {
    fn fail(&self, field: &str, found: impl Into<String>, expected: &str, help: &str) -> Error {
        ConfigError {
            path: self.path.to_path_buf(),
            line: line_of(self.text, field),
            field: field.to_owned(),
            found: found.into(),
            expected: expected.to_owned(),
            help: help.to_owned(),
        }
        .into()
    }

    fn values(&self, o: &Options) -> Result<()> {
        let name_is_safe = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        if o.project.name.is_empty() || !o.project.name.chars().all(name_is_safe) || o.project.name.starts_with('.') {
            let help = "it becomes a folder name";
            return Err(self.fail("project.name", format!("{:?}", o.project.name), "letters, digits, - and _", help));
        }
        // A name that nobody reads is noted (see `unread_attributes`); one that is almost known was meant to be read.
        for unknown in unread(o) {
            if let Some(known) = close(unknown, inventory::ATTRIBUTES.into_iter()) {
                let field = format!("parcels.attributes.{unknown}");
                let found = format!("an unknown attribute `{unknown}`");
                let help = format!("did you mean `{known}`?");
                return Err(self.fail(&field, found, &inventory::ATTRIBUTES.join(", "), &help));
            }
        }
        if o.scenes.paths.is_empty() {
            return Err(self.fail(
                "scenes.paths",
                "an empty list",
                "one folder or more",
                "name the folder of the scenes",
            ));
        }
        if let (Some(start), Some(end)) = (o.scenes.start, o.scenes.end)
            && start > end
        {
            return Err(self.fail("scenes.end", end.to_string(), &format!("{start} or later"), "swap start and end"));
        }
        self.observe(&o.observe)?;
        if let Err((field, found, expected)) = o.series.validate() {
            return Err(self.fail(&format!("series.{field}"), found, expected, "correct the value"));
        }
        let indices = &o.observe.indices;
        let methods = o.change.methods();
        for method in &methods {
            let section = format!("change.{}", method.name());
            if let Err((field, found, expected)) = method.validate() {
                return Err(self.fail(&format!("{section}.{field}"), found, expected, "correct the value"));
            }
            for want in method.wants() {
                if let Want::Index(index) = want
                    && !indices.contains(&index)
                {
                    let help = "add it to `indices` under [observe]";
                    return Err(self.fail(&format!("{section}.index"), index, &indices.join(" or "), help));
                }
            }
        }
        if let Err((field, found, expected)) = o.change.events.validate() {
            return Err(self.fail(&format!("change.events.{field}"), found, expected, "correct the value"));
        }
        if let Err((field, found, expected)) = o.change.control.validate() {
            return Err(self.fail(&format!("change.control.{field}"), found, expected, "correct the value"));
        }
        if !o.output.maps.is_empty() && methods.is_empty() {
            let help = "add a [change.*] table, or remove the maps";
            return Err(self.fail("output.maps", "maps without a change method", "a [change.*] table", help));
        }
        if let Some(tier1) = &o.biomass.tier1_cover {
            if !indices.contains(&tier1.index) {
                let help = "add it to `indices` under [observe]";
                return Err(self.fail("biomass.tier1_cover.index", &tier1.index, &indices.join(" or "), help));
            }
            if let Err(e) = tier1.validate() {
                let help = "both are properties of the site: the index of bare soil and of full canopy there";
                return Err(self.fail("biomass.tier1_cover", e.to_string(), "usable values", help));
            }
        }
        if let Some(model) = &o.biomass.index_model {
            if let Err((field, found, expected)) = model.validate() {
                return Err(self.fail(&format!("biomass.index_model.{field}"), found, expected, "correct the value"));
            }
            if let Some(index) = model.predictors.iter().find(|p| !indices.contains(p)) {
                let help = "add it to `indices` under [observe]";
                return Err(self.fail("biomass.index_model.predictors", index, &indices.join(" or "), help));
            }
        }
        self.carbon(o)?;
        let mut starts = BTreeSet::new();
        for [start, end] in &o.account.periods {
            if start >= end {
                let found = format!("[{start}, {end}]");
                return Err(self.fail("account.periods", found, "a start before the end", "swap the dates"));
            }
            if !starts.insert(start) {
                let help = "the start is the key of a delta; use another date or a project of its own";
                return Err(self.fail(
                    "account.periods",
                    format!("two periods from {start}"),
                    "different starts",
                    help,
                ));
            }
        }
        let memory = o.engine.memory_gib;
        if !(0.1..=65536.0).contains(&memory) {
            return Err(self.fail("engine.memory_gib", memory.to_string(), "0.1 or more", "give the budget in GiB"));
        }
        Ok(())
    }

    fn carbon(&self, o: &Options) -> Result<()> {
        let methods = o.biomass.methods();
        if let [_, second, ..] = methods.as_slice() {
            let found: Vec<&str> = methods.iter().map(|m| m.name()).collect();
            let help = "a run has one biomass method; use a configuration of its own for each";
            let field = format!("biomass.{}", second.name());
            return Err(self.fail(&field, found.join(" and "), "one [biomass.*] table", help));
        }
        let Some(method) = methods.first() else {
            if o.account.periods.is_empty() {
                return Ok(());
            }
            let help = "add a [biomass.*] table, such as [biomass.tier1_cover], or remove the periods";
            return Err(self.fail("account.periods", "periods without a biomass method", "a [biomass.*] table", help));
        };
        if let BiomassMethod::AgbMap(map) = method
            && let Err((field, found, expected)) = map.validate()
        {
            return Err(self.fail(&format!("biomass.agb_map.{field}"), found, expected, "correct the value"));
        }
        if let BiomassMethod::Inventory(inventory) = method {
            inventory.validate().map_err(|e| self.inventory(&e))?;
            if let Some(cover) = &inventory.cover
                && !o.observe.indices.contains(&cover.index)
            {
                let (field, help) = ("biomass.inventory.cover.index", "add it to `indices` under [observe]");
                return Err(self.fail(field, &cover.index, &o.observe.indices.join(" or "), help));
            }
        }
        let pools = &o.carbon.pools;
        if matches!(method, BiomassMethod::Tier1Cover(_) | BiomassMethod::IndexModel(_)) {
            let known = [Pool::Aboveground, Pool::Belowground];
            if let Some(pool) = pools.iter().find(|p| !known.contains(p)) {
                let help = format!("{} has no value for this pool; leave it out", method.name());
                return Err(self.fail("carbon.pools", pool.name(), "aboveground, belowground", &help));
            }
        }
        let known = "aboveground, belowground, dead_wood, litter, soil";
        if pools.is_empty() {
            return Err(self.fail("carbon.pools", "an empty list", known, "name a pool"));
        }
        if let Some(pool) = pools.iter().find(|p| **p == Pool::Total) {
            return Err(self.fail("carbon.pools", pool.name(), known, "the total is always given; remove it"));
        }
        if let Some((_, pool)) = pools.iter().enumerate().find(|(i, p)| pools[..*i].contains(p)) {
            return Err(self.fail("carbon.pools", format!("{pool} twice"), "each pool once", "remove one"));
        }
        let draws = o.carbon.draws;
        if !(2_000..=10_000_000).contains(&draws) {
            let help = "10000 is the default, and the least for numbers that are issued";
            return Err(self.fail("carbon.draws", draws.to_string(), "2000 to 10000000", help));
        }
        match (o.carbon.boundary_se_m, o.carbon.boundary_correlation) {
            (Some(_), None) => {
                let help = "1 when the whole boundary errs together, near 0 when each vertex errs on its own";
                Err(self.fail("carbon.boundary_correlation", "nothing", "0 to 1 beside boundary_se_m", help))
            }
            (None, Some(_)) => {
                let help = "how well the boundary's position is known, in metres";
                Err(self.fail("carbon.boundary_se_m", "nothing", "metres beside boundary_correlation", help))
            }
            (Some(se), _) if !(se >= 0.0 && se.is_finite()) => {
                Err(self.fail("carbon.boundary_se_m", se.to_string(), "0 or more metres", "correct the value"))
            }
            (_, Some(share)) if !(0.0..=1.0).contains(&share) => {
                Err(self.fail("carbon.boundary_correlation", share.to_string(), "0 to 1", "correct the value"))
            }
            _ => self.account_control(&o.account.control),
        }
    }

    fn inventory(&self, e: &inventory::InvalidKey) -> Error {
        self.fail(&format!("biomass.inventory.{}", e.key), e.found.clone(), e.expected, "correct the value")
    }

    fn lost_area(&self, lost: &LostArea, base: &Path) -> Result<Estimate<f64>> {
        let matrix = accuracy::matrix::read(&base.join(&lost.matrix))?;
        let found = accuracy::estimate(&matrix);
        let fail = |found: String, expected: &str| {
            let help = "lintan accuracy --matrix shows what the file gives";
            self.fail("account.lost_area", found, expected, help)
        };
        let Some(class) = found.classes.iter().find(|c| c.class == lost.class) else {
            return Err(fail(format!("class {:?}", lost.class), &matrix.classes().join(" or ")));
        };
        match class.area_ci95_ha {
            Some(half) if class.mapped_area_ha > 0.0 && class.area_ha > 0.0 => Ok(Estimate {
                value: class.area_ha / class.mapped_area_ha,
                se: half / accuracy::Z95 / class.mapped_area_ha,
            }),
            half => {
                let found = format!("{} ha mapped, {} ha adjusted, +- {half:?}", class.mapped_area_ha, class.area_ha);
                Err(fail(found, "areas above 0 with an interval: two samples or more in every map class"))
            }
        }
    }

    fn account_control(&self, control: &AccountControl) -> Result<()> {
        let (field, found, expected) = if !(control.min_km >= 0.0 && control.min_km.is_finite()) {
            ("min_km", control.min_km.to_string(), "0 or more kilometres")
        } else if control.max_km.is_nan() || control.max_km <= control.min_km {
            ("max_km", control.max_km.to_string(), "more than min_km")
        } else if control.min_references < 2 {
            ("min_references", control.min_references.to_string(), "2 or more")
        } else {
            return Ok(());
        };
        Err(self.fail(&format!("account.control.{field}"), found, expected, "correct the value"))
    }

    fn observe(&self, o: &Observe) -> Result<()> {
        if o.indices.is_empty() {
            return Err(self.fail("observe.indices", "an empty list", &index::names(), "name an index"));
        }
        for (i, id) in o.indices.iter().enumerate() {
            if index::by_id(id).is_none() {
                return Err(self.fail("observe.indices", format!("`{id}`"), &index::names(), "correct the name"));
            }
            if o.indices[..i].contains(id) {
                return Err(self.fail("observe.indices", format!("`{id}` twice"), "each index once", "remove one"));
            }
        }
        if ![10, 20].contains(&o.pixel_m) {
            return Err(self.fail("observe.pixel_m", o.pixel_m.to_string(), "10 or 20", "choose one of the two"));
        }
        if o.bandpass.sets().contains(&Bandpass::Hls) && o.pixel_m != 20 {
            let help = "the coefficients are for B8A (20 m), not for B08; set `pixel_m = 20`";
            return Err(self.fail("observe.bandpass", "\"hls\" with pixel_m = 10", "pixel_m = 20", help));
        }
        if o.scl_clear.is_empty() || o.scl_clear.iter().any(|c| *c > 11) {
            let help = "4 is vegetation, 5 bare, 6 water, 7 unclassified, 11 snow";
            return Err(self.fail("observe.scl_clear", format!("{:?}", o.scl_clear), "classes from 0 to 11", help));
        }
        if o.scl_clear.contains(&0) || o.scl_clear.contains(&1) {
            let help = "0 and 1 hold no measurement";
            return Err(self.fail("observe.scl_clear", format!("{:?}", o.scl_clear), "no 0 and no 1", help));
        }
        if !(0.0..=5000.0).contains(&o.mask_dilate_m) {
            let found = o.mask_dilate_m.to_string();
            return Err(self.fail("observe.mask_dilate_m", found, "0 to 5000 metres", "0 switches it off"));
        }
        if o.terrain == Correction::ScsC && o.dem.is_none() {
            let help = "add `dem = \"elevations.tif\"`, a raster of elevations in metres, under [observe]";
            return Err(self.fail(
                "observe.terrain",
                "\"scs_c\" without `dem`",
                "a raster of elevations as `dem`",
                help,
            ));
        }
        if !(0.0..=1.0).contains(&o.min_clear_fraction) {
            let found = o.min_clear_fraction.to_string();
            return Err(self.fail("observe.min_clear_fraction", found, "0 to 1", "0.7 is the default"));
        }
        Ok(())
    }

    fn parameter_set(&self, name: &str, base: &Path) -> Result<ParameterSet> {
        let fail = |found: String| {
            let help =
                "name a set that comes with the program (ipcc-2006), or a TOML file relative to the configuration";
            self.fail("carbon.parameter_set", found, "a parameter set", help)
        };
        if name.ends_with(".toml") {
            let text = std::fs::read_to_string(base.join(name)).map_err(|e| fail(format!("{name}: {e}")))?;
            return ParameterSet::load(&text).map_err(|e| fail(format!("{name}: {e}")));
        }
        ParameterSet::builtin(name).map_err(|e| fail(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str =
        "[project]\nname = \"a\"\n[parcels]\npath = \"p.gpkg\"\nid = \"id\"\n[scenes]\npaths = [\"s\"]\n";

    fn error(more: &str) -> ConfigError {
        match Settings::parse(Path::new("c/x.toml"), &format!("{MINIMAL}{more}")) {
            Err(Error::Config(e)) => *e,
            other => panic!("expected a configuration error, got {other:?}"),
        }
    }

    #[test]
    fn defaults_and_paths() {
        let s = Settings::parse(Path::new("c/x.toml"), MINIMAL).expect("minimal configuration");
        assert_eq!(s.base, Path::new("c"));
        assert_eq!(s.out, Path::new("c/out/a"));
        assert_eq!(s.options.observe.scl_clear, [4, 5, 6]);
        let again = Settings::parse(Path::new("c/x.toml"), &s.effective().expect("toml")).expect("round trip");
        assert_eq!(again.options, s.options);
    }

    #[test]
    fn threads_and_paths_do_not_change_the_digest_but_science_does() {
        let digest = |more: &str| {
            Settings::parse(Path::new("c/x.toml"), &format!("{MINIMAL}{more}")).expect("configuration").science
        };
        let plain = digest("");
        assert_eq!(plain, digest("[engine]\nthreads = 3\nmemory_gib = 1\n[output]\ndir = \"elsewhere\"\n"));
        assert_ne!(plain, digest("[observe]\npixel_m = 20\n"));
        let lit = |dem: &str| digest(&format!("[observe]\nterrain = \"scs_c\"\ndem = \"{dem}\"\n"));
        assert!(lit("a.tif") == lit("b/c.tif") && lit("a.tif") != plain);
        assert_ne!(plain, digest("[series]\nstep_days = 16\n"));
    }

    #[test]
    fn a_misspelt_key_names_line_and_remedy() {
        let e = error("[observe]\npixle_m = 10\n");
        assert_eq!(
            (e.line, e.field.as_str(), e.help.as_str()),
            (Some(9), "observe.pixle_m", "did you mean `pixel_m`?")
        );
        assert!(e.expected.contains("pixel_m"), "{e}");
    }

    #[test]
    fn an_attribute_that_is_almost_known_is_refused_and_one_that_nobody_reads_noted() {
        let config = |attributes: &str| {
            let text = MINIMAL.replace("id = \"id\"\n", &format!("id = \"id\"\nattributes = {{ {attributes} }}\n"));
            Settings::parse(Path::new("c/x.toml"), &text)
        };
        assert!(config("forest_type = \"a\", volume_m3_per_mu = \"b\"").is_ok());
        for (key, help) in
            [("volum_m3_per_ha", "did you mean `volume_m3_per_ha`?"), ("forest_typ", "did you mean `forest_type`?")]
        {
            let Err(Error::Config(e)) = config(&format!("species = \"s\", \"{key}\" = \"v\"")) else { panic!("{key}") };
            assert_eq!((e.line, e.field.as_str()), (Some(6), format!("parcels.attributes.{key}").as_str()));
            assert!(e.found.contains(key) && e.help.starts_with(help), "{e:?}");
            assert!(inventory::ATTRIBUTES.iter().all(|known| e.expected.contains(known)), "{e}");
        }
        let notes = config("species = \"s\", \"小班\" = \"xb\", compartment = \"lb\"").unwrap().notes(&[]);
        let told: Vec<&str> = notes.iter().map(|n| n.message.as_str()).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("compartment, 小班") && told[0].contains("volume_m3_per_mu"), "{told:?}");
    }

    #[test]
    fn a_hint_names_the_example_that_has_the_section() {
        for (more, example) in [
            ("[biomass.agb_map]\nunit = \"t/ha\"\n", "configs/example-agb-map.toml"),
            ("[biomass.agb_map] # a map\nxyzxyz = 1\n", "configs/example-agb-map.toml"),
            ("[[biomass.agb_map.maps]]\npath = \"a\"\n", "configs/example-agb-map.toml"),
            ("[biomass]\nagb_map = { unit = \"t/ha\" }\n", "configs/example-agb-map.toml"),
            ("[biomass.index_model]\nform = \"power\"\n", "configs/example-index-model.toml"),
            ("[biomass.inventory]\nxyzxyz = 1\n", "configs/example-inventory.toml"),
            ("[biomass.inventory.cover]\nindex = \"ndvi\"\n", "configs/example-inventory.toml"),
            ("[biomass.tier1_cover]\nindex = \"ndvi\"\n", "configs/example.toml"),
            ("[observe]\nxyzxyz = 1\n", "configs/example.toml"),
        ] {
            let e = error(more);
            assert!(e.help.contains(&format!("{example} ")), "{more}: {e} {}", e.help);
        }
    }

    #[test]
    fn the_line_of_a_table_in_an_array() {
        let text = "[[a.maps]]\nx = 1\n[[a.maps]]\nx = 2\n";
        assert_eq!(line_of(text, "a.maps[0].x"), Some(2));
        assert_eq!(line_of(text, "a.maps[1].x"), Some(4));
        assert_eq!((line_of(text, "a.maps[2].x"), line_of(text, "a.maps[1].y")), (None, None));
    }

    #[test]
    fn every_check_names_the_key_and_its_line() {
        for (more, field, line) in [
            ("[observe]\npixel_m = 15\n", "observe.pixel_m", Some(9)),
            ("[observe]\nindices = [\"ndvi\", \"nvdi\"]\n", "observe.indices", Some(9)),
            ("[observe]\nindices = [\"ndvi\", \"ndvi\"]\n", "observe.indices", Some(9)),
            ("[observe]\n\nscl_clear = [4, 12]\n", "observe.scl_clear", Some(10)),
            ("[observe]\nbandpass = \"hls\"\n", "observe.bandpass", Some(9)),
            ("[observe]\nmin_clear_fraction = 70\n", "observe.min_clear_fraction", Some(9)),
            ("[observe]\nterrain = \"scs_c\"\n", "observe.terrain", Some(9)),
            ("[observe]\nterrain = \"minnaert\"\n", "observe.terrain", Some(9)),
            ("[engine]\nmemory_gib = 0\n", "engine.memory_gib", Some(9)),
            ("[account]\nperiods = [[\"2020-01-01\", \"2021-01-01\"]]\n", "account.periods", Some(9)),
            (
                "[biomass.tier1_cover]\nindex_bare = 0.1\nindex_full = 0.9\n[carbon]\nparameter_set = \"none\"\n",
                "carbon.parameter_set",
                Some(12),
            ),
            (
                "[biomass.tier1_cover]\nindex_bare = 0.1\nindex_full = 0.9\n[carbon]\npools = [\"soil\"]\n",
                "carbon.pools",
                Some(12),
            ),
        ] {
            let e = error(more);
            assert_eq!((e.field.as_str(), e.line), (field, line), "{more}: {e}");
            assert!(!e.found.is_empty() && !e.expected.is_empty() && !e.help.is_empty(), "{e:?}");
        }
        let e = error("[biomass.tier1_cover]\nindex_full = 0.9\n");
        assert_eq!(e.field, "biomass.tier1_cover.index_bare", "site properties have no default: {e}");
    }
}
