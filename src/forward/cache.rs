//! The response cache: kept responses by question, bounded in bytes, readable
//! by the packet workers.
//!
//! Our own, since none at hand keeps the bytes where they are counted: shards
//! of an index over segments of plain bytes ([`shard`] tells how they are
//! reclaimed, [`record`] how they are laid out). A hit takes a read lock of one
//! shard for as long as the response is copied out; nothing is allocated and
//! no count of owners moves between cores.
//!
//! Expired responses stay until their space is needed: they stand in when an
//! upstream fails (RFC 8767).

mod key;
mod record;
pub mod save;
mod shard;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use key::{KeptHash, Key, KeyRef, bits};

use crate::metrics::forward::CacheUsage;
use crate::wire::edns::OPTION_EDE;
use crate::wire::{Flags, Rcode};

use super::entry::Entry;
use super::kept::{Kept, Traits};

/// Most shards: writers rarely meet readers, and a reclaimed segment is short work.
const SHARDS: usize = 64;
/// Fewest bytes of a shard if there are several: a quarter of it takes the
/// largest response.
const SHARD_BYTES: u64 = 256 << 10;

/// Extended error 13, cached error, as an option (RFC 8914 section 4.14).
const CACHED_ERROR: [u8; 6] = [0, OPTION_EDE as u8, 0, 2, 0, 13];

/// A shard in cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(RwLock<shard::Shard>);

impl Padded {
    #[inline]
    fn read(&self) -> RwLockReadGuard<'_, shard::Shard> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, shard::Shard> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Responses of upstreams, until others need the space.
#[derive(Debug)]
pub struct ResponseCache {
    shards: Box<[Padded]>,
    /// The shards in use, one less than a power of two.
    mask: AtomicUsize,
    /// The bound in bytes; 0 is off.
    max_bytes: AtomicU64,
    stale: StaleBounds,
}

/// What may stand in for an answer that does not come (RFC 8767).
#[derive(Debug, Default)]
struct StaleBounds {
    /// For so long after it expired, milliseconds; 0 for never.
    max_age: AtomicU64,
    /// For so long the upstream is not asked again after it failed, milliseconds.
    recheck: AtomicU64,
    /// The TTL that it goes out with, seconds.
    ttl: AtomicU32,
}

impl ResponseCache {
    /// An empty cache of at most `max_bytes`; 0 switches it off.
    pub fn new(max_bytes: u64) -> Self {
        let cache = Self {
            shards: (0..SHARDS).map(|_| Padded::default()).collect(),
            mask: AtomicUsize::new(0),
            max_bytes: AtomicU64::new(0),
            stale: StaleBounds::default(),
        };
        cache.set_max_bytes(max_bytes);
        cache
    }

    /// Changes the bound; responses beyond it go. A bound that takes another
    /// number of shards (below 16 MiB) empties the cache.
    pub fn set_max_bytes(&self, max_bytes: u64) {
        self.max_bytes.store(max_bytes, Ordering::Relaxed);
        let used = (max_bytes / SHARD_BYTES).clamp(1, SHARDS as u64);
        let used = 1usize << used.ilog2();
        if self.mask.swap(used - 1, Ordering::Relaxed) != used - 1 {
            // What stands in another shard from now on must not be found again
            // once the number is as before.
            self.clear();
        }
        let fixed = (self.shards.len() * size_of::<Padded>()) as u64;
        let budget = usize::try_from(max_bytes.saturating_sub(fixed)).unwrap_or(usize::MAX) / used;
        for (index, shard) in self.shards.iter().enumerate() {
            shard.write().set_budget(if index < used { budget } else { 0 });
        }
    }

    /// Sets how long after they expired responses may stand in, how long an
    /// upstream that failed is left alone for it (both in milliseconds), and
    /// the TTL that they go out with, in seconds.
    pub fn set_stale(&self, max_age: u64, recheck: u64, ttl: u32) {
        self.stale.max_age.store(max_age, Ordering::Relaxed);
        self.stale.recheck.store(recheck, Ordering::Relaxed);
        self.stale.ttl.store(ttl, Ordering::Relaxed);
    }

    /// For how many milliseconds after they expired responses may stand in.
    #[inline]
    pub fn max_stale(&self) -> u64 {
        self.stale.max_age.load(Ordering::Relaxed)
    }

    /// The TTL of responses that stand in, seconds (RFC 8767 section 5 says 30).
    pub fn stale_ttl(&self) -> u32 {
        self.stale.ttl.load(Ordering::Relaxed)
    }

    #[inline]
    fn shard(&self, hash: u64) -> Option<&Padded> {
        // Bits that neither the index's places (the lowest) nor its tags (the highest seven) take.
        self.shards.get((hash >> 40) as usize & self.mask.load(Ordering::Relaxed))
    }

