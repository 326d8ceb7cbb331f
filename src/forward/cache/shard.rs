//! One shard of the cache: an index over two logs of segments.
//!
//! New responses go to the *probation* log, a tenth of the space. Its oldest
//! segment is reclaimed first: what was asked for again meanwhile moves to the
//! *main* log, the rest goes, and of what went a fingerprint stays, so that a
//! name that comes back soon starts in the main log. There the oldest segment's
//! records that were asked for since get another round. So a scan of names
//! that nobody asks for twice passes through a tenth of the space (S3-FIFO,
//! Yang et al., SOSP 2023, by segments instead of by entries).
//!
//! Segments are what is allocated and what is counted, so that the bound holds
//! for the memory itself, whatever the sizes of the responses.

use std::collections::VecDeque;

use hashbrown::HashTable;

use crate::forward::kept::{Kept, Marks};
use crate::socket::{CACHE_LINE, prefetch};

use super::key::KeyRef;
use super::record::{self, Record};

/// The share of probation in the space: one part of this many.
const PROBATION: usize = 10;
/// Segments that a shard's space is cut into, about.
const SEGMENTS: usize = 32;
/// Least and most bytes of a segment; a larger response gets one of its own.
const SEGMENT_BYTES: std::ops::RangeInclusive<usize> = 2048..=256 * 1024;
/// Segments that a list has room for to begin with.
const LIST: usize = 4;
/// Cache lines of a record that are fetched ahead: an address and its name take three.
const FETCHED_LINES: usize = 3;
/// Bytes of the space for each fingerprint of what went.
const BYTES_PER_GHOST: usize = 1024;

/// Where a record stands: the log in the highest bit, the segment's number
/// below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    segment: u32,
    offset: u32,
}

const MAIN: u32 = 1 << 31;

/// What the index holds of a response.
#[derive(Debug)]
pub(super) struct Slot {
    hash: u64,
    place: Place,
    marks: Marks,
}

/// Segments in the order in which they were filled.
#[derive(Debug, Default)]
struct Log {
    segments: VecDeque<Vec<u8>>,
    /// Number of the first.
    first: u32,
    /// Capacity of all.
    bytes: usize,
}

impl Log {
    /// Bytes allocated.
    fn allocated(&self) -> usize {
        self.bytes + self.segments.capacity() * size_of::<Vec<u8>>()
    }

    fn last_has_room(&self, len: usize) -> bool {
        self.segments.back().is_some_and(|segment| segment.capacity() - segment.len() >= len)
    }

    /// What appending `len` bytes would allocate.
    fn growth(&self, len: usize, segment_bytes: usize) -> usize {
        if self.last_has_room(len) {
            return 0;
        }
        // A list that is full doubles.
        let capacity = self.segments.capacity();
        let list =
            if self.segments.len() == capacity { capacity.max(LIST) * size_of::<Vec<u8>>() } else { 0 };
        segment_bytes.max(len) + list
    }

    fn append(&mut self, len: usize, segment_bytes: usize, write: impl FnOnce(&mut Vec<u8>)) -> Place {
        if !self.last_has_room(len) {
            let segment = Vec::with_capacity(segment_bytes.max(len));
            self.bytes += segment.capacity();
            if self.segments.len() == self.segments.capacity() {
                // As much as `growth` says, whatever the library thinks best.
                self.segments.reserve_exact(self.segments.capacity().max(LIST));
            }
            self.segments.push_back(segment);
        }
        let number = self.first.wrapping_add(self.segments.len() as u32 - 1) & !MAIN;
        match self.segments.back_mut() {
            Some(segment) => {
                let offset = segment.len() as u32;
                write(segment);
                Place { segment: number, offset }
            }
            None => Place { segment: number, offset: 0 },
        }
    }

    /// The bytes from a place on.
    #[inline]
    fn get(&self, segment: u32, offset: u32) -> Option<&[u8]> {
        let at = segment.wrapping_sub(self.first) & !MAIN;
        self.segments.get(at as usize)?.get(offset as usize..)
    }

    /// The `len` bytes from a place on.
    fn get_mut(&mut self, segment: u32, offset: u32, len: usize) -> Option<&mut [u8]> {
        let at = segment.wrapping_sub(self.first) & !MAIN;
        let offset = offset as usize;
        self.segments.get_mut(at as usize)?.get_mut(offset..offset.checked_add(len)?)
    }

    /// Takes the oldest segment out, with its number.
    fn pop(&mut self) -> Option<(u32, Vec<u8>)> {
        let segment = self.segments.pop_front()?;
        let number = self.first;
        self.first = self.first.wrapping_add(1) & !MAIN;
        self.bytes -= segment.capacity();
        Some((number, segment))
    }

    fn clear(&mut self) {
        self.first = self.first.wrapping_add(self.segments.len() as u32) & !MAIN;
        self.segments = VecDeque::new();
        self.bytes = 0;
    }
}

/// What a shard has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Turnover {
    /// Responses that made room for others.
    pub(super) evicted: u64,
    /// Responses larger than the shard takes.
    pub(super) too_large: u64,
}

