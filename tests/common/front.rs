//! An estate with an upstream that stands in for Azure DNS, and what every
//! client must see through a server in front of hubdns.

use std::net::SocketAddr;
use std::path::Path;

use super::peer::{Peer, dig, find};

/// An estate, and an upstream that stands in for Azure DNS. `UPSTREAM` is to be replaced.
pub const CONFIG: &str = r#"
[[sources.static]]
name = "contoso.azurecr.io"
type = "A"
values = ["10.20.0.5"]
ttl_seconds = 10

[[sources.static]]
name = "contoso.westeurope.data.azurecr.io"
type = "A"
values = ["10.20.0.4"]
ttl_seconds = 10

[names]
own_registries = ["contoso.azurecr.io"]

[[upstreams]]
name = "stand-in"
addresses = ["UPSTREAM"]

[forward]
default = "stand-in"
"#;

/// What Azure DNS and the Internet say, as zones of an authoritative server.
const PUBLIC_ZONE: &str = "\
$ORIGIN azurecr.io.
@ 3600 SOA ns.azurecr.io. admin.azurecr.io. 1 3600 300 2419200 60
@ 3600 NS ns.azurecr.io.
ns 3600 A 127.0.0.1
contoso 1800 CNAME contoso.privatelink
contoso.privatelink 1800 A 203.0.113.1
fabrikam 1800 CNAME fabrikam.privatelink
fabrikam.privatelink 1800 A 203.0.113.2
";
const EXAMPLE_ZONE: &str = "\
$ORIGIN example.org.
@ 3600 SOA ns.example.org. admin.example.org. 1 3600 300 2419200 60
@ 3600 NS ns.example.org.
ns 3600 A 127.0.0.1
www 300 A 203.0.113.80
www 300 AAAA 2001:db8::80
registry 300 CNAME contoso.azurecr.io.
";

/// Knot as the upstream: `None` if it is missing.
pub fn upstream() -> Option<Peer> {
    let knotd = find("knotd")?;
    let config = "\
server:
    rundir: DIR
    listen: 127.0.0.1@PORT
database:
    storage: DIR
log:
  - target: stderr
    any: warning
zone:
  - domain: azurecr.io
    file: DIR/azurecr.io.zone
  - domain: example.org
    file: DIR/example.org.zone
";
    let files = [
        ("knot.conf", config.to_owned()),
        ("azurecr.io.zone", PUBLIC_ZONE.to_owned()),
        ("example.org.zone", EXAMPLE_ZONE.to_owned()),
    ];
    Some(Peer::start(&knotd, &["-c", "DIR/knot.conf"], &files))
}

/// What an address question for the registry is answered, TTLs left out.
pub const PRIVATE: &str = "NOERROR | contoso.azurecr.io. TTL CNAME contoso.privatelink.azurecr.io. | \
                       contoso.privatelink.azurecr.io. TTL A 10.20.0.5";

/// The line with every TTL replaced, since a cache in front ages them.
pub fn without_ttls(text: &str) -> String {
    let number = |word: &str| if word.parse::<u32>().is_ok() { "TTL".to_owned() } else { word.to_owned() };
    text.split(' ').map(number).collect::<Vec<_>>().join(" ")
}

/// What every client sees through `server`, whoever stands in front.
pub fn check_through(tool: &Path, server: SocketAddr) {
    let ask = |arguments: &[&str]| without_ttls(&dig(tool, server, arguments));
    for transport in ["+notcp", "+tcp"] {
        assert_eq!(ask(&["contoso.azurecr.io", "A", transport]), PRIVATE);
        assert_eq!(
            ask(&["contoso.westeurope.data.azurecr.io", "A", transport]),
            PRIVATE
                .replace("contoso.azurecr", "contoso.westeurope.data.azurecr")
                .replace("contoso.privatelink", "contoso.westeurope.data.privatelink")
                .replace("10.20.0.5", "10.20.0.4")
        );
        assert_eq!(
            ask(&["contoso.azurecr.io", "AAAA", transport]),
            "NOERROR | contoso.azurecr.io. TTL CNAME contoso.privatelink.azurecr.io."
        );
        assert_eq!(
            ask(&["contoso.eastus.data.azurecr.io", "A", transport]),
            "NXDOMAIN | contoso.eastus.data.azurecr.io. TTL CNAME contoso.eastus.data.privatelink.azurecr.io."
        );
        assert_eq!(
            ask(&["fabrikam.azurecr.io", "A", transport]),
            "NOERROR | fabrikam.azurecr.io. TTL CNAME fabrikam.privatelink.azurecr.io. | \
             fabrikam.privatelink.azurecr.io. TTL A 203.0.113.2"
        );
    }
}
