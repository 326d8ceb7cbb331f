//! The difference between two record sets, for people.

use std::collections::BTreeMap;

use super::guard::{ENOUGH_READINGS, Hold, Waits};
use crate::snapshot::model::{RecordSet, Variant};
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
    let (old, new) = (index(served), index(wanted));
    let keys = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
    let mut changes = Vec::new();
    for key in keys {
        let (was, is) = (old.get(key), new.get(key));
        if was != is {
            let (why, since) = reasons.of(key.0, key.1);
            let (old, new) = (was.cloned(), is.cloned());
            changes.push(Change { owner: key.0.clone(), rtype: key.1, old, new, why, since });
        }
    }
    changes.sort_by(|a, b| (&a.owner, a.rtype).cmp(&(&b.owner, b.rtype)));
    changes
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

fn index(set: &RecordSet) -> BTreeMap<(&Name, Rtype), Data> {
    let rrsets = set.zones.iter().flat_map(|zone| &zone.rrsets).map(|rrset| {
        let data = Data { ttl: rrset.ttl, rdatas: rrset.rdatas.clone(), variants: rrset.variants.clone() };
        ((&rrset.owner, rrset.rtype), data)
    });
    let aliases = set.aliases.iter().map(|alias| {
        let target = vec![alias.target.as_wire().into()];
        ((&alias.public, Rtype::CNAME), Data { ttl: 0, rdatas: target, variants: Vec::new() })
    });
    rrsets.chain(aliases).collect()
}
