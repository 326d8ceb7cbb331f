//! Counters of the admin listeners and the control socket.

use std::sync::atomic::{AtomicU64, Ordering};

use super::exporter::float;
use super::{Export, Exporter};

/// What the admin listeners and the control socket count.
#[derive(Debug, Default)]
pub struct AdminCounters {
    /// Connections open now.
    pub open: AtomicU64,
    /// Connections closed at once, since too many were open.
    pub refused: AtomicU64,
    /// Requests of addresses, users and host names that are not allowed.
    pub forbidden: AtomicU64,
}

impl Export for AdminCounters {
    fn export(&self, out: &mut Exporter) {
        let open = self.open.load(Ordering::Relaxed);
        out.gauge("admin_connections", "Admin and control connections that are open.", &[], float(open));
        out.counter(
            "admin_connections_refused_total",
            "Admin and control connections closed at once, since too many were open.",
            &[],
            self.refused.load(Ordering::Relaxed),
        );
        out.counter(
            "admin_requests_forbidden_total",
            "Admin and control requests of addresses, users and host names that are not allowed.",
            &[],
            self.forbidden.load(Ordering::Relaxed),
        );
    }
}
