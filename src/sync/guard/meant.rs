//! Which removals an operator has made by the configuration.

use super::{Circumstances, Side};
use crate::snapshot::model::RecordSet;
use crate::sources::facts::SourceKind;
use crate::sync::provenance::{Provenance, Reason};

use super::Key;

/// Whether the configuration took `key` away, not a reading.
pub(super) fn is_meant(
    key: &Key,
    published: &Side<'_>,
    proposed: &Provenance,
    circumstances: &Circumstances<'_>,
) -> bool {
    let (owner, rtype) = key;
    if circumstances.dropped.iter().any(|apex| owner.is_at_or_below(apex)) {
        return true;
    }
    let Some(winner) = published.winner(key) else { return false };
    let Some(listing) = published.provenance.listing(&winner) else { return false };
    let by_source = !circumstances.sources.contains(&listing.id.source.as_str())
        || match listing.kind {
            SourceKind::Static => true,
            SourceKind::ZoneFile | SourceKind::AzJson => circumstances.reloaded,
            SourceKind::Azure => false,
        };
    if by_source {
        return true;
    }
    let by_scope = |entry: &crate::sync::provenance::Entry| {
        entry.alternatives.iter().any(|lost| {
            lost.sighting.origin == winner.origin
                && matches!(lost.reason, Reason::OutOfScope | Reason::OutsideAllowedPrefixes)
        })
    };
    if !circumstances.rescoped {
        return false;
    }
    let own = proposed.entry(owner, *rtype).as_ref().is_some_and(by_scope);
    // An alias has no alternatives of its own: those of its target tell.
    let target = target_of(published.set, key);
    own || target.is_some_and(|target| proposed.entries_at(target).iter().any(by_scope))
}

/// What the public alias `key` leads to.
fn target_of<'a>(set: &'a RecordSet, key: &Key) -> Option<&'a crate::wire::Name> {
    if key.1 != crate::wire::Rtype::CNAME {
        return None;
    }
    set.aliases.get(key.0.as_wire()).map(|alias| &alias.target)
}
