//! Turns nodes into compiled entries: every answer section ready to copy.

use super::chain::{Chain, End, Step};
use super::draft::{Draft, Halves, add_variant};
use super::entry::Rest;
use super::model::{RrsetRef, Soa, Zone};
use super::nodes::Nodes;
use super::place::NodeFlags;
use super::shapes::{Sample, Shapes};
use super::shard::{Shard, ShardBuilder};
use super::table::{Table, shard_of_upper, shards_for};
use super::writer::{Writer, fixed_fields};
use crate::wire::Rtype;

/// Names that are compiled to find what many of them share.
const SAMPLE: usize = 1 << 14;

/// As many names are worth a second thread.
const NAMES_A_THREAD: usize = 1 << 14;

/// Compiles all of `nodes`; SOAs without a serial get `serial`. Half of the
/// shards are compiled by a second thread, which has this one's priority.
pub(super) fn compile(nodes: &Nodes<'_>, flat: bool, serial: u32) -> Table {
    let names = nodes.len();
    let shapes = Compiler::new(nodes, flat, serial).shapes(sample(names));
    let (order, ends) = by_shard(nodes, shards_for(names));
    let shards = |ends: &[u32], start: u32| {
        let mut compiler = Compiler::new(nodes, flat, serial);
        let starts = std::iter::once(start).chain(ends.iter().copied());
        let ranges = starts.zip(ends).map(|(start, end)| start as usize..*end as usize);
        let numbers = ranges.map(|range| order.get(range).unwrap_or_default());
        numbers.map(|numbers| compiler.shard(numbers, &shapes)).collect()
    };
    if names < 2 * NAMES_A_THREAD {
        return Table::new(shards(&ends, 0), shapes);
    }
    let (first, second) = ends.split_at(ends.len() / 2);
    let middle = first.last().copied().unwrap_or_default();
    let mut all: Vec<Shard> = Vec::new();
    std::thread::scope(|scope| {
        let other =
            std::thread::Builder::new().spawn_scoped(scope, || -> Vec<Shard> { shards(second, middle) });
        all = shards(first, 0);
        all.reserve_exact(second.len());
        // A system that grants no thread leaves the work to this one.
        match other {
            Ok(other) => match other.join() {
                Ok(rest) => all.extend(rest),
                Err(panic) => std::panic::resume_unwind(panic),
            },
            Err(_) => all.append(&mut shards(second, middle)),
        }
    });
    Table::new(all, shapes)
}

/// The numbers of some of that many names, spread evenly without a period: in
/// steps of the golden ratio, since names of one kind stand at equal distances.
fn sample(names: usize) -> impl Iterator<Item = u32> {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let spread = move |step: u64| ((u128::from(step.wrapping_mul(GOLDEN)) * names as u128) >> 64) as u32;
    let is_all = names <= SAMPLE;
    (0..names.min(SAMPLE) as u64).map(move |step| if is_all { step as u32 } else { spread(step) })
}

/// The nodes shard by shard, and where each shard's end.
fn by_shard(nodes: &Nodes<'_>, shards: usize) -> (Vec<u32>, Vec<u32>) {
    let mut ends = vec![0u32; shards];
    for (hash, _) in nodes.hashes() {
        ends[shard_of_upper(hash, shards)] += 1;
    }
    let mut sum = 0;
    for end in &mut ends {
        sum += std::mem::replace(end, sum);
    }
    let mut order = vec![0u32; nodes.len()];
    for (hash, number) in nodes.hashes() {
        let next = &mut ends[shard_of_upper(hash, shards)];
        order[*next as usize] = number;
        *next += 1;
    }
    (order, ends)
}

/// Compiles shard after shard, its buffers kept.
pub(super) struct Compiler<'n, 'a> {
    builder: EntryBuilder<'n, 'a>,
    shard: ShardBuilder,
    names: Vec<&'a [u8]>,
    halves: Halves,
    entry: Vec<u8>,
    variant: Vec<u8>,
}

