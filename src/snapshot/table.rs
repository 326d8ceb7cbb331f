//! The hash table over compiled names: shards of some thirty names, each one
//! allocation that the snapshots share in which none of its names changed.
//!
//! A shard is an open-addressed index of 32-bit slots (12 bits of the hash,
//! 20 of the entry's offset), the hashes of the names that its entries'
//! chains pass (see [`Shard::passes`]), and its entries. The upper bits of a
//! name's hash choose the shard, the lower ones the slot.
//!
//! Lines of 64 bytes that a look-up touches, of a million names in the estate
//! of the benches (a login name has 22 bytes, an entry 42 to 98); index and
//! entry as a test of `update` counts them, from addresses:
//!
//! ```text
//!                            warm: shared by many names     cold: this name's own
//!  shard (32 bytes of 1 MB)  1, of the second-level cache
//!  suffix (a few dozen)      2, of the first-level cache
//!  index (4 bytes a slot)                                   1 (1.1)
//!  entry: header, prefix, directory, body
//!    NODATA of a private-link name                          1 to 2 (1.3)
//!    A of a private-link name                               1 to 2 (1.5)
//!    A behind a CNAME: both records lie here                2 to 3 (2.1, data endpoints 2.5)
//! ```
//!
//! So two loads in a row miss: the index, then the entry, whose later lines
//! are fetched with its first (no address waits for another).
//!
//! One bit a slot says that a client asked for the name. It stands beside the
//! shard's address, which is read anyway, and is written only where it is not
//! set yet, so that a name asked for all the time costs a test and its cache
//! line stays shared. Rejected: one slot array and one arena for all names
//! (nothing can be shared by two snapshots, and every one is built whole).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::entry::{Entry, Parts};
use super::hashes::Hashes;
use super::place::NodeFlags;
use crate::wire::FoldedName;
use crate::wire::name::{hash, parent, secret};

/// Names of a shard that its size is chosen for, at most.
const NAMES: usize = 32;
/// Bits of a slot that are the entry's offset.
const OFFSET_BITS: u32 = 20;
/// Bytes of the two counts behind the index.
const COUNTS: usize = 8;
/// Bytes of a parent: its hash, and how many names lie one label below.
const PARENT: usize = 12;
/// Suffixes that are shared, at most.
const MAX_SUFFIXES: usize = 4096;

/// The hash by which chains remember the names that they pass.
pub(super) fn passed_hash(name: &[u8]) -> u32 {
    hash(name, secret()) as u32
}

/// Compiled names by their folded wire form.
#[derive(Debug)]
pub(super) struct Table {
    seed: u64,
    shards: Box<[Shard]>,
    suffixes: Arc<Suffixes>,
}

/// What many names end in, stored once; the first is empty.
#[derive(Debug)]
pub(super) struct Suffixes {
    list: Box<[Box<[u8]>]>,
    /// Numbers in the list, by hash: a power of two.
    slots: Box<[u16]>,
}

/// Some names.
#[derive(Debug)]
#[repr(align(32))]
pub(super) struct Shard {
    data: Arc<[u8]>,
    asked: AtomicU64,
    /// Slots of the index; one at least is free.
    slots: u32,
    /// Entries lie at multiples of two to this.
    shift: u32,
}

impl Clone for Shard {
    fn clone(&self) -> Self {
        Self { data: Arc::clone(&self.data), asked: AtomicU64::new(0), ..*self }
    }
}

impl Table {
    /// The table of these shards, of names with these suffixes.
    pub(super) fn new(shards: Vec<Shard>, suffixes: Suffixes) -> Self {
        Self { seed: secret(), shards: shards.into(), suffixes: Arc::new(suffixes) }
    }

