//! The HTTP client that `azure_identity` speaks through: ours, so that proxy,
//! CA file, time-outs and bounds hold for its requests too. It also notes
//! what came back, because the errors of `azure_identity` carry whole bodies
//! and cannot be told apart by what is to be done about them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::{Error, ErrorKind};
use azure_core::http::headers::{HeaderName, HeaderValue, Headers};
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Method, Request};
use bytes::Bytes;
use reqwest::Client;
use serde::Deserialize;
use serde_json::Value;

use super::credential::Trouble;
use super::scrub::Scrubber;
use crate::sources::azure::http::{Answer, HttpError, exchange};

/// Longest body of a token service.
pub(super) const MAX_BODY: usize = 256 << 10;

/// The longest life of a token that is believed, in seconds.
const MAX_LIFETIME: u64 = 7 * 86_400;

/// One request's client.
#[derive(Debug)]
pub(super) struct Transport {
    client: Client,
    seen: Mutex<Option<Result<Seen, HttpError>>>,
}

/// What is kept of a response.
#[derive(Debug)]
struct Seen {
    status: u16,
    retry_after: Option<Duration>,
    said: Option<Said>,
}

/// How token services put an error: RFC 6749 section 5.2, or App Service's own form.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Said {
    /// The code (`invalid_client`).
    pub(super) error: String,
    error_description: String,
    message: String,
}

impl Said {
    /// Reads a body; `None` if it is no error of a token service.
    pub(super) fn of(body: &[u8]) -> Option<Self> {
        let said: Self = serde_json::from_slice(body).ok()?;
        (!said.error.is_empty() || !said.message.is_empty()).then_some(said)
    }

    /// The sentence for an operator.
    pub(super) fn text(&self) -> &str {
        [&self.error_description, &self.message, &self.error]
            .into_iter()
            .find(|text| !text.is_empty())
            .map_or("", |text| text)
    }
}

impl Transport {
    pub(super) fn new(client: Client) -> Self {
        Self { client, seen: Mutex::default() }
    }

    /// Why the request through this client failed, where `otherwise` is what
    /// its caller says about it.
    pub(super) fn trouble(&self, scrubber: &Scrubber, otherwise: &Error) -> Trouble {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).take();
        match seen {
            Some(Ok(seen)) if seen.status == 200 => {
                Trouble::unreachable("the answer of the token service holds no token")
            }
            Some(Ok(seen)) => refused_or_not(seen.status, seen.retry_after, seen.said.as_ref(), scrubber),
            Some(Err(error)) => Trouble::unreachable(scrubber.clean(&error.to_string())),
            // Nothing was sent: something of the configuration cannot be used.
            None => Trouble::Refused(scrubber.clean(&otherwise.to_string())),
        }
    }
}

/// What a token service's error means: 4xx with a reason is a refusal, all
/// else may be different in a moment.
pub(super) fn refused_or_not(
    status: u16,
    retry_after: Option<Duration>,
    said: Option<&Said>,
    scrubber: &Scrubber,
) -> Trouble {
    let text = said.map(|said| scrubber.clean(said.text()));
    let passes = matches!(status, 408 | 410 | 429 | 500..)
        || said.is_some_and(|said| said.error == "temporarily_unavailable");
    match text {
        Some(text) if !passes && (400..500).contains(&status) => {
            Trouble::Refused(format!("status {status}: {text}"))
        }
        Some(text) => Trouble::Unreachable { message: format!("status {status}: {text}"), retry_after },
        None => Trouble::Unreachable { message: format!("status {status}"), retry_after },
    }
}

#[async_trait]
impl HttpClient for Transport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let answer = self.send(request).await;
        let seen = match &answer {
            Ok(answer) => Ok(Seen {
                status: answer.status,
                retry_after: answer.retry_after(),
                said: Said::of(&answer.body),
            }),
            Err(error) => Err(error.clone()),
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        // Not of a kind that azure_core sends again by itself: rounds, pauses
        // and their limits are ours.
        let answer = answer.map_err(|error| Error::with_message(ErrorKind::Other, error.to_string()))?;
        let headers: Headers = answer
            .headers
            .iter()
            .filter_map(|(name, value)| {
                let value = HeaderValue::from(value.to_str().ok()?.to_owned());
                Some((HeaderName::from(name.as_str().to_owned()), value))
            })
            .collect::<std::collections::HashMap<_, _>>()
            .into();
        Ok(AsyncRawResponse::from_bytes(answer.status.into(), headers, sane(answer.body)))
    }
}

/// A token's body with the times that `azure_identity` reckons with: it takes
/// no number as text, and one that is far off makes it panic.
fn sane(body: Bytes) -> Bytes {
    let Ok(Value::Object(mut answer)) = serde_json::from_slice::<Value>(&body) else { return body };
    if !answer.contains_key("access_token") {
        return body;
    }
    for key in ["expires_in", "ext_expires_in"] {
        let seconds = match answer.get(key) {
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        answer.insert(key.to_owned(), seconds.unwrap_or(0).min(MAX_LIFETIME).into());
    }
    Value::Object(answer).to_string().into()
}

impl Transport {
    async fn send(&self, request: &Request) -> Result<Answer, HttpError> {
        let method = match request.method() {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            other => return Err(HttpError::Failed(format!("no token service takes {other}"))),
        };
        let mut sent = self.client.request(method, request.url().clone());
        for (name, value) in request.headers().iter() {
            // Its user agent tells of the machine; ours is set by the client.
            if name.as_str() != "user-agent" {
                sent = sent.header(name.as_str(), value.as_str());
            }
        }
        match request.body() {
            Body::Bytes(bytes) => sent = sent.body(bytes.clone()),
            Body::SeekableStream(_) => {
                return Err(HttpError::Failed("token requests are no streams".to_owned()));
            }
        }
        exchange(sent, MAX_BODY).await
    }
}
