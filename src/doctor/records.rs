//! The first two hops, from what is known inside: does hubdns hold the name,
//! and does the private zone say what the network interface says?

use std::net::IpAddr;

use super::report::{Hop, HopKind};
use super::words::{list, short_id};
use crate::admin::path::{NameKind, NamePath, Word};

/// Whether hubdns holds a record for the name.
pub(super) fn records(name: &NamePath, ours: bool) -> Hop {
    let kind = HopKind::Records;
    if !ours {
        return if name.held {
            Hop::ok(kind, "held from a source")
        } else {
            Hop::skipped(kind, "no registry of yours and not held: hubdns forwards it")
        };
    }
    if name.held {
        let served = name.words.iter().find(|word| word.served);
        return match served {
            Some(word) => Hop::ok(kind, format!("held, {}", told_by(word))),
            None => Hop::ok(kind, "held"),
        };
    }
    let why = name.expected_by.join(", ");
    if let Some(word) = name.words.iter().find(|word| word.served && word.rank == "zone") {
        return Hop::warning(
            kind,
            "zone-only",
            format!("only the private zone has it ({}); no endpoint vouches for it", list(&word.addresses)),
            "If the registry is real, let hubdns read its private endpoint; else delete the record.",
        );
    }
    if let Some(word) = name.words.iter().find(|word| !word.served && word.rank != "zone") {
        let advice = match word.reason.as_str() {
            "not-approved" => {
                "Approve the private endpoint's connection on the registry (Networking, Private access)."
            }
            "out-of-scope" => "Add the endpoint's virtual network to scope.vnets if it is routed from here.",
            "outside-allowed-prefixes" => "Add the address' prefix to scope.allowed_prefixes if it is yours.",
            _ => "hubdns explain says more.",
        };
        let text = format!("not answered: {} ({})", word.because, list(&word.addresses));
        return Hop::failed(kind, "refused", text, advice);
    }
    let advice = match name.kind {
        NameKind::Login => {
            "Make a private endpoint for the registry, or let the identity read the one that there is."
        }
        _ => {
            "A replica without an address on any endpoint's interface: wait until Azure has added it, or \
             make the private endpoint again."
        }
    };
    Hop::failed(kind, "no-record", format!("no source has an address for it (expected: {why})"), advice)
}

fn told_by(word: &Word) -> String {
    let id = short_id(&word.origin);
    match word.rank.as_str() {
        "interface" => format!("told by the network interface {id}"),
        "custom-dns" => format!("told by the private endpoint {id}"),
        "static" => "told by the configuration".to_owned(),
        _ => format!("told by the private zone {id}"),
    }
}

/// Whether the private zone agrees with the network interface.
pub(super) fn zone(name: &NamePath, ours: bool) -> Hop {
    let kind = HopKind::Zone;
    if !ours {
        return Hop::skipped(kind, "no registry of yours");
    }
    let endpoint = |word: &&Word| matches!(word.rank.as_str(), "interface" | "custom-dns");
    let counts = |word: &&Word| endpoint(word) && (word.served || word.reason == "lower-priority");
    let Some(truth) = name.words.iter().find(counts) else {
        return Hop::skipped(kind, "no network interface tells of the name: nothing to compare");
    };
    if !name.zone_was_read {
        return Hop::skipped(kind, "no private zone was read");
    }
    let zones: Vec<&Word> = name.words.iter().filter(|word| word.rank == "zone").collect();
    if zones.is_empty() {
        return Hop::warning(
            kind,
            "zone-lacks",
            format!(
                "the private zone lacks {}; the network interface has {}",
                name.private_link,
                list(&truth.addresses)
            ),
            "Add the record, or a DNS zone group to the private endpoint. Clients that ask Azure DNS \
             without hubdns are denied.",
        );
    }
    let same = |word: &&&Word| sorted(&word.addresses) == sorted(&truth.addresses);
    let Some(drifted) = zones.iter().find(|word| !same(word)) else {
        return Hop::ok(kind, "says what the network interface says");
    };
    let (says, is) = (list(&drifted.addresses), list(&truth.addresses));
    let elsewhere = name.words.iter().find(|word| {
        endpoint(word)
            && word.reason == "other-endpoint"
            && sorted(&word.addresses) == sorted(&drifted.addresses)
    });
    if let Some(other) = elsewhere {
        return Hop::warning(
            kind,
            "zone-other-endpoint",
            format!(
                "the zone says {says}, another endpoint's address ({}); hubdns chose {is}",
                short_id(&other.origin)
            ),
            "Two endpoints write one zone and overwrite each other: give each virtual network a zone of its \
             own, or keep one endpoint.",
        );
    }
    Hop::failed(
        kind,
        "zone-drift",
        format!("the zone {} says {says}; the network interface says {is}", zone_of(&drifted.origin)),
        format!(
            "Correct the A record of {} to {is}. Clients that ask Azure DNS without hubdns get the wrong \
             address.",
            name.private_link
        ),
    )
}

/// The zone in the resource id of a record set, else the whole origin.
fn zone_of(origin: &str) -> &str {
    let mut parts = origin.split('/');
    let found = parts.find(|part| part.eq_ignore_ascii_case("privateDnsZones")).and_then(|_| parts.next());
    found.unwrap_or(origin)
}

fn sorted(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut sorted = addresses.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    sorted
}
