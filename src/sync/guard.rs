//! What may be taken away. Additions and changes of addresses publish at
//! once; removals wait, and those that look like an accident wait for an
//! operator.
//!
//! ```text
//! gone, or offered by a lower rank alone
//!   ├─ accepted by an operator, or made by the configuration ─▶ goes at once
//!   ├─ a share of the set, all of a registry, asked for lately ─▶ held back
//!   └─ else ─▶ goes after the grace time and two fresh readings
//! ```
//!
//! What waits stays published as it was. Nothing else waits for it: an
//! addition is never delayed by a removal, unless both are the same owner
//! name with data that cannot stand together. Pure: cycles keep the state.

mod hold;
mod keep;
mod meant;
mod wait;

use std::collections::{BTreeMap, BTreeSet};

use crate::snapshot::model::{RecordSet, Rrsets};
use crate::sources::facts::ListingId;
use crate::sync::provenance::{Provenance, Rank, Sighting};
use crate::wire::{Name, Rtype};

pub(super) use hold::login;
pub use wait::{ENOUGH_READINGS, Hold, Key, Wait, Waits};

/// The limits, from the configuration's `guard`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Removals take effect after this time, seconds.
    pub grace: u64,
    /// Removals above this share of the published set are held back, percent.
    pub max_removed_percent: usize,
    /// Removals of names asked for within this time are held back, seconds.
    pub asked_within: u64,
}

/// A set with where it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The set.
    pub set: &'a RecordSet,
    /// Its origins.
    pub provenance: &'a Provenance,
}

impl Side<'_> {
    fn winner(&self, key: &Key) -> Option<Sighting> {
        self.provenance.entry(&key.0, key.1)?.winner
    }

    fn rank(&self, key: &Key) -> Option<Rank> {
        self.winner(key).map(|winner| winner.rank)
    }
}

/// What was read anew in this cycle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// Listings that were read.
    pub listings: BTreeSet<ListingId>,
    /// Listings that count, read now or before.
    pub present: BTreeSet<ListingId>,
    /// Sources that were read, in part at least.
    pub sources: BTreeSet<String>,
    /// Every source was read, and each of them whole.
    pub everything: bool,
}

impl Freshness {
    /// Whether this cycle says something new of what `listing` had; of what
    /// is of unknown origin only a cycle that read everything does.
    fn covers(&self, listing: Option<&ListingId>) -> bool {
        listing.map_or(self.everything, |id| {
            self.listings.contains(id) || !self.present.contains(id) && self.sources.contains(&id.source)
        })
    }
}

/// What the guard must know besides the two sets.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The registry suffixes in force.
    pub suffixes: &'a [Name],
    /// The sources of the configuration.
    pub sources: &'a [&'a str],
    /// An operator had the configuration and its files read again.
    pub reloaded: bool,
    /// The scope of the configuration is another than before.
    pub rescoped: bool,
    /// Suffixes and zones that the configuration does not name any more.
    pub dropped: &'a [Name],
    /// Some source never said anything, or its first reading still runs:
    /// nothing can be taken for removed.
    pub blocked: bool,
    /// What was read anew.
    pub fresh: &'a Freshness,
    /// When names were asked for, on the cycles' clock.
    pub asked: &'a BTreeMap<Name, u64>,
    /// Removals that an operator has accepted.
    pub accepted: &'a BTreeSet<Key>,
    /// Registries that are ours no more, by an operator's word.
    pub forgotten: &'a BTreeSet<Name>,
    /// The cycles' clock, seconds: it never jumps while the process runs.
    pub now: u64,
    /// The wall clock, Unix seconds.
    pub wall: u64,
}

/// The guard's decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What may be published.
    pub set: RecordSet,
    /// What is kept in it though it was to go or to change, sorted.
    pub kept: Vec<Key>,
    /// What stands back for that: RDATA that was read and is not published.
    pub displaced: BTreeMap<Key, Vec<Box<[u8]>>>,
    /// What of `kept` waits for what.
    pub waits: Waits,
}

