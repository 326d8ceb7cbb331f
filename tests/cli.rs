//! The command line: exit codes, validation, records and explanations, with
//! and without a daemon.

#[path = "common/daemon.rs"]
mod daemon;

use std::path::Path;
use std::process::{Output, Stdio};

use daemon::{Daemon, hubdns};
use serde_json::Value;

const ESTATE: &str = r#"
[[sources.static]]
name = "contoso.azurecr.io"
type = "A"
values = ["10.1.2.3"]

[[sources.static]]
name = "tools.privatelink.azurecr.io"
type = "TXT"
values = ['"one" "two"']

[[upstreams]]
name = "silent"
addresses = ["127.0.0.1:9"]

[forward]
default = "silent"

[[forward.rules]]
suffix = "corp.example"
upstream = "azure"
"#;

fn run(arguments: &[&str]) -> Output {
    hubdns().args(arguments).output().expect("the binary starts")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A file with `toml` in a directory that goes with the guard.
fn file(toml: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("hubdns.toml");
    let state = directory.path().join("state");
    std::fs::write(&path, format!("server.state_dir = \"{}\"\n{toml}", state.display())).expect("a file");
    let path = path.to_str().expect("a plain path").to_owned();
    (directory, path)
}

#[test]
fn usage_is_2_and_configuration_78() {
    for arguments in [&["nonsense"][..], &["serve", "--nonsense"], &["records", "--type", "NOPE"], &[]] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let (_guard, bad) = file("[forward]\ndefault = 7\nnonsense = true\n[cache]\nmax_bytes = -1\n");
    for command in ["check", "serve"] {
        let output = run(&[command, "--config", &bad]);
        assert_eq!(output.status.code(), Some(78), "{command}: {output:?}");
        let said = stderr(&output);
        for key in ["forward.default", "nonsense", "cache.max_bytes"] {
            assert!(said.contains(key), "{command} does not tell of {key}: {said}");
        }
    }
    assert_eq!(run(&["check", "--config", "/nonexistent/hubdns.toml"]).status.code(), Some(78));
    assert_eq!(run(&["records", "--control-socket", "/nonexistent/socket"]).status.code(), Some(1));
}

#[test]
fn errors_are_told_as_a_chain() {
    let output = run(&["status", "--control-socket", "/nonexistent/socket"]);
    let said = stderr(&output);
    assert!(said.starts_with("hubdns: cannot ask the daemon at /nonexistent/socket\n"), "{said}");
    assert!(said.contains("\n  caused by: "), "{said}");
}

#[test]
fn check_validates_and_binds_nothing() {
    let taken = std::net::UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
    let address = taken.local_addr().expect("an address").to_string();
    let (_guard, good) = file(ESTATE);
    let said = stdout(&run(&["check", "--config", &good, "--listen", &address]));
    assert!(said.contains(&address), "{said}");
    assert!(stdout(&run(&["check"])).contains("127.0.0.1"), "the quick start is on loopback");
}

#[test]
fn check_tells_what_upstreams_lack_to_be_believed() {
    let group = "[[upstreams]]\nname = \"abroad\"\naddresses = [\"tls://192.0.2.1#dns.example\"]\n";
    let (guard, config) = file(&format!("{ESTATE}\n{group}"));
    // Where the system keeps its certificates, by the variables that OpenSSL has made common.
    let empty = guard.path().join("no-such-certificates");
    let without = hubdns()
        .args(["check", "--config", &config])
        .env("SSL_CERT_FILE", &empty)
        .env("SSL_CERT_DIR", &empty)
        .output()
        .expect("the binary starts");
    let said = stdout(&without);
    assert!(said.contains("remark: upstreams: tls://192.0.2.1:853#dns.example needs the system's"), "{said}");
    let missing = config.replace("hubdns.toml", "none.pem");
    let table = format!("[[upstreams.servers]]\nurl = \"tls://192.0.2.2\"\nca_file = \"{missing}\"\n");
    let (_guard, config) = file(&format!("{ESTATE}\n{group}{table}"));
    let output = run(&["check", "--config", &config]);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains(".ca_file: found \""), "{output:?}");
}

#[test]
fn variables_override_the_file() {
    let (_guard, good) = file(ESTATE);
    let output =
        hubdns().args(["check"]).env("HUBDNS_CONFIG", &good).env("HUBDNS_LISTEN", "127.0.0.9:5399").output();
    assert!(stdout(&output.expect("the binary starts")).contains("127.0.0.9:5399"));
    let output = hubdns().args(["check", "--config", &good]).env("HUBDNS_WORKERS", "many").output();
    assert_eq!(output.expect("the binary starts").status.code(), Some(78));
}

