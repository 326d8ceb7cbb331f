//! Forwarding: rules, the response cache, and the exchanges with upstreams.
//!
//! ```text
//! resolve ─▶ rules ─▶ cache ──hit──▶ respond (in the worker)
//!                       └─miss─▶ Forwarder::submit ─▶ engine thread
//!            coalesce ▸ UDP, or streams ▸ resend ▸ next upstream ▸ TCP ▸ chase ▸ fallback
//!                       └─▶ cache, then every Waiter
//! ```
//!
//! Queries go on as wire messages, so that class, DO, CD, unknown types and
//! extended errors survive; hickory-resolver's `Resolver` loses them. All
//! exchanges live on one thread with one epoll set, which works in passes over
//! batches of datagrams: a task per packet costs more than the packet, and so
//! does a system call. What upstreams may be sent, and whether they answer, is
//! the [`governor`]'s, behind `pace`. Upstreams over TCP, TLS and HTTPS are asked
//! through [`streams`], whose tasks hand the responses back to that thread. Expired answers stand in, and hot ones are
//! renewed, by who waits: the engine knows neither.

pub mod budget;
pub mod cache;
pub mod chain;
pub(crate) mod clock;
mod engine;
pub mod entry;
mod exchange;
mod flights;
pub mod governor;
pub mod health;
mod inbox;
pub mod kept;
mod lines;
mod loss;
mod pace;
mod pass;
mod peers;
pub mod policy;
pub mod question;
pub mod read;
pub mod reply;
pub mod respond;
pub mod rules;
mod sockets;
pub mod streams;
pub mod system;
pub mod tables;
pub mod upstream;

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config;
use crate::metrics::forward::{ForwardMetrics, Rejection};
use crate::metrics::{Export, Exporter};
use crate::wire::{Ede, Name};

use cache::ResponseCache;
use cache::save::{self, Clocks, SaveError};
use entry::Entry;
use governor::{Begun, Governor};
use kept::Kept;
use question::Question;
use rules::Group;
use streams::Streams;
use tables::{Partitions, Swap, Tables};

pub(crate) use engine::Engine;
pub use inbox::Place;
pub use pass::at_end_of_pass;
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
    /// Who asks, where shares of a budget are concerned; `None` for nobody outside.
    fn client(&self) -> Option<IpAddr> {
        None
    }

    /// Takes the response, or the reason why there is none. Runs on the
    /// engine's thread: it must not block.
    fn done(self: Box<Self>, outcome: Result<Arc<Entry>, Ede>);

    /// Takes a response where it lies: one that does not lead to the snapshot,
    /// as far as the engine knows. For those who need no copy.
    fn take(self: Box<Self>, kept: &Kept<'_>) {
        self.done(Ok(Arc::new(Entry::from_kept(kept))));
    }
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
    /// Whether a response that is still fresh is to be renewed: no client
    /// waits, and what is kept is no reason not to ask.
    pub renewal: bool,
    /// The address that asks, where one does.
    pub client: Option<IpAddr>,
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
    governor: Arc<Governor>,
    begun: Begun,
    engine: inbox::Handle,
}

impl Forwarder {
    /// A forwarder whose engine does nothing before it is driven, mostly by a
    /// thread of its own. Connections to upstreams run on `runtime`.
    pub(crate) fn new(
        settings: &Settings,
        runtime: tokio::runtime::Handle,
        local: impl FnOnce(Arc<Swap>) -> Arc<dyn Local>,
    ) -> io::Result<(Self, Engine)> {
        let partitions = Partitions::default();
        let tables = Arc::new(Swap::new(Tables::new(settings, &partitions)));
        let cache = Arc::new(ResponseCache::new(settings.cache.max_bytes));
        set_stale(&cache, &settings.cache);
        let metrics = Arc::new(ForwardMetrics::default());
        let forward = &settings.forward;
        let governor = Governor::new(&forward.governor, forward.resend_after, rand::random());
        let (governor, begun) = (Arc::new(governor), Begun::now());
        let local = local(Arc::clone(&tables));
        let streams = Streams::new(runtime, Arc::clone(&metrics), settings.forward.streams);
        let shared = engine::Shared {
            tables: Arc::clone(&tables),
            cache: Arc::clone(&cache),
            metrics: Arc::clone(&metrics),
            local,
            streams,
            governor: Arc::clone(&governor),
            begun,
        };
        register(&governor, &tables.load());
        let (driven, engine) = Engine::new(shared)?;
        Ok((Self { tables, partitions, cache, metrics, governor, begun, engine }, driven))
    }

