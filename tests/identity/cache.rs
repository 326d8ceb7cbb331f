//! Tokens in the cache: how often Entra is asked, and what happens when it
//! fails while a token is valid.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hubdns::config::CredentialKind;
use hubdns::sources::azure::identity::{Clock, Identity, IdentityError, Outcome, Surroundings};
use tokio::sync::Semaphore;

use crate::stand_in::{Reply, StandIn, within};

/// A clock that the test moves.
#[derive(Clone, Default)]
struct Hand(Arc<Mutex<Duration>>);

impl Hand {
    fn set(&self, seconds: u64) {
        *self.0.lock().unwrap() = Duration::from_secs(seconds);
    }

    fn clock(&self) -> Clock {
        let (start, offset) = (Instant::now(), Arc::clone(&self.0));
        Clock::new(move || start + *offset.lock().unwrap())
    }
}

/// Entra that answers by `script` for the nth request, and an identity with a clock.
fn rig(script: impl Fn(usize) -> Reply + Send + Sync + 'static) -> (StandIn, Identity, Hand) {
    let count = AtomicUsize::new(0);
    let entra = StandIn::https(move |_| script(count.fetch_add(1, Ordering::SeqCst)));
    let hand = Hand::default();
    let surroundings = Surroundings {
        variables: [("AZURE_CLIENT_SECRET", "hush-hush")].into_iter().collect(),
        clock: hand.clock(),
        ..Surroundings::default()
    };
    let identity = within(&entra.source(&[CredentialKind::ClientSecret]), surroundings);
    (entra, identity, hand)
}

async fn token(identity: &Identity) -> String {
    identity.token().await.unwrap().secret.to_string()
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_again_at_half_life() {
    let (entra, identity, hand) = rig(|nth| Reply::token(&format!("token-{nth}"), 3600));
    assert_eq!(identity.expires_at(), None);
    for seconds in [0, 1, 1700] {
        hand.set(seconds);
        assert_eq!(token(&identity).await, "token-0");
    }
    assert!(identity.expires_at().is_some());
    hand.set(1801);
    assert_eq!(token(&identity).await, "token-1");
    assert_eq!(token(&identity).await, "token-1");
    assert_eq!(entra.seen().len(), 2);
}

#[tokio::test]
async fn many_who_need_a_token_at_once_cause_one_request() {
    let (entra, identity, _hand) = rig(|nth| Reply::token(&format!("token-{nth}"), 3600));
    let all = futures::future::join_all((0..50).map(|_| token(&identity))).await;
    assert!(all.iter().all(|token| token == "token-0"));
    assert_eq!(entra.seen().len(), 1);
}

#[tokio::test]
async fn many_who_ask_while_nobody_answers_cause_one_round() {
    let (entra, identity, _hand) = rig(|_| Reply::new(500, ""));
    let all = futures::future::join_all((0..50).map(|_| identity.token())).await;
    assert!(all.iter().all(|result| matches!(result, Err(IdentityError::Unreachable { .. }))));
    assert_eq!(entra.seen().len(), 3, "one round of three");
}

#[tokio::test]
async fn nobody_waits_for_a_refresh_while_the_old_token_is_valid() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let (entra, identity, hand) = rig(move |nth| match nth {
        0 => Reply::token("old", 3600),
        _ => Reply::token("new", 3600).held(&held),
    });
    assert_eq!(token(&identity).await, "old");
    hand.set(2000);
    let identity = Arc::new(identity);
    let refreshing = tokio::spawn({
        let identity = Arc::clone(&identity);
        async move { token(&identity).await }
    });
    while entra.seen().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(token(&identity).await, "old");
    gate.add_permits(1);
    assert_eq!(refreshing.await.unwrap(), "new");
    assert_eq!(token(&identity).await, "new");
}

#[tokio::test]
async fn an_old_token_serves_while_the_refresh_fails() {
    let (entra, identity, hand) = rig(|nth| match nth {
        0 => Reply::token("old", 3600),
        1..4 | 5..8 => Reply::new(503, ""),
        4 => Reply::new(401, r#"{"error":"invalid_client","error_description":"expired"}"#),
        _ => Reply::token("new", 3600),
    });
    assert_eq!(token(&identity).await, "old");
    for (seconds, requests) in [(1900, 4), (1900, 4), (1905, 5), (1905, 5), (2300, 8), (3500, 9)] {
        hand.set(seconds);
        let expected = if requests == 9 { "new" } else { "old" };
        assert_eq!(token(&identity).await, expected, "{seconds}");
        assert_eq!(entra.seen().len(), requests, "{seconds}");
    }
}

#[tokio::test]
async fn an_expired_token_is_not_used() {
    let (_entra, identity, hand) = rig(|nth| match nth {
        0 => Reply::token("old", 3600),
        _ => Reply::new(503, ""),
    });
    assert_eq!(token(&identity).await, "old");
    hand.set(3590);
    assert!(matches!(identity.token().await, Err(IdentityError::Unreachable { .. })));
}

#[tokio::test]
async fn a_token_that_was_refused_is_dropped_once() {
    let (entra, identity, hand) = rig(|nth| Reply::token(&format!("token-{nth}"), 3600));
    assert_eq!(token(&identity).await, "token-0");
    hand.set(100);
    identity.invalidate();
    assert_eq!(token(&identity).await, "token-1");
    // Others whose requests bore the old one say the same a little later.
    for _ in 0..10 {
        identity.invalidate();
        assert_eq!(token(&identity).await, "token-1");
    }
    assert_eq!(entra.seen().len(), 2);
}

#[tokio::test]
async fn a_credential_that_has_worked_is_not_left_for_another() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    std::fs::write(&path, "hush-hush").unwrap();
    let entra = StandIn::https(|_| Reply::token("of-the-secret", 3600));
    let metadata = StandIn::http(|_| Reply::metadata("of-the-machine", 3600));
    let mut source = entra.source(&[
        CredentialKind::WorkloadIdentity,
        CredentialKind::ClientSecret,
        CredentialKind::ManagedIdentity,
    ]);
    source.identity.client_secret_file = Some(path.clone());
    let workload = directory.path().join("workload");
    source.identity.federated_token_file = Some(workload.clone());
    let hand = Hand::default();
    let host = format!("http://{}", metadata.address);
    let surroundings = Surroundings {
        variables: [("AZURE_POD_IDENTITY_AUTHORITY_HOST", host)].into_iter().collect(),
        clock: hand.clock(),
        ..Surroundings::default()
    };
    let identity = within(&source, surroundings);
    assert_eq!(token(&identity).await, "of-the-secret");
    // The secret is being exchanged.
    std::fs::remove_file(&path).unwrap();
    hand.set(4000);
    let error = identity.token().await.unwrap_err();
    assert!(
        matches!(error, IdentityError::Unreachable { kind: CredentialKind::ClientSecret, .. }),
        "{error}"
    );
    assert_eq!(identity.attempts()[2].outcome, Outcome::NotTried);
    assert!(metadata.seen().is_empty());
    std::fs::write(&path, "hush-again").unwrap();
    hand.set(4400);
    assert_eq!(token(&identity).await, "of-the-secret");
    assert_eq!(entra.seen()[1].fields()["client_secret"], "hush-again");
    // One before it may take over: that is the configured order.
    std::fs::write(&workload, "federated").unwrap();
    hand.set(8000);
    let token = identity.token().await.unwrap();
    assert_eq!(token.kind, CredentialKind::WorkloadIdentity);
}
