//! The immutable set of local zones that queries are answered from.

pub mod model;
pub mod publish;

use crate::snapshot::model::{AnswerOptions, RecordSet};

/// A compiled record set.
#[derive(Debug)]
pub struct Snapshot {
    generation: u64,
}

impl Snapshot {
    /// Compiles `set`. `generation` becomes the serial of SOAs without one of their own.
    pub fn build(set: &RecordSet, options: &AnswerOptions, generation: u64) -> Self {
        let _ = (set, options);
        Self { generation }
    }

    /// The increasing number of this snapshot.
    pub const fn generation(&self) -> u64 {
        self.generation
    }
}
