//! Azure Resource Manager: requests within its limits, whole listings.
//!
//! ```text
//! list, get, graph ─▶ send: budget ▸ token ▸ try ▸ try again ─▶ page: strict bodies
//!        ▲                                                        │
//!        └───────────── nextLink, $skipToken: verbatim, bounded ◀─┘
//! ```
//!
//! A listing is whole or an error: whatever fails on any page fails it all.
//! The token goes to Resource Manager's own scheme, host and port alone; a
//! `nextLink` elsewhere is refused before anything is sent there.

mod budget;
mod headers;
pub mod limits;
pub mod page;
pub mod problem;
mod send;
mod tokens;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use url::Url;

pub use limits::{Limits, Rate};
pub use tokens::YieldTokens;

use super::cloud::Endpoints;
use super::http::{Http, HttpError};
use super::identity::{Identity, IdentityError};
use super::versions;
use crate::metrics::azure::{AzureFamily, AzureMetrics};
use budget::Budget;
use send::Ask;

/// The kinds of requests that Azure limits apart from each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// Subscriptions, management groups, permissions.
    Resources,
    /// Interfaces, endpoints, zone groups, virtual networks.
    Network,
    /// Zones and links of a subscription.
    PrivateDns,
    /// Record sets of one zone, by its resource id, lower case.
    RecordSets(String),
    /// Registries and replications.
    Registry,
    /// Resource Graph.
    Graph,
}

impl Family {
    /// The family in metrics, where zones are not told apart.
    pub const fn metric(&self) -> AzureFamily {
        match self {
            Self::Resources => AzureFamily::Resources,
            Self::Network => AzureFamily::Network,
            Self::PrivateDns => AzureFamily::PrivateDns,
            Self::RecordSets(_) => AzureFamily::RecordSets,
            Self::Registry => AzureFamily::Registry,
            Self::Graph => AzureFamily::Graph,
        }
    }
}

/// A whole listing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List {
    /// The items of all pages.
    pub values: Vec<Value>,
    /// How many pages there were.
    pub pages: u32,
}

/// Why a request yields nothing.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// No token.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No response.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// 401, also with a fresh token.
    #[error("the token is not accepted: {message}")]
    Unauthorized {
        /// What Azure said.
        message: String,
    },
    /// 403.
    #[error("not allowed: {message}")]
    Forbidden {
        /// The action that the identity lacks (`Microsoft.Network/networkInterfaces/read`).
        action: String,
        /// What Azure said.
        message: String,
    },
    /// 404.
    #[error("not found")]
    NotFound,
    /// 409.
    #[error("in conflict: {message}")]
    Conflict {
        /// What Azure said.
        message: String,
    },
    /// 429, also after waiting as often as is worth it.
    #[error("throttled")]
    Throttled {
        /// When Azure takes requests again, if it said so.
        retry_after: Option<Duration>,
    },
    /// Any other status.
    #[error("status {status}: {message}")]
    Status {
        /// The status.
        status: u16,
        /// What Azure said.
        message: String,
    },
    /// A body that is not what it should be: cut, no JSON, without `value`.
    #[error("the body is not as it should be: {0}")]
    Body(String),
    /// A `nextLink` elsewhere: the token must not go there.
    #[error("the next page is on another host: {0}")]
    ForeignNextLink(String),
    /// More pages than any listing has.
    #[error("more than {0} pages")]
    TooManyPages(u32),
}

impl ArmError {
    /// The label for metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Identity(_) => "identity",
            Self::Http(HttpError::TimedOut) => "timeout",
            Self::Http(_) => "transport",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Forbidden { .. } => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict { .. } => "conflict",
            Self::Throttled { .. } => "throttled",
            Self::Status { .. } => "status",
            Self::Body(_) => "body",
            Self::ForeignNextLink(_) => "foreign_next_link",
            Self::TooManyPages(_) => "too_many_pages",
        }
    }
}

/// Most subscriptions of one query of Resource Graph.
const GRAPH_SUBSCRIPTIONS: usize = 1000;

/// A client of one cloud's Resource Manager. Cheap to clone; clones share the budgets.
#[derive(Clone, Debug)]
pub struct Arm {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    http: Http,
    tokens: Arc<dyn YieldTokens>,
    /// Resource Manager's address as configured, without a trailing slash, ...
    base: String,
    /// ... and parsed; without it every request is refused.
    manager: Option<Url>,
    limits: Limits,
    metrics: Arc<AzureMetrics>,
    budget: Budget,
    in_flight: Semaphore,
    /// Held while a refused token is replaced.
    refresh: tokio::sync::Mutex<()>,
}

impl Arm {
    /// A client with the default limits and counters of its own.
    pub fn new(http: Http, identity: Arc<Identity>, endpoints: Endpoints) -> Self {
        Self::with(http, identity, endpoints, Limits::default(), Arc::default())
    }

    /// A client with these tokens, limits and counters.
    pub fn with(
        http: Http,
        tokens: Arc<dyn YieldTokens>,
        endpoints: Endpoints,
        limits: Limits,
        metrics: Arc<AzureMetrics>,
    ) -> Self {
        let mut base = endpoints.resource_manager;
        base.truncate(base.trim_end_matches('/').len());
        let manager = Url::parse(&base).ok();
        let in_flight = Semaphore::new(limits.in_flight);
        let (budget, refresh) = (Budget::default(), tokio::sync::Mutex::default());
        let shared = Shared { http, tokens, base, manager, limits, metrics, budget, in_flight, refresh };
        Self { shared: Arc::new(shared) }
    }

