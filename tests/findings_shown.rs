//! Findings as operators see them: the command and its exit codes, the admin
//! API, the status page, metrics, the log, restarts.

#[path = "common/daemon.rs"]
mod daemon;

use std::process::Output;

use daemon::{Daemon, hubdns};
use hubdns::findings::Code;
use serde_json::Value;

/// The example estate, in which eight things are wrong.
const BROKEN: &str = r#"
[[sources.az_json]]
name = "estate"
embedded = true

[[upstreams]]
name = "silent"
addresses = ["127.0.0.1:9"]

[forward]
default = "silent"
"#;

/// One record of the configuration, with which nothing is wrong.
const HEALTHY: &str = r#"
[[sources.static]]
name = "contoso.azurecr.io"
type = "A"
values = ["10.1.2.3"]

[[upstreams]]
name = "silent"
addresses = ["127.0.0.1:9"]

[forward]
default = "silent"
"#;

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

/// The daemon once its first cycle found something.
fn broken() -> Daemon {
    let mut daemon = Daemon::start(BROKEN);
    daemon.wait_until("findings are there", |daemon| !rows(daemon).is_empty());
    daemon
}

fn rows(daemon: &Daemon) -> Vec<Value> {
    let answer = daemon.control("GET", "/v1/findings").expect("an answer");
    serde_json::from_str(&answer.body).expect("JSON")
}

#[test]
fn the_exit_code_tells_how_bad_it_is() {
    let daemon = broken();
    for (arguments, expected) in [
        (&["findings"][..], 1),
        (&["findings", "--json"], 1),
        (&["findings", "--fail-on", "never"], 0),
        (&["findings", "--severity", "error", "--fail-on", "error"], 1),
        // Only what is listed counts.
        (&["findings", "--code", "manual-record"], 0),
        (&["findings", "--code", "manual-record", "--fail-on", "info"], 1),
        (&["findings", "--code", "files-polled", "--code", "route-failed", "--fail-on", "info"], 0),
        (&["findings", "--code", "no-such-code"], 2),
        (&["findings", "--severity", "awful"], 2),
        (&["findings", "--control-socket", "/nonexistent/socket"], 1),
    ] {
        let output = daemon.cli(arguments);
        assert_eq!(code(&output), expected, "{arguments:?}: {output:?}");
    }
    let healthy = Daemon::start(HEALTHY);
    let output = healthy.cli(&["findings", "--fail-on", "info"]);
    assert_eq!((code(&output), stdout(&output).as_str()), (0, "no findings\n"));
}

#[test]
fn every_finding_is_shown_everywhere() {
    let daemon = broken();
    let rows = rows(&daemon);
    assert_eq!(rows.len(), 8);
    let over_http = daemon.http("/v1/findings").expect("an answer");
    assert_eq!(over_http.status, 200);
    assert!(over_http.head.contains("content-type: application/json"), "{}", over_http.head);
    assert_eq!(serde_json::from_str::<Vec<Value>>(&over_http.body).expect("JSON"), rows);
    let said = stdout(&daemon.cli(&["findings"]));
    let listed: Vec<Value> =
        serde_json::from_str(&stdout(&daemon.cli(&["findings", "--json"]))).expect("JSON");
    assert_eq!(listed, rows);
    let page = daemon.http("/").expect("a page").body;
    let log = daemon.log();
    for row in &rows {
        let text = |key: &str| row[key].as_str().expect("a text");
        assert!(row["first_seen"].as_u64().is_some_and(|at| at > 1_600_000_000), "{row}");
        for shown in [&said, &page, &log] {
            assert!(shown.contains(text("code")) && shown.contains(text("name")), "{row}: {shown}");
        }
        assert!(said.contains(text("resource_id")), "{row}: {said}");
    }
    assert!(!said.contains('\u{1b}'), "no color without a terminal");
    assert_eq!(log.matches("finding appeared").count(), rows.len(), "{log}");
    let status = stdout(&daemon.cli(&["status"]));
    assert!(status.contains("5 error, 1 warning, 2 info"), "{status}");
}

