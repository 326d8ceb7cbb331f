//! The servers under test, each with the same zone of its own and the same
//! scripted upstream for the rest.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::ask::ask;
use crate::carrier::udp;
use crate::common::peer::Peer;
use crate::common::upstream::Upstream;
use crate::daemon::Daemon;
use crate::encrypted::{Encrypted, listeners};
use crate::expect::Got;
use crate::pki::Pki;
use crate::reply::read;
use crate::script;

/// The zone that servers with authority hold.
pub(crate) const ZONE: &str = r#"$ORIGIN corp.example.
$TTL 60
@        SOA   ns admin 7 3600 300 2419200 10
@        NS    ns
ns       A     10.1.0.53
www      A     10.1.0.1
www      A     10.1.0.2
alias    CNAME www
second   CNAME alias
gone     CNAME nothing
out      CNAME www.a.foreign.example.
MiXeD    A     10.1.0.3
deep.a.b A     10.1.0.4
*.wild   A     10.1.0.5
*.wild   TXT   "wild"
held.wild TXT  "held"
below.ent.wild A 10.1.0.6
*.cwild  CNAME www
a\.dot   A     10.1.0.7
typed    TYPE65280 \# 4 0a000001
mail     MX    10 www
tree     DNAME b.corp.example.
"#;

/// The identifier that servers are given, where they have one.
pub(crate) const NSID: &str = "conformance";

const CONFIG: &str = r#"
[tcp]
max_connections = 3000
max_connections_per_client = 3000

[edns]
nsid = "NSID"

[[sources.zone_file]]
zone = "corp.example"
path = "corp.example.zone"

[[sources.static]]
name = "contoso.azurecr.io"
type = "A"
values = ["10.20.0.5"]
ttl_seconds = 10

[names]
own_registries = ["contoso.azurecr.io"]

[[upstreams]]
name = "scripted"
addresses = ["UPSTREAM"]

[forward]
default = "scripted"
health.failures = 100
"#;

/// A server, or two that share the work, with an upstream of its own.
pub(crate) struct World {
    /// What answers for the zone, if anything does.
    pub(crate) own: Option<SocketAddr>,
    /// What forwards the rest, if anything does.
    pub(crate) foreign: Option<SocketAddr>,
    /// What else it has.
    pub(crate) abilities: Vec<&'static str>,
    pub(crate) upstream: Upstream,
    /// Its encrypted listeners, if it has any.
    pub(crate) encrypted: Option<Encrypted>,
    /// Held while they are asked.
    pub(crate) _servers: (Option<Daemon>, Vec<Peer>),
}

/// The zone with records for large answers.
pub(crate) fn zone() -> String {
    let mut zone = ZONE.to_owned();
    for n in 1..=50 {
        let _ = writeln!(zone, "wide A 10.1.1.{n}");
    }
    for n in 1..=12 {
        let _ = writeln!(zone, "big TXT \"{n} {}\"", "t".repeat(240));
    }
    zone
}

/// The configuration of the daemon, with `extra` tables behind it.
pub(crate) fn config(upstream: SocketAddr, extra: &str) -> String {
    CONFIG.replace("UPSTREAM", &upstream.to_string()).replace("NSID", NSID) + extra
}

impl World {
    /// The daemon.
    pub(crate) fn hubdns() -> Self {
        let upstream = script::start();
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("corp.example.zone"), zone()).expect("a zone");
        let pki = Pki::new();
        let listeners = listeners(&pki.files("server"));
        let daemon = Daemon::start_in(directory, &config(upstream.address, &listeners), &[]);
        let encrypted = Some(Encrypted::of(&daemon, pki));
        let address = Some(daemon.dns);
        let abilities = vec!["hubdns", "stale", "nsid", "cookie", "ede", "keepalive", "failures"];
        let world = Self {
            own: address,
            foreign: address,
            abilities,
            upstream,
            encrypted,
            _servers: (Some(daemon), Vec::new()),
        };
        world.prime();
        world
    }

    /// Whether cases that need `what` say something of it.
    pub(crate) fn has(&self, what: &str) -> bool {
        match what {
            "both" => self.own.is_some() && self.own == self.foreign,
            "encrypted" => self.encrypted.is_some(),
            "own" => self.own.is_some(),
            "foreign" => self.foreign.is_some(),
            what => self.abilities.contains(&what),
        }
    }

    /// Who is asked for `qname`.
    pub(crate) fn address(&self, qname: &str) -> SocketAddr {
        let is_own = qname.ends_with("corp.example") || qname == "-";
        let wanted = if is_own { self.own } else { self.foreign };
        wanted.or(self.own).or(self.foreign).expect("a server")
    }

    /// Its encrypted listeners.
    pub(crate) fn encrypted(&self) -> &Encrypted {
        self.encrypted.as_ref().expect("asked for where there are any")
    }

    /// Lets a response expire whose upstream says nothing any more, so that
    /// cases can ask for it.
    pub(crate) fn prime(&self) {
        const NAME: &str = "primed.short.foreign.example";
        if !self.has("stale") || !self.has("foreign") {
            return;
        }
        let server = self.address(NAME);
        let since = Instant::now();
        for id in 1.. {
            let ask = ask(&format!("{NAME} A edns"), id, &[]);
            let got = udp(server, &ask.bytes, false);
            let is_answer = match &got {
                Got::Reply(bytes) => read(bytes).is_ok_and(|reply| !reply.answer.is_empty()),
                _ => false,
            };
            if is_answer && self.upstream.times_asked(NAME) > 1 {
                return;
            }
            if since.elapsed() > Duration::from_secs(40) {
                eprintln!("no stale answer comes: {got:?}");
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
