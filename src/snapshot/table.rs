//! The hash table over compiled names: open addressing, one 64-bit slot a
//! name, so that a look-up touches the slot's cache line and the entry's.
//!
//! One bit of the slot says that a client asked for the name. It is read with
//! the slot anyway, and written only where it is not set yet, so that a name
//! asked for all the time costs a test and its cache line stays shared.
//! Rejected: a bitmap beside the slots, one more cache miss per hit.

use std::sync::atomic::{AtomicU64, Ordering};

use super::entry::Entry;
use super::place::NodeFlags;
use crate::wire::FoldedName;
use crate::wire::name::{hash, same, secret};

/// The bit of a slot that says: asked for.
const ASKED: u64 = 1 << 32;
/// The bits of a slot that are the hash's.
const HASH: u64 = u64::MAX << 33;

/// Compiled names by their folded wire form.
#[derive(Debug)]
pub(super) struct Table {
    seed: u64,
    /// 0 for free; else the hash's upper 31 bits, whether the name was asked
    /// for, and the entry's offset plus one.
    slots: Box<[AtomicU64]>,
    arena: Box<[u8]>,
}

impl Table {
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
    #[inline]
    pub(super) fn look_up_folded(&self, name: &FoldedName, asked: bool) -> Option<Entry<'_>> {
        self.probe::<true>(name.as_wire(), name.hash(), asked)
    }

    #[inline]
    fn probe<const MARKS: bool>(&self, name: &[u8], hash: u64, asked: bool) -> Option<Entry<'_>> {
        let mask = self.slots.len() - 1;
        let mut index = hash as usize & mask;
        // Ends: a quarter of the slots at least is free.
        loop {
            let slot = self.slots.get(index)?;
            let value = slot.load(Ordering::Relaxed);
            if value == 0 {
                return None;
            }
            if value >> 33 == hash >> 33 {
                let entry = self.entry(value)?;
                if same(entry.name(), name) {
                    // Read before written: a line that all workers write would travel between them.
                    if MARKS && slot.load(Ordering::Relaxed) & ASKED == 0 {
                        mark(slot, entry, asked);
                    }
                    return Some(entry);
                }
            }
            index = (index + 1) & mask;
        }
    }

    /// The entries that were asked for since the last call.
    pub(super) fn take_asked(&self) -> impl Iterator<Item = Entry<'_>> {
        self.slots.iter().filter_map(|slot| {
            if slot.load(Ordering::Relaxed) & ASKED == 0 {
                return None;
            }
            let value = slot.fetch_and(!ASKED, Ordering::Relaxed);
            self.entry(value)
        })
    }

    #[inline]
    fn entry(&self, slot: u64) -> Option<Entry<'_>> {
        Some(Entry::new(self.arena.get((slot as u32 - 1) as usize..)?))
    }

    /// Bytes of memory held.
    pub(super) fn memory_bytes(&self) -> usize {
        self.arena.len() + self.slots.len() * 8
    }
}

/// Names that exist only because others do are no reason to keep anything.
#[cold]
fn mark(slot: &AtomicU64, entry: Entry<'_>, asked: bool) {
    if asked && entry.flags().any(NodeFlags::HELD | NodeFlags::OWN) {
        slot.fetch_or(ASKED, Ordering::Relaxed);
    }
}

/// A table under construction.
#[derive(Debug)]
pub(super) struct TableBuilder {
    seed: u64,
    slots: Box<[u64]>,
    arena: Vec<u8>,
}

impl TableBuilder {
    /// For `names` names.
    pub(super) fn new(names: usize) -> Self {
        let capacity = (names + names / 3 + 2).next_power_of_two();
        Self { seed: secret(), slots: vec![0; capacity].into(), arena: Vec::with_capacity(names * 112) }
    }

    /// Adds the entry of `name`, which must be new. `false` if the arena is full (4 GiB).
    pub(super) fn insert(&mut self, name: &[u8], entry: &[u8]) -> bool {
        let Ok(offset) = u32::try_from(self.arena.len() + 1) else { return false };
        let hash = hash(name, self.seed);
        let mask = self.slots.len() - 1;
        let mut index = hash as usize & mask;
        while self.slots.get(index).is_some_and(|slot| *slot != 0) {
            index = (index + 1) & mask;
        }
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = hash & HASH | u64::from(offset);
        }
        self.arena.extend_from_slice(entry);
        true
    }

    /// The finished table.
    pub(super) fn finish(mut self) -> Table {
        self.arena.shrink_to_fit();
        let slots = self.slots.into_iter().map(AtomicU64::new).collect();
        Table { seed: self.seed, slots, arena: self.arena.into() }
    }
}
