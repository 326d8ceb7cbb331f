//! The ways out of hubdns: to the registries and to the upstreams.

use std::collections::HashMap;
use std::net::IpAddr;

use super::estate::{Estate, address};
use super::{Code, Evidence, Finding};
use crate::snapshot::model::RrsetRef;
use crate::wire::{Name, Rtype};

/// Addresses that are answered and lead to no registry.
pub(super) fn routes(estate: &Estate<'_>, evidence: &Evidence<'_>, findings: &mut Vec<Finding>) {
    let mut failed = evidence.routes.iter().filter(|(_, route)| route.problem.is_some()).peekable();
    if failed.peek().is_none() {
        return;
    }
    let targets: HashMap<&Name, &Name> =
        evidence.set.aliases.iter().map(|alias| (&alias.public, &alias.target)).collect();
    let origins: HashMap<IpAddr, &str> = estate
        .connections
        .iter()
        .flat_map(|connection| &connection.addresses)
        .map(|seen| (seen.what.address, seen.origin))
        .collect();
    for ((public, address), route) in failed {
        let (Ok(name), Some(problem)) = (public.parse::<Name>(), &route.problem) else { continue };
        let owner = targets.get(&name).copied().unwrap_or(&name);
        // An address that lost to another is nobody's trouble.
        let mut answered = evidence.set.rrsets_at(owner);
        if !answered.any(|rrset| is_address(rrset.rtype) && holds(&rrset, *address)) {
            continue;
        }
        let origin = origins.get(address).map_or_else(|| address.to_string(), |origin| (*origin).to_owned());
        let text = format!(
            "{address} is answered and does not serve this name: {problem}. `hubdns doctor {name}` walks the whole path."
        );
        findings.push(Finding::new(Code::RouteFailed, &name, origin, text));
    }
}

const fn is_address(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::A | Rtype::AAAA)
}

/// Whether some client gets `wanted` from the record set.
fn holds(rrset: &RrsetRef<'_>, wanted: IpAddr) -> bool {
    let variants = rrset.variants().flat_map(|(_, rdatas)| rdatas);
    rrset.rdatas.clone().chain(variants).any(|data| address(data) == Some(wanted))
}

/// Upstreams that give no DNSSEC proofs, and those that send questions back.
pub(super) fn upstreams(evidence: &Evidence<'_>, findings: &mut Vec<Finding>) {
    for upstream in evidence.upstreams.iter().filter(|upstream| upstream.dnssec == Some(false)) {
        let text = format!(
            "The upstream {} of the group {} gives no DNSSEC proofs: a resolver that validates and forwards here fails \
             for signed names. Exempt them there (validate-except, domain-insecure), or forward to an upstream that \
             gives proofs.",
            upstream.upstream, upstream.group
        );
        findings.push(Finding::new(Code::UpstreamWithoutDnssec, &upstream.upstream, &upstream.group, text));
    }
    for upstream in evidence.upstreams.iter().filter(|upstream| upstream.looping) {
        let text = format!(
            "The upstream {} of the group {} forwards questions to hubdns that hubdns has just forwarded to it. Each \
             fails at once. One of the two must ask somebody else for these names.",
            upstream.upstream, upstream.group
        );
        findings.push(Finding::new(Code::ForwardLoop, &upstream.upstream, &upstream.group, text));
    }
}
