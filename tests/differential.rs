//! The same records through hickory's `Catalog` and through ours: thousands
//! of questions, and every difference has an RFC that makes ours right.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::estate::{ask, options, query_of, spelled};
use hickory_proto::rr::{LowerName, Name as HickoryName, RData, Record, RecordType};
use hickory_server::Server;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use hubdns::answer::{Outcome, Transport};
use hubdns::snapshot::Snapshot;
use hubdns::wire::message::{Message, Section};
use hubdns::wire::{Rtype, rdata};

const ZONE: &str = "corp.example";
const SOA: &str = "ns.corp.example. admin.corp.example. 7 3600 300 2419200 10";

/// Owner, TTL, type, data. One zone, so that both sides are authoritative for
/// the same names.
const RECORDS: &[(&str, u32, &str, &str)] = &[
    ("corp.example", 60, "A", "192.0.2.1"),
    ("corp.example", 60, "NS", "ns.corp.example."),
    ("corp.example", 60, "TXT", "\"apex\""),
    ("corp.example", 60, "MX", "10 mail.corp.example."),
    ("ns.corp.example", 60, "A", "192.0.2.53"),
    ("mail.corp.example", 60, "A", "192.0.2.25"),
    ("mail.corp.example", 60, "AAAA", "2001:db8::25"),
    ("www.corp.example", 30, "CNAME", "web.corp.example."),
    ("web.corp.example", 20, "A", "192.0.2.80"),
    ("web.corp.example", 20, "A", "192.0.2.81"),
    ("web.corp.example", 20, "TXT", "\"web\""),
    ("deep.a.b.c.corp.example", 60, "A", "192.0.2.90"),
    ("x.a.b.c.corp.example", 60, "SRV", "1 2 443 web.corp.example."),
    ("*.wild.corp.example", 60, "A", "192.0.2.100"),
    ("*.wild.corp.example", 60, "TXT", "\"wild\""),
    ("held.wild.corp.example", 60, "TXT", "\"held\""),
    ("below.ent.wild.corp.example", 60, "A", "192.0.2.101"),
    ("*.cwild.corp.example", 60, "CNAME", "web.corp.example."),
    ("gone.corp.example", 60, "CNAME", "nothing.corp.example."),
    ("two.corp.example", 60, "CNAME", "www.corp.example."),
    ("ptr.corp.example", 60, "PTR", "web.corp.example."),
    ("zero.corp.example", 0, "A", "192.0.2.200"),
    ("_sip._tcp.corp.example", 60, "SRV", "5 6 5060 mail.corp.example."),
    ("MiXeD.corp.example", 60, "A", "192.0.2.201"),
];

const TYPES: [Rtype; 12] = [
    Rtype::A,
    Rtype::AAAA,
    Rtype::CNAME,
    Rtype::MX,
    Rtype::NS,
    Rtype::PTR,
    Rtype::SOA,
    Rtype::SRV,
    Rtype::TXT,
    Rtype::HTTPS,
    Rtype::CAA,
    Rtype(65280),
];

/// Names that exist: owners and what lies between them and the apex.
fn existing() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (owner, ..) in RECORDS {
        let mut name = owner.to_lowercase();
        while name.ends_with(ZONE) {
            names.insert(name.clone());
            match name.split_once('.') {
                Some((_, above)) => name = above.to_owned(),
                None => break,
            }
        }
    }
    names
}

/// The wildcard that covers `qname` by RFC 4592 section 3.3.1: the one at the
/// closest encloser, and only if `qname` does not exist itself.
fn covering_wildcard(qname: &str, existing: &BTreeSet<String>) -> Option<String> {
    let mut name = qname.to_lowercase();
    if existing.contains(&name) {
        return None;
    }
    while !existing.contains(&name) {
        name = name.split_once('.')?.1.to_owned();
    }
    Some(format!("*.{name}")).filter(|wildcard| existing.contains(wildcard))
}

/// Differences in which ours is right, by RFC. Each names exactly its case.
fn excused(qname: &str, theirs: &Shape, ours: &Shape) -> Option<&'static str> {
    let existing = existing();
    let exists = existing.contains(&qname.to_lowercase());
    let covered = covering_wildcard(qname, &existing).is_some();
    let is_synthesized = theirs.rcode == "NOERROR" && !theirs.answer.is_empty();
    let is_nodata = ours.rcode == "NOERROR" && ours.answer.is_empty();
    if !exists && !covered && is_synthesized && ours.rcode == "NXDOMAIN" && ours.answer.is_empty() {
        return Some("RFC 4592 section 3.3.1: only the closest encloser's wildcard covers a name");
    }
    if exists && is_synthesized && is_nodata {
        return Some("RFC 4592 section 2.2.1: a wildcard does not cover a name that exists");
    }
    if covered && is_nodata && theirs.rcode == "NXDOMAIN" {
        return Some("RFC 4592 section 2.2.1: a covered name without that type is NODATA");
    }
    let has_cname = ours.answer.iter().any(|record| record.contains(" CNAME "));
    if has_cname && theirs.answer == ours.answer && theirs.authority.is_empty() && !ours.authority.is_empty()
    {
        return Some(
            "RFC 2308 sections 2.1 and 2.2: a denial behind a CNAME carries the SOA, with the last name's rcode (RFC 6604)",
        );
    }
    None
}

