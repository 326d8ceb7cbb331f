//! Upstreams over TCP: many questions on one connection, answers in any order,
//! connections that end, lie, or say nothing.

mod common;
#[path = "common/streams.rs"]
mod streams;

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use common::estate::{query, text};
use hubdns::config::{Streams, UpstreamTransport};
use hubdns::metrics::forward::Mismatch;
use hubdns::metrics::streams::StreamFault;
use hubdns::wire::{Rtype, header};
use streams::{Client, Do, Got, LIMITS, Server, fault, good, upstream};

const TCP: UpstreamTransport = UpstreamTransport::Tcp;

fn send(got: &Got) -> Vec<Do> {
    vec![Do::Send(good(got))]
}

#[test]
fn rfc7766_answers_come_in_any_order_on_one_connection() {
    let server = Server::tcp(|got| match got.asked.qname.as_str() {
        "slow.example" => vec![Do::Hold(good(got))],
        _ => send(got),
    });
    let (client, upstream) = (Client::new(LIMITS), upstream(TCP, server.address, |_| {}));
    client.ask(&upstream, "first.example").unwrap();
    let slow = client.begin(&upstream, "slow.example");
    server.wait_for(2);
    let others: Vec<_> = (0..50).map(|n| client.begin(&upstream, &format!("n{n}.example"))).collect();
    for (n, other) in others.into_iter().enumerate() {
        let reply = other.get().unwrap();
        assert!(text(&reply.bytes).contains(&format!("n{n}.example")), "{}", text(&reply.bytes));
    }
    assert!(slow.is_pending(), "held back, and nobody waited for it");
    server.release();
    assert!(text(&slow.get().unwrap().bytes).contains("slow.example"));
    let counters = client.counters(&upstream);
    assert_eq!(server.connections(), 1);
    assert_eq!((counters.streams.connections(), counters.streams.reuses()), ((1, 0), 51));
    client.until(&upstream, |counters| counters.streams.load() == (1, 0));
    let ids: HashSet<_> = server.got().iter().map(|got| got.asked.id()).collect();
    assert!(ids.len() > 45, "ids are random: {}", ids.len());
}

#[test]
fn an_answer_that_never_comes_ends_with_its_own_deadline() {
    let server = Server::tcp(|got| match got.asked.qname.as_str() {
        "never.example" => Vec::new(),
        _ => send(got),
    });
    let (client, upstream) = (Client::new(LIMITS), upstream(TCP, server.address, |_| {}));
    let never = query("never.example", Rtype::A, 0x0100, Some(1232));
    let never = client.send(&upstream, never, Duration::from_millis(300));
    server.wait_for(1);
    for n in 0..20 {
        client.ask(&upstream, &format!("n{n}.example")).unwrap();
    }
    let outcome = never.get();
    assert_eq!(fault(&outcome), StreamFault::Timeout);
    assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
    client.ask(&upstream, "after.example").unwrap();
    assert_eq!(server.connections(), 1);
    assert_eq!(client.counters(&upstream).streams.faults(StreamFault::Timeout), 1);
}

#[test]
fn questions_of_a_connection_that_ends_move_to_another() {
    let server = Server::tcp(|got| match (got.connection, got.nth) {
        (0, 9) => vec![Do::Close],
        (0, _) => Vec::new(),
        _ => send(got),
    });
    let (client, upstream) = (Client::new(LIMITS), upstream(TCP, server.address, |_| {}));
    let all: Vec<_> = (0..10).map(|n| client.begin(&upstream, &format!("n{n}.example"))).collect();
    for (n, one) in all.into_iter().enumerate() {
        assert!(text(&one.get().unwrap().bytes).contains(&format!("n{n}.example")));
    }
    assert_eq!(server.connections(), 2);
    assert_eq!(client.counters(&upstream).streams.moves(), 10);
}

#[test]
fn a_server_that_answers_a_few_per_connection_answers_all() {
    let server = Server::tcp(|got| match got.nth {
        0..2 => send(got),
        2 => vec![Do::Send(good(got)), Do::Close],
        _ => Vec::new(),
    });
    let (client, upstream) = (Client::new(LIMITS), upstream(TCP, server.address, |_| {}));
    let all: Vec<_> = (0..10).map(|n| client.begin(&upstream, &format!("n{n}.example"))).collect();
    for one in all {
        one.get().unwrap();
    }
    assert!(server.connections() >= 4, "{}", server.connections());
}

#[test]
fn a_server_that_always_hangs_up_is_asked_twice_and_no_more() {
    let server = Server::tcp(|_| vec![Do::Close]);
    let (client, upstream) = (Client::new(LIMITS), upstream(TCP, server.address, |_| {}));
    let outcome = client.ask(&upstream, "www.example");
    assert_eq!(fault(&outcome), StreamFault::Lost);
    assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(server.connections(), 2);
}

