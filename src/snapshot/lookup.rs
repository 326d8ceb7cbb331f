//! Reading a record set without an index: published sets are sorted, so that
//! names are found by binary search and two sets are compared in one pass.
//!
//! Everything here that needs the order says so when it is not there; the
//! caller then builds the whole snapshot.

use std::cmp::Ordering;
use std::sync::Arc;

use super::model::{Alias, RecordSet, Zone};
use crate::wire::Rtype;

/// The owner names, aliases and names of registries of which anything differs
/// between two sets, some twice; `None` if they differ in more than names, are
/// not sorted, or differ in more than `limit` places.
pub(super) fn diff<'a>(before: &'a RecordSet, after: &'a RecordSet, limit: usize) -> Option<Vec<&'a [u8]>> {
    if before.views != after.views || before.zones.len() != after.zones.len() {
        return None;
    }
    let mut changes = Vec::new();
    for (old, new) in before.zones.iter().zip(&after.zones) {
        let same = old.apex == new.apex
            && old.policy == new.policy
            && old.soa.ttl == new.soa.ttl
            && old.soa.minimum == new.soa.minimum;
        if !same {
            return None;
        }
        if old.soa != new.soa {
            changes.push(new.apex.as_wire());
        }
        for (told, (old, new)) in old.rrsets.diff(&new.rrsets).enumerate() {
            if told >= limit {
                return None;
            }
            let either = new.as_ref().or(old.as_ref())?;
            if either.rtype == Rtype::DNAME || either.rtype == Rtype::NS {
                // A cut, perhaps: what lies below changes too.
                return None;
            }
            changes.push(either.owner.as_wire());
        }
    }
    if !before.aliases.is_sorted() || !after.aliases.is_sorted() {
        return None;
    }
    for (told, (old, new)) in before.aliases.diff(&after.aliases).enumerate() {
        if told >= limit {
            return None;
        }
        changes.push(new.or(old)?.public.as_wire());
    }
    if !Arc::ptr_eq(&before.own, &after.own) {
        compare_sorted(&before.own, &after.own, limit, Ord::cmp, |old, new| {
            changes.push(new.or(old)?.as_wire());
            Some(())
        })?;
    }
    (changes.len() <= limit).then_some(changes)
}

/// Tells what two lists in strict order have apart; `None` if they are not in
/// order, if more than `limit` differ, or if `tell` wants no more.
fn compare_sorted<'a, T: PartialEq>(
    before: &'a [T],
    after: &'a [T],
    limit: usize,
    compare: impl Fn(&T, &T) -> Ordering,
    mut tell: impl FnMut(Option<&'a T>, Option<&'a T>) -> Option<()>,
) -> Option<()> {
    let (mut old, mut new) = (before, after);
    let mut told = 0;
    let ordered = |list: &[T]| match list {
        [first, second, ..] => compare(first, second) == Ordering::Less,
        _ => true,
    };
    loop {
        let order = match (old.first(), new.first()) {
            (None, None) => return Some(()),
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(a), Some(b)) if a == b => {
                // Equal neighbors need one comparison of order for both lists.
                if !ordered(new) {
                    return None;
                }
                (old, new) = (old.get(1..)?, new.get(1..)?);
                continue;
            }
            (Some(a), Some(b)) => compare(a, b),
        };
        let taken_old = if order == Ordering::Greater { None } else { old.first() };
        let taken_new = if order == Ordering::Less { None } else { new.first() };
        if !ordered(old) || !ordered(new) {
            return None;
        }
        told += 1;
        if told > limit {
            return None;
        }
        tell(taken_old, taken_new)?;
        old = old.get(usize::from(taken_old.is_some())..)?;
        new = new.get(usize::from(taken_new.is_some())..)?;
    }
}

/// Whether the zone holds records of `owner`.
pub(super) fn holds(zone: &Zone, owner: &[u8]) -> bool {
    zone.rrsets.at(owner).any(|rrset| !rrset.rdatas.is_empty() && rrset.rtype != Rtype::SOA)
}

/// The alias of that public name in a sorted set.
pub(super) fn alias<'a>(set: &'a RecordSet, public: &[u8]) -> Option<&'a Alias> {
    set.aliases.get(public)
}

/// Whether a sorted set names `login` as a registry of ours.
pub(super) fn is_own(set: &RecordSet, login: &[u8]) -> bool {
    set.own.binary_search_by(|name| name.as_wire().cmp(login)).is_ok()
}
