//! The merge, case by case: facts written tersely in, the record set out.

use hubdns::routes::RouteTable;
use hubdns::snapshot::model::{Alias, ZonePolicy};
use hubdns::sync::memory::Memory;
use hubdns::sync::merge::{Merged, merge};
use hubdns::sync::policy::Policy;
use hubdns::wire::{Name, Rtype, rdata};

mod endpoints;
mod facts;
mod whole;

use facts::listings;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn policy() -> Policy {
    Policy {
        suffixes: ["azurecr.io", "azurecr.us", "azurecr.cn"].map(name).to_vec(),
        zones: vec![name("corp.example")],
        own_registries: Vec::new(),
        ttl_floor: 0,
        ttl_cap: 86_400,
        interface_ttl: 10,
        vnets: Vec::new(),
        regions: Vec::new(),
        views: Vec::new(),
        allowed_prefixes: ["10.0.0.0/8", "fd00::/8"].iter().map(|text| text.parse().unwrap()).collect(),
    }
}

fn run(facts: &str, policy: &Policy, memory: &Memory) -> Merged {
    let listings = listings(facts);
    merge(&listings.iter().collect::<Vec<_>>(), policy, memory, &RouteTable::new())
}

fn lines(merged: &Merged) -> Vec<String> {
    let mut lines = Vec::new();
    for rrset in merged.set.zones.iter().flat_map(|zone| &zone.rrsets) {
        let data: Vec<String> = rrset.rdatas.iter().map(|data| rdata::to_text(rrset.rtype, data)).collect();
        lines.push(format!("{} {} {} {}", rrset.owner, rrset.ttl, rrset.rtype, data.join(",")));
    }
    lines.sort();
    let alias = |alias: &Alias| format!("{} -> {}", alias.public, alias.target);
    let mut aliases: Vec<String> = merged.set.aliases.iter().map(alias).collect();
    aliases.sort();
    lines.extend(aliases);
    lines.extend(merged.set.own.iter().map(|own| format!("own {own}")));
    lines
}

#[track_caller]
fn check(facts: &str, expected: &[&str]) -> Merged {
    check_with(facts, &policy(), &Memory::default(), expected)
}

#[track_caller]
fn check_with(facts: &str, policy: &Policy, memory: &Memory, expected: &[&str]) -> Merged {
    let merged = run(facts, policy, memory);
    assert_eq!(lines(&merged), expected);
    merged
}

fn codes(merged: &Merged) -> Vec<&'static str> {
    merged.findings.iter().map(|finding| finding.code.label()).collect()
}

/// The reasons why others lost at `owner`.
fn lost(merged: &Merged, owner: &str) -> Vec<&'static str> {
    let entries = merged.provenance.entries_at(&name(owner));
    entries.iter().flat_map(|entry| &entry.alternatives).map(|lost| lost.reason.label()).collect()
}

#[test]
fn an_interface_vouches_for_private_link_name_and_public_alias() {
    let merged = check(
        "nic n C.azurecr.io 10.0.0.5 pe=p
         nic n c.westeurope.data.azurecr.io 10.0.0.4 pe=p
         nic n c.westeurope.geo.azurecr.io 10.0.0.6 pe=p",
        &[
            "c.privatelink.azurecr.io 10 A 10.0.0.5",
            "c.westeurope.data.privatelink.azurecr.io 10 A 10.0.0.4",
            "c.westeurope.geo.privatelink.azurecr.io 10 A 10.0.0.6",
            "c.azurecr.io -> c.privatelink.azurecr.io",
            "c.westeurope.data.azurecr.io -> c.westeurope.data.privatelink.azurecr.io",
            "c.westeurope.geo.azurecr.io -> c.westeurope.geo.privatelink.azurecr.io",
            "own c.azurecr.io",
        ],
    );
    let apexes: Vec<String> = merged.set.zones.iter().map(|zone| zone.apex.to_string()).collect();
    assert_eq!(apexes, ["privatelink.azurecr.io"]);
    assert_eq!(merged.set.zones[0].policy, ZonePolicy::FallThrough);
    assert_eq!(merged.set.zones[0].soa.serial, None);
}

