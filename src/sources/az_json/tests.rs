//! Every recorded body, and each quirk that tests/data/azure/README.md lists.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::sources::facts::{ConnectionState, RrsetFact, What};
use crate::wire::rdata;

mod files;
mod networks;
mod records;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/azure")
}

fn load(file: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(data().join(file)).unwrap()).unwrap()
}

/// The bodies of all 2xx answers to GET and POST in a recording, oldest first.
fn bodies(file: &Value) -> Vec<Value> {
    let list = |key: &str| file[key].as_array().cloned().unwrap_or_default();
    let good = |exchange: &Value| exchange["response"]["status"].as_u64().is_some_and(|s| s < 300);
    let mut found: Vec<Value> = list("interactions").into_iter().chain(list("routes")).collect();
    found.retain(good);
    let mut bodies: Vec<Value> =
        found.into_iter().map(|exchange| exchange["response"]["body"].clone()).collect();
    for key in ["example", "responses", "200", "body"]
        .iter()
        .scan(file, |at, key| {
            *at = &at[*key];
            Some(*at)
        })
        .skip(3)
    {
        bodies.push(key.clone());
    }
    bodies.push(file["body"].clone());
    bodies.retain(|body| !body.is_null());
    bodies
}

fn documents(bodies: &[Value]) -> Vec<Document> {
    let document = |value: &Value| Document { path: PathBuf::from("body.json"), value: value.clone() };
    bodies.iter().map(document).collect()
}

/// Facts of the bodies whose target contains `part`.
fn facts_in(file: &str, part: &str) -> Vec<Fact> {
    let file = load(file);
    let exchanges = file["interactions"].as_array().or(file["routes"].as_array()).unwrap();
    let chosen: Vec<Value> = exchanges
        .iter()
        .filter(|exchange| exchange["response"]["status"] == 200)
        .filter(|exchange| {
            let request = exchange.get("request").unwrap_or(exchange);
            request["target"].as_str().unwrap().contains(part)
        })
        .map(|exchange| exchange["response"]["body"].clone())
        .collect();
    assert!(!chosen.is_empty(), "no target holds {part}");
    facts_of(documents(&chosen)).unwrap()
}

fn rrsets(facts: &[Fact]) -> Vec<&RrsetFact> {
    let rrset = |fact: &Fact| matches!(&fact.what, What::Rrset(_));
    facts
        .iter()
        .filter(|f| rrset(f))
        .map(|f| if let What::Rrset(r) = &f.what { r } else { unreachable!() })
        .collect()
}

fn lines(facts: &[Fact]) -> Vec<String> {
    let line = |set: &&RrsetFact| {
        let data: Vec<String> = set.rdatas.iter().map(|data| rdata::to_text(set.rtype, data)).collect();
        format!("{} {} {} {}", set.owner, set.ttl, set.rtype, data.join(", "))
    };
    rrsets(facts).iter().map(line).collect()
}

