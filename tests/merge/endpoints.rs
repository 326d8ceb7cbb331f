//! Which of several endpoints serves a name, for whom, and what a zone without
//! links is worth.

use hubdns::config::View;
use hubdns::routes::{Route, RouteTable};
use hubdns::sync::memory::Memory;
use hubdns::sync::merge::{Merged, merge};
use hubdns::sync::policy::Policy;
use hubdns::wire::{Rtype, rdata};

use super::facts::listings;
use super::{check, check_with, codes, lines, lost, name, policy};

/// Two endpoints of one registry, each in its region and network.
const TWO: &str = "nic a c.azurecr.io 10.0.0.1 pe=a vnet=v1 region=westus
                   nic b c.azurecr.io 10.0.0.2 pe=b vnet=v2 region=eastus
                   nic a c.eastus.data.azurecr.io 10.0.0.3 pe=a vnet=v1 region=westus
                   nic b c.eastus.data.azurecr.io 10.0.0.4 pe=b vnet=v2 region=eastus";
const LOGIN: &str = "c.privatelink.azurecr.io";
const DATA: &str = "c.eastus.data.privatelink.azurecr.io";

fn view(name: &str, regions: &[&str], vnets: &[&str]) -> View {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    View {
        name: name.to_owned(),
        clients: vec!["10.8.0.0/16".parse().unwrap()],
        regions: owned(regions),
        vnets: owned(vnets),
    }
}

fn failed(of: &[(&str, &str)]) -> RouteTable {
    let row = |(public, address): &(&str, &str)| {
        let route = Route { problem: Some("timed out".to_owned()), checked_at: 1 };
        (((*public).to_owned(), address.parse().unwrap()), route)
    };
    of.iter().map(row).collect()
}

fn good(of: &[(&str, &str)]) -> RouteTable {
    let cleared = |(key, route)| (key, Route { problem: None, ..route });
    failed(of).into_iter().map(cleared).collect()
}

fn run(facts: &str, policy: &Policy, memory: &Memory, routes: &RouteTable) -> Merged {
    let listings = listings(facts);
    merge(&listings.iter().collect::<Vec<_>>(), policy, memory, routes)
}

/// The default address of `owner`, then those of the views (`2:10.0.0.1`).
fn served(merged: &Merged, owner: &str) -> Vec<String> {
    let rrsets = merged.set.zones.iter().flat_map(|zone| &zone.rrsets);
    let rrset = rrsets.filter(|rrset| rrset.owner == name(owner)).collect::<Vec<_>>();
    assert_eq!(rrset.len(), 1, "one default");
    let text = |data: hubdns::snapshot::model::Rdatas<'_>| {
        data.map(|data| rdata::to_text(Rtype::A, data)).collect::<Vec<_>>().join(",")
    };
    let variants = rrset[0].variants().map(|(view, rdatas)| format!("{view}:{}", text(rdatas)));
    [text(rrset[0].rdatas.clone())].into_iter().chain(variants).collect()
}

#[test]
fn regions_of_the_scope_come_after_the_region_of_the_name_and_before_networks() {
    let none = RouteTable::new();
    let merged = run(TWO, &policy(), &Memory::default(), &none);
    assert_eq!(
        (served(&merged, LOGIN), served(&merged, DATA)),
        (vec!["10.0.0.1".into()], vec!["10.0.0.4".into()])
    );
    assert_eq!((lost(&merged, LOGIN), lost(&merged, DATA)), (vec!["other-endpoint"], vec!["other-region"]));
    let east = Policy { regions: vec!["eastus".into(), "westus".into()], ..policy() };
    let merged = run(TWO, &east, &Memory::default(), &none);
    assert_eq!(
        (served(&merged, LOGIN), served(&merged, DATA)),
        (vec!["10.0.0.2".into()], vec!["10.0.0.4".into()])
    );
    assert_eq!(lost(&merged, LOGIN), ["other-region"]);
    let west = Policy { regions: vec!["westus".into()], vnets: vec!["v2".into(), "v1".into()], ..policy() };
    let merged = run(TWO, &west, &Memory::default(), &none);
    assert_eq!(
        (served(&merged, LOGIN), served(&merged, DATA)),
        (vec!["10.0.0.1".into()], vec!["10.0.0.4".into()])
    );
    let merged = run(TWO, &Policy { regions: Vec::new(), ..west }, &Memory::default(), &none);
    assert_eq!(
        (served(&merged, LOGIN), lost(&merged, LOGIN)),
        (vec!["10.0.0.2".into()], vec!["other-network"])
    );
}

