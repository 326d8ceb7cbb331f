//! The datagrams of one ask that may still be answered.

use super::lines::RESENDS;
use super::pace::Permit;
use super::peers::PeerId;
use super::sockets::Sent;

/// Those that lie in the exchange itself: a line of queries, and the hedge.
const NEAR: usize = 2 + RESENDS as usize;
/// Most of all: two lines, each with six copies of the last resend. A further
/// one takes the place of one that was sent long before.
const MOST: usize = 16;

/// One query that went out over UDP.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outstanding {
    /// Where its response will come in.
    pub(super) sent: Sent,
    /// Whom it went to.
    pub(super) peer: PeerId,
    /// The right to it.
    pub(super) permit: Permit,
    /// When, in microseconds.
    pub(super) at_us: u64,
    /// Whether its silence was told of.
    pub(super) told: bool,
}

/// Queries that may still be answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Flights {
    near: [Option<Outstanding>; NEAR],
    /// Most exchanges end before this holds anything.
    far: Vec<Outstanding>,
}

impl Flights {
    /// Adds one; returns one of the oldest, where all places were taken.
    pub(super) fn push(&mut self, one: Outstanding) -> Option<Outstanding> {
        if let Some(free) = self.near.iter_mut().find(|place| place.is_none()) {
            *free = Some(one);
            return None;
        }
        if NEAR + self.far.len() < MOST {
            self.far.push(one);
            return None;
        }
        self.near.rotate_left(1);
        self.near.last_mut()?.replace(one)
    }

    /// Takes the one out that was sent as `sent`.
    pub(super) fn take(&mut self, sent: Sent) -> Option<Outstanding> {
        if let Some(place) = self.near.iter_mut().find(|place| place.is_some_and(|one| one.sent == sent)) {
            return place.take();
        }
        let at = self.far.iter().position(|one| one.sent == sent)?;
        Some(self.far.swap_remove(at))
    }

    /// Takes one out that went to `peer`.
    pub(super) fn pop_to(&mut self, peer: PeerId) -> Option<Outstanding> {
        let sent = self.iter().find(|one| one.peer == peer)?.sent;
        self.take(sent)
    }

    /// Takes any one out.
    pub(super) fn pop(&mut self) -> Option<Outstanding> {
        self.far.pop().or_else(|| self.near.iter_mut().find_map(Option::take))
    }

    /// All of them, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Outstanding> {
        self.near.iter_mut().flatten().chain(&mut self.far)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Outstanding> {
        self.near.iter().flatten().chain(&self.far)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(number: u16) -> Outstanding {
        let sent = Sent { port: 1, id: number };
        let (permit, at_us) = (Permit::default(), u64::from(number));
        Outstanding { sent, peer: PeerId(0), permit, at_us, told: false }
    }

    #[test]
    fn all_that_are_sent_are_found_and_the_places_are_bounded() {
        let mut flights = Flights::default();
        assert!((0..16).all(|number| flights.push(flight(number)).is_none()));
        assert_eq!(flights.push(flight(16)).map(|one| one.sent.id), Some(0), "the oldest gives way");
        assert_eq!(flights.take(Sent { port: 1, id: 15 }).map(|one| one.at_us), Some(15));
        assert_eq!(flights.take(Sent { port: 1, id: 2 }).map(|one| one.at_us), Some(2));
        assert!(flights.take(Sent { port: 2, id: 3 }).is_none());
        assert!(flights.pop_to(PeerId(1)).is_none());
        assert_eq!(flights.iter().count(), 14);
        assert_eq!(std::iter::from_fn(|| flights.pop()).count(), 14);
        assert!(flights.is_empty());
    }
}
