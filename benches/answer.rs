//! Time of the pure packet path by kind of question and size of the snapshot.

mod common;

use common::{SIZES, packet, questions, snapshot};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use hubdns::wire::Query;
use std::hint::black_box;

fn answer(criterion: &mut Criterion) {
    for size in SIZES {
        let snapshot = snapshot(size);
        let mut group = criterion.benchmark_group("answer");
        // Spread over the estate, so that large sets miss the caches as they do in service.
        let spread: Vec<_> = (0..1024).map(|i| questions(i * 7919 % (size / 4))).collect();
        for (kind, (label, _)) in questions(0).iter().enumerate() {
            let mut buf = [0u8; 4096];
            let mut parsed = Query::EMPTY;
            let mut turn = 0usize;
            group.bench_function(BenchmarkId::new(*label, size), |bencher| {
                bencher.iter(|| {
                    turn = turn.wrapping_add(1);
                    let query = &spread[turn % 1024][kind].1;
                    buf[..query.len()].copy_from_slice(query);
                    black_box(packet(&mut parsed, &mut buf, query.len(), &snapshot))
                });
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).measurement_time(std::time::Duration::from_secs(2));
    targets = answer
}
criterion_main!(benches);
