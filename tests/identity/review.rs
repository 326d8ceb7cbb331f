//! What the identity may do: from the list of its permissions, and by trying.

use async_trait::async_trait;
use hubdns::config::{CredentialKind, Discovery};
use hubdns::sources::azure::Client;
use hubdns::sources::azure::arm::{ArmError, Family, List};
use hubdns::sources::azure::http::{Http, exchange};
use hubdns::sources::azure::permissions::{Grant, Method, NEEDED, Review, review, role_json};
use serde_json::{Value, json};

use crate::stand_in::{Reply, Seen, StandIn};

const FIRST: &str = "11111111-1111-1111-1111-111111111111";
const SECOND: &str = "22222222-2222-2222-2222-222222222222";

/// Resource Manager by plain requests: what is under test is the review.
struct Plain {
    http: Http,
    base: String,
}

#[async_trait]
impl Client for Plain {
    async fn list(&self, family: &Family, path: &str) -> Result<List, ArmError> {
        let body = self.get(family, path).await?;
        let values =
            body["value"].as_array().cloned().ok_or_else(|| ArmError::Body("no value".to_owned()))?;
        Ok(List { values, pages: 1 })
    }

    async fn get(&self, _: &Family, path: &str) -> Result<Value, ArmError> {
        let answer = exchange(self.http.azure.get(format!("{}{path}", self.base)), 1 << 20).await?;
        let message = String::from_utf8_lossy(&answer.body).into_owned();
        match answer.status {
            200 => serde_json::from_slice(&answer.body).map_err(|error| ArmError::Body(error.to_string())),
            403 => Err(ArmError::Forbidden { action: String::new(), message }),
            404 => Err(ArmError::NotFound),
            status => Err(ArmError::Status { status, message }),
        }
    }

    async fn graph(&self, subscriptions: &[String], _: &str) -> Result<List, ArmError> {
        let path = format!("/graph/{}?", subscriptions.join(","));
        self.list(&Family::Graph, &path).await
    }
}

fn json_reply(value: &Value) -> Reply {
    Reply::new(200, value.to_string())
}

fn subscriptions() -> Reply {
    json_reply(&json!({"value": [
        {"subscriptionId": FIRST, "displayName": "hub"},
        {"subscriptionId": SECOND.to_uppercase(), "displayName": "spokes"},
    ]}))
}

async fn reviewed(
    script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    change: impl FnOnce(&mut hubdns::config::AzureSource),
) -> (Review, StandIn, hubdns::config::AzureSource) {
    let azure = StandIn::https(script);
    let mut source = azure.source(&[CredentialKind::ClientSecret]);
    change(&mut source);
    let http = Http::new(&source, &[], &[]).unwrap();
    let review = review(&Plain { http, base: format!("https://{}", azure.address) }, &source).await;
    (review, azure, source)
}

#[tokio::test]
async fn a_reader_may_all_and_one_with_exceptions_lacks_them() {
    let (review, _azure, source) = reviewed(
        |seen| match seen.path() {
            "/subscriptions" => subscriptions(),
            path if path.contains(SECOND) => json_reply(&json!({"value": [
                {"actions": ["Microsoft.Network/*", "Microsoft.Resources/*/read", "Microsoft.ResourceGraph/*"],
                 "notActions": ["Microsoft.Network/privateDnsZones/ALL/*"]},
                {"actions": ["Microsoft.ContainerRegistry/registries/read"]},
            ]})),
            _ => json_reply(&json!({"value": [{"actions": ["*/read"], "notActions": []}]})),
        },
        |_| {},
    )
    .await;
    assert!(!review.is_complete());
    let [first, second] = &review.subscriptions[..] else { panic!("{review:?}") };
    assert_eq!(
        (first.id.as_str(), first.name.as_deref(), first.method),
        (FIRST, Some("hub"), Method::Permissions)
    );
    assert_eq!(first.missing().count(), 0);
    assert_eq!(first.actions.len(), NEEDED.len());
    let missing: Vec<&str> = second.missing().collect();
    assert_eq!(
        missing,
        [
            "Microsoft.Network/privateDnsZones/ALL/read",
            "Microsoft.ContainerRegistry/registries/replications/read"
        ]
    );
    let all: Vec<&str> = NEEDED.iter().map(|needed| needed.action).collect();
    assert_eq!(review.role(&source).unwrap(), role_json(&all, &[format!("/subscriptions/{SECOND}")]));
}

