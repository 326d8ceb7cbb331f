//! Which names are answered: clouds, further zones, registries of ours.

use crate::config::error::Report;
use crate::config::file::NamesTable;
use crate::config::{Names, Special};
use crate::wire::Name;

use super::{not_empty, ordered, unique};

pub(super) fn names(table: &NamesTable, report: &mut Report) -> Names {
    not_empty(report, "names.clouds", &table.clouds);
    let words: Vec<_> = table.clouds.iter().map(|cloud| format!("{:?}", cloud.word())).collect();
    unique(report, "names.clouds", &words);
    let suffixes: Vec<Name> =
        table.clouds.iter().map(|cloud| cloud.suffix().parse().expect("a constant name")).collect();

    let special = Special {
        localhost: table.special.localhost,
        invalid: table.special.invalid,
        onion: table.special.onion,
        resolver_arpa: table.special.resolver_arpa,
        private_reverse: table.special.private_reverse,
    };
    zones(table, &suffixes, &special, report);
    own_registries(table, &suffixes, report);
    ordered(
        report,
        ("names.ttl_floor_seconds", table.ttl_floor_seconds.into()),
        ("names.ttl_cap_seconds", table.ttl_cap_seconds.into()),
        true,
    );
    Names {
        suffixes,
        zones: table.zones.clone(),
        answer: table.answer,
        own_missing: table.own_missing,
        own_registries: table.own_registries.clone(),
        ttl_floor: table.ttl_floor_seconds,
        ttl_cap: table.ttl_cap_seconds,
        interface_ttl: table.interface_ttl_seconds,
        special,
    }
}

fn zones(table: &NamesTable, suffixes: &[Name], special: &Special, report: &mut Report) {
    unique(report, "names.zones", &table.zones);
    for (i, zone) in table.zones.iter().enumerate() {
        let key = format!("names.zones[{i}]");
        if let Some(suffix) = suffixes.iter().find(|suffix| suffix.is_at_or_below(zone)) {
            report.add(&key, zone, format!("a zone that does not cover all of {suffix}"));
        } else if suffixes.iter().any(|suffix| private_link(suffix) == *zone) {
            report.add(&key, zone, "a zone other than those that names.clouds brings");
        }
        check_apex(&key, zone, special, report);
    }
}

/// Reports an apex that cannot be a zone of ours.
pub(super) fn check_apex(key: &str, apex: &Name, special: &Special, report: &mut Report) {
    if apex.is_root() {
        report.add(key, "the root", "a zone below it");
    } else if apex.labels().any(|label| label == b"*") {
        report.add(key, apex, "a zone's apex, without \"*\"");
    } else if let Some(other) = special.apexes().iter().find(|other| apex.is_at_or_below(other)) {
        let expected = format!("a zone outside {other}, or that switched off under names.special");
        report.add(key, apex, expected);
    }
}

fn own_registries(table: &NamesTable, suffixes: &[Name], report: &mut Report) {
    unique(report, "names.own_registries", &table.own_registries);
    for (i, name) in table.own_registries.iter().enumerate() {
        let is_login =
            suffixes.iter().any(|suffix| matches!(place(name, suffix), Some(Place::Public { labels: 1 })));
        if !is_login {
            let expected = format!("a registry's login name, such as contoso.{}", first(suffixes));
            report.add(&format!("names.own_registries[{i}]"), name, expected);
        }
    }
}

fn first(suffixes: &[Name]) -> String {
    suffixes.first().map_or_else(|| "azurecr.io".to_owned(), ToString::to_string)
}

/// The private-link zone of a registry suffix.
pub(super) fn private_link(suffix: &Name) -> Name {
    suffix.child(b"privatelink").expect("a constant name")
}

/// Where a name lies among the names of registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A registry's endpoint by its public name: 1 label for login, 3 for data and regional ones.
    Public { labels: usize },
    /// In the private-link zone.
    PrivateLink,
    /// Below the suffix, and no name of a registry's endpoint.
    Other,
}

/// Places `name` below `suffix`; `None` if it lies elsewhere.
pub(super) fn place(name: &Name, suffix: &Name) -> Option<Place> {
    if name.is_at_or_below(&private_link(suffix)) {
        return Some(Place::PrivateLink);
    }
    name.strip_suffix(suffix)?;
    let labels: Vec<_> = name.labels().take(name.label_count() - suffix.label_count()).collect();
    let is_label = |label: &[u8]| {
        label.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') && !RESERVED.contains(&label)
    };
    Some(match labels[..] {
        [registry] if is_label(registry) => Place::Public { labels: 1 },
        [registry, region, b"data" | b"geo"] if is_label(registry) && is_label(region) => {
            Place::Public { labels: 3 }
        }
        _ => Place::Other,
    })
}

/// Labels below a registry suffix that name no registry.
const RESERVED: [&[u8]; 3] = [b"privatelink", b"data", b"geo"];

/// Whether names of others' registries lie in a zone with this apex: it covers
/// the suffix, or lies below it without a registry's label.
pub(super) fn holds_strangers(apex: &Name, suffix: &Name) -> bool {
    if suffix.is_at_or_below(apex) {
        return true;
    }
    let link = private_link(suffix);
    let suffix = if apex.is_at_or_below(&link) { &link } else { suffix };
    if !apex.is_at_or_below(suffix) {
        return false;
    }
    let labels: Vec<_> = apex.labels().take(apex.label_count() - suffix.label_count()).collect();
    matches!(labels[..], [] | [b"data" | b"geo"] | [_, b"data" | b"geo"])
}