#[test]
fn us_and_cn_suffixes_have_zones_of_their_own() {
    let merged = check(
        "nic n c.azurecr.us 10.0.0.5
         nic m c.chinaeast2.data.azurecr.cn 10.0.0.6
         nic o c.azurecr.fr 10.0.0.7",
        &[
            "c.chinaeast2.data.privatelink.azurecr.cn 10 A 10.0.0.6",
            "c.privatelink.azurecr.us 10 A 10.0.0.5",
            "c.azurecr.us -> c.privatelink.azurecr.us",
            "c.chinaeast2.data.azurecr.cn -> c.chinaeast2.data.privatelink.azurecr.cn",
            "own c.azurecr.cn",
            "own c.azurecr.us",
        ],
    );
    let mut apexes: Vec<String> = merged.set.zones.iter().map(|zone| zone.apex.to_string()).collect();
    apexes.sort();
    assert_eq!(apexes, ["privatelink.azurecr.cn", "privatelink.azurecr.us"]);
}

#[test]
fn static_comes_before_interface_and_that_before_zone() {
    let zone = "set privatelink.azurecr.io c.privatelink.azurecr.io A 300 10.0.0.1\n";
    let nic = "nic n c.azurecr.io 10.0.0.2 pe=p\n";
    let entry = "static c.privatelink.azurecr.io A 60 10.0.0.3\n";
    check(zone, &["c.privatelink.azurecr.io 300 A 10.0.0.1"]);
    let alias = "c.azurecr.io -> c.privatelink.azurecr.io";
    // The interface's address with the zone's TTL.
    check(&[zone, nic].concat(), &["c.privatelink.azurecr.io 300 A 10.0.0.2", alias, "own c.azurecr.io"]);
    let merged = check(
        &[zone, nic, entry].concat(),
        &["c.privatelink.azurecr.io 60 A 10.0.0.3", alias, "own c.azurecr.io"],
    );
    assert_eq!(lost(&merged, "c.privatelink.azurecr.io"), ["lower-priority", "lower-priority"]);
    check(&[zone, entry].concat(), &["c.privatelink.azurecr.io 60 A 10.0.0.3", alias]);
}

#[test]
fn priority_is_per_type() {
    check(
        "set privatelink.azurecr.io c.privatelink.azurecr.io TXT 300 x
         nic n c.azurecr.io 10.0.0.2 pe=p
         nic n c.azurecr.io fd00::2 pe=p",
        &[
            "c.privatelink.azurecr.io 10 A 10.0.0.2",
            "c.privatelink.azurecr.io 10 AAAA fd00::2",
            "c.privatelink.azurecr.io 300 TXT \"x\"",
            "c.azurecr.io -> c.privatelink.azurecr.io",
            "own c.azurecr.io",
        ],
    );
}

#[test]
fn zone_records_get_no_public_alias() {
    check(
        "set privatelink.azurecr.io c.privatelink.azurecr.io A 10 10.0.0.1
         set privatelink.azurecr.io *.privatelink.azurecr.io A 10 10.0.0.9",
        &["*.privatelink.azurecr.io 10 A 10.0.0.9", "c.privatelink.azurecr.io 10 A 10.0.0.1"],
    );
}

#[test]
fn a_static_entry_without_address_makes_no_alias() {
    check("static c.privatelink.azurecr.io TXT 10 x", &["c.privatelink.azurecr.io 10 TXT \"x\""]);
}

#[test]
fn unrelated_zones_and_names_are_passed_over() {
    let merged = check(
        "set privatelink.blob.core.windows.net s.privatelink.blob.core.windows.net A 10 10.0.0.1
         zone privatelink.blob.core.windows.net
         nic n s.blob.core.windows.net 10.0.0.2
         set corp.example www.corp.example A 10 192.0.2.1",
        &["www.corp.example 10 A 192.0.2.1"],
    );
    assert_eq!(merged.findings, []);
    assert_eq!(merged.set.zones.len(), 1);
}

