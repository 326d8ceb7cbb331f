//! Building a snapshot, and swapping it.

mod common;

use common::{SIZES, options, record_set, snapshot};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use hubdns::snapshot::Snapshot;
use hubdns::snapshot::publish::Publisher;
use std::hint::black_box;

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("snapshot_build");
    group.sample_size(10);
    for size in SIZES {
        let (set, options) = (record_set(size), options());
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| black_box(Snapshot::build(&set, &options, 2)));
        });
    }
    group.finish();
}

fn swap(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("snapshot_swap");
    let publisher = Publisher::new(snapshot(16));
    let mut reader = publisher.reader();
    group.bench_function("load_unchanged", |bencher| {
        bencher.iter(|| black_box(reader.load().generation()));
    });
    group.bench_function("publish_and_load", |bencher| {
        let fresh = || snapshot(16);
        bencher.iter_batched(
            fresh,
            |next| {
                publisher.publish(next);
                black_box(reader.load().generation())
            },
            criterion::BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, build, swap);
criterion_main!(benches);
