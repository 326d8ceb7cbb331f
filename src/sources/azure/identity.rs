//! As whom Azure is read: credentials in an explicit order, tokens cached and
//! refreshed before they expire.
//!
//! ```text
//! token() ─▶ cache ──young──▶ token
//!              └─old or none─▶ credentials in order ─▶ the first that has what it needs decides
//! ```
//!
//! A credential that lacks what it needs (a file, a variable, an agent) is
//! passed over. One that has it and fails ends the round: another identity
//! sees other subscriptions, and what it does not see would look deleted. For
//! the same reason credentials behind one that has worked are not tried again.
//!
//! `azure_identity` speaks to Entra (secret, assertions) and runs the az
//! command line, over our own HTTP clients. Its tokens are not kept by it: it
//! holds on to one until five minutes before the end, and cannot be told that
//! Resource Manager has refused it.

mod agent;
mod assertion;
mod cache;
mod certificate;
mod claims;
mod credential;
mod environment;
mod managed;
mod scrub;
mod transport;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use super::cloud::Endpoints;
use super::http::Http;
use crate::config::{AzureIdentity, CredentialKind};
use crate::events::outside;

pub use claims::Claims;
pub use environment::{ArcAgent, Clock, Surroundings, Variables};

use cache::{Cache, Now};
use credential::{Obtained, Setup, Trouble};

/// Requests to a token service that fails for a moment, in one round.
const TRIES: u32 = 3;

/// The pause before the second of them; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Why there is no token.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IdentityError {
    /// No credential of the list has what it needs.
    #[error("no credential is available: {tried}")]
    NoCredential {
        /// Each credential with the reason.
        tried: String,
    },
    /// A credential was refused.
    #[error("{} was refused: {message}", kind.label())]
    Refused {
        /// Which.
        kind: CredentialKind,
        /// What Entra or the metadata service said; never a secret.
        message: String,
    },
    /// The token service did not answer.
    #[error("{} got no answer: {message}", kind.label())]
    Unreachable {
        /// Which.
        kind: CredentialKind,
        /// What happened.
        message: String,
    },
}

/// A bearer token. `Debug` hides it.
pub struct Token {
    /// The token itself.
    pub secret: Zeroizing<String>,
    /// When it expires, Unix seconds.
    pub expires_at: u64,
    /// The credential that it came from.
    pub kind: CredentialKind,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("expires_at", &self.expires_at)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// What the token says about itself; `None` for one that is opaque. The
    /// signature is not checked: Resource Manager does that.
    pub fn claims(&self) -> Option<Claims> {
        Claims::of(&self.secret)
    }
}

/// What became of one credential in the last round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Which.
    pub kind: CredentialKind,
    /// What became of it.
    pub outcome: Outcome,
}

/// What becomes of a credential. Texts come from outside, without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It lacks what it needs.
    PassedOver(String),
    /// It was refused.
    Refused(String),
    /// The token service did not answer.
    Unreachable(String),
    /// It yielded a token.
    Worked,
    /// One before it decided.
    NotTried,
}

impl Outcome {
    /// The word for it.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::PassedOver(_) => "passed-over",
            Self::Refused(_) => "refused",
            Self::Unreachable(_) => "unreachable",
            Self::Worked => "worked",
            Self::NotTried => "not-tried",
        }
    }

    /// Why, if there is something to say.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::PassedOver(reason) | Self::Refused(reason) | Self::Unreachable(reason) => Some(reason),
            Self::Worked | Self::NotTried => None,
        }
    }
}

/// The identity of one source.
#[derive(Debug)]
pub struct Identity {
    setup: Setup,
    state: Mutex<State>,
    /// Held by the one who refreshes.
    refreshing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    cache: Cache,
    attempts: Vec<Attempt>,
    /// The place of the credential that worked last.
    decided: Option<usize>,
}

impl Identity {
    /// Asks for nothing yet. `interactive` commands may use the az command line.
    pub fn new(config: AzureIdentity, endpoints: Endpoints, http: Http, interactive: bool) -> Self {
        Self::within(config, endpoints, http, Surroundings::of_process(interactive))
    }

    /// As [`Identity::new`], in other surroundings than this process has.
    pub fn within(
        config: AzureIdentity,
        endpoints: Endpoints,
        http: Http,
        surroundings: Surroundings,
    ) -> Self {
        Self {
            setup: Setup::new(config, endpoints, http, surroundings),
            state: Mutex::default(),
            refreshing: tokio::sync::Mutex::default(),
        }
    }

    /// A token for Azure Resource Manager, from the cache while it lasts.
    ///
    /// # Errors
    /// No credential yields one.
    pub async fn token(&self) -> Result<Arc<Token>, IdentityError> {
        let valid = match self.look() {
            Now::Use(token) => return Ok(token),
            Now::Fail(error) => return Err(error),
            Now::Refresh(valid) => valid,
        };
        let _turn = match valid {
            // Somebody else refreshes: the old one serves meanwhile.
            Some(token) => match self.refreshing.try_lock() {
                Ok(turn) => turn,
                Err(_) => return Ok(token),
            },
            None => self.refreshing.lock().await,
        };
        // Another may have refreshed while this one waited for its turn.
        match self.look() {
            Now::Use(token) => return Ok(token),
            Now::Fail(error) => return Err(error),
            Now::Refresh(_) => {}
        }
        match self.round().await {
            Ok((kind, obtained)) => Ok(self.keep(kind, obtained)),
            Err((error, retry_after)) => self.fall_back(error, retry_after),
        }
    }

