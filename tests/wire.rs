//! The wire code against any bytes, and against queries made by rule.

mod common;

use common::estate::{ask, options, query, query_of, record_set, spelled};
use hubdns::answer::{Outcome, Transport};
use hubdns::snapshot::Snapshot;
use hubdns::wire::message::{
    Message, MessageBuilder, Section, expand_name, points_at_names, read_name, skip_name,
};
use hubdns::wire::query::{DropReason, Query, Reject};
use hubdns::wire::{Class, Flags, Name, Rcode, Rtype, rdata};
use proptest::collection::vec;
use proptest::prelude::*;

/// A wire-form name of up to six labels, any bytes in them.
fn any_name() -> impl Strategy<Value = Vec<u8>> {
    vec(vec(any::<u8>(), 1..20), 0..6).prop_map(|labels| {
        let mut wire = Vec::new();
        for label in labels {
            wire.push(label.len() as u8);
            wire.extend(label);
        }
        wire.push(0);
        wire
    })
}

/// Names around the estate: held, below, beside, in any case.
fn near_name() -> impl Strategy<Value = Vec<u8>> {
    let label = prop_oneof![
        Just("contoso"),
        Just("other"),
        Just("*"),
        Just("data"),
        Just("geo"),
        Just("westeurope"),
        Just("privatelink"),
        Just("azurecr"),
        Just("io"),
        Just("CONTOSO"),
        Just("wild"),
    ];
    let suffix =
        prop_oneof![Just("azurecr.io"), Just("privatelink.azurecr.io"), Just("corp.example"), Just("")];
    (vec(label, 0..5), suffix).prop_map(|(labels, suffix)| spelled(&format!("{}.{suffix}", labels.join("."))))
}

fn estate() -> Snapshot {
    let set = record_set(
        "zone privatelink.azurecr.io
         contoso.privatelink.azurecr.io 10 A 10.0.0.5
         contoso.westeurope.data.privatelink.azurecr.io 10 A 10.0.0.4
         *.wild.privatelink.azurecr.io 10 A 10.0.0.6
         authoritative corp.example
         contoso.corp.example 10 CNAME contoso.azurecr.io
         *.corp.example 10 CNAME data.privatelink.azurecr.io
         alias contoso.azurecr.io contoso.privatelink.azurecr.io
         own contoso.azurecr.io",
    );
    Snapshot::build(&set, &options(), 1)
}

