//! Azure Arc: the agent's challenge, its secret file, its refusals.

use std::path::{Path, PathBuf};

use hubdns::config::CredentialKind;
use hubdns::sources::azure::identity::{ArcAgent, Identity, IdentityError, Surroundings};

use crate::entra::recorded;
use crate::stand_in::{Reply, StandIn, nowhere, within};
use crate::upstream::closed;

const KEY: &str = "c2VjcmV0LW9mLXRoZS1hZ2VudA==";

/// A directory of the agent's with one secret file.
struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { directory: tempfile::tempdir().unwrap() };
        std::fs::create_dir(files.tokens()).unwrap();
        std::fs::write(files.key(), KEY).unwrap();
        std::fs::write(files.program(), "").unwrap();
        files
    }

    fn tokens(&self) -> PathBuf {
        self.directory.path().join("tokens")
    }

    fn key(&self) -> PathBuf {
        self.tokens().join("11111111-2222-3333-4444-555555555555.key")
    }

    fn program(&self) -> PathBuf {
        self.directory.path().join("himds")
    }

    fn identity(&self, endpoint: String, program: PathBuf, variables: &[(&str, String)]) -> Identity {
        let source = nowhere().source(&[CredentialKind::Arc]);
        let variables = variables.iter().map(|(name, value)| (*name, value.clone())).collect();
        let arc = ArcAgent { endpoint, tokens: self.tokens(), program };
        within(&source, Surroundings { variables, arc, ..Surroundings::default() })
    }
}

/// An agent that asks for the file at `path`.
fn agent(path: &Path) -> StandIn {
    let realm = format!("Basic realm={}", path.display());
    StandIn::http(move |seen| match seen.headers.get("authorization") {
        None => Reply::new(401, "").header("www-authenticate", realm.clone()),
        Some(said) if *said == format!("Basic {KEY}") => Reply::metadata("the-token", 3600),
        Some(said) => {
            let body =
                serde_json::json!({"error": "unauthorized", "error_description": format!("not {said}")});
            Reply::new(401, body.to_string())
        }
    })
}

fn endpoint(agent: &StandIn) -> String {
    format!("http://localhost:{}/metadata/identity/oauth2/token", agent.address.port())
}

#[tokio::test]
async fn the_agents_challenge_is_met_as_recorded() {
    let files = Files::new();
    let agent = agent(&files.key());
    let token = files.identity(endpoint(&agent), files.program(), &[]).token().await.unwrap();
    assert_eq!(*token.secret, "the-token");
    assert_eq!(token.kind, CredentialKind::Arc);
    let seen = agent.seen();
    let request = &recorded("arc-challenge")["request"];
    let target = request["url"].as_str().unwrap().strip_prefix("http://localhost:40342").unwrap();
    for seen in &seen {
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", target));
        assert_eq!(seen.headers["metadata"], "true");
    }
    assert_eq!(seen.len(), 2);
    assert!(!seen[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn the_environment_tells_where_the_agent_is() {
    let files = Files::new();
    let agent = agent(&files.key());
    let variables =
        [("IDENTITY_ENDPOINT", endpoint(&agent)), ("IMDS_ENDPOINT", "http://localhost:40342".to_owned())];
    let nowhere = PathBuf::from("/nonexistent/himds");
    let elsewhere = format!("http://{}", closed());
    files.identity(elsewhere.clone(), nowhere.clone(), &variables).token().await.unwrap();
    // With a header it is App Service's endpoint and none of Arc's.
    let [first, second] = variables;
    let app_service = [first, second, ("IDENTITY_HEADER", "x".to_owned())];
    let error = files.identity(elsewhere.clone(), nowhere.clone(), &app_service).token().await.unwrap_err();
    assert!(matches!(error, IdentityError::NoCredential { .. }), "{error}");
    assert_eq!(agent.seen().len(), 2);
    // No agent: nobody is asked. An agent that does not listen: passed over.
    for (endpoint, program) in [(endpoint(&agent), nowhere), (elsewhere, files.program())] {
        let error = files.identity(endpoint, program, &[]).token().await.unwrap_err();
        assert!(matches!(error, IdentityError::NoCredential { .. }), "{error}");
    }
    assert_eq!(agent.seen().len(), 2);
}

#[tokio::test]
async fn no_other_file_is_sent_to_whoever_listens_there() {
    let files = Files::new();
    let outside = files.directory.path().join("shadow.key");
    std::fs::write(&outside, "outside").unwrap();
    let link = files.tokens().join("link.key");
    std::os::unix::fs::symlink(&outside, &link).unwrap();
    let text = files.tokens().join("key.txt");
    std::fs::write(&text, "text").unwrap();
    let large = files.tokens().join("large.key");
    std::fs::write(&large, "k".repeat(4097)).unwrap();
    let above = files.tokens().join("..").join("shadow.key");
    for path in [outside, link, text, large, above, files.tokens(), "relative.key".into()] {
        let agent = agent(&path);
        let error = files.identity(endpoint(&agent), files.program(), &[]).token().await.unwrap_err();
        assert!(matches!(error, IdentityError::Refused { .. }), "{}: {error}", path.display());
        assert_eq!(agent.seen().len(), 1, "{}: nothing was sent", path.display());
    }
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_not_told() {
    let files = Files::new();
    std::fs::write(files.key(), "d3Jvbmc=").unwrap();
    let agent = agent(&files.key());
    let error = files.identity(endpoint(&agent), files.program(), &[]).token().await.unwrap_err();
    assert!(
        matches!(&error, IdentityError::Refused { message, .. } if message.contains("not Basic")),
        "{error}"
    );
    assert!(!format!("{error} {error:?}").contains("d3Jvbmc"), "{error}");
    assert_eq!(agent.seen().len(), 2);
}

#[tokio::test]
async fn an_agent_that_asks_for_no_secret_is_none() {
    let files = Files::new();
    for reply in [
        Reply::metadata("the-token", 3600),
        Reply::new(401, ""),
        Reply::new(401, "").header("www-authenticate", "Bearer realm=x"),
    ] {
        let agent = StandIn::http(move |_| reply.clone());
        let error = files.identity(endpoint(&agent), files.program(), &[]).token().await.unwrap_err();
        assert!(matches!(error, IdentityError::Refused { .. }), "{error}");
    }
}
