//! What can go wrong, told so that the reader can act: which file, which field, what was found, what is expected,
//! what to do.
//!
//! Two kinds must not be mixed. An [`Error`] stops the run: configuration, storage, or our own bug. A [`Quarantine`] is
//! data: one scene or parcel that could not be assessed, with its reason; it becomes a row of `quarantine.parquet` and
//! the rest goes on.

use std::fmt;
use std::path::{Path, PathBuf};

/// Result with the library's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// A configuration value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The configuration file.
    pub path: PathBuf,
    /// Line of the value, counted from 1; `None` when the key is missing.
    pub line: Option<usize>,
    /// Dotted key, `observe.pixel_m`.
    pub field: String,
    /// What stands there.
    pub found: String,
    /// What may stand there.
    pub expected: String,
    /// What to do about it.
    pub help: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": `{}`: found {}, expected {}", self.field, self.found, self.expected)
    }
}

/// What stops a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(Box<ConfigError>),
    /// An input the whole job rests on (the parcel layer, a scene folder) cannot be used.
    #[error("{}: {what}: found {found}, expected {expected}", path.display())]
    Input {
        /// The file or folder.
        path: PathBuf,
        /// The part of it that is meant: a layer, a field, the CRS.
        what: String,
        /// What was found.
        found: String,
        /// What is expected.
        expected: String,
        /// What to do about it.
        help: String,
    },
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// Verb: read, write, rename.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Another run holds the output folder.
    #[error("the output folder {} is in use by another run ({holder})", path.display())]
    Locked {
        /// The output folder.
        path: PathBuf,
        /// What the holder wrote about itself.
        holder: String,
    },
    /// A file of the store is not what it must be.
    #[error("{}: found {found}, expected {expected}", path.display())]
    Integrity {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What is expected.
        expected: String,
    },
    /// No parcel lies in a usable scene.
    #[error("nothing was observed: no parcel lies in any of {scenes} scenes that can be used; earlier tables are kept")]
    NothingObserved {
        /// Scenes whose metadata could be read.
        scenes: usize,
        /// Scenes and parcels that were set aside.
        quarantined: Vec<Quarantine>,
    },
    /// Ctrl-C, or a request to stop.
    #[error("stopped on request; finished work is kept, run again to go on")]
    Interrupted,
    /// A mistake of this program.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

impl Error {
    /// An I/O error with the verb and the file it belongs to.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error + use<> {
        let path = path.to_path_buf();
        move |source| Error::Io { action, path, source }
    }

    /// What the user can do, where that is known.
    pub fn help(&self) -> Option<&str> {
        match self {
            Error::Config(e) if !e.help.is_empty() => Some(&e.help),
            Error::Input { help, .. } if !help.is_empty() => Some(help),
            Error::Locked { .. } => {
                Some("wait for the other run to end, start with --wait, or give this project its own [output] dir")
            }
            Error::NothingObserved { .. } => {
                Some("check the CRS of the parcel layer, the days and the folders under [scenes]")
            }
            Error::Integrity { .. } => Some("remove the file and run again: it will be made anew"),
            Error::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull => {
                    Some("free some space and run again: what is finished is kept and will not be done twice")
                }
                std::io::ErrorKind::PermissionDenied => Some("check the owner and the rights of that path"),
                std::io::ErrorKind::NotFound => Some("check the path"),
                _ => None,
            },
            _ => None,
        }
    }

    /// Exit code of the command line: 2 for what the user must correct, 1 for the rest.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Config(_) | Error::Input { .. } => 2,
            _ => 1,
        }
    }

    /// Short machine-readable kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Error::Config(_) => "config",
            Error::Input { .. } => "input",
            Error::Io { .. } => "io",
            Error::Locked { .. } => "locked",
            Error::Integrity { .. } => "integrity",
            Error::NothingObserved { .. } => "nothing_observed",
            Error::Interrupted => "interrupted",
            Error::Internal(_) => "internal",
        }
    }
}

