//! What `hubdns top` shows. Counters count from the start, so that whoever
//! looks twice knows what happened in between.

use serde::{Deserialize, Serialize};

/// One look at the traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Top {
    /// When it was, in milliseconds of a clock that never goes back.
    pub at_milliseconds: u64,
    /// Queries so far, by what became of them.
    pub outcomes: Vec<OutcomeRow>,
    /// The upstreams.
    pub upstreams: Vec<TopUpstream>,
    /// What upstream addresses may be sent, and what they are.
    pub budgets: Vec<TopBudget>,
}

/// One outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeRow {
    /// `held`, `cached`, `forwarded`, `error` or `dropped`.
    pub outcome: String,
    /// Queries so far.
    pub queries: u64,
}

/// One upstream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TopUpstream {
    /// Its name: an address, or a URL.
    pub upstream: String,
    /// `up`, `trial` or `down`.
    pub state: String,
    /// Why it is down: `silence`, `unreachable` or `failures`; empty if it is up.
    pub cause: String,
    /// Smoothed round trip time, milliseconds.
    pub rtt_milliseconds: Option<f64>,
    /// What nineteen of twenty round trips take at most, milliseconds.
    pub p95_milliseconds: Option<f64>,
    /// Queries sent again so far.
    pub resends: u64,
    /// Queries sent so far since another upstream took long.
    pub hedges: u64,
    /// Probes so far, and how many of them were answered.
    pub probes: u64,
    /// See above.
    pub probes_answered: u64,
}

/// The budget of one upstream address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TopBudget {
    /// The address.
    pub address: String,
    /// Queries within about the last second.
    pub rate: u32,
    /// Queries that it may be sent in any second.
    pub rate_limit: Option<u32>,
    /// Queries in flight.
    pub in_flight: u32,
    /// Queries that may be in flight.
    pub in_flight_limit: Option<u32>,
    /// Queries refused so far.
    pub refused: u64,
    /// Seconds until a limit is reached if use goes on growing as it does.
    pub exhausted_in_seconds: Option<f64>,
    /// The client prefixes that spend most of it.
    pub prefixes: Vec<TopPrefix>,
}

/// One client prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopPrefix {
    /// The prefix; `internal` for questions that no client asks.
    pub prefix: String,
    /// Queries within about the last second.
    pub rate: u32,
}
