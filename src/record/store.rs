//! The output folder: one run at a time, complete files only, and what is known of the inputs.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::error::{Error, Result};
use crate::files::{Stamp, remove_staging, write_bytes};
use crate::imagery::known::Known;

/// The output folder, held by this process. The lock is the operating system's: it ends with the process, however that
/// ends.
pub struct Store {
    root: PathBuf,
    _lock: File,
}

impl Store {
    /// Takes the output folder; makes it when it is not there. With `wait`, waits for another run to end, until the flag in
    /// it is set.
    ///
    /// # Errors
    /// [`Error::Locked`] when another run holds it, [`Error::Interrupted`] when the wait was broken off.
    pub fn open(root: &Path, wait: Option<&AtomicBool>) -> Result<Self> {
        fs::create_dir_all(root).map_err(Error::io("create", root))?;
        let path = root.join(".lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path)(e)),
                Err(TryLockError::WouldBlock) => {}
            }
            match wait {
                Some(cancel) if cancel.load(Ordering::Relaxed) => return Err(Error::Interrupted),
                // Polled, so that a request to stop is heard while waiting.
                Some(_) => std::thread::sleep(Duration::from_millis(200)),
                None => {
                    let mut holder = String::new();
                    let _ = lock.read_to_string(&mut holder);
                    return Err(Error::Locked { path: root.to_path_buf(), holder: holder.trim().to_owned() });
                }
            }
        }
        let host = fs::read_to_string("/etc/hostname").unwrap_or_default();
        let note = format!("process {} on {}\n", std::process::id(), host.trim());
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| lock.write_all(note.as_bytes()))
            .map_err(Error::io("write", &path))?;
        remove_staging(root)?;
        Ok(Store { root: root.to_path_buf(), _lock: lock })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Folder of a grid's footprints and cube files.
pub fn grid_folder(root: &Path, grid_id: &str) -> PathBuf {
    root.join("cube").join(grid_id)
}

/// Folder of a scene's cube files.
pub fn scene_folder(root: &Path, grid_id: &str, scene_id: &str) -> PathBuf {
    grid_folder(root, grid_id).join(safe_name(scene_id))
}

/// A table's file.
pub fn table_path(root: &Path, name: &str) -> PathBuf {
    root.join("tables").join(format!("{name}.parquet"))
}

/// An id as a file name: other characters are replaced, and then a digest keeps two ids apart.
pub fn safe_name(id: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !id.is_empty() && id.len() <= 120 && id.chars().all(safe) && !id.starts_with('.') {
        return id.to_owned();
    }
    let kept: String = id.chars().take(60).map(|c| if safe(c) { c } else { '_' }).collect();
    format!("x{kept}-{}", &Sha256::of(id.as_bytes()).short()[..8])
}

/// What is known of an input file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Bytes.
    pub size: u64,
    /// Digest of the content.
    pub sha256: Sha256,
    /// While it stays, the file is not read again; none for what is no file.
    stamp: Option<Stamp>,
}

/// What is known of the inputs, remembered between runs: digests of files, and what product metadata said.
#[derive(Debug, Default)]
pub struct Inputs {
    /// Products by their metadata.
    pub products: Known,
    known: Mutex<BTreeMap<String, InputFile>>,
    file: PathBuf,
}

impl Inputs {
    /// What earlier runs on this folder learned. A file that cannot be read is forgotten: everything is digested again.
    pub fn load(root: &Path) -> Self {
        let file = root.join("cube").join("inputs.json");
        let known = fs::read(&file).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();
        let products = Known::load(&root.join("cube").join("products.txt"));
        Inputs { products, known: Mutex::new(known), file }
    }

    /// Size and digest of a file, by memory when it has not changed.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn get(&self, path: &Path) -> Result<InputFile> {
        if let Some(known) = self.peek(path) {
            return Ok(known);
        }
        let stamp = Some(Stamp::of(&fs::metadata(path).map_err(Error::io("read", path))?));
        let (sha256, size) = Sha256::of_file(path)?;
        let input = InputFile { size, sha256, stamp };
        if let Ok(mut known) = self.known.lock() {
            known.insert(path.to_string_lossy().into_owned(), input.clone());
        }
        Ok(input)
    }

    /// What is remembered of a file, if it has not changed since.
    pub fn peek(&self, path: &Path) -> Option<InputFile> {
        let now = Stamp::at(path)?;
        let known = self.known.lock().ok()?.get(path.to_string_lossy().as_ref()).cloned()?;
        (known.stamp == Some(now)).then_some(known)
    }

    /// Remembers that something was found to hold, so that it is not looked into again.
    pub fn note(&self, fact: &str) {
        if let Ok(mut known) = self.known.lock() {
            known.insert(fact.to_owned(), InputFile { size: 0, sha256: Sha256::of(fact.as_bytes()), stamp: None });
        }
    }

    /// True for what was noted before.
    pub fn noted(&self, fact: &str) -> bool {
        self.known.lock().is_ok_and(|known| known.contains_key(fact))
    }

    /// Remembers for the next run.
    ///
    /// # Errors
    /// The file system's answer.
    pub fn save(&self) -> Result<()> {
        let known = self.known.lock().map_err(|_| Error::Internal("input memory is poisoned".into()))?;
        let text = serde_json::to_vec(&*known).map_err(|e| Error::Internal(e.to_string()))?;
        write_bytes(&self.file, &text)?;
        self.products.save()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_the_lock_ends_with_the_first() {
        let dir = tempfile::tempdir().expect("tempdir");
        let first = Store::open(dir.path(), None).expect("free");
        match Store::open(dir.path(), None) {
            Err(Error::Locked { holder, .. }) => assert!(holder.contains("process"), "{holder}"),
            _ => panic!("expected to be refused"),
        }
        drop(first);
        assert!(Store::open(dir.path(), None).is_ok());
    }

    #[test]
    fn a_changed_file_is_digested_again() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("a");
        fs::write(&file, b"one").expect("write");
        let inputs = Inputs::load(dir.path());
        let first = inputs.get(&file).expect("digest");
        inputs.save().expect("save");
        let again = Inputs::load(dir.path());
        assert_eq!(again.peek(&file), Some(first.clone()));
        fs::write(&file, b"other").expect("write");
        assert_eq!(again.peek(&file), None);
        assert_ne!(again.get(&file).expect("digest").sha256, first.sha256);
    }

    #[test]
    fn names_stay_apart() {
        assert_eq!(safe_name("S2B_MSIL2A_20180708T105031"), "S2B_MSIL2A_20180708T105031");
        assert_ne!(safe_name("a/b"), safe_name("a:b"));
        assert_ne!(safe_name(".."), "..");
    }
}
