//! Startup order, runtimes, signals, drain: the only file that sees all parts.
//!
//! ```text
//! configuration ▸ logs ▸ saved set published ▸ listeners bound ▸ workers
//!     ▸ TCP ▸ sources read ▸ admin and control socket ▸ READY
//! ```
//!
//! A start needs neither a source nor an upstream: with a saved set nobody
//! waits for the sources. On the very first start the workers do, for a few
//! seconds at most: what is asked before the names are known would be
//! forwarded, and the client would keep the public address.
//!
//! Packets have threads of their own, TCP and upstream exchanges a
//! multi-threaded runtime, and everything else one thread named `control`:
//! signals, reloads, admin HTTP.

mod certificates;
pub mod inspect;
pub mod logging;
pub mod offline;
mod reachable;
mod route_checks;
mod state;
mod supervise;
mod systemd;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::admin::{self, Control, ControlSocket, ControlSocketError};
use crate::config::{Config, ConfigError, Overrides};
use crate::events::Counters;
use crate::findings::Notices;
use crate::forward::Settings;
use crate::metrics::admin::AdminCounters;
use crate::metrics::process::Process;
use crate::metrics::sync::SyncMetrics;
use crate::metrics::{Export, Exporter, Registry};
use crate::resolve::Resolver;
use crate::routes::periodic::Results as RouteResults;
use crate::serve::{self, Server};
use crate::sources::{Budgets, Permit};
use crate::sync::{SourceStatus, Status, Sync, watch};
use state::{Parts, State};

/// Longest wait for the first reading of the sources, ...
const FIRST_CYCLE: Duration = Duration::from_secs(5);
/// ... and how often it is looked for.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// Where the configuration is read from, at the start and at every reload.
#[derive(Clone, Debug, Default)]
pub struct ConfigOrigin {
    /// The file; without one the embedded quick start.
    pub file: Option<PathBuf>,
    /// What the command line and the environment put in its place.
    pub overrides: Overrides,
}

impl ConfigOrigin {
    /// Reads and validates it.
    ///
    /// # Errors
    /// All problems at once.
    pub fn load(&self) -> Result<Config, ConfigError> {
        match &self.file {
            Some(file) => Config::load_with(file, &self.overrides),
            None => Config::quick_start_with(&self.overrides),
        }
    }

    /// Its name for people.
    pub fn name(&self) -> String {
        self.file.as_ref().map_or_else(|| "quick start".to_owned(), |file| file.display().to_string())
    }
}

