//! HTTP for operators: `/metrics`, `/livez`, `/readyz`, findings and a status
//! page on the admin listeners, records and explanations on the control socket.
//!
//! It knows the daemon by the [`Control`] trait alone and runs on the
//! `control` runtime, so a slow scrape or a large listing never delays a
//! packet. Every connection carries one request, is bounded in time and size,
//! and outsiders share a few places of their own: they cannot keep a probe or
//! a scrape out. What holds for every path (methods, sizes, headers) is in
//! `surface`, by which names one may ask in `hosts`, which users in `peers`.

mod cache_routes;
mod control_socket;
mod hosts;
mod http;
pub mod inventory;
mod page;
pub mod path;
mod peers;
mod routes;
mod surface;
mod sync_routes;
pub mod view;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;

pub use control_socket::{ControlSocket, ControlSocketError};

use crate::metrics::admin::AdminCounters;
use inventory::Inventory;
use path::Paths;
use view::cache::{CacheFlushed, CacheListing};
use view::sync::{GenerationRow, SyncDiff, SyncDone, SyncStatus};
use view::top::Top;
use view::{Explanation, FindingRow, RecordRow, Status};

/// Where Azure's load balancers probe from: admitted to `/livez` and `/readyz`.
pub const AZURE_PROBE: IpAddr = IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16));

/// What the admin code may ask of the daemon. Every call may take locks that
/// are held briefly; none waits for the network.
pub trait Control: Send + Sync + 'static {
    /// Whether `peer` may use the admin listeners.
    fn admits(&self, peer: IpAddr) -> bool;

    /// Whether the admin listeners may be asked by the name `host`, which is in lower case
    /// and has a dot in it but none at its end.
    fn is_called(&self, host: &str) -> bool;

    /// All metrics in Prometheus' text format.
    fn scrape(&self) -> String;

    /// Nothing if queries are served; else the reasons why not.
    fn unready(&self) -> Vec<String>;

    /// What runs, with what, and how it fares.
    fn status(&self) -> Status;

    /// The traffic so far: queries, upstreams, budgets.
    fn top(&self) -> Top;

    /// Every RRset that is held.
    fn records(&self) -> Vec<RecordRow>;

    /// Everything that is served, of one generation.
    fn inventory(&self) -> Inventory;

    /// What is wrong, the worst first.
    fn findings(&self) -> Vec<FindingRow>;

    /// What would be answered for `name` and `rtype` (A if absent) to the
    /// address `client` (to one without a view if absent), and why.
    ///
    /// # Errors
    /// The text says what is wrong with the name, the type or the address.
    fn explain(&self, name: &str, rtype: Option<&str>, client: Option<&str>) -> Result<Explanation, String>;

    /// What `hubdns doctor` must know of `name`, or of every registry that is ours.
    ///
    /// # Errors
    /// The text says what is wrong with the name.
    fn paths(&self, name: Option<&str>) -> Result<Paths, String>;

    /// Validates the configuration and applies it; says what was done.
    ///
    /// # Errors
    /// All problems of the configuration; nothing has changed then.
    fn reload(&self) -> Result<Vec<String>, Vec<String>>;

    /// How the sync fares: sources, listings, removals that wait.
    fn sync_status(&self) -> SyncStatus;

    /// What the last reading wants against what is served.
    fn sync_diff(&self) -> SyncDiff;

    /// The generations on disk, the newest first. Reads them all.
    ///
    /// # Errors
    /// The text says why the state directory cannot be read.
    fn sync_history(&self) -> Result<Vec<GenerationRow>, String>;

    /// Does what an operator asks of the sync, and waits for it.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    fn sync_operate(&self, operation: SyncOperation) -> Result<SyncDone, Vec<String>>;

    /// The responses that the cache keeps; `whole` with their records.
    ///
    /// # Errors
    /// The text says what is wrong with the name.
    fn cache_list(&self, filter: &CacheFilter, whole: bool) -> Result<CacheListing, String>;

    /// Forgets kept responses, whatever the filter's limit.
    ///
    /// # Errors
    /// The text says what is wrong with the name; nothing has changed then.
    fn cache_flush(&self, filter: &CacheFilter) -> Result<CacheFlushed, String>;
}

/// Which kept responses are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheFilter {
    /// Names at or below this one, as it was typed; all if absent.
    pub name: Option<String>,
    /// This name alone.
    pub exact: bool,
    /// Most of them.
    pub limit: usize,
}

/// What an operator may ask of the sync. Names are as they were typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncOperation {
    /// Read all sources now.
    Now,
    /// Let removals take effect: all that are held back, or of these names and registries.
    Accept(Vec<String>),
    /// Keep what is held back, or these names and registries.
    Reject(Vec<String>),
    /// Publish a saved generation again, and nothing else until it is accepted.
    Rollback(u64),
}

/// Binds the admin listeners.
///
/// # Errors
/// The address that could not be bound, and why.
pub fn bind(addresses: &[SocketAddr]) -> Result<Vec<std::net::TcpListener>, (SocketAddr, std::io::Error)> {
    let bound = addresses.iter().map(|&address| {
        let listener = std::net::TcpListener::bind(address).map_err(|error| (address, error))?;
        listener.set_nonblocking(true).map_err(|error| (address, error))?;
        Ok(listener)
    });
    bound.collect()
}

/// Serves the admin listeners until dropped; to be called on the `control` runtime.
///
/// # Errors
/// The runtime refuses a listener.
pub fn start(
    listeners: Vec<std::net::TcpListener>,
    control: &Arc<dyn Control>,
    counters: &Arc<AdminCounters>,
) -> std::io::Result<()> {
    let places = http::Places::new();
    for listener in listeners {
        let listener = TcpListener::from_std(listener)?;
        let (control, counters) = (Arc::clone(control), Arc::clone(counters));
        tokio::spawn(http::serve_tcp(listener, control, counters, Arc::clone(&places)));
    }
    Ok(())
}

/// Serves the control socket until dropped; to be called on the `control` runtime.
///
/// # Errors
/// The runtime refuses the listener.
pub fn start_control(
    socket: &ControlSocket,
    control: &Arc<dyn Control>,
    counters: &Arc<AdminCounters>,
) -> std::io::Result<()> {
    let listener = socket.listener()?;
    let peers = peers::Allowed::new(socket.group())?;
    tokio::spawn(http::serve_unix(listener, peers, Arc::clone(control), Arc::clone(counters)));
    Ok(())
}
