//! HTTPS on loopback: a CA made at run time, HTTP/1.1, a runtime of its own.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::respond::{Asked, End, Reply, respond};
use super::state::State;

/// Ends the server's thread when dropped.
pub struct Running {
    _stop: oneshot::Sender<Infallible>,
}

/// Starts the server; yields its address and the PEM of its CA.
pub fn start(state: Arc<State>) -> (Running, SocketAddr, String) {
    let (acceptor, ca) = certificates();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("set");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = oneshot::channel::<Infallible>();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let thread = std::thread::Builder::new().name("scripted-azure".to_owned());
    thread
        .spawn(move || {
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    _ = stopped => {}
                    () = accept(listener, acceptor, state) => {}
                }
            });
            runtime.shutdown_background();
        })
        .expect("a thread");
    (Running { _stop: stop }, address, ca)
}

/// A CA and a server's certificate below it, for 127.0.0.1 and localhost.
fn certificates() -> (TlsAcceptor, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let key = KeyPair::generate().expect("a key");
    let server = CertificateParams::new(names).expect("names").signed_by(&key, &ca).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![server.der().clone()], key)
        .expect("a certificate with its key");
    (TlsAcceptor::from(Arc::new(config)), ca.pem())
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<State>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        tokio::spawn(async move { connection(stream, acceptor, state).await });
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, state: Arc<State>) {
    let _ = stream.set_nodelay(true);
    // A second handle on the socket, to make its end a reset from within TLS.
    let Ok(socket) = stream.as_fd().try_clone_to_owned() else { return };
    let socket = &socket2::Socket::from(socket);
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let state = &state;
    let service = service_fn(move |request| async move {
        let reply = handle(state, request).await;
        if reply.is_err() {
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
        reply
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// The connection is to be reset.
#[derive(Debug)]
struct Reset;

impl std::fmt::Display for Reset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("reset")
    }
}

impl std::error::Error for Reset {}

type Sent = Response<Either<Full<Bytes>, CutBody>>;

async fn handle(state: &State, request: Request<Incoming>) -> Result<Sent, Reset> {
    let header = |name: &str| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
    let takes_gzip = header("accept-encoding").is_some_and(|value| value.contains("gzip"));
    let mut asked = Asked {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        host: header("host").unwrap_or_default(),
        authorization: header("authorization"),
        body: Vec::new(),
    };
    asked.body = request.into_body().collect().await.map_err(|_| Reset)?.to_bytes().to_vec();
    let build = |status: u16| {
        Response::builder()
            .status(status)
            .header("content-type", "application/json; charset=utf-8")
            .header("x-ms-request-id", "66666666-6666-6666-6666-666666666666")
    };
    match respond(state, &asked).await {
        Reply::Reset => Err(Reset),
        Reply::Raw { status, bytes, end: End::Whole } => {
            Ok(build(status).body(Either::Left(Full::from(bytes))).expect("a response"))
        }
        Reply::Raw { status, bytes, end } => {
            let promised = (end == End::Short).then_some(bytes.len() as u64 * 2);
            let body = CutBody { bytes: Some(Bytes::from(bytes)), promised, waits: 8 };
            Ok(build(status).body(Either::Right(body)).expect("a response"))
        }
        Reply::Json { status, headers, body } => {
            let mut response = build(status);
            for (name, value) in headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-type"))
            {
                response = response.header(name, value);
            }
            let mut bytes = body.to_string().into_bytes();
            if takes_gzip && state.gzip.load(Ordering::SeqCst) {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&bytes).expect("written to memory");
                bytes = encoder.finish().expect("written to memory");
                response = response.header("content-encoding", "gzip");
            }
            Ok(response.body(Either::Left(Full::from(bytes))).expect("a response"))
        }
    }
}

/// A body that ends before it should.
#[derive(Debug)]
struct CutBody {
    bytes: Option<Bytes>,
    /// `Content-Length`; without it the body goes in chunks.
    promised: Option<u64>,
    waits: u8,
}

impl Body for CutBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if let Some(bytes) = self.bytes.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        // While the body waits, what it has yielded is sent.
        if self.waits > 0 {
            self.waits -= 1;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(std::io::Error::other("cut"))))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.promised.map_or_else(hyper::body::SizeHint::default, hyper::body::SizeHint::with_exact)
    }
}
