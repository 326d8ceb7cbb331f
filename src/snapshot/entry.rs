//! The compiled form of one name: everything that its answers need, in one
//! run of bytes.
//!
//! ```text
//!  0  prefix length       u8      6  flags                 u16
//!  1  RRset count         u8      8  zone                  u16
//!  2  form, see below     u8     10  SOA owner pointer     u16
//!  3  records in chain    u8     12  chain length          u8
//!  4  suffix              u16    13  variants              u8
//! 14  prefix: the name's first labels (wire form); the suffix stands once in the table
//!  …  directory: type u8, records u8, start u8, length u8
//!  …  bodies: records in wire form, ready to copy
//!  …  variants: view u8, length u32, a whole entry
//! ```
//!
//! The form's lowest two bits are the rest, then own-missing, then wide: an
//! entry with a number that does not fit above has the upper half of its zone
//! and of its chain length in four bytes more (14 to 17), and elements of
//! type u16, records u16, length u16, start u32.
//!
//! Numbers are little-endian, but for the SOA owner pointer, which is wire
//! form. Bodies hold compression pointers into the question and into the body
//! itself, since both lie at fixed places in every response to that name. The
//! SOA of a negative answer is stored once per zone. A variant is what one
//! view's clients get instead, chain included; it stands behind the bodies,
//! so that nobody else's look-up touches it.

use std::ops::Deref;

use super::place::NodeFlags;
use crate::wire::Rtype;
use crate::wire::name::MAX_NAME_LEN;
use crate::wire::name::same;

/// Length of the fixed part.
const FIXED: usize = 14;
/// Length of the fixed part of a wide entry.
const FIXED_WIDE: usize = 18;
/// Length of one directory element.
const ELEMENT: usize = 4;
/// Length of one directory element of a wide entry.
const ELEMENT_WIDE: usize = 10;
/// Length of what stands before a variant.
const VARIANT: usize = 5;
/// The bit of the form for a missing record of ours.
const OWN_MISSING: u8 = 1 << 2;
/// The bit of the form for a wide entry.
const WIDE: u8 = 1 << 3;

/// What types get that the directory lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// NODATA: the chain, then the zone's SOA.
    NoData,
    /// NXDOMAIN: the chain leads to a name that does not exist.
    NxDomain,
    /// The chain leads out of the local zones.
    Leads,
    /// A zone cut: forwarded.
    Forward,
}

/// A compiled name.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'s> {
    bytes: &'s [u8],
    suffix: &'s [u8],
}

/// Ready records of one section.
#[derive(Clone, Copy, Debug)]
pub struct Body<'s> {
    /// The records.
    pub bytes: &'s [u8],
    /// How many.
    pub count: u16,
}

/// A name put together from its prefix and the suffix that it shares.
#[derive(Clone, Copy, Debug)]
pub struct EntryName {
    bytes: [u8; MAX_NAME_LEN],
    len: u8,
}

impl Deref for EntryName {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// Type, record count, length and start of one body.
type Element = (Rtype, u16, u16, u32);

impl<'s> Entry<'s> {
    /// The entry at the start of `bytes`, which may go on behind it, with one of `suffixes`.
    #[inline]
    pub(super) fn new(bytes: &'s [u8], suffixes: &'s [Box<[u8]>]) -> Option<Self> {
        let number: [u8; 2] = bytes.get(4..6)?.try_into().ok()?;
        Some(Self { bytes, suffix: suffixes.get(usize::from(u16::from_le_bytes(number)))? })
    }

    /// Whether the entry is that of `name`.
    #[inline]
    pub(super) fn is_of(self, name: &[u8]) -> bool {
        let prefix = usize::from(self.byte(0));
        name.len() == prefix + self.suffix.len()
            && name.split_at_checked(prefix).is_some_and(|(first, rest)| {
                same(rest, self.suffix)
                    && self.bytes.get(self.fixed()..self.fixed() + prefix).is_some_and(|own| same(own, first))
            })
    }

    #[inline]
    fn byte(self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or_default()
    }

    #[inline]
    fn half(self, at: usize) -> u16 {
        self.bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes)
    }

    #[inline]
    fn is_wide(self) -> bool {
        self.byte(2) & WIDE != 0
    }

    #[inline]
    fn fixed(self) -> usize {
        if self.is_wide() { FIXED_WIDE } else { FIXED }
    }

    /// The entry as clients of `view` get it.
    #[inline]
    #[must_use]
    pub fn in_view(self, view: u8) -> Self {
        if view == 0 || self.byte(13) == 0 { self } else { self.variant(view).unwrap_or(self) }
    }

