//! Reads definitions: of entries that hold theirs, and of shapes before they
//! are taken apart. `entry` draws their layout, `draft` writes them.

use super::entry::Usual;
use super::place::NodeFlags;
use crate::wire::{Body, Rtype};

/// Length of a definition's fixed part.
const HEAD: usize = 14;
/// Where in it the number of variants stands.
pub(super) const VARIANTS_AT: usize = 10;
/// Length of what stands before the directory of a wide definition.
const WIDER: usize = 4;
/// Length of one directory element.
pub(super) const ELEMENT: usize = 8;
/// Length of one directory element of a wide definition.
const ELEMENT_WIDE: usize = 10;
/// Length of what stands before a variant.
const VARIANT: usize = 5;
/// The bit of the form for a missing record of ours.
pub(super) const OWN_MISSING: u8 = 1 << 2;
/// The bit of the form for a wide definition.
pub(super) const WIDE: u8 = 1 << 3;
/// The bit of the form for an SOA whose owner must be written out.
pub(super) const NO_POINTER: u8 = 1 << 4;

/// A definition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Definition<'s> {
    head: &'s [u8; HEAD],
    suffix: &'s [u8],
    /// What stands behind the suffix.
    behind: &'s [u8],
}

/// Where a body stands, and what it is.
#[derive(Clone, Copy)]
pub(super) struct Element {
    pub(super) rtype: Rtype,
    pub(super) count: u16,
    start: usize,
    len: usize,
    /// Start and length of its values.
    pub(super) values: (usize, usize),
    pub(super) has_label: bool,
}

impl Element {
    #[inline]
    fn read([rtype, count, start, len, values_at, values_len, label, _]: [u8; ELEMENT]) -> Self {
        Self {
            rtype: Rtype(u16::from(rtype)),
            count: u16::from(count),
            start: usize::from(start),
            len: usize::from(len),
            values: (usize::from(values_at), usize::from(values_len)),
            has_label: label != 0,
        }
    }
}

impl<'s> Definition<'s> {
    /// That of a name that has nothing.
    pub(super) const NOTHING: Self = Self { head: &[0; HEAD], suffix: &[], behind: &[] };

    /// The definition at the start of `bytes`.
    #[inline]
    pub(super) fn read(bytes: &'s [u8]) -> Option<Self> {
        let (head, behind) = bytes.split_first_chunk::<HEAD>()?;
        let (suffix, behind) = behind.split_at_checked(usize::from(head[3]))?;
        Some(Self { head, suffix, behind })
    }

    #[inline]
    const fn byte<const AT: usize>(self) -> u8 {
        const { assert!(AT < HEAD, "a byte of the head") };
        self.head[AT]
    }

    #[inline]
    const fn half<const AT: usize>(self) -> u16 {
        const { assert!(AT + 1 < HEAD, "bytes of the head") };
        u16::from_le_bytes([self.head[AT], self.head[AT + 1]])
    }

    pub(super) const fn prefix_len(self) -> usize {
        self.byte::<0>() as usize
    }

