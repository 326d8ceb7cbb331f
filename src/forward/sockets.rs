//! The UDP sockets towards upstreams: many, connected, short-lived.
//!
//! An answer forged off path must guess id and port (RFC 5452 section 4.5).
//! The kernel gives each socket a random port; a handful of queries that go
//! out together share one of [`POOL`] sockets picked at random, each with a
//! random id of its own; and a socket is replaced after [`USES`] queries, so
//! that the set of ports keeps changing. A fresh socket per query would cost
//! five times the CPU (measured with other servers), a single one would leave
//! 16 bits to guess.
//!
//! Queries that share a socket make no guess easier: a forger needs the port
//! and the id of the one question that it wants to poison, and both are as
//! random as if that question had gone alone. Equal questions, which would give
//! a guess several chances, are never in flight twice.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::net::SocketAddr;

use rand::Rng as _;
use rand::rngs::StdRng;

use crate::places::Slots;
use crate::socket::{Batch, Buffers, Fault, Outbox, Poller, UdpSocket, Waker};

use super::peers::PeerId;

/// Most sockets per upstream; a power of two.
pub(super) const POOL: usize = 256;
/// Queries after which a socket is replaced.
pub(super) const USES: u32 = 512;
/// Wrong ids on a socket within [`BURST_MS`] that are no accident: late and
/// repeated responses are known by their ids and are not among them. Somebody
/// who guesses at a port that he knows has tried 32 of 65,536 ids by then, a
/// chance of 1 in 2,048 for each question that waits there.
pub(super) const BURST: u32 = 32;
/// See [`BURST`].
const BURST_MS: u64 = 1000;
/// Tries to find an id that is not in use on a socket.
const ID_TRIES: usize = 16;
/// The receive buffer holds the responses to all that a socket ever has in
/// flight; few queries fit into what is sent at once.
const BUFFERS: Buffers = Buffers { receive: 1 << 20, send: 256 << 10 };
/// The token of the bell: those of sockets are larger.
const BELL: u64 = 0;
/// No socket.
const NONE: u64 = 0;

/// A query that went out: where its response will come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// The socket.
    pub(super) port: u64,
    /// The message id.
    pub(super) id: u16,
}

/// What a message id stands for on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// The response to a query of this exchange.
    By(u64),
    /// A response that comes too late, from this upstream, to what was sent at
    /// this time, in microseconds.
    Late(PeerId, u64),
    /// Nothing that was asked here.
    Nothing,
}

/// Ids are random already: one multiplication spreads them over the high bits,
/// which the map looks at first.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u16(u16::from(*byte));
        }
    }

    #[inline]
    fn write_u16(&mut self, id: u16) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// What is expected by message id.
type Ids = HashMap<u16, Expected, BuildHasherDefault<IdHasher>>;

#[derive(Debug)]
struct Port {
    io: UdpSocket,
    uses: u32,
    /// No longer in the pool: closed once nothing waits on it.
    retired: bool,
    ids: Ids,
    /// Ids that somebody waits for.
    live: u32,
    /// Wrong ids, since when.
    strays: (u32, u64),
}

/// All sockets of one engine, and the wait for them.
#[derive(Debug)]
pub(super) struct Sockets {
    poller: Poller,
    ports: Slots<Port>,
    /// By upstream.
    pools: Vec<Box<[u64]>>,
    /// A generator fit for keys: it makes its numbers in blocks, seeded by the system.
    random: StdRng,
}

