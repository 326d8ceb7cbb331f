//! System calls of a loaded worker: the batches and nothing else.
//!
//! Needs strace and the right to trace a thread of this process; skipped, and
//! loudly, without them.

mod common;

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use common::estate::query;
use common::load::bursts;
use common::serving::Serving;
use hubdns::wire::Rtype;

const PACKETS: usize = 40_000;

#[test]
fn a_packet_costs_its_share_of_two_batches_and_no_call_more() {
    let server = Serving::on("127.0.0.1:0");
    let query = query("contoso.azurecr.io", Rtype::A, 0x0100, Some(1232));
    assert_eq!(bursts(server.address(), &query, 100, 10, 1).answered, 100);
    let table = std::env::temp_dir().join(format!("hubdns-strace-{}", std::process::id()));
    let Some(mut strace) = attach(thread_named("udp-0"), &table) else {
        eprintln!("SKIPPED: strace is missing or must not trace this process");
        return;
    };
    let report = bursts(server.address(), &query, PACKETS, 200, 10);
    let interrupted = Command::new("kill").args(["-INT", &strace.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    strace.wait().unwrap();
    let calls = read_table(&std::fs::read_to_string(&table).unwrap());
    std::fs::remove_file(&table).unwrap();
    assert_eq!(report.answered, PACKETS);
    let batches = calls.get("recvmmsg").unwrap_or(&0) + calls.get("sendmmsg").unwrap_or(&0);
    println!("{batches} batches for {PACKETS} packets (2/32 would be {}); {calls:?}", PACKETS / 16);
    assert!(batches > 0, "the worker was traced: {calls:?}");
    // A quarter more for batches that were not full: 2/32 is what full ones come to.
    assert!(batches < PACKETS * 5 / 64, "{batches} batches for {PACKETS} packets: {calls:?}");
    let waits = calls.get("epoll_wait").unwrap_or(&0) + calls.get("epoll_pwait").unwrap_or(&0);
    let others: usize = calls.values().sum::<usize>() - batches - waits;
    // restart_syscall and the like, as the tracer comes and goes.
    assert!(others <= 4 && waits < PACKETS / 50, "{calls:?}");
}

/// The id of the thread with that name.
fn thread_named(name: &str) -> u32 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
    let mut named = tasks
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