/// Kinds of facts and how many there are.
fn kinds(facts: &[Fact]) -> BTreeMap<&'static str, usize> {
    let mut kinds = BTreeMap::new();
    for fact in facts {
        let kind = match &fact.what {
            What::Rrset(_) => "rrset",
            What::Zone(_) => "zone",
            What::ZoneLink(_) => "link",
            What::Interface(_) => "interface",
            What::Endpoint(_) => "endpoint",
            What::Registry(_) => "registry",
            What::Replica(_) => "replica",
            What::ZoneGroup(_) => "zone-group",
            What::Subnet(_) => "subnet",
            What::Records(_) => "records",
        };
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

fn record_set(rtype: &str, name: &str, properties: impl Into<Value>) -> Value {
    let properties = properties.into();
    let id = format!(
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/privateDnsZones/corp.example/{rtype}/{name}"
    );
    json!({"id": id, "name": name, "type": format!("Microsoft.Network/privateDnsZones/{rtype}"), "properties": properties})
}

#[track_caller]
fn check_set(rtype: &str, name: &str, properties: Value, expected: &[&str]) {
    let set = record_set(rtype, name, properties);
    assert_eq!(lines(&facts_of_body("x.json", &set).unwrap()), expected);
}

#[test]
fn every_recorded_body_parses() {
    let mut directories = vec![data()];
    let mut parsed = 0;
    while let Some(directory) = directories.pop() {
        for entry in directory.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "json") {
                let file: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
                for body in bodies(&file) {
                    match facts_of_body("body.json", &body) {
                        // A failed operation's status, told with 200.
                        Ok(_) | Err(SourceError::SavedError { .. }) => {}
                        // A page whose next one is not at hand: the facts in it parse all the same.
                        Err(SourceError::Incomplete { .. }) => {
                            let mut page = body.as_object().unwrap().clone();
                            page.retain(|key, _| key != "nextLink" && key != "$skipToken");
                            facts_of_body("body.json", &Value::Object(page)).unwrap();
                        }
                        Err(error) => panic!("{}: {error}", path.display()),
                    }
                    parsed += 1;
                }
            }
        }
    }
    assert!(parsed > 150, "{parsed}");
}

#[test]
fn quirk_pending_endpoint_has_no_custom_dns() {
    let facts = facts_in("arm/acr/private-endpoint-approval.json", "/privateEndpoints/");
    assert_eq!(kinds(&facts), BTreeMap::from([("endpoint", 2)]));
    for fact in &facts {
        let What::Endpoint(endpoint) = &fact.what else { unreachable!() };
        assert_eq!(endpoint.state, ConnectionState::Pending);
        assert!(endpoint.custom_dns.is_empty());
        assert!(endpoint.registry_id.ends_with("/registries/testreg000002"));
        assert!(endpoint.vnet_id.is_some() && endpoint.interface_ids.len() == 1);
    }
}

#[test]
fn quirk_registry_side_lists_pending_and_approved_connections() {
    let file = load("arm/acr/private-endpoint-approval.json");
    let mut seen = Vec::new();
    for body in bodies(&file).iter().filter(|body| body.get("value").is_some()) {
        let states: Vec<ConnectionState> = facts_of_body("x", body)
            .unwrap()
            .iter()
            .map(|fact| match &fact.what {
                What::Endpoint(endpoint) => endpoint.state,
                other => panic!("{other:?}"),
            })
            .collect();
        seen.push(states);
    }
    assert!(seen.contains(&vec![ConnectionState::Pending]), "{seen:?}");
    assert!(
        seen.iter().any(|states| states.contains(&ConnectionState::Approved)
            && states.contains(&ConnectionState::Pending)),
        "{seen:?}"
    );
    assert!(seen.contains(&Vec::new()), "{seen:?}");
}

#[test]
fn quirk_private_link_resources_are_passed_over() {
    let facts = facts_in("arm/acr/private-link-resources.json", "/privateLinkResources");
    assert_eq!(facts, []);
}

#[test]
fn quirk_data_hosts_grow_with_a_replica() {
    let file = load("arm/acr/dedicated-data-endpoints.json");
    let counts: Vec<usize> = bodies(&file)
        .iter()
        .flat_map(|body| facts_of_body("x", body).unwrap())
        .filter_map(|fact| match fact.what {
            What::Registry(registry) => Some(registry.data_hosts.len()),
            _ => None,
        })
        .collect();
    assert!(counts.contains(&1) && counts.contains(&2), "{counts:?}");
    let replicas = facts_in("arm/acr/dedicated-data-endpoints.json", "/replications");
    assert!(kinds(&replicas)["replica"] >= 2);
}

#[test]
fn quirk_replicas_have_a_provisioning_state() {
    let facts = facts_in("arm/acr/replications.json", "/replications");
    for fact in &facts {
        let What::Replica(replica) = &fact.what else { panic!("{fact:?}") };
        assert!(!replica.region.is_empty() && !replica.region.contains(' '));
        assert!(!replica.provisioning_state.is_empty());
        assert!(replica.registry_id.ends_with("/registries/clireg000002"));
    }
}

