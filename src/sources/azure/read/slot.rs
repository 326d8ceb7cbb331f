//! What is held of one listing, and when it is read again.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::listing::Items;
use super::problem::Problem;
use crate::sources::azure::plan::{Kind, Target};
use crate::sources::facts::Fact;

/// Slow listings are read again after this many passes at the latest, ...
const SLOW_PASSES: u64 = 4;
/// ... or after more where they are so many that a pass would read more than this.
const SLOW_PER_PASS: usize = 500;
/// The first retry comes after this, each further one after twice the time.
const FIRST_RETRY: Duration = Duration::from_secs(30);
/// Azure lists record sets this often: 100 pages a minute. Half of that is
/// left to others.
const PER_RECORD_PAGE: Duration = Duration::from_millis(1200);

/// One listing.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) target: Arc<Target>,
    /// What it said last.
    pub(super) items: Arc<Items>,
    /// When this reader read it last, Unix seconds.
    pub(super) read_at: Option<u64>,
    pub(super) in_flight: bool,
    /// Not before this: the limits.
    not_before: Option<Instant>,
    /// After a failure.
    pub(super) retry_at: Option<Instant>,
    failures: u32,
    /// The pass that read it last.
    read_pass: u64,
    /// The mark of the resource that it belongs to when it was read.
    mark: Option<String>,
}

/// What the due time of a listing depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances<'a> {
    pub(super) now: Instant,
    pub(super) pass: u64,
    pub(super) interval: Duration,
    /// Somebody asked for all of it.
    pub(super) everything: bool,
    /// How many slow listings there are.
    pub(super) slow: usize,
    /// The mark of the resource that it belongs to.
    pub(super) mark: Option<&'a str>,
}

impl Slot {
    /// A listing; `items` are what was saved of it.
    pub(super) fn new(target: Target, items: Items) -> Self {
        Self {
            target: Arc::new(target),
            items: Arc::new(items),
            read_at: None,
            in_flight: false,
            not_before: None,
            retry_at: None,
            failures: 0,
            read_pass: 0,
            mark: None,
        }
    }

    /// Whether this pass reads it.
    pub(super) fn wants(&self, circumstances: &Circumstances<'_>) -> bool {
        let Circumstances { now, pass, everything, .. } = *circumstances;
        if self.not_before.is_some_and(|at| at > now) {
            return false;
        }
        if everything || self.read_at.is_none() && self.retry_at.is_none() {
            return true;
        }
        if let Some(at) = self.retry_at {
            return at <= now;
        }
        if !self.target.kind.is_slow() || self.mark.as_deref() != circumstances.mark {
            return true;
        }
        let every = SLOW_PASSES.max(circumstances.slow.div_ceil(SLOW_PER_PASS) as u64);
        pass >= self.read_pass + every
    }

    /// It was read, in part if there is a `problem`.
    pub(super) fn succeeded(&mut self, at: &Circumstances<'_>, read_at: u64, pages: u32) {
        let first = self.read_at.is_none();
        self.read_at = Some(read_at);
        self.read_pass = at.pass;
        self.mark = at.mark.map(str::to_owned);
        if first && self.target.kind.is_slow() {
            // So that not all of them come round in the same pass.
            let mut hasher = DefaultHasher::new();
            self.target.scope.hash(&mut hasher);
            self.read_pass = at.pass.saturating_sub(hasher.finish() % SLOW_PASSES);
        }
        self.failures = 0;
        self.retry_at = None;
        self.not_before = None;
        if self.target.kind == Kind::Records {
            let stretched = PER_RECORD_PAGE * pages;
            if stretched > at.interval {
                let seconds = stretched.as_secs();
                tracing::debug!(scope = %self.target.scope, pages, seconds, "azure listing stretched");
                self.not_before = Some(at.now + stretched);
            }
        }
    }

    /// It, or part of it, could not be read.
    pub(super) fn failed(&mut self, at: &Circumstances<'_>, problem: &Problem) {
        self.failures = self.failures.saturating_add(1);
        let first = FIRST_RETRY.min(at.interval);
        let backoff = first.saturating_mul(1 << (self.failures - 1).min(10)).min(at.interval);
        let wait = jittered(backoff).max(problem.retry_after().unwrap_or_default());
        self.retry_at = Some(at.now + wait);
    }

    /// All facts.
    pub(super) fn facts(&self) -> Vec<Fact> {
        self.items.values().flat_map(|item| item.facts.iter().cloned()).collect()
    }
}

/// `time`, more or less a tenth of it, so that not everybody asks at once.
pub(super) fn jittered(time: Duration) -> Duration {
    time.mul_f64(rand::random_range(0.9..1.1))
}
