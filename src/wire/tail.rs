//! The options that end a response's OPT because of how it travels: padding
//! (RFC 7830, RFC 8467) and the idle timeout of its connection (RFC 7828).
//!
//! They are appended to a response that is finished otherwise, by whoever is
//! about to send it: padding depends on the length of everything else, and only
//! the transport knows whether either is due. Our OPT is the last record of a
//! response and these are its last options, whoever wrote the others.

use super::edns::{Edns, OPT_LEN};
use super::header::{self, HEADER_LEN};
use super::message::skip_record;
use super::types::Rtype;
use super::{read_u16, write_u16};

/// Option code of edns-tcp-keepalive (RFC 7828 section 3.1).
pub const OPTION_KEEPALIVE: u16 = 11;
/// Option code of padding (RFC 7830 section 3).
pub const OPTION_PADDING: u16 = 12;
/// Responses are padded to a multiple of this (RFC 8467 section 4.1).
pub const RESPONSE_BLOCK: usize = 468;

/// The longest message.
const LONGEST: usize = 65_535;
/// Code and length of an option.
const OPTION_HEADER: usize = 4;

/// What a transport can offer to a client that asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The idle timeout of the connection, in units of 100 ms; none where
    /// connections are no concern of DNS (UDP, HTTP, QUIC).
    pub keepalive: Option<u16>,
    /// Whether length tells something to who listens: on encrypted transports.
    pub padding: bool,
}

/// What is appended to one response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    keepalive: Option<u16>,
    padding: bool,
}

impl Tail {
    /// Nothing.
    pub const NONE: Self = Self { keepalive: None, padding: false };

    /// What `query`, whose OPT is `edns`, asks for of what is on offer. A
    /// keepalive option that is not empty is not a client's (RFC 7828 section 3.2.1).
    #[inline]
    pub fn asked(query: &[u8], edns: Option<Edns>, offer: Offer) -> Self {
        match edns {
            Some(edns) if edns.options_len > 0 => Self::of_options(query, edns, offer),
            _ => Self::NONE,
        }
    }

    fn of_options(query: &[u8], edns: Edns, offer: Offer) -> Self {
        let mut tail = Self::NONE;
        for (code, data) in edns.options(query) {
            match code {
                OPTION_KEEPALIVE if data.is_empty() => tail.keepalive = offer.keepalive,
                OPTION_PADDING => tail.padding = offer.padding,
                _ => {}
            }
        }
        tail
    }

    /// Whether nothing is appended.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.keepalive.is_none() && !self.padding
    }

    /// Appends to the response in the first `len` bytes of `buf`, as far as
    /// `buf` reaches. Returns its length.
    #[inline]
    pub fn append(self, buf: &mut [u8], len: usize) -> usize {
        if self.is_empty() { len } else { self.append_to_opt(buf, len).unwrap_or(len) }
    }

    /// [`Tail::append`] to a response of its own.
    pub fn extend(self, response: &mut Vec<u8>) {
        if self.is_empty() {
            return;
        }
        let len = response.len();
        let most = len + OPTION_HEADER + 2 + OPTION_HEADER + RESPONSE_BLOCK;
        response.resize(most.min(LONGEST.max(len)), 0);
        let len = self.append(response, len);
        response.truncate(len);
    }

    /// Nothing is written where the response has no OPT, or does not end with it.
    fn append_to_opt(self, buf: &mut [u8], len: usize) -> Option<usize> {
        let opt = last_opt(buf.get(..len)?)?;
        let room = buf.len().min(LONGEST);
        let mut end = len;
        if let Some(timeout) = self.keepalive
            && end + OPTION_HEADER + 2 <= room
        {
            let option = buf.get_mut(end..end + OPTION_HEADER + 2)?;
            let [high, low] = timeout.to_be_bytes();
            option.copy_from_slice(&[0, OPTION_KEEPALIVE as u8, 0, 2, high, low]);
            end += option.len();
        }
        if self.padding && end + OPTION_HEADER <= room {
            let padded = (end + OPTION_HEADER).next_multiple_of(RESPONSE_BLOCK).min(room);
            let option = buf.get_mut(end..padded)?;
            option.fill(0);
            let octets = (option.len() - OPTION_HEADER) as u16;
            write_u16(option, 0, OPTION_PADDING);
            write_u16(option, 2, octets);
            end = padded;
        }
        write_u16(buf, opt + OPT_LEN - 2, (end - opt - OPT_LEN) as u16);
        Some(end)
    }
}

/// Sets the idle timeout that `response` tells to zero, if it tells one: the
/// connection closes as soon as this is read (RFC 7828 section 3.2.2).
pub fn tell_closing(response: &mut [u8]) {
    let Some(options) = last_opt(response).map(|opt| opt + OPT_LEN) else { return };
    let mut rest = response.get_mut(options..).unwrap_or_default();
    while let [c0, c1, l0, l1, data @ ..] = rest {
        let (code, len) = (u16::from_be_bytes([*c0, *c1]), u16::from_be_bytes([*l0, *l1]));
        let Some((data, next)) = data.split_at_mut_checked(usize::from(len)) else { return };
        if code == OPTION_KEEPALIVE {
            data.fill(0);
        }
        rest = next;
    }
}

