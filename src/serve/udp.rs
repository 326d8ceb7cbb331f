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
//! 2. access, by source address alone: two comparisons while clients lie in
//!    the range that the one before was found in;
//! 3. the place of a rate limit: behind access, since only admitted clients
//!    are worth a bucket, and before anything that reads the message;
//! 4. the client's view, looked up only where the snapshot has variants;
//! 5. parsing, which folds and hashes the name in one pass;
//! 6. answering in place;
//! 7. counting: hits in a register, added once per batch; for one message of
//!    every 16th batch its time;
//! 8. the place of a query log: behind the count, where question and response
//!    both stand in the buffer, at the cost of one test while it is off.
//!
//! Everything but an admitted, well-formed question that the snapshot answers
//! with NOERROR is done by functions that are called. What the steps cost a
//! hit in instructions (benches/ceilings.toml has the sums): all but 5 and 6
//! about 130; a view that has a variant of the name about 240 more, one that
//! has none about 20. A rate limit will cost a look-up by client, of the
//! order of the view's 20, and the query log a copy of some 100 bytes.
//!
//! Clock reads per packet are none: the caller reads a clock once per batch,
//! the sample reads two per 16 batches. Locks are none: snapshot and policy
//! are two atomic loads per batch, counters are the worker's own.

mod ahead;
mod proxied;
mod reply;

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ahead::{FEW, read_ahead};

use super::access::{Known, Policies, Policy, PolicyReader};
use super::context;
use super::extras::{Admission, Asker, Extras, unix_seconds};
use super::reject::{deny, oversized, reject};
use crate::answer::{self, Context, Hit, Lookup, Outcome, Transport, answer};
use crate::config::Denied;
use crate::metrics::queries::{Dropped, Local, Shared};
use crate::resolve::{Origin, Resolved, Resolver};
use crate::snapshot::publish::{Publisher, Reader};
use crate::snapshot::{COLD, Snapshot};
use crate::socket::{BATCH_LEN, Batch, Message, Sender, Source, UdpSocket};
use crate::wire::{Flags, Offer, Query, Rcode, Reject, Response, Unusual, header};

pub use reply::UdpReply;

/// Every how many batches one message is timed; a power of two.
const SAMPLE_EVERY: usize = 16;

/// Turns queries into responses for one worker. On cache lines of its own: it
/// is written for every message.
#[derive(Debug)]
#[repr(align(128))]
pub struct Handler {
    snapshot: Reader,
    policy: PolicyReader,
    batches: usize,
    /// Read into again for each message: a fresh one would be moved about.
    query: Query,
    /// The same of a whole batch, where the table is so large that it is read ahead.
    ahead: Box<[Query]>,
    /// How many names such a table has at least.
    ahead_beyond: usize,
    /// Whether most of the last batch was answered from the response cache: then
    /// what that holds for the next is fetched ahead.
    is_cached: bool,
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
        let ahead = (0..BATCH_LEN).map(|_| Query::EMPTY).collect();
        Self {
            snapshot,
            policy,
            batches: 0,
            query: Query::EMPTY,
            ahead,
            ahead_beyond: COLD,
            is_cached: false,
            fixed,
        }
    }

    /// Reads tables of more than so many names ahead of a batch, other than
    /// [`COLD`]. For tests and benches.
    pub const fn read_ahead_beyond(&mut self, names: usize) {
        self.ahead_beyond = names;
    }

    /// Answers the messages of `batch`, received from `socket`, and queues
    /// the replies that are ready in it. `now` is coarse monotonic time in
    /// milliseconds. Returns how many went on to the forward thread.
    #[inline]
    pub fn batch(&mut self, now: u64, socket: &Arc<UdpSocket>, batch: &mut Batch) -> usize {
        let len = batch.len();
        let Self { snapshot, policy, batches, query, ahead, ahead_beyond, is_cached, fixed } = self;
        fixed.local.queries(Transport::Udp, len);
        let (policy, snapshot) = (policy.load(), snapshot.load());
        let looks_at_client = snapshot.has_views() || policy.cookies.is_required();
        let unix = Cell::new(0);
        let turn = Turn { now, socket, policy, snapshot, client: None, looks_at_client, unix: &unix };
        let sampled = sampled(*batches, len);
        *batches = batches.wrapping_add(1);
        let is_large = turn.snapshot.names() > *ahead_beyond;
        let is_ahead = (is_large || *is_cached) && len >= FEW;
        let read = if is_ahead { read_ahead(is_large.then_some(turn.snapshot), ahead, batch) } else { 0 };
        if *is_cached && read != 0 {
            fixed.resolver.fetch(ahead, read);
        }
        let mut known = Known::NOTHING;
        // Counted in a register, and once per batch where the scrape reads it.
        let mut hits = 0;
        let (mut others, mut forwarded) = (0, 0);
        for index in 0..len {
            let Some(message) = batch.message(index) else {
                continue;
            };
            let started = if index == sampled { Some(Instant::now()) } else { None };
            let (query, is_read) = match ahead.get_mut(index) {
                Some(query) if read >> index & 1 != 0 => (query, true),
                _ => (&mut *query, false),
            };
            let done = fixed.message(&turn, query, is_read, &mut known, message);
            match done.code {
                Code::Hit => hits += 1,
                Code::OtherHit | Code::Error => {}
                Code::Other => others += 1,
                Code::Nothing => continue,
                Code::Later => {
                    forwarded += 1;
                    continue;
                }
            }
            if let Some(started) = started
                && matches!(done.code, Code::Hit | Code::OtherHit)
            {
                fixed.local.answer_took(started.elapsed());
            }
            batch.reply(index, done.len);
        }
        *is_cached = 2 * others > len;
        if hits > 0 {
            fixed.local.udp_hits(hits);
        }
        if forwarded > 0 {
            // Once for all of them.
            fixed.resolver.ring();
        }
        forwarded
    }

    /// Takes the current snapshot, so that the one before can be let go though
    /// no message comes.
    pub fn look(&mut self) {
        self.snapshot.load();
    }

    /// Whether cached responses are fetched from memory ahead of the next
    /// batch: most of the last one's messages were answered from the cache.
    pub const fn fetches_ahead(&self) -> bool {
        self.is_cached
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
#[derive(Clone, Copy)]
struct Turn<'t> {
    now: u64,
    socket: &'t Arc<UdpSocket>,
    policy: &'t Policy,
    snapshot: &'t Arc<Snapshot>,
    /// The client, where a proxy named one; else the sender is.
    client: Option<IpAddr>,
    /// Whether the answer may depend on more than the question: on the
    /// client's view, or on its cookie.
    looks_at_client: bool,
    /// Unix seconds, once somebody asked; 0 before.
    unix: &'t Cell<u32>,
}

