//! `hubdns doctor` against a real daemon: each fault is found at its hop and
//! blamed in the verdict.

mod common;
#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/registry.rs"]
mod registry;

use std::net::SocketAddr;

use common::upstream::{Act, Upstream};
use daemon::{Daemon, hubdns};
use hubdns::answer::Transport;
use hubdns::wire::Rtype;
use registry::{Authority, BLOB, Behavior, PAGE, REGISTRY, Registries, loopback, write_estate};
use serde_json::Value;

const LOGIN: &str = "contoso.azurecr.io";
const DATA: &str = "contoso.westeurope.data.azurecr.io";

/// An estate of one registry: interface, zone, registries at 127.0.0.5 and 127.0.0.4.
struct Estate {
    authority: Authority,
    registries: Registries,
    upstream: Upstream,
    zone: Vec<(&'static str, u8)>,
    extra: String,
}

impl Estate {
    fn healthy() -> Self {
        let authority = Authority::new("Contoso Test CA");
        let registries = Registries::start(vec![
            (5, Behavior::Serve(authority.server(&[LOGIN], false), REGISTRY)),
            (4, Behavior::Serve(authority.server(&[DATA], false), BLOB)),
        ]);
        let zone = vec![("contoso", 5), ("contoso.westeurope.data", 4)];
        Self { authority, registries, upstream: signed_and_private(), zone, extra: String::new() }
    }

    fn start(&self) -> Daemon {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let interface = [(LOGIN, loopback(5)), (DATA, loopback(4))];
        let zone: Vec<_> = self.zone.iter().map(|(name, last)| (*name, loopback(*last))).collect();
        write_estate(&directory.path().join("az"), &interface, &zone);
        Daemon::start_in(directory, &self.config(), &[])
    }

