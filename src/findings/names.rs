//! Names that must be found in the private-link zones: whether they are, and
//! with the right addresses.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use super::arm::{last, record_command};
use super::connections::Connection;
use super::estate::{Estate, Zone};
use super::{Code, Evidence, Finding};
use crate::sources::facts::ConnectionState;
use crate::sources::registry_name::RegistryName;
use crate::wire::Name;

/// A name that Azure DNS must know, by its public form.
#[derive(Debug)]
pub(super) struct Required<'a> {
    pub(super) name: RegistryName,
    /// What interfaces say; empty where only the registry tells of the name.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// Where it was seen.
    origin: &'a str,
    /// A zone group of its endpoint should keep its record.
    has_group: bool,
}

/// The names by their public form.
pub(super) type RequiredNames<'a> = BTreeMap<Name, Required<'a>>;

/// The names that approved endpoints in scope show, and those that their
/// registries tell of.
pub(super) fn required<'a>(estate: &Estate<'a>, evidence: &Evidence<'_>) -> RequiredNames<'a> {
    let groups: HashSet<&str> = estate.groups.values().map(|group| group.what.endpoint_id.as_str()).collect();
    let mut required = RequiredNames::new();
    for connection in estate.connections.iter().filter(|connection| connection.is_live()) {
        for claim in &connection.claims {
            let entry = required.entry(claim.name.public.clone()).or_insert_with(|| Required {
                name: claim.name.clone(),
                addresses: BTreeSet::new(),
                origin: claim.origin,
                has_group: groups.contains(connection.id.as_str()),
            });
            entry.addresses.extend(&claim.addresses);
        }
    }
    let served = served(estate, evidence);
    let mut add = |public: &Name, origin: &'a str| {
        if let Some(name) = RegistryName::from_public(public, evidence.suffixes) {
            let fresh = || Required { name, addresses: BTreeSet::new(), origin, has_group: false };
            required.entry(public.clone()).or_insert_with(fresh);
        }
    };
    for ((id, region), replica) in &estate.replicas {
        // A replica that is being made has no endpoint yet; that has a finding of its own.
        let is_ready = replica.what.provisioning_state.eq_ignore_ascii_case("Succeeded");
        let registry = estate.registries.get(id).filter(|_| is_ready && served.contains(id));
        if let Some(public) = registry.and_then(|registry| data_name(&registry.what.login_server, region)) {
            add(&public, replica.origin);
        }
    }
    for registry in served.iter().filter_map(|id| estate.registries.get(id)) {
        let hosts = registry.what.data_hosts.iter().chain(&registry.what.regional_hosts);
        for public in std::iter::once(&registry.what.login_server).chain(hosts) {
            add(public, registry.origin);
        }
    }
    required
}

/// Ids of the registries whose names are served: those with an approved
/// endpoint in scope, or with one that was approved and waits again.
pub(super) fn served<'a>(estate: &Estate<'a>, evidence: &Evidence<'_>) -> BTreeSet<&'a str> {
    let own: HashSet<&Name> = evidence.set.own.iter().collect();
    let was_approved = |connection: &Connection<'_>, registry: &str| {
        let login = estate.registries.get(registry).map(|registry| &registry.what.login_server);
        let waits = matches!(connection.state, ConnectionState::Pending | ConnectionState::Unknown);
        waits && connection.in_scope && login.is_some_and(|login| own.contains(login))
    };
    let registry = |connection: &Connection<'a>| {
        let registry = connection.registry?;
        (connection.is_live() || was_approved(connection, registry)).then_some(registry)
    };
    estate.connections.iter().filter_map(registry).collect()
}

/// The data endpoint's public name of the registry at `login` in `region`.
pub(super) fn data_name(login: &Name, region: &str) -> Option<Name> {
    let suffix = login.parent()?;
    let label = login.labels().next()?;
    suffix.child(b"data").ok()?.child(region.as_bytes()).ok()?.child(label).ok()
}

