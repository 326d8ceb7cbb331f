//! Instructions per packet against the committed ceilings, `ceilings.toml`.
//!
//! Runs itself under callgrind, once for packets, batches and cached responses each,
//! which counts each call of [`counted`], [`whole_batch`] or [`cached`] apart:
//! all cases in one run of some seconds. The table's hash is keyed by a random
//! secret, so what a question costs depends on the neighbors that its probe
//! meets; therefore each case asks for many names of one length and counts
//! the cheapest, which meets none. That number is the same in every run.
//!
//! Fails where a case counts more than its ceiling by over 2 %, and where it
//! is not measured: `cargo bench --bench ceilings`. Needs valgrind; without
//! it nothing is checked, which is said, or fails with `HUBDNS_REQUIRE_PEERS`.
//!
//! Fails as well where a packet that is answered from the snapshot, or turned away, allocates or frees, enters
//! the kernel's or the library's part of a lock, executes any instruction
//! that locks the bus (objdump tells those; a free lock takes no more than
//! one; a cached response may take the read lock), or reads a clock. Of the batches one in sixteen reads it twice, for
//! the histogram.

mod common;

use std::collections::{BTreeMap, HashSet};
use std::hint::black_box;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::callgrind::{Call, calls, locking_instructions};
use common::workers::{LATER, V4, V6, Workers};
use common::{options, packet, questions, record_set, record_set_with_views};
use hubdns::answer::{Context, Transport};
use hubdns::resolve::{Origin, Reply, Resolver};
use hubdns::serve::udp::Handler;
use hubdns::snapshot::Snapshot;
use hubdns::socket::{BATCH_LEN, Batch, UdpSocket};
use hubdns::wire::{Query, Rcode, Response, Rtype};

/// The committed ceilings, instructions by case.
const CEILINGS: &str = include_str!("ceilings.toml");
/// How many per cent above its ceiling a count may lie.
const MARGIN: u64 = 2;
/// Set, to the function that is counted, for the process that calls it.
const COUNTED: &str = "HUBDNS_BENCH_COUNTED";
/// The functions that are counted, as callgrind names them. It takes one at a time.
const PACKET: &str = "ceilings::counted";
const BATCH: &str = "ceilings::whole_batch";
const CACHED: &str = "ceilings::cached";
/// Owner names in the snapshot.
const SIZE: usize = 2_000;
/// The registries that are asked for, whose numbers have equally many digits.
const REGISTRIES: std::ops::Range<usize> = 200..232;
/// Batches that are counted: the samples of the latency among them are left out by the cheapest.
const BATCHES: usize = 32;
/// Every how many batches one message is timed, between two that are not counted.
const SAMPLED: usize = 8;

/// One packet, counted by callgrind from here to its end.
#[inline(never)]
fn counted(query: &mut Query, buf: &mut [u8], len: usize, snapshot: &Snapshot) {
    black_box(packet(query, buf, len, snapshot));
}

/// One batch, counted likewise.
#[inline(never)]
fn whole_batch(handler: &mut Handler, socket: &Arc<UdpSocket>, batch: &mut Batch) {
    handler.batch(1, socket, batch);
    // So that the call above is no jump, which would end the count.
    black_box(batch.queued());
}

/// One query that the response cache answers: read, missed by the snapshot,
/// found and written in place.
#[inline(never)]
fn resolved(resolver: &Resolver, query: &mut Query, buf: &mut [u8], len: usize, snapshot: &Arc<Snapshot>) {
    let Some(Ok(())) = buf.get(..len).map(|datagram| query.read_usual(datagram)) else { return };
    let context = Context { transport: Transport::Udp, udp_size: 1232, view: 0, is_client: true };
    let mut out = Response::new(buf, 4096);
    let reply = || -> Never { unreachable!("a hit is answered in place") };
    let outcome = resolver.resolve(query, &context, snapshot, LATER, &mut out, reply);
    // Looked at where it lies: workers do not move it either.
    black_box(&outcome);
}

/// The same, counted.
#[inline(never)]
fn cached(resolver: &Resolver, query: &mut Query, buf: &mut [u8], len: usize, snapshot: &Arc<Snapshot>) {
    resolved(resolver, query, buf, len, snapshot);
    // So that the call above is no jump, which would end the count.
    black_box(buf);
}

/// Nobody waits for a hit.
struct Never;

impl Reply for Never {
    fn send(self: Box<Self>, _: Vec<u8>, _: Rcode, _: Origin) {}
}

