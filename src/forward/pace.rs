//! What the engine asks the governor, and what it tells it, by the engine's
//! numbers.
//!
//! The governor knows upstreams by their names and can be called from any
//! thread; [`Governed`] holds on to what it gave, so that no query looks
//! anything up by name. Clocks are passed in: milliseconds since the engine
//! began, which is when the governor's clock began.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::governor::{Begun, Class, Governor, Probe, Rotation, Upstream};
use super::health::Quality;
use super::peers::{GroupId, PeerId, Peers};
use super::tables::Limits;
use super::upstream;

pub(super) use super::governor::{Over, Ticket as Permit};

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

/// On whose behalf queries are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asker {
    /// The client's address, where there is one.
    pub(super) client: Option<IpAddr>,
    /// Whether nobody waits: a response is renewed before it expires.
    pub(super) renewal: bool,
}

impl Asker {
    const fn class(self, kind: Kind) -> Class {
        match kind {
            _ if self.renewal => Class::Prefetch,
            Kind::Query | Kind::Tcp => Class::Query,
            Kind::Resend | Kind::Hedge => Class::Retry,
        }
    }
}

/// The end of a query; each that was admitted has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A response came. NXDOMAIN and NODATA are responses like others.
    Answered(Quality),
    /// The same of a query that had to wait for a connection.
    Connected(Quality),
    /// A response came that nobody waited for any more.
    Late,
    /// None came though it was waited for, and that was not told yet.
    TimedOut,
    /// The network would not have it, or told that the upstream is not there.
    Unreachable,
    /// It says nothing of the upstream, or was told before.
    Abandoned,
}

/// A group as the governor knows it.
#[derive(Debug)]
struct Members {
    rotation: Arc<Rotation>,
    list: Box<[Arc<Upstream>]>,
}

/// What is known of upstreams.
#[derive(Debug)]
pub(super) struct Governed {
    governor: Arc<Governor>,
    begun: Begun,
    /// By the engine's numbers.
    upstreams: Vec<Arc<Upstream>>,
    groups: Vec<Option<Members>>,
    /// Whether anything is sent again: a configured time that is longer than
    /// clients wait means that nothing is.
    resends: bool,
}

impl Governed {
    /// On behalf of `governor`, whose clock began with `begun`.
    pub(super) const fn new(governor: Arc<Governor>, begun: Begun) -> Self {
        Self { governor, begun, upstreams: Vec::new(), groups: Vec::new(), resends: true }
    }

    /// Takes over reloaded tables, which use the upstreams `used`.
    pub(super) fn refresh(
        &mut self,
        peers: &Peers,
        used: &HashSet<Arc<upstream::Upstream>>,
        limits: &Limits,
    ) {
        self.resends = limits.resend_after <= limits.client_deadline;
        self.groups.clear();
        let labels: HashSet<&str> = used.iter().map(|upstream| upstream.label()).collect();
        self.governor.retain(|upstream| labels.contains(upstream.name()));
        // Those that are not used keep what they had: queries may still be out.
        for (known, peer) in self.upstreams.iter_mut().zip(peers.iter()) {
            if used.contains(&peer.upstream) {
                *known = self.governor.upstream(peer.upstream.label(), peer.upstream.address());
            }
        }
    }

    /// Which of `group` is asked next; bit n of `asked` is set for those that
    /// were. `None` if none is left that is worth asking.
    #[inline]
    pub(super) fn choose(&mut self, peers: &Peers, group: GroupId, asked: u64, now: u64) -> Option<usize> {
        if self.upstreams.len() < peers.len() {
            self.learn(peers);
        }
        match peers.members(group).len() {
            1 => (asked == 0).then_some(0),
            _ => self.choose_among(peers, group, asked, now),
        }
    }

    #[cold]
    fn learn(&mut self, peers: &Peers) {
        for peer in peers.iter().skip(self.upstreams.len()) {
            self.upstreams.push(self.governor.upstream(peer.upstream.label(), peer.upstream.address()));
        }
    }

    fn choose_among(&mut self, peers: &Peers, group: GroupId, asked: u64, now: u64) -> Option<usize> {
        let at = usize::from(group.0);
        if self.groups.len() <= at {
            self.groups.resize_with(at + 1, || None);
        }
        let (governor, upstreams) = (&self.governor, &self.upstreams);
        let members = self.groups.get_mut(at)?.get_or_insert_with(|| {
            let known = |peer: &PeerId| upstreams.get(usize::from(peer.0)).cloned();
            let list = peers.members(group).iter().filter_map(known).collect();
            Members { rotation: governor.rotation(peers.group_name(group)), list }
        });
        governor.choose(&members.rotation, &members.list, asked, rand::random(), now)
    }

