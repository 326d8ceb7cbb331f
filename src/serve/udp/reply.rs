//! Responses over UDP that become ready on another thread than the packet worker's.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::OnePending;
use crate::metrics::queries::{Dropped, Shared};
use crate::resolve::{Origin, Reply};
use crate::serve::extras::Extras;
use crate::serve::outgoing::{self, Outgoing};
use crate::socket::{Source, UdpSocket};
use crate::wire::Rcode;

/// Sends a response that becomes ready on another thread, to the client and
/// from the address that was asked.
#[derive(Debug)]
pub struct UdpReply {
    pub(super) socket: Arc<UdpSocket>,
    /// Who asked; the response goes to the sender, which may be a proxy.
    pub(super) client: IpAddr,
    pub(super) peer: SocketAddr,
    pub(super) source: Option<Source>,
    /// What the response carries besides; boxed, as most have none.
    pub(super) extras: Option<Box<Extras>>,
    pub(super) counters: Shared,
    pub(super) sent: bool,
    pub(super) pending: Option<OnePending>,
}

impl Reply for UdpReply {
    fn send(mut self: Box<Self>, mut response: Vec<u8>, rcode: Rcode, origin: Origin) {
        if let Some(extras) = self.extras.take() {
            extras.extend(&mut response);
        }
        (*self).send_slice(&response, rcode, origin);
    }

    fn send_slice(mut self, bytes: &[u8], rcode: Rcode, origin: Origin) {
        if self.extras.is_some() {
            return Box::new(self).send(bytes.to_vec(), rcode, origin);
        }
        self.sent = true;
        let (peer, source, pending) = (self.peer, self.source, self.pending.take());
        let response = Outgoing { bytes, peer, source, rcode, origin, pending };
        outgoing::send(&self.socket, &self.counters, response);
    }

    fn client(&self) -> Option<IpAddr> {
        Some(self.client)
    }

    fn is_rung_later(&self) -> bool {
        // By the batch.
        true
    }

    fn withdraw(mut self) {
        self.sent = true;
    }
}

impl Drop for UdpReply {
    fn drop(&mut self) {
        if !self.sent {
            self.counters.dropped(Dropped::Abandoned);
        }
    }
}
