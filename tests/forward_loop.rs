//! Questions that come back from the upstream that they are in flight to.

mod common;

use std::net::IpAddr;

use common::estate::query;
use common::rig::{Awaited, Rig};
use common::upstream::{Act, Asked, Upstream};
use hubdns::answer::Context;
use hubdns::wire::{Rcode, Rtype};

/// Keeps back every answer.
fn slow(asked: &Asked) -> Act {
    Act::Hold(asked.reply(0, &format!("{} 300 A 192.0.2.1", asked.qname), ""))
}

fn ask_from(rig: &Rig, client: &str, qname: &str, dnssec_ok: bool) -> Awaited {
    let mut query = query(qname, Rtype::A, 0x0100, Some(1232));
    let flags = query.len() - 4;
    query[flags] = if dnssec_ok { 0x80 } else { 0 };
    rig.send_from(&query, Context::INTERNAL, Some(client.parse::<IpAddr>().unwrap()))
}

#[test]
fn a_question_that_comes_back_fails_at_once_and_the_others_get_their_answer() {
    let upstream = Upstream::start_on("127.0.0.2", slow);
    let rig = Rig::plain(upstream.address);
    let client = ask_from(&rig, "127.0.0.9", "www.example", false);
    upstream.wait(|seen| seen.len() == 1);
    // A forwarder may set DO on the way: the question is the same.
    for dnssec_ok in [false, true] {
        let looped = ask_from(&rig, "127.0.0.2", "www.example", dnssec_ok).get();
        assert_eq!((looped.rcode, looped.ede()), (Rcode::SERVFAIL, vec![0]));
    }
    // Another question of the upstream's is one like any other's, and so is
    // the same question of anybody else.
    let other = ask_from(&rig, "127.0.0.2", "other.example", false);
    let second = ask_from(&rig, "127.0.0.3", "www.example", false);
    upstream.wait(|seen| seen.len() == 2);
    rig.until(|forwarder| forwarder.metrics().load() == (2, 3));
    upstream.release();
    for awaited in [client, other, second] {
        assert_eq!(awaited.get().rcode, Rcode::NOERROR);
    }
    let counters = rig.resolver.forwarder().metrics().upstream(upstream.address);
    assert_eq!((counters.loops(), upstream.seen().len()), (2, 2));
    // Once it is answered, nothing is in flight to come back.
    assert_eq!(ask_from(&rig, "127.0.0.2", "www.example", false).get().rcode, Rcode::NOERROR);
}

#[test]
fn clients_that_share_the_upstreams_address_are_no_loop_until_it_insists() {
    let upstream = Upstream::start(slow);
    let rig = Rig::plain(upstream.address);
    let counters = rig.resolver.forwarder().metrics().upstream(upstream.address);
    // Twice, since an answer clears the upstream.
    for round in 0..2 {
        let name = format!("round{round}.example");
        let mut awaited: Vec<Awaited> = vec![ask_from(&rig, "127.0.0.1", &name, false)];
        upstream.wait(|seen| seen.len() == round + 1);
        awaited.extend((0..4).map(|_| ask_from(&rig, "127.0.0.1", &name, false)));
        rig.until(|forwarder| forwarder.metrics().load().1 == 5);
        assert_eq!(counters.loops(), round as u64);
        let refused = ask_from(&rig, "127.0.0.1", &name, false).get();
        assert_eq!((refused.rcode, refused.ede()), (Rcode::SERVFAIL, vec![0]));
        upstream.release();
        for one in awaited {
            assert_eq!(one.get().rcode, Rcode::NOERROR);
        }
    }
}
