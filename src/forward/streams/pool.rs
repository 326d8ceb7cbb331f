//! The connections to one upstream: how many, which one takes a question, when
//! one more is opened, when one is closed.

mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OnceCell, oneshot};

use crate::config;
use crate::events::outside;
use crate::forward::reply::UpstreamReply;
use crate::forward::upstream::Upstream;
use crate::metrics::forward::{ForwardMetrics, UpstreamCounters};
use crate::metrics::streams::StreamFault;

use super::dial::{self, Driver, Opened};
use super::framed::Framed;
use super::https::Https;
use super::query::Prepared;
use super::{Answer, StreamError};

use state::{Slot, State};

/// How often a question moves on when connections end that have answered
/// others: some servers end theirs after a few, and what is asked meanwhile is
/// lost. From a connection that has answered nothing, once, unless the
/// question was never sent.
const MAX_MOVES: u32 = 8;
/// A failed upstream that is to be tried again within this is waited for.
const SHORT: Duration = Duration::from_millis(250);
/// Time for the last words on a connection that we close.
const FAREWELL: Duration = Duration::from_millis(100);

/// Why a connection gave no response.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It ended: another may do.
    Lost,
    /// It takes no more, and the question was not sent.
    Unsent,
    /// The upstream's fault, wherever the question is asked.
    Failed(StreamError),
}

/// What carries messages.
#[derive(Debug)]
pub(super) enum Carrier {
    /// TCP, or TLS.
    Framed(Framed),
    /// HTTP/2 in TLS.
    Https(Https),
}

/// One connection.
#[derive(Debug)]
struct Connection {
    id: u64,
    carrier: Carrier,
    /// Tells the driving task to close it.
    stop: Notify,
}

impl Connection {
    async fn ask(&self, query: &Arc<Prepared>) -> Result<UpstreamReply, Trouble> {
        match &self.carrier {
            Carrier::Framed(framed) => framed.ask(query).await,
            Carrier::Https(https) => https.ask(query).await,
        }
    }

    fn is_open(&self) -> bool {
        match &self.carrier {
            Carrier::Framed(framed) => framed.is_open(),
            Carrier::Https(https) => https.is_open(),
        }
    }

    fn is_worn(&self) -> bool {
        match &self.carrier {
            Carrier::Framed(framed) => framed.is_worn(),
            // A stream that is given up is reset, and leaves nothing behind.
            Carrier::Https(_) => false,
        }
    }

    fn answered(&self) -> u64 {
        match &self.carrier {
            Carrier::Framed(framed) => framed.answered(),
            Carrier::Https(https) => https.answered(),
        }
    }

    fn close(&self) {
        match &self.carrier {
            Carrier::Framed(framed) => framed.close(),
            Carrier::Https(https) => https.close(),
        }
    }
}

/// A place on a connection, given back when dropped.
#[derive(Debug)]
struct Lease {
    pool: Arc<Pool>,
    connection: Arc<Connection>,
    /// Whether the upstream has said something.
    heard: bool,
    /// Whether the connection has ended, or is about to.
    lost: bool,
    /// Whether nobody needs to learn that the place is free.
    quiet: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.release(self);
        if !self.quiet {
            self.pool.settle();
        }
    }
}

/// What becomes of a question that wants a place.
enum Step {
    Have(Lease),
    Wait(oneshot::Receiver<Result<Lease, StreamError>>),
    Sleep(Instant),
    Fail(StreamError),
}

/// What TLS keeps from one connection to the next, once it was needed.
type Tls = Arc<OnceCell<Arc<ClientConfig>>>;

/// The connections to one upstream.
#[derive(Debug)]
pub(super) struct Pool {
    upstream: Arc<Upstream>,
    counters: Arc<UpstreamCounters>,
    metrics: Arc<ForwardMetrics>,
    runtime: Handle,
    tls: Mutex<Tls>,
    state: Mutex<State>,
}

impl Pool {
    pub(super) fn new(
        upstream: Arc<Upstream>,
        limits: config::Streams,
        runtime: Handle,
        metrics: &Arc<ForwardMetrics>,
    ) -> Arc<Self> {
        let counters = metrics.upstream(&*upstream);
        let (metrics, tls) = (Arc::clone(metrics), Mutex::default());
        Arc::new(Self { upstream, counters, metrics, runtime, tls, state: Mutex::new(State::new(limits)) })
    }

    pub(super) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    pub(super) fn counters(&self) -> &UpstreamCounters {
        &self.counters
    }

    /// Takes over what a reload brings; the trusted certificates may be others
    /// in the same file.
    pub(super) fn configure(&self, limits: config::Streams) {
        self.lock().limits = limits;
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = Tls::default();
    }

