//! The way into the engine: a bounded queue and a bell.
//!
//! The queue is a list under a lock that is held for one push, or for the
//! moment in which the engine takes the whole of it. Who asks many questions
//! in a row queues them all and rings once.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task;

use crate::metrics::forward::Rejection;
use crate::socket::Waker;
use crate::wire::Ede;

use super::Submission;
use super::streams::Answer;

/// What reaches the engine.
pub(super) enum Work {
    /// A question.
    Ask(Submission),
    /// The end of a query over a stream; `task` tells it from others of the exchange.
    Stream { exchange: u64, task: task::Id, result: io::Result<Answer> },
    /// The end of a probe over a stream.
    Probe { id: u64, result: io::Result<Answer> },
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Work")
    }
}

/// What is queued.
#[derive(Debug, Default)]
struct Queue {
    work: Vec<Work>,
    /// The engine is gone: nobody takes anything any more.
    closed: bool,
}

/// The way in.
#[derive(Debug)]
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    /// Places taken: questions that are queued, or about to be.
    taken: AtomicUsize,
    /// Whether the engine waits, or is about to.
    sleeping: AtomicBool,
    /// Whether the thread is to end.
    stopping: AtomicBool,
    /// Ends the wait.
    pub(super) waker: Waker,
}

impl Inbox {
    /// An empty one.
    pub(super) fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            queue: Mutex::default(),
            taken: AtomicUsize::new(0),
            sleeping: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            waker: Waker::new()?,
        }))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues `work`; gives it back once the engine is gone.
    pub(super) fn push(&self, work: Work) -> Option<Work> {
        let mut queue = self.queue();
        if queue.closed {
            return Some(work);
        }
        queue.work.push(work);
        None
    }

    /// Rings only if the engine sleeps, so that a busy one costs no system
    /// call. Whoever has pushed either is seen by the look before the sleep,
    /// or sees that it sleeps: the lock orders both.
    pub(super) fn ring(&self) {
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    /// Moves all that is queued to `work`, which is empty.
    pub(super) fn take(&self, work: &mut Vec<Work>) {
        {
            let mut queue = self.queue();
            if queue.work.is_empty() {
                return;
            }
            std::mem::swap(&mut queue.work, work);
        }
        let questions = work.iter().filter(|work| matches!(work, Work::Ask(_))).count();
        self.taken.fetch_sub(questions, Ordering::Relaxed);
    }

    /// The engine is about to sleep; `false` if something has come or is to be
    /// looked at, and it must not.
    pub(super) fn sleep(&self, idle: impl FnOnce() -> bool) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        let sleeps = self.queue().work.is_empty() && !self.is_stopping() && idle();
        if !sleeps {
            self.awake();
        }
        sleeps
    }

    /// The engine looks again.
    pub(super) fn awake(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }

    /// Whether the thread is to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// The engine ends: what is queued, and nothing more from now on.
    pub(super) fn close(&self) -> Vec<Work> {
        let mut queue = self.queue();
        queue.closed = true;
        std::mem::take(&mut queue.work)
    }
}

/// The engine as others hold it; dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) inbox: Arc<Inbox>,
}

/// A place in the queue, to be filled.
#[derive(Debug)]
pub struct Place<'h> {
    inbox: &'h Inbox,
    filled: bool,
}

impl Place<'_> {
    /// Hands a question to the engine.
    pub fn submit(self, submission: Submission) {
        let inbox = self.inbox;
        self.leave(submission);
        inbox.ring();
    }

    /// [`Place::submit`] without the bell: the engine may sleep on until
    /// [`super::Forwarder::ring`]. For several questions in a row.
    pub fn leave(mut self, submission: Submission) {
        self.filled = true;
        if let Some(Work::Ask(back)) = self.inbox.push(Work::Ask(submission)) {
            // The thread is gone: nobody is left without an answer.
            self.inbox.taken.fetch_sub(1, Ordering::Relaxed);
            back.waiter.done(Err(Ede::NETWORK_ERROR));
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.filled {
            self.inbox.taken.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Handle {
    /// A place in the queue, if fewer than `limit` are taken.
    pub(super) fn reserve(&self, limit: usize) -> Result<Place<'_>, Rejection> {
        if self.inbox.stopping.load(Ordering::Relaxed) {
            return Err(Rejection::Stopping);
        }
        if self.inbox.taken.fetch_add(1, Ordering::Relaxed) >= limit.max(1) {
            self.inbox.taken.fetch_sub(1, Ordering::Relaxed);
            return Err(Rejection::InFlight);
        }
        Ok(Place { inbox: &self.inbox, filled: false })
    }

    /// Makes the engine look at its tables.
    pub(super) fn wake(&self) {
        self.inbox.waker.wake();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Not joined: the last owner may be a waiter on the engine's thread.
        self.inbox.stopping.store(true, Ordering::SeqCst);
        self.inbox.waker.wake();
    }
}
