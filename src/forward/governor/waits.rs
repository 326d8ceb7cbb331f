//! The waits of an upstream, in one word.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::forward::health::Health;

/// How long an upstream is waited for, for those who must not take a lock to
/// know: milliseconds before a resend, and in the upper half before a hedge.
#[derive(Debug, Default)]
pub(super) struct Waits(AtomicU64);

/// No hedging.
const NONE: u64 = u32::MAX as u64;

impl Waits {
    /// Takes them from what is known.
    #[inline]
    pub(super) fn set(&self, health: &Health) {
        let (resend, hedge) = health.waits();
        let cut = |us: u64| us.div_ceil(1000).min(NONE - 1);
        self.0.store(hedge.map_or(NONE, cut) << 32 | cut(resend), Ordering::Relaxed);
    }

    /// Before a resend.
    #[inline]
    pub(super) fn resend(&self) -> u64 {
        self.0.load(Ordering::Relaxed) & NONE
    }

    /// Before a hedge.
    #[inline]
    pub(super) fn hedge(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed) >> 32).filter(|hedge| *hedge != NONE)
    }
}
