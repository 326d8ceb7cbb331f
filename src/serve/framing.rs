//! Messages in a TCP stream: each behind its length in two bytes (RFC 1035
//! section 4.2.2).

use crate::wire::HEADER_LEN;

/// Bytes of the length before a message.
pub(super) const PREFIX: usize = 2;
/// Room at the start: some twenty usual queries.
const START: usize = 2048;
/// The most that a buffer takes: one message of any length.
const MOST: usize = PREFIX + u16::MAX as usize;

/// Bytes read and not yet understood.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// What stands at the front of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'i> {
    /// A whole message.
    Message(&'i [u8]),
    /// Not yet a whole message.
    Partial,
    /// A length below that of a header: nothing after it can be trusted.
    Short,
}

impl Input {
    /// Free space to read into; never empty after [`Input::next`] returned `Partial`.
    ///
    /// It grows by doubling as bytes come in, not by what a length claims.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.bytes.len() {
            let len = (self.bytes.len() * 2).clamp(START, MOST);
            self.bytes.resize(len, 0);
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// Takes note of `len` bytes read into the space.
    pub(super) fn filled(&mut self, len: usize) {
        self.end = (self.end + len).min(self.bytes.len());
    }

    /// Takes the next message.
    pub(super) fn next(&mut self) -> Frame<'_> {
        let rest = self.bytes.get(self.start..self.end).unwrap_or_default();
        let Some((prefix, rest)) = rest.split_first_chunk::<PREFIX>() else {
            return Frame::Partial;
        };
        let len = usize::from(u16::from_be_bytes(*prefix));
        if len < HEADER_LEN {
            return Frame::Short;
        }
        let Some(message) = rest.get(..len) else {
            return Frame::Partial;
        };
        self.start += PREFIX + len;
        Frame::Message(message)
    }

    /// Whether [`Input::next`] would return anything but `Partial`.
    pub(super) fn is_ready(&self) -> bool {
        let rest = self.bytes.get(self.start..self.end).unwrap_or_default();
        rest.split_first_chunk::<PREFIX>().is_some_and(|(prefix, rest)| {
            let len = usize::from(u16::from_be_bytes(*prefix));
            len < HEADER_LEN || rest.len() >= len
        })
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.start = self.end;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `bytes` as a socket would; returns the messages that became whole.
    fn feed(input: &mut Input, mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut seen = Vec::new();
        while !bytes.is_empty() {
            let space = input.space();
            let len = space.len().min(bytes.len());
            assert!(len > 0, "there is always space after a partial message");
            space[..len].copy_from_slice(&bytes[..len]);
            input.filled(len);
            bytes = &bytes[len..];
            while let Frame::Message(message) = input.next() {
                seen.push(message.to_vec());
            }
        }
        seen
    }

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let messages: Vec<Vec<u8>> = [12, 13, 4000, 65_535, 12].map(|len| vec![len as u8; len]).to_vec();
        let mut stream = Vec::new();
        for message in &messages {
            append(&mut stream, message);
        }
        for cut in [1, 2, 3, 13, 1000, 65_535, 100_000] {
            let mut input = Input::default();
            let seen: Vec<_> = stream.chunks(cut).flat_map(|piece| feed(&mut input, piece)).collect();
            assert_eq!(seen, messages, "in pieces of {cut}");
            assert!(!input.is_ready());
        }
    }

    #[test]
    fn lengths_below_a_header_are_short() {
        for prefix in [[0, 0], [0, 11]] {
            let mut input = Input::default();
            feed(&mut input, &prefix);
            assert!(input.is_ready());
            assert_eq!(input.next(), Frame::Short);
        }
    }

    #[test]
    fn a_claimed_length_takes_no_memory() {
        let mut input = Input::default();
        feed(&mut input, &[0xff, 0xff, 1]);
        assert_eq!(input.next(), Frame::Partial);
        assert!(!input.space().is_empty() && input.bytes.len() == START);
    }
}