#[test]
fn a_length_that_lies_costs_the_connection_and_not_the_answer() {
    let lies: [fn(&Got) -> Vec<Do>; 3] = [
        // Longer than what comes.
        |_| vec![Do::Raw([&[0x10, 0][..], &[0; 50]].concat()), Do::Close],
        // Too short for a message.
        |_| vec![Do::Raw([&[0, 4][..], &[0xff; 40]].concat())],
        // Within the message: the next length is in the middle of it.
        |got| vec![Do::Raw([&[0, 20][..], &good(got)].concat())],
    ];
    for lie in lies {
        let server = Server::tcp(move |got| if got.connection == 0 { lie(got) } else { send(got) });
        let limits = Streams { connect: Duration::from_secs(20), ..LIMITS };
        let (client, upstream) = (Client::new(limits), upstream(TCP, server.address, |_| {}));
        let outcome = client.ask(&upstream, "www.example");
        match &outcome {
            Ok(reply) => assert!(text(&reply.bytes).contains("192.0.2.1")),
            // A message cut short cannot be read: the upstream's answer as it is.
            Err(_) => assert_eq!(fault(&outcome), StreamFault::Malformed),
        }
        client.ask(&upstream, "after.example").unwrap();
    }
}

#[test]
fn wrong_ids_and_questions_are_counted_and_the_wait_goes_on() {
    let server = Server::tcp(|got| {
        let mut wrong_id = good(got);
        header::set_id(&mut wrong_id, got.asked.id() ^ 0x5555);
        let mut wrong_question = good(got);
        wrong_question[13] ^= 1;
        vec![Do::Send(wrong_id), Do::Send(wrong_question), Do::Send(good(got)), Do::Send(good(got))]
    });
    let (client, upstream) = (Client::new(LIMITS), upstream(TCP, server.address, |_| {}));
    for n in 0..3 {
        let reply = client.ask(&upstream, &format!("n{n}.example")).unwrap();
        assert!(text(&reply.bytes).contains(&format!("n{n}.example")));
    }
    assert_eq!(server.connections(), 1);
    assert_eq!(client.metrics.mismatches(Mismatch::Question), 3);
    // The wrong one and the second copy; the last copy may still be on its way.
    assert!((5..=6).contains(&client.metrics.mismatches(Mismatch::Id)));
}

#[test]
fn a_connection_of_nothing_but_wrong_ids_is_ended() {
    let server = Server::tcp(|got| {
        if got.connection > 0 {
            return send(got);
        }
        let mut wrong = good(got);
        header::set_id(&mut wrong, got.asked.id() ^ 0x5555);
        vec![Do::Send(wrong); 16]
    });
    let (client, upstream) = (Client::new(LIMITS), upstream(TCP, server.address, |_| {}));
    client.ask(&upstream, "www.example").unwrap();
    assert_eq!(server.connections(), 2);
    assert_eq!(client.metrics.mismatches(Mismatch::Id), 16);
}

#[test]
fn a_message_that_cannot_be_read_is_the_end_of_its_question_alone() {
    let server = Server::tcp(|got| {
        let mut message = good(got);
        if got.asked.qname == "bad.example" {
            let len = message.len();
            message.truncate(len - 2);
        }
        vec![Do::Send(message)]
    });
    let (client, upstream) = (Client::new(LIMITS), upstream(TCP, server.address, |_| {}));
    assert_eq!(client.fault(&upstream, "bad.example"), StreamFault::Malformed);
    client.ask(&upstream, "good.example").unwrap();
    assert_eq!((server.connections(), client.metrics.mismatches(Mismatch::Malformed)), (1, 1));
}

#[test]
fn idle_connections_are_closed_and_opened_again() {
    let server = Server::tcp(send);
    let limits = Streams { idle: Duration::from_millis(50), ..LIMITS };
    let (client, upstream) = (Client::new(limits), upstream(TCP, server.address, |_| {}));
    for round in 1..=3 {
        client.ask(&upstream, "www.example").unwrap();
        server.wait_closed(round);
        client.until(&upstream, |counters| counters.streams.load() == (0, 0));
    }
    let counters = client.counters(&upstream);
    assert_eq!((server.connections(), counters.streams.connections().0), (3, 3));
    assert_eq!(counters.streams.moves(), 0);
}

#[test]
fn a_refused_connection_is_told_and_then_paused() {
    let address = common::upstream::closed();
    let (client, upstream) = (Client::new(LIMITS), upstream(TCP, address, |_| {}));
    let outcome = client.ask(&upstream, "www.example");
    assert_eq!(fault(&outcome), StreamFault::Refused);
    assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    // Pauses of up to a quarter of a second are waited for; then it is told at once.
    let faults: Vec<_> = (0..10).map(|n| client.fault(&upstream, &format!("n{n}.example"))).collect();
    assert!(faults.contains(&StreamFault::BackOff), "{faults:?}");
    assert!(client.counters(&upstream).streams.connections().1 < 11);
}