#[test]
fn quirk_regional_endpoint_host_names() {
    let facts = facts_in("arm/acr/regional-endpoints-2026.json", "/registries/clitestre000002?");
    let What::Registry(registry) = &facts[0].what else { panic!() };
    assert_eq!(registry.regional_hosts, ["clitestre000002.westus.geo.azurecr.io".parse().unwrap()]);
}

#[test]
fn quirk_basic_registry_lacks_most_properties() {
    let facts = facts_in("arm/acr/registry-list-basic-sku-2017.json", "/registries");
    let What::Registry(registry) = &facts[0].what else { panic!() };
    assert_eq!(registry.login_server, "cctestcontainerregistry.azurecr.io".parse().unwrap());
    assert!(registry.connections.is_empty() && registry.data_hosts.is_empty());
}

#[test]
fn quirk_interfaces_of_machines_and_other_services_are_skipped() {
    let facts = facts_in("arm/network/nics-in-subscription.json", "/networkInterfaces");
    // Two of eleven belong to private endpoints, neither to a registry's with a group of its own.
    for fact in &facts {
        let What::Interface(interface) = &fact.what else { panic!("{fact:?}") };
        assert!(interface.endpoint_id.is_some() && interface.vnet_id.is_some());
        assert!(interface.group_id.is_empty());
    }
}

