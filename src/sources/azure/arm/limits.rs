//! The bounds of all requests: how many, how often, how large, how long.

use std::time::Duration;

/// A token bucket: at most `burst` at once, then one each `interval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many may go at once after a rest.
    pub burst: u32,
    /// Time in which one more may go.
    pub interval: Duration,
}

/// What a client of Resource Manager keeps to.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Reads of one subscription, of all families together and of each family.
    /// Resource Manager's own bucket: 250 and 25 a second for each principal,
    /// subscription and kind of operation ("Understand how Azure Resource
    /// Manager throttles requests"). Reads of the tenant have one like it.
    pub reads: Rate,
    /// Record sets of one zone. Azure allows 100 listings a minute: a burst
    /// of 40 and one a second never exceed that in any minute.
    pub record_sets: Rate,
    /// Resource Graph. Azure allows 15 queries in 5 seconds: a burst of 5 and
    /// two a second never exceed that in any 5 seconds.
    pub graph: Rate,
    /// Requests under way at once.
    pub in_flight: usize,
    /// How often a request is sent again.
    pub retries: u32,
    /// The first pause before it is sent again lies between zero and this;
    /// each one after it doubles that ("exponential backoff, full jitter"), ...
    pub backoff: Duration,
    /// ... up to this.
    pub max_backoff: Duration,
    /// A request is not sent again, and no `Retry-After` is waited out, past
    /// this time from its first try.
    pub patience: Duration,
    /// A try ends after this, if the HTTP client does not end it before.
    pub attempt: Duration,
    /// Most pages of a listing; a full zone (25,000 record sets) has 250.
    pub pages: u32,
    /// Most bytes of a page, decompressed. Resource Graph stops at 16 MiB itself.
    pub page_bytes: usize,
    /// Most bytes of a listing, decompressed.
    pub list_bytes: usize,
    /// `$top` of Resource Graph: rows of a page; Azure takes up to 1,000.
    pub graph_page: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            reads: Rate { burst: 250, interval: Duration::from_millis(40) },
            record_sets: Rate { burst: 40, interval: Duration::from_secs(1) },
            graph: Rate { burst: 5, interval: Duration::from_millis(500) },
            in_flight: 32,
            retries: 3,
            backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(20),
            patience: Duration::from_secs(100),
            attempt: Duration::from_secs(310),
            pages: 500,
            page_bytes: 17 << 20,
            list_bytes: 256 << 20,
            graph_page: 1000,
        }
    }
}

impl Limits {
    /// The bounds of the pause before the `retry`th repetition, from 0.
    pub fn backoff_bound(&self, retry: u32) -> Duration {
        self.backoff.saturating_mul(2_u32.saturating_pow(retry)).min(self.max_backoff)
    }
}
