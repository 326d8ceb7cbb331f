//! Serving clients: packet workers for UDP, threads for TCP, tasks for what is
//! encrypted, and who may ask.
//!
//! ```text
//! Server::bind ─▶ Bound ─▶ start ─▶ Running ─▶ drain ─▶ stop
//!                                     │
//!       udp-0, udp-1, ...  ───────────┤  pinned threads: worker.rs, udp.rs
//!       tcp-0, tcp-1, ...  ───────────┤  threads: tcp.rs, connection.rs
//!       encrypted          ───────────┘  a runtime: encrypted/ (TLS, HTTPS, QUIC)
//! ```
//!
//! All transports enter [`crate::resolve::Resolver::resolve`] and share
//! [`reject`]; those of streams share `ask.rs` as a whole. They differ in how
//! bytes arrive and leave.

pub mod access;
mod ask;
mod connection;
pub mod cookie;
pub mod encrypted;
mod error;
mod extras;
mod framing;
mod gate;
mod late;
mod listen;
mod outgoing;
mod patience;
pub mod proxy;
pub mod reject;
mod shown;
mod sockets;
mod spin;
mod tcp;
pub mod udp;
mod worker;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

pub use error::ServeError;
pub use shown::ListenerState;

use crate::answer::{Context, Transport};
use crate::config::{self, Config};
use crate::metrics::Export;
use crate::metrics::listeners::Listeners;
use crate::metrics::queries::{QueryCounts, QueryMetrics};
use crate::resolve::Resolver;
use crate::snapshot::Snapshot;
use crate::snapshot::publish::Publisher;
use crate::socket::{Buffers, allowed_cores};
use access::{AccessList, Policies, Policy};
use gate::{Gate, Room};
use listen::Bind;
use sockets::ServeMetrics;
use tcp::{Limits, Service, TcpWorker};
use udp::{Handler, Pending};
use worker::{Pulse, Stop, Worker};

/// How often a drain looks whether anything is left.
const DRAIN_STEP: Duration = Duration::from_millis(10);

/// What the answer to `client` depends on, whatever transport it came by: its
/// address is looked up here and nowhere else, the view's by the snapshot that
/// answers it.
#[inline]
fn context(transport: Transport, client: IpAddr, policy: &Policy, snapshot: &Snapshot) -> Context {
    let view = if snapshot.has_views() { snapshot.view_of(client) } else { 0 };
    Context { transport, udp_size: policy.udp_size, view, is_client: true }
}

