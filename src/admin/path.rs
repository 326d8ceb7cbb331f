//! What `hubdns doctor` must know from inside: which names must exist, who
//! says what of them, and whom they would be asked of. Plain data, made by the
//! running daemon or offline. Texts are raw; whoever shows them escapes them.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The ways to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paths {
    /// The number of the published snapshot.
    pub generation: u64,
    /// Where the daemon answers DNS; empty offline.
    pub listen: Vec<SocketAddr>,
    /// Whether public names are answered without the CNAME.
    pub flat: bool,
    /// Whether names of ours that no record covers are denied.
    pub closed: bool,
    /// What the configuration says of route checks.
    pub routes: RouteRules,
    /// The registries, or the one name that was asked for.
    pub registries: Vec<RegistryPath>,
    /// Registries beyond the limit.
    pub left_out: usize,
}

/// What the configuration says of route checks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRules {
    /// Prefixes to which connections may be opened.
    pub connect_prefixes: Vec<IpNet>,
    /// The port of the registries.
    pub port: u16,
    /// A check that takes longer has failed, seconds.
    pub timeout_seconds: u64,
    /// The certificates that are trusted instead of the system's.
    pub ca_file: Option<String>,
}

/// One registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryPath {
    /// Its login name; for a name of nobody's registry that name.
    pub login: String,
    /// Whether it is ours.
    pub ours: bool,
    /// Its names, the login name first.
    pub names: Vec<NamePath>,
}

/// The kinds of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NameKind {
    /// The login (REST) endpoint.
    Login,
    /// A replica's data endpoint.
    Data,
    /// A replica's regional endpoint.
    Geo,
    /// No registry's name.
    #[default]
    Other,
}

/// One name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamePath {
    /// The name that clients ask for.
    pub name: String,
    /// Its private-link name; empty for names of no registry.
    pub private_link: String,
    /// What kind of name it is.
    pub kind: NameKind,
    /// Whether it is answered from the record set.
    pub held: bool,
    /// The addresses that are answered.
    pub addresses: Vec<IpAddr>,
    /// What clients of views are answered instead, by the view's name.
    pub views: Vec<(String, Vec<IpAddr>)>,
    /// Their TTL in seconds.
    pub ttl: u32,
    /// Whether AAAA records are held.
    pub has_aaaa: bool,
    /// Why the name must exist, in a few words each.
    pub expected_by: Vec<String>,
    /// Who says what of it, the one that is answered first.
    pub words: Vec<Word>,
    /// Whether any private zone that could hold it was read.
    pub zone_was_read: bool,
    /// Findings about the name.
    pub findings: Vec<String>,
    /// Whom it would be asked of, were it not held.
    pub upstreams: Vec<UpstreamRow>,
}

/// What one source says of a name's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// What kind of fact: `static`, `interface`, `custom-dns` or `zone`.
    pub rank: String,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// The Azure resource id, the file and line, or the configuration's key.
    pub origin: String,
    /// The source's name.
    pub source: String,
    /// When it was read, Unix seconds.
    pub read_at: u64,
    /// Whether this is what is answered.
    pub served: bool,
    /// Why not, in one word for programs; empty if it is.
    pub reason: String,
    /// The same as a sentence.
    pub because: String,
}

/// An upstream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UpstreamRow {
    /// Its group.
    pub group: String,
    /// The address.
    pub address: SocketAddr,
    /// How it is asked: `udp`, `tcp`, `tls` or `https`; as `udp` if empty.
    #[serde(default)]
    pub transport: String,
    /// The name in its certificate; empty for its address.
    #[serde(default)]
    pub name: String,
    /// The path of DNS over HTTPS; empty for the others.
    #[serde(default)]
    pub path: String,
    /// The public keys that it may have, in base64.
    #[serde(default)]
    pub pins: Vec<String>,
    /// The certificates that are trusted instead of the system's; empty for those.
    #[serde(default)]
    pub ca_file: String,
    /// Whether it is asked only where others hide a name.
    pub fallback: bool,
}
