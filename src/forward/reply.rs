//! What an upstream sent: the checks of RFC 5452 and a cleaned copy.

use crate::metrics::forward::Mismatch;
use crate::wire::edns::{Edns, OPTION_EDE};
use crate::wire::header;
use crate::wire::message::{Message, Section, points_at_names};
use crate::wire::{Class, Flags, HEADER_LEN, Name, Opcode, Rcode, Rtype, rdata, read_u16};

use super::chain;

/// Most bytes of extended errors that are kept of one response.
const MAX_EDE: usize = 512;

/// The question that a response must repeat.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// QNAME.
    pub name: &'a Name,
    /// QTYPE.
    pub qtype: Rtype,
    /// QCLASS.
    pub qclass: Class,
}

/// A response that belongs to its question, whole and without OPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamReply {
    /// Header, question, records; every name in it can be read.
    pub bytes: Vec<u8>,
    /// The response code, EDNS bits included.
    pub rcode: Rcode,
    /// Extended errors as EDNS options in wire form.
    pub ede: Vec<u8>,
    /// Whether TC was set.
    pub truncated: bool,
}

/// The id of a message that may be a response.
pub fn id_of(bytes: &[u8]) -> Result<u16, Mismatch> {
    if bytes.len() < HEADER_LEN {
        return Err(Mismatch::Short);
    }
    let flags = header::flags(bytes).unwrap_or_default();
    if !flags.has(Flags::QR) || flags.opcode() != Opcode::QUERY {
        return Err(Mismatch::NotResponse);
    }
    header::id(bytes).ok_or(Mismatch::Short)
}

/// Checks that `bytes` answers `asked` (RFC 5452 section 9.1) and cleans it.
/// Source and id have been compared already.
pub fn accept(bytes: &[u8], asked: &Asked<'_>) -> Result<UpstreamReply, Mismatch> {
    id_of(bytes)?;
    let flags = header::flags(bytes).unwrap_or_default();
    let counts = header::counts(bytes).ok_or(Mismatch::Short)?;
    let rcode = Rcode(flags.rcode());
    if counts.question == 0 && matches!(rcode, Rcode::FORMERR | Rcode::NOTIMP) && bytes.len() == HEADER_LEN {
        // Servers older than EDNS send a bare header; nothing can be
        // smuggled in with it but a retry without OPT.
        return Ok(UpstreamReply::bare(asked, rcode));
    }
    let question_end = HEADER_LEN + asked.name.as_wire().len() + 4;
    let name = bytes.get(HEADER_LEN..question_end - 4).ok_or(Mismatch::Question)?;
    if counts.question != 1
        || !name.eq_ignore_ascii_case(asked.name.as_wire())
        || read_u16(bytes, question_end - 4) != Some(asked.qtype.0)
        || read_u16(bytes, question_end - 2) != Some(asked.qclass.0)
    {
        return Err(Mismatch::Question);
    }
    match clean(bytes) {
        Some(mut reply) => {
            // Only a trusted upstream over an encrypted transport may say so;
            // `streams` sets it again.
            let flags = header::flags(&reply.bytes).unwrap_or_default();
            header::set_flags(&mut reply.bytes, Flags(flags.0 & !Flags::AD));
            Ok(reply)
        }
        // Some senders cut a message in the middle of a record when they set
        // TC; TCP brings the whole.
        None if flags.has(Flags::TC) => {
            Ok(UpstreamReply { truncated: true, ..UpstreamReply::bare(asked, rcode) })
        }
        None => Err(Mismatch::Malformed),
    }
}

impl UpstreamReply {
    /// A message of header and question.
    pub fn bare(asked: &Asked<'_>, rcode: Rcode) -> Self {
        let mut bytes = vec![0; HEADER_LEN];
        header::set_flags(&mut bytes, Flags(Flags::QR | (rcode.0 & Flags::RCODE)));
        header::set_counts(&mut bytes, header::Counts { question: 1, ..header::Counts::default() });
        bytes.extend_from_slice(asked.name.as_wire());
        bytes.extend_from_slice(&asked.qtype.0.to_be_bytes());
        bytes.extend_from_slice(&asked.qclass.0.to_be_bytes());
        Self { bytes, rcode, ede: Vec::new(), truncated: false }
    }
}

/// Reads every record once, takes the OPT out and drops what stands behind
/// the last record. `None` if a name cannot be read, a known RDATA does not fit
/// its type, or there are two OPTs.
fn clean(bytes: &[u8]) -> Option<UpstreamReply> {
    let message = Message::parse(bytes)?;
    let mut opt = None;
    let mut end = message.question_end();
    let mut behind = false;
    let mut scratch = Vec::new();
    for record in message.records() {
        if record.rtype == Rtype::OPT {
            let root = bytes.get(record.owner_at) == Some(&0);
            if opt.is_some() || record.section != Section::Additional || !root {
                return None;
            }
            let (edns, _) = Edns::parse(bytes, record.owner_at + 1)?;
            opt = Some((edns, record.owner_at..record.end()));
        } else {
            message.owner(&record)?;
            scratch.clear();
            rdata::expand(bytes, record.rtype, record.rdata.clone(), &mut scratch)?;
            behind |= opt.is_some();
        }
        end = record.end();
    }
    let mut rcode = message.rcode();
    let mut ede = Vec::new();
    let mut kept = bytes.get(..end)?.to_vec();
    if let Some((edns, place)) = opt {
        rcode = Rcode(u16::from(edns.rcode_high) << 4 | rcode.0);
        for (code, data) in edns.options(bytes).filter(|(code, _)| *code == OPTION_EDE) {
            if data.len() >= 2 && ede.len() + 4 + data.len() <= MAX_EDE {
                ede.extend_from_slice(&code.to_be_bytes());
                ede.extend_from_slice(&(data.len() as u16).to_be_bytes());
                ede.extend_from_slice(data);
            }
        }
        if !behind {
            kept.truncate(place.start);
            let mut counts = message.counts();
            counts.additional = counts.additional.checked_sub(1)?;
            header::set_counts(&mut kept, counts);
        }
    }
    // Pointers of the records behind the OPT would miss their aim if it were
    // cut out, and pointers into TTLs if these age: then written anew.
    if behind || !points_at_names(&message) {
        kept = rewrite(bytes)?;
    }
    Some(UpstreamReply { bytes: kept, rcode, ede, truncated: message.flags().has(Flags::TC) })
}

/// The message without its OPT, names uncompressed.
fn rewrite(bytes: &[u8]) -> Option<Vec<u8>> {
    let message = Message::parse(bytes)?;
    let mut builder = chain::builder_like(bytes, message.flags())?;
    for record in message.records().filter(|record| record.rtype != Rtype::OPT) {
        if !builder.push(bytes, &record, record.section, record.ttl) {
            return None;
        }
    }
    Some(builder.finish())
}

/// Whether `bytes` denies a name from an Azure private-link zone: NXDOMAIN
/// with an SOA whose owner starts with `privatelink` and whose MNAME is
/// `azureprivatedns.net`. So the zone linked to the upstream's network hides a
/// name that the public DNS may have.
pub fn is_private_link_denial(reply: &UpstreamReply) -> bool {
    let Some(message) = Message::parse(&reply.bytes) else { return false };
    reply.rcode == Rcode::NXDOMAIN
        && message.records().any(|record| {
            record.section == Section::Authority
                && record.rtype == Rtype::SOA
                && message.owner(&record).is_some_and(|o| o.as_wire().starts_with(b"\x0bprivatelink"))
                && message.rdata_name(&record).is_some_and(|m| m.as_wire() == b"\x0fazureprivatedns\x03net\0")
        })
}