    /// Drops the cached token: Resource Manager refused it. One that is only
    /// seconds old stays: of many requests that were refused together each
    /// says so, and a token that is refused for good must not make every
    /// request ask Entra.
    pub fn invalidate(&self) {
        let now = self.setup.now();
        self.state().cache.invalidate(now);
    }

    /// The URL of the authority that is asked: that of the cloud, or of `AZURE_AUTHORITY_HOST`.
    pub fn authority(&self) -> &str {
        &self.setup.endpoints.authority
    }

    /// What became of each credential in the last round.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.state().attempts.clone()
    }

    /// When the token in use expires, Unix seconds, if there is one.
    pub fn expires_at(&self) -> Option<u64> {
        self.state().cache.expires_at()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) -> Now {
        let now = self.setup.now();
        self.state().cache.look(now)
    }

    /// Tries the credentials in their order until one decides.
    async fn round(&self) -> Result<(CredentialKind, Obtained), (IdentityError, Option<Duration>)> {
        let kinds = &self.setup.config.credentials;
        let decided = self.state().decided;
        let mut attempts: Vec<Attempt> = Vec::with_capacity(kinds.len());
        let mut result = None;
        for (place, &kind) in kinds.iter().enumerate() {
            if result.is_some() || decided.is_some_and(|last| place > last) {
                attempts.push(Attempt { kind, outcome: Outcome::NotTried });
                continue;
            }
            let trouble = match self.tries(kind).await {
                Ok(obtained) => {
                    attempts.push(Attempt { kind, outcome: Outcome::Worked });
                    result = Some(Ok((kind, obtained)));
                    continue;
                }
                // It worked before: its file is being exchanged, its agent starts anew.
                Err(Trouble::Unavailable(message)) if decided == Some(place) => {
                    Trouble::Unreachable { message, retry_after: None }
                }
                Err(trouble) => trouble,
            };
            let outcome = match trouble {
                Trouble::Unavailable(reason) => Outcome::PassedOver(reason),
                Trouble::Refused(message) => {
                    result = Some(Err((IdentityError::Refused { kind, message: message.clone() }, None)));
                    Outcome::Refused(message)
                }
                Trouble::Unreachable { message, retry_after } => {
                    let error = IdentityError::Unreachable { kind, message: message.clone() };
                    result = Some(Err((error, retry_after)));
                    Outcome::Unreachable(message)
                }
            };
            attempts.push(Attempt { kind, outcome });
        }
        let result = result.unwrap_or_else(|| {
            let tried: Vec<String> = attempts
                .iter()
                .filter_map(|attempt| {
                    Some(format!("{}: {}", attempt.kind.label(), attempt.outcome.reason()?))
                })
                .collect();
            Err((IdentityError::NoCredential { tried: tried.join("; ") }, None))
        });
        self.state().attempts = attempts;
        result
    }

    /// One credential, again after a moment where the token service stumbles.
    async fn tries(&self, kind: CredentialKind) -> Result<Obtained, Trouble> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            match credential::obtain(&self.setup, kind).await {
                // Without a time of its own; else that is kept by the cache.
                Err(Trouble::Unreachable { retry_after: None, message }) => {
                    debug!(credential = kind.label(), error = %outside(&message), "token request failed");
                }
                done => return done,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        credential::obtain(&self.setup, kind).await
    }

    fn keep(&self, kind: CredentialKind, obtained: Obtained) -> Arc<Token> {
        let token = Arc::new(Token { secret: obtained.secret, expires_at: obtained.expires_at, kind });
        let place = self.setup.config.credentials.iter().position(|one| *one == kind);
        let now = self.setup.now();
        let mut state = self.state();
        let recovered = state.cache.store(now, Arc::clone(&token), obtained.lifetime);
        let changed = state.decided != place;
        state.decided = place;
        let before: Vec<String> = state
            .attempts
            .iter()
            .filter_map(|attempt| Some(format!("{}: {}", attempt.kind.label(), attempt.outcome.reason()?)))
            .collect();
        drop(state);
        if changed {
            let before = before.join("; ");
            info!(credential = kind.label(), passed_over = %outside(&before), "identity chosen");
        } else if recovered {
            info!(credential = kind.label(), "token refreshed after failures");
        }
        token
    }

    /// The old token if it is still valid, else the error, which also answers
    /// those who ask before the next try is due.
    fn fall_back(
        &self,
        error: IdentityError,
        retry_after: Option<Duration>,
    ) -> Result<Arc<Token>, IdentityError> {
        let now = self.setup.now();
        let mut state = self.state();
        let is_first = state.cache.fail(now, error.clone(), retry_after);
        let valid = state.cache.valid(now);
        drop(state);
        let text = error.to_string();
        if is_first {
            warn!(error = %outside(&text), has_valid_token = valid.is_some(), "token refresh failed");
        } else {
            debug!(error = %outside(&text), has_valid_token = valid.is_some(), "token refresh failed");
        }
        valid.ok_or(error)
    }
}
