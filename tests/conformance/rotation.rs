//! Server cookies of a fleet (RFC 7873, 9018): one secret for several servers,
//! a new one by a reload, and clients that are held to it.

use std::path::Path;

use crate::ask::{Ask, ask};
use crate::carrier::{tcp, udp};
use crate::common::peer::find;
use crate::daemon::Daemon;
use crate::expect::{Got, check};
use crate::reply::Reply;
use crate::script;
use crate::world::{config, zone};

const UDP: bool = true;
const TCP: bool = false;
const FIRST: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
const SECOND: &str = "445536bcd2513298075a5d379663c962";

fn start(directory: tempfile::TempDir, upstream: std::net::SocketAddr, secret: &str, mode: &str) -> Daemon {
    let path = directory.path();
    std::fs::write(path.join("corp.example.zone"), zone()).expect("a zone");
    std::fs::write(path.join("secret"), secret).expect("a secret");
    let edns = format!("nsid = \"x\"\ncookies = \"{mode}\"\ncookie_secret_file = \"secret\"\n");
    let text = config(upstream, "").replace("nsid = \"conformance\"\n", &edns);
    Daemon::start_in(directory, &text, &[])
}

/// Asks by UDP or TCP.
fn put(daemon: &Daemon, is_udp: bool, words: &str, cookie: &[u8], expected: &str) -> Option<Reply> {
    let ask: Ask = ask(words, 77, cookie);
    let exchange = if is_udp { udp } else { tcp };
    let got: Got = exchange(daemon.dns, &ask.bytes, false);
    check(expected, &ask, &got, is_udp, || 0).unwrap_or_else(|why| panic!("{words}: {why}"))
}

fn server_cookie(reply: Option<Reply>) -> Vec<u8> {
    reply.expect("a reply").options(10)[0][8..].to_vec()
}