/// What became of a message.
#[derive(Clone, Copy)]
struct Done {
    code: Code,
    /// The length of the response.
    len: usize,
}

/// What is still to be done for a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Code {
    /// To be counted as a hit with NOERROR, and sent.
    Hit,
    /// A hit with another code, NXDOMAIN mostly, to be sent; it is counted.
    OtherHit,
    /// From the response cache, to be sent; it is counted.
    Other,
    /// An error of our own, to be sent; it is counted.
    Error,
    /// Nothing.
    Nothing,
    /// To be answered when an upstream has answered.
    Later,
}

impl Done {
    const NOTHING: Self = Self { code: Code::Nothing, len: 0 };
}

impl Fixed {
    /// Answers one message. All that is not a hit is done by functions that are called.
    #[expect(clippy::inline_always, reason = "called at one place, and a call costs a tenth of a hit")]
    #[inline(always)]
    fn message(
        &self,
        turn: &Turn<'_>,
        query: &mut Query,
        is_read: bool,
        known: &mut Known,
        message: Message<'_>,
    ) -> Done {
        let Message { sender, len, truncated, buffer } = message;
        if sender.is_port_zero() {
            self.local.dropped(Dropped::PortZero);
            return Done::NOTHING;
        }
        let allow = &turn.policy.allow;
        let admitted = if let Some(client) = sender.v4_bits() {
            allow.admits_next_v4(client, known)
        } else {
            sender.v6_bits().is_some_and(|client| allow.admits_next_v6(client, known))
        };
        if !admitted {
            return self.deny(turn.policy, buffer, len, truncated);
        }
        let udp_size = turn.policy.udp_size;
        let view = if turn.looks_at_client {
            if turn.policy.cookies.is_required() {
                return self.unusual(turn, query, sender, truncated, len, buffer);
            }
            view_of(turn, sender)
        } else {
            0
        };
        let context = Context { transport: Transport::Udp, udp_size, view, is_client: true };
        if truncated || !is_read && query.read_usual(buffer.get(..len).unwrap_or_default()).is_err() {
            return self.unusual(turn, query, sender, truncated, len, buffer);
        }
        let mut out = Response::new(buffer, usize::MAX);
        match answer(query, &context, turn.snapshot, &mut out) {
            Outcome::Hit(Hit { rcode: Rcode::NOERROR, .. }) => Done { code: Code::Hit, len: out.len() },
            outcome => self.beyond(outcome, turn, query, context, sender, &mut out),
        }
    }

    /// Everything but a hit with NOERROR.
    #[inline(never)]
    fn beyond(
        &self,
        outcome: Outcome,
        turn: &Turn<'_>,
        query: &Query,
        context: Context,
        sender: Sender<'_>,
        out: &mut Response<'_>,
    ) -> Done {
        let Some(peer) = sender.peer() else { return Done::NOTHING };
        let client = turn.client.unwrap_or(peer.ip());
        let reply = || self.later(turn.socket, client, peer, sender.source(), None);
        let resolved = self.resolver.go_on(outcome, query, &context, turn.snapshot, turn.now, out, reply);
        self.resolved(resolved, |len| len)
    }

