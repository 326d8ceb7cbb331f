//! Other servers, given the same zone and the same upstream, asked the same
//! questions; what they answer is written to `PEERS.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::carrier::CARRIERS;
use crate::case::{Case, Verdict, load};
use crate::common::peer::{Peer, find};
use crate::common::upstream::Upstream;
use crate::script;
use crate::stream;
use crate::table;
use crate::world::{NSID, World, zone};

const OPENING: &str = "\
# Who answers what

The questions of this suite, put to hubdns and to other servers on the same machine, each with the same zone
(`corp.example`) and the same scripted upstream (`foreign.example`), over UDP and TCP, hubdns over TLS and HTTPS as well. What differs by transport is told
apart. `n/a`: the server has nothing that the case is about (no zones, no forwarding, no cookies), or the case is about
a policy of hubdns.

A failure here says that a server does not do what this suite reads in the RFC, in the configuration used: not that it
is at fault. Some rules are no more than recommendations, and some servers answer with another code that they have
reasons for. Knot is two servers: Knot DNS has the zone, Knot Resolver forwards; it takes an upstream for dead for a
while after a name that gets no answer, so some of its SERVFAILs come of the case before. BIND permits transfers unless
told otherwise.

Written by `HUBDNS_WRITE_PEERS=1 cargo test --test conformance peers`.

";

const UNBOUND: &str = "\
server:
    interface: 127.0.0.1
    port: PORT
    username: \"\"
    chroot: \"\"
    directory: DIR
    pidfile: \"\"
    use-syslog: no
    do-not-query-localhost: no
    num-threads: 1
    module-config: \"iterator\"
    serve-expired: yes
    serve-expired-reply-ttl: 30
    ede: yes
    ede-serve-expired: yes
    nsid: \"ascii_NSID\"
    edns-tcp-keepalive: yes
    incoming-num-tcp: 2500
    outgoing-range: 256
    max-udp-size: 1232
    edns-buffer-size: 1232
    infra-keep-probing: yes
auth-zone:
    name: corp.example
    zonefile: DIR/corp.example.zone
    for-downstream: yes
    for-upstream: yes
forward-zone:
    name: \".\"
    forward-addr: UPSTREAM_AT
remote-control:
    control-enable: no
";

const NAMED: &str = "\
options { directory \"DIR\"; listen-on port PORT { 127.0.0.1; }; listen-on-v6 { none; };
    pid-file none; session-keyfile none; managed-keys-directory \"DIR\"; dnssec-validation no;
    recursion yes; forward only; forwarders { UPSTREAM_PORT; }; empty-zones-enable no;
    server-id \"NSID\"; minimal-responses yes; max-udp-size 1232; edns-udp-size 1232; tcp-clients 3000;
    stale-answer-enable yes; stale-cache-enable yes; stale-answer-ttl 30; max-stale-ttl 86400;
    stale-answer-client-timeout 1800; answer-cookie yes; check-names primary ignore; };
controls { };
zone \"corp.example\" { type primary; file \"DIR/corp.example.zone\"; };
";

const KNOT: &str = "\
server:
    rundir: DIR
    listen: 127.0.0.1@PORT
    nsid: NSID
    tcp-max-clients: 3000
    udp-max-payload: 1232
database:
    storage: DIR
log:
  - target: stderr
    any: warning
mod-cookies:
  - id: all
    badcookie-slip: 1
template:
  - id: default
    global-module: mod-cookies/all
zone:
  - domain: corp.example
    file: DIR/corp.example.zone
";

const KRESD: &str = "\
net.listen('127.0.0.1', PORT, { kind = 'dns' })
net.bufsize(1232)
modules = { 'policy', 'nsid', 'serve_stale < cache' }
nsid.name('NSID')
trust_anchors.remove('.')
policy.add(policy.all(policy.FORWARD({'UPSTREAM_AT'})))
cache.size = 10 * MB
";

const DNSDIST: &str = "\
setLocal('127.0.0.1:PORT')
setACL({'127.0.0.0/8'})
newServer({address='UPSTREAM'}):setUp()
cache = newPacketCache(10000, {maxTTL=86400})
getPool(''):setCache(cache)
setMaxTCPClientThreads(4)
setMaxTCPConnectionsPerClient(3000)
";

/// Whether the table is to be written.
pub(crate) fn is_asked_for() -> bool {
    std::env::var_os("HUBDNS_WRITE_PEERS").is_some_and(|value| value == "1")
}

fn fill(text: &str, upstream: SocketAddr) -> String {
    let (ip, port) = (upstream.ip(), upstream.port());
    text.replace("UPSTREAM_AT", &format!("{ip}@{port}"))
        .replace("UPSTREAM_PORT", &format!("{ip} port {port}"))
        .replace("UPSTREAM", &upstream.to_string())
        .replace("NSID", NSID)
}

fn start(program: &Path, arguments: &[&str], file: &str, text: &str, upstream: &Upstream) -> Peer {
    let files = [(file, fill(text, upstream.address)), ("corp.example.zone", zone())];
    Peer::start(program, arguments, &files)
}

