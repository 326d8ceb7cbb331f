//! A snapshot made from the one before: the shards in which no name changed
//! are shared, the others compiled anew.
//!
//! Compiled anew are the shards of the changed names; of the names above
//! them, which exist only through them or know of a wildcard; of apexes whose
//! SOA carries the generation; and of names whose chains pass any of these
//! (each shard keeps their hashes: one scan finds them). For these shards the
//! nodes are loaded as a whole build would make them, together with all that
//! decides where their chains lead.
//!
//! What reaches further is left to the whole build: zones, views or options
//! that differ, zone cuts and DNAMEs, very many changes, a table that has
//! outgrown its shards.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::chain::{DECIDING, deciding};
use super::compile::Compiler;
use super::hashes::Hashes;
use super::implied;
use super::lookup;
use super::model::{AnswerOptions, RecordSet, Zone};
use super::nodes::{Nodes, in_order};
use super::place::NodeFlags;
use super::table::passed_hash;
use super::{INSTANCES, Snapshot, zone_soas};
use crate::wire::name::{is_at_or_below, parent};
use crate::wire::{FoldedName, Rtype};

/// More changes than this, and than one name in [`SHARE`], are a whole build's work.
const CHANGES: usize = 512;
/// See [`CHANGES`].
const SHARE: usize = 256;
/// Names a shard may come to hold on average before all are made anew.
const CROWDED: usize = 48;

/// Makes the snapshot of `after` from `previous`, that of `before`; `None` if
/// that takes a whole build.
pub(super) fn update(
    previous: &Snapshot,
    before: &RecordSet,
    after: &RecordSet,
    options: &AnswerOptions,
    generation: u64,
) -> Option<Snapshot> {
    if previous.has_cuts || *previous.options != *options {
        return None;
    }
    let limit = CHANGES.max(previous.names / SHARE);
    let changes = lookup::diff(before, after, limit)?;
    let implied = implied::zones_after(previous, before, after, options);
    let zones = zones(previous, after, &implied, options)?;
    let mut source = Source {
        previous,
        set: after,
        options,
        zones,
        overlaps: previous.overlaps,
        below: BTreeMap::new(),
        children: BTreeMap::new(),
    };
    let mut affected = source.affected(&changes)?;

    let table = &previous.table;
    // Names that stay as they are in shards that are written anew: an SOA whose
    // serial alone differs, and names with another number of names below them.
    let renewed = source.zones.iter().filter(|zone| zone.soa.serial.is_none());
    let renewed: Vec<Box<[u8]>> = renewed.map(|zone| zone.apex.as_wire().into()).collect();
    let recounted: Vec<Box<[u8]>> = source.children.keys().cloned().collect();
    let mut hashes = Hashes::of(affected.iter(), &renewed);
    let mut passing = BTreeSet::new();
    loop {
        // An alias takes its zone from its target, and names below it theirs from the alias.
        let mut fresh: BTreeSet<Box<[u8]>> = BTreeSet::new();
        for number in table.passing(&hashes) {
            for entry in table.entries_of(number) {
                let name = entry.name();
                let alias = lookup::alias(after, &name);
                if alias.is_some_and(|alias| affected.contains(alias.target.as_wire()))
                    && !affected.contains(&*name)
                {
                    fresh.insert(Box::from(&*name));
                }
            }
            passing.insert(number);
        }
        if fresh.is_empty() {
            break;
        }
        hashes = Hashes::of(fresh.iter(), &[]);
        affected.append(&mut fresh);
    }
    let mut shards: BTreeMap<usize, BTreeSet<Box<[u8]>>> = BTreeMap::new();
    for name in affected.into_iter().chain(recounted).chain(renewed) {
        shards.entry(table.shard_number(&name)).or_default().insert(name);
    }
    for number in passing {
        shards.entry(number).or_default();
    }
    let mut held = 0;
    for (number, names) in &mut shards {
        let entries = table.entries_of(*number).map(|entry| (entry.flags(), Box::from(&*entry.name())));
        for (flags, name) in entries {
            held += usize::from(flags.any(NodeFlags::HELD));
            names.insert(name);
        }
    }
    if shards.len() > limit && shards.len() > table.shard_count() / 8 {
        return None;
    }
    let names = source.closure(shards.values().flatten().map(|name| &**name))?;
    let nodes = source.nodes(&names)?;
    let serial = generation as u32;
    let mut compiler = Compiler::new(&nodes, options.flat, serial);
    let (mut fresh, mut indexes) = (Vec::with_capacity(shards.len()), Vec::new());
    let mut holds = 0;
    for (number, names) in &shards {
        indexes.clear();
        indexes.extend(names.iter().filter_map(|name| nodes.number(name)));
        indexes.retain(|index| nodes.node(*index).flags.0 != 0);
        let is_held = |index: &&u32| nodes.node(**index).flags.any(NodeFlags::HELD);
        holds += indexes.iter().filter(is_held).count();
        fresh.push((*number, compiler.shard(&indexes, table.shapes())));
    }
    let names = (previous.names + holds).checked_sub(held)?;
    if names > table.shard_count() * CROWDED {
        return None;
    }
    Some(Snapshot {
        generation,
        instance: INSTANCES.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
        zones: zone_soas(&nodes.zones, serial),
        table: table.with(fresh),
        has_views: nodes.has_variants && !previous.views.is_empty(),
        has_cuts: false,
        overlaps: source.overlaps,
        views: Arc::clone(&previous.views),
        depths: previous.depths,
        enclosers: Arc::clone(&previous.enclosers),
        forward_own_missing: previous.forward_own_missing,
        names,
        options: Arc::clone(&previous.options),
    })
}

