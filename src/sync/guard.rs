//! What may be taken away: additions and changes publish at once, removals
//! that look like an accident wait.
//!
//! A removal waits when it is more than a share of the set, when it would
//! empty a registry, or when a source has nothing to say at all. It goes
//! through once a second reading, some time later, says exactly the same, or
//! when an operator changed the configuration. Pure: cycles keep the state.

use std::collections::{BTreeMap, BTreeSet};

use crate::snapshot::model::{RecordSet, Zone};
use crate::sources::registry_name::RegistryName;
use crate::wire::{Name, Rtype};

/// An owner name and type; public aliases count as CNAME.
pub type Key = (Name, Rtype);

/// The limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Removals above this share of the published set wait, percent.
    pub max_removed_percent: usize,
    /// The second reading counts after this time, seconds.
    pub confirm_after: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { max_removed_percent: 50, confirm_after: 60 }
    }
}

/// Removals that wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// What would go.
    pub keys: BTreeSet<Key>,
    /// When a reading said so first, Unix seconds.
    pub since: u64,
}

/// What the guard must know besides the two sets.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The registry suffixes in force.
    pub suffixes: &'a [Name],
    /// An operator changed the sources or the scope: removals are meant.
    pub reconfigured: bool,
    /// Some source never said anything: nothing can be taken for removed.
    pub incomplete: bool,
    /// The wall clock, Unix seconds.
    pub now: u64,
}

/// The guard's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What may be published.
    pub set: RecordSet,
    /// What is kept in it though it was to go.
    pub held: Vec<Key>,
    /// What a later reading may confirm.
    pub pending: Option<Pending>,
}

/// Decides what of `proposed` may replace `published`.
pub fn judge(
    published: &RecordSet,
    proposed: RecordSet,
    pending: Option<&Pending>,
    rules: &Rules,
    circumstances: &Circumstances<'_>,
) -> Verdict {
    let before = keys(published);
    let after = keys(&proposed);
    let removed: BTreeSet<Key> =
        before.difference(&after).map(|(name, rtype)| ((*name).clone(), *rtype)).collect();
    if circumstances.incomplete {
        // Not pending: no second reading of the other sources makes it sure.
        return hold(published, proposed, &removed, None);
    }
    if removed.is_empty() || circumstances.reconfigured {
        return Verdict { set: proposed, held: Vec::new(), pending: None };
    }
    let suspicious = if removed.len() * 100 > rules.max_removed_percent * before.len() {
        removed
    } else {
        of_emptied_registries(&before, &removed, circumstances.suffixes)
    };
    let first = pending.filter(|pending| pending.keys == suspicious).map(|pending| pending.since);
    let confirmed = first.is_some_and(|since| circumstances.now >= since.saturating_add(rules.confirm_after));
    if suspicious.is_empty() || confirmed {
        return Verdict { set: proposed, held: Vec::new(), pending: None };
    }
    let since = first.unwrap_or(circumstances.now);
    let pending = Pending { keys: suspicious.clone(), since };
    hold(published, proposed, &suspicious, Some(pending))
}

fn keys(set: &RecordSet) -> BTreeSet<(&Name, Rtype)> {
    let rrsets = set.zones.iter().flat_map(|zone| &zone.rrsets).map(|rrset| (&rrset.owner, rrset.rtype));
    rrsets.chain(set.aliases.iter().map(|alias| (&alias.public, Rtype::CNAME))).collect()
}

/// The removals that leave a registry without any public alias, or without
/// any private-link record, where it had some.
fn of_emptied_registries(
    before: &BTreeSet<(&Name, Rtype)>,
    removed: &BTreeSet<Key>,
    suffixes: &[Name],
) -> BTreeSet<Key> {
    // Per login name and form: how many there were and how many go.
    let mut counts: BTreeMap<(Name, bool), (usize, usize)> = BTreeMap::new();
    let form = |owner: &Name| {
        let name = RegistryName::from_either(owner, suffixes)?;
        Some((name.login, name.public == *owner))
    };
    for (owner, rtype) in before {
        let Some(form) = form(owner) else { continue };
        let count = counts.entry(form).or_default();
        count.0 += 1;
        count.1 += usize::from(removed.contains(&((*owner).clone(), *rtype)));
    }
    let emptied: BTreeSet<Name> =
        counts.into_iter().filter(|(_, (had, goes))| had == goes).map(|((login, _), _)| login).collect();
    let belongs = |key: &&Key| form(&key.0).is_some_and(|(login, _)| emptied.contains(&login));
    removed.iter().filter(belongs).cloned().collect()
}

/// Puts `keys` of `published` back into `proposed`, where nothing new stands
/// in their way.
fn hold(
    published: &RecordSet,
    mut proposed: RecordSet,
    keys: &BTreeSet<Key>,
    pending: Option<Pending>,
) -> Verdict {
    let mut held = Vec::new();
    let mut taken: BTreeMap<Name, bool> = BTreeMap::new();
    for rrset in proposed.zones.iter().flat_map(|zone| &zone.rrsets) {
        *taken.entry(rrset.owner.clone()).or_default() |= rrset.rtype == Rtype::CNAME;
    }
    for old in &published.zones {
        for rrset in &old.rrsets {
            let key = (rrset.owner.clone(), rrset.rtype);
            let has_cname = taken.get(&rrset.owner).copied();
            let conflict = has_cname == Some(true) || (has_cname.is_some() && rrset.rtype == Rtype::CNAME);
            if keys.contains(&key) && !conflict {
                zone_like(&mut proposed, old).rrsets.push(rrset.clone());
                held.push(key);
            }
        }
    }
    let owners: BTreeSet<Name> =
        proposed.zones.iter().flat_map(|zone| &zone.rrsets).map(|rrset| rrset.owner.clone()).collect();
    for alias in &published.aliases {
        let key = (alias.public.clone(), Rtype::CNAME);
        if keys.contains(&key) && owners.contains(&alias.target) && !owners.contains(&alias.public) {
            proposed.aliases.push(alias.clone());
            held.push(key);
        }
    }
    let own: BTreeSet<Name> = proposed.own.iter().chain(&published.own).cloned().collect();
    if !held.is_empty() {
        proposed.own = own.into_iter().collect();
    }
    sort(&mut proposed);
    held.sort();
    Verdict { set: proposed, held, pending }
}

/// The zone of `set` with the apex of `old`, made like it if need be.
fn zone_like<'a>(set: &'a mut RecordSet, old: &Zone) -> &'a mut Zone {
    let at = set.zones.iter().position(|zone| zone.apex == old.apex).unwrap_or_else(|| {
        set.zones.push(Zone { rrsets: Vec::new(), ..old.clone() });
        set.zones.len() - 1
    });
    &mut set.zones[at]
}

fn sort(set: &mut RecordSet) {
    set.zones.sort_by(|a, b| a.apex.cmp(&b.apex));
    for zone in &mut set.zones {
        zone.rrsets.sort_by(|a, b| (&a.owner, a.rtype).cmp(&(&b.owner, b.rtype)));
    }
    set.aliases.sort();
}
