//! `/etc/hosts` lines of the registries' public names.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use super::registries::registries;
use super::text::{left_out, plain_name, title};
use super::{Document, Estate};

/// One line per address and registry, with all names at that address.
pub fn hosts(estate: &Estate) -> Document {
    let text = title(estate, "#", "Registries behind Private Link");
    let mut document = Document { text, notes: Vec::new() };
    let mut has_views = false;
    for registry in registries(estate) {
        let mut lines: BTreeMap<IpAddr, Vec<String>> = BTreeMap::new();
        for endpoint in &registry.endpoints {
            has_views |= !endpoint.views.is_empty();
            let Some(name) = plain_name(&endpoint.name) else {
                document.notes.push(left_out(&endpoint.name));
                continue;
            };
            for address in &endpoint.addresses {
                lines.entry(*address).or_default().push(name.clone());
            }
        }
        if lines.is_empty() {
            continue;
        }
        document.text.push('\n');
        for (address, names) in lines {
            let _ = writeln!(document.text, "{address}\t{}", names.join(" "));
        }
    }
    if has_views {
        let note = "clients of views get other addresses for some names; --client ADDRESS gives theirs";
        document.notes.push(note.to_owned());
    }
    document
}
