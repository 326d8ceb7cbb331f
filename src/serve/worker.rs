//! A packet worker: one pinned thread that drains its sockets, batch by batch.
//!
//! Waiting is its own step ([`Worker::wait`]) and happens only after a pass
//! that leaves nothing to expect: it looks for a while ([`Spin`]), where the
//! configuration allows that, and then sleeps until a socket has something.
//! There is no limit to that sleep, so a worker without traffic takes no time
//! at all; a watchdog that doubts it asks for a sign ([`Pulse::ask`]), and so
//! does who publishes a snapshot: a worker that sleeps would hold the old one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::access::AccessList;
use super::patience::Patience;
use super::spin::Spin;
use super::udp::Handler;
use crate::metrics::queries::Operation;
use crate::resolve;
use crate::socket::{self, BATCH_LEN, Batch, Fault, Poller, UdpSocket, Waker};

/// Every how many passes the sockets that were empty are looked at again while
/// others are busy. In between, an idle listener costs a busy one nothing.
const REVISIT_EVERY: u32 = 8;
/// Passes that a stopped worker spends at most on what is queued: more than a
/// receive buffer holds, and an end to a flood.
const LAST_PASSES: u32 = 1024;
/// Pause after an error that a socket keeps reporting (no memory, say).
const ERROR_PAUSE: Duration = Duration::from_millis(1);
/// Datagrams of a batch from which on more are expected. One alone is what
/// light traffic brings: looking again would find nothing, and cost a system
/// call per query. Sleeping is safe in any case: it ends at once if there is more.
const MORE_EXPECTED: usize = 2;
/// Pauses of the core between two looks at the sockets while spinning.
const PAUSES: usize = 16;
/// Sleep until something happens.
const NO_LIMIT: i32 = -1;
/// The tokens of the wake-ups among those of the sockets.
const STOP: u64 = u64::MAX;
const PULSE: u64 = u64::MAX - 1;

/// A worker's sign of life. On cache lines of its own: the worker writes it at
/// every pass, and beside another worker's it would take that one's line away.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Pulse {
    beat: AtomicU64,
    waker: Waker,
}

impl Pulse {
    /// A number that grows with every pass.
    pub(super) fn beat(&self) -> u64 {
        self.beat.load(Ordering::Relaxed)
    }

    /// Wakes the worker, so that it beats and takes the current snapshot though
    /// there is no traffic.
    pub(super) fn ask(&self) {
        self.waker.wake();
    }
}

/// Tells workers to end. All look at every pass: nothing that is written lies beside it.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Stop {
    asked: AtomicBool,
    waker: Waker,
}

impl Stop {
    pub(super) fn new() -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self { asked: AtomicBool::new(false), waker: Waker::new()? }))
    }

    /// Has `poller` tell under the name `token` when this is asked, once.
    pub(super) fn watch(&self, poller: &Poller, token: u64) -> std::io::Result<()> {
        poller.add_once_each(&self.waker, token)
    }

    /// Asks all workers to answer what is queued and to end.
    pub(super) fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }
}

/// One worker, before it runs.
#[derive(Debug)]
pub(super) struct Worker {
    sockets: Vec<Listener>,
    handler: Handler,
    stop: Arc<Stop>,
    poller: Poller,
    core: Option<usize>,
    spin: Spin,
    patience: Patience,
    pulse: Arc<Pulse>,
}

/// On cache lines of its own, as it is written at every pass.
#[derive(Debug)]
#[repr(align(128))]
struct Listener {
    socket: Arc<UdpSocket>,
    /// Whose datagrams start with a PROXY header; `None` where nobody's do.
    proxies: Option<Arc<AccessList>>,
    /// Whether it had something when last looked at.
    busy: bool,
}

impl Worker {
    /// A worker for `sockets` that runs on `core`, if there is one to choose; with
    /// each those who send PROXY headers to it, where there are such.
    pub(super) fn new(
        sockets: Vec<(Arc<UdpSocket>, Option<Arc<AccessList>>)>,
        handler: Handler,
        stop: Arc<Stop>,
        core: Option<usize>,
        spin: Duration,
    ) -> std::io::Result<Self> {
        let poller = Poller::new()?;
        let pulse = Arc::new(Pulse { beat: AtomicU64::new(0), waker: Waker::new()? });
        poller.add(&stop.waker, STOP)?;
        poller.add_once_each(&pulse.waker, PULSE)?;
        for (token, (socket, _)) in (0..).zip(&sockets) {
            poller.add(socket, token)?;
        }
        let sockets =
            sockets.into_iter().map(|(socket, proxies)| Listener { socket, proxies, busy: true }).collect();
        Ok(Self {
            sockets,
            handler,
            stop,
            poller,
            core,
            spin: Spin::new(spin),
            patience: Patience::default(),
            pulse,
        })
    }