/// What is compared of a response.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    rcode: String,
    authoritative: bool,
    answer: BTreeSet<String>,
    authority: BTreeSet<String>,
}

fn shape(response: &[u8]) -> Shape {
    let message = Message::parse(response).expect("whole");
    let section = |wanted: Section| {
        let records = message.records().filter(|r| r.section == wanted && r.rtype != Rtype::OPT);
        let lines = records.map(|record| {
            let mut data = Vec::new();
            rdata::expand(response, record.rtype, record.rdata.clone(), &mut data).expect("whole");
            let owner = message.owner(&record).expect("whole").to_name();
            // Negative answers: RFC 2308 section 3 makes the SOA's TTL the smaller of two.
            format!(
                "{owner} {} {} {}",
                record.ttl,
                record.rtype,
                rdata::to_text(record.rtype, &data).to_lowercase()
            )
        });
        lines.collect::<BTreeSet<_>>()
    };
    Shape {
        rcode: message.rcode().to_string(),
        authoritative: message.flags().has(0x0400),
        answer: section(Section::Answer),
        // Only what denies: hickory adds the zone's NS to positive answers.
        authority: section(Section::Authority).into_iter().filter(|line| line.contains(" SOA ")).collect(),
    }
}

fn hickory_name(text: &str) -> HickoryName {
    let mut name = HickoryName::from_ascii(text).expect("a name");
    name.set_fqdn(true);
    name
}

fn their_catalog() -> Catalog {
    let mut zone: InMemoryZoneHandler =
        InMemoryZoneHandler::empty(hickory_name(ZONE), ZoneType::Primary, AxfrPolicy::Deny);
    let soa = RData::try_from_str(RecordType::SOA, SOA).expect("an SOA");
    zone.upsert_mut(Record::from_rdata(hickory_name(ZONE), 10, soa), 7);
    for (owner, ttl, rtype, data) in RECORDS {
        let rtype: Rtype = rtype.parse().expect("a type");
        let data = RData::try_from_str(RecordType::from(rtype.0), data).expect("RDATA");
        zone.upsert_mut(Record::from_rdata(hickory_name(owner), *ttl, data), 7);
    }
    let mut catalog = Catalog::new();
    catalog.upsert(LowerName::new(&hickory_name(ZONE)), vec![Arc::new(zone)]);
    catalog
}

fn our_snapshot() -> Snapshot {
    let mut text = format!("authoritative {ZONE}\n");
    for (owner, ttl, rtype, data) in RECORDS {
        let _ = writeln!(text, "{owner} {ttl} {rtype} {data}");
    }
    let mut set = common::estate::record_set(&text);
    let soa = &mut set.zones[0].soa;
    (soa.mname, soa.rname) =
        (common::estate::name("ns.corp.example"), common::estate::name("admin.corp.example"));
    Snapshot::build(&set, &options(), 7)
}

/// Owners, their ancestors, their children and neighbors, and random labels.
fn names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (owner, ..) in RECORDS {
        let labels: Vec<&str> = owner.split('.').collect();
        for skip in 0..labels.len() - 1 {
            let base = labels[skip..].join(".");
            if !base.ends_with(ZONE) {
                continue;
            }
            for child in ["", "x.", "*.", "held.", "a.b.", "www.", "zz.y.x.", "0.", "WEB."] {
                names.insert(format!("{child}{base}"));
            }
        }
    }
    names
}

#[tokio::test]
async fn same_answers_as_hickory_or_an_rfc() {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let address: SocketAddr = socket.local_addr().expect("an address");
    let mut server = Server::new(their_catalog());
    server.register_socket(socket);
    let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    client.connect(address).await.expect("connected");

    let ours = our_snapshot();
    let mut asked = 0;
    let mut reasons: BTreeMap<&str, u32> = BTreeMap::new();
    let mut unexplained = Vec::new();
    for qname in names() {
        for qtype in TYPES {
            let query = query_of(&spelled(&qname), qtype, 1, 0x0100, Some(4096));
            let (outcome, our_response) = ask(&ours, &query, Transport::Tcp);
            assert!(!matches!(outcome, Outcome::Miss(_)), "{qname} {qtype} is in the zone");
            client.send(&query).await.expect("sent");
            let mut buf = vec![0; 4096];
            let received = tokio::time::timeout(Duration::from_secs(30), client.recv(&mut buf)).await;
            let len = received.expect("an answer").expect("received");
            let (theirs, ours) = (shape(&buf[..len]), shape(&our_response));
            asked += 1;
            if theirs != ours {
                match excused(&qname, &theirs, &ours) {
                    Some(reason) => *reasons.entry(reason).or_default() += 1,
                    None => {
                        unexplained
                            .push(format!("{qname} {qtype}\n  hickory {theirs:?}\n  ours    {ours:?}"));
                    }
                }
            }
        }
    }
    println!("{asked} questions; differences: {reasons:#?}");
    assert!(asked > 2000, "{asked} questions are too few");
    assert!(
        unexplained.is_empty(),
        "{} of {asked} unexplained:\n{}",
        unexplained.len(),
        unexplained.join("\n")
    );
}
