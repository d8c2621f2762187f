//! Identity by content: SHA-256 of bytes, files and settings.
//!
//! A task's result is a file named by the digest of everything it depends on, so nothing that can change a result may be
//! left out of a digest, and nothing that cannot (threads, paths, log level) may get in.

use std::fmt;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256 as Hasher};

use crate::error::{Error, Result};

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// Digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Sha256(Hasher::digest(bytes).into())
    }

    /// Digest of a value's JSON. Struct fields come in declaration order and maps must be ordered (`BTreeMap`), so equal
    /// values have equal digests.
    pub fn of_json<T: Serialize>(value: &T) -> Result<Self> {
        let text = serde_json::to_vec(value).map_err(|e| Error::Internal(format!("cannot digest settings: {e}")))?;
        Ok(Sha256::of(&text))
    }

    /// Digest of a whole file, with its size in bytes.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub fn of_file(path: &Path) -> Result<(Self, u64)> {
        let mut file = std::fs::File::open(path).map_err(Error::io("read", path))?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0u8; 1 << 18];
        let mut size = 0u64;
        loop {
            let n = file.read(&mut buffer).map_err(Error::io("read", path))?;
            if n == 0 {
                return Ok((Sha256(hasher.finalize().into()), size));
            }
            hasher.update(&buffer[..n]);
            size += n as u64;
        }
    }

    /// Sixteen hex digits: enough for a file name.
    pub fn short(&self) -> String {
        self.to_string()[..16].to_owned()
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Sha256 {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let mut out = [0u8; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(serde::de::Error::custom("expected 64 hex digits"));
        }
        for (i, byte) in out.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(serde::de::Error::custom)?;
        }
        Ok(Sha256(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer_and_round_trip() {
        let d = Sha256::of(b"abc");
        // FIPS 180-2, appendix B.1.
        assert_eq!(d.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let text = serde_json::to_string(&d).expect("json");
        assert_eq!(serde_json::from_str::<Sha256>(&text).expect("hex"), d);
        assert!(serde_json::from_str::<Sha256>("\"zz\"").is_err());
    }
}
