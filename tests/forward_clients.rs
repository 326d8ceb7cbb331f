//! One client's questions are limited apart from the others', over real sockets.

mod common;

use std::net::UdpSocket;

use common::estate::{name, query};
use common::serving::{PATIENCE, Serving, config, receive};
use common::upstream::{Act, Upstream};
use hubdns::wire::message::Message;
use hubdns::wire::{Rcode, Rtype};

fn client(server: &Serving, address: &str) -> UdpSocket {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(server.address()).unwrap();
    socket
}

fn rcode_of(bytes: &[u8]) -> (String, Rcode) {
    let message = Message::parse(bytes).unwrap();
    (message.qname().unwrap().to_name().to_string(), message.rcode())
}

#[test]
fn a_client_with_too_many_questions_is_refused_and_others_are_served() {
    let upstream =
        Upstream::start(|asked| Act::Hold(asked.reply(0, &format!("{} 60 A 192.0.2.1", asked.qname), "")));
    let mut settings = config(&["127.0.0.1:0"], upstream.address);
    settings.forward.max_waiters_per_client = 3;
    let server = Serving::start(settings);
    let (busy, other) = (client(&server, "127.0.0.1"), client(&server, "127.9.0.2"));
    for at in 0..4 {
        busy.send(&query(&format!("n{at}.example"), Rtype::A, 0x0100, Some(1232))).unwrap();
    }
    // The fourth is answered at once; the rest still waits.
    assert_eq!(rcode_of(&receive(&busy).unwrap()), ("n3.example".to_owned(), Rcode::SERVFAIL));
    other.send(&query("other.example", Rtype::A, 0x0100, Some(1232))).unwrap();
    upstream.wait(|seen| seen.len() == 4);
    assert!(upstream.seen().iter().all(|asked| asked.qname != name("n3.example").to_string()));
    upstream.release();
    assert_eq!(rcode_of(&receive(&other).unwrap()), ("other.example".to_owned(), Rcode::NOERROR));
    let mut names: Vec<_> = (0..3).map(|_| rcode_of(&receive(&busy).unwrap())).collect();
    names.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = ["n0.example", "n1.example", "n2.example"].map(|n| (n.to_owned(), Rcode::NOERROR));
    assert_eq!(names, expected);
    // What was answered counts no more.
    busy.send(&query("n4.example", Rtype::A, 0x0100, Some(1232))).unwrap();
    upstream.wait(|seen| seen.len() == 5);
    upstream.release();
    assert_eq!(rcode_of(&receive(&busy).unwrap()), ("n4.example".to_owned(), Rcode::NOERROR));
}