/// Where the OPT of `response` begins, if it is the last record.
fn last_opt(response: &[u8]) -> Option<usize> {
    let counts = header::counts(response)?;
    let mut at = HEADER_LEN;
    for _ in 0..counts.question {
        at = super::message::skip_name(response, at)? + 4;
    }
    let records = u32::from(counts.answer) + u32::from(counts.authority) + u32::from(counts.additional);
    for _ in 1..records {
        at = skip_record(response, at)?;
    }
    let is_opt = records > 0
        && counts.additional > 0
        && response.get(at) == Some(&0)
        && read_u16(response, at + 1) == Some(Rtype::OPT.0)
        && skip_record(response, at) == Some(response.len());
    is_opt.then_some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A response with `records` answers and an OPT with `options`.
    fn response(records: usize, options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 7, 0x81, 0x80, 0, 1, 0, records as u8, 0, 0, 0, 1];
        bytes.extend([1, b'a', 0, 0, 1, 0, 1]);
        for _ in 0..records {
            bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
        }
        bytes.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0]);
        bytes.extend((options.len() as u16).to_be_bytes());
        bytes.extend(options);
        bytes
    }

    /// The options of the OPT that ends `bytes`.
    fn options(bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
        let at = last_opt(bytes).expect("an OPT at the end");
        let (edns, end) = Edns::parse(bytes, at + 1).expect("well-formed");
        assert_eq!(end, bytes.len());
        edns.options(bytes).map(|(code, data)| (code, data.to_vec())).collect()
    }

    fn query(options: &[u8]) -> (Vec<u8>, Option<Edns>) {
        let mut bytes = response(0, options);
        bytes[2] = 1;
        let edns = super::super::Query::parse(&bytes).expect("a query").edns;
        (bytes, edns)
    }

    const BOTH: Offer = Offer { keepalive: Some(100), padding: true };

    #[test]
    fn only_what_is_asked_for_and_offered() {
        let (keepalive, padding) = ([0, 11, 0, 0], [0, 12, 0, 3, 0, 0, 0]);
        let tail = |options: &[u8], offer| {
            let (bytes, edns) = query(options);
            Tail::asked(&bytes, edns, offer)
        };
        assert_eq!(tail(&[], BOTH), Tail::NONE);
        assert_eq!(tail(&keepalive, BOTH), Tail { keepalive: Some(100), padding: false });
        assert_eq!(tail(&padding, BOTH), Tail { keepalive: None, padding: true });
        let all = [&keepalive[..], &padding].concat();
        assert_eq!(tail(&all, Offer::default()), Tail::NONE);
        assert!(!tail(&all, Offer { keepalive: None, padding: true }).is_empty());
        // RFC 7828 section 3.2.1: a client sends it empty.
        assert_eq!(tail(&[0, 11, 0, 2, 0, 9], BOTH), Tail::NONE);
    }

    #[test]
    fn rfc7828_a_connection_that_closes_tells_no_time() {
        for others in [&[][..], &[0, 15, 0, 2, 0, 9]] {
            let mut bytes = response(1, others);
            Tail { keepalive: Some(100), padding: true }.extend(&mut bytes);
            let before = options(&bytes);
            tell_closing(&mut bytes);
            let told: Vec<_> = options(&bytes);
            assert_eq!(told.len(), before.len());
            for ((code, data), before) in told.into_iter().zip(before) {
                let expected = if code == OPTION_KEEPALIVE { vec![0, 0] } else { before.1 };
                assert_eq!(data, expected, "{code}");
            }
        }
        let without = response(1, &[0, 12, 0, 1, 7]);
        let mut bytes = without.clone();
        tell_closing(&mut bytes);
        assert_eq!(bytes, without);
    }

    #[test]
    fn responses_without_an_opt_stay_as_they_are() {
        let tail = Tail { keepalive: Some(1), padding: true };
        let mut plain = response(1, &[]);
        plain.truncate(plain.len() - OPT_LEN);
        plain[11] = 0;
        let before = plain.clone();
        tail.extend(&mut plain);
        assert_eq!(plain, before);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn rfc8467_responses_are_multiples_of_468(
            records in 0usize..200,
            ede in any::<bool>(),
            keepalive in any::<Option<u16>>(),
            room in 0usize..2000,
        ) {
            let ede: &[u8] = if ede { &[0, 15, 0, 2, 0, 18] } else { &[] };
            let before = response(records, ede);
            let tail = Tail { keepalive, padding: true };
            let mut after = before.clone();
            tail.extend(&mut after);
            prop_assert!(after.len().is_multiple_of(RESPONSE_BLOCK), "{}", after.len());
            prop_assert!(after.len() < before.len() + 10 + RESPONSE_BLOCK);
            let found = options(&after);
            prop_assert_eq!(found.last().map(|(code, _)| *code), Some(OPTION_PADDING));
            prop_assert_eq!(found.iter().any(|(code, _)| *code == OPTION_KEEPALIVE), keepalive.is_some());
            prop_assert_eq!(found.iter().any(|(code, _)| *code == 15), !ede.is_empty());
            // In a buffer, however short: never beyond it, always whole.
            let mut buf = before.clone();
            buf.resize(before.len() + room, 0xee);
            let len = tail.append(&mut buf, before.len());
            prop_assert!(len <= buf.len());
            let _ = options(&buf[..len]);
        }

        #[test]
        fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), len in 0usize..200) {
            let len = len.min(bytes.len());
            Tail { keepalive: Some(1), padding: true }.append(&mut bytes, len);
        }

        #[test]
        fn what_is_left_of_the_longest_message_is_padding(missing in 0usize..500) {
            let mut bytes = response(0, &[]);
            let filler = LONGEST - missing - bytes.len() - OPTION_HEADER;
            bytes = response(0, &[&[0xff, 0xf0][..], &(filler as u16).to_be_bytes(), &vec![0; filler]].concat());
            prop_assert_eq!(bytes.len(), LONGEST - missing);
            tell_closing(&mut bytes);
            Tail { keepalive: None, padding: true }.extend(&mut bytes);
            prop_assert!(bytes.len() <= LONGEST);
            let _ = options(&bytes);
        }
    }
}
