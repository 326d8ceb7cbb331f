//! One request to its end: budget, token, tries, and what an answer means.
//!
//! Sent again are 408, 429, 5xx, failures of the transport and bodies that
//! were cut; 401 once, with a fresh token. Every other refusal is final.

use std::time::{Duration, SystemTime};

use rand::RngExt as _;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::problem::{action, message, scrub};
use super::{Arm, ArmError, Family, headers, page};
use crate::metrics::azure::AzureWait;
use crate::sources::azure::http::HttpError;
use crate::sources::azure::identity::Token;

/// Most bytes of an error's body that are looked at.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// A request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    pub(super) family: &'a Family,
    pub(super) url: &'a Url,
    /// The JSON of a POST; `None` for a GET.
    pub(super) body: Option<&'a Value>,
}

/// A good answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: Value,
    /// Length of the body, decompressed.
    pub(super) len: usize,
}

/// A try that failed.
#[derive(Debug)]
struct Failed {
    error: ArmError,
    /// Whether another try may do better.
    again: bool,
    /// When Azure wants the next one.
    after: Option<Duration>,
    /// Whether Resource Manager itself limits, not a resource provider.
    gateway: bool,
}

impl From<ArmError> for Failed {
    fn from(error: ArmError) -> Self {
        Self { error, again: false, after: None, gateway: false }
    }
}

impl Failed {
    fn again(error: ArmError) -> Self {
        Self { again: true, ..Self::from(error) }
    }
}

impl Arm {
    /// Sends until there is an answer or no point in going on.
    pub(super) async fn send(&self, ask: Ask<'_>) -> Result<Answer, ArmError> {
        let shared = &*self.shared;
        let (limits, metrics, family) = (&shared.limits, &shared.metrics, ask.family.metric());
        let subscription = subscription(ask.url.path());
        let (mut retries, mut refreshed, mut first_try) = (0, false, None);
        loop {
            let may_go = shared.budget.take(ask.family, &subscription, limits, metrics).await;
            may_go.map_err(|left| ArmError::Throttled { retry_after: Some(left) })?;
            let permit = shared.in_flight.acquire().await;
            let started = Instant::now();
            let first_try = *first_try.get_or_insert(started);
            let token = shared.tokens.token().await?;
            let sent = Instant::now();
            let tried = timeout(limits.attempt, self.attempt(ask, &subscription, &token)).await;
            drop(permit);
            let tried = tried.unwrap_or_else(|_| Err(Failed::again(HttpError::TimedOut.into())));
            let result = tried.as_ref().map_or_else(|failed| failed.error.label(), |_| "ok");
            metrics.request(family, result, sent.elapsed());
            let failed = match tried {
                Ok(answer) => return Ok(answer),
                Err(Failed { error: ArmError::Unauthorized { .. }, .. }) if !refreshed => {
                    refreshed = true;
                    self.refresh(&token).await?;
                    continue;
                }
                Err(failed) => failed,
            };
            let is_throttled = matches!(failed.error, ArmError::Throttled { .. });
            let bound = limits.backoff_bound(retries);
            let wait = failed.after.unwrap_or_else(|| bound.mul_f64(rand::rng().random_range(0.0..=1.0)));
            // All of the family keeps to it, whoever was told.
            if is_throttled || failed.after.is_some() {
                shared.budget.pause(ask.family, &subscription, limits, wait, failed.gateway);
            }
            let is_late = first_try.elapsed().saturating_add(wait) > limits.patience;
            if !failed.again || retries >= limits.retries || is_late {
                return Err(failed.error);
            }
            retries += 1;
            // What the budget does not hold back waits here.
            if !is_throttled && failed.after.is_none() {
                metrics.waited(family, AzureWait::Backoff, wait);
                sleep(wait).await;
            }
        }
    }

    /// Has a fresh token made in the place of `refused`, once for all who hold it.
    async fn refresh(&self, refused: &Token) -> Result<(), ArmError> {
        let _one_at_a_time = self.shared.refresh.lock().await;
        let current = self.shared.tokens.token().await?;
        if *current.secret == *refused.secret {
            self.shared.tokens.invalidate();
        }
        Ok(())
    }

