//! How [`Rrsets`] are made: of RRsets in order, of lists, and of saved chunks.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::chunk::{self, Chunk, Draft};
use super::rrsets::{Rrsets, first_owner};
use super::{Rrset, RrsetRef};
use crate::wire::{Name, Rtype};

/// A chunk ends before one owner of so many.
const OWNERS: u64 = 256;
/// Most bytes of a chunk before its last owner: references take two bytes.
const MAX_BYTES: usize = 48 << 10;

/// Makes [`Rrsets`] of RRsets that come in order.
#[derive(Debug, Default)]
pub struct Builder {
    chunks: Vec<Arc<Chunk>>,
    len: usize,
    pub(super) draft: Draft,
    /// Chunks that stand for equal ones, those still to come last first.
    known: Vec<Arc<Chunk>>,
}

impl Builder {
    /// One that shares with `known` what is the same.
    pub fn like(known: &Rrsets) -> Self {
        Self { known: known.chunks.iter().rev().map(Arc::clone).collect(), ..Self::default() }
    }

    /// Appends an RRset; one that is not behind the last is left out.
    pub fn push(&mut self, rrset: &RrsetRef<'_>) {
        self.add(rrset.key(), rrset.ttl, rrset.rdatas.clone(), rrset.variants());
    }

    /// The same.
    pub fn push_rrset(&mut self, rrset: &Rrset) {
        fn slices(rdatas: &[Box<[u8]>]) -> Vec<&[u8]> {
            rdatas.iter().map(|rdata| &**rdata).collect()
        }
        let variants: Vec<_> = rrset
            .variants
            .iter()
            .map(|variant| (variant.view, slices(&variant.rdatas).into_iter()))
            .collect();
        let key = (rrset.owner.as_wire(), rrset.rtype);
        self.add(key, rrset.ttl, slices(&rrset.rdatas).into_iter(), variants.into_iter());
    }

    pub(super) fn push_all(&mut self, rrset: Option<&Rrset>) {
        if let Some(rrset) = rrset {
            self.push_rrset(rrset);
        }
    }

    /// Appends an RRset of folded `owner` that is the same for all views.
    pub fn push_plain<'d>(
        &mut self,
        owner: &Name,
        rtype: Rtype,
        ttl: u32,
        rdatas: impl ExactSizeIterator<Item = &'d [u8]>,
    ) {
        self.push_wire(owner.as_wire(), rtype, ttl, rdatas);
    }

    /// The same, of an owner in wire form.
    pub(crate) fn push_wire<'d>(
        &mut self,
        owner: &[u8],
        rtype: Rtype,
        ttl: u32,
        rdatas: impl ExactSizeIterator<Item = &'d [u8]>,
    ) {
        self.add((owner, rtype), ttl, rdatas, std::iter::empty());
    }

    pub(super) fn add<'d, R, V>(&mut self, key: (&[u8], Rtype), ttl: u32, rdatas: R, variants: V)
    where
        R: ExactSizeIterator<Item = &'d [u8]>,
        V: ExactSizeIterator<Item = (u8, R)>,
    {
        if let Some(last) = self.draft.last() {
            if last >= key {
                return;
            }
            if last.0 != key.0 && (self.draft.len() >= MAX_BYTES || opens_chunk(key.0)) {
                self.end_chunk();
            }
        }
        self.draft.push(key, ttl, rdatas, variants);
    }

    pub(super) fn end_chunk(&mut self) {
        let Some((bytes, traits)) = self.draft.finish() else { return };
        let first = chunk::first_owner(bytes);
        while self.known.pop_if(|known| first_owner(known) < first).is_some() {}
        let same = self.known.pop_if(|known| *known.bytes == *bytes);
        let chunk = same.unwrap_or_else(|| Arc::new(Chunk { bytes: bytes.into(), traits }));
        self.push_chunk(chunk);
    }

    pub(super) fn push_chunk(&mut self, chunk: Arc<Chunk>) {
        self.len += chunk.traits.count as usize;
        self.chunks.push(chunk);
    }

    /// Ends the chunk where the next owner, of a chunk that is at hand, would.
    pub(super) fn settle(&mut self, next: Option<&[u8]>) {
        if next.is_some_and(opens_chunk) {
            self.end_chunk();
        }
    }

    /// The RRsets.
    pub fn finish(mut self) -> Rrsets {
        self.end_chunk();
        self.chunks.shrink_to_fit();
        Rrsets { chunks: self.chunks, len: self.len }
    }
}

impl From<Vec<Rrset>> for Rrsets {
    /// Sorts; of several with one owner and type the first stays.
    fn from(mut rrsets: Vec<Rrset>) -> Self {
        rrsets.sort_by(|a, b| (&a.owner, a.rtype).cmp(&(&b.owner, b.rtype)));
        let mut builder = Builder::default();
        for rrset in &rrsets {
            builder.push_rrset(rrset);
        }
        builder.finish()
    }
}

impl FromIterator<Rrset> for Rrsets {
    fn from_iter<T: IntoIterator<Item = Rrset>>(rrsets: T) -> Self {
        rrsets.into_iter().collect::<Vec<_>>().into()
    }
}

