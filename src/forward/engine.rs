//! The engine: one thread, one set of sockets, all exchanges, in passes.
//!
//! ```text
//! wait ─▶ receive ─▶ take what is queued ─▶ timers ─▶ send queries ─▶ tell clients
//! ```
//!
//! Every step of a pass does all that there is of its kind, so that a system
//! call moves many datagrams and the clock is read once: at a hundred questions
//! in flight a pass moves some tens of them. Queries leave at the end of the
//! pass, over one random socket per handful; responses to clients leave after
//! them, over the socket that each came by ([`super::at_end_of_pass`]).
//! Rejected: an engine per packet worker, which would need no queue, but then
//! equal questions of two workers would meet nowhere.

mod ask;
mod linger;
mod probe;
mod receive;
#[cfg(test)]
mod replay;
mod send;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashTable;

use crate::metrics::forward::{ForwardMetrics, Mismatch};
use crate::places::slots::place;
use crate::places::{Slots, Wheel};
use crate::socket::{Batch, Outbox};
use crate::wire::Ede;

use super::cache::{Key, ResponseCache};
use super::clock;
use super::entry::Entry;
use super::exchange::{Exchange, LOOPS, NEVER, Next};
use super::governor::{Begun, Governor};
use super::inbox::{Handle, Inbox, Work};
use super::kept::Kept;
use super::pace::Governed;
use super::peers::Peers;
use super::read::Scratch;
use super::sockets::Sockets;
use super::streams::Streams;
use super::tables::{Swap, Tables};
use super::{Local, Submission, pass};

use linger::Lingering;
use probe::Probes;

/// Datagrams that one call receives: more than a socket is given at once.
const BATCH: usize = 64;
/// Length of a tick of the timers, in milliseconds.
const TICK_MS: u64 = 4;
/// Questions and datagrams between two moments in which a worker may have the
/// core: one that waits for it waits no longer than these take, about half a millisecond.
const MOST_MOVED: usize = 128;
/// Pause after an error of the wait, which may last.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// What the engine works with.
pub(super) struct Shared {
    /// Rules and limits.
    pub(super) tables: Arc<Swap>,
    /// Where responses are kept.
    pub(super) cache: Arc<ResponseCache>,
    /// What is counted.
    pub(super) metrics: Arc<ForwardMetrics>,
    /// The snapshot.
    pub(super) local: Arc<dyn Local>,
    /// Connections to upstreams.
    pub(super) streams: Streams,
    /// What upstreams may be sent, and whether they answer.
    pub(super) governor: Arc<Governor>,
    /// When the clock of all that began.
    pub(super) begun: Begun,
}

/// The time of a pass, since the engine started.
#[derive(Clone, Copy, Debug, Default)]
struct Now {
    ms: u64,
    us: u64,
}

/// All exchanges, and what they need.
pub(crate) struct Engine {
    shared: Shared,
    tables: Arc<Tables>,
    version: u64,
    sockets: Sockets,
    inbox: Arc<Inbox>,
    /// What was queued, while it is worked off.
    work: Vec<Work>,
    exchanges: Slots<Exchange>,
    /// Equal questions meet here: exchanges by the key of their question.
    by_key: HashTable<u64>,
    /// One timer per exchange.
    wheel: Wheel,
    peers: Peers,
    state: Governed,
    probes: Probes,
    lingering: Lingering,
    waiters: usize,
    /// Sockets with datagrams.
    ready: Vec<u64>,
    /// Places whose timers are due.
    due: Vec<u32>,
    /// Absent while its messages are read.
    batch: Option<Batch>,
    outbox: Outbox,
    scratch: Scratch,
    /// Questions and datagrams since a worker could have the core.
    moved: usize,
    start: Instant,
    now: Now,
}

