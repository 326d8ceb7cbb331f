//! The state directory: every published set, a few generations deep.
//!
//! ```text
//! generation-00000042.set     the record set
//! generation-00000042.facts   listings, memory and provenance
//! lock                        held by the one daemon that saves here
//! ```
//!
//! Both files are a magic line, a JSON header line and postcard. `hubdns
//! records --state-dir` shows them; JSON throughout took a million records
//! 420 MB and seconds to read.
//!
//! A file appears whole or not at all: random temporary name in the same
//! directory, write, fsync, rename, fsync the directory. The set alone is
//! enough to answer; facts that are missing or broken cost provenance and the
//! last good listings of sources that fail, no answers.

mod body;
mod directory;
mod history;
mod pack;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use directory::StateDir;
pub use history::{Generation, history};
pub use pack::Beside;

use super::guard::Waits;
use super::memory::Memory;
use super::policy::Scope;
use super::provenance::Provenance;
use crate::findings::Finding;
use crate::snapshot::model::RecordSet;
use crate::sources::facts::Listing;
use crate::wire::Name;

/// The first line of a set's file.
const SET_MAGIC: &str = "hubdns record set";
/// The first line of a file of facts.
const FACTS_MAGIC: &str = "hubdns facts";
/// The version of both files.
const FORMAT: u32 = 3;
/// Longest header line that is believed, bytes.
const MAX_HEADER: usize = 4096;
const PREFIX: &str = "generation-";
const TEMPORARY: &str = ".hubdns-";

/// Why something was not saved, or a saved file does not count.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    /// The system refused.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process holds the lock.
    #[error("another hubdns saves into {}", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A file is not what it should be.
    #[error("{} does not count: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl PersistError {
    /// The label for metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::Locked { .. } => "locked",
            Self::Corrupt { .. } => "corrupt",
        }
    }

    fn io<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }
}

/// The second line of either file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format.
    pub format: u32,
    /// The generation.
    pub generation: u64,
    /// When it was published first, Unix seconds.
    pub created: u64,
    /// What wrote it.
    pub origin: String,
    /// Digest of the bytes behind this line, hexadecimal.
    pub sha256: String,
    /// Their number.
    pub length: u64,
}

/// What is saved beside a set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The last complete listing of each source.
    pub listings: Vec<Listing>,
    /// The memory of the merge.
    pub memory: Memory,
    /// Where the set comes from.
    pub provenance: Provenance,
    /// Removals that wait.
    pub waits: Waits,
    /// When names were asked for, on the cycles' clock, coarsely.
    pub asked: BTreeMap<Name, u64>,
    /// The rollback that is in force.
    pub pin: Option<Pin>,
    /// The scope of the configuration that the set was merged under.
    pub scope: Option<Scope>,
    /// What was found wrong, with the times when it was first seen.
    pub findings: Vec<Finding>,
}

/// A rollback: nothing else is published until an operator accepts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The generation that was rolled back to; it is served under a new number.
    pub to: u64,
    /// When, Unix seconds.
    pub at: u64,
}

/// A saved set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The header of its file.
    pub header: Header,
    /// The set.
    pub set: RecordSet,
    /// What was saved beside it, if that is whole.
    pub facts: Option<Facts>,
}

/// The newest good set of a directory, and what was wrong with newer files.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The set.
    pub saved: Option<Saved>,
    /// Files that do not count.
    pub problems: Vec<PersistError>,
    /// The highest generation that any file name tells: new ones lie above it.
    pub highest: u64,
}

/// Loads the newest good set under `directory` with its facts. A directory
/// that does not exist holds none. Needs no lock.
pub fn load(directory: &Path) -> Loaded {
    let mut loaded = newest(directory);
    if let Some(saved) = &mut loaded.saved {
        let facts = load_facts(directory, saved.header.generation, &saved.set);
        saved.facts = facts.map_err(|problem| loaded.problems.push(problem)).ok();
    }
    loaded
}

