//! The compiled form of one name: everything that its answers need, in one
//! run of bytes.
//!
//! ```text
//!  0  name length         u8      8  records in the chain  u8
//!  1  RRset count         u8      9  variants              u8
//!  2  rest                u8     10  flags                 u16
//!  3  extended error      u8     12  zone                  u32
//!  4  SOA owner pointer   u16    16  name (wire form)
//!  6  chain length        u16     …  directory: type u16, records u16, length u16, start u32
//!                                 …  bodies: records in wire form, ready to copy
//!                                 …  variants: view u8, length u32, a whole entry
//! ```
//!
//! Numbers are little-endian, but for the SOA owner pointer, which is wire
//! form. Bodies hold compression pointers into the question and into the body
//! itself, since both lie at fixed places in every response to that name. The
//! SOA of a negative answer is stored once per zone. A variant is what one
//! view's clients get instead, chain included; it stands behind the bodies,
//! so that nobody else's look-up touches it.

use super::place::NodeFlags;
use crate::wire::Rtype;

/// Length of the fixed part.
pub(super) const FIXED: usize = 16;
/// Length of one directory element.
pub(super) const ELEMENT: usize = 10;
/// Length of what stands before a variant.
const VARIANT: usize = 5;

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
}

/// Ready records of one section.
#[derive(Clone, Copy, Debug)]
pub struct Body<'s> {
    /// The records.
    pub bytes: &'s [u8],
    /// How many.
    pub count: u16,
}

impl<'s> Entry<'s> {
    /// The entry at the start of `bytes`, which may go on behind it.
    #[inline]
    pub(super) const fn new(bytes: &'s [u8]) -> Self {
        Self { bytes }
    }

    #[inline]
    fn byte(self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or_default()
    }

    #[inline]
    fn half(self, at: usize) -> u16 {
        self.bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes)
    }

    /// The entry as clients of `view` get it.
    #[inline]
    #[must_use]
    pub fn in_view(self, view: u8) -> Self {
        if view == 0 || self.byte(9) == 0 { self } else { self.variant(view).unwrap_or(self) }
    }

    #[inline(never)]
    fn variant(self, view: u8) -> Option<Self> {
        let (directory, bodies) = self.directory();
        let ends = directory.chunks_exact(ELEMENT).filter_map(|element| {
            let start = u32::from_le_bytes(element.get(6..10)?.try_into().ok()?) as usize;
            Some(start + usize::from(u16::from_le_bytes(element.get(4..6)?.try_into().ok()?)))
        });
        let mut rest = bodies.get(bodies_end(usize::from(self.half(6)), ends)..)?;
        for _ in 0..self.byte(9) {
            let (head, behind) = rest.split_first_chunk::<VARIANT>()?;
            let [number, len @ ..] = *head;
            let (bytes, next) = behind.split_at_checked(u32::from_le_bytes(len) as usize)?;
            if number == view {
                return Some(Self::new(bytes));
            }
            rest = next;
        }
        None
    }

    /// The name in wire form.
    #[inline]
    pub fn name(self) -> &'s [u8] {
        self.bytes.get(FIXED..FIXED + usize::from(self.byte(0))).unwrap_or_default()
    }

    /// What the node is.
    #[inline]
    pub fn flags(self) -> NodeFlags {
        NodeFlags(self.half(10))
    }

    /// What types get that the directory lacks.
    #[inline]
    pub fn rest(self) -> Rest {
        match self.byte(2) {
            0 => Rest::NoData,
            1 => Rest::NxDomain,
            2 => Rest::Leads,
            _ => Rest::Forward,
        }
    }

    /// Whether a negative answer is owed to a missing record of ours.
    #[inline]
    pub fn is_own_missing(self) -> bool {
        self.byte(3) != 0
    }

    /// Pointer to the SOA's owner name within the response; `None` where the
    /// name must be written out.
    #[inline]
    pub fn soa_owner(self) -> Option<[u8; 2]> {
        let pointer: [u8; 2] = self.bytes.get(4..6)?.try_into().ok()?;
        (pointer != [0, 0]).then_some(pointer)
    }

    /// Index of the zone whose SOA negative answers carry.
    #[inline]
    pub fn zone(self) -> usize {
        self.bytes.get(12..16).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes) as usize
    }

    #[inline]
    fn directory(self) -> (&'s [u8], &'s [u8]) {
        let start = FIXED + usize::from(self.byte(0));
        let end = start + ELEMENT * usize::from(self.byte(1));
        (self.bytes.get(start..end).unwrap_or_default(), self.bytes.get(end..).unwrap_or_default())
    }

    /// The CNAMEs that negative answers start with.
    #[inline]
    pub fn chain(self) -> Body<'s> {
        let (_, bodies) = self.directory();
        let bytes = bodies.get(..usize::from(self.half(6))).unwrap_or_default();
        Body { bytes, count: u16::from(self.byte(8)) }
    }

    /// The answer section for `qtype`.
    #[inline]
    pub fn body(self, qtype: Rtype) -> Option<Body<'s>> {
        let (directory, bodies) = self.directory();
        let wanted = qtype.0.to_le_bytes();
        let element = directory.chunks_exact(ELEMENT).find(|element| element.starts_with(&wanted))?;
        Self::element(element, bodies)
    }

    /// The answer section of the first type in the directory: what ANY gets (RFC 8482).
    pub fn first_body(self) -> Option<Body<'s>> {
        let (directory, bodies) = self.directory();
        Self::element(directory.get(..ELEMENT)?, bodies)
    }

    #[inline]
    fn element(element: &[u8], bodies: &'s [u8]) -> Option<Body<'s>> {
        let element: &[u8; ELEMENT] = element.try_into().ok()?;
        let [_, _, count_low, count_high, len_low, len_high, start @ ..] = *element;
        let start = u32::from_le_bytes(start) as usize;
        let len = usize::from(u16::from_le_bytes([len_low, len_high]));
        let bytes = bodies.get(start..start.checked_add(len)?)?;
        Some(Body { bytes, count: u16::from_le_bytes([count_low, count_high]) })
    }

    /// The types in the directory.
    pub fn types(self) -> impl Iterator<Item = Rtype> + 's {
        let (directory, _) = self.directory();
        let types = directory.chunks_exact(ELEMENT);
        types.filter_map(|element| Some(Rtype(u16::from_le_bytes(element.get(..2)?.try_into().ok()?))))
    }
}

