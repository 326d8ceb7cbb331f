//! One listing: asked for, taken apart, and compared with what it said last.
//!
//! A whole listing may still lie: a fault may leave it empty, a lost role
//! takes a resource group out of it without a word. So what vanishes from one
//! is asked for by name before it counts as deleted. Until then it stays, and
//! what is new or changed counts at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use serde_json::Value;

use super::problem::Problem;
use crate::sources::azure::arm::ArmError;
use crate::sources::azure::client::Client;
use crate::sources::azure::plan::{Kind, Target};
use crate::sources::azure::settings::Settings;
use crate::sources::facts::{Fact, What};
use crate::sources::resource::{self, Fields};

/// Most resources of one listing that are asked for by name in one pass.
pub(super) const MAX_ASKED: usize = 50;
/// How many of them at once.
const ASKED_AT_ONCE: usize = 4;

/// A resource and what it says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::sources::azure) struct Item {
    /// Its id as Azure writes it.
    pub(in crate::sources::azure) id: String,
    /// What changes when the listings below it may have changed: its etag and counts.
    pub(super) mark: String,
    /// Its facts, in the order of their origins.
    pub(in crate::sources::azure) facts: Vec<Fact>,
    /// The pass that last asked for it by name.
    asked: u64,
}

/// The resources of a listing by their ids in lower case.
pub(in crate::sources::azure) type Items = BTreeMap<String, Item>;

/// What a listing says after it was read.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    pub(super) items: Items,
    /// What of it could not be read; the last facts of that are among the items.
    pub(super) problem: Option<Problem>,
    /// How many pages the listing had.
    pub(super) pages: u32,
    /// Requests in all, pages included.
    pub(super) requests: u32,
}

/// What reading a listing yields.
#[derive(Debug)]
pub(super) enum Outcome {
    /// What it says.
    Read(Fresh),
    /// It is optional and not to be had.
    Absent,
    /// Nothing; the last good one stays.
    Failed(Problem),
    /// For listings of subscriptions: their ids and states.
    Subscriptions(BTreeMap<String, String>),
}

/// Reads `target`. `held` is what it said last, `pass` the number of this pass.
pub(super) struct Read {
    pub(super) client: Arc<dyn Client>,
    pub(super) settings: Arc<Settings>,
    pub(super) target: Arc<Target>,
    pub(super) held: Arc<Items>,
    pub(super) pass: u64,
}

impl Read {
    /// Lists.
    pub(super) async fn list(&self) -> Outcome {
        let target = &self.target;
        let list = match self.client.list(&target.family, &target.path).await {
            Ok(list) => list,
            Err(ArmError::Forbidden { .. } | ArmError::NotFound) if target.kind.is_optional() => {
                return Outcome::Absent;
            }
            Err(error) => return Outcome::Failed(error.into()),
        };
        if target.kind.is_root() {
            return Outcome::Subscriptions(subscriptions(&list.values));
        }
        let mut fresh = Fresh { pages: list.pages, requests: list.pages.max(1), ..Fresh::default() };
        for value in &list.values {
            self.take(value, &mut fresh);
        }
        let gone = |key: &&String| !fresh.items.contains_key(*key);
        let missing: Vec<String> = self.had_facts().filter(gone).cloned().collect();
        self.ask(missing, &mut fresh).await;
        Outcome::Read(fresh)
    }

    /// The keys of what said something.
    pub(super) fn had_facts(&self) -> impl Iterator<Item = &String> {
        self.held.iter().filter(|(_, item)| !item.facts.is_empty()).map(|(key, _)| key)
    }

    /// Takes one resource of a listing. One that cannot be understood keeps
    /// what it said last: it may be a stranger's record in a shared zone.
    pub(super) fn take(&self, value: &Value, fresh: &mut Fresh) {
        match self.item(value) {
            Ok((key, item)) if !item.facts.is_empty() => {
                fresh.items.insert(key, item);
            }
            Ok(_) => {}
            Err((key, problem)) => {
                let held = key.and_then(|key| self.held.get_key_value(&key));
                if let Some((key, item)) = held {
                    fresh.items.insert(key.clone(), item.clone());
                }
                fresh.problem = Some(problem);
            }
        }
    }

