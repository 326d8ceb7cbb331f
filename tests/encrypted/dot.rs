//! DNS over TLS (RFC 7858).

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;

use hubdns::config::EncryptedTransport::Tls;
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};

use crate::common::estate::text;
use crate::common::serving::PATIENCE;
use crate::common::stream;
use crate::rig::{
    HELD, HELD_ANSWER, ask, ask_with, at, dot, framed, labeled, metric, one, options, wait_until,
};

const KEEPALIVE: [u8; 4] = [0, 11, 0, 0];
const PADDING: [u8; 7] = [0, 12, 0, 3, 0, 0, 0];

#[test]
fn hits_and_forwarded_answers_by_both_versions_of_tls() {
    let (pki, _upstream, server) = one(Tls, |_| {});
    for version in [&TLS13, &TLS12] {
        let client = pki.client(&["dot"], &[version], None);
        let mut connection = dot(at(&server, "tls"), &client).unwrap();
        assert_eq!(connection.0.conn.protocol_version(), Some(version.version));
        assert_eq!(connection.0.conn.alpn_protocol(), Some(&b"dot"[..]));
        for id in [1, 2] {
            let answer = connection.ask(&ask(id, HELD));
            assert_eq!((answer[1], text(&answer).as_str()), (id as u8, HELD_ANSWER));
        }
        let answer = connection.ask(&ask(3, "www.example.org"));
        assert_eq!(text(&answer), "NOERROR | www.example.org 300 A 192.0.2.1 | ");
    }
    assert_eq!(metric(&server, "hubdns_queries_total{transport=\"tls\"}"), 6);
    let hits = "hubdns_responses_total{transport=\"tls\",rcode=\"noerror\",origin=\"hit\"}";
    assert_eq!(metric(&server, hits), 4);
    assert_eq!(labeled(&server, "hubdns_tls_handshakes_total", "full"), 2);
}

#[test]
fn a_client_may_do_without_alpn_but_not_with_another() {
    let (pki, _upstream, server) = one(Tls, |_| {});
    let none = pki.client(&[], rustls::ALL_VERSIONS, None);
    assert_eq!(text(&dot(at(&server, "tls"), &none).unwrap().ask(&ask(1, HELD))), HELD_ANSWER);
    let other = pki.client(&["h2"], rustls::ALL_VERSIONS, None);
    assert!(dot(at(&server, "tls"), &other).is_err());
    wait_until("it is counted", || labeled(&server, "hubdns_tls_handshake_failures_total", "protocol") == 1);
}

#[test]
fn one_byte_at_a_time() {
    let (pki, _upstream, server) = one(Tls, |_| {});
    let mut connection = dot(at(&server, "tls"), &pki.dot()).unwrap();
    for id in [7, 8] {
        for byte in framed(&ask(id, HELD)) {
            connection.0.write_all(&[byte]).unwrap();
            connection.0.flush().unwrap();
        }
        assert_eq!(connection.next().unwrap()[1], id as u8);
    }
}

#[test]
fn many_queries_in_few_records_are_all_answered_in_order() {
    let (pki, _upstream, server) = one(Tls, |_| {});
    let mut connection = dot(at(&server, "tls"), &pki.dot()).unwrap();
    // More than fits into a read, a record or the cap of queries in flight; not
    // more than the client may leave unread, as it writes before it reads.
    for round in 0..10u16 {
        let queries: Vec<u8> = (0..200).flat_map(|id| framed(&ask(round * 200 + id, HELD))).collect();
        connection.0.write_all(&queries).unwrap();
        connection.0.flush().unwrap();
        for id in 0..200 {
            let answer = connection.next().unwrap();
            assert_eq!(u16::from_be_bytes([answer[0], answer[1]]), round * 200 + id);
        }
    }
}

#[test]
fn rfc7766_answers_come_as_they_are_ready() {
    let (pki, upstream, server) = one(Tls, |_| {});
    let mut connection = dot(at(&server, "tls"), &pki.dot()).unwrap();
    for (id, name) in [(1, "slow.example"), (2, HELD), (3, "quick.example")] {
        connection.send(&ask(id, name));
    }
    assert_eq!(connection.next().unwrap()[1], 2);
    assert_eq!(connection.next().unwrap()[1], 3);
    upstream.wait(|seen| seen.len() == 2);
    upstream.release();
    let slow = connection.next().unwrap();
    assert_eq!((slow[1], text(&slow).as_str()), (1, "NOERROR | slow.example 300 A 192.0.2.1 | "));
}

#[test]
fn what_is_no_query_ends_the_connection() {
    let (pki, _upstream, server) = one(Tls, |_| {});
    for junk in [vec![0, 0], vec![0, 11, 1], framed(&[0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0])] {
        let mut connection = dot(at(&server, "tls"), &pki.dot()).unwrap();
        connection.send(&ask(1, HELD));
        connection.0.write_all(&junk).unwrap();
        connection.0.flush().unwrap();
        assert_eq!(text(&connection.next().unwrap()), HELD_ANSWER, "what came before is answered");
        connection.assert_closed();
    }
    wait_until("all are counted", || {
        labeled(&server, "hubdns_encrypted_connections_closed_total", "protocol") == 3
    });
}

