//! Stand-ins on loopback for Entra, Resource Manager, the metadata service,
//! Arc's agent (one HTTP server, with or without TLS) and for a proxy.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hubdns::config::{AzureCloud, AzureIdentity, AzureSource, CredentialKind, Discovery};
use hubdns::sources::azure::cloud::Endpoints;
use hubdns::sources::azure::http::Http;
use hubdns::sources::azure::identity::{Identity, Surroundings, Variables};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The tenant of the tests.
pub const TENANT: &str = "99999999-9999-9999-9999-999999999999";
/// The application of the tests.
pub const CLIENT: &str = "33333333-3333-3333-3333-333333333333";
/// What tokens are for.
pub const AUDIENCE: &str = "https://management.azure.com";
/// A name that only bootstrap resolvers and proxies of the tests know.
pub const NAME: &str = "azure.contoso.example";

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Seen {
    /// The query's or form's fields.
    pub fn fields(&self) -> BTreeMap<String, String> {
        let text = match self.target.split_once('?') {
            Some((_, query)) => query,
            None => &self.body,
        };
        url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
    }

    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    /// Waits until the test lets it go.
    pub held: Option<Arc<tokio::sync::Semaphore>>,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), held: None }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn held(mut self, by: &Arc<tokio::sync::Semaphore>) -> Self {
        self.held = Some(Arc::clone(by));
        self
    }

    /// A token as Entra gives it.
    pub fn token(token: &str, seconds: u64) -> Self {
        let body = serde_json::json!({"token_type": "Bearer", "expires_in": seconds,
            "ext_expires_in": seconds, "access_token": token});
        Self::new(200, body.to_string())
    }

    /// A token as the metadata service gives it: every number is text.
    pub fn metadata(token: &str, seconds: u64) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let body = serde_json::json!({"access_token": token, "client_id": CLIENT, "resource": AUDIENCE,
            "expires_in": seconds.to_string(), "expires_on": (now + seconds).to_string(),
            "not_before": now.to_string(), "token_type": "Bearer"});
        Self::new(200, body.to_string())
    }
}

type Script = dyn Fn(&Seen) -> Reply + Send + Sync;

/// A running server. Dropped, it is gone.
pub struct StandIn {
    pub address: SocketAddr,
    pub ca: PathBuf,
    seen: Arc<Mutex<Vec<Seen>>>,
    _directory: tempfile::TempDir,
    _runtime: Running,
}

/// Ends its tasks without waiting, also where a test itself runs in a runtime.
struct Running(Option<tokio::runtime::Runtime>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn runtime() -> Running {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    Running(Some(runtime.expect("a runtime")))
}

impl StandIn {
    /// Serves HTTPS by `script` as 127.0.0.1, localhost and [`NAME`], under a CA of its own.
    pub fn https(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(true, Box::new(script))
    }

    /// Serves plain HTTP by `script`.
    pub fn http(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(false, Box::new(script))
    }

    fn start(secure: bool, script: Box<Script>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let ca = directory.path().join("ca.pem");
        let acceptor = secure.then(|| acceptor(&ca));
        let running = runtime();
        let handle = running.0.as_ref().expect("running").handle().clone();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a setting");
        let address = listener.local_addr().expect("an address");
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let script: Arc<Script> = script.into();
        let log = Arc::clone(&seen);
        handle.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let (acceptor, script, log) = (acceptor.clone(), Arc::clone(&script), Arc::clone(&log));
                tokio::spawn(async move {
                    match acceptor {
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, script, log).await;
                            }
                        }
                        None => serve(stream, script, log).await,
                    }
                });
            }
        });
        Self { address, ca, seen, _directory: directory, _runtime: running }
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }

    /// A source that takes this server for Entra and Resource Manager.
    pub fn source(&self, credentials: &[CredentialKind]) -> AzureSource {
        self.source_as(&format!("https://{}", self.address), credentials)
    }

    /// The same by another URL.
    pub fn source_as(&self, url: &str, credentials: &[CredentialKind]) -> AzureSource {
        AzureSource {
            name: "azure".to_owned(),
            cloud: AzureCloud::Custom {
                authority: url.to_owned(),
                resource_manager: url.to_owned(),
                audience: AUDIENCE.to_owned(),
            },
            ca_file: Some(self.ca.clone()),
            proxy: None,
            bootstrap: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9))],
            identity: AzureIdentity {
                credentials: credentials.to_vec(),
                tenant: Some(TENANT.to_owned()),
                client_id: Some(CLIENT.to_owned()),
                client_secret_file: None,
                certificate_file: None,
                certificate_password_file: None,
                federated_token_file: None,
                managed_identity: None,
            },
            subscriptions: Vec::new(),
            management_groups: Vec::new(),
            discovery: Discovery::Auto,
            interval: Duration::from_secs(60),
            request_timeout: Duration::from_secs(10),
        }
    }
}

