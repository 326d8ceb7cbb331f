//! Binding: for each listen address one TCP listener and a UDP socket for
//! every worker, on the same port.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::ServeError;
use super::access::AccessList;
use crate::answer::Transport;
use crate::socket::{Buffers, UdpSocket, defer_accept};

/// Connections that may wait to be accepted; the system's limit
/// (`net.core.somaxconn`) caps it.
const BACKLOG: i32 = 1024;
/// How long the kernel keeps a connection that brings nothing. Then it comes to
/// us, to be counted and timed; until then it is half-open and limited as such.
const SILENCE: Duration = Duration::from_secs(1);
/// How many ports are tried for port 0, where a free TCP port may be taken on UDP.
const PORT_ATTEMPTS: usize = 32;

/// One listen address, bound.
#[derive(Debug)]
pub(super) struct Bind {
    pub(super) address: SocketAddr,
    /// Who puts a PROXY header before what it sends, if anybody does.
    pub(super) proxies: Option<Arc<AccessList>>,
    pub(super) tcp: TcpListener,
    /// One for each worker.
    pub(super) udp: Vec<Arc<UdpSocket>>,
}

/// Binds `address` for `workers`. Port 0 takes one that is free on both transports.
pub(super) fn bind(address: SocketAddr, workers: usize, buffers: Buffers) -> Result<Bind, ServeError> {
    let mut attempts = 1;
    loop {
        match bind_both(address, workers, buffers) {
            Err(ServeError::Bind { source, transport: Transport::Udp, .. })
                if address.port() == 0
                    && source.kind() == io::ErrorKind::AddrInUse
                    && attempts < PORT_ATTEMPTS =>
            {
                attempts += 1;
            }
            result => return result,
        }
    }
}

/// TCP first: its listener is never shared, so a second server that is started
/// by mistake fails here, before its UDP sockets could join ours in a
/// `SO_REUSEPORT` group and take a share of the queries.
fn bind_both(address: SocketAddr, workers: usize, buffers: Buffers) -> Result<Bind, ServeError> {
    let tcp = bind_tcp(address).map_err(|source| ServeError::bind(Transport::Tcp, address, source))?;
    let address = tcp.local_addr().map_err(|source| ServeError::bind(Transport::Tcp, address, source))?;
    let udp = (0..workers.max(1)).map(|_| UdpSocket::bind_with(address, workers > 1, buffers).map(Arc::new));
    let udp = udp.collect::<io::Result<Vec<_>>>();
    let udp = udp.map_err(|source| ServeError::bind(Transport::Udp, address, source))?;
    Ok(Bind { address, proxies: None, tcp, udp })
}

/// A listener that waits for connections already.
pub(super) fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    // Connections of a server that ended a moment ago (TIME_WAIT) must not keep us from starting.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Answers are written when they are complete: nothing is gained by holding back (Nagle).
    // What is accepted inherits this, which saves a system call per connection.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = socket.into();
    // A query comes with its connection, so the thread is woken once for both. Best effort.
    let _ = defer_accept(&listener, SILENCE);
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::deferral;

    #[test]
    fn what_is_accepted_does_not_hold_answers_back() {
        let bound = bind("127.0.0.1:0".parse().unwrap(), 1, Buffers::USUAL).unwrap();
        bound.tcp.set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(bound.address).unwrap();
        let (accepted, _) = bound.tcp.accept().unwrap();
        assert!(accepted.nodelay().unwrap(), "inherited from the listener");
    }

    #[test]
    fn connections_come_with_their_query() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(bound) = bind(address.parse().unwrap(), 1, Buffers::USUAL) else {
                eprintln!("SKIPPED: no {address}");
                continue;
            };
            assert_eq!(deferral(&bound.tcp).unwrap(), SILENCE, "{address}");
        }
    }
}
