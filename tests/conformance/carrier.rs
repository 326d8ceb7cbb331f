//! The transports that every case is asked over. A further one is one line of
//! [`CARRIERS`]: its label, whether size limits apply, and how a message goes
//! there and back.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::ask::ask;
use crate::expect::Got;
use crate::world::World;

/// How long an answer is awaited.
pub(crate) const PATIENCE: Duration = Duration::from_secs(12);
/// How long a server with many threads may take for what it sends to the first
/// of two questions, once it has answered the second.
const GRACE: Duration = Duration::from_millis(150);

/// A transport.
#[derive(Clone, Copy)]
pub(crate) struct Carrier {
    label: &'static str,
    /// Whether responses have to fit what the client takes.
    pub(crate) is_udp: bool,
    /// Whether responses may be padded (RFC 7830).
    pub(crate) is_encrypted: bool,
    /// Sends a message for a name and waits for what comes back; where silence
    /// is expected, for the answer to a question behind it.
    pub(crate) exchange: fn(&World, &str, &[u8], bool) -> Got,
}

/// All of them.
pub(crate) const CARRIERS: &[Carrier] = &[
    Carrier {
        label: "udp",
        is_udp: true,
        is_encrypted: false,
        exchange: |world, name, m, s| udp(world.address(name), m, s),
    },
    Carrier {
        label: "tcp",
        is_udp: false,
        is_encrypted: false,
        exchange: |world, name, m, s| tcp(world.address(name), m, s),
    },
    Carrier {
        label: "tls",
        is_udp: false,
        is_encrypted: true,
        exchange: |world, _, m, s| world.encrypted().tls(m, s),
    },
    Carrier {
        label: "https",
        is_udp: false,
        is_encrypted: true,
        exchange: |world, _, m, _| world.encrypted().https(m),
    },
];

impl Carrier {
    pub(crate) const fn label(self) -> &'static str {
        self.label
    }
}

/// A question that every server answers somehow.
pub(crate) fn sentinel(not: &[u8]) -> Vec<u8> {
    let id = not.first_chunk().map_or(1, |id| u16::from_be_bytes(*id).wrapping_add(1));
    ask("www.corp.example A", id, &[]).bytes
}

pub(crate) fn udp(server: SocketAddr, message: &[u8], silence: bool) -> Got {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
    socket.connect(server).expect("a route");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let _ = socket.send(message);
    let behind = sentinel(message);
    if silence {
        let _ = socket.send(&behind);
    }
    let mut buf = vec![0; 65_536];
    let mut is_behind = false;
    loop {
        match socket.recv(&mut buf) {
            Ok(len) if silence && buf[..len.min(2)] == behind[..2] => {
                is_behind = true;
                socket.set_read_timeout(Some(GRACE)).expect("a timeout");
            }
            Ok(len) => return Got::Reply(buf[..len].to_vec()),
            Err(error) if !is_behind && error.kind() == ErrorKind::ConnectionRefused => return Got::Closed,
            Err(_) => return Got::Nothing,
        }
    }
}

/// `message` behind its length.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).expect("a message");
    [&len.to_be_bytes()[..], message].concat()
}

/// A connection to `server`.
pub(crate) fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// The next message of a stream; what else became of it.
pub(crate) fn next(stream: &mut impl Read) -> Got {
    let mut len = [0; 2];
    let read = stream.read_exact(&mut len).and_then(|()| {
        let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut message).map(|()| message)
    });
    match read {
        Ok(message) => Got::Reply(message),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Got::Nothing,
        Err(_) => Got::Closed,
    }
}

pub(crate) fn tcp(server: SocketAddr, message: &[u8], silence: bool) -> Got {
    let mut stream = connect(server);
    let behind = sentinel(message);
    let mut bytes = framed(message);
    if silence {
        bytes.extend(framed(&behind));
    }
    if stream.write_all(&bytes).is_err() {
        return Got::Closed;
    }
    let since = Instant::now();
    loop {
        match next(&mut stream) {
            Got::Reply(reply) if silence && reply.get(..2) == Some(&behind[..2]) => {
                stream.set_read_timeout(Some(GRACE)).expect("a timeout");
            }
            got => return got,
        }
        assert!(since.elapsed() < 2 * PATIENCE, "a stream that goes on");
    }
}
