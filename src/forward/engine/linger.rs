//! Queries that nobody waits for any more, while their upstream may still be at
//! them: another one was faster, or the client's time is over.
//!
//! Where an upstream takes a number of queries at a time, such a query keeps
//! its place until its late response comes, or until one can no longer be
//! expected; else resends and hedges would overdraw what is in flight there.

use std::collections::VecDeque;

use super::Engine;
use crate::forward::pace::Permit;
use crate::forward::peers::PeerId;
use crate::forward::sockets::Sent;

/// Such a query is expected for so many times as long as a resend takes, ...
const RESENDS: u64 = 4;
/// ... and for no longer than this.
const LONGEST_MS: u64 = 2000;

/// One query.
#[derive(Debug)]
struct Left {
    /// Where its response would come in; `None` for one over a stream.
    sent: Option<Sent>,
    peer: PeerId,
    permit: Permit,
    until: u64,
}

/// All of them; no more than upstreams with limits take at a time.
#[derive(Debug, Default)]
pub(super) struct Lingering {
    list: VecDeque<Left>,
}

impl Lingering {
    /// When the first is given up.
    pub(super) fn due(&self) -> Option<u64> {
        self.list.front().map(|left| left.until)
    }
}

impl Engine {
    /// Nobody waits any more for a query that was sent at `at_us`: its permit
    /// is given back, now or later.
    pub(super) fn linger(&mut self, sent: Option<Sent>, peer: PeerId, permit: Permit, at_us: u64) {
        let patience = self.state.patience(peer).saturating_mul(RESENDS).min(LONGEST_MS);
        let until = (at_us / 1000).saturating_add(patience);
        if until <= self.now.ms || !self.state.counts_in_flight(peer) {
            return self.state.release(peer, permit);
        }
        self.lingering.list.push_back(Left { sent, peer, permit, until });
    }

    /// A response came that nobody waited for.
    pub(super) fn came_late(&mut self, sent: Sent) {
        let list = &mut self.lingering.list;
        let Some(at) = list.iter().position(|left| left.sent == Some(sent)) else { return };
        if let Some(left) = list.remove(at) {
            self.state.release(left.peer, left.permit);
        }
    }

    /// Gives up what is no longer expected. Those behind one that has more time
    /// wait for it, which is never long.
    pub(super) fn give_back(&mut self) {
        while self.lingering.due().is_some_and(|due| due <= self.now.ms) {
            let Some(left) = self.lingering.list.pop_front() else { return };
            self.state.release(left.peer, left.permit);
        }
    }
}
