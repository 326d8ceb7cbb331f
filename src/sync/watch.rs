//! The thread that runs the cycles: when a file changes, when a source has
//! news, when asked, when a grace time ends, and again after a failure.
//!
//! The watcher looks at directories, so that a file renamed over another is
//! seen, and only wakes the thread; whether anything changed is told by the
//! files' fingerprints. So polling, which stands in where watching fails (and
//! behind it, for network file systems that tell nothing), finds the same.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tracing::warn;

use super::cycle::{Report, Sync, Trigger};
use super::operate::{Operation, Outcome};
use crate::config::Config;
use crate::sources::Changed;

/// After an event, wait until files have been quiet for this long, ...
const QUIET: Duration = Duration::from_millis(200);
/// ... but no longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How often fingerprints are compared where nothing watches.
const POLL: Duration = Duration::from_secs(5);
/// The same where a watcher runs.
const POLL_WATCHED: Duration = Duration::from_secs(60);
/// After a failure, or while a removal waits.
const RETRY: Duration = Duration::from_secs(65);
/// After a cycle it is looked so often, with this pause, whether readers have
/// let go of what was superseded: they are woken for it.
const LOOKS: u32 = 50;
/// See [`LOOKS`].
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// Entries of one watched directory that a fingerprint looks at.
const MAX_ENTRIES: usize = 100_000;

/// What the sync thread is told.
#[derive(Debug)]
pub enum Command {
    /// A new configuration is in force. The report of its cycle goes to `done`.
    Reload {
        /// The configuration.
        config: Box<Config>,
        /// Who waits for it.
        done: Option<Sender<Report>>,
    },
    /// Read all sources now. The report is that of the cycle that has the
    /// news of sources that read in the background, if there are such.
    ReadNow {
        /// Who waits for it.
        done: Option<Sender<Report>>,
    },
    /// An operator has decided something.
    Operate {
        /// What.
        operation: Operation,
        /// Who waits for the outcome.
        done: Sender<Result<Outcome, String>>,
    },
    /// Files may have changed; sent by the watcher.
    Changed,
    /// A source that reads in the background has news.
    News,
    /// Sources that read in the background have read everything, as
    /// [`Command::ReadNow`] asked them.
    Refreshed {
        /// Who waits for it.
        done: Option<Sender<Report>>,
    },
    /// End the thread after the cycle that runs.
    Stop,
}

/// The sync thread.
#[derive(Debug)]
pub struct Handle {
    commands: Sender<Command>,
    thread: JoinHandle<()>,
}

impl Handle {
    /// A way to give commands. After the thread has ended sending fails.
    pub fn commands(&self) -> Sender<Command> {
        self.commands.clone()
    }

    /// Ends the thread and waits for it; a cycle that runs is finished first.
    pub fn stop(self) {
        let _ = self.commands.send(Command::Stop);
        let _ = self.thread.join();
    }
}

/// Starts the thread `sync`. It reads all sources at once and then on demand.
pub fn spawn(sync: Sync) -> io::Result<Handle> {
    let (commands, receiver) = channel();
    let waker = Waker { commands: commands.clone(), pending: Arc::default() };
    let news = News { commands: commands.clone(), pending: Arc::default() };
    let thread = std::thread::Builder::new()
        .name("sync".to_owned())
        .spawn(move || Loop::new(sync, waker, news).run(&receiver))?;
    Ok(Handle { commands, thread })
}

/// Tells the thread that files may have changed. At most one such command
/// waits, however many events there are.
#[derive(Clone, Debug)]
struct Waker {
    commands: Sender<Command>,
    pending: Arc<AtomicBool>,
}

impl Waker {
    fn wake(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            let _ = self.commands.send(Command::Changed);
        }
    }
}

/// Tells the thread that a source has news. At most one such command waits.
#[derive(Clone, Debug)]
struct News {
    commands: Sender<Command>,
    pending: Arc<AtomicBool>,
}

impl News {
    fn tell(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            let _ = self.commands.send(Command::News);
        }
    }
}

struct Loop {
    sync: Sync,
    waker: Waker,
    news: News,
    commands: Sender<Command>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    prints: Vec<Print>,
    last_cycle: Instant,
    /// After that time from the last cycle on a removal may take effect.
    due: Option<Duration>,
    /// Looks at what was superseded that are left.
    looks: u32,
}

