//! What the connections of an encrypted listener share, and how they ask.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

use super::super::access::{AccessList, Policies, Policy};
use super::super::ask::{Asked, Asking};
use super::super::context;
use super::super::extras::Asker;
use super::super::gate::Gate;
use super::super::udp::Pending;
use super::certificates::Store;
use super::letter::{TaskReply, Way};
use crate::answer::{Context, Transport};
use crate::config::Encrypted;
use crate::metrics::listeners::ListenerMetrics;
use crate::metrics::queries::Shared as Counters;
use crate::resolve::{self, Resolver};
use crate::snapshot::Snapshot;
use crate::snapshot::publish::Publisher;
use crate::wire::{Offer, Query};

/// The longest message.
pub(super) const LONGEST: usize = 65_535;

/// What all encrypted listeners share.
#[derive(Debug)]
pub(in crate::serve) struct Shared {
    pub(super) resolver: Resolver,
    pub(super) publisher: Arc<Publisher>,
    pub(super) policies: Arc<Policies>,
    pub(super) pending: Pending,
    pub(super) counters: Counters,
    /// Whether no more queries are taken.
    pub(super) drain: watch::Sender<bool>,
    /// Listeners that still accept connections.
    pub(super) accepting: AtomicUsize,
}

impl Shared {
    /// What the listeners of a server share that is about to start.
    pub(in crate::serve) fn new(
        resolver: &Resolver,
        publisher: &Arc<Publisher>,
        policies: &Arc<Policies>,
        pending: &Pending,
        counters: Counters,
    ) -> Self {
        Self {
            resolver: resolver.clone(),
            publisher: Arc::clone(publisher),
            policies: Arc::clone(policies),
            pending: pending.clone(),
            counters,
            drain: watch::Sender::new(false),
            accepting: AtomicUsize::new(0),
        }
    }
}

/// One encrypted listener.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    pub(super) transport: Transport,
    pub(super) settings: Encrypted,
    /// Whose connections start with a PROXY header; `None` where nobody's do.
    pub(super) proxies: Option<AccessList>,
    pub(super) store: Store,
    pub(super) gate: Arc<Gate>,
    pub(super) metrics: Arc<ListenerMetrics>,
    pub(super) shared: Arc<Shared>,
}

/// A listener that accepts connections.
pub(super) struct Accepting(Arc<Shared>);

impl Accepting {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        shared.accepting.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.accepting.fetch_sub(1, Ordering::Release);
    }
}

/// Counts a panic of the task that holds it: a defect, which ends one connection.
pub(super) struct Survives(pub(super) Arc<Shared>);

impl Drop for Survives {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.counters.panicked();
        }
    }
}

/// Waits until no more queries are taken.
pub(super) async fn drained(drain: &mut watch::Receiver<bool>) {
    // Without a sender the server is gone.
    let _ = drain.wait_for(|drained| *drained).await;
}

thread_local! {
    /// Where queries are read and responses written; nobody waits in between.
    static SCRATCH: RefCell<(Query, Vec<u8>)> = const { RefCell::new((Query::EMPTY, Vec::new())) };
}

/// What the messages of one read are asked with: one snapshot, one policy.
pub(super) struct Session<'l> {
    listener: &'l Listener,
    client: IpAddr,
    policy: Arc<Policy>,
    snapshot: Arc<Snapshot>,
    context: Context,
    now: u64,
}

impl Listener {
    /// Whether `client` may ask now.
    pub(super) fn admits(&self, client: IpAddr) -> bool {
        self.shared.policies.current().allow.admits(client)
    }

    /// What `client` asks with; `None` where it may not.
    pub(super) fn session(&self, client: IpAddr) -> Option<Session<'_>> {
        let policy = self.shared.policies.current();
        if !policy.allow.admits(client) {
            return None;
        }
        let snapshot = self.shared.publisher.current();
        let context = context(self.transport, client, &policy, &snapshot);
        Some(Session { listener: self, client, policy, snapshot, context, now: resolve::now() })
    }
}

impl Session<'_> {
    /// Whether the answer may be another for another client.
    pub(super) fn is_personal(&self) -> bool {
        self.snapshot.has_views()
    }

    /// Asks `message`. A response that is ready is given to `take`, any other
    /// arrives by the way that `way` makes.
    pub(super) fn ask(
        &self,
        message: &[u8],
        keepalive: Option<u16>,
        way: impl FnOnce() -> Way,
        take: impl FnOnce(&[u8]),
    ) -> Asked {
        let shared = &self.listener.shared;
        shared.counters.queries(self.context.transport, 1);
        let asking = Asking {
            resolver: &shared.resolver,
            counters: &shared.counters,
            context: self.context,
            snapshot: &self.snapshot,
            now: self.now,
            asker: Asker {
                policy: &self.policy,
                client: self.client,
                transport: self.context.transport,
                offer: Offer { keepalive, padding: true },
            },
        };
        let reply = |extras| {
            TaskReply::new(way(), self.client, extras, shared.counters.clone(), shared.pending.one())
        };
        SCRATCH.with_borrow_mut(|(query, place)| {
            place.resize(LONGEST, 0);
            if let Some(front) = place.get_mut(..message.len()) {
                front.copy_from_slice(message);
            }
            let asked = asking.ask(query, message, place, reply);
            if let Asked::Ready(len) = asked {
                take(place.get(..len).unwrap_or_default());
            }
            asked
        })
    }
}
