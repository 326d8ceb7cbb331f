//! The reading of all sources: their last complete listings, what of them is
//! fresh, and how each source fares.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tracing::{info, warn};

use super::findings;
use super::guard::Freshness;
use super::status::{FailureStatus, ListingStatus, SourceStatus};
use crate::config::Config;
use crate::events::outside;
use crate::metrics::sync::SyncMetrics;
use crate::sources::error::chain;
use crate::sources::facts::{Listing, ListingId, SourceKind};
use crate::sources::{self, Budgets, Changed, Failure, ReadRecords, Reading, SourceError};

/// The sources of the configuration with what they said last.
pub(super) struct Readings {
    sources: Vec<Box<dyn ReadRecords>>,
    /// Called by sources with news, once somebody listens.
    changed: Option<Changed>,
    /// What sources may send the servers that they ask for addresses.
    budgets: Option<Arc<dyn Budgets>>,
    /// The last complete listings of each source in the configuration.
    listings: BTreeMap<String, Vec<Listing>>,
    health: BTreeMap<String, Health>,
}

#[derive(Default)]
struct Health {
    last_success: Option<u64>,
    last_error: Option<String>,
    failures: Vec<FailureStatus>,
    /// It said something in this process.
    was_read: bool,
    /// Its first reading still runs.
    is_pending: bool,
    /// Some part was never read, not by an earlier process either.
    is_incomplete: bool,
}

impl Health {
    fn is_whole(&self) -> bool {
        self.was_read && !self.is_pending && self.last_error.is_none()
    }
}

/// What one round of reading brought.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Sources that failed, with the reason.
    pub(super) failed: Vec<(String, String)>,
    /// What was read anew.
    pub(super) fresh: Freshness,
}

impl Readings {
    pub(super) fn open(config: &Config, metrics: &SyncMetrics) -> Self {
        let mut readings = Self {
            sources: sources::open(config),
            changed: None,
            budgets: None,
            listings: BTreeMap::new(),
            health: BTreeMap::new(),
        };
        for source in &readings.sources {
            source.count_in(metrics.azure());
        }
        readings.forget_removed(metrics);
        readings
    }

    /// What look-ups of the sources draw on from now on.
    pub(super) fn draw_on(&mut self, budgets: Arc<dyn Budgets>) {
        for source in &self.sources {
            source.draw_on(&budgets);
        }
        self.budgets = Some(budgets);
    }

    /// Lets sources that read in the background begin, and tell of their news.
    /// They are told first what they said last.
    pub(super) fn start(&mut self, changed: Changed) {
        for source in &self.sources {
            source.recall(self.listings.get(source.name()).map(Vec::as_slice).unwrap_or_default());
            source.start(changed.clone());
        }
        self.changed = Some(changed);
    }

    /// Takes the sources of another configuration. One that keeps its name
    /// keeps its last listings, one that is gone loses them, and one that
    /// reads in the background and is configured as before goes on as it is.
    pub(super) fn reopen(&mut self, config: &Config, metrics: &SyncMetrics) {
        let old = std::mem::take(&mut self.sources);
        let kept: Vec<*const ()> = old.iter().map(|source| address(source.as_ref())).collect();
        self.sources = sources::open_reusing(config, old);
        for source in self.sources.iter().filter(|source| !kept.contains(&address(source.as_ref()))) {
            // It is another one, whatever one of its name has said.
            self.health.remove(source.name());
            source.count_in(metrics.azure());
            if let Some(budgets) = &self.budgets {
                source.draw_on(budgets);
            }
        }
        self.forget_removed(metrics);
        if let Some(changed) = self.changed.clone() {
            // Nothing happens to those that run.
            self.start(changed);
        }
    }

    /// Takes listings that were saved.
    pub(super) fn restore(&mut self, listings: Vec<Listing>, metrics: &SyncMetrics) {
        for listing in listings {
            self.listings.entry(listing.id.source.clone()).or_default().push(listing);
        }
        self.forget_removed(metrics);
    }

    fn forget_removed(&mut self, metrics: &SyncMetrics) {
        let names: Vec<&str> = self.sources.iter().map(|source| source.name()).collect();
        self.listings.retain(|name, _| names.contains(&name.as_str()));
        self.health.retain(|name, _| names.contains(&name.as_str()));
        metrics.sources(names.iter().copied());
        for (name, listings) in &self.listings {
            let read_at = listings.iter().map(|listing| listing.read_at).max();
            let health = self.health.entry(name.clone()).or_default();
            health.last_success = health.last_success.or(read_at);
            metrics.last_success(name, health.last_success.unwrap_or(0));
        }
    }

