//! Where each record comes from, and what else was on offer.
//!
//! Kept beside the record set and not in it: the set is what is answered and
//! compared, and a new time of reading is no change of it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::sources::facts::{Listing, ListingId, SourceKind};
use crate::sources::records::RecordsFact;
use crate::wire::{Name, Rtype};

/// The origins of a whole record set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The listings that were merged; a [`Sighting`] names one by its index.
    pub listings: Vec<ListingInfo>,
    /// What is known of each owner name and type, in that order. Public
    /// aliases stand among them as CNAME.
    pub entries: Vec<Entry>,
    /// Zone files whose records stand as they are: of owners that have no
    /// entry they tell what is known.
    pub passed: Vec<Passed>,
}

/// A zone file whose records nobody contests but those that have entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// Index into [`Provenance::listings`].
    pub listing: u32,
    /// The records of that listing; saved with it.
    #[serde(skip)]
    pub records: Arc<RecordsFact>,
}

/// A listing without its facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingInfo {
    /// Which listing.
    pub id: ListingId,
    /// The kind of its source.
    pub kind: SourceKind,
    /// When it was read, Unix seconds.
    pub read_at: u64,
}

/// One owner name and type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The owner name.
    pub owner: Name,
    /// The type.
    pub rtype: Rtype,
    /// What is served; `None` if everything on offer was refused.
    pub winner: Option<Sighting>,
    /// The guard keeps it though no source has it any more.
    pub held_back: bool,
    /// What lost, and why.
    pub alternatives: Vec<Alternative>,
}

/// One RRset as a source has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Index into [`Provenance::listings`].
    pub listing: u32,
    /// What kind of fact says so.
    pub rank: Rank,
    /// The resource id, file and line, or key of the configuration.
    pub origin: String,
    /// The TTL as the source has it, in seconds.
    pub ttl: u32,
    /// The connection is not Approved at the moment; this is what it had.
    pub remembered: bool,
}

/// What lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alternative {
    /// Where it was seen.
    pub sighting: Sighting,
    /// Its RDATA, uncompressed wire form.
    pub rdatas: Vec<Box<[u8]>>,
    /// Why it lost.
    pub reason: Reason,
    /// The names of the views whose clients get it nevertheless.
    pub views: Vec<String>,
}

/// The kinds of facts that RRsets come from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rank {
    /// The configuration.
    Static,
    /// A private endpoint's network interface.
    Interface,
    /// A private endpoint's `customDnsConfigs`.
    CustomDns,
    /// A record set of a private zone, or a zone file.
    Zone,
}

impl Rank {
    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Interface => "interface",
            Self::CustomDns => "custom-dns",
            Self::Zone => "zone",
        }
    }
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// Why an RRset is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A better kind of fact covers the name.
    LowerPriority,
    /// Another endpoint for the same name was chosen.
    OtherEndpoint,
    /// A more specific zone holds the name.
    MoreSpecificZone,
    /// Another zone with the same apex was chosen, or another entry.
    OtherZone,
    /// The connection is not Approved.
    NotApproved,
    /// The virtual network is not in scope.
    OutOfScope,
    /// An address lies outside the allowed prefixes.
    OutsideAllowedPrefixes,
    /// A CNAME cannot stand beside other data.
    CnameConflict,
    /// A public alias stands at the name.
    HiddenByAlias,
    /// The endpoint lies in another region than the one preferred.
    OtherRegion,
    /// The endpoint lies in another virtual network than the one preferred.
    OtherNetwork,
    /// The check of its addresses failed, and that of another endpoint did not.
    RouteFailed,
}

impl Reason {
    /// Whether it lost to another endpoint for the same name, and might win tomorrow.
    pub const fn is_choice(self) -> bool {
        matches!(self, Self::OtherEndpoint | Self::OtherRegion | Self::OtherNetwork | Self::RouteFailed)
    }