fn reload(daemon: &Daemon) {
    let output = daemon.cli(&["reload"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn metric(daemon: &Daemon, result: &str) -> u64 {
    let text = daemon.http("/metrics").expect("metrics").body;
    let start = format!("hubdns_cookies_total{{result=\"{result}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&start)).expect(&start).parse().expect("a number")
}

const QUESTION: &str = "www.corp.example A cookie=0102030405060708";

#[test]
fn rfc9018_5_servers_of_one_secret_take_each_others_cookies_and_rotate() {
    let upstream = script::start();
    let directory = || tempfile::tempdir().expect("a temporary directory");
    let one = start(directory(), upstream.address, FIRST, "require");
    let two = start(directory(), upstream.address, &format!("{SECOND}\n{FIRST}\n"), "require");
    let given = server_cookie(put(&one, UDP, QUESTION, &[], "BADCOOKIE an=0 cookie echo"));
    put(&one, UDP, &format!("{QUESTION}+last"), &given, "NOERROR an=2 cookie");
    // The second already makes cookies by the next secret, and takes these.
    let renewed = server_cookie(put(&two, UDP, &format!("{QUESTION}+last"), &given, "NOERROR an=2 cookie"));
    assert_ne!(renewed, given);
    put(&one, UDP, &format!("{QUESTION}+last"), &renewed, "BADCOOKIE an=0 cookie");
    std::fs::write(one.directory.path().join("secret"), format!("{SECOND}\n{FIRST}\n")).expect("written");
    reload(&one);
    put(&one, UDP, &format!("{QUESTION}+last"), &renewed, "NOERROR an=2 cookie");
    put(&one, UDP, &format!("{QUESTION}+last"), &given, "NOERROR an=2 cookie");
    std::fs::write(one.directory.path().join("secret"), SECOND).expect("written");
    reload(&one);
    put(&one, UDP, &format!("{QUESTION}+last"), &given, "BADCOOKIE an=0 cookie");
    assert!(metric(&one, "valid") >= 3 && metric(&one, "missing") == 1 && metric(&one, "bad") == 2);
    for daemon in [&one, &two] {
        let told = daemon.log() + &daemon.http("/metrics").expect("metrics").body;
        assert!(!told.contains(FIRST) && !told.contains(SECOND), "{told}");
    }
}

#[test]
fn rfc7873_5_2_clients_without_a_good_cookie_are_sent_to_tcp_where_one_is_required() {
    let upstream = script::start();
    let daemon = start(tempfile::tempdir().expect("a directory"), upstream.address, FIRST, "require");
    for words in ["www.corp.example A", "www.corp.example A edns", "{n}.a.foreign.example A"] {
        put(&daemon, UDP, words, &[], "NOERROR tc an=0 echo");
        put(&daemon, TCP, words, &[], "NOERROR !tc an>=1 echo");
    }
    put(&daemon, TCP, QUESTION, &[], "NOERROR an=2 cookie");
    let given = server_cookie(put(&daemon, UDP, QUESTION, &[], "BADCOOKIE cookie"));
    let bad = format!("{QUESTION}+bad");
    put(&daemon, UDP, &bad, &given, "BADCOOKIE cookie an=0");
    put(&daemon, TCP, &bad, &given, "NOERROR cookie an=2");
    let foreign = "new.a.foreign.example A cookie=0102030405060708";
    put(&daemon, UDP, foreign, &[], "BADCOOKIE cookie an=0");
    assert_eq!(upstream.times_asked("new.a.foreign.example"), 0, "nobody is asked for it");
    put(&daemon, UDP, &format!("{foreign}+last"), &given, "NOERROR cookie an=1");
}

#[test]
fn cookies_that_are_off_are_an_unknown_option() {
    let upstream = script::start();
    let daemon = start(tempfile::tempdir().expect("a directory"), upstream.address, FIRST, "off");
    for is_udp in [UDP, TCP] {
        put(&daemon, is_udp, QUESTION, &[], "NOERROR an=2 opt !option=10");
        put(&daemon, is_udp, "www.corp.example A option=10:0102", &[], "NOERROR an=2 opt !option=10");
        put(&daemon, is_udp, "- cookie=0102030405060708", &[], "FORMERR opt !option=10");
    }
}

#[test]
fn a_secret_that_is_none_is_told_without_being_shown() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("written");
    write("secret", "c0ffee-is-no-secret");
    write("hubdns.toml", "[edns]\ncookie_secret_file = \"secret\"\nnsid = \"");
    let config = directory.path().join("hubdns.toml");
    let check = |text: &str| {
        write("hubdns.toml", text);
        let output = crate::daemon::hubdns().args(["check", "--config"]).arg(&config).output().expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, told) = check("[edns]\ncookie_secret_file = \"secret\"\n");
    assert_eq!(code, Some(78), "{told}");
    assert!(
        told.contains("hubdns.toml:2: edns.cookie_secret_file") && told.contains("32 hexadecimal"),
        "{told}"
    );
    assert!(!told.contains("c0ffee"), "{told}");
    let (code, told) = check(&format!("[edns]\nnsid = \"{}\"\n", "n".repeat(65)));
    assert!(code == Some(78) && told.contains("edns.nsid"), "{told}");
    assert!(Path::new(&config).exists());
}

/// What a tool prints, asked over UDP with these arguments.
fn tool(name: &str, daemon: &Daemon, arguments: &[&str]) -> Option<String> {
    let output = std::process::Command::new(find(name)?)
        .args(["@127.0.0.1", "-p", &daemon.dns.port().to_string(), "www.corp.example", "A"])
        .args(arguments)
        .output()
        .expect("the tool runs");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn dig_and_kdig_take_our_cookies_and_come_back_with_them() {
    let upstream = script::start();
    for mode in ["answer", "require"] {
        let daemon = start(tempfile::tempdir().expect("a directory"), upstream.address, FIRST, mode);
        if let Some(told) = tool("dig", &daemon, &["+cookie", "+nsid"]) {
            assert!(told.contains("status: NOERROR") && told.contains("10.1.0.1"), "{mode}: {told}");
            assert!(told.contains("(good)") && told.contains("NSID: 78"), "{mode}: {told}");
            assert!(!told.contains("(TCP)"), "{mode}: {told}");
        }
        if let Some(told) = tool("kdig", &daemon, &["+cookie", "+badcookie", "+nsid"]) {
            assert!(told.contains("status: NOERROR") && told.contains("10.1.0.1"), "{mode}: {told}");
            assert!(told.contains("COOKIE") && !told.contains("WARNING"), "{mode}: {told}");
        }
        assert_eq!(metric(&daemon, "bad"), 0, "{mode}");
    }
}
