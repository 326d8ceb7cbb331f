//! What is told of upstreams over streams beside the rest: responses to what
//! had to wait for a connection. They show that the upstream answers, while the
//! time that they took is that of a handshake as well, after which no query is
//! to be hedged or sent again.

use std::time::Duration;

use super::{HealthCounters, Quality, Upstream};

impl Upstream {
    /// A response came `waited` after its query, which had to wait for a connection.
    pub fn connected(&self, waited: Duration, quality: Quality, now: u64) {
        self.judge(now, |health| health.connected(waited, quality, now));
    }

    /// The same of a probe.
    pub fn probe_connected(&self, waited: Duration, quality: Quality, now: u64) {
        HealthCounters::add(&self.counters.probes_answered);
        self.judge(now, |health| health.probe_connected(waited, quality, now));
    }
}
