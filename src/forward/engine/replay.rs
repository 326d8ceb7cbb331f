//! The engine as tests drive it: pass by pass, at the times that they set.

use super::Engine;

impl Engine {
    /// One pass, before which something that is to come is waited for,
    /// `patience` milliseconds at most. Whether anything had come.
    pub(crate) fn turn(&mut self, patience: i32) -> bool {
        self.refresh();
        self.wait(|_| patience);
        let queued = !self.inbox.sleep(|| true);
        self.inbox.awake();
        let came = queued || !self.ready.is_empty();
        self.pass();
        came
    }

    /// When something is due, in milliseconds since the engine was made.
    pub(crate) fn due_at(&self) -> Option<u64> {
        self.next_due()
    }
}
