//! Credentials that ask Entra: what is sent, and what becomes of each answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hubdns::config::CredentialKind;
use hubdns::sources::azure::identity::{IdentityError, Outcome};
use serde_json::Value;

use crate::stand_in::{CLIENT, Reply, Seen, StandIn, TENANT, file, identity};

const SECRET: &str = "hush~hush+8Q/=";

/// The recorded case of this id.
pub fn recorded(id: &str) -> Value {
    let text = include_str!("../data/azure/auth/token-responses.json");
    let file: Value = serde_json::from_str(text).unwrap();
    let cases = file["cases"].as_array().unwrap();
    cases.iter().find(|case| case["id"] == id).unwrap_or_else(|| panic!("no case {id}")).clone()
}

/// Compares a form with the recorded one; `own` tells the values that are ours.
fn check_form(seen: &Seen, id: &str, own: &[(&str, &str)]) {
    let case = recorded(id);
    let request = &case["request"];
    assert_eq!(seen.method, request["method"]);
    assert_eq!(seen.path(), format!("/{TENANT}/oauth2/v2.0/token"));
    assert_eq!(seen.headers["content-type"], "application/x-www-form-urlencoded");
    let form = seen.fields();
    let expected = request["form"].as_object().unwrap();
    assert_eq!(
        form.keys().collect::<Vec<_>>(),
        expected.keys().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    );
    for (key, value) in expected {
        let ours = own.iter().find(|(name, _)| name == key).map(|(_, value)| *value);
        assert_eq!(form[key], ours.unwrap_or_else(|| value.as_str().unwrap()), "{key}");
    }
}

#[tokio::test]
async fn a_client_secret_is_sent_as_recorded() {
    let entra = StandIn::https(|_| Reply::token("the-token", 3599));
    let (_guard, path) = file(format!("{SECRET}\n"));
    let mut source = entra.source(&[CredentialKind::ClientSecret]);
    source.identity.client_secret_file = Some(path);
    let identity = identity(&source, &[]);
    let token = identity.token().await.unwrap();
    assert_eq!(*token.secret, "the-token");
    assert_eq!(token.kind, CredentialKind::ClientSecret);
    assert!(token.claims().is_none(), "an opaque token says nothing");
    let seen = entra.seen();
    assert_eq!(seen.len(), 1);
    check_form(&seen[0], "client-secret", &[("client_id", CLIENT), ("client_secret", SECRET)]);
    let agent = &seen[0].headers["user-agent"];
    assert_eq!(agent, concat!("hubdns/", env!("CARGO_PKG_VERSION")));
    let shown = format!("{token:?} {identity:?}");
    assert!(!shown.contains("the-token") && !shown.contains(SECRET), "{shown}");
}

#[tokio::test]
async fn the_environment_stands_in_for_keys_that_are_not_set() {
    let entra = StandIn::https(|_| Reply::token("the-token", 3599));
    let mut source = entra.source(&[CredentialKind::ClientSecret]);
    (source.identity.tenant, source.identity.client_id) = (None, None);
    let by_environment = identity(
        &source,
        &[("AZURE_TENANT_ID", TENANT), ("AZURE_CLIENT_ID", CLIENT), ("AZURE_CLIENT_SECRET", SECRET)],
    );
    by_environment.token().await.unwrap();
    check_form(&entra.seen()[0], "client-secret", &[("client_id", CLIENT), ("client_secret", SECRET)]);
    let shown = format!("{by_environment:?}");
    assert!(!shown.contains(SECRET), "{shown}");
    let error = identity(&source, &[("AZURE_CLIENT_SECRET", SECRET)]).token().await.unwrap_err();
    assert!(error.to_string().contains("AZURE_TENANT_ID"), "{error}");
}

