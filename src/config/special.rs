//! The zones that are answered locally by RFC.

use crate::wire::Name;

use super::Special;

/// Reverse zones of addresses without global meaning, in the order of RFC 6303
/// section 4; those of RFC 1918 and RFC 7793 that are ranges are made by code.
const PRIVATE_REVERSE: [&str; 17] = [
    "10.in-addr.arpa",
    "168.192.in-addr.arpa",
    "0.in-addr.arpa",
    "127.in-addr.arpa",
    "254.169.in-addr.arpa",
    "2.0.192.in-addr.arpa",
    "100.51.198.in-addr.arpa",
    "113.0.203.in-addr.arpa",
    "255.255.255.255.in-addr.arpa",
    "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
    "d.f.ip6.arpa",
    "8.e.f.ip6.arpa",
    "9.e.f.ip6.arpa",
    "a.e.f.ip6.arpa",
    "b.e.f.ip6.arpa",
    "8.b.d.0.1.0.0.2.ip6.arpa",
];

impl Special {
    /// The apexes of the zones that are switched on.
    pub fn apexes(&self) -> Vec<Name> {
        let mut apexes = Vec::new();
        let single = [
            (self.localhost, "localhost"),
            (self.invalid, "invalid"),
            (self.onion, "onion"),
            (self.resolver_arpa, "resolver.arpa"),
        ];
        apexes.extend(single.iter().filter(|(on, _)| *on).map(|(_, text)| constant(text)));
        if self.private_reverse {
            apexes.extend(PRIVATE_REVERSE.iter().map(|text| constant(text)));
            apexes.extend((16..=31).map(|n| constant(&format!("{n}.172.in-addr.arpa"))));
            apexes.extend((64..=127).map(|n| constant(&format!("{n}.100.in-addr.arpa"))));
        }
        apexes
    }
}

fn constant(text: &str) -> Name {
    text.parse().expect("a constant name")
}
