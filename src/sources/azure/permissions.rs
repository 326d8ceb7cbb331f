//! What the identity must be allowed to do, whether it is, and the role that
//! allows it.
//!
//! The permissions of a subscription can be listed by those who may read them
//! (Reader may). A role that holds no more than what is needed may not: then
//! each action is tried on a resource that does not exist. Azure checks the
//! permission first: 403 says that it is missing, 404 that it is there.

use futures::stream::{self, StreamExt as _};
use serde::Serialize;
use serde_json::{Value, json};

use super::arm::{ArmError, Family};
use super::client::Client;
use crate::config::{AzureSource, Discovery};

/// An action that reading takes, and how to try it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed {
    /// The action, as roles name it.
    pub action: &'static str,
    /// What is lost without it.
    pub purpose: &'static str,
    /// A path below the subscription whose reading takes this action; empty
    /// for Resource Graph, which is asked a query.
    probe: &'static str,
}

impl Needed {
    fn check(&'static self, grant: Grant) -> Checked {
        Checked { action: self.action, purpose: self.purpose, grant }
    }

    /// Whose limit a try draws on.
    fn family(&self) -> Family {
        if self.action.starts_with("Microsoft.Network/privateDnsZones") {
            Family::PrivateDns
        } else if self.action.starts_with("Microsoft.Network/") {
            Family::Network
        } else if self.action.starts_with("Microsoft.ContainerRegistry/") {
            Family::Registry
        } else {
            Family::Resources
        }
    }
}

const fn needed(action: &'static str, purpose: &'static str, probe: &'static str) -> Needed {
    Needed { action, purpose, probe }
}

/// Every action that reading an estate takes. The built-in role Reader grants them all.
pub const NEEDED: [Needed; 11] = [
    needed("Microsoft.Resources/subscriptions/read", "the subscriptions", "?api-version=2022-12-01"),
    needed(
        "Microsoft.Network/privateEndpoints/read",
        "private endpoints and their connections",
        "/resourceGroups/hubdns-probe/providers/Microsoft.Network/privateEndpoints/hubdns-probe?api-version=2024-05-01",
    ),
    needed(
        "Microsoft.Network/privateEndpoints/privateDnsZoneGroups/read",
        "which records Azure keeps for an endpoint",
        "/resourceGroups/hubdns-probe/providers/Microsoft.Network/privateEndpoints/hubdns-probe/privateDnsZoneGroups/hubdns-probe?api-version=2024-05-01",
    ),
    needed(
        "Microsoft.Network/networkInterfaces/read",
        "the addresses of private endpoints",
        "/resourceGroups/hubdns-probe/providers/Microsoft.Network/networkInterfaces/hubdns-probe?api-version=2024-05-01",
    ),
    needed(
        "Microsoft.Network/virtualNetworks/read",
        "subnets and their prefixes",
        "/resourceGroups/hubdns-probe/providers/Microsoft.Network/virtualNetworks/hubdns-probe?api-version=2024-05-01",
    ),
    needed(
        "Microsoft.Network/privateDnsZones/read",
        "private DNS zones",
        "/resourceGroups/hubdns-probe/providers/Microsoft.Network/privateDnsZones/hubdns.invalid?api-version=2024-06-01",
    ),
    needed(
        "Microsoft.Network/privateDnsZones/ALL/read",
        "the record sets of private DNS zones",
        "/resourceGroups/hubdns-probe/providers/Microsoft.Network/privateDnsZones/hubdns.invalid/ALL?api-version=2024-06-01",
    ),
    needed(
        "Microsoft.Network/privateDnsZones/virtualNetworkLinks/read",
        "the virtual networks in which a zone counts",
        "/resourceGroups/hubdns-probe/providers/Microsoft.Network/privateDnsZones/hubdns.invalid/virtualNetworkLinks/hubdns-probe?api-version=2024-06-01",
    ),
    needed(
        "Microsoft.ContainerRegistry/registries/read",
        "registries",
        "/resourceGroups/hubdns-probe/providers/Microsoft.ContainerRegistry/registries/hubdnsprobe?api-version=2025-11-01",
    ),
    needed(
        "Microsoft.ContainerRegistry/registries/replications/read",
        "geo-replicas of registries",
        "/resourceGroups/hubdns-probe/providers/Microsoft.ContainerRegistry/registries/hubdnsprobe/replications/hubdnsprobe?api-version=2025-11-01",
    ),
    needed(GRAPH, "endpoints and registries found in one query", ""),
];

