//! Datagrams that no ordinary socket sends.

use std::net::{SocketAddr, SocketAddrV4};

use socket2::{Domain, Protocol, Socket, Type};

use crate::ask::ask;
use crate::carrier::udp;
use crate::common::serving::closed;
use crate::daemon::Daemon;
use crate::expect::check;

/// A UDP datagram from port 0; the kernel computes nothing, and IPv4 needs no checksum.
fn datagram(to: u16, message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + message.len()).expect("a datagram");
    [&[0, 0][..], &to.to_be_bytes(), &len.to_be_bytes(), &[0, 0], message].concat()
}

/// Nothing can be sent to port 0: answering would only tell of an error, and a
/// query from there is somebody's game (RFC 1122 section 4.1.3.6, RFC 5452).
#[test]
fn a_query_from_port_0_is_dropped_and_counted() {
    let Ok(socket) = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)) else {
        eprintln!("SKIPPED: no raw sockets for this user");
        return;
    };
    let upstream = closed();
    let toml = format!(
        "[[upstreams]]\nname = \"none\"\naddresses = [\"{upstream}\"]\n[forward]\ndefault = \"none\"\n"
    );
    let mut daemon = Daemon::start(&toml);
    let SocketAddr::V4(to) = daemon.dns else { panic!("an IPv4 address") };
    let query = ask("localhost A", 1, &[]);
    let target = SocketAddr::V4(SocketAddrV4::new(*to.ip(), 0));
    socket.send_to(&datagram(to.port(), &query.bytes), &target.into()).expect("sent");
    daemon.wait_until("it is counted", |daemon| {
        let text = daemon.http("/metrics").expect("metrics").body;
        text.contains("hubdns_queries_dropped_total{reason=\"port_zero\"} 1\n")
    });
    let got = udp(daemon.dns, &query.bytes, false);
    check("NOERROR an=1", &query, &got, true, || 0).expect("it serves on");
}
