//! Resource Manager's client over real HTTPS: whole listings, the right
//! requests, tokens where they belong, budgets and pauses.

#[path = "common/arm.rs"]
mod arm;
#[path = "common/azure/mod.rs"]
mod azure;

use std::sync::Arc;
use std::time::Duration;

use arm::{DNS, Rig, fast, zones};
use azure::edits::zone;
use azure::{Authorization, Azure, Estate, FIXED_TOKEN, Fault, HUB, Kind, WORKLOAD};
use hubdns::metrics::azure::{AzureFamily, AzureQuota, AzureWait};
use hubdns::sources::azure::arm::{ArmError, Family, Limits, Rate};
use serde_json::{Value, json};

fn data() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/azure/composed/contoso-hub.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("data")).expect("JSON")
}

fn records() -> (Family, String) {
    let zone = zone("privatelink.azurecr.io");
    (Family::RecordSets(zone.to_ascii_lowercase()), format!("{zone}/ALL?{DNS}"))
}

#[test]
fn pages_are_followed_as_their_links_say() {
    let azure = Azure::start();
    let rig = Rig::new(&azure, fast());
    let (family, path) = records();
    let list = rig.list(&family, &path).expect("a listing");
    assert_eq!((list.values.len(), list.pages), (9, 3));
    let queries: Vec<String> = azure.log().into_iter().map(|seen| seen.query).collect();
    let verbatim = [
        "api-version=2024-06-01",
        "api-version=2024-06-01&$skipToken=Y29udG9zb2Rldi8x",
        "api-version=2024-06-01&$skipToken=Y29udG9zb2RyaWZ0LzI%3D",
    ];
    assert_eq!(queries, verbatim);
    assert!(azure.log().iter().all(|seen| seen.authorization == Authorization::Right));
}

#[test]
fn the_request_to_resource_graph_is_that_of_the_data() {
    let azure = Azure::start();
    let rig = Rig::new(&azure, Limits { graph_page: 3, ..fast() });
    let data = data();
    let routes = data["routes"].as_array().expect("routes").iter();
    let asked: Vec<Value> = routes.filter_map(|route| route.get("request_body").cloned()).collect();
    let query = asked[0]["query"].as_str().expect("a query");
    let list = rig.graph(&[HUB, WORKLOAD], query).expect("rows");
    assert_eq!((list.values.len(), list.pages), (5, 2));
    let sent: Vec<Value> = azure.log().into_iter().filter_map(|seen| seen.body).collect();
    assert_eq!(sent, asked);
    assert_eq!(rig.metrics().left(AzureFamily::Graph, AzureQuota::GraphQueries), Some(14));
}

#[test]
fn a_resource_is_there_or_gone() {
    let azure = Azure::start();
    let rig = Rig::new(&azure, fast());
    let (family, _) = records();
    let path = format!("{}/A/contosodrift?{DNS}", zone("privatelink.azurecr.io"));
    let record = rig.get(&family, &path).expect("a record set");
    assert_eq!(record["properties"]["aRecords"][0]["ipv4Address"], "10.20.0.77");
    azure.edit(|estate| estate.remove_record(&zone("privatelink.azurecr.io"), "A", "contosodrift"));
    assert!(matches!(rig.get(&family, &path), Err(ArmError::NotFound)));
}

#[test]
fn compressed_bodies_are_read_and_bounded_as_they_unfold() {
    let azure = Azure::start();
    azure.gzip(true);
    let rig = Rig::new(&azure, fast());
    let (family, path) = records();
    assert_eq!(rig.list(&family, &path).expect("a listing").values.len(), 9);
    let small = Rig::new(&azure, Limits { page_bytes: 100, ..fast() });
    assert!(matches!(small.list(&family, &path), Err(ArmError::Body(_))));
    let few = Rig::new(&azure, Limits { list_bytes: 3000, ..fast() });
    assert!(matches!(few.list(&family, &path), Err(ArmError::Body(_))));
}

