//! The case-folded QNAME of a query, held inline: parsing allocates nothing.
//!
//! Folding works on sixteen bytes at once and may treat length bytes as text:
//! they are at most 63, below `A`. The hash is made of the same words while
//! they are at hand. The last block overlaps the one before it, so that no
//! byte has to be masked. Rejected: keeping the offsets of the labels, since
//! only names that are not held are asked for their suffixes.

use std::fmt;

use super::name::{BLOCK, Labels, MAX_LABEL_LEN, MAX_NAME_LEN, Mixer, Name, hash, parent, secret};

/// The QNAME of a query: lower case, uncompressed, held inline so that
/// parsing a query allocates nothing.
#[derive(Clone)]
pub struct FoldedName {
    buf: [u8; 256],
    len: u8,
    /// The name's hash by the process's secret, made on the way.
    hash: u64,
}

impl FoldedName {
    /// The root, to read into. Its hash is made only by reading.
    pub const ROOT: Self = Self { buf: [0; 256], len: 1, hash: 0 };

    /// Reads an uncompressed name from the start of `bytes`. Returns it and
    /// the offset behind it; `None` as [`Self::read`].
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut name = Self::ROOT;
        let end = name.read(bytes)?;
        Some((name, end))
    }

    /// Reads an uncompressed name from the start of `bytes` into `self`.
    /// Returns the offset behind it; `None` as [`Self::read_at`].
    #[inline]
    pub fn read(&mut self, bytes: &[u8]) -> Option<usize> {
        self.read_at(bytes, 0)
    }

    /// Reads the uncompressed name at `start` of `message` into `self`.
    /// Returns its length; `None` if it is cut off, too long or holds a
    /// pointer (which the first name of a message cannot).
    ///
    /// In place, since moving the buffer would cost more than all the rest.
    #[expect(clippy::inline_always, reason = "as for `Query::read`, which it is most of")]
    #[inline(always)]
    pub fn read_at(&mut self, message: &[u8], start: usize) -> Option<usize> {
        let bytes = message.get(start..)?;
        // So that the check of the index is the check of the length as well.
        let bytes = bytes.get(..bytes.len().min(MAX_NAME_LEN))?;
        let mut at = 0usize;
        let last = loop {
            let len = *bytes.get(at)?;
            // The root label wraps: one comparison for it and for what is no label.
            if len.wrapping_sub(1) >= MAX_LABEL_LEN as u8 {
                break len;
            }
            at += 1 + usize::from(len);
        };
        if last != 0 {
            return None;
        }
        let name = bytes.get(..=at)?;
        self.len = name.len() as u8;
        let Some((_, tail)) = name.split_last_chunk::<BLOCK>() else {
            self.read_short(name);
            return Some(name.len());
        };
        let mut mixer = Mixer::new(secret(), name.len());
        let (places, _) = self.buf.as_chunks_mut::<BLOCK>();
        // All whole blocks before the last byte, then the block that it ends.
        let (blocks, _) = name.get(..at)?.as_chunks::<BLOCK>();
        for (place, block) in places.iter_mut().zip(blocks) {
            mixer.mix(lower(place, *block));
        }
        let place = self.buf.get_mut(..name.len())?.last_chunk_mut::<BLOCK>()?;
        mixer.mix(lower(place, *tail));
        self.hash = mixer.finish();
        Some(name.len())
    }

    /// A name of less than one block.
    #[cold]
    fn read_short(&mut self, name: &[u8]) {
        for (place, byte) in self.buf.iter_mut().zip(name) {
            *place = byte.to_ascii_lowercase();
        }
        self.hash = hash(self.as_wire(), secret());
    }

    /// [`hash`] of this name by [`secret`].
    #[inline]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// The last eight bytes; `None` for a shorter name.
    #[inline]
    pub fn last_bytes(&self) -> Option<[u8; 8]> {
        self.as_wire().last_chunk().copied()
    }

    /// The wire form, lower case, root label included.
    #[inline]
    pub fn as_wire(&self) -> &[u8] {
        self.buf.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The number of labels, the root label not counted. Walks the name, since only names that
    /// are not held are asked.
    pub fn label_count(&self) -> usize {
        Labels::new(self.as_wire()).count()
    }

    /// The last `labels` labels (and the root label) in wire form; `None` if
    /// the name has fewer.
    #[inline]
    pub fn suffix(&self, labels: usize) -> Option<&[u8]> {
        let skip = self.label_count().checked_sub(labels)?;
        let mut wire = self.as_wire();
        for _ in 0..skip {
            wire = parent(wire)?;
        }
        Some(wire)
    }

    /// An owned copy.
    pub fn to_name(&self) -> Name {
        Name::from_folded(self)
    }
}

impl From<&Name> for FoldedName {
    fn from(name: &Name) -> Self {
        // A `Name` is a valid uncompressed name by construction.
        Self::parse(name.as_wire()).expect("a Name is a whole name").0
    }
}

impl fmt::Debug for FoldedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FoldedName({})", self.to_name())
    }
}

impl PartialEq for FoldedName {
    fn eq(&self, other: &Self) -> bool {
        self.as_wire() == other.as_wire()
    }
}

/// Writes the bytes of `from` to `place`, ASCII capitals in lower case, and
/// returns them. Byte by byte to the eye, which compilers make one vector of.
#[inline]
fn lower(place: &mut [u8; BLOCK], from: [u8; BLOCK]) -> [u8; BLOCK] {
    *place = from.map(|byte| byte.to_ascii_lowercase());
    *place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_suffix_agrees_with_parents() {
        let long: Name = "a.b.c.d.e.f.g.h.i.j.example.org".parse().unwrap();
        let folded = FoldedName::from(&long);
        let mut up = Some(long.clone());
        for labels in (0..=12).rev() {
            let expected = up.unwrap();
            assert_eq!(folded.suffix(labels), Some(expected.as_wire()), "{labels}");
            up = expected.parent();
        }
        assert_eq!(folded.suffix(13), None);
    }

    #[test]
    fn names_of_every_length_hash_as_their_wire_form() {
        let mut name = FoldedName::ROOT;
        for len in 0..=253usize {
            let mut wire = Vec::new();
            let mut left = len;
            while left > 1 {
                let label = (left - 1).min(63);
                wire.push(label as u8);
                wire.extend((0..label).map(|at| (at * 7 + len) as u8));
                left -= label + 1;
            }
            wire.push(0);
            // With bytes around it, and without.
            let message = [&[0xff; 9][..], &wire, &[0xff; 9]].concat();
            for (message, start) in [(&message[..], 9), (&wire[..], 0)] {
                assert_eq!(name.read_at(message, start), Some(wire.len()), "{len}");
                assert_eq!(name.as_wire(), wire.to_ascii_lowercase());
                assert_eq!(name.hash(), super::super::name::hash(name.as_wire(), secret()), "{len}");
            }
        }
    }
}
