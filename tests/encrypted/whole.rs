//! The daemon: its listeners are shown, certificates that change are noticed
//! and told, a reload reads them.

use std::net::SocketAddr;

use serde_json::Value;

use crate::common::estate::text;
use crate::daemon::Daemon;
use crate::pki::Pki;
use crate::rig::{ask, dot};

const ESTATE: &str = r#"
    [[sources.static]]
    name = "contoso.azurecr.io"
    type = "A"
    values = ["10.1.2.3"]
    [[upstreams]]
    name = "silent"
    addresses = ["127.0.0.1:9"]
    [forward]
    default = "silent"
    [[listeners]]
    address = "127.0.0.1:0"
    transport = "tls"
    tls = { certificate_file = "server.pem", key_file = "server.key" }
    [[listeners]]
    address = "127.0.0.1:0"
    transport = "plain"
    proxy_prefixes = ["192.0.2.1/32"]
"#;

fn write(daemon: &Daemon, (certificate, key): &(String, String)) {
    for (name, text) in [("server.pem", certificate), ("server.key", key)] {
        std::fs::write(daemon.directory.path().join(name), text).expect("written");
    }
}

fn start(pki: &Pki) -> Daemon {
    let directory = tempfile::tempdir().expect("a directory");
    let (certificate, key) = pki.issue("first");
    std::fs::write(directory.path().join("server.pem"), certificate).expect("written");
    std::fs::write(directory.path().join("server.key"), key).expect("written");
    Daemon::start_in(directory, ESTATE, &[])
}

fn listener(daemon: &Daemon, transport: &str) -> Value {
    let status = daemon.status();
    let rows = status["listeners"].as_array().expect("listeners");
    let found = rows.iter().rfind(|row| row["transport"] == transport);
    found.unwrap_or_else(|| panic!("no {transport} in {status}")).clone()
}

fn address(daemon: &Daemon, transport: &str) -> SocketAddr {
    listener(daemon, transport)["address"].as_str().expect("text").parse().expect("an address")
}

fn findings(daemon: &Daemon) -> Vec<String> {
    let answer = daemon.control("GET", "/v1/findings").expect("findings");
    let rows: Vec<Value> = serde_json::from_str(&answer.body).expect("JSON");
    let codes = rows.iter().map(|row| row["code"].as_str().expect("a code").to_owned());
    codes.filter(|code| code.starts_with("certificate-")).collect()
}

#[test]
fn listeners_are_shown_and_answer() {
    let pki = Pki::new();
    let daemon = start(&pki);
    let mut connection = dot(address(&daemon, "tls"), &pki.dot()).expect("a handshake");
    assert!(text(&connection.ask(&ask(1, "contoso.azurecr.io"))).contains("10.1.2.3"));
    let row = listener(&daemon, "tls");
    assert_eq!(
        (row["connections"].as_u64(), row["certificate_not_after"].as_u64()),
        (Some(1), Some(4_070_908_800))
    );
    let plain = listener(&daemon, "plain");
    assert_eq!((plain["proxied"].as_bool(), plain["connections"].as_u64()), (Some(true), None));
    assert_eq!(
        daemon.status()["listen"].as_array().map(Vec::len),
        Some(1),
        "what is for proxies is none of it"
    );
    let page = daemon.http("/").expect("a page").body;
    assert!(page.contains("<td>plain, behind a proxy</td>") && page.contains("<td>tls</td>"), "{page}");
    let shown = String::from_utf8(daemon.cli(&["status"]).stdout).expect("text");
    assert!(shown.contains("TRANSPORT") && shown.contains("plain, behind a proxy"), "{shown}");
    assert!(shown.contains("good for "), "{shown}");
    let scrape = daemon.http("/metrics").expect("metrics").body;
    let open = format!(
        "hubdns_encrypted_connections{{listener=\"{}\",transport=\"tls\"}} 1",
        address(&daemon, "tls")
    );
    assert!(scrape.contains(&open), "{scrape}");
}

#[test]
fn a_certificate_that_ends_or_does_not_fit_is_a_finding_until_it_does() {
    let pki = Pki::new();
    let mut daemon = start(&pki);
    assert_eq!(findings(&daemon), [""; 0]);
    write(&daemon, &pki.issue_until("old", 2021));
    daemon.wait_until("the end is told", |daemon| findings(daemon) == ["certificate-ended"]);
    write(&daemon, &(pki.issue("one").0, pki.issue("other").1));
    daemon.wait_until("both are told", |daemon| {
        findings(daemon) == ["certificate-ended", "certificate-refused"]
    });
    assert!(
        listener(&daemon, "tls")["certificate_problem"].as_str().expect("it").contains("is not the key of")
    );
    assert!(daemon.log().contains("certificate refused, the one before stays"));
    let reloaded = daemon.cli(&["reload"]);
    let told = String::from_utf8_lossy(&reloaded.stdout).into_owned();
    assert!(told.contains("the certificate before stays in use"), "{told}");
    write(&daemon, &pki.issue("good"));
    daemon.signal("HUP");
    daemon.wait_until("all is well", |daemon| findings(daemon).is_empty());
    assert!(dot(address(&daemon, "tls"), &pki.dot()).is_ok());
}

#[test]
fn a_check_says_what_a_start_would_lack() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("hubdns.toml");
    std::fs::write(&file, ESTATE).expect("written");
    let check = |with: &str| {
        let output = crate::daemon::hubdns().args([with, "--config"]).arg(&file).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, told) = check("check");
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("remark: the listener 127.0.0.1:0 cannot start now: ") && told.contains("server.pem"),
        "{told}"
    );
}

#[test]
fn changed_listeners_need_a_restart() {
    let pki = Pki::new();
    let daemon = start(&pki);
    daemon.rewrite(&ESTATE.replace("192.0.2.1/32", "192.0.2.2/32"));
    let reloaded = daemon.cli(&["reload"]);
    let told = String::from_utf8_lossy(&reloaded.stdout).into_owned();
    assert!(told.contains("listeners: the change needs a restart"), "{told}");
}