    #[inline(never)]
    fn variant(self, view: u8) -> Option<Self> {
        let (_, bodies) = self.directory();
        let ends = self.elements().map(|(_, _, len, start)| start as usize + usize::from(len));
        let mut rest = bodies.get(bodies_end(self.chain_len(), ends)..)?;
        for _ in 0..self.byte(13) {
            let (head, behind) = rest.split_first_chunk::<VARIANT>()?;
            let [number, len @ ..] = *head;
            let (bytes, next) = behind.split_at_checked(u32::from_le_bytes(len) as usize)?;
            if number == view {
                return Some(Self { bytes, suffix: self.suffix });
            }
            rest = next;
        }
        None
    }

    /// The name in wire form.
    pub fn name(self) -> EntryName {
        let mut name = EntryName { bytes: [0; MAX_NAME_LEN], len: 0 };
        let start = self.fixed();
        let prefix = self.bytes.get(start..start + usize::from(self.byte(0))).unwrap_or_default();
        let len = prefix.len() + self.suffix.len();
        if let Some((head, tail)) =
            name.bytes.get_mut(..len).and_then(|n| n.split_at_mut_checked(prefix.len()))
        {
            head.copy_from_slice(prefix);
            tail.copy_from_slice(self.suffix);
            name.len = len as u8;
        }
        name
    }

    /// What the node is.
    #[inline]
    pub fn flags(self) -> NodeFlags {
        NodeFlags(self.half(6))
    }

    /// What types get that the directory lacks.
    #[inline]
    pub fn rest(self) -> Rest {
        match self.byte(2) & 3 {
            0 => Rest::NoData,
            1 => Rest::NxDomain,
            2 => Rest::Leads,
            _ => Rest::Forward,
        }
    }

    /// Whether a negative answer is owed to a missing record of ours.
    #[inline]
    pub fn is_own_missing(self) -> bool {
        self.byte(2) & OWN_MISSING != 0
    }

    /// Pointer to the SOA's owner name within the response; `None` where the
    /// name must be written out.
    #[inline]
    pub fn soa_owner(self) -> Option<[u8; 2]> {
        let pointer: [u8; 2] = self.bytes.get(10..12)?.try_into().ok()?;
        (pointer != [0, 0]).then_some(pointer)
    }

    /// Index of the zone whose SOA negative answers carry.
    #[inline]
    pub fn zone(self) -> usize {
        let low = usize::from(self.half(8));
        if self.is_wide() { low | usize::from(self.half(14)) << 16 } else { low }
    }

    #[inline]
    fn chain_len(self) -> usize {
        let low = usize::from(self.byte(12));
        if self.is_wide() { low | usize::from(self.byte(16)) << 8 } else { low }
    }

    #[inline]
    fn directory(self) -> (&'s [u8], &'s [u8]) {
        let (fixed, element) = if self.is_wide() { (FIXED_WIDE, ELEMENT_WIDE) } else { (FIXED, ELEMENT) };
        let start = fixed + usize::from(self.byte(0));
        let end = start + element * usize::from(self.byte(1));
        (self.bytes.get(start..end).unwrap_or_default(), self.bytes.get(end..).unwrap_or_default())
    }

    /// The CNAMEs that negative answers start with.
    #[inline]
    pub fn chain(self) -> Body<'s> {
        let (_, bodies) = self.directory();
        let bytes = bodies.get(..self.chain_len()).unwrap_or_default();
        Body { bytes, count: u16::from(self.byte(3)) }
    }

    /// The answer section for `qtype`.
    #[inline]
    pub fn body(self, qtype: Rtype) -> Option<Body<'s>> {
        if self.is_wide() {
            return self.wide_body(qtype);
        }
        let (directory, bodies) = self.directory();
        let wanted = u8::try_from(qtype.0).ok()?;
        let element = directory.chunks_exact(ELEMENT).find(|element| element.first() == Some(&wanted))?;
        let &[_, count, start, len] = element else { return None };
        let start = usize::from(start);
        Some(Body { bytes: bodies.get(start..start + usize::from(len))?, count: u16::from(count) })
    }

    #[inline(never)]
    fn wide_body(self, qtype: Rtype) -> Option<Body<'s>> {
        self.elements().find(|element| element.0 == qtype).and_then(|element| self.at(element))
    }

    /// The answer section of the first type in the directory: what ANY gets (RFC 8482).
    pub fn first_body(self) -> Option<Body<'s>> {
        self.elements().next().and_then(|element| self.at(element))
    }

    fn at(self, (_, count, len, start): Element) -> Option<Body<'s>> {
        let (_, bodies) = self.directory();
        let start = start as usize;
        Some(Body { bytes: bodies.get(start..start.checked_add(usize::from(len))?)?, count })
    }

    fn elements(self) -> impl Iterator<Item = Element> + 's {
        let (directory, _) = self.directory();
        let size = if self.is_wide() { ELEMENT_WIDE } else { ELEMENT };
        directory.chunks_exact(size).filter_map(|element| match *element {
            [rtype, count, start, len] => {
                Some((Rtype(u16::from(rtype)), u16::from(count), u16::from(len), u32::from(start)))
            }
            [type_low, type_high, count_low, count_high, len_low, len_high, a, b, c, d] => Some((
                Rtype(u16::from_le_bytes([type_low, type_high])),
                u16::from_le_bytes([count_low, count_high]),
                u16::from_le_bytes([len_low, len_high]),
                u32::from_le_bytes([a, b, c, d]),
            )),
            _ => None,
        })
    }

    /// The types in the directory.
    pub fn types(self) -> impl Iterator<Item = Rtype> + 's {
        self.elements().map(|element| element.0)
    }
}

