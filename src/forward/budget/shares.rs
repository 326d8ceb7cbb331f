//! How much of a budget each client prefix uses: a table of fixed size.
//!
//! Use fades instead of being counted in slots: a word per prefix instead of a
//! window, and a prefix that stops asking is back at nothing in a few seconds.
//! At a steady rate the faded use is what the window holds.
//!
//! A new prefix takes the place of the one of its set that uses least. Many
//! prefixes at once (a scan, forged addresses) so push each other out and find
//! themselves new, which is what they are; those who use much stay.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bits of a place in the table.
pub const PLACE_BITS: u32 = 10;
/// Prefixes that are told apart. More would be more than anybody looks at, and
/// each share of the 800 a second less than one query.
const PLACES: usize = 1 << PLACE_BITS;
/// Places that a prefix may have; its hash says which.
const WAYS: usize = 4;
/// Faded use has this many for one query.
const ONE: u32 = 256;

/// A client's prefix in one word.
///
/// IPv6 prefixes are at most 64 bits long, and no client's begins with
/// `ffff:ffff`, which is multicast: IPv4 has that place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientKey(u64);

const OF_V4: u64 = 0xffff_ffff_0000_0000;

impl ClientKey {
    /// Questions that no client asks.
    pub const INTERNAL: Self = Self(OF_V4);

    /// The prefix of `client`, as long as `bits` says for IPv4 and IPv6.
    #[inline]
    pub fn new(client: IpAddr, bits: PrefixBits) -> Self {
        match client.to_canonical() {
            IpAddr::V4(v4) => {
                let kept = u32::MAX.checked_shl(32 - u32::from(bits.v4.min(32))).unwrap_or(0);
                Self(OF_V4 | u64::from(v4.to_bits() & kept))
            }
            IpAddr::V6(v6) => {
                let kept = u64::MAX.checked_shl(64 - u32::from(bits.v6.min(64))).unwrap_or(0);
                Self((v6.to_bits() >> 64) as u64 & kept)
            }
        }
    }
}

/// How long the prefixes are that have shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixBits {
    /// Of IPv4 addresses, at most 32.
    pub v4: u8,
    /// Of IPv6 addresses, at most 64.
    pub v6: u8,
}

/// A client's prefix for people: its first address. [`ClientKey::INTERNAL`] is
/// `internal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix(pub ClientKey);

impl Prefix {
    /// The prefix with its length.
    pub fn text(self, bits: PrefixBits) -> String {
        let key = self.0.0;
        if self.0 == ClientKey::INTERNAL {
            "internal".to_owned()
        } else if key & OF_V4 == OF_V4 {
            format!("{}/{}", Ipv4Addr::from_bits(key as u32), bits.v4)
        } else {
            format!("{}/{}", Ipv6Addr::from_bits(u128::from(key) << 64), bits.v6)
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(PrefixBits { v4: 32, v6: 64 }))
    }
}

/// What a prefix has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Has {
    /// Queries within about the last second.
    pub used: u32,
    /// Queries in flight.
    pub in_flight: u32,
    /// How much more than others it may have; 1 for most.
    pub weight: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: ClientKey,
    /// Faded use, [`ONE`] for a query, as of `slot`.
    used: u32,
    slot: u32,
    in_flight: u32,
    /// 0 for a place that was never taken.
    weight: u32,
}

const FREE: Entry = Entry { key: ClientKey(0), used: 0, slot: 0, in_flight: 0, weight: 0 };

/// What of a use is left after so many slots, of 2³²: (63/64)ⁿ.
const LEFT: [u32; 256] = {
    let mut left = [u32::MAX; 256];
    let mut i = 1;
    while i < left.len() {
        left[i] = (left[i - 1] as u64 * 63 / 64) as u32;
        i += 1;
    }
    left
};

fn fade(used: u32, slots: u32) -> u32 {
    let (mut used, mut slots) = (used, slots);
    // Ends soon: each turn leaves less than a fiftieth.
    while slots > 0 && used > 0 {
        let turn = slots.min(255);
        let left = LEFT.get(turn as usize).copied().unwrap_or(0);
        used = ((u64::from(used) * u64::from(left)) >> 32) as u32;
        slots -= turn;
    }
    used
}