/// Runs all that reads foreign bytes over `bytes`; returns only if nothing panics.
fn read_everything(bytes: &[u8]) {
    let _ = Query::parse(bytes);
    for at in 0..bytes.len().min(64) {
        let _ = skip_name(bytes, at);
        if let Some((name, end)) = read_name(bytes, at) {
            assert!(end <= bytes.len());
            assert!(name.as_wire().len() <= 255);
        }
        let mut out = [0; 255];
        let _ = expand_name(bytes, at, &mut out);
    }
    let Some(message) = Message::parse(bytes) else { return };
    let qname = message.qname().expect("parsed before").to_name();
    let builder = MessageBuilder::new(Flags(0x8000), qname.as_wire(), message.qtype(), message.qclass());
    let mut builder = builder.expect("a whole name");
    for record in message.records() {
        let _ = (message.owner(&record), message.rdata_name(&record));
        let _ = rdata::to_text(record.rtype, &bytes[record.rdata.clone()]);
        builder.push(bytes, &record, record.section, record.ttl);
    }
    let built = builder.finish();
    assert!(Message::parse(&built).is_some(), "what is built is whole");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..600)) {
        read_everything(&bytes);
    }

    #[test]
    fn damaged_messages_are_read_without_panic(
        name in near_name(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let asked = query_of(&name, Rtype::A, 1, 0x0100, Some(1232));
        let (_, mut bytes) = ask(&estate(), &asked, Transport::Tcp);
        let place = at.index(bytes.len());
        bytes[place] = byte;
        bytes.truncate(cut.index(bytes.len()) + 1);
        read_everything(&bytes);
    }

    #[test]
    fn queries_parse_to_what_they_say(
        name in any_name(), qtype in any::<u16>(), qclass in any::<u16>(), id in any::<u16>(),
        size in proptest::option::of(any::<u16>()), rd in any::<bool>(),
    ) {
        let mut bytes = query_of(&name, Rtype(qtype), qclass, if rd { 0x0100 } else { 0 }, size);
        bytes[..2].copy_from_slice(&id.to_be_bytes());
        let parsed = Query::parse(&bytes).expect("well formed");
        prop_assert_eq!(parsed.id, id);
        prop_assert_eq!(parsed.qname.as_wire(), name.to_ascii_lowercase());
        prop_assert_eq!(parsed.qtype, Rtype(qtype));
        prop_assert_eq!(parsed.qclass, Class(qclass));
        prop_assert_eq!(parsed.recursion_desired(), rd);
        prop_assert_eq!(parsed.edns.map(|edns| edns.udp_size), size.map(|size| size.max(512)));
        // What we would send on is the same query again.
        let again = query_of(parsed.qname.as_wire(), parsed.qtype, parsed.qclass.0, parsed.flags.0, size);
        let reparsed = Query::parse(&again).expect("well formed");
        prop_assert_eq!(reparsed.qname.as_wire(), parsed.qname.as_wire());
        prop_assert_eq!(reparsed.edns, parsed.edns);
    }

    #[test]
    fn names_survive_their_text_form(name in any_name()) {
        let name = Name::from_wire(&name).expect("well formed");
        prop_assert_eq!(name.to_string().parse::<Name>(), Ok(name));
    }

    #[test]
    fn responses_are_whole_and_keep_id_and_question(
        name in near_name(), qtype in prop_oneof![Just(1u16), Just(5), Just(6), Just(28), Just(255), any::<u16>()],
        size in proptest::option::of(any::<u16>()), udp in any::<bool>(), flags in any::<u16>(),
    ) {
        let flags = flags & 0x07ff;
        let asked = query_of(&name, Rtype(qtype), 1, flags, size);
        let transport = if udp { Transport::Udp } else { Transport::Tcp };
        let (outcome, response) = ask(&estate(), &asked, transport);
        if matches!(outcome, Outcome::Miss(_)) {
            prop_assert_eq!(&response, &asked, "a miss leaves the query as it was");
            return Ok(());
        }
        let message = Message::parse(&response).expect("whole");
        prop_assert_eq!(&response[..2], &asked[..2]);
        prop_assert_eq!(&response[12..message.question_end()], &asked[12..message.question_end()]);
        prop_assert!(message.flags().has(Flags::QR | Flags::RA));
        let opts = message.records().filter(|record| record.rtype == Rtype::OPT).count();
        prop_assert_eq!(opts, usize::from(size.is_some()));
        if udp {
            prop_assert!(response.len() <= usize::from(size.unwrap_or(512).clamp(512, 1232)));
        }
        let negative = message.records().any(|r| r.section == Section::Authority && r.rtype == Rtype::SOA);
        let answers = message.counts().answer;
        let complete = matches!(outcome, Outcome::Hit(hit) if hit.rcode == Rcode::NOERROR);
        prop_assert!(!complete || answers > 0 || negative || message.flags().has(Flags::TC));
        read_everything(&response);
    }
}

fn rejected(bytes: &[u8]) -> Option<Rcode> {
    match Query::parse(bytes) {
        Err(Reject::Respond { rcode, .. }) => Some(rcode),
        Err(Reject::Drop(_)) => None,
        Ok(query) => panic!("accepted: {query:?}"),
    }
}

#[test]
fn rfc1035_short_messages_and_responses_are_dropped() {
    for len in 0..12 {
        let bytes = vec![0; len];
        assert_eq!(Query::parse(&bytes).err(), Some(Reject::Drop(DropReason::Short)), "{len}");
    }
    let mut response = query("example.org", Rtype::A, 0x8100, None);
    assert_eq!(Query::parse(&response).err(), Some(Reject::Drop(DropReason::Response)));
    response.truncate(12);
    assert_eq!(Query::parse(&response).err(), Some(Reject::Drop(DropReason::Response)));
}

#[test]
fn rfc1035_other_opcodes_are_not_implemented() {
    for opcode in 1..16u16 {
        assert_eq!(rejected(&query("example.org", Rtype::A, opcode << 11, None)), Some(Rcode::NOTIMP));
    }
}

#[test]
fn rfc9619_any_number_of_questions_but_one_is_malformed() {
    let mut bytes = query("example.org", Rtype::A, 0, None);
    for count in [0u8, 2, 255] {
        bytes[5] = count;
        assert_eq!(rejected(&bytes), Some(Rcode::FORMERR), "{count}");
    }
}

#[test]
fn cut_questions_and_pointers_in_qname_are_malformed() {
    let whole = query("www.example.org", Rtype::A, 0, None);
    for len in 12..whole.len() {
        assert_eq!(rejected(&whole[..len]), Some(Rcode::FORMERR), "{len}");
    }
    let mut pointer = whole.clone();
    pointer[16] = 0xc0;
    assert_eq!(rejected(&pointer), Some(Rcode::FORMERR));
    pointer[16] = 0x41;
    assert_eq!(rejected(&pointer), Some(Rcode::FORMERR), "extended label type");
}

