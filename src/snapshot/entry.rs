//! The compiled form of one name: everything that its answers need.
//!
//! What the names of one kind have in common, from flags to the records but
//! for a label and an address, stands once in a *shape* of the table
//! (`shapes`); an entry holds the rest, in 16 bytes for `reg123456` of any
//! kind. An entry of a kind that few names have holds its definition itself
//! (`definition`), which is read where it stands.
//!
//! ```text
//! entry       0  shape        u16      definition  0  prefix length   u8
//!             2  prefix: the label                 1  RRset count     u8
//!             …  values: addresses                 2  form, see below u8
//!                                                  3  suffix length   u8
//! or          0  0xffff       u16                  4  flags           u16
//!             2  definition, whole                 6  zone            u16
//!             …  variants: view u8,                8  SOA pointer     u16
//!                length u32, a definition         10  variants        u8
//!                                                 11  chain: records, length, label
//!  directory, an element: type, records,          14  suffix: the name behind the prefix
//!  start, length, start and length of              …  directory
//!  the values, label, 0: a byte each               …  bodies: records in wire form
//! ```
//!
//! The form's lowest two bits are the rest, then own-missing, then wide, then
//! that the SOA has no owner pointer: an entry of form 0 denies with what
//! stands in the definition alone. A body is the bytes from start to start
//! plus length; where its label is not 0 the prefix stands in it (see
//! [`Body`]), and behind it its values. A definition that an entry holds
//! itself has neither, and the whole name for a suffix. Wide is one of these
//! with a number that does not fit above: the upper half of its zone and of
//! its chain length stand in four bytes before the directory, and its elements
//! are of type u16, records u16, length u16, start u32.
//!
//! Numbers are little-endian, but for the SOA owner pointer, which is wire
//! form. Bodies hold compression pointers into the question and into the body
//! itself, since both lie at fixed places in every response to that name. The
//! SOA of a negative answer is stored once per zone. A variant is what one
//! view's clients get instead, chain included; it stands behind the bodies,
//! so that nobody else's look-up touches it.
//!
//! Rejected: shapes of head and directory alone, with the bodies in the entry
//! as they are sent. They save the patching of label and address, some twenty
//! instructions, but then an entry takes 64 bytes where a registry's name has
//! nine letters, and two lines where it has more.

use std::ops::Deref;

use super::definition::{Definition, Element, NO_POINTER, OWN_MISSING};
use super::place::NodeFlags;
use super::shapes::Shapes;
use crate::wire::name::MAX_NAME_LEN;
use crate::wire::name::same;
use crate::wire::{Body, Rtype};

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
pub type Parts<'s> = (Option<&'s Shape>, &'s [u8]);

/// A compiled name.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'s> {
    /// Without one the definition stands in `bytes`, else prefix and values.
    shape: Option<&'s Shape>,
    /// What stands behind the shape's number, and perhaps other entries behind that.
    bytes: &'s [u8],
}

/// A definition that many names share, taken apart.
#[derive(Debug)]
pub struct Shape {
    /// Length of the prefix.
    prefix: usize,
    flags: NodeFlags,
    form: u8,
    soa_owner: [u8; 2],
    zone: usize,
    suffix: Box<[u8]>,
    /// The chain, then the bodies by type.
    pieces: Box<[Piece]>,
    /// For each of the first types the number of its piece: 0, the chain's, without one.
    numbers: [u8; TYPES],
}

/// Types that are found by number: A and AAAA are among them, and nearly all others that are asked for.
const TYPES: usize = 32;

/// What the bodies of one type have in common.
#[derive(Debug)]
struct Piece {
    rtype: u16,
    count: u16,
    /// Length of the label: of the prefix, or 0.
    label: u8,
    /// Length of the values, and where they start behind the shape's number.
    len: u8,
    start: u16,
    shared: Box<[u8]>,
}

impl Piece {
    fn new(definition: &Definition<'_>, element: Element) -> Option<Self> {
        let prefix = definition.prefix_len();
        Some(Self {
            rtype: element.rtype.0,
            count: element.count,
            label: if element.has_label { prefix as u8 } else { 0 },
            len: element.values.1 as u8,
            start: (prefix + element.values.0) as u16,
            shared: definition.bytes_of(element)?.into(),
        })
    }

    /// What the entry that holds `own` has of it.
    #[expect(clippy::inline_always, reason = "as for `Entry::usual`")]
    #[inline(always)]
    fn body<'s>(&'s self, own: &'s [u8]) -> Option<Body<'s>> {
        let start = usize::from(self.start);
        let values = own.get(start..start + usize::from(self.len))?;
        Some(Body { own: values, ..self.chain(own)? })
    }

