//! The hash table over compiled names: open addressing, one 64-bit slot a
//! name, so that a look-up touches the slot's cache line and the entry's.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

use super::entry::{Draft, Entry};
use crate::wire::name::hash;

/// The process's secret: names cannot be chosen to collide.
fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| RandomState::new().build_hasher().finish())
}

/// Compiled names by their folded wire form.
#[derive(Debug)]
pub(super) struct Table {
    seed: u64,
    /// 0 for free; else the hash's upper half, and the entry's offset plus one.
    slots: Box<[u64]>,
    arena: Box<[u8]>,
}

impl Table {
    /// The entry of `name`.
    #[inline]
    pub(super) fn find(&self, name: &[u8]) -> Option<Entry<'_>> {
        let hash = hash(name, self.seed);
        let mask = self.slots.len() - 1;
        let mut index = hash as usize & mask;
        // Ends: a quarter of the slots at least is free.
        loop {
            let slot = *self.slots.get(index)?;
            if slot == 0 {
                return None;
            }
            if slot >> 32 == hash >> 32 {
                let entry = Entry::new(self.arena.get((slot as u32 - 1) as usize..)?);
                if entry.name() == name {
                    return Some(entry);
                }
            }
            index = (index + 1) & mask;
        }
    }

    /// Bytes of memory held.
    pub(super) fn memory_bytes(&self) -> usize {
        self.arena.len() + self.slots.len() * 8
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
        Self { seed: seed(), slots: vec![0; capacity].into(), arena: Vec::with_capacity(names * 112) }
    }

    /// Adds an entry; its name must be new. `false` if the arena is full (4 GiB).
    pub(super) fn insert(&mut self, draft: &Draft<'_>) -> bool {
        let Ok(offset) = u32::try_from(self.arena.len() + 1) else { return false };
        let hash = hash(draft.name, self.seed);
        let mask = self.slots.len() - 1;
        let mut index = hash as usize & mask;
        while self.slots.get(index).is_some_and(|slot| *slot != 0) {
            index = (index + 1) & mask;
        }
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = hash & 0xffff_ffff_0000_0000 | u64::from(offset);
        }
        draft.write(&mut self.arena);
        true
    }

    /// The finished table.
    pub(super) fn finish(mut self) -> Table {
        self.arena.shrink_to_fit();
        Table { seed: self.seed, slots: self.slots, arena: self.arena.into() }
    }
}