/// One shard.
#[derive(Debug, Default)]
pub(super) struct Shard {
    index: HashTable<Slot>,
    probation: Log,
    main: Log,
    /// Fingerprints of what left probation, by hash.
    ghosts: Box<[u32]>,
    budget: usize,
    turnover: Turnover,
}

impl Shard {
    /// Bytes allocated.
    pub(super) fn bytes(&self) -> usize {
        let logs = self.probation.allocated() + self.main.allocated();
        logs + self.index.allocation_size() + self.ghosts.len() * 4
    }

    /// Number of responses.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// What was evicted and left out.
    pub(super) fn turnover(&self) -> Turnover {
        self.turnover
    }

    fn segment_bytes(&self) -> usize {
        (self.budget / SEGMENTS).clamp(*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end()).min(self.budget / 4)
    }

    /// Changes the bound; what is beyond it goes.
    pub(super) fn set_budget(&mut self, budget: usize) {
        if self.budget == budget {
            return;
        }
        self.budget = budget;
        let ghosts = (budget / BYTES_PER_GHOST).next_power_of_two().min(1 << 16);
        self.ghosts = if budget == 0 { Box::default() } else { vec![0; ghosts].into() };
        if budget == 0 {
            self.clear();
        } else {
            self.make_room(0, false);
        }
    }

