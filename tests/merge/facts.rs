//! Facts written tersely, one to a line.

use hubdns::snapshot::model::ZonePolicy;
use hubdns::sources::facts::*;
use hubdns::sources::registry_name::private_zone;
use hubdns::wire::{Name, Rtype};

use super::{name, policy};

fn data(rtype: Rtype, text: &str) -> Box<[u8]> {
    match rtype {
        Rtype::A => Box::new(text.parse::<std::net::Ipv4Addr>().unwrap().octets()),
        Rtype::AAAA => Box::new(text.parse::<std::net::Ipv6Addr>().unwrap().octets()),
        Rtype::CNAME => name(text).as_wire().into(),
        _ => [&[text.len() as u8], text.as_bytes()].concat().into(),
    }
}

fn state(text: &str) -> ConnectionState {
    match text {
        "approved" => ConnectionState::Approved,
        "pending" => ConnectionState::Pending,
        "rejected" => ConnectionState::Rejected,
        "disconnected" => ConnectionState::Disconnected,
        other => panic!("{other}"),
    }
}

/// One fact of a line:
///
/// ```text
/// static  NAME TYPE TTL DATA[,DATA]        (a private-link name, or in corp.example)
/// set     ZONE OWNER TYPE TTL DATA[,DATA]  [id=ZONE-ID]
/// zone    APEX                             [id=ZONE-ID] [policy=authoritative]
/// link    ZONE-ID VNET
///         (`live:` before zone, set and link: by the source azure)
/// nic     ID FQDN|- ADDRESS                [pe=ID] [vnet=ID] [region=R]
/// pe      ID STATE REGISTRY                [vnet=ID] [region=R] [custom=FQDN=ADDRESS]
/// registry ID LOGIN                        [pe=ID:STATE]
/// ```
fn fact(line: &str) -> (SourceKind, Fact) {
    if let Some(line) = line.strip_prefix("live:") {
        return (SourceKind::Azure, fact(line).1);
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let option = |key: &str| {
        words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned)
    };
    let rrset = |zone: Name, at: usize| {
        let rtype: Rtype = words[at + 1].parse().unwrap();
        What::Rrset(RrsetFact {
            zone,
            zone_id: option("id"),
            owner: name(words[at]),
            rtype,
            ttl: words[at + 2].parse().unwrap(),
            rdatas: words[at + 3].split(',').map(|text| data(rtype, text)).collect(),
            auto_registered: false,
            creator: None,
        })
    };
    let (kind, what) = match words[0] {
        "static" => {
            let owner = name(words[1]);
            let zones = policy()
                .suffixes
                .iter()
                .filter_map(private_zone)
                .chain([name("corp.example")])
                .collect::<Vec<_>>();
            let zone = zones.into_iter().find(|zone| owner.is_at_or_below(zone)).unwrap();
            (SourceKind::Static, rrset(zone, 1))
        }
        "set" => (SourceKind::AzJson, rrset(name(words[1]), 2)),
        "file" => (SourceKind::ZoneFile, rrset(name(words[1]), 2)),
        "zone" => {
            let authoritative = option("policy").map(|_| ZonePolicy::Authoritative);
            let kind = if authoritative.is_some() { SourceKind::ZoneFile } else { SourceKind::AzJson };
            let zone =
                ZoneFact { apex: name(words[1]), zone_id: option("id"), soa: None, policy: authoritative };
            (kind, What::Zone(zone))
        }
        "link" => {
            let linked =
                ZoneLinkFact { zone_id: words[1].into(), vnet_id: words[2].into(), resolution_policy: None };
            (SourceKind::AzJson, What::ZoneLink(linked))
        }
        "nic" => {
            let interface = InterfaceFact {
                address: words[3].parse().unwrap(),
                group_id: "registry".into(),
                member: "registry".into(),
                fqdns: if words[2] == "-" { Vec::new() } else { vec![name(words[2])] },
                endpoint_id: option("pe"),
                vnet_id: option("vnet"),
                subnet_id: None,
                region: option("region").unwrap_or_default(),
            };
            (SourceKind::AzJson, What::Interface(interface))
        }
        "pe" => {
            let custom = option("custom").map(|text| {
                let (fqdn, address) = text.split_once('=').unwrap();
                (name(fqdn), vec![address.parse().unwrap()])
            });
            let endpoint = EndpointFact {
                endpoint_id: words[1].into(),
                registry_id: words[3].into(),
                state: state(words[2]),
                interface_ids: vec![format!("{}-nic", words[1])],
                custom_dns: custom.into_iter().collect(),
                vnet_id: option("vnet"),
                region: option("region").unwrap_or_default(),
            };
            (SourceKind::AzJson, What::Endpoint(endpoint))
        }
        "registry" => {
            let connection = option("pe").map(|text| {
                let (id, status) = text.split_once(':').unwrap();
                (id.to_owned(), state(status))
            });
            let registry = RegistryFact {
                registry_id: words[1].into(),
                login_server: name(words[2]),
                data_hosts: Vec::new(),
                regional_hosts: Vec::new(),
                connections: connection.into_iter().collect(),
                region: String::new(),
            };
            (SourceKind::AzJson, What::Registry(registry))
        }
        other => panic!("{other}"),
    };
    let origin = match words[0] {
        "nic" => format!("{}/ipConfigurations/{}", words[1], words[3]),
        _ => words.join(" "),
    };
    (kind, Fact { origin, what })
}

pub(crate) fn listings(text: &str) -> Vec<Listing> {
    let mut listings: Vec<Listing> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (kind, fact) = fact(line);
        let at = listings.iter().position(|listing| listing.kind == kind).unwrap_or_else(|| {
            let id = ListingId { source: format!("{kind:?}"), scope: String::new() };
            listings.push(Listing { id, kind, read_at: 1, facts: Vec::new() });
            listings.len() - 1
        });
        listings[at].facts.push(fact);
    }
    listings
}
