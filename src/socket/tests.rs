//! Batches over real sockets, and in memory alone: what the sanitizers look at
//! beside the tests of each file.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::*;

/// A socket on `address`, or none where this machine has no such address.
fn bind(address: &str) -> Option<UdpSocket> {
    let socket = UdpSocket::bind(address.parse().unwrap(), false).ok();
    if socket.is_none() {
        eprintln!("SKIPPED: no {address}");
    }
    socket
}

fn client(address: SocketAddr) -> std::net::UdpSocket {
    let any = if address.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let client = std::net::UdpSocket::bind(any).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.connect(address).unwrap();
    client
}

/// Waits until something can be received.
fn wait(poller: &Poller) {
    let mut seen = false;
    while !seen {
        poller.wait(-1, |_| seen = true).unwrap();
    }
}

/// Answers what comes by sending it back reversed, until `count` were answered.
fn echo(socket: &UdpSocket, batch: &mut Batch, count: usize) {
    let poller = Poller::new().unwrap();
    poller.add(socket, 1).unwrap();
    let mut answered = 0;
    while answered < count {
        wait(&poller);
        let received = batch.receive(socket).unwrap();
        for at in 0..received {
            let message = batch.message(at).unwrap();
            assert!(message.sender.peer().is_some() && !message.sender.is_port_zero());
            let len = message.len;
            message.buffer[..len].reverse();
            batch.reply(at, len);
        }
        assert_eq!(batch.queued(), received);
        answered += batch.send(socket, |fault| panic!("{fault:?}"));
    }
}

#[test]
fn batches_come_and_go_over_both_families_and_wildcards() {
    for (listen, at) in
        [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "::1")]
    {
        let Some(socket) = bind(listen) else { continue };
        let ip: IpAddr = at.parse().unwrap();
        let address = SocketAddr::new(ip, socket.local_addr().port());
        let wildcard = socket.local_addr().ip().is_unspecified();
        assert_eq!(socket.reports_destination().unwrap(), wildcard);
        // More than fit into the batch at once, then a batch of one.
        for (len, count) in [(4, 20u8), (1, 3)] {
            let client = client(address);
            for number in 0..count {
                client.send(&[number, 1, 2, 3]).unwrap();
            }
            echo(&socket, &mut Batch::new(len), usize::from(count));
            for number in 0..count {
                let mut buf = [0; 16];
                assert_eq!(client.recv(&mut buf).unwrap(), 4);
                assert_eq!(buf[..4], [3, 2, 1, number], "{listen}");
            }
        }
    }
}

#[test]
fn late_answers_leave_from_the_address_that_was_asked() {
    let Some(socket) = bind("0.0.0.0:0") else { return };
    let port = socket.local_addr().port();
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let poller = Poller::new().unwrap();
    poller.add(&socket, 1).unwrap();
    for asked in ["127.0.0.1", "127.0.0.7"] {
        client.send_to(b"?", (asked, port)).unwrap();
        wait(&poller);
        let mut batch = Batch::new(2);
        assert_eq!(batch.receive(&socket), Ok(1));
        let sender = batch.message(0).unwrap().sender;
        let (peer, source) = (sender.peer().unwrap(), sender.source());
        assert_eq!(source.map(|source| source.address), Some(asked.parse().unwrap()));
        drop(batch);
        socket.send_to(b"!", peer, source).unwrap();
        let mut buf = [0; 4];
        let (len, from) = client.recv_from(&mut buf).unwrap();
        assert_eq!((len, from.ip()), (1, asked.parse::<IpAddr>().unwrap()));
    }
}

#[test]
fn what_is_longer_than_a_buffer_is_cut_and_told() {
    let Some(socket) = bind("127.0.0.1:0") else { return };
    let client = client(socket.local_addr());
    client.send(&[7; BUFFER_BYTES + 100]).unwrap();
    client.send(&[8; BUFFER_BYTES]).unwrap();
    let poller = Poller::new().unwrap();
    poller.add(&socket, 1).unwrap();
    let (mut batch, mut seen) = (Batch::new(1), Vec::new());
    while seen.len() < 2 {
        wait(&poller);
        if batch.receive(&socket) == Ok(1) {
            let message = batch.message(0).unwrap();
            seen.push((message.len, message.truncated, message.buffer[BUFFER_BYTES - 1]));
        }
    }
    assert_eq!(seen, [(BUFFER_BYTES, true, 7), (BUFFER_BYTES, false, 8)]);
    assert_eq!(socket.dropped(), 0);
}

#[test]
fn a_batch_in_memory_alone() {
    let peer: SocketAddr = "192.0.2.1:5353".parse().unwrap();
    let mut batch = Batch::new(3);
    for round in 0..3u8 {
        for number in 0..3 {
            assert!(batch.place(&[round, number], peer));
        }
        assert!(!batch.place(b"full", peer));
        assert!(batch.message(3).is_none());
        for at in [0, 2] {
            let message = batch.message(at).unwrap();
            assert_eq!((message.len, message.sender.peer()), (2, Some(peer)));
            assert_eq!(message.buffer[..2], [round, at as u8]);
            message.buffer[0] = 9;
            batch.reply(at, 2);
        }
        assert_eq!((batch.queued(), batch.message(2).unwrap().buffer[0]), (2, 9));
        batch.reset();
        assert!(batch.is_empty() && batch.message(0).is_none());
    }
}
