//! The public aliases of a set, in blocks that copies share.
//!
//! Where a block ends is decided by a hash of the public name, so that lists
//! which differ in a few aliases consist of the same blocks but for those:
//! half a million aliases are compared by looking at two thousand addresses.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Alias;
use super::build::opens_chunk;

/// Public aliases in the order that they were added in; published ones are sorted.
#[derive(Clone, Default)]
pub struct Aliases {
    blocks: Vec<Arc<Vec<Alias>>>,
    len: usize,
    /// Some alias is not behind the one before.
    is_disordered: bool,
}

impl Aliases {
    /// How many there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether each stands once, in the order of the public names.
    pub const fn is_sorted(&self) -> bool {
        !self.is_disordered
    }

    /// All of them, in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { blocks: &self.blocks, at: 0 }
    }

    /// The alias at `public`.
    pub fn get(&self, public: &[u8]) -> Option<&Alias> {
        if self.is_disordered {
            return self.iter().find(|alias| alias.public.as_wire() == public);
        }
        let after = self.blocks.partition_point(|block| first(block) <= Some(public));
        let block = self.blocks.get(after.checked_sub(1)?)?;
        let at = block.binary_search_by(|alias| alias.public.as_wire().cmp(public)).ok()?;
        block.get(at)
    }

    /// Appends an alias.
    pub fn push(&mut self, alias: Alias) {
        let last = self.blocks.last().and_then(|block| block.last());
        self.is_disordered |= last.is_some_and(|last| last.public >= alias.public);
        self.len += 1;
        match self.blocks.last_mut() {
            Some(block) if !opens_chunk(alias.public.as_wire()) => Arc::make_mut(block).push(alias),
            last => {
                if let Some(block) = last.and_then(Arc::get_mut) {
                    block.shrink_to_fit();
                }
                self.blocks.push(Arc::new(vec![alias]));
            }
        }
    }

    /// Sorts by public name.
    pub fn sort(&mut self) {
        if self.is_disordered {
            let mut list: Vec<Alias> = self.iter().cloned().collect();
            list.sort();
            *self = list.into();
        }
    }

    /// Keeps those that `stays` says so of.
    pub fn retain(&mut self, mut stays: impl FnMut(&Alias) -> bool) {
        let kept: Vec<&Alias> = self.iter().filter(|alias| stays(alias)).collect();
        if kept.len() < self.len {
            *self = kept.into_iter().cloned().collect();
        }
    }

    /// Shares with `before` what is the same.
    pub(crate) fn share(&mut self, before: &Self) {
        let mut old = before.blocks.iter().peekable();
        for block in &mut self.blocks {
            while old.next_if(|old| first(old) < first(block)).is_some() {}
            if let Some(same) = old.next_if(|old| *old == block) {
                *block = Arc::clone(same);
            }
        }
    }

    /// What differs in `other`, in order: what it was and what it is. Both
    /// must be sorted.
    pub fn diff<'a>(&'a self, other: &'a Self) -> Diff<'a> {
        Diff { old: self.iter(), new: other.iter() }
    }

    /// How many blocks `other` has too, and how many there are.
    #[cfg(test)]
    pub(super) fn shared(&self, other: &Self) -> (usize, usize) {
        let has = |block: &Arc<Vec<Alias>>| other.blocks.iter().any(|other| Arc::ptr_eq(block, other));
        (self.blocks.iter().filter(|block| has(block)).count(), self.blocks.len())
    }
}

/// The first public name.
fn first(block: &Arc<Vec<Alias>>) -> Option<&[u8]> {
    block.first().map(|alias| alias.public.as_wire())
}

/// Iterates over aliases in order.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    blocks: &'a [Arc<Vec<Alias>>],
    at: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Alias;

    fn next(&mut self) -> Option<&'a Alias> {
        loop {
            if let Some(alias) = self.blocks.first()?.get(self.at) {
                self.at += 1;
                return Some(alias);
            }
            self.skip_block();
        }
    }
}

impl<'a> Iter<'a> {
    fn skip_block(&mut self) {
        self.blocks = self.blocks.get(1..).unwrap_or_default();
        self.at = 0;
    }

    /// The block that it is at the start of.
    fn whole(&mut self) -> Option<&'a Arc<Vec<Alias>>> {
        if self.blocks.first().is_some_and(|block| self.at >= block.len()) {
            self.skip_block();
        }
        self.blocks.first().filter(|_| self.at == 0)
    }
}

/// Iterates over differences.
#[derive(Clone, Debug)]
pub struct Diff<'a> {
    old: Iter<'a>,
    new: Iter<'a>,
}

impl<'a> Iterator for Diff<'a> {
    type Item = (Option<&'a Alias>, Option<&'a Alias>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let (Some(old), Some(new)) = (self.old.whole(), self.new.whole())
                && Arc::ptr_eq(old, new)
            {
                self.old.skip_block();
                self.new.skip_block();
                continue;
            }
            let (mut old, mut new) = (self.old.clone(), self.new.clone());
            let (was, is) = (old.next(), new.next());
            let order = match (was, is) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(was), Some(is)) => was.public.cmp(&is.public),
            };
            if order != Ordering::Greater {
                self.old = old;
            }
            if order != Ordering::Less {
                self.new = new;
            }
            let both = (was.filter(|_| order != Ordering::Greater), is.filter(|_| order != Ordering::Less));
            if both.0 != both.1 {
                return Some(both);
            }
        }
    }
}

