//! The engine: one thread, one epoll set, all exchanges.

mod receive;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use crate::metrics::forward::{Failure, ForwardMetrics, Rejection, UpstreamCounters};
use crate::wire::Ede;

use super::cache::{KeptHash, Key, ResponseCache};
use super::entry::Entry;
use super::exchange::{Ask, Exchange, Next, Outstanding, OverStream, Waiting};
use super::inbox::{Handle, Inbox, Work};
use super::sockets::Sockets;
use super::streams::Streams;
use super::tables::{Swap, Tables};
use super::upstream::Upstream;
use super::{Local, Submission};

/// The token of the waker; sockets count from the next on.
const WAKER: Token = Token(0);
/// Datagrams read from one socket before the others get their turn.
const READS: usize = 64;
/// Clients that may wait in all, per question that may be in flight.
const WAITERS_PER_QUESTION: usize = 4;

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
}

/// Starts the thread `forward`.
pub(super) fn start(shared: Shared) -> io::Result<Handle> {
    let poll = Poll::new()?;
    let inbox = Arc::new(Inbox {
        queued: AtomicUsize::new(0),
        sleeping: AtomicBool::new(false),
        stopping: AtomicBool::new(false),
        waker: mio::Waker::new(poll.registry(), WAKER)?,
    });
    let (sender, work) = channel();
    let sockets = Sockets::new(poll.registry().try_clone()?, WAKER.0 + 1);
    let tables = shared.tables.load();
    let version = shared.tables.version();
    let mut engine = Engine {
        shared,
        tables,
        version,
        poll,
        sockets,
        inbox: Arc::clone(&inbox),
        work,
        sender: sender.clone(),
        exchanges: HashMap::new(),
        by_key: HashMap::with_hasher(KeptHash::default()),
        timers: BTreeSet::new(),
        counters: HashMap::new(),
        next: 1,
        waiters: 0,
        unread: Vec::new(),
        datagram: vec![0; 65_536],
        query: Vec::with_capacity(512),
    };
    std::thread::Builder::new().name("forward".to_owned()).spawn(move || engine.run())?;
    Ok(Handle { inbox, work: sender })
}

struct Engine {
    shared: Shared,
    tables: Arc<Tables>,
    version: u64,
    poll: Poll,
    sockets: Sockets,
    inbox: Arc<Inbox>,
    work: Receiver<Work>,
    /// For the results of TCP exchanges.
    sender: Sender<Work>,
    exchanges: HashMap<u64, Exchange>,
    /// Equal questions meet here.
    by_key: HashMap<Key, u64, KeptHash>,
    /// One timer per exchange.
    timers: BTreeSet<(Instant, u64)>,
    counters: HashMap<Arc<Upstream>, Arc<UpstreamCounters>>,
    next: u64,
    waiters: usize,
    /// Sockets with datagrams left after their turn.
    unread: Vec<Token>,
    datagram: Vec<u8>,
    query: Vec<u8>,
}

impl Engine {
    fn run(&mut self) {
        let mut events = Events::with_capacity(1024);
        while !self.inbox.stopping.load(Ordering::SeqCst) {
            self.refresh();
            self.drain();
            self.expire();
            self.shared.metrics.set_load(self.exchanges.len(), self.waiters);
            self.wait(&mut events);
            let mut ready: Vec<Token> = std::mem::take(&mut self.unread);
            ready.extend(events.iter().map(mio::event::Event::token).filter(|token| *token != WAKER));
            for token in ready {
                self.read(token);
            }
        }
        self.stop();
    }

    /// Takes over reloaded tables.
    fn refresh(&mut self) {
        let version = self.shared.tables.version();
        if version != self.version {
            self.version = version;
            self.tables = self.shared.tables.load();
            self.sockets.retain(&self.tables.upstreams());
            self.shared.streams.configure(&self.tables.all_upstreams(), self.tables.limits.streams);
        }
    }

