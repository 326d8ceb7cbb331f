//! One HTTP/2 connection to a DNS over HTTPS server (RFC 8484): a stream of
//! its own for each question.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::header::{ACCEPT, AGE, CONTENT_TYPE, HeaderMap};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::{self, UpstreamTransport};
use crate::forward::reply::{self, UpstreamReply};
use crate::metrics::streams::StreamFault;
use crate::wire::header;

use super::StreamError;
use super::dial::Driver;
use super::pool::Trouble;
use super::query::{Prepared, lower_ttls};

/// The content type of DNS messages.
const MESSAGE: &str = "application/dns-message";
/// Longest DNS message.
const MAX_MESSAGE: usize = 65_535;
/// Bytes of response headers that are taken.
const MAX_HEADERS: u32 = 16 << 10;

/// The askers' side.
#[derive(Debug)]
pub(super) struct Https {
    /// `None` once the connection is to end.
    sender: Mutex<Option<SendRequest<Full<Bytes>>>>,
    uri: Uri,
    answered: AtomicU64,
}

impl Https {
    /// Takes a connection over whose TLS has chosen `h2`.
    pub(super) async fn start(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        upstream: &config::Upstream,
    ) -> Result<(Self, Driver), StreamError> {
        let uri = uri(upstream)?;
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(MAX_HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| StreamError::new(StreamFault::Alpn, error))?;
        let driver = Box::pin(async move {
            // Why it ended shows in the questions that it took along.
            let _ = connection.await;
        });
        Ok((Self { sender: Mutex::new(Some(sender)), uri, answered: AtomicU64::new(0) }, driver))
    }

    /// Asks, and waits for the response.
    pub(super) async fn ask(&self, query: &Arc<Prepared>) -> Result<UpstreamReply, Trouble> {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut sender = sender.ok_or(Trouble::Unsent)?;
        // POST: nothing of ours is to lie in caches on the way, and no base64.
        let request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, MESSAGE)
            .header(ACCEPT, MESSAGE)
            .body(Full::new(Bytes::copy_from_slice(query.bytes())))
            .map_err(|error| Trouble::Failed(StreamError::new(StreamFault::Malformed, error)))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| if error.is_canceled() { Trouble::Unsent } else { Trouble::Lost })?;
        let age = age(response.headers());
        let message = message(response).await?;
        self.answered.fetch_add(1, Ordering::Relaxed);
        let malformed = |detail: &str| Trouble::Failed(StreamError::new(StreamFault::Malformed, detail));
        if header::id(&message) != Some(0) {
            return Err(malformed("another id"));
        }
        let mut reply = reply::id_of(&message)
            .and_then(|_| query.accept(&message))
            .map_err(|mismatch| malformed(mismatch.label()))?;
        if age > 0 {
            lower_ttls(&mut reply, age);
        }
        Ok(reply)
    }

    /// Whether questions may be asked.
    pub(super) fn is_open(&self) -> bool {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        sender.as_ref().is_some_and(|sender| !sender.is_closed())
    }

    /// Responses so far.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends the connection once its questions have ended.
    pub(super) fn close(&self) {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

fn uri(upstream: &config::Upstream) -> Result<Uri, StreamError> {
    let host = match (&upstream.name, upstream.address.ip()) {
        (Some(name), _) => name.clone(),
        (None, IpAddr::V4(v4)) => v4.to_string(),
        (None, IpAddr::V6(v6)) => format!("[{v6}]"),
    };
    let port = upstream.address.port();
    let authority =
        if port == UpstreamTransport::Https.default_port() { host } else { format!("{host}:{port}") };
    let path = upstream.path.as_str();
    let built = Uri::builder().scheme("https").authority(authority).path_and_query(path).build();
    built.map_err(|error| StreamError::new(StreamFault::Alpn, error))
}

/// Seconds that the response lay in a cache on the way (RFC 8484 section 5.1).
fn age(headers: &HeaderMap) -> u32 {
    let text = headers.get(AGE).and_then(|value| value.to_str().ok());
    text.and_then(|text| text.trim().parse::<u64>().ok())
        .map_or(0, |age| u32::try_from(age).unwrap_or(u32::MAX))
}

/// The message in a response that is one.
async fn message(response: Response<Incoming>) -> Result<Vec<u8>, Trouble> {
    let failed = |fault, detail: String| Trouble::Failed(StreamError::new(fault, detail));
    if response.status() != StatusCode::OK {
        return Err(failed(StreamFault::HttpStatus, response.status().as_u16().to_string()));
    }
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or("none");
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case(MESSAGE) {
        return Err(failed(StreamFault::ContentType, content_type.to_owned()));
    }
    let mut body = response.into_body();
    let too_large = || failed(StreamFault::TooLarge, String::new());
    if body.size_hint().lower() > MAX_MESSAGE as u64 {
        return Err(too_large());
    }
    let mut message = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Trouble::Lost)?.into_data() else { continue };
        if message.len() + data.len() > MAX_MESSAGE {
            return Err(too_large());
        }
        message.extend_from_slice(&data);
    }
    Ok(message)
}
