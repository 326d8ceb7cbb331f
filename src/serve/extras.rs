//! The EDNS options that a response carries for those of its query: the
//! server's identifier (RFC 5001), a cookie (RFC 7873, 9018), and what the
//! transport adds, the idle timeout and padding ([`Tail`]).
//!
//! They are made before the query is answered, since the response is written
//! over it, and appended when it is: whatever the response says, and wherever
//! it comes from. The room for them is taken from what the client takes over
//! UDP, so no part of the answer has to know of them. Queries without options,
//! nearly all but those of resolvers, never come here.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use super::access::Policy;
use super::cookie::SERVER_COOKIE_LEN;
use crate::answer::Transport;
use crate::metrics::queries::{CookieResult, Recorder, Writers};
use crate::wire::header;
use crate::wire::options::{Asked, CLIENT_COOKIE_LEN, Cookie, OPTION_COOKIE, OPTION_NSID, append};
use crate::wire::{Edns, Offer, Opcode, Query, Rcode, Reject, Tail};

/// Code and length before the data of an option.
const HEAD: usize = 4;
/// Room for one of each: an identifier of 64 bytes, a cookie.
const MAX: usize = HEAD + 64 + HEAD + CLIENT_COOKIE_LEN + SERVER_COOKIE_LEN;

/// Who asks, as far as the options of the response depend on it.
pub(super) struct Asker<'a> {
    pub(super) policy: &'a Policy,
    pub(super) client: IpAddr,
    pub(super) transport: Transport,
    /// What the transport offers besides.
    pub(super) offer: Offer,
}

/// Options of a response, in wire form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extras {
    bytes: [u8; MAX],
    len: usize,
    /// What ends them: padding depends on the length of everything else.
    tail: Tail,
}

/// What becomes of a query with options.
pub(super) enum Admission {
    /// It is answered, and the response carries these.
    Answer(Extras),
    /// It is rejected, with these.
    Reject(Reject, Extras),
    /// It is to come again by TCP: a cookie is required, and it has none.
    Truncate(Extras),
}

impl Extras {
    pub(super) const NONE: Self = Self { bytes: [0; MAX], len: 0, tail: Tail::NONE };

    /// Appends them to the OPT of the response, of `len` bytes, in `buf`.
    /// Returns the length with them. Over UDP the room was set aside.
    pub(super) fn append(&self, buf: &mut [u8], len: usize) -> usize {
        let len = match self.bytes.get(..self.len).unwrap_or_default() {
            [] => len,
            options => append(buf, len, usize::from(u16::MAX), options),
        };
        self.tail.append(buf, len)
    }

    /// [`Self::append`] for a response in memory of its own.
    pub(super) fn extend(&self, response: &mut Vec<u8>) {
        let len = response.len();
        response.resize(len + self.len, 0);
        let options = self.bytes.get(..self.len).unwrap_or_default();
        let end = append(response, len, usize::from(u16::MAX), options);
        response.truncate(end);
        self.tail.extend(response);
    }

    /// For a response that becomes ready later; most have none.
    pub(super) fn boxed(&self) -> Option<Box<Self>> {
        (self.len > 0 || !self.tail.is_empty()).then(|| Box::new(*self))
    }

    fn push(&mut self, code: u16, parts: &[&[u8]]) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let Some(place) = self.bytes.get_mut(self.len..self.len + HEAD + len) else { return };
        let head = code.to_be_bytes().into_iter().chain((len as u16).to_be_bytes());
        let data = parts.iter().flat_map(|part| part.iter().copied());
        place.iter_mut().zip(head.chain(data)).for_each(|(place, byte)| *place = byte);
        self.len += HEAD + len;
    }
}

