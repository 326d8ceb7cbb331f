//! DNS over TCP (RFC 7766) over real sockets.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use common::estate::{query, text};
use common::serving::{PATIENCE, Serving, closed, config, has_ipv6};
use common::stream::{next, next_id};
use common::upstream::{Act, Upstream};
use hubdns::config::Config;
use hubdns::wire::Rtype;

const HELD: &str = "contoso.privatelink.azurecr.io";
const HELD_ANSWER: &str = "NOERROR aa | contoso.privatelink.azurecr.io 10 A 10.0.0.5 | ";
const SHORT: Duration = Duration::from_millis(150);

/// `message` behind its length.
fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

/// A framed query with that id.
fn ask(id: u16, qname: &str) -> Vec<u8> {
    let mut message = query(qname, Rtype::A, 0x0100, None);
    message[..2].copy_from_slice(&id.to_be_bytes());
    framed(&message)
}

/// Waits until the server has closed the connection, without another byte.
fn assert_closed(stream: &mut TcpStream) {
    match stream.read(&mut [0; 16]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("still open: {other:?}"),
    }
}

/// Holds what begins with `slow` until released; answers the rest.
fn upstream() -> Upstream {
    Upstream::start(|asked| {
        let response = asked.reply(0, &format!("{} 300 A 192.0.2.1", asked.qname), "");
        if asked.qname.starts_with("slow") { Act::Hold(response) } else { Act::send(response) }
    })
}

fn serving(upstream: &Upstream, change: impl FnOnce(&mut Config)) -> Serving {
    let mut config = config(&["127.0.0.1:0"], upstream.address);
    change(&mut config);
    Serving::start(config)
}

#[test]
fn hits_over_both_families_on_the_port_of_udp() {
    for listen in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
        if listen.starts_with('[') && !has_ipv6() {
            continue;
        }
        let server = Serving::on(listen);
        let mut stream = server.connect();
        for id in [1, 2] {
            stream.write_all(&ask(id, HELD)).unwrap();
            assert_eq!(text(&next(&mut stream)), HELD_ANSWER);
        }
        assert_eq!(text(&server.ask(&query(HELD, Rtype::A, 0, None))), HELD_ANSWER);
    }
}

#[test]
fn one_byte_at_a_time() {
    let server = Serving::on("127.0.0.1:0");
    let mut stream = server.connect();
    for id in [7, 8] {
        for byte in ask(id, HELD) {
            stream.write_all(&[byte]).unwrap();
        }
        assert_eq!(next_id(&mut stream), id);
    }
}

#[test]
fn many_queries_in_one_write_are_all_answered_in_order() {
    let server = Serving::on("127.0.0.1:0");
    let mut stream = server.connect();
    // Far more than fits into one read, one write or the cap of queries in flight.
    let queries: Vec<u8> = (0..5000).flat_map(|id| ask(id, HELD)).collect();
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&queries).unwrap());
    for id in 0..5000 {
        assert_eq!(next_id(&mut stream), id);
    }
    writing.join().unwrap();
}

#[test]
fn rfc7766_answers_come_as_they_are_ready() {
    let upstream = upstream();
    let server = serving(&upstream, |_| {});
    let mut stream = server.connect();
    let queries = [ask(1, "slow.example"), ask(2, HELD), ask(3, "quick.example")].concat();
    stream.write_all(&queries).unwrap();
    assert_eq!(next_id(&mut stream), 2);
    assert_eq!(next_id(&mut stream), 3);
    upstream.wait(|seen| seen.len() == 2);
    upstream.release();
    let slow = next(&mut stream);
    assert_eq!(slow[..2], [0, 1]);
    assert_eq!(text(&slow), "NOERROR | slow.example 300 A 192.0.2.1 | ");
}

