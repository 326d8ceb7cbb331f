//! What RFCs demand of a DNS server, put to the real daemon over every
//! transport, and to other servers installed beside it.
//!
//! ```text
//! cases/rfcNNNN.toml ─▶ case ─▶ ask ─▶ carrier ─▶ daemon or peer ─▶ script
//! stream.rs (TCP)  ────▶         expect ◀─ reply ◀┘        (the upstream)
//! ```
//!
//! Cases are data: a question in words of `ask.rs`, what must come back in words
//! of `expect.rs`, and the section that says so. A transport is one line of
//! [`carrier::CARRIERS`]. `HUBDNS_WRITE_PEERS=1` has `peers.rs` ask everybody
//! and write `PEERS.md`.

mod ask;
mod carrier;
mod case;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/daemon.rs"]
mod daemon;
mod encrypted;
mod expect;
mod peers;
#[path = "../encrypted/pki.rs"]
#[allow(unreachable_pub, dead_code, reason = "shared with the tests of encrypted listeners")]
mod pki;
mod raw;
mod reply;
mod rotation;
mod script;
mod stream;
mod table;
mod world;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use carrier::CARRIERS;
use case::{Verdict, load};
use world::World;

/// Runs the cases over every carrier; what failed, a line each.
fn run_all(world: &World) -> Vec<String> {
    let mut failed = Vec::new();
    // `HUBDNS_CASES=words` runs those alone whose title has the words.
    let wanted = std::env::var("HUBDNS_CASES").unwrap_or_default();
    for case in load().iter().filter(|case| case.title().contains(&wanted)) {
        for carrier in CARRIERS {
            let since = Instant::now();
            let verdict = case.run(world, *carrier);
            if since.elapsed() > Duration::from_secs(1) {
                eprintln!("{} over {} took {:?}", case.title(), carrier.label(), since.elapsed());
            }
            if let Verdict::Failed(why) = verdict {
                failed.push(format!("{} over {}: {why}", case.title(), carrier.label()));
            }
        }
    }
    failed
}

#[test]
fn the_daemon_answers_as_the_rfcs_say() {
    let world = World::hubdns();
    let failed = run_all(&world);
    assert!(failed.is_empty(), "{} cases failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn the_daemon_keeps_to_the_rules_of_streams() {
    let world = World::hubdns();
    let failed: Vec<String> = stream::CASES
        .iter()
        .filter_map(|case| (case.run)(&world).err().map(|why| format!("{}: {why}", case.title())))
        .collect();
    assert!(failed.is_empty(), "{} cases failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn every_case_has_a_name_of_its_own_and_a_section() {
    let mut titles = BTreeSet::new();
    for case in load() {
        assert!(!case.section.is_empty() && !case.steps.is_empty(), "{}", case.title());
        assert!(titles.insert(case.title()), "{} twice", case.title());
    }
    for case in stream::CASES {
        assert!(titles.insert(case.title()), "{} twice", case.title());
    }
}

#[test]
fn the_table_of_peers_names_every_case_and_we_fail_none() {
    if peers::is_asked_for() {
        peers::write();
    }
    let problems = table::problems();
    assert!(problems.is_empty(), "write PEERS.md anew with HUBDNS_WRITE_PEERS=1:\n{}", problems.join("\n"));
}