/// Names without a record.
pub(super) fn missing(
    estate: &Estate<'_>,
    evidence: &Evidence<'_>,
    required: &RequiredNames<'_>,
    findings: &mut Vec<Finding>,
) {
    // Without zones, on premises for one, names are kept elsewhere.
    if !estate.has_zones() {
        return;
    }
    let held: HashSet<&Name> = evidence.set.aliases.iter().map(|alias| &alias.public).collect();
    for (public, wanted) in required {
        let owner = &wanted.name.private_link;
        if !estate.answers(owner).is_empty() || estate.is_unread(owner) {
            continue;
        }
        let said = match (held.contains(public), wanted.name.region.is_some()) {
            (true, true) => {
                "hubdns answers this name, but Azure DNS has no record for it: where clients ask Azure DNS, login works and pulls hang."
            }
            (true, false) => {
                "hubdns answers this name, but Azure DNS has no record for it: clients that ask Azure DNS cannot log in."
            }
            (false, true) => {
                "The endpoint exists and has neither a record nor an address on an interface: login works and pulls hang."
            }
            (false, false) => {
                "The registry has an approved endpoint and neither a record nor an address on an interface: nobody can log in."
            }
        };
        let text = format!("{said} {}", remedy(estate.home(owner), owner, wanted));
        findings.push(Finding::new(missing_code(&wanted.name), public, wanted.origin, text));
    }
}

/// What is missing, by the form of the name.
fn missing_code(name: &RegistryName) -> Code {
    match (&name.region, name.public.labels().nth(2)) {
        (None, _) => Code::MissingRegistryRecord,
        (Some(_), Some(b"geo")) => Code::MissingGeoRecord,
        (Some(_), _) => Code::MissingDataRecord,
    }
}

/// What to do about a missing record.
fn remedy(home: Option<&Zone<'_>>, owner: &Name, wanted: &Required<'_>) -> String {
    let addresses = &wanted.addresses;
    let Some(zone) = home else {
        return format!(
            "No zone for {owner} is linked: make one, link it and give the endpoint a zone group."
        );
    };
    let command = |address: &IpAddr| record_command("add-record", zone.id, zone.apex, owner, *address);
    let commands: Vec<String> = addresses.iter().filter_map(command).collect();
    if addresses.is_empty() {
        return format!(
            "Look whether its interface has an address for it (`az network private-endpoint show`); if not, make the \
             endpoint anew, and see that {owner} gets a record."
        );
    }
    let group = if wanted.has_group {
        "Its zone group did not write the record: make the group anew"
    } else {
        "Give the private endpoint a zone group"
    };
    if commands.is_empty() {
        return format!("{group}, or add {owner} with {} to the zone {}.", list(addresses), zone.apex);
    }
    format!("{group}, or add the record: {}.", commands.join(", "))
}

/// Records with other addresses than the interfaces.
pub(super) fn drift(estate: &Estate<'_>, required: &RequiredNames<'_>, findings: &mut Vec<Finding>) {
    for (public, wanted) in required.iter().filter(|(_, wanted)| !wanted.addresses.is_empty()) {
        let owner = &wanted.name.private_link;
        for record in estate.answers(owner) {
            let told = record.addresses();
            let wrong: BTreeSet<IpAddr> = told.difference(&wanted.addresses).copied().collect();
            if wrong.is_empty() {
                continue;
            }
            let zone = &estate.zones[record.zone];
            let command = |verb: &str, addresses: &BTreeSet<IpAddr>| -> Vec<String> {
                let command = |address: &IpAddr| {
                    record_command(verb, zone.id, zone.apex, &record.rrset.owner, *address)
                };
                addresses.iter().filter_map(command).collect()
            };
            let lacking = wanted
                .addresses
                .difference(&told)
                .filter(|a| told.iter().any(|b| a.is_ipv4() == b.is_ipv4()));
            let mut commands = command("add-record", &lacking.copied().collect());
            commands.extend(command("remove-record", &wrong));
            let remedy = if commands.is_empty() {
                format!("Correct {} at {}.", record.rrset.owner, record.origin)
            } else {
                format!(
                    "Make the endpoint's zone group anew, or correct the record: {}.",
                    commands.join(", ")
                )
            };
            let text = format!(
                "The zone says {}, the interface {} has {}: clients of Azure DNS connect to a wrong address. {remedy}",
                list(&told),
                last(interface_of(wanted.origin)),
                list(&wanted.addresses),
            );
            findings.push(Finding::new(Code::IpDrift, public, record.origin, text));
        }
    }
}

/// The interface or endpoint in the id of an ipConfiguration.
fn interface_of(origin: &str) -> &str {
    let lower = origin.to_ascii_lowercase();
    lower.find("/ipconfigurations/").and_then(|at| origin.get(..at)).unwrap_or(origin)
}

/// Addresses as people write lists.
pub(super) fn list(addresses: &BTreeSet<IpAddr>) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}
