//! A run of RRsets in one piece of memory.
//!
//! ```text
//! rrset   owner length, owner, flags, type (1 or 2 bytes), TTL, [count of] RDATA,
//!         [count of variants, each: view, count of RDATA]
//! RDATA   length * 2, bytes      or   1, offset of an owner in the chunk (2 bytes)
//! ```
//!
//! Numbers without a size are LEB128. What a CNAME leads to is mostly an owner
//! nearby: it is stored once.

use super::view::{Rdatas, RrsetRef, WireName};
use crate::wire::Rtype;
use crate::wire::name::{Labels, MAX_LABEL_LEN, MAX_NAME_LEN};

/// One record; without this flag a count stands before the RDATA.
const ONE: u8 = 1;
/// Variants stand behind.
const VARIED: u8 = 2;
/// The type takes two bytes.
const WIDE: u8 = 4;

/// A run of RRsets, sorted by owner and type; all types of an owner are in one run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) bytes: Box<[u8]>,
    pub(super) traits: Traits,
}

/// What holds for all RRsets of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traits {
    pub(super) count: u32,
    pub(super) least_ttl: u32,
    pub(super) greatest_ttl: u32,
    /// Some owner has a CNAME beside other data.
    pub(super) has_company: bool,
    /// Some RRset has variants.
    pub(super) is_varied: bool,
    /// Some RRset ends a zone's own data, or may: NS and DNAME.
    pub(super) has_cut: bool,
    /// The least IPv4 address and the greatest, ...
    pub(super) v4: (u32, u32),
    /// ... and of IPv6; the wrong way round where there is none.
    pub(super) v6: (u128, u128),
}

impl Traits {
    pub(super) const NONE: Self = Self {
        count: 0,
        least_ttl: u32::MAX,
        greatest_ttl: 0,
        has_company: false,
        is_varied: false,
        has_cut: false,
        v4: (u32::MAX, 0),
        v6: (u128::MAX, 0),
    };
}

impl Chunk {
    /// Checks bytes from outside: whole, folded, sorted. The chunk, and where
    /// its last RRset lies; `None` also if there is no RRset at all.
    pub(super) fn check(bytes: Box<[u8]>) -> Option<(Self, usize)> {
        let mut traits = Traits::NONE;
        let (mut at, mut start) = (0, 0);
        let mut last: Option<(&[u8], Rtype)> = None;
        while at < bytes.len() {
            start = at;
            let rrset = read(&bytes, &mut at)?;
            let key = rrset.key();
            // Most owners differ from the one before; one that was checked is not again.
            let is_known = last.is_some_and(|last| last.0 == key.0);
            if last.is_some_and(|last| last >= key) || !is_known && !is_folded(key.0) {
                return None;
            }
            traits.add(&rrset, last);
            last = Some(key);
        }
        (traits.count > 0).then_some((Self { bytes, traits }, start))
    }

    pub(super) fn last_owner(&self) -> Option<&[u8]> {
        let mut at = 0;
        std::iter::from_fn(|| read(&self.bytes, &mut at)).last().map(|rrset| rrset.owner.as_wire())
    }
}

impl Traits {
    fn add(&mut self, rrset: &RrsetRef<'_>, last: Option<(&[u8], Rtype)>) {
        self.note(rrset.key(), rrset.ttl, rrset.is_varied(), last);
        if is_address(rrset.rtype) {
            rrset.rdatas.iter().for_each(|rdata| self.note_address(rdata));
        }
    }

    fn note(&mut self, key: (&[u8], Rtype), ttl: u32, is_varied: bool, last: Option<(&[u8], Rtype)>) {
        self.count += 1;
        self.least_ttl = self.least_ttl.min(ttl);
        self.greatest_ttl = self.greatest_ttl.max(ttl);
        self.is_varied |= is_varied;
        self.has_cut |= matches!(key.1, Rtype::NS | Rtype::DNAME);
        self.has_company |=
            last.is_some_and(|last| last.0 == key.0 && (last.1 == Rtype::CNAME || key.1 == Rtype::CNAME));
    }

    fn note_address(&mut self, rdata: &[u8]) {
        if let Ok(octets) = <[u8; 4]>::try_from(rdata) {
            let address = u32::from_be_bytes(octets);
            self.v4 = (self.v4.0.min(address), self.v4.1.max(address));
        } else if let Ok(octets) = <[u8; 16]>::try_from(rdata) {
            let address = u128::from_be_bytes(octets);
            self.v6 = (self.v6.0.min(address), self.v6.1.max(address));
        }
    }
}

const fn is_address(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::A | Rtype::AAAA)
}

