//! A replay: what a script says, and what it finds.

use std::net::{IpAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::text;
use super::upstream::{Asked, OF_ITS_OWN, PATIENCE, Upstream, Way};
use super::{rdata, settings};
use crate::forward::governor::{BudgetUse, UpstreamUse};
use crate::forward::{Engine, Settings, clock};
use crate::metrics::forward::{ForwardMetrics, UpstreamCounters};
use crate::resolve::{CLOCK_START, Origin, Reply, Resolved, Resolver};
use crate::snapshot::Snapshot;
use crate::snapshot::model::{Alias, AnswerOptions, RecordSet, Rrset, Soa, Zone, ZonePolicy};
use crate::snapshot::publish::Publisher;
use crate::wire::{Query, Rcode, Response, Rtype};

/// What a client got.
#[derive(Clone, Debug)]
struct Answer {
    bytes: Vec<u8>,
    at: Instant,
    /// Whether it never left the packet worker.
    at_once: bool,
}

/// A client that has asked.
#[derive(Clone)]
pub(super) struct Client {
    query: Vec<u8>,
    /// The longest response that it takes.
    limit: usize,
    address: Option<IpAddr>,
    answer: Arc<Mutex<Option<Answer>>>,
}

impl Reply for Client {
    fn send(self: Box<Self>, bytes: Vec<u8>, _: Rcode, _: Origin) {
        let answer = Answer { bytes, at: clock::now(), at_once: false };
        let before = self.answer.lock().unwrap().replace(answer);
        assert!(before.is_none(), "answered twice");
    }

    fn client(&self) -> Option<IpAddr> {
        self.address
    }
}

impl Client {
    fn answer(&self) -> Option<Answer> {
        self.answer.lock().unwrap().clone()
    }

    /// The response.
    #[track_caller]
    pub(super) fn response(&self) -> Vec<u8> {
        self.answer().expect("an answer").bytes
    }

    /// Whether it has an answer.
    pub(super) fn is_answered(&self) -> bool {
        self.answer().is_some()
    }

    /// What the extended error of the response says.
    #[track_caller]
    pub(super) fn reason(&self) -> String {
        text::reason(&self.response())
    }

    /// Checks that nothing was sent to it so far.
    #[track_caller]
    pub(super) fn waits(&self) {
        assert!(self.answer().is_none(), "{}", text::read(&self.response()));
    }
}

/// Clients, a resolver whose engine is driven here, upstreams, and the time.
pub(super) struct Replay {
    resolver: Resolver,
    engine: Engine,
    publisher: Arc<Publisher>,
    upstreams: Vec<Upstream>,
    /// Marks, and what comes from elsewhere than an upstream.
    post: UdpSocket,
    settings: Settings,
    begun: Instant,
    now: u64,
    id: u16,
    _runtime: Runtime,
}

impl Replay {
    /// One group of so many upstreams, with the default settings.
    pub(super) fn new(upstreams: usize) -> Self {
        Self::with(&[("main", upstreams)], |_| {})
    }

    /// Groups of so many upstreams each, with settings that differ by `change`.
    /// Upstreams are numbered throughout.
    pub(super) fn with(groups: &[(&'static str, usize)], change: impl FnOnce(&mut Settings)) -> Self {
        Self::on(OF_ITS_OWN, groups, change)
    }

    /// [`Self::with`], where the upstreams' address is `host`.
    pub(super) fn on(
        host: &str,
        groups: &[(&'static str, usize)],
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let total = groups.iter().map(|(_, count)| count).sum();
        let upstreams: Vec<Upstream> = (0..total).map(|number| Upstream::new(number, host)).collect();
        let mut addresses = upstreams.iter().map(|upstream| upstream.address);
        let groups: Vec<_> =
            groups.iter().map(|(name, count)| (*name, addresses.by_ref().take(*count).collect())).collect();
        let mut settings = settings(&groups);
        change(&mut settings);
        // The runtime that connections run on has its own time: what is due for
        // them by ours must lie far ahead.
        let begun = Instant::now() + Duration::from_secs(86_400);
        clock::set(Some(begun));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let publisher = Publisher::new(Snapshot::build(&RecordSet::default(), &options(), 1));
        let seen = Arc::clone(&publisher);
        let (resolver, engine) = Resolver::assemble(&settings, seen, runtime.handle().clone()).unwrap();
        let post = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (now, id) = (0, 0);
        Self { resolver, engine, publisher, upstreams, post, settings, begun, now, id, _runtime: runtime }
    }

    /// Reloads the settings with this difference to those at the beginning.
    pub(super) fn reload(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.settings.clone();
        change(&mut settings);
        self.resolver.reload(&settings);
        self.turn(0);
    }

    /// Makes `contoso` a registry of ours, with that address.
    pub(super) fn hold_contoso(&self, address: &str) {
        let [public, private] = ["contoso.azurecr.io", "contoso.privatelink.azurecr.io"];
        let (owner, rdatas) = (private.parse().unwrap(), vec![rdata(Rtype::A, address)]);
        let rrset = Rrset { owner, rtype: Rtype::A, ttl: 10, rdatas, variants: Vec::new() };
        let zone = Zone {
            apex: "privatelink.azurecr.io".parse().unwrap(),
            soa: Soa::azure(),
            policy: ZonePolicy::FallThrough,
            rrsets: std::iter::once(rrset).collect(),
        };
        let alias = Alias { public: public.parse().unwrap(), target: private.parse().unwrap() };
        let set = RecordSet {
            zones: vec![zone],
            aliases: std::iter::once(alias).collect(),
            own: Arc::new(vec![public.parse().unwrap()]),
            ..RecordSet::default()
        };
        self.publisher.publish(Snapshot::build(&set, &options(), 2));
    }

    // --- time ---

    /// Lets the time pass up to `ms` milliseconds since the beginning.
    #[track_caller]
    pub(super) fn at(&mut self, ms: u64) -> &mut Self {
        assert!(ms >= self.now, "{ms} ms was before {} ms", self.now);
        let mut idle = 0;
        while let Some(due) = self.engine.due_at().filter(|due| *due <= ms) {
            idle = if due > self.now { 0 } else { idle + 1 };
            assert!(idle < 100, "at {} ms: what was due at {due} ms is due for ever", self.now);
            self.set(due.max(self.now));
            self.turn(0);
        }
        self.set(ms);
        self.turn(0);
        self
    }

    /// The time, in milliseconds since the beginning.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// When something is due for the engine.
    pub(super) fn due(&self) -> Option<u64> {
        self.engine.due_at()
    }

    fn set(&mut self, ms: u64) {
        self.now = ms;
        clock::set(Some(self.begun + Duration::from_millis(ms)));
    }

    /// A pass of the engine; whether anything had come for it.
    fn turn(&mut self, patience: i32) -> bool {
        let came = self.engine.turn(patience);
        for upstream in &mut self.upstreams {
            upstream.collect(&self.post, self.now);
        }
        came
    }

    /// Waits until the engine has got something, and lets it work that off.
    #[track_caller]
    pub(super) fn until_heard(&mut self) {
        // A pass finds nothing where a bell rang that was heard before.
        let begun = Instant::now();
        let left = || PATIENCE.saturating_sub(begun.elapsed());
        while !self.turn(i32::try_from(left().as_millis()).unwrap()) {
            assert!(!left().is_zero(), "at {} ms: nothing came", self.now);
        }
    }

    // --- clients ---

    /// A client asks; see [`text::query`].
    pub(super) fn ask(&mut self, question: &str) -> Client {
        self.id += 1;
        let text::Query { bytes, context, client } = text::query(question, self.id);
        let parsed = Query::parse(&bytes).unwrap();
        let mut buf = vec![0xee; 65_535];
        buf[..bytes.len()].copy_from_slice(&bytes);
        let mut out = Response::new(&mut buf, 65_535);
        let asking =
            Client { query: bytes, limit: context.limit(&parsed), address: client, answer: Arc::default() };
        let (snapshot, now) = (self.publisher.current(), CLOCK_START + self.now);
        let later = asking.clone();
        let resolved = self.resolver.resolve(&parsed, &context, &snapshot, now, &mut out, || later);
        if let Resolved::Ready { len, .. } = resolved {
            let answer = Answer { bytes: buf[..len].to_vec(), at: clock::now(), at_once: true };
            *asking.answer.lock().unwrap() = Some(answer);
        }
        self.turn(0);
        asking
    }

    /// Checks that `client` was answered at this time, with this: under its
    /// own id, in its own spelling, with an OPT if it had sent one.
    #[track_caller]
    pub(super) fn gets(&self, client: &Client, expected: &str) {
        let answer = client.answer().unwrap_or_else(|| panic!("at {} ms: it still waits", self.now));
        let at = answer.at.saturating_duration_since(self.begun).as_millis();
        assert_eq!((text::read(&answer.bytes).as_str(), at), (expected, u128::from(self.now)));
        let query = Query::parse(&client.query).unwrap();
        assert_eq!(answer.bytes[..2], client.query[..2], "its own id");
        assert_eq!(answer.bytes[12..query.question_end], client.query[12..query.question_end]);
        assert!(answer.bytes.len() <= client.limit, "its own size");
        let (sent, got) = (query.edns, text::opt_of(&answer.bytes));
        assert_eq!(got.map(|opt| opt.dnssec_ok), sent.map(|opt| opt.dnssec_ok), "its own DO");
    }

    /// A client asks and has its answer at once: nobody else had a hand in it.
    #[track_caller]
    pub(super) fn hits(&mut self, question: &str, expected: &str) {
        let client = self.ask(question);
        let answer = client.answer().unwrap_or_else(|| panic!("at {} ms: {question} waits", self.now));
        assert!(answer.at_once, "at {} ms: {question} left the worker", self.now);
        self.gets(&client, expected);
    }

    /// A client asks, the first upstream answers with `text`, and the client gets that.
    #[track_caller]
    pub(super) fn fetches(&mut self, question: &str, text: &str) {
        self.fetches_in(0, question, text);
    }

    /// [`Self::fetches`], where the upstream takes so many milliseconds. An
    /// upstream that is not known but for one such answer has the configured time
    /// before it is asked again, if these are 300 and more.
    #[track_caller]
    pub(super) fn fetches_in(&mut self, ms: u64, question: &str, text: &str) {
        let client = self.ask(question);
        let asked = self.upstreams[0].arrived.pop_front().unwrap_or_else(|| panic!("{question} was no miss"));
        self.at(self.now + ms).answer(&asked, text);
        self.gets(&client, text);
    }

    // --- upstreams ---

    /// The next query that this upstream has got; it must be this, and have come now.
    #[track_caller]
    pub(super) fn sees(&mut self, upstream: usize, question: &str) -> Asked {
        let asked = self.saw(upstream, question);
        assert_eq!(asked.at, self.now, "when it came");
        asked
    }

    /// The next query that this upstream has got, at whatever time; it must be this.
    #[track_caller]
    pub(super) fn saw(&mut self, upstream: usize, question: &str) -> Asked {
        let asked = self.upstreams[upstream].arrived.pop_front();
        let asked = asked.unwrap_or_else(|| panic!("at {} ms: upstream {upstream} was not asked", self.now));
        assert_eq!(text::asked(&asked.bytes), question);
        asked
    }

    /// The query that is on its way to this upstream over TCP; it must be this.
    #[track_caller]
    pub(super) fn sees_tcp(&mut self, upstream: usize, question: &str) -> Asked {
        let asked = self.upstreams[upstream].read_tcp(self.now);
        assert_eq!(text::asked(&asked.bytes), question);
        asked
    }

    /// Checks that no upstream was asked anything that the script did not look at.
    #[track_caller]
    pub(super) fn is_quiet(&self) {
        for upstream in &self.upstreams {
            let more: Vec<String> = upstream.arrived.iter().map(|asked| text::asked(&asked.bytes)).collect();
            assert!(more.is_empty(), "asked at {} as well: {more:?}", upstream.address);
            let sent = ["", "tcp://"].map(|scheme| {
                let name = format!("{scheme}{}", upstream.address);
                self.metrics().upstream(name).sent().1
            });
            let over_tcp: u64 = sent.iter().sum();
            assert!(over_tcp <= upstream.over_tcp, "asked over TCP at {} as well", upstream.address);
        }
    }

    /// All queries that this upstream has got and nobody looked at.
    pub(super) fn take(&mut self, upstream: usize) -> Vec<Asked> {
        self.upstreams[upstream].arrived.drain(..).collect()
    }

    /// The probe that this upstream has got now, and the only one.
    #[track_caller]
    pub(super) fn sees_probe(&mut self, upstream: usize) -> Asked {
        let mut probes = self.take_probes(upstream);
        let times: Vec<u64> = probes.iter().map(|probe| probe.at).collect();
        assert_eq!(times, [self.now], "when probes came");
        probes.remove(0)
    }

    /// All probes that this upstream has got and nobody looked at.
    pub(super) fn take_probes(&mut self, upstream: usize) -> Vec<Asked> {
        self.upstreams[upstream].probes.drain(..).collect()
    }

    /// Passes over whatever the upstreams were asked so far.
    pub(super) fn overlook(&mut self) {
        self.upstreams.iter_mut().for_each(|upstream| upstream.arrived.clear());
    }

    /// The upstream answers, and the engine gets that.
    #[track_caller]
    pub(super) fn answer(&mut self, asked: &Asked, text: &str) {
        self.send(asked, &asked.reply(text));
    }

    /// The upstream sends this where the query came from, and the engine gets it.
    #[track_caller]
    pub(super) fn send(&mut self, asked: &Asked, bytes: &[u8]) {
        self.upstreams[asked.upstream].send(asked.way, bytes);
        self.until_heard();
    }

    /// The upstream sends this where nobody listens any more.
    pub(super) fn send_in_vain(&mut self, asked: &Asked, bytes: &[u8]) {
        self.upstreams[asked.upstream].send(asked.way, bytes);
        self.turn(0);
    }

    /// Somebody else sends this where the query came from.
    pub(super) fn forge(&mut self, asked: &Asked, bytes: &[u8]) {
        if let Way::Udp(to) = asked.way {
            self.post.send_to(bytes, to).unwrap();
        }
        self.turn(0);
    }

    /// The upstream is no more.
    pub(super) fn close(&mut self, upstream: usize) {
        self.upstreams[upstream].close();
    }

    /// The upstream ends its connection.
    pub(super) fn close_stream(&mut self, upstream: usize) {
        self.upstreams[upstream].close_stream();
    }

    // --- what is known ---

    pub(super) fn metrics(&self) -> &ForwardMetrics {
        self.resolver.forwarder().metrics()
    }

    pub(super) fn counters(&self, upstream: usize) -> Arc<UpstreamCounters> {
        self.metrics().upstream(self.upstreams[upstream].address)
    }

    /// How this upstream fares.
    pub(super) fn health(&self, upstream: usize) -> UpstreamUse {
        let name = self.upstreams[upstream].address.to_string();
        let (governor, _) = self.resolver.forwarder().governor();
        governor.upstreams().into_iter().find(|shown| shown.name.ends_with(&name)).expect("an upstream")
    }

    /// How the budget of this upstream stands.
    pub(super) fn budget(&self, upstream: usize) -> BudgetUse {
        let address = self.upstreams[upstream].address.to_string();
        let (governor, now) = self.resolver.forwarder().governor();
        governor.budgets(10, now).into_iter().find(|shown| shown.address == address).expect("a budget")
    }

    /// Responses in the cache.
    pub(super) fn kept(&self) -> u64 {
        self.resolver.forwarder().cache().usage().entries
    }

    /// Questions in flight.
    pub(super) fn in_flight(&self) -> u64 {
        self.metrics().load().0
    }
}

impl Drop for Replay {
    /// An upstream that was asked more than the script tells of is a failure.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.is_quiet();
        }
        clock::set(None);
    }
}

fn options() -> AnswerOptions {
    let suffixes = vec!["azurecr.io".parse().unwrap()];
    AnswerOptions { flat: false, forward_own_missing: false, suffixes, special: Vec::new() }
}
