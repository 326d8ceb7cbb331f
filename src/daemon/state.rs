//! The running daemon as the control thread sees it: what `admin` may ask of
//! it, reloads and the drain.

mod cache_calls;
mod reload;
mod sync_calls;
mod top;

pub(super) use cache_calls::restore_cache;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use tracing::info;

use super::ConfigOrigin;
use super::inspect::{self, Inspection};
use super::reachable;
use crate::admin::inventory::Inventory;
use crate::admin::path::Paths;
use crate::admin::view::cache::{CacheFlushed, CacheListing};
use crate::admin::view::sync::{GenerationRow, SyncDiff, SyncDone, SyncStatus};
use crate::admin::view::top::Top;
use crate::admin::view::{Explanation, FindingRow, RecordRow, SourceRow, Status, ZoneRow};
use crate::admin::{CacheFilter, Control, ControlSocket, SyncOperation};
use crate::config::Config;
use crate::doctor::plan::{self, Known};
use crate::events::{Counters, outside};
use crate::metrics::Registry;
use crate::metrics::process::{COMMIT, Process, VERSION};
use crate::resolve::Resolver;
use crate::routes::periodic::{Checker, Settings as RouteSettings};
use crate::serve::Running;
use crate::snapshot::model::ZonePolicy;
use crate::snapshot::publish::Publisher;
use crate::sync;
use crate::sync::persist;
use crate::sync::policy::answer_options;
use crate::sync::watch::Command;

/// How often set and snapshot are looked at until they are of one generation, ...
const LOOKS: u32 = 100;
/// ... and the pause in between.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// What has been started.
pub(super) struct Parts {
    pub(super) process: Arc<Process>,
    pub(super) events: Arc<Counters>,
    pub(super) registry: Registry,
    pub(super) publisher: Arc<Publisher>,
    pub(super) status: sync::Status,
    pub(super) resolver: Resolver,
    pub(super) running: Running,
    pub(super) admin: Vec<SocketAddr>,
    pub(super) control_socket: Option<ControlSocket>,
    pub(super) checker: Checker,
}

/// The running daemon.
pub(super) struct State {
    origin: ConfigOrigin,
    config: RwLock<Arc<Config>>,
    process: Arc<Process>,
    events: Arc<Counters>,
    registry: Registry,
    publisher: Arc<Publisher>,
    status: sync::Status,
    resolver: Resolver,
    listen: Vec<SocketAddr>,
    admin: Vec<SocketAddr>,
    control_socket: Option<ControlSocket>,
    /// The periodic route checks; gone once they were stopped.
    checker: Mutex<Option<Checker>>,
    /// Gone once it was stopped.
    running: Mutex<Option<Arc<Running>>>,
    /// The way to the sync thread, once it runs.
    sync: OnceLock<Sender<Command>>,
    draining: AtomicBool,
    /// Held by the reload that runs: there is one at a time.
    reloading: Mutex<()>,
}

impl State {
    pub(super) fn new(origin: ConfigOrigin, config: Config, parts: Parts) -> Self {
        Self {
            origin,
            config: RwLock::new(Arc::new(config)),
            process: parts.process,
            events: parts.events,
            registry: parts.registry,
            publisher: parts.publisher,
            status: parts.status,
            resolver: parts.resolver,
            listen: parts.running.local_addrs().to_vec(),
            admin: parts.admin,
            control_socket: parts.control_socket,
            checker: Mutex::new(Some(parts.checker)),
            running: Mutex::new(Some(Arc::new(parts.running))),
            sync: OnceLock::new(),
            draining: AtomicBool::new(false),
            reloading: Mutex::new(()),
        }
    }

    pub(super) fn control_socket(&self) -> Option<&ControlSocket> {
        self.control_socket.as_ref()
    }

    pub(super) fn events(&self) -> &Counters {
        &self.events
    }

