//! Sources that read in the background: what they are told, and when they start.

use std::sync::Arc;

use super::Sync;
use crate::sources::Changed;

impl Sync {
    /// Lets sources that do so read in the background; `changed` wants a cycle.
    pub(in crate::sync) fn begin(&mut self, changed: Changed) {
        self.recall();
        self.changed = Some(changed);
        self.start_sources();
    }

    /// Tells the sources what they said last, and starts them. Both do nothing
    /// to a source that runs.
    pub(super) fn start_sources(&self) {
        for source in &self.sources {
            source.recall(self.listings.get(source.name()).map(Vec::as_slice).unwrap_or_default());
            if let Some(changed) = &self.changed {
                source.start(Arc::clone(changed));
            }
        }
    }
}
