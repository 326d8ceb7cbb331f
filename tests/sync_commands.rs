//! `hubdns sync ...` against a running daemon, and its dry run without one.

#[path = "common/daemon.rs"]
mod daemon;

use std::fmt::Write as _;
use std::process::Output;

use daemon::{Daemon, hubdns};
use serde_json::Value;

const CONFIG: &str = r#"
[[sources.zone_file]]
zone = "corp.example"
path = "DIR/zone"

[[upstreams]]
name = "silent"
addresses = ["127.0.0.1:9"]

[forward]
default = "silent"
"#;

fn zone(hosts: &str) -> String {
    let mut text = "@ 60 SOA ns admin 7 3600 600 86400 300\n".to_owned();
    for host in hosts.split_whitespace() {
        writeln!(text, "{host} 60 A 10.0.0.1").unwrap();
    }
    text
}

fn write(daemon: &Daemon, hosts: &str) {
    std::fs::write(daemon.directory.path().join("zone"), zone(hosts)).unwrap();
}

fn start(hosts: &str) -> Daemon {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("zone"), zone(hosts)).unwrap();
    Daemon::start_in(directory, CONFIG, &[])
}

#[track_caller]
fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[track_caller]
fn said(daemon: &Daemon, arguments: &[&str]) -> String {
    stdout(&daemon.cli(arguments))
}

#[track_caller]
fn json(daemon: &Daemon, arguments: &[&str]) -> Value {
    serde_json::from_str(&said(daemon, &[arguments, &["--json"]].concat())).expect("JSON")
}

