//! Facts as they are saved: records that the set beside them holds are not
//! written twice, and what is saved is not copied for that.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use super::{Facts, Memory, Pin, Provenance, Scope, Waits};
use crate::findings::Finding;
use crate::snapshot::model::{Part, RecordSet, Rrsets};
use crate::sources::facts::Listing;
use crate::wire::Name;

/// [`Facts`] where they are.
#[derive(Debug)]
pub struct Beside<'a> {
    /// The last complete listing of each source.
    pub listings: Vec<&'a Listing>,
    /// The memory of the merge.
    pub memory: &'a Memory,
    /// Where the set comes from.
    pub provenance: &'a Provenance,
    /// Removals that wait.
    pub waits: &'a Waits,
    /// When names were asked for, on the cycles' clock.
    pub asked: &'a BTreeMap<Name, u64>,
    /// What makes the times of `asked` coarse.
    pub coarse: fn(u64) -> u64,
    /// The rollback that is in force.
    pub pin: Option<Pin>,
    /// The scope of the configuration that the set was merged under.
    pub scope: Option<&'a Scope>,
    /// What was found wrong.
    pub findings: &'a [Finding],
}

impl<'a> From<&'a Facts> for Beside<'a> {
    fn from(facts: &'a Facts) -> Self {
        Self {
            listings: facts.listings.iter().collect(),
            memory: &facts.memory,
            provenance: &facts.provenance,
            waits: &facts.waits,
            asked: &facts.asked,
            coarse: |time| time,
            pin: facts.pin,
            scope: facts.scope.as_ref(),
            findings: &facts.findings,
        }
    }
}

/// What is written: field by field as [`Packed`] is read.
#[derive(Debug, Serialize)]
pub(super) struct Packing<'a> {
    facts: Bare<'a>,
    records: Vec<Vec<Part>>,
}

/// [`Facts`], without the records of zone files.
#[derive(Debug, Serialize)]
struct Bare<'a> {
    listings: Vec<Cow<'a, Listing>>,
    memory: &'a Memory,
    provenance: &'a Provenance,
    waits: &'a Waits,
    asked: Coarse<'a>,
    pin: Option<Pin>,
    scope: Option<&'a Scope>,
    findings: &'a [Finding],
}

/// Times, made coarse on their way.
#[derive(Debug)]
struct Coarse<'a>(&'a BTreeMap<Name, u64>, fn(u64) -> u64);

impl Serialize for Coarse<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(times, coarse) = self;
        serializer.collect_map(times.iter().map(|(name, at)| (name, coarse(*at))))
    }
}

impl<'a> Packing<'a> {
    /// Packs what is to be saved beside `set`.
    pub(super) fn new(beside: &Beside<'a>, set: &RecordSet) -> Self {
        let mut records = Vec::new();
        let bare = |listing: &'a Listing| {
            let Some(held) = listing.records() else { return Cow::Borrowed(listing) };
            records.push(held.rrsets.to_parts(&zone(set, held.apex())));
            let mut listing = listing.clone();
            if let Some(held) = listing.records_mut() {
                // Its lines are copied for the time of saving.
                *held = Arc::new(held.without_rrsets());
            }
            Cow::Owned(listing)
        };
        let facts = Bare {
            listings: beside.listings.iter().copied().map(bare).collect(),
            memory: beside.memory,
            provenance: beside.provenance,
            waits: beside.waits,
            asked: Coarse(beside.asked, beside.coarse),
            pin: beside.pin,
            scope: beside.scope,
            findings: beside.findings,
        };
        Self { facts, records }
    }
}

/// Facts without the records of zone files, and where those are.
#[derive(Debug, Deserialize)]
pub(super) struct Packed {
    facts: Facts,
    /// Of each listing of a zone file, in order.
    records: Vec<Vec<Part>>,
}

impl Packed {
    pub(super) const fn pin(&self) -> Option<Pin> {
        self.facts.pin
    }

    /// The facts, of which `set` was saved beside them; `None` if another was.
    pub(super) fn into_facts(self, set: &RecordSet) -> Option<Facts> {
        let mut facts = self.facts;
        let mut records = self.records.iter();
        for listing in &mut facts.listings {
            let Some(held) = listing.records_mut() else { continue };
            let mut whole = Arc::unwrap_or_clone(std::mem::take(held));
            whole.rrsets = Rrsets::from_parts(records.next()?, &zone(set, whole.apex()))?;
            if whole.rrsets.len() != whole.lines.len() {
                return None;
            }
            *held = Arc::new(whole);
        }
        facts.provenance.find_records(&facts.listings);
        Some(facts)
    }
}

fn zone(set: &RecordSet, apex: &Name) -> Rrsets {
    let zone = set.zones.iter().find(|zone| zone.apex == *apex);
    zone.map(|zone| zone.rrsets.clone()).unwrap_or_default()
}
