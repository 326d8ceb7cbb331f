//! RFC 1035 master files.
//!
//! ```text
//! scan ── plain lines ──▶ plain ─▶ rows ─▶ RRsets
//!   ├──── odd entries ──▶ read ────▲
//!   └──── anything wrong, `$INCLUDE` ──▶ the whole file: read ─▶ assemble
//! ```
//!
//! `read` has the `domain` crate read the entries; `units` makes seconds of
//! BIND's time units before, and `assemble` checks the rules of a zone after.
//! Anything wrong anywhere fails the whole file, with file and line: half a
//! zone would deny names that exist.

mod assemble;
mod plain;
mod read;
mod rows;
mod scan;
mod units;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::facts::{Fact, Listing, ListingId, SourceKind};
use super::{ReadRecords, Reading, SourceError, unix_now};
use crate::snapshot::model::{Rrsets, ZonePolicy};
use crate::wire::Name;

/// Most bytes of a zone file with everything that it includes.
const MAX_BYTES: u64 = 1 << 30;

/// One zone in a master file.
#[derive(Debug)]
pub struct ZoneFile {
    name: String,
    zone: Name,
    path: PathBuf,
    policy: ZonePolicy,
    max_bytes: u64,
    /// The files that the last reading came upon.
    included: Mutex<Vec<PathBuf>>,
    /// What the last good reading found: the next one shares with it.
    last: Mutex<Rrsets>,
}

impl ZoneFile {
    /// The zone with apex `zone` in the file at `path`. With `fall_through`
    /// names that it lacks are forwarded, else denied.
    pub fn new(zone: Name, path: PathBuf, fall_through: bool) -> Self {
        let policy = if fall_through { ZonePolicy::FallThrough } else { ZonePolicy::Authoritative };
        let included = Mutex::new(Vec::new());
        let (name, last) = (format!("zone-file:{zone}"), Mutex::default());
        Self { name, zone, path, policy, max_bytes: MAX_BYTES, included, last }
    }

    /// Reads the file by whichever reader can.
    fn facts(&self) -> Result<Vec<Fact>, SourceError> {
        let last = lock(&self.last).clone();
        if let Some(scanned) = scan::read(&self.zone, &self.path, self.max_bytes, &last) {
            *lock(&self.included) = vec![self.path.clone()];
            if let Some(facts) = assemble::scanned(&self.zone, self.policy, &self.path, scanned) {
                return Ok(facts);
            }
        }
        self.facts_of_entries()
    }

    /// Reads the file by entries: what is wrong, and where.
    fn facts_of_entries(&self) -> Result<Vec<Fact>, SourceError> {
        let mut reader = read::Reader::new(&self.zone, &self.path, self.max_bytes);
        let outcome = reader.read();
        // Also after an error: the mistake may be mended in an included file.
        *lock(&self.included) = reader.files();
        outcome?;
        assemble::facts(&self.zone, self.policy, reader.into_entries())
    }

    fn remember(&self, listing: &Listing) {
        if let Some(records) = listing.records() {
            *lock(&self.last) = records.rrsets.clone();
        }
    }
}

impl ReadRecords for ZoneFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> SourceKind {
        SourceKind::ZoneFile
    }

    fn read(&self) -> Result<Reading, SourceError> {
        let facts = self.facts()?;
        let id = ListingId { source: self.name.clone(), scope: self.zone.to_string() };
        let listing = Listing { id, kind: SourceKind::ZoneFile, read_at: unix_now(), facts };
        self.remember(&listing);
        Ok(Reading::whole(vec![listing]))
    }

    fn recall(&self, listings: &[Listing]) {
        for listing in listings {
            self.remember(listing);
        }
    }

    fn watched_paths(&self) -> Vec<PathBuf> {
        let mut paths = vec![self.path.clone()];
        let included = lock(&self.included);
        paths.extend(included.iter().filter(|path| **path != self.path).cloned());
        paths
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod both;
#[cfg(test)]
mod tests;
