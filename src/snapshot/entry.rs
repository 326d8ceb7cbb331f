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
//! The form's lowest two bits are the rest, then own-missing, then wide, then
//! that the SOA has no owner pointer: an entry of form 0 denies with what
//! stands here alone. A wide entry has a number that does not fit above: the
//! upper half of its zone and of its chain length stand in four bytes before
//! the directory, and its elements are of type u16, records u16, length u16,
//! start u32.
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
/// Length of what stands before the directory of a wide entry.
const WIDER: usize = 4;
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
/// The bit of the form for an SOA whose owner must be written out.
const NO_POINTER: u8 = 1 << 4;

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
    /// All of it, and perhaps other entries behind that.
    bytes: &'s [u8],
    head: &'s [u8; FIXED],
    prefix: &'s [u8],
    /// What stands behind the prefix.
    behind: &'s [u8],
    suffix: &'s [u8],
}

/// What an entry of the usual form has for a type.
#[derive(Clone, Copy, Debug)]
pub enum Usual<'s> {
    /// The answer section.
    Body(Body<'s>),
    /// Nothing but the CNAMEs in front of it, if there are any.
    Chain(Body<'s>),
}

/// What an [`Entry`] is made of, for a rare function that is called with it:
/// the parts are put together where it is called, while a whole entry would
/// have to lie in memory on the usual path too.
pub type Parts<'s> = (&'s [u8], &'s [u8]);

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
        let [_, _, _, _, low, high, ..] = *bytes.first_chunk::<FIXED>()?;
        Self::from_parts((bytes, suffixes.get(usize::from(u16::from_le_bytes([low, high])))?))
    }

    /// The parts of the entry.
    #[inline]
    pub const fn parts(self) -> Parts<'s> {
        (self.bytes, self.suffix)
    }

    /// The entry of these parts.
    #[inline]
    pub fn from_parts((bytes, suffix): Parts<'s>) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<FIXED>()?;
        let [len, ..] = *head;
        let (prefix, behind) = rest.split_at_checked(usize::from(len))?;
        Some(Self { bytes, head, prefix, behind, suffix })
    }

    /// Whether clients of some view get another answer.
    #[inline]
    pub const fn has_variants(self) -> bool {
        self.byte::<13>() != 0
    }

    /// Whether the entry is that of `name`.
    #[expect(clippy::inline_always, reason = "its parts are at hand where a look-up ends")]
    #[inline(always)]
    pub(super) fn is_of(self, name: &[u8]) -> bool {
        name.split_at_checked(self.prefix.len())
            .is_some_and(|(first, rest)| same(rest, self.suffix) && same(first, self.prefix))
    }

    #[inline]
    const fn byte<const AT: usize>(self) -> u8 {
        const { assert!(AT < FIXED, "a byte of the head") };
        self.head[AT]
    }

    #[inline]
    const fn half<const AT: usize>(self) -> u16 {
        const { assert!(AT + 1 < FIXED, "bytes of the head") };
        u16::from_le_bytes([self.head[AT], self.head[AT + 1]])
    }

    #[inline]
    const fn is_wide(self) -> bool {
        self.byte::<2>() & WIDE != 0
    }

    /// The entry as clients of `view` get it.
    #[inline]
    #[must_use]
    pub fn in_view(self, view: u8) -> Self {
        if view == 0 || !self.has_variants() { self } else { self.variant(view).unwrap_or(self) }
    }

    #[inline(never)]
    fn variant(self, view: u8) -> Option<Self> {
        let (_, bodies) = self.directory();
        let ends = self.elements().map(|(_, _, len, start)| start as usize + usize::from(len));
        let mut rest = bodies.get(bodies_end(self.chain_len(), ends)..)?;
        for _ in 0..self.byte::<13>() {
            let (head, behind) = rest.split_first_chunk::<VARIANT>()?;
            let [number, len @ ..] = *head;
            let (bytes, next) = behind.split_at_checked(u32::from_le_bytes(len) as usize)?;
            if number == view {
                return Self::from_parts((bytes, self.suffix));
            }
            rest = next;
        }
        None
    }

    /// The name in wire form.
    pub fn name(self) -> EntryName {
        let mut name = EntryName { bytes: [0; MAX_NAME_LEN], len: 0 };
        let prefix = self.prefix;
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
        NodeFlags(self.half::<6>())
    }

    /// What types get that the directory lacks.
    #[inline]
    pub fn rest(self) -> Rest {
        match self.byte::<2>() & 3 {
            0 => Rest::NoData,
            1 => Rest::NxDomain,
            2 => Rest::Leads,
            _ => Rest::Forward,
        }
    }

    /// Whether types that the directory lacks get NODATA, with an SOA whose
    /// owner is [`Self::soa_owner`]: the usual name of ours.
    #[inline]
    pub const fn denies_simply(self) -> bool {
        self.byte::<2>() == 0
    }

    /// Whether a negative answer is owed to a missing record of ours.
    #[inline]
    pub fn is_own_missing(self) -> bool {
        self.byte::<2>() & OWN_MISSING != 0
    }

    /// Pointer to the SOA's owner name within the response; `None` where the
    /// name must be written out.
    #[inline]
    pub fn soa_owner(self) -> Option<[u8; 2]> {
        (self.byte::<2>() & NO_POINTER == 0).then_some([self.byte::<10>(), self.byte::<11>()])
    }

    /// Index of the zone whose SOA negative answers carry.
    #[inline]
    pub fn zone(self) -> usize {
        let low = usize::from(self.half::<8>());
        if self.is_wide() { low | usize::from(self.wide(0)) << 16 } else { low }
    }

    #[inline]
    fn chain_len(self) -> usize {
        let low = usize::from(self.byte::<12>());
        if self.is_wide() { low | usize::from(self.wide(2)) << 8 } else { low }
    }

    /// The number at `at` of what a wide entry has more.
    #[cold]
    fn wide(self, at: usize) -> u16 {
        self.behind.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes)
    }

    /// Directory and bodies.
    fn directory(self) -> (&'s [u8], &'s [u8]) {
        let (skipped, element) = if self.is_wide() { (WIDER, ELEMENT_WIDE) } else { (0, ELEMENT) };
        let behind = self.behind.get(skipped..).unwrap_or_default();
        behind.split_at_checked(element * usize::from(self.byte::<1>())).unwrap_or_default()
    }

    /// The CNAMEs that negative answers start with.
    #[inline]
    pub fn chain(self) -> Body<'s> {
        let (_, bodies) = self.directory();
        let bytes = bodies.get(..self.chain_len()).unwrap_or_default();
        Body { bytes, count: u16::from(self.byte::<3>()) }
    }

    /// The answer section for `qtype`.
    #[inline]
    pub fn body(self, qtype: Rtype) -> Option<Body<'s>> {
        match self.usual(qtype) {
            Some(Usual::Body(body)) => Some(body),
            Some(Usual::Chain(_)) => None,
            None => self.wide_body(qtype),
        }
    }

    /// What [`Self::body`] and [`Self::chain`] tell of an entry that is not wide.
    #[expect(clippy::inline_always, reason = "a call costs a tenth of a hit, in registers saved")]
    #[inline(always)]
    pub fn usual(self, qtype: Rtype) -> Option<Usual<'s>> {
        if self.is_wide() {
            return None;
        }
        let (directory, bodies) = self.behind.split_at_checked(ELEMENT * usize::from(self.byte::<1>()))?;
        let (directory, _) = directory.as_chunks::<ELEMENT>();
        let element = directory.iter().find(|[rtype, ..]| u16::from(*rtype) == qtype.0);
        if let Some(&[_, count, start, len]) = element {
            let bytes = bodies.get(usize::from(start)..)?.get(..usize::from(len))?;
            return Some(Usual::Body(Body { bytes, count: u16::from(count) }));
        }
        let bytes = bodies.get(..usize::from(self.byte::<12>()))?;
        Some(Usual::Chain(Body { bytes, count: u16::from(self.byte::<3>()) }))
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
        let no_pointer = if self.soa_owner.is_none() { NO_POINTER } else { 0 };
        let form = rest | own_missing | no_pointer | if is_wide { WIDE } else { 0 };
        out.extend_from_slice(&[self.prefix.len() as u8, self.directory.len() as u8, form, self.chain.0]);
        out.extend_from_slice(&self.suffix.to_le_bytes());
        out.extend_from_slice(&self.flags.0.to_le_bytes());
        out.extend_from_slice(&(self.zone as u16).to_le_bytes());
        out.extend_from_slice(&self.soa_owner.unwrap_or_default());
        out.extend_from_slice(&[self.chain.1 as u8, 0]);
        out.extend_from_slice(self.prefix);
        if is_wide {
            out.extend_from_slice(&((self.zone >> 16) as u16).to_le_bytes());
            out.extend_from_slice(&[(self.chain.1 >> 8) as u8, 0]);
        }
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
