//! What is remembered from one cycle to the next, and across restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::wire::Name;

/// The memory of the merge: taken in and given back, changed nowhere else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Login names of registries that had an Approved connection in scope.
    /// They stay ours: a name of theirs never leaves the private path unseen.
    pub own: BTreeSet<Name>,
    /// Connections that were Approved, by the endpoint's resource id (or the
    /// interface's, where no endpoint is told), with the names they had.
    pub connections: BTreeMap<String, Remembered>,
}

/// What an Approved connection had.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Its public names.
    pub names: Vec<RememberedName>,
}

/// One public name of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedName {
    /// The public name.
    pub public: Name,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Where they were seen.
    pub origin: String,
}