impl<'a> IntoIterator for &'a Aliases {
    type Item = &'a Alias;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl Extend<Alias> for Aliases {
    fn extend<T: IntoIterator<Item = Alias>>(&mut self, aliases: T) {
        aliases.into_iter().for_each(|alias| self.push(alias));
    }
}

impl FromIterator<Alias> for Aliases {
    fn from_iter<T: IntoIterator<Item = Alias>>(aliases: T) -> Self {
        let mut all = Self::default();
        all.extend(aliases);
        all
    }
}

impl From<Vec<Alias>> for Aliases {
    fn from(aliases: Vec<Alias>) -> Self {
        aliases.into_iter().collect()
    }
}

impl PartialEq for Aliases {
    fn eq(&self, other: &Self) -> bool {
        // The same aliases lie in the same blocks.
        let same = |(a, b): (&Arc<Vec<Alias>>, &Arc<Vec<Alias>>)| Arc::ptr_eq(a, b) || a == b;
        self.len == other.len
            && self.blocks.len() == other.blocks.len()
            && self.blocks.iter().zip(&other.blocks).all(same)
    }
}

impl Eq for Aliases {}

impl fmt::Debug for Aliases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl Serialize for Aliases {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.len))?;
        self.iter().try_for_each(|alias| list.serialize_element(alias))?;
        list.end()
    }
}

impl<'de> Deserialize<'de> for Aliases {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<Alias>::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn alias(public: u32, target: u8) -> Alias {
        let name = |text: String| text.parse().unwrap();
        Alias {
            public: name(format!("r{public}.azurecr.io")),
            target: name(format!("t{target}.privatelink.azurecr.io")),
        }
    }

    fn model() -> impl Strategy<Value = BTreeMap<crate::wire::Name, Alias>> {
        prop::collection::vec((0..3000u32, 0..3u8), 0..1500).prop_map(|all| {
            all.into_iter()
                .map(|(public, target)| alias(public, target))
                .map(|a| (a.public.clone(), a))
                .collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn aliases_are_a_list(old in model(), new in model()) {
            let (a, mut b): (Aliases, Aliases) =
                (old.values().cloned().collect(), new.values().cloned().collect());
            prop_assert!(a.is_sorted() && a.iter().eq(old.values()) && a.len() == old.len());
            for at in (0..3000).step_by(7).map(|at| alias(at, 0).public) {
                prop_assert_eq!(a.get(at.as_wire()), old.get(&at));
            }
            let keys: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
            let expected: Vec<_> =
                keys.into_iter().map(|key| (old.get(key), new.get(key))).filter(|(a, b)| a != b).collect();
            prop_assert_eq!(a.diff(&b).collect::<Vec<_>>(), expected.clone());
            b.share(&a);
            prop_assert!(b.iter().eq(new.values()));
            prop_assert_eq!(a.diff(&b).collect::<Vec<_>>(), expected);
            prop_assert_eq!(a == b, old == new);
            let saved = postcard::to_stdvec(&a).unwrap();
            prop_assert_eq!(&saved, &postcard::to_stdvec(&old.values().collect::<Vec<_>>()).unwrap());
            prop_assert_eq!(&postcard::from_bytes::<Aliases>(&saved).unwrap(), &a);
        }

        #[test]
        fn disorder_is_seen_and_mended(all in prop::collection::vec(0..3000u32, 0..300), odd in 1..5u32) {
            let mut aliases: Aliases = all.iter().map(|at| alias(*at, 0)).collect();
            let mut list: Vec<Alias> = all.iter().map(|at| alias(*at, 0)).collect();
            prop_assert_eq!(aliases.is_sorted(), list.is_sorted_by(|a, b| a < b));
            list.sort();
            aliases.sort();
            prop_assert!(aliases.iter().eq(&list));
            let stays = |alias: &Alias| !(alias.public.as_wire().len() as u32).is_multiple_of(odd);
            aliases.retain(stays);
            list.retain(stays);
            prop_assert!(aliases.iter().eq(&list));
            prop_assert_eq!(aliases, Aliases::from(list));
        }
    }

    #[test]
    fn one_change_leaves_the_other_blocks() {
        let list = |changed: u32| -> Aliases {
            let mut all: Aliases = (0..20_000).map(|at| alias(at, u8::from(at == changed))).collect();
            all.sort();
            all
        };
        let (old, mut new) = (list(u32::MAX), list(77));
        assert_eq!(old.shared(&new).0, 0);
        new.share(&old);
        let (shared, all) = new.shared(&old);
        assert!(all > 40, "{all} blocks");
        assert_eq!(shared, all - 1);
        assert_eq!(old.diff(&new).count(), 1);
    }
}
