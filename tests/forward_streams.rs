//! Upstreams over streams as clients see them: every transport hands on the
//! same, groups move on, AD is believed of few.

mod common;
#[path = "common/https.rs"]
mod https;
#[path = "common/streams.rs"]
mod streams;

use std::sync::Arc;
use std::time::Duration;

use common::estate::{query, query_of, spelled};
use common::rig::{Rig, settings};
use common::upstream::{Asked, Upstream};
use https::{HttpsServer, Says};
use hubdns::answer::Transport;
use hubdns::config::{self, UpstreamTransport, Upstreams};
use hubdns::forward::Settings;
use hubdns::metrics::forward::Failure;
use hubdns::wire::message::Message;
use hubdns::wire::{Edns, Flags, Rcode, Rtype};
use rustls::version::TLS13;
use streams::{Authority, Do, Server, answer};

const NAME: &str = "dns.example";

type Script = Arc<dyn Fn(&Asked) -> Vec<u8> + Send + Sync>;

/// A server of one transport.
enum Peer {
    Framed(Server),
    Https(HttpsServer),
}

impl Peer {
    fn start(
        transport: UpstreamTransport,
        authority: &Authority,
        script: Script,
    ) -> (Self, config::Upstream) {
        let leaf = authority.leaf(&[NAME], false);
        let framed = move |script: Script| move |got: &streams::Got| vec![Do::Send(script(&got.asked))];
        let peer = match transport {
            UpstreamTransport::Udp | UpstreamTransport::Tcp => Self::Framed(Server::tcp(framed(script))),
            UpstreamTransport::Tls => {
                Self::Framed(Server::tls(leaf.server(&["dot"], &[&TLS13]), framed(script)))
            }
            UpstreamTransport::Https => {
                Self::Https(HttpsServer::start(leaf.server(&["h2"], &[&TLS13]), move |request| {
                    Says::message(script(&request.asked))
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

    fn got(&self) -> Vec<Asked> {
        match self {
            Self::Framed(server) => server.got().into_iter().map(|got| got.asked).collect(),
            Self::Https(server) => server.got().into_iter().map(|got| got.asked).collect(),
        }
    }
}

fn of(upstreams: Vec<config::Upstream>) -> Settings {
    let mut settings = settings(&[&[]]);
    settings.forward.groups[0].upstreams = Upstreams::Servers(upstreams);
    settings.forward.streams.connect = Duration::from_secs(20);
    settings
}

const STREAMS: [UpstreamTransport; 3] =
    [UpstreamTransport::Tcp, UpstreamTransport::Tls, UpstreamTransport::Https];

#[test]
fn every_transport_hands_on_class_flags_unknown_types_and_errors() {
    for transport in STREAMS {
        let authority = Authority::new();
        // TYPE65280, class CHAOS, an unknown type in the answer, an EDE.
        let script = |asked: &Asked| {
            let mut bytes = asked.reply(0, "", "");
            bytes[7] = 1;
            bytes.extend_from_slice(&[0xc0, 12, 0xff, 0, 0, 3, 0, 0, 1, 44, 0, 5]);
            bytes.extend_from_slice(b"\x00\xffabc");
            bytes.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 10, 0, 15, 0, 6, 0, 4]);
            bytes.extend_from_slice(b"oops");
            bytes[11] = 1;
            bytes
        };
        let (peer, upstream) = Peer::start(transport, &authority, Arc::new(script));
        let rig = Rig::new("", of(vec![upstream.clone()]), |_| {});
        let mut query = query_of(&spelled("WwW.example"), Rtype(0xff00), 3, 0x0110, Some(1232));
        let len = query.len();
        query[len - 4] = 0x80;
        let answer = rig.send(&query, Transport::Tcp).get();
        let message = Message::parse(&answer.bytes).unwrap();
        assert_eq!((answer.rcode, message.qtype(), message.qclass().0), (Rcode::NOERROR, Rtype(0xff00), 3));
        let record = message.records().next().unwrap();
        assert_eq!((record.rtype, record.class.0), (Rtype(0xff00), 3));
        assert_eq!(answer.bytes[record.rdata], *b"\x00\xffabc", "{transport:?}");
        assert_eq!(answer.ede(), [4]);
        assert!(message.flags().has(Flags::CD) && answer.edns().unwrap().dnssec_ok);
        let got = &peer.got()[0];
        assert!(got.flags().has(Flags::CD | Flags::RD));
        let edns: Edns = got.edns().unwrap();
        assert!(edns.dnssec_ok);
        assert_eq!(got.qtype, Rtype(0xff00));
        let counters = rig.resolver.forwarder().metrics().upstream(&upstream);
        let sent = (counters.sent(), counters.sent_encrypted());
        let expected = match transport {
            UpstreamTransport::Tls => ((0, 0), (1, 0)),
            UpstreamTransport::Https => ((0, 0), (0, 1)),
            _ => ((0, 1), (0, 0)),
        };
        assert_eq!(sent, expected, "{transport:?}");
    }
}

#[test]
fn a_group_moves_on_from_an_upstream_that_cannot_be_had() {
    let authority = Authority::new();
    for transport in STREAMS {
        let dead = config::Upstream { transport, ..config::Upstream::from(common::upstream::closed()) };
        let (peer, good) = Peer::start(UpstreamTransport::Tls, &authority, Arc::new(answer));
        let rig = Rig::new("", of(vec![dead.clone(), good]), |_| {});
        let answer = rig.ask("www.example", Rtype::A);
        assert!(answer.text().contains("192.0.2.1"), "{transport:?}: {}", answer.text());
        assert_eq!(peer.got().len(), 1);
        let counters = rig.resolver.forwarder().metrics().upstream(&dead);
        let failed = counters.failures(Failure::Refused) + counters.failures(Failure::Network);
        assert_eq!(failed, 1, "{transport:?}");
    }
}

#[test]
fn a_group_moves_on_from_an_upstream_that_is_silent() {
    let authority = Authority::new();
    let silent = Server::tcp(|_| Vec::new());
    let first =
        config::Upstream { transport: UpstreamTransport::Tcp, ..config::Upstream::from(silent.address) };
    let (_peer, second) = Peer::start(UpstreamTransport::Https, &authority, Arc::new(answer));
    let mut settings = of(vec![first, second]);
    settings.forward.resend_after = Duration::from_millis(50);
    let rig = Rig::new("", settings, |_| {});
    assert!(rig.ask("www.example", Rtype::A).text().contains("192.0.2.1"));
    assert_eq!(silent.got().len(), 1, "asked once: what went over a stream is not lost");
}

#[test]
fn a_failure_of_an_upstream_over_a_stream_moves_on_like_one_over_udp() {
    let authority = Authority::new();
    let failing = |asked: &Asked| asked.reply(2, "", "");
    let (_first, bad) = Peer::start(UpstreamTransport::Tls, &authority, Arc::new(failing));
    let second = Upstream::answering("192.0.2.2");
    let rig = Rig::new("", of(vec![bad, second.address.into()]), |_| {});
    assert!(rig.ask("www.example", Rtype::A).text().contains("192.0.2.2"));
}

#[test]
fn truncated_answers_come_over_one_connection_that_stays_open() {
    let upstream = Upstream::start(|asked| match asked.transport {
        Transport::Udp => common::upstream::Act::send(asked.reply(0x0200, "", "")),
        _ => common::upstream::Act::send(answer(asked)),
    });
    let rig = Rig::plain(upstream.address);
    for n in 0..5 {
        assert!(rig.ask(&format!("n{n}.example"), Rtype::A).text().contains("192.0.2.1"));
    }
    let counters = rig.resolver.forwarder().metrics().upstream(upstream.address);
    assert_eq!(counters.sent(), (5, 5));
    assert_eq!((counters.streams.connections(), counters.streams.reuses()), ((1, 0), 4));
}

/// Whether a client gets AD that asks with `flags` and `dnssec_ok`, from the
/// upstream and then from the cache.
fn passed(rig: &Rig, name: &str, flags: u16, dnssec_ok: bool) -> bool {
    let mut query = query(name, Rtype::A, 0x0100 | flags, Some(1232));
    if dnssec_ok {
        let len = query.len();
        query[len - 4] = 0x80;
    }
    let has_ad = || {
        let answer = rig.send(&query, Transport::Udp).get();
        assert_eq!(answer.rcode, Rcode::NOERROR);
        Message::parse(&answer.bytes).unwrap().flags().has(Flags::AD)
    };
    let first = has_ad();
    assert_eq!(has_ad(), first, "the cache says the same");
    first
}

#[test]
fn ad_goes_to_those_who_ask_and_only_from_trusted_encrypted_upstreams() {
    let authority = Authority::new();
    for transport in STREAMS {
        for trusted in [false, true] {
            let script = |asked: &Asked| asked.reply(0x20, &format!("{} 300 A 192.0.2.1", asked.qname), "");
            let (peer, upstream) = Peer::start(transport, &authority, Arc::new(script));
            let rig = Rig::new("", of(vec![config::Upstream { trusted, ..upstream }]), |_| {});
            let believed = trusted && transport.is_encrypted();
            assert!(!passed(&rig, "plain.example", 0, false), "{transport:?}");
            assert_eq!(passed(&rig, "ad.example", Flags::AD, false), believed, "{transport:?} {trusted}");
            assert_eq!(passed(&rig, "do.example", 0, true), believed, "{transport:?} {trusted}");
            assert!(!passed(&rig, "ad.example", 0, false), "kept, but not for everybody");
            assert_eq!(peer.got()[0].flags().has(Flags::AD), believed, "asked for where it is believed");
        }
    }
    let udp = Upstream::start(|asked| {
        common::upstream::Act::send(asked.reply(0x20, &format!("{} 300 A 192.0.2.1", asked.qname), ""))
    });
    let settings = of(vec![config::Upstream { trusted: true, ..udp.address.into() }]);
    let rig = Rig::new("", settings, |_| {});
    assert!(!passed(&rig, "do.example", Flags::AD, true));
}

#[test]
fn what_one_upstream_said_never_answers_for_another() {
    let authority = Authority::new();
    let (peer, upstream) = Peer::start(UpstreamTransport::Tls, &authority, Arc::new(answer));
    let rig = Rig::new("", of(vec![upstream.clone()]), |_| {});
    assert!(!rig.ask("www.example", Rtype::A).at_once);
    assert!(rig.ask("www.example", Rtype::A).at_once);
    // The same address and name, trusted now: another upstream.
    let trusted = config::Upstream { trusted: true, ..upstream.clone() };
    rig.resolver.reload(&of(vec![trusted]));
    assert!(!rig.ask("www.example", Rtype::A).at_once);
    rig.resolver.reload(&of(vec![upstream]));
    assert!(rig.ask("www.example", Rtype::A).at_once, "as before: its responses are still there");
    assert_eq!(peer.got().len(), 2);
}