    /// The word for it, for programs and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::LowerPriority => "lower-priority",
            Self::OtherEndpoint => "other-endpoint",
            Self::MoreSpecificZone => "more-specific-zone",
            Self::OtherZone => "other-zone",
            Self::NotApproved => "not-approved",
            Self::OutOfScope => "out-of-scope",
            Self::OutsideAllowedPrefixes => "outside-allowed-prefixes",
            Self::CnameConflict => "cname-conflict",
            Self::HiddenByAlias => "hidden-by-alias",
            Self::OtherRegion => "other-region",
            Self::OtherNetwork => "other-network",
            Self::RouteFailed => "route-failed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LowerPriority => "a better kind of source covers the name",
            Self::OtherEndpoint => "another endpoint for the same name was chosen",
            Self::MoreSpecificZone => "a more specific zone holds the name",
            Self::OtherZone => "another zone or entry was chosen",
            Self::NotApproved => "the connection is not approved",
            Self::OutOfScope => "the virtual network is not in scope",
            Self::OutsideAllowedPrefixes => "an address lies outside the allowed prefixes",
            Self::CnameConflict => "a CNAME cannot stand beside other data",
            Self::HiddenByAlias => "a public alias stands at the name",
            Self::OtherRegion => "an endpoint in a preferred region was chosen",
            Self::OtherNetwork => "an endpoint in a preferred virtual network was chosen",
            Self::RouteFailed => "the check of the way to it failed and another endpoint was chosen",
        })
    }
}

impl Passed {
    fn entry(&self, owner: &Name, rtype: Rtype) -> Option<Entry> {
        let (origin, ttl) = self.records.sighting(owner.as_wire(), rtype)?;
        let winner = Sighting { listing: self.listing, rank: Rank::Zone, origin, ttl, remembered: false };
        let (owner, winner) = (owner.clone(), Some(winner));
        Some(Entry { owner, rtype, winner, held_back: false, alternatives: Vec::new() })
    }
}

