//! The rules of the answer, row by row (design.md section 2), over record sets
//! written as text.

mod common;

use common::estate::{ask, options, query, record_set, text};
use hubdns::answer::{Lookup, Miss, Outcome, Transport};
use hubdns::snapshot::Snapshot;
use hubdns::snapshot::model::AnswerOptions;
use hubdns::wire::Rtype;

const ESTATE: &str = "
zone privatelink.azurecr.io
contoso.privatelink.azurecr.io 10 A 10.0.0.5
contoso.westeurope.data.privatelink.azurecr.io 10 A 10.0.0.4
contoso.westeurope.data.privatelink.azurecr.io 20 AAAA fd00::4
contoso.privatelink.azurecr.io 300 TXT \"owner=platform\"
manual.privatelink.azurecr.io 3600 A 10.0.0.6
manual.privatelink.azurecr.io 3600 A 10.0.0.7
zero.privatelink.azurecr.io 0 A 10.0.0.8
away.privatelink.azurecr.io 60 CNAME host.elsewhere.example
near.privatelink.azurecr.io 60 CNAME contoso.privatelink.azurecr.io
*.wild.privatelink.azurecr.io 30 A 10.0.0.9
privatelink.azurecr.io 300 TXT \"apex\"
_sip._tcp.privatelink.azurecr.io 60 SRV 1 2 5060 near.privatelink.azurecr.io
privatelink.azurecr.io 300 MX 10 mail.elsewhere.example
alias contoso.azurecr.io contoso.privatelink.azurecr.io
alias contoso.westeurope.data.azurecr.io contoso.westeurope.data.privatelink.azurecr.io
own contoso.azurecr.io
own lonely.azurecr.us
authoritative corp.example
corp.example 300 NS ns.corp.example
www.corp.example 300 CNAME web.corp.example
web.corp.example 60 A 192.0.2.1
gone.corp.example 300 CNAME nothing.corp.example
out.corp.example 300 CNAME www.example.org
registry.corp.example 300 CNAME contoso.azurecr.io
replica.corp.example 300 CNAME contoso.eastus.data.azurecr.io
loop.corp.example 300 CNAME loop2.corp.example
loop2.corp.example 300 CNAME loop.corp.example
a.b.ent.corp.example 60 A 192.0.2.2
*.wild.corp.example 60 A 192.0.2.3
*.wild.corp.example 60 MX 5 web.corp.example
held.wild.corp.example 60 TXT \"held\"
*.cwild.corp.example 60 CNAME web.corp.example
sub.corp.example 300 NS ns.sub.corp.example
ns.sub.corp.example 300 A 192.0.2.53
old.corp.example 300 DNAME new.corp.example
x.new.corp.example 60 A 192.0.2.4
far.corp.example 300 DNAME far.example.org
";

fn snapshot(change: impl Fn(&mut AnswerOptions)) -> Snapshot {
    let mut options = options();
    change(&mut options);
    Snapshot::build(&record_set(ESTATE), &options, 7)
}

const SOA: &str = "privatelink.azurecr.io 10 SOA azureprivatedns.net. azureprivatedns-host.microsoft.com. 7 3600 300 2419200 10";
const CORP: &str =
    "corp.example 10 SOA azureprivatedns.net. azureprivatedns-host.microsoft.com. 7 3600 300 2419200 10";

/// Asks over TCP without EDNS; `SOA` and `CORP` in `expected` stand for those records.
fn check(snapshot: &Snapshot, qname: &str, qtype: Rtype, expected: &str) {
    let (outcome, response) = ask(snapshot, &query(qname, qtype, 0x0100, None), Transport::Tcp);
    let found = match outcome {
        Outcome::Miss(Miss::Foreign) => "forward".to_owned(),
        Outcome::Miss(Miss::Own) => "forward own".to_owned(),
        Outcome::Leads => format!("leads {}", text(&response)),
        Outcome::Hit(_) => text(&response),
    };
    let expected = match expected.split_once("SOA") {
        // A SOA written out stands for itself.
        Some((_, rest)) if !rest.starts_with(" azure") => expected.replace("SOA", SOA),
        _ => expected.replace("CORP", CORP),
    };
    // CNAME targets that end in the question's labels show the client's spelling.
    assert_eq!(found.replace("AZURECR", "azurecr"), expected, "{qname} {qtype}");
}

