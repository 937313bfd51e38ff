//! Printing. A reader that goes away (`revnet log … | head`) ends the program without a complaint.

use std::io::{self, Write};

use serde::Serialize;

use crate::failure::Result;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// Prints a value as JSON, or as the words for it.
    pub(crate) fn show(
        &self,
        value: &impl Serialize,
        words: impl FnOnce() -> String,
    ) -> Result<()> {
        let mut text = if self.json {
            serde_json::to_string_pretty(value)?
        } else {
            words()
        };
        if text.is_empty() {
            return Ok(());
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        print(&text)
    }

    /// Says that something is done; nothing in JSON but an empty object.
    pub(crate) fn done(&self, words: &str) -> Result<()> {
        self.show(&serde_json::json!({}), || words.to_owned())
    }
}

/// Writes text to standard output at once.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Columns, each as wide as its widest cell. The last one isn't padded.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    let head = head.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let row: &Vec<String> = row;
        for (column, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < row.len() {
                let space = widths[column] - cell.chars().count() + 2;
                out.extend(std::iter::repeat_n(' ', space));
            }
        }
        out.push('\n');
    }
    out
}

/// Text from others without control characters, so that it can't drive the terminal.
pub(crate) fn safe(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            c if c.is_control() => '\u{fffd}',
            // Marks that turn the direction of the text around it.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// The same on one line.
pub(crate) fn line(text: &str) -> String {
    safe(text).replace(['\n', '\t'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["a".to_owned(), "long".to_owned(), "x".to_owned()],
            vec!["bbb".to_owned(), "s".to_owned(), "y".to_owned()],
        ];
        assert_eq!(
            table(&["1", "2", "3"], &rows),
            "1    2     3\na    long  x\nbbb  s     y\n"
        );
    }

    #[test]
    fn words_of_others_cannot_drive_the_terminal() {
        assert_eq!(safe("a\x1b[2Jb\u{202e}c\nd"), "a\u{fffd}[2Jb\u{fffd}c\nd");
        assert_eq!(line("a\nb"), "a b");
    }
}
