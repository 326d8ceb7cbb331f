//! Forwarding: rules, the response cache, and the exchanges with upstreams.
//!
//! ```text
//! resolve ─▶ rules ─▶ cache ──hit──▶ respond (in the worker)
//!                       └─miss─▶ Forwarder::submit ─▶ engine thread
//!            coalesce ▸ UDP ▸ resend ▸ next upstream ▸ TCP ▸ chase ▸ fallback
//!                       └─▶ cache, then every Waiter
//! ```
//!
//! Queries go on as wire messages, so that class, DO, CD, unknown types and
//! extended errors survive; hickory-resolver's `Resolver` loses them. All
//! exchanges live on one thread with one epoll set: a task per packet costs
//! more than the packet. Encrypted upstreams, health, budgets and stale
//! answers will come in at [`exchange`] and [`sockets`].

pub mod cache;
pub mod chain;
mod engine;
pub mod entry;
mod exchange;
mod inbox;
pub mod question;
pub mod reply;
pub mod respond;
pub mod rules;
mod sockets;
pub mod system;
pub mod tables;
mod tcp;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::metrics::forward::{ForwardMetrics, Rejection};
use crate::metrics::{Export, Exporter};
use crate::wire::{Ede, Name};

use cache::ResponseCache;
use entry::Entry;
use question::Question;
use rules::Group;
use tables::{Partitions, Swap, Tables};

pub use inbox::Place;
pub use tables::Settings;

/// What the snapshot says about the targets of an upstream's chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Index of the first target that the snapshot answers: the response is
    /// the chain up to there, then ours.
    pub cut: Option<usize>,
    /// Whether a target is ours though not held: the fallback must not be asked.
    pub own: bool,
    /// Which snapshot said so; never 0.
    pub instance: u64,
}

/// The snapshot as forwarding sees it, which knows nothing of records.
pub trait Local: Send + Sync {
    /// Compares the targets of a chain with the current snapshot.
    fn split(&self, targets: &[Name], question: &Question) -> Split;

    /// The upstream group for `name`, by the forward rules.
    fn group(&self, name: &Name) -> Option<Arc<Group>>;
}

/// Someone who waits for the end of an exchange.
pub trait Waiter: Send {
    /// Takes the response, or the reason why there is none. Runs on the
    /// engine's thread: it must not block.
    fn done(self: Box<Self>, outcome: Result<Arc<Entry>, Ede>);
}

/// A question with someone who waits for its answer.
pub struct Submission {
    /// What to ask.
    pub question: Question,
    /// Coarse monotonic milliseconds, as the workers count them.
    pub now: u64,
    /// When the waiter gets an answer at the latest; `None` for the
    /// configured time from now.
    pub expires: Option<Instant>,
    /// Who waits.
    pub waiter: Box<dyn Waiter>,
}

/// Rules, cache and engine: everything between a miss and its answer.
#[derive(Debug)]
pub struct Forwarder {
    tables: Arc<Swap>,
    partitions: Partitions,
    cache: Arc<ResponseCache>,
    metrics: Arc<ForwardMetrics>,
    engine: inbox::Handle,
}

impl Forwarder {
    /// Starts the engine's thread. TCP exchanges run on `runtime`.
    pub fn start(
        settings: &Settings,
        runtime: tokio::runtime::Handle,
        local: impl FnOnce(Arc<Swap>) -> Arc<dyn Local>,
    ) -> io::Result<Self> {
        let partitions = Partitions::default();
        let tables = Arc::new(Swap::new(Tables::new(settings, &partitions)));
        let cache = Arc::new(ResponseCache::new(settings.cache.max_bytes));
        let metrics = Arc::new(ForwardMetrics::default());
        let local = local(Arc::clone(&tables));
        let shared = engine::Shared {
            tables: Arc::clone(&tables),
            cache: Arc::clone(&cache),
            metrics: Arc::clone(&metrics),
            local,
            runtime,
        };
        let engine = engine::start(shared)?;
        Ok(Self { tables, partitions, cache, metrics, engine })
    }

    /// Replaces rules, upstreams, limits and bounds. Cached responses of
    /// rules that did not change stay; exchanges in flight end as they began.
    pub fn reload(&self, settings: &Settings) {
        self.tables.replace(Tables::new(settings, &self.partitions));
        self.cache.set_max_bytes(settings.cache.max_bytes);
        self.engine.wake();
    }

    /// Rules and limits in force.
    #[inline]
    pub fn tables(&self) -> &Swap {
        &self.tables
    }

    /// The response cache.
    #[inline]
    pub fn cache(&self) -> &ResponseCache {
        &self.cache
    }

    /// The counters.
    #[inline]
    pub fn metrics(&self) -> &Arc<ForwardMetrics> {
        &self.metrics
    }

    /// Takes a place in the engine's queue, which is bounded.
    pub fn reserve(&self) -> Result<Place<'_>, Rejection> {
        let limit = self.tables.with(|tables| tables.limits.max_in_flight);
        self.engine.reserve(limit).inspect_err(|rejection| self.metrics.reject(*rejection))
    }

    /// How long a client waits at most.
    pub fn client_deadline(&self) -> Duration {
        self.tables.with(|tables| tables.limits.client_deadline)
    }
}

impl Export for Forwarder {
    fn export(&self, out: &mut Exporter) {
        self.metrics.export(out);
        self.metrics.export_cache(self.cache.len(), self.cache.bytes(), out);
    }
}
