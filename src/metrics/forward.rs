//! Counters of forwarding: upstreams and rejections.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::response_cache::CacheMetrics;
use super::streams::{self, StreamCounters};
use super::{Export, Exporter};

pub use super::response_cache::{CacheLookup, CacheUsage, Renewal};

/// Upper bounds of `hubdns_forward_duration_seconds`, in microseconds.
const BUCKETS_US: [u64; 13] = [
    500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 125_000, 250_000, 500_000, 1_000_000, 5_000_000,
];

/// Why an exchange with an upstream gave no usable response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing came in time.
    Timeout,
    /// ICMP port unreachable, or TCP reset.
    Refused,
    /// Any other error of the network.
    Network,
    /// SERVFAIL.
    Servfail,
    /// REFUSED.
    RcodeRefused,
    /// FORMERR or NOTIMP.
    Formerr,
}

impl Failure {
    const ALL: [Self; 6] =
        [Self::Timeout, Self::Refused, Self::Network, Self::Servfail, Self::RcodeRefused, Self::Formerr];

    /// The label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Refused => "unreachable",
            Self::Network => "network",
            Self::Servfail => "servfail",
            Self::RcodeRefused => "refused",
            Self::Formerr => "formerr",
        }
    }
}

/// Why a miss was not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Too many questions in flight, or on their way to the engine.
    InFlight,
    /// Too many clients wait for this question, or in all.
    Waiters,
    /// The group has no upstream.
    NoUpstream,
    /// The engine is stopping.
    Stopping,
    /// Too many questions of this client wait.
    Client,
}

impl Rejection {
    const ALL: [Self; 5] = [Self::InFlight, Self::Waiters, Self::NoUpstream, Self::Stopping, Self::Client];

    /// The label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Waiters => "waiters",
            Self::NoUpstream => "no_upstream",
            Self::Stopping => "stopping",
            Self::Client => "client",
        }
    }
}

/// Why a message is not the response that is waited for. The wait goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// Shorter than a header.
    Short,
    /// QR is clear, or the opcode is not QUERY.
    NotResponse,
    /// No query with this id is in flight on this socket.
    Id,
    /// Another question, none, or several.
    Question,
    /// Records cut off, names that loop, counts that lie.
    Malformed,
    /// A response whose question is answered, or given up.
    Late,
    /// Larger than anything that was asked for.
    Oversized,
    /// A response whose chain of CNAMEs goes round: its question fails.
    Loop,
}

impl Mismatch {
    const ALL: [Self; 8] = [
        Self::Short,
        Self::NotResponse,
        Self::Id,
        Self::Question,
        Self::Malformed,
        Self::Late,
        Self::Oversized,
        Self::Loop,
    ];

    /// The label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::NotResponse => "not_response",
            Self::Id => "id",
            Self::Question => "question",
            Self::Malformed => "malformed",
            Self::Late => "late",
            Self::Oversized => "oversized",
            Self::Loop => "loop",
        }
    }
}

/// Counters of one upstream.
#[derive(Debug, Default)]
pub struct UpstreamCounters {
    udp: AtomicU64,
    tcp: AtomicU64,
    tls: AtomicU64,
    https: AtomicU64,
    /// Its connections.
    pub streams: StreamCounters,
    failures: [AtomicU64; 6],
    buckets: [AtomicU64; 13],
    count: AtomicU64,
    sum_us: AtomicU64,
    loops: AtomicU64,
}

impl UpstreamCounters {
    /// So many queries went out over UDP.
    pub fn sent_udp_many(&self, count: u64) {
        self.udp.fetch_add(count, Ordering::Relaxed);
    }

    /// A question that is in flight to the upstream came back from it.
    pub fn looped(&self) {
        self.loops.fetch_add(1, Ordering::Relaxed);
    }

    /// Questions that came back.
    pub fn loops(&self) -> u64 {
        self.loops.load(Ordering::Relaxed)
    }

    /// A query went out over TCP.
    pub fn sent_tcp(&self) {
        self.tcp.fetch_add(1, Ordering::Relaxed);
    }

