//! Queries as they arrive: the checks of RFC 1035, 6891, 9619 in wire order.

use super::edns::Edns;
use super::folded::FoldedName;
use super::header::{self, Flags, HEADER_LEN, Opcode};
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

/// Why a message is not answered at once from what [`Query::read_usual`] read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusual {
    /// It is no well-formed standard query.
    Rejected(Reject),
    /// It is one and was read, and its OPT has options.
    Options,
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
    #[inline]
    pub fn read(&mut self, datagram: &[u8]) -> Result<(), Reject> {
        match self.read_usual(datagram) {
            Ok(()) | Err(Unusual::Options) => Ok(()),
            Err(Unusual::Rejected(reject)) => Err(reject),
        }
    }

    /// [`Self::read`] that also tells, at no cost to others, that the OPT has
    /// options: the packet path leaves those queries to a function of its own.
    ///
    /// # Errors
    /// [`Unusual::Rejected`] as [`Self::read`]; [`Unusual::Options`] with
    /// `self` read whole.
    #[expect(clippy::inline_always, reason = "a call costs a tenth of a hit, in registers saved")]
    #[inline(always)]
    pub fn read_usual(&mut self, datagram: &[u8]) -> Result<(), Unusual> {
        let Some(header) = datagram.first_chunk::<HEADER_LEN>() else {
            return Err(Unusual::Rejected(Reject::Drop(DropReason::Short)));
        };
        let [id0, id1, fl0, fl1, qd0, qd1, an0, an1, ns0, ns1, ar0, ar1] = *header;
        // Id, flags, QDCOUNT and ANCOUNT in one word, the other counts in another.
        let first = u64::from_be_bytes([id0, id1, fl0, fl1, qd0, qd1, an0, an1]);
        let rest = u32::from_be_bytes([ns0, ns1, ar0, ar1]);
        if first & QUESTION_BITS != ONE_QUESTION {
            return Err(no_query(first, datagram));
        }
        (self.id, self.flags) = ((first >> 48) as u16, Flags((first >> 32) as u16));
        let Some(name_len) = self.qname.read_at(datagram, HEADER_LEN) else {
            return Err(Unusual::Rejected(malformed(datagram, HEADER_LEN)));
        };
        let end = HEADER_LEN + name_len;
        let Some(fixed) = read_u32(datagram, end) else {
            return Err(Unusual::Rejected(malformed(datagram, HEADER_LEN)));
        };
        (self.qtype, self.qclass) = (Rtype((fixed >> 16) as u16), Class(fixed as u16));
        self.question_end = end + 4;
        if first & 0xffff != 0 {
            return Err(Unusual::Rejected(malformed(datagram, self.question_end)));
        }
        // The usual query has no record but its question, or one, and that is the OPT.
        if rest == 0 {
            self.edns = None;
        } else if rest == 1
            && let Some(edns) = Edns::parse_usual(datagram, self.question_end)
        {
            self.edns = Some(edns);
        } else {
            let edns = additional(datagram, self.question_end).map_err(Unusual::Rejected)?;
            self.edns = edns;
            if edns.is_some_and(|edns| edns.options_len > 0) {
                return Err(Unusual::Options);
            }
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
fn no_query(first: u64, datagram: &[u8]) -> Unusual {
    let flags = Flags((first >> 32) as u16);
    Unusual::Rejected(if flags.has(Flags::QR) {
        Reject::Drop(DropReason::Response)
    } else if flags.opcode() != Opcode::QUERY {
        reject(Rcode::NOTIMP, HEADER_LEN, salvage(datagram))
    } else {
        malformed(datagram, HEADER_LEN)
    })
}

#[cold]
fn malformed(datagram: &[u8], question_end: usize) -> Reject {
    reject(Rcode::FORMERR, question_end, salvage(datagram))
}

const fn reject(rcode: Rcode, question_end: usize, edns: Option<Edns>) -> Reject {
    Reject::Respond { rcode, question_end, edns }
}

/// Finds the OPT among the records behind the question.
#[inline(never)]
fn additional(datagram: &[u8], question_end: usize) -> Result<Option<Edns>, Reject> {
    let malformed = || malformed(datagram, question_end);
    let counts = header::counts(datagram).ok_or_else(malformed)?;
    let mut at = question_end;
    let mut edns: Option<Edns> = None;
    for index in 0..u32::from(counts.authority) + u32::from(counts.additional) {
        if is_opt(datagram, at) {
            // An OPT belongs in the additional section, once.
            if index < u32::from(counts.authority) || edns.is_some() {
                return Err(malformed());
            }
            // What else an OPT of another version holds is not known.
            let fields = Edns::parse_fields(datagram, at + 1).ok_or_else(malformed)?;
            if fields.version != 0 {
                return Err(reject(Rcode::BADVERS, question_end, Some(fields)));
            }
            let (found, end) = Edns::parse(datagram, at + 1).ok_or_else(malformed)?;
            edns = Some(found);
            at = end;
        } else {
            let end = super::message::skip_record(datagram, at).ok_or_else(malformed)?;
            // Its owner is the root (RFC 6891 section 6.1.2).
            let owner_end = super::message::skip_name(datagram, at);
            if owner_end.and_then(|at| read_u16(datagram, at)) == Some(Rtype::OPT.0) {
                return Err(malformed());
            }
            at = end;
        }
    }
    Ok(edns)
}

/// The first OPT of a message that is rejected, wherever the rest can be walked
/// that far: where the client sent one, every error carries one too (RFC 6891
/// section 6.1.1). Options that cannot be read count as none.
#[cold]
fn salvage(datagram: &[u8]) -> Option<Edns> {
    let counts = header::counts(datagram).filter(|counts| counts.additional > 0)?;
    let mut at = HEADER_LEN;
    for _ in 0..counts.question {
        at = super::message::skip_name(datagram, at)? + 4;
    }
    for _ in 0..u32::from(counts.answer) + u32::from(counts.authority) {
        at = super::message::skip_record(datagram, at)?;
    }
    for _ in 0..counts.additional {
        if is_opt(datagram, at) {
            let whole = Edns::parse(datagram, at + 1).map(|(edns, _)| edns);
            return whole.or_else(|| Edns::parse_fields(datagram, at + 1));
        }
        at = super::message::skip_record(datagram, at)?;
    }
    None
}

/// Whether an OPT owned by the root starts at `at`.
fn is_opt(datagram: &[u8], at: usize) -> bool {
    read_u32(datagram, at).is_some_and(|word| word >> 8 == u32::from(Rtype::OPT.0))
}
