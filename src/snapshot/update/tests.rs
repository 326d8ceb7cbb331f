//! What an update shares, and what it follows.

use super::super::model::{Rrset, Soa, Variant, ViewPrefixes, ZonePolicy};
use super::*;
use crate::wire::Name;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn rrset(owner: &str, rtype: Rtype, rdata: &[u8]) -> Rrset {
    let rdatas = vec![rdata.into()];
    Rrset { owner: name(owner), rtype, ttl: 10, rdatas, variants: Vec::new() }
}

fn estate(registries: usize) -> (RecordSet, AnswerOptions) {
    let mut rrsets = Vec::new();
    for index in 0..registries {
        for middle in ["", ".westeurope.data"] {
            let private = format!("reg{index}{middle}.privatelink.azurecr.io");
            let target = name(&private);
            rrsets.push(rrset(&private, Rtype::A, &[10, 0, 0, 1]));
            rrsets.push(rrset(&format!("reg{index}{middle}.azurecr.io"), Rtype::CNAME, target.as_wire()));
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

/// The lines of their own that look-ups of many registries touch: at most in
/// the entry, up to the answer's end, and per hundred look-ups with those of the index.
fn lines(snapshot: &Snapshot, middle: &str, rtype: Rtype) -> (usize, usize) {
    let touched = (0..2_000).map(|index| {
        let asked = name(&format!("reg{index}.{middle}azurecr.io"));
        let entry = snapshot.table.find(asked.as_wire()).unwrap();
        let body = entry.body(rtype).unwrap_or_else(|| entry.chain());
        snapshot.table.lines(asked.as_wire(), body.bytes)
    });
    let touched: Vec<(usize, usize)> = touched.collect();
    let most = touched.iter().map(|lines| lines.1).max().unwrap_or_default();
    let all: usize = touched.iter().map(|(index, entry)| index + entry).sum();
    let mean = all * 100 / touched.len();
    println!("{middle}azurecr.io {rtype:?}: at most {most} lines of the entry, {mean} per hundred in all");
    (most, mean)
}

#[test]
fn a_look_up_touches_few_lines() {
    let (set, options) = estate(10_000);
    let snapshot = Snapshot::build(&set, &options, 1);
    // A probe that meets neighbors may go on into the index's next line.
    for (middle, rtype, most, mean) in [
        ("privatelink.", Rtype::A, 2, 275),
        ("privatelink.", Rtype::AAAA, 2, 275),
        ("westeurope.data.privatelink.", Rtype::A, 2, 275),
        ("", Rtype::A, 3, 375),
        ("westeurope.data.", Rtype::A, 3, 375),
    ] {
        let (entry, lines) = lines(&snapshot, middle, rtype);
        assert!(entry <= most, "{middle} {rtype:?}: an entry in {entry} lines");
        assert!(lines <= mean, "{middle} {rtype:?}: {lines} lines per hundred");
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
fn a_name_takes_at_most_85_bytes() {
    let (set, options) = estate(10_000);
    let snapshot = Snapshot::build(&set, &options, 1);
    let each = snapshot.memory_bytes() / snapshot.names();
    assert!(each <= 85, "{each} bytes a name");
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
            entry.body(Rtype::A).map(|body| body.bytes.to_vec())
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