#[test]
fn quirk_order_of_ip_configurations_does_not_matter() {
    let quoted = load("arm/network/acr-nic-ipconfigurations-excerpt.json");
    let facts = facts_of_body("nic.json", &json!({"ipConfigurations": quoted["ipConfigurations"]})).unwrap();
    let names: Vec<String> = facts
        .iter()
        .map(|fact| match &fact.what {
            What::Interface(interface) => format!("{} {}", interface.fqdns[0], interface.address),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        names,
        ["acrforakssecurity.westus2.data.azurecr.io 10.1.1.20", "acrforakssecurity.azurecr.io 10.1.1.21",]
    );
}

#[test]
fn quirk_static_addresses_and_custom_dns_of_other_services_are_skipped() {
    // The recorded endpoints with static addresses lead to storage.
    assert_eq!(facts_in("arm/network/private-endpoint-static-ip.json", "/privateEndpoints/"), []);
    assert!(facts_in("arm/network/private-endpoints-in-subscription.json", "/privateEndpoints").is_empty());
}

#[test]
fn quirk_429_and_other_error_bodies_are_errors() {
    for (file, code) in [
        ("arm/network/retryable-429-no-retry-after.json", "RetryableError"),
        ("arm/privatedns/throttled-429.json", "Throttled"),
        ("arm/privatedns/zone-not-found.json", "ResourceNotFound"),
    ] {
        let file = load(file);
        let body = &file["interactions"][0]["response"]["body"];
        match facts_of_body("x.json", body).unwrap_err() {
            SourceError::SavedError { code: found, .. } => assert_eq!(found, code),
            other => panic!("{other}"),
        }
    }
    let file = load("arm/privatedns/etag-412.json");
    let failed = bodies(&file).into_iter().find(|body| body.get("error").is_some()).unwrap();
    let error = facts_of_body("x.json", &failed).unwrap_err();
    assert_eq!(error.label(), "saved_error");
}

#[test]
fn quirk_all_record_types_and_empty_sets() {
    let facts = facts_in("arm/privatedns/recordsets-all-types.json", "/ALL");
    let types: Vec<String> = rrsets(&facts).iter().map(|set| set.rtype.to_string()).collect();
    for rtype in ["A", "AAAA", "CNAME", "MX", "PTR", "SRV", "TXT"] {
        assert!(types.iter().any(|found| found == rtype), "{rtype} in {types:?}");
    }
    assert!(rrsets(&facts).iter().all(|set| !set.rdatas.is_empty()));
    check_set("A", "empty", json!({"ttl": 60, "aRecords": []}), &[]);
    check_set("A", "empty", json!({"ttl": 60, "aRecords": null}), &[]);
    check_set("CNAME", "empty", json!({"ttl": 60}), &[]);
    check_set("CNAME", "empty", json!({"ttl": 60, "cnameRecord": {"cname": ""}}), &[]);
}

#[test]
fn quirk_lists_by_type() {
    let facts = facts_in("arm/privatedns/recordsets-by-type.json", "000002/a?");
    assert_eq!(rrsets(&facts).len(), 4);
    assert!(rrsets(&facts).iter().all(|set| set.rtype.to_string() == "A"));
}

#[test]
fn quirk_default_zone_has_an_soa_alone() {
    let facts = facts_in("arm/privatedns/recordsets-default-only-soa.json", "/ALL");
    assert_eq!(kinds(&facts), BTreeMap::from([("zone", 1)]));
}

#[test]
fn quirk_imported_zones_ttls_txt_srv_and_apex() {
    let zone3 = lines(&facts_in("arm/privatedns/imported-zone3.json", "/ALL"));
    for expected in [
        "_sip._tcp.zone3.com 3600 SRV 10 20 30 foo.com",
        "test-cname2.zone3.com 3600 CNAME target.org.zone3.com.",
        "mail.zone3.com 3600 MX 100 mail.test.com.",
        "d1.zone3.com 3600 TXT \"fishfishfish\"",
    ] {
        assert!(zone3.iter().any(|line| line == expected), "{expected} in {zone3:#?}");
    }
    let long = zone3.iter().find(|line| line.starts_with("txt3.")).unwrap();
    assert!(long.contains("with l\" \"ots of text"), "two strings: {long}");
    let zone4 = lines(&facts_in("arm/privatedns/imported-zone4.json", "/ALL"));
    assert!(zone4.contains(&"ttl-0.zone4.com 0 A 10.2.3.4".to_owned()), "{zone4:?}");
    assert!(zone4.contains(&"ttl-mix.zone4.com 788645 A 10.8.9.0".to_owned()));
    let zone1 = lines(&facts_in("arm/privatedns/imported-zone1.json", "/ALL"));
    assert!(zone1.contains(&"mya.zone1.com 0 A 10.0.1.0, 10.0.1.1".to_owned()), "{zone1:?}");
    let zone6 = facts_in("arm/privatedns/imported-zone6.json", "/ALL");
    assert!(rrsets(&zone6).iter().any(|set| set.owner == set.zone), "records at the apex");
}

#[test]
fn quirk_crud_answers_are_single_record_sets() {
    let facts = facts_in("arm/privatedns/crud-a-record.json", "/a/clitestprivatednsrecordset000003");
    assert!(rrsets(&facts).len() <= 1 && !facts.iter().any(|fact| matches!(fact.what, What::Zone(_))));
}

#[test]
fn quirk_next_link_with_port_and_before_value() {
    let file = load("arm/privatedns/paging-first-page-skiptoken.json");
    let first = bodies(&file).into_iter().find(|body| body.get("nextLink").is_some()).unwrap();
    let error = facts_of_body("page1.json", &first).unwrap_err();
    let SourceError::Incomplete { path, next } = error else { panic!("{error}") };
    assert_eq!(path, Path::new("page1.json"));
    assert!(next.starts_with("https://management.azure.com:443/") && next.contains("skipToken"), "{next}");
    // The next page is one of the same zone and type that has no next link.
    let zone = next.split("/privateDnsZones/").nth(1).unwrap().split('/').next().unwrap();
    let item = |zone: &str| {
        let id = next.split('?').next().unwrap().replace("https://management.azure.com:443", "");
        let id = format!(
            "{}/last",
            id.replace(next.split("/privateDnsZones/").nth(1).unwrap().split('/').next().unwrap(), zone)
        );
        json!({"value": [{"id": id, "name": "last", "properties": {"ttl": 1}}]})
    };
    facts_of(documents(&[first.clone(), item(zone)])).unwrap();
    let other = facts_of(documents(&[first, item("other.example")])).unwrap_err();
    assert_eq!(other.label(), "incomplete");
}

#[test]
fn quirk_etags_change_and_do_not_matter() {
    let file = load("arm/privatedns/recordsets-update-etag.json");
    let lists: Vec<Vec<Fact>> = bodies(&file).iter().map(|body| facts_of_body("x", body).unwrap()).collect();
    assert!(lists.iter().any(|facts| !rrsets(facts).is_empty()));
}

#[test]
fn quirk_soa_with_both_minimum_keys() {
    let facts = facts_in("arm/privatedns/soa-both-minimum-keys.json", "/SOA");
    let What::Zone(zone) = &facts[0].what else { panic!() };
    let soa = zone.soa.as_ref().unwrap();
    assert_eq!((soa.minimum, soa.serial), (300, None));
    for key in ["minimumTTL", "minimumTtl"] {
        let body = record_set("SOA", "@", json!({"ttl": 60, "soaRecord": {key: 17}}));
        let facts = facts_of_body("x", &body).unwrap();
        let What::Zone(zone) = &facts[0].what else { panic!() };
        assert_eq!(zone.soa.as_ref().unwrap().minimum, 17);
    }
}

#[test]
fn quirk_zone_lists_and_links_with_and_without_policy() {
    let zones = facts_in("arm/privatedns/zones-in-subscription.json", "/privateDnsZones?");
    assert!(kinds(&zones)["zone"] >= 2);
    let policies = |file: &str| -> Vec<Option<String>> {
        let policy = |fact: &Fact| match &fact.what {
            What::ZoneLink(link) => {
                assert!(
                    link.zone_id.contains("/privatednszones/") && link.vnet_id.contains("/virtualnetworks/")
                );
                Some(link.resolution_policy.clone())
            }
            _ => None,
        };
        facts_in(file, "/virtualNetworkLinks").iter().filter_map(policy).collect()
    };
    assert!(policies("arm/privatedns/links.json").contains(&None));
    let with = policies("arm/privatedns/links-resolution-policy-2024.json");
    assert!(with.contains(&Some("Default".to_owned())), "{with:?}");
}

#[test]
fn quirk_empty_page_with_next_link() {
    let file = load("arm/empty-page-with-nextlink.json");
    let pages = bodies(&file);
    assert_eq!(facts_of_body("1.json", &pages[0]).unwrap_err().label(), "incomplete");
    assert_eq!(facts_of(documents(&pages)).unwrap(), []);
}

#[test]
fn quirk_resource_graph_tables_and_pages() {
    let file = load("resourcegraph/storage-table-format.json");
    for body in bodies(&file) {
        assert_eq!(facts_of_body("x", &body).unwrap(), [], "storage accounts are passed over");
    }
    let hub = load("composed/contoso-hub.json");
    let graph: Vec<Value> = hub["routes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|route| route["method"] == "POST")
        .map(|route| route["response"]["body"].clone())
        .collect();
    let whole = kinds(&facts_of(documents(&graph)).unwrap());
    assert_eq!(facts_of(documents(&graph[..1])).unwrap_err().label(), "incomplete");
    let table = json!({"totalRecords": 1, "count": 1, "data": {
        "columns": [{"name": "id"}, {"name": "type"}, {"name": "properties"}],
        "rows": [[graph[1]["data"][0]["id"], graph[1]["data"][0]["type"], graph[1]["data"][0]["properties"]]],
    }});
    assert_eq!(whole["interface"], 8);
    assert!(kinds(&facts_of_body("t", &table).unwrap())["interface"] > 0);
}

#[test]
fn quirk_spec_example_next_link_lacks_the_zone() {
    let file = load("spec-examples/privatedns-2020-06-01/RecordSetALLList.json");
    assert_eq!(facts_of_body("x", &bodies(&file)[0]).unwrap_err().label(), "incomplete");
}
