//! The reader: holds what each listing said last, and reads the estate pass by
//! pass.
//!
//! ```text
//! roots ─▶ subscriptions ─▶ endpoints, interfaces, registries, zones, networks
//!                               │                        │         │
//!                               ▼                        ▼         ▼
//!                          zone groups            replications   records, links
//! ```
//!
//! Each listing stands for itself: it is delivered when it is whole, and one
//! that fails or hangs delays no other. Whether anything changed is told by
//! comparing facts, not etags: an etag of a listing's item is Azure's word
//! about the item, and reading it costs no more than the comparison saves.
//! Marks (etag and counts) decide only when slow listings are read sooner.

mod accept;
mod graph;
pub(super) mod listing;
pub(super) mod problem;
mod run;
pub(super) mod shared;
mod slot;
mod subscriptions;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::FuturesUnordered;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::client::Client;
use super::plan::{Class, Kind, Target, subscription_of};
use super::settings::Settings;
use crate::config::Discovery;
use crate::sources::facts::Listing;
use crate::sources::{Reading, unix_now};
pub use graph::QUERY;
use listing::{Outcome, Read};
use problem::Problem;
use shared::Shared;
use slot::{Circumstances, Slot};
use subscriptions::Subscriptions;

/// Listings of subscriptions, and of replications, that are read at once. All
/// three together stay below what the client has under way at once.
const RESOURCES_AT_ONCE: usize = 12;
/// Zones whose record sets are read at once.
const RECORDS_AT_ONCE: usize = 12;
/// Slow listings that are read at once: few, since they share limits with the rest.
const SLOW_AT_ONCE: usize = 6;
/// A listing that takes longer has failed. The largest zone takes 210 s.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// In every so many passes interfaces are listed by Resource Manager though the index is at hand.
const LIST_EVERY: u64 = 10;
/// After it was forbidden the index is asked again after so many passes.
const GRAPH_EVERY: u64 = 12;

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassReport {
    /// Its number, from 1.
    pub pass: u64,
    /// Listings that were read.
    pub read: usize,
    /// Listings that failed, whole or in part.
    pub failed: usize,
    /// Requests, pages included.
    pub requests: u32,
    /// Whether any listing says something else than before.
    pub changed: bool,
}

/// Reads one estate.
pub struct Reader {
    settings: Arc<Settings>,
    client: Arc<dyn Client>,
    shared: Arc<Shared>,
    /// By scope.
    slots: BTreeMap<String, Slot>,
    subscriptions: Subscriptions,
    graph: Graph,
    limits: [Arc<Semaphore>; 3],
    running: FuturesUnordered<BoxFuture<'static, Done>>,
    report: PassReport,
    started: Instant,
    /// What is still to be read before the pass has ended.
    open: BTreeSet<String>,
    /// To be read as soon as nothing is in flight for it.
    due: BTreeSet<String>,
    /// What failed and is read again sooner than the rest.
    retries: BTreeSet<String>,
    /// Whether the pass has ended.
    ended: bool,
    /// Whether it is known which listings were saved.
    recalled: bool,
    /// Somebody asked to read everything in this pass.
    everything: bool,
    /// There is something new since the last notice.
    news: bool,
}

/// How the index fares.
#[derive(Debug, Default)]
struct Graph {
    in_flight: bool,
    /// Interfaces by subscription, read from the index once it has answered.
    waiting: BTreeSet<String>,
    /// Why it was not used the last time.
    problem: Option<Problem>,
    /// Not before this pass.
    not_before: u64,
    /// Interfaces to read in any case, by subscription.
    lookups: BTreeMap<String, BTreeSet<String>>,
    /// Interfaces that were looked up in this pass.
    looked_up: BTreeSet<String>,
}

/// Something that ran has ended.
enum Done {
    Listing { scope: String, began: u64, outcome: Outcome },
    Graph { waiting: BTreeSet<String>, result: Result<(BTreeMap<String, Vec<Value>>, u32), Problem> },
}

