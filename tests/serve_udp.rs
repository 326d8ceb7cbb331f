//! The packet workers over real sockets.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::estate::{query, query_of, spelled, text};
use common::load::{bound_client, bursts};
use common::serving::{Serving, closed, config, has_ipv6, receive};
use common::upstream::{Act, Upstream};
use hubdns::config::Denied;
use hubdns::metrics::Registry;
use hubdns::serve::Server;
use hubdns::socket::{BUFFER_BYTES, Batch, Fault, UdpSocket};
use hubdns::wire::message::Message;
use hubdns::wire::{Edns, Rcode, Rtype};

const HELD: &str = "contoso.azurecr.io";
const HELD_ANSWER: &str = "NOERROR | contoso.azurecr.io 10 CNAME contoso.privatelink.azurecr.io.; \
                           contoso.privatelink.azurecr.io 10 A 10.0.0.5 | ";

fn rcode(response: &[u8]) -> u8 {
    response[3] & 0xf
}

/// An upstream that answers only when released.
fn holding() -> Upstream {
    Upstream::start(|asked| Act::Hold(asked.reply(0, &format!("{} 300 A 192.0.2.1", asked.qname), "")))
}

#[test]
fn hits_over_both_families() {
    for listen in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"] {
        if listen.starts_with('[') && !has_ipv6() {
            continue;
        }
        let server = Serving::on(listen);
        for udp_size in [None, Some(1232)] {
            let response = server.ask(&query(HELD, Rtype::A, 0x0100, udp_size));
            assert_eq!(text(&response), HELD_ANSWER, "{listen}");
            assert_eq!(response[..2], [0x12, 0x34]);
        }
    }
}

#[test]
fn denied_names_are_timed_as_well() {
    let server = Serving::on("127.0.0.1:0");
    // One message of every 16th batch is timed; each of these is a batch.
    for _ in 0..64 {
        let response = server.ask(&query(&format!("below.{HELD}"), Rtype::A, 0x0100, None));
        assert_eq!(rcode(&response), 3);
    }
    let text = Registry::default().with(server.running().metrics()).scrape();
    let count = text.lines().find_map(|line| line.strip_prefix("hubdns_answer_duration_seconds_count "));
    assert!(count.is_some_and(|count| count.parse::<u64>().unwrap() > 0), "{count:?}");
}

#[test]
fn several_listeners_and_workers() {
    let mut config = config(&["127.0.0.1:0", "127.0.0.2:0"], closed());
    config.server.workers = 2;
    let server = Serving::start(config);
    let query = query(HELD, Rtype::A, 0, None);
    for address in server.running().local_addrs() {
        // Enough sockets that the kernel's hash reaches both workers.
        let report = bursts(*address, &query, 2000, 10, 20);
        assert_eq!(report.answered, 2000);
    }
}

#[test]
fn a_wildcard_socket_answers_from_the_address_asked() {
    let upstream = holding();
    let server = Serving::start(config(&["0.0.0.0:0"], upstream.address));
    let port = server.address().port();
    // A connected socket takes datagrams from that address alone.
    let clients = ["127.0.0.1", "127.0.0.2", "127.9.9.9"]
        .map(|ip| bound_client(format!("{ip}:{port}").parse().unwrap()));
    for client in &clients {
        client.send(&query(HELD, Rtype::A, 0, None)).unwrap();
        assert_eq!(rcode(&receive(client).unwrap()), 0);
    }
    for (nth, client) in clients.iter().enumerate() {
        client.send(&query(&format!("late{nth}.example"), Rtype::A, 0x0100, None)).unwrap();
    }
    upstream.wait(|seen| seen.len() == clients.len());
    upstream.release();
    for (nth, client) in clients.iter().enumerate() {
        let expected = format!("NOERROR | late{nth}.example 300 A 192.0.2.1 | ");
        assert_eq!(text(&receive(client).unwrap()), expected);
    }
}

#[test]
fn a_late_answer_reaches_its_client_and_delays_nobody() {
    let upstream = holding();
    let server = Serving::start(config(&["127.0.0.1:0"], upstream.address));
    let (slow, quick) = (server.client(), server.client());
    slow.send(&query("slow.example", Rtype::A, 0x0100, Some(1232))).unwrap();
    upstream.wait(|seen| seen.len() == 1);
    quick.send(&query(HELD, Rtype::A, 0, None)).unwrap();
    assert_eq!(text(&receive(&quick).unwrap()), HELD_ANSWER);
    upstream.release();
    let response = receive(&slow).unwrap();
    assert_eq!(text(&response), "NOERROR | slow.example 300 A 192.0.2.1 | ");
    assert_eq!(response[..2], [0x12, 0x34]);
}

