//! Whatever a well-formed upstream says reaches the client as it was said, but
//! for the id, the TTLs and the OPT; and many who ask one thing ask it once.

mod common;

use std::sync::{Arc, Mutex};

use common::estate::{query, spelled};
use common::rig::{Rig, settings};
use common::upstream::{Act, Asked, Upstream};
use hubdns::answer::Transport;
use hubdns::wire::message::Message;
use hubdns::wire::{Rtype, rdata};
use proptest::prelude::*;

/// A record of a made-up response.
#[derive(Clone, Debug)]
struct Made {
    /// 0: QNAME as a pointer; 1: QNAME spelled out; others: another name.
    owner: u8,
    rtype: u16,
    class: u16,
    ttl: u32,
    rdata: Vec<u8>,
}

/// Types without names, unknown ones among them.
const OPAQUE: [u16; 8] = [1, 16, 28, 43, 48, 64, 257, 65_280];
/// Types with one name, which may be compressed.
const NAMED: [u16; 3] = [2, 12, 15];

fn made(section: u8) -> impl Strategy<Value = Made> {
    let opaque = (0..OPAQUE.len(), proptest::collection::vec(any::<u8>(), 0..60))
        .prop_map(|(at, rdata)| (OPAQUE[at], rdata));
    let named = (0..NAMED.len(), any::<bool>()).prop_map(|(at, pointer)| {
        let mut rdata = if NAMED[at] == 15 { vec![0, 10] } else { Vec::new() };
        if pointer {
            rdata.extend_from_slice(&[0xc0, 12]);
        } else {
            rdata.extend_from_slice(&spelled("Mail.Example.NET"));
        }
        (NAMED[at], rdata)
    });
    let class = prop_oneof![9 => Just(1u16), 1 => Just(3u16)];
    (0u8..4, prop_oneof![3 => opaque, 1 => named], class, 0u32..100_000).prop_map(
        move |(owner, (rtype, rdata), class, ttl)| {
            // What the SOA of a denial does to TTLs is told elsewhere.
            Made { owner: if section == 0 { owner } else { owner | 2 }, rtype, class, ttl, rdata }
        },
    )
}

#[derive(Clone, Debug)]
struct Reply {
    flags: u16,
    sections: [Vec<Made>; 3],
    options: Vec<u8>,
    opt: bool,
}

fn reply() -> impl Strategy<Value = Reply> {
    let flags = prop_oneof![4 => Just(0x8180u16), 1 => Just(0x8583), 1 => Just(0x8183), 1 => Just(0x8186)];
    let section = |section, most| proptest::collection::vec(made(section), 0..most);
    let options = prop_oneof![Just(Vec::new()), Just(vec![0, 10, 0, 2, 1, 2]), Just(vec![0, 3, 0, 0])];
    (flags, section(0, 8), section(1, 3), section(2, 3), options, any::<bool>()).prop_map(
        |(flags, answer, authority, additional, options, opt)| {
            let sections = [answer, authority, additional];
            Reply { flags, sections, options, opt }
        },
    )
}

impl Reply {
    fn bytes(&self, asked: &Asked) -> Vec<u8> {
        let end = Message::parse(&asked.bytes).unwrap().question_end();
        let mut bytes = asked.bytes[..end].to_vec();
        bytes[2..4].copy_from_slice(&self.flags.to_be_bytes());
        bytes[6..12].fill(0);
        for (at, section) in self.sections.iter().enumerate() {
            for made in section {
                match made.owner {
                    0 => bytes.extend_from_slice(&[0xc0, 12]),
                    1 => bytes.extend_from_slice(&asked.bytes[12..end - 4]),
                    2 => bytes.extend_from_slice(&spelled("Other.Example.NET")),
                    // A label, then a pointer to QNAME.
                    _ => bytes.extend_from_slice(&[2, b'n', b'S', 0xc0, 12]),
                }
                bytes.extend_from_slice(&made.rtype.to_be_bytes());
                bytes.extend_from_slice(&made.class.to_be_bytes());
                bytes.extend_from_slice(&made.ttl.to_be_bytes());
                bytes.extend_from_slice(&(made.rdata.len() as u16).to_be_bytes());
                bytes.extend_from_slice(&made.rdata);
                bytes[7 + 2 * at] += 1;
            }
        }
        if self.opt {
            bytes.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, self.options.len() as u8]);
            bytes.extend_from_slice(&self.options);
            bytes[11] += 1;
        }
        bytes
    }
}

