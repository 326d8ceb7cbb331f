//! `hubdns doctor`: walks the whole path of a pull and says which hop lies.
//!
//! ```text
//! records ▸ zone ▸ answer ▸ via ▸ route        what a client depends on
//!                    └─ upstream               what it would get without us
//! ```
//!
//! What must be true comes from inside ([`plan`]: the running daemon, or a
//! configuration or saved set offline); everything else is asked from outside,
//! as a client would. Every step is bounded in time, names run side by side
//! with a bound, and the report keeps their order. DNS questions are our own
//! ([`crate::routes::dns`] says why not hickory's), those over TLS and HTTPS the
//! forwarder's ([`crate::forward::streams`]), the way to an address is the
//! periodic checks' ([`crate::routes::check`]): what they see is the same.

mod answer;
mod forwarder;
pub mod plan;
mod records;
pub mod render;
pub mod report;
mod route;
pub(crate) mod stream;
mod upstream;
mod verdict;
mod via;
mod words;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;

use crate::admin::path::{NamePath, Paths, RegistryPath, UpstreamRow};
use crate::forward::upstream::Upstream;
use crate::metrics::process::VERSION;
use crate::routes::RouteProblem;
use crate::routes::tls::Trust;
use crate::wire::Name;
use report::{Hop, HopKind, NameReport, RegistryReport, Report, UpstreamReport};
use stream::Connections;

/// Names that are looked at a time, ...
const NAMES_AT_A_TIME: usize = 8;
/// ... and registries.
const REGISTRIES_AT_A_TIME: usize = 4;

/// What the operator wants.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// DNS servers in front of hubdns.
    pub via: Vec<SocketAddr>,
    /// Where hubdns answers, in place of the daemon's own listeners.
    pub servers: Vec<SocketAddr>,
    /// How long a DNS answer may take.
    pub timeout: Duration,
    /// How long a connection may take; the configuration's without one.
    pub connect_timeout: Option<Duration>,
    /// As whom the questions are asked, where that is not the service's user.
    pub asked_as: Option<String>,
}

/// Hears of each name that is done: how many are, of how many, and the name.
pub type Progress<'a> = &'a (dyn Fn(usize, usize, &str) + Sync);

/// Walks the ways.
pub async fn walk(paths: &Paths, options: &Options, progress: Progress<'_>) -> Report {
    let walker = Walker::new(paths, options);
    let total: usize = paths.registries.iter().map(|registry| registry.names.len()).sum();
    let done = std::sync::atomic::AtomicUsize::new(0);
    let step = |name: &str| {
        let count = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        progress(count, total, name);
    };
    progress(0, total, "");
    let upstreams = walker.upstreams();
    let registries =
        futures::stream::iter(paths.registries.iter().map(|registry| walker.registry(registry, &step)))
            .buffered(REGISTRIES_AT_A_TIME)
            .collect::<Vec<_>>();
    let (registries, upstreams) = tokio::join!(registries, upstreams);
    let worst = registries.iter().map(|registry| registry.state).chain(upstreams.iter().map(|up| up.state));
    Report {
        schema: 1,
        version: VERSION,
        generation: paths.generation,
        asked_as: options.asked_as.clone(),
        state: worst.max().unwrap_or_default(),
        registries,
        upstreams,
        left_out: paths.left_out,
    }
}

struct Walker<'a> {
    paths: &'a Paths,
    options: &'a Options,
    servers: Vec<SocketAddr>,
    trust: Result<Trust, RouteProblem>,
    connect_timeout: Duration,
    connections: Connections,
}

impl<'a> Walker<'a> {
    fn new(paths: &'a Paths, options: &'a Options) -> Self {
        let mut servers: Vec<SocketAddr> = if options.servers.is_empty() {
            paths.listen.iter().map(|listen| reachable(*listen)).collect()
        } else {
            options.servers.clone()
        };
        servers.dedup();
        let from_config = Duration::from_secs(paths.routes.timeout_seconds.max(1));
        Self {
            paths,
            options,
            servers,
            trust: Trust::load(paths.routes.ca_file.as_deref().map(Path::new)),
            connect_timeout: options.connect_timeout.unwrap_or(from_config),
            connections: Connections::new(rows(paths).filter_map(stream::upstream), options.timeout),
        }
    }

    async fn registry(&self, registry: &RegistryPath, step: &(dyn Fn(&str) + Sync)) -> RegistryReport {
        let names = registry.names.iter().map(|name| async move {
            let report = self.name(name, registry.ours).await;
            step(&name.name);
            report
        });
        let names = futures::stream::iter(names).buffered(NAMES_AT_A_TIME).collect::<Vec<_>>();
        let via = self.options.via.iter().map(|server| self.via(registry, *server));
        let (names, via) = tokio::join!(names, futures::future::join_all(via));
        let hops = names.iter().flat_map(|name| &name.hops).chain(&via);
        let state = hops.map(|hop| hop.state).max().unwrap_or_default();
        let (lies, verdict) = verdict::blame(&registry.login, registry.ours, &names, &via);
        let registry_name = registry.login.clone();
        RegistryReport { registry: registry_name, ours: registry.ours, state, lies, verdict, names, via }
    }

