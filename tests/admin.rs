//! What operators see of a running daemon: metrics, probes, reloads, drains.

#[path = "common/daemon.rs"]
mod daemon;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use daemon::{Daemon, PATIENCE, query};
use hubdns::wire::message::Message;
use hubdns::wire::{Rcode, Rtype};

/// Two registry names; everything else goes to an upstream that nobody answers.
const ESTATE: &str = r#"
[[sources.static]]
name = "contoso.azurecr.io"
type = "A"
values = ["10.1.2.3"]

[[sources.static]]
name = "contoso.westeurope.data.azurecr.io"
type = "A"
values = ["10.1.2.4"]

[[upstreams]]
name = "silent"
addresses = ["127.0.0.1:9"]

[[forward.budget.upstreams]]
address = "127.0.0.1:9"
queries_per_second = 1000
max_in_flight = 100

[forward]
default = "silent"
"#;

fn rcode(answer: &[u8]) -> Rcode {
    Message::parse(answer).expect("a message").rcode()
}

/// The last four bytes of the last address record.
fn address(answer: &[u8]) -> Option<[u8; 4]> {
    let message = Message::parse(answer).expect("a message");
    let record = message.records().filter(|record| record.rtype == Rtype::A).last()?;
    answer[record.rdata].try_into().ok()
}

/// Whether `tool` is there. A skip is told; where peers are required it is a failure.
fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        assert!(std::env::var_os("HUBDNS_REQUIRE_PEERS").is_none(), "{tool} is missing");
        eprintln!("SKIPPED: {tool} is missing");
    }
    found
}

fn scrape(daemon: &Daemon) -> String {
    let answer = daemon.http("/metrics").expect("a scrape");
    assert_eq!(answer.status, 200);
    answer.body
}

/// The names of all families in a scrape.
fn families(scrape: &str) -> BTreeSet<String> {
    let lines = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Asks what makes counters with labels appear: a hit by UDP and by TCP, and a forwarded name.
fn exercise(daemon: &Daemon) {
    assert_eq!(rcode(&daemon.ask("contoso.azurecr.io", Rtype::A)), Rcode::NOERROR);
    assert_eq!(rcode(&daemon.ask_tcp("contoso.azurecr.io", Rtype::A)), Rcode::NOERROR);
    assert_eq!(rcode(&daemon.ask("www.example.org", Rtype::A)), Rcode::SERVFAIL);
}

/// All code below `directory`.
fn sources(directory: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            text.push_str(&sources(&path));
        } else {
            text.push_str(&std::fs::read_to_string(&path).expect("a source file"));
        }
    }
    text
}

/// The words of `text` that are names of ours.
fn mentioned(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let suffixes = ["_bucket", "_sum", "_count"];
    let family = |word: &str| suffixes.iter().find_map(|s| word.strip_suffix(s)).unwrap_or(word).to_owned();
    words.filter(|word| word.starts_with("hubdns_")).map(family).collect()
}