/// All that must come back: code, TC, question, records with their data and
/// without their TTLs.
fn essence(bytes: &[u8]) -> (u16, bool, Vec<u8>, Vec<String>) {
    let message = Message::parse(bytes).expect("a whole message");
    let records = message.records().filter(|record| record.rtype != Rtype::OPT).map(|record| {
        let mut data = Vec::new();
        rdata::expand(bytes, record.rtype, record.rdata.clone(), &mut data).expect("readable");
        if NAMED.contains(&record.rtype.0) {
            // A pointer to QNAME takes its spelling, which is the client's.
            data.make_ascii_lowercase();
        }
        let owner = message.owner(&record).expect("a name").to_name();
        format!("{:?} {owner} {} {} {data:?}", record.section, record.rtype.0, record.class.0)
    });
    let question = bytes[12..message.question_end()].to_ascii_lowercase();
    (message.rcode().0, message.flags().0 & 0x0200 != 0, question, records.collect())
}

#[test]
fn what_the_upstream_says_is_what_the_client_gets() {
    let next: Arc<Mutex<Option<Reply>>> = Arc::default();
    let sent: Arc<Mutex<Vec<u8>>> = Arc::default();
    let (script, told) = (Arc::clone(&next), Arc::clone(&sent));
    let upstream = Upstream::start(move |asked| {
        let bytes = script.lock().unwrap().as_ref().expect("a reply").bytes(asked);
        told.lock().unwrap().clone_from(&bytes);
        Act::send(bytes)
    });
    let rig = Rig::plain(upstream.address);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let number = std::cell::Cell::new(0);
    let qtypes = prop_oneof![Just(1u16), Just(28), Just(16), Just(255), Just(5), Just(65_280)];
    let strategy = (reply(), qtypes, any::<bool>(), any::<bool>());
    let result = runner.run(&strategy, |(reply, qtype, edns, tcp)| {
        number.set(number.get() + 1);
        let qname = format!("wWw{}.Example.org", number.get());
        *next.lock().unwrap() = Some(reply);
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        let mut bytes = query(&qname, Rtype(qtype), 0x0100, edns.then_some(1232));
        bytes[..2].copy_from_slice(&[0xab, 0xcd]);
        // Once from the upstream, once from the cache, if it was kept.
        for _ in 0..2 {
            let answer = rig.send(&bytes, transport).get();
            let sent = sent.lock().unwrap().clone();
            prop_assert_eq!(&answer.bytes[..2], &[0xab, 0xcd]);
            prop_assert_eq!(&answer.bytes[12..12 + spelled(&qname).len()], &spelled(&qname)[..]);
            prop_assert_eq!(answer.edns().is_some(), edns);
            let (mut got, mut wanted) = (essence(&answer.bytes), essence(&sent));
            if got.1 && !tcp {
                // Cut to what the client takes, between two records.
                prop_assert!(answer.bytes.len() <= 1232);
                wanted.3.truncate(got.3.len());
                got.1 = false;
            } else if !tcp && got.3.len() < wanted.3.len() {
                // Additional records may be left out without a word.
                prop_assert!(wanted.3[got.3.len()..].iter().all(|line| line.starts_with("Additional")));
                wanted.3.truncate(got.3.len());
            }
            prop_assert_eq!(got, wanted);
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn ten_thousand_clients_with_one_question_cause_one_query() {
    const CLIENTS: u64 = 10_000;
    let upstream =
        Upstream::start(|asked| Act::Hold(asked.reply(0, &format!("{} 300 A 192.0.2.1", asked.qname), "")));
    let mut wide = settings(&[&[upstream.address]]);
    (wide.forward.max_in_flight, wide.forward.max_waiters) = (20_000, 20_000);
    let rig = Rig::new("", wide, |_| {});
    let ask = |size: Option<u16>| rig.send(&query("cold.example", Rtype::A, 0x0100, size), Transport::Udp);
    let awaited: Vec<_> = (0..CLIENTS).map(|i| ask(if i % 2 == 0 { Some(1232) } else { None })).collect();
    rig.until(|forwarder| forwarder.metrics().coalesced() == CLIENTS - 1);
    upstream.release();
    for one in awaited {
        assert!(one.get().text().contains("192.0.2.1"));
    }
    assert!(ask(None).get().at_once);
    assert_eq!(upstream.seen().len(), 1);
}
