//! What can go wrong with Azure, switched on by kind of request.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Token,
    Discovery,
    Subscriptions,
    ManagementGroups,
    Permissions,
    Zones,
    RecordSets,
    Links,
    Registries,
    Replications,
    Endpoints,
    ZoneGroups,
    Interfaces,
    VirtualNetworks,
    Graph,
    Other,
}

impl Kind {
    /// The kinds of which an estate is read.
    pub const ESTATE: [Self; 10] = [
        Self::Subscriptions,
        Self::Zones,
        Self::RecordSets,
        Self::Links,
        Self::Registries,
        Self::Replications,
        Self::Endpoints,
        Self::ZoneGroups,
        Self::Interfaces,
        Self::Graph,
    ];

    /// The kind of a path.
    pub fn of(path: &str) -> Self {
        let path = path.to_ascii_lowercase();
        let has = |part: &str| path.contains(part);
        match () {
            () if path.ends_with("/oauth2/v2.0/token") => Self::Token,
            () if has("/.well-known/") || has("/discovery/") => Self::Discovery,
            () if has("/microsoft.resourcegraph/") => Self::Graph,
            () if has("/microsoft.authorization/permissions") => Self::Permissions,
            () if has("/managementgroups") => Self::ManagementGroups,
            () if has("/virtualnetworklinks") => Self::Links,
            () if path.split_once("/privatednszones/").is_some_and(|(_, rest)| rest.contains('/')) => {
                Self::RecordSets
            }
            () if has("/privatednszones") => Self::Zones,
            () if has("/replications") => Self::Replications,
            () if has("/registries") => Self::Registries,
            () if has("/privatednszonegroups") => Self::ZoneGroups,
            () if has("/privateendpoints") => Self::Endpoints,
            () if has("/networkinterfaces") => Self::Interfaces,
            () if has("/virtualnetworks") => Self::VirtualNetworks,
            () if path.trim_end_matches('/') == "/subscriptions" || path.matches('/').count() == 2 => {
                Self::Subscriptions
            }
            () => Self::Other,
        }
    }

    /// The action that a role must have for it.
    pub fn action(self) -> &'static str {
        match self {
            Self::Zones => "Microsoft.Network/privateDnsZones/read",
            Self::RecordSets => "Microsoft.Network/privateDnsZones/ALL/read",
            Self::Links => "Microsoft.Network/privateDnsZones/virtualNetworkLinks/read",
            Self::Registries => "Microsoft.ContainerRegistry/registries/read",
            Self::Replications => "Microsoft.ContainerRegistry/registries/replications/read",
            Self::Endpoints => "Microsoft.Network/privateEndpoints/read",
            Self::ZoneGroups => "Microsoft.Network/privateEndpoints/privateDnsZoneGroups/read",
            Self::Interfaces => "Microsoft.Network/networkInterfaces/read",
            Self::VirtualNetworks => "Microsoft.Network/virtualNetworks/read",
            Self::Graph => "Microsoft.ResourceGraph/resources/read",
            Self::ManagementGroups => "Microsoft.Management/managementGroups/descendants/read",
            Self::Permissions => "Microsoft.Authorization/permissions/read",
            Self::Subscriptions | Self::Token | Self::Discovery | Self::Other => {
                "Microsoft.Resources/subscriptions/read"
            }
        }
    }
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An error status with the body that Azure sends with it.
    Status(u16),
    /// The same with `Retry-After`, as it is.
    StatusAfter(u16, String),
    /// A TCP reset instead of an answer.
    Reset,
    /// No answer until released or cleared; then the right one.
    Slow,
    /// Fewer bytes than `Content-Length` says.
    Truncated,
    /// Chunks without the last one.
    TruncatedChunks,
    /// A body that is no JSON.
    InvalidJson,
    /// JSON that is not what it should be: no `value`.
    WrongShape,
    /// Fields of a later API version in every object.
    UnknownFields,
    /// No items.
    EmptyList,
    /// The first half of the items, and no next page.
    HalfList,
    /// A `nextLink` on this scheme and host (`https://127.0.0.1:1`).
    ForeignNextLink(String),
    /// Each page has a link to another page with the same items.
    EndlessPaging,
    /// Each page has a link to itself.
    CyclicPaging,
    /// An empty page with a link to the right ones.
    EmptyPageWithNext,
    /// The right body followed by this many spaces: JSON allows them.
    Padded(usize),
}

/// Which requests a fault is for.
#[derive(Clone)]
pub struct Matcher(Arc<dyn Fn(&Request<'_>) -> bool + Send + Sync>);

/// What a matcher sees of a request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub kind: Kind,
    /// As sent.
    pub path: &'a str,
    /// As sent.
    pub query: &'a str,
}

impl From<Kind> for Matcher {
    fn from(kind: Kind) -> Self {
        Self(Arc::new(move |request| request.kind == kind))
    }
}

impl Matcher {
    /// Requests for which `wanted` holds.
    pub fn new(wanted: impl Fn(&Request<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(wanted))
    }

    /// Requests whose path and query have this in them, without regard to case.
    pub fn path(part: &str) -> Self {
        let part = part.to_ascii_lowercase();
        Self::new(move |request| {
            format!("{}?{}", request.path, request.query).to_ascii_lowercase().contains(&part)
        })
    }
}

struct Rule {
    matcher: Matcher,
    fault: Fault,
    left: Option<u32>,
}

/// The faults that are on, newest last; the newest that fits counts.
pub struct Faults {
    rules: Mutex<Vec<Rule>>,
    released: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { rules: Mutex::default(), released: watch::Sender::new(0) }
    }
}

impl Faults {
    pub fn add(&self, matcher: Matcher, fault: Fault, left: Option<u32>) {
        self.rules.lock().expect("no panic").push(Rule { matcher, fault, left });
    }

    pub fn clear(&self) {
        self.rules.lock().expect("no panic").clear();
        self.release();
    }

    pub fn release(&self) {
        self.released.send_modify(|epoch| *epoch += 1);
    }

    /// Resolves at the next release.
    pub fn released(&self) -> watch::Receiver<u64> {
        self.released.subscribe()
    }

    /// The fault for a request, counted.
    pub fn take(&self, request: &Request<'_>) -> Option<Fault> {
        let mut rules = self.rules.lock().expect("no panic");
        let fits = |rule: &&mut Rule| rule.left != Some(0) && (rule.matcher.0)(request);
        let rule = rules.iter_mut().rev().find(fits)?;
        rule.left = rule.left.map(|left| left - 1);
        Some(rule.fault.clone())
    }
}
