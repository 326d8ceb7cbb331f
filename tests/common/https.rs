//! A scripted DNS over HTTPS server.

#![allow(dead_code, unreachable_pub, reason = "every test binary uses its part of this")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use crate::common::upstream::Asked;
use crate::streams::{PATIENCE, asked, runtime};

/// What the server says.
#[derive(Clone, Debug)]
pub struct Says {
    pub status: u16,
    pub content_type: Option<&'static str>,
    pub age: Option<&'static str>,
    pub body: Vec<u8>,
    /// Says it only once [`HttpsServer::release`] is called.
    pub held: bool,
    /// Ends the connection in its place.
    pub hang_up: bool,
}

impl Says {
    /// A DNS message as it should be.
    pub fn message(body: Vec<u8>) -> Self {
        let content_type = Some("application/dns-message");
        Self { status: 200, content_type, age: None, body, held: false, hang_up: false }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request1 {
    pub asked: Asked,
    pub connection: usize,
    pub method: Method,
    pub uri: String,
    pub content_type: Option<String>,
    pub accept: Option<String>,
    /// Whether it told who asks.
    pub user_agent: bool,
}

type Script = dyn Fn(&Request1) -> Says + Send + Sync;

struct State {
    script: Box<Script>,
    got: Mutex<Vec<Request1>>,
    grown: Condvar,
    connections: AtomicUsize,
    released: Notify,
}

/// A running server; it ends when dropped.
pub struct HttpsServer {
    pub address: SocketAddr,
    state: Arc<State>,
    _runtime: Runtime,
}

impl HttpsServer {
    pub fn start(
        config: Arc<ServerConfig>,
        script: impl Fn(&Request1) -> Says + Send + Sync + 'static,
    ) -> Self {
        let runtime = runtime();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            script: Box::new(script),
            got: Mutex::default(),
            grown: Condvar::new(),
            connections: AtomicUsize::new(0),
            released: Notify::new(),
        });
        let shared = Arc::clone(&state);
        runtime.spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let (state, config) = (Arc::clone(&shared), Arc::clone(&config));
                tokio::spawn(async move {
                    let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
                    let connection = state.connections.fetch_add(1, Ordering::SeqCst);
                    let hang_up = Arc::new(Notify::new());
                    let end = Arc::clone(&hang_up);
                    let service = service_fn(move |request| {
                        let (state, hang_up) = (Arc::clone(&state), Arc::clone(&hang_up));
                        async move {
                            Ok::<_, Infallible>(respond(request, &state, connection, peer, &hang_up).await)
                        }
                    });
                    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    tokio::select! {
                        _ = builder.serve_connection(TokioIo::new(stream), service) => {}
                        () = end.notified() => {}
                    }
                });
            }
        });
        Self { address, state, _runtime: runtime }
    }

    /// Requests so far.
    pub fn got(&self) -> Vec<Request1> {
        self.state.got.lock().unwrap().clone()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Waits until `count` requests came.
    pub fn wait_for(&self, count: usize) {
        let got = self.state.got.lock().unwrap();
        let waited = self.state.grown.wait_timeout_while(got, PATIENCE, |got| got.len() < count).unwrap();
        assert!(!waited.1.timed_out(), "never happened; got: {:?}", waited.0);
    }

    /// Says what was held back.
    pub fn release(&self) {
        self.state.released.notify_waiters();
    }
}

async fn respond(
    request: Request<Incoming>,
    state: &State,
    connection: usize,
    peer: SocketAddr,
    hang_up: &Notify,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let bytes = body.collect().await.unwrap().to_bytes().to_vec();
    let request = Request1 {
        asked: asked(bytes, peer),
        connection,
        method: parts.method.clone(),
        uri: parts.uri.to_string(),
        content_type: header("content-type"),
        accept: header("accept"),
        user_agent: parts.headers.contains_key("user-agent"),
    };
    let says = (state.script)(&request);
    // In line before the request is known: `release` wakes those in line.
    let released = state.released.notified();
    tokio::pin!(released);
    released.as_mut().enable();
    state.got.lock().unwrap().push(request);
    state.grown.notify_all();
    if says.held {
        released.await;
    }
    if says.hang_up {
        hang_up.notify_one();
        std::future::pending::<()>().await;
    }
    let mut response = Response::builder().status(says.status);
    if let Some(content_type) = says.content_type {
        response = response.header("content-type", content_type);
    }
    if let Some(age) = says.age {
        response = response.header("age", age);
    }
    response.body(Full::new(Bytes::from(says.body))).unwrap()
}
