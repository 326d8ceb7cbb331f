//! What becomes of an outcome: held, delivered, and followed by more listings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::FutureExt as _;
use futures::stream::StreamExt as _;
use serde_json::Value;
use tracing::{debug, info, warn};

use super::listing::{Fresh, Item, Items, Outcome};
use super::problem::Problem;
use super::{Done, GRAPH_EVERY, PassReport, Reader};
use crate::config::Discovery;
use crate::sources::azure::plan::{Kind, Target};
use crate::sources::error::chain;
use crate::sources::facts::{EndpointFact, Listing, ListingId, SourceKind, What};

/// The scope that failures of the index are told under.
const GRAPH_SCOPE: &str = "resourceGraph";

impl Reader {
    /// Waits for all that runs.
    pub(super) async fn finish_pass(&mut self) -> PassReport {
        while let Some(done) = self.running.next().await {
            self.accept(done);
        }
        self.report
    }

    /// Takes what one request for a listing yielded, and starts what follows.
    pub(super) fn accept(&mut self, done: Done) {
        match done {
            Done::Listing { scope, began, outcome } => self.accept_listing(&scope, began, outcome),
            Done::Graph { waiting, result } => self.accept_graph(waiting, result),
        }
        self.launch();
        self.end_pass_if_done();
    }

    fn accept_listing(&mut self, scope: &str, began: u64, outcome: Outcome) {
        self.open.remove(scope);
        let Some(slot) = self.slots.get_mut(scope) else { return };
        slot.in_flight = false;
        match outcome {
            Outcome::Read(fresh) => self.accept_fresh(scope, began, fresh),
            Outcome::Absent => {
                debug!(scope, "azure listing not to be had");
                let fresh = Fresh { items: Items::clone(&slot.items), requests: 1, ..Fresh::default() };
                self.settle(scope, began, fresh, false);
            }
            Outcome::Failed(problem) => {
                self.report.failed += 1;
                self.report.requests += 1;
                self.problem(scope, Some(problem));
            }
            Outcome::Subscriptions(found) => {
                self.subscriptions.take(scope, found);
                self.settle(scope, began, Fresh { requests: 1, ..Fresh::default() }, true);
                self.plan(&BTreeMap::new());
                for id in self.subscriptions.all().clone() {
                    let problem = self.subscriptions.problem(&id);
                    self.tell(&format!("{id}/subscription"), problem);
                }
            }
        }
    }

    fn accept_fresh(&mut self, scope: &str, began: u64, fresh: Fresh) {
        let Some(slot) = self.slots.get(scope) else { return };
        let (target, before) = (Arc::clone(&slot.target), Arc::clone(&slot.items));
        let first = slot.read_at.is_none();
        self.settle(scope, began, fresh, true);
        let Some(after) = self.slots.get(scope).map(|slot| Arc::clone(&slot.items)) else { return };
        if target.kind.has_children() && (first || *before != *after) {
            self.plan(&BTreeMap::new());
        }
        match target.kind {
            Kind::Endpoints => {
                let changed = |(key, item): &(&String, &Item)| !first && before.get(*key) != Some(*item);
                let changed = after.iter().filter(changed).flat_map(|(_, item)| &item.facts);
                let interfaces = changed.filter_map(|fact| endpoint(&fact.what));
                let ids: BTreeSet<String> =
                    interfaces.flat_map(|endpoint| endpoint.interface_ids.clone()).collect();
                self.look_up(&target.subscription, ids);
            }
            Kind::Interfaces => self.look_up(&target.subscription, BTreeSet::new()),
            _ => {}
        }
    }

    /// Holds and delivers what a listing says.
    fn settle(&mut self, scope: &str, began: u64, fresh: Fresh, deliver: bool) {
        let Fresh { items, problem, pages, requests } = fresh;
        self.report.requests += requests;
        let Some(mut slot) = self.slots.remove(scope) else { return };
        let first = slot.read_at.is_none();
        let before = slot.facts();
        slot.succeeded(&self.circumstances(&slot.target, 0), began, pages);
        slot.items = Arc::new(items);
        let facts = slot.facts();
        let changed = before != facts;
        if changed || first {
            self.report.changed |= changed;
            self.news = true;
        }
        if deliver {
            let id = ListingId { source: self.settings.source.name.clone(), scope: scope.to_owned() };
            let listing = Listing { id, kind: SourceKind::Azure, read_at: began, facts };
            self.shared.lock().listings.insert(scope.to_owned(), listing);
        }
        self.slots.insert(scope.to_owned(), slot);
        if problem.is_some() {
            self.report.failed += 1;
        } else {
            self.report.read += 1;
        }
        self.problem(scope, problem);
    }

    /// Notes why a listing, or part of it, could not be read, or that it could.
    fn problem(&mut self, scope: &str, problem: Option<Problem>) {
        if let Some(mut slot) = self.slots.remove(scope) {
            if let Some(problem) = &problem {
                slot.failed(&self.circumstances(&slot.target, 0), problem);
            }
            if problem.is_some() {
                self.retries.insert(scope.to_owned());
            } else {
                self.retries.remove(scope);
            }
            self.slots.insert(scope.to_owned(), slot);
        }
        self.tell(scope, problem);
    }

