//! One cycle: read, merge, guard, build, save, publish.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use super::asked::Asked;
use super::clock::Clock;
use super::findings::Findings;
use super::guard::{self, Circumstances, Key, Rules, Side, Verdict, Waits};
use super::memory::Memory;
use super::merge::{Merged, merge};
use super::persist::{Beside, Pin};
use super::policy::{Policy, Scope};
use super::provenance::Provenance;
use super::reading::{Readings, Round};
use super::status::Status;
use super::store::{Store, Unsaved};
use crate::findings::Finding;
use crate::metrics::sync::SyncMetrics;
use crate::routes::Routes;
use crate::snapshot::Snapshot;
use crate::snapshot::model::{AnswerOptions, RecordSet};
use crate::snapshot::publish::Publisher;
use crate::sources::{Changed, ReadRecords};
use crate::wire::Name;

/// Keeps the published set in step with the sources.
pub struct Sync {
    pub(super) policy: Policy,
    pub(super) options: AnswerOptions,
    pub(super) rules: Rules,
    pub(super) clock: Box<dyn Clock>,
    pub(super) readings: Readings,
    /// Which addresses lead to the registries, as far as that is checked.
    pub(super) routes: Routes,
    pub(super) memory: Memory,
    /// What of the published set waits to be taken away.
    pub(super) waits: Waits,
    pub(super) asked: Asked,
    /// A rollback is in force: nothing new is published.
    pub(super) pin: Option<Pin>,
    /// The scope that the published set was merged under.
    pub(super) scope: Option<Scope>,
    /// What is wrong, and since when.
    pub(super) findings: Findings,
    /// The generation whose saved facts are still to be read.
    pub(super) unread_facts: Option<u64>,
    pub(super) current: Current,
    /// What the latest reading wants.
    pub(super) wanted: Arc<RecordSet>,
    /// The next generation lies above this.
    pub(super) highest: u64,
    pub(super) store: Store,
    pub(super) publisher: Arc<Publisher>,
    /// The set that the published snapshot was made from.
    pub(super) compiled: Arc<RecordSet>,
    pub(super) status: Status,
    pub(super) metrics: Arc<SyncMetrics>,
    pub(super) load_findings: Vec<Finding>,
    pub(super) facts_finding: Option<Finding>,
    pub(super) watch_finding: Option<Finding>,
    pub(super) merge_findings: Vec<Finding>,
}

/// What is published.
#[derive(Default)]
pub(super) struct Current {
    pub(super) loaded: bool,
    pub(super) set: Arc<RecordSet>,
    pub(super) provenance: Arc<Provenance>,
    pub(super) generation: u64,
    pub(super) created: u64,
}

/// Why a cycle runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Something changed, or it is time.
    Routine,
    /// The configuration changed, or an operator had its files read again:
    /// removals there are meant.
    Reconfigured,
}

/// What an operator has decided for the cycle that follows.
#[derive(Debug, Default)]
pub(super) struct Decision {
    /// Removals that are to take effect.
    pub(super) accepted: BTreeSet<Key>,
    /// Registries that are not ours any more, unless the sources say so.
    pub(super) forgotten: BTreeSet<Name>,
}

/// What a cycle did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether another set was published.
    pub changed: bool,
    /// The generation that is published now.
    pub generation: u64,
    /// Sources that failed, with the reason.
    pub failed: Vec<(String, String)>,
    /// Removals that wait for an operator.
    pub held_back: usize,
    /// Removals that wait for time or for another reading.
    pub pending: usize,
}

impl Sync {
    /// Where snapshots are published.
    pub fn publisher(&self) -> Arc<Publisher> {
        Arc::clone(&self.publisher)
    }

    /// How the sync fares, for other threads.
    pub fn status(&self) -> Status {
        self.status.clone()
    }

    /// The sources, for the watcher.
    pub(super) fn sources(&self) -> &[Box<dyn ReadRecords>] {
        self.readings.sources()
    }

    /// Lets sources that read in the background begin; they call `changed`.
    pub(super) fn start_sources(&mut self, changed: Changed) {
        // What they said before this process is not gone because they start anew.
        self.recall();
        self.readings.start(changed);
    }

    /// Asks sources that read in the background to read now and to call
    /// `done` once each; how many will.
    pub(super) fn refresh(&self, done: &Changed) -> usize {
        self.readings.refresh(done)
    }

    /// Whether another cycle is due though no file changes: a source failed,
    /// a removal waits for another reading, or a set waits to be saved.
    pub(super) fn wants_retry(&self) -> bool {
        self.waits.pending() > 0 || self.store.wants_retry() || self.readings.is_some_failed()
    }

    /// The time until a removal that waits may take effect. `None` if none
    /// waits, or if time is not what it waits for.
    pub(super) fn due_in(&self) -> Option<Duration> {
        let due = self.waits.next_due(self.rules.grace).filter(|_| self.pin.is_none())?;
        due.checked_sub(self.clock.steady()).filter(|left| *left > 0).map(Duration::from_secs)
    }

