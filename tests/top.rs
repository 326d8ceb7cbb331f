//! `hubdns top` against a running daemon.

#[path = "common/daemon.rs"]
mod daemon;

use daemon::Daemon;
use hubdns::wire::Rtype;
use serde_json::Value;

const CONFIG: &str = r#"
[[sources.static]]
name = "contoso.azurecr.io"
type = "A"
values = ["10.1.2.3"]

[[upstreams]]
name = "silent"
addresses = ["127.0.0.1:9"]

[[forward.budget.upstreams]]
address = "127.0.0.1:9"
queries_per_second = 1000

[forward]
default = "silent"
"#;

fn stdout(output: &std::process::Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[test]
fn one_page_tells_of_upstreams_and_budgets() {
    let daemon = Daemon::start(CONFIG);
    for name in ["contoso.azurecr.io", "a.example", "b.example", "c.example", "d.example"] {
        daemon.ask(name, Rtype::A);
    }
    let page = stdout(&daemon.cli(&["top", "--once"]));
    assert!(page.starts_with("queries/s  "), "{page}");
    for word in ["held", "cached", "UPSTREAM", "BUDGET", "127.0.0.1:9", "down (unreachable)", "/1000"] {
        assert!(page.contains(word), "{word} is not in\n{page}");
    }
    assert!(!page.contains('\u{1b}'), "no sequences where no terminal is: {page:?}");
}

#[test]
fn json_is_an_object_a_line() {
    let daemon = Daemon::start(CONFIG);
    daemon.ask("contoso.azurecr.io", Rtype::A);
    daemon.ask("a.example", Rtype::A);
    let text = stdout(&daemon.cli(&["top", "--once", "--json"]));
    assert_eq!(text.lines().count(), 1, "{text}");
    let top: Value = serde_json::from_str(&text).expect("JSON");
    let outcome = |name: &str| {
        let rows = top["outcomes"].as_array().expect("rows");
        rows.iter().find(|row| row["outcome"] == name).expect("an outcome")["queries"].clone()
    };
    assert_eq!((outcome("held"), outcome("error"), outcome("cached")), (1.into(), 1.into(), 0.into()));
    assert_eq!(top["upstreams"][0]["upstream"], "127.0.0.1:9");
    assert_eq!(top["budgets"][0]["rate_limit"], 1000);
    assert_eq!(top["per_second"].as_array().expect("rates").len(), 5);
}

#[test]
fn a_daemon_that_is_not_there_is_told() {
    let output = daemon::hubdns()
        .args(["top", "--control-socket", "/nonexistent/socket"])
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot ask the daemon"), "{output:?}");
}
