//! Whatever an upstream sends: no panic, no loop, and what reaches a client is
//! a whole message that answers its own question.

mod common;

use common::estate::{name, query, spelled};
use common::rig::Rig;
use common::upstream::{Act, Asked, Upstream, record};
use hubdns::answer::{Context, Transport};
use hubdns::forward::chain::Chain;
use hubdns::forward::entry::{Checked, Entry, TtlBounds};
use hubdns::forward::kept::{Marks, Traits};
use hubdns::forward::read::{Followed, Scratch, read};
use hubdns::forward::reply::{self, Asked as Question};
use hubdns::forward::respond::{Recipient, write};
use hubdns::metrics::forward::Mismatch;
use hubdns::wire::message::Message;
use hubdns::wire::{Class, Flags, Name, Query, Rcode, Rtype};
use proptest::prelude::*;

const BOUNDS: TtlBounds = TtlBounds { min: 0, max: 86_400, max_negative: 3600, servfail: 5 };
const QNAME: &str = "www.example.org";

/// The whole way from an upstream's bytes to a client's response, at several sizes and ages.
fn check(bytes: &[u8]) -> Option<()> {
    let qname = name(QNAME);
    let asked = Question { name: &qname, qtype: Rtype::A, qclass: Class::IN };
    let reply = reply::accept(bytes, &asked).ok()?;
    let chain = Message::parse(&reply.bytes).map(|message| Chain::walk(&message)).unwrap_or_default();
    let original = Message::parse(&reply.bytes)?.counts();
    let entry = Entry::new(reply, chain.clone(), &BOUNDS, 1000, Checked { instance: 1, cut: None });
    check_kept(bytes, &qname, &chain, &entry);
    for size in [None, Some(512), Some(600), Some(1232)] {
        for transport in [Transport::Udp, Transport::Tcp] {
            for now in [1000, 61_000, u64::MAX] {
                let client = query("wWw.eXample.org", Rtype::A, 0x0110, size);
                let parsed = Query::parse(&client).unwrap();
                let context = Context { transport, ..Context::INTERNAL };
                let limit = context.limit(&parsed);
                let to = Recipient {
                    flags: parsed.flags,
                    edns: parsed.edns,
                    limit,
                    udp_size: 1232,
                    authoritative: false,
                    authentic: false,
                };
                let mut buf = vec![0xee; 65_535];
                buf[..client.len()].copy_from_slice(&client);
                let (len, _) = write(&entry.kept(), &to, now, &mut buf);
                assert!(len <= limit);
                let response = &buf[..len];
                let message = Message::parse(response).expect("a whole message");
                assert_eq!(message.records().last().map_or(message.question_end(), |r| r.end()), len);
                assert_eq!(response[..2], client[..2]);
                assert_eq!(response[12..29], spelled("wWw.eXample.org")[..]);
                assert!(message.flags().has(Flags::QR | Flags::RA | Flags::RD | Flags::CD));
                assert!(!message.flags().has(Flags::AA) && !message.flags().has(Flags::AD));
                let opts = message.records().filter(|record| record.rtype == Rtype::OPT).count();
                assert_eq!(opts, usize::from(size.is_some()));
                for record in message.records() {
                    assert!(message.owner(&record).is_some());
                }
                let complete = len < limit && !message.flags().has(Flags::TC);
                let same = message.counts().answer == original.answer;
                assert!(same || !complete || message.rcode() == hubdns::wire::Rcode::SERVFAIL);
            }
        }
    }
    Some(())
}

/// What the engine keeps and sends from the datagram itself is what a copy of it would be.
fn check_kept(bytes: &[u8], qname: &Name, chain: &Chain, entry: &Entry) {
    let (mut copy, mut scratch) = (bytes.to_vec(), Scratch::default());
    let Ok(facts) = read(&mut copy, qname.as_wire(), Rtype::A, Class::IN, &mut scratch) else { return };
    let usual = matches!(facts.rcode, Rcode::NOERROR | Rcode::NXDOMAIN) && !facts.rewrite && !facts.truncated;
    if !usual || chain.looped {
        return;
    }
    assert!(facts.aliases || (chain.targets.is_empty() && chain.answered == facts.answered));
    let followed = Followed { targets: &chain.targets, answered: chain.answered };
    let life = facts.lifetime(&copy, qname.as_wire(), followed, &BOUNDS);
    let traits = if chain.targets.is_empty() { 0 } else { Traits::HAS_TARGETS };
    let marks = Marks::default();
    let kept = facts.kept(&copy, (1000, life), traits, &scratch, &marks);
    let copied = entry.kept();
    assert_eq!((kept.bytes, kept.ttls, kept.ede), (copied.bytes, copied.ttls, copied.ede));
    assert_eq!(kept.head, copied.head);
}