/// Queries that the response cache answers.
fn from_cache(mut run: impl FnMut(String, usize, &mut dyn FnMut(usize))) {
    let workers = Workers::new(SIZE, 1);
    let snapshot = Arc::new(Snapshot::build(&record_set(SIZE), &options(), 1));
    let name = |at: usize| format!("www{}.example.org", REGISTRIES.start + at);
    (0..REGISTRIES.len()).for_each(|at| workers.keep(&name(at)));
    for (label, edns) in [("cached", false), ("cached_edns", true)] {
        let mut query = Query::EMPTY;
        let mut buf = [0u8; 4096];
        run(label.to_owned(), REGISTRIES.len(), &mut |at| {
            let bytes = common::query(&name(at), Rtype::A, edns);
            // Often enough beforehand that no use is to be noted any more.
            for _ in 0..4 {
                buf[..bytes.len()].copy_from_slice(&bytes);
                resolved(workers.resolver(), &mut query, &mut buf, bytes.len(), &snapshot);
            }
            buf[..bytes.len()].copy_from_slice(&bytes);
            cached(workers.resolver(), &mut query, &mut buf, bytes.len(), &snapshot);
        });
    }
}

/// The cases by name, each to be done once per registry; in the order of their counts.
fn packets(mut run: impl FnMut(String, usize, &mut dyn FnMut(usize))) {
    let plain = Snapshot::build(&record_set(SIZE), &options(), 1);
    let views = Snapshot::build(&record_set_with_views(SIZE), &options(), 1);
    for (prefix, snapshot) in [("", &plain), ("view_", &views)] {
        for (kind, (label, _)) in questions(0).iter().enumerate() {
            let mut query = Query::EMPTY;
            let mut buf = [0u8; 4096];
            run(format!("{prefix}{label}"), REGISTRIES.len(), &mut |at| {
                let (_, bytes) = &questions(REGISTRIES.start + at)[kind];
                // Once beforehand: a name is marked when it is asked for first.
                buf[..bytes.len()].copy_from_slice(bytes);
                packet(&mut query, &mut buf, bytes.len(), snapshot);
                buf[..bytes.len()].copy_from_slice(bytes);
                counted(&mut query, &mut buf, bytes.len(), snapshot);
            });
        }
    }
}

/// Batches through the packet worker's [`Handler`]: access, counters and
/// histogram included, as between the two system calls. From clients of either
/// family, and while a second worker is at work.
fn batches(mut run: impl FnMut(String, usize, &mut dyn FnMut(usize))) {
    let mut workers = Workers::new(SIZE, 2);
    let (mut handler, mut batch) = (workers.handler(), Batch::new(BATCH_LEN));
    let (mut second, mut other) = (workers.handler(), Batch::new(BATCH_LEN));
    let socket = Arc::clone(&workers.socket);
    let mut all = |beside: &str, kinds: &[(usize, &str)], peers: &[(&str, &str)]| {
        for (kind, label) in kinds {
            for (family, peer) in peers {
                let peer = peer.parse().expect("an address");
                run(format!("batch_{label}{family}{beside}"), BATCHES, &mut |_| {
                    for first in [true, false] {
                        batch.reset();
                        for registry in REGISTRIES {
                            assert!(batch.place(&questions(registry)[*kind].1, peer), "room for a message");
                        }
                        if first {
                            handler.batch(1, &socket, &mut batch);
                        } else {
                            whole_batch(&mut handler, &socket, &mut batch);
                        }
                    }
                    assert_eq!(batch.queued(), BATCH_LEN, "replies");
                });
            }
        }
    };
    all("", &[(0, "hit"), (1, "hit_edns"), (2, "nodata")], &[("", V4), ("_v6", V6)]);
    let is_busy = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let socket = &workers.socket;
        let (is_busy, peer) = (&is_busy, V4.parse().expect("an address"));
        // Made beforehand: what it allocated would be told of the first.
        let asked: Vec<_> = REGISTRIES.map(|registry| questions(registry)[0].1.clone()).collect();
        scope.spawn(move || {
            while is_busy.load(Ordering::Relaxed) {
                other.reset();
                for question in &asked {
                    other.place(question, peer);
                }
                second.batch(1, socket, &mut other);
            }
        });
        all("_of_two", &[(0, "hit")], &[("", V4)]);
        is_busy.store(false, Ordering::Relaxed);
    });
}

/// Counts all cases that call `function`; by name, each call of each.
fn count(function: &str) -> BTreeMap<String, Vec<Call>> {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("callgrind");
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "-q", "--combine-dumps=yes", "--dump-instr=yes"])
        .args([format!("--toggle-collect={function}"), format!("--dump-after={function}")])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(itself())
        .env(COUNTED, function)
        .output()
        .expect("valgrind runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let text = std::fs::read_to_string(&out).expect("callgrind's counts");
    let mut rest = calls(&text, &itself());
    // The names of the cases and how often each was done, in order.
    let listed = String::from_utf8(run.stdout).expect("text");
    let mut cases = BTreeMap::new();
    for line in listed.lines() {
        let (name, times) = line.split_once(' ').expect("a name and a number");
        let behind = rest.split_off(times.parse().expect("a number"));
        cases.insert(name.to_owned(), std::mem::replace(&mut rest, behind));
    }
    assert!(rest.is_empty() && !cases.is_empty(), "{} calls are left", rest.len());
    cases
}