#[test]
fn each_view_has_the_endpoint_of_its_networks_then_of_its_regions() {
    let views = vec![
        view("east", &["eastus"], &[]),
        view("west", &["westus"], &[]),
        view("network", &["westus"], &["v2"]),
        view("nowhere", &["chinaeast2"], &["v9"]),
    ];
    let with_views = Policy { views, ttl_floor: 30, ..policy() };
    let merged = run(TWO, &with_views, &Memory::default(), &RouteTable::new());
    assert_eq!(served(&merged, LOGIN), ["10.0.0.1", "1:10.0.0.2", "3:10.0.0.2"]);
    assert_eq!(served(&merged, DATA), ["10.0.0.4", "2:10.0.0.3"], "only where it differs");
    assert_eq!(
        merged.set.views.iter().map(|view| view.name.as_str()).collect::<Vec<_>>(),
        ["east", "west", "network", "nowhere"]
    );
    assert!(merged.set.zones[0].rrsets.iter().all(|rrset| rrset.ttl == 30), "one TTL for all");
    let entry = merged.provenance.entry(&name(LOGIN), Rtype::A).unwrap();
    assert_eq!(entry.alternatives.len(), 1);
    assert_eq!(entry.alternatives[0].views, ["east", "network"]);
    assert!(entry.winner.as_ref().unwrap().origin.starts_with("a/"));
    // What the configuration says of the name itself is for all.
    let fixed = format!("{TWO}\nstatic c.privatelink.azurecr.io A 60 10.0.0.9");
    assert_eq!(
        served(&run(&fixed, &with_views, &Memory::default(), &RouteTable::new()), LOGIN),
        ["10.0.0.9"]
    );
}

#[test]
fn a_view_may_have_an_endpoint_whose_interface_is_not_seen() {
    let facts = "nic a c.azurecr.io 10.0.0.1 pe=a vnet=v1
                 pe b approved r vnet=v2 custom=c.azurecr.io=10.0.0.2";
    let with_view = Policy { views: vec![view("v", &[], &["V2"])], ..policy() };
    let merged = run(facts, &with_view, &Memory::default(), &RouteTable::new());
    assert_eq!(served(&merged, LOGIN), ["10.0.0.1", "1:10.0.0.2"]);
}

#[test]
fn out_of_scope_and_refused_endpoints_serve_no_view() {
    let scoped =
        Policy { vnets: vec!["v1".into()], views: vec![view("v", &["eastus"], &["v2"])], ..policy() };
    assert_eq!(served(&run(TWO, &scoped, &Memory::default(), &RouteTable::new()), LOGIN), ["10.0.0.1"]);
    let with_view = Policy { views: vec![view("v", &[], &["v2"])], ..policy() };
    let outside = TWO.replace("10.0.0.2", "192.0.2.2");
    assert_eq!(
        served(&run(&outside, &with_view, &Memory::default(), &RouteTable::new()), LOGIN),
        ["10.0.0.1"]
    );
}

