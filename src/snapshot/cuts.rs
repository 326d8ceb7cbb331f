//! What of a zone's owners is its own data: what lies below a cut is not.

use std::collections::HashSet;

use super::model::{RrsetRef, Run, Zone};
use crate::wire::Rtype;
use crate::wire::name::{is_at_or_below, parent};

/// Owners below which a zone's own data ends: zone cuts and DNAMEs.
pub(super) fn cuts(zone: &Zone) -> HashSet<&[u8]> {
    let is_cut = |rrset: &RrsetRef<'_>| rrset.rtype == Rtype::DNAME || rrset.owner != zone.apex;
    zone.rrsets.cuts().filter(is_cut).map(|rrset| rrset.owner.as_wire()).collect()
}

/// Whether `name` lies below `apex`.
pub(super) fn is_below(name: &[u8], apex: &[u8]) -> bool {
    name.len() > apex.len() && is_at_or_below(name, apex)
}

/// Whether an owner of `run` lies in a zone of these apexes.
pub(super) fn has_any_of(run: Run<'_>, apexes: &[&[u8]]) -> bool {
    let mut at = 0;
    std::iter::from_fn(|| run.read(&mut at)).any(|rrset| {
        let owner = rrset.owner.as_wire();
        apexes.iter().any(|apex| owner.ends_with(apex) && is_at_or_below(owner, apex))
    })
}

/// Whether the records of `owner` are hidden by a cut above it, or are glue at the cut.
pub(super) fn is_occluded(owner: &[u8], cuts: &HashSet<&[u8]>) -> bool {
    if cuts.is_empty() {
        return false;
    }
    let mut up = owner;
    while let Some(above) = parent(up) {
        if cuts.contains(above) {
            return true;
        }
        up = above;
    }
    false
}
