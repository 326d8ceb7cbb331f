//! Building a snapshot, and swapping it.

mod common;

use common::{SIZES, name, options, record_set, snapshot};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use hubdns::snapshot::Snapshot;
use hubdns::snapshot::model::{RecordSet, Rrset};
use hubdns::snapshot::publish::Publisher;
use hubdns::wire::Name;
use std::hint::black_box;
use std::sync::Arc;

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

/// The benches' estate as the sync publishes it: sorted.
fn sorted(size: usize) -> RecordSet {
    let mut set = record_set(size);
    set.aliases.sort();
    Arc::make_mut(&mut set.own).sort();
    set
}

/// One address changes; a name comes and goes; a name comes below two names
/// that nothing else makes exist, and goes with them: until readers have it
/// and what it supersedes is freed.
fn update(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("snapshot_update");
    group.sample_size(10);
    for size in SIZES {
        let (one, options) = (sorted(size), options());
        let some = one.zones[0].rrsets.iter().nth(size / 4).expect("an RRset").to_rrset();
        let other = |owner: Name| {
            let rrset = Rrset { owner: owner.clone(), rdatas: vec![Box::new([10, 9, 9, 9])], ..some.clone() };
            let mut set = one.clone();
            set.zones[0].rrsets = set.zones[0].rrsets.patched(&[((owner, rrset.rtype), Some(rrset))]);
            set
        };
        let kinds = [
            ("change", other(some.owner.clone())),
            ("name", other(name("newcomer.privatelink.azurecr.io"))),
            ("empty_non_terminal", other(name("a.brand.new.privatelink.azurecr.io"))),
        ];
        for (kind, other) in &kinds {
            let publisher = Publisher::new(Snapshot::build(&one, &options, 1));
            let (mut before, mut after) = (&one, other);
            group.bench_function(BenchmarkId::new(*kind, size), |bencher| {
                bencher.iter(|| {
                    let next = Snapshot::update(&publisher.current(), before, after, &options, 2);
                    publisher.publish(next.expect("an update"));
                    std::mem::swap(&mut before, &mut after);
                });
            });
        }
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

criterion_group!(benches, build, update, swap);
criterion_main!(benches);
