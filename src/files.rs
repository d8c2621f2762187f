//! Files that are complete or absent: written aside, synced, renamed. And whether a file is still the one that was read.

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What changes when a file does: its size, the times of the last change of content and of the file's record, its number.
/// The second time catches copies that keep the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp(u64, [i64; 5]);

impl Stamp {
    /// Stamp of a file as it is now.
    pub fn of(m: &fs::Metadata) -> Stamp {
        use std::os::unix::fs::MetadataExt;
        let number = i64::from_ne_bytes(m.ino().to_ne_bytes());
        Stamp(m.len(), [m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec(), number])
    }

    /// Stamp of the file at a path; `None` where there is none.
    pub fn at(path: &Path) -> Option<Stamp> {
        fs::metadata(path).ok().map(|m| Stamp::of(&m))
    }
}

/// The files that something was read from, each with its stamp from before it was read.
#[derive(Debug, Default)]
pub struct Trace {
    files: RefCell<Vec<(PathBuf, Option<Stamp>)>>,
    open: Cell<bool>,
}

impl Trace {
    /// Call before a file is read, also where it may be absent.
    pub fn note(&self, path: &Path) {
        let mut files = self.files.borrow_mut();
        if !files.iter().any(|(p, _)| p == path) {
            files.push((path.to_path_buf(), Stamp::at(path)));
        }
    }

    /// Something was asked that no stamp tells of, such as a server.
    pub fn leave_open(&self) {
        self.open.set(true);
    }

    /// Files and stamps, where they are all that was asked.
    pub fn whole(self) -> Option<Vec<(PathBuf, Option<Stamp>)>> {
        (!self.open.get()).then(|| self.files.into_inner())
    }
}

/// Prefix of files that are being written; a run removes what a crash left of them.
pub const STAGING_PREFIX: &str = ".staging-";

/// A file being written aside. Dropped without [`Staged::commit`], it leaves nothing behind.
pub struct Staged {
    file: Option<BufWriter<File>>,
    staging: PathBuf,
    path: PathBuf,
}

impl Staged {
    /// Starts a file that will be `path`; makes its folder.
    ///
    /// # Errors
    /// The file system's answer.
    pub fn create(path: &Path) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let staging = staging_path(path);
        let file = File::create(&staging).map_err(Error::io("write", &staging))?;
        Ok(Staged { file: Some(BufWriter::with_capacity(1 << 18, file)), staging, path: path.to_path_buf() })
    }

    /// Syncs and renames: from now on readers see the whole new file.
    ///
    /// # Errors
    /// The file system's answer; `path` is untouched then.
    pub fn commit(mut self) -> Result<()> {
        let Some(buffered) = self.file.take() else { return Ok(()) };
        let file = buffered.into_inner().map_err(|e| Error::io("write", &self.path)(e.into_error()))?;
        put_in_place(file, &self.staging, &self.path)
    }

    fn buffered(&mut self) -> std::io::Result<&mut BufWriter<File>> {
        self.file.as_mut().ok_or_else(|| std::io::Error::other("the file is committed"))
    }
}

impl Write for Staged {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.buffered()?.write(buf)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.buffered()?.flush()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Gone already after a commit; a leftover is removed by the next run as well.
        let _ = fs::remove_file(&self.staging);
    }
}

/// A file that another library writes aside. Dropped without [`Staging::commit`], it leaves nothing behind.
pub struct Staging {
    staging: PathBuf,
    extra: std::cell::RefCell<Vec<PathBuf>>,
    path: PathBuf,
}

impl Staging {
    /// For a file that will be `path`; makes its folder.
    ///
    /// # Errors
    /// The file system's answer.
    pub fn new(path: &Path) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        Ok(Staging { staging: staging_path(path), extra: Vec::new().into(), path: path.to_path_buf() })
    }

    /// Where to write.
    pub fn aside(&self) -> &Path {
        &self.staging
    }

    /// Another file beside it, removed in the end.
    pub fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.staging.clone().into_os_string();
        name.push(format!("-{suffix}"));
        self.extra.borrow_mut().push(name.clone().into());
        name.into()
    }

    /// Syncs and renames.
    ///
    /// # Errors
    /// The file system's answer; `path` is untouched then.
    pub fn commit(self) -> Result<()> {
        let file =
            File::options().read(true).write(true).open(&self.staging).map_err(Error::io("write", &self.path))?;
        put_in_place(file, &self.staging, &self.path)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        for path in self.extra.borrow().iter().chain([&self.staging]) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Syncs a file and gives it its name.
fn put_in_place(file: File, staging: &Path, path: &Path) -> Result<()> {
    file.sync_all().map_err(Error::io("sync", path))?;
    drop(file);
    fs::rename(staging, path).map_err(Error::io("rename", path))?;
    // Without this a power cut may lose the rename although the data is safe.
    if let Some(Ok(folder)) = path.parent().map(File::open) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Writes bytes atomically.
///
/// # Errors
/// The file system's answer.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut out = Staged::create(path)?;
    out.write_all(bytes).map_err(Error::io("write", path))?;
    out.commit()
}

fn staging_path(path: &Path) -> PathBuf {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!("{STAGING_PREFIX}{}-{name}", std::process::id()))
}

/// Removes what a killed run left half written below `root`. Call only with the store's lock held.
///
/// # Errors
/// A leftover that cannot be removed.
pub fn remove_staging(root: &Path) -> Result<usize> {
    let mut removed = 0;
    for entry in walkdir::WalkDir::new(root).into_iter().filter_map(std::result::Result::ok) {
        if entry.file_type().is_file() && entry.file_name().to_string_lossy().starts_with(STAGING_PREFIX) {
            fs::remove_file(entry.path()).map_err(Error::io("remove", entry.path()))?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abandoned_write_leaves_the_old_file_and_no_staging() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("a/b.txt");
        write_bytes(&path, b"old").expect("write");
        let mut out = Staged::create(&path).expect("staging");
        out.write_all(b"half").expect("write");
        drop(out);
        assert_eq!(fs::read(&path).expect("read"), b"old");
        assert_eq!(fs::read_dir(dir.path().join("a")).expect("dir").count(), 1);
    }

    #[test]
    fn leftovers_are_removed() {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::write(dir.path().join(".staging-1-x"), b"half").expect("write");
        fs::write(dir.path().join("kept"), b"whole").expect("write");
        assert_eq!(remove_staging(dir.path()).expect("clean"), 1);
        assert!(dir.path().join("kept").exists());
    }
}