/// Reads the RRset at `at` and moves behind it; `None` at the end, and for
/// bytes that are no RRset.
pub(super) fn read<'a>(bytes: &'a [u8], at: &mut usize) -> Option<RrsetRef<'a>> {
    let len = usize::from(*bytes.get(*at)?);
    let owner = bytes.get(*at + 1..*at + 1 + len)?;
    let mut next = *at + 1 + len;
    let flags = *bytes.get(next)?;
    next += 1;
    let low = *bytes.get(next)?;
    next += 1;
    let mut rtype = u16::from(low);
    if flags & WIDE != 0 {
        rtype |= u16::from(*bytes.get(next)?) << 8;
        next += 1;
    }
    let ttl = number(bytes, &mut next)?;
    let rdatas = rdatas(bytes, &mut next, flags & ONE != 0)?;
    let variants = next;
    let mut count = 0;
    if flags & VARIED != 0 {
        count = *bytes.get(next)?;
        next += 1;
        for _ in 0..count {
            next += 1;
            self::rdatas(bytes, &mut next, false)?;
        }
    }
    *at = next;
    Some(RrsetRef {
        owner: WireName::new(owner),
        rtype: Rtype(rtype),
        ttl,
        rdatas,
        variants: bytes.get(variants..).filter(|_| count > 0).map(|_| (bytes, variants)),
    })
}

/// The owner of the first RRset.
pub(super) fn first_owner(bytes: &[u8]) -> &[u8] {
    let len = usize::from(bytes.first().copied().unwrap_or(0));
    bytes.get(1..=len).unwrap_or_default()
}

/// Reads the variants at `at`: each view with its RDATA.
pub(super) fn variants(bytes: &[u8], at: usize) -> impl Iterator<Item = (u8, Rdatas<'_>)> {
    let count = bytes.get(at).copied().unwrap_or(0);
    let mut next = at + 1;
    (0..count).map_while(move |_| {
        let view = *bytes.get(next)?;
        next += 1;
        Some((view, rdatas(bytes, &mut next, false)?))
    })
}

fn rdatas<'a>(bytes: &'a [u8], at: &mut usize, is_one: bool) -> Option<Rdatas<'a>> {
    let count = if is_one { 1 } else { number(bytes, at)? };
    let all = Rdatas { bytes, at: *at, left: count };
    for _ in 0..count {
        rdata(bytes, at)?;
    }
    Some(all)
}

/// Reads one RDATA and moves behind it.
pub(super) fn rdata<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let tag = number(bytes, at)?;
    if tag == 1 {
        let offset = usize::from(u16::from_le_bytes(*bytes.get(*at..)?.first_chunk()?));
        *at += 2;
        let len = usize::from(*bytes.get(offset)?);
        return bytes.get(offset + 1..offset + 1 + len);
    }
    let data = bytes.get(*at..*at + (tag / 2) as usize)?;
    *at += data.len();
    Some(data)
}

fn number(bytes: &[u8], at: &mut usize) -> Option<u32> {
    let mut value = 0u64;
    for shift in (0..35).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return u32::try_from(value).ok();
        }
    }
    None
}

/// A chunk in the making.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// RRsets with all RDATA in full.
    bytes: Vec<u8>,
    /// Offset of each RRset.
    starts: Vec<u32>,
    traits: Option<Traits>,
    /// Of each RRset whose one RDATA is a name: its number, and where that starts.
    targets: Vec<(u32, u32)>,
    packed: Vec<u8>,
    places: Vec<u32>,
    /// The type of the last RRset.
    last: u16,
}

impl Draft {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The owner and type of the last RRset.
    pub(super) fn last(&self) -> Option<(&[u8], Rtype)> {
        let start = *self.starts.last()? as usize;
        Some((first_owner(self.bytes.get(start..)?), Rtype(self.last)))
    }

    /// Appends an RRset behind the others.
    pub(super) fn push<'d, R, V>(&mut self, key: (&[u8], Rtype), ttl: u32, rdatas: R, variants: V)
    where
        R: ExactSizeIterator<Item = &'d [u8]>,
        V: ExactSizeIterator<Item = (u8, R)>,
    {
        let mut traits = self.traits.unwrap_or(Traits::NONE);
        traits.note(key, ttl, variants.len() > 0, self.last());
        let (owner, rtype) = key;
        self.last = rtype.0;
        self.starts.push(self.bytes.len() as u32);
        self.bytes.push(owner.len() as u8);
        self.bytes.extend_from_slice(owner);
        let [low, high] = rtype.0.to_le_bytes();
        let mut flags = if rdatas.len() == 1 { ONE } else { 0 };
        flags |= if variants.len() > 0 { VARIED } else { 0 };
        flags |= if high > 0 { WIDE } else { 0 };
        self.bytes.extend_from_slice(&[flags, low]);
        if high > 0 {
            self.bytes.push(high);
        }
        put(&mut self.bytes, ttl);
        if matches!(rtype, Rtype::CNAME | Rtype::PTR) && rdatas.len() == 1 && variants.len() == 0 {
            self.targets.push((self.starts.len() as u32 - 1, self.bytes.len() as u32));
        }
        if is_address(rtype) {
            let noted = rdatas.inspect(|rdata| traits.note_address(rdata));
            put_rdatas(&mut self.bytes, noted, flags & ONE != 0);
        } else {
            put_rdatas(&mut self.bytes, rdatas, flags & ONE != 0);
        }
        self.traits = Some(traits);
        if variants.len() > 0 {
            self.bytes.push(variants.len() as u8);
            for (view, rdatas) in variants {
                self.bytes.push(view);
                put_rdatas(&mut self.bytes, rdatas, false);
            }
        }
    }

