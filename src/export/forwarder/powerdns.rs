//! PowerDNS Recursor: YAML from version 5.1 on, settings and Lua before.
//!
//! The names go to hubdns with the recursion-desired bit set: what hubdns does
//! not hold it forwards, and without that bit it refuses to.

use std::fmt::Write as _;

use super::{Plan, quoted, with_colon};

pub(super) fn yaml(plan: &Plan) -> String {
    let mut out = String::from(
        "# Conditional forwarders to hubdns, for a file in recursor.d of PowerDNS Recursor 5.1 or later.\n\
         recursor:\n  forward_zones_recurse:\n",
    );
    let servers = quoted(plan.servers.iter().map(with_colon), "'", ", ");
    for name in &plan.names {
        let _ = writeln!(out, "    - zone: '{name}'\n      forwarders: [{servers}]");
    }
    out.push_str("dnssec:\n  negative_trustanchors:\n");
    for name in &plan.tops {
        let _ = writeln!(out, "    - name: '{name}'\n      reason: 'private zones carry no signatures'");
    }
    out
}

pub(super) fn conf(plan: &Plan) -> String {
    let servers: Vec<String> = plan.servers.iter().map(with_colon).collect();
    let zones: Vec<String> = plan.names.iter().map(|name| format!("{name}={}", servers.join(";"))).collect();
    let mut out = format!(
        "# Conditional forwarders to hubdns, for recursor.conf of PowerDNS Recursor 4.\n\
         forward-zones-recurse+={}\n\
         # Private zones carry no signatures: for the file that lua-config-file names.\n",
        zones.join(",")
    );
    for name in &plan.tops {
        let _ = writeln!(out, "# addNTA(\"{name}\", \"private zones carry no signatures\")");
    }
    out
}
