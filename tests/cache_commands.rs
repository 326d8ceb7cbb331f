//! `hubdns cache` on a running daemon, and the cache's file between two lives.

mod common;
#[path = "common/daemon.rs"]
mod daemon;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;

use common::estate::text;
use common::upstream::{Act, Upstream};
use daemon::Daemon;
use hubdns::wire::Rtype;
use serde_json::Value;

fn upstream() -> Upstream {
    Upstream::start(|asked| {
        let soa = "example 60 SOA ns.example host.example 1 2 3 4 60";
        if asked.qname.starts_with("no.") {
            return Act::send(asked.reply(3, "", soa));
        }
        Act::send(asked.reply(0, &format!("{} 300 A 192.0.2.1", spelled(&asked.qname)), ""))
    })
}

/// The owner as the scripts spell it, whose escapes they do not know.
fn spelled(qname: &str) -> String {
    qname.replace("\\027", "\u{1b}")
}

fn config(upstream: SocketAddr, save: bool) -> String {
    format!(
        "[[sources.static]]\nname = \"contoso.azurecr.io\"\ntype = \"A\"\nvalues = [\"10.1.2.3\"]\n\
         [[upstreams]]\nname = \"test\"\naddresses = [\"{upstream}\"]\n\
         [forward]\ndefault = \"test\"\n[cache]\nsave = {save}\n"
    )
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn json(daemon: &Daemon, arguments: &[&str]) -> Value {
    let output = daemon.cli(&[&["cache"], arguments, &["--json"]].concat());
    serde_json::from_str(&done(&output)).expect("JSON")
}

fn names(listing: &Value) -> Vec<&str> {
    let rows = listing["rows"].as_array().expect("rows");
    rows.iter().map(|row| row["name"].as_str().expect("a name")).collect()
}

#[test]
fn responses_are_listed_shown_and_forgotten() {
    let upstream = upstream();
    let daemon = Daemon::start(&config(upstream.address, false));
    for name in ["www.example", "a.corp.example", "b.corp.example", "no.corp.example", "x\\027y.example"] {
        daemon.ask(name, Rtype::A);
    }
    let listing = json(&daemon, &["list"]);
    let all = ["a.corp.example", "b.corp.example", "no.corp.example", "www.example", "x\\027y.example"];
    assert_eq!(
        (names(&listing), &listing["entries"], &listing["left_out"]),
        (all.to_vec(), &5.into(), &0.into())
    );
    let row = &listing["rows"][2];
    assert_eq!(
        (&row["rcode"], &row["rule"], &row["state"]),
        (&"NXDOMAIN".into(), &".".into(), &"fresh".into())
    );
    assert!(row["ttl"].as_i64().expect("a number") <= 60 && row["response"].is_null());
    // A part of it, and no more than was asked for.
    assert_eq!(names(&json(&daemon, &["list", "corp.example"])), &all[..3]);
    let short = json(&daemon, &["list", "--limit", "2"]);
    assert_eq!((names(&short).len(), &short["left_out"]), (2, &3.into()));
    let page = done(&daemon.cli(&["cache", "list", "--limit", "2"]));
    assert!(page.contains("and 3 more") && page.contains("5 responses in"), "{page}");
    let page = done(&daemon.cli(&["cache", "list"]));
    assert!(page.contains("x\\027y.example") && !page.contains('\u{1b}'), "{page}");

    let page = done(&daemon.cli(&["cache", "show", "www.EXAMPLE"]));
    assert!(page.contains("www.example A NOERROR, fresh") && page.contains("A 192.0.2.1"), "{page}");
    let page = done(&daemon.cli(&["cache", "show", "no.corp.example"]));
    assert!(page.contains("authority example. ") && page.contains(" SOA "), "{page}");
    let page = done(&daemon.cli(&["cache", "show", "corp.example"]));
    assert_eq!(page, "nothing is kept for corp.example\n");

    let removed = |arguments: &[&str]| json(&daemon, &[&["flush"], arguments].concat())["removed"].clone();
    assert_eq!(removed(&["corp.example", "--exact"]), 0);
    assert_eq!(removed(&["a.corp.example", "--exact"]), 1);
    assert_eq!(removed(&["corp.example"]), 2);
    assert_eq!(names(&json(&daemon, &["list"])), &all[3..]);
    assert_eq!(done(&daemon.cli(&["cache", "flush"])), "2 responses forgotten\n");
    assert_eq!(names(&json(&daemon, &["list"])), [""; 0]);
    // What was forgotten is asked for again.
    let before = upstream.times_asked("www.example");
    daemon.ask("www.example", Rtype::A);
    assert_eq!(upstream.times_asked("www.example"), before + 1);
    assert_eq!(daemon.cli(&["cache", "flush", "--exact"]).status.code(), Some(2), "of which name?");
    assert_eq!(daemon.cli(&["cache", "show", "a..b"]).status.code(), Some(2));
    let answer = daemon.control("GET", "/v1/cache/list?name=a..b").expect("an answer");
    assert_eq!(answer.status, 400);
}

/// Ends `daemon` as a service manager does; the directory outlives it.
fn end(mut daemon: Daemon) -> tempfile::TempDir {
    let nothing = tempfile::tempdir().expect("a directory");
    let directory = std::mem::replace(&mut daemon.directory, nothing);
    daemon.signal("TERM");
    assert!(daemon.wait_for_end().success());
    directory
}

fn file(directory: &Path) -> std::path::PathBuf {
    directory.join("state").join("response-cache")
}

#[test]
fn a_saved_cache_answers_after_a_restart_unless_its_rule_has_changed() {
    let (first, second) = (upstream(), upstream());
    let toml = config(first.address, true);
    let daemon = Daemon::start(&toml);
    daemon.ask("www.example", Rtype::A);
    let directory = end(daemon);
    assert!(file(directory.path()).exists());
    let daemon = Daemon::start_in(directory, &toml, &[]);
    assert!(daemon.log().contains("response cache restored"), "{}", daemon.log());
    assert!(text(&daemon.ask("www.example", Rtype::A)).contains("192.0.2.1"));
    assert_eq!(first.times_asked("www.example"), 1, "nobody was asked again");
    let directory = end(daemon);
    // Other upstreams: what these said is theirs.
    let daemon = Daemon::start_in(directory, &config(second.address, true), &[]);
    daemon.ask("www.example", Rtype::A);
    assert_eq!((first.times_asked("www.example"), second.times_asked("www.example")), (1, 1));
}

#[test]
fn a_damaged_file_is_dropped_with_a_warning_and_nothing_is_saved_unasked() {
    let upstream = upstream();
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir_all(directory.path().join("state")).expect("a directory");
    std::fs::write(file(directory.path()), "hubdns response cache\nrubbish, and more than a digest of it")
        .unwrap();
    let daemon = Daemon::start_in(directory, &config(upstream.address, true), &[]);
    assert!(daemon.log().contains("saved response cache dropped"), "{}", daemon.log());
    assert!(!file(daemon.directory.path()).exists());
    let directory = end(daemon);
    assert!(file(directory.path()).exists(), "an empty one is saved too");
    std::fs::remove_file(file(directory.path())).unwrap();
    let daemon = Daemon::start_in(directory, &config(upstream.address, false), &[]);
    daemon.ask("www.example", Rtype::A);
    let directory = end(daemon);
    assert!(!file(directory.path()).exists());
}
