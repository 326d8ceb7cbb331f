//! The validated configuration. Every value in it is possible and every
//! default is filled in.
//!
//! ```text
//! TOML ─▶ schema, value: read by key ─▶ file::ConfigFile ─▶ validate ─▶ Config
//!                  └─────────── error::Report: all problems ───┘
//! ```
//!
//! Three types for three stages: text, [`Config`], and whatever a part makes of
//! it at run time. One definition (`file.rs`) holds the keys, their defaults,
//! ranges and documentation.

mod advice;
mod azure;
mod edns;
mod error;
mod file;
mod governor;
mod keys;
mod load;
mod rdata;
mod schema;
mod special;
mod summary;
mod transports;
mod trust;
mod upstream;
mod validate;
mod value;

pub use advice::advice;
pub use azure::{
    AzureCloud, AzureIdentity, AzureSource, CredentialKind, Discovery, ManagedIdentity, ProxyUrl,
};
pub use edns::{CookieMode, CookieSecrets, Edns};
pub use error::{ConfigError, OVERRIDES, Problem};
pub use governor::{AZURE_DNS, Governor, Policy, UpstreamBudget};
pub use keys::{KeyDoc, keys, keys_table};
pub use load::Overrides;
pub(crate) use rdata::from_text as rdata_from_text;
pub use summary::summary;
pub use transports::{ClientCertificates, Encrypted, EncryptedTransport, Listener, Service};
pub use trust::{TrustError, trusted_certificates};
pub use upstream::{Pin, Streams, Upstream, UpstreamTransport};

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::wire::{Name, Rtype};

/// Everything that can be configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Listeners and workers.
    pub server: Server,
    /// How packet workers wait and share the clients.
    pub worker: Worker,
    /// Buffers of the UDP sockets.
    pub udp: Udp,
    /// DNS over TCP.
    pub tcp: Tcp,
    /// Listeners besides those of `server`.
    pub listeners: Vec<Listener>,
    /// Admin HTTP.
    pub admin: Admin,
    /// Logs.
    pub log: Log,
    /// Which names are answered, and how.
    pub names: Names,
    /// Which networks count.
    pub scope: Scope,
    /// Where records come from, in the file's order.
    pub sources: Vec<Source>,
    /// What removals wait for.
    pub guard: Guard,
    /// Clients that get answers of their own, the first view first.
    pub views: Vec<View>,
    /// Checks of the way to the registries.
    pub routes: RouteChecks,
    /// Findings that are not told: a code, or a code and a name (`manual-record db.corp.example`).
    pub ignored_findings: Vec<String>,
    /// Forwarding.
    pub forward: Forward,
    /// The response cache.
    pub cache: Cache,
}

/// Listeners and workers.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Addresses for DNS over UDP and TCP. Port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// Packet workers; at least 1 (0 in the file means one per core).
    pub workers: usize,
    /// Prefixes that may ask.
    pub allow: Vec<IpNet>,
    /// What others get.
    pub denied: Denied,
    /// Largest UDP response in bytes (RFC 9715), 512 to 4096.
    pub udp_max_bytes: u16,
    /// EDNS options of responses.
    pub edns: Edns,
    /// Where published sets are saved.
    pub state_dir: PathBuf,
    /// How many published sets are kept there; at least 2.
    pub keep_generations: usize,
    /// The control socket, if any.
    pub control_socket: Option<PathBuf>,
    /// The group that may use it: a name, or a number in digits; none if absent.
    pub control_group: Option<String>,
    /// How long SIGTERM waits for queries in flight.
    pub drain: Duration,
}

/// How packet workers wait and share the clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Longest time that one without work looks for queries before it sleeps.
    pub spin: Duration,
    /// Which worker a query reaches.
    pub steering: Steering,
}

/// How the kernel spreads clients over workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// By a hash of their address and port.
    Hash,
    /// To the worker on the core that received the query.
    Cpu,
}

/// Buffers that the UDP sockets ask for, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Udp {
    /// Receive buffer of each socket.
    pub receive_buffer: u32,
    /// Send buffer of each socket.
    pub send_buffer: u32,
}

/// What clients outside the allowed prefixes get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// REFUSED with EDE 18.
    Refuse,
    /// Nothing.
    Drop,
}

