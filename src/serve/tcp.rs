//! DNS over TCP (RFC 7766, RFC 9210): threads that accept connections within
//! limits and serve them.
//!
//! A connection that brings one query costs what the kernel asks for it:
//! accept, read, write, a read that finds the end, close. It comes with its
//! query (`TCP_DEFER_ACCEPT`), is answered at once, and is read again after the
//! next pass, by when most clients have closed: only those that have not are
//! given to epoll. Rejected: a task for each connection on tokio, where every
//! one is registered before it is read, woken from another thread and timed by
//! a timer of its own.
//!
//! ```text
//! wait ─▶ accept, answer ─▶ serve what is ready ─▶ read again what is new
//!   ▲                                                        │
//!   └───── nothing happened: epoll gets what is new ◀────────┘
//! ```

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::access::{AccessList, Policies};
use super::connection::{Common, Connection, Preface};
use super::framing::Output;
use super::gate::Gate;
use super::late::{Letter, Mailbox, Outcome};
use super::udp::Pending;
use super::worker::Stop;
use crate::config;
use crate::metrics::queries::{Dropped, Ended, Local, Operation, TurnedAway};
use crate::places::slots::{FIRST, place};
use crate::places::{Slots, Wheel};
use crate::resolve::{self, Resolver};
use crate::snapshot::publish::Publisher;
use crate::socket::{self, Event, Fault, Poller};
use crate::wire::Query;

/// Pause after an error of accept that the next call would meet again, in milliseconds.
const ACCEPT_PAUSE: u64 = 50;
/// Pause after a wait that failed.
const ERROR_PAUSE: Duration = Duration::from_millis(1);
/// Connections accepted before those that are open have their turn again.
const MOST_ACCEPTED: usize = 64;
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;
/// Ticks of the wheel within an idle timeout, and the longest tick in milliseconds.
const TICKS: u64 = 32;
const LONGEST_TICK: u64 = 250;
/// The tokens of what is no connection: below [`FIRST`], the listeners last.
const STOP: u64 = 0;
const DRAIN: u64 = 1;
const MAIL: u64 = 2;
const LISTENERS: u64 = 3;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) limits: Limits,
    pub(super) resolver: Resolver,
    pub(super) publisher: Arc<Publisher>,
    pub(super) policies: Arc<Policies>,
    pub(super) pending: Pending,
    pub(super) gate: Arc<Gate>,
    /// Threads that accept connections.
    pub(super) accepting: AtomicUsize,
}

/// The configured limits, times in milliseconds.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) max_queries_per_connection: usize,
    idle: u64,
    total: u64,
}

impl Limits {
    pub(super) fn new(config: &config::Tcp) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 4);
        Self {
            max_queries_per_connection: config.max_queries_per_connection.max(1),
            idle: millis(config.idle_timeout),
            total: millis(config.total_timeout),
        }
    }

    pub(super) const fn idle(&self) -> u64 {
        self.idle
    }

    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// The idle timeout as RFC 7828 writes it: in units of 100 ms.
    pub(super) fn keepalive(&self) -> u16 {
        u16::try_from(self.idle / 100).unwrap_or(u16::MAX)
    }
}

/// A thread that serves connections, before it runs. On cache lines of its own.
#[repr(align(128))]
pub(super) struct TcpWorker {
    common: Common,
    listeners: Vec<Listener>,
    stop: Arc<Stop>,
    drain: Arc<Stop>,
    connections: Slots<Connection>,
    wheel: Wheel,
    /// Connections that no poller watches yet.
    new: Vec<u64>,
    /// Which connection has its turn.
    current: Option<u64>,
    space: Box<[u8]>,
    // Kept for their memory.
    events: Vec<Event>,
    letters: Vec<Letter>,
    due: Vec<u32>,
}

/// On cache lines of its own, as threads made one after the other write theirs.
#[derive(Debug)]
#[repr(align(128))]
struct Listener {
    socket: Arc<TcpListener>,
    /// Whose connections start with a PROXY header; `None` where nobody's do.
    proxies: Option<Arc<AccessList>>,
    /// Connections to accept in one go. One where few come: looking for a second
    /// would be a system call in vain for each.
    budget: usize,
    /// Until when it is left alone after an error.
    paused: Option<u64>,
}

