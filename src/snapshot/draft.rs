//! Writes entries: the mirror of the readers in `entry`, which draws their layout.

use super::definition::{ELEMENT, NO_POINTER, OWN_MISSING, VARIANTS_AT, WIDE, bodies_end};
use super::entry::Rest;
use super::place::NodeFlags;
use super::shapes::{INLINE, Shapes};
use crate::wire::body::LABEL_AT;
use crate::wire::message::{skip_name, skip_record};
use crate::wire::name::parent;
use crate::wire::{Rtype, read_u16};

/// RRsets of an entry with a shape, at most.
const MAX_RRSETS: usize = 16;

/// Type, record count, length and start of one body.
pub(super) type Element = (Rtype, u16, u16, u32);

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
    pub(super) directory: &'a [Element],
    pub(super) bodies: &'a [u8],
}

/// What names of one shape share, and what is one name's own.
#[derive(Debug, Default)]
pub(super) struct Halves {
    pub(super) definition: Vec<u8>,
    own: Vec<u8>,
    /// Of the chain, then of each body.
    pieces: Vec<Piece>,
}

/// How one body is divided.
#[derive(Clone, Copy, Debug, Default)]
struct Piece {
    /// Where it starts in the draft's bodies.
    start: usize,
    /// Where it starts among those of the shape.
    at: usize,
    /// Bytes before the first record's data that may differ between names.
    shared: usize,
    /// Bytes from there on.
    own: usize,
    has_label: bool,
}

impl Piece {
    /// Divides these records at the data of the first that is no CNAME. A
    /// CNAME that leads to a name with the same `label` differs in it alone.
    fn divide(start: usize, records: &[u8], label: &[u8]) -> Option<Self> {
        let (mut at, mut has_label) = (0, false);
        while at < records.len() {
            let fixed = skip_name(records, at)?;
            let data = fixed + 10;
            if read_u16(records, fixed)? != Rtype::CNAME.0 {
                let own = records.len().checked_sub(data)?;
                return Some(Self { start, at: 0, shared: data, own, has_label });
            }
            has_label |= at == 0 && data == LABEL_AT && records.get(data..)?.starts_with(label);
            at = skip_record(records, at)?;
        }
        Some(Self { start, at: 0, shared: records.len(), own: 0, has_label })
    }
}

