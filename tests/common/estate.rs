//! Record sets and queries written as text.

use std::sync::Arc;

use hubdns::answer::{Context, Outcome, Transport, answer};
use hubdns::snapshot::Snapshot;
use hubdns::snapshot::model::{
    Alias, AnswerOptions, RecordSet, Rrset, Rrsets, Soa, Variant, ViewPrefixes, Zone, ZonePolicy,
};
use hubdns::wire::message::{Message, Section};
use hubdns::wire::{FoldedName, Name, Query, Reject, Response, Rtype, rdata};

/// A name.
pub fn name(text: &str) -> Name {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The options of a default configuration without special names.
pub fn options() -> AnswerOptions {
    let suffixes = ["azurecr.io", "azurecr.us", "azurecr.cn"].map(name).to_vec();
    AnswerOptions { flat: false, forward_own_missing: false, suffixes, special: Vec::new() }
}

/// Reads a record set:
///
/// ```text
/// zone privatelink.azurecr.io            (falls through)
/// authoritative corp.example             (denies what it lacks)
/// contoso.privatelink.azurecr.io 10 A 10.0.0.5      (into the zone last named)
/// alias contoso.azurecr.io contoso.privatelink.azurecr.io
/// own contoso.azurecr.io
/// view spokes 10.8.0.0/16,fd08::/16      (numbered from one)
/// in spokes contoso.privatelink.azurecr.io A 10.8.0.5     (instead of the RRset above)
/// ```
pub fn record_set(text: &str) -> RecordSet {
    let mut set = RecordSet::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["zone", apex] => set.zones.push(zone(apex, ZonePolicy::FallThrough)),
            ["authoritative", apex] => set.zones.push(zone(apex, ZonePolicy::Authoritative)),
            ["alias", public, target] => {
                set.aliases.push(Alias { public: name(public), target: name(target) });
            }
            ["own", login] => Arc::make_mut(&mut set.own).push(name(login)),
            ["view", view, clients] => set.views.push(ViewPrefixes {
                name: (*view).to_owned(),
                clients: clients.split(',').map(|prefix| prefix.parse().unwrap()).collect(),
            }),
            ["in", view, owner, rtype, data @ ..] => {
                add_variant(&mut set, view, owner, rtype, &data.join(" "));
            }
            [owner, ttl, rtype, data @ ..] => {
                let (owner, rtype) = (name(owner), rtype.parse::<Rtype>().unwrap());
                let data = rdata_from_text(rtype, &data.join(" "));
                let rrsets = &mut set.zones.last_mut().expect("a zone first").rrsets;
                rrsets.edit(|rrsets| {
                    match rrsets.iter_mut().find(|held| held.owner == owner && held.rtype == rtype) {
                        Some(held) => held.rdatas.push(data),
                        None => {
                            rrsets.push(Rrset {
                                owner,
                                rtype,
                                ttl: ttl.parse().unwrap(),
                                rdatas: vec![data],
                                variants: Vec::new(),
                            });
                        }
                    }
                });
            }
            _ => panic!("{line}"),
        }
    }
    set
}

/// Adds a record that clients of `view` get instead.
fn add_variant(set: &mut RecordSet, view: &str, owner: &str, rtype: &str, data: &str) {
    let number = set.views.iter().position(|known| known.name == view).expect("a view first") + 1;
    let (number, rtype) = (u8::try_from(number).unwrap(), rtype.parse::<Rtype>().unwrap());
    let owner = name(owner);
    let holds = |zone: &&mut Zone| zone.rrsets.get(owner.as_wire(), rtype).is_some();
    let zone = set.zones.iter_mut().find(holds).expect("an RRset first");
    zone.rrsets.edit(|rrsets| {
        let rrset = rrsets.iter_mut().find(|rrset| rrset.owner == owner && rrset.rtype == rtype).unwrap();
        let data = rdata_from_text(rtype, data);
        match rrset.variants.iter_mut().find(|variant| variant.view == number) {
            Some(variant) => variant.rdatas.push(data),
            None => rrset.variants.push(Variant { view: number, rdatas: vec![data] }),
        }
        rrset.variants.sort_by_key(|variant| variant.view);
    });
}

