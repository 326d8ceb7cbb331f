//! A small world for the guard, driven by bytes: the property test makes them
//! up, the fuzzer mutates them, and its seeds are replayed.
//!
//! Whatever is read, a key leaves the published set only by time and readings,
//! by an operator, by the configuration, or for other data at its name; and no
//! addition waits for an unrelated removal.

use std::collections::BTreeSet;

use hubdns::snapshot::model::RecordSet;
use hubdns::sync::guard::{Key, Verdict, Waits};
use hubdns::wire::{Name, Rtype};

use crate::estate::{Bench, Cycle, Estate, GRACE, estate, name};

/// Names of two registries and two hosts.
const LABELS: [&str; 6] = ["a", "a.eastus.data", "b", "b.westus.geo", "h.x", "i.x"];
/// Bytes of one cycle.
const STEP: usize = LABELS.len() + 4;
/// Cycles of one run.
const MAX_STEPS: usize = 40;

/// Runs the cycles that `bytes` describe; panics where the guard fails.
pub(crate) fn run(bytes: &[u8]) {
    let Some((start, rest)) = bytes.split_at_checked(LABELS.len()) else { return };
    let Some((&rules, rest)) = rest.split_first() else { return };
    let mut bench = Bench::new(&words(start));
    bench.rules.grace = if rules & 1 == 0 { GRACE } else { 0 };
    bench.rules.max_removed_percent = [100, 60, 20, 0][usize::from(rules >> 1 & 3)];
    for bytes in rest.chunks_exact(STEP).take(MAX_STEPS) {
        step(&mut bench, bytes);
    }
}

/// What was read of each name: nothing, a record of a zone, of an interface,
/// of the configuration or of a file, a CNAME, an interface out of scope.
fn words(choices: &[u8]) -> String {
    let word = |(label, choice): (&&str, &u8)| {
        let is_registry = !label.contains(".x");
        match choice % 9 {
            1 => (*label).to_owned(),
            2 => format!("{label}=2"),
            3 if is_registry => format!("{label}!"),
            4 if is_registry => format!("{label}!=3"),
            5 => format!("{label}:c"),
            6 => format!("{label}@static"),
            7 if is_registry => format!("{label}?"),
            8 => format!("{label}@file"),
            _ => String::new(),
        }
    };
    LABELS.iter().zip(choices).map(word).collect::<Vec<_>>().join(" ")
}

/// What a cycle came with, as the checks need it.
struct Before<'a> {
    published: &'a Estate,
    waits: &'a Waits,
    cycle: &'a Cycle,
    /// Names whose interface is on offer out of scope.
    refused: BTreeSet<Name>,
    asked: BTreeSet<Name>,
}

fn step(bench: &mut Bench, bytes: &[u8]) {
    let (choices, rest) = bytes.split_at(LABELS.len());
    let [wait, flags, asked, accept] = *rest else { return };
    bench.now += u64::from(wait) * 3;
    let flag = |bit: u8| flags & 1 << bit != 0;
    if let Some(label) = LABELS.get(usize::from(asked)) {
        let owner = if label.contains(".x") {
            format!("{label}.privatelink.azurecr.io")
        } else {
            format!("{label}.azurecr.io")
        };
        bench.asked.insert(name(&owner), bench.now);
    }
    let accepted = LABELS.get(usize::from(accept)).map(|label| keys_of(label)).unwrap_or_default();
    let reloaded = flag(2) && flag(3);
    let cycle = Cycle {
        fresh: flag(0),
        everything: flag(4),
        blocked: flag(1) && flag(5),
        reloaded,
        rescoped: reloaded || flag(6) && flag(7),
        accepted,
        ..Cycle::default()
    };
    let read = estate(&words(choices));
    let wanted = keys(&read.set);
    let (published, waits) = (bench.published.clone(), bench.waits.clone());
    let is_refused = |(_, choice): &(&&str, &u8)| *choice % 9 == 7;
    let refused = LABELS.iter().zip(choices).filter(is_refused).flat_map(|(label, _)| forms(label)).collect();
    let recent = bench.asked.iter().filter(|(_, at)| bench.now - **at <= bench.rules.asked_within);
    let asked = recent.map(|(name, _)| name.clone()).collect();
    let before = Before { published: &published, waits: &waits, cycle: &cycle, refused, asked };
    let verdict = bench.cycle_of(read, &cycle);
    for key in &wanted {
        let in_the_way = verdict.kept.iter().any(|kept| kept.0 == key.0);
        assert!(keys(&verdict.set).contains(key) || in_the_way, "{key:?} is delayed");
    }
    check_losses(bench, &before, &verdict);
    check_form(&verdict);
}

