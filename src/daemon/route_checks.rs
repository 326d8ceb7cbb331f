//! Starts the periodic route checks with what this daemon answers.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use crate::admin::path::NameKind;
use crate::config::{self, Config};
use crate::doctor::plan::{addresses, kind_of};
use crate::doctor::stream::ask_once;
use crate::forward::governor::Class;
use crate::forward::upstream::Upstream;
use crate::resolve::Resolver;
use crate::routes::check::Target;
use crate::routes::periodic::{Checker, Inputs, Results, Settings};
use crate::sources::registry_name::RegistryName;
use crate::sync::watch::Command;
use crate::sync::{State, Status};
use crate::wire::Rtype;

/// Starts them. When an address flips, `sync` runs a cycle.
pub(super) fn start(
    config: &Config,
    status: &Status,
    resolver: &Resolver,
    sync: Sender<Command>,
    results: &Results,
) -> io::Result<Checker> {
    let (status, resolver, suffixes) = (status.clone(), resolver.clone(), config.names.suffixes.clone());
    let metrics = Arc::clone(resolver.forwarder().metrics());
    let asking = resolver.clone();
    let inputs = Inputs {
        targets: Arc::new(move || targets(&status.get(), &suffixes)),
        upstreams: Arc::new(move || used(&resolver)),
        loops: Arc::new(move |upstream| metrics.upstream(upstream).loops()),
        may_ask: Arc::new(move |upstream| may_ask(&asking, upstream)),
        by_stream: Arc::new(|upstream, question, timeout| {
            Box::pin(ask_once(Upstream::new(upstream), question, timeout))
        }),
        // A sync that has ended needs no news.
        changed: Arc::new(move || drop(sync.send(Command::News))),
    };
    Checker::start(Settings::new(&config.routes), inputs, results.clone())
}

/// Every answered registry name with each of its addresses, and those of the
/// endpoints that were not chosen: they may be better tomorrow.
fn targets(state: &State, suffixes: &[crate::wire::Name]) -> Vec<Target> {
    let mut targets = Vec::new();
    for alias in &state.set.aliases {
        let Some(name) = RegistryName::from_public(&alias.public, suffixes) else { continue };
        let held = state.set.rrsets_at(&alias.target);
        let held = held.filter(|rrset| matches!(rrset.rtype, Rtype::A | Rtype::AAAA));
        let mut candidates: Vec<IpAddr> = Vec::new();
        for rrset in held {
            candidates.extend(addresses(&rrset.rdatas.to_vec()));
            candidates.extend(
                rrset.variants().flat_map(|(_, rdatas)| addresses(&rdatas.to_vec()).collect::<Vec<_>>()),
            );
        }
        let lost =
            state.provenance.entries_at(&alias.target).into_iter().flat_map(|entry| entry.alternatives);
        for lost in lost.filter(|lost| lost.reason.is_choice()) {
            candidates.extend(addresses(&lost.rdatas));
        }
        let is_api = kind_of(&name) != NameKind::Data;
        let name = alias.public.to_string();
        targets.extend(candidates.into_iter().map(|address| Target { name: name.clone(), is_api, address }));
    }
    targets
}

/// Takes one query out of the budget of `upstream`.
fn may_ask(resolver: &Resolver, upstream: &config::Upstream) -> bool {
    let (governor, now) = resolver.forwarder().governor();
    let address = upstream.address;
    governor.upstream(&upstream.to_string(), address).again(Class::Probe, None, now)
}

/// The upstreams that were asked since the start, with their groups.
fn used(resolver: &Resolver) -> Vec<(String, config::Upstream)> {
    let forwarder = resolver.forwarder();
    let tables = forwarder.tables().load();
    let groups = tables.rules.iter().map(|rule| &rule.group).chain(&tables.fallback);
    let mut all: Vec<(String, config::Upstream)> = Vec::new();
    for (group, upstream) in groups.flat_map(|group| group.upstreams.iter().map(|one| (&group.name, one))) {
        let counters = forwarder.metrics().upstream(upstream);
        let is_used = counters.sent() != (0, 0) || counters.sent_encrypted() != (0, 0);
        let row = (group.clone(), upstream.settings().clone());
        if is_used && !all.contains(&row) {
            all.push(row);
        }
    }
    all
}