const GRAPH: &str = "Microsoft.ResourceGraph/resources/read";

/// The built-in role that grants all of [`NEEDED`].
pub const BUILT_IN_ROLE: &str = "Reader";

/// The action behind reading a management group's subscriptions, where the
/// configuration names groups.
pub const GROUP_ACTION: &str = "Microsoft.Management/managementGroups/descendants/read";

/// Whether an action is permitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "reason")]
pub enum Grant {
    /// It is.
    Permitted,
    /// It is not.
    Missing,
    /// That could not be found out; the text comes from outside.
    Unknown(String),
}

/// How the grants of a subscription were found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// From the list of the identity's permissions.
    Permissions,
    /// By trying each.
    Trying,
}

/// One needed action in one subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The action.
    pub action: &'static str,
    /// What is lost without it.
    pub purpose: &'static str,
    /// Whether it is permitted.
    #[serde(flatten)]
    pub grant: Grant,
}

/// One subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subscription {
    /// Its id.
    pub id: String,
    /// Its name, if it could be read.
    pub name: Option<String>,
    /// How its grants were found out.
    pub method: Method,
    /// Each needed action.
    pub actions: Vec<Checked>,
}

impl Subscription {
    /// The actions that are not permitted.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> {
        let missing = self.actions.iter().filter(|checked| checked.grant == Grant::Missing);
        missing.map(|checked| checked.action)
    }

    /// The resource id.
    pub fn scope(&self) -> String {
        format!("/subscriptions/{}", self.id)
    }
}

/// What was found out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Review {
    /// The subscriptions that the source reads.
    pub subscriptions: Vec<Subscription>,
    /// What stood in the way of finding them; texts come from outside.
    pub problems: Vec<String>,
}

impl Review {
    /// Whether everything needed is there.
    pub fn is_complete(&self) -> bool {
        self.problems.is_empty()
            && !self.subscriptions.is_empty()
            && self.subscriptions.iter().all(|subscription| {
                subscription.actions.iter().all(|checked| checked.grant == Grant::Permitted)
            })
    }

    /// The custom role that grants all that `source` needs where something is missing.
    pub fn role(&self, source: &AzureSource) -> Option<Value> {
        let lacking = |subscription: &&Subscription| subscription.missing().next().is_some();
        let scopes: Vec<String> =
            self.subscriptions.iter().filter(lacking).map(Subscription::scope).collect();
        let actions: Vec<&str> = actions(source).map(|needed| needed.action).collect();
        (!scopes.is_empty()).then(|| role_json(&actions, &scopes))
    }
}

/// The actions that `source` needs: without discovery by Resource Graph not its own.
pub fn actions(source: &AzureSource) -> impl Iterator<Item = &'static Needed> + use<> {
    let graph = source.discovery != Discovery::ResourceManager;
    NEEDED.iter().filter(move |needed| graph || needed.action != GRAPH)
}

/// A custom role that grants `actions` and nothing else, to be assigned in
/// `scopes` (resource ids of subscriptions), as `az role definition create` takes it.
pub fn role_json(actions: &[&str], scopes: &[String]) -> Value {
    json!({
        "name": "hubdns reader",
        "isCustom": true,
        "description": "Reads what hubdns needs to answer the names of private registries.",
        "actions": actions,
        "notActions": [],
        "dataActions": [],
        "notDataActions": [],
        "assignableScopes": scopes,
    })
}

/// Subscriptions that are looked at side by side.
const AT_ONCE: usize = 8;

