//! Writing a kept message as the response to one client's query.

use crate::wire::edns::{Edns, OPT_LEN};
use crate::wire::header::{self, Counts, HEADER_LEN};
use crate::wire::message::{Message, Record, Section};
use crate::wire::{Ede, Flags, Rcode, Rtype, read_u32};

use super::entry::ede_option;
use super::kept::Kept;

/// What a response takes from the client's query.
#[derive(Clone, Copy, Debug)]
pub struct Recipient {
    /// The query's flags: RD and CD are echoed.
    pub flags: Flags,
    /// The client's OPT: the response carries one only if there was one.
    pub edns: Option<Edns>,
    /// Largest response that the client takes.
    pub limit: usize,
    /// UDP payload size that our own OPT announces.
    pub udp_size: u16,
    /// Whether the first owner name lies in a local zone.
    pub authoritative: bool,
    /// Whether AD may be passed on: the upstream is trusted.
    pub authentic: bool,
}

/// Turns `buf`, which opens with the client's header and question, into the
/// response that `kept` is at `now`. The id and the question's spelling stay.
/// Returns the length and the response code.
#[expect(clippy::inline_always, reason = "its arguments are made for it: by a call they go through memory")]
#[inline(always)]
pub fn write(kept: &Kept<'_>, to: &Recipient, now: u64, buf: &mut [u8]) -> (usize, Rcode) {
    let opt_len = if to.edns.is_some() { OPT_LEN } else { 0 };
    let (end, limit) = (kept.bytes.len(), to.limit.min(buf.len()));
    let (start, rcode) = (usize::from(kept.head.question_end), kept.head.rcode);
    match kept.bytes.first_chunk::<HEADER_LEN>() {
        // The usual response: it is as long as it was, and its code fits the header.
        Some([_, _, flags @ .., q0, q1, a0, a1, n0, n1, x0, x1])
            if end + opt_len <= limit && rcode.0 < 16 =>
        {
            let counts = u64::from_be_bytes([*q0, *q1, *a0, *a1, *n0, *n1, *x0, *x1]);
            if let (Some(place), Some(body)) = (buf.get_mut(start..end), kept.bytes.get(start..)) {
                place.copy_from_slice(body);
            }
            age_ttls(kept.ttls, kept.age(now), end, buf);
            let passed = Flags::TC | if to.authentic { Flags::AD } else { 0 };
            let flags = Flags(own_flags(to) | u16::from_be_bytes(*flags) & passed | rcode.0);
            let Some(edns) = &to.edns else {
                header::set_flags_and_counts(buf, flags, counts);
                return (end, rcode);
            };
            header::set_flags_and_counts(buf, flags, counts.wrapping_add(1));
            (push_opt(buf, end, limit, edns, to.udp_size, rcode, kept.ede), rcode)
        }
        _ => write_unusual(*kept, *to, now, buf),
    }
}

/// [`write()`] of what does not fit, or has a code that does not.
#[cold]
fn write_unusual(kept: Kept<'_>, to: Recipient, now: u64, buf: &mut [u8]) -> (usize, Rcode) {
    fill(&kept, &to, kept.ede, buf, |end, buf| age_ttls(kept.ttls, kept.age(now), end, buf))
}

/// The flags of a response that are ours and the query's.
#[inline]
fn own_flags(to: &Recipient) -> u16 {
    let echoed = to.flags.0 & (Flags::RD | Flags::CD);
    Flags::QR | Flags::RA | echoed | if to.authoritative { Flags::AA } else { 0 }
}

/// The same of a response that has expired and stands in (RFC 8767): every TTL
/// is `ttl` seconds, and an extended error tells of it.
#[cold]
pub fn write_stale(kept: &Kept<'_>, to: &Recipient, ttl: u32, buf: &mut [u8]) -> (usize, Rcode) {
    fill(kept, to, &stale_options(kept), buf, |end, buf| set_ttls(kept.ttls, ttl, end, buf))
}

/// The extended errors of a stand-in: that it is one, then the upstream's own.
pub fn stale_options(kept: &Kept<'_>) -> Vec<u8> {
    let ede = match kept.head.rcode {
        Rcode::NXDOMAIN => Ede::STALE_NXDOMAIN_ANSWER,
        _ => Ede::STALE_ANSWER,
    };
    let mut options = ede_option(ede);
    options.extend_from_slice(kept.ede);
    options
}

fn fill(
    kept: &Kept<'_>,
    to: &Recipient,
    ede: &[u8],
    buf: &mut [u8],
    ttls: impl FnOnce(usize, &mut [u8]),
) -> (usize, Rcode) {
    let opt_len = if to.edns.is_some() { OPT_LEN } else { 0 };
    let limit = to.limit.min(buf.len());
    let start = usize::from(kept.head.question_end);
    let bytes = kept.bytes;
    let mut counts = header::counts(bytes).unwrap_or_default();
    let mut truncated = kept.flags().has(Flags::TC);
    let mut end = bytes.len();
    if end + opt_len > limit {
        let fitting = shorten(bytes, limit.saturating_sub(opt_len), &mut counts);
        end = fitting.0;
        truncated |= fitting.1;
    }
    if let (Some(place), Some(body)) = (buf.get_mut(start..end), bytes.get(start..end)) {
        place.copy_from_slice(body);
    }
    ttls(end, buf);
    let rcode = match kept.head.rcode {
        // Without an OPT there is no room for the upper bits (RFC 6891
        // section 6.1.3); cut off, BADVERS would read as NOERROR.
        Rcode(16..) if to.edns.is_none() => Rcode::SERVFAIL,
        rcode => rcode,
    };
    let mut flags = own_flags(to) | (rcode.0 & Flags::RCODE);
    flags |= if to.authentic { kept.flags().0 & Flags::AD } else { 0 };
    flags |= if truncated { Flags::TC } else { 0 };
    if let Some(edns) = &to.edns {
        end = push_opt(buf, end, limit, edns, to.udp_size, rcode, ede);
        counts.additional = counts.additional.wrapping_add(1);
    }
    header::set_flags(buf, Flags(flags));
    header::set_counts(buf, counts);
    (end, rcode)
}

