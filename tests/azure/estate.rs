//! The composed estate: names, addresses, TTLs and findings, from the first
//! start to the steady state and through edits, in the requests allowed.

use std::collections::BTreeSet;

use super::azure::edits::{endpoint, registry, zone};
use super::azure::{Azure, Kind};
use super::rig::{Rig, expected};

/// `expected.findings` as code and name.
fn expected_findings() -> BTreeSet<(String, String)> {
    let text = include_str!("../data/azure/composed/contoso-hub.json");
    let data: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let list = data["expected"]["findings"].as_array().expect("a list");
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    list.iter().map(|finding| (text(&finding["code"]), text(&finding["name"]))).collect()
}

/// The records of `expected.from_zone` that no interface says otherwise.
fn expected_records() -> BTreeSet<String> {
    let text = include_str!("../data/azure/composed/contoso-hub.json");
    let data: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let zone = data["expected"]["from_zone"].as_object().expect("an object");
    let mut records: BTreeSet<String> = BTreeSet::new();
    for (owner, value) in zone {
        // The interface's word counts.
        if owner == "contosodrift.privatelink.azurecr.io" {
            continue;
        }
        let addresses = value[0].as_str().expect("addresses").replace(',', " ");
        records.insert(format!("{owner} {} A {addresses}", value[1]));
    }
    for (owner, address) in [
        ("contosodrift.privatelink.azurecr.io", "10.20.0.21"),
        ("contosodrift.westeurope.data.privatelink.azurecr.io", "10.20.0.20"),
        ("contosoprod.eastus.data.privatelink.azurecr.io", "10.20.0.6"),
    ] {
        records.insert(format!("{owner} 10 A {address}"));
    }
    records
}

fn check(keys: &str) {
    let mut rig = Rig::new(Azure::start(), keys, "");
    let report = rig.cycle();
    assert!(report.changed && report.failed.is_empty(), "{report:?}");
    assert_eq!(rig.answers(), expected(&[]));
    let records: BTreeSet<String> =
        rig.records().into_iter().filter(|record| !record.contains(" TXT ")).collect();
    assert_eq!(records, expected_records());
    assert_eq!(rig.findings(), expected_findings());
    // The steady state: nothing changes, nothing is asked more often.
    let first = rig.azure.arm_count();
    let generation = rig.state().generation;
    rig.azure.clear_log();
    let report = rig.cycle();
    assert!(!report.changed && report.generation == generation, "{report:?}");
    assert!(rig.azure.arm_count() <= first, "{} requests, then {}", first, rig.azure.arm_count());
    assert_eq!(rig.findings(), expected_findings());

    rig.azure.edit(|estate| estate.add_replica(&registry("contosodev"), "northeurope", "10.21.0.9"));
    rig.cycle();
    let replica = ("contosodev.northeurope.data.azurecr.io", "10.21.0.9");
    assert_eq!(rig.answers(), expected(&[replica]));
    let found = rig.findings();
    assert!(found.contains(&("missing-data-record".to_owned(), replica.0.to_owned())), "{found:?}");

    rig.azure.edit(|estate| estate.approve(&endpoint("pe-contosopending")));
    rig.cycle();
    assert!(rig.answers().contains_key("contosopending.azurecr.io"), "{:?}", rig.answers());
    let found = rig.findings();
    assert!(!found.iter().any(|(code, _)| code == "connection-pending"), "{found:?}");

    let apex = zone("privatelink.azurecr.io");
    rig.azure.edit(|estate| estate.set_record(&apex, "contosodev", &["10.21.0.77"], 10));
    rig.azure.edit(|estate| estate.set_record(&apex, "contosodrift", &["10.20.0.21"], 10));
    rig.cycle();
    let found = rig.findings();
    assert!(found.contains(&("ip-drift".to_owned(), "contosodev.azurecr.io".to_owned())), "{found:?}");
    assert!(!found.contains(&("ip-drift".to_owned(), "contosodrift.azurecr.io".to_owned())), "{found:?}");
    assert_eq!(rig.answers()["contosodev.azurecr.io"], [std::net::Ipv4Addr::new(10, 21, 0, 5)]);
}

#[test]
fn by_resource_graph() {
    check("discovery = \"resource-graph\"");
}

#[test]
fn by_resource_manager_alone() {
    check("discovery = \"resource-manager\"");
}

#[test]
fn by_whichever_is_allowed() {
    let azure = Azure::start();
    azure.fault(Kind::Graph, super::azure::Fault::Status(403));
    let mut rig = Rig::new(azure, "", "");
    rig.cycle();
    assert_eq!(rig.answers(), expected(&[]));
}

#[test]
fn the_first_pass_stays_within_its_requests() {
    let rig = Rig::new(Azure::start(), "discovery = \"resource-manager\"", "");
    rig.wait_until_read();
    let count = |kind| rig.azure.count(kind);
    // Two subscriptions, two pages of interfaces in one of them.
    assert_eq!((count(Kind::Subscriptions), count(Kind::Interfaces), count(Kind::Endpoints)), (1, 3, 2));
    assert_eq!((count(Kind::Zones), count(Kind::Registries)), (2, 2));
    // Three pages of the one zone, one of the other; the blob zone is nobody's business.
    assert_eq!((count(Kind::RecordSets), count(Kind::Links)), (4, 2));
    // Of registries with an endpoint alone.
    assert_eq!((count(Kind::ZoneGroups), count(Kind::Replications)), (4, 4));
    assert_eq!(count(Kind::Token), 1);
}
