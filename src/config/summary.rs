//! What a configuration comes to, in a few lines for `hubdns check`.

use std::fmt::{Display, Write as _};

use super::{AzureSource, Config, Service, Source, Upstreams};

/// Listeners, access, names, sources, upstreams and rules, one line each.
pub fn summary(config: &Config) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: String| {
        let _ = writeln!(text, "{what:<10} {value}");
    };
    let server = &config.server;
    let workers = if server.workers == 1 { "worker" } else { "workers" };
    line("listen", format!("{} (UDP and TCP, {} {workers})", list(&server.listen), server.workers));
    for listener in &config.listeners {
        let spoken = match &listener.service {
            Service::Plain => "UDP and TCP".to_owned(),
            Service::Encrypted(settings) => settings.transport.label().to_owned(),
        };
        let proxies = &listener.proxies;
        let proxies = if proxies.is_empty() {
            String::new()
        } else {
            format!(", PROXY headers from {}", list(proxies))
        };
        line("listener", format!("{} ({spoken}{proxies})", listener.address));
    }
    line("allow", list(&server.allow));
    let admin = &config.admin.listen;
    line("admin", if admin.is_empty() { "off".to_owned() } else { list(admin) });
    line("state", server.state_dir.display().to_string());
    let socket = server.control_socket.as_ref();
    line("control", socket.map_or_else(|| "none".to_owned(), |path| path.display().to_string()));
    line("registries", list(&config.names.suffixes));
    for zone in &config.names.zones {
        line("zone", zone.to_string());
    }
    for name in &config.names.own_registries {
        line("own", name.to_string());
    }
    if config.sources.is_empty() {
        line("source", "none: every name is forwarded".to_owned());
    }
    for source in &config.sources {
        line("source", describe(source));
    }
    for group in &config.forward.groups {
        let upstreams = match &group.upstreams {
            Upstreams::Servers(servers) => list(servers),
            Upstreams::System => "the resolvers of /etc/resolv.conf".to_owned(),
        };
        line("upstream", format!("{}: {upstreams}", group.name));
    }
    let group = |index: usize| config.forward.groups.get(index).map_or("?", |group| group.name.as_str());
    for rule in &config.forward.rules {
        line("forward", format!("{} to {}", rule.suffix, group(rule.group)));
    }
    if let Some(fallback) = config.forward.fallback {
        line("fallback", group(fallback).to_owned());
    }
    text
}

fn list<T: Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn describe(source: &Source) -> String {
    match source {
        Source::Static(records) => format!("static: {} RRsets", records.len()),
        Source::ZoneFile { zone, path, fall_through } => {
            let policy = if *fall_through { "falls through" } else { "authoritative" };
            format!("zone file {}: {zone}, {policy}", path.display())
        }
        Source::AzJson { name, path } => format!("az output {name}: {}", path.display()),
        Source::Azure(source) => format!("Azure {}: {}", source.name, azure_scope(source)),
        Source::Example { name } => format!("az output {name}: the example estate"),
    }
}

fn azure_scope(source: &AzureSource) -> String {
    match (source.subscriptions.len(), source.management_groups.len()) {
        (0, 0) => "all that the identity sees".to_owned(),
        (some, groups) => format!("{some} subscriptions, {groups} management groups"),
    }
}
