//! The thread that checks the ways now and then, and asks the upstreams for
//! signatures: beside the packets, with a bound on what runs at a time.
//!
//! Two results in a row decide (`hysteresis`). When an address flips, the sync
//! is told; in between the table only tells newer times. An address that is
//! served no more, or that the configuration gives no consent for any more, is
//! forgotten. DNSSEC is probed once for each upstream that the forwarder uses
//! and again every few hours: an upstream that nobody was sent to is left alone.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use ipnet::IpNet;
use rand::RngExt as _;
use tokio::sync::watch;
use tracing::{info, warn};

use super::check::{Target, check};
use super::dns::{Answer, Question};
use super::dnssec;
use super::hysteresis::Held;
use super::tls::Trust;
use super::{Route, RouteProblem, RouteTable, Routes, UpstreamState, Upstreams};
use crate::config::{Config, RouteChecks, Upstream, UpstreamTransport};
use crate::events::{outside, unix_now};
use crate::metrics::routes::RouteMetrics;

/// Checks that run at a time.
const AT_A_TIME: usize = 8;
/// Longest wait for the first round.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// How often the upstreams in use are looked at, ...
const LOOK_AT_UPSTREAMS: Duration = Duration::from_secs(5);
/// ... how long what is known of one holds, ...
const PROBE_AGAIN: Duration = Duration::from_secs(6 * 3600);
/// ... how soon one is asked again that did not answer, ...
const PROBE_UNANSWERED: Duration = Duration::from_secs(600);
/// ... how long it is told of an upstream that a question came back from it, ...
const LOOP_STANDS: Duration = Duration::from_secs(600);
/// ... and how long a probe waits.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks an upstream by its own transport, within a time.
pub type ByStream = Arc<dyn Fn(Upstream, Question, Duration) -> Asking + Send + Sync>;

/// The answer to come; `None` if there is none.
pub type Asking = Pin<Box<dyn Future<Output = Option<Answer>> + Send>>;

/// What the rounds work with; a closure each, asked anew at every round.
#[derive(Clone)]
pub struct Inputs {
    /// The addresses that are answered, and those of endpoints that lost.
    pub targets: Arc<dyn Fn() -> Vec<Target> + Send + Sync>,
    /// The upstreams that were asked at least once, with their groups.
    pub upstreams: Arc<dyn Fn() -> Vec<(String, Upstream)> + Send + Sync>,
    /// How many questions came back from an upstream that they were in flight to.
    pub loops: Arc<dyn Fn(&Upstream) -> u64 + Send + Sync>,
    /// Whether an upstream may be sent one query more at the moment.
    pub may_ask: Arc<dyn Fn(&Upstream) -> bool + Send + Sync>,
    /// Asks an upstream that is not asked over UDP.
    pub by_stream: ByStream,
    /// Called when an address flips.
    pub changed: Arc<dyn Fn() + Send + Sync>,
}

/// Where the results go.
#[derive(Clone, Debug)]
pub struct Results {
    /// Of the ways.
    pub routes: Routes,
    /// Of the upstreams.
    pub upstreams: Upstreams,
    /// Counters.
    pub metrics: Arc<RouteMetrics>,
}

impl Default for Results {
    fn default() -> Self {
        let labels = std::iter::once("ok").chain(RouteProblem::LABELS);
        let metrics = Arc::new(RouteMetrics::new(labels));
        Self { routes: Routes::default(), upstreams: Upstreams::default(), metrics }
    }
}

/// The settings of the rounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    interval: Option<Duration>,
    timeout: Duration,
    port: u16,
    ca_file: Option<PathBuf>,
    connect_prefixes: Vec<IpNet>,
}

impl Settings {
    /// Takes them from the configuration.
    pub fn new(checks: &RouteChecks) -> Self {
        Self {
            interval: checks.interval,
            timeout: checks.timeout,
            port: checks.port,
            ca_file: checks.ca_file.clone(),
            connect_prefixes: checks.connect_prefixes.clone(),
        }
    }
}

/// The running thread.
#[derive(Debug)]
pub struct Checker {
    settings: watch::Sender<Settings>,
    thread: JoinHandle<()>,
}

