//! When places must be looked at again.
//!
//! A wheel of 64 buckets, each a list through the places and as wide as a tick.
//! A place is in one bucket; a later deadline need not move it, since its owner
//! puts it into the bucket of the new deadline when the old one comes. A query
//! on a connection so costs nothing here, a connection or an exchange with an
//! upstream two steps of a list. Rejected: a heap, in which connections of one
//! query would stay for the idle timeout after they have gone.

/// Buckets: as many as a word has bits.
const BUCKETS: u64 = 64;
/// No place.
const NONE: u32 = u32::MAX;
/// The bucket of what is in none.
const NOWHERE: u8 = u8::MAX;

/// Places by the time when they are due. Times are in milliseconds.
#[derive(Debug)]
pub struct Wheel {
    tick: u64,
    /// The last tick that has passed.
    at: u64,
    /// Which buckets hold any.
    occupied: u64,
    heads: [u32; BUCKETS as usize],
    links: Vec<Link>,
}

#[derive(Clone, Debug)]
struct Link {
    before: u32,
    after: u32,
    bucket: u8,
}

impl Wheel {
    /// With ticks of that length (at least 1), at the time `now`.
    pub fn new(tick: u64, now: u64) -> Self {
        let tick = tick.max(1);
        Self { tick, at: now / tick, occupied: 0, heads: [NONE; BUCKETS as usize], links: Vec::new() }
    }

    /// Makes `place` due at `deadline` or up to a tick later; at the end of the
    /// wheel where that is too far away. It leaves the bucket in which it was.
    pub fn put(&mut self, place: u32, deadline: u64) {
        self.take_out(place);
        let index = place as usize;
        if self.links.len() <= index {
            self.links.resize(index + 1, Link { before: NONE, after: NONE, bucket: NOWHERE });
        }
        let ticks = deadline.div_ceil(self.tick).clamp(self.at + 1, self.at + BUCKETS - 1);
        let bucket = (ticks % BUCKETS) as u8;
        let Some(head) = self.heads.get_mut(usize::from(bucket)) else { return };
        let after = std::mem::replace(head, place);
        if let Some(link) = self.links.get_mut(index) {
            *link = Link { before: NONE, after, bucket };
        }
        if let Some(link) = self.links.get_mut(after as usize) {
            link.before = place;
        }
        self.occupied |= 1 << bucket;
    }

    /// Takes `place` out of its bucket.
    pub fn take_out(&mut self, place: u32) {
        let Some(link) = self.links.get_mut(place as usize).filter(|link| link.bucket != NOWHERE) else {
            return;
        };
        let Link { before, after, bucket } = link.clone();
        link.bucket = NOWHERE;
        if let Some(link) = self.links.get_mut(after as usize) {
            link.before = before;
        }
        if let Some(link) = self.links.get_mut(before as usize) {
            link.after = after;
        } else if let Some(head) = self.heads.get_mut(usize::from(bucket)) {
            *head = after;
            if after == NONE {
                self.occupied &= !(1 << bucket);
            }
        }
    }

    /// When the next bucket is due that holds any.
    pub fn next(&self) -> Option<u64> {
        if self.occupied == 0 {
            return None;
        }
        let first = (self.at + 1) % BUCKETS;
        let ticks = u64::from(self.occupied.rotate_right(first as u32).trailing_zeros());
        Some((self.at + 1 + ticks) * self.tick)
    }

    /// Takes out all that is due by `now` and adds it to `due`.
    pub fn turn(&mut self, now: u64, due: &mut Vec<u32>) {
        let until = now / self.tick;
        // Once around is all there is.
        for tick in (self.at + 1..=until).take(BUCKETS as usize) {
            let bucket = (tick % BUCKETS) as usize;
            while let Some(&place) = self.heads.get(bucket).filter(|&&place| place != NONE) {
                self.take_out(place);
                due.push(place);
            }
        }
        self.at = self.at.max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(wheel: &mut Wheel, now: u64) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.turn(now, &mut due);
        due.sort_unstable();
        due
    }

    #[test]
    fn places_are_due_at_their_deadline_and_no_tick_later() {
        let mut wheel = Wheel::new(10, 1005);
        for (place, deadline) in [(0, 1011), (1, 1020), (2, 1021), (3, 0), (4, 1600)] {
            wheel.put(place, deadline);
        }
        assert_eq!(wheel.next(), Some(1010), "what should have been is due at once");
        assert!(turned(&mut wheel, 1009).is_empty());
        assert_eq!(turned(&mut wheel, 1010), [3]);
        assert_eq!(wheel.next(), Some(1020));
        assert_eq!(turned(&mut wheel, 1025), [0, 1]);
        assert_eq!(turned(&mut wheel, 1599), [2]);
        assert_eq!(turned(&mut wheel, 1600), [4]);
        assert_eq!((wheel.next(), wheel.occupied), (None, 0));
    }

    #[test]
    fn what_lies_too_far_away_comes_up_at_the_end_of_the_wheel() {
        let mut wheel = Wheel::new(1, 0);
        wheel.put(0, 1_000_000);
        assert_eq!(wheel.next(), Some(63));
        assert_eq!(turned(&mut wheel, 1_000_000), [0], "once, however long nobody looked");
    }

    #[test]
    fn places_leave_from_anywhere_in_a_bucket() {
        for gone in 0..5 {
            let mut wheel = Wheel::new(1, 0);
            for place in 0..5 {
                wheel.put(place, 7);
            }
            wheel.take_out(gone);
            wheel.take_out(gone);
            wheel.put((gone + 1) % 5, 9);
            let left: Vec<u32> = (0..5).filter(|&place| place != gone && place != (gone + 1) % 5).collect();
            assert_eq!(turned(&mut wheel, 8), left);
            assert_eq!(turned(&mut wheel, 9), [(gone + 1) % 5]);
            assert_eq!(wheel.next(), None);
        }
    }
}
