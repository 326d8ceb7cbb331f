//! PROXY headers (version 2) over UDP, TCP, TLS and HTTPS: the client that a
//! header names is the client, for access, views and limits alike.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hubdns::config::EncryptedTransport::{Https, Tls};
use hubdns::config::{Config, Listener, Service};
use hubdns::serve::proxy::SIGNATURE;
use hubdns::snapshot::Snapshot;

use crate::common::estate::{options, record_set, text};
use crate::common::serving::{PATIENCE, Serving, config};
use crate::common::stream;
use crate::common::upstream::Upstream;
use crate::https::Client;
use crate::pki::Pki;
use crate::rig::{
    HELD, ask, assert_closed, at, dot_behind, framed, labeled, listener, metric, upstream, wait_until,
};

const VIEWS: &str = "
    view site 192.0.2.0/24,2001:db8::/32
    zone privatelink.azurecr.io
    contoso.privatelink.azurecr.io 10 A 10.0.0.5
    in site contoso.privatelink.azurecr.io A 10.9.0.5
";
const OF_SITE: &str = "NOERROR aa | contoso.privatelink.azurecr.io 10 A 10.9.0.5 | ";
const OF_OTHERS: &str = "NOERROR aa | contoso.privatelink.azurecr.io 10 A 10.0.0.5 | ";
const LOCAL: [u8; 4] = [0x20, 0, 0, 0];

/// A header that names `client`.
fn header(client: &str) -> Vec<u8> {
    let (client, port): (IpAddr, [u8; 4]) = (client.parse().unwrap(), [0x30, 0x39, 0, 53]);
    let (family, addresses) = match client {
        IpAddr::V4(v4) => (0x11, [v4.octets().to_vec(), vec![127, 0, 0, 1]].concat()),
        IpAddr::V6(v6) => (0x21, [v6.octets().to_vec(), vec![0; 16]].concat()),
    };
    let tlv = [0xea, 0, 3, 1, 2, 3];
    let len = (addresses.len() + port.len() + tlv.len()) as u16;
    [&SIGNATURE[..], &[0x21, family], &len.to_be_bytes(), &addresses, &port, &tlv].concat()
}

/// Loopback sends headers to the listeners behind the first one, which takes
/// none; the clients that may ask are those in `allow`.
struct Behind {
    server: Serving,
    pki: Pki,
    upstream: Upstream,
}

fn behind(proxies: &str, change: impl FnOnce(&mut Config)) -> Behind {
    let (pki, upstream) = (Pki::new(), upstream());
    let files = pki.files("server");
    let mut config = config(&["127.0.0.1:0"], upstream.address);
    let plain =
        Listener { address: "127.0.0.1:0".parse().unwrap(), proxies: Vec::new(), service: Service::Plain };
    config.listeners = vec![plain, listener(Tls, &files, |_| {}), listener(Https, &files, |_| {})];
    for listener in &mut config.listeners {
        listener.proxies = vec![proxies.parse().unwrap()];
    }
    config.server.allow = ["127.0.0.0/8", "192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32"]
        .map(|prefix| prefix.parse().unwrap())
        .to_vec();
    change(&mut config);
    let server = Serving::start(config);
    server.publisher.publish(Snapshot::build(&record_set(VIEWS), &options(), 2));
    Behind { server, pki, upstream }
}

impl Behind {
    /// The plain listener that takes headers.
    fn plain(&self) -> SocketAddr {
        let listeners = self.server.running().listeners();
        listeners.iter().find(|l| l.transport == "plain" && l.is_proxied).expect("it").address
    }

    fn udp(&self) -> UdpSocket {
        crate::common::load::bound_client(self.plain())
    }

    fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.plain()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// The answer over UDP to a datagram; `None` where nothing comes before the
    /// answer to another that follows it.
    fn over_udp(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        let socket = self.udp();
        socket.send(datagram).unwrap();
        socket.send(&[&SIGNATURE[..], &LOCAL, &ask(0xfffe, HELD)].concat()).unwrap();
        let mut buf = vec![0; 4096];
        let len = socket.recv(&mut buf).expect("an answer to the second at least");
        buf.truncate(len);
        (buf[..2] != [0xff, 0xfe]).then_some(buf)
    }

    fn headers(&self, result: &str) -> u64 {
        labeled(&self.server, "hubdns_proxy_headers_total", result)
    }
}

#[test]
fn seeds_of_the_fuzz_target_are_what_they_are_called() {
    use hubdns::serve::proxy::{Proxied, read};
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/fuzz/proxy_header");
    let mut count = 0;
    for seed in std::fs::read_dir(seeds).expect("seeds") {
        let path = seed.expect("a seed").path();
        let kind = match read(&std::fs::read(&path).expect("bytes")) {
            Proxied::Header { .. } => "header",
            Proxied::Partial => "partial",
            Proxied::Malformed => "malformed",
            Proxied::None => "none",
        };
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(name.starts_with(&format!("{kind}-")), "{name} is {kind}");
        count += 1;
    }
    assert_eq!(count, 11);
}