    #[inline]
    pub(super) const fn suffix(self) -> &'s [u8] {
        self.suffix
    }

    #[inline]
    pub(super) const fn form(self) -> u8 {
        self.byte::<2>()
    }

    #[inline]
    pub(super) const fn flags(self) -> NodeFlags {
        NodeFlags(self.half::<4>())
    }

    #[inline]
    pub(super) const fn soa_owner(self) -> [u8; 2] {
        [self.byte::<8>(), self.byte::<9>()]
    }

    #[inline]
    const fn is_wide(self) -> bool {
        self.form() & WIDE != 0
    }

    /// Index of the zone whose SOA negative answers carry.
    #[inline]
    pub(super) fn zone(self) -> usize {
        let low = usize::from(self.half::<6>());
        if self.is_wide() { low | usize::from(self.wide(0)) << 16 } else { low }
    }

    /// The number at `at` of what a wide definition has more.
    #[cold]
    fn wide(self, at: usize) -> u16 {
        self.behind.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes)
    }

    /// The CNAMEs that negative answers start with.
    #[inline]
    pub(super) fn chain(self) -> Element {
        let low = usize::from(self.byte::<12>());
        Element {
            rtype: Rtype::CNAME,
            count: u16::from(self.byte::<11>()),
            start: 0,
            len: if self.is_wide() { low | usize::from(self.wide(2)) << 8 } else { low },
            values: (0, 0),
            has_label: self.byte::<13>() != 0,
        }
    }

    /// Directory and bodies.
    fn directory(self) -> (&'s [u8], &'s [u8]) {
        let (skipped, element) = if self.is_wide() { (WIDER, ELEMENT_WIDE) } else { (0, ELEMENT) };
        let behind = self.behind.get(skipped..).unwrap_or_default();
        behind.split_at_checked(element * usize::from(self.byte::<1>())).unwrap_or_default()
    }

    /// What stands in the directory.
    pub(super) fn elements(self) -> impl Iterator<Item = Element> + 's {
        let (directory, _) = self.directory();
        let size = if self.is_wide() { ELEMENT_WIDE } else { ELEMENT };
        directory.chunks_exact(size).filter_map(|element| match *element {
            [type_low, type_high, count_low, count_high, len_low, len_high, a, b, c, d] => Some(Element {
                rtype: Rtype(u16::from_le_bytes([type_low, type_high])),
                count: u16::from_le_bytes([count_low, count_high]),
                start: u32::from_le_bytes([a, b, c, d]) as usize,
                len: usize::from(u16::from_le_bytes([len_low, len_high])),
                values: (0, 0),
                has_label: false,
            }),
            _ => Some(Element::read(*element.first_chunk()?)),
        })
    }

    /// The bytes of a body that stand here.
    pub(super) fn bytes_of(self, element: Element) -> Option<&'s [u8]> {
        let (_, bodies) = self.directory();
        bodies.get(element.start..)?.get(..element.len)
    }

    /// A body of a definition that an entry holds.
    pub(super) fn body(self, element: Element) -> Option<Body<'s>> {
        Some(Body::whole(self.bytes_of(element)?, element.count))
    }

    /// What a definition that an entry holds has for `qtype`; `None` if it is wide.
    #[inline]
    pub(super) fn usual(self, qtype: Rtype) -> Option<Usual<'s>> {
        if self.is_wide() {
            return None;
        }
        let (directory, bodies) = self.behind.split_at_checked(ELEMENT * usize::from(self.byte::<1>()))?;
        let (directory, _) = directory.as_chunks::<ELEMENT>();
        let found = directory.iter().find(|[rtype, ..]| u16::from(*rtype) == qtype.0);
        let element = found.map_or_else(|| self.chain(), |element| Element::read(*element));
        let bytes = bodies.get(element.start..)?.get(..element.len)?;
        let body = Body::whole(bytes, element.count);
        Some(if found.is_some() { Usual::Body(body) } else { Usual::Chain(body) })
    }

    /// The definition that the clients of `view` get instead.
    pub(super) fn variant(self, view: u8) -> Option<&'s [u8]> {
        let (_, bodies) = self.directory();
        let mut rest = bodies.get(self.bodies_len()..)?;
        for _ in 0..self.byte::<VARIANTS_AT>() {
            let (head, behind) = rest.split_first_chunk::<VARIANT>()?;
            let [number, len @ ..] = *head;
            let (definition, next) = behind.split_at_checked(u32::from_le_bytes(len) as usize)?;
            if number == view {
                return Some(definition);
            }
            rest = next;
        }
        None
    }

    fn bodies_len(self) -> usize {
        bodies_end(self.chain().len, self.elements().map(|element| element.start + element.len))
    }

    /// How long the definition is, without variants.
    #[cfg(test)]
    pub(super) fn len(self) -> usize {
        let (directory, _) = self.directory();
        let wider = if self.is_wide() { WIDER } else { 0 };
        HEAD + self.suffix.len() + wider + directory.len() + self.bodies_len()
    }
}

/// Where the bodies end: behind the chain and the last element's.
pub(super) fn bodies_end(chain: usize, ends: impl Iterator<Item = usize>) -> usize {
    ends.fold(chain, usize::max)
}
