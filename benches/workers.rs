//! What packet workers share: nothing that one of them writes, and so they
//! are as fast side by side as alone.
//!
//! 1. Traced by valgrind's lackey, two handlers answer the same batches, each on
//!    a thread of its own. Fails if a cache line that one of them writes is read
//!    or written by the other. Handlers, batches and counters are made by one
//!    thread, in turn: no luck of the allocator keeps them apart.
//! 2. The same on one and on two cores of this machine, without a tool: messages
//!    per second and per second of CPU time, several rounds, with their spread.
//!    Tells, and fails for nothing: the machine may be busy with other work.
//!
//! `cargo bench --bench workers`. Without valgrind the first part is skipped,
//! which is said, or fails with `HUBDNS_REQUIRE_PEERS`.

mod common;

use std::collections::{HashMap, HashSet};
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, OnceLock};
use std::time::{Duration, Instant};

use common::questions;
use common::workers::{V4, V6, Workers};
use hubdns::serve::udp::Handler;
use hubdns::socket::{BATCH_LEN, Batch, UdpSocket, allowed_cores, pin};

/// Set for the process that is traced.
const TRACED: &str = "HUBDNS_BENCH_TRACED";
/// Owner names where it is traced: few, so that it soon begins.
const FEW: usize = 256;
/// How often each handler has its turn while it is traced. A line is shared that is so
/// every time: another thread of the process may wake up once.
const LAPS: usize = 2;
/// Bytes of a cache line.
const LINE: u64 = 64;
/// Owner names that are asked for at full speed.
const SIZES: [usize; 2] = [2_000, 100_000];
/// Rounds at full speed, and how long each part of one takes.
const ROUNDS: usize = 15;
const PART: Duration = Duration::from_millis(200);
/// Different questions of each worker.
const QUESTIONS: usize = 1024;

/// Written as a handler's turn begins and as it ends, for the trace.
#[repr(align(128))]
struct Mark(AtomicU64);
static MARK: Mark = Mark(AtomicU64::new(0));
/// Written in every turn: a line that is shared, which the trace must tell.
static DECOY: Mark = Mark(AtomicU64::new(0));

/// Answers one batch of `asked`.
fn one_batch(
    handler: &mut Handler,
    batch: &mut Batch,
    socket: &Arc<UdpSocket>,
    asked: &[Vec<u8>],
    peer: SocketAddr,
) {
    batch.reset();
    for question in asked {
        batch.place(question, peer);
    }
    handler.batch(1, socket, batch);
    black_box(batch.queued());
}

/// The process that is traced: tells where the mark is, waits until that is
/// known, and lets the handlers answer, one after the other.
fn traced() {
    let mut workers = Workers::new(FEW, 2);
    let made: Vec<_> = (0..2).map(|_| (workers.handler(), Batch::new(BATCH_LEN))).collect();
    println!("{} {}", (&raw const MARK).addr(), (&raw const DECOY).addr());
    std::io::stdin().read_line(&mut String::new()).expect("a line");
    let (done, is_done) = channel();
    let turns: Vec<_> = made
        .into_iter()
        .map(|(mut handler, mut batch)| {
            let (turn, turns) = channel::<()>();
            let (done, socket) = (done.clone(), Arc::clone(&workers.socket));
            let batches: Vec<(SocketAddr, Vec<Vec<u8>>)> = [V4, V6]
                .into_iter()
                .flat_map(|peer| {
                    // What is answered from the snapshot, and what is rejected.
                    [0, 1, 2, 5].map(|kind| {
                        let asked = (0..BATCH_LEN).map(|index| questions(index)[kind].1.clone());
                        (peer.parse().expect("an address"), asked.collect())
                    })
                })
                .collect();
            let work = move || {
                for () in turns {
                    MARK.0.store(1, Ordering::SeqCst);
                    DECOY.0.fetch_add(1, Ordering::SeqCst);
                    for (peer, asked) in &batches {
                        one_batch(&mut handler, &mut batch, &socket, asked, *peer);
                    }
                    MARK.0.store(0, Ordering::SeqCst);
                    done.send(()).expect("somebody waits");
                }
            };
            (turn, std::thread::spawn(work))
        })
        .collect();
    for _ in 0..=LAPS {
        for (turn, _) in &turns {
            turn.send(()).expect("it waits for its turn");
            is_done.recv().expect("it is done");
        }
    }
    // Only now may a stack end that the other could have taken over.
    for (turn, thread) in turns {
        drop(turn);
        thread.join().expect("no panic");
    }
}

