//! The way into the engine: a bounded queue and a bell.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Instant;

use tokio::task;

use crate::metrics::forward::Rejection;
use crate::wire::Ede;

use super::Submission;
use super::reply::UpstreamReply;

/// What reaches the engine.
pub(super) enum Work {
    /// A question.
    Ask(Submission),
    /// The end of a question over a stream; `task` tells it from others of the exchange.
    Tcp { exchange: u64, task: task::Id, started: Instant, result: io::Result<UpstreamReply> },
}

/// The way in: a bounded queue and a bell.
#[derive(Debug)]
pub(super) struct Inbox {
    /// Places taken.
    pub(super) queued: AtomicUsize,
    /// Whether the engine waits, or is about to.
    pub(super) sleeping: AtomicBool,
    /// Whether the thread is to end.
    pub(super) stopping: AtomicBool,
    /// Ends the wait.
    pub(super) waker: mio::Waker,
}

impl Inbox {
    /// Rings only if the engine sleeps, so that a busy one costs no system call.
    pub(super) fn ring(&self) {
        if self.sleeping.swap(false, Ordering::SeqCst)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "forward thread not woken");
        }
    }
}

/// The engine as others hold it; dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) inbox: Arc<Inbox>,
    pub(super) work: Sender<Work>,
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Work")
    }
}

/// A place in the queue, to be filled.
#[derive(Debug)]
pub struct Place<'h> {
    handle: &'h Handle,
    filled: bool,
}

impl Place<'_> {
    /// Hands a question to the engine.
    pub fn submit(mut self, submission: Submission) {
        self.filled = true;
        if let Err(std::sync::mpsc::SendError(Work::Ask(back))) = self.handle.work.send(Work::Ask(submission))
        {
            // The thread is gone: nobody is left without an answer.
            self.handle.inbox.queued.fetch_sub(1, Ordering::SeqCst);
            back.waiter.done(Err(Ede::NETWORK_ERROR));
        }
        self.handle.inbox.ring();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.filled {
            self.handle.inbox.queued.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Handle {
    /// A place in the queue, if fewer than `limit` are taken.
    pub(super) fn reserve(&self, limit: usize) -> Result<Place<'_>, Rejection> {
        if self.inbox.stopping.load(Ordering::Relaxed) {
            return Err(Rejection::Stopping);
        }
        if self.inbox.queued.fetch_add(1, Ordering::SeqCst) >= limit.max(1) {
            self.inbox.queued.fetch_sub(1, Ordering::SeqCst);
            return Err(Rejection::InFlight);
        }
        Ok(Place { handle: self, filled: false })
    }

    /// Makes the engine look at its tables.
    pub(super) fn wake(&self) {
        self.inbox.ring();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Not joined: the last owner may be a waiter on the engine's thread.
        self.inbox.stopping.store(true, Ordering::SeqCst);
        self.inbox.sleeping.store(true, Ordering::SeqCst);
        self.inbox.ring();
    }
}
