//! What is saved comes back as it would have been, or not at all.

use std::path::PathBuf;

use crate::forward::cache::tests::{entry, name, put};
use crate::forward::kept::Traits;
use crate::wire::FoldedName;

use super::*;

const HOUR: u64 = 3_600_000;

fn rules(rules: &[(u32, &str)]) -> Rules {
    rules.iter().map(|(number, rule)| (*number, (*rule).to_owned())).collect()
}

/// Three responses that were stored at 1,000,000 for 60 s, saved 10 s later at
/// `wall` 5 h; one is of a rule that is not in force.
fn saved() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache");
    let cache = ResponseCache::new(1 << 20);
    cache.set_stale(HOUR, 30_000, 30);
    for owner in ["a.example", "b.example"] {
        put(&cache, &name(owner), 100, 1_000_000);
    }
    let other = FoldedName::from(&name("c.example"));
    let key = KeyRef::new(9, &other, Rtype::TXT, Class::IN, 0);
    cache.insert(&key, &entry(&name("c.example"), 10, Rcode::NOERROR, 1_000_000, 60).kept(), 1_000_000);
    let clocks = Clocks { now: 1_010_000, wall: 5 * HOUR };
    assert_eq!(save(&cache, &path, &rules(&[(1, "first"), (3, "second")]), clocks).unwrap(), 2);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing beside it");
    (directory, path)
}

fn restored(path: &Path, known: &[(u32, &str)], clocks: Clocks) -> (ResponseCache, Result<u64, String>) {
    let cache = ResponseCache::new(1 << 20);
    cache.set_stale(HOUR, 30_000, 30);
    let loaded = load(&cache, path, &rules(known), clocks).map_err(|error| error.to_string());
    (cache, loaded)
}

fn get(cache: &ResponseCache, partition: u32, owner: &str, now: u64) -> Option<Entry> {
    let folded = FoldedName::from(&name(owner));
    cache.get_usable(&KeyRef::new(partition, &folded, Rtype::TXT, Class::IN, 0), now)
}

#[test]
fn a_response_comes_back_under_its_rule_with_the_time_that_passed() {
    let (_directory, path) = saved();
    // The rule has another number now; 20 s passed; the process has another clock.
    let clocks = Clocks { now: 70_000_000, wall: 5 * HOUR + 20_000 };
    let (cache, loaded) = restored(&path, &[(7, "first"), (1, "another")], clocks);
    assert_eq!(loaded, Ok(2));
    let entry = get(&cache, 7, "a.example", 70_000_000).expect("kept");
    assert_eq!((entry.age(70_000_000), entry.kept().remaining(70_000_000)), (30, 30));
    assert!(entry.is_fresh(70_029_999) && !entry.is_fresh(70_030_000));
    assert_eq!(entry.kept().head.lead, 6, "it may be renewed as before");
    assert!(get(&cache, 1, "a.example", 70_000_000).is_none(), "of no other rule");
}

#[test]
fn what_expired_meanwhile_may_stand_in_and_what_is_too_old_is_gone() {
    let (_directory, path) = saved();
    let clocks = Clocks { now: 3 * HOUR, wall: 5 * HOUR + 50_000 + HOUR / 2 };
    let (cache, loaded) = restored(&path, &[(1, "first")], clocks);
    assert_eq!(loaded, Ok(2));
    let entry = get(&cache, 1, "a.example", clocks.now).expect("usable");
    assert!(!entry.is_fresh(clocks.now));
    assert!(get(&cache, 1, "a.example", clocks.now + HOUR / 2 - 1).is_some());
    assert!(get(&cache, 1, "a.example", clocks.now + HOUR / 2).is_none());
    let late = Clocks { wall: 5 * HOUR + 50_000 + HOUR, ..clocks };
    assert_eq!(restored(&path, &[(1, "first")], late).1, Ok(0));
}

