//! Discovery by Resource Graph: one query for the interfaces of all
//! subscriptions. Its index lags behind, so that it only tells where to look:
//! what differs from what Resource Manager confirmed before is read there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::listing::{Fresh, Item, Outcome, Read};
use crate::sources::azure::plan::subscription_of;
use crate::sources::facts::Fact;
use crate::sources::resource::Fields;

/// The interfaces of private endpoints. Azure's example servers know this
/// text: a change of it is a change of them.
pub const QUERY: &str = "Resources | where type =~ 'microsoft.network/networkinterfaces' \
    | where isnotempty(properties.privateEndpoint.id) \
    | project id, name, type, location, subscriptionId, resourceGroup, properties | order by id asc";

/// From this many differences on, listing a subscription costs less than asking one by one.
const MAX_DIFFERENCES: usize = 20;

/// The rows of a query's answer, by subscription.
pub(super) fn by_subscription(rows: Vec<Value>) -> BTreeMap<String, Vec<Value>> {
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in rows {
        let id = Fields::of(&row).and_then(|fields| fields.id()).map(|id| id.lower).unwrap_or_default();
        if let Some(subscription) =
            id.strip_prefix("/subscriptions/").and_then(|rest| subscription_of(rest)).map(str::to_owned)
        {
            found.entry(subscription).or_default().push(row);
        }
    }
    found
}

impl Read {
    /// The listing of a subscription's interfaces from the rows of the index;
    /// without rows (`None`) nothing is known to be missing. `lookups` are
    /// interfaces to read in any case.
    pub(super) async fn confirm(&self, rows: Option<&[Value]>, lookups: &BTreeSet<String>) -> Outcome {
        let mut fresh = Fresh::default();
        let mut differing: BTreeSet<String> = lookups.clone();
        let mut seen = BTreeSet::new();
        for row in rows.unwrap_or_default() {
            let Ok((key, item)) = self.item(row) else {
                return self.list().await;
            };
            seen.insert(key.clone());
            let held = self.held.get(&key).map(|held| held.facts.as_slice()).unwrap_or_default();
            if !same(held, &item.facts) {
                differing.insert(key);
            }
        }
        if rows.is_some() {
            differing.extend(self.had_facts().filter(|key| !seen.contains(*key)).cloned());
        }
        if differing.len() > MAX_DIFFERENCES {
            return self.list().await;
        }
        for (key, item) in self.held.iter().filter(|(key, _)| !differing.contains(*key)) {
            fresh.items.insert(key.clone(), Item::clone(item));
        }
        self.ask(differing.into_iter().collect(), &mut fresh).await;
        Outcome::Read(fresh)
    }
}

/// Whether the index and Resource Manager say the same. They do not always
/// agree on the case of ids.
fn same(a: &[Fact], b: &[Fact]) -> bool {
    let equal = |(a, b): (&Fact, &Fact)| a.what == b.what && a.origin.eq_ignore_ascii_case(&b.origin);
    a.len() == b.len() && a.iter().zip(b).all(equal)
}
