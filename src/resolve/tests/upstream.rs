//! Upstreams of a replay: sockets on loopback that say what the script says.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use socket2::SockRef;

use super::text;

/// Not where clients on this host ask from, so that a query from here is one of an upstream's.
pub(super) const OF_ITS_OWN: &str = "127.0.0.2";
/// Where everybody on this host asks from.
pub(super) const SHARED: &str = "127.0.0.1";
/// How long something is awaited that must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Udp(SocketAddr),
    Tcp,
}

/// A query that an upstream got.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Which upstream.
    pub(super) upstream: usize,
    /// When, in milliseconds of the replay.
    pub(super) at: u64,
    pub(super) way: Way,
    pub(super) bytes: Vec<u8>,
}

impl Asked {
    pub(super) fn id(&self) -> u16 {
        u16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    /// The response that `text` says.
    pub(super) fn reply(&self, text: &str) -> Vec<u8> {
        text::reply(&self.bytes, text)
    }
}

/// One upstream.
pub(super) struct Upstream {
    number: usize,
    pub(super) address: SocketAddr,
    udp: Option<UdpSocket>,
    tcp: TcpListener,
    stream: Option<TcpStream>,
    /// What came over UDP and was not looked at.
    pub(super) arrived: VecDeque<Asked>,
    /// What the engine asked on its own account, to know its upstreams: of the root.
    pub(super) probes: VecDeque<Asked>,
    /// Queries over TCP that were looked at.
    pub(super) over_tcp: u64,
}

impl Upstream {
    pub(super) fn new(number: usize, host: &str) -> Self {
        let (udp, tcp) = bind(host);
        udp.set_read_timeout(Some(PATIENCE)).unwrap();
        SockRef::from(&tcp).set_read_timeout(Some(PATIENCE)).unwrap();
        let (address, udp) = (udp.local_addr().unwrap(), Some(udp));
        let (arrived, probes) = (VecDeque::new(), VecDeque::new());
        Self { number, address, udp, tcp, stream: None, arrived, probes, over_tcp: 0 }
    }

    /// Reads what has come over UDP. `post` sends a mark, behind which there is
    /// nothing: what was sent before on loopback comes before.
    pub(super) fn collect(&mut self, post: &UdpSocket, at: u64) {
        let Some(udp) = &self.udp else { return };
        post.send_to(&[], self.address).unwrap();
        let (marked, mut buf) = (post.local_addr().unwrap(), [0; 4096]);
        loop {
            let (len, from) = udp.recv_from(&mut buf).expect("at least the mark");
            if from == marked {
                return;
            }
            let asked = Asked { upstream: self.number, at, way: Way::Udp(from), bytes: buf[..len].to_vec() };
            let is_probe = text::qname(&asked.bytes) == ".";
            if is_probe { self.probes.push_back(asked) } else { self.arrived.push_back(asked) }
        }
    }

    /// The next query over TCP, which is on its way.
    pub(super) fn read_tcp(&mut self, at: u64) -> Asked {
        let stream = self.stream.get_or_insert_with(|| {
            let (stream, _) = self.tcp.accept().expect("a connection");
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        });
        let mut len = [0; 2];
        stream.read_exact(&mut len).expect("a query");
        let mut bytes = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut bytes).expect("a whole query");
        self.over_tcp += 1;
        Asked { upstream: self.number, at, way: Way::Tcp, bytes }
    }

    pub(super) fn send(&mut self, way: Way, bytes: &[u8]) {
        match (way, &self.udp, &mut self.stream) {
            (Way::Udp(to), Some(udp), _) => assert_eq!(udp.send_to(bytes, to).unwrap(), bytes.len()),
            (Way::Tcp, _, Some(stream)) => {
                let len = (bytes.len() as u16).to_be_bytes();
                stream.write_all(&[&len, bytes].concat()).unwrap();
            }
            _ => panic!("it is gone"),
        }
    }

    /// From here on the host says that nobody is there.
    pub(super) fn close(&mut self) {
        self.udp = None;
    }

    /// Ends the connection.
    pub(super) fn close_stream(&mut self) {
        self.stream = None;
    }
}

fn bind(host: &str) -> (UdpSocket, TcpListener) {
    let mut taken = Vec::new();
    for _ in 0..100 {
        let udp = UdpSocket::bind((host, 0)).unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            return (udp, tcp);
        }
        taken.push(udp);
    }
    panic!("no port is free for UDP and TCP");
}
