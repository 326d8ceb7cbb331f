//! The guard, case by case: what is published, what is read, what stays.

mod estate;
mod model;
mod properties;

use std::collections::BTreeSet;
use std::sync::Arc;

use estate::{Bench, Cycle, Estate, GRACE, estate, name};
use hubdns::sync::guard::{Hold, Key};
use hubdns::sync::provenance::Provenance;
use hubdns::wire::Rtype;

fn key(label: &str) -> Key {
    (name(&format!("{label}.privatelink.azurecr.io")), Rtype::A)
}

fn hold_of(bench: &Bench, label: &str) -> Option<Hold> {
    bench.waits.removals[&key(label)].held
}

#[test]
fn additions_and_changes_publish_at_once() {
    let mut bench = Bench::new("a! b!");
    let verdict = bench.check("a!=9 b! c!", "a!=9 b! c!");
    assert!(verdict.kept.is_empty());
}

#[test]
fn a_removal_waits_for_its_grace_time_and_two_readings() {
    let mut bench = Bench::new("a.x b.x c.x");
    bench.check("b.x c.x", "a.x b.x c.x");
    bench.now += GRACE - 1;
    bench.check("b.x c.x", "a.x b.x c.x");
    bench.now += 1;
    let verdict = bench.check("b.x c.x", "b.x c.x");
    assert!(verdict.waits.removals.is_empty());
}

#[test]
fn time_alone_confirms_nothing() {
    let mut bench = Bench::new("a.x b.x");
    bench.check("b.x", "a.x b.x");
    bench.now += 1_000_000;
    // The clock went far ahead, and nothing was read anew.
    let stale = Cycle { fresh: false, ..Cycle::default() };
    bench.check_in("b.x", "a.x b.x", &stale);
    bench.check("b.x", "b.x");
}

#[test]
fn without_a_grace_time_one_fresh_reading_is_enough() {
    let mut bench = Bench::new("a.x b.x");
    bench.rules.grace = 0;
    bench.check_in("b.x", "a.x b.x", &Cycle { fresh: false, ..Cycle::default() });
    bench.check("b.x", "b.x");
}

#[test]
fn a_clock_that_goes_back_begins_the_wait_anew() {
    let mut bench = Bench::new("a.x b.x");
    bench.check("b.x", "a.x b.x");
    bench.now -= 5000;
    bench.check("b.x", "a.x b.x");
    bench.now += GRACE - 1;
    bench.check("b.x", "a.x b.x");
    bench.now += 1;
    bench.check("b.x", "b.x");
}

#[test]
fn a_name_that_comes_back_cancels_its_removal() {
    let mut bench = Bench::new("a.x b.x");
    bench.check("b.x", "a.x b.x");
    bench.now += GRACE;
    bench.check("a.x b.x", "a.x b.x");
    assert!(bench.waits.removals.is_empty());
    bench.check("b.x", "a.x b.x");
    bench.now += GRACE - 1;
    bench.check("b.x", "a.x b.x");
}

#[test]
fn a_registry_that_loses_all_its_names_is_held_for_ever() {
    let mut bench = Bench::new("a! a.eastus.data! b!");
    for _ in 0..5 {
        bench.check("b!", "a! a.eastus.data! b!");
        bench.now += 10 * GRACE;
    }
    assert_eq!(hold_of(&bench, "a"), Some(Hold::Emptied));
    assert_eq!(bench.waits.held(), 4);
    // One replica of several is no more than a removal.
    let mut bench = Bench::new("a! a.eastus.data! b!");
    bench.check("a! b!", "a! a.eastus.data! b!");
    assert_eq!(hold_of(&bench, "a.eastus.data"), None);
    bench.now += GRACE;
    bench.check("a! b!", "a! b!");
}

#[test]
fn the_last_public_name_is_held_though_records_stay() {
    let mut bench = Bench::new("a! b!");
    let verdict = bench.check("a b!", "a! b!");
    assert_eq!(verdict.waits.removals[&(name("a.azurecr.io"), Rtype::CNAME)].held, Some(Hold::Emptied));
}

