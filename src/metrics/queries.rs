//! Counters of queries and responses.
//!
//! Each packet worker has a set of its own that nobody else writes, so a count
//! is a load and a store without a lock prefix; TCP connections and responses
//! that become ready on other threads share one set with atomic adds. A scrape
//! adds all sets up. Rejected: one shared set, whose cache lines would travel
//! between the workers with every packet; thread-locals, which a scrape cannot
//! read.
//!
//! `answer_duration_seconds` is sampled so that there is no clock read per
//! packet: in every 16th batch one message, at a place that rotates, is timed
//! from the parsed datagram to the finished response, and counts if it was a
//! hit. It holds neither the time in the socket's queue nor the system calls.

mod cookies;
mod counts;

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use crate::answer::Transport;
use crate::metrics::{Export, Exporter};
use crate::resolve::Origin;
use crate::socket::Fault;
use crate::wire::Rcode;

pub use super::labels::{Dropped, Ended, Operation, ProxyHeader, TurnedAway};
pub use cookies::CookieResult;
pub use counts::QueryCounts;

/// Upper bounds of the buckets of `answer_duration_seconds`, in nanoseconds.
const BUCKETS: [u64; 13] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

const TRANSPORTS: [Transport; 5] =
    [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Https, Transport::Quic];
const ORIGINS: [Origin; 3] = [Origin::Hit, Origin::Forward, Origin::Error];
/// Response codes with a label of their own, and one that stands for the others.
const RCODES: [Rcode; 9] = [
    Rcode::NOERROR,
    Rcode::FORMERR,
    Rcode::SERVFAIL,
    Rcode::NXDOMAIN,
    Rcode::NOTIMP,
    Rcode::REFUSED,
    Rcode::BADVERS,
    Rcode::BADCOOKIE,
    Rcode(u16::MAX),
];

/// One set of counters, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Set {
    queries: [AtomicU64; TRANSPORTS.len()],
    responses: [[[AtomicU64; ORIGINS.len()]; RCODES.len()]; TRANSPORTS.len()],
    own_missing: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
    cookies: [AtomicU64; CookieResult::ALL.len()],
    faults: [[AtomicU64; Fault::ALL.len()]; Operation::ALL.len()],
    panics: AtomicU64,
    buckets: [AtomicU64; BUCKETS.len() + 1],
    nanos: AtomicU64,
    accepted: AtomicU64,
    turned_away: [AtomicU64; TurnedAway::ALL.len()],
    ended: [AtomicU64; Ended::ALL.len()],
    proxy_headers: [AtomicU64; ProxyHeader::ALL.len()],
}

/// How a counter is written.
pub trait Writers {
    /// Adds `more` to `counter`.
    fn add(counter: &AtomicU64, more: u64);
}

/// One thread writes; it alone holds the recorder, which is not [`Sync`].
#[derive(Debug)]
pub struct OneWriter(PhantomData<Cell<()>>);

/// Any thread writes.
#[derive(Clone, Debug)]
pub struct ManyWriters;

impl Writers for OneWriter {
    #[inline]
    fn add(counter: &AtomicU64, more: u64) {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }
}

impl Writers for ManyWriters {
    #[inline]
    fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }
}

/// Counts into one set.
#[derive(Debug)]
pub struct Recorder<W> {
    set: Arc<Set>,
    writers: PhantomData<W>,
}

/// A worker's own recorder.
pub type Local = Recorder<OneWriter>;
/// The recorder for everybody else.
pub type Shared = Recorder<ManyWriters>;

impl Clone for Shared {
    fn clone(&self) -> Self {
        Self { set: Arc::clone(&self.set), writers: PhantomData }
    }
}

impl<W: Writers> Recorder<W> {
    /// Counts messages received.
    #[inline]
    pub fn queries(&self, transport: Transport, count: usize) {
        if let Some(counter) = self.set.queries.get(transport_index(transport)) {
            W::add(counter, count as u64);
        }
    }

    /// Counts `count` answers from the snapshot with code NOERROR, over UDP:
    /// [`Self::response`] for all of a batch at once.
    #[inline]
    pub fn udp_hits(&self, count: u64) {
        let [[noerror, ..], ..] = &self.set.responses;
        let [hits, ..] = noerror;
        W::add(hits, count);
    }

    /// Counts a response.
    #[inline]
    pub fn response(&self, transport: Transport, rcode: Rcode, origin: Origin) {
        let row = self.set.responses.get(transport_index(transport)).and_then(|t| t.get(rcode_index(rcode)));
        if let Some(counter) = row.and_then(|row| row.get(origin_index(origin))) {
            W::add(counter, 1);
        }
    }

    /// Counts a name of ours denied for want of a record.
    #[cold]
    pub fn own_missing(&self) {
        W::add(&self.set.own_missing, 1);
    }

    /// Counts a query that gets no response.
    #[cold]
    pub fn dropped(&self, reason: Dropped) {
        if let Some(counter) = self.set.dropped.get(reason as usize) {
            W::add(counter, 1);
        }
    }

