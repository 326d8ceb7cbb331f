//! What operators decide: removals accepted and rejected, rollbacks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::info;

use super::cycle::{Decision, Report, Sync, Trigger};
use super::diff::{Reasons, changes};
use super::guard::{Hold, Key, Waits, login};
use super::persist::{self, Pin};
use super::store::Unsaved;
use crate::sources::error::chain;
use crate::sources::registry_name::RegistryName;
use crate::wire::Name;

/// What an operator may have done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Removals that are held back or wait take effect: all that are held
    /// back, or those of these names and registries. Ends a rollback.
    Accept(Vec<Name>),
    /// Removals stay undone and the alert is silent: all that are held back,
    /// or those of these names and registries.
    Reject(Vec<Name>),
    /// A saved generation is published again and stays until it is accepted.
    Rollback(u64),
}

/// What became of an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many removals it concerned.
    pub removals: usize,
    /// The cycle that followed, or what is published now.
    pub report: Report,
}

impl Sync {
    /// Does what an operator asks.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub fn operate(&mut self, operation: &Operation) -> Result<Outcome, String> {
        self.recall();
        match operation {
            Operation::Accept(names) => self.accept(names),
            Operation::Reject(names) => self.reject(names),
            Operation::Rollback(generation) => self.roll_back(*generation),
        }
    }

    fn accept(&mut self, names: &[Name]) -> Result<Outcome, String> {
        let candidates: BTreeSet<Key> = match self.pin {
            // Everything that the reading of before wants otherwise.
            Some(_) => self.lost(),
            None if names.is_empty() => self.held(),
            None => self.waits.removals.keys().cloned().collect(),
        };
        let mut accepted = self.select(candidates, names);
        let logins = names.iter().filter_map(|name| registry(name, &self.policy.suffixes));
        let known: BTreeSet<Name> = logins.filter(|login| self.current.set.own.contains(login)).collect();
        if accepted.is_empty() && self.pin.is_none() && known.is_empty() {
            return Err(nothing(names));
        }
        // An alias leads nowhere without its target, and nobody is served half a name.
        let suffixes = &self.policy.suffixes;
        let forms: BTreeSet<Name> = accepted
            .iter()
            .filter_map(|(owner, _)| RegistryName::from_either(owner, suffixes))
            .flat_map(|name| [name.public, name.private_link])
            .collect();
        let waiting = self.waits.removals.keys().filter(|(owner, _)| forms.contains(owner));
        accepted.extend(waiting.cloned());
        let decision = Decision { forgotten: self.emptied_by(&accepted, known), accepted };
        let removals = decision.accepted.len();
        info!(removals, pinned = self.pin.is_some(), "removals accepted");
        if self.pin.take().is_some() {
            self.store.needs(Unsaved::Facts);
        }
        let report = self.run(Trigger::Routine, decision);
        Ok(Outcome { removals, report })
    }

    fn reject(&mut self, names: &[Name]) -> Result<Outcome, String> {
        let candidates =
            if names.is_empty() { self.held() } else { self.waits.removals.keys().cloned().collect() };
        let rejected = self.select(candidates, names);
        if rejected.is_empty() {
            return Err(nothing(names));
        }
        for key in &rejected {
            if let Some(wait) = self.waits.removals.get_mut(key) {
                wait.held.get_or_insert(Hold::Rejected);
                wait.rejected = true;
            }
        }
        info!(removals = rejected.len(), "removals rejected");
        self.store.needs(Unsaved::Facts);
        self.show();
        self.save();
        self.show();
        Ok(Outcome { removals: rejected.len(), report: self.standing(false) })
    }

    fn roll_back(&mut self, generation: u64) -> Result<Outcome, String> {
        let directory = self.store.path().to_owned();
        let (_, mut set) = persist::load_set(&directory, generation).map_err(|problem| chain(&problem))?;
        let facts = persist::load_facts(&directory, generation, &set).unwrap_or_default();
        // What is ours since then stays ours.
        let own: BTreeSet<Name> = set.own.iter().chain(&*self.current.set.own).cloned().collect();
        set.own = Arc::new(own.into_iter().collect());
        self.collect_asked();
        self.pin = Some(Pin { to: generation, at: self.clock.wall() });
        self.waits = Waits::default();
        self.store.needs(Unsaved::Facts);
        let changed = *self.current.set != set;
        if changed {
            self.adopt(set);
            self.current.provenance = Arc::new(facts.provenance);
            self.publish();
        }
        info!(to = generation, generation = self.current.generation, "rolled back");
        self.show();
        self.save();
        self.show();
        Ok(Outcome { removals: 0, report: self.standing(changed) })
    }

    /// What is published, where no cycle ran.
    fn standing(&self, changed: bool) -> Report {
        Report {
            changed,
            generation: self.current.generation,
            failed: Vec::new(),
            held_back: self.waits.held(),
            pending: self.waits.pending(),
        }
    }

    fn held(&self) -> BTreeSet<Key> {
        let held = self.waits.removals.iter().filter(|(_, wait)| wait.held.is_some());
        held.map(|(key, _)| key.clone()).collect()
    }

    /// What the latest reading lacks of the published set, or has otherwise.
    fn lost(&self) -> BTreeSet<Key> {
        let reasons = Reasons {
            waits: &self.waits,
            grace: 0,
            now: 0,
            is_pinned: true,
            is_blocked: false,
            is_published: false,
        };
        let changes = changes(&self.current.set, &self.wanted, &reasons);
        changes.into_iter().filter(|c| c.old.is_some()).map(|c| (c.owner, c.rtype)).collect()
    }

    /// Those of `keys` that belong to one of `names`; all if there are none.
    fn select(&self, keys: BTreeSet<Key>, names: &[Name]) -> BTreeSet<Key> {
        if names.is_empty() {
            return keys;
        }
        let suffixes = &self.policy.suffixes;
        let logins: BTreeSet<Name> = names.iter().filter_map(|name| registry(name, suffixes)).collect();
        let forms: BTreeSet<Name> = names
            .iter()
            .flat_map(|name| match RegistryName::from_either(name, suffixes) {
                Some(forms) => vec![forms.public, forms.private_link],
                None => vec![name.clone()],
            })
            .collect();
        let belongs = |(owner, _): &Key| {
            forms.contains(owner) || login(owner, suffixes).is_some_and(|login| logins.contains(&login))
        };
        keys.into_iter().filter(belongs).collect()
    }

    /// Registries of which nothing is left once `accepted` is gone.
    fn emptied_by(&self, accepted: &BTreeSet<Key>, named: BTreeSet<Name>) -> BTreeSet<Name> {
        let suffixes = &self.policy.suffixes;
        let mut left: BTreeMap<Name, bool> = named.into_iter().map(|login| (login, false)).collect();
        left.extend(accepted.iter().filter_map(|(owner, _)| Some((login(owner, suffixes)?, false))));
        if left.is_empty() {
            return BTreeSet::new();
        }
        let set = &self.current.set;
        let rrsets = set.rrsets().map(|r| (r.owner.to_name(), r.rtype));
        let aliases = set.aliases.iter().map(|alias| (alias.public.clone(), crate::wire::Rtype::CNAME));
        for key in rrsets.chain(aliases) {
            if let Some(stays) = login(&key.0, suffixes).and_then(|login| left.get_mut(&login)) {
                *stays |= !accepted.contains(&key);
            }
        }
        left.into_iter().filter(|(_, stays)| !stays).map(|(login, _)| login).collect()
    }
}

/// The registry that an operator means by its login name, in either form.
fn registry(name: &Name, suffixes: &[Name]) -> Option<Name> {
    let known = RegistryName::from_either(name, suffixes)?;
    known.region.is_none().then_some(known.login)
}

fn nothing(names: &[Name]) -> String {
    if names.is_empty() {
        return "no removal is held back".to_owned();
    }
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    format!("no removal of {} waits", names.join(", "))
}
