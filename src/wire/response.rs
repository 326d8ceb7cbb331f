//! Writing a response over the query that it answers.

use super::body::{Body, MAX_IN_PIECES, copy_ends};
use super::edns::{Ede, Edns, OPT_LEN, OPTION_EDE};
use super::header::{self, Counts, Flags, HEADER_LEN};
use super::message::{Section, skip_record};
use super::types::{Rcode, Rtype};

/// A response under construction in the buffer that holds the query: the id
/// and the question stay where they are, everything behind the question is
/// overwritten.
///
/// Records that do not fit below the limit are left out as a whole, with TC
/// set (RFC 2181 section 9); space for the OPT is kept free throughout.
#[derive(Debug)]
pub struct Response<'b> {
    buf: &'b mut [u8],
    len: usize,
    limit: usize,
    counts: Counts,
    truncated: bool,
}

/// What [`Response::finish`] writes besides the records.
#[derive(Clone, Copy, Debug)]
pub struct Closing {
    /// The query's flags: opcode, RD and CD are copied from them.
    pub query_flags: Flags,
    /// The response code.
    pub rcode: Rcode,
    /// Whether the first owner name lies in a local zone.
    pub authoritative: bool,
    /// Whether AD is passed on from a trusted upstream.
    pub authentic: bool,
    /// The client's OPT; the response carries one only if there was one.
    pub edns: Option<Edns>,
    /// UDP payload size that our own OPT announces.
    pub udp_size: u16,
    /// An extended error, sent only with an OPT and only if it fits.
    pub ede: Option<Ede>,
}

impl Closing {
    /// The flags of the response, as far as they do not tell what was left out.
    #[inline]
    const fn flags(&self) -> u16 {
        let copied = self.query_flags.0 & (Flags::OPCODE | Flags::RD | Flags::CD);
        let authoritative = if self.authoritative { Flags::AA } else { 0 };
        let authentic = if self.authentic { Flags::AD } else { 0 };
        copied | Flags::QR | Flags::RA | (self.rcode.0 & Flags::RCODE) | authoritative | authentic
    }
}

/// Our OPT without options, in answer to the client's.
#[inline]
fn opt_record(edns: &Edns, closing: &Closing) -> [u8; OPT_LEN] {
    let do_bit = if edns.dnssec_ok { 0x80 } else { 0 };
    let word = u64::from(Rtype::OPT.0) << 40
        | u64::from(closing.udp_size) << 24
        | u64::from((closing.rcode.0 >> 4) as u8) << 16
        | do_bit;
    let [b0, b1, b2, b3, b4, b5, b6, b7] = word.to_be_bytes();
    [b0, b1, b2, b3, b4, b5, b6, b7, 0, 0, 0]
}

/// Writes answers, authority record and OPT one behind the other. The record's
/// owner stands in place of its first two bytes.
#[expect(clippy::inline_always, reason = "as for `Response::write_whole`, of which it is the end")]
#[inline(always)]
fn write_records(
    place: &mut [u8],
    answers: &Body<'_>,
    authority: Option<([u8; 2], &[u8])>,
    closing: &Closing,
) -> Option<()> {
    let (place, mut behind) = place.split_at_mut_checked(answers.len())?;
    answers.write(place)?;
    if let Some((owner, record)) = authority {
        let (place, opt) = behind.split_at_mut_checked(record.len())?;
        match record.len() {
            // What Azure's own SOA takes: nearly every zone has that one.
            65..=96 => copy_ends::<64, 32>(place, record),
            _ => place.copy_from_slice(record),
        }
        *place.first_chunk_mut()? = owner;
        behind = opt;
    }
    if let Some(edns) = &closing.edns {
        *behind.first_chunk_mut()? = opt_record(edns, closing);
    }
    Some(())
}

impl<'b> Response<'b> {
    /// A response in `buf`, at most `limit` bytes long.
    #[inline]
    pub fn new(buf: &'b mut [u8], limit: usize) -> Self {
        let limit = limit.min(buf.len());
        Self { buf, len: HEADER_LEN, limit, counts: Counts::default(), truncated: false }
    }

    /// Starts over behind the question, which ends at `question_end` (12 for
    /// none); keeps `edns`'s OPT space free.
    #[inline]
    pub fn begin(&mut self, question_end: usize) {
        self.len = question_end.min(self.buf.len());
        self.counts = Counts { question: u16::from(question_end > HEADER_LEN), ..Counts::default() };
        self.truncated = false;
    }

