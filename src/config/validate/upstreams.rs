//! Upstream groups and their upstreams.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::config::error::Report;
use crate::config::file::{ConfigFile, UpstreamServerTable, UpstreamTable};
use crate::config::schema::quote;
use crate::config::trust::trusted_certificates;
use crate::config::upstream::{Host, UpstreamUrl, tls_name};
use crate::config::{AZURE_DNS, Upstream, UpstreamGroup, Upstreams};

use super::server::{is_host, is_mapped, own_listener};
use super::{LABEL, is_label, resolve_path, unique};

/// Groups that exist without being written.
pub(super) const BUILT_IN: [&str; 2] = ["azure", "system"];

/// The groups of the file, and those of the built-in ones that something names.
pub(super) struct Groups {
    pub(super) groups: Vec<UpstreamGroup>,
}

impl Groups {
    pub(super) fn read(file: &ConfigFile, base_dir: &Path, report: &mut Report) -> Self {
        let mut groups = Vec::with_capacity(file.upstreams.len() + BUILT_IN.len());
        for (i, table) in file.upstreams.iter().enumerate() {
            let key = format!("upstreams[{i}].name");
            if !is_label(&table.name) {
                report.add(&key, quote(&table.name), LABEL);
            }
            if BUILT_IN.contains(&table.name.as_str()) {
                report.add(&key, quote(&table.name), "a name other than the built-in azure and system");
            }
            if let Some(other) = file.upstreams.iter().take(i).position(|other| other.name == table.name) {
                let expected = format!("a name other than that of upstreams[{other}]");
                report.add(&key, quote(&table.name), expected);
            }
            let servers = servers(i, table, &file.server.listen, base_dir, report);
            groups.push(UpstreamGroup { name: table.name.clone(), upstreams: Upstreams::Servers(servers) });
        }
        Self { groups }
    }

    /// The index of the group `name`, which `key` names; 0 if there is none.
    pub(super) fn index(&mut self, key: &str, name: &str, report: &mut Report) -> usize {
        if let Some(index) = self.groups.iter().position(|group| group.name == name) {
            return index;
        }
        let upstreams = match name {
            "azure" => Upstreams::addresses(&[AZURE_DNS]),
            "system" => Upstreams::System,
            _ => {
                let mut known: Vec<_> = BUILT_IN.to_vec();
                known.extend(self.groups.iter().map(|group| group.name.as_str()));
                known.retain(|name| is_label(name));
                known.dedup();
                report.add(key, quote(name), format!("the name of a group: {}", known.join(", ")));
                return 0;
            }
        };
        self.groups.push(UpstreamGroup { name: name.to_owned(), upstreams });
        self.groups.len() - 1
    }
}

/// The upstreams of one group in the order in which they are asked.
fn servers(
    group: usize,
    table: &UpstreamTable,
    listen: &[SocketAddr],
    base_dir: &Path,
    report: &mut Report,
) -> Vec<Upstream> {
    let key = format!("upstreams[{group}].addresses");
    if table.addresses.is_empty() && table.servers.is_empty() {
        let found = if report.is_written(&key) { "an empty list" } else { "no such key" };
        report.add(&key, found, "at least one address, or a table below upstreams.servers");
    }
    let mut all = Vec::with_capacity(table.addresses.len() + table.servers.len());
    for (i, url) in table.addresses.iter().enumerate() {
        let key = format!("{key}[{i}]");
        let upstream = plain(&key, url, report);
        check_address(&key, upstream.address, listen, report);
        all.push(upstream);
    }
    let labels = |all: &[Upstream]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    unique(report, &key, &labels(&all));
    for (i, server) in table.servers.iter().enumerate() {
        let key = format!("upstreams[{group}].servers[{i}]");
        let upstream = detailed(&key, server, base_dir, report);
        if !report.is_blamed(&format!("{key}.address")) {
            check_address(&format!("{key}.url"), upstream.address, listen, report);
        }
        if labels(&all).contains(&upstream.to_string()) {
            report.add(&format!("{key}.url"), &upstream, "an upstream that the group does not have already");
        }
        all.push(upstream);
    }
    all
}