impl<'n, 'a> Compiler<'n, 'a> {
    /// Of `nodes`.
    pub(super) fn new(nodes: &'n Nodes<'a>, flat: bool, serial: u32) -> Self {
        let builder = EntryBuilder {
            nodes,
            flat,
            serial,
            view: 0,
            body: Writer::default(),
            directory: Vec::new(),
            steps: Vec::new(),
            rrsets: Vec::new(),
            sought: Vec::new(),
        };
        Self {
            builder,
            shard: ShardBuilder::default(),
            names: Vec::new(),
            halves: Halves::default(),
            entry: Vec::new(),
            variant: Vec::new(),
        }
    }

    /// What at least two of the nodes with these numbers have in common.
    fn shapes(&mut self, numbers: impl Iterator<Item = u32>) -> Shapes {
        let Self { builder, halves, .. } = self;
        let mut sample = Sample::default();
        for number in numbers {
            let is_plain = builder.nodes.views(number).is_empty();
            if is_plain && builder.draft(number, 0).divide(halves).is_some() {
                sample.add(&halves.definition);
            }
        }
        Shapes::of(sample)
    }

    /// The shard of the nodes with these numbers.
    pub(super) fn shard(&mut self, indexes: &[u32], shapes: &Shapes) -> Shard {
        let Self { builder, shard, names, halves, entry, variant } = self;
        // The names of a shard lie far apart: fetched one after another before
        // any is compiled, they are waited for together.
        names.clear();
        names.extend(indexes.iter().map(|index| builder.nodes.name(*index)));
        for (index, name) in indexes.iter().zip(names.iter().copied()) {
            entry.clear();
            let views = builder.nodes.views(*index);
            if views.is_empty() {
                builder.draft(*index, 0).write(shapes, halves, entry);
            } else {
                builder.draft(*index, 0).write_whole(entry);
            }
            let common = entry.len();
            for view in views {
                variant.clear();
                builder.draft(*index, view).write_whole(variant);
                if entry.get(..common) != Some(variant) {
                    add_variant(entry, view, variant);
                }
            }
            shard.passed.append(&mut builder.sought);
            shard.insert(name, builder.nodes.node(*index).children, entry);
        }
        shard.finish()
    }
}

