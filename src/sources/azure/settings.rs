//! What of the configuration bears on reading Azure.

use std::net::SocketAddr;

use crate::config::{AzureSource, Config};
use crate::sources::registry_name::private_zone;
use crate::wire::Name;

/// The settings of one source. Equal settings mean that a running reader may go on.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The source.
    pub source: AzureSource,
    /// Registry suffixes in force.
    pub suffixes: Vec<Name>,
    /// Further private zones whose records count.
    pub zones: Vec<Name>,
    /// The default upstreams: they look Azure's names up where nothing else can.
    pub upstreams: Vec<SocketAddr>,
    /// The addresses that we listen on.
    pub own: Vec<SocketAddr>,
}

impl Settings {
    /// Those of `source` in `config`.
    pub fn new(source: &AzureSource, config: &Config) -> Self {
        let default = config.forward.rules.iter().find(|rule| rule.suffix == Name::root());
        let group = default.and_then(|rule| config.forward.groups.get(rule.group));
        let upstreams = group.map(|group| group.upstreams.plain_addresses()).unwrap_or_default();
        Self {
            source: source.clone(),
            suffixes: config.names.suffixes.clone(),
            zones: config.names.zones.clone(),
            upstreams,
            own: config.server.listen.clone(),
        }
    }

    /// Whether the records of a private zone with this apex can matter: a
    /// private-link zone of registries, a more specific one, or one of `zones`.
    pub fn is_relevant(&self, apex: &Name) -> bool {
        let private = |suffix: &Name| private_zone(suffix).is_some_and(|zone| apex.is_at_or_below(&zone));
        self.zones.contains(apex) || self.suffixes.iter().any(private)
    }
}
