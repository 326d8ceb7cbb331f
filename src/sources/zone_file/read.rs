//! From files to entries: `$INCLUDE`, sizes, and the line of each record.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use domain::base::ToName as _;
use domain::base::iana;
use domain::base::rdata::ComposeRecordData as _;
use domain::zonefile::inplace::{Entry as Scanned, ScannedRecord, Zonefile};

use super::units::{self, TtlDirective};
use crate::sources::SourceError;
use crate::wire::{Name, Rtype, rdata};

/// Files below each other by `$INCLUDE`.
const MAX_DEPTH: usize = 8;
/// `$INCLUDE` directives in all, so that files that include each other twice end.
const MAX_INCLUDES: usize = 1000;

/// One record with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) owner: Name,
    pub(super) rtype: Rtype,
    pub(super) ttl: u32,
    pub(super) rdata: Box<[u8]>,
    /// Index into [`Entries::files`].
    pub(super) file: u16,
    /// From 1.
    pub(super) line: usize,
}

/// All records of a zone file, in its order.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) records: Vec<Entry>,
    pub(super) files: Vec<PathBuf>,
}

impl Entries {
    /// An error at the place of `entry`.
    pub(super) fn error(&self, entry: &Entry, message: String) -> SourceError {
        SourceError::ZoneFile { path: self.file(entry).to_owned(), line: entry.line, message }
    }

    /// The file of `entry`.
    pub(super) fn file(&self, entry: &Entry) -> &Path {
        self.files.get(usize::from(entry.file)).map_or(Path::new(""), PathBuf::as_path)
    }
}