impl Engine {
    /// An engine that does nothing before it is driven, and the way into it.
    pub(super) fn new(shared: Shared) -> io::Result<(Self, Handle)> {
        let inbox = Inbox::new()?;
        let sockets = Sockets::new(&inbox.waker)?;
        let (tables, version) = (shared.tables.load(), shared.tables.version());
        let (begun, peers) = (shared.begun, Peers::default());
        let mut state = Governed::new(Arc::clone(&shared.governor), begun);
        state.refresh(&peers, &tables.upstreams(), &tables.limits);
        let engine = Self {
            shared,
            tables,
            version,
            sockets,
            inbox: Arc::clone(&inbox),
            work: Vec::new(),
            exchanges: Slots::new(),
            by_key: HashTable::new(),
            wheel: Wheel::new(TICK_MS, 0),
            peers,
            state,
            probes: Probes::default(),
            lingering: Lingering::default(),
            waiters: 0,
            ready: Vec::new(),
            due: Vec::new(),
            batch: Some(Batch::new(BATCH)),
            outbox: Outbox::default(),
            scratch: Scratch::default(),
            moved: 0,
            start: begun.start(),
            now: Now::default(),
        };
        Ok((engine, Handle { inbox }))
    }

    /// Starts the thread `forward`, which drives it until the [`Handle`] is dropped.
    pub(crate) fn spawn(mut self) -> io::Result<()> {
        std::thread::Builder::new().name("forward".to_owned()).spawn(move || self.run()).map(drop)
    }

    fn run(&mut self) {
        pass::begin();
        while !self.inbox.is_stopping() {
            self.refresh();
            self.wait(Self::timeout);
            self.pass();
        }
        self.stop();
        pass::finish();
    }

    /// Lets a worker have this core, after some work, that waits for it. Not
    /// after each pass: then each would be interrupted for a few queries.
    fn give_way(&mut self) {
        if self.moved >= MOST_MOVED {
            self.moved = 0;
            std::thread::yield_now();
        }
    }

    /// All that there is to do after a wait.
    #[inline]
    fn pass(&mut self) {
        self.look_at_the_clock();
        self.receive_all();
        self.give_back();
        self.drain();
        self.expire();
        self.probe();
        self.flush();
        pass::end();
        self.give_way();
        self.shared.metrics.set_load(self.exchanges.len(), self.waiters);
    }

    /// Takes over reloaded tables.
    fn refresh(&mut self) {
        let version = self.shared.tables.version();
        if version == self.version {
            return;
        }
        self.version = version;
        self.tables = self.shared.tables.load();
        let limits = &self.tables.limits;
        let (upstreams, peers) = (self.tables.upstreams(), &self.peers);
        self.state.refresh(peers, &upstreams, limits);
        self.shared.streams.configure(&upstreams, limits.streams);
        self.sockets.retain(|peer| peers.get(peer).is_some_and(|peer| upstreams.contains(&peer.upstream)));
    }

    /// Milliseconds until something is due, if nothing comes before; -1 for ever.
    fn timeout(&self) -> i32 {
        let Some(next) = self.next_due() else { return -1 };
        // A millisecond more, since the time now is cut down to one.
        i32::try_from((next + 1).saturating_sub(self.now.ms)).unwrap_or(i32::MAX)
    }

    /// Waits until something comes, or for `timeout` milliseconds at most.
    #[inline]
    fn wait(&mut self, timeout: impl FnOnce(&Self) -> i32) {
        self.ready.clear();
        let is_current = || self.version == self.shared.tables.version();
        let timeout = if self.inbox.sleep(is_current) { timeout(self) } else { 0 };
        let waited = self.sockets.wait(timeout, &mut self.ready);
        self.inbox.awake();
        if let Err(error) = waited {
            // Not the end of the thread; the pause keeps a lasting error
            // from taking a whole core.
            tracing::error!(%error, "forward poll failed");
            std::thread::sleep(ERROR_PAUSE);
        }
    }

    fn look_at_the_clock(&mut self) {
        let passed = clock::now().saturating_duration_since(self.start);
        let us = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        self.now = Now { ms: us / 1000, us };
    }