/// Why the daemon does not serve.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log level is no filter directive.
    #[error("log.level is no filter directive")]
    LogLevel(#[from] tracing_subscriber::filter::ParseError),
    /// A DNS listener cannot be had.
    #[error(transparent)]
    Serve(#[from] serve::ServeError),
    /// An admin listener cannot be had.
    #[error("cannot listen on {address} for admin HTTP")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another daemon has the control socket.
    #[error(transparent)]
    Control(#[from] ControlSocketError),
    /// Threads, runtimes or signal handlers cannot be had.
    #[error("cannot start {what}")]
    System {
        /// What could not be started.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl DaemonError {
    fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// Serves until a signal ends it.
///
/// # Errors
/// Anything that keeps it from serving; once it serves, nothing.
pub fn run(origin: ConfigOrigin) -> Result<(), DaemonError> {
    let process = Arc::new(Process::new());
    let config = origin.load()?;
    logging::start(&config.log)?;
    // Signals, admin HTTP and reloads share one thread, away from all packets.
    let control = Builder::new_current_thread()
        .enable_all()
        .thread_name("control-call")
        .on_thread_start(give_way)
        .max_blocking_threads(16)
        .build()
        .map_err(DaemonError::system("the control runtime"))?;
    let (done, outcome) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || {
            let _ = done.send(control.block_on(serve(origin, config, process)));
            // A call that hangs must not keep the process from ending.
            control.shutdown_background();
        })
        .map_err(DaemonError::system("the control thread"))?;
    let outcome = outcome.blocking_recv();
    let _ = thread.join();
    outcome.unwrap_or_else(|_| {
        Err(DaemonError::System { what: "the control thread", source: std::io::Error::other("it panicked") })
    })
}

/// Everything behind the configuration and the logs, on the control thread.
async fn serve(origin: ConfigOrigin, config: Config, process: Arc<Process>) -> Result<(), DaemonError> {
    // First of all: a SIGHUP before its handler is there would end the process.
    let signals = supervise::Signals::new().map_err(DaemonError::system("signal handlers"))?;
    let events = Arc::new(Counters::default());
    events.configuration_applied(&origin.name(), true);
    let sync_metrics = Arc::new(SyncMetrics::default());
    let routes = RouteResults::default();
    // The saved set is published here; no source is read yet.
    let mut sync = Sync::start(&config, Arc::clone(&sync_metrics));
    sync.attach_checks(routes.routes.clone(), routes.upstreams.clone());
    let notices = Notices::default();
    sync.attach_notices(notices.clone());
    let (publisher, status) = (sync.publisher(), sync.status());
    let bound = Server::bind(&config)?;
    let (admin_listeners, admin) = bind_admin(&config)?;
    let control_socket = bind_control(&config, &events)?;
    let packets = Builder::new_multi_thread()
        .enable_all()
        .thread_name("upstream")
        .build()
        .map_err(DaemonError::system("the packet runtime"))?;
    let settings = Settings::new(&config, bound.local_addrs());
    let resolver = Resolver::start(&settings, Arc::clone(&publisher), packets.handle().clone())
        .map_err(DaemonError::system("the forward thread"))?;
    state::restore_cache(&config, &resolver);
    // Azure DNS counts what the sources ask it with what the clients do.
    sync.draw_on(Arc::new(ServerBudgets(resolver.clone())));
    let spawn = |sync| giving_way(|| watch::spawn(sync)).map_err(DaemonError::system("the sync thread"));
    let (sync, running) = if status.get().loaded {
        // No answer waits for what the sync does: it finds the same, nearly always.
        let running = bound.start(&resolver, &publisher)?;
        (spawn(sync)?, running)
    } else {
        let sync = spawn(sync)?;
        first_cycle(&status).await;
        (sync, bound.start(&resolver, &publisher)?)
    };
    certificates::watch(&running, notices, sync.commands());
    // All threads that carry packets have been started: those to come give way to them.
    give_way();
    let admin_counters = Arc::new(AdminCounters::default());
    let registry = Registry::default()
        .with(process.clone())
        .with(events.clone())
        .with(sync_metrics)
        .with(routes.metrics.clone())
        .with(running.metrics())
        .with(Arc::new(Forwarding(resolver.clone())))
        .with(admin_counters.clone());
    let checker = route_checks::start(&config, &status, &resolver, sync.commands(), &routes)
        .map_err(DaemonError::system("the route checks"))?;
    let parts = Parts {
        process,
        events,
        registry,
        publisher,
        status,
        resolver,
        running,
        admin,
        control_socket,
        checker,
    };
    let state = Arc::new(State::new(origin, config, parts));
    let control: Arc<dyn Control> = state.clone();
    admin::start(admin_listeners, &control, &admin_counters)
        .map_err(DaemonError::system("the admin listeners"))?;
    if let Some(socket) = state.control_socket() {
        admin::start_control(socket, &control, &admin_counters)
            .map_err(DaemonError::system("the control socket"))?;
    }
    state.announce();
    state.attach(sync.commands());
    state.announce_records();
    systemd::ready(&state.one_line());
    let in_time = supervise::until_stopped(&state, signals).await;
    state.stop();
    state.save_cache();
    // What the sync has begun to save is saved.
    sync.stop();
    state.events().stopped(in_time);
    packets.shutdown_background();
    Ok(())
}

/// Puts this thread, and those it starts from now on, behind the packet workers
/// wherever both want a core. Best effort: the answers are the same.
fn give_way() {
    if let Err(error) = crate::socket::lower_priority() {
        tracing::debug!(%error, "thread keeps its priority");
    }
}

/// Runs `start`, which starts threads, so that these give way from their birth:
/// a thread inherits its priority. (The calling one may not be lowered yet, as
/// it has threads for packets to start.)
fn giving_way<T: Send>(start: impl FnOnce() -> std::io::Result<T> + Send) -> std::io::Result<T> {
    std::thread::scope(|scope| {
        let starting = std::thread::Builder::new().name("give-way".to_owned()).spawn_scoped(scope, || {
            give_way();
            start()
        })?;
        starting.join().unwrap_or_else(|_| Err(std::io::Error::other("it panicked")))
    })
}

/// Waits until every source was tried; one that reads in the background, until
/// it has delivered something. Not for long: a source that hangs must not keep
/// the rest from being served.
async fn first_cycle(status: &Status) {
    let tried = async {
        loop {
            let state = status.get();
            let tried = |source: &SourceStatus| source.last_success.is_some() || source.last_error.is_some();
            let is_over = state.loaded || !state.sources.is_empty();
            if is_over && state.sources.iter().all(tried) {
                break;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    };
    let _ = tokio::time::timeout(FIRST_CYCLE, tried).await;
}

/// The budgets of the governor, for who asks its upstreams' servers beside it.
struct ServerBudgets(Resolver);

impl Budgets for ServerBudgets {
    fn draw(&self, server: SocketAddr) -> Option<Permit> {
        let (governor, now) = self.0.forwarder().governor();
        governor.draw(server, now).ok().map(|drawn| Box::new(drawn) as Permit)
    }
}

/// The forwarder's counters, by way of the resolver that holds it.
struct Forwarding(Resolver);

impl Export for Forwarding {
    fn export(&self, out: &mut Exporter) {
        self.0.forwarder().export(out);
    }
}

/// Admin listeners with the ports that they got.
type AdminListeners = (Vec<std::net::TcpListener>, Vec<SocketAddr>);

fn bind_admin(config: &Config) -> Result<AdminListeners, DaemonError> {
    let listeners = admin::bind(&config.admin.listen)
        .map_err(|(address, source)| DaemonError::Admin { address, source })?;
    let addresses = listeners.iter().map(std::net::TcpListener::local_addr);
    let addresses: Result<Vec<_>, _> = addresses.collect();
    Ok((listeners, addresses.map_err(DaemonError::system("the admin listeners"))?))
}

/// The control socket. That of a running daemon is left alone and ends this
/// start: with `SO_REUSEPORT` the two would share the clients unseen. Any other
/// trouble costs the socket and nothing else.
fn bind_control(config: &Config, events: &Counters) -> Result<Option<ControlSocket>, DaemonError> {
    let Some(path) = &config.server.control_socket else {
        return Ok(None);
    };
    let bound = match ControlSocket::bind(path, config.server.control_group.as_deref()) {
        // Without its group the socket is of use to root and our own user still.
        Err(error @ ControlSocketError::Group { .. }) => {
            events.control_socket_failed(&error);
            ControlSocket::bind(path, None)
        }
        bound => bound,
    };
    match bound {
        Ok(socket) => Ok(Some(socket)),
        Err(error @ ControlSocketError::InUse(_)) => Err(error.into()),
        Err(error) => {
            events.control_socket_failed(&error);
            Ok(None)
        }
    }
}
