//! The record sets and queries of the benches.
#![allow(dead_code, unreachable_pub, reason = "each bench uses its own part")]

pub mod callgrind;
pub mod workers;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use hubdns::answer::{Context, Outcome, Transport, answer};
use hubdns::snapshot::Snapshot;
use hubdns::snapshot::model::{
    Alias, AnswerOptions, RecordSet, Rrset, Rrsets, Soa, Variant, ViewPrefixes, Zone, ZonePolicy,
};
use hubdns::wire::{Name, Query, Response, Rtype};

/// The sizes that are measured, in owner names.
pub const SIZES: [usize; 4] = [16, 2_000, 100_000, 1_000_000];

/// An estate of `names` owner names: for each registry a public name in front
/// of a private-link name, for login and data endpoint.
pub fn record_set(names: usize) -> RecordSet {
    let mut set = RecordSet::default();
    let mut rrsets = Vec::with_capacity(names / 2);
    for index in 0..names / 4 {
        for middle in ["", "westeurope.data."] {
            let owner = name(&format!("reg{index}.{middle}privatelink.azurecr.io"));
            let address = [10, (index >> 16) as u8, (index >> 8) as u8, index as u8];
            rrsets.push(Rrset {
                owner: owner.clone(),
                rtype: Rtype::A,
                ttl: 10,
                rdatas: vec![Box::new(address)],
                variants: Vec::new(),
            });
            let public = name(&format!("reg{index}.{middle}azurecr.io"));
            set.aliases.push(Alias { public, target: owner });
        }
        Arc::make_mut(&mut set.own).push(name(&format!("reg{index}.azurecr.io")));
    }
    let apex = name("privatelink.azurecr.io");
    set.zones.push(Zone { apex, soa: Soa::azure(), policy: ZonePolicy::FallThrough, rrsets: rrsets.into() });
    set
}

/// The options of a default configuration.
pub fn options() -> AnswerOptions {
    let suffixes = ["azurecr.io", "azurecr.us", "azurecr.cn"].map(name).to_vec();
    let special = ["localhost", "invalid", "onion", "resolver.arpa"].map(|apex| {
        let apex = name(apex);
        Zone {
            soa: Soa::locally_served(&apex),
            apex,
            policy: ZonePolicy::Authoritative,
            rrsets: Rrsets::default(),
        }
    });
    AnswerOptions { flat: false, forward_own_missing: false, suffixes, special: special.to_vec() }
}

/// A record set with a view whose clients, 10.8.0.0/16, get other addresses for every name.
pub fn record_set_with_views(names: usize) -> RecordSet {
    let mut set = record_set(names);
    set.views.push(ViewPrefixes {
        name: "spokes".to_owned(),
        clients: vec!["10.8.0.0/16".parse().expect("a prefix")],
    });
    for zone in &mut set.zones {
        zone.rrsets.edit(|rrsets| {
            for rrset in rrsets {
                rrset.variants.push(Variant { view: 1, rdatas: vec![Box::new([10, 255, 0, 1])] });
            }
        });
    }
    set
}

/// The snapshot of that many names.
pub fn snapshot(names: usize) -> Snapshot {
    Snapshot::build(&record_set(names), &options(), 1)
}

/// A name.
pub fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// A query in wire form.
pub fn query(qname: &str, qtype: Rtype, edns: bool) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
    bytes.extend_from_slice(name(qname).as_wire());
    bytes.extend_from_slice(&qtype.0.to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    if edns {
        bytes.extend_from_slice(&[0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]);
    }
    bytes
}

/// The kinds of questions that are measured, for registry number `index`.
pub fn questions(index: usize) -> [(&'static str, Vec<u8>); 6] {
    let public = format!("reg{index}.azurecr.io");
    let mut malformed = query(&public, Rtype::A, false);
    malformed.truncate(20);
    [
        ("hit", query(&public, Rtype::A, false)),
        ("hit_edns", query(&public, Rtype::A, true)),
        ("nodata", query(&public, Rtype::AAAA, true)),
        ("miss", query(&format!("www{index}.example.org"), Rtype::A, true)),
        ("own_missing", query(&format!("reg{index}.eastus.data.azurecr.io"), Rtype::A, true)),
        ("reject", malformed),
    ]
}

/// Who asks.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 8, 0, 1));

/// What a packet worker does with one datagram: parse and answer in place.
/// Returns the length of the response, 0 for a miss or a reject.
#[inline(never)]
pub fn packet(query: &mut Query, buf: &mut [u8], len: usize, snapshot: &Snapshot) -> usize {
    let Some(datagram) = buf.get(..len) else { return 0 };
    if query.read_usual(datagram).is_err() {
        return 0;
    }
    let view = if snapshot.has_views() { snapshot.view_of(CLIENT) } else { 0 };
    let context = Context { transport: Transport::Udp, udp_size: 1232, view, is_client: true };
    let mut out = Response::new(buf, 4096);
    match answer(query, &context, snapshot, &mut out) {
        Outcome::Miss(_) => 0,
        Outcome::Hit(_) | Outcome::Leads => out.len(),
    }
}
