//! The RRsets of a zone: sorted by owner and type, in little memory, and cheap
//! to copy, change and compare.
//!
//! They lie in chunks that copies share. Where a chunk ends is decided by a
//! hash of the owner, so that sets which differ in a few names consist of the
//! same chunks but for those: a comparison looks at nothing else.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::Rrset;
use super::build::Builder;
use super::chunk::{self, Chunk};
use super::view::{RrsetRef, WireName};
use crate::wire::{Name, Rtype};

/// RRsets, sorted by owner (wire form) and type, each once.
#[derive(Clone, Default)]
pub struct Rrsets {
    pub(super) chunks: Vec<Arc<Chunk>>,
    pub(super) len: usize,
}

impl Rrsets {
    /// How many there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that they take, what copies share counted in each.
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.len()).sum()
    }

    /// Bytes of the chunks that `other` has too.
    pub fn shared_bytes(&self, other: &Self) -> usize {
        let theirs: HashSet<*const Chunk> = other.chunks.iter().map(Arc::as_ptr).collect();
        let shared = self.chunks.iter().filter(|chunk| theirs.contains(&Arc::as_ptr(chunk)));
        shared.map(|chunk| chunk.bytes.len()).sum()
    }

    /// All of them, in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { chunks: &self.chunks, at: 0 }
    }

    /// The RRset of `owner` and `rtype`.
    pub fn get(&self, owner: &[u8], rtype: Rtype) -> Option<RrsetRef<'_>> {
        self.at(owner).find(|rrset| rrset.rtype == rtype)
    }

    /// The RRsets of `owner`.
    pub fn at<'a>(&'a self, owner: &[u8]) -> impl Iterator<Item = RrsetRef<'a>> + use<'a> {
        // All types of an owner are in one chunk.
        let after = self.chunks.partition_point(|chunk| first_owner(chunk) <= owner);
        let chunk = after.checked_sub(1).and_then(|at| self.chunks.get(at)).map(std::slice::from_ref);
        let mut rest = Iter { chunks: chunk.unwrap_or_default(), at: 0 };
        let mut next = rest.next();
        while next.as_ref().is_some_and(|rrset| rrset.owner.as_wire() < owner) {
            next = rest.next();
        }
        let found = next.filter(|rrset| rrset.owner.as_wire() == owner);
        let name = found.as_ref().map(|rrset| rrset.owner);
        found.into_iter().chain(rest).take_while(move |rrset| Some(rrset.owner) == name)
    }

    /// How many lie before `owner`.
    pub fn rank(&self, owner: &[u8]) -> usize {
        let after = self.chunks.partition_point(|chunk| first_owner(chunk) <= owner);
        let Some(at) = after.checked_sub(1) else { return 0 };
        let (before, rest) = self.chunks.split_at(at);
        let before: usize = before.iter().map(|chunk| chunk.traits.count as usize).sum();
        let chunk = Iter { chunks: rest.get(..1).unwrap_or_default(), at: 0 };
        before + chunk.take_while(|rrset| rrset.owner.as_wire() < owner).count()
    }

    /// Whether some RRset has variants.
    pub fn is_varied(&self) -> bool {
        self.chunks.iter().any(|chunk| chunk.traits.is_varied)
    }

    /// The owners that have a CNAME beside other data.
    pub fn owners_with_company(&self) -> impl Iterator<Item = WireName<'_>> {
        let chunks = self.chunks.iter().filter(|chunk| chunk.traits.has_company);
        chunks.flat_map(|chunk| {
            let mut last: Option<RrsetRef<'_>> = None;
            Iter { chunks: std::slice::from_ref(chunk), at: 0 }.filter_map(move |rrset| {
                let before = last.replace(rrset.clone()).filter(|last| last.owner == rrset.owner)?;
                (before.rtype == Rtype::CNAME || rrset.rtype == Rtype::CNAME).then_some(rrset.owner)
            })
        })
    }

    /// The RRsets that end a zone's own data, or may: NS and DNAME.
    pub fn cuts(&self) -> impl Iterator<Item = RrsetRef<'_>> {
        let chunks = self.chunks.iter().filter(|chunk| chunk.traits.has_cut);
        let rrsets = chunks.flat_map(|chunk| Iter { chunks: std::slice::from_ref(chunk), at: 0 });
        rrsets.filter(|rrset| matches!(rrset.rtype, Rtype::NS | Rtype::DNAME))
    }

    /// The RRsets of address types, but for those in chunks whose addresses all
    /// lie between two that are `within` together.
    pub fn addresses_beyond(
        &self,
        within: impl Fn(IpAddr, IpAddr) -> bool,
    ) -> impl Iterator<Item = RrsetRef<'_>> {
        let is_within = move |chunk: &Chunk| {
            let (v4, v6) = (chunk.traits.v4, chunk.traits.v6);
            (v4.0 > v4.1 || within(Ipv4Addr::from(v4.0).into(), Ipv4Addr::from(v4.1).into()))
                && (v6.0 > v6.1 || within(Ipv6Addr::from(v6.0).into(), Ipv6Addr::from(v6.1).into()))
        };
        let chunks = self.chunks.iter().filter(move |chunk| !is_within(chunk));
        let rrsets = chunks.flat_map(|chunk| Iter { chunks: std::slice::from_ref(chunk), at: 0 });
        rrsets.filter(|rrset| matches!(rrset.rtype, Rtype::A | Rtype::AAAA))
    }

    /// The same with each TTL as `bound` has it, which keeps their order.
    /// Chunks in which that changes none are shared.
    #[must_use]
    pub fn bounded(&self, bound: impl Fn(u32) -> u32) -> Self {
        let mut builder = Builder::default();
        for chunk in &self.chunks {
            let (least, greatest) = (chunk.traits.least_ttl, chunk.traits.greatest_ttl);
            if (bound(least), bound(greatest)) == (least, greatest) {
                builder.push_chunk(Arc::clone(chunk));
                continue;
            }
            for mut rrset in (Iter { chunks: std::slice::from_ref(chunk), at: 0 }) {
                rrset.ttl = bound(rrset.ttl);
                builder.push(&rrset);
            }
            builder.end_chunk();
        }
        builder.finish()
    }

    /// What differs in `other`, in order: what it was and what it is.
    pub fn diff<'a>(&'a self, other: &'a Self) -> Diff<'a> {
        Diff { old: self.iter(), new: other.iter() }
    }

    /// The same with `changes`, sorted by key, `None` for one that goes. What
    /// lies in chunks that none concerns is shared.
    #[must_use]
    pub fn patched(&self, changes: &[((Name, Rtype), Option<Rrset>)]) -> Self {
        let mut builder = Builder::default();
        let mut changes = changes.iter().peekable();
        let mut chunks = self.chunks.iter().peekable();
        while let Some(chunk) = chunks.next() {
            let until = chunks.peek().map(|next| first_owner(next));
            let concerns =
                |key: &&((Name, Rtype), Option<Rrset>)| until.is_none_or(|until| key.0.0.as_wire() < until);
            // Without the owner that opens the next chunk this one does not end there.
            let joins_next = |change: &&((Name, Rtype), Option<Rrset>)| {
                change.1.is_none() && until == Some(change.0.0.as_wire())
            };
            if builder.draft.is_empty()
                && !changes.peek().is_some_and(|change| concerns(change) || joins_next(change))
            {
                builder.push_chunk(Arc::clone(chunk));
                continue;
            }
            for rrset in (Iter { chunks: std::slice::from_ref(chunk), at: 0 }) {
                while let Some(((owner, rtype), new)) =
                    changes.next_if(|((owner, rtype), _)| (owner.as_wire(), *rtype) < rrset.key())
                {
                    debug_assert!(new.as_ref().is_none_or(|new| new.owner == *owner && new.rtype == *rtype));
                    builder.push_all(new.as_ref());
                }
                match changes.next_if(|((owner, rtype), _)| (owner.as_wire(), *rtype) == rrset.key()) {
                    Some((_, new)) => builder.push_all(new.as_ref()),
                    None => builder.push(&rrset),
                }
            }
            while let Some((_, new)) = changes.next_if(concerns_ref(until)) {
                builder.push_all(new.as_ref());
            }
            // A chunk that began at an owner's hash goes on as it is, if that owner stays.
            if !changes.peek().is_some_and(joins_next) {
                builder.settle(until);
            }
        }
        for (_, new) in changes {
            builder.push_all(new.as_ref());
        }
        builder.finish()
    }

    /// Changes a small set as a list.
    pub fn edit(&mut self, change: impl FnOnce(&mut Vec<Rrset>)) {
        let mut list: Vec<Rrset> = self.iter().map(|rrset| rrset.to_rrset()).collect();
        change(&mut list);
        *self = list.into();
    }

    /// The same, with the chunks of `known` in the place of equal ones.
    #[must_use]
    pub fn sharing(mut self, known: &Self) -> Self {
        let mut old = known.chunks.iter().peekable();
        for chunk in &mut self.chunks {
            while old.next_if(|old| first_owner(old) < first_owner(chunk)).is_some() {}
            if let Some(same) = old.next_if(|old| *old == chunk) {
                *chunk = Arc::clone(same);
            }
        }
        self
    }
}

