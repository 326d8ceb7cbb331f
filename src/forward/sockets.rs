//! The UDP sockets towards upstreams: many, connected, short-lived.
//!
//! An answer forged off path must guess id and port (RFC 5452 section 4.5).
//! The kernel gives each socket a random port; each query picks one of up to
//! [`POOL`] sockets at random; and a socket is replaced after [`USES`] queries,
//! so that the set of ports keeps changing. A fresh socket per query would cost
//! five times the CPU (measured with other servers), a single one would leave
//! 16 bits to guess.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};

/// Most sockets per upstream.
pub(super) const POOL: usize = 256;
/// Queries after which a socket is replaced.
pub(super) const USES: u32 = 512;
/// Tries to find an id that is not in flight on a socket.
const ID_TRIES: usize = 16;

/// A query that went out: where its response will come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// The socket.
    pub(super) token: Token,
    /// The message id.
    pub(super) id: u16,
}

#[derive(Debug)]
struct Socket {
    io: UdpSocket,
    upstream: SocketAddr,
    uses: u32,
    /// No longer in the pool: closed once nothing waits on it.
    retired: bool,
    /// Exchange by message id.
    waiting: HashMap<u16, u64>,
}

/// All sockets of one engine.
#[derive(Debug)]
pub(super) struct Sockets {
    registry: Registry,
    open: HashMap<Token, Socket>,
    pools: HashMap<SocketAddr, Vec<Option<Token>>>,
    next_token: usize,
}

impl Sockets {
    /// Sockets registered with `registry`, tokens from `first` on.
    pub(super) fn new(registry: Registry, first: usize) -> Self {
        Self { registry, open: HashMap::new(), pools: HashMap::new(), next_token: first }
    }

    /// Picks a socket and an id for a query of `exchange` to `upstream`.
    pub(super) fn reserve(&mut self, upstream: SocketAddr, exchange: u64) -> io::Result<Sent> {
        for _ in 0..ID_TRIES {
            let token = self.pick(upstream)?;
            let Some(socket) = self.open.get_mut(&token) else { continue };
            let id = rand::random::<u16>();
            if let std::collections::hash_map::Entry::Vacant(free) = socket.waiting.entry(id) {
                free.insert(exchange);
                socket.uses += 1;
                return Ok(Sent { token, id });
            }
        }
        Err(io::Error::other("no free message id"))
    }

