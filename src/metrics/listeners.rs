//! Counters of the encrypted listeners, a set for each: connections,
//! handshakes, certificates, HTTP. Queries and responses are counted beside
//! those of UDP and TCP (`queries.rs`), by transport.
//!
//! A connection costs two handshakes' worth of public keys, so plain atomics
//! that all tasks share are no part of what it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::exporter::float;
use super::labels::{Ended, Handshake, HandshakeFault, HttpStatus, TurnedAway};
use super::queries::OpenConnections;
use super::{Export, Exporter};
use crate::answer::Transport;

/// The counters of one listener.
#[derive(Debug)]
pub struct ListenerMetrics {
    address: String,
    transport: Transport,
    open: AtomicI64,
    accepted: AtomicU64,
    turned_away: [AtomicU64; TurnedAway::ALL.len()],
    ended: [AtomicU64; Ended::ALL.len()],
    handshakes: [AtomicU64; Handshake::ALL.len()],
    faults: [AtomicU64; HandshakeFault::ALL.len()],
    statuses: [AtomicU64; HttpStatus::ALL.len()],
    /// Until when the certificate is good, Unix seconds; 0 while that is not known.
    not_after: AtomicU64,
    loaded: AtomicU64,
    refused: AtomicU64,
}

fn add(counters: &[AtomicU64], at: usize) {
    if let Some(counter) = counters.get(at) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl ListenerMetrics {
    /// Those of a listener at `address`.
    pub fn new(address: String, transport: Transport) -> Arc<Self> {
        Arc::new(Self {
            address,
            transport,
            open: AtomicI64::new(0),
            accepted: AtomicU64::new(0),
            turned_away: Default::default(),
            ended: Default::default(),
            handshakes: Default::default(),
            faults: Default::default(),
            statuses: Default::default(),
            not_after: AtomicU64::new(0),
            loaded: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// Counts a connection that was let in.
    pub fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one that was not.
    pub fn turned_away(&self, reason: TurnedAway) {
        add(&self.turned_away, reason as usize);
    }

    /// Counts the end of a connection whose handshake had succeeded.
    pub fn ended(&self, reason: Ended) {
        add(&self.ended, reason as usize);
    }

    /// Counts a handshake that succeeded.
    pub fn shaken(&self, how: Handshake) {
        add(&self.handshakes, how as usize);
    }

    /// Counts one that did not.
    pub fn failed(&self, why: HandshakeFault) {
        add(&self.faults, why as usize);
    }

    /// Counts an HTTP response.
    pub fn status(&self, status: HttpStatus) {
        add(&self.statuses, status as usize);
    }

    /// Notes the certificate in use, good until `not_after` (Unix seconds).
    pub fn certificate(&self, not_after: u64) {
        self.not_after.store(not_after, Ordering::Relaxed);
        self.loaded.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a certificate that was not taken into use.
    pub fn certificate_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections open now.
    pub fn open(&self) -> u64 {
        u64::try_from(self.open.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

impl OpenConnections for ListenerMetrics {
    fn connections(&self, change: i32) {
        self.open.fetch_add(change.into(), Ordering::Relaxed);
    }
}

/// All encrypted listeners.
#[derive(Debug, Default)]
pub struct Listeners(pub Vec<Arc<ListenerMetrics>>);

impl Export for Listeners {
    fn export(&self, out: &mut Exporter) {
        for listener in &self.0 {
            listener.export(out);
        }
    }
}

impl ListenerMetrics {
    fn export(&self, out: &mut Exporter) {
        let get = |counters: &[AtomicU64], at: usize| {
            counters.get(at).map_or(0, |counter| counter.load(Ordering::Relaxed))
        };
        let (listener, transport) = (("listener", &*self.address), ("transport", self.transport.label()));
        let here = [listener, transport];
        let open = float(self.open());
        out.gauge("encrypted_connections", "Connections to encrypted listeners that are open.", &here, open);
        let accepted = self.accepted.load(Ordering::Relaxed);
        let help = "Connections to encrypted listeners that were let in, before their handshake.";
        out.counter("encrypted_connections_accepted_total", help, &here, accepted);
        for (at, reason) in TurnedAway::ALL.iter().enumerate() {
            let help = "Connections to encrypted listeners that were turned away.";
            let labels = [listener, transport, ("reason", reason.label())];
            out.counter("encrypted_connections_rejected_total", help, &labels, get(&self.turned_away, at));
        }
        for (at, reason) in Ended::ALL.iter().enumerate() {
            let help = "Connections to encrypted listeners that ended after their handshake.";
            let labels = [listener, transport, ("reason", reason.label())];
            out.counter("encrypted_connections_closed_total", help, &labels, get(&self.ended, at));
        }
        for (at, kind) in Handshake::ALL.iter().enumerate() {
            let help = "TLS handshakes of clients that succeeded, full and resumed.";
            let labels = [listener, transport, ("kind", kind.label())];
            out.counter("tls_handshakes_total", help, &labels, get(&self.handshakes, at));
        }
        for (at, reason) in HandshakeFault::ALL.iter().enumerate() {
            let help = "TLS handshakes of clients that failed, by reason.";
            let labels = [listener, transport, ("reason", reason.label())];
            out.counter("tls_handshake_failures_total", help, &labels, get(&self.faults, at));
        }
        if self.transport == Transport::Https {
            for (at, status) in HttpStatus::ALL.iter().enumerate() {
                let labels = [listener, ("status", status.label())];
                let help = "HTTP responses of DNS over HTTPS, by status.";
                out.counter("https_responses_total", help, &labels, get(&self.statuses, at));
            }
        }
        out.gauge(
            "tls_certificate_not_after_timestamp_seconds",
            "When the certificate of a listener ends, Unix time in seconds.",
            &here,
            float(self.not_after.load(Ordering::Relaxed)),
        );
        for (result, value) in [("loaded", &self.loaded), ("refused", &self.refused)] {
            let help = "Certificates read for a listener, the first included, by what became of them.";
            let labels = [listener, transport, ("result", result)];
            out.counter("tls_certificate_loads_total", help, &labels, value.load(Ordering::Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listener_shows_its_own_counts() {
        let one = ListenerMetrics::new("127.0.0.1:853".to_owned(), Transport::Tls);
        let other = ListenerMetrics::new("127.0.0.1:443".to_owned(), Transport::Https);
        one.failed(HandshakeFault::Timeout);
        one.connections(2);
        one.connections(-1);
        other.status(HttpStatus::UnsupportedMediaType);
        other.certificate(7);
        other.certificate_refused();
        let mut out = Exporter::default();
        Listeners(vec![one, other]).export(&mut out);
        let text = out.encode();
        for line in [
            "hubdns_tls_handshake_failures_total{listener=\"127.0.0.1:853\",transport=\"tls\",reason=\"timeout\"} 1",
            "hubdns_encrypted_connections{listener=\"127.0.0.1:853\",transport=\"tls\"} 1",
            "hubdns_https_responses_total{listener=\"127.0.0.1:443\",status=\"415\"} 1",
            "hubdns_tls_certificate_not_after_timestamp_seconds{listener=\"127.0.0.1:443\",transport=\"https\"} 7",
            "hubdns_tls_certificate_loads_total{listener=\"127.0.0.1:443\",transport=\"https\",result=\"refused\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("https_responses_total{listener=\"127.0.0.1:853\""), "{text}");
    }
}
