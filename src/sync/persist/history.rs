//! The generations on disk, for people: which are whole, and what they hold.

use std::path::Path;

use super::{Header, PersistError, generations, load_set, set_path};
use crate::snapshot::model::RecordSet;
use crate::sources::error::chain;

/// A saved generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generation {
    /// Its number.
    pub generation: u64,
    /// When it was published first, Unix seconds; 0 if its file does not tell.
    pub created: u64,
    /// What wrote it.
    pub origin: String,
    /// Why it does not count; `None` if its digest and content are right.
    pub problem: Option<String>,
    /// Bytes of its file.
    pub bytes: u64,
    /// RRsets that it holds.
    pub rrsets: usize,
    /// Public aliases that it holds.
    pub aliases: usize,
}

/// Reads every generation under `directory`, the newest first; needs no lock.
pub fn history(directory: &Path) -> Result<Vec<Generation>, PersistError> {
    let numbers = match generations(directory) {
        Ok(numbers) => numbers,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(PersistError::io("read", directory)(error)),
    };
    Ok(numbers.into_iter().rev().map(|number| examine(directory, number)).collect())
}

fn examine(directory: &Path, generation: u64) -> Generation {
    let bytes = set_path(directory, generation).metadata().map_or(0, |data| data.len());
    let found = Generation { generation, bytes, ..Generation::default() };
    match load_set(directory, generation) {
        Ok((header, set)) => describe(found, header, &set),
        Err(problem) => Generation { problem: Some(chain(&problem)), ..found },
    }
}

fn describe(found: Generation, header: Header, set: &RecordSet) -> Generation {
    Generation {
        created: header.created,
        origin: header.origin,
        rrsets: set.zones.iter().map(|zone| zone.rrsets.len()).sum(),
        aliases: set.aliases.len(),
        ..found
    }
}
