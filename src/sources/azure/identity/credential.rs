//! One credential of each kind: what it needs, whether that is there, and one
//! request for a token with it.
//!
//! Files are read anew for each token: secrets are exchanged under a running
//! daemon.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{AccessToken, Secret, TokenCredential};
use azure_core::http::{ClientMethodOptions, ClientOptions, RetryOptions, Transport as CoreTransport};
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, ClientAssertion, ClientAssertionCredential,
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
};
use zeroize::Zeroizing;

use super::environment::Surroundings;
use super::scrub::Scrubber;
use super::transport::Transport;
use super::{agent, assertion, certificate, managed};
use crate::config::{AzureIdentity, CredentialKind};
use crate::sources::azure::cloud::Endpoints;
use crate::sources::azure::http::Http;
use crate::sources::unix_now;

/// Largest file of a secret, a token or a certificate.
const MAX_FILE: u64 = 1 << 20;

/// The az command line starts slowly, and asks Entra.
const CLI_TIMEOUT: Duration = Duration::from_secs(60);

/// All that credentials are made from.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) config: AzureIdentity,
    pub(super) endpoints: Endpoints,
    pub(super) http: Http,
    pub(super) surroundings: Surroundings,
    pub(super) metadata: managed::Memory,
}

/// A token as it comes.
pub(super) struct Obtained {
    pub(super) secret: Zeroizing<String>,
    /// When it expires, Unix seconds.
    pub(super) expires_at: u64,
    /// How long it lives from now; zero if that cannot be told.
    pub(super) lifetime: Duration,
}

/// Why a credential yields no token.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It lacks what it needs.
    Unavailable(String),
    /// It has what it needs and is not accepted.
    Refused(String),
    /// Nobody answered, or with something that passes.
    Unreachable {
        message: String,
        /// When to ask again, if that was said.
        retry_after: Option<Duration>,
    },
}

impl Trouble {
    pub(super) fn unreachable(message: impl Into<String>) -> Self {
        Self::Unreachable { message: message.into(), retry_after: None }
    }
}

impl Setup {
    pub(super) fn new(
        config: AzureIdentity,
        endpoints: Endpoints,
        http: Http,
        surroundings: Surroundings,
    ) -> Self {
        let mut endpoints = endpoints;
        // Kubernetes' webhook sets it to the authority of the cluster's cloud. A
        // custom cloud's own key goes first.
        if let Some(host) = surroundings.variables.get("AZURE_AUTHORITY_HOST")
            && host.starts_with("https://")
            && endpoints.is_named()
        {
            host.trim_end_matches('/').clone_into(&mut endpoints.authority);
        }
        Self { config, endpoints, http, surroundings, metadata: managed::Memory::default() }
    }

    pub(super) fn now(&self) -> Instant {
        self.surroundings.clock.now()
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.surroundings.variables.get(name)
    }

    fn tenant(&self) -> Result<String, Trouble> {
        let tenant = self.config.tenant.as_deref().or_else(|| self.variable("AZURE_TENANT_ID"));
        tenant.map(str::to_owned).ok_or_else(|| lacks("no tenant: set tenant or AZURE_TENANT_ID"))
    }

    fn client_id(&self) -> Result<String, Trouble> {
        let id = self.config.client_id.as_deref().or_else(|| self.variable("AZURE_CLIENT_ID"));
        id.map(str::to_owned).ok_or_else(|| lacks("no client id: set client_id or AZURE_CLIENT_ID"))
    }

    /// The URL that tokens of `tenant` come from, as `azure_identity` makes it.
    fn token_endpoint(&self, tenant: &str) -> String {
        let authority = url::Url::parse(&self.endpoints.authority);
        let joined = authority.and_then(|url| url.join(&format!("/{tenant}/oauth2/v2.0/token")));
        joined.map(String::from).unwrap_or_default()
    }