/// Header and question of a response, then `rest`.
fn response(flags: u16, counts: [u8; 3], rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 7];
    bytes.extend_from_slice(&(flags | 0x8000).to_be_bytes());
    bytes.extend_from_slice(&[0, 1, 0, counts[0], 0, counts[1], 0, counts[2]]);
    bytes.extend_from_slice(&spelled(QNAME));
    bytes.extend_from_slice(&[0, 1, 0, 1]);
    bytes.extend_from_slice(rest);
    bytes
}

fn lines() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just(record("www.example.org 300 CNAME a.example.org")),
        Just(record("a.example.org 40 CNAME b.example.org")),
        Just(record("b.example.org 40 CNAME www.example.org")),
        Just(record("b.example.org 60 A 192.0.2.1")),
        Just(record("example.org 60 DNAME example.net")),
        Just(record("example.org 900 SOA ns.example.org. h.example.org. 1 2 3 4 60")),
        Just(record("www.example.org 4294967295 A 192.0.2.1")),
        Just(vec![0, 0, 41, 4, 208, 1, 0, 0, 0, 0, 8, 0, 15, 0, 4, 0, 3, b'h', b'i']),
        Just(vec![0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 16]),
        Just(vec![0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 9, 0, 3, 2, b'a', b'b']),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    proptest::collection::vec(line, 0..8).prop_map(|lines| lines.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes);
    }

    #[test]
    fn arbitrary_records_never_panic(
        flags in any::<u16>(), counts in any::<[u8; 3]>(), rest in lines(),
    ) {
        check(&response(flags & 0x87ff, counts.map(|count| count % 9), &rest));
    }

    #[test]
    fn whole_messages_come_back_whole(rest in lines(), answers in 0u8..8, flip in any::<(usize, u8)>()) {
        // As many records as there are, so that most messages pass; one byte may differ.
        for total in 0..9u8 {
            let mut bytes = response(0x0180, [answers.min(total), total - answers.min(total), 0], &rest);
            check(&bytes);
            let at = flip.0 % bytes.len();
            bytes[at] ^= flip.1;
            check(&bytes);
        }
    }
}

#[test]
fn records_behind_the_opt_keep_their_names() {
    let mut rest = record("www.example.org 300 A 192.0.2.1");
    rest.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    let first_extra = 33 + rest.len() as u8;
    rest.extend_from_slice(&record("ns.example.net 300 A 192.0.2.2"));
    // Its owner points into the record before, which moves when the OPT goes.
    rest.extend_from_slice(&[0xc0, first_extra, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 192, 0, 2, 3]);
    let bytes = response(0x0180, [1, 0, 3], &rest);
    check(&bytes).expect("accepted");
    let qname = name(QNAME);
    let asked = Question { name: &qname, qtype: Rtype::A, qclass: Class::IN };
    let reply = reply::accept(&bytes, &asked).unwrap();
    let message = Message::parse(&reply.bytes).unwrap();
    let owners: Vec<_> =
        message.records().map(|r| message.owner(&r).unwrap().to_name().to_string()).collect();
    assert_eq!(owners, [QNAME, "ns.example.net", "ns.example.net"]);
}

#[test]
fn two_opts_and_an_opt_elsewhere_are_malformed() {
    let opt = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];
    assert!(check(&response(0x0180, [0, 0, 1], &opt)).is_some());
    assert!(check(&response(0x0180, [0, 0, 2], &[opt, opt].concat())).is_none());
    assert!(check(&response(0x0180, [1, 0, 0], &opt)).is_none());
}

