//! Answers that differ by the client's view, and the marks of names asked
//! for: over record sets written as text.

mod common;

use common::estate::{ask_as, name, options, query, rdata_from_text, record_set, text};
use hubdns::answer::{Context, Outcome, Transport};
use hubdns::snapshot::Snapshot;
use hubdns::snapshot::model::{RecordSet, Variant};
use hubdns::snapshot::publish::Publisher;
use hubdns::wire::Rtype;
use proptest::prelude::*;

const ESTATE: &str = "
view spokes 10.8.0.0/16,fd08::/16
view labs 10.8.9.0/24
zone privatelink.azurecr.io
contoso.privatelink.azurecr.io 10 A 10.0.0.5
in spokes contoso.privatelink.azurecr.io A 10.8.0.5
in labs contoso.privatelink.azurecr.io A 10.9.0.5
in labs contoso.privatelink.azurecr.io A 10.9.0.6
contoso.privatelink.azurecr.io 300 TXT \"owner=platform\"
fabrikam.privatelink.azurecr.io 10 A 10.0.0.6
*.wild.privatelink.azurecr.io 30 A 10.0.0.9
in spokes *.wild.privatelink.azurecr.io A 10.8.0.9
alias contoso.azurecr.io contoso.privatelink.azurecr.io
alias fabrikam.azurecr.io fabrikam.privatelink.azurecr.io
own contoso.azurecr.io
authoritative corp.example
registry.corp.example 300 CNAME contoso.azurecr.io
moved.corp.example 60 CNAME fabrikam.azurecr.io
in spokes moved.corp.example CNAME host.elsewhere.example
old.corp.example 300 DNAME privatelink.azurecr.io
away.corp.example 300 DNAME wild.privatelink.azurecr.io
in labs away.corp.example DNAME privatelink.azurecr.io
";

fn snapshot() -> Snapshot {
    Snapshot::build(&record_set(ESTATE), &options(), 7)
}

fn ask(snapshot: &Snapshot, qname: &str, qtype: Rtype, view: u8) -> String {
    let context = Context { view, ..Context::INTERNAL };
    let (outcome, response) = ask_as(snapshot, &query(qname, qtype, 0x0100, None), context);
    match outcome {
        Outcome::Miss(_) => "forward".to_owned(),
        Outcome::Leads => format!("leads {}", text(&response)),
        Outcome::Hit(_) => text(&response),
    }
}

/// The addresses in the answer, or what else became of the question.
fn addresses(snapshot: &Snapshot, qname: &str, client: &str) -> Vec<String> {
    let said = ask(snapshot, qname, Rtype::A, snapshot.view_of(client.parse().unwrap()));
    let words: Vec<&str> = said.split_whitespace().collect();
    words
        .windows(2)
        .filter(|pair| pair[0] == "A")
        .map(|pair| pair[1].trim_end_matches(';').to_owned())
        .collect()
}

#[test]
fn the_answer_differs_by_the_clients_prefix() {
    let s = snapshot();
    assert!(s.has_views());
    for name in [
        "contoso.azurecr.io",
        "CONTOSO.privatelink.azurecr.io",
        "registry.corp.example",
        "contoso.old.corp.example",
    ] {
        assert_eq!(addresses(&s, name, "10.7.0.1"), ["10.0.0.5"], "{name}");
        assert_eq!(addresses(&s, name, "10.8.0.1"), ["10.8.0.5"], "{name}");
        assert_eq!(addresses(&s, name, "::ffff:10.8.0.1"), ["10.8.0.5"], "{name}");
        assert_eq!(addresses(&s, name, "fd08::1"), ["10.8.0.5"], "{name}");
        assert_eq!(addresses(&s, name, "10.8.9.1"), ["10.9.0.5", "10.9.0.6"], "{name}");
    }
    assert_eq!(addresses(&s, "a.wild.privatelink.azurecr.io", "10.8.0.1"), ["10.8.0.9"]);
    assert_eq!(addresses(&s, "a.wild.privatelink.azurecr.io", "10.8.9.1"), ["10.0.0.9"]);
    assert_eq!(addresses(&s, "fabrikam.azurecr.io", "10.8.0.1"), ["10.0.0.6"]);
}

#[test]
fn chains_may_lead_elsewhere_by_view() {
    let s = snapshot();
    let usual = ask(&s, "moved.corp.example", Rtype::A, 0);
    assert!(usual.contains("10.0.0.6"), "{usual}");
    assert_eq!(
        ask(&s, "moved.corp.example", Rtype::A, 1),
        "leads NOERROR aa | moved.corp.example 60 CNAME host.elsewhere.example. | "
    );
    assert_eq!(ask(&s, "moved.corp.example", Rtype::A, 2), usual);
    assert!(
        ask(&s, "contoso.away.corp.example", Rtype::A, 0)
            .contains("contoso.wild.privatelink.azurecr.io 30 A 10.0.0.9")
    );
    assert!(
        ask(&s, "contoso.away.corp.example", Rtype::A, 2)
            .contains("contoso.privatelink.azurecr.io 10 A 10.9.0.5")
    );
}

