//! Listeners besides those of `server.listen`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::error::Report;
use crate::config::file::ConfigFile;
use crate::config::schema::quote;
use crate::config::transports::{ListenerTable, ListenerTransport};
use crate::config::{Encrypted, EncryptedTransport, Listener, Service};

use super::server::{is_host, is_mapped, overlap};
use super::{ordered, resolve_path, seconds, unique};

/// A day, in seconds.
const DAY: u64 = 86_400;
/// Longest path of DNS over HTTPS.
const MAX_PATH: usize = 200;

/// Keys that say something of encrypted connections alone.
const ENCRYPTED_ONLY: [&str; 3] = ["max_buffered_bytes", "tls", "limits"];

pub(super) fn listeners(file: &ConfigFile, base_dir: &Path, report: &mut Report) -> Vec<Listener> {
    let mut listeners = Vec::with_capacity(file.listeners.len());
    for (i, table) in file.listeners.iter().enumerate() {
        let key = format!("listeners[{i}]");
        if !report.is_blamed(&format!("{key}.address")) {
            address(&format!("{key}.address"), i, file, report);
        }
        let at = format!("{key}.proxy_prefixes");
        unique(report, &at, &table.proxy_prefixes);
        let service = match table.transport {
            ListenerTransport::Plain => {
                // What could not be read stands for nothing.
                if !report.is_blamed(&format!("{key}.transport")) {
                    plain(&key, report);
                }
                Service::Plain
            }
            ListenerTransport::Encrypted(transport) => {
                Service::Encrypted(Box::new(encrypted(&key, table, transport, base_dir, report)))
            }
        };
        listeners.push(Listener { address: table.address, proxies: table.proxy_prefixes.clone(), service });
    }
    listeners
}

/// Reports an address that nobody can listen on, or where somebody listens by
/// the same protocol already.
fn address(key: &str, index: usize, file: &ConfigFile, report: &mut Report) {
    let Some(table) = file.listeners.get(index) else { return };
    let address = table.address;
    if is_mapped(address.ip()) {
        report.add(key, address, "an IPv4-mapped address written as IPv4");
    } else if !is_host(address.ip()) {
        report.add(key, address, "the address of one host, or 0.0.0.0 or [::] for all of this host's");
    }
    let taken = |others: &[SocketAddr]| others.iter().position(|other| overlap(*other, address));
    if let Some(other) = taken(&file.server.listen) {
        report.add(key, address, format!("an address and port that server.listen[{other}] does not cover"));
    }
    if is_tcp(table.transport)
        && let Some(other) = taken(&file.admin.listen)
    {
        report.add(key, address, format!("an address and port that admin.listen[{other}] does not cover"));
    }
    let earlier = file.listeners.iter().take(index).position(|other| {
        let both = is_tcp(other.transport) && is_tcp(table.transport)
            || is_udp(other.transport) && is_udp(table.transport);
        both && overlap(other.address, address)
    });
    if let Some(other) = earlier {
        report.add(key, address, format!("an address and port that listeners[{other}] does not cover"));
    }
}

const fn is_udp(transport: ListenerTransport) -> bool {
    matches!(transport, ListenerTransport::Plain | ListenerTransport::Encrypted(EncryptedTransport::Quic))
}

const fn is_tcp(transport: ListenerTransport) -> bool {
    !matches!(transport, ListenerTransport::Encrypted(EncryptedTransport::Quic))
}

/// Reports keys that a plain listener would pass over without a word.
fn plain(key: &str, report: &mut Report) {
    for which in ENCRYPTED_ONLY {
        let at = format!("{key}.{which}");
        if report.is_written(&at) {
            report.add(
                &at,
                "a value for plain",
                "none, as it is for encrypted listeners; udp and tcp hold here",
            );
        }
    }
    no_path(key, report, "plain");
}

fn no_path(key: &str, report: &mut Report, transport: &str) {
    let at = format!("{key}.path");
    if report.is_written(&at) {
        report.add(&at, format!("a value for {transport}"), "none, as only https has a path");
    }
}

fn encrypted(
    key: &str,
    table: &ListenerTable,
    transport: EncryptedTransport,
    base_dir: &Path,
    report: &mut Report,
) -> Encrypted {
    let at = |name: &str| format!("{key}.{name}");
    if transport == EncryptedTransport::Https {
        if !is_path(&table.path) {
            let expected = format!("a path of at most {MAX_PATH} bytes, such as \"/dns-query\"");
            report.add(&at("path"), quote(&table.path), expected);
        }
    } else {
        no_path(key, report, transport.label());
    }
    if transport == EncryptedTransport::Quic {
        if !cfg!(feature = "doq") {
            report.add(&at("transport"), quote("quic"), "a build with the feature doq, or tls or https");
        }
        if !table.proxy_prefixes.is_empty() {
            report.add(
                &at("proxy_prefixes"),
                "a value for quic",
                "none, as QUIC has no place for PROXY headers",
            );
        }
    }
    let tls = &table.tls;
    let file = |name: &str, path: &Path, what: &str, report: &mut Report| -> PathBuf {
        let key = at(&format!("tls.{name}"));
        if path.as_os_str().is_empty() {
            let found = if report.is_written(&key) { "an empty path" } else { "no such key" };
            report.add(&key, found, format!("the path of a PEM file with {what}"));
        }
        resolve_path(base_dir, path)
    };
    let certificate_file = file(
        "certificate_file",
        &tls.certificate_file,
        "the certificate and those that vouch for it",
        report,
    );
    let key_file = file("key_file", &tls.key_file, "the certificate's key", report);
    let has_ca = !tls.client_ca_file.as_os_str().is_empty();
    let clients = at("tls.client_certificates");
    if !has_ca && report.is_written(&clients) {
        report.add(&clients, "a value without tls.client_ca_file", "none, as no client is asked then");
    }
    let limits = &table.limits;
    let per_client = at("limits.max_connections_per_client");
    if report.is_written(&per_client) {
        let all = at("limits.max_connections");
        let all = (all.as_str(), limits.max_connections as u64);
        ordered(report, (&per_client, limits.max_connections_per_client as u64), all, true);
    }
    Encrypted {
        transport,
        certificate_file,
        key_file,
        client_ca_file: has_ca.then(|| resolve_path(base_dir, &tls.client_ca_file)),
        clients: tls.client_certificates,
        warning: Duration::from_secs(DAY * u64::from(tls.warning_days)),
        path: table.path.clone(),
        max_connections: limits.max_connections,
        max_connections_per_client: limits.max_connections_per_client.min(limits.max_connections),
        prefix_bits: (limits.ipv4_prefix_bits as u8, limits.ipv6_prefix_bits as u8),
        max_queries_per_connection: limits.max_queries_per_connection,
        max_buffered: table.max_buffered_bytes,
        idle_timeout: seconds(limits.idle_timeout_seconds),
        handshake_timeout: seconds(limits.handshake_timeout_seconds),
    }
}

/// Whether `text` can be the path of a URL as it is, without escapes.
fn is_path(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/%".contains(c);
    text.starts_with('/') && text.len() <= MAX_PATH && text.chars().all(is_plain)
}