    #[inline]
    fn record(&self, place: Place) -> Option<Record<'_>> {
        let log = if place.segment & MAIN == 0 { &self.probation } else { &self.main };
        Record::at(log.get(place.segment & !MAIN, place.offset)?)
    }

    #[inline]
    fn slot(&self, key: &KeyRef<'_>) -> Option<(&Slot, Record<'_>)> {
        // Not by `find`, which calls its closure through a pointer. Of two keys
        // with one hash of 64 bits, which nobody will see, one is never found.
        let slot = self.index.iter_hash(key.hash).find(|slot| slot.hash == key.hash)?;
        let record = self.record(slot.place).filter(|record| record.key() == *key)?;
        Some((slot, record))
    }

    /// Has the slot of `hash` fetched that [`Self::fetch_record`] reads.
    #[inline]
    pub(super) fn fetch_slot(&self, hash: u64) {
        if let Some(slot) = self.index.iter_hash(hash).next() {
            prefetch(slot);
        }
    }

    /// Has the record of `hash` fetched, as far as most reach.
    #[inline]
    pub(super) fn fetch_record(&self, hash: u64) {
        let Some(slot) = self.index.iter_hash(hash).find(|slot| slot.hash == hash) else { return };
        let log = if slot.place.segment & MAIN == 0 { &self.probation } else { &self.main };
        let record = log.get(slot.place.segment & !MAIN, slot.place.offset).unwrap_or_default();
        record.chunks(CACHE_LINE).take(FETCHED_LINES).for_each(prefetch);
    }

    /// Calls `read` with the response of `key`.
    #[inline]
    pub(super) fn read<T>(&self, key: &KeyRef<'_>, read: impl FnOnce(&Kept<'_>) -> T) -> Option<T> {
        let (slot, record) = self.slot(key)?;
        Some(read(&record.kept(&slot.marks)?))
    }

    /// Keeps a response in place of an earlier one; `false` if it is too large.
    pub(super) fn insert(&mut self, key: &KeyRef<'_>, kept: &Kept<'_>) -> bool {
        let len = record::len(key, kept);
        if len > self.budget / 4 || !record::fits(key, kept) {
            self.turnover.too_large += 1;
            self.remove(key);
            return false;
        }
        if self.replace(key, kept, len) {
            return true;
        }
        let earlier = self.remove(key);
        let fingerprint = fingerprint(key.hash);
        let ghost = self.ghost_of(key.hash).and_then(|at| self.ghosts.get(at)) == Some(&fingerprint);
        // What is asked for again and again keeps its place when it is renewed.
        let main = ghost
            || earlier.as_ref().is_some_and(|slot| slot.place.segment & MAIN != 0 || slot.marks.asked() > 0);
        self.make_room(len, main);
        let marks = Marks::of(kept.marks);
        marks.set_asked(kept.marks.asked());
        if let Some(earlier) = earlier {
            marks.set_asked(earlier.marks.asked());
        }
        let segment_bytes = self.segment_bytes();
        let log = if main { &mut self.main } else { &mut self.probation };
        let mut place = log.append(len, segment_bytes, |segment| record::push(segment, key, kept));
        place.segment |= if main { MAIN } else { 0 };
        let slot = Slot { hash: key.hash, place, marks };
        self.index.insert_unique(key.hash, slot, |slot| slot.hash);
        true
    }

    /// Writes `kept` over an earlier response of `key` that is as long, which
    /// a renewed one nearly always is: what is hot and short-lived fills no segments.
    fn replace(&mut self, key: &KeyRef<'_>, kept: &Kept<'_>, len: usize) -> bool {
        let Some((slot, record)) = self.slot(key) else { return false };
        let place = slot.place;
        if record.len() != len {
            return false;
        }
        let mut bytes = Vec::with_capacity(len);
        record::push(&mut bytes, key, kept);
        let log = if place.segment & MAIN == 0 { &mut self.probation } else { &mut self.main };
        let Some(old) = log.get_mut(place.segment & !MAIN, place.offset, len) else { return false };
        old.copy_from_slice(&bytes);
        if let Ok(mut found) = self.index.find_entry(key.hash, |slot| slot.place == place) {
            let slot = found.get_mut();
            let asked = slot.marks.asked();
            slot.marks = Marks::of(kept.marks);
            slot.marks.set_asked(asked);
        }
        true
    }

    /// Forgets the response of `key`. Its bytes go with their segment.
    pub(super) fn remove(&mut self, key: &KeyRef<'_>) -> Option<Slot> {
        let place = self.slot(key)?.0.place;
        let found = self.index.find_entry(key.hash, |slot| slot.place == place).ok()?;
        Some(found.remove().0)
    }

    /// Forgets what `gone` says; returns how much that was.
    pub(super) fn remove_if(&mut self, mut gone: impl FnMut(&KeyRef<'_>) -> bool) -> usize {
        let before = self.index.len();
        let (probation, main) = (&self.probation, &self.main);
        self.index.retain(|slot| {
            let log = if slot.place.segment & MAIN == 0 { probation } else { main };
            let record = log.get(slot.place.segment & !MAIN, slot.place.offset).and_then(Record::at);
            record.is_some_and(|record| !gone(&record.key()))
        });
        before - self.index.len()
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.index = HashTable::new();
        self.probation.clear();
        self.main.clear();
        self.ghosts.fill(0);
    }

    /// Calls `visit` with every response.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&KeyRef<'_>, &Kept<'_>)) {
        for slot in &self.index {
            if let Some(record) = self.record(slot.place)
                && let Some(kept) = record.kept(&slot.marks)
            {
                visit(&record.key(), &kept);
            }
        }
    }

    /// What another record of `len` bytes would allocate; nothing if that is 0.
    fn need(&self, len: usize, main: bool) -> usize {
        if len == 0 {
            return 0;
        }
        let log = if main { &self.main } else { &self.probation };
        let is_full = self.index.len() == self.index.capacity();
        let index = if is_full { self.index.allocation_size().max(1024) } else { 0 };
        log.growth(len, self.segment_bytes()) + index
    }

    /// Evicts until another record of `len` bytes is within the bound. What it
    /// needs is looked at each time: the segment that had room may have gone.
    fn make_room(&mut self, len: usize, main: bool) {
        while self.bytes() + self.need(len, main) > self.budget {
            let from_probation =
                self.probation.bytes > self.budget / PROBATION || self.main.segments.is_empty();
            let popped = if from_probation { self.probation.pop() } else { self.main.pop() };
            match popped {
                Some((number, segment)) if from_probation => self.sift(number, &segment, 0),
                Some((number, segment)) => self.sift(number, &segment, MAIN),
                None => break,
            }
        }
        // The index keeps its size after a flush or under a smaller bound.
        if self.index.allocation_size() > self.budget / 4 && self.index.len() < self.index.capacity() / 4 {
            self.index.shrink_to(self.index.len() * 2, |slot| slot.hash);
        }
    }

    /// Lets the records of a segment that left its log go, or moves them to
    /// the main log: out of probation what was asked for, out of the main log
    /// what was asked for since the last round.
    fn sift(&mut self, number: u32, segment: &[u8], log: u32) {
        let segment_bytes = self.segment_bytes();
        let mut offset = 0;
        while let Some(record) = segment.get(offset..).and_then(Record::at) {
            let (hash, len) = (record.hash(), record.len());
            let place = Place { segment: number | log, offset: offset as u32 };
            offset += len;
            let Ok(mut found) = self.index.find_entry(hash, |slot| slot.place == place) else { continue };
            let slot = found.get_mut();
            let asked = slot.marks.asked();
            if asked == 0 {
                found.remove();
                self.turnover.evicted += 1;
                if log == 0 {
                    let fingerprint = fingerprint(hash);
                    if let Some(ghost) = self.ghost_of(hash).and_then(|at| self.ghosts.get_mut(at)) {
                        *ghost = fingerprint;
                    }
                }
                continue;
            }
            // Out of probation it starts anew; in the main log it has used up a round.
            slot.marks.set_asked(if log == 0 { 0 } else { asked - 1 });
            let bytes = segment.get(offset - len..offset).unwrap_or_default();
            let mut place = self.main.append(len, segment_bytes, |segment| segment.extend_from_slice(bytes));
            place.segment |= MAIN;
            slot.place = place;
        }
    }

    fn ghost_of(&self, hash: u64) -> Option<usize> {
        // A power of two, or none at all.
        self.ghosts.len().checked_sub(1).map(|mask| hash as usize & mask)
    }
}

/// The part of a hash that its place among the ghosts does not tell; never 0.
fn fingerprint(hash: u64) -> u32 {
    (hash >> 32) as u32 | 1
}