/// Finds the subscriptions of `source` and what is permitted in each.
pub async fn review(arm: &dyn Client, source: &AzureSource) -> Review {
    let mut review = Review::default();
    let subscriptions = subscriptions(arm, source, &mut review.problems).await;
    if subscriptions.is_empty() && review.problems.is_empty() {
        review.problems.push(format!(
            "no subscription is visible: assign the role {BUILT_IN_ROLE} in each subscription that counts"
        ));
    }
    review.subscriptions = stream::iter(subscriptions)
        .map(|(id, name)| look(arm, source, id, name))
        .buffered(AT_ONCE)
        .collect()
        .await;
    review
}

/// Ids with names, as the source reads them.
async fn subscriptions(
    arm: &dyn Client,
    source: &AzureSource,
    problems: &mut Vec<String>,
) -> Vec<(String, Option<String>)> {
    let text = |value: &Value, key: &str| value[key].as_str().map(str::to_owned);
    let mut found: Vec<(String, Option<String>)> = Vec::new();
    let visible = arm.list(&Family::Resources, "/subscriptions?api-version=2022-12-01").await;
    let visible: Vec<(String, Option<String>)> = match visible {
        Ok(list) => {
            let pair = |value: &Value| {
                Some((text(value, "subscriptionId")?.to_ascii_lowercase(), text(value, "displayName")))
            };
            list.values.iter().filter_map(pair).collect()
        }
        Err(error) => {
            problems.push(format!("subscriptions: {error}"));
            Vec::new()
        }
    };
    if source.subscriptions.is_empty() && source.management_groups.is_empty() {
        return visible;
    }
    let mut ids = source.subscriptions.clone();
    for group in &source.management_groups {
        let path = format!(
            "/providers/Microsoft.Management/managementGroups/{group}/descendants?api-version=2020-05-01"
        );
        match arm.list(&Family::Resources, &path).await {
            Ok(list) => {
                let is_subscription = |value: &&Value| {
                    let kind = value["type"].as_str().unwrap_or_default();
                    kind.to_ascii_lowercase().ends_with("/subscriptions")
                };
                let below = list.values.iter().filter(is_subscription);
                ids.extend(below.filter_map(|value| text(value, "name")).map(|id| id.to_ascii_lowercase()));
            }
            Err(ArmError::Forbidden { .. }) => problems.push(format!(
                "management group {group}: {GROUP_ACTION} is missing; assign {BUILT_IN_ROLE} on the group"
            )),
            Err(error) => problems.push(format!("management group {group}: {error}")),
        }
    }
    for id in ids {
        if !found.iter().any(|(known, _)| *known == id) {
            let name = visible.iter().find(|(one, _)| *one == id).and_then(|(_, name)| name.clone());
            found.push((id, name));
        }
    }
    found
}

async fn look(arm: &dyn Client, source: &AzureSource, id: String, name: Option<String>) -> Subscription {
    let path =
        format!("/subscriptions/{id}/providers/Microsoft.Authorization/permissions?api-version=2022-04-01");
    let listed = arm.list(&Family::Resources, &path).await;
    let (method, actions) = match listed {
        Ok(list) => {
            let grant = |needed: &'static Needed| {
                let permitted = is_permitted(&list.values, needed.action);
                needed.check(if permitted { Grant::Permitted } else { Grant::Missing })
            };
            (Method::Permissions, actions(source).map(grant).collect())
        }
        Err(ArmError::Forbidden { .. } | ArmError::NotFound) => {
            let tried = stream::iter(actions(source))
                .map(|needed| async { needed.check(attempt(arm, &id, needed).await) })
                .buffered(AT_ONCE);
            (Method::Trying, tried.collect().await)
        }
        Err(error) => {
            let unknown = actions(source).map(|needed| needed.check(Grant::Unknown(error.to_string())));
            (Method::Permissions, unknown.collect())
        }
    };
    Subscription { id, name, method, actions }
}