impl Draft<'_> {
    /// Appends the entry to `out`, with the shape that it has among `shapes`,
    /// or whole.
    pub(super) fn write(&self, shapes: &Shapes, halves: &mut Halves, out: &mut Vec<u8>) {
        match self.divide(halves).and_then(|()| shapes.number(&halves.definition)) {
            Some(number) => {
                out.extend_from_slice(&number.to_le_bytes());
                out.extend_from_slice(&halves.own);
            }
            None => self.write_whole(out),
        }
    }

    /// Appends the entry to `out`, its definition included.
    pub(super) fn write_whole(&self, out: &mut Vec<u8>) {
        let is_wide = self.is_wide();
        out.extend_from_slice(&INLINE.to_le_bytes());
        self.head(0, self.name, false, out);
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
                out.extend_from_slice(&[rtype.0 as u8, *count as u8, *start as u8, *len as u8, 0, 0, 0, 0]);
            }
        }
        let ends = self.directory.iter().map(|(_, _, len, start)| *start as usize + usize::from(*len));
        let end = bodies_end(usize::from(self.chain.1), ends);
        out.extend_from_slice(self.bodies.get(..end).unwrap_or(self.bodies));
    }

    /// Divides the entry into `halves`; `None` if its shape would not be shared.
    pub(super) fn divide(&self, halves: &mut Halves) -> Option<()> {
        let Halves { definition, own, pieces } = halves;
        definition.clear();
        own.clear();
        pieces.clear();
        let suffix = parent(self.name)?;
        let prefix = self.name.get(..self.name.len() - suffix.len())?;
        if !self.flags.exists() || self.is_wide() || self.directory.len() > MAX_RRSETS {
            return None;
        }
        let bodies = self.directory.iter().map(|(_, _, len, start)| (*start as usize, *len));
        for (start, len) in std::iter::once((0, self.chain.1)).chain(bodies) {
            let records = self.bodies.get(start..start + usize::from(len))?;
            pieces.push(Piece::divide(start, records, prefix)?);
        }
        let chain = pieces.first().filter(|chain| chain.own == 0)?;
        self.head(prefix.len() as u8, suffix, chain.has_label, definition);
        own.extend_from_slice(prefix);

        let directory = definition.len();
        definition.resize(directory + ELEMENT * self.directory.len(), 0);
        let bodies = definition.len();
        for number in 0..pieces.len() {
            let piece = *pieces.get(number)?;
            // Bodies that begin at one place begin with the same records.
            let same = |other: &&Piece| other.start == piece.start;
            let first = pieces.iter().position(|other| same(&other))?;
            if first == number {
                let longest = pieces.iter().filter(same).map(|same| same.shared).max()?;
                let at = definition.len();
                definition.extend_from_slice(self.bodies.get(piece.start..piece.start + longest)?);
                if pieces.iter().filter(same).any(|same| same.has_label) {
                    definition.get_mut(at + LABEL_AT..at + LABEL_AT + prefix.len())?.fill(0);
                }
                pieces.get_mut(number)?.at = at - bodies;
            }
            // The first piece is the chain: its numbers stand in the head.
            let Some(number) = number.checked_sub(1) else { continue };
            let (rtype, count, len, _) = *self.directory.get(number)?;
            let values = own.len() - prefix.len();
            let end = piece.start + usize::from(len);
            own.extend_from_slice(self.bodies.get(piece.start + piece.shared..end)?);
            let at = pieces.get(first)?.at;
            let (rtype, count) = (usize::from(rtype.0), usize::from(count));
            let numbers = [rtype, count, at, piece.shared, values, piece.own, usize::from(piece.has_label)];
            let place = definition.get_mut(directory + ELEMENT * number..bodies)?;
            for (place, number) in place.iter_mut().zip(numbers) {
                *place = u8::try_from(number).ok()?;
            }
        }
        Some(())
    }

    /// Appends a definition's head and suffix.
    fn head(&self, prefix: u8, suffix: &[u8], chain_has_label: bool, out: &mut Vec<u8>) {
        let rest = match self.rest {
            Rest::NoData => 0,
            Rest::NxDomain => 1,
            Rest::Leads => 2,
            Rest::Forward => 3,
        };
        let own_missing = if self.own_missing { OWN_MISSING } else { 0 };
        let no_pointer = if self.soa_owner.is_none() { NO_POINTER } else { 0 };
        let form = rest | own_missing | no_pointer | if self.is_wide() { WIDE } else { 0 };
        out.extend_from_slice(&[prefix, self.directory.len() as u8, form, suffix.len() as u8]);
        out.extend_from_slice(&self.flags.0.to_le_bytes());
        out.extend_from_slice(&(self.zone as u16).to_le_bytes());
        out.extend_from_slice(&self.soa_owner.unwrap_or_default());
        out.extend_from_slice(&[0, self.chain.0, self.chain.1 as u8, u8::from(chain_has_label)]);
        out.extend_from_slice(suffix);
    }

    /// Whether a number takes more than a definition has room for. No zone at
    /// all is a wide one that no list has.
    fn is_wide(&self) -> bool {
        let fits =
            |(rtype, count, len, start): &Element| rtype.0.max(*count).max(*len) <= 255 && *start <= 255;
        self.zone > u32::from(u16::MAX) || self.chain.1 > 255 || !self.directory.iter().all(fits)
    }
}

/// Appends to the whole `entry` what clients of `view` get, another whole
/// entry. Entries are added once per view, 255 at most.
pub(super) fn add_variant(entry: &mut Vec<u8>, view: u8, variant: &[u8]) {
    let shape = INLINE.to_le_bytes().len();
    let (Some(count), Some(definition)) = (entry.get_mut(shape + VARIANTS_AT), variant.get(shape..)) else {
        return;
    };
    *count = count.saturating_add(1);
    entry.push(view);
    entry.extend_from_slice(&(definition.len() as u32).to_le_bytes());
    entry.extend_from_slice(definition);
}

#[cfg(test)]
mod tests {
    use super::super::entry::Entry;
    use super::super::shapes::Sample;
    use super::super::writer::Writer;
    use super::*;
    use crate::wire::Body;
    use crate::wire::body::MAX_IN_PIECES;

    const PRIVATE: &[u8] = b"\x0bprivatelink\x07azurecr\x02io\0";
    const PUBLIC: &[u8] = b"\x07azurecr\x02io\0";