    /// Lowers the limit (from the query's EDNS size) without raising it.
    #[inline]
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(self.buf.len());
    }

    /// The largest length that the message may reach.
    #[inline]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes written so far.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing but a header is there.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len <= HEADER_LEN
    }

    /// Whether a record was left out for want of space.
    #[inline]
    pub const fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Records that belong here were left out elsewhere already.
    pub fn set_truncated(&mut self) {
        self.truncated = true;
    }

    /// The message so far.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or_default()
    }

    /// The whole buffer, for a response that is written without this type: a
    /// kept message, whose sections are copied at once.
    #[inline]
    pub fn buffer(&mut self) -> &mut [u8] {
        self.buf
    }

    /// Writes a whole response of ready records at once, at most `limit` bytes
    /// whatever the limit was, over whatever is there: behind the question, which ends at `question_end`, the answers,
    /// then the authority record, a pointer in place of its first two bytes. `false` where it
    /// does not fit as a whole, or would carry an extended error; nothing is
    /// written then, and the records have to be pushed.
    ///
    /// One check of the length and a few wide stores: what most responses take.
    #[expect(clippy::inline_always, reason = "most of what it is given is known where it is called")]
    #[inline(always)]
    pub fn write_whole(
        &mut self,
        limit: usize,
        question_end: usize,
        answers: &Body<'_>,
        authority: Option<([u8; 2], &[u8])>,
        closing: &Closing,
    ) -> bool {
        let opt_len = if closing.edns.is_some() { OPT_LEN } else { 0 };
        let answers_end = question_end + answers.len();
        let authority_end = answers_end + authority.map_or(0, |(_, record)| record.len());
        let end = authority_end + opt_len;
        if end > limit || closing.ede.is_some() {
            return false;
        }
        let Some((question, behind)) =
            self.buf.get_mut(..end).and_then(|b| b.split_at_mut_checked(question_end))
        else {
            return false;
        };
        let counts = 1 << 48
            | u64::from(answers.count) << 32
            | u64::from(authority.is_some()) << 16
            | u64::from(closing.edns.is_some());
        header::set_flags_and_counts(question, Flags(closing.flags()), counts);
        self.len = end;
        // The sum of the lengths is that of `behind`, so this stops nowhere.
        let _: Option<()> = write_records(behind, answers, authority, closing);
        true
    }

    /// Appends the ready records of `body` to `section`; `opt` tells whether
    /// space for an OPT must stay free. What does not fit is left out, whole
    /// records at a time, and TC is set.
    #[inline]
    pub fn push(&mut self, body: &Body<'_>, section: Section, opt: bool) {
        let room = self.limit.saturating_sub(if opt { OPT_LEN } else { 0 });
        let end = self.len + body.len();
        if end <= room && !self.truncated {
            if self.buf.get_mut(self.len..end).and_then(|place| body.write(place)).is_some() {
                self.len = end;
                self.count(section, body.count);
            }
        } else {
            self.push_partly(body, section, room);
        }
    }

    #[cold]
    fn push_partly(&mut self, body: &Body<'_>, section: Section, room: usize) {
        // Once a record was left out nothing later may follow it, and an
        // authority section that does not fit is left out without a word
        // only where the answer stands without it; ours never does.
        if self.truncated {
            return;
        }
        let mut place = [0; MAX_IN_PIECES];
        let records = body.joined(&mut place);
        let mut at = 0;
        while let Some(end) = skip_record(records, at) {
            let record = records.get(at..end).unwrap_or_default();
            let place = self.len..self.len + record.len();
            if place.end > room {
                break;
            }
            if let Some(place) = self.buf.get_mut(place) {
                place.copy_from_slice(record);
                self.len += record.len();
                self.count(section, 1);
            }
            at = end;
        }
        self.truncated = true;
    }

    /// Appends to the answer or authority section a record with the fixed
    /// fields given: `owner` in wire form or as a pointer.
    pub fn push_record(&mut self, owner: &[u8], rest: &[u8], section: Section, opt: bool) {
        let room = self.limit.saturating_sub(if opt { OPT_LEN } else { 0 });
        let middle = self.len + owner.len();
        let end = middle + rest.len();
        if end > room || self.truncated {
            self.truncated = true;
            return;
        }
        if let Some(place) = self.buf.get_mut(self.len..middle) {
            place.copy_from_slice(owner);
        }
        if let Some(place) = self.buf.get_mut(middle..end) {
            place.copy_from_slice(rest);
        }
        self.len = end;
        self.count(section, 1);
    }

    #[inline]
    fn count(&mut self, section: Section, more: u16) {
        let count = match section {
            Section::Answer => &mut self.counts.answer,
            Section::Authority => &mut self.counts.authority,
            Section::Additional => &mut self.counts.additional,
        };
        *count = count.wrapping_add(more);
    }

    /// Writes the header and the OPT; returns the length of the message.
    #[inline]
    pub fn finish(&mut self, closing: &Closing) -> usize {
        let flags = closing.flags() | if self.truncated { Flags::TC } else { 0 };
        if let Some(edns) = &closing.edns {
            self.push_opt(edns, closing);
        }
        header::set_flags(self.buf, Flags(flags));
        header::set_counts(self.buf, self.counts);
        self.len
    }

    #[inline]
    fn push_opt(&mut self, edns: &Edns, closing: &Closing) {
        let opt = opt_record(edns, closing);
        let end = self.len + OPT_LEN;
        let Some(place) = self.buf.get_mut(self.len..end) else {
            return;
        };
        place.copy_from_slice(&opt);
        self.len = end;
        self.counts.additional = self.counts.additional.wrapping_add(1);
        if let Some(ede) = closing.ede {
            self.push_ede(ede);
        }
    }

    /// Adds an extended error to the OPT just written.
    #[cold]
    fn push_ede(&mut self, ede: Ede) {
        let len = ede.option_len();
        if self.len + len > self.limit {
            return;
        }
        let start = self.len;
        let Some(option) = self.buf.get_mut(start - 2..start + len) else {
            return;
        };
        let fixed = [len as u16, OPTION_EDE, 2 + ede.text.len() as u16, ede.code];
        for (place, value) in option.chunks_exact_mut(2).zip(fixed) {
            place.copy_from_slice(&value.to_be_bytes());
        }
        if let Some(text) = option.get_mut(8..) {
            text.copy_from_slice(ede.text.as_bytes());
        }
        self.len += len;
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::Rcode;
    use super::*;

    /// Records in wire form, `len` bytes of them in all.
    fn record(len: usize) -> Vec<u8> {
        let data = len - 12;
        let fixed = [0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 10, (data >> 8) as u8, data as u8];
        fixed.into_iter().chain((0..data).map(|at| at as u8)).collect()
    }

    #[test]
    fn a_response_at_once_is_the_one_in_parts() {
        let edns = Edns {
            udp_size: 1232,
            version: 0,
            rcode_high: 0,
            dnssec_ok: true,
            options_at: 0,
            options_len: 0,
        };
        let cases = (12..300).flat_map(|len| [12, 31, 87, 130].map(|rest| (len, rest)));
        for (len, rest) in cases {
            for (edns, authority) in [(None, false), (None, true), (Some(edns), false), (Some(edns), true)] {
                let (record_bytes, soa) = (record(len), record(rest));
                let answer = Body::whole(&record_bytes, 1);
                let owner = [soa[0], soa[1]];
                let behind_owner = [&[0; 2], &soa[2..]].concat();
                let authority = authority.then_some((owner, &*behind_owner));
                let closing = Closing {
                    query_flags: Flags(0x0110),
                    rcode: Rcode::NOERROR,
                    authoritative: true,
                    authentic: false,
                    edns,
                    udp_size: 1232,
                    ede: None,
                };
                let (mut whole, mut parts) = ([0xee; 600], [0xee; 600]);
                let mut out = Response::new(&mut parts, 600);
                out.begin(30);
                out.push(&answer, Section::Answer, edns.is_some());
                if let Some((owner, record)) = authority {
                    out.push_record(&owner, &record[2..], Section::Authority, edns.is_some());
                }
                let end = out.finish(&closing);
                let mut out = Response::new(&mut whole, 600);
                assert!(!out.write_whole(end - 1, 30, &answer, authority, &closing), "{len} and {rest}");
                assert!(out.write_whole(end, 30, &answer, authority, &closing), "{len} and {rest}");
                assert_eq!(out.len(), end);
                assert_eq!(whole, parts, "{len} and {rest}, {edns:?}");
            }
        }
    }
}
