//! What removals wait for, views, route checks, findings.

use std::path::Path;

use crate::config::error::Report;
use crate::config::file::{ConfigFile, GuardTable, RoutesTable, ViewTable};
use crate::config::schema::quote;
use crate::config::{Guard, RouteChecks, View};

use super::azure::path;
use super::{LABEL, is_label, is_vnet_id, not_empty, seconds, unique};

/// Views are numbered in one byte; 0 is everybody else.
const MAX_VIEWS: usize = 255;

pub(super) fn guard(table: &GuardTable) -> Guard {
    Guard {
        grace: seconds(table.grace_seconds),
        max_removed_percent: table.max_removed_percent,
        asked_within: seconds(table.asked_within_seconds),
    }
}

pub(super) fn views(tables: &[ViewTable], report: &mut Report) -> Vec<View> {
    if tables.len() > MAX_VIEWS {
        report.add("views", format!("{} views", tables.len()), format!("at most {MAX_VIEWS}"));
    }
    let mut views: Vec<View> = Vec::new();
    for (i, table) in tables.iter().enumerate() {
        let key = format!("views[{i}]");
        if !is_label(&table.name) {
            report.add(&format!("{key}.name"), quote(&table.name), LABEL);
        }
        if let Some(other) = views.iter().position(|view| view.name == table.name) {
            let expected = format!("a name other than that of views[{other}]");
            report.add(&format!("{key}.name"), quote(&table.name), expected);
        }
        let clients_key = format!("{key}.clients");
        not_empty(report, &clients_key, &table.clients);
        unique(report, &clients_key, &table.clients);
        for (j, prefix) in table.clients.iter().enumerate() {
            if let Some(other) = views.iter().position(|view| view.clients.contains(prefix)) {
                let expected = format!("a prefix that views[{other}] does not have");
                report.add(&format!("{clients_key}[{j}]"), prefix, expected);
            }
        }
        if table.regions.is_empty() && table.vnets.is_empty() {
            report.add(&key, "neither regions nor vnets", "a preference that tells the view from others");
        }
        regions(&format!("{key}.regions"), &table.regions, report);
        let vnets: Vec<String> = table.vnets.iter().map(|id| id.to_ascii_lowercase()).collect();
        for (j, id) in vnets.iter().enumerate().filter(|(_, id)| !is_vnet_id(id)) {
            report.add(&format!("{key}.vnets[{j}]"), quote(id), "a virtual network's resource id");
        }
        unique(report, &format!("{key}.vnets"), &vnets);
        views.push(View {
            name: table.name.clone(),
            clients: table.clients.clone(),
            regions: table.regions.clone(),
            vnets,
        });
    }
    views
}

/// Checks regions as Azure writes them: `westeurope`, no spaces.
pub(super) fn regions(key: &str, regions: &[String], report: &mut Report) {
    for (i, region) in regions.iter().enumerate() {
        let is_sound =
            !region.is_empty() && region.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if !is_sound {
            let expected = "a region as Azure writes it, such as \"westeurope\"";
            report.add(&format!("{key}[{i}]"), quote(region), expected);
        }
    }
    unique(report, key, regions);
}

pub(super) fn routes(table: &RoutesTable, base_dir: &Path, report: &mut Report) -> RouteChecks {
    unique(report, "routes.connect_prefixes", &table.connect_prefixes);
    if table.interval_seconds > 0 && table.connect_prefixes.is_empty() {
        let expected = "0 while routes.connect_prefixes is empty";
        report.add("routes.interval_seconds", table.interval_seconds, expected);
    }
    RouteChecks {
        connect_prefixes: table.connect_prefixes.clone(),
        interval: (table.interval_seconds > 0).then(|| seconds(table.interval_seconds)),
        timeout: seconds(table.timeout_seconds),
        port: table.port,
        ca_file: path(&table.ca_file, base_dir),
    }
}

pub(super) fn ignored_findings(file: &ConfigFile, report: &mut Report) -> Vec<String> {
    let ignored = file.findings.ignore.clone();
    for (i, text) in ignored.iter().enumerate() {
        let is_sound = text.split(' ').count() <= 2 && text.split(' ').all(|word| !word.is_empty());
        if !is_sound {
            let expected = "a code, or a code and a name with one space between them";
            report.add(&format!("findings.ignore[{i}]"), quote(text), expected);
        }
    }
    unique(report, "findings.ignore", &ignored);
    ignored
}