#[tokio::test]
async fn a_reader_is_complete_and_needs_no_role() {
    let (review, azure, source) = reviewed(
        |seen| match seen.path() {
            "/subscriptions" => subscriptions(),
            _ => json_reply(&json!({"value": [{"actions": ["*/read"]}]})),
        },
        |source| source.discovery = Discovery::ResourceManager,
    )
    .await;
    assert!(review.is_complete(), "{review:?}");
    assert_eq!(review.role(&source), None);
    // Without Resource Graph its permission is not asked for.
    assert_eq!(review.subscriptions[0].actions.len(), NEEDED.len() - 1);
    let listed: Vec<String> = azure.seen().iter().map(|seen| seen.target.clone()).collect();
    assert!(listed.contains(&format!(
        "/subscriptions/{FIRST}/providers/Microsoft.Authorization/permissions?api-version=2022-04-01"
    )));
}

#[tokio::test]
async fn each_action_is_tried_where_permissions_cannot_be_listed() {
    let (review, _azure, source) = reviewed(
        |seen| match seen.path() {
            "/subscriptions" => subscriptions(),
            path if path.ends_with("/permissions") => Reply::new(403, "no"),
            path if path.starts_with("/graph/") => json_reply(&json!({"value": []})),
            path if path.ends_with("/networkInterfaces/hubdns-probe") => Reply::new(403, "no"),
            path if path.ends_with("/registries/hubdnsprobe") => Reply::new(500, "\u{1b}[31mbroken"),
            path if path == format!("/subscriptions/{FIRST}") => {
                json_reply(&json!({"subscriptionId": FIRST}))
            }
            // Nothing of what is tried exists.
            _ => Reply::new(404, "none"),
        },
        |source| source.subscriptions = vec![FIRST.to_owned()],
    )
    .await;
    let [only] = &review.subscriptions[..] else { panic!("{review:?}") };
    assert_eq!(only.method, Method::Trying);
    for checked in &only.actions {
        match checked.action {
            "Microsoft.Network/networkInterfaces/read" => assert_eq!(checked.grant, Grant::Missing),
            "Microsoft.ContainerRegistry/registries/read" => {
                assert!(matches!(checked.grant, Grant::Unknown(_)), "{checked:?}");
            }
            _ => assert_eq!(checked.grant, Grant::Permitted, "{checked:?}"),
        }
    }
    assert!(review.role(&source).is_some());
    assert!(!review.is_complete());
}

#[tokio::test]
async fn a_subscription_that_cannot_be_seen_lacks_everything() {
    let (review, _azure, _source) = reviewed(
        |seen| match seen.path() {
            "/subscriptions" => json_reply(&json!({"value": []})),
            _ => Reply::new(403, "no"),
        },
        |source| source.subscriptions = vec![FIRST.to_owned()],
    )
    .await;
    assert_eq!(review.subscriptions[0].missing().count(), NEEDED.len());
    let (review, _azure, _source) = reviewed(|_| json_reply(&json!({"value": []})), |_| {}).await;
    assert!(!review.is_complete());
    assert!(review.problems[0].contains("no subscription is visible"), "{review:?}");
}

#[tokio::test]
async fn subscriptions_of_management_groups_are_found_and_a_refusal_names_its_action() {
    let (review, _azure, _source) = reviewed(
        |seen| match seen.path() {
            "/subscriptions" => subscriptions(),
            path if path.ends_with("/managementGroups/platform/descendants") => {
                json_reply(&json!({"value": [
                    {"type": "Microsoft.Management/managementGroups", "name": "below"},
                    {"type": "Microsoft.Management/managementGroups/subscriptions", "name": SECOND},
                ]}))
            }
            path if path.ends_with("/descendants") => Reply::new(403, "no"),
            _ => json_reply(&json!({"value": [{"actions": ["*"]}]})),
        },
        |source| source.management_groups = vec!["platform".to_owned(), "secret".to_owned()],
    )
    .await;
    let ids: Vec<&str> = review.subscriptions.iter().map(|subscription| subscription.id.as_str()).collect();
    assert_eq!(ids, [SECOND]);
    assert_eq!(review.problems.len(), 1);
    assert!(review.problems[0].contains("Microsoft.Management/managementGroups/descendants/read"));
    assert!(!review.is_complete());
}

#[test]
fn the_readme_names_every_action() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    for needed in NEEDED {
        assert!(readme.contains(&format!("`{}`", needed.action)), "{}", needed.action);
    }
}
