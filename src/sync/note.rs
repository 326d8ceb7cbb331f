//! What the sync noticed and an operator should know. Notes are kept with the
//! published set and shown; none of them stops anything.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::provenance::Reason;
use crate::wire::Name;

/// One thing noticed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Note {
    /// What kind of thing.
    pub code: NoteCode,
    /// The name that it is about, if it is about one.
    pub name: Option<Name>,
    /// Where it was seen: a resource id, a file and line, a source.
    pub origin: String,
    /// The particulars, as a sentence without a final period.
    pub text: String,
}

/// The kinds of notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoteCode {
    /// A record was refused or lost to one that contradicts it.
    Refused(Reason),
    /// A connection awaits approval and never had it.
    ConnectionPending,
    /// A connection is not Approved now; what it had is still served.
    ConnectionRemembered,
    /// A connection was rejected or cut.
    ConnectionClosed,
    /// A zone is linked to no virtual network in scope.
    ZoneNotLinked,
    /// A removal awaits confirmation.
    HeldBack,
    /// A source could not be read; its last good listing counts.
    SourceFailed,
    /// Published sets are not saved.
    NotSaved,
    /// A saved set could not be loaded.
    NotLoaded,
    /// Changes of files are found by polling.
    NotWatched,
}

impl NoteCode {
    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refused(reason) => reason.label(),
            Self::ConnectionPending => "connection-pending",
            Self::ConnectionRemembered => "connection-remembered",
            Self::ConnectionClosed => "connection-closed",
            Self::ZoneNotLinked => "zone-not-linked",
            Self::HeldBack => "held-back",
            Self::SourceFailed => "source-failed",
            Self::NotSaved => "not-saved",
            Self::NotLoaded => "not-loaded",
            Self::NotWatched => "not-watched",
        }
    }
}

impl Note {
    pub(super) fn new(code: NoteCode, name: Option<&Name>, origin: &str, text: impl Into<String>) -> Self {
        Self { code, name: name.cloned(), origin: origin.to_owned(), text: text.into() }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.label())?;
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        write!(f, ": {} ({})", self.text, self.origin)
    }
}
