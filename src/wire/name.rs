//! Domain names of records and of the configuration, and what works on any
//! folded wire-form name.
//!
//! Names are uncompressed wire form (RFC 1035 section 3.1) with ASCII letters
//! in lower case (RFC 4343), so that equal names are equal bytes.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::folded::FoldedName;

/// Longest name in wire form, root label included (RFC 1035 section 2.3.4).
pub const MAX_NAME_LEN: usize = 255;
/// Longest label (RFC 1035 section 2.3.4).
pub const MAX_LABEL_LEN: usize = 63;

/// Why text or bytes are no domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Two dots in a row, or a dot first.
    #[error("a label is empty")]
    EmptyLabel,
    /// A label is longer than 63 bytes.
    #[error("a label is longer than 63 bytes")]
    LabelTooLong,
    /// The name is longer than 255 bytes in wire form.
    #[error("the name is longer than 255 bytes")]
    NameTooLong,
    /// A backslash is followed by neither a character nor three digits up to 255.
    #[error("a backslash escape is malformed (RFC 1035 section 5.1)")]
    BadEscape,
    /// Bytes end early, go on after the root label, or hold a pointer.
    #[error("the bytes are not an uncompressed name")]
    BadWire,
}

/// An absolute domain name in wire form, lower case, never compressed.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

impl Name {
    /// The root.
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// Takes a whole uncompressed wire-form name and folds its case.
    pub fn from_wire(wire: &[u8]) -> Result<Self, NameError> {
        match FoldedName::parse(wire) {
            Some((folded, end)) if end == wire.len() => Ok(folded.to_name()),
            _ => Err(NameError::BadWire),
        }
    }

    /// Takes a name that is folded already.
    pub(super) fn from_folded(folded: &FoldedName) -> Self {
        Self(folded.as_wire().into())
    }

    /// The wire form, root label included: 1 to 255 bytes.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// The labels from the leftmost on, without the root label.
    pub fn labels(&self) -> Labels<'_> {
        Labels(&self.0)
    }

    /// The number of labels, the root label not counted.
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// The name without its leftmost label; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        parent(&self.0).map(|wire| Self(wire.into()))
    }

    /// Whether this name is `ancestor` or lies below it, compared by label.
    pub fn is_at_or_below(&self, ancestor: &Self) -> bool {
        is_at_or_below(&self.0, &ancestor.0)
    }

    /// The labels of this name above `suffix`'s, as a relative prefix in wire
    /// form without a root label; `None` unless the name is at or below it.
    pub fn strip_suffix(&self, suffix: &Self) -> Option<&[u8]> {
        if !self.is_at_or_below(suffix) {
            return None;
        }
        self.0.get(..self.0.len() - suffix.0.len())
    }

    /// The name made of the labels in `prefix` (wire form, no root label) and `self`.
    pub fn with_prefix(&self, prefix: &[u8]) -> Result<Self, NameError> {
        let mut wire = Vec::with_capacity(prefix.len() + self.0.len());
        wire.extend_from_slice(prefix);
        wire.extend_from_slice(&self.0);
        if wire.len() > MAX_NAME_LEN {
            return Err(NameError::NameTooLong);
        }
        Self::from_wire(&wire)
    }

    /// The name `label` + `self`, the label given as raw bytes.
    pub fn child(&self, label: &[u8]) -> Result<Self, NameError> {
        if label.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        let len = u8::try_from(label.len()).ok().filter(|l| usize::from(*l) <= MAX_LABEL_LEN);
        let mut prefix = vec![len.ok_or(NameError::LabelTooLong)?];
        prefix.extend_from_slice(label);
        self.with_prefix(&prefix)
    }

    /// Whether the leftmost label is `*` (RFC 4592).
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }
}

/// Whether wire-form `name` is `ancestor` or lies below it. Both folded.
pub fn is_at_or_below(name: &[u8], ancestor: &[u8]) -> bool {
    let mut rest = name;
    loop {
        if rest.len() <= ancestor.len() {
            return rest == ancestor;
        }
        match parent(rest) {
            Some(up) => rest = up,
            None => return false,
        }
    }
}