#[test]
fn an_endpoint_whose_way_failed_loses_to_one_whose_way_did_not() {
    let (first, second) = (("c.azurecr.io", "10.0.0.1"), ("c.azurecr.io", "10.0.0.2"));
    let login = |routes: &RouteTable| {
        let merged = run(TWO, &policy(), &Memory::default(), routes);
        (served(&merged, LOGIN).join(" "), lost(&merged, LOGIN)[0])
    };
    // Unknown counts as good.
    assert_eq!(login(&failed(&[first])), ("10.0.0.2".into(), "route-failed"));
    assert_eq!(login(&failed(&[second])), ("10.0.0.1".into(), "route-failed"));
    assert_eq!(login(&good(&[first, second])), ("10.0.0.1".into(), "other-endpoint"));
    // The last one stays, whatever the checks say: and it is the usual one.
    assert_eq!(login(&failed(&[first, second])), ("10.0.0.1".into(), "other-endpoint"));
    // The result of another name is no reason.
    assert_eq!(login(&failed(&[("d.azurecr.io", "10.0.0.1")])).0, "10.0.0.1");
    let alone = run("nic a c.azurecr.io 10.0.0.1 pe=a", &policy(), &Memory::default(), &failed(&[first]));
    assert_eq!(served(&alone, LOGIN), ["10.0.0.1"]);
    // Nor does a worse kind of fact win by it.
    let zone =
        "nic a c.azurecr.io 10.0.0.1 pe=a\nset privatelink.azurecr.io c.privatelink.azurecr.io A 10 10.0.0.8";
    assert_eq!(served(&run(zone, &policy(), &Memory::default(), &failed(&[first])), LOGIN), ["10.0.0.1"]);
}

#[test]
fn a_failed_way_moves_a_view_as_well() {
    let (first, second) = (("c.azurecr.io", "10.0.0.1"), ("c.azurecr.io", "10.0.0.2"));
    let with_view = Policy { views: vec![view("v", &[], &["v2"])], ..policy() };
    let of = |routes: &RouteTable| served(&run(TWO, &with_view, &Memory::default(), routes), LOGIN).join(" ");
    assert_eq!(of(&RouteTable::new()), "10.0.0.1 1:10.0.0.2");
    assert_eq!(of(&failed(&[second])), "10.0.0.1");
    assert_eq!(of(&failed(&[first])), "10.0.0.2");
    assert_eq!(of(&failed(&[first, second])), "10.0.0.1 1:10.0.0.2");
}

#[test]
fn equal_endpoints_do_not_take_turns() {
    let facts = ["nic a c.azurecr.io 10.0.0.1 pe=a", "nic b c.azurecr.io 10.0.0.2 pe=b"];
    for newest in [0, 1] {
        let mut listings: Vec<_> = facts.iter().flat_map(|facts| listings(facts)).collect();
        listings[newest].read_at = 9;
        for order in [[0, 1], [1, 0]] {
            let ordered = order.map(|at| &listings[at]);
            let merged = merge(&ordered, &policy(), &Memory::default(), &RouteTable::new());
            assert_eq!(served(&merged, LOGIN), ["10.0.0.1"], "{newest} {order:?}");
        }
    }
}

#[test]
fn live_zones_without_any_link_do_not_count() {
    let zone = "live:zone privatelink.azurecr.io id=z1
                live:set privatelink.azurecr.io a.privatelink.azurecr.io A 10 10.0.0.1 id=z1
                live:zone privatelink.azurecr.io id=z2
                live:set privatelink.azurecr.io a.privatelink.azurecr.io A 10 10.0.0.2 id=z2
                live:set privatelink.azurecr.io b.privatelink.azurecr.io A 10 10.0.0.3 id=z2\n";
    let linked = format!("{zone}live:link z2 hub");
    let merged =
        check(&linked, &["a.privatelink.azurecr.io 10 A 10.0.0.2", "b.privatelink.azurecr.io 10 A 10.0.0.3"]);
    assert_eq!(codes(&merged), ["zone-not-linked"]);
    assert_eq!(merged.findings[0].resource_id, "z1");
    // No links are known at all: everything counts.
    let merged =
        check(zone, &["a.privatelink.azurecr.io 10 A 10.0.0.1", "b.privatelink.azurecr.io 10 A 10.0.0.3"]);
    assert_eq!(codes(&merged), [""; 0]);
    // Saved output may lack the links of a zone.
    let saved = linked.replace("live:", "");
    assert_eq!(
        codes(&check_with(
            &saved,
            &policy(),
            &Memory::default(),
            &["a.privatelink.azurecr.io 10 A 10.0.0.1", "b.privatelink.azurecr.io 10 A 10.0.0.3",]
        )),
        [""; 0]
    );
}

