//! Records on their way from the lines of a file into RRsets.
//!
//! Big files are mostly sorted, or nearly so: a window of records is kept in
//! order, and what lies well below its end goes into chunks at once, so that a
//! million records never lie in memory twice. Records that come too late for
//! that are put in at the end.

use std::cmp::Ordering;

use crate::snapshot::model::{Builder, Rrsets};
use crate::wire::{Name, Rtype};

/// Bytes of records that are kept before the smaller part goes into chunks.
const WINDOW: usize = 1 << 20;
/// So far a record is looked for its place from the end on.
const NEAR: usize = 8;

/// The RRsets with the line of each.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Built {
    pub(super) rrsets: Rrsets,
    pub(super) lines: Vec<u32>,
}

/// Records, and what became of them.
pub(super) struct Rows<'a> {
    zone: &'a Name,
    window: Window,
    late: Window,
    /// The owner of the last RRset in `builder`.
    last: Vec<u8>,
    builder: Builder,
    lines: Vec<u32>,
    known: &'a Rrsets,
}

/// Records in their order, as far as it is kept.
#[derive(Default)]
struct Window {
    rows: Vec<Row>,
    bytes: Vec<u8>,
    is_sorted: bool,
}

/// One record: `bytes` have its owner and its RDATA.
#[derive(Clone, Copy)]
struct Row {
    /// The first bytes of the owner, and of what order they are.
    prefix: (u64, u64),
    start: u32,
    /// Of equal records the first in the file stays.
    number: u32,
    line: u32,
    ttl: u32,
    rtype: Rtype,
    rdata: u16,
    owner: u8,
}

impl Row {
    fn owner<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        let start = self.start as usize;
        bytes.get(start..start + usize::from(self.owner)).unwrap_or_default()
    }

    fn rdata<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        let start = self.start as usize + usize::from(self.owner);
        bytes.get(start..start + usize::from(self.rdata)).unwrap_or_default()
    }

    /// Owner, type, RDATA.
    fn by_content(&self, other: &Self, bytes: &[u8]) -> Ordering {
        let owner = || self.owner(bytes).cmp(other.owner(bytes));
        let rdata = || self.rdata(bytes).cmp(other.rdata(bytes));
        self.prefix
            .cmp(&other.prefix)
            .then_with(owner)
            .then_with(|| self.rtype.cmp(&other.rtype))
            .then_with(rdata)
    }

    fn in_order(&self, other: &Self, bytes: &[u8]) -> Ordering {
        self.by_content(other, bytes).then_with(|| self.number.cmp(&other.number))
    }

    fn has_owner_of(&self, other: &Self, bytes: &[u8]) -> bool {
        self.prefix == other.prefix && self.owner(bytes) == other.owner(bytes)
    }
}

/// The first bytes of a name, as a number of the same order.
fn prefix(owner: &[u8]) -> (u64, u64) {
    let mut first = [0; 16];
    match owner.first_chunk() {
        Some(chunk) => first = *chunk,
        None => first.iter_mut().zip(owner).for_each(|(to, byte)| *to = *byte),
    }
    let whole = u128::from_be_bytes(first);
    ((whole >> 64) as u64, whole as u64)
}

/// One record of a line.
pub(super) struct Record<'r> {
    pub(super) owner: &'r [u8],
    pub(super) rtype: Rtype,
    pub(super) ttl: u32,
    pub(super) line: u32,
    pub(super) rdata: &'r [u8],
}

impl Window {
    /// Takes a record in; `None` if there are too many.
    fn push(&mut self, record: &Record<'_>, number: u32) -> Option<()> {
        let row = Row {
            prefix: prefix(record.owner),
            start: u32::try_from(self.bytes.len()).ok()?,
            number,
            line: record.line,
            ttl: record.ttl,
            rtype: record.rtype,
            rdata: u16::try_from(record.rdata.len()).ok()?,
            owner: u8::try_from(record.owner.len()).ok()?,
        };
        self.bytes.extend_from_slice(record.owner);
        self.bytes.extend_from_slice(record.rdata);
        self.is_sorted |= self.rows.is_empty();
        let mut at = self.rows.len();
        if self.is_sorted {
            let bytes = self.bytes.as_slice();
            let is_behind = |at: usize| {
                let before = at.checked_sub(1).and_then(|at| self.rows.get(at));
                before.is_some_and(|before| before.in_order(&row, bytes) == Ordering::Greater)
            };
            let far = at.saturating_sub(NEAR);
            while is_behind(at) {
                if at == far {
                    self.is_sorted = false;
                    at = self.rows.len();
                    break;
                }
                at -= 1;
            }
        }
        self.rows.insert(at, row);
        Some(())
    }

    fn sort(&mut self) {
        if !self.is_sorted {
            let bytes = self.bytes.as_slice();
            self.rows.sort_unstable_by(|a, b| a.in_order(b, bytes));
            self.is_sorted = true;
        }
    }

    /// Forgets the first `count` records, and their bytes.
    fn drop_first(&mut self, count: usize) {
        self.rows.drain(..count);
        let mut bytes = Vec::with_capacity(WINDOW + WINDOW / 4);
        for row in &mut self.rows {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(row.owner(&self.bytes));
            bytes.extend_from_slice(row.rdata(&self.bytes));
            row.start = start;
        }
        self.bytes = bytes;
    }
}

