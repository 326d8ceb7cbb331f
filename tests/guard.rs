//! The guard, case by case: what is published, what is proposed, what stays.

use hubdns::snapshot::model::{Alias, RecordSet, Rrset, Soa, Zone, ZonePolicy};
use hubdns::sync::guard::{Circumstances, Pending, Rules, Verdict, judge};
use hubdns::wire::{Name, Rtype};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A set of owners in `privatelink.azurecr.io` (or, with a dot, anywhere),
/// `x!` with a public alias too.
fn set(owners: &str) -> RecordSet {
    let apex = name("privatelink.azurecr.io");
    let mut zone =
        Zone { apex: apex.clone(), soa: Soa::azure(), policy: ZonePolicy::FallThrough, rrsets: Vec::new() };
    let mut aliases = Vec::new();
    let mut sorted: Vec<&str> = owners.split_whitespace().collect();
    sorted.sort_by_key(|word| name(&format!("{}.x", word.trim_end_matches('!'))));
    for word in sorted {
        let label = word.trim_end_matches('!');
        let owner = name(&format!("{label}.privatelink.azurecr.io"));
        if word.ends_with('!') {
            aliases.push(Alias { public: name(&format!("{label}.azurecr.io")), target: owner.clone() });
        }
        zone.rrsets.push(Rrset {
            owner,
            rtype: Rtype::A,
            ttl: 10,
            rdatas: vec![Box::new([10, 0, 0, 1])],
            variants: Vec::new(),
        });
    }
    zone.rrsets.sort_by(|a, b| a.owner.cmp(&b.owner));
    aliases.sort();
    let zones = if zone.rrsets.is_empty() { Vec::new() } else { vec![zone] };
    RecordSet { zones, aliases, own: Vec::new(), views: Vec::new() }
}

const NOW: u64 = 1_000;

fn run(
    before: &str,
    after: &str,
    change: impl FnOnce(&mut Circumstances<'_>),
    pending: Option<&Pending>,
) -> Verdict {
    let suffixes = [name("azurecr.io")];
    let mut circumstances =
        Circumstances { suffixes: &suffixes, reconfigured: false, incomplete: false, now: NOW };
    change(&mut circumstances);
    judge(&set(before), set(after), pending, &Rules::default(), &circumstances)
}

#[track_caller]
fn check(before: &str, after: &str, expected: &str) -> Verdict {
    let verdict = run(before, after, |_| {}, None);
    assert_eq!(verdict.set, set(expected), "{:?}", verdict.held);
    assert_eq!(verdict.held.is_empty(), verdict.pending.is_none());
    verdict
}

#[test]
fn additions_and_small_removals_publish_at_once() {
    check("", "a! b!", "a! b!");
    check("a", "a b c d e f g", "a b c d e f g");
    // Hosts that are no registry names: `x.y` has two labels.
    check("a.x b.x c.x", "b.x c.x", "b.x c.x");
}

#[test]
fn removals_above_half_of_the_set_wait() {
    let verdict = check("a.x b.x c.x d.x", "d.x", "a.x b.x c.x d.x");
    assert_eq!(verdict.held.len(), 3);
    check("a.x b.x c.x d.x", "c.x d.x", "c.x d.x");
    check("a.x b.x", "c.x", "a.x b.x c.x");
}

#[test]
fn removals_that_empty_a_registry_wait() {
    let all = "a! a.eastus.data! b! c! d! e!";
    check(all, "b! c! d! e!", all);
    check(all, "a! b! c! d! e!", "a! b! c! d! e!");
    // Its records stay in the zone, but no public name leads there any more.
    check(all, "a a.eastus.data b! c! d! e!", all);
    // Of two registries the one that is emptied waits alone.
    check(all, "a.eastus.data! c! d! e!", "a.eastus.data! b! c! d! e!");
}

#[test]
fn a_second_reading_later_confirms() {
    let (before, after) = ("a! b! c! d!", "b! c! d!");
    let first = run(before, after, |_| {}, None);
    let pending = first.pending.unwrap();
    let soon = run(before, after, |c| c.now = NOW + 59, Some(&pending));
    assert_eq!(soon.set, set(before));
    assert_eq!(soon.pending.as_ref(), Some(&pending), "the time goes on");
    let later = run(before, after, |c| c.now = NOW + 60, Some(&pending));
    assert_eq!((later.set, later.pending), (set(after), None));
    // Another removal starts anew.
    let other = run(before, "a! c! d!", |c| c.now = NOW + 60, Some(&pending));
    assert_eq!(other.set, set(before));
    assert_eq!(other.pending.unwrap().since, NOW + 60);
}

#[test]
fn a_clock_that_goes_back_confirms_nothing() {
    let (before, after) = ("a! b! c! d!", "b! c! d!");
    let pending = run(before, after, |_| {}, None).pending.unwrap();
    assert_eq!(run(before, after, |c| c.now = 0, Some(&pending)).set, set(before));
}

#[test]
fn removals_by_a_new_configuration_are_meant() {
    let verdict = run("a! b! c! d!", "", |c| c.reconfigured = true, None);
    assert_eq!(verdict.set, set(""));
}

#[test]
fn a_silent_source_holds_everything_back() {
    for reconfigured in [false, true] {
        let change = |c: &mut Circumstances<'_>| (c.incomplete, c.reconfigured) = (true, reconfigured);
        let verdict = run("a.x b.x c.x d.x", "b.x e.x", change, None);
        assert_eq!(verdict.set, set("a.x b.x c.x d.x e.x"));
        assert_eq!(verdict.pending, None);
    }
}

#[test]
fn nothing_new_is_hidden_by_what_is_held() {
    // The held A of `a` would stand beside a new CNAME.
    let mut proposed = set("b.x");
    let rrset = &mut proposed.zones[0].rrsets[0];
    (rrset.owner, rrset.rtype) = (name("a.x.privatelink.azurecr.io"), Rtype::CNAME);
    let suffixes = [name("azurecr.io")];
    let circumstances =
        Circumstances { suffixes: &suffixes, reconfigured: false, incomplete: true, now: NOW };
    let verdict = judge(&set("a.x"), proposed.clone(), None, &Rules::default(), &circumstances);
    assert_eq!(verdict.set, proposed);
}
