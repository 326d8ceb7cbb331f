//! The upstreams as the engine numbers them.
//!
//! Everything that the engine keeps for an upstream hangs on a small number;
//! its address appears here alone.

use std::net::IpAddr;
use std::sync::Arc;

use crate::metrics::forward::{ForwardMetrics, UpstreamCounters};

use super::loss::Loss;
use super::pace::Permit;
use super::rules::Group;
use super::system;
use super::upstream::Upstream;

/// An upstream of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PeerId(pub(super) u16);

/// A group of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct GroupId(pub(super) u16);

/// Questions of an upstream that came back from it before it answered one of
/// them, from which on they are taken for a loop although others may ask from
/// the same address, ...
const SUSPICIOUS: u8 = 4;
/// ... once they have done so for this long, milliseconds. Those others may ask
/// for one name all at once, and an upstream that is alive answers some of it
/// by then. One that loops does not: it costs the first questions a part of
/// the wait that they would have had anyway.
const INSISTENT: u64 = 1000;
/// What came back longer ago than an exchange lasts says nothing any more, milliseconds.
const FORGOTTEN: u64 = 10_000;

/// A query on its way to the socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queued {
    /// Whose it is.
    pub(super) exchange: u64,
    /// The right to it.
    pub(super) permit: Permit,
    /// Whether the first try met the error of an earlier query.
    pub(super) again: bool,
}

/// One upstream.
#[derive(Debug)]
pub(super) struct Peer {
    /// Whom to send to.
    pub(super) upstream: Arc<Upstream>,
    /// What is counted.
    pub(super) counters: Arc<UpstreamCounters>,
    /// Queries that go out at the end of the pass.
    pub(super) queued: Vec<Queued>,
    /// What is lost on the way.
    pub(super) loss: Loss,
    /// Whether anybody on this host may ask from its address as well.
    shared: bool,
    suspicion: Suspicion,
}

/// What speaks for a loop since the upstream last answered such a question.
#[derive(Clone, Copy, Debug, Default)]
struct Suspicion {
    /// Questions that came back.
    count: u8,
    /// When the first of them did, ...
    since: u64,
    /// ... and the last, milliseconds of the engine's clock.
    last: u64,
}

impl Peer {
    /// A question that is in flight to it came from its address at `now`,
    /// milliseconds; whether it is the very question, on its way around.
    pub(super) fn came_back(&mut self, now: u64) -> bool {
        let Suspicion { count, since, last } = &mut self.suspicion;
        if *count == 0 || now.saturating_sub(*last) > FORGOTTEN {
            (*count, *since) = (0, now);
        }
        (*count, *last) = (count.saturating_add(1), now);
        !self.shared || (*count > SUSPICIOUS && now.saturating_sub(*since) >= INSISTENT)
    }

    /// It answered such a question: somebody else had asked that.
    pub(super) fn cleared(&mut self) {
        self.suspicion = Suspicion::default();
    }
}

/// All upstreams that were ever asked. They come from the configuration and
/// from resolv.conf, so that their number is bounded.
#[derive(Debug, Default)]
pub(super) struct Peers {
    list: Vec<Peer>,
    groups: Vec<(Arc<Group>, Box<[PeerId]>)>,
}

impl Peers {
    pub(super) fn get(&self, peer: PeerId) -> Option<&Peer> {
        self.list.get(usize::from(peer.0))
    }

    pub(super) fn get_mut(&mut self, peer: PeerId) -> Option<&mut Peer> {
        self.list.get_mut(usize::from(peer.0))
    }

