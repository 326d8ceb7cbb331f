//! `hubdns doctor --via`: real resolvers in front of the daemon, with their
//! conditional forwarders right and wrong.

mod common;
#[path = "common/daemon.rs"]
mod daemon;

use std::fmt::Write as _;
use std::net::SocketAddr;

use common::peer::{Peer, find};
use common::upstream::{Act, Upstream};
use daemon::Daemon;
use hubdns::wire::Rtype;
use serde_json::Value;

const CONFIG: &str = r#"
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
name = "internet"
addresses = ["UPSTREAM"]

[forward]
default = "internet"
"#;

/// What everybody sees who does not ask hubdns: the login name's public chain,
/// and nothing of the data endpoint.
fn internet() -> Upstream {
    Upstream::start(|asked| {
        let soa = "azurecr.io 60 SOA ns.azurecr.io. admin.azurecr.io. 1 3600 300 2419200 60";
        let chain = "contoso.azurecr.io 1800 CNAME contoso.privatelink.azurecr.io";
        let target = "contoso.privatelink.azurecr.io 60 A 203.0.113.1";
        match (asked.qname.as_str(), asked.qtype) {
            ("contoso.azurecr.io", Rtype::A) => Act::send(asked.reply(0, &format!("{chain};{target}"), "")),
            ("contoso.privatelink.azurecr.io", Rtype::A) => Act::send(asked.reply(0, target, "")),
            ("azurecr.io" | "privatelink.azurecr.io" | "io" | ".", _) => Act::send(asked.reply(0, "", soa)),
            _ => Act::send(asked.reply(3, "", soa)),
        }
    })
}

struct Scene {
    upstream: Upstream,
    hubdns: Daemon,
}

impl Scene {
    fn new() -> Self {
        let upstream = internet();
        let hubdns = Daemon::start(&CONFIG.replace("UPSTREAM", &upstream.address.to_string()));
        Self { upstream, hubdns }
    }

    /// Unbound with `server` lines and forward zones `(name, to)`.
    fn unbound(server: &str, forwards: &[(&str, SocketAddr)]) -> Option<Peer> {
        let unbound = find("unbound")?;
        let mut config = format!(
            "server:\n    interface: 127.0.0.1@PORT\n    port: PORT\n    access-control: 127.0.0.0/8 allow\n    \
             do-not-query-localhost: no\n    do-daemonize: no\n    chroot: \"\"\n    username: \"\"\n    \
             directory: \"DIR\"\n    pidfile: \"\"\n    use-syslog: no\n    module-config: \"validator iterator\"\n{server}\n\
             remote-control:\n    control-enable: no\n"
        );
        for (name, to) in forwards {
            let _ = write!(
                config,
                "forward-zone:\n    name: \"{name}\"\n    forward-addr: {}@{}\n    forward-first: no\n",
                to.ip(),
                to.port()
            );
        }
        Some(Peer::start(&unbound, &["-d", "-c", "DIR/unbound.conf"], &[("unbound.conf", config)]))
    }

    /// BIND with forward zones `(name, to)`; the root goes to the Internet.
    fn bind(&self, forwards: &[(&str, SocketAddr)]) -> Option<Peer> {
        let named = find("named")?;
        let mut config = format!(
            "options {{\n    directory \"DIR\";\n    pid-file none;\n    session-keyfile \"DIR/session.key\";\n    \
             listen-on port PORT {{ 127.0.0.1; }};\n    listen-on-v6 {{ none; }};\n    recursion yes;\n    \
             allow-query {{ any; }};\n    dnssec-validation no;\n    forward only;\n    \
             forwarders {{ {} port {}; }};\n    empty-zones-enable no;\n}};\ncontrols {{}};\n",
            self.upstream.address.ip(),
            self.upstream.address.port()
        );
        for (name, to) in forwards {
            let _ = writeln!(
                config,
                "zone \"{name}\" {{ type forward; forward only; forwarders {{ {} port {}; }}; }};",
                to.ip(),
                to.port()
            );
        }
        Some(Peer::start(&named, &["-g", "-c", "DIR/named.conf"], &[("named.conf", config)]))
    }

    /// The hop of `server`: state, problem and text.
    fn via(&self, server: SocketAddr) -> (String, String, String) {
        let server = server.to_string();
        let output = self.hubdns.cli(&["doctor", "contoso", "--json", "--via", &server]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        let hop = &report["registries"][0]["via"][0];
        assert_eq!(hop["target"], server, "{report:#}");
        if hop["state"] == "failed" {
            assert_eq!(report["registries"][0]["lies"], "via", "{report:#}");
            let verdict = report["registries"][0]["verdict"].as_str().expect("a verdict");
            assert!(verdict.starts_with(&format!("the DNS server {server} lies")), "{verdict}");
            assert_eq!(output.status.code(), Some(1));
        }
        let word = |key: &str| hop[key].as_str().expect("a word").to_owned();
        (word("state"), word("problem"), word("text"))
    }

    #[track_caller]
    fn check(&self, server: SocketAddr, state: &str, problem: &str, words: &[&str]) {
        let (found, why, text) = self.via(server);
        assert_eq!((found.as_str(), why.as_str()), (state, problem), "{text}");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in {text:?}");
        }
    }
}

/// Without it Unbound demands proofs of nothing; private addresses pass.
const PLAIN: &str = "    domain-insecure: \"azurecr.io\"\n";

#[test]
fn a_forwarder_on_the_registry_suffix_is_right() {
    let scene = Scene::new();
    let (ours, internet) = (scene.hubdns.dns, scene.upstream.address);
    let Some(one) = Scene::unbound(PLAIN, &[(".", internet), ("azurecr.io", ours)]) else { return };
    scene.check(one.address, "ok", "", &["leads here", "every name is right"]);
    let Some(bind) = scene.bind(&[("azurecr.io", ours), ("privatelink.azurecr.io", ours)]) else { return };
    scene.check(bind.address, "ok", "", &["leads here"]);
}

