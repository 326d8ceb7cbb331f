//! Whether the addresses that are answered lead to the registries: what the
//! periodic route checks found, shared with the merge.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

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