    /// How many there are.
    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.list.len()
    }

    /// All of them, by their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.list.iter()
    }

    /// The number of `group`.
    pub(super) fn of(&mut self, group: &Arc<Group>, metrics: &ForwardMetrics) -> GroupId {
        let known = self.groups.iter().position(|(other, _)| Arc::ptr_eq(other, group));
        let at = known.unwrap_or_else(|| self.add(group, metrics));
        // As with upstreams: more than any configuration lists.
        GroupId(u16::try_from(at).unwrap_or(u16::MAX))
    }

    /// The upstreams of a group, in its order.
    #[inline]
    pub(super) fn members(&self, group: GroupId) -> &[PeerId] {
        self.groups.get(usize::from(group.0)).map(|(_, peers)| &**peers).unwrap_or_default()
    }

    /// The name of a group in the configuration.
    pub(super) fn group_name(&self, group: GroupId) -> &str {
        self.groups.get(usize::from(group.0)).map_or("", |(group, _)| &group.name)
    }

    /// A group that a reload brought: equal ones are the same.
    #[cold]
    fn add(&mut self, group: &Arc<Group>, metrics: &ForwardMetrics) -> usize {
        if let Some(at) = self.groups.iter().position(|(other, _)| other == group) {
            if let Some((known, _)) = self.groups.get_mut(at) {
                *known = Arc::clone(group);
            }
            return at;
        }
        let peers = group.upstreams.iter().map(|upstream| self.peer(upstream, metrics)).collect();
        self.groups.push((Arc::clone(group), peers));
        self.groups.len() - 1
    }

    fn peer(&mut self, upstream: &Arc<Upstream>, metrics: &ForwardMetrics) -> PeerId {
        let known = self.list.iter().position(|peer| peer.upstream == *upstream);
        let at = known.unwrap_or_else(|| {
            let (counters, shared) = (metrics.upstream(&**upstream), is_shared(upstream.address().ip()));
            let upstream = Arc::clone(upstream);
            let (queued, loss, suspicion) = (Vec::new(), Loss::default(), Suspicion::default());
            self.list.push(Peer { upstream, counters, queued, loss, shared, suspicion });
            self.list.len() - 1
        });
        // Far more than any configuration lists: the excess shares a number.
        PeerId(u16::try_from(at).unwrap_or(u16::MAX))
    }

    /// Those with queries to send: the first, with its queries.
    pub(super) fn take_queued(&mut self) -> Option<(PeerId, Vec<Queued>)> {
        let at = self.list.iter().position(|peer| !peer.queued.is_empty())?;
        let queued = self.list.get_mut(at).map(|peer| std::mem::take(&mut peer.queued))?;
        Some((PeerId(at as u16), queued))
    }

    /// Whether an upstream has the address `client`.
    pub(super) fn has(&self, client: IpAddr) -> bool {
        self.list.iter().any(|peer| peer.upstream.address().ip().to_canonical() == client)
    }
}

/// Whether clients on this host ask from `address`: it is where their queries
/// to a loopback address, or to this very address of the host, come from.
fn is_shared(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) if v4.is_loopback() => v4 == std::net::Ipv4Addr::LOCALHOST,
        other => system::is_local(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(upstreams: &[&str]) -> Arc<Group> {
        let upstreams = upstreams.iter().map(|text| Upstream::plain(text.parse().unwrap())).collect();
        Arc::new(Group { name: "g".into(), upstreams })
    }

    #[test]
    fn groups_share_upstreams_and_equal_groups_are_one() {
        let (mut peers, metrics) = (Peers::default(), ForwardMetrics::default());
        let first = group(&["192.0.2.1:53", "192.0.2.2:53"]);
        let mut of = |group: &Arc<Group>| {
            let id = peers.of(group, &metrics);
            (id, peers.members(id).to_vec())
        };
        assert_eq!(of(&first), (GroupId(0), vec![PeerId(0), PeerId(1)]));
        assert_eq!(of(&group(&["192.0.2.2:53", "192.0.2.3:53"])), (GroupId(1), vec![PeerId(1), PeerId(2)]));
        for _ in 0..100 {
            assert_eq!(of(&group(&["192.0.2.1:53", "192.0.2.2:53"])).0, GroupId(0));
        }
        assert_eq!((peers.groups.len(), peers.list.len()), (2, 3));
        assert!(peers.has("192.0.2.3".parse().unwrap()) && !peers.has("192.0.2.4".parse().unwrap()));
    }

    #[test]
    fn an_address_of_ones_own_is_proof_and_a_shared_one_must_insist() {
        let (mut peers, metrics) = (Peers::default(), ForwardMetrics::default());
        peers.of(&group(&["192.0.2.1:53", "127.0.0.1:53", "127.0.0.2:53", "[::1]:53"]), &metrics);
        let shared: Vec<bool> = peers.list.iter().map(|peer| peer.shared).collect();
        assert_eq!(shared[..3], [false, true, false]);
        assert!(peers.list[0].came_back(7));
        let local = &mut peers.list[1];
        // Many who ask at once are no loop, and neither are few for long.
        assert!((0..100).all(|_| !local.came_back(7)) && !local.came_back(6 + INSISTENT));
        assert!(local.came_back(7 + INSISTENT));
        local.cleared();
        assert!(!local.came_back(60_000 + INSISTENT));
        assert!((0..3).all(|n| !local.came_back(70_000 + n * 3000)));
        local.cleared();
        let insists = (0..=u64::from(SUSPICIOUS)).any(|n| local.came_back(90_000 + n * 600));
        assert!(insists);
        // What was long ago is forgotten.
        local.cleared();
        assert!(!local.came_back(100_000));
        assert!((0..100).all(|_| !local.came_back(110_001)));
    }
}
