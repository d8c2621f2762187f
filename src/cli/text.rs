//! Plain text on standard output: lines and tables, aligned also where Chinese characters take two columns.

use std::io::Write;
use std::path::{Component, Path, PathBuf};

use lintan::error::{Error, Result};

/// Writes a line. A reader that has gone away (a closed pipe) is not an error.
pub fn line(text: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::io("write", Path::new("standard output"))(e))
        }
        _ => Ok(()),
    }
}

/// A path for the eye: `configs/../out` is `out`.
pub fn path(path: &Path) -> String {
    let mut parts: Vec<Component> = Vec::new();
    for part in path.components() {
        match (part, parts.last()) {
            (Component::ParentDir, Some(Component::Normal(_))) => {
                parts.pop();
            }
            (Component::CurDir, _) => {}
            _ => parts.push(part),
        }
    }
    parts.iter().collect::<PathBuf>().display().to_string()
}

/// Writes a table: first row is the head; columns whose head starts with `>` are aligned to the right.
pub fn table(rows: &[Vec<String>]) -> Result<()> {
    let Some(head) = rows.first() else { return Ok(()) };
    let right: Vec<bool> = head.iter().map(|h| h.starts_with('>')).collect();
    let cells: Vec<Vec<&str>> = rows.iter().map(|r| r.iter().map(|c| c.trim_start_matches('>')).collect()).collect();
    let width = |c: &str| console_width(c);
    let widths: Vec<usize> = (0..head.len()).map(|i| cells.iter().map(|r| width(r[i])).max().unwrap_or(0)).collect();
    for row in &cells {
        let mut out = String::new();
        for (i, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[i] - width(cell));
            let gap = if i == 0 { "" } else { "  " };
            out.push_str(&if right[i] { format!("{gap}{pad}{cell}") } else { format!("{gap}{cell}{pad}") });
        }
        line(out.trim_end())?;
    }
    Ok(())
}

/// Columns that a text takes on a terminal.
fn console_width(text: &str) -> usize {
    text.chars().map(|c| if ('\u{2e80}'..='\u{ffef}').contains(&c) { 2 } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn paths_are_tidy() {
        assert_eq!(super::path(std::path::Path::new("configs/../out/x")), "out/x");
        assert_eq!(super::path(std::path::Path::new("../a/./b")), "../a/b");
    }

    #[test]
    fn chinese_takes_two_columns() {
        assert_eq!(super::console_width("林碳 a"), 6);
    }
}