#[test]
fn a_live_scrape_is_clean() {
    let daemon = Daemon::start(ESTATE);
    exercise(&daemon);
    let scrape = scrape(&daemon);
    for name in families(&scrape) {
        assert!(name.starts_with("hubdns_") || name.starts_with("process_"), "{name}");
    }
    assert!(scrape.contains("hubdns_build_info{"), "{scrape}");
    if !has("promtool") {
        return;
    }
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    promtool.stdin.take().expect("a pipe").write_all(scrape.as_bytes()).expect("written");
    let output = promtool.wait_with_output().expect("promtool");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn alert_rules_speak_of_metrics_that_exist() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/hubdns.rules.yml");
    let text = std::fs::read_to_string(&rules).expect("rules");
    let daemon = Daemon::start(ESTATE);
    exercise(&daemon);
    let known = families(&scrape(&daemon));
    // This daemon has no encrypted listener; the code has the names of what others show.
    let code = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let exists =
        |name: &String| known.contains(name) || code.contains(&format!("\"{}\"", &name["hubdns_".len()..]));
    let unknown: Vec<String> = mentioned(&text).into_iter().filter(|name| !exists(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?} are not in {known:?}");
    if !has("promtool") {
        return;
    }
    let output = Command::new("promtool").args(["check", "rules"]).arg(&rules).output().expect("promtool");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_readme_names_every_metric() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Ok(text) = std::fs::read_to_string(root.join("README.md")) else {
        eprintln!("SKIPPED: README.md is missing");
        return;
    };
    let daemon = Daemon::start(ESTATE);
    exercise(&daemon);
    let said = mentioned(&text);
    let known = families(&scrape(&daemon));
    let ours = known.iter().filter(|name| name.starts_with("hubdns_"));
    let silent: Vec<&String> = ours.filter(|name| !said.contains(*name)).collect();
    assert!(silent.is_empty(), "README.md lacks {silent:?}");
    // What counts only errors may be absent from this scrape; the code has its name.
    let code = sources(&root.join("src"));
    let exists =
        |name: &String| known.contains(name) || code.contains(&format!("\"{}\"", &name["hubdns_".len()..]));
    let invented: Vec<&String> = said.iter().filter(|name| !exists(name)).collect();
    assert!(invented.is_empty(), "README.md invents {invented:?}");
}

#[test]
fn paths_have_fixed_types_and_methods() {
    let daemon = Daemon::start(ESTATE);
    for (path, status, content_type) in [
        ("/", 200, "text/html; charset=utf-8"),
        ("/metrics", 200, "text/plain; version=0.0.4; charset=utf-8"),
        ("/livez", 200, "text/plain; charset=utf-8"),
        ("/readyz", 200, "text/plain; charset=utf-8"),
        ("/v1/records", 404, "text/plain; charset=utf-8"),
        ("/etc/passwd", 404, "text/plain; charset=utf-8"),
    ] {
        let answer = daemon.http(path).expect("an answer");
        assert_eq!(answer.status, status, "{path}");
        assert!(
            answer.head.contains(&format!("content-type: {content_type}\r\n")),
            "{path}: {}",
            answer.head
        );
        assert!(answer.head.contains("x-content-type-options: nosniff"), "{path}: {}", answer.head);
    }
    let page = daemon.http("/").expect("a page").body;
    assert!(page.contains("privatelink.azurecr.io"), "{page}");
    assert_eq!(daemon.control("POST", "/v1/records").expect("an answer").status, 405);
    assert_eq!(daemon.control("GET", "/v1/reload").expect("an answer").status, 405);
}

#[test]
fn outsiders_are_forbidden() {
    let daemon = Daemon::start(&format!("{ESTATE}\n[admin]\nallow = [\"10.0.0.0/8\"]\n"));
    for path in ["/", "/metrics", "/livez", "/readyz", "/nothing"] {
        assert_eq!(daemon.http(path).expect("an answer").status, 403, "{path}");
    }
    assert_eq!(daemon.control("GET", "/readyz").expect("an answer").status, 200);
}

#[test]
fn a_slow_admin_client_delays_nobody() {
    let daemon = Daemon::start(ESTATE);
    // More than there are places for: they send nothing and keep their connections.
    let idle: Vec<_> =
        (0..80).map(|_| std::net::TcpStream::connect(daemon.admin).expect("a connection")).collect();
    assert_eq!(address(&daemon.ask("contoso.azurecr.io", Rtype::A)), Some([10, 1, 2, 3]));
    assert_eq!(daemon.control("GET", "/readyz").expect("an answer").status, 200);
    drop(idle);
}

#[test]
fn the_control_socket_is_the_owners_alone() {
    let mut daemon = Daemon::start(ESTATE);
    let socket = daemon.socket();
    let mode = std::fs::symlink_metadata(&socket).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    daemon.signal("TERM");
    assert!(daemon.wait_for_end().success(), "{}", daemon.log());
    assert!(!socket.exists(), "the socket is left behind");
}

#[test]
fn a_second_daemon_does_not_take_the_socket() {
    let first = Daemon::start(ESTATE);
    let socket = first.socket();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let environment = [("HUBDNS_CONTROL_SOCKET", socket.to_str().expect("a plain path"))];
    let mut second = Daemon::spawn(directory, ESTATE, &environment);
    let status = second.wait_for_end();
    assert_eq!(status.code(), Some(1), "{}", second.log());
    assert!(second.log().contains("is in use by a running daemon"), "{}", second.log());
    assert_eq!(first.control("GET", "/readyz").expect("an answer").status, 200);
}

#[test]
fn the_socket_of_a_dead_daemon_is_replaced() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    drop(std::os::unix::net::UnixListener::bind(directory.path().join("control.sock")).expect("a socket"));
    let daemon = Daemon::start_in(directory, ESTATE, &[]);
    assert_eq!(daemon.control("GET", "/livez").expect("an answer").status, 200);
}

