//! Which names cannot lie below any zone or registry suffix of ours, told by
//! their last bytes alone: most of what is not ours, without a probe.
//!
//! A name at or below an apex ends with the apex's bytes. So the last eight
//! bytes of each apex are kept (of a shorter one the last four), as bits of a
//! map that has room for sixteen times as many. A name whose bytes are not in
//! it is foreign; one whose bytes are is looked up label by label as ever.

use crate::wire::FoldedName;

/// Spreads the bytes over the map. It needs no secret: who fills the map is
/// the operator, and a name that meets a bit by chance costs a few probes.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The last bytes of all apexes and suffixes.
#[derive(Debug)]
pub(super) struct Enclosers {
    /// How far a product is shifted to number a bit.
    shift: u32,
    bits: Box<[u64]>,
    /// Whether some apex is too short to tell anything: the root.
    any: bool,
}

impl Enclosers {
    /// Of `apexes` in wire form.
    pub(super) fn new<'a>(apexes: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let count = apexes.clone().count();
        let bits = (count * 16).next_power_of_two().max(64);
        let mut enclosers =
            Self { shift: 64 - bits.trailing_zeros(), bits: vec![0; bits / 64].into(), any: false };
        for apex in apexes {
            match (apex.last_chunk::<8>(), apex.last_chunk::<4>()) {
                (Some(last), _) => enclosers.set(u64::from_le_bytes(*last)),
                (None, Some(last)) => enclosers.set(short(u32::from_le_bytes(*last))),
                (None, None) => enclosers.any = true,
            }
        }
        enclosers
    }

    /// Whether an apex may stand at or above `name`.
    #[inline]
    pub(super) fn may_enclose(&self, name: &FoldedName) -> bool {
        let Some(last) = name.last_bytes() else { return true };
        let word = u64::from_le_bytes(last);
        self.any || self.has(word) || self.has(short((word >> 32) as u32))
    }

    fn set(&mut self, word: u64) {
        let bit = word.wrapping_mul(SPREAD) >> self.shift;
        if let Some(place) = self.bits.get_mut(bit as usize / 64) {
            *place |= 1 << (bit % 64);
        }
    }

    #[inline]
    fn has(&self, word: u64) -> bool {
        let bit = word.wrapping_mul(SPREAD) >> self.shift;
        self.bits.get(bit as usize / 64).is_some_and(|place| place >> (bit % 64) & 1 != 0)
    }
}

/// The last four bytes as a word that eight bytes of a name never are: they
/// end with the root label.
#[inline]
const fn short(last: u32) -> u64 {
    last as u64 | 0xff << 56
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Name;

    fn suffixes(apexes: &[&str]) -> Enclosers {
        let apexes: Vec<Name> = apexes.iter().map(|apex| apex.parse().unwrap()).collect();
        Enclosers::new(apexes.iter().map(Name::as_wire))
    }

    fn may_enclose(suffixes: &Enclosers, name: &str) -> bool {
        suffixes.may_enclose(&FoldedName::from(&name.parse::<Name>().unwrap()))
    }

    #[test]
    fn no_name_below_an_apex_is_missed() {
        let apexes =
            ["azurecr.io", "localhost", "onion", "x", "io", "xy", "a.b", "abc", "168.192.in-addr.arpa"];
        let all = suffixes(&apexes);
        for apex in apexes {
            let one = suffixes(&[apex]);
            for below in ["", "a.", "www.", "a-long-label-in-front.of.", "x.y.z."] {
                let name = format!("{below}{apex}");
                assert!(may_enclose(&all, &name) && may_enclose(&one, &name), "{name}");
            }
        }
        assert!(may_enclose(&suffixes(&["."]), "www.example.org"));
    }

    #[test]
    fn most_foreign_names_are_told() {
        let apexes: Vec<String> = (0..500).map(|n| format!("zone{n}.example")).collect();
        let apexes: Vec<&str> = apexes.iter().map(String::as_str).chain(["onion", "test"]).collect();
        for suffixes in [suffixes(&apexes[490..]), suffixes(&apexes)] {
            let foreign = (0..1_000).filter(|n| !may_enclose(&suffixes, &format!("www.a{n}.org"))).count();
            assert!(foreign > 700, "{foreign}");
        }
        assert!(!may_enclose(&suffixes(&[]), "www.example.org"));
    }
}
