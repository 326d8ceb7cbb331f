//! The list for people, for programs and for nftables.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde::Serialize;

use super::{Entry, Estate, PORT, addresses};
use crate::export::text;

/// The version of the JSON form.
const VERSION: u32 = 1;

pub(super) fn text(estate: &Estate, entries: &[Entry]) -> String {
    let mut out = text::title(estate, "#", "Registries behind Private Link: what clients must reach");
    let width = entries.iter().map(|entry| entry.name.len()).max().unwrap_or(0);
    for entry in entries {
        let list: Vec<String> = entry.addresses.iter().map(IpAddr::to_string).collect();
        let (name, endpoint) = (&entry.name, entry.endpoint);
        let line = format!("{name:width$}  {PORT}/tcp  {endpoint:5}  {}", list.join(" "));
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

#[derive(Serialize)]
struct List<'a> {
    format: &'static str,
    version: u32,
    generation: Option<u64>,
    published_at: Option<u64>,
    view: Option<&'a str>,
    endpoints: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    registry: &'a str,
    endpoint: &'a str,
    region: Option<&'a str>,
    name: &'a str,
    port: u16,
    protocol: &'static str,
    addresses: &'a BTreeSet<IpAddr>,
}

pub(super) fn json(estate: &Estate, entries: &[Entry]) -> String {
    let published = |number: u64| (number > 0).then_some(number);
    let rows = entries.iter().map(|entry| Row {
        registry: &entry.registry,
        endpoint: entry.endpoint,
        region: entry.region.as_deref(),
        name: &entry.name,
        port: PORT,
        protocol: "tcp",
        addresses: &entry.addresses,
    });
    text::json(&List {
        format: "hubdns-allow-list",
        version: VERSION,
        generation: published(estate.generation),
        published_at: published(estate.published_at),
        view: estate.view.as_deref(),
        endpoints: rows.collect(),
    })
}

/// Lines end in CR LF (RFC 4180 section 2). No field needs quotation marks:
/// all are plain names, words, numbers and addresses.
pub(super) fn csv(entries: &[Entry]) -> String {
    let mut out = String::from("registry,endpoint,region,name,port,protocol,address\r\n");
    for entry in entries {
        let Entry { registry, endpoint, region, name, .. } = entry;
        let region = region.as_deref().unwrap_or_default();
        for address in &entry.addresses {
            let _ = write!(out, "{registry},{endpoint},{region},{name},{PORT},tcp,{address}\r\n");
        }
    }
    out
}

/// Two sets, made if absent and filled anew, in one transaction of `nft -f`.
pub(super) fn nftables(estate: &Estate, entries: &[Entry]) -> String {
    let mut out = text::title(estate, "#", "Addresses of registries behind Private Link");
    let _ = write!(
        out,
        "# Load with \"nft -f FILE\", then use the sets in a chain of this table:\n\
         #   ip daddr @registries_v4 tcp dport {PORT} accept\n\
         #   ip6 daddr @registries_v6 tcp dport {PORT} accept\n\
         table inet hubdns {{\n"
    );
    let families = [("registries_v4", "ipv4_addr", true), ("registries_v6", "ipv6_addr", false)];
    for (set, kind, _) in families {
        let _ = writeln!(out, "\tset {set} {{\n\t\ttype {kind}\n\t}}");
    }
    out.push_str("}\n");
    for (set, _, is_v4) in families {
        let _ = writeln!(out, "flush set inet hubdns {set}");
        let elements: Vec<String> = addresses(entries, is_v4).iter().map(IpAddr::to_string).collect();
        if !elements.is_empty() {
            let _ = writeln!(out, "add element inet hubdns {set} {{ {} }}", elements.join(", "));
        }
    }
    out
}