    /// The resource in `value` with its key; an error with the key if that is told.
    pub(super) fn item(&self, value: &Value) -> Result<(String, Item), (Option<String>, Problem)> {
        let id = Fields::of(value).and_then(|fields| fields.id());
        let Some(id) = id else {
            return Err((None, Problem::resource(&self.target.scope, "a resource has no id")));
        };
        let resource = resource::read(value, &id.text)
            .map_err(|odd| (Some(id.lower.clone()), Problem::resource(&id.text, odd.to_string())))?;
        let mut facts = resource.facts;
        facts.retain(|fact| match &fact.what {
            What::Zone(zone) => self.target.kind != Kind::Zones || self.settings.is_relevant(&zone.apex),
            _ => true,
        });
        // Azure's order is not always the same.
        facts.sort_by_cached_key(|fact| fact.origin.to_ascii_lowercase());
        Ok((id.lower, Item { id: id.text, mark: mark(value), facts, asked: 0 }))
    }

    /// Asks for resources by name, those first that were not asked for the
    /// longest: what Azure still has counts as it is, what it says is gone is
    /// gone, all else keeps what it said last and is a problem.
    pub(super) async fn ask(&self, mut keys: Vec<String>, fresh: &mut Fresh) {
        let asked = |key: &String| self.held.get(key).map_or(0, |item| item.asked);
        keys.sort_by_cached_key(|key| (asked(key), key.clone()));
        let beyond = keys.split_off(keys.len().min(MAX_ASKED));
        let mut unsettled: BTreeMap<String, u64> =
            beyond.iter().map(|key| (key.clone(), asked(key))).collect();
        let request = |key: String| {
            let id = self.held.get(&key).map_or_else(|| key.clone(), |item| item.id.clone());
            async move { (self.client.get(&self.target.family, &self.target.path_of(&id)).await, key) }
        };
        unsettled.extend(keys.iter().map(|key| (key.clone(), asked(key))));
        let mut answers = stream::iter(keys.into_iter().map(request)).buffer_unordered(ASKED_AT_ONCE);
        while let Some((answer, key)) = answers.next().await {
            fresh.requests += 1;
            let problem = match answer {
                Ok(value) => match self.item(&value) {
                    Ok((found, item)) if found == key => {
                        unsettled.remove(&key);
                        fresh.items.insert(key, item);
                        continue;
                    }
                    Ok(_) => Problem::resource(&key, "the answer is about another resource"),
                    Err((_, problem)) => problem,
                },
                Err(ArmError::NotFound) => {
                    unsettled.remove(&key);
                    continue;
                }
                Err(error) => Problem::from(error),
            };
            unsettled.insert(key, self.pass);
            let stop = problem.is_general();
            fresh.problem = Some(problem);
            if stop {
                break;
            }
        }
        if !unsettled.is_empty() && fresh.problem.is_none() {
            fresh.problem = Some(Problem::unconfirmed(unsettled.len()));
        }
        for (key, asked) in unsettled {
            if let Some(item) = self.held.get(&key) {
                fresh.items.insert(key, Item { asked, ..item.clone() });
            }
        }
    }
}

/// The subscriptions in a list of them, or among a management group's
/// descendants, with their states; what tells none is enabled.
fn subscriptions(values: &[Value]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for value in values {
        let Some(fields) = Fields::of(value) else { continue };
        let id = fields.text("id").ok().flatten().unwrap_or_default().to_ascii_lowercase();
        let Some(id) = id.strip_prefix("/subscriptions/").filter(|id| !id.contains('/') && !id.is_empty())
        else {
            continue;
        };
        let state = fields.text("state").ok().flatten().unwrap_or("Enabled");
        found.insert(id.to_owned(), state.to_owned());
    }
    found
}

/// Etag and counts of what lies below.
fn mark(value: &Value) -> String {
    let Some(fields) = Fields::of(value) else { return String::new() };
    let mut mark = fields.text("etag").ok().flatten().unwrap_or_default().to_owned();
    for key in ["numberofrecordsets", "numberofvirtualnetworklinks"] {
        if let Ok(Some(number)) = fields.number::<u64>(key) {
            mark.push(' ');
            mark.push_str(&number.to_string());
        }
    }
    mark
}

/// The resource that a fact belongs to: an address to its interface, a subnet
/// to its virtual network.
fn resource_of(origin: &str) -> &str {
    let lower = origin.to_ascii_lowercase();
    let at = ["/ipconfigurations/", "/subnets/"].iter().find_map(|part| lower.find(part));
    at.and_then(|at| origin.get(..at)).unwrap_or(origin)
}

/// The items that facts of a saved listing belong to.
pub(super) fn items_of(facts: &[Fact]) -> Items {
    let mut items = Items::new();
    for fact in facts {
        let id = resource_of(&fact.origin);
        let item = items.entry(id.to_ascii_lowercase()).or_default();
        id.clone_into(&mut item.id);
        item.facts.push(fact.clone());
    }
    items
}
