//! Queries as they arrive: the checks of RFC 1035, 6891, 9619 in wire order.

use super::edns::Edns;
use super::folded::FoldedName;
use super::header::{self, Flags, HEADER_LEN, Opcode};
use super::read_u32;
use super::types::{Class, Rcode, Rtype};

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
    /// A query for the root, to read into.
    pub const EMPTY: Self = Self {
        id: 0,
        flags: Flags(0),
        qname: FoldedName::ROOT,
        qtype: Rtype(0),
        qclass: Class(0),
        question_end: HEADER_LEN,
        edns: None,
    };

    /// Parses a message from a client.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(datagram: &[u8]) -> Result<Self, Reject> {
        let mut query = Self::EMPTY;
        query.read(datagram)?;
        Ok(query)
    }

    /// Reads a message from a client into `self`, so that a worker keeps one
    /// query and moves none. After an error `self` holds nothing of use.
    ///
    /// # Errors
    /// [`Reject::Drop`] for what must not be answered; [`Reject::Respond`]
    /// with NOTIMP for other opcodes, FORMERR for anything malformed (QDCOUNT
    /// other than 1 (RFC 9619), records in the answer section, two OPTs, an
    /// OPT with a name), BADVERS for EDNS versions above 0. Bytes after the
    /// last record are ignored, as BIND and Unbound do.
    #[expect(clippy::inline_always, reason = "a call costs a tenth of a hit, in registers saved")]
    #[inline(always)]
    pub fn read(&mut self, datagram: &[u8]) -> Result<(), Reject> {
        let Some(header) = datagram.first_chunk::<HEADER_LEN>() else {
            return Err(Reject::Drop(DropReason::Short));
        };
        let [id0, id1, fl0, fl1, qd0, qd1, an0, an1, ns0, ns1, ar0, ar1] = *header;
        // Id, flags, QDCOUNT and ANCOUNT in one word, the other counts in another.
        let first = u64::from_be_bytes([id0, id1, fl0, fl1, qd0, qd1, an0, an1]);
        let rest = u32::from_be_bytes([ns0, ns1, ar0, ar1]);
        if first & QUESTION_BITS != ONE_QUESTION {
            return Err(no_query(first));
        }
        (self.id, self.flags) = ((first >> 48) as u16, Flags((first >> 32) as u16));
        let Some(name_len) = self.qname.read_at(datagram, HEADER_LEN) else {
            return Err(malformed(HEADER_LEN));
        };
        let end = HEADER_LEN + name_len;
        let Some(fixed) = read_u32(datagram, end) else {
            return Err(malformed(HEADER_LEN));
        };
        (self.qtype, self.qclass) = (Rtype((fixed >> 16) as u16), Class(fixed as u16));
        self.question_end = end + 4;
        if first & 0xffff != 0 {
            return Err(malformed(self.question_end));
        }
        // The usual query has no record but its question, or one, and that is the OPT.
        if rest == 0 {
            self.edns = None;
        } else if rest == 1
            && let Some(edns) = Edns::parse_usual(datagram, self.question_end)
        {
            self.edns = Some(edns);
        } else {
            self.edns = additional(datagram, self.question_end)?;
        }
        Ok(())
    }

    /// Recursion desired.
    #[inline]
    pub const fn recursion_desired(&self) -> bool {
        self.flags.has(Flags::RD)
    }
}

/// QR, OPCODE and QDCOUNT in the first eight bytes of a header.
const QUESTION_BITS: u64 = ((Flags::QR | Flags::OPCODE) as u64) << 32 | 0xffff_0000;
/// What they are in a standard query with one question.
const ONE_QUESTION: u64 = 1 << 16;

/// Why a header whose first eight bytes are `first` opens no standard query.
#[cold]
fn no_query(first: u64) -> Reject {
    let flags = Flags((first >> 32) as u16);
    if flags.has(Flags::QR) {
        Reject::Drop(DropReason::Response)
    } else if flags.opcode() != Opcode::QUERY {
        reject(Rcode::NOTIMP, HEADER_LEN, None)
    } else {
        malformed(HEADER_LEN)
    }
}

#[cold]
const fn malformed(question_end: usize) -> Reject {
    reject(Rcode::FORMERR, question_end, None)
}

const fn reject(rcode: Rcode, question_end: usize, edns: Option<Edns>) -> Reject {
    Reject::Respond { rcode, question_end, edns }
}

/// Finds the OPT among the records behind the question.
#[inline(never)]
fn additional(datagram: &[u8], question_end: usize) -> Result<Option<Edns>, Reject> {
    let malformed = malformed(question_end);
    let counts = header::counts(datagram).ok_or(malformed)?;
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
    match edns {
        Some(edns) if edns.version != 0 => Err(reject(Rcode::BADVERS, question_end, Some(edns))),
        edns => Ok(edns),
    }
}

/// Whether an OPT owned by the root starts at `at`.
fn is_opt(datagram: &[u8], at: usize) -> bool {
    read_u32(datagram, at).is_some_and(|word| word >> 8 == u32::from(Rtype::OPT.0))
}
