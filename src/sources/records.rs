//! The records of a zone file, all in one fact: a million of them are too many
//! for a fact each.

use serde::{Deserialize, Serialize};

use super::facts::{Fact, RrsetFact, What};
use crate::snapshot::model::{RrsetRef, Rrsets};
use crate::wire::{Name, Rtype};

/// All RRsets of a zone, with the places that they were read at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsFact {
    /// Apex of the zone.
    pub zone: Option<Name>,
    /// The files, the zone's own first.
    pub files: Vec<String>,
    /// The RRsets but the SOA, with TTLs as the file has them. The RDATA of
    /// each is sorted.
    pub rrsets: Rrsets,
    /// The line of each RRset, from 1.
    pub lines: Vec<u32>,
    /// The file of each RRset; empty where all are of the first.
    pub of_files: Vec<u16>,
}

impl RecordsFact {
    /// The apex.
    pub fn apex(&self) -> &Name {
        static ROOT: std::sync::LazyLock<Name> = std::sync::LazyLock::new(Name::root);
        self.zone.as_ref().unwrap_or(&ROOT)
    }

    /// The file and line of the RRset with that number.
    pub fn origin(&self, number: usize) -> String {
        let file = self.of_files.get(number).copied().unwrap_or(0);
        let path = self.files.get(usize::from(file)).map_or("", String::as_str);
        format!("{path}:{}", self.lines.get(number).copied().unwrap_or(0))
    }

    /// The RRsets of `owner`, each as a fact.
    pub fn facts_at(&self, owner: &[u8]) -> Vec<Fact> {
        let first = self.rrsets.rank(owner);
        self.rrsets.at(owner).zip(first..).map(|(rrset, number)| self.fact(&rrset, number)).collect()
    }

    /// All RRsets, each as a fact.
    pub fn facts(&self) -> impl Iterator<Item = Fact> {
        self.rrsets.iter().zip(0..).map(|(rrset, number)| self.fact(&rrset, number))
    }

    fn fact(&self, rrset: &RrsetRef<'_>, number: usize) -> Fact {
        let what = RrsetFact {
            zone: self.apex().clone(),
            zone_id: None,
            owner: rrset.owner.to_name(),
            rtype: rrset.rtype,
            ttl: rrset.ttl,
            rdatas: rrset.rdatas.to_vec(),
            auto_registered: false,
            creator: None,
        };
        Fact { origin: self.origin(number), what: What::Rrset(what) }
    }

    /// The same but for the RRsets themselves.
    pub(crate) fn without_rrsets(&self) -> Self {
        Self {
            zone: self.zone.clone(),
            files: self.files.clone(),
            rrsets: Rrsets::default(),
            lines: self.lines.clone(),
            of_files: self.of_files.clone(),
        }
    }

    /// Shares with `before` what is the same.
    pub(crate) fn share(&mut self, before: &Self) {
        self.rrsets = std::mem::take(&mut self.rrsets).sharing(&before.rrsets);
    }

    /// The place of an RRset and its TTL.
    pub fn sighting(&self, owner: &[u8], rtype: Rtype) -> Option<(String, u32)> {
        let first = self.rrsets.rank(owner);
        let mut numbered = self.rrsets.at(owner).zip(first..);
        numbered.find(|(rrset, _)| rrset.rtype == rtype).map(|(rrset, at)| (self.origin(at), rrset.ttl))
    }
}