    /// Counts a socket error.
    #[cold]
    pub fn fault(&self, operation: Operation, fault: Fault) {
        let row = self.set.faults.get(operation as usize);
        if let Some(counter) = row.and_then(|row| row.get(fault.index())) {
            W::add(counter, 1);
        }
    }

    /// Counts a panic of a worker, which is a defect of ours.
    #[cold]
    pub fn panicked(&self) {
        W::add(&self.set.panics, 1);
    }

    /// Counts a sample of the time that a hit took.
    pub fn answer_took(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.partition_point(|bound| *bound < nanos);
        if let Some(counter) = self.set.buckets.get(bucket) {
            W::add(counter, 1);
        }
        W::add(&self.set.nanos, nanos);
    }

    /// Counts a PROXY header, or the lack of one.
    #[cold]
    pub fn proxy_header(&self, what: ProxyHeader) {
        if let Some(counter) = self.set.proxy_headers.get(what as usize) {
            W::add(counter, 1);
        }
    }

    /// Counts a TCP connection accepted and admitted.
    pub fn accepted(&self) {
        W::add(&self.set.accepted, 1);
    }

    /// Counts a TCP connection turned away.
    pub fn turned_away(&self, reason: TurnedAway) {
        if let Some(counter) = self.set.turned_away.get(reason as usize) {
            W::add(counter, 1);
        }
    }

    /// Counts the end of a TCP connection.
    pub fn ended(&self, reason: Ended) {
        if let Some(counter) = self.set.ended.get(reason as usize) {
            W::add(counter, 1);
        }
    }
}

#[inline]
const fn transport_index(transport: Transport) -> usize {
    match transport {
        Transport::Udp => 0,
        Transport::Tcp => 1,
        Transport::Tls => 2,
        Transport::Https => 3,
        Transport::Quic => 4,
    }
}

#[inline]
const fn origin_index(origin: Origin) -> usize {
    match origin {
        Origin::Hit => 0,
        Origin::Forward => 1,
        Origin::Error => 2,
    }
}

#[inline]
const fn rcode_index(rcode: Rcode) -> usize {
    match rcode.0 {
        code @ 0..=5 => code as usize,
        16 => 6,
        23 => 7,
        _ => 8,
    }
}

/// All counters of the transports.
#[derive(Debug)]
pub struct QueryMetrics {
    workers: Vec<Arc<Set>>,
    shared: Arc<Set>,
    connections: AtomicI32,
}

impl QueryMetrics {
    /// Counters for `workers` packet workers, with the recorder of each.
    pub fn new(workers: usize) -> (Arc<Self>, Vec<Local>) {
        let sets: Vec<Arc<Set>> = (0..workers).map(|_| Arc::default()).collect();
        let locals = sets.iter().map(|set| Recorder { set: Arc::clone(set), writers: PhantomData }).collect();
        let metrics = Self { workers: sets, shared: Arc::default(), connections: AtomicI32::new(0) };
        (Arc::new(metrics), locals)
    }

    /// The recorder for threads that are no packet workers.
    pub fn shared(&self) -> Shared {
        Recorder { set: Arc::clone(&self.shared), writers: PhantomData }
    }

    /// TCP connections open now.
    pub fn open_connections(&self) -> i32 {
        self.connections.load(Ordering::Relaxed)
    }

    fn sum(&self, counter: impl Fn(&Set) -> Option<&AtomicU64>) -> u64 {
        let sets = self.workers.iter().chain(std::iter::once(&self.shared));
        sets.filter_map(|set| counter(set)).map(|counter| counter.load(Ordering::Relaxed)).sum()
    }
}

/// Something that shows how many connections are open.
pub trait OpenConnections: std::fmt::Debug + Send + Sync {
    /// Moves the gauge of open connections.
    fn connections(&self, change: i32);
}

impl OpenConnections for QueryMetrics {
    fn connections(&self, change: i32) {
        self.connections.fetch_add(change, Ordering::Relaxed);
    }
}