    fn wait(&mut self, events: &mut Events) {
        // Whoever queues from here on rings; what was queued before is seen
        // by the last look below.
        self.inbox.sleeping.store(true, Ordering::SeqCst);
        let idle = self.inbox.queued.load(Ordering::SeqCst) == 0
            && self.unread.is_empty()
            && self.version == self.shared.tables.version()
            && !self.inbox.stopping.load(Ordering::SeqCst);
        let timeout = match self.timers.first() {
            _ if !idle => Some(Duration::ZERO),
            Some((due, _)) => Some(due.saturating_duration_since(Instant::now())),
            None => None,
        };
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                // Not the end of the thread; the pause keeps a lasting error
                // from taking a whole core.
                tracing::error!(%error, "forward poll failed");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        self.inbox.sleeping.store(false, Ordering::SeqCst);
    }

    fn drain(&mut self) {
        while let Ok(work) = self.work.try_recv() {
            match work {
                Work::Ask(submission) => {
                    self.inbox.queued.fetch_sub(1, Ordering::SeqCst);
                    self.ask(submission);
                }
                Work::Tcp { exchange, task, started, result } => {
                    self.inbox.queued.fetch_sub(1, Ordering::SeqCst);
                    self.tcp_done(exchange, task, started, result);
                }
            }
        }
    }

    /// A client's question: joins an exchange or begins one.
    fn ask(&mut self, submission: Submission) {
        let Submission { question, now: now_ms, expires, renewal, waiter } = submission;
        let now = Instant::now();
        let expires = expires.unwrap_or(now + self.tables.limits.client_deadline);
        // The answer may have come since the worker looked.
        if !renewal && let Some(entry) = self.shared.cache.get(&question.key.as_ref(), now_ms) {
            return waiter.done(Ok(Arc::new(entry)));
        }
        let limits = self.tables.limits;
        if self.waiters >= limits.max_in_flight.saturating_mul(WAITERS_PER_QUESTION).max(limits.max_waiters) {
            return self.reject(waiter, Rejection::Waiters);
        }
        let waiting = Waiting { expires, waiter };
        if let Some(id) = self.by_key.get(&question.key).copied()
            && let Some(exchange) = self.exchanges.get_mut(&id)
        {
            if exchange.waiters.len() >= limits.max_waiters {
                return self.reject(waiting.waiter, Rejection::Waiters);
            }
            exchange.waiters.push(waiting);
            self.waiters += 1;
            self.shared.metrics.coalesce();
            return self.arm(id);
        }
        if self.exchanges.len() >= limits.max_in_flight {
            return self.reject(waiting.waiter, Rejection::InFlight);
        }
        if question.group.upstreams.is_empty() {
            return self.reject(waiting.waiter, Rejection::NoUpstream);
        }
        let id = self.next;
        self.next += 1;
        self.by_key.insert(question.key.clone(), id);
        let ask = Ask::new(question.name.clone(), Arc::clone(&question.group));
        let exchange = Exchange {
            question,
            waiters: vec![waiting],
            started: (now, now_ms),
            deadline: now + limits.exchange_deadline,
            armed: None,
            ask,
            parts: Vec::new(),
            stale: Vec::new(),
            first: None,
        };
        self.exchanges.insert(id, exchange);
        self.waiters += 1;
        self.step(id, Next::Again);
    }

    fn reject(&mut self, waiter: Box<dyn super::Waiter>, rejection: Rejection) {
        self.shared.metrics.reject(rejection);
        let ede = match rejection {
            Rejection::NoUpstream => Ede { code: 23, text: "no upstream is known" },
            Rejection::InFlight | Rejection::Waiters | Rejection::Stopping | Rejection::Client => {
                Ede::OVERLOADED
            }
        };
        waiter.done(Err(ede));
    }

