//! Questions as they come in: joined to an exchange, or the beginning of one.

use std::net::IpAddr;

use crate::metrics::forward::Rejection;
use crate::wire::Ede;

use super::Engine;
use crate::forward::cache::KeyRef;
use crate::forward::exchange::{Exchange, Next, Waiting};
use crate::forward::pace::Asker;
use crate::forward::peers::PeerId;
use crate::forward::question::Question;
use crate::forward::{Submission, Waiter};

/// Clients that may wait in all, per question that may be in flight.
const WAITERS_PER_QUESTION: usize = 4;

/// What an upstream gets that asks us what we are asking it. SERVFAIL, and not
/// REFUSED, goes with it: RFC 9520 counts loops among the failures to resolve
/// one question, which forwarders keep for some seconds and answer from, while
/// several take REFUSED for a word about all their questions and turn away.
const CAME_BACK: Ede = Ede { code: 0, text: "query came back from the upstream that it was sent to" };

impl Engine {
    /// A client's question: joins an exchange or begins one.
    pub(super) fn ask(&mut self, submission: Submission) {
        let Submission { question, now: clock, expires, renewal, client, waiter } = submission;
        let (now, asker) = (self.now.ms, Asker { client, renewal });
        let limits = self.tables.limits;
        if let Some(client) = client.map(|client| client.to_canonical())
            && self.peers.has(client)
            && self.came_back(&question, client)
        {
            return waiter.done(Err(CAME_BACK));
        }
        let expires = match expires {
            Some(at) => self.time_of(at),
            None => now.saturating_add(limits.client_deadline.as_millis() as u64),
        };
        let waiting = Waiting { expires, waiter };
        let hash = question.key.as_ref().kept_hash();
        let (exchanges, key) = (&self.exchanges, &question.key);
        let is_same = |id: &u64| exchanges.peek(*id).is_some_and(|other| other.question.key == *key);
        let in_flight = self.by_key.find(hash, is_same).copied();
        // The answer may have come since the worker looked.
        if in_flight.is_none()
            && !renewal
            && let Some(entry) = self.shared.cache.get(&key.as_ref(), clock)
        {
            return waiting.waiter.done(Ok(std::sync::Arc::new(entry)));
        }
        if self.waiters >= limits.max_in_flight.saturating_mul(WAITERS_PER_QUESTION).max(limits.max_waiters) {
            return self.reject(waiting.waiter, Rejection::Waiters);
        }
        if let Some(id) = in_flight {
            return self.join(id, waiting, asker);
        }
        if self.exchanges.len() >= limits.max_in_flight {
            return self.reject(waiting.waiter, Rejection::InFlight);
        }
        if question.group.upstreams.is_empty() {
            return self.reject(waiting.waiter, Rejection::NoUpstream);
        }
        let deadline = now.saturating_add(limits.exchange_deadline.as_millis() as u64);
        let exchange = Exchange::new(question, waiting, (now, clock), deadline, asker);
        let id = self.exchanges.insert(|_| exchange);
        let exchanges = &self.exchanges;
        let rehash = |id: &u64| exchanges.peek(*id).map_or(0, |e| e.question.key.as_ref().kept_hash());
        self.by_key.insert_unique(hash, id, rehash);
        self.waiters += 1;
        self.step(id, Next::Again);
    }

    fn join(&mut self, id: u64, waiting: Waiting, asker: Asker) {
        let Some(exchange) = self.exchanges.get(id) else { return };
        if exchange.waiters() >= self.tables.limits.max_waiters {
            return self.reject(waiting.waiter, Rejection::Waiters);
        }
        exchange.join(waiting, asker);
        self.waiters += 1;
        self.shared.metrics.coalesce();
        self.arm(id);
    }

    fn reject(&mut self, waiter: Box<dyn Waiter>, rejection: Rejection) {
        self.shared.metrics.reject(rejection);
        let ede = match rejection {
            Rejection::NoUpstream => Ede { code: 23, text: "no upstream is known" },
            Rejection::InFlight | Rejection::Waiters | Rejection::Stopping | Rejection::Client => {
                Ede::OVERLOADED
            }
        };
        waiter.done(Err(ede));
    }

    /// Whether the question is in flight to an upstream with the address
    /// `client`, which so forwards to us what we forward to it. It would wait
    /// for itself until everybody's time is over. The forwarder may have set DO
    /// or CD, so that the question need not be the same to the last bit.
    #[cold]
    fn came_back(&mut self, question: &Question, client: IpAddr) -> bool {
        let (own, now) = (question.key.as_ref(), self.now.ms);
        let mut sure = false;
        for bits in 0..8 {
            let (name, qtype, qclass) = (own.name, own.qtype(), own.qclass());
            let Some(key) = KeyRef::rebuild(own.partition(), name, qtype, qclass, bits) else { continue };
            let exchanges = &self.exchanges;
            let is_same = |id: &u64| exchanges.peek(*id).is_some_and(|e| e.question.key.as_ref() == key);
            let Some(id) = self.by_key.find(key.kept_hash(), is_same).copied() else { continue };
            let Some(peer) = self.in_flight_to(id, client) else { continue };
            if let Some(exchange) = self.exchanges.get(id) {
                exchange.suspect = true;
            }
            if let Some(peer) = self.peers.get_mut(peer)
                && peer.came_back(now)
            {
                peer.counters.looped();
                sure = true;
            }
        }
        sure
    }

    /// The upstream with the address `client` that the exchange waits for.
    fn in_flight_to(&self, id: u64, client: IpAddr) -> Option<PeerId> {
        let exchange = self.exchanges.peek(id)?;
        let streams = exchange.ask.streams.iter().map(|one| one.peer);
        let asked =
            exchange.ask.outstanding.iter().map(|one| one.peer).chain(streams).chain(exchange.ask.peer);
        let is_client = |peer: &PeerId| {
            self.peers.get(*peer).is_some_and(|peer| peer.upstream.address().ip().to_canonical() == client)
        };
        asked.into_iter().find(is_client)
    }
}
