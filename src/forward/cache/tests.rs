//! The cache against a model, its bound, and what survives a scan.

use std::collections::HashMap;

use proptest::prelude::*;

use crate::forward::chain::Chain;
use crate::forward::entry::TtlBounds;
use crate::forward::kept::Checked;
use crate::forward::reply::{Asked, UpstreamReply};
use crate::wire::{Class, FoldedName, Name, Rcode, Rtype};

use super::*;

const BOUNDS: TtlBounds = TtlBounds { min: 0, max: 86_400, max_negative: 3600, servfail: 5 };

pub(super) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A response of `len` bytes of additional RDATA, which expires at `expires`.
pub(super) fn entry(name: &Name, len: usize, rcode: Rcode, stored: u64, seconds: u32) -> Entry {
    let asked = Asked { name, qtype: Rtype::TXT, qclass: Class::IN };
    let mut reply = UpstreamReply::bare(&asked, rcode);
    if rcode == Rcode::NOERROR {
        reply.bytes[7] = 1;
        reply.bytes.extend_from_slice(&[0xc0, 12, 0, 16, 0, 1]);
        reply.bytes.extend_from_slice(&seconds.to_be_bytes());
        reply.bytes.extend_from_slice(&(len as u16).to_be_bytes());
        reply.bytes.extend(std::iter::repeat_n(7, len));
    }
    let chain = Chain { answered: true, ..Chain::default() };
    Entry::new(reply, chain, &BOUNDS, stored, Checked { instance: 1, cut: None })
}

pub(super) fn put(cache: &ResponseCache, name: &Name, len: usize, now: u64) -> bool {
    let folded = FoldedName::from(name);
    let key = KeyRef::new(1, &folded, Rtype::TXT, Class::IN, 0);
    cache.insert(&key, &entry(name, len, Rcode::NOERROR, now, 60).kept(), now)
}

fn get(cache: &ResponseCache, name: &Name, now: u64) -> Option<Entry> {
    let folded = FoldedName::from(name);
    cache.get(&KeyRef::new(1, &folded, Rtype::TXT, Class::IN, 0), now)
}

#[test]
fn a_kept_response_comes_back_as_it_went_in() {
    let cache = ResponseCache::new(1 << 20);
    let owner = name("www.example.org");
    let kept = entry(&owner, 100, Rcode::NOERROR, 1000, 60);
    let folded = FoldedName::from(&owner);
    let key = KeyRef::new(7, &folded, Rtype::TXT, Class::IN, bits::DNSSEC_OK);
    cache.set_stale(1, 0, 30);
    assert!(cache.insert(&key, &kept.kept(), 1000));
    let back = cache.get(&key, 60_999).expect("still fresh");
    assert_eq!(back.bytes(), kept.bytes());
    assert_eq!(back.kept().ttls, kept.kept().ttls);
    assert_eq!(back.kept().head, kept.kept().head);
    assert!(cache.get(&key, 61_000).is_none(), "expired");
    assert!(cache.get_usable(&key, 61_000).is_some(), "but usable");
    assert!(cache.get_usable(&key, 61_001).is_none(), "up to its bound");
    for other in [
        KeyRef::new(8, &folded, Rtype::TXT, Class::IN, bits::DNSSEC_OK),
        KeyRef::new(7, &folded, Rtype::A, Class::IN, bits::DNSSEC_OK),
        KeyRef::new(7, &folded, Rtype::TXT, Class(3), bits::DNSSEC_OK),
        KeyRef::new(7, &folded, Rtype::TXT, Class::IN, 0),
    ] {
        assert!(cache.get(&other, 1000).is_none(), "{other:?}");
    }
}

#[test]
fn a_failure_never_takes_the_place_of_an_answer() {
    let cache = ResponseCache::new(1 << 20);
    let owner = name("www.example.org");
    let folded = FoldedName::from(&owner);
    let key = KeyRef::new(1, &folded, Rtype::TXT, Class::IN, 0);
    cache.set_stale(60_000, 30_000, 30);
    let failure = |now| entry(&owner, 0, Rcode::SERVFAIL, now, 0);
    assert!(cache.insert(&key, &failure(0).kept(), 0), "with nothing there it is kept");
    assert_eq!(cache.get(&key, 4999).unwrap().rcode(), Rcode::SERVFAIL);
    assert!(cache.get_usable(&key, 5001).is_none(), "and never stale");
    put(&cache, &owner, 10, 10_000);
    assert!(!cache.insert(&key, &failure(80_000).kept(), 80_000));
    let failing = |now| cache.read(&key, |kept| kept.marks.is_failing(now)).unwrap();
    assert!(failing(80_000) && failing(109_999) && !failing(110_000));
    assert_eq!(cache.get_usable(&key, 80_000).unwrap().rcode(), Rcode::NOERROR);
    // Too old to stand in: now the failure counts.
    assert!(cache.insert(&key, &failure(200_000).kept(), 200_000));
    assert_eq!(cache.get(&key, 200_000).unwrap().rcode(), Rcode::SERVFAIL);
}

#[test]
fn names_asked_for_again_survive_a_scan() {
    let cache = ResponseCache::new(4 << 20);
    let hot: Vec<Name> = (0..500).map(|i| name(&format!("hot{i}.example.org"))).collect();
    for round in 0..4 {
        for owner in &hot {
            if get(&cache, owner, round).is_none() {
                put(&cache, owner, 200, round);
            }
        }
    }
    for i in 0..200_000 {
        put(&cache, &name(&format!("scan{i}.example.net")), 200, 10);
        if i % 100 == 0 {
            get(&cache, &hot[i / 100 % hot.len()], 10);
        }
    }
    let left = hot.iter().filter(|owner| get(&cache, owner, 10).is_some()).count();
    assert!(left > 450, "{left} of 500");
    assert!(cache.usage().evicted > 100_000);
}

