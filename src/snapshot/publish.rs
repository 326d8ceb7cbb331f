//! The only swap: a generation beside a mutex around the current snapshot.
//!
//! A reader compares the generation once per batch (one atomic load) and
//! takes the lock only when it changed. Superseded snapshots are kept by the
//! publisher until no reader holds them, so that none is ever freed by a
//! reader: freeing a million names takes longer than a batch may. There are
//! never more of them than readers, each of which holds one.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Snapshot;

/// Where the sync publishes and the readers look.
#[derive(Debug)]
pub struct Publisher {
    /// Counts publications; not the snapshot's generation, which may be equal
    /// again after a reload of the configuration.
    version: Version,
    slot: Mutex<Slot>,
    bells: Mutex<Vec<Bell>>,
}

/// What is done after each publication.
struct Bell(Box<dyn Fn() + Send + Sync>);

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bell")
    }
}

/// The count in a pair of cache lines of its own: all readers look at it, and
/// who takes the lock beside it would take the line from them.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Version(AtomicU64);

#[derive(Debug)]
struct Slot {
    current: Arc<Snapshot>,
    /// Those that some reader may still hold.
    superseded: Vec<Arc<Snapshot>>,
}

impl Publisher {
    /// Starts with `snapshot`.
    pub fn new(snapshot: Snapshot) -> Arc<Self> {
        let slot = Slot { current: Arc::new(snapshot), superseded: Vec::new() };
        Arc::new(Self { version: Version::default(), slot: Mutex::new(slot), bells: Mutex::default() })
    }

    /// Has `ring` called after each publication: a reader that sleeps would keep
    /// what was superseded until something else wakes it.
    pub fn on_publish(&self, ring: impl Fn() + Send + Sync + 'static) {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner).push(Bell(Box::new(ring)));
    }

    /// Replaces the snapshot for all readers. What was asked of the last one
    /// and not taken yet counts as asked of the new one.
    pub fn publish(&self, snapshot: Snapshot) {
        let fresh = Arc::new(snapshot);
        let superseded = {
            let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
            let superseded = std::mem::replace(&mut slot.current, Arc::clone(&fresh));
            slot.superseded.push(Arc::clone(&superseded));
            superseded
        };
        self.version.0.fetch_add(1, Ordering::Release);
        for bell in &*self.bells.lock().unwrap_or_else(PoisonError::into_inner) {
            (bell.0)();
        }
        fresh.hand_on_asked(&superseded);
        drop(superseded);
        self.free();
    }

    /// Frees the superseded snapshots that no reader holds any more; what was
    /// asked of them last counts as asked of the current one. For the control
    /// side, now and then: readers let go when they next look.
    pub fn free(&self) {
        let (current, superseded) = {
            let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
            (Arc::clone(&slot.current), std::mem::take(&mut slot.superseded))
        };
        // Outside of the lock, for which readers would wait. Nobody can take a
        // superseded one again: what nobody else holds stays so.
        let (mut held, mut unheld) = (Vec::new(), Vec::new());
        for snapshot in superseded {
            match Arc::try_unwrap(snapshot) {
                Ok(snapshot) => unheld.push(snapshot),
                Err(snapshot) => held.push(snapshot),
            }
        }
        for snapshot in held.iter().map(|snapshot| &**snapshot).chain(&unheld) {
            current.hand_on_asked(snapshot);
        }
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).superseded.append(&mut held);
    }

    /// How many superseded snapshots wait for their readers.
    pub fn superseded(&self) -> usize {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).superseded.len()
    }

    /// The current snapshot.
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.slot.lock().unwrap_or_else(PoisonError::into_inner).current)
    }

    /// A reader of its own for one thread.
    pub fn reader(self: &Arc<Self>) -> Reader {
        let version = self.version.0.load(Ordering::Acquire);
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
        let version = self.publisher.version.0.load(Ordering::Acquire);
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

#[cfg(test)]
mod tests {
    use super::super::model::{AnswerOptions, RecordSet};
    use super::*;

    fn snapshot(generation: u64) -> Snapshot {
        let (suffixes, special) = (Vec::new(), Vec::new());
        let options = AnswerOptions { flat: false, forward_own_missing: false, suffixes, special };
        Snapshot::build(&RecordSet::default(), &options, generation)
    }

    #[test]
    fn a_reader_never_frees_a_snapshot() {
        let publisher = Publisher::new(snapshot(1));
        let mut reader = publisher.reader();
        let first = Arc::downgrade(&publisher.current());
        publisher.publish(snapshot(2));
        publisher.free();
        assert_eq!((publisher.superseded(), reader.cached.generation()), (1, 1), "the reader holds it");
        assert_eq!(reader.load().generation(), 2);
        assert!(first.upgrade().is_some(), "letting go did not free it");
        publisher.free();
        assert_eq!(publisher.superseded(), 0);
        assert!(first.upgrade().is_none(), "the publisher freed it");
    }

    #[test]
    fn who_asked_for_it_is_told_of_each_publication() {
        let publisher = Publisher::new(snapshot(1));
        let heard = Arc::new(AtomicU64::new(0));
        let (told, of) = (Arc::clone(&heard), Arc::downgrade(&publisher));
        publisher.on_publish(move || {
            let seen = of.upgrade().map_or(0, |publisher| publisher.reader().load().generation());
            told.store(seen, Ordering::Relaxed);
        });
        for generation in 2..5 {
            publisher.publish(snapshot(generation));
            assert_eq!(heard.load(Ordering::Relaxed), generation, "after it was in force");
        }
    }

    #[test]
    fn the_lock_is_in_another_line_than_the_version() {
        let publisher = Publisher::new(snapshot(1));
        let (version, slot) = (&raw const publisher.version, &raw const publisher.slot);
        assert!(version.addr().abs_diff(slot.addr()) >= 64);
    }

    #[test]
    fn superseded_snapshots_are_no_more_than_readers() {
        let publisher = Publisher::new(snapshot(1));
        let idle = publisher.reader();
        let mut busy = publisher.reader();
        for generation in 2..50 {
            publisher.publish(snapshot(generation));
            busy.load();
            assert!(publisher.superseded() <= 2);
        }
        drop(idle);
        publisher.free();
        assert_eq!(publisher.superseded(), 0);
    }
}
