//! Round trip times of one upstream: smoothed, with their deviation (RFC 6298),
//! and the 95th percentile out of a small histogram that forgets.
//!
//! Each query has an id of its own, so that a response tells which of several
//! sendings it answers: Karn's rule (RFC 6298 section 3) has nothing to exclude.

use std::time::Duration;

/// Buckets per doubling, and their number as a power of two.
const PER_DOUBLING: u32 = 1 << STEP_BITS;
const STEP_BITS: u32 = 3;
/// Shortest time that is told apart, as a power of two, in microseconds: 128.
const LOWEST: u32 = 7;
/// Doublings: up to 16 seconds.
const DOUBLINGS: u32 = 17;
const BUCKETS: usize = (PER_DOUBLING * DOUBLINGS) as usize;
/// Samples after which all buckets are halved: old ones weigh less and less.
const MEMORY: u32 = 512;
/// Samples from which on the percentile means something.
const ENOUGH: u32 = 32;
/// Samples after which the percentile is looked for again.
const REFRESH: u32 = 16;
/// Nothing is sent again earlier: what takes an upstream that long is its own
/// recursion, and a second query would cost the budget and bring nothing.
const LEAST_RESEND_US: u64 = 50_000;
/// The same for hedging.
const LEAST_HEDGE_US: u64 = 20_000;

/// Round trip times, in microseconds.
#[derive(Clone, Debug)]
pub struct Rtt {
    smoothed: u32,
    deviation: u32,
    p95: u32,
    samples: u32,
    counts: [u16; BUCKETS],
    total: u32,
}

impl Default for Rtt {
    fn default() -> Self {
        Self { smoothed: 0, deviation: 0, p95: 0, samples: 0, counts: [0; BUCKETS], total: 0 }
    }
}

impl Rtt {
    /// Takes a sample.
    pub fn take(&mut self, rtt: Duration) {
        // An hour is longer than any exchange, and far from overflowing below.
        let us = u32::try_from(micros(rtt)).unwrap_or(u32::MAX).min(3_600_000_000 / 2);
        if self.samples == 0 {
            (self.smoothed, self.deviation) = (us, us / 2);
        } else {
            // RFC 6298 section 2.3, the deviation first.
            let away = self.smoothed.abs_diff(us);
            self.deviation = self.deviation - self.deviation / 4 + away / 4;
            self.smoothed = self.smoothed - self.smoothed / 8 + us / 8;
        }
        self.samples = self.samples.saturating_add(1);
        if let Some(count) = self.counts.get_mut(bucket(us)) {
            *count += 1;
            self.total += 1;
        }
        if self.total >= MEMORY {
            self.forget();
        }
        if self.samples <= ENOUGH || self.samples.is_multiple_of(REFRESH) {
            self.p95 = self.percentile(95);
        }
    }

    /// The smoothed time; `None` before the first sample.
    pub fn smoothed(&self) -> Option<Duration> {
        (self.samples > 0).then(|| Duration::from_micros(self.smoothed.into()))
    }

    /// What nineteen of twenty take at most, to an eighth; `None` while too
    /// little is known.
    pub fn p95(&self) -> Option<Duration> {
        (self.samples >= ENOUGH).then(|| Duration::from_micros(self.p95.into()))
    }

    /// How long a first query is waited for before it is sent again, `longest`
    /// at most and before anything is known.
    /// All of it in microseconds, as this is asked after each response.
    pub fn resend_after(&self, longest: u64) -> u64 {
        if self.samples == 0 {
            return longest;
        }
        let timeout = u64::from(self.smoothed) + 4 * u64::from(self.deviation);
        // Times of a resolver have two humps, from its cache and from its
        // recursion: the deviation alone would resend all of the second.
        let p95 = if self.samples >= ENOUGH { u64::from(self.p95) } else { 0 };
        timeout.max(p95).max(LEAST_RESEND_US).min(longest)
    }

    /// How long a query is waited for before another upstream is asked as well,
    /// in microseconds.
    pub fn hedge_after(&self) -> Option<u64> {
        (self.samples >= ENOUGH).then(|| u64::from(self.p95).max(LEAST_HEDGE_US))
    }

    #[cold]
    fn forget(&mut self) {
        self.total = 0;
        for count in &mut self.counts {
            *count /= 2;
            self.total += u32::from(*count);
        }
    }

