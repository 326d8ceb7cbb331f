//! The clock of exchanges, and of those who wait for them.
//!
//! One function, so that there is one place in which tests can say what it tells.

use std::time::Instant;

/// Now.
#[inline]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Whole milliseconds since `begun`.
pub(crate) fn ms_since(begun: Instant) -> u64 {
    u64::try_from(now().saturating_duration_since(begun).as_millis()).unwrap_or(u64::MAX)
}