    /// Its sign of life, for a watchdog.
    pub(super) fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }

    /// Serves until told to stop.
    pub(super) fn run(mut self) {
        if let Some(core) = self.core
            && let Err(error) = socket::pin(core)
        {
            // Best effort: a container may forbid it, and the answers are the same.
            tracing::debug!(core, %error, "worker not pinned");
        }
        let mut batch = Batch::new(BATCH_LEN);
        // No packet should panic. If one does, this worker's sockets would go on
        // receiving a share of all clients with nobody to answer.
        while catch_unwind(AssertUnwindSafe(|| self.serve(&mut batch))).is_err() {
            self.handler.counters().panicked();
        }
    }

    fn serve(&mut self, batch: &mut Batch) {
        let mut passes = 0u32;
        while !self.stop.is_asked() {
            passes = passes.wrapping_add(1);
            // A store is enough: this thread is the only writer.
            let beat = &self.pulse.beat;
            beat.store(beat.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            if self.pass(batch, passes.is_multiple_of(REVISIT_EVERY)) < MORE_EXPECTED {
                self.wait(batch);
            }
        }
        for _ in 0..LAST_PASSES {
            if self.pass(batch, true) == 0 {
                break;
            }
        }
    }

    /// Serves one batch of each busy socket, or of `all`. Returns how many datagrams the
    /// fullest of them had.
    fn pass(&mut self, batch: &mut Batch, all: bool) -> usize {
        let now = resolve::now();
        let mut most = 0;
        for listener in &mut self.sockets {
            if !listener.busy && !all {
                continue;
            }
            let found = match batch.receive(&listener.socket) {
                Ok(0) => 0,
                Ok(found) => {
                    let forwarded = match &listener.proxies {
                        None => self.handler.batch(now, &listener.socket, batch),
                        Some(proxies) => self.handler.proxied_batch(now, &listener.socket, proxies, batch),
                    };
                    self.patience.note(found, forwarded);
                    let counters = self.handler.counters();
                    batch.send(&listener.socket, |fault| counters.fault(Operation::Send, fault));
                    found
                }
                Err(fault) => receive_failed(&self.handler, fault),
            };
            listener.busy = found > 0;
            most = most.max(found);
        }
        most
    }

    /// Waits until a socket has something, or the worker is to stop or to beat.
    fn wait(&mut self, batch: &mut Batch) {
        if !self.spin.is_on() {
            self.sleep();
        } else if !self.find(batch) {
            let started = Instant::now();
            if self.sleep() {
                self.spin.slept(started.elapsed());
            }
        }
    }

    /// Looks for queries as long as that paid lately, and serves them; whether there were any.
    fn find(&mut self, batch: &mut Batch) -> bool {
        let length = self.spin.length();
        if length.is_zero() {
            return false;
        }
        let started = Instant::now();
        while started.elapsed() < length {
            if self.pass(batch, true) > 0 {
                self.spin.paid();
                return true;
            }
            for _ in 0..PAUSES {
                std::hint::spin_loop();
            }
        }
        self.spin.failed();
        false
    }

    /// Sleeps until something happens; whether that was a query.
    fn sleep(&mut self) -> bool {
        let sockets = &mut self.sockets;
        // What was left in a socket is told again.
        for listener in sockets.iter_mut() {
            listener.busy = false;
        }
        let (mut found, mut is_asked) = (false, false);
        let waited = self.poller.wait(NO_LIMIT, |token| {
            is_asked |= token == PULSE;
            if let Some(listener) = usize::try_from(token).ok().and_then(|token| sockets.get_mut(token)) {
                listener.busy = true;
                found = true;
            }
        });
        if let Err(error) = waited {
            // Without a wait the loop would spin; look at every socket after the pause.
            self.handler.counters().fault(Operation::Wait, Fault::of(&error));
            self.sockets.iter_mut().for_each(|listener| listener.busy = true);
            std::thread::sleep(ERROR_PAUSE);
        }
        if is_asked {
            self.handler.look();
        }
        found
    }
}

/// Counts a failed receive. Errors about an earlier datagram are done with
/// when they are reported; the rest may last, and get a pause. Another look is due.
#[cold]
fn receive_failed(handler: &Handler, fault: Fault) -> usize {
    handler.counters().fault(Operation::Receive, fault);
    let passing = matches!(fault, Fault::Refused | Fault::Unreachable | Fault::TooLong | Fault::Forbidden);
    if !passing {
        std::thread::sleep(ERROR_PAUSE);
    }
    MORE_EXPECTED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_workers_write_lies_in_lines_of_their_own() {
        // Made one after the other by one thread, in whatever memory lies next to each other.
        let alignments = [align_of::<Worker>(), align_of::<Listener>(), align_of::<Pulse>()];
        assert_eq!(alignments, [128; 3]);
        // What all of them read at every pass.
        assert_eq!((align_of::<Stop>(), align_of::<UdpSocket>()), (128, 128));
    }
}
