//! What private endpoints say: public names with their addresses.
//!
//! The network interface is the truth (design section 3); `customDnsConfigs`
//! stand in where an endpoint's interface is not seen. A connection counts
//! while it is Approved; one that was keeps what it had while it is Pending
//! again, or while an address has no `fqdns` yet (adding a replica does both).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::estate::{Estate, Interface, Seen};
use crate::findings::{Code, Finding};
use crate::sources::facts::{ConnectionState, EndpointFact};
use crate::sources::registry_name::RegistryName;
use crate::sync::memory::{Memory, Remembered, RememberedName};
use crate::sync::policy::{Fit, Policy};
use crate::sync::provenance::{Rank, Reason};
use crate::wire::Name;

/// What is said of names of endpoints elsewhere.
const OUT_OF_SCOPE: &str = "The endpoint lies in a virtual network that scope.vnets does not name; its address \
                            is not served. Add the network if it is routed from here.";

/// One name of one endpoint.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) name: RegistryName,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) rank: Rank,
    /// The endpoint's id, or the interface's.
    pub(super) resource: String,
    pub(super) region: String,
    /// How well the endpoint fits each view.
    pub(super) fits: Vec<Fit>,
    /// The place of its virtual network in the scope.
    pub(super) vnet_place: usize,
    pub(super) listing: u32,
    pub(super) origin: String,
    pub(super) remembered: bool,
    /// Why it does not count.
    pub(super) refused: Option<Reason>,
}

/// Everything that endpoints say.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) all: Vec<Claim>,
    pub(super) findings: Vec<Finding>,
    /// Login names of registries with an Approved connection in scope.
    pub(super) own: BTreeSet<Name>,
    /// The connections to remember.
    pub(super) connections: BTreeMap<String, Remembered>,
}

/// An endpoint with its interfaces; either may be missing.
#[derive(Debug, Default)]
struct Connection<'a> {
    endpoint: Option<Seen<'a, EndpointFact>>,
    interfaces: Vec<&'a Interface<'a>>,
    vnet: Option<&'a str>,
    region: &'a str,
    listing: u32,
}

/// A name as seen now or remembered.
struct Named {
    addresses: Vec<IpAddr>,
    origin: String,
    listing: u32,
    rank: Rank,
    remembered: bool,
}

/// Reads all endpoints and interfaces.
pub(super) fn collect(estate: &Estate<'_>, policy: &Policy, memory: &Memory) -> Claims {
    let mut claims = Claims::default();
    for (id, connection) in connections(estate) {
        claims.add(&id, &connection, estate, policy, memory.connections.get(&id));
    }
    claims
}

fn connections<'a>(estate: &'a Estate<'a>) -> BTreeMap<String, Connection<'a>> {
    let mut all: BTreeMap<String, Connection<'a>> = BTreeMap::new();
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for (id, endpoint) in &estate.endpoints {
        let connection = all.entry((*id).to_owned()).or_default();
        connection.endpoint = Some(*endpoint);
        connection.vnet = endpoint.what.vnet_id.as_deref();
        connection.region = &endpoint.what.region;
        connection.listing = endpoint.listing;
        owners.extend(endpoint.what.interface_ids.iter().map(|interface| (interface.as_str(), *id)));
    }
    for (id, interface) in &estate.interfaces {
        let Some(first) = interface.addresses.first() else { continue };
        let told = first.what.endpoint_id.as_deref();
        let owner = told.or_else(|| owners.get(id.as_str()).copied()).unwrap_or(id);
        let connection = all.entry(owner.to_owned()).or_default();
        connection.vnet = first.what.vnet_id.as_deref().or(connection.vnet);
        if connection.endpoint.is_none() {
            connection.region = &first.what.region;
        }
        connection.listing = first.listing;
        connection.interfaces.push(interface);
    }
    all
}

impl Claims {
    fn add(
        &mut self,
        id: &str,
        connection: &Connection<'_>,
        estate: &Estate<'_>,
        policy: &Policy,
        remembered: Option<&Remembered>,
    ) {
        let (mut names, unfinished) = seen_names(connection);
        let told = estate.state(id);
        // Interfaces alone, with names: Azure writes `fqdns` only for Approved connections.
        let state = told.unwrap_or(if names.is_empty() && !unfinished {
            ConnectionState::Unknown
        } else {
            ConnectionState::Approved
        });
        let origin = connection.endpoint.map_or(id, |endpoint| endpoint.origin);
        let mut refused = None;
        let told = self.findings.len();
        match state {
            ConnectionState::Approved => {
                if unfinished || names.is_empty() {
                    recall(&mut names, remembered, connection.listing);
                }
            }
            ConnectionState::Pending | ConnectionState::Unknown => {
                if remembered.is_some() {
                    names.clear();
                    recall(&mut names, remembered, connection.listing);
                    let text = "The connection is not approved at the moment; what it had is still served.";
                    self.find(Code::ConnectionRemembered, connection, estate, origin, text);
                } else {
                    refused = Some(Reason::NotApproved);
                    let text = "The private endpoint's connection awaits approval and its names are not answered. \
                                Approve it on the registry (Networking, Private access).";
                    self.find(Code::ConnectionPending, connection, estate, origin, text);
                }
            }
            ConnectionState::Rejected | ConnectionState::Disconnected => {
                refused = Some(Reason::NotApproved);
                let (code, done) = if state == ConnectionState::Rejected {
                    (Code::ConnectionRejected, "rejected")
                } else {
                    (Code::ConnectionDisconnected, "cut")
                };
                let text = format!(
                    "The registry's owner {done} the private endpoint's connection; its names are withdrawn. \
                     Delete the endpoint, or make a new one and have it approved."
                );
                self.find(code, connection, estate, origin, &text);
            }
        }
        if refused.is_none() && !names.is_empty() {
            self.connections.insert(id.to_owned(), Remembered { names: to_memory(&names) });
        }
        let place = policy.vnet_place(connection.vnet);
        if place.is_none() && connection.vnet.is_some() {
            // What becomes of connections of other networks is their owners' business.
            self.findings.truncate(told);
        }
        if place.is_none() && refused.is_none() {
            refused = Some(Reason::OutOfScope);
        }
        if state == ConnectionState::Approved && refused.is_none() {
            self.own.extend(login_of_endpoint(connection, estate));
        }
        for (public, named) in names {
            // Names of other services than registries are nobody's business here.
            let Some(name) = RegistryName::from_public(&public, &policy.suffixes) else { continue };
            let mut claim = Claim {
                name,
                addresses: named.addresses,
                rank: named.rank,
                resource: id.to_owned(),
                region: connection.region.to_owned(),
                fits: policy.fits(connection.vnet, connection.region),
                vnet_place: place.unwrap_or(usize::MAX),
                listing: named.listing,
                origin: named.origin,
                remembered: named.remembered,
                refused,
            };
            self.check(&mut claim, policy);
            self.all.push(claim);
        }
    }

