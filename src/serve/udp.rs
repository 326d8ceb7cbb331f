//! The packet path: a batch of datagrams in, a batch of responses out.
//!
//! [`Handler`] does everything between the two system calls of a batch:
//! access, parsing, resolving in place, counting. It allocates nothing, takes
//! no lock, reads no clock and logs nothing for a hit, so it is kept apart
//! from the thread that drives it and can be measured alone.
//!
//! The order of the steps for each message, cheapest reason to stop first:
//!
//! 1. source port 0, which nothing can be sent to;
//! 2. access, by source address alone;
//! 3. the place of a rate limit: behind access, since only admitted clients
//!    are worth a bucket, and before anything that reads the message;
//! 4. the client's view, looked up only where the snapshot has variants;
//! 5. parsing, which folds and hashes the name in one pass;
//! 6. answering in place;
//! 7. counting, and for one message of every 16th batch its time;
//! 8. the place of a query log: behind the count, where question and response
//!    both stand in the buffer, at the cost of one test while it is off.
//!
//! Clock reads per packet are none: the caller reads a clock once per batch,
//! the sample reads two per 16 batches. Locks are none: snapshot and policy
//! are two atomic loads per batch, counters are the worker's own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::access::{Policies, Policy, PolicyReader};
use super::context;
use super::reject::{deny, oversized, reject};
use crate::answer::{Lookup, Transport};
use crate::config::Denied;
use crate::metrics::queries::{Dropped, Local, Operation, Shared};
use crate::resolve::{Origin, Reply, Resolved, Resolver};
use crate::snapshot::Snapshot;
use crate::snapshot::publish::{Publisher, Reader};
use crate::socket::{Batch, Message, Source, UdpSocket};
use crate::wire::{Query, Rcode, Reject, Response};

/// Every how many batches one message is timed; a power of two.
const SAMPLE_EVERY: usize = 16;

/// Turns queries into responses for one worker.
#[derive(Debug)]
pub struct Handler {
    snapshot: Reader,
    policy: PolicyReader,
    batches: usize,
    /// Read into again for each message: a fresh one would be moved about.
    query: Query,
    fixed: Fixed,
}

/// What stays the same from batch to batch.
#[derive(Debug)]
struct Fixed {
    resolver: Resolver,
    local: Local,
    shared: Shared,
    pending: Pending,
}

impl Handler {
    /// A handler for one worker, which counts into `local`; what becomes
    /// ready later is counted into `shared` and, until then, by `pending`.
    pub fn new(
        resolver: Resolver,
        publisher: &Arc<Publisher>,
        policies: &Arc<Policies>,
        local: Local,
        shared: Shared,
        pending: Pending,
    ) -> Self {
        let fixed = Fixed { resolver, local, shared, pending };
        let (snapshot, policy) = (publisher.reader(), policies.reader());
        Self { snapshot, policy, batches: 0, query: Query::EMPTY, fixed }
    }

    /// Answers the messages of `batch`, received from `socket`, and queues
    /// the replies that are ready in it. `now` is coarse monotonic time in
    /// milliseconds.
    #[inline]
    pub fn batch(&mut self, now: u64, socket: &Arc<UdpSocket>, batch: &mut Batch) {
        let len = batch.len();
        self.fixed.local.queries(Transport::Udp, len);
        let turn = Turn { now, socket, policy: self.policy.load(), snapshot: self.snapshot.load() };
        let sampled = sampled(self.batches, len);
        self.batches = self.batches.wrapping_add(1);
        for index in 0..len {
            let Some(mut message) = batch.message(index) else {
                continue;
            };
            let source = message.source;
            let started = if index == sampled { Some(Instant::now()) } else { None };
            let Some(done) = self.fixed.message(&turn, &mut self.query, &mut message) else {
                continue;
            };
            if let Some(started) = started
                && done.origin == Origin::Hit
            {
                self.fixed.local.answer_took(started.elapsed());
            }
            self.fixed.local.response(Transport::Udp, done.rcode, done.origin);
            batch.reply(index, done.len, source);
        }
    }

    /// The counters of this worker.
    pub const fn counters(&self) -> &Local {
        &self.fixed.local
    }
}

/// The message of this batch to time, if there is one: the place rotates, since
/// the first message of a batch finds colder caches than the rest.
#[inline]
fn sampled(batches: usize, len: usize) -> usize {
    if !batches.is_multiple_of(SAMPLE_EVERY) {
        return usize::MAX;
    }
    (batches / SAMPLE_EVERY).checked_rem(len).unwrap_or(usize::MAX)
}