    fn client_options(&self, transport: &Arc<Transport>) -> ClientOptions {
        let mut cloud = CustomConfiguration::default();
        cloud.authority_host.clone_from(&self.endpoints.authority);
        ClientOptions {
            transport: Some(CoreTransport::new(Arc::clone(transport) as Arc<_>)),
            retry: RetryOptions::none(),
            cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
            ..ClientOptions::default()
        }
    }
}

/// A token by the credential of `kind`.
pub(super) async fn obtain(setup: &Setup, kind: CredentialKind) -> Result<Obtained, Trouble> {
    match kind {
        CredentialKind::WorkloadIdentity => workload(setup).await,
        CredentialKind::ClientSecret => secret(setup).await,
        CredentialKind::ClientCertificate => by_certificate(setup).await,
        CredentialKind::ManagedIdentity => managed::obtain(setup).await,
        CredentialKind::Arc => agent::obtain(setup).await,
        CredentialKind::AzCli => command_line(setup).await,
    }
}

/// The workload's token is an assertion like any other; it is read each time,
/// since Kubernetes exchanges it, where `azure_identity`'s credential of that
/// name keeps it for ten minutes.
async fn workload(setup: &Setup) -> Result<Obtained, Trouble> {
    let variable = setup.variable("AZURE_FEDERATED_TOKEN_FILE").map(PathBuf::from);
    let Some(path) = setup.config.federated_token_file.clone().or(variable) else {
        return Err(lacks("no token file: set federated_token_file or AZURE_FEDERATED_TOKEN_FILE"));
    };
    let (tenant, client_id) = (setup.tenant()?, setup.client_id()?);
    let assertion = text_file(&path)?;
    by_assertion(setup, tenant, client_id, assertion).await
}

async fn secret(setup: &Setup) -> Result<Obtained, Trouble> {
    let secret = match (&setup.config.client_secret_file, setup.variable("AZURE_CLIENT_SECRET")) {
        (Some(path), _) => text_file(path)?,
        (None, Some(secret)) => Zeroizing::new(secret.to_owned()),
        (None, None) => return Err(lacks("no secret: set client_secret_file or AZURE_CLIENT_SECRET")),
    };
    let (tenant, client_id) = (setup.tenant()?, setup.client_id()?);
    let scrubber = Scrubber::new([secret.as_str()]);
    let transport = Arc::new(Transport::new(setup.http.azure.clone()));
    let options = ClientSecretCredentialOptions { client_options: setup.client_options(&transport) };
    let credential =
        ClientSecretCredential::new(&tenant, client_id, Secret::new(secret.to_string()), Some(options))
            .map_err(|error| transport.trouble(&scrubber, &error))?;
    ask(setup, credential.as_ref(), &transport, &scrubber).await
}

async fn by_certificate(setup: &Setup) -> Result<Obtained, Trouble> {
    let variable = setup.variable("AZURE_CLIENT_CERTIFICATE_PATH").map(PathBuf::from);
    let Some(path) = setup.config.certificate_file.clone().or(variable) else {
        return Err(lacks("no certificate: set certificate_file or AZURE_CLIENT_CERTIFICATE_PATH"));
    };
    let (tenant, client_id) = (setup.tenant()?, setup.client_id()?);
    let password = match (
        &setup.config.certificate_password_file,
        setup.variable("AZURE_CLIENT_CERTIFICATE_PASSWORD"),
    ) {
        (Some(path), _) => text_file(path)?,
        (None, Some(password)) => Zeroizing::new(password.to_owned()),
        (None, None) => Zeroizing::default(),
    };
    let content = file(&path)?;
    let certificate = certificate::Certificate::parse(&content, &password)
        .map_err(|problem| Trouble::Refused(format!("{}: {problem}", path.display())))?;
    let audience = setup.token_endpoint(&tenant);
    let assertion = assertion::sign(&certificate, &client_id, &audience, unix_now())
        .map_err(|problem| Trouble::Refused(format!("{}: {problem}", path.display())))?;
    by_assertion(setup, tenant, client_id, assertion).await
}