/// Lowers the TTLs that lie before `end`; none goes below 0.
#[inline]
pub fn age_ttls(ttls: &[u8], age: u32, end: usize, buf: &mut [u8]) {
    if age == 0 {
        return;
    }
    for place in ttls.as_chunks::<2>().0 {
        let at = usize::from(u16::from_be_bytes(*place));
        if at + 4 > end {
            break;
        }
        let ttl = read_u32(buf, at).unwrap_or(0).saturating_sub(age);
        if let Some(place) = buf.get_mut(at..at + 4) {
            place.copy_from_slice(&ttl.to_be_bytes());
        }
    }
}

/// Sets the TTLs that lie before `end`.
pub fn set_ttls(ttls: &[u8], ttl: u32, end: usize, buf: &mut [u8]) {
    for place in ttls.as_chunks::<2>().0 {
        let at = usize::from(u16::from_be_bytes(*place));
        if at + 4 > end {
            break;
        }
        if let Some(place) = buf.get_mut(at..at + 4) {
            place.copy_from_slice(&ttl.to_be_bytes());
        }
    }
}

/// Where the message ends when it may be `room` bytes long, and whether it
/// lacks something that TC must tell of. What the answer does not need is left
/// out without a word, RRset by RRset (RFC 2181 section 9).
#[cold]
fn shorten(bytes: &[u8], room: usize, counts: &mut Counts) -> (usize, bool) {
    let Some(message) = Message::parse(bytes) else { return (room.min(bytes.len()), true) };
    let mut end = message.question_end();
    let mut kept = Counts { question: 1, ..Counts::default() };
    let mut truncated = false;
    // The end and the counts before the RRset of the last record.
    let mut before_rrset = (end, kept);
    let mut last: Option<Record> = None;
    for record in message.records() {
        if !last.is_some_and(|last| is_one_rrset(&message, &last, &record)) {
            before_rrset = (end, kept);
        }
        if record.end() > room {
            truncated = is_needed(&message, &record);
            if !truncated {
                (end, kept) = before_rrset;
            }
            break;
        }
        end = record.end();
        match record.section {
            Section::Answer => kept.answer += 1,
            Section::Authority => kept.authority += 1,
            Section::Additional => kept.additional += 1,
        }
        last = Some(record);
    }
    *counts = kept;
    (end, truncated)
}

/// Whether the response is less than an answer without `record` and what
/// follows: servers of the zone, behind an answer, are only told on the way.
fn is_needed(message: &Message<'_>, record: &Record) -> bool {
    match record.section {
        Section::Answer => true,
        Section::Additional => false,
        Section::Authority => {
            let mut left = message
                .records()
                .filter(|other| other.section == Section::Authority && other.owner_at >= record.owner_at);
            message.counts().answer == 0 || left.any(|other| other.rtype != Rtype::NS)
        }
    }
}

fn is_one_rrset(message: &Message<'_>, one: &Record, other: &Record) -> bool {
    let is_alike = (one.section, one.rtype, one.class) == (other.section, other.rtype, other.class);
    is_alike && message.owner(one) == message.owner(other)
}

/// Appends our OPT, with the extended errors if they fit.
#[inline]
fn push_opt(
    buf: &mut [u8],
    at: usize,
    limit: usize,
    edns: &Edns,
    udp_size: u16,
    rcode: Rcode,
    ede: &[u8],
) -> usize {
    let ede = if at + OPT_LEN + ede.len() <= limit { ede } else { &[] };
    let [size_high, size_low] = udp_size.to_be_bytes();
    let [len_high, len_low] = (ede.len() as u16).to_be_bytes();
    let do_bit = if edns.dnssec_ok { 0x80 } else { 0 };
    let rcode_high = (rcode.0 >> 4) as u8;
    let opt = [0, 0, Rtype::OPT.0 as u8, size_high, size_low, rcode_high, 0, do_bit, 0, len_high, len_low];
    let middle = at + OPT_LEN;
    let end = middle + ede.len();
    if let Some(place) = buf.get_mut(at..middle) {
        place.copy_from_slice(&opt);
    }
    if !ede.is_empty()
        && let Some(place) = buf.get_mut(middle..end)
    {
        place.copy_from_slice(ede);
    }
    end
}

/// The response as a message of its own: `question` is the header and the
/// question as the client sent them.
pub fn to_vec(kept: &Kept<'_>, to: &Recipient, now: u64, question: &[u8]) -> (Vec<u8>, Rcode) {
    let whole = kept.bytes.len().max(question.len()) + OPT_LEN + kept.ede.len();
    let mut buf = vec![0; whole.min(to.limit.max(question.len() + OPT_LEN))];
    if let Some(place) = buf.get_mut(..question.len()) {
        place.copy_from_slice(question);
    }
    let (len, rcode) = write(kept, to, now, &mut buf);
    buf.truncate(len);
    (buf, rcode)
}