impl Checker {
    /// Starts the thread `routes`.
    ///
    /// # Errors
    /// The system gives no thread or no runtime.
    pub fn start(settings: Settings, inputs: Inputs, results: Results) -> io::Result<Self> {
        let (sender, receiver) = watch::channel(settings);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("routes".to_owned()).spawn(move || {
            runtime.block_on(run(receiver, inputs, results));
            runtime.shutdown_background();
        })?;
        Ok(Self { settings: sender, thread })
    }

    /// Puts new settings in force. The same ones change nothing.
    pub fn reconfigure(&self, settings: Settings) {
        self.settings.send_if_modified(|held| {
            let differs = *held != settings;
            *held = settings;
            differs
        });
    }

    /// Ends the thread; checks that run are given up.
    pub fn stop(self) {
        drop(self.settings);
        let _ = self.thread.join();
    }
}

async fn run(mut settings: watch::Receiver<Settings>, inputs: Inputs, results: Results) {
    let mut rounds = Rounds { inputs: inputs.clone(), results: results.clone(), held: BTreeMap::new() };
    let mut probes = Probes { inputs, results, known: HashMap::new(), loops: HashMap::new() };
    loop {
        let current = settings.borrow_and_update().clone();
        tokio::select! {
            changed = settings.changed() => {
                // The sender is gone: the daemon stops.
                if changed.is_err() {
                    return;
                }
            }
            () = rounds.go(&current) => {}
            () = probes.go() => {}
        }
    }
}

/// The route checks.
struct Rounds {
    inputs: Inputs,
    results: Results,
    held: BTreeMap<(String, IpAddr), Held>,
}

impl Rounds {
    /// Rounds under these settings, for ever.
    async fn go(&mut self, settings: &Settings) {
        let Some(interval) = settings.interval else {
            self.forget();
            return std::future::pending().await;
        };
        tokio::time::sleep(jittered(FIRST_WAIT.min(interval), 0.0..1.0)).await;
        loop {
            let start = Instant::now();
            self.round(settings).await;
            // Nodes that started together do not go on together.
            let pause = jittered(interval, 0.9..1.1);
            tokio::time::sleep(pause.saturating_sub(start.elapsed()).max(Duration::from_millis(100))).await;
        }
    }

    async fn round(&mut self, settings: &Settings) {
        let mut targets = (self.inputs.targets)();
        targets.retain(|target| Config::admits(&settings.connect_prefixes, target.address));
        targets.sort();
        targets.dedup();
        let trust = Trust::load(settings.ca_file.as_deref());
        let trust = match trust {
            Ok(trust) => trust,
            Err(problem) => {
                // Says nothing about any address: what is known stays.
                warn!(error = %outside(&problem.to_string()), "route checks not possible");
                self.results.metrics.checked(problem.label());
                return;
            }
        };
        let checks = targets.into_iter().map(|target| {
            let trust = &trust;
            async move {
                let checked = check(&target, settings.port, trust, settings.timeout).await;
                (target, checked.problem)
            }
        });
        let done: Vec<(Target, Option<RouteProblem>)> =
            futures::stream::iter(checks).buffer_unordered(AT_A_TIME).collect().await;
        self.take(done);
    }

    /// Takes the results of a round whole.
    fn take(&mut self, done: Vec<(Target, Option<RouteProblem>)>) {
        let now = unix_now();
        let mut before = std::mem::take(&mut self.held);
        let mut flipped = false;
        let mut table = RouteTable::new();
        for (target, problem) in done {
            self.results.metrics.checked(problem.as_ref().map_or("ok", RouteProblem::label));
            let key = (target.name, target.address);
            let mut held = before.remove(&key).unwrap_or_default();
            if held.take(problem.as_ref().map(ToString::to_string)) {
                flipped = true;
                tell(&key, held.problem.as_deref());
            }
            table.insert(key.clone(), Route { problem: held.problem.clone(), checked_at: now });
            self.held.insert(key, held);
        }
        // What is gone and had failed no longer speaks against its endpoint.
        flipped |= before.values().any(|held| held.problem.is_some());
        self.publish(table, flipped);
    }

