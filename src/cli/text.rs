//! Text for terminals: outside data without control characters, tables, ages,
//! and output that a closed pipe ends quietly.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::CliError;
use crate::outside;

/// `text` without what a terminal would act on.
pub(crate) fn plain(text: &str) -> String {
    outside::plain(text)
}

/// `value` as JSON, with the control characters escaped that JSON itself lets pass.
pub(super) fn json(value: &impl Serialize) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|e| CliError::failed("cannot write JSON", e))?;
    Ok(escape_json(text))
}

/// The same on one line.
pub(super) fn json_line(value: &impl Serialize) -> Result<String, CliError> {
    let text = serde_json::to_string(value).map_err(|e| CliError::failed("cannot write JSON", e))?;
    Ok(escape_json(text))
}

fn escape_json(text: String) -> String {
    let mut escaped = outside::json(text);
    escaped.push('\n');
    escaped
}

/// Writes `text` to standard output; a reader that has gone away is no error.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    write(text, std::io::stdout().lock()).map(drop)
}

/// The same; whether anybody still reads.
pub(super) fn print_some(text: &str) -> Result<bool, CliError> {
    write(text, std::io::stdout().lock())
}

/// The same for text with styles, which only a terminal gets to see.
pub(super) fn print_styled(text: &str) -> Result<(), CliError> {
    write(text, anstream::stdout().lock()).map(drop)
}

fn write(text: &str, mut out: impl std::io::Write) -> Result<bool, CliError> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::failed("cannot write to standard output", error))
        }
        written => Ok(written.is_ok()),
    }
}

/// Prints `error` and what caused it to standard error.
pub(super) fn complain(error: &CliError) {
    let mut text = String::new();
    let message = error.to_string();
    // A configuration's problems come one a line; each is escaped by itself.
    for (i, line) in message.lines().enumerate() {
        let _ = writeln!(text, "{}{}", if i == 0 { "hubdns: " } else { "" }, plain(line));
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = writeln!(text, "  caused by: {}", plain(&error.to_string()));
        cause = error.source();
    }
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Rows below `head`, in columns as wide as their widest cell.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let head = head.map(str::to_owned);
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The time since `then`, Unix seconds, in one unit.
pub(super) fn age(then: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
    match now.saturating_sub(then) {
        seconds @ 0..=119 => format!("{seconds}s"),
        seconds @ 120..=7199 => format!("{}m", seconds / 60),
        seconds @ 7200..=172_799 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_control_characters_are_escaped() {
        assert_eq!(plain("a\u{1b}[2Jb\u{9b}c\u{202e}d"), "a\\u{1b}[2Jb\\u{9b}c\\u{202e}d");
        let text = json(&["\u{1b}\u{9b}\u{7f}\u{202e}"]).unwrap();
        assert_eq!(text, "[\n  \"\\u001b\\u009b\\u007f\\u202e\"\n]\n");
        let back: Vec<String> = serde_json::from_str(&text).unwrap();
        assert_eq!(back, ["\u{1b}\u{9b}\u{7f}\u{202e}"]);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "bb".to_owned()], ["ccc".to_owned(), String::new()]];
        assert_eq!(table(["x", "y"], &rows), "x    y\na    bb\nccc\n");
    }
}
