//! The case-folded QNAME of a query, held inline: parsing allocates nothing.
//!
//! Folding works on eight bytes at once and may treat length bytes as text:
//! they are at most 63, below `A`.

use std::fmt;

use super::name::{MAX_LABEL_LEN, MAX_NAME_LEN, Name, parent};

/// The QNAME of a query: lower case, uncompressed, held inline so that
/// parsing a query allocates nothing.
#[derive(Clone)]
pub struct FoldedName {
    buf: [u8; 256],
    len: usize,
    labels: u8,
    /// Offsets of the last eight labels, the root label's in the lowest byte.
    tail: u64,
}

impl FoldedName {
    /// The root, to read into.
    pub const ROOT: Self = Self { buf: [0; 256], len: 1, labels: 0, tail: 0 };

    /// Reads an uncompressed name from the start of `bytes`. Returns it and
    /// the offset behind it; `None` as [`Self::read`].
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut name = Self::ROOT;
        let end = name.read(bytes)?;
        Some((name, end))
    }

    /// Reads an uncompressed name from the start of `bytes` into `self`.
    /// Returns the offset behind it; `None` if it is cut off, too long or
    /// holds a pointer (which the first name of a message cannot).
    ///
    /// In place, since moving the buffer would cost more than all the rest.
    #[inline]
    pub fn read(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0usize;
        let mut labels = 0u8;
        let mut tail = 0u64;
        loop {
            let len = usize::from(*bytes.get(at)?);
            tail = tail << 8 | at as u64;
            if len == 0 {
                break;
            }
            if len > MAX_LABEL_LEN {
                return None;
            }
            at += 1 + len;
            if at >= MAX_NAME_LEN {
                return None;
            }
            labels += 1;
        }
        let len = at + 1;
        let from = bytes.get(..len)?;
        for (place, word) in self.buf.as_chunks_mut::<8>().0.iter_mut().zip(from.as_chunks::<8>().0) {
            *place = lower8(u64::from_le_bytes(*word)).to_le_bytes();
        }
        // The last eight bytes again, for those that fill no word.
        match (self.buf.get_mut(len.wrapping_sub(8)..len), from.last_chunk::<8>()) {
            (Some(place), Some(word)) => {
                place.copy_from_slice(&lower8(u64::from_le_bytes(*word)).to_le_bytes());
            }
            _ => self.buf.iter_mut().zip(from).for_each(|(place, byte)| *place = byte.to_ascii_lowercase()),
        }
        (self.len, self.labels, self.tail) = (len, labels, tail);
        Some(len)
    }

    /// The wire form, lower case, root label included.
    #[inline]
    pub fn as_wire(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or_default()
    }

    /// The number of labels, the root label not counted.
    #[inline]
    pub fn label_count(&self) -> usize {
        usize::from(self.labels)
    }

    /// The last `labels` labels (and the root label) in wire form; `None` if
    /// the name has fewer.
    #[inline]
    pub fn suffix(&self, labels: usize) -> Option<&[u8]> {
        let skip = self.label_count().checked_sub(labels)?;
        if labels < 8 {
            let at = (self.tail >> (8 * labels)) & 0xff;
            return self.as_wire().get(at as usize..);
        }
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

/// Lower-cases the ASCII capitals among eight bytes.
#[inline]
const fn lower8(word: u64) -> u64 {
    const EVERY: u64 = 0x0101_0101_0101_0101;
    let low = word & (0x7f * EVERY);
    // Bit 7 of each byte: at least 'A', and above 'Z'.
    let from_a = low + (0x80 - b'A' as u64) * EVERY;
    let past_z = low + (0x7f - b'Z' as u64) * EVERY;
    let capital = (from_a ^ past_z) & !word & (0x80 * EVERY);
    word | capital >> 2
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
    fn folding_changes_capitals_alone() {
        let all: Vec<u8> = (0..=255u8).collect();
        for chunk in all.chunks(8) {
            let word = u64::from_le_bytes(chunk.try_into().unwrap());
            let expected: Vec<u8> = chunk.iter().map(u8::to_ascii_lowercase).collect();
            assert_eq!(lower8(word).to_le_bytes().to_vec(), expected);
        }
    }
}
