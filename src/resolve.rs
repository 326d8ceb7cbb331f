//! The one entry of every transport and of the command line: answer, then
//! cache, forward and splice.
//!
//! [`Resolver::resolve`] runs in the packet worker. A hit and a cached response
//! are finished there, in place; anything else becomes a job that the forward
//! thread drives to its [`Reply`].

mod job;
mod lookup;
mod splice;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::answer::{self, Context, Lookup, Miss, Outcome};
use crate::forward::cache::{KeyRef, bits};
use crate::forward::entry::{Checked, Entry};
use crate::forward::respond::{self, Recipient};
use crate::forward::{Forwarder, Settings};
use crate::metrics::forward::{CacheLookup, Rejection};
use crate::metrics::{Export, Exporter};
use crate::snapshot::Snapshot;
use crate::snapshot::publish::Publisher;
use crate::wire::{Ede, FoldedName, HEADER_LEN, Name, Query, Rcode, Response};

use job::{Job, Verdict};
use splice::SnapshotLocal;

pub use lookup::Looked;

/// Where a response goes that is not ready at once.
pub trait Reply: Send + 'static {
    /// Takes the finished response: the client's id, spelling, size limit and
    /// OPT are already in it.
    fn send(self: Box<Self>, response: Vec<u8>, rcode: Rcode, origin: Origin);
}

/// Where a response comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The snapshot.
    Hit,
    /// The response cache or an upstream.
    Forward,
    /// Neither: an error of our own making.
    Error,
}

impl Origin {
    /// The label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Forward => "forward",
            Self::Error => "error",
        }
    }
}

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