    /// Takes the way to the sync thread.
    pub(super) fn attach(&self, commands: Sender<Command>) {
        // There is one start.
        let _ = self.sync.set(commands);
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn running(&self) -> Option<Arc<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The workers' beats, for the watchdog; none once they were stopped.
    pub(super) fn beats(&self) -> Vec<u64> {
        self.running().map(|running| running.beats()).unwrap_or_default()
    }

    /// Wakes the workers that have not beaten since `seen`.
    pub(super) fn ask_for_beat(&self, seen: &[u64]) {
        if let Some(running) = self.running() {
            running.ask_for_beat(seen);
        }
    }

    /// The start-up banner: what runs, and with what.
    pub(super) fn announce(&self) {
        let config = self.config();
        let state = self.status.get();
        info!(version = VERSION, commit = COMMIT, workers = config.server.workers, "hubdns started");
        self.events.serving(&self.listen, config.server.workers);
        for listener in self.running().map(|running| running.listeners()).unwrap_or_default() {
            if listener.transport != "plain" || listener.is_proxied {
                let (address, transport, proxied) =
                    (listener.address, listener.transport, listener.is_proxied);
                info!(%address, transport, proxied, "listening");
            }
        }
        for address in &self.admin {
            info!(%address, "admin HTTP listening");
        }
        if let Some(socket) = &self.control_socket {
            let path = socket.path().display().to_string();
            info!(path = %outside(&path), "control socket listening");
        }
        let path = config.server.state_dir.display().to_string();
        info!(path = %outside(&path), generation = state.generation, "state directory");
        for group in inspect::group_rows(&config) {
            info!(group = group.name, upstreams = group.upstreams.join(", "), "upstream group");
        }
        for rule in inspect::rule_rows(&config) {
            info!(suffix = rule.suffix, group = rule.group, "forward rule");
        }
    }

    /// The banner's second half, once the sources were read for the first time:
    /// what is held.
    pub(super) fn announce_records(&self) {
        let state = self.status.get();
        for source in &state.sources {
            info!(source = %outside(&source.name), facts = source.facts, "source");
        }
        for zone in &state.set.zones {
            let falls_through = zone.policy == ZonePolicy::FallThrough;
            info!(zone = %zone.apex, rrsets = zone.rrsets.len(), falls_through, "local zone");
        }
    }

    /// What `systemctl status` shows.
    pub(super) fn one_line(&self) -> String {
        let state = self.status.get();
        let rrsets: usize = state.set.zones.iter().map(|zone| zone.rrsets.len()).sum();
        format!("generation {}, {rrsets} RRsets in {} zones", state.generation, state.set.zones.len())
    }

    /// From here on `/readyz` fails, so that load balancers send nobody new.
    pub(super) fn begin_drain(&self, signal: &'static str) {
        self.draining.store(true, Ordering::Release);
        self.events.draining(signal, self.config().server.drain);
    }

    /// Answers what is in flight; whether nothing is left.
    pub(super) async fn drain(&self) -> bool {
        match self.running() {
            Some(running) => running.drain(self.config().server.drain).await,
            None => true,
        }
    }

    /// Puts the settings of the route checks in force.
    fn reload_route_checks(&self, config: &Config) {
        if let Some(checker) = &*self.checker.lock().unwrap_or_else(PoisonError::into_inner) {
            checker.reconfigure(RouteSettings::new(&config.routes));
        }
    }

    /// Ends workers, TCP and the route checks.
    pub(super) fn stop(&self) {
        let checker = self.checker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(checker) = checker {
            checker.stop();
        }
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running.and_then(Arc::into_inner) {
            running.stop();
        }
    }

    /// Calls `work` with the published set laid open.
    fn inspect<T>(&self, work: impl FnOnce(&Inspection<'_>) -> T) -> T {
        let config = self.config();
        let (mut state, mut snapshot) = (self.status.get(), self.publisher.current());
        // The two are published one after the other: never a mixture.
        for _ in 0..LOOKS {
            if state.generation == snapshot.generation() {
                break;
            }
            std::thread::sleep(LOOK_PAUSE);
            (state, snapshot) = (self.status.get(), self.publisher.current());
        }
        work(&Inspection {
            config: &config,
            set: &state.set,
            options: &answer_options(&config),
            snapshot: &snapshot,
            provenance: &state.provenance,
            resolver: Some(&self.resolver),
        })
    }
}

#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the path of a method is not general enough over the lifetime of an inspection"
)]
impl Control for State {
    fn admits(&self, peer: IpAddr) -> bool {
        Config::admits(&self.config().admin.allow, peer)
    }

