//! Queries on their way out: whom to ask, the queue of a pass, the sockets.

use std::sync::Arc;
use std::time::Duration;

use crate::metrics::forward::Failure;
use crate::socket::Fault;

use super::Engine;
use crate::forward::exchange::{NEVER, Next, OverStream};
use crate::forward::flights::Outstanding;
use crate::forward::inbox::Work;
use crate::forward::lines::{Due, Line};
use crate::forward::pace::{End, Kind, Permit};
use crate::forward::peers::{PeerId, Queued};
use crate::forward::sockets::Sent;

/// Queries of a pass that share a socket. A larger pass is spread over several,
/// so that the ports in use stay many under load and no single receive buffer
/// takes everything.
const PER_SOCKET: usize = 32;

impl Engine {
    /// Queues the query of `id` for the next upstream that was not asked yet;
    /// `false` if there is none that may be asked.
    pub(super) fn ask_next(&mut self, id: u64) -> bool {
        while let Some(peer) = self.choose(id) {
            if self.queue(id, peer, Kind::Query, Line::First) {
                return true;
            }
        }
        false
    }

    /// The next upstream, noted as asked.
    fn choose(&mut self, id: u64) -> Option<PeerId> {
        let exchange = self.exchanges.get(id)?;
        let group = self.peers.of(exchange.group(), &self.shared.metrics);
        let ask = &mut exchange.ask;
        let at = self.state.choose(&self.peers, group, ask.asked, self.now.ms)?;
        ask.asked |= 1u64.checked_shl(at as u32)?;
        // Another server: its own OPT.
        ask.opt = true;
        self.peers.members(group).get(at).copied()
    }

    /// Queues the query of `id` for `peer`.
    pub(super) fn queue_query(&mut self, id: u64, peer: PeerId) -> bool {
        let line = self.exchanges.peek(id).map_or(Line::First, |exchange| exchange.ask.lines.of(peer));
        self.queue(id, peer, Kind::Query, line)
    }

    /// Queues a query for the end of the pass and sets its times. `false` if
    /// the upstream may not be sent more at the moment.
    fn queue(&mut self, id: u64, peer: PeerId, kind: Kind, line: Line) -> bool {
        let now = self.now.ms;
        let Some(exchange) = self.exchanges.get(id) else { return false };
        let Ok(permit) = self.state.admit(peer, exchange.asker, kind, now) else {
            exchange.ask.over = true;
            return false;
        };
        let Some(entry) = self.peers.get_mut(peer) else { return false };
        if entry.upstream.is_stream() {
            self.send_over_stream(id, peer, permit);
        } else {
            entry.queued.push(Queued { exchange: id, permit, again: false });
            exchange.ask.queued = exchange.ask.queued.saturating_add(1);
        }
        let Some(exchange) = self.exchanges.get(id) else { return false };
        let ask = &mut exchange.ask;
        ask.peer = Some(peer);
        let wait = self.state.resend_after(peer);
        ask.lines.sent(line, peer, kind == Kind::Resend, now, wait);
        if kind == Kind::Query && !ask.hedged {
            // What is due to be sent again is due elsewhere, too.
            let wait = self.state.hedge_after(peer).or(wait).min(wait);
            ask.hedge_at = wait.map_or(NEVER, |wait| now.saturating_add(wait));
        }
        true
    }

    /// No response came in time: an upstream that was not asked is, or the same
    /// one once more.
    pub(super) fn resend(&mut self, id: u64) {
        self.tell_silence(id);
        let now = self.now.ms;
        while let Some(exchange) = self.exchanges.get(id)
            && let Some(Due { line, peer: same, is_last }) = exchange.ask.lines.take(now)
        {
            // What went over a stream is not lost: only another upstream helps.
            let is_datagram = self.peers.get(same).is_some_and(|peer| !peer.upstream.is_stream());
            let Some(next) = self.choose(id).or(is_datagram.then_some(same)) else { continue };
            let is_sent = self.queue(id, next, Kind::Resend, line);
            if !is_sent && !self.is_waiting(id) {
                return self.step(id, Next::Again);
            }
            if is_sent && is_last {
                self.copy(id, next, line);
            }
        }
    }

