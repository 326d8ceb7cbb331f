//! Facts written as lines, and an estate in which nothing is wrong.

use hubdns::snapshot::model::Soa;
use hubdns::sources::facts::*;
use hubdns::wire::Rtype;

use super::name;

/// One registry in two regions' worth of names, everything as it should be.
pub(crate) const HEALTHY: &str = "
    zone     z privatelink.azurecr.io
    link     z /n/hub NxDomainRedirect
    set      z contoso.privatelink.azurecr.io A 10 10.0.0.5
    set      z contoso.westeurope.data.privatelink.azurecr.io A 10 10.0.0.4
    registry r contoso.azurecr.io pe=pe1:approved data=contoso.westeurope.data.azurecr.io
    replica  r westeurope Succeeded
    pe       pe1 approved r vnet=/n/hub
    nic      nic1 contoso.azurecr.io 10.0.0.5 pe=pe1 vnet=/n/hub subnet=/n/hub/subnets/pe
    nic      nic1 contoso.westeurope.data.azurecr.io 10.0.0.4 pe=pe1 vnet=/n/hub subnet=/n/hub/subnets/pe
    group    pe1 z contoso.privatelink.azurecr.io 10.0.0.5
    group    pe1 z contoso.westeurope.data.privatelink.azurecr.io 10.0.0.4
    subnet   /n/hub/subnets/pe /n/hub 10.0.0.0/24
";

/// The healthy estate with changes: `- TEXT` takes out the lines that begin
/// with it (at least one), anything else is a line more.
pub(crate) fn changed(changes: &str) -> String {
    let squeeze = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = HEALTHY.lines().map(squeeze).collect();
    for change in changes.lines().map(squeeze).filter(|line| !line.is_empty()) {
        match change.strip_prefix("- ") {
            Some(text) => {
                let before = lines.len();
                lines.retain(|line| !line.starts_with(text));
                assert!(lines.len() < before, "no line begins with {text:?}");
            }
            None => lines.push(change),
        }
    }
    lines.join("\n")
}

/// ```text
/// zone     ID APEX [unread]
/// set      ZONE OWNER TYPE TTL DATA[,DATA] [creator=WORDS_WITH_UNDERSCORES] [auto]
/// link     ZONE VNET [POLICY]
/// registry ID LOGIN [pe=ID:STATE] [data=NAME,...] [geo=NAME]
/// replica  REGISTRY REGION STATE
/// pe       ID STATE REGISTRY [vnet=ID]
/// nic      ID FQDN|- ADDRESS [pe=ID] [vnet=ID] [subnet=ID]
/// group    ENDPOINT ZONE OWNER ADDRESS
/// subnet   ID VNET PREFIX
/// ```
pub(crate) fn listings(text: &str, kind: SourceKind) -> Vec<Listing> {
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| !words.is_empty())
        .collect();
    let apex = |id: &str| {
        let zone = lines.iter().find(|words| words[0] == "zone" && words[1] == id);
        name(zone.unwrap_or_else(|| panic!("zone {id} first"))[2])
    };
    let facts = lines.iter().map(|words| fact(words, &apex)).collect();
    let id = ListingId { source: "test".into(), scope: String::new() };
    vec![Listing { id, kind, read_at: 1, facts }]
}

fn fact(words: &[&str], apex: &dyn Fn(&str) -> hubdns::wire::Name) -> Fact {
    let option = |key: &str| {
        words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned)
    };
    let mut origin = words.join(" ");
    let what = match words[0] {
        "zone" => What::Zone(ZoneFact {
            apex: name(words[2]),
            zone_id: Some(words[1].into()),
            soa: (words.get(3) != Some(&"unread")).then(Soa::azure),
            policy: None,
        }),
        "set" => {
            let rtype: Rtype = words[3].parse().unwrap();
            What::Rrset(RrsetFact {
                zone: apex(words[1]),
                zone_id: Some(words[1].into()),
                owner: name(words[2]),
                rtype,
                ttl: words[4].parse().unwrap(),
                rdatas: words[5].split(',').map(|text| data(rtype, text)).collect(),
                auto_registered: words.contains(&"auto"),
                creator: option("creator").map(|text| text.replace('_', " ")),
            })
        }
        "link" => What::ZoneLink(ZoneLinkFact {
            zone_id: words[1].into(),
            vnet_id: words[2].into(),
            resolution_policy: words.get(3).map(|policy| (*policy).to_owned()),
        }),
        "registry" => What::Registry(RegistryFact {
            registry_id: words[1].into(),
            login_server: name(words[2]),
            data_hosts: option("data").iter().flat_map(|list| list.split(',')).map(name).collect(),
            regional_hosts: option("geo").iter().map(|text| name(text)).collect(),
            connections: option("pe")
                .iter()
                .flat_map(|list| list.split(','))
                .map(|text| text.split_once(':').map(|(id, status)| (id.to_owned(), state(status))).unwrap())
                .collect(),
            region: "westeurope".into(),
        }),
        "replica" => What::Replica(ReplicaFact {
            registry_id: words[1].into(),
            region: words[2].into(),
            provisioning_state: words[3].into(),
        }),
        "pe" => What::Endpoint(EndpointFact {
            endpoint_id: words[1].into(),
            registry_id: words[3].into(),
            state: state(words[2]),
            interface_ids: vec![format!("{}-nic", words[1])],
            custom_dns: Vec::new(),
            vnet_id: option("vnet"),
            region: "westeurope".into(),
        }),
        "nic" => {
            origin = format!("{}/ipConfigurations/{}", words[1], words[3]);
            What::Interface(InterfaceFact {
                address: words[3].parse().unwrap(),
                group_id: if words[2] == "-" { String::new() } else { "registry".into() },
                member: String::new(),
                fqdns: (words[2] != "-").then(|| name(words[2])).into_iter().collect(),
                endpoint_id: option("pe"),
                vnet_id: option("vnet"),
                subnet_id: option("subnet"),
                region: "westeurope".into(),
            })
        }
        "group" => What::ZoneGroup(ZoneGroupFact {
            endpoint_id: words[1].into(),
            zone_ids: vec![words[2].into()],
            records: vec![(name(words[3]), vec![words[4].parse().unwrap()])],
        }),
        "subnet" => What::Subnet(SubnetFact {
            subnet_id: words[1].into(),
            vnet_id: words[2].into(),
            prefixes: vec![words[3].parse().unwrap()],
        }),
        other => panic!("{other}"),
    };
    Fact { origin, what }
}

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
