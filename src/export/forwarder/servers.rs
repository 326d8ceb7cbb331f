//! Servers that are configured in a few lines: BIND, Unbound, dnsmasq, CoreDNS.

use std::fmt::Write as _;

use super::{Plan, quoted, with_colon, with_port};

/// BIND from 9.14 on, where `validate-except` came.
pub(super) fn bind(plan: &Plan) -> String {
    let mut out = String::from(
        "// Conditional forwarders to hubdns, for named.conf. There is one \"options\" block: if
\
         // you have it, move this line of options into it.
",
    );
    let exempt = quoted(&plan.tops, "\"", "; ");
    let _ = writeln!(
        out,
        "options {{\n    // Private zones carry no signatures.\n    validate-except {{ {exempt}; }};\n}};"
    );
    let forwarders: Vec<String> = plan.servers.iter().map(|s| with_port(s, " port ")).collect();
    for name in &plan.names {
        let _ = writeln!(
            out,
            "zone \"{name}\" {{\n    type forward;\n    // Never by way of the public Internet.\n    forward only;\n    \
             forwarders {{ {}; }};\n}};",
            forwarders.join("; ")
        );
    }
    out
}

/// Unbound: `private-domain` lets private addresses through where
/// `private-address` strips them.
pub(super) fn unbound(plan: &Plan) -> String {
    let mut out = String::from(
        "# Conditional forwarders to hubdns, for unbound.conf or a file that it includes.\nserver:\n",
    );
    if plan.servers.iter().any(|server| server.ip().is_loopback()) {
        out.push_str("    # hubdns runs on this host.\n    do-not-query-localhost: no\n");
    }
    out.push_str("    # Private zones carry no signatures, and their addresses are private.\n");
    for name in &plan.tops {
        let _ = writeln!(out, "    domain-insecure: \"{name}\"\n    private-domain: \"{name}\"");
        if name.rsplit('.').next() == Some("arpa") {
            // Unbound answers private reverse zones by itself (RFC 6303).
            let _ = writeln!(out, "    local-zone: \"{name}\" nodefault");
        }
    }
    for name in &plan.names {
        let _ = writeln!(out, "forward-zone:\n    name: \"{name}\"");
        for server in &plan.servers {
            let _ = writeln!(out, "    forward-addr: {}", with_port(server, "@"));
        }
        out.push_str("    # Never by way of the public Internet.\n    forward-first: no\n");
    }
    out
}

/// dnsmasq does not validate what comes from the server of a domain.
pub(super) fn dnsmasq(plan: &Plan) -> String {
    let mut out = String::from("# Conditional forwarders to hubdns, for a file in /etc/dnsmasq.d.\n");
    for name in &plan.names {
        for server in &plan.servers {
            let _ = writeln!(out, "server=/{name}/{}", with_port(server, "#"));
        }
    }
    out.push_str("# Private addresses are no attack here (stop-dns-rebind).\n");
    for name in &plan.tops {
        let _ = writeln!(out, "rebind-domain-ok=/{name}/");
    }
    out
}

/// CoreDNS: one server block for all names. Its cache keeps to the TTLs.
pub(super) fn coredns(plan: &Plan) -> String {
    let names = plan.names.join(" ");
    let servers: Vec<String> = plan.servers.iter().map(with_colon).collect();
    format!(
        "# Conditional forwarders to hubdns, for the Corefile; in AKS a key ending in \".server\"\n\
         # of the ConfigMap coredns-custom in kube-system.\n\
         {names} {{\n    errors\n    cache\n    forward . {} {{\n        policy sequential\n    }}\n}}\n",
        servers.join(" ")
    )
}
