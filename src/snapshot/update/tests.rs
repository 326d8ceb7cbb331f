//! What an update shares, and what it follows.

use super::super::model::{Rrset, Soa, Variant, ViewPrefixes, ZonePolicy};
use super::*;
use crate::wire::Name;
use crate::wire::body::MAX_IN_PIECES;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn rrset(owner: &str, rtype: Rtype, rdata: &[u8]) -> Rrset {
    let rdatas = vec![rdata.into()];
    Rrset { owner: name(owner), rtype, ttl: 10, rdatas, variants: Vec::new() }
}

fn estate(registries: usize) -> (RecordSet, AnswerOptions) {
    estate_of("reg", registries)
}

fn estate_of(label: &str, registries: usize) -> (RecordSet, AnswerOptions) {
    let mut rrsets = Vec::new();
    for index in 0..registries {
        for middle in ["", ".westeurope.data"] {
            let private = format!("{label}{index}{middle}.privatelink.azurecr.io");
            let target = name(&private);
            rrsets.push(rrset(&private, Rtype::A, &[10, 0, 0, 1]));
            rrsets.push(rrset(&format!("{label}{index}{middle}.azurecr.io"), Rtype::CNAME, target.as_wire()));
        }
    }
    rrsets.sort_by(|a, b| (&a.owner, a.rtype).cmp(&(&b.owner, b.rtype)));
    let apex = name("azurecr.io");
    let zones =
        vec![Zone { apex, soa: Soa::azure(), policy: ZonePolicy::FallThrough, rrsets: rrsets.into() }];
    let suffixes = vec![name("azurecr.io")];
    let options = AnswerOptions { flat: false, forward_own_missing: false, suffixes, special: Vec::new() };
    (RecordSet { zones, ..RecordSet::default() }, options)
}

/// The lines of their own that look-ups of many registries touch in the index and in the entry:
/// at most, and per hundred look-ups in all.
fn lines(snapshot: &Snapshot, label: &str, middle: &str) -> (usize, usize, usize) {
    let touched = (0..2_000).map(|index| {
        let asked = name(&format!("{label}{index}.{middle}azurecr.io"));
        snapshot.table.lines(asked.as_wire())
    });
    let touched: Vec<(usize, usize)> = touched.collect();
    let index = touched.iter().map(|lines| lines.0).max().unwrap_or_default();
    let entry = touched.iter().map(|lines| lines.1).max().unwrap_or_default();
    let all: usize = touched.iter().map(|(index, entry)| index + entry).sum();
    let mean = all * 100 / touched.len();
    println!("{label}.{middle}azurecr.io: at most {index} and {entry} lines, {mean} per hundred in all");
    (index, entry, mean)
}

#[test]
fn a_look_up_touches_two_lines() {
    // What is asked for makes no difference: an entry lies in one line as a whole.
    for label in ["reg", "a-registry-with-a-name-of-fifty-letters-at-most"] {
        let (set, options) = estate_of(label, 10_000);
        let snapshot = Snapshot::build(&set, &options, 1);
        for middle in ["", "privatelink.", "westeurope.data.", "westeurope.data.privatelink."] {
            assert_eq!(lines(&snapshot, label, middle), (1, 1, 200), "{label} {middle}");
        }
    }
}

#[test]
fn a_name_of_another_kind_is_whole_and_answers() {
    let (before, options) = estate(1_000);
    let first = Snapshot::build(&before, &options, 1);
    let mut after = before.clone();
    let private = name("odd-one-out.privatelink.azurecr.io");
    after.zones[0].rrsets.extend([
        rrset("odd-one-out.azurecr.io", Rtype::CNAME, private.as_wire()),
        rrset("odd-one-out.privatelink.azurecr.io", Rtype::A, &[10, 0, 0, 9]),
    ]);
    let updated = Snapshot::update(&first, &before, &after, &options, 2).unwrap();
    let built = Snapshot::build(&after, &options, 2);
    for asked in ["odd-one-out.azurecr.io", "odd-one-out.privatelink.azurecr.io", "reg7.azurecr.io"] {
        let body = |snapshot: &Snapshot| {
            let entry = snapshot.table.find(name(asked).as_wire()).unwrap();
            entry.body(Rtype::A).unwrap().joined(&mut [0; MAX_IN_PIECES]).to_vec()
        };
        assert_eq!(body(&updated), body(&built), "{asked}");
        let is_whole = |snapshot: &Snapshot| !snapshot.table.find(name(asked).as_wire()).unwrap().is_shaped();
        assert_eq!(is_whole(&updated), asked.starts_with("odd"), "{asked}");
    }
}

/// The set with another RRset of that owner.
fn changed(set: &RecordSet, owner: &str, change: impl FnOnce(&mut Rrset)) -> RecordSet {
    let mut set = set.clone();
    set.zones[0].rrsets.edit(|rrsets| {
        change(rrsets.iter_mut().find(|rrset| rrset.owner == name(owner)).unwrap());
    });
    set
}

#[test]
fn a_name_takes_at_most_32_bytes() {
    let (set, options) = estate(10_000);
    let snapshot = Snapshot::build(&set, &options, 1);
    let each = snapshot.memory_bytes() / snapshot.names();
    assert!(each <= 32, "{each} bytes a name");
}

