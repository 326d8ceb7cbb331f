//! Lines as big zone files are made of: an owner or none, a TTL or none, `IN`
//! or not, a type of which there are many, and its data; `$ORIGIN`, `$TTL`,
//! comments. Every other line is odd, and none of this module's business.

use std::net::Ipv6Addr;

use super::units;
use crate::wire::Rtype;
use crate::wire::name::{MAX_LABEL_LEN, MAX_NAME_LEN};

/// What lines hand down to those below them.
#[derive(Debug)]
pub(super) struct State {
    /// The origin, its letters as the file has them.
    pub(super) origin: Wire,
    /// `$TTL`.
    pub(super) default_ttl: Option<u32>,
    /// The last TTL that a record told.
    pub(super) last_ttl: u32,
    /// The last owner, folded; empty before the first.
    pub(super) owner: Wire,
    /// The owner of the line that is read, until it is known to be plain.
    fresh: Wire,
    /// The RDATA of the last line.
    name: Wire,
    data: [u8; 16],
}

impl State {
    /// The state at the start of a file.
    pub(super) fn new(origin: &[u8]) -> Option<Self> {
        Some(Self {
            origin: Wire::of(origin)?,
            default_ttl: None,
            // RFC 1035 leaves the first TTL open; the reader of whole files says so much.
            last_ttl: 3600,
            owner: Wire::empty(),
            fresh: Wire::empty(),
            name: Wire::empty(),
            data: [0; 16],
        })
    }
}

/// Bytes of a name and of a word behind it.
const ROOM: usize = MAX_NAME_LEN + 8;

/// A name in wire form, in place.
#[derive(Debug)]
pub(super) struct Wire {
    bytes: Box<[u8; ROOM]>,
    len: usize,
}

impl Wire {
    fn empty() -> Self {
        Self { bytes: Box::new([0; ROOM]), len: 0 }
    }

    pub(super) fn of(wire: &[u8]) -> Option<Self> {
        let mut name = Self::empty();
        name.set(wire)?;
        Some(name)
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn set(&mut self, wire: &[u8]) -> Option<()> {
        self.bytes.get_mut(..wire.len())?.copy_from_slice(wire);
        self.len = wire.len();
        Some(())
    }

    fn fold(&mut self) {
        if let Some(name) = self.bytes.get_mut(..self.len) {
            // Lengths lie below the letters.
            name.make_ascii_lowercase();
        }
    }

    /// Reads the name that `text` starts with, relative to `origin`; what of
    /// `text` it takes. A name with anything in it but usual letters is odd,
    /// and so is the root.
    fn read(&mut self, text: &[u8], origin: &[u8]) -> Option<usize> {
        // The wire form is the text one byte on, with lengths for the dots.
        let (mut label, mut at) = (0, 1);
        loop {
            let mut letters = 0;
            if let Some(word) = text.get(at - 1..).and_then(<[u8]>::first_chunk::<8>) {
                self.bytes.get_mut(at..at + 8)?.copy_from_slice(word);
                let (stop, mut dots) = stops_and_dots(u64::from_le_bytes(*word));
                letters = (stop.trailing_zeros() / 8) as usize;
                while dots != 0 {
                    let dot = at + (dots.trailing_zeros() / 8) as usize;
                    self.end_label(label, dot)?;
                    label = dot;
                    dots &= dots - 1;
                }
            }
            at += letters;
            if letters == 8 {
                continue;
            }
            let byte = text.get(at - 1).copied().unwrap_or(b'\n');
            match CLASS[usize::from(byte)] {
                Class::Letter => *self.bytes.get_mut(at)? = byte,
                Class::Dot => {
                    self.end_label(label, at)?;
                    label = at;
                }
                Class::End => break,
                Class::Odd => return None,
            }
            at += 1;
        }
        if at == label + 1 {
            // The last label is the root's.
            *self.bytes.get_mut(label)? = 0;
            self.len = at;
            return (label > 0 && at <= MAX_NAME_LEN).then_some(at - 1);
        }
        self.end_label(label, at)?;
        self.bytes.get_mut(at..at + origin.len())?.copy_from_slice(origin);
        self.len = at + origin.len();
        (self.len <= MAX_NAME_LEN).then_some(at - 1)
    }

    fn end_label(&mut self, label: usize, at: usize) -> Option<()> {
        let len = at - label - 1;
        *self.bytes.get_mut(label)? = u8::try_from(len).ok()?;
        (1..=MAX_LABEL_LEN).contains(&len).then_some(())
    }
}

/// Of eight bytes: the high bits of those from the first on that is neither a
/// letter, a digit, a hyphen, a slash nor a dot, and of the dots before it.
fn stops_and_dots(word: u64) -> (u64, u64) {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = EACH << 7;
    let low = word & !HIGH;
    // Within seven bits no sum reaches the next byte.
    let within = |bytes: u64, from: u8, to: u8| {
        let at_least = bytes + EACH * u64::from(0x80 - from);
        let above = bytes + EACH * u64::from(0x7f - to);
        at_least & !above
    };
    let usual = within(low | EACH << 5, b'a', b'z') | within(low, b'-', b'9');
    let stops = (!usual | word) & HIGH;
    let dots = within(low, b'.', b'.') & HIGH;
    // Bits below the lowest stop.
    (stops, dots & stops.wrapping_sub(1) & !stops)
}

/// What a byte is outside of comments.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stands in a name as it is.
    Letter,
    Dot,
    /// Ends a token.
    End,
    Odd,
}