    /// The bodies of a name with these records, behind a CNAME to `target` if there is one.
    fn bodies(name: &[u8], target: Option<&[u8]>, records: &[(Rtype, &[u8])]) -> (Writer, Vec<Element>, u16) {
        let (mut writer, mut directory) = (Writer::default(), Vec::new());
        writer.reset(name);
        if let Some(target) = target {
            writer.cname(name, 10, target);
        }
        let chain = writer.bytes.len() as u16;
        for (number, (rtype, rdata)) in records.iter().enumerate() {
            let mut start = writer.bytes.len();
            if number == 0 {
                start = 0;
            } else {
                writer.forget(start);
                if let Some(target) = target {
                    writer.cname(name, 20, target);
                }
            }
            writer.record(target.unwrap_or(name), *rtype, 10, rdata);
            directory.push((
                *rtype,
                1 + u16::from(chain > 0),
                (writer.bytes.len() - start) as u16,
                start as u32,
            ));
        }
        if chain > 0 {
            directory.push((Rtype::CNAME, 1, chain, 0));
        }
        (writer, directory, chain)
    }

    fn read(entry: Entry<'_>) -> impl PartialEq + std::fmt::Debug {
        let joined = |body: Body<'_>| (body.count, body.joined(&mut [0; MAX_IN_PIECES]).to_vec());
        let body = |rtype| (rtype, entry.body(rtype).map(joined));
        let bodies: Vec<_> = entry.types().chain([Rtype::MX]).map(body).collect();
        let head = (entry.flags(), entry.rest(), entry.is_own_missing(), entry.soa_owner(), entry.zone());
        (head, bodies, entry.first_body().map(joined), joined(entry.chain()), entry.name().to_vec())
    }

    #[test]
    fn an_entry_with_a_shape_reads_as_the_whole_one() {
        let (v4, v6) = ([10, 0, 0, 1], [0xfd; 16]);
        let all: [(Rtype, &[u8]); 3] = [(Rtype::A, &v4), (Rtype::AAAA, &v6), (Rtype::TXT, b"\x03abc")];
        for len in 1..=63u8 {
            let label = [&[len][..], &vec![b'r'; usize::from(len)]].concat();
            let (name, private) = ([&label, PUBLIC].concat(), [&label, PRIVATE].concat());
            let (other, wildcard) = ([b"\x03www", PRIVATE].concat(), [b"\x01*", PUBLIC].concat());
            for (name, target) in [
                (&name, None),
                (&name, Some(&private)),
                (&name, Some(&other)),
                (&private, None),
                (&wildcard, Some(&private)),
            ] {
                for records in (0..=3).map(|count| &all[..count]) {
                    let (writer, directory, chain) = bodies(name, target.map(Vec::as_slice), records);
                    let draft = Draft {
                        name,
                        flags: NodeFlags(NodeFlags::HELD | NodeFlags::DNAME),
                        rest: Rest::Leads,
                        own_missing: true,
                        soa_owner: Some([0xc0, 17]),
                        zone: 513,
                        chain: (u8::from(chain > 0), chain),
                        directory: &directory,
                        bodies: &writer.bytes,
                    };
                    let (mut sample, mut halves) = (Sample::default(), Halves::default());
                    let divided = draft.divide(&mut halves);
                    assert_eq!(divided.is_none(), draft.is_wide(), "{draft:?}");
                    (0..2).for_each(|_| sample.add(&halves.definition));
                    let (known, none) = (Shapes::of(sample), Shapes::of(Sample::default()));
                    let (mut whole, mut shaped, mut rest) = (Vec::new(), Vec::new(), Vec::new());
                    draft.write_whole(&mut whole);
                    draft.write(&known, &mut halves, &mut shaped);
                    draft.write(&none, &mut halves, &mut rest);
                    assert_eq!(rest, whole);
                    assert!(divided.is_none() || shaped.len() <= 2 + label.len() + 4 + 16 + 4, "{draft:?}");
                    let (whole, shaped) = (Entry::new(&whole, &known), Entry::new(&shaped, &known));
                    let (whole, shaped) = (whole.unwrap(), shaped.unwrap());
                    assert_eq!(read(shaped), read(whole), "{draft:?}");
                    assert!(shaped.is_of(name) && !shaped.is_of(PUBLIC) && whole.is_of(name));
                    assert_eq!(shaped.zone(), 513);
                }
            }
        }
    }
}
