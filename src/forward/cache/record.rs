//! One kept response in the bytes of a segment.
//!
//! ```text
//! 0      8       16       24             32           34            36     38
//! hash   stored  expires  key's fields   message len  question end  rcode  TTLs
//! 40       42        43      44    46
//! EDE len  name len  traits  lead  -, up to 48
//! name ▸ places of the TTLs, two bytes each ▸ EDE options ▸ message
//! ```
//!
//! Numbers are little-endian. A record changes only as a whole, for one that is
//! as long: what readers note about it stands in its slot of the index.

use crate::forward::kept::{Head, Kept, Marks, Traits};
use crate::wire::Rcode;

use super::key::{Fields, KeyRef};

/// Bytes of the fixed part.
pub(super) const FIXED: usize = 48;

/// A record as it stands in a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    fixed: &'a [u8; FIXED],
    rest: &'a [u8],
}

/// Bytes that the record of `key` and `kept` takes.
pub(super) fn len(key: &KeyRef<'_>, kept: &Kept<'_>) -> usize {
    FIXED + key.name.len() + kept.ttls.len() + kept.ede.len() + kept.bytes.len()
}

/// Appends a record. Every length has been checked by [`fits`].
pub(super) fn push(out: &mut Vec<u8>, key: &KeyRef<'_>, kept: &Kept<'_>) {
    let head = &kept.head;
    let mut fixed = [0; FIXED];
    let (words, _) = fixed.as_chunks_mut::<8>();
    let pairs = |fields: [u16; 4]| {
        fields.iter().rev().fold(0, |word: u64, field| word << 16 | u64::from(*field)).to_le_bytes()
    };
    let [hash, stored, expires, fields, first, second] = words else { return };
    *hash = key.hash.to_le_bytes();
    *stored = head.stored.to_le_bytes();
    *expires = head.expires.to_le_bytes();
    *fields = key.fields.0.to_le_bytes();
    let ttls = (kept.ttls.len() / 2) as u16;
    *first = pairs([kept.bytes.len() as u16, head.question_end, head.rcode.0, ttls]);
    let name_and_traits = key.name.len() as u16 | u16::from(head.traits.0) << 8;
    *second = pairs([kept.ede.len() as u16, name_and_traits, head.lead, 0]);
    out.extend_from_slice(&fixed);
    out.extend_from_slice(key.name);
    out.extend_from_slice(kept.ttls);
    out.extend_from_slice(kept.ede);
    out.extend_from_slice(kept.bytes);
}

/// Whether every length of `kept` fits its field.
pub(super) fn fits(key: &KeyRef<'_>, kept: &Kept<'_>) -> bool {
    let most = usize::from(u16::MAX);
    key.name.len() <= 255 && kept.bytes.len() <= most && kept.ede.len() <= most && kept.ttls.len() / 2 <= most
}

impl<'a> Record<'a> {
    /// The record at the start of `bytes`.
    #[inline]
    pub(super) fn at(bytes: &'a [u8]) -> Option<Self> {
        let (fixed, rest) = bytes.split_first_chunk()?;
        Some(Self { fixed, rest })
    }

    #[inline]
    fn u16_at<const AT: usize>(&self) -> u16 {
        u16::from_le_bytes([self.fixed[AT], self.fixed[AT + 1]])
    }

    #[inline]
    fn u64_at<const AT: usize>(&self) -> u64 {
        let (words, _) = self.fixed.as_chunks::<8>();
        words.get(AT / 8).map_or(0, |word| u64::from_le_bytes(*word))
    }

    /// The key's hash.
    #[inline]
    pub(super) fn hash(&self) -> u64 {
        self.u64_at::<0>()
    }

    /// Bytes of the whole record.
    #[inline]
    pub(super) fn len(&self) -> usize {
        FIXED + self.body_at() + usize::from(self.u16_at::<32>())
    }

    #[inline]
    fn name_len(&self) -> usize {
        usize::from(self.fixed[42])
    }

    /// Where the message begins, behind the fixed part.
    #[inline]
    fn body_at(&self) -> usize {
        self.name_len() + 2 * usize::from(self.u16_at::<38>()) + usize::from(self.u16_at::<40>())
    }

    /// The question that it answers.
    #[inline]
    pub(super) fn key(&self) -> KeyRef<'a> {
        KeyRef {
            name: self.rest.get(..self.name_len()).unwrap_or_default(),
            fields: Fields(self.u64_at::<24>()),
            hash: self.hash(),
        }
    }

    /// The response, with the notes of its slot.
    #[inline]
    pub(super) fn kept(&self, marks: &'a Marks) -> Option<Kept<'a>> {
        let rest = self.rest.get(self.name_len()..)?;
        let (ttls, rest) = rest.split_at_checked(2 * usize::from(self.u16_at::<38>()))?;
        let (ede, rest) = rest.split_at_checked(usize::from(self.u16_at::<40>()))?;
        let bytes = rest.get(..usize::from(self.u16_at::<32>()))?;
        let head = Head {
            question_end: self.u16_at::<34>(),
            rcode: Rcode(self.u16_at::<36>()),
            stored: self.u64_at::<8>(),
            expires: self.u64_at::<16>(),
            lead: self.u16_at::<44>(),
            traits: Traits(self.fixed[43]),
        };
        Some(Kept { head, bytes, ttls, ede, marks })
    }
}
