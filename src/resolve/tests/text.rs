//! Messages as text, both ways.
//!
//! ```text
//! www.example A do size=512                            what a client asks
//! www.example A do                                     what an upstream sees
//! NOERROR aa ede=3 | www.example 30 A 192.0.2.1        what either of them gets
//! NXDOMAIN | | example 60 SOA ns.example. ...          with records of the authority section
//! ```

use std::fmt::Write as _;
use std::net::IpAddr;

use super::rdata;
use crate::answer::{Context, Transport};
use crate::wire::edns::OPTION_EDE;
use crate::wire::message::{Message, Record, Section};
use crate::wire::{Edns, Flags, FoldedName, Name, Rcode, Rtype, rdata as wire_rdata};

const RCODES: [Rcode; 7] = [
    Rcode::NOERROR,
    Rcode::FORMERR,
    Rcode::SERVFAIL,
    Rcode::NXDOMAIN,
    Rcode::NOTIMP,
    Rcode::REFUSED,
    Rcode::BADVERS,
];
const FLAGS: [(&str, u16); 4] = [("aa", Flags::AA), ("tc", Flags::TC), ("ad", Flags::AD), ("cd", Flags::CD)];

/// A client's query.
pub(super) struct Query {
    pub(super) bytes: Vec<u8>,
    pub(super) context: Context,
    pub(super) client: Option<IpAddr>,
}

/// A query: QNAME in the spelling of the text, QTYPE, and what is unusual:
/// `do`, `cd`, `class=N`, `size=N`, `no-opt`, `tcp`, `by=ADDRESS`.
pub(super) fn query(text: &str, id: u16) -> Query {
    let mut words = text.split(' ');
    let (qname, qtype) = (words.next().unwrap(), words.next().unwrap().parse::<Rtype>().unwrap());
    let (mut flags, mut class, mut dnssec_ok) = (Flags::RD, 1u16, 0);
    let (mut size, mut transport, mut client) = (Some(1232u16), Transport::Udp, None);
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("do", _) => dnssec_ok = 0x80,
            ("cd", _) => flags |= Flags::CD,
            ("class", number) => class = number.parse().unwrap(),
            ("size", bytes) => size = Some(bytes.parse().unwrap()),
            ("no-opt", _) => size = None,
            ("tcp", _) => transport = Transport::Tcp,
            ("by", address) => client = Some(address.parse().unwrap()),
            _ => panic!("{word}"),
        }
    }
    let [id, flags, class] = [id, flags, class].map(u16::to_be_bytes);
    let mut bytes = [id, flags, [0, 1], [0; 2], [0; 2], [0, u8::from(size.is_some())]].concat();
    for label in qname.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&[qtype.0.to_be_bytes(), class].concat());
    if let Some(size) = size {
        let [high, low] = size.to_be_bytes();
        bytes.extend_from_slice(&[0, 0, Rtype::OPT.0 as u8, high, low, 0, 0, dnssec_ok, 0, 0, 0]);
    }
    Query { bytes, context: Context { transport, ..Context::INTERNAL }, client }
}

/// The OPT of a message.
pub(super) fn opt_of(bytes: &[u8]) -> Option<Edns> {
    let message = Message::parse(bytes)?;
    let opt = message.records().find(|record| record.rtype == Rtype::OPT)?;
    Edns::parse(bytes, opt.owner_at + 1).map(|(edns, _)| edns)
}

/// QNAME in lower case.
pub(super) fn qname(query: &[u8]) -> String {
    Message::parse(query).unwrap().qname().unwrap().to_name().to_string()
}

/// What an upstream is asked: the OPT is ours, of 1232 bytes and without options.
pub(super) fn asked(query: &[u8]) -> String {
    let message = Message::parse(query).unwrap_or_else(|| panic!("no query: {query:02x?}"));
    let mut text = format!("{} {}", qname(query), message.qtype());
    if message.qclass().0 != 1 {
        write!(text, " class={}", message.qclass().0).unwrap();
    }
    match opt_of(query) {
        Some(edns) => {
            assert_eq!((edns.udp_size, edns.options_len), (1232, 0));
            text += if edns.dnssec_ok { " do" } else { "" };
        }
        None => text += " no-opt",
    }
    assert!(message.flags().has(Flags::RD));
    text + if message.flags().has(Flags::CD) { " cd" } else { "" }
}