#[test]
fn held_public_name_answers_cname_and_a_with_one_ttl() {
    let s = snapshot(|_| ());
    check(
        &s,
        "contoso.azurecr.io",
        Rtype::A,
        "NOERROR | contoso.azurecr.io 10 CNAME contoso.privatelink.azurecr.io.; contoso.privatelink.azurecr.io 10 A 10.0.0.5 | ",
    );
    check(
        &s,
        "CONTOSO.WestEurope.data.AZURECR.io",
        Rtype::AAAA,
        "NOERROR | contoso.westeurope.data.azurecr.io 20 CNAME contoso.westeurope.data.privatelink.azurecr.io.; contoso.westeurope.data.privatelink.azurecr.io 20 AAAA fd00::4 | ",
    );
    check(
        &s,
        "contoso.privatelink.azurecr.io",
        Rtype::A,
        "NOERROR aa | contoso.privatelink.azurecr.io 10 A 10.0.0.5 | ",
    );
    check(
        &s,
        "contoso.azurecr.io",
        Rtype::CNAME,
        "NOERROR | contoso.azurecr.io 10 CNAME contoso.privatelink.azurecr.io. | ",
    );
    check(
        &s,
        "contoso.azurecr.io",
        Rtype::TXT,
        "NOERROR | contoso.azurecr.io 300 CNAME contoso.privatelink.azurecr.io.; contoso.privatelink.azurecr.io 300 TXT \"owner=platform\" | ",
    );
}

#[test]
fn flat_gives_addresses_alone_and_keeps_the_cname_before_a_soa() {
    let s = snapshot(|options| options.flat = true);
    check(&s, "contoso.azurecr.io", Rtype::A, "NOERROR | contoso.azurecr.io 10 A 10.0.0.5 | ");
    check(
        &s,
        "contoso.westeurope.data.azurecr.io",
        Rtype::AAAA,
        "NOERROR | contoso.westeurope.data.azurecr.io 20 AAAA fd00::4 | ",
    );
    check(
        &s,
        "contoso.azurecr.io",
        Rtype::HTTPS,
        "NOERROR | contoso.azurecr.io 10 CNAME contoso.privatelink.azurecr.io. | SOA",
    );
}

#[test]
fn rfc2308_other_types_of_held_names_are_nodata_never_forwarded() {
    let s = snapshot(|_| ());
    for qtype in [Rtype::AAAA, Rtype::HTTPS, Rtype::SVCB, Rtype::MX, Rtype::DS, Rtype(65280)] {
        let cname = "contoso.azurecr.io 10 CNAME contoso.privatelink.azurecr.io.";
        check(&s, "contoso.azurecr.io", qtype, &format!("NOERROR | {cname} | SOA"));
        check(&s, "contoso.privatelink.azurecr.io", qtype, "NOERROR aa |  | SOA");
    }
}

#[test]
fn rfc8482_any_of_a_held_name_gives_one_rrset() {
    let s = snapshot(|_| ());
    check(
        &s,
        "contoso.azurecr.io",
        Rtype::ANY,
        "NOERROR | contoso.azurecr.io 10 CNAME contoso.privatelink.azurecr.io. | ",
    );
    check(
        &s,
        "contoso.privatelink.azurecr.io",
        Rtype::ANY,
        "NOERROR aa | contoso.privatelink.azurecr.io 10 A 10.0.0.5 | ",
    );
    check(&s, "example.org", Rtype::ANY, "forward");
}

#[test]
fn empty_non_terminals_exist() {
    let s = snapshot(|_| ());
    for qname in [
        "data.privatelink.azurecr.io",
        "westeurope.data.privatelink.azurecr.io",
        "wild.privatelink.azurecr.io",
    ] {
        check(&s, qname, Rtype::A, "NOERROR aa |  | SOA");
        check(&s, qname, Rtype::ANY, "NOERROR aa |  | SOA");
    }
    check(&s, "b.ent.corp.example", Rtype::A, "NOERROR aa |  | CORP");
    // Below the public suffix nothing is ours but the aliases themselves.
    check(&s, "westeurope.data.azurecr.io", Rtype::A, "forward");
}

