//! Looks up the names of Resource Manager and Entra without asking hubdns
//! itself: on a host whose only resolver is hubdns, a sync that needs the
//! sync's own server would never begin.
//!
//! Which servers are asked: those of the configuration; else the host's, if
//! none of them is hubdns; else the upstreams that hubdns itself forwards to.
//! The host's search list is left out (an NXDOMAIN would be asked again below
//! the host's own domain), its hosts file counts. Addresses that were good are
//! kept for the time when no server answers. Within the daemon all that is sent
//! draws on the budgets of the servers ([`budgeted`]); commands ask a handful.

pub mod budgeted;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::Resolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
    ServerOrderingStrategy,
};
use hickory_resolver::proto::rr::Name as DnsName;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::http::HttpError;
use crate::forward::system;
use budgeted::{Budgets, Connections};

/// One server is given this long before the next is asked.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Names whose addresses are remembered; Azure has few.
const MAX_REMEMBERED: usize = 64;

/// A resolver with servers of its own. Cheap to clone; clones share the memory.
#[derive(Clone)]
pub struct Bootstrap {
    servers: Vec<SocketAddr>,
    resolver: Resolver<Connections>,
    last_good: Arc<Mutex<HashMap<String, Vec<IpAddr>>>>,
}

impl std::fmt::Debug for Bootstrap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bootstrap").field("servers", &self.servers).finish_non_exhaustive()
    }
}

impl Bootstrap {
    /// The resolver of a source that names `configured` servers, on a host
    /// where hubdns answers on `own` and forwards to `upstreams`; it draws on
    /// `budgets`, if there are any.
    ///
    /// # Errors
    /// [`HttpError::Setup`].
    pub fn for_source(
        configured: &[SocketAddr],
        upstreams: &[SocketAddr],
        own: &[SocketAddr],
        budgets: Option<Arc<dyn Budgets>>,
    ) -> Result<Self, HttpError> {
        Self::within(choose(configured, upstreams, own, Path::new(system::RESOLV_CONF)), budgets)
    }

    /// A resolver that asks `servers` in this order, without budgets.
    ///
    /// # Errors
    /// [`HttpError::Setup`].
    pub fn new(servers: Vec<SocketAddr>) -> Result<Self, HttpError> {
        Self::within(servers, None)
    }

    /// A resolver that asks `servers` in this order, and draws on `budgets`.
    ///
    /// # Errors
    /// [`HttpError::Setup`].
    pub fn within(servers: Vec<SocketAddr>, budgets: Option<Arc<dyn Budgets>>) -> Result<Self, HttpError> {
        // Without servers the hosts file still counts, and addresses and proxies need no look-up.
        let mut resolver = Resolver::builder_with_config(
            ResolverConfig::from_name_servers(servers.iter().map(|server| name_server(*server)).collect()),
            Connections::within(budgets),
        );
        let options = resolver.options_mut();
        options.timeout = TIMEOUT;
        options.attempts = 2;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.use_hosts_file = ResolveHosts::Always;
        options.try_tcp_on_error = true;
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        let resolver = resolver
            .build()
            .map_err(|error| HttpError::Setup(format!("the resolver of Azure's names: {error}")))?;
        Ok(Self { servers, resolver, last_good: Arc::default() })
    }

    /// The servers that are asked.
    pub fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// The addresses of `host`, A before AAAA; those of the last time where
    /// no server answers.
    ///
    /// # Errors
    /// No address is known.
    pub async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        // RFC 6761 section 6.3: no server is asked for these.
        if host == "localhost" || host.ends_with(".localhost") {
            return Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        }
        match self.ask(&host).await {
            Ok(addresses) => {
                self.remember(host, &addresses);
                Ok(addresses)
            }
            Err(error) => {
                self.last_good.lock().unwrap_or_else(PoisonError::into_inner).get(&host).cloned().ok_or(error)
            }
        }
    }

    async fn ask(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let mut name = DnsName::from_ascii(host).map_err(io::Error::other)?;
        name.set_fqdn(true);
        let found = self.resolver.lookup_ip(name).await.map_err(io::Error::other)?;
        let addresses: Vec<IpAddr> = found.iter().collect();
        if addresses.is_empty() {
            return Err(io::Error::other(format!("{host} has no address")));
        }
        Ok(addresses)
    }

    fn remember(&self, host: String, addresses: &[IpAddr]) {
        let mut last_good = self.last_good.lock().unwrap_or_else(PoisonError::into_inner);
        if last_good.len() < MAX_REMEMBERED || last_good.contains_key(&host) {
            last_good.insert(host, addresses.to_vec());
        }
    }
}

