//! The response cache on disk, between two lives of the process.
//!
//! ```text
//! hubdns response cache
//! {"format":1,"created_ms":...,"rules":[...]}
//! length, record ▸ length, record ▸ ... ▸ 0 ▸ SHA-256 of all before it
//! ```
//!
//! Lengths are four bytes, little-endian; a record is postcard. The file
//! appears whole or not at all. Rules are told by what they are, not by their
//! numbers: what a rule's former upstreams said never answers for others.
//! Times are kept as distances and counted from the wall clock, so that what
//! expired meanwhile is expired; a clock that went backwards voids the file.
//! What a message says of itself is read from it again, never believed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::forward::entry::{Entry, Restored};
use crate::forward::kept::{Kept, Traits};
use crate::wire::message::Message;
use crate::wire::{Class, Rcode, Rtype};

use super::{KeyRef, ResponseCache};

const MAGIC: &str = "hubdns response cache\n";
/// The version of the file.
const FORMAT: u32 = 1;
/// Longest header that is believed, bytes.
const MAX_HEADER: u64 = 4 << 20;
/// Longest record that is believed, bytes: a message, its errors, and the rest.
const MAX_RECORD: usize = 1 << 18;
/// Files of a process that was killed while it wrote are swept by this prefix.
const TEMPORARY: &str = ".hubdns-";

/// What a forward rule is, by its number in the cache: suffix, upstreams, fallback.
pub type Rules = HashMap<u32, String>;

/// Why the cache was not saved or restored.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file is not what it should be.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

/// The time by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// The workers' clock, milliseconds.
    pub now: u64,
    /// The wall clock, milliseconds since 1970.
    pub wall: u64,
}

impl Clocks {
    /// The moment at which the workers' clock shows `now`.
    pub fn at(now: u64) -> Self {
        let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { now, wall: u64::try_from(passed.as_millis()).unwrap_or(u64::MAX) }
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    created_ms: u64,
    rules: Vec<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Saved<'a> {
    rule: u32,
    name: &'a [u8],
    qtype: u16,
    qclass: u16,
    bits: u8,
    rcode: u16,
    traits: u8,
    asked: u8,
    age: u64,
    left: i64,
    ede: &'a [u8],
    bytes: &'a [u8],
}

/// Digests what passes through.
struct Digesting<T> {
    inner: T,
    digest: Sha256,
}

impl<T: Write> Write for Digesting<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Saves what may still be of use of the responses of `rules`; returns how many that is.
pub fn save(cache: &ResponseCache, path: &Path, rules: &Rules, clocks: Clocks) -> Result<u64, SaveError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(directory)?;
    let count = write_file(file.as_file(), cache, rules, clocks)?;
    // Load-bearing: without it a crash may leave the new name with old or no bytes.
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()?;
    Ok(count)
}

/// Writes the whole file.
fn write_file(file: &File, cache: &ResponseCache, rules: &Rules, clocks: Clocks) -> Result<u64, SaveError> {
    let mut out = Digesting { inner: BufWriter::new(file), digest: Sha256::new() };
    let mut numbers: Vec<u32> = rules.keys().copied().collect();
    numbers.sort_unstable();
    let places: HashMap<u32, u32> = numbers.iter().copied().zip(0..).collect();
    let header = Header {
        format: FORMAT,
        created_ms: clocks.wall,
        rules: numbers.iter().filter_map(|number| rules.get(number).cloned()).collect(),
    };
    out.write_all(MAGIC.as_bytes())?;
    serde_json::to_writer(&mut out, &header).map_err(io::Error::other)?;
    out.write_all(b"\n")?;
    let (mut count, mut result) = (0, Ok(()));
    let max_stale = cache.max_stale();
    cache.for_each(|key, kept| {
        if result.is_ok()
            && kept.is_usable(clocks.now, max_stale)
            && let Some(rule) = places.get(&key.partition())
        {
            result = write_record(&mut out, *rule, key, kept, clocks.now);
            count += 1;
        }
    });
    result?;
    out.write_all(&0u32.to_le_bytes())?;
    let digest = out.digest.finalize();
    let mut inner = out.inner;
    inner.write_all(&digest)?;
    inner.flush()?;
    Ok(count)
}