    /// The entry of `name`.
    #[inline]
    pub(super) fn find(&self, name: &[u8]) -> Option<Entry<'_>> {
        self.probe::<false>(name, hash(name, self.seed), false)
    }

    /// [`Self::find`]; if a client `asked` for it and it is held, that is marked.
    #[inline]
    pub(super) fn look_up(&self, name: &[u8], asked: bool) -> Option<Entry<'_>> {
        self.probe::<true>(name, hash(name, self.seed), asked)
    }

    /// [`Self::look_up`] of a query's name, which brings its hash along.
    #[expect(clippy::inline_always, reason = "a call costs a twentieth of a hit, in registers saved")]
    #[inline(always)]
    pub(super) fn look_up_folded(&self, name: &FoldedName, asked: bool) -> Option<Entry<'_>> {
        self.probe::<true>(name.as_wire(), name.hash(), asked)
    }

    #[expect(clippy::inline_always, reason = "as for `look_up_folded`, which is nothing else")]
    #[inline(always)]
    fn probe<const MARKS: bool>(&self, name: &[u8], hash: u64, asked: bool) -> Option<Entry<'_>> {
        let shard = self.shards.get(shard_of(hash, self.shards.len()))?;
        let tag = tag_of(hash);
        let mut at = slot_of(hash, shard.slots);
        // Nothing but tags, in registers; what else a name takes stands behind the loop.
        let slot = loop {
            let slot = shard.slot(at)?;
            if slot == 0 {
                return None;
            }
            if slot >> OFFSET_BITS == tag {
                break slot;
            }
            at = shard.next(at);
        };
        let entry = shard.entry(slot, &self.suffixes)?;
        if !entry.is_of(name) {
            return self.probe_on::<MARKS>(name, hash, at, asked).and_then(Entry::from_parts);
        }
        // Read before written: a line that all workers write would travel between them.
        if MARKS && shard.asked.load(Ordering::Relaxed) & 1 << (at & 63) == 0 {
            mark(&shard.asked, at, entry.flags(), asked);
        }
        Some(entry)
    }

    /// [`Self::probe`] behind the slot `at`, whose tag fits and whose name does not.
    #[cold]
    fn probe_on<const MARKS: bool>(&self, name: &[u8], hash: u64, at: u32, asked: bool) -> Option<Parts<'_>> {
        let shard = self.shards.get(shard_of(hash, self.shards.len()))?;
        let mut at = at;
        loop {
            at = shard.next(at);
            let slot = shard.slot(at).filter(|slot| *slot != 0)?;
            let entry = shard.entry(slot, &self.suffixes)?;
            if slot >> OFFSET_BITS == tag_of(hash) && entry.is_of(name) {
                if MARKS {
                    mark(&shard.asked, at, entry.flags(), asked);
                }
                return Some(entry.parts());
            }
        }
    }

    /// The entries that were asked for since the last call.
    pub(super) fn take_asked(&self) -> impl Iterator<Item = Entry<'_>> {
        let dirty = self.shards.iter().filter(|shard| shard.asked.load(Ordering::Relaxed) != 0);
        dirty.flat_map(|shard| {
            let asked = shard.asked.swap(0, Ordering::Relaxed);
            let slots = (0..shard.slots).filter(move |at| asked & 1 << (at & 63) != 0);
            let entries = slots.filter_map(|at| shard.slot(at).filter(|slot| *slot != 0));
            entries
                .filter_map(|slot| shard.entry(slot, &self.suffixes))
                .filter(|entry| is_wanted(entry.flags()))
        })
    }

    /// How many shards there are.
    pub(super) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// The number of the shard that `name` is in or would be in.
    pub(super) fn shard_number(&self, name: &[u8]) -> usize {
        shard_of(hash(name, self.seed), self.shards.len())
    }

    /// The entries of that shard.
    pub(super) fn entries_of(&self, number: usize) -> impl Iterator<Item = Entry<'_>> {
        let shards = self.shards.get(number).into_iter();
        shards.flat_map(|shard| {
            let slots = (0..shard.slots).filter_map(|at| shard.slot(at).filter(|slot| *slot != 0));
            slots.filter_map(|slot| shard.entry(slot, &self.suffixes))
        })
    }

    /// The numbers of the shards with a chain that passes one of the names with these hashes.
    pub(super) fn passing(&self, hashes: &Hashes) -> impl Iterator<Item = usize> {
        let shards = self.shards.iter().enumerate();
        shards.filter(|(_, shard)| shard.passes().any(|hash| hashes.has(hash))).map(|(number, _)| number)
    }

    /// How many names lie one label below `name` in a zone through its data.
    pub(super) fn children(&self, name: &[u8]) -> u32 {
        let hash = hash(name, self.seed);
        let shard = self.shards.get(shard_of(hash, self.shards.len()));
        let mut parents = shard.into_iter().flat_map(Shard::parents);
        parents.find(|parent| parent.0 == hash).map_or(0, |parent| parent.1)
    }

    /// The suffixes, for names that are compiled anew.
    pub(super) fn suffixes(&self) -> &Suffixes {
        &self.suffixes
    }

    /// This table but for the shards of `fresh`, with their numbers.
    pub(super) fn with(&self, fresh: Vec<(usize, Shard)>) -> Self {
        let mut shards = self.shards.clone();
        for (number, shard) in fresh {
            if let Some(place) = shards.get_mut(number) {
                *place = shard;
            }
        }
        Self { seed: self.seed, shards, suffixes: Arc::clone(&self.suffixes) }
    }

    /// How many lines of 64 bytes a look-up of the held `name` touches in the
    /// index, and in the entry up to the end of the `body` that it answers with.
    #[cfg(test)]
    pub(super) fn lines(&self, name: &[u8], body: &[u8]) -> (usize, usize) {
        let hash = hash(name, self.seed);
        let shard = &self.shards[shard_of(hash, self.shards.len())];
        let (start, line) = (shard.data.as_ptr().addr(), |address: usize| address / 64);
        let first = slot_of(hash, shard.slots);
        let slots = (0..shard.slots).map(|step| (first + step) % shard.slots);
        let mut index = Vec::new();
        for at in slots {
            index.push(line(start + at as usize * 4));
            let slot = shard.slot(at).unwrap();
            assert_ne!(slot, 0, "the name is held");
            if slot >> OFFSET_BITS == tag_of(hash)
                && shard.entry(slot, &self.suffixes).is_some_and(|entry| entry.is_of(name))
            {
                index.dedup();
                let offset = (slot & ((1 << OFFSET_BITS) - 1)) as usize;
                let entry = start + (offset << shard.shift);
                let end = body.as_ptr().addr() + body.len().max(1) - 1;
                return (index.len(), line(end) - line(entry) + 1);
            }
        }
        unreachable!("one slot is free")
    }

    /// How many shards `other` does not share.
    #[cfg(test)]
    pub(super) fn unshared(&self, other: &Self) -> usize {
        let pairs = self.shards.iter().zip(&other.shards);
        pairs.filter(|(mine, theirs)| !Arc::ptr_eq(&mine.data, &theirs.data)).count()
    }

    /// Bytes of memory held.
    pub(super) fn memory_bytes(&self) -> usize {
        let data: usize = self.shards.iter().map(|shard| shard.data.len() + 16).sum();
        data + self.shards.len() * size_of::<Shard>() + self.suffixes.memory_bytes()
    }
}

