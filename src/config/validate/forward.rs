//! Upstream groups, forward rules, deadlines, the response cache.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::error::Report;
use crate::config::file::{CacheTable, ConfigFile, UpstreamTable};
use crate::config::schema::quote;
use crate::config::{Cache, Forward, ForwardRule, Names, UpstreamGroup, Upstreams};
use crate::wire::Name;

use super::server::{is_host, is_mapped, own_listener};
use super::{LABEL, is_label, milliseconds, not_empty, ordered, unique};

/// Azure DNS, inside every virtual network.
const AZURE_DNS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)), 53);

/// Groups that exist without being written.
const BUILT_IN: [&str; 2] = ["azure", "system"];

pub(super) fn forward(file: &ConfigFile, names: &Names, report: &mut Report) -> Forward {
    let mut groups = Groups::read(file, report);
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
    }
}

/// The groups of the file, and those of the built-in ones that something names.
struct Groups {
    groups: Vec<UpstreamGroup>,
}

impl Groups {
    fn read(file: &ConfigFile, report: &mut Report) -> Self {
        let mut groups = Vec::with_capacity(file.upstreams.len() + BUILT_IN.len());
        for (i, table) in file.upstreams.iter().enumerate() {
            let key = format!("upstreams[{i}].name");
            if !is_label(&table.name) {
                report.add(&key, quote(&table.name), LABEL);
            }
            if BUILT_IN.contains(&table.name.as_str()) {
                report.add(&key, quote(&table.name), "a name other than the built-in azure and system");
            }
            if let Some(other) = file.upstreams.iter().take(i).position(|other| other.name == table.name) {
                let expected = format!("a name other than that of upstreams[{other}]");
                report.add(&key, quote(&table.name), expected);
            }
            let addresses = addresses(i, table, &file.server.listen, report);
            groups
                .push(UpstreamGroup { name: table.name.clone(), upstreams: Upstreams::Addresses(addresses) });
        }
        Self { groups }
    }

    /// The index of the group `name`, which `key` names; 0 if there is none.
    fn index(&mut self, key: &str, name: &str, report: &mut Report) -> usize {
        if let Some(index) = self.groups.iter().position(|group| group.name == name) {
            return index;
        }
        let upstreams = match name {
            "azure" => Upstreams::Addresses(vec![AZURE_DNS]),
            "system" => Upstreams::System,
            _ => {
                let mut known: Vec<_> = BUILT_IN.to_vec();
                known.extend(self.groups.iter().map(|group| group.name.as_str()));
                known.retain(|name| is_label(name));
                known.dedup();
                report.add(key, quote(name), format!("the name of a group: {}", known.join(", ")));
                return 0;
            }
        };
        self.groups.push(UpstreamGroup { name: name.to_owned(), upstreams });
        self.groups.len() - 1
    }
}

fn addresses(
    group: usize,
    table: &UpstreamTable,
    listen: &[SocketAddr],
    report: &mut Report,
) -> Vec<SocketAddr> {
    let key = format!("upstreams[{group}].addresses");
    let addresses: Vec<_> = table.addresses.iter().map(|address| address.0).collect();
    not_empty(report, &key, &addresses);
    for (i, address) in addresses.iter().enumerate() {
        let key = format!("{key}[{i}]");
        if is_mapped(address.ip()) {
            report.add(&key, address, "an IPv4-mapped address written as IPv4");
        } else if address.ip().is_unspecified() || !is_host(address.ip()) {
            report.add(&key, address, "the address of one host");
        } else if address.port() == 0 {
            report.add(&key, address, "a port from 1 to 65535");
        } else if let Some(own) = own_listener(*address, listen) {
            let expected = format!("an address other than our own server.listen[{own}], which would loop");
            report.add(&key, address, expected);
        }
    }
    unique(report, &key, &addresses);
    addresses
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
