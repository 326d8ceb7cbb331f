//! Responses to what is not answered: malformed messages and clients outside
//! the allowed prefixes. Shared by all transports.

use crate::answer::{self, Context, Transport};
use crate::wire::header;
use crate::wire::response::Closing;
use crate::wire::{DropReason, Ede, HEADER_LEN, Query, Rcode, Reject, Response};

/// Turns the message in `buf` into the response that `reject` calls for.
/// Returns its length and code; the drop reason where nothing is to be sent.
///
/// Header-only or echoing the question, as `reject` says; a client's OPT is
/// answered by one (RFC 6891 section 6.1.1), which carries the upper bits of
/// BADVERS.
pub fn reject(reject: &Reject, udp_size: u16, buf: &mut [u8]) -> Result<(usize, Rcode), DropReason> {
    match *reject {
        Reject::Drop(reason) => Err(reason),
        Reject::Respond { rcode, question_end, edns } => {
            let query_flags = header::flags(buf).unwrap_or_default();
            let limit = buf.len();
            let mut out = Response::new(buf, limit);
            out.begin(question_end);
            let closing = Closing {
                query_flags,
                rcode,
                authoritative: false,
                authentic: false,
                edns,
                udp_size,
                ede: (rcode == Rcode::NOTIMP).then_some(Ede::NOT_SUPPORTED),
            };
            Ok((out.finish(&closing), rcode))
        }
    }
}

/// Refuses the query in `buf`, of `len` bytes, to a client outside the allowed
/// prefixes: REFUSED with EDE 18 (RFC 8914 section 4.19). `None` for what is no
/// query: nobody outside gets an answer to noise.
pub fn deny(buf: &mut [u8], len: usize, transport: Transport, udp_size: u16) -> Option<usize> {
    let query = Query::parse(buf.get(..len)?).ok()?;
    let context = Context { transport, udp_size, ..Context::INTERNAL };
    let limit = context.limit(&query);
    let mut out = Response::new(buf, limit);
    Some(answer::error(&query, &context, Rcode::REFUSED, Some(Ede::PROHIBITED), &mut out))
}

/// The rejection of a datagram that was longer than the buffer: FORMERR, with
/// nothing of it echoed, unless it is a response itself.
pub fn oversized(head: &[u8]) -> Reject {
    match Query::parse(head) {
        Err(Reject::Drop(reason)) => Reject::Drop(reason),
        _ => Reject::Respond { rcode: Rcode::FORMERR, question_end: HEADER_LEN, edns: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(bytes: &[u8]) -> Result<(Vec<u8>, Rcode), DropReason> {
        let mut buf = [0xaa; 512];
        buf[..bytes.len()].copy_from_slice(bytes);
        let why = Query::parse(bytes).expect_err("no query");
        reject(&why, 1232, &mut buf).map(|(len, rcode)| (buf[..len].to_vec(), rcode))
    }

    #[test]
    fn other_opcodes_get_a_bare_header() {
        let notify = [0x12, 0x34, 0x21, 0x00, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 1];
        let (response, rcode) = rejected(&notify).unwrap();
        assert_eq!(rcode, Rcode::NOTIMP);
        assert_eq!(response, [0x12, 0x34, 0xa1, 0x84, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn rfc6891_badvers_carries_an_opt_with_the_upper_bits() {
        let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, b'a', 0, 0, 1, 0, 1];
        query.extend([0, 0, 41, 0x10, 0, 0, 1, 0x80, 0, 0, 0]);
        let (response, rcode) = rejected(&query).unwrap();
        assert_eq!(rcode, Rcode::BADVERS);
        assert_eq!(response[..12], [0, 7, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 1]);
        assert_eq!(response[12..19], query[12..19]);
        assert_eq!(response[19..], [0, 0, 41, 0x04, 0xd0, 1, 0, 0x80, 0, 0, 0]);
    }

    #[test]
    fn responses_are_dropped_even_when_oversized() {
        let response = [0, 1, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(rejected(&response), Err(DropReason::Response));
        assert_eq!(oversized(&response), Reject::Drop(DropReason::Response));
        assert_eq!(oversized(&[0; 3]), Reject::Drop(DropReason::Short));
        assert!(matches!(
            oversized(&[0; 12]),
            Reject::Respond { rcode: Rcode::FORMERR, question_end: 12, .. }
        ));
    }
}
