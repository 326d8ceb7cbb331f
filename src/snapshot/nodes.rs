//! The names of a record set, before they are compiled: which exist, what
//! they hold, where their CNAMEs lead.

use super::cuts::{cuts, has_any_of, is_below, is_occluded};
use super::index::{NameIndex, tag};
use super::model::{Alias, AnswerOptions, RecordSet, RrsetRef, Run, Zone, ZonePolicy};
use super::place::{NodeFlags, Tree};
use crate::wire::name::{parent, same};
use crate::wire::{Name, Rtype};

/// One name, in twenty bytes: a million of them stand beside the old snapshot
/// and the new one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// The number of the run that holds its RRsets, or that of its name among [`Nodes::others`].
    home: u32,
    /// Where in the run they begin; [`NOWHERE`] without RRsets.
    at: u32,
    /// Index of the zone whose SOA denies.
    pub(super) zone: u32,
    /// How many names one label below it lie in a zone through its data.
    pub(super) children: u32,
    pub(super) flags: NodeFlags,
    /// One RRset alone, which most names have.
    is_single: bool,
    has_cname: bool,
}

/// Aliases whose places are waited for together.
const ALIASES: usize = 256;
/// The place of a name without RRsets.
const NOWHERE: u32 = u32::MAX;

/// A name that holds nothing, or not yet.
#[derive(Debug)]
struct Other<'a> {
    name: &'a [u8],
    alias: Option<&'a Name>,
    /// The number of the name that `alias` is, where that was known first.
    target: Option<u32>,
}

/// Names that are looked at again and again while their children come in order.
const RECENT: usize = 16;