/// The response to `query` that `text` says, with an OPT if the query had one:
/// code and flags, answer section, authority section, additional section.
/// Records are `owner ttl type data`, joined by `;`.
pub(super) fn reply(query: &[u8], text: &str) -> Vec<u8> {
    let end = Message::parse(query).unwrap().question_end();
    let mut bytes = query[..end].to_vec();
    bytes[5..12].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0]);
    let mut parts = text.split('|');
    let mut flags = Flags::QR | Flags::RD | Flags::RA;
    let (mut high, mut options) = (0, Vec::new());
    for word in parts.next().unwrap().split_whitespace() {
        if let Some(rcode) = RCODES.iter().find(|rcode| rcode.to_string() == word) {
            (flags, high) = (flags | (rcode.0 & 0xf), (rcode.0 >> 4) as u8);
        } else if let Some((_, flag)) = FLAGS.iter().find(|(name, _)| *name == word) {
            flags |= flag;
        } else {
            let code: u16 = word.strip_prefix("ede=").unwrap_or_else(|| panic!("{word}")).parse().unwrap();
            options = [OPTION_EDE, 2, code].map(u16::to_be_bytes).concat();
        }
    }
    bytes[2..4].copy_from_slice(&flags.to_be_bytes());
    for (section, lines) in parts.enumerate() {
        for line in lines.split(';').map(str::trim).filter(|line| !line.is_empty()) {
            bytes.extend_from_slice(&record(line));
            bytes[7 + 2 * section] += 1;
        }
    }
    if opt_of(query).is_some() {
        let len = options.len() as u8;
        bytes.extend_from_slice(&[0, 0, Rtype::OPT.0 as u8, 4, 208, high, 0, 0, 0, 0, len]);
        bytes.extend_from_slice(&options);
        bytes[11] += 1;
    }
    bytes
}

/// One record in wire form, names uncompressed.
fn record(line: &str) -> Vec<u8> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (owner, rtype) = (words[0].parse::<Name>().unwrap(), words[2].parse::<Rtype>().unwrap());
    let data = rdata(rtype, &words[3..].join(" "));
    let mut bytes = owner.as_wire().to_vec();
    bytes.extend_from_slice(&[rtype.0.to_be_bytes(), [0, 1]].concat());
    bytes.extend_from_slice(&words[1].parse::<u32>().unwrap().to_be_bytes());
    bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&data);
    bytes
}

/// The text of a response's first extended error.
pub(super) fn reason(response: &[u8]) -> String {
    let edns = opt_of(response);
    let mut options = edns.iter().flat_map(|edns| edns.options(response));
    let text = options.find(|(code, _)| *code == OPTION_EDE).map(|(_, data)| data[2..].to_vec());
    String::from_utf8(text.unwrap_or_default()).unwrap()
}

/// A response: code, flags and extended errors, answer section, authority section.
pub(super) fn read(response: &[u8]) -> String {
    let message = Message::parse(response).unwrap_or_else(|| panic!("malformed: {response:02x?}"));
    let edns = opt_of(response);
    let high = edns.map_or(0, |edns| u16::from(edns.rcode_high) << 4);
    let mut head = Rcode(message.rcode().0 | high).to_string();
    for (name, _) in FLAGS.iter().filter(|(_, flag)| message.flags().has(*flag)) {
        head.extend([" ", name]);
    }
    for (_, data) in
        edns.iter().flat_map(|edns| edns.options(response)).filter(|(code, _)| *code == OPTION_EDE)
    {
        write!(head, " ede={}", u16::from_be_bytes([data[0], data[1]])).unwrap();
    }
    let line = |record: Record| {
        let mut data = Vec::new();
        wire_rdata::expand(response, record.rtype, record.rdata.clone(), &mut data).expect("whole RDATA");
        let owner: FoldedName = message.owner(&record).expect("an owner");
        let data = wire_rdata::to_text(record.rtype, &data);
        format!("{} {} {} {data}", owner.to_name(), record.ttl, record.rtype)
    };
    let section = |wanted: Section| {
        let lines = message.records().filter(|record| record.section == wanted).map(line);
        lines.collect::<Vec<_>>().join("; ")
    };
    let mut parts = vec![head, section(Section::Answer), section(Section::Authority)];
    while parts.last().is_some_and(String::is_empty) {
        parts.pop();
    }
    parts.join(" | ").replace("|  |", "| |")
}
