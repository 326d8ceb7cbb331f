//! The one entry of every transport and of the command line: answer, then
//! cache, forward and splice.
//!
//! [`Resolver::resolve`] runs in the packet worker. A hit and a cached response
//! are finished there, in place; anything else becomes a job that the forward
//! thread drives to its [`Reply`].

mod cached;
mod clients;
mod job;
mod lookup;
mod pending;
mod plain;
mod renew;
mod reply;
mod splice;
#[cfg(test)]
mod tests;

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::answer::{self, Context, Lookup, Miss, Outcome};
use crate::forward::entry::Entry;
use crate::forward::respond::{self, Recipient};
use crate::forward::upstream::Upstream;
use crate::forward::{Engine, Forwarder, Local, Place, Settings};
use crate::metrics::forward::Rejection;
use crate::metrics::{Export, Exporter};
use crate::snapshot::Snapshot;
use crate::snapshot::publish::Publisher;
use crate::wire::{Ede, FoldedName, HEADER_LEN, Name, Query, Rcode, Response};

use cached::{InPlace, recipient};
use clients::{Clients, Counted};
use job::{Job, Verdict};
use renew::Renewals;
use splice::SnapshotLocal;

pub use crate::forward::at_end_of_pass;
pub use lookup::Looked;
pub use reply::{Origin, Reply};

/// What became of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// The response stands in the buffer, `len` bytes long.
    Ready {
        /// Length of the response.
        len: usize,
        /// Its code.
        rcode: Rcode,
        /// Where it comes from.
        origin: Origin,
        /// What the snapshot said, for a hit.
        lookup: Option<Lookup>,
    },
    /// The [`Reply`] will be used, by another thread.
    Pending,
}

impl Resolved {
    const fn ready(len: usize, rcode: Rcode, origin: Origin, lookup: Option<Lookup>) -> Self {
        Self::Ready { len, rcode, origin, lookup }
    }
}

/// Where [`now`] begins, so that what was received before this process began
/// has a time as well: thirty days, more than anything is kept.
const CLOCK_START: u64 = 30 * 86_400 * 1000;

/// Coarse monotonic milliseconds. The clock of [`Resolver::resolve`]; all
/// callers of one resolver must share one.
pub fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(Instant::now);
    CLOCK_START + u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
}

/// The way that a name takes when nothing here answers it; for `explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The suffix of the forward rule.
    pub suffix: Name,
    /// The upstream group's name.
    pub group: String,
    /// Its upstreams, in the order in which they are asked.
    pub upstreams: Vec<Arc<Upstream>>,
    /// The fallback group's name, where the name may use it.
    pub fallback: Option<String>,
    /// Whether the name is ours.
    pub own: bool,
}

/// The shared state of resolving: the response cache and the way to the upstreams.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
}

/// What jobs hold on to as well.
struct Shared {
    forwarder: Forwarder,
    publisher: Arc<Publisher>,
    clients: Arc<Clients>,
    renewals: Renewals,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("forwarder", &self.shared.forwarder).finish_non_exhaustive()
    }
}

impl Resolver {
    /// Starts the forward thread. TCP exchanges run on `runtime`. No network
    /// is needed: an upstream that is down shows when it is asked.
    pub fn start(
        settings: &Settings,
        publisher: Arc<Publisher>,
        runtime: tokio::runtime::Handle,
    ) -> io::Result<Self> {
        let (resolver, engine) = Self::assemble(settings, publisher, runtime)?;
        engine.spawn()?;
        Ok(resolver)
    }

    /// [`Self::start`] without the thread: who calls this drives the engine.
    fn assemble(
        settings: &Settings,
        publisher: Arc<Publisher>,
        runtime: tokio::runtime::Handle,
    ) -> io::Result<(Self, Engine)> {
        let seen = Arc::clone(&publisher);
        let local = |tables| -> Arc<dyn Local> { Arc::new(SnapshotLocal::new(seen, tables)) };
        let (forwarder, engine) = Forwarder::new(settings, runtime, local)?;
        let renewals = Renewals::default();
        renewals.set_max(settings.cache.max_renewals);
        let clients = Clients::new();
        let shared = Arc::new(Shared { forwarder, publisher, clients, renewals });
        Ok((Self { shared }, engine))
    }

