//! How many questions of one client wait for upstreams.
//!
//! Counted by address (IPv6: by its first 64 bits, of which a host may use as
//! many addresses as it likes) in a table of fixed size, at a place that a
//! secret chooses. Two clients may share a place and with it the limit; with a
//! table this large that is rare, and the limit is generous, since one busy
//! domain controller may be all the clients there are. Rejected: a map by
//! address, which takes a lock for every miss and must be bounded as well.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::wire::name;

/// Places in the table; a power of two.
const PLACES: usize = 8192;

/// The table.
#[derive(Debug)]
pub(super) struct Clients {
    waiting: Box<[AtomicU32]>,
}

/// One question that waits; it counts until this is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    clients: Arc<Clients>,
    place: usize,
}

impl Clients {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { waiting: (0..PLACES).map(|_| AtomicU32::new(0)).collect() })
    }

    /// Counts one more question of `client`; `None` if `limit` of them wait already.
    pub(super) fn count(self: &Arc<Self>, client: IpAddr, limit: usize) -> Option<Counted> {
        let place = place(client);
        let waiting = self.waiting.get(place)?;
        if waiting.fetch_add(1, Ordering::Relaxed) as usize >= limit {
            waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Counted { clients: Arc::clone(self), place })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(waiting) = self.clients.waiting.get(self.place) {
            waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn place(client: IpAddr) -> usize {
    let number = match client.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        // No prefix that is in use is below 2^32.
        IpAddr::V6(address) => prefix(address),
    };
    let secret = name::secret();
    let product = u128::from(number ^ secret) * u128::from(secret.rotate_left(32) | 1);
    // Neighbors differ in the lowest bits: those of either half that all of them reach.
    ((product as u64 ^ (product >> 64) as u64) >> 40) as usize % PLACES
}

fn prefix(address: Ipv6Addr) -> u64 {
    (address.to_bits() >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_client_is_limited_by_itself_and_an_ipv6_host_by_its_prefix() {
        let clients = Clients::new();
        let [one, same, v6, its] =
            ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "2001:db8::ffff:1"].map(|a| a.parse().unwrap());
        let held = [clients.count(one, 2), clients.count(same, 2)];
        assert!(held.iter().all(Option::is_some));
        assert!(clients.count(one, 2).is_none(), "written either way it is one client");
        let neighbors: HashSet<usize> = (0..=255).map(|last| place(IpAddr::from([10, 0, 0, last]))).collect();
        assert!(neighbors.len() > 200, "{} places for 256 neighbors", neighbors.len());
        let other =
            (2..250u8).map(|last| IpAddr::from([192, 0, 2, last])).find(|ip| place(*ip) != place(one));
        assert!(clients.count(other.unwrap(), 2).is_some());
        drop(held);
        assert!(clients.count(one, 1).is_some());
        let _held = clients.count(v6, 1).unwrap();
        assert!(clients.count(its, 1).is_none(), "of the same prefix");
    }
}