impl Sockets {
    /// Without any socket; `bell` ends a wait.
    pub(super) fn new(bell: &Waker) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add_once_each(bell, BELL)?;
        Ok(Self { poller, ports: Slots::new(), pools: Vec::new(), random: rand::make_rng() })
    }

    /// Waits until a socket has something or the bell rings, at most
    /// `timeout_ms` (-1: for ever). Adds the sockets to `ready`.
    pub(super) fn wait(&self, timeout_ms: i32, ready: &mut Vec<u64>) -> io::Result<()> {
        self.poller.wait(timeout_ms, |token| {
            if token != BELL {
                ready.push(token);
            }
        })
    }

    /// A random one of the sockets towards `peer`, for a few queries.
    pub(super) fn pick(&mut self, peer: PeerId, address: SocketAddr) -> io::Result<u64> {
        let place = self.random.next_u32() as usize % POOL;
        let at = usize::from(peer.0);
        if self.pools.len() <= at {
            self.pools.resize_with(at + 1, || vec![NONE; POOL].into());
        }
        let token = self.pools.get(at).and_then(|pool| pool.get(place)).copied().unwrap_or(NONE);
        if self.ports.peek(token).is_some_and(|port| port.uses < USES) {
            return Ok(token);
        }
        match self.open(address) {
            Ok(fresh) => {
                if let Some(slot) = self.pools.get_mut(at).and_then(|pool| pool.get_mut(place)) {
                    *slot = fresh;
                }
                self.retire(token);
                Ok(fresh)
            }
            // Out of file descriptors: any other socket of this upstream
            // serves, a used-up one too.
            Err(error) => {
                let mut pool = self.pools.get(at).into_iter().flatten();
                pool.find(|token| self.ports.peek(**token).is_some()).copied().ok_or(error)
            }
        }
    }

    /// An id for a query of `exchange` on `port`; `None` if it found none.
    pub(super) fn assign(&mut self, port: u64, exchange: u64) -> Option<Sent> {
        let Self { ports, random, .. } = self;
        let socket = ports.get(port)?;
        for _ in 0..ID_TRIES {
            let id = random.next_u32() as u16;
            if let std::collections::hash_map::Entry::Vacant(free) = socket.ids.entry(id) {
                free.insert(Expected::By(exchange));
                socket.uses += 1;
                socket.live += 1;
                return Some(Sent { port, id });
            }
        }
        None
    }

    /// Sends what is queued on `port`; see [`Outbox::send`].
    pub(super) fn send(
        &mut self,
        port: u64,
        outbox: &mut Outbox,
        mut done: impl FnMut(usize, Result<(), Fault>),
    ) {
        if let Some(port) = self.ports.peek(port) {
            outbox.send(&port.io, done);
        } else {
            (0..outbox.len()).for_each(|number| done(number, Err(Fault::Other)));
            *outbox = Outbox::default();
        }
    }

    /// Receives what there is; `None` if the socket is gone.
    pub(super) fn receive(&self, port: u64, batch: &mut Batch) -> Option<Result<usize, Fault>> {
        Some(batch.receive(&self.ports.peek(port)?.io))
    }

    /// What a response with `id` would be.
    #[inline]
    pub(super) fn expected(&self, port: u64, id: u16) -> Expected {
        let ids = self.ports.peek(port).map(|port| &port.ids);
        ids.and_then(|ids| ids.get(&id)).copied().unwrap_or(Expected::Nothing)
    }

    /// The response came, or the query never left: the id is free.
    pub(super) fn release(&mut self, sent: Sent) {
        self.free(sent, |ids| ids.remove(&sent.id));
    }

    /// Nobody waits any more for the response to what was sent to `peer` at
    /// `at_us`, which may still come.
    pub(super) fn forget(&mut self, sent: Sent, peer: PeerId, at_us: u64) {
        self.free(sent, |ids| ids.insert(sent.id, Expected::Late(peer, at_us)));
    }

    fn free(&mut self, sent: Sent, take: impl FnOnce(&mut Ids) -> Option<Expected>) {
        let Some(port) = self.ports.get(sent.port) else { return };
        if matches!(take(&mut port.ids), Some(Expected::By(_))) {
            port.live = port.live.saturating_sub(1);
        }
        if port.retired && port.live == 0 {
            self.ports.remove(sent.port);
        }
    }

    /// A wrong id came; whether that makes a burst, while anybody waits here.
    /// The socket is then out of use for other queries.
    pub(super) fn stray(&mut self, port: u64, now: u64) -> bool {
        let Some(socket) = self.ports.get(port).filter(|socket| socket.live > 0) else { return false };
        let (count, since) = &mut socket.strays;
        if now.saturating_sub(*since) > BURST_MS {
            (*count, *since) = (0, now);
        }
        *count += 1;
        if *count < BURST {
            return false;
        }
        *count = 0;
        self.retire(port);
        true
    }

    /// Everything that waits on the socket.
    pub(super) fn waiting(&self, port: u64) -> Vec<(Sent, u64)> {
        let ids = self.ports.peek(port).map(|socket| &socket.ids);
        let live = ids.into_iter().flatten().filter_map(|(id, expected)| match expected {
            Expected::By(exchange) => Some((Sent { port, id: *id }, *exchange)),
            Expected::Late(..) | Expected::Nothing => None,
        });
        live.collect()
    }

    /// Closes the pools of upstreams that `keep` does not want.
    pub(super) fn retain(&mut self, keep: impl Fn(PeerId) -> bool) {
        for at in 0..self.pools.len() {
            if keep(PeerId(at as u16)) {
                continue;
            }
            let pool = self.pools.get_mut(at).map(|pool| std::mem::replace(pool, vec![NONE; POOL].into()));
            for token in pool.into_iter().flatten() {
                self.retire(token);
            }
        }
    }

    fn open(&mut self, address: SocketAddr) -> io::Result<u64> {
        let io = UdpSocket::connected(address, BUFFERS)?;
        let Self { ports, poller, .. } = self;
        let mut added = Ok(());
        let token = ports.insert(|token| {
            added = poller.add(&io, token);
            Port { io, uses: 0, retired: false, ids: Ids::default(), live: 0, strays: (0, 0) }
        });
        if let Err(error) = added {
            ports.remove(token);
            return Err(error);
        }
        Ok(token)
    }

    /// Takes the socket out of use; it closes, and so leaves the poller, once
    /// nobody waits on it.
    fn retire(&mut self, token: u64) {
        let Some(port) = self.ports.get(token) else { return };
        port.retired = true;
        port.uses = USES;
        if port.live == 0 {
            self.ports.remove(token);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const PEER: PeerId = PeerId(0);

    fn sockets() -> (Waker, Sockets) {
        let waker = Waker::new().unwrap();
        let sockets = Sockets::new(&waker).unwrap();
        (waker, sockets)
    }

    fn address() -> SocketAddr {
        "127.0.0.1:9".parse().unwrap()
    }

    fn sent(sockets: &mut Sockets, exchange: u64) -> Sent {
        let port = sockets.pick(PEER, address()).unwrap();
        sockets.assign(port, exchange).unwrap()
    }

    #[test]
    fn rfc5452_ports_are_many_and_keep_changing() {
        let (_waker, mut sockets) = sockets();
        let (mut ports, mut ids, mut tokens) = (HashSet::new(), HashSet::new(), HashSet::new());
        for _ in 0..10_000 {
            let sent = sent(&mut sockets, 1);
            ids.insert(sent.id);
            tokens.insert(sent.port);
            ports.insert(sockets.ports.peek(sent.port).unwrap().io.local_addr().port());
            sockets.release(sent);
        }
        assert_eq!(sockets.ports.len(), POOL);
        assert!(ports.len() > POOL / 2, "{}", ports.len());
        assert!(ids.len() > 8_000, "{}", ids.len());
        for _ in 0..(POOL as u32 * USES) {
            let sent = sent(&mut sockets, 1);
            tokens.insert(sent.port);
            sockets.release(sent);
        }
        assert_eq!(sockets.ports.len(), POOL);
        assert!(tokens.len() > POOL, "sockets are replaced");
    }

    #[test]
    fn a_retired_socket_stays_while_somebody_waits_on_it() {
        let (_waker, mut sockets) = sockets();
        let sent = sent(&mut sockets, 7);
        sockets.retain(|_| false);
        assert_eq!(sockets.expected(sent.port, sent.id), Expected::By(7));
        sockets.forget(sent, PEER, 0);
        assert_eq!((sockets.ports.len(), sockets.expected(sent.port, sent.id)), (0, Expected::Nothing));
    }

    #[test]
    fn a_late_response_is_told_from_a_guess() {
        let (_waker, mut sockets) = sockets();
        let sent = sent(&mut sockets, 7);
        sockets.forget(sent, PEER, 5);
        assert_eq!(sockets.expected(sent.port, sent.id), Expected::Late(PEER, 5));
        assert_eq!(sockets.expected(sent.port, sent.id ^ 1), Expected::Nothing);
        sockets.release(sent);
        assert_eq!(sockets.expected(sent.port, sent.id), Expected::Nothing);
    }

    #[test]
    fn a_burst_of_wrong_ids_is_seen_once_and_only_while_somebody_waits() {
        let (_waker, mut sockets) = sockets();
        let sent = sent(&mut sockets, 7);
        let burst = |sockets: &mut Sockets, step: u64| {
            (0..u64::from(BURST)).filter(|i| sockets.stray(sent.port, 5000 + i * step)).count()
        };
        assert_eq!(burst(&mut sockets, BURST_MS + 1), 0, "now and then one is nothing");
        assert_eq!(burst(&mut sockets, 0), 1);
        assert_ne!(sockets.pick(PEER, address()).unwrap(), sent.port, "the port is known: no more of it");
        assert_eq!(sockets.waiting(sent.port), [(sent, 7)]);
        sockets.release(sent);
        assert_eq!(burst(&mut sockets, 0), 0);
    }
}