#[test]
fn never_approved_is_not_answered() {
    for (pe, note) in [("pending", "connection-pending"), ("rejected", "connection-rejected")] {
        let merged = check(
            &format!(
                "pe p {pe} r\nnic n c.azurecr.io 10.0.0.2 pe=p\nnic n - 10.0.0.3 pe=p\nregistry r c.azurecr.io"
            ),
            &[],
        );
        assert_eq!(codes(&merged), [note]);
        assert_eq!(lost(&merged, "c.privatelink.azurecr.io"), ["not-approved"]);
        assert!(merged.memory.connections.is_empty() && merged.memory.own.is_empty());
    }
}

#[test]
fn the_registry_tells_the_state_where_the_endpoint_is_not_listed() {
    check("registry r c.azurecr.io pe=p:disconnected\nnic n c.azurecr.io 10.0.0.2 pe=p", &[]);
    check(
        "registry r c.azurecr.io pe=p:approved\nnic n c.azurecr.io 10.0.0.2 pe=p",
        &[
            "c.privatelink.azurecr.io 10 A 10.0.0.2",
            "c.azurecr.io -> c.privatelink.azurecr.io",
            "own c.azurecr.io",
        ],
    );
}

const APPROVED: &str = "pe p approved r\nregistry r c.azurecr.io\nnic n c.azurecr.io 10.0.0.2 pe=p\n\
                        nic n c.eastus.data.azurecr.io 10.0.0.3 pe=p\n";
const APPROVED_SET: [&str; 5] = [
    "c.eastus.data.privatelink.azurecr.io 10 A 10.0.0.3",
    "c.privatelink.azurecr.io 10 A 10.0.0.2",
    "c.azurecr.io -> c.privatelink.azurecr.io",
    "c.eastus.data.azurecr.io -> c.eastus.data.privatelink.azurecr.io",
    "own c.azurecr.io",
];

#[test]
fn pending_again_keeps_what_it_had() {
    let memory = check(APPROVED, &APPROVED_SET).memory;
    let pending = "pe p pending r\nnic n - 10.0.0.2 pe=p\nnic n - 10.0.0.3 pe=p\nnic n - 10.0.0.4 pe=p";
    let merged = check_with(pending, &policy(), &memory, &APPROVED_SET);
    assert_eq!(codes(&merged), ["connection-remembered"]);
    assert_eq!(merged.memory, memory, "and again the next time");
    let entry = merged.provenance.entry(&name("c.privatelink.azurecr.io"), Rtype::A).unwrap();
    assert!(entry.winner.as_ref().unwrap().remembered);
    // Even without any interface.
    check_with("pe p pending r", &policy(), &memory, &APPROVED_SET);
}

#[test]
fn an_address_without_fqdns_keeps_the_names_of_its_connection() {
    let memory = check(APPROVED, &APPROVED_SET).memory;
    // The replica's address is being made: its name is not gone.
    let facts = "pe p approved r\nnic n c.azurecr.io 10.0.0.2 pe=p\nnic n - 10.0.0.3 pe=p";
    check_with(facts, &policy(), &memory, &APPROVED_SET);
    // The replica was deleted: the interface is whole without it.
    let facts = "pe p approved r\nnic n c.azurecr.io 10.0.0.7 pe=p";
    check_with(
        facts,
        &policy(),
        &memory,
        &[
            "c.privatelink.azurecr.io 10 A 10.0.0.7",
            "c.azurecr.io -> c.privatelink.azurecr.io",
            "own c.azurecr.io",
        ],
    );
}

#[test]
fn rejected_and_disconnected_withdraw_and_forget() {
    let memory = check(APPROVED, &APPROVED_SET).memory;
    for state in ["rejected", "disconnected"] {
        let facts = APPROVED.replace("approved", state);
        let merged = check_with(&facts, &policy(), &memory, &["own c.azurecr.io"]);
        assert!(merged.memory.connections.is_empty());
    }
}

