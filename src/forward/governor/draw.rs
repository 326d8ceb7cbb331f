//! The right to one message for who asks a server beside the engine: what the
//! daemon looks up for itself counts at the server like all the rest.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{ClientKey, Governor, Purse, lock};
use crate::forward::budget::{Class, Over, Ticket};

/// The right to one message, given back when dropped.
#[derive(Debug)]
pub struct Drawn(Option<(Arc<Purse>, Ticket)>);

impl Drop for Drawn {
    fn drop(&mut self) {
        if let Some((purse, ticket)) = self.0.take() {
            lock(&purse.inner).0.release(ticket);
        }
    }
}

impl Governor {
    /// Draws on the budget of `address` for a query that somebody waits for. An
    /// address that has no limits, and is no upstream's, is not kept account of.
    ///
    /// # Errors
    /// Why nothing must be sent now.
    pub fn draw(&self, address: SocketAddr, now: u64) -> Result<Drawn, Over> {
        let Some(purse) = self.purse_of(address) else { return Ok(Drawn(None)) };
        let ticket = lock(&purse.inner).0.admit(Class::Query, ClientKey::INTERNAL, || 1, now)?;
        Ok(Drawn(Some((purse, ticket))))
    }

    fn purse_of(&self, address: SocketAddr) -> Option<Arc<Purse>> {
        // Held to the end: rules that are replaced meanwhile reach what is made here.
        let _upstreams = lock(&self.upstreams);
        let rules = Arc::clone(&lock(&self.rules));
        let limits = rules.limits(address);
        let is_known = lock(&self.purses).iter().any(|purse| purse.address == address);
        let counts = is_known || limits.rate.is_some() || limits.in_flight.is_some();
        counts.then(|| self.purse(address, &rules))
    }
}
