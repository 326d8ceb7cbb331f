//! Some thirty names in one allocation: an index, what names they pass and
//! are parents of, and their entries.
//!
//! The data's own first bytes are left free so that the index begins where a
//! line of 64 bytes does. A name's slot lies in one line of the index, chosen
//! by its hash, and where in it the search begins is chosen likewise: it goes
//! round in that line, which has a free slot. Entries lie in no more lines
//! than they must, if need be with a gap before them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use super::entry::Entry;
use super::place::NodeFlags;
use super::shapes::Shapes;
use crate::wire::name::{hash, secret};

/// Bytes of a line.
pub(super) const LINE: usize = 64;
/// Slots of a line of the index.
const SLOTS: usize = LINE / 4;
/// Names that a line of the index is made for: as many more fit as make it
/// rare that a shard needs another line.
const NAMES_A_LINE: usize = 12;
/// Lines of the index whose slots have an asked-for bit each; those behind share the last one's.
const ASKED: usize = 6;
/// Bits of a slot that are the entry's offset.
const OFFSET_BITS: u32 = 20;
/// Bytes of the two counts behind the index.
const COUNTS: usize = 8;
/// Bytes of a parent: its hash, and how many names lie one label below.
const PARENT: usize = 12;

/// Some names.
#[derive(Debug)]
#[repr(align(32))]
pub(super) struct Shard {
    data: Arc<[u8]>,
    /// A bit a slot: whether a client asked for the name.
    asked: [AtomicU16; ASKED],
    /// Lines of the index.
    lines: u16,
    /// Where in the data the index begins.
    start: u8,
    /// Entries lie at multiples of two to this, from there.
    shift: u8,
}

impl Clone for Shard {
    fn clone(&self) -> Self {
        Self { data: Arc::clone(&self.data), asked: <[AtomicU16; ASKED]>::default(), ..*self }
    }
}

/// The line of the index that a name is in, of `lines`.
#[inline]
const fn line_of(hash: u64, lines: u32) -> u32 {
    (((hash as u32) as u64 * lines as u64) >> 32) as u32
}

/// The slot of the line at which its search begins. The line is chosen by higher bits.
#[inline]
const fn slot_of(hash: u64) -> usize {
    hash as usize % SLOTS
}

/// The part of the hash that a slot keeps.
#[inline]
const fn tag_of(hash: u64) -> u32 {
    (hash >> 32) as u32 & 0xfff
}

/// Where a slot is.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    /// The line of the index.
    line: u32,
    /// Which of the line.
    at: u32,
}

impl Slot {
    /// Where its asked-for bit stands: in which word, and which it is.
    #[inline]
    fn asked_bit(self) -> (usize, u16) {
        ((self.line as usize).min(ASKED - 1), 1 << (self.at as usize % SLOTS))
    }
}

/// Where a name was found.
pub(super) struct Found<'s> {
    pub(super) entry: Entry<'s>,
    /// For [`Shard::is_asked`].
    pub(super) slot: Slot,
}

impl Shard {
    /// The first entry whose slot has the tag of `hash`, which may be another
    /// name's: then [`Self::find_on`] goes on.
    #[expect(clippy::inline_always, reason = "the middle of a look-up, which is inlined as a whole")]
    #[inline(always)]
    pub(super) fn find<'s>(&'s self, hash: u64, shapes: &'s Shapes) -> Option<Found<'s>> {
        let number = line_of(hash, u32::from(self.lines));
        let (line, tag) = (self.line(number)?, tag_of(hash));
        let mut at = slot_of(hash);
        // Nothing but tags, in registers; what else a name takes stands behind the loop.
        let slot = loop {
            let slot = u32::from_le_bytes(*line.get(at % SLOTS)?);
            if slot == 0 {
                return None;
            }
            if slot >> OFFSET_BITS == tag {
                break slot;
            }
            at += 1;
        };
        let entry = self.entry(slot, shapes)?;
        Some(Found { entry, slot: Slot { line: number, at: (at % SLOTS) as u32 } })
    }

