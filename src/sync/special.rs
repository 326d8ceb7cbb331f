//! Zones that are served whatever the sources say: names that no resolver may
//! send into the world (RFC 6761, 7686, 9462) and, where switched on, the
//! reverse zones of private addresses (RFC 6303).

use crate::config::Special;
use crate::snapshot::model::{Rrset, Soa, Zone, ZonePolicy};
use crate::wire::{Name, Rtype};

/// TTL of the addresses of `localhost`, seconds.
const LOCALHOST_TTL: u32 = 86_400;

/// The zones that `special` switches on.
pub fn zones(special: &Special) -> Vec<Zone> {
    let mut zones = Vec::new();
    if special.localhost {
        zones.push(localhost());
    }
    let empty =
        [(special.invalid, "invalid"), (special.onion, "onion"), (special.resolver_arpa, "resolver.arpa")];
    zones.extend(empty.iter().filter(|(on, _)| *on).map(|(_, apex)| empty_zone(apex)));
    if special.private_reverse {
        zones.extend(reverse_apexes().iter().map(|apex| empty_zone(apex)));
    }
    zones
}

fn empty_zone(apex: &str) -> Zone {
    let apex: Name = apex.parse().expect("a constant name");
    Zone { soa: Soa::locally_served(&apex), apex, policy: ZonePolicy::Authoritative, rrsets: Vec::new() }
}

/// RFC 6761 section 6.3: `localhost` and every name below it is this host.
fn localhost() -> Zone {
    let mut zone = empty_zone("localhost");
    let below = zone.apex.child(b"*").expect("a constant name");
    let v6 = std::net::Ipv6Addr::LOCALHOST.octets();
    for owner in [zone.apex.clone(), below] {
        for (rtype, data) in [(Rtype::A, &[127, 0, 0, 1][..]), (Rtype::AAAA, &v6[..])] {
            let owner = owner.clone();
            zone.rrsets.push(Rrset { owner, rtype, ttl: LOCALHOST_TTL, rdatas: vec![data.into()] });
        }
    }
    zone
}

/// RFC 6303 section 4.1 to 4.5, with RFC 7793 (100.64.0.0/10).
fn reverse_apexes() -> Vec<String> {
    let mut apexes: Vec<String> =
        ["10", "168.192", "0", "127", "254.169", "2.0.192", "100.51.198", "113.0.203", "255.255.255.255"]
            .iter()
            .map(|prefix| format!("{prefix}.in-addr.arpa"))
            .collect();
    apexes.extend((16..=31).map(|second| format!("{second}.172.in-addr.arpa")));
    apexes.extend((64..=127).map(|second| format!("{second}.100.in-addr.arpa")));
    let zeros = "0.".repeat(31);
    apexes.extend([format!("0.{zeros}ip6.arpa"), format!("1.{zeros}ip6.arpa")]);
    apexes.extend(
        ["d.f", "8.e.f", "9.e.f", "a.e.f", "b.e.f", "8.b.d.0.1.0.0.2"].map(|p| format!("{p}.ip6.arpa")),
    );
    apexes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apexes(private_reverse: bool, rest: bool) -> Vec<String> {
        let special =
            Special { localhost: rest, invalid: rest, onion: rest, resolver_arpa: rest, private_reverse };
        zones(&special).iter().map(|zone| zone.apex.to_string()).collect()
    }

    #[test]
    fn each_zone_can_be_switched_off() {
        assert_eq!(apexes(false, true), ["localhost", "invalid", "onion", "resolver.arpa"]);
        assert!(apexes(false, false).is_empty());
    }

    #[test]
    fn rfc6303_reverse_zones() {
        let apexes = apexes(true, false);
        // 9 of IPv4, 16 of 172.16/12, 64 of 100.64/10, 8 of IPv6.
        assert_eq!(apexes.len(), 97);
        for apex in ["10.in-addr.arpa", "31.172.in-addr.arpa", "127.100.in-addr.arpa", "d.f.ip6.arpa"] {
            assert!(apexes.iter().any(|found| found == apex), "{apex}");
        }
        let longest: Name = apexes.iter().max_by_key(|apex| apex.len()).unwrap().parse().unwrap();
        assert_eq!(longest.label_count(), 34);
    }

    #[test]
    fn rfc6761_localhost_has_addresses_at_and_below_the_apex() {
        let zone = localhost();
        let owners: Vec<String> =
            zone.rrsets.iter().map(|set| format!("{} {}", set.owner, set.rtype)).collect();
        assert_eq!(owners, ["localhost A", "localhost AAAA", "*.localhost A", "*.localhost AAAA"]);
    }
}
