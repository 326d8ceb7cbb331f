//! One function per operator event: log line and counter together, so that
//! neither can be had without the other.
//!
//! Messages are constant, values go in fields, outside text is escaped by
//! [`outside`]. Levels follow one rule: error where an operator must act, warn
//! where service is degraded and goes on, info for changes of state. Events
//! of a part with counters of its own take those counters as an argument.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::{error, info, warn};

use crate::metrics::exporter::float;
use crate::metrics::{Export, Exporter};
use crate::outside::write_plain;

/// What the daemon's own events count.
#[derive(Debug, Default)]
pub struct Counters {
    applied: AtomicU64,
    refused: AtomicU64,
    applied_at: AtomicU64,
    draining: AtomicBool,
    stalls: AtomicU64,
}

impl Export for Counters {
    fn export(&self, out: &mut Exporter) {
        for (result, count) in [("applied", &self.applied), ("refused", &self.refused)] {
            out.counter(
                "config_reloads_total",
                "Configurations read since the start, the first included, by what became of them.",
                &[("result", result)],
                count.load(Ordering::Relaxed),
            );
        }
        out.gauge(
            "config_applied_timestamp_seconds",
            "When the configuration in force was applied, Unix time in seconds.",
            &[],
            float(self.applied_at.load(Ordering::Relaxed)),
        );
        out.gauge(
            "draining",
            "Whether the server is draining: 1 from SIGTERM on.",
            &[],
            f64::from(u8::from(self.draining.load(Ordering::Relaxed))),
        );
        out.counter(
            "worker_stalls_total",
            "Times that the packet workers made no progress when the watchdog looked.",
            &[],
            self.stalls.load(Ordering::Relaxed),
        );
    }
}

impl Counters {
    /// A configuration is in force.
    pub fn configuration_applied(&self, origin: &str, first: bool) {
        self.applied.fetch_add(1, Ordering::Relaxed);
        self.applied_at.store(unix_now(), Ordering::Relaxed);
        if first {
            info!(origin = %outside(origin), "configuration loaded");
        } else {
            info!(origin = %outside(origin), "configuration applied");
        }
    }

    /// A new configuration was refused; the one before stays in force.
    pub fn configuration_refused(&self, origin: &str, problems: &[String]) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        for problem in problems {
            error!(origin = %outside(origin), problem = %outside(problem), "configuration refused");
        }
    }

    /// When the configuration in force was applied, Unix seconds.
    pub fn applied_at(&self) -> u64 {
        self.applied_at.load(Ordering::Relaxed)
    }

    /// A key changed that only a restart can apply.
    pub fn restart_needed(&self, key: &'static str) {
        warn!(key, "restart needed: the running process keeps the value it started with");
    }

    /// The control socket cannot be had; serving goes on without it.
    pub fn control_socket_failed(&self, error: &dyn std::error::Error) {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        let reason = format!("{error}{cause}");
        warn!(error = %outside(&reason), "control socket failed");
    }

    /// The listeners answer.
    pub fn serving(&self, addresses: &[SocketAddr], workers: usize) {
        for address in addresses {
            info!(%address, workers, "listening");
        }
    }

    /// A signal began the drain.
    pub fn draining(&self, signal: &'static str, limit: Duration) {
        self.draining.store(true, Ordering::Relaxed);
        info!(signal, limit_seconds = limit.as_secs_f64(), "draining");
    }

    /// The drain is over.
    pub fn stopped(&self, in_time: bool) {
        if in_time {
            info!("stopped");
        } else {
            warn!("stopped with queries in flight");
        }
    }

    /// The watchdog saw no progress of the packet workers.
    pub fn workers_stalled(&self) {
        self.stalls.fetch_add(1, Ordering::Relaxed);
        error!("packet workers stalled");
    }
}

/// An upstream counts as down; another of its group is asked, if there is one.
/// Counted with its health.
pub fn upstream_down(upstream: &str, cause: &'static str) {
    warn!(upstream, cause, "upstream down");
}

/// An upstream that was down answers again.
pub fn upstream_up(upstream: &str, after: Duration) {
    info!(upstream, down_seconds = after.as_secs_f64(), "upstream up");
}

/// Text from outside for a log line: what is hidden is escaped and the length
/// is bounded, so that no file or server can forge lines or flood.
pub fn outside(text: &str) -> impl fmt::Display + '_ {
    Outside(text)
}

/// Longest outside text in a log line, in characters.
const MAX_OUTSIDE: usize = 1000;

struct Outside<'a>(&'a str);

impl fmt::Display for Outside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, character) in self.0.chars().enumerate() {
            if i == MAX_OUTSIDE {
                return f.write_str("...");
            }
            write_plain(f, character)?;
        }
        Ok(())
    }
}

/// Unix time in seconds; 0 on a clock before 1970.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_text_cannot_forge_lines() {
        assert_eq!(outside("a\nb\u{1b}[m").to_string(), "a\\u{a}b\\u{1b}[m");
        let long = "x".repeat(MAX_OUTSIDE + 1);
        assert_eq!(outside(&long).to_string().len(), MAX_OUTSIDE + 3);
    }
}
