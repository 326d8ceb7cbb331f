//! How many connections there may be, in all and for each client or client
//! prefix: a gate for plain TCP, and one for each encrypted listener.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::metrics::queries::{OpenConnections, TurnedAway};

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// In all.
    pub(super) total: usize,
    /// Of one client.
    pub(super) per_client: usize,
    /// How many bits of an address tell one client from another: of IPv4, of IPv6.
    pub(super) prefix_bits: (u8, u8),
}

/// Counts connections against their limits. Asked once per connection.
#[derive(Debug)]
pub(super) struct Gate {
    room: Room,
    open: Mutex<Open>,
    metrics: Arc<dyn OpenConnections>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    /// Only clients with a connection are in it, so it is bounded by the total.
    clients: HashMap<IpAddr, usize>,
}

impl Gate {
    pub(super) fn new(room: Room, metrics: Arc<dyn OpenConnections>) -> Arc<Self> {
        Arc::new(Self { room, open: Mutex::default(), metrics })
    }

    /// Admits a connection of `client` until the permit is dropped.
    pub(super) fn admit(self: &Arc<Self>, client: IpAddr) -> Result<Permit, TurnedAway> {
        let mut permit = self.admit_unnamed()?;
        permit.name(client)?;
        Ok(permit)
    }

    /// Admits a connection whose client is told later ([`Permit::name`]).
    pub(super) fn admit_unnamed(self: &Arc<Self>) -> Result<Permit, TurnedAway> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= self.room.total {
            return Err(TurnedAway::Total);
        }
        open.total += 1;
        self.metrics.connections(1);
        Ok(Permit { gate: Arc::clone(self), client: None })
    }

    /// Connections open now.
    pub(super) fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// Whether more than half of the room is taken.
    #[cfg(feature = "doq")]
    pub(super) fn is_busy(&self) -> bool {
        self.count() > self.room.total / 2
    }
}

/// The right to one connection.
#[derive(Debug)]
pub(super) struct Permit {
    gate: Arc<Gate>,
    client: Option<IpAddr>,
}

impl Permit {
    /// Counts the connection as one of `client`; an error where that has too many.
    pub(super) fn name(&mut self, client: IpAddr) -> Result<(), TurnedAway> {
        let prefix = prefix(client, self.gate.room.prefix_bits);
        let mut open = self.gate.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = open.clients.entry(prefix).or_default();
        if *mine >= self.gate.room.per_client {
            return Err(TurnedAway::Client);
        }
        *mine += 1;
        drop(open);
        self.client = Some(prefix);
        Ok(())
    }
}

/// The address with all but its first bits cleared.
fn prefix(client: IpAddr, bits: (u8, u8)) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.0.min(32))).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.1.min(128))).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.gate.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        if let Some(client) = self.client {
            match open.clients.get_mut(&client) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(open.clients.remove(&client)),
            }
        }
        self.gate.metrics.connections(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::queries::QueryMetrics;

    const HOST: (u8, u8) = (32, 128);

    #[test]
    fn limits_hold_and_are_given_back() {
        let metrics = QueryMetrics::new(0).0;
        let gate = Gate::new(Room { total: 3, per_client: 2, prefix_bits: HOST }, metrics.clone());
        let [a, b, c]: [IpAddr; 3] = ["192.0.2.1", "192.0.2.2", "::1"].map(|text| text.parse().unwrap());
        let first = gate.admit(a).unwrap();
        let second = gate.admit("::ffff:192.0.2.1".parse().unwrap()).unwrap();
        assert_eq!(gate.admit(a).unwrap_err(), TurnedAway::Client);
        let third = gate.admit(b).unwrap();
        assert_eq!(gate.admit(c).unwrap_err(), TurnedAway::Total);
        assert_eq!(metrics.open_connections(), 3);
        drop(first);
        let _fourth = gate.admit(a).unwrap();
        drop((second, third));
        assert_eq!(gate.count(), 1);
        assert_eq!(gate.open.lock().unwrap().clients.len(), 1);
    }

    #[test]
    fn a_prefix_counts_as_one_client() {
        let room = Room { total: 9, per_client: 1, prefix_bits: (24, 64) };
        let gate = Gate::new(room, QueryMetrics::new(0).0);
        let admit = |text: &str| gate.admit(text.parse().unwrap());
        let held =
            [admit("192.0.2.1"), admit("198.51.100.1"), admit("2001:db8::1"), admit("2001:db8:0:1::1")];
        assert!(held.iter().all(Result::is_ok));
        for other in ["192.0.2.200", "::ffff:192.0.2.3", "2001:db8::ffff"] {
            assert_eq!(admit(other).unwrap_err(), TurnedAway::Client, "{other}");
        }
        let unnamed = gate.admit_unnamed().unwrap();
        assert_eq!(gate.count(), 5);
        drop((held, unnamed));
        assert_eq!((gate.count(), gate.open.lock().unwrap().clients.len()), (0, 0));
        let everybody = Room { total: 9, per_client: 1, prefix_bits: (0, 0) };
        let gate = Gate::new(everybody, QueryMetrics::new(0).0);
        let _one = gate.admit("192.0.2.1".parse().unwrap()).unwrap();
        assert!(gate.admit("198.51.100.1".parse().unwrap()).is_err());
        assert!(gate.admit("2001:db8::1".parse().unwrap()).is_ok(), "another family");
    }
}