    fn forget(&mut self) {
        let flipped = self.held.values().any(|held| held.problem.is_some());
        self.held.clear();
        self.publish(RouteTable::new(), flipped);
    }

    fn publish(&self, table: RouteTable, flipped: bool) {
        let failed = table.values().filter(|route| route.problem.is_some()).count();
        self.results.metrics.failed(failed);
        self.results.routes.set(table);
        if flipped {
            (self.inputs.changed)();
        }
    }
}

/// Logs a change of state, once.
fn tell((name, address): &(String, IpAddr), problem: Option<&str>) {
    if let Some(problem) = problem {
        warn!(name = %outside(name), %address, error = %outside(problem), "route failed");
    } else {
        info!(name = %outside(name), %address, "route recovered");
    }
}

/// The DNSSEC probes.
struct Probes {
    inputs: Inputs,
    results: Results,
    known: HashMap<Upstream, (Option<bool>, Instant)>,
    /// How many questions had come back, and when that number last grew.
    loops: HashMap<Upstream, (u64, Option<Instant>)>,
}

impl Probes {
    /// Looks for upstreams to ask, for ever.
    async fn go(&mut self) {
        loop {
            let used = (self.inputs.upstreams)();
            self.known.retain(|upstream, _| used.iter().any(|(_, other)| other == upstream));
            self.loops.retain(|upstream, _| used.iter().any(|(_, other)| other == upstream));
            for (_, upstream) in &used {
                if self.is_due(upstream) && (self.inputs.may_ask)(upstream) {
                    let dnssec = self.probe(upstream).await;
                    // One lost answer does not take back what is known.
                    let before = self.known.get(upstream).and_then(|(dnssec, _)| *dnssec);
                    self.known.insert(upstream.clone(), (dnssec.or(before), Instant::now()));
                }
            }
            let known = |upstream: &Upstream| self.known.get(upstream).and_then(|(dnssec, _)| *dnssec);
            let mut states: Vec<UpstreamState> = used
                .into_iter()
                .map(|(group, upstream)| {
                    let (label, dnssec) = (upstream.to_string(), known(&upstream));
                    let count = (self.inputs.loops)(&upstream);
                    let looping = looping(&mut self.loops, upstream, count);
                    UpstreamState { group, upstream: label, dnssec, looping }
                })
                .collect();
            states.sort();
            states.dedup();
            if *self.results.upstreams.get() != states {
                self.results.upstreams.set(states);
                (self.inputs.changed)();
            }
            tokio::time::sleep(jittered(LOOK_AT_UPSTREAMS, 0.9..1.1)).await;
        }
    }

    /// Whether `upstream` hands on signatures; `None` if it does not say.
    async fn probe(&self, upstream: &Upstream) -> Option<bool> {
        let answer = match upstream.transport {
            UpstreamTransport::Udp => dnssec::ask_root(upstream.address, PROBE_TIMEOUT).await.ok(),
            UpstreamTransport::Tcp | UpstreamTransport::Tls | UpstreamTransport::Https => {
                (self.inputs.by_stream)(upstream.clone(), dnssec::question(), PROBE_TIMEOUT).await
            }
        };
        dnssec::judge(&answer?)
    }

    fn is_due(&self, upstream: &Upstream) -> bool {
        self.known.get(upstream).is_none_or(|(dnssec, at)| {
            let wait = if dnssec.is_some() { PROBE_AGAIN } else { PROBE_UNANSWERED };
            at.elapsed() >= wait
        })
    }
}

/// Whether questions come back from `upstream`, of which `count` did so far.
fn looping(loops: &mut HashMap<Upstream, (u64, Option<Instant>)>, upstream: Upstream, count: u64) -> bool {
    let (before, grown_at) = loops.entry(upstream).or_default();
    if count > *before {
        (*before, *grown_at) = (count, Some(Instant::now()));
    }
    grown_at.is_some_and(|at| at.elapsed() < LOOP_STANDS)
}

/// `time` times a factor out of `range`.
fn jittered(time: Duration, range: std::ops::Range<f64>) -> Duration {
    time.mul_f64(rand::rng().random_range(range))
}
