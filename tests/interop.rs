//! Real DNS software in front of the daemon and behind it, with the snippets
//! that the README gives.

mod common;
#[path = "common/daemon.rs"]
mod daemon;

use common::front::{CONFIG, PRIVATE, check_through, upstream, without_ttls};
use common::peer::{Peer, dig, find, free_port};
use daemon::Daemon;

fn hubdns(upstream: &Peer) -> Daemon {
    Daemon::start(&CONFIG.replace("UPSTREAM", &upstream.address.to_string()))
}

/// The code block of README.md that starts with `opening`.
fn readme_block(opening: &str) -> String {
    let readme = std::fs::read_to_string("README.md").expect("README.md");
    let blocks = readme.split("```").skip(1).step_by(2);
    let block = blocks.filter_map(|block| block.split_once('\n')).map(|(_, text)| text);
    block.filter(|text| text.starts_with(opening)).map(str::to_owned).next().expect("such a block")
}

#[test]
fn dig_straight_and_knot_behind() {
    let (Some(tool), Some(upstream)) = (find("dig"), upstream()) else { return };
    let hubdns = hubdns(&upstream);
    check_through(&tool, hubdns.dns);
    let ask = |arguments: &[&str]| dig(&tool, hubdns.dns, arguments);
    for edns in ["+noedns", "+edns=0", "+dnssec", "+bufsize=512", "+cookie"] {
        assert_eq!(without_ttls(&ask(&["contoso.azurecr.io", "A", edns])), PRIVATE, "{edns}");
        assert!(ask(&["www.example.org", "A", edns]).contains("A 203.0.113.80"), "{edns}");
    }
    assert!(ask(&["www.example.org", "AAAA"]).contains("2001:db8::80"));
    assert!(ask(&["nothing.example.org", "A"]).starts_with("NXDOMAIN"));
    assert_eq!(
        without_ttls(&ask(&["registry.example.org", "A"])),
        format!(
            "NOERROR | registry.example.org. TTL CNAME contoso.azurecr.io. | {}",
            &PRIVATE["NOERROR | ".len()..]
        ),
        "a foreign name that leads to ours reaches the private address"
    );
    assert!(ask(&["contoso.azurecr.io", "A", "+norecurse"]).contains("10.20.0.5"));
    assert!(ask(&["never-asked.example.org", "A", "+norecurse"]).starts_with("REFUSED"));
    assert!(ask(&["contoso.azurecr.io", "A", "+opcode=UPDATE"]).starts_with("NOTIMP"));
    assert!(ask(&["contoso.azurecr.io", "A", "+edns=1", "+noednsnegotiation"]).starts_with("BADVERS"));
}

#[test]
fn kdig_pipelines_and_keeps_open() {
    let (Some(tool), Some(upstream)) = (find("kdig"), upstream()) else { return };
    let hubdns = hubdns(&upstream);
    let output = std::process::Command::new(tool)
        .args(["@127.0.0.1", "-p", &hubdns.dns.port().to_string(), "+tcp", "+keepopen", "+short"])
        .args(["contoso.azurecr.io", "www.example.org", "contoso.westeurope.data.azurecr.io"])
        .output()
        .expect("kdig runs");
    let text = String::from_utf8_lossy(&output.stdout);
    for address in ["10.20.0.5", "203.0.113.80", "10.20.0.4"] {
        assert!(text.contains(address), "{text}");
    }
}

