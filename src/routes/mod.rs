//! Whether the addresses that are answered lead to the registries, and what
//! the upstreams do with DNSSEC: the checks themselves, and what the periodic
//! ones found, shared with the merge and the findings.
//!
//! ```text
//! check::check   one address: TCP ▸ TLS with the real name ▸ GET /v2/
//! dns::ask       one question to one server, seen as it came over the wire
//! periodic       a thread that runs both now and then; two in a row decide
//! ```
//!
//! A check never decides what is answered: it only tells the merge which of
//! several endpoints to prefer, and nothing of it touches readiness.

pub mod check;
pub mod dns;
pub mod dnssec;
mod hysteresis;
pub mod periodic;
pub mod problem;
pub mod tls;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

pub use problem::RouteProblem;

/// The newest results, by public name and address. Readers take them whole.
#[derive(Clone, Debug, Default)]
pub struct Routes(Arc<Mutex<Arc<RouteTable>>>);

/// Results by the registry's public name and the address.
pub type RouteTable = BTreeMap<(String, IpAddr), Route>;

/// What a check of one address found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Why the address does not serve; `None` if it does.
    pub problem: Option<String>,
    /// When it was checked, Unix seconds.
    pub checked_at: u64,
}

impl Routes {
    /// The newest results.
    pub fn get(&self) -> Arc<RouteTable> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the results.
    pub fn set(&self, table: RouteTable) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }
}

/// What is known of the upstreams. Readers take it whole.
#[derive(Clone, Debug, Default)]
pub struct Upstreams(Arc<Mutex<Arc<Vec<UpstreamState>>>>);

/// What is known of one upstream of a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UpstreamState {
    /// The group's name in the configuration.
    pub group: String,
    /// Its label, as metrics have it: `192.0.2.1:53`, `tls://192.0.2.1:853#dns.example`.
    pub upstream: String,
    /// Whether it hands on DNSSEC signatures; `None` while that is not known.
    pub dnssec: Option<bool>,
    /// Whether it sends questions back that it was sent.
    pub looping: bool,
}

impl Upstreams {
    /// The newest state, in the order of groups and labels.
    pub fn get(&self) -> Arc<Vec<UpstreamState>> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the state.
    pub fn set(&self, states: Vec<UpstreamState>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(states);
    }
}
