//! How long a worker without work looks for queries before it sleeps.
//!
//! Sleeping costs two switches of context and a wake-up, some microseconds
//! that a query waits; looking costs the core. It pays while queries come
//! closer together than the longest time allowed, so that is what is watched:
//! the length doubles when looking found something and halves when it did not,
//! down to nothing, and starts again after a sleep that was as short. With no
//! traffic no time is spent at all. The clock is read around a wait alone,
//! never by a worker that is busy.

use std::time::Duration;

/// The shortest time worth looking, as a part of the longest.
const SHORTEST: u32 = 16;

/// The time to spin, as it adapts.
#[derive(Debug)]
pub(super) struct Spin {
    most: Duration,
    length: Duration,
}

impl Spin {
    /// At most `most`; zero for never.
    pub(super) const fn new(most: Duration) -> Self {
        Self { most, length: Duration::ZERO }
    }

    /// Whether there is anything to adapt.
    pub(super) const fn is_on(&self) -> bool {
        !self.most.is_zero()
    }

    /// How long to look for queries now; zero to sleep at once.
    pub(super) const fn length(&self) -> Duration {
        self.length
    }

    /// Looking found a query.
    pub(super) fn paid(&mut self) {
        self.length = (self.length * 2).min(self.most);
    }

    /// Looking found nothing.
    pub(super) fn failed(&mut self) {
        self.length /= 2;
        if self.length < self.most / SHORTEST {
            self.length = Duration::ZERO;
        }
    }

    /// A query ended a sleep of `time`: shorter than the longest spin, it
    /// would have been found by looking for a little longer than that.
    pub(super) fn slept(&mut self, time: Duration) {
        if time < self.most {
            self.length = self.length.max((time * 2).clamp(self.most / SHORTEST, self.most));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_micros(64);

    /// Runs through waits for queries that come after each of `gaps`; the time
    /// spent spinning in vain.
    fn wasted(spin: &mut Spin, gaps: &[u64]) -> Duration {
        let mut wasted = Duration::ZERO;
        for gap in gaps.iter().map(|micros| Duration::from_micros(*micros)) {
            let length = spin.length();
            if !length.is_zero() && gap <= length {
                spin.paid();
                continue;
            }
            if !length.is_zero() {
                wasted += length;
                spin.failed();
            }
            spin.slept(gap.saturating_sub(length));
        }
        wasted
    }

    #[test]
    fn without_a_limit_there_is_none() {
        let mut spin = Spin::new(Duration::ZERO);
        assert!(!spin.is_on());
        assert_eq!(wasted(&mut spin, &[0, 1, 10, 1000]), Duration::ZERO);
        assert_eq!(spin.length(), Duration::ZERO);
    }

    #[test]
    fn short_gaps_are_spun_through_and_long_ones_end_it() {
        let mut spin = Spin::new(MOST);
        wasted(&mut spin, &[20; 10]);
        assert!(spin.length() >= Duration::from_micros(20), "{spin:?}");
        assert_eq!(wasted(&mut spin, &[20; 100]), Duration::ZERO, "steady traffic is always caught");
        // Twice the longest spin at the very most, however long the silence lasts.
        assert!(wasted(&mut spin, &[100_000; 100]) < 2 * MOST);
        assert_eq!(spin.length(), Duration::ZERO);
        assert_eq!(wasted(&mut spin, &[1000; 1000]), Duration::ZERO, "rare queries cost no spinning");
    }

    #[test]
    fn it_never_exceeds_the_limit() {
        let mut spin = Spin::new(MOST);
        for _ in 0..10 {
            spin.slept(MOST.saturating_sub(Duration::from_nanos(1)));
            spin.paid();
            assert!(spin.length() <= MOST);
        }
    }
}