    /// `at` on the engine's clock, rounded up.
    fn time_of(&self, at: Instant) -> u64 {
        let us = at.saturating_duration_since(self.start).as_micros().div_ceil(1000);
        u64::try_from(us).unwrap_or(NEVER)
    }

    fn receive_all(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        for port in ready.drain(..) {
            self.receive(port);
        }
        self.ready = ready;
    }

    fn drain(&mut self) {
        let mut work = std::mem::take(&mut self.work);
        self.inbox.take(&mut work);
        self.moved += work.len();
        for work in work.drain(..) {
            match work {
                Work::Ask(submission) => self.ask(submission),
                Work::Stream { exchange, task, result } => self.stream_done(exchange, task, result),
                Work::Probe { id, result } => self.probe_done(id, result),
            }
        }
        self.work = work;
    }

    fn expire(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.turn(self.now.ms, &mut due);
        for place in due.drain(..) {
            let Some(id) = self.exchanges.token(place) else { continue };
            if let Some(exchange) = self.exchanges.get(id) {
                exchange.armed = NEVER;
                // The wheel is shorter than most times are: then not yet.
                if exchange.due() <= self.now.ms { self.due(id) } else { self.arm(id) }
            }
        }
        self.due = due;
    }

    /// Something of `id` is due: a client's deadline, a resend, the end.
    fn due(&mut self, id: u64) {
        let (now, bounds) = (self.now.ms, self.tables.bounds);
        let Some(exchange) = self.exchanges.get(id) else { return };
        let clock = exchange.clock(now);
        let late = exchange.expired(now);
        if !late.is_empty() {
            self.waiters -= late.len();
            let interim = exchange.interim(&bounds, clock).map(Arc::new);
            for waiting in late {
                waiting.waiter.done(interim.clone());
            }
        }
        let Some(exchange) = self.exchanges.get(id) else { return };
        if exchange.deadline <= now {
            let next = self.give_up(id, clock);
            return self.step(id, next);
        }
        let (hedges, resends) = (exchange.ask.hedge_at <= now, exchange.ask.lines.due() <= now);
        if hedges {
            self.hedge(id);
        }
        if resends {
            self.resend(id);
        }
        self.arm(id);
    }

    /// Sets the exchange's timer.
    fn arm(&mut self, id: u64) {
        let Some(exchange) = self.exchanges.get(id) else { return };
        let due = exchange.due();
        if exchange.armed != due {
            exchange.armed = due;
            self.wheel.put(place(id), due);
        }
    }

    /// Does what `next` says until the exchange waits again or is over.
    /// Bounded: each turn uses up an upstream, the OPT, TCP, a name or the fallback.
    fn step(&mut self, id: u64, mut next: Next) {
        loop {
            let Some(exchange) = self.exchanges.get(id) else { return };
            let clock = exchange.clock(self.now.ms);
            if !exchange.stale.is_empty() || !exchange.stale_streams.is_empty() {
                let stale = std::mem::take(&mut exchange.stale);
                let streams = std::mem::take(&mut exchange.stale_streams);
                for one in stale {
                    self.abandon(one);
                }
                for one in streams {
                    self.abandon_stream(one);
                }
                continue;
            }
            next = match next {
                Next::Done(entry) => return self.finish(id, &Ok(Arc::new(entry))),
                Next::Fail(ede) => {
                    if ede == LOOPS {
                        self.shared.metrics.mismatch(Mismatch::Loop);
                    }
                    return self.finish(id, &Err(ede));
                }
                Next::Tcp => {
                    if self.start_stream(id) {
                        return self.arm(id);
                    }
                    let Some(exchange) = self.exchanges.get(id) else { return };
                    exchange.tcp_failed(self.shared.local.as_ref(), &self.tables.bounds, clock)
                }
                Next::Wait => return self.arm(id),
                Next::Again => {
                    if self.ask_next(id) || self.is_waiting(id) {
                        return self.arm(id);
                    }
                    self.give_up(id, clock)
                }
                Next::Move => {
                    // A response code moves on once, an error of the network
                    // to the end of the group.
                    let exhausted = exchange.ask.held.is_some()
                        && std::mem::replace(&mut exchange.ask.moved_by_rcode, true);
                    if !exhausted {
                        Next::Again
                    } else if self.is_waiting(id) {
                        return self.arm(id);
                    } else {
                        self.give_up(id, clock)
                    }
                }
                Next::WithoutOpt => {
                    exchange.ask.opt = false;
                    let same = exchange.ask.peer;
                    if same.is_some_and(|peer| self.queue_query(id, peer)) {
                        return self.arm(id);
                    }
                    Next::Move
                }
            };
        }
    }