#[test]
fn names_below_held_names_are_denied() {
    let s = snapshot(|_| ());
    check(&s, "x.contoso.privatelink.azurecr.io", Rtype::A, "NXDOMAIN aa |  | SOA");
    check(&s, "y.x.contoso.privatelink.azurecr.io", Rtype::A, "NXDOMAIN aa |  | SOA");
    let (outcome, response) = ask(&s, &query("x.contoso.azurecr.io", Rtype::A, 0x0100, None), Transport::Tcp);
    assert!(matches!(outcome, Outcome::Hit(hit) if hit.lookup == Lookup::NxDomain));
    assert!(text(&response).starts_with("NXDOMAIN |  | contoso.azurecr.io 10 SOA"), "{}", text(&response));
}

#[test]
fn apex_answers_soa_and_ns_is_nodata() {
    let s = snapshot(|_| ());
    check(&s, "privatelink.azurecr.io", Rtype::SOA, "NOERROR aa | SOA | ");
    check(&s, "privatelink.azurecr.io", Rtype::NS, "NOERROR aa |  | SOA");
    check(
        &s,
        "privatelink.azurecr.io",
        Rtype::TXT,
        "NOERROR aa | privatelink.azurecr.io 300 TXT \"apex\" | ",
    );
    check(
        &s,
        "privatelink.azurecr.io",
        Rtype::MX,
        "NOERROR aa | privatelink.azurecr.io 300 MX 10 mail.elsewhere.example. | ",
    );
    check(&s, "corp.example", Rtype::NS, "NOERROR aa | corp.example 300 NS ns.corp.example. | ");
}

#[test]
fn missing_names_of_ours_are_closed() {
    let s = snapshot(|_| ());
    check(
        &s,
        "contoso.eastus.data.azurecr.io",
        Rtype::A,
        "NXDOMAIN | contoso.eastus.data.azurecr.io 10 CNAME contoso.eastus.data.privatelink.azurecr.io. | SOA",
    );
    check(&s, "contoso.eastus.geo.privatelink.azurecr.io", Rtype::A, "NXDOMAIN aa |  | SOA");
    let us = SOA.replace("azurecr.io", "azurecr.us");
    check(
        &s,
        "lonely.azurecr.us",
        Rtype::AAAA,
        &format!("NXDOMAIN | lonely.azurecr.us 10 CNAME lonely.privatelink.azurecr.us. | {us}"),
    );
    check(
        &s,
        "contoso.eastus.data.azurecr.io",
        Rtype::CNAME,
        "NOERROR | contoso.eastus.data.azurecr.io 10 CNAME contoso.eastus.data.privatelink.azurecr.io. | ",
    );
    // Not the shape of a registry's name.
    check(&s, "contoso.eastus.blob.azurecr.io", Rtype::A, "forward");
    check(&s, "contoso.data.azurecr.io", Rtype::A, "forward");
    let (_, response) =
        ask(&s, &query("contoso.eastus.data.azurecr.io", Rtype::A, 0x0100, Some(1232)), Transport::Udp);
    let needle = b"own registry name without a private endpoint record";
    assert!(response.windows(needle.len()).any(|window| window == needle), "the extended error");
}

#[test]
fn missing_names_of_ours_can_be_opened() {
    let s = snapshot(|options| options.forward_own_missing = true);
    check(&s, "contoso.eastus.data.azurecr.io", Rtype::A, "forward own");
    check(&s, "contoso.eastus.data.privatelink.azurecr.io", Rtype::A, "forward own");
}

#[test]
fn others_names_are_forwarded() {
    let s = snapshot(|_| ());
    for qname in [
        "example.org",
        "azurecr.io",
        ".",
        "com",
        "fabrikam.azurecr.io",
        "fabrikam.privatelink.azurecr.io",
        "fabrikam.eastus.data.privatelink.azurecr.io",
        "manual.azurecr.io",
        "x.westeurope.data.azurecr.io",
        "privatelink.azurecr.cn",
        "xcontoso.azurecr.io",
    ] {
        check(&s, qname, Rtype::A, "forward");
    }
}

