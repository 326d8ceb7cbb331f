//! Findings: the composed estate, and each rule case by case.

use std::fs;
use std::path::Path;

use hubdns::findings::{Finding, examine};
use hubdns::sources::ReadRecords;
use hubdns::sources::az_json::AzJson;
use hubdns::sources::facts::Listing;
use hubdns::sync::findings::Facts;
use hubdns::sync::memory::Memory;
use hubdns::sync::merge::merge;
use hubdns::sync::policy::Policy;
use hubdns::wire::Name;
use serde_json::Value;

mod facts;
mod rules;
mod scale;

fn name(text: &str) -> Name {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn policy() -> Policy {
    Policy {
        suffixes: ["azurecr.io", "azurecr.us", "azurecr.cn"].map(name).to_vec(),
        zones: Vec::new(),
        own_registries: Vec::new(),
        ttl_floor: 0,
        ttl_cap: 86_400,
        interface_ttl: 10,
        vnets: Vec::new(),
        allowed_prefixes: vec!["10.0.0.0/8".parse().unwrap()],
        regions: Vec::new(),
        views: Vec::new(),
    }
}

/// What merge and rules find.
fn find(listings: &[Listing], policy: &Policy, memory: &Memory) -> Vec<Finding> {
    let listings: Vec<&Listing> = listings.iter().collect();
    let merged = merge(&listings, policy, memory, &hubdns::routes::RouteTable::new());
    let mut findings = merged.findings;
    let facts = Facts { listings: &listings, set: &merged.set, policy, incomplete: false };
    findings.extend(examine(&facts.evidence()));
    // Merge and rules may both say so; it is told once.
    hubdns::findings::since(findings, Vec::new())
}

fn pairs(findings: &[Finding]) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = findings.iter().map(|f| (f.code.label().to_owned(), f.name.clone())).collect();
    pairs.sort();
    pairs
}

fn contoso_hub() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/azure/composed/contoso-hub.json");
    serde_json::from_str(&fs::read_to_string(path).expect("the estate")).expect("JSON")
}

/// The listings of the estate, by way of the files that `az` would have saved.
fn saved(estate: &Value) -> Vec<Listing> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let routes = estate["routes"].as_array().expect("routes");
    for (i, route) in routes.iter().filter(|route| route["method"] == "GET").enumerate() {
        let body = route["response"]["body"].to_string();
        fs::write(directory.path().join(format!("{i:03}.json")), body).expect("a file");
    }
    AzJson::new("hub", directory.path().to_owned()).read().expect("a reading").listings
}

#[test]
fn the_composed_estate_has_exactly_its_findings() {
    let estate = contoso_hub();
    let findings = find(&saved(&estate), &policy(), &Memory::default());
    let mut expected: Vec<(String, String)> = estate["expected"]["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .map(|f| (f["code"].as_str().unwrap().to_owned(), f["name"].as_str().unwrap().to_owned()))
        .collect();
    expected.sort();
    assert_eq!(pairs(&findings), expected);
    for finding in &findings {
        assert!(finding.resource_id.starts_with("/subscriptions/"), "{finding}");
        assert!(finding.text.ends_with('.') && finding.text.len() > 40, "{finding}");
        if std::env::var_os("SHOW").is_some() {
            eprintln!("{finding}\n");
        }
    }
}
