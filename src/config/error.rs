//! What is wrong with a configuration: every problem at once, each with its
//! place.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why there is no [`Config`](super::Config).
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file can be read and is wrong. Displays one problem per line.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

impl ConfigError {
    /// The label for metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Read { .. } => "unreadable",
            Self::Invalid(_) => "invalid",
        }
    }

    /// The problems in the order of the file; none where it could not be read.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Read { .. } => &[],
            Self::Invalid(problems) => problems,
        }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// One thing that is wrong: `hubdns.toml:12: server.workers: found "many";
/// expected a whole number from 0 to 1024`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file's name as it was given, or [`OVERRIDES`].
    pub file: String,
    /// The line, from 1; none for what is missing altogether or comes from the command line.
    pub line: Option<usize>,
    /// The column, from 1, for text that is no TOML.
    pub column: Option<usize>,
    /// The key's path, empty for text that is no TOML.
    pub key: String,
    /// What stands there. Text from the file is quoted, escaped and cut.
    pub found: String,
    /// What may stand there.
    pub expected: String,
}

/// Stands for the file where a value comes from the command line or a `HUBDNS_*` variable.
pub const OVERRIDES: &str = "command line or environment";

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(column) = self.column {
            write!(f, ":{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": found {}; expected {}", self.found, self.expected)
    }
}

/// Where a value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// On the command line or in a `HUBDNS_*` variable.
    Override,
    /// On a line of the file, from 1.
    Line(usize),
}

/// Collects problems, and knows where each key was written.
///
/// A key has at most one problem, the first: a value that could not be read is
/// not blamed again for what a placeholder in its stead would do.
#[derive(Debug)]
pub(super) struct Report {
    file: String,
    /// Byte offset at which each line begins.
    line_starts: Vec<usize>,
    /// Whether what is read now comes from the command line.
    overriding: bool,
    places: BTreeMap<String, Place>,
    blamed: BTreeSet<String>,
    problems: Vec<Problem>,
}

impl Report {
    pub(super) fn new(file: &str, text: &str) -> Self {
        Self {
            file: file.to_owned(),
            line_starts: line_starts(text),
            overriding: false,
            places: BTreeMap::new(),
            blamed: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    /// From here on, what is read comes from the command line.
    pub(super) fn start_overrides(&mut self) {
        self.overriding = true;
    }

    /// Notes that `key` was written at byte `offset`, and whether it is a table.
    pub(super) fn note(&mut self, key: &str, offset: usize, is_table: bool) {
        if !self.overriding {
            self.places.insert(key.to_owned(), Place::Line(self.line(offset)));
        } else if !is_table {
            self.replace(key);
        }
    }

    /// Notes that `key` comes from the command line. Whatever the file had in
    /// its place keeps its problem, and the new value may have one as well.
    pub(super) fn replace(&mut self, key: &str) {
        self.blamed.retain(|other| !is_at_or_within(other, key));
        self.places.retain(|other, _| !is_at_or_within(other, key));
        self.places.insert(key.to_owned(), Place::Override);
    }

    /// Whether the file or the command line has `key`.
    pub(super) fn is_written(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// Where the file has `key`, for an order among keys; 0 where it has none.
    pub(super) fn line_of(&self, key: &str) -> usize {
        match self.place(key) {
            Some(Place::Line(line)) => line,
            _ => 0,
        }
    }

    /// Adds a problem, unless the key has one already.
    pub(super) fn add(&mut self, key: &str, found: impl fmt::Display, expected: impl fmt::Display) {
        // Nor is what lies within a table or list that could not be read.
        if self.blamed.iter().any(|outer| is_at_or_within(key, outer)) {
            return;
        }
        self.blamed.insert(key.to_owned());
        let (file, line) = match self.place(key) {
            Some(Place::Override) => (OVERRIDES.to_owned(), None),
            Some(Place::Line(line)) => (self.file.clone(), Some(line)),
            None => (self.file.clone(), None),
        };
        let (found, expected) = (found.to_string(), expected.to_string());
        self.problems.push(Problem { file, line, column: None, key: key.to_owned(), found, expected });
    }

    /// Adds that the text is no TOML from `offset` on.
    pub(super) fn add_syntax(&mut self, offset: usize, text: &str, why: &str) {
        let line = self.line(offset);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let before = text.get(start..offset).unwrap_or_default();
        self.problems.push(Problem {
            file: self.file.clone(),
            line: Some(line),
            column: Some(before.chars().count() + 1),
            key: String::new(),
            found: format!("text that is no TOML ({why})"),
            expected: "TOML 1.0 (https://toml.io)".to_owned(),
        });
    }

    /// Whether `key`, or anything within it, has a problem.
    pub(super) fn is_blamed(&self, key: &str) -> bool {
        self.blamed.iter().any(|other| is_at_or_within(other, key))
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// The problems in the order of the file, those of the command line first.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| match problem.line {
            Some(line) => (1, line),
            None if problem.file == OVERRIDES => (0, 0),
            None => (2, 0),
        });
        self.problems
    }

    /// Where `key` was written, or the nearest table or list around it.
    fn place(&self, key: &str) -> Option<Place> {
        let mut key = key;
        loop {
            if let Some(place) = self.places.get(key) {
                return Some(*place);
            }
            key = key.get(..key.rfind(['.', '['])?)?;
        }
    }

    fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset).max(1)
    }
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

/// Whether `key` is `outer` or lies in the table or list of that name.
fn is_at_or_within(key: &str, outer: &str) -> bool {
    key.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