    /// Takes what changes though nothing is to be published: the marks of
    /// names that were asked for, and when Azure was last read.
    pub(super) fn look_around(&mut self) {
        self.collect_asked();
        self.publisher.free();
        self.readings.note_times(&self.metrics);
    }

    /// Frees what was superseded and no reader holds any more; whether some do.
    pub(super) fn let_go(&self) -> bool {
        self.publisher.free();
        self.publisher.superseded() == 0
    }

    /// Takes the marks of names that were asked for.
    pub(super) fn collect_asked(&mut self) {
        self.asked.collect(&self.publisher.current(), self.clock.steady());
    }

    /// Runs one cycle.
    pub fn cycle(&mut self, trigger: Trigger) -> Report {
        self.run(trigger, Decision::default())
    }

    pub(super) fn run(&mut self, trigger: Trigger, decision: Decision) -> Report {
        self.recall();
        self.collect_asked();
        let now = self.clock.steady();
        self.asked.prune(self.rules.asked_within, now);
        let round = self.readings.read_all(&self.metrics, self.clock.wall());
        let listings = self.readings.listings();
        let nothing_known =
            !self.readings.sources().is_empty() && listings.is_empty() && !self.current.loaded;
        let mut memory = self.memory.clone();
        memory.own.retain(|name| !decision.forgotten.contains(name));
        let mut merged = merge(&listings, &self.policy, &memory, &self.routes.get());
        let forgotten = self.forget(decision.forgotten, &mut merged);
        let mut set = std::mem::take(&mut merged.set);
        set.share(&self.current.set);
        let wanted = set.clone();
        let mut verdict = self.judge(trigger, &round, set, &merged, &decision.accepted, &forgotten);
        if !verdict.kept.is_empty() {
            // What was put back lies in chunks of its own.
            verdict.set.share(&self.current.set);
        }
        self.merge_findings = std::mem::take(&mut merged.findings);
        self.remember(merged.memory, &verdict);
        let changed = if self.pin.is_some() {
            self.wanted = Arc::new(wanted);
            if trigger == Trigger::Reconfigured {
                self.publish();
            }
            false
        } else {
            let mut provenance = merged.provenance;
            provenance.hold_back(&self.current.provenance, &verdict.kept, &verdict.displaced);
            let changed = *self.current.set != verdict.set || (!self.current.loaded && !nothing_known);
            self.note_waits(verdict.waits);
            if changed {
                self.adopt(verdict.set);
            }
            self.current.provenance = Arc::new(provenance);
            // Most of the time nothing waits; then one set is enough.
            self.wanted =
                if *self.current.set == wanted { Arc::clone(&self.current.set) } else { Arc::new(wanted) };
            self.note_scope();
            if changed || trigger == Trigger::Reconfigured {
                self.publish();
            }
            changed
        };
        if self.asked.wants_save(now) {
            self.store.needs(Unsaved::Facts);
        }
        // Before saving: what was found is saved too.
        self.show();
        self.save();
        self.show();
        self.report(changed, round)
    }

    fn report(&self, changed: bool, round: Round) -> Report {
        let generation = self.current.generation;
        let (held_back, pending) = (self.waits.held(), self.waits.pending());
        if changed {
            let rrsets: usize = self.current.set.zones.iter().map(|zone| zone.rrsets.len()).sum();
            let aliases = self.current.set.aliases.len();
            info!(generation, rrsets, aliases, held_back, pending, "snapshot published");
        } else {
            debug!(generation, failed = round.failed.len(), "sync ran without change");
        }
        Report { changed, generation, failed: round.failed, held_back, pending }
    }

    /// Of the registries that are to be forgotten those that nothing shows
    /// any more; the others stay ours.
    fn forget(&self, wanted: BTreeSet<Name>, merged: &mut Merged) -> BTreeSet<Name> {
        if wanted.is_empty() {
            return wanted;
        }
        let rrsets = merged.set.rrsets().map(|rrset| rrset.owner.to_name());
        let owners = rrsets.chain(merged.set.aliases.iter().map(|alias| alias.public.clone()));
        let shown: BTreeSet<Name> =
            owners.filter_map(|owner| guard::login(&owner, &self.policy.suffixes)).collect();
        let (stay, forgotten): (BTreeSet<Name>, BTreeSet<Name>) =
            wanted.into_iter().partition(|login| shown.contains(login) || merged.memory.own.contains(login));
        merged.memory.own.extend(stay.into_iter().filter(|login| self.memory.own.contains(login)));
        forgotten
    }

