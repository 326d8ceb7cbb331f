//! What an upstream sent: the checks of RFC 5452 and a cleaned copy.

use crate::metrics::forward::Mismatch;
use crate::wire::header;
use crate::wire::message::{Message, Section};
use crate::wire::{Class, Flags, HEADER_LEN, Name, Opcode, Rcode, Rtype};

use super::chain;
use super::read::{Facts, Scratch, read};

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
    let mut copy = bytes.to_vec();
    let mut scratch = Scratch::default();
    let wire = asked.name.as_wire();
    match read(&mut copy, wire, asked.qtype, asked.qclass, &mut scratch) {
        Ok(facts) => take(&facts, &copy, &scratch).ok_or(Mismatch::Malformed),
        Err(mismatch) => salvage(bytes, asked, mismatch),
    }
}

/// What is left of a message that [`read`] did not like: a refusal of our OPT,
/// or that the answer did not fit.
pub(super) fn salvage(
    bytes: &[u8],
    asked: &Asked<'_>,
    mismatch: Mismatch,
) -> Result<UpstreamReply, Mismatch> {
    let flags = header::flags(bytes).unwrap_or_default();
    let counts = header::counts(bytes).ok_or(Mismatch::Short)?;
    let rcode = Rcode(flags.rcode());
    match mismatch {
        // Servers older than EDNS send a bare header; nothing can be smuggled
        // in with it but a retry without OPT.
        Mismatch::Question
            if counts.question == 0
                && matches!(rcode, Rcode::FORMERR | Rcode::NOTIMP)
                && bytes.len() == HEADER_LEN =>
        {
            Ok(UpstreamReply::bare(asked, rcode))
        }
        // Some senders cut a message in the middle of a record when they set
        // TC; TCP brings the whole.
        Mismatch::Malformed if flags.has(Flags::TC) => {
            Ok(UpstreamReply { truncated: true, ..UpstreamReply::bare(asked, rcode) })
        }
        other => Err(other),
    }
}

/// An owned copy of what was read: without OPT, every name in it readable.
pub(super) fn take(facts: &Facts, bytes: &[u8], scratch: &Scratch) -> Option<UpstreamReply> {
    // Pointers of the records behind the OPT would miss their aim if it were
    // cut out, and pointers into TTLs if these age: then written anew.
    let kept = if facts.rewrite { rewrite(bytes)? } else { bytes.get(..facts.end)?.to_vec() };
    let ede = scratch.ede.clone();
    Some(UpstreamReply { bytes: kept, rcode: facts.rcode, ede, truncated: facts.truncated })
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
