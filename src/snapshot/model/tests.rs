//! RRsets in chunks behave like a sorted list of RRsets.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Model = BTreeMap<(Name, Rtype), Rrset>;

/// RRsets of few owners and types, so that they meet.
fn rrsets() -> impl Strategy<Value = Vec<Rrset>> {
    let rdatas = prop::collection::vec(0..400usize, 0..3);
    let one = (0..1200u32, 0..5usize, 0..3u32, rdatas, prop::collection::vec(1..5u8, 0..2));
    prop::collection::vec(one, 0..500).prop_map(|all| all.into_iter().map(rrset).collect())
}

fn rrset((owner, rtype, ttl, rdatas, views): (u32, usize, u32, Vec<usize>, Vec<u8>)) -> Rrset {
    let types = [Rtype::A, Rtype::CNAME, Rtype::TXT, Rtype(300), Rtype::NS];
    let data = |pick: &usize| -> Box<[u8]> {
        match types[rtype] {
            Rtype::CNAME => name(*pick as u32).as_wire().into(),
            _ => vec![*pick as u8; *pick].into(),
        }
    };
    let rdatas: Vec<Box<[u8]>> = rdatas.iter().map(data).collect();
    let variants = views.into_iter().map(|view| Variant { view, rdatas: rdatas.clone() }).collect();
    Rrset { owner: name(owner), rtype: types[rtype], ttl: ttl << 20, rdatas, variants }
}

fn name(number: u32) -> Name {
    format!("n{number}.corp.example").parse().unwrap()
}

fn model(rrsets: &[Rrset]) -> Model {
    let mut model = Model::new();
    for rrset in rrsets {
        model.entry((rrset.owner.clone(), rrset.rtype)).or_insert_with(|| rrset.clone());
    }
    model
}

fn list(rrsets: &Rrsets) -> Vec<Rrset> {
    rrsets.iter().map(|rrset| rrset.to_rrset()).collect()
}