/// DNS over TCP (RFC 7766).
#[derive(Clone, Debug, PartialEq)]
pub struct Tcp {
    /// Connections in all.
    pub max_connections: usize,
    /// Connections per client address.
    pub max_connections_per_client: usize,
    /// Queries in flight per connection.
    pub max_queries_per_connection: usize,
    /// A connection without traffic is closed after this.
    pub idle_timeout: Duration,
    /// Every connection is closed after this, once idle.
    pub total_timeout: Duration,
}

/// Admin HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Addresses to listen on; none switches it off.
    pub listen: Vec<SocketAddr>,
    /// Prefixes that may scrape and look.
    pub allow: Vec<IpNet>,
    /// Names that a request may be addressed to, in lower case and without a final dot.
    pub hosts: Vec<String>,
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Text for people or JSON for machines.
    pub format: LogFormat,
    /// The least level that is logged (`error` to `trace`), or a filter directive.
    pub level: String,
}

/// The forms of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text.
    Text,
    /// One JSON object a line.
    Json,
}

/// Which names are answered, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Names {
    /// Registry suffixes of the clouds in force: `azurecr.io`, `azurecr.us`, `azurecr.cn`.
    pub suffixes: Vec<Name>,
    /// Further private zones whose records are served.
    pub zones: Vec<Name>,
    /// Chain (CNAME and A) or flat (A alone).
    pub answer: AnswerMode,
    /// What names of ours get that no record covers.
    pub own_missing: OwnMissing,
    /// Login names of registries that are ours though no source shows a connection.
    pub own_registries: Vec<Name>,
    /// Smallest TTL served, seconds.
    pub ttl_floor: u32,
    /// Largest TTL served, seconds.
    pub ttl_cap: u32,
    /// TTL of names known from interfaces alone, seconds.
    pub interface_ttl: u32,
    /// Names answered locally by RFC.
    pub special: Special,
}

/// Chain or flat answers for public names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerMode {
    /// CNAME to the private-link name, then its records.
    Chain,
    /// The A or AAAA records alone.
    Flat,
}

/// What names of ours get that no record covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnMissing {
    /// Denied, so that nobody leaves the private path unseen.
    Closed,
    /// Forwarded.
    Forward,
}

/// Names answered locally by RFC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Special {
    /// `localhost` (RFC 6761 section 6.3).
    pub localhost: bool,
    /// `invalid` (RFC 6761 section 6.4).
    pub invalid: bool,
    /// `onion` (RFC 7686).
    pub onion: bool,
    /// `resolver.arpa` (RFC 9462 section 6.4).
    pub resolver_arpa: bool,
    /// Private reverse zones (RFC 6303).
    pub private_reverse: bool,
}

/// Which networks count.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// Resource ids of virtual networks, lower case; empty means all.
    pub vnets: Vec<String>,
    /// Prefixes that served addresses of registries must lie in.
    pub allowed_prefixes: Vec<IpNet>,
    /// Regions whose endpoints are preferred, best first, as Azure writes them (`westeurope`).
    pub regions: Vec<String>,
}

/// What removals wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Removals take effect after this time.
    pub grace: Duration,
    /// Removals of more than this share of the published names, percent, are held back.
    pub max_removed_percent: u32,
    /// Removals of names that were asked for within this time are held back.
    pub asked_within: Duration,
}

/// Clients that get answers of their own where several endpoints serve one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its name.
    pub name: String,
    /// The prefixes of its clients; the longest of all views wins.
    pub clients: Vec<IpNet>,
    /// Regions whose endpoints are preferred, best first.
    pub regions: Vec<String>,
    /// Resource ids of virtual networks whose endpoints are preferred, lower case, best first.
    pub vnets: Vec<String>,
}

/// Checks of the way to the registries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteChecks {
    /// Prefixes to which hubdns may open connections; none by default.
    pub connect_prefixes: Vec<IpNet>,
    /// Time between periodic checks; `None` for no periodic checks.
    pub interval: Option<Duration>,
    /// A check that takes longer has failed.
    pub timeout: Duration,
    /// The port of the registries.
    pub port: u16,
    /// The certificates that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// A source of records.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Records in the configuration itself.
    Static(Vec<StaticRecord>),
    /// A master file.
    ZoneFile {
        /// The zone's apex.
        zone: Name,
        /// The file.
        path: PathBuf,
        /// Whether names that the zone lacks are forwarded.
        fall_through: bool,
    },
    /// Saved output of the az command line.
    AzJson {
        /// The source's name in logs and metrics.
        name: String,
        /// A file, or a directory of `*.json`.
        path: PathBuf,
    },
    /// Azure, live.
    Azure(Box<AzureSource>),
    /// The example estate that is part of the program, read as [`Source::AzJson`] reads files.
    Example {
        /// The source's name in logs and metrics.
        name: String,
    },
}