#[test]
fn rrsets_of_several_records_and_ttl_zero() {
    let s = snapshot(|_| ());
    check(
        &s,
        "manual.privatelink.azurecr.io",
        Rtype::A,
        "NOERROR aa | manual.privatelink.azurecr.io 3600 A 10.0.0.6; manual.privatelink.azurecr.io 3600 A 10.0.0.7 | ",
    );
    check(
        &s,
        "zero.privatelink.azurecr.io",
        Rtype::A,
        "NOERROR aa | zero.privatelink.azurecr.io 0 A 10.0.0.8 | ",
    );
    check(
        &s,
        "_sip._tcp.privatelink.azurecr.io",
        Rtype::SRV,
        "NOERROR aa | _sip._tcp.privatelink.azurecr.io 60 SRV 1 2 5060 near.privatelink.azurecr.io | ",
    );
}

#[test]
fn local_cnames_are_followed_and_may_lead_out() {
    let s = snapshot(|_| ());
    check(
        &s,
        "near.privatelink.azurecr.io",
        Rtype::A,
        "NOERROR aa | near.privatelink.azurecr.io 60 CNAME contoso.privatelink.azurecr.io.; contoso.privatelink.azurecr.io 10 A 10.0.0.5 | ",
    );
    check(
        &s,
        "away.privatelink.azurecr.io",
        Rtype::A,
        "leads NOERROR aa | away.privatelink.azurecr.io 60 CNAME host.elsewhere.example. | ",
    );
    check(
        &s,
        "away.privatelink.azurecr.io",
        Rtype::CNAME,
        "NOERROR aa | away.privatelink.azurecr.io 60 CNAME host.elsewhere.example. | ",
    );
    check(
        &s,
        "registry.corp.example",
        Rtype::A,
        "NOERROR aa | registry.corp.example 300 CNAME contoso.azurecr.io.; contoso.azurecr.io 10 CNAME contoso.privatelink.azurecr.io.; contoso.privatelink.azurecr.io 10 A 10.0.0.5 | ",
    );
    check(
        &s,
        "replica.corp.example",
        Rtype::A,
        "NXDOMAIN aa | replica.corp.example 300 CNAME contoso.eastus.data.azurecr.io.; contoso.eastus.data.azurecr.io 10 CNAME contoso.eastus.data.privatelink.azurecr.io. | SOA",
    );
    check(
        &s,
        "gone.corp.example",
        Rtype::A,
        "NXDOMAIN aa | gone.corp.example 300 CNAME nothing.corp.example. | CORP",
    );
    let (_, looped) = ask(&s, &query("loop.corp.example", Rtype::A, 0x0100, None), Transport::Tcp);
    assert!(text(&looped).matches("CNAME").count() <= 9, "{}", text(&looped));
}

#[test]
fn authoritative_zone_denies_what_it_lacks() {
    let s = snapshot(|_| ());
    check(&s, "nothing.corp.example", Rtype::A, "NXDOMAIN aa |  | CORP");
    check(&s, "a.b.c.nothing.corp.example", Rtype::A, "NXDOMAIN aa |  | CORP");
    check(
        &s,
        "www.corp.example",
        Rtype::A,
        "NOERROR aa | www.corp.example 300 CNAME web.corp.example.; web.corp.example 60 A 192.0.2.1 | ",
    );
    check(
        &s,
        "out.corp.example",
        Rtype::A,
        "leads NOERROR aa | out.corp.example 300 CNAME www.example.org. | ",
    );
}

