//! What comes back: datagrams, errors of the network, ends of TCP exchanges.

use std::io;

use tokio::task;

use crate::metrics::forward::{Failure, Mismatch, UpstreamCounters};
use crate::metrics::streams::StreamFault;
use crate::socket::Fault;
use crate::wire::message::Message;
use crate::wire::{Name, Rcode};

use super::Engine;
use crate::forward::chain::Chain;
use crate::forward::exchange::{Exchange, NEVER, Next, OverStream};
use crate::forward::flights::Outstanding;
use crate::forward::health::Quality;
use crate::forward::kept::{Checked, Marks, Traits};
use crate::forward::pace::End;
use crate::forward::read::{Facts, Followed, Scratch, read};
use crate::forward::reply::{self, Asked, UpstreamReply};
use crate::forward::sockets::{Expected, Sent};
use crate::forward::streams::{Answer, fault_of};

impl Engine {
    pub(super) fn stream_done(&mut self, id: u64, task: task::Id, result: io::Result<Answer>) {
        let (now, bounds) = (self.now.ms, self.tables.bounds);
        let streams = self.exchanges.get(id).map(|exchange| &exchange.ask.streams);
        let Some(at) = streams.and_then(|streams| streams.iter().position(|one| one.task.id() == task))
        else {
            return self.stream_came_late(task, result.ok().as_ref());
        };
        let Some(exchange) = self.exchanges.get(id) else { return };
        let OverStream { peer, permit, at_us, told, .. } = exchange.ask.streams.swap_remove(at);
        exchange.ask.peer = Some(peer);
        let clock = exchange.clock(now);
        let had_first = exchange.first.is_some();
        let counters = self.peers.get(peer).map(|peer| &*peer.counters);
        let is_stream = self.peers.get(peer).is_some_and(|peer| peer.upstream.is_stream());
        let rcode = result.as_ref().ok().map(|answer| answer.reply.rcode);
        let quality = rcode.map_or(Quality::Good, |rcode| self.tables.limits.failures.quality(rcode));
        let end = match &result {
            // How long a connection takes, or whether there is one, says
            // nothing of datagrams.
            _ if !is_stream => End::Abandoned,
            Ok(Answer { reply, at_once }) => {
                let quality = if exchange.is_about_opt(reply.rcode) { Quality::Good } else { quality };
                if *at_once { End::Answered(quality) } else { End::Connected(quality) }
            }
            Err(error) => end_by(error, told),
        };
        self.state.ended(peer, permit, self.now.us.saturating_sub(at_us), end, now);
        let next = match result {
            Ok(Answer { reply, .. }) => {
                if let Some(counters) = counters {
                    counters.answered_us(self.now.us.saturating_sub(at_us));
                    count_rcode(counters, reply.rcode);
                }
                let (suspect, failed) = (exchange.suspect, quality == Quality::Failure);
                let next = exchange.received(reply, failed, self.shared.local.as_ref(), &bounds, clock);
                if suspect && let Some(peer) = self.peers.get_mut(peer) {
                    peer.cleared();
                }
                next
            }
            Err(error) => {
                if let Some(counters) = counters {
                    counters.failed(failure_of(&error));
                }
                if fault_of(&error) == Some(StreamFault::OverBudget) {
                    exchange.ask.over = true;
                } else {
                    exchange.ask.network_error = true;
                }
                exchange.tcp_failed(self.shared.local.as_ref(), &bounds, clock)
            }
        };
        self.count_fallback(id, had_first, &next);
        self.step(id, next);
    }

    pub(super) fn count_fallback(&self, id: u64, had_first: bool, next: &Next) {
        if had_first && matches!(next, Next::Done(_)) {
            let used = self.exchanges.peek(id).is_some_and(|exchange| exchange.first.is_some());
            self.shared.metrics.fallback(used);
        }
    }

    /// Reads what came in on one socket. What does not fit into the batch is
    /// told again by the next wait.
    pub(super) fn receive(&mut self, port: u64) {
        let Some(mut batch) = self.batch.take() else { return };
        let mut scratch = std::mem::take(&mut self.scratch);
        match self.sockets.receive(port, &mut batch) {
            Some(Ok(count)) => {
                self.moved += count;
                for index in 0..count {
                    let Some(message) = batch.message(index) else { continue };
                    if message.truncated {
                        self.shared.metrics.mismatch(Mismatch::Oversized);
                    } else if let Some(bytes) = message.buffer.get_mut(..message.len) {
                        self.datagram(port, bytes, &mut scratch);
                    }
                }
            }
            Some(Err(fault)) => self.socket_error(port, fault),
            None => {}
        }
        self.scratch = scratch;
        self.batch = Some(batch);
    }

