//! Whole messages of others: walking their records, reading compressed names,
//! and copying records from one message into another.

use std::ops::Range;

use super::folded::FoldedName;
use super::header::{self, Counts, Flags, HEADER_LEN};
use super::name::{MAX_NAME_LEN, Name};
use super::types::{Class, Rcode, Rtype};
use super::{read_u16, read_u32};

/// A section of a message that holds records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// The answer section.
    Answer,
    /// The authority section.
    Authority,
    /// The additional section.
    Additional,
}

/// The place of one record in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The section it stands in.
    pub section: Section,
    /// Where its owner name starts.
    pub owner_at: usize,
    /// TYPE.
    pub rtype: Rtype,
    /// CLASS.
    pub class: Class,
    /// TTL in seconds; a value with the top bit set counts as 0 (RFC 2181 section 8).
    pub ttl: u32,
    /// Where the TTL stands.
    pub ttl_at: usize,
    /// The RDATA, without its length.
    pub rdata: Range<usize>,
}

impl Record {
    /// Where the record ends.
    pub const fn end(&self) -> usize {
        self.rdata.end
    }
}

/// A message whose header, single question and records have been walked once.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    counts: Counts,
    question_end: usize,
}

impl<'a> Message<'a> {
    /// Checks the header, the question and the bounds of every record.
    /// `None` unless there is exactly one question, uncompressed, and all
    /// records are whole. Bytes behind the last record are ignored.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let counts = header::counts(bytes)?;
        if counts.question != 1 {
            return None;
        }
        let (_, name_len) = FoldedName::parse(bytes.get(HEADER_LEN..)?)?;
        let question_end = HEADER_LEN + name_len + 4;
        if bytes.len() < question_end {
            return None;
        }
        let message = Self { bytes, counts, question_end };
        let records = u32::from(counts.answer) + u32::from(counts.authority) + u32::from(counts.additional);
        (message.records().count() == records as usize).then_some(message)
    }

    /// A message that has been walked already, with one question that ends at
    /// `question_end`. Of records that are not whole none is yielded.
    pub fn walked(bytes: &'a [u8], question_end: usize) -> Option<Self> {
        let counts = header::counts(bytes)?;
        (bytes.len() >= question_end && question_end >= HEADER_LEN + 5).then_some(Self {
            bytes,
            counts,
            question_end,
        })
    }

    /// The bytes.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The header's flags.
    pub fn flags(&self) -> Flags {
        header::flags(self.bytes).unwrap_or_default()
    }

    /// The four bits of the response code in the header.
    pub fn rcode(&self) -> Rcode {
        Rcode(self.flags().rcode())
    }

    /// The section counts.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Where the question ends and the answer section starts.
    pub const fn question_end(&self) -> usize {
        self.question_end
    }

    /// QNAME in lower case.
    pub fn qname(&self) -> Option<FoldedName> {
        self.bytes.get(HEADER_LEN..).and_then(FoldedName::parse).map(|(name, _)| name)
    }

    /// QTYPE.
    pub fn qtype(&self) -> Rtype {
        Rtype(read_u16(self.bytes, self.question_end - 4).unwrap_or_default())
    }

    /// QCLASS.
    pub fn qclass(&self) -> Class {
        Class(read_u16(self.bytes, self.question_end - 2).unwrap_or_default())
    }

    /// The records in wire order; stops at the first that is cut off.
    pub fn records(&self) -> Records<'a> {
        Records { bytes: self.bytes, counts: self.counts, at: self.question_end, index: 0 }
    }

    /// The owner name of `record`, decompressed and folded.
    pub fn owner(&self, record: &Record) -> Option<FoldedName> {
        read_name(self.bytes, record.owner_at).map(|(name, _)| name)
    }

    /// The name that opens the RDATA of `record` (CNAME, DNAME, NS, PTR), folded.
    pub fn rdata_name(&self, record: &Record) -> Option<FoldedName> {
        let (name, end) = read_name(self.bytes, record.rdata.start)?;
        (end <= record.rdata.end).then_some(name)
    }
}