/// The world of one server, if it is installed.
fn world(name: &str) -> Option<World> {
    let upstream = script::start();
    let (own, foreign, abilities, peers): (bool, bool, &[&'static str], Vec<Peer>) = match name {
        "hubdns" => return Some(World::hubdns()),
        "Unbound" => {
            let peer = start(
                &find("unbound")?,
                &["-d", "-c", "DIR/unbound.conf"],
                "unbound.conf",
                UNBOUND,
                &upstream,
            );
            (true, true, &["stale", "nsid", "ede", "keepalive", "failures"], vec![peer])
        }
        "BIND" => {
            let peer = start(
                &find("named")?,
                &["-g", "-n", "1", "-c", "DIR/named.conf"],
                "named.conf",
                NAMED,
                &upstream,
            );
            (true, true, &["stale", "nsid", "cookie", "ede", "keepalive", "failures"], vec![peer])
        }
        "Knot" => {
            let knotd = start(&find("knotd")?, &["-c", "DIR/knot.conf"], "knot.conf", KNOT, &upstream);
            let kresd = start(
                &find("kresd")?,
                &["-n", "-c", "DIR/kresd.conf", "DIR"],
                "kresd.conf",
                KRESD,
                &upstream,
            );
            (true, true, &["stale", "nsid", "cookie", "failures"], vec![knotd, kresd])
        }
        "dnsdist" => {
            let arguments = ["--supervised", "--disable-syslog", "-C", "DIR/dnsdist.conf"];
            let peer = start(&find("dnsdist")?, &arguments, "dnsdist.conf", DNSDIST, &upstream);
            (false, true, &[], vec![peer])
        }
        other => panic!("no server {other}"),
    };
    let first = peers.first().map(|peer| peer.address);
    let last = peers.last().map(|peer| peer.address);
    let world = World {
        own: first.filter(|_| own),
        foreign: last.filter(|_| foreign),
        abilities: abilities.to_vec(),
        upstream,
        encrypted: None,
        _servers: (None, peers),
    };
    world.prime();
    Some(world)
}

/// What was found, in a cell of the table.
fn cell(verdicts: &[(&str, Verdict)]) -> String {
    let asked: Vec<&(&str, Verdict)> =
        verdicts.iter().filter(|(_, v)| *v != Verdict::NotApplicable).collect();
    let word = |verdict: &Verdict| match verdict {
        Verdict::Failed(why) => {
            let why: String = why.replace(['|', '\n'], "/").chars().take(110).collect();
            format!("fail: {why}")
        }
        _ => "pass".to_owned(),
    };
    match &asked[..] {
        [] => "n/a".to_owned(),
        [(_, first), rest @ ..] if rest.iter().all(|(_, other)| word(other) == word(first)) => word(first),
        all => all.iter().map(|(label, v)| format!("{label} {}", word(v))).collect::<Vec<_>>().join("; "),
    }
}

fn run(case: &Case, world: &World) -> String {
    let verdicts = CARRIERS.iter().map(|carrier| (carrier.label(), case.run(world, *carrier)));
    cell(&verdicts.collect::<Vec<_>>())
}

fn run_stream(case: &stream::Case, world: &World) -> String {
    if !case.needs.iter().all(|need| world.has(need)) {
        return "n/a".to_owned();
    }
    let verdict = (case.run)(world).map_or_else(Verdict::Failed, |()| Verdict::Passed);
    cell(&[("tcp", verdict)])
}

/// What the server calls its version.
fn version(name: &str) -> String {
    let ask = |program: &str, argument: &str| {
        let output = find(program).and_then(|path| Command::new(path).arg(argument).output().ok());
        let text = output.map(|o| String::from_utf8_lossy(&[o.stdout, o.stderr].concat()).into_owned());
        let words = text.unwrap_or_default();
        let number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
        words.split_whitespace().find(number).unwrap_or("not installed").to_owned()
    };
    match name {
        "hubdns" => format!("hubdns {}", env!("CARGO_PKG_VERSION")),
        "Unbound" => format!("Unbound {}", ask("unbound", "-V")),
        "BIND" => format!("BIND {}", ask("named", "-v")),
        "Knot" => format!("Knot DNS {} and Knot Resolver {}", ask("knotd", "-V"), ask("kresd", "-V")),
        _ => format!("{name} {}", ask("dnsdist", "-V")),
    }
}

/// Asks everybody and writes the table.
pub(crate) fn write() {
    const SERVERS: [&str; 5] = ["hubdns", "Unbound", "Knot", "BIND", "dnsdist"];
    let cases = load();
    let mut rows: BTreeMap<(u32, usize), (String, Vec<String>)> = BTreeMap::new();
    for server in SERVERS {
        let world = world(server);
        let titles = cases.iter().map(Case::title).chain(stream::CASES.iter().map(stream::Case::title));
        let mut cells: Vec<String> = Vec::new();
        for case in &cases {
            cells.push(world.as_ref().map_or("n/a".to_owned(), |world| run(case, world)));
        }
        for case in stream::CASES {
            cells.push(world.as_ref().map_or("n/a".to_owned(), |world| run_stream(case, world)));
        }
        for (index, (title, cell)) in titles.zip(cells).enumerate() {
            let rfc = title.split(' ').nth(1).and_then(|number| number.parse().ok()).unwrap_or(0);
            rows.entry((rfc, index)).or_insert((title, Vec::new())).1.push(cell);
        }
    }
    let mut text = OPENING.to_owned();
    let versions: Vec<String> = SERVERS.iter().map(|server| version(server)).collect();
    let _ = writeln!(text, "Versions: {}.\n", versions.join(", "));
    let _ = writeln!(text, "| case | {} |\n|---|{}", SERVERS.join(" | "), "---|".repeat(SERVERS.len()));
    for (title, cells) in rows.values() {
        let _ = writeln!(text, "| {title} | {} |", cells.join(" | "));
    }
    let count = |column: usize, start: &str| {
        rows.values().filter(|(_, cells)| cells[column].contains(start)).count().to_string()
    };
    for (label, start) in [("failed", "fail"), ("not applicable", "n/a")] {
        let counts: Vec<String> = (0..SERVERS.len()).map(|column| count(column, start)).collect();
        let _ = writeln!(text, "| **{label}** | {} |", counts.join(" | "));
    }
    std::fs::write(table::path(), text).expect("PEERS.md");
}
