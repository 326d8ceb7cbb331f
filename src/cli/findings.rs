//! `hubdns findings`: what is wrong with the estate, and what to do about it.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use clap::Args;
use hyper::Method;

use super::source::Inspected;
use super::{CliError, client, text};
use crate::admin::view::FindingRow;
use crate::findings::{Code, Severity};

/// Width of the sentences where the terminal does not tell its own, columns.
const WIDTH: usize = 100;
/// The narrowest that is believed.
const MIN_WIDTH: usize = 40;
/// Before each line of a sentence.
const INDENT: &str = "    ";

#[derive(Debug, Args)]
#[command(after_help = "\
Exit code: 0 if nothing that is listed is as bad as --fail-on, 1 if something \
is, or if there is nobody to ask.")]
pub(super) struct Findings {
    #[command(flatten)]
    from: Inspected,
    /// Only findings at least as bad as this: info, warning or error
    #[arg(long, value_name = "SEVERITY", default_value = "info")]
    severity: Severity,
    /// Only findings of this kind (`missing-data-record`); may be given several times
    #[arg(long = "code", value_name = "CODE")]
    codes: Vec<Code>,
    /// Fail if something listed is at least as bad as this: info, warning, error, or never
    #[arg(long, value_name = "SEVERITY", default_value = "warning")]
    fail_on: FailOn,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What makes the command fail.
#[derive(Clone, Copy, Debug)]
struct FailOn(Option<Severity>);

impl std::str::FromStr for FailOn {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        if word == "never" {
            return Ok(Self(None));
        }
        word.parse().map(|severity| Self(Some(severity))).map_err(|error| format!("{error}, or never"))
    }
}

impl Findings {
    pub(super) fn run(self) -> Result<(), CliError> {
        let mut rows: Vec<FindingRow> = match self.from.offline()? {
            Some(offline) => offline.findings(),
            None => client::ask(&self.from.socket(), Method::GET, "/v1/findings")?,
        };
        rows.retain(|row| self.matches(row));
        if self.json {
            text::print(&text::json(&rows)?)?;
        } else {
            text::print_styled(&render(&rows, width()))?;
        }
        self.judge(&rows)
    }

    fn matches(&self, row: &FindingRow) -> bool {
        let is_named = self.codes.is_empty() || self.codes.iter().any(|code| code.label() == row.code);
        is_named && severity(row) >= self.severity
    }

    /// The exit code, with a word why: what is listed may be a page up.
    fn judge(&self, rows: &[FindingRow]) -> Result<(), CliError> {
        let Some(limit) = self.fail_on.0 else { return Ok(()) };
        match rows.iter().filter(|row| severity(row) >= limit).count() {
            0 => Ok(()),
            1 => Err(CliError::Refused(format!("1 finding of severity {limit} or worse"))),
            count => Err(CliError::Refused(format!("{count} findings of severity {limit} or worse"))),
        }
    }
}

/// A daemon of another version may know severities that this one does not:
/// then better too loud.
fn severity(row: &FindingRow) -> Severity {
    row.severity.parse().unwrap_or(Severity::Error)
}

/// A line of each finding, the sentence and the resource below it.
fn render(rows: &[FindingRow], width: usize) -> String {
    if rows.is_empty() {
        return "no findings\n".to_owned();
    }
    let cells: Vec<[String; 4]> = rows
        .iter()
        .map(|row| {
            let since = if row.first_seen == 0 { "-".to_owned() } else { text::age(row.first_seen) };
            [text::plain(&row.severity), text::plain(&row.code), text::plain(&row.name), since]
        })
        .collect();
    let table = text::table(["SEVERITY", "FINDING", "NAME", "SINCE"], &cells);
    let mut lines = table.lines();
    let mut page = String::new();
    let _ = writeln!(page, "{}", lines.next().unwrap_or_default());
    let dim = Style::new().dimmed();
    for (line, row) in lines.zip(rows) {
        let color = match severity(row) {
            Severity::Error => Style::new().bold().fg_color(Some(AnsiColor::Red.into())),
            Severity::Warning => Style::new().fg_color(Some(AnsiColor::Yellow.into())),
            Severity::Info => Style::new().fg_color(Some(AnsiColor::Cyan.into())),
        };
        let (word, rest) = line.split_at(line.find(' ').unwrap_or(line.len()));
        let _ = writeln!(page, "{color}{word}{color:#}{rest}");
        for line in wrap(&text::plain(&row.text), width.saturating_sub(INDENT.len())) {
            let _ = writeln!(page, "{INDENT}{line}");
        }
        if !row.resource_id.is_empty() {
            let _ = writeln!(page, "{INDENT}{dim}{}{dim:#}", text::plain(&row.resource_id));
        }
    }
    page
}

/// The words of `text` in lines of at most `width` characters. What stands in
/// backquotes stays on one line: people copy it.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut quoted = false;
    let mut pieces: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match pieces.last_mut() {
            Some(piece) if quoted => {
                piece.push(' ');
                piece.push_str(word);
            }
            _ => pieces.push(word.to_owned()),
        }
        quoted ^= word.matches('`').count() % 2 == 1;
    }
    for piece in pieces {
        let line = lines.last_mut().expect("never empty");
        if line.is_empty() {
            *line = piece;
        } else if line.chars().count() + 1 + piece.chars().count() <= width {
            line.push(' ');
            line.push_str(&piece);
        } else {
            lines.push(piece);
        }
    }
    lines
}

/// The terminal's width, where the shell tells it.
fn width() -> usize {
    let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    told.unwrap_or(WIDTH).max(MIN_WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(severity: &str, name: &str, text: &str) -> FindingRow {
        FindingRow {
            code: "ip-drift".into(),
            severity: severity.into(),
            name: name.into(),
            resource_id: "/a/b".into(),
            text: text.into(),
            first_seen: 0,
        }
    }

    #[test]
    fn sentences_are_wrapped_and_commands_stay_whole() {
        let lines = wrap("one two three `az x y z` four", 9);
        assert_eq!(lines, ["one two", "three", "`az x y z`", "four"]);
    }

    #[test]
    fn a_finding_is_a_line_with_its_sentence_below() {
        let rows = [row("error", "a.example", "Wrong. Do this."), row("info", "b.example", "x")];
        let plain = anstream::adapter::strip_str(&render(&rows, 80)).to_string();
        assert_eq!(
            plain,
            "SEVERITY  FINDING   NAME       SINCE\n\
             error     ip-drift  a.example  -\n    Wrong. Do this.\n    /a/b\n\
             info      ip-drift  b.example  -\n    x\n    /a/b\n"
        );
        assert_eq!(render(&[], 80), "no findings\n");
    }

    #[test]
    fn outside_text_cannot_color_a_terminal() {
        let page = render(&[row("error", "\u{1b}[2J", "\u{1b}]0;x\u{7}")], 80);
        assert!(!page.contains("\u{1b}[2J") && !page.contains("\u{1b}]"), "{page:?}");
    }
}