/// Wire-form `name` without its leftmost label; `None` for the root.
#[inline]
pub fn parent(name: &[u8]) -> Option<&[u8]> {
    let len = usize::from(*name.first()?);
    if len == 0 { None } else { name.get(1 + len..) }
}

/// The labels of a wire-form name, leftmost first, without the root label.
#[derive(Clone, Debug)]
pub struct Labels<'a>(&'a [u8]);

impl<'a> Labels<'a> {
    /// Iterates over the labels of an uncompressed wire-form name.
    pub fn new(wire: &'a [u8]) -> Self {
        Self(wire)
    }
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&len, rest) = self.0.split_first()?;
        if len == 0 {
            return None;
        }
        let label = rest.get(..usize::from(len))?;
        self.0 = rest.get(usize::from(len)..)?;
        Some(label)
    }
}

impl FromStr for Name {
    type Err = NameError;

    /// Parses the text form of RFC 1035 section 5.1, with `\.` and `\DDD`
    /// escapes. A final dot makes no difference: every name is absolute.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let mut wire = Vec::with_capacity(text.len() + 2);
        let mut label = Vec::new();
        let mut bytes = text.bytes();
        if text == "." {
            return Ok(Self::root());
        }
        loop {
            match bytes.next() {
                Some(b'\\') => label.push(unescape(&mut bytes)?),
                Some(b'.') => push_label(&mut wire, &mut label)?,
                Some(byte) => label.push(byte.to_ascii_lowercase()),
                None if label.is_empty() && !wire.is_empty() => break,
                None => {
                    push_label(&mut wire, &mut label)?;
                    break;
                }
            }
        }
        wire.push(0);
        if wire.len() > MAX_NAME_LEN {
            return Err(NameError::NameTooLong);
        }
        Ok(Self(wire.into()))
    }
}

fn unescape(bytes: &mut std::str::Bytes<'_>) -> Result<u8, NameError> {
    let first = bytes.next().ok_or(NameError::BadEscape)?;
    if !first.is_ascii_digit() {
        return Ok(first.to_ascii_lowercase());
    }
    let mut value = u16::from(first - b'0');
    for _ in 0..2 {
        let digit = bytes.next().filter(u8::is_ascii_digit).ok_or(NameError::BadEscape)?;
        value = value * 10 + u16::from(digit - b'0');
    }
    let byte = u8::try_from(value).map_err(|_| NameError::BadEscape)?;
    Ok(byte.to_ascii_lowercase())
}

fn push_label(wire: &mut Vec<u8>, label: &mut Vec<u8>) -> Result<(), NameError> {
    match label.len() {
        0 => return Err(NameError::EmptyLabel),
        len if len > MAX_LABEL_LEN => return Err(NameError::LabelTooLong),
        len => wire.push(len as u8),
    }
    wire.append(label);
    Ok(())
}

/// Writes a wire-form name as text, escaped, without a final dot (`.` for the root).
pub fn fmt_wire(wire: &[u8], f: &mut dyn fmt::Write) -> fmt::Result {
    if wire.first().is_none_or(|len| *len == 0) {
        return f.write_char('.');
    }
    for (i, label) in Labels::new(wire).enumerate() {
        if i > 0 {
            f.write_char('.')?;
        }
        for &byte in label {
            match byte {
                b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => write!(f, "\\{}", byte as char)?,
                0x21..=0x7e => f.write_char(byte as char)?,
                _ => write!(f, "\\{byte:03}")?,
            }
        }
    }
    Ok(())
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(self.0.len());
        fmt_wire(&self.0, &mut text)?;
        f.pad(&text)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            deserializer.deserialize_byte_buf(Wire)
        }
    }
}

struct Wire;

impl serde::de::Visitor<'_> for Wire {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name in wire form")
    }

    fn visit_bytes<E: serde::de::Error>(self, wire: &[u8]) -> Result<Name, E> {
        Name::from_wire(wire).map_err(E::custom)
    }
}

