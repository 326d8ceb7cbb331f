//! The difference between two record sets, for people.

use std::collections::{BTreeMap, BTreeSet};

use super::guard::{ENOUGH_READINGS, Hold, Key, Waits};
use crate::snapshot::model::{Alias, RecordSet, RrsetRef, Rrsets, Variant};
use crate::wire::{Name, Rtype};

/// One RRset or public alias that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The owner name.
    pub owner: Name,
    /// The type; public aliases are CNAME.
    pub rtype: Rtype,
    /// What is served; `None` for an addition.
    pub old: Option<Data>,
    /// What is wanted; `None` for a removal.
    pub new: Option<Data>,
    /// Why it is not served yet.
    pub why: Why,
    /// Since when it waits, Unix seconds; 0 if it does not.
    pub since: u64,
}

/// What an RRset says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The TTL in seconds; 0 for aliases, which have their target's.
    pub ttl: u32,
    /// The RDATA of each record, uncompressed wire form.
    pub rdatas: Vec<Box<[u8]>>,
    /// What clients of views get instead.
    variants: Vec<Variant>,
}

/// Why a change is not served yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is served from the next cycle on.
    AtOnce,
    /// An operator rolled back.
    Pinned,
    /// An operator must decide.
    Held(Hold),
    /// The grace time runs, so many seconds still.
    Grace(u64),
    /// Another fresh reading must say the same.
    Reading,
    /// Some source was never read.
    Unread,
    /// Something that waits stands at the name.
    InTheWay,
}

/// What decides the reasons.
#[derive(Clone, Copy, Debug)]
pub struct Reasons<'a> {
    /// What waits.
    pub waits: &'a Waits,
    /// The grace time, seconds.
    pub grace: u64,
    /// The cycles' clock.
    pub now: u64,
    /// An operator rolled back.
    pub is_pinned: bool,
    /// Some source was never read.
    pub is_blocked: bool,
    /// `wanted` differs from what is published only by what waits.
    pub is_published: bool,
}

/// What differs, by owner name and type.
pub fn changes(served: &RecordSet, wanted: &RecordSet, reasons: &Reasons<'_>) -> Vec<Change> {
    let (mut old, mut new) = (BTreeMap::new(), BTreeMap::new());
    for (was, is) in differences(served, wanted) {
        was.map(|(key, data)| old.insert(key, data));
        is.map(|(key, data)| new.insert(key, data));
    }
    let keys: BTreeSet<Key> = old.keys().chain(new.keys()).cloned().collect();
    let mut changes = Vec::new();
    for key in keys {
        // What moved from one zone into another is the same to clients.
        let (old, new) = (old.remove(&key), new.remove(&key));
        if old != new {
            let (why, since) = reasons.of(&key.0, key.1);
            changes.push(Change { owner: key.0, rtype: key.1, old, new, why, since });
        }
    }
    changes
}

/// One side of what differs.
type Side = Option<(Key, Data)>;

/// What differs by zone, and among the aliases.
fn differences(served: &RecordSet, wanted: &RecordSet) -> Vec<(Side, Side)> {
    let apexes: BTreeSet<&Name> = served.zones.iter().chain(&wanted.zones).map(|zone| &zone.apex).collect();
    let none = Rrsets::default();
    let mut found = Vec::new();
    for apex in apexes {
        let rrsets = |set: &RecordSet| -> Vec<Rrsets> {
            set.zones.iter().filter(|zone| zone.apex == *apex).map(|zone| zone.rrsets.clone()).collect()
        };
        let (old, new) = (rrsets(served), rrsets(wanted));
        for at in 0..old.len().max(new.len()) {
            let (old, new) = (old.get(at).unwrap_or(&none), new.get(at).unwrap_or(&none));
            found.extend(
                old.diff(new).map(|(was, is)| (was.as_ref().map(of_rrset), is.as_ref().map(of_rrset))),
            );
        }
    }
    if served.aliases.is_sorted() && wanted.aliases.is_sorted() {
        let differing = served.aliases.diff(&wanted.aliases);
        found.extend(differing.map(|(was, is)| (was.map(of_alias), is.map(of_alias))));
    } else if served.aliases != wanted.aliases {
        found.extend(served.aliases.iter().map(|alias| (Some(of_alias(alias)), None)));
        found.extend(wanted.aliases.iter().map(|alias| (None, Some(of_alias(alias)))));
    }
    found
}

fn of_rrset(rrset: &RrsetRef<'_>) -> (Key, Data) {
    let rrset = rrset.to_rrset();
    let data = Data { ttl: rrset.ttl, rdatas: rrset.rdatas, variants: rrset.variants };
    ((rrset.owner, rrset.rtype), data)
}

fn of_alias(alias: &Alias) -> (Key, Data) {
    let target = vec![alias.target.as_wire().into()];
    ((alias.public.clone(), Rtype::CNAME), Data { ttl: 0, rdatas: target, variants: Vec::new() })
}

impl Reasons<'_> {
    fn of(&self, owner: &Name, rtype: Rtype) -> (Why, u64) {
        if self.is_pinned {
            return (Why::Pinned, 0);
        }
        let Some(wait) = self.waits.removals.get(&(owner.clone(), rtype)) else {
            return (if self.is_published { Why::InTheWay } else { Why::AtOnce }, 0);
        };
        let left = wait.since.saturating_add(self.grace).saturating_sub(self.now);
        let why = match wait.held {
            Some(hold) => Why::Held(hold),
            None if self.is_blocked => Why::Unread,
            None if left > 0 => Why::Grace(left),
            None if wait.readings < ENOUGH_READINGS => Why::Reading,
            None => Why::AtOnce,
        };
        (why, wait.first_seen)
    }
}