async fn by_assertion(
    setup: &Setup,
    tenant: String,
    client_id: String,
    assertion: Zeroizing<String>,
) -> Result<Obtained, Trouble> {
    let scrubber = Scrubber::new([assertion.as_str()]);
    let transport = Arc::new(Transport::new(setup.http.azure.clone()));
    let options = ClientAssertionCredentialOptions { client_options: setup.client_options(&transport) };
    let credential = ClientAssertionCredential::new(tenant, client_id, Assertion(assertion), Some(options))
        .map_err(|error| transport.trouble(&scrubber, &error))?;
    ask(setup, credential.as_ref(), &transport, &scrubber).await
}

/// An assertion that is there already.
struct Assertion(Zeroizing<String>);

impl std::fmt::Debug for Assertion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Assertion")
    }
}

#[async_trait]
impl ClientAssertion for Assertion {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        Ok(self.0.to_string())
    }
}

async fn ask(
    setup: &Setup,
    credential: &dyn TokenCredential,
    transport: &Transport,
    scrubber: &Scrubber,
) -> Result<Obtained, Trouble> {
    let scope = setup.endpoints.scope();
    let token = credential.get_token(&[&scope], None).await;
    let token = token.map_err(|error| transport.trouble(scrubber, &error))?;
    obtained(&token)
}

/// For interactive commands: as whoever has logged in by `az login`.
async fn command_line(setup: &Setup) -> Result<Obtained, Trouble> {
    if !setup.surroundings.interactive {
        return Err(lacks("for interactive commands only"));
    }
    let scrubber = Scrubber::default();
    let tenant_id = setup.config.tenant.clone().or_else(|| setup.tenant().ok());
    let options = AzureCliCredentialOptions { tenant_id, ..AzureCliCredentialOptions::default() };
    let failed = |error: azure_core::Error| {
        let text = scrubber.clean(&error.to_string());
        let missing = ["not found on PATH", "az login", "was not found on PATH"];
        if missing.iter().any(|sign| text.contains(sign)) {
            Trouble::Unavailable(text)
        } else {
            Trouble::Refused(text)
        }
    };
    let credential = AzureCliCredential::new(Some(options)).map_err(failed)?;
    let scope = setup.endpoints.scope();
    let scopes = [scope.as_str()];
    let token = tokio::time::timeout(CLI_TIMEOUT, credential.get_token(&scopes, None)).await;
    obtained(&token.map_err(|_| Trouble::unreachable("az did not end in time"))?.map_err(failed)?)
}

fn obtained(token: &AccessToken) -> Result<Obtained, Trouble> {
    let secret = Zeroizing::new(token.token.secret().to_owned());
    if secret.is_empty() {
        return Err(Trouble::unreachable("the answer of the token service holds no token"));
    }
    let expires_at = u64::try_from(token.expires_on.unix_timestamp()).unwrap_or(0);
    Ok(Obtained { secret, expires_at, lifetime: Duration::from_secs(expires_at.saturating_sub(unix_now())) })
}

pub(super) fn lacks(reason: &str) -> Trouble {
    Trouble::Unavailable(reason.to_owned())
}

/// A file's text without the white space around it.
fn text_file(path: &Path) -> Result<Zeroizing<String>, Trouble> {
    let bytes = file(path)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Trouble::Refused(format!("{} is no text", path.display())))?
        .trim();
    if text.is_empty() {
        return Err(Trouble::Refused(format!("{} is empty", path.display())));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// A file of bounded size. One that is not there is lacking, one that cannot
/// be read is in need of an operator.
fn file(path: &Path) -> Result<Zeroizing<Vec<u8>>, Trouble> {
    let failed = |error: std::io::Error| {
        let text = format!("cannot read {}: {error}", path.display());
        if error.kind() == std::io::ErrorKind::NotFound {
            Trouble::Unavailable(text)
        } else {
            Trouble::Refused(text)
        }
    };
    let opened = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::new());
    opened.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Trouble::Refused(format!("{} has more than {MAX_FILE} bytes", path.display())));
    }
    Ok(bytes)
}
