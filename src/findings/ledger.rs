//! Since when each finding stands, restarts included.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::{Code, Finding};

/// A finding that comes back within this many seconds was never gone: a
/// listing that fails once, or a connection that a new replica makes Pending,
/// must not make old findings look new.
pub const FLAP_SECONDS: u64 = 600;

/// What a finding is known by.
type Key = (Code, String, String);

/// The findings with their times.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    held: BTreeMap<Key, Held>,
}

#[derive(Clone, Debug)]
struct Held {
    finding: Finding,
    /// When it was gone, Unix seconds; `None` while it stands.
    gone_at: Option<u64>,
}

/// What a stamp brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamped {
    /// All that stand, the worst first, then by code and name.
    pub findings: Vec<Finding>,
    /// Those that did not stand before.
    pub appeared: Vec<Finding>,
    /// Those that stood before.
    pub gone: Vec<Finding>,
}

impl Ledger {
    /// Takes what was saved. All of it counts as standing until the first
    /// stamp says otherwise.
    pub fn restore(saved: Vec<Finding>) -> Self {
        let held = saved.into_iter().map(|finding| (key(&finding), Held { finding, gone_at: None }));
        Self { held: held.collect() }
    }

    /// Takes over the times of `older` for findings that both know, and what
    /// this one does not know.
    pub fn adopt(&mut self, older: Vec<Finding>) {
        for finding in older {
            match self.held.entry(key(&finding)) {
                Entry::Occupied(mut held) => {
                    let held = &mut held.get_mut().finding;
                    held.first_seen = held.first_seen.min(finding.first_seen);
                }
                Entry::Vacant(vacant) => drop(vacant.insert(Held { finding, gone_at: None })),
            }
        }
    }

    /// What is to be saved: also what may come back.
    pub fn saved(&self) -> Vec<Finding> {
        self.held.values().map(|held| held.finding.clone()).collect()
    }

    /// Puts `fresh`, all findings of now, in the place of those before. Of
    /// several with one key the first counts.
    pub fn stamp(&mut self, now: u64, fresh: Vec<Finding>) -> Stamped {
        let mut stamped = Stamped::default();
        let mut seen: BTreeMap<Key, Finding> = BTreeMap::new();
        for finding in fresh {
            seen.entry(key(&finding)).or_insert(finding);
        }
        self.held.retain(|key, held| {
            if seen.contains_key(key) {
                return true;
            }
            if held.gone_at.is_none() {
                stamped.gone.push(held.finding.clone());
            }
            let gone_at = *held.gone_at.get_or_insert(now);
            // A clock that was set back must not keep it for ever.
            held.gone_at = Some(gone_at.min(now));
            now.saturating_sub(gone_at) < FLAP_SECONDS
        });
        for (key, mut finding) in seen {
            let held = self.held.get(&key);
            let before = held.map(|held| held.finding.first_seen).filter(|seen| *seen != 0);
            // A clock that was ahead may have written a time to come.
            finding.first_seen = before.map_or(now, |before| before.min(now));
            if held.is_none_or(|held| held.gone_at.is_some()) {
                stamped.appeared.push(finding.clone());
            }
            stamped.findings.push(finding.clone());
            self.held.insert(key, Held { finding, gone_at: None });
        }
        sort(&mut stamped.findings);
        stamped
    }
}

/// `fresh` with the times of `saved`, once each and sorted; 0 for those that
/// were not saved. For looking without a daemon.
pub fn since(fresh: Vec<Finding>, saved: Vec<Finding>) -> Vec<Finding> {
    let mut findings = Ledger::restore(saved).stamp(u64::MAX, fresh).findings;
    for finding in findings.iter_mut().filter(|finding| finding.first_seen == u64::MAX) {
        finding.first_seen = 0;
    }
    findings
}

fn key(finding: &Finding) -> Key {
    (finding.code, finding.name.clone(), finding.resource_id.clone())
}