/// Iterates over the records of a message.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    counts: Counts,
    at: usize,
    index: u32,
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let answers = u32::from(self.counts.answer);
        let authorities = answers + u32::from(self.counts.authority);
        let section = match self.index {
            i if i < answers => Section::Answer,
            i if i < authorities => Section::Authority,
            i if i < authorities + u32::from(self.counts.additional) => Section::Additional,
            _ => return None,
        };
        let fixed = skip_name(self.bytes, self.at)?;
        let rdata_at = fixed + 10;
        let end = rdata_at + usize::from(read_u16(self.bytes, fixed + 8)?);
        self.bytes.get(rdata_at..end)?;
        let ttl = read_u32(self.bytes, fixed + 4)?;
        let record = Record {
            section,
            owner_at: self.at,
            rtype: Rtype(read_u16(self.bytes, fixed)?),
            class: Class(read_u16(self.bytes, fixed + 2)?),
            ttl: if ttl & 0x8000_0000 == 0 { ttl } else { 0 },
            ttl_at: fixed + 4,
            rdata: rdata_at..end,
        };
        self.at = end;
        self.index += 1;
        Some(record)
    }
}

/// The offset behind the (perhaps compressed) name at `at`. Pointers are not followed.
pub fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    let start = at;
    loop {
        match usize::from(*bytes.get(at)?) {
            0 => return Some(at + 1),
            len @ 1..=63 => at += 1 + len,
            192.. => return (at + 2 <= bytes.len()).then_some(at + 2),
            _ => return None,
        }
        if at - start > MAX_NAME_LEN {
            return None;
        }
    }
}

/// The offset behind the record at `at`.
pub fn skip_record(bytes: &[u8], at: usize) -> Option<usize> {
    let fixed = skip_name(bytes, at)?;
    let end = fixed + 10 + usize::from(read_u16(bytes, fixed + 8)?);
    (end <= bytes.len()).then_some(end)
}

/// Copies the name at `at` into `out` without compression, spelling kept.
/// Returns its length in `out` and the offset behind it in `bytes`. A pointer
/// must point strictly before everything read so far, so loops end, and never
/// into the header, which no two messages share.
pub fn expand_name(bytes: &[u8], mut at: usize, out: &mut [u8; 255]) -> Option<(usize, usize)> {
    let mut len = 0usize;
    let mut end = None;
    let mut limit = at;
    loop {
        let byte = *bytes.get(at)?;
        match byte {
            0 => {
                *out.get_mut(len)? = 0;
                return Some((len + 1, end.unwrap_or(at + 1)));
            }
            1..=63 => {
                let label = bytes.get(at..at + 1 + usize::from(byte))?;
                out.get_mut(len..len + label.len())?.copy_from_slice(label);
                len += label.len();
                at += label.len();
            }
            192.. => {
                let target = usize::from(read_u16(bytes, at)? & 0x3fff);
                if !(HEADER_LEN..limit).contains(&target) {
                    return None;
                }
                end = end.or(Some(at + 2));
                limit = target;
                at = target;
            }
            _ => return None,
        }
    }
}

/// Reads the (perhaps compressed) name at `at`, folded; with the offset behind it.
pub fn read_name(bytes: &[u8], at: usize) -> Option<(FoldedName, usize)> {
    let mut wire = [0u8; 255];
    let (len, end) = expand_name(bytes, at, &mut wire)?;
    let (name, _) = FoldedName::parse(wire.get(..len)?)?;
    Some((name, end))
}

/// Whether every compression pointer of `message` points at a label of an
/// earlier name. One that points into a TTL or other data is readable, but the
/// name that it makes changes when that data does.
pub fn points_at_names(message: &Message<'_>) -> bool {
    let bytes = message.bytes;
    let mut names = NameWalk::default();
    names.begin(bytes);
    for record in message.records() {
        let readable = names.name(bytes, record.owner_at).is_some()
            && super::rdata::walk(record.rtype, record.rdata, |at| names.name(bytes, at)).is_some();
        if !readable {
            return false;
        }
    }
    names.points_at_names()
}

/// Reads the names of a message in wire order, and notes where their labels
/// start. Used again for the next message, it allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct NameWalk {
    /// One bit for each offset that a pointer can hold.
    starts: Vec<u64>,
    /// A pointer missed every label.
    missed: bool,
}

impl NameWalk {
    /// Starts over with the name of the question of `bytes`, which must be whole.
    #[inline]
    pub fn begin(&mut self, bytes: &[u8]) {
        self.starts.clear();
        self.missed = false;
        self.note(bytes, HEADER_LEN);
    }

