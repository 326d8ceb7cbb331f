//! The answers of the sync as pages for a terminal.

use std::fmt::Write as _;

use super::text;
use crate::admin::view::sync::{GenerationRow, SyncDiff, SyncDone, SyncSourceRow, SyncStatus};

pub(super) fn status(status: &SyncStatus) -> String {
    let mut page = String::new();
    let generation = match status.generation {
        0 => "none yet".to_owned(),
        number => format!("{number}, published {} ago", text::age(status.created_at)),
    };
    let pinned = match (status.pinned_to, status.pinned_at) {
        (Some(to), Some(at)) => {
            format!("rolled back to {to}, {} ago; `hubdns sync accept` ends it", text::age(at))
        }
        _ => "no".to_owned(),
    };
    let saved = status.not_saved.as_ref().map_or_else(|| "yes".to_owned(), |why| format!("no: {why}"));
    let rows = [
        ("generation", generation),
        ("pinned", pinned),
        ("state directory", status.state_dir.clone()),
        ("saved", saved),
    ];
    for (key, value) in rows {
        let _ = writeln!(page, "{key:16} {}", text::plain(&value));
    }
    page.push('\n');
    let sources: Vec<_> = status.sources.iter().map(source).collect();
    page.push_str(&text::table(["SOURCE", "KIND", "READ", "STATE"], &sources));
    let listings: Vec<_> = status.sources.iter().flat_map(listings).collect();
    if !listings.is_empty() {
        page.push('\n');
        page.push_str(&text::table(["LISTING", "SOURCE", "READ", "FACTS", "STATE"], &listings));
    }
    if !status.removals.is_empty() {
        page.push('\n');
        let removals: Vec<_> = status
            .removals
            .iter()
            .map(|row| {
                [
                    text::plain(&row.name),
                    text::plain(&row.rtype),
                    text::plain(&row.state),
                    text::age(row.since),
                    text::plain(&row.why),
                ]
            })
            .collect();
        page.push_str(&text::table(["REMOVAL", "TYPE", "STATE", "SINCE", "WHY"], &removals));
    }
    page
}

fn source(source: &SyncSourceRow) -> [String; 4] {
    let state = match &source.error {
        Some(error) => text::plain(error),
        None if source.pending => "the first reading still runs".to_owned(),
        None => "ok".to_owned(),
    };
    [text::plain(&source.name), text::plain(&source.kind), read(source.last_success_at), state]
}

fn listings(source: &SyncSourceRow) -> Vec<[String; 5]> {
    let row = |listing: &crate::admin::view::sync::SyncListingRow| {
        let state = match (&listing.error, &listing.missing_permission) {
            (_, Some(permission)) => format!("lacks {}", text::plain(permission)),
            (Some(error), None) => text::plain(error),
            (None, None) => "ok".to_owned(),
        };
        let scope = text::plain(&listing.scope);
        [scope, text::plain(&source.name), read(listing.read_at), listing.facts.to_string(), state]
    };
    source.listings.iter().map(row).collect()
}

fn read(at: Option<u64>) -> String {
    at.map_or_else(|| "never".to_owned(), |at| format!("{} ago", text::age(at)))
}

/// One record a line, as `diff` and `grep` like it.
pub(super) fn diff(diff: &SyncDiff) -> String {
    if diff.changes.is_empty() {
        return format!("generation {}: nothing waits\n", diff.generation);
    }
    let mut lines = Vec::new();
    for change in &diff.changes {
        let served = change.served.join(", ");
        let wanted = change.wanted.join(", ");
        let [old, new] = change.ttl;
        let data = match change.change.as_str() {
            "+" => wanted,
            "-" => served,
            _ if served == wanted && old != new => format!("{served} (TTL {old} -> {new})"),
            _ => format!("{served} -> {wanted}"),
        };
        let since = if change.since == 0 { "-".to_owned() } else { text::age(change.since) };
        lines.push([
            text::plain(&change.change),
            text::plain(&change.name),
            text::plain(&change.rtype),
            text::plain(&data),
            since,
            text::plain(&change.why),
        ]);
    }
    text::table(["", "NAME", "TYPE", "DATA", "SINCE", "WHY"], &lines)
}

pub(super) fn history(rows: &[GenerationRow]) -> String {
    let lines: Vec<_> = rows
        .iter()
        .map(|row| {
            let created = if row.created_at == 0 {
                "-".to_owned()
            } else {
                format!("{} ago", text::age(row.created_at))
            };
            let state = match &row.problem {
                Some(problem) => text::plain(problem),
                None if row.served => "whole, served".to_owned(),
                None => "whole".to_owned(),
            };
            [
                row.generation.to_string(),
                created,
                row.rrsets.to_string(),
                row.aliases.to_string(),
                row.bytes.to_string(),
                text::plain(&row.origin),
                state,
            ]
        })
        .collect();
    text::table(["GENERATION", "PUBLISHED", "RRSETS", "ALIASES", "BYTES", "BY", "STATE"], &lines)
}

pub(super) fn decided(verb: &str, done: &SyncDone) -> String {
    let noun = if done.removals == 1 { "removal" } else { "removals" };
    self::done(&format!("{} {noun} {verb}", done.removals), done)
}

pub(super) fn done(head: &str, done: &SyncDone) -> String {
    let mut page = format!("{head}\n");
    let is = if done.changed { "is published" } else { "stays" };
    let _ = writeln!(page, "generation {} {is}", done.generation);
    for (count, what) in [(done.held_back, "held back"), (done.pending, "pending")] {
        if count > 0 {
            let noun = if count == 1 { "removal" } else { "removals" };
            let _ = writeln!(page, "{count} {noun} {what}: see `hubdns sync status`");
        }
    }
    for note in &done.notes {
        let _ = writeln!(page, "note: {}", text::plain(note));
    }
    page
}
