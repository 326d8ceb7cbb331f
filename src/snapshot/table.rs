//! The hash table over compiled names: shards of some thirty names, each one
//! allocation that the snapshots share in which none of its names changed.
//!
//! A shard is an open-addressed index of 32-bit slots (12 bits of the hash,
//! 20 of the entry's offset), the hashes of the names that its entries'
//! chains pass (see [`Shard::passes`]), and its entries. The upper bits of a
//! name's hash choose the shard, the lower ones the slot.
//!
//! Lines of 64 bytes that a look-up touches, of a million names in the estate
//! of the benches (a login name has 22 bytes, an entry 16); index and entry as
//! a test of `update` counts them, from addresses:
//!
//! ```text
//!                            warm: shared by many names     cold: this name's own
//!  shard (32 bytes of 1 MB)  1, of the second-level cache
//!  shape (a few dozen)       3, of the first-level cache
//!  index (4 bytes a slot)                                   1
//!  entry: shape's number, label, address
//!    A and NODATA of private-link and public names alike    1
//! ```
//!
//! So two loads in a row miss: the index, then the entry. That a probe meets
//! another name with its tag, and so a third line, happens to one in about a
//! thousand names.
//!
//! One bit a slot says that a client asked for the name. It stands beside the
//! shard's address, which is read anyway, and is written only where it is not
//! set yet, so that a name asked for all the time costs a test and its cache
//! line stays shared. Rejected: one slot array and one arena for all names
//! (nothing can be shared by two snapshots, and every one is built whole);
//! an index that is searched across lines (a tenth of the look-ups goes on in
//! the next one).

use std::sync::Arc;

use super::entry::{Entry, Parts};
use super::hashes::Hashes;
use super::shapes::Shapes;
use super::shard::{Found, Shard, Slot};
use crate::wire::FoldedName;
use crate::wire::name::{hash, secret};

/// Names of a shard that its size is chosen for, at most.
const NAMES: usize = 32;

/// The hash by which chains remember the names that they pass.
pub(super) fn passed_hash(name: &[u8]) -> u32 {
    hash(name, secret()) as u32
}

/// Compiled names by their folded wire form.
#[derive(Debug)]
pub(super) struct Table {
    seed: u64,
    shards: Box<[Shard]>,
    shapes: Arc<Shapes>,
}

impl Table {
    /// The table of these shards, of names with these shapes.
    pub(super) fn new(shards: Vec<Shard>, shapes: Shapes) -> Self {
        Self { seed: secret(), shards: shards.into(), shapes: Arc::new(shapes) }
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

    /// Reads from memory what the look-up of a name with that hash will read.
    #[inline]
    pub(super) fn touch(&self, hash: u64) -> bool {
        let shard = self.shards.get(shard_of(hash, self.shards.len()));
        shard.and_then(|shard| shard.find(hash, &self.shapes)).is_some()
    }

    #[expect(clippy::inline_always, reason = "as for `look_up_folded`, which is nothing else")]
    #[inline(always)]
    fn probe<const MARKS: bool>(&self, name: &[u8], hash: u64, asked: bool) -> Option<Entry<'_>> {
        let shard = self.shards.get(shard_of(hash, self.shards.len()))?;
        let Found { entry, slot } = shard.find(hash, &self.shapes)?;
        if !entry.is_of(name) {
            return self.probe_on::<MARKS>(name, hash, slot, asked).map(Entry::from_parts);
        }
        // Read before written: a line that all workers write would travel between them.
        if MARKS && !shard.is_asked(slot) {
            shard.mark(slot, entry.flags(), asked);
        }
        Some(entry)
    }

    /// [`Self::probe`] behind a slot whose tag fits and whose name does not.
    #[cold]
    fn probe_on<const MARKS: bool>(
        &self,
        name: &[u8],
        hash: u64,
        slot: Slot,
        asked: bool,
    ) -> Option<Parts<'_>> {
        let shard = self.shards.get(shard_of(hash, self.shards.len()))?;
        let Found { entry, slot } = shard.find_on(name, hash, slot, &self.shapes)?;
        if MARKS && !shard.is_asked(slot) {
            shard.mark(slot, entry.flags(), asked);
        }
        Some(entry.parts())
    }

    /// The entries that were asked for since the last call.
    pub(super) fn take_asked(&self) -> impl Iterator<Item = Entry<'_>> {
        let dirty = self.shards.iter().filter(|shard| shard.has_asked());
        dirty.flat_map(|shard| shard.take_asked(&self.shapes))
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
        self.shards.get(number).into_iter().flat_map(|shard| shard.entries(&self.shapes))
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

    /// The shapes, for names that are compiled anew.
    pub(super) fn shapes(&self) -> &Shapes {
        &self.shapes
    }

    /// This table but for the shards of `fresh`, with their numbers.
    pub(super) fn with(&self, fresh: Vec<(usize, Shard)>) -> Self {
        let mut shards = self.shards.clone();
        for (number, shard) in fresh {
            if let Some(place) = shards.get_mut(number) {
                *place = shard;
            }
        }
        Self { seed: self.seed, shards, shapes: Arc::clone(&self.shapes) }
    }

    /// How many lines of 64 bytes a look-up of the held `name` touches in the
    /// index, and in the entry.
    #[cfg(test)]
    pub(super) fn lines(&self, name: &[u8]) -> (usize, usize) {
        let hash = hash(name, self.seed);
        self.shards[shard_of(hash, self.shards.len())].lines_of(name, hash, &self.shapes)
    }

    /// How many shards `other` does not share.
    #[cfg(test)]
    pub(super) fn unshared(&self, other: &Self) -> usize {
        let pairs = self.shards.iter().zip(&other.shards);
        pairs.filter(|(mine, theirs)| !mine.is_shared_with(theirs)).count()
    }

    /// Bytes of memory held.
    pub(super) fn memory_bytes(&self) -> usize {
        let data: usize = self.shards.iter().map(Shard::memory_bytes).sum();
        data + self.shards.len() * size_of::<Shard>() + self.shapes.memory_bytes()
    }
}

/// The shard of a name, of a power of two of them.
#[inline]
const fn shard_of(hash: u64, shards: usize) -> usize {
    (hash >> 44) as usize & (shards - 1)
}

/// How many shards that many names get: a power of two.
pub(super) fn shards_for(names: usize) -> usize {
    names.div_ceil(NAMES).next_power_of_two().min(1 << 20)
}

/// The shard, among `shards`, of a name with this upper half of its hash.
pub(super) const fn shard_of_upper(hash: u32, shards: usize) -> usize {
    shard_of((hash as u64) << 32, shards)
}
