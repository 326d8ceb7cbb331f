//! Record sets from a few words, and a guard that is asked cycle by cycle.

use std::collections::{BTreeMap, BTreeSet};

use hubdns::snapshot::model::{Alias, RecordSet, Rrset, Rrsets, Soa, Zone, ZonePolicy};
use hubdns::sources::facts::{ListingId, SourceKind};
use hubdns::sync::guard::{Circumstances, Freshness, Key, Rules, Side, Verdict, Waits, judge};
use hubdns::sync::provenance::{Alternative, Entry, ListingInfo, Provenance, Rank, Reason, Sighting};
use hubdns::wire::{Name, Rtype};

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) const GRACE: u64 = 300;

/// A set with its origins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Estate {
    pub(crate) set: RecordSet,
    pub(crate) provenance: Provenance,
}

/// Words of labels below `privatelink.azurecr.io`: `a` is an A record of a
/// zone, `a!` one of an interface with its public alias, `a=7` ends in 7,
/// `a:c` is a CNAME of a zone, `a?` is on offer out of scope, `a@s` comes from
/// the source `s`.
pub(crate) fn estate(words: &str) -> Estate {
    let apex = name("privatelink.azurecr.io");
    let mut zone =
        Zone { apex, soa: Soa::azure(), policy: ZonePolicy::FallThrough, rrsets: Rrsets::default() };
    let mut estate = Estate::default();
    for word in words.split_whitespace() {
        add(word, &mut zone, &mut estate);
    }
    estate.set.aliases.sort();
    estate.provenance.entries.sort_by(|a, b| (&a.owner, a.rtype).cmp(&(&b.owner, b.rtype)));
    if !zone.rrsets.is_empty() {
        estate.set.zones.push(zone);
    }
    estate
}

fn add(word: &str, zone: &mut Zone, estate: &mut Estate) {
    let (word, source) = word.split_once('@').unwrap_or((word, "azure"));
    let (word, octet) = word.split_once('=').map_or((word, 1), |(w, o)| (w, o.parse().unwrap()));
    let label = word.trim_end_matches(['!', '?']).trim_end_matches(":c");
    let owner = name(&format!("{label}.privatelink.azurecr.io"));
    let rank = if word.ends_with(['!', '?']) { Rank::Interface } else { Rank::Zone };
    let rtype = if word.contains(":c") { Rtype::CNAME } else { Rtype::A };
    let scope = if rank == Rank::Interface { "interfaces" } else { "zone" };
    let listing = listing(&mut estate.provenance, source, scope);
    let sighting = Sighting { listing, rank, origin: format!("/{label}"), ttl: 10, remembered: false };
    let offer = |owner: Name, rtype: Rtype| Entry {
        owner,
        rtype,
        winner: Some(sighting.clone()),
        held_back: false,
        alternatives: Vec::new(),
    };
    if word.ends_with('?') {
        let reason = Reason::OutOfScope;
        let lost = Alternative { sighting: sighting.clone(), rdatas: Vec::new(), reason, views: Vec::new() };
        let entry = Entry { winner: None, alternatives: vec![lost], ..offer(owner, rtype) };
        estate.provenance.entries.push(entry);
        return;
    }
    if word.ends_with('!') {
        let public = name(&format!("{label}.azurecr.io"));
        estate.provenance.entries.push(offer(public.clone(), Rtype::CNAME));
        estate.set.aliases.push(Alias { public, target: owner.clone() });
    }
    estate.provenance.entries.push(offer(owner.clone(), rtype));
    let data: Box<[u8]> =
        if rtype == Rtype::A { Box::new([10, 0, 0, octet]) } else { name("x.example").as_wire().into() };
    zone.rrsets.extend([Rrset { owner, rtype, ttl: 10, rdatas: vec![data], variants: Vec::new() }]);
}

fn listing(provenance: &mut Provenance, source: &str, scope: &str) -> u32 {
    let id = ListingId { source: source.to_owned(), scope: scope.to_owned() };
    let at = provenance.listings.iter().position(|listing| listing.id == id).unwrap_or_else(|| {
        let kind = match source {
            "static" => SourceKind::Static,
            "file" => SourceKind::ZoneFile,
            _ => SourceKind::Azure,
        };
        provenance.listings.push(ListingInfo { id, kind, read_at: 0 });
        provenance.listings.len() - 1
    });
    at as u32
}

/// A published set and the guard's memory of it.
pub(crate) struct Bench {
    pub(crate) published: Estate,
    pub(crate) waits: Waits,
    pub(crate) asked: BTreeMap<Name, u64>,
    pub(crate) rules: Rules,
    pub(crate) now: u64,
}