#[test]
fn a_malformed_query_is_answered_as_over_tcp() {
    let (pki, _upstream, server) = one(Tls, |_| {});
    let mut connection = dot(at(&server, "tls"), &pki.dot()).unwrap();
    let mut plain = server.connect();
    for message in [
        vec![0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        vec![0, 9, 0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![0, 9, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0],
    ] {
        plain.write_all(&framed(&message)).unwrap();
        assert_eq!(connection.ask(&message), stream::next(&mut plain));
    }
}

#[test]
fn rfc8467_responses_are_padded_where_the_query_was() {
    let (pki, upstream, server) = one(Tls, |_| {});
    let mut connection = dot(at(&server, "tls"), &pki.dot()).unwrap();
    let mut plain = server.connect();
    for name in [HELD, "www.example.org", "slow.example.org", "missing.contoso.azurecr.io"] {
        connection.send(&ask_with(1, name, &PADDING));
        if name.starts_with("slow") {
            upstream.wait(|seen| seen.iter().any(|asked| asked.qname.starts_with("slow")));
            upstream.release();
        }
        let padded = connection.next().unwrap();
        assert_eq!(padded.len() % 468, 0, "{name}");
        assert_eq!(options(&padded).last().map(|(code, _)| *code), Some(12), "{name}");
        let bare = connection.ask(&ask_with(1, name, &[]));
        assert_eq!(text(&padded), text(&bare));
        assert!(options(&bare).iter().all(|(code, _)| *code != 12), "{name}");
        // Without encryption length hides nothing.
        plain.write_all(&framed(&ask_with(1, name, &PADDING))).unwrap();
        assert!(options(&stream::next(&mut plain)).iter().all(|(code, _)| *code != 12));
    }
}

#[test]
fn rfc7828_the_idle_timeout_is_told_to_who_asks_over_tcp_and_tls() {
    let (pki, upstream, server) = one(Tls, |_| {});
    let expected = (11, ((PATIENCE.as_millis() / 100) as u16).to_be_bytes().to_vec());
    let mut connection = dot(at(&server, "tls"), &pki.dot()).unwrap();
    let mut plain = server.connect();
    for name in [HELD, "slow.example"] {
        let query = ask_with(1, name, &KEEPALIVE);
        connection.send(&query);
        plain.write_all(&framed(&query)).unwrap();
        if name != HELD {
            upstream.wait(|seen| !seen.is_empty());
            upstream.release();
        }
        assert_eq!(options(&connection.next().unwrap()), std::slice::from_ref(&expected), "{name}");
        assert_eq!(options(&stream::next(&mut plain)), std::slice::from_ref(&expected), "{name}");
        assert_eq!(options(&connection.ask(&ask_with(1, name, &[]))), []);
    }
    // Over UDP it means nothing.
    assert_eq!(options(&server.ask(&ask_with(1, HELD, &KEEPALIVE))), []);
}

#[test]
fn sessions_are_resumed_by_both_versions() {
    let (pki, _upstream, server) = one(Tls, |_| {});
    for version in [&TLS13, &TLS12] {
        let client = pki.client(&["dot"], &[version], None);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let mut connection = dot(at(&server, "tls"), &client).unwrap();
            // Tickets come with the first answer.
            assert_eq!(text(&connection.ask(&ask(1, HELD))), HELD_ANSWER);
            assert_eq!(connection.0.conn.handshake_kind(), Some(kind), "{:?}", version.version);
        }
    }
    assert_eq!(labeled(&server, "hubdns_tls_handshakes_total", "resumed"), 4);
}

#[test]
fn a_drain_answers_what_is_in_flight_and_lets_nobody_in() {
    let (pki, upstream, server) = one(Tls, |_| {});
    let address = at(&server, "tls");
    let mut connection = dot(address, &pki.dot()).unwrap();
    let mut idle = dot(address, &pki.dot()).unwrap();
    let mut plain = server.connect();
    let query = ask_with(1, "slow.example", &KEEPALIVE);
    connection.send(&query);
    plain.write_all(&framed(&query)).unwrap();
    upstream.wait(|seen| !seen.is_empty());
    wait_until("both wait", || {
        metric(&server, "hubdns_queries_total{transport=\"tls\"}") == 1
            && metric(&server, "hubdns_queries_total{transport=\"tcp\"}") == 1
    });
    let server = Arc::new(server);
    let draining = Arc::clone(&server);
    let drain = std::thread::spawn(move || draining.drain(PATIENCE));
    idle.assert_closed();
    wait_until("nobody is let in", || TcpStream::connect(address).is_err());
    upstream.release();
    // Who asked for the idle timeout learns that there is none any more (RFC 7828 section 3.2.2).
    for answer in [connection.next().unwrap(), stream::next(&mut plain)] {
        assert!(text(&answer).contains("slow.example 300 A 192.0.2.1"), "{}", text(&answer));
        assert_eq!(options(&answer), [(11, vec![0, 0])]);
    }
    connection.assert_closed();
    assert!(drain.join().unwrap(), "nothing is left");
    assert_eq!(labeled(&server, "hubdns_encrypted_connections_closed_total", "drained"), 2);
}