    /// Does what `next` says until the exchange waits again or is over.
    /// Bounded: each turn uses up an upstream, the OPT, TCP, a name or the fallback.
    fn step(&mut self, id: u64, mut next: Next) {
        let now = Instant::now();
        loop {
            let Some(exchange) = self.exchanges.get_mut(&id) else { return };
            for sent in exchange.stale.drain(..) {
                self.sockets.release(sent);
            }
            let clock = exchange.clock(now);
            next = match next {
                Next::Done(entry) => return self.finish(id, &Ok(Arc::new(entry))),
                Next::Fail(ede) => return self.finish(id, &Err(ede)),
                Next::Tcp => {
                    self.start_tcp(id);
                    return self.arm(id);
                }
                Next::Again => match exchange.ask.next_upstream() {
                    Some(upstream) if self.send(id, &upstream) => return self.arm(id),
                    Some(_) => Next::Again,
                    None if self.is_waiting(id) => return self.arm(id),
                    None => self.give_up(id, clock),
                },
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
                    let same = exchange.ask.upstream.clone();
                    match same {
                        Some(upstream) if self.send(id, &upstream) => return self.arm(id),
                        _ => Next::Move,
                    }
                }
            };
        }
    }

    fn is_waiting(&self, id: u64) -> bool {
        self.exchanges.get(&id).is_some_and(|exchange| exchange.ask.is_waiting())
    }

    fn give_up(&mut self, id: u64, clock: u64) -> Next {
        let bounds = self.tables.bounds;
        match self.exchanges.get_mut(&id) {
            Some(exchange) => {
                if exchange.first.is_some() {
                    self.shared.metrics.fallback(false);
                }
                exchange.give_up(&bounds, clock)
            }
            None => Next::Fail(Ede::NETWORK_ERROR),
        }
    }

    /// Sends the query of `id` to `upstream`; `false` if the network would not
    /// have it.
    fn send(&mut self, id: u64, upstream: &Arc<Upstream>) -> bool {
        if upstream.is_stream() {
            let Some(exchange) = self.exchanges.get_mut(&id) else { return false };
            exchange.ask.upstream = Some(Arc::clone(upstream));
            self.send_stream(id, upstream);
            return true;
        }
        let counters = self.counters(upstream);
        let Some(exchange) = self.exchanges.get_mut(&id) else { return false };
        let now = Instant::now();
        exchange.ask.upstream = Some(Arc::clone(upstream));
        // An earlier ICMP error on the socket surfaces at the first send, so
        // one more try tells whether this one fails.
        for _ in 0..2 {
            let Ok(sent) = self.sockets.reserve(upstream.address(), id) else { break };
            let opt = exchange.ask.opt.then_some(self.tables.limits.udp_bytes);
            exchange.question.write_query(&exchange.ask.name, sent.id, opt, &mut self.query);
            match self.sockets.send(sent, &self.query) {
                Ok(()) => {
                    counters.sent_udp();
                    let upstream = Arc::clone(upstream);
                    exchange.ask.outstanding.push(Outstanding { sent, upstream, at: now });
                    if !exchange.ask.resent {
                        exchange.ask.resend_at = Some(now + self.tables.limits.resend_after);
                    }
                    return true;
                }
                Err(error) => {
                    self.sockets.release(sent);
                    if error.kind() != io::ErrorKind::ConnectionRefused {
                        break;
                    }
                }
            }
        }
        counters.failed(Failure::Network);
        exchange.ask.network_error = true;
        false
    }

    fn start_tcp(&mut self, id: u64) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        for outstanding in exchange.ask.outstanding.drain(..) {
            self.sockets.release(outstanding.sent);
        }
        let Some(upstream) = exchange.ask.upstream.clone() else { return };
        self.send_stream(id, &upstream);
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.ask.resend_at = None;
        }
    }

    /// Sends the query of `id` over a connection to `upstream`.
    fn send_stream(&mut self, id: u64, upstream: &Arc<Upstream>) {
        let counters = self.counters(upstream);
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let now = Instant::now();
        exchange.ask.tcp_done = true;
        if !exchange.ask.resent {
            exchange.ask.resend_at = Some(now + self.tables.limits.resend_after);
        }
        let opt = exchange.ask.opt.then_some(self.tables.limits.udp_bytes);
        exchange.question.write_query(&exchange.ask.name, 0, opt, &mut self.query);
        let (sender, inbox) = (self.sender.clone(), Arc::clone(&self.inbox));
        let done = move |result| {
            let task = tokio::task::id();
            inbox.queued.fetch_add(1, Ordering::SeqCst);
            // An error means that the engine is gone, and with it who waits.
            let _ = sender.send(Work::Tcp { exchange: id, task, started: now, result });
            inbox.ring();
        };
        let task = self.shared.streams.ask(upstream, self.query.clone(), exchange.deadline, done);
        exchange.ask.streams.push(OverStream { task, upstream: Arc::clone(upstream), at: now });
        upstream.count_stream(&counters);
    }

    fn expire(&mut self) {
        let now = Instant::now();
        while let Some((due, id)) = self.timers.first().copied() {
            if due > now {
                return;
            }
            self.timers.pop_first();
            if let Some(exchange) = self.exchanges.get_mut(&id) {
                exchange.armed = None;
                self.due(id, now);
            }
        }
    }

    /// Something of `id` is due: a client's deadline, the resend, the end.
    fn due(&mut self, id: u64, now: Instant) {
        let bounds = self.tables.bounds;
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let clock = exchange.clock(now);
        let (late, waiting) = exchange.waiters.drain(..).partition(|waiting| waiting.expires <= now);
        exchange.waiters = waiting;
        let late: Vec<Waiting> = late;
        if !late.is_empty() {
            self.waiters -= late.len();
            let interim = exchange.interim(&bounds, clock).map(Arc::new);
            for waiting in late {
                waiting.waiter.done(interim.clone());
            }
        }
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        if exchange.deadline <= now {
            let next = self.give_up(id, clock);
            return self.step(id, next);
        }
        if exchange.ask.resend_at.is_some_and(|at| at <= now) {
            exchange.ask.resend_at = None;
            exchange.ask.resent = true;
            // What went over a stream is not lost: only another upstream helps.
            let same = exchange.ask.upstream.clone().filter(|upstream| !upstream.is_stream());
            if let Some(upstream) = exchange.ask.next_upstream().or(same)
                && !self.send(id, &upstream)
                && !self.is_waiting(id)
            {
                return self.step(id, Next::Again);
            }
        }
        self.arm(id);
    }

    /// Sets the exchange's timer.
    fn arm(&mut self, id: u64) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let due = exchange.due();
        if exchange.armed == Some(due) {
            return;
        }
        if let Some(armed) = exchange.armed.replace(due) {
            self.timers.remove(&(armed, id));
        }
        self.timers.insert((due, id));
    }

    /// Keeps the response and tells everybody who waits.
    fn finish(&mut self, id: u64, outcome: &Result<Arc<Entry>, Ede>) {
        let Some(exchange) = self.exchanges.remove(&id) else { return };
        self.by_key.remove(&exchange.question.key);
        if let Some(armed) = exchange.armed {
            self.timers.remove(&(armed, id));
        }
        let now = Instant::now();
        let clock = exchange.clock(now);
        for outstanding in &exchange.ask.outstanding {
            self.sockets.release(outstanding.sent);
        }
        let by_udp = exchange.ask.outstanding.iter().map(|sent| (&sent.upstream, sent.at));
        let by_stream = exchange.ask.streams.iter().map(|sent| (&sent.upstream, sent.at));
        for (upstream, at) in by_udp.chain(by_stream) {
            // What is out for less may still come: no failure of the upstream's.
            if now.saturating_duration_since(at) >= self.tables.limits.resend_after {
                self.counters(upstream).failed(Failure::Timeout);
            }
        }
        for sent in exchange.stale {
            self.sockets.release(sent);
        }
        self.waiters -= exchange.waiters.len();
        if let Ok(entry) = outcome {
            self.shared.cache.insert(&exchange.question.key.as_ref(), &entry.kept(), clock);
        }
        for waiting in exchange.waiters {
            waiting.waiter.done(outcome.clone());
        }
    }

    fn counters(&mut self, upstream: &Arc<Upstream>) -> Arc<UpstreamCounters> {
        if let Some(counters) = self.counters.get(upstream) {
            return Arc::clone(counters);
        }
        let counters = self.shared.metrics.upstream(&**upstream);
        self.counters.insert(Arc::clone(upstream), Arc::clone(&counters));
        counters
    }

    /// Nobody is left without an answer.
    fn stop(&mut self) {
        for (_, exchange) in self.exchanges.drain() {
            for waiting in exchange.waiters {
                waiting.waiter.done(Err(Ede::NETWORK_ERROR));
            }
        }
        while let Ok(work) = self.work.try_recv() {
            if let Work::Ask(submission) = work {
                submission.waiter.done(Err(Ede::NETWORK_ERROR));
            }
        }
    }
}