/// What a cycle comes with.
#[derive(Clone, Debug)]
pub(crate) struct Cycle {
    pub(crate) sources: Vec<&'static str>,
    pub(crate) reloaded: bool,
    pub(crate) rescoped: bool,
    pub(crate) dropped: Vec<Name>,
    pub(crate) blocked: bool,
    pub(crate) fresh: bool,
    pub(crate) everything: bool,
    pub(crate) accepted: BTreeSet<Key>,
    pub(crate) forgotten: BTreeSet<Name>,
}

impl Default for Cycle {
    fn default() -> Self {
        Self {
            sources: vec!["azure", "file", "static"],
            reloaded: false,
            rescoped: false,
            dropped: Vec::new(),
            blocked: false,
            fresh: true,
            everything: true,
            accepted: BTreeSet::new(),
            forgotten: BTreeSet::new(),
        }
    }
}

impl Bench {
    pub(crate) fn new(words: &str) -> Self {
        let rules = Rules { grace: GRACE, max_removed_percent: 100, asked_within: 1000 };
        Self { published: estate(words), waits: Waits::default(), asked: BTreeMap::new(), rules, now: 10_000 }
    }

    /// Runs a cycle that reads `words`; the verdict is published.
    pub(crate) fn cycle(&mut self, words: &str, cycle: &Cycle) -> Verdict {
        self.cycle_of(estate(words), cycle)
    }

    pub(crate) fn cycle_of(&mut self, read: Estate, cycle: &Cycle) -> Verdict {
        let ids = |provenance: &Provenance| -> BTreeSet<ListingId> {
            provenance.listings.iter().map(|listing| listing.id.clone()).collect()
        };
        let mut fresh = Freshness { present: ids(&read.provenance), ..Freshness::default() };
        if cycle.fresh {
            fresh.listings = fresh.present.clone();
            fresh.sources = cycle.sources.iter().map(|&source| source.to_owned()).collect();
            fresh.everything = cycle.everything;
        }
        let suffixes = [name("azurecr.io")];
        let circumstances = Circumstances {
            suffixes: &suffixes,
            sources: &cycle.sources,
            reloaded: cycle.reloaded,
            rescoped: cycle.rescoped,
            dropped: &cycle.dropped,
            blocked: cycle.blocked,
            fresh: &fresh,
            asked: &self.asked,
            accepted: &cycle.accepted,
            forgotten: &cycle.forgotten,
            now: self.now,
            wall: self.now,
        };
        let published = Side { set: &self.published.set, provenance: &self.published.provenance };
        let before = self.published.provenance.clone();
        let verdict = judge(published, read.set, &read.provenance, &self.waits, &self.rules, &circumstances);
        let mut provenance = read.provenance;
        for (owner, rtype) in &verdict.kept {
            keep(&mut provenance, &before, owner, *rtype);
        }
        self.published = Estate { set: verdict.set.clone(), provenance };
        self.waits = verdict.waits.clone();
        verdict
    }

    /// Runs a plain cycle and says what is published then.
    #[track_caller]
    pub(crate) fn check(&mut self, words: &str, expected: &str) -> Verdict {
        self.check_in(words, expected, &Cycle::default())
    }

    #[track_caller]
    pub(crate) fn check_in(&mut self, words: &str, expected: &str, cycle: &Cycle) -> Verdict {
        let verdict = self.cycle(words, cycle);
        assert_eq!(owners(&verdict.set), owners(&estate(expected).set), "{:?}", verdict.waits);
        verdict
    }
}

/// As the sync does it: what is kept keeps its origin.
fn keep(provenance: &mut Provenance, before: &Provenance, owner: &Name, rtype: Rtype) {
    let Some(old) = before.entry(owner, rtype).and_then(|entry| entry.winner.clone()) else { return };
    let Some(head) = before.listing(&old).cloned() else { return };
    let at = listing(provenance, &head.id.source, &head.id.scope);
    let winner = Some(Sighting { listing: at, ..old });
    let place = provenance.entries.iter().position(|entry| entry.owner == *owner && entry.rtype == rtype);
    let at = place.unwrap_or_else(|| {
        let alternatives = Vec::new();
        let entry = Entry { owner: owner.clone(), rtype, winner: None, held_back: true, alternatives };
        provenance.entries.push(entry);
        provenance.entries.len() - 1
    });
    provenance.entries[at].winner = winner;
    provenance.entries.sort_by(|a, b| (&a.owner, a.rtype).cmp(&(&b.owner, b.rtype)));
}

/// Everything that is answered, as text.
pub(crate) fn owners(set: &RecordSet) -> Vec<String> {
    let rrsets = set.zones.iter().flat_map(|zone| &zone.rrsets);
    let mut all: Vec<String> =
        rrsets.map(|rrset| format!("{} {} {:?}", rrset.owner, rrset.rtype, rrset.rdatas)).collect();
    all.extend(set.aliases.iter().map(|alias| format!("{} -> {}", alias.public, alias.target)));
    all.sort();
    all
}