    /// Says what is wrong with a connection, under the registry's name where it is told.
    fn find(
        &mut self,
        code: Code,
        connection: &Connection<'_>,
        estate: &Estate<'_>,
        origin: &str,
        text: &str,
    ) {
        let login = login_of_endpoint(connection, estate).map(|name| name.to_string());
        let last = || origin.rsplit('/').next().unwrap_or_default().to_owned();
        self.findings.push(Finding::new(code, login.unwrap_or_else(last), origin, text));
    }

    /// Drops addresses that may not be served, and says what does not count.
    fn check(&mut self, claim: &mut Claim, policy: &Policy) {
        let public = claim.name.public.clone();
        let mut find = |code: Code, text: String| {
            self.findings.push(Finding::new(code, &public, &claim.origin, text));
        };
        match claim.refused {
            Some(Reason::OutOfScope) => find(Code::EndpointOutOfScope, OUT_OF_SCOPE.to_owned()),
            // The connection has a finding of its own.
            Some(_) => {}
            None => {
                let (good, bad): (Vec<_>, Vec<_>) = claim.addresses.iter().partition(|a| policy.allows(**a));
                for address in &bad {
                    let text = format!(
                        "{address} lies outside scope.allowed_prefixes and is not served. \
                         Add its prefix if it is yours."
                    );
                    find(Code::AddressOutsideSubnet, text);
                }
                if good.is_empty() {
                    claim.refused = Some(Reason::OutsideAllowedPrefixes);
                } else {
                    claim.addresses = good;
                    self.own.insert(claim.name.login.clone());
                }
            }
        }
    }
}

/// The names that a connection shows, and whether some address has none yet.
fn seen_names(connection: &Connection<'_>) -> (BTreeMap<Name, Named>, bool) {
    let mut names: BTreeMap<Name, Named> = BTreeMap::new();
    let mut unfinished = false;
    for address in connection.interfaces.iter().flat_map(|interface| &interface.addresses) {
        unfinished |= address.what.fqdns.is_empty();
        for fqdn in &address.what.fqdns {
            let entry = names.entry(fqdn.clone()).or_insert_with(|| Named {
                addresses: Vec::new(),
                origin: address.origin.to_owned(),
                listing: address.listing,
                rank: Rank::Interface,
                remembered: false,
            });
            if !entry.addresses.contains(&address.what.address) {
                entry.addresses.push(address.what.address);
            }
        }
    }
    if let Some(endpoint) = connection.endpoint {
        for (fqdn, addresses) in endpoint.what.custom_dns.iter().filter(|(_, list)| !list.is_empty()) {
            names.entry(fqdn.clone()).or_insert_with(|| Named {
                addresses: addresses.clone(),
                origin: endpoint.origin.to_owned(),
                listing: endpoint.listing,
                rank: Rank::CustomDns,
                remembered: false,
            });
        }
    }
    (names, unfinished)
}

/// Adds what a connection had and does not show now.
fn recall(names: &mut BTreeMap<Name, Named>, remembered: Option<&Remembered>, listing: u32) {
    for known in remembered.iter().flat_map(|remembered| &remembered.names) {
        names.entry(known.public.clone()).or_insert_with(|| Named {
            addresses: known.addresses.clone(),
            origin: known.origin.clone(),
            listing,
            rank: Rank::Interface,
            remembered: true,
        });
    }
}

fn to_memory(names: &BTreeMap<Name, Named>) -> Vec<RememberedName> {
    let name = |(public, named): (&Name, &Named)| RememberedName {
        public: public.clone(),
        addresses: named.addresses.clone(),
        origin: named.origin.clone(),
    };
    names.iter().map(name).collect()
}

/// The login name of the registry that an endpoint leads to, as the registry tells it.
fn login_of_endpoint(connection: &Connection<'_>, estate: &Estate<'_>) -> Option<Name> {
    let registry_id = connection.endpoint?.what.registry_id.as_str();
    estate.registries.get(registry_id).map(|registry| registry.what.login_server.clone())
}
