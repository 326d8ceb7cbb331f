//! The command line's side of the control socket and of the probe paths:
//! one HTTP request a connection, bounded in time and size.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::CliError;
use crate::admin::view::Problems;
use crate::outside;

/// An answer that takes longer is given up.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer in bytes: the listing of a million records fits.
const MAX_ANSWER: usize = 1 << 30;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Asks the daemon behind the control socket at `path`.
pub(super) fn ask<T: DeserializeOwned>(
    path: &Path,
    method: Method,
    path_and_query: &str,
) -> Result<T, CliError> {
    let failed = |source| CliError::failed(format!("cannot ask the daemon at {}", path.display()), source);
    let asked = block_on(TIMEOUT, async {
        let stream = UnixStream::connect(path).await?;
        exchange(stream, method, path_and_query).await
    });
    let (status, body) = asked.map_err(failed)?;
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| failed(error.into()));
    }
    match serde_json::from_slice::<Problems>(&body) {
        Ok(refusal) => {
            // One a line: none of them may look like several.
            let problems: Vec<String> =
                refusal.problems.iter().map(|problem| outside::plain(problem)).collect();
            Err(CliError::Refused(problems.join("\n")))
        }
        Err(_) => Err(CliError::Refused(format!("the daemon answered {status}"))),
    }
}

/// Asks a probe path of an admin listener; the status and the text.
pub(super) fn probe_tcp(
    address: SocketAddr,
    path: &str,
    timeout: Duration,
) -> Result<(StatusCode, String), BoxError> {
    let (status, body) = block_on(timeout, async {
        let stream = TcpStream::connect(address).await?;
        exchange(stream, Method::GET, path).await
    })?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// Asks a probe path of the control socket; the status and the text.
pub(super) fn probe_unix(
    socket: &Path,
    path: &str,
    timeout: Duration,
) -> Result<(StatusCode, String), BoxError> {
    let (status, body) = block_on(timeout, async {
        let stream = UnixStream::connect(socket).await?;
        exchange(stream, Method::GET, path).await
    })?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

fn block_on<T>(timeout: Duration, work: impl Future<Output = Result<T, BoxError>>) -> Result<T, BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(timeout, work).await? })
}

async fn exchange<S>(stream: S, method: Method, path: &str) -> Result<(StatusCode, Bytes), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let running = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header(HOST, "hubdns");
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await?.to_bytes();
    running.abort();
    Ok((status, body))
}

/// `text` as a value in a query string (RFC 3986 section 2.3: what is unreserved stays).
pub(super) fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte as char);
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_percent_encoded() {
        assert_eq!(encode("*.a b&c=\\.é"), "%2A.a%20b%26c%3D%5C.%C3%A9");
    }
}
