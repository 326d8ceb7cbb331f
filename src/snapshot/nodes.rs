//! The names of a record set, before they are compiled: which exist, what
//! they hold, where their CNAMEs lead.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};

use super::index::NameIndex;
use super::model::{AnswerOptions, RecordSet, RrsetRef, Rrsets, Soa, Zone, ZonePolicy};
use super::place::{NodeFlags, Place, Tree, place, private_name};
use super::table::passed_hash;
use crate::wire::name::{Labels, parent};
use crate::wire::{FoldedName, Name, Rtype};

/// Longest chain of CNAMEs that is followed (design.md section 3).
const MAX_CHAIN: usize = 8;

/// Sets apart the hashes of names that only decide where a target stands from
/// those of the targets.
pub(super) const DECIDING: u32 = 0x9e37_79b9;

/// One name.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) name: &'a [u8],
    pub(super) flags: NodeFlags,
    /// Index of the zone whose SOA denies.
    pub(super) zone: u32,
    pub(super) rrsets: NodeRrsets<'a>,
    pub(super) alias: Option<&'a Name>,
}

/// The RRsets of one name: nearly always one, so that one costs no allocation.
#[derive(Debug, Default)]
pub(super) struct NodeRrsets<'a> {
    first: Option<RrsetRef<'a>>,
    #[expect(clippy::box_collection, reason = "a pointer in every node instead of three words")]
    more: Option<Box<Vec<RrsetRef<'a>>>>,
}

impl<'a> NodeRrsets<'a> {
    fn push(&mut self, rrset: RrsetRef<'a>) {
        if self.first.is_none() {
            self.first = Some(rrset);
        } else {
            self.more.get_or_insert_default().push(rrset);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &RrsetRef<'a>> {
        self.first.iter().chain(self.more.iter().flat_map(|more| more.iter()))
    }

    pub(super) fn get(&self, rtype: Rtype) -> Option<&RrsetRef<'a>> {
        self.iter().find(|rrset| rrset.rtype == rtype)
    }
}

/// All names of a record set.
#[derive(Debug)]
pub(super) struct Nodes<'a> {
    pub(super) list: Vec<Node<'a>>,
    pub(super) zones: Vec<&'a Zone>,
    index: NameIndex,
    depths: u64,
    forward_own_missing: bool,
    /// Whether any RRset has variants.
    pub(super) has_variants: bool,
    /// Whether any zone has a cut or a DNAME.
    pub(super) has_cuts: bool,
}

