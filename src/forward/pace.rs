//! What the engine wants to know of its upstreams before it sends, and what it
//! tells of them: whom to ask next, how long to wait, whether it may send.
//!
//! [`UpstreamState`] is the seam: health, policies and budgets stand behind it.
//! [`Measured`] is what is needed for resends and hedging alone: the round trip
//! times, smoothed as RFC 6298 does it, and a running estimate of their 95th
//! percentile. Clocks are passed in; everything here is arithmetic.

use std::net::IpAddr;
use std::time::Duration;

use super::peers::PeerId;
use crate::metrics::forward::Failure;

/// Why a query is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// For the first time, or since another upstream failed.
    Query,
    /// Since no response came in time.
    Resend,
    /// Since another upstream takes longer than it mostly does.
    Hedge,
    /// Over TCP.
    Tcp,
}

/// The right to one query, to be given back with its end. What the number
/// stands for is known by who gave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(dead_code, reason = "read by those who give it")]
pub(super) struct Permit(pub(super) u32);

/// The query would exceed what the upstream may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Over;

/// The end of a query; each that was admitted has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "all of it is told, whoever listens")]
pub(super) enum End {
    /// A response came after this many microseconds. NXDOMAIN and NODATA are
    /// responses like others.
    Answered { rtt_us: u64 },
    /// A response came that tells of a failure, after as many.
    Failed { failure: Failure, rtt_us: u64 },
    /// None came though it was waited for.
    TimedOut,
    /// The network would not have it, or told that the upstream is not there.
    Unreachable,
    /// It is no longer wanted: another one brought the answer.
    Abandoned,
}

/// What is known of upstreams. Times are milliseconds on the engine's clock.
pub(super) trait UpstreamState {
    /// Which of `group` is asked next; bit n of `asked` is set for those that
    /// were. `None` if none is left.
    fn choose(&mut self, group: &[PeerId], asked: u64, now: u64) -> Option<usize>;

    /// How long a first query is waited for before it is sent again; the
    /// second wait is twice as long. `None` for never.
    fn resend_after(&self, peer: PeerId, now: u64) -> Option<u64>;

    /// How long a query is waited for before the next upstream is asked as well.
    fn hedge_after(&self, peer: PeerId, now: u64) -> Option<u64>;

    /// Whether a query may be sent.
    fn admit(&mut self, peer: PeerId, client: Option<IpAddr>, kind: Kind, now: u64) -> Result<Permit, Over>;

    /// A query that was admitted is over.
    fn ended(&mut self, peer: PeerId, permit: Permit, end: End, now: u64);
}

/// Most upstreams of a group that are told apart.
pub(super) const MOST: usize = 64;
/// Nothing is sent again earlier: a response takes that long where the
/// upstream must ask others first, and what is sent in vain counts there.
const LEAST_RESEND_MS: u64 = 50;
/// The same for hedging.
const LEAST_HEDGE_MS: u64 = 20;
/// Responses from which on the 95th percentile is taken for known.
const KNOWN: u32 = 32;

/// Round trip times, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Rtt {
    smoothed: u64,
    deviation: u64,
    p95: u64,
    count: u32,
}

impl Rtt {
    fn take(&mut self, rtt: u64) {
        if self.count == 0 {
            (self.smoothed, self.deviation, self.p95) = (rtt, rtt / 2, rtt);
        } else {
            // RFC 6298 section 2.3.
            self.deviation = (3 * self.deviation + self.smoothed.abs_diff(rtt)) / 4;
            self.smoothed = (7 * self.smoothed + rtt) / 8;
            // A step up weighs as much as nineteen down: it settles where one
            // response of twenty is slower.
            let step = (self.p95 / 512).max(1);
            self.p95 = if rtt > self.p95 { self.p95 + 19 * step } else { self.p95 - step.min(self.p95) };
        }
        self.count = self.count.saturating_add(1);
    }
}

/// The upstreams by their round trip times; all healthy, nothing limited.
#[derive(Debug, Default)]
pub(super) struct Measured {
    rtts: Vec<Rtt>,
    /// Wait before anything is known of an upstream, and the longest.
    first: Option<u64>,
}

