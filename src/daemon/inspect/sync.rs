//! The sync laid open: sources with their listings, removals that wait, and
//! what the last reading wants.

use std::collections::BTreeMap;

use crate::admin::view::sync::{ChangeRow, RemovalRow, SyncDiff, SyncListingRow, SyncSourceRow, SyncStatus};
use crate::sources::facts::SourceKind;
use crate::sync::diff::{Change, Data, Reasons, Why, changes};
use crate::sync::guard::{ENOUGH_READINGS, Wait};
use crate::sync::{SourceStatus, State};
use crate::wire::rdata;

/// How the sync fares.
pub fn status(state: &State) -> SyncStatus {
    SyncStatus {
        generation: state.generation,
        created_at: state.created,
        pinned_to: state.pin.map(|pin| pin.to),
        pinned_at: state.pin.map(|pin| pin.at),
        state_dir: state.state_dir.display().to_string(),
        not_saved: state.not_saved.clone(),
        sources: state.sources.iter().map(source).collect(),
        removals: removals(state),
    }
}

/// What the last reading wants against what is served.
pub fn diff(state: &State) -> SyncDiff {
    let changes = if state.set == state.wanted {
        Vec::new()
    } else {
        changes(&state.set, &state.wanted, &reasons(state, true))
    };
    SyncDiff { generation: state.generation, changes: changes.iter().map(row).collect() }
}

/// What a cycle would make of `served`, and what it would not yet.
pub fn rehearsed(served: &State, state: &State) -> SyncDiff {
    let mut wanted = changes(&served.set, &state.wanted, &reasons(state, false));
    // What the cycle would not publish and what does not wait stands back.
    for blocked in changes(&state.set, &state.wanted, &reasons(state, true)) {
        let same = |change: &&mut Change| change.owner == blocked.owner && change.rtype == blocked.rtype;
        if let Some(change) = wanted.iter_mut().find(same) {
            change.why = blocked.why;
        }
    }
    SyncDiff { generation: served.generation, changes: wanted.iter().map(row).collect() }
}

fn reasons(state: &State, is_published: bool) -> Reasons<'_> {
    Reasons {
        waits: &state.waits,
        grace: state.grace,
        now: state.now,
        is_pinned: state.pin.is_some(),
        is_blocked: state.is_blocked,
        is_published,
    }
}

fn source(source: &SourceStatus) -> SyncSourceRow {
    let mut listings: BTreeMap<&str, SyncListingRow> = BTreeMap::new();
    for listing in &source.listings {
        let row = listings.entry(&listing.scope).or_default();
        (row.scope, row.read_at, row.facts) = (listing.scope.clone(), Some(listing.read_at), listing.facts);
    }
    for failure in &source.failures {
        let row = listings.entry(&failure.scope).or_default();
        row.scope.clone_from(&failure.scope);
        row.error = Some(failure.error.clone());
        row.missing_permission.clone_from(&failure.missing_permission);
    }
    SyncSourceRow {
        name: source.name.clone(),
        kind: match source.kind {
            SourceKind::Static => "static",
            SourceKind::ZoneFile => "zone-file",
            SourceKind::AzJson => "az-json",
            SourceKind::Azure => "azure",
        }
        .to_owned(),
        last_success_at: source.last_success,
        error: source.last_error.clone(),
        pending: source.is_pending,
        listings: listings.into_values().collect(),
    }
}

fn removals(state: &State) -> Vec<RemovalRow> {
    let row = |((name, rtype), wait): (&(crate::wire::Name, crate::wire::Rtype), &Wait)| RemovalRow {
        name: name.to_string(),
        rtype: rtype.to_string(),
        since: wait.first_seen,
        state: match wait.held {
            Some(_) if wait.rejected => "rejected",
            Some(_) => "held",
            None => "pending",
        }
        .to_owned(),
        why: removal_why(wait, state),
    };
    state.waits.removals.iter().map(row).collect()
}

fn removal_why(wait: &Wait, state: &State) -> String {
    let left = wait.since.saturating_add(state.grace).saturating_sub(state.now);
    match wait.held {
        Some(hold) => hold.to_string(),
        None if state.is_blocked => UNREAD.to_owned(),
        None if left > 0 => grace(left),
        None if wait.readings < ENOUGH_READINGS => READING.to_owned(),
        None => AT_ONCE.to_owned(),
    }
}

const UNREAD: &str = "waits until every source was read";
const READING: &str = "waits for another reading that says the same";
const AT_ONCE: &str = "with the next cycle";

fn grace(left: u64) -> String {
    format!("waits for its grace time, {left} s more")
}

fn row(change: &Change) -> ChangeRow {
    let text = |data: &Option<Data>| -> Vec<String> {
        let rdatas = data.iter().flat_map(|data| &data.rdatas);
        rdatas.map(|bytes| rdata::to_text(change.rtype, bytes)).collect()
    };
    let ttl = |data: &Option<Data>| data.as_ref().map_or(0, |data| data.ttl);
    ChangeRow {
        change: match (&change.old, &change.new) {
            (None, _) => "+",
            (Some(_), None) => "-",
            (Some(_), Some(_)) => "~",
        }
        .to_owned(),
        name: change.owner.to_string(),
        rtype: change.rtype.to_string(),
        served: text(&change.old),
        wanted: text(&change.new),
        ttl: [ttl(&change.old), ttl(&change.new)],
        since: change.since,
        why: match change.why {
            Why::AtOnce => AT_ONCE.to_owned(),
            Why::Pinned => "an operator rolled back".to_owned(),
            Why::Held(hold) => format!("held back: {hold}"),
            Why::Grace(left) => grace(left),
            Why::Reading => READING.to_owned(),
            Why::Unread => UNREAD.to_owned(),
            Why::InTheWay => "a record that waits stands at the name".to_owned(),
        },
    }
}
