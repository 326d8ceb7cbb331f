//! The registries as JSON for programs. Fields are added, never changed, under
//! one version number.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use super::registries::{Endpoint, registries};
use super::{Document, Estate, text};

/// The version of the form.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Export {
    format: &'static str,
    version: u32,
    /// The number of the published snapshot; null where nothing was published.
    generation: Option<u64>,
    /// When it was published, Unix seconds.
    published_at: Option<u64>,
    /// The view whose answers these are.
    view: Option<String>,
    registries: Vec<RegistryRow>,
}

#[derive(Serialize)]
struct RegistryRow {
    login_server: String,
    own: bool,
    endpoints: Vec<EndpointRow>,
}

#[derive(Serialize)]
struct EndpointRow {
    kind: &'static str,
    region: Option<String>,
    name: String,
    private_link_name: String,
    ttl_seconds: u32,
    addresses: Vec<IpAddr>,
    /// What clients of views get instead.
    views: BTreeMap<String, Vec<IpAddr>>,
    origin: Option<Origin>,
}

#[derive(Serialize)]
struct Origin {
    source: String,
    rank: String,
    id: String,
}

/// All registries.
pub fn json(estate: &Estate) -> Document {
    let rows = registries(estate).into_iter().map(|registry| RegistryRow {
        login_server: registry.login.to_string(),
        own: registry.own,
        endpoints: registry.endpoints.into_iter().map(row).collect(),
    });
    let published = |number: u64| (number > 0).then_some(number);
    let export = Export {
        format: "hubdns-registries",
        version: VERSION,
        generation: published(estate.generation),
        published_at: published(estate.published_at),
        view: estate.view.clone(),
        registries: rows.collect(),
    };
    Document { text: text::json(&export), notes: Vec::new() }
}

fn row(endpoint: Endpoint) -> EndpointRow {
    EndpointRow {
        kind: endpoint.kind.label(),
        region: endpoint.region,
        name: endpoint.name.to_string(),
        private_link_name: endpoint.private_link_name.to_string(),
        ttl_seconds: endpoint.ttl,
        addresses: endpoint.addresses,
        views: endpoint.views,
        origin: endpoint.origin.map(|o| Origin { source: o.source, rank: o.rank, id: o.id }),
    }
}