/// `count` copies of an answer to `asked` with wrong ids.
fn forged(asked: &Asked, count: u16) -> Vec<Vec<u8>> {
    let forge = |i: u16| {
        let mut forged = asked.reply(0, &format!("{} 9 A 203.0.113.66", asked.qname), "");
        forged[..2].copy_from_slice(&(asked.id() ^ (i + 1)).to_be_bytes());
        forged
    };
    (0..count).map(forge).collect()
}

fn right(asked: &Asked) -> Vec<u8> {
    asked.reply(0, &format!("{} 9 A 192.0.2.1", asked.qname), "")
}

#[test]
fn some_wrong_ids_before_the_answer_change_nothing() {
    let upstream = Upstream::start(|asked| Act::Send([forged(asked, 20), vec![right(asked)]].concat()));
    let rig = Rig::plain(upstream.address);
    assert!(rig.ask("www.example.org", Rtype::A).text().contains("192.0.2.1"));
    let metrics = rig.resolver.forwarder().metrics();
    assert_eq!((metrics.mismatches(Mismatch::Id), metrics.upstream(upstream.address).sent()), (20, (1, 0)));
}

#[test]
fn rfc5452_a_burst_of_wrong_ids_moves_the_question_to_tcp() {
    // What comes by UDP after the burst counts no more, even with the right id.
    let upstream = Upstream::start(|asked| match asked.transport {
        Transport::Udp => Act::Send([forged(asked, 200), vec![forged_right(asked)]].concat()),
        _ => Act::send(right(asked)),
    });
    let rig = Rig::plain(upstream.address);
    assert!(rig.ask("www.example.org", Rtype::A).text().contains("192.0.2.1"));
    assert!(rig.ask("www.example.org", Rtype::A).at_once);
    assert_eq!(rig.resolver.forwarder().metrics().upstream(upstream.address).sent(), (1, 1));
}

/// A guess that hit.
fn forged_right(asked: &Asked) -> Vec<u8> {
    asked.reply(0, &format!("{} 9 A 203.0.113.66", asked.qname), "")
}

#[test]
fn what_exceeds_all_that_was_asked_for_is_counted_and_the_wait_goes_on() {
    let upstream = Upstream::start(|asked| {
        let mut large = forged_right(asked);
        large.resize(5000, 0);
        Act::Send(vec![large, right(asked)])
    });
    let rig = Rig::plain(upstream.address);
    assert!(rig.ask("www.example.org", Rtype::A).text().contains("192.0.2.1"));
    assert_eq!(rig.resolver.forwarder().metrics().mismatches(Mismatch::Oversized), 1);
}

#[test]
fn chains_that_go_round_are_counted_and_not_kept() {
    let upstream = Upstream::start(|asked| {
        let chain = format!("{0} 60 CNAME b.example; b.example 60 CNAME {0}", asked.qname);
        Act::send(asked.reply(0, &chain, ""))
    });
    let rig = Rig::plain(upstream.address);
    assert_eq!(rig.ask("a.example", Rtype::A).rcode, Rcode::SERVFAIL);
    assert_eq!(rig.resolver.forwarder().metrics().mismatches(Mismatch::Loop), 1);
    assert_eq!(rig.resolver.forwarder().cache().usage().entries, 0);
}

#[test]
fn a_response_that_comes_again_is_late_and_no_guess() {
    let upstream = Upstream::start(|asked| Act::Send(vec![right(asked); 3]));
    let rig = Rig::plain(upstream.address);
    for i in 0..50 {
        assert!(rig.ask(&format!("h{i}.example"), Rtype::A).text().contains("192.0.2.1"));
    }
    let counters = rig.resolver.forwarder().metrics().upstream(upstream.address);
    assert_eq!(counters.sent(), (50, 0), "none moved to TCP");
}

#[test]
fn referrals_are_handed_on_and_neither_chased_nor_kept() {
    let upstream = Upstream::start(|asked| Act::send(asked.reply(0, "", "example 900 NS ns.example")));
    let rig = Rig::plain(upstream.address);
    for asked in 1..3 {
        let answer = rig.ask("www.example", Rtype::A);
        assert_eq!((answer.rcode, answer.at_once), (Rcode::NOERROR, false));
        assert_eq!(upstream.seen().len(), asked);
    }
}