    /// Replaces rules, upstreams, limits and bounds. Cached responses of
    /// rules that did not change stay; exchanges in flight end as they began.
    pub fn reload(&self, settings: &Settings) {
        self.governor.reconfigure(&settings.forward.governor, settings.forward.resend_after);
        self.tables.replace(Tables::new(settings, &self.partitions));
        register(&self.governor, &self.tables.load());
        self.cache.set_max_bytes(settings.cache.max_bytes);
        set_stale(&self.cache, &settings.cache);
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

    /// What the rules in force are, by their numbers in the cache.
    fn saved_rules(&self) -> save::Rules {
        let tables = self.tables.load();
        let fallback = tables.fallback.as_deref();
        let rule = |rule: &rules::Rule| (rule.partition, rule.identity(fallback));
        tables.rules.iter().map(rule).collect()
    }

    /// Saves the cached responses to `path`; `now` is the workers' clock.
    /// Returns how many those are.
    pub fn save_cache(&self, path: &Path, now: u64) -> Result<u64, SaveError> {
        save::save(&self.cache, path, &self.saved_rules(), Clocks::at(now))
    }

    /// Takes over what [`Self::save_cache`] wrote before; returns how many
    /// responses those are. For the start: nothing is cached yet.
    pub fn load_cache(&self, path: &Path, now: u64) -> Result<u64, SaveError> {
        save::load(&self.cache, path, &self.saved_rules(), Clocks::at(now))
    }

    /// Upstreams and their budgets, and the time on their clock.
    pub fn governor(&self) -> (&Governor, u64) {
        (&self.governor, self.begun.milliseconds(clock::now()))
    }

    /// Takes a place in the engine's queue, which is bounded.
    pub fn reserve(&self) -> Result<Place<'_>, Rejection> {
        let limit = self.tables.with(|tables| tables.limits.max_in_flight);
        self.engine.reserve(limit).inspect_err(|rejection| self.metrics.reject(*rejection))
    }

    /// Wakes the engine if it sleeps: for questions that were left with
    /// [`Place::leave`].
    pub fn ring(&self) {
        self.engine.inbox.ring();
    }

    /// How long a client waits at most.
    pub fn client_deadline(&self) -> Duration {
        self.tables.with(|tables| tables.limits.client_deadline)
    }

    /// How long a client waits at most while an expired response is at hand.
    pub fn stale_after(&self) -> Duration {
        self.tables.with(|tables| tables.limits.stale_after)
    }

    /// How long an exchange may take.
    pub fn exchange_deadline(&self) -> Duration {
        self.tables.with(|tables| tables.limits.exchange_deadline)
    }
}

/// Makes the governor know all upstreams in the order of the rules, so that
/// they are shown before they are asked.
fn register(governor: &Governor, tables: &Tables) {
    let groups = tables.rules.iter().map(|rule| &rule.group).chain(&tables.fallback);
    for upstream in groups.flat_map(|group| &group.upstreams) {
        governor.upstream(upstream.label(), upstream.address());
    }
}

fn set_stale(cache: &ResponseCache, settings: &config::Cache) {
    let milliseconds = |seconds: u32| u64::from(seconds) * 1000;
    cache.set_stale(
        milliseconds(settings.max_stale),
        milliseconds(settings.stale_recheck),
        settings.stale_ttl,
    );
}

impl Export for Forwarder {
    fn export(&self, out: &mut Exporter) {
        self.metrics.export(out);
        self.governor.export(self.begun.milliseconds(clock::now()), out);
        self.metrics.cache().export(&self.cache.usage(), out);
    }
}
