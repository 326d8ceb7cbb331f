//! Azure, live: reads the estate through Azure Resource Manager.
//!
//! ```text
//! cloud ─▶ http ─▶ identity ─▶ arm (budget, paging, errors) ─▶ client ─▶ read (listings of facts)
//! ```
//!
//! Before [`ReadRecords::start`] a reading is one whole pass that is waited
//! for, which is what commands want. From then on a thread of its own reads,
//! and a reading is what it has found by now.

pub mod arm;
pub mod bootstrap;
mod client;
pub mod cloud;
pub mod http;
pub mod identity;
pub mod permissions;
mod plan;
mod read;
mod settings;
pub mod versions;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::error;

use self::arm::{Arm, ArmError, Limits};
use self::bootstrap::budgeted::Budgets;
use self::cloud::Endpoints;
use self::http::Http;
use self::identity::Identity;
use self::read::problem::Problem;
use self::read::shared::Shared;
use super::facts::{Listing, SourceKind};
use super::{Changed, ReadRecords, Reading, SourceError};
use crate::config::{Config, Source};
use crate::metrics::azure::AzureMetrics;

pub use self::client::Client;
pub use self::read::{PassReport, QUERY, Reader};
pub use self::settings::Settings;

/// The scope that failures to reach Azure at all are told under.
const CONNECTION: &str = "connection";
/// After a failure to set the client up, or a defect, the next try comes after this.
const AGAIN: Duration = Duration::from_secs(30);

/// Makes a client: for the daemon (`false`) or for an interactive command.
pub type Connect =
    Arc<dyn Fn(&Settings, bool, &Arc<AzureMetrics>) -> Result<Arc<dyn Client>, ArmError> + Send + Sync>;

/// The live source.
pub struct Azure {
    settings: Arc<Settings>,
    connect: Connect,
    metrics: Mutex<Arc<AzureMetrics>>,
    recalled: Mutex<Option<Vec<Listing>>>,
    running: Mutex<Option<Running>>,
    budgets: SharedBudgets,
}

/// What the look-ups of the source's client draw on, once that is known.
type SharedBudgets = Arc<Mutex<Option<Arc<dyn Budgets>>>>;

/// The thread that reads. It ends when the sender is dropped.
struct Running {
    commands: UnboundedSender<Changed>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Azure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Azure").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Azure {
    /// Opens nothing yet: reading does.
    pub fn new(settings: Settings) -> Self {
        let budgets = SharedBudgets::default();
        let shared = Arc::clone(&budgets);
        let connect = move |settings: &Settings, interactive: bool, metrics: &Arc<AzureMetrics>| {
            connect(settings, interactive, metrics, lock(&shared).clone())
        };
        Self { budgets, ..Self::with_client(settings, Arc::new(connect)) }
    }

    /// A source whose client `connect` makes.
    pub fn with_client(settings: Settings, connect: Connect) -> Self {
        let (metrics, recalled, running) = (Mutex::default(), Mutex::default(), Mutex::default());
        let budgets = SharedBudgets::default();
        Self { settings: Arc::new(settings), connect, metrics, recalled, running, budgets }
    }

    /// One pass, waited for. In a thread of its own: the caller may be one of
    /// a runtime's, which must not wait.
    fn read_once(&self) -> Result<Reading, SourceError> {
        let pass = || -> Result<Reading, SourceError> {
            let runtime = runtime()?;
            let settings = Arc::clone(&self.settings);
            let shared: Arc<Shared> = Arc::default();
            let recalled = lock(&self.recalled).clone();
            let metrics = Arc::clone(&lock(&self.metrics));
            let result = runtime.block_on(async {
                let client = (self.connect)(&settings, true, &metrics)?;
                let mut reader =
                    Reader::with_shared(settings, client, recalled.as_deref(), Arc::clone(&shared));
                reader.pass().await;
                Ok(shared.reading())
            });
            runtime.shutdown_background();
            result.map_err(|error: ArmError| SourceError::Azure(Arc::new(error)))
        };
        let joined = std::thread::scope(|scope| scope.spawn(pass).join());
        let mut reading = joined.unwrap_or_else(|payload| Err(Problem::defect(payload.as_ref()).error()))?;
        if reading.listings.is_empty() && !reading.failures.is_empty() {
            return Err(reading.failures.swap_remove(0).error);
        }
        Ok(reading)
    }
}

impl ReadRecords for Azure {
    fn name(&self) -> &str {
        &self.settings.source.name
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Azure
    }

    fn read(&self) -> Result<Reading, SourceError> {
        match lock(&self.running).as_ref() {
            Some(running) => Ok(running.shared.reading()),
            None => self.read_once(),
        }
    }

    fn recall(&self, listings: &[Listing]) {
        let mut recalled = lock(&self.recalled);
        recalled.get_or_insert_with(|| listings.to_vec());
    }