#[test]
fn removals_are_shown_accepted_and_rejected() {
    let daemon = start("a b c d");
    write(&daemon, "c d e");
    let now = json(&daemon, &["sync", "now"]);
    assert_eq!((&now["held_back"], &now["generation"]), (&2.into(), &2.into()), "{now}");

    let status = said(&daemon, &["sync", "status"]);
    for wanted in ["generation       2", "zone-file:corp.example", "a.corp.example", "held", "many names"] {
        assert!(status.contains(wanted), "no {wanted:?} in\n{status}");
    }
    let status = json(&daemon, &["sync", "status"]);
    assert_eq!(status["removals"].as_array().unwrap().len(), 2);
    assert_eq!(status["sources"][0]["listings"][0]["facts"], 4);

    let diff = said(&daemon, &["sync", "diff"]);
    let lines: Vec<&str> = diff.lines().filter(|line| line.starts_with('-')).collect();
    assert_eq!(lines.len(), 2, "{diff}");
    assert!(lines[0].contains("a.corp.example") && lines[0].contains("10.0.0.1"), "{diff}");

    let rejected = said(&daemon, &["sync", "reject", "a.corp.example"]);
    assert!(
        rejected.starts_with("1 removal rejected\ngeneration 2 stays\n2 removals held back"),
        "{rejected}"
    );
    assert_eq!(json(&daemon, &["sync", "status"])["removals"][0]["state"], "rejected");

    let accepted = said(&daemon, &["sync", "accept", "b.corp.example"]);
    assert!(accepted.starts_with("1 removal accepted\ngeneration 3 is published\n"), "{accepted}");
    let refused = daemon.cli(&["sync", "accept", "z.corp.example"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no removal of z.corp.example waits"));
    assert_eq!(json(&daemon, &["sync", "accept"])["removals"], 1);
    assert!(said(&daemon, &["sync", "diff"]).contains("nothing waits"));
    assert_eq!(daemon.cli(&["sync", "accept", "not..a.name"]).status.code(), Some(2));
    for event in ["removal held back", "removals rejected", "removals accepted"] {
        assert!(daemon.log().contains(event), "{}", daemon.log());
    }
}

#[test]
fn a_rollback_is_pinned_over_a_restart_and_ended_by_accept() {
    let mut daemon = start("a b c d e");
    write(&daemon, "a b c d e f");
    assert_eq!(json(&daemon, &["sync", "now"])["generation"], 2);
    let history = json(&daemon, &["sync", "history"]);
    let numbers: Vec<u64> =
        history.as_array().unwrap().iter().map(|row| row["generation"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [2, 1]);
    assert!(said(&daemon, &["sync", "history"]).contains("whole, served"));

    let rolled = said(&daemon, &["sync", "rollback", "1"]);
    assert!(rolled.starts_with("rolled back to generation 1\ngeneration 3 is published\n"), "{rolled}");
    assert_eq!(json(&daemon, &["sync", "now"])["changed"], false);
    let diff = said(&daemon, &["sync", "diff"]);
    assert!(diff.contains('+') && diff.contains("f.corp.example"), "{diff}");
    assert_eq!(daemon.cli(&["sync", "rollback", "99"]).status.code(), Some(1));

    daemon.signal("TERM");
    assert!(daemon.wait_for_end().success());
    let directory = std::mem::replace(&mut daemon.directory, tempfile::tempdir().unwrap());
    drop(daemon);
    let daemon = Daemon::start_in(directory, CONFIG, &[]);
    let now = json(&daemon, &["sync", "now"]);
    assert_eq!((&now["changed"], &now["generation"]), (&false.into(), &3.into()), "{now}");
    assert!(said(&daemon, &["sync", "status"]).contains("rolled back to 1"));
    let metrics = daemon.http("/metrics").unwrap().body;
    assert!(metrics.contains("hubdns_sync_pinned 1"), "{metrics}");
    assert!(metrics.contains("hubdns_snapshot_saved_generations 3"), "{metrics}");
    assert_eq!(json(&daemon, &["sync", "accept"])["generation"], 4);
    assert_eq!(json(&daemon, &["sync", "status"])["pinned_to"], Value::Null);
}

#[test]
fn a_dry_run_tells_what_would_change_and_writes_nothing() {
    let daemon = start("a b c d");
    let state = daemon.directory.path().join("state");
    let dry = |extra: &[&str]| {
        let config = daemon.directory.path().join("hubdns.toml");
        let mut command = hubdns();
        command.args(["sync", "--once", "--dry-run", "--config"]).arg(config).args(["--state-dir"]);
        command.arg(&state).args(extra).output().unwrap()
    };
    let files = || {
        let mut files: Vec<_> = state.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        files.sort();
        files
    };
    // Once a cycle is over, what it published is saved.
    json(&daemon, &["sync", "now"]);
    let same = dry(&[]);
    assert_eq!(same.status.code(), Some(0), "{same:?}");
    assert!(stdout(&same).contains("nothing waits"));
    // The daemon would see the file change too; what is saved is what counts.
    drop(std::fs::rename(daemon.directory.path().join("zone"), daemon.directory.path().join("old")));
    let broken = dry(&[]);
    assert_eq!(broken.status.code(), Some(1), "{broken:?}");
    let copy = daemon.directory.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    for file in files() {
        std::fs::copy(state.join(&file), copy.join(&file)).unwrap();
    }
    write(&daemon, "c d e");
    let config = daemon.directory.path().join("hubdns.toml");
    let mut command = hubdns();
    command.args(["sync", "--once", "--dry-run", "--json", "--config"]).arg(config);
    let changed = command.arg("--state-dir").arg(&copy).output().unwrap();
    assert_eq!(changed.status.code(), Some(3), "{changed:?}");
    let diff: Value = serde_json::from_slice(&changed.stdout).unwrap();
    let marks: Vec<&str> =
        diff["changes"].as_array().unwrap().iter().map(|row| row["change"].as_str().unwrap()).collect();
    assert_eq!(marks, ["-", "-", "+"], "{diff}");
    assert!(diff["changes"][0]["why"].as_str().unwrap().starts_with("held back"), "{diff}");
    assert_eq!(diff["changes"][2]["why"], "with the next cycle");
    for usage in [&["sync"][..], &["sync", "--once"], &["sync", "--dry-run"]] {
        assert_eq!(hubdns().args(usage).output().unwrap().status.code(), Some(2), "{usage:?}");
    }
}