    /// The counters.
    pub fn metrics(&self) -> &Arc<AzureMetrics> {
        &self.shared.metrics
    }

    /// All pages of the listing at `path` (with its api-version), `nextLink`s followed verbatim.
    ///
    /// # Errors
    /// Any page fails: then there is no listing.
    pub async fn list(&self, family: &Family, path: &str) -> Result<List, ArmError> {
        let limits = &self.shared.limits;
        let mut url = self.url(path)?;
        let mut list = List::default();
        let mut seen = HashSet::new();
        let mut items = page::Items::default();
        let mut left = limits.list_bytes;
        loop {
            if list.pages >= limits.pages {
                return Err(ArmError::TooManyPages(limits.pages));
            }
            let answer = self.send(Ask { family, url: &url, body: None }).await?;
            left = left.checked_sub(answer.len).ok_or_else(|| too_long(limits))?;
            let page = page::list(answer.body)?;
            if items.repeats(&page.items) {
                return Err(ArmError::Body("a page has only items of pages before it".to_owned()));
            }
            list.pages += 1;
            list.values.extend(page.items);
            let Some(link) = page.next else { return Ok(list) };
            seen.insert(url);
            url = page::next_url(self.manager()?, &link)?;
            if seen.contains(&url) {
                return Err(ArmError::Body("the pages go round in a circle".to_owned()));
            }
        }
    }

    /// The resource at `path`.
    ///
    /// # Errors
    /// [`ArmError::NotFound`] says that it is gone.
    pub async fn get(&self, family: &Family, path: &str) -> Result<Value, ArmError> {
        let url = self.url(path)?;
        let answer = self.send(Ask { family, url: &url, body: None }).await?;
        if !answer.body.is_object() {
            return Err(ArmError::Body("a resource is no object".to_owned()));
        }
        Ok(answer.body)
    }

    /// All rows of a Resource Graph query over `subscriptions`, as objects.
    ///
    /// # Errors
    /// Any page fails, or there are fewer rows than Azure counts.
    pub async fn graph(&self, subscriptions: &[String], query: &str) -> Result<List, ArmError> {
        let mut list = List::default();
        for subscriptions in subscriptions.chunks(GRAPH_SUBSCRIPTIONS) {
            self.graph_part(subscriptions, query, &mut list).await?;
        }
        Ok(list)
    }

    async fn graph_part(
        &self,
        subscriptions: &[String],
        query: &str,
        list: &mut List,
    ) -> Result<(), ArmError> {
        let limits = &self.shared.limits;
        let url = self
            .url(&format!("/providers/Microsoft.ResourceGraph/resources?api-version={}", versions::GRAPH))?;
        let options = json!({"resultFormat": "objectArray", "$top": limits.graph_page});
        let mut body = json!({"subscriptions": subscriptions, "query": query, "options": options});
        let mut seen = HashSet::new();
        let mut items = page::Items::default();
        let mut left = limits.list_bytes;
        let before = list.values.len();
        loop {
            if list.pages >= limits.pages {
                return Err(ArmError::TooManyPages(limits.pages));
            }
            let answer = self.send(Ask { family: &Family::Graph, url: &url, body: Some(&body) }).await?;
            left = left.checked_sub(answer.len).ok_or_else(|| too_long(limits))?;
            let page = page::graph(answer.body)?;
            if items.repeats(&page.rows) {
                return Err(ArmError::Body("a page has only rows of pages before it".to_owned()));
            }
            list.pages += 1;
            list.values.extend(page.rows);
            let Some(token) = page.skip_token else {
                let rows = (list.values.len() - before) as u64;
                if let Some(total) = page.total.filter(|total| rows < *total) {
                    return Err(ArmError::Body(format!("{rows} rows of {total}")));
                }
                return Ok(());
            };
            if !seen.insert(token.clone()) {
                return Err(ArmError::Body("the pages go round in a circle".to_owned()));
            }
            body["options"]["$skipToken"] = Value::String(token);
        }
    }

    /// Resource Manager's address.
    fn manager(&self) -> Result<&Url, ArmError> {
        let setup = || HttpError::Setup("the address of Azure Resource Manager is no URL".to_owned());
        self.shared.manager.as_ref().ok_or_else(|| setup().into())
    }

    /// The address of a path. A path that leads elsewhere is refused: ids
    /// come from Azure's answers.
    fn url(&self, path: &str) -> Result<Url, ArmError> {
        let manager = self.manager()?;
        let url = path.starts_with('/').then(|| Url::parse(&format!("{}{path}", self.shared.base)).ok());
        let url = url.flatten().filter(|url| page::is_same_origin(manager, url));
        url.ok_or_else(|| HttpError::Setup("not a path of Azure Resource Manager".to_owned()).into())
    }
}

fn too_long(limits: &Limits) -> ArmError {
    ArmError::Body(format!("a listing of more than {} bytes", limits.list_bytes))
}
