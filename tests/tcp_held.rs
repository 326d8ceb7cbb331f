//! TCP connections that are many, silent, torn off, or come when there is no
//! descriptor left for them.

mod common;
#[path = "common/daemon.rs"]
mod daemon;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use common::estate::{query, text};
use common::serving::{Serving, closed, config};
use common::stream::{next, next_id};
use common::upstream::{Act, Upstream};
use daemon::{Daemon, PATIENCE};
use hubdns::metrics::Exporter;
use hubdns::wire::Rtype;

const HELD: &str = "contoso.privatelink.azurecr.io";
const HELD_ANSWER: &str = "NOERROR aa | contoso.privatelink.azurecr.io 10 A 10.0.0.5 | ";
/// Connections that are held at the same time.
const MANY: u16 = 1000;
/// Descriptors that they take at one end, and what else is open.
const FILES: u64 = 1500;
/// How long a listener is left alone after an error, in milliseconds.
const PAUSE: u128 = 50;

/// A framed query with that id.
fn ask(id: u16, qname: &str) -> Vec<u8> {
    let mut message = query(qname, Rtype::A, 0x0100, None);
    message[..2].copy_from_slice(&id.to_be_bytes());
    [&(message.len() as u16).to_be_bytes()[..], &message].concat()
}

/// The sum of the metrics whose lines begin so.
fn sum(text: &str, start: &str) -> u64 {
    let lines = text.lines().filter(|line| line.starts_with(start));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

fn metric(server: &Serving, start: &str) -> u64 {
    let mut exporter = Exporter::default();
    server.running().metrics().export(&mut exporter);
    sum(&exporter.encode(), start)
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How many descriptors the process may have.
fn files(process: u32) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a limit");
    line.split_whitespace().next().unwrap().parse().unwrap_or(1 << 20)
}

/// Sets that; whether it could be.
fn limit_files(process: u32, most: u64) -> bool {
    let (process, limit) = (process.to_string(), format!("--nofile={most}:"));
    let set = Command::new("prlimit").args(["--pid", &process, &limit]).status();
    let done = set.is_ok_and(|status| status.success());
    if !done {
        eprintln!("SKIPPED: prlimit is missing or must not set {most} descriptors");
    }
    done
}

/// A daemon that answers `localhost` and would forward to nobody.
fn daemon(workers: &str) -> Daemon {
    let upstream = closed();
    let toml = format!(
        "[[upstreams]]\nname = \"none\"\naddresses = [\"{upstream}\"]\n[forward]\ndefault = \"none\"\n\
         [tcp]\nidle_timeout_seconds = 300\nmax_connections = {MANY}\nmax_connections_per_client = {MANY}\n"
    );
    Daemon::start_in(tempfile::tempdir().unwrap(), &toml, &[("HUBDNS_WORKERS", workers)])
}

fn connect(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(daemon.dns).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn metrics(daemon: &Daemon) -> String {
    daemon.http("/metrics").expect("metrics").body
}

#[test]
fn a_thousand_connections_are_held_and_served() {
    let mut daemon = daemon("2");
    for process in [std::process::id(), daemon.process()] {
        if files(process) < FILES && !limit_files(process, FILES) {
            return;
        }
    }
    let mut clients: Vec<TcpStream> = Vec::new();
    for id in 0..MANY {
        let mut client = connect(&daemon);
        client.write_all(&ask(id, "localhost")).unwrap();
        assert_eq!(next_id(&mut client), id);
        clients.push(client);
    }
    assert_eq!(sum(&metrics(&daemon), "hubdns_tcp_connections "), u64::from(MANY));
    let mut one_too_many = connect(&daemon);
    // It may be closed before it has written, and is reset then.
    let _ = one_too_many.write_all(&ask(1, "localhost"));
    match one_too_many.read(&mut [0; 1]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("admitted beyond the limit: {other:?}"),
    }
    for (id, client) in (0..MANY).zip(&mut clients).rev() {
        client.write_all(&ask(id, "localhost")).unwrap();
    }
    for (id, client) in (0..).zip(&mut clients) {
        assert_eq!(next_id(client), id);
    }
    drop(clients);
    let closed = "hubdns_tcp_connections_closed_total{reason=\"client\"}";
    daemon.wait_until("all are gone", |daemon| sum(&metrics(daemon), closed) == u64::from(MANY));
    let text = metrics(&daemon);
    assert_eq!(sum(&text, "hubdns_tcp_connections "), 0);
    assert_eq!(sum(&text, "hubdns_tcp_connections_rejected_total{reason=\"total\"}"), 1);
}

/// How often the daemon's TCP thread has gone to sleep.
fn sleeps(daemon: &Daemon) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.process())).unwrap();
    let mut statuses =
        tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).ok());
    let status = statuses.find(|status| status.starts_with("Name:\ttcp-0\n")).expect("its thread");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.expect("a count").trim().parse().unwrap()
}

