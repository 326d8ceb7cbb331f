//! What `hubdns doctor`, and the daemon by itself, find out about upstreams
//! over TCP, TLS and HTTPS.

mod common;
#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/https.rs"]
mod https;
#[path = "common/streams.rs"]
mod streams;

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use common::upstream::Asked;
use daemon::Daemon;
use https::{HttpsServer, Says};
use hubdns::wire::Rtype;
use rustls::ServerConfig;
use rustls::version::{TLS12, TLS13};
use serde_json::Value;
use streams::{Authority, Do, Leaf, Server};

const NAME: &str = "dns.example";
const OURS: &str = "contoso.azurecr.io";
const FOREIGN: &str = "fabrikam.azurecr.io";

/// The root with or without its signature, an address for everything else.
fn answer(asked: &Asked, signed: bool) -> Vec<u8> {
    if asked.qname != "." {
        return streams::answer(asked);
    }
    let mut message = asked.reply(0, ". 60 SOA a.root-servers.net. n.verisign-grs.com. 1 1 1 1 1", "");
    if signed && asked.edns().is_some_and(|edns| edns.dnssec_ok) {
        message.extend_from_slice(&[0, 0, 46, 0, 1, 0, 0, 0, 10, 0, 20]);
        message.extend_from_slice(&[0, 6, 8, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
        message[7] += 1;
    }
    message
}

fn tls(leaf: &Leaf) -> Arc<ServerConfig> {
    leaf.server(&["dot"], &[&TLS12, &TLS13])
}

fn framed(config: Option<Arc<ServerConfig>>, signed: bool) -> Server {
    let script = move |got: &streams::Got| vec![Do::Send(answer(&got.asked, signed))];
    Server::start(config, "127.0.0.1:0".parse().expect("an address"), script)
}

/// A daemon whose only upstream is `url`, with these keys.
fn daemon(url: &str, keys: &str) -> Daemon {
    Daemon::start(&format!(
        "[[sources.static]]\nname = \"{OURS}\"\ntype = \"A\"\nvalues = [\"10.1.2.3\"]\n\
         [names]\nown_registries = [\"{OURS}\"]\n\
         [[upstreams]]\nname = \"abroad\"\n[[upstreams.servers]]\nurl = \"{url}\"\n{keys}\n\
         [forward]\ndefault = \"abroad\"\n"
    ))
}

fn ca_file(authority: &Authority) -> String {
    format!("ca_file = \"{}\"", authority.file().display())
}

/// Runs it for one name.
fn doctor(daemon: &Daemon, name: &str) -> Value {
    let output = daemon.cli(&["doctor", name, "--json", "--timeout", "10"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The hop of the upstream for the one name.
fn hop(report: &Value) -> &Value {
    let hops = report["registries"][0]["names"][0]["hops"].as_array().expect("hops");
    hops.iter().find(|hop| hop["hop"] == "upstream").expect("an upstream")
}

fn steps(timings: &Value) -> Vec<&str> {
    let timings = timings.as_array().expect("a list");
    assert!(timings.iter().all(|timing| timing["milliseconds"].as_f64().expect("a number") > 0.0));
    timings.iter().map(|timing| timing["step"].as_str().expect("a word")).collect()
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_else(|| panic!("no {key}: {of:#}"))
}

/// That the upstream at `address` answers by `step`, and `says` so.
#[track_caller]
fn check_good(report: &Value, label: &str, step: &str, says: &str) {
    let (hop, whole) = (hop(report), &report["upstreams"][0]);
    assert_eq!((text(hop, "state"), text(hop, "problem")), ("ok", ""), "{report:#}");
    assert_eq!(text(hop, "text"), "answers 192.0.2.1 (public)");
    assert_eq!(text(hop, "target"), format!("{label} (abroad)"));
    assert_eq!(steps(&hop["milliseconds"]), [step]);
    assert_eq!((text(whole, "state"), text(whole, "upstream")), ("ok", label), "{report:#}");
    assert_eq!(text(whole, "text"), says);
    assert_eq!(steps(&whole["milliseconds"]), ["connect", step]);
}

#[test]
fn each_transport_is_asked_by_itself_over_one_connection() {
    let authority = Authority::new();
    let leaf = authority.leaf(&[NAME], false);
    let tcp = framed(None, false);
    let label = format!("tcp://{}", tcp.address);
    let report = doctor(&daemon(&label, ""), FOREIGN);
    check_good(&report, &label, "tcp", "strips DNSSEC signatures");
    assert_eq!(report["upstreams"][0]["dnssec"], false);

    let dot = framed(Some(tls(&leaf)), true);
    let label = format!("tls://{}#{NAME}", dot.address);
    let keys = format!("{}\npins = [\"{}\"]", ca_file(&authority), leaf.pin);
    let running = daemon(&label, &keys);
    let report = doctor(&running, FOREIGN);
    check_good(&report, &label, "tls", "certificate and pinned key right; hands on DNSSEC signatures");
    assert_eq!(report["upstreams"][0]["dnssec"], true);
    let page = running.cli(&["doctor", FOREIGN]);
    let page = String::from_utf8(page.stdout).expect("UTF-8");
    assert!(page.contains(&format!("{label} (abroad): certificate and pinned key right;")), "{page}");
    assert!(page.contains("(connect "), "{page}");

    let config = leaf.server(&["h2"], &[&TLS13]);
    let doh = HttpsServer::start(config, |request| Says::message(answer(&request.asked, true)));
    let url = format!("https://{}/dns-query#{NAME}", doh.address);
    let running = daemon(&url, &ca_file(&authority));
    let report = doctor(&running, FOREIGN);
    check_good(&report, &url, "https", "certificate right; hands on DNSSEC signatures");
    // The daemon has connections of its own, and never asks for a name that is held.
    doctor(&running, OURS);
    let got = doh.got();
    let held: Vec<_> = got.iter().filter(|request| request.asked.qname == OURS).collect();
    assert_eq!(held.len(), 1);
    let same = |request: &&https::Request1| request.connection == held[0].connection;
    let names: Vec<&str> = got.iter().filter(same).map(|request| request.asked.qname.as_str()).collect();
    assert!(names.len() == 2 && names.contains(&"."), "one connection for all that doctor asks: {names:?}");
    assert!(doh.got().iter().all(|request| request.asked.bytes.len() == 128), "padded as the forwarder does");
}

#[test]
fn a_pinned_key_is_told_as_such_and_needs_no_name() {
    let leaf = Authority::new().leaf(&["other.example"], true);
    let server = framed(Some(tls(&leaf)), true);
    let label = format!("tls://{}", server.address);
    let report = doctor(&daemon(&label, &format!("pins = [\"{}\"]", leaf.pin)), FOREIGN);
    check_good(&report, &label, "tls", "pinned key right; hands on DNSSEC signatures");
}

/// That the upstream fails with `problem`, in words that have all of `words`,
/// for names of others and in itself, while names that are held only warn.
#[track_caller]
fn check_bad(url: &str, keys: &str, problem: &str, words: &[&str], advice: &str) {
    let running = daemon(url, keys);
    let report = doctor(&running, FOREIGN);
    let (found, whole) = (hop(&report), &report["upstreams"][0]);
    assert_eq!((text(found, "state"), text(found, "problem")), ("failed", problem), "{report:#}");
    assert_eq!((text(whole, "state"), &whole["dnssec"]), ("failed", &Value::Null), "{report:#}");
    for word in words {
        assert!(text(found, "text").contains(word), "{word}: {report:#}");
        assert!(text(whole, "text").contains(word), "{word}: {report:#}");
    }
    assert!(text(found, "advice").contains(advice) && text(whole, "advice").contains(advice), "{report:#}");
    let report = doctor(&running, OURS);
    let found = hop(&report);
    assert_eq!((text(found, "state"), text(found, "problem")), ("warning", problem), "{report:#}");
    assert!(text(found, "advice").starts_with("hubdns does not ask it for this name;"), "{report:#}");
}

#[test]
fn what_keeps_an_upstream_from_being_believed_is_told_with_the_reason() {
    let authority = Authority::new();
    let at = |server: &Server| format!("tls://{}#{NAME}", server.address);
    let (ca, leaf) = (ca_file(&authority), authority.leaf(&[NAME], false));

    let other = framed(Some(tls(&authority.leaf(&["other.example"], false))), true);
    let words = ["certificate not accepted", "other.example"];
    check_bad(&at(&other), &ca, "certificate", &words, "must hold dns.example, by an authority");

    let expired = framed(Some(tls(&authority.leaf(&[NAME], true))), true);
    check_bad(&at(&expired), &ca, "certificate", &["certificate not accepted", "expired"], "must hold");

    let stranger = framed(Some(tls(&Authority::named("Corp Proxy CA").leaf(&[NAME], false))), true);
    let words = ["certificate not accepted: issued by CN=Corp Proxy CA, which is not trusted here"];
    check_bad(&at(&stranger), &ca, "certificate", &words, "ca_file");

    let good = framed(Some(tls(&leaf)), true);
    let pin = "pins = [\"FHkyLhvI0n70E47cJlRTamTrnYVcsYdjUGbr79CfAVI=\"]";
    let words = [format!("public key not pinned: the server has the key {}", leaf.pin)];
    check_bad(&at(&good), &format!("{ca}\n{pin}"), "pin", &[&words[0]], "add it to the upstream's pins");
    for server in [other, expired, stranger, good] {
        assert!(server.got().is_empty(), "nothing is asked of a stranger");
    }
}

/// A server that says the same, without TLS, to whoever comes.
fn web_page() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    address
}

#[test]
fn what_keeps_an_upstream_from_answering_is_told_with_the_reason() {
    let authority = Authority::new();
    let (ca, leaf) = (ca_file(&authority), authority.leaf(&[NAME], false));
    let closed: SocketAddr = common::upstream::closed();
    check_bad(
        &format!("tcp://{closed}"),
        "",
        "refused",
        &["connection refused"],
        "Nobody listens at TCP port",
    );
    check_bad(&format!("tls://{closed}#{NAME}"), &ca, "refused", &["connection refused"], "853 for tls");

    let label = format!("tls://{}#{NAME}", web_page());
    check_bad(&label, &ca, "tls", &["TLS failed: "], "speaks no TLS 1.2 or 1.3");

    let closing = Server::tls(tls(&leaf), |_| vec![Do::Close]);
    let label = format!("tls://{}#{NAME}", closing.address);
    check_bad(&label, &ca, "lost", &["connection lost"], "gives no answer that can be read");

    let web = HttpsServer::start(leaf.server(&["http/1.1"], &[&TLS13]), |_| Says::message(Vec::new()));
    let label = format!("https://{}/dns-query#{NAME}", web.address);
    check_bad(&label, &ca, "no-http2", &["no HTTP/2"], "needs HTTP/2 (h2)");

    let lost = HttpsServer::start(leaf.server(&["h2"], &[&TLS13]), |_| Says {
        status: 404,
        ..Says::message(Vec::new())
    });
    let label = format!("https://{}/dns-query#{NAME}", lost.address);
    check_bad(&label, &ca, "http-status", &["HTTP status: 404"], "the URL's path, which is /dns-query");
}

#[test]
fn an_upstream_that_refuses_is_told_apart_from_one_that_cannot_be_had() {
    let authority = Authority::new();
    let config = tls(&authority.leaf(&[NAME], false));
    let server = Server::tls(config, |got| vec![Do::Send(got.asked.reply(5, "", ""))]);
    let label = format!("tls://{}#{NAME}", server.address);
    let report = doctor(&daemon(&label, &ca_file(&authority)), FOREIGN);
    let (hop, whole) = (hop(&report), &report["upstreams"][0]);
    assert_eq!((text(hop, "problem"), text(hop, "text")), ("rcode", "REFUSED"), "{report:#}");
    assert_eq!(text(whole, "text"), "does not answer for the root: REFUSED", "{report:#}");
    assert_eq!(steps(&whole["milliseconds"]), ["connect", "tls"], "it was reached, and answered");
}

#[test]
fn the_daemon_asks_by_the_upstreams_own_transport_for_signatures() {
    let authority = Authority::new();
    let leaf = authority.leaf(&[NAME], false);
    let dot = framed(Some(tls(&leaf)), false);
    let mut running = daemon(&format!("tls://{}#{NAME}", dot.address), &ca_file(&authority));
    assert!(dot.got().is_empty(), "an upstream that nobody was sent to is left alone");
    running.ask("www.example", Rtype::A);
    running.wait_until("that it strips signatures is a finding", |daemon| {
        let findings = daemon.control("GET", "/v1/findings").map(|answer| answer.body).unwrap_or_default();
        findings.contains("upstream-without-dnssec")
            && findings.contains(&format!("tls://{}#{NAME}", dot.address))
    });
    let of_root: Vec<_> = dot.got().into_iter().filter(|got| got.asked.qname == ".").collect();
    assert_eq!(of_root.len(), 1);
    assert_eq!(of_root[0].asked.qtype, Rtype::SOA);
    assert!(of_root[0].asked.edns().expect("an OPT").dnssec_ok, "DO is set");
}
