//! Conditional forwarders: what the DNS server in front of hubdns needs so that
//! it asks hubdns for the registries.
//!
//! The whole registry suffix (`azurecr.io`) goes to hubdns, and its private-link
//! zone by name too: an older forwarder on `privatelink.azurecr.io` would win
//! over the shorter suffix. Nobody may ask elsewhere when hubdns is slow, since
//! the public answer leaves the private path; and a validating server needs to
//! know that private zones carry no signatures.

mod infoblox;
mod knot_resolver;
mod powerdns;
mod servers;
mod windows;

use std::net::SocketAddr;

use super::text::{left_out, plain_name};
use super::{Document, Estate, ExportError};
use crate::sources::registry_name::private_zone;
use crate::wire::Name;

/// The servers in front of hubdns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Windows DNS, as a PowerShell script.
    Windows,
    /// BIND.
    Bind,
    /// Unbound.
    Unbound,
    /// dnsmasq.
    Dnsmasq,
    /// CoreDNS.
    CoreDns,
    /// Infoblox NIOS, as a shell script for its API.
    Infoblox,
    /// Knot Resolver from version 6 on (YAML).
    KnotResolver,
    /// Knot Resolver 5 (Lua).
    KnotResolver5,
    /// PowerDNS Recursor from version 5.1 on (YAML).
    PowerDns,
    /// PowerDNS Recursor 4.
    PowerDns4,
}

/// How Active Directory replicates a forwarder of Windows DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdScope {
    /// To all DNS servers of the forest.
    Forest,
    /// To all DNS servers of the domain.
    Domain,
}

/// What is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The addresses that the peer shall ask; none takes those that hubdns listens on.
    pub servers: Vec<SocketAddr>,
    /// Forward every configured registry suffix, not only those of held registries.
    pub all_suffixes: bool,
    /// Keep the forwarder of Windows DNS in Active Directory.
    pub ad: Option<AdScope>,
}

/// What every snippet is made of.
#[derive(Debug)]
struct Plan {
    /// The names to forward, plain, parents before what lies below them.
    names: Vec<String>,
    /// Those of them that lie below no other.
    tops: Vec<String>,
    servers: Vec<SocketAddr>,
}

/// The port of DNS, which needs not be written.
const DNS_PORT: u16 = 53;

/// The snippet for `peer`.
///
/// # Errors
/// No address is known, or the peer cannot ask its port.
pub fn forwarder(estate: &Estate, peer: Peer, options: &Options) -> Result<Document, ExportError> {
    let mut notes = Vec::new();
    let servers = servers(estate, options, &mut notes)?;
    let fixed_port = match peer {
        Peer::Windows => Some("Windows DNS"),
        Peer::Infoblox => Some("Infoblox"),
        _ => None,
    };
    if let Some(peer) = fixed_port
        && let Some(&server) = servers.iter().find(|server| server.port() != DNS_PORT)
    {
        return Err(ExportError::OtherPort { peer, server });
    }
    let plan = plan(estate, options, servers, &mut notes);
    let text = match peer {
        Peer::Windows => windows::script(&plan, options.ad),
        Peer::Bind => servers::bind(&plan),
        Peer::Unbound => servers::unbound(&plan),
        Peer::Dnsmasq => servers::dnsmasq(&plan),
        Peer::CoreDns => servers::coredns(&plan),
        Peer::Infoblox => infoblox::script(&plan),
        Peer::KnotResolver => knot_resolver::yaml(&plan),
        Peer::KnotResolver5 => knot_resolver::lua(&plan),
        Peer::PowerDns => powerdns::yaml(&plan),
        Peer::PowerDns4 => powerdns::conf(&plan),
    };
    Ok(Document { text, notes })
}

fn servers(
    estate: &Estate,
    options: &Options,
    notes: &mut Vec<String>,
) -> Result<Vec<SocketAddr>, ExportError> {
    if !options.servers.is_empty() {
        return Ok(options.servers.clone());
    }
    let known = estate.listen.iter().filter(|address| !address.ip().is_unspecified());
    let (loopback, reachable): (Vec<SocketAddr>, Vec<_>) =
        known.partition(|address| address.ip().to_canonical().is_loopback());
    match (reachable.is_empty(), loopback.is_empty()) {
        (false, _) => Ok(reachable),
        (true, false) => {
            notes.push("hubdns listens on loopback only: servers on other hosts cannot ask it".to_owned());
            Ok(loopback)
        }
        (true, true) => Err(ExportError::NoServer),
    }
}

fn plan(estate: &Estate, options: &Options, servers: Vec<SocketAddr>, notes: &mut Vec<String>) -> Plan {
    let is_held = |suffix: &&Name| {
        let mut names = estate.own.iter().chain(estate.aliases.keys());
        options.all_suffixes || names.any(|name| name.is_at_or_below(suffix))
    };
    let mut suffixes: Vec<&Name> = estate.suffixes.iter().filter(is_held).collect();
    if suffixes.is_empty() {
        suffixes = estate.suffixes.iter().collect();
    }
    let mut names: Vec<Name> = Vec::new();
    for suffix in suffixes {
        names.push(suffix.clone());
        names.extend(private_zone(suffix));
    }
    let is_of_registries = |zone: &Name| estate.suffixes.iter().any(|suffix| zone.is_at_or_below(suffix));
    let zones = estate.zones.iter().map(|zone| &zone.apex).chain(&estate.further_zones);
    let mut further: Vec<Name> = zones.filter(|zone| !is_of_registries(zone)).cloned().collect();
    further.sort_by_cached_key(|zone| (zone.label_count(), zone.clone()));
    further.dedup();
    names.extend(further);
    names.retain(|name| {
        let is_plain = plain_name(name).is_some();
        if !is_plain {
            notes.push(left_out(name));
        }
        is_plain
    });
    let is_top = |name: &&Name| !names.iter().any(|other| other != *name && name.is_at_or_below(other));
    Plan {
        tops: names.iter().filter(is_top).map(Name::to_string).collect(),
        names: names.iter().map(Name::to_string).collect(),
        servers,
    }
}

/// `address`, or `address` + `mark` + port where the port is another than 53.
fn with_port(server: &SocketAddr, mark: &str) -> String {
    match server.port() {
        DNS_PORT => server.ip().to_string(),
        port => format!("{}{mark}{port}", server.ip()),
    }
}

/// `address` or `address:port`, IPv6 in brackets where a port follows.
fn with_colon(server: &SocketAddr) -> String {
    if server.port() == DNS_PORT { server.ip().to_string() } else { server.to_string() }
}

/// `items`, each between `quote`s, with `separator`s between.
fn quoted<T: std::fmt::Display>(items: impl IntoIterator<Item = T>, quote: &str, separator: &str) -> String {
    let items = items.into_iter().map(|item| format!("{quote}{item}{quote}"));
    items.collect::<Vec<_>>().join(separator)
}