/// All names of a record set.
#[derive(Debug)]
pub(super) struct Nodes<'a> {
    list: Vec<Node>,
    runs: Vec<Run<'a>>,
    others: Vec<Other<'a>>,
    pub(super) zones: Vec<&'a Zone>,
    index: NameIndex,
    /// Names above those that came last, with their numbers.
    recent: [(&'a [u8], u32); RECENT],
    depths: u64,
    pub(super) forward_own_missing: bool,
    /// Whether any RRset has variants.
    pub(super) has_variants: bool,
    /// Whether any zone has a cut or a DNAME.
    pub(super) has_cuts: bool,
    /// Whether a zone holds names of a zone within it.
    pub(super) overlaps: bool,
}

/// The zones of a set, the most specific first: it wins for the owners that it holds.
pub(super) fn in_order<'a>(set: &'a RecordSet, implied: &'a [Zone]) -> Vec<&'a Zone> {
    let mut zones: Vec<&Zone> = set.zones.iter().chain(implied).collect();
    zones.sort_by_key(|zone| std::cmp::Reverse(zone.apex.label_count()));
    zones
}

impl<'a> Nodes<'a> {
    pub(super) fn new(set: &'a RecordSet, implied: &'a [Zone], options: &'a AnswerOptions) -> Self {
        let rrsets: usize = set.zones.iter().map(|zone| zone.rrsets.len()).sum();
        let expected = rrsets + set.aliases.len() + set.own.len() + 64;
        let mut nodes = Self::empty(expected, options);
        for zone in in_order(set, implied) {
            nodes.add_zone(zone);
        }
        for zone in &options.special {
            // What a source says of such a name goes before the default.
            if nodes.get(zone.apex.as_wire()).is_none() {
                nodes.add_zone(zone);
            }
        }
        for suffix in &options.suffixes {
            nodes.mark(suffix, NodeFlags::SUFFIX);
            nodes.depths |= 1 << suffix.label_count().min(63);
        }
        let mut aliases = set.aliases.iter();
        loop {
            let some: Vec<&Alias> = aliases.by_ref().take(ALIASES).collect();
            if some.is_empty() {
                break;
            }
            let names = || some.iter().flat_map(|alias| [&alias.public, &alias.target]);
            nodes.index.warm(names().map(|name| tag(name.as_wire())));
            for alias in some {
                nodes.add_alias(&alias.public, &alias.target);
            }
        }
        for own in &*set.own {
            nodes.mark(own, NodeFlags::OWN);
        }
        nodes
    }

    /// No names yet; room for that many.
    pub(super) fn empty(expected: usize, options: &AnswerOptions) -> Self {
        Self {
            list: Vec::with_capacity(expected),
            runs: Vec::new(),
            others: Vec::new(),
            zones: Vec::new(),
            index: NameIndex::with_capacity(expected),
            recent: [(&[], 0); RECENT],
            depths: 0,
            forward_own_missing: options.forward_own_missing,
            has_variants: false,
            has_cuts: false,
            overlaps: false,
        }
    }

    /// The node of `name`, a new one if there is none.
    pub(super) fn entry(&mut self, name: &'a [u8]) -> &mut Node {
        let number = self.entry_number(name);
        &mut self.list[number as usize]
    }

    fn entry_number(&mut self, name: &'a [u8]) -> u32 {
        let number = self.number_or_new(name, tag(name), (self.others.len() as u32, NOWHERE));
        let node = &self.list[number as usize];
        if node.at == NOWHERE && node.home as usize == self.others.len() {
            self.others.push(Other { name, alias: None, target: None });
        }
        number
    }

    /// [`Self::entry_number`] of a name that others lie below: mostly one of few.
    fn above(&mut self, name: &'a [u8]) -> u32 {
        let place = (name.len() ^ name.len() >> 4) % RECENT;
        let (known, number) = self.recent[place];
        if same(known, name) {
            return number;
        }
        let number = self.entry_number(name);
        self.recent[place] = (name, number);
        number
    }

    /// The number of `name`, whose node stands at `place` if it is new.
    fn number_or_new(&mut self, name: &[u8], tag: u32, (home, at): (u32, u32)) -> u32 {
        let next = self.list.len() as u32;
        let Self { list, runs, others, index, .. } = self;
        let number = index.find_or_insert(name, tag, next, |at| name_of(list[at as usize], runs, others));
        if number == next {
            self.list.push(Node {
                home,
                at,
                zone: u32::MAX,
                children: 0,
                flags: NodeFlags::default(),
                is_single: false,
                has_cname: false,
            });
        }
        number
    }

    pub(super) fn mark(&mut self, name: &'a Name, bits: u16) {
        self.entry(name.as_wire()).flags.0 |= bits;
    }

    fn add_zone(&mut self, zone: &'a Zone) {
        let index = self.add_apex(zone);
        let cuts = cuts(zone);
        self.has_cuts |= !cuts.is_empty();
        let inner = self.zones.iter().map(|inner| inner.apex.as_wire());
        let inner: Vec<&[u8]> = inner.filter(|inner| is_below(inner, zone.apex.as_wire())).collect();
        let mut owners: Vec<(usize, u32, Held)> = Vec::new();
        for run in zone.rrsets.runs() {
            self.runs.push(run);
            if !inner.is_empty() && !self.overlaps {
                self.overlaps = has_any_of(run, &inner);
            }
            owners.clear();
            let mut at = 0;
            while let Some((held, end)) = Held::read(run, at) {
                if held.is_any && !is_occluded(run.owner(at), &cuts) {
                    owners.push((at, tag(run.owner(at)), held));
                }
                at = end;
            }
            self.index.warm(owners.iter().map(|(_, tag, _)| *tag));
            for (at, tag, held) in &owners {
                let owner = run.owner(*at);
                if let Some(existed) = self.hold((owner, *tag), held, *at, zone, index)
                    && zone.apex.as_wire() != owner
                {
                    self.add_ancestors(owner, existed, zone, index);
                }
            }
        }
    }

    /// Adds the zone's apex; the zone's number.
    pub(super) fn add_apex(&mut self, zone: &'a Zone) -> u32 {
        let index = self.zones.len() as u32;
        self.zones.push(zone);
        self.depths |= 1 << zone.apex.label_count().min(63);
        let apex = self.entry(zone.apex.as_wire());
        if !apex.flags.any(NodeFlags::APEX) {
            apex.zone = index;
            let authoritative = zone.policy == ZonePolicy::Authoritative;
            apex.flags.0 |= NodeFlags::APEX | NodeFlags::HELD | NodeFlags::IN_ZONE;
            apex.flags.0 |= if authoritative { NodeFlags::AUTHORITATIVE } else { 0 };
        }
        index
    }

    /// Adds what `zone` holds of `name`, and nothing above it; whether that counts.
    pub(super) fn load(&mut self, name: &[u8], zone: &'a Zone, zone_index: u32) -> bool {
        let Some((run, at)) = zone.rrsets.place(name) else { return false };
        let Some((held, _)) = Held::read(run, at) else { return false };
        self.runs.push(run);
        let owner = run.owner(at);
        held.is_any && self.hold((owner, tag(owner)), &held, at, zone, zone_index).is_some()
    }

    /// Adds the owner at `at` of the newest run; whether it had to be, because
    /// of names below it, before. `None` if another zone holds it.
    fn hold(
        &mut self,
        (owner, tag): (&'a [u8], u32),
        held: &Held,
        at: usize,
        zone: &'a Zone,
        zone_index: u32,
    ) -> Option<bool> {
        let home = (self.runs.len() as u32 - 1, at as u32);
        let number = self.number_or_new(owner, tag, home);
        let node = &mut self.list[number as usize];
        if node.flags.any(NodeFlags::HELD) && node.zone != zone_index {
            return None;
        }
        let existed = node.flags.exists();
        (node.home, node.at) = home;
        node.zone = zone_index;
        node.flags.0 = node.flags.0 & !NodeFlags::EMPTY | NodeFlags::HELD | NodeFlags::IN_ZONE | held.flags;
        if zone.apex.as_wire() == owner {
            node.flags.0 &= !NodeFlags::DELEGATION;
        }
        (node.is_single, node.has_cname) = (held.is_single, held.has_cname);
        self.has_variants |= held.is_varied;
        Some(existed)
    }

    /// Makes the names between `owner` and the apex exist.
    fn add_ancestors(&mut self, owner: &'a [u8], mut existed: bool, zone: &'a Zone, zone_index: u32) {
        let mut up = owner;
        while let Some(above) = parent(up) {
            let number = self.above(above);
            let node = &mut self.list[number as usize];
            node.children += u32::from(!existed);
            existed = node.flags.exists();
            if !existed {
                node.flags.0 |= NodeFlags::EMPTY | NodeFlags::IN_ZONE;
                node.zone = zone_index;
            }
            if up.len() == owner.len() && owner.starts_with(b"\x01*") {
                node.flags.0 |= NodeFlags::WILDCARD_BELOW;
            }
            if existed || above.len() <= zone.apex.as_wire().len() {
                break;
            }
            up = above;
        }
    }

    pub(super) fn add_alias(&mut self, public: &'a Name, target: &'a Name) {
        let number = self.get(target.as_wire());
        let zone = number.map(|number| self.list[number as usize].zone);
        let node = self.entry(public.as_wire());
        // Records under the public name itself (a zone file of azurecr.io) go first.
        if node.flags.any(NodeFlags::HELD) {
            return;
        }
        node.flags.0 = node.flags.0 & !NodeFlags::EMPTY | NodeFlags::HELD;
        if let Some(zone) = zone {
            node.zone = zone;
        }
        let home = node.home as usize;
        if let Some(other) = self.others.get_mut(home) {
            (other.alias, other.target) = (Some(target), number);
        }
    }

    /// The number of that name's node.
    pub(super) fn number(&self, name: &[u8]) -> Option<u32> {
        self.get(name)
    }

    /// Tells the depths of all apexes and suffixes, where not all were added.
    pub(super) const fn set_depths(&mut self, depths: u64) {
        self.depths = depths;
    }

    pub(super) fn node(&self, number: u32) -> &Node {
        &self.list[number as usize]
    }

    /// How many names there are, numbered from zero.
    pub(super) const fn len(&self) -> usize {
        self.list.len()
    }

    /// How many names clients may find.
    pub(super) fn held(&self) -> usize {
        self.list.iter().filter(|node| node.flags.any(NodeFlags::HELD)).count()
    }

    /// The upper half of each name's hash, and its number.
    pub(super) fn hashes(&self) -> impl Iterator<Item = (u32, u32)> {
        self.index.iter()
    }

    /// The name of that node.
    pub(super) fn name(&self, number: u32) -> &'a [u8] {
        name_of(self.list[number as usize], &self.runs, &self.others)
    }

    /// What that node is an alias for, and the number of that, if it was known first.
    pub(super) fn alias(&self, number: u32) -> Option<(&'a Name, Option<u32>)> {
        let node = &self.list[number as usize];
        if node.has_rrsets() {
            return None;
        }
        let other = &self.others[node.home as usize];
        Some((other.alias?, other.target))
    }

    /// The RRsets of that node.
    pub(super) fn rrsets(&self, number: u32) -> impl Iterator<Item = RrsetRef<'a>> + use<'a> {
        let node = self.list[number as usize];
        let run = if node.has_rrsets() { self.runs.get(node.home as usize).copied() } else { None };
        let (mut at, mut name) = (node.at as usize, None);
        let all = std::iter::from_fn(move || {
            let run = run?;
            match name {
                Some(name) if node.is_single || run.owner(at) != name => return None,
                Some(_) => {}
                None => name = Some(run.owner(at)),
            }
            run.read(&mut at)
        });
        all.filter(counts)
    }

    /// The RRset of that node and type.
    pub(super) fn rrset(&self, number: u32, rtype: Rtype) -> Option<RrsetRef<'a>> {
        self.rrsets(number).find(|rrset| rrset.rtype == rtype)
    }

    /// The CNAME of that node.
    pub(super) fn cname(&self, number: u32) -> Option<RrsetRef<'a>> {
        if self.node(number).has_cname { self.rrset(number, Rtype::CNAME) } else { None }
    }
}

