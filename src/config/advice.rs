//! What is possible and yet hardly meant: for `hubdns check` and the log at
//! start. Never a reason to refuse a configuration.

use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use rustls_platform_verifier::Verifier;

use super::{Config, OwnMissing, Source, Upstreams};

/// Remarks on a valid configuration, each a sentence without a period that
/// begins with a key. Looks at the file system, and so may change.
pub fn advice(config: &Config) -> Vec<String> {
    let mut remarks = Vec::new();
    for (key, prefixes) in [("server.allow", &config.server.allow), ("admin.allow", &config.admin.allow)] {
        let open = prefixes.iter().filter(|prefix| prefix.prefix_len() == 0);
        remarks.extend(open.map(|prefix| format!("{key}: {} admits {}", prefix, everybody(prefix))));
    }
    if config.names.own_missing == OwnMissing::Forward {
        let what = "names of our own registries that no record covers get their public addresses";
        remarks.push(format!("names.own_missing: {what}"));
    }
    if config.sources.is_empty() {
        remarks.push("sources: there are none, so every name is forwarded".to_owned());
    }
    for source in &config.sources {
        if let Source::ZoneFile { path, .. } | Source::AzJson { path, .. } = source {
            remarks.extend(missing(path));
        }
    }
    remarks.extend(unused_groups(config));
    remarks.extend(without_authority(config));
    remarks
}

const fn everybody(prefix: &IpNet) -> &'static str {
    match prefix {
        IpNet::V4(_) => "every IPv4 address",
        IpNet::V6(_) => "every IPv6 address",
    }
}

/// A source may come later; who checks a configuration wants to know now.
fn missing(path: &Path) -> Option<String> {
    let error = std::fs::metadata(path).err()?;
    Some(format!("sources: {} cannot be read now ({})", path.display(), error.kind()))
}

fn unused_groups(config: &Config) -> impl Iterator<Item = String> + '_ {
    let forward = &config.forward;
    let is_used = |i: usize| forward.fallback == Some(i) || forward.rules.iter().any(|rule| rule.group == i);
    let unused = forward.groups.iter().enumerate().filter(move |(i, _)| !is_used(*i));
    unused.map(|(_, group)| format!("upstreams: no rule names the group {:?}", group.name))
}

/// The system's certificates may be installed later; without them no upstream
/// that rests on them can prove who it is.
fn without_authority(config: &Config) -> Option<String> {
    let servers = config.forward.groups.iter().filter_map(|group| match &group.upstreams {
        Upstreams::Servers(servers) => Some(servers),
        Upstreams::System => None,
    });
    let rests = servers.flatten().find(|upstream| {
        upstream.transport.is_encrypted() && upstream.ca_file.is_none() && !upstream.is_key_enough()
    })?;
    let error = Verifier::new(Arc::new(rustls::crypto::ring::default_provider())).err()?;
    Some(format!(
        "upstreams: {rests} needs the system's certificates or a ca_file, and the system has none ({error})"
    ))
}
