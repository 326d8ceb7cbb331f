//! Upstreams over TLS (RFC 7858): who is believed, padding, resumption.

mod common;
#[path = "common/streams.rs"]
mod streams;

use std::sync::Arc;

use common::estate::text;
use hubdns::config::{self, Pin, UpstreamTransport};
use hubdns::forward::upstream::Upstream;
use hubdns::metrics::streams::StreamFault;
use rustls::version::{TLS12, TLS13};
use streams::{Authority, Client, Do, Got, LIMITS, Leaf, Server, fault, good, upstream};

const TLS: UpstreamTransport = UpstreamTransport::Tls;
const NAME: &str = "dns.example";

fn send(got: &Got) -> Vec<Do> {
    vec![Do::Send(good(got))]
}

/// A server with `leaf` that answers everything.
fn server(leaf: &Leaf) -> Server {
    Server::tls(leaf.server(&["dot"], &[&TLS12, &TLS13]), send)
}

/// What asking the server gives, with one that is known as `change` says.
fn ask(server: &Server, change: impl FnOnce(&mut config::Upstream)) -> Result<(), StreamFault> {
    let (client, upstream) = (Client::new(LIMITS), upstream(TLS, server.address, change));
    let outcome = client.ask(&upstream, "www.example");
    if let Ok(reply) = &outcome {
        assert!(text(&reply.bytes).contains("192.0.2.1"));
        return Ok(());
    }
    assert_eq!(client.counters(&upstream).streams.faults(fault(&outcome)), 1);
    assert!(server.got().is_empty(), "nothing is asked of a stranger");
    Err(fault(&outcome))
}

fn named(authority: &Authority, name: &str) -> impl FnOnce(&mut config::Upstream) + use<> {
    let (ca_file, name) = (authority.file(), name.to_owned());
    move |upstream| (upstream.ca_file, upstream.name) = (Some(ca_file), Some(name))
}

#[test]
fn rfc8310_the_certificate_must_be_good_for_the_name() {
    let authority = Authority::new();
    let right = server(&authority.leaf(&[NAME], false));
    assert_eq!(ask(&right, named(&authority, NAME)), Ok(()));
    assert_eq!(right.alpn(), [Some(b"dot".to_vec())]);
    let wrong = server(&authority.leaf(&["other.example"], false));
    assert_eq!(ask(&wrong, named(&authority, NAME)), Err(StreamFault::Certificate));
    let expired = server(&authority.leaf(&[NAME], true));
    assert_eq!(ask(&expired, named(&authority, NAME)), Err(StreamFault::Certificate));
    let stranger = server(&Authority::new().leaf(&[NAME], false));
    assert_eq!(ask(&stranger, named(&authority, NAME)), Err(StreamFault::Certificate));
}

#[test]
fn without_a_name_the_certificate_must_be_good_for_the_address() {
    let authority = Authority::new();
    let by_address = |upstream: &mut config::Upstream| upstream.ca_file = Some(authority.file());
    assert_eq!(ask(&server(&authority.leaf(&["127.0.0.1"], false)), by_address), Ok(()));
    let other = server(&authority.leaf(&[NAME, "127.0.0.2"], false));
    assert_eq!(ask(&other, by_address), Err(StreamFault::Certificate));
}

#[test]
fn the_system_s_certificates_do_not_hold_the_test_s() {
    let server = server(&Authority::new().leaf(&[NAME], false));
    let result = ask(&server, |upstream| upstream.name = Some(NAME.to_owned()));
    // Where the system has no certificates at all, nobody is trusted either.
    assert!(matches!(result, Err(StreamFault::Certificate | StreamFault::Trust)), "{result:?}");
}

#[test]
fn rfc7858_a_pinned_key_is_enough_and_another_is_not() {
    let authority = Authority::new();
    // Neither name, nor time, nor issuer count where the key is all that is known.
    let leaf = authority.leaf(&["other.example"], true);
    let pinned = server(&leaf);
    let other = Pin([7; 32]);
    assert_eq!(ask(&pinned, |upstream| upstream.pins = vec![other, leaf.pin]), Ok(()));
    let pinned = server(&leaf);
    assert_eq!(ask(&pinned, |upstream| upstream.pins = vec![other]), Err(StreamFault::Pin));
}

#[test]
fn rfc8310_pins_and_a_name_must_both_match() {
    let authority = Authority::new();
    let leaf = authority.leaf(&[NAME], false);
    let with = |pin: Pin, name: &str| {
        let named = named(&authority, name);
        move |upstream: &mut config::Upstream| {
            named(upstream);
            upstream.pins = vec![pin];
        }
    };
    assert_eq!(ask(&server(&leaf), with(leaf.pin, NAME)), Ok(()));
    assert_eq!(ask(&server(&leaf), with(Pin([7; 32]), NAME)), Err(StreamFault::Pin));
    assert_eq!(ask(&server(&leaf), with(leaf.pin, "other.example")), Err(StreamFault::Certificate));
}

