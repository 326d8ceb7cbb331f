//! Knot Resolver: YAML from version 6 on, Lua before.

use std::fmt::Write as _;

use super::{Plan, quoted, with_port};

pub(super) fn yaml(plan: &Plan) -> String {
    let mut out = String::from(
        "# Conditional forwarders to hubdns, for config.yaml of Knot Resolver 6.\n\
         # Merge the keys with those that you have.\nforward:\n",
    );
    let servers = quoted(plan.servers.iter().map(|server| with_port(server, "@")), "'", ", ");
    let _ = write!(
        out,
        "  - subtree: [{}]\n    servers: [{servers}]\n    options:\n      \
             # Private zones carry no signatures.\n      dnssec: false\n",
        quoted(&plan.names, "'", ", ")
    );
    let _ = writeln!(out, "dnssec:\n  negative-trust-anchors: [{}]", quoted(&plan.tops, "'", ", "));
    out
}

pub(super) fn lua(plan: &Plan) -> String {
    let servers = quoted(plan.servers.iter().map(|server| with_port(server, "@")), "'", ", ");
    format!(
        "-- Conditional forwarders to hubdns, for kresd.conf of Knot Resolver 5.\n\
         -- They go before other policies: the first that fits ends the search.\n\
         hubdns_names = policy.todnames({{{}}})\n\
         policy.add(policy.suffix(policy.STUB({{{servers}}}), hubdns_names))\n\
         -- Private zones carry no signatures. This replaces the list: add names of your own to it.\n\
         trust_anchors.set_insecure({{{}}})\n",
        quoted(&plan.names, "'", ", "),
        quoted(&plan.tops, "'", ", ")
    )
}
