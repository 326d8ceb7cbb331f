//! Managed identity: the metadata service of a machine, and App Service.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use hubdns::config::{CredentialKind, ManagedIdentity};
use hubdns::sources::azure::identity::{IdentityError, Outcome};

use crate::entra::recorded;
use crate::stand_in::{AUDIENCE, CLIENT, Reply, StandIn, identity, nowhere};
use crate::upstream::closed;

const MANAGED: &[CredentialKind] = &[CredentialKind::ManagedIdentity];

fn host(of: &StandIn) -> String {
    format!("http://{}", of.address)
}

#[tokio::test]
async fn the_metadata_service_is_asked_as_recorded() {
    let case = recorded("imds-system-assigned");
    let body = case["response"]["body"].to_string();
    let metadata = StandIn::http(move |_| Reply::new(200, body.clone()));
    let source = nowhere().source(MANAGED);
    let token =
        identity(&source, &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", &host(&metadata))]).token().await.unwrap();
    assert_eq!(*token.secret, "not-a-real-token");
    assert_eq!(token.expires_at, 1_893_456_000);
    let seen = &metadata.seen()[0];
    let request = &case["request"];
    let target = request["url"].as_str().unwrap().strip_prefix("http://169.254.169.254").unwrap();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", target));
    assert_eq!(seen.headers["metadata"], "true");
}

#[tokio::test]
async fn an_identity_of_the_users_is_named_by_exactly_one_key() {
    let id = "/subscriptions/1/resourceGroups/hub/providers/Microsoft.ManagedIdentity/userAssignedIdentities/hubdns";
    let cases = [
        (ManagedIdentity::ClientId(CLIENT.to_owned()), "client_id", CLIENT),
        (ManagedIdentity::ResourceId(id.to_owned()), "msi_res_id", id),
    ];
    for (which, key, value) in cases {
        let metadata = StandIn::http(|_| Reply::metadata("the-token", 3600));
        let mut source = nowhere().source(MANAGED);
        source.identity.managed_identity = Some(which);
        let host = host(&metadata);
        identity(&source, &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", &host)]).token().await.unwrap();
        let fields = metadata.seen()[0].fields();
        assert_eq!(fields[key], value);
        assert_eq!(fields.len(), 3, "{fields:?}");
    }
}

#[tokio::test]
async fn app_service_gets_its_header_and_its_key_for_resource_ids() {
    let service = StandIn::http(|seen| {
        let body =
            format!("{{\"statusCode\":403,\"message\":\"echo {:?}\"}}", seen.headers["x-identity-header"]);
        match seen.fields().get("mi_res_id").map(String::as_str) {
            Some("/subscriptions/1/other") => Reply::new(403, body.replace("\"hush-header\"", "hush-header")),
            _ => Reply::metadata("the-token", 3600),
        }
    });
    let endpoint = format!("http://localhost:{}/msi/token", service.address.port());
    let variables = [("IDENTITY_ENDPOINT", endpoint.as_str()), ("IDENTITY_HEADER", "hush-header")];
    let mut source = nowhere().source(MANAGED);
    source.identity.managed_identity = Some(ManagedIdentity::ResourceId("/subscriptions/1/mine".to_owned()));
    assert_eq!(*identity(&source, &variables).token().await.unwrap().secret, "the-token");
    let seen = &service.seen()[0];
    assert_eq!(seen.path(), "/msi/token");
    let fields = seen.fields();
    assert_eq!(fields["mi_res_id"], "/subscriptions/1/mine");
    assert_eq!(fields["api-version"], "2019-08-01");
    assert_eq!(fields["resource"], AUDIENCE);
    source.identity.managed_identity = Some(ManagedIdentity::ResourceId("/subscriptions/1/other".to_owned()));
    let error = identity(&source, &variables).token().await.unwrap_err();
    assert!(matches!(error, IdentityError::Refused { .. }), "{error}");
    assert!(!error.to_string().contains("hush"), "{error}");
}

#[tokio::test]
async fn a_machine_without_an_identity_is_passed_over_and_a_named_one_is_refused() {
    let case = recorded("imds-identity-missing");
    let body = case["response"]["body"].to_string();
    let metadata = StandIn::http(move |_| Reply::new(400, body.clone()));
    let host = host(&metadata);
    let variables = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", host.as_str())];
    let mut source = nowhere().source(MANAGED);
    let error = identity(&source, &variables).token().await.unwrap_err();
    assert!(matches!(error, IdentityError::NoCredential { .. }), "{error}");
    assert_eq!(metadata.seen().len(), 1, "not asked again: {error}");
    source.identity.managed_identity = Some(ManagedIdentity::ClientId(CLIENT.to_owned()));
    let error = identity(&source, &variables).token().await.unwrap_err();
    assert!(
        matches!(&error, IdentityError::Refused { message, .. } if message.contains("Identity not found")),
        "{error}"
    );
    assert_eq!(metadata.seen().len(), 2);
}

#[tokio::test]
async fn a_service_that_is_being_updated_is_asked_again() {
    for status in [404, 410, 429, 500] {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let metadata = StandIn::http(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::new(status, recorded("imds-updating")["response"]["body"].as_str().unwrap()),
            _ => Reply::metadata("the-token", 3600),
        });
        let source = nowhere().source(MANAGED);
        let host = host(&metadata);
        let token = identity(&source, &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", &host)]).token().await;
        assert_eq!(*token.unwrap().secret, "the-token", "{status}");
    }
}

#[tokio::test]
async fn a_machine_elsewhere_is_noticed_once_and_remembered() {
    let source = nowhere().source(MANAGED);
    let host = format!("http://{}", closed());
    let start = Instant::now();
    let offset = Arc::new(std::sync::Mutex::new(std::time::Duration::ZERO));
    let told = Arc::clone(&offset);
    let surroundings = hubdns::sources::azure::identity::Surroundings {
        variables: [("AZURE_POD_IDENTITY_AUTHORITY_HOST", host)].into_iter().collect(),
        clock: hubdns::sources::azure::identity::Clock::new(move || start + *told.lock().unwrap()),
        ..Default::default()
    };
    let identity = crate::stand_in::within(&source, surroundings);
    let reason = |seconds: u64| {
        *offset.lock().unwrap() = std::time::Duration::from_secs(seconds);
        let Outcome::PassedOver(why) = identity.attempts().remove(0).outcome else { panic!() };
        why
    };
    identity.token().await.unwrap_err();
    assert!(reason(10).contains("no metadata service on this machine:"));
    identity.token().await.unwrap_err();
    assert!(reason(70).contains("a moment ago"));
    identity.token().await.unwrap_err();
    assert!(reason(70).contains("no metadata service on this machine:"));
}
