//! Listeners, access, TCP limits, admin, logs.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::error::Report;
use crate::config::file::{ConfigFile, LogTable, ServerTable, WorkerTable};
use crate::config::schema::quote;
use crate::config::transports::{TcpTable, UdpTable};
use crate::config::{Admin, Log, Server, Tcp, Udp, Worker};

use super::{not_empty, ordered, resolve_path, seconds, unique};

pub(super) fn server(file: &ConfigFile, base_dir: &Path, report: &mut Report) -> Server {
    let table = &file.server;
    not_empty(report, "server.listen", &table.listen);
    listeners(report, "server.listen", &table.listen, &[]);
    not_empty(report, "server.allow", &table.allow);
    unique(report, "server.allow", &table.allow);
    if table.state_dir.as_os_str().is_empty() {
        report.add("server.state_dir", "an empty path", "the path of a directory");
    }
    let workers = match table.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    Server {
        listen: table.listen.clone(),
        workers,
        allow: table.allow.clone(),
        denied: table.denied,
        udp_max_bytes: file.udp.max_bytes,
        edns: super::edns::edns(&file.edns, base_dir, report),
        state_dir: resolve_path(base_dir, &table.state_dir),
        keep_generations: table.keep_generations,
        control_socket: control_socket(&table.control_socket, base_dir, report),
        control_group: control_group(table, report),
        drain: seconds(table.drain_seconds),
    }
}

/// `sun_path` of Linux holds 108 bytes, the last of them NUL.
const MAX_SOCKET_PATH: usize = 107;

/// Whether a Unix socket can have this path.
pub(in crate::config) fn fits_socket(path: &Path) -> bool {
    path.as_os_str().len() <= MAX_SOCKET_PATH
}

fn control_socket(path: &Path, base_dir: &Path, report: &mut Report) -> Option<PathBuf> {
    if path.as_os_str().is_empty() {
        return None;
    }
    let path = resolve_path(base_dir, path);
    if !fits_socket(&path) {
        let found = format!("a path of {} bytes", path.as_os_str().len());
        let expected =
            format!("at most {MAX_SOCKET_PATH} bytes, the directory included (the limit of Unix sockets)");
        report.add("server.control_socket", found, expected);
    }
    Some(path)
}

/// Whether the group exists is known on the machine that it runs on, not here.
fn control_group(table: &ServerTable, report: &mut Report) -> Option<String> {
    let group = &table.control_group;
    if group.is_empty() {
        return None;
    }
    // What useradd(8) takes, and what directories of users have beyond that.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '$' | '@');
    if group.len() > 256 || group.starts_with('-') || !group.chars().all(is_plain) {
        report.add("server.control_group", quote(group), "the name or the number of a group");
    }
    if table.control_socket.as_os_str().is_empty() {
        report.add("server.control_group", quote(group), "server.control_socket not to be empty");
    }
    Some(group.clone())
}

pub(super) fn admin(file: &ConfigFile, report: &mut Report) -> Admin {
    let table = &file.admin;
    listeners(report, "admin.listen", &table.listen, &file.server.listen);
    if !table.listen.is_empty() {
        not_empty(report, "admin.allow", &table.allow);
    }
    unique(report, "admin.allow", &table.allow);
    let hosts: Vec<String> = table.hosts.iter().map(|host| host_name(host)).collect();
    for (i, (host, written)) in hosts.iter().zip(&table.hosts).enumerate() {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if host.is_empty() || host.len() > 253 || !host.chars().all(is_plain) {
            report.add(&format!("admin.hosts[{i}]"), quote(written), "a host name without a port");
        }
    }
    unique(report, "admin.hosts", &hosts);
    Admin { listen: table.listen.clone(), allow: table.allow.clone(), hosts }
}

/// A host name as it is compared: in lower case, without a final dot.
fn host_name(text: &str) -> String {
    text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()
}