impl Node {
    const fn has_rrsets(&self) -> bool {
        self.at != NOWHERE
    }
}

/// What is to be known of an owner's RRsets before its node is made.
struct Held {
    is_any: bool,
    is_single: bool,
    has_cname: bool,
    is_varied: bool,
    flags: u16,
}

impl Held {
    /// Reads the RRsets of the owner at `at`; where they end.
    fn read(run: Run<'_>, mut at: usize) -> Option<(Self, usize)> {
        let mut held = Self { is_any: false, is_single: true, has_cname: false, is_varied: false, flags: 0 };
        let first = run.read(&mut at)?;
        let owner = first.owner.as_wire();
        held.add(&first);
        while run.owner(at) == owner {
            let Some(next) = run.read(&mut at) else { break };
            held.is_single = false;
            held.add(&next);
        }
        Some((held, at))
    }

    fn add(&mut self, rrset: &RrsetRef<'_>) {
        if !counts(rrset) {
            return;
        }
        self.is_any = true;
        self.has_cname |= rrset.rtype == Rtype::CNAME;
        self.is_varied |= rrset.is_varied();
        self.flags |= match rrset.rtype {
            Rtype::NS => NodeFlags::DELEGATION,
            Rtype::DNAME => NodeFlags::DNAME,
            _ => 0,
        };
    }
}

/// Whether an RRset is data: the SOA is the zone's.
fn counts(rrset: &RrsetRef<'_>) -> bool {
    !rrset.rdatas.is_empty() && rrset.rtype != Rtype::SOA
}

fn name_of<'a>(node: Node, runs: &[Run<'a>], others: &[Other<'a>]) -> &'a [u8] {
    if node.has_rrsets() {
        runs[node.home as usize].owner(node.at as usize)
    } else {
        others[node.home as usize].name
    }
}

impl Tree for Nodes<'_> {
    type Node = u32;

    fn get(&self, name: &[u8]) -> Option<u32> {
        self.index.find(name, |number| self.name(number))
    }

    fn flags(&self, node: u32) -> NodeFlags {
        self.node(node).flags
    }

    fn depths(&self) -> u64 {
        self.depths
    }
}