/// The entry point: binds and starts what serves clients.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Binds all listen addresses, so that a second step can drop privileges.
    ///
    /// # Errors
    /// The first address that cannot be bound, with a hint. Nothing stays bound then.
    /// `[::]` beside others is left out, with a warning, on a host without IPv6:
    /// "every address" is none there.
    pub fn bind(config: &Config) -> Result<Bound, ServeError> {
        let workers = config.server.workers.max(1);
        let cores = allowed_cores();
        sockets::check_steering(config.worker.steering, workers, &cores)?;
        let asked = Buffers {
            receive: usize::try_from(config.udp.receive_buffer).unwrap_or(usize::MAX),
            send: usize::try_from(config.udp.send_buffer).unwrap_or(usize::MAX),
        };
        let mut binds = Vec::with_capacity(config.server.listen.len());
        let mut left_out = None;
        for (address, proxies) in plain(config) {
            match listen::bind(address, workers, asked) {
                Ok(mut bind) => {
                    bind.proxies = proxies;
                    sockets::steer(config.worker.steering, &bind.udp, &cores)?;
                    sockets::report_buffers(&bind, asked);
                    binds.push(bind);
                }
                Err(error) if error.is_family_unsupported() && address.ip().is_unspecified() => {
                    tracing::warn!(%address, "listener left out, no such address family here");
                    left_out = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = left_out.filter(|_| binds.is_empty()) {
            return Err(error);
        }
        Ok(Bound {
            encrypted: encrypted::Bound::bind(config)?,
            binds,
            workers,
            policy: Policy::new(&config.server),
            tcp: config.tcp.clone(),
            spin: config.worker.spin,
        })
    }
}

/// The listeners for UDP and TCP, with those who send PROXY headers there.
fn plain(config: &Config) -> impl Iterator<Item = (SocketAddr, Option<Arc<AccessList>>)> {
    let more = config.listeners.iter().filter(|listener| listener.service == config::Service::Plain);
    let more = more.map(|listener| {
        let has_proxies = !listener.proxies.is_empty();
        (listener.address, has_proxies.then(|| Arc::new(AccessList::new(&listener.proxies))))
    });
    config.server.listen.iter().map(|address| (*address, None)).chain(more)
}

/// Listeners that are bound and not yet served: queries wait in their sockets.
#[derive(Debug)]
pub struct Bound {
    encrypted: encrypted::Bound,
    binds: Vec<Bind>,
    workers: usize,
    policy: Policy,
    tcp: config::Tcp,
    spin: Duration,
}

impl Bound {
    /// The listen addresses with their real ports, in the order of the
    /// configuration. UDP and TCP of one address share the port. Those that
    /// proxies alone should use are not among them, nor are encrypted ones.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.binds.iter().filter(|bind| bind.proxies.is_none()).map(|bind| bind.address).collect()
    }

    /// The sizes of the UDP buffers that the kernel granted, per listen address.
    pub fn buffers(&self) -> Vec<(SocketAddr, Buffers)> {
        let sockets = self.binds.iter().filter_map(|bind| bind.udp.first());
        sockets.map(|socket| (socket.local_addr(), socket.buffers())).collect()
    }

    /// Starts the packet workers, and as many threads for TCP.
    ///
    /// # Errors
    /// A thread or an epoll that the system refuses; what had been started ends
    /// again.
    pub fn start(self, resolver: &Resolver, publisher: &Arc<Publisher>) -> Result<Running, ServeError> {
        let addresses = self.local_addrs();
        let (metrics, mut locals) = QueryMetrics::new(2 * self.workers);
        let tcp_locals = locals.split_off(self.workers);
        let policies = Policies::new(self.policy);
        let pending = Pending::default();
        let room = Room {
            total: self.tcp.max_connections,
            per_client: self.tcp.max_connections_per_client,
            prefix_bits: (32, 128),
        };
        let gate = Gate::new(room, Arc::clone(&metrics) as Arc<_>);
        let service = Arc::new(Service {
            limits: Limits::new(&self.tcp),
            resolver: resolver.clone(),
            publisher: Arc::clone(publisher),
            policies: Arc::clone(&policies),
            pending: pending.clone(),
            gate,
            accepting: AtomicUsize::new(0),
        });
        let shared = metrics.shared();
        let sockets = self.binds.iter().flat_map(|bind| bind.udp.iter().cloned()).collect();
        let encrypted_metrics = Listeners(self.encrypted.metrics());
        let encrypted = {
            let service = encrypted::Service::new(resolver, publisher, &policies, &pending, metrics.shared());
            self.encrypted.start(service, self.workers)?
        };
        let mut running = Running {
            encrypted,
            addresses,
            plain: self.binds.iter().map(|bind| (bind.address, bind.proxies.is_some())).collect(),
            policies,
            pending,
            service: Arc::clone(&service),
            stop: Stop::new().map_err(ServeError::Worker)?,
            drain: Stop::new().map_err(ServeError::Worker)?,
            threads: Vec::with_capacity(2 * self.workers),
            pulses: Vec::with_capacity(self.workers),
            metrics: Arc::new(ServeMetrics::new(metrics, sockets, encrypted_metrics)),
        };
        let cores = allowed_cores();
        for (index, local) in locals.into_iter().enumerate() {
            let handler = Handler::new(
                resolver.clone(),
                publisher,
                &running.policies,
                local,
                shared.clone(),
                running.pending.clone(),
            );
            let sockets = self.binds.iter();
            let sockets =
                sockets.filter_map(|bind| Some((bind.udp.get(index)?.clone(), bind.proxies.clone())));
            let sockets = sockets.collect();
            let core = index.checked_rem(cores.len()).and_then(|at| cores.get(at)).copied();
            let worker = Worker::new(sockets, handler, Arc::clone(&running.stop), core, self.spin);
            let worker = worker.map_err(ServeError::Worker)?;
            running.pulses.push(worker.pulse());
            let thread = std::thread::Builder::new().name(format!("udp-{index}"));
            running.threads.push(thread.spawn(move || worker.run()).map_err(ServeError::Worker)?);
        }
        let pulses: Vec<_> = running.pulses.iter().map(Arc::downgrade).collect();
        publisher.on_publish(move || pulses.iter().filter_map(Weak::upgrade).for_each(|pulse| pulse.ask()));
        let listeners = self.binds.into_iter().map(|bind| (Arc::new(bind.tcp), bind.proxies));
        let listeners: Vec<_> = listeners.collect();
        for (index, local) in tcp_locals.into_iter().enumerate() {
            let (stop, drain) = (Arc::clone(&running.stop), Arc::clone(&running.drain));
            let worker = TcpWorker::new(&listeners, Arc::clone(&service), local, stop, drain);
            let worker = worker.map_err(ServeError::Worker)?;
            let thread = std::thread::Builder::new().name(format!("tcp-{index}"));
            running.threads.push(thread.spawn(move || worker.run()).map_err(ServeError::Worker)?);
        }
        Ok(running)
    }
}

/// A server at work. Dropping it stops it without a drain.
#[derive(Debug)]
pub struct Running {
    encrypted: Option<encrypted::Running>,
    addresses: Vec<SocketAddr>,
    /// All plain listeners, and whether proxies send headers there.
    plain: Vec<(SocketAddr, bool)>,
    policies: Arc<Policies>,
    pending: Pending,
    service: Arc<Service>,
    stop: Arc<Stop>,
    drain: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
    pulses: Vec<Arc<Pulse>>,
    metrics: Arc<ServeMetrics>,
}

impl Running {
    /// The listen addresses with their real ports.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The counters, for the scrape.
    pub fn metrics(&self) -> Arc<dyn Export> {
        Arc::clone(&self.metrics) as Arc<dyn Export>
    }

    /// What became of queries so far.
    pub fn counts(&self) -> QueryCounts {
        self.metrics.counts()
    }

    /// A number per packet worker that grows with everything it does, and with
    /// each [`Running::ask_for_beat`]: for a watchdog.
    pub fn beats(&self) -> Vec<u64> {
        self.pulses.iter().map(|pulse| pulse.beat()).collect()
    }

    /// Wakes each worker that has not beaten since `seen`, which [`Running::beats`] told
    /// earlier. A worker without traffic sleeps and does not beat unasked.
    pub fn ask_for_beat(&self, seen: &[u64]) {
        for (pulse, before) in self.pulses.iter().zip(seen) {
            if pulse.beat() == *before {
                pulse.ask();
            }
        }
    }

    /// Puts the access prefixes, the policy for others and the UDP size of
    /// `server` into force. Listeners and limits stay as they are.
    pub fn reload_access(&self, server: &config::Server) {
        self.policies.replace(Policy::new(server));
    }

    /// Lets what is in flight finish, for `limit` at most: TCP takes no new
    /// connection or query; UDP goes on, since clients do not know better yet.
    /// Returns whether nothing was left. [`Running::stop`] comes next.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.drain.ask();
        if let Some(encrypted) = &self.encrypted {
            encrypted.drain();
        }
        let (service, pending) = (&self.service, &self.pending);
        let is_busy = || {
            let encrypted = self.encrypted.as_ref().is_some_and(encrypted::Running::is_busy);
            let tcp = service.accepting.load(Ordering::Acquire) > 0 || service.gate.count() > 0;
            encrypted || tcp || pending.count() > 0
        };
        let emptied = async {
            while is_busy() {
                tokio::time::sleep(DRAIN_STEP).await;
            }
        };
        tokio::time::timeout(limit, emptied).await.is_ok()
    }

    /// Ends the workers: each answers what is queued in its sockets now, then
    /// the sockets close. Waits for the threads, some milliseconds.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.ask();
        drop(self.encrypted.take());
        for thread in self.threads.drain(..) {
            // A worker catches its panics; there is nothing to pass on.
            let _ = thread.join();
        }
    }
}