/// The zones in the order of `previous`; `None` if they are others.
fn zones<'a>(
    previous: &Snapshot,
    set: &'a RecordSet,
    implied: &'a [Zone],
    options: &'a AnswerOptions,
) -> Option<Vec<&'a Zone>> {
    let mut zones = in_order(set, implied);
    let special = previous.zones.get(zones.len()..)?;
    // Which of the special zones count was found out when all names were known.
    for soa in special {
        zones.push(options.special.iter().find(|zone| zone.apex == soa.apex)?);
    }
    let same = zones.len() == previous.zones.len()
        && zones.iter().zip(&previous.zones).all(|(zone, soa)| zone.apex == soa.apex)
        && !zones.iter().any(|zone| zone.apex.is_wildcard());
    same.then_some(zones)
}

impl Hashes {
    /// Those by which chains remember that they pass `names` or that these
    /// decide where they lead; of `renewed` names only that they are passed.
    fn of<'n>(names: impl Iterator<Item = &'n Box<[u8]>>, renewed: &[Box<[u8]>]) -> Self {
        let passed = names.map(|name| passed_hash(name)).flat_map(|hash| [hash, hash ^ DECIDING]);
        Self::new(passed.chain(renewed.iter().map(|name| passed_hash(name))).collect())
    }
}

/// Where nodes are loaded from.
struct Source<'a> {
    previous: &'a Snapshot,
    set: &'a RecordSet,
    options: &'a AnswerOptions,
    zones: Vec<&'a Zone>,
    /// Whether a zone may hold names of a zone within it.
    overlaps: bool,
    /// Names without records that may differ: the zone in which names below
    /// make them exist, if any does.
    below: BTreeMap<Box<[u8]>, Option<u32>>,
    /// How many names more, or fewer, lie one label below these.
    children: BTreeMap<Box<[u8]>, i64>,
}

impl<'a> Source<'a> {
    /// The names whose nodes may differ from those before.
    fn affected(&mut self, changes: &[&[u8]]) -> Option<BTreeSet<Box<[u8]>>> {
        let mut affected: BTreeSet<Box<[u8]>> = BTreeSet::new();
        // The longest first: what lies below a name decides whether it exists.
        let mut queue: BTreeSet<(usize, Box<[u8]>)> = BTreeSet::new();
        for owner in changes {
            if self.options.special.iter().any(|zone| is_at_or_below(owner, zone.apex.as_wire())) {
                return None;
            }
            affected.insert((*owner).into());
            if owner.starts_with(b"\x01*") {
                affected.extend(parent(owner).map(Box::from));
            }
            let overlaps = self.zones_of(owner).skip(1).any(|(_, zone)| lookup::holds(zone, owner));
            self.overlaps |= overlaps;
            queue.insert((owner.len(), (*owner).into()));
        }
        if self.overlaps {
            // Then it may change which zone it is also for names that go on existing.
            for owner in changes {
                let above = std::iter::successors(parent(owner), |name| parent(name));
                let within = above.take_while(|name| self.zones_of(name).next().is_some());
                queue.extend(within.map(|name| (name.len(), Box::from(name))));
            }
        }
        let mut unknown = BTreeMap::new();
        while let Some((_, name)) = queue.pop_last() {
            if self.is_apex(&name) || self.zones_of(&name).next().is_none() {
                continue;
            }
            let before = self.previous.table.find(&name);
            let was = before.is_some_and(|entry| entry.flags().any(NodeFlags::IN_ZONE));
            let is_held = self.is_held(&name);
            let exists = is_held || self.children(&name) > 0;
            if exists != was {
                affected.insert(name.clone());
                if let Some(above) = parent(&name) {
                    *self.children.entry(above.into()).or_default() += if exists { 1 } else { -1 };
                    queue.insert((above.len(), above.into()));
                }
            }
            if is_held {
                continue;
            }
            if exists && self.zone_of_empty(&name).is_none() {
                affected.insert(name.clone());
                unknown.insert(name, None);
            } else {
                let zone = self.zone_of_empty(&name).filter(|_| exists);
                self.below.insert(name, zone);
            }
        }
        self.look_below(unknown);
        Some(affected)
    }