#[test]
fn what_is_no_query_is_rejected_or_dropped() {
    let server = Serving::on("127.0.0.1:0");
    let client = server.client();
    let plain = query(HELD, Rtype::A, 0x0100, None);
    let with_bytes = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut message = plain.clone();
        change(&mut message);
        message
    };
    let badvers = {
        let mut message = query(HELD, Rtype::A, 0, Some(1232));
        let at = message.len() - 5;
        message[at] = 1;
        message
    };
    let cases: [(&str, Vec<u8>, Option<Rcode>); 9] = [
        ("empty", Vec::new(), None),
        ("eleven bytes", plain[..11].to_vec(), None),
        ("a response", with_bytes(&|m| m[2] |= 0x80), None),
        ("a cut name", plain[..20].to_vec(), Some(Rcode::FORMERR)),
        ("two questions", with_bytes(&|m| m[5] = 2), Some(Rcode::FORMERR)),
        ("a pointer for a name", query_of(&[0xc0, 0x0c], Rtype::A, 1, 0, None), Some(Rcode::FORMERR)),
        ("NOTIFY", with_bytes(&|m| m[2] = 0x20), Some(Rcode::NOTIMP)),
        ("EDNS version 1", badvers, Some(Rcode::BADVERS)),
        ("longer than a buffer", with_bytes(&|m| m.resize(BUFFER_BYTES + 1, 0)), Some(Rcode::FORMERR)),
    ];
    for (what, message, expected) in cases {
        client.send(&message).unwrap();
        // The answer to this one comes next where the first got none.
        client.send(&query_of(&spelled(HELD), Rtype::AAAA, 1, 0, None)).unwrap();
        let first = receive(&client).unwrap();
        let Some(expected) = expected else {
            assert_eq!(Message::parse(&first).unwrap().qtype(), Rtype::AAAA, "{what}");
            continue;
        };
        let upper = u16::from(*first.get(first.len().saturating_sub(6)).unwrap_or(&0)) << 4;
        let upper = if expected == Rcode::BADVERS { upper } else { 0 };
        assert_eq!(u16::from(rcode(&first)) | upper, expected.0, "{what}");
        assert_eq!(first[..2], [0x12, 0x34], "{what}");
        assert!(first.len() <= message.len() && first[2] & 0x80 != 0, "{what}");
        assert_eq!(Message::parse(&receive(&client).unwrap()).unwrap().qtype(), Rtype::AAAA, "{what}");
    }
}

#[test]
fn clients_outside_the_prefixes_are_refused_or_dropped_until_a_reload() {
    let mut config = config(&["127.0.0.1:0"], closed());
    config.server.allow = vec!["10.0.0.0/8".parse().unwrap()];
    let server = Serving::start(config.clone());
    let client = server.client();
    client.send(&query(HELD, Rtype::A, 0x0100, Some(1232))).unwrap();
    let refused = receive(&client).unwrap();
    assert_eq!(text(&refused), "REFUSED |  | ");
    let message = Message::parse(&refused).unwrap();
    let opt = message.records().next().expect("an OPT");
    let (edns, _) = Edns::parse(&refused, opt.owner_at + 1).unwrap();
    assert_eq!(edns.options(&refused).collect::<Vec<_>>(), [(15, &[0, 18][..])]);

    config.server.denied = Denied::Drop;
    server.running().reload_access(&config.server);
    client.send(&query(HELD, Rtype::A, 0x0100, None)).unwrap();
    config.server.allow = vec!["127.0.0.0/8".parse().unwrap()];
    // Nothing tells that a query was dropped, but for a while without an answer.
    client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(receive(&client).is_err(), "dropped");
    client.set_read_timeout(Some(common::serving::PATIENCE)).unwrap();
    server.running().reload_access(&config.server);
    client.send(&query(HELD, Rtype::A, 0x0100, None)).unwrap();
    assert_eq!(text(&receive(&client).unwrap()), HELD_ANSWER);
}