    fn judge(
        &self,
        trigger: Trigger,
        round: &Round,
        set: RecordSet,
        merged: &Merged,
        accepted: &BTreeSet<Key>,
        forgotten: &BTreeSet<Name>,
    ) -> Verdict {
        let reloaded = trigger == Trigger::Reconfigured;
        let scope = self.policy.scope();
        let before = self.scope.as_ref();
        let sources: Vec<&str> = self.readings.sources().iter().map(|source| source.name()).collect();
        let circumstances = Circumstances {
            suffixes: &self.policy.suffixes,
            sources: &sources,
            reloaded,
            rescoped: reloaded || before.is_some_and(|before| *before != scope),
            dropped: &before.map(|before| scope.dropped_since(before)).unwrap_or_default(),
            blocked: self.readings.is_some_silent(),
            fresh: &round.fresh,
            asked: self.asked.times(),
            accepted,
            forgotten,
            now: self.clock.steady(),
            wall: self.clock.wall(),
        };
        let published = Side { set: &self.current.set, provenance: &self.current.provenance };
        guard::judge(published, set, &merged.provenance, &self.waits, &self.rules, &circumstances)
    }

    /// Takes the merge's memory. A connection whose names are still served
    /// though it is gone is remembered as long.
    fn remember(&mut self, mut memory: Memory, verdict: &Verdict) {
        let kept: BTreeSet<&Name> = verdict.kept.iter().map(|(owner, _)| owner).collect();
        for (id, connection) in &self.memory.connections {
            let is_served = connection.names.iter().any(|name| kept.contains(&name.public));
            if is_served && !memory.connections.contains_key(id) {
                memory.connections.insert(id.clone(), connection.clone());
            }
        }
        if self.memory != memory {
            self.memory = memory;
            self.store.needs(Unsaved::Facts);
        }
    }

    fn note_waits(&mut self, waits: Waits) {
        if self.waits == waits {
            return;
        }
        let before = &self.waits.removals;
        let is_new = |(key, wait): &(&Key, &guard::Wait)| {
            wait.held.is_some() && before.get(*key).is_none_or(|before| before.held.is_none())
        };
        let removals = waits.removals.iter().filter(is_new).count();
        if removals > 0 {
            warn!(removals, held_back = waits.held(), "removal held back");
        }
        self.waits = waits;
        self.store.needs(Unsaved::Facts);
    }

    fn note_scope(&mut self) {
        let scope = Some(self.policy.scope());
        if self.scope != scope {
            self.scope = scope;
            self.store.needs(Unsaved::Facts);
        }
    }

    /// Makes `set` the current one, with a generation of its own.
    pub(super) fn adopt(&mut self, set: RecordSet) {
        self.current.set = Arc::new(set);
        self.renumber();
    }

    fn renumber(&mut self) {
        self.highest += 1;
        self.current.loaded = true;
        self.current.generation = self.highest;
        self.current.created = self.clock.wall();
        self.store.needs(Unsaved::Set);
    }

    /// Compiles and publishes the current set.
    pub(super) fn publish(&mut self) {
        let superseded = self.publisher.current();
        let began = Instant::now();
        let (set, generation) = (&self.current.set, self.current.generation);
        let before = std::mem::replace(&mut self.compiled, Arc::clone(set));
        let updated = Snapshot::update(&superseded, &before, set, &self.options, generation);
        // A whole build takes memory enough without the set that was.
        drop(before);
        let incrementally = updated.is_some();
        let snapshot = updated.unwrap_or_else(|| Snapshot::build(set, &self.options, generation));
        self.publisher.publish(snapshot);
        self.metrics.built(incrementally, began.elapsed());
        // Asked for between the last look and the swap.
        self.asked.collect(&superseded, self.clock.steady());
        drop(superseded);
        self.publisher.free();
    }

    /// Saves what is not saved yet, and tries again what failed.
    pub(super) fn save(&mut self) {
        if let Some(on_disk) = self.store.reopen(&self.metrics) {
            // Another process saved there while we could not: its numbers are taken.
            let taken = on_disk >= self.current.generation && self.store.unsaved() == Unsaved::Set;
            self.highest = self.highest.max(on_disk);
            if taken && self.current.loaded {
                self.renumber();
                self.publish();
            }
        }
        if !self.current.loaded || self.store.unsaved() == Unsaved::Nothing {
            return;
        }
        let findings = self.findings.saved();
        let facts = Beside {
            listings: self.readings.to_saved(),
            memory: &self.memory,
            provenance: &self.current.provenance,
            waits: &self.waits,
            asked: self.asked.times(),
            coarse: Asked::coarse,
            pin: self.pin,
            scope: self.scope.as_ref(),
            findings: &findings,
        };
        let current = &self.current;
        let was_set = self.store.unsaved() == Unsaved::Set;
        if self.store.save(current.generation, current.created, &current.set, &facts, &self.metrics) {
            self.asked.saved(self.clock.steady());
            self.facts_finding = None;
            if was_set {
                // The newest on disk is whole again.
                self.load_findings.clear();
            }
        }
    }

    /// Saves what would else be lost with the process.
    pub(super) fn finish(&mut self) {
        self.collect_asked();
        if self.asked.is_unsaved() && self.unread_facts.is_none() {
            self.store.needs(Unsaved::Facts);
        }
        self.save();
    }
}
