//! One RRset as it lies in a chunk.

use std::fmt;

use super::chunk;
use super::{Rrset, Variant};
use crate::wire::name::{self, fmt_wire};
use crate::wire::{Name, Rtype};

/// An owner name in wire form, folded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireName<'a>(&'a [u8]);

/// One RRset.
#[derive(Clone)]
pub struct RrsetRef<'a> {
    /// The owner name; its leftmost label may be `*` (RFC 4592).
    pub owner: WireName<'a>,
    /// The type; never SOA.
    pub rtype: Rtype,
    /// The TTL in seconds, floor and cap applied.
    pub ttl: u32,
    /// The RDATA of each record, uncompressed wire form.
    pub rdatas: Rdatas<'a>,
    pub(super) variants: Option<(&'a [u8], usize)>,
}

/// The RDATA of an RRset.
#[derive(Clone)]
pub struct Rdatas<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    pub(super) left: u32,
}

impl<'a> WireName<'a> {
    pub(super) const fn new(wire: &'a [u8]) -> Self {
        Self(wire)
    }

    /// The wire form, root label included.
    pub const fn as_wire(self) -> &'a [u8] {
        self.0
    }

    /// The name for itself.
    pub fn to_name(self) -> Name {
        // Only names come in.
        Name::from_wire(self.0).unwrap_or_else(|_| Name::root())
    }

    /// Whether the leftmost label is `*` (RFC 4592).
    pub fn is_wildcard(self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    /// Whether this name is `ancestor` or lies below it.
    pub fn is_at_or_below(self, ancestor: &Name) -> bool {
        name::is_at_or_below(self.0, ancestor.as_wire())
    }
}

impl PartialEq<Name> for WireName<'_> {
    fn eq(&self, other: &Name) -> bool {
        self.0 == other.as_wire()
    }
}

impl fmt::Display for WireName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(self.0.len());
        fmt_wire(self.0, &mut text)?;
        f.pad(&text)
    }
}

impl fmt::Debug for WireName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WireName({self})")
    }
}

impl<'a> Iterator for Rdatas<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        chunk::rdata(self.bytes, &mut self.at)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Rdatas<'_> {}

impl Rdatas<'_> {
    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Each of them.
    #[must_use]
    pub fn iter(&self) -> Self {
        self.clone()
    }

    /// The same, each for itself.
    pub fn to_vec(&self) -> Vec<Box<[u8]>> {
        self.clone().map(Into::into).collect()
    }
}

impl<'a> IntoIterator for &Rdatas<'a> {
    type Item = &'a [u8];
    type IntoIter = Rdatas<'a>;

    fn into_iter(self) -> Rdatas<'a> {
        self.clone()
    }
}

impl PartialEq for Rdatas<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.left == other.left && self.clone().eq(other.clone())
    }
}

impl fmt::Debug for Rdatas<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl<'a> RrsetRef<'a> {
    /// What it is found by.
    pub fn key(&self) -> (&'a [u8], Rtype) {
        (self.owner.0, self.rtype)
    }

    /// Whether some view has other records.
    pub const fn is_varied(&self) -> bool {
        self.variants.is_some()
    }

    /// What clients of views get instead, ascending by view; only where it differs.
    pub fn variants(&self) -> impl ExactSizeIterator<Item = (u8, Rdatas<'a>)> + use<'a> {
        let all: Vec<_> =
            self.variants.map(|(bytes, at)| chunk::variants(bytes, at).collect()).unwrap_or_default();
        all.into_iter()
    }

    /// The RDATA that clients of `view` get. A variant without records counts
    /// as none: whether a name has a type is the same for everybody.
    pub fn rdatas_in(&self, view: u8) -> Rdatas<'a> {
        let Some((bytes, at)) = self.variants else { return self.rdatas.clone() };
        let variant = chunk::variants(bytes, at).find(|(of, rdatas)| *of == view && !rdatas.is_empty());
        variant.map_or_else(|| self.rdatas.clone(), |(_, rdatas)| rdatas)
    }

    /// The RRset for itself.
    pub fn to_rrset(&self) -> Rrset {
        let variant = |(view, rdatas): (u8, Rdatas<'_>)| Variant { view, rdatas: rdatas.to_vec() };
        Rrset {
            owner: self.owner.to_name(),
            rtype: self.rtype,
            ttl: self.ttl,
            rdatas: self.rdatas.to_vec(),
            variants: self.variants().map(variant).collect(),
        }
    }
}

impl PartialEq for RrsetRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
            && self.ttl == other.ttl
            && self.rdatas == other.rdatas
            && (!self.is_varied() && !other.is_varied() || self.variants().eq(other.variants()))
    }
}

impl fmt::Debug for RrsetRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_rrset().fmt(f)
    }
}
