//! Scripted upstreams over TCP, TLS and HTTPS, certificates for them, and
//! someone who asks through [`Streams`].

#![allow(dead_code, unreachable_pub, reason = "every test binary uses its part of this")]

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

use hubdns::answer::Transport;
use hubdns::config::{self, Pin, UpstreamTransport};
use hubdns::forward::reply::UpstreamReply;
use hubdns::forward::streams::{StreamError, Streams};
use hubdns::forward::upstream::Upstream;
use hubdns::metrics::forward::{ForwardMetrics, UpstreamCounters};
use hubdns::metrics::streams::StreamFault;
use hubdns::wire::Rtype;
use hubdns::wire::message::Message;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData as _,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use crate::common::estate::query;
use crate::common::upstream::Asked;

/// How long a condition is awaited before a test is given up as hanging.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A runtime with one worker.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A certificate authority in files.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub directory: tempfile::TempDir,
}

/// A server's certificate and key.
pub struct Leaf {
    pub pin: Pin,
    pub certificate: PathBuf,
    pub key: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    private: Vec<u8>,
}

impl Authority {
    pub fn new() -> Self {
        Self::named("test authority")
    }

    /// One with a common name of its own.
    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    /// Its certificate as a PEM file.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A certificate for `names`, which may be addresses.
    pub fn leaf(&self, names: &[&str], expired: bool) -> Leaf {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        if expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA256, &key.subject_public_key_info());
        let pin = Pin(digest.as_ref().try_into().unwrap());
        let at = |name: &str| self.directory.path().join(name);
        let (certificate_file, key_file) = (at("server.pem"), at("server.key"));
        std::fs::write(&certificate_file, certificate.pem() + &self.issuer.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        Leaf {
            pin,
            certificate: certificate_file,
            key: key_file,
            chain: vec![CertificateDer::from(certificate.der().to_vec())],
            private: key.serialize_der(),
        }
    }
}