/// The table. Slots are those of the budget's window.
#[derive(Debug)]
pub struct Shares {
    /// Made when the first client comes: an upstream that is never asked has none.
    places: Vec<Entry>,
    seed: u64,
}

impl Shares {
    pub(super) const fn new(seed: u64) -> Self {
        Self { places: Vec::new(), seed }
    }

    /// The place of `key`, taken from another prefix if need be.
    #[inline]
    pub(super) fn place(&mut self, key: ClientKey, slot: u64, weight: impl FnOnce() -> u32) -> u32 {
        let set = self.set(key);
        let known = self.places.get(set..set + WAYS);
        match known.and_then(|ways| ways.iter().position(|e| e.key == key && e.weight > 0)) {
            Some(way) => (set + way) as u32,
            None => self.take_place(key, set, slot as u32, weight()),
        }
    }

    #[inline]
    fn set(&self, key: ClientKey) -> usize {
        let mixed = (key.0 ^ self.seed).wrapping_mul(self.seed | 1);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> (64 - PLACE_BITS)) as usize / WAYS * WAYS
    }

    #[cold]
    fn take_place(&mut self, key: ClientKey, set: usize, slot: u32, weight: u32) -> u32 {
        if self.places.is_empty() {
            self.places = vec![FREE; PLACES];
        }
        let ways = self.places.get_mut(set..set + WAYS).unwrap_or_default();
        let uses = |e: &Entry| (e.weight > 0, e.in_flight > 0, fade(e.used, slot.wrapping_sub(e.slot)));
        let Some(way) = (0..ways.len()).min_by_key(|way| ways.get(*way).map(uses)) else { return 0 };
        if let Some(entry) = ways.get_mut(way) {
            *entry = Entry { key, used: 0, slot, in_flight: 0, weight: weight.max(1) };
        }
        (set + way) as u32
    }

    /// What the prefix at `place` has.
    pub(super) fn of(&self, place: u32, slot: u64) -> Has {
        let entry = self.places.get(place as usize).unwrap_or(&FREE);
        let used = fade(entry.used, (slot as u32).wrapping_sub(entry.slot)) / ONE;
        Has { used, in_flight: entry.in_flight, weight: entry.weight.max(1) }
    }

    /// A query of the prefix at `place` was admitted.
    #[inline]
    pub(super) fn take(&mut self, place: u32, slot: u64) {
        if let Some(entry) = self.places.get_mut(place as usize) {
            let slot = slot as u32;
            if entry.slot != slot {
                entry.used = fade(entry.used, slot.wrapping_sub(entry.slot));
                entry.slot = slot;
            }
            entry.used = entry.used.saturating_add(ONE);
            entry.in_flight += 1;
        }
    }

    /// A query of the prefix at `place` is over. If another prefix has the
    /// place now, its count is one too low until it is idle: the one that was
    /// pushed out was the least of its set.
    #[inline]
    pub(super) fn release(&mut self, place: u32) {
        if let Some(entry) = self.places.get_mut(place as usize) {
            entry.in_flight = entry.in_flight.saturating_sub(1);
        }
    }

    pub(super) fn forget_in_flight(&mut self) {
        for entry in &mut self.places {
            entry.in_flight = 0;
        }
    }

    /// The prefixes that use most, the first most.
    pub(super) fn spenders(&self, most: usize, slot: u64) -> Vec<(Prefix, u32)> {
        let used = |e: &Entry| fade(e.used, (slot as u32).wrapping_sub(e.slot)).div_ceil(ONE);
        let mut all: Vec<(Prefix, u32)> = self
            .places
            .iter()
            .map(|entry| (Prefix(entry.key), used(entry)))
            .filter(|(_, used)| *used > 0)
            .collect();
        all.sort_unstable_by_key(|(prefix, used)| (std::cmp::Reverse(*used), *prefix));
        all.truncate(most);
        all
    }
}