    /// The bytes of the chunk; empty again after it.
    pub(super) fn finish(&mut self) -> Option<(&[u8], Traits)> {
        let traits = self.traits.take()?;
        self.pack();
        self.bytes.clear();
        self.starts.clear();
        Some((&self.packed, traits))
    }

    /// Writes references for RDATA that is the name of an owner here.
    fn pack(&mut self) {
        self.packed.clear();
        self.places.clear();
        let mut references: Vec<(usize, usize)> = Vec::new();
        let mut copied = 0;
        let (mut passed, mut saved) = (0, 0u32);
        for (index, at) in self.targets.iter().map(|(index, at)| (*index as usize, *at as usize)) {
            let mut end = at;
            let Some(target) = rdata(&self.bytes, &mut end).and_then(|name| self.owner(name, index)) else {
                continue;
            };
            if end - at < 3 {
                continue;
            }
            // What lies before moves to the front by what was saved before.
            let before = self.starts.get(passed..=index).unwrap_or_default();
            self.places.extend(before.iter().map(|start| start - saved));
            self.packed.extend_from_slice(self.bytes.get(copied..at).unwrap_or_default());
            self.packed.push(1);
            references.push((self.packed.len(), target));
            self.packed.extend_from_slice(&[0, 0]);
            saved += (end - at) as u32 - 3;
            (copied, passed) = (end, index + 1);
        }
        let rest = self.starts.get(passed..).unwrap_or_default();
        self.places.extend(rest.iter().map(|start| start - saved));
        self.packed.extend_from_slice(self.bytes.get(copied..).unwrap_or_default());
        self.targets.clear();
        for (at, target) in references {
            let place = self.places.get(target).and_then(|place| u16::try_from(*place).ok());
            // Chunks end before an offset takes more; see `MAX_BYTES`.
            let place = place.expect("owners lie within 64 KiB");
            if let Some(to) = self.packed.get_mut(at..at + 2) {
                to.copy_from_slice(&place.to_le_bytes());
            }
        }
    }

    /// The first RRset whose owner is `name`; mostly it lies behind that with
    /// number `near`.
    fn owner(&self, name: &[u8], near: usize) -> Option<usize> {
        let owner = |start: &u32| first_owner(self.bytes.get(*start as usize..).unwrap_or_default());
        let (before, behind) = self.starts.split_at_checked(near)?;
        // What leads to itself is of the first type there.
        if let Some(after) = behind.iter().skip(1).take(4).position(|start| owner(start) == name)
            && behind.first().is_some_and(|start| owner(start) != name)
        {
            return Some(before.len() + 1 + after);
        }
        let at = self.starts.partition_point(|start| owner(start) < name);
        self.starts.get(at).filter(|start| owner(start) == name).map(|_| at)
    }
}

fn put_rdatas<'d>(out: &mut Vec<u8>, rdatas: impl ExactSizeIterator<Item = &'d [u8]>, is_one: bool) {
    if !is_one {
        put(out, rdatas.len() as u32);
    }
    for rdata in rdatas {
        put(out, rdata.len() as u32 * 2);
        out.extend_from_slice(rdata);
    }
}

fn put(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Whether `wire` is a whole folded name.
fn is_folded(wire: &[u8]) -> bool {
    let mut labels = 0;
    for label in Labels::new(wire) {
        if label.len() > MAX_LABEL_LEN {
            return false;
        }
        labels += 1 + label.len();
    }
    // Lengths lie below the letters.
    labels + 1 == wire.len() && wire.len() <= MAX_NAME_LEN && !has_uppercase(wire)
}

/// Whether there is an uppercase letter, eight bytes at once: a million names
/// are checked before the first answer.
fn has_uppercase(bytes: &[u8]) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = EACH << 7;
    let (words, rest) = bytes.as_chunks::<8>();
    let is_in = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        // Within seven bits no sum reaches the next byte.
        let low = word & !HIGH;
        let from = low + EACH * u64::from(0x80 - b'A');
        let above = low + EACH * u64::from(0x7f - b'Z');
        from & !above & !word & HIGH != 0
    };
    words.iter().any(is_in) || rest.iter().any(u8::is_ascii_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uppercase_is_seen_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for at in 0..11 {
                let mut bytes = *b"az@[`{0-_/\x80";
                bytes[at] = byte;
                assert_eq!(has_uppercase(&bytes), byte.is_ascii_uppercase(), "{byte} at {at}");
            }
        }
    }
}