/// The cache lines that were touched in a turn.
#[derive(Default)]
struct Touched {
    written: HashSet<u64>,
    read: HashSet<u64>,
}

/// The turns in what lackey writes, of a process that is being traced now.
fn turns(trace: impl BufRead, places: &OnceLock<[u64; 2]>) -> Vec<Touched> {
    let (mut marks, mut found) = (0usize, Vec::new());
    for line in trace.split(b'\n').map_while(Result::ok) {
        // ` S 1ffeffe7e,8`: a load, a store or both (M), not the instructions (`I  ...`).
        let [b' ', kind @ (b'L' | b'S' | b'M'), b' ', rest @ ..] = &line[..] else { continue };
        let Some(&[mark, _]) = places.get() else { continue };
        let text = String::from_utf8_lossy(rest);
        let Some((address, len)) = text.split_once(',') else { continue };
        let (Ok(address), Ok(len)) = (u64::from_str_radix(address, 16), len.trim().parse::<u64>()) else {
            continue;
        };
        if address == mark {
            if *kind != b'L' {
                marks += 1;
                if !marks.is_multiple_of(2) {
                    found.push(Touched::default());
                }
            }
            continue;
        }
        let Some(turn) = found.last_mut().filter(|_| !marks.is_multiple_of(2)) else { continue };
        let lines = address / LINE..=(address + len.max(1) - 1) / LINE;
        let set = if *kind == b'L' { &mut turn.read } else { &mut turn.written };
        set.extend(lines);
    }
    // In the first turn of each, names were asked for that had not been before: those are marked.
    found.split_off(2.min(found.len()))
}

/// Traces itself; whether no line that one handler writes is touched by the other.
fn share_nothing() -> bool {
    let mut child = Command::new("valgrind")
        .args(["--tool=lackey", "--trace-mem=yes", "--basic-counts=no"])
        .arg(std::env::current_exe().expect("this program"))
        .env(TRACED, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("valgrind runs");
    let places = OnceLock::new();
    let (out, mut go) = (child.stdout.take().expect("piped"), child.stdin.take().expect("piped"));
    let trace = BufReader::with_capacity(1 << 20, child.stderr.take().expect("piped"));
    let turns = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut line = String::new();
            BufReader::new(out).read_line(&mut line).expect("an address");
            let (mark, decoy) = line.trim().split_once(' ').expect("two addresses");
            places.set([mark, decoy].map(|place| place.parse().expect("a number"))).expect("once");
            writeln!(go, "go").expect("it waits for that");
        });
        turns(trace, &places)
    });
    assert!(child.wait().expect("a child").success(), "the traced process failed");
    assert_eq!(turns.len(), 2 * LAPS, "turns that were seen");
    let mut shared: HashMap<u64, usize> = HashMap::new();
    for lap in turns.chunks(2) {
        let [first, second] = lap else { continue };
        assert!(first.written.len() > BATCH_LEN && second.written.len() > BATCH_LEN, "nothing was done");
        let theirs = |of: &Touched, other: &Touched| -> HashSet<u64> {
            let is_touched = |line: &&u64| other.written.contains(line) || other.read.contains(line);
            of.written.iter().filter(is_touched).copied().collect()
        };
        for line in theirs(first, second).union(&theirs(second, first)) {
            *shared.entry(*line).or_default() += 1;
        }
    }
    let [.., first, second] = &turns[..] else { return false };
    let both_read = first.read.intersection(&second.read).count();
    println!(
        "lines of {} messages: written by the first {}, by the second {}, read by both {both_read}",
        8 * BATCH_LEN,
        first.written.len(),
        second.written.len()
    );
    let mut lines: Vec<u64> = shared.into_iter().filter(|(_, laps)| *laps == LAPS).map(|(l, _)| l).collect();
    lines.sort_unstable();
    let decoy = places.get().map(|[_, decoy]| decoy / LINE);
    let all = lines.len();
    lines.retain(|line| Some(*line) != decoy);
    assert_eq!(lines.len() + 1, all, "the line that they do share was not seen");
    for line in &lines {
        println!("SHARED: the line at {:#x}", line * LINE);
    }
    println!("lines that one writes and the other touches: {}", lines.len());
    lines.is_empty()
}

/// What a worker did.
#[derive(Clone, Copy)]
struct Done {
    messages: u64,
    time: Duration,
    /// Of which it had a core.
    cpu: Option<Duration>,
}

