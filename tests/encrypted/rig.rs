//! A server with encrypted listeners, and blocking clients for it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hubdns::config::{ClientCertificates, Config, Encrypted, EncryptedTransport, Listener, Service};
use hubdns::metrics::Exporter;
use hubdns::wire::Rtype;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::common::estate::query;
use crate::common::serving::{PATIENCE, Serving, config};
use crate::common::upstream::{Act, Upstream};
use crate::pki::{Files, Pki};

pub(crate) const HELD: &str = "contoso.privatelink.azurecr.io";
pub(crate) const HELD_ANSWER: &str = "NOERROR aa | contoso.privatelink.azurecr.io 10 A 10.0.0.5 | ";

/// A listener on a free loopback port.
pub(crate) fn listener(
    transport: EncryptedTransport,
    files: &Files,
    change: impl FnOnce(&mut Encrypted),
) -> Listener {
    let mut settings = Encrypted {
        transport,
        certificate_file: files.certificate.clone(),
        key_file: files.key.clone(),
        client_ca_file: None,
        clients: ClientCertificates::Required,
        warning: Duration::from_secs(14 * 86_400),
        path: "/dns-query".to_owned(),
        max_connections: 100,
        max_connections_per_client: 50,
        prefix_bits: (32, 64),
        max_queries_per_connection: 16,
        max_buffered: 1 << 20,
        idle_timeout: PATIENCE,
        handshake_timeout: PATIENCE,
    };
    change(&mut settings);
    let service = Service::Encrypted(Box::new(settings));
    Listener { address: "127.0.0.1:0".parse().unwrap(), proxies: Vec::new(), service }
}

/// Serves `listeners` beside a plain one, forwarding to `upstream`.
pub(crate) fn serve(
    listeners: Vec<Listener>,
    upstream: SocketAddr,
    change: impl FnOnce(&mut Config),
) -> Serving {
    let mut config = config(&["127.0.0.1:0"], upstream);
    config.listeners = listeners;
    change(&mut config);
    Serving::start(config)
}

/// The address of the first listener of that transport.
pub(crate) fn at(server: &Serving, transport: &str) -> SocketAddr {
    let listeners = server.running().listeners();
    listeners.iter().find(|listener| listener.transport == transport).expect("such a listener").address
}

/// Holds what begins with `slow` until released; answers the rest.
pub(crate) fn upstream() -> Upstream {
    Upstream::start(|asked| {
        let response = asked.reply(0, &format!("{} 300 A 192.0.2.1", asked.qname), "");
        if asked.qname.starts_with("slow") { Act::Hold(response) } else { Act::send(response) }
    })
}

/// `message` behind its length.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

/// A query for A with that id.
pub(crate) fn ask(id: u16, qname: &str) -> Vec<u8> {
    let mut message = query(qname, Rtype::A, 0x0100, None);
    message[..2].copy_from_slice(&id.to_be_bytes());
    message
}

/// A query for A with an OPT that holds `options`.
pub(crate) fn ask_with(id: u16, qname: &str, options: &[u8]) -> Vec<u8> {
    let mut message = ask(id, qname);
    message.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0]);
    message.extend((options.len() as u16).to_be_bytes());
    message.extend(options);
    message[11] += 1;
    message
}

/// The options of a response.
pub(crate) fn options(response: &[u8]) -> Vec<(u16, Vec<u8>)> {
    use hubdns::wire::{Edns, message::Message};
    let message = Message::parse(response).expect("a message");
    let Some(opt) = message.records().find(|record| record.rtype == Rtype::OPT) else { return Vec::new() };
    let (edns, end) = Edns::parse(response, opt.owner_at + 1).expect("an OPT");
    assert_eq!(end, response.len(), "the OPT is the last record");
    edns.options(response).map(|(code, data)| (code, data.to_vec())).collect()
}

/// A connection by TLS.
pub(crate) struct Dot(pub(crate) StreamOwned<ClientConnection, TcpStream>);

/// Connects, and shakes hands.
pub(crate) fn dot(server: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<Dot> {
    dot_behind(server, config, &[])
}

/// The same behind some bytes.
pub(crate) fn dot_behind(
    server: SocketAddr,
    config: &Arc<ClientConfig>,
    before: &[u8],
) -> std::io::Result<Dot> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    stream.write_all(before)?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = ClientConnection::new(Arc::clone(config), name).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    Ok(Dot(StreamOwned::new(tls, stream)))
}

impl Dot {
    /// Sends `message` behind its length.
    pub(crate) fn send(&mut self, message: &[u8]) {
        self.0.write_all(&framed(message)).unwrap();
        self.0.flush().unwrap();
    }

    /// The next response.
    pub(crate) fn next(&mut self) -> std::io::Result<Vec<u8>> {
        let mut len = [0; 2];
        self.0.read_exact(&mut len)?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
        self.0.read_exact(&mut message)?;
        Ok(message)
    }

    /// Asks, and waits for the response.
    pub(crate) fn ask(&mut self, message: &[u8]) -> Vec<u8> {
        self.send(message);
        self.next().expect("a response")
    }

    /// Waits until the server has closed, without another message.
    pub(crate) fn assert_closed(&mut self) {
        if let Ok(message) = self.next() {
            panic!("still open: {message:?}");
        }
    }
}

/// Waits until TCP has closed.
pub(crate) fn assert_closed(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    // An alert may come before the end.
    let _ = stream.read_to_end(&mut seen);
    assert!(seen.len() < 100, "{seen:?}");
}

/// The value of the metric whose line begins with `start`, 0 without one.
pub(crate) fn metric(server: &Serving, start: &str) -> u64 {
    let mut exporter = Exporter::default();
    server.running().metrics().export(&mut exporter);
    let text = exporter.encode();
    let lines = text.lines().filter(|line| !line.starts_with('#') && line.starts_with(start));
    lines.map(value).sum()
}

/// The same of a listener's family, with its last label.
pub(crate) fn labeled(server: &Serving, family: &str, last: &str) -> u64 {
    let mut exporter = Exporter::default();
    server.running().metrics().export(&mut exporter);
    let text = exporter.encode();
    let of_family = |line: &&str| line.strip_prefix(family).is_some_and(|rest| rest.starts_with('{'));
    let lines = text.lines().filter(of_family).filter(|line| line.contains(&format!("\"{last}\"}}")));
    lines.map(value).sum()
}

/// The whole number at the end of a line.
fn value(line: &str) -> u64 {
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a whole number")
}

/// Waits until `condition` holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A server with one listener of that transport.
pub(crate) fn one(
    transport: EncryptedTransport,
    change: impl FnOnce(&mut Encrypted),
) -> (Pki, Upstream, Serving) {
    let (pki, upstream) = (Pki::new(), upstream());
    let files = pki.files("server");
    let server = serve(vec![listener(transport, &files, change)], upstream.address, |_| {});
    (pki, upstream, server)
}
