//! The list for a proxy, and for clients that are to go around it.

use std::fmt::Write as _;

use super::{Entry, Estate, PORT, addresses};
use crate::export::text::title;

/// Access lists of Squid. One without a value is an error there, so it is left out.
pub(super) fn squid(estate: &Estate, entries: &[Entry]) -> String {
    let mut out = title(estate, "#", "Registries behind Private Link");
    let _ = write!(
        out,
        "# To let clients through, above \"http_access deny all\":\n\
         #   http_access allow CONNECT hubdns_registries hubdns_registry_port\n\
         acl hubdns_registry_port port {PORT}\n"
    );
    for entry in entries {
        let _ = writeln!(out, "acl hubdns_registries dstdomain {}", entry.name);
    }
    for is_v4 in [true, false] {
        for address in addresses(entries, is_v4) {
            let _ = writeln!(out, "acl hubdns_registry_addresses dst {address}");
        }
    }
    out
}

/// The variable in both spellings: tools differ in which one they read.
pub(super) fn no_proxy(estate: &Estate, entries: &[Entry]) -> String {
    let mut out = title(estate, "#", "Registries behind Private Link, to be reached without a proxy");
    let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    let names = names.join(",");
    let _ = write!(out, "no_proxy={names}\nNO_PROXY={names}\n");
    out
}