#[test]
fn what_does_not_differ_is_the_same_for_all() {
    let s = snapshot();
    for (qname, qtype) in [
        ("contoso.azurecr.io", Rtype::AAAA),
        ("contoso.azurecr.io", Rtype::TXT),
        ("contoso.azurecr.io", Rtype::CNAME),
        ("contoso.eastus.data.azurecr.io", Rtype::A),
        ("x.contoso.privatelink.azurecr.io", Rtype::A),
        ("privatelink.azurecr.io", Rtype::SOA),
        ("www.example.org", Rtype::A),
    ] {
        for view in [1, 2, 3, 255] {
            assert_eq!(ask(&s, qname, qtype, view), ask(&s, qname, qtype, 0), "{qname} {qtype} {view}");
        }
    }
}

#[test]
fn flat_answers_differ_too() {
    let options = hubdns::snapshot::model::AnswerOptions { flat: true, ..options() };
    let s = Snapshot::build(&record_set(ESTATE), &options, 7);
    assert_eq!(ask(&s, "contoso.azurecr.io", Rtype::A, 1), "NOERROR | contoso.azurecr.io 10 A 10.8.0.5 | ");
}

#[test]
fn views_without_variants_cost_nobody_a_look() {
    let set = record_set("view spokes 10.8.0.0/16\nzone corp.example\na.corp.example 1 A 10.0.0.1");
    let s = Snapshot::build(&set, &options(), 1);
    assert!(!s.has_views());
    assert_eq!(s.view_of("10.8.0.1".parse().unwrap()), 1, "which explain shows");
}

#[test]
fn variants_follow_their_views_names() {
    let set = record_set(ESTATE);
    let mut rrset = set.rrsets().find(|rrset| rrset.variants().len() == 2).unwrap().to_rrset();
    let reversed: Vec<_> = set.views.iter().rev().cloned().collect();
    rrset.renumber_views(&set.views, &reversed);
    let views: Vec<(u8, usize)> = rrset.variants.iter().map(|v| (v.view, v.rdatas.len())).collect();
    assert_eq!(views, [(1, 2), (2, 1)]);
    rrset.renumber_views(&reversed, &set.views[..1]);
    assert_eq!(rrset.variants.len(), 1);
    assert_eq!(rrset.rdatas_in(1), [rdata_from_text(Rtype::A, "10.8.0.5")]);
}

/// `set` as clients of `view` see it, without views.
fn in_place(mut set: RecordSet, view: u8) -> RecordSet {
    set.views.clear();
    for zone in &mut set.zones {
        zone.rrsets.edit(|rrsets| {
            for rrset in rrsets {
                rrset.rdatas = rrset.rdatas_in(view).to_vec();
                rrset.variants.clear();
            }
        });
    }
    set
}

/// RDATA of an RRset among those that lead to each other.
fn data(rtype: Rtype, pick: u8) -> Box<[u8]> {
    let targets = ["a.corp.example", "b.x.corp.example", "c.azurecr.io", "x.corp.example", "www.example.org"];
    match rtype {
        Rtype::A => vec![10, 0, 0, pick].into(),
        Rtype::TXT => vec![1, pick].into(),
        _ => name(targets[usize::from(pick) % targets.len()]).as_wire().into(),
    }
}