    fn is_called(&self, host: &str) -> bool {
        self.config().admin.hosts.iter().any(|name| name == host)
    }

    fn scrape(&self) -> String {
        self.registry.scrape()
    }

    fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.draining.load(Ordering::Acquire) {
            reasons.push("draining".to_owned());
        }
        if self.running().is_none() {
            reasons.push("not listening".to_owned());
        }
        if !self.status.get().loaded {
            reasons.push("no record set was ever loaded".to_owned());
        }
        reasons
    }

    fn status(&self) -> Status {
        let config = self.config();
        let state = self.status.get();
        let zones: Vec<ZoneRow> = self.inspect(|inspection: &Inspection<'_>| inspection.zone_rows());
        let sources = state.sources.iter().map(|source| SourceRow {
            name: source.name.clone(),
            last_success_at: source.last_success,
            error: source.last_error.clone(),
            facts: source.facts,
        });
        Status {
            version: VERSION.to_owned(),
            commit: COMMIT.to_owned(),
            started_at: self.process.started_at(),
            config: self.origin.name(),
            config_applied_at: self.events.applied_at(),
            unready: self.unready(),
            listen: self.listen.iter().map(SocketAddr::to_string).collect(),
            listeners: self.running().map(|running| inspect::listener_rows(&running)).unwrap_or_default(),
            admin: self.admin.iter().map(SocketAddr::to_string).collect(),
            state_dir: config.server.state_dir.display().to_string(),
            generation: state.generation,
            zones,
            aliases: state.set.aliases.len(),
            own: state.set.own.iter().map(ToString::to_string).collect(),
            sources: sources.collect(),
            groups: inspect::group_rows(&config),
            rules: inspect::rule_rows(&config),
            findings: inspect::finding_counts(&state.findings),
        }
    }

    fn top(&self) -> Top {
        self.look()
    }

    fn records(&self) -> Vec<RecordRow> {
        self.inspect(|inspection| inspection.records())
    }

    fn inventory(&self) -> Inventory {
        let listen = reachable::addresses(&self.listen);
        let mut inventory = Inventory::default();
        for _ in 0..LOOKS {
            let state = self.status.get();
            inventory =
                self.inspect(|inspection: &Inspection<'_>| inspection.inventory(&listen, state.created));
            // A set that was published in between has a time of its own.
            if inventory.generation == state.generation {
                break;
            }
        }
        inventory
    }

    fn findings(&self) -> Vec<FindingRow> {
        inspect::finding_rows(&self.status.get().findings)
    }

    fn explain(&self, name: &str, rtype: Option<&str>, client: Option<&str>) -> Result<Explanation, String> {
        self.inspect(|inspection| inspection.explain(name, rtype, client))
    }

    fn paths(&self, name: Option<&str>) -> Result<Paths, String> {
        let state = self.status.get();
        // The facts are saved beside the set; without them the findings tell of missing names.
        let facts = persist::load_facts(&self.config().server.state_dir, state.generation, &state.set).ok();
        let listings = facts.map(|facts| facts.listings).unwrap_or_default();
        self.inspect(|inspection| {
            let known =
                Known { inspection, findings: &state.findings, listings: &listings, listen: &self.listen };
            plan::plan(&known, name)
        })
    }

    fn reload(&self) -> Result<Vec<String>, Vec<String>> {
        self.reload_now()
    }

    fn sync_status(&self) -> SyncStatus {
        inspect::sync::status(&self.status.get())
    }

    fn sync_diff(&self) -> SyncDiff {
        inspect::sync::diff(&self.status.get())
    }

    fn sync_history(&self) -> Result<Vec<GenerationRow>, String> {
        self.saved_generations()
    }

    fn sync_operate(&self, operation: SyncOperation) -> Result<SyncDone, Vec<String>> {
        self.operate_sync(operation)
    }

    fn cache_list(&self, filter: &CacheFilter, whole: bool) -> Result<CacheListing, String> {
        self.list_cache(filter, whole)
    }

    fn cache_flush(&self, filter: &CacheFilter) -> Result<CacheFlushed, String> {
        self.flush_cache(filter)
    }
}