#[test]
fn every_code_is_a_metric_from_the_start() {
    let daemon = Daemon::start(HEALTHY);
    let scrape = daemon.http("/metrics").expect("a scrape").body;
    for code in Code::ALL {
        let line = format!("hubdns_findings{{code=\"{code}\",severity=\"{}\"}} 0\n", code.severity());
        assert!(scrape.contains(&line), "{line} is not in {scrape}");
    }
    let scrape = broken().http("/metrics").expect("a scrape").body;
    for (code, count) in [("missing-data-record", 2), ("ip-drift", 1), ("manual-record", 1)] {
        let found = scrape.lines().any(|line| {
            line.starts_with(&format!("hubdns_findings{{code=\"{code}\""))
                && line.ends_with(&format!(" {count}"))
        });
        assert!(found, "{code}: {scrape}");
    }
}

#[test]
fn ignored_findings_are_not_told() {
    let ignore = "[findings]\nignore = [\"ip-drift\", \"manual-record contosomanual.privatelink.azurecr.io\", \
                  \"manual-record other.example\", \"no-such-thing\"]\n";
    let mut daemon = Daemon::start(&format!("{BROKEN}\n{ignore}"));
    daemon.wait_until("findings are there", |daemon| !rows(daemon).is_empty());
    let codes: Vec<Value> = rows(&daemon).iter().map(|row| row["code"].clone()).collect();
    assert_eq!(codes.len(), 6, "{codes:?}");
    assert!(!codes.contains(&"ip-drift".into()) && !codes.contains(&"manual-record".into()), "{codes:?}");
    assert!(daemon.log().contains("no-such-thing"), "{}", daemon.log());
    let config = daemon.directory.path().join("hubdns.toml");
    let checked = hubdns().args(["check", "--config"]).arg(&config).output().expect("the binary starts");
    assert!(stdout(&checked).contains("findings.ignore: no-such-thing is no finding"), "{checked:?}");
    // A reload tells all again, though nothing of the records changed.
    daemon.rewrite(BROKEN);
    assert!(daemon.cli(&["reload"]).status.success());
    daemon.wait_until("all are told", |daemon| rows(daemon).len() == 8);
}

#[test]
fn a_restart_keeps_the_times() {
    let mut daemon = broken();
    let before = rows(&daemon);
    daemon.signal("TERM");
    assert!(daemon.wait_for_end().success());
    let directory = std::mem::replace(&mut daemon.directory, tempfile::tempdir().expect("a directory"));
    std::fs::remove_file(directory.path().join("log")).expect("the first log");
    let mut daemon = Daemon::start_in(directory, BROKEN, &[]);
    daemon.wait_until("findings are there", |daemon| !rows(daemon).is_empty());
    assert_eq!(rows(&daemon), before);
    // None of them is news.
    assert!(!daemon.log().contains("finding appeared"), "{}", daemon.log());
}

#[test]
fn without_a_daemon() {
    let mut daemon = broken();
    daemon.wait_for_save();
    let told = |row: &Value| (row["code"].clone(), row["name"].clone(), row["text"].clone());
    let running: Vec<_> = rows(&daemon).iter().map(told).collect();
    let run = |arguments: &[&str]| {
        let output =
            hubdns().arg("findings").args(arguments).arg("--json").output().expect("the binary starts");
        assert_eq!(code(&output), 1, "{output:?}");
        serde_json::from_str::<Vec<Value>>(&stdout(&output)).expect("JSON")
    };
    let config = daemon.directory.path().join("hubdns.toml");
    let state = daemon.directory.path().join("state");
    let (config, state) = (config.to_str().expect("plain"), state.to_str().expect("plain"));
    let read = run(&["--config", config]);
    assert_eq!(read.iter().map(told).collect::<Vec<_>>(), running);
    assert!(read.iter().all(|row| row["first_seen"] == 0), "{read:?}");
    // The saved set knows since when.
    assert_eq!(run(&["--config", config, "--state-dir", state]), rows(&daemon));
}