#[test]
fn own_names_are_remembered_and_configured() {
    let memory = check(APPROVED, &APPROVED_SET).memory;
    let merged = check_with("", &policy(), &memory, &["own c.azurecr.io"]);
    assert_eq!(merged.set.zones[0].apex, name("privatelink.azurecr.io"), "for its SOA");
    let listed = Policy { own_registries: vec![name("d.azurecr.io")], ..policy() };
    let merged = check_with("", &listed, &memory, &["own c.azurecr.io", "own d.azurecr.io"]);
    assert_eq!(merged.memory.own.len(), 1, "the configuration's names are not remembered");
}

#[test]
fn a_registry_merely_visible_is_not_ours() {
    check("registry r c.azurecr.io pe=elsewhere:approved", &[]);
    check("registry r c.azurecr.io\npe p approved r", &["own c.azurecr.io"]);
    let scoped = Policy { vnets: vec!["hub".into()], ..policy() };
    check_with("registry r c.azurecr.io\npe p approved r vnet=other", &scoped, &Memory::default(), &[]);
}

#[test]
fn interfaces_outside_the_scope_are_findings() {
    let scoped = Policy { vnets: vec!["hub".into()], ..policy() };
    let facts = "nic n c.azurecr.io 10.0.0.2 pe=p vnet=other\nnic m d.azurecr.io 10.0.0.3 pe=q vnet=HUB
                 nic o e.azurecr.io 10.0.0.4 pe=x";
    let merged = check_with(
        facts,
        &scoped,
        &Memory::default(),
        &[
            "d.privatelink.azurecr.io 10 A 10.0.0.3",
            "d.azurecr.io -> d.privatelink.azurecr.io",
            "own d.azurecr.io",
        ],
    );
    assert_eq!(codes(&merged), ["endpoint-out-of-scope", "endpoint-out-of-scope"]);
    assert_eq!(lost(&merged, "c.privatelink.azurecr.io"), ["out-of-scope"]);
}

#[test]
fn addresses_outside_the_allowed_prefixes_are_refused() {
    let merged = check(
        "nic n c.azurecr.io 192.0.2.1 pe=p
         set privatelink.azurecr.io d.privatelink.azurecr.io A 10 192.0.2.2
         set privatelink.azurecr.io e.privatelink.azurecr.io A 10 192.0.2.3,10.0.0.3
         set privatelink.azurecr.io f.privatelink.azurecr.io AAAA 10 2001:db8::1",
        &["e.privatelink.azurecr.io 10 A 10.0.0.3"],
    );
    assert_eq!(codes(&merged), ["address-outside-subnet"; 4]);
    assert_eq!(lost(&merged, "d.privatelink.azurecr.io"), ["outside-allowed-prefixes"]);
}

#[test]
fn two_endpoints_for_one_name_are_chosen_by_region_scope_and_id() {
    let data = "nic a c.eastus.data.azurecr.io 10.0.0.1 pe=a region=westus
                nic b c.eastus.data.azurecr.io 10.0.0.2 pe=b region=eastus";
    let merged = run(data, &policy(), &Memory::default());
    assert_eq!(lines(&merged)[0], "c.eastus.data.privatelink.azurecr.io 10 A 10.0.0.2");
    assert_eq!(lost(&merged, "c.eastus.data.privatelink.azurecr.io"), ["other-region"]);
    let login = "nic b c.azurecr.io 10.0.0.2 pe=b vnet=v2 region=eastus
                 nic a c.azurecr.io 10.0.0.1 pe=a vnet=v1 region=westus";
    assert_eq!(
        lines(&run(login, &policy(), &Memory::default()))[0],
        "c.privatelink.azurecr.io 10 A 10.0.0.1"
    );
    let scoped = Policy { vnets: vec!["v2".into(), "v1".into()], ..policy() };
    assert_eq!(lines(&run(login, &scoped, &Memory::default()))[0], "c.privatelink.azurecr.io 10 A 10.0.0.2");
}

