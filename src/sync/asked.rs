//! Which names were asked for lately: what the guard must not take away.

use std::collections::BTreeMap;

use crate::snapshot::Snapshot;
use crate::wire::Name;
use crate::wire::name::{hash, secret};

/// Times are saved in steps of this many seconds, ...
const STEP: u64 = 3600;
/// ... and for names that were not saved yet no more often than this.
const SAVE_EVERY: u64 = 900;

/// Names with the time when they were last asked for, on the cycles' clock.
#[derive(Debug, Default)]
pub(super) struct Asked {
    times: BTreeMap<Name, u64>,
    /// The print of what is on disk: half a million names are not kept twice.
    saved: u64,
    saved_at: u64,
}

impl Asked {
    /// Takes what was saved. A time that lies ahead is one of a clock that
    /// was put back; it counts from now.
    pub(super) fn restore(&mut self, saved: BTreeMap<Name, u64>, now: u64) {
        self.saved = print(&saved);
        self.saved_at = now;
        let before = std::mem::take(&mut self.times);
        self.times = saved;
        self.times.values_mut().for_each(|at| *at = (*at).min(now));
        for (name, at) in before {
            let time = self.times.entry(name).or_default();
            *time = (*time).max(at);
        }
    }

    /// Takes the marks of a snapshot that answers, or did until now.
    pub(super) fn collect(&mut self, snapshot: &Snapshot, now: u64) {
        for name in snapshot.take_asked() {
            self.times.insert(name, now);
        }
    }

    /// Forgets what was asked for longer ago than `within` seconds.
    pub(super) fn prune(&mut self, within: u64, now: u64) {
        self.times.retain(|_, at| now.saturating_sub(*at) <= within);
    }

    pub(super) fn times(&self) -> &BTreeMap<Name, u64> {
        &self.times
    }

    /// Whether what is on disk is too old to be relied on.
    pub(super) fn wants_save(&self, now: u64) -> bool {
        now.saturating_sub(self.saved_at) >= SAVE_EVERY && self.is_unsaved()
    }

    /// Whether the disk lacks something.
    pub(super) fn is_unsaved(&self) -> bool {
        print(&self.times) != self.saved
    }

    /// The time to save: rounded up, so that a name never counts for a shorter
    /// time than it should, and most cycles change nothing.
    pub(super) const fn coarse(at: u64) -> u64 {
        at.div_ceil(STEP) * STEP
    }

    /// All of it was saved.
    pub(super) fn saved(&mut self, now: u64) {
        (self.saved, self.saved_at) = (print(&self.times), now);
    }
}

/// What tells these names, with their coarse times, from others.
fn print(times: &BTreeMap<Name, u64>) -> u64 {
    times.iter().fold(0, |print, (name, at)| {
        print.rotate_left(5) ^ hash(name.as_wire(), secret() ^ Asked::coarse(*at))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_coarse_and_never_ahead() {
        let name: Name = "a.example".parse().unwrap();
        let mut asked = Asked::default();
        asked.restore(BTreeMap::from([(name.clone(), 7200)]), 5000);
        assert_eq!(asked.times()[&name], 5000);
        assert_eq!(Asked::coarse(asked.times()[&name]), 7200);
        assert!(!asked.is_unsaved());
        asked.prune(100, 5100);
        assert!(asked.times().contains_key(&name));
        asked.prune(100, 5101);
        assert!(asked.times().is_empty());
        assert!(asked.is_unsaved() && !asked.wants_save(5101) && asked.wants_save(5900));
    }
}