    #[inline]
    fn get(&self, peer: PeerId) -> Option<&Arc<Upstream>> {
        self.upstreams.get(usize::from(peer.0))
    }

    /// The engine's number of an upstream.
    pub(super) fn number(&self, upstream: &Arc<Upstream>) -> Option<PeerId> {
        let at = self.upstreams.iter().position(|known| Arc::ptr_eq(known, upstream))?;
        u16::try_from(at).ok().map(PeerId)
    }

    /// How long a first query is waited for before it is sent again, in
    /// milliseconds; the second wait is twice as long. `None` for never.
    #[inline]
    pub(super) fn resend_after(&self, peer: PeerId) -> Option<u64> {
        let upstream = self.get(peer).filter(|_| self.resends)?;
        Some(upstream.resend_after_ms())
    }

    /// How long a query is waited for before the next upstream is asked as well.
    #[inline]
    pub(super) fn hedge_after(&self, peer: PeerId) -> Option<u64> {
        let upstream = self.get(peer).filter(|_| self.resends)?;
        upstream.hedge_after_ms()
    }

    /// Whether a query may be sent.
    #[inline]
    pub(super) fn admit(&self, peer: PeerId, asker: Asker, kind: Kind, now: u64) -> Result<Permit, Over> {
        // Each that was chosen is known.
        let upstream = self.get(peer).ok_or(Over::InFlight)?;
        let permit = upstream.admit(asker.class(kind), asker.client, now)?;
        match kind {
            Kind::Query | Kind::Tcp => {}
            Kind::Resend => upstream.resent(),
            Kind::Hedge => upstream.hedged(),
        }
        Ok(permit)
    }

    /// Asks, from whatever thread, whether a query over a stream that has a
    /// permit may be sent once more, since its connection has ended.
    pub(super) fn again(&self, peer: PeerId, asker: Asker) -> impl FnMut() -> bool + Send + use<> {
        let (upstream, begun) = (self.get(peer).cloned(), self.begun);
        move || {
            let now = begun.milliseconds(Instant::now());
            upstream.as_ref().is_some_and(|known| known.again(asker.class(Kind::Resend), asker.client, now))
        }
    }

    /// A query that was sent `waited_us` microseconds ago has had no response,
    /// and one may still come. Whether that was long enough to tell of it.
    pub(super) fn is_silent(&self, peer: PeerId, waited_us: u64, now: u64) -> bool {
        let waited = Duration::from_micros(waited_us);
        let Some(upstream) = self.get(peer).filter(|known| waited >= known.resend_after() / 2) else {
            return false;
        };
        upstream.timed_out(waited, now);
        true
    }

    /// A query that was admitted, and sent `waited_us` microseconds ago, is over.
    #[inline]
    pub(super) fn ended(&self, peer: PeerId, permit: Permit, waited_us: u64, end: End, now: u64) {
        self.tell(peer, waited_us, end, now);
        self.release(peer, permit);
    }

    /// [`Self::ended`] of one whose permit is still out.
    #[inline]
    pub(super) fn tell(&self, peer: PeerId, waited_us: u64, end: End, now: u64) {
        let Some(upstream) = self.get(peer) else { return };
        let waited = Duration::from_micros(waited_us);
        match end {
            End::Answered(quality) => upstream.answered(waited, quality, now),
            End::Connected(quality) => upstream.connected(waited, quality, now),
            End::Late => upstream.late(waited, now),
            End::TimedOut => upstream.timed_out(waited, now),
            End::Unreachable => upstream.unreachable(waited, now),
            End::Abandoned => {}
        }
    }

    /// Gives a permit back.
    #[inline]
    pub(super) fn release(&self, peer: PeerId, permit: Permit) {
        if let Some(upstream) = self.get(peer) {
            upstream.release(permit);
        }
    }

    /// Whether the upstream takes a number of queries at a time.
    pub(super) fn counts_in_flight(&self, peer: PeerId) -> bool {
        self.get(peer).is_some_and(|upstream| upstream.counts_in_flight())
    }

    /// How long a query would be waited for before it is sent again, whether
    /// that is done or not, in milliseconds.
    pub(super) fn patience(&self, peer: PeerId) -> u64 {
        self.get(peer).map_or(0, |upstream| upstream.resend_after_ms())
    }

