//! Periodic route checks and DNSSEC probes: by themselves and in the daemon.

mod common;
#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/registry.rs"]
mod registry;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::upstream::{Act, Asked, Upstream};
use daemon::Daemon;
use hubdns::answer::Transport;
use hubdns::config;
use hubdns::config::RouteChecks;
use hubdns::routes::RouteProblem;
use hubdns::routes::check::{Target, check};
use hubdns::routes::dnssec;
use hubdns::routes::periodic::{Checker, Inputs, Results, Settings};
use hubdns::routes::tls::Trust;
use hubdns::wire::Rtype;
use registry::{Authority, BLOB, Behavior, PAGE, REGISTRY, Registries, loopback, write_estate};

const LOGIN: &str = "contoso.azurecr.io";
const PATIENCE: Duration = Duration::from_secs(60);

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

fn check_one(registries: &Registries, authority: &Authority, is_api: bool) -> Option<RouteProblem> {
    let target = Target { name: LOGIN.to_owned(), is_api, address: loopback(5).into() };
    let trust = Trust::load(Some(&authority.file())).expect("a CA");
    block_on(check(&target, registries.port, &trust, Duration::from_secs(20))).problem
}

#[test]
fn a_login_name_must_be_a_registry_and_a_data_name_must_answer() {
    let authority = Authority::new("Test CA");
    let config = authority.server(&[LOGIN], false);
    let cases = [
        (REGISTRY, None, None),
        (BLOB, Some("not-registry"), None),
        (PAGE, Some("not-registry"), None),
        (
            "HTTP/1.1 200 OK\r\ndocker-distribution-api-version: registry/2.0\r\ncontent-length: 0\r\n\r\n",
            None,
            None,
        ),
        (
            "HTTP/1.1 403 Forbidden\r\ndocker-distribution-api-version: registry/2.0\r\n\r\n",
            Some("http"),
            None,
        ),
        ("HTTP/1.1 503 Busy\r\ndocker-distribution-api-version: registry/2.0\r\n\r\n", Some("http"), None),
        ("SSH-2.0-OpenSSH\r\n", Some("http"), Some("http")),
    ];
    for (response, login, data) in cases {
        let registries = Registries::start(vec![(5, Behavior::Serve(config.clone(), response))]);
        let label = |is_api| check_one(&registries, &authority, is_api).map(|problem| problem.label());
        assert_eq!((label(true), label(false)), (login, data), "{response}");
    }
}

#[test]
fn only_the_authority_in_ca_file_is_trusted() {
    let (ours, theirs) = (Authority::new("Ours"), Authority::new("Theirs"));
    let registries = Registries::start(vec![(5, Behavior::Serve(theirs.server(&[LOGIN], false), REGISTRY))]);
    let problem = check_one(&registries, &ours, true).expect("a problem");
    assert!(
        matches!(&problem, RouteProblem::CertificateIssuer { issuer, .. } if issuer == "CN=Theirs"),
        "{problem:?}"
    );
    assert_eq!(check_one(&registries, &theirs, true), None);
    let missing = Trust::load(Some(std::path::Path::new("/nonexistent/ca.pem"))).expect_err("no file");
    assert_eq!(missing.label(), "no-trust");
    let empty = tempfile::NamedTempFile::new().expect("a file");
    assert!(
        Trust::load(Some(empty.path()))
            .expect_err("no certificate")
            .to_string()
            .contains("no certificate in it")
    );
}

/// Settings with a round as soon as the last is done.
fn settings(port: u16, ca_file: std::path::PathBuf, interval: Option<Duration>) -> Settings {
    Settings::new(&RouteChecks {
        connect_prefixes: vec!["127.0.0.0/8".parse().expect("a prefix")],
        interval,
        timeout: Duration::from_secs(20),
        port,
        ca_file: Some(ca_file),
    })
}

struct Scene {
    checker: Option<Checker>,
    results: Results,
    flips: Arc<AtomicUsize>,
}

