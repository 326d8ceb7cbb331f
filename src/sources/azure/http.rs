//! HTTPS to Azure: one client by way of the proxy for Resource Manager and
//! Entra, one without any for the metadata service.
//!
//! TLS is rustls over ring, trusting what the system trusts or the
//! certificates of one file alone. No redirect is followed, since a token
//! would go with it; names are looked up by [`bootstrap`](super::bootstrap),
//! which never asks hubdns itself. `azure_core`'s own client is not used: it
//! has no time-out for a whole exchange, no CA file, no bound on bodies.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::HeaderMap;
use reqwest::{Client, ClientBuilder, Proxy, RequestBuilder, Response, redirect};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;

use super::bootstrap::Bootstrap;
use super::bootstrap::budgeted::Budgets;
use crate::config::{AzureSource, Config};

/// What both clients call themselves.
pub const USER_AGENT: &str = concat!("hubdns/", env!("CARGO_PKG_VERSION"));

/// A connection to Azure or to the proxy stands within this, if the whole
/// request may not take less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The metadata service is on this host or behind its hypervisor: it takes a
/// connection at once or is not there.
const LOCAL_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The metadata service may have to ask Entra before it answers.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(10);

/// An idle connection is asked whether it still lives after this, so that one
/// that a firewall has forgotten costs no request.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Largest file of trusted certificates.
const MAX_CA_BYTES: u64 = 4 << 20;

/// Why a request got no response.
#[derive(Clone, Debug, thiserror::Error)]
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

impl From<reqwest::Error> for HttpError {
    /// Without the URL: its query is long and says nothing that the caller
    /// does not know.
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::TimedOut;
        }
        let error = error.without_url();
        let mut causes: Vec<String> = Vec::new();
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(inner) = cause {
            let text = inner.to_string();
            // Wrappers often repeat what they wrap.
            if !causes.iter().any(|said| said.contains(&text)) {
                causes.push(text);
            }
            cause = inner.source();
        }
        Self::Failed(causes.join(": "))
    }
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, decompressed.
    pub body: Bytes,
}

impl Answer {
    /// `Retry-After` in seconds, if there is one that can be read (RFC 9110 10.2.3).
    /// The form with a date is not used by Azure.
    pub fn retry_after(&self) -> Option<Duration> {
        let value = self.headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?;
        value.trim().parse().ok().map(Duration::from_secs)
    }
}

/// The clients. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Http {
    /// For Resource Manager and Entra.
    pub azure: Client,
    /// For the metadata service and Arc's agent: no proxy ever, no redirect.
    pub local: Client,
}

impl Http {
    /// The clients of `source` as `config` has it: names are looked up around
    /// its own listeners, if need be by the upstreams of its default group.
    ///
    /// # Errors
    /// [`HttpError::Setup`].
    pub fn of(source: &AzureSource, config: &Config) -> Result<Self, HttpError> {
        let root = config.forward.rules.iter().find(|rule| rule.suffix.is_root());
        let group = root.and_then(|rule| config.forward.groups.get(rule.group));
        // The host's own are asked in any case.
        let upstreams = group.map(|group| group.upstreams.plain_addresses()).unwrap_or_default();
        Self::new(source, &upstreams, &config.server.listen)
    }

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
        Self::within(source, upstreams, own, None)
    }

    /// [`Self::new`] with look-ups that draw on `budgets`.
    ///
    /// # Errors
    /// [`HttpError::Setup`].
    pub fn within(
        source: &AzureSource,
        upstreams: &[SocketAddr],
        own: &[SocketAddr],
        budgets: Option<Arc<dyn Budgets>>,
    ) -> Result<Self, HttpError> {
        let resolver = Arc::new(Bootstrap::for_source(&source.bootstrap, upstreams, own, budgets)?);
        let timeout = source.request_timeout;
        let azure = common(&resolver)
            .tls_backend_preconfigured(tls(source.ca_file.as_deref())?)
            // A token never crosses the network in the clear.
            .https_only(true)
            .connect_timeout(CONNECT_TIMEOUT.min(timeout))
            .timeout(timeout)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_keep_alive_timeout(CONNECT_TIMEOUT);
        let azure = match &source.proxy {
            Some(url) => azure.proxy(proxy(&url.0)?),
            // reqwest itself takes that of the environment.
            None => azure,
        };
        let local = common(&resolver)
            .tls_backend_preconfigured(no_tls()?)
            .no_proxy()
            .connect_timeout(LOCAL_CONNECT_TIMEOUT)
            .timeout(LOCAL_TIMEOUT);
        Ok(Self { azure: built(azure)?, local: built(local)? })
    }
}

/// Sends `request` and reads the body, at most `limit` bytes of it.
///
/// # Errors
/// No whole response; a longer body is [`HttpError::Failed`].
pub async fn exchange(request: RequestBuilder, limit: usize) -> Result<Answer, HttpError> {
    whole(request.send().await?, limit).await
}

/// Reads the body of `response`, at most `limit` bytes of it; decompressed
/// bytes count, so that a small body cannot unfold to fill the memory.
///
/// # Errors
/// As [`exchange`].
pub async fn whole(mut response: Response, limit: usize) -> Result<Answer, HttpError> {
    let status = response.status().as_u16();
    let headers = std::mem::take(response.headers_mut());
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Err(HttpError::Failed(format!("the body has more than {limit} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, headers, body: body.freeze() })
}

fn common(resolver: &Arc<Bootstrap>) -> ClientBuilder {
    Client::builder()
        .user_agent(USER_AGENT)
        .redirect(redirect::Policy::none())
        .referer(false)
        .dns_resolver(Arc::clone(resolver))
}

fn built(builder: ClientBuilder) -> Result<Client, HttpError> {
    builder.build().map_err(|error| HttpError::Setup(HttpError::from(error).to_string()))
}

/// The proxy of the configuration. Its URL may hold a password and is in no error.
fn proxy(url: &str) -> Result<Proxy, HttpError> {
    Proxy::all(url).map_err(|_| HttpError::Setup("the proxy's URL cannot be read".to_owned()))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// TLS that trusts `ca_file` alone, or else what the system trusts.
fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, HttpError> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(setup)?;
    let mut config = if let Some(path) = ca_file {
        builder.with_root_certificates(roots(path)?).with_no_client_auth()
    } else {
        let verifier = Verifier::new(provider).map_err(|error| {
            HttpError::Setup(format!("{error}; install the system's CA certificates or set ca_file"))
        })?;
        builder
            .dangerous()
            // The name is rustls' own; this one checks chain and name as the system does.
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth()
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// TLS of the local client, which speaks plain HTTP: it trusts nobody.
fn no_tls() -> Result<ClientConfig, HttpError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(setup)?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn roots(path: &Path) -> Result<RootCertStore, HttpError> {
    let failed =
        |error: &dyn std::fmt::Display| HttpError::Setup(format!("ca_file {}: {error}", path.display()));
    let length = std::fs::metadata(path).map_err(|error| failed(&error))?.len();
    if length > MAX_CA_BYTES {
        return Err(failed(&format!("more than {MAX_CA_BYTES} bytes")));
    }
    let text = std::fs::read(path).map_err(|error| failed(&error))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| failed(&error))?;
        roots.add(certificate).map_err(|error| failed(&error))?;
    }
    if roots.is_empty() {
        return Err(failed(&"no certificate in PEM form"));
    }
    Ok(roots)
}

#[expect(clippy::needless_pass_by_value, reason = "an argument of map_err")]
fn setup(error: rustls::Error) -> HttpError {
    HttpError::Setup(error.to_string())
}
