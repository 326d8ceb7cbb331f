//! The form of responses: spelling, flags, size, unusual questions and names.

mod common;

use common::estate::{ask, name, options, query, query_of, record_set, spelled, text};
use hubdns::answer::{Outcome, Transport};
use hubdns::snapshot::Snapshot;
use hubdns::wire::{Name, Rcode, Rtype};

/// A registry's name, public and private.
fn snapshot() -> Snapshot {
    let set = record_set(
        "zone privatelink.azurecr.io
         contoso.privatelink.azurecr.io 10 A 10.0.0.5
         alias contoso.azurecr.io contoso.privatelink.azurecr.io
         own contoso.azurecr.io",
    );
    Snapshot::build(&set, &options(), 7)
}

#[test]
fn rfc4343_question_keeps_the_client_spelling() {
    let s = snapshot();
    let asked = query("CoNtOsO.azurecr.IO", Rtype::A, 0x0110, Some(4096));
    let (_, response) = ask(&s, &asked, Transport::Udp);
    let wire = spelled("CoNtOsO.azurecr.IO");
    assert_eq!(response[12..12 + wire.len()], wire);
    assert_eq!(response[..2], asked[..2], "the id");
    assert!(text(&response).starts_with("NOERROR cd"), "CD is copied: {}", text(&response));
    let flags = u16::from_be_bytes([response[2], response[3]]);
    assert_eq!(flags, 0x8190, "QR, RD, RA, CD");
}

#[test]
fn unusual_questions_are_refused() {
    let s = snapshot();
    let rcode = |qname: &str, qtype: Rtype, qclass: u16| {
        let asked = query_of(&spelled(qname), qtype, qclass, 0x0100, Some(1232));
        match ask(&s, &asked, Transport::Udp).0 {
            Outcome::Hit(hit) => Some(hit.rcode),
            _ => None,
        }
    };
    assert_eq!(rcode("contoso.azurecr.io", Rtype::AXFR, 1), Some(Rcode::REFUSED));
    assert_eq!(rcode("example.org", Rtype::IXFR, 1), Some(Rcode::REFUSED));
    assert_eq!(rcode("example.org", Rtype::OPT, 1), Some(Rcode::FORMERR));
    assert_eq!(rcode("version.bind", Rtype::TXT, 3), Some(Rcode::REFUSED));
    assert_eq!(rcode("contoso.azurecr.io", Rtype::A, 3), Some(Rcode::REFUSED), "own names never leave");
    assert_eq!(rcode("example.org", Rtype::A, 4), None, "other classes are forwarded");
    assert_eq!(rcode("contoso.azurecr.io", Rtype::A, 255), Some(Rcode::NOERROR));
}

#[test]
fn rfc2181_truncated_answers_hold_whole_records() {
    let lines = (0..100).map(|i| format!("big.privatelink.azurecr.io 10 A 10.0.1.{i}\n"));
    let set = record_set(&format!("zone privatelink.azurecr.io\n{}", lines.collect::<String>()));
    let s = Snapshot::build(&set, &options(), 1);
    for (udp_size, limit) in [(None, 512), (Some(512), 512), (Some(1232), 1232), (Some(4096), 1232)] {
        let asked = query("big.privatelink.azurecr.io", Rtype::A, 0x0100, udp_size);
        let (_, response) = ask(&s, &asked, Transport::Udp);
        assert!(response.len() <= limit && response.len() + 16 > limit, "{} of {limit}", response.len());
        let shown = text(&response);
        assert!(shown.starts_with("NOERROR aa tc"), "{shown}");
        assert_eq!(
            u16::from_be_bytes([response[10], response[11]]),
            u16::from(udp_size.is_some()),
            "OPT stays"
        );
    }
    let (_, whole) = ask(&s, &query("big.privatelink.azurecr.io", Rtype::A, 0x0100, None), Transport::Tcp);
    assert_eq!(text(&whole).matches(" A ").count(), 100);
}

#[test]
fn long_names_and_deep_zones() {
    let label = "x".repeat(63);
    let long = format!("{label}.{label}.{label}.{}", "y".repeat(61));
    let set = record_set(&format!("authoritative {long}\n{long} 10 A 192.0.2.9"));
    let s = Snapshot::build(&set, &options(), 1);
    let answer =
        |s: &Snapshot, qname: &str| text(&ask(s, &query(qname, Rtype::A, 0x0100, None), Transport::Tcp).1);
    assert_eq!(answer(&s, &long), format!("NOERROR aa | {long} 10 A 192.0.2.9 | "));
    let deep = vec!["d"; 100].join(".");
    let set = record_set(&format!("authoritative {deep}\nq.{deep} 10 A 192.0.2.9"));
    let s = Snapshot::build(&set, &options(), 1);
    assert_eq!(answer(&s, &format!("q.{deep}")), format!("NOERROR aa | q.{deep} 10 A 192.0.2.9 | "));
    let (outcome, _) = ask(&s, &query(&format!("z.{deep}"), Rtype::A, 0x0100, None), Transport::Tcp);
    assert!(matches!(outcome, Outcome::Hit(hit) if hit.rcode == Rcode::NXDOMAIN));
    assert_eq!(name("a.b"), "A.b.".parse::<Name>().unwrap());
}

/// Held names are compared by words that overlap: each length of a name's own part has its own
/// way there, and each byte must count.
#[test]
fn names_of_every_length_are_told_from_their_neighbors() {
    let names: Vec<String> = (1..=40).map(|len| "abcdefgh".chars().cycle().take(len).collect()).collect();
    let lines = names.iter().map(|name| format!("{name}.privatelink.azurecr.io 10 A 10.0.0.5\n"));
    let set = record_set(&format!("zone privatelink.azurecr.io\n{}", lines.collect::<String>()));
    let s = Snapshot::build(&set, &options(), 1);
    let held = |qname: &[u8]| match ask(&s, &query_of(qname, Rtype::A, 1, 0x0100, None), Transport::Udp) {
        (Outcome::Hit(hit), response) if hit.rcode == Rcode::NOERROR => Some(response),
        _ => None,
    };
    for (index, name) in names.iter().enumerate() {
        let spelling =
            |at: usize, letter: char| if at % 3 == index % 3 { letter.to_ascii_uppercase() } else { letter };
        let mixed: String = name.chars().enumerate().map(|(at, letter)| spelling(at, letter)).collect();
        let wire = spelled(&format!("{mixed}.PrivateLink.azureCR.io"));
        let response = held(&wire).unwrap_or_else(|| panic!("{mixed} is held"));
        assert_eq!(response[12..12 + wire.len()], wire, "the spelling comes back");
        assert_eq!(response[response.len() - 4..], [10, 0, 0, 5], "{mixed}");
        for at in 1..wire.len() - 1 {
            // A label's length cannot change alone.
            if wire[at].is_ascii_alphabetic() {
                let mut other = wire.clone();
                other[at] = b'-';
                assert_eq!(held(&other), None, "{mixed} but for byte {at}");
            }
        }
    }
}

#[test]
fn a_pointer_in_the_question_is_malformed() {
    // To itself, to the header, behind a label, and forward.
    for qname in
        [&[0xc0, 12][..], &[0xc0, 0], &[1, b'a', 0xc0, 12], &[0xc0, 16, 0, 0, 1, b'a', 0], &[0x40, 0]]
    {
        let asked = query_of(qname, Rtype::A, 1, 0x0100, None);
        assert!(hubdns::wire::Query::parse(&asked).is_err(), "{qname:?}");
    }
}