/// Reads one zone file with what it includes.
pub(super) struct Reader<'a> {
    zone: &'a Name,
    path: &'a Path,
    limit: u64,
    bytes_left: u64,
    includes_left: usize,
    /// The directory that includes must lie in, without symlinks.
    directory: PathBuf,
    entries: Entries,
    /// All files opened or tried, for the watcher.
    seen: BTreeSet<PathBuf>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(zone: &'a Name, path: &'a Path, limit: u64) -> Self {
        let entries = Entries { records: Vec::new(), files: Vec::new() };
        Self {
            zone,
            path,
            limit,
            bytes_left: limit,
            includes_left: MAX_INCLUDES,
            directory: PathBuf::new(),
            entries,
            seen: BTreeSet::new(),
        }
    }

    pub(super) fn read(&mut self) -> Result<(), SourceError> {
        let absolute = std::path::absolute(self.path).map_err(|err| SourceError::read(self.path, err))?;
        let directory = absolute.parent().unwrap_or(Path::new("/"));
        self.directory = directory.canonicalize().map_err(|err| SourceError::read(directory, err))?;
        let path = self.path.to_owned();
        self.read_file(&path, self.zone, None, &mut Vec::new())
    }

    /// The files that were read, the first among them.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.seen.iter().cloned().collect()
    }

    pub(super) fn into_entries(self) -> Entries {
        self.entries
    }

    fn read_file(
        &mut self,
        path: &Path,
        origin: &Name,
        default_ttl: Option<u32>,
        open: &mut Vec<PathBuf>,
    ) -> Result<(), SourceError> {
        self.seen.insert(path.to_owned());
        let text = self.load(path)?;
        let (mut text, directives) = units::to_seconds(&text);
        let shift = usize::from(default_ttl.is_some());
        if let Some(ttl) = default_ttl {
            // The default TTL holds in included files too; the reader cannot be told otherwise.
            text.splice(0..0, format!("$TTL {ttl}\n").into_bytes());
        }
        let file = u16::try_from(self.entries.files.len()).expect("includes are bounded");
        self.entries.files.push(path.to_owned());
        open.push(path.to_owned());
        let mut scan = Scan { file, shift, lines: Lines::new(&text), directives, default_ttl };
        let mut zonefile = Zonefile::from(text.as_slice());
        let domain_origin = domain::base::Name::from_slice(origin.as_wire()).expect("a Name is a whole name");
        zonefile.set_origin(domain_origin.to_name());
        zonefile.set_default_class(iana::Class::IN);
        loop {
            match zonefile.next_entry() {
                Ok(Some(Scanned::Record(record))) => {
                    let line = scan.line(zonefile.current_offset());
                    let entry = scan.entry(&record, line).map_err(|text| broken(path, line, text))?;
                    self.entries.records.push(entry);
                }
                Ok(Some(Scanned::Include { path: wanted, origin: given })) => {
                    let line = scan.line(zonefile.current_offset());
                    let origin = match given {
                        Some(given) => from_domain_name(&given),
                        None => zonefile.origin().ok().and_then(|origin| from_domain_name(&origin)),
                    };
                    let origin = origin.ok_or_else(|| broken(path, line, "the origin is no name".into()))?;
                    let target = self.target(&wanted, open).map_err(|text| broken(path, line, text))?;
                    self.read_file(&target, &origin, scan.ttl_at(line), open)?;
                }
                Ok(None) => break,
                Err(error) => return Err(scan.scan_error(path, &error.to_string())),
            }
        }
        open.pop();
        Ok(())
    }

    /// The file that `$INCLUDE wanted` means: inside the zone file's directory
    /// after all symlinks and `..` are resolved, or an error.
    fn target(&mut self, wanted: &str, open: &[PathBuf]) -> Result<PathBuf, String> {
        self.includes_left = self
            .includes_left
            .checked_sub(1)
            .ok_or_else(|| format!("more than {MAX_INCLUDES} files are included"))?;
        if open.len() >= MAX_DEPTH {
            return Err(format!("files include each other more than {MAX_DEPTH} deep"));
        }
        let path = self.directory.join(wanted);
        let real = path.canonicalize().map_err(|error| format!("cannot include {wanted:?}: {error}"))?;
        if !real.starts_with(&self.directory) {
            return Err(format!("{wanted:?} lies outside the directory of the zone file"));
        }
        Ok(real)
    }

    /// The bytes of a regular file, within what is left of the limit.
    fn load(&mut self, path: &Path) -> Result<Vec<u8>, SourceError> {
        let file = File::open(path).map_err(|err| SourceError::read(path, err))?;
        let mut text = Vec::new();
        let read = file.take(self.bytes_left + 1).read_to_end(&mut text);
        let len = read.map_err(|err| SourceError::read(path, err))? as u64;
        self.bytes_left = self
            .bytes_left
            .checked_sub(len)
            .ok_or_else(|| SourceError::TooLarge { path: self.path.to_owned(), limit: self.limit })?;
        let body = text.strip_prefix(b"\xef\xbb\xbf").map(<[u8]>::to_vec);
        Ok(body.unwrap_or(text))
    }
}

/// The state of scanning one file.
struct Scan {
    file: u16,
    /// Lines that were put in front of the text.
    shift: usize,
    lines: Lines,
    directives: Vec<TtlDirective>,
    default_ttl: Option<u32>,
}

impl Scan {
    fn line(&mut self, offset: usize) -> usize {
        self.lines.line_of(offset) - self.shift
    }

    /// The default TTL that holds on `line`.
    fn ttl_at(&self, line: usize) -> Option<u32> {
        let directive = self.directives.iter().rev().find(|directive| directive.line <= line);
        directive.map(|directive| directive.seconds).or(self.default_ttl)
    }

    fn entry(&self, record: &ScannedRecord, line: usize) -> Result<Entry, String> {
        if record.class() != iana::Class::IN {
            return Err(format!("class {} is not served, only IN", record.class()));
        }
        let rtype = Rtype(record.rtype().to_int());
        let owner = from_domain_name(record.owner()).ok_or("the owner is no name")?;
        let mut data = Vec::new();
        record.data().compose_rdata(&mut data).map_err(|_| "the data is too long")?;
        if data.len() > usize::from(u16::MAX) {
            return Err("the data is too long".to_owned());
        }
        // Unknown types come as RFC 3597 bytes and are any bytes.
        if rtype.mnemonic().is_some() && !rdata::is_well_formed(rtype, &data) {
            return Err(format!("the data does not fit type {rtype}"));
        }
        // RFC 2181 section 8: 31 bits, and a set top bit means 0.
        let ttl = Some(record.ttl().as_secs()).filter(|ttl| *ttl <= 0x7fff_ffff).unwrap_or(0);
        Ok(Entry { owner, rtype, ttl, rdata: data.into(), file: self.file, line })
    }