    /// The same of one without values.
    #[expect(clippy::inline_always, reason = "as for `Entry::usual`")]
    #[inline(always)]
    fn chain<'s>(&'s self, own: &'s [u8]) -> Option<Body<'s>> {
        let label = own.get(..usize::from(self.label))?;
        Some(Body { shared: &self.shared, label, own: &[], count: self.count })
    }
}

impl Shape {
    /// The shape with that definition.
    pub(super) fn new(definition: &[u8]) -> Option<Self> {
        let definition = Definition::read(definition)?;
        let elements = std::iter::once(definition.chain()).chain(definition.elements());
        let pieces = elements.map(|element| Piece::new(&definition, element)).collect::<Option<Box<_>>>()?;
        let mut numbers = [0; TYPES];
        for (number, piece) in pieces.iter().enumerate().skip(1).rev() {
            if let Some(place) = numbers.get_mut(usize::from(piece.rtype)) {
                *place = u8::try_from(number).ok()?;
            }
        }
        Some(Self {
            prefix: definition.prefix_len(),
            flags: definition.flags(),
            form: definition.form(),
            soa_owner: definition.soa_owner(),
            zone: definition.zone(),
            suffix: definition.suffix().into(),
            pieces,
            numbers,
        })
    }

    /// The chain.
    fn chain(&self) -> Option<&Piece> {
        self.pieces.first()
    }

    /// The bodies.
    fn bodies(&self) -> &[Piece] {
        self.pieces.get(1..).unwrap_or_default()
    }

    /// The number of the piece for a type beyond the first.
    #[inline(never)]
    fn number(&self, qtype: Rtype) -> usize {
        self.pieces.iter().skip(1).position(|piece| piece.rtype == qtype.0).map_or(0, |at| at + 1)
    }
}

/// The definition that an entry without a shape holds.
#[inline]
fn whole(bytes: &[u8]) -> Definition<'_> {
    Definition::read(bytes).unwrap_or(Definition::NOTHING)
}

// What is asked of entries without a shape where a look-up ends. It is called
// with what is in registers there: an entry would have to be put into memory.

#[inline(never)]
fn is_whole_of(bytes: &[u8], name: &[u8]) -> bool {
    same(name, whole(bytes).suffix())
}