impl Scene {
    fn start(settings: Settings, addresses: &[&str], upstreams: Vec<(String, config::Upstream)>) -> Self {
        let targets: Vec<Target> = addresses
            .iter()
            .map(|address| Target {
                name: LOGIN.to_owned(),
                is_api: true,
                address: address.parse().expect("an address"),
            })
            .collect();
        let (results, flips) = (Results::default(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&flips);
        let looping = upstreams.first().map(|(_, upstream)| upstream.clone());
        let inputs = Inputs {
            targets: Arc::new(move || targets.clone()),
            upstreams: Arc::new(move || upstreams.clone()),
            may_ask: Arc::new(|_| true),
            loops: Arc::new(move |upstream| u64::from(Some(upstream) == looping.as_ref())),
            by_stream: Arc::new(|_, _, _| Box::pin(std::future::ready(None))),
            changed: Arc::new(move || {
                counted.fetch_add(1, Ordering::SeqCst);
            }),
        };
        let checker = Some(Checker::start(settings, inputs, results.clone()).expect("started"));
        Self { checker, results, flips }
    }

    /// What is known of 127.0.0.`last`: `unknown`, `good` or `failed`.
    fn known(&self, last: u8) -> &'static str {
        let key = (LOGIN.to_owned(), IpAddr::from(loopback(last)));
        match self.results.routes.get().get(&key) {
            None => "unknown",
            Some(route) if route.problem.is_none() => "good",
            Some(_) => "failed",
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(checker) = self.checker.take() {
            checker.stop();
        }
    }
}

#[test]
fn two_failures_in_a_row_flip_an_address_and_two_successes_flip_it_back() {
    let authority = Authority::new("Test CA");
    let good = || Behavior::Serve(authority.server(&[LOGIN], false), REGISTRY);
    let registries = Registries::start(vec![(5, good()), (6, good())]);
    let settings = settings(registries.port, authority.file(), Some(Duration::from_millis(50)));
    let scene = Scene::start(settings, &["127.0.0.5", "127.0.0.6", "192.0.2.1"], Vec::new());
    wait_until("both are checked", || scene.known(5) == "good" && scene.known(6) == "good");
    assert_eq!(scene.results.routes.get().len(), 2, "no consent, no check");
    assert_eq!(scene.flips.load(Ordering::SeqCst), 0, "what is good from the start is no news");
    let before = registries.connections();
    registries.change(5, Behavior::Hangup);
    wait_until("it fails", || scene.known(5) == "failed");
    assert!(
        registries.connections() - before >= 3,
        "two rounds of two addresses at least, but for the first"
    );
    assert_eq!(scene.known(6), "good");
    wait_until("it is told", || scene.flips.load(Ordering::SeqCst) == 1);
    registries.change(5, good());
    wait_until("it is good again", || scene.known(5) == "good");
    wait_until("that is told too", || scene.flips.load(Ordering::SeqCst) == 2);
}

#[test]
fn what_is_switched_off_is_forgotten() {
    let authority = Authority::new("Test CA");
    let registries = Registries::start(vec![(5, Behavior::Hangup)]);
    let with = |interval| settings(registries.port, authority.file(), interval);
    let scene = Scene::start(with(Some(Duration::from_millis(50))), &["127.0.0.5"], Vec::new());
    wait_until("it fails", || scene.known(5) == "failed");
    scene.checker.as_ref().expect("running").reconfigure(with(None));
    wait_until("the table is empty", || scene.results.routes.get().is_empty());
    wait_until("that is told", || scene.flips.load(Ordering::SeqCst) == 2);
}

/// An upstream whose root is signed for whoever sets DO, or not.
fn root(signed: bool, cut: bool) -> Upstream {
    Upstream::start(move |asked: &Asked| {
        let soa = ". 60 SOA a.root-servers.net. n.verisign-grs.com. 1 1 1 1 1";
        assert_eq!((asked.qname.as_str(), asked.qtype), (".", Rtype::SOA));
        assert!(asked.edns().expect("an OPT").dnssec_ok, "DO is set");
        if cut && asked.transport == Transport::Udp {
            return Act::send(asked.reply(0x0200, "", ""));
        }
        let mut message = asked.reply(0, soa, "");
        if signed {
            message.extend_from_slice(&[0, 0, 46, 0, 1, 0, 0, 0, 10, 0, 20]);
            message.extend_from_slice(&[0, 6, 8, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
            message[7] += 1;
        }
        Act::send(message)
    })
}

#[test]
fn signatures_are_seen_where_there_are_any() {
    let probe = |upstream: SocketAddr| {
        let answer = block_on(dnssec::ask_root(upstream, Duration::from_secs(20))).ok();
        answer.and_then(|answer| dnssec::judge(&answer))
    };
    let (signed, bare, cut) = (root(true, false), root(false, false), root(true, true));
    assert_eq!(probe(signed.address), Some(true));
    assert_eq!(probe(bare.address), Some(false));
    assert_eq!(probe(cut.address), Some(true), "cut off by UDP, whole by TCP");
    assert_eq!(probe(common::upstream::closed()), None);
    let failing = Upstream::start(|asked| Act::send(asked.reply(2, "", "")));
    assert_eq!(probe(failing.address), None, "SERVFAIL says nothing of signatures");

    let upstreams = vec![("b".to_owned(), bare.address.into()), ("a".to_owned(), signed.address.into())];
    let scene = Scene::start(settings(443, "/nonexistent".into(), None), &[], upstreams);
    wait_until("both are known", || scene.results.upstreams.get().len() == 2);
    let known = scene.results.upstreams.get();
    let known: Vec<_> = known.iter().map(|u| (u.group.as_str(), u.dnssec, u.looping)).collect();
    assert_eq!(
        known,
        [("a", Some(true), false), ("b", Some(false), true)],
        "questions come back from the first"
    );
}

/// The value of a metric that has one sample.
fn metric(daemon: &Daemon, sample: &str) -> u64 {
    let scrape = daemon.http("/metrics").expect("a scrape").body;
    let line = scrape.lines().find(|line| line.starts_with(&format!("{sample} ")));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("no {sample}"))
}

#[test]
fn the_daemon_checks_and_counts_and_stays_ready() {
    let authority = Authority::new("Test CA");
    let registries =
        Registries::start(vec![(5, Behavior::Serve(authority.server(&[LOGIN], false), REGISTRY))]);
    let upstream = Upstream::answering("203.0.113.9");
    let directory = tempfile::tempdir().expect("a temporary directory");
    write_estate(&directory.path().join("az"), &[(LOGIN, loopback(5))], &[("contoso", loopback(5))]);
    let config = |interval: u32| {
        format!(
            r#"
[[sources.az_json]]
name = "estate"
path = "DIR/az"
[scope]
allowed_prefixes = ["127.0.0.0/8"]
[routes]
connect_prefixes = ["127.0.0.0/8"]
interval_seconds = {interval}
port = {}
ca_file = "{}"
[[upstreams]]
name = "stand-in"
addresses = ["{}"]
[forward]
default = "stand-in"
"#,
            registries.port,
            authority.file().display(),
            upstream.address
        )
    };
    let mut daemon = Daemon::start_in(directory, &config(1), &[]);
    daemon.wait_until("a check is counted", |d| metric(d, "hubdns_route_checks_total{result=\"ok\"}") > 0);
    assert_eq!(metric(&daemon, "hubdns_routes_failed"), 0);
    let cycles =
        |daemon: &Daemon| metric(daemon, "hubdns_sync_cycles_total{source=\"az-json:estate\",result=\"ok\"}");
    let before = cycles(&daemon);
    registries.change(5, Behavior::Hangup);
    daemon.wait_until("it fails", |daemon| metric(daemon, "hubdns_routes_failed") == 1);
    assert!(metric(&daemon, "hubdns_route_checks_total{result=\"tls\"}") >= 2);
    daemon.wait_until("a cycle runs", |daemon| cycles(daemon) > before);
    assert_eq!(daemon.control("GET", "/readyz").expect("an answer").status, 200, "never readiness");
    assert!(daemon.log().contains("route failed"), "{}", daemon.log());
    // Off by a reload: nothing counts against the address any more.
    daemon.rewrite(&config(0));
    assert!(daemon.cli(&["reload"]).status.success());
    daemon.wait_until("it is forgotten", |daemon| metric(daemon, "hubdns_routes_failed") == 0);
    // An upstream is asked for signatures once a client's question went there.
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
    daemon.ask("www.example.org", Rtype::A);
    let seen = upstream.wait(|seen| seen.iter().any(|asked| asked.qname == "."));
    assert_eq!(seen[0].qname, "www.example.org");
}
