//! Instructions of the pure packet path, counted by callgrind: repeatable,
//! whatever else the machine does. Takes some ten minutes: callgrind builds
//! the large snapshots too.

#![allow(missing_docs, reason = "the macros write public items")]

mod common;

use std::hint::black_box;

use common::{options, packet, questions, record_set_with_views, snapshot};
use gungraun::prelude::*;
use hubdns::snapshot::Snapshot;
use hubdns::wire::Query;

/// A worker's state when a datagram of that kind has just arrived.
struct Arrived {
    query: Query,
    buf: [u8; 4096],
    len: usize,
    snapshot: Snapshot,
}

fn arrived(kind: usize, size: usize) -> Box<Arrived> {
    arrived_at(kind, size, snapshot(size))
}

/// The same where the client's view has a variant of every name.
fn arrived_in_view(kind: usize, size: usize) -> Box<Arrived> {
    arrived_at(kind, size, Snapshot::build(&record_set_with_views(size), &options(), 1))
}

fn arrived_at(kind: usize, size: usize, snapshot: Snapshot) -> Box<Arrived> {
    let (_, query) = questions(size / 8).into_iter().nth(kind).expect("a kind");
    let mut buf = [0; 4096];
    buf[..query.len()].copy_from_slice(&query);
    let mut state = Arrived { query: Query::EMPTY, buf, len: query.len(), snapshot };
    // Once beforehand, so that the dynamic linker has resolved what it will.
    packet(&mut state.query, &mut state.buf, state.len, &state.snapshot);
    state.buf[..query.len()].copy_from_slice(&query);
    Box::new(state)
}

#[library_benchmark]
#[bench::hit_16(arrived(0, 16))]
#[bench::hit_2000(arrived(0, 2_000))]
#[bench::hit_100000(arrived(0, 100_000))]
#[bench::hit_edns_16(arrived(1, 16))]
#[bench::hit_edns_2000(arrived(1, 2_000))]
#[bench::hit_edns_100000(arrived(1, 100_000))]
#[bench::hit_edns_1000000(arrived(1, 1_000_000))]
#[bench::nodata_16(arrived(2, 16))]
#[bench::nodata_2000(arrived(2, 2_000))]
#[bench::nodata_100000(arrived(2, 100_000))]
#[bench::nodata_1000000(arrived(2, 1_000_000))]
#[bench::miss_16(arrived(3, 16))]
#[bench::miss_2000(arrived(3, 2_000))]
#[bench::miss_100000(arrived(3, 100_000))]
#[bench::miss_1000000(arrived(3, 1_000_000))]
#[bench::reject_16(arrived(5, 16))]
#[bench::reject_2000(arrived(5, 2_000))]
#[bench::reject_100000(arrived(5, 100_000))]
#[bench::reject_1000000(arrived(5, 1_000_000))]
#[bench::view_hit_16(arrived_in_view(0, 16))]
#[bench::view_nodata_16(arrived_in_view(2, 16))]
#[bench::view_miss_16(arrived_in_view(3, 16))]
#[bench::view_hit_100000(arrived_in_view(0, 100_000))]
#[bench::own_missing_2000(arrived(4, 2_000))]
fn count(state: Box<Arrived>) -> Box<Arrived> {
    let mut state = state;
    black_box(packet(&mut state.query, &mut state.buf, state.len, &state.snapshot));
    state
}

library_benchmark_group!(name = packets, benchmarks = count);
main!(library_benchmark_groups = packets);