#[test]
fn the_client_of_a_header_is_the_client_by_every_transport() {
    let behind = behind("127.0.0.0/8", |_| {});
    for (client, expected) in [("192.0.2.7", OF_SITE), ("2001:db8::7", OF_SITE), ("198.51.100.7", OF_OTHERS)]
    {
        let header = header(client);
        let query = ask(1, HELD);
        let over_udp = behind.over_udp(&[&header[..], &query].concat()).expect("an answer");
        assert_eq!(text(&over_udp), expected, "UDP, {client}");
        let mut tcp = behind.tcp();
        tcp.write_all(&[&header[..], &framed(&query), &framed(&query)].concat()).unwrap();
        for _ in 0..2 {
            assert_eq!(text(&stream::next(&mut tcp)), expected, "TCP, {client}");
        }
        let mut tls = dot_behind(at(&behind.server, "tls"), &behind.pki.dot(), &header).unwrap();
        assert_eq!(text(&tls.ask(&query)), expected, "TLS, {client}");
        let mut https = Client::connect(at(&behind.server, "https"), &behind.pki, &header);
        assert_eq!(text(&https.post(&query).body), expected, "HTTPS, {client}");
    }
    assert_eq!(behind.headers("named"), 12);
    let local = [&SIGNATURE[..], &LOCAL].concat();
    let mut tcp = behind.tcp();
    tcp.write_all(&[&local[..], &framed(&ask(1, HELD))].concat()).unwrap();
    assert_eq!(text(&stream::next(&mut tcp)), OF_OTHERS, "the sender itself");
    let mut tls = dot_behind(at(&behind.server, "tls"), &behind.pki.dot(), &local).unwrap();
    assert_eq!(text(&tls.ask(&ask(1, HELD))), OF_OTHERS);
    assert_eq!(text(&behind.server.ask(&ask(1, HELD))), OF_OTHERS, "the other listener takes none");
}

#[test]
fn a_header_may_come_in_pieces() {
    let behind = behind("127.0.0.0/8", |_| {});
    let mut tcp = behind.tcp();
    for byte in [&header("192.0.2.7")[..], &framed(&ask(1, HELD))].concat() {
        tcp.write_all(&[byte]).unwrap();
    }
    assert_eq!(text(&stream::next(&mut tcp)), OF_SITE);
}

#[test]
fn answers_that_come_later_go_to_the_proxy() {
    let behind = behind("127.0.0.0/8", |_| {});
    let query = ask(1, "slow.example");
    let socket = behind.udp();
    socket.send(&[&header("192.0.2.7")[..], &query].concat()).unwrap();
    let mut tcp = behind.tcp();
    tcp.write_all(&[&header("198.51.100.7")[..], &framed(&query)].concat()).unwrap();
    behind.upstream.wait(|seen| !seen.is_empty());
    wait_until("both wait", || metric(&behind.server, "hubdns_queries_total{") == 2);
    behind.upstream.release();
    let mut buf = [0; 512];
    let len = socket.recv(&mut buf).unwrap();
    assert!(text(&buf[..len]).contains("192.0.2.1"));
    assert!(text(&stream::next(&mut tcp)).contains("192.0.2.1"));
}

#[test]
fn access_is_that_of_the_client_and_not_of_the_proxy() {
    // The proxy itself may not ask.
    let behind = behind("127.0.0.0/8", |config| config.server.allow = vec!["192.0.2.0/24".parse().unwrap()]);
    let query = ask(1, HELD);
    let mut tcp = behind.tcp();
    tcp.write_all(&[&header("192.0.2.7")[..], &framed(&query)].concat()).unwrap();
    assert_eq!(text(&stream::next(&mut tcp)), OF_SITE);
    let socket = behind.udp();
    let over_udp = |client: &str| {
        socket.send(&[&header(client)[..], &query].concat()).unwrap();
        let mut buf = [0; 512];
        let len = socket.recv(&mut buf).unwrap();
        text(&buf[..len])
    };
    assert_eq!(over_udp("192.0.2.7"), OF_SITE);
    assert!(over_udp("203.0.113.9").starts_with("REFUSED"));
    for stranger in [header("203.0.113.9"), [&SIGNATURE[..], &LOCAL].concat()] {
        let mut tcp = behind.tcp();
        tcp.write_all(&[&stranger[..], &framed(&query)].concat()).unwrap();
        assert_closed(&mut tcp);
        assert!(dot_behind(at(&behind.server, "tls"), &behind.pki.dot(), &stranger).is_err());
    }
    assert_eq!(labeled(&behind.server, "hubdns_encrypted_connections_rejected_total", "denied"), 2);
    assert_eq!(labeled(&behind.server, "hubdns_tls_handshake_failures_total", "proxy"), 2);
}