#[test]
fn removals_above_the_share_are_held_and_additions_are_not() {
    let mut bench = Bench::new("a.x b.x c.x d.x e.x");
    bench.rules.max_removed_percent = 20;
    bench.check("c.x d.x e.x f.x", "a.x b.x c.x d.x e.x f.x");
    assert_eq!(hold_of(&bench, "a.x"), Some(Hold::Share));
    // Once held, no later cycle confirms it, though fewer are missing now.
    bench.now += GRACE;
    bench.check("b.x c.x d.x e.x f.x", "a.x b.x c.x d.x e.x f.x");
    assert_eq!(bench.waits.held(), 1);
    let mut bench = Bench::new("a.x b.x c.x d.x e.x");
    bench.rules.max_removed_percent = 20;
    bench.check("b.x c.x d.x e.x", "a.x b.x c.x d.x e.x");
    assert_eq!(hold_of(&bench, "a.x"), None, "a fifth is not more than a fifth");
}

#[test]
fn a_name_asked_for_lately_holds_its_registry() {
    // Asked for by its public name; the record behind it is held too.
    let mut bench = Bench::new("a! a.eastus.data! b! c.x");
    bench.asked.insert(name("a.eastus.data.azurecr.io"), bench.now - 1000);
    bench.asked.insert(name("c.x.privatelink.azurecr.io"), bench.now - 1001);
    bench.check("a! b!", "a! a.eastus.data! b! c.x");
    assert_eq!(hold_of(&bench, "a.eastus.data"), Some(Hold::Asked));
    bench.now += 100_000;
    bench.check("a! b!", "a! a.eastus.data! b!");
    assert_eq!(hold_of(&bench, "a.eastus.data"), Some(Hold::Asked), "no time confirms it");
    let mut off = Bench::new("a! a.eastus.data! b!");
    off.rules.asked_within = 0;
    off.asked.insert(name("a.eastus.data.azurecr.io"), off.now);
    off.check("a! b!", "a! a.eastus.data! b!");
    assert_eq!(hold_of(&off, "a.eastus.data"), None);
}

#[test]
fn a_vanished_interface_never_lets_the_stale_zone_answer() {
    let mut bench = Bench::new("a!=1 b!");
    let verdict = bench.check("a=9 b! c", "a!=1 b! c");
    assert_eq!(verdict.displaced[&key("a")], [Box::from([10, 0, 0, 9])]);
    assert!(bench.waits.removals[&key("a")].downgrade);
    // The interface is back, at another address: that is no removal.
    bench.check("a!=5 b! c", "a!=5 b! c");
    assert!(bench.waits.removals.is_empty());
}

#[test]
fn a_downgrade_goes_after_the_grace_time_like_a_removal() {
    let mut bench = Bench::new("a.eastus.data! a!");
    let now = |bench: &mut Bench, expected: &str| bench.check("a.eastus.data=9 a!", expected);
    now(&mut bench, "a.eastus.data! a!");
    bench.now += GRACE;
    now(&mut bench, "a.eastus.data=9 a!");
}

#[test]
fn a_downgrade_to_the_same_data_still_protects_the_answer() {
    let mut bench = Bench::new("a.eastus.data!=1 a!");
    bench.check("a.eastus.data=1 a!", "a.eastus.data!=1 a!");
    // Now the zone changes: what the interface said stays.
    bench.check("a.eastus.data=9 a!", "a.eastus.data!=1 a!");
}

#[test]
fn the_configuration_takes_away_at_once() {
    let reload = Cycle { reloaded: true, rescoped: true, ..Cycle::default() };
    // By the kind of source: static always, files on a reload, Azure never.
    Bench::new("a.x@static b.x").check("b.x", "b.x");
    Bench::new("a.x@file b.x").check("b.x", "a.x@file b.x");
    Bench::new("a.x@file b.x").check_in("b.x", "b.x", &reload);
    Bench::new("a.x b.x").check_in("b.x", "a.x b.x", &reload);
    // A source that is gone from the configuration, on a restart too.
    let without = Cycle { sources: vec!["file"], ..Cycle::default() };
    Bench::new("a! b.x@file").check_in("b.x@file", "b.x@file", &without);
    // A suffix that is gone.
    let dropped = Cycle { dropped: vec![name("azurecr.io")], rescoped: true, ..Cycle::default() };
    Bench::new("a! b!").check_in("", "", &dropped);
}

