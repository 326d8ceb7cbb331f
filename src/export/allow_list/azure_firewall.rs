//! A rule collection group of an Azure Firewall policy
//! (`Microsoft.Network/firewallPolicies/ruleCollectionGroups`): application
//! rules by name, and network rules by address for traffic that is not looked into.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{Entry, PORT};
use crate::export::text;

/// Where the group stands among the policy's others.
const GROUP_PRIORITY: u32 = 500;
const NETWORK_PRIORITY: u32 = 510;
const APPLICATION_PRIORITY: u32 = 520;

pub(super) fn rules(entries: &[Entry], clients: &[IpNet]) -> String {
    let sources: Vec<String> = match clients {
        [] => vec!["*".to_owned()],
        clients => clients.iter().map(IpNet::to_string).collect(),
    };
    let (mut application, mut network) = (Vec::new(), Vec::new());
    for registry in entries.chunk_by(|a, b| a.registry == b.registry) {
        let Some(first) = registry.first() else { continue };
        let names: Vec<&str> = registry.iter().map(|entry| entry.name.as_str()).collect();
        application.push(json!({
            "ruleType": "ApplicationRule",
            "name": first.registry,
            "protocols": [{ "protocolType": "Https", "port": PORT }],
            "sourceAddresses": sources,
            "targetFqdns": names,
            "terminateTLS": false,
        }));
        let addresses: std::collections::BTreeSet<IpAddr> =
            registry.iter().flat_map(|entry| &entry.addresses).copied().collect();
        if addresses.is_empty() {
            continue;
        }
        network.push(json!({
            "ruleType": "NetworkRule",
            "name": first.registry,
            "ipProtocols": ["TCP"],
            "sourceAddresses": sources,
            "destinationAddresses": addresses,
            "destinationPorts": [PORT.to_string()],
        }));
    }
    let group = json!({
        "properties": {
            "priority": GROUP_PRIORITY,
            "ruleCollections": [
                collection("hubdns-registries-network", NETWORK_PRIORITY, &network),
                collection("hubdns-registries-application", APPLICATION_PRIORITY, &application),
            ],
        },
    });
    text::json(&group)
}

fn collection(name: &str, priority: u32, rules: &[Value]) -> Value {
    json!({
        "ruleCollectionType": "FirewallPolicyFilterRuleCollection",
        "name": name,
        "priority": priority,
        "action": { "type": "Allow" },
        "rules": rules,
    })
}
