//! Whether a worker takes its core at once when a query comes, or lets the
//! thread that has it finish first.
//!
//! A thread that wakes up takes the core from one that has run for a while, so
//! that where worker and forward thread share a core, as on a small machine,
//! each handful of queries interrupts a pass of the forward thread: both then
//! work in small batches, and change places for each. That pays while queries are
//! answered here; while most of them only go on to the forward thread, nothing
//! is answered earlier by it. A patient worker is one of the kernel's *batch*
//! threads, which wait until the other sleeps, gives way (as the forward thread
//! does after each pass) or has used up its time, some milliseconds at most.

use crate::socket;

/// Messages between two decisions.
const ENOUGH: usize = 512;

/// Which share of a worker's messages went on to the forward thread lately.
#[derive(Debug, Default)]
pub(super) struct Patience {
    messages: usize,
    forwarded: usize,
    is_on: bool,
    /// The kernel does not let us.
    is_barred: bool,
}

impl Patience {
    /// Notes a batch of `messages`, of which `forwarded` went on, for the
    /// calling thread.
    #[inline]
    pub(super) fn note(&mut self, messages: usize, forwarded: usize) {
        self.messages += messages;
        self.forwarded += forwarded;
        if self.messages >= ENOUGH && self.decides() {
            self.apply();
        }
    }

    /// Whether that changes anything: from half on to patient, below a quarter
    /// back.
    fn decides(&mut self) -> bool {
        let share = if self.is_on { 4 } else { 2 };
        let is_on = self.forwarded >= self.messages / share;
        (self.messages, self.forwarded) = (0, 0);
        std::mem::replace(&mut self.is_on, is_on) != is_on && !self.is_barred
    }

    #[cold]
    fn apply(&mut self) {
        // Best effort: a container may forbid it, and the answers are the same.
        if let Err(error) = socket::wait_for_the_core(self.is_on) {
            tracing::debug!(%error, "scheduling of a worker not changed");
            self.is_barred = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarding_makes_patient_and_answering_impatient() {
        let mut patience = Patience::default();
        let mut after = |forwarded: usize| {
            patience.messages = ENOUGH;
            patience.forwarded = forwarded;
            (patience.decides(), patience.is_on)
        };
        assert_eq!(after(0), (false, false));
        assert_eq!(after(ENOUGH / 2 - 1), (false, false));
        assert_eq!(after(ENOUGH / 2), (true, true));
        assert_eq!(after(ENOUGH), (false, true));
        assert_eq!(after(ENOUGH / 4), (false, true));
        assert_eq!(after(ENOUGH / 4 - 1), (true, false));
    }

    #[test]
    fn the_thread_changes_with_it() {
        std::thread::spawn(|| {
            let mut patience = Patience::default();
            patience.note(ENOUGH - 1, ENOUGH - 1);
            assert!(!socket::waits_for_the_core());
            patience.note(1, 1);
            assert!(socket::waits_for_the_core() || patience.is_barred);
            patience.note(ENOUGH, 0);
            assert!(!socket::waits_for_the_core());
        })
        .join()
        .unwrap();
    }

    #[test]
    fn what_is_not_allowed_is_not_tried_again() {
        let mut patience = Patience { is_barred: true, messages: ENOUGH, forwarded: ENOUGH, is_on: false };
        assert!(!patience.decides());
    }
}