    /// Nothing more is asked; connections end with their last response.
    pub(super) fn close(&self) {
        let waiting = {
            let mut state = self.lock();
            state.closed = true;
            for slot in &state.slots {
                if slot.in_flight == 0 {
                    slot.connection.stop.notify_one();
                }
            }
            std::mem::take(&mut state.waiting)
        };
        for sender in waiting {
            let _ = sender.send(Err(removed()));
        }
    }

    /// Asks, on another connection again if one ends and `again` lets it. The
    /// caller bounds the time.
    pub(super) async fn exchange(
        self: &Arc<Self>,
        query: Arc<Prepared>,
        again: &mut (impl FnMut() -> bool + Send),
    ) -> Result<Answer, StreamError> {
        let mut moves = 0;
        loop {
            let (mut lease, at_once) = self.lease().await?;
            let connection = Arc::clone(&lease.connection);
            let outcome = connection.ask(&query).await;
            lease.lost = matches!(outcome, Err(Trouble::Lost | Trouble::Unsent));
            lease.heard = !lease.lost;
            drop(lease);
            match outcome {
                Ok(reply) => return Ok(Answer { reply, at_once: at_once && moves == 0 }),
                Err(Trouble::Failed(error)) => return Err(error),
                Err(trouble @ (Trouble::Lost | Trouble::Unsent)) => {
                    let is_free = matches!(trouble, Trouble::Unsent) || connection.answered() > 0;
                    let most = if is_free { MAX_MOVES } else { 1 };
                    if moves >= most {
                        return Err(StreamError::new(
                            StreamFault::Lost,
                            format!("{} connections", moves + 1),
                        ));
                    }
                    // What was never sent takes nothing of what may be sent.
                    if matches!(trouble, Trouble::Lost) && !again() {
                        return Err(StreamError::new(StreamFault::OverBudget, ""));
                    }
                    moves += 1;
                    self.counters.streams.moved();
                }
            }
        }
    }

    /// Waits for a place, and gives it back.
    pub(super) async fn ready(self: &Arc<Self>) -> Result<(), StreamError> {
        self.lease().await.map(drop)
    }

    /// Waits for a place; with it, whether there was one at once.
    async fn lease(self: &Arc<Self>) -> Result<(Lease, bool), StreamError> {
        let mut at_once = true;
        loop {
            match self.step() {
                Step::Have(lease) => return Ok((lease, at_once)),
                Step::Wait(place) => {
                    let lease = place.await.unwrap_or_else(|_| Err(removed()))?;
                    return Ok((lease, false));
                }
                Step::Sleep(until) => tokio::time::sleep_until(until.into()).await,
                Step::Fail(error) => return Err(error),
            }
            at_once = false;
        }
    }

    fn step(self: &Arc<Self>) -> Step {
        let now = Instant::now();
        let mut state = self.lock();
        if state.closed {
            return Step::Fail(removed());
        }
        let best = state.best(now);
        if let Some((at, false)) = best
            && let Some(lease) = self.take(&mut state, at, now)
        {
            return Step::Have(lease);
        }
        if state.may_dial(now) && state.waiting.len() >= state.room_to_come() {
            self.dial(&mut state);
        }
        if state.dialing == 0
            && let Some((at, _)) = best
            && let Some(lease) = self.take(&mut state, at, now)
        {
            return Step::Have(lease);
        }
        if state.dialing > 0 || !state.slots.is_empty() {
            if state.waiting.len() >= state.capacity().saturating_add(state.room_to_come()) {
                return Step::Fail(StreamError::new(StreamFault::Busy, ""));
            }
            let (sender, place) = oneshot::channel();
            state.waiting.push_back(sender);
            return Step::Wait(place);
        }
        match state.retry_at {
            Some(at) if at.saturating_duration_since(now) <= SHORT => Step::Sleep(at),
            _ => Step::Fail(state.backing_off()),
        }
    }

    /// Gives a place away.
    fn take(self: &Arc<Self>, state: &mut State, at: usize, now: Instant) -> Option<Lease> {
        let slot = state.slots.get_mut(at)?;
        let connection = slot.enter(now);
        self.counters.streams.begin(slot.asked > 1);
        Some(Lease { pool: Arc::clone(self), connection, heard: false, lost: false, quiet: false })
    }

    fn release(&self, lease: &Lease) {
        self.counters.streams.end();
        let mut state = self.lock();
        let recovered = lease.heard && state.succeeded();
        state.leave(lease, Instant::now());
        drop(state);
        if recovered {
            tracing::info!(upstream = %self.upstream, "upstream connected again");
        }
    }

