//! System calls of a loaded server, counted by the kernel's own tracer: the
//! batches, the connections, and nothing else.
//!
//! The daemon is stopped while its work is queued, so that what it finds is the
//! same every time, however busy the machine is. Needs strace and the right to
//! trace another process; skipped, and loudly, without them.

mod common;
#[path = "common/daemon.rs"]
mod daemon;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::estate::query;
use common::load::bound_client;
use common::serving::{closed, has_ipv6};
use daemon::{Daemon, PATIENCE};
use hubdns::socket::BATCH_LEN;
use hubdns::wire::Rtype;

const ROUNDS: usize = 20;
/// Full batches that fit into the smallest receive buffer that systems have.
const BATCHES: usize = 4;
/// Connections that wait when the daemon comes back.
const CONNECTIONS: usize = 100;

/// A daemon on `listen` that answers `localhost` and would forward to nobody.
fn start(listen: &str) -> Daemon {
    let upstream = closed();
    let toml = format!(
        "[[upstreams]]\nname = \"none\"\naddresses = [\"{upstream}\"]\n[forward]\ndefault = \"none\"\n\
         [tcp]\nidle_timeout_seconds = 300\n"
    );
    Daemon::start_in(tempfile::tempdir().unwrap(), &toml, &[("HUBDNS_LISTEN", listen)])
}

fn localhost() -> Vec<u8> {
    query("localhost", Rtype::A, 0x0100, Some(1232))
}

/// Does `work` while the daemon is stopped, and lets it go on.
fn while_stopped(daemon: &Daemon, work: impl FnOnce()) {
    let thread = thread_named(daemon, "udp-0");
    daemon.signal("STOP");
    let stat = format!("/proc/{}/task/{thread}/stat", daemon.process());
    let since = Instant::now();
    // The state behind the name: stopped, or stopped under a tracer.
    let is_stopped = || {
        let text = std::fs::read_to_string(&stat).unwrap();
        text.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
    };
    while !is_stopped() {
        assert!(since.elapsed() < PATIENCE, "it does not stop");
        std::thread::yield_now();
    }
    work();
    daemon.signal("CONT");
}

#[test]
fn a_packet_costs_its_share_of_two_full_batches_and_no_call_more() {
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        if listen.starts_with("127") || has_ipv6() {
            a_packet_costs_its_share_on(listen);
        }
    }
}

fn a_packet_costs_its_share_on(listen: &str) {
    let daemon = start(listen);
    let client = bound_client(daemon.dns);
    let packets = BATCHES * BATCH_LEN;
    let message = localhost();
    let mut buf = [0; 4096];
    let Some(calls) = traced(&daemon, "udp-0", || {
        for _ in 0..ROUNDS {
            while_stopped(&daemon, || {
                for _ in 0..packets {
                    client.send(&message).unwrap();
                }
            });
            for at in 0..packets {
                client.recv(&mut buf).unwrap_or_else(|error| panic!("answer {at}: {error}"));
            }
        }
    }) else {
        return;
    };
    let count = |name: &str| *calls.get(name).unwrap_or(&0);
    let waits = count("epoll_wait") + count("epoll_pwait");
    let (received, sent) = (count("recvmmsg"), count("sendmmsg"));
    println!("{listen}, {} packets: {calls:?}", ROUNDS * packets);
    assert_eq!(sent, ROUNDS * BATCHES, "one call for each full batch: {calls:?}");
    // One more look, that finds nothing, before each wait.
    assert!((ROUNDS * BATCHES..=ROUNDS * (BATCHES + 1) + 1).contains(&received), "{calls:?}");
    // One wait in a round, and one that the signal interrupts.
    assert!(waits <= 2 * ROUNDS + 2, "{calls:?}");
    // restart_syscall and the like, as the tracer comes and goes.
    let others = calls.values().sum::<usize>() - received - sent - waits;
    assert!(others <= 4, "{calls:?}");
}