fn sets() -> impl Strategy<Value = RecordSet> {
    let owners = [
        "a.corp.example",
        "*.corp.example",
        "b.x.corp.example",
        "x.corp.example",
        "c.privatelink.azurecr.io",
    ];
    let types = [Rtype::A, Rtype::TXT, Rtype::CNAME, Rtype::DNAME];
    let records = prop::collection::vec(any::<u8>(), 1..3);
    let variants = prop::collection::btree_map(1u8..4, prop::collection::vec(any::<u8>(), 0..3), 0..3);
    let rrset = (0..owners.len(), 0..types.len(), records, variants);
    prop::collection::vec(rrset, 1..8).prop_map(move |rrsets| {
        let mut set = record_set("authoritative corp.example\nzone privatelink.azurecr.io\nalias c.azurecr.io c.privatelink.azurecr.io\nown c.azurecr.io");
        for (owner, rtype, records, variants) in rrsets {
            let (owner, rtype) = (name(owners[owner]), types[rtype]);
            let datas = |picks: &[u8]| picks.iter().map(|pick| data(rtype, *pick)).collect::<Vec<_>>();
            let zone = &mut set.zones[usize::from(!owner.is_at_or_below(&name("corp.example")))];
            if zone.rrsets.iter().any(|held| held.owner == owner && (held.rtype == rtype || held.rtype == Rtype::CNAME)) {
                continue;
            }
            zone.rrsets.extend([hubdns::snapshot::model::Rrset {
                owner,
                rtype,
                ttl: 10,
                rdatas: datas(&records),
                variants: variants.iter().map(|(view, picks)| Variant { view: *view, rdatas: datas(picks) }).collect(),
            }]);
        }
        set
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_view_is_answered_like_a_set_with_its_records_in_place(set in sets(), flat: bool) {
        let options = hubdns::snapshot::model::AnswerOptions { flat, ..options() };
        let one = Snapshot::build(&set, &options, 7);
        for view in 0..4 {
            let alone = Snapshot::build(&in_place(set.clone(), view), &options, 7);
            for qname in ["a.corp.example", "z.corp.example", "b.x.corp.example", "x.corp.example", "q.b.x.corp.example",
                          "c.azurecr.io", "c.privatelink.azurecr.io", "corp.example"] {
                for qtype in [Rtype::A, Rtype::TXT, Rtype::CNAME, Rtype::DNAME, Rtype::ANY, Rtype::AAAA] {
                    let query = query(qname, qtype, 0x0100, Some(1232));
                    let transport = Transport::Tcp;
                    let context = Context { view, transport, ..Context::INTERNAL };
                    let expected = ask_as(&alone, &query, Context { view: 0, ..context });
                    prop_assert_eq!(ask_as(&one, &query, context), expected, "{} {} view {}", qname, qtype, view);
                }
            }
        }
    }
}

// --- asked for ---

fn asked(snapshot: &Snapshot) -> Vec<String> {
    let mut names: Vec<String> = snapshot.take_asked().iter().map(ToString::to_string).collect();
    names.sort();
    names
}

fn as_client(snapshot: &Snapshot, qname: &str, qtype: Rtype) {
    let context = Context { is_client: true, ..Context::INTERNAL };
    ask_as(snapshot, &query(qname, qtype, 0x0100, None), context);
}

#[test]
fn held_names_that_clients_ask_for_are_marked_once() {
    let s = snapshot();
    assert_eq!(asked(&s), [""; 0]);
    // A hit, NODATA, a wildcard, what lies behind a DNAME, and a missing name of ours.
    as_client(&s, "FABRIKAM.azurecr.io", Rtype::A);
    as_client(&s, "fabrikam.azurecr.io", Rtype::A);
    as_client(&s, "fabrikam.privatelink.azurecr.io", Rtype::AAAA);
    as_client(&s, "any.wild.privatelink.azurecr.io", Rtype::A);
    as_client(&s, "contoso.old.corp.example", Rtype::A);
    as_client(&s, "contoso.eastus.data.azurecr.io", Rtype::A);
    // Not held: elsewhere, denied, an empty non-terminal.
    as_client(&s, "www.example.org", Rtype::A);
    as_client(&s, "nothing.corp.example", Rtype::A);
    as_client(&s, "wild.privatelink.azurecr.io", Rtype::A);
    let expected = [
        "*.wild.privatelink.azurecr.io",
        "contoso.azurecr.io",
        "contoso.privatelink.azurecr.io",
        "fabrikam.azurecr.io",
        "fabrikam.privatelink.azurecr.io",
        "old.corp.example",
    ];
    assert_eq!(asked(&s), expected);
    assert_eq!(asked(&s), [""; 0], "taken");
}

#[test]
fn what_no_client_asks_is_not_marked() {
    let s = snapshot();
    ask(&s, "contoso.azurecr.io", Rtype::A, 1);
    assert_eq!(asked(&s), [""; 0]);
}

#[test]
fn marks_survive_a_swap() {
    let publisher = Publisher::new(snapshot());
    as_client(&publisher.current(), "contoso.azurecr.io", Rtype::A);
    let late = publisher.current();
    publisher.publish(snapshot());
    // A worker that is still at its batch.
    as_client(&late, "registry.corp.example", Rtype::A);
    assert_eq!(asked(&publisher.current()), ["contoso.azurecr.io"]);
    publisher.publish(snapshot());
    assert_eq!(asked(&publisher.current()), ["registry.corp.example"]);
}

#[test]
fn a_million_names_are_marked_and_taken() {
    let mut set = record_set("authoritative corp.example");
    let rrset = record_set("zone corp.example\na.corp.example 1 A 10.0.0.1").zones[0]
        .rrsets
        .iter()
        .next()
        .unwrap()
        .to_rrset();
    set.zones[0].rrsets = (0..1_000_000)
        .map(|i| hubdns::snapshot::model::Rrset {
            owner: name(&format!("n{i}.corp.example")),
            ..rrset.clone()
        })
        .collect();
    let s = Snapshot::build(&set, &options(), 1);
    for i in (0..1_000_000).step_by(1000) {
        as_client(&s, &format!("n{i}.corp.example"), Rtype::A);
    }
    assert_eq!(asked(&s).len(), 1000);
    assert_eq!(asked(&s).len(), 0);
}