fn check_losses(bench: &Bench, before: &Before<'_>, verdict: &Verdict) {
    let (was, is) = (keys(&before.published.set), keys(&verdict.set));
    let mut unexplained = BTreeSet::new();
    for key in was.difference(&is) {
        let replaced = is
            .iter()
            .any(|(owner, rtype)| *owner == key.0 && (*rtype == Rtype::CNAME || key.1 == Rtype::CNAME));
        if replaced || before.cycle.accepted.contains(key) || before.is_meant(key) {
            continue;
        }
        let wait = before.waits.removals.get(key);
        assert!(!before.cycle.blocked, "{key:?} has gone though a source was never read");
        assert!(wait.is_none_or(|wait| wait.held.is_none()), "{key:?} was held and has gone");
        let now_read = u8::from(before.cycle.fresh);
        let confirmed = if bench.rules.grace == 0 {
            before.cycle.fresh || wait.is_some_and(|wait| wait.readings > 0)
        } else {
            wait.is_some_and(|wait| wait.readings + now_read >= 2 && bench.now - wait.since >= GRACE)
        };
        assert!(confirmed, "{key:?} has gone: {wait:?}");
        let lately = forms_of(&key.0).iter().any(|form| before.asked.contains(form));
        assert!(!lately, "{key:?} has gone though it was asked for");
        unexplained.insert(key.clone());
    }
    // Time takes no registry its last public name, nor its last record.
    for registry in ["a", "b"] {
        for suffix in ["privatelink.azurecr.io", "azurecr.io"] {
            let of = |keys: &BTreeSet<Key>| {
                let labels = LABELS.iter().filter(|label| label.starts_with(registry));
                let owners: Vec<Name> = labels.map(|label| name(&format!("{label}.{suffix}"))).collect();
                keys.iter().filter(|key| owners.contains(&key.0)).count()
            };
            assert!(of(&is) > 0 || of(&unexplained) == 0, "{registry} under {suffix} was emptied");
        }
    }
    let share = unexplained.len() * 100 <= bench.rules.max_removed_percent * was.len();
    assert!(share || bench.rules.grace > 0, "too many have gone at once");
}

impl Before<'_> {
    /// Whether the configuration takes the key away.
    fn is_meant(&self, key: &Key) -> bool {
        if self.cycle.blocked {
            return false;
        }
        let entry = self.published.provenance.entry(&key.0, key.1).and_then(|entry| entry.winner);
        let listing = entry.and_then(|winner| self.published.provenance.listing(&winner));
        let by_source = listing.is_some_and(|listing| match listing.id.source.as_str() {
            "static" => true,
            "file" => self.cycle.reloaded,
            _ => false,
        });
        let by_scope = self.cycle.rescoped && self.refused.contains(&key.0);
        by_source || by_scope || self.waits.removals.get(key).is_some_and(|wait| wait.meant)
    }
}

/// What waits is served, what is kept waits, no alias leads nowhere, no CNAME
/// stands beside other data, nothing is there twice.
fn check_form(verdict: &Verdict) {
    let all = keys(&verdict.set);
    for key in verdict.waits.removals.keys() {
        assert!(all.contains(key), "{key:?} waits and is not served");
    }
    assert_eq!(verdict.kept.len(), verdict.waits.removals.len());
    for alias in &verdict.set.aliases {
        assert!(all.iter().any(|(owner, _)| *owner == alias.target), "{} leads nowhere", alias.public);
    }
    let mut seen: BTreeSet<Key> = BTreeSet::new();
    for rrset in verdict.set.zones.iter().flat_map(|zone| &zone.rrsets) {
        assert!(seen.insert((rrset.owner.to_name(), rrset.rtype)), "{} twice", rrset.owner);
    }
    for (owner, rtype) in &seen {
        let alone = *rtype != Rtype::CNAME || seen.iter().filter(|key| key.0 == *owner).count() == 1;
        assert!(alone, "{owner} has a CNAME and other data");
    }
}

fn keys(set: &RecordSet) -> BTreeSet<Key> {
    let rrsets = set.zones.iter().flat_map(|zone| &zone.rrsets);
    let aliases = set.aliases.iter().map(|alias| (alias.public.clone(), Rtype::CNAME));
    rrsets.map(|rrset| (rrset.owner.to_name(), rrset.rtype)).chain(aliases).collect()
}

fn forms(label: &str) -> [Name; 2] {
    [name(&format!("{label}.azurecr.io")), name(&format!("{label}.privatelink.azurecr.io"))]
}

/// Both forms of a name of the model.
fn forms_of(owner: &Name) -> Vec<Name> {
    let all = LABELS.iter().map(|label| forms(label));
    all.filter(|forms| forms.contains(owner)).flatten().collect()
}

fn keys_of(label: &str) -> BTreeSet<Key> {
    forms(label).into_iter().flat_map(|form| [(form.clone(), Rtype::A), (form, Rtype::CNAME)]).collect()
}