    /// Adds to the last resend of a line what the path is likely to lose.
    fn copy(&mut self, id: u64, peer: PeerId, line: Line) {
        let copies = self.peers.get(peer).map_or(1, |peer| peer.loss.copies());
        for _ in 1..copies {
            if !self.queue(id, peer, Kind::Resend, line) {
                return;
            }
        }
    }

    /// What is out for `id` has taken too long, where that was not told yet.
    fn tell_silence(&mut self, id: u64) {
        let (now, state) = (self.now, &self.state);
        let Some(exchange) = self.exchanges.get(id) else { return };
        let is_silent = |peer, at_us| state.is_silent(peer, now.us.saturating_sub(at_us), now.ms);
        for one in exchange.ask.outstanding.iter_mut().filter(|one| !one.told) {
            one.told = is_silent(one.peer, one.at_us);
        }
        for one in exchange.ask.streams.iter_mut().filter(|one| !one.told) {
            one.told = is_silent(one.peer, one.at_us);
        }
    }

    /// The upstream takes longer than it mostly does: the next one is asked as
    /// well, and whoever answers first counts.
    pub(super) fn hedge(&mut self, id: u64) {
        let Some(exchange) = self.exchanges.get(id) else { return };
        exchange.ask.hedge_at = NEVER;
        exchange.ask.hedged = true;
        if let Some(peer) = self.choose(id) {
            self.queue(id, peer, Kind::Hedge, Line::Hedge);
        }
    }

    /// Sends what was queued. An error may queue more, for other upstreams:
    /// each exchange has few.
    pub(super) fn flush(&mut self) {
        while let Some((peer, mut queued)) = self.peers.take_queued() {
            for some in queued.chunks(PER_SOCKET) {
                self.send(peer, some);
            }
            queued.clear();
            if let Some(peer) = self.peers.get_mut(peer).filter(|peer| peer.queued.is_empty()) {
                peer.queued = queued;
            }
        }
    }

    /// Sends a handful of queries over one socket.
    fn send(&mut self, peer: PeerId, queued: &[Queued]) {
        let Some(address) = self.peers.get(peer).map(|peer| peer.upstream.address()) else { return };
        let Ok(port) = self.sockets.pick(peer, address) else {
            for query in queued {
                self.unsent(peer, *query);
            }
            return;
        };
        let mut outbox = std::mem::take(&mut self.outbox);
        let mut sent: [Option<(Queued, Sent)>; PER_SOCKET] = [None; PER_SOCKET];
        for query in queued {
            let assigned = self.sockets.assign(port, query.exchange);
            let Some(exchange) = self.exchanges.get(query.exchange) else {
                // Over meanwhile.
                if let Some(one) = assigned {
                    self.sockets.release(one);
                }
                self.state.ended(peer, query.permit, 0, End::Abandoned, self.now.ms);
                continue;
            };
            let Some(one) = assigned else {
                self.unsent(peer, *query);
                continue;
            };
            let opt = exchange.ask.opt.then_some(self.tables.limits.udp_bytes);
            exchange.ask.queued = exchange.ask.queued.saturating_sub(1);
            let (permit, at_us) = (query.permit, self.now.us);
            let flight = Outstanding { sent: one, peer, permit, at_us, told: false };
            let oldest = exchange.ask.outstanding.push(flight);
            let (question, name) = (&exchange.question, exchange.name());
            outbox.push(None, None, |bytes| question.append_query(name, one.id, opt, bytes));
            if let Some(place) = sent.get_mut(outbox.len() - 1) {
                *place = Some((*query, one));
            }
            if let Some(oldest) = oldest {
                self.abandon(oldest);
            }
        }
        let count = outbox.len();
        let mut faults = Vec::new();
        self.sockets.send(port, &mut outbox, |number, result| match result {
            // No room is as good as lost on the way: the resend covers it.
            Ok(()) | Err(Fault::Full | Fault::NoBuffers) => {}
            Err(fault) => faults.push((number, fault)),
        });
        self.outbox = outbox;
        if let Some(peer) = self.peers.get(peer) {
            peer.counters.sent_udp_many(count.saturating_sub(faults.len()) as u64);
        }
        if !faults.is_empty() {
            self.failed(peer, port, &sent, &faults);
        }
    }