impl Provenance {
    /// The heads of `listings`.
    pub(super) fn heads<'a>(listings: impl IntoIterator<Item = &'a Listing>) -> Vec<ListingInfo> {
        let head = |listing: &Listing| ListingInfo {
            id: listing.id.clone(),
            kind: listing.kind,
            read_at: listing.read_at,
        };
        listings.into_iter().map(head).collect()
    }

    pub(super) fn new(listings: &[&Listing], entries: Vec<Entry>) -> Self {
        let passed = (0u32..)
            .zip(listings)
            .filter_map(|(listing, from)| Some(Passed { listing, records: Arc::clone(from.records()?) }));
        let passed = passed.collect();
        Self { listings: Self::heads(listings.iter().copied()), entries, passed }
    }

    /// Finds the records again that were saved with `listings`.
    pub(super) fn find_records(&mut self, listings: &[Listing]) {
        for passed in &mut self.passed {
            let id = self.listings.get(passed.listing as usize).map(|head| &head.id);
            let found = listings.iter().find(|listing| Some(&listing.id) == id);
            passed.records = found.and_then(Listing::records).cloned().unwrap_or_default();
        }
    }

    /// What is known of `owner` and `rtype`.
    pub fn entry(&self, owner: &Name, rtype: Rtype) -> Option<Entry> {
        match self.place(owner, rtype) {
            Ok(at) => self.entries.get(at).cloned(),
            Err(_) if !self.listed_at(owner).is_empty() => None,
            Err(_) => self.passed.iter().find_map(|passed| passed.entry(owner, rtype)),
        }
    }

    /// Everything that is known, of each owner name and type.
    pub fn all(&self) -> impl Iterator<Item = Cow<'_, Entry>> {
        let passed = self.passed.iter().flat_map(|passed| {
            let rrsets = passed.records.rrsets.iter();
            rrsets.filter_map(|rrset| {
                let owner = rrset.owner.to_name();
                self.listed_at(&owner).is_empty().then(|| passed.entry(&owner, rrset.rtype))?
            })
        });
        self.entries.iter().map(Cow::Borrowed).chain(passed.map(Cow::Owned))
    }

    fn place(&self, owner: &Name, rtype: Rtype) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| (&entry.owner, entry.rtype).cmp(&(owner, rtype)))
    }

    /// What is known of `owner`, all types.
    pub fn entries_at(&self, owner: &Name) -> Vec<Entry> {
        let listed = self.listed_at(owner);
        if listed.is_empty() { self.passed_at(owner) } else { listed.to_vec() }
    }

    /// What zone files that pass have at `owner`.
    fn passed_at(&self, owner: &Name) -> Vec<Entry> {
        let at = |passed: &Passed| {
            let rrsets = passed.records.rrsets.at(owner.as_wire());
            rrsets.filter_map(|rrset| passed.entry(owner, rrset.rtype)).collect::<Vec<_>>()
        };
        self.passed.iter().flat_map(at).collect()
    }

    fn listed_at(&self, owner: &Name) -> &[Entry] {
        let start = self.entries.partition_point(|entry| entry.owner < *owner);
        let rest = self.entries.get(start..).unwrap_or_default();
        rest.get(..rest.partition_point(|entry| entry.owner == *owner)).unwrap_or_default()
    }

    /// The listing of a sighting.
    pub fn listing(&self, sighting: &Sighting) -> Option<&ListingInfo> {
        self.listings.get(sighting.listing as usize)
    }

    /// Takes over from `previous` what the guard keeps. What was read in its
    /// place, `displaced`, becomes an alternative.
    pub(super) fn hold_back(
        &mut self,
        previous: &Self,
        kept: &[(Name, Rtype)],
        displaced: &BTreeMap<(Name, Rtype), Vec<Box<[u8]>>>,
    ) {
        let owners: BTreeSet<&Name> =
            kept.iter().map(|(owner, _)| owner).chain(displaced.keys().map(|(owner, _)| owner)).collect();
        let passed = owners.into_iter().filter(|owner| self.listed_at(owner).is_empty());
        let mut passed: Vec<Entry> = passed.flat_map(|owner| self.passed_at(owner)).collect();
        if !passed.is_empty() {
            self.entries.append(&mut passed);
            self.sort();
        }
        for ((owner, rtype), rdatas) in displaced {
            let Some(entry) = self.place(owner, *rtype).ok().and_then(|at| self.entries.get_mut(at)) else {
                continue;
            };
            if let Some(sighting) = entry.winner.take() {
                let (rdatas, reason) = (rdatas.clone(), Reason::LowerPriority);
                let lost = Alternative { sighting, rdatas, reason, views: Vec::new() };
                entry.alternatives.insert(0, lost);
            }
        }
        let mut fresh = Vec::new();
        for (owner, rtype) in kept {
            let winner = previous.entry(owner, *rtype).and_then(|entry| entry.winner);
            let winner = winner.map(|mut sighting| {
                sighting.listing = self.adopt(previous.listing(&sighting));
                sighting
            });
            let place = self.place(owner, *rtype).ok();
            match place.and_then(|at| self.entries.get_mut(at)) {
                Some(entry) => {
                    entry.winner = winner;
                    entry.held_back = true;
                }
                None => fresh.push(Entry {
                    owner: owner.clone(),
                    rtype: *rtype,
                    winner,
                    held_back: true,
                    alternatives: Vec::new(),
                }),
            }
        }
        self.entries.append(&mut fresh);
        self.sort();
    }

    /// The index of a listing's head, added if it is not there yet.
    fn adopt(&mut self, head: Option<&ListingInfo>) -> u32 {
        let Some(head) = head else { return u32::MAX };
        let found = self.listings.iter().position(|listing| listing.id == head.id);
        let index = found.unwrap_or_else(|| {
            self.listings.push(head.clone());
            self.listings.len() - 1
        });
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    pub(super) fn sort(&mut self) {
        self.entries.sort_by(|a, b| (&a.owner, a.rtype).cmp(&(&b.owner, b.rtype)));
    }
}
