//! Where the RRsets of an owner lie, for whoever keeps a million of them: a
//! piece of memory and a place in it, where an [`RrsetRef`] takes 80 bytes.

use super::chunk;
use super::{RrsetRef, Rrsets};

/// A piece of memory with RRsets in order, all those of an owner in one piece.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a>(&'a [u8]);

impl<'a> Run<'a> {
    /// The RRset at `at`, which moves behind it; `None` at the end.
    pub fn read(self, at: &mut usize) -> Option<RrsetRef<'a>> {
        chunk::read(self.0, at)
    }

    /// The owner of the RRset at `at`; empty at the end.
    pub fn owner(self, at: usize) -> &'a [u8] {
        let len = usize::from(self.0.get(at).copied().unwrap_or_default());
        self.0.get(at + 1..at + 1 + len).unwrap_or_default()
    }
}

impl Rrsets {
    /// The pieces that they lie in, in order.
    pub fn runs(&self) -> impl ExactSizeIterator<Item = Run<'_>> {
        self.chunks.iter().map(|chunk| Run(&chunk.bytes))
    }

    /// Where the RRsets of `owner` begin.
    pub fn place(&self, owner: &[u8]) -> Option<(Run<'_>, usize)> {
        let after = self.chunks.partition_point(|chunk| super::rrsets::first_owner(chunk) <= owner);
        let run = Run(&self.chunks.get(after.checked_sub(1)?)?.bytes);
        let mut at = 0;
        loop {
            let here = run.owner(at);
            if here.is_empty() || here > owner {
                return None;
            }
            if here == owner {
                return Some((run, at));
            }
            run.read(&mut at)?;
        }
    }
}
