//! A count of what happened within the last second, exact enough for a limit
//! that must hold over any second.

/// Length of a slot in milliseconds; a power of two, so that a shift finds it.
pub const SLOT_MS: u64 = 16;
/// Slots of a window: 1,024 ms. Whatever lies within 1,008 ms lies within 64
/// slots, so that no second holds more than the sum; the 8 ms beyond a second
/// are for what lies between a query's admission and the wire.
pub const SLOTS: usize = 64;

/// Counts by slot.
#[derive(Clone, Debug)]
pub struct Window {
    slots: [u32; SLOTS],
    sum: u32,
    slot: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { slots: [0; SLOTS], sum: 0, slot: 0 }
    }
}

impl Window {
    /// Moves on to `now`, in milliseconds; returns by how many slots. A clock
    /// that runs backwards moves nothing.
    #[inline]
    pub fn advance(&mut self, now: u64) -> u64 {
        let slot = now / SLOT_MS;
        if slot <= self.slot { 0 } else { self.move_to(slot) }
    }

    #[cold]
    fn move_to(&mut self, slot: u64) -> u64 {
        let passed = slot - self.slot;
        for step in 1..=passed.min(SLOTS as u64) {
            if let Some(count) = self.slots.get_mut(index(self.slot.wrapping_add(step))) {
                self.sum -= std::mem::take(count);
            }
        }
        self.slot = slot;
        passed
    }

    /// Counts one more at the time of the last [`Window::advance`].
    #[inline]
    pub fn count(&mut self) {
        if let Some(count) = self.slots.get_mut(index(self.slot)) {
            *count += 1;
            self.sum += 1;
        }
    }

    /// How many the window holds.
    #[inline]
    pub const fn sum(&self) -> u32 {
        self.sum
    }

    /// How many the slot of the last [`Window::advance`] holds.
    #[inline]
    pub fn now(&self) -> u32 {
        self.slots.get(index(self.slot)).copied().unwrap_or(0)
    }

    /// The number of that slot.
    #[inline]
    pub const fn slot(&self) -> u64 {
        self.slot
    }
}

#[inline]
const fn index(slot: u64) -> usize {
    slot as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_remembered_and_no_more_than_a_little_beyond() {
        for begin in [0, 1, 7, 15, 16, 1_000_003] {
            let mut window = Window::default();
            window.advance(begin);
            window.count();
            for later in 0..=1008 {
                window.advance(begin + later);
                assert_eq!(window.sum(), 1, "{begin} + {later}");
            }
            window.advance(begin + 1024);
            assert_eq!(window.sum(), 0, "{begin}");
        }
    }

    #[test]
    fn long_pauses_and_a_clock_that_runs_backwards_do_no_harm() {
        let mut window = Window::default();
        window.advance(5000);
        for _ in 0..3 {
            window.count();
        }
        window.advance(100);
        assert_eq!((window.sum(), window.now()), (3, 3));
        window.advance(u64::MAX);
        assert_eq!((window.sum(), window.now()), (0, 0));
    }
}