/// Where the bodies end: behind the chain and the last element's.
fn bodies_end(chain: usize, ends: impl Iterator<Item = usize>) -> usize {
    ends.fold(chain, usize::max)
}

/// An entry before it is written.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) name: &'a [u8],
    pub(super) flags: NodeFlags,
    pub(super) rest: Rest,
    pub(super) own_missing: bool,
    pub(super) soa_owner: Option<[u8; 2]>,
    pub(super) zone: u32,
    /// Records and length of the chain, which opens `bodies`.
    pub(super) chain: (u8, u16),
    /// Type, record count, length and start in `bodies`.
    pub(super) directory: &'a [(Rtype, u16, u16, u32)],
    pub(super) bodies: &'a [u8],
}

impl Draft<'_> {
    /// Appends the entry to `out`, still without variants; the mirror of [`Entry`]'s readers.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let rest = match self.rest {
            Rest::NoData => 0,
            Rest::NxDomain => 1,
            Rest::Leads => 2,
            Rest::Forward => 3,
        };
        out.extend_from_slice(&[
            self.name.len() as u8,
            self.directory.len() as u8,
            rest,
            u8::from(self.own_missing),
        ]);
        out.extend_from_slice(&self.soa_owner.unwrap_or_default());
        out.extend_from_slice(&self.chain.1.to_le_bytes());
        out.extend_from_slice(&[self.chain.0, 0]);
        out.extend_from_slice(&self.flags.0.to_le_bytes());
        out.extend_from_slice(&self.zone.to_le_bytes());
        out.extend_from_slice(self.name);
        for (rtype, count, len, start) in self.directory {
            out.extend_from_slice(&rtype.0.to_le_bytes());
            out.extend_from_slice(&count.to_le_bytes());
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(&start.to_le_bytes());
        }
        let ends = self.directory.iter().map(|(_, _, len, start)| *start as usize + usize::from(*len));
        let end = bodies_end(usize::from(self.chain.1), ends);
        out.extend_from_slice(self.bodies.get(..end).unwrap_or(self.bodies));
    }
}

/// Appends to the `entry` what clients of `view` get, another whole entry.
/// Entries are added once per view, 255 at most.
pub(super) fn add_variant(entry: &mut Vec<u8>, view: u8, variant: &[u8]) {
    let Some(count) = entry.get_mut(9) else { return };
    *count = count.saturating_add(1);
    entry.push(view);
    entry.extend_from_slice(&(variant.len() as u32).to_le_bytes());
    entry.extend_from_slice(variant);
}