fn itself() -> PathBuf {
    std::env::current_exe().expect("this program")
}

/// The instructions of the cheapest of the calls, per message.
fn cheapest(name: &str, calls: &[Call]) -> u64 {
    let least = calls.iter().map(|call| call.instructions).min().expect("calls");
    if name.starts_with("batch_") { least.div_ceil(BATCH_LEN as u64) } else { least }
}

/// What a hit must not come to, by parts of functions' names: whether a clock, and which.
const FORBIDDEN: [(bool, &[&str]); 3] = [
    (
        false,
        &["malloc", "calloc", "realloc", "memalign", "free", "rust_alloc", "rust_dealloc", "mmap", "brk"],
    ),
    (false, &["futex", "pthread_mutex", "pthread_rwlock", "pthread_cond", "lock_contended", "lll_lock"]),
    (true, &["clock_gettime", "gettimeofday", "Instant::now", "SystemTime::now", "Timespec::now"]),
];

/// Tells what the calls of a case came to that a packet must not. One batch in
/// [`SAMPLED`] may read a clock.
fn trespasses(name: &str, calls: &[Call], locking: &HashSet<u64>) -> Vec<String> {
    let mut found = Vec::new();
    let allowed = if name.starts_with("batch_") { calls.len().div_ceil(SAMPLED) } else { 0 };
    let mut reading = 0;
    for call in calls {
        let is_any = |parts: &[&str], function: &str| parts.iter().any(|part| function.contains(part));
        let mut reads = false;
        for function in &call.functions {
            for (is_clock, parts) in FORBIDDEN {
                match (is_any(parts, function), is_clock) {
                    (true, true) => reads = true,
                    (true, false) => found.push(format!("{name} calls {function}")),
                    (false, _) => {}
                }
            }
        }
        reading += usize::from(reads);
        // The read lock of a shard of the cache, taken and let go.
        let is_locked = name.starts_with("cached");
        if !is_locked && let Some(address) = call.addresses.iter().find(|address| locking.contains(address)) {
            found.push(format!("{name} locks the bus at {address:#x}"));
        }
    }
    if reading > allowed {
        found.push(format!("{name}: {reading} of {} calls read a clock, {allowed} may", calls.len()));
    }
    found.sort();
    found.dedup();
    found
}

fn main() -> ExitCode {
    if let Some(function) = std::env::var_os(COUNTED) {
        let run = |name: String, times, work: &mut dyn FnMut(usize)| {
            println!("{name} {times}");
            (0..times).for_each(work);
        };
        match function.to_str() {
            Some(BATCH) => batches(run),
            Some(CACHED) => from_cache(run),
            _ => packets(run),
        }
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("SKIPPED: no valgrind, so no instruction is counted");
        return if std::env::var_os("HUBDNS_REQUIRE_PEERS").is_some() {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        };
    }
    let ceilings: BTreeMap<String, u64> = toml::from_str(CEILINGS).expect("the ceilings");
    let cases: BTreeMap<String, Vec<Call>> = [PACKET, BATCH, CACHED].into_iter().flat_map(count).collect();
    let counts: BTreeMap<&String, u64> =
        cases.iter().map(|(name, calls)| (name, cheapest(name, calls))).collect();
    let mut good = true;
    for name in ceilings.keys().chain(cases.keys().filter(|name| !ceilings.contains_key(*name))) {
        let verdict = match (counts.get(name), ceilings.get(name)) {
            (Some(count), Some(ceiling)) if count * 100 > ceiling * (100 + MARGIN) => "TOO MANY",
            (Some(count), Some(ceiling)) if count * 100 < ceiling * (100 - MARGIN) => {
                "fewer: lower the ceiling"
            }
            (Some(_), Some(_)) => "",
            (None, _) => "NOT MEASURED",
            (_, None) => "WITHOUT A CEILING",
        };
        good &= verdict.chars().next().is_none_or(char::is_lowercase);
        let shown = |number: Option<&u64>| number.map_or_else(|| "-".to_owned(), u64::to_string);
        println!("{name:18} {:>7} of {:>7}  {verdict}", shown(counts.get(name)), shown(ceilings.get(name)));
    }
    let locking = locking_instructions(&itself());
    if locking.is_none() {
        println!("SKIPPED: no objdump, so locks that are free are not seen");
        good &= std::env::var_os("HUBDNS_REQUIRE_PEERS").is_none();
    }
    let locking = locking.unwrap_or_default();
    // A name of ours that no record covers is denied step by step, with allocations.
    let held = cases.iter().filter(|(name, _)| !name.ends_with("own_missing"));
    for trespass in held.flat_map(|(name, calls)| trespasses(name, calls, &locking)) {
        println!("{trespass}");
        good = false;
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
