//! What a reload replaces: rules, upstreams, limits, bounds.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::config;
use crate::wire::FoldedName;

use super::entry::TtlBounds;
use super::health::Failures;
use super::rules::{Group, Rule, Rules};
use super::system;
use super::upstream::Upstream;

/// What the forwarder is made of; from the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Rules, groups, limits.
    pub forward: config::Forward,
    /// Bounds of the response cache.
    pub cache: config::Cache,
    /// Our own listeners, with the ports that they got: `system` must not name them.
    pub listeners: Vec<SocketAddr>,
    /// Where the host's resolvers are read from.
    pub resolv_conf: PathBuf,
}

impl Settings {
    /// The settings in `config`, with the host's own resolv.conf.
    pub fn new(config: &config::Config, listeners: Vec<SocketAddr>) -> Self {
        Self {
            forward: config.forward.clone(),
            cache: config.cache.clone(),
            listeners,
            resolv_conf: system::RESOLV_CONF.into(),
        }
    }
}

/// Times and limits of the engine.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The client is answered within this.
    pub client_deadline: Duration,
    /// The same while an expired response is at hand (RFC 8767).
    pub stale_after: Duration,
    /// A query is sent again after this.
    pub resend_after: Duration,
    /// An exchange ends after this.
    pub exchange_deadline: Duration,
    /// Questions in flight.
    pub max_in_flight: usize,
    /// Clients that wait for one question.
    pub max_waiters: usize,
    /// Questions of one client that may wait.
    pub max_waiters_per_client: usize,
    /// Response codes upon which the next upstream is asked.
    pub failures: Failures,
    /// What our OPT announces.
    pub udp_bytes: u16,
    /// Connections to upstreams.
    pub streams: config::Streams,
}

/// Settings compiled; immutable, replaced as a whole.
#[derive(Debug)]
pub struct Tables {
    /// The forward rules.
    pub rules: Rules,
    /// The group for others' registries, if configured.
    pub fallback: Option<Arc<Group>>,
    /// Times and limits.
    pub limits: Limits,
    /// How long responses are kept.
    pub bounds: TtlBounds,
}

/// Gives equal rules equal numbers across reloads, so that their cached
/// responses stay and those of changed rules are never found again.
#[derive(Debug, Default)]
pub struct Partitions(Mutex<HashMap<PartitionKey, u32>>);

type PartitionKey = (Box<[u8]>, Vec<Arc<Upstream>>, Option<Vec<Arc<Upstream>>>);

impl Partitions {
    fn number(&self, suffix: &[u8], group: &Group, fallback: Option<&Group>) -> u32 {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = known.len() as u32;
        let fallback = fallback.map(|group| group.upstreams.clone());
        *known.entry((suffix.into(), group.upstreams.clone(), fallback)).or_insert(next)
    }
}

impl Tables {
    /// Compiles `settings`; reads resolv.conf if a group wants it. A group
    /// that is left without an upstream is told of here, once per reload.
    pub fn new(settings: &Settings, partitions: &Partitions) -> Self {
        let groups: Vec<Arc<Group>> =
            settings.forward.groups.iter().map(|group| Arc::new(resolve_group(group, settings))).collect();
        let fallback = settings.forward.fallback.and_then(|index| groups.get(index)).cloned();
        let rule = |rule: &config::ForwardRule| {
            let group = groups.get(rule.group)?;
            let partition = partitions.number(rule.suffix.as_wire(), group, fallback.as_deref());
            Some(Rule { suffix: rule.suffix.clone(), group: Arc::clone(group), partition })
        };
        let rules = Rules::new(settings.forward.rules.iter().filter_map(rule).collect());
        let forward = &settings.forward;
        let limits = Limits {
            // Less what the answer takes on its way: the query has waited for a
            // batch, and the answer waits for a timer, a thread and the network.
            client_deadline: forward.client_deadline / 50 * 49,
            stale_after: forward.stale_after,
            resend_after: forward.resend_after,
            exchange_deadline: forward.exchange_deadline.max(forward.client_deadline),
            max_in_flight: forward.max_in_flight,
            max_waiters: forward.max_waiters,
            max_waiters_per_client: forward.max_waiters_per_client,
            failures: Failures::new(&forward.governor.failure_rcodes),
            udp_bytes: forward.udp_bytes,
            streams: forward.streams,
        };
        let cache = &settings.cache;
        let bounds = TtlBounds {
            min: cache.min_ttl,
            max: cache.max_ttl,
            max_negative: cache.max_negative_ttl,
            servfail: cache.servfail_ttl.clamp(1, 30),
        };
        Self { rules, fallback, limits, bounds }
    }

