//! The response cache: entries by question, bounded in bytes, readable by the
//! packet workers.
//!
//! `quick_cache` brings sharding, scan resistance and the bound; a look-up
//! takes a read lock of one shard and clones an `Arc`. moka was left out: a
//! `get` costs six times more.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, Weighter};

use crate::wire::{Class, FoldedName, Name, Rtype, name};

use super::entry::Entry;

/// Bits of a key besides the question.
pub mod bits {
    /// DNSSEC OK (RFC 3225): signatures are wanted.
    pub const DNSSEC_OK: u8 = 1;
    /// Checking disabled (RFC 4035).
    pub const CHECKING_DISABLED: u8 = 2;
    /// The name is ours: the fallback must not answer it. Part of the key, so
    /// that an answer of the fallback, kept while the name was a stranger's, is
    /// never found once it is ours.
    pub const OWN: u8 = 4;
}

/// What is asked, and of whom: two questions with equal keys get equal answers.
#[derive(Clone, Copy, Debug)]
pub struct KeyRef<'a> {
    /// Identifies the forward rule together with its upstreams and the fallback.
    pub partition: u32,
    /// QNAME, folded, wire form.
    pub name: &'a [u8],
    /// QTYPE.
    pub qtype: Rtype,
    /// QCLASS.
    pub qclass: Class,
    /// See [`bits`].
    pub bits: u8,
    hash: u64,
}

/// An owned [`KeyRef`].
#[derive(Clone, Debug)]
pub struct Key {
    partition: u32,
    name: Box<[u8]>,
    qtype: Rtype,
    qclass: Class,
    bits: u8,
    hash: u64,
}

impl KeyRef<'_> {
    /// An owned copy.
    pub fn to_key(&self) -> Key {
        let Self { partition, qtype, qclass, bits, hash, .. } = *self;
        Key { partition, name: self.name.into(), qtype, qclass, bits, hash }
    }
}

impl Key {
    /// A borrowed view.
    pub fn as_ref(&self) -> KeyRef<'_> {
        let Self { partition, qtype, qclass, bits, hash, .. } = *self;
        KeyRef { partition, name: &self.name, qtype, qclass, bits, hash }
    }

    /// QNAME.
    pub fn name(&self) -> Option<Name> {
        FoldedName::parse(&self.name).map(|(name, _)| name.to_name())
    }
}

impl PartialEq for KeyRef<'_> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
            && self.partition == other.partition
            && self.qtype == other.qtype
            && self.qclass == other.qclass
            && self.bits == other.bits
            && self.name == other.name
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Eq for Key {}

impl Hash for KeyRef<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    #[inline]
    fn equivalent(&self, key: &Key) -> bool {
        *self == key.as_ref()
    }
}

/// Passes the hash through that a key already holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeptHash(u64);

impl BuildHasher for KeptHash {
    type Hasher = Self;

    #[inline]
    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl Hasher for KeptHash {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Keys write one u64; anything else would still be a hash.
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Weighs entries in bytes.
#[derive(Clone, Copy, Debug)]
struct Bytes;

/// What a slot of the map costs besides key and entry: its share of the hash
/// table and the links of the eviction queues.
const SLOT: u64 = 64;

impl Weighter<Key, Arc<Entry>> for Bytes {
    fn weight(&self, key: &Key, entry: &Arc<Entry>) -> u64 {
        entry.weight() + size_of::<Key>() as u64 + key.name.len() as u64 + SLOT
    }
}

/// Responses of upstreams, until they expire or others need the space.
pub struct ResponseCache {
    map: Cache<Key, Arc<Entry>, Bytes, KeptHash, DefaultLifecycle<Key, Arc<Entry>>>,
    /// The bound in bytes; 0 is off.
    max_bytes: AtomicU64,
    /// Keeps clients from choosing names that collide.
    seed: u64,
}

/// The bytes that an entry of a usual answer takes, to size the map.
const USUAL_WEIGHT: u64 = 512;

impl ResponseCache {
    /// An empty cache of at most `max_bytes`; 0 switches it off.
    pub fn new(max_bytes: u64) -> Self {
        // The map grows on demand: this bounds what it reserves at start.
        let items = (max_bytes / USUAL_WEIGHT).clamp(64, 1 << 16) as usize;
        let map = Cache::with(items, max_bytes, Bytes, KeptHash::default(), DefaultLifecycle::default());
        Self { map, max_bytes: AtomicU64::new(max_bytes), seed: rand::random() }
    }

    /// Changes the bound; entries beyond it go.
    pub fn set_max_bytes(&self, max_bytes: u64) {
        if self.max_bytes.swap(max_bytes, Ordering::Relaxed) != max_bytes {
            self.map.set_capacity(max_bytes);
        }
        if max_bytes == 0 {
            self.map.clear();
        }
    }

    /// The key of a question.
    #[inline]
    pub fn key<'a>(
        &self,
        partition: u32,
        name: &'a [u8],
        qtype: Rtype,
        qclass: Class,
        bits: u8,
    ) -> KeyRef<'a> {
        let fields = u64::from(partition) << 40
            | u64::from(bits) << 32
            | u64::from(qtype.0) << 16
            | u64::from(qclass.0);
        let hash = name::hash(name, self.seed ^ fields.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        KeyRef { partition, name, qtype, qclass, bits, hash }
    }

    /// The entry of `key`, if it is still an answer at `now`.
    #[inline]
    pub fn get(&self, key: &KeyRef<'_>, now: u64) -> Option<Arc<Entry>> {
        if self.max_bytes.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.map.get(key).filter(|entry| entry.is_fresh(now))
    }

    /// Keeps `entry`, unless it is not to be kept.
    pub fn insert(&self, key: Key, entry: Arc<Entry>) {
        if entry.is_cacheable() && self.max_bytes.load(Ordering::Relaxed) > 0 {
            self.map.insert(key, entry);
        }
    }

    /// Forgets the entry of `key`.
    pub fn remove(&self, key: &KeyRef<'_>) {
        self.map.remove(key);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.map.clear();
    }

    /// Number of entries, expired ones included.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Bytes in use.
    pub fn bytes(&self) -> u64 {
        self.map.weight()
    }
}

impl std::fmt::Debug for ResponseCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseCache").field("entries", &self.len()).finish_non_exhaustive()
    }
}