#[test]
fn stopping_answers_what_is_queued() {
    let mut clients = Vec::new();
    // Queued before there is a worker, so that it is told to stop while they wait.
    let mut server = Serving::start_after(config(&["127.0.0.1:0"], closed()), |address| {
        clients = (0..50).map(|_| bound_client(address)).collect();
        for client in &clients {
            for _ in 0..20 {
                client.send(&query(HELD, Rtype::A, 0, None)).unwrap();
            }
        }
    });
    server.running.take().expect("running").stop();
    for client in &clients {
        for _ in 0..20 {
            assert_eq!(text(&receive(client).unwrap()), HELD_ANSWER);
        }
    }
}

#[test]
fn a_drain_waits_for_what_is_in_flight() {
    let upstream = holding();
    let server = Serving::start(config(&["127.0.0.1:0"], upstream.address));
    let client = server.client();
    client.send(&query("slow.example", Rtype::A, 0x0100, None)).unwrap();
    upstream.wait(|seen| seen.len() == 1);
    assert!(!server.drain(Duration::from_millis(30)), "one is left");
    upstream.release();
    assert!(server.drain(common::serving::PATIENCE));
    assert_eq!(rcode(&receive(&client).unwrap()), 0);
}

#[test]
fn a_taken_address_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Server::bind(&config(&[&address.to_string()], closed())).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {address} (tcp): another process holds it"));
    drop(taken);
    let taken = std::net::UdpSocket::bind(address).unwrap();
    let error = Server::bind(&config(&[&address.to_string()], closed())).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot listen on {address} (udp)")), "{error}");
    drop(taken);
}

#[test]
fn a_second_server_cannot_join_the_first() {
    for workers in [1, 2] {
        let mut config = config(&["127.0.0.1:0"], closed());
        config.server.workers = workers;
        let first = Serving::start(config.clone());
        config.server.listen = vec![first.address()];
        assert!(Server::bind(&config).is_err(), "{workers} workers");
    }
}

#[test]
fn one_reply_that_cannot_be_sent_does_not_stop_the_others() {
    let socket = UdpSocket::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
    let clients = [(); 3].map(|()| bound_client(socket.local_addr()));
    let mut batch = Batch::new(8);
    let peers = [
        "[::1]:9".parse().unwrap(),
        clients[0].local_addr().unwrap(),
        "[::1]:9".parse().unwrap(),
        clients[1].local_addr().unwrap(),
        clients[2].local_addr().unwrap(),
    ];
    for peer in peers {
        assert!(batch.place(b"ping", peer));
    }
    for index in 0..batch.len() {
        batch.message(index).unwrap().buffer[..4].copy_from_slice(b"pong");
        batch.reply(index, 4);
    }
    let mut faults = Vec::new();
    assert_eq!(batch.send(&socket, |fault| faults.push(fault)), 3);
    // An IPv6 address on an IPv4 socket.
    assert_eq!(faults, [Fault::BadAddress, Fault::BadAddress]);
    for client in &clients {
        assert_eq!(receive(client).unwrap(), b"pong");
    }
    assert_eq!(batch.queued(), 0);
}

#[test]
fn each_reply_goes_to_who_asked_whatever_stays_without() {
    let socket = UdpSocket::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
    let clients = [(); 4].map(|()| bound_client(socket.local_addr()));
    let mut batch = Batch::new(4);
    // Rounds in one batch: what one leaves in the headers must not show in the next.
    for answered in [&[1, 3][..], &[0, 1, 2, 3], &[2], &[0, 2]] {
        batch.reset();
        for client in &clients {
            assert!(batch.place(b"ping", client.local_addr().unwrap()));
        }
        for index in answered {
            let text = format!("pong{index}{}", "x".repeat(*index));
            batch.message(*index).unwrap().buffer[..text.len()].copy_from_slice(text.as_bytes());
            batch.reply(*index, text.len());
        }
        assert_eq!(batch.send(&socket, |fault| panic!("{fault:?}")), answered.len());
        for index in answered {
            let text = format!("pong{index}{}", "x".repeat(*index));
            assert_eq!(receive(&clients[*index]).unwrap(), text.as_bytes());
        }
    }
}

#[test]
fn buffers_are_granted_and_drops_are_seen() {
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0".parse().unwrap(), false).unwrap());
    assert!(socket.buffers().receive >= 4096 && socket.buffers().send >= 4096);
    assert_eq!(socket.dropped(), 0);
    let client = bound_client(socket.local_addr());
    let message = [0; 1024];
    let more = socket.buffers().receive / 1024 + 1;
    for _ in 0..more {
        client.send(&message).unwrap();
    }
    assert!(socket.dropped() > 0, "{more} kilobytes do not fit");
}
