//! Counters of the response cache.
//!
//! A look-up is counted for each query that misses the snapshot, so each
//! thread has counters of its own: a load and a store without a lock prefix.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::Exporter;
use super::forward::{add, get};

/// How much the response cache holds, and what left it since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheUsage {
    /// Responses, expired ones included.
    pub entries: u64,
    /// Bytes allocated.
    pub bytes: u64,
    /// Responses that made room for others.
    pub evicted: u64,
    /// Responses that were too large to be kept.
    pub too_large: u64,
}

/// What a look-up in the response cache gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheLookup {
    /// An answer.
    Hit,
    /// Nothing, or nothing fresh.
    Miss,
    /// A chain whose end the snapshot no longer answers.
    Outdated,
    /// An answer past its time, for want of a fresh one (RFC 8767).
    Stale,
}

impl CacheLookup {
    const ALL: [Self; 4] = [Self::Hit, Self::Miss, Self::Outdated, Self::Stale];

    const fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Outdated => "outdated",
            Self::Stale => "stale",
        }
    }
}

/// What became of a hot response that was to be renewed before it expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The upstream answered.
    Renewed,
    /// It did not.
    Failed,
    /// It was not asked: too many renewals were under way.
    Skipped,
}

impl Renewal {
    const ALL: [Self; 3] = [Self::Renewed, Self::Failed, Self::Skipped];

    const fn label(self) -> &'static str {
        match self {
            Self::Renewed => "renewed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// The counters of one thread, in cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane([AtomicU64; 4]);

/// Threads that have a lane of their own, so that they count without a lock
/// prefix; those that come later share the last lane.
const LANES: usize = 64;

static NEXT_LANE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static LANE: usize = NEXT_LANE.fetch_add(1, Ordering::Relaxed).min(LANES - 1);
}

/// One lane per thread.
#[derive(Debug)]
struct Lanes([Lane; LANES]);

impl Default for Lanes {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Lane::default()))
    }
}

/// What the response cache counts.
#[derive(Debug, Default)]
pub struct CacheMetrics {
    lookups: Lanes,
    renewals: [AtomicU64; Renewal::ALL.len()],
}

impl CacheMetrics {
    /// The response cache was asked.
    #[inline]
    pub fn lookup(&self, result: CacheLookup) {
        let lane = LANE.with(|lane| *lane);
        let Some(counter) = self.lookups.0.get(lane).and_then(|lane| lane.0.get(result as usize)) else {
            return;
        };
        if lane < LANES - 1 {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        } else {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often the response cache gave `result`.
    pub fn lookups(&self, result: CacheLookup) -> u64 {
        self.lookups.0.iter().map(|lane| get(&lane.0, result as usize)).sum()
    }

    /// A hot response was to be renewed.
    pub fn renewal(&self, result: Renewal) {
        add(&self.renewals, result as usize);
    }

    /// How often a renewal ended so.
    pub fn renewals(&self, result: Renewal) -> u64 {
        get(&self.renewals, result as usize)
    }

    /// Adds the families that describe the response cache.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; sizes stay below 2^53")]
    pub fn export(&self, usage: &CacheUsage, out: &mut Exporter) {
        for result in CacheLookup::ALL {
            out.counter(
                "response_cache_lookups_total",
                "Look-ups in the response cache by result.",
                &[("result", result.label())],
                self.lookups(result),
            );
        }
        for result in Renewal::ALL {
            out.counter(
                "response_cache_renewals_total",
                "Hot responses that were to be renewed before they expired, by what became of it.",
                &[("result", result.label())],
                self.renewals(result),
            );
        }
        out.gauge("response_cache_entries", "Entries in the response cache.", &[], usage.entries as f64);
        out.gauge("response_cache_bytes", "Bytes taken by the response cache.", &[], usage.bytes as f64);
        out.counter(
            "response_cache_evicted_total",
            "Responses that left the response cache to make room.",
            &[],
            usage.evicted,
        );
        out.counter(
            "response_cache_too_large_total",
            "Responses that were too large for the response cache.",
            &[],
            usage.too_large,
        );
    }
}