fn concerns_ref(until: Option<&[u8]>) -> impl Fn(&&((Name, Rtype), Option<Rrset>)) -> bool {
    move |change| until.is_none_or(|until| change.0.0.as_wire() < until)
}

pub(super) fn first_owner(chunk: &Chunk) -> &[u8] {
    chunk::first_owner(&chunk.bytes)
}

/// Iterates over RRsets in order.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    chunks: &'a [Arc<Chunk>],
    at: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = RrsetRef<'a>;

    fn next(&mut self) -> Option<RrsetRef<'a>> {
        loop {
            let chunk: &'a Chunk = self.chunks.first()?;
            if let Some(rrset) = chunk::read(&chunk.bytes, &mut self.at) {
                return Some(rrset);
            }
            self.skip_chunk();
        }
    }
}

impl Iter<'_> {
    fn skip_chunk(&mut self) {
        self.chunks = self.chunks.get(1..).unwrap_or_default();
        self.at = 0;
    }

    /// At a chunk's end it is at the next one's start.
    fn settle(&mut self) {
        if self.chunks.first().is_some_and(|chunk| self.at >= chunk.bytes.len()) {
            self.skip_chunk();
        }
    }
}

impl<'a> IntoIterator for &'a Rrsets {
    type Item = RrsetRef<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Iterates over differences.
#[derive(Clone, Debug)]
pub struct Diff<'a> {
    old: Iter<'a>,
    new: Iter<'a>,
}

