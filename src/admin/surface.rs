//! What holds for every path: which methods there are, how large a request may
//! be, and the headers of each response.
//!
//! Nothing here answers to other origins: no response carries a CORS header,
//! and a preflight gets 405 like every other method. A page could not use us
//! anyway, since it runs no script, loads nothing and stands in no frame.

use std::sync::{Arc, LazyLock};

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use super::routes::TEXT;
use super::{Control, hosts, page};

/// Longest target of a request to the admin listeners, in bytes. The paths there have at most 12.
const MAX_TARGET: usize = 512;

/// A response is for who asked, and for no page of another site.
const RESOURCE_POLICY: &str = "cross-origin-resource-policy";

/// Nothing but the one style sheet of the status page, which is told by its digest
/// (CSP level 3 section 2.3.1): markup that slipped through could load, run and send nothing.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let digest = BASE64_STANDARD.encode(Sha256::digest(page::STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("letters, digits and punctuation")
});

/// Reads only, by one of our names, and nothing that is large: for the admin listeners.
pub(super) async fn read_only(
    State(control): State<Arc<dyn Control>>,
    request: Request,
    next: Next,
) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = refuse(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let target = request.uri();
    if target.path_and_query().map_or(0, |target| target.as_str().len()) > MAX_TARGET {
        return refuse(StatusCode::URI_TOO_LONG, "target too long\n");
    }
    let is_called = |host: &str| control.is_called(host);
    match hosts::check(request.version(), target, request.headers(), is_called) {
        Err(StatusCode::MISDIRECTED_REQUEST) if !is_probe(target.path()) => {
            let text = "not answered by this name: ask by address, or list the name in admin.hosts\n";
            return refuse(StatusCode::MISDIRECTED_REQUEST, text);
        }
        Err(StatusCode::BAD_REQUEST) => {
            return refuse(StatusCode::BAD_REQUEST, "one Host header, please\n");
        }
        _ => {}
    }
    next.run(request).await
}

/// Whether it is a path of a load balancer's probe.
pub(super) fn is_probe(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz")
}

/// No path takes a body: one that is announced is refused before a byte of it is read.
pub(super) async fn no_body(request: Request, next: Next) -> Response {
    if !request.body().is_end_stream() {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "no request here has a body\n");
    }
    next.run(request).await
}

/// The headers of every response, errors included.
pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    // What routing itself refuses is empty, or one line of text.
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(TEXT));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static(RESOURCE_POLICY), HeaderValue::from_static("same-origin"));
    response
}

/// A refusal in one line.
pub(super) fn refuse(status: StatusCode, text: &'static str) -> Response {
    (status, [(CONTENT_TYPE, TEXT)], text).into_response()
}