    pub(super) fn sources(&self) -> &[Box<dyn ReadRecords>] {
        &self.sources
    }

    /// Asks sources that read in the background to read everything now and to
    /// call `done` once each; how many will.
    pub(super) fn refresh(&self, done: &Changed) -> usize {
        self.sources.iter().filter(|source| source.refresh(Arc::clone(done))).count()
    }

    /// All listings, in the configuration's order of sources.
    pub(super) fn listings(&self) -> Vec<&Listing> {
        self.sources.iter().filter_map(|source| self.listings.get(source.name())).flatten().collect()
    }

    /// The same, to be saved.
    pub(super) fn to_saved(&self) -> Vec<&Listing> {
        self.listings.values().flatten().collect()
    }

    /// Takes the time of the last whole reading of sources that read in the
    /// background: while nothing changes nobody else asks them.
    pub(super) fn note_times(&mut self, metrics: &SyncMetrics) {
        for source in self.sources.iter().filter(|source| source.kind() == SourceKind::Azure) {
            let Ok(reading) = read_contained(source.as_ref()) else { continue };
            let read_at = reading.listings.iter().map(|listing| listing.read_at).max();
            let Some(read_at) = read_at.filter(|_| reading.failures.is_empty() && !reading.is_pending) else {
                continue;
            };
            let health = self.health.entry(source.name().to_owned()).or_default();
            health.last_success = health.last_success.max(Some(read_at));
            metrics.last_success(source.name(), health.last_success.unwrap_or(0));
        }
    }

    /// Whether some source never said anything, or its first reading still runs.
    pub(super) fn is_some_silent(&self) -> bool {
        self.sources.iter().any(|source| {
            let health = self.health.get(source.name());
            let pending = health.is_some_and(|health| health.is_pending);
            let was_read = health.is_some_and(|health| health.was_read);
            pending || !was_read && !self.listings.contains_key(source.name())
        })
    }

    /// Whether some part of some source was never read.
    pub(super) fn is_some_incomplete(&self) -> bool {
        self.is_some_silent() || self.health.values().any(|health| health.is_incomplete)
    }

    /// Whether the last reading of some source failed.
    pub(super) fn is_some_failed(&self) -> bool {
        self.health.values().any(|health| health.last_error.is_some())
    }

    /// How each source fares.
    pub(super) fn status(&self) -> Vec<SourceStatus> {
        self.sources.iter().map(|source| self.source_status(source.as_ref())).collect()
    }

    /// Reads every source; what fails keeps its last listing. `wall` is now.
    pub(super) fn read_all(&mut self, metrics: &SyncMetrics, wall: u64) -> Round {
        let mut round = Round::default();
        for source in &self.sources {
            let name = source.name();
            let start = Instant::now();
            let result = read_contained(source.as_ref()).and_then(|reading| {
                refuse_empty(self.listings.get(name).map(Vec::as_slice), reading, source.kind())
            });
            let health = self.health.entry(name.to_owned()).or_default();
            health.is_pending = result.as_ref().is_ok_and(|reading| reading.is_pending);
            let (reading, problem) = match result {
                Ok(reading) if reading.is_pending && reading.listings.is_empty() => continue,
                Ok(reading) => {
                    let first = reading.failures.first();
                    let problem = first.map(|failure| (failure.error.label(), part(failure, &reading)));
                    health.was_read = true;
                    (reading, problem)
                }
                Err(error) => (Reading::default(), Some((error.label(), chain(&error)))),
            };
            metrics.read(name, problem.as_ref().map_or("ok", |(label, _)| label), start.elapsed());
            health.failures = reading.failures.iter().map(failure_status).collect();
            health.is_incomplete = findings::is_incomplete(self.listings.get(name), &reading);
            let held = self.listings.entry(name.to_owned()).or_default();
            note_fresh(&mut round.fresh, source.as_ref(), held, &reading, problem.is_none());
            replace(held, reading);
            if let Some((_, text)) = problem {
                if health.last_error.as_ref() != Some(&text) {
                    warn!(source = name, error = %outside(&text), "sync failed");
                }
                health.last_error = Some(text.clone());
                round.failed.push((name.to_owned(), text));
            } else {
                if health.last_error.take().is_some() {
                    info!(source = name, "source recovered");
                }
                health.last_success = Some(wall);
                metrics.last_success(name, wall);
            }
        }
        self.listings.retain(|_, listings| !listings.is_empty());
        round.fresh.present = self.listings.values().flatten().map(|listing| listing.id.clone()).collect();
        round.fresh.everything = self.sources.iter().all(|source| {
            let whole = self.health.get(source.name()).is_some_and(Health::is_whole);
            whole && round.fresh.sources.contains(source.name())
        });
        round
    }