impl TcpWorker {
    /// A thread's worth of `listeners`, which it shares with others: each with
    /// those who send PROXY headers, where there are such.
    pub(super) fn new(
        listeners: &[(Arc<TcpListener>, Option<Arc<AccessList>>)],
        service: Arc<Service>,
        counters: Local,
        stop: Arc<Stop>,
        drain: Arc<Stop>,
    ) -> std::io::Result<Self> {
        let poller = Poller::new()?;
        let mailbox = Mailbox::new()?;
        stop.watch(&poller, STOP)?;
        drain.watch(&poller, DRAIN)?;
        poller.add_once_each(&mailbox.waker, MAIL)?;
        for (token, (listener, _)) in (LISTENERS..).zip(listeners) {
            poller.add_shared(listener, token)?;
        }
        let listeners = listeners.iter().map(|(socket, proxies)| Listener {
            socket: Arc::clone(socket),
            proxies: proxies.clone(),
            budget: 1,
            paused: None,
        });
        let now = resolve::now();
        let tick = (service.limits.idle / TICKS).min(LONGEST_TICK);
        service.accepting.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            listeners: listeners.collect(),
            stop,
            drain,
            connections: Slots::new(),
            wheel: Wheel::new(tick, now),
            new: Vec::new(),
            current: None,
            space: vec![0; READ_BYTES].into_boxed_slice(),
            events: Vec::new(),
            letters: Vec::new(),
            due: Vec::new(),
            common: Common {
                policy: service.policies.reader(),
                service,
                counters,
                mailbox,
                poller,
                query: Query::EMPTY,
                output: Output::new(),
                now,
            },
        })
    }

    /// Serves until told to stop.
    pub(super) fn run(mut self) {
        while !self.survives(Self::serve) {}
    }

    /// Does `work`; whether to its end. No message should panic. If one does, its
    /// connection ends, and no other.
    fn survives(&mut self, work: impl FnOnce(&mut Self)) -> bool {
        let done = catch_unwind(AssertUnwindSafe(|| work(self))).is_ok();
        if !done {
            self.common.counters.panicked();
            self.common.output.take();
            if let Some(token) = self.current.take() {
                self.remove(token, Ended::Error);
            }
        }
        done
    }

    fn serve(&mut self) {
        // After a panic: what the rest of that pass would have seen to. Nobody tells again.
        self.deliver();
        self.new = self.connections.tokens();
        while !self.stop.is_asked() {
            self.wait();
            let draining = self.drain.is_asked();
            if draining && !self.listeners.is_empty() {
                self.close_listeners();
            }
            let before = std::mem::take(&mut self.new);
            let mut events = std::mem::take(&mut self.events);
            let nothing_happened = events.is_empty();
            for event in events.drain(..) {
                match event.token {
                    STOP | DRAIN => {}
                    MAIL => self.deliver(),
                    token if token < FIRST => self.accept((token - LISTENERS) as usize),
                    token => self.turn(token, |it, common, space| it.ready(common, space, event.broken)),
                }
            }
            self.events = events;
            self.look_again(before, nothing_happened);
            self.check_times();
        }
    }

    /// Waits until something happens or is due.
    fn wait(&mut self) {
        let timeout = if self.new.is_empty() {
            let paused = self.listeners.iter().filter_map(|listener| listener.paused).min();
            let due = self.wheel.next().into_iter().chain(paused).min();
            // Up to the next millisecond: the time now is cut off at its last one.
            due.map_or(-1, |due| i32::try_from((due + 1).saturating_sub(resolve::now())).unwrap_or(i32::MAX))
        } else {
            0
        };
        let events = &mut self.events;
        if let Err(error) = self.common.poller.events(timeout, |event| events.push(event)) {
            self.common.counters.fault(Operation::Wait, Fault::of(&error));
            std::thread::sleep(ERROR_PAUSE);
        }
        self.common.now = resolve::now();
    }

    /// Reads again what was new one pass ago. When one came alone and nothing
    /// else is to be done it is too early for that, and the poller will tell.
    fn look_again(&mut self, before: Vec<u64>, nothing_happened: bool) {
        let too_early = nothing_happened && before.len() == 1;
        for &token in &before {
            let is_new = |it: &&mut Connection| !it.is_watched();
            let turn = !too_early && self.connections.get(token).as_ref().is_some_and(is_new);
            if turn {
                self.turn(token, |it, common, space| it.ready(common, space, false));
            }
            let Some(connection) = self.connections.get(token).filter(is_new) else { continue };
            if connection.watch(&self.common).is_err() {
                self.remove(token, Ended::Error);
            }
        }
        // Its memory is of use again.
        if self.new.is_empty() {
            self.new = before;
            self.new.clear();
        }
    }

    /// Lets a connection do something, and what follows from it.
    fn turn(&mut self, token: u64, act: impl FnOnce(&mut Connection, &mut Common, &mut [u8])) {
        let Some(connection) = self.connections.get(token) else { return };
        self.current = Some(token);
        let lingered = connection.lingers();
        act(connection, &mut self.common, &mut self.space);
        let ended = connection.settle(&mut self.common);
        if !lingered && connection.lingers() {
            // Nothing else moves a deadline closer.
            self.wheel.put(place(token), connection.deadline(&self.common));
        }
        self.current = None;
        if let Some(ended) = ended {
            self.remove(token, ended);
        }
    }

    fn remove(&mut self, token: u64, ended: Ended) {
        if self.connections.remove(token).is_some() {
            self.wheel.take_out(place(token));
            self.common.counters.ended(ended);
        }
    }

    /// Accepts what waits at a listener, within its budget.
    fn accept(&mut self, at: usize) {
        let Some(listener) = self.listeners.get_mut(at) else { return };
        let (socket, budget) = (Arc::clone(&listener.socket), listener.budget);
        listener.budget = (budget * 2).min(MOST_ACCEPTED);
        for _ in 0..budget {
            match socket::accept(&socket) {
                Ok((stream, peer)) => self.admit(at, stream, peer),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if let Some(listener) = self.listeners.get_mut(at) {
                        listener.budget = 1;
                    }
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let fault = Fault::of(&error);
                    self.common.counters.fault(Operation::Accept, fault);
                    // Accept also reports network errors of the new connection (accept(2)); those
                    // are done with. Without descriptors or memory it fails again at once.
                    let passing = matches!(
                        fault,
                        Fault::Aborted | Fault::Unreachable | Fault::Refused | Fault::Forbidden
                    );
                    if !passing {
                        self.pause(at);
                        return;
                    }
                }
            }
        }
    }

    /// Starts serving a connection from the listener `at`, or closes it.
    fn admit(&mut self, at: usize, stream: TcpStream, peer: SocketAddr) {
        let client = peer.ip();
        let proxies = self.listeners.get(at).and_then(|listener| listener.proxies.as_ref());
        let preface = match proxies {
            None => Preface::Nothing,
            Some(proxies) if proxies.admits(client) => Preface::Header,
            Some(_) => Preface::NoHeader,
        };
        let common = &mut self.common;
        // Of a proxy's connection its header tells who asks.
        let is_named = preface != Preface::Header;
        if is_named && !common.policy.load().allow.admits(client) {
            // A refusal would take a read first: closing tells as much, for less.
            common.counters.turned_away(TurnedAway::Denied);
            return;
        }
        let gate = &common.service.gate;
        let permit = if is_named { gate.admit(client) } else { gate.admit_unnamed() };
        let permit = match permit {
            Ok(permit) => permit,
            Err(reason) => {
                common.counters.turned_away(reason);
                return;
            }
        };
        common.counters.accepted();
        let now = common.now;
        let token =
            self.connections.insert(|token| Connection::new(stream, client, token, now, permit, preface));
        self.new.push(token);
        if let Some(connection) = self.connections.get(token) {
            self.wheel.put(place(token), connection.deadline(&self.common));
        }
        self.turn(token, |it, common, space| it.ready(common, space, false));
    }

    /// Leaves a listener alone for a while: told of it again and again, the thread would spin.
    fn pause(&mut self, at: usize) {
        if let Some(listener) = self.listeners.get_mut(at)
            && self.common.poller.remove(&listener.socket).is_ok()
        {
            listener.paused = Some(self.common.now + ACCEPT_PAUSE);
        }
    }

    /// Hands out what has arrived from other threads.
    fn deliver(&mut self) {
        let mut letters = std::mem::take(&mut self.letters);
        self.common.mailbox.empty(&mut letters);
        let mut touched: Vec<u64> = Vec::with_capacity(letters.len());
        for Letter { token, outcome } in letters.drain(..) {
            match (self.connections.get(token), outcome) {
                (Some(connection), outcome) => {
                    connection.late(outcome, &self.common);
                    touched.push(token);
                }
                (None, Outcome::Response(..)) => self.common.counters.dropped(Dropped::ClientGone),
                (None, Outcome::Abandoned) => self.common.counters.dropped(Dropped::Abandoned),
            }
        }
        self.letters = letters;
        // Once each, so that what arrived together goes out with one write.
        touched.sort_unstable();
        touched.dedup();
        for token in touched {
            self.turn(token, |_, _, _| {});
        }
    }

    /// Ends what has waited too long, and takes up what was left alone for long enough.
    fn check_times(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.turn(self.common.now, &mut due);
        for place in due.drain(..) {
            let Some(token) = self.connections.token(place) else { continue };
            let ended =
                self.connections.get(token).and_then(|connection| connection.check_time(&self.common));
            if let Some(ended) = ended {
                self.remove(token, ended);
                continue;
            }
            self.turn(token, |_, _, _| {});
            if let Some(connection) = self.connections.get(token) {
                self.wheel.put(place, connection.deadline(&self.common));
            }
        }
        self.due = due;
        for (token, listener) in (LISTENERS..).zip(&mut self.listeners) {
            if listener.paused.is_some_and(|until| until <= self.common.now) {
                let watched = self.common.poller.add_shared(&listener.socket, token);
                listener.paused = watched.is_err().then_some(self.common.now + ACCEPT_PAUSE);
            }
        }
    }

    /// Takes no more connections or queries; what is in flight is answered.
    fn close_listeners(&mut self) {
        for listener in self.listeners.drain(..) {
            // Others may have it open still.
            let _ = self.common.poller.remove(&listener.socket);
        }
        self.common.service.accepting.fetch_sub(1, Ordering::Release);
        for token in self.connections.tokens() {
            self.turn(token, |it, _, _| it.end(Ended::Drained));
        }
    }
}

#[cfg(test)]
mod tests;