    /// Replaces rules, upstreams, limits and the bounds of the cache; reads
    /// resolv.conf again. Responses of unchanged rules stay cached.
    pub fn reload(&self, settings: &Settings) {
        self.shared.forwarder.reload(settings);
        self.shared.renewals.set_max(settings.cache.max_renewals);
    }

    /// The forwarder: its cache and its counters.
    pub fn forwarder(&self) -> &Forwarder {
        &self.shared.forwarder
    }

    /// Wakes the forward thread if it sleeps, after questions whose [`Reply`]
    /// said that it would be done later.
    #[inline]
    pub fn ring(&self) {
        self.shared.forwarder.ring();
    }

    /// Has the cached responses fetched from memory that are there for those of
    /// `queries`, at most 64, whose bit is set in `which`: answering them is next.
    pub fn fetch(&self, queries: &[Query], which: u64) {
        self.shared.fetch(queries, which);
    }

    /// Where `name` would be forwarded.
    pub fn route(&self, name: &Name) -> Option<Route> {
        let own = splice::is_own(name, &self.shared.publisher.current());
        self.shared.forwarder.tables().with(|tables| {
            let rule = tables.rules.find(&FoldedName::from(name))?;
            Some(Route {
                suffix: rule.suffix.clone(),
                group: rule.group.name.clone(),
                upstreams: rule.group.upstreams.clone(),
                fallback: tables.fallback.as_ref().filter(|_| !own).map(|group| group.name.clone()),
                own,
            })
        })
    }

    /// Resolves `query`, whose bytes (header and question at least) stand in `out`.
    ///
    /// `now` is coarse monotonic time in milliseconds, read once per batch.
    /// `reply` is called only when the response is not ready at once.
    #[inline]
    pub fn resolve<R: Reply>(
        &self,
        query: &Query,
        context: &Context,
        snapshot: &Arc<Snapshot>,
        now: u64,
        out: &mut Response<'_>,
        reply: impl FnOnce() -> R,
    ) -> Resolved {
        let outcome = answer::answer(query, context, snapshot, out);
        self.go_on(outcome, query, context, snapshot, now, out, reply)
    }

    /// [`Self::resolve`] behind the snapshot's [`answer`](answer::answer), which is at hand.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "the arguments of `resolve`, which nothing else bundles")]
    pub fn go_on<R: Reply>(
        &self,
        outcome: Outcome,
        query: &Query,
        context: &Context,
        snapshot: &Arc<Snapshot>,
        now: u64,
        out: &mut Response<'_>,
        reply: impl FnOnce() -> R,
    ) -> Resolved {
        match outcome {
            Outcome::Hit(hit) => Resolved::ready(out.len(), hit.rcode, Origin::Hit, Some(hit.lookup)),
            Outcome::Miss(miss) => self.miss(miss, query, *context, snapshot, now, out, reply),
            // Without RD the chain alone is the answer.
            Outcome::Leads if !query.recursion_desired() => {
                Resolved::ready(out.len(), Rcode::NOERROR, Origin::Hit, Some(Lookup::Found))
            }
            Outcome::Leads => self.leads(query, *context, snapshot, now, out, reply),
        }
    }

    /// From the cache in place, else by a job.
    #[expect(clippy::too_many_arguments, reason = "the arguments of `resolve`, which nothing else bundles")]
    fn miss<R: Reply>(
        &self,
        miss: Miss,
        query: &Query,
        context: Context,
        snapshot: &Arc<Snapshot>,
        now: u64,
        out: &mut Response<'_>,
        reply: impl FnOnce() -> R,
    ) -> Resolved {
        let own = miss == Miss::Own;
        match self.shared.cached_in_place(query, context, own, snapshot, now, out.buffer()) {
            InPlace::Written { len, rcode, due } => {
                if due {
                    self.shared.renew(query, own, now);
                }
                Resolved::ready(len, rcode, Origin::Forward, None)
            }
            InPlace::Absent if query.recursion_desired() => self.plain(own, query, context, now, out, reply),
            InPlace::Absent | InPlace::Expired => self.slow(None, query, context, snapshot, now, out, reply),
            InPlace::Leads => {
                let found = self.shared.cached(query, own, snapshot, now);
                self.slow(found, query, context, snapshot, now, out, reply)
            }
        }
    }