/// The zones that must exist besides those of the set: a registry of ours is
/// denied with the SOA of its private-link zone, though nothing is in it.
pub(super) fn implied_zones(set: &RecordSet, options: &AnswerOptions) -> Vec<Zone> {
    let mut zones = Vec::new();
    for suffix in &options.suffixes {
        let Ok(apex) = suffix.child(b"privatelink") else { continue };
        // Most names end otherwise: that is told before labels are.
        let is_below =
            |name: &Name, top: &Name| name.as_wire().ends_with(top.as_wire()) && name.is_at_or_below(top);
        let is_wanted = set.own.iter().any(|name| is_below(name, suffix))
            || set.aliases.iter().any(|alias| is_below(&alias.target, &apex));
        if is_wanted && !set.zones.iter().any(|zone| zone.apex == apex) {
            zones.push(Zone {
                apex,
                soa: Soa::azure(),
                policy: ZonePolicy::FallThrough,
                rrsets: Rrsets::default(),
            });
        }
    }
    zones
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
        for alias in &set.aliases {
            nodes.add_alias(&alias.public, &alias.target);
        }
        for own in &set.own {
            nodes.mark(own, NodeFlags::OWN);
        }
        nodes
    }

    /// No names yet; room for that many.
    pub(super) fn empty(expected: usize, options: &AnswerOptions) -> Self {
        Self {
            list: Vec::with_capacity(expected),
            zones: Vec::new(),
            index: NameIndex::with_capacity(expected),
            depths: 0,
            forward_own_missing: options.forward_own_missing,
            has_variants: false,
            has_cuts: false,
        }
    }

    pub(super) fn entry(&mut self, name: &'a [u8]) -> (&mut Node<'a>, u32) {
        let next = self.list.len() as u32;
        let list = &self.list;
        let index = self.index.find_or_insert(name, next, |at| list[at as usize].name);
        if index == next {
            let (flags, rrsets) = (NodeFlags::default(), NodeRrsets::default());
            self.list.push(Node { name, flags, zone: u32::MAX, rrsets, alias: None });
        }
        (&mut self.list[index as usize], index)
    }

    pub(super) fn mark(&mut self, name: &'a Name, bits: u16) {
        let (node, _) = self.entry(name.as_wire());
        node.flags.0 |= bits;
    }

    fn add_zone(&mut self, zone: &'a Zone) {
        let index = self.add_apex(zone);
        let cuts = cuts(zone);
        self.has_cuts |= !cuts.is_empty();
        for rrset in &zone.rrsets {
            if !rrset.rdatas.is_empty() && !is_occluded(&rrset, &cuts) {
                self.add_rrset(rrset, zone, index);
            }
        }
    }

    /// Adds the zone's apex; the zone's number.
    pub(super) fn add_apex(&mut self, zone: &'a Zone) -> u32 {
        let index = self.zones.len() as u32;
        self.zones.push(zone);
        self.depths |= 1 << zone.apex.label_count().min(63);
        let (apex, _) = self.entry(zone.apex.as_wire());
        if !apex.flags.any(NodeFlags::APEX) {
            apex.zone = index;
            let authoritative = zone.policy == ZonePolicy::Authoritative;
            apex.flags.0 |= NodeFlags::APEX | NodeFlags::HELD | NodeFlags::IN_ZONE;
            apex.flags.0 |= if authoritative { NodeFlags::AUTHORITATIVE } else { 0 };
        }
        index
    }

    fn add_rrset(&mut self, rrset: RrsetRef<'a>, zone: &'a Zone, zone_index: u32) {
        let owner = rrset.owner;
        if self.hold(rrset, zone, zone_index) && owner != zone.apex {
            self.add_ancestors(owner.is_wildcard(), owner.as_wire(), zone, zone_index);
        }
    }

    /// Adds an RRset to its owner alone; whether it counts.
    pub(super) fn hold(&mut self, rrset: RrsetRef<'a>, zone: &'a Zone, zone_index: u32) -> bool {
        let owner = rrset.owner.as_wire();
        let is_apex = rrset.owner == zone.apex;
        let (node, _) = self.entry(owner);
        let held_elsewhere = node.flags.any(NodeFlags::HELD) && node.zone != zone_index;
        let known = node.rrsets.iter().any(|held| held.rtype == rrset.rtype);
        if held_elsewhere || known || rrset.rtype == Rtype::SOA {
            return false;
        }
        node.zone = zone_index;
        let varies = rrset.is_varied();
        node.flags.0 = node.flags.0 & !NodeFlags::EMPTY | NodeFlags::HELD | NodeFlags::IN_ZONE;
        if rrset.rtype == Rtype::NS && !is_apex {
            node.flags.0 |= NodeFlags::DELEGATION;
        }
        if rrset.rtype == Rtype::DNAME {
            node.flags.0 |= NodeFlags::DNAME;
        }
        node.rrsets.push(rrset);
        self.has_variants |= varies;
        true
    }

    /// Makes the names between `owner` and the apex exist.
    fn add_ancestors(&mut self, is_wildcard: bool, owner: &'a [u8], zone: &'a Zone, zone_index: u32) {
        let mut up = owner;
        while let Some(above) = parent(up) {
            let (node, _) = self.entry(above);
            let existed = node.flags.exists();
            if !existed {
                node.flags.0 |= NodeFlags::EMPTY | NodeFlags::IN_ZONE;
                node.zone = zone_index;
            }
            if is_wildcard && up.len() == owner.len() {
                node.flags.0 |= NodeFlags::WILDCARD_BELOW;
            }
            if existed || above.len() <= zone.apex.as_wire().len() {
                break;
            }
            up = above;
        }
    }

    pub(super) fn add_alias(&mut self, public: &'a Name, target: &'a Name) {
        let zone = self.get(target.as_wire()).map(|index| self.list[index as usize].zone);
        let (node, _) = self.entry(public.as_wire());
        // Records under the public name itself (a zone file of azurecr.io) go first.
        if node.flags.any(NodeFlags::HELD) {
            return;
        }
        node.alias = Some(target);
        node.flags.0 = node.flags.0 & !NodeFlags::EMPTY | NodeFlags::HELD;
        if let Some(zone) = zone {
            node.zone = zone;
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

    pub(super) fn node(&self, index: u32) -> &Node<'a> {
        &self.list[index as usize]
    }

    /// The views whose clients may get another answer at the node `start`
    /// than everybody else: those with variants anywhere on its chain.
    pub(super) fn views(&self, start: u32) -> BTreeSet<u8> {
        let mut views = BTreeSet::new();
        if self.has_variants {
            let pass = &mut |passed| {
                let variants = self.node(passed).rrsets.iter().flat_map(RrsetRef::variants);
                views.extend(variants.map(|(view, _)| view).filter(|view| *view != 0));
            };
            self.walk(start, 0, Vec::new(), &mut Vec::new(), pass);
        }
        views
    }

    /// Follows CNAMEs from the node `start` to where they end for clients of
    /// `view`. `steps` is an empty vector to use again. To `sought` come the
    /// hashes of the names that decide where the chain leads.
    pub(super) fn follow(
        &self,
        start: u32,
        view: u8,
        steps: Vec<Step<'a>>,
        sought: &mut Vec<u32>,
    ) -> Chain<'a> {
        self.walk(start, view, steps, sought, &mut |_| ())
    }

    /// [`Self::follow`] that tells each node it passes.
    fn walk(
        &self,
        start: u32,
        view: u8,
        mut steps: Vec<Step<'a>>,
        sought: &mut Vec<u32>,
        pass: &mut impl FnMut(u32),
    ) -> Chain<'a> {
        let mut at: Cow<'a, [u8]> = Cow::Borrowed(self.node(start).name);
        let mut place: Place<u32> = Place::Exact(start);
        loop {
            let node = match place {
                Place::Exact(index) | Place::Wildcard(index) => index,
                Place::Dname(index) => {
                    pass(index);
                    let Some(step) = self.substitute(index, &at, view) else {
                        return Chain { steps, end: End::Denied(index, false) };
                    };
                    let Some(next) = self.step(&mut steps, step, sought) else { break };
                    (at, place) = next;
                    continue;
                }
                Place::Denied(index) => return Chain { steps, end: End::Denied(index, false) },
                Place::OwnMissing { .. } if self.forward_own_missing => {
                    return Chain { steps, end: End::Leads };
                }
                Place::OwnMissing { suffix_labels, public } => {
                    let private = if public { private_name(&at, suffix_labels) } else { None };
                    let Some(private) = private else {
                        return Chain { steps, end: End::Denied(self.private_apex(&at), true) };
                    };
                    let step = Step { owner: at, ttl: None, target: Cow::Owned(private), dname: None };
                    let Some(next) = self.step(&mut steps, step, sought) else { break };
                    (at, place) = next;
                    continue;
                }
                Place::Outside => return Chain { steps, end: End::Leads },
            };
            pass(node);
            let found = self.node(node);
            let target = match (found.alias, found.rrsets.get(Rtype::CNAME)) {
                (Some(target), _) => (target.as_wire(), None),
                (None, Some(rrset)) => (rrset.rdatas_in(view).next().unwrap_or(&[0]), Some(rrset.ttl)),
                (None, None) if found.flags.any(NodeFlags::DELEGATION) && !steps.is_empty() => {
                    return Chain { steps, end: End::Leads };
                }
                (None, None) => return Chain { steps, end: End::Node(node, at) },
            };
            let step = Step { owner: at, ttl: target.1, target: Cow::Borrowed(target.0), dname: None };
            let Some(next) = self.step(&mut steps, step, sought) else { break };
            (at, place) = next;
        }
        Chain { steps, end: End::Loop }
    }

    /// Adds a step and finds where its target stands; `None` when the chain is too long.
    fn step(
        &self,
        steps: &mut Vec<Step<'a>>,
        step: Step<'a>,
        sought: &mut Vec<u32>,
    ) -> Option<(Cow<'a, [u8]>, Place<u32>)> {
        steps.push(step);
        let target = &steps.last()?.target;
        if steps.len() > MAX_CHAIN {
            return None;
        }
        // Nearly always the target is spelled as the node is, which is folded.
        if let Some(node) = self.get(target).filter(|node| self.flags(*node).exists()) {
            sought.push(passed_hash(target));
            return Some((Cow::Borrowed(self.node(node).name), Place::Exact(node)));
        }
        let (folded, _) = FoldedName::parse(target)?;
        // Targets keep the spelling of their zone file; names are compared folded.
        let place = place(self, &folded);
        sought.push(passed_hash(folded.as_wire()));
        deciding(folded.as_wire(), |name| sought.push(passed_hash(name) ^ DECIDING));
        Some((Cow::Owned(folded.as_wire().to_vec()), place))
    }

    /// The CNAME that a DNAME stands for (RFC 6672 section 2.2).
    fn substitute(&self, dname: u32, at: &[u8], view: u8) -> Option<Step<'a>> {
        let node = self.node(dname);
        let rrset = node.rrsets.get(Rtype::DNAME)?;
        let mut target = at.get(..at.len().checked_sub(node.name.len())?)?.to_vec();
        target.extend_from_slice(rrset.rdatas_in(view).next()?);
        Name::from_wire(&target).ok()?;
        let owner = Cow::Owned(at.to_vec());
        Some(Step { owner, ttl: Some(rrset.ttl), target: Cow::Owned(target), dname: Some(dname) })
    }

    /// The node of the private-link zone above `name`.
    fn private_apex(&self, name: &[u8]) -> u32 {
        let mut up = name;
        loop {
            if let Some(index) = self.get(up).filter(|i| self.flags(*i).any(NodeFlags::APEX)) {
                return index;
            }
            match parent(up) {
                Some(above) => up = above,
                None => return 0,
            }
        }
    }
}

