//! Turns nodes into compiled entries: every answer section ready to copy.

use super::entry::{Draft, Rest, add_variant};
use super::model::{Rrset, Soa, Zone};
use super::nodes::{Chain, End, Nodes, Step};
use super::place::NodeFlags;
use super::table::{Table, TableBuilder};
use crate::wire::name::parent;
use crate::wire::{HEADER_LEN, Name, Rtype};

/// Longest body: one that leaves room for question, SOA and OPT in a message.
const MAX_BODY: usize = 64_000;

/// Compiles all of `nodes`; SOAs without a serial get `serial`.
pub(super) fn compile(nodes: &Nodes<'_>, flat: bool, serial: u32) -> Table {
    let mut table = TableBuilder::new(nodes.list.len());
    let (body, directory) = (Writer::default(), Vec::new());
    let mut builder = EntryBuilder { nodes, flat, serial, view: 0, body, directory };
    let (mut entry, mut variant) = (Vec::new(), Vec::new());
    for (index, node) in (0u32..).zip(&nodes.list) {
        entry.clear();
        builder.compile(index, 0, &mut entry);
        let common = entry.len();
        for view in nodes.views(index) {
            variant.clear();
            builder.compile(index, view, &mut variant);
            if entry.get(..common) != Some(&variant) {
                add_variant(&mut entry, view, &variant);
            }
        }
        if !table.insert(node.name, &entry) {
            break;
        }
    }
    table.finish()
}

/// TYPE, CLASS, TTL, RDLENGTH and RDATA of `zone`'s SOA as it denies: with the
/// TTL of negative answers (RFC 2308 section 3).
pub(super) fn negative_soa(zone: &Zone, serial: u32) -> Box<[u8]> {
    let rdata = soa_rdata(&zone.soa, serial);
    let mut record = Vec::with_capacity(10 + rdata.len());
    fixed_fields(&mut record, Rtype::SOA, negative_ttl(&zone.soa));
    record.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
    record.extend_from_slice(&rdata);
    record.into()
}

/// The TTL of negative answers.
pub(super) fn negative_ttl(soa: &Soa) -> u32 {
    soa.ttl.min(soa.minimum)
}

fn soa_rdata(soa: &Soa, serial: u32) -> Vec<u8> {
    let mut rdata = [soa.mname.as_wire(), soa.rname.as_wire()].concat();
    for field in [soa.serial.unwrap_or(serial), soa.refresh, soa.retry, soa.expire, soa.minimum] {
        rdata.extend_from_slice(&field.to_be_bytes());
    }
    rdata
}

fn fixed_fields(out: &mut Vec<u8>, rtype: Rtype, ttl: u32) {
    out.extend_from_slice(&rtype.0.to_be_bytes());
    out.extend_from_slice(&[0, 1]);
    out.extend_from_slice(&ttl.to_be_bytes());
}

/// Compiles one node after another, its buffers kept.
struct EntryBuilder<'n, 'a> {
    nodes: &'n Nodes<'a>,
    flat: bool,
    serial: u32,
    /// Whose answers are written; 0 for everybody's.
    view: u8,
    body: Writer,
    directory: Vec<(Rtype, u16, u16, u32)>,
}

impl EntryBuilder<'_, '_> {
    /// Appends the node's entry to `out`, as clients of `view` get it.
    fn compile(&mut self, index: u32, view: u8, out: &mut Vec<u8>) {
        let node = self.nodes.node(index);
        self.view = view;
        self.directory.clear();
        self.body.reset(node.name);
        let mut draft = (Rest::NoData, false, None, node.zone, (0, 0));
        if node.flags.exists() {
            draft = self.node(index);
        }
        let (rest, own_missing, soa_owner, zone, chain) = draft;
        let draft = Draft {
            name: node.name,
            flags: node.flags,
            rest,
            own_missing,
            soa_owner,
            zone,
            chain,
            directory: &self.directory,
            bodies: &self.body.bytes,
        };
        draft.write(out);
    }

