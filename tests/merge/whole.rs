//! Zone files whose records are one fact merge like those with a fact each.

use std::collections::BTreeSet;
use std::sync::Arc;

use hubdns::routes::RouteTable;
use hubdns::snapshot::model::{Rrset, Rrsets, ZonePolicy};
use hubdns::sources::facts::{Fact, Listing, ListingId, SourceKind, What, ZoneFact};
use hubdns::sources::records::RecordsFact;
use hubdns::sync::memory::Memory;
use hubdns::sync::merge::{Merged, merge};
use hubdns::sync::policy::Policy;
use hubdns::sync::provenance::Entry;
use hubdns::wire::{Name, Rtype};
use proptest::prelude::*;

use super::facts::listings;
use super::{name, policy};

/// Apexes that lie in each other.
const ZONES: [&str; 4] = ["azurecr.io", "privatelink.azurecr.io", "sub.corp.example", "corp.example"];

type Row = (usize, Rtype, u32, BTreeSet<u8>);

/// The listing of a zone file.
fn file(zone: &str, rows: Vec<Row>) -> Listing {
    let apex = name(zone);
    let owners = ["a", "b", "c.westeurope.data", "a.privatelink", "b.privatelink", "a.sub", "x", "@"];
    let rrset = |(owner, rtype, ttl, octets): Row| {
        let owner = match owners[owner] {
            "@" => apex.clone(),
            label => name(&format!("{label}.{zone}")),
        };
        let data = |octet: u8| -> Box<[u8]> {
            match rtype {
                Rtype::CNAME => name("a.privatelink.azurecr.io").as_wire().into(),
                // Some lie outside of the prefixes that may be served.
                _ => vec![if octet > 5 { 192 } else { 10 }, 0, 0, octet].into(),
            }
        };
        let mut rdatas: Vec<Box<[u8]>> = octets.into_iter().map(data).collect();
        rdatas.sort();
        rdatas.dedup();
        Rrset { owner, rtype, ttl, rdatas, variants: Vec::new() }
    };
    let rrsets: Rrsets = rows.into_iter().map(rrset).collect();
    let lines = (2..).take(rrsets.len()).collect();
    let of_files = Vec::new();
    let records =
        RecordsFact { zone: Some(apex.clone()), files: vec![zone.to_owned()], rrsets, lines, of_files };
    let head = ZoneFact { apex, zone_id: None, soa: None, policy: Some(ZonePolicy::FallThrough) };
    let facts = [What::Zone(head), What::Records(Arc::new(records))];
    let facts = facts.map(|what| Fact { origin: format!("{zone}:1"), what }).to_vec();
    let id = ListingId { source: format!("zone-file:{zone}"), scope: zone.to_owned() };
    Listing { id, kind: SourceKind::ZoneFile, read_at: 1, facts }
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let types = prop::sample::select(vec![Rtype::A, Rtype::CNAME, Rtype::RRSIG]);
    let one = (
        0..8usize,
        types,
        prop::sample::select(vec![0, 60, 90_000]),
        prop::collection::btree_set(1..8u8, 1..3),
    );
    prop::collection::vec(one, 0..12)
}

fn all(merged: &Merged) -> Vec<Entry> {
    let mut all: Vec<Entry> = merged.provenance.all().map(std::borrow::Cow::into_owned).collect();
    all.sort_by(|a, b| (&a.owner, a.rtype).cmp(&(&b.owner, b.rtype)));
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whole_files_merge_like_single_facts(
        files in prop::collection::vec((0..ZONES.len(), rows()), 1..4),
        others in prop::sample::subsequence(vec![
            "nic n a.azurecr.io 10.0.0.9 pe=p",
            "nic m b.azurecr.io 192.0.2.1 pe=q",
            "static b.privatelink.azurecr.io A 30 10.0.0.8",
            "static x.corp.example A 30 10.0.0.7",
            "set privatelink.azurecr.io a.privatelink.azurecr.io A 40 10.0.0.6",
        ], 0..5),
        floor in prop::sample::select(vec![0, 30]),
    ) {
        let policy = Policy { ttl_floor: floor, ..policy() };
        let mut whole = listings(&others.join("\n"));
        whole.extend(files.into_iter().map(|(zone, rows)| file(ZONES[zone], rows)));
        let spread: Vec<Listing> = whole.iter().map(Listing::spread).collect();
        let run = |listings: &[Listing]| {
            merge(&listings.iter().collect::<Vec<_>>(), &policy, &Memory::default(), &RouteTable::new())
        };
        let (whole, spread) = (run(&whole), run(&spread));
        prop_assert_eq!(&whole.set, &spread.set);
        prop_assert_eq!(&whole.findings, &spread.findings);
        prop_assert_eq!(&whole.memory, &spread.memory);
        prop_assert_eq!(all(&whole), all(&spread));
        for entry in all(&spread) {
            let (owner, rtype): (&Name, Rtype) = (&entry.owner, entry.rtype);
            let found = whole.provenance.entry(owner, rtype);
            prop_assert_eq!(found.as_ref(), Some(&entry));
            prop_assert_eq!(whole.provenance.entries_at(owner), spread.provenance.entries_at(owner));
        }
    }
}