/// Decides what of `proposed` may replace `published`.
pub fn judge(
    published: Side<'_>,
    proposed: RecordSet,
    provenance: &Provenance,
    waits: &Waits,
    rules: &Rules,
    circumstances: &Circumstances<'_>,
) -> Verdict {
    let losses = losses(&published, &proposed, provenance);
    let mut staying: BTreeMap<Key, Wait> = BTreeMap::new();
    let mut trusted: BTreeSet<Key> = BTreeSet::new();
    for (key, loss) in &losses {
        if circumstances.accepted.contains(key) {
            continue;
        }
        let known = waits.removals.get(key);
        let meant = known.is_some_and(|wait| wait.meant)
            || meant::is_meant(key, &published, provenance, circumstances);
        if meant && !circumstances.blocked {
            continue;
        }
        let listing = published.winner(key).and_then(|winner| published.provenance.listing(&winner));
        let id = listing.map(|listing| &listing.id);
        let mut wait = known.cloned().unwrap_or(Wait {
            since: circumstances.now,
            first_seen: circumstances.wall,
            readings: 0,
            downgrade: false,
            meant,
            held: None,
            rejected: false,
        });
        // A clock that went back over a restart: the wait begins anew.
        wait.since = wait.since.min(circumstances.now);
        (wait.meant, wait.downgrade) = (meant, *loss != Loss::Gone);
        if !circumstances.blocked && (id.is_some() || circumstances.fresh.everything) {
            if circumstances.fresh.covers(id) {
                wait.readings = ENOUGH_READINGS.min(wait.readings.saturating_add(1));
            }
            trusted.insert(key.clone());
        }
        staying.insert(key.clone(), wait);
    }
    let gone: BTreeSet<&Key> =
        losses.iter().filter(|(_, loss)| **loss == Loss::Gone).map(|(key, _)| key).collect();
    let judged: BTreeSet<&Key> = losses
        .iter()
        .filter(|(key, loss)| **loss != Loss::Unseen && trusted.contains(*key))
        .map(|(key, _)| key)
        .collect();
    for (key, why) in hold::suspicious(published.set, &gone, &judged, rules, circumstances) {
        if let Some(wait) = staying.get_mut(&key) {
            wait.held.get_or_insert(why);
        }
    }
    staying.retain(|key, wait| !(trusted.contains(key) && is_due(wait, rules, circumstances.now)));
    keep_targets(published.set, &proposed, &gone, &mut staying);
    assemble(published, proposed, provenance, staying, circumstances)
}

/// Whether time and readings confirm a removal.
fn is_due(wait: &Wait, rules: &Rules, now: u64) -> bool {
    // Without a grace time the first fresh reading says it all.
    let enough = if rules.grace == 0 { 1 } else { ENOUGH_READINGS };
    wait.held.is_none() && wait.readings >= enough && now.saturating_sub(wait.since) >= rules.grace
}

/// How a published RRset or alias is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Nothing offers it.
    Gone,
    /// A lower rank offers other data.
    Changed,
    /// A lower rank offers the same data: nobody sees a difference yet, but
    /// the next change of that rank would be one.
    Unseen,
}

/// What an endpoint vouched for and nothing of its rank does any more, and
/// what is gone altogether.
fn losses(published: &Side<'_>, proposed: &RecordSet, provenance: &Provenance) -> BTreeMap<Key, Loss> {
    let mut losses: BTreeMap<Key, Loss> =
        gone(published.set, proposed).into_iter().map(|key| (key, Loss::Gone)).collect();
    let endpoint = |rank: Rank| matches!(rank, Rank::Interface | Rank::CustomDns);
    for entry in &published.provenance.entries {
        let (owner, rtype) = (&entry.owner, entry.rtype);
        let was = entry.winner.as_ref().is_some_and(|winner| endpoint(winner.rank));
        let held = |set: &RecordSet| set.holds(owner.as_wire(), rtype);
        if !was || !held(published.set) || !held(proposed) {
            continue;
        }
        let offered = provenance.entry(owner, rtype).and_then(|entry| entry.winner);
        if offered.is_some_and(|winner| winner.rank == Rank::Zone) {
            let data = |set: &RecordSet| {
                set.zones
                    .iter()
                    .find_map(|zone| zone.rrsets.get(owner.as_wire(), rtype))
                    .map(|r| r.rdatas.to_vec())
            };
            let same = data(published.set).is_some_and(|old| Some(old) == data(proposed));
            losses.insert((owner.clone(), rtype), if same { Loss::Unseen } else { Loss::Changed });
        }
    }
    losses
}

