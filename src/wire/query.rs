//! Queries as they arrive: the checks of RFC 1035, 6891, 9619 in wire order.

use super::edns::Edns;
use super::header::{self, Flags, HEADER_LEN, Opcode};
use super::name::FoldedName;
use super::types::{Class, Rcode, Rtype};
use super::{read_u16, read_u32};

/// A well-formed standard query.
///
/// It owns the folded QNAME and borrows nothing, so that the datagram's own
/// buffer can become the response while the query is still at hand (a
/// lifetime here would force a copy of every packet).
#[derive(Clone, Debug)]
pub struct Query {
    /// The message id.
    pub id: u16,
    /// The header's flags as sent.
    pub flags: Flags,
    /// QNAME in lower case; the client's spelling stays in the datagram.
    pub qname: FoldedName,
    /// QTYPE.
    pub qtype: Rtype,
    /// QCLASS.
    pub qclass: Class,
    /// Where the question section ends: header, QNAME, QTYPE and QCLASS.
    pub question_end: usize,
    /// The client's OPT, if it sent one.
    pub edns: Option<Edns>,
}

/// What to do with a message that is no well-formed standard query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// Send nothing: an answer would loop or amplify.
    Drop(DropReason),
    /// Answer with this code.
    Respond {
        /// The response code.
        rcode: Rcode,
        /// End of the question to echo; 12 when there is none to echo.
        question_end: usize,
        /// The client's OPT, where it could be read: the response carries one too.
        edns: Option<Edns>,
    },
}

/// Why a datagram was dropped without a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Shorter than a header.
    Short,
    /// QR is set: a response, which must never be answered.
    Response,
}

impl DropReason {
    /// The label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Response => "response",
        }
    }
}

impl Query {
    /// Parses a message from a client.
    ///
    /// # Errors
    /// [`Reject::Drop`] for what must not be answered; [`Reject::Respond`]
    /// with NOTIMP for other opcodes, FORMERR for anything malformed (QDCOUNT
    /// other than 1 (RFC 9619), records in the answer section, two OPTs, an
    /// OPT with a name), BADVERS for EDNS versions above 0. Bytes after the
    /// last record are ignored, as BIND and Unbound do.
    #[inline]
    pub fn parse(datagram: &[u8]) -> Result<Self, Reject> {
        let (Some(id), Some(flags), Some(counts)) =
            (header::id(datagram), header::flags(datagram), header::counts(datagram))
        else {
            return Err(Reject::Drop(DropReason::Short));
        };
        if flags.has(Flags::QR) {
            return Err(Reject::Drop(DropReason::Response));
        }
        if flags.opcode() != Opcode::QUERY {
            return Err(reject(Rcode::NOTIMP, HEADER_LEN, None));
        }
        if counts.question != 1 {
            return Err(reject(Rcode::FORMERR, HEADER_LEN, None));
        }
        let Some((qname, name_len)) = datagram.get(HEADER_LEN..).and_then(FoldedName::parse) else {
            return Err(reject(Rcode::FORMERR, HEADER_LEN, None));
        };
        let type_at = HEADER_LEN + name_len;
        let (Some(qtype), Some(qclass)) = (read_u16(datagram, type_at), read_u16(datagram, type_at + 2))
        else {
            return Err(reject(Rcode::FORMERR, HEADER_LEN, None));
        };
        let question_end = type_at + 4;
        if counts.answer != 0 {
            return Err(reject(Rcode::FORMERR, question_end, None));
        }
        let mut edns = None;
        if counts.additional != 0 || counts.authority != 0 {
            edns = additional(datagram, question_end, counts)?;
        }
        Ok(Self { id, flags, qname, qtype: Rtype(qtype), qclass: Class(qclass), question_end, edns })
    }

    /// Recursion desired.
    #[inline]
    pub const fn recursion_desired(&self) -> bool {
        self.flags.has(Flags::RD)
    }
}

const fn reject(rcode: Rcode, question_end: usize, edns: Option<Edns>) -> Reject {
    Reject::Respond { rcode, question_end, edns }
}

/// Finds the OPT among the records behind the question.
#[inline]
fn additional(datagram: &[u8], question_end: usize, counts: header::Counts) -> Result<Option<Edns>, Reject> {
    let malformed = reject(Rcode::FORMERR, question_end, None);
    // The usual query: one record, and it is the OPT.
    if counts.additional == 1 && counts.authority == 0 && is_opt(datagram, question_end) {
        let (edns, _) = Edns::parse(datagram, question_end + 1).ok_or(malformed)?;
        return check_version(edns, question_end).map(Some);
    }
    let mut at = question_end;
    let mut edns = None;
    for index in 0..u32::from(counts.authority) + u32::from(counts.additional) {
        if is_opt(datagram, at) {
            // An OPT belongs in the additional section, once.
            if index < u32::from(counts.authority) || edns.is_some() {
                return Err(malformed);
            }
            let (found, end) = Edns::parse(datagram, at + 1).ok_or(malformed)?;
            edns = Some(found);
            at = end;
        } else {
            at = super::message::skip_record(datagram, at).ok_or(malformed)?;
        }
    }
    edns.map(|edns| check_version(edns, question_end)).transpose()
}

/// Whether an OPT owned by the root starts at `at`.
#[inline]
fn is_opt(datagram: &[u8], at: usize) -> bool {
    read_u32(datagram, at).is_some_and(|word| word >> 8 == u32::from(Rtype::OPT.0))
}

#[inline]
fn check_version(edns: Edns, question_end: usize) -> Result<Edns, Reject> {
    if edns.version == 0 { Ok(edns) } else { Err(reject(Rcode::BADVERS, question_end, Some(edns))) }
}
