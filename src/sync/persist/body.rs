//! Decodes a saved file's body while it is read: block by block, so that it
//! never lies in memory beside what it is made into, with its digest taken on
//! the way.

use std::io::{self, Read};

use postcard::de_flavors::Flavor;
use postcard::{Deserializer, Error};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

/// Bytes that are read at once.
const BLOCK: usize = 256 << 10;

/// What was read.
pub(super) struct Body<T> {
    /// The digest of all of it.
    pub(super) sha256: Vec<u8>,
    /// What it says; `None` if it cannot be decoded.
    pub(super) content: Option<T>,
}

/// Reads `start` and what follows it in `file`, `length` bytes together.
pub(super) fn read<T: DeserializeOwned>(start: &[u8], file: impl Read, length: u64) -> io::Result<Body<T>> {
    let mut blocks = Blocks {
        file,
        digest: Sha256::new(),
        bytes: start.to_vec(),
        at: 0,
        left: length.saturating_sub(start.len() as u64),
        problem: None,
    };
    blocks.digest.update(start);
    let content = T::deserialize(&mut Deserializer::from_flavor(Source(&mut blocks))).ok();
    while blocks.problem.is_none() && blocks.left > 0 {
        blocks.at = blocks.bytes.len();
        blocks.fill(1);
    }
    match blocks.problem {
        Some(problem) => Err(problem),
        None => Ok(Body { sha256: blocks.digest.finalize().to_vec(), content }),
    }
}

/// A file, block by block.
struct Blocks<R> {
    file: R,
    digest: Sha256,
    bytes: Vec<u8>,
    at: usize,
    /// Bytes of the file that are still to be read.
    left: u64,
    problem: Option<io::Error>,
}

impl<R: Read> Blocks<R> {
    /// Has at least `count` bytes at hand, if there are so many.
    #[cold]
    fn fill(&mut self, count: usize) {
        self.bytes.drain(..self.at);
        self.at = 0;
        let held = self.bytes.len();
        let wanted = count.saturating_sub(held).max(BLOCK) as u64;
        // What a broken length asks for beyond the end is not even made room for.
        let wanted = wanted.min(self.left);
        self.bytes.reserve(usize::try_from(wanted).unwrap_or_default());
        match (&mut self.file).take(wanted).read_to_end(&mut self.bytes) {
            Ok(read) if read as u64 == wanted => self.left -= wanted,
            Ok(_) => self.problem = Some(io::ErrorKind::UnexpectedEof.into()),
            Err(problem) => self.problem = Some(problem),
        }
        self.digest.update(self.bytes.get(held..).unwrap_or_default());
    }

    fn take(&mut self, count: usize) -> Result<&[u8], Error> {
        if self.bytes.len() - self.at < count {
            self.fill(count);
        }
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..count));
        let taken = taken.ok_or(Error::DeserializeUnexpectedEnd)?;
        self.at += count;
        Ok(taken)
    }
}

/// The blocks as postcard takes them.
struct Source<'b, R>(&'b mut Blocks<R>);

impl<'de, R: Read + 'de> Flavor<'de> for Source<'de, R> {
    type Remainder = ();
    type Source = ();

    #[inline]
    fn pop(&mut self) -> Result<u8, Error> {
        if let Some(byte) = self.0.bytes.get(self.0.at) {
            self.0.at += 1;
            return Ok(*byte);
        }
        self.0.take(1)?.first().copied().ok_or(Error::DeserializeUnexpectedEnd)
    }

    fn size_hint(&self) -> Option<usize> {
        usize::try_from(self.0.left).ok()?.checked_add(self.0.bytes.len() - self.0.at)
    }

    fn try_take_n(&mut self, _count: usize) -> Result<&'de [u8], Error> {
        // Nothing stays to be borrowed; what is saved asks for bytes of its own.
        Err(Error::WontImplement)
    }

    fn try_take_n_temp<'a>(&'a mut self, count: usize) -> Result<&'a [u8], Error>
    where
        'de: 'a,
    {
        self.0.take(count)
    }

    fn finalize(self) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives three bytes at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let count = to.len().min(3);
            self.0.read(&mut to[..count])
        }
    }

    fn check<T: serde::Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(what: &T) {
        let bytes = postcard::to_stdvec(what).unwrap();
        for cut in [0, 1, bytes.len() / 2, bytes.len()] {
            let (start, rest) = bytes.split_at(cut);
            let read = read::<T>(start, Slow(rest), bytes.len() as u64).unwrap();
            assert_eq!(read.content.as_ref(), Some(what));
            assert_eq!(read.sha256, Sha256::digest(&bytes).to_vec());
        }
    }

    #[test]
    fn what_was_written_is_read_across_blocks() {
        check(&("text".to_owned(), 7u64, vec![1u16; 3]));
        check(&(0..200_000u32).map(|n| format!("{n:07}")).collect::<Vec<_>>());
        check(&vec!["x".repeat(3 * BLOCK), "y".to_owned()]);
    }

    #[test]
    fn broken_content_is_digested_to_its_end() {
        let whole = postcard::to_stdvec(&vec!["x".repeat(100); 10_000]).unwrap();
        // A length that nothing can have, and what is no text.
        for broken in [2..8, 4..5] {
            let mut bytes = whole.clone();
            bytes[broken].fill(0xff);
            let read = read::<Vec<String>>(&[], bytes.as_slice(), bytes.len() as u64).unwrap();
            assert!(read.content.is_none());
            assert_eq!(read.sha256, Sha256::digest(&bytes).to_vec());
        }
    }

    #[test]
    fn a_file_that_ends_early_is_an_error() {
        assert!(read::<Vec<String>>(&[], &[3u8, 1, b'a'][..], 10).is_err());
    }
}
