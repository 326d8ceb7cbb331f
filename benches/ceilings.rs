//! Instructions per packet against the committed ceilings, `ceilings.toml`.
//!
//! Runs itself under callgrind, once for packets and once for batches, which counts each call of [`counted`] or [`whole_batch`] apart:
//! all cases in one run of some seconds. The table's hash is keyed by a random
//! secret, so what a question costs depends on the neighbors that its probe
//! meets; therefore each case asks for many names of one length and counts
//! the cheapest, which meets none. That number is the same in every run.
//!
//! Fails where a case counts more than its ceiling by over 2 %, and where it
//! is not measured: `cargo bench --bench ceilings`. Needs valgrind; without
//! it nothing is checked, which is said, or fails with `HUBDNS_REQUIRE_PEERS`.

mod common;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use common::{options, packet, questions, record_set, record_set_with_views};
use hubdns::config::Config;
use hubdns::forward::Settings;
use hubdns::metrics::queries::QueryMetrics;
use hubdns::resolve::Resolver;
use hubdns::serve::access::{Policies, Policy};
use hubdns::serve::udp::{Handler, Pending};
use hubdns::snapshot::Snapshot;
use hubdns::snapshot::publish::Publisher;
use hubdns::socket::{BATCH_LEN, Batch, UdpSocket};
use hubdns::wire::Query;

/// The committed ceilings, instructions by case.
const CEILINGS: &str = include_str!("ceilings.toml");
/// How many per cent above its ceiling a count may lie.
const MARGIN: u64 = 2;
/// Set, to the function that is counted, for the process that calls it.
const COUNTED: &str = "HUBDNS_BENCH_COUNTED";
/// The functions that are counted, as callgrind names them. It takes one at a time.
const PACKET: &str = "ceilings::counted";
const BATCH: &str = "ceilings::whole_batch";
/// Owner names in the snapshot.
const SIZE: usize = 2_000;
/// The registries that are asked for, whose numbers have equally many digits.
const REGISTRIES: std::ops::Range<usize> = 200..232;
/// Batches that are counted: the samples of the latency among them are left out by the cheapest.
const BATCHES: usize = 24;

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
/// histogram included, as between the two system calls.
fn batches(mut run: impl FnMut(String, usize, &mut dyn FnMut(usize))) {
    // A stand-in on loopback, which is never asked: nothing here is forwarded.
    let text =
        "[forward]\ndefault = \"none\"\n[[upstreams]]\nname = \"none\"\naddresses = [\"127.0.0.1:9\"]\n";
    let config = Config::parse(text, "bench.toml", Path::new("/")).expect("a configuration");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let publisher = Publisher::new(Snapshot::build(&record_set(SIZE), &options(), 1));
    let settings = Settings::new(&config, Vec::new());
    let resolver = Resolver::start(&settings, Arc::clone(&publisher), runtime.handle().clone());
    let policies = Policies::new(Policy::new(&config.server));
    let (metrics, mut locals) = QueryMetrics::new(1);
    let (local, shared) = (locals.remove(0), metrics.shared());
    let resolver = resolver.expect("a resolver");
    let mut handler = Handler::new(resolver, &publisher, &policies, local, shared, Pending::default());
    let socket = UdpSocket::bind("127.0.0.1:0".parse().expect("an address"), false).expect("a socket");
    let socket = Arc::new(socket);
    let peer: SocketAddr = "10.8.0.1:4000".parse().expect("an address");
    let mut batch = Batch::new(BATCH_LEN);
    for (kind, label) in [(0, "batch_hit"), (1, "batch_hit_edns"), (2, "batch_nodata")] {
        run(label.to_owned(), BATCHES, &mut |_| {
            for first in [true, false] {
                batch.reset();
                for registry in REGISTRIES {
                    assert!(batch.place(&questions(registry)[kind].1, peer), "room for a message");
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

/// Counts all cases that call `function`; by name, the cheapest of each.
fn count(function: &str) -> BTreeMap<String, u64> {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("callgrind");
    let itself = std::env::current_exe().expect("this program");
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "-q", "--combine-dumps=yes"])
        .args([format!("--toggle-collect={function}"), format!("--dump-after={function}")])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(itself)
        .env(COUNTED, function)
        .output()
        .expect("valgrind runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let text = std::fs::read_to_string(&out).expect("callgrind's counts");
    let parts = text.split("\npart: ").filter(|part| part.contains("Trigger: --dump-after"));
    let counts =
        parts.filter_map(|part| part.split_once("\nsummary: ")?.1.lines().next()?.trim().parse().ok());
    let counts: Vec<u64> = counts.collect();
    // The names of the cases and how often each was done, in order.
    let listed = String::from_utf8(run.stdout).expect("text");
    let mut rest = counts.as_slice();
    let mut cheapest = BTreeMap::new();
    for line in listed.lines() {
        let (name, times) = line.split_once(' ').expect("a name and a number");
        let (own, behind) = rest.split_at(times.parse().expect("a number"));
        cheapest.insert(name.to_owned(), *own.iter().min().expect("counts"));
        rest = behind;
    }
    assert!(rest.is_empty() && !cheapest.is_empty(), "{} counts, {} left", counts.len(), rest.len());
    for (name, count) in &mut cheapest {
        if name.starts_with("batch_") {
            *count = count.div_ceil(BATCH_LEN as u64);
        }
    }
    cheapest
}

fn main() -> ExitCode {
    if let Some(function) = std::env::var_os(COUNTED) {
        let run = |name: String, times, work: &mut dyn FnMut(usize)| {
            println!("{name} {times}");
            (0..times).for_each(work);
        };
        if function == BATCH {
            batches(run);
        } else {
            packets(run);
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
    let counts: BTreeMap<String, u64> = [PACKET, BATCH].into_iter().flat_map(count).collect();
    let mut good = true;
    for name in ceilings.keys().chain(counts.keys().filter(|name| !ceilings.contains_key(*name))) {
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
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
