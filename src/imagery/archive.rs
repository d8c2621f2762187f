//! Products in folders, zips and tars: where their files are, and their metadata as text.
//!
//! An archive is listed once, and its metadata files are read in the same pass; rasters are left to GDAL, under paths such
//! as `/vsizip/{a.zip}/folder/band.jp2`. The identity of everything inside is that of the archive file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::GzDecoder;

use crate::error::{Reason, SceneFault};
use crate::files::Trace;

/// Metadata larger than this is none.
const MAX_TEXT_BYTES: u64 = 64 << 20;

const PREFIXES: [&str; 2] = ["/vsizip/{", "/vsitar/{"];

/// An archive, listed.
#[derive(Debug)]
pub struct Archive {
    file: PathBuf,
    prefix: &'static str,
    /// Files inside, sorted.
    pub names: Vec<String>,
    texts: BTreeMap<String, Vec<u8>>,
}

/// Where the files of a product are, and which of them were read.
#[derive(Debug)]
pub struct Place<'a> {
    at: At,
    trace: &'a Trace,
}

#[derive(Debug)]
enum At {
    Folder(PathBuf),
    /// A folder inside: empty, or its name with a slash at the end.
    Archive(Arc<Archive>, String),
}

/// True for a file that is read as an archive.
pub fn is_archive(name: &str) -> bool {
    let name = name.to_lowercase();
    [".zip", ".tar", ".tar.gz", ".tgz"].iter().any(|e| name.ends_with(e))
}

/// The archive and the name inside it, for a path that leads into one.
pub fn inside(path: &Path) -> Option<(&Path, &str)> {
    let path = path.to_str()?;
    let rest = PREFIXES.iter().find_map(|p| path.strip_prefix(p))?;
    rest.split_once("}/").map(|(file, name)| (Path::new(file), name))
}

impl Archive {
    /// Lists an archive; `is_metadata` says by name which files are read.
    ///
    /// # Errors
    /// It is not whole, or not of the kind that its name says.
    pub fn open(file: &Path, is_metadata: fn(&str) -> bool) -> Result<Archive, SceneFault> {
        let name = file.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
        let zip = name.ends_with(".zip");
        let mut archive = Archive {
            file: file.to_path_buf(),
            prefix: PREFIXES[usize::from(!zip)],
            names: Vec::new(),
            texts: BTreeMap::new(),
        };
        let result = if zip {
            archive.list_zip(is_metadata)
        } else if name.ends_with("gz") {
            archive.list_tar_gz(is_metadata)
        } else {
            archive.list_tar(is_metadata)
        };
        let kind = if zip { "zip" } else { "tar" };
        result.map_err(|e| {
            SceneFault::new(
                Reason::BadMetadata,
                format!("found a {kind} archive that cannot be read ({e}), expected a whole one; fetch it again"),
            )
        })?;
        if archive.names.is_empty() {
            return Err(SceneFault::new(
                Reason::BadMetadata,
                format!("found a {kind} archive without a file, expected a product; fetch it again"),
            ));
        }
        archive.names.sort();
        Ok(archive)
    }

    fn list_zip(&mut self, is_metadata: fn(&str) -> bool) -> Result<(), String> {
        let file = File::open(&self.file).map_err(|e| e.to_string())?;
        let mut zip = zip::ZipArchive::new(BufReader::new(file)).map_err(|e| e.to_string())?;
        for i in 0..zip.len() {
            // Names come from the directory at the end of the file; only metadata is sought out and decompressed.
            let name = match zip.name_for_index(i) {
                Some(Ok(name)) => name.into_owned(),
                Some(Err(e)) => return Err(e.to_string()),
                None => continue,
            };
            if name.is_empty() || name.ends_with('/') {
                continue;
            }
            if is_metadata(&name) {
                let entry = zip.by_index(i).map_err(|e| format!("{name}: {e}"))?;
                let text = read_text(entry).map_err(|e| format!("{name}: {e}"))?;
                self.texts.insert(name.clone(), text);
            }
            self.names.push(name);
        }
        Ok(())
    }

    fn list_tar(&mut self, is_metadata: fn(&str) -> bool) -> Result<(), String> {
        let file = File::open(&self.file).map_err(|e| e.to_string())?;
        let size = file.metadata().map_err(|e| e.to_string())?.len();
        let mut tar = tar::Archive::new(file);
        let mut end = 0;
        for entry in tar.entries_with_seek().map_err(|e| e.to_string())? {
            let entry = entry.map_err(|e| e.to_string())?;
            end = entry.raw_file_position() + entry.size();
            self.add_tar_entry(entry, is_metadata)?;
        }
        if end > size {
            return Err(format!("it is {size} bytes long, and its last file ends at byte {end}"));
        }
        Ok(())
    }

