//! Hedging where streams are concerned: an upstream over a stream takes longer
//! than it mostly does, or the rest of a truncated answer is waited for.

mod common;
#[path = "common/https.rs"]
mod https;
#[path = "common/streams.rs"]
mod streams;

use std::sync::Arc;
use std::time::Duration;

use common::rig::{Rig, settings};
use common::upstream::{Act, Asked, Upstream};
use https::{HttpsServer, Says};
use hubdns::answer::Transport;
use hubdns::config::{self, UpstreamBudget, UpstreamTransport, Upstreams};
use hubdns::forward::Settings;
use hubdns::forward::governor::UpstreamUse;
use hubdns::forward::health::State;
use hubdns::metrics::forward::Failure;
use hubdns::wire::Rtype;
use rustls::version::TLS13;
use streams::{Authority, Do, Server, good};

const NAME: &str = "dns.example";
/// The name whose answers are slow in coming.
const SLOW: &str = "slow.example";

/// A server over a stream that holds back what it has to say to [`SLOW`].
enum Peer {
    Framed(Server),
    Https(HttpsServer),
}

impl Peer {
    fn start(transport: UpstreamTransport, authority: &Authority) -> (Self, config::Upstream) {
        let leaf = authority.leaf(&[NAME], false);
        let framed = |got: &streams::Got| {
            let is_held = got.asked.qname == SLOW;
            vec![if is_held { Do::Hold(good(got)) } else { Do::Send(good(got)) }]
        };
        let peer = match transport {
            UpstreamTransport::Udp | UpstreamTransport::Tcp => Self::Framed(Server::tcp(framed)),
            UpstreamTransport::Tls => Self::Framed(Server::tls(leaf.server(&["dot"], &[&TLS13]), framed)),
            UpstreamTransport::Https => {
                Self::Https(HttpsServer::start(leaf.server(&["h2"], &[&TLS13]), |request| Says {
                    held: request.asked.qname == SLOW,
                    ..Says::message(streams::answer(&request.asked))
                }))
            }
        };
        let address = match &peer {
            Self::Framed(server) => server.address,
            Self::Https(server) => server.address,
        };
        let mut upstream = config::Upstream { transport, ..config::Upstream::from(address) };
        if transport.is_encrypted() {
            (upstream.name, upstream.ca_file) = (Some(NAME.to_owned()), Some(authority.file()));
        }
        if transport == UpstreamTransport::Https {
            upstream.path.push_str("/dns-query");
        }
        (peer, upstream)
    }

    fn release(&self) {
        match self {
            Self::Framed(server) => server.release(),
            Self::Https(server) => server.release(),
        }
    }
}

/// Two upstreams. What is silent is sent again so late that a test would tell.
fn pair(first: config::Upstream, second: config::Upstream) -> Rig {
    Rig::new("", pair_settings(first, second), |_| {})
}

fn pair_settings(first: config::Upstream, second: config::Upstream) -> Settings {
    let mut settings: Settings = settings(&[&[]]);
    settings.forward.groups[0].upstreams = Upstreams::Servers(vec![first, second]);
    settings.forward.streams.connect = Duration::from_secs(20);
    settings.forward.resend_after = Duration::from_secs(15);
    settings
}

/// How the upstreams fare.
fn shown(rig: &Rig) -> [UpstreamUse; 2] {
    rig.resolver.forwarder().governor().0.upstreams().try_into().expect("two upstreams")
}

/// Asks until it is known what the first upstream mostly takes.
fn warm_up(rig: &Rig) {
    for n in 0..100 {
        if shown(rig)[0].p95.is_some() {
            return;
        }
        assert!(rig.ask(&format!("n{n}.example"), Rtype::A).text().contains("192.0.2.1"));
    }
    panic!("nothing is known after a hundred answers");
}

/// An upstream over UDP that has another answer than those over streams.
fn second(act: impl Fn(Vec<u8>) -> Act + Send + Sync + 'static) -> Upstream {
    Upstream::start(move |asked| act(asked.reply(0, &format!("{} 300 A 192.0.2.2", asked.qname), "")))
}

#[test]
fn an_upstream_over_a_stream_is_hedged_after_its_95th_percentile() {
    let authority = Authority::new();
    for transport in [UpstreamTransport::Tcp, UpstreamTransport::Tls, UpstreamTransport::Https] {
        let (peer, first) = Peer::start(transport, &authority);
        let other = second(Act::send);
        let rig = pair(first.clone(), other.address.into());
        warm_up(&rig);
        let before = shown(&rig)[1].hedges;
        assert!(rig.ask(SLOW, Rtype::A).text().contains("192.0.2.2"), "{transport:?}");
        let [one, two] = shown(&rig);
        assert_eq!((two.hedges - before, two.resends), (1, 0), "{transport:?}: by the hedge");
        let counters = rig.resolver.forwarder().metrics().upstream(&first);
        assert_eq!((one.state, counters.failures(Failure::Timeout)), (State::Up, 0), "and nobody is blamed");
        // What it had to say comes late, and counts as the time that it took.
        let rtt = one.rtt;
        peer.release();
        rig.until(|_| shown(&rig)[0].rtt > rtt);
    }
}

