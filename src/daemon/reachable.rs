//! The addresses at which clients can ask: what `0.0.0.0` and `[::]` stand for.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `listen` with each unspecified address replaced by the host's addresses of
/// that family. Loopback and link-local ones stand for themselves only.
pub(super) fn addresses(listen: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = Vec::new();
    let mut host = None;
    for address in listen {
        if address.ip().is_unspecified() {
            let host = host.get_or_insert_with(host_addresses);
            let family = host.iter().filter(|ip| ip.is_ipv4() == address.is_ipv4());
            all.extend(family.map(|ip| SocketAddr::new(*ip, address.port())));
        } else {
            all.push(*address);
        }
    }
    let mut seen = BTreeSet::new();
    all.retain(|address| seen.insert(*address));
    all
}

/// The addresses of this host's interfaces, as the kernel lists them.
fn host_addresses() -> Vec<IpAddr> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let v4 = local_v4(&read("/proc/self/net/fib_trie")).into_iter().map(IpAddr::V4);
    let v6 = local_v6(&read("/proc/self/net/if_inet6")).into_iter().map(IpAddr::V6);
    v4.chain(v6).collect()
}

/// From the kernel's routing table: an address is followed by `/32 host LOCAL`.
fn local_v4(fib_trie: &str) -> BTreeSet<Ipv4Addr> {
    let mut found = BTreeSet::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in fib_trie.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            last = address.trim().parse().ok();
        } else if line.trim() == "/32 host LOCAL" {
            found.extend(last.filter(|ip| !ip.is_loopback() && !ip.is_link_local()));
        }
    }
    found
}

/// From the kernel's list: 32 hexadecimal digits, index, prefix length, scope, flags, name.
fn local_v6(if_inet6: &str) -> BTreeSet<Ipv6Addr> {
    let lines = if_inet6.lines().filter_map(|line| {
        let digits = line.split_whitespace().next().filter(|digits| digits.len() == 32)?;
        u128::from_str_radix(digits, 16).ok().map(Ipv6Addr::from_bits)
    });
    lines.filter(|ip| !ip.is_loopback() && !ip.is_unicast_link_local()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIE: &str = "Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.0.0.0/24 2 0 2
        |-- 10.0.0.0
           /24 link UNICAST
        |-- 10.0.0.4
           /32 host LOCAL
        |-- 10.0.0.255
           /32 link BROADCAST
     |-- 127.0.0.1
        /32 host LOCAL
";

    #[test]
    fn addresses_of_the_host_are_read_from_the_kernel() {
        assert_eq!(local_v4(TRIE).into_iter().collect::<Vec<_>>(), [Ipv4Addr::new(10, 0, 0, 4)]);
        let listed = "fd000000000000000000000000000004 02 40 00 80     eth0\n\
                      fe800000000000000000000000000004 02 40 20 80     eth0\n\
                      00000000000000000000000000000001 01 80 10 80       lo\n";
        let expected: Ipv6Addr = "fd00::4".parse().unwrap();
        assert_eq!(local_v6(listed).into_iter().collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn named_addresses_stand_for_themselves() {
        let named: Vec<SocketAddr> = vec!["127.0.0.1:53".parse().unwrap(), "10.0.0.4:53".parse().unwrap()];
        assert_eq!(addresses(&named), named);
        let wildcard: SocketAddr = "0.0.0.0:5300".parse().unwrap();
        for address in addresses(&[wildcard, wildcard]) {
            assert!(address.is_ipv4() && address.port() == 5300 && !address.ip().is_unspecified());
        }
    }
}