#[test]
fn views_are_gone_with_the_last_variant() {
    let (mut plain, options) = estate(1_000);
    let clients = vec!["10.8.0.0/16".parse().unwrap()];
    plain.views.push(ViewPrefixes { name: "spokes".to_owned(), clients });
    let varied = changed(&plain, "reg77.privatelink.azurecr.io", |rrset| {
        rrset.variants = vec![Variant { view: 1, rdatas: vec![[10, 9, 9, 9].into()] }];
    });
    let mut snapshot = Snapshot::build(&plain, &options, 1);
    assert!(!snapshot.has_views());
    for (before, after, has_views) in [(&plain, &varied, true), (&varied, &plain, false)] {
        snapshot = Snapshot::update(&snapshot, before, after, &options, 2).unwrap();
        assert_eq!(snapshot.has_views(), has_views);
    }
}

#[test]
fn names_between_come_and_go_without_a_search() {
    let (before, options) = estate(1_000);
    let first = Snapshot::build(&before, &options, 1);
    let held = |snapshot: &Snapshot, text: &str| {
        let found = snapshot.table.find(name(text).as_wire());
        (found.map(|entry| entry.flags().exists()), snapshot.table.children(name(text).as_wire()))
    };
    let mut grown = before.clone();
    grown.zones[0].rrsets.extend([
        rrset("a.brand.new.azurecr.io", Rtype::A, &[10, 0, 0, 1]),
        rrset("b.brand.new.azurecr.io", Rtype::A, &[10, 0, 0, 1]),
    ]);
    let second = Snapshot::update(&first, &before, &grown, &options, 2).unwrap();
    assert_eq!(held(&second, "brand.new.azurecr.io"), (Some(true), 2));
    assert_eq!(held(&second, "new.azurecr.io"), (Some(true), 1));
    let zones = held(&first, "azurecr.io").1;
    assert_eq!(held(&second, "azurecr.io").1, zones + 1);
    // One of two goes, then the other one, and the names above it with it.
    let mut fewer = grown.clone();
    fewer.zones[0].rrsets.edit(|rrsets| rrsets.retain(|r| r.owner != name("a.brand.new.azurecr.io")));
    let third = Snapshot::update(&second, &grown, &fewer, &options, 3).unwrap();
    assert_eq!(held(&third, "brand.new.azurecr.io"), (Some(true), 1));
    let last = Snapshot::update(&third, &fewer, &before, &options, 4).unwrap();
    for gone in ["b.brand.new.azurecr.io", "brand.new.azurecr.io", "new.azurecr.io"] {
        assert_eq!(held(&last, gone), (None, 0), "{gone}");
    }
    assert_eq!(held(&last, "azurecr.io").1, zones);
    for snapshot in [&second, &third, &last] {
        let fresh = first.table.unshared(&snapshot.table);
        assert!(fresh <= 12, "{fresh} of {} shards", first.table.shard_count());
    }
}

#[test]
fn a_change_of_a_target_rewrites_the_aliases_in_front_of_it() {
    let (mut before, options) = estate(1_000);
    let target = "reg77.privatelink.azurecr.io";
    for index in 0..20 {
        let alias = rrset(&format!("way{index}.azurecr.io"), Rtype::CNAME, name(target).as_wire());
        before.zones[0].rrsets.extend([alias]);
    }
    let first = Snapshot::build(&before, &options, 1);
    let after = changed(&before, target, |rrset| rrset.rdatas = vec![[10, 9, 9, 9].into()]);
    let second = Snapshot::update(&first, &before, &after, &options, 2).unwrap();
    let mut gone = after.clone();
    gone.zones[0].rrsets.edit(|rrsets| rrsets.retain(|rrset| rrset.owner != name(target)));
    let third = Snapshot::update(&second, &after, &gone, &options, 3).unwrap();
    let mut shards = BTreeSet::new();
    for index in 0..20 {
        let alias = name(&format!("way{index}.azurecr.io"));
        shards.insert(first.table.shard_number(alias.as_wire()));
        let entry = |of: &'_ Snapshot| {
            let entry = of.table.find(alias.as_wire()).unwrap();
            entry.body(Rtype::A).map(|body| body.joined(&mut [0; MAX_IN_PIECES]).to_vec())
        };
        assert!(entry(&first).unwrap().ends_with(&[10, 0, 0, 1]));
        assert!(entry(&second).unwrap().ends_with(&[10, 9, 9, 9]));
        assert_eq!(entry(&third), None);
    }
    assert!(shards.len() > 10, "the aliases lie in many shards");
}

#[test]
fn what_does_not_change_is_shared() {
    let (before, options) = estate(1_000);
    let snapshot = Snapshot::build(&before, &options, 1);
    let after = changed(&before, "reg77.privatelink.azurecr.io", |rrset| {
        rrset.rdatas = vec![[10, 9, 9, 9].into()];
    });
    let updated = Snapshot::update(&snapshot, &before, &after, &options, 2).unwrap();
    // The name, the name whose CNAME leads there, the apex with its serial.
    let fresh = snapshot.table.unshared(&updated.table);
    assert!((2..=3).contains(&fresh), "{fresh} of {} shards", snapshot.table.shard_count());
    assert_eq!(updated.names(), snapshot.names());
}