impl Resolve for Bootstrap {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.lookup(name.as_str()).await?;
            // Port 0 stands for that of the URL.
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

/// The servers to ask: see the module's own text.
fn choose(
    configured: &[SocketAddr],
    upstreams: &[SocketAddr],
    own: &[SocketAddr],
    resolv_conf: &Path,
) -> Vec<SocketAddr> {
    if !configured.is_empty() {
        return configured.to_vec();
    }
    let host = system::read(resolv_conf, &[]).unwrap_or_default();
    let others: Vec<SocketAddr> =
        host.iter().copied().filter(|server| !system::is_own(*server, own)).collect();
    // One own address is enough: what the host asks first decides, and its
    // order is no order of trust.
    if others.is_empty() || (others.len() < host.len() && !upstreams.is_empty()) {
        return upstreams.iter().copied().filter(|server| !system::is_own(*server, own)).collect();
    }
    others
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(resolv_conf: &str, configured: &[&str], upstreams: &[&str], own: &[&str]) -> Vec<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), resolv_conf).unwrap();
        let parse = |list: &[&str]| -> Vec<SocketAddr> { list.iter().map(|a| a.parse().unwrap()).collect() };
        let chosen = choose(&parse(configured), &parse(upstreams), &parse(own), file.path());
        chosen.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn configured_servers_go_first() {
        let found = chosen("nameserver 192.0.2.1\n", &["192.0.2.9:5353"], &["192.0.2.7:53"], &[]);
        assert_eq!(found, ["192.0.2.9:5353"]);
    }

    #[test]
    fn the_hosts_servers_count_unless_one_is_hubdns() {
        let upstreams = &["192.0.2.7:53"];
        assert_eq!(chosen("nameserver 192.0.2.1\n", &[], upstreams, &["127.0.0.1:53"]), ["192.0.2.1:53"]);
        for own in ["127.0.0.53:53", "0.0.0.0:53", "[::]:53"] {
            let both = "nameserver 127.0.0.53\nnameserver 192.0.2.1\n";
            assert_eq!(chosen(both, &[], upstreams, &[own]), ["192.0.2.7:53"], "{own}");
            assert_eq!(chosen(both, &[], &[], &[own]), ["192.0.2.1:53"], "{own}");
        }
        assert_eq!(chosen("nameserver 127.0.0.53\n", &[], upstreams, &["0.0.0.0:5353"]), ["127.0.0.53:53"]);
    }

    #[test]
    fn nobody_is_asked_who_would_ask_us() {
        let found = chosen("nameserver 127.0.0.1\n", &[], &["127.0.0.1:53"], &["0.0.0.0:53"]);
        assert_eq!(found, Vec::<String>::new());
        // No file: the upstreams.
        let found = choose(&[], &["192.0.2.7:53".parse().unwrap()], &[], Path::new("/nonexistent"));
        assert_eq!(found.len(), 1);
    }

    #[tokio::test]
    async fn addresses_and_localhost_need_no_server() {
        let resolver = Bootstrap::new(Vec::new()).unwrap();
        assert_eq!(resolver.lookup("192.0.2.5").await.unwrap(), ["192.0.2.5".parse::<IpAddr>().unwrap()]);
        assert!(resolver.lookup("localhost").await.unwrap()[0].is_loopback());
        assert!(resolver.lookup("management.azure.invalid").await.is_err());
    }
}
