//! The two clocks of the sync, so that tests need not wait.

use std::time::Instant;

use crate::sources::unix_now;

/// Where a cycle takes the time from.
pub trait Clock: Send {
    /// The wall clock, Unix seconds. It may jump.
    fn wall(&self) -> u64;

    /// Seconds that never jump while the process runs, and that go on over a
    /// restart as far as the wall clock can be believed: what removals wait by.
    fn steady(&self) -> u64;
}

/// The system's clocks: the wall clock of the start, and what has passed since.
#[derive(Debug)]
pub struct SystemClock {
    started_at: u64,
    started: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { started_at: unix_now(), started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> u64 {
        unix_now()
    }

    fn steady(&self) -> u64 {
        self.started_at.saturating_add(self.started.elapsed().as_secs())
    }
}
