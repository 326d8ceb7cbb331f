//! Where the sync saves: the state directory, what of the published set is not
//! in it yet, and why not. A directory that cannot be had is tried again.

use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::persist::{self, Beside, PersistError, StateDir};
use crate::config::Server;
use crate::events::outside;
use crate::findings::{Code, Finding};
use crate::metrics::sync::SyncMetrics;
use crate::snapshot::model::RecordSet;
use crate::sources::error::chain;

/// Where sets are saved.
pub(super) struct Store {
    path: PathBuf,
    keep: usize,
    directory: Option<StateDir>,
    /// Nothing is ever saved: this is a rehearsal.
    closed: bool,
    /// Why the last set was not saved.
    problem: Option<String>,
    /// What of the published set is not on disk yet.
    unsaved: Unsaved,
}

/// What is not on disk yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unsaved {
    Nothing,
    /// What is beside the set: memory, waiting removals, facts that were lost.
    Facts,
    /// The set and all beside it.
    Set,
}

impl Store {
    pub(super) fn open(server: &Server, metrics: &SyncMetrics) -> Self {
        let mut store = Self { closed: false, ..Self::closed(server) };
        store.reopen(metrics);
        store
    }

    /// A store that nothing is saved into and no lock is taken of.
    pub(super) fn closed(server: &Server) -> Self {
        Self {
            path: server.state_dir.clone(),
            keep: server.keep_generations,
            directory: None,
            closed: true,
            problem: None,
            unsaved: Unsaved::Nothing,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    pub(super) fn unsaved(&self) -> Unsaved {
        self.unsaved
    }

    /// Takes another configuration; whether the directory is another one.
    pub(super) fn reconfigure(&mut self, server: &Server, metrics: &SyncMetrics) -> bool {
        self.keep = server.keep_generations;
        if let Some(directory) = &mut self.directory {
            directory.set_keep(self.keep);
        }
        let is_other = self.path != server.state_dir;
        if is_other {
            *self = Self::open(server, metrics);
            self.needs(Unsaved::Set);
        }
        is_other
    }

    pub(super) fn needs(&mut self, what: Unsaved) {
        self.unsaved = self.unsaved.max(what);
    }

    /// Whether saving is to be tried again though nothing changed.
    pub(super) fn wants_retry(&self) -> bool {
        self.problem.is_some()
    }

    /// Takes the directory if that failed before. Returns the highest
    /// generation in it when it is had now and was not: another process may
    /// have saved there meanwhile.
    pub(super) fn reopen(&mut self, metrics: &SyncMetrics) -> Option<u64> {
        if self.closed || self.directory.is_some() {
            return None;
        }
        match StateDir::open(&self.path, self.keep) {
            Ok(directory) => {
                self.directory = Some(directory);
                self.recovered();
                if self.unsaved > Unsaved::Nothing {
                    self.unsaved = Unsaved::Set;
                }
                Some(persist::highest(&self.path))
            }
            Err(error) => {
                self.fail(&error, metrics);
                None
            }
        }
    }

    /// Saves what is not saved yet. A failure is a finding, a metric and a log
    /// line; what was published stays published. Whether something was saved.
    pub(super) fn save(
        &mut self,
        generation: u64,
        created: u64,
        set: &RecordSet,
        facts: &Beside<'_>,
        metrics: &SyncMetrics,
    ) -> bool {
        let Some(directory) = &self.directory else { return false };
        let saved = match self.unsaved {
            Unsaved::Nothing => return false,
            Unsaved::Facts => directory.save_facts(generation, created, set, facts),
            Unsaved::Set => directory.save_beside(generation, created, set, facts),
        };
        match saved {
            Ok(()) => {
                self.unsaved = Unsaved::Nothing;
                self.recovered();
                true
            }
            Err(error) => {
                self.fail(&error, metrics);
                false
            }
        }
    }

    /// How many generations are on disk.
    pub(super) fn generations(&self) -> usize {
        self.directory.as_ref().map_or(0, StateDir::count)
    }

    fn recovered(&mut self) {
        if self.problem.take().is_some() {
            info!("record sets are saved again");
        }
    }

    fn fail(&mut self, error: &PersistError, metrics: &SyncMetrics) {
        let text = chain(error);
        metrics.save_failed(error.label());
        if self.problem.as_ref() != Some(&text) {
            warn!(error = %outside(&text), "record sets are not saved");
        }
        self.problem = Some(text);
    }
}

/// Logs and tells that a saved file does not count.
pub(super) fn not_loaded(problem: &PersistError, directory: &Path) -> Finding {
    let text = chain(problem);
    warn!(error = %outside(&text), "saved record set skipped");
    Finding::new(Code::SavedSetDamaged, "state", directory.display().to_string(), text)
}