impl Export for QueryMetrics {
    fn export(&self, out: &mut Exporter) {
        for (t, transport) in TRANSPORTS.into_iter().enumerate() {
            let labels = [("transport", transport.label())];
            let help = "DNS messages received.";
            out.counter("queries_total", help, &labels, self.sum(|set| set.queries.get(t)));
        }
        self.export_responses(out);
        out.counter(
            "own_missing_total",
            "Queries for names of ours that no record covers, denied.",
            &[],
            self.sum(|set| Some(&set.own_missing)),
        );
        for (at, reason) in Dropped::ALL.iter().enumerate() {
            let labels = [("reason", reason.label())];
            let value = self.sum(|set| set.dropped.get(at));
            out.counter("queries_dropped_total", "Queries that got no response.", &labels, value);
        }
        self.export_cookies(out);
        self.export_duration(out);
        self.export_connections(out);
        for (at, what) in ProxyHeader::ALL.iter().enumerate() {
            let value = self.sum(|set| set.proxy_headers.get(at));
            let help = "PROXY headers of listeners that take them, by what became of them.";
            out.counter("proxy_headers_total", help, &[("result", what.label())], value);
        }
        for (at, operation) in Operation::ALL.iter().enumerate() {
            for fault in Fault::ALL {
                let labels = [("operation", operation.label()), ("reason", fault.label())];
                let value = self.sum(|set| set.faults.get(at).and_then(|row| row.get(fault.index())));
                // Only what has happened: most pairs never do.
                if value > 0 {
                    out.counter("socket_errors_total", "Errors of client sockets.", &labels, value);
                }
            }
        }
        out.counter(
            "worker_panics_total",
            "Panics of packet workers, each a defect: the worker went on.",
            &[],
            self.sum(|set| Some(&set.panics)),
        );
    }
}

impl QueryMetrics {
    fn export_responses(&self, out: &mut Exporter) {
        for (t, transport) in TRANSPORTS.into_iter().enumerate() {
            for (r, rcode) in RCODES.into_iter().enumerate() {
                for (o, origin) in ORIGINS.into_iter().enumerate() {
                    let labels = [
                        ("transport", transport.label()),
                        ("rcode", rcode.label()),
                        ("origin", origin.label()),
                    ];
                    let value = self.sum(|set| set.responses.get(t)?.get(r)?.get(o));
                    out.counter("responses_total", "DNS responses sent.", &labels, value);
                }
            }
        }
    }

    fn export_duration(&self, out: &mut Exporter) {
        let mut count = 0;
        let mut buckets = [(0.0, 0); BUCKETS.len()];
        for (at, (place, bound)) in buckets.iter_mut().zip(BUCKETS).enumerate() {
            count += self.sum(|set| set.buckets.get(at));
            *place = (Duration::from_nanos(bound).as_secs_f64(), count);
        }
        count += self.sum(|set| set.buckets.get(BUCKETS.len()));
        let sum = Duration::from_nanos(self.sum(|set| Some(&set.nanos))).as_secs_f64();
        let help = "Time from a parsed datagram to its response, for hits over UDP (a sample of them).";
        out.histogram("answer_duration_seconds", help, &[], &buckets, count, sum);
    }

    fn export_connections(&self, out: &mut Exporter) {
        let open = f64::from(self.open_connections().max(0));
        out.gauge("tcp_connections", "TCP connections open.", &[], open);
        let accepted = self.sum(|set| Some(&set.accepted));
        out.counter("tcp_connections_accepted_total", "TCP connections admitted.", &[], accepted);
        for (at, reason) in TurnedAway::ALL.iter().enumerate() {
            let labels = [("reason", reason.label())];
            let value = self.sum(|set| set.turned_away.get(at));
            out.counter("tcp_connections_rejected_total", "TCP connections turned away.", &labels, value);
        }
        for (at, reason) in Ended::ALL.iter().enumerate() {
            let labels = [("reason", reason.label())];
            let value = self.sum(|set| set.ended.get(at));
            out.counter("tcp_connections_closed_total", "TCP connections ended.", &labels, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_add_up() {
        let (metrics, locals) = QueryMetrics::new(2);
        let shared = metrics.shared();
        for local in &locals {
            local.queries(Transport::Udp, 3);
            local.response(Transport::Udp, Rcode::BADVERS, Origin::Error);
        }
        shared.queries(Transport::Udp, 1);
        shared.response(Transport::Tcp, Rcode(9), Origin::Forward);
        assert_eq!(metrics.sum(|set| set.queries.first()), 7);
        assert_eq!(metrics.sum(|set| set.responses[0].get(6)?.get(2)), 2);
        assert_eq!(metrics.sum(|set| set.responses[1].get(8)?.get(1)), 1);
    }

    #[test]
    fn sets_share_no_cache_line_with_anything() {
        // Nor with the pair of it, which is fetched along; the counts of references are in front.
        assert_eq!((align_of::<Set>(), size_of::<Set>() % 128), (128, 0));
    }

    #[test]
    fn durations_fall_into_their_buckets() {
        let (metrics, locals) = QueryMetrics::new(1);
        for nanos in [1, 1_000, 1_001, 20_000_000] {
            locals[0].answer_took(Duration::from_nanos(nanos));
        }
        assert_eq!(metrics.sum(|set| set.buckets.first()), 2);
        assert_eq!(metrics.sum(|set| set.buckets.get(1)), 1);
        assert_eq!(metrics.sum(|set| set.buckets.get(BUCKETS.len())), 1);
    }

    #[test]
    fn codes_without_a_label_share_one() {
        for (at, rcode) in RCODES.into_iter().enumerate() {
            assert_eq!(rcode_index(rcode), at);
        }
        assert_eq!(RCODES[rcode_index(Rcode(22))].label(), "other");
    }
}