/// What `proposed` lacks of `published`.
fn gone(published: &RecordSet, proposed: &RecordSet) -> Vec<Key> {
    let none = Rrsets::default();
    let mut gone = Vec::new();
    for zone in &published.zones {
        let like = proposed.zones.iter().find(|other| other.apex == zone.apex);
        for (was, is) in zone.rrsets.diff(like.map_or(&none, |like| &like.rrsets)) {
            // It may have moved into another zone, or an alias stands there now.
            if let (Some(was), None) = (was, is)
                && !proposed.holds(was.owner.as_wire(), was.rtype)
            {
                gone.push((was.owner.to_name(), was.rtype));
            }
        }
    }
    // What stands in both is not looked for: that would take half a million searches.
    let differing: Vec<&Name> = if published.aliases.is_sorted() && proposed.aliases.is_sorted() {
        let lost = published.aliases.diff(&proposed.aliases).filter(|(_, is)| is.is_none());
        lost.filter_map(|(was, _)| was).map(|alias| &alias.public).collect()
    } else {
        published.aliases.iter().map(|alias| &alias.public).collect()
    };
    let lost = differing.into_iter().filter(|public| !proposed.holds(public.as_wire(), Rtype::CNAME));
    gone.extend(lost.map(|public| (public.clone(), Rtype::CNAME)));
    gone
}

/// How many RRsets and aliases there are.
fn size(set: &RecordSet) -> usize {
    set.zones.iter().map(|zone| zone.rrsets.len()).sum::<usize>() + set.aliases.len()
}

/// An alias that stays needs something to lead to.
fn keep_targets(
    published: &RecordSet,
    proposed: &RecordSet,
    gone: &BTreeSet<&Key>,
    staying: &mut BTreeMap<Key, Wait>,
) {
    let cnames = staying.keys().filter(|(_, rtype)| *rtype == Rtype::CNAME);
    let aliases: Vec<_> = cnames.filter_map(|(owner, _)| published.alias(owner.as_wire())).collect();
    if aliases.is_empty() {
        return;
    }
    let leads = |rtype: Rtype| matches!(rtype, Rtype::A | Rtype::AAAA | Rtype::CNAME);
    let offered = |name: &Name| {
        proposed.rrsets_at(name).any(|rrset| leads(rrset.rtype)) || proposed.alias(name.as_wire()).is_some()
    };
    for alias in aliases {
        let stays = |rtype: Rtype| staying.contains_key(&(alias.target.clone(), rtype));
        if offered(&alias.target) || [Rtype::A, Rtype::AAAA, Rtype::CNAME].into_iter().any(stays) {
            continue;
        }
        let Some(wait) = staying.get(&(alias.public.clone(), Rtype::CNAME)).cloned() else { continue };
        for rtype in [Rtype::A, Rtype::AAAA, Rtype::CNAME] {
            let key = (alias.target.clone(), rtype);
            if gone.contains(&key) {
                staying.insert(key, wait.clone());
            }
        }
    }
}

/// The set that is published: what was read, and what stays.
fn assemble(
    published: Side<'_>,
    mut proposed: RecordSet,
    provenance: &Provenance,
    mut staying: BTreeMap<Key, Wait>,
    circumstances: &Circumstances<'_>,
) -> Verdict {
    let ranks = keep::Ranks {
        old: &|key| published.rank(key).unwrap_or(Rank::Zone),
        new: &|owner, rtype| {
            let winner = provenance.entry(owner, rtype).and_then(|entry| entry.winner);
            winner.map_or(Rank::Zone, |winner| winner.rank)
        },
    };
    let keys: BTreeSet<Key> = staying.keys().cloned().collect();
    let kept = keep::put_back(published.set, &mut proposed, &keys, &ranks);
    staying.retain(|key, _| kept.keys.contains(key));
    if circumstances.blocked {
        for zone in &published.set.zones {
            keep::zone_like(&mut proposed, zone);
        }
    }
    keep::own(published.set, &mut proposed, circumstances);
    keep::sort(&mut proposed);
    let keys = kept.keys.into_iter().collect();
    Verdict { set: proposed, kept: keys, displaced: kept.displaced, waits: Waits { removals: staying } }
}