impl From<ConfigError> for Error {
    fn from(e: ConfigError) -> Self {
        Error::Config(Box::new(e))
    }
}

/// What a quarantine row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A scene, or a folder that should have been one.
    Scene,
    /// A parcel.
    Parcel,
    /// An index or band that was asked for.
    Layer,
}

/// Where in the work it was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Reading scene metadata.
    Catalog,
    /// Reading the parcel layer.
    Parcels,
    /// Decoding rasters.
    Extract,
    /// From observations to carbon.
    Account,
}

/// Why. Codes are stable: they are written to `quarantine.parquet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// Metadata is missing, malformed or contradicts itself.
    BadMetadata,
    /// How digital numbers become reflectance is not stated.
    UnknownCalibration,
    /// Platform, format or packing that this version does not read.
    Unsupported,
    /// A raster is absent or cannot be decoded.
    UnreadableAsset,
    /// No cloud mask comes with the scene.
    MissingMask,
    /// None of the requested indices can be made of the bands.
    MissingBands,
    /// Rasters of one scene do not nest on one grid.
    MisalignedGrid,
    /// A polygon that is no valid polygon.
    InvalidGeometry,
    /// The id stands in the layer more than once.
    DuplicateId,
    /// A required attribute is empty or has a value nobody knows.
    BadAttribute,
    /// The parcel cannot be brought into the scenes' coordinate system.
    BadCoordinates,
    /// The raster of elevations does not reach the parcel.
    OutsideDem,
    /// Slopes cannot be corrected by what the scene shows.
    UnusableTerrain,
    /// No scene covers the parcel.
    OutsideImagery,
    /// Too few clear observations where one is needed.
    NoClearObservation,
    /// The parameter set has no value for this parcel.
    OutOfModelDomain,
}

macro_rules! snake_name {
    ($t:ty) => {
        impl $t {
            /// The stable name, as written to tables.
            pub fn name(self) -> String {
                match serde_json::to_value(self) {
                    Ok(serde_json::Value::String(s)) => s,
                    _ => String::new(),
                }
            }
        }
    };
}
snake_name!(Subject);
snake_name!(Stage);
snake_name!(Reason);

/// One scene, parcel or layer set aside. Ordered, so that the table has one order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Quarantine {
    /// Scene, parcel or layer.
    pub subject: Subject,
    /// Its id or name, or its path where no id could be read.
    pub id: String,
    /// Where in the work.
    pub stage: Stage,
    /// Why, as a code.
    pub reason: Reason,
    /// Why, in words: what was found, what is expected, what to do.
    pub message: String,
    /// File, relative to the configured folder; empty where it is no scene.
    pub path: String,
}

impl Quarantine {
    /// A scene that is set aside.
    pub fn scene(id: &str, stage: Stage, reason: Reason, path: &str, message: impl Into<String>) -> Self {
        Quarantine {
            subject: Subject::Scene,
            id: id.to_owned(),
            stage,
            reason,
            message: message.into(),
            path: path.to_owned(),
        }
    }

    /// An index or band that no scene or parcel has.
    pub fn layer(name: &str, stage: Stage, reason: Reason, message: impl Into<String>) -> Self {
        Quarantine { subject: Subject::Layer, ..Quarantine::parcel(name, stage, reason, message) }
    }

    /// A parcel that is set aside.
    pub fn parcel(id: &str, stage: Stage, reason: Reason, message: impl Into<String>) -> Self {
        Quarantine {
            subject: Subject::Parcel,
            id: id.to_owned(),
            stage,
            reason,
            message: message.into(),
            path: String::new(),
        }
    }
}

/// Why one scene's metadata or raster cannot be used, before the scene's id may be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SceneFault {
    /// Code.
    pub reason: Reason,
    /// Words.
    pub message: String,
}

impl SceneFault {
    /// A fault with its code and words.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        SceneFault { reason, message: message.into() }
    }
}
