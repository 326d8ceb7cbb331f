//! Each rule: what is changed in a healthy estate, and what is found.

use hubdns::findings::{Code, Finding};
use hubdns::routes::UpstreamState;
use hubdns::routes::{Route, RouteTable};
use hubdns::sources::facts::{Listing, SourceKind};
use hubdns::sync::memory::Memory;
use hubdns::sync::merge::merge;
use hubdns::sync::policy::Policy;

use super::facts::{changed, listings};
use super::{Facts, find, name, pairs, policy};
use hubdns::findings::{Evidence, examine};

/// What is found in the healthy estate with `changes`, as `code name`.
#[track_caller]
fn check_in(policy: &Policy, changes: &str, expected: &[&str]) -> Vec<Finding> {
    let findings = find(&listings(&changed(changes), SourceKind::Azure), policy, &Memory::default());
    let found: Vec<String> = pairs(&findings).iter().map(|(code, name)| format!("{code} {name}")).collect();
    assert_eq!(found, expected, "{changes}");
    findings
}

#[track_caller]
fn check(changes: &str, expected: &[&str]) -> Vec<Finding> {
    check_in(&policy(), changes, expected)
}

fn hub_alone() -> Policy {
    Policy { vnets: vec!["/n/hub".into()], ..policy() }
}

#[test]
fn a_healthy_estate_has_none() {
    check("", &[]);
    check_in(&hub_alone(), "", &[]);
    // Others' endpoints and registries that nobody connected are not our business.
    check("registry r2 fabrikam.azurecr.io\n nic blob - 10.0.0.9 pe=blob vnet=/n/hub", &[]);
    // So are an endpoint out of two that each have a zone, machines and texts.
    check("set z vm1.privatelink.azurecr.io A 10 10.0.0.90 auto", &[]);
    check("set z contoso.privatelink.azurecr.io TXT 300 owner", &[]);
}

#[test]
fn missing_records() {
    let data = "- set z contoso.westeurope";
    let found = check(data, &["missing-data-record contoso.westeurope.data.azurecr.io"]);
    assert!(found[0].text.contains("hubdns answers this name"), "{}", found[0]);
    assert!(found[0].text.contains("zone group did not write the record"), "{}", found[0]);
    check("- set z contoso.privatelink", &["missing-registry-record contoso.azurecr.io"]);
    // Replicas, data and regional hosts tell of names before interfaces do.
    let eastus = &["missing-data-record contoso.eastus.data.azurecr.io"];
    let found = check("replica r eastus Succeeded", eastus);
    assert!(found[0].text.contains("nor an address"), "{}", found[0]);
    let host =
        "- registry\n registry r contoso.azurecr.io pe=pe1:approved data=contoso.eastus.data.azurecr.io";
    check(host, eastus);
    check(
        "- registry\n registry r contoso.azurecr.io pe=pe1:approved geo=contoso.westeurope.geo.azurecr.io",
        &["missing-geo-record contoso.westeurope.geo.azurecr.io"],
    );
    // A wildcard answers too; if with another address, that is told.
    check(
        "- set z contoso.westeurope\n set z *.westeurope.data.privatelink.azurecr.io A 10 10.0.0.4",
        &["manual-record *.westeurope.data.privatelink.azurecr.io"],
    );
}

#[test]
fn nothing_is_missing_where_nothing_is_known() {
    // On premises without zones.
    check("- zone\n - set\n - link\n - group", &[]);
    // A zone that was listed and not read.
    check("- zone\n - set\n zone z privatelink.azurecr.io unread", &[]);
    check(
        "zone z2 privatelink.azurecr.io unread\n link z2 /n/spoke NxDomainRedirect\n - set z contoso.w",
        &[],
    );
    // Not ours: the only endpoint is not approved, or elsewhere.
    check(
        "- pe\n pe pe1 rejected r vnet=/n/hub\n - set\n - nic",
        &["connection-rejected contoso.azurecr.io"],
    );
}

