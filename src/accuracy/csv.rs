//! Small CSV files as people make them: RFC 4180 with a head line; quotes, a byte order mark and Windows line ends are
//! understood, and every record knows its line.

use std::path::Path;

use crate::error::{Error, Result};

/// Names of the columns, and the records below.
#[derive(Debug, Clone, PartialEq)]
pub struct Csv {
    /// Names, trimmed.
    pub head: Vec<String>,
    /// Records with as many cells as the head has names.
    pub records: Vec<Record>,
}

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Line where it begins, from 1.
    pub line: usize,
    /// Cells, trimmed.
    pub cells: Vec<String>,
}

impl Csv {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read, is not UTF-8, has no head line, names a column twice, or a record has another number of cells.
    pub fn read(path: &Path) -> Result<Csv> {
        let bytes = std::fs::read(path).map_err(|e| {
            bad(path, "file", format!("a file that cannot be read ({e})"), "a CSV file", "check the path")
        })?;
        let text = String::from_utf8(bytes).map_err(|e| {
            let line = 1 + e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
            let help = "save it as CSV UTF-8 (spreadsheets offer that), or: iconv -f GB18030 -t UTF-8 in.csv > out.csv";
            bad(path, &format!("line {line}"), "bytes that are not UTF-8".into(), "text in UTF-8", help)
        })?;
        let mut rows = parse(&text)
            .map_err(|line| {
                let found = "a quoted cell that does not end".to_owned();
                bad(path, &format!("line {line}"), found, "a closing quote", "close the quote")
            })?
            .into_iter();
        let help = "the first line names the columns";
        let head =
            rows.next().ok_or_else(|| bad(path, "head", "an empty file".into(), "a line of column names", help))?;
        let head = head.cells;
        if let Some(i) = (0..head.len()).find(|&i| head[..i].contains(&head[i])) {
            let found = format!("the column `{}` twice", head[i]);
            return Err(bad(path, "head", found, "each column once", "remove or rename one"));
        }
        let records: Vec<Record> = rows.collect();
        if let Some(r) = records.iter().find(|r| r.cells.len() != head.len()) {
            let found = format!("{} cells", r.cells.len());
            let expected = format!("{}, as the head has", head.len());
            let help = "cells are parted by commas; a cell that holds one stands in double quotes";
            return Err(bad(path, &format!("line {}", r.line), found, &expected, help));
        }
        Ok(Csv { head, records })
    }

    /// Position of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.head.iter().position(|h| h == name)
    }
}

/// An input error in its parts.
pub fn bad(path: &Path, what: &str, found: String, expected: &str, help: &str) -> Error {
    Error::Input {
        path: path.to_path_buf(),
        what: what.to_owned(),
        found,
        expected: expected.to_owned(),
        help: help.to_owned(),
    }
}

/// Records of a text, empty lines left out; the line of a quote that never closes.
fn parse(text: &str) -> std::result::Result<Vec<Record>, usize> {
    let mut records = Vec::new();
    let (mut cells, mut cell) = (Vec::new(), String::new());
    let (mut line, mut begun, mut quote) = (1, 1, None);
    let mut chars = text.trim_start_matches('\u{feff}').chars().peekable();
    loop {
        let c = chars.next();
        if quote.is_some() {
            match c {
                Some('"') if chars.peek() == Some(&'"') => cell.push(chars.next().unwrap_or('"')),
                Some('"') => quote = None,
                Some(c) => {
                    line += usize::from(c == '\n');
                    cell.push(c);
                }
                None => return quote.map_or(Ok(records), Err),
            }
            continue;
        }
        match c {
            Some('"') if cell.trim().is_empty() => {
                cell.clear();
                quote = Some(line);
            }
            Some(',') => cells.push(std::mem::take(&mut cell).trim().to_owned()),
            Some('\n') | None => {
                cells.push(std::mem::take(&mut cell).trim().to_owned());
                let record = Record { line: begun, cells: std::mem::take(&mut cells) };
                if record.cells.iter().any(|c| !c.is_empty()) {
                    records.push(record);
                }
                line += 1;
                begun = line;
                if c.is_none() {
                    return Ok(records);
                }
            }
            Some(c) => cell.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_marks_and_line_ends() {
        let text = "\u{feff}a,b ,c\r\n1,\"x, \"\"y\"\"\nz\",3\r\n\r\n4,,\" 6\"";
        let rows = parse(text).unwrap();
        let cells: Vec<Vec<&str>> = rows.iter().map(|r| r.cells.iter().map(String::as_str).collect()).collect();
        assert_eq!(cells, [vec!["a", "b", "c"], vec!["1", "x, \"y\"\nz", "3"], vec!["4", "", "6"]]);
        assert_eq!(rows.iter().map(|r| r.line).collect::<Vec<_>>(), [1, 2, 5]);
        assert_eq!(parse("a\n\"b\nc"), Err(2));
    }
}
