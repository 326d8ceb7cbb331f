//! Counters of the connections to one upstream.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Exporter;

/// Why a connection was not had, or a question on one got no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamFault {
    /// Nobody listens there.
    Refused,
    /// The connection was not ready in time.
    ConnectTimeout,
    /// Any other error of the network while connecting.
    Unreachable,
    /// The trusted certificates cannot be read.
    Trust,
    /// The certificate is not good for this upstream.
    Certificate,
    /// The public key is none of the pinned ones.
    Pin,
    /// Another error of TLS.
    Tls,
    /// The server does not speak HTTP/2.
    Alpn,
    /// Connections ended before the response, more than once.
    Lost,
    /// No response in time.
    Timeout,
    /// An HTTP status other than 200.
    HttpStatus,
    /// A body that is no DNS message by its content type.
    ContentType,
    /// A body that is longer than a DNS message can be.
    TooLarge,
    /// A response that cannot be read, or that answers something else.
    Malformed,
    /// Every connection is full.
    Busy,
    /// The upstream failed a moment ago.
    BackOff,
    /// The connection ended, and the upstream may not be sent more at the moment.
    OverBudget,
}

impl StreamFault {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 17] = [
        Self::Refused,
        Self::ConnectTimeout,
        Self::Unreachable,
        Self::Trust,
        Self::Certificate,
        Self::Pin,
        Self::Tls,
        Self::Alpn,
        Self::Lost,
        Self::Timeout,
        Self::HttpStatus,
        Self::ContentType,
        Self::TooLarge,
        Self::Malformed,
        Self::Busy,
        Self::BackOff,
        Self::OverBudget,
    ];

    /// The label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Unreachable => "unreachable",
            Self::Trust => "trust",
            Self::Certificate => "certificate",
            Self::Pin => "pin",
            Self::Tls => "tls",
            Self::Alpn => "alpn",
            Self::Lost => "lost",
            Self::Timeout => "timeout",
            Self::HttpStatus => "http_status",
            Self::ContentType => "content_type",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Busy => "busy",
            Self::BackOff => "back_off",
            Self::OverBudget => "over_budget",
        }
    }
}

/// What is counted of one upstream's connections.
#[derive(Debug, Default)]
pub struct StreamCounters {
    opened: AtomicU64,
    failed: AtomicU64,
    reused: AtomicU64,
    moved: AtomicU64,
    full: AtomicU64,
    resumed: AtomicU64,
    faults: [AtomicU64; StreamFault::ALL.len()],
    open: AtomicU64,
    in_flight: AtomicU64,
}

impl StreamCounters {
    /// A connection is ready.
    pub fn connected(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection has ended.
    pub fn disconnected(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// A connection was not had.
    pub fn connection_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// A TLS handshake was completed.
    pub fn handshake(&self, resumed: bool) {
        let counter = if resumed { &self.resumed } else { &self.full };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A question takes a place on a connection; `reused` if it is not the first there.
    pub fn begin(&self, reused: bool) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        if reused {
            self.reused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A question gives its place back.
    pub fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// A question goes on on another connection, as the first has ended.
    pub fn moved(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    /// A question got no response.
    pub fn fault(&self, fault: StreamFault) {
        if let Some(counter) = self.faults.get(fault as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Connections that became ready, and those that did not.
    pub fn connections(&self) -> (u64, u64) {
        (self.opened.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// Connections that are open, and questions on them.
    pub fn load(&self) -> (u64, u64) {
        (self.open.load(Ordering::Relaxed), self.in_flight.load(Ordering::Relaxed))
    }

    /// Questions on connections that had carried others.
    pub fn reuses(&self) -> u64 {
        self.reused.load(Ordering::Relaxed)
    }

    /// Questions that went on on another connection.
    pub fn moves(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// TLS handshakes, full and resumed.
    pub fn handshakes(&self) -> (u64, u64) {
        (self.full.load(Ordering::Relaxed), self.resumed.load(Ordering::Relaxed))
    }

    /// Questions that got no response for one reason.
    pub fn faults(&self, fault: StreamFault) -> u64 {
        self.faults.get(fault as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

/// Adds the families of one upstream.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; these stay below 2^53")]
pub(super) fn export(upstream: &str, counters: &StreamCounters, out: &mut Exporter) {
    let (opened, failed) = counters.connections();
    for (result, value) in [("opened", opened), ("failed", failed)] {
        out.counter(
            "forward_connections_total",
            "Connections to upstreams (TCP, TLS, HTTPS) by what became of the attempt.",
            &[("upstream", upstream), ("result", result)],
            value,
        );
    }
    out.counter(
        "forward_connection_reuses_total",
        "Queries to upstreams on connections that had carried others.",
        &[("upstream", upstream)],
        counters.reuses(),
    );
    out.counter(
        "forward_moves_total",
        "Queries to upstreams that went on on another connection, as the first had ended.",
        &[("upstream", upstream)],
        counters.moves(),
    );
    let (full, resumed) = counters.handshakes();
    for (kind, value) in [("full", full), ("resumed", resumed)] {
        out.counter(
            "forward_handshakes_total",
            "TLS handshakes with upstreams, full and resumed.",
            &[("upstream", upstream), ("kind", kind)],
            value,
        );
    }
    for fault in StreamFault::ALL {
        out.counter(
            "forward_stream_failures_total",
            "Queries over connections to upstreams that got no response, by reason.",
            &[("upstream", upstream), ("reason", fault.label())],
            counters.faults(fault),
        );
    }
    let (open, in_flight) = counters.load();
    let help = "Connections to upstreams that are open.";
    out.gauge("forward_connections_open", help, &[("upstream", upstream)], open as f64);
    let help = "Queries in flight on connections to upstreams.";
    out.gauge("forward_connections_in_flight", help, &[("upstream", upstream)], in_flight as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_counter_of_its_own() {
        let counters = StreamCounters::default();
        for (nth, fault) in StreamFault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, nth);
            counters.fault(fault);
            assert_eq!(counters.faults(fault), 1, "{}", fault.label());
        }
    }
}