async fn attempt(arm: &dyn Client, id: &str, needed: &Needed) -> Grant {
    let done = if needed.probe.is_empty() {
        arm.graph(&[id.to_owned()], "resources | take 1 | project id").await.map(drop)
    } else {
        let path = format!("/subscriptions/{id}{}", needed.probe);
        arm.get(&needed.family(), &path).await.map(drop)
    };
    match done {
        // The subscription itself is there or cannot be seen; the rest is never there.
        Err(ArmError::NotFound) if needed.probe.starts_with('?') => Grant::Missing,
        Ok(()) | Err(ArmError::NotFound) => Grant::Permitted,
        Err(ArmError::Forbidden { .. }) => Grant::Missing,
        Err(error) => Grant::Unknown(error.to_string()),
    }
}

/// Whether one of `permissions`, each a role's part, grants `action`: its
/// `actions` hold it and its own `notActions` do not.
fn is_permitted(permissions: &[Value], action: &str) -> bool {
    let holds = |permission: &Value, key: &str| {
        let patterns = permission[key].as_array().map(Vec::as_slice).unwrap_or_default();
        patterns.iter().filter_map(Value::as_str).any(|pattern| matches(pattern, action))
    };
    permissions.iter().any(|permission| holds(permission, "actions") && !holds(permission, "notActions"))
}

/// Whether `pattern` with its `*`, each any text, is `action`; without regard to case.
fn matches(pattern: &str, action: &str) -> bool {
    let (pattern, action) = (pattern.to_ascii_lowercase(), action.to_ascii_lowercase());
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| action.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_any_text() {
        let action = "Microsoft.Network/privateDnsZones/ALL/read";
        for pattern in [
            "*",
            "*/read",
            "Microsoft.Network/*",
            "microsoft.network/privatednszones/all/READ",
            "Microsoft.Network/*/read",
            "Microsoft.Network/privateDnsZones/*/read",
            "*Network*Zones*read*",
        ] {
            assert!(matches(pattern, action), "{pattern}");
        }
        for pattern in [
            "",
            "*/write",
            "Microsoft.Network",
            "Microsoft.Network/privateDnsZones/read",
            "read*",
            "*/readd",
            "*/read/*",
        ] {
            assert!(!matches(pattern, action), "{pattern}");
        }
        // What the end takes is not taken by the middle as well.
        assert!(!matches("a*ab", "ab"));
        assert!(!matches("*read*read", "x/read"));
    }

    #[test]
    fn roles_add_up_and_each_excepts_its_own() {
        let action = "Microsoft.Network/networkInterfaces/read";
        let reader = json!({"actions": ["*/read"], "notActions": []});
        let excepting = json!({"actions": ["*"], "notActions": ["Microsoft.Network/*"]});
        let empty = json!({});
        assert!(is_permitted(std::slice::from_ref(&reader), action));
        assert!(!is_permitted(std::slice::from_ref(&excepting), action));
        assert!(is_permitted(&[excepting, reader], action));
        assert!(!is_permitted(&[empty], action));
        assert!(!is_permitted(&[], action));
    }

    #[test]
    fn reader_grants_all_that_is_needed() {
        let reader = [json!({"actions": ["*/read"], "notActions": []})];
        for needed in NEEDED {
            assert!(is_permitted(&reader, needed.action), "{}", needed.action);
        }
        assert!(is_permitted(&reader, GROUP_ACTION));
    }

    #[test]
    fn a_role_grants_what_it_is_made_for() {
        let scopes = ["/subscriptions/1".to_owned()];
        let actions: Vec<&str> = NEEDED.iter().map(|needed| needed.action).collect();
        let role = role_json(&actions, &scopes);
        assert_eq!(role["assignableScopes"], json!(["/subscriptions/1"]));
        for needed in NEEDED {
            assert!(is_permitted(std::slice::from_ref(&role), needed.action));
        }
        assert!(!is_permitted(&[role], "Microsoft.Network/networkInterfaces/write"));
    }
}
