//! Which removals no time confirms: those that look like an accident.

use std::collections::{BTreeMap, BTreeSet};

use super::{Circumstances, Hold, Key, Rules};
use crate::snapshot::model::RecordSet;
use crate::sources::registry_name::RegistryName;
use crate::wire::name::Labels;
use crate::wire::{Name, Rtype};

/// The removals that stay until an operator accepts them, with the reason;
/// registry by registry, since half a registry is no registry.
///
/// `published` is all that is served, `gone` what the readings lack of it,
/// `waiting` what of that, or of answers that a lower rank would change, the
/// configuration did not take away.
pub(super) fn suspicious(
    published: &RecordSet,
    gone: &BTreeSet<&Key>,
    waiting: &BTreeSet<&Key>,
    rules: &Rules,
    circumstances: &Circumstances<'_>,
) -> BTreeMap<Key, Hold> {
    let mut held = BTreeMap::new();
    let mut mark = |keys: &mut dyn Iterator<Item = &Key>, why: Hold| {
        for key in keys {
            held.entry(key.clone()).or_insert(why);
        }
    };
    if waiting.len() * 100 > rules.max_removed_percent * super::size(published) {
        mark(&mut waiting.iter().copied(), Hold::Share);
    }
    let emptied = emptied(published, gone, circumstances.suffixes);
    let of_emptied =
        |key: &&&Key| login(&key.0, circumstances.suffixes).is_some_and(|l| emptied.contains(&l));
    mark(&mut waiting.iter().filter(of_emptied).copied(), Hold::Emptied);
    let asked = asked_groups(waiting, rules, circumstances);
    let of_asked = |key: &&&Key| asked.contains(&group(&key.0, circumstances.suffixes));
    mark(&mut waiting.iter().filter(of_asked).copied(), Hold::Asked);
    held
}

/// The login name of the registry that a name belongs to.
pub(in crate::sync) fn login(name: &Name, suffixes: &[Name]) -> Option<Name> {
    RegistryName::from_either(name, suffixes).map(|name| name.login)
}

/// What is decided together: a registry, else the name alone.
fn group(name: &Name, suffixes: &[Name]) -> Name {
    login(name, suffixes).unwrap_or_else(|| name.clone())
}

/// Registries that would have no public alias left, or no private-link
/// record, where they had some.
fn emptied(published: &RecordSet, gone: &BTreeSet<&Key>, suffixes: &[Name]) -> BTreeSet<Name> {
    if gone.is_empty() {
        return BTreeSet::new();
    }
    let form = |owner: &Name| {
        let name = RegistryName::from_either(owner, suffixes)?;
        Some((name.login, name.public == *owner))
    };
    // Only registries that lose something are counted: most do not.
    let losing: BTreeSet<(Name, bool)> = gone.iter().filter_map(|key| form(&key.0)).collect();
    if losing.is_empty() {
        return BTreeSet::new();
    }
    let mut left = losing;
    // Every name of a registry begins as its login name does: of a million names
    // all others are told by that, without being taken apart.
    let labels: BTreeSet<Vec<u8>> = left
        .iter()
        .filter_map(|(login, _)| Labels::new(login.as_wire()).next())
        .map(<[u8]>::to_vec)
        .collect();
    let may_be = |owner: &[u8]| Labels::new(owner).next().is_some_and(|label| labels.contains(label));
    let rrsets = published.rrsets().filter(|rrset| may_be(rrset.owner.as_wire()));
    let rrsets = rrsets.map(|rrset| (rrset.owner.to_name(), rrset.rtype));
    let aliases = published.aliases.iter().filter(|alias| may_be(alias.public.as_wire()));
    let aliases = aliases.map(|alias| (alias.public.clone(), Rtype::CNAME));
    for key in rrsets.chain(aliases) {
        if let Some(form) = form(&key.0).filter(|form| left.contains(form))
            && !gone.contains(&key)
        {
            left.remove(&form);
        }
    }
    left.into_iter().map(|(login, _)| login).collect()
}

/// The groups of which a name was asked for lately.
fn asked_groups(
    waiting: &BTreeSet<&Key>,
    rules: &Rules,
    circumstances: &Circumstances<'_>,
) -> BTreeSet<Name> {
    let recently = |name: &Name| {
        let asked = circumstances.asked.get(name);
        rules.asked_within > 0
            && asked.is_some_and(|at| circumstances.now.saturating_sub(*at) <= rules.asked_within)
    };
    let mut groups = BTreeSet::new();
    for (owner, _) in waiting {
        let name = RegistryName::from_either(owner, circumstances.suffixes);
        // Who asks for either form depends on the other.
        let either = name.as_ref().is_some_and(|name| recently(&name.public) || recently(&name.private_link));
        if either || recently(owner) {
            groups.insert(group(owner, circumstances.suffixes));
        }
    }
    groups
}
