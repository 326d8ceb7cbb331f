//! Which subscriptions are read. One that was read goes on being read when
//! lists no longer have it: that it is not seen is no word about what it holds.

use std::collections::{BTreeMap, BTreeSet};

use super::problem::Problem;
use crate::config::AzureSource;
use crate::sources::azure::plan::Target;

/// The subscriptions.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    configured: BTreeSet<String>,
    /// What each list of subscriptions said last: ids and states.
    lists: BTreeMap<String, Option<BTreeMap<String, String>>>,
    /// Those that are or were read.
    read: BTreeSet<String>,
}

/// What lists them.
pub(super) fn roots(source: &AzureSource) -> Vec<Target> {
    if source.management_groups.is_empty() {
        let all = source.subscriptions.is_empty();
        return all.then(Target::subscriptions).into_iter().collect();
    }
    source.management_groups.iter().map(|name| Target::management_group(name)).collect()
}

impl Subscriptions {
    /// `recalled` are those of saved listings: they count unless the
    /// configuration names all that do.
    pub(super) fn new(source: &AzureSource, recalled: BTreeSet<String>) -> Self {
        let configured: BTreeSet<String> = source.subscriptions.iter().cloned().collect();
        let lists: BTreeMap<String, _> = roots(source).into_iter().map(|root| (root.scope, None)).collect();
        let mut read = configured.clone();
        if !lists.is_empty() {
            read.extend(recalled);
        }
        Self { configured, lists, read }
    }

    /// Those that are or were read.
    pub(super) fn all(&self) -> &BTreeSet<String> {
        &self.read
    }

    /// Takes what the list `scope` says.
    pub(super) fn take(&mut self, scope: &str, found: BTreeMap<String, String>) {
        let readable = found.iter().filter(|(_, state)| is_readable(state));
        self.read.extend(readable.map(|(id, _)| id.clone()));
        for (id, state) in found.iter().filter(|(id, _)| !self.read.contains(*id)) {
            tracing::debug!(subscription = %id, state = %state, "azure subscription passed over");
        }
        self.lists.insert(scope.to_owned(), Some(found));
    }

    /// What is wrong with `id`, once every list was read.
    pub(super) fn problem(&self, id: &str) -> Option<Problem> {
        let state = self.lists.values().flatten().find_map(|list| list.get(id));
        match state {
            Some(state) => (!is_readable(state)).then(|| Problem::state(state)),
            None if self.configured.contains(id) || self.lists.values().any(Option::is_none) => None,
            None => Some(Problem::not_visible()),
        }
    }
}

/// Whether Azure answers for a subscription in this state.
fn is_readable(state: &str) -> bool {
    !matches!(state.to_ascii_lowercase().as_str(), "disabled" | "deleted")
}