impl Loop {
    fn new(sync: Sync, waker: Waker, news: News) -> Self {
        let waker_commands = waker.commands.clone();
        Self {
            sync,
            waker,
            news,
            commands: waker_commands,
            watcher: None,
            watched: BTreeSet::new(),
            prints: Vec::new(),
            last_cycle: Instant::now(),
            due: None,
            looks: 0,
        }
    }

    fn run(mut self, commands: &Receiver<Command>) {
        let news = self.news.clone();
        self.sync.start_sources(Arc::new(move || news.tell()));
        self.cycle(|sync| sync.cycle(Trigger::Routine));
        loop {
            let wait = match (self.looks, self.watcher.is_some()) {
                (1.., _) => LOOK_PAUSE,
                (0, true) => POLL_WATCHED,
                (0, false) => POLL,
            };
            match commands.recv_timeout(wait.min(self.until_due())) {
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.sync.finish();
                    return;
                }
                Ok(Command::Reload { config, done }) => self.answer(done, |sync| sync.reconfigure(&config)),
                Ok(Command::ReadNow { done }) => self.read_now(done),
                Ok(Command::Operate { operation, done }) => self.operate(&operation, &done),
                Ok(Command::News) => {
                    // Before reading: news of what is read meanwhile is told again.
                    self.news.pending.store(false, Ordering::Release);
                    self.cycle(|sync| sync.cycle(Trigger::Routine));
                }
                Ok(Command::Refreshed { done }) => self.answer(done, |sync| sync.cycle(Trigger::Routine)),
                Ok(Command::Changed) => {
                    self.settle();
                    self.look();
                }
                Err(RecvTimeoutError::Timeout) if self.looks > 0 && !self.until_due().is_zero() => {
                    self.tidy_up();
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.sync.look_around();
                    self.look();
                }
            }
        }
    }

    /// Frees what a cycle has left, and gives its memory back: a set of a
    /// million names leaves a hundred MiB in thousands of pieces.
    fn tidy_up(&mut self) {
        self.looks -= 1;
        if self.sync.let_go() || self.looks == 0 {
            self.looks = 0;
            crate::socket::give_back_memory();
        }
    }

    /// Reads files now, and has sources read that do so in the background; the
    /// last of these to end gives the command for the cycle that is waited for.
    fn read_now(&mut self, done: Option<Sender<Report>>) {
        // One more than there are sources: the sum is known below.
        let left = Arc::new(AtomicUsize::new(usize::MAX));
        let waiting = Arc::new(Mutex::new(Some(done)));
        let finish = {
            let (left, waiting, commands) = (Arc::clone(&left), Arc::clone(&waiting), self.commands.clone());
            move |ended: usize| {
                if left.fetch_sub(ended, Ordering::AcqRel) == ended
                    && let Some(done) = waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
                {
                    let _ = commands.send(Command::Refreshed { done });
                }
            }
        };
        let one = finish.clone();
        let reading = self.sync.refresh(&(Arc::new(move || one(1)) as Changed));
        finish(usize::MAX - reading);
    }

    fn operate(&mut self, operation: &Operation, done: &Sender<Result<Outcome, String>>) {
        let mut outcome = None;
        let prints = self.prints.clone();
        self.cycle(|sync| {
            outcome = Some(sync.operate(operation));
            Report::default()
        });
        let outcome = outcome.unwrap_or_else(|| Err("it was not tried".to_owned()));
        if outcome.is_err() || !matches!(operation, Operation::Accept(_)) {
            // Nothing was read: a change of files is still to be seen.
            self.prints = prints;
        }
        let _ = done.send(outcome);
    }

    /// Waits until the watched files are quiet.
    fn settle(&self) {
        let start = Instant::now();
        loop {
            self.waker.pending.store(true, Ordering::Release);
            let before = self.fingerprints();
            std::thread::sleep(QUIET);
            if before == self.fingerprints() || start.elapsed() > LONGEST_WAIT {
                break;
            }
        }
        // Events from here on wake the thread again.
        self.waker.pending.store(false, Ordering::Release);
    }

    /// Runs a cycle if files changed, a grace time ended or a retry is due.
    fn look(&mut self) {
        if self.fingerprints() != self.prints || self.until_due().is_zero() {
            self.cycle(|sync| sync.cycle(Trigger::Routine));
        }
    }

    /// The time until a cycle is due though nothing changes.
    fn until_due(&self) -> Duration {
        let since = self.last_cycle.elapsed();
        let retry = if self.sync.wants_retry() { RETRY.saturating_sub(since) } else { RETRY };
        // A moment that was still ahead after the last cycle and has come is past now.
        self.due.map_or(retry, |due| retry.min(due.saturating_sub(since)))
    }

    fn answer(&mut self, done: Option<Sender<Report>>, work: impl FnOnce(&mut Sync) -> Report) {
        let report = self.cycle(work);
        if let Some(done) = done {
            let _ = done.send(report);
        }
    }

    fn cycle(&mut self, work: impl FnOnce(&mut Sync) -> Report) -> Report {
        // Before reading: a change while reading is then seen as one.
        self.prints = self.fingerprints();
        let report = work(&mut self.sync);
        self.last_cycle = Instant::now();
        self.looks = LOOKS;
        self.due = self.sync.due_in();
        // Reading may have found more files (`$INCLUDE`), a reload other ones.
        let paths = self.paths();
        let before = std::mem::take(&mut self.prints);
        let known = |path: &PathBuf| before.iter().find(|print| print.path == *path).cloned();
        self.prints =
            paths.iter().map(|path| known(path).unwrap_or_else(|| Print::of(path.clone()))).collect();
        self.watch(&paths);
        report
    }

    fn paths(&self) -> BTreeSet<PathBuf> {
        self.sync.sources().iter().flat_map(|source| source.watched_paths()).collect()
    }

    fn fingerprints(&self) -> Vec<Print> {
        self.paths().into_iter().map(Print::of).collect()
    }

    /// Watches the directories of `paths`, or says why not.
    fn watch(&mut self, paths: &BTreeSet<PathBuf>) {
        let directories: BTreeSet<PathBuf> = paths.iter().flat_map(|path| directories(path)).collect();
        if directories == self.watched && (self.watcher.is_some() || directories.is_empty()) {
            return;
        }
        self.watched.clone_from(&directories);
        let problem = match start_watcher(&directories, self.waker.clone()) {
            Ok(watcher) => {
                self.watcher = watcher;
                // What changed before the watch began is told by nobody else.
                self.waker.wake();
                None
            }
            Err(error) => {
                self.watcher = None;
                warn!(%error, poll_seconds = POLL.as_secs(), "files are polled, not watched");
                Some(format!("files are polled every {} s: {error}", POLL.as_secs()))
            }
        };
        self.sync.set_watch_problem(problem);
    }
}

