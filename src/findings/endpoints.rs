//! Private endpoints and replicas.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::arm::last;
use super::connections::{Claim, Connection};
use super::estate::Estate;
use super::names::{data_name, list, served};
use super::{Code, Evidence, Finding};
use crate::sources::registry_name::RegistryName;
use crate::wire::Name;

/// Endpoints of one registry, by id, with their address for the login name or
/// whatever name they have in common.
type Rivals<'a> = BTreeMap<&'a str, BTreeSet<IpAddr>>;

/// Registries with several endpoints that one zone cannot serve.
///
/// Several endpoints are well where each has a zone of its own that holds its
/// addresses. They are not where one's addresses stand in no zone, since the
/// other's overwrote them or nobody wrote them, nor where two zone groups
/// write one zone: each overwrites the other's records, and whoever goes first
/// takes them along.
pub(super) fn duplicates(estate: &Estate<'_>, findings: &mut Vec<Finding>) {
    let mut by_name: BTreeMap<&Name, Vec<(&Connection<'_>, &Claim<'_>)>> = BTreeMap::new();
    for connection in estate.connections.iter().filter(|connection| connection.is_live()) {
        for claim in &connection.claims {
            by_name.entry(&claim.name.public).or_default().push((connection, claim));
        }
    }
    let mut rivals: BTreeMap<&Name, Rivals<'_>> = BTreeMap::new();
    for claims in by_name.values() {
        let Some((_, first)) = claims.first() else { continue };
        if claims.iter().all(|(_, claim)| claim.addresses == first.addresses) {
            continue;
        }
        let records = estate.answers(&first.name.private_link);
        let told: BTreeSet<IpAddr> = records.iter().flat_map(|record| record.addresses()).collect();
        let zones: BTreeSet<usize> = records.iter().map(|record| record.zone).collect();
        let each_is_told = claims.iter().all(|(_, claim)| !claim.addresses.is_disjoint(&told));
        if each_is_told && zones.len() >= claims.len() {
            continue;
        }
        let rivals = rivals.entry(&first.name.login).or_default();
        for (connection, claim) in claims {
            rivals.entry(&connection.id).or_insert_with(|| claim.addresses.clone());
        }
    }
    let live: BTreeSet<&str> =
        estate.connections.iter().filter(|connection| connection.is_live()).map(|c| c.id.as_str()).collect();
    let groups = groups(estate, &live);
    for (login, endpoints) in &groups {
        let known = rivals.entry(login).or_default();
        for (endpoint, addresses) in endpoints {
            known.entry(endpoint).or_insert_with(|| addresses.clone());
        }
    }
    for (login, endpoints) in rivals {
        let Some(first) = endpoints.keys().next() else { continue };
        let all: Vec<String> =
            endpoints.iter().map(|(id, addresses)| format!("{} ({})", last(id), list(addresses))).collect();
        let zone = if groups.contains_key(login) {
            "their zone groups write one zone and overwrite each other's records"
        } else {
            "the zones do not hold the addresses of each"
        };
        let text = format!(
            "The registry has the private endpoints {}, and {zone}. Keep one endpoint, or give each virtual network a \
             zone of its own; scope.regions and views choose what hubdns answers.",
            all.join(", ")
        );
        findings.push(Finding::new(Code::DuplicateEndpoint, login, *first, text));
    }
}

/// Endpoints whose zone groups write one record of one zone, by the registry's login name.
fn groups<'a>(estate: &Estate<'a>, live: &BTreeSet<&str>) -> BTreeMap<Name, Rivals<'a>> {
    let mut writers: BTreeMap<(&str, &Name), Rivals<'a>> = BTreeMap::new();
    for group in estate.groups.values().map(|group| group.what) {
        if !live.contains(group.endpoint_id.as_str()) {
            continue;
        }
        for zone in &group.zone_ids {
            for (owner, addresses) in &group.records {
                let writers = writers.entry((zone, owner)).or_default();
                writers.entry(&group.endpoint_id).or_default().extend(addresses);
            }
        }
    }
    let suffixes: BTreeSet<Name> = estate
        .connections
        .iter()
        .flat_map(|connection| &connection.claims)
        .filter_map(|claim| claim.name.login.parent())
        .collect();
    let suffixes: Vec<Name> = suffixes.into_iter().collect();
    let mut rivals: BTreeMap<Name, Rivals<'a>> = BTreeMap::new();
    for ((_, owner), writers) in writers {
        let differ =
            writers.values().next().is_some_and(|first| writers.values().any(|other| other != first));
        if !differ {
            continue;
        }
        if let Some(name) = RegistryName::from_private_link(owner, &suffixes) {
            rivals.entry(name.login).or_default().extend(writers);
        }
    }
    rivals
}

/// Replicas of registries of ours that are not ready.
pub(super) fn replicas(estate: &Estate<'_>, evidence: &Evidence<'_>, findings: &mut Vec<Finding>) {
    let served = served(estate, evidence);
    for ((id, region), replica) in &estate.replicas {
        let state = replica.what.provisioning_state.as_str();
        if state.is_empty() || state.eq_ignore_ascii_case("Succeeded") || !served.contains(id) {
            continue;
        }
        let login = estate.registries.get(id).map(|registry| &registry.what.login_server);
        let public = login.and_then(|login| data_name(login, region)).map(|name| name.to_string());
        let name = public.unwrap_or_else(|| format!("{}/{region}", last(id)));
        let todo = if state.eq_ignore_ascii_case("Failed") {
            "Delete the replica and make it again; its names may not answer meanwhile."
        } else {
            "Its names come or go when that is done; the connection may be Pending meanwhile."
        };
        let text = format!("The replica in {region} has the provisioning state {state}. {todo}");
        findings.push(Finding::new(Code::ReplicaProvisioning, name, replica.origin, text));
    }
}

/// Addresses outside the prefixes of their subnet.
pub(super) fn subnets(estate: &Estate<'_>, findings: &mut Vec<Finding>) {
    let ours = |connection: &&Connection<'_>| connection.in_scope && connection.is_of_registry();
    for connection in estate.connections.iter().filter(ours) {
        for seen in &connection.addresses {
            let subnet = seen.what.subnet_id.as_deref().and_then(|id| estate.subnets.get(id));
            let Some(prefixes) = subnet.map(|subnet| &subnet.what.prefixes) else { continue };
            let address = seen.what.address;
            if prefixes.is_empty() || prefixes.iter().any(|prefix| prefix.contains(&address)) {
                continue;
            }
            let fqdn = seen.what.fqdns.first().map(ToString::to_string);
            let name = fqdn.unwrap_or_else(|| last(&connection.id).to_owned());
            let text = format!(
                "{address} lies outside the prefixes of its subnet {} ({}): packets to it find no way. Make the \
                 private endpoint anew, or correct the subnet.",
                last(seen.what.subnet_id.as_deref().unwrap_or_default()),
                prefixes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            );
            findings.push(Finding::new(Code::AddressOutsideSubnet, name, seen.origin, text));
        }
    }
}
