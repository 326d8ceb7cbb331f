//! HTTPS to Azure: one client by way of the proxy for Resource Manager and
//! Entra, one without any for the metadata service.

use std::net::SocketAddr;

use crate::config::AzureSource;

/// Why a request got no response.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The client could not be made: a file of certificates, a proxy's URL.
    #[error("cannot set up HTTPS: {0}")]
    Setup(String),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// Connection, TLS or protocol.
    #[error("the exchange failed: {0}")]
    Failed(String),
}

/// The clients. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Http {
    /// For Resource Manager and Entra.
    pub azure: reqwest::Client,
    /// For the metadata service and Arc's agent: no proxy ever, no redirect.
    pub local: reqwest::Client,
}

impl Http {
    /// Makes the clients. `upstreams` look names up where neither the source
    /// names a resolver nor the host has one that is not `own`.
    ///
    /// # Errors
    /// [`HttpError::Setup`].
    pub fn new(
        source: &AzureSource,
        upstreams: &[SocketAddr],
        own: &[SocketAddr],
    ) -> Result<Self, HttpError> {
        let _ = (source, upstreams, own);
        Err(HttpError::Setup("not built".to_owned()))
    }
}