    /// Gives free places to those who wait, opens what is missing, and lets
    /// nobody wait for what will not come.
    fn settle(self: &Arc<Self>) {
        loop {
            let now = Instant::now();
            let mut state = self.lock();
            while state.waiting.front().is_some_and(oneshot::Sender::is_closed) {
                state.waiting.pop_front();
            }
            if state.waiting.is_empty() {
                return;
            }
            let best = state.best(now).filter(|(_, silent)| !silent || state.dialing == 0);
            let Some((at, _)) = best else {
                if state.may_dial(now) && state.waiting.len() > state.room_to_come() {
                    self.dial(&mut state);
                }
                let error = state.backing_off();
                return fail_if_hopeless(state, &error);
            };
            let sender = state.waiting.pop_front();
            let lease = self.take(&mut state, at, now);
            drop(state);
            // Who has left meanwhile gives the place back, for the next in
            // line: by this loop, as each turn within a turn takes stack.
            if let (Some(sender), Some(lease)) = (sender, lease)
                && let Err(Ok(mut back)) = sender.send(Ok(lease))
            {
                back.quiet = true;
            }
        }
    }

    fn dial(self: &Arc<Self>, state: &mut State) {
        state.dialing += 1;
        let (pool, limits) = (Arc::clone(self), state.limits);
        let tls = Arc::clone(&self.tls.lock().unwrap_or_else(PoisonError::into_inner));
        self.runtime.spawn(async move {
            let result = dial::open(&pool.upstream, &tls, limits, &pool.metrics).await;
            pool.dialed(result);
        });
    }

    fn dialed(self: Arc<Self>, result: Result<Opened, StreamError>) {
        match result {
            Ok(Opened { carrier, driver, resumed }) => {
                self.counters.streams.connected();
                if let Some(resumed) = resumed {
                    self.counters.streams.handshake(resumed);
                }
                let mut state = self.lock();
                state.dialing -= 1;
                state.next_id += 1;
                let connection = Arc::new(Connection { id: state.next_id, carrier, stop: Notify::new() });
                if state.closed {
                    connection.stop.notify_one();
                }
                state.slots.push(Slot::new(Arc::clone(&connection), Instant::now()));
                drop(state);
                self.runtime.spawn(Arc::clone(&self).drive(connection, driver));
            }
            Err(error) => {
                self.counters.streams.connection_failed();
                let mut state = self.lock();
                state.dialing -= 1;
                self.failed(&mut state, &error);
                // No second try on their behalf: the engine may know another upstream.
                fail_if_hopeless(state, &error);
            }
        }
        self.settle();
    }

    /// Notes a failure; the second in a row is told of.
    fn failed(&self, state: &mut State, error: &StreamError) {
        if state.failed(error.clone(), Instant::now()) {
            let reason = error.to_string();
            tracing::warn!(upstream = %self.upstream, reason = %outside(&reason), "upstream connections failing");
        }
    }

    /// Keeps a connection going until it ends, is idle, or is told to stop.
    async fn drive(self: Arc<Self>, connection: Arc<Connection>, mut driver: Driver) {
        let mut over = false;
        loop {
            let due = self.lock().idle_at(connection.id, Instant::now());
            tokio::select! {
                () = &mut driver => {
                    over = true;
                    break;
                }
                () = connection.stop.notified() => break,
                () = tokio::time::sleep_until(due.into()) => {
                    if self.lock().remove_idle(connection.id, Instant::now()) {
                        break;
                    }
                }
            }
        }
        self.ended(&connection);
        if !over {
            // What it still says interests nobody.
            let _ = tokio::time::timeout(FAREWELL, driver).await;
        }
    }

    fn ended(self: &Arc<Self>, connection: &Connection) {
        // Out of the pool first, so that whoever learns that it is lost does
        // not get it again.
        let mut state = self.lock();
        if let Some(slot) = state.remove(connection.id)
            && slot.asked > 0
            && connection.answered() == 0
        {
            self.failed(&mut state, &StreamError::new(StreamFault::Lost, "closed without a response"));
        }
        drop(state);
        connection.close();
        self.counters.streams.disconnected();
        self.settle();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without a connection, and none on its way, nobody is to wait.
fn fail_if_hopeless(mut state: MutexGuard<'_, State>, error: &StreamError) {
    if state.dialing > 0 || !state.slots.is_empty() {
        return;
    }
    let waiting = std::mem::take(&mut state.waiting);
    drop(state);
    for sender in waiting {
        let _ = sender.send(Err(error.clone()));
    }
}

fn removed() -> StreamError {
    StreamError::new(StreamFault::Lost, "the upstream was removed")
}