#[test]
fn without_descriptors_a_listener_pauses_and_comes_back() {
    let mut daemon = daemon("1");
    let before = files(daemon.process());
    // Standard input, output and errors are open: no other descriptor may be opened.
    if !limit_files(daemon.process(), 3) {
        return;
    }
    let since = Instant::now();
    let mut client = connect(&daemon);
    client.write_all(&ask(5, "localhost")).unwrap();
    let slept = sleeps(&daemon);
    daemon.wait_until("it has tried some times", |daemon| sleeps(daemon) >= slept + 8);
    daemon.ask("localhost", Rtype::A);
    assert!(limit_files(daemon.process(), before));
    let tried_for = since.elapsed().as_millis();
    assert_eq!(next_id(&mut client), 5, "served when there are descriptors again");
    let errors = sum(&metrics(&daemon), "hubdns_socket_errors_total{operation=\"accept\"");
    assert!(errors >= 2, "{errors} errors");
    let most = tried_for / PAUSE + 2;
    assert!(
        u128::from(errors) <= most,
        "{errors} errors in {tried_for} ms, of which there should be one in {PAUSE}"
    );
    // The same thread accepts as before.
    let mut client = connect(&daemon);
    client.write_all(&ask(6, "localhost")).unwrap();
    assert_eq!(next_id(&mut client), 6);
}

#[test]
fn a_connection_that_is_silent_at_first_is_served_when_it_asks() {
    let server = Serving::on("127.0.0.1:0");
    let mut silent = server.connect();
    // The kernel keeps it for a while, then hands it over as it is.
    wait_until("it is accepted", || metric(&server, "hubdns_tcp_connections ") == 1);
    for id in [1, 2] {
        silent.write_all(&ask(id, HELD)).unwrap();
        let answer = next(&mut silent);
        assert_eq!((answer[1], text(&answer)), (id as u8, HELD_ANSWER.to_owned()));
    }
    drop(silent);
    let closed = "hubdns_tcp_connections_closed_total{reason=\"client\"}";
    wait_until("it is gone", || metric(&server, closed) == 1);
    assert_eq!(metric(&server, "hubdns_tcp_connections "), 0);
}

#[test]
fn a_connection_that_is_torn_off_frees_its_place_and_its_answer_reaches_nobody() {
    const TIMES: u64 = 5;
    let upstream = Upstream::start(|asked| {
        let response = asked.reply(0, &format!("{} 300 A 192.0.2.1", asked.qname), "");
        Act::Hold(response)
    });
    let mut config = config(&["127.0.0.1:0"], upstream.address);
    config.tcp.max_connections = 1;
    // So that nothing is awaited of the connection while its query is in flight.
    config.tcp.max_queries_per_connection = 1;
    let server = Serving::start(config);
    for nth in 1..=TIMES {
        let mut torn = server.connect();
        torn.write_all(&ask(1, &format!("slow{nth}.example"))).unwrap();
        upstream.wait(|seen| seen.len() as u64 == nth);
        // Closed at once and without a word, as by a client that crashed.
        socket2::SockRef::from(&torn).set_linger(Some(Duration::ZERO)).unwrap();
        drop(torn);
        wait_until("its place is free", || metric(&server, "hubdns_tcp_connections ") == 0);
    }
    let mut next_in_its_place = server.connect();
    next_in_its_place.write_all(&ask(7, HELD)).unwrap();
    assert_eq!(next_id(&mut next_in_its_place), 7);
    upstream.release();
    let gone = "hubdns_queries_dropped_total{reason=\"client_gone\"}";
    wait_until("the late answers have come", || metric(&server, gone) == TIMES);
    next_in_its_place.write_all(&ask(8, HELD)).unwrap();
    assert_eq!(next_id(&mut next_in_its_place), 8, "and none of them here");
    assert_eq!(metric(&server, "hubdns_tcp_connections_closed_total{reason=\"error\"}"), TIMES);
}