    /// The entry of `name` behind that slot.
    pub(super) fn find_on<'s>(
        &'s self,
        name: &[u8],
        hash: u64,
        place: Slot,
        shapes: &'s Shapes,
    ) -> Option<Found<'s>> {
        let line = self.line(place.line)?;
        let mut at = place.at as usize;
        loop {
            at = (at + 1) % SLOTS;
            let slot = Some(u32::from_le_bytes(*line.get(at)?)).filter(|slot| *slot != 0)?;
            let entry = self.entry(slot, shapes)?;
            if slot >> OFFSET_BITS == tag_of(hash) && entry.is_of(name) {
                return Some(Found { entry, slot: Slot { line: place.line, at: at as u32 } });
            }
        }
    }

    /// The slots of a line of the index.
    #[inline]
    fn line(&self, number: u32) -> Option<&[[u8; 4]; SLOTS]> {
        let start = usize::from(self.start) + number as usize * LINE;
        self.data.get(start..start + LINE)?.as_chunks().0.first_chunk()
    }

    #[inline]
    fn entry<'s>(&'s self, slot: u32, shapes: &'s Shapes) -> Option<Entry<'s>> {
        let offset = (slot & ((1 << OFFSET_BITS) - 1)) as usize;
        Entry::new(self.data.get(usize::from(self.start) + (offset << self.shift)..)?, shapes)
    }

    /// The slots that are taken, with their numbers.
    fn slots(&self) -> impl Iterator<Item = (Slot, u32)> {
        let lines = (0..u32::from(self.lines)).filter_map(|line| Some((line, self.line(line)?)));
        let slots = lines
            .flat_map(|(line, slots)| (0..).zip(slots).map(move |(at, slot)| (Slot { line, at }, *slot)));
        slots.map(|(place, slot)| (place, u32::from_le_bytes(slot))).filter(|(_, slot)| *slot != 0)
    }

    /// All entries.
    pub(super) fn entries<'s>(&'s self, shapes: &'s Shapes) -> impl Iterator<Item = Entry<'s>> {
        self.slots().filter_map(|(_, slot)| self.entry(slot, shapes))
    }

    /// Whether a client asked for the name with that slot.
    #[inline]
    pub(super) fn is_asked(&self, slot: Slot) -> bool {
        let (line, bit) = slot.asked_bit();
        self.asked.get(line).is_some_and(|asked| asked.load(Ordering::Relaxed) & bit != 0)
    }

    /// Marks the name with that slot and these flags, if a client `asked`.
    #[cold]
    #[inline(never)]
    pub(super) fn mark(&self, slot: Slot, flags: NodeFlags, asked: bool) {
        let (line, bit) = slot.asked_bit();
        if let Some(line) = self.asked.get(line).filter(|_| asked && is_wanted(flags)) {
            line.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Whether any name was asked for since they were taken.
    pub(super) fn has_asked(&self) -> bool {
        self.asked.iter().any(|asked| asked.load(Ordering::Relaxed) != 0)
    }

    /// The entries that were asked for since the last call.
    pub(super) fn take_asked<'s>(&'s self, shapes: &'s Shapes) -> impl Iterator<Item = Entry<'s>> {
        let asked: [u16; ASKED] = std::array::from_fn(|line| self.asked[line].swap(0, Ordering::Relaxed));
        let slots = self.slots().filter(move |(slot, _)| {
            let (line, bit) = slot.asked_bit();
            asked[line] & bit != 0
        });
        let entries = slots.filter_map(|(_, slot)| self.entry(slot, shapes));
        entries.filter(|entry| is_wanted(entry.flags()))
    }

    /// The hashes of the names that chains from here pass.
    pub(super) fn passes(&self) -> impl Iterator<Item = u32> {
        let (passed, _) = self.counts();
        let start = self.numbers() + COUNTS;
        let hashes = self.data.get(start..start + 4 * passed).unwrap_or_default();
        hashes.as_chunks().0.iter().map(|hash| u32::from_le_bytes(*hash))
    }

    /// The hashes of the names here that have names below them, and how many one label below.
    pub(super) fn parents(&self) -> impl Iterator<Item = (u64, u32)> {
        let (passed, parents) = self.counts();
        let start = self.numbers() + COUNTS + 4 * passed;
        let all = self.data.get(start..start + PARENT * parents).unwrap_or_default();
        all.as_chunks::<PARENT>().0.iter().filter_map(|parent| {
            let (hash, count) = parent.split_first_chunk()?;
            Some((u64::from_le_bytes(*hash), u32::from_le_bytes(count.try_into().ok()?)))
        })
    }

    /// Where the numbers behind the index begin.
    fn numbers(&self) -> usize {
        usize::from(self.start) + usize::from(self.lines) * LINE
    }

    /// How many names are passed, and how many are parents.
    fn counts(&self) -> (usize, usize) {
        let counts = self.data.get(self.numbers()..).and_then(<[u8]>::first_chunk::<COUNTS>);
        match counts.map(|counts| counts.as_chunks().0) {
            Some([passed, parents]) => {
                (u32::from_le_bytes(*passed) as usize, u32::from_le_bytes(*parents) as usize)
            }
            _ => (0, 0),
        }
    }

    /// Whether this is `other` or shares its data.
    #[cfg(test)]
    pub(super) fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.data, &other.data)
    }

    /// How many lines the index's part in the search for a name is spread
    /// over, and how many the entry that is found.
    #[cfg(test)]
    pub(super) fn lines_of(&self, name: &[u8], hash: u64, shapes: &Shapes) -> (usize, usize) {
        let found = self.find(hash, shapes).unwrap();
        let found = if found.entry.is_of(name) {
            found
        } else {
            self.find_on(name, hash, found.slot, shapes).unwrap()
        };
        let line = self.line(line_of(hash, u32::from(self.lines))).unwrap();
        let slot = u32::from_le_bytes(line[found.slot.at as usize]);
        let offset = (slot as usize & ((1 << OFFSET_BITS) - 1)) << self.shift;
        let entry = self.data.as_ptr().addr() + usize::from(self.start) + offset;
        let index = line.as_ptr().addr();
        let spread = |from: usize, end: usize| end.div_ceil(LINE) - from / LINE;
        (spread(index, index + LINE), spread(entry, found.entry.end()))
    }

    /// Bytes of memory held besides itself.
    pub(super) fn memory_bytes(&self) -> usize {
        self.data.len() + 16
    }
}