#[test]
fn an_upstream_that_is_back_is_found_within_two_seconds() {
    let address = common::upstream::closed();
    let (client, upstream) = (Client::new(LIMITS), upstream(TCP, address, |_| {}));
    for n in 0..20 {
        let _ = client.ask(&upstream, &format!("n{n}.example"));
    }
    let _server = Server::start(None, address, send);
    let begun = Instant::now();
    while client.ask(&upstream, "www.example").is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never back");
        std::thread::yield_now();
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn connections_and_questions_are_bounded() {
    let server = Server::tcp(|got| vec![Do::Hold(good(got))]);
    let limits = Streams { max_connections: 2, max_in_flight: 3, ..LIMITS };
    let (client, upstream) = (Client::new(limits), upstream(TCP, server.address, |_| {}));
    let all: Vec<_> = (0..12).map(|n| client.begin(&upstream, &format!("n{n}.example"))).collect();
    server.wait_for(6);
    // Six are in flight and six wait: the next is too many.
    client.until(&upstream, |counters| counters.streams.load() == (2, 6));
    let last = client.begin(&upstream, "last.example");
    assert_eq!(fault(&last.get()), StreamFault::Busy);
    assert_eq!(server.got().len(), 6);
    server.release();
    server.wait_for(12);
    server.release();
    for one in all {
        one.get().unwrap();
    }
    assert_eq!(server.connections(), 2);
}

#[test]
fn who_gives_up_leaves_no_trace_but_an_id() {
    let server = Server::tcp(|got| match got.asked.qname.as_str() {
        "slow.example" => vec![Do::Hold(good(got))],
        _ => send(got),
    });
    let limits = Streams { max_connections: 1, max_in_flight: 1, ..LIMITS };
    let (client, upstream) = (Client::new(limits), upstream(TCP, server.address, |_| {}));
    let slow = client.begin(&upstream, "slow.example");
    server.wait_for(1);
    let (waits, leaves) = (client.begin(&upstream, "waits.example"), ());
    let () = leaves;
    slow.task.abort();
    assert!(slow.is_given_up());
    waits.get().expect("the place is free again");
    client.until(&upstream, |counters| counters.streams.load().1 == 0);
    server.release();
    client.ask(&upstream, "after.example").unwrap();
    assert_eq!(client.metrics.mismatches(Mismatch::Id), 0, "a late answer was expected to be late");
}

#[test]
fn a_silent_connection_is_asked_no_more_while_another_can_be_had() {
    let server = Server::tcp(|got| if got.connection == 0 { Vec::new() } else { send(got) });
    let (client, upstream) = (Client::new(LIMITS), upstream(TCP, server.address, |_| {}));
    let _silent = client.begin(&upstream, "silent.example");
    server.wait_for(1);
    // As soon as the silence is long enough, others go elsewhere.
    let begun = Instant::now();
    loop {
        let query = query("www.example", Rtype::A, 0x0100, None);
        if client.send(&upstream, query, Duration::from_millis(200)).get().is_ok() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "never");
    }
    assert_eq!(server.connections(), 2);
}

#[test]
fn an_upstream_that_is_no_longer_configured_is_let_go() {
    let server = Server::tcp(|got| match got.asked.qname.as_str() {
        "slow.example" => vec![Do::Hold(good(got))],
        _ => send(got),
    });
    let (client, upstream) = (Client::new(LIMITS), upstream(TCP, server.address, |_| {}));
    let slow = client.begin(&upstream, "slow.example");
    server.wait_for(1);
    client.streams.configure(&HashSet::new(), LIMITS);
    server.release();
    slow.get().expect("the last response is waited for");
    server.wait_closed(1);
    client.ask(&upstream, "www.example").expect("it may come back");
    assert_eq!(server.connections(), 2);
}

#[test]
fn a_connection_that_is_not_accepted_in_time_is_given_up() {
    // A full backlog drops what comes, so that connecting takes for ever.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = TcpListener::from(socket.try_clone().unwrap()).local_addr().unwrap();
    let mut fillers = Vec::new();
    for _ in 0..8 {
        let filler = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        filler.set_nonblocking(true).unwrap();
        let _ = filler.connect(&address.into());
        fillers.push(filler);
    }
    let limits = Streams { connect: Duration::from_millis(100), ..LIMITS };
    let (client, upstream) = (Client::new(limits), upstream(TCP, address, |_| {}));
    assert_eq!(client.fault(&upstream, "www.example"), StreamFault::ConnectTimeout);
}
