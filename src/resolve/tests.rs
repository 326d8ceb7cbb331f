//! Replays: scripts of clients, upstreams and times, which go the whole way
//! from query to response on a clock that the script sets.
//!
//! ```text
//! ask ─▶ Resolver ─▶ engine, driven pass by pass ─▶ scripted upstreams (loopback)
//! gets ◀─ client        clock: at(2400)              sees, answer ◀─┘
//! ```
//!
//! Nothing here sleeps or runs beside the script but the connections of TCP,
//! whose responses are awaited: days pass in a moment, and each run is the same.
//! The settings are those of a configuration that names upstreams and nothing
//! else, so that what the replays show is what the defaults do.

mod budget;
mod cache;
mod coalescing;
mod health;
mod hostile;
mod lines;
mod losses;
mod policies;
mod renewal;
mod replay;
mod stale;
mod streams;
mod text;
mod upstream;
mod upstreams;
mod ways;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use crate::config::{self, Config};
use crate::forward::Settings;
use crate::forward::policy::Policy;
use crate::wire::Rtype;

/// The default settings with one group of upstreams per list; the first is the
/// default group, the one called `fallback` that for others' registries, and the
/// one called `tcp` is asked over TCP alone.
fn settings(groups: &[(&str, Vec<SocketAddr>)]) -> Settings {
    let mut text = String::new();
    for (name, addresses) in groups {
        assert!(addresses.iter().all(|address| address.ip().is_loopback()));
        let scheme = if *name == "tcp" { "tcp://" } else { "" };
        let addresses: Vec<String> = addresses.iter().map(|address| format!("{scheme}{address}")).collect();
        writeln!(text, "[[upstreams]]\nname = {name:?}\naddresses = {addresses:?}").unwrap();
    }
    writeln!(text, "[forward]\ndefault = {:?}", groups[0].0).unwrap();
    if groups.iter().any(|(name, _)| *name == "fallback") {
        writeln!(text, "fallback = \"fallback\"").unwrap();
    }
    let config = Config::parse(&text, "replay.toml", Path::new("/")).unwrap();
    Settings { resolv_conf: "/nonexistent/resolv.conf".into(), ..Settings::new(&config, Vec::new()) }
}

/// Each upstream may be sent so many queries in any second, and so many at a
/// time; 0 for no limit.
fn limit(settings: &mut Settings, rate: u32, in_flight: u32) {
    let limit = |value: u32| Some(value).filter(|value| *value > 0);
    for group in &settings.forward.groups {
        let config::Upstreams::Servers(servers) = &group.upstreams else { continue };
        let budgets = servers.iter().filter(|server| server.address.ip().is_loopback()).map(|server| {
            let (address, rate, in_flight) = (server.address, limit(rate), limit(in_flight));
            config::UpstreamBudget { address, rate, in_flight }
        });
        settings.forward.governor.budgets.extend(budgets);
    }
}

/// The first group is asked by this policy.
fn by(settings: &mut Settings, policy: Policy) {
    let name = settings.forward.groups[0].name.clone();
    settings.forward.governor.policies = vec![(name, policy)];
}

/// RDATA in wire form.
fn rdata(rtype: Rtype, text: &str) -> Box<[u8]> {
    config::rdata_from_text(rtype, text).unwrap_or_else(|| panic!("{rtype} {text}"))
}
