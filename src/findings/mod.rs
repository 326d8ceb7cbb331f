//! What is wrong with the estate, or with hubdns' view of it, and what an
//! operator should do.
//!
//! Findings are computed anew at each cycle from the listings, the merged set
//! and the state of the sync; none of them stops anything. A finding is known
//! by code, name and resource id: while these stay, so does its first-seen
//! time, restarts included.
//!
//! ```text
//! listings, published set, routes ─▶ examine ─┐
//! what merge, guard and sources say ──────────┴▶ ignore ─▶ ledger (first seen) ─▶ shown
//! ```

mod arm;
mod code;
mod connections;
mod endpoints;
mod estate;
mod evidence;
mod ignore;
mod ledger;
mod names;
mod notices;
mod records;
mod ways;
mod zones;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use code::{Code, Severity, UnknownCode, UnknownSeverity, codes_table};
pub use evidence::{Evidence, examine};
pub use ignore::Ignored;
pub use ledger::{FLAP_SECONDS, Ledger, Stamped, since};
pub use notices::Notices;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// What kind of thing.
    pub code: Code,
    /// The name that it is about: an owner name, else a resource's or source's name.
    pub name: String,
    /// The Azure resource id, or the file and line, or the source, where it was seen.
    pub resource_id: String,
    /// What is wrong and what to do, as sentences for an operator.
    pub text: String,
    /// When it was seen first, Unix seconds; 0 until it is stamped.
    pub first_seen: u64,
}

impl Finding {
    /// A finding that is not stamped yet.
    pub fn new(
        code: Code,
        name: impl fmt::Display,
        resource_id: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        Self {
            code,
            name: name.to_string(),
            resource_id: resource_id.into(),
            text: text.into(),
            first_seen: 0,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.label())?;
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        write!(f, ": {}", self.text)?;
        if !self.resource_id.is_empty() {
            write!(f, " ({})", self.resource_id)?;
        }
        Ok(())
    }
}