fn zone(apex: &str, policy: ZonePolicy) -> Zone {
    let apex = name(apex);
    Zone { soa: Soa::azure(), apex, policy, rrsets: Rrsets::default() }
}

/// Wire form of RDATA from text, by a library that is not under test.
pub fn rdata_from_text(rtype: Rtype, text: &str) -> Box<[u8]> {
    use hickory_proto::rr::{RData, RecordType};
    use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};
    if rtype == Rtype::DNAME {
        return spelled(text).into();
    }
    let kind = RecordType::from(rtype.0);
    let data = RData::try_from_str(kind, text).unwrap_or_else(|error| panic!("{rtype} {text}: {error}"));
    let mut bytes = Vec::new();
    data.emit(&mut BinEncoder::new(&mut bytes)).unwrap();
    bytes.into()
}

/// A query in wire form, with an OPT of that UDP size if one is given.
pub fn query(qname: &str, qtype: Rtype, flags: u16, udp_size: Option<u16>) -> Vec<u8> {
    query_of(&spelled(qname), qtype, 1, flags, udp_size)
}

/// A query for a wire-form name.
pub fn query_of(qname: &[u8], qtype: Rtype, qclass: u16, flags: u16, udp_size: Option<u16>) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34];
    bytes.extend_from_slice(&flags.to_be_bytes());
    bytes.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, u8::from(udp_size.is_some())]);
    bytes.extend_from_slice(qname);
    bytes.extend_from_slice(&qtype.0.to_be_bytes());
    bytes.extend_from_slice(&qclass.to_be_bytes());
    if let Some(size) = udp_size {
        bytes.extend_from_slice(&[0, 0, 41]);
        bytes.extend_from_slice(&size.to_be_bytes());
        bytes.extend_from_slice(&[0; 6]);
    }
    bytes
}

/// Wire form with the text's spelling kept (no escapes).
pub fn spelled(text: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        wire.push(label.len() as u8);
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    wire
}

/// What became of a query, and the response's bytes where there is one.
pub fn ask(snapshot: &Snapshot, query: &[u8], transport: Transport) -> (Outcome, Vec<u8>) {
    ask_as(snapshot, query, Context { transport, ..Context::INTERNAL })
}

/// [`ask`] in a context of the test's own.
pub fn ask_as(snapshot: &Snapshot, query: &[u8], context: Context) -> (Outcome, Vec<u8>) {
    let parsed = Query::parse(query).unwrap_or_else(|reject: Reject| panic!("rejected: {reject:?}"));
    let mut buf = vec![0; 65_535];
    buf[..query.len()].copy_from_slice(query);
    let mut out = Response::new(&mut buf, 65_535);
    let outcome = answer(&parsed, &context, snapshot, &mut out);
    let len = if matches!(outcome, Outcome::Miss(_)) { query.len() } else { out.len() };
    buf.truncate(len);
    (outcome, buf)
}

/// A response as text: `NOERROR aa | owner ttl type data; ... | authority`.
pub fn text(response: &[u8]) -> String {
    let message = Message::parse(response).unwrap_or_else(|| panic!("malformed: {response:02x?}"));
    let flags = message.flags();
    let mut head = message.rcode().to_string();
    for (bit, word) in [(0x0400, " aa"), (0x0200, " tc"), (0x0020, " ad"), (0x0010, " cd")] {
        if flags.has(bit) {
            head.push_str(word);
        }
    }
    let section = |wanted: Section| {
        let records =
            message.records().filter(|record| record.section == wanted && record.rtype != Rtype::OPT);
        let lines = records.map(|record| {
            let mut data = Vec::new();
            rdata::expand(response, record.rtype, record.rdata.clone(), &mut data).expect("whole RDATA");
            let owner: FoldedName = message.owner(&record).expect("an owner");
            let data = rdata::to_text(record.rtype, &data);
            format!("{} {} {} {}", owner.to_name(), record.ttl, record.rtype, data)
        });
        lines.collect::<Vec<_>>().join("; ")
    };
    format!("{head} | {} | {}", section(Section::Answer), section(Section::Authority))
}
