//! What `hubdns sync` shows. Times are Unix seconds.

use serde::{Deserialize, Serialize};

/// How the sync fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncStatus {
    /// The published generation; 0 while there is none.
    pub generation: u64,
    /// When it was published first; 0 while there is none.
    pub created_at: u64,
    /// The generation that an operator rolled back to, while that is in force.
    pub pinned_to: Option<u64>,
    /// When that was.
    pub pinned_at: Option<u64>,
    /// Where sets are saved.
    pub state_dir: String,
    /// Why they are not.
    pub not_saved: Option<String>,
    /// The sources, in the configuration's order.
    pub sources: Vec<SyncSourceRow>,
    /// Removals that wait, by name.
    pub removals: Vec<RemovalRow>,
}

/// A source with its listings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncSourceRow {
    /// Its name in the configuration.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// When it was last read whole.
    pub last_success_at: Option<u64>,
    /// Why the last reading failed, if it did.
    pub error: Option<String>,
    /// Its first reading still runs.
    pub pending: bool,
    /// Its listings, and those that could not be read.
    pub listings: Vec<SyncListingRow>,
}

/// A listing of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncListingRow {
    /// What it lists.
    pub scope: String,
    /// When it was read whole; `None` if never.
    pub read_at: Option<u64>,
    /// Facts that count from it.
    pub facts: usize,
    /// Why the last reading failed, if it did.
    pub error: Option<String>,
    /// The permission that the identity lacks for it.
    pub missing_permission: Option<String>,
}

/// A removal that waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalRow {
    /// The owner name.
    pub name: String,
    /// The type.
    pub rtype: String,
    /// When it was seen first.
    pub since: u64,
    /// `held`, `rejected` or `pending`.
    pub state: String,
    /// What it waits for, or why it is held back.
    pub why: String,
}

/// What the last reading wants against what is served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncDiff {
    /// The generation that is served.
    pub generation: u64,
    /// What differs, by name.
    pub changes: Vec<ChangeRow>,
}

/// One RRset or public alias that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRow {
    /// `+` to be added, `-` to be removed, `~` to be changed.
    pub change: String,
    /// The owner name.
    pub name: String,
    /// The type.
    pub rtype: String,
    /// The RDATA that is served.
    pub served: Vec<String>,
    /// The RDATA that is wanted.
    pub wanted: Vec<String>,
    /// The TTLs of both, in seconds; 0 for public aliases.
    pub ttl: [u32; 2],
    /// Since when it waits; 0 if it does not.
    pub since: u64,
    /// Why it is not served.
    pub why: String,
}

/// A saved generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationRow {
    /// Its number.
    pub generation: u64,
    /// When it was published first; 0 if its file does not tell.
    pub created_at: u64,
    /// Whether it is served now.
    pub served: bool,
    /// What wrote it.
    pub origin: String,
    /// Why it does not count; `None` if its digest is right.
    pub problem: Option<String>,
    /// Bytes of its file.
    pub bytes: u64,
    /// RRsets that it holds.
    pub rrsets: usize,
    /// Public aliases that it holds.
    pub aliases: usize,
}

/// What an operation, or a reading on demand, did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncDone {
    /// The generation that is served now.
    pub generation: u64,
    /// Whether it is another one than before.
    pub changed: bool,
    /// Removals that the operation concerned.
    pub removals: usize,
    /// Removals that are still held back.
    pub held_back: usize,
    /// Removals that wait for time or another reading.
    pub pending: usize,
    /// What went wrong with sources, and the like.
    pub notes: Vec<String>,
}