/// The directories to watch for one path: its parent, since renaming happens
/// there, itself if it is one, and where it leads if it is a symlink.
fn directories(path: &Path) -> Vec<PathBuf> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let real = absolute.canonicalize().ok();
    let mut found = Vec::new();
    for path in [Some(absolute), real].into_iter().flatten() {
        found.extend(path.parent().filter(|parent| parent.is_dir()).map(Path::to_owned));
        if path.is_dir() {
            found.push(path);
        }
    }
    found
}

fn start_watcher(
    directories: &BTreeSet<PathBuf>,
    waker: Waker,
) -> Result<Option<RecommendedWatcher>, notify::Error> {
    if directories.is_empty() {
        return Ok(None);
    }
    let mut watcher = notify::recommended_watcher(move |event: Result<notify::Event, notify::Error>| {
        // Reading files is an event too, and no change.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            waker.wake();
        }
    })?;
    for directory in directories {
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
    }
    Ok(Some(watcher))
}

/// What tells one version of a file or directory from another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Print {
    path: PathBuf,
    own: Option<Mark>,
    /// Of the files in a directory, by name.
    entries: Vec<(PathBuf, Option<Mark>)>,
}

/// Modification time, change time, length and inode.
type Mark = (Option<SystemTime>, i64, i64, u64, u64);

impl Print {
    fn of(path: PathBuf) -> Self {
        let mut entries = Vec::new();
        if let Ok(directory) = path.read_dir() {
            let files = directory.flatten().take(MAX_ENTRIES).map(|entry| entry.path());
            entries.extend(files.map(|file| (file.clone(), mark(&file))));
            entries.sort();
        }
        Self { own: mark(&path), path, entries }
    }
}

fn mark(path: &Path) -> Option<Mark> {
    use std::os::unix::fs::MetadataExt as _;
    let data = fs::metadata(path).ok()?;
    Some((data.modified().ok(), data.ctime(), data.ctime_nsec(), data.len(), data.ino()))
}
