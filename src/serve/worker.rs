//! A packet worker: one pinned thread that drains its sockets, batch by batch.
//!
//! Waiting is its own step ([`Worker::wait`]) and happens only after a pass
//! that found nothing; what waits there for longer or spins before it belongs
//! in that function alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

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
/// Longest wait without traffic, in milliseconds: an idle worker shows that it lives.
const BEAT_MS: i32 = 1000;
/// The token of the wake-up among those of the sockets.
const WAKE: u64 = u64::MAX;

/// Tells workers to end.
#[derive(Debug)]
pub(super) struct Stop {
    asked: AtomicBool,
    waker: Waker,
}

impl Stop {
    pub(super) fn new() -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self { asked: AtomicBool::new(false), waker: Waker::new()? }))
    }

    /// Asks all workers to answer what is queued and to end.
    pub(super) fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn is_asked(&self) -> bool {
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
    beat: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Listener {
    socket: Arc<UdpSocket>,
    /// Whether it had something when last looked at.
    busy: bool,
}

impl Worker {
    /// A worker for `sockets` that runs on `core`, if there is one to choose.
    pub(super) fn new(
        sockets: Vec<Arc<UdpSocket>>,
        handler: Handler,
        stop: Arc<Stop>,
        core: Option<usize>,
    ) -> std::io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&stop.waker, WAKE)?;
        for (token, socket) in (0..).zip(&sockets) {
            poller.add(socket, token)?;
        }
        let sockets = sockets.into_iter().map(|socket| Listener { socket, busy: true }).collect();
        Ok(Self { sockets, handler, stop, poller, core, beat: Arc::default() })
    }

    /// Grows while the worker runs, at least once a second: for a watchdog.
    pub(super) fn beat(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.beat)
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
            self.beat.store(self.beat.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            if !self.pass(batch, passes.is_multiple_of(REVISIT_EVERY)) {
                self.wait();
            }
        }
        for _ in 0..LAST_PASSES {
            if !self.pass(batch, true) {
                break;
            }
        }
    }

    /// Serves one batch of each busy socket, or of `all`. Returns whether any had something.
    fn pass(&mut self, batch: &mut Batch, all: bool) -> bool {
        let now = resolve::now();
        let mut found = false;
        for listener in &mut self.sockets {
            if !listener.busy && !all {
                continue;
            }
            listener.busy = match batch.receive(&listener.socket) {
                Ok(0) => false,
                Ok(_) => {
                    self.handler.batch(now, &listener.socket, batch);
                    let counters = self.handler.counters();
                    batch.send(&listener.socket, |fault| counters.fault(Operation::Send, fault));
                    true
                }
                Err(fault) => receive_failed(&self.handler, fault),
            };
            found |= listener.busy;
        }
        found
    }

    /// Waits until a socket has something or the worker is to stop.
    fn wait(&mut self) {
        let sockets = &mut self.sockets;
        let waited = self.poller.wait(BEAT_MS, |token| {
            if let Some(listener) = usize::try_from(token).ok().and_then(|token| sockets.get_mut(token)) {
                listener.busy = true;
            }
        });
        if let Err(error) = waited {
            // Without a wait the loop would spin; look at every socket after the pause.
            self.handler.counters().fault(Operation::Wait, Fault::of(&error));
            self.sockets.iter_mut().for_each(|listener| listener.busy = true);
            std::thread::sleep(ERROR_PAUSE);
        }
    }
}

/// Counts a failed receive. Errors about an earlier datagram are done with
/// when they are reported; the rest may last, and get a pause.
#[cold]
fn receive_failed(handler: &Handler, fault: Fault) -> bool {
    handler.counters().fault(Operation::Receive, fault);
    let passing = matches!(fault, Fault::Refused | Fault::Unreachable | Fault::TooLong | Fault::Forbidden);
    if !passing {
        std::thread::sleep(ERROR_PAUSE);
    }
    true
}