#[test]
fn bind_in_front_with_the_readme_snippet() {
    let (Some(tool), Some(named), Some(upstream)) = (find("dig"), find("named"), upstream()) else { return };
    let hubdns = hubdns(&upstream);
    // The snippet's options go into ours; the root goes to hubdns as well, so
    // that nothing leaves this machine, and validation is on.
    let snippet = readme_block("options {\n    validate-except");
    let (options, zones) = snippet.split_once("zone ").expect("options, then zones");
    let options = options.trim_start_matches("options {").trim().trim_end_matches("};");
    let port = hubdns.dns.port();
    let forwarder = format!("127.0.0.1 port {port};");
    let zones = format!("zone {zones}").replace("192.0.2.53;", &forwarder).replace("192.0.2.54;", "");
    let config = format!(
        "options {{ directory \"DIR\"; listen-on port PORT {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
           pid-file none; session-keyfile none; dnssec-validation auto; recursion yes;
           managed-keys-directory \"DIR\"; forward only; forwarders {{ {forwarder} }};
           {options} }};
         controls {{ }};
         {zones}"
    );
    let peer = Peer::start(&named, &["-g", "-n", "1", "-c", "DIR/named.conf"], &[("named.conf", config)]);
    check_through(&tool, peer.address);
    drop(upstream);
}

#[test]
fn unbound_in_front_with_the_readme_snippet() {
    let (Some(tool), Some(unbound), Some(upstream)) = (find("dig"), find("unbound"), upstream()) else {
        return;
    };
    let hubdns = hubdns(&upstream);
    let port = hubdns.dns.port();
    let snippet =
        readme_block("server:\n    domain-insecure").replace("192.0.2.53", &format!("127.0.0.1@{port}"));
    let snippet = snippet.lines().filter(|line| !line.contains("192.0.2.54")).collect::<Vec<_>>().join("\n");
    let config = format!(
        "server:
            interface: 127.0.0.1
            port: PORT
            username: \"\"
            chroot: \"\"
            directory: DIR
            pidfile: \"\"
            use-syslog: no
            do-not-query-localhost: no
            private-address: 10.0.0.0/8
            module-config: \"validator iterator\"
            trust-anchor: \". DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\"
        remote-control:
            control-enable: no
        forward-zone:
            name: \".\"
            forward-addr: 127.0.0.1@{port}
        {snippet}\n"
    );
    let config = config.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    let peer = Peer::start(&unbound, &["-d", "-c", "DIR/unbound.conf"], &[("unbound.conf", config + "\n")]);
    check_through(&tool, peer.address);
    drop(upstream);
}

/// BIND forwards to us what we forward to BIND: the question fails at once, is
/// counted and told, and nothing stops.
#[test]
fn bind_that_forwards_back_is_seen_and_told() {
    let (Some(tool), Some(named)) = (find("dig"), find("named")) else { return };
    let port = free_port();
    let config = format!(
        "options {{ directory \"DIR\"; listen-on port PORT {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
           pid-file none; session-keyfile none; dnssec-validation no; recursion yes;
           managed-keys-directory \"DIR\"; forward only; forwarders {{ 127.0.0.1 port {port}; }};
           allow-query {{ any; }}; allow-recursion {{ any; }}; }};\n"
    );
    let peer = Peer::start(&named, &["-g", "-n", "1", "-c", "DIR/named.conf"], &[("named.conf", config)]);
    let forwarding = CONFIG.replace("UPSTREAM", &peer.address.to_string());
    let listen = format!("127.0.0.1:{port}");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut hubdns = Daemon::start_in(directory, &forwarding, &[("HUBDNS_LISTEN", listen.as_str())]);
    // `dig` asks from the same address, so BIND must insist before it is sure.
    for i in 0..6 {
        let answer = dig(&tool, hubdns.dns, &[&format!("h{i}.example.org"), "A"]);
        assert!(answer.starts_with("SERVFAIL"), "{answer}");
    }
    assert_eq!(without_ttls(&dig(&tool, hubdns.dns, &["contoso.azurecr.io", "A"])), PRIVATE, "it serves on");
    let scrape = hubdns.http("/metrics").expect("a scrape").body;
    let loops = scrape.lines().find(|line| line.starts_with("hubdns_forward_loops_total{"));
    let count: u64 = loops.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect("a count");
    assert!(count > 0, "{scrape}");
    hubdns.wait_until("the loop is a finding", |daemon| {
        let findings = daemon.control("GET", "/v1/findings");
        findings.is_some_and(|answer| answer.body.contains("forward-loop"))
    });
}
