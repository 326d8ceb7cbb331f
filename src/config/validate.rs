//! From the file as written to a configuration in which every value is
//! possible. Types and ranges are checked by then; here values are checked
//! against each other.

mod azure;
mod edns;
mod estate;
mod forward;
mod governor;
mod listeners;
mod names;
mod server;
mod sources;
mod upstreams;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{ConfigError, Report};
use super::file::ConfigFile;
use super::{Config, Scope};

pub(super) use server::fits_socket;

/// Makes a [`Config`], or says all that is wrong. Relative paths start at `base_dir`.
pub(super) fn validate(
    file: &ConfigFile,
    base_dir: &Path,
    mut report: Report,
) -> Result<Config, ConfigError> {
    let server = server::server(file, base_dir, &mut report);
    let worker = server::worker(&file.worker);
    let udp = server::udp(&file.udp);
    let tcp = server::tcp(&file.tcp, &mut report);
    let listeners = listeners::listeners(file, base_dir, &mut report);
    let admin = server::admin(file, &mut report);
    let log = server::log(&file.log, &mut report);
    let names = names::names(&file.names, &mut report);
    let scope = scope(file, &mut report);
    let sources = sources::sources(&file.sources, &names, &scope, base_dir, &mut report);
    let guard = estate::guard(&file.guard);
    let views = estate::views(&file.views, &mut report);
    let routes = estate::routes(&file.routes, base_dir, &mut report);
    let ignored_findings = estate::ignored_findings(file, &mut report);
    let forward = forward::forward(file, &names, base_dir, &mut report);
    let cache = forward::cache(&file.cache, &mut report);
    if report.is_clean() {
        Ok(Config {
            server,
            worker,
            udp,
            tcp,
            listeners,
            admin,
            log,
            names,
            scope,
            sources,
            guard,
            views,
            routes,
            ignored_findings,
            forward,
            cache,
        })
    } else {
        Err(ConfigError::Invalid(report.finish()))
    }
}

fn scope(file: &ConfigFile, report: &mut Report) -> Scope {
    let vnets: Vec<String> = file.scope.vnets.iter().map(|id| id.to_ascii_lowercase()).collect();
    for (i, id) in vnets.iter().enumerate() {
        if !is_vnet_id(id) {
            let expected = "a virtual network's resource id, /subscriptions/ID/resourceGroups/NAME/\
                            providers/Microsoft.Network/virtualNetworks/NAME";
            let found = super::schema::quote(file.scope.vnets.get(i).map_or("", String::as_str));
            report.add(&format!("scope.vnets[{i}]"), found, expected);
        }
    }
    unique(report, "scope.vnets", &vnets);
    let allowed_prefixes = file.scope.allowed_prefixes.clone();
    not_empty(report, "scope.allowed_prefixes", &allowed_prefixes);
    unique(report, "scope.allowed_prefixes", &allowed_prefixes);
    let regions = file.scope.regions.clone();
    estate::regions("scope.regions", &regions, report);
    Scope { vnets, allowed_prefixes, regions }
}

/// Whether lower-case `id` has the form of a virtual network's resource id.
fn is_vnet_id(id: &str) -> bool {
    let parts: Vec<_> = id.split('/').collect();
    let is_name = |part: &str| {
        !part.is_empty()
            && part.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '(' | ')'))
    };
    matches!(
        parts[..],
        ["", "subscriptions", id, "resourcegroups", group, "providers", "microsoft.network", "virtualnetworks", name]
            if is_name(id) && is_name(group) && is_name(name)
    )
}

/// Reports each item that an earlier one equals.
fn unique<T: PartialEq + Display>(report: &mut Report, key: &str, items: &[T]) {
    for (i, item) in items.iter().enumerate() {
        if let Some(first) = items.iter().take(i).position(|other| other == item) {
            let expected = format!("a value other than that of {key}[{first}]");
            report.add(&format!("{key}[{i}]"), item, expected);
        }
    }
}

/// Reports an empty list.
fn not_empty<T>(report: &mut Report, key: &str, items: &[T]) {
    if items.is_empty() {
        report.add(key, "an empty list", "at least one item");
    }
}

/// Reports `low` where it exceeds `high`; both are keys with their values.
fn ordered(report: &mut Report, (low_key, low): (&str, u64), (high_key, high): (&str, u64), or_equal: bool) {
    let fine = if or_equal { low <= high } else { low < high };
    if fine || report.is_blamed(low_key) || report.is_blamed(high_key) {
        return;
    }
    let relation = if or_equal { "at most" } else { "less than" };
    // Blame what was written, not the default that it does not fit.
    if report.is_written(low_key) || !report.is_written(high_key) {
        report.add(low_key, low, format!("{relation} {high_key}, which is {high}"));
    } else {
        let relation = if or_equal { "at least" } else { "more than" };
        report.add(high_key, high, format!("{relation} {low_key}, which is {low}"));
    }
}

/// Whether `name` can name a group or a source: it becomes a label of metrics.
fn is_label(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    (1..=63).contains(&name.len()) && name.chars().all(is_word)
}

/// What [`is_label`] takes.
const LABEL: &str = "1 to 63 lower-case letters, digits, \"-\" or \"_\"";

fn resolve_path(base_dir: &Path, path: &Path) -> PathBuf {
    base_dir.join(path)
}

fn seconds(n: u32) -> Duration {
    Duration::from_secs(u64::from(n))
}

fn milliseconds(n: u32) -> Duration {
    Duration::from_millis(u64::from(n))
}
