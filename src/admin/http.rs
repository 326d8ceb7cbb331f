//! Accept loops and connections: one request each, bounded in time and size.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::debug;

use super::peers::Allowed;
use super::routes::{self, Peer};
use super::{AZURE_PROBE, Control};
use crate::metrics::admin::AdminCounters;

/// Connections of admitted peers, of all admin listeners together.
const MAX_ADMITTED: usize = 64;
/// Connections of Azure's probes: nobody else can take these.
const MAX_PROBES: usize = 16;
/// Connections of everybody else, who get a 403.
const MAX_OUTSIDERS: usize = 8;
/// Connections to the control socket.
const MAX_CONTROL: usize = 16;
/// A request's head must be whole within this.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection, response included, ends within this.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections to the control socket of users who may not use it: they get a 403, and take
/// no place of those who may.
const MAX_STRANGERS: usize = 4;
/// Largest request head in bytes, the request line included; more is answered with 431.
const MAX_HEAD: usize = 16 * 1024;
/// Most header fields of a request; more are answered with 431.
const MAX_FIELDS: usize = 64;
/// Pause after an accept error such as EMFILE, which would otherwise spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Room for connections, by who asks.
#[derive(Debug)]
pub(super) struct Places {
    admitted: Arc<Semaphore>,
    probes: Arc<Semaphore>,
    outsiders: Arc<Semaphore>,
}

impl Places {
    pub(super) fn new() -> Arc<Self> {
        let room = |places| Arc::new(Semaphore::new(places));
        let (admitted, probes, outsiders) = (room(MAX_ADMITTED), room(MAX_PROBES), room(MAX_OUTSIDERS));
        Arc::new(Self { admitted, probes, outsiders })
    }

    fn take(&self, peer: IpAddr, admitted: bool) -> Option<OwnedSemaphorePermit> {
        let room = match (admitted, peer == AZURE_PROBE) {
            (true, _) => &self.admitted,
            (false, true) => &self.probes,
            (false, false) => &self.outsiders,
        };
        Arc::clone(room).try_acquire_owned().ok()
    }
}

/// Accepts from one admin listener for ever.
pub(super) async fn serve_tcp(
    listener: TcpListener,
    control: Arc<dyn Control>,
    counters: Arc<AdminCounters>,
    places: Arc<Places>,
) {
    let router = routes::admin(Arc::clone(&control), Arc::clone(&counters));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok((stream, address)) => (stream, address.ip().to_canonical()),
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        let admitted = control.admits(peer);
        match places.take(peer, admitted) {
            Some(place) => {
                let router = router.clone().layer(Extension(Peer { address: peer, admitted }));
                tokio::spawn(connection(stream, router, Arc::clone(&counters), place));
            }
            None => refuse(&counters),
        }
    }
}

/// Accepts from the control socket for ever. Its mode says who may connect, `peers` who
/// gets an answer.
pub(super) async fn serve_unix(
    listener: UnixListener,
    peers: Allowed,
    control: Arc<dyn Control>,
    counters: Arc<AdminCounters>,
) {
    let router = routes::control(control);
    let places = Arc::new(Semaphore::new(MAX_CONTROL));
    let strangers = Arc::new(Semaphore::new(MAX_STRANGERS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        let (router, places) = match peers.check(&stream) {
            Ok(()) => (router.clone(), &places),
            Err(refused) => {
                counters.forbidden.fetch_add(1, Ordering::Relaxed);
                (routes::not_for(&refused.to_string()), &strangers)
            }
        };
        match Arc::clone(places).try_acquire_owned() {
            Ok(place) => {
                tokio::spawn(connection(stream, router, Arc::clone(&counters), place));
            }
            Err(_) => refuse(&counters),
        }
    }
}

fn refuse(counters: &AdminCounters) {
    counters.refused.fetch_add(1, Ordering::Relaxed);
}

async fn pause_after(error: &std::io::Error) {
    debug!(%error, "admin accept failed");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

async fn connection<S>(stream: S, router: Router, counters: Arc<AdminCounters>, place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _open = Open::new(&counters.open);
    // One request a connection: then one timeout bounds everything, and a
    // place is never held by a peer that is idle.
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_FIELDS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIMEOUT, served).await {
        debug!(%error, "admin connection failed");
    }
    drop(place);
}

/// Counts a connection as open while it lives, however it ends.
struct Open<'a>(&'a AtomicU64);

impl<'a> Open<'a> {
    fn new(open: &'a AtomicU64) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
