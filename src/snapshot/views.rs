//! Which view a client belongs to: the prefixes of all views as disjoint,
//! sorted ranges of addresses.
//!
//! Prefixes nest or lie apart, so the longest one for an address is the
//! innermost range around it; a look-up is one binary search. A trie was
//! rejected: a cache line per bit where this takes a few in all.

use std::net::IpAddr;

use ipnet::IpNet;

use super::model::ViewPrefixes;

/// Views by client address.
#[derive(Debug, Default)]
pub(super) struct ViewTable {
    v4: Box<[(u32, u8)]>,
    v6: Box<[(u128, u8)]>,
}

impl ViewTable {
    /// Compiles `views`; view number one is the first. A prefix of IPv4-mapped
    /// addresses counts as the IPv4 prefix that it stands for.
    pub(super) fn new(views: &[ViewPrefixes]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (view, prefixes) in (1..=u8::MAX).zip(views) {
            for prefix in &prefixes.clients {
                let (first, last) = (prefix.network().to_canonical(), prefix.broadcast().to_canonical());
                match (prefix, first, last) {
                    (IpNet::V6(net), IpAddr::V4(first), IpAddr::V4(last)) if net.prefix_len() >= 96 => {
                        v4.push((first.to_bits(), last.to_bits(), view));
                    }
                    (IpNet::V4(net), ..) => {
                        v4.push((net.network().to_bits(), net.broadcast().to_bits(), view));
                    }
                    (IpNet::V6(net), ..) => {
                        v6.push((net.network().to_bits(), net.broadcast().to_bits(), view));
                    }
                }
            }
        }
        Self {
            v4: flatten(v4, |last| last.checked_add(1)),
            v6: flatten(v6, |last: u128| last.checked_add(1)),
        }
    }

    /// Whether no client has a view.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// The view of `client`; 0 for none. IPv4-mapped addresses count as IPv4.
    #[inline]
    pub(super) fn view_of(&self, client: IpAddr) -> u8 {
        match client.to_canonical() {
            IpAddr::V4(address) => range_of(&self.v4, address.to_bits()),
            IpAddr::V6(address) => range_of(&self.v6, address.to_bits()),
        }
    }
}

#[inline]
fn range_of<T: Ord + Copy>(ranges: &[(T, u8)], address: T) -> u8 {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after.checked_sub(1).and_then(|at| ranges.get(at)).map_or(0, |(_, view)| *view)
}

/// Turns nested ranges (first, last, view) into starts of disjoint ones. Of
/// equal ranges the first view's counts.
fn flatten<T: Ord + Copy>(mut nested: Vec<(T, T, u8)>, next: impl Fn(T) -> Option<T>) -> Box<[(T, u8)]> {
    use std::cmp::Reverse;
    nested.sort_unstable_by_key(|(first, last, view)| (*first, Reverse(*last), Reverse(*view)));
    let mut starts: Vec<(T, u8)> = Vec::with_capacity(nested.len() * 2);
    let mut open: Vec<(T, u8)> = Vec::new();
    let close = |open: &mut Vec<(T, u8)>, starts: &mut Vec<(T, u8)>| {
        let Some((last, _)) = open.pop() else { return };
        if let Some(start) = next(last) {
            starts.push((start, open.last().map_or(0, |(_, view)| *view)));
        }
    };
    for (first, last, view) in nested {
        while open.last().is_some_and(|(last, _)| *last < first) {
            close(&mut open, &mut starts);
        }
        open.push((last, view));
        starts.push((first, view));
    }
    while !open.is_empty() {
        close(&mut open, &mut starts);
    }
    // Of several that start at one address the last counts: the innermost opened, or what goes on behind.
    let mut disjoint: Vec<(T, u8)> = Vec::with_capacity(starts.len());
    for (start, view) in starts {
        match disjoint.last_mut() {
            Some(before) if before.0 == start => before.1 = view,
            _ => disjoint.push((start, view)),
        }
    }
    disjoint.dedup_by_key(|(_, view)| *view);
    disjoint.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn views(of: &[&[&str]]) -> Vec<ViewPrefixes> {
        let view = |prefixes: &&[&str]| ViewPrefixes {
            name: String::new(),
            clients: prefixes.iter().map(|text| text.parse().unwrap()).collect(),
        };
        of.iter().map(view).collect()
    }

    /// The rule itself, by trying every prefix.
    fn longest(views: &[ViewPrefixes], client: IpAddr) -> u8 {
        let mut best = (0, 0);
        for (number, view) in (1..).zip(views) {
            for prefix in &view.clients {
                let len = i32::from(prefix.prefix_len()) + 1;
                if prefix.contains(&client) && len > best.0 {
                    best = (len, number);
                }
            }
        }
        best.1
    }

    #[test]
    fn the_longest_prefix_of_all_views_wins() {
        let views = views(&[
            &["10.0.0.0/8", "10.1.2.0/24", "0.0.0.0/0", "fd00::/8"],
            &["10.1.0.0/16", "10.1.2.3/32", "10.255.255.255/32", "fd00::/16", "::/0"],
            &["10.1.2.3/32", "255.255.255.255/32", "0.0.0.0/32", "ffff::/16", "10.2.0.0/16", "10.3.0.0/16"],
        ]);
        let table = ViewTable::new(&views);
        let mut asked = 0;
        for prefix in views.iter().flat_map(|view| &view.clients) {
            for edge in [prefix.network(), prefix.broadcast()] {
                for step in [0, 1, u8::MAX] {
                    let client: IpAddr = match edge {
                        IpAddr::V4(edge) => {
                            let bits = edge.to_bits();
                            let bits = if step == 0 {
                                bits.wrapping_sub(1)
                            } else {
                                bits.wrapping_add(u32::from(step & 1))
                            };
                            std::net::Ipv4Addr::from_bits(bits).into()
                        }
                        IpAddr::V6(edge) => {
                            let bits = edge.to_bits();
                            let bits = if step == 0 {
                                bits.wrapping_sub(1)
                            } else {
                                bits.wrapping_add(u128::from(step & 1))
                            };
                            std::net::Ipv6Addr::from_bits(bits).into()
                        }
                    };
                    if client.to_canonical() == client {
                        assert_eq!(table.view_of(client), longest(&views, client), "{client}");
                        asked += 1;
                    }
                }
            }
        }
        assert!(asked > 50);
    }

    #[test]
    fn mapped_clients_and_prefixes_count_as_ipv4() {
        let table = ViewTable::new(&views(&[&["::ffff:192.0.2.0/120"], &["::/0"]]));
        assert_eq!(table.view_of("192.0.2.7".parse().unwrap()), 1);
        assert_eq!(table.view_of("::ffff:192.0.2.7".parse().unwrap()), 1);
        assert_eq!(table.view_of("::ffff:192.0.3.7".parse().unwrap()), 0);
        assert_eq!(table.view_of("2001:db8::1".parse().unwrap()), 2);
    }

    #[test]
    fn without_prefixes_nobody_has_a_view() {
        for table in [ViewTable::new(&[]), ViewTable::new(&views(&[&[]]))] {
            assert!(table.is_empty());
            assert_eq!(table.view_of("10.0.0.1".parse().unwrap()), 0);
        }
    }
}
