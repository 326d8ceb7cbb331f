//! Forward rules, deadlines, the response cache.

use std::path::Path;

use crate::config::error::Report;
use crate::config::file::{CacheTable, ConfigFile};
use crate::config::schema::quote;
use crate::config::{Cache, Forward, ForwardRule, Names, Streams};
use crate::wire::Name;

use super::upstreams::Groups;
use super::{milliseconds, ordered};

pub(super) fn forward(file: &ConfigFile, names: &Names, base_dir: &Path, report: &mut Report) -> Forward {
    let mut groups = Groups::read(file, base_dir, report);
    let table = &file.forward;
    let default = groups.index("forward.default", &table.default, report);
    let mut rules = vec![ForwardRule { suffix: Name::root(), group: default }];
    for (i, rule) in table.rules.iter().enumerate() {
        let key = format!("forward.rules[{i}]");
        let group = groups.index(&format!("{key}.upstream"), &rule.upstream, report);
        check_suffix(&format!("{key}.suffix"), &rule.suffix, file, names, report);
        if let Some(other) = table.rules.iter().take(i).position(|other| other.suffix == rule.suffix) {
            let expected = format!("a suffix other than that of forward.rules[{other}]");
            report.add(&format!("{key}.suffix"), &rule.suffix, expected);
        }
        rules.push(ForwardRule { suffix: rule.suffix.clone(), group });
    }
    let fallback =
        (!table.fallback.is_empty()).then(|| groups.index("forward.fallback", &table.fallback, report));
    if let Some(fallback) = fallback
        && rules.iter().all(|rule| rule.group == fallback)
    {
        let expected = "a group that some names do not go to anyway";
        report.add("forward.fallback", quote(&table.fallback), expected);
    }

    let client = ("forward.client_deadline_milliseconds", table.client_deadline_milliseconds.into());
    let exchange = ("forward.exchange_deadline_milliseconds", table.exchange_deadline_milliseconds.into());
    let resend = ("forward.resend_milliseconds", table.resend_milliseconds.into());
    ordered(report, resend, client, false);
    ordered(report, client, exchange, true);
    let streams = &table.streams;
    // A connection that fails must leave time for another upstream.
    let connect = ("forward.streams.connect_milliseconds", streams.connect_milliseconds.into());
    ordered(report, connect, client, false);
    let streams = Streams {
        connect: milliseconds(streams.connect_milliseconds),
        idle: milliseconds(streams.idle_milliseconds),
        max_connections: streams.max_connections,
        max_in_flight: streams.max_in_flight,
    };
    Forward {
        groups: groups.groups,
        rules,
        fallback,
        client_deadline: milliseconds(table.client_deadline_milliseconds),
        stale_after: milliseconds(table.stale_milliseconds),
        resend_after: milliseconds(table.resend_milliseconds),
        exchange_deadline: milliseconds(table.exchange_deadline_milliseconds),
        max_in_flight: table.max_in_flight,
        max_waiters: table.max_waiters,
        max_waiters_per_client: table.max_waiters_per_client,
        udp_bytes: table.udp.max_bytes,
        streams,
        governor: super::governor::governor(file, report),
    }
}

/// Reports a suffix for which nothing would ever be forwarded.
fn check_suffix(key: &str, suffix: &Name, file: &ConfigFile, names: &Names, report: &mut Report) {
    if suffix.is_root() {
        report.add(key, "the root", "forward.default in the place of a rule for all names");
    } else if suffix.labels().any(|label| label == b"*") {
        report.add(key, suffix, "a suffix without \"*\": it covers all names below it anyway");
    } else if let Some(apex) = names.special.apexes().iter().find(|apex| suffix.is_at_or_below(apex)) {
        let expected = format!("names that are forwarded: names.special answers {apex} here");
        report.add(key, suffix, expected);
    }
    // The root stands for a name that could not be read and was reported already.
    let closed = |zone: &Name| !zone.is_root() && suffix.is_at_or_below(zone);
    let zone_file = file.sources.zone_file.iter().position(|zone| !zone.fall_through && closed(&zone.zone));
    if let Some(i) = zone_file {
        let expected = format!("names that are forwarded: sources.zone_file[{i}] has no fall_through");
        report.add(key, suffix, expected);
    }
}

/// Smallest response cache that is worth having.
const MIN_CACHE_BYTES: u64 = 65_536;

pub(super) fn cache(table: &CacheTable, report: &mut Report) -> Cache {
    if (1..MIN_CACHE_BYTES).contains(&table.max_bytes) {
        report.add("cache.max_bytes", table.max_bytes, format!("0 for none, or at least {MIN_CACHE_BYTES}"));
    }
    let ttl = &table.ttl;
    ordered(
        report,
        ("cache.ttl.min_seconds", ttl.min_seconds.into()),
        ("cache.ttl.max_seconds", ttl.max_seconds.into()),
        true,
    );
    Cache {
        max_bytes: table.max_bytes,
        min_ttl: ttl.min_seconds,
        max_ttl: ttl.max_seconds,
        max_negative_ttl: ttl.max_negative_seconds,
        servfail_ttl: ttl.servfail_seconds,
        max_stale: table.stale.max_seconds,
        stale_ttl: table.stale.ttl_seconds,
        stale_recheck: table.stale.recheck_seconds,
        max_renewals: table.max_renewals,
        save: table.save,
    }
}