#[test]
fn rfc4592_wildcards() {
    let s = snapshot(|_| ());
    check(&s, "a.wild.corp.example", Rtype::A, "NOERROR aa | a.wild.corp.example 60 A 192.0.2.3 | ");
    check(&s, "b.a.wild.corp.example", Rtype::A, "NOERROR aa | b.a.wild.corp.example 60 A 192.0.2.3 | ");
    check(
        &s,
        "a.wild.corp.example",
        Rtype::MX,
        "NOERROR aa | a.wild.corp.example 60 MX 5 web.corp.example. | ",
    );
    check(&s, "a.wild.corp.example", Rtype::TXT, "NOERROR aa |  | CORP");
    check(&s, "*.wild.corp.example", Rtype::A, "NOERROR aa | *.wild.corp.example 60 A 192.0.2.3 | ");
    // 4592 2.2.1: a name that exists hides the wildcard, and so does what it encloses.
    check(&s, "held.wild.corp.example", Rtype::A, "NOERROR aa |  | CORP");
    check(&s, "x.held.wild.corp.example", Rtype::A, "NXDOMAIN aa |  | CORP");
    check(&s, "wild.corp.example", Rtype::A, "NOERROR aa |  | CORP");
    check(
        &s,
        "y.cwild.corp.example",
        Rtype::A,
        "NOERROR aa | y.cwild.corp.example 60 CNAME web.corp.example.; web.corp.example 60 A 192.0.2.1 | ",
    );
    check(
        &s,
        "y.cwild.corp.example",
        Rtype::AAAA,
        "NOERROR aa | y.cwild.corp.example 60 CNAME web.corp.example. | CORP",
    );
    check(
        &s,
        "foo.wild.privatelink.azurecr.io",
        Rtype::A,
        "NOERROR aa | foo.wild.privatelink.azurecr.io 30 A 10.0.0.9 | ",
    );
    check(&s, "foo.wild.azurecr.io", Rtype::A, "forward");
}

#[test]
fn wildcard_of_a_private_zone_covers_a_missing_name_of_ours() {
    let set = record_set(
        "zone privatelink.azurecr.io
         *.data.privatelink.azurecr.io 30 A 10.0.0.9
         own contoso.azurecr.io",
    );
    let s = Snapshot::build(&set, &options(), 7);
    check(
        &s,
        "contoso.eastus.data.azurecr.io",
        Rtype::A,
        "NOERROR | contoso.eastus.data.azurecr.io 10 CNAME contoso.eastus.data.privatelink.azurecr.io.; contoso.eastus.data.privatelink.azurecr.io 30 A 10.0.0.9 | ",
    );
}

#[test]
fn zone_cuts_are_forwarded() {
    let s = snapshot(|_| ());
    check(&s, "x.sub.corp.example", Rtype::A, "forward");
    check(&s, "ns.sub.corp.example", Rtype::A, "forward");
    check(&s, "sub.corp.example", Rtype::A, "forward");
    check(&s, "sub.corp.example", Rtype::NS, "NOERROR aa | sub.corp.example 300 NS ns.sub.corp.example. | ");
}

#[test]
fn rfc6672_dname_redirects() {
    let s = snapshot(|_| ());
    check(
        &s,
        "x.old.corp.example",
        Rtype::A,
        "NOERROR aa | old.corp.example 300 DNAME new.corp.example.; x.old.corp.example 300 CNAME x.new.corp.example.; x.new.corp.example 60 A 192.0.2.4 | ",
    );
    check(
        &s,
        "y.old.corp.example",
        Rtype::A,
        "NXDOMAIN aa | old.corp.example 300 DNAME new.corp.example.; y.old.corp.example 300 CNAME y.new.corp.example. | CORP",
    );
    check(
        &s,
        "y.far.corp.example",
        Rtype::A,
        "leads NOERROR aa | far.corp.example 300 DNAME far.example.org.; y.far.corp.example 300 CNAME y.far.example.org. | ",
    );
    check(
        &s,
        "old.corp.example",
        Rtype::DNAME,
        "NOERROR aa | old.corp.example 300 DNAME new.corp.example. | ",
    );
}

#[test]
fn nested_zones_unite_and_the_specific_one_wins_for_its_owners() {
    let set = record_set(
        "zone privatelink.azurecr.io
         a.westeurope.data.privatelink.azurecr.io 10 A 10.0.0.1
         b.westeurope.data.privatelink.azurecr.io 10 A 10.0.0.2
         zone westeurope.data.privatelink.azurecr.io
         b.westeurope.data.privatelink.azurecr.io 10 A 10.9.9.9",
    );
    let s = Snapshot::build(&set, &options(), 7);
    let answer = |label: &str| {
        let qname = format!("{label}.westeurope.data.privatelink.azurecr.io");
        text(&ask(&s, &query(&qname, Rtype::A, 0x0100, None), Transport::Tcp).1)
    };
    assert!(answer("a").contains("10.0.0.1"), "the broader zone's name is not hidden");
    assert!(answer("b").contains("10.9.9.9") && !answer("b").contains("10.0.0.2"));
}
