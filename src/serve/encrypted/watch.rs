//! Looks at the files of certificates when something tells that they changed,
//! and now and then where nothing does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::certificates::CertificateState;
use super::service::Listener;

/// After an event, wait until the files have been quiet for this long: a
/// certificate and its key are written one after the other.
const QUIET: Duration = Duration::from_millis(200);
/// Events that are waited out at most.
const MOST_EVENTS: u32 = 10;
/// How often files are looked at where nothing watches.
const POLL: Duration = Duration::from_secs(5);
/// The same where a watcher runs: some file systems tell nothing. A certificate
/// that comes to its end is seen at the same time.
const POLL_WATCHED: Duration = Duration::from_secs(60);

/// Called when something changed that an operator should know.
pub type OnChange = Box<dyn Fn(&[CertificateState]) + Send + Sync>;

/// The certificates of all listeners.
#[derive(Default)]
pub(super) struct Certificates {
    listeners: Vec<Arc<Listener>>,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    last: Vec<CertificateState>,
    on_change: Option<OnChange>,
}

impl Certificates {
    pub(super) fn new(listeners: Vec<Arc<Listener>>) -> Arc<Self> {
        Arc::new(Self { listeners, told: Mutex::default() })
    }

    /// How they fare, a state for each listener.
    pub(super) fn states(&self) -> Vec<CertificateState> {
        self.listeners.iter().map(|listener| listener.store.state(listener.address)).collect()
    }

    /// Calls `call` now, and whenever a state changes.
    pub(super) fn on_change(&self, call: OnChange) {
        call(&self.states());
        self.told.lock().unwrap_or_else(PoisonError::into_inner).on_change = Some(call);
        self.tell();
    }

    /// Looks at all files. Reads them: not for a runtime's thread.
    pub(super) fn look(&self) {
        for listener in &self.listeners {
            listener.store.look(listener.address);
        }
        self.tell();
    }

    fn tell(&self) {
        let states = self.states();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.last != states {
            if let Some(call) = &told.on_change {
                call(&states);
            }
            told.last = states;
        }
    }

    fn directories(&self) -> BTreeSet<PathBuf> {
        let files = self.listeners.iter().flat_map(|listener| listener.store.files());
        files.flat_map(directories).collect()
    }

    /// Looks again and again; never ends.
    pub(super) async fn watch(self: Arc<Self>) {
        let woken = Arc::new(Notify::new());
        let mut known = BTreeSet::new();
        let mut watcher = None;
        loop {
            let directories = self.directories();
            if directories != known {
                watcher = start(&directories, &woken);
                known = directories;
                // What changed before the watch began is told by nobody else.
                woken.notify_one();
            }
            let poll = if watcher.is_some() { POLL_WATCHED } else { POLL };
            if timeout(poll, woken.notified()).await.is_ok() {
                for _ in 0..MOST_EVENTS {
                    if timeout(QUIET, woken.notified()).await.is_err() {
                        break;
                    }
                }
            }
            let looking = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || looking.look()).await.is_err() {
                // A defect; the certificates in use stay.
                sleep(POLL).await;
            }
        }
    }
}

/// The directories to watch for one file: its parent, since renaming happens
/// there, and where it leads if it is a symbolic link (Kubernetes mounts are).
fn directories(path: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let real = path.canonicalize().ok();
    let both = [Some(path.to_owned()), real].into_iter().flatten();
    both.filter_map(|path| path.parent().filter(|parent| parent.is_dir()).map(Path::to_owned))
}

fn start(directories: &BTreeSet<PathBuf>, woken: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let wake = Arc::clone(woken);
    let watcher = notify::recommended_watcher(move |event: Result<notify::Event, notify::Error>| {
        // Reading files is an event too, and no change.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            wake.notify_one();
        }
    });
    let started = watcher.and_then(|mut watcher| {
        for directory in directories {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    });
    started
        .inspect_err(|error| {
            tracing::warn!(%error, poll_seconds = POLL.as_secs(), "certificates are polled, not watched");
        })
        .ok()
}
