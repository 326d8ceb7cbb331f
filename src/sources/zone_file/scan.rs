//! Reads big zone files fast: plain lines by [`super::plain`], each odd entry
//! by [`super::read`], in blocks that come and go.
//!
//! It has no word on what is wrong: where anything is, and for the few things
//! that only a reader of whole files can tell, it gives up, and that reader
//! reads the file from its start.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::plain::{self, Said, State, Wire};
use super::read::{self, Before, Entry};
use super::rows::{Built, Record, Rows};
use crate::snapshot::model::Rrsets;
use crate::wire::{Name, Rtype};

/// Bytes that are read at once.
const BLOCK: usize = 256 << 10;
/// One odd entry in so many lines is no trouble; of more the other reader makes less.
const ODD_SHARE: u32 = 8;
/// So many odd entries are no trouble either.
const ODD_AT_ALL: u32 = 2000;

/// A zone file that was read.
pub(super) struct Scanned {
    pub(super) soa: Entry,
    pub(super) built: Built,
}

/// Reads the file at `path`, of `limit` bytes at most. Chunks that are in
/// `known` already are shared with it. `None`: the other reader is to read it.
pub(super) fn read(zone: &Name, path: &Path, limit: u64, known: &Rrsets) -> Option<Scanned> {
    let file = File::open(path).ok()?;
    // What is no regular file may not be there twice.
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut blocks = Blocks::new(file, limit);
    let mut scan = Scan {
        state: State::new(zone.as_wire())?,
        rows: Rows::new(zone, known),
        soa: None,
        line: 1,
        number: 0,
        odd: 0,
        zone,
    };
    blocks.fill()?;
    blocks.at = if blocks.text().starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    loop {
        let taken = scan.lines(blocks.lines())?;
        blocks.at += taken;
        if blocks.lines().is_empty() {
            if !blocks.fill()? {
                break;
            }
            continue;
        }
        // The line is odd: its entry may be longer than what was read.
        let len = loop {
            match entry_len(blocks.text()) {
                Some(len) => break len,
                None if blocks.fill()? => {}
                None => return None,
            }
        };
        scan.odd(blocks.text().get(..len)?)?;
        blocks.at += len;
    }
    Some(Scanned { soa: scan.soa?, built: scan.rows.finish()? })
}

/// The state of reading one file.
struct Scan<'a> {
    state: State,
    rows: Rows<'a>,
    soa: Option<Entry>,
    /// The number of the next line, from 1.
    line: u32,
    /// Records so far.
    number: u32,
    odd: u32,
    zone: &'a Name,
}

impl Scan<'_> {
    /// Reads lines until one is odd; how many bytes were read.
    fn lines(&mut self, text: &[u8]) -> Option<usize> {
        let mut rest = text;
        while !rest.is_empty() {
            let Some((said, len)) = plain::line(rest, &mut self.state) else { break };
            if let Some(Said { owner, rtype, ttl, rdata }) = said {
                let line = self.line;
                self.rows.push(&Record { owner, rtype, ttl, line, rdata }, self.number)?;
                self.number += 1;
            }
            rest = rest.get(len..)?;
            self.line = self.line.checked_add(1)?;
        }
        Some(text.len() - rest.len())
    }

    /// Has one entry read by the other reader.
    fn odd(&mut self, text: &[u8]) -> Option<()> {
        self.odd += 1;
        if self.odd > ODD_AT_ALL && self.odd > self.line / ODD_SHARE {
            return None;
        }
        let state = &mut self.state;
        let before = Before {
            default_ttl: state.default_ttl,
            last_ttl: state.last_ttl,
            owner: state.owner.as_slice(),
        };
        // What is no record changes the state in ways that only a whole reading tells.
        let (entry, ttl) = read::entry_of(&before, text, state.origin.as_slice(), self.line as usize)?;
        state.owner = Wire::of(entry.owner.as_wire())?;
        // Where `$TTL` stands nobody looks at this any more; else it is right.
        state.last_ttl = ttl;
        self.take(entry)?;
        let lines = text.split(|byte| *byte == b'\n').count() - 1;
        self.line = self.line.checked_add(u32::try_from(lines).ok()?)?;
        Some(())
    }

    fn take(&mut self, entry: Entry) -> Option<()> {
        if entry.rtype == Rtype::SOA {
            let is_first = self.soa.is_none() && entry.owner == *self.zone;
            self.soa = Some(entry);
            return is_first.then_some(());
        }
        let record = Record {
            owner: entry.owner.as_wire(),
            rtype: entry.rtype,
            ttl: entry.ttl,
            line: u32::try_from(entry.line).ok()?,
            rdata: &entry.rdata,
        };
        self.rows.push(&record, self.number)?;
        self.number += 1;
        Some(())
    }
}

/// The length of the entry that `text` starts with; `None` if it does not end.
fn entry_len(text: &[u8]) -> Option<usize> {
    let mut bytes = text.iter().enumerate();
    let mut depth = 0usize;
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\n' if depth == 0 => return Some(at + 1),
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b'\\' => drop(bytes.next()),
            b';' => {
                let feed = bytes.find(|(_, byte)| **byte == b'\n')?;
                if depth == 0 {
                    return Some(feed.0 + 1);
                }
            }
            b'"' => loop {
                match bytes.next()?.1 {
                    b'"' => break,
                    b'\\' => drop(bytes.next()),
                    _ => {}
                }
            },
            _ => {}
        }
    }
    None
}

/// A file, block by block.
struct Blocks {
    file: File,
    bytes: Vec<u8>,
    at: usize,
    /// Behind the last line feed.
    whole: usize,
    left: u64,
    is_done: bool,
}

impl Blocks {
    fn new(file: File, limit: u64) -> Self {
        Self { file, bytes: Vec::new(), at: 0, whole: 0, left: limit, is_done: false }
    }

    /// All that was read and not taken.
    fn text(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The whole lines of it.
    fn lines(&self) -> &[u8] {
        self.bytes.get(self.at..self.whole).unwrap_or_default()
    }

    /// Reads on; false at the end of the file. `None` if that fails, or there is too much.
    fn fill(&mut self) -> Option<bool> {
        if self.is_done {
            return Some(false);
        }
        self.bytes.drain(..self.at);
        self.at = 0;
        let len = self.bytes.len();
        let read = (&self.file).take(BLOCK as u64).read_to_end(&mut self.bytes).ok()?;
        self.left = self.left.checked_sub(read as u64)?;
        if read == 0 {
            self.is_done = true;
            // The last line ends where the file does.
            if self.bytes.last().is_some_and(|byte| *byte != b'\n') {
                self.bytes.push(b'\n');
            }
            self.whole = self.bytes.len();
            return Some(len > 0);
        }
        let new = self.bytes.get(len..)?;
        let feed = new.iter().rposition(|byte| *byte == b'\n');
        self.whole = feed.map_or(0, |feed| len + feed + 1);
        Some(true)
    }
}
