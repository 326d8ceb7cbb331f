//! Messages in a TCP stream: each behind its length in two bytes (RFC 1035
//! section 4.2.2).

use crate::wire::HEADER_LEN;

/// Bytes of the length before a message.
pub(super) const PREFIX: usize = 2;
/// The longest message.
const LONGEST: usize = u16::MAX as usize;
/// Responses collected before they are written, in bytes, give or take one.
const FULL: usize = 32 * 1024;

/// What stands at the front of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'i> {
    /// A whole message.
    Message(&'i [u8]),
    /// Not yet a whole message.
    Partial,
    /// A length below that of a header: nothing after it can be trusted.
    Short,
}

impl<'i> Frame<'i> {
    /// What `bytes` begin with.
    #[inline]
    pub(super) fn first_of(bytes: &'i [u8]) -> Self {
        let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else {
            return Self::Partial;
        };
        let len = usize::from(u16::from_be_bytes(*prefix));
        if len < HEADER_LEN {
            return Self::Short;
        }
        rest.get(..len).map_or(Self::Partial, Self::Message)
    }
}

/// Appends `message` behind its length to `output`. A message never exceeds
/// 65,535 bytes here: its buffer was no longer.
pub(super) fn append(output: &mut Vec<u8>, message: &[u8]) {
    if let Ok(len) = u16::try_from(message.len()) {
        output.extend_from_slice(&len.to_be_bytes());
        output.extend_from_slice(message);
    }
}

/// Room for responses that go out with one write. Each is built in the place
/// from which it leaves.
pub(super) struct Output {
    bytes: Box<[u8]>,
    len: usize,
}

impl Output {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; FULL + PREFIX + LONGEST].into_boxed_slice(), len: 0 }
    }

    /// The place for the next response, the largest that TCP carries, with
    /// `query` at its front.
    #[inline]
    pub(super) fn place(&mut self, query: &[u8]) -> &mut [u8] {
        let place = self.bytes.get_mut(self.len + PREFIX..).and_then(|rest| rest.get_mut(..LONGEST));
        let place = place.unwrap_or_default();
        if let Some(front) = place.get_mut(..query.len()) {
            front.copy_from_slice(query);
        }
        place
    }

    /// Keeps the first `len` bytes of the place as a response.
    #[inline]
    pub(super) fn keep(&mut self, len: usize) {
        let prefix = self.bytes.get_mut(self.len..).and_then(|rest| rest.first_chunk_mut::<PREFIX>());
        if let (Some(prefix), Ok(short)) = (prefix, u16::try_from(len)) {
            *prefix = short.to_be_bytes();
            self.len += PREFIX + len;
        }
    }

    /// Whether it should be written before there is a place again.
    #[inline]
    pub(super) const fn is_full(&self) -> bool {
        self.len >= FULL
    }

    /// All responses kept; it is empty again.
    #[inline]
    pub(super) fn take(&mut self) -> &[u8] {
        let len = std::mem::take(&mut self.len);
        self.bytes.get(..len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let messages: Vec<Vec<u8>> = [12, 13, 4000, 65_535, 12].map(|len| vec![len as u8; len]).to_vec();
        let mut stream = Vec::new();
        for message in &messages {
            append(&mut stream, message);
        }
        for cut in [1, 2, 3, 13, 1000, 65_535, 100_000] {
            let (mut input, mut seen) = (Vec::new(), Vec::new());
            for piece in stream.chunks(cut) {
                input.extend_from_slice(piece);
                while let Frame::Message(message) = Frame::first_of(&input) {
                    seen.push(message.to_vec());
                    input.drain(..PREFIX + message.len());
                }
            }
            assert_eq!(seen, messages, "in pieces of {cut}");
            assert!(input.is_empty());
        }
    }

    #[test]
    fn lengths_below_a_header_are_short() {
        for prefix in [[0, 0], [0, 11]] {
            assert_eq!(Frame::first_of(&prefix), Frame::Short);
        }
        for partial in [&[][..], &[0], &[0, 12], &[0xff, 0xff, 1]] {
            assert_eq!(Frame::first_of(partial), Frame::Partial);
        }
    }

    #[test]
    fn responses_leave_framed_and_there_is_always_a_place_for_the_largest() {
        let mut output = Output::new();
        let mut expected = Vec::new();
        let mut len = 12;
        while output.len + PREFIX + len < FULL {
            let place = output.place(&vec![len as u8; len]);
            assert_eq!(place.len(), LONGEST);
            let message = place[..len].to_vec();
            append(&mut expected, &message);
            output.keep(len);
            len += 1000;
        }
        let place = output.place(&[]);
        place.fill(7);
        let largest = place.to_vec();
        append(&mut expected, &largest);
        assert!(!output.is_full());
        output.keep(LONGEST);
        assert!(output.is_full());
        assert!(output.take() == expected, "as they were kept");
        assert!(output.take().is_empty());
    }
}
