//! Removals that wait, and why.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::wire::{Name, Rtype};

/// An owner name and type; public aliases count as CNAME.
pub type Key = (Name, Rtype);

/// The removals that wait; all else of the published set is what was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// By what would go.
    pub removals: BTreeMap<Key, Wait>,
}

/// One removal that waits. What is served stands, whatever was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// When it was seen first, on the cycles' clock, seconds.
    pub since: u64,
    /// The same on the wall clock, Unix seconds: for people.
    pub first_seen: u64,
    /// How many fresh readings saw it, counted up to [`ENOUGH_READINGS`].
    pub readings: u8,
    /// A lower rank offers the name: not the name goes, a good answer does.
    pub downgrade: bool,
    /// The configuration says so; it goes as soon as all sources were read.
    pub meant: bool,
    /// Why no time confirms it.
    pub held: Option<Hold>,
    /// An operator wants it kept; the alert is silent.
    pub rejected: bool,
}

/// Fresh readings that must have seen a removal before it takes effect: one
/// reading, or one jump of the clock, is never enough.
pub const ENOUGH_READINGS: u8 = 2;

/// Why a removal is held back until an operator accepts it or it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// The removals are more than a share of the published set.
    Share,
    /// The registry would have no names left.
    Emptied,
    /// A name of it was asked for lately.
    Asked,
    /// An operator rejected it.
    Rejected,
}

impl Hold {
    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Share => "share",
            Self::Emptied => "emptied",
            Self::Asked => "asked",
            Self::Rejected => "rejected",
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Share => "many names would go at once",
            Self::Emptied => "no name of the registry would be left",
            Self::Asked => "a name of the registry was asked for lately",
            Self::Rejected => "an operator rejected the removal",
        })
    }
}

impl Waits {
    /// How many an operator must decide on.
    pub fn held(&self) -> usize {
        self.removals.values().filter(|wait| wait.held.is_some()).count()
    }

    /// How many time or another reading decides on.
    pub fn pending(&self) -> usize {
        self.removals.len() - self.held()
    }

    /// When the first of them may take effect, on the cycles' clock.
    pub fn next_due(&self, grace: u64) -> Option<u64> {
        let pending = self.removals.values().filter(|wait| wait.held.is_none());
        pending.map(|wait| wait.since.saturating_add(grace)).min()
    }
}
