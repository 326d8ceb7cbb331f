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

use super::compile::Compiler;
use super::lookup::{self, Changes};
use super::model::{AnswerOptions, RecordSet, Zone};
use super::nodes::{DECIDING, Nodes, deciding, implied_zones, in_order};
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
    let implied = implied_zones(after, options);
    let zones = zones(previous, after, &implied, options)?;
    let mut source = Source { previous, set: after, options, zones, below: BTreeMap::new() };
    let mut affected = source.affected(&changes)?;

    let table = &previous.table;
    // An SOA alone that differs, by its serial, decides no place.
    let renewed = source.zones.iter().filter(|zone| zone.soa.serial.is_none());
    let renewed: Vec<Box<[u8]>> = renewed.map(|zone| zone.apex.as_wire().into()).collect();
    let mut hashes = Vec::new();
    loop {
        let passed = affected.iter().chain(&renewed).map(|name| passed_hash(name));
        hashes.clear();
        hashes.extend(passed.chain(affected.iter().map(|name| passed_hash(name) ^ DECIDING)));
        hashes.sort_unstable();
        // An alias takes its zone from its target, and names below it theirs from the alias.
        let known = affected.len();
        for number in table.passing(&hashes) {
            for entry in table.entries_of(number) {
                let name = entry.name();
                let alias = lookup::alias(after, &name);
                if alias.is_some_and(|alias| affected.contains(alias.target.as_wire())) {
                    affected.insert(Box::from(&*name));
                }
            }
        }
        if affected.len() == known {
            break;
        }
    }
    let mut shards: BTreeMap<usize, BTreeSet<Box<[u8]>>> = BTreeMap::new();
    for name in affected.into_iter().chain(renewed) {
        shards.entry(table.shard_number(&name)).or_default().insert(name);
    }
    for number in table.passing(&hashes) {
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
        fresh.push((*number, compiler.shard(&indexes, table.suffixes())));
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
        has_variants: nodes.has_variants,
        has_views: nodes.has_variants && !previous.views.is_empty(),
        has_cuts: false,
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

/// Where nodes are loaded from.
struct Source<'a> {
    previous: &'a Snapshot,
    set: &'a RecordSet,
    options: &'a AnswerOptions,
    zones: Vec<&'a Zone>,
    /// Names that were looked through the set for: the zone in which names
    /// below make them exist, if any does.
    below: BTreeMap<Box<[u8]>, Option<u32>>,
}

impl<'a> Source<'a> {
    /// The names whose nodes may differ from those before.
    fn affected(&mut self, changes: &Changes<'_>) -> Option<BTreeSet<Box<[u8]>>> {
        let mut affected = BTreeSet::new();
        let mut unknown = BTreeMap::new();
        for owner in &changes.owners {
            if self.options.special.iter().any(|zone| is_at_or_below(owner, zone.apex.as_wire())) {
                return None;
            }
            affected.insert(Box::from(*owner));
            if owner.starts_with(b"\x01*") {
                affected.extend(parent(owner).map(Box::from));
            }
            let mut up = *owner;
            loop {
                if !self.zones_of(up).any(|(_, zone)| zone.apex.as_wire().len() < up.len()) {
                    break;
                }
                if !self.is_held(up) && self.may_differ(up, changes) {
                    affected.insert(Box::from(up));
                    unknown.insert(Box::from(up), None);
                }
                let Some(above) = parent(up) else { break };
                up = above;
            }
        }
        self.below = unknown;
        self.look_below();
        Some(affected)
    }

