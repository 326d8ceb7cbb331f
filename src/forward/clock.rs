//! The clock of exchanges, and of those who wait for them.
//!
//! One function, so that tests can say what it tells: days of forwarding then
//! pass in a moment, and everything happens in the same order each time.

use std::time::Instant;

/// Now.
#[inline]
pub(crate) fn now() -> Instant {
    #[cfg(test)]
    if let Some(now) = NOW.get() {
        return now;
    }
    Instant::now()
}

/// Whole milliseconds since `begun`.
pub(crate) fn ms_since(begun: Instant) -> u64 {
    u64::try_from(now().saturating_duration_since(begun).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
thread_local! {
    static NOW: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) };
}

/// From here on it is `now` on this thread; `None` for what the time really is.
#[cfg(test)]
pub(crate) fn set(now: Option<Instant>) {
    NOW.set(now);
}