impl Done {
    /// Messages per second, by the clock or by the time on a core.
    #[expect(clippy::cast_precision_loss, reason = "millions")]
    fn rate(&self, by_cpu: bool) -> Option<f64> {
        let time = if by_cpu { self.cpu? } else { self.time };
        Some(self.messages as f64 / time.as_secs_f64())
    }
}

/// The time that this thread has had a core, as Linux counts it.
fn cpu_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}

/// Lets the workers answer at the same time, each on its core.
fn at_once(
    workers: &mut [(Handler, Batch, Vec<Vec<u8>>)],
    cores: &[usize],
    socket: &Arc<UdpSocket>,
) -> Vec<Done> {
    let (barrier, is_over) = (Barrier::new(workers.len() + 1), AtomicBool::new(false));
    let peer: SocketAddr = V4.parse().expect("an address");
    std::thread::scope(|scope| {
        let (barrier, is_over) = (&barrier, &is_over);
        let threads: Vec<_> = workers
            .iter_mut()
            .zip(cores)
            .map(|((handler, batch, asked), core)| {
                let work = move || {
                    pin(*core).expect("one of the cores allowed");
                    let mut batches = asked.chunks(BATCH_LEN).cycle();
                    let mut next = |messages: &mut u64| {
                        let asked = batches.next().expect("some questions");
                        one_batch(handler, batch, socket, asked, peer);
                        *messages += asked.len() as u64;
                    };
                    for _ in 0..QUESTIONS / BATCH_LEN {
                        next(&mut 0);
                    }
                    barrier.wait();
                    let (started, cpu, mut messages) = (Instant::now(), cpu_time(), 0);
                    while !is_over.load(Ordering::Relaxed) {
                        next(&mut messages);
                    }
                    let used = cpu_time().zip(cpu).map(|(after, before)| after.saturating_sub(before));
                    Done { messages, time: started.elapsed(), cpu: used }
                };
                scope.spawn(work)
            })
            .collect();
        barrier.wait();
        std::thread::sleep(PART);
        is_over.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

/// The median with the least and the greatest.
fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    match (values.get(values.len() / 2), values.first(), values.last()) {
        (Some(median), Some(least), Some(most)) => format!("{median:.2} [{least:.2}-{most:.2}]"),
        _ => "-".to_owned(),
    }
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim_end().to_owned()
}

/// Tells how fast two workers are against one.
fn throughput() {
    let cores = allowed_cores();
    let [first, second, ..] = cores[..] else {
        println!("SKIPPED: two workers need two cores");
        return;
    };
    for names in SIZES {
        let mut all = Workers::new(names, 2);
        let mut workers: Vec<_> = (0..2)
            .map(|worker| {
                // Spread over the names by a step that has no factor in common with their number.
                let registry = |at: usize| (at * 2 + worker) * 7_919 % (names / 4);
                let asked = (0..QUESTIONS).map(|at| questions(registry(at))[1].1.clone());
                (all.handler(), Batch::new(BATCH_LEN), asked.collect::<Vec<_>>())
            })
            .collect();
        println!("{names} names, hits with EDNS; load {}", load());
        let (mut ratios, mut alone) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for _ in 0..ROUNDS {
            let one = at_once(&mut workers[..1], &[first], &all.socket);
            let other = at_once(&mut workers[1..], &[second], &all.socket);
            let both = at_once(&mut workers, &[first, second], &all.socket);
            for (by_cpu, (ratios, alone)) in [false, true].into_iter().zip(ratios.iter_mut().zip(&mut alone))
            {
                let sum = |done: &[Done]| done.iter().map(|done| done.rate(by_cpu)).sum::<Option<f64>>();
                // Half of both: cores of a virtual machine need not be equally fast.
                let Some((one, both)) = sum(&[one[0], other[0]]).map(|sum| sum / 2.0).zip(sum(&both)) else {
                    continue;
                };
                ratios.push(both / one);
                alone.push(1e9 / one);
            }
        }
        for (what, (ratios, alone)) in ["clock", "CPU time"].iter().zip(ratios.into_iter().zip(alone)) {
            let (ratio, alone) = (spread(ratios), spread(alone));
            println!("  by {what}: two against one {ratio}; one alone takes {alone} ns a message");
        }
    }
    println!("load {}", load());
}

fn main() -> ExitCode {
    if std::env::var_os(TRACED).is_some() {
        traced();
        return ExitCode::SUCCESS;
    }
    let good = if Command::new("valgrind").arg("--version").output().is_ok() {
        share_nothing()
    } else {
        println!("SKIPPED: no valgrind, so no line is seen");
        std::env::var_os("HUBDNS_REQUIRE_PEERS").is_none()
    };
    throughput();
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
