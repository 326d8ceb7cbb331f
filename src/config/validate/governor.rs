//! Budgets, weights and policies: whether they name what exists, and once.

use std::collections::BTreeSet;

use crate::config::Governor;
use crate::config::error::Report;
use crate::config::file::ConfigFile;
use crate::config::schema::quote;

use super::server::{is_host, is_mapped};
use super::upstreams::BUILT_IN;
use super::{is_label, not_empty, unique};

pub(super) fn governor(file: &ConfigFile, report: &mut Report) -> Governor {
    let table = &file.forward;
    budgets(file, report);
    for (i, weight) in table.budget.weights.iter().enumerate() {
        let key = format!("forward.budget.weights[{i}].clients");
        not_empty(report, &key, &weight.clients);
        unique(report, &key, &weight.clients);
        let earlier = table.budget.weights.iter().take(i);
        for (other, earlier) in earlier.enumerate() {
            for (at, net) in weight.clients.iter().enumerate() {
                if earlier.clients.contains(net) {
                    let expected = format!("a prefix that forward.budget.weights[{other}] does not have");
                    report.add(&format!("{key}[{at}]"), net, expected);
                }
            }
        }
    }
    let rcodes: Vec<String> = table.health.failure_rcodes.iter().map(ToString::to_string).collect();
    unique(report, "forward.health.failure_rcodes", &rcodes);
    policies(file, report);
    Governor::read(&table.health, &table.budget, &table.policies)
}

fn budgets(file: &ConfigFile, report: &mut Report) {
    let mut seen = BTreeSet::new();
    for (i, budget) in file.forward.budget.upstreams.iter().enumerate() {
        let (key, address) = (format!("forward.budget.upstreams[{i}].address"), budget.address.0);
        if is_mapped(address.ip()) {
            report.add(&key, address, "an IPv4-mapped address written as IPv4");
        } else if address.ip().is_unspecified() || !is_host(address.ip()) || address.port() == 0 {
            report.add(&key, address, "the address of one upstream");
        } else if !seen.insert(address) {
            report.add(&key, address, "an address that no other entry has");
        }
    }
}

fn policies(file: &ConfigFile, report: &mut Report) {
    let policies = &file.forward.policies;
    for (i, policy) in policies.iter().enumerate() {
        let (key, name) = (format!("forward.policies[{i}].upstream"), &policy.upstream);
        let written = file.upstreams.iter().map(|group| group.name.as_str());
        let mut known: Vec<&str> = BUILT_IN.into_iter().chain(written).collect();
        if !known.contains(&name.as_str()) {
            known.retain(|name| is_label(name));
            report.add(&key, quote(name), format!("the name of a group: {}", known.join(", ")));
        } else if let Some(other) = policies.iter().take(i).position(|other| other.upstream == *name) {
            let expected = format!("a group other than that of forward.policies[{other}]");
            report.add(&key, quote(name), expected);
        }
    }
}
