//! Puts what stays back into what was read.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::{Circumstances, Key};
use crate::snapshot::model::{RecordSet, Rrset, Rrsets, Zone};
use crate::sources::registry_name::{RegistryName, private_zone};
use crate::sync::provenance::Rank;
use crate::wire::{Name, Rtype};

/// How good what is published and what was read are.
pub(super) struct Ranks<'a> {
    pub(super) old: &'a dyn Fn(&Key) -> Rank,
    pub(super) new: &'a dyn Fn(&Name, Rtype) -> Rank,
}

/// What became of it.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) keys: BTreeSet<Key>,
    pub(super) displaced: BTreeMap<Key, Vec<Box<[u8]>>>,
}

/// Puts `keys` of `published` back into `proposed`. Where a CNAME and other
/// data would meet, the better rank stays; of equals what was read.
pub(super) fn put_back(
    published: &RecordSet,
    proposed: &mut RecordSet,
    keys: &BTreeSet<Key>,
    ranks: &Ranks<'_>,
) -> Kept {
    let mut kept = Kept::default();
    if keys.is_empty() {
        return kept;
    }
    let mut by_owner: BTreeMap<&Name, Vec<Rtype>> = BTreeMap::new();
    for (owner, rtype) in keys {
        by_owner.entry(owner).or_default().push(*rtype);
    }
    let mut away: BTreeSet<Key> = BTreeSet::new();
    for (owner, types) in by_owner {
        let mut new: BTreeSet<Rtype> = proposed.rrsets_at(owner).map(|rrset| rrset.rtype).collect();
        new.extend(proposed.alias(owner.as_wire()).map(|_| Rtype::CNAME));
        let key = |rtype: &Rtype| (owner.clone(), *rtype);
        let stays_as_cname = types.contains(&Rtype::CNAME);
        let others = || new.iter().filter(|rtype| !types.contains(rtype));
        let meets: Vec<Rtype> =
            others().filter(|rtype| stays_as_cname || **rtype == Rtype::CNAME).copied().collect();
        let best_old = types.iter().map(|rtype| (ranks.old)(&key(rtype))).min();
        let best_new = meets.iter().map(|rtype| (ranks.new)(owner, *rtype)).min();
        if best_new.is_some() && best_new <= best_old {
            continue;
        }
        away.extend(meets.iter().map(key));
        away.extend(types.iter().filter(|rtype| new.contains(rtype)).map(key));
        kept.keys.extend(types.iter().map(key));
    }
    remove(proposed, &away, &mut kept.displaced);
    restore(published, proposed, &kept.keys);
    kept
}

fn remove(set: &mut RecordSet, away: &BTreeSet<Key>, removed: &mut BTreeMap<Key, Vec<Box<[u8]>>>) {
    if away.is_empty() {
        return;
    }
    for zone in &mut set.zones {
        let mut changes = Vec::new();
        for key in away {
            if let Some(rrset) = zone.rrsets.get(key.0.as_wire(), key.1) {
                removed.insert(key.clone(), rrset.rdatas.to_vec());
                changes.push((key.clone(), None));
            }
        }
        if !changes.is_empty() {
            zone.rrsets = zone.rrsets.patched(&changes);
        }
    }
    if !away.iter().any(|(owner, _)| set.alias(owner.as_wire()).is_some()) {
        return;
    }
    set.aliases.retain(|alias| {
        let key = (alias.public.clone(), Rtype::CNAME);
        let goes = away.contains(&key);
        if goes {
            removed.insert(key, vec![alias.target.as_wire().into()]);
        }
        !goes
    });
}

fn restore(published: &RecordSet, proposed: &mut RecordSet, keys: &BTreeSet<Key>) {
    // Views are numbered anew by each configuration; their names stay.
    let views = proposed.views.clone();
    for old in &published.zones {
        let held = keys.iter().filter_map(|(owner, rtype)| old.rrsets.get(owner.as_wire(), *rtype));
        let mut back: Vec<Rrset> = held.map(|rrset| rrset.to_rrset()).collect();
        if !back.is_empty() {
            for rrset in &mut back {
                rrset.renumber_views(&published.views, &views);
            }
            zone_like(proposed, old).rrsets.extend(back);
        }
    }
    let cnames = keys.iter().filter(|(_, rtype)| *rtype == Rtype::CNAME);
    let kept = cnames.filter_map(|(owner, _)| published.alias(owner.as_wire()));
    proposed.aliases.extend(kept.cloned());
}

/// The zone of `set` with the apex of `old`, made like it if need be.
pub(super) fn zone_like<'a>(set: &'a mut RecordSet, old: &Zone) -> &'a mut Zone {
    let at = set.zones.iter().position(|zone| zone.apex == old.apex).unwrap_or_else(|| {
        set.zones.push(Zone {
            apex: old.apex.clone(),
            soa: old.soa.clone(),
            policy: old.policy,
            rrsets: Rrsets::default(),
        });
        set.zones.len() - 1
    });
    &mut set.zones[at]
}

/// What is ours stays ours, unless an operator says otherwise, here or in the
/// configuration.
pub(super) fn own(published: &RecordSet, proposed: &mut RecordSet, circumstances: &Circumstances<'_>) {
    // On a reload the configuration speaks; the merge remembers the rest.
    if circumstances.reloaded || circumstances.rescoped || published.own == proposed.own {
        return;
    }
    let read: HashSet<&Name> = proposed.own.iter().collect();
    let stays = |name: &&Name| {
        !read.contains(*name)
            && !circumstances.forgotten.contains(*name)
            && RegistryName::from_public(name, circumstances.suffixes).is_some()
    };
    let missing: Vec<Name> = published.own.iter().filter(stays).cloned().collect();
    if missing.is_empty() {
        return;
    }
    // Names of ours that are missing are denied with the SOA of their zone.
    let denies = |zone: &&Zone| {
        let below = |suffix: &&Name| private_zone(suffix).as_ref() == Some(&zone.apex);
        circumstances
            .suffixes
            .iter()
            .find(below)
            .is_some_and(|suffix| missing.iter().any(|name| name.is_at_or_below(suffix)))
    };
    for zone in published.zones.iter().filter(denies) {
        zone_like(proposed, zone);
    }
    let own = Arc::make_mut(&mut proposed.own);
    own.extend(missing);
    own.sort();
}

pub(super) fn sort(set: &mut RecordSet) {
    set.zones.sort_by(|a, b| a.apex.cmp(&b.apex));
    set.aliases.sort();
}
