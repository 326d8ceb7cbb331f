//! Large estates take time in proportion.

use std::time::{Duration, Instant};

use hubdns::findings::examine;
use hubdns::snapshot::model::RecordSet;
use hubdns::sources::facts::{Listing, SourceKind};

use super::facts::listings;
use super::{Facts, policy};

/// A thousand zones of teams, each with ten endpoints; one record of each is missing.
fn estate(zones: usize) -> String {
    let mut lines = Vec::new();
    for z in 0..zones {
        lines.push(format!("zone z{z} privatelink.azurecr.io"));
        lines.push(format!("zone w{z} westeurope.data.privatelink.azurecr.io"));
        for zone in ["z", "w"] {
            lines.push(format!("link {zone}{z} /n/v{z} Default"));
        }
        for e in 0..10 {
            let (r, a) = (format!("r{z}-{e}"), format!("10.{}.{}.{e}", z / 256, z % 256));
            lines.push(format!("registry {r} {r}.azurecr.io pe=pe{r}:approved"));
            lines.push(format!("pe pe{r} approved {r} vnet=/n/v{z}"));
            lines.push(format!("nic nic{r} {r}.azurecr.io {a} pe=pe{r} vnet=/n/v{z}"));
            if e > 0 {
                lines.push(format!("set z{z} {r}.privatelink.azurecr.io A 10 {a}"));
            }
        }
    }
    lines.join("\n")
}

#[test]
fn time_grows_with_the_estate_and_not_faster() {
    let policy = policy();
    let set = RecordSet::default();
    let time = |zones: usize| {
        let listings = listings_quickly(&estate(zones));
        let listings: Vec<&Listing> = listings.iter().collect();
        let facts = Facts { listings: &listings, set: &set, policy: &policy, incomplete: false };
        let start = Instant::now();
        let found = examine(&facts.evidence()).len();
        // A missing record of each zone, and a network without fallback.
        assert_eq!(found, 2 * zones);
        start.elapsed()
    };
    let (small, large) = (time(100), time(1000));
    // Ten times as much; quadratic would be a hundred times. The floor is for noise.
    assert!(large < 40 * small.max(Duration::from_millis(20)), "{small:?}, then {large:?}");
}

/// The notation looks zones up one by one; here there are many.
fn listings_quickly(text: &str) -> Vec<Listing> {
    let blocks = text.split("\nzone z");
    let mut all: Option<Listing> = None;
    for block in blocks {
        let block = if block.starts_with("zone") { block.to_owned() } else { format!("zone z{block}") };
        let part = listings(&block, SourceKind::Azure).remove(0);
        match &mut all {
            Some(all) => all.facts.extend(part.facts),
            None => all = Some(part),
        }
    }
    all.into_iter().collect()
}