impl Reader {
    /// A reader that knows the listings that were saved, if that can be told.
    pub fn new(settings: Settings, client: Arc<dyn Client>, recalled: Option<&[Listing]>) -> Self {
        Self::with_shared(Arc::new(settings), client, recalled, Arc::default())
    }

    pub(super) fn with_shared(
        settings: Arc<Settings>,
        client: Arc<dyn Client>,
        recalled: Option<&[Listing]>,
        shared: Arc<Shared>,
    ) -> Self {
        let saved: BTreeMap<&str, &Listing> =
            recalled.unwrap_or_default().iter().map(|listing| (listing.id.scope.as_str(), listing)).collect();
        let ids = saved.keys().filter_map(|scope| subscription_of(scope)).map(str::to_owned).collect();
        let subscriptions = Subscriptions::new(&settings.source, ids);
        let limit = |permits| Arc::new(Semaphore::new(permits));
        let mut reader = Self {
            subscriptions,
            client,
            shared,
            slots: BTreeMap::new(),
            graph: Graph::default(),
            limits: [limit(RESOURCES_AT_ONCE), limit(RECORDS_AT_ONCE), limit(SLOW_AT_ONCE)],
            running: FuturesUnordered::new(),
            report: PassReport::default(),
            started: Instant::now(),
            open: BTreeSet::new(),
            due: BTreeSet::new(),
            retries: BTreeSet::new(),
            ended: false,
            recalled: recalled.is_some(),
            everything: false,
            news: false,
            settings,
        };
        for root in subscriptions::roots(&reader.settings.source) {
            reader.add(root, listing::Items::new());
        }
        reader.plan(&saved);
        reader
    }

    /// One pass: everything that is due, and what follows from it.
    pub async fn pass(&mut self) -> PassReport {
        self.begin_pass(false);
        self.finish_pass().await
    }

    /// A pass that reads everything, whatever is due.
    pub async fn full_pass(&mut self) -> PassReport {
        self.begin_pass(true);
        self.finish_pass().await
    }

    /// What was found by now.
    pub fn reading(&self) -> Reading {
        self.shared.reading()
    }

    fn begin_pass(&mut self, everything: bool) {
        self.report = PassReport { pass: self.report.pass + 1, ..PassReport::default() };
        self.started = Instant::now();
        self.everything = everything;
        self.ended = false;
        self.graph.looked_up.clear();
        let slow = self.slots.values().filter(|slot| slot.target.kind.is_slow()).count();
        let due: Vec<String> = self
            .slots
            .iter()
            .filter(|(_, slot)| !slot.in_flight && slot.wants(&self.circumstances(&slot.target, slow)))
            .map(|(scope, _)| scope.clone())
            .collect();
        self.due.extend(due);
        self.open.extend(self.due.iter().cloned());
        self.launch();
    }