fn built(model: &Model) -> Rrsets {
    model.values().cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_set_holds_what_went_in(all in rrsets()) {
        let model = model(&all);
        let set = Rrsets::from(all);
        prop_assert_eq!(set.len(), model.len());
        prop_assert_eq!(list(&set), model.values().cloned().collect::<Vec<_>>());
        for owner in (0..1200).step_by(7).map(name) {
            let expected: Vec<_> = model.values().filter(|rrset| rrset.owner == owner).cloned().collect();
            let found: Vec<_> = set.at(owner.as_wire()).map(|rrset| rrset.to_rrset()).collect();
            prop_assert_eq!(found, expected);
        }
        let saved = postcard::to_stdvec(&set).unwrap();
        prop_assert_eq!(&postcard::from_bytes::<Rrsets>(&saved).unwrap(), &set);
    }

    #[test]
    fn differences_are_those_of_the_lists(old in rrsets(), new in rrsets(), shared in rrsets()) {
        let with = |own: Vec<Rrset>| { let mut all = shared.clone(); all.extend(own); model(&all) };
        let (old, new) = (with(old), with(new));
        let (a, b) = (built(&old), built(&new));
        let found: Vec<_> = a.diff(&b).map(|(was, is)| (was.map(|r| r.to_rrset()), is.map(|r| r.to_rrset()))).collect();
        let keys: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
        let expected: Vec<_> = keys.into_iter().map(|key| (old.get(key).cloned(), new.get(key).cloned()))
            .filter(|(was, is)| was != is).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(a == b, old == new);
    }

    #[test]
    fn a_patched_set_is_the_set_of_the_patched_list(old in rrsets(), new in rrsets(), gone in prop::collection::vec(0..1200u32, 0..30)) {
        let old = model(&old);
        let mut changes: BTreeMap<(Name, Rtype), Option<Rrset>> = model(&new).into_iter().map(|(key, rrset)| (key, Some(rrset))).collect();
        changes.extend(gone.into_iter().map(|at| ((name(at), Rtype::A), None)));
        let mut expected = old.clone();
        for (key, new) in &changes {
            match new {
                Some(new) => drop(expected.insert(key.clone(), new.clone())),
                None => drop(expected.remove(key)),
            }
        }
        let patched = built(&old).patched(&changes.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(list(&patched), expected.values().cloned().collect::<Vec<_>>());
        // Chunks end where they would, had it been made at once.
        prop_assert_eq!(patched.shared_bytes(&built(&expected).sharing(&patched)), patched.bytes());
    }

    #[test]
    fn what_chunks_tell_is_so_of_their_rrsets(all in rrsets(), least in 0..4u32, greatest in 0..4u32) {
        let set = Rrsets::from(all);
        let bound = |ttl: u32| ttl.max(least << 20).min(greatest << 20);
        let expected: Vec<_> = list(&set).into_iter().map(|rrset| Rrset { ttl: bound(rrset.ttl), ..rrset }).collect();
        let bounded = set.bounded(bound);
        prop_assert_eq!(list(&bounded), expected);
        prop_assert_eq!(bounded.bounded(bound).shared_bytes(&bounded), bounded.bytes());
        let is_cut = |rrset: &Rrset| rrset.rtype == Rtype::NS;
        let cuts: Vec<_> = set.cuts().map(|rrset| rrset.to_rrset()).collect();
        prop_assert_eq!(cuts, list(&set).into_iter().filter(is_cut).collect::<Vec<_>>());
        let saved: Rrsets = postcard::from_bytes(&postcard::to_stdvec(&set).unwrap()).unwrap();
        prop_assert_eq!(saved.bounded(bound).shared_bytes(&saved), set.bounded(bound).shared_bytes(&set));
        prop_assert_eq!(saved.cuts().count(), set.cuts().count());
    }

    #[test]
    fn addresses_beyond_are_all_that_are_not_within(
        all in prop::collection::vec((0..90_000u32, any::<bool>(), 0..60_000u32), 0..1000), limit in 0..60_000u32,
    ) {
        let one = |(owner, is_v6, address): (u32, bool, u32)| {
            let rdata: Box<[u8]> =
                if is_v6 { u128::from(address).to_be_bytes().into() } else { address.to_be_bytes().into() };
            let rtype = if is_v6 { Rtype::AAAA } else { Rtype::A };
            Rrset { owner: name(owner), rtype, ttl: 1, rdatas: vec![rdata], variants: Vec::new() }
        };
        let set: Rrsets = all.into_iter().map(one).collect();
        let number = |address: std::net::IpAddr| match address {
            std::net::IpAddr::V4(address) => u128::from(u32::from(address)),
            std::net::IpAddr::V6(address) => u128::from(address),
        };
        let is_beyond = |rrset: &Rrset| {
            let last = rrset.rdatas[0].last_chunk().unwrap();
            u32::from_be_bytes(*last) >= limit
        };
        let expected: Vec<_> = list(&set).into_iter().filter(is_beyond).collect();
        let saved: Rrsets = postcard::from_bytes(&postcard::to_stdvec(&set).unwrap()).unwrap();
        for set in [&set, &saved] {
            let found = set.addresses_beyond(|least, greatest| {
                assert!(least <= greatest);
                number(greatest) < u128::from(limit)
            });
            let found: Vec<_> = found.map(|rrset| rrset.to_rrset()).filter(is_beyond).collect();
            prop_assert_eq!(found, expected.clone());
        }
        prop_assert_eq!(set.addresses_beyond(|_, _| true).count(), 0);
        prop_assert_eq!(set.addresses_beyond(|_, _| false).count(), set.len());
    }

    #[test]
    fn broken_bytes_are_refused_or_read(all in rrsets(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut saved = postcard::to_stdvec(&Rrsets::from(all)).unwrap();
        let at = at.index(saved.len());
        saved[at] = byte;
        if let Ok(set) = postcard::from_bytes::<Rrsets>(&saved) {
            prop_assert_eq!(list(&set).len(), set.len());
        }
    }
}

#[test]
fn one_change_leaves_the_other_chunks() {
    let estate = |address: u8| -> Rrsets {
        let one = |number: u32| {
            let data = if number == 77 { address } else { 1 };
            let rdatas = vec![vec![10, 0, 0, data].into()];
            Rrset { owner: name(number), rtype: Rtype::A, ttl: 10, rdatas, variants: Vec::new() }
        };
        (0..20_000).map(one).collect()
    };
    let (old, new) = (estate(1), estate(2));
    let new = new.sharing(&old);
    assert_eq!(old.diff(&new).count(), 1);
    assert!(new.shared_bytes(&old) * 20 > old.bytes() * 19);
    assert!(new.shared_bytes(&old) < old.bytes());
}

#[test]
fn a_target_among_the_owners_is_stored_once() {
    let pair = |number: u32| {
        let target: Name = format!("n{number}.privatelink.corp.example").parse().unwrap();
        let cname = Rrset {
            owner: name(number),
            rtype: Rtype::CNAME,
            ttl: 300,
            rdatas: vec![target.as_wire().into()],
            variants: Vec::new(),
        };
        let rdatas = vec![vec![10, 0, 0, 1].into()];
        [cname, Rrset { owner: target, rtype: Rtype::A, ttl: 300, rdatas, variants: Vec::new() }]
    };
    let all: Vec<Rrset> = (0..10_000).flat_map(pair).collect();
    let names: usize = all.iter().map(|rrset| rrset.owner.as_wire().len()).sum();
    let set = Rrsets::from(all.clone());
    assert!(set.bytes() < names + 10 * set.len(), "{} bytes", set.bytes());
    assert_eq!(list(&set).len(), all.len());
}