    /// A query went out over TLS.
    pub fn sent_tls(&self) {
        self.tls.fetch_add(1, Ordering::Relaxed);
    }

    /// A query went out over HTTPS.
    pub fn sent_https(&self) {
        self.https.fetch_add(1, Ordering::Relaxed);
    }

    /// A query failed.
    pub fn failed(&self, failure: Failure) {
        if let Some(counter) = self.failures.get(failure as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A response came after `duration`.
    pub fn answered(&self, duration: Duration) {
        self.answered_us(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// A response came after `us` microseconds.
    pub fn answered_us(&self, us: u64) {
        if let Some(at) = BUCKETS_US.iter().position(|bound| us <= *bound) {
            add(&self.buckets, at);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Queries sent, over UDP and TCP.
    pub fn sent(&self) -> (u64, u64) {
        (self.udp.load(Ordering::Relaxed), self.tcp.load(Ordering::Relaxed))
    }

    /// Queries sent, over TLS and HTTPS.
    pub fn sent_encrypted(&self) -> (u64, u64) {
        (self.tls.load(Ordering::Relaxed), self.https.load(Ordering::Relaxed))
    }

    /// Failures of one kind.
    pub fn failures(&self, failure: Failure) -> u64 {
        self.failures.get(failure as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

/// All counters of forwarding.
#[derive(Debug, Default)]
pub struct ForwardMetrics {
    upstreams: Mutex<Vec<(String, Arc<UpstreamCounters>)>>,
    rejected: [AtomicU64; 5],
    mismatches: [AtomicU64; 8],
    cache: CacheMetrics,
    in_flight: AtomicU64,
    waiters: AtomicU64,
    coalesced: AtomicU64,
    splices: AtomicU64,
    fallbacks: [AtomicU64; 2],
}

impl ForwardMetrics {
    /// The counters of `upstream`, made at the first call: by its label, which
    /// for UDP is its address. Upstreams come from the configuration or
    /// resolv.conf, so their number is bounded.
    pub fn upstream(&self, upstream: impl Display) -> Arc<UpstreamCounters> {
        let upstream = upstream.to_string();
        let mut all = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counters)) = all.iter().find(|(label, _)| *label == upstream) {
            return Arc::clone(counters);
        }
        let counters = Arc::new(UpstreamCounters::default());
        all.push((upstream, Arc::clone(&counters)));
        counters
    }

    /// A miss was not forwarded.
    pub fn reject(&self, rejection: Rejection) {
        add(&self.rejected, rejection as usize);
    }

    /// Misses that were not forwarded.
    pub fn rejections(&self, rejection: Rejection) -> u64 {
        get(&self.rejected, rejection as usize)
    }

    /// A message came that nobody waited for.
    pub fn mismatch(&self, kind: Mismatch) {
        add(&self.mismatches, kind as usize);
    }

    /// Messages of one kind that nobody waited for.
    pub fn mismatches(&self, kind: Mismatch) -> u64 {
        get(&self.mismatches, kind as usize)
    }

    /// What the response cache counts.
    #[inline]
    pub fn cache(&self) -> &CacheMetrics {
        &self.cache
    }

    /// The response cache was asked.
    #[inline]
    pub fn lookup(&self, result: CacheLookup) {
        self.cache.lookup(result);
    }

    /// How often the response cache gave `result`.
    pub fn lookups(&self, result: CacheLookup) -> u64 {
        self.cache.lookups(result)
    }

    /// A question joined the exchange of an equal one.
    pub fn coalesce(&self) {
        self.coalesced.fetch_add(1, Ordering::Relaxed);
    }

    /// Questions that joined another's exchange.
    pub fn coalesced(&self) -> u64 {
        self.coalesced.load(Ordering::Relaxed)
    }

    /// An upstream's chain was completed from the snapshot, or the other way round.
    pub fn splice(&self) {
        self.splices.fetch_add(1, Ordering::Relaxed);
    }

    /// The fallback was asked; `used` tells whether its answer was.
    pub fn fallback(&self, used: bool) {
        add(&self.fallbacks, usize::from(used));
    }

    /// Sets the numbers of exchanges and of waiting clients.
    pub fn set_load(&self, exchanges: usize, waiters: usize) {
        self.in_flight.store(exchanges as u64, Ordering::Relaxed);
        self.waiters.store(waiters as u64, Ordering::Relaxed);
    }

    /// Exchanges in flight and clients that wait for them.
    pub fn load(&self) -> (u64, u64) {
        (self.in_flight.load(Ordering::Relaxed), self.waiters.load(Ordering::Relaxed))
    }
}

pub(super) fn add(counters: &[AtomicU64], at: usize) {
    if let Some(counter) = counters.get(at) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) fn get(counters: &[AtomicU64], at: usize) -> u64 {
    counters.get(at).map_or(0, |counter| counter.load(Ordering::Relaxed))
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus values are floats")]
fn export_upstream(upstream: &str, counters: &UpstreamCounters, out: &mut Exporter) {
    let (udp, tcp) = counters.sent();
    let (tls, https) = counters.sent_encrypted();
    for (transport, value) in [("udp", udp), ("tcp", tcp), ("tls", tls), ("https", https)] {
        out.counter(
            "forward_queries_total",
            "Queries sent to upstreams.",
            &[("upstream", upstream), ("transport", transport)],
            value,
        );
    }
    for failure in Failure::ALL {
        out.counter(
            "forward_failures_total",
            "Queries to upstreams without a usable response, by reason.",
            &[("upstream", upstream), ("reason", failure.label())],
            counters.failures(failure),
        );
    }
    out.counter(
        "forward_loops_total",
        "Questions that came back from the upstream that they were in flight to.",
        &[("upstream", upstream)],
        counters.loops(),
    );
    let mut cumulative = 0;
    let buckets = BUCKETS_US.map(|bound| {
        let at = BUCKETS_US.iter().position(|other| *other == bound).unwrap_or_default();
        cumulative += get(&counters.buckets, at);
        (bound as f64 / 1e6, cumulative)
    });
    out.histogram(
        "forward_duration_seconds",
        "Time from query to response of upstreams.",
        &[("upstream", upstream)],
        &buckets,
        counters.count.load(Ordering::Relaxed),
        counters.sum_us.load(Ordering::Relaxed) as f64 / 1e6,
    );
}

impl Export for ForwardMetrics {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; these stay below 2^53")]
    fn export(&self, out: &mut Exporter) {
        let upstreams = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (upstream, counters) in &upstreams {
            export_upstream(upstream, counters, out);
            streams::export(upstream, &counters.streams, out);
        }
        for rejection in Rejection::ALL {
            out.counter(
                "forward_rejected_total",
                "Misses that were not forwarded, by reason.",
                &[("reason", rejection.label())],
                self.rejections(rejection),
            );
        }
        for kind in Mismatch::ALL {
            out.counter(
                "forward_mismatches_total",
                "Messages from upstreams that no query waited for, by kind.",
                &[("kind", kind.label())],
                self.mismatches(kind),
            );
        }
        let (in_flight, waiters) = self.load();
        out.gauge("forward_in_flight", "Questions in flight to upstreams.", &[], in_flight as f64);
        out.gauge("forward_waiters", "Clients that wait for an upstream.", &[], waiters as f64);
        out.counter(
            "forward_coalesced_total",
            "Questions that joined the exchange of an equal one.",
            &[],
            self.coalesced(),
        );
        out.counter(
            "splices_total",
            "Responses put together from an upstream's chain and the snapshot.",
            &[],
            self.splices.load(Ordering::Relaxed),
        );
        for (result, at) in [("kept_first", 0), ("used", 1)] {
            out.counter(
                "fallbacks_total",
                "Questions that the fallback upstream was asked, by what became of its answer.",
                &[("result", result)],
                get(&self.fallbacks, at),
            );
        }
    }
}
