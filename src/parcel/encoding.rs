//! In which encoding a Shapefile's text is: what the file says where that can be believed, else what its bytes show.
//!
//! A Shapefile may say it twice (a `.cpg` file, a language byte in the `.dbf`), contradict itself, or say nothing. Chinese
//! bureaus write GBK, newer programs UTF-8. Text of some length that is valid UTF-8 is UTF-8: GBK almost never is.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use crate::gdal_io::LayerFault;

/// The files of a Shapefile that exist, and the one asked for first.
pub fn files(shp: &Path) -> Vec<PathBuf> {
    let mut all = vec![shp.to_path_buf()];
    all.extend(["shx", "dbf", "prj", "cpg"].iter().filter_map(|e| beside(shp, e)));
    all
}

/// True for the path of a Shapefile.
pub fn is_shapefile(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("shp"))
}

/// The file of another extension, in small or capital letters.
fn beside(shp: &Path, extension: &str) -> Option<PathBuf> {
    [extension.to_owned(), extension.to_uppercase()].iter().map(|e| shp.with_extension(e)).find(|p| p.exists())
}

/// Encoding to read a Shapefile's text in, and a sentence where it had to be found out; `None` leaves it to GDAL.
///
/// # Errors
/// One of the files that belong to a Shapefile is missing or cannot be read.
pub fn of_shapefile(shp: &Path, configured: Option<&str>) -> Result<(Option<String>, Option<String>), LayerFault> {
    let need = |extension: &str, holds: &str| {
        beside(shp, extension).ok_or_else(|| {
            let name = shp.with_extension(extension);
            let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let help = "copy all files of the Shapefile together: .shp, .shx, .dbf, .prj, and .cpg where there is one";
            LayerFault::new("Shapefile", format!("no file `{name}`"), format!("that file, with {holds}"), help)
        })
    };
    if !shp.exists() {
        return Ok((None, None));
    }
    need("shx", "the index of the shapes")?;
    let dbf = need("dbf", "the attributes")?;
    need("prj", "the coordinate reference system; a layer without a CRS is refused, it is never guessed")?;
    if let Some(name) = configured {
        return Ok((Some(name.to_owned()), None));
    }
    let unreadable = |e: std::io::Error| {
        LayerFault::new("Shapefile", format!("a .dbf file that cannot be read ({e})"), "a dBASE table", "copy it again")
    };
    let (language, text) = read_dbf(&dbf).map_err(unreadable)?;
    let stated = match beside(shp, "cpg") {
        Some(cpg) => std::fs::read(&cpg).map(|b| String::from_utf8_lossy(&b).trim().to_owned()).ok(),
        None => None,
    };
    Ok(decide(stated.filter(|s| !s.is_empty()).as_deref(), language, text))
}

/// What the bytes of the text can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Text {
    ascii: bool,
    utf8: bool,
    gbk: bool,
}

fn decide(cpg: Option<&str>, language: u8, text: Text) -> (Option<String>, Option<String>) {
    let some = |s: &str| Some(s.to_owned());
    if text.ascii {
        return (some("UTF-8"), None);
    }
    let said = cpg.map(|name| format!(".cpg file says `{name}`"));
    let upper = cpg.unwrap_or_default().to_uppercase().replace(['-', '_', ' '], "");
    // 0x4D is code page 936; 0 and 0x57 ("whatever Windows was set to") say nothing.
    let chinese = upper.contains("936") || upper.starts_with("GB") || (cpg.is_none() && language == 0x4D);
    let unicode = upper.contains("UTF8") || upper == "65001";
    match (text.utf8, text.gbk) {
        (true, _) if unicode => (some("UTF-8"), None),
        (_, true) if chinese && !text.utf8 => (some("GB18030"), None),
        (true, _) if chinese => {
            let who = said.unwrap_or_else(|| "language byte of the .dbf says GBK".into());
            (some("UTF-8"), Some(format!("the {who}, but all text is valid UTF-8 and is read so; if it comes out wrong, set `encoding = \"GBK\"` under [parcels]")))
        }
        (false, true) if unicode => {
            (some("GB18030"), Some("the .cpg file says UTF-8, but the text is not; it is read as GBK".into()))
        }
        // A code page of another language.
        _ if cpg.is_some() || !matches!(language, 0 | 0x57 | 0x4D) => (None, None),
        (true, _) => (some("UTF-8"), Some("the Shapefile does not say how its text is encoded: it is valid UTF-8 and is read so".into())),
        (false, true) => (some("GB18030"), Some("the Shapefile does not say how its text is encoded: it is not UTF-8 and is read as GBK; if it comes out wrong, set `encoding` under [parcels]".into())),
        (false, false) => (None, Some("the text of the Shapefile is neither UTF-8 nor GBK and may come out wrong; set `encoding` under [parcels]".into())),
    }
}

