//! Facts as they are saved: records that the set beside them holds are not
//! written twice.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Facts;
use crate::snapshot::model::{Part, RecordSet, Rrsets};
use crate::wire::Name;

/// Facts without the records of zone files, and where those are.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Packed {
    facts: Facts,
    /// Of each listing of a zone file, in order.
    records: Vec<Vec<Part>>,
}

impl Packed {
    /// Packs what is to be saved beside `set`.
    pub(super) fn new(facts: &Facts, set: &RecordSet) -> Self {
        let mut facts = facts.clone();
        let mut records = Vec::new();
        for listing in &mut facts.listings {
            let Some(held) = listing.records_mut() else { continue };
            records.push(held.rrsets.to_parts(&zone(set, held.apex())));
            // Its lines are copied for the time of saving.
            let mut bare = (**held).clone();
            bare.rrsets = Rrsets::default();
            *held = Arc::new(bare);
        }
        Self { facts, records }
    }

    pub(super) const fn pin(&self) -> Option<super::Pin> {
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
