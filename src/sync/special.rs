//! Zones that are served whatever the sources say: names that no resolver may
//! send into the world (RFC 6761, 7686, 9462) and, where switched on, the
//! reverse zones of private addresses (RFC 6303).

use crate::config::Special;
use crate::snapshot::model::{Rrset, Rrsets, Soa, Zone, ZonePolicy};
use crate::wire::{Name, Rtype};

/// TTL of the addresses of `localhost`, seconds.
const LOCALHOST_TTL: u32 = 86_400;

/// The zones that `special` switches on: empty but for `localhost`.
pub fn zones(special: &Special) -> Vec<Zone> {
    let mut zones: Vec<Zone> = special.apexes().into_iter().map(empty_zone).collect();
    // The first apex, where it is on.
    if special.localhost
        && let Some(zone) = zones.first_mut()
    {
        add_loopback(zone);
    }
    zones
}

fn empty_zone(apex: Name) -> Zone {
    Zone {
        soa: Soa::locally_served(&apex),
        apex,
        policy: ZonePolicy::Authoritative,
        rrsets: Rrsets::default(),
    }
}

/// RFC 6761 section 6.3: `localhost` and every name below it is this host.
fn add_loopback(zone: &mut Zone) {
    let below = zone.apex.child(b"*").expect("a constant name");
    let v6 = std::net::Ipv6Addr::LOCALHOST.octets();
    for owner in [zone.apex.clone(), below] {
        let rrset = |(rtype, data): (Rtype, &[u8])| Rrset {
            owner: owner.clone(),
            rtype,
            ttl: LOCALHOST_TTL,
            rdatas: vec![data.into()],
            variants: Vec::new(),
        };
        zone.rrsets.extend([(Rtype::A, &[127, 0, 0, 1][..]), (Rtype::AAAA, &v6[..])].map(rrset));
    }
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
        let on = Special {
            localhost: true,
            invalid: true,
            onion: false,
            resolver_arpa: false,
            private_reverse: false,
        };
        let zones = zones(&on);
        assert!(zones[1].rrsets.is_empty());
        let zone = &zones[0];
        let owners: Vec<String> =
            zone.rrsets.iter().map(|set| format!("{} {}", set.owner, set.rtype)).collect();
        assert_eq!(owners, ["*.localhost A", "*.localhost AAAA", "localhost A", "localhost AAAA"]);
    }
}