/// Names that exist only because others do are no reason to keep anything.
fn is_wanted(flags: NodeFlags) -> bool {
    flags.any(NodeFlags::HELD | NodeFlags::OWN)
}

/// One entry of a shard under construction: where its bytes begin, and how
/// many they are.
#[derive(Clone, Copy, Debug)]
struct Written {
    hash: u64,
    start: usize,
    len: usize,
}

/// A shard under construction; its buffers are kept for the next one.
#[derive(Debug, Default)]
pub(super) struct ShardBuilder {
    entries: Vec<Written>,
    /// The entries in the order in which they lie, and where, from the index on.
    placed: Vec<(Written, usize)>,
    bytes: Vec<u8>,
    /// The hashes of the names that the chains pass.
    pub(super) passed: Vec<u32>,
    /// The hashes of names with names below them, and how many.
    parents: Vec<(u64, u32)>,
    /// How many names are in each line of the index.
    fill: Vec<usize>,
}

impl ShardBuilder {
    /// Adds the entry of `name`, which must be new and has `children` names below it.
    pub(super) fn insert(&mut self, name: &[u8], children: u32, entry: &[u8]) {
        let hash = hash(name, secret());
        if children > 0 {
            self.parents.push((hash, children));
        }
        self.entries.push(Written { hash, start: self.bytes.len(), len: entry.len() });
        self.bytes.extend_from_slice(entry);
    }

