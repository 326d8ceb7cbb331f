//! DNS over TLS, HTTPS and QUIC.
//!
//! ```text
//! accept ─▶ caps ▸ PROXY header ▸ handshake ─▶ dot | https ─▶ service::Session ─▶ ask ─▶ resolve
//!                                    ▲                             │
//!             certificates ─ watch ──┘         letter ◀── what becomes ready later
//! ```
//!
//! Each connection is a task on a multi-threaded runtime of its own. Rejected:
//! the threads of plain TCP, whose point is to do without what TLS needs anyway
//! (memory for each connection, wake-ups, timers); and the runtime of encrypted
//! upstreams, since a flood of handshakes would hold up the answers to everybody.

mod accept;
mod certificates;
mod dot;
mod freshness;
mod https;
mod letter;
#[cfg(feature = "doq")]
mod quic;
mod request;
mod service;
mod watch;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::runtime::{Builder, Runtime};

use super::access::AccessList;
use super::gate::{Gate, Room};
use super::{ServeError, listen};
use crate::answer::Transport;
use crate::config::{self, Config, Encrypted, EncryptedTransport};
use crate::metrics::listeners::ListenerMetrics;

pub use certificates::{CertificateError, CertificateState, Life};
pub use watch::OnChange;

use certificates::Store;
use service::{Listener, Shared};
use watch::Certificates;

pub(in crate::serve) use service::Shared as Service;

/// One encrypted listener, bound, its certificate read.
#[derive(Debug)]
struct Bind {
    address: SocketAddr,
    transport: Transport,
    socket: Socket,
    proxies: Option<AccessList>,
    settings: Encrypted,
    store: Store,
    metrics: Arc<ListenerMetrics>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    #[cfg(feature = "doq")]
    Udp(std::net::UdpSocket),
}

/// The encrypted listeners, bound and not yet served.
#[derive(Debug)]
pub(super) struct Bound(Vec<Bind>);

const fn transport(transport: EncryptedTransport) -> Transport {
    match transport {
        EncryptedTransport::Tls => Transport::Tls,
        EncryptedTransport::Https => Transport::Https,
        EncryptedTransport::Quic => Transport::Quic,
    }
}

/// What is wrong with the certificates of `config` now, by listener.
pub fn check_certificates(config: &Config) -> Vec<(SocketAddr, CertificateError)> {
    let wrong = |listener: &config::Listener| match &listener.service {
        config::Service::Encrypted(settings) => {
            Some((listener.address, certificates::check(settings).err()?))
        }
        config::Service::Plain => None,
    };
    config.listeners.iter().filter_map(wrong).collect()
}

impl Bound {
    /// Binds the encrypted listeners of `config`.
    pub(super) fn bind(config: &Config) -> Result<Self, ServeError> {
        let mut binds = Vec::new();
        for listener in &config.listeners {
            let config::Service::Encrypted(settings) = &listener.service else { continue };
            match Bind::new(listener, settings) {
                Ok(bind) => binds.push(bind),
                Err(error) if error.is_family_unsupported() && listener.address.ip().is_unspecified() => {
                    tracing::warn!(address = %listener.address, "listener left out, no such address family here");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self(binds))
    }

    /// The counters of each, for the scrape.
    pub(super) fn metrics(&self) -> Vec<Arc<ListenerMetrics>> {
        self.0.iter().map(|bind| Arc::clone(&bind.metrics)).collect()
    }

    /// Serves them on `threads` threads; none where there are no listeners.
    pub(super) fn start(self, shared: Shared, threads: usize) -> Result<Option<Running>, ServeError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("encrypted")
            .enable_all()
            .build()
            .map_err(ServeError::Runtime)?;
        let shared = Arc::new(shared);
        let mut listeners = Vec::with_capacity(self.0.len());
        let entered = runtime.enter();
        for bind in self.0 {
            listeners.push(bind.start(&shared)?);
        }
        drop(entered);
        let certificates = Certificates::new(listeners.clone());
        runtime.spawn(Arc::clone(&certificates).watch());
        Ok(Some(Running { runtime: Some(runtime), shared, listeners, certificates }))
    }
}

impl Bind {
    fn new(listener: &config::Listener, settings: &Encrypted) -> Result<Self, ServeError> {
        let transport = transport(settings.transport);
        let failed = |source| ServeError::bind(transport, listener.address, source);
        let (socket, address) = match transport {
            #[cfg(feature = "doq")]
            Transport::Quic => {
                let socket = quic::bind(listener.address).map_err(failed)?;
                let address = socket.local_addr().map_err(failed)?;
                (Socket::Udp(socket), address)
            }
            _ => {
                let socket = listen::bind_tcp(listener.address).map_err(failed)?;
                let address = socket.local_addr().map_err(failed)?;
                (Socket::Tcp(socket), address)
            }
        };
        let metrics = ListenerMetrics::new(address.to_string(), transport);
        let store = Store::open(settings, Arc::clone(&metrics))
            .map_err(|source| ServeError::Certificate { address, source })?;
        let proxies = (!listener.proxies.is_empty()).then(|| AccessList::new(&listener.proxies));
        Ok(Self { address, transport, socket, proxies, settings: settings.clone(), store, metrics })
    }

