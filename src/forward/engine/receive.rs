//! What comes back: datagrams, errors of the network, ends of TCP exchanges.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use mio::Token;
use tokio::task;

use crate::metrics::forward::{Failure, Mismatch, UpstreamCounters};
use crate::wire::Rcode;

use super::{Engine, READS};
use crate::forward::exchange::{Next, Outstanding};
use crate::forward::reply::{self, Asked, UpstreamReply};

impl Engine {
    pub(super) fn tcp_done(
        &mut self,
        id: u64,
        task: task::Id,
        started: Instant,
        result: io::Result<UpstreamReply>,
    ) {
        let bounds = self.tables.bounds;
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        // A result of an ask that is over belongs to nobody.
        let Some(at) = exchange.ask.streams.iter().position(|sent| sent.task.id() == task) else { return };
        let sent = exchange.ask.streams.swap_remove(at);
        exchange.ask.upstream = Some(Arc::clone(&sent.upstream));
        let counters = self.counters(&sent.upstream);
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let clock = exchange.clock(Instant::now());
        let had_first = exchange.first.is_some();
        let next = match result {
            Ok(reply) => {
                counters.answered(started.elapsed());
                count_rcode(&counters, reply.rcode);
                exchange.received(reply, self.shared.local.as_ref(), &bounds, clock)
            }
            Err(error) => {
                counters.failed(failure_of(&error));
                exchange.ask.network_error = true;
                exchange.tcp_failed(self.shared.local.as_ref(), &bounds, clock)
            }
        };
        self.count_fallback(id, had_first, &next);
        self.step(id, next);
    }

    fn count_fallback(&self, id: u64, had_first: bool, next: &Next) {
        if had_first && matches!(next, Next::Done(_)) {
            let used = self.exchanges.get(&id).is_some_and(|exchange| exchange.first.is_some());
            self.shared.metrics.fallback(used);
        }
    }

    /// Reads what came in on one socket.
    pub(super) fn read(&mut self, token: Token) {
        for _ in 0..READS {
            let mut datagram = std::mem::take(&mut self.datagram);
            let received = self.sockets.receive(token, &mut datagram);
            let result = match received {
                Ok(len) => {
                    self.datagram_in(token, datagram.get(..len).unwrap_or_default());
                    Ok(())
                }
                Err(error) => Err(error),
            };
            self.datagram = datagram;
            match result {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.socket_error(token, &error),
            }
        }
        self.unread.push(token);
    }

    fn datagram_in(&mut self, token: Token, bytes: &[u8]) {
        let found = reply::id_of(bytes).and_then(|id| {
            self.sockets.waiting(token, id).map(|exchange| (id, exchange)).ok_or(Mismatch::Id)
        });
        let (message_id, id) = match found {
            Ok(found) => found,
            Err(mismatch) => return self.shared.metrics.mismatch(mismatch),
        };
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let asked = Asked {
            name: &exchange.ask.name,
            qtype: exchange.question.qtype,
            qclass: exchange.question.qclass,
        };
        let reply = match reply::accept(bytes, &asked) {
            Ok(reply) => reply,
            Err(mismatch) => return self.shared.metrics.mismatch(mismatch),
        };
        let matches = |o: &Outstanding| o.sent.token == token && o.sent.id == message_id;
        let Some(at) = exchange.ask.outstanding.iter().position(matches) else { return };
        let answered = exchange.ask.outstanding.swap_remove(at);
        self.sockets.release(answered.sent);
        exchange.ask.upstream = Some(Arc::clone(&answered.upstream));
        let now = Instant::now();
        let clock = exchange.clock(now);
        let bounds = self.tables.bounds;
        let had_first = exchange.first.is_some();
        let rcode = reply.rcode;
        let next = exchange.received(reply, self.shared.local.as_ref(), &bounds, clock);
        let counters = self.counters(&answered.upstream);
        counters.answered(now.saturating_duration_since(answered.at));
        count_rcode(&counters, rcode);
        self.count_fallback(id, had_first, &next);
        self.step(id, next);
    }

    /// The kernel tells of an error, mostly ICMP: everything that waits on
    /// this socket goes on at once.
    fn socket_error(&mut self, token: Token, error: &io::Error) {
        for (message_id, id) in self.sockets.all_waiting(token) {
            let Some(exchange) = self.exchanges.get_mut(&id) else { continue };
            let matches = |o: &Outstanding| o.sent.token == token && o.sent.id == message_id;
            let Some(at) = exchange.ask.outstanding.iter().position(matches) else { continue };
            let lost = exchange.ask.outstanding.swap_remove(at);
            exchange.ask.network_error = true;
            self.sockets.release(lost.sent);
            self.counters(&lost.upstream).failed(failure_of(error));
            self.step(id, Next::Again);
        }
    }
}

fn failure_of(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Failure::Refused,
        io::ErrorKind::TimedOut => Failure::Timeout,
        _ => Failure::Network,
    }
}

fn count_rcode(counters: &UpstreamCounters, rcode: Rcode) {
    match rcode {
        Rcode::SERVFAIL => counters.failed(Failure::Servfail),
        Rcode::REFUSED => counters.failed(Failure::RcodeRefused),
        Rcode::FORMERR | Rcode::NOTIMP | Rcode::BADVERS => counters.failed(Failure::Formerr),
        _ => {}
    }
}
