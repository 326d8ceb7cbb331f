//! What cookies were worth (RFC 7873): counted for queries with a COOKIE option.

use super::{QueryMetrics, Recorder, Writers};
use crate::metrics::Exporter;

/// What a query's COOKIE option was worth (RFC 7873 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieResult {
    /// A server cookie of ours, in time and of this client.
    Valid,
    /// A client cookie alone.
    Missing,
    /// A server cookie that is not ours, is too old, or of another client.
    Bad,
    /// A length that no cookie has.
    Malformed,
}

impl CookieResult {
    pub(super) const ALL: [Self; 4] = [Self::Valid, Self::Missing, Self::Bad, Self::Malformed];

    /// The label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Missing => "missing",
            Self::Bad => "bad",
            Self::Malformed => "malformed",
        }
    }
}

impl<W: Writers> Recorder<W> {
    /// Counts a query with a COOKIE option.
    pub fn cookie(&self, result: CookieResult) {
        if let Some(counter) = self.set.cookies.get(result as usize) {
            W::add(counter, 1);
        }
    }
}

impl QueryMetrics {
    pub(super) fn export_cookies(&self, out: &mut Exporter) {
        for (at, result) in CookieResult::ALL.into_iter().enumerate() {
            let labels = [("result", result.label())];
            let value = self.sum(|set| set.cookies.get(at));
            out.counter("cookies_total", "Queries with a cookie, by what it was worth.", &labels, value);
        }
    }
}