/// How many queries the first upstream has in flight.
fn in_flight(rig: &Rig) -> u32 {
    let (governor, now) = rig.resolver.forwarder().governor();
    governor.budgets(0, now).iter().map(|budget| budget.usage.in_flight).sum()
}

#[test]
fn what_is_left_over_a_stream_keeps_its_place_until_it_comes_or_is_given_up() {
    for comes in [true, false] {
        let (peer, first) = Peer::start(UpstreamTransport::Tcp, &Authority::new());
        let other = second(Act::send);
        let mut settings = pair_settings(first.clone(), other.address.into());
        settings.forward.governor.budgets =
            vec![UpstreamBudget { address: first.address, rate: None, in_flight: Some(10) }];
        let rig = Rig::new("", settings, |_| {});
        warm_up(&rig);
        assert!(rig.ask(SLOW, Rtype::A).text().contains("192.0.2.2"));
        let rtt = shown(&rig)[0].rtt;
        assert_eq!(in_flight(&rig), 1, "it may still come");
        if comes {
            peer.release();
        }
        rig.until(|_| in_flight(&rig) == 0);
        assert_eq!(shown(&rig)[0].rtt > rtt, comes, "what never comes is no sample");
    }
}

#[test]
fn a_hedge_goes_over_a_stream_as_well_and_the_first_answer_counts() {
    let authority = Authority::new();
    let (peer, one) = Peer::start(UpstreamTransport::Tcp, &authority);
    let two = Server::tls(authority.leaf(&[NAME], false).server(&["dot"], &[&TLS13]), |got| {
        vec![Do::Hold(got.asked.reply(0, &format!("{} 300 A 192.0.2.2", got.asked.qname), ""))]
    });
    let tls = config::Upstream {
        transport: UpstreamTransport::Tls,
        name: Some(NAME.to_owned()),
        ca_file: Some(authority.file()),
        ..config::Upstream::from(two.address)
    };
    let rig = pair(one, tls);
    warm_up(&rig);
    let waiting = rig.begin(SLOW, Rtype::A);
    two.wait_for(1);
    peer.release();
    assert!(waiting.get().text().contains("192.0.2.1"), "the first one was only slow");
}

#[test]
fn the_time_of_a_handshake_is_no_round_trip() {
    // A connection for each question.
    let server = Server::tcp(|got| vec![Do::Send(good(got)), Do::Close]);
    let over_tcp =
        config::Upstream { transport: UpstreamTransport::Tcp, ..config::Upstream::from(server.address) };
    let other = second(Act::send);
    let rig = pair(over_tcp, other.address.into());
    for n in 0..40 {
        assert!(rig.ask(&format!("n{n}.example"), Rtype::A).text().contains("192.0.2.1"));
    }
    let [first, _] = shown(&rig);
    assert_eq!((first.rtt, first.p95, first.state), (None, None, State::Up));
}

/// The answer of `asked`, cut: the rest is to be had over TCP.
fn truncated(asked: &Asked) -> Vec<u8> {
    asked.reply(0x0200, "", "")
}

#[test]
fn a_hedge_that_is_out_is_waited_for_when_tcp_fails() {
    let other = Arc::new(second(Act::Hold));
    let hedged = Arc::clone(&other);
    let first = Upstream::start(move |asked| match (asked.qname.as_str(), asked.transport) {
        (SLOW, Transport::Udp) => Act::send(truncated(asked)),
        (SLOW, Transport::Tcp) => {
            hedged.wait(|seen| seen.iter().any(|asked| asked.qname == SLOW));
            Act::Close
        }
        _ => Act::send(streams::answer(asked)),
    });
    let rig = pair(first.address.into(), other.address.into());
    warm_up(&rig);
    let waiting = rig.begin(SLOW, Rtype::A);
    let counters = rig.resolver.forwarder().metrics().upstream(first.address);
    rig.until(|_| counters.failures(Failure::Refused) == 1);
    other.release();
    assert_eq!(waiting.get().text(), format!("NOERROR | {SLOW} 300 A 192.0.2.2 | "));
}

#[test]
fn each_upstream_has_tcp_of_its_own() {
    // The hedge goes over a stream; then the first upstream's answer comes, cut.
    let first = Upstream::start(|asked| match (asked.qname.as_str(), asked.transport) {
        (SLOW, Transport::Udp) => Act::Hold(truncated(asked)),
        _ => Act::send(streams::answer(asked)),
    });
    let (peer, over_tcp) = Peer::start(UpstreamTransport::Tcp, &Authority::new());
    let rig = pair(first.address.into(), over_tcp);
    warm_up(&rig);
    let waiting = rig.begin(SLOW, Rtype::A);
    let Peer::Framed(hedge) = &peer else { unreachable!("it was started over TCP") };
    hedge.wait_for(1);
    first.release();
    assert_eq!(waiting.get().text(), format!("NOERROR | {SLOW} 300 A 192.0.2.1 | "));
    assert_eq!(first.seen().iter().filter(|asked| asked.transport == Transport::Tcp).count(), 1);
}