impl Tree for Nodes<'_> {
    type Node = u32;

    fn get(&self, name: &[u8]) -> Option<u32> {
        self.index.find(name, |at| self.list[at as usize].name)
    }

    fn flags(&self, node: u32) -> NodeFlags {
        self.node(node).flags
    }

    fn depths(&self) -> u64 {
        self.depths
    }
}

/// Tells the names that decide where `name` stands: itself, those above it,
/// their wildcards, and the login names that it may belong to.
pub(super) fn deciding(name: &[u8], mut tell: impl FnMut(&[u8])) {
    let first = Labels::new(name).next().unwrap_or_default();
    let mut up = name;
    loop {
        tell(up);
        tell(&[b"\x01*", up].concat());
        if up.len() < name.len() {
            tell(&[&[first.len() as u8], first, up].concat());
        }
        match parent(up) {
            Some(above) => up = above,
            None => return,
        }
    }
}

/// CNAMEs from a name, and where they end.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    pub(super) steps: Vec<Step<'a>>,
    pub(super) end: End<'a>,
}

/// One CNAME.
#[derive(Clone, Debug)]
pub(super) struct Step<'a> {
    pub(super) owner: Cow<'a, [u8]>,
    /// `None` for one of our own making: it takes the TTL of the answer behind it.
    pub(super) ttl: Option<u32>,
    pub(super) target: Cow<'a, [u8]>,
    /// The node whose DNAME stands before this CNAME.
    pub(super) dname: Option<u32>,
}

