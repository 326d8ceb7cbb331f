//! The names of a record set, before they are compiled: which exist, what
//! they hold, where their CNAMEs lead.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

use super::model::{AnswerOptions, RecordSet, Rrset, Soa, Zone, ZonePolicy};
use super::place::{NodeFlags, Place, Tree, place, private_name};
use crate::wire::name::parent;
use crate::wire::{FoldedName, Name, Rtype};

/// Longest chain of CNAMEs that is followed (design.md section 3).
const MAX_CHAIN: usize = 8;

/// One name.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) name: &'a [u8],
    pub(super) flags: NodeFlags,
    /// Index of the zone whose SOA denies.
    pub(super) zone: u32,
    pub(super) rrsets: Vec<&'a Rrset>,
    pub(super) alias: Option<&'a Name>,
}

/// All names of a record set.
#[derive(Debug)]
pub(super) struct Nodes<'a> {
    pub(super) list: Vec<Node<'a>>,
    pub(super) zones: Vec<&'a Zone>,
    index: HashMap<&'a [u8], u32>,
    depths: u64,
    forward_own_missing: bool,
    /// Whether any RRset has variants.
    pub(super) has_variants: bool,
}

/// The zones that must exist besides those of the set: a registry of ours is
/// denied with the SOA of its private-link zone, though nothing is in it.
pub(super) fn implied_zones(set: &RecordSet, options: &AnswerOptions) -> Vec<Zone> {
    let mut zones = Vec::new();
    for suffix in &options.suffixes {
        let Ok(apex) = suffix.child(b"privatelink") else { continue };
        let is_wanted = set.own.iter().any(|name| name.is_at_or_below(suffix))
            || set.aliases.iter().any(|alias| alias.target.is_at_or_below(&apex));
        if is_wanted && !set.zones.iter().any(|zone| zone.apex == apex) {
            zones.push(Zone { apex, soa: Soa::azure(), policy: ZonePolicy::FallThrough, rrsets: Vec::new() });
        }
    }
    zones
}