fn write_record(
    out: &mut impl Write,
    rule: u32,
    key: &KeyRef<'_>,
    kept: &Kept<'_>,
    now: u64,
) -> io::Result<()> {
    let saved = Saved {
        rule,
        name: key.name,
        qtype: key.qtype().0,
        qclass: key.qclass().0,
        bits: key.bits(),
        rcode: kept.head.rcode.0,
        traits: kept.head.traits.0,
        asked: kept.marks.asked(),
        age: now.saturating_sub(kept.head.stored),
        left: kept.head.expires.cast_signed().saturating_sub(now.cast_signed()),
        ede: kept.ede,
        bytes: kept.bytes,
    };
    let bytes = postcard::to_stdvec(&saved).map_err(io::Error::other)?;
    let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(&bytes)
}

/// Takes over what [`save`] wrote, as far as the rules are the same and the
/// bound allows; returns how many responses that is. The digest is checked
/// before anything is taken.
pub fn load(cache: &ResponseCache, path: &Path, rules: &Rules, clocks: Clocks) -> Result<u64, SaveError> {
    let body = check_digest(path)?;
    let mut file = BufReader::new(File::open(path)?.take(body));
    let header = read_header(&mut file)?;
    let Some(passed) = clocks.wall.checked_sub(header.created_ms) else {
        return Err(SaveError::Damaged("it was written in the future"));
    };
    let numbers: HashMap<&str, u32> = rules.iter().map(|(number, rule)| (rule.as_str(), *number)).collect();
    let partitions: Vec<Option<u32>> =
        header.rules.iter().map(|rule| numbers.get(rule.as_str()).copied()).collect();
    let (mut count, mut record) = (0, Vec::new());
    loop {
        let mut len = [0; 4];
        file.read_exact(&mut len)?;
        let len = u32::from_le_bytes(len) as usize;
        if len == 0 {
            return Ok(count);
        }
        if len > MAX_RECORD {
            return Err(SaveError::Damaged("a record is too long"));
        }
        record.resize(len, 0);
        file.read_exact(&mut record)?;
        let saved: Saved<'_> =
            postcard::from_bytes(&record).map_err(|_| SaveError::Damaged("a record cannot be decoded"))?;
        let partition = partitions.get(saved.rule as usize).copied().flatten();
        if let Some(partition) = partition
            && restore(cache, partition, &saved, passed, clocks.now).is_some()
        {
            count += 1;
        }
    }
}

/// Puts one record back, unless it is of no use any more.
fn restore(cache: &ResponseCache, partition: u32, saved: &Saved<'_>, passed: u64, now: u64) -> Option<()> {
    let (qtype, qclass) = (Rtype(saved.qtype), Class(saved.qclass));
    let key = KeyRef::rebuild(partition, saved.name, qtype, qclass, saved.bits)?;
    let message = Message::parse(saved.bytes)?;
    let is_its =
        message.qname()?.as_wire() == saved.name && (message.qtype(), message.qclass()) == (qtype, qclass);
    let restored = Restored {
        rcode: Rcode(saved.rcode),
        traits: Traits(saved.traits),
        asked: saved.asked,
        age: saved.age.checked_add(passed)?,
        left: saved.left.checked_sub(i64::try_from(passed).ok()?)?,
        ede: saved.ede,
        bytes: saved.bytes,
    };
    let entry = Entry::restored(&restored, now)?;
    let kept = entry.kept();
    (is_its && kept.is_usable(now, cache.max_stale()) && cache.insert(&key, &kept, now)).then_some(())
}

/// Checks the digest; returns how many bytes it covers.
fn check_digest(path: &Path) -> Result<u64, SaveError> {
    let mut file = File::open(path)?;
    let whole = file.metadata()?.len();
    let body = whole.checked_sub(32).ok_or(SaveError::Damaged("it is too short"))?;
    let mut digest = Sha256::new();
    let copied = io::copy(&mut (&mut file).take(body), &mut DigestOnly(&mut digest))?;
    let mut written = [0; 32];
    file.read_exact(&mut written)?;
    if copied != body || digest.finalize().as_slice() != written {
        return Err(SaveError::Damaged("its digest is another"));
    }
    Ok(body)
}

struct DigestOnly<'d>(&'d mut Sha256);

impl Write for DigestOnly<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn read_header(file: &mut impl BufRead) -> Result<Header, SaveError> {
    let mut magic = vec![0; MAGIC.len()];
    file.read_exact(&mut magic)?;
    if magic != MAGIC.as_bytes() {
        return Err(SaveError::Damaged("it is no saved response cache"));
    }
    let mut line = Vec::new();
    file.take(MAX_HEADER).read_until(b'\n', &mut line)?;
    let header: Header =
        serde_json::from_slice(&line).map_err(|_| SaveError::Damaged("its header cannot be read"))?;
    if header.format != FORMAT {
        return Err(SaveError::Damaged("it is of another version"));
    }
    Ok(header)
}

#[cfg(test)]
mod tests;