    /// Counts what was resolved; `finish` makes the length out of that of the response.
    fn resolved(&self, resolved: Resolved, finish: impl FnOnce(usize) -> usize) -> Done {
        match resolved {
            Resolved::Ready { len, rcode, origin, lookup } => {
                if lookup == Some(Lookup::OwnMissing) {
                    self.local.own_missing();
                }
                self.counted(finish(len), rcode, origin)
            }
            Resolved::Pending => Done { code: Code::Later, len: 0 },
        }
    }

    /// What is no query, is one with EDNS options, or needs a cookie.
    #[cold]
    #[inline(never)]
    fn unusual(
        &self,
        turn: &Turn<'_>,
        query: &mut Query,
        sender: Sender<'_>,
        truncated: bool,
        len: usize,
        buffer: &mut [u8],
    ) -> Done {
        let Some(peer) = sender.peer() else { return Done::NOTHING };
        let (policy, client) = (turn.policy, turn.client.unwrap_or(peer.ip()));
        if truncated {
            let why = oversized(buffer);
            return self.reject(policy, buffer, &why, &Extras::NONE);
        }
        let asker = Asker { policy, client, transport: Transport::Udp, offer: Offer::default() };
        let message = buffer.get(..len).unwrap_or_default();
        let admission = match query.read_usual(message) {
            Ok(()) => asker.without_cookie(Extras::NONE),
            Err(Unusual::Options) => asker.admit(query, message, || turn.unix(), &self.local),
            Err(Unusual::Rejected(why)) => {
                let (why, extras) = asker.reject(why, message, || turn.unix(), &self.local);
                Admission::Reject(why, extras)
            }
        };
        let context = context(Transport::Udp, client, policy, turn.snapshot);
        let mut out = Response::new(buffer, usize::MAX);
        match admission {
            Admission::Reject(why, extras) => self.reject(policy, out.buffer(), &why, &extras),
            Admission::Truncate(extras) => {
                let len = truncated_response(query, context, &mut out);
                self.counted(extras.append(out.buffer(), len), Rcode::NOERROR, Origin::Error)
            }
            Admission::Answer(extras) => {
                let reply = || self.later(turn.socket, client, peer, sender.source(), extras.boxed());
                let resolved =
                    self.resolver.resolve(query, &context, turn.snapshot, turn.now, &mut out, reply);
                self.resolved(resolved, |len| extras.append(out.buffer(), len))
            }
        }
    }

    fn counted(&self, len: usize, rcode: Rcode, origin: Origin) -> Done {
        self.local.response(Transport::Udp, rcode, origin);
        let code = match origin {
            Origin::Hit => Code::OtherHit,
            Origin::Forward => Code::Other,
            Origin::Error => Code::Error,
        };
        Done { code, len }
    }

    #[cold]
    fn reject(&self, policy: &Policy, buffer: &mut [u8], why: &Reject, extras: &Extras) -> Done {
        match reject(why, policy.udp_size, buffer) {
            Ok((len, rcode)) => self.counted(extras.append(buffer, len), rcode, Origin::Error),
            Err(reason) => {
                self.local.dropped(reason.into());
                Done::NOTHING
            }
        }
    }

    #[cold]
    fn deny(&self, policy: &Policy, buffer: &mut [u8], len: usize, truncated: bool) -> Done {
        if policy.denied == Denied::Refuse
            && !truncated
            && let Some(len) = deny(buffer, len, Transport::Udp, policy.udp_size)
        {
            return self.counted(len, Rcode::REFUSED, Origin::Error);
        }
        self.local.dropped(Dropped::Denied);
        Done::NOTHING
    }

    #[cold]
    fn later(
        &self,
        socket: &Arc<UdpSocket>,
        client: IpAddr,
        peer: SocketAddr,
        source: Option<Source>,
        extras: Option<Box<Extras>>,
    ) -> UdpReply {
        UdpReply {
            socket: Arc::clone(socket),
            client,
            peer,
            source,
            extras,
            counters: self.shared.clone(),
            sent: false,
            pending: Some(self.pending.one()),
        }
    }
}

/// The view of a sender.
#[inline(never)]
fn view_of(turn: &Turn<'_>, sender: Sender<'_>) -> u8 {
    sender.ip().map_or(0, |client| context(Transport::Udp, client, turn.policy, turn.snapshot).view)
}

/// A response without records and with TC, so that the client comes by TCP.
fn truncated_response(query: &Query, context: Context, out: &mut Response<'_>) -> usize {
    let len = answer::error(query, &context, Rcode::NOERROR, None, out);
    let flags = header::flags(out.as_bytes()).unwrap_or_default();
    header::set_flags(out.buffer(), Flags(flags.0 | Flags::TC));
    len
}

impl Turn<'_> {
    /// Unix seconds, read once per batch at most.
    fn unix(&self) -> u32 {
        if self.unix.get() == 0 {
            self.unix.set(unix_seconds());
        }
        self.unix.get()
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
