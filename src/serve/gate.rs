//! How many TCP connections there may be, in all and for each client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::metrics::queries::{QueryMetrics, TurnedAway};

/// Counts connections against their limits. Asked once per connection.
#[derive(Debug)]
pub(super) struct Gate {
    total: usize,
    per_client: usize,
    open: Mutex<Open>,
    metrics: Arc<QueryMetrics>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    /// Only clients with a connection are in it, so it is bounded by the total.
    clients: HashMap<IpAddr, usize>,
}

impl Gate {
    pub(super) fn new(total: usize, per_client: usize, metrics: Arc<QueryMetrics>) -> Arc<Self> {
        Arc::new(Self { total, per_client, open: Mutex::default(), metrics })
    }

    /// Admits a connection of `client` until the permit is dropped.
    pub(super) fn admit(self: &Arc<Self>, client: IpAddr) -> Result<Permit, TurnedAway> {
        let client = client.to_canonical();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= self.total {
            return Err(TurnedAway::Total);
        }
        let mine = open.clients.get(&client).copied().unwrap_or(0);
        if mine >= self.per_client {
            return Err(TurnedAway::Client);
        }
        open.clients.insert(client, mine + 1);
        open.total += 1;
        self.metrics.connections(1);
        Ok(Permit { gate: Arc::clone(self), client })
    }

    /// Connections open now.
    pub(super) fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).total
    }
}

/// The right to one connection.
#[derive(Debug)]
pub(super) struct Permit {
    gate: Arc<Gate>,
    client: IpAddr,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.gate.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        match open.clients.get_mut(&self.client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.clients.remove(&self.client)),
        }
        self.gate.metrics.connections(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_and_are_given_back() {
        let gate = Gate::new(3, 2, QueryMetrics::new(0).0);
        let [a, b, c]: [IpAddr; 3] = ["192.0.2.1", "192.0.2.2", "::1"].map(|text| text.parse().unwrap());
        let first = gate.admit(a).unwrap();
        let second = gate.admit("::ffff:192.0.2.1".parse().unwrap()).unwrap();
        assert_eq!(gate.admit(a).unwrap_err(), TurnedAway::Client);
        let third = gate.admit(b).unwrap();
        assert_eq!(gate.admit(c).unwrap_err(), TurnedAway::Total);
        assert_eq!(gate.metrics.open_connections(), 3);
        drop(first);
        let _fourth = gate.admit(a).unwrap();
        drop((second, third));
        assert_eq!(gate.count(), 1);
        assert_eq!(gate.open.lock().unwrap().clients.len(), 1);
    }
}
