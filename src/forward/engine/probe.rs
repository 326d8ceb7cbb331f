//! Probes of upstreams that are down or suspect: sent by the upstream's own
//! transport, at times that the governor sets.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::places::slots::FIRST;
use crate::wire::{Class, Name, Rtype};

use super::Engine;
use crate::forward::governor::{Probe, probe_query};
use crate::forward::inbox::Work;
use crate::forward::peers::PeerId;
use crate::forward::reply::{self, Asked};
use crate::forward::sockets::Sent;
use crate::forward::streams::Answer;

/// A probe without an answer is given up after this.
const PATIENCE_MS: u64 = 1000;

/// How a probe travels.
#[derive(Debug)]
enum Way {
    Datagram(Sent),
    Stream(AbortHandle),
}

/// A probe on its way.
#[derive(Debug)]
struct Flying {
    id: u64,
    probe: Probe,
    way: Way,
    at_us: u64,
}

/// The probes on their way: one or two for each upstream that is down.
#[derive(Debug, Default)]
pub(super) struct Probes {
    flying: Vec<Flying>,
    last: u64,
}

impl Probes {
    /// A name that no exchange has.
    const fn name(&mut self) -> u64 {
        self.last = self.last % (FIRST - 1) + 1;
        self.last
    }

    /// When the oldest is given up.
    fn due(&self) -> Option<u64> {
        self.flying.first().map(|flying| flying.at_us / 1000 + PATIENCE_MS)
    }
}

impl Engine {
    /// The next moment at which something is due.
    pub(super) fn next_due(&self) -> Option<u64> {
        let timer = self.wheel.next();
        let rare = [self.state.next_probe(), self.probes.due(), self.lingering.due()];
        rare.into_iter().flatten().chain(timer).min()
    }

    /// Sends the probes that are due, and gives up those that are old.
    pub(super) fn probe(&mut self) {
        let now = self.now.ms;
        while self.probes.due().is_some_and(|due| due <= now) {
            let Some(id) = self.probes.flying.first().map(|flying| flying.id) else { break };
            self.end_probe(id);
        }
        if self.state.next_probe().is_some_and(|due| due <= now) {
            for probe in self.state.due_probes(now) {
                self.send_probe(probe);
            }
        }
    }

    #[cold]
    fn send_probe(&mut self, probe: Probe) {
        let id = self.probes.name();
        let way = self.state.number(&probe.upstream).and_then(|peer| {
            let is_stream = self.peers.get(peer)?.upstream.is_stream();
            if is_stream { self.probe_by_stream(id, peer) } else { self.probe_by_datagram(id, peer) }
        });
        match way {
            Some(way) => self.probes.flying.push(Flying { id, probe, way, at_us: self.now.us }),
            // What cannot be sent is as good as unanswered.
            None => probe.upstream.release(probe.ticket),
        }
    }

    fn probe_by_datagram(&mut self, id: u64, peer: PeerId) -> Option<Way> {
        let address = self.peers.get(peer)?.upstream.address();
        let port = self.sockets.pick(peer, address).ok()?;
        let sent = self.sockets.assign(port, id)?;
        let mut outbox = std::mem::take(&mut self.outbox);
        outbox.push(None, None, |bytes| probe_query(sent.id, bytes));
        self.sockets.send(port, &mut outbox, |_, _| {});
        self.outbox = outbox;
        self.peers.get(peer)?.counters.sent_udp_many(1);
        Some(Way::Datagram(sent))
    }

    fn probe_by_stream(&self, id: u64, peer: PeerId) -> Option<Way> {
        let entry = self.peers.get(peer)?;
        let mut query = Vec::new();
        probe_query(0, &mut query);
        let deadline = self.start + Duration::from_millis(self.now.ms + PATIENCE_MS);
        let inbox = Arc::clone(&self.inbox);
        let done = move |result| {
            drop(inbox.push(Work::Probe { id, result }));
            inbox.ring();
        };
        let task = self.shared.streams.ask(&entry.upstream, query, deadline, || false, done);
        entry.upstream.count_stream(&entry.counters);
        Some(Way::Stream(task))
    }

    /// Nothing is expected of a probe any more.
    #[cold]
    pub(super) fn end_probe(&mut self, id: u64) -> Option<(Probe, u64)> {
        let at = self.probes.flying.iter().position(|flying| flying.id == id)?;
        let Flying { probe, way, at_us, .. } = self.probes.flying.remove(at);
        match way {
            Way::Datagram(sent) => self.sockets.release(sent),
            Way::Stream(task) => task.abort(),
        }
        probe.upstream.release(probe.ticket);
        Some((probe, at_us))
    }

    /// A message for probe `id` came in.
    #[cold]
    pub(super) fn probe_in(&mut self, id: u64, sent: Sent, bytes: &[u8]) {
        let is_its = |flying: &Flying| matches!(flying.way, Way::Datagram(own) if own == sent);
        if !self.probes.flying.iter().any(|flying| flying.id == id && is_its(flying)) {
            return;
        }
        let root = Name::root();
        let asked = Asked { name: &root, qtype: Rtype::SOA, qclass: Class::IN };
        match reply::accept(bytes, &asked) {
            Ok(reply) => self.probe_answered(id, &Answer { reply, at_once: true }),
            Err(mismatch) => self.shared.metrics.mismatch(mismatch),
        }
    }

    /// A probe over a stream has ended.
    pub(super) fn probe_done(&mut self, id: u64, result: io::Result<Answer>) {
        match result {
            Ok(answer) => self.probe_answered(id, &answer),
            Err(_) => drop(self.end_probe(id)),
        }
    }

    fn probe_answered(&mut self, id: u64, answer: &Answer) {
        let Some((probe, at_us)) = self.end_probe(id) else { return };
        let waited = Duration::from_micros(self.now.us.saturating_sub(at_us));
        let quality = self.tables.limits.failures.quality(answer.reply.rcode);
        if answer.at_once {
            probe.upstream.probe_answered(waited, quality, self.now.ms);
        } else {
            probe.upstream.probe_connected(waited, quality, self.now.ms);
        }
    }
}