/// [`load`] without the facts, which nobody needs in order to answer.
pub fn newest(directory: &Path) -> Loaded {
    let mut loaded = Loaded::default();
    let generations = match generations(directory) {
        Ok(generations) => generations,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return loaded,
        Err(error) => {
            loaded.problems.push(PersistError::io("read", directory)(error));
            return loaded;
        }
    };
    loaded.highest = generations.last().copied().unwrap_or(0);
    for generation in generations.into_iter().rev() {
        match load_set(directory, generation) {
            Ok((header, set)) => {
                loaded.saved = Some(Saved { header, set, facts: None });
                break;
            }
            Err(problem) => loaded.problems.push(problem),
        }
    }
    loaded
}

/// The generations that have a set's file, smallest first.
pub(super) fn generations(directory: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in directory.read_dir()? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(".set"));
        found.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

fn set_path(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("{PREFIX}{generation:08}.set"))
}

fn facts_path(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("{PREFIX}{generation:08}.facts"))
}

/// The set of one generation, if its file is whole.
pub fn load_set(directory: &Path, generation: u64) -> Result<(Header, RecordSet), PersistError> {
    load_file(&set_path(directory, generation), SET_MAGIC, generation)
}

/// The facts that were saved beside `set`, the one of `generation`.
pub fn load_facts(directory: &Path, generation: u64, set: &RecordSet) -> Result<Facts, PersistError> {
    let path = facts_path(directory, generation);
    let (_, packed) = load_file::<pack::Packed>(&path, FACTS_MAGIC, generation)?;
    let reason = "it was saved beside another set".to_owned();
    packed.into_facts(set).ok_or(PersistError::Corrupt { path, reason })
}

/// The rollback that was in force when the facts of `generation` were saved,
/// whatever became of the set beside them.
pub(super) fn load_pin(directory: &Path, generation: u64) -> Option<Pin> {
    let path = facts_path(directory, generation);
    load_file::<pack::Packed>(&path, FACTS_MAGIC, generation).ok()?.1.pin()
}

fn load_file<T: DeserializeOwned>(
    path: &Path,
    magic: &str,
    generation: u64,
) -> Result<(Header, T), PersistError> {
    let mut file = File::open(path).map_err(PersistError::io("read", path))?;
    let size = file.metadata().map_err(PersistError::io("read", path))?.len();
    let corrupt = |reason: &str| PersistError::Corrupt { path: path.to_owned(), reason: reason.to_owned() };
    let mut head = Vec::with_capacity(magic.len() + 2 + MAX_HEADER);
    let most = head.capacity() as u64;
    (&mut file).take(most).read_to_end(&mut head).map_err(PersistError::io("read", path))?;
    let rest = head
        .strip_prefix(magic.as_bytes())
        .and_then(|rest| rest.strip_prefix(b"\n"))
        .ok_or_else(|| corrupt(&format!("it does not start with \"{magic}\"")))?;
    let end = rest.iter().take(MAX_HEADER).position(|byte| *byte == b'\n');
    let (line, start) = end
        .and_then(|end| Some((rest.get(..end)?, rest.get(end + 1..)?)))
        .ok_or_else(|| corrupt("its header is cut off"))?;
    let header: Header = serde_json::from_slice(line).map_err(|_| corrupt("its header is malformed"))?;
    if header.format != FORMAT {
        return Err(corrupt(&format!("it has format {}, not {FORMAT}", header.format)));
    }
    if header.generation != generation {
        return Err(corrupt("its name and its header tell different generations"));
    }
    let length = size.saturating_sub((head.len() - start.len()) as u64);
    if header.length != length {
        return Err(corrupt(&format!("it has {length} of {} bytes", header.length)));
    }
    // Decoded while it is read, and believed only once the digest is known.
    let read = body::read(start, file, length).map_err(PersistError::io("read", path))?;
    if header.sha256 != hexadecimal(&read.sha256) {
        return Err(corrupt("its digest is wrong"));
    }
    let content = read.content.ok_or_else(|| corrupt("its content cannot be decoded"))?;
    Ok((header, content))
}

fn hexadecimal(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The highest generation that any file name under `directory` tells.
pub fn highest(directory: &Path) -> u64 {
    generations(directory).ok().and_then(|found| found.last().copied()).unwrap_or(0)
}
