//! Limits: what a client may take, and how it is told apart.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use hubdns::answer::Transport;
use hubdns::config::EncryptedTransport::Tls;

use crate::common::estate::text;
use crate::common::serving::PATIENCE;
use crate::common::upstream::{Act, Upstream};
use crate::pki::Pki;
use crate::rig::{
    Dot, HELD, HELD_ANSWER, ask, assert_closed, at, dot, framed, labeled, listener, metric, one, serve,
    wait_until,
};

const SHORT: Duration = Duration::from_millis(200);
const REJECTED: &str = "hubdns_encrypted_connections_rejected_total";
const CLOSED: &str = "hubdns_encrypted_connections_closed_total";
const FAILED: &str = "hubdns_tls_handshake_failures_total";

#[test]
fn connections_are_limited_in_all_and_places_are_given_back() {
    let (pki, _upstream, server) = one(Tls, |settings| settings.max_connections = 3);
    let address = at(&server, "tls");
    let mut held: Vec<Dot> = (0..3).map(|_| dot(address, &pki.dot()).unwrap()).collect();
    assert_eq!(metric(&server, "hubdns_encrypted_connections{"), 3);
    for _ in 0..5 {
        assert!(dot(address, &pki.dot()).is_err());
    }
    assert_eq!(labeled(&server, REJECTED, "total"), 5);
    held.pop();
    wait_until("a place is free", || metric(&server, "hubdns_encrypted_connections{") == 2);
    assert_eq!(text(&dot(address, &pki.dot()).unwrap().ask(&ask(1, HELD))), HELD_ANSWER);
    assert_eq!(text(&held[0].ask(&ask(1, HELD))), HELD_ANSWER, "others go on");
}