static CLASS: [Class; 256] = {
    let mut table = [Class::Odd; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'*' | b'/' => Class::Letter,
            b'.' => Class::Dot,
            b' ' | b'\t' | b'\n' | b'\r' | b';' => Class::End,
            _ => Class::Odd,
        };
        byte += 1;
    }
    table
};

/// A record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'a> {
    pub(super) owner: &'a [u8],
    pub(super) rtype: Rtype,
    pub(super) ttl: u32,
    pub(super) rdata: &'a [u8],
}

/// Reads the line that `text` starts with, which ends in a line feed somewhere
/// in it: the record in it, if any, and its length. `None`: it is odd, and
/// `state` is as it was.
pub(super) fn line<'a>(text: &[u8], state: &'a mut State) -> Option<(Option<Said<'a>>, usize)> {
    let mut rest = Rest { text, at: 0 };
    let mut is_new = true;
    match rest.peek() {
        b'\n' | b'\r' | b';' => return Some((None, rest.end()?)),
        b'$' => return Some((None, directive(&mut rest, state)?)),
        b' ' | b'\t' => {
            if rest.is_at_end() {
                return Some((None, rest.end()?));
            }
            if state.owner.as_slice().is_empty() {
                return None;
            }
            is_new = false;
        }
        b'@' => {
            rest.at = 1;
            if !matches!(rest.peek(), b' ' | b'\t') {
                return None;
            }
            state.fresh.set(state.origin.as_slice())?;
        }
        _ => rest.at = state.fresh.read(text, state.origin.as_slice())?,
    }
    let (rtype, told) = rest.ttl_class_type()?;
    rest.rdata(rtype, state)?;
    let len = rest.end()?;
    if is_new {
        std::mem::swap(&mut state.owner, &mut state.fresh);
        state.owner.fold();
    }
    let ttl = told.or(state.default_ttl).unwrap_or(state.last_ttl);
    state.last_ttl = told.unwrap_or(state.last_ttl);
    // RFC 2181 section 8: 31 bits, and a set top bit means 0.
    let ttl = if ttl > 0x7fff_ffff { 0 } else { ttl };
    let rdata = match rtype {
        Rtype::A => state.data.get(..4)?,
        Rtype::AAAA => &state.data,
        _ => state.name.as_slice(),
    };
    Some((Some(Said { owner: state.owner.as_slice(), rtype, ttl, rdata }), len))
}

/// Takes a directive; the length of its line.
fn directive(rest: &mut Rest<'_>, state: &mut State) -> Option<usize> {
    let word = rest.word()?;
    if word.eq_ignore_ascii_case(b"$ORIGIN") {
        let text = rest.token();
        rest.at += state.fresh.read(text, state.origin.as_slice())?;
        let len = rest.end()?;
        std::mem::swap(&mut state.origin, &mut state.fresh);
        Some(len)
    } else if word.eq_ignore_ascii_case(b"$TTL") {
        let ttl = units::seconds(rest.word()?)?;
        let len = rest.end()?;
        state.default_ttl = Some(ttl);
        Some(len)
    } else {
        None
    }
}