impl<'a> Iterator for Diff<'a> {
    type Item = (Option<RrsetRef<'a>>, Option<RrsetRef<'a>>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.old.settle();
            self.new.settle();
            if let (0, 0, Some(old), Some(new)) =
                (self.old.at, self.new.at, self.old.chunks.first(), self.new.chunks.first())
                && (Arc::ptr_eq(old, new) || old == new)
            {
                self.old.skip_chunk();
                self.new.skip_chunk();
                continue;
            }
            let (mut old, mut new) = (self.old.clone(), self.new.clone());
            let order = match (old.next(), new.next()) {
                (None, None) => return None,
                (Some(was), None) => (Some(was), None),
                (None, Some(is)) => (None, Some(is)),
                (Some(was), Some(is)) => match was.key().cmp(&is.key()) {
                    Ordering::Less => (Some(was), None),
                    Ordering::Greater => (None, Some(is)),
                    Ordering::Equal => (Some(was), Some(is)),
                },
            };
            if order.0.is_some() {
                self.old = old;
            }
            if order.1.is_some() {
                self.new = new;
            }
            if order.0 != order.1 {
                return Some(order);
            }
        }
    }
}

impl PartialEq for Rrsets {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.diff(other).next().is_none()
    }
}

impl Eq for Rrsets {}

impl fmt::Debug for Rrsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