/// The worst first, then by code and name.
fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| {
        let worse = b.code.severity().cmp(&a.code.severity());
        let label = || a.code.label().cmp(b.code.label());
        worse.then_with(label).then_with(|| (&a.name, &a.resource_id).cmp(&(&b.name, &b.resource_id)))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(code: Code, name: &str) -> Finding {
        Finding::new(code, name, "id", "text")
    }

    fn times(stamped: &Stamped) -> Vec<(&str, u64)> {
        stamped.findings.iter().map(|finding| (finding.name.as_str(), finding.first_seen)).collect()
    }

    #[test]
    fn the_first_time_stays_while_a_finding_stands() {
        let mut ledger = Ledger::default();
        let a = || finding(Code::IpDrift, "a");
        let stamped = ledger.stamp(100, vec![a(), a()]);
        assert_eq!((times(&stamped), stamped.appeared.len()), (vec![("a", 100)], 1));
        let mut reworded = a();
        reworded.text = "another text".into();
        let stamped = ledger.stamp(160, vec![reworded]);
        assert_eq!((times(&stamped), stamped.appeared.len()), (vec![("a", 100)], 0));
        assert_eq!(stamped.findings[0].text, "another text");
    }

    #[test]
    fn a_flap_keeps_the_time_and_a_return_later_does_not() {
        let mut ledger = Ledger::default();
        let a = || vec![finding(Code::IpDrift, "a")];
        ledger.stamp(100, a());
        let stamped = ledger.stamp(200, vec![]);
        assert_eq!((stamped.findings.len(), stamped.gone.len()), (0, 1));
        assert_eq!(ledger.stamp(300, vec![]).gone, []);
        let back = ledger.stamp(200 + FLAP_SECONDS - 1, a());
        assert_eq!((times(&back), back.appeared.len()), (vec![("a", 100)], 1));
        ledger.stamp(1000, vec![]);
        ledger.stamp(1000 + FLAP_SECONDS, vec![]);
        assert_eq!(times(&ledger.stamp(1001 + FLAP_SECONDS, a())), [("a", 1001 + FLAP_SECONDS)]);
    }

    #[test]
    fn a_restart_keeps_the_times() {
        let mut before = Ledger::default();
        before.stamp(100, vec![finding(Code::IpDrift, "a"), finding(Code::IpDrift, "b")]);
        before.stamp(200, vec![finding(Code::IpDrift, "a")]);
        let mut after = Ledger::restore(before.saved());
        // Nothing is read yet, then all is.
        assert_eq!(after.stamp(1000, vec![]).gone.len(), 2);
        let stamped = after.stamp(1010, vec![finding(Code::IpDrift, "a"), finding(Code::IpDrift, "c")]);
        assert_eq!(times(&stamped), [("a", 100), ("c", 1010)]);
        let mut early = Ledger::default();
        early.stamp(1000, vec![finding(Code::IpDrift, "a")]);
        early.adopt(before.saved());
        assert_eq!(times(&early.stamp(1001, vec![finding(Code::IpDrift, "a")])), [("a", 100)]);
    }

    #[test]
    fn clocks_that_jump_do_no_harm() {
        let mut ledger = Ledger::default();
        ledger.stamp(9_000_000, vec![finding(Code::IpDrift, "a")]);
        let stamped = ledger.stamp(100, vec![finding(Code::IpDrift, "a")]);
        assert_eq!(times(&stamped), [("a", 100)]);
        ledger.stamp(9_000_000, vec![]);
        ledger.stamp(100, vec![]);
        ledger.stamp(100 + FLAP_SECONDS, vec![]);
        assert_eq!(ledger.saved(), []);
    }

    #[test]
    fn the_worst_come_first() {
        let mut ledger = Ledger::default();
        let stamped = ledger.stamp(
            1,
            vec![
                finding(Code::ManualRecord, "a"),
                finding(Code::StaleRecord, "b"),
                finding(Code::IpDrift, "d"),
                finding(Code::IpDrift, "c"),
                finding(Code::ConnectionPending, "z"),
            ],
        );
        let names: Vec<&str> = stamped.findings.iter().map(|finding| finding.name.as_str()).collect();
        assert_eq!(names, ["z", "c", "d", "b", "a"]);
    }
}