/// One RRset written in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticRecord {
    /// The owner: a public registry name, a private-link name, or a name in `zones`.
    pub name: Name,
    /// The type.
    pub rtype: Rtype,
    /// The TTL in seconds.
    pub ttl: u32,
    /// RDATA of each record, uncompressed wire form.
    pub rdatas: Vec<Box<[u8]>>,
    /// The key in the file (`sources.static[0]`), for provenance.
    pub origin: String,
}

/// Forwarding.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// The upstream groups.
    pub groups: Vec<UpstreamGroup>,
    /// The rules; among them always one for the root, the default.
    pub rules: Vec<ForwardRule>,
    /// Index into `groups` of the fallback for others' registries.
    pub fallback: Option<usize>,
    /// The client is answered within this (Windows DNS gives a forwarder 3 s).
    pub client_deadline: Duration,
    /// While an expired response is at hand, the client gets that after this (RFC 8767).
    pub stale_after: Duration,
    /// An unanswered query is sent again after this.
    pub resend_after: Duration,
    /// An exchange is given up after this.
    pub exchange_deadline: Duration,
    /// Questions in flight in all.
    pub max_in_flight: usize,
    /// Clients that may wait for one question.
    pub max_waiters: usize,
    /// Questions of one client that may wait.
    pub max_waiters_per_client: usize,
    /// UDP payload size that our OPT announces to upstreams.
    pub udp_bytes: u16,
    /// Connections to upstreams.
    pub streams: Streams,
    /// How upstreams are asked: budgets, health, policies.
    pub governor: Governor,
}

/// A group of upstreams that stand in for each other.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamGroup {
    /// Its name in the file; `azure` and `system` exist without one.
    pub name: String,
    /// What it asks.
    pub upstreams: Upstreams,
}

/// Where a group's upstreams come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Upstreams {
    /// From the file, asked in this order.
    Servers(Vec<Upstream>),
    /// The resolvers of the host's `/etc/resolv.conf`, never ourselves.
    System,
}

impl Upstreams {
    /// Upstreams over UDP, asked in this order.
    pub fn addresses(addresses: &[SocketAddr]) -> Self {
        Self::Servers(addresses.iter().copied().map(Upstream::from).collect())
    }

    /// The addresses of those that answer unencrypted, for look-ups that do
    /// not go through the forwarder.
    pub fn plain_addresses(&self) -> Vec<SocketAddr> {
        match self {
            Self::Servers(servers) => {
                servers.iter().filter(|u| !u.transport.is_encrypted()).map(|u| u.address).collect()
            }
            Self::System => Vec::new(),
        }
    }
}

/// Names below `suffix` go to a group; the longest suffix wins.
#[derive(Clone, Debug, PartialEq)]
pub struct ForwardRule {
    /// The suffix.
    pub suffix: Name,
    /// Index into `groups`.
    pub group: usize,
}

/// The response cache.
#[derive(Clone, Debug, PartialEq)]
pub struct Cache {
    /// Bound in bytes; 0 switches it off.
    pub max_bytes: u64,
    /// Smallest time that a positive answer is kept, seconds.
    pub min_ttl: u32,
    /// Largest time that a positive answer is kept, seconds.
    pub max_ttl: u32,
    /// Largest time that a negative answer is kept, seconds (RFC 2308 section 5).
    pub max_negative_ttl: u32,
    /// Time that an upstream's SERVFAIL is kept, seconds, 1 to 30 (RFC 9520).
    pub servfail_ttl: u32,
    /// How long after it expired a response may stand in, seconds; 0 for never (RFC 8767).
    pub max_stale: u32,
    /// The TTL of a response that stands in, seconds.
    pub stale_ttl: u32,
    /// How long an upstream that failed is not asked again for it, seconds.
    pub stale_recheck: u32,
    /// Hot responses that are renewed early at a time; 0 for none.
    pub max_renewals: usize,
    /// Whether responses are saved at the end and read at the start.
    pub save: bool,
}

impl Config {
    /// Whether `address` lies in one of `prefixes`. IPv4-mapped addresses count as IPv4.
    pub fn admits(prefixes: &[IpNet], address: IpAddr) -> bool {
        let address = address.to_canonical();
        prefixes.iter().any(|prefix| prefix.contains(&address))
    }
}
