//! Real DNS software as upstreams over TCP, TLS and HTTPS.

mod common;
#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/streams.rs"]
mod streams;

use std::net::SocketAddr;

use common::front::upstream as knot;
use common::peer::{Peer, dig, find, free_port};
use daemon::Daemon;
use streams::{Authority, Leaf};

const NAME: &str = "dns.example";

/// The daemon in front of `servers`, which are tables below `upstreams.servers`.
fn hubdns(servers: &str) -> Daemon {
    let config = format!("[[upstreams]]\nname = \"peer\"\n{servers}\n[forward]\ndefault = \"peer\"\n");
    Daemon::start(&config)
}

/// One table of [`hubdns`]; the URL's host is a name.
fn table(scheme: &str, address: SocketAddr, authority: &Authority) -> String {
    let path = if scheme == "https" { "/dns-query" } else { "" };
    format!(
        "[[upstreams.servers]]\nurl = \"{scheme}://{NAME}:{}{path}\"\naddress = \"{}\"\nca_file = \"{}\"\n",
        address.port(),
        address.ip(),
        authority.file().display()
    )
}

/// What every upstream must bring, in the form that clients see.
fn check(tool: &std::path::Path, hubdns: &Daemon) {
    for n in 0..3 {
        let ask = |arguments: &[&str]| dig(tool, hubdns.dns, arguments);
        assert!(
            ask(&["www.example.org", "A"]).contains("A 203.0.113.80"),
            "{}",
            ask(&["www.example.org", "A"])
        );
        assert!(ask(&["www.example.org", "AAAA", "+tcp"]).contains("2001:db8::80"));
        assert!(ask(&["www.example.org", "A", "+dnssec", "+cd"]).contains("A 203.0.113.80"));
        assert!(ask(&[&format!("nothing{n}.example.org"), "A"]).starts_with("NXDOMAIN"));
        assert!(ask(&["www.example.org", "TYPE65280"]).starts_with("NOERROR"));
    }
}

/// The sum of a metric's samples that have all of `labels`.
fn metric(hubdns: &Daemon, name: &str, labels: &[&str]) -> u64 {
    let scrape = hubdns.http("/metrics").expect("a scrape").body;
    let lines = scrape.lines().filter(|line| line.starts_with(&format!("hubdns_{name}{{")));
    let wanted = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
    wanted.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

fn check_all(peer: SocketAddr, tls: u16, https: Option<u16>, authority: &Authority, leaf: &Leaf) {
    let Some(tool) = find("dig") else { return };
    let at = |port| SocketAddr::new(peer.ip(), port);
    let tcp = hubdns(&format!("addresses = [\"tcp://{peer}\"]"));
    check(&tool, &tcp);
    assert_eq!(metric(&tcp, "forward_queries_total", &["transport=\"udp\""]), 0);
    let dot = hubdns(&table("tls", at(tls), authority));
    check(&tool, &dot);
    assert_eq!(metric(&dot, "forward_handshakes_total", &["kind=\"full\""]), 1, "one connection for all");
    assert!(metric(&dot, "forward_connection_reuses_total", &[]) > 3);
    // By the key alone.
    let pinned = format!("[[upstreams.servers]]\nurl = \"tls://{}\"\npins = [\"{}\"]\n", at(tls), leaf.pin);
    check(&tool, &hubdns(&pinned));
    if let Some(https) = https {
        let doh = hubdns(&table("https", at(https), authority));
        check(&tool, &doh);
        assert!(metric(&doh, "forward_queries_total", &["transport=\"https\""]) > 3);
        assert_eq!(metric(&doh, "forward_stream_failures_total", &[]), 0);
    }
}

#[test]
fn unbound_over_tcp_tls_and_https() {
    let (Some(unbound), Some(behind)) = (find("unbound"), knot()) else { return };
    let authority = Authority::new();
    let leaf = authority.leaf(&[NAME], false);
    let (tls, https) = (free_port(), free_port());
    let config = format!(
        "server:
    interface: 127.0.0.1
    interface: 127.0.0.1@{tls}
    interface: 127.0.0.1@{https}
    port: PORT
    tls-port: {tls}
    https-port: {https}
    tls-service-key: \"{}\"
    tls-service-pem: \"{}\"
    username: \"\"
    chroot: \"\"
    directory: DIR
    pidfile: \"\"
    use-syslog: no
    do-not-query-localhost: no
    module-config: \"iterator\"
    access-control: 127.0.0.0/8 allow
remote-control:
    control-enable: no
forward-zone:
    name: \".\"
    forward-addr: 127.0.0.1@{}
",
        leaf.key.display(),
        leaf.certificate.display(),
        behind.address.port()
    );
    let peer = Peer::start(&unbound, &["-d", "-c", "DIR/unbound.conf"], &[("unbound.conf", config)]);
    check_all(peer.address, tls, Some(https), &authority, &leaf);
}

#[test]
fn bind_over_tcp_tls_and_https() {
    let (Some(named), Some(behind)) = (find("named"), knot()) else { return };
    let authority = Authority::new();
    let leaf = authority.leaf(&[NAME], false);
    let (tls, https) = (free_port(), free_port());
    let config = format!(
        "tls local {{ key-file \"{}\"; cert-file \"{}\"; }};
         http local {{ endpoints {{ \"/dns-query\"; }}; }};
         options {{ directory \"DIR\"; listen-on port PORT {{ 127.0.0.1; }};
           listen-on port {tls} tls local {{ 127.0.0.1; }};
           listen-on port {https} tls local http local {{ 127.0.0.1; }};
           listen-on-v6 {{ none; }}; pid-file none; session-keyfile none; dnssec-validation no;
           recursion yes; managed-keys-directory \"DIR\"; forward only;
           forwarders {{ 127.0.0.1 port {}; }}; }};
         controls {{ }};",
        leaf.key.display(),
        leaf.certificate.display(),
        behind.address.port()
    );
    let peer = Peer::start(&named, &["-g", "-n", "1", "-c", "DIR/named.conf"], &[("named.conf", config)]);
    check_all(peer.address, tls, Some(https), &authority, &leaf);
}

#[test]
fn knot_resolver_over_tcp_and_tls() {
    let (Some(kresd), Some(behind)) = (find("kresd"), knot()) else { return };
    let authority = Authority::new();
    let leaf = authority.leaf(&[NAME], false);
    let tls = free_port();
    let config = format!(
        "net.listen('127.0.0.1', PORT, {{ kind = 'dns' }})
net.listen('127.0.0.1', {tls}, {{ kind = 'tls' }})
net.tls('{}', '{}')
trust_anchors.remove('.')
modules = {{ 'policy' }}
policy.add(policy.all(policy.FORWARD('127.0.0.1@{}')))
cache.size = 10 * MB
",
        leaf.certificate.display(),
        leaf.key.display(),
        behind.address.port()
    );
    let arguments = ["-n", "-c", "DIR/kresd.conf", "DIR"];
    let peer = Peer::start(&kresd, &arguments, &[("kresd.conf", config)]);
    check_all(peer.address, tls, None, &authority, &leaf);
}