#[test]
fn a_path_leads_to_resource_manager_or_nowhere() {
    let azure = Azure::start();
    let other = Azure::start();
    let rig = Rig::new(&azure, fast());
    for path in ["@127.0.0.1:1/x", ":1/x", "", "https://127.0.0.1:1/x", &format!("@{}/", other.address())] {
        let refused = rig.get(&Family::Network, path);
        assert!(matches!(refused, Err(ArmError::Http(_))), "{path}: {refused:?}");
    }
    assert_eq!((azure.log().len(), other.log().len()), (0, 0));
}

#[test]
fn a_refused_token_is_replaced_once() {
    let azure = Azure::start();
    let rig = Rig::new(&azure, fast());
    rig.tokens.set("stale", FIXED_TOKEN);
    assert_eq!(rig.list(&Family::PrivateDns, &zones(HUB)).expect("a listing").values.len(), 3);
    assert_eq!(rig.tokens.invalidated(), 1);
    azure.clear_log();
    rig.tokens.set("stale", "stale too");
    let error = rig.list(&Family::PrivateDns, &zones(HUB)).expect_err("no token is good");
    assert!(matches!(error, ArmError::Unauthorized { .. }), "{error:?}");
    assert_eq!(azure.count(Kind::Zones), 2, "no more than one repetition");
    assert!(!format!("{error:?}").contains("stale"));
}

#[test]
fn many_requests_with_a_refused_token_replace_it_once() {
    let azure = Azure::start();
    let rig = Rig::new(&azure, fast());
    rig.tokens.set("stale", FIXED_TOKEN);
    let list = || rig.list_later(Family::PrivateDns, zones(HUB));
    let lists: Vec<_> = (0..16).map(|_| list()).collect();
    for list in lists {
        assert_eq!(rig.wait(list).expect("a listing").values.len(), 3);
    }
    assert_eq!(rig.tokens.invalidated(), 1);
}

#[test]
fn what_is_left_of_azures_limits_is_kept() {
    let azure = Azure::start();
    let recorded = "x-ms-ratelimit-remaining-subscription-global-reads";
    let registries = format!("/subscriptions/{WORKLOAD}/providers/Microsoft.ContainerRegistry/registries");
    azure.edit(|estate| estate.set_header(&registries, recorded, "16499"));
    let rig = Rig::new(&azure, fast());
    rig.list(&Family::Registry, &format!("{registries}?api-version=2025-11-01")).expect("a listing");
    let (family, path) = records();
    rig.list(&family, &path).expect("a listing");
    let left = |family, quota| rig.metrics().left(family, quota);
    assert_eq!(left(AzureFamily::Registry, AzureQuota::SubscriptionReads), Some(249));
    assert_eq!(left(AzureFamily::Registry, AzureQuota::SubscriptionGlobalReads), Some(16_499));
    assert_eq!(left(AzureFamily::RecordSets, AzureQuota::ResourceRequests), Some(497));
    assert_eq!(rig.metrics().requests(AzureFamily::RecordSets, "ok"), 3);
}

#[test]
fn retry_after_holds_the_whole_family_and_no_other() {
    let azure = Azure::start();
    let rig = Rig::new(&azure, Limits { retries: 1, ..fast() });
    azure.fault_times(Kind::Zones, Fault::StatusAfter(429, "2".to_owned()), 1);
    let throttled = rig.list_later(Family::PrivateDns, zones(HUB));
    azure.wait_for(Kind::Zones, 1);
    // Asked for while the family has to wait: only this one goes at once.
    let nics =
        format!("/subscriptions/{HUB}/providers/Microsoft.Network/networkInterfaces?api-version=2024-05-01");
    let links = rig.list_later(
        Family::PrivateDns,
        format!("{}/virtualNetworkLinks?{DNS}", zone("privatelink.azurecr.io")),
    );
    rig.list(&Family::Network, &nics).expect("a listing");
    assert_eq!(azure.count(Kind::Zones), 1, "the family waits");
    assert_eq!(rig.wait(throttled).expect("a listing").values.len(), 3);
    assert_eq!(rig.wait(links).expect("a listing").values.len(), 2);
    let log = azure.log();
    let of = |kind: Kind| log.iter().filter(move |seen| seen.kind == kind).map(|seen| seen.at);
    let first = of(Kind::Zones).next().expect("a request");
    for later in of(Kind::Zones).skip(1) {
        assert!(later - first >= Duration::from_secs(2), "{:?}", later - first);
    }
    assert!(rig.metrics().waits(AzureFamily::PrivateDns, AzureWait::Throttled) >= 1);
}

