//! What the reader has found by now, for other threads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::problem::Problem;
use crate::sources::Reading;
use crate::sources::facts::Listing;

/// What was found by now.
#[derive(Debug, Default)]
pub(in crate::sources::azure) struct Shared(Mutex<Found>);

#[derive(Debug, Default)]
pub(super) struct Found {
    /// Listings that were read, by scope.
    pub(super) listings: BTreeMap<String, Listing>,
    /// What was not read, by scope.
    pub(super) problems: BTreeMap<String, Problem>,
    /// The scopes that are known to exist, ...
    scopes: BTreeSet<String>,
    /// ... and whether there are no others.
    pub(super) is_sure: bool,
    /// Whether the first pass has ended.
    pub(super) passed: bool,
}

impl Found {
    /// Notes that there is such a listing.
    pub(super) fn exists(&mut self, scope: &str) {
        self.scopes.insert(scope.to_owned());
    }

    /// Forgets a listing that is gone.
    pub(super) fn forget(&mut self, scope: &str) {
        self.scopes.remove(scope);
        self.listings.remove(scope);
        self.problems.remove(scope);
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was found by now.
    pub(in crate::sources::azure) fn reading(&self) -> Reading {
        let found = self.lock();
        let failures: Vec<_> = found.problems.iter().map(|(scope, problem)| problem.failure(scope)).collect();
        Reading {
            listings: found.listings.values().cloned().collect(),
            // With failures alone there is something to tell already.
            is_pending: !found.passed && (failures.is_empty() || !found.listings.is_empty()),
            failures,
            scopes: found.is_sure.then(|| found.scopes.clone()),
        }
    }

    /// The listings, for a reader that goes on after a defect.
    pub(in crate::sources::azure) fn listings(&self) -> Vec<Listing> {
        self.lock().listings.values().cloned().collect()
    }

    /// Tells of a problem of no listing.
    pub(in crate::sources::azure) fn tell(&self, scope: &str, problem: Option<Problem>) {
        let mut found = self.lock();
        match problem {
            Some(problem) => drop(found.problems.insert(scope.to_owned(), problem)),
            None => drop(found.problems.remove(scope)),
        }
    }
}