    fn config(&self) -> String {
        format!(
            r#"
[[sources.az_json]]
name = "estate"
path = "DIR/az"

[scope]
allowed_prefixes = ["127.0.0.0/8"]

[routes]
connect_prefixes = ["127.0.0.0/8"]
port = {}
ca_file = "{}"

[[upstreams]]
name = "stand-in"
addresses = ["{}"]

[forward]
default = "stand-in"
{}"#,
            self.registries.port,
            self.authority.file().display(),
            self.upstream.address,
            self.extra,
        )
    }
}

/// An upstream inside the virtual network: the private zone's answers, and a signed root.
fn signed_and_private() -> Upstream {
    Upstream::start(|asked| {
        if asked.qname == "." {
            let soa = ". 86400 SOA a.root-servers.net. nstld.verisign-grs.com. 1 1800 900 604800 86400";
            let mut message = asked.reply(0, soa, "");
            if asked.edns().is_some_and(|edns| edns.dnssec_ok) {
                message.extend_from_slice(&signature());
                message[7] += 1;
            }
            return Act::send(message);
        }
        let answer = |link: &str, last: u8| {
            format!(
                "{} 1800 CNAME {link}.privatelink.azurecr.io;{link}.privatelink.azurecr.io 10 A 127.0.0.{last}",
                asked.qname
            )
        };
        match (asked.qname.as_str(), asked.qtype) {
            (LOGIN, Rtype::A) => Act::send(asked.reply(0, &answer("contoso", 5), "")),
            (DATA, Rtype::A) => Act::send(asked.reply(0, &answer("contoso.westeurope.data", 4), "")),
            _ => Act::send(asked.reply(3, "", "")),
        }
    })
}

/// An RRSIG of the root's SOA that no validator would accept.
fn signature() -> Vec<u8> {
    let mut record = vec![0, 0, 46, 0, 1, 0, 0, 0, 10, 0, 23];
    record.extend_from_slice(&[0, 6, 8, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 1, 1]);
    let rdlen = record.len() - 11;
    record[10] = u8::try_from(rdlen).expect("short");
    record
}

/// Runs it with `--json`; the report and the exit code.
fn doctor(daemon: &Daemon, arguments: &[&str]) -> (Value, Option<i32>) {
    let output = daemon.cli(&[&["doctor", "--json"], arguments].concat());
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (report, output.status.code())
}

/// The hops of `name` as `hop state problem`.
fn hops(report: &Value, name: &str) -> Vec<String> {
    let names = report["registries"][0]["names"].as_array().expect("names");
    let found =
        names.iter().find(|found| found["name"] == name).unwrap_or_else(|| panic!("{name}: {report:#}"));
    let word = |hop: &Value, key: &str| hop[key].as_str().expect("a word").to_owned();
    let hops = found["hops"].as_array().expect("hops").iter();
    hops.map(|hop| [word(hop, "hop"), word(hop, "state"), word(hop, "problem")].join(" ").trim().to_owned())
        .collect()
}

/// That `name` has exactly these faults, and the verdict blames `lies` with these words.
#[track_caller]
fn check(report: &Value, name: &str, faults: &[&str], lies: Option<&str>, words: &[&str]) {
    let found: Vec<String> = hops(report, name)
        .into_iter()
        .filter(|hop| !hop.ends_with(" ok") && !hop.contains(" skipped"))
        .collect();
    assert_eq!(found, faults, "{report:#}");
    assert_eq!(report["registries"][0]["lies"].as_str(), lies, "{report:#}");
    let verdict = report["registries"][0]["verdict"].as_str().expect("a verdict");
    for word in words {
        assert!(verdict.contains(word), "{word:?} is not in {verdict:?}");
    }
}

#[test]
fn a_healthy_estate_is_ok_at_every_hop() {
    let estate = Estate::healthy();
    let daemon = estate.start();
    let (report, code) = doctor(&daemon, &[]);
    for name in [LOGIN, DATA] {
        check(&report, name, &[], None, &["nothing lies"]);
        let hops = hops(&report, name);
        assert_eq!(hops, ["records ok", "zone ok", "answer ok", "route ok", "upstream ok"], "{report:#}");
    }
    assert_eq!(report["state"], "ok");
    assert_eq!(report["schema"], 1);
    assert_eq!(report["upstreams"][0]["dnssec"], true, "{report:#}");
    assert_eq!(code, Some(0));
    // The words for people say the same, without escapes where no terminal is.
    let output = daemon.cli(&["doctor", "contoso"]);
    let page = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(page.starts_with("contoso.azurecr.io  ok\n"), "{page}");
    assert!(page.ends_with("1 registry: 1 ok\n") && !page.contains('\u{1b}'), "{page}");
    assert!(output.stderr.is_empty(), "no progress where no terminal is");
}

#[test]
fn a_wrong_certificate_is_blamed_with_the_names_that_it_has() {
    let estate = Estate::healthy();
    let daemon = estate.start();
    let proxy = Authority::new("Corp Proxy CA");
    let serve = |config| estate.registries.change(5, Behavior::Serve(config, REGISTRY));
    let port = estate.registries.port;
    let route = format!("the route to 127.0.0.5:{port} lies");
    serve(estate.authority.server(&["proxy.corp.example"], false));
    let (report, code) = doctor(&daemon, &[]);
    let words = [route.as_str(), "not for this name but for proxy.corp.example"];
    check(&report, LOGIN, &["route failed certificate"], Some("route"), &words);
    assert_eq!(code, Some(1));
    serve(estate.authority.server(&[LOGIN], true));
    let (report, _) = doctor(&daemon, &[]);
    check(&report, LOGIN, &["route failed certificate"], Some("route"), &[&route, "expired on", "2021"]);
    serve(proxy.server(&[LOGIN], false));
    let (report, _) = doctor(&daemon, &[]);
    let words = [route.as_str(), "issued by CN=Corp Proxy CA", "not trusted"];
    check(&report, LOGIN, &["route failed certificate"], Some("route"), &words);
    check(&report, DATA, &[], Some("route"), &[]);
}

#[test]
fn whatever_is_no_registry_is_told_from_one() {
    let estate = Estate::healthy();
    let daemon = estate.start();
    let server = || estate.authority.server(&[LOGIN], false);
    let cases = [
        (Behavior::Serve(server(), PAGE), "route failed not-registry", "HTTP 200 without the header"),
        (Behavior::Plain, "route failed tls", "TLS failed"),
        (Behavior::Hangup, "route failed tls", "closes the connection"),
        (Behavior::Silent, "route failed tls-timeout", "says nothing to TLS within 1 s"),
    ];
    for (behavior, fault, words) in cases {
        estate.registries.change(5, behavior);
        let (report, code) = doctor(&daemon, &["--timeout", "1"]);
        check(&report, LOGIN, &[fault], Some("route"), &[words]);
        assert_eq!(code, Some(1));
    }
}

#[test]
fn a_closed_port_and_a_deaf_address_are_told_apart() {
    let mut estate = Estate::healthy();
    // Nobody listens on 127.0.0.4 any more; 127.0.0.5 has no room for connections.
    let only = Registries::start(vec![(6, Behavior::Hangup)]);
    let deaf = full_backlog(SocketAddr::from((loopback(5), only.port)));
    estate.registries = only;
    let daemon = estate.start();
    let (report, _) = doctor(&daemon, &["--timeout", "1"]);
    check(&report, DATA, &["route failed refused"], Some("route"), &[]);
    check(
        &report,
        LOGIN,
        &["route failed connect-timeout"],
        Some("route"),
        &["no answer to the connection within 1 s"],
    );
    drop(deaf);
}

/// A listener whose backlog is full: connections to it are never answered.
fn full_backlog(address: SocketAddr) -> Vec<socket2::Socket> {
    use socket2::{Domain, Protocol, Socket, Type};
    let listener = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
    listener.bind(&address.into()).expect("bound");
    listener.listen(0).expect("listening");
    let mut held = vec![listener];
    for _ in 0..8 {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        if socket.connect_timeout(&address.into(), std::time::Duration::from_millis(200)).is_err() {
            return held;
        }
        held.push(socket);
    }
    panic!("the backlog takes everything");
}

#[test]
fn a_zone_that_drifted_lies_and_one_that_lacks_a_name_warns() {
    let mut estate = Estate::healthy();
    estate.zone = vec![("contoso", 77)];
    let daemon = estate.start();
    let (report, code) = doctor(&daemon, &[LOGIN]);
    let words =
        ["the private zone lies", "privatelink.azurecr.io says 127.0.0.77", "interface says 127.0.0.5"];
    check(&report, LOGIN, &["zone failed zone-drift"], Some("zone"), &words);
    check(&report, DATA, &["zone warning zone-lacks"], Some("zone"), &[]);
    assert_eq!(code, Some(1));
    let (report, code) = doctor(&daemon, &[DATA]);
    check(&report, DATA, &["zone warning zone-lacks"], Some("zone"), &["pulls work", "lacks"]);
    assert_eq!(code, Some(3), "warnings alone");
}

#[test]
fn an_upstream_that_answers_publicly_warns() {
    let mut estate = Estate::healthy();
    estate.upstream = Upstream::answering("203.0.113.7");
    let daemon = estate.start();
    let (report, code) = doctor(&daemon, &[]);
    let words = ["pulls work", "the upstream", "answers publicly: 203.0.113.7"];
    check(&report, LOGIN, &["upstream warning public"], Some("upstream"), &words);
    assert_eq!(report["upstreams"][0]["dnssec"], Value::Null, "an A record is no SOA: {report:#}");
    assert_eq!(code, Some(1), "the root is not resolved there");
}

#[test]
fn an_upstream_that_cuts_answers_off_or_denies_is_told() {
    let mut estate = Estate::healthy();
    let soa = "privatelink.azurecr.io 10 SOA azureprivatedns.net. azureprivatedns-host.microsoft.com. 1 3600 300 2419200 10";
    estate.upstream = Upstream::start(move |asked| {
        let chain = format!("{} 1800 CNAME contoso.privatelink.azurecr.io", asked.qname);
        let whole = format!("{chain};contoso.privatelink.azurecr.io 10 A 127.0.0.5");
        match (asked.qname.as_str(), asked.transport) {
            (LOGIN, Transport::Udp) => Act::send(asked.reply(0, &chain, "")),
            (LOGIN, _) => Act::send(asked.reply(0, &whole, "")),
            (".", _) => {
                Act::send(asked.reply(0, ". 60 SOA a.root-servers.net. n.verisign-grs.com. 1 1 1 1 1", ""))
            }
            _ => Act::send(asked.reply(3, "", soa)),
        }
    });
    let daemon = estate.start();
    let (report, code) = doctor(&daemon, &[]);
    check(&report, LOGIN, &["upstream warning cut-off"], Some("upstream"), &["without saying so"]);
    check(&report, DATA, &["upstream warning private-zone-denies"], Some("upstream"), &[]);
    assert_eq!(report["upstreams"][0]["dnssec"], false, "{report:#}");
    assert_eq!(code, Some(3));
}

#[test]
fn without_consent_nothing_is_connected_to() {
    let estate = Estate::healthy();
    let daemon = {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let interface = [(LOGIN, loopback(5)), (DATA, loopback(4))];
        write_estate(&directory.path().join("az"), &interface, &[("contoso", loopback(5))]);
        let config = estate
            .config()
            .replace(r#"connect_prefixes = ["127.0.0.0/8"]"#, r#"connect_prefixes = ["127.0.0.4/32"]"#);
        Daemon::start_in(directory, &config, &[])
    };
    let (report, _) = doctor(&daemon, &[]);
    let route = |name| hops(&report, name).into_iter().find(|hop| hop.starts_with("route")).expect("a route");
    assert_eq!((route(LOGIN).as_str(), route(DATA).as_str()), ("route skipped", "route ok"));
    assert!(report.to_string().contains("routes.connect_prefixes does not hold the address"), "{report:#}");
    assert_eq!(estate.registries.connections(), 1, "to the data endpoint alone");
}

#[test]
fn a_replica_without_an_address_fails_at_the_record() {
    let estate = Estate::healthy();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let az = directory.path().join("az");
    write_estate(
        &az,
        &[(LOGIN, loopback(5)), (DATA, loopback(4))],
        &[("contoso", loopback(5)), ("contoso.westeurope.data", loopback(4))],
    );
    let acr = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ContainerRegistry/registries/contoso";
    let replica = serde_json::json!([{
        "id": format!("{acr}/replications/eastus"), "name": "eastus", "location": "eastus",
        "type": "Microsoft.ContainerRegistry/registries/replications", "provisioningState": "Succeeded",
    }]);
    std::fs::write(az.join("replicas.json"), replica.to_string()).expect("written");
    let mut daemon = Daemon::start_in(directory, &estate.config(), &[]);
    // What was listed is read from what was saved.
    daemon.wait_for_save();
    let (report, code) = doctor(&daemon, &["contoso"]);
    let east = "contoso.eastus.data.azurecr.io";
    let words = ["the record set lies for contoso.eastus.data.azurecr.io", "replica in eastus"];
    let faults = ["records failed no-record", "upstream warning denies"];
    check(&report, east, &faults, Some("records"), &words);
    assert!(hops(&report, east).contains(&"answer ok".to_owned()), "it is denied, as it must be: {report:#}");
    assert_eq!(code, Some(1));
}

#[test]
fn others_names_are_followed_to_the_upstream() {
    let mut estate = Estate::healthy();
    estate.upstream = Upstream::answering("203.0.113.80");
    let daemon = estate.start();
    let (report, _) = doctor(&daemon, &["fabrikam.azurecr.io"]);
    let hops = hops(&report, "fabrikam.azurecr.io");
    assert_eq!(
        hops,
        ["records skipped", "zone skipped", "answer ok", "route skipped", "upstream ok"],
        "{report:#}"
    );
    let unknown = daemon.cli(&["doctor", "nonesuch"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&unknown.stderr).contains("no registry of yours is called \"nonesuch\""),
        "{unknown:?}"
    );
}

#[test]
fn a_daemon_that_is_gone_is_said_and_offline_works_without() {
    let estate = Estate::healthy();
    let mut daemon = estate.start();
    daemon.wait_for_save();
    let config = daemon.directory.path().join("hubdns.toml");
    let state = daemon.directory.path().join("state");
    let run = |arguments: &[&str]| {
        let mut command = hubdns();
        command.arg("doctor").args(arguments).env("HUBDNS_CONTROL_SOCKET", "/nonexistent/socket");
        command.output().expect("the binary starts")
    };
    let gone = run(&[]);
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
    let config = config.to_str().expect("plain");
    for offline in
        [&["--config", config][..], &["--config", config, "--state-dir", state.to_str().expect("plain")]]
    {
        let output = run(&[offline, &["--json", "--server", &daemon.dns.to_string()]].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        check(&report, LOGIN, &[], None, &["nothing lies"]);
        assert!(hops(&report, LOGIN).contains(&"answer ok".to_owned()), "{report:#}");
    }
}