    /// Serves it on the runtime that is entered.
    fn start(self, shared: &Arc<Shared>) -> Result<Arc<Listener>, ServeError> {
        let Self { address, transport, socket, proxies, settings, store, metrics } = self;
        let room = Room {
            total: settings.max_connections,
            per_client: settings.max_connections_per_client,
            prefix_bits: settings.prefix_bits,
        };
        let gate = Gate::new(room, Arc::clone(&metrics) as Arc<_>);
        let shared = Arc::clone(shared);
        let listener =
            Arc::new(Listener { address, transport, settings, proxies, store, gate, metrics, shared });
        match socket {
            Socket::Tcp(socket) => {
                let socket = tokio::net::TcpListener::from_std(socket).map_err(ServeError::Runtime)?;
                tokio::spawn(accept::accept(Arc::clone(&listener), socket));
            }
            #[cfg(feature = "doq")]
            Socket::Udp(socket) => {
                let endpoint = quic::endpoint(&listener, socket).map_err(ServeError::Runtime)?;
                tokio::spawn(quic::accept(Arc::clone(&listener), endpoint));
            }
        }
        Ok(listener)
    }
}

/// The encrypted listeners at work. Dropped, all their connections end at once.
pub(super) struct Running {
    runtime: Option<Runtime>,
    shared: Arc<Shared>,
    listeners: Vec<Arc<Listener>>,
    certificates: Arc<Certificates>,
}

/// How an encrypted listener fares.
pub(super) struct Shown {
    pub(super) address: SocketAddr,
    pub(super) transport: Transport,
    pub(super) is_proxied: bool,
    pub(super) connections: u64,
    pub(super) certificate: CertificateState,
}

impl Running {
    /// Takes no more connections or queries.
    pub(super) fn drain(&self) {
        self.shared.drain.send_replace(true);
    }

    /// Whether a connection is open, or may come.
    pub(super) fn is_busy(&self) -> bool {
        self.shared.accepting.load(Ordering::Acquire) > 0
            || self.listeners.iter().any(|listener| listener.gate.count() > 0)
    }

    /// Each listener.
    pub(super) fn shown(&self) -> Vec<Shown> {
        let shown = |listener: &Arc<Listener>| Shown {
            address: listener.address,
            transport: listener.transport,
            is_proxied: listener.proxies.is_some(),
            connections: listener.metrics.open(),
            certificate: listener.store.state(listener.address),
        };
        self.listeners.iter().map(shown).collect()
    }

    /// Looks whether certificates changed.
    pub(super) fn look_at_certificates(&self) {
        self.certificates.look();
    }

    /// How the certificates fare.
    pub(super) fn certificates(&self) -> Vec<CertificateState> {
        self.certificates.states()
    }

    /// Calls `call` with the states of the certificates now, and whenever one changes.
    pub(super) fn on_certificates(&self, call: OnChange) {
        self.certificates.on_change(call);
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("listeners", &self.listeners.len()).finish_non_exhaustive()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not to be waited for where this is dropped on a runtime's own thread.
            runtime.shutdown_background();
        }
    }
}
