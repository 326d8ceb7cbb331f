//! The DNS message in an HTTP request (RFC 8484 section 4.1), and the status
//! for requests that hold none.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::body::{Body, Buf as _};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use hyper::http::request::Parts;
use hyper::{Method, Uri};
use tokio::time::timeout;

use super::service::LONGEST;
use crate::metrics::labels::HttpStatus;
use crate::wire::HEADER_LEN;

/// The media type of DNS messages.
pub(super) const MESSAGE: &str = "application/dns-message";
/// Longest `dns` parameter, in characters: a query takes some hundred. A longer
/// message is for POST.
const MAX_PARAMETER: usize = 8192;

/// What a request asks, found out without its body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// The message, of a GET.
    Message(Vec<u8>),
    /// What the body holds, of a POST.
    Body,
}

/// Reads everything but the body of a request to `path`.
pub(super) fn head(parts: &Parts, path: &str) -> Result<Asks, HttpStatus> {
    if parts.uri.path() != path {
        return Err(HttpStatus::NotFound);
    }
    match parts.method {
        Method::GET => parameter(&parts.uri).map(Asks::Message),
        Method::POST => {
            is_message(&parts.headers).then_some(()).ok_or(HttpStatus::UnsupportedMediaType)?;
            match length(&parts.headers) {
                Some(length) if length > LONGEST as u64 => Err(HttpStatus::PayloadTooLarge),
                _ => Ok(Asks::Body),
            }
        }
        _ => Err(HttpStatus::MethodNotAllowed),
    }
}

/// The message in the parameter `dns`: base64url without padding.
fn parameter(uri: &Uri) -> Result<Vec<u8>, HttpStatus> {
    let parameters = uri.query().unwrap_or_default().split('&');
    let mut values = parameters.filter_map(|parameter| parameter.strip_prefix("dns="));
    // Of two nobody knows which is meant.
    let (Some(value), None) = (values.next(), values.next()) else { return Err(HttpStatus::BadRequest) };
    if value.len() > MAX_PARAMETER {
        return Err(HttpStatus::UriTooLong);
    }
    let message = URL_SAFE_NO_PAD.decode(value).map_err(|_| HttpStatus::BadRequest)?;
    whole(message)
}

/// Whether the body is said to be a DNS message; parameters do not matter.
fn is_message(headers: &HeaderMap) -> bool {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(MESSAGE)
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Reads the message in `body`, no more than one can be long and for no longer
/// than `limit`.
pub(super) async fn body<B: Body + Unpin>(body: B, limit: Duration) -> Result<Vec<u8>, HttpStatus> {
    timeout(limit, collect(body)).await.unwrap_or(Err(HttpStatus::RequestTimeout)).and_then(whole)
}

async fn collect<B: Body + Unpin>(mut body: B) -> Result<Vec<u8>, HttpStatus> {
    let mut message = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(frame) = frame else { return Err(HttpStatus::BadRequest) };
        let Ok(mut data) = frame.into_data() else { continue };
        if message.len() + data.remaining() > LONGEST {
            return Err(HttpStatus::PayloadTooLarge);
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            let len = chunk.len();
            message.extend_from_slice(chunk);
            data.advance(len);
        }
    }
    Ok(message)
}

/// What is shorter than a header is no DNS message.
fn whole(message: Vec<u8>) -> Result<Vec<u8>, HttpStatus> {
    if message.len() < HEADER_LEN { Err(HttpStatus::BadRequest) } else { Ok(message) }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use hyper::Request;
    use hyper::body::Bytes;

    use super::*;

    fn asks(
        method: &str,
        uri: &str,
        content_type: Option<&str>,
        length: Option<&str>,
    ) -> Result<Asks, HttpStatus> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in [("content-type", content_type), ("content-length", length)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        head(&request.body(()).unwrap().into_parts().0, "/dns-query")
    }

    #[test]
    fn rfc8484_get_takes_base64url_without_padding() {
        // The example of section 4.1.1.
        let query = "AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB";
        let Ok(Asks::Message(message)) = asks("GET", &format!("/dns-query?dns={query}"), None, None) else {
            panic!("it is one");
        };
        assert_eq!((message.len(), &message[12..17]), (33, &b"\x03www\x07"[..]));
        assert!(asks("GET", &format!("/dns-query?ct&dns={query}&x=dns"), None, None).is_ok());
        for (uri, status) in [
            ("/dns-query".to_owned(), HttpStatus::BadRequest),
            ("/dns-query?dns=".to_owned(), HttpStatus::BadRequest),
            ("/dns-query?dns=AAAB".to_owned(), HttpStatus::BadRequest),
            (format!("/dns-query?dns={query}="), HttpStatus::BadRequest),
            (format!("/dns-query?dns=+{query}"), HttpStatus::BadRequest),
            (format!("/dns-query?dns={query}&dns={query}"), HttpStatus::BadRequest),
            (format!("/dns-query?DNS={query}"), HttpStatus::BadRequest),
            (format!("/dns-query?dns={}", "A".repeat(MAX_PARAMETER + 1)), HttpStatus::UriTooLong),
            (format!("/dns-query/?dns={query}"), HttpStatus::NotFound),
            (format!("/?dns={query}"), HttpStatus::NotFound),
        ] {
            assert_eq!(asks("GET", &uri, None, None), Err(status), "{uri}");
        }
    }

    #[test]
    fn other_methods_types_and_lengths() {
        let message = Some("application/dns-message");
        assert_eq!(asks("POST", "/dns-query", message, Some("65535")), Ok(Asks::Body));
        assert_eq!(
            asks("POST", "/dns-query?dns=x", Some("Application/DNS-Message; a=b"), None),
            Ok(Asks::Body)
        );
        for (method, content_type, length, status) in [
            ("POST", None, None, HttpStatus::UnsupportedMediaType),
            ("POST", Some("text/plain"), None, HttpStatus::UnsupportedMediaType),
            ("POST", Some("application/dns-json"), None, HttpStatus::UnsupportedMediaType),
            ("POST", message, Some("65536"), HttpStatus::PayloadTooLarge),
            ("HEAD", None, None, HttpStatus::MethodNotAllowed),
            ("PUT", message, None, HttpStatus::MethodNotAllowed),
            ("OPTIONS", None, None, HttpStatus::MethodNotAllowed),
        ] {
            assert_eq!(asks(method, "/dns-query", content_type, length), Err(status), "{method}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_have_an_end_in_length_and_time() {
        let limit = Duration::from_secs(1);
        let read = |len: usize| body(Full::new(Bytes::from(vec![0; len])), limit);
        assert_eq!(read(LONGEST).await.map(|message| message.len()), Ok(LONGEST));
        assert_eq!(read(LONGEST + 1).await, Err(HttpStatus::PayloadTooLarge));
        assert_eq!(read(11).await, Err(HttpStatus::BadRequest));
        let (_sender, never) = Never::new();
        assert_eq!(body(never, limit).await, Err(HttpStatus::RequestTimeout));
    }

    /// A body that does not come.
    struct Never(tokio::sync::oneshot::Receiver<()>);

    impl Never {
        fn new() -> (tokio::sync::oneshot::Sender<()>, Self) {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            (sender, Self(receiver))
        }
    }

    impl Body for Never {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
            std::pin::Pin::new(&mut self.0).poll(cx).map(|_| None)
        }
    }
}