/// What is left of a line.
struct Rest<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Rest<'a> {
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(b'\n')
    }

    /// Moves to the next token; what starts there.
    fn token(&mut self) -> &'a [u8] {
        while matches!(self.peek(), b' ' | b'\t') {
            self.at += 1;
        }
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The token here; `None` if there is none.
    fn word(&mut self) -> Option<&'a [u8]> {
        let rest = self.token();
        let len = rest.iter().position(|byte| CLASS[usize::from(*byte)] == Class::End)?;
        self.at += len;
        rest.get(..len).filter(|word| !word.is_empty())
    }

    /// Whether nothing stands in the line from here on.
    fn is_at_end(&mut self) -> bool {
        let rest = self.token();
        matches!(rest, [] | [b'\n' | b';', ..] | [b'\r', b'\n', ..])
    }

    /// The line's length, if nothing stands in it from here on.
    fn end(&mut self) -> Option<usize> {
        if !self.is_at_end() {
            return None;
        }
        let rest = self.text.get(self.at..).unwrap_or_default();
        let feed = rest.iter().position(|byte| *byte == b'\n')?;
        Some(self.at + feed + 1)
    }

    fn ttl_class_type(&mut self) -> Option<(Rtype, Option<u32>)> {
        let (mut ttl, mut has_class) = (None, false);
        loop {
            let word = self.word()?;
            if word.first()?.is_ascii_digit() {
                let told = decimal(word).filter(|_| ttl.is_none())?;
                ttl = Some(told);
            } else if word.eq_ignore_ascii_case(b"IN") {
                if has_class {
                    return None;
                }
                has_class = true;
            } else {
                return Some((usual_type(word)?, ttl));
            }
        }
    }

    /// Reads data into `state`.
    fn rdata(&mut self, rtype: Rtype, state: &mut State) -> Option<()> {
        match rtype {
            Rtype::A => state.data.get_mut(..4)?.copy_from_slice(&address(self.word()?)?),
            Rtype::AAAA => {
                let address: Ipv6Addr = std::str::from_utf8(self.word()?).ok()?.parse().ok()?;
                state.data = address.octets();
            }
            _ => {
                let text = self.token();
                self.at += state.name.read(text, state.origin.as_slice())?;
            }
        }
        Some(())
    }
}

/// The types whose data is an address or a name.
fn usual_type(word: &[u8]) -> Option<Rtype> {
    [
        (&b"A"[..], Rtype::A),
        (b"CNAME", Rtype::CNAME),
        (b"AAAA", Rtype::AAAA),
        (b"NS", Rtype::NS),
        (b"PTR", Rtype::PTR),
    ]
    .into_iter()
    .find_map(|(text, rtype)| word.eq_ignore_ascii_case(text).then_some(rtype))
}

fn decimal(word: &[u8]) -> Option<u32> {
    word.iter().try_fold(0u32, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// An IPv4 address in its usual form.
fn address(word: &[u8]) -> Option<[u8; 4]> {
    let mut octets = [0u8; 4];
    let mut parts = word.split(|byte| *byte == b'.');
    for octet in &mut octets {
        let part = parts.next()?;
        // A zero in front would be odd.
        if part.len() > 3 || part.len() > 1 && part.first() == Some(&b'0') || part.is_empty() {
            return None;
        }
        *octet = u8::try_from(decimal(part)?).ok()?;
    }
    parts.next().is_none().then_some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_taken_up_to_the_first_byte_of_another_kind() {
        for byte in 0..=u8::MAX {
            // These letters are rare enough to be looked at alone.
            let usual = CLASS[usize::from(byte)] == Class::Letter && !b"_*".contains(&byte);
            for at in 0..8 {
                let mut word = *b"aZ.09-/z";
                word[at] = byte;
                let (stops, dots) = stops_and_dots(u64::from_le_bytes(word));
                let taken = if usual || byte == b'.' { 8 } else { at };
                assert_eq!(stops.trailing_zeros() / 8, taken as u32, "{byte} at {at}");
                let expected = (0..taken).filter(|at| word[*at] == b'.');
                let found = (0..8).filter(|at| dots >> (8 * at + 7) & 1 == 1);
                assert!(expected.eq(found), "{byte} at {at}");
                assert_eq!(dots & !(0x0101_0101_0101_0101 << 7), 0);
            }
        }
    }
}