#[test]
fn a_scope_that_shrinks_is_meant_and_a_lost_network_is_not() {
    let rescoped = Cycle { rescoped: true, ..Cycle::default() };
    Bench::new("a! b!").check_in("a? b!", "b!", &rescoped);
    Bench::new("a! b!").check("a? b!", "a! b!");
    // Another name's refusal excuses nothing.
    Bench::new("a! b! c!").check_in("a? c!", "b! c!", &rescoped);
}

#[test]
fn a_source_that_was_never_read_removes_nothing() {
    let blocked = Cycle { blocked: true, reloaded: true, rescoped: true, ..Cycle::default() };
    let mut bench = Bench::new("a.x@static b.x c!");
    bench.check_in("d.x", "a.x@static b.x c! d.x", &blocked);
    assert_eq!(bench.waits.held(), 0, "nobody need decide yet");
    bench.now += 10 * GRACE;
    bench.check_in("d.x", "a.x@static b.x c! d.x", &blocked);
    // What was meant goes once all sources were read, the rest waits its time.
    bench.check("d.x c!", "b.x c! d.x");
    bench.check("d.x c!", "c! d.x");
}

#[test]
fn what_is_of_unknown_origin_goes_only_when_everything_was_read() {
    let mut bench = Bench::new("a.x b.x");
    bench.published.provenance = Provenance::default();
    let partly = Cycle { everything: false, ..Cycle::default() };
    for _ in 0..4 {
        bench.check_in("b.x", "a.x b.x", &partly);
        bench.now += GRACE;
    }
    bench.check("b.x", "a.x b.x");
    bench.check("b.x", "b.x");
}

#[test]
fn an_operator_accepts_what_is_held() {
    let mut bench = Bench::new("a! b!");
    bench.check("b!", "a! b!");
    let accepted = BTreeSet::from([key("a"), (name("a.azurecr.io"), Rtype::CNAME)]);
    bench.check_in("b!", "b!", &Cycle { accepted: accepted.clone(), ..Cycle::default() });
    // What has come back by then stays.
    let mut bench = Bench::new("a! b!");
    bench.check("b!", "a! b!");
    bench.check_in("a! b!", "a! b!", &Cycle { accepted, ..Cycle::default() });
}

#[test]
fn an_alias_that_stays_keeps_what_it_leads_to() {
    let mut bench = Bench::new("a! b!");
    let accepted = BTreeSet::from([key("a")]);
    bench.check_in("b!", "a! b!", &Cycle { accepted, ..Cycle::default() });
}

#[test]
fn a_cname_and_other_data_never_meet() {
    // Of a better rank what is published stays, of the same what was read.
    let mut bench = Bench::new("a! b!");
    let verdict = bench.check("a:c b!", "a! b!");
    assert!(verdict.displaced.contains_key(&(key("a").0, Rtype::CNAME)));
    let mut bench = Bench::new("a.x b!");
    assert!(bench.check("a.x:c b!", "a.x:c b!").kept.is_empty());
    Bench::new("a.x:c b!").check("a.x b!", "a.x b!");
}

#[test]
fn what_is_ours_stays_ours() {
    let with_own = |words: &str, own: &[&str]| {
        let mut found = estate(words);
        found.set.own = Arc::new(own.iter().map(|text| name(text)).collect());
        found
    };
    let own = |bench: &mut Bench, read: Estate, cycle: &Cycle| -> Vec<String> {
        bench.cycle_of(read, cycle).set.own.iter().map(ToString::to_string).collect()
    };
    let mut bench = Bench::new("");
    bench.published = with_own("b!", &["a.azurecr.io", "b.azurecr.io"]);
    assert_eq!(own(&mut bench, with_own("b!", &["b.azurecr.io"]), &Cycle::default()).len(), 2);
    let forgotten = BTreeSet::from([name("a.azurecr.io")]);
    let accept = Cycle { forgotten, ..Cycle::default() };
    assert_eq!(own(&mut bench, with_own("b!", &["b.azurecr.io"]), &accept), ["b.azurecr.io"]);
    // The zone that missing names are denied by stays with them.
    let verdict = bench.cycle_of(with_own("", &[]), &Cycle { sources: Vec::new(), ..Cycle::default() });
    assert_eq!(verdict.set.zones.len(), 1);
    // The configuration alone may shrink it.
    let reload = Cycle { reloaded: true, ..Cycle::default() };
    assert!(own(&mut bench, with_own("", &[]), &reload).is_empty());
}
