//! A resolver over a record set and scripted upstreams, with a clock that the
//! test sets.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use hubdns::answer::{Context, Transport};
use hubdns::config;
use hubdns::forward::{Forwarder, Settings};
use hubdns::resolve::{Origin, Reply, Resolved, Resolver};
use hubdns::snapshot::Snapshot;
use hubdns::snapshot::model::AnswerOptions;
use hubdns::snapshot::publish::Publisher;
use hubdns::wire::edns::OPTION_EDE;
use hubdns::wire::message::Message;
use hubdns::wire::{Edns, Name, Query, Rcode, Response, Rtype};

use super::estate::{options, query, record_set, text};

/// How long an answer is awaited before the test is given up as hanging.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than any test: what must not happen.
pub const NEVER: Duration = Duration::from_secs(3600);

/// A response, and where it came from.
#[derive(Clone, Debug)]
pub struct Answer {
    pub bytes: Vec<u8>,
    pub rcode: Rcode,
    pub origin: Origin,
    /// Whether it was ready in the worker.
    pub at_once: bool,
}

impl Answer {
    /// `NOERROR aa | answer | authority`.
    pub fn text(&self) -> String {
        text(&self.bytes)
    }

    /// The response's OPT.
    pub fn edns(&self) -> Option<Edns> {
        let message = Message::parse(&self.bytes).unwrap();
        let opt = message.records().find(|record| record.rtype == Rtype::OPT)?;
        Edns::parse(&self.bytes, opt.owner_at + 1).map(|(edns, _)| edns)
    }

    /// The codes of its extended errors.
    pub fn ede(&self) -> Vec<u16> {
        let Some(edns) = self.edns() else { return Vec::new() };
        let options = edns.options(&self.bytes).filter(|(code, _)| *code == OPTION_EDE);
        options.map(|(_, data)| u16::from_be_bytes([data[0], data[1]])).collect()
    }
}

struct Channel(mpsc::Sender<Answer>, Option<IpAddr>);

impl Reply for Channel {
    fn send(self: Box<Self>, bytes: Vec<u8>, rcode: Rcode, origin: Origin) {
        let _ = self.0.send(Answer { bytes, rcode, origin, at_once: false });
    }

    fn client(&self) -> Option<IpAddr> {
        self.1
    }
}

/// An answer that is awaited.
pub struct Awaited(mpsc::Receiver<Answer>);

impl Awaited {
    /// Waits for it.
    pub fn get(self) -> Answer {
        self.0.recv_timeout(PATIENCE).expect("an answer, always")
    }

    /// Whether it has not come yet.
    pub fn is_pending(&self) -> bool {
        matches!(self.0.try_recv(), Err(mpsc::TryRecvError::Empty))
    }
}

/// A resolver under test.
pub struct Rig {
    pub resolver: Resolver,
    pub publisher: Arc<Publisher>,
    pub settings: Settings,
    options: AnswerOptions,
    clock: AtomicU64,
    generation: AtomicU64,
    _runtime: tokio::runtime::Runtime,
}

/// Settings with one group per slice of addresses; the first has the root rule.
pub fn settings(groups: &[&[SocketAddr]]) -> Settings {
    let group = |(index, addresses): (usize, &&[SocketAddr])| config::UpstreamGroup {
        name: format!("group{index}"),
        upstreams: config::Upstreams::addresses(addresses),
    };
    Settings {
        forward: config::Forward {
            groups: groups.iter().enumerate().map(group).collect(),
            rules: vec![config::ForwardRule { suffix: Name::root(), group: 0 }],
            fallback: None,
            client_deadline: Duration::from_secs(20),
            stale_after: Duration::from_millis(1800),
            resend_after: NEVER,
            exchange_deadline: NEVER,
            max_in_flight: 1000,
            max_waiters: 1000,
            max_waiters_per_client: 1000,
            udp_bytes: 1232,
            streams: config::Streams::default(),
            governor: config::Governor::default(),
        },
        cache: config::Cache {
            max_bytes: 4 << 20,
            min_ttl: 0,
            max_ttl: 86_400,
            max_negative_ttl: 3600,
            servfail_ttl: 5,
            max_stale: 0,
            stale_ttl: 30,
            stale_recheck: 30,
            max_renewals: 0,
            save: false,
        },
        listeners: Vec::new(),
        resolv_conf: "/nonexistent/resolv.conf".into(),
    }
}

impl Rig {
    /// A resolver that holds nothing and asks `upstream`.
    pub fn plain(upstream: SocketAddr) -> Self {
        Self::new("", settings(&[&[upstream]]), |_| {})
    }

    /// A resolver that holds `estate`.
    pub fn new(estate: &str, settings: Settings, change: impl Fn(&mut AnswerOptions)) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut options = options();
        change(&mut options);
        let publisher = Publisher::new(Snapshot::build(&record_set(estate), &options, 1));
        let resolver = Resolver::start(&settings, Arc::clone(&publisher), runtime.handle().clone()).unwrap();
        let (clock, generation) = (AtomicU64::new(1_000_000), AtomicU64::new(2));
        Self { resolver, publisher, settings, options, clock, generation, _runtime: runtime }
    }

    /// Lets `seconds` pass on the clock of the cache.
    pub fn pass(&self, seconds: u64) {
        self.clock.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    /// Publishes another record set.
    pub fn publish(&self, estate: &str) {
        let generation = self.generation.fetch_add(1, Ordering::SeqCst);
        self.publisher.publish(Snapshot::build(&record_set(estate), &self.options, generation));
    }

    /// Waits until `condition` holds for the counters.
    pub fn until(&self, condition: impl Fn(&Forwarder) -> bool) {
        let begun = Instant::now();
        while !condition(self.resolver.forwarder()) {
            assert!(begun.elapsed() < PATIENCE, "never happened");
            std::thread::yield_now();
        }
    }

    /// Sends a query in; over UDP with 1232 bytes at most.
    pub fn send(&self, query: &[u8], transport: Transport) -> Awaited {
        self.send_as(query, Context { transport, ..Context::INTERNAL })
    }

    /// [`Rig::send`] in a context of the test's own.
    pub fn send_as(&self, query: &[u8], context: Context) -> Awaited {
        self.send_from(query, context, None)
    }

    /// [`Rig::send_as`] by a client with that address.
    pub fn send_from(&self, query: &[u8], context: Context, client: Option<IpAddr>) -> Awaited {
        let (sender, receiver) = mpsc::channel();
        let parsed = Query::parse(query).unwrap();
        let mut buf = vec![0xee; 65_535];
        buf[..query.len()].copy_from_slice(query);
        let mut out = Response::new(&mut buf, 65_535);
        let snapshot = self.publisher.current();
        let now = self.clock.load(Ordering::SeqCst);
        let later = sender.clone();
        let resolved =
            self.resolver.resolve(&parsed, &context, &snapshot, now, &mut out, || Channel(later, client));
        if let Resolved::Ready { len, rcode, origin, .. } = resolved {
            let bytes = buf[..len].to_vec();
            sender.send(Answer { bytes, rcode, origin, at_once: true }).unwrap();
        }
        Awaited(receiver)
    }

    /// Asks over UDP with RD and an OPT of 1232, and waits.
    pub fn ask(&self, qname: &str, qtype: Rtype) -> Answer {
        self.begin(qname, qtype).get()
    }

    /// [`Rig::ask`] without waiting.
    pub fn begin(&self, qname: &str, qtype: Rtype) -> Awaited {
        self.send(&query(qname, qtype, 0x0100, Some(1232)), Transport::Udp)
    }
}
