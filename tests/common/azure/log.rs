//! Every request that came, with conditions that can be awaited.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::faults::Kind;

/// Nothing that is awaited takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a request carried for `Authorization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorization {
    Missing,
    Right,
    Wrong,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub kind: Kind,
    pub method: String,
    /// As sent.
    pub path: String,
    /// As sent, without the question mark.
    pub query: String,
    pub authorization: Authorization,
    /// The JSON of a POST.
    pub body: Option<Value>,
    /// When it came, for intervals between requests.
    pub at: Instant,
}

#[derive(Default)]
pub struct Log {
    seen: Mutex<Vec<Seen>>,
    more: Condvar,
}

impl Log {
    pub fn add(&self, seen: Seen) {
        self.seen.lock().expect("no panic").push(seen);
        self.more.notify_all();
    }

    pub fn all(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }

    pub fn clear(&self) {
        self.seen.lock().expect("no panic").clear();
    }

    pub fn count(&self, wanted: impl Fn(&Seen) -> bool) -> usize {
        self.seen.lock().expect("no panic").iter().filter(|seen| wanted(seen)).count()
    }

    pub fn wait_until(&self, what: &str, mut wanted: impl FnMut(&[Seen]) -> bool) {
        let start = Instant::now();
        let mut seen = self.seen.lock().expect("no panic");
        while !wanted(&seen) {
            let left = PATIENCE.saturating_sub(start.elapsed());
            assert!(!left.is_zero(), "waited in vain for {what}; there were {seen:#?}");
            seen = self.more.wait_timeout(seen, left).expect("no panic").0;
        }
    }
}
