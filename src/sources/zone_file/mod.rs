//! RFC 1035 master files.
//!
//! The `domain` crate reads the entries; `units` makes seconds of BIND's time
//! units before, and `assemble` checks the rules of a zone after. Anything
//! wrong anywhere fails the whole file, with file and line: half a zone would
//! deny names that exist.

mod assemble;
mod read;
mod units;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::facts::{Listing, ListingId, SourceKind};
use super::{ReadRecords, Reading, SourceError, unix_now};
use crate::snapshot::model::ZonePolicy;
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
}

impl ZoneFile {
    /// The zone with apex `zone` in the file at `path`. With `fall_through`
    /// names that it lacks are forwarded, else denied.
    pub fn new(zone: Name, path: PathBuf, fall_through: bool) -> Self {
        let policy = if fall_through { ZonePolicy::FallThrough } else { ZonePolicy::Authoritative };
        let included = Mutex::new(Vec::new());
        Self { name: format!("zone-file:{zone}"), zone, path, policy, max_bytes: MAX_BYTES, included }
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
        let mut reader = read::Reader::new(&self.zone, &self.path, self.max_bytes);
        let outcome = reader.read();
        // Also after an error: the mistake may be mended in an included file.
        *self.included.lock().unwrap_or_else(PoisonError::into_inner) = reader.files();
        outcome?;
        let facts = assemble::facts(&self.zone, self.policy, reader.into_entries())?;
        let id = ListingId { source: self.name.clone(), scope: self.zone.to_string() };
        Ok(Reading::whole(vec![Listing { id, kind: SourceKind::ZoneFile, read_at: unix_now(), facts }]))
    }

    fn watched_paths(&self) -> Vec<PathBuf> {
        let mut paths = vec![self.path.clone()];
        let included = self.included.lock().unwrap_or_else(PoisonError::into_inner);
        paths.extend(included.iter().filter(|path| **path != self.path).cloned());
        paths
    }
}

#[cfg(test)]
mod tests;