    /// Tells others of a problem, or that there is none any more.
    fn tell(&mut self, scope: &str, problem: Option<Problem>) {
        let mut found = self.shared.lock();
        let same = match (found.problems.get(scope), &problem) {
            (Some(old), Some(new)) => old.same_as(new),
            (None, None) => true,
            _ => false,
        };
        if !same {
            self.news = true;
            if let Some(problem) = &problem {
                let error = chain(&problem.error());
                warn!(scope, error = %crate::events::outside(&error), "azure listing failed");
            } else {
                info!(scope, "azure listing recovered");
            }
        }
        match problem {
            Some(problem) => drop(found.problems.insert(scope.to_owned(), problem)),
            None => drop(found.problems.remove(scope)),
        }
    }

    /// Takes the rows of the index, or lists interfaces by Resource Manager.
    fn accept_graph(
        &mut self,
        waiting: BTreeSet<String>,
        result: Result<(BTreeMap<String, Vec<Value>>, u32), Problem>,
    ) {
        self.graph.in_flight = false;
        match result {
            Ok((mut rows, pages)) => {
                self.report.requests += pages;
                if self.graph.problem.take().is_some() {
                    info!("azure interfaces found by resource graph");
                }
                self.tell(GRAPH_SCOPE, None);
                for subscription in waiting {
                    let rows = rows.remove(&subscription).unwrap_or_default();
                    let lookups = self.graph.lookups.remove(&subscription).unwrap_or_default();
                    let scope = Target::scope_in(&subscription, Kind::Interfaces);
                    self.start(&scope, |read| {
                        async move { read.confirm(Some(rows.as_slice()), &lookups).await }.boxed()
                    });
                }
            }
            Err(problem) => {
                self.report.requests += 1;
                if self.graph.problem.is_none() {
                    let error = chain(&problem.error());
                    info!(error = %crate::events::outside(&error), "azure interfaces found by resource manager");
                }
                let failure = problem.failure(GRAPH_SCOPE);
                let forbidden = failure.missing_permission.is_some() || failure.error.label() == "forbidden";
                self.graph.not_before = self.report.pass + if forbidden { GRAPH_EVERY } else { 1 };
                if self.settings.source.discovery == Discovery::ResourceGraph {
                    self.tell(GRAPH_SCOPE, Some(problem.clone()));
                }
                self.graph.problem = Some(problem);
                for subscription in waiting {
                    let scope = Target::scope_in(&subscription, Kind::Interfaces);
                    self.start(&scope, |read| async move { read.list().await }.boxed());
                }
            }
        }
    }

    /// Reads interfaces by name that the index may not know yet: those of
    /// endpoints that changed (`ids`), and those that endpoints have and no row shows.
    fn look_up(&mut self, subscription: &str, ids: BTreeSet<String>) {
        if !self.asks_graph() || self.graph.problem.is_some() {
            return;
        }
        let scope = Target::scope_in(subscription, Kind::Interfaces);
        let lookups = self.graph.lookups.entry(subscription.to_owned()).or_default();
        lookups.extend(ids.into_iter().filter(|id| !self.graph.looked_up.contains(id)));
        let Some(slot) = self.slots.get_mut(&scope) else { return };
        if slot.in_flight || self.due.contains(&scope) || slot.read_at.is_none() {
            // Its end comes by here again.
            return;
        }
        let endpoints = Target::scope_in(subscription, Kind::Endpoints);
        let held = Arc::clone(&slot.items);
        let known = self.slots.get(&endpoints).map(|slot| Arc::clone(&slot.items)).unwrap_or_default();
        let facts = known.values().flat_map(|item| &item.facts).filter_map(|fact| endpoint(&fact.what));
        let unknown = facts.flat_map(|endpoint| &endpoint.interface_ids).filter(|id| {
            let here = id.strip_prefix("/subscriptions/").is_some_and(|rest| rest.starts_with(subscription));
            here && !held.contains_key(*id) && !self.graph.looked_up.contains(*id)
        });
        lookups.extend(unknown.cloned());
        let lookups = self.graph.lookups.remove(subscription).unwrap_or_default();
        if lookups.is_empty() {
            return;
        }
        self.graph.looked_up.extend(lookups.iter().cloned());
        if let Some(slot) = self.slots.get_mut(&scope) {
            slot.in_flight = true;
        }
        self.open.insert(scope.clone());
        self.start(&scope, |read| async move { read.confirm(None, &lookups).await }.boxed());
    }

    /// The registries that endpoints of any subscription lead to.
    pub(super) fn registries_reached(&self) -> BTreeSet<String> {
        let endpoints = self.slots.values().filter(|slot| slot.target.kind == Kind::Endpoints);
        let facts = endpoints.flat_map(|slot| slot.items.values()).flat_map(|item| &item.facts);
        facts.filter_map(|fact| endpoint(&fact.what)).map(|endpoint| endpoint.registry_id.clone()).collect()
    }

    /// Tells which listings exist, and that the pass has ended if it has.
    fn end_pass_if_done(&mut self) {
        let ended = self.open.is_empty() && !self.graph.in_flight;
        let mut found = self.shared.lock();
        if ended && !found.passed {
            found.passed = true;
            self.news = true;
        }
        // Without knowing what was saved, nothing may be said to be gone
        // before all of it was read once.
        found.is_sure |= self.recalled || found.passed && found.problems.is_empty();
        drop(found);
        if ended && !std::mem::replace(&mut self.ended, true) {
            let PassReport { pass, read, failed, requests, changed } = self.report;
            let seconds = self.started.elapsed().as_secs_f64();
            debug!(pass, read, failed, requests, changed, seconds, "azure pass ended");
        }
    }
}

fn endpoint(what: &What) -> Option<&EndpointFact> {
    match what {
        What::Endpoint(endpoint) => Some(endpoint),
        _ => None,
    }
}
