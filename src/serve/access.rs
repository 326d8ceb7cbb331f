//! Who may ask: prefixes compiled into sorted ranges.
//!
//! The check runs for every datagram, so prefixes become disjoint ranges of
//! integers and a look-up is a binary search over a few words. A trie was
//! rejected: lists hold some ten prefixes, and merged ranges are smaller.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;

use super::cookie::Cookies;
use crate::config::{self, Denied};

/// The first and the last IPv4-mapped address. No range of IPv6 holds any.
const MAPPED: (u128, u128) = (0xffff << 32, (0xffff << 32) + 0xffff_ffff);

/// A compiled list of prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessList {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl AccessList {
    /// Compiles `prefixes`. A prefix of IPv4-mapped addresses (below
    /// `::ffff:0:0/96`) counts as the IPv4 prefix that it stands for; shorter
    /// ones do not hold those addresses, which count as IPv4.
    pub fn new(prefixes: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for prefix in prefixes {
            match (prefix, prefix.network().to_canonical(), prefix.broadcast().to_canonical()) {
                (IpNet::V6(net), IpAddr::V4(first), IpAddr::V4(last)) if net.prefix_len() >= 96 => {
                    v4.push((first.to_bits(), last.to_bits()));
                }
                (IpNet::V4(net), ..) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                (IpNet::V6(net), ..) => {
                    let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                    if first <= MAPPED.0 && MAPPED.1 <= last {
                        let around = [(first, MAPPED.0 - 1), (MAPPED.1 + 1, last)];
                        v6.extend(around.into_iter().filter(|(first, last)| first <= last));
                    } else {
                        v6.push((first, last));
                    }
                }
            }
        }
        Self { v4: merge(v4), v6: merge(v6) }
    }

    /// Whether `address` may ask. IPv4-mapped addresses count as IPv4.
    #[inline]
    pub fn admits(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.admits_v4(v4),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => self.admits_v4(v4),
                None => self.admits_v6(v6),
            },
        }
    }

    /// [`Self::admits`] of an IPv4 address in numbers, told from `known` where it can be: an
    /// address of the range that the last one was found in takes two comparisons.
    #[expect(clippy::inline_always, reason = "once per datagram, with the range known in registers")]
    #[inline(always)]
    pub fn admits_next_v4(&self, address: u32, known: &mut Known) -> bool {
        known.v4.0 <= address && address <= known.v4.1
            || self.find(IpAddr::V4(Ipv4Addr::from_bits(address)), known)
    }

    /// The same of an IPv6 address.
    #[expect(clippy::inline_always, reason = "once per datagram, as for IPv4")]
    #[inline(always)]
    pub fn admits_next_v6(&self, address: u128, known: &mut Known) -> bool {
        known.v6.0 <= address && address <= known.v6.1
            || self.find(IpAddr::V6(Ipv6Addr::from_bits(address)), known)
    }

    /// The same of any address.
    #[inline]
    pub fn admits_next(&self, address: IpAddr, known: &mut Known) -> bool {
        match address {
            IpAddr::V4(v4) => self.admits_next_v4(v4.to_bits(), known),
            IpAddr::V6(v6) => self.admits_next_v6(v6.to_bits(), known),
        }
    }

    /// [`Self::admits`], with the range in `known` from now on.
    #[inline(never)]
    fn find(&self, address: IpAddr, known: &mut Known) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let range = range_around(&self.v4, v4.to_bits());
                if address.is_ipv4() {
                    known.v4 = range.unwrap_or(known.v4);
                }
                range.is_some()
            }
            IpAddr::V6(v6) => {
                let range = range_around(&self.v6, v6.to_bits());
                known.v6 = range.unwrap_or(known.v6);
                range.is_some()
            }
        }
    }

    #[inline]
    fn admits_v4(&self, address: Ipv4Addr) -> bool {
        lies_within(&self.v4, address.to_bits())
    }

    #[inline]
    fn admits_v6(&self, address: Ipv6Addr) -> bool {
        lies_within(&self.v6, address.to_bits())
    }
}