    /// The reader's own errors carry line and column in their text alone.
    fn scan_error(&self, path: &Path, text: &str) -> SourceError {
        let mut parts = text.splitn(3, ':');
        let mut number = || parts.next().and_then(|number| number.parse::<usize>().ok());
        match (number(), number(), parts.next()) {
            (Some(line), Some(column), Some(message)) => {
                // Before the first character of a line the mistake is in the last
                // token of the line above, which has been read to its end.
                let line = line.saturating_sub(self.shift + usize::from(column == 1)).max(1);
                broken(path, line, message.trim().to_owned())
            }
            _ => broken(path, 1, text.to_owned()),
        }
    }
}

/// What the lines above an entry hand down to it.
pub(super) struct Before<'a> {
    pub(super) default_ttl: Option<u32>,
    pub(super) last_ttl: u32,
    /// The last owner; empty if there is none.
    pub(super) owner: &'a [u8],
}

/// The one record in `text`, which starts on `line` of the zone's own file,
/// and its TTL as it stands there. `None` if there is anything else in it.
pub(super) fn entry_of(before: &Before<'_>, text: &[u8], origin: &[u8], line: usize) -> Option<(Entry, u32)> {
    let mut lead = before.default_ttl.map_or_else(String::new, |ttl| format!("$TTL {ttl}\n"));
    if !before.owner.is_empty() {
        let owner = Name::from_wire(before.owner).ok()?;
        let dot = if owner.is_root() { "" } else { "." };
        let _ = writeln!(lead, "{owner}{dot} {} A 0.0.0.0", before.last_ttl);
    }
    let shift = lead.bytes().filter(|byte| *byte == b'\n').count();
    let mut whole = lead.into_bytes();
    whole.append(&mut units::to_seconds(text).0);
    let mut scan =
        Scan { file: 0, shift, lines: Lines::new(&whole), directives: Vec::new(), default_ttl: None };
    let mut zonefile = Zonefile::from(whole.as_slice());
    zonefile.set_origin(domain::base::Name::from_slice(origin).ok()?.to_name());
    zonefile.set_default_class(iana::Class::IN);
    if !before.owner.is_empty() {
        zonefile.next_entry().ok()?;
    }
    let Ok(Some(Scanned::Record(record))) = zonefile.next_entry() else { return None };
    let at = scan.line(zonefile.current_offset());
    let entry = scan.entry(&record, line - 1 + at).ok()?;
    matches!(zonefile.next_entry(), Ok(None)).then_some((entry, record.ttl().as_secs()))
}

fn broken(path: &Path, line: usize, message: String) -> SourceError {
    SourceError::ZoneFile { path: path.to_owned(), line, message }
}

/// Line numbers for growing offsets.
struct Lines {
    /// Offset behind each line feed.
    starts: Vec<usize>,
    at: usize,
}

impl Lines {
    fn new(text: &[u8]) -> Self {
        let feeds = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        Self { starts: feeds.map(|(at, _)| at + 1).collect(), at: 0 }
    }

    /// The line of the byte before `offset`. The scanner's buffer has one byte
    /// in front of the text, so that its offset is one more than the text's.
    fn line_of(&mut self, offset: usize) -> usize {
        let last = offset.saturating_sub(2);
        while self.starts.get(self.at).is_some_and(|start| *start <= last) {
            self.at += 1;
        }
        self.at + 1
    }
}

fn from_domain_name(name: &impl domain::base::ToName) -> Option<Name> {
    let mut wire = Vec::with_capacity(64);
    for label in name.iter_labels() {
        wire.push(u8::try_from(label.len()).ok()?);
        wire.extend_from_slice(label.as_slice());
    }
    Name::from_wire(&wire).ok()
}