    /// Writes directory and bodies of an existing node.
    fn node(&mut self, index: u32) -> (Rest, bool, Option<[u8; 2]>, u32, (u8, u16)) {
        let node = self.nodes.node(index);
        let chain = self.nodes.follow(index, self.view);
        let alias_ttl = self.alias_ttl(&chain);
        let chain_count = self.steps(&chain.steps, alias_ttl);
        let chain_len = self.body.bytes.len() as u16;
        let (rest, zone, own) = match &chain.end {
            End::Node(end, _) if chain.steps.is_empty() && node.flags.any(NodeFlags::DELEGATION) => {
                (Rest::Forward, self.nodes.node(*end).zone, false)
            }
            End::Node(end, _) => (Rest::NoData, self.nodes.node(*end).zone, false),
            End::Denied(end, own) => (Rest::NxDomain, self.nodes.node(*end).zone, *own),
            End::Leads => (Rest::Leads, node.zone, false),
            End::Loop => (Rest::NoData, node.zone, false),
        };
        let apex = self.nodes.zones.get(zone as usize).map(|zone| zone.apex.as_wire());
        let soa_owner = apex.and_then(|apex| self.body.pointer(apex));
        if let End::Node(end, at) = &chain.end {
            self.rrsets(*end, at, &chain, (chain_count, chain_len), alias_ttl);
        }
        if let Some(first) = chain.steps.first() {
            let (count, start) = (1 + u16::from(first.dname.is_some()), self.body.bytes.len());
            if chain.steps.len() == 1 {
                self.directory.push((Rtype::CNAME, count, chain_len, 0));
            } else {
                self.body.forget(start);
                self.steps(&chain.steps[..1], alias_ttl);
                self.push_directory(Rtype::CNAME, count, start);
            }
        }
        (rest, own, soa_owner, zone, (chain_count as u8, chain_len))
    }

    /// The bodies of all types at the end of a chain.
    fn rrsets(&mut self, end: u32, at: &[u8], chain: &Chain<'_>, written: (u16, u16), alias_ttl: u32) {
        let node = self.nodes.node(end);
        let mut rrsets: Vec<&Rrset> =
            node.rrsets.iter().copied().filter(|r| r.rtype != Rtype::CNAME).collect();
        rrsets.sort_by_key(|rrset| (rrset.rtype != Rtype::A, rrset.rtype != Rtype::AAAA, rrset.rtype));
        let qname = self.body.qname.clone();
        for (position, rrset) in rrsets.into_iter().enumerate() {
            let is_address = matches!(rrset.rtype, Rtype::A | Rtype::AAAA);
            let is_flat =
                self.flat && is_address && chain.steps.first().is_some_and(|step| step.ttl.is_none());
            let start = self.body.bytes.len();
            if is_flat || chain.steps.is_empty() {
                self.body.forget(start);
                let count = self.body.rrset(&qname, rrset, self.view);
                self.push_directory(rrset.rtype, count, start);
            } else if position == 0 && rrset.ttl == alias_ttl {
                // The chain stands already at the start: go on behind it.
                let count = self.body.rrset(at, rrset, self.view);
                self.push_directory(rrset.rtype, written.0 + count, 0);
            } else {
                self.body.forget(start);
                let count = self.steps(&chain.steps, rrset.ttl);
                let count = count + self.body.rrset(at, rrset, self.view);
                self.push_directory(rrset.rtype, count, start);
            }
        }
        if node.flags.any(NodeFlags::APEX)
            && let Some(zone) = self.nodes.zones.get(node.zone as usize)
        {
            let start = self.body.bytes.len();
            self.body.forget(start);
            let count = self.steps(&chain.steps, zone.soa.ttl);
            let rdata = soa_rdata(&zone.soa, self.serial);
            self.body.record(at, Rtype::SOA, zone.soa.ttl, &rdata);
            self.push_directory(Rtype::SOA, count + 1, start);
        }
    }

    fn push_directory(&mut self, rtype: Rtype, count: u16, start: usize) {
        let len = (self.body.bytes.len() - start) as u16;
        if self.directory.len() < usize::from(u8::MAX) {
            self.directory.push((rtype, count, len, start as u32));
        }
    }

    /// The TTL of our own CNAMEs: that of the addresses behind them, so that
    /// both expire together.
    fn alias_ttl(&self, chain: &Chain<'_>) -> u32 {
        let (index, soa) = match &chain.end {
            End::Node(end, _) => (Some(*end), self.nodes.node(*end).zone),
            End::Denied(end, _) => (None, self.nodes.node(*end).zone),
            End::Leads | End::Loop => return 10,
        };
        let rrsets = index.map_or(&[][..], |index| &self.nodes.node(index).rrsets);
        let address =
            rrsets.iter().find(|r| r.rtype == Rtype::A).or(rrsets.iter().find(|r| r.rtype == Rtype::AAAA));
        let negative = || self.nodes.zones.get(soa as usize).map_or(10, |zone| negative_ttl(&zone.soa));
        address.map_or_else(|| rrsets.iter().map(|r| r.ttl).min().unwrap_or_else(negative), |r| r.ttl)
    }

