//! The only swap: a generation beside a mutex around the current snapshot.
//!
//! A reader compares the generation once per batch (one atomic load) and
//! takes the lock only when it changed. Superseded snapshots are kept by the
//! publisher until the next publication, so that a worker rarely frees one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Snapshot;

/// Where the sync publishes and the readers look.
#[derive(Debug)]
pub struct Publisher {
    /// Counts publications; not the snapshot's generation, which may be equal
    /// again after a reload of the configuration.
    version: AtomicU64,
    slot: Mutex<Slot>,
}

#[derive(Debug)]
struct Slot {
    current: Arc<Snapshot>,
    /// The one before, freed here at the next publication.
    previous: Option<Arc<Snapshot>>,
}

impl Publisher {
    /// Starts with `snapshot`.
    pub fn new(snapshot: Snapshot) -> Arc<Self> {
        let slot = Slot { current: Arc::new(snapshot), previous: None };
        Arc::new(Self { version: AtomicU64::new(0), slot: Mutex::new(slot) })
    }

    /// Replaces the snapshot for all readers. What was asked of the last one
    /// and not taken yet counts as asked of the new one.
    pub fn publish(&self, snapshot: Snapshot) {
        let fresh = Arc::new(snapshot);
        let (superseded, freed) = {
            let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
            let superseded = std::mem::replace(&mut slot.current, Arc::clone(&fresh));
            (Arc::clone(&superseded), slot.previous.replace(superseded))
        };
        self.version.fetch_add(1, Ordering::Release);
        // What a worker's last batch still asks of the superseded one is
        // handed on the next time, when that is freed.
        for before in [Some(&superseded), freed.as_ref()].into_iter().flatten() {
            fresh.hand_on_asked(before);
        }
        drop(freed);
    }

    /// The current snapshot.
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.slot.lock().unwrap_or_else(PoisonError::into_inner).current)
    }

    /// A reader of its own for one thread.
    pub fn reader(self: &Arc<Self>) -> Reader {
        let version = self.version.load(Ordering::Acquire);
        Reader { publisher: Arc::clone(self), version, cached: self.current() }
    }
}

/// One thread's view: cheap to load, never a mixture.
#[derive(Debug)]
pub struct Reader {
    publisher: Arc<Publisher>,
    version: u64,
    cached: Arc<Snapshot>,
}

impl Reader {
    /// The current snapshot; call once per batch.
    #[inline]
    pub fn load(&mut self) -> &Arc<Snapshot> {
        let version = self.publisher.version.load(Ordering::Acquire);
        if version != self.version {
            self.refresh(version);
        }
        &self.cached
    }

    #[cold]
    fn refresh(&mut self, version: u64) {
        self.cached = self.publisher.current();
        self.version = version;
    }
}
