//! The zones that must exist besides those of the set: a registry of ours is
//! denied with the SOA of its private-link zone, though nothing is in it.

use std::sync::Arc;

use super::Snapshot;
use super::model::{AnswerOptions, RecordSet, Rrsets, Soa, Zone, ZonePolicy};
use crate::wire::Name;

/// Those of `set`.
pub(super) fn zones(set: &RecordSet, options: &AnswerOptions) -> Vec<Zone> {
    let mut lacking = lacking(set, options);
    let mut found = Vec::new();
    // All are looked for at once: the names lie anywhere in memory.
    for name in set.own.iter() {
        if lacking.is_empty() {
            break;
        }
        found.extend(lacking.extract_if(.., |(suffix, _)| is_below(name, suffix)));
    }
    for alias in &set.aliases {
        if lacking.is_empty() {
            break;
        }
        found.extend(lacking.extract_if(.., |(_, apex)| is_below(&alias.target, apex)));
    }
    make(&found, options)
}

/// Those of `after`, where `previous` is the snapshot of `before` and both have
/// the same zones: mostly nothing is looked at but what was added.
pub(super) fn zones_after(
    previous: &Snapshot,
    before: &RecordSet,
    after: &RecordSet,
    options: &AnswerOptions,
) -> Vec<Zone> {
    let mut added = Vec::new();
    let mut aliases = before.aliases.diff(&after.aliases);
    let only_adds = Arc::ptr_eq(&before.own, &after.own)
        && aliases.all(|(was, is)| {
            added.extend(is);
            was.is_none()
        });
    if !only_adds {
        return zones(after, options);
    }
    let mut lacking = lacking(after, options);
    lacking.retain(|(_, apex)| {
        let was_there = previous.zones.iter().any(|zone| zone.apex == *apex);
        was_there || added.iter().any(|alias| is_below(&alias.target, apex))
    });
    make(&lacking, options)
}

/// A registry suffix, and the private-link zone below it.
type Suffix<'a> = (&'a Name, Name);

/// The suffixes whose private-link zone the set lacks.
fn lacking<'a>(set: &RecordSet, options: &'a AnswerOptions) -> Vec<Suffix<'a>> {
    let apexes =
        options.suffixes.iter().filter_map(|suffix| Some((suffix, suffix.child(b"privatelink").ok()?)));
    apexes.filter(|(_, apex)| !set.zones.iter().any(|zone| zone.apex == *apex)).collect()
}

/// The zones of these suffixes, in the order of the options.
fn make(suffixes: &[Suffix<'_>], options: &AnswerOptions) -> Vec<Zone> {
    let zone = |suffix: &Name| {
        let (_, apex) = suffixes.iter().find(|(found, _)| *found == suffix)?;
        let (apex, soa, policy) = (apex.clone(), Soa::azure(), ZonePolicy::FallThrough);
        Some(Zone { apex, soa, policy, rrsets: Rrsets::default() })
    };
    options.suffixes.iter().filter_map(zone).collect()
}

/// Most names end otherwise: that is told before labels are.
fn is_below(name: &Name, top: &Name) -> bool {
    name.as_wire().ends_with(top.as_wire()) && name.is_at_or_below(top)
}