    /// The offset behind the name at `at`; `None` if it cannot be read.
    #[inline]
    pub fn name(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        // Most owners are this pointer to the question's name.
        if bytes.get(at..at + 2) == Some(&[0xc0, HEADER_LEN as u8]) {
            return Some(at + 2);
        }
        let (_, end) = expand_name(bytes, at, &mut [0; 255])?;
        self.note(bytes, at);
        Some(end)
    }

    /// Whether every pointer so far pointed at a label of an earlier name.
    #[inline]
    pub const fn points_at_names(&self) -> bool {
        !self.missed
    }

    /// Notes the labels of the name at `at`, and whether its pointer hits one.
    fn note(&mut self, bytes: &[u8], mut at: usize) {
        while let Some(byte) = bytes.get(at).copied() {
            if byte >= 192 {
                let target = usize::from(read_u16(bytes, at).unwrap_or_default() & 0x3fff);
                self.missed |= self.starts.get(target / 64).is_none_or(|word| word >> (target % 64) & 1 == 0);
                return;
            }
            if at < 0x4000 {
                if self.starts.len() <= at / 64 {
                    self.starts.resize(at / 64 + 1, 0);
                }
                if let Some(word) = self.starts.get_mut(at / 64) {
                    *word |= 1 << (at % 64);
                }
            }
            if byte == 0 {
                return;
            }
            at += 1 + usize::from(byte);
        }
    }
}

/// A message under construction on the slow path, where records come from
/// other messages: names are written without compression, except an owner
/// equal to the question's, which becomes a pointer to it.
#[derive(Clone, Debug)]
pub struct MessageBuilder {
    bytes: Vec<u8>,
    counts: Counts,
    question: Name,
    /// Longest that the message may become.
    limit: usize,
}

impl MessageBuilder {
    /// Starts a message with `flags` and one question, spelled as in `question`
    /// (wire form, as sent).
    pub fn new(flags: Flags, question: &[u8], qtype: Rtype, qclass: Class) -> Option<Self> {
        let folded = Name::from_wire(question).ok()?;
        let mut bytes = vec![0; HEADER_LEN];
        header::set_flags(&mut bytes, flags);
        bytes.extend_from_slice(question);
        bytes.extend_from_slice(&qtype.0.to_be_bytes());
        bytes.extend_from_slice(&qclass.0.to_be_bytes());
        let counts = Counts { question: 1, ..Counts::default() };
        Some(Self { bytes, counts, question: folded, limit: usize::from(u16::MAX) })
    }

    /// Copies `record` of `from` to the end of `section`, which must not lie
    /// before the section written last; `ttl` replaces the record's. `false`
    /// (and nothing written) if it does not fit or is malformed.
    pub fn push(&mut self, from: &[u8], record: &Record, section: Section, ttl: u32) -> bool {
        let start = self.bytes.len();
        let done = self.try_push(from, record, ttl).is_some() && self.bytes.len() <= self.limit;
        let count = match section {
            Section::Answer => &mut self.counts.answer,
            Section::Authority => &mut self.counts.authority,
            Section::Additional => &mut self.counts.additional,
        };
        match count.checked_add(1).filter(|_| done) {
            Some(more) => *count = more,
            None => self.bytes.truncate(start),
        }
        self.bytes.len() > start
    }

    fn try_push(&mut self, from: &[u8], record: &Record, ttl: u32) -> Option<()> {
        let mut name = [0u8; 255];
        let (len, _) = expand_name(from, record.owner_at, &mut name)?;
        let owner = name.get(..len)?;
        if owner.eq_ignore_ascii_case(self.question.as_wire()) {
            self.bytes.extend_from_slice(&[0xc0, HEADER_LEN as u8]);
        } else {
            self.bytes.extend_from_slice(owner);
        }
        self.bytes.extend_from_slice(&record.rtype.0.to_be_bytes());
        self.bytes.extend_from_slice(&record.class.0.to_be_bytes());
        self.bytes.extend_from_slice(&ttl.to_be_bytes());
        let len_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        super::rdata::expand(from, record.rtype, record.rdata.clone(), &mut self.bytes)?;
        let len = u16::try_from(self.bytes.len() - len_at - 2).ok()?;
        self.bytes.get_mut(len_at..len_at + 2)?.copy_from_slice(&len.to_be_bytes());
        Some(())
    }

    /// The finished message.
    pub fn finish(mut self) -> Vec<u8> {
        header::set_counts(&mut self.bytes, self.counts);
        self.bytes
    }
}