#[tokio::test]
async fn a_workloads_token_is_exchanged_as_recorded_and_read_each_time() {
    let entra = StandIn::https(|_| Reply::token("the-token", 3599));
    let (_guard, path) = file("federated-1\n");
    let mut source = entra.source(&[CredentialKind::WorkloadIdentity]);
    source.identity.federated_token_file = Some(path.clone());
    let ask = async || identity(&source, &[]).token().await.map(drop);
    ask().await.unwrap();
    std::fs::write(&path, "federated-2").unwrap();
    ask().await.unwrap();
    let seen = entra.seen();
    for (seen, assertion) in seen.iter().zip(["federated-1", "federated-2"]) {
        check_form(seen, "workload-identity", &[("client_assertion", assertion)]);
    }
    assert_eq!(seen.len(), 2);
}

#[tokio::test]
async fn an_expired_secret_is_refused_and_nobody_else_is_tried() {
    let case = recorded("client-secret-expired");
    let body = case["response"]["body"].to_string();
    let entra = StandIn::https(move |_| Reply::new(401, body.clone()));
    let mut source = entra.source(&[
        CredentialKind::WorkloadIdentity,
        CredentialKind::ClientSecret,
        CredentialKind::ManagedIdentity,
    ]);
    source.identity.client_secret_file = Some("/nonexistent/secret".into());
    let metadata = StandIn::http(|_| Reply::metadata("of-another-identity", 3600));
    let host = format!("http://{}", metadata.address);
    let variables = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", host.as_str()), ("AZURE_CLIENT_SECRET", SECRET)];
    // A file that is not there is passed over, with the variable behind it.
    assert_eq!(*identity(&source, &variables).token().await.unwrap().secret, "of-another-identity");
    source.identity.client_secret_file = None;
    let identity = identity(&source, &variables);
    for _ in 0..5 {
        match identity.token().await {
            Err(IdentityError::Refused { kind: CredentialKind::ClientSecret, message }) => {
                assert!(message.contains("AADSTS7000222"), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(entra.seen().len(), 1, "a refusal is asked for once, then waits");
    assert_eq!(metadata.seen().len(), 1);
    let outcomes: Vec<Outcome> = identity.attempts().into_iter().map(|attempt| attempt.outcome).collect();
    assert!(
        matches!(&outcomes[0], Outcome::PassedOver(why) if why.contains("AZURE_FEDERATED_TOKEN_FILE")),
        "{outcomes:?}"
    );
    assert!(matches!(&outcomes[1], Outcome::Refused(_)), "{outcomes:?}");
    assert_eq!(outcomes[2], Outcome::NotTried);
}

#[tokio::test]
async fn what_passes_is_tried_again_for_a_moment() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let entra = StandIn::https(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::new(503, "busy"),
        1 => Reply::new(500, r#"{"error":"server_error"}"#),
        _ => Reply::token("the-token", 3599),
    });
    let source = entra.source(&[CredentialKind::ClientSecret]);
    let token = identity(&source, &[("AZURE_CLIENT_SECRET", SECRET)]).token().await.unwrap();
    assert_eq!(*token.secret, "the-token");
    assert_eq!(entra.seen().len(), 3);
}

#[tokio::test]
async fn a_throttled_identity_waits() {
    let entra = StandIn::https(|_| Reply::new(429, "").header("retry-after", "120"));
    let source = entra.source(&[CredentialKind::ClientSecret]);
    let identity = identity(&source, &[("AZURE_CLIENT_SECRET", SECRET)]);
    for _ in 0..4 {
        let error = identity.token().await.unwrap_err();
        assert!(matches!(error, IdentityError::Unreachable { .. }), "{error}");
    }
    assert_eq!(entra.seen().len(), 1);
}

#[tokio::test]
async fn an_echo_of_the_request_shows_no_secret() {
    for status in [400, 401, 500] {
        let entra = StandIn::https(move |seen| {
            let said = format!("bad request: {} {:?}", seen.body, seen.fields());
            let body = serde_json::json!({"error": "invalid_request", "error_description": said});
            Reply::new(status, body.to_string()).header("retry-after", "1")
        });
        let (_guard, federated) = file("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl");
        let mut source = entra.source(&[CredentialKind::ClientSecret]);
        let refused = identity(&source, &[("AZURE_CLIENT_SECRET", SECRET)]).token().await.unwrap_err();
        source.identity.credentials = vec![CredentialKind::WorkloadIdentity];
        source.identity.federated_token_file = Some(federated);
        let by_workload = identity(&source, &[]);
        let refused_too = by_workload.token().await.unwrap_err();
        let said =
            format!("{refused} {refused_too} {refused:?} {refused_too:?} {:?}", by_workload.attempts());
        assert!(said.contains("bad request"), "{said}");
        for secret in ["hush", "8Q", "c2lnbmF0dXJl", "eyJ"] {
            assert!(!said.contains(secret), "{secret} in {said}");
        }
    }
}

#[tokio::test]
async fn no_redirect_is_followed_with_a_secret() {
    let elsewhere = StandIn::https(|_| Reply::token("stolen", 3599));
    let location = format!("https://{}/", elsewhere.address);
    for status in [301, 302, 307, 308] {
        let location = location.clone();
        let entra = StandIn::https(move |_| Reply::new(status, "").header("location", location.clone()));
        let source = entra.source(&[CredentialKind::ClientSecret]);
        let error = identity(&source, &[("AZURE_CLIENT_SECRET", SECRET)]).token().await.unwrap_err();
        assert!(error.to_string().contains(&status.to_string()), "{error}");
    }
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn answers_that_are_no_token_are_no_token() {
    for body in
        ["", "<html>sign in to the network</html>", "{}", r#"{"access_token":""}"#, r#"{"access_token":7}"#]
    {
        let entra = StandIn::https(move |_| Reply::new(200, body));
        let source = entra.source(&[CredentialKind::ClientSecret]);
        let error = identity(&source, &[("AZURE_CLIENT_SECRET", SECRET)]).token().await.unwrap_err();
        assert!(matches!(error, IdentityError::Unreachable { .. }), "{body}: {error}");
    }
}

#[tokio::test]
async fn the_command_line_is_for_people_alone() {
    let entra = StandIn::https(|_| Reply::new(500, ""));
    let source = entra.source(&[CredentialKind::AzCli]);
    let error = identity(&source, &[]).token().await.unwrap_err();
    assert_eq!(error.to_string(), "no credential is available: az-cli: for interactive commands only");
}

#[tokio::test]
async fn times_that_are_far_off_do_no_harm() {
    for expires in ["9223372036854775807", "-1", "\"3599\"", "1e300", "null", "18446744073709551615"] {
        let entra = StandIn::https(move |_| {
            Reply::new(
                200,
                format!(
                    "{{\"token_type\":\"Bearer\",\"expires_in\":{expires},\"access_token\":\"the-token\"}}"
                ),
            )
        });
        let source = entra.source(&[CredentialKind::ClientSecret]);
        let identity = identity(&source, &[("AZURE_CLIENT_SECRET", SECRET)]);
        for _ in 0..3 {
            assert_eq!(*identity.token().await.unwrap().secret, "the-token", "{expires}");
        }
        assert_eq!(entra.seen().len(), 1, "{expires}");
    }
}

/// All that is logged, at every level, while tokens are asked for.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn logs_tell_what_happens_and_no_secret() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let count = Arc::new(AtomicUsize::new(0));
    let entra = StandIn::https(move |seen| {
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            return Reply::token("eyJ0.the-token.c2ln", 3600);
        }
        let said = format!("forged\nline {}", seen.body);
        Reply::new(401, serde_json::json!({"error": "x", "error_description": said}).to_string())
    });
    let source = entra.source(&[CredentialKind::WorkloadIdentity, CredentialKind::ClientSecret]);
    identity(&source, &[("AZURE_CLIENT_SECRET", SECRET)]).token().await.unwrap();
    identity(&source, &[("AZURE_CLIENT_SECRET", SECRET)]).token().await.unwrap_err();
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for expected in [
        "identity chosen credential=\"client-secret\" passed_over=workload-identity: no token file",
        "token refresh failed",
        "forged line",
    ] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
    for hidden in ["hush", "8Q", "the-token", "c2ln"] {
        assert!(!text.contains(hidden), "{hidden} in {text}");
    }
}