impl Measured {
    /// Takes the configured time for resends. One that is longer than clients
    /// wait is none at all.
    pub(super) fn configure(&mut self, resend_after: Duration, client_deadline: Duration) {
        let wanted = resend_after <= client_deadline;
        self.first = wanted.then(|| u64::try_from(resend_after.as_millis()).unwrap_or(u64::MAX).max(1));
    }

    fn rtt(&self, peer: PeerId) -> Option<&Rtt> {
        self.rtts.get(usize::from(peer.0)).filter(|rtt| rtt.count > 0)
    }
}

impl UpstreamState for Measured {
    fn choose(&mut self, group: &[PeerId], asked: u64, _now: u64) -> Option<usize> {
        let next = asked.trailing_ones() as usize;
        (next < group.len().min(MOST)).then_some(next)
    }

    fn resend_after(&self, peer: PeerId, _now: u64) -> Option<u64> {
        let first = self.first?;
        let Some(rtt) = self.rtt(peer) else { return Some(first) };
        let estimate = (rtt.smoothed + 4 * rtt.deviation).div_ceil(1000);
        Some(estimate.max(LEAST_RESEND_MS).min(first))
    }

    fn hedge_after(&self, peer: PeerId, _now: u64) -> Option<u64> {
        let first = self.first?;
        let rtt = self.rtt(peer).filter(|rtt| rtt.count >= KNOWN)?;
        Some(rtt.p95.div_ceil(1000).max(LEAST_HEDGE_MS).min(first))
    }

    fn admit(&mut self, _: PeerId, _: Option<IpAddr>, _: Kind, _: u64) -> Result<Permit, Over> {
        Ok(Permit::default())
    }

    fn ended(&mut self, peer: PeerId, _: Permit, end: End, _now: u64) {
        let End::Answered { rtt_us } = end else { return };
        let at = usize::from(peer.0);
        if self.rtts.len() <= at {
            self.rtts.resize(at + 1, Rtt::default());
        }
        if let Some(rtt) = self.rtts.get_mut(at) {
            rtt.take(rtt_us);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerId = PeerId(1);

    fn measured(rtts_ms: impl IntoIterator<Item = u64>) -> Measured {
        let mut measured = Measured::default();
        measured.configure(Duration::from_millis(800), Duration::from_millis(2400));
        for rtt in rtts_ms {
            measured.ended(PEER, Permit::default(), End::Answered { rtt_us: rtt * 1000 }, 0);
        }
        measured
    }

    #[test]
    fn the_configured_time_counts_until_something_is_known_and_is_the_longest() {
        assert_eq!(measured([]).resend_after(PEER, 0), Some(800));
        assert_eq!(measured([1; 50]).resend_after(PEER, 0), Some(LEAST_RESEND_MS));
        assert_eq!(measured([2000; 50]).resend_after(PEER, 0), Some(800));
        let steady = measured([100; 100]).resend_after(PEER, 0).unwrap();
        assert!((100..110).contains(&steady), "{steady}");
        let mut never = measured([]);
        never.configure(Duration::from_secs(3600), Duration::from_secs(20));
        assert_eq!((never.resend_after(PEER, 0), never.hedge_after(PEER, 0)), (None, None));
    }

    #[test]
    fn hedging_waits_for_what_nineteen_of_twenty_responses_take() {
        assert_eq!(measured([100; KNOWN as usize - 1]).hedge_after(PEER, 0), None);
        // Spread over 1 to 200 ms, in an order without a trend.
        let spread = measured((0..20_000).map(|i| i * 77 % 200 + 1));
        let p95 = spread.hedge_after(PEER, 0).unwrap();
        assert!((175..=205).contains(&p95), "{p95}");
    }

    #[test]
    fn upstreams_are_asked_in_their_order_once() {
        let (mut measured, group) = (measured([]), [PeerId(4), PeerId(2)]);
        assert_eq!(measured.choose(&group, 0, 0), Some(0));
        assert_eq!(measured.choose(&group, 1, 0), Some(1));
        assert_eq!(measured.choose(&group, 3, 0), None);
        assert_eq!(measured.choose(&[PEER; 100], u64::MAX, 0), None);
    }
}