#[test]
fn connections_are_limited_by_client_prefix() {
    // All of 127.0.0.0/8 is one client, as one site behind a prefix is.
    let (pki, _upstream, server) = one(Tls, |settings| {
        settings.max_connections_per_client = 2;
        settings.prefix_bits = (8, 64);
    });
    let address = at(&server, "tls");
    let _held: Vec<Dot> = (0..2).map(|_| dot(address, &pki.dot()).unwrap()).collect();
    let other = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    other.bind(&"127.0.0.9:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    other.connect(&address.into()).unwrap();
    let mut other = TcpStream::from(other);
    other.set_read_timeout(Some(PATIENCE)).unwrap();
    // What defers accepting waits for data.
    other.write_all(&[0x16]).unwrap();
    assert_closed(&mut other);
    assert_eq!(labeled(&server, REJECTED, "client"), 1);
}

#[test]
fn queries_in_flight_are_limited_and_the_rest_waits() {
    let (pki, _, _) = one(Tls, |_| {});
    let upstream =
        Upstream::start(|asked| Act::Hold(asked.reply(0, &format!("{} 9 A 192.0.2.1", asked.qname), "")));
    let files = pki.files("server");
    let two = listener(Tls, &files, |settings| settings.max_queries_per_connection = 2);
    let server = serve(vec![two], upstream.address, |_| {});
    let mut connection = dot(at(&server, "tls"), &pki.dot()).unwrap();
    let names: Vec<String> = (0..6).map(|n| format!("slow{n}.example")).collect();
    for (id, name) in (0..).zip(&names) {
        connection.send(&ask(id, name));
    }
    let mut answered = Vec::new();
    for round in 1..=3 {
        upstream.wait(|seen| seen.len() == 2 * round);
        assert_eq!(metric(&server, "hubdns_queries_total{transport=\"tls\"}"), 2 * round as u64);
        upstream.release();
        answered.extend((0..2).map(|_| connection.next().unwrap()[1]));
    }
    answered.sort_unstable();
    assert_eq!(answered, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_handshake_that_stalls_is_ended_and_counted() {
    let (_pki, _upstream, server) = one(Tls, |settings| settings.handshake_timeout = SHORT);
    let address = at(&server, "tls");
    // A record is announced, and does not come.
    let mut stalled = TcpStream::connect(address).unwrap();
    stalled.set_read_timeout(Some(PATIENCE)).unwrap();
    stalled.write_all(&[0x16, 3, 1, 2, 0]).unwrap();
    assert_closed(&mut stalled);
    wait_until("it is counted", || labeled(&server, FAILED, "timeout") == 1);
    let mut plain = TcpStream::connect(address).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    plain.write_all(&framed(&ask(1, HELD))).unwrap();
    assert_closed(&mut plain);
    wait_until("it is counted", || labeled(&server, FAILED, "not_tls") == 1);
    let gone = TcpStream::connect(address).unwrap();
    (&gone).write_all(&[0x16, 3]).unwrap();
    wait_until("it is there", || metric(&server, "hubdns_encrypted_connections{") == 1);
    drop(gone);
    wait_until("it is counted", || labeled(&server, FAILED, "closed") == 1);
    wait_until("nothing is left", || metric(&server, "hubdns_encrypted_connections{") == 0);
}

#[test]
fn an_idle_connection_is_closed_with_a_goodbye() {
    let (pki, _upstream, server) = one(Tls, |settings| settings.idle_timeout = SHORT);
    let mut connection = dot(at(&server, "tls"), &pki.dot()).unwrap();
    assert_eq!(text(&connection.ask(&ask(1, HELD))), HELD_ANSWER);
    // Half a message is no activity.
    connection.0.write_all(&[0]).unwrap();
    connection.0.flush().unwrap();
    // close_notify: an end without an error.
    assert_eq!(connection.0.read(&mut [0; 9]).unwrap(), 0);
    wait_until("it is counted", || labeled(&server, CLOSED, "idle") == 1);
}

/// Large answers to many queries that nobody reads.
fn leave_lying(server: &crate::common::serving::Serving, pki: &Pki) -> Dot {
    let mut connection = dot(at(server, "tls"), &pki.dot()).unwrap();
    let mut message = ask(1, "large.example");
    let at = message.len() - 4;
    message[at..at + 2].copy_from_slice(&16u16.to_be_bytes());
    let queries: Vec<u8> = framed(&message).repeat(64);
    connection.0.sock.set_write_timeout(Some(SHORT)).unwrap();
    for _ in 0..2000 {
        if connection.0.write_all(&queries).and_then(|()| connection.0.flush()).is_err() {
            break;
        }
    }
    connection
}

/// An upstream whose answers have some 50 kB.
pub(crate) fn large() -> Upstream {
    Upstream::start(|asked| {
        if asked.transport == Transport::Udp {
            return Act::send(asked.reply(0x0200, "", ""));
        }
        let records: Vec<String> =
            (0..200).map(|_| format!("{} 300 TXT {}", asked.qname, "x".repeat(250))).collect();
        Act::send(asked.reply(0, &records.join(";"), ""))
    })
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let (pki, upstream) = (Pki::new(), large());
    let files = pki.files("server");
    let settings = listener(Tls, &files, |settings| settings.idle_timeout = 2 * SHORT);
    let server = serve(vec![settings], upstream.address, |_| {});
    let connection = leave_lying(&server, &pki);
    wait_until("it is given up", || labeled(&server, CLOSED, "stalled") == 1);
    drop(connection);
    wait_until("nothing is left", || metric(&server, "hubdns_encrypted_connections{") == 0);
}

#[test]
fn others_are_turned_away_before_a_handshake() {
    let pki = Pki::new();
    let files = pki.files("server");
    let server = serve(vec![listener(Tls, &files, |_| {})], crate::common::serving::closed(), |config| {
        config.server.allow = vec!["192.0.2.0/24".parse().unwrap()];
    });
    assert!(dot(at(&server, "tls"), &pki.dot()).is_err());
    assert_eq!(labeled(&server, REJECTED, "denied"), 1);
}

#[test]
fn a_prefix_that_is_taken_from_the_list_is_out_at_once() {
    let (pki, _upstream, server) = one(Tls, |_| {});
    let mut connection = dot(at(&server, "tls"), &pki.dot()).unwrap();
    assert_eq!(text(&connection.ask(&ask(1, HELD))), HELD_ANSWER);
    let mut closed = server.config.server.clone();
    closed.allow = vec!["192.0.2.0/24".parse().unwrap()];
    server.running().reload_access(&closed);
    connection.send(&ask(2, HELD));
    connection.assert_closed();
    wait_until("it is counted", || labeled(&server, CLOSED, "denied") == 1);
}