#[test]
fn rfc6891_opt_is_checked() {
    let good = query("example.org", Rtype::A, 0, Some(1232));
    let opt_at = good.len() - 11;
    assert!(Query::parse(&good).is_ok());
    let mut version = good.clone();
    version[opt_at + 6] = 1;
    assert_eq!(rejected(&version), Some(Rcode::BADVERS));
    let mut two = good.clone();
    two.extend_from_slice(&good[opt_at..]);
    two[11] = 2;
    assert_eq!(rejected(&two), Some(Rcode::FORMERR), "two OPTs");
    let mut authority = good.clone();
    (authority[9], authority[11]) = (1, 0);
    assert_eq!(rejected(&authority), Some(Rcode::FORMERR), "an OPT in the authority section");
    let mut option = good.clone();
    option[opt_at + 10] = 5;
    assert_eq!(rejected(&option), Some(Rcode::FORMERR), "options cut off");
    option.extend_from_slice(&[0, 10, 0, 9, 1]);
    assert_eq!(rejected(&option), Some(Rcode::FORMERR), "an option longer than the OPT");
    option[opt_at + 14] = 1;
    let parsed = Query::parse(&option).expect("a whole option");
    let options: Vec<_> = parsed.edns.expect("an OPT").options(&option).collect();
    assert_eq!(options, [(10, &[1u8][..])]);
}

#[test]
fn other_records_and_trailing_bytes_are_passed_over() {
    let mut bytes = query("example.org", Rtype::A, 0, None);
    // An A record and then the OPT, both in the additional section.
    bytes[11] = 2;
    bytes.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4]);
    bytes.extend_from_slice(&[0, 0, 41, 16, 0, 0, 0, 0x80, 0, 0, 0]);
    bytes.extend_from_slice(b"junk");
    let parsed = Query::parse(&bytes).expect("well formed");
    let edns = parsed.edns.expect("an OPT");
    assert!(edns.dnssec_ok && edns.udp_size == 4096);
    bytes[7] = 1;
    assert_eq!(rejected(&bytes), Some(Rcode::FORMERR), "records in the answer section");
}

#[test]
fn pointer_loops_end() {
    for bytes in [&[0xc0u8, 0][..], &[1, b'a', 0xc0, 0], &[0xc0, 2, 0xc0, 0]] {
        assert_eq!(read_name(bytes, 0).map(|(name, _)| name.to_name()), None, "{bytes:x?}");
    }
    // Pointers into the header are refused, though it can be read as a name.
    let mut bytes = vec![0u8; 13];
    bytes.extend_from_slice(&[0xc0, 4]);
    assert!(read_name(&bytes, 13).is_none());
    // Many hops to one root: each pointer points at the one before.
    let mut bytes = vec![0u8; 13];
    for at in 0..100u16 {
        let target = if at == 0 { 12 } else { 13 + 2 * (at - 1) };
        bytes.extend_from_slice(&(0xc000 | target).to_be_bytes());
    }
    assert!(read_name(&bytes, bytes.len() - 2).is_some());
}

#[test]
fn pointers_into_data_are_told_from_pointers_at_names() {
    let mut bytes = query("www.example.org", Rtype::A, 0x8180, None);
    bytes[7] = 2;
    // The TTL of the first record reads as the name "a" with the type after it.
    bytes.extend_from_slice(&[0xc0, 16, 0, 1, 0, 1, 1, b'a', 0, 0, 0, 4, 192, 0, 2, 1]);
    let ttl_at = bytes.len() as u8 - 10;
    let second = bytes.len();
    bytes.extend_from_slice(&[0xc0, ttl_at, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 2]);
    let message = Message::parse(&bytes).expect("whole");
    assert_eq!(read_name(&bytes, second).expect("readable").0.to_name().to_string(), "a");
    assert!(!points_at_names(&message));
    bytes[second + 1] = 16;
    assert!(points_at_names(&Message::parse(&bytes).expect("whole")));
}

/// Found by the fuzz target `upstream_reply`: the root takes one byte, which may
/// be the message's last.
#[test]
fn rfc7505_a_null_mx_at_the_end_of_a_message_is_whole() {
    let name: Name = "www.example".parse().unwrap();
    let mut bytes = vec![0, 7, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
    bytes.extend_from_slice(name.as_wire());
    bytes.extend_from_slice(&[0, 15, 0, 1]);
    bytes.extend_from_slice(&[0xc0, 12, 0, 15, 0, 1, 0, 0, 1, 44, 0, 3, 0, 0, 0]);
    let asked = hubdns::forward::reply::Asked { name: &name, qtype: Rtype(15), qclass: Class::IN };
    let reply = hubdns::forward::reply::accept(&bytes, &asked).expect("a response like any other");
    assert_eq!(reply.bytes, bytes);
    assert!(hubdns::wire::message::points_at_names(&Message::parse(&bytes).unwrap()));
}