#[test]
fn half_close_still_gets_the_answers_in_flight() {
    let upstream = upstream();
    let server = serving(&upstream, |_| {});
    let mut stream = server.connect();
    stream.write_all(&[ask(1, HELD), ask(2, "slow.example")].concat()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(next_id(&mut stream), 1);
    upstream.wait(|seen| seen.len() == 1);
    upstream.release();
    assert_eq!(next_id(&mut stream), 2);
    assert_closed(&mut stream);
}

#[test]
fn messages_without_a_header_close_after_the_answers() {
    let server = Serving::on("127.0.0.1:0");
    let mut response = query(HELD, Rtype::A, 0x8000, None);
    response[0] = 9;
    for bad in [vec![0, 0], framed(&[0; 11]), framed(&response)] {
        let mut stream = server.connect();
        stream.write_all(&[ask(1, HELD), bad, ask(2, HELD)].concat()).unwrap();
        assert_eq!(next_id(&mut stream), 1);
        assert_closed(&mut stream);
    }
}

#[test]
fn malformed_queries_are_rejected_and_the_connection_goes_on() {
    let server = Serving::on("127.0.0.1:0");
    let mut stream = server.connect();
    let mut notify = query(HELD, Rtype::A, 0x2000, None);
    notify[1] = 1;
    let cut = &query(HELD, Rtype::A, 0, None)[..20];
    stream.write_all(&[framed(&notify), framed(cut), ask(3, HELD)].concat()).unwrap();
    assert_eq!(next(&mut stream)[3] & 0xf, 4);
    assert_eq!(next(&mut stream)[3] & 0xf, 1);
    assert_eq!(next_id(&mut stream), 3);
}

#[test]
fn queries_in_flight_are_capped() {
    let upstream = upstream();
    let server = serving(&upstream, |config| config.tcp.max_queries_per_connection = 2);
    let mut stream = server.connect();
    stream.write_all(&[ask(1, "slow1.example"), ask(2, "slow2.example"), ask(3, HELD)].concat()).unwrap();
    upstream.wait(|seen| seen.len() == 2);
    upstream.release();
    let ids = [next_id(&mut stream), next_id(&mut stream), next_id(&mut stream)];
    assert_ne!(ids[0], 3, "a hit would have been first, had it been read: {ids:?}");
    // Still of use after it was at its cap.
    stream.write_all(&ask(4, HELD)).unwrap();
    assert_eq!(next_id(&mut stream), 4);
}

#[test]
fn what_comes_beyond_the_cap_waits_at_the_client() {
    /// More than both ends' buffers take.
    const MOST: usize = 64 << 20;
    let upstream = upstream();
    let server = serving(&upstream, |config| config.tcp.max_queries_per_connection = 1);
    let mut stream = server.connect();
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    stream.write_all(&ask(1, "slow.example")).unwrap();
    upstream.wait(|seen| seen.len() == 1);
    let (queries, mut written) = (ask(2, HELD).repeat(10_000), 0);
    while stream.write_all(&queries).is_ok() {
        written += queries.len();
        assert!(written < MOST, "all of it is read and kept");
    }
}

#[test]
fn a_connection_that_is_closed_for_an_error_is_read_for_a_while() {
    let server = Serving::on("127.0.0.1:0");
    let is_read = || {
        let mut stream = server.connect();
        stream.write_all(&[ask(1, HELD), vec![0, 0]].concat()).unwrap();
        assert_eq!(next_id(&mut stream), 1);
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "no more answers");
        // A reset would come back for the first of these, and the next would fail.
        (0..3).all(|_| stream.write_all(&ask(2, HELD)).is_ok())
    };
    // The while may be over before this thread has its turn, but not every time.
    assert!((0..20).any(|_| is_read()), "what the client still sends is answered by resets");
}

#[test]
fn connections_are_capped_in_all_and_per_client() {
    for (total, per_client) in [(2, 100), (100, 2)] {
        let server = serving(&upstream(), |config| {
            config.tcp.max_connections = total;
            config.tcp.max_connections_per_client = per_client;
        });
        let mut streams = [server.connect(), server.connect()];
        for (id, stream) in (0..).zip(&mut streams) {
            stream.write_all(&ask(id, HELD)).unwrap();
            assert_eq!(next_id(stream), id);
        }
        assert_closed(&mut server.connect());
        // A place is free again some time after a connection ends.
        let [first, _second] = streams;
        drop(first);
        let mut tries = 0;
        while !answers(&mut server.connect()) {
            tries += 1;
            assert!(tries < 10_000, "the place never became free");
        }
    }
}

/// Whether the connection was admitted.
fn answers(stream: &mut TcpStream) -> bool {
    let mut len = [0; 2];
    stream.write_all(&ask(1, HELD)).is_ok() && stream.read_exact(&mut len).is_ok()
}

#[test]
fn idle_connections_and_stalled_messages_end() {
    let server = serving(&upstream(), |config| config.tcp.idle_timeout = SHORT);
    assert_closed(&mut server.connect());
    let mut stalled = server.connect();
    stalled.write_all(&ask(1, HELD)).unwrap();
    assert_eq!(next_id(&mut stalled), 1);
    stalled.write_all(&ask(2, HELD)[..9]).unwrap();
    assert_closed(&mut stalled);
}

