//! What is asked of the client sockets, and what they tell: buffers, drops,
//! and which worker's socket a query reaches.

use std::sync::Arc;

use super::ServeError;
use super::listen::Bind;
use crate::config::Steering;
use crate::metrics::listeners::Listeners;
use crate::metrics::queries::{QueryCounts, QueryMetrics};
use crate::metrics::{Export, Exporter};
use crate::socket::{Buffers, UdpSocket, steer_by_core};

/// Refuses steering where it would leave workers without queries, or most
/// queries to one of them.
pub(super) fn check_steering(steering: Steering, workers: usize, cores: &[usize]) -> Result<(), ServeError> {
    if steering == Steering::Cpu && workers > cores.len() {
        let reason = format!("{workers} workers need a core each, and this process may use {}", cores.len());
        return Err(ServeError::Steering { reason });
    }
    Ok(())
}

/// Steers the queries to one address, whose sockets are `group`, one for each
/// worker. A single socket gets them all anyway.
pub(super) fn steer(steering: Steering, group: &[Arc<UdpSocket>], cores: &[usize]) -> Result<(), ServeError> {
    let [first, _, ..] = group else { return Ok(()) };
    if steering == Steering::Hash {
        return Ok(());
    }
    let cores = cores.get(..group.len()).unwrap_or(cores);
    steer_by_core(first, cores).map_err(|error| ServeError::Steering {
        reason: format!("the kernel refuses the program of {}: {error}", first.local_addr()),
    })
}

/// Tells what buffers the sockets of an address were granted. Too small ones
/// are no reason not to serve, and one not to wonder about drops.
pub(super) fn report_buffers(bind: &Bind, asked: Buffers) {
    let Some(granted) = bind.udp.first().map(|socket| socket.buffers()) else { return };
    let address = bind.address;
    let (receive, send) = (granted.receive, granted.send);
    tracing::info!(%address, receive_bytes = receive, send_bytes = send, "UDP buffers granted");
    for (enough, sysctl, granted, asked) in [
        (granted.receives_enough(asked), "net.core.rmem_max", receive, asked.receive),
        (granted.sends_enough(asked), "net.core.wmem_max", send, asked.send),
    ] {
        if !enough {
            // What is granted counts double, so compare what it comes to.
            let (granted_bytes, asked_bytes) = (granted / 2, asked);
            tracing::warn!(%address, asked_bytes, granted_bytes, raise = sysctl, "UDP buffer limited");
        }
    }
}

/// The counters of the transports, and what the kernel knows of the sockets.
#[derive(Debug)]
pub(super) struct ServeMetrics {
    queries: Arc<QueryMetrics>,
    sockets: Vec<Arc<UdpSocket>>,
    encrypted: Listeners,
}

impl ServeMetrics {
    /// What became of queries so far.
    pub(super) fn counts(&self) -> QueryCounts {
        self.queries.counts()
    }

    /// Of these counters and sockets; those of one address lie side by side.
    pub(super) const fn new(
        queries: Arc<QueryMetrics>,
        sockets: Vec<Arc<UdpSocket>>,
        encrypted: Listeners,
    ) -> Self {
        Self { queries, sockets, encrypted }
    }
}

impl Export for ServeMetrics {
    fn export(&self, out: &mut Exporter) {
        self.queries.export(out);
        self.encrypted.export(out);
        for group in self.sockets.chunk_by(|a, b| a.local_addr() == b.local_addr()) {
            let Some(first) = group.first() else { continue };
            let dropped = group.iter().map(|socket| u64::from(socket.dropped())).sum();
            let listener = first.local_addr().to_string();
            let labels = [("listener", listener.as_str())];
            let bytes = |bytes: usize| f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
            out.counter(
                "socket_receive_drops_total",
                "Datagrams that the kernel dropped because a receive buffer was full.",
                &labels,
                dropped,
            );
            out.gauge(
                "socket_receive_buffer_bytes",
                "Receive buffer granted to each UDP socket.",
                &labels,
                bytes(first.buffers().receive),
            );
            out.gauge(
                "socket_send_buffer_bytes",
                "Send buffer granted to each UDP socket.",
                &labels,
                bytes(first.buffers().send),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steering_needs_a_core_for_each_worker() {
        assert!(check_steering(Steering::Cpu, 2, &[4, 5]).is_ok());
        assert!(check_steering(Steering::Hash, 9, &[4]).is_ok());
        let error = check_steering(Steering::Cpu, 3, &[4, 5]).unwrap_err().to_string();
        assert_eq!(
            error,
            "worker.steering = \"cpu\" is not possible: 3 workers need a core each, and this process may use 2"
        );
    }
}