#[test]
fn a_pause_beyond_patience_is_told_at_once_and_kept() {
    let azure = Azure::start();
    let rig = Rig::new(&azure, fast());
    azure.fault_times(Kind::Zones, Fault::StatusAfter(429, "3000".to_owned()), 1);
    for _ in 0..3 {
        let error = rig.list(&Family::PrivateDns, &zones(HUB)).expect_err("throttled");
        let ArmError::Throttled { retry_after: Some(after) } = error else { panic!("{error:?}") };
        assert!(after > Duration::from_secs(2000), "{after:?}");
    }
    assert_eq!(azure.count(Kind::Zones), 1, "Azure is left alone meanwhile");
}

#[test]
fn clones_share_the_budget() {
    let azure = Azure::start();
    let rate = Rate { burst: 2, interval: Duration::from_millis(300) };
    let rig = Rig::new(&azure, Limits { record_sets: rate, ..fast() });
    let (family, path) = records();
    let lists: Vec<_> = (0..2).map(|_| rig.list_later(family.clone(), path.clone())).collect();
    for list in lists {
        assert_eq!(rig.wait(list).expect("a listing").values.len(), 9);
    }
    let log = azure.log();
    assert_eq!(log.len(), 6);
    // Six requests from a bucket of two: the last has waited for four more tokens.
    let took = log[5].at - log[0].at;
    assert!(took >= Duration::from_millis(900), "{took:?}");
    assert!(rig.metrics().waits(AzureFamily::RecordSets, AzureWait::Budget) >= 3);
}

#[test]
fn a_large_listing_is_whole() {
    let path = format!("/subscriptions/{HUB}/providers/Microsoft.Network/privateDnsZones");
    let items: Vec<Value> = (0..2500)
        .map(|i| json!({"id": format!("{path}/zone{i}"), "name": format!("zone{i}"), "type": "Microsoft.Network/privateDnsZones"}))
        .collect();
    let mut estate = Estate::empty();
    estate.add_list(&path, "2024-06-01", &items, 10);
    let azure = Azure::start_with(estate);
    let rig = Rig::new(&azure, fast());
    let list = rig.list(&Family::PrivateDns, &format!("{path}?{DNS}")).expect("a listing");
    assert_eq!((list.values, list.pages), (items, 250));
}

#[test]
fn resource_graph_counts_what_it_has() {
    let azure = Azure::start();
    let rig = Rig::new(&azure, fast());
    let query = "Resources | where type =~ 'microsoft.network/networkinterfaces' | order by id asc";
    assert_eq!(rig.graph(&[WORKLOAD], query).expect("rows").values.len(), 6);
    assert_eq!(rig.graph(&[], query).expect("nothing to ask").values.len(), 0);
    let error = rig.graph(&[WORKLOAD], "Resources | nonsense here").expect_err("a bad query");
    assert!(matches!(error, ArmError::Status { status: 400, .. }), "{error:?}");
    azure.fault(Kind::Graph, Fault::Status(403));
    let error = rig.graph(&[WORKLOAD], query).expect_err("not allowed");
    let ArmError::Forbidden { action, .. } = error else { panic!("{error:?}") };
    assert_eq!(action, "Microsoft.ResourceGraph/resources/read");
}

#[test]
fn counters_are_shared_by_who_hands_them_in() {
    let azure = Azure::start();
    let metrics = Arc::default();
    let rig = Rig::with_metrics(&azure, fast(), Arc::clone(&metrics));
    rig.list(&Family::PrivateDns, &zones(HUB)).expect("a listing");
    assert_eq!(metrics.requests(AzureFamily::PrivateDns, "ok"), 1);
}
