//! Starts from the state directory, and what is let go once it is superseded.

mod common;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use common::estate::{options, record_set};
use common::serving::{ESTATE, PATIENCE, Serving};
use hubdns::config::Config;
use hubdns::snapshot::Snapshot;
use hubdns::sync::{State, Sync, Trigger};

/// Hosts of the zone file: enough for many chunks.
const HOSTS: usize = 20_000;

fn zone(changed: usize) -> String {
    let mut text = "@ 60 SOA ns h 7 3600 600 86400 300\n@ 60 NS ns\nprobe 0 A 10.255.0.1\n".to_owned();
    for host in 0..HOSTS {
        let last = u8::from(host == changed);
        let _ = writeln!(
            text,
            "h{host:06} 60 CNAME h{host:06}.privatelink\nh{host:06}.privatelink 60 A 10.0.0.{last}"
        );
    }
    text
}

/// A TTL floor that one record lies below, and a zone file of registry names.
fn config(directory: &Path) -> Config {
    let text = format!(
        "[server]\nstate_dir = \"{}\"\n[names]\nttl_floor_seconds = 5\n\
         [[sources.zone_file]]\nzone = \"azurecr.io\"\npath = \"{}\"\nfall_through = true\n",
        directory.join("state").display(),
        directory.join("zone").display(),
    );
    Config::parse(&text, "test.toml", Path::new("/")).unwrap()
}

/// What is on disk: name, inode, size and time of change of each file.
fn files(directory: &Path) -> Vec<(String, u64, u64, i64, i64)> {
    let entries = fs::read_dir(directory.join("state")).unwrap().map(Result::unwrap);
    let mut files: Vec<_> = entries
        .map(|entry| {
            let data = entry.metadata().unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, data.ino(), data.size(), data.mtime(), data.mtime_nsec())
        })
        .collect();
    files.sort();
    files
}

/// The bytes of the set's one zone, those that the file's records share with it.
fn shared(state: &State) -> (usize, usize) {
    let [passed] = state.provenance.passed.as_slice() else { panic!("one zone file") };
    let zone = &state.set.zones[0].rrsets;
    (zone.bytes(), zone.shared_bytes(&passed.records.rrsets))
}

#[test]
fn a_start_that_finds_the_same_builds_and_saves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    fs::write(directory.join("zone"), zone(HOSTS)).unwrap();
    let config = config(directory);
    let mut first = Sync::start(&config, Arc::default());
    assert!(first.cycle(Trigger::Routine).changed);
    drop(first);
    let saved = files(directory);

    let mut sync = Sync::start(&config, Arc::default());
    let (publisher, status) = (sync.publisher(), sync.status());
    let instance = publisher.current().instance();
    assert!(status.get().loaded && publisher.current().names() > 2 * HOSTS);
    for _ in 0..2 {
        let report = sync.cycle(Trigger::Routine);
        assert_eq!((report.changed, report.generation), (false, 1));
        assert_eq!(publisher.current().instance(), instance, "nothing was built");
        assert_eq!(files(directory), saved, "nothing was saved");
    }
    // What was loaded, what was read and what is wanted are one in memory, but
    // for the chunk with the record below the floor.
    let state = status.get();
    let (all, shared) = shared(&state);
    assert!(shared < all && shared * 20 > all * 19, "{shared} of {all} bytes");
    assert!(Arc::ptr_eq(&state.wanted, &state.set));
    // And once on disk.
    let size = |end: &str| saved.iter().find(|file| file.0.ends_with(end)).unwrap().2;
    assert!(size(".facts") * 4 < size(".set"), "{saved:?}");
}

#[test]
fn one_change_after_a_start_shares_all_but_its_chunks() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    fs::write(directory.join("zone"), zone(HOSTS)).unwrap();
    let config = config(directory);
    Sync::start(&config, Arc::default()).cycle(Trigger::Routine);
    let mut sync = Sync::start(&config, Arc::default());
    let before = Arc::clone(&sync.status().get().set);
    fs::write(directory.join("zone"), zone(777)).unwrap();
    let report = sync.cycle(Trigger::Routine);
    assert_eq!((report.changed, report.generation), (true, 2));
    let after = Arc::clone(&sync.status().get().set);
    let (old, new) = (&before.zones[0].rrsets, &after.zones[0].rrsets);
    assert_eq!(old.diff(new).count(), 1);
    assert!(new.shared_bytes(old) * 20 > new.bytes() * 19 && new.shared_bytes(old) < new.bytes());
}

#[test]
fn a_worker_without_traffic_lets_the_last_snapshot_go() {
    let server = Serving::on("127.0.0.1:0");
    let first = Arc::downgrade(&server.publisher.current());
    let started = Instant::now();
    for generation in 2..5 {
        server.publisher.publish(Snapshot::build(&record_set(ESTATE), &options(), generation));
        while server.publisher.superseded() > 0 {
            assert!(started.elapsed() < PATIENCE, "the worker sleeps and holds it");
            std::thread::yield_now();
            server.publisher.free();
        }
    }
    assert!(first.upgrade().is_none());
}