    /// How many names lie one label below `name` in zones, each of which makes it exist.
    fn children(&self, name: &[u8]) -> u32 {
        let before = i64::from(self.previous.table.children(name));
        let now = before + self.children.get(name).copied().unwrap_or_default();
        u32::try_from(now).unwrap_or_default()
    }

    /// The zone of a name that only names below it make exist; `None` where
    /// several zones may.
    fn zone_of_empty(&self, name: &[u8]) -> Option<u32> {
        let mut zones = self.zones_of(name).map(|(number, _)| number);
        let first = zones.next()?;
        // Special zones stand behind those of the set, which they may lie in.
        let is_only = zones.next().is_none();
        let is_special = || self.options.special.iter().any(|zone| is_at_or_below(name, zone.apex.as_wire()));
        (is_only || !self.overlaps && !is_special()).then_some(first)
    }

    /// The zones that `name` is in, with their numbers.
    fn zones_of(&self, name: &[u8]) -> impl Iterator<Item = (u32, &'a Zone)> {
        let zones = (0u32..).zip(self.zones.iter().copied());
        zones.filter(move |(_, zone)| {
            let apex = zone.apex.as_wire();
            name.ends_with(apex) && is_at_or_below(name, apex)
        })
    }

    fn is_apex(&self, name: &[u8]) -> bool {
        self.zones.iter().any(|zone| zone.apex.as_wire() == name)
    }

    /// Whether a zone holds records of `name` or begins at it.
    fn is_held(&self, name: &[u8]) -> bool {
        self.is_apex(name) || self.zones_of(name).any(|(_, zone)| lookup::holds(zone, name))
    }

    /// Goes through all owner names for those below the names in question,
    /// where zones overlap.
    fn look_below(&mut self, mut below: BTreeMap<Box<[u8]>, Option<u32>>) {
        if below.is_empty() {
            return;
        }
        let mut lens = [false; 256];
        for name in below.keys() {
            lens[name.len()] = true;
        }
        for (number, zone) in (0u32..).zip(&self.zones) {
            let apex = zone.apex.as_wire().len();
            for rrset in zone.rrsets.iter().filter(|r| !r.rdatas.is_empty() && r.rtype != Rtype::SOA) {
                if self.is_apex(rrset.owner.as_wire()) {
                    continue;
                }
                let mut up = rrset.owner.as_wire();
                while let Some(above) = parent(up).filter(|above| above.len() > apex) {
                    if lens[above.len()]
                        && let Some(found) = below.get_mut(above)
                        && !self.is_cut_off(rrset.owner.as_wire(), above)
                    {
                        // The zones stand in order: the first one counts.
                        found.get_or_insert(number);
                    }
                    up = above;
                }
            }
        }
        self.below.append(&mut below);
    }

    /// Whether an apex lies between `owner` and `above`, which then exists or
    /// not without it.
    fn is_cut_off(&self, owner: &[u8], above: &[u8]) -> bool {
        let mut up = owner;
        while let Some(next) = parent(up).filter(|next| next.len() >= above.len()) {
            if self.is_apex(next) {
                return true;
            }
            up = next;
        }
        false
    }