/// The shard of a name, of a power of two of them.
#[inline]
const fn shard_of(hash: u64, shards: usize) -> usize {
    (hash >> 44) as usize & (shards - 1)
}

/// The part of the hash that a slot keeps.
#[inline]
const fn tag_of(hash: u64) -> u32 {
    (hash >> 32) as u32 & 0xfff
}

/// The slot of a name to begin at.
#[inline]
const fn slot_of(hash: u64, slots: u32) -> u32 {
    (((hash as u32) as u64 * slots as u64) >> 32) as u32
}

/// Names that exist only because others do are no reason to keep anything.
fn is_wanted(flags: NodeFlags) -> bool {
    flags.any(NodeFlags::HELD | NodeFlags::OWN)
}

#[cold]
#[inline(never)]
fn mark(bits: &AtomicU64, at: u32, flags: NodeFlags, asked: bool) {
    if asked && is_wanted(flags) {
        bits.fetch_or(1 << (at & 63), Ordering::Relaxed);
    }
}

impl Shard {
    #[inline]
    fn slot(&self, at: u32) -> Option<u32> {
        let at = at as usize * 4;
        Some(u32::from_le_bytes(self.data.get(at..at + 4)?.try_into().ok()?))
    }

    /// The slot behind `at`, in a circle.
    #[inline]
    const fn next(&self, at: u32) -> u32 {
        if at + 1 < self.slots { at + 1 } else { 0 }
    }