    /// What the due time of `target` depends on.
    fn circumstances(&self, target: &Target, slow: usize) -> Circumstances<'_> {
        let parent = target.parent.as_ref().and_then(|(scope, key)| self.slots.get(scope)?.items.get(key));
        Circumstances {
            now: Instant::now(),
            pass: self.report.pass,
            interval: self.settings.source.interval,
            everything: self.everything,
            slow,
            mark: parent.map(|item| item.mark.as_str()),
        }
    }

    /// Adds the listings that follow from what is known and drops those whose
    /// resource is gone. `saved` is what they said before this process.
    fn plan(&mut self, saved: &BTreeMap<&str, &Listing>) {
        let items = |scope: &str| {
            saved.get(scope).map(|listing| listing::items_of(&listing.facts)).unwrap_or_default()
        };
        for subscription in self.subscriptions.all().clone() {
            for kind in Kind::OF_SUBSCRIPTION {
                let target = Target::of_subscription(&subscription, kind);
                let held = items(&target.scope);
                self.add(target, held);
            }
        }
        let reached = self.registries_reached();
        let children: Vec<Target> = self
            .slots
            .values()
            .filter(|slot| slot.target.kind.has_children())
            .flat_map(|slot| slot.target.children(&slot.items, &reached))
            .collect();
        let wanted: BTreeSet<String> = children.iter().map(|child| child.scope.clone()).collect();
        for child in children {
            let held = items(&child.scope);
            self.add(child, held);
        }
        let gone: Vec<String> = self
            .slots
            .iter()
            .filter(|(scope, slot)| slot.target.parent.is_some() && !wanted.contains(*scope))
            .map(|(scope, _)| scope.clone())
            .collect();
        for scope in gone {
            self.slots.remove(&scope);
            self.open.remove(&scope);
            self.due.remove(&scope);
            self.retries.remove(&scope);
            self.shared.lock().forget(&scope);
            self.news = true;
        }
    }

    fn add(&mut self, target: Target, held: listing::Items) {
        let scope = target.scope.clone();
        if !self.slots.contains_key(&scope) {
            if self.report.pass > 0 {
                self.open.insert(scope.clone());
            }
            self.due.insert(scope.clone());
            self.shared.lock().exists(&scope);
            self.slots.insert(scope, Slot::new(target, held));
        }
    }

    /// Starts what is due.
    fn launch(&mut self) {
        let by_graph = self.asks_graph();
        for scope in std::mem::take(&mut self.due) {
            let Some(slot) = self.slots.get_mut(&scope) else { continue };
            if slot.in_flight {
                continue;
            }
            slot.in_flight = true;
            if slot.target.kind == Kind::Interfaces && by_graph {
                self.graph.waiting.insert(slot.target.subscription.clone());
            } else {
                self.start(&scope, |read| async move { read.list().await }.boxed());
            }
        }
        if !self.graph.waiting.is_empty() && !self.graph.in_flight {
            self.start_graph();
        }
    }

    /// Whether this pass looks for interfaces in the index.
    fn asks_graph(&self) -> bool {
        let pass = self.report.pass;
        self.settings.source.discovery != Discovery::ResourceManager
            && pass >= self.graph.not_before
            && !pass.is_multiple_of(LIST_EVERY)
    }

    /// Starts to read the listing `scope` by `how`, within the limits and contained.
    fn start(&mut self, scope: &str, how: impl FnOnce(Read) -> BoxFuture<'static, Outcome>) {
        let Some(slot) = self.slots.get(scope) else { return };
        let read = Read {
            client: Arc::clone(&self.client),
            settings: Arc::clone(&self.settings),
            target: Arc::clone(&slot.target),
            held: Arc::clone(&slot.items),
            pass: self.report.pass,
        };
        let limit = match slot.target.kind.class() {
            Class::Resources => &self.limits[0],
            Class::Records => &self.limits[1],
            Class::Slow => &self.limits[2],
        };
        let (limit, scope, work) = (Arc::clone(limit), scope.to_owned(), how(read));
        let contained = async move {
            let _permit = limit.acquire().await;
            let began = unix_now();
            let timed = tokio::time::timeout(LONGEST, AssertUnwindSafe(work).catch_unwind());
            let outcome = match timed.await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(payload)) => Outcome::Failed(Problem::defect(payload.as_ref())),
                Err(_) => Outcome::Failed(Problem::took_too_long()),
            };
            Done::Listing { scope, began, outcome }
        };
        self.running.push(contained.boxed());
    }

    /// Asks the index for the interfaces of all subscriptions that wait.
    fn start_graph(&mut self) {
        self.graph.in_flight = true;
        let waiting = std::mem::take(&mut self.graph.waiting);
        let subscriptions: Vec<String> = waiting.iter().cloned().collect();
        let client = Arc::clone(&self.client);
        let work = async move {
            let list = client.graph(&subscriptions, QUERY).await?;
            Ok((graph::by_subscription(list.values), list.pages.max(1)))
        };
        let contained = async move {
            let timed = tokio::time::timeout(LONGEST, AssertUnwindSafe(work).catch_unwind());
            let result = match timed.await {
                Ok(Ok(result)) => result,
                Ok(Err(payload)) => Err(Problem::defect(payload.as_ref())),
                Err(_) => Err(Problem::took_too_long()),
            };
            Done::Graph { waiting, result }
        };
        self.running.push(contained.boxed());
    }
}
