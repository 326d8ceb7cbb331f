//! The source `azure`: cloud, identity, subscriptions.
//!
//! Whether files exist is not checked: secrets may be mounted later, and a
//! missing one is a finding of the running daemon, not a reason to stay down.

use std::path::{Path, PathBuf};

use crate::config::error::Report;
use crate::config::file::{AzureIdentityTable, AzureTable};
use crate::config::schema::quote;
use crate::config::value::CloudKind;
use crate::config::{AzureCloud, AzureIdentity, AzureSource, ManagedIdentity, ProxyUrl};

use super::{LABEL, is_label, not_empty, resolve_path, seconds, unique};

/// One source; `key` is its place in the file.
pub(super) fn azure(key: &str, table: &AzureTable, base_dir: &Path, report: &mut Report) -> AzureSource {
    if !is_label(&table.name) {
        report.add(&format!("{key}.name"), quote(&table.name), LABEL);
    }
    let subscriptions: Vec<String> = table.subscriptions.iter().map(|id| id.to_ascii_lowercase()).collect();
    for (i, id) in subscriptions.iter().enumerate() {
        if !is_guid(id) {
            let expected = "a subscription id, such as \"11111111-1111-1111-1111-111111111111\"";
            report.add(&format!("{key}.subscriptions[{i}]"), quote(id), expected);
        }
    }
    unique(report, &format!("{key}.subscriptions"), &subscriptions);
    for (i, name) in table.management_groups.iter().enumerate() {
        if !is_group_name(name) {
            let expected = "a management group's name: letters, digits, and any of -_().";
            report.add(&format!("{key}.management_groups[{i}]"), quote(name), expected);
        }
    }
    unique(report, &format!("{key}.management_groups"), &table.management_groups);
    let proxy = optional(&table.proxy);
    if let Some(url) = &proxy
        && !is_url(url, &["http://", "https://"])
    {
        report.add(
            &format!("{key}.proxy"),
            quote(url),
            "the URL of a proxy, such as \"http://10.0.0.8:3128\"",
        );
    }
    AzureSource {
        name: table.name.clone(),
        cloud: cloud(key, table, report),
        ca_file: path(&table.ca_file, base_dir),
        proxy: proxy.map(ProxyUrl),
        bootstrap: table.bootstrap.iter().map(|address| address.0).collect(),
        identity: identity(&format!("{key}.identity"), &table.identity, base_dir, report),
        subscriptions,
        management_groups: table.management_groups.clone(),
        discovery: table.discovery,
        interval: seconds(table.interval_seconds),
        request_timeout: seconds(table.request_timeout_seconds),
    }
}

fn cloud(key: &str, table: &AzureTable, report: &mut Report) -> AzureCloud {
    let keys = [
        ("authority", &table.authority),
        ("resource_manager", &table.resource_manager),
        ("audience", &table.audience),
    ];
    let named = match table.cloud {
        CloudKind::Public => AzureCloud::Public,
        CloudKind::UsGovernment => AzureCloud::UsGovernment,
        CloudKind::China => AzureCloud::China,
        CloudKind::Custom => {
            for (name, url) in &keys[..2] {
                if !is_url(url, &["https://"]) {
                    report.add(&format!("{key}.{name}"), quote(url), "a URL that starts with https://");
                }
            }
            let manager = table.resource_manager.trim_end_matches('/').to_owned();
            return AzureCloud::Custom {
                authority: table.authority.trim_end_matches('/').to_owned(),
                audience: optional(&table.audience).unwrap_or_else(|| manager.clone()),
                resource_manager: manager,
            };
        }
    };
    for (name, value) in keys {
        if !value.is_empty() {
            report.add(&format!("{key}.{name}"), quote(value), "no such key unless cloud = \"custom\"");
        }
    }
    named
}

fn identity(key: &str, table: &AzureIdentityTable, base_dir: &Path, report: &mut Report) -> AzureIdentity {
    not_empty(report, &format!("{key}.credentials"), &table.credentials);
    let words: Vec<&str> = table.credentials.iter().map(|kind| kind.label()).collect();
    unique(report, &format!("{key}.credentials"), &words);
    let managed_identity =
        match (optional(&table.managed_identity_client_id), optional(&table.managed_identity_resource_id)) {
            (Some(_), Some(id)) => {
                let expected = "one of the two: a client id or a resource id";
                report.add(&format!("{key}.managed_identity_resource_id"), quote(&id), expected);
                None
            }
            (Some(id), None) => Some(ManagedIdentity::ClientId(id)),
            (None, Some(id)) => Some(ManagedIdentity::ResourceId(id)),
            (None, None) => None,
        };
    AzureIdentity {
        credentials: table.credentials.clone(),
        tenant: optional(&table.tenant),
        client_id: optional(&table.client_id),
        client_secret_file: path(&table.client_secret_file, base_dir),
        certificate_file: path(&table.certificate_file, base_dir),
        certificate_password_file: path(&table.certificate_password_file, base_dir),
        federated_token_file: path(&table.federated_token_file, base_dir),
        managed_identity,
    }
}

fn optional(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

pub(super) fn path(path: &Path, base_dir: &Path) -> Option<PathBuf> {
    (!path.as_os_str().is_empty()).then(|| resolve_path(base_dir, path))
}

fn is_url(text: &str, schemes: &[&str]) -> bool {
    let has_scheme = schemes.iter().any(|scheme| text.starts_with(scheme));
    has_scheme && url::Url::parse(text).is_ok_and(|url| url.host().is_some())
}

fn is_guid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.chars().all(|c| c.is_ascii_hexdigit()))
}

fn is_group_name(name: &str) -> bool {
    let is_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '(' | ')' | '.');
    (1..=90).contains(&name.len()) && name.chars().all(is_character)
}
