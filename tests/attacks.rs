//! Attacks on forwarders that have a name, as far as no other test plays them.
//! `SECURITY.md` has the list.

mod common;

use std::io::{Read, Write};
use std::net::UdpSocket;

use common::estate::query;
use common::rig::{Rig, settings};
use common::serving::{ESTATE, PATIENCE, Serving, config, receive};
use common::upstream::{Act, Upstream};
use hubdns::config::{Denied, ForwardRule};
use hubdns::resolve::Origin;
use hubdns::wire::message::Message;
use hubdns::wire::{Rcode, Rtype};

const OURS: &str = "contoso.azurecr.io 10 CNAME contoso.privatelink.azurecr.io.; contoso.privatelink.azurecr.io 10 A 10.0.0.5";

#[test]
fn a_parents_nxdomain_denies_neither_ours_nor_another_name() {
    // Who may answer for a parent once must not take away what lies below it.
    let upstream = Upstream::start(|asked| {
        let labels = asked.qname.trim_end_matches('.').split('.').count();
        if labels <= 2 {
            let soa = format!("{} 300 SOA ns.example. host.example. 1 2 3 4 300", asked.qname);
            return Act::send(asked.reply(3, "", &soa));
        }
        Act::send(asked.reply(0, &format!("{} 60 A 192.0.2.1", asked.qname), ""))
    });
    let rig = Rig::new(ESTATE, settings(&[&[upstream.address]]), |_| {});
    for parent in ["io", "azurecr.io", "example.org"] {
        for qtype in [Rtype::A, Rtype::NS, Rtype::SOA] {
            assert_eq!(rig.ask(parent, qtype).rcode, Rcode::NXDOMAIN, "{parent}");
        }
        assert!(rig.ask(parent, Rtype::A).at_once, "the denial of {parent} itself is kept");
    }
    let ours = rig.ask("contoso.azurecr.io", Rtype::A);
    assert_eq!((ours.origin, ours.text()), (Origin::Hit, format!("NOERROR | {OURS} | ")));
    assert!(rig.ask("www.example.org", Rtype::A).text().contains("192.0.2.1"));
    assert_eq!(upstream.times_asked("www.example.org"), 1);
}

#[test]
fn one_rules_upstream_says_nothing_of_anothers_names() {
    // Its answer for its own name carries everything that a cache might take along.
    let poison = "bank.example 86400 A 203.0.113.66; www.bank.example 86400 CNAME evil.example";
    let hostile = Upstream::start(move |asked| {
        let answer = format!("{} 60 A 192.0.2.1; {poison}", asked.qname);
        let authority = "bank.example 86400 NS ns.evil.example; example 86400 NS ns.evil.example; \
                         ns.evil.example 86400 A 203.0.113.66";
        Act::send(asked.reply(0x0400, &answer, authority))
    });
    let honest =
        Upstream::start(|asked| Act::send(asked.reply(0, &format!("{} 60 A 192.0.2.9", asked.qname), "")));
    let mut settings = settings(&[&[honest.address], &[hostile.address]]);
    settings.forward.rules.push(ForwardRule { suffix: "corp.example".parse().expect("a name"), group: 1 });
    let rig = Rig::new(ESTATE, settings, |_| {});
    assert!(rig.ask("www.corp.example", Rtype::A).text().contains("192.0.2.1"));
    for name in ["bank.example", "www.bank.example", "ns.evil.example"] {
        let answer = rig.ask(name, Rtype::A);
        assert_eq!((answer.at_once, answer.text().contains("192.0.2.9")), (false, true), "{name}");
        assert!(!answer.text().contains("203.0.113.66"), "{name}");
    }
    assert_eq!(rig.ask("contoso.azurecr.io", Rtype::A).text(), format!("NOERROR | {OURS} | "));
    assert_eq!(hostile.seen().len(), 1);
}

/// A PROXY protocol header, version 2, that claims 127.0.0.1 as the sender.
fn proxy_header() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c".to_vec();
    header.extend_from_slice(&[127, 0, 0, 1, 127, 0, 0, 1, 0x30, 0x39, 0, 53]);
    header
}