    fn list_tar_gz(&mut self, is_metadata: fn(&str) -> bool) -> Result<(), String> {
        let file = File::open(&self.file).map_err(|e| e.to_string())?;
        let mut tar = tar::Archive::new(GzDecoder::new(BufReader::new(file)));
        for entry in tar.entries().map_err(|e| e.to_string())? {
            self.add_tar_entry(entry.map_err(|e| e.to_string())?, is_metadata)?;
        }
        Ok(())
    }

    fn add_tar_entry<R: Read>(
        &mut self,
        entry: tar::Entry<'_, R>,
        is_metadata: fn(&str) -> bool,
    ) -> Result<(), String> {
        if !entry.header().entry_type().is_file() {
            return Ok(());
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name.trim_start_matches("./").to_owned();
        if is_metadata(&name) {
            let text = read_text(entry).map_err(|e| format!("{name}: {e}"))?;
            self.texts.insert(name.clone(), text);
        }
        self.names.push(name);
        Ok(())
    }

    /// What it holds, in a few words.
    pub fn tell(&self) -> String {
        const SHOWN: usize = 5;
        let shown: Vec<&str> = self.names.iter().take(SHOWN).map(String::as_str).collect();
        match self.names.len() {
            0 | 1 => format!("one file ({})", shown.join(", ")),
            n if n <= SHOWN => format!("{n} files ({})", shown.join(", ")),
            n => format!("{n} files ({}, ...)", shown.join(", ")),
        }
    }
}

fn read_text(entry: impl Read) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    entry.take(MAX_TEXT_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

impl<'a> Place<'a> {
    /// A folder.
    pub fn folder(folder: &Path, trace: &'a Trace) -> Self {
        Place { at: At::Folder(folder.to_path_buf()), trace }
    }

    /// A folder inside an archive: empty, or its name with a slash at the end.
    pub fn archive(archive: Arc<Archive>, folder: &str, trace: &'a Trace) -> Self {
        Place { at: At::Archive(archive, folder.to_owned()), trace }
    }

    /// Call before a file is read by other means than this.
    pub fn note(&self, name: &str) {
        self.trace.note(&self.file(name));
    }

    /// A metadata file as text.
    ///
    /// # Errors
    /// It is not there or is no text.
    pub fn text(&self, name: &str) -> Result<String, String> {
        self.note(name);
        match &self.at {
            At::Folder(folder) => std::fs::read_to_string(folder.join(name)).map_err(|e| e.to_string()),
            At::Archive(archive, root) => {
                let bytes = archive.texts.get(&format!("{root}{name}")).ok_or("not in the archive")?;
                String::from_utf8(bytes.clone()).map_err(|_| "found bytes that are no UTF-8 text".into())
            }
        }
    }

    /// The first bytes of a metadata file as text; `None` where it is not there.
    pub fn head(&self, name: &str, bytes: usize) -> Option<String> {
        self.note(name);
        let mut head = Vec::new();
        match &self.at {
            At::Folder(folder) => {
                File::open(folder.join(name)).ok()?.take(bytes as u64).read_to_end(&mut head).ok()?;
            }
            At::Archive(archive, root) => {
                let text = archive.texts.get(&format!("{root}{name}"))?;
                head.extend_from_slice(&text[..bytes.min(text.len())]);
            }
        }
        Some(String::from_utf8_lossy(&head).into_owned())
    }

    /// A raster, as GDAL finds it.
    pub fn raster(&self, name: &str) -> PathBuf {
        match &self.at {
            At::Folder(folder) => folder.join(name),
            At::Archive(a, root) => PathBuf::from(format!("{}{}}}/{root}{name}", a.prefix, a.file.display())),
        }
    }

    /// The file on disk that holds a metadata file.
    pub fn file(&self, name: &str) -> PathBuf {
        match &self.at {
            At::Folder(folder) => folder.join(name),
            At::Archive(archive, _) => archive.file.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_into_archives_and_back() {
        assert_eq!(inside(Path::new("/vsizip/{/a/b c.zip}/x/y.jp2")), Some((Path::new("/a/b c.zip"), "x/y.jp2")));
        assert_eq!(inside(Path::new("/vsitar/{b.tar}/y.TIF")), Some((Path::new("b.tar"), "y.TIF")));
        assert_eq!(inside(Path::new("/a/b.zip")), None);
        assert!(is_archive("A.SAFE.ZIP") && is_archive("x.tar.gz") && is_archive("x.tgz") && !is_archive("x.gz"));
    }
}