#[test]
fn a_forwarder_on_the_private_link_zone_alone_is_told() {
    let scene = Scene::new();
    let (ours, internet) = (scene.hubdns.dns, scene.upstream.address);
    let words = ["only on the private-link zone", "contoso.westeurope.data.azurecr.io gets NXDOMAIN"];
    let Some(unbound) = Scene::unbound(PLAIN, &[(".", internet), ("privatelink.azurecr.io", ours)]) else {
        return;
    };
    scene.check(unbound.address, "failed", "only-private-link", &words);
    let Some(bind) = scene.bind(&[("privatelink.azurecr.io", ours)]) else { return };
    scene.check(bind.address, "failed", "only-private-link", &words);
}

#[test]
fn a_private_link_zone_that_leads_elsewhere_is_told() {
    let scene = Scene::new();
    let (ours, internet) = (scene.hubdns.dns, scene.upstream.address);
    let forwards = [(".", internet), ("azurecr.io", ours), ("privatelink.azurecr.io", internet)];
    let Some(unbound) = Scene::unbound(PLAIN, &forwards) else { return };
    scene.check(unbound.address, "failed", "split", &["the private-link zone elsewhere", "203.0.113.1"]);
}

#[test]
fn a_missing_forwarder_is_told() {
    let scene = Scene::new();
    let Some(unbound) = Scene::unbound(PLAIN, &[(".", scene.upstream.address)]) else { return };
    scene.check(
        unbound.address,
        "failed",
        "missing",
        &["missing", "contoso.azurecr.io gets the public 203.0.113.1"],
    );
    let Some(bind) = scene.bind(&[]) else { return };
    scene.check(bind.address, "failed", "missing", &["the public 203.0.113.1"]);
}

#[test]
fn old_data_is_told_with_and_without_a_forwarder() {
    let scene = Scene::new();
    let (ours, internet) = (scene.hubdns.dns, scene.upstream.address);
    let old = format!(
        "{PLAIN}    local-zone: \"contoso.azurecr.io.\" transparent\n    \
         local-data: \"contoso.azurecr.io. 3600 A 10.99.0.5\"\n    \
         local-data: \"contoso.privatelink.azurecr.io. 3600 A 10.99.0.5\"\n    \
         local-data: \"contoso.westeurope.data.azurecr.io. 3600 A 10.99.0.4\"\n"
    );
    let Some(copy) = Scene::unbound(&old, &[(".", internet)]) else { return };
    scene.check(copy.address, "failed", "stale", &["no forwarder leads here", "10.99.0.5 (TTL 3600)"]);
    let Some(cached) = Scene::unbound(&old, &[(".", internet), ("azurecr.io", ours)]) else { return };
    scene.check(cached.address, "failed", "cached", &["leads here, and it gives old answers", "10.99.0.5"]);
}

#[test]
fn answers_kept_longer_than_told_are_told() {
    let scene = Scene::new();
    let (ours, internet) = (scene.hubdns.dns, scene.upstream.address);
    let server = format!("{PLAIN}    cache-min-ttl: 600\n");
    let Some(unbound) = Scene::unbound(&server, &[(".", internet), ("azurecr.io", ours)]) else { return };
    // Served from its cache, the TTL is the longer one.
    scene.via(unbound.address);
    let (state, problem, text) = scene.via(unbound.address);
    assert_eq!((state.as_str(), problem.as_str()), ("warning", "longer-ttl"), "{text}");
    assert!(text.contains("keeps answers longer than told (TTL ") && text.contains("ours is 10"), "{text}");
}

#[test]
fn protection_against_rebinding_is_told() {
    let scene = Scene::new();
    let (ours, internet) = (scene.hubdns.dns, scene.upstream.address);
    let server = format!("{PLAIN}    private-address: 10.0.0.0/8\n");
    let Some(unbound) = Scene::unbound(&server, &[(".", internet), ("azurecr.io", ours)]) else { return };
    scene.check(unbound.address, "failed", "stripped", &["takes the private addresses out"]);
}

#[test]
fn failed_validation_is_told() {
    let scene = Scene::new();
    let (ours, internet) = (scene.hubdns.dns, scene.upstream.address);
    let anchor = "    trust-anchor: \"azurecr.io. DS 20326 8 2 \
                  E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\"\n";
    let Some(unbound) = Scene::unbound(anchor, &[(".", internet), ("azurecr.io", ours)]) else { return };
    scene.check(unbound.address, "failed", "validation", &["with CD it answers", "SERVFAIL"]);
}

#[test]
fn silence_and_refusal_are_told() {
    let scene = Scene::new();
    scene.check(common::upstream::closed(), "failed", "silent", &["does not answer", "the port is closed"]);
    let deaf = Upstream::start(|_| Act::Drop);
    let (state, problem, _) = {
        let server = deaf.address.to_string();
        let output = scene.hubdns.cli(&["doctor", "contoso", "--json", "--timeout", "1", "--via", &server]);
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let hop = report["registries"][0]["via"][0].clone();
        (hop["state"].clone(), hop["problem"].clone(), hop["text"].clone())
    };
    assert_eq!((state, problem), ("failed".into(), "silent".into()));
    let refusing = Upstream::start(|asked| Act::send(asked.reply(5, "", "")));
    scene.check(refusing.address, "failed", "refused", &["it refuses"]);
}

#[test]
fn the_daemon_itself_is_the_best_of_servers() {
    let scene = Scene::new();
    scene.check(scene.hubdns.dns, "ok", "", &["leads here"]);
}
