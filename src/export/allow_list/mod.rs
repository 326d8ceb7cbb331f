//! What clients of the registries must be let through to: for each registry
//! its login (REST) and data endpoints, port 443, with the private addresses.
//!
//! Without a chosen client the addresses of all views are listed: a firewall
//! stands in front of everybody.

mod azure_firewall;
mod proxy;
mod table;

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::registries::registries;
use super::text::{left_out, plain_name};
use super::{Document, Estate};

/// The port of every endpoint.
const PORT: u16 = 443;

/// The forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Columns for people.
    Text,
    /// Rows for programs.
    Json,
    /// Comma-separated values (RFC 4180), one row per name and address.
    Csv,
    /// Access lists of Squid.
    Squid,
    /// Sets of nftables.
    Nftables,
    /// The variables that keep clients from asking a proxy.
    NoProxy,
    /// A rule collection group of an Azure Firewall policy.
    AzureFirewall,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    registry: String,
    endpoint: &'static str,
    region: Option<String>,
    name: String,
    addresses: BTreeSet<IpAddr>,
}

/// The list in the form of `format`. `clients` are the prefixes from which the
/// registries are used, where the form has a place for them; none means all.
pub fn allow_list(estate: &Estate, format: Format, clients: &[IpNet]) -> Document {
    let mut notes = Vec::new();
    let entries = entries(estate, &mut notes);
    let text = match format {
        Format::Text => table::text(estate, &entries),
        Format::Json => table::json(estate, &entries),
        Format::Csv => table::csv(&entries),
        Format::Squid => proxy::squid(estate, &entries),
        Format::NoProxy => proxy::no_proxy(estate, &entries),
        Format::Nftables => table::nftables(estate, &entries),
        Format::AzureFirewall => azure_firewall::rules(&entries, clients),
    };
    Document { text, notes }
}

fn entries(estate: &Estate, notes: &mut Vec<String>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for registry in registries(estate) {
        for endpoint in &registry.endpoints {
            let names = plain_name(&registry.login).zip(plain_name(&endpoint.name));
            let Some((registry, name)) = names else {
                notes.push(left_out(&endpoint.name));
                continue;
            };
            entries.push(Entry {
                registry,
                endpoint: endpoint.kind.label(),
                // Of a plain name every part is plain.
                region: endpoint.region.clone(),
                name,
                addresses: endpoint.every_address(),
            });
        }
    }
    entries
}

/// All addresses of one family.
fn addresses(entries: &[Entry], is_v4: bool) -> BTreeSet<IpAddr> {
    entries.iter().flat_map(|entry| &entry.addresses).filter(|ip| ip.is_ipv4() == is_v4).copied().collect()
}
