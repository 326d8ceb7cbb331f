//! The waits of an upstream, in one word.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::forward::health::Health;

/// How long an upstream is waited for, for those who must not take a lock to
/// know: milliseconds before a resend, and in the upper half before a hedge.
#[derive(Debug, Default)]
pub(super) struct Waits(AtomicU64);

impl Waits {
    /// No hedging.
    const NONE: u64 = u32::MAX as u64;

    /// Takes them from what is known.
    pub(super) fn set(&self, health: &Health) {
        let cut = |wait: Duration| {
            u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(Self::NONE).min(Self::NONE - 1)
        };
        let (resend, hedge) = (cut(health.resend_after()), health.hedge_after().map_or(Self::NONE, cut));
        self.0.store(hedge << 32 | resend, Ordering::Relaxed);
    }

    /// Before a resend, and before a hedge.
    #[inline]
    pub(super) fn get(&self) -> (Duration, Option<Duration>) {
        let both = self.0.load(Ordering::Relaxed);
        let (resend, hedge) = (both & Self::NONE, both >> 32);
        (Duration::from_millis(resend), (hedge != Self::NONE).then(|| Duration::from_millis(hedge)))
    }
}