#[test]
fn a_connection_of_one_query_costs_accept_read_write_read_and_close() {
    let daemon = start("127.0.0.1:0");
    let message = localhost();
    let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
    let Some(calls) = traced(&daemon, "tcp-0", || {
        for _ in 0..ROUNDS {
            let mut clients = Vec::new();
            while_stopped(&daemon, || {
                clients.extend((0..CONNECTIONS).map(|_| {
                    let mut client = TcpStream::connect(daemon.dns).unwrap();
                    client.write_all(&framed).unwrap();
                    // As a client that closes does, which need not be awaited.
                    client.shutdown(Shutdown::Write).unwrap();
                    client
                }));
            });
            for client in &mut clients {
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut answer = Vec::new();
                client.read_to_end(&mut answer).unwrap();
                assert_eq!(answer[2..4], message[..2]);
            }
        }
    }) else {
        return;
    };
    let count = |names: &[&str]| names.iter().filter_map(|name| calls.get(*name)).sum::<usize>();
    println!("{} connections: {calls:?}", ROUNDS * CONNECTIONS);
    let connections = ROUNDS * CONNECTIONS;
    assert_eq!(count(&["recvfrom", "read"]), 2 * connections, "the query and the end: {calls:?}");
    assert_eq!(count(&["sendto", "write"]), connections, "{calls:?}");
    assert_eq!(count(&["close"]), connections, "{calls:?}");
    // At the end of a round it is looked in vain for more, and the last few come alone.
    let few = connections / 10;
    assert!((connections..=connections + few).contains(&count(&["accept4"])), "{calls:?}");
    assert!(count(&["epoll_ctl"]) <= few, "{calls:?}");
    // Passes of 1, 2, 4, ... connections, and what is lost to signals.
    assert!(count(&["epoll_wait", "epoll_pwait"]) <= connections / 4, "{calls:?}");
    // fcntl: the standard library checks descriptors as it closes them, in debug builds.
    let known = [
        "fcntl",
        "recvfrom",
        "read",
        "sendto",
        "write",
        "close",
        "accept4",
        "epoll_ctl",
        "epoll_wait",
        "epoll_pwait",
    ];
    assert!(calls.values().sum::<usize>() - count(&known) <= few, "{calls:?}");
}

#[test]
fn idle_tcp_threads_make_no_system_calls() {
    let daemon = start("127.0.0.1:0");
    let message = localhost();
    let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
    let mut open = TcpStream::connect(daemon.dns).unwrap();
    open.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut exchange = || {
        open.write_all(&framed).unwrap();
        let mut len = [0; 2];
        open.read_exact(&mut len).unwrap();
        open.read_exact(&mut vec![0; usize::from(u16::from_be_bytes(len))]).unwrap();
    };
    // One that has ended, and one that stays and is silent.
    daemon.ask_tcp("localhost", Rtype::A);
    exchange();
    // Several times, since there is no telling when the last call of the work before is made.
    let mut seen = Vec::new();
    while seen.len() < 5 {
        // Longer than a tick of its timeouts: only time can show that nothing happens.
        let Some(calls) = traced(&daemon, "tcp-0", || std::thread::sleep(Duration::from_millis(700))) else {
            return;
        };
        let all = calls.values().sum::<usize>();
        seen.push(calls);
        // The wait that the tracer interrupts, as it comes and as it goes.
        if all <= 2 {
            exchange();
            return;
        }
    }
    panic!("an idle thread calls the kernel: {seen:?}");
}

/// The system calls of the daemon's thread of that name while `work` is done,
/// by name; nothing where it must not be traced.
fn traced(daemon: &Daemon, thread: &str, work: impl FnOnce()) -> Option<HashMap<String, usize>> {
    let table = daemon.directory.path().join("strace");
    let Some(mut strace) = attach(thread_named(daemon, thread), &table) else {
        eprintln!("SKIPPED: strace is missing or must not trace another process");
        return None;
    };
    work();
    let interrupted = Command::new("kill").args(["-INT", &strace.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    strace.wait().unwrap();
    Some(read_table(&std::fs::read_to_string(&table).unwrap()))
}

/// The id of the daemon's thread with that name.
fn thread_named(daemon: &Daemon, name: &str) -> u32 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.process())).unwrap();
    let mut named = tasks
        .map(|entry| entry.unwrap().path())
        .filter(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name));
    let task = named.next().expect("a worker");
    task.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

/// Starts strace on a thread and waits until it is attached.
fn attach(thread: u32, table: &std::path::Path) -> Option<Child> {
    let mut strace = Command::new("strace")
        .args(["-c", "-o"])
        .arg(table)
        .args(["-p", &thread.to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let mut line = String::new();
    let told =
        BufReader::new(strace.stderr.as_mut()?).read_line(&mut line).is_ok_and(|_| line.contains("attached"));
    if !told {
        eprintln!("strace: {line}");
        let _ = strace.wait();
        return None;
    }
    Some(strace)
}

/// Calls by name, from the table that `strace -c` writes.
fn read_table(text: &str) -> HashMap<String, usize> {
    let rows = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, calls, .., name] = words.as_slice() else { return None };
        Some(((*name).to_owned(), calls.parse().ok()?)).filter(|(name, _)| name != "total")
    });
    rows.collect()
}