#[test]
fn a_registry_whose_connection_waits_again_keeps_its_names() {
    let before = find_memory(&changed(""));
    let pending = changed(
        "- pe\n - nic\n - registry
         registry r contoso.azurecr.io pe=pe1:pending data=contoso.eastus.data.azurecr.io
         pe pe1 pending r vnet=/n/hub
         nic nic1 - 10.0.0.5 pe=pe1 vnet=/n/hub",
    );
    let found = find(&listings(&pending, SourceKind::Azure), &policy(), &before);
    let found: Vec<String> = pairs(&found).into_iter().map(|(code, name)| format!("{code} {name}")).collect();
    assert_eq!(
        found,
        ["connection-remembered contoso.azurecr.io", "missing-data-record contoso.eastus.data.azurecr.io",]
    );
}

fn find_memory(text: &str) -> Memory {
    let listings = listings(text, SourceKind::Azure);
    merge(
        &listings.iter().collect::<Vec<_>>(),
        &policy(),
        &Memory::default(),
        &hubdns::routes::RouteTable::new(),
    )
    .memory
}

#[test]
fn drift() {
    let elsewhere = "- set z contoso.privatelink\n set z contoso.privatelink.azurecr.io A 10 10.0.0.77";
    let found = check(elsewhere, &["ip-drift contoso.azurecr.io"]);
    assert!(found[0].text.contains("10.0.0.77") && found[0].text.contains("10.0.0.5"), "{}", found[0]);
    // One good address beside a wrong one: every second pull hangs.
    check(
        "- set z contoso.privatelink\n set z contoso.privatelink.azurecr.io A 10 10.0.0.5,10.0.0.77",
        &["ip-drift contoso.azurecr.io"],
    );
    check(
        "- set z contoso.westeurope\n set z *.data.privatelink.azurecr.io A 10 10.0.0.9",
        &["ip-drift contoso.westeurope.data.azurecr.io", "stale-record *.data.privatelink.azurecr.io"],
    );
}

#[test]
fn stale_and_manual_records() {
    let record = |rest: &str| format!("set z old.privatelink.azurecr.io A {rest}");
    let stale = &["stale-record old.privatelink.azurecr.io"];
    let manual = &["manual-record old.privatelink.azurecr.io"];
    check(&record("10 10.0.0.99"), stale);
    check(&record("300 10.0.0.99 creator=created_by_private_endpoint_pe-old_with_resource_guid_x"), stale);
    check(&record("3600 10.0.0.99"), manual);
    check(&record("10 10.0.0.99 creator=terraform"), manual);
    // What leads to an endpoint is alive, whoever made it.
    check(&record("10 10.0.0.5"), manual);
    check("set z old.privatelink.azurecr.io CNAME 10 contoso.privatelink.azurecr.io", manual);
    // Endpoints that are not seen, or not approved, may stand behind it.
    check(&format!("{}\n registry r2 old.azurecr.io pe=elsewhere:approved", record("10 10.0.0.99")), &[]);
    let owned = Policy { own_registries: vec![name("old.azurecr.io")], ..policy() };
    check_in(&owned, &record("10 10.0.0.99"), &[]);
    // A zone that does not count.
    check(
        "zone z3 privatelink.azurecr.us\n set z3 old.privatelink.azurecr.us A 10 10.0.0.99",
        &["zone-not-linked privatelink.azurecr.us"],
    );
    // A registry whose replica is gone.
    check(
        "set z contoso.eastus.data.privatelink.azurecr.io A 10 10.0.0.6",
        &["stale-record contoso.eastus.data.privatelink.azurecr.io"],
    );
}

#[test]
fn nothing_is_stale_while_something_was_never_read() {
    let text = changed("set z old.privatelink.azurecr.io A 10 10.0.0.99");
    let listings = listings(&text, SourceKind::Azure);
    let listings: Vec<&Listing> = listings.iter().collect();
    let (policy, merged) =
        (policy(), merge(&listings, &policy(), &Memory::default(), &hubdns::routes::RouteTable::new()));
    let facts = Facts { listings: &listings, set: &merged.set, policy: &policy, incomplete: true };
    assert_eq!(examine(&facts.evidence()), []);
}