/// Where the bodies end: behind the chain and the last element's.
fn bodies_end(chain: usize, ends: impl Iterator<Item = usize>) -> usize {
    ends.fold(chain, usize::max)
}

/// An entry before it is written.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    /// The name's labels before its suffix.
    pub(super) prefix: &'a [u8],
    /// The number of the suffix.
    pub(super) suffix: u16,
    pub(super) flags: NodeFlags,
    pub(super) rest: Rest,
    pub(super) own_missing: bool,
    pub(super) soa_owner: Option<[u8; 2]>,
    pub(super) zone: u32,
    /// Records and length of the chain, which opens `bodies`.
    pub(super) chain: (u8, u16),
    /// Type, record count, length and start in `bodies`.
    pub(super) directory: &'a [Element],
    pub(super) bodies: &'a [u8],
}

impl Draft<'_> {
    /// Appends the entry to `out`, still without variants; the mirror of [`Entry`]'s readers.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let fits =
            |(rtype, count, len, start): &Element| rtype.0.max(*count).max(*len) <= 255 && *start <= 255;
        // No zone at all is a wide one that no list has.
        let is_wide =
            self.zone > u32::from(u16::MAX) || self.chain.1 > 255 || !self.directory.iter().all(fits);
        let rest = match self.rest {
            Rest::NoData => 0,
            Rest::NxDomain => 1,
            Rest::Leads => 2,
            Rest::Forward => 3,
        };
        let own_missing = if self.own_missing { OWN_MISSING } else { 0 };
        let form = rest | own_missing | if is_wide { WIDE } else { 0 };
        out.extend_from_slice(&[self.prefix.len() as u8, self.directory.len() as u8, form, self.chain.0]);
        out.extend_from_slice(&self.suffix.to_le_bytes());
        out.extend_from_slice(&self.flags.0.to_le_bytes());
        out.extend_from_slice(&(self.zone as u16).to_le_bytes());
        out.extend_from_slice(&self.soa_owner.unwrap_or_default());
        out.extend_from_slice(&[self.chain.1 as u8, 0]);
        if is_wide {
            out.extend_from_slice(&((self.zone >> 16) as u16).to_le_bytes());
            out.extend_from_slice(&[(self.chain.1 >> 8) as u8, 0]);
        }
        out.extend_from_slice(self.prefix);
        for (rtype, count, len, start) in self.directory {
            if is_wide {
                out.extend_from_slice(&rtype.0.to_le_bytes());
                out.extend_from_slice(&count.to_le_bytes());
                out.extend_from_slice(&len.to_le_bytes());
                out.extend_from_slice(&start.to_le_bytes());
            } else {
                out.extend_from_slice(&[rtype.0 as u8, *count as u8, *start as u8, *len as u8]);
            }
        }
        let ends = self.directory.iter().map(|(_, _, len, start)| *start as usize + usize::from(*len));
        let end = bodies_end(usize::from(self.chain.1), ends);
        out.extend_from_slice(self.bodies.get(..end).unwrap_or(self.bodies));
    }
}

/// Appends to the `entry` what clients of `view` get, another whole entry.
/// Entries are added once per view, 255 at most.
pub(super) fn add_variant(entry: &mut Vec<u8>, view: u8, variant: &[u8]) {
    let Some(count) = entry.get_mut(13) else { return };
    *count = count.saturating_add(1);
    entry.push(view);
    entry.extend_from_slice(&(variant.len() as u32).to_le_bytes());
    entry.extend_from_slice(variant);
}