impl Leaf {
    /// TLS of a server that speaks `alpn`, by the versions given.
    pub fn server(
        &self,
        alpn: &[&str],
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::try_from(self.private.clone()).unwrap();
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_protocol_versions(versions)
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(self.chain.clone(), key)
                .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// What a scripted server does with a query.
#[derive(Clone, Debug)]
pub enum Do {
    /// Sends this message.
    Send(Vec<u8>),
    /// Sends these bytes as they are.
    Raw(Vec<u8>),
    /// Sends this message once [`Server::release`] is called.
    Hold(Vec<u8>),
    /// Ends the connection.
    Close,
}

/// One query, and where it came.
#[derive(Clone, Debug)]
pub struct Got {
    pub asked: Asked,
    /// Which connection, from 0 on.
    pub connection: usize,
    /// How many came on it before.
    pub nth: usize,
}

type Script = dyn Fn(&Got) -> Vec<Do> + Send + Sync;
type Held = (tokio::sync::mpsc::UnboundedSender<Do>, Vec<u8>);

#[derive(Default)]
struct Seen {
    got: Vec<Got>,
    held: Vec<Held>,
    closed: usize,
    alpn: Vec<Option<Vec<u8>>>,
}

struct State {
    script: Box<Script>,
    connections: AtomicUsize,
    seen: Mutex<Seen>,
    grown: Condvar,
}

/// A scripted server of framed messages; it ends when dropped.
pub struct Server {
    pub address: SocketAddr,
    state: Arc<State>,
    _runtime: Runtime,
}

impl Server {
    /// Plain TCP.
    pub fn tcp(script: impl Fn(&Got) -> Vec<Do> + Send + Sync + 'static) -> Self {
        Self::start(None, "127.0.0.1:0".parse().unwrap(), script)
    }

    /// TLS.
    pub fn tls(config: Arc<ServerConfig>, script: impl Fn(&Got) -> Vec<Do> + Send + Sync + 'static) -> Self {
        Self::start(Some(config), "127.0.0.1:0".parse().unwrap(), script)
    }

    /// Either, at an address.
    pub fn start(
        config: Option<Arc<ServerConfig>>,
        address: SocketAddr,
        script: impl Fn(&Got) -> Vec<Do> + Send + Sync + 'static,
    ) -> Self {
        let runtime = runtime();
        let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            script: Box::new(script),
            connections: AtomicUsize::new(0),
            seen: Mutex::default(),
            grown: Condvar::new(),
        });
        let shared = Arc::clone(&state);
        runtime.spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let (state, config) = (Arc::clone(&shared), config.clone());
                let connection = state.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    if let Some(config) = config {
                        if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
                            let alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
                            state.seen.lock().unwrap().alpn.push(alpn);
                            serve(stream, &state, connection, peer).await;
                        }
                    } else {
                        serve(stream, &state, connection, peer).await;
                    }
                    state.seen.lock().unwrap().closed += 1;
                    state.grown.notify_all();
                });
            }
        });
        Self { address, state, _runtime: runtime }
    }

    /// Queries so far.
    pub fn got(&self) -> Vec<Got> {
        self.state.seen.lock().unwrap().got.clone()
    }

    /// The protocols that handshakes chose.
    pub fn alpn(&self) -> Vec<Option<Vec<u8>>> {
        self.state.seen.lock().unwrap().alpn.clone()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Waits until `count` queries came.
    pub fn wait_for(&self, count: usize) -> Vec<Got> {
        self.wait(|seen| seen.got.len() >= count);
        self.got()
    }

    /// Waits until `count` connections have ended.
    pub fn wait_closed(&self, count: usize) {
        self.wait(|seen| seen.closed >= count);
    }

    fn wait(&self, condition: impl Fn(&Seen) -> bool) {
        let seen = self.state.seen.lock().unwrap();
        let waited = self.state.grown.wait_timeout_while(seen, PATIENCE, |seen| !condition(seen)).unwrap();
        assert!(!waited.1.timed_out(), "never happened; seen: {:?}", waited.0.got);
    }

    /// Sends what was held back.
    pub fn release(&self) {
        for (connection, message) in std::mem::take(&mut self.state.seen.lock().unwrap().held) {
            let _ = connection.send(Do::Send(message));
        }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    state: &State,
    connection: usize,
    peer: SocketAddr,
) {
    let (mut from, mut to) = tokio::io::split(stream);
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let reading = async {
        let mut nth = 0;
        loop {
            let Ok(len) = from.read_u16().await else { return };
            let mut bytes = vec![0; usize::from(len)];
            if from.read_exact(&mut bytes).await.is_err() {
                return;
            }
            let got = Got { asked: asked(bytes, peer), connection, nth };
            nth += 1;
            let todo = (state.script)(&got);
            let mut seen = state.seen.lock().unwrap();
            seen.got.push(got);
            for act in todo {
                match act {
                    Do::Hold(message) => seen.held.push((sender.clone(), message)),
                    act => drop(sender.send(act)),
                }
            }
            drop(seen);
            state.grown.notify_all();
        }
    };
    let writing = async {
        while let Some(act) = receiver.recv().await {
            let bytes = match act {
                Do::Send(message) => [&(message.len() as u16).to_be_bytes()[..], &message].concat(),
                Do::Raw(bytes) => bytes,
                Do::Hold(_) | Do::Close => return,
            };
            if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}

/// A query that came, as scripts see it.
pub fn asked(bytes: Vec<u8>, peer: SocketAddr) -> Asked {
    let message = Message::parse(&bytes).expect("whole queries");
    let end = message.records().last().map_or(message.question_end(), |record| record.end());
    assert_eq!(bytes.len(), end, "nothing behind the message");
    let (qname, qtype) = (message.qname().unwrap().to_name().to_string(), message.qtype());
    Asked { qname, qtype, transport: Transport::Tcp, nth: 0, bytes, peer }
}

/// An address for whatever is asked.
pub fn good(got: &Got) -> Vec<u8> {
    answer(&got.asked)
}

/// An address for whatever is asked.
pub fn answer(asked: &Asked) -> Vec<u8> {
    asked.reply(0, &format!("{} 300 A 192.0.2.1", asked.qname), "")
}

/// An upstream at `address`.
pub fn upstream(
    transport: UpstreamTransport,
    address: SocketAddr,
    change: impl FnOnce(&mut config::Upstream),
) -> Arc<Upstream> {
    let path = if transport == UpstreamTransport::Https { "/dns-query" } else { "" };
    let mut settings =
        config::Upstream { transport, path: path.to_owned(), ..config::Upstream::from(address) };
    change(&mut settings);
    Upstream::new(settings)
}

/// What became of a question.
pub type Outcome = io::Result<UpstreamReply>;

/// Someone who asks.
pub struct Client {
    pub streams: Streams,
    pub metrics: Arc<ForwardMetrics>,
    _runtime: Runtime,
}

/// Limits that no test meets unless it means to.
pub const LIMITS: config::Streams = config::Streams {
    connect: Duration::from_secs(20),
    idle: Duration::from_secs(3600),
    max_connections: 4,
    max_in_flight: 100,
};

impl Client {
    pub fn new(limits: config::Streams) -> Self {
        let runtime = runtime();
        let metrics = Arc::new(ForwardMetrics::default());
        let streams = Streams::new(runtime.handle().clone(), Arc::clone(&metrics), limits);
        Self { streams, metrics, _runtime: runtime }
    }

    /// Asks for A of `qname`; the outcome comes later.
    pub fn begin(&self, upstream: &Arc<Upstream>, qname: &str) -> Waiting {
        self.send(upstream, query(qname, Rtype::A, 0x0100, Some(1232)), PATIENCE)
    }

    /// Asks, within `time`.
    pub fn send(&self, upstream: &Arc<Upstream>, query: Vec<u8>, time: Duration) -> Waiting {
        let (sender, receiver) = mpsc::channel();
        let task = self.streams.ask(
            upstream,
            query,
            Instant::now() + time,
            || true,
            move |outcome| {
                let _ = sender.send(outcome.map(|answer| answer.reply));
            },
        );
        Waiting { receiver, task }
    }

    /// Asks for A of `qname`, and waits.
    pub fn ask(&self, upstream: &Arc<Upstream>, qname: &str) -> Outcome {
        self.begin(upstream, qname).get()
    }

    /// The fault that asking for A of `qname` ends with.
    pub fn fault(&self, upstream: &Arc<Upstream>, qname: &str) -> StreamFault {
        fault(&self.ask(upstream, qname))
    }

    pub fn counters(&self, upstream: &Upstream) -> Arc<UpstreamCounters> {
        self.metrics.upstream(upstream)
    }

    /// Waits until `condition` holds for the counters.
    pub fn until(&self, upstream: &Upstream, condition: impl Fn(&UpstreamCounters) -> bool) {
        let (begun, counters) = (Instant::now(), self.counters(upstream));
        while !condition(&counters) {
            assert!(begun.elapsed() < PATIENCE, "never happened: {counters:?}");
            std::thread::yield_now();
        }
    }
}

/// An outcome that is awaited.
pub struct Waiting {
    receiver: mpsc::Receiver<Outcome>,
    pub task: tokio::task::AbortHandle,
}

impl Waiting {
    pub fn get(self) -> Outcome {
        self.receiver.recv_timeout(PATIENCE).expect("an outcome, always")
    }

    /// Whether it has not come yet.
    pub fn is_pending(&self) -> bool {
        matches!(self.receiver.try_recv(), Err(mpsc::TryRecvError::Empty))
    }

    /// Whether it will never come.
    pub fn is_given_up(&self) -> bool {
        matches!(self.receiver.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected))
    }
}

/// The fault in an error.
pub fn fault(outcome: &Outcome) -> StreamFault {
    let error = outcome.as_ref().expect_err("an error");
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<StreamError>());
    inner.expect("the reason").fault
}