    fn source_status(&self, source: &dyn ReadRecords) -> SourceStatus {
        let health = self.health.get(source.name());
        let listings = self.listings.get(source.name()).map(Vec::as_slice).unwrap_or_default();
        let status = |listing: &Listing| ListingStatus {
            scope: listing.id.scope.clone(),
            read_at: listing.read_at,
            facts: listing.count(),
        };
        SourceStatus {
            name: source.name().to_owned(),
            kind: source.kind(),
            last_success: health.and_then(|health| health.last_success),
            last_error: health.and_then(|health| health.last_error.clone()),
            facts: listings.iter().map(Listing::count).sum(),
            is_pending: health.is_some_and(|health| health.is_pending),
            listings: listings.iter().map(status).collect(),
            failures: health.map(|health| health.failures.clone()).unwrap_or_default(),
        }
    }
}

/// Tells one source from another, whatever they are called.
fn address(source: &dyn ReadRecords) -> *const () {
    std::ptr::from_ref(source).cast()
}

/// Notes which listings of a reading were read anew. A source that reads in
/// the background gives what it has; there the time of reading tells.
fn note_fresh(
    fresh: &mut Freshness,
    source: &dyn ReadRecords,
    held: &[Listing],
    reading: &Reading,
    is_whole: bool,
) {
    let before: BTreeMap<&ListingId, u64> =
        held.iter().map(|listing| (&listing.id, listing.read_at)).collect();
    let in_background = source.kind() == SourceKind::Azure;
    let is_new = |listing: &&Listing| !in_background || before.get(&listing.id) != Some(&listing.read_at);
    let new: Vec<ListingId> = reading.listings.iter().filter(is_new).map(|l| l.id.clone()).collect();
    if !new.is_empty() || is_whole && !in_background {
        fresh.sources.insert(source.name().to_owned());
    }
    fresh.listings.extend(new);
}

fn failure_status(failure: &Failure) -> FailureStatus {
    FailureStatus {
        scope: failure.scope.clone(),
        error: chain(&failure.error),
        missing_permission: failure.missing_permission.clone(),
    }
}

/// Reads a source; a panic in it is an error like others.
fn read_contained(source: &dyn ReadRecords) -> Result<Reading, SourceError> {
    catch_unwind(AssertUnwindSafe(|| source.read())).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(SourceError::Defect { message })
    })
}

/// What a reading that failed in part says of its first failure.
fn part(failure: &Failure, reading: &Reading) -> String {
    let others = reading.failures.len() - 1;
    let more = if others == 0 { String::new() } else { format!(" (and {others} more)") };
    format!("{}: {}{more}", failure.scope, chain(&failure.error))
}

/// Puts fresh listings in the place of those with their ids, and drops those
/// whose scope is gone.
fn replace(held: &mut Vec<Listing>, mut reading: Reading) {
    for listing in &mut reading.listings {
        let before = held.iter().find(|held| held.id == listing.id).and_then(Listing::records);
        if let (Some(before), Some(records)) = (before, listing.records_mut().and_then(Arc::get_mut)) {
            records.share(before);
        }
    }
    let fresh: BTreeSet<&str> = reading.listings.iter().map(|listing| listing.id.scope.as_str()).collect();
    held.retain(|listing| {
        let scope = listing.id.scope.as_str();
        !fresh.contains(scope) && reading.scopes.as_ref().is_none_or(|scopes| scopes.contains(scope))
    });
    held.extend(reading.listings);
    held.sort_by(|a, b| a.id.cmp(&b.id));
}

/// An empty listing never takes away what there was: that a whole estate is
/// gone is said by removing its source. The configuration itself may say so,
/// and of what Azure lists the guard decides.
fn refuse_empty(
    previous: Option<&[Listing]>,
    fresh: Reading,
    kind: SourceKind,
) -> Result<Reading, SourceError> {
    let empty = |listings: &[Listing]| listings.iter().all(|listing| listing.count() == 0);
    let had = previous.is_some_and(|previous| !empty(previous));
    let is_file = !matches!(kind, SourceKind::Static | SourceKind::Azure);
    if is_file && had && empty(&fresh.listings) {
        return Err(SourceError::EmptyListing);
    }
    Ok(fresh)
}