/// An upstream of one line.
fn plain(key: &str, url: &UpstreamUrl, report: &mut Report) -> Upstream {
    let address = match &url.host {
        Host::Address(address) => *address,
        Host::Name(name) => {
            let expected = "an address; for a name, a table below upstreams.servers with its address";
            report.add(key, quote(name), expected);
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        }
    };
    Upstream {
        transport: url.transport,
        name: url.name.clone(),
        path: url.path.clone(),
        ..Upstream::from(SocketAddr::new(address, url.port))
    }
}

/// An upstream of a table.
fn detailed(key: &str, table: &UpstreamServerTable, base_dir: &Path, report: &mut Report) -> Upstream {
    let url = &table.url;
    let at = |name: &str| format!("{key}.{name}");
    let (address, mut name) = match &url.host {
        Host::Address(address) => {
            if !table.address.is_empty() {
                report.add(&at("address"), quote(&table.address), "no address, as the URL has one");
            }
            (*address, url.name.clone())
        }
        Host::Name(host) => {
            let expected = format!("the address of {host} without a port");
            let found = match table.address.as_str() {
                "" => "no address".to_owned(),
                text => quote(text),
            };
            let address = table.address.parse::<IpAddr>().unwrap_or_else(|_| {
                report.add(&at("address"), found, expected);
                IpAddr::V4(Ipv4Addr::UNSPECIFIED)
            });
            (address, Some(host.clone()))
        }
    };
    if !table.name.is_empty() {
        match tls_name(&table.name) {
            Err(_) => report.add(&at("name"), quote(&table.name), "a host name, as certificates have it"),
            Ok(_) if name.is_some() => {
                report.add(&at("name"), quote(&table.name), "no name, as the URL has one");
            }
            Ok(read) => name = Some(read),
        }
    }
    unique(report, &at("pins"), &table.pins);
    if !url.transport.is_encrypted() {
        let written = [
            ("name", !table.name.is_empty()),
            ("pins", !table.pins.is_empty()),
            ("ca_file", !table.ca_file.as_os_str().is_empty()),
            ("trusted", table.trusted),
        ];
        for (which, _) in written.into_iter().filter(|(_, written)| *written) {
            let found = format!("a value for {}", url.transport.label());
            report.add(&at(which), found, "none, as only tls and https prove who answers");
        }
    }
    let ca_file = (!table.ca_file.as_os_str().is_empty()).then(|| resolve_path(base_dir, &table.ca_file));
    if let Some(path) = ca_file.as_ref().filter(|_| url.transport.is_encrypted()) {
        check_ca_file(&at("ca_file"), path, report);
    }
    Upstream {
        transport: url.transport,
        name,
        path: url.path.clone(),
        pins: table.pins.clone(),
        ca_file,
        trusted: table.trusted,
        ..Upstream::from(SocketAddr::new(address, url.port))
    }
}

/// Reports a file without which no connection could be opened: better at once
/// than with the first query that it should carry.
fn check_ca_file(key: &str, path: &Path, report: &mut Report) {
    if let Err(error) = trusted_certificates(path) {
        let found = format!("{}, which {error}", quote(&path.display().to_string()));
        report.add(key, found, "a PEM file of at least one certificate, all of them X.509");
    }
}

/// Reports what no single other host can have.
fn check_address(key: &str, address: SocketAddr, listen: &[SocketAddr], report: &mut Report) {
    if is_mapped(address.ip()) {
        report.add(key, address, "an IPv4-mapped address written as IPv4");
    } else if address.ip().is_unspecified() || !is_host(address.ip()) {
        report.add(key, address, "the address of one host");
    } else if address.port() == 0 {
        report.add(key, address, "a port from 1 to 65535");
    } else if let Some(own) = own_listener(address, listen) {
        let expected = format!("an address other than our own server.listen[{own}], which would loop");
        report.add(key, address, expected);
    }
}