#[test]
fn connections() {
    for (state, code) in [
        ("pending", "connection-pending"),
        ("rejected", "connection-rejected"),
        ("disconnected", "connection-disconnected"),
    ] {
        let changes = format!(
            "registry r2 other.azurecr.io pe=pe2:{state}\n pe pe2 {state} r2 vnet=/n/hub\n nic nic2 - 10.0.0.30 pe=pe2 vnet=/n/hub"
        );
        check(&changes, &[&format!("{code} other.azurecr.io")]);
        check_in(&hub_alone(), &changes, &[&format!("{code} other.azurecr.io")]);
        // In a network that is not ours it is not our connection.
        check_in(&hub_alone(), &changes.replace("/n/hub", "/n/else"), &[]);
    }
}

/// A second endpoint of the registry, in another network.
const SECOND: &str = "
    - registry
    registry r contoso.azurecr.io pe=pe1:approved,pe2:approved
    pe  pe2 approved r vnet=/n/spoke
    nic nic2 contoso.azurecr.io 10.0.9.5 pe=pe2 vnet=/n/spoke
";

#[test]
fn duplicate_endpoints() {
    let found = check(SECOND, &["duplicate-endpoint contoso.azurecr.io"]);
    assert!(found[0].text.contains("pe1 (10.0.0.5), pe2 (10.0.9.5)"), "{}", found[0]);
    // A zone for each is as it should be.
    let two_zones = format!(
        "{SECOND} zone z2 privatelink.azurecr.io\n link z2 /n/spoke NxDomainRedirect\n
         set z2 contoso.privatelink.azurecr.io A 10 10.0.9.5"
    );
    check(&two_zones, &[]);
    // Two groups that write one zone are not, whatever stands there now.
    let fighting = format!("{two_zones}\n group pe2 z contoso.privatelink.azurecr.io 10.0.9.5");
    let found = check(&fighting, &["duplicate-endpoint contoso.azurecr.io"]);
    assert!(found[0].text.contains("overwrite each other"), "{}", found[0]);
    // One of them elsewhere is no rival.
    check_in(&hub_alone(), SECOND, &["endpoint-out-of-scope contoso.azurecr.io"]);
}

#[test]
fn shadowing_zones() {
    let inner = "zone w westeurope.data.privatelink.azurecr.io\n link w /n/hub NxDomainRedirect";
    let found = check(inner, &["shadowing-zone westeurope.data.privatelink.azurecr.io"]);
    assert!(found[0].text.contains("contoso.westeurope.data.privatelink.azurecr.io"), "{}", found[0]);
    let holds = format!("{inner}\n set w contoso.westeurope.data.privatelink.azurecr.io A 10 10.0.0.4");
    check(&holds, &[]);
    // Linked elsewhere, or not read.
    check("zone w westeurope.data.privatelink.azurecr.io\n link w /n/spoke NxDomainRedirect", &[]);
    check("zone w westeurope.data.privatelink.azurecr.io unread\n link w /n/hub NxDomainRedirect", &[]);
}

#[test]
fn links_without_fallback() {
    check("- link\n link z /n/hub Default\n link z /n/spoke NxDomainRedirect", &["no-internet-fallback hub"]);
    // The live api tells every policy, so none is the default.
    check("- link\n link z /n/hub", &["no-internet-fallback hub"]);
    check_in(&hub_alone(), "link z /n/spoke Default", &[]);
    // One finding for a network, however many zones.
    check(
        "- link\n link z /n/hub Default\n zone z2 privatelink.azurecr.cn\n link z2 /n/hub Default",
        &["no-internet-fallback hub"],
    );
    // Saved output of an api without policies says nothing.
    let old = listings(&changed("- link\n link z /n/hub"), SourceKind::AzJson);
    assert_eq!(find(&old, &policy(), &Memory::default()), []);
}