    /// When the next probe is due, or a little earlier.
    #[inline]
    pub(super) fn next_probe(&self) -> Option<u64> {
        self.governor.next_probe()
    }

    /// The probes that are due; they count as sent.
    pub(super) fn due_probes(&self, now: u64) -> Vec<Probe> {
        self.governor.due_probes(rand::random(), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::forward::rules::Group;
    use crate::metrics::forward::ForwardMetrics;

    const PEER: PeerId = PeerId(1);
    const LEAST_RESEND_MS: u64 = 50;
    const KNOWN: usize = 32;

    fn governed(addresses: &[&str], settings: &config::Governor) -> (Governed, Peers, GroupId) {
        let upstreams =
            addresses.iter().map(|text| upstream::Upstream::plain(text.parse().unwrap())).collect();
        let (mut peers, group) = (Peers::default(), Arc::new(Group { name: "g".into(), upstreams }));
        let id = peers.of(&group, &ForwardMetrics::default());
        let governor = Governor::new(settings, Duration::from_millis(800), 1);
        let mut governed = Governed::new(Arc::new(governor), Begun::now());
        governed.learn(&peers);
        (governed, peers, id)
    }

    fn measured(rtts_ms: impl IntoIterator<Item = u64>) -> Governed {
        let (governed, ..) = governed(&["192.0.2.1:53", "192.0.2.2:53"], &config::Governor::default());
        for rtt in rtts_ms {
            let permit = governed.admit(PEER, Asker::default(), Kind::Query, 0).unwrap();
            governed.ended(PEER, permit, rtt * 1000, End::Answered(Quality::Good), 0);
        }
        governed
    }

    #[test]
    fn the_configured_time_counts_until_something_is_known_and_is_the_longest() {
        assert_eq!(measured([]).resend_after(PEER), Some(800));
        assert_eq!(measured([1; 50]).resend_after(PEER), Some(LEAST_RESEND_MS));
        assert_eq!(measured([2000; 50]).resend_after(PEER), Some(800));
        let steady = measured([100; 100]).resend_after(PEER).unwrap();
        assert!((100..110).contains(&steady), "{steady}");
        let mut never = measured([]);
        never.resends = false;
        assert_eq!((never.resend_after(PEER), never.hedge_after(PEER)), (None, None));
    }

    #[test]
    fn hedging_waits_for_what_nineteen_of_twenty_responses_take() {
        assert_eq!(measured([100; KNOWN - 1]).hedge_after(PEER), None);
        // Spread over 1 to 200 ms, in an order without a trend.
        let spread = measured((0..20_000).map(|i| i * 77 % 200 + 1));
        let p95 = spread.hedge_after(PEER).unwrap();
        assert!((175..=205).contains(&p95), "{p95}");
    }

    #[test]
    fn upstreams_are_asked_in_their_order_once() {
        let (mut governed, peers, group) =
            governed(&["192.0.2.1:53", "192.0.2.2:53"], &config::Governor::default());
        let mut choose = |asked| governed.choose(&peers, group, asked, 0);
        assert_eq!((choose(0), choose(1), choose(3)), (Some(0), Some(1), None));
        let (mut governed, peers, group) = governed_alone();
        let mut choose = |asked| governed.choose(&peers, group, asked, 0);
        assert_eq!((choose(0), choose(1)), (Some(0), None));
    }

    fn governed_alone() -> (Governed, Peers, GroupId) {
        governed(&["192.0.2.1:53"], &config::Governor::default())
    }

    #[test]
    fn each_kind_draws_on_the_budget_as_its_class() {
        let address = "192.0.2.1:53".parse().unwrap();
        let budget = config::UpstreamBudget { address, rate: Some(800), in_flight: Some(1000) };
        let settings = config::Governor { budgets: vec![budget], ..config::Governor::default() };
        let (governed, ..) = governed(&["192.0.2.1:53"], &settings);
        let (asker, renewal) = (Asker::default(), Asker { renewal: true, ..Asker::default() });
        let kinds = [Kind::Query, Kind::Tcp, Kind::Resend, Kind::Hedge].map(|kind| (asker, kind));
        for (asker, kind) in kinds.into_iter().chain([(renewal, Kind::Query), (renewal, Kind::Resend)]) {
            governed.admit(PeerId(0), asker, kind, 5000).unwrap();
        }
        assert!(governed.again(PeerId(0), asker)());
        let usage = &governed.governor.budgets(0, 5000)[0].usage;
        // A query that moves on takes no second place in flight.
        assert_eq!((usage.counts.admitted, usage.in_flight), ([2, 3, 2, 0], 6));
    }
}