    /// `names` and all others that decide where their chains lead.
    fn closure<'n>(&self, names: impl Iterator<Item = &'n [u8]>) -> Option<Vec<Box<[u8]>>> {
        let mut known: HashSet<Box<[u8]>> = HashSet::new();
        let mut list: Vec<Box<[u8]>> = Vec::new();
        for name in names {
            if known.insert(name.into()) {
                list.push(name.into());
            }
        }
        let mut next = 0;
        while let Some(name) = list.get(next).cloned() {
            next += 1;
            for target in self.targets(&name) {
                let (folded, _) = FoldedName::parse(&target)?;
                let mut need = |name: &[u8]| {
                    if name.len() < 256 && !known.contains(name) {
                        known.insert(name.into());
                        list.push(name.into());
                    }
                };
                if self.is_held(folded.as_wire()) || lookup::alias(self.set, folded.as_wire()).is_some() {
                    need(folded.as_wire());
                    continue;
                }
                deciding(folded.as_wire(), &mut need);
                // A missing name of ours goes on under its private-link name.
                for suffix in &self.options.suffixes {
                    let private = super::place::private_name(folded.as_wire(), suffix.label_count());
                    if is_at_or_below(folded.as_wire(), suffix.as_wire())
                        && let Some(private) = private
                    {
                        deciding(&private, &mut need);
                    }
                }
            }
        }
        Some(list)
    }

    /// Where CNAMEs of `name` lead, for all views.
    fn targets(&self, name: &[u8]) -> Vec<Vec<u8>> {
        let alias = lookup::alias(self.set, name).map(|alias| alias.target.as_wire().to_vec());
        let mut targets: Vec<Vec<u8>> = alias.into_iter().collect();
        for (_, zone) in self.zones_of(name) {
            for rrset in zone.rrsets.at(name).filter(|rrset| rrset.rtype == Rtype::CNAME) {
                let variants = rrset.variants().map(|(_, rdatas)| rdatas);
                let firsts = std::iter::once(rrset.rdatas.clone())
                    .chain(variants)
                    .filter_map(|mut rdatas| rdatas.next());
                targets.extend(firsts.map(<[u8]>::to_vec));
            }
        }
        targets
    }

    /// The nodes of `names` as a whole build makes them, and all apexes and
    /// suffixes; `None` where that cannot be told.
    fn nodes(&self, names: &'a [Box<[u8]>]) -> Option<Nodes<'a>> {
        let mut nodes =
            Nodes::empty(names.len() + self.zones.len() + self.options.suffixes.len(), self.options);
        // Of all names, not of those at hand alone.
        nodes.has_variants = self.set.zones.iter().any(|zone| zone.rrsets.is_varied());
        for zone in &self.zones {
            nodes.add_apex(zone);
        }
        let options: &'a AnswerOptions = self.options;
        for suffix in &options.suffixes {
            nodes.mark(suffix, NodeFlags::SUFFIX);
        }
        let apexes = || self.zones.iter().map(|zone| zone.apex.as_wire());
        for name in apexes().chain(names.iter().map(|name| &**name)) {
            self.load(name, &mut nodes)?;
        }
        nodes.set_depths(self.previous.depths);
        // Aliases take their zone from their target, which is loaded by now.
        for name in names {
            let Some(alias) = lookup::alias(self.set, name) else { continue };
            let target = alias.target.as_wire();
            if !self.is_held(target) && lookup::alias(self.set, target).is_some() {
                return None;
            }
            nodes.add_alias(&alias.public, &alias.target);
        }
        for name in names.iter().filter(|name| lookup::is_own(self.set, name)) {
            nodes.entry(name).flags.0 |= NodeFlags::OWN;
        }
        for name in apexes().chain(names.iter().map(|name| &**name)) {
            let children = self.children(name);
            if children > 0 {
                nodes.entry(name).children = children;
            }
        }
        Some(nodes)
    }

    /// Loads what zones say of `name`.
    fn load(&self, name: &'a [u8], nodes: &mut Nodes<'a>) -> Option<()> {
        let mut is_held = false;
        for (number, zone) in self.zones_of(name) {
            is_held |= nodes.load(name, zone, number);
            if lookup::holds(zone, &[b"\x01*", name].concat()) {
                nodes.entry(name).flags.0 |= NodeFlags::WILDCARD_BELOW;
            }
        }
        if is_held || self.is_apex(name) {
            return Some(());
        }
        let zone = if let Some(below) = self.below.get(name) {
            *below
        } else {
            let before = self.previous.table.find(name);
            match before.map(|entry| (entry.flags(), entry.zone() as u32)) {
                Some((flags, zone)) if flags.any(NodeFlags::EMPTY) => Some(zone),
                // An alias at a name that others below it make exist.
                Some((flags, _)) if flags.any(NodeFlags::IN_ZONE) => Some(self.zone_of_empty(name)?),
                _ => None,
            }
        };
        if let Some(zone) = zone {
            let node = nodes.entry(name);
            node.flags.0 |= NodeFlags::EMPTY | NodeFlags::IN_ZONE;
            node.zone = zone;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