#[test]
fn a_proxy_header_from_anybody_makes_nobody_a_client() {
    let upstream = Upstream::answering("192.0.2.1");
    let mut config = config(&["127.0.0.1:0"], upstream.address);
    config.server.allow = vec!["127.0.0.1/32".parse().expect("a prefix")];
    config.server.denied = Denied::Refuse;
    let server = Serving::start(config);
    let outsider = UdpSocket::bind("127.9.0.1:0").expect("a socket");
    outsider.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    outsider.connect(server.address()).expect("a route");
    let asked = query("contoso.azurecr.io", Rtype::A, 0x0100, Some(1232));
    outsider.send(&[proxy_header(), asked.clone()].concat()).expect("sent");
    outsider.send(&asked).expect("sent");
    // Refused for who it is. What came before was dropped, or refused as well.
    loop {
        let answer = receive(&outsider).expect("an answer");
        let message = Message::parse(&answer).expect("a message");
        assert_ne!(message.rcode(), Rcode::NOERROR);
        assert_eq!(message.records().filter(|record| record.rtype != Rtype::OPT).count(), 0);
        if answer[..2] == asked[..2] {
            assert_eq!(message.rcode(), Rcode::REFUSED);
            break;
        }
    }
    // Over TCP a header makes no message, from whomever it comes.
    let mut stream = server.connect();
    stream.write_all(&[proxy_header(), asked].concat()).expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("shut");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.windows(4).any(|bytes| bytes == [10, 0, 0, 5]), "{answer:?}");
}

#[test]
fn random_subdomains_take_nothing_from_names_of_ours() {
    // Nobody answers for the victim's zone; every place to wait is taken, then refused.
    let upstream = Upstream::start(|_| Act::Drop);
    let mut config = config(&["127.0.0.1:0"], upstream.address);
    (config.forward.max_in_flight, config.forward.max_waiters) = (50, 50);
    let server = Serving::start(config);
    let (attacker, client) = (server.client(), server.client());
    for at in 0..3000 {
        let asked =
            query(&format!("{:08x}.victim.example", at * 2_654_435_761_u64), Rtype::A, 0x0100, Some(1232));
        attacker.send(&asked).expect("sent");
        // Now and then, so that the kernel's buffer holds them all: what is lost there proves nothing.
        if at % 50 == 49 {
            client.send(&query("contoso.azurecr.io", Rtype::A, 0x0100, Some(1232))).expect("sent");
            let answer = receive(&client).expect("an answer in the middle of it");
            assert_eq!(common::estate::text(&answer), format!("NOERROR | {OURS} | "), "after {at}");
        }
    }
    let reached = upstream.seen().iter().filter(|asked| asked.qname.contains("victim")).count();
    assert!((1..=50).contains(&reached), "{reached} reached the upstream");
}

#[test]
fn an_outsider_gets_hardly_more_than_it_sends_or_nothing() {
    // A reflector is worth what it multiplies: REFUSED is the question and an extended error.
    let upstream = Upstream::answering("192.0.2.1");
    for (denied, answers) in [(Denied::Refuse, true), (Denied::Drop, false)] {
        let mut config = config(&["127.0.0.1:0"], upstream.address);
        config.server.allow = vec!["127.0.0.1/32".parse().expect("a prefix")];
        config.server.denied = denied;
        let server = Serving::start(config);
        let outsider = UdpSocket::bind("127.9.0.1:0").expect("a socket");
        outsider.connect(server.address()).expect("a route");
        outsider.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        for qtype in [Rtype::A, Rtype::ANY, Rtype::TXT] {
            let asked = query("contoso.azurecr.io", qtype, 0x0100, Some(4096));
            outsider.send(&asked).expect("sent");
            if answers {
                let answer = receive(&outsider).expect("an answer");
                assert!(answer.len() <= asked.len() + 64, "{} for {}", answer.len(), asked.len());
            }
        }
        // A client's answer comes after all that would have come to the outsider.
        server.ask(&query("contoso.azurecr.io", Rtype::A, 0x0100, None));
        outsider.set_nonblocking(true).expect("non-blocking");
        assert!(receive(&outsider).is_err(), "nothing more");
    }
    assert!(upstream.times_asked("contoso.azurecr.io") == 0);
}