/// Two bytes for a pointer to the owner name, then TYPE, CLASS, TTL, RDLENGTH and
/// RDATA of `zone`'s SOA as it denies: with the TTL of negative answers (RFC
/// 2308 section 3).
pub(super) fn negative_soa(zone: &Zone, serial: u32) -> Box<[u8]> {
    let rdata = soa_rdata(&zone.soa, serial);
    let mut record = vec![0; 2];
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

/// Compiles one node after another, its buffers kept.
struct EntryBuilder<'n, 'a> {
    nodes: &'n Nodes<'a>,
    flat: bool,
    serial: u32,
    /// Whose answers are written; 0 for everybody's.
    view: u8,
    body: Writer,
    directory: Vec<(Rtype, u16, u16, u32)>,
    /// Room for a chain's steps.
    steps: Vec<Step<'a>>,
    /// Room for a name's RRsets.
    rrsets: Vec<RrsetRef<'a>>,
    /// The hashes of the names that the chains pass.
    sought: Vec<u32>,
}

impl<'a> EntryBuilder<'_, 'a> {
    /// The node's entry, as clients of `view` get it.
    fn draft(&mut self, index: u32, view: u8) -> Draft<'_> {
        let node = self.nodes.node(index);
        let name = self.nodes.name(index);
        self.view = view;
        self.directory.clear();
        self.body.reset(name);
        let mut draft = (Rest::NoData, false, None, node.zone, (0, 0));
        if node.flags.exists() {
            draft = self.node(index);
        }
        let (rest, own_missing, soa_owner, zone, chain) = draft;
        Draft {
            name,
            flags: node.flags,
            rest,
            own_missing,
            soa_owner,
            zone,
            chain,
            directory: &self.directory,
            bodies: &self.body.bytes,
        }
    }

    /// Writes directory and bodies of an existing node.
    fn node(&mut self, index: u32) -> (Rest, bool, Option<[u8; 2]>, u32, (u8, u16)) {
        let node = self.nodes.node(index);
        let chain = {
            let steps = std::mem::take(&mut self.steps);
            self.nodes.follow(index, self.view, steps, &mut self.sought)
        };
        let alias_ttl = self.alias_ttl(&chain);
        let chain_count = self.write_steps(&chain.steps, alias_ttl);
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
            self.rrsets(*end, at, &chain, self.nodes.name(index), (chain_count, chain_len), alias_ttl);
        }
        if let Some(first) = chain.steps.first() {
            let (count, start) = (1 + u16::from(first.dname.is_some()), self.body.bytes.len());
            if chain.steps.len() == 1 {
                self.directory.push((Rtype::CNAME, count, chain_len, 0));
            } else {
                self.body.forget(start);
                self.write_steps(&chain.steps[..1], alias_ttl);
                self.push_directory(Rtype::CNAME, count, start);
            }
        }
        self.steps = chain.steps;
        self.steps.clear();
        (rest, own, soa_owner, zone, (chain_count as u8, chain_len))
    }

    /// The bodies of all types at the end of a chain.
    fn rrsets(
        &mut self,
        end: u32,
        at: &[u8],
        chain: &Chain<'a>,
        qname: &[u8],
        written: (u16, u16),
        alias_ttl: u32,
    ) {
        let node = self.nodes.node(end);
        let mut rrsets = std::mem::take(&mut self.rrsets);
        rrsets.extend(self.nodes.rrsets(end).filter(|rrset| rrset.rtype != Rtype::CNAME));
        rrsets.sort_by_key(|r| (r.rtype != Rtype::A, r.rtype != Rtype::AAAA, r.rtype));
        for (position, rrset) in rrsets.iter().enumerate() {
            let is_address = matches!(rrset.rtype, Rtype::A | Rtype::AAAA);
            let is_flat =
                self.flat && is_address && chain.steps.first().is_some_and(|step| step.ttl.is_none());
            let start = self.body.bytes.len();
            if is_flat || chain.steps.is_empty() {
                self.body.forget(start);
                let count = self.body.rrset(qname, rrset, self.view);
                self.push_directory(rrset.rtype, count, start);
            } else if position == 0 && rrset.ttl == alias_ttl {
                // The chain stands already at the start: go on behind it.
                let count = self.body.rrset(at, rrset, self.view);
                self.push_directory(rrset.rtype, written.0 + count, 0);
            } else {
                self.body.forget(start);
                let count = self.write_steps(&chain.steps, rrset.ttl);
                let count = count + self.body.rrset(at, rrset, self.view);
                self.push_directory(rrset.rtype, count, start);
            }
        }
        rrsets.clear();
        self.rrsets = rrsets;
        if node.flags.any(NodeFlags::APEX)
            && let Some(zone) = self.nodes.zones.get(node.zone as usize)
        {
            let start = self.body.bytes.len();
            self.body.forget(start);
            let count = self.write_steps(&chain.steps, zone.soa.ttl);
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
        let rrset = |rtype| self.nodes.rrset(index?, rtype);
        let address = rrset(Rtype::A).or_else(|| rrset(Rtype::AAAA));
        let negative = || self.nodes.zones.get(soa as usize).map_or(10, |zone| negative_ttl(&zone.soa));
        address.map_or_else(
            || index.and_then(|index| self.nodes.rrsets(index).map(|r| r.ttl).min()).unwrap_or_else(negative),
            |r| r.ttl,
        )
    }

    /// Writes the CNAMEs of `steps`; returns the number of records.
    fn write_steps(&mut self, steps: &[Step<'_>], alias_ttl: u32) -> u16 {
        let mut count = 0;
        for step in steps {
            let ttl = step.ttl.unwrap_or(alias_ttl);
            if let Some(dname) = step.dname
                && let Some(rrset) = self.nodes.rrset(dname, Rtype::DNAME)
            {
                count += self.body.rrset(self.nodes.name(dname), &rrset, self.view);
            }
            self.body.cname(&step.owner, ttl, &step.target);
            count += 1;
        }
        count
    }
}