/// Sorts ranges (first, last) and joins those that overlap.
fn merge<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Box<[(T, T)]> {
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged.into_boxed_slice()
}

#[inline]
fn lies_within<T: Ord + Copy>(ranges: &[(T, T)], value: T) -> bool {
    range_around(ranges, value).is_some()
}

#[inline]
fn range_around<T: Ord + Copy>(ranges: &[(T, T)], value: T) -> Option<(T, T)> {
    let after = ranges.partition_point(|(first, _)| *first <= value);
    after.checked_sub(1).and_then(|at| ranges.get(at)).copied().filter(|(_, last)| value <= *last)
}

/// The ranges of a list that the last addresses admitted lie in: good for
/// that list alone, so for one batch.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    v4: (u32, u32),
    v6: (u128, u128),
}

impl Known {
    /// Nothing is known. (A range that ends before it begins holds no address.)
    pub const NOTHING: Self = Self { v4: (1, 0), v6: (1, 0) };
}

/// What a transport applies to every query and a reload may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Who may ask.
    pub allow: AccessList,
    /// What others get.
    pub denied: Denied,
    /// Largest UDP response in bytes, which our OPT announces too.
    pub udp_size: u16,
    /// The identifier of this server for those who ask (RFC 5001); empty for none.
    pub nsid: Box<[u8]>,
    /// Cookies (RFC 7873).
    pub cookies: Cookies,
}

impl Policy {
    /// The policy that `server` configures.
    pub fn new(server: &config::Server) -> Self {
        let allow = AccessList::new(&server.allow);
        Self {
            allow,
            denied: server.denied,
            udp_size: server.udp_max_bytes,
            nsid: server.edns.nsid.as_bytes().into(),
            cookies: Cookies::new(&server.edns),
        }
    }
}

/// The policy in force: a version beside a mutex, as for the snapshot, so that
/// a reader takes the lock only after a change. All read it at every batch, so
/// nothing that is written more often lies in its cache lines.
#[derive(Debug)]
#[repr(align(128))]
pub struct Policies {
    version: AtomicU64,
    current: Mutex<Arc<Policy>>,
}

impl Policies {
    /// Starts with `policy`.
    pub fn new(policy: Policy) -> Arc<Self> {
        Arc::new(Self { version: AtomicU64::new(0), current: Mutex::new(Arc::new(policy)) })
    }

    /// Replaces the policy for all readers.
    pub fn replace(&self, policy: Policy) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// The current policy.
    pub fn current(&self) -> Arc<Policy> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A reader of its own for one thread or connection.
    pub fn reader(self: &Arc<Self>) -> PolicyReader {
        let version = self.version.load(Ordering::Acquire);
        PolicyReader { policies: Arc::clone(self), version, cached: self.current() }
    }
}

/// One thread's view of the policy.
#[derive(Debug)]
pub struct PolicyReader {
    policies: Arc<Policies>,
    version: u64,
    cached: Arc<Policy>,
}