    /// Every upstream that may be asked.
    pub fn upstreams(&self) -> HashSet<Arc<Upstream>> {
        let groups = self.rules.iter().map(|rule| &rule.group).chain(&self.fallback);
        groups.flat_map(|group| group.upstreams.iter().map(Arc::clone)).collect()
    }
}

fn resolve_group(group: &config::UpstreamGroup, settings: &Settings) -> Group {
    let upstreams = match &group.upstreams {
        config::Upstreams::Servers(servers) => servers.iter().cloned().map(Upstream::new).collect(),
        config::Upstreams::System => {
            read_system(settings).into_iter().map(Upstream::plain).collect::<Vec<_>>()
        }
    };
    // A group that no rule uses may be empty without harm: `azure` and
    // `system` exist unasked.
    let index = settings.forward.groups.iter().position(|other| other == group);
    let used = settings.forward.rules.iter().any(|rule| Some(rule.group) == index)
        || (index.is_some() && settings.forward.fallback == index);
    if upstreams.is_empty() && used {
        tracing::warn!(group = group.name, "upstream group empty: its queries get SERVFAIL");
    }
    Group { name: group.name.clone(), upstreams }
}

fn read_system(settings: &Settings) -> Vec<SocketAddr> {
    match system::read(&settings.resolv_conf, &settings.listeners) {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(path = %settings.resolv_conf.display(), %error, "system resolvers unreadable");
            Vec::new()
        }
    }
}

/// A value that a reload replaces and packet workers read without a lock:
/// each thread keeps an `Arc` and compares a version.
#[derive(Debug)]
pub struct Swap {
    /// Unique among all values of all instances, so that a thread's copy is
    /// never taken for another instance's.
    version: AtomicU64,
    /// The partition of all names, if there is but one.
    only: AtomicU64,
    current: Mutex<Arc<Tables>>,
}

/// No partition: those are of 32 bits.
const SEVERAL: u64 = u64::MAX;

/// [`Swap::only`] of `tables`.
fn only(tables: &Tables) -> u64 {
    let mut rules = tables.rules.iter();
    match (rules.next(), rules.next()) {
        (Some(rule), None) => u64::from(rule.partition),
        _ => SEVERAL,
    }
}

static VERSIONS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static SEEN: RefCell<Option<(u64, Arc<Tables>)>> = const { RefCell::new(None) };
}

impl Swap {
    /// Starts with `tables`.
    pub fn new(tables: Tables) -> Self {
        let version = AtomicU64::new(VERSIONS.fetch_add(1, Ordering::Relaxed));
        let only = AtomicU64::new(only(&tables));
        Self { version, only, current: Mutex::new(Arc::new(tables)) }
    }

    /// Replaces the tables for all readers.
    pub fn replace(&self, tables: Tables) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        self.only.store(only(&tables), Ordering::Relaxed);
        *current = Arc::new(tables);
        self.version.store(VERSIONS.fetch_add(1, Ordering::Relaxed), Ordering::Release);
    }

    /// The current tables.
    pub fn load(&self) -> Arc<Tables> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The partition of the rule for `qname`; `None` if there are no rules at all.
    #[inline]
    pub fn partition(&self, qname: &FoldedName) -> Option<u32> {
        // Most configurations forward all names to the same upstreams: then
        // nothing of a thread's own is looked at.
        match u32::try_from(self.only.load(Ordering::Relaxed)) {
            Ok(only) => Some(only),
            Err(_) => self.partition_by_rules(qname),
        }
    }

    #[inline(never)]
    fn partition_by_rules(&self, qname: &FoldedName) -> Option<u32> {
        self.with(|tables| tables.rules.find(qname).map(|rule| rule.partition))
    }

    /// Changes with every replacement.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Calls `read` with the current tables, without a lock unless they are new.
    #[inline]
    pub fn with<T>(&self, read: impl FnOnce(&Tables) -> T) -> T {
        let version = self.version();
        SEEN.with_borrow_mut(|seen| {
            let tables = match seen {
                Some((known, tables)) if *known == version => tables,
                _ => &mut seen.insert((version, self.load())).1,
            };
            read(tables)
        })
    }
}