    async fn name(&self, name: &NamePath, ours: bool) -> NameReport {
        let mut hops = vec![records::records(name, ours), records::zone(name, ours)];
        let Ok(qname) = name.name.parse::<Name>() else {
            let state = hops.iter().map(|hop| hop.state).max().unwrap_or_default();
            return NameReport {
                name: name.name.clone(),
                kind: name.kind,
                addresses: Vec::new(),
                state,
                hops,
            };
        };
        let asked = self.upstreams_for(name, ours, &qname);
        let ((answers, seen), upstreams) = tokio::join!(self.answers(name, ours, &qname), asked);
        hops.extend(answers);
        hops.extend(self.routes(name, &seen).await);
        hops.extend(upstreams);
        let state = hops.iter().map(|hop| hop.state).max().unwrap_or_default();
        let addresses = name.addresses.clone();
        NameReport { name: name.name.clone(), kind: name.kind, addresses, state, hops }
    }

    /// What hubdns answers at each of its addresses; and the addresses that it gave.
    async fn answers(&self, name: &NamePath, ours: bool, qname: &Name) -> (Vec<Hop>, Vec<IpAddr>) {
        if self.servers.is_empty() {
            let text = "no daemon was asked; --server ADDRESS asks one";
            return (vec![Hop::skipped(HopKind::Answer, text)], Vec::new());
        }
        let expected = answer::Expected { name, ours, flat: self.paths.flat, closed: self.paths.closed };
        let asked =
            self.servers.iter().map(|server| answer::check(&expected, qname, *server, self.options.timeout));
        let asked = futures::future::join_all(asked).await;
        let (hops, seen): (Vec<Hop>, Vec<Vec<IpAddr>>) = asked.into_iter().unzip();
        (hops, seen.concat())
    }

    async fn routes(&self, name: &NamePath, seen: &[IpAddr]) -> Vec<Hop> {
        let views = name.views.iter().flat_map(|(_, addresses)| addresses);
        let mut addresses: BTreeSet<IpAddr> = name.addresses.iter().chain(views).copied().collect();
        if name.private_link.is_empty() {
            return vec![Hop::skipped(
                HopKind::Route,
                "no registry's name: nothing is known of what answers there",
            )];
        }
        if addresses.is_empty() {
            addresses.extend(seen);
        }
        if addresses.is_empty() {
            return vec![Hop::skipped(HopKind::Route, "no address to connect to")];
        }
        let checks = addresses.into_iter().map(|address| {
            route::check(name, address, &self.paths.routes, &self.trust, self.connect_timeout)
        });
        futures::future::join_all(checks).await
    }

    async fn upstreams_for(&self, name: &NamePath, ours: bool, qname: &Name) -> Vec<Hop> {
        if name.upstreams.is_empty() {
            return vec![Hop::skipped(HopKind::Upstream, "no upstream is configured for it")];
        }
        let asked = name
            .upstreams
            .iter()
            .map(|row| upstream::check(name, ours, qname, row, &self.connections, self.options.timeout));
        futures::future::join_all(asked).await
    }

    async fn via(&self, registry: &RegistryPath, server: SocketAddr) -> Hop {
        if !registry.ours {
            let text = "no registry of yours: nothing tells where it should lead";
            return Hop::skipped(HopKind::Via, text).about(server);
        }
        via::check(registry, server, self.servers.first().copied(), self.options.timeout).await
    }

    /// Every upstream once, whatever the name.
    async fn upstreams(&self) -> Vec<UpstreamReport> {
        let mut all: Vec<(&str, Arc<Upstream>)> = Vec::new();
        for row in rows(self.paths) {
            if let Some(upstream) = stream::upstream(row)
                && !all.iter().any(|(group, other)| *group == row.group && *other == upstream)
            {
                all.push((&row.group, upstream));
            }
        }
        all.sort_by_key(|(group, upstream)| (*group, upstream.address(), upstream.transport()));
        let asked = all.iter().map(|(group, upstream)| {
            upstream::whole(group, upstream, &self.connections, self.options.timeout)
        });
        futures::future::join_all(asked).await
    }
}

/// The upstreams of all names, many times over.
fn rows(paths: &Paths) -> impl Iterator<Item = &UpstreamRow> {
    let names = paths.registries.iter().flat_map(|registry| &registry.names);
    names.flat_map(|name| &name.upstreams)
}

/// Where a listener answers from this host: a wildcard does on loopback too.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(v4) if v4.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        other => other,
    };
    SocketAddr::new(ip, listen.port())
}
