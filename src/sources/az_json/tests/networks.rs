//! Zone groups and subnets.

use super::*;
use crate::sources::facts::{SubnetFact, ZoneGroupFact};

fn groups(facts: &[Fact]) -> Vec<&ZoneGroupFact> {
    facts.iter().filter_map(|f| if let What::ZoneGroup(g) = &f.what { Some(g) } else { None }).collect()
}

#[test]
fn quirk_zone_groups_with_and_without_records() {
    let file = "arm/network/private-endpoint-dns-zone-group.json";
    let facts = facts_in(file, "/privateDnsZoneGroups");
    let found = groups(&facts);
    assert_eq!(found.len(), 1, "one group, several times");
    assert!(found[0].endpoint_id.ends_with("/privateendpoints/cli-pe-000005"));
    assert!(!found[0].zone_ids.is_empty());
    // Without its id nothing tells whose group it is.
    let quoted = load("arm/network/acr-zone-group-recordsets.json");
    assert_eq!(facts_of_body("x", &quoted["body"]).unwrap(), []);
    let hub = facts_in("composed/contoso-hub.json", "pe-contosoprod/privateDnsZoneGroups");
    let records: Vec<String> =
        groups(&hub)[0].records.iter().map(|(name, addresses)| format!("{name} {}", addresses[0])).collect();
    assert_eq!(
        records,
        [
            "contosoprod.privatelink.azurecr.io 10.20.0.5",
            "contosoprod.westeurope.data.privatelink.azurecr.io 10.20.0.4",
        ]
    );
}

#[test]
fn subnets_of_virtual_networks_with_one_prefix_or_several() {
    let vnet = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/Hub";
    let subnet = |name: &str, properties: Value| json!({"id": format!("{vnet}/subnets/{name}"), "name": name, "properties": properties});
    let body = json!({"id": vnet, "type": "Microsoft.Network/virtualNetworks", "properties": {"subnets": [
        subnet("one", json!({"addressPrefix": "10.0.1.0/24"})),
        subnet("both", json!({"addressPrefix": null, "addressPrefixes": ["10.0.2.0/24", "fd00::/64"]})),
        subnet("none", json!({})),
    ]}});
    let facts = facts_of_body("x", &body).unwrap();
    let found: Vec<&SubnetFact> =
        facts.iter().filter_map(|f| if let What::Subnet(s) = &f.what { Some(s) } else { None }).collect();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].vnet_id, vnet.to_ascii_lowercase());
    assert_eq!(found[0].subnet_id, format!("{}/subnets/one", vnet.to_ascii_lowercase()));
    assert_eq!(found[0].prefixes, ["10.0.1.0/24".parse().unwrap()]);
    assert_eq!(found[1].prefixes, ["10.0.2.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()]);
    let odd = subnet("x", json!({"addressPrefix": "10.0.0"}));
    assert_eq!(facts_of_body("x", &odd).unwrap_err().label(), "shape");
    // Listed alone: `az network vnet subnet list`.
    let alone = json!([subnet("one", json!({"addressPrefix": "10.0.1.0/24"}))]);
    assert_eq!(facts_of_body("x", &alone).unwrap().len(), 1);
}