    /// Whether a name that is in no zone may have begun or ceased to exist.
    fn may_differ(&self, name: &[u8], changes: &Changes<'_>) -> bool {
        let was_empty =
            self.previous.table.find(name).is_some_and(|entry| entry.flags().any(NodeFlags::EMPTY));
        changes.removes || !was_empty || changes.adds && self.zones_of(name).count() > 1
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

    /// Goes through all owner names for those below the names in question.
    fn look_below(&mut self) {
        let mut below = std::mem::take(&mut self.below);
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
        self.below = below;
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
        nodes.has_variants = self.previous.has_variants;
        for zone in &self.zones {
            nodes.add_apex(zone);
        }
        let options: &'a AnswerOptions = self.options;
        for suffix in &options.suffixes {
            nodes.mark(suffix, NodeFlags::SUFFIX);
        }
        let apexes = self.zones.iter().map(|zone| zone.apex.as_wire());
        for name in apexes.chain(names.iter().map(|name| &**name)) {
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
            nodes.entry(name).0.flags.0 |= NodeFlags::OWN;
        }
        Some(nodes)
    }

    /// Loads what zones say of `name`.
    fn load(&self, name: &'a [u8], nodes: &mut Nodes<'a>) -> Option<()> {
        let mut is_held = false;
        for (number, zone) in self.zones_of(name) {
            for rrset in zone.rrsets.at(name).filter(|rrset| !rrset.rdatas.is_empty()) {
                is_held |= nodes.hold(rrset, zone, number);
            }
            if lookup::holds(zone, &[b"\x01*", name].concat()) {
                nodes.entry(name).0.flags.0 |= NodeFlags::WILDCARD_BELOW;
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
                Some((flags, _)) if flags.any(NodeFlags::IN_ZONE) => return None,
                _ => None,
            }
        };
        if let Some(zone) = zone {
            let (node, _) = nodes.entry(name);
            node.flags.0 |= NodeFlags::EMPTY | NodeFlags::IN_ZONE;
            node.zone = zone;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{Rrset, Soa, ZonePolicy};
    use super::*;
    use crate::wire::Name;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn rrset(owner: &str, rtype: Rtype, rdata: &[u8]) -> Rrset {
        let rdatas = vec![rdata.into()];
        Rrset { owner: name(owner), rtype, ttl: 10, rdatas, variants: Vec::new() }
    }

    fn estate(registries: usize) -> (RecordSet, AnswerOptions) {
        let mut rrsets = Vec::new();
        for index in 0..registries {
            for middle in ["", ".westeurope.data"] {
                let private = format!("reg{index}{middle}.privatelink.azurecr.io");
                let target = name(&private);
                rrsets.push(rrset(&private, Rtype::A, &[10, 0, 0, 1]));
                rrsets.push(rrset(&format!("reg{index}{middle}.azurecr.io"), Rtype::CNAME, target.as_wire()));
            }
        }
        rrsets.sort_by(|a, b| (&a.owner, a.rtype).cmp(&(&b.owner, b.rtype)));
        let apex = name("azurecr.io");
        let zones =
            vec![Zone { apex, soa: Soa::azure(), policy: ZonePolicy::FallThrough, rrsets: rrsets.into() }];
        let suffixes = vec![name("azurecr.io")];
        let options =
            AnswerOptions { flat: false, forward_own_missing: false, suffixes, special: Vec::new() };
        (RecordSet { zones, ..RecordSet::default() }, options)
    }

    #[test]
    fn a_name_takes_at_most_85_bytes() {
        let (set, options) = estate(10_000);
        let snapshot = Snapshot::build(&set, &options, 1);
        let each = snapshot.memory_bytes() / snapshot.names();
        assert!(each <= 85, "{each} bytes a name");
    }

    #[test]
    fn what_does_not_change_is_shared() {
        let (before, options) = estate(1_000);
        let snapshot = Snapshot::build(&before, &options, 1);
        let mut after = before.clone();
        let changed = name("reg77.privatelink.azurecr.io");
        after.zones[0].rrsets.edit(|rrsets| {
            let rrset = rrsets.iter_mut().find(|rrset| rrset.owner == changed).unwrap();
            rrset.rdatas = vec![[10, 9, 9, 9].into()];
        });
        let updated = Snapshot::update(&snapshot, &before, &after, &options, 2).unwrap();
        // The name, the name whose CNAME leads there, the apex with its serial.
        let fresh = snapshot.table.unshared(&updated.table);
        assert!((2..=3).contains(&fresh), "{fresh} of {} shards", snapshot.table.shard_count());
        assert_eq!(updated.names(), snapshot.names());
    }
}