#[test]
fn custom_dns_configs_serve_where_no_interface_does() {
    let custom = "pe p approved r custom=c.azurecr.io=10.0.0.9\n";
    let alias = "c.azurecr.io -> c.privatelink.azurecr.io";
    check(custom, &["c.privatelink.azurecr.io 10 A 10.0.0.9", alias, "own c.azurecr.io"]);
    let both = format!("{custom}nic n c.azurecr.io 10.0.0.2 pe=q");
    check(&both, &["c.privatelink.azurecr.io 10 A 10.0.0.2", alias, "own c.azurecr.io"]);
    check(&custom.replace("approved", "pending"), &[]);
}

#[test]
fn zones_unite_and_the_more_specific_one_wins_for_its_owners() {
    let facts = "zone westeurope.data.privatelink.azurecr.io
                 set privatelink.azurecr.io a.westeurope.data.privatelink.azurecr.io A 10 10.0.0.1
                 set privatelink.azurecr.io b.westeurope.data.privatelink.azurecr.io A 10 10.0.0.2
                 set privatelink.azurecr.io b.westeurope.data.privatelink.azurecr.io TXT 10 x
                 set westeurope.data.privatelink.azurecr.io b.westeurope.data.privatelink.azurecr.io A 20 10.0.0.3";
    let merged = check(
        facts,
        &[
            "a.westeurope.data.privatelink.azurecr.io 10 A 10.0.0.1",
            "b.westeurope.data.privatelink.azurecr.io 20 A 10.0.0.3",
        ],
    );
    assert_eq!(lost(&merged, "b.westeurope.data.privatelink.azurecr.io"), ["more-specific-zone"; 2]);
    let sizes: Vec<usize> = merged.set.zones.iter().map(|zone| zone.rrsets.len()).collect();
    assert_eq!(sizes, [1, 1]);
}

#[test]
fn zones_count_only_where_they_are_linked() {
    let facts = "link z1 hub\nlink z2 other
                 zone privatelink.azurecr.io id=z1
                 set privatelink.azurecr.io a.privatelink.azurecr.io A 10 10.0.0.1 id=z1
                 set privatelink.azurecr.io a.privatelink.azurecr.io A 10 10.0.0.2 id=z2
                 zone privatelink.azurecr.io id=z2";
    let scoped = Policy { vnets: vec!["hub".into()], ..policy() };
    let merged = check_with(facts, &scoped, &Memory::default(), &["a.privatelink.azurecr.io 10 A 10.0.0.1"]);
    assert_eq!(codes(&merged), ["zone-not-linked"]);
    // Without links nothing is known, without a scope every zone counts: the smaller id.
    let unlinked = facts.replace("link z1 hub\nlink z2 other", "");
    check_with(&unlinked, &scoped, &Memory::default(), &["a.privatelink.azurecr.io 10 A 10.0.0.1"]);
    let merged = check(&facts.replace("z1", "z3"), &["a.privatelink.azurecr.io 10 A 10.0.0.2"]);
    assert_eq!(lost(&merged, "a.privatelink.azurecr.io"), ["other-zone"]);
    let reversed = Policy { vnets: vec!["other".into(), "hub".into()], ..policy() };
    check_with(facts, &reversed, &Memory::default(), &["a.privatelink.azurecr.io 10 A 10.0.0.2"]);
}