    /// Counts what is no response to anything, and hands on what is.
    fn datagram(&mut self, port: u64, bytes: &mut [u8], scratch: &mut Scratch) {
        let message_id = match reply::id_of(bytes) {
            Ok(id) => id,
            Err(mismatch) => return self.shared.metrics.mismatch(mismatch),
        };
        let sent = Sent { port, id: message_id };
        let id = match self.sockets.expected(port, message_id) {
            Expected::By(exchange) => exchange,
            Expected::Late(peer, at_us) => {
                self.sockets.release(sent);
                self.came_late(sent, peer, at_us);
                return self.shared.metrics.mismatch(Mismatch::Late);
            }
            Expected::Nothing => {
                self.shared.metrics.mismatch(Mismatch::Id);
                if self.sockets.stray(port, self.now.ms) {
                    self.distrust(port);
                }
                return;
            }
        };
        let Some(exchange) = self.exchanges.get(id) else { return self.probe_in(id, sent, bytes) };
        let (qtype, qclass) = (exchange.question.qtype, exchange.question.qclass);
        let read = read(bytes, exchange.name(), qtype, qclass, scratch);
        let salvaged = match read {
            Ok(_) => None,
            Err(mismatch) => match salvage(exchange, bytes, mismatch) {
                Ok(reply) => Some(reply),
                Err(mismatch) => return self.shared.metrics.mismatch(mismatch),
            },
        };
        let Some(one) = exchange.ask.outstanding.take(sent) else { return };
        exchange.ask.peer = Some(one.peer);
        exchange.ask.lines.over(one.peer);
        let rcode = match (&read, &salvaged) {
            (Ok(facts), _) => facts.rcode,
            (Err(_), Some(reply)) => reply.rcode,
            (Err(_), None) => Rcode::SERVFAIL,
        };
        self.answered(id, one, rcode);
        match (read, salvaged) {
            (Ok(facts), None) => self.response(id, &facts, bytes, scratch),
            (_, Some(reply)) => self.received(id, reply),
            (Err(_), None) => {}
        }
    }

    /// Counts the end of a query with a response.
    fn answered(&mut self, id: u64, one: Outstanding, rcode: Rcode) {
        self.sockets.release(one.sent);
        let rtt_us = self.now.us.saturating_sub(one.at_us);
        let exchange = self.exchanges.peek(id);
        let quality = match exchange {
            Some(exchange) if exchange.is_about_opt(rcode) => Quality::Good,
            _ => self.tables.limits.failures.quality(rcode),
        };
        let is_suspect = exchange.is_some_and(|exchange| exchange.suspect);
        self.state.ended(one.peer, one.permit, rtt_us, End::Answered(quality), self.now.ms);
        self.count_lost(id, one);
        let Some(peer) = self.peers.get_mut(one.peer) else { return };
        peer.loss.answered();
        peer.counters.answered_us(rtt_us);
        count_rcode(&peer.counters, rcode);
        if is_suspect {
            peer.cleared();
        }
    }

    /// What was sent before `one`, which was answered, and is late, is lost.
    fn count_lost(&mut self, id: u64, one: Outstanding) {
        let Some(exchange) = self.exchanges.peek(id) else { return };
        for earlier in exchange.ask.outstanding.iter().filter(|other| other.at_us < one.at_us) {
            let waited = self.now.us.saturating_sub(earlier.at_us) / 1000;
            let patience = self.state.resend_after(earlier.peer);
            if patience.is_some_and(|patience| waited >= patience)
                && let Some(peer) = self.peers.get_mut(earlier.peer)
            {
                peer.loss.lost();
            }
        }
    }

    /// A response that answers the question, still in the buffer it came in.
    /// What leads nowhere of ours is kept and sent from there.
    fn response(&mut self, id: u64, facts: &Facts, bytes: &[u8], scratch: &Scratch) {
        let Some(exchange) = self.exchanges.peek(id) else { return };
        let marks = Marks::default();
        match self.life(exchange, facts, bytes, &marks) {
            Some((life, traits)) => {
                let clock = exchange.clock(self.now.ms);
                let kept = facts.kept(bytes, (clock, life), traits, scratch, &marks);
                self.finish_kept(id, &kept);
            }
            None => match reply::take(facts, bytes, scratch) {
                Some(reply) => self.received(id, reply),
                None => self.shared.metrics.mismatch(Mismatch::Malformed),
            },
        }
    }

    /// How long a response is kept that is the end of its exchange, with its
    /// traits; `None` for one that must be looked at more closely.
    fn life(&self, exchange: &Exchange, facts: &Facts, bytes: &[u8], marks: &Marks) -> Option<(u32, u8)> {
        let denied = facts.rcode == Rcode::NXDOMAIN;
        // With a fallback, a denial may be none of the public DNS.
        let settled = facts.rcode == Rcode::NOERROR
            || (denied && (exchange.question.fallback.is_none() || !facts.has_soa()));
        if !settled || facts.truncated || facts.rewrite || !exchange.is_simple() {
            return None;
        }
        let (bounds, name) = (&self.tables.bounds, exchange.question.name_wire());
        if !facts.aliases {
            let chain = Followed { targets: &[], answered: facts.answered };
            return Some((facts.lifetime(bytes, name, chain, bounds), 0));
        }
        let message = Message::walked(bytes, facts.question_end)?;
        let chain = Chain::walk(&message);
        let split = self.shared.local.split(&chain.targets, &exchange.question);
        if chain.looped || split.cut.is_some() || (!chain.answered && !denied && !facts.has_soa()) {
            return None;
        }
        marks.set_checked(Checked { instance: split.instance, cut: None });
        let followed = Followed { targets: &chain.targets, answered: chain.answered };
        let traits = if chain.targets.is_empty() { 0 } else { Traits::HAS_TARGETS };
        Some((facts.lifetime(bytes, name, followed, bounds), traits))
    }