    /// Calls `read` with the response kept for `key`, expired or not, and
    /// counts a use. The shard is locked meanwhile: `read` must be short and
    /// must not come back here.
    #[inline]
    pub fn read<T>(&self, key: &KeyRef<'_>, read: impl FnOnce(&Kept<'_>) -> T) -> Option<T> {
        self.shard(key.hash)?.read().read(key, |kept| {
            kept.marks.ask();
            read(kept)
        })
    }

    /// Has what is kept for keys with these hashes fetched from memory, for
    /// all at once, so that reading each of them need not wait for it. Under the
    /// lock of one shard after the other: the processor goes past a fetch that
    /// it waits for, and not past a lock with a read that it waits for.
    pub fn fetch(&self, hashes: &[u64]) {
        let shards = || hashes.iter().filter_map(|hash| Some((self.shard(*hash)?, *hash)));
        shards().for_each(|(shard, hash)| shard.read().fetch_slot(hash));
        shards().for_each(|(shard, hash)| shard.read().fetch_record(hash));
    }

    /// A copy of the response of `key`, if it is still an answer at `now`.
    pub fn get(&self, key: &KeyRef<'_>, now: u64) -> Option<Entry> {
        self.read(key, |kept| kept.is_fresh(now).then(|| Entry::from_kept(kept)))?
    }

    /// A copy of the response of `key` that may stand in for an answer.
    pub fn get_usable(&self, key: &KeyRef<'_>, now: u64) -> Option<Entry> {
        let max_stale = self.max_stale();
        self.read(key, |kept| kept.is_usable(now, max_stale).then(|| Entry::from_kept(kept)))?
    }

    /// Keeps `kept`, unless it is not to be kept; if it is an answer, what was
    /// kept before goes, since the upstream no longer says that. An upstream's
    /// failure does not take the place of an answer that may still stand in:
    /// it is noted there, and the upstream is left alone for a while.
    pub fn insert(&self, key: &KeyRef<'_>, kept: &Kept<'_>, now: u64) -> bool {
        let Some(shard) = self.shard(key.hash) else { return false };
        if self.max_bytes.load(Ordering::Relaxed) == 0 {
            return false;
        }
        if kept.head.traits.has(Traits::FAILURE) && self.fail(key, now) {
            return false;
        }
        if kept.head.expires <= kept.head.stored {
            let is_whole = !kept.flags().has(Flags::TC);
            if is_whole && matches!(kept.head.rcode, Rcode::NOERROR | Rcode::NXDOMAIN) {
                shard.write().remove(key);
            }
            return false;
        }
        if kept.head.traits.has(Traits::FAILURE) && !kept.ede.starts_with(&CACHED_ERROR) {
            // From here on it is a failure of a while ago, and says so before
            // what the upstream explained.
            let ede = [&CACHED_ERROR, kept.ede].concat();
            return shard.write().insert(key, &Kept { ede: &ede, ..*kept });
        }
        shard.write().insert(key, kept)
    }

    /// Notes that the upstream failed to renew the response of `key`, which
    /// stands in for a while without another try. `false` if there is none.
    pub fn fail(&self, key: &KeyRef<'_>, now: u64) -> bool {
        let max_stale = self.max_stale();
        let retry_at = now.saturating_add(self.stale.recheck.load(Ordering::Relaxed));
        let noted = self.shard(key.hash).and_then(|shard| {
            shard.read().read(key, |kept| {
                let usable = kept.is_usable(now, max_stale) && !kept.head.traits.has(Traits::FAILURE);
                if usable {
                    kept.marks.fail_until(retry_at);
                }
                usable
            })
        });
        noted == Some(true)
    }

    /// Forgets the response of `key`.
    pub fn remove(&self, key: &KeyRef<'_>) {
        if let Some(shard) = self.shard(key.hash) {
            shard.write().remove(key);
        }
    }

    /// Forgets what `gone` says; returns how many responses that were.
    pub fn remove_if(&self, mut gone: impl FnMut(&KeyRef<'_>) -> bool) -> usize {
        self.shards.iter().map(|shard| shard.write().remove_if(&mut gone)).sum()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.shards.iter().for_each(|shard| shard.write().clear());
    }

    /// Calls `visit` with every response, a shard at a time and locked.
    pub fn for_each(&self, mut visit: impl FnMut(&KeyRef<'_>, &Kept<'_>)) {
        self.shards.iter().for_each(|shard| shard.read().for_each(&mut visit));
    }

    /// The bound in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes.load(Ordering::Relaxed)
    }

    /// How much it holds.
    pub fn usage(&self) -> CacheUsage {
        let mut usage =
            CacheUsage { bytes: (self.shards.len() * size_of::<Padded>()) as u64, ..CacheUsage::default() };
        for shard in &self.shards {
            let shard = shard.read();
            let turnover = shard.turnover();
            usage.entries += shard.len() as u64;
            usage.bytes += shard.bytes() as u64;
            usage.evicted += turnover.evicted;
            usage.too_large += turnover.too_large;
        }
        usage
    }
}