#[test]
fn not_ready_until_something_was_loaded() {
    let estate = format!("{ESTATE}\n[[sources.az_json]]\nname = \"estate\"\npath = \"DIR/estate\"\n");
    let only = estate.replace(ESTATE.split("[[upstreams]]").next().expect("sources"), "");
    let mut daemon = Daemon::spawn(tempfile::tempdir().expect("a temporary directory"), &only, &[]);
    daemon.wait_until("it tells why it is not ready", |daemon| {
        daemon.control("GET", "/readyz").is_some_and(|answer| answer.status == 503 && !answer.body.is_empty())
    });
    assert_eq!(daemon.control("GET", "/livez").expect("an answer").status, 200);
    let directory = daemon.directory.path().join("estate");
    std::fs::create_dir(&directory).expect("a directory");
    std::fs::write(directory.join("zones.json"), "[]").expect("a file");
    daemon.signal("HUP");
    daemon.wait_until("it is ready", |daemon| {
        daemon.control("GET", "/readyz").is_some_and(|answer| answer.status == 200)
    });
}

#[test]
fn a_bad_configuration_changes_nothing() {
    let mut daemon = Daemon::start(ESTATE);
    daemon.rewrite(
        &ESTATE.replace("10.1.2.3", "not an address").replace("[forward]", "[forward]\nunknown = 1"),
    );
    daemon.signal("HUP");
    daemon.wait_until("it refused the configuration", |daemon| {
        scrape(daemon).contains("hubdns_config_reloads_total{result=\"refused\"} 1\n")
    });
    let log = daemon.log();
    assert!(log.contains("configuration refused") && log.contains("unknown"), "{log}");
    assert!(log.contains("not an address"), "all problems are logged: {log}");
    assert_eq!(address(&daemon.ask("contoso.azurecr.io", Rtype::A)), Some([10, 1, 2, 3]));
    let output = daemon.cli(&["reload"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not an address"));

    daemon.rewrite(&ESTATE.replace("10.1.2.3", "10.1.2.99"));
    let output = daemon.cli(&["reload"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    daemon.wait_until("the new address is answered", |daemon| {
        address(&daemon.ask("contoso.azurecr.io", Rtype::A)) == Some([10, 1, 2, 99])
    });
}

#[test]
fn a_reload_without_an_upstreams_certificates_changes_nothing() {
    let mut daemon = Daemon::start(ESTATE);
    let file = daemon.directory.path().join("ca.pem");
    let with = ESTATE.replace("10.1.2.3", "10.1.2.99").replace(
        "[forward]",
        &format!(
            "[[upstreams.servers]]\nurl = \"tls://127.0.0.1:9#dns.example\"\nca_file = \"{}\"\n[forward]",
            file.display()
        ),
    );
    daemon.rewrite(&with);
    for text in [None, Some("no certificate")] {
        if let Some(text) = text {
            std::fs::write(&file, text).expect("written");
        }
        let output = daemon.cli(&["reload"]);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("upstreams[0].servers[0].ca_file: found "), "{said}");
        assert_eq!(address(&daemon.ask("contoso.azurecr.io", Rtype::A)), Some([10, 1, 2, 3]));
    }
    let made = rcgen::generate_simple_self_signed(vec!["dns.example".to_owned()]).expect("a certificate");
    std::fs::write(&file, made.cert.pem()).expect("written");
    let output = daemon.cli(&["reload"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    daemon.wait_until("the new address is answered", |daemon| {
        address(&daemon.ask("contoso.azurecr.io", Rtype::A)) == Some([10, 1, 2, 99])
    });
}

#[test]
fn listeners_cannot_change_at_run_time_and_it_says_so() {
    let mut daemon = Daemon::start(ESTATE);
    daemon.rewrite(&format!("{ESTATE}\n[server]\ndrain_seconds = 7\n[log]\nformat = \"json\"\n"));
    let output = daemon.cli(&["reload"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("log.format"), "{said}");
    daemon.wait_until("it says so", |daemon| daemon.log().contains("restart needed"));
}

#[test]
fn sigterm_answers_what_is_in_flight() {
    let upstream = UdpSocket::bind(("127.0.0.1", 0)).expect("an upstream");
    upstream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let port = upstream.local_addr().expect("an address").port();
    let mut daemon = Daemon::start(&ESTATE.replace("127.0.0.1:9", &format!("127.0.0.1:{port}")));
    let client = UdpSocket::bind(("127.0.0.1", 0)).expect("a client");
    client.connect(daemon.dns).expect("a route");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    client.send(&query("www.example.org", Rtype::A)).expect("sent");
    let mut buf = [0; 4096];
    let (len, from) = upstream.recv_from(&mut buf).expect("a forwarded query");
    daemon.signal("TERM");
    daemon.wait_until("it drains", |daemon| {
        daemon.control("GET", "/readyz").is_some_and(|a| a.status == 503 && a.body.contains("draining"))
    });
    // The upstream answers only now: NXDOMAIN, with the question and nothing else.
    let mut response = buf[..len].to_vec();
    let end = Message::parse(&response).expect("a query").question_end();
    response.truncate(end);
    response[2..12].copy_from_slice(&[0x81, 0x83, 0, 1, 0, 0, 0, 0, 0, 0]);
    upstream.send_to(&response, from).expect("sent");
    let len = client.recv(&mut buf).expect("an answer during the drain");
    assert_eq!(rcode(&buf[..len]), Rcode::NXDOMAIN);
    assert!(daemon.wait_for_end().success(), "{}", daemon.log());
    assert!(daemon.log().contains("draining"), "{}", daemon.log());
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let upstream = UdpSocket::bind(("127.0.0.1", 0)).expect("an upstream");
    upstream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let port = upstream.local_addr().expect("an address").port();
    let config = ESTATE.replace("127.0.0.1:9", &format!("127.0.0.1:{port}"));
    let config = format!(
        "{config}client_deadline_milliseconds = 30000\nexchange_deadline_milliseconds = 60000\n[server]\ndrain_seconds = 300\n"
    );
    let mut daemon = Daemon::start(&config);
    let client = UdpSocket::bind(("127.0.0.1", 0)).expect("a client");
    client.send_to(&query("www.example.org", Rtype::A), daemon.dns).expect("sent");
    upstream.recv(&mut [0; 4096]).expect("a forwarded query");
    let before = std::time::Instant::now();
    daemon.signal("TERM");
    daemon.wait_until("it drains", |daemon| daemon.log().contains("draining"));
    daemon.signal("TERM");
    daemon.wait_for_end();
    assert!(before.elapsed() < std::time::Duration::from_secs(20), "{}", daemon.log());
}

#[test]
fn a_failed_state_directory_is_a_warning() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("state"), "a file is in the way").expect("a file");
    let daemon = Daemon::start_in(directory, ESTATE, &[]);
    assert_eq!(address(&daemon.ask("contoso.azurecr.io", Rtype::A)), Some([10, 1, 2, 3]));
    assert!(daemon.log().contains("WARN"), "{}", daemon.log());
}