impl PolicyReader {
    /// The current policy; call once per batch.
    #[inline]
    pub fn load(&mut self) -> &Policy {
        let version = self.policies.version.load(Ordering::Acquire);
        if version != self.version {
            self.cached = self.policies.current();
            self.version = version;
        }
        &self.cached
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn list(prefixes: &[&str]) -> (AccessList, Vec<IpNet>) {
        let prefixes: Vec<IpNet> = prefixes.iter().map(|text| text.parse().unwrap()).collect();
        (AccessList::new(&prefixes), prefixes)
    }

    #[test]
    fn edges_of_ranges_agree_with_the_prefixes() {
        let (access, prefixes) = list(&[
            "10.0.0.0/8",
            "10.1.0.0/16",
            "127.0.0.0/8",
            "192.168.0.0/16",
            "0.0.0.0/32",
            "255.255.255.255/32",
            "fc00::/7",
            "::1/128",
        ]);
        for prefix in &prefixes {
            let (first, last) = (prefix.network(), prefix.broadcast());
            for address in neighbors(first).into_iter().chain(neighbors(last)) {
                assert_eq!(access.admits(address), Config::admits(&prefixes, address), "{address}");
            }
        }
    }

    #[test]
    fn mapped_addresses_and_prefixes_count_as_ipv4() {
        let (access, _) = list(&["::ffff:192.0.2.0/120"]);
        assert!(access.admits("192.0.2.255".parse().unwrap()));
        assert!(access.admits("::ffff:192.0.2.1".parse().unwrap()));
        assert!(!access.admits("192.0.3.0".parse().unwrap()));
    }

    #[test]
    fn everybody_and_nobody() {
        let (all, _) = list(&["0.0.0.0/0", "::/0"]);
        let (none, _) = list(&[]);
        for text in ["0.0.0.0", "255.255.255.255", "::", "ffff::1"] {
            let address: IpAddr = text.parse().unwrap();
            assert!(all.admits(address) && !none.admits(address));
        }
        let (v6_only, _) = list(&["::/0"]);
        assert!(!v6_only.admits("192.0.2.1".parse().unwrap()));
        for prefix in ["::/0", "::/64", "::fffe:0:0/95", "::/80"] {
            let (access, _) = list(&[prefix]);
            let first: Ipv6Addr = prefix.split_once('/').unwrap().0.parse().unwrap();
            let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
            let mut known = Known::NOTHING;
            assert!(access.admits_next(first.into(), &mut known), "{prefix}");
            assert!(!access.admits_next(mapped, &mut known), "{prefix} behind its first address");
            let after: IpAddr = "::1:0:0:0".parse().unwrap();
            assert_eq!(access.admits(after), ["::/0", "::/64"].contains(&prefix), "{prefix}, behind them");
        }
    }

    #[test]
    fn what_is_known_of_the_last_address_changes_no_decision() {
        let (access, prefixes) = list(&["10.0.0.0/8", "192.168.0.0/16", "fc00::/7", "::/64"]);
        let edges = prefixes.iter().flat_map(|prefix| [prefix.network(), prefix.broadcast()]);
        let mut addresses: Vec<IpAddr> = edges.flat_map(neighbors).collect();
        addresses.extend(
            ["::ffff:10.1.2.3", "::ffff:9.1.2.3", "0.0.0.1", "::"].map(|a| a.parse::<IpAddr>().unwrap()),
        );
        for before in &addresses {
            for address in &addresses {
                let mut known = Known::NOTHING;
                access.admits_next(*before, &mut known);
                assert_eq!(
                    access.admits_next(*address, &mut known),
                    access.admits(*address),
                    "{address} behind {before}"
                );
            }
        }
    }

    #[test]
    fn a_reader_sees_a_replaced_policy() {
        let policy = |prefix| Policy {
            allow: list(&[prefix]).0,
            denied: Denied::Refuse,
            udp_size: 1232,
            nsid: Box::default(),
            cookies: Cookies::new(&config::Edns::default()),
        };
        let policies = Policies::new(policy("10.0.0.0/8"));
        let mut reader = policies.reader();
        let client: IpAddr = "192.0.2.1".parse().unwrap();
        assert!(!reader.load().allow.admits(client));
        policies.replace(policy("192.0.2.0/24"));
        assert!(reader.load().allow.admits(client));
    }

    fn neighbors(address: IpAddr) -> Vec<IpAddr> {
        match address {
            IpAddr::V4(v4) => {
                let bits = v4.to_bits();
                let all = [bits.wrapping_sub(1), bits, bits.wrapping_add(1)];
                all.map(|bits| Ipv4Addr::from_bits(bits).into()).to_vec()
            }
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                let all = [bits.wrapping_sub(1), bits, bits.wrapping_add(1)];
                all.map(|bits| Ipv6Addr::from_bits(bits).into()).to_vec()
            }
        }
    }
}
