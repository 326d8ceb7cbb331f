//! What makes two questions one: the key of a kept response.

use std::hash::{BuildHasher, Hash, Hasher};

use crate::wire::{Class, FoldedName, Name, Rtype, name};

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
    /// QNAME, folded, wire form.
    pub name: &'a [u8],
    /// Everything but the name in one word, which is compared at once.
    pub(super) fields: Fields,
    /// Keyed by the process's secret, so that clients cannot choose names that collide.
    pub(super) hash: u64,
}

/// Partition (24 bits), [`bits`], QTYPE and QCLASS, from the highest bits down.
/// A partition beyond 24 bits is one of so many rules that a process has had
/// since it started; the first would be taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields(pub(super) u64);

impl Fields {
    #[inline]
    fn new(partition: u32, qtype: Rtype, qclass: Class, bits: u8) -> Self {
        Self(
            u64::from(partition) << 40
                | u64::from(bits) << 32
                | u64::from(qtype.0) << 16
                | u64::from(qclass.0),
        )
    }
}

/// One hash of a name's and of the other fields, of which both are secret.
#[inline]
fn mixed(hash: u64, fields: u64) -> u64 {
    let product = u128::from(hash ^ fields) * u128::from(name::secret().rotate_left(32) | 1);
    product as u64 ^ (product >> 64) as u64
}

/// An owned [`KeyRef`].
#[derive(Clone, Debug)]
pub struct Key {
    name: Box<[u8]>,
    fields: Fields,
    hash: u64,
}

impl<'a> KeyRef<'a> {
    /// The key of a question. `partition` identifies the forward rule together
    /// with its upstreams and the fallback; for `bits` see [`bits`].
    #[inline]
    pub fn new(partition: u32, name: &'a FoldedName, qtype: Rtype, qclass: Class, bits: u8) -> Self {
        let fields = Fields::new(partition, qtype, qclass, bits);
        Self { name: name.as_wire(), fields, hash: mixed(name.hash(), fields.0) }
    }

    /// The key of a question that was kept elsewhere; `None` if `name` is no name.
    pub fn rebuild(partition: u32, name: &'a [u8], qtype: Rtype, qclass: Class, bits: u8) -> Option<Self> {
        let folded = FoldedName::parse(name)?.0;
        let KeyRef { fields, hash, .. } = KeyRef::new(partition, &folded, qtype, qclass, bits);
        Some(Self { name, fields, hash })
    }

    /// The hash that it keeps.
    #[inline]
    pub const fn kept_hash(&self) -> u64 {
        self.hash
    }

    /// Identifies the forward rule together with its upstreams and the fallback.
    pub const fn partition(&self) -> u32 {
        (self.fields.0 >> 40) as u32
    }

    /// QTYPE.
    pub const fn qtype(&self) -> Rtype {
        Rtype((self.fields.0 >> 16) as u16)
    }

    /// QCLASS.
    pub const fn qclass(&self) -> Class {
        Class(self.fields.0 as u16)
    }

    /// See [`bits`].
    pub const fn bits(&self) -> u8 {
        (self.fields.0 >> 32) as u8
    }

    /// An owned copy.
    pub fn to_key(&self) -> Key {
        Key { name: self.name.into(), fields: self.fields, hash: self.hash }
    }
}

impl Key {
    /// A borrowed view.
    pub fn as_ref(&self) -> KeyRef<'_> {
        KeyRef { name: &self.name, fields: self.fields, hash: self.hash }
    }

    /// QNAME.
    pub fn name(&self) -> Option<Name> {
        FoldedName::parse(&self.name).map(|(name, _)| name.to_name())
    }
}

impl PartialEq for KeyRef<'_> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.fields == other.fields && self.name == other.name
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Eq for Key {}

impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
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
