//! From listings to one record set: a pure function.
//!
//! Per owner name and type static entries come before interfaces, those
//! before zones. What loses is kept as an alternative with its reason, for
//! `hubdns records` and `hubdns explain`.

mod claims;
mod estate;
mod pass;
mod prefer;
mod select;
mod zones;

use std::collections::{BTreeMap, BTreeSet};

use crate::findings::Finding;
use crate::routes::RouteTable;
use crate::snapshot::model::{Alias, RecordSet, Rrset, Zone};
use crate::sources::facts::Listing;
use crate::sources::registry_name::{RegistryName, private_zone};
use crate::wire::{Name, Rtype};

use super::memory::Memory;
use super::policy::Policy;
use super::provenance::{Entry, Provenance, Reason, Sighting};
use estate::Estate;
use select::{Chosen, Pool};

/// What a merge yields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// The record set.
    pub set: RecordSet,
    /// Where it comes from.
    pub provenance: Provenance,
    /// What was noticed, sorted.
    pub findings: Vec<Finding>,
    /// The memory for the next merge.
    pub memory: Memory,
}

/// Merges `listings`, those of better sources first. `routes` decides between
/// endpoints that serve the same name; it takes no name away.
pub fn merge(listings: &[&Listing], policy: &Policy, memory: &Memory, routes: &RouteTable) -> Merged {
    let estate = Estate::new(listings);
    let claims = claims::collect(&estate, policy, memory);
    let mut findings = claims.findings.clone();
    let zones = zones::Zones::collect(&estate, policy, &mut findings);
    let rivals = pass::rivals(&estate, &claims.all, policy);
    let contested = pass::contested(&estate, &rivals);
    let mut pool = Pool::new(policy);
    pool.add_claims(&claims.all, routes);
    pool.add_rrsets(&estate.rrsets, &zones, &mut findings);
    pool.add_rrsets(&pass::seen(&contested), &zones, &mut findings);
    let vouched = pool.vouched();
    let chosen = pool.select(&mut findings);

    let own = own(&claims.own, policy, memory);
    let memory = Memory {
        own: memory.own.union(&claims.own).cloned().collect(),
        connections: claims.connections.clone(),
    };
    let mut assembly = Assembly::new(chosen);
    assembly.aliases(vouched, &mut findings);
    let mut provenance = Provenance::new(listings, assembly.entries);
    provenance.sort();
    let set = RecordSet {
        zones: place(assembly.winners, &zones, (&estate, &rivals), policy, &own),
        aliases: assembly.aliases.into(),
        own: own.into(),
        views: policy.view_prefixes(),
    };
    findings.sort();
    findings.dedup();
    Merged { set, provenance, findings, memory }
}

/// The registries that are ours, sorted.
fn own(seen: &BTreeSet<Name>, policy: &Policy, memory: &Memory) -> Vec<Name> {
    let all: BTreeSet<&Name> = seen.iter().chain(&memory.own).chain(&policy.own_registries).collect();
    // The memory may hold names of a cloud that is no longer in force.
    let known = |name: &&&Name| RegistryName::from_public(name, &policy.suffixes).is_some();
    all.iter().filter(known).map(|name| (*name).clone()).collect()
}

/// The winners on their way into zones.
struct Assembly {
    winners: Vec<Chosen>,
    entries: Vec<Entry>,
    aliases: Vec<Alias>,
}

impl Assembly {
    fn new(chosen: select::Selection) -> Self {
        Self { winners: chosen.winners, entries: chosen.entries, aliases: Vec::new() }
    }

    /// Makes the public aliases of vouched names that have an address, and
    /// drops what zones hold at the same names.
    fn aliases(&mut self, vouched: BTreeMap<Name, (RegistryName, Sighting)>, findings: &mut Vec<Finding>) {
        let leads = |chosen: &Chosen| matches!(chosen.rrset.rtype, Rtype::A | Rtype::AAAA | Rtype::CNAME);
        let held: BTreeSet<&Name> =
            self.winners.iter().filter(|chosen| leads(chosen)).map(|chosen| &chosen.rrset.owner).collect();
        let mut publics: BTreeMap<Name, (Name, Sighting)> = BTreeMap::new();
        for (target, (name, sighting)) in vouched {
            if held.contains(&target) {
                publics.insert(name.public, (target, sighting));
            }
        }
        let (hidden, kept) = std::mem::take(&mut self.winners)
            .into_iter()
            .partition(|chosen: &Chosen| publics.contains_key(&chosen.rrset.owner));
        self.winners = kept;
        for chosen in hidden {
            select::lose(&mut self.entries, &chosen, Reason::HiddenByAlias, findings);
        }
        for (public, (target, sighting)) in publics {
            let entry = Entry {
                owner: public.clone(),
                rtype: Rtype::CNAME,
                winner: Some(sighting),
                held_back: false,
                alternatives: Vec::new(),
            };
            let same = |entry: &Entry| entry.owner == public && entry.rtype == Rtype::CNAME;
            match self.entries.iter().position(same) {
                Some(at) => self.entries[at].winner = entry.winner,
                None => self.entries.push(entry),
            }
            self.aliases.push(Alias { public, target });
        }
    }
}

/// Puts the winners into their zones, sorted by apex and owner.
fn place(
    winners: Vec<Chosen>,
    zones: &zones::Zones,
    (estate, rivals): (&Estate<'_>, &BTreeSet<Name>),
    policy: &Policy,
    own: &[Name],
) -> Vec<Zone> {
    let mut placed: BTreeMap<Name, Zone> = BTreeMap::new();
    let mut ensure = |apex: &Name| {
        if !placed.contains_key(apex) {
            placed.insert(apex.clone(), zones.zone(apex));
        }
    };
    zones.apexes().for_each(&mut ensure);
    for chosen in &winners {
        ensure(&chosen.apex);
    }
    // Names of ours that are missing are denied with the SOA of their zone.
    for suffix in &policy.suffixes {
        if own.iter().any(|name| name.is_at_or_below(suffix)) {
            private_zone(suffix).iter().for_each(&mut ensure);
        }
    }
    let mut rrsets: BTreeMap<Name, Vec<Rrset>> = BTreeMap::new();
    for chosen in winners {
        rrsets.entry(chosen.apex).or_default().push(chosen.rrset);
    }
    for (apex, zone) in &mut placed {
        let winners = rrsets.remove(apex).unwrap_or_default();
        zone.rrsets = pass::zone(apex, winners, estate, rivals, policy);
    }
    placed.into_values().collect()
}