/// What is loaded once per batch.
struct Turn<'t> {
    now: u64,
    socket: &'t Arc<UdpSocket>,
    policy: &'t Policy,
    snapshot: &'t Arc<Snapshot>,
}

/// A response that stands in the buffer.
struct Done {
    len: usize,
    rcode: Rcode,
    origin: Origin,
}

impl Fixed {
    /// Answers one message. `None` where nothing is sent now.
    #[inline]
    fn message(&self, turn: &Turn<'_>, query: &mut Query, message: &mut Message<'_>) -> Option<Done> {
        let (peer, len, source) = (message.peer, message.len, message.source);
        if peer.port() == 0 {
            self.local.dropped(Dropped::PortZero);
            return None;
        }
        if !turn.policy.allow.admits(peer.ip()) {
            return self.deny(turn.policy, message);
        }
        let context = context(Transport::Udp, peer.ip(), turn.policy, turn.snapshot);
        if message.truncated {
            let why = oversized(&message.buffer[..]);
            return self.reject(turn.policy, message, &why);
        }
        if let Err(why) = query.read(message.buffer.get(..len)?) {
            return self.reject(turn.policy, message, &why);
        }
        let mut out = Response::new(&mut message.buffer[..], context.limit(query));
        let reply = || self.later(turn.socket, peer, source);
        match self.resolver.resolve(query, &context, turn.snapshot, turn.now, &mut out, reply) {
            Resolved::Ready { len, rcode, origin, lookup } => {
                if lookup == Some(Lookup::OwnMissing) {
                    self.local.own_missing();
                }
                Some(Done { len, rcode, origin })
            }
            Resolved::Pending => None,
        }
    }

    #[cold]
    fn reject(&self, policy: &Policy, message: &mut Message<'_>, why: &Reject) -> Option<Done> {
        match reject(why, policy.udp_size, &mut message.buffer[..]) {
            Ok((len, rcode)) => Some(Done { len, rcode, origin: Origin::Error }),
            Err(reason) => {
                self.local.dropped(reason.into());
                None
            }
        }
    }

    #[cold]
    fn deny(&self, policy: &Policy, message: &mut Message<'_>) -> Option<Done> {
        if policy.denied == Denied::Refuse && !message.truncated {
            let len = deny(&mut message.buffer[..], message.len, Transport::Udp, policy.udp_size);
            if let Some(len) = len {
                return Some(Done { len, rcode: Rcode::REFUSED, origin: Origin::Error });
            }
        }
        self.local.dropped(Dropped::Denied);
        None
    }

    #[cold]
    fn later(&self, socket: &Arc<UdpSocket>, peer: SocketAddr, source: Option<Source>) -> UdpReply {
        UdpReply {
            socket: Arc::clone(socket),
            peer,
            source,
            counters: self.shared.clone(),
            sent: false,
            _pending: self.pending.one(),
        }
    }
}

/// Sends a response that becomes ready on another thread, to the client and
/// from the address that was asked.
#[derive(Debug)]
pub struct UdpReply {
    socket: Arc<UdpSocket>,
    peer: SocketAddr,
    source: Option<Source>,
    counters: Shared,
    sent: bool,
    _pending: OnePending,
}

impl Reply for UdpReply {
    fn send(mut self: Box<Self>, response: Vec<u8>, rcode: Rcode, origin: Origin) {
        self.sent = true;
        match self.socket.send_to(&response, self.peer, self.source) {
            Ok(()) => self.counters.response(Transport::Udp, rcode, origin),
            Err(fault) => self.counters.fault(Operation::Send, fault),
        }
    }
}

impl Drop for UdpReply {
    fn drop(&mut self) {
        if !self.sent {
            self.counters.dropped(Dropped::Abandoned);
        }
    }
}

/// Counts queries that wait for an answer from elsewhere, so that a drain
/// knows when none is left.
#[derive(Clone, Debug, Default)]
pub struct Pending(Arc<AtomicUsize>);

impl Pending {
    /// Counts one until the value returned is dropped.
    pub fn one(&self) -> OnePending {
        self.0.fetch_add(1, Ordering::Relaxed);
        OnePending(Arc::clone(&self.0))
    }

    /// Queries that wait now.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// One query that waits.
#[derive(Debug)]
pub struct OnePending(Arc<AtomicUsize>);

impl Drop for OnePending {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