#[test]
fn records_offline_by_configuration() {
    let (_guard, good) = file(ESTATE);
    let table = stdout(&run(&["records", "--config", &good]));
    assert!(table.starts_with("NAME "), "{table}");
    assert!(table.contains("10.1.2.3") && table.contains("static"), "{table}");
    let json = |arguments: &[&str]| -> Vec<Value> {
        let output = run(&[&["records", "--json", "--config", &good], arguments].concat());
        serde_json::from_str(&stdout(&output)).expect("JSON")
    };
    let names = |rows: &[Value]| -> Vec<String> {
        rows.iter().map(|row| row["name"].as_str().expect("a name").to_owned()).collect()
    };
    let all = json(&[]);
    assert!(names(&all).contains(&"contoso.privatelink.azurecr.io".to_owned()), "{all:?}");
    assert!(names(&all).contains(&"contoso.azurecr.io".to_owned()), "{all:?}");
    assert_eq!(names(&json(&["--type", "txt"])), ["tools.privatelink.azurecr.io"]);
    assert_eq!(names(&json(&["--name", "contoso.azurecr.io"])), ["contoso.azurecr.io"]);
    assert!(json(&["--source", "other"]).is_empty());
    assert_eq!(json(&["--source", "static"]).len(), all.len());
}

#[test]
fn explanations_offline() {
    let (_guard, good) = file(ESTATE);
    let explain = |arguments: &[&str]| -> Value {
        let output = run(&[&["explain", "--json", "--config", &good], arguments].concat());
        serde_json::from_str(&stdout(&output)).expect("JSON")
    };
    for (name, rtype, outcome, rule) in [
        ("contoso.azurecr.io", "A", "local", "alias"),
        ("CONTOSO.azurecr.io.", "A", "local", "alias"),
        ("contoso.privatelink.azurecr.io", "A", "local", "held"),
        ("contoso.azurecr.io", "AAAA", "local", "nodata"),
        ("contoso.privatelink.azurecr.io", "HTTPS", "local", "nodata"),
        ("x.contoso.privatelink.azurecr.io", "A", "local", "below-held"),
        ("privatelink.azurecr.io", "SOA", "local", "soa"),
        ("localhost", "A", "local", "special"),
        ("fabrikam.azurecr.io", "A", "forwarded", "foreign"),
        ("fabrikam.privatelink.azurecr.io", "A", "forwarded", "fall-through"),
        ("www.corp.example", "A", "forwarded", "foreign"),
    ] {
        let said = explain(&[name, rtype]);
        assert_eq!((said["outcome"].as_str(), said["rule"].as_str()), (Some(outcome), Some(rule)), "{said}");
    }
    let said = explain(&["www.corp.example"]);
    assert_eq!(said["forward"]["suffix"], "corp.example");
    assert_eq!(said["forward"]["group"], "azure");
    let said = explain(&["contoso.azurecr.io"]);
    let answer = said["response"]["answer"].to_string();
    assert!(
        answer.contains("CNAME contoso.privatelink.azurecr.io") && answer.contains("A 10.1.2.3"),
        "{answer}"
    );
    assert!(said["origins"].to_string().contains("sources.static[0]"), "{said}");
    let text = stdout(&run(&["explain", "contoso.azurecr.io", "--config", &good]));
    assert!(text.contains(";; answer section\ncontoso.azurecr.io. "), "{text}");
    assert_eq!(run(&["explain", "a..b"]).status.code(), Some(2));
}

#[test]
fn the_daemon_and_its_state_directory_say_the_same() {
    let mut daemon = Daemon::start(ESTATE);
    daemon.wait_for_save();
    let live = stdout(&daemon.cli(&["records", "--json"]));
    let state = daemon.directory.path().join("state");
    let saved = stdout(&run(&["records", "--json", "--state-dir", state.to_str().expect("a plain path")]));
    assert_eq!(live, saved);
    let live: Value =
        serde_json::from_str(&stdout(&daemon.cli(&["explain", "contoso.azurecr.io", "--json"])))
            .expect("JSON");
    assert_eq!(live["rule"], "alias");
    assert!(live["generation"].as_u64().expect("a number") >= 1, "{live}");
    let status = stdout(&daemon.cli(&["status"]));
    assert!(status.contains("ready") && status.contains("privatelink.azurecr.io"), "{status}");
    assert_eq!(stdout(&daemon.cli(&["health", "--ready"])), "ready\n");
    assert_eq!(stdout(&daemon.cli(&["health", "--admin", &daemon.admin.to_string()])), "ok\n");
}

#[test]
fn health_of_a_dead_daemon_is_1() {
    assert_eq!(run(&["health", "--control-socket", "/nonexistent/socket"]).status.code(), Some(1));
    assert_eq!(run(&["health", "--admin", "127.0.0.1:1"]).status.code(), Some(1));
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let mut child = hubdns()
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("an end");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stderr(&output), "");
}

#[test]
fn completions_and_man_pages() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&run(&["completions", shell])).contains("explain"), "{shell}");
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let pages = directory.path().join("man");
    stdout(&run(&["man", pages.to_str().expect("a plain path")]));
    for page in ["hubdns.1", "hubdns-serve.1", "hubdns-explain.1", "hubdns-top.1", "hubdns-export-zone.1"] {
        assert!(Path::new(&pages).join(page).exists(), "{page}");
    }
}