#[test]
fn replicas_that_are_not_ready() {
    for state in ["Creating", "Updating", "Deleting", "Failed"] {
        check(&format!("replica r eastus {state}"), &["replica-provisioning contoso.eastus.data.azurecr.io"]);
    }
    check("replica r9 eastus Creating\n registry r9 fabrikam.azurecr.io", &[]);
}

#[test]
fn addresses_outside_their_subnet() {
    check(
        "- subnet\n subnet /n/hub/subnets/pe /n/hub 10.0.0.0/30",
        &[
            "address-outside-subnet contoso.azurecr.io",
            "address-outside-subnet contoso.westeurope.data.azurecr.io",
        ],
    );
}

#[test]
fn zones_without_links() {
    check("zone z2 privatelink.azurecr.cn", &["zone-not-linked privatelink.azurecr.cn"]);
    check_in(
        &hub_alone(),
        "zone z2 privatelink.azurecr.cn\n link z2 /n/other NxDomainRedirect",
        &["zone-not-linked privatelink.azurecr.cn"],
    );
    // Saved output without any link says nothing.
    let unknown = listings(&changed("- link"), SourceKind::AzJson);
    assert_eq!(find(&unknown, &policy(), &Memory::default()), []);
}

#[test]
fn ways_out() {
    let listings = listings(&changed(""), SourceKind::Azure);
    let listings: Vec<&Listing> = listings.iter().collect();
    let policy = policy();
    let merged = merge(&listings, &policy, &Memory::default(), &hubdns::routes::RouteTable::new());
    let route = |problem: Option<&str>| Route { problem: problem.map(str::to_owned), checked_at: 1 };
    let key = |address: &str| ("contoso.azurecr.io".to_owned(), address.parse().unwrap());
    let routes: RouteTable = [
        (key("10.0.0.5"), route(Some("connection timed out"))),
        (key("10.0.0.99"), route(Some("nobody is answered this one"))),
        (("contoso.westeurope.data.azurecr.io".to_owned(), "10.0.0.4".parse().unwrap()), route(None)),
    ]
    .into();
    let upstream = |address: &str, dnssec| UpstreamState {
        group: "azure".into(),
        upstream: address.to_owned(),
        dnssec,
        looping: address == "192.0.2.3:53",
    };
    let upstreams = [
        upstream("192.0.2.1:53", Some(false)),
        upstream("192.0.2.2:53", Some(true)),
        upstream("192.0.2.3:53", None),
    ];
    let facts = Facts { listings: &listings, set: &merged.set, policy: &policy, incomplete: false };
    let evidence = Evidence { routes: &routes, upstreams: &upstreams, ..facts.evidence() };
    let findings = examine(&evidence);
    let found: Vec<(Code, &str)> = findings.iter().map(|f| (f.code, f.name.as_str())).collect();
    assert_eq!(
        found,
        [
            (Code::RouteFailed, "contoso.azurecr.io"),
            (Code::UpstreamWithoutDnssec, "192.0.2.1:53"),
            (Code::ForwardLoop, "192.0.2.3:53"),
        ]
    );
    assert!(findings[0].text.contains("connection timed out"));
}

/// A record that a route check reached is alive, though nothing in Azure stands behind it.
#[test]
fn what_answers_is_not_stale() {
    let listings = listings(&changed("set z old.privatelink.azurecr.io A 10 10.0.0.99"), SourceKind::Azure);
    let listings: Vec<&Listing> = listings.iter().collect();
    let policy = policy();
    let merged = merge(&listings, &policy, &Memory::default(), &hubdns::routes::RouteTable::new());
    let routes: RouteTable = [(
        ("old.azurecr.io".to_owned(), "10.0.0.99".parse().unwrap()),
        Route { problem: None, checked_at: 1 },
    )]
    .into();
    let facts = Facts { listings: &listings, set: &merged.set, policy: &policy, incomplete: false };
    let findings = examine(&Evidence { routes: &routes, ..facts.evidence() });
    assert_eq!(findings.iter().map(|f| f.code).collect::<Vec<_>>(), [Code::ManualRecord]);
}