    /// Some queries did not leave.
    #[cold]
    fn failed(
        &mut self,
        peer: PeerId,
        port: u64,
        sent: &[Option<(Queued, Sent)>; PER_SOCKET],
        faults: &[(usize, Fault)],
    ) {
        let failed: Vec<(Queued, Sent, Fault)> = faults
            .iter()
            .filter_map(|(number, fault)| {
                let (query, one) = sent.get(*number).copied().flatten()?;
                Some((query, one, *fault))
            })
            .collect();
        for (query, one, _) in &failed {
            self.sockets.release(*one);
            if let Some(exchange) = self.exchanges.get(query.exchange) {
                exchange.ask.outstanding.take(*one);
                exchange.ask.queued = exchange.ask.queued.saturating_add(1);
            }
        }
        if failed.iter().any(|(_, _, fault)| *fault == Fault::Refused) {
            // Told of an earlier query on this socket, at the first send since.
            self.socket_error(port, Fault::Refused);
        }
        for (query, _, fault) in failed {
            match self.peers.get_mut(peer) {
                Some(peer) if fault == Fault::Refused && !query.again => {
                    peer.queued.push(Queued { again: true, ..query });
                }
                _ => self.unsent(peer, query),
            }
        }
    }

    /// A query that was queued cannot be sent.
    fn unsent(&mut self, peer: PeerId, query: Queued) {
        self.state.ended(peer, query.permit, 0, End::Unreachable, self.now.ms);
        let Some(exchange) = self.exchanges.get(query.exchange) else { return };
        exchange.ask.queued = exchange.ask.queued.saturating_sub(1);
        exchange.ask.network_error = true;
        if let Some(peer) = self.peers.get(peer) {
            peer.counters.failed(Failure::Network);
        }
        self.step(query.exchange, Next::Again);
    }

    /// Asks the upstream that has spoken last over a stream, and over UDP no
    /// more. `false` if it may not be sent more at the moment. What others were
    /// asked goes on: they may say all of it.
    pub(super) fn start_stream(&mut self, id: u64) -> bool {
        let Some(exchange) = self.exchanges.get(id) else { return false };
        let ask = &mut exchange.ask;
        let Some(peer) = ask.peer else { return false };
        ask.over_stream.push(peer);
        ask.lines.over(peer);
        if ask.hedge_at != NEVER {
            // A handshake and a round trip: twice what UDP takes.
            let wait = self.state.patience(peer).saturating_mul(2);
            ask.hedge_at = self.now.ms.saturating_add(wait);
        }
        while let Some(one) =
            self.exchanges.get(id).and_then(|exchange| exchange.ask.outstanding.pop_to(peer))
        {
            self.abandon(one);
        }
        let Some(exchange) = self.exchanges.get(id) else { return false };
        let Ok(permit) = self.state.admit(peer, exchange.asker, Kind::Tcp, self.now.ms) else {
            exchange.ask.over = true;
            return false;
        };
        self.send_over_stream(id, peer, permit);
        true
    }

    /// Sends the query of `id` over a connection to `peer`.
    fn send_over_stream(&mut self, id: u64, peer: PeerId, permit: Permit) {
        let Some(exchange) = self.exchanges.get(id) else { return };
        let Some(entry) = self.peers.get(peer) else { return };
        let opt = exchange.ask.opt.then_some(self.tables.limits.udp_bytes);
        let mut query = Vec::with_capacity(exchange.name().len() + 32);
        exchange.question.append_query(exchange.name(), 0, opt, &mut query);
        let deadline = self.start + Duration::from_millis(exchange.deadline);
        let inbox = Arc::clone(&self.inbox);
        let done = move |result| {
            let task = tokio::task::id();
            // Given back if the engine is gone, and with it who waits.
            drop(inbox.push(Work::Stream { exchange: id, task, result }));
            inbox.ring();
        };
        let again = self.state.again(peer, exchange.asker);
        let task = self.shared.streams.ask(&entry.upstream, query, deadline, again, done);
        entry.upstream.count_stream(&entry.counters);
        exchange.ask.peer = Some(peer);
        if !exchange.ask.is_over_stream(peer) {
            exchange.ask.over_stream.push(peer);
        }
        let (at_us, told) = (self.now.us, !entry.upstream.is_stream());
        exchange.ask.streams.push(OverStream { task, peer, permit, at_us, told });
    }
}