    /// Sends `query` on the socket of `sent`.
    pub(super) fn send(&mut self, sent: Sent, query: &[u8]) -> io::Result<()> {
        let socket = self.open.get(&sent.token).ok_or(io::ErrorKind::NotConnected)?;
        match socket.io.send(query) {
            Ok(_) => Ok(()),
            // The send buffer is full: as good as lost on the way, and the
            // resend covers it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Nothing is expected for `sent` any more.
    pub(super) fn release(&mut self, sent: Sent) {
        if let Some(socket) = self.open.get_mut(&sent.token) {
            socket.waiting.remove(&sent.id);
            if socket.retired && socket.waiting.is_empty() {
                self.close(sent.token);
            }
        }
    }

    /// Receives one datagram.
    pub(super) fn receive(&self, token: Token, buf: &mut [u8]) -> io::Result<usize> {
        self.open.get(&token).ok_or(io::ErrorKind::WouldBlock)?.io.recv(buf)
    }

    /// The exchange that waits for `id` on the socket.
    pub(super) fn waiting(&self, token: Token, id: u16) -> Option<u64> {
        self.open.get(&token)?.waiting.get(&id).copied()
    }

    /// Everything that waits on the socket.
    pub(super) fn all_waiting(&self, token: Token) -> Vec<(u16, u64)> {
        self.open
            .get(&token)
            .map(|socket| socket.waiting.iter().map(|(id, exchange)| (*id, *exchange)).collect())
            .unwrap_or_default()
    }

    /// Closes the pools of upstreams that `keep` does not name.
    pub(super) fn retain(&mut self, keep: &[SocketAddr]) {
        let gone: Vec<SocketAddr> =
            self.pools.keys().filter(|known| !keep.contains(known)).copied().collect();
        for upstream in gone {
            for token in self.pools.remove(&upstream).unwrap_or_default().into_iter().flatten() {
                self.retire(token);
            }
        }
    }

    /// Number of open sockets.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.open.len()
    }

    fn pick(&mut self, upstream: SocketAddr) -> io::Result<Token> {
        let slot = rand::random_range(0..POOL);
        let pool = self.pools.entry(upstream).or_insert_with(|| vec![None; POOL]);
        let token = pool.get(slot).copied().flatten();
        if let Some(token) = token {
            let used_up = self.open.get(&token).is_none_or(|socket| socket.uses >= USES);
            if !used_up {
                return Ok(token);
            }
        }
        match self.open_socket(upstream) {
            Ok(fresh) => {
                if let Some(place) = self.pools.get_mut(&upstream).and_then(|pool| pool.get_mut(slot)) {
                    *place = Some(fresh);
                }
                if let Some(old) = token {
                    self.retire(old);
                }
                Ok(fresh)
            }
            // Out of file descriptors: any other socket of this upstream
            // serves, a used-up one too.
            Err(error) => {
                let pool = self.pools.get(&upstream);
                pool.and_then(|pool| pool.iter().flatten().next()).copied().ok_or(error)
            }
        }
    }

    fn open_socket(&mut self, upstream: SocketAddr) -> io::Result<Token> {
        let any = match upstream.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        // Port 0: Linux takes a random free one of its range for UDP.
        let mut io = UdpSocket::bind(SocketAddr::new(any, 0))?;
        // Connected, so that the kernel drops what comes from elsewhere and
        // tells of ICMP errors.
        io.connect(upstream)?;
        let token = Token(self.next_token);
        self.next_token += 1;
        self.registry.register(&mut io, token, Interest::READABLE)?;
        let socket = Socket { io, upstream, uses: 0, retired: false, waiting: HashMap::new() };
        self.open.insert(token, socket);
        Ok(token)
    }

    fn retire(&mut self, token: Token) {
        if let Some(socket) = self.open.get_mut(&token) {
            socket.retired = true;
            if socket.waiting.is_empty() {
                self.close(token);
            }
        }
    }

    fn close(&mut self, token: Token) {
        if let Some(mut socket) = self.open.remove(&token)
            && let Err(error) = self.registry.deregister(&mut socket.io)
        {
            tracing::debug!(upstream = %socket.upstream, %error, "upstream socket not deregistered");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets() -> (mio::Poll, Sockets) {
        let poll = mio::Poll::new().unwrap();
        let sockets = Sockets::new(poll.registry().try_clone().unwrap(), 1);
        (poll, sockets)
    }

    #[test]
    fn rfc5452_ports_are_many_and_keep_changing() {
        let (_poll, mut sockets) = sockets();
        let upstream = "127.0.0.1:9".parse().unwrap();
        let mut ports = std::collections::HashSet::new();
        let mut ids = std::collections::HashSet::new();
        let mut tokens = std::collections::HashSet::new();
        for _ in 0..10_000 {
            let sent = sockets.reserve(upstream, 1).unwrap();
            ids.insert(sent.id);
            tokens.insert(sent.token);
            ports.insert(sockets.open[&sent.token].io.local_addr().unwrap().port());
            sockets.release(sent);
        }
        assert_eq!(sockets.len(), POOL);
        assert!(ports.len() > POOL / 2, "{}", ports.len());
        assert!(ids.len() > 8_000, "{}", ids.len());
        let before = sockets.open.len();
        for _ in 0..(POOL as u32 * USES) {
            let sent = sockets.reserve(upstream, 1).unwrap();
            tokens.insert(sent.token);
            sockets.release(sent);
        }
        assert_eq!(sockets.len(), before);
        assert!(tokens.len() > POOL, "sockets are replaced");
    }

    #[test]
    fn a_retired_socket_stays_while_something_waits_on_it() {
        let (_poll, mut sockets) = sockets();
        let upstream = "127.0.0.1:9".parse().unwrap();
        let sent = sockets.reserve(upstream, 7).unwrap();
        sockets.retain(&[]);
        assert_eq!(sockets.waiting(sent.token, sent.id), Some(7));
        sockets.release(sent);
        assert_eq!(sockets.len(), 0);
    }
}