#[test]
fn a_listed_sender_must_send_a_header_that_can_be_read() {
    let behind = behind("127.0.0.0/8", |_| {});
    let query = ask(1, HELD);
    let mut malformed = header("192.0.2.7");
    malformed[13] = 0x41;
    let mut long = header("192.0.2.7");
    long[14] = 0xff;
    for (nth, (start, result)) in
        [(Vec::new(), "missing"), (malformed, "malformed"), (long, "malformed")].into_iter().enumerate()
    {
        assert_eq!(behind.over_udp(&[&start[..], &query].concat()), None, "{nth}");
        let mut tcp = behind.tcp();
        tcp.write_all(&[&start[..], &framed(&query)].concat()).unwrap();
        assert_closed(&mut tcp);
        assert!(dot_behind(at(&behind.server, "tls"), &behind.pki.dot(), &start).is_err());
        wait_until("all are counted", || behind.headers(result) == if nth == 2 { 6 } else { 3 });
    }
    // A header alone, cut: a datagram is whole when it comes.
    assert_eq!(behind.over_udp(&header("192.0.2.7")[..20]), None);
    assert_eq!(behind.headers("malformed"), 7);
    assert_eq!(labeled(&behind.server, "hubdns_queries_dropped_total", "proxy"), 4);
}

#[test]
fn the_header_of_somebody_else_is_no_header() {
    let behind = behind("192.0.2.200/32", |_| {});
    let query = ask(1, HELD);
    let socket = behind.udp();
    socket.send(&[&header("192.0.2.7")[..], &query].concat()).unwrap();
    socket.send(&query).unwrap();
    let mut buf = [0; 512];
    let len = socket.recv(&mut buf).unwrap();
    assert_eq!(text(&buf[..len]), OF_OTHERS, "only what has no header is answered");
    assert_eq!(behind.headers("unlisted"), 1);
    let mut tcp = behind.tcp();
    tcp.write_all(&[&header("192.0.2.7")[..], &framed(&query)].concat()).unwrap();
    assert_closed(&mut tcp);
    wait_until("it is counted", || behind.headers("unlisted") == 2);
    let mut tcp = behind.tcp();
    tcp.write_all(&framed(&query)).unwrap();
    assert_eq!(text(&stream::next(&mut tcp)), OF_OTHERS);
    assert!(dot_behind(at(&behind.server, "tls"), &behind.pki.dot(), &header("192.0.2.7")).is_err());
    wait_until("it is counted", || {
        labeled(&behind.server, "hubdns_tls_handshake_failures_total", "not_tls") == 1
    });
    let mut tls = dot_behind(at(&behind.server, "tls"), &behind.pki.dot(), &[]).unwrap();
    assert_eq!(text(&tls.ask(&query)), OF_OTHERS);
    // Without a proxy's prefix a listener takes no header from anybody.
    let mut plain = behind.server.connect();
    plain.write_all(&header("192.0.2.7")).unwrap();
    plain.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(plain.read(&mut [0; 9]).is_err(), "it waits for a message of 3,338 bytes");
}

#[test]
fn limits_count_the_client_and_not_the_proxy() {
    let behind = behind("127.0.0.0/8", |config| {
        config.tcp.max_connections_per_client = 1;
        for listener in &mut config.listeners {
            if let Service::Encrypted(settings) = &mut listener.service {
                settings.max_connections_per_client = 1;
            }
        }
    });
    let query = ask(1, HELD);
    let connect = |client: &str| {
        let mut tcp = behind.tcp();
        tcp.write_all(&[&header(client)[..], &framed(&query)].concat()).unwrap();
        tcp
    };
    let mut held: Vec<TcpStream> = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(connect).into();
    for tcp in &mut held {
        assert_eq!(text(&stream::next(tcp)), OF_SITE);
    }
    assert_closed(&mut connect("192.0.2.2"));
    let rejected = "hubdns_tcp_connections_rejected_total{reason=\"client\"}";
    assert_eq!(metric(&behind.server, rejected), 1);
    let tls = at(&behind.server, "tls");
    let _held: Vec<_> = ["192.0.2.1", "192.0.2.2"]
        .map(|client| dot_behind(tls, &behind.pki.dot(), &header(client)).unwrap())
        .into();
    assert!(dot_behind(tls, &behind.pki.dot(), &header("192.0.2.1")).is_err());
    assert_eq!(labeled(&behind.server, "hubdns_encrypted_connections_rejected_total", "client"), 1);
}