#[test]
fn a_file_from_the_future_is_void() {
    let (_directory, path) = saved();
    let clocks = Clocks { now: 3 * HOUR, wall: 5 * HOUR - 1 };
    let (cache, loaded) = restored(&path, &[(1, "first")], clocks);
    assert!(loaded.unwrap_err().contains("future"));
    assert_eq!(cache.usage().entries, 0);
}

#[test]
fn any_damage_voids_the_whole_file() {
    let (_directory, path) = saved();
    let whole = std::fs::read(&path).unwrap();
    let clocks = Clocks { now: 70_000_000, wall: 5 * HOUR };
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        let (cache, loaded) = restored(&path, &[(1, "first")], clocks);
        assert!(loaded.is_err() && cache.usage().entries == 0, "byte {at}");
    }
    for len in (0..whole.len()).step_by(11) {
        std::fs::write(&path, &whole[..len]).unwrap();
        assert!(restored(&path, &[(1, "first")], clocks).1.is_err(), "cut at {len}");
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(restored(&path, &[(1, "first")], clocks).1, Ok(2));
}

/// A file whose digest is right says what no cache of ours would.
fn forged(path: &Path, record: &Saved<'_>) {
    let mut out = Digesting { inner: Vec::new(), digest: Sha256::new() };
    out.write_all(MAGIC.as_bytes()).unwrap();
    let header = Header { format: FORMAT, created_ms: 5 * HOUR, rules: vec!["first".to_owned()] };
    serde_json::to_writer(&mut out, &header).unwrap();
    out.write_all(b"\n").unwrap();
    let bytes = postcard::to_stdvec(record).unwrap();
    out.write_all(&(bytes.len() as u32).to_le_bytes()).unwrap();
    out.write_all(&bytes).unwrap();
    out.write_all(&[0; 4]).unwrap();
    let mut file = out.inner;
    file.extend_from_slice(&out.digest.finalize());
    std::fs::write(path, file).unwrap();
}

#[test]
fn a_message_that_is_not_the_answer_to_its_key_is_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache");
    let owner = name("a.example");
    let good = entry(&owner, 10, Rcode::NOERROR, 0, 60);
    let record = Saved {
        rule: 0,
        name: owner.as_wire(),
        qtype: Rtype::TXT.0,
        qclass: 1,
        bits: 0,
        rcode: 0,
        traits: 0,
        asked: 3,
        age: 1000,
        left: 59_000,
        ede: &[],
        bytes: good.bytes(),
    };
    let clocks = Clocks { now: 70_000_000, wall: 5 * HOUR };
    let count = |record: &Saved<'_>| {
        forged(&path, record);
        restored(&path, &[(1, "first")], clocks).1
    };
    assert_eq!(count(&record), Ok(1));
    let cut = &good.bytes()[..good.bytes().len() - 1];
    let longer = [good.bytes(), &[0]].concat();
    let wrong = [
        Saved { rule: 1, ..record },
        Saved { name: b"\x01b\x07example\0", ..record },
        Saved { name: b"\x01A\x07example\0", ..record },
        Saved { name: b"\x3fa", ..record },
        Saved { qtype: 1, ..record },
        Saved { qclass: 3, ..record },
        Saved { bytes: cut, ..record },
        Saved { bytes: &longer, ..record },
        Saved { age: u64::MAX, ..record },
        Saved { left: i64::MAX, ..record },
        Saved { left: i64::MIN, ..record },
    ];
    for (at, record) in wrong.iter().enumerate() {
        assert_eq!(count(record), Ok(0), "{at}");
    }
    // Traits that the message itself tells, or that no kept response has, are not believed.
    forged(&path, &Saved { traits: Traits::STALE | Traits::HAS_TARGETS, ..record });
    let (cache, _) = restored(&path, &[(1, "first")], clocks);
    assert_eq!(get(&cache, 1, "a.example", clocks.now).unwrap().kept().head.traits, Traits(0));
}
