//! Private endpoints with their interfaces, and what they claim.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::Evidence;
use super::estate::{Estate, Interface, Seen};
use crate::sources::facts::{ConnectionState, EndpointFact, InterfaceFact};
use crate::sources::registry_name::RegistryName;
use crate::wire::Name;

/// An endpoint with its interfaces; either may be missing.
#[derive(Debug)]
pub(super) struct Connection<'a> {
    /// The endpoint's id, lower case; the interface's where none is told.
    pub(super) id: String,
    pub(super) addresses: Vec<Seen<'a, InterfaceFact>>,
    /// What it says, public names with the addresses and where that was seen.
    pub(super) claims: Vec<Claim<'a>>,
    /// The registry it leads to, where that is told.
    pub(super) registry: Option<&'a str>,
    pub(super) state: ConnectionState,
    pub(super) in_scope: bool,
}

/// One name of a registry that a connection shows.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    pub(super) name: RegistryName,
    pub(super) addresses: BTreeSet<IpAddr>,
    pub(super) origin: &'a str,
}

impl Connection<'_> {
    /// Whether its names must be found in DNS.
    pub(super) fn is_live(&self) -> bool {
        self.in_scope && self.state == ConnectionState::Approved
    }

    /// Whether it leads to a registry, as far as that is known.
    pub(super) fn is_of_registry(&self) -> bool {
        self.registry.is_some() || !self.claims.is_empty()
    }
}

/// All connections, by id.
pub(super) fn collect<'a>(estate: &Estate<'a>, evidence: &Evidence<'_>) -> Vec<Connection<'a>> {
    let mut told: HashMap<&str, ConnectionState> = HashMap::new();
    let mut registry_of: HashMap<&str, &'a str> = HashMap::new();
    for registry in estate.registries.values() {
        for (endpoint, state) in &registry.what.connections {
            told.insert(endpoint, *state);
            registry_of.insert(endpoint, &registry.what.registry_id);
        }
    }
    let mut owners: HashMap<&str, &str> = HashMap::new();
    for (id, endpoint) in &estate.endpoints {
        owners.extend(endpoint.what.interface_ids.iter().map(|interface| (interface.as_str(), *id)));
    }
    let mut parts: BTreeMap<&str, (Option<Seen<'a, EndpointFact>>, Vec<&Interface<'a>>)> = BTreeMap::new();
    for (id, endpoint) in &estate.endpoints {
        parts.entry(id).or_default().0 = Some(*endpoint);
    }
    for (id, interface) in &estate.interfaces {
        let Some(first) = interface.addresses.first() else { continue };
        let owner = first.what.endpoint_id.as_deref().or_else(|| owners.get(id.as_str()).copied());
        parts.entry(owner.unwrap_or(id)).or_default().1.push(interface);
    }
    let connection = |(id, (endpoint, interfaces)): (&str, (Option<Seen<'a, EndpointFact>>, Vec<_>))| {
        let addresses: Vec<_> = interfaces
            .into_iter()
            .flat_map(|interface: &Interface<'a>| interface.addresses.iter().copied())
            .collect();
        let vnet = addresses.iter().find_map(|address| address.what.vnet_id.as_deref());
        let vnet = vnet.or_else(|| endpoint.and_then(|endpoint| endpoint.what.vnet_id.as_deref()));
        let claims = claims(endpoint, &addresses, evidence.suffixes);
        let state = endpoint.map(|endpoint| endpoint.what.state).or_else(|| told.get(id).copied());
        // Azure writes `fqdns` only for Approved connections.
        let has_names = addresses.iter().any(|address| !address.what.fqdns.is_empty());
        let seen = if has_names { ConnectionState::Approved } else { ConnectionState::Unknown };
        let registry = endpoint.map(|endpoint| endpoint.what.registry_id.as_str());
        Connection {
            id: id.to_owned(),
            addresses,
            claims,
            registry: registry.or_else(|| registry_of.get(id).copied()),
            state: state.unwrap_or(seen),
            in_scope: evidence.in_scope(vnet),
        }
    };
    parts.into_iter().map(connection).collect()
}

/// The registry names of a connection: its interfaces say them, and
/// `customDnsConfigs` where those do not.
fn claims<'a>(
    endpoint: Option<Seen<'a, EndpointFact>>,
    addresses: &[Seen<'a, InterfaceFact>],
    suffixes: &[Name],
) -> Vec<Claim<'a>> {
    let mut claims: BTreeMap<&Name, Claim<'a>> = BTreeMap::new();
    let make = |public: &Name, origin| {
        let name = RegistryName::from_public(public, suffixes)?;
        Some(Claim { name, addresses: BTreeSet::new(), origin })
    };
    for address in addresses {
        for fqdn in &address.what.fqdns {
            let Some(fresh) = make(fqdn, address.origin) else { continue };
            claims.entry(fqdn).or_insert(fresh).addresses.insert(address.what.address);
        }
    }
    let custom = endpoint.into_iter().flat_map(|endpoint| {
        endpoint.what.custom_dns.iter().map(move |(fqdn, addresses)| (endpoint.origin, fqdn, addresses))
    });
    for (origin, fqdn, addresses) in custom {
        if claims.contains_key(fqdn) || addresses.is_empty() {
            continue;
        }
        if let Some(mut fresh) = make(fqdn, origin) {
            fresh.addresses.extend(addresses);
            claims.insert(fqdn, fresh);
        }
    }
    claims.into_values().collect()
}