/// Hashes a folded wire-form name, keyed by a secret `seed` so that clients
/// cannot choose names that collide: state and multiplier are both unknown.
///
/// It works on blocks of sixteen bytes; the last one ends where the name does
/// and overlaps the one before. A shorter name is filled up with zeros.
#[inline]
pub fn hash(wire: &[u8], seed: u64) -> u64 {
    let mut mixer = Mixer::new(seed, wire.len());
    match wire.split_last_chunk::<BLOCK>() {
        Some((_, last)) => {
            let (blocks, _) = wire.get(..wire.len() - 1).unwrap_or_default().as_chunks::<BLOCK>();
            for block in blocks {
                mixer.mix(*block);
            }
            mixer.mix(*last);
        }
        None => mixer.mix(short_block(wire)),
    }
    mixer.finish()
}

/// The seed of this process for [`hash`]: drawn once, told to nobody.
#[inline]
pub fn secret() -> u64 {
    match SECRET.load(Ordering::Relaxed) {
        0 => draw(),
        drawn => drawn,
    }
}

static SECRET: AtomicU64 = AtomicU64::new(0);

#[cold]
fn draw() -> u64 {
    let drawn = RandomState::new().build_hasher().finish() | 1 << 63;
    // Of several threads the first one's counts.
    SECRET.compare_exchange(0, drawn, Ordering::Relaxed, Ordering::Relaxed).err().unwrap_or(drawn)
}

/// Whether two names are the same bytes, compared by words where they stand:
/// names are too short for a call to pay. Words may overlap: the last one ends
/// where the names do.
#[expect(clippy::inline_always, reason = "a dozen instructions in the middle of a look-up")]
#[inline(always)]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let Some(last) = a.len().checked_sub(8) else { return same_short(a, b) };
    let word = |of: &[u8], at: usize| of.get(at..at + 8).and_then(<[u8]>::first_chunk::<8>).copied();
    if last <= 8 {
        // Most suffixes: two words without a loop.
        return word(a, 0) == word(b, 0) && word(a, last) == word(b, last);
    }
    let mut at = 0;
    while at < last {
        if word(a, at) != word(b, at) {
            return false;
        }
        at += 8;
    }
    word(a, last) == word(b, last)
}

/// [`same`] of equally many bytes, fewer than eight.
#[expect(clippy::inline_always, reason = "as for `same`, of which this is the usual half")]
#[inline(always)]
fn same_short(a: &[u8], b: &[u8]) -> bool {
    if let (Some(first_a), Some(first_b), Some(last_a), Some(last_b)) =
        (a.first_chunk(), b.first_chunk(), a.last_chunk(), b.last_chunk())
    {
        return u32::from_le_bytes(*first_a) == u32::from_le_bytes(*first_b)
            && u32::from_le_bytes(*last_a) == u32::from_le_bytes(*last_b);
    }
    a.iter().zip(b).all(|(a, b)| a == b)
}

/// Bytes that are hashed at once.
pub(super) const BLOCK: usize = 16;

/// The state of [`hash`].
pub(super) struct Mixer {
    state: u64,
    key: u64,
}

impl Mixer {
    /// For a name of `len` bytes. The length tells apart names whose blocks
    /// are the same because they overlap differently.
    #[inline]
    pub(super) const fn new(seed: u64, len: usize) -> Self {
        Self { state: seed ^ len as u64, key: seed.rotate_left(32) | 1 }
    }

    /// One step: both words, masked by what is secret, multiplied to 128 bits and folded.
    #[inline]
    pub(super) const fn mix(&mut self, block: [u8; BLOCK]) {
        let block = u128::from_le_bytes(block);
        let (low, high) = (block as u64 ^ self.state, (block >> 64) as u64 ^ self.key);
        let product = low as u128 * high as u128;
        self.state = (product as u64) ^ ((product >> 64) as u64);
    }

    /// The hash.
    #[inline]
    pub(super) const fn finish(&self) -> u64 {
        self.state
    }
}

/// A name of less than a block as one.
fn short_block(wire: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    for (place, byte) in block.iter_mut().zip(wire) {
        *place = *byte;
    }
    block
}

#[cfg(test)]
mod tests;