    /// The upper bound of the bucket in which `percent` of the samples end.
    fn percentile(&self, percent: u32) -> u32 {
        let rank = (self.total * percent).div_ceil(100);
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += u32::from(*count);
            if seen >= rank {
                return upper_bound(at);
            }
        }
        upper_bound(BUCKETS - 1)
    }
}

/// `time` in microseconds. The standard library's takes a division of 128 bits.
#[inline]
pub const fn micros(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000).saturating_add(time.subsec_micros() as u64)
}

/// The bucket of `us`: its doubling, and the eighth of it.
fn bucket(us: u32) -> usize {
    let us = us.max(1 << LOWEST);
    let doubling = us.ilog2();
    let step = (us >> (doubling - STEP_BITS)) & (PER_DOUBLING - 1);
    (((doubling - LOWEST) * PER_DOUBLING + step) as usize).min(BUCKETS - 1)
}

/// The longest time of a bucket, in microseconds.
fn upper_bound(bucket: usize) -> u32 {
    let (doubling, step) = (bucket as u32 / PER_DOUBLING + LOWEST, bucket as u32 % PER_DOUBLING);
    (PER_DOUBLING + step + 1) << (doubling - STEP_BITS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONGEST: u64 = 800_000;

    fn of(millis: impl IntoIterator<Item = u64>) -> Rtt {
        let mut rtt = Rtt::default();
        for ms in millis {
            rtt.take(Duration::from_millis(ms));
        }
        rtt
    }

    #[test]
    fn rfc6298_the_first_sample_is_all_that_is_known() {
        assert_eq!(of([]).resend_after(LONGEST), LONGEST);
        assert_eq!(of([]).smoothed(), None);
        // SRTT 100, RTTVAR 50: 300.
        assert_eq!(of([100]).resend_after(LONGEST), 300_000);
    }

    #[test]
    fn rfc6298_a_steady_path_is_believed() {
        let rtt = of([100; 200]);
        assert!(rtt.smoothed().unwrap().abs_diff(Duration::from_millis(100)) < Duration::from_millis(1));
        let after = rtt.resend_after(LONGEST);
        assert!((100_000..=130_000).contains(&after), "{after}");
    }

    #[test]
    fn waits_are_bounded_both_ways() {
        assert_eq!(of([1; 100]).resend_after(LONGEST), LEAST_RESEND_US);
        assert_eq!(of([1; 100]).hedge_after(), Some(LEAST_HEDGE_US));
        assert_eq!(of([9000; 100]).resend_after(LONGEST), LONGEST);
        assert_eq!(of([5; ENOUGH as usize - 1]).hedge_after(), None);
    }

    #[test]
    fn two_humps_are_both_waited_for() {
        // One in ten is not in the upstream's cache and takes 300 ms.
        let rtt = of((0..1000).map(|i| if i % 10 == 0 { 300 } else { 2 }));
        assert!(rtt.resend_after(LONGEST) >= 300_000, "{}", rtt.resend_after(LONGEST));
    }

    #[test]
    fn the_percentile_follows_a_path_that_changes() {
        let mut rtt = of([200; 2000]);
        assert!(rtt.p95().unwrap() >= Duration::from_millis(200));
        for _ in 0..6 * MEMORY {
            rtt.take(Duration::from_millis(10));
        }
        assert!(rtt.p95().unwrap() < Duration::from_millis(15), "{:?}", rtt.p95());
    }

    #[test]
    fn every_time_lies_in_its_bucket() {
        for us in (0..30_000_000u32).step_by(997) {
            let at = bucket(us);
            assert!(at == BUCKETS - 1 || us < upper_bound(at), "{us} in {at}");
            assert!(at == 0 || us >= upper_bound(at - 1), "{us} in {at}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_percentile_is_that_of_the_samples(mut ms in prop::collection::vec(1u64..4000, 100..400)) {
            let rtt = of(ms.iter().copied());
            ms.sort_unstable();
            // The percentile is looked for every few samples.
            let at = |percent: usize| ms[(ms.len() * percent / 100).min(ms.len() - 1)];
            let p95 = rtt.p95().unwrap().as_millis() as u64;
            prop_assert!(p95 + 1 >= at(90) && p95 <= at(99) * 5 / 4 + 1, "{p95}: {} to {}", at(90), at(99));
        }

        #[test]
        fn no_sample_panics(us in prop::collection::vec(any::<u64>(), 1..50)) {
            let mut rtt = Rtt::default();
            for us in us {
                rtt.take(Duration::from_micros(us));
            }
            prop_assert!(rtt.resend_after(LONGEST) <= LONGEST);
        }
    }
}