    /// The finished shard; the builder is empty again.
    pub(super) fn finish(&mut self) -> Shard {
        self.passed.sort_unstable();
        self.passed.dedup();
        let count = self.entries.len();
        let lines = self.lines();
        let head = lines * LINE + COUNTS + self.passed.len() * 4 + self.parents.len() * PARENT;
        let mut shift = 1;
        while (head + self.bytes.len() + count * (LINE + (1 << shift))) >> shift >= 1 << OFFSET_BITS {
            shift += 1;
        }
        let len = self.place(head, 1 << shift);
        let mut data: Arc<[u8]> = std::iter::repeat_n(0, LINE - 1 + len).collect();
        // Where lines begin is known only now, and stays: the bytes never move.
        let start = data.as_ptr().addr().wrapping_neg() % LINE;
        if let Some(data) = Arc::get_mut(&mut data).and_then(|data| data.get_mut(start..)) {
            self.write(data, lines, head, shift);
        }
        self.entries.clear();
        self.placed.clear();
        self.bytes.clear();
        self.passed.clear();
        self.parents.clear();
        let (start, shift) = (start as u8, shift as u8);
        Shard { data, asked: <[AtomicU16; ASKED]>::default(), lines: lines as u16, start, shift }
    }

    /// How many lines the index has: so many that a slot of each is free.
    /// There is such a number, since no sixteen names have one hash.
    fn lines(&mut self) -> usize {
        let mut lines = self.entries.len().div_ceil(NAMES_A_LINE).max(1);
        loop {
            self.fill.clear();
            self.fill.resize(lines, 0);
            let fits = self.entries.iter().all(|entry| {
                let fill = self.fill.get_mut(line_of(entry.hash, lines as u32) as usize);
                fill.is_some_and(|fill| {
                    *fill += 1;
                    *fill < SLOTS
                })
            });
            if fits {
                return lines;
            }
            lines += 1;
        }
    }

    /// Finds each entry its place, the first behind `at`; where the last ends.
    fn place(&mut self, at: usize, unit: usize) -> usize {
        let mut at = at.next_multiple_of(unit);
        while !self.entries.is_empty() {
            // Begun here it lies in no more lines than it must.
            let is_fitting =
                |entry: &Written| (at % LINE + entry.len).div_ceil(LINE) == entry.len.div_ceil(LINE);
            if let Some(index) = self.entries.iter().position(is_fitting) {
                let entry = self.entries.swap_remove(index);
                self.placed.push((entry, at));
                at = (at + entry.len).next_multiple_of(unit);
            } else {
                // At the start of a line each one is.
                at = at.next_multiple_of(LINE);
            }
        }
        at
    }

    fn write(&self, data: &mut [u8], lines: usize, head: usize, shift: usize) {
        let counts = [self.passed.len() as u32, self.parents.len() as u32];
        let numbers = counts.into_iter().chain(self.passed.iter().copied());
        let parents =
            self.parents.iter().flat_map(|(hash, count)| [*hash as u32, (*hash >> 32) as u32, *count]);
        let places = data.get_mut(lines * LINE..head).unwrap_or_default().as_chunks_mut::<4>().0;
        for (place, number) in places.iter_mut().zip(numbers.chain(parents)) {
            *place = number.to_le_bytes();
        }
        for (entry, at) in &self.placed {
            let bytes = self.bytes.get(entry.start..entry.start + entry.len).unwrap_or_default();
            if let Some(place) = data.get_mut(*at..at + entry.len) {
                place.copy_from_slice(bytes);
            }
            let line = line_of(entry.hash, lines as u32) as usize;
            let line =
                data.get_mut(line * LINE..(line + 1) * LINE).unwrap_or_default().as_chunks_mut::<4>().0;
            let first = slot_of(entry.hash);
            let (before, behind) = line.split_at_mut_checked(first).unwrap_or_default();
            if let Some(free) = behind.iter_mut().chain(before).find(|slot| **slot == [0; 4]) {
                *free = (tag_of(entry.hash) << OFFSET_BITS | (at >> shift) as u32).to_le_bytes();
            }
        }
    }
}
