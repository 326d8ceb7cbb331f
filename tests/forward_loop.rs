//! Questions that come back from the upstream that they are in flight to.

mod common;
#[path = "common/streams.rs"]
mod streams;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use common::estate::query;
use common::rig::{Awaited, Rig, settings};
use common::upstream::{Act, Asked, Upstream};
use hubdns::answer::Context;
use hubdns::config::{self, UpstreamTransport, Upstreams};
use hubdns::wire::{Rcode, Rtype};
use streams::{Do, Server};

/// What comes within this is a crowd. Less than the engine's own limit; on a
/// machine that stalls for longer nothing can be told.
const AT_ONCE: Duration = Duration::from_millis(900);

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
        upstream.wait(|seen| seen.iter().any(|asked| asked.qname == name));
        // All at once: a crowd, and no loop.
        let begun = Instant::now();
        awaited.extend((0..100).map(|_| ask_from(&rig, "127.0.0.1", &name, false)));
        rig.until(|forwarder| forwarder.metrics().load().1 + counters.loops() == 101 + round);
        assert!(counters.loops() == round || begun.elapsed() > AT_ONCE);
        // Again and again, while nothing is answered: whoever is refused is not awaited.
        let begun = Instant::now();
        while counters.loops() == round {
            assert!(begun.elapsed() < Duration::from_secs(30), "never taken for a loop");
            awaited.push(ask_from(&rig, "127.0.0.1", &name, false));
            // A pace, as each of them takes a place.
            std::thread::sleep(Duration::from_millis(20));
        }
        let refused = awaited.pop().expect("the last").get();
        assert_eq!((refused.rcode, refused.ede()), (Rcode::SERVFAIL, vec![0]));
        upstream.release();
        for one in awaited {
            assert_eq!(one.get().rcode, Rcode::NOERROR);
        }
    }
}

#[test]
fn an_answer_over_a_stream_clears_the_upstream_too() {
    let server = Server::tcp(|got| vec![Do::Hold(streams::answer(&got.asked))]);
    let address = server.address;
    let mut settings = settings(&[&[]]);
    let tcp = config::Upstream { transport: UpstreamTransport::Tcp, ..address.into() };
    settings.forward.groups[0].upstreams = Upstreams::Servers(vec![tcp.clone()]);
    let rig = Rig::new("", settings, |_| {});
    let counters = rig.resolver.forwarder().metrics().upstream(&tcp);
    let begun = Instant::now();
    // A question that somebody else asks as well, now and then, for longer than
    // an upstream that loops is waited for: each is answered.
    for round in 0..8 {
        let name = format!("round{round}.example");
        let first = ask_from(&rig, "127.0.0.1", &name, false);
        server.wait_for(round + 1);
        let second = ask_from(&rig, "127.0.0.1", &name, false);
        rig.until(|forwarder| forwarder.metrics().load().1 == 2 || counters.loops() > 0);
        while begun.elapsed() < Duration::from_millis(200 * (round as u64 + 1)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        server.release();
        for one in [first, second] {
            assert_eq!(one.get().rcode, Rcode::NOERROR, "{round}");
        }
    }
    assert_eq!(counters.loops(), 0);
}