    fn is_waiting(&self, id: u64) -> bool {
        self.exchanges.peek(id).is_some_and(|exchange| exchange.ask.is_waiting())
    }

    fn give_up(&mut self, id: u64, clock: u64) -> Next {
        let bounds = self.tables.bounds;
        match self.exchanges.get(id) {
            // Nobody is left who may say more than that.
            Some(exchange) if exchange.ask.partial.is_some() && exchange.deadline > self.now.ms => {
                let had_first = exchange.first.is_some();
                let next = exchange.tcp_failed(self.shared.local.as_ref(), &bounds, clock);
                self.count_fallback(id, had_first, &next);
                next
            }
            Some(exchange) => {
                let had_first = exchange.first.is_some();
                let next = exchange.give_up(&bounds, clock);
                if had_first {
                    let used = matches!(&next, Next::Done(entry) if entry.is_of_fallback());
                    self.shared.metrics.fallback(used);
                }
                next
            }
            None => Next::Fail(Ede::NETWORK_ERROR),
        }
    }

    /// Keeps the response and tells everybody who waits.
    fn finish(&mut self, id: u64, outcome: &Result<Arc<Entry>, Ede>) {
        let Some(exchange) = self.take_out(id) else { return };
        if let Ok(entry) = outcome {
            self.keep(&exchange.question.key, &entry.kept(), exchange.clock(self.now.ms));
        }
        for waiting in exchange.first_waiting.into_iter().chain(exchange.waiting) {
            waiting.waiter.done(outcome.clone());
        }
    }

    /// [`Self::finish`] with a response that was not copied yet.
    fn finish_kept(&mut self, id: u64, kept: &Kept<'_>) {
        let Some(exchange) = self.take_out(id) else { return };
        self.keep(&exchange.question.key, kept, exchange.clock(self.now.ms));
        for waiting in exchange.first_waiting.into_iter().chain(exchange.waiting) {
            waiting.waiter.take(kept);
        }
    }

    /// Puts a response into the cache.
    fn keep(&self, key: &Key, kept: &Kept<'_>, clock: u64) {
        self.shared.cache.insert(&key.as_ref(), kept, clock);
    }

    /// Ends the exchange; what is still out counts no more.
    fn take_out(&mut self, id: u64) -> Option<Exchange> {
        let mut exchange = self.exchanges.remove(id)?;
        self.wheel.take_out(place(id));
        let hash = exchange.question.key.as_ref().kept_hash();
        if let Ok(found) = self.by_key.find_entry(hash, |other| *other == id) {
            found.remove();
        }
        while let Some(one) = exchange.ask.outstanding.pop() {
            self.abandon(one);
        }
        for one in std::mem::take(&mut exchange.stale) {
            self.abandon(one);
        }
        for one in exchange.ask.streams.drain(..).chain(exchange.stale_streams.drain(..)) {
            self.abandon_stream(one);
        }
        self.waiters -= exchange.waiters();
        Some(exchange)
    }

    /// Nobody is left without an answer.
    fn stop(&mut self) {
        for id in self.exchanges.tokens() {
            self.finish(id, &Err(Ede::NETWORK_ERROR));
        }
        for work in self.inbox.close() {
            if let Work::Ask(Submission { waiter, .. }) = work {
                waiter.done(Err(Ede::NETWORK_ERROR));
            }
        }
    }
}