impl<'a> Rows<'a> {
    /// None yet, of a zone whose chunks may be `known`.
    pub(super) fn new(zone: &'a Name, known: &'a Rrsets) -> Self {
        Self {
            zone,
            window: Window::default(),
            late: Window::default(),
            last: Vec::new(),
            builder: Builder::like(known),
            lines: Vec::with_capacity(known.len()),
            known,
        }
    }

    /// Takes a record. `None` if the zone's rules are broken by what was taken.
    pub(super) fn push(&mut self, record: &Record<'_>, number: u32) -> Option<()> {
        if !self.last.is_empty() && record.owner <= self.last.as_slice() {
            return self.late.push(record, number);
        }
        self.window.push(record, number)?;
        if self.window.bytes.len() < WINDOW {
            return Some(());
        }
        self.window.sort();
        let bytes = &self.window.bytes;
        // The greatest quarter stays: what comes next may lie before it.
        let mut count = self.window.rows.len() / 4 * 3;
        while let [before, after] = self.window.rows.get(count.checked_sub(1)?..=count)?
            && before.has_owner_of(after, bytes)
        {
            count += 1;
            if count == self.window.rows.len() {
                // All of one owner, as good as.
                return Some(());
            }
        }
        let rows = self.window.rows.get(..count)?;
        emit(rows, bytes, self.zone, &mut self.builder, &mut self.lines)?;
        self.last = rows.last()?.owner(bytes).to_vec();
        self.window.drop_first(count);
        Some(())
    }

    /// The RRsets.
    pub(super) fn finish(mut self) -> Option<Built> {
        self.window.sort();
        emit(&self.window.rows, &self.window.bytes, self.zone, &mut self.builder, &mut self.lines)?;
        drop(std::mem::take(&mut self.window));
        let rrsets = self.builder.finish();
        if self.late.rows.is_empty() {
            self.lines.shrink_to_fit();
            return Some(Built { rrsets, lines: self.lines });
        }
        Self::with_late(self.zone, self.known, (rrsets, &self.lines), self.late)
    }

    /// Puts the late records among the others. All those of an owner came
    /// before its late ones.
    fn with_late(
        zone: &Name,
        known: &Rrsets,
        (rrsets, lines): (Rrsets, &[u32]),
        mut late: Window,
    ) -> Option<Built> {
        late.sort();
        let mut builder = Builder::like(known);
        let mut all = Vec::with_capacity(lines.len() + late.rows.len());
        let mut held = rrsets.iter().zip(lines).peekable();
        let mut group = Window::default();
        for rows in late.rows.chunk_by(|a, b| a.has_owner_of(b, &late.bytes)) {
            let owner = rows.first()?.owner(&late.bytes);
            while let Some((rrset, line)) = held.next_if(|(rrset, _)| rrset.owner.as_wire() < owner) {
                builder.push(&rrset);
                all.push(*line);
            }
            group.rows.clear();
            group.bytes.clear();
            // What is known of an RRset counts for each record of it.
            while let Some((rrset, line)) = held.next_if(|(rrset, _)| rrset.owner.as_wire() == owner) {
                for rdata in &rrset.rdatas {
                    let record = Record { owner, rtype: rrset.rtype, ttl: rrset.ttl, line: *line, rdata };
                    group.push(&record, 0)?;
                }
            }
            for row in rows {
                let rdata = row.rdata(&late.bytes);
                let record = Record { owner, rtype: row.rtype, ttl: row.ttl, line: row.line, rdata };
                group.push(&record, row.number)?;
            }
            group.sort();
            emit(&group.rows, &group.bytes, zone, &mut builder, &mut all)?;
        }
        for (rrset, line) in held {
            builder.push(&rrset);
            all.push(*line);
        }
        all.shrink_to_fit();
        Some(Built { rrsets: builder.finish(), lines: all })
    }
}

/// Makes RRsets of sorted records.
fn emit(rows: &[Row], bytes: &[u8], zone: &Name, builder: &mut Builder, lines: &mut Vec<u32>) -> Option<()> {
    let mut rdatas: Vec<&[u8]> = Vec::new();
    for owner in rows.chunk_by(|a, b| a.has_owner_of(b, bytes)) {
        let name = owner.first()?.owner(bytes);
        if !crate::wire::name::is_at_or_below(name, zone.as_wire()) || !is_allowed(owner, bytes, zone) {
            return None;
        }
        for rrset in owner.chunk_by(|a, b| a.rtype == b.rtype) {
            rdatas.clear();
            let (mut ttl, mut line) = (u32::MAX, u32::MAX);
            for record in rrset {
                // RFC 2181 section 5.2: differing TTLs in an RRset count as the smallest.
                ttl = ttl.min(record.ttl);
                let rdata = record.rdata(bytes);
                if rdatas.last() != Some(&rdata) {
                    rdatas.push(rdata);
                    line = line.min(record.line);
                }
            }
            builder.push_wire(name, rrset.first()?.rtype, ttl, rdatas.iter().copied());
            lines.push(line);
        }
    }
    Some(())
}

/// Whether the records of one owner may stand beside each other. Where the SOA
/// stands no CNAME does.
fn is_allowed(owner: &[Row], bytes: &[u8], zone: &Name) -> bool {
    let Some(cname) = owner.iter().find(|row| row.rtype == Rtype::CNAME) else { return true };
    let beside = |row: &Row| {
        !matches!(row.rtype, Rtype::CNAME | Rtype::RRSIG | Rtype::NSEC | Rtype::KEY | Rtype::SIG)
            || row.rtype == Rtype::CNAME && row.rdata(bytes) != cname.rdata(bytes)
    };
    cname.owner(bytes) != zone.as_wire() && !owner.iter().any(beside)
}