    #[inline]
    fn entry<'s>(&'s self, slot: u32, suffixes: &'s Suffixes) -> Option<Entry<'s>> {
        let offset = (slot & ((1 << OFFSET_BITS) - 1)) as usize;
        Entry::new(self.data.get(offset << self.shift..)?, &suffixes.list)
    }

    /// The hashes of the names that chains from here pass.
    fn passes(&self) -> impl Iterator<Item = u32> {
        let (passed, _) = self.counts();
        let start = self.slots as usize * 4 + COUNTS;
        let hashes = self.data.get(start..start + 4 * passed).unwrap_or_default();
        hashes.as_chunks().0.iter().map(|hash| u32::from_le_bytes(*hash))
    }

    /// The hashes of the names here that have names below them, and how many one label below.
    fn parents(&self) -> impl Iterator<Item = (u64, u32)> {
        let (passed, parents) = self.counts();
        let start = self.slots as usize * 4 + COUNTS + 4 * passed;
        let all = self.data.get(start..start + PARENT * parents).unwrap_or_default();
        all.as_chunks::<PARENT>().0.iter().filter_map(|parent| {
            let (hash, count) = parent.split_first_chunk()?;
            Some((u64::from_le_bytes(*hash), u32::from_le_bytes(count.try_into().ok()?)))
        })
    }

    /// How many names are passed, and how many are parents.
    fn counts(&self) -> (usize, usize) {
        let count = |at| self.slot(at).unwrap_or_default() as usize;
        (count(self.slots), count(self.slots + 1))
    }
}

impl Suffixes {
    /// What at least two of `names` have below their first label.
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut this = Self { list: Box::default(), slots: vec![0; MAX_SUFFIXES * 4].into() };
        let mut list: Vec<Box<[u8]>> = vec![Box::default()];
        // The first name with a suffix leaves its hash; the second one makes it a shared one.
        let mut seen = vec![0u64; MAX_SUFFIXES * 4];
        for name in names {
            let Some(suffix) = parent(name).filter(|suffix| suffix.len() > 2) else { continue };
            let hash = hash(suffix, secret());
            if this.number(&list, suffix, hash) != 0 || list.len() >= MAX_SUFFIXES {
                continue;
            }
            let Some(before) = seen.get_mut(hash as usize % (MAX_SUFFIXES * 4)) else { continue };
            if *before != hash {
                *before = hash;
                continue;
            }
            let mut at = hash as usize % this.slots.len();
            while this.slots.get(at).is_some_and(|slot| *slot != 0) {
                at = (at + 1) % this.slots.len();
            }
            if let Some(slot) = this.slots.get_mut(at) {
                *slot = list.len() as u16;
            }
            list.push(suffix.into());
        }
        this.list = list.into();
        this
    }

    fn number(&self, list: &[Box<[u8]>], suffix: &[u8], hash: u64) -> u16 {
        let mut at = hash as usize % self.slots.len();
        while let Some(number) = self.slots.get(at).copied().filter(|number| *number != 0) {
            if list.get(usize::from(number)).is_some_and(|known| **known == *suffix) {
                return number;
            }
            at = (at + 1) % self.slots.len();
        }
        0
    }

    /// `name` without the suffix that it shares, and that suffix's number.
    pub(super) fn split<'n>(&self, name: &'n [u8]) -> (&'n [u8], u16) {
        let Some(suffix) = parent(name) else { return (name, 0) };
        match self.number(&self.list, suffix, hash(suffix, secret())) {
            0 => (name, 0),
            number => (name.get(..name.len() - suffix.len()).unwrap_or_default(), number),
        }
    }

    fn memory_bytes(&self) -> usize {
        self.slots.len() * 2 + self.list.iter().map(|suffix| suffix.len() + 16).sum::<usize>()
    }
}

/// A shard under construction; its buffers are kept for the next one.
#[derive(Debug, Default)]
pub(super) struct ShardBuilder {
    /// Hash, start and length of each entry.
    entries: Vec<(u64, usize, usize)>,
    bytes: Vec<u8>,
    /// The hashes of the names that the chains pass.
    pub(super) passed: Vec<u32>,
    /// The hashes of names with names below them, and how many.
    parents: Vec<(u64, u32)>,
}