/// Reports addresses that nobody can listen on, and those that an earlier one
/// or one of the DNS listeners covers.
fn listeners(report: &mut Report, key: &str, listen: &[SocketAddr], dns: &[SocketAddr]) {
    for (i, address) in listen.iter().enumerate() {
        let item = format!("{key}[{i}]");
        if is_mapped(address.ip()) {
            report.add(&item, address, "an IPv4-mapped address written as IPv4");
        } else if !is_host(address.ip()) {
            report.add(&item, address, "the address of one host, or 0.0.0.0 or [::] for all of this host's");
        }
        if let Some(other) = listen.iter().take(i).position(|other| overlap(*other, *address)) {
            report.add(&item, address, format!("an address and port that {key}[{other}] does not cover"));
        }
        if let Some(other) = dns.iter().position(|other| overlap(*other, *address)) {
            report.add(
                &item,
                address,
                format!("an address and port that server.listen[{other}] does not cover"),
            );
        }
    }
}

/// Whether two listeners would take each other's packets. Port 0 takes a free port each time.
pub(super) fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = a.ip() == b.ip()
        || (a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified()));
    a.port() == b.port() && a.port() != 0 && covers
}

pub(super) fn is_mapped(address: IpAddr) -> bool {
    address.to_canonical() != address
}

/// Whether one host can have this address (or all of this host's are meant).
pub(super) fn is_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !address.is_multicast() && !broadcast
}

/// Whether a query to `upstream` would come back to one of our listeners, as
/// far as the configuration shows it: which addresses this host has, and so
/// what a wildcard listener covers beyond loopback, is known at run time only.
pub(super) fn own_listener(upstream: SocketAddr, listen: &[SocketAddr]) -> Option<usize> {
    let ip = upstream.ip().to_canonical();
    listen.iter().position(|own| {
        let covered = own.ip().is_unspecified() && own.is_ipv4() == ip.is_ipv4() && ip.is_loopback();
        own.port() == upstream.port() && own.port() != 0 && (own.ip() == ip || covered)
    })
}

pub(super) fn worker(table: &WorkerTable) -> Worker {
    Worker { spin: Duration::from_micros(table.spin_microseconds.into()), steering: table.steering }
}

pub(super) const fn udp(table: &UdpTable) -> Udp {
    Udp { receive_buffer: table.receive_buffer_bytes, send_buffer: table.send_buffer_bytes }
}

pub(super) fn tcp(table: &TcpTable, report: &mut Report) -> Tcp {
    // A default that exceeds a smaller bound in all just never binds.
    let per_client = "tcp.max_connections_per_client";
    if report.is_written(per_client) {
        let all = ("tcp.max_connections", table.max_connections as u64);
        ordered(report, (per_client, table.max_connections_per_client as u64), all, true);
    }
    ordered(
        report,
        ("tcp.idle_timeout_seconds", table.idle_timeout_seconds.into()),
        ("tcp.total_timeout_seconds", table.total_timeout_seconds.into()),
        true,
    );
    Tcp {
        max_connections: table.max_connections,
        max_connections_per_client: table.max_connections_per_client.min(table.max_connections),
        max_queries_per_connection: table.max_queries_per_connection,
        idle_timeout: seconds(table.idle_timeout_seconds),
        total_timeout: seconds(table.total_timeout_seconds),
    }
}

pub(super) fn log(table: &LogTable, report: &mut Report) -> Log {
    if !table.level.split(',').all(is_directive) {
        let expected = "off, error, warn, info, debug or trace, or such levels per module, as in \
                        \"info,hubdns::sync=debug\"";
        report.add("log.level", quote(&table.level), expected);
    }
    Log { format: table.format, level: table.level.clone() }
}

/// Whether `text` is a level or `module=level`. Spans and fields, which
/// `tracing` would take too, are left out: there a misspelled level is a module.
fn is_directive(text: &str) -> bool {
    let text = text.trim();
    let (module, level) = text.split_once('=').unwrap_or(("hubdns", text));
    let is_part =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    module.split("::").all(is_part) && levels.iter().any(|known| level.eq_ignore_ascii_case(known))
}
