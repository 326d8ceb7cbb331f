//! Findings that other parts of the process have made by themselves.

use std::sync::{Arc, Mutex, PoisonError};

use super::Finding;

/// The handle of one part, which says all that it has to say each time.
#[derive(Clone, Debug, Default)]
pub struct Notices(Arc<Mutex<Vec<Finding>>>);

impl Notices {
    /// What was said last.
    pub fn get(&self) -> Vec<Finding> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says this in the place of what was said before.
    pub fn set(&self, findings: Vec<Finding>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = findings;
    }
}
