//! Whole zone files: what nobody else speaks for passes as it is, in the
//! chunks that it was read into. Owners that need a decision take the way of
//! all other facts.

use std::collections::BTreeSet;

use super::claims::Claim;
use super::estate::{Estate, Seen};
use crate::snapshot::model::{Rrset, Rrsets};
use crate::sources::facts::{Fact, RrsetFact, SourceKind, What};
use crate::sources::records::RecordsFact;
use crate::sources::registry_name::RegistryName;
use crate::sync::policy::Policy;
use crate::wire::{Name, Rtype};

/// Owners that somebody besides one zone file speaks for, or that may not
/// stand as they are.
pub(super) fn rivals(estate: &Estate<'_>, claims: &[Claim], policy: &Policy) -> BTreeSet<Name> {
    let mut rivals = BTreeSet::new();
    if estate.records.is_empty() {
        return rivals;
    }
    for claim in claims {
        rivals.extend([claim.name.public.clone(), claim.name.private_link.clone()]);
    }
    for seen in &estate.rrsets {
        rivals.insert(seen.what.owner.clone());
        if seen.kind == SourceKind::Static {
            // An entry vouches for the public name too.
            let name = RegistryName::from_private_link(&seen.what.owner, &policy.suffixes);
            rivals.extend(name.map(|name| name.public));
        }
    }
    for (index, seen) in estate.records.iter().enumerate() {
        let records = seen.what;
        rivals.extend(records.rrsets.owners_with_company().map(crate::snapshot::model::WireName::to_name));
        let apex = records.apex();
        if records.rrsets.get(apex.as_wire(), Rtype::CNAME).is_some() {
            rivals.insert(apex.clone());
        }
        let later = estate.records.iter().skip(index + 1).map(|seen| seen.what);
        for other in later.filter(|other| meet(apex, other.apex())) {
            let (few, many) = if records.rrsets.len() < other.rrsets.len() {
                (&records.rrsets, &other.rrsets)
            } else {
                (&other.rrsets, &records.rrsets)
            };
            let both = few.iter().filter(|rrset| many.at(rrset.owner.as_wire()).next().is_some());
            rivals.extend(both.map(|rrset| rrset.owner.to_name()));
        }
        if policy.suffixes.iter().any(|suffix| meet(apex, suffix)) {
            rivals.extend(refused(&records.rrsets, policy));
        }
    }
    rivals
}

/// Whether one name is at or below the other.
fn meet(a: &Name, b: &Name) -> bool {
    a.is_at_or_below(b) || b.is_at_or_below(a)
}

/// Private-link names with an address that may not be served.
fn refused(rrsets: &Rrsets, policy: &Policy) -> Vec<Name> {
    let is_bad = |data: &[u8]| super::select::rdata_address(data).is_some_and(|a| !policy.allows(a));
    // Of a million addresses nearly all lie in chunks that are allowed as a whole.
    rrsets
        .addresses_beyond(|least, greatest| policy.allows_between(least, greatest))
        .filter(|rrset| rrset.rdatas.iter().any(is_bad))
        .map(|rrset| rrset.owner.to_name())
        .filter(|owner| policy.is_private_link(owner))
        .collect()
}

/// The facts of `rivals` in zone files, with their listing and kind.
pub(super) fn contested(estate: &Estate<'_>, rivals: &BTreeSet<Name>) -> Vec<(u32, SourceKind, Fact)> {
    let of = |seen: &Seen<'_, RecordsFact>| {
        let (listing, kind) = (seen.listing, seen.kind);
        let facts = rivals.iter().flat_map(|owner| seen.what.facts_at(owner.as_wire()));
        facts.map(|fact| (listing, kind, fact)).collect::<Vec<_>>()
    };
    estate.records.iter().flat_map(of).collect()
}

/// The same as they are seen.
pub(super) fn seen(facts: &[(u32, SourceKind, Fact)]) -> Vec<Seen<'_, RrsetFact>> {
    let rrsets = facts.iter().filter_map(|(listing, kind, fact)| match &fact.what {
        What::Rrset(what) => Some(Seen { listing: *listing, kind: *kind, origin: &fact.origin, what }),
        _ => None,
    });
    rrsets.collect()
}

/// The RRsets of the zone at `apex`: those of zone files that nobody contests,
/// and the winners.
pub(super) fn zone(
    apex: &Name,
    winners: Vec<Rrset>,
    estate: &Estate<'_>,
    rivals: &BTreeSet<Name>,
    policy: &Policy,
) -> Rrsets {
    let mut zones: Vec<&Rrsets> = Vec::new();
    zones.extend(estate.records.iter().filter(|seen| seen.what.apex() == apex).map(|seen| &seen.what.rrsets));
    zones.sort_by_key(|rrsets| std::cmp::Reverse(rrsets.len()));
    let Some((widest, others)) = zones.split_first() else { return winners.into() };
    let mut all = uncontested(widest, rivals, policy);
    for other in others {
        all.extend(uncontested(other, rivals, policy).iter().map(|rrset| rrset.to_rrset()));
    }
    all.extend(winners);
    all
}

fn uncontested(rrsets: &Rrsets, rivals: &BTreeSet<Name>, policy: &Policy) -> Rrsets {
    let held = rivals.iter().flat_map(|owner| rrsets.at(owner.as_wire()));
    let changes: Vec<_> = held.map(|rrset| ((rrset.owner.to_name(), rrset.rtype), None)).collect();
    let rest = if changes.is_empty() { rrsets.clone() } else { rrsets.patched(&changes) };
    rest.bounded(|ttl| policy.ttl(ttl))
}