impl Asker<'_> {
    /// Decides on `query`, which was read from `message` and has options, and
    /// lowers what it says the client takes by what they will take.
    pub(super) fn admit<W: Writers>(
        &self,
        query: &mut Query,
        message: &[u8],
        now: impl FnOnce() -> u32,
        counters: &Recorder<W>,
    ) -> Admission {
        let Some(edns) = query.edns else { return self.without_cookie(Extras::NONE) };
        let question_end = query.question_end;
        let reject = |rcode, edns| Reject::Respond { rcode, question_end, edns: Some(edns) };
        let Some(asked) = self.read(&edns, message, counters) else {
            return Admission::Reject(reject(Rcode::FORMERR, edns.without_options()), Extras::NONE);
        };
        let (mut extras, result) = self.extras(&asked, now, counters);
        extras.tail = Tail::asked(message, Some(edns), self.offer);
        query.edns = Some(Edns { udp_size: self.room(&edns, &extras), ..edns });
        match result {
            Some(CookieResult::Valid) => Admission::Answer(extras),
            None => self.without_cookie(extras),
            Some(_) if self.requires() => Admission::Reject(reject(Rcode::BADCOOKIE, edns), extras),
            Some(_) => Admission::Answer(extras),
        }
    }

    /// What a message that is no query is rejected with, and the options of
    /// that. A query without a question whose cookie can be read asks for a
    /// server cookie alone (RFC 7873 section 5.4).
    pub(super) fn reject<W: Writers>(
        &self,
        reject: Reject,
        message: &[u8],
        now: impl FnOnce() -> u32,
        counters: &Recorder<W>,
    ) -> (Reject, Extras) {
        let Reject::Respond { rcode, question_end, edns: Some(edns) } = reject else {
            return (reject, Extras::NONE);
        };
        let Some(asked) = (edns.options_len > 0 && edns.version == 0)
            .then(|| self.read(&edns, message, counters))
            .flatten()
        else {
            return (reject, Extras::NONE);
        };
        let (mut extras, result) = self.extras(&asked, now, counters);
        extras.tail = Tail::asked(message, Some(edns), self.offer);
        let rcode = match result {
            Some(result) if rcode == Rcode::FORMERR && has_no_question(message) => match result {
                CookieResult::Bad => Rcode::BADCOOKIE,
                _ => Rcode::NOERROR,
            },
            _ => rcode,
        };
        (Reject::Respond { rcode, question_end, edns: Some(edns) }, extras)
    }

    /// What is done for a query without a cookie.
    pub(super) fn without_cookie(&self, extras: Extras) -> Admission {
        if self.requires() { Admission::Truncate(extras) } else { Admission::Answer(extras) }
    }

    /// Whether a good cookie is needed: what TCP tells of the address is as good.
    fn requires(&self) -> bool {
        self.transport == Transport::Udp && self.policy.cookies.is_required()
    }

    fn read<W: Writers>(&self, edns: &Edns, message: &[u8], counters: &Recorder<W>) -> Option<Asked> {
        let options = edns.options(message);
        let asked = Asked::read(options.clone());
        if asked.is_none() && !self.policy.cookies.is_on() {
            // Then a cookie is an unknown option, whatever it holds.
            let others = options.filter(|(code, _)| *code != OPTION_COOKIE);
            return Some(others.fold(Asked::default(), |asked, (code, _)| Asked {
                nsid: asked.nsid || code == OPTION_NSID,
                cookie: None,
            }));
        }
        if asked.is_none() {
            counters.cookie(CookieResult::Malformed);
        }
        asked
    }

    fn extras<W: Writers>(
        &self,
        asked: &Asked,
        now: impl FnOnce() -> u32,
        counters: &Recorder<W>,
    ) -> (Extras, Option<CookieResult>) {
        let mut extras = Extras::NONE;
        if asked.nsid && !self.policy.nsid.is_empty() {
            extras.push(OPTION_NSID, &[&self.policy.nsid]);
        }
        let cookie = asked.cookie.as_ref().filter(|_| self.policy.cookies.is_on());
        let result = cookie.map(|cookie| self.cookie(cookie, now(), &mut extras));
        if let Some(result) = result {
            counters.cookie(result);
        }
        (extras, result)
    }

    fn cookie(&self, cookie: &Cookie, now: u32, extras: &mut Extras) -> CookieResult {
        let result = self.policy.cookies.check(cookie, self.client, now);
        let server = self.policy.cookies.make(cookie, self.client, now);
        extras.push(OPTION_COOKIE, &[&cookie.client, &server]);
        result
    }

    /// The UDP payload size of `edns` that is left for the rest.
    fn room(&self, edns: &Edns, extras: &Extras) -> u16 {
        edns.udp_size.min(self.policy.udp_size).saturating_sub(extras.len as u16)
    }
}

/// Whether `message` is of opcode QUERY and all that it holds are records
/// behind the question, of which there is none.
fn has_no_question(message: &[u8]) -> bool {
    let is_query = header::flags(message).is_some_and(|flags| flags.opcode() == Opcode::QUERY);
    is_query && header::counts(message).is_some_and(|counts| counts.question == 0 && counts.answer == 0)
}

/// Unix seconds, which wrap in 2106.
pub(super) fn unix_seconds() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}