impl Extend<Rrset> for Rrsets {
    /// Adds RRsets; those that are there stay as they are.
    fn extend<T: IntoIterator<Item = Rrset>>(&mut self, rrsets: T) {
        let mut changes: Vec<_> = rrsets
            .into_iter()
            .filter(|rrset| self.get(rrset.owner.as_wire(), rrset.rtype).is_none())
            .map(|rrset| ((rrset.owner.clone(), rrset.rtype), Some(rrset)))
            .collect();
        changes.sort_by(|a, b| a.0.cmp(&b.0));
        changes.dedup_by(|next, first| next.0 == first.0);
        *self = self.patched(&changes);
    }
}

/// Whether `owner` opens a chunk, by a hash of its own: chunks are saved, so
/// their ends must stay where they are when the table's hash changes.
pub(super) fn opens_chunk(owner: &[u8]) -> bool {
    const SEED: u64 = 0x6875_6264_6e73;
    const KEY: u64 = SEED.rotate_left(32) | 1;
    let hash = owner.chunks(8).fold(SEED, |state, bytes| {
        let word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        let product = u128::from(state ^ word) * u128::from(KEY);
        product as u64 ^ (product >> 64) as u64
    });
    hash.is_multiple_of(OWNERS)
}

/// Some of the chunks of [`Rrsets`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Part {
    /// Chunks of other ones: the first, and how many.
    Known(u32, u32),
    /// Its own.
    Own(Rrsets),
}

impl Rrsets {
    /// The same told by the chunks of `known` where it has them.
    pub(crate) fn to_parts(&self, known: &Self) -> Vec<Part> {
        let places: HashMap<*const Chunk, u32> = known.chunks.iter().map(Arc::as_ptr).zip(0..).collect();
        let mut parts = Vec::new();
        for chunk in &self.chunks {
            match (places.get(&Arc::as_ptr(chunk)), parts.last_mut()) {
                (Some(place), Some(Part::Known(first, count))) if *first + *count == *place => *count += 1,
                (Some(place), _) => parts.push(Part::Known(*place, 1)),
                (None, Some(Part::Own(rest))) => rest.push_chunk(chunk),
                (None, _) => {
                    let mut own = Self::default();
                    own.push_chunk(chunk);
                    parts.push(Part::Own(own));
                }
            }
        }
        parts
    }

    /// What [`Self::to_parts`] was made of; `None` if that had other chunks.
    pub(crate) fn from_parts(parts: &[Part], known: &Self) -> Option<Self> {
        let mut all = Self::default();
        for part in parts {
            // Within a part they are in order: `known` is, and so was what was read.
            let mut is_first = true;
            let chunks = match part {
                Part::Known(first, count) => {
                    let first = *first as usize;
                    known.chunks.get(first..first.checked_add(*count as usize)?)?
                }
                Part::Own(own) => &own.chunks,
            };
            for chunk in chunks {
                let last = all.chunks.last().filter(|_| is_first).and_then(|chunk| chunk.last_owner());
                if last.is_some_and(|last| last >= first_owner(chunk)) {
                    return None;
                }
                is_first = false;
                all.push_chunk(chunk);
            }
        }
        Some(all)
    }

    fn push_chunk(&mut self, chunk: &Arc<Chunk>) {
        self.len += chunk.traits.count as usize;
        self.chunks.push(Arc::clone(chunk));
    }
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Serialize for Rrsets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.chunks.iter().map(|chunk| Bytes(&chunk.bytes)))
    }
}

impl<'de> Deserialize<'de> for Rrsets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Chunks)
    }
}

/// Takes chunks one by one: a million records never lie in memory twice.
struct Chunks;

impl<'de> Visitor<'de> for Chunks {
    type Value = Rrsets;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("chunks of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut chunks: A) -> Result<Rrsets, A::Error> {
        let wrong = |text| serde::de::Error::custom(text);
        let mut builder = Builder::default();
        // The chunk before, and where its last RRset lies.
        let mut before: Option<(Arc<Chunk>, usize)> = None;
        while let Some(Piece(bytes)) = chunks.next_element()? {
            let checked = Chunk::check(bytes);
            let (chunk, last) = checked.ok_or_else(|| wrong("a chunk of records is malformed"))?;
            let is_behind = |(before, last): &(Arc<Chunk>, usize)| {
                let last = before.bytes.get(*last..).unwrap_or_default();
                chunk::first_owner(last) < first_owner(&chunk)
            };
            if !before.as_ref().is_none_or(is_behind) {
                return Err(wrong("chunks of records are out of order"));
            }
            let chunk = Arc::new(chunk);
            before = Some((Arc::clone(&chunk), last));
            builder.push_chunk(chunk);
        }
        Ok(builder.finish())
    }
}

/// Bytes in memory of their own, just as many as there are.
struct Piece(Box<[u8]>);

impl<'de> Deserialize<'de> for Piece {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;

        impl Visitor<'_> for Whole {
            type Value = Piece;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Piece, E> {
                Ok(Piece(bytes.into()))
            }
        }

        // Not borrowed: what is read from a file stays nowhere else.
        deserializer.deserialize_byte_buf(Whole)
    }
}
