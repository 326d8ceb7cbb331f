//! The check of one address: TCP, TLS with the registry's real name, and
//! `GET /v2/`, which a registry answers with 401 and a header of its API
//! whoever asks.
//!
//! A login or regional endpoint must prove that it is a registry. A data
//! endpoint is a blob store behind the name's certificate: without a signed
//! URL it answers 403, 400 or 404, so that any HTTP response shows it reachable.
//!
//! Nothing here asks for consent: the callers check
//! [`RouteChecks::connect_prefixes`](crate::config::RouteChecks) first.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, USER_AGENT, WWW_AUTHENTICATE};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::problem::RouteProblem;
use super::tls::Trust;

/// The header by which a registry's API is known (OCI distribution
/// specification, and Docker's before it), and what it says.
const API_HEADER: &str = "docker-distribution-api-version";
const API_VERSION: &str = "registry/2.0";
/// Bytes of a response's head that are read.
const MAX_HEAD: usize = 64 * 1024;

/// What to check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The public name: SNI, certificate and Host.
    pub name: String,
    /// Whether the API of a registry answers there: login and regional
    /// endpoints, not data endpoints.
    pub is_api: bool,
    /// The address.
    pub address: IpAddr,
}

/// What a check found, and how long each step took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Until TCP was connected.
    pub connect: Option<Duration>,
    /// From there until TLS was up.
    pub tls: Option<Duration>,
    /// From there until the head of the response was there.
    pub http: Option<Duration>,
    /// The status of the response.
    pub status: Option<u16>,
    /// Whether a 401 told where to get a token.
    pub tells_realm: bool,
    /// What stands in the way; `None` if the endpoint serves.
    pub problem: Option<RouteProblem>,
}

/// Checks `target` on `port` within `timeout` in all.
pub async fn check(target: &Target, port: u16, trust: &Trust, timeout: Duration) -> Checked {
    let mut checked =
        Checked { connect: None, tls: None, http: None, status: None, tells_realm: false, problem: None };
    checked.problem = steps(target, port, trust, timeout, &mut checked).await.err();
    checked
}

async fn steps(
    target: &Target,
    port: u16,
    trust: &Trust,
    timeout: Duration,
    checked: &mut Checked,
) -> Result<(), RouteProblem> {
    let deadline = tokio::time::Instant::now() + timeout;
    let start = Instant::now();
    let connecting = TcpStream::connect(SocketAddr::new(target.address, port));
    let stream = timeout_at(deadline, connecting)
        .await
        .map_err(|_| RouteProblem::ConnectTimeout(timeout))?
        .map_err(|error| connect_problem(&error, timeout))?;
    checked.connect = Some(start.elapsed());

    let start = Instant::now();
    let handshake = timeout_at(deadline, handshake(target, stream, trust));
    let stream = handshake.await.map_err(|_| RouteProblem::TlsTimeout(timeout))??;
    checked.tls = Some(start.elapsed());

    let start = Instant::now();
    let response = timeout_at(deadline, request(target, stream));
    let head = response.await.map_err(|_| RouteProblem::HttpTimeout(timeout))??;
    checked.http = Some(start.elapsed());
    checked.status = Some(head.status.as_u16());
    checked.tells_realm = head.tells_realm;
    if target.is_api { judge(&head) } else { Ok(()) }
}

fn connect_problem(error: &io::Error, timeout: Duration) -> RouteProblem {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => RouteProblem::Refused,
        io::ErrorKind::TimedOut => RouteProblem::ConnectTimeout(timeout),
        kind => RouteProblem::Unreachable(kind),
    }
}

async fn handshake(
    target: &Target,
    stream: TcpStream,
    trust: &Trust,
) -> Result<TlsStream<TcpStream>, RouteProblem> {
    let (config, witness) = trust.client()?;
    let name =
        ServerName::try_from(target.name.clone()).map_err(|error| RouteProblem::Tls(error.to_string()))?;
    let connected = TlsConnector::from(Arc::clone(&config)).connect(name, stream).await;
    connected.map_err(|error| match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(inner) => witness.explain(inner),
        None => RouteProblem::TlsClosed,
    })
}

/// What counts of a response's head.
struct Head {
    status: StatusCode,
    is_registry: bool,
    tells_realm: bool,
}

async fn request(target: &Target, stream: TlsStream<TcpStream>) -> Result<Head, RouteProblem> {
    let failed = |error: hyper::Error| RouteProblem::Http(error.to_string());
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let request = Request::get("/v2/")
        .header(HOST, &target.name)
        .header(USER_AGENT, concat!("hubdns/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| RouteProblem::Http(error.to_string()))?;
    // A task of its own, ended with the set: a peer that closes right after its
    // response is no error. The body stays unread.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await.map_err(failed)?;
    let header =
        |name: &str| response.headers().get(name).map(|value| value.as_bytes().trim_ascii().to_vec());
    Ok(Head {
        status: response.status(),
        is_registry: header(API_HEADER)
            .is_some_and(|value| value.eq_ignore_ascii_case(API_VERSION.as_bytes())),
        tells_realm: response.headers().contains_key(WWW_AUTHENTICATE),
    })
}

fn judge(head: &Head) -> Result<(), RouteProblem> {
    let status = head.status.as_u16();
    match (head.is_registry, status) {
        // 200 is a registry that lets everybody pull.
        (true, 401 | 200) => Ok(()),
        (true, 403) => Err(RouteProblem::Denied),
        (true, _) => Err(RouteProblem::RegistryError { status }),
        (false, _) => Err(RouteProblem::NotRegistry { status }),
    }
}