impl<'a> Nodes<'a> {
    pub(super) fn new(set: &'a RecordSet, implied: &'a [Zone], options: &'a AnswerOptions) -> Self {
        let rrsets: usize = set.zones.iter().map(|zone| zone.rrsets.len()).sum();
        let expected = rrsets + set.aliases.len() + set.own.len() + 64;
        let mut nodes = Self {
            list: Vec::with_capacity(expected),
            zones: Vec::new(),
            index: HashMap::with_capacity(expected),
            depths: 0,
            forward_own_missing: options.forward_own_missing,
            has_variants: false,
        };
        // The most specific zone first: it wins for the owners that it holds.
        let mut zones: Vec<&Zone> = set.zones.iter().chain(implied).collect();
        zones.sort_by_key(|zone| std::cmp::Reverse(zone.apex.label_count()));
        for zone in zones {
            nodes.add_zone(zone);
        }
        for zone in &options.special {
            // What a source says of such a name goes before the default.
            if !nodes.index.contains_key(zone.apex.as_wire()) {
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

    fn entry(&mut self, name: &'a [u8]) -> (&mut Node<'a>, u32) {
        let next = self.list.len() as u32;
        let index = *self.index.entry(name).or_insert(next);
        if index == next {
            let (flags, rrsets) = (NodeFlags::default(), Vec::new());
            self.list.push(Node { name, flags, zone: u32::MAX, rrsets, alias: None });
        }
        (&mut self.list[index as usize], index)
    }

    fn mark(&mut self, name: &'a Name, bits: u16) {
        let (node, _) = self.entry(name.as_wire());
        node.flags.0 |= bits;
    }

    fn add_zone(&mut self, zone: &'a Zone) {
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
        let cuts = cuts(zone);
        for rrset in &zone.rrsets {
            if !rrset.rdatas.is_empty() && !is_occluded(rrset, &cuts) {
                self.add_rrset(rrset, zone, index);
            }
        }
    }

    fn add_rrset(&mut self, rrset: &'a Rrset, zone: &'a Zone, zone_index: u32) {
        let owner = rrset.owner.as_wire();
        let is_apex = rrset.owner == zone.apex;
        let (node, _) = self.entry(owner);
        let held_elsewhere = node.flags.any(NodeFlags::HELD) && node.zone != zone_index;
        let known = node.rrsets.iter().any(|held| held.rtype == rrset.rtype);
        if held_elsewhere || known || rrset.rtype == Rtype::SOA {
            return;
        }
        node.zone = zone_index;
        node.rrsets.push(rrset);
        let varies = !rrset.variants.is_empty();
        node.flags.0 = node.flags.0 & !NodeFlags::EMPTY | NodeFlags::HELD | NodeFlags::IN_ZONE;
        if rrset.rtype == Rtype::NS && !is_apex {
            node.flags.0 |= NodeFlags::DELEGATION;
        }
        if rrset.rtype == Rtype::DNAME {
            node.flags.0 |= NodeFlags::DNAME;
        }
        self.has_variants |= varies;
        if !is_apex {
            self.add_ancestors(rrset.owner.is_wildcard(), owner, zone, zone_index);
        }
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

    fn add_alias(&mut self, public: &'a Name, target: &'a Name) {
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

    pub(super) fn node(&self, index: u32) -> &Node<'a> {
        &self.list[index as usize]
    }

    /// The views whose clients may get another answer at the node `start`
    /// than everybody else: those with variants anywhere on its chain.
    pub(super) fn views(&self, start: u32) -> BTreeSet<u8> {
        let mut views = BTreeSet::new();
        if self.has_variants {
            self.walk(start, 0, &mut |passed| {
                let variants = self.node(passed).rrsets.iter().flat_map(|rrset| &rrset.variants);
                views.extend(variants.map(|variant| variant.view).filter(|view| *view != 0));
            });
        }
        views
    }

    /// Follows CNAMEs from the node `start` to where they end for clients of `view`.
    pub(super) fn follow(&self, start: u32, view: u8) -> Chain<'a> {
        self.walk(start, view, &mut |_| ())
    }

    /// [`Self::follow`] that tells each node it passes.
    fn walk(&self, start: u32, view: u8, pass: &mut impl FnMut(u32)) -> Chain<'a> {
        let mut steps: Vec<Step<'a>> = Vec::new();
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
                    let Some(next) = self.step(&mut steps, step) else { break };
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
                    let Some(next) = self.step(&mut steps, step) else { break };
                    (at, place) = next;
                    continue;
                }
                Place::Outside => return Chain { steps, end: End::Leads },
            };
            pass(node);
            let found = self.node(node);
            let cname = found.rrsets.iter().find(|rrset| rrset.rtype == Rtype::CNAME);
            let target = match (found.alias, cname) {
                (Some(target), _) => (target.as_wire(), None),
                (None, Some(rrset)) => {
                    (rrset.rdatas_in(view).first().map_or(&[0][..], |rdata| rdata), Some(rrset.ttl))
                }
                (None, None) if found.flags.any(NodeFlags::DELEGATION) && !steps.is_empty() => {
                    return Chain { steps, end: End::Leads };
                }
                (None, None) => return Chain { steps, end: End::Node(node, at) },
            };
            let step = Step { owner: at, ttl: target.1, target: Cow::Borrowed(target.0), dname: None };
            let Some(next) = self.step(&mut steps, step) else { break };
            (at, place) = next;
        }
        Chain { steps, end: End::Loop }
    }

    /// Adds a step and finds where its target stands; `None` when the chain is too long.
    fn step(&self, steps: &mut Vec<Step<'a>>, step: Step<'a>) -> Option<(Cow<'a, [u8]>, Place<u32>)> {
        let target = step.target.clone();
        steps.push(step);
        if steps.len() > MAX_CHAIN {
            return None;
        }
        let (folded, _) = FoldedName::parse(&target)?;
        // Targets keep the spelling of their zone file; names are compared folded.
        let place = place(self, &folded);
        Some((Cow::Owned(folded.as_wire().to_vec()), place))
    }

    /// The CNAME that a DNAME stands for (RFC 6672 section 2.2).
    fn substitute(&self, dname: u32, at: &[u8], view: u8) -> Option<Step<'a>> {
        let node = self.node(dname);
        let rrset = node.rrsets.iter().find(|rrset| rrset.rtype == Rtype::DNAME)?;
        let mut target = at.get(..at.len().checked_sub(node.name.len())?)?.to_vec();
        target.extend_from_slice(rrset.rdatas_in(view).first()?);
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
        self.index.get(name).copied()
    }

    fn flags(&self, node: u32) -> NodeFlags {
        self.node(node).flags
    }

    fn depths(&self) -> u64 {
        self.depths
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
    let is_cut =
        |rrset: &&Rrset| rrset.rtype == Rtype::DNAME || rrset.rtype == Rtype::NS && rrset.owner != zone.apex;
    zone.rrsets.iter().filter(is_cut).map(|rrset| rrset.owner.as_wire()).collect()
}

/// Whether `rrset` is hidden by a cut above it, or is glue at the cut.
fn is_occluded(rrset: &Rrset, cuts: &HashSet<&[u8]>) -> bool {
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
