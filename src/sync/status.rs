//! What others see of the sync: one immutable state, replaced after each cycle.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::guard::Waits;
use super::persist::Pin;
use super::provenance::Provenance;
use crate::findings::Finding;
use crate::snapshot::model::RecordSet;
use crate::sources::facts::SourceKind;

/// The shared handle. Readers take the current state and hold it as long as they like.
#[derive(Clone, Debug, Default)]
pub struct Status(Arc<Mutex<Arc<State>>>);

impl Status {
    /// The state after the latest cycle.
    pub fn get(&self) -> Arc<State> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set(&self, state: State) {
        let fresh = Arc::new(state);
        let old = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), fresh);
        // Freed here, outside the lock.
        drop(old);
    }
}

/// How the sync fares. Times are Unix seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Whether a set was ever loaded or published: without one the node is not ready.
    pub loaded: bool,
    /// The generation of the published set; 0 while there is none.
    pub generation: u64,
    /// When that generation was published first; 0 while there is none.
    pub created: u64,
    /// The published set.
    pub set: Arc<RecordSet>,
    /// Where it comes from.
    pub provenance: Arc<Provenance>,
    /// The sources, in the configuration's order.
    pub sources: Vec<SourceStatus>,
    /// What was noticed.
    pub findings: Vec<Finding>,
    /// Why published sets are not saved; `None` while they are.
    pub not_saved: Option<String>,
    /// What the latest reading wants, were it not for the guard and the pin;
    /// the same as `set` where nothing waits.
    pub wanted: Arc<RecordSet>,
    /// What of the published set waits to be taken away.
    pub waits: Arc<Waits>,
    /// Seconds after which a removal that is not held back takes effect.
    pub grace: u64,
    /// The cycles' clock when this state was made; the times of `waits` are by it.
    pub now: u64,
    /// Some source was never read; no removal takes effect before it is.
    pub is_blocked: bool,
    /// The rollback that is in force.
    pub pin: Option<Pin>,
    /// Where sets are saved.
    pub state_dir: PathBuf,
}

/// How one source fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: SourceKind,
    /// When it was last read whole, in this process or before.
    pub last_success: Option<u64>,
    /// Why the last reading failed; `None` if it did not.
    pub last_error: Option<String>,
    /// Facts that count from it.
    pub facts: usize,
    /// Its first reading still runs.
    pub is_pending: bool,
    /// The listings that count from it.
    pub listings: Vec<ListingStatus>,
    /// What its last reading could not read.
    pub failures: Vec<FailureStatus>,
}

/// One listing that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListingStatus {
    /// The part of the source that it lists.
    pub scope: String,
    /// When it was read.
    pub read_at: u64,
    /// Its facts.
    pub facts: usize,
}

/// One listing that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureStatus {
    /// The part of the source.
    pub scope: String,
    /// Why, with all causes.
    pub error: String,
    /// The permission that the identity lacks, if that is why.
    pub missing_permission: Option<String>,
}