#[test]
fn a_missing_file_of_certificates_is_told() {
    let server = server(&Authority::new().leaf(&[NAME], false));
    let result = ask(&server, |upstream| upstream.ca_file = Some("/nonexistent/ca.pem".into()));
    assert_eq!(result, Err(StreamFault::Trust));
}

#[test]
fn a_reload_takes_over_what_is_new_in_a_file_of_certificates() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = server(&new.leaf(&[NAME], false));
    let (client, upstream) = (Client::new(LIMITS), upstream(TLS, server.address, named(&old, NAME)));
    assert_eq!(client.fault(&upstream, "www.example"), StreamFault::Certificate);
    std::fs::copy(new.file(), old.file()).unwrap();
    client.streams.configure(&std::iter::once(Arc::clone(&upstream)).collect(), LIMITS);
    client.ask(&upstream, "www.example").unwrap();
}

#[test]
fn a_server_without_tls_or_with_another_protocol_is_told() {
    let plain = Server::tcp(|_| vec![Do::Close]);
    let garbage = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = garbage.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = garbage.accept().unwrap();
        let _ = stream.read(&mut [0; 64]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let client = Client::new(LIMITS);
    let upstream_at = |address| upstream(TLS, address, |upstream| upstream.pins = vec![Pin([7; 32])]);
    assert_eq!(client.fault(&upstream_at(address), "www.example"), StreamFault::Tls);
    thread.join().unwrap();
    drop(plain);
    let authority = Authority::new();
    let leaf = authority.leaf(&[NAME], false);
    let web = Server::tls(leaf.server(&["http/1.1"], &[&TLS13]), send);
    assert_eq!(ask(&web, named(&authority, NAME)), Err(StreamFault::Alpn));
    let silent_about_it = Server::tls(leaf.server(&[], &[&TLS13]), send);
    assert_eq!(ask(&silent_about_it, named(&authority, NAME)), Ok(()));
}

/// Connections that end after each answer, so that handshakes follow each other.
fn handshakes(versions: &[&'static rustls::SupportedProtocolVersion]) -> (u64, u64) {
    let authority = Authority::new();
    let leaf = authority.leaf(&[NAME], false);
    let server = Server::tls(leaf.server(&["dot"], versions), |got| vec![Do::Send(good(got)), Do::Close]);
    let client = Client::new(LIMITS);
    let upstream: Arc<Upstream> = upstream(TLS, server.address, named(&authority, NAME));
    for n in 0..5 {
        client.ask(&upstream, &format!("n{n}.example")).unwrap();
        client.until(&upstream, |counters| counters.streams.load() == (0, 0));
    }
    client.counters(&upstream).streams.handshakes()
}

#[test]
fn sessions_are_resumed_by_tls_1_3_and_1_2() {
    assert_eq!(handshakes(&[&TLS13]), (1, 4));
    assert_eq!(handshakes(&[&TLS12]), (1, 4));
}

#[test]
fn rfc8467_queries_are_padded() {
    let authority = Authority::new();
    let server = server(&authority.leaf(&[NAME], false));
    let client = Client::new(LIMITS);
    let upstream = upstream(TLS, server.address, named(&authority, NAME));
    for len in [1, 20, 60] {
        client.ask(&upstream, &format!("{}.example", "x".repeat(len))).unwrap();
    }
    for got in server.got() {
        assert_eq!(got.asked.bytes.len(), 128, "{}", got.asked.qname);
        let options: Vec<u16> =
            got.asked.edns().unwrap().options(&got.asked.bytes).map(|(code, _)| code).collect();
        assert_eq!(options, [12], "padding, and no client subnet");
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn questions_of_an_ended_connection_move_over_tls_too() {
    let authority = Authority::new();
    let leaf = authority.leaf(&[NAME], false);
    let server = Server::tls(leaf.server(&["dot"], &[&TLS13]), |got| match (got.connection, got.nth) {
        (0, 4) => vec![Do::Close],
        (0, _) => Vec::new(),
        _ => send(got),
    });
    let client = Client::new(LIMITS);
    let upstream = upstream(TLS, server.address, named(&authority, NAME));
    let all: Vec<_> = (0..5).map(|n| client.begin(&upstream, &format!("n{n}.example"))).collect();
    for one in all {
        one.get().unwrap();
    }
    assert_eq!(client.counters(&upstream).streams.moves(), 5);
}
