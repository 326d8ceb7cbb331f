//! Hot responses are renewed before they expire, so that nobody waits for them.
//!
//! A hit near the end of a hot response's life begins it: one comparison in
//! the packet worker, and for the first who sees it a question to the engine
//! that no client waits for. No more than a few run at a time; beyond that a
//! response simply expires and the next client asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::forward::cache::Key;
use crate::forward::entry::Entry;
use crate::forward::kept::Kept;
use crate::forward::{Submission, Waiter, clock};
use crate::metrics::forward::Renewal;
use crate::wire::{Ede, Query};

use super::Shared;
use super::cached::key_bits;
use super::pending::was_asked;

/// The renewals under way.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    running: AtomicUsize,
    max: AtomicUsize,
}

impl Renewals {
    /// Sets how many may run at a time; 0 for none.
    pub(super) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Whether the caller is to renew `kept`, whose end is near: if it is hot
    /// and nobody else does.
    #[cold]
    pub(super) fn take_up(&self, kept: &Kept<'_>) -> bool {
        self.max.load(Ordering::Relaxed) > 0 && kept.marks.is_hot() && kept.marks.renew()
    }
}

impl Shared {
    /// Asks for what answers `query` once more.
    #[cold]
    pub(super) fn renew(self: &Arc<Self>, query: &Query, own: bool, now: u64) {
        let Some(running) = Running::begin(self) else {
            return self.forwarder.metrics().cache().renewal(Renewal::Skipped);
        };
        let Some(question) =
            self.question(&query.qname, query.qtype, query.qclass, key_bits(query, own), own)
        else {
            return;
        };
        let Ok(place) = self.forwarder.reserve() else {
            return self.forwarder.metrics().cache().renewal(Renewal::Skipped);
        };
        // The whole exchange may pass: no client waits for it.
        let begun = clock::now();
        let expires = begun + self.forwarder.exchange_deadline();
        let waiter = Box::new(Renewing { key: question.key.clone(), now, begun, running });
        place.submit(Submission {
            question,
            now,
            expires: Some(expires),
            renewal: true,
            client: None,
            waiter,
        });
    }
}

/// One renewal; it counts until this is dropped.
struct Running(Arc<Shared>);

impl Running {
    fn begin(shared: &Arc<Shared>) -> Option<Self> {
        let renewals = &shared.renewals;
        if renewals.running.fetch_add(1, Ordering::Relaxed) >= renewals.max.load(Ordering::Relaxed) {
            renewals.running.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self(Arc::clone(shared)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.renewals.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits for the end of a renewal.
struct Renewing {
    key: Key,
    /// The workers' clock when it began, and the thread's.
    now: u64,
    begun: Instant,
    running: Running,
}

impl Waiter for Renewing {
    fn done(self: Box<Self>, outcome: Result<Arc<Entry>, Ede>) {
        let forwarder = &self.running.0.forwarder;
        // What was received stands in the cache already.
        let renewed = outcome.as_ref().is_ok_and(|entry| !entry.is_failure() && !entry.is_truncated());
        if !renewed && was_asked(&outcome) {
            forwarder.cache().fail(&self.key.as_ref(), self.now.saturating_add(clock::ms_since(self.begun)));
        }
        forwarder.metrics().cache().renewal(if renewed { Renewal::Renewed } else { Renewal::Failed });
    }
}