#[test]
fn a_registry_never_stops_answering_while_a_replica_is_added() {
    let before = "registry r c.azurecr.io pe=p:approved
                  pe p approved r
                  nic p-nic c.azurecr.io 10.0.0.5 pe=p
                  nic p-nic c.westeurope.data.azurecr.io 10.0.0.4 pe=p\n";
    let kept = [
        "c.privatelink.azurecr.io 10 A 10.0.0.5",
        "c.westeurope.data.privatelink.azurecr.io 10 A 10.0.0.4",
        "c.azurecr.io -> c.privatelink.azurecr.io",
        "c.westeurope.data.azurecr.io -> c.westeurope.data.privatelink.azurecr.io",
        "own c.azurecr.io",
    ];
    let mut memory = check(before, &kept).memory;
    // What Azure shows meanwhile, in the order in which it may be seen.
    let fresh = "nic p-nic - 10.0.0.6 pe=p\n";
    let unnamed = before
        .replace("nic p-nic c.azurecr.io", "nic p-nic -")
        .replace("nic p-nic c.westeurope.data.azurecr.io", "nic p-nic -");
    let registry = |facts: &str| facts.replace("p:approved", "p:pending");
    let both = |facts: &str| registry(facts).replace("pe p approved", "pe p pending");
    let steps = [
        [before, fresh].concat(),
        registry(&[before, fresh].concat()),
        [registry(&unnamed).as_str(), fresh].concat(),
        both(&[unnamed.as_str(), fresh].concat()),
        both(&unnamed.replace("10.0.0.5", "10.0.0.7")),
        both("registry r c.azurecr.io pe=p:approved\npe p approved r\n"),
        registry(&unnamed).replace("pe p approved r\n", ""),
        unnamed.replace("10.0.0.4", "10.0.0.8"),
    ];
    for (at, facts) in steps.iter().enumerate() {
        let merged = check_with(facts, &policy(), &memory, &kept);
        memory = merged.memory;
        let connection = &memory.connections["p"];
        assert_eq!(connection.names.len(), 2, "step {at}");
        assert_eq!(
            connection.names[0].addresses,
            ["10.0.0.5".parse::<std::net::IpAddr>().unwrap()],
            "step {at}"
        );
    }
    let after = format!("{before}nic p-nic c.eastus.data.azurecr.io 10.0.0.6 pe=p");
    let merged = super::run(&after, &policy(), &memory);
    assert!(lines(&merged).contains(&"c.eastus.data.privatelink.azurecr.io 10 A 10.0.0.6".to_owned()));
    assert_eq!(merged.set.aliases.len(), 3);
}

#[test]
fn a_view_keeps_its_endpoint_while_that_one_is_pending_again() {
    let with_view = Policy { views: vec![view("v", &[], &["v2"])], ..policy() };
    let facts = format!("{TWO}\npe b approved r vnet=v2 region=eastus");
    let memory = run(&facts, &with_view, &Memory::default(), &RouteTable::new()).memory;
    let pending = facts.replace("approved", "pending").replace("nic b c.azurecr.io", "nic b -");
    let merged = run(&pending, &with_view, &memory, &RouteTable::new());
    assert_eq!(served(&merged, LOGIN), ["10.0.0.1", "1:10.0.0.2"]);
}