/// Coarse monotonic milliseconds since the first call in this process. The
/// clock of [`Resolver::resolve`]; all callers of one resolver must share one.
pub fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(Instant::now);
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The way that a name takes when nothing here answers it; for `explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The suffix of the forward rule.
    pub suffix: Name,
    /// The upstream group's name.
    pub group: String,
    /// Its addresses, in the order in which they are asked.
    pub upstreams: Vec<SocketAddr>,
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
        let seen = Arc::clone(&publisher);
        let forwarder =
            Forwarder::start(settings, runtime, |tables| Arc::new(SnapshotLocal::new(seen, tables)))?;
        Ok(Self { shared: Arc::new(Shared { forwarder, publisher }) })
    }

    /// Replaces rules, upstreams, limits and the bounds of the cache; reads
    /// resolv.conf again. Responses of unchanged rules stay cached.
    pub fn reload(&self, settings: &Settings) {
        self.shared.forwarder.reload(settings);
    }

    /// The forwarder: its cache and its counters.
    pub fn forwarder(&self) -> &Forwarder {
        &self.shared.forwarder
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
        let found = self.shared.cached(query, miss == Miss::Own, snapshot, now);
        match found {
            Some((entry, None)) => {
                let to = recipient(query, context);
                let (len, rcode) = respond::write(&entry, &to, now, out.buffer());
                Resolved::ready(len, rcode, Origin::Forward, None)
            }
            Some(cut) => self.slow(Some(cut), query, context, snapshot, now, out, reply),
            None => self.slow(None, query, context, snapshot, now, out, reply),
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
        self.hand_over(job, verdict, query, context, now, out, reply)
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
        self.hand_over(job, verdict, query, context, now, out, reply)
    }

    /// Carries out the first verdict on a job: in the worker, in place.
    #[expect(clippy::too_many_arguments, reason = "the arguments of `resolve`, which nothing else bundles")]
    fn hand_over<R: Reply>(
        &self,
        job: Job,
        verdict: Verdict,
        query: &Query,
        context: Context,
        now: u64,
        out: &mut Response<'_>,
        reply: impl FnOnce() -> R,
    ) -> Resolved {
        match verdict {
            Verdict::Respond { entry, authoritative } => {
                let to = Recipient { authoritative, ..recipient(query, context) };
                let (len, rcode) = respond::write(&entry, &to, now, out.buffer());
                Resolved::ready(len, rcode, Origin::Forward, None)
            }
            Verdict::Fail { rcode, ede } => error(query, context, rcode, ede, out),
            Verdict::Ask(question) => match self.shared.forwarder.reserve() {
                Ok(place) => {
                    job.submit(&self.shared, place, question, now, Box::new(reply()));
                    Resolved::Pending
                }
                Err(
                    Rejection::InFlight | Rejection::Waiters | Rejection::NoUpstream | Rejection::Stopping,
                ) => error(query, context, Rcode::SERVFAIL, Some(Ede::OVERLOADED), out),
            },
        }
    }
}

impl Export for Resolver {
    fn export(&self, out: &mut Exporter) {
        self.shared.forwarder.export(out);
    }
}

/// Where the chain of a cached response meets the snapshot.
enum Meeting {
    /// Nowhere.
    None,
    /// At this target.
    At(usize),
    /// It no longer does, or must not: the response is void.
    Outdated,
}

impl Shared {
    /// The cached response of `query`, with the place where it leads to the
    /// snapshot, if it does.
    #[inline]
    fn cached(
        &self,
        query: &Query,
        own: bool,
        snapshot: &Snapshot,
        now: u64,
    ) -> Option<(Arc<Entry>, Option<usize>)> {
        let partition = self.forwarder.tables().with(|t| t.rules.find(&query.qname).map(|r| r.partition))?;
        let cache = self.forwarder.cache();
        let key =
            cache.key(partition, query.qname.as_wire(), query.qtype, query.qclass, key_bits(query, own));
        let found =
            cache.get(&key, now).and_then(|entry| match self.compare(&key, &entry, query, snapshot) {
                Meeting::None => Some((entry, None)),
                Meeting::At(cut) => Some((entry, Some(cut))),
                Meeting::Outdated => None,
            });
        let result = if found.is_some() { CacheLookup::Hit } else { CacheLookup::Miss };
        self.forwarder.metrics().lookup(result);
        found
    }

    /// Where `entry` leads in `snapshot`. Outdated is a chain alone whose end the
    /// snapshot no longer answers, and for an answer of the fallback whose chain
    /// meets a name that is ours now: both are forgotten and asked for again.
    #[inline]
    fn compare(&self, key: &KeyRef<'_>, entry: &Entry, query: &Query, snapshot: &Snapshot) -> Meeting {
        if entry.targets().is_empty() {
            return Meeting::None;
        }
        let mut checked = entry.checked();
        if checked.instance != snapshot.instance() {
            let split = splice::split(entry.targets(), query.qtype, query.qclass, snapshot);
            if split.own && entry.is_of_fallback() {
                return self.forget(key);
            }
            checked = Checked { instance: split.instance, cut: split.cut };
            entry.set_checked(checked);
        }
        if checked.cut.is_none() && entry.is_leading() {
            return self.forget(key);
        }
        checked.cut.map_or(Meeting::None, Meeting::At)
    }

    #[cold]
    fn forget(&self, key: &KeyRef<'_>) -> Meeting {
        self.forwarder.metrics().lookup(CacheLookup::Outdated);
        self.forwarder.cache().remove(key);
        Meeting::Outdated
    }
}

/// The bits of a query's key.
#[inline]
fn key_bits(query: &Query, own: bool) -> u8 {
    let dnssec = query.edns.is_some_and(|edns| edns.dnssec_ok);
    let checking = query.flags.has(crate::wire::Flags::CD);
    (if dnssec { bits::DNSSEC_OK } else { 0 })
        | (if checking { bits::CHECKING_DISABLED } else { 0 })
        | (if own { bits::OWN } else { 0 })
}

/// What a response takes from the query. No upstream is trusted yet, so AD is
/// never passed on.
#[inline]
fn recipient(query: &Query, context: Context) -> Recipient {
    Recipient {
        flags: query.flags,
        edns: query.edns,
        limit: context.limit(query),
        udp_size: context.udp_size,
        authoritative: false,
        authentic: false,
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