async fn serve<S>(stream: S, script: Arc<Script>, log: Arc<Mutex<Vec<Seen>>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (script, log) = (Arc::clone(&script), Arc::clone(&log));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let headers = head.headers.iter();
            let seen = Seen {
                method: head.method.to_string(),
                target: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
                headers: headers
                    .map(|(name, value)| {
                        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                    })
                    .collect(),
                body: String::from_utf8_lossy(&body).into_owned(),
            };
            log.lock().expect("no panic").push(seen.clone());
            let reply = script(&seen);
            if let Some(held) = &reply.held {
                let _ = held.acquire().await;
            }
            let mut response = hyper::Response::builder().status(reply.status);
            for (name, value) in &reply.headers {
                response = response.header(*name, value);
            }
            Ok::<_, hyper::Error>(response.body(Full::new(Bytes::from(reply.body))).expect("a response"))
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Writes the CA's certificate to `path`.
fn acceptor(path: &Path) -> tokio_rustls::TlsAcceptor {
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = ca.self_signed(&ca_key).expect("a certificate");
    std::fs::write(path, certificate.pem()).expect("a file");
    let issuer = Issuer::new(ca, ca_key);
    let mut params = CertificateParams::new(vec!["localhost".to_owned(), NAME.to_owned()]).expect("names");
    params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let key = KeyPair::generate().expect("a key");
    let own = params.signed_by(&key, &issuer).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], key)
        .expect("a configuration");
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}

/// An HTTP proxy that takes every CONNECT to `target`, and notes what was asked.
pub struct Proxy {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _runtime: Running,
}

impl Proxy {
    pub fn start(target: SocketAddr) -> Self {
        let running = runtime();
        let handle = running.0.as_ref().expect("running").handle().clone();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a setting");
        let address = listener.local_addr().expect("an address");
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&asked);
        handle.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::spawn(tunnel(stream, target, Arc::clone(&log)));
            }
        });
        Self { address, asked, _runtime: running }
    }

    /// The first line of each request.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

async fn tunnel(mut stream: TcpStream, target: SocketAddr, log: Arc<Mutex<Vec<String>>>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    log.lock().expect("no panic").push(head.lines().next()?.to_owned());
    let mut there = TcpStream::connect(target).await.ok()?;
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
    tokio::io::copy_bidirectional(&mut stream, &mut there).await.ok()?;
    Some(())
}

/// Entra where no test asks it.
pub fn nowhere() -> &'static StandIn {
    static NOWHERE: LazyLock<StandIn> = LazyLock::new(|| StandIn::https(|_| Reply::new(500, "")));
    &NOWHERE
}

/// The identity of `source`, without a variable of this process.
pub fn identity(source: &AzureSource, variables: &[(&str, &str)]) -> Identity {
    let variables: Variables = variables.iter().copied().collect();
    within(source, Surroundings { variables, ..Surroundings::default() })
}

/// The identity of `source` in `surroundings`; the metadata service and Arc's
/// program, if not told, are nowhere.
pub fn within(source: &AzureSource, mut surroundings: Surroundings) -> Identity {
    if surroundings.variables.get("AZURE_POD_IDENTITY_AUTHORITY_HOST").is_none() {
        assert!(
            !source.identity.credentials.contains(&CredentialKind::ManagedIdentity)
                || surroundings.variables.get("IDENTITY_HEADER").is_some(),
            "a test must not ask the real metadata service"
        );
    }
    if surroundings.arc.program.starts_with("/opt") {
        surroundings.arc.program = PathBuf::from("/nonexistent/himds");
    }
    let http = Http::new(source, &[], &[]).expect("clients");
    Identity::within(source.identity.clone(), Endpoints::new(&source.cloud), http, surroundings)
}

/// A file with `content` in a directory that goes with the guard.
pub fn file(content: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file");
    std::fs::write(&path, content).expect("a file");
    (directory, path)
}