    /// Writes the CNAMEs of `steps`; returns the number of records.
    fn steps(&mut self, steps: &[Step<'_>], alias_ttl: u32) -> u16 {
        let mut count = 0;
        for step in steps {
            let ttl = step.ttl.unwrap_or(alias_ttl);
            if let Some(dname) = step.dname {
                let node = self.nodes.node(dname);
                if let Some(rrset) = node.rrsets.iter().find(|rrset| rrset.rtype == Rtype::DNAME) {
                    count += self.body.rrset(node.name, rrset, self.view);
                }
            }
            self.body.cname(&step.owner, ttl, &step.target);
            count += 1;
        }
        count
    }
}

/// Writes records with compression pointers that hold in the response.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    /// The question's name.
    qname: Vec<u8>,
    /// Where a body starts in the message; `None` for wildcards, whose
    /// question has another length each time.
    base: Option<usize>,
    /// Where the body at hand starts in `bytes`: it will stand at `base`.
    start: usize,
    /// Names written in the body at hand, with their offset in the message.
    names: Vec<(Box<[u8]>, u16)>,
}

impl Writer {
    fn reset(&mut self, qname: &[u8]) {
        self.bytes.clear();
        self.qname.clear();
        self.qname.extend_from_slice(qname);
        let is_wildcard = qname.starts_with(b"\x01*");
        self.base = (!is_wildcard).then_some(HEADER_LEN + qname.len() + 4);
        self.forget(0);
    }

    /// Starts a new body at `start` of the bytes: earlier ones are not in the same message.
    fn forget(&mut self, start: usize) {
        self.start = start;
        self.names.clear();
    }

    /// The pointer to `name` in a response with the body at hand, if it is there.
    fn pointer(&self, name: &[u8]) -> Option<[u8; 2]> {
        self.offset(name).map(|offset| (0xc000 | offset).to_be_bytes())
    }

    fn offset(&self, name: &[u8]) -> Option<u16> {
        if name.len() < 2 {
            return None;
        }
        if self.base.is_some() && self.qname.ends_with(name) {
            // A suffix of bytes is one of labels only at a label's start.
            let at = self.qname.len() - name.len();
            let mut up = self.qname.as_slice();
            while up.len() > name.len() {
                up = parent(up)?;
            }
            if up.len() == name.len() {
                return Some((HEADER_LEN + at) as u16);
            }
        }
        self.names.iter().find(|(known, _)| **known == *name).map(|(_, offset)| *offset)
    }

    fn name(&mut self, name: &[u8]) {
        if self.base.is_none() && name == self.qname {
            // A wildcard's records are owned by the question's name.
            self.bytes.extend_from_slice(&[0xc0, HEADER_LEN as u8]);
            return;
        }
        let mut rest = name;
        loop {
            if let Some(pointer) = self.pointer(rest) {
                self.bytes.extend_from_slice(&pointer);
                return;
            }
            let Some(above) = parent(rest) else {
                self.bytes.push(0);
                return;
            };
            if let Some(base) = self.base {
                let offset = base + self.bytes.len() - self.start;
                if offset < 0x4000 {
                    self.names.push((rest.into(), offset as u16));
                }
            }
            let label = rest.get(..rest.len() - above.len()).unwrap_or_default();
            self.bytes.extend_from_slice(label);
            rest = above;
        }
    }

    fn cname(&mut self, owner: &[u8], ttl: u32, target: &[u8]) {
        self.name(owner);
        fixed_fields(&mut self.bytes, Rtype::CNAME, ttl);
        let len_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.name(&fold(target));
        self.close(len_at);
    }

    fn record(&mut self, owner: &[u8], rtype: Rtype, ttl: u32, rdata: &[u8]) {
        self.name(owner);
        fixed_fields(&mut self.bytes, rtype, ttl);
        let len_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(rdata);
        self.close(len_at);
    }

    fn close(&mut self, len_at: usize) {
        let len = (self.bytes.len() - len_at - 2) as u16;
        if let Some(place) = self.bytes.get_mut(len_at..len_at + 2) {
            place.copy_from_slice(&len.to_be_bytes());
        }
    }

    /// Writes the records of `rrset` under `owner`, as many as one message holds.
    fn rrset(&mut self, owner: &[u8], rrset: &Rrset, view: u8) -> u16 {
        let mut count = 0;
        for rdata in rrset.rdatas_in(view) {
            if self.bytes.len() - self.start + owner.len() + 10 + rdata.len() > MAX_BODY {
                break;
            }
            self.record(owner, rrset.rtype, rrset.ttl, rdata);
            count += 1;
        }
        count
    }
}

/// CNAME targets are names of their own: folded, they compress and compare.
fn fold(target: &[u8]) -> Vec<u8> {
    Name::from_wire(target).map_or_else(|_| target.to_vec(), |name| name.as_wire().to_vec())
}