#[test]
fn flushing_forgets_what_it_names_and_no_more() {
    let cache = ResponseCache::new(1 << 20);
    for owner in ["a.example.org", "b.example.org", "example.net"] {
        put(&cache, &name(owner), 10, 0);
    }
    let suffix = name("example.org");
    let below = |key: &KeyRef<'_>| crate::wire::name::is_at_or_below(key.name, suffix.as_wire());
    assert_eq!(cache.remove_if(below), 2);
    assert!(get(&cache, &name("example.net"), 0).is_some());
    let mut seen = 0;
    cache.for_each(|key, kept| {
        seen += 1;
        assert_eq!(key.name, name("example.net").as_wire());
        assert!(kept.is_fresh(0));
    });
    assert_eq!(seen, 1);
    cache.clear();
    assert_eq!(cache.usage().entries, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is put in, removed, resized: what comes back is what was put
    /// in last, and the bytes stay within the bound.
    #[test]
    fn agrees_with_a_model_and_stays_within_its_bound(
        budget in (256u64 << 10)..(8 << 20),
        steps in proptest::collection::vec((0u8..20, 0usize..300, 0usize..9000), 200..1500),
    ) {
        let cache = ResponseCache::new(budget);
        let mut bound = budget;
        let mut model: HashMap<usize, usize> = HashMap::new();
        for (what, which, len) in steps {
            let owner = name(&format!("n{which}.example.org"));
            let folded = FoldedName::from(&owner);
            let key = KeyRef::new(1, &folded, Rtype::TXT, Class::IN, 0);
            match what {
                0 => { cache.remove(&key); model.remove(&which); }
                1 if len < 20 => { cache.clear(); model.clear(); }
                2 if len < 200 => { bound = budget / (1 + len as u64 % 4); cache.set_max_bytes(bound); }
                3..12 => { put(&cache, &owner, len, 0); model.insert(which, len); }
                _ => if let Some(found) = get(&cache, &owner, 0) {
                    let expected = model.get(&which).copied();
                    prop_assert_eq!(Some(found.bytes().len()), expected.map(|len| len + owner.as_wire().len() + 28));
                }
            }
            prop_assert!(cache.usage().bytes <= bound, "{} of {bound}", cache.usage().bytes);
        }
        cache.set_max_bytes(0);
        prop_assert_eq!(cache.usage().entries, 0);
    }
}

/// Whatever is asked for, the memory stays within the bound by ten per cent.
/// What is counted is what is allocated, and that is compared with what the
/// bound was filled to: a cache that keeps nothing would be within it too.
#[test]
fn hostile_shapes_stay_within_the_bound() {
    const BOUND: u64 = 4 << 20;
    // Lengths of RDATA by the number of the response.
    type Len = fn(usize) -> usize;
    let shapes: [(&str, Len); 5] = [
        ("huge", |at| 65_000 - at % 500),
        ("tiny", |_| 0),
        ("both", |at| if at % 50 == 0 { 60_000 } else { 0 }),
        ("just beyond a segment's half", |_| 4200),
        ("all", |at| at * 7919 % 65_000),
    ];
    for (what, len) in shapes {
        let cache = ResponseCache::new(BOUND);
        let count = if what == "tiny" { 40_000 } else { 4000 };
        for at in 0..count {
            let owner = name(&format!("n{at}.{}.example", "x".repeat(at % 60 + 1)));
            put(&cache, &owner, len(at), 0);
            if at % 3 == 0 {
                get(&cache, &owner, 0);
            }
            if at % 100 == 0 || at + 100 > count {
                assert!(cache.usage().bytes <= BOUND, "{what} at {at}: {:?}", cache.usage());
            }
        }
        let usage = cache.usage();
        assert!(usage.bytes > BOUND / 10 * 7 && usage.entries > 0, "{what}: {usage:?}");
        // The records themselves, not their overhead, take most of it.
        let mut held = 0;
        cache.for_each(|key, kept| held += (key.name.len() + kept.bytes.len()) as u64);
        assert!(held > BOUND / 4, "{what}: {held} of {usage:?}");
    }
}

/// The lists of segments grow by doubling, which is part of what is allocated:
/// whatever the bound, one more segment does not go beyond it.
#[test]
fn one_more_segment_stays_within_the_bound() {
    for bound in (132_000u64..136_000).step_by(50) {
        // Cut into smaller segments first, so that there are many of them.
        let cache = ResponseCache::new(37_000);
        for at in 0..100 {
            if at == 50 {
                cache.set_max_bytes(bound);
            }
            put(&cache, &name(&format!("n{at}.example")), if at < 50 { 1900 } else { 3900 }, 0);
            assert!(cache.usage().bytes <= bound, "{at}: {:?} of {bound}", cache.usage());
        }
    }
}

#[test]
fn what_is_renewed_in_place_costs_no_space() {
    let cache = ResponseCache::new(1 << 20);
    let owners: Vec<Name> = (0..100).map(|at| name(&format!("n{at}.example"))).collect();
    for owner in &owners {
        assert!(put(&cache, owner, 200, 0));
    }
    let before = cache.usage();
    for round in 1..1000 {
        for owner in &owners {
            get(&cache, owner, round);
            put(&cache, owner, 200, round);
        }
    }
    assert_eq!(cache.usage(), before);
    assert_eq!(get(&cache, &owners[0], 1000).unwrap().kept().head.stored, 999);
}