    /// Puts a response together, or hands a job to the forward thread.
    #[cold]
    #[expect(clippy::too_many_arguments, reason = "the arguments of `resolve`, which nothing else bundles")]
    fn slow<R: Reply>(
        &self,
        found: Option<(Arc<Entry>, Option<usize>)>,
        query: &Query,
        context: Context,
        snapshot: &Arc<Snapshot>,
        now: u64,
        out: &mut Response<'_>,
        reply: impl FnOnce() -> R,
    ) -> Resolved {
        let question = out.buffer().get(..query.question_end).unwrap_or_default();
        let mut job = Job::new(query, context, question);
        let verdict = match found {
            Some((entry, cut)) => job.take(&self.shared, &entry, cut, snapshot, now),
            None => job.ask_qname(&self.shared, snapshot),
        };
        self.hand_over(job, verdict, query, context, snapshot, now, out, reply)
    }

    /// Our own chain stands in `out` and leads to a name that is not local.
    #[cold]
    fn leads<R: Reply>(
        &self,
        query: &Query,
        context: Context,
        snapshot: &Arc<Snapshot>,
        now: u64,
        out: &mut Response<'_>,
        reply: impl FnOnce() -> R,
    ) -> Resolved {
        let chain = out.as_bytes().to_vec();
        let question = chain.get(..query.question_end).unwrap_or_default();
        let mut job = Job::new(query, context, question);
        let verdict = job.follow_own(&self.shared, &chain, snapshot, now);
        self.hand_over(job, verdict, query, context, snapshot, now, out, reply)
    }

    /// Carries out the first verdict on a job: in the worker, in place.
    #[expect(clippy::too_many_arguments, reason = "the arguments of `resolve`, which nothing else bundles")]
    fn hand_over<R: Reply>(
        &self,
        mut job: Job,
        verdict: Verdict,
        query: &Query,
        context: Context,
        snapshot: &Arc<Snapshot>,
        now: u64,
        out: &mut Response<'_>,
        reply: impl FnOnce() -> R,
    ) -> Resolved {
        match verdict {
            Verdict::Respond { entry, authoritative } => {
                respond_in_place(&entry, authoritative, query, context, now, out)
            }
            Verdict::Fail { rcode, ede } => error(query, context, rcode, ede, out),
            Verdict::Ask(question) => {
                let reply = reply();
                if let Ok((place, counted)) = self.shared.places(reply.client()) {
                    job.submit(&self.shared, place, counted, question, now, Box::new(reply));
                    return Resolved::Pending;
                }
                reply.withdraw();
                match job.stand_in(&self.shared, &question.key.as_ref(), snapshot, now) {
                    Some(Verdict::Respond { entry, authoritative }) => {
                        respond_in_place(&entry, authoritative, query, context, now, out)
                    }
                    _ => error(query, context, Rcode::SERVFAIL, Some(Ede::OVERLOADED), out),
                }
            }
        }
    }
}

impl Shared {
    /// What a question that waits takes: a place in the engine's queue, and one
    /// among its client's.
    fn places(&self, client: Option<IpAddr>) -> Result<(Place<'_>, Option<Counted>), Rejection> {
        let Some(client) = client else { return Ok((self.forwarder.reserve()?, None)) };
        let limit = self.forwarder.tables().with(|tables| tables.limits.max_waiters_per_client);
        let Some(counted) = self.clients.count(client, limit) else {
            self.forwarder.metrics().reject(Rejection::Client);
            return Err(Rejection::Client);
        };
        Ok((self.forwarder.reserve()?, Some(counted)))
    }
}

#[cold]
fn respond_in_place(
    entry: &Entry,
    authoritative: bool,
    query: &Query,
    context: Context,
    now: u64,
    out: &mut Response<'_>,
) -> Resolved {
    let to = Recipient { authoritative, ..recipient(query, context) };
    let (len, rcode) = respond::write(&entry.kept(), &to, now, out.buffer());
    Resolved::ready(len, rcode, Origin::Forward, None)
}

impl Export for Resolver {
    fn export(&self, out: &mut Exporter) {
        self.shared.forwarder.export(out);
    }
}

#[cold]
fn error(
    query: &Query,
    context: Context,
    rcode: Rcode,
    ede: Option<Ede>,
    out: &mut Response<'_>,
) -> Resolved {
    let len = answer::error(query, &context, rcode, ede, out);
    Resolved::ready(len.max(HEADER_LEN), rcode, Origin::Error, None)
}