    /// A response that decides how the exchange goes on.
    fn received(&mut self, id: u64, reply: UpstreamReply) {
        let (now, bounds) = (self.now.ms, self.tables.bounds);
        let Some(exchange) = self.exchanges.get(id) else { return };
        let clock = exchange.clock(now);
        let had_first = exchange.first.is_some();
        let is_failure = self.tables.limits.failures.has(reply.rcode);
        let next = exchange.received(reply, is_failure, self.shared.local.as_ref(), &bounds, clock);
        self.count_fallback(id, had_first, &next);
        self.step(id, next);
    }

    /// Somebody guesses ids at this port: what waits there asks over TCP,
    /// whose sequence numbers no guess of 16 bits hits.
    #[cold]
    fn distrust(&mut self, port: u64) {
        for (sent, id) in self.sockets.waiting(port) {
            let Some(exchange) = self.exchanges.get(id) else { continue };
            let one = exchange.ask.outstanding.iter().find(|one| one.sent == sent).copied();
            let Some(one) = one.filter(|one| !exchange.ask.is_over_stream(one.peer)) else { continue };
            exchange.ask.peer = Some(one.peer);
            // Nobody else is asked over UDP either.
            exchange.ask.lines.stop();
            exchange.ask.hedge_at = NEVER;
            let mut flights = std::mem::take(&mut exchange.ask.outstanding);
            while let Some(one) = flights.pop() {
                self.abandon(one);
            }
            self.step(id, Next::Tcp);
        }
    }

    /// The kernel tells of an error, mostly ICMP: everything that waits on
    /// this socket goes on at once.
    pub(super) fn socket_error(&mut self, port: u64, fault: Fault) {
        for (sent, id) in self.sockets.waiting(port) {
            let Some(exchange) = self.exchanges.get(id) else {
                self.end_probe(id);
                continue;
            };
            let Some(lost) = exchange.ask.outstanding.take(sent) else { continue };
            exchange.ask.network_error = true;
            exchange.ask.lines.over(lost.peer);
            self.sockets.release(sent);
            self.lost(&lost, fault);
            self.step(id, Next::Again);
        }
    }

    fn lost(&mut self, one: &Outstanding, fault: Fault) {
        let waited_us = self.now.us.saturating_sub(one.at_us);
        self.state.ended(one.peer, one.permit, waited_us, End::Unreachable, self.now.ms);
        let failure = if fault == Fault::Refused { Failure::Refused } else { Failure::Network };
        if let Some(peer) = self.peers.get(one.peer) {
            peer.counters.failed(failure);
        }
    }
}

/// What is left of a message that could not be read.
#[cold]
fn salvage(exchange: &Exchange, bytes: &[u8], mismatch: Mismatch) -> Result<UpstreamReply, Mismatch> {
    let name = Name::from_wire(exchange.name()).map_err(|_| mismatch)?;
    let asked = Asked { name: &name, qtype: exchange.question.qtype, qclass: exchange.question.qclass };
    reply::salvage(bytes, &asked, mismatch)
}

fn failure_of(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Failure::Refused,
        io::ErrorKind::TimedOut => Failure::Timeout,
        _ => Failure::Network,
    }
}

/// What an error of a stream tells of an upstream that is asked over it alone.
fn end_by(error: &io::Error, told: bool) -> End {
    match fault_of(error) {
        // Of our own making.
        Some(StreamFault::Busy | StreamFault::OverBudget) => End::Abandoned,
        Some(StreamFault::Timeout) if told => End::Abandoned,
        Some(StreamFault::Timeout) => End::TimedOut,
        // It is there, and no use.
        Some(
            StreamFault::HttpStatus
            | StreamFault::ContentType
            | StreamFault::TooLarge
            | StreamFault::Malformed,
        ) => End::Answered(Quality::Failure),
        _ => End::Unreachable,
    }
}

/// The failure that a response code tells of. NXDOMAIN is none.
const fn failure_by(rcode: Rcode) -> Option<Failure> {
    match rcode {
        Rcode::SERVFAIL => Some(Failure::Servfail),
        Rcode::REFUSED => Some(Failure::RcodeRefused),
        Rcode::FORMERR | Rcode::NOTIMP | Rcode::BADVERS => Some(Failure::Formerr),
        _ => None,
    }
}

fn count_rcode(counters: &UpstreamCounters, rcode: Rcode) {
    if let Some(failure) = failure_by(rcode) {
        counters.failed(failure);
    }
}