    fn start(&self, changed: Changed) {
        let mut running = lock(&self.running);
        if running.is_some() {
            return;
        }
        let (commands, receiver) = unbounded_channel();
        let shared: Arc<Shared> = Arc::default();
        let mut background = Background {
            settings: Arc::clone(&self.settings),
            connect: Arc::clone(&self.connect),
            metrics: Arc::clone(&lock(&self.metrics)),
            recalled: lock(&self.recalled).take(),
            commands: receiver,
            changed,
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new().name("azure".to_owned());
        match thread.spawn(move || background.run()) {
            Ok(_) => *running = Some(Running { commands, shared }),
            // Readings are then passes that the sync waits for.
            Err(problem) => error!(source = self.name(), error = %problem, "azure reader not started"),
        }
    }

    fn refresh(&self, done: Changed) -> bool {
        lock(&self.running).as_ref().is_some_and(|running| running.commands.send(done).is_ok())
    }

    fn count_in(&self, metrics: &Arc<AzureMetrics>) {
        *lock(&self.metrics) = Arc::clone(metrics);
    }

    fn draw_on(&self, budgets: &Arc<dyn Budgets>) {
        *lock(&self.budgets) = Some(Arc::clone(budgets));
    }

    fn watched_paths(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    fn is_made_from(&self, source: &Source, config: &Config) -> bool {
        matches!(source, Source::Azure(source) if Settings::new(source, config) == *self.settings)
    }
}

/// What runs in the thread `azure`.
struct Background {
    settings: Arc<Settings>,
    connect: Connect,
    recalled: Option<Vec<Listing>>,
    metrics: Arc<AzureMetrics>,
    commands: UnboundedReceiver<Changed>,
    changed: Changed,
    shared: Arc<Shared>,
}

impl Background {
    /// Reads until the source is dropped. What fails, panics included, is told
    /// and tried again.
    fn run(&mut self) {
        loop {
            let result = catch_unwind(AssertUnwindSafe(|| self.read()));
            let problem = match result {
                Ok(Ok(())) => return,
                Ok(Err(problem)) => problem,
                Err(payload) => Problem::defect(payload.as_ref()),
            };
            error!(error = %crate::events::outside(&problem.error().to_string()), "azure reader failed");
            self.shared.tell(CONNECTION, Some(problem));
            (self.changed)();
            if !self.wait() {
                return;
            }
        }
    }

    fn read(&mut self) -> Result<(), Problem> {
        let runtime = runtime().map_err(|error| Problem::defect(&error.to_string()))?;
        let result = runtime.block_on(async {
            let client = (self.connect)(&self.settings, false, &self.metrics)?;
            self.shared.tell(CONNECTION, None);
            // After a defect: what was found before it, and what was saved.
            let known = self.known();
            let mut reader = Reader::with_shared(
                Arc::clone(&self.settings),
                client,
                known.as_deref(),
                Arc::clone(&self.shared),
            );
            reader.run(&mut self.commands, &self.changed).await;
            Ok(())
        });
        // A request that hangs holds nobody up.
        runtime.shutdown_background();
        result
    }

    fn known(&self) -> Option<Vec<Listing>> {
        let mut known = self.recalled.clone()?;
        for listing in self.shared.listings() {
            known.retain(|old| old.id.scope != listing.id.scope);
            known.push(listing);
        }
        Some(known)
    }

    /// Waits before the next try. Whether the source is still there.
    fn wait(&mut self) -> bool {
        let Ok(runtime) = runtime() else {
            std::thread::sleep(AGAIN);
            return !self.commands.is_closed();
        };
        runtime.block_on(async {
            tokio::select! {
                command = self.commands.recv() => {
                    // Whoever asked is told that nothing will come of it.
                    command.as_ref().inspect(|done| done()).is_some()
                }
                () = tokio::time::sleep(AGAIN) => true,
            }
        })
    }
}

fn runtime() -> Result<Runtime, SourceError> {
    let built = Builder::new_current_thread().enable_all().build();
    built.map_err(|error| SourceError::Defect { message: format!("no runtime: {error}") })
}

/// The client of Azure's Resource Manager.
fn connect(
    settings: &Settings,
    interactive: bool,
    metrics: &Arc<AzureMetrics>,
    budgets: Option<Arc<dyn Budgets>>,
) -> Result<Arc<dyn Client>, ArmError> {
    let source = &settings.source;
    let http = Http::within(source, &settings.upstreams, &settings.own, budgets)?;
    let endpoints = Endpoints::new(&source.cloud);
    let identity = Identity::new(source.identity.clone(), endpoints.clone(), http.clone(), interactive);
    let limits = Limits::default();
    Ok(Arc::new(Arm::with(http, Arc::new(identity), endpoints, limits, Arc::clone(metrics))))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
