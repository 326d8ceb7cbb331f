//! Every metric: names and help texts, and the exporter that turns counters
//! into Prometheus families.
//!
//! Counters live as plain atomics beside the code that counts
//! (`metrics/queries.rs`, `metrics/forward.rs`, `metrics/sync.rs`); a scrape
//! reads them. So a packet costs an uncontended add, and nothing is
//! registered at run time.

pub mod admin;
pub mod azure;
pub mod exporter;
pub mod forward;
pub mod governor;
pub mod labels;
pub mod listeners;
pub mod process;
pub mod queries;
pub mod response_cache;
pub mod routes;
pub mod streams;
pub mod sync;

use std::fmt;
use std::sync::Arc;

pub use exporter::{Described, Exporter};

/// Something with counters to show.
pub trait Export: Send + Sync {
    /// Adds its families to `out`. Called during a scrape: it reads atomics
    /// and short-held locks, and waits for nothing else.
    fn export(&self, out: &mut Exporter);
}

/// All parts that have something to show, fixed at start.
#[derive(Clone, Default)]
pub struct Registry {
    parts: Vec<Arc<dyn Export>>,
}

impl Registry {
    /// Adds a part.
    #[must_use]
    pub fn with(mut self, part: Arc<dyn Export>) -> Self {
        self.parts.push(part);
        self
    }

    /// Reads every part.
    pub fn collect(&self) -> Exporter {
        let mut out = Exporter::default();
        for part in &self.parts {
            part.export(&mut out);
        }
        out
    }

    /// The whole scrape in Prometheus' text format.
    pub fn scrape(&self) -> String {
        self.collect().encode()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("parts", &self.parts.len()).finish()
    }
}
