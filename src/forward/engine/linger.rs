//! Queries that nobody waits for any more, while their upstream may still be at
//! them: another one was faster, or the client's time is over.
//!
//! Their responses are no answers, but they tell how long the upstream takes.
//! If only those counted that came in time, an upstream that becomes slower
//! than the time after which others are asked as well would never be known for
//! it: each question would be hedged for ever. What is never answered is no
//! sample, since where datagrams are lost it tells of the path.
//!
//! Where an upstream takes a number of queries at a time, such a query keeps
//! its place until its late response comes, or until one can no longer be
//! expected; else resends and hedges would overdraw what is in flight there.

use std::collections::VecDeque;

use tokio::task;

use super::Engine;
use crate::forward::exchange::OverStream;
use crate::forward::flights::Outstanding;
use crate::forward::pace::{End, Permit};
use crate::forward::peers::PeerId;
use crate::forward::sockets::Sent;
use crate::forward::streams::Answer;
use crate::metrics::forward::Failure;

/// A datagram keeps its place for so many times as long as a resend takes, ...
const RESENDS: u64 = 4;
/// ... and for no longer than this, as one over a stream does.
const LONGEST_MS: u64 = 2000;
/// Most queries over streams that are left to their end. Of more, the response
/// is given up at once: so many tell enough.
const MOST_STREAMS: usize = 64;

/// A datagram whose permit is still out.
#[derive(Debug)]
struct Left {
    /// Where its response would come in.
    sent: Sent,
    peer: PeerId,
    permit: Permit,
    until: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Lingering {
    /// No more than upstreams with limits take at a time.
    datagrams: VecDeque<Left>,
    /// Those over streams, in the order in which they were left, with the time
    /// when they are given up.
    streams: VecDeque<(OverStream, u64)>,
}

impl Lingering {
    /// When the first is given up.
    pub(super) fn due(&self) -> Option<u64> {
        let datagram = self.datagrams.front().map(|left| left.until);
        let stream = self.streams.front().map(|(_, until)| *until);
        datagram.into_iter().chain(stream).min()
    }
}

impl Engine {
    /// Nobody waits for the response to `one` any more. What was out for less
    /// than its time may still come: no failure of the upstream's.
    pub(super) fn abandon(&mut self, one: Outstanding) {
        let Outstanding { sent, peer, permit, at_us, told } = one;
        self.sockets.forget(sent, peer, at_us);
        self.unanswered(peer, at_us, told);
        let patience = self.state.patience(peer).saturating_mul(RESENDS).min(LONGEST_MS);
        let until = (at_us / 1000).saturating_add(patience);
        if until <= self.now.ms || !self.state.counts_in_flight(peer) {
            return self.state.release(peer, permit);
        }
        self.lingering.datagrams.push_back(Left { sent, peer, permit, until });
    }

    /// [`Self::abandon`] for one over a stream.
    pub(super) fn abandon_stream(&mut self, one: OverStream) {
        self.unanswered(one.peer, one.at_us, one.told);
        let until = self.now.ms.saturating_add(LONGEST_MS);
        self.lingering.streams.push_back((one, until));
        if self.lingering.streams.len() > MOST_STREAMS {
            self.give_up_stream();
        }
    }

    fn unanswered(&self, peer: PeerId, at_us: u64, told: bool) {
        let waited_us = self.now.us.saturating_sub(at_us);
        let late = self.state.resend_after(peer).is_some_and(|patience| waited_us / 1000 >= patience);
        if late && let Some(peer) = self.peers.get(peer) {
            peer.counters.failed(Failure::Timeout);
        }
        let end = if late && !told { End::TimedOut } else { End::Abandoned };
        self.state.tell(peer, waited_us, end, self.now.ms);
    }

    /// A response came that nobody waited for, from `peer` to what was sent at `at_us`.
    pub(super) fn came_late(&mut self, sent: Sent, peer: PeerId, at_us: u64) {
        self.state.tell(peer, self.now.us.saturating_sub(at_us), End::Late, self.now.ms);
        let list = &mut self.lingering.datagrams;
        let Some(at) = list.iter().position(|left| left.sent == sent) else { return };
        if let Some(left) = list.remove(at) {
            self.state.release(left.peer, left.permit);
        }
    }

    /// A query over a stream that nobody waited for is over.
    pub(super) fn stream_came_late(&mut self, task: task::Id, answer: Option<&Answer>) {
        let list = &mut self.lingering.streams;
        let Some(at) = list.iter().position(|(one, _)| one.task.id() == task) else { return };
        let Some((one, _)) = list.remove(at) else { return };
        let is_stream = self.peers.get(one.peer).is_some_and(|peer| peer.upstream.is_stream());
        // What TCP took says nothing of an upstream that is asked over UDP.
        let is_sample = is_stream && answer.is_some_and(|answer| answer.at_once);
        let end = if is_sample { End::Late } else { End::Abandoned };
        self.state.ended(one.peer, one.permit, self.now.us.saturating_sub(one.at_us), end, self.now.ms);
    }

    /// Gives up what is no longer expected. Those behind one that has more time
    /// wait for it, which is never long.
    pub(super) fn give_back(&mut self) {
        let now = self.now.ms;
        while self.lingering.datagrams.front().is_some_and(|left| left.until <= now) {
            let Some(left) = self.lingering.datagrams.pop_front() else { break };
            self.state.release(left.peer, left.permit);
        }
        while self.lingering.streams.front().is_some_and(|(_, until)| *until <= now) {
            self.give_up_stream();
        }
    }

    fn give_up_stream(&mut self) {
        if let Some((one, _)) = self.lingering.streams.pop_front() {
            one.task.abort();
            self.state.release(one.peer, one.permit);
        }
    }
}
