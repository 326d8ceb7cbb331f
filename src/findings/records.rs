//! Records that nothing in the estate stands behind.
//!
//! Two kinds, told apart by who made them and whether they lead anywhere:
//!
//! - A zone group writes records with a TTL of 10 s and, since 2022 or so,
//!   `creator` metadata that begins `created by private endpoint`. Such a
//!   record whose endpoint is gone is a leftover: *stale*. A record without
//!   any creator and with exactly that TTL counts as a zone group's too.
//! - Every other TTL (the portal's default is 3600) and every other creator is
//!   somebody's hand or tool: *manual*, kept and reported as unmanaged. So is
//!   any record whose address an interface has or a route check reached: it
//!   works, whoever made it.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use super::arm::Id;
use super::estate::{Estate, Record};
use super::names::{data_name, list};
use super::{Code, Evidence, Finding};
use crate::sources::facts::{ConnectionState, SourceKind};
use crate::sources::registry_name::RegistryName;
use crate::wire::{Name, Rtype};

/// What zone groups write into the metadata of their records.
const CREATED_BY_ENDPOINT: &str = "created by private endpoint";
/// The TTL of their records, seconds.
const ENDPOINT_TTL: u32 = 10;

/// What endpoints and registries stand behind.
#[derive(Debug, Default)]
struct Known<'a> {
    /// Private-link names.
    names: HashSet<Name>,
    /// Login names of registries with endpoints that are not seen, or not
    /// approved: any name of theirs may be right.
    logins: HashSet<&'a Name>,
    addresses: HashSet<IpAddr>,
}

/// Reports records that neither a name nor a registry explains.
pub(super) fn unmanaged(estate: &Estate<'_>, evidence: &Evidence<'_>, findings: &mut Vec<Finding>) {
    // Who sees zones alone cannot tell a leftover from the rest.
    if evidence.incomplete || estate.connections.is_empty() && estate.registries.is_empty() {
        return;
    }
    let known = known(estate, evidence);
    for (owner, records) in &estate.records {
        let name = RegistryName::from_private_link(owner, evidence.suffixes);
        if known.names.contains(*owner)
            || name.as_ref().is_some_and(|name| known.logins.contains(&name.login))
        {
            continue;
        }
        for record in records {
            let zone = &estate.zones[record.zone];
            // A master file is written by hand, all of it.
            if !zone.counts || zone.kind == SourceKind::ZoneFile || record.rrset.auto_registered {
                continue;
            }
            let addresses = record.addresses();
            let works = |address: &IpAddr| {
                known.addresses.contains(address)
                    || name.as_ref().is_some_and(|name| answers(evidence, &name.public, *address))
            };
            let is_alive = record.rrset.rtype == Rtype::CNAME || addresses.iter().any(works);
            let (code, text) = if is_leftover(record) && !is_alive {
                (Code::StaleRecord, stale_text(record, zone.id, &addresses))
            } else {
                (Code::ManualRecord, manual_text(record))
            };
            findings.push(Finding::new(code, owner, record.origin, text));
        }
    }
}

fn known<'a>(estate: &Estate<'a>, evidence: &Evidence<'a>) -> Known<'a> {
    let mut known = Known::default();
    let mut complete: HashSet<&str> = HashSet::new();
    for connection in &estate.connections {
        known.addresses.extend(connection.addresses.iter().map(|address| address.what.address));
        known.addresses.extend(connection.claims.iter().flat_map(|claim| &claim.addresses));
        known.names.extend(connection.claims.iter().map(|claim| claim.name.private_link.clone()));
        if connection.state == ConnectionState::Approved && !connection.claims.is_empty() {
            complete.insert(&connection.id);
        } else if let Some(registry) = connection.registry.and_then(|id| estate.registries.get(id)) {
            known.logins.insert(&registry.what.login_server);
        }
    }
    for registry in estate.registries.values().map(|registry| registry.what) {
        if registry.connections.iter().any(|(endpoint, _)| !complete.contains(endpoint.as_str())) {
            known.logins.insert(&registry.login_server);
        }
        let has_endpoint = !registry.connections.is_empty();
        let hosts = registry.data_hosts.iter().chain(&registry.regional_hosts);
        let publics = std::iter::once(&registry.login_server).chain(hosts).filter(|_| has_endpoint);
        known.names.extend(publics.filter_map(|public| private_link(public, evidence)));
    }
    for (registry, region) in estate.replicas.keys() {
        let registry = estate.registries.get(registry).filter(|found| !found.what.connections.is_empty());
        let public = registry.and_then(|registry| data_name(&registry.what.login_server, region));
        known.names.extend(public.and_then(|public| private_link(&public, evidence)));
    }
    for group in estate.groups.values() {
        known.names.extend(group.what.records.iter().map(|(owner, _)| owner.clone()));
    }
    known.logins.extend(evidence.own_registries);
    known
}

fn private_link(public: &Name, evidence: &Evidence<'_>) -> Option<Name> {
    RegistryName::from_public(public, evidence.suffixes).map(|name| name.private_link)
}

/// Whether a check found the registry at `address`.
fn answers(evidence: &Evidence<'_>, public: &Name, address: IpAddr) -> bool {
    let route = evidence.routes.get(&(public.to_string(), address));
    route.is_some_and(|route| route.problem.is_none())
}

/// Whether a zone group made the record.
fn is_leftover(record: &Record<'_>) -> bool {
    match &record.rrset.creator {
        Some(creator) => creator.to_ascii_lowercase().starts_with(CREATED_BY_ENDPOINT),
        None => record.rrset.ttl == ENDPOINT_TTL,
    }
}

fn stale_text(record: &Record<'_>, zone_id: Option<&str>, addresses: &BTreeSet<IpAddr>) -> String {
    let kind = record.rrset.rtype.to_string().to_ascii_lowercase();
    let owner = record.rrset.owner.to_string();
    let relative =
        owner.strip_suffix(&format!(".{}", record.rrset.zone)).filter(|name| super::arm::is_plain(name));
    let command = zone_id.and_then(Id::parse).zip(relative).map(|(zone, relative)| {
        format!(
            ": `az network private-dns record-set {kind} delete --subscription {} -g {} -z {} -n {relative}`",
            zone.subscription, zone.group, zone.name
        )
    });
    format!(
        "No registry and no private endpoint that hubdns sees has this name or {}. If its endpoint is gone, delete \
         the record{}.",
        list(addresses),
        command.unwrap_or_default()
    )
}

fn manual_text(record: &Record<'_>) -> String {
    let maker = record.rrset.creator.as_ref().map(|creator| format!(", by {creator:?}")).unwrap_or_default();
    format!(
        "Made by hand (TTL {}{maker}) and without a private endpoint that hubdns sees: it is served as it stands and \
         nothing keeps it right. Give the registry an endpoint with a zone group, or ignore this finding.",
        record.rrset.ttl
    )
}
