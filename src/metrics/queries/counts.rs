//! What became of queries, in the few numbers that people look at.

use std::sync::atomic::AtomicU64;

use super::{ORIGINS, QueryMetrics, Set, origin_index};
use crate::resolve::Origin;

/// Queries so far, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryCounts {
    /// Answered from the record set.
    pub held: u64,
    /// Answered by an upstream, now or through the response cache.
    pub forwarded: u64,
    /// Answered with an error of our own making.
    pub errors: u64,
    /// Not answered.
    pub dropped: u64,
}

impl QueryMetrics {
    /// All transports and workers together.
    pub fn counts(&self) -> QueryCounts {
        let mut by_origin = [0u64; ORIGINS.len()];
        for (o, count) in by_origin.iter_mut().enumerate() {
            *count = self.total(|set| set.responses.iter().flatten().filter_map(move |row| row.get(o)));
        }
        let of = |origin: Origin| by_origin.get(origin_index(origin)).copied().unwrap_or(0);
        QueryCounts {
            held: of(Origin::Hit),
            forwarded: of(Origin::Forward),
            errors: of(Origin::Error),
            dropped: self.total(|set| set.dropped.iter()),
        }
    }

    fn total<'a, I: Iterator<Item = &'a AtomicU64>>(&'a self, counters: impl Fn(&'a Set) -> I) -> u64 {
        let sets = self.workers.iter().chain(std::iter::once(&self.shared));
        sets.flat_map(|set| counters(set))
            .map(|counter| counter.load(std::sync::atomic::Ordering::Relaxed))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Transport;
    use crate::metrics::queries::Dropped;
    use crate::wire::Rcode;

    #[test]
    fn counts_add_up_over_transports_codes_and_workers() {
        let (metrics, workers) = QueryMetrics::new(2);
        workers[0].udp_hits(3);
        workers[1].response(Transport::Udp, Rcode::NXDOMAIN, Origin::Forward);
        metrics.shared().response(Transport::Tcp, Rcode::SERVFAIL, Origin::Error);
        metrics.shared().response(Transport::Tcp, Rcode::NOERROR, Origin::Hit);
        workers[0].dropped(Dropped::Denied);
        assert_eq!(metrics.counts(), QueryCounts { held: 4, forwarded: 1, errors: 1, dropped: 1 });
    }
}
