//! How long a response over HTTPS stays fresh (RFC 8484 section 5.1).

use crate::wire::message::{Message, Section};
use crate::wire::{Flags, Rcode, Rtype, read_u32};

/// Seconds for which `response` may be kept: the smallest TTL of its answer;
/// what denies lasts as long as its SOA says (RFC 2308 section 5). `None` for
/// what must not be kept: errors, and what was cut off.
pub(super) fn max_age(response: &[u8]) -> Option<u32> {
    let message = Message::parse(response)?;
    let denies = message.rcode() == Rcode::NXDOMAIN;
    if message.flags().has(Flags::TC) || !(denies || message.rcode() == Rcode::NOERROR) {
        return None;
    }
    let (mut least, mut soa, mut is_answered) = (None::<u32>, None::<u32>, false);
    for record in message.records() {
        match record.section {
            Section::Answer => {
                least = Some(least.map_or(record.ttl, |least| least.min(record.ttl)));
                is_answered |= record.rtype == message.qtype() || message.qtype() == Rtype::ANY;
            }
            Section::Authority if record.rtype == Rtype::SOA => {
                // The last field of its data is the negative TTL.
                let minimum = record.end().checked_sub(4).and_then(|at| read_u32(response, at))?;
                soa = Some(record.ttl.min(minimum));
            }
            _ => {}
        }
    }
    if is_answered && !denies {
        return least;
    }
    // A denial without an SOA is not kept (RFC 2308 section 5).
    Some(soa.map_or(0, |soa| least.map_or(soa, |least| least.min(soa))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOA: &[u8] = &[
        0, 0, 6, 0, 1, 0, 0, 0, 90, 0, 22, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 60,
    ];

    /// A record of `rtype` with that TTL, owned by the question's name.
    fn record(rtype: u8, ttl: u8) -> Vec<u8> {
        vec![0xc0, 12, 0, rtype, 0, 1, 0, 0, 0, ttl, 0, 2, 0xc0, 12]
    }

    fn response(flags: [u8; 2], qtype: u8, answers: &[Vec<u8>], authority: &[&[u8]]) -> Vec<u8> {
        let counts = [0, 1, 0, answers.len() as u8, 0, authority.len() as u8, 0, 0];
        let mut bytes = [&[0, 0][..], &flags, &counts, &[1, b'a', 0, 0, qtype, 0, 1]].concat();
        bytes.extend(answers.concat());
        bytes.extend(authority.concat());
        bytes
    }

    #[test]
    fn rfc8484_freshness_is_the_smallest_ttl_or_what_the_soa_says() {
        const NOERROR: [u8; 2] = [0x81, 0x80];
        const NXDOMAIN: [u8; 2] = [0x81, 0x83];
        let (cname, a) = (record(5, 40), record(1, 30));
        for (flags, qtype, answers, authority, expected) in [
            (NOERROR, 1, vec![a.clone()], vec![], Some(30)),
            (NOERROR, 1, vec![cname.clone(), a.clone()], vec![], Some(30)),
            (NOERROR, 5, vec![cname.clone()], vec![], Some(40)),
            (NOERROR, 255, vec![cname.clone()], vec![], Some(40)),
            (NOERROR, 1, vec![record(1, 200)], vec![SOA], Some(200)),
            (NOERROR, 1, vec![], vec![SOA], Some(60)),
            (NXDOMAIN, 1, vec![], vec![SOA], Some(60)),
            (NOERROR, 1, vec![cname.clone()], vec![SOA], Some(40)),
            (NXDOMAIN, 1, vec![record(5, 70)], vec![SOA], Some(60)),
            (NOERROR, 1, vec![], vec![], Some(0)),
            (NOERROR, 1, vec![cname.clone()], vec![], Some(0)),
            ([0x81, 0x82], 1, vec![], vec![], None),
            ([0x81, 0x85], 1, vec![], vec![SOA], None),
            ([0x83, 0x80], 1, vec![a.clone()], vec![], None),
        ] {
            let bytes = response(flags, qtype, &answers, &authority);
            assert_eq!(max_age(&bytes), expected, "{flags:?} {qtype} {answers:?}");
        }
        assert_eq!(max_age(&[]), None);
    }
}