#[test]
fn rfc1034_a_cname_does_not_stand_beside_other_data() {
    let merged = check(
        "set privatelink.azurecr.io a.privatelink.azurecr.io CNAME 10 x.example
         nic n a.azurecr.io 10.0.0.1 pe=p
         static b.privatelink.azurecr.io CNAME 10 y.example
         set privatelink.azurecr.io b.privatelink.azurecr.io A 10 10.0.0.2
         set corp.example corp.example CNAME 10 z.example",
        &[
            "a.privatelink.azurecr.io 10 A 10.0.0.1",
            "b.privatelink.azurecr.io 10 CNAME y.example.",
            "a.azurecr.io -> a.privatelink.azurecr.io",
            "b.azurecr.io -> b.privatelink.azurecr.io",
            "own a.azurecr.io",
        ],
    );
    assert_eq!(codes(&merged), ["record-refused"; 3]);
    let entry = merged.provenance.entry(&name("a.privatelink.azurecr.io"), Rtype::CNAME).unwrap();
    assert_eq!((&entry.winner, entry.alternatives[0].reason.label()), (&None, "cname-conflict"));
}

#[test]
fn an_alias_hides_what_a_zone_holds_at_the_public_name() {
    let with_zone = Policy { zones: vec![name("azurecr.io")], ..policy() };
    let facts = "set azurecr.io c.azurecr.io A 10 10.0.0.9\nset azurecr.io d.azurecr.io A 10 10.0.0.8
                 nic n c.azurecr.io 10.0.0.1 pe=p";
    let merged = check_with(
        facts,
        &with_zone,
        &Memory::default(),
        &[
            "c.privatelink.azurecr.io 10 A 10.0.0.1",
            "d.azurecr.io 10 A 10.0.0.8",
            "c.azurecr.io -> c.privatelink.azurecr.io",
            "own c.azurecr.io",
        ],
    );
    assert_eq!(codes(&merged), ["record-refused"]);
}

#[test]
fn ttls_stay_within_floor_and_cap() {
    let bounded = Policy { ttl_floor: 5, ttl_cap: 100, ..policy() };
    let facts =
        "set corp.example a.corp.example A 0 10.0.0.1\nset corp.example b.corp.example A 788645 10.0.0.1";
    check_with(
        facts,
        &bounded,
        &Memory::default(),
        &["a.corp.example 5 A 10.0.0.1", "b.corp.example 100 A 10.0.0.1"],
    );
    check(facts, &["a.corp.example 0 A 10.0.0.1", "b.corp.example 86400 A 10.0.0.1"]);
}

#[test]
fn zone_files_bring_their_policy_and_win_over_azure_zones() {
    let merged = check(
        "zone corp.example policy=authoritative
         file corp.example a.corp.example A 10 10.0.0.1
         set corp.example a.corp.example A 10 10.0.0.2
         zone lab.example policy=authoritative
         file lab.example a.lab.example A 10 192.0.2.1",
        &["a.corp.example 10 A 10.0.0.1", "a.lab.example 10 A 192.0.2.1"],
    );
    assert!(merged.set.zones.iter().all(|zone| zone.policy == ZonePolicy::Authoritative));
}

#[test]
fn the_newest_word_on_a_resource_counts() {
    let old = listings("nic n c.azurecr.io 10.0.0.1 pe=p\nnic n c.eastus.data.azurecr.io 10.0.0.2 pe=p");
    let mut new = listings("nic n c.azurecr.io 10.0.0.9 pe=p");
    new[0].read_at = 2;
    let merged = merge(&[&old[0], &new[0]], &policy(), &Memory::default(), &RouteTable::new());
    assert_eq!(lines(&merged)[0], "c.privatelink.azurecr.io 10 A 10.0.0.9");
    assert_eq!(merged.set.aliases.len(), 1);
}

#[test]
fn the_order_of_facts_makes_no_difference() {
    let facts =
        format!("{APPROVED}set privatelink.azurecr.io z.privatelink.azurecr.io A 10 10.0.0.7,10.0.0.6");
    let reversed =
        facts.lines().rev().collect::<Vec<_>>().join("\n").replace("10.0.0.7,10.0.0.6", "10.0.0.6,10.0.0.7");
    let (one, other) =
        (run(&facts, &policy(), &Memory::default()), run(&reversed, &policy(), &Memory::default()));
    assert_eq!(one.set, other.set);
}