#[test]
fn bytes_that_trickle_in_do_not_keep_a_connection() {
    let server = serving(&upstream(), |config| config.tcp.idle_timeout = SHORT);
    let mut stream = server.connect();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    // A byte every 20 ms: done with 65,535 of them long after the patience of this test.
    let started = std::time::Instant::now();
    loop {
        let _ = stream.write_all(&[0xff]);
        match stream.read(&mut [0; 16]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                assert!(started.elapsed() < PATIENCE, "never closed");
            }
            _ => break,
        }
    }
}

#[test]
fn a_connection_with_a_query_in_flight_is_not_idle() {
    let upstream = upstream();
    let server = serving(&upstream, |config| config.tcp.idle_timeout = SHORT);
    let mut waiting = server.connect();
    waiting.write_all(&ask(1, "slow.example")).unwrap();
    upstream.wait(|seen| seen.len() == 1);
    // Those were opened later and end one after the other: more than the idle timeout has passed.
    assert_closed(&mut server.connect());
    assert_closed(&mut server.connect());
    waiting.write_all(&ask(2, HELD)).unwrap();
    assert_eq!(next_id(&mut waiting), 2, "it may ask on");
    upstream.release();
    assert_eq!(next_id(&mut waiting), 1);
    assert_closed(&mut waiting);
}

#[test]
fn after_the_total_timeout_only_what_is_in_flight_is_answered() {
    let upstream = upstream();
    let server = serving(&upstream, |config| config.tcp.total_timeout = SHORT);
    let mut waiting = server.connect();
    waiting.write_all(&ask(1, "slow.example")).unwrap();
    upstream.wait(|seen| seen.len() == 1);
    assert_closed(&mut server.connect());
    waiting.write_all(&ask(2, HELD)).unwrap();
    // What was sent too late is never read, so the answer in flight is the only one.
    upstream.release();
    assert_eq!(next_id(&mut waiting), 1);
    assert_closed(&mut waiting);
}

#[test]
fn a_client_that_takes_no_answers_is_let_go() {
    let server = serving(&upstream(), |config| {
        config.tcp.idle_timeout = SHORT;
        config.tcp.max_connections = 1;
    });
    let mut greedy = server.connect();
    greedy.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
    let queries: Vec<u8> = (0..1000).flat_map(|id| ask(id, HELD)).collect();
    // Until both directions are full.
    while greedy.write_all(&queries).is_ok() {}
    let started = std::time::Instant::now();
    while !answers(&mut server.connect()) {
        assert!(started.elapsed() < PATIENCE, "it still holds the only place");
    }
}

#[test]
fn clients_outside_the_prefixes_are_closed_also_after_a_reload() {
    let mut config = config(&["127.0.0.1:0"], closed());
    let server = Serving::start(config.clone());
    let mut stream = server.connect();
    stream.write_all(&ask(1, HELD)).unwrap();
    assert_eq!(next_id(&mut stream), 1);
    config.server.allow = vec!["10.0.0.0/8".parse().unwrap()];
    server.running().reload_access(&config.server);
    stream.write_all(&ask(2, HELD)).unwrap();
    assert_closed(&mut stream);
    assert_closed(&mut server.connect());
}

#[test]
fn a_drain_finishes_what_is_in_flight_and_takes_no_more() {
    let upstream = upstream();
    let server = serving(&upstream, |_| {});
    let (mut idle, mut waiting) = (server.connect(), server.connect());
    idle.write_all(&ask(1, HELD)).unwrap();
    assert_eq!(next_id(&mut idle), 1);
    waiting.write_all(&ask(2, "slow.example")).unwrap();
    upstream.wait(|seen| seen.len() == 1);
    assert!(!server.drain(Duration::from_millis(50)), "one is in flight");
    assert_closed(&mut idle);
    upstream.release();
    assert_eq!(next_id(&mut waiting), 2);
    assert_closed(&mut waiting);
    drop((idle, waiting));
    assert!(server.drain(PATIENCE));
    assert!(TcpStream::connect(server.address()).is_err(), "nobody listens any more");
}

#[test]
fn a_client_that_leaves_takes_its_queries_along() {
    let upstream = upstream();
    let server = serving(&upstream, |_| {});
    let mut gone = server.connect();
    gone.write_all(&ask(1, "slow.example")).unwrap();
    upstream.wait(|seen| seen.len() == 1);
    drop(gone);
    upstream.release();
    assert!(server.drain(PATIENCE), "nothing is left behind");
}
