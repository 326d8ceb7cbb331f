//! Managed identity: the metadata service of a virtual machine (IMDS), or
//! what stands for it in App Service and Container Apps.
//!
//! Our own code and not `azure_identity`'s: that has one fixed endpoint, takes
//! resource ids on virtual machines alone, and goes on asking a machine that
//! has no such service for more than a minute.
//! (<https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>,
//! <https://learn.microsoft.com/azure/app-service/overview-managed-identity>)

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::RequestBuilder;
use serde_json::Value;
use zeroize::Zeroizing;

use super::credential::{Obtained, Setup, Trouble, lacks};
use super::scrub::Scrubber;
use super::transport::{MAX_BODY, Said, refused_or_not};
use crate::config::ManagedIdentity;
use crate::sources::azure::http::{HttpError, whole};
use crate::sources::unix_now;

/// Where every virtual machine in Azure finds the service, unless
/// `AZURE_POD_IDENTITY_AUTHORITY_HOST` says otherwise, as Azure's SDKs have it.
const AUTHORITY: &str = "http://169.254.169.254";

const PATH: &str = "/metadata/identity/oauth2/token";
const API_VERSION: &str = "2019-08-01";

/// A machine that has no such service is not asked again for this long.
const ABSENCE: Duration = Duration::from_secs(60);

/// Whether the service was missed lately.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Option<Instant>>);

impl Memory {
    fn is_absent(&self, now: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| now < until)
    }

    fn note(&self, until: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// Why a local service gave no answer.
pub(super) enum Silence {
    /// Nobody takes the connection.
    Absent(String),
    /// It was there and failed.
    Failed(HttpError),
}

/// A local service's answer: status, body, and what else is looked at.
pub(super) async fn local(request: RequestBuilder) -> Result<crate::sources::azure::http::Answer, Silence> {
    match request.send().await {
        Ok(response) => whole(response, MAX_BODY).await.map_err(Silence::Failed),
        Err(error) if error.is_connect() => Err(Silence::Absent(HttpError::from(error).to_string())),
        Err(error) => Err(Silence::Failed(error.into())),
    }
}

/// A token of the machine's or application's identity.
pub(super) async fn obtain(setup: &Setup) -> Result<Obtained, Trouble> {
    let variables = &setup.surroundings.variables;
    let app_service = match (variables.get("IDENTITY_ENDPOINT"), variables.get("IDENTITY_HEADER")) {
        (Some(_), Some(_)) if variables.get("IDENTITY_SERVER_THUMBPRINT").is_some() => {
            return Err(lacks("the identity endpoint of Service Fabric is not supported"));
        }
        (Some(endpoint), Some(header)) => Some((endpoint.to_owned(), header)),
        _ => None,
    };
    match app_service {
        Some((endpoint, header)) => {
            let request = request(setup, &endpoint, "mi_res_id")?.header("X-IDENTITY-HEADER", header);
            let scrubber = Scrubber::new([header]);
            match local(request).await {
                Ok(answer) => token(setup, answer.status, answer.retry_after(), &answer.body, &scrubber),
                Err(Silence::Absent(error)) => Err(Trouble::unreachable(error)),
                Err(Silence::Failed(error)) => Err(Trouble::unreachable(scrubber.clean(&error.to_string()))),
            }
        }
        None => of_machine(setup).await,
    }
}

async fn of_machine(setup: &Setup) -> Result<Obtained, Trouble> {
    if setup.metadata.is_absent(setup.now()) {
        return Err(lacks("no metadata service on this machine a moment ago"));
    }
    let host = setup.surroundings.variables.get("AZURE_POD_IDENTITY_AUTHORITY_HOST").unwrap_or(AUTHORITY);
    let endpoint = format!("{}{PATH}", host.trim_end_matches('/'));
    let scrubber = Scrubber::default();
    match local(request(setup, &endpoint, "msi_res_id")?).await {
        Ok(answer) => {
            setup.metadata.note(None);
            // 404 is an update of the service, as 410 is; it passes.
            let status = if answer.status == 404 { 410 } else { answer.status };
            token(setup, status, answer.retry_after(), &answer.body, &scrubber)
        }
        Err(Silence::Absent(error)) => {
            setup.metadata.note(Some(setup.now() + ABSENCE));
            Err(Trouble::Unavailable(format!("no metadata service on this machine: {error}")))
        }
        Err(Silence::Failed(error)) => Err(Trouble::unreachable(scrubber.clean(&error.to_string()))),
    }
}

fn request(setup: &Setup, endpoint: &str, resource_id_key: &str) -> Result<RequestBuilder, Trouble> {
    let mut url = url::Url::parse(endpoint)
        .map_err(|_| Trouble::Refused("the URL of the identity endpoint cannot be read".to_owned()))?;
    let mut query = url.query_pairs_mut();
    query.append_pair("api-version", API_VERSION).append_pair("resource", &setup.endpoints.audience);
    match &setup.config.managed_identity {
        Some(ManagedIdentity::ClientId(id)) => query.append_pair("client_id", id),
        Some(ManagedIdentity::ResourceId(id)) => query.append_pair(resource_id_key, id),
        None => &mut query,
    };
    drop(query);
    Ok(setup.http.local.get(url).header("Metadata", "true"))
}

fn token(
    setup: &Setup,
    status: u16,
    retry_after: Option<Duration>,
    body: &Bytes,
    scrubber: &Scrubber,
) -> Result<Obtained, Trouble> {
    if status == 200 {
        return read(body);
    }
    let said = Said::of(body);
    let nobody_named = setup.config.managed_identity.is_none();
    match &said {
        // A machine without an identity of its own: nothing is wrong with it.
        Some(said) if status == 400 && nobody_named && said.text().contains("Identity not found") => {
            Err(lacks("the metadata service knows no identity of this machine"))
        }
        _ => Err(refused_or_not(status, retry_after, said.as_ref(), scrubber)),
    }
}

/// Reads a token; numbers come as text or as numbers.
pub(super) fn read(body: &[u8]) -> Result<Obtained, Trouble> {
    let unread = || Trouble::unreachable("the answer of the token service holds no token");
    let answer: Value = serde_json::from_slice(body).map_err(|_| unread())?;
    let secret = answer["access_token"].as_str().filter(|token| !token.is_empty()).ok_or_else(unread)?;
    let number = |key: &str| match &answer[key] {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let now = unix_now();
    let remaining = number("expires_on").map(|end: u64| end.saturating_sub(now));
    // The service keeps tokens: the time from issue to end may be longer than
    // what is left. A clock that is wrong here is no reason to think of none.
    let lifetime = match (remaining, number("expires_in")) {
        (Some(remaining), Some(whole)) if remaining > 0 => remaining.min(whole),
        (_, Some(whole)) => whole,
        (Some(remaining), None) => remaining,
        (None, None) => 0,
    };
    let expires_at = number("expires_on").unwrap_or_else(|| now.saturating_add(lifetime));
    Ok(Obtained {
        secret: Zeroizing::new(secret.to_owned()),
        expires_at,
        lifetime: Duration::from_secs(lifetime),
    })
}