/// Language byte of a dBASE table, and what its field names and text can be.
fn read_dbf(path: &Path) -> std::io::Result<(u8, Text)> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(path)?);
    let mut head = [0u8; 32];
    file.read_exact(&mut head)?;
    let header = usize::from(u16::from_le_bytes([head[8], head[9]]));
    let record = usize::from(u16::from_le_bytes([head[10], head[11]]));
    let mut fields = vec![0u8; header.saturating_sub(32)];
    file.read_exact(&mut fields)?;
    let mut text = Text { ascii: true, utf8: true, gbk: true };
    let mut columns = Vec::new();
    // The first byte of a record tells whether it is deleted.
    let mut start = 1;
    for field in fields.chunks_exact(32).take_while(|f| f[0] != 0x0D) {
        let name = field[..11].split(|b| *b == 0).next().unwrap_or_default();
        text.see(name);
        let width = if field[11] == b'C' {
            usize::from(u16::from_le_bytes([field[16], field[17]]))
        } else {
            usize::from(field[16])
        };
        if field[11] == b'C' && start + width <= record {
            columns.push(start..start + width);
        }
        start += width;
    }
    let mut row = vec![0u8; record];
    while !columns.is_empty() && file.read_exact(&mut row).is_ok() {
        for column in &columns {
            text.see(&row[column.clone()]);
        }
    }
    Ok((head[29], text))
}

impl Text {
    /// Takes a value into account. Its end may have been cut within a character, since fields have a fixed width.
    fn see(&mut self, bytes: &[u8]) {
        let end = bytes.iter().rposition(|b| !matches!(b, b' ' | 0)).map_or(0, |i| i + 1);
        let bytes = &bytes[..end];
        if bytes.is_ascii() {
            return;
        }
        self.ascii = false;
        self.utf8 &= std::str::from_utf8(bytes).map_or_else(|e| e.error_len().is_none(), |_| true);
        self.gbk &= is_gbk(bytes);
    }
}

/// Two-byte characters of GBK and four-byte ones of GB18030.
fn is_gbk(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    loop {
        rest = match rest {
            [] => return true,
            [0..=0x7F, rest @ ..] => rest,
            [0x81..=0xFE, 0x40..=0x7E | 0x80..=0xFE, rest @ ..] => rest,
            [0x81..=0xFE, 0x30..=0x39, 0x81..=0xFE, 0x30..=0x39, rest @ ..] => rest,
            [0x81..=0xFE] => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 针叶林 in GBK.
    const GBK: &[u8] = &[0xD5, 0xEB, 0xD2, 0xB6, 0xC1, 0xD6];

    fn text(values: &[&[u8]]) -> Text {
        let mut text = Text { ascii: true, utf8: true, gbk: true };
        values.iter().for_each(|v| text.see(v));
        text
    }

    #[test]
    fn bytes_tell_their_encoding() {
        assert_eq!(text(&[b"abc  ", b""]), Text { ascii: true, utf8: true, gbk: true });
        assert_eq!(text(&[b"abc", GBK]), Text { ascii: false, utf8: false, gbk: true });
        // 10 bytes of a name of 4 characters: cut within the last.
        assert!(text(&[&"优势树种".as_bytes()[..10]]).utf8);
        assert!(!text(&["B\u{e2}rlad".as_bytes(), &[b'B', 0xE2, b'r']]).utf8);
        assert_eq!(text(&[&[0xFF, 0x41]]), Text { ascii: false, utf8: false, gbk: false });
    }

    #[test]
    fn what_the_file_says_is_believed_unless_its_bytes_deny_it() {
        let (gbk, utf8) = (text(&[GBK]), text(&["针叶林".as_bytes()]));
        let reads = |cpg: Option<&str>, language: u8, t: Text| {
            let (encoding, note) = decide(cpg, language, t);
            (encoding.unwrap_or_default(), note.is_some())
        };
        for cpg in ["GBK", "cp936", "ANSI 936", "GB2312"] {
            assert_eq!(reads(Some(cpg), 0, gbk), ("GB18030".into(), false), "{cpg}");
        }
        assert_eq!(reads(None, 0x4D, gbk), ("GB18030".into(), false));
        assert_eq!(reads(Some("UTF-8"), 0, utf8), ("UTF-8".into(), false));
        assert_eq!(reads(None, 0, gbk), ("GB18030".into(), true));
        assert_eq!(reads(None, 0x57, gbk), ("GB18030".into(), true));
        assert_eq!(reads(None, 0, utf8), ("UTF-8".into(), true));
        assert_eq!(reads(None, 0x4D, utf8), ("UTF-8".into(), true));
        assert_eq!(reads(Some("UTF-8"), 0x4D, gbk), ("GB18030".into(), true));
        assert_eq!(reads(Some("ISO-8859-2"), 0, gbk), (String::new(), false));
    }
}
