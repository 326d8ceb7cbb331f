//! Shapes: what very many names have in common, stored once and shared by
//! all snapshots that come of one build.
//!
//! Names of one kind and of equal length differ in a label and an address
//! alone: a million names of registries come in some dozens of shapes. Which
//! ones there are is told from a sample of the names; a name with another one
//! is stored whole, as are those of kinds that an update meets first.

use std::collections::HashMap;

use super::entry::Shape;
use crate::wire::name::{hash, secret};

/// The number that says that an entry has its definition itself.
pub(super) const INLINE: u16 = u16::MAX;
/// Shapes that are shared, at most.
const MAX_SHAPES: usize = 4096;

/// Shapes by number.
#[derive(Debug)]
pub(super) struct Shapes {
    list: Box<[Shape]>,
    /// Their definitions, by which names that are compiled find them.
    definitions: Box<[Box<[u8]>]>,
    /// Numbers in the list plus one, by hash: a power of two, half of them 0 for free.
    slots: Box<[u16]>,
}

/// Definitions of some names, counted.
#[derive(Debug, Default)]
pub(super) struct Sample(HashMap<Box<[u8]>, u32>);

impl Sample {
    /// Counts the definition of another name.
    pub(super) fn add(&mut self, definition: &[u8]) {
        if let Some(count) = self.0.get_mut(definition) {
            *count += 1;
        } else {
            self.0.insert(definition.into(), 1);
        }
    }
}

impl Shapes {
    /// What at least two names of the sample have, the most frequent first.
    pub(super) fn of(sample: Sample) -> Self {
        let mut shared: Vec<_> = sample.0.into_iter().filter(|(_, count)| *count > 1).collect();
        shared.sort_by(|(a, more), (b, fewer)| fewer.cmp(more).then_with(|| a.cmp(b)));
        shared.truncate(MAX_SHAPES);
        let shared = shared.into_iter();
        let shapes = shared.filter_map(|(definition, _)| Some((Shape::new(&definition)?, definition)));
        let (list, definitions): (Vec<Shape>, Vec<Box<[u8]>>) = shapes.unzip();
        let mut slots = vec![0; (list.len() * 2).next_power_of_two().max(2)];
        for (number, definition) in (1..).zip(&definitions) {
            let mut at = first_slot(definition, slots.len());
            while slots[at] != 0 {
                at = (at + 1) % slots.len();
            }
            slots[at] = number;
        }
        Self { list: list.into(), definitions: definitions.into(), slots: slots.into() }
    }

    /// The shape with that number; `None` for [`INLINE`].
    #[inline]
    pub(super) fn get(&self, number: u16) -> Option<&Shape> {
        self.list.get(usize::from(number))
    }

    /// The number of a definition that is shared.
    pub(super) fn number(&self, definition: &[u8]) -> Option<u16> {
        let mut at = first_slot(definition, self.slots.len());
        loop {
            let number = self.slots.get(at)?.checked_sub(1)?;
            if **self.definitions.get(usize::from(number))? == *definition {
                return Some(number);
            }
            at = (at + 1) % self.slots.len();
        }
    }

    /// Bytes of memory held.
    pub(super) fn memory_bytes(&self) -> usize {
        // Taken apart, a definition is about as long as before.
        let bytes: usize = self.definitions.iter().map(|definition| 2 * definition.len()).sum();
        bytes + self.list.len() * (size_of::<Shape>() + size_of::<Box<[u8]>>()) + self.slots.len() * 2
    }
}

fn first_slot(definition: &[u8], slots: usize) -> usize {
    hash(definition, secret()) as usize % slots
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A definition without RRsets or suffix, of that zone.
    fn definition(zone: usize) -> [u8; 14] {
        let [low, high, ..] = zone.to_le_bytes();
        [3, 0, 0, 0, 0, 0, low, high, 0, 0, 0, 0, 0, 0]
    }

    #[test]
    fn what_names_share_is_numbered_by_frequency() {
        let mut sample = Sample::default();
        for (which, count) in [(1, 1), (2, 2), (3, 9), (0, 2)] {
            (0..count).for_each(|_| sample.add(&definition(which)));
        }
        let shapes = Shapes::of(sample);
        for (number, which) in (0..).zip([3, 0, 2]) {
            assert_eq!(shapes.number(&definition(which)), Some(number));
            assert!(shapes.get(number).is_some());
        }
        assert_eq!(shapes.number(&definition(1)), None);
        assert!(shapes.get(3).is_none() && shapes.get(INLINE).is_none());
        assert_eq!(Shapes::of(Sample::default()).number(&definition(1)), None);
    }

    #[test]
    fn no_more_than_the_most_frequent_are_kept() {
        let mut sample = Sample::default();
        for zone in 0..MAX_SHAPES + 9 {
            let times = if zone < 9 { 2 } else { 3 };
            (0..times).for_each(|_| sample.add(&definition(zone)));
        }
        let shapes = Shapes::of(sample);
        assert_eq!((0..9).find_map(|zone| shapes.number(&definition(zone))), None);
        let numbers = (9..MAX_SHAPES + 9).map(|zone| shapes.number(&definition(zone)).unwrap());
        let numbers: std::collections::HashSet<u16> = numbers.collect();
        assert_eq!(numbers.len(), MAX_SHAPES);
    }
}