impl ShardBuilder {
    /// Adds the entry of `name`, which must be new and has `children` names below it.
    pub(super) fn insert(&mut self, name: &[u8], children: u32, entry: &[u8]) {
        let hash = hash(name, secret());
        if children > 0 {
            self.parents.push((hash, children));
        }
        self.entries.push((hash, self.bytes.len(), entry.len()));
        self.bytes.extend_from_slice(entry);
    }

    /// The finished shard; the builder is empty again.
    pub(super) fn finish(&mut self) -> Shard {
        self.passed.sort_unstable();
        self.passed.dedup();
        let count = self.entries.len();
        // Up to 64 slots, each has an asked-for bit of its own.
        let slots = if count <= 56 { (count * 4 / 3 + 1).min(64) } else { count * 4 / 3 + 1 };
        let head = slots * 4 + COUNTS + self.passed.len() * 4 + self.parents.len() * PARENT;
        let mut shift = 2;
        while (head + self.bytes.len() + (count << shift)) >> shift >= 1 << OFFSET_BITS {
            shift += 1;
        }
        let unit = 1usize << shift;
        let len: usize = self.entries.iter().map(|(_, _, len)| len.next_multiple_of(unit)).sum();
        let mut data: Arc<[u8]> = std::iter::repeat_n(0, head.next_multiple_of(unit) + len).collect();
        if let Some(data) = Arc::get_mut(&mut data) {
            self.write(data, slots, head.next_multiple_of(unit), unit);
        }
        self.entries.clear();
        self.bytes.clear();
        self.passed.clear();
        self.parents.clear();
        Shard { data, asked: AtomicU64::new(0), slots: slots as u32, shift }
    }

    fn write(&mut self, data: &mut [u8], slots: usize, first: usize, unit: usize) {
        let counts = [self.passed.len() as u32, self.parents.len() as u32];
        let numbers = counts.into_iter().chain(self.passed.iter().copied());
        let parents =
            self.parents.iter().flat_map(|(hash, count)| [*hash as u32, (*hash >> 32) as u32, *count]);
        let places = data.get_mut(slots * 4..first).unwrap_or_default().as_chunks_mut::<4>().0;
        for (place, number) in places.iter_mut().zip(numbers.chain(parents)) {
            *place = number.to_le_bytes();
        }
        // Where lines of 64 bytes begin is known only now.
        let address = data.as_ptr().addr();
        let mut at = first;
        while !self.entries.is_empty() {
            let (hash, start, len) = self.entries.swap_remove(fitting(&self.entries, (address + at) % 64));
            let entry = self.bytes.get(start..start + len).unwrap_or_default();
            if let Some(place) = data.get_mut(at..at + len) {
                place.copy_from_slice(entry);
            }
            let slot = tag_of(hash) << OFFSET_BITS | (at / unit) as u32;
            let mut number = slot_of(hash, slots as u32) as usize;
            while data.get(number * 4..number * 4 + 4).is_some_and(|slot| slot != [0; 4]) {
                number = (number + 1) % slots;
            }
            if let Some(place) = data.get_mut(number * 4..number * 4 + 4) {
                place.copy_from_slice(&slot.to_le_bytes());
            }
            at += len.next_multiple_of(unit);
        }
    }
}

/// Which of the entries, begun at this byte of a line, lies in no more lines
/// than it must; the longest if none does, for it loses least.
fn fitting(entries: &[(u64, usize, usize)], at: usize) -> usize {
    let fits = entries.iter().position(|(_, _, len)| (at + len).div_ceil(64) == len.div_ceil(64));
    fits.or_else(|| (0..entries.len()).max_by_key(|index| entries.get(*index).map(|entry| entry.2)))
        .unwrap_or_default()
}

/// How many shards that many names get: a power of two.
pub(super) fn shards_for(names: usize) -> usize {
    names.div_ceil(NAMES).next_power_of_two().min(1 << 20)
}

/// The shard, among `shards`, of a name with this upper half of its hash.
pub(super) const fn shard_of_upper(hash: u32, shards: usize) -> usize {
    shard_of((hash as u64) << 32, shards)
}