#[inline(never)]
fn exists_whole(bytes: &[u8]) -> bool {
    whole(bytes).flags().exists()
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

impl<'s> Entry<'s> {
    /// The entry at the start of `bytes`, which may go on behind it, with one of `shapes`.
    #[expect(clippy::inline_always, reason = "as for `is_of`")]
    #[inline(always)]
    pub(super) fn new(bytes: &'s [u8], shapes: &'s Shapes) -> Option<Self> {
        let (number, bytes) = bytes.split_first_chunk()?;
        Some(Self { shape: shapes.get(u16::from_le_bytes(*number)), bytes })
    }

    /// The parts of the entry.
    #[inline]
    pub const fn parts(self) -> Parts<'s> {
        (self.shape, self.bytes)
    }

    /// The entry of these parts.
    #[inline]
    pub const fn from_parts((shape, bytes): Parts<'s>) -> Self {
        Self { shape, bytes }
    }

    /// Whether the entry shares a shape, and so has no variants.
    #[inline]
    pub const fn is_shaped(self) -> bool {
        self.shape.is_some()
    }

    /// Whether the entry is that of `name`.
    #[expect(clippy::inline_always, reason = "its parts are at hand where a look-up ends")]
    #[inline(always)]
    pub(super) fn is_of(self, name: &[u8]) -> bool {
        let Some(shape) = self.shape else { return is_whole_of(self.bytes, name) };
        let Some(prefix) = self.bytes.get(..shape.prefix) else { return false };
        let Some((first, rest)) = name.split_at_checked(prefix.len()) else { return false };
        same(rest, &shape.suffix) && same(first, prefix)
    }

    /// The entry as clients of `view` get it.
    #[inline]
    #[must_use]
    pub fn in_view(self, view: u8) -> Self {
        if view == 0 || self.shape.is_some() { self } else { self.variant(view).unwrap_or(self) }
    }

    #[inline(never)]
    fn variant(self, view: u8) -> Option<Self> {
        Some(Self { shape: None, bytes: whole(self.bytes).variant(view)? })
    }

    /// The name in wire form.
    pub fn name(self) -> EntryName {
        let (prefix, suffix) = match self.shape {
            Some(shape) => (self.bytes.get(..shape.prefix).unwrap_or_default(), &*shape.suffix),
            None => (&[][..], whole(self.bytes).suffix()),
        };
        let mut name = EntryName { bytes: [0; MAX_NAME_LEN], len: 0 };
        let len = prefix.len() + suffix.len();
        if let Some((head, tail)) =
            name.bytes.get_mut(..len).and_then(|n| n.split_at_mut_checked(prefix.len()))
        {
            head.copy_from_slice(prefix);
            tail.copy_from_slice(suffix);
            name.len = len as u8;
        }
        name
    }

    /// Whether the node exists as a name in the sense of DNS: all that share a shape do.
    #[expect(clippy::inline_always, reason = "as for `is_of`")]
    #[inline(always)]
    pub(super) fn exists(self) -> bool {
        self.shape.is_some() || exists_whole(self.bytes)
    }

    /// What the node is.
    #[expect(clippy::inline_always, reason = "as for `is_of`")]
    #[inline(always)]
    pub fn flags(self) -> NodeFlags {
        self.shape.map_or_else(|| whole(self.bytes).flags(), |shape| shape.flags)
    }

    #[expect(clippy::inline_always, reason = "as for `is_of`")]
    #[inline(always)]
    fn form(self) -> u8 {
        self.shape.map_or_else(|| whole(self.bytes).form(), |shape| shape.form)
    }

    /// What types get that the directory lacks.
    #[inline]
    pub fn rest(self) -> Rest {
        match self.form() & 3 {
            0 => Rest::NoData,
            1 => Rest::NxDomain,
            2 => Rest::Leads,
            _ => Rest::Forward,
        }
    }

    /// Whether types that the directory lacks get NODATA, with an SOA whose
    /// owner is [`Self::soa_owner`]: the usual name of ours.
    #[expect(clippy::inline_always, reason = "as for `is_of`")]
    #[inline(always)]
    pub fn denies_simply(self) -> bool {
        self.form() == 0
    }

    /// Whether a negative answer is owed to a missing record of ours.
    #[inline]
    pub fn is_own_missing(self) -> bool {
        self.form() & OWN_MISSING != 0
    }

    /// Pointer to the SOA's owner name within the response; `None` where the
    /// name must be written out.
    #[expect(clippy::inline_always, reason = "as for `is_of`")]
    #[inline(always)]
    pub fn soa_owner(self) -> Option<[u8; 2]> {
        let owner = self.shape.map_or_else(|| whole(self.bytes).soa_owner(), |shape| shape.soa_owner);
        (self.form() & NO_POINTER == 0).then_some(owner)
    }

    /// Index of the zone whose SOA negative answers carry.
    #[expect(clippy::inline_always, reason = "as for `is_of`")]
    #[inline(always)]
    pub fn zone(self) -> usize {
        self.shape.map_or_else(|| whole(self.bytes).zone(), |shape| shape.zone)
    }

    /// The CNAMEs that negative answers start with.
    #[inline]
    pub fn chain(self) -> Body<'s> {
        let chain = match self.shape {
            Some(shape) => shape.chain().and_then(|chain| chain.chain(self.bytes)),
            None => whole(self.bytes).body(whole(self.bytes).chain()),
        };
        chain.unwrap_or_default()
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
        let Some(shape) = self.shape else { return whole(self.bytes).usual(qtype) };
        let number = match shape.numbers.get(usize::from(qtype.0)) {
            Some(number) => usize::from(*number),
            None => shape.number(qtype),
        };
        let piece = shape.pieces.get(number)?;
        Some(if number == 0 {
            Usual::Chain(piece.chain(self.bytes)?)
        } else {
            Usual::Body(piece.body(self.bytes)?)
        })
    }

    #[inline(never)]
    fn wide_body(self, qtype: Rtype) -> Option<Body<'s>> {
        let whole = whole(self.bytes);
        whole.elements().find(|element| element.rtype == qtype).and_then(|element| whole.body(element))
    }

    /// The answer section of the first type in the directory: what ANY gets (RFC 8482).
    pub fn first_body(self) -> Option<Body<'s>> {
        let Some(shape) = self.shape else {
            let whole = whole(self.bytes);
            return whole.elements().next().and_then(|element| whole.body(element));
        };
        shape.bodies().first()?.body(self.bytes)
    }

    /// The types in the directory.
    pub fn types(self) -> impl Iterator<Item = Rtype> + 's {
        let shared = self.shape.into_iter().flat_map(Shape::bodies);
        let whole = if self.is_shaped() { Definition::NOTHING } else { whole(self.bytes) };
        shared.map(|piece| Rtype(piece.rtype)).chain(whole.elements().map(|element| element.rtype))
    }

    /// Where in memory the entry ends, but for variants.
    #[cfg(test)]
    pub(super) fn end(self) -> usize {
        let values = |shape: &Shape| {
            let ends = shape.bodies().iter().map(|piece| usize::from(piece.start) + usize::from(piece.len));
            ends.max().unwrap_or_default().max(shape.prefix)
        };
        self.bytes.as_ptr().addr() + self.shape.map_or_else(|| whole(self.bytes).len(), values)
    }
}
