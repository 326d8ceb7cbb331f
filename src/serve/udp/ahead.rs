//! Reading a whole batch before its first message is answered.

use std::sync::Arc;

use crate::snapshot::Snapshot;
use crate::socket::{BATCH_LEN, Batch};
use crate::wire::Query;

/// Messages of a batch below which nothing is gained by reading ahead.
pub(super) const FEW: usize = 4;

/// Reads all messages, and has the memory read that their answers take, so that
/// a large table, where there is one, is not waited for once per message. Bit n
/// of the result: the n-th of `ahead` is the n-th message, which is a query.
#[inline(never)]
pub(super) fn read_ahead(large: Option<&Arc<Snapshot>>, ahead: &mut [Query], batch: &mut Batch) -> u64 {
    let (mut read, mut hashes, mut count) = (0, [0; BATCH_LEN], 0);
    for (index, query) in ahead.iter_mut().enumerate().take(batch.len()) {
        let Some(message) = batch.message(index).filter(|message| !message.truncated) else { continue };
        if query.read_usual(message.buffer.get(..message.len).unwrap_or_default()).is_ok()
            && let Some(hash) = hashes.get_mut(count)
        {
            *hash = query.qname.hash();
            count += 1;
            read |= 1 << index;
        }
    }
    if let Some(snapshot) = large {
        snapshot.touch(hashes.get(..count).unwrap_or_default());
    }
    read
}
