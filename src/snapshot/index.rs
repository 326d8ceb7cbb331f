//! Names by number while a snapshot is built: open addressing over the keyed
//! hash of the packet path, which costs a third of the standard map's, with
//! eight bytes a name and the names left where they are.

use crate::wire::name::hash;
use crate::wire::name::secret;

/// The part of a name's hash that an index keeps: its upper half.
pub(super) fn tag(name: &[u8]) -> u32 {
    (hash(name, secret()) >> 32) as u32
}

/// Numbers of names.
#[derive(Debug)]
pub(super) struct NameIndex {
    /// 0 for free; else the hash's upper half and the number plus one. A
    /// quarter at least is free.
    slots: Vec<u64>,
    len: usize,
}

impl NameIndex {
    /// With room for that many names before it grows.
    pub(super) fn with_capacity(names: usize) -> Self {
        Self { slots: vec![0; names * 3 / 2 + 8], len: 0 }
    }

    /// The number of `name`; `name_of` tells the name of a number.
    pub(super) fn find<'n>(&self, name: &[u8], name_of: impl Fn(u32) -> &'n [u8]) -> Option<u32> {
        self.probe(tag(name), name, name_of).ok()
    }

    /// Looks at the places of names with these tags. They lie anywhere in
    /// memory: the loads do not depend on each other, so that they are waited
    /// for together and not one by one when each name is looked up.
    pub(super) fn warm(&self, tags: impl Iterator<Item = u32>) {
        let seen = tags.fold(0, |seen, tag| seen ^ self.slots[self.start(tag)]);
        std::hint::black_box(seen);
    }

    /// [`Self::find`] of a name with that tag; without a number it gets the number `next`.
    pub(super) fn find_or_insert<'n>(
        &mut self,
        name: &[u8],
        tag: u32,
        next: u32,
        name_of: impl Fn(u32) -> &'n [u8],
    ) -> u32 {
        match self.probe(tag, name, name_of) {
            Ok(number) => number,
            Err(at) => {
                self.slots[at] = u64::from(tag) << 32 | u64::from(next + 1);
                self.len += 1;
                if self.len > self.slots.len() / 4 * 3 {
                    self.grow();
                }
                next
            }
        }
    }

    /// The upper half of each name's hash, and its number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        self.slots.iter().filter(|slot| **slot != 0).map(|slot| ((*slot >> 32) as u32, *slot as u32 - 1))
    }

    /// The name's number, or the free slot where it would stand.
    fn probe<'n>(&self, tag: u32, name: &[u8], name_of: impl Fn(u32) -> &'n [u8]) -> Result<u32, usize> {
        let mut at = self.start(tag);
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return Err(at);
            }
            if (slot >> 32) as u32 == tag && name_of(slot as u32 - 1) == name {
                return Ok(slot as u32 - 1);
            }
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
    }

    fn start(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.slots.len() as u64) >> 32) as usize
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![0; old.len() * 2];
        for slot in old.into_iter().filter(|slot| *slot != 0) {
            let mut at = self.start((slot >> 32) as u32);
            while self.slots[at] != 0 {
                at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
            }
            self.slots[at] = slot;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again_after_it_grew() {
        let names: Vec<Vec<u8>> = (0..5_000u32).map(|n| n.to_be_bytes().to_vec()).collect();
        let mut index = NameIndex::with_capacity(3);
        for (next, name) in (0u32..).zip(&names) {
            assert_eq!(index.find(name, |at| &names[at as usize]), None);
            assert_eq!(index.find_or_insert(name, tag(name), next, |at| &names[at as usize]), next);
            assert_eq!(index.find_or_insert(name, tag(name), next + 1, |at| &names[at as usize]), next);
        }
        for (number, name) in (0u32..).zip(&names) {
            assert_eq!(index.find(name, |at| &names[at as usize]), Some(number));
        }
    }
}