/// Where a chain ends.
#[derive(Debug)]
pub(super) enum End<'a> {
    /// At records of this node, under this name.
    Node(u32, Cow<'a, [u8]>),
    /// At a name that does not exist; its encloser. True for a name of ours
    /// that no record covers.
    Denied(u32, bool),
    /// Outside.
    Leads,
    /// Nowhere: it is longer than [`MAX_CHAIN`].
    Loop,
}

/// Owners below which a zone's own data ends: zone cuts and DNAMEs.
fn cuts(zone: &Zone) -> HashSet<&[u8]> {
    let is_cut = |rrset: &RrsetRef<'_>| {
        rrset.rtype == Rtype::DNAME || rrset.rtype == Rtype::NS && rrset.owner != zone.apex
    };
    zone.rrsets.iter().filter(is_cut).map(|rrset| rrset.owner.as_wire()).collect()
}

/// Whether `rrset` is hidden by a cut above it, or is glue at the cut.
fn is_occluded(rrset: &RrsetRef<'_>, cuts: &HashSet<&[u8]>) -> bool {
    if cuts.is_empty() {
        return false;
    }
    let mut up = rrset.owner.as_wire();
    while let Some(above) = parent(up) {
        if cuts.contains(above) {
            return true;
        }
        up = above;
    }
    false
}