    async fn attempt(&self, ask: Ask<'_>, subscription: &str, token: &Token) -> Result<Answer, Failed> {
        let client = &self.shared.http.azure;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", *token.secret))
            .map_err(|_| ArmError::Body("the token has characters that no header may have".to_owned()))?;
        bearer.set_sensitive(true);
        let request = match ask.body {
            None => client.get(ask.url.clone()),
            Some(body) => {
                client.post(ask.url.clone()).header(CONTENT_TYPE, "application/json").body(body.to_string())
            }
        };
        let request = request.header(AUTHORIZATION, bearer).header(ACCEPT, "application/json");
        let mut response =
            request.send().await.map_err(|error| Failed { again: !error.is_builder(), ..failed(&error) })?;
        // Redirects are not followed; should a client follow one, its answer is not Azure's.
        if !page::is_same_origin(ask.url, response.url()) {
            return Err(ArmError::Body("the answer is from another host".to_owned()).into());
        }
        self.note_quotas(ask.family, subscription, response.headers());
        if response.status() != StatusCode::OK {
            return Err(refusal(ask, response).await);
        }
        let max = self.shared.limits.page_bytes;
        let bytes = read(&mut response, max).await?;
        if bytes.len() > max {
            return Err(ArmError::Body(format!("more than {max} bytes")).into());
        }
        match page::parse(&bytes) {
            Ok(body) => Ok(Answer { body, len: bytes.len() }),
            Err((error, is_cut)) => Err(Failed { again: is_cut, ..Failed::from(error) }),
        }
    }

    fn note_quotas(&self, family: &Family, subscription: &str, headers: &HeaderMap) {
        let scope = match family {
            Family::RecordSets(zone) => zone,
            _ => subscription,
        };
        for (quota, left) in headers::quotas(headers) {
            self.shared.metrics.quota(family.metric(), quota, scope, left);
        }
        if let Some(wait) = headers::graph_pause(headers).filter(|_| *family == Family::Graph) {
            self.shared.budget.pause(family, subscription, &self.shared.limits, wait, false);
        }
    }
}

/// The body, and of one that is too long a little more than `max`.
async fn read(response: &mut Response, max: usize) -> Result<Vec<u8>, Failed> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| cut(&error))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > max {
            break;
        }
    }
    Ok(bytes)
}

/// What a status other than 200 means.
async fn refusal(ask: Ask<'_>, mut response: Response) -> Failed {
    let status = response.status();
    let after = headers::retry_after(response.headers(), SystemTime::now());
    let gateway = headers::is_from_gateway(response.headers());
    // The status says enough where the body cannot be had.
    let body = read(&mut response, MAX_ERROR_BYTES).await.unwrap_or_default();
    let mut message = message(&body);
    if message.is_empty() {
        status.canonical_reason().unwrap_or("no reason given").clone_into(&mut message);
    }
    let error = match status.as_u16() {
        401 => ArmError::Unauthorized { message },
        403 => ArmError::Forbidden { action: action(&message, ask.url.path()), message },
        404 => ArmError::NotFound,
        409 => ArmError::Conflict { message },
        429 => ArmError::Throttled { retry_after: after },
        status => ArmError::Status { status, message },
    };
    let again = matches!(status.as_u16(), 408 | 429 | 500..=599);
    Failed { error, again, after: after.filter(|_| again), gateway }
}

/// A request that got no answer.
fn failed(error: &reqwest::Error) -> Failed {
    if error.is_timeout() {
        return Failed::again(HttpError::TimedOut.into());
    }
    Failed::again(HttpError::Failed(causes(error)).into())
}

/// A body that broke off.
fn cut(error: &reqwest::Error) -> Failed {
    if error.is_timeout() {
        return Failed::again(HttpError::TimedOut.into());
    }
    Failed::again(ArmError::Body(format!("cut: {}", causes(error))))
}

/// The innermost reason: the outer ones repeat the URL.
fn causes(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    scrub(&inner.to_string())
}

/// The subscription of a path, lower case; empty where there is none.
fn subscription(path: &str) -> String {
    let mut parts = path.split('/').skip(1);
    match (parts.next(), parts.next()) {
        (Some(word), Some(id)) if word.eq_ignore_ascii_case("subscriptions") => id.to_ascii_lowercase(),
        _ => String::new(),
    }
}
